/* A record into the ring, and what the ring holds into lines of the journal.

   `store` lays one record down as a frame and moves the head, as ring.py does it. `chain` makes chained lines of the
   frames from a position on, as EvidenceRing.read and SegmentWriter.append do it; while it has much to do, calls go
   on. ring.py and segments.py tell how both look, and do without where this module is not built.

   Checksum and hash are of their own because both stand between other bytes of the same record, and the hash of each
   line in the next one: by zlib and hashlib every record is seven calls and as many objects, under the interpreter's
   lock, which hashlib lets go of for more than 2,047 bytes at once only. On Python 3.11 a record of 600 bytes takes
   570 to 760 ns to store that way and 230 here (420 by tables), and in the thread that writes the journal 2,280 ns
   with the lock and 890 without it. The tests hold both to zlib and hashlib.

   Both are worked out by the instructions that an x86 processor has for them (PCLMULQDQ and the SHA extensions), or
   else in C. Other processors have some that only the library knows that hashlib asks: CAN_CHAIN says that `chain` is
   the slower way there. What lies in the ring may have been written over from elsewhere: nothing there is read twice,
   and nothing is believed before its checksum is right. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#define IS_X86 1
#else
#define IS_X86 0
#endif

#define HEADER_BYTES 4096
#define FRAME_BYTES 16
#define HEAD_WORD 8
#define GO_ON_AT_START UINT32_C(0xFFFFFFFF)
#define LARGEST ((uint64_t)1 << 40) /* bytes of a ring */
#define DIGITS 64                   /* of a hash */
#define LARGEST_RECORD ((uint64_t)1 << 19)
#define MOST_AT_ONCE ((uint64_t)1 << 24)
#define WORTH_LETTING_GO ((uint64_t)16 << 10) /* less takes less time than to get the interpreter's lock back */
#define AROUND_BYTES 128            /* more than a line has beside its record */

static int uses_instructions = 1; /* where the processor has them; tests say no */
#if IS_X86
static int has_sha, has_clmul;
#endif

/* -- CRC-32 (that of zlib), eight bytes at a time, or sixteen by a multiplication --------------------------------- */

#define POLYNOMIAL UINT32_C(0xEDB88320)

static uint32_t crc_table[8][256];

static void
make_crc_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
        crc_table[0][i] = crc;
    }
    for (int place = 1; place < 8; place++)
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t before = crc_table[place - 1][i];
            crc_table[place][i] = before >> 8 ^ crc_table[0][before & 255];
        }
}

static uint32_t
crc_of(uint32_t crc, const unsigned char *bytes, size_t length)
{
    for (; length >= 8; length -= 8, bytes += 8) {
        uint32_t low = bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        low ^= crc;
        crc = crc_table[7][low & 255] ^ crc_table[6][low >> 8 & 255] ^ crc_table[5][low >> 16 & 255]
            ^ crc_table[4][low >> 24] ^ crc_table[3][bytes[4]] ^ crc_table[2][bytes[5]] ^ crc_table[1][bytes[6]]
            ^ crc_table[0][bytes[7]];
    }
    for (; length; length--, bytes++)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *bytes) & 255];
    return crc;
}

#if IS_X86

/* x to the power of `bits` modulo the polynomial, the lowest power in the highest bit: as a factor, which such a
   multiplication shifts by one. */
static uint64_t
shift_by(int bits)
{
    uint32_t rest = UINT32_C(1) << 31;
    while (bits--)
        rest = rest >> 1 ^ (rest & 1 ? POLYNOMIAL : 0);
    return (uint64_t)rest << 1;
}

static uint64_t fold_first, fold_second; /* past the sixteen bytes that follow, of the first and of the last eight */

/* The CRC goes on over some blocks of sixteen bytes, at least one: what is left of them is moved on to the next ones
   with the same remainder, and the last sixteen are read the plain way. */
