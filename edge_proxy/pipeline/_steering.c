/* The Call-ID of a message as it came, where it stands as nearly everybody writes it, and the hash of a Call-ID.

   Where several workers share an address, each looks for it in every message before anything else is done with that.
   steering.py says what counts as usual and what the hash is, and does both itself where this module is not built. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#define NAME "Call-ID: "
#define HASHED_BYTES 31

PyDoc_STRVAR(usual_call_id_doc, "usual_call_id(data): see usual_call_id in steering.py.");

static PyObject *
usual_call_id(PyObject *module, PyObject *data)
{
    (void)module;
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "a message is bytes");
        return NULL;
    }
    const char *start = PyBytes_AS_STRING(data), *end = start + PyBytes_GET_SIZE(data), *line = start;
    for (;;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (newline == NULL)
            Py_RETURN_NONE;
        line = newline + 1;
        if (end - line < (Py_ssize_t)sizeof NAME - 1)
            Py_RETURN_NONE;
        if (line[0] == 'C' && memcmp(line, NAME, sizeof NAME - 1) == 0)
            break;
        if (line[0] == '\r' && line[1] == '\n' && newline > start && newline[-1] == '\r')
            Py_RETURN_NONE; /* the head is over */
    }
    const char *value = line + sizeof NAME - 1, *after = value;
    while (after < end && !Py_ISSPACE(*after))
        after++;
    if (after == value || end - after < 2 || after[0] != '\r' || after[1] != '\n')
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(value, after - value);
}

PyDoc_STRVAR(steering_hash_doc, "steering_hash(call_id): see plain_steering_hash in steering.py.");

static PyObject *
steering_hash(PyObject *module, PyObject *call_id)
{
    (void)module;
    if (!PyBytes_Check(call_id)) {
        PyErr_SetString(PyExc_TypeError, "a Call-ID is bytes");
        return NULL;
    }
    const unsigned char *byte = (const unsigned char *)PyBytes_AS_STRING(call_id);
    Py_ssize_t size = PyBytes_GET_SIZE(call_id);
    uint32_t value = 0;
    for (Py_ssize_t i = 0; i < size && i < HASHED_BYTES; i++)
        value = value * 31 + byte[i];
    value = (value ^ value >> 15) * 0x2C1B3C6Du;
    return PyLong_FromUnsignedLong(value ^ value >> 13);
}

static PyMethodDef functions[] = {
    {"steering_hash", steering_hash, METH_O, steering_hash_doc},
    {"usual_call_id", usual_call_id, METH_O, usual_call_id_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef steering_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.pipeline._steering",
    .m_doc = "The Call-ID of a message as it came.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC
PyInit__steering(void)
{
    return PyModule_Create(&steering_module);
}
