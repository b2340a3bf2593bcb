/* Many datagrams a system call: recvmmsg(2) to a list of (bytes, Address), sendmmsg(2) from one.

   One `Batch` belongs to one bound, non-blocking UDP socket, whose descriptor the caller keeps open. Nothing here
   blocks and nothing is retried behind the caller's back: it learns how many messages the kernel took, and why it
   took no more. Both directions remember the addresses they have seen, up to a bound, since peers are few; those seen
   last are found without a look into a dict.
   datagrams.py holds the same in Python, for where this module is not built. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE
#include <Python.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BATCH 64
#define DATAGRAM_BYTES 65536
#define REMEMBERED 4096
#define RECENT 64 /* a power of two */

#ifndef SO_RXQ_OVFL
#define SO_RXQ_OVFL 40
#endif

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} Name;

typedef union {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(sizeof(uint32_t))];
} Control;

/* Who sent: the host and the port as they travel. */
typedef struct {
    unsigned char bytes[sizeof(struct in6_addr) + 2];
} Key;

typedef struct {
    Key key;
    PyObject *address;
} Sender;

typedef struct {
    PyObject *address; /* this very object: it is held, so that no other comes to lie where it does */
    Name name;
} Receiver;

typedef struct {
    PyObject_HEAD
    int fd;
    int family;
    unsigned long long drops;
    uint32_t last_drops;
    int used; /* how many places of `in` the last receive() may have written to */
    PyObject *address_type;
    PyObject *addresses; /* sockaddr bytes -> Address */
    PyObject *names;     /* Address -> sockaddr bytes */
    Sender senders[RECENT];
    Receiver receivers[RECENT];
    char *buffer;
    Name from[BATCH];
    Control control[BATCH];
    struct iovec in_parts[BATCH];
    struct mmsghdr in[BATCH];
} Batch;

static int
batch_init(Batch *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"fd", "family", "address_type", NULL};
    int fd, family;
    PyObject *address_type;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "iiO:Batch", keywords, &fd, &family, &address_type))
        return -1;
    if (family != AF_INET && family != AF_INET6) {
        PyErr_SetString(PyExc_ValueError, "family must be AF_INET or AF_INET6");
        return -1;
    }
    if (self->addresses != NULL) {
        PyErr_SetString(PyExc_TypeError, "a Batch is made once");
        return -1;
    }
    if ((self->addresses = PyDict_New()) == NULL || (self->names = PyDict_New()) == NULL)
        return -1;
    /* Pages are only touched as far as datagrams reach. */
    self->buffer = malloc((size_t)BATCH * DATAGRAM_BYTES);
    if (self->buffer == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    Py_INCREF(address_type);
    self->address_type = address_type;
    self->fd = fd;
    self->family = family;
    self->used = BATCH;
    for (int i = 0; i < BATCH; i++) {
        self->in_parts[i].iov_base = self->buffer + (size_t)i * DATAGRAM_BYTES;
        self->in_parts[i].iov_len = DATAGRAM_BYTES;
    }
    return 0;
}

static int
batch_traverse(Batch *self, visitproc visit, void *arg)
{
    Py_VISIT(self->address_type);
    Py_VISIT(self->addresses);
    Py_VISIT(self->names);
    for (int i = 0; i < RECENT; i++) {
        Py_VISIT(self->senders[i].address);
        Py_VISIT(self->receivers[i].address);
    }
    return 0;
}

static int
batch_clear(Batch *self)
{
    Py_CLEAR(self->address_type);
    Py_CLEAR(self->addresses);
    Py_CLEAR(self->names);
    for (int i = 0; i < RECENT; i++) {
        Py_CLEAR(self->senders[i].address);
        Py_CLEAR(self->receivers[i].address);
    }
    return 0;
}

