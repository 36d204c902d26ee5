/* table.h - a collection as the shard's writer keeps it, and the place where readers find its
 * views.
 *
 * Owner: the writer thread; only the publication is shared. */
#ifndef LATHE_SHARD_TABLE_H
#define LATHE_SHARD_TABLE_H
#include <pthread.h>

#include "shard/data/record.h"
#include "shard/data/row.h"

struct lathe_table {
    struct lathe_shard_collection *collection;
    struct lathe_counters_record counters; /* committed */
    struct lathe_counters_record pending;  /* with the group in the making; equal outside of one */
    struct lathe_rows rows[LATHE_MAX_FIELDS];
    struct lathe_error damage;          /* status OK, or why nothing of this collection is served */
    bool changed;                       /* since the last publication */
    struct lathe_collection_view *view; /* the last published */
};

/* Takes over the caller's reference of `collection`. NULL when memory is short (the reference is
 * released). */
struct lathe_table *lathe_table_create(struct lathe_shard_collection *collection,
                                       struct lathe_budget *budget);
void lathe_table_destroy(struct lathe_table *table); /* NULL is accepted */
/* From the next publication on nothing of the collection is served; `why` says what was found. */
void lathe_table_damage(struct lathe_table *table, const struct lathe_error *why);

/* All collections of a shard, by rising id. */
struct lathe_tables {
    struct lathe_table **list;
    size_t count;
    size_t capacity;
};

struct lathe_table *lathe_tables_find(const struct lathe_tables *tables, uint32_t collection_id);
LATHE_MUST_CHECK bool lathe_tables_insert(struct lathe_tables *tables, struct lathe_table *table);
void lathe_tables_remove(struct lathe_tables *tables, struct lathe_table *table); /* destroys it */
void lathe_tables_fini(struct lathe_tables *tables);

/* The current snapshot, handed from the writer to readers. */
struct lathe_publication {
    pthread_mutex_t mutex; /* held only to take or swap the pointer */
    struct lathe_snapshot *snapshot;
};

void lathe_publication_init(struct lathe_publication *publication);
void lathe_publication_fini(struct lathe_publication *publication);
/* The snapshot as of now; released by the caller. Threads: any. */
struct lathe_snapshot *lathe_publication_acquire(struct lathe_publication *publication);

/* Makes views of what changed and publishes them with a snapshot of the store, as of applied_seq.
 * RESOURCE_EXHAUSTED: memory is short; readers keep the snapshot before. */
LATHE_MUST_CHECK enum lathe_status lathe_tables_publish(struct lathe_tables *tables,
                                                        struct lathe_store *store,
                                                        uint64_t applied_seq,
                                                        struct lathe_publication *publication);
#endif
