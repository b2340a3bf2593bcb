/* One line of JSON from a layout and its values, in one pass: what record_text.py's PlainLayout does, and faster.

   `Layout(template, plain).fill(*values)` writes the values at their places in the template. What is written here is
   what nearly every record holds; a value beyond that (a long text, a lone surrogate, another type, a number out of
   the usual range) has `plain` write the whole line instead, with the same values. So `plain` alone says what is right
   there, and what is wrong raises there.

   record_text.py tells what a template may say, and does without where this module is not built. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#define PIECES 64
#define TEXT_CHARS 512      /* record.py's bound; what is longer is marked, by `plain` */
#define VALUE_BYTES 128     /* more than any value takes that is no text, no list and no bytes */
#define AT_ONCE 16          /* bytes of a template that are copied in one step: it is kept with as many behind it */
#define FIRST_BYTES 4096    /* on the stack; nearly every line fits */

typedef struct {
    Py_ssize_t start, before, after; /* the template's bytes in front of the value, and behind it within its group */
    char kind;                       /* 0: no value, only bytes */
    char is_group;                   /* left out when its value is empty */
} Piece;

typedef struct {
    PyObject_HEAD
    char *template;
    PyObject *plain;
    int pieces, values;
    Piece piece[PIECES];
} Layout;

typedef struct {
    char *start, *at, *end;
    char first[FIRST_BYTES];
} Line;

typedef enum { FAILED = -1, UNUSUAL = 0, WRITTEN = 1 } Result;

/* -- the line ------------------------------------------------------------------------------------------------- */

static int
make_room(Line *line, Py_ssize_t bytes)
{
    Py_ssize_t used = line->at - line->start, size = line->end - line->start;
    if (bytes > PY_SSIZE_T_MAX / 4 - used) {
        PyErr_NoMemory();
        return -1;
    }
    size = 2 * size > used + bytes ? 2 * size : used + bytes;
    char *made = line->start == line->first ? PyMem_Malloc(size) : PyMem_Realloc(line->start, size);
    if (made == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    if (line->start == line->first)
        memcpy(made, line->first, used);
    line->start = made;
    line->at = made + used;
    line->end = made + size;
    return 0;
}

static inline int
has_room(Line *line, Py_ssize_t bytes)
{
    return line->end - line->at >= bytes || make_room(line, bytes) == 0;
}

static inline void
write_bytes(Line *line, const char *bytes, Py_ssize_t length)
{
    memcpy(line->at, bytes, length);
    line->at += length;
}

/* Of the template; there is room for more than these. */
static inline void
write_piece(Line *line, const char *bytes, Py_ssize_t length)
{
    for (Py_ssize_t i = 0; i < length; i += AT_ONCE)
        memcpy(line->at + i, bytes + i, AT_ONCE);
    line->at += length;
}

static inline void
write_number(Line *line, unsigned long long number)
{
    char digits[24], *first = digits + sizeof digits;
    do
        *--first = (char)('0' + number % 10);
    while (number /= 10);
    write_bytes(line, first, digits + sizeof digits - first);
}

static inline void
write_digits(Line *line, unsigned number, int count)
{
    for (int place = count - 1; place >= 0; place--, number /= 10)
        line->at[place] = (char)('0' + number % 10);
    line->at += count;
}

/* -- texts ---------------------------------------------------------------------------------------------------- */

/* Which of eight bytes cannot stand in a JSON string as they are, or are no ASCII. */
static inline uint64_t
special_of(uint64_t eight)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), tops = UINT64_C(0x8080808080808080);
    uint64_t quotes = eight ^ ones * '"', slashes = eight ^ ones * '\\';
    return ((eight - ones * 0x20) | (quotes - ones) | (slashes - ones) | eight) & tops;
}

/* Copies bytes up to the first one that is special, or a few less; how many. The last eight, or of a short text the last
   four, are read and written once more with those before them. There is room for eight bytes in any case. */
