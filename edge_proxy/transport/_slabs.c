/* Small objects of the interpreter in slabs of 16 KiB, each of which goes back to the system by itself.

   CPython's own allocator takes memory by the mebibyte, and one object that lives on keeps all of it: after a burst of
   calls that is the size of the burst. Here the same object keeps a slab. Blocks of one size share a slab; what is to be
   known about it lies outside, so an empty slab keeps no page. `take_over()` puts this before CPython's allocators (PEP
   445: PyMem_SetAllocator), for good; what they gave before, and what is larger than 512 bytes, stays theirs, and is
   told by its address. Whoever calls in holds the interpreter's lock, as the domains `mem` and `obj` demand; there is one
   for all, as long as nobody makes an interpreter with a lock of its own (PEP 684).

   memory.py does without where this module is not built. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLAB_BITS 14
#define SLAB_BYTES ((size_t)1 << SLAB_BITS)
#define SLABS ((size_t)1 << 18)
#define ROOM (SLABS << SLAB_BITS) /* 4 GiB of addresses; no memory yet */
#define STEP_SLABS ((size_t)256)  /* made accessible at a time */
#define PAGE_BYTES ((size_t)4096)
#define LARGEST ((size_t)512)
#define KINDS (LARGEST / 16)

typedef struct Slab {
    void *freed;       /* blocks to be given out, each the address of the next */
    uint32_t puts;     /* blocks that must come back before put_slowly has something to do: for a listed slab all that
                          are out, for one that is full the next one */
    uint16_t fresh;    /* offset of what was never given out */
    uint8_t kind;      /* its blocks are of 16 * (kind + 1) bytes */
    uint8_t is_listed : 1;   /* among those of its kind that may have room */
    uint8_t is_resident : 1; /* its pages may have been written to */
    uint8_t is_empty : 1;    /* among those that are in no use */
    struct Slab *next, *previous;
} Slab;

static char *room;          /* NULL until taken over */
static Slab *slabs;         /* one for each slab of the room */
static size_t begun;        /* slabs that were ever in use */
static size_t accessible;   /* slabs */
static size_t looked_at;    /* by give_back */
static size_t resident, in_use;
static Slab *empty;         /* slabs in no use, the last one first */
static Slab none;           /* stands where there is no slab: it has no room */
static Slab *listed[KINDS]; /* the first one of a kind serves until it is full */
static PyMemAllocatorEx before_mem, before_obj;

static inline Slab *
slab_of(const void *block)
{
    size_t offset = (size_t)((uintptr_t)block - (uintptr_t)room);
    return offset < ROOM ? &slabs[offset >> SLAB_BITS] : NULL;
}

static inline char *
pages_of(const Slab *slab)
{
    return room + ((size_t)(slab - slabs) << SLAB_BITS);
}

static inline size_t
size_of(const Slab *slab)
{
    return ((size_t)slab->kind + 1) * 16;
}

static void
list(Slab *slab)
{
    Slab *first = listed[slab->kind];
    slab->previous = &none;
    slab->next = first;
    first->previous = slab;
    listed[slab->kind] = slab;
    slab->is_listed = 1;
}

static void
unlist(Slab *slab)
{
    if (slab->previous != &none)
        slab->previous->next = slab->next;
    else
        listed[slab->kind] = slab->next;
    slab->next->previous = slab->previous;
    slab->is_listed = 0;
}

/* Begin to use a slab for blocks of a kind; 0 when the system has none. */
static int
begin(unsigned int kind)
{
    Slab *slab = empty;
    if (slab != NULL) {
        empty = slab->next;
    }
    else {
        if (begun == accessible) {
            if (accessible == SLABS ||
                mprotect(room + (accessible << SLAB_BITS), STEP_SLABS << SLAB_BITS, PROT_READ | PROT_WRITE) != 0)
                return 0;
            accessible += STEP_SLABS;
        }
        slab = &slabs[begun++];
    }
    slab->freed = NULL;
    slab->fresh = 0;
    slab->puts = 0;
    slab->kind = (uint8_t)kind;
    resident += !slab->is_resident;
    in_use++;
    slab->is_resident = 1;
    slab->is_empty = 0;
    list(slab);
    return 1;
}

