/* request.h - what every call has in common: memory, the collection, one scatter at a time,
 * cancellation.
 *
 * A handler opens a request, decodes and checks on the completion-queue thread, and submits a
 * scatter. From then on the request belongs to the engine thread: its phase function runs there
 * when the shards have answered, and submits the next phase or ends the request. One thread at a
 * time; `mutex` only guards against a cancel from a third thread. */
#ifndef LATHE_COORDINATOR_API_REQUEST_H
#define LATHE_COORDINATOR_API_REQUEST_H
#include <pthread.h>

#include "common/net/message.h"
#include "coordinator/api/api.h"

struct lathe_request;
typedef void lathe_request_phase_fn(struct lathe_request *request);

/* The first member of each service's own request struct. */
struct lathe_request {
    struct lathe_api *api;
    struct lathe_call *call;             /* NULL: a request inside a stream */
    struct lathe_collection *collection; /* counted, or NULL */
    struct lathe_arena arena;            /* everything that lives as long as the request */
    struct lathe_scatter scatter;
    uint64_t started_us;
    uint64_t charged_bytes; /* of the budget */
    lathe_request_phase_fn *phase;
    pthread_mutex_t
        mutex; /* guards the two below; lathe_engine_submit and _cancel are called under it */
    bool in_flight;
    bool cancelled;
};

/* A zeroed struct of `size` bytes that begins with a struct lathe_request. `message_bytes` is the
 * size of the encoded request and bounds what decoding may take. Fails the call and returns NULL
 * when memory is short (without a call: only NULL). */
void *lathe_request_open(struct lathe_api *api, struct lathe_call *call, size_t size,
                         size_t message_bytes);
/* Frees the request. The call was answered (or there is none). */
void lathe_request_close(struct lathe_request *request);

/* Answers the call and closes. `err` has a status; `reply` is moved. */
void lathe_request_fail(struct lathe_request *request, const struct lathe_error *err);
void lathe_request_reply(struct lathe_request *request, struct lathe_buf *reply);

/* Makes the reply in the last phase and ends the request with it, or with what went wrong. */
typedef enum lathe_status lathe_request_finish_fn(struct lathe_request *request,
                                                  struct lathe_buf *reply, struct lathe_error *err);
void lathe_request_finish(struct lathe_request *request, lathe_request_finish_fn *finish);

/* Zeroed memory of the request. NULL when memory is short: see lathe_request_no_memory(). */
void *lathe_request_alloc(struct lathe_request *request, size_t count, size_t size);
enum lathe_status lathe_request_no_memory(struct lathe_error *err);

LATHE_MUST_CHECK enum lathe_status
lathe_request_decode(struct lathe_request *request, const ProtobufCMessageDescriptor *descriptor,
                     struct lathe_bytes bytes, ProtobufCMessage **message_out,
                     struct lathe_error *err);
/* Finds the collection and keeps it. NOT_FOUND names it; INVALID_ARGUMENT when `name` is empty. */
LATHE_MUST_CHECK enum lathe_status lathe_request_collection(struct lathe_request *request,
                                                            const char *field, const char *name,
                                                            struct lathe_error *err);

/* Lets the client's cancel reach the shards. Once, before the first submit; not for streams. */
void lathe_request_watch(struct lathe_request *request);
/* Sends scatter.parts; `phase` runs when they are settled. On failure it does not run. */
LATHE_MUST_CHECK enum lathe_status lathe_request_submit(struct lathe_request *request,
                                                        lathe_request_phase_fn *phase,
                                                        struct lathe_error *err);
/* For a request inside a stream whose client is gone. Threads: any, while the request lives. */
void lathe_request_cancel(struct lathe_request *request);

/* The header of a frame about this request's collection (or about none). */
struct lathe_frame_header lathe_request_header(const struct lathe_request *request,
                                               enum lathe_frame_kind kind);
/* One part a shard, all with the same body. */
LATHE_MUST_CHECK enum lathe_status lathe_request_ask_all(struct lathe_request *request,
                                                         enum lathe_frame_kind kind,
                                                         const ProtobufCMessage *body,
                                                         struct lathe_error *err);
/* Makes part->request out of a body and a block (may be NULL; moved). */
LATHE_MUST_CHECK enum lathe_status
lathe_request_ask(struct lathe_request *request, struct lathe_part *part, uint32_t shard,
                  enum lathe_frame_kind kind, const ProtobufCMessage *body, struct lathe_buf *block,
                  struct lathe_error *err);
/* The failure of a part as the caller should read it: naming the shard. */
void lathe_part_explain(const struct lathe_part *part, struct lathe_error *err);
/* Decodes a part's answer. INTERNAL if it is not what was asked for. */
LATHE_MUST_CHECK enum lathe_status lathe_part_decode(struct lathe_request *request,
                                                     const struct lathe_part *part,
                                                     const ProtobufCMessageDescriptor *descriptor,
                                                     ProtobufCMessage **message_out,
                                                     struct lathe_error *err);
#endif
