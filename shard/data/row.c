/* row.c - see row.h. */
#include "shard/data/row.h"

#include "common/base/check.h"
#include "common/base/mem.h"

void lathe_rows_init(struct lathe_rows *rows, uint32_t dims, enum lathe_metric metric,
                     struct lathe_budget *budget)
{
    *rows = (struct lathe_rows){.dims = dims, .metric = metric, .budget = budget};
}

void lathe_rows_fini(struct lathe_rows *rows)
{
    for (size_t i = 0; i < rows->segment_count; i++) {
        lathe_segment_release(rows->segments[i].segment);
        lathe_mask_release(rows->segments[i].dead);
    }
    lathe_free(rows->segments);
    lathe_free(rows->mask_shared);
    *rows = (struct lathe_rows){0};
}

static uint32_t round_up_rows(uint64_t count)
{
    return (uint32_t)((count + LATHE_SEGMENT_ROWS_MIN - 1) / LATHE_SEGMENT_ROWS_MIN *
                      LATHE_SEGMENT_ROWS_MIN);
}

/* Rows that the largest segment holds. */
static uint32_t max_rows(uint32_t dims)
{
    uint64_t fit = LATHE_SEGMENT_MAX_BYTES / lathe_segment_row_bytes(dims);

    return fit < LATHE_SEGMENT_ROWS_MIN
               ? LATHE_SEGMENT_ROWS_MIN
               : (uint32_t)(fit / LATHE_SEGMENT_ROWS_MIN) * LATHE_SEGMENT_ROWS_MIN;
}

/* Segments grow with the field, so that small collections stay small and large ones have few
 * segments. */
static uint32_t next_capacity(const struct lathe_rows *rows)
{
    uint64_t first = LATHE_SEGMENT_FIRST_BYTES / lathe_segment_row_bytes(rows->dims);
    uint64_t wanted = rows->row_count > first ? rows->row_count : first;
    uint32_t most = max_rows(rows->dims);

    return wanted >= most ? most : round_up_rows(wanted > 0 ? wanted : 1);
}

/* Makes room for one more segment in the lists. */
static bool lists_grow(struct lathe_rows *rows)
{
    return lathe_grow(&rows->segments, &rows->segment_capacity, rows->segment_count + 1,
                      sizeof(*rows->segments)) &&
           lathe_grow(&rows->mask_shared, &rows->shared_capacity, rows->segment_count + 1,
                      sizeof(*rows->mask_shared));
}

enum lathe_status lathe_rows_append(struct lathe_rows *rows, const void *vector, uint64_t row_id,
                                    uint64_t point, struct lathe_bytes idkey)
{
    struct lathe_segment_view *last = rows->segment_count > 0
                                          ? &rows->segments[rows->segment_count - 1]
                                          : NULL;

    if (last == NULL || last->segment->count == last->segment->capacity) {
        struct lathe_segment *segment = lathe_segment_create(rows->dims, rows->metric,
                                                             next_capacity(rows), rows->budget);

        if (segment == NULL || !lists_grow(rows)) {
            lathe_segment_release(segment);
            return LATHE_RESOURCE_EXHAUSTED;
        }
        rows->mask_shared[rows->segment_count] = false;
        last = &rows->segments[rows->segment_count++];
        *last = (struct lathe_segment_view){.segment = segment};
    }
    lathe_segment_append(last->segment, vector, row_id, point, idkey);
    last->row_count = last->segment->count;
    rows->row_count++;
    return LATHE_OK;
}

