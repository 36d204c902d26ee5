/* grpc_internal.h - what the files of this folder share: the server, its methods, its calls.
 *
 * grpc_server stands on grpc_health and grpc_reflection, these on grpc_call. grpc_call, grpc_stream
 * and grpc_deadline are one state machine in three files: a call's own, its stream's, its time's.
 *
 * Locks, in the order in which they may be taken: health, call, then one of server or deadlines.
 * Handlers of streams are called without any lock, `on_cancel` of a unary call with the call's. */
#ifndef LATHE_COORDINATOR_GRPC_INTERNAL_H
#define LATHE_COORDINATOR_GRPC_INTERNAL_H
#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "coordinator/grpc/grpc_buffer.h"
#include "coordinator/grpc_server.h"

enum {
    LATHE_GRPC_ARMED = 32,             /* requests waiting for calls, of each method */
    LATHE_GRPC_STREAM_SENDS = 64,      /* answers a client has not taken: above, no more is read */
    LATHE_GRPC_STREAM_BYTES = 1 << 20, /* the same in bytes */
    LATHE_GRPC_INTERNAL_CALLS = 1024,  /* health and reflection calls in flight */
    /* A stopping server refuses calls itself until none came for the first time, at most for the
     * second after the last answer: see leave() in grpc_server.c. */
    LATHE_GRPC_QUIET_MS = 100,
    LATHE_GRPC_LEAVE_MS = 1000,
    /* How long clients may take to close connections that carry no call. */
    LATHE_GRPC_LINGER_MS = 300
};

/* What a completion-queue event belongs to. `ok` is false when the operation failed. */
struct lathe_grpc_tag {
    void (*event)(struct lathe_call *call, bool ok);
    struct lathe_call *call;
};

struct lathe_grpc_method {
    struct lathe_method def;
    void *context;    /* given to the handlers */
    bool internal;    /* health and reflection: not counted among the calls of the service */
    void *registered; /* gRPC's handle */
    _Atomic uint32_t unarmed; /* requests that could not be armed for lack of memory */
    /* Under deadlines.lock: calls without a deadline of their own. All have the same timeout, so
     * the order of arrival is the order of deadlines. */
    struct lathe_call *first_timed;
    struct lathe_call *last_timed;
};

/* Wakes calls whose default deadline passes; gRPC itself watches only the client's. */
struct lathe_grpc_deadlines {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    uint64_t wake_at_us; /* when the thread will look next */
    bool started;
    bool stopping;
};

struct lathe_grpc_health;
struct lathe_grpc_reflection;

struct lathe_grpc_server {
    grpc_server *server;
    grpc_completion_queue *queue;          /* calls */
    grpc_completion_queue *shutdown_queue; /* the shutdown's event alone */
    pthread_t *threads;
    unsigned thread_count;
    int port;
    struct lathe_budget *budget;
    uint32_t limit_calls;
    uint64_t limit_bytes;
    struct lathe_grpc_method *methods; /* the last one takes every unknown path */
    size_t method_count;
    struct lathe_grpc_health *health;
    struct lathe_grpc_reflection *reflection;
    struct lathe_grpc_deadlines deadlines;
    _Atomic uint32_t calls;
    _Atomic uint32_t internal_calls;
    _Atomic uint64_t request_bytes;
    _Atomic uint32_t parked_count;
    _Atomic bool stopping;
    _Atomic uint64_t last_arrival_us;

    pthread_mutex_t lock;
    pthread_cond_t ended;
    size_t live;                     /* call objects; under `lock`, as are the next two */
    struct lathe_call *first_stream; /* open streams */
    struct lathe_call *first_parked; /* streams that wait for room to read */
};

struct lathe_grpc_answer {
    struct lathe_grpc_answer *next;
    grpc_byte_buffer *buffer;
    size_t size;
};

/* One RPC. References: one for each event still to come, one of the handler's until it answers, and
 * lathe_call_acquire()'s. */
struct lathe_call {
    struct lathe_grpc_server *server;
    struct lathe_grpc_method *method;
    grpc_call *call;
    _Atomic uint32_t references;
    struct lathe_grpc_tag arrived, closed, received, sent;
    gpr_timespec deadline;
    grpc_metadata_array metadata;
    grpc_call_details details; /* of an unknown path */
    grpc_byte_buffer *buffer;  /* where gRPC puts what it received */
    int client_gone;           /* where gRPC puts "cancelled" */
    uint64_t deadline_us;
    _Atomic(void *) user;
    _Atomic bool cancelled;
    bool admitted; /* counted in flight */
    bool watched;  /* has the method's default deadline */