__attribute__((target("pclmul,sse4.1"))) static uint32_t
fold(uint32_t crc, const unsigned char *bytes, size_t blocks)
{
    const __m128i factors = _mm_set_epi64x((long long)fold_second, (long long)fold_first);
    __m128i left = _mm_xor_si128(_mm_loadu_si128((const __m128i *)bytes), _mm_cvtsi32_si128((int)crc));
    while (--blocks) {
        bytes += 16;
        __m128i first = _mm_clmulepi64_si128(left, factors, 0x00), second = _mm_clmulepi64_si128(left, factors, 0x11);
        left = _mm_xor_si128(_mm_xor_si128(first, second), _mm_loadu_si128((const __m128i *)bytes));
    }
    unsigned char last[16];
    _mm_storeu_si128((__m128i *)last, left);
    return crc_of(0, last, sizeof last);
}

#endif

static uint32_t
checksum(const unsigned char *bytes, size_t length, uint64_t seq)
{
    uint32_t crc = ~(uint32_t)(seq ^ seq >> 32);
#if IS_X86
    size_t blocks = length / 16;
    if (uses_instructions && has_clmul && blocks) {
        crc = fold(crc, bytes, blocks);
        bytes += 16 * blocks;
        length -= 16 * blocks;
    }
#endif
    return ~crc_of(crc, bytes, length);
}

/* -- the ring ---------------------------------------------------------------------------------------------------- */

typedef struct {
    uint32_t length, crc;
    uint64_t seq;
} Frame;

static uint64_t
frame_bytes(uint64_t length)
{
    return (length + FRAME_BYTES + 15) & ~(uint64_t)15;
}

/* Whether a buffer is a ring, with head and tail where they can be. */
static int
check_ring(const Py_buffer *ring, uint64_t head, uint64_t tail)
{
    uint64_t size = (uint64_t)ring->len - HEADER_BYTES;
    if (ring->len > HEADER_BYTES && size % 16 == 0 && size < LARGEST && head >= tail && head - tail <= size
        && head % 16 == 0 && tail % 16 == 0 && (uintptr_t)ring->buf % 8 == 0)
        return 1;
    PyErr_SetString(PyExc_ValueError, "no ring, or one that stands where it cannot");
    return 0;
}

PyDoc_STRVAR(store_doc, "store(ring, head, tail, seq, payload)\n--\n\n"
                        "Lay a record down; where the head is now, or -1 when there is no room for it.");

