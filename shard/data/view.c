/* view.c - see view.h. */
#include "shard/data/view.h"

#include <stdatomic.h>

#include "common/base/mem.h"

/* True if the caller gave up the last reference. */
static bool last_reference(_Atomic uint32_t *references)
{
    return atomic_fetch_sub_explicit(references, 1, memory_order_acq_rel) == 1;
}

struct lathe_mask *lathe_mask_create(uint32_t rows)
{
    uint32_t words = (rows + 63) / 64;
    struct lathe_mask *mask = lathe_zalloc(sizeof(*mask) + words * sizeof(uint64_t));

    if (mask == NULL)
        return NULL;
    atomic_init(&mask->references, 1);
    mask->words = words;
    return mask;
}

struct lathe_mask *lathe_mask_acquire(struct lathe_mask *mask)
{
    if (mask != NULL)
        atomic_fetch_add_explicit(&mask->references, 1, memory_order_relaxed);
    return mask;
}

void lathe_mask_release(struct lathe_mask *mask)
{
    if (mask != NULL && last_reference(&mask->references))
        lathe_free(mask);
}

struct lathe_field_view *lathe_field_view_create(const struct lathe_segment_view *segments,
                                                 size_t segment_count)
{
    struct lathe_field_view *view = lathe_zalloc(sizeof(*view) +
                                                 segment_count * sizeof(view->segments[0]));

    if (view == NULL)
        return NULL;
    atomic_init(&view->references, 1);
    view->segment_count = segment_count;
    for (size_t i = 0; i < segment_count; i++) {
        view->segments[i] = segments[i];
        (void)lathe_segment_acquire(segments[i].segment);
        (void)lathe_mask_acquire(segments[i].dead);
        view->row_count += segments[i].row_count - segments[i].dead_count;
        view->dead_count += segments[i].dead_count;
        view->memory_bytes += segments[i].segment->charged_bytes;
    }
    return view;
}

void lathe_field_view_release(struct lathe_field_view *view)
{
    if (view == NULL || !last_reference(&view->references))
        return;
    for (size_t i = 0; i < view->segment_count; i++) {
        lathe_segment_release(view->segments[i].segment);
        lathe_mask_release(view->segments[i].dead);
    }
    lathe_free(view);
}

struct lathe_collection_view *lathe_collection_view_acquire(struct lathe_collection_view *view)
{
    atomic_fetch_add_explicit(&view->references, 1, memory_order_relaxed);
    return view;
}

void lathe_collection_view_release(struct lathe_collection_view *view)
{
    if (view == NULL || !last_reference(&view->references))
        return;
    for (uint32_t i = 0; i < LATHE_MAX_FIELDS; i++)
        lathe_field_view_release(view->fields[i]);
    lathe_shard_collection_release(view->collection);
    lathe_free(view);
}

struct lathe_snapshot *lathe_snapshot_create(struct lathe_store *store,
                                             const struct lathe_store_snapshot *stored,
                                             uint64_t applied_seq,
                                             struct lathe_collection_view *const *collections,
                                             size_t collection_count)
{
    struct lathe_snapshot *snapshot = lathe_zalloc(
        sizeof(*snapshot) + collection_count * sizeof(snapshot->collections[0]));

    if (snapshot == NULL) {
        for (size_t i = 0; i < collection_count; i++)
            lathe_collection_view_release(collections[i]);
        lathe_store_snapshot_release(store, stored);
        return NULL;
    }
    atomic_init(&snapshot->references, 1);
    snapshot->store = store;
    snapshot->stored = stored;
    snapshot->applied_seq = applied_seq;
    snapshot->collection_count = collection_count;
    for (size_t i = 0; i < collection_count; i++)
        snapshot->collections[i] = collections[i];
    return snapshot;
}

struct lathe_snapshot *lathe_snapshot_acquire(struct lathe_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->references, 1, memory_order_relaxed);
    return snapshot;
}

void lathe_snapshot_release(struct lathe_snapshot *snapshot)
{
    if (snapshot == NULL || !last_reference(&snapshot->references))
        return;
    for (size_t i = 0; i < snapshot->collection_count; i++)
        lathe_collection_view_release(snapshot->collections[i]);
    lathe_store_snapshot_release(snapshot->store, snapshot->stored);
    lathe_free(snapshot);
}

const struct lathe_collection_view *lathe_snapshot_find(const struct lathe_snapshot *snapshot,
                                                        uint32_t collection_id)
{
    size_t low = 0, high = snapshot->collection_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint32_t id = snapshot->collections[middle]->collection->id;

        if (id == collection_id)
            return snapshot->collections[middle];
        if (id < collection_id)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}
