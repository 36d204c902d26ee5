/* grpc_server.h - the one door to gRPC on the server's side: methods with handlers, calls with
 * replies.
 *
 * Handlers run on the completion-queue threads and must not block for long. A call may be answered
 * from any thread, once. No gRPC type is seen outside coordinator/grpc. The standard services
 * (health, reflection v1 and v1alpha) are served besides config.methods. Compressed requests are
 * answered UNIMPLEMENTED. */
#ifndef LATHE_COORDINATOR_GRPC_SERVER_H
#define LATHE_COORDINATOR_GRPC_SERVER_H
#include "common/base/bytes.h"
#include "common/base/mem.h"

struct lathe_grpc_server;
struct lathe_call;

/* A request of a unary call. `request` lives until the call is answered. */
typedef void lathe_unary_fn(void *context, struct lathe_call *call, struct lathe_bytes request);

/* A bidirectional stream. The three callbacks never run at the same time for one stream, and none
 * starts once lathe_call_finish() was called.
 *
 * `message` is called for each request, one at a time; the request lives until lathe_call_next() is
 * called, which asks for the next one: that is the flow control. The next request is also held back
 * while a client does not take its answers. `closed` comes once, last: the client has sent
 * everything or the server is stopping (half_closed: answers still reach it), or the client is gone
 * (not half_closed); the handler then ends the call with lathe_call_finish() when its answers are
 * out. A handler may finish earlier; `closed` then does not come. */
struct lathe_stream_handler {
    void (*opened)(void *context, struct lathe_call *call); /* may be NULL */
    void (*message)(void *context, struct lathe_call *call, struct lathe_bytes request);
    void (*closed)(void *context, struct lathe_call *call, bool half_closed);
    /* The last reference is gone: the stream's user state can be freed. Any thread. May be NULL. */
    void (*destroyed)(void *context, struct lathe_call *call);
};

struct lathe_method {
    const char *path;                          /* "/lathe.v1.SearchService/Search" */
    lathe_unary_fn *unary;                     /* or NULL */
    const struct lathe_stream_handler *stream; /* or NULL */
    /* When the client sets no deadline; 0 = none. Unary only: a stream has no default. */
    uint32_t default_timeout_ms;
};

struct lathe_grpc_config {
    const char *listen; /* "127.0.0.1:0", "unix:path" */
    const struct lathe_method *methods;
    size_t method_count;
    void *context;               /* given to every handler */
    unsigned thread_count;       /* completion-queue threads */
    uint32_t in_flight_calls;    /* more are answered RESOURCE_EXHAUSTED at once */
    uint64_t in_flight_bytes;    /* of requests; the same. Streams are slowed down instead */
    struct lathe_budget *budget; /* charged with LATHE_MEM_REQUESTS; may be NULL */
};

/* Starts listening. The methods and what they point to must live until the server is stopped.
 * FAILED_PRECONDITION: the address cannot be bound (the text says why). Call it after any fork. */
LATHE_MUST_CHECK enum lathe_status lathe_grpc_server_start(const struct lathe_grpc_config *config,
                                                           struct lathe_grpc_server **server_out,
                                                           struct lathe_error *err);
/* The port really bound; 1 for a unix socket. */
int lathe_grpc_server_port(const struct lathe_grpc_server *server);
/* grpc.health.v1: what Check and Watch say for "" and every service. Starts as not serving. */
void lathe_grpc_server_set_serving(struct lathe_grpc_server *server, bool serving);
/* Says NOT_SERVING, refuses new calls as UNAVAILABLE until none came for 20 ms (at most 250 ms),
 * closes the listener, ends streams where they stand (status UNAVAILABLE after the answers to what
 * was read), lets calls in flight end (at most drain_ms, then cancels them) and frees everything.
 * Handlers must go on answering meanwhile: it waits for the last call to be given up. Not on a
 * completion-queue thread. */
void lathe_grpc_server_stop(struct lathe_grpc_server **server_p, uint64_t drain_ms);
/* Calls of config.methods in flight now: arrived and not yet answered or finished. */
uint32_t lathe_grpc_server_calls(const struct lathe_grpc_server *server);

/* Monotonic time (lathe_system_clock, us) by which the answer is wanted: the client's deadline or
 * the method's default. UINT64_MAX when there is neither. */
uint64_t lathe_call_deadline_us(const struct lathe_call *call);
/* True once the client is gone or the deadline has passed. */
bool lathe_call_cancelled(const struct lathe_call *call);
/* Called once, on any thread, when the client cancels or the deadline (its own or the default)
 * passes before the answer; at once if it has already. Only for unary calls; not after
 * lathe_call_reply/fail. The lock that guards this guarantees that `on_cancel` does not run after
 * lathe_call_reply/fail returned; `on_cancel` itself may answer the call, and must not wait for a
 * thread that does. The call still has to be answered. */
void lathe_call_on_cancel(struct lathe_call *call, void (*on_cancel)(void *context), void *context);
void *
lathe_call_user(const struct lathe_call *call); /* a pointer of the handler's, NULL at first */
void lathe_call_set_user(struct lathe_call *call, void *user);

/* Unary: answers and gives the call up; it must not be used afterwards. `reply` is moved (zeroed).
 * A reply above LATHE_MAX_MESSAGE_BYTES, or one whose memory was short (reply->failed), is answered
 * RESOURCE_EXHAUSTED. Threads: any. */
void lathe_call_reply(struct lathe_call *call, struct lathe_buf *reply);
/* The same with a failure: status, text, and google.rpc.Status details (BadRequest with the field,
 * RetryInfo with the hint). CANCELLED becomes DEADLINE_EXCEEDED if it was the deadline that passed
 * rather than the client that left. */
void lathe_call_fail(struct lathe_call *call, const struct lathe_error *err);

/* Streams. Sends queue up inside, in order; `reply` is moved (zeroed). A reply that cannot be sent
 * (too large, or its memory was short) breaks the stream: it is closed as if the client were gone,
 * and ends with RESOURCE_EXHAUSTED. Threads: any. Not after lathe_call_finish(). */
void lathe_call_send(struct lathe_call *call, struct lathe_buf *reply);
/* Gives the request back and asks for the next one. */
void lathe_call_next(struct lathe_call *call);
/* Ends the stream after what was sent, and gives the call up: err NULL or status OK is success.
 * Exactly once a stream. */
void lathe_call_finish(struct lathe_call *call, const struct lathe_error *err);
/* Holds the call's memory for another thread's later use. */
void lathe_call_acquire(struct lathe_call *call);
void lathe_call_release(struct lathe_call *call);
#endif