static PyObject *
store(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    (void)module;
    if (count != 5 || !PyBytes_Check(args[4])) {
        PyErr_SetString(PyExc_TypeError, "store takes a ring, three numbers and bytes");
        return NULL;
    }
    uint64_t head = PyLong_AsUnsignedLongLong(args[1]);
    if (head == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    uint64_t tail = PyLong_AsUnsignedLongLong(args[2]);
    if (tail == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    uint64_t seq = PyLong_AsUnsignedLongLong(args[3]);
    if (seq == (uint64_t)-1 && PyErr_Occurred())
        return NULL;
    Py_buffer ring;
    if (PyObject_GetBuffer(args[0], &ring, PyBUF_WRITABLE) < 0)
        return NULL;
    PyObject *made = NULL;
    if (check_ring(&ring, head, tail)) {
        uint64_t size = (uint64_t)ring.len - HEADER_BYTES, place = head % size;
        uint64_t length = (uint64_t)PyBytes_GET_SIZE(args[4]), needed = frame_bytes(length);
        uint64_t skipped = needed <= size && place + needed > size ? size - place : 0;
        if (length >= GO_ON_AT_START || head + skipped + needed - tail > size)
            made = PyLong_FromLong(-1);
        else {
            unsigned char *data = (unsigned char *)ring.buf + HEADER_BYTES;
            const unsigned char *payload = (const unsigned char *)PyBytes_AS_STRING(args[4]);
            if (skipped) {
                Frame mark = {.length = GO_ON_AT_START};
                memcpy(data + place, &mark, sizeof mark);
                place = 0;
            }
            Frame frame = {.length = (uint32_t)length, .crc = checksum(payload, length, seq), .seq = seq};
            memcpy(data + place, &frame, sizeof frame);
            memcpy(data + place + FRAME_BYTES, payload, length);
            head += skipped + needed;
            /* Last: whoever reads the file after a crash sees the frame whole or not at all. */
            __atomic_store_n((uint64_t *)ring.buf + HEAD_WORD, head, __ATOMIC_RELEASE);
            made = PyLong_FromUnsignedLongLong(head);
        }
    }
    PyBuffer_Release(&ring);
    return made;
}

/* -- SHA-256 (FIPS 180-4) ------------------------------------------------------------------------------------------ */

static const uint32_t rounds[64] __attribute__((aligned(16))) = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static const uint32_t before_any[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

static inline uint32_t
turned(uint32_t word, int bits)
{
    return word >> bits | word << (32 - bits);
}

/* In C alone. The words of the state stay where they are, and change their names: in round i, `a` is what is at -i. */
static void
take_blocks_plainly(uint32_t *state, const unsigned char *bytes, size_t blocks)
{
    for (; blocks; blocks--, bytes += 64) {
        uint32_t words[16], s[8];
        memcpy(s, state, sizeof s);
#pragma GCC unroll 64
        for (int i = 0; i < 64; i++) {
            uint32_t *now = &words[i & 15];
            if (i < 16) {
                const unsigned char *four = bytes + 4 * i;
                *now = (uint32_t)four[0] << 24 | (uint32_t)four[1] << 16 | (uint32_t)four[2] << 8 | four[3];
            }
            else {
                uint32_t next = words[(i + 1) & 15], last = words[(i + 14) & 15];
                *now += (turned(next, 7) ^ turned(next, 18) ^ next >> 3) + words[(i + 9) & 15]
                    + (turned(last, 17) ^ turned(last, 19) ^ last >> 10);
            }
            uint32_t a = s[(0 - i) & 7], b = s[(1 - i) & 7], c = s[(2 - i) & 7], *d = &s[(3 - i) & 7];
            uint32_t e = s[(4 - i) & 7], f = s[(5 - i) & 7], g = s[(6 - i) & 7], *h = &s[(7 - i) & 7];
            uint32_t sum = *h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + (g ^ (e & (f ^ g))) + rounds[i] + *now;
            *d += sum;
            *h = sum + (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + ((a & b) | (c & (a | b)));
        }
        for (int i = 0; i < 8; i++)
            state[i] += s[i];
    }
}

#if IS_X86

/* By the processor's instructions, which want the state as a b e f and c d g h, the first one highest. */
__attribute__((target("sha,sse4.1"))) static void
take_blocks_at_once(uint32_t *state, const unsigned char *bytes, size_t blocks)
{
    const __m128i swap = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    __m128i abef = _mm_set_epi32((int)state[0], (int)state[1], (int)state[4], (int)state[5]);
    __m128i cdgh = _mm_set_epi32((int)state[2], (int)state[3], (int)state[6], (int)state[7]);
    for (; blocks; blocks--, bytes += 64) {
        __m128i words[4], abef_before = abef, cdgh_before = cdgh;
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i *now = &words[i & 3];
            if (i < 4)
                *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(bytes + 16 * i)), swap);
            else {
                __m128i last = words[(i + 3) & 3], sum = _mm_sha256msg1_epu32(*now, words[(i + 1) & 3]);
                sum = _mm_add_epi32(sum, _mm_alignr_epi8(last, words[(i + 2) & 3], 4));
                *now = _mm_sha256msg2_epu32(sum, last);
            }
            __m128i four = _mm_add_epi32(*now, _mm_load_si128((const __m128i *)(rounds + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, four);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(four, 0x0E));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    uint32_t low[4], high[4];
    _mm_storeu_si128((__m128i *)low, abef);
    _mm_storeu_si128((__m128i *)high, cdgh);
    const uint32_t after[8] = {low[3], low[2], high[3], high[2], low[1], low[0], high[1], high[0]};
    memcpy(state, after, sizeof after);
}

#endif

static void
take_blocks(uint32_t *state, const unsigned char *bytes, size_t blocks)
{
#if IS_X86
    if (uses_instructions && has_sha) {
        take_blocks_at_once(state, bytes, blocks);
        return;
    }
#endif
    take_blocks_plainly(state, bytes, blocks);
}

/* The hash of some bytes in hexadecimal digits. */
static void
hash(const unsigned char *bytes, size_t length, char *digits)
{
    uint32_t state[8];
    unsigned char last[128] = {0};
    size_t whole = length / 64, rest = length % 64, last_blocks = rest < 56 ? 1 : 2;
    memcpy(state, before_any, sizeof state);
    take_blocks(state, bytes, whole);
    memcpy(last, bytes + 64 * whole, rest);
    last[rest] = 0x80;
    for (int i = 0; i < 8; i++)
        last[64 * last_blocks - 1 - i] = (unsigned char)((uint64_t)length * 8 >> 8 * i);
    take_blocks(state, last, last_blocks);
    for (int i = 0; i < DIGITS; i++)
        digits[i] = "0123456789abcdef"[state[i / 8] >> (28 - i % 8 * 4) & 15];
}

#if IS_X86

/* What the processor has. */
static void
ask_processor(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSE4_1) || !(c & bit_SSSE3))
        return;
    has_clmul = (c & bit_PCLMUL) != 0;
    has_sha = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29) != 0;
}

#endif

/* -- from the ring to the file --------------------------------------------------------------------------------------- */

typedef struct {
    const unsigned char *data;
    uint64_t size, position, head, budget, seq, missing;
    char prev[DIGITS];
    unsigned char *lines;
    uint64_t used, room; /* bytes of lines */
    uint64_t limit;      /* no further line once they are as many */
} Chain;

static unsigned char *
append(unsigned char *at, const char *bytes, size_t length)
{
    memcpy(at, bytes, length);
    return at + length;
}

static unsigned char *
append_number(unsigned char *at, uint64_t number)
{
    char digits[20];
    size_t first = sizeof digits;
    do
        digits[--first] = (char)('0' + number % 10);
    while (number /= 10);
    return append(at, digits + first, sizeof digits - first);
}

/* Chain frames until one of the bounds is reached, or one does not check. */
static void
take_frames(Chain *chain)
{
    uint64_t taken = 0;
    while (chain->position < chain->head && taken < chain->budget && chain->used < chain->limit) {
        uint64_t position = chain->position, place = position % chain->size;
        Frame frame;
        memcpy(&frame, chain->data + place, sizeof frame);
        if (frame.length == GO_ON_AT_START) {
            position += chain->size - place;
            place = 0;
            if (position >= chain->head)
                return;
            memcpy(&frame, chain->data, sizeof frame);
        }
        uint64_t length = frame.length, end = position + frame_bytes(length);
        if (end > chain->head || place + FRAME_BYTES + length > chain->size)
            return;
        if (length + AROUND_BYTES > chain->room - chain->used)
            return; /* the next time, unless no record is as long as that */
        unsigned char *line = chain->lines + chain->used;
        unsigned char *at = append_number(append(line, "{\"seq\":", 7), frame.seq);
        at = append(append(append(at, ",\"prev\":\"", 9), chain->prev, DIGITS), "\",", 2);
        ptrdiff_t before = at - line;
        /* The record goes on behind its opening brace, which is put where the comma before it stands meanwhile. */
        unsigned char *payload = line + before - 1;
        memcpy(payload, chain->data + place + FRAME_BYTES, length);
        if (checksum(payload, length, frame.seq) != frame.crc)
            return;
        if (length)
            payload[0] = ',';
        taken += length;
        chain->position = end;
        if (frame.seq <= chain->seq)
            continue; /* in the journal already */
        chain->missing += frame.seq - chain->seq - 1;
        chain->seq = frame.seq;
        uint64_t line_bytes = (uint64_t)before + (length ? length - 1 : 0);
        hash(line, line_bytes, chain->prev);
        line[line_bytes] = '\n';
        chain->used += line_bytes + 1;
    }
}

PyDoc_STRVAR(chain_doc,
             "chain(ring, position, head, budget, seq, prev, limit)\n--\n\n"
             "The records from `position` on that are newer than `seq`, as lines chained to `prev`: of some `budget` bytes\n"
             "of records, until the lines reach `limit` bytes. (position, seq, prev, missing, lines) behind them; position\n"
             "is as it was when the first frame does not check.");

static PyObject *
chain(PyObject *module, PyObject *args)
{
    (void)module;
    Py_buffer ring;
    unsigned long long position, head, budget, seq, limit;
    const char *prev;
    Py_ssize_t prev_bytes;
    if (!PyArg_ParseTuple(args, "y*KKKKy#K:chain", &ring, &position, &head, &budget, &seq, &prev, &prev_bytes, &limit))
        return NULL;
    PyObject *lines = NULL, *made = NULL;
    if (!check_ring(&ring, head, position))
        goto done;
    if (prev_bytes != DIGITS || budget > MOST_AT_ONCE) {
        PyErr_SetString(PyExc_ValueError, "no hash, or more than can be chained at once");
        goto done;
    }
    /* Any record fits, and so do all lines but those of many records that are next to empty. */
    uint64_t waiting = head - position;
    uint64_t room = (waiting < 2 * budget ? 2 * waiting : 2 * budget) + LARGEST_RECORD + AROUND_BYTES;
    lines = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)room);
    if (lines == NULL)
        goto done;
    Chain chain = {
        .data = (const unsigned char *)ring.buf + HEADER_BYTES, .size = (uint64_t)ring.len - HEADER_BYTES,
        .position = position, .head = head, .budget = budget, .seq = seq, .limit = limit,
        .lines = (unsigned char *)PyBytes_AS_STRING(lines), .room = room,
    };
    memcpy(chain.prev, prev, DIGITS);
    if (waiting < WORTH_LETTING_GO)
        take_frames(&chain);
    else {
        Py_BEGIN_ALLOW_THREADS
        take_frames(&chain);
        Py_END_ALLOW_THREADS
    }
    if (_PyBytes_Resize(&lines, (Py_ssize_t)chain.used) == 0)
        made = Py_BuildValue("KKy#KO", (unsigned long long)chain.position, (unsigned long long)chain.seq, chain.prev,
                             (Py_ssize_t)DIGITS, (unsigned long long)chain.missing, lines);
