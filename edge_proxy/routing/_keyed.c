/* BLAKE2b (RFC 7693) with a key that is worked in once, and its digest in the letters it is sent in.

   Each request that is forwarded bears one to three digests. hashlib makes three objects and four calls of each; this
   makes one of either, with the same bytes. On Python 3.11 a branch takes 590 ns by hashlib and 250 ns here, a token
   that is signed 800 and 245, one that is opened 1,060 and 285; most of what is left is the one block that is hashed.
   That is all it is here for: it has no other algorithm, and what it gives is held to hashlib by the tests. keyed.py
   does without where this module is not built. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 128
#define MOST 64 /* bytes of a digest or a key */

static const uint64_t IV[8] = {
    0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu, 0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u,
    0x510e527fade682d1u, 0x9b05688c2b3e6c1fu, 0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u,
};

static const uint8_t SIGMA[12][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
};

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char HEX[] = "0123456789abcdef";

typedef struct {
    uint64_t h[8];
    uint64_t taken; /* bytes compressed so far: of 2**64 none is ever short */
    size_t held;    /* bytes of the block, which is compressed when more come */
    uint8_t block[BLOCK];
} State;

typedef struct {
    PyObject_HEAD
    State begun; /* the key, if there is one, is its block */
    uint64_t keyed[8]; /* h when the key's block has been compressed */
    int has_key;
    int size;
} Keyed;

static inline uint64_t
rotated(uint64_t word, int by)
{
    return word >> by | word << (64 - by);
}

#define MIX(a, b, c, d, x, y)         \
    do {                              \
        a += b + m[x];                \
        d = rotated(d ^ a, 32);       \
        c += d;                       \
        b = rotated(b ^ c, 24);       \
        a += b + m[y];                \
        d = rotated(d ^ a, 16);       \
        c += d;                       \
        b = rotated(b ^ c, 63);       \
    } while (0)

/* One block (RFC 7693 §3.2). The rounds are a loop: unrolled, they would put aside much of what the processor holds of
   other code. */
static void
compress(uint64_t h[8], const uint8_t block[BLOCK], uint64_t taken, int is_last)
{
    uint64_t m[16];
    memcpy(m, block, BLOCK);
    for (int at = 0; at < 16; at++)
        m[at] = le64toh(m[at]);
    uint64_t v0 = h[0], v1 = h[1], v2 = h[2], v3 = h[3], v4 = h[4], v5 = h[5], v6 = h[6], v7 = h[7];
    uint64_t v8 = IV[0], v9 = IV[1], v10 = IV[2], v11 = IV[3];
    uint64_t v12 = IV[4] ^ taken, v13 = IV[5], v14 = is_last ? ~IV[6] : IV[6], v15 = IV[7];
    for (int round = 0; round < 12; round++) {
        const uint8_t *s = SIGMA[round];
        MIX(v0, v4, v8, v12, s[0], s[1]);
        MIX(v1, v5, v9, v13, s[2], s[3]);
        MIX(v2, v6, v10, v14, s[4], s[5]);
        MIX(v3, v7, v11, v15, s[6], s[7]);
        MIX(v0, v5, v10, v15, s[8], s[9]);
        MIX(v1, v6, v11, v12, s[10], s[11]);
        MIX(v2, v7, v8, v13, s[12], s[13]);
        MIX(v3, v4, v9, v14, s[14], s[15]);
    }
    h[0] ^= v0 ^ v8;
    h[1] ^= v1 ^ v9;
    h[2] ^= v2 ^ v10;
    h[3] ^= v3 ^ v11;
    h[4] ^= v4 ^ v12;
    h[5] ^= v5 ^ v13;
    h[6] ^= v6 ^ v14;
    h[7] ^= v7 ^ v15;
}

static void
begin(const Keyed *self, State *state)
{
    memcpy(state->h, self->begun.h, sizeof state->h);
    state->taken = 0;
    state->held = 0;
    if (self->has_key) {
        memcpy(state->block, self->begun.block, BLOCK);
        state->held = BLOCK;
    }
}

