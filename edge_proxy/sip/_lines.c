/* Cuts the head of a message into lines and finds those that came before.

   A `LineTable` holds what was kept for a line, by its bytes: it walks a datagram in place, and for a line that is held
   no byte is copied and no object made. It knows no SIP: what a line means, what may be kept for it, and what a name
   before a colon stands for is said by who reads it (parser.py), and every line that is not held goes there. Whether
   one is held changes what reading costs, and nothing else.

   line_memo.py holds the same in Python, for where this module is not built. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include "_memo.h"

#define NAMES 2048 /* twenty times what has a name of its own: hardly ever do five of these meet in a set */
#define LONGEST_NAME 64
#define MOST_HELD (1 << 20)
/* Of one head, whatever the caller would allow: one with more is for others to read. */
#define MOST_LINES 512
#define MOST_BYTES (1 << 24)
#define MOST_KINDS 64
#define SMALL MOST_LINES /* so that the place of every line is at hand */
#define START_SEED UINT64_C(0x5851F42D4C957F2D)
#define START (-1) /* the kind of a start line, which has a place of its own beside a header line of the same bytes */

typedef struct {
    PyObject_HEAD
    Memo lines;
    Memo names;
    uint64_t seed;
    PyObject *small[SMALL + 1]; /* -1 and the numbers below SMALL */
    Py_ssize_t longest;
    int kinds; /* 0: not made yet */
    int first_repeatable;
} LineTable;

static int
table_init(LineTable *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"seed", "most", "longest", "kinds", "first_repeatable", NULL};
    PyObject *seed;
    Py_ssize_t most, longest;
    int kinds, first_repeatable;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!nnii:LineTable", keywords, &PyLong_Type, &seed, &most, &longest,
                                     &kinds, &first_repeatable))
        return -1;
    if (self->kinds != 0) {
        PyErr_SetString(PyExc_TypeError, "a LineTable is made once");
        return -1;
    }
    if (most < WAYS || most > MOST_HELD || (most & (most - 1)) != 0) {
        PyErr_SetString(PyExc_ValueError, "most must be a power of two, 4 to 1,048,576");
        return -1;
    }
    if (longest < 0 || kinds < 1 || kinds > MOST_KINDS) {
        PyErr_SetString(PyExc_ValueError, "longest must not be negative, kinds be 1 to 64");
        return -1;
    }
    self->seed = PyLong_AsUnsignedLongLongMask(seed);
    if (PyErr_Occurred())
        return -1;
    for (int i = 0; i <= SMALL; i++) {
        if (self->small[i] == NULL)
            self->small[i] = PyLong_FromLong(i - 1);
        if (self->small[i] == NULL)
            return -1;
    }
    self->lines.sets = (size_t)most / WAYS;
    self->names.sets = NAMES / WAYS;
    self->longest = longest;
    self->first_repeatable = first_repeatable;
    self->kinds = kinds;
    return 0;
}

static int
table_traverse(LineTable *self, visitproc visit, void *arg)
{
    if (self->lines.places != NULL) {
        for (size_t i = 0; i < self->lines.sets * WAYS; i++)
            Py_VISIT(self->lines.places[i].kept);
    }
    return 0;
}

static int
table_clear(LineTable *self)
{
    forget(&self->lines);
    forget(&self->names);
    return 0;
}