static inline Py_ssize_t
copy_plain(char *to, const char *from, Py_ssize_t length)
{
    Py_ssize_t done = 0;
    uint64_t eight;
    if (length >= 8) {
        for (; length - done >= 8; done += 8) {
            memcpy(&eight, from + done, 8);
            if (special_of(eight))
                return done;
            memcpy(to + done, &eight, 8);
        }
        memcpy(&eight, from + length - 8, 8);
        if (special_of(eight))
            return done;
        memcpy(to + length - 8, &eight, 8);
        return length;
    }
    if (length >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + length - 4, 4);
        if (special_of((uint64_t)last << 32 | first))
            return 0;
        memcpy(to, &first, 4);
        memcpy(to + length - 4, &last, 4);
        return length;
    }
    return 0;
}

static void
write_char(Line *line, Py_UCS4 c)
{
    static const char hex[] = "0123456789abcdef";
    if (c >= 0x80) {
        if (c < 0x800)
            *line->at++ = (char)(0xC0 | c >> 6);
        else {
            if (c < 0x10000)
                *line->at++ = (char)(0xE0 | c >> 12);
            else {
                *line->at++ = (char)(0xF0 | c >> 18);
                *line->at++ = (char)(0x80 | (c >> 12 & 0x3F));
            }
            *line->at++ = (char)(0x80 | (c >> 6 & 0x3F));
        }
        *line->at++ = (char)(0x80 | (c & 0x3F));
        return;
    }
    if (c >= 0x20 && c != '"' && c != '\\') {
        *line->at++ = (char)c;
        return;
    }
    *line->at++ = '\\';
    switch (c) {
    case '"': case '\\': *line->at++ = (char)c; return;
    case '\b': *line->at++ = 'b'; return;
    case '\t': *line->at++ = 't'; return;
    case '\n': *line->at++ = 'n'; return;
    case '\f': *line->at++ = 'f'; return;
    case '\r': *line->at++ = 'r'; return;
    }
    write_bytes(line, "u00", 3);
    *line->at++ = hex[c >> 4];
    *line->at++ = hex[c & 15];
}

/* In quotation marks. */
static Result
write_text(Line *line, PyObject *text)
{
    if (!PyUnicode_Check(text) || PyUnicode_READY(text) < 0)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    if (length > TEXT_CHARS)
        return UNUSUAL;
    if (!has_room(line, 6 * length + VALUE_BYTES)) /* \u0000 is the most that one character takes */
        return FAILED;
    int kind = PyUnicode_KIND(text);
    const void *data = PyUnicode_DATA(text);
    Py_ssize_t i = 0;
    *line->at++ = '"';
    if (kind == PyUnicode_1BYTE_KIND) {
        const char *bytes = data;
        while (i < length) {
            Py_ssize_t copied = copy_plain(line->at, bytes + i, length - i);
            line->at += copied;
            i += copied;
            for (Py_ssize_t stop = length - i >= 8 ? i + 8 : length; i < stop; i++)
                write_char(line, (unsigned char)bytes[i]);
        }
    }
    else
        for (; i < length; i++) {
            Py_UCS4 c = PyUnicode_READ(kind, data, i);
            if (c >= 0xD800 && c < 0xE000)
                return UNUSUAL;
            write_char(line, c);
        }
    *line->at++ = '"';
    return WRITTEN;
}

/* A name and a weight with its sign, as one text. */
static Result
write_weighted(Line *line, PyObject *weighted)
{
    if (!PyTuple_Check(weighted) || PyTuple_GET_SIZE(weighted) < 2)
        return UNUSUAL;
    PyObject *name = PyTuple_GET_ITEM(weighted, 0), *number = PyTuple_GET_ITEM(weighted, 1);
    if (!PyUnicode_Check(name) || !PyLong_Check(number) || PyUnicode_GetLength(name) > TEXT_CHARS - 24)
        return UNUSUAL;
    int is_beyond;
    long weight = PyLong_AsLongAndOverflow(number, &is_beyond);
    if (weight == -1 && PyErr_Occurred())
        return FAILED;
    if (is_beyond || weight < -1000000 || weight > 1000000)
        return UNUSUAL;
    Result result = write_text(line, name);
    if (result != WRITTEN)
        return result;
    line->at[-1] = weight < 0 ? '-' : '+';
    write_number(line, (unsigned long long)(weight < 0 ? -weight : weight));
    *line->at++ = '"';
    return WRITTEN;
}