static void
take(const Keyed *self, State *state, const void *text, size_t length)
{
    const uint8_t *from = text;
    while (length > 0) {
        if (state->held == BLOCK) {
            state->taken += BLOCK;
            if (self->has_key && state->taken == BLOCK)
                memcpy(state->h, self->keyed, sizeof state->h);
            else
                compress(state->h, state->block, state->taken, 0);
            state->held = 0;
        }
        size_t part = BLOCK - state->held < length ? BLOCK - state->held : length;
        memcpy(state->block + state->held, from, part);
        state->held += part;
        from += part;
        length -= part;
    }
}

static void
finish(State *state, uint8_t digest[MOST])
{
    memset(state->block + state->held, 0, BLOCK - state->held);
    compress(state->h, state->block, state->taken + state->held, 1);
    for (int at = 0; at < 8; at++) {
        uint64_t word = htole64(state->h[at]);
        memcpy(digest + 8 * at, &word, 8);
    }
}

static inline void
take_bytes(const Keyed *self, State *state, PyObject *text)
{
    take(self, state, PyBytes_AS_STRING(text), (size_t)PyBytes_GET_SIZE(text));
}

static void
digest_bytes(const Keyed *self, PyObject *text, uint8_t digest[MOST])
{
    State state;
    begin(self, &state);
    take_bytes(self, &state, text);
    finish(&state, digest);
}

static char *
write_hex(char *to, const uint8_t *from, int size)
{
    for (int at = 0; at < size; at++) {
        *to++ = HEX[from[at] >> 4];
        *to++ = HEX[from[at] & 15];
    }
    return to;
}

/* How many letters of base 64 hold so many bytes, without what only fills up. */
static inline Py_ssize_t
letters_of(Py_ssize_t size)
{
    return size / 3 * 4 + (size % 3 ? size % 3 + 1 : 0);
}

static void
write_base64(char *to, const uint8_t *from, Py_ssize_t size)
{
    for (; size >= 3; size -= 3, from += 3) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        *to++ = BASE64[bits >> 18];
        *to++ = BASE64[bits >> 12 & 63];
        *to++ = BASE64[bits >> 6 & 63];
        *to++ = BASE64[bits & 63];
    }
    if (size > 0) {
        uint32_t bits = (uint32_t)from[0] << 16 | (size > 1 ? (uint32_t)from[1] << 8 : 0);
        *to++ = BASE64[bits >> 18];
        *to++ = BASE64[bits >> 12 & 63];
        if (size > 1)
            *to++ = BASE64[bits >> 6 & 63];
    }
}

/* Up to 20 digits and a sign. */
static int
write_decimal(char *to, long long number)
{
    char digits[20];
    int count = 0, length = 0;
    unsigned long long left = number < 0 ? 0ull - (unsigned long long)number : (unsigned long long)number;
    do {
        digits[count++] = (char)('0' + left % 10);
        left /= 10;
    } while (left > 0);
    if (number < 0)
        to[length++] = '-';
    while (count > 0)
        to[length++] = digits[--count];
    return length;
}

static int
are_bytes(PyObject *const *args, Py_ssize_t count, Py_ssize_t expected)
{
    int is_right = count == expected;
    for (Py_ssize_t at = 0; is_right && at < count; at++)
        is_right = PyBytes_Check(args[at]);
    if (!is_right)
        PyErr_Format(PyExc_TypeError, "takes %zd bytes objects", expected);
    return is_right;
}

PyDoc_STRVAR(hex_doc, "hex(text): its digest in hexadecimal digits.");

static PyObject *
keyed_hex(Keyed *self, PyObject *text)
{
    uint8_t digest[MOST];
    if (!are_bytes(&text, 1, 1))
        return NULL;
    digest_bytes(self, text, digest);
    PyObject *out = PyBytes_FromStringAndSize(NULL, 2 * self->size);
    if (out != NULL)
        write_hex(PyBytes_AS_STRING(out), digest, self->size);
    return out;
}

PyDoc_STRVAR(base64_doc, "base64(text): its digest in the letters of RFC 4648 §5.");

static PyObject *
keyed_base64(Keyed *self, PyObject *text)
{
    uint8_t digest[MOST];
    if (!are_bytes(&text, 1, 1))
        return NULL;
    digest_bytes(self, text, digest);
    PyObject *out = PyBytes_FromStringAndSize(NULL, letters_of(self->size));
    if (out != NULL)
        write_base64(PyBytes_AS_STRING(out), digest, self->size);
    return out;
}

PyDoc_STRVAR(branch_doc, "branch(key, call_id, cseq, attempt, mark): see keyed.py.");