done:
    Py_XDECREF(lines);
    PyBuffer_Release(&ring);
    return made;
}

PyDoc_STRVAR(use_instructions_doc,
             "use_instructions(whether)\n--\n\n"
             "Work checksums and hashes out by the processor's own instructions where it has them, as from the start, or\n"
             "without them: for tests.");

static PyObject *
use_instructions(PyObject *module, PyObject *whether)
{
    (void)module;
    int is_wanted = PyObject_IsTrue(whether);
    if (is_wanted < 0)
        return NULL;
    uses_instructions = is_wanted;
    Py_RETURN_NONE;
}

static PyMethodDef journal_methods[] = {
    {"store", (PyCFunction)(void (*)(void))store, METH_FASTCALL, store_doc},
    {"chain", chain, METH_VARARGS, chain_doc},
    {"use_instructions", use_instructions, METH_O, use_instructions_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef journal_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.evidence._journal",
    .m_doc = "Records into the ring, and from there into the journal's file.",
    .m_size = -1,
    .m_methods = journal_methods,
};

PyMODINIT_FUNC
PyInit__journal(void)
{
    make_crc_table();
#if IS_X86
    fold_first = shift_by(128 + 32);
    fold_second = shift_by(128 - 32);
    ask_processor();
#endif
    PyObject *module = PyModule_Create(&journal_module);
    if (module != NULL && PyModule_AddObjectRef(module, "CAN_CHAIN", IS_X86 ? Py_True : Py_False) < 0)
        Py_CLEAR(module);
    return module;
}