static Result
write_list(Line *line, PyObject *values, char kind)
{
    if (!PyList_Check(values) && !PyTuple_Check(values))
        return UNUSUAL;
    Py_ssize_t length = PySequence_Fast_GET_SIZE(values);
    PyObject **items = PySequence_Fast_ITEMS(values);
    for (Py_ssize_t i = 0; i < length; i++) {
        if (!has_room(line, VALUE_BYTES))
            return FAILED;
        if (i)
            *line->at++ = ',';
        Result result = kind == 'w' ? write_weighted(line, items[i]) : write_text(line, items[i]);
        if (result != WRITTEN)
            return result;
    }
    return WRITTEN;
}

/* -- all else; there is room for it ---------------------------------------------------------------------------- */

static Result
write_integer(Line *line, PyObject *value)
{
    if (value == Py_None) {
        write_bytes(line, "null", 4);
        return WRITTEN;
    }
    if (!PyLong_Check(value))
        return UNUSUAL;
    int is_beyond;
    long long number = PyLong_AsLongLongAndOverflow(value, &is_beyond);
    if (number == -1 && PyErr_Occurred())
        return FAILED;
    if (is_beyond)
        return UNUSUAL;
    if (number < 0)
        *line->at++ = '-';
    write_number(line, number < 0 ? -(unsigned long long)number : (unsigned long long)number);
    return WRITTEN;
}

static Result
write_id(Line *line, PyObject *value)
{
    if (!PyLong_Check(value))
        return UNUSUAL;
    unsigned long long number = PyLong_AsUnsignedLongLong(value);
    if (number == (unsigned long long)-1 && PyErr_Occurred()) {
        if (!PyErr_ExceptionMatches(PyExc_OverflowError))
            return FAILED;
        PyErr_Clear();
        return UNUSUAL;
    }
    for (int shift = 60; shift >= 0; shift -= 4)
        *line->at++ = "0123456789abcdef"[number >> shift & 15];
    return WRITTEN;
}

static Result
write_decimal(Line *line, PyObject *value, unsigned scale)
{
    if (value == Py_None) {
        write_bytes(line, "null", 4);
        return WRITTEN;
    }
    if (!PyFloat_Check(value))
        return UNUSUAL;
    double number = PyFloat_AS_DOUBLE(value), scaled = number * scale;
    if (number == 0.0 && !signbit(number)) {
        write_bytes(line, "0.0", 3);
        return WRITTEN;
    }
    /* Smaller, the shortest form may be one with an exponent; larger, too little of the fraction is left. */
    if (!(number >= 0.0001 && scaled < 1e12))
        return UNUSUAL;
    unsigned long long units = (unsigned long long)scaled;
    double rest = scaled - (double)units;
    if (rest > 0.499 && rest < 0.501) /* which way it is rounded, only the exact value tells */
        return UNUSUAL;
    units += rest > 0.5;
    unsigned part = (unsigned)(units % scale);
    int digits = scale == 1000 ? 3 : 6;
    write_number(line, units / scale);
    *line->at++ = '.';
    while (digits > 1 && part % 10 == 0) {
        part /= 10;
        digits--;
    }
    write_digits(line, part, digits);
    return WRITTEN;
}

