/* What was kept for a text, by its bytes: the memory of `_lines.c`.

   Sets of four places, found by a seeded hash, the oldest of a set gives way: it never grows and never moves anything.
   Whoever finds texts that meet in one set has them forgotten early, and no more than that. */

#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4

typedef struct {
    uint64_t hash;
    PyObject *text; /* NULL: the place is free */
    PyObject *kept; /* NULL for a name */
    int32_t kind;
    uint32_t used; /* by the memo's clock, which may go round */
} Place;

typedef struct {
    Place *places; /* NULL until something is kept */
    size_t sets;   /* a power of two */
    Py_ssize_t held;
    uint32_t clock;
} Memo;

static inline uint64_t
load(const char *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline uint64_t
mixed(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash << 29 | hash >> 35;
}

/* Eight bytes at a time; the last eight may overlap those before. */
static inline uint64_t
hash_of(uint64_t seed, const char *text, Py_ssize_t size)
{
    uint64_t hash = seed + (uint64_t)size;
    if (size >= 8) {
        const char *last = text + size - 8;
        for (; text < last; text += 8)
            hash = mixed(hash, load(text));
        return mixed(hash, load(last));
    }
    uint64_t word = 0;
    for (Py_ssize_t i = 0; i < size; i++)
        word = word << 8 | (unsigned char)text[i];
    return mixed(hash, word);
}

static inline Place *
set_of(const Memo *memo, uint64_t hash)
{
    return memo->places + ((size_t)(hash >> 19) & (memo->sets - 1)) * WAYS;
}

static inline int
is_at(const Place *place, uint64_t hash, const char *text, Py_ssize_t size)
{
    return place->hash == hash && place->text != NULL && PyBytes_GET_SIZE(place->text) == size
           && memcmp(PyBytes_AS_STRING(place->text), text, (size_t)size) == 0;
}

/* Where the text is held, or NULL. */
static inline Place *
find(Memo *memo, uint64_t hash, const char *text, Py_ssize_t size)
{
    if (memo->places == NULL)
        return NULL;
    Place *set = set_of(memo, hash);
    for (int i = 0; i < WAYS; i++) {
        if (is_at(&set[i], hash, text, size)) {
            set[i].used = ++memo->clock;
            return &set[i];
        }
    }
    return NULL;
}

/* Keep something for a text, in place of what was kept for it or of the oldest of its set. 0, or -1: no memory. */
static int
put(Memo *memo, uint64_t hash, PyObject *text, PyObject *kept, int kind)
{
    if (memo->places == NULL) {
        memo->places = calloc(memo->sets * WAYS, sizeof(Place));
        if (memo->places == NULL) {
            PyErr_NoMemory();
            return -1;
        }
    }
    Place *set = set_of(memo, hash);
    Place *place = NULL;
    for (int i = 0; i < WAYS && place == NULL; i++) {
        if (is_at(&set[i], hash, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text)))
            place = &set[i];
    }
    for (int i = 0; i < WAYS && place == NULL; i++) {
        if (set[i].text == NULL)
            place = &set[i];
    }
    if (place == NULL) {
        place = &set[0];
        for (int i = 1; i < WAYS; i++) {
            if (memo->clock - set[i].used > memo->clock - place->used)
                place = &set[i];
        }
    }
    PyObject *old_text = place->text, *old_kept = place->kept;
    memo->held += old_text == NULL;
    Py_INCREF(text);
    Py_XINCREF(kept);
    *place = (Place){.hash = hash, .text = text, .kept = kept, .kind = kind, .used = ++memo->clock};
    /* Last: what goes with it may call back. */
    Py_XDECREF(old_text);
    Py_XDECREF(old_kept);
    return 0;
}

static void
forget(Memo *memo)
{
    Place *places = memo->places;
    memo->places = NULL;
    memo->held = 0;
    if (places == NULL)
        return;
    for (size_t i = 0; i < memo->sets * WAYS; i++) {
        Py_XDECREF(places[i].text);
        Py_XDECREF(places[i].kept);
    }
    free(places);
}
