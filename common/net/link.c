/* link.c - see link.h. The only file that includes ZeroMQ. */
#include "common/net/link.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <zmq.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "common/base/tsan.h"
#include "common/net/frame_parts.h"

enum {
    HIGH_WATER_FRAMES =
        4096, /* per link and direction; what is in flight is bounded above this layer */
    HEARTBEAT_MS = 1000,
    HEARTBEAT_TIMEOUT_MS = 3000,
    RECONNECT_MS = 50,
    RECONNECT_MAX_MS = 1000,
    ENDPOINT_BYTES = 256,
    WAIT_MAX = LATHE_MAX_SHARDS + 8 /* sockets and descriptors of one wait */
};

struct lathe_net {
    void *context;
    const struct lathe_net_fault *fault;
};

struct lathe_socket {
    void *handle;
    const struct lathe_net *net;
    pthread_t owner;
    bool router;
    char endpoint[ENDPOINT_BYTES];
};

/* What the bytes of a received frame live in. */
struct received {
    zmq_msg_t first;
    zmq_msg_t second;
};

struct lathe_net *lathe_net_create(void)
{
    struct lathe_net *net = lathe_zalloc(sizeof(*net));

    if (net == NULL)
        return NULL;
    net->context = zmq_ctx_new();
    if (net->context == NULL) {
        lathe_free(net);
        return NULL;
    }
    (void)zmq_ctx_set(net->context, ZMQ_BLOCKY, 0);
    return net;
}

void lathe_net_destroy(struct lathe_net *net)
{
    if (net == NULL)
        return;
    while (zmq_ctx_term(net->context) != 0)
        LATHE_REQUIRE(errno == EINTR);
    lathe_free(net);
}

void lathe_net_set_fault(struct lathe_net *net, const struct lathe_net_fault *fault)
{
    net->fault = fault;
}

static void set_int(void *handle, int option, int value)
{
    LATHE_REQUIRE(zmq_setsockopt(handle, option, &value, sizeof(value)) == 0);
}

static void set_options(struct lathe_socket *socket)
{
    int64_t max_message = LATHE_FRAME_MAX_PART_BYTES;

    set_int(socket->handle, ZMQ_LINGER, 0);
    set_int(socket->handle, ZMQ_SNDHWM, HIGH_WATER_FRAMES);
    set_int(socket->handle, ZMQ_RCVHWM, HIGH_WATER_FRAMES);
    set_int(socket->handle, ZMQ_HEARTBEAT_IVL, HEARTBEAT_MS);
    set_int(socket->handle, ZMQ_HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS);
    set_int(socket->handle, ZMQ_HEARTBEAT_TTL, HEARTBEAT_TIMEOUT_MS);
    set_int(socket->handle, ZMQ_RECONNECT_IVL, RECONNECT_MS);
    set_int(socket->handle, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS);
    LATHE_REQUIRE(
        zmq_setsockopt(socket->handle, ZMQ_MAXMSGSIZE, &max_message, sizeof(max_message)) == 0);
    /* A frame for a peer that is not there must fail now, not wait for it to come back. */
    set_int(socket->handle, socket->router ? ZMQ_ROUTER_MANDATORY : ZMQ_IMMEDIATE, 1);
}

/* Connects or binds, and keeps the resulting endpoint. */
static enum lathe_status attach(struct lathe_socket *socket, const char *endpoint,
                                struct lathe_error *err)
{
    size_t size = sizeof(socket->endpoint);
    int failed = socket->router ? zmq_bind(socket->handle, endpoint)
                                : zmq_connect(socket->handle, endpoint);
    bool malformed = errno == EINVAL || errno == EPROTONOSUPPORT || errno == ENOCOMPATPROTO ||
                     errno == ENODEV || errno == ENAMETOOLONG;

    if (failed != 0)
        return lathe_fail(err, malformed ? LATHE_INVALID_ARGUMENT : LATHE_FAILED_PRECONDITION,
                          "cannot %s \"%s\": %s", socket->router ? "bind" : "connect to", endpoint,
                          zmq_strerror(errno));
    if (zmq_getsockopt(socket->handle, ZMQ_LAST_ENDPOINT, socket->endpoint, &size) != 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "endpoint \"%s\" is longer than %d bytes",
                          endpoint, ENDPOINT_BYTES - 1);
    return LATHE_OK;
}

