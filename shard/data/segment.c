/* segment.c - see segment.h. */
#include "shard/data/segment.h"

#include <stdatomic.h>
#include <sys/mman.h>

#include "common/base/check.h"
#include "shard/kernel/propose.h"

enum { HUGE_PAGES_FROM_BYTES = 4 * 1024 * 1024, ID_ROOM_BYTES = LATHE_IDKEY_MAX_BYTES };

/* Gives out the next part of a mapping, each on lines of its own. */
static void *part(uint8_t **at, size_t bytes)
{
    uint8_t *begin = *at;

    *at += (bytes + 63) / 64 * 64;
    return begin;
}

/* Lays the arrays out from `base` (NULL: only to learn the size). Returns the bytes used. */
static size_t lay_out(struct lathe_segment *segment, uint8_t *base)
{
    uint8_t *at = base;
    size_t n = segment->capacity;

    segment->rows = part(&at, n * segment->stride * sizeof(float));
    segment->aux = part(&at, n * sizeof(float));
    segment->row_ids = part(&at, n * sizeof(uint64_t));
    segment->points = part(&at, n * sizeof(uint64_t));
    segment->id_ends = part(&at, n * sizeof(uint32_t));
    segment->ids = part(&at, n * ID_ROOM_BYTES);
    return (size_t)(at - base);
}

struct lathe_segment *lathe_segment_create(uint32_t dims, enum lathe_metric metric,
                                           uint32_t capacity, struct lathe_budget *budget)
{
    struct lathe_segment *segment = lathe_zalloc(sizeof(*segment));

    if (segment == NULL)
        return NULL;
    segment->dims = dims;
    segment->metric = metric;
    segment->stride = (uint32_t)(lathe_segment_row_bytes(dims) / sizeof(float));
    segment->capacity = capacity;
    segment->budget = budget;
    segment->mapping_bytes = lay_out(segment, (uint8_t *)64);
    segment->mapping = mmap(NULL, segment->mapping_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (segment->mapping == MAP_FAILED) {
        lathe_free(segment);
        return NULL;
    }
    (void)lay_out(segment, segment->mapping);
    /* Huge pages spare the scan its TLB misses; in small segments they would cost more than the
     * rows. */
    (void)madvise(segment->mapping, segment->mapping_bytes,
                  segment->capacity * (uint64_t)segment->stride * sizeof(float) >=
                          HUGE_PAGES_FROM_BYTES
                      ? MADV_HUGEPAGE
                      : MADV_NOHUGEPAGE);
    atomic_init(&segment->references, 1);
    return segment;
}

struct lathe_segment *lathe_segment_acquire(struct lathe_segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
    return segment;
}

static void charge(struct lathe_segment *segment, int64_t row_bytes, int64_t other_bytes)
{
    lathe_budget_charge(segment->budget, LATHE_MEM_ROWS, row_bytes);
    lathe_budget_charge(segment->budget, LATHE_MEM_IDS, other_bytes);
}

void lathe_segment_release(struct lathe_segment *segment)
{
    int64_t row_bytes;

    if (segment == NULL ||
        atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel) != 1)
        return;
    row_bytes = (int64_t)segment->count * segment->stride * (int64_t)sizeof(float);
    charge(segment, -row_bytes, -((int64_t)segment->charged_bytes - row_bytes));
    (void)munmap(segment->mapping, segment->mapping_bytes);
    lathe_free(segment);
}

void lathe_segment_append(struct lathe_segment *segment, const void *vector, uint64_t row_id,
                          uint64_t point, struct lathe_bytes idkey)
{
    uint32_t at = segment->count;
    uint32_t id_begin = at > 0 ? segment->id_ends[at - 1] : 0;
    size_t row_bytes = (size_t)segment->stride * sizeof(float);
    size_t other_bytes = sizeof(float) + 2 * sizeof(uint64_t) + sizeof(uint32_t) + idkey.size;

    LATHE_REQUIRE(at < segment->capacity);
    LATHE_REQUIRE(idkey.size <= ID_ROOM_BYTES);
    LATHE_REQUIRE(at == 0 || segment->row_ids[at - 1] < row_id);
    memcpy(segment->rows + (size_t)at * segment->stride, vector, segment->dims * sizeof(float));
    segment->aux[at] = lathe_proposal_aux(segment->metric, lathe_segment_row(segment, at),
                                          segment->dims);
    segment->row_ids[at] = row_id;
    segment->points[at] = point;
    memcpy(segment->ids + id_begin, idkey.data, idkey.size);
    segment->id_ends[at] = id_begin + (uint32_t)idkey.size;
    segment->count = at + 1;
    segment->charged_bytes += row_bytes + other_bytes;
    charge(segment, (int64_t)row_bytes, (int64_t)other_bytes);
}

struct lathe_bytes lathe_segment_id(const struct lathe_segment *segment, uint32_t position)
{
    uint32_t begin = position > 0 ? segment->id_ends[position - 1] : 0;

    return lathe_bytes_of(segment->ids + begin, segment->id_ends[position] - begin);
}

uint32_t lathe_segment_find(const struct lathe_segment *segment, uint32_t count, uint64_t row_id)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (segment->row_ids[middle] < row_id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && segment->row_ids[low] == row_id ? low : UINT32_MAX;
}
