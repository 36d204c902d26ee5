/* row.h - the rows of one field as the writer keeps them: appended, killed, published, rewritten.
 *
 * Owner: the shard's writer thread. Readers only ever see the views that publish() makes. */
#ifndef LATHE_SHARD_ROW_H
#define LATHE_SHARD_ROW_H
#include "shard/data/view.h"

struct lathe_rows {
    uint32_t dims;
    enum lathe_metric metric;
    struct lathe_budget *budget;
    struct lathe_segment_view *segments; /* the last one takes appends; each reference is ours */
    bool *mask_shared;                   /* a published view may look at this segment's mask */
    size_t segment_count;
    size_t segment_capacity;
    size_t shared_capacity;
    uint64_t row_count; /* alive */
    uint64_t dead_count;
};

void lathe_rows_init(struct lathe_rows *rows, uint32_t dims, enum lathe_metric metric,
                     struct lathe_budget *budget);
void lathe_rows_fini(struct lathe_rows *rows);

/* Appends a row (see lathe_segment_append). RESOURCE_EXHAUSTED: memory is short; nothing changed.
 */
LATHE_MUST_CHECK enum lathe_status lathe_rows_append(struct lathe_rows *rows, const void *vector,
                                                     uint64_t row_id, uint64_t point,
                                                     struct lathe_bytes idkey);

/* Marks a row dead. False: there is no such row alive, or memory for the mask is short. */
LATHE_MUST_CHECK bool lathe_rows_kill(struct lathe_rows *rows, uint64_t row_id);

/* The rows as they are now, for readers. NULL when memory is short. */
struct lathe_field_view *lathe_rows_publish(struct lathe_rows *rows);

/* One step against dead rows: drops a segment in which all are dead, or copies the live rows of the
 * worst segment and its neighbours into a new one (at most LATHE_SEGMENT_MAX_BYTES), if more than
 * `percent` of all rows are dead. True if it changed something: publish then, and ask again. */
bool lathe_rows_tidy(struct lathe_rows *rows, unsigned percent);
#endif
