/* The Call-ID of a message as it came, where it stands as nearly everybody writes it.

   Where several workers share an address, each looks for it in every message before anything else is done with that.
   steering.py says what counts as usual, and looks itself where this module is not built. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <string.h>

#define NAME "\nCall-ID: "

PyDoc_STRVAR(usual_call_id_doc, "usual_call_id(data): see usual_call_id in steering.py.");

static PyObject *
usual_call_id(PyObject *module, PyObject *data)
{
    (void)module;
    if (!PyBytes_Check(data)) {
        PyErr_SetString(PyExc_TypeError, "a message is bytes");
        return NULL;
    }
    const char *start = PyBytes_AS_STRING(data), *end = start + PyBytes_GET_SIZE(data);
    const char *name = memmem(start, (size_t)(end - start), NAME, sizeof NAME - 1);
    if (name == NULL || memmem(start, (size_t)(name + 1 - start), "\r\n\r\n", 4) != NULL)
        Py_RETURN_NONE;
    const char *value = name + sizeof NAME - 1, *after = value;
    while (after < end && !Py_ISSPACE(*after))
        after++;
    if (after == value || end - after < 2 || after[0] != '\r' || after[1] != '\n')
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(value, after - value);
}

static PyMethodDef functions[] = {
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