static Result
write_address(Line *line, PyObject *value)
{
    if (!PyTuple_Check(value) || PyTuple_GET_SIZE(value) != 2)
        return UNUSUAL;
    PyObject *host = PyTuple_GET_ITEM(value, 0);
    if (!PyUnicode_Check(host) || PyUnicode_READY(host) < 0)
        return PyErr_Occurred() ? FAILED : UNUSUAL;
    Py_ssize_t length = PyUnicode_GET_LENGTH(host);
    if (!PyUnicode_IS_ASCII(host) || length > VALUE_BYTES - 32)
        return UNUSUAL;
    const char *bytes = PyUnicode_DATA(host);
    int is_v6 = memchr(bytes, ':', length) != NULL;
    if (is_v6)
        *line->at++ = '[';
    write_bytes(line, bytes, length);
    if (is_v6)
        *line->at++ = ']';
    *line->at++ = ':';
    return PyTuple_GET_ITEM(value, 1) == Py_None ? UNUSUAL : write_integer(line, PyTuple_GET_ITEM(value, 1));
}

/* Seconds since 1970 as RFC 3339 has them, with microseconds. */
static Result
write_time(Line *line, PyObject *value)
{
    if (!PyFloat_Check(value))
        return UNUSUAL;
    double at = PyFloat_AS_DOUBLE(value);
    if (!(at >= 0.0 && at < 4e9))
        return UNUSUAL;
    uint64_t seconds = (uint64_t)at;
    unsigned micros = (unsigned)((at - (double)seconds) * 1e6);
    unsigned days = (unsigned)(seconds / 86400), of_day = (unsigned)(seconds % 86400);
    /* Years are counted from March on, so that the day that some have more is the last one: 1970-01-01
       is 135080 days after 1600-03-01. */
    unsigned from_1600 = days + 135080, centuries = (4 * from_1600 + 3) / 146097;
    unsigned of_century = from_1600 - 146097 * centuries / 4, years = (4 * of_century + 3) / 1461;
    unsigned of_year = of_century - 1461 * years / 4, months = (5 * of_year + 2) / 153;
    unsigned day = of_year - (153 * months + 2) / 5 + 1, month = months < 10 ? months + 3 : months - 9;
    write_digits(line, 1600 + 100 * centuries + years + (month < 3), 4);
    *line->at++ = '-';
    write_digits(line, month, 2);
    *line->at++ = '-';
    write_digits(line, day, 2);
    *line->at++ = 'T';
    write_digits(line, of_day / 3600, 2);
    *line->at++ = ':';
    write_digits(line, of_day / 60 % 60, 2);
    *line->at++ = ':';
    write_digits(line, of_day % 60, 2);
    *line->at++ = '.';
    write_digits(line, micros, 6);
    *line->at++ = 'Z';
    return WRITTEN;
}

static Result
write_value(Line *line, char kind, PyObject *value)
{
    switch (kind) {
    case 's': return write_text(line, value);
    case 'd': return write_integer(line, value);
    case 'x': return write_id(line, value);
    case 'a': return write_address(line, value);
    case 't': return write_time(line, value);
    case 'f': return write_decimal(line, value, 1000000);
    case 'm': return write_decimal(line, value, 1000);
    case 'l':
    case 'w': return write_list(line, value, kind);
    }
    if (!PyBytes_Check(value))
        return UNUSUAL;
    if (!has_room(line, PyBytes_GET_SIZE(value)))
        return FAILED;
    write_bytes(line, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
    return WRITTEN;
}

static inline int
is_empty(PyObject *value)
{
    return value == Py_None || (PyUnicode_Check(value) && PyUnicode_GET_LENGTH(value) == 0)
        || (PyTuple_Check(value) && PyTuple_GET_SIZE(value) == 0) || (PyList_Check(value) && PyList_GET_SIZE(value) == 0);
}

/* -- the layout ----------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(fill_doc, "fill(*values)\n--\n\nThe line with these values in their places.");

static PyObject *
layout_fill(Layout *self, PyObject *const *values, Py_ssize_t count)
{
    if (count != self->values)
        return PyObject_Vectorcall(self->plain, values, count, NULL); /* which raises */
    const char *template = self->template;
    Line line;
    line.start = line.at = line.first;
    line.end = line.first + sizeof line.first;
    Result result = WRITTEN;
    PyObject *const *next = values;
    for (int i = 0; i < self->pieces && result == WRITTEN; i++) {
        const Piece *piece = &self->piece[i];
        PyObject *value = NULL;
        if (piece->kind) {
            value = *next++;
            if (piece->is_group && is_empty(value))
                continue;
        }
        if (!has_room(&line, piece->before + VALUE_BYTES)) {
            result = FAILED;
            break;
        }
        write_piece(&line, template + piece->start, piece->before);
        if (value == NULL)
            continue;
        result = write_value(&line, piece->kind, value);
        if (piece->after && result == WRITTEN) {
            if (has_room(&line, piece->after + AT_ONCE))
                /* Behind what stands in front of it and the two bytes that name its kind. */
                write_piece(&line, template + piece->start + piece->before + 2, piece->after);
            else
                result = FAILED;
        }
    }
    PyObject *made = NULL;
    if (result == WRITTEN)
        made = PyBytes_FromStringAndSize(line.start, line.at - line.start);
    if (line.start != line.first)
        PyMem_Free(line.start);
    return result == UNUSUAL ? PyObject_Vectorcall(self->plain, values, count, NULL) : made;
}

