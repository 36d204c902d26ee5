/* served.h - a whole shard behind its socket, and a dealer that asks it as a coordinator would. */
#ifndef LATHE_TESTS_UNIT_SHARD_SERVED_H
#define LATHE_TESTS_UNIT_SHARD_SERVED_H
#include "tests/unit/shard/shard_fixture.h"

#include "shard/shard.h"

enum { IN_FLIGHT = 8, DIMS = 4 };

struct served {
    char *dir;
    char path[4200];
    char endpoint[64];
    struct lathe_net *net;
    struct lathe_pool *pool;
    struct lathe_store_cache *cache;
    struct lathe_budget budget;
    const struct lathe_kernel_set *kernel;
    struct lathe_shard *shard;
    struct lathe_socket *dealer;
    uint64_t next_request;
    struct lathe_arena arena; /* of the replies */
    struct lathe_queue *gate; /* what served_hold_pool() keeps a pool thread with */
    struct lathe_queue *gated;
    struct lathe_pool_job gate_job;
};

/* Of a cmocka test: *state is a struct served, started on an empty directory. */
int served_setup(void **state);
int served_teardown(void **state);
struct lathe_shard_config served_config(struct served *f);
void served_start(struct served *f);
void served_stop(struct served *f); /* every part of the budget is back at zero */

/* ---- Frames ---- */

/* A frame to be sent; message NULL: no body. */
struct asked {
    uint16_t kind;
    uint32_t collection;
    uint32_t schema_ahead; /* of the version that served_sync() gave; UINT32_MAX is one behind */
    uint64_t request_id;   /* 0: the next */
    uint64_t budget_us;    /* 0: enough */
    const ProtobufCMessage *message;
    struct lathe_bytes raw; /* instead of a message */
    const struct lathe_buf *block;
};

/* Returns the request id. */
uint64_t served_ask(struct served *f, const struct asked *asked);
/* The next answer, of whatever request. The caller frees it. */
struct lathe_frame served_answer(struct served *f);
/* Its message, in the fixture's arena; fails the test if it is of another kind. */
const void *served_body(struct served *f, const struct lathe_frame *frame, uint16_t kind,
                        const ProtobufCMessageDescriptor *descriptor);
/* Sends, waits and decodes. */
const void *served_call(struct served *f, const struct asked *asked,
                        const ProtobufCMessageDescriptor *descriptor);
const Lathe__Shard__Failure *served_call_fails(struct served *f, const struct asked *asked,
                                               enum lathe_status status);

/* ---- Requests ---- */

/* Collections of two fields: cosine of DIMS, Euclidean of 2. */
void served_sync(struct served *f, const uint32_t *ids, size_t count, uint32_t next_id,
                 uint32_t created, uint32_t dropped);
/* Upserts of points first..first+count-1; `round` tells versions apart. */
void served_upserts(struct request *request, uint32_t first, uint32_t count, int64_t round);
struct asked served_write_of(uint32_t collection, const struct request *request);
void served_write(struct served *f, uint32_t collection, uint32_t first, uint32_t count,
                  int64_t round);

/* A SEARCH of one query in the first field. */
struct search {
    Lathe__Shard__Search message;
    Lathe__Shard__Query query, *queries[1];
    Lathe__Shard__VectorRef ref;
    float vector[DIMS];
    struct lathe_buf block;
};

struct asked served_search_of(struct search *search, uint32_t collection, uint32_t limit,
                              bool hold);
const Lathe__Shard__SearchReply *served_search(struct served *f, uint32_t collection,
                                               uint32_t limit, bool hold, uint64_t request_id);
struct asked served_list_of(Lathe__Shard__List *list, Lathe__Shard__Fetch *fetch,
                            uint32_t collection);
/* Appends body and block of the answers to a LIST and a SEARCH, without what counts time. */
void served_answers(struct served *f, uint32_t collection, struct lathe_buf *out);

/* Until release the one pool thread does nothing, so reads stay inside the shard. */
void served_hold_pool(struct served *f);
void served_release_pool(struct served *f);

/* Answered by the front itself, in the order of arrival: once it is back, what was sent before has
 * been taken in. */
const Lathe__Shard__HelloReply *served_hello(struct served *f);
#endif
