/* Start line, header lines and body as one message.

   `bytes.join` takes and gives back a buffer for each piece and copies each line end by itself: of a message with a
   dozen lines that is half of what it costs to write it. serializer.py does without where this module is not built. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

/* The bytes of these lines with their ends, added to `size`. Negative if one of them is no bytes, or if there are more
   than there can be: a long one may stand there many times. */
static Py_ssize_t
size_with(Py_ssize_t size, PyObject *lines)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(lines);
    PyObject **items = PySequence_Fast_ITEMS(lines);
    for (Py_ssize_t at = 0; at < count && size >= 0; at++) {
        if (!PyBytes_Check(items[at]))
            return -1;
        size = (Py_ssize_t)((size_t)size + (size_t)PyBytes_GET_SIZE(items[at]) + 2);
    }
    return size;
}

static inline char *
write_bytes(char *to, PyObject *bytes)
{
    Py_ssize_t size = PyBytes_GET_SIZE(bytes);
    memcpy(to, PyBytes_AS_STRING(bytes), (size_t)size);
    return to + size;
}

static inline char *
write_line(char *to, PyObject *line)
{
    to = write_bytes(to, line);
    memcpy(to, "\r\n", 2);
    return to + 2;
}

static char *
write_lines(char *to, PyObject *lines)
{
    Py_ssize_t count = PySequence_Fast_GET_SIZE(lines);
    PyObject **items = PySequence_Fast_ITEMS(lines);
    for (Py_ssize_t at = 0; at < count; at++)
        to = write_line(to, items[at]);
    return to;
}

PyDoc_STRVAR(joined_doc, "joined(start_line, begin, lines, body): a message with the lines of both lists or tuples.");

static PyObject *
joined(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    Py_ssize_t size = -1;
    if (count == 4 && PyBytes_Check(args[0]) && PyBytes_Check(args[3])
        && (PyList_Check(args[1]) || PyTuple_Check(args[1])) && (PyList_Check(args[2]) || PyTuple_Check(args[2]))) {
        size = (Py_ssize_t)((size_t)PyBytes_GET_SIZE(args[0]) + (size_t)PyBytes_GET_SIZE(args[3]) + 4);
        size = size_with(size, args[1]);
        size = size_with(size, args[2]);
    }
    if (size < 0) {
        PyErr_SetString(PyExc_TypeError, "joined takes bytes, two lists or tuples of bytes, and bytes");
        return NULL;
    }
    PyObject *out = PyBytes_FromStringAndSize(NULL, size);
    if (out == NULL)
        return NULL;
    char *to = write_line(PyBytes_AS_STRING(out), args[0]);
    to = write_lines(to, args[1]);
    to = write_lines(to, args[2]);
    memcpy(to, "\r\n", 2);
    write_bytes(to + 2, args[3]);
    return out;
}

static PyMethodDef methods[] = {
    {"joined", (PyCFunction)(void (*)(void))joined, METH_FASTCALL, joined_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef joined_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.sip._joined",
    .m_doc = "Messages written from their lines.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__joined(void)
{
    return PyModule_Create(&joined_module);
}
