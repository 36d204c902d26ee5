/* link.h - the one door to ZeroMQ: a router at each shard, a dealer for each shard at the
 * coordinator.
 *
 * A socket belongs to the thread that opened it; every function on it aborts if another thread
 * calls. Sends never wait: a full or missing peer is an error, and what was lost is found by the
 * caller's own deadline. At most once: nothing is ever sent again by this layer. */
#ifndef LATHE_NET_LINK_H
#define LATHE_NET_LINK_H
#include "common/net/frame.h"

struct lathe_net; /* the ZeroMQ context: one a process */
struct lathe_socket;

/* Threads: any. NULL when memory is short. Destroy after every socket is closed. */
struct lathe_net *lathe_net_create(void);
void lathe_net_destroy(struct lathe_net *net);

/* Faults for tests: what becomes of each frame that is sent. Called on the sending thread. */
enum lathe_net_fate { LATHE_NET_PASS, LATHE_NET_DROP, LATHE_NET_DUPLICATE };
struct lathe_net_fault {
    enum lathe_net_fate (*outgoing)(void *context, const struct lathe_frame_header *header);
    void *context;
};
/* Set before the first socket is opened; NULL (the default) means none. Kept, not copied. */
void lathe_net_set_fault(struct lathe_net *net, const struct lathe_net_fault *fault);

enum { LATHE_PEER_BYTES = 16 };
struct lathe_peer {
    uint8_t size;
    uint8_t bytes[LATHE_PEER_BYTES];
};

/* Endpoints: "inproc://name", "ipc://path", "tcp://host:port" (a router also takes port "*"). A
 * dealer may be opened before its router. INVALID_ARGUMENT: no such endpoint can be;
 * FAILED_PRECONDITION: it is taken or not permitted. */
LATHE_MUST_CHECK enum lathe_status lathe_router_open(struct lathe_net *net, const char *endpoint,
                                                     struct lathe_socket **socket_out,
                                                     struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status lathe_dealer_open(struct lathe_net *net, const char *endpoint,
                                                     struct lathe_socket **socket_out,
                                                     struct lathe_error *err);
void lathe_socket_close(struct lathe_socket **socket_p);
/* The endpoint as it was really bound, for "tcp://127.0.0.1:*". Lives as long as the socket.
 * Threads: any. */
const char *lathe_socket_endpoint(const struct lathe_socket *socket);

/* Sends a frame and empties it (also on failure). `peer` is NULL for a dealer.
 * UNAVAILABLE: no such peer or its queue is full. RESOURCE_EXHAUSTED: a part is larger than
 * LATHE_FRAME_MAX_PART_BYTES, or memory is short. */
LATHE_MUST_CHECK enum lathe_status lathe_socket_send(struct lathe_socket *socket,
                                                     const struct lathe_peer *peer,
                                                     struct lathe_frame *frame);

/* Takes the next frame, without waiting; the caller frees it with lathe_frame_fini(), on any
 * thread. *peer_out (may be NULL for a dealer) says from whom. NOT_FOUND: none is there.
 * INVALID_ARGUMENT or UNIMPLEMENTED: what came is no frame, or of another version;
 * RESOURCE_EXHAUSTED: no memory to take it. It was dropped then, and *peer_out has size 0 if it
 * cannot be answered. */
LATHE_MUST_CHECK enum lathe_status lathe_socket_receive(struct lathe_socket *socket,
                                                        struct lathe_peer *peer_out,
                                                        struct lathe_frame *frame_out,
                                                        struct lathe_error *err);

/* Waits until a socket has a frame or a file descriptor is readable, at most timeout_us
 * (UINT64_MAX: no limit). Returns when any may be ready; callers then drain each. All sockets are
 * this thread's. */
void lathe_net_wait(struct lathe_socket *const *sockets, size_t socket_count, const int *fds,
                    size_t fd_count, uint64_t timeout_us);
#endif