static void
table_dealloc(LineTable *self)
{
    PyObject_GC_UnTrack(self);
    table_clear(self);
    for (int i = 0; i <= SMALL; i++)
        Py_XDECREF(self->small[i]);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int
is_made(LineTable *self)
{
    if (self->kinds != 0)
        return 1;
    PyErr_SetString(PyExc_ValueError, "this LineTable was never initialised");
    return 0;
}

static Py_ssize_t
table_len(LineTable *self)
{
    return self->lines.held;
}

/* Whether a text is one line, and none that continues another. */
static int
is_line(const char *text, Py_ssize_t size)
{
    return size > 0 && text[0] != ' ' && text[0] != '\t' && memchr(text, '\r', (size_t)size) == NULL
           && memchr(text, '\n', (size_t)size) == NULL;
}

/* Whether it may be kept as a text: bytes, and of no other class, which could hold the table in turn. */
static int
is_text(PyObject *text)
{
    if (PyBytes_CheckExact(text))
        return 1;
    PyErr_SetString(PyExc_TypeError, "what is kept is bytes");
    return 0;
}

/* A list of integers, nearly all of them small, or NULL. */
static PyObject *
list_of(LineTable *self, const int *numbers, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    if (list == NULL)
        return NULL;
    PyObject **items = PySequence_Fast_ITEMS(list);
    for (Py_ssize_t i = 0; i < count; i++) {
        int number = numbers[i];
        items[i] = number >= -1 && number < SMALL ? Py_NewRef(self->small[number + 1]) : PyLong_FromLong(number);
        if (items[i] == NULL) {
            Py_DECREF(list);
            return NULL;
        }
    }
    return list;
}

/* A list that takes over these references, or NULL, and then they are given back. */
static PyObject *
list_with(PyObject **items, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; i < count; i++) {
        if (list == NULL)
            Py_DECREF(items[i]);
        else
            PyList_SET_ITEM(list, i, items[i]);
    }
    return list;
}

/* A list of these, or NULL. */
static PyObject *
list_from(PyObject *const *items, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        PyList_SET_ITEM(list, i, Py_NewRef(items[i]));
    return list;
}

/* A list of new bytes, or NULL. */
static PyObject *
list_of_bytes(const char *const *texts, const int *sizes, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++) {
        PyObject *text = PyBytes_FromStringAndSize(texts[i], sizes[i]);
        if (text == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, text);
    }
    return list;
}

/* The kind of the line's name, and where its first colon stands; -1 each for what is not known or not there. */
static int
kind_of(LineTable *self, const char *text, Py_ssize_t size, int *colon_at)
{
    const char *colon = memchr(text, ':', (size_t)size);
    *colon_at = -1;
    if (colon == NULL || colon - text > MOST_BYTES)
        return -1;
    *colon_at = (int)(colon - text);
    const Place *place = find(&self->names, hash_of(self->seed, text, colon - text), text, colon - text);
    return place == NULL ? -1 : place->kind;
}

/* What a head is cut into. */
typedef struct {
    PyObject *lines[MOST_LINES];  /* references of its own; None for a line that is not held */
    const char *raws[MOST_LINES]; /* where those that are not held stand in the message */
    int raw_sizes[MOST_LINES];
    int unknown[3 * MOST_LINES];  /* index, kind and colon of each of them */
    PyObject *first[MOST_KINDS];  /* the numbers that they will be, borrowed */
    Py_ssize_t line_count, raw_count;
} Cut;

/* What is held for a start line, or its bytes: a new reference. NULL with an exception, or without one if it is not. */
static PyObject *
start_of(LineTable *self, const char *text, Py_ssize_t size)
{
    const Place *place = find(&self->lines, hash_of(self->seed ^ START_SEED, text, size), text, size);
    if (place != NULL && place->kind == START)
        return Py_NewRef(place->kept);
    return memchr(text, '\r', (size_t)size) == NULL ? PyBytes_FromStringAndSize(text, size) : NULL;
}

/* Add a line. False if it is not a line, or a second one of a kind that may stand there once. */
static inline int
add_line(LineTable *self, Cut *cut, const char *text, Py_ssize_t size)
{
    const Place *place = find(&self->lines, hash_of(self->seed, text, size), text, size);
    int index = (int)cut->line_count, kind;
    if (place != NULL && place->kind != START) {
        kind = place->kind;
        cut->lines[index] = Py_NewRef(place->kept);
    }
    else {
        if (!is_line(text, size))
            return 0;
        int *unknown = cut->unknown + 3 * cut->raw_count;
        kind = kind_of(self, text, size, &unknown[2]);
        unknown[0] = index;
        unknown[1] = kind;
        cut->raw_sizes[cut->raw_count] = (int)size;
        cut->raws[cut->raw_count++] = text;
        cut->lines[index] = Py_NewRef(Py_None);
    }
    cut->line_count++;
    if (kind > 0) {
        if (cut->first[kind] == self->small[0])
            cut->first[kind] = self->small[index + 1];
        else
            return kind >= self->first_repeatable;
    }
    return 1;
}

