/* shard_fixture.h - a shard's parts without its front: store, writer, pool, on a clock of the
 * test's own; and short forms to make requests and read replies. */
#ifndef LATHE_TESTS_UNIT_SHARD_FIXTURE_H
#define LATHE_TESTS_UNIT_SHARD_FIXTURE_H
#include "tests/support/test.h"

#include "common/base/clock.h"
#include "shard.pb-c.h"
#include "shard/search/search.h"
#include "shard/write/repeat.h"
#include "shard/write/writer.h"

/* ---- Time ---- */

struct fake_clock {
    struct lathe_clock clock;
    _Atomic uint64_t now_us;
    _Atomic uint64_t wall_ms;
};

void fake_clock_init(struct fake_clock *fake);
void fake_clock_advance(struct fake_clock *fake, uint64_t ms);

/* ---- Requests ---- */

/* A WRITE in the making; everything lives in its arena. */
struct request {
    struct lathe_arena arena;
    Lathe__Shard__Write write;
    struct lathe_buf block;
};

void request_init(struct request *request, uint64_t time_ms);
void request_fini(struct request *request);
Lathe__Shard__Operation *request_add(struct request *request, Lathe__Shard__OperationKind kind,
                                     struct lathe_idkey id);
void request_vector(struct request *request, Lathe__Shard__Operation *operation, uint32_t field,
                    const float *vector, uint32_t dims);
void request_payload(struct request *request, Lathe__Shard__Operation *operation,
                     struct lathe_bytes payload);
void request_key(struct request *request, Lathe__Shard__Operation *operation, const char *key);
void request_field(struct request *request, Lathe__Shard__Operation *operation, uint32_t field);
/* Sets client id, number and the digest of what the request holds by now. */
void request_client(struct request *request, const uint8_t client_id[16], uint64_t number);

/* An encoded lathe.v1.Object of integers. */
struct pair {
    const char *key;
    int64_t value;
};
struct lathe_bytes payload_make(struct lathe_arena *arena, const struct pair *pairs, size_t count);

/* A fixed id for each number, of the three kinds in turn. */
struct lathe_idkey id_of(uint32_t number);

/* ---- Parts ---- */

enum { PARTS_SPECS = 8, SPEC_SCHEMA_VERSION = 1 };

struct parts {
    char *dir;
    char path[4200]; /* of the store, below dir */
    struct fake_clock clock;
    struct lathe_budget budget;
    struct lathe_store *store;
    struct lathe_publication publication;
    struct lathe_writer *writer;
    struct lathe_queue *done;
    struct lathe_pool *pool;
    struct lathe_search_config search;
    uint64_t max_payload_bytes;
    struct lathe_arena arena; /* of the specs */
    Lathe__Shard__CollectionSpec *specs[PARTS_SPECS];
    size_t spec_count;
    uint32_t next_id;
};

void parts_init(struct parts *parts);  /* a fresh directory, started */
void parts_fini(struct parts *parts);  /* stopped, the directory removed */
void parts_start(struct parts *parts); /* on what the directory holds */
void parts_stop(struct parts *parts);
struct lathe_store *store_open_at(const char *path);

/* A new collection with these fields, made by a SYNC. Returns its id. */
uint32_t parts_create(struct parts *parts, uint32_t fields, const uint32_t *dims,
                      const enum lathe_metric *metrics);
void parts_drop(struct parts *parts, uint32_t id);
Lathe__Shard__CollectionSpec *spec_make(struct lathe_arena *arena, uint32_t id, uint32_t fields,
                                        const uint32_t *dims, const enum lathe_metric *metrics);
/* One SYNC of the specs as they are. Returns the finished task. */
struct lathe_task *parts_sync(struct parts *parts);

/* A task as the front would make it. `block` may be NULL; it is copied. */
struct lathe_task *parts_task(struct parts *parts, uint16_t kind, uint32_t collection,
                              const ProtobufCMessage *message, const struct lathe_buf *block);
/* Hands it to the writer, the search or the reads; wait() gives the next one that is finished. */
void parts_submit(struct parts *parts, struct lathe_task *task);
struct lathe_task *parts_wait(struct parts *parts);
struct lathe_task *parts_call(struct parts *parts, uint16_t kind, uint32_t collection,
                              const ProtobufCMessage *message, const struct lathe_buf *block);
struct lathe_task *parts_write(struct parts *parts, uint32_t collection,
                               const struct request *request);

/* The decoded reply; it lives in the task. Fails the test if the task failed. */
const Lathe__Shard__WriteReply *write_reply(struct lathe_task *task);
const Lathe__Shard__SearchReply *search_reply(struct lathe_task *task);
const Lathe__Shard__Points *points_reply(struct lathe_task *task);
const Lathe__Shard__StatsReply *stats_reply(struct lathe_task *task);
const Lathe__Shard__SyncReply *sync_reply(struct lathe_task *task);
const Lathe__Shard__Failure *failure_of(struct lathe_task *task);

/* ---- Stores ---- */

/* Everything a store holds, as text: collections, points in id order with payload, version and
 * vectors, clients with their results, where the log stands, and how many keys each family has. */
void store_export(struct lathe_store *store, struct lathe_buf *out);
void assert_exports_equal(const struct lathe_buf *a, const struct lathe_buf *b);

void store_put(struct lathe_store *store, enum lathe_family family, struct lathe_key key,
               struct lathe_bytes value);
void store_delete(struct lathe_store *store, enum lathe_family family, struct lathe_key key);
/* A copy of the value; not found: an empty one. The caller frees it. */
void store_get(struct lathe_store *store, enum lathe_family family, struct lathe_key key,
               struct lathe_buf *out);
#endif
