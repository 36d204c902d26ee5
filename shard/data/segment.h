/* segment.h - a run of rows of one field, in rising order of row id, laid out for scanning.
 *
 * The writer appends; readers look only at positions below the count that their snapshot names, so
 * a row never changes under a reader. Counted: freed when the last snapshot that lists it is gone.
 */
#ifndef LATHE_SHARD_SEGMENT_H
#define LATHE_SHARD_SEGMENT_H
#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/vec/types.h"

enum {
    LATHE_SEGMENT_ROWS_MIN = 64,
    LATHE_SEGMENT_FIRST_BYTES = 256 * 1024,     /* of originals, in a field's first segment */
    LATHE_SEGMENT_MAX_BYTES = 32 * 1024 * 1024, /* of originals, in any segment */
    LATHE_ROW_ALIGN_FLOATS = 16
};

struct lathe_segment {
    uint32_t dims;
    enum lathe_metric metric;
    uint32_t stride;   /* floats from row to row: dims rounded up to whole 64-byte lines */
    uint32_t capacity; /* rows */
    uint32_t count;    /* rows appended; the writer's, readers have their snapshot's */
    float *rows;       /* capacity * stride; padding is zero */
    float *aux;        /* capacity; what lathe_proposal_aux() says of each row */
    uint64_t *row_ids; /* capacity, rising */
    uint64_t *points;  /* capacity; point number of each row */
    uint32_t *id_ends; /* capacity; where each row's id key ends in ids */
    uint8_t *ids;      /* id keys one after another */
    void *mapping;     /* all of the above: one lazily filled mapping, so that room costs nothing */
    size_t mapping_bytes;
    size_t charged_bytes; /* of the budget */
    struct lathe_budget *budget;
    _Atomic uint32_t references;
};

/* Room for `capacity` rows. NULL when memory is short. Owner: one reference is the caller's. */
struct lathe_segment *lathe_segment_create(uint32_t dims, enum lathe_metric metric,
                                           uint32_t capacity, struct lathe_budget *budget);
struct lathe_segment *lathe_segment_acquire(struct lathe_segment *segment);
void lathe_segment_release(struct lathe_segment *segment); /* NULL is accepted */

/* Appends a row; there must be room, and row_id must be above all others. Copies `vector` (dims
 * floats) and `idkey`. Threads: the writer. */
void lathe_segment_append(struct lathe_segment *segment, const void *vector, uint64_t row_id,
                          uint64_t point, struct lathe_bytes idkey);

struct lathe_bytes lathe_segment_id(const struct lathe_segment *segment, uint32_t position);
static inline const float *lathe_segment_row(const struct lathe_segment *segment, uint32_t position)
{
    return segment->rows + (size_t)position * segment->stride;
}

/* Position of a row among the first `count`, or UINT32_MAX. */
uint32_t lathe_segment_find(const struct lathe_segment *segment, uint32_t count, uint64_t row_id);

/* Bytes that `rows` rows of this many dims take when they are scanned. */
static inline uint64_t lathe_segment_row_bytes(uint32_t dims)
{
    return (uint64_t)((dims + LATHE_ROW_ALIGN_FLOATS - 1) / LATHE_ROW_ALIGN_FLOATS) *
           LATHE_ROW_ALIGN_FLOATS * sizeof(float);
}
#endif