/* Cut all lines up to the empty one; none may end behind `limit`. Where the body begins, or NULL if anything is not as
   usual, and what was cut by then has to be given back. */
static inline const char *
cut_lines(LineTable *self, Cut *cut, const char *at, const char *end, const char *limit, Py_ssize_t most_lines)
{
    cut->line_count = cut->raw_count = 0;
    for (int i = 0; i < self->kinds; i++)
        cut->first[i] = self->small[0];
    for (;;) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL || line_end[-1] != '\r')
            return NULL;
        Py_ssize_t size = line_end - at - 1;
        if (size == 0)
            return cut->line_count > 0 ? line_end + 1 : NULL;
        if (cut->line_count >= most_lines || at + size > limit || !add_line(self, cut, at, size))
            return NULL;
        at = line_end + 1;
    }
}

/* What cut() returns of all this, which takes over the start and the lines; or NULL, and they are given back. */
static PyObject *
head_of(LineTable *self, Cut *cut, PyObject *start, const char *body, Py_ssize_t body_size)
{
    PyObject *parts[] = {
        start,
        list_with(cut->lines, cut->line_count),
        list_from(cut->first, self->kinds),
        PyBytes_FromStringAndSize(body, body_size),
        cut->raw_count ? list_of(self, cut->unknown, 3 * cut->raw_count) : Py_NewRef(Py_None),
        cut->raw_count ? list_of_bytes(cut->raws, cut->raw_sizes, cut->raw_count) : Py_NewRef(Py_None),
    };
    PyObject *head = PyTuple_New(6);
    int is_whole = head != NULL;
    for (int i = 0; i < 6; i++) {
        is_whole = is_whole && parts[i] != NULL;
        if (head != NULL)
            PyTuple_SET_ITEM(head, i, parts[i]);
        else
            Py_XDECREF(parts[i]);
    }
    if (!is_whole)
        Py_CLEAR(head);
    return head;
}

/* What the functions take and return is told at length in line_memo.py. */
PyDoc_STRVAR(cut_doc, "cut(data, most_lines, most_bytes) -> (start, lines, first, body, unknown, raws), or None");

static PyObject *
table_cut(LineTable *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "cut() takes bytes and two integers");
        return NULL;
    }
    Py_ssize_t most_lines = PyLong_AsSsize_t(args[1]);
    if (most_lines == -1 && PyErr_Occurred())
        return NULL;
    Py_ssize_t most_bytes = PyLong_AsSsize_t(args[2]);
    if (most_bytes == -1 && PyErr_Occurred())
        return NULL;
    if (!is_made(self))
        return NULL;
    const char *const begin = PyBytes_AS_STRING(args[0]);
    const char *const end = begin + PyBytes_GET_SIZE(args[0]);
    if (most_lines > MOST_LINES)
        most_lines = MOST_LINES;
    if (most_bytes > MOST_BYTES)
        most_bytes = MOST_BYTES;
    const char *const limit = most_bytes < 0 ? begin : most_bytes < end - begin ? begin + most_bytes : end;

    const char *line_end = memchr(begin, '\n', (size_t)(end - begin));
    if (line_end == NULL || line_end - begin < 2 || line_end[-1] != '\r')
        Py_RETURN_NONE;
    PyObject *start = start_of(self, begin, line_end - begin - 1);
    if (start == NULL) {
        if (PyErr_Occurred())
            return NULL;
        Py_RETURN_NONE;
    }
    Cut cut;
    const char *body = cut_lines(self, &cut, line_end + 1, end, limit, most_lines);
    if (body != NULL)
        return head_of(self, &cut, start, body, end - body);
    Py_DECREF(start);
    while (cut.line_count > 0)
        Py_DECREF(cut.lines[--cut.line_count]);
    Py_RETURN_NONE;
}

/* A head that is being split, up to where it was looked at. */
typedef struct {
    const char *after, *end;
    int has_end, has_bare;
} Rest;

/* Pass over a line, and the folds that continue it if it is no start line; where its text ends. It ends in CRLF, or with
   all there is. */
