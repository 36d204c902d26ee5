/* view.h - what a reader sees: a field's rows, a collection, and the whole shard at one
 * applied_seq.
 *
 * All are immutable and counted. The writer builds new ones after each commit, sharing what did not
 * change; a request holds one snapshot from beginning to end. */
#ifndef LATHE_SHARD_VIEW_H
#define LATHE_SHARD_VIEW_H
#include "common/store/store.h"
#include "shard/data/collection.h"
#include "shard/data/segment.h"

/* Dead rows of a segment: bit i of word i/64 is set when row i is superseded or deleted. */
struct lathe_mask {
    _Atomic uint32_t references;
    uint32_t words;
    uint64_t bits[];
};

struct lathe_mask *lathe_mask_create(uint32_t rows); /* all zero; NULL when memory is short */
struct lathe_mask *lathe_mask_acquire(struct lathe_mask *mask); /* NULL gives NULL */
void lathe_mask_release(struct lathe_mask *mask);               /* NULL is accepted */

struct lathe_segment_view {
    struct lathe_segment *segment;
    struct lathe_mask *dead; /* NULL: all alive */
    uint32_t row_count;      /* positions 0..row_count-1 are there, dead ones among them */
    uint32_t dead_count;
};

struct lathe_field_view {
    _Atomic uint32_t references;
    size_t segment_count;
    uint64_t row_count; /* alive */
    uint64_t dead_count;
    uint64_t memory_bytes;
    struct lathe_segment_view segments[];
};

struct lathe_field_view *lathe_field_view_create(const struct lathe_segment_view *segments,
                                                 size_t segment_count);
void lathe_field_view_release(struct lathe_field_view *view); /* NULL is accepted */

struct lathe_collection_view {
    _Atomic uint32_t references;
    struct lathe_shard_collection *collection;
    uint64_t points;
    struct lathe_error damage; /* status OK, or why nothing of this collection is served */
    struct lathe_field_view *fields[LATHE_MAX_FIELDS];
};

struct lathe_collection_view *lathe_collection_view_acquire(struct lathe_collection_view *view);
void lathe_collection_view_release(struct lathe_collection_view *view); /* NULL is accepted */

struct lathe_snapshot {
    _Atomic uint32_t references;
    struct lathe_store *store;
    const struct lathe_store_snapshot
        *stored; /* originals, payload and points are read through it */
    uint64_t applied_seq;
    size_t collection_count;
    struct lathe_collection_view *collections[]; /* by rising id */
};

/* Takes over one reference of each collection view and the store's snapshot, also on failure
 * (NULL). */
struct lathe_snapshot *lathe_snapshot_create(struct lathe_store *store,
                                             const struct lathe_store_snapshot *stored,
                                             uint64_t applied_seq,
                                             struct lathe_collection_view *const *collections,
                                             size_t collection_count);
struct lathe_snapshot *lathe_snapshot_acquire(struct lathe_snapshot *snapshot);
void lathe_snapshot_release(struct lathe_snapshot *snapshot); /* NULL is accepted */

/* The view of a collection, or NULL. Borrowed from the snapshot. */
const struct lathe_collection_view *lathe_snapshot_find(const struct lathe_snapshot *snapshot,
                                                        uint32_t collection_id);
#endif
