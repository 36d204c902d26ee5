/* collections.h - the registry of collections: who is there, by name, and the one thread that
 * creates and drops them.
 *
 * The catalog is the truth (collections_catalog.h).
 * A create or drop is one transaction; then every shard is told the whole truth (SYNC). Both block,
 * so they are jobs of one admin thread, which also keeps SYNCs in order: an older one never undoes
 * a newer one. While a SYNC has not reached every shard the admin thread repeats it each second. */
#ifndef LATHE_COORDINATOR_COLLECTIONS_H
#define LATHE_COORDINATOR_COLLECTIONS_H
#include "coordinator/catalog.h"
#include "coordinator/collection.h"
#include "coordinator/engine.h"

struct lathe_collections;
struct lathe_collections_job;

struct lathe_collections_config {
    struct lathe_catalog *catalog; /* borrowed, as all of these */
    struct lathe_engine *engine;
    const struct lathe_clock *clock;
    uint64_t start_timeout_ms; /* how long start waits for all shards; 0 = 60 s */
};

/* Loads every collection, tells all shards, waits until each has acknowledged, and starts the admin
 * thread. Errors: DATA_LOSS (a record), FAILED_PRECONDITION (a record names another number of
 * shards), UNAVAILABLE (a shard did not answer in time: the text names it), what the catalog says.
 */
LATHE_MUST_CHECK enum lathe_status
lathe_collections_start(const struct lathe_collections_config *config,
                        struct lathe_collections **collections_out, struct lathe_error *err);
/* Answers waiting jobs UNAVAILABLE, ends the thread, frees everything. No job may be submitted any
 * more. The engine must still run. */
void lathe_collections_stop(struct lathe_collections **collections_p);

/* The collection of this name with a reference for the caller, or NULL. Threads: any. */
struct lathe_collection *lathe_collections_acquire(struct lathe_collections *collections,
                                                   const char *name);
/* All collections by name, each with a reference for the caller, in an array to lathe_free().
 * False when memory is short. Threads: any. */
bool lathe_collections_list(struct lathe_collections *collections,
                            struct lathe_collection ***list_out, size_t *count_out);

/* Tells all shards once more, soon: one of them does not know what it should
 * (lathe_engine_config.on_stale). Threads: any. Never waits. */
void lathe_collections_resync(struct lathe_collections *collections);

/* Called once, on the admin thread; never inside the submit. `err` has status OK or says why.
 * After a create that worked, or whose collection exists but is not known to every shard yet
 * (status UNAVAILABLE and the like), job->collection is the collection with the job's reference. */
typedef void lathe_collections_done_fn(struct lathe_collections_job *job,
                                       const struct lathe_error *err);

/* A create or drop. Owner: the caller, who zeroes it, fills it in and keeps it until `done`. */
struct lathe_collections_job {
    struct lathe_collection
        *collection; /* create: the draft (moved in; id, key and time are filled); else NULL */
    char name[LATHE_MAX_NAME_BYTES + 1]; /* drop: which */
    uint64_t deadline_us;
    lathe_collections_done_fn *done;
    atomic_bool cancelled; /* the registry's */
};

/* ALREADY_EXISTS, RESOURCE_EXHAUSTED (number of collections) and so on come through `done`; here
 * only RESOURCE_EXHAUSTED (queue full) and UNAVAILABLE (stopping): `done` is then not called.
 * Threads: any. */
LATHE_MUST_CHECK enum lathe_status lathe_collections_submit(struct lathe_collections *collections,
                                                            struct lathe_collections_job *job,
                                                            struct lathe_error *err);
/* Asks to end a submitted job early, as CANCELLED. What its transaction did stays. `done` comes as
 * ever. Threads: any, from before the submit until `done`. */
void lathe_collections_cancel(struct lathe_collections *collections,
                              struct lathe_collections_job *job);
#endif