static PyObject *
keyed_branch(Keyed *self, PyObject *const *args, Py_ssize_t count)
{
    static const char cookie[] = "z9hG4bK";
    State state;
    uint8_t digest[MOST];
    char numbers[48];
    if (count != 5 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1]) || !PyBytes_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "branch takes bytes, bytes, int, int and bytes");
        return NULL;
    }
    long long cseq = PyLong_AsLongLong(args[2]);
    if (cseq == -1 && PyErr_Occurred())
        return NULL;
    long long attempt = PyLong_AsLongLong(args[3]);
    if (attempt == -1 && PyErr_Occurred())
        return NULL;
    int length = 0;
    numbers[length++] = '\0';
    length += write_decimal(numbers + length, cseq);
    numbers[length++] = ' ';
    length += write_decimal(numbers + length, attempt);
    begin(self, &state);
    take_bytes(self, &state, args[0]);
    take(self, &state, "", 1);
    take_bytes(self, &state, args[1]);
    take(self, &state, numbers, (size_t)length);
    finish(&state, digest);
    Py_ssize_t mark = PyBytes_GET_SIZE(args[4]);
    Py_ssize_t size = (Py_ssize_t)sizeof cookie - 1 + 2 * self->size + (mark ? 1 + mark : 0);
    PyObject *out = PyBytes_FromStringAndSize(NULL, size);
    if (out == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(out);
    memcpy(to, cookie, sizeof cookie - 1);
    to = write_hex(to + sizeof cookie - 1, digest, self->size);
    if (mark) {
        *to++ = '.';
        memcpy(to, PyBytes_AS_STRING(args[4]), (size_t)mark);
    }
    return out;
}

static void
digest_signed(const Keyed *self, const void *text, size_t length, PyObject *about, uint8_t digest[MOST])
{
    State state;
    const uint8_t size[2] = {(uint8_t)(length >> 8), (uint8_t)length};
    begin(self, &state);
    take(self, &state, size, 2);
    take(self, &state, text, length);
    take_bytes(self, &state, about);
    finish(&state, digest);
}

#define MOST_SIGNED 65535 /* its length is told in two bytes */

PyDoc_STRVAR(sign_doc, "sign(text, about): see keyed.py.");

static PyObject *
keyed_sign(Keyed *self, PyObject *const *args, Py_ssize_t count)
{
    uint8_t digest[MOST], few[256];
    if (!are_bytes(args, count, 2))
        return NULL;
    size_t length = (size_t)PyBytes_GET_SIZE(args[0]), size = (size_t)self->size;
    if (length > MOST_SIGNED) {
        PyErr_SetString(PyExc_OverflowError, "too long to be signed");
        return NULL;
    }
    uint8_t *raw = size + length <= sizeof few ? few : PyMem_Malloc(size + length);
    if (raw == NULL)
        return PyErr_NoMemory();
    digest_signed(self, PyBytes_AS_STRING(args[0]), length, args[1], digest);
    memcpy(raw, digest, size);
    memcpy(raw + size, PyBytes_AS_STRING(args[0]), length);
    PyObject *out = PyBytes_FromStringAndSize(NULL, letters_of((Py_ssize_t)(size + length)));
    if (out != NULL)
        write_base64(PyBytes_AS_STRING(out), raw, (Py_ssize_t)(size + length));
    if (raw != few)
        PyMem_Free(raw);
    return out;
}

static int
value_of(uint8_t letter)
{
    if (letter >= 'A' && letter <= 'Z')
        return letter - 'A';
    if (letter >= 'a' && letter <= 'z')
        return letter - 'a' + 26;
    if (letter >= '0' && letter <= '9')
        return letter - '0' + 52;
    return letter == '-' ? 62 : letter == '_' ? 63 : -1;
}