/* No block of it is out any more. */
static void
retire(Slab *slab)
{
    unlist(slab);
    in_use--;
    slab->is_empty = 1;
    slab->next = empty;
    empty = slab;
}

/* Make what was never given out available, up to the end of a page. */
static void
carve(Slab *slab)
{
    size_t size = size_of(slab), from = slab->fresh, to = (from / PAGE_BYTES + 1) * PAGE_BYTES;
    char *pages = pages_of(slab);
    void **link = &slab->freed;
    do {
        *link = pages + from;
        link = (void **)(pages + from);
        from += size;
    } while (from + size <= to);
    *link = NULL;
    slab->fresh = (uint16_t)from;
}

/* For up to LARGEST bytes; by the allocator before when there is no slab to be had. */
static __attribute__((noinline)) void * /* or each allocation would save its registers */
malloc_slowly(PyMemAllocatorEx *before, size_t size)
{
    unsigned int kind = (unsigned int)((size - 1) >> 4);
    for (;;) {
        Slab *slab = listed[kind];
        if (slab == &none) {
            if (!begin(kind))
                return before->malloc(before->ctx, size);
            continue;
        }
        if (slab->freed == NULL && slab->fresh + size_of(slab) <= SLAB_BYTES)
            carve(slab);
        void *block = slab->freed;
        if (block != NULL) {
            slab->freed = *(void **)block;
            slab->puts++;
            return block;
        }
        unlist(slab);
        slab->puts = 1;
    }
}

static __attribute__((noinline)) void
put_slowly(Slab *slab)
{
    if (!slab->is_listed) {
        slab->puts = (uint32_t)(SLAB_BYTES / size_of(slab) - 1);
        list(slab);
    }
    /* The last one of its kind stays: a block that comes and goes would have a slab come and go. */
    else if (slab->next != &none || slab->previous != &none)
        retire(slab);
}

static inline void
put(Slab *slab, void *block)
{
    *(void **)block = slab->freed;
    slab->freed = block;
    if (--slab->puts == 0)
        put_slowly(slab);
}

static void *
slab_malloc(void *context, size_t size)
{
    PyMemAllocatorEx *before = context;
    if (size - 1 >= LARGEST) /* nothing is left to the others too */
        return before->malloc(before->ctx, size);
    Slab *slab = listed[(size - 1) >> 4];
    void *block = slab->freed;
    if (block == NULL)
        return malloc_slowly(before, size);
    slab->freed = *(void **)block;
    slab->puts++;
    return block;
}

static void *
slab_calloc(void *context, size_t count, size_t each)
{
    size_t size;
    if (!__builtin_mul_overflow(count, each, &size) && size - 1 < LARGEST) {
        void *block = slab_malloc(context, size);
        return block == NULL ? NULL : memset(block, 0, size);
    }
    PyMemAllocatorEx *before = context;
    return before->calloc(before->ctx, count, each);
}

static void
slab_free(void *context, void *block)
{
    Slab *slab = slab_of(block);
    if (slab != NULL) {
        put(slab, block);
        return;
    }
    PyMemAllocatorEx *before = context;
    before->free(before->ctx, block);
}

static void *
slab_realloc(void *context, void *block, size_t size)
{
    if (block == NULL)
        return slab_malloc(context, size);
    Slab *slab = slab_of(block);
    if (slab == NULL) {
        PyMemAllocatorEx *before = context;
        return before->realloc(before->ctx, block, size);
    }
    size_t had = size_of(slab);
    if (size <= had && 4 * size > 3 * had)
        return block; /* not worth a copy */
    void *moved = slab_malloc(context, size);
    if (moved == NULL)
        return size <= had ? block : NULL;
    memcpy(moved, block, size < had ? size : had);
    put(slab, block);
    return moved;
}