static enum lathe_status socket_open(struct lathe_net *net, bool router, const char *endpoint,
                                     struct lathe_socket **socket_out, struct lathe_error *err)
{
    struct lathe_socket *socket = lathe_zalloc(sizeof(*socket));
    enum lathe_status status;

    *socket_out = NULL;
    if (socket == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a socket");
    socket->net = net;
    socket->router = router;
    socket->owner = pthread_self();
    socket->handle = zmq_socket(net->context, router ? ZMQ_ROUTER : ZMQ_DEALER);
    if (socket->handle == NULL) {
        status = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no socket for \"%s\": %s", endpoint,
                            zmq_strerror(errno));
        lathe_free(socket);
        return status;
    }
    set_options(socket);
    status = attach(socket, endpoint, err);
    if (status != LATHE_OK)
        lathe_socket_close(&socket);
    *socket_out = socket;
    return status;
}

enum lathe_status lathe_router_open(struct lathe_net *net, const char *endpoint,
                                    struct lathe_socket **socket_out, struct lathe_error *err)
{
    return socket_open(net, true, endpoint, socket_out, err);
}

enum lathe_status lathe_dealer_open(struct lathe_net *net, const char *endpoint,
                                    struct lathe_socket **socket_out, struct lathe_error *err)
{
    return socket_open(net, false, endpoint, socket_out, err);
}

/* ZeroMQ's sockets end in an abort deep inside it when two threads use one; this says whose fault
 * it is. */
static void require_owner(const struct lathe_socket *socket)
{
    LATHE_REQUIRE(pthread_equal(socket->owner, pthread_self()));
}

void lathe_socket_close(struct lathe_socket **socket_p)
{
    struct lathe_socket *socket = *socket_p;

    *socket_p = NULL;
    if (socket == NULL)
        return;
    require_owner(socket);
    (void)zmq_close(socket->handle);
    lathe_free(socket);
}

const char *lathe_socket_endpoint(const struct lathe_socket *socket)
{
    return socket->endpoint;
}

/* ---- Sending -------------------------------------------------------------------------------- */

/* ZeroMQ is done with a part: on the thread that closed the message, or on its own. */
static void part_free(void *data, void *memory)
{
    LATHE_HB_ACQUIRE(data);
    lathe_free(memory);
}

/* The messages of a frame; second is there only if `has_block`. */
struct outgoing {
    zmq_msg_t first;
    zmq_msg_t second;
    bool has_block;
};

static void outgoing_close(struct outgoing *out)
{
    (void)zmq_msg_close(&out->first);
    if (out->has_block)
        (void)zmq_msg_close(&out->second);
}

/* Takes the memory of the parts in any case. */
static bool outgoing_init(struct outgoing *out, const struct lathe_frame_parts *parts)
{
    out->has_block = parts->block != NULL;
    if (zmq_msg_init_data(&out->first, parts->first, parts->first_size, part_free,
                          parts->first_memory) != 0) {
        lathe_free(parts->first_memory);
        lathe_free(parts->block);
        return false;
    }
    if (out->has_block && zmq_msg_init_data(&out->second, parts->block, parts->block_size,
                                            part_free, parts->block) != 0) {
        lathe_free(parts->block);
        (void)zmq_msg_close(&out->first);
        return false;
    }
    return true;
}

/* A second set of messages that share the memory of the first. */
static void outgoing_copy(struct outgoing *copy, struct outgoing *out)
{
    copy->has_block = out->has_block;
    (void)zmq_msg_init(&copy->first);
    LATHE_REQUIRE(zmq_msg_copy(&copy->first, &out->first) == 0);
    if (copy->has_block) {
        (void)zmq_msg_init(&copy->second);
        LATHE_REQUIRE(zmq_msg_copy(&copy->second, &out->second) == 0);
    }
}

static bool send_message(void *handle, zmq_msg_t *message, bool more)
{
    int sent;

    LATHE_HB_RELEASE(zmq_msg_data(message));
    do
        sent = zmq_msg_send(message, handle, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0));
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