static void
batch_dealloc(Batch *self)
{
    PyObject_GC_UnTrack(self);
    batch_clear(self);
    free(self->buffer);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static int
is_made(Batch *self)
{
    if (self->address_type != NULL)
        return 1;
    PyErr_SetString(PyExc_ValueError, "this Batch was never initialised");
    return 0;
}

static int
remember(PyObject *dict, PyObject *key, PyObject *value)
{
    if (PyDict_GET_SIZE(dict) >= REMEMBERED)
        PyDict_Clear(dict);
    return PyDict_SetItem(dict, key, value);
}

/* The Address of a key of this size that was not among the recent ones; a new reference, or NULL with an exception. */
static PyObject *
look_up(Batch *self, const Key *key, Py_ssize_t size)
{
    PyObject *packed = PyBytes_FromStringAndSize((const char *)key->bytes, size);
    if (packed == NULL)
        return NULL;
    PyObject *address = PyDict_GetItemWithError(self->addresses, packed);
    if (address != NULL) {
        Py_INCREF(address);
    }
    else if (!PyErr_Occurred()) {
        char text[INET6_ADDRSTRLEN];
        uint16_t port;
        memcpy(&port, key->bytes + size - 2, 2);
        if (inet_ntop(self->family, key->bytes, text, sizeof text) == NULL)
            PyErr_SetFromErrno(PyExc_OSError);
        else
            address = PyObject_CallFunction(self->address_type, "si", text, (int)ntohs(port));
        if (address != NULL && remember(self->addresses, packed, address) < 0)
            Py_CLEAR(address);
    }
    Py_DECREF(packed);
    return address;
}

/* A new reference to the Address of a sockaddr, or NULL with an exception. */
static PyObject *
address_of(Batch *self, const Name *name)
{
    Key key = {{0}};
    Py_ssize_t host;
    uint16_t port;
    if (self->family == AF_INET) {
        host = sizeof(struct in_addr);
        memcpy(key.bytes, &name->v4.sin_addr, sizeof(struct in_addr));
        port = name->v4.sin_port;
    }
    else {
        host = sizeof(struct in6_addr);
        memcpy(key.bytes, &name->v6.sin6_addr, sizeof(struct in6_addr));
        port = name->v6.sin6_port;
    }
    memcpy(key.bytes + host, &port, 2);
    Sender *recent = &self->senders[(key.bytes[host - 1] ^ port ^ port >> 8) & (RECENT - 1)];
    if (recent->address != NULL && memcmp(&recent->key, &key, sizeof key) == 0)
        return Py_NewRef(recent->address);
    PyObject *address = look_up(self, &key, host + 2);
    if (address != NULL) {
        recent->key = key;
        Py_XSETREF(recent->address, Py_NewRef(address));
    }
    return address;
}

/* The kernel tells its count of drops since the socket was made, in 32 bits, beside a datagram. */
static void
note_drops(Batch *self, struct msghdr *header)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL && c->cmsg_len >= CMSG_LEN(sizeof(uint32_t))) {
            uint32_t count;
            memcpy(&count, CMSG_DATA(c), sizeof count);
            self->drops += (uint32_t)(count - self->last_drops);
            self->last_drops = count;
        }
    }
}

PyDoc_STRVAR(receive_doc, "receive(most) -> list of (bytes, Address): what waits now. Raises OSError, never EAGAIN.");