    /* The answer's pieces, which must outlive its batch. */
    grpc_slice status_text;
    grpc_metadata status_details;
    bool has_status_details;

    pthread_mutex_t lock; /* recursive, since on_cancel may answer. The rest is under it */
    struct lathe_grpc_message request;
    size_t request_bytes; /* charged for the request */
    size_t reply_bytes;   /* charged for a unary reply */
    bool answered;
    void (*on_cancel)(void *context);
    void *cancel_context;

    bool opened;          /* the handler knows of the stream */
    bool delivering;      /* some thread is calling the handler */
    bool arrived_message; /* request is there, and `message` not yet called */
    bool half_closed, gone, draining;
    bool close_delivered;
    bool read_wanted, reading;
    bool metadata_sent, sending, status_sent;
    grpc_op status_op; /* once answered */
    struct lathe_grpc_answer *first_answer, *last_answer;
    size_t answer_count, answer_bytes;

    /* Under server->lock. */
    struct lathe_call *next_stream, **stream_link;
    struct lathe_call *next_parked;
    bool parked;
    struct lathe_call *next_drained;
    /* Under deadlines.lock. */
    struct lathe_call *next_timed, *previous_timed;
    bool timed;
};

/* grpc_call.c */
/* Asks gRPC for one more call of the method. */
void lathe_grpc_arm(struct lathe_grpc_server *server, struct lathe_grpc_method *method);
/* Starts operations whose completion is `tag`. False if gRPC refuses them: no event will come. */
bool lathe_grpc_batch(struct lathe_call *call, const grpc_op *ops, size_t count,
                      struct lathe_grpc_tag *tag);
/* Fills in the status operation, and its pieces in the call. err NULL: success. */
grpc_op lathe_grpc_status_op(struct lathe_call *call, const struct lathe_error *err);
grpc_op lathe_grpc_metadata_op(void);
/* The deadline or the client's cancellation came: tells a unary call's handler. */
void lathe_grpc_cancel(struct lathe_call *call);
/* Gives the request's memory back and wakes streams that wait for it. Not under a call's lock. */
void lathe_grpc_release_request(struct lathe_call *call);
/* Takes the received buffer over as the call's request and charges it. */
bool lathe_grpc_take_request(struct lathe_call *call);
void lathe_grpc_settle(struct lathe_call *call); /* no longer in flight */
/* The service's name in a method's path: "lathe.v1.SearchService". */
struct lathe_bytes lathe_grpc_service_of(const struct lathe_grpc_method *method);

/* grpc_stream.c */
void lathe_grpc_stream_open(struct lathe_call *call);
void lathe_grpc_stream_gone(struct lathe_call *call); /* the client left */
void lathe_grpc_stream_received(struct lathe_call *call, bool ok);
void lathe_grpc_stream_sent(struct lathe_call *call, bool ok);
void lathe_grpc_stream_fini(struct lathe_call *call);
void lathe_grpc_streams_drain(struct lathe_grpc_server *server);
void lathe_grpc_streams_resume(struct lathe_grpc_server *server); /* bytes were given back */

/* grpc_deadline.c */
void lathe_grpc_deadlines_init(struct lathe_grpc_deadlines *deadlines);
/* Once the server's methods are there. False: no thread. */
bool lathe_grpc_deadlines_start(struct lathe_grpc_server *server);
void lathe_grpc_deadlines_fini(struct lathe_grpc_deadlines *deadlines); /* ends the thread */
void lathe_grpc_deadline_set(
    struct lathe_call *call); /* call->deadline_us is the method's default */
void lathe_grpc_deadline_clear(struct lathe_call *call);

/* grpc_health.c: made before the server starts, destroyed after its last call. */
enum { LATHE_GRPC_HEALTH_METHODS = 2, LATHE_GRPC_REFLECTION_METHODS = 2 };
extern const struct lathe_method lathe_grpc_health_methods[LATHE_GRPC_HEALTH_METHODS];
struct lathe_grpc_health *lathe_grpc_health_create(const struct lathe_grpc_server *server);
void lathe_grpc_health_destroy(struct lathe_grpc_health *health);
void lathe_grpc_health_set(struct lathe_grpc_health *health, bool serving);
/* Says NOT_SERVING and ends every Watch, those to come too. */
void lathe_grpc_health_stop(struct lathe_grpc_health *health);

/* grpc_reflection.c */
extern const struct lathe_method lathe_grpc_reflection_methods[LATHE_GRPC_REFLECTION_METHODS];
struct lathe_grpc_reflection *lathe_grpc_reflection_create(const struct lathe_grpc_server *server,
                                                           struct lathe_error *err);
void lathe_grpc_reflection_destroy(struct lathe_grpc_reflection *reflection);
#endif