static bool send_peer(void *handle, const struct lathe_peer *peer)
{
    int sent;

    do
        sent = zmq_send(handle, peer->bytes, peer->size, ZMQ_DONTWAIT | ZMQ_SNDMORE);
    while (sent < 0 && errno == EINTR);
    return sent >= 0;
}

/* Sends or closes the messages. */
static enum lathe_status outgoing_send(struct lathe_socket *socket, const struct lathe_peer *peer,
                                       struct outgoing *out)
{
    bool sent = peer == NULL || send_peer(socket->handle, peer);

    sent = sent && send_message(socket->handle, &out->first, out->has_block);
    sent = sent && (!out->has_block || send_message(socket->handle, &out->second, false));
    if (!sent)
        outgoing_close(out); /* a message that was sent is empty: closing it again does nothing */
    return sent ? LATHE_OK : LATHE_UNAVAILABLE;
}

enum lathe_status lathe_socket_send(struct lathe_socket *socket, const struct lathe_peer *peer,
                                    struct lathe_frame *frame)
{
    const struct lathe_net_fault *fault = socket->net->fault;
    enum lathe_net_fate fate = LATHE_NET_PASS;
    struct lathe_frame_parts parts;
    struct outgoing out, copy;

    require_owner(socket);
    LATHE_REQUIRE((peer != NULL) == socket->router);
    if (fault != NULL)
        fate = fault->outgoing(fault->context, &frame->header);
    if (fate == LATHE_NET_DROP || frame->block.size > LATHE_FRAME_MAX_PART_BYTES ||
        frame->body.size > LATHE_FRAME_MAX_PART_BYTES - LATHE_FRAME_HEADER_BYTES) {
        lathe_frame_fini(frame);
        return fate == LATHE_NET_DROP ? LATHE_OK : LATHE_RESOURCE_EXHAUSTED;
    }
    if (!lathe_frame_take_parts(frame, &parts) || !outgoing_init(&out, &parts))
        return LATHE_RESOURCE_EXHAUSTED;
    if (fate == LATHE_NET_DUPLICATE) {
        outgoing_copy(&copy, &out);
        (void)outgoing_send(socket, peer, &copy);
    }
    return outgoing_send(socket, peer, &out);
}

/* ---- Receiving ------------------------------------------------------------------------------ */

static void received_release(void *owner)
{
    struct received *received = owner;

    /* Copies of a message share memory; whoever closes the last one frees it. */
    LATHE_HB_RELEASE(zmq_msg_data(&received->first));
    LATHE_HB_RELEASE(zmq_msg_data(&received->second));
    (void)zmq_msg_close(&received->first);
    (void)zmq_msg_close(&received->second);
    lathe_free(received);
}

/* The next part of a message, or (first = true) the first part of the next message. */
static bool receive_part(void *handle, zmq_msg_t *part)
{
    int size;

    (void)zmq_msg_init(part);
    do
        size = zmq_msg_recv(part, handle, ZMQ_DONTWAIT);
    while (size < 0 && errno == EINTR);
    LATHE_HB_ACQUIRE(zmq_msg_data(part));
    return size >= 0;
}

static struct lathe_bytes part_view(zmq_msg_t *part)
{
    return lathe_bytes_of(zmq_msg_data(part), zmq_msg_size(part));
}

/* Receives the rest of a message after `last` into `parts`; further parts are dropped. Returns how
 * many there were. */
static size_t receive_rest(void *handle, zmq_msg_t *last, zmq_msg_t *parts, size_t room)
{
    bool more = zmq_msg_more(last) != 0;
    size_t count = 0;

    while (more) {
        zmq_msg_t extra, *part = count < room ? &parts[count] : &extra;

        if (!receive_part(handle, part))
            break; /* ZeroMQ hands out whole messages only; a closed context ends this */
        more = zmq_msg_more(part) != 0;
        if (count++ >= room)
            (void)zmq_msg_close(&extra);
    }
    return count;
}

static void peer_take(struct lathe_peer *peer, zmq_msg_t *part)
{
    size_t size = zmq_msg_size(part);

    if (size <= LATHE_PEER_BYTES) {
        peer->size = (uint8_t)size;
        memcpy(peer->bytes, zmq_msg_data(part), size);
    }
}