static PyObject *
batch_receive(Batch *self, PyObject *arg)
{
    long most = PyLong_AsLong(arg);
    if (most == -1 && PyErr_Occurred())
        return NULL;
    if (!is_made(self))
        return NULL;
    if (most < 1)
        return PyList_New(0);
    if (most > BATCH)
        most = BATCH;
    /* What the last call wrote to is set anew; the rest is as it was. */
    for (int i = 0; i < self->used; i++) {
        struct msghdr *header = &self->in[i].msg_hdr;
        header->msg_name = &self->from[i];
        header->msg_namelen = sizeof(Name);
        header->msg_iov = &self->in_parts[i];
        header->msg_iovlen = 1;
        header->msg_control = &self->control[i];
        header->msg_controllen = sizeof(Control);
        header->msg_flags = 0;
    }
    int count;
    do
        count = recvmmsg(self->fd, self->in, (unsigned int)most, MSG_DONTWAIT, NULL);
    while (count < 0 && errno == EINTR);
    self->used = count < 0 ? 1 : count < BATCH ? count + 1 : BATCH;
    if (count < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return PyList_New(0);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    PyObject *list = PyList_New(count);
    if (list == NULL)
        return NULL;
    for (int i = 0; i < count; i++) {
        note_drops(self, &self->in[i].msg_hdr);
        PyObject *pair = PyTuple_New(2);
        if (pair == NULL)
            goto failed;
        PyList_SET_ITEM(list, i, pair);
        PyObject *data = PyBytes_FromStringAndSize(self->in_parts[i].iov_base, (Py_ssize_t)self->in[i].msg_len);
        if (data == NULL)
            goto failed;
        PyTuple_SET_ITEM(pair, 0, data);
        PyObject *address = address_of(self, &self->from[i]);
        if (address == NULL)
            goto failed;
        PyTuple_SET_ITEM(pair, 1, address);
    }
    return list;
failed:
    Py_DECREF(list);
    return NULL;
}

/* Fill `name` for an address that was not among the recent ones; as name_of. It runs no code but that of tuples, text
   and integers: what else is being sent is held by the caller's list alone. */
static int
make_name(Batch *self, PyObject *address, Name *name)
{
    if (!(Py_IS_TYPE(address, (PyTypeObject *)self->address_type) || PyTuple_CheckExact(address))
        || !PyTuple_Check(address) || PyTuple_GET_SIZE(address) != 2
        || !PyUnicode_CheckExact(PyTuple_GET_ITEM(address, 0)) || !PyLong_CheckExact(PyTuple_GET_ITEM(address, 1))) {
        PyErr_SetString(PyExc_TypeError, "an address is a tuple of host and port");
        return -1;
    }
    PyObject *packed = PyDict_GetItemWithError(self->names, address);
    if (packed != NULL) {
        memcpy(name, PyBytes_AS_STRING(packed), sizeof(Name));
        return 1;
    }
    if (PyErr_Occurred())
        return -1;
    PyObject *text = PyTuple_GET_ITEM(address, 0);
    if (!PyUnicode_IS_COMPACT_ASCII(text))
        return 0;
    const char *host = (const char *)PyUnicode_1BYTE_DATA(text);
    int overflow;
    long port = PyLong_AsLongAndOverflow(PyTuple_GET_ITEM(address, 1), &overflow);
    if (overflow != 0 || port < 0 || port > 65535 || (size_t)PyUnicode_GET_LENGTH(text) != strlen(host))
        return 0;
    memset(name, 0, sizeof(Name));
    void *numeric;
    if (self->family == AF_INET) {
        name->v4.sin_family = AF_INET;
        name->v4.sin_port = htons((uint16_t)port);
        numeric = &name->v4.sin_addr;
    }
    else {
        name->v6.sin6_family = AF_INET6;
        name->v6.sin6_port = htons((uint16_t)port);
        numeric = &name->v6.sin6_addr;
    }
    if (inet_pton(self->family, host, numeric) != 1)
        return 0;
    packed = PyBytes_FromStringAndSize((char *)name, sizeof(Name));
    if (packed == NULL)
        return -1;
    int failed = remember(self->names, address, packed);
    Py_DECREF(packed);
    return failed < 0 ? -1 : 1;
}

/* The sockaddr of an address; 0: this socket cannot send there; -1: an exception is set. */
static int
name_of(Batch *self, PyObject *address, Name *name)
{
    Receiver *recent = &self->receivers[((uintptr_t)address >> 5) & (RECENT - 1)];
    if (recent->address == address) {
        *name = recent->name;
        return 1;
    }
    int known = make_name(self, address, name);
    if (known == 1 && Py_TYPE(address) == (PyTypeObject *)self->address_type) {
        recent->name = *name;
        Py_XSETREF(recent->address, Py_NewRef(address));
    }
    return known;
}

/* Messages as sendmmsg(2) takes them. */
typedef struct {
    Name to[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr out[BATCH];
} Outgoing;

/* Lay out as many messages as there is room for, from a place in the list on: how many, or -1 with an exception. With
   `error` set, the one behind them cannot be sent. */
static inline int
lay_out(Batch *self, Outgoing *going, PyObject *messages, Py_ssize_t from, int *error)
{
    int count = 0;
    for (; count < BATCH && from + count < PyList_GET_SIZE(messages); count++) {
        PyObject *pair = PyList_GET_ITEM(messages, from + count);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2 || !PyBytes_Check(PyTuple_GET_ITEM(pair, 0))) {
            PyErr_SetString(PyExc_TypeError, "a message is a tuple of bytes and an address");
            return -1;
        }
        PyObject *data = PyTuple_GET_ITEM(pair, 0);
        int known = name_of(self, PyTuple_GET_ITEM(pair, 1), &going->to[count]);
        if (known < 0)
            return -1;
        if (known == 0) {
            *error = EINVAL;
            break;
        }
        going->parts[count].iov_base = PyBytes_AS_STRING(data);
        going->parts[count].iov_len = (size_t)PyBytes_GET_SIZE(data);
        memset(&going->out[count], 0, sizeof going->out[count]);
        struct msghdr *header = &going->out[count].msg_hdr;
        header->msg_name = &going->to[count];
        header->msg_namelen = self->family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        header->msg_iov = &going->parts[count];
        header->msg_iovlen = 1;
    }
    return count;
}

/* How many of these the kernel takes; when that is not all, `error` says why not the next one. */
static inline int
hand_over(Batch *self, Outgoing *going, int count, int *error)
{
    int done = 0;
    while (done < count) {
        int sent = sendmmsg(self->fd, going->out + done, (unsigned int)(count - done), MSG_DONTWAIT);
        /* Fewer than asked: the reason comes with the next attempt, or is gone by then. */
        if (sent >= 0)
            done += sent;
        else if (errno != EINTR) {
            *error = errno == EWOULDBLOCK ? EAGAIN : errno;
            break;
        }
    }
    return done;
}

PyDoc_STRVAR(send_doc,
             "send(messages, start) -> (taken, errno)\n\n"
             "Send messages[start:], a list of (bytes, Address). `taken` is how many the kernel took; when that is\n"
             "not all, `errno` says why it did not take the next one.");

static PyObject *
batch_send(Batch *self, PyObject *const *args, Py_ssize_t given)
{
    if (given != 2 || !PyList_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "send() takes a list and where to start in it");
        return NULL;
    }
    Py_ssize_t start = PyLong_AsSsize_t(args[1]);
    if (start == -1 && PyErr_Occurred())
        return NULL;
    if (!is_made(self))
        return NULL;
    if (start < 0)
        start = 0;
    Outgoing going;
    Py_ssize_t taken = 0;
    int error = 0;
    while (error == 0 && start + taken < PyList_GET_SIZE(args[0])) {
        int count = lay_out(self, &going, args[0], start + taken, &error);
        if (count < 0)
            return NULL;
        taken += hand_over(self, &going, count, &error);
    }
    PyObject *pair = PyTuple_New(2), *number = PyLong_FromSsize_t(taken), *reason = PyLong_FromLong(error);
    if (pair == NULL || number == NULL || reason == NULL) {
        Py_XDECREF(pair);
        Py_XDECREF(number);
        Py_XDECREF(reason);
        return NULL;
    }
    PyTuple_SET_ITEM(pair, 0, number);
    PyTuple_SET_ITEM(pair, 1, reason);
    return pair;
}