PyDoc_STRVAR(take_over_doc,
             "take_over() -> bool: from now on, small objects lie in slabs. False when there are no addresses for it, or\n"
             "when a page of the system is larger than a slab: to give one back would take its neighbours along.");

static PyObject *
take_over(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
#ifdef Py_GIL_DISABLED
    Py_RETURN_FALSE;
#else
    if (room != NULL)
        Py_RETURN_TRUE;
    if (sizeof(size_t) < 8 || sysconf(_SC_PAGESIZE) > (long)SLAB_BYTES)
        Py_RETURN_FALSE;
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *found = mmap(NULL, ROOM + SLAB_BYTES, PROT_NONE, flags, -1, 0);
    if (found == MAP_FAILED)
        Py_RETURN_FALSE;
    slabs = mmap(NULL, SLABS * sizeof(Slab), PROT_READ | PROT_WRITE, flags, -1, 0);
    if (slabs == MAP_FAILED) {
        munmap(found, ROOM + SLAB_BYTES);
        Py_RETURN_FALSE;
    }
    /* A huge page would be kept by one object again. */
    madvise(found, ROOM + SLAB_BYTES, MADV_NOHUGEPAGE);
    for (size_t kind = 0; kind < KINDS; kind++)
        listed[kind] = &none;
    room = (char *)(((uintptr_t)found + SLAB_BYTES - 1) & ~(uintptr_t)(SLAB_BYTES - 1));
    PyMem_GetAllocator(PYMEM_DOMAIN_MEM, &before_mem);
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &before_obj);
    PyMemAllocatorEx mem = {&before_mem, slab_malloc, slab_calloc, slab_realloc, slab_free};
    PyMemAllocatorEx obj = {&before_obj, slab_malloc, slab_calloc, slab_realloc, slab_free};
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &mem);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &obj);
    Py_RETURN_TRUE;
#endif
}

PyDoc_STRVAR(give_back_doc,
             "give_back(most) -> bool: let the system have the pages of empty slabs. It looks at `most` slabs and goes\n"
             "on from there the next time; False when it has come to the last one.");

static PyObject *
give_back(PyObject *module, PyObject *arg)
{
    (void)module;
    size_t most = PyLong_AsSize_t(arg);
    if (most == (size_t)-1 && PyErr_Occurred())
        return NULL;
    if (looked_at == 0 && room != NULL) {
        for (unsigned int kind = 0; kind < KINDS; kind++) {
            if (listed[kind] != &none && listed[kind]->puts == 0)
                retire(listed[kind]);
        }
    }
    size_t end = most < begun - looked_at ? looked_at + most : begun;
    size_t from = looked_at;
    while (from < end) {
        size_t to = from;
        while (to < end && slabs[to].is_empty && slabs[to].is_resident)
            slabs[to++].is_resident = 0;
        if (to > from)
            madvise(room + (from << SLAB_BITS), (to - from) << SLAB_BITS, MADV_DONTNEED);
        resident -= to - from;
        from = to + 1;
    }
    looked_at = end < begun ? end : 0;
    return PyBool_FromLong(looked_at != 0);
}

PyDoc_STRVAR(held_doc, "held() -> (int, int): bytes of the slabs that may have pages, and of those that are in use.");

static PyObject *
held(PyObject *module, PyObject *nothing)
{
    (void)module;
    (void)nothing;
    return Py_BuildValue("nn", (Py_ssize_t)(resident << SLAB_BITS), (Py_ssize_t)(in_use << SLAB_BITS));
}

static PyMethodDef methods[] = {
    {"take_over", take_over, METH_NOARGS, take_over_doc},
    {"give_back", give_back, METH_O, give_back_doc},
    {"held", held, METH_NOARGS, held_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.transport._slabs",
    .m_doc = "Small objects in slabs that go back to the system one by one.",
    .m_size = -1,
    .m_methods = methods,
};

PyMODINIT_FUNC
PyInit__slabs(void)
{
    return PyModule_Create(&definition);
}