static const char *
pass_line(Rest *rest, int is_start)
{
    const char *const end = rest->end;
    for (;;) {
        const char *after = rest->after, *line_end = memchr(after, '\n', (size_t)(end - after));
        int is_crlf = line_end != NULL && line_end > after && line_end[-1] == '\r';
        const char *text_end = line_end == NULL ? end : line_end - is_crlf;
        rest->has_bare |= (line_end != NULL && !is_crlf) || memchr(after, '\r', (size_t)(text_end - after)) != NULL;
        rest->after = after = line_end == NULL ? end : line_end + 1;
        if (after < end && (!is_crlf || (!is_start && (*after == ' ' || *after == '\t'))))
            continue;
        rest->has_end = is_crlf && end - after >= 2 && after[0] == '\r' && after[1] == '\n';
        return is_crlf ? text_end : end;
    }
}

PyDoc_STRVAR(split_doc, "split(data, most_lines) -> (start, lines, names, body, has_end, has_bare)");

static PyObject *
table_split(LineTable *self, PyObject *args)
{
    PyObject *data;
    Py_ssize_t most_lines;
    if (!PyArg_ParseTuple(args, "O!n:split", &PyBytes_Type, &data, &most_lines) || !is_made(self))
        return NULL;
    Rest rest = {.after = PyBytes_AS_STRING(data), .end = PyBytes_AS_STRING(data) + PyBytes_GET_SIZE(data)};
    if (most_lines < 0)
        most_lines = 0;
    if (most_lines > PyBytes_GET_SIZE(data))
        most_lines = PyBytes_GET_SIZE(data); /* there are not as many */
    int *names = PyMem_New(int, 2 * (most_lines + 1));
    PyObject *lines = PyList_New(0), *start = NULL, *list = NULL, *found = NULL;
    if (names == NULL)
        PyErr_NoMemory();
    if (names == NULL || lines == NULL)
        goto done;
    Py_ssize_t count = 0;
    while (!rest.has_end && rest.after < rest.end) {
        const char *text = rest.after;
        Py_ssize_t size = pass_line(&rest, start == NULL) - text;
        if (start == NULL) {
            start = PyBytes_FromStringAndSize(text, size);
            if (start == NULL)
                goto done;
        }
        else if (count <= most_lines) {
            PyObject *line = PyBytes_FromStringAndSize(text, size);
            int failed = line == NULL || PyList_Append(lines, line) < 0;
            Py_XDECREF(line);
            if (failed)
                goto done;
            names[2 * count] = kind_of(self, text, size, &names[2 * count + 1]);
            count++;
        }
    }
    if (start == NULL)
        start = PyBytes_FromStringAndSize(NULL, 0);
    list = list_of(self, names, 2 * count);
    if (rest.has_end)
        rest.after += 2;
    if (start != NULL && list != NULL)
        found = Py_BuildValue("OOOy#NN", start, lines, list, rest.after, rest.end - rest.after,
                              PyBool_FromLong(rest.has_end), PyBool_FromLong(rest.has_bare));
done:
    PyMem_Free(names);
    Py_XDECREF(start);
    Py_XDECREF(lines);
    Py_XDECREF(list);
    return found;
}

PyDoc_STRVAR(keep_doc, "keep(unknown, raws, lines, once): keep what was read of the lines that cut() had not held.");