static PyObject *
batch_drops(Batch *self, void *closure)
{
    (void)closure;
    return PyLong_FromUnsignedLongLong(self->drops);
}

static PyMethodDef batch_methods[] = {
    {"receive", (PyCFunction)batch_receive, METH_O, receive_doc},
    {"send", (PyCFunction)batch_send, METH_FASTCALL, send_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef batch_properties[] = {
    {"drops", (getter)batch_drops, NULL, "Datagrams the kernel had no room for, as far as it has told.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject batch_type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "edge_proxy.transport._batch.Batch",
    .tp_basicsize = sizeof(Batch),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_doc = "Batch(fd, family, address_type): datagrams of one socket, many a system call.",
    .tp_new = PyType_GenericNew,
    .tp_init = (initproc)batch_init,
    .tp_dealloc = (destructor)batch_dealloc,
    .tp_traverse = (traverseproc)batch_traverse,
    .tp_clear = (inquiry)batch_clear,
    .tp_methods = batch_methods,
    .tp_getset = batch_properties,
};

static struct PyModuleDef batch_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "edge_proxy.transport._batch",
    .m_doc = "Many datagrams a system call.",
    .m_size = -1,
};

PyMODINIT_FUNC
PyInit__batch(void)
{
    PyObject *module = PyModule_Create(&batch_module);
    if (module != NULL && PyModule_AddType(module, &batch_type) < 0)
        Py_CLEAR(module);
    return module;
}