/* Base 64 as `write_base64` writes it, to bytes; false for any other letters and for bits that nothing asks for. */
static int
read_base64(uint8_t *to, const uint8_t *from, Py_ssize_t letters)
{
    uint32_t bits = 0;
    int held = 0;
    for (Py_ssize_t at = 0; at < letters; at++) {
        int value = value_of(from[at]);
        if (value < 0)
            return 0;
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held >= 8) {
            held -= 8;
            *to++ = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    return held < 6 && bits == 0;
}

PyDoc_STRVAR(open_doc, "open(signed, about): see keyed.py.");

static PyObject *
keyed_open(Keyed *self, PyObject *const *args, Py_ssize_t count)
{
    uint8_t digest[MOST], few[256];
    if (!are_bytes(args, count, 2))
        return NULL;
    Py_ssize_t letters = PyBytes_GET_SIZE(args[0]), bytes = letters / 4 * 3 + letters % 4 * 3 / 4;
    if (bytes < self->size || bytes - self->size > MOST_SIGNED || letters % 4 == 1)
        Py_RETURN_NONE;
    uint8_t *raw = bytes <= (Py_ssize_t)sizeof few ? few : PyMem_Malloc((size_t)bytes);
    if (raw == NULL)
        return PyErr_NoMemory();
    PyObject *out = NULL;
    int is_signed = 0;
    if (read_base64(raw, (const uint8_t *)PyBytes_AS_STRING(args[0]), letters)) {
        const uint8_t *text = raw + self->size;
        Py_ssize_t length = bytes - self->size;
        digest_signed(self, text, (size_t)length, args[1], digest);
        unsigned differing = 0; /* all are looked at: how long it takes tells nobody how many are right */
        for (int at = 0; at < self->size; at++)
            differing |= (unsigned)(raw[at] ^ digest[at]);
        is_signed = differing == 0;
        if (is_signed)
            out = PyBytes_FromStringAndSize((const char *)text, length);
    }
    if (raw != few)
        PyMem_Free(raw);
    return is_signed ? out : Py_NewRef(Py_None);
}

static PyObject *
keyed_new(PyTypeObject *type, PyObject *args, PyObject *named)
{
    static char *names[] = {"size", "key", "salt", "person", NULL};
    const char *key = "", *salt = "", *person = "";
    Py_ssize_t key_size = 0, salt_size = 0, person_size = 0;
    int size;
    if (!PyArg_ParseTupleAndKeywords(args, named, "i|$y#y#y#", names, &size, &key, &key_size, &salt, &salt_size,
                                     &person, &person_size))
        return NULL;
    if (size < 1 || size > MOST || key_size > MOST || salt_size > 16 || person_size > 16) {
        PyErr_SetString(PyExc_ValueError, "a digest or key of more than 64 bytes, a salt or person of more than 16");
        return NULL;
    }
    Keyed *self = (Keyed *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    uint8_t parameters[64] = {(uint8_t)size, (uint8_t)key_size, 1, 1}; /* RFC 7693 §2.5: no tree */
    memcpy(parameters + 32, salt, (size_t)salt_size);
    memcpy(parameters + 48, person, (size_t)person_size);
    uint64_t words[8];
    memcpy(words, parameters, sizeof words);
    for (int at = 0; at < 8; at++)
        self->begun.h[at] = IV[at] ^ le64toh(words[at]);
    self->size = size;
    self->has_key = key_size > 0;
    memcpy(self->begun.block, key, (size_t)key_size);
    memcpy(self->keyed, self->begun.h, sizeof self->keyed);
    compress(self->keyed, self->begun.block, BLOCK, 0);
    return (PyObject *)self;
}

static PyMethodDef keyed_methods[] = {
    {"hex", (PyCFunction)keyed_hex, METH_O, hex_doc},
    {"base64", (PyCFunction)keyed_base64, METH_O, base64_doc},
    {"branch", (PyCFunction)(void (*)(void))keyed_branch, METH_FASTCALL, branch_doc},
    {"sign", (PyCFunction)(void (*)(void))keyed_sign, METH_FASTCALL, sign_doc},
    {"open", (PyCFunction)(void (*)(void))keyed_open, METH_FASTCALL, open_doc},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject keyed_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "edge_proxy.routing._keyed.Keyed",
    .tp_basicsize = sizeof(Keyed),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_doc = "Keyed(size, *, key=b'', salt=b'', person=b''): BLAKE2b of that many bytes.",
    .tp_new = keyed_new,
    .tp_methods = keyed_methods,
};

static struct PyModuleDef keyed_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.routing._keyed",
    .m_doc = "Keyed digests in the letters they are sent in.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__keyed(void)
{
    PyObject *module = PyModule_Create(&keyed_module);
    if (module != NULL && PyModule_AddType(module, &keyed_type) < 0)
        Py_CLEAR(module);
    return module;
}