/* Take the template apart. */
static int
take_apart(Layout *self, const char *template, Py_ssize_t length)
{
    Piece *piece = self->piece;
    Py_ssize_t start = 0, i = 0;
    self->pieces = self->values = 0;
    while (i < length) {
        if (self->pieces == PIECES)
            return -1;
        piece = &self->piece[self->pieces];
        *piece = (Piece){.start = start};
        while (i < length && template[i] != '%' && template[i] != '<')
            i++;
        piece->before = i - start;
        if (i < length && template[i] == '<') {
            if (piece->before) {
                self->pieces++;
                start = i;
                continue;
            }
            piece->start = start = ++i;
            piece->is_group = 1;
            while (i < length && template[i] != '%')
                i++;
            piece->before = i - start;
            if (i == length)
                return -1;
        }
        if (i < length) {
            if (i + 1 == length || memchr("sdxbatfmlw", template[i + 1], 10) == NULL)
                return -1;
            piece->kind = template[i + 1];
            self->values++;
            start = i += 2;
            if (piece->is_group) {
                while (i < length && template[i] != '>')
                    i++;
                if (i == length)
                    return -1;
                piece->after = i - start;
                start = ++i;
            }
        }
        self->pieces++;
    }
    return 0;
}

static PyObject *
layout_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"template", "plain", NULL};
    PyObject *template, *plain;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "SO:Layout", keywords, &template, &plain))
        return NULL;
    Layout *self = (Layout *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->plain = Py_NewRef(plain);
    self->template = PyMem_Calloc(PyBytes_GET_SIZE(template) + AT_ONCE, 1);
    if (self->template == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    memcpy(self->template, PyBytes_AS_STRING(template), PyBytes_GET_SIZE(template));
    if (take_apart(self, self->template, PyBytes_GET_SIZE(template)) < 0) {
        PyErr_Format(PyExc_ValueError, "no layout: %R", template);
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

static void
layout_dealloc(Layout *self)
{
    PyMem_Free(self->template);
    Py_DECREF(self->plain);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef layout_methods[] = {
    {"fill", (PyCFunction)(void (*)(void))layout_fill, METH_FASTCALL, fill_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject layout_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "edge_proxy.pipeline._layout.Layout",
    .tp_basicsize = sizeof(Layout),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Layout(template, plain): writes lines of one kind.",
    .tp_new = layout_new,
    .tp_dealloc = (destructor)layout_dealloc,
    .tp_methods = layout_methods,
};

static struct PyModuleDef layout_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.pipeline._layout",
    .m_doc = "Lines of JSON from layouts.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__layout(void)
{
    PyObject *module = PyModule_Create(&layout_module);
    if (module != NULL && PyModule_AddType(module, &layout_type) < 0)
        Py_CLEAR(module);
    return module;
}