static PyObject *
table_keep(LineTable *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyList_Check(args[0]) || !PyList_Check(args[1]) || !PyList_Check(args[2])) {
        PyErr_SetString(PyExc_TypeError, "keep() takes three lists and an integer");
        return NULL;
    }
    Py_ssize_t once = PyLong_AsSsize_t(args[3]);
    if (once == -1 && PyErr_Occurred())
        return NULL;
    if (!is_made(self))
        return NULL;
    /* The lists are asked for their length each time: what is let go may call back. (PyLong_AsSsize_t does not.) */
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(args[1]); i++) {
        if (3 * i + 2 >= PyList_GET_SIZE(args[0])) {
            PyErr_SetString(PyExc_ValueError, "each line needs three numbers");
            return NULL;
        }
        Py_ssize_t index = PyLong_AsSsize_t(PyList_GET_ITEM(args[0], 3 * i));
        if (index == -1 && PyErr_Occurred())
            return NULL;
        Py_ssize_t kind = PyLong_AsSsize_t(PyList_GET_ITEM(args[0], 3 * i + 1));
        if (kind == -1 && PyErr_Occurred())
            return NULL;
        if (index < 0 || index >= PyList_GET_SIZE(args[2]) || kind < 0 || kind >= self->kinds) {
            PyErr_SetString(PyExc_ValueError, "there is no such line or kind");
            return NULL;
        }
        PyObject *raw = PyList_GET_ITEM(args[1], i);
        if (!is_text(raw))
            return NULL;
        const char *text = PyBytes_AS_STRING(raw);
        Py_ssize_t size = PyBytes_GET_SIZE(raw);
        if (kind == once || size > self->longest || !is_line(text, size))
            continue;
        PyObject *line = PyList_GET_ITEM(args[2], index);
        if (put(&self->lines, hash_of(self->seed, text, size), raw, line, (int)kind) < 0)
            return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(keep_start_doc, "keep_start(raw, start): keep what was read of a start line.");

static PyObject *
table_keep_start(LineTable *self, PyObject *args)
{
    PyObject *raw, *start;
    if (!PyArg_ParseTuple(args, "OO:keep_start", &raw, &start) || !is_text(raw) || !is_made(self))
        return NULL;
    const char *text = PyBytes_AS_STRING(raw);
    Py_ssize_t size = PyBytes_GET_SIZE(raw);
    if (size <= self->longest && is_line(text, size)
        && put(&self->lines, hash_of(self->seed ^ START_SEED, text, size), raw, start, START) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(keep_name_doc, "keep_name(name, kind): lines with these bytes before their first colon are of this kind.");

static PyObject *
table_keep_name(LineTable *self, PyObject *args)
{
    PyObject *name;
    int kind;
    if (!PyArg_ParseTuple(args, "Oi:keep_name", &name, &kind) || !is_text(name) || !is_made(self))
        return NULL;
    if (kind < 0 || kind >= self->kinds) {
        PyErr_SetString(PyExc_ValueError, "there is no such kind");
        return NULL;
    }
    const char *text = PyBytes_AS_STRING(name);
    Py_ssize_t size = PyBytes_GET_SIZE(name);
    if (size <= LONGEST_NAME && put(&self->names, hash_of(self->seed, text, size), name, NULL, kind) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(forget_doc, "forget(): let go of all lines, and of the memory for them; the names stay.");

static PyObject *
table_forget(LineTable *self, PyObject *unused)
{
    (void)unused;
    forget(&self->lines);
    Py_RETURN_NONE;
}

static PyMethodDef table_methods[] = {
    {"cut", (PyCFunction)(void (*)(void))table_cut, METH_FASTCALL, cut_doc},
    {"split", (PyCFunction)table_split, METH_VARARGS, split_doc},
    {"keep", (PyCFunction)(void (*)(void))table_keep, METH_FASTCALL, keep_doc},
    {"keep_start", (PyCFunction)table_keep_start, METH_VARARGS, keep_start_doc},
    {"keep_name", (PyCFunction)table_keep_name, METH_VARARGS, keep_name_doc},
    {"forget", (PyCFunction)table_forget, METH_NOARGS, forget_doc},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods table_sequence = {.sq_length = (lenfunc)table_len};

static PyTypeObject table_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "edge_proxy.sip._lines.LineTable",
    .tp_basicsize = sizeof(LineTable),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "LineTable(seed, most, longest, kinds, first_repeatable): what was kept for the latest lines.",
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)table_init,
    .tp_dealloc = (destructor)table_dealloc,
    .tp_traverse = (traverseproc)table_traverse,
    .tp_clear = (inquiry)table_clear,
    .tp_as_sequence = &table_sequence,
    .tp_methods = table_methods,
};

static struct PyModuleDef lines_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.sip._lines",
    .m_doc = "The head of a message cut into lines, and those found that came before.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__lines(void)
{
    PyObject *module = PyModule_Create(&lines_module);
    if (module != NULL && PyModule_AddType(module, &table_type) < 0)
        Py_CLEAR(module);
    return module;
}