/* Receives one whole message. parts[0..1] are initialised on return; *count_out tells how many of
 * them the message had, or more if it had more. False: there is none. */
static bool receive_message(struct lathe_socket *socket, struct lathe_peer *peer,
                            zmq_msg_t parts[2], size_t *count_out)
{
    zmq_msg_t identity;

    if (socket->router) {
        if (!receive_part(socket->handle, &identity))
            return false;
        peer_take(peer, &identity);
        *count_out = receive_rest(socket->handle, &identity, parts, 2);
        (void)zmq_msg_close(&identity);
    } else {
        if (!receive_part(socket->handle, &parts[0]))
            return false;
        *count_out = 1 + receive_rest(socket->handle, &parts[0], parts + 1, 1);
    }
    for (size_t i = *count_out; i < 2; i++)
        (void)zmq_msg_init(&parts[i]);
    return true;
}

/* Decodes the parts and moves them into the frame. */
static enum lathe_status frame_take(struct lathe_frame *frame, zmq_msg_t parts[2], size_t count,
                                    const struct lathe_peer *peer, struct lathe_error *err)
{
    struct received *received;
    enum lathe_status status;

    if (peer->size == 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "message from a peer whose name has more than %d bytes",
                          LATHE_PEER_BYTES);
    if (count < 1 || count > 2)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "message of %zu parts; a frame has 1 or 2",
                          count);
    received = lathe_alloc(sizeof(*received));
    if (received == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a frame");
    (void)zmq_msg_init(&received->first);
    (void)zmq_msg_init(&received->second);
    (void)zmq_msg_move(&received->first, &parts[0]);
    (void)zmq_msg_move(&received->second, &parts[1]);
    status = lathe_frame_decode(part_view(&received->first), part_view(&received->second),
                                &frame->header, &frame->body, &frame->block, err);
    if (status != LATHE_OK) {
        received_release(received);
        *frame = (struct lathe_frame){0};
        return status;
    }
    frame->owner = received;
    frame->release = received_release;
    return LATHE_OK;
}

enum lathe_status lathe_socket_receive(struct lathe_socket *socket, struct lathe_peer *peer_out,
                                       struct lathe_frame *frame_out, struct lathe_error *err)
{
    struct lathe_peer peer = {0};
    enum lathe_status status;
    zmq_msg_t parts[2];
    size_t count;

    require_owner(socket);
    LATHE_REQUIRE(peer_out != NULL || !socket->router);
    *frame_out = (struct lathe_frame){0};
    if (!socket->router)
        peer.size = 1; /* the one peer of a dealer needs no name */
    if (!receive_message(socket, &peer, parts, &count))
        return LATHE_NOT_FOUND;
    status = frame_take(frame_out, parts, count, &peer, err);
    (void)zmq_msg_close(&parts[0]);
    (void)zmq_msg_close(&parts[1]);
    if (peer_out != NULL)
        *peer_out = peer;
    return status;
}

void lathe_net_wait(struct lathe_socket *const *sockets, size_t socket_count, const int *fds,
                    size_t fd_count, uint64_t timeout_us)
{
    zmq_pollitem_t items[WAIT_MAX];
    long timeout_ms = -1;

    LATHE_REQUIRE(socket_count <= WAIT_MAX && fd_count <= WAIT_MAX - socket_count);
    for (size_t i = 0; i < socket_count; i++) {
        require_owner(sockets[i]);
        items[i] = (zmq_pollitem_t){.socket = sockets[i]->handle, .events = ZMQ_POLLIN};
    }
    for (size_t i = 0; i < fd_count; i++)
        items[socket_count + i] = (zmq_pollitem_t){.fd = fds[i], .events = ZMQ_POLLIN};
    if (timeout_us <
        (uint64_t)INT_MAX * 1000u) /* rounded up: a wait that ends early would only turn */
        timeout_ms = (long)((timeout_us + 999) / 1000);
    else if (timeout_us != UINT64_MAX)
        timeout_ms = INT_MAX;
    (void)zmq_poll(items, (int)(socket_count + fd_count), timeout_ms);
}