/* The segment that holds or would hold a row: the last one that begins at or before it. */
static size_t segment_of(const struct lathe_rows *rows, uint64_t row_id)
{
    size_t low = 0, high = rows->segment_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (rows->segments[middle].segment->row_ids[0] <= row_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? low - 1 : 0;
}

/* A mask that no reader looks at: the segment's own, or a copy of it. */
static struct lathe_mask *mask_own(struct lathe_rows *rows, size_t at)
{
    struct lathe_segment_view *view = &rows->segments[at];
    struct lathe_mask *fresh;

    if (view->dead != NULL && !rows->mask_shared[at])
        return view->dead;
    fresh = lathe_mask_create(view->segment->capacity);
    if (fresh == NULL)
        return NULL;
    if (view->dead != NULL)
        memcpy(fresh->bits, view->dead->bits, view->dead->words * sizeof(uint64_t));
    lathe_mask_release(view->dead);
    view->dead = fresh;
    rows->mask_shared[at] = false;
    return fresh;
}

bool lathe_rows_kill(struct lathe_rows *rows, uint64_t row_id)
{
    size_t at = segment_of(rows, row_id);
    struct lathe_segment_view *view;
    struct lathe_mask *mask;
    uint32_t position;
    uint64_t bit;

    if (rows->segment_count == 0)
        return false;
    view = &rows->segments[at];
    position = lathe_segment_find(view->segment, view->row_count, row_id);
    if (position == UINT32_MAX)
        return false;
    mask = mask_own(rows, at);
    bit = 1ull << (position % 64);
    if (mask == NULL || (mask->bits[position / 64] & bit) != 0)
        return false;
    mask->bits[position / 64] |= bit;
    view->dead_count++;
    rows->row_count--;
    rows->dead_count++;
    return true;
}

struct lathe_field_view *lathe_rows_publish(struct lathe_rows *rows)
{
    struct lathe_field_view *view = lathe_field_view_create(rows->segments, rows->segment_count);

    if (view != NULL)
        for (size_t i = 0; i < rows->segment_count; i++)
            rows->mask_shared[i] = true;
    return view;
}

/* Replaces segments first..first+count-1 by `with` (NULL: by nothing). */
static void splice(struct lathe_rows *rows, size_t first, size_t count, struct lathe_segment *with)
{
    size_t kept = with != NULL ? 1 : 0;
    size_t after = rows->segment_count - first - count;

    for (size_t i = first; i < first + count; i++) {
        rows->dead_count -= rows->segments[i].dead_count;
        lathe_segment_release(rows->segments[i].segment);
        lathe_mask_release(rows->segments[i].dead);
    }
    memmove(rows->segments + first + kept, rows->segments + first + count,
            after * sizeof(*rows->segments));
    memmove(rows->mask_shared + first + kept, rows->mask_shared + first + count,
            after * sizeof(*rows->mask_shared));
    rows->segment_count -= count - kept;
    if (with != NULL) {
        rows->segments[first] = (struct lathe_segment_view){.segment = with,
                                                            .row_count = with->count};
        rows->mask_shared[first] = false;
    }
}

static uint32_t live(const struct lathe_segment_view *view)
{
    return view->row_count - view->dead_count;
}

static void copy_live(const struct lathe_segment_view *from, struct lathe_segment *to)
{
    const struct lathe_segment *segment = from->segment;

    for (uint32_t i = 0; i < from->row_count; i++) {
        if (from->dead != NULL && (from->dead->bits[i / 64] >> (i % 64) & 1) != 0)
            continue;
        lathe_segment_append(to, lathe_segment_row(segment, i), segment->row_ids[i],
                             segment->points[i], lathe_segment_id(segment, i));
    }
}

/* The segment with the largest share of dead rows. */
static size_t worst_segment(const struct lathe_rows *rows)
{
    size_t worst = 0;
    double worst_share = -1.0;

    for (size_t i = 0; i < rows->segment_count; i++) {
        const struct lathe_segment_view *view = &rows->segments[i];
        double share = (double)view->dead_count / (double)view->row_count;

        if (share > worst_share) {
            worst_share = share;
            worst = i;
        }
    }
    return worst;
}

bool lathe_rows_tidy(struct lathe_rows *rows, unsigned percent)
{
    size_t first = worst_segment(rows), end = first + 1;
    uint64_t total = rows->row_count + rows->dead_count;
    uint64_t kept;
    struct lathe_segment *fresh;

    if (rows->segment_count == 0 || rows->dead_count == 0)
        return false;
    kept = live(&rows->segments[first]);
    if (kept == 0) {
        splice(rows, first, 1, NULL);
        return true;
    }
    if (rows->dead_count * 100 <= total * percent)
        return false;
    while (end < rows->segment_count && kept + live(&rows->segments[end]) <= max_rows(rows->dims))
        kept += live(&rows->segments[end++]);
    while (first > 0 && kept + live(&rows->segments[first - 1]) <= max_rows(rows->dims))
        kept += live(&rows->segments[--first]);
    fresh = lathe_segment_create(rows->dims, rows->metric, round_up_rows(kept), rows->budget);
    if (fresh == NULL)
        return false; /* memory is short: the dead rows stay until there is room for the copy */
    for (size_t i = first; i < end; i++)
        copy_live(&rows->segments[i], fresh);
    splice(rows, first, end - first, fresh);
    return true;
}
