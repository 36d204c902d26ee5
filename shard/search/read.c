/* read.c - see read.h. */
#include "shard/search/read.h"

#include "common/base/mem.h"
#include "common/store/keys.h"
#include "shard.pb-c.h"
#include "shard/data/record.h"

/* Points are read in runs of this many keys: enough to batch, little enough for the stack. */
enum { RUN = 128 };

/* What a FETCH, GET or LIST gives of each point. */
struct selection {
    bool payload;
    bool vectors;
    uint32_t fields; /* bit f: field f */
};

/* A read under way. */
struct read {
    struct lathe_pool_job job; /* first */
    struct lathe_task *task;
    const struct lathe_clock *clock;
};

/* Points found so far, in the task's arena. */
struct result {
    struct lathe_task *task;
    const struct lathe_clock *clock;
    const struct lathe_collection_view *view;
    struct selection selection;
    Lathe__Shard__Points points;
    size_t capacity;
    uint64_t bytes; /* of payloads, vectors and ids so far */
    uint64_t limit_bytes;
    bool listing; /* LIST ends its page at the limit; GET and FETCH fail */
    bool stopped;
};

static enum lathe_status no_memory(struct lathe_error *err)
{
    return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply");
}

/* ---- Records ---- */

struct record {
    bool found;
    struct lathe_point_record point;
};

static enum lathe_status records_read(const struct lathe_snapshot *snapshot,
                                      const struct lathe_shard_collection *collection,
                                      const struct lathe_bytes *idkeys, size_t count,
                                      struct record *records_out, struct lathe_error *err)
{
    struct lathe_key keys[RUN];
    struct lathe_bytes views[RUN] = {{NULL, 0}};
    struct lathe_store_value values[RUN];
    enum lathe_status rc;

    if (count == 0)
        return LATHE_OK;
    for (size_t i = 0; i < count; i++) {
        keys[i] = lathe_key_point(
            collection->id, (uint16_t)lathe_slot_of(collection->slot_key, idkeys[i]), idkeys[i]);
        views[i] = lathe_key_view(&keys[i]);
    }
    rc = lathe_store_multi_get(snapshot->store, snapshot->stored, LATHE_FAMILY_POINTS, views, count,
                               false, values, err);
    if (rc != LATHE_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        records_out[i].found = values[i].found;
        if (values[i].found && rc == LATHE_OK)
            rc = lathe_point_record_decode(values[i].bytes, &records_out[i].point, err);
        lathe_store_value_release(&values[i]);
    }
    return rc;
}

enum lathe_status lathe_read_payload_sizes(const struct lathe_snapshot *snapshot,
                                           const struct lathe_shard_collection *collection,
                                           const struct lathe_hit *hits, uint32_t hit_count,
                                           uint32_t *sizes_out, struct lathe_error *err)
{
    struct record records[RUN];
    struct lathe_bytes idkeys[RUN];

    for (uint32_t first = 0; first < hit_count; first += RUN) {
        uint32_t count = hit_count - first < RUN ? hit_count - first : RUN;
        enum lathe_status rc;

        for (uint32_t i = 0; i < count; i++)
            idkeys[i] = hits[first + i].id;
        rc = records_read(snapshot, collection, idkeys, count, records, err);
        if (rc != LATHE_OK)
            return rc;
        for (uint32_t i = 0; i < count; i++) {
            if (!records[i].found)
                return lathe_fail(err, LATHE_DATA_LOSS,
                                  "collection %u: a row is there, its point is not",
                                  collection->id);
            sizes_out[first + i] = records[i].point.payload_bytes;
        }
    }
    return LATHE_OK;
}

/* ---- One point ---- */

/* The vector of a row, from the segment that holds it. Empty: it is not there. */
static struct lathe_bytes vector_find(const struct lathe_field_view *view, uint64_t row,
                                      size_t bytes)
{
    size_t low = 0, high = view->segment_count;
    uint32_t position;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (view->segments[middle].segment->row_ids[0] <= row)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return lathe_bytes_of(NULL, 0);
    position = lathe_segment_find(view->segments[low - 1].segment,
                                  view->segments[low - 1].row_count, row);
    if (position == UINT32_MAX)
        return lathe_bytes_of(NULL, 0);
    return lathe_bytes_of(lathe_segment_row(view->segments[low - 1].segment, position), bytes);
}

/* Bytes that a point adds to the reply. */
static uint64_t point_bytes(const struct result *result, const struct record *record,
                            struct lathe_bytes idkey)
{
    const struct lathe_shard_collection *collection = result->view->collection;
    uint64_t bytes = idkey.size + 32;

    if (!record->found)
        return bytes;
    if (result->selection.payload)
        bytes += record->point.payload_bytes;
    for (uint32_t f = 0; result->selection.vectors && f < collection->field_count; f++)
        if ((result->selection.fields >> f & 1) != 0 && record->point.rows[f] != LATHE_NO_ROW)
            bytes += collection->fields[f].vector_bytes + 16;
    return bytes;
}

static enum lathe_status vectors_add(struct result *result, const struct record *record,
                                     Lathe__Shard__PointData *data, struct lathe_error *err)
{
    const struct lathe_shard_collection *collection = result->view->collection;
    struct lathe_arena *arena = &result->task->arena;

    data->vectors = lathe_arena_alloc(arena, collection->field_count * sizeof(*data->vectors));
    if (data->vectors == NULL)
        return no_memory(err);
    for (uint32_t f = 0; f < collection->field_count; f++) {
        Lathe__Shard__VectorRef *ref;
        struct lathe_bytes vector;

        if ((result->selection.fields >> f & 1) == 0 || record->point.rows[f] == LATHE_NO_ROW)
            continue;
        vector = vector_find(result->view->fields[f], record->point.rows[f],
                             collection->fields[f].vector_bytes);
        if (vector.size == 0)
            return lathe_fail(err, LATHE_DATA_LOSS, "collection %u, field %u: row %llu is missing",
                              collection->id, f, (unsigned long long)record->point.rows[f]);
        ref = lathe_arena_alloc(arena, sizeof(*ref));
        if (ref == NULL)
            return no_memory(err);
        lathe__shard__vector_ref__init(ref);
        ref->field = f;
        ref->offset = result->task->reply_block.size;
        ref->size = (uint32_t)vector.size;
        lathe_buf_append(&result->task->reply_block, vector.data, vector.size);
        data->vectors[data->n_vectors++] = ref;
    }
    return result->task->reply_block.failed ? no_memory(err) : LATHE_OK;
}

static enum lathe_status payload_add(struct result *result, const struct record *record,
                                     Lathe__Shard__PointData *data, struct lathe_error *err)
{
    const struct lathe_snapshot *snapshot = result->task->snapshot;
    struct lathe_key key = lathe_key_payload(result->view->collection->id, record->point.point);
    struct lathe_store_value value;
    enum lathe_status rc;

    if (record->point.payload_bytes == 0)
        return LATHE_OK;
    rc = lathe_store_get(snapshot->store, snapshot->stored, LATHE_FAMILY_PAYLOAD,
                         lathe_key_view(&key), &value, err);
    if (rc != LATHE_OK)
        return rc;
    if (!value.found || value.bytes.size != record->point.payload_bytes) {
        rc = lathe_fail(err, LATHE_DATA_LOSS, "collection %u: the payload of point %llu is missing",
                        result->view->collection->id, (unsigned long long)record->point.point);
    } else {
        data->payload.data = lathe_arena_alloc(&result->task->arena, value.bytes.size);
        if (data->payload.data == NULL) {
            rc = no_memory(err);
        } else {
            memcpy(data->payload.data, value.bytes.data, value.bytes.size);
            data->payload.len = value.bytes.size;
        }
    }
    lathe_store_value_release(&value);
    return rc;
}

static enum lathe_status point_add(struct result *result, const struct record *record,
                                   struct lathe_bytes idkey, struct lathe_error *err)
{
    Lathe__Shard__PointData *data = lathe_arena_alloc(&result->task->arena, sizeof(*data));
    enum lathe_status rc = LATHE_OK;

    if (data == NULL)
        return no_memory(err);
    lathe__shard__point_data__init(data);
    data->idkey.data = lathe_arena_alloc(&result->task->arena, idkey.size);
    if (data->idkey.data == NULL)
        return no_memory(err);
    memcpy(data->idkey.data, idkey.data, idkey.size);
    data->idkey.len = idkey.size;
    data->missing = !record->found;
    if (record->found) {
        data->version = record->point.version;
        if (result->selection.payload)
            rc = payload_add(result, record, data, err);
        if (rc == LATHE_OK && result->selection.vectors)
            rc = vectors_add(result, record, data, err);
    }
    result->points.data[result->points.n_data++] = data;
    return rc;
}

/* Adds a run of points, sized before they are read. */
static enum lathe_status run_add(struct result *result, const struct lathe_bytes *idkeys,
                                 size_t count, struct lathe_error *err)
{
    struct record records[RUN];
    enum lathe_status rc;

    if (lathe_task_expired(result->task, lathe_now_us(result->clock), err))
        return err->status;
    rc = records_read(result->task->snapshot, result->view->collection, idkeys, count, records,
                      err);
    for (size_t i = 0; i < count && rc == LATHE_OK; i++) {
        uint64_t bytes = point_bytes(result, &records[i], idkeys[i]);

        if (!records[i].found && result->listing)
            return lathe_fail(err, LATHE_DATA_LOSS,
                              "collection %u: a point is listed, its record is missing",
                              result->view->collection->id);
        if (result->bytes + bytes > result->limit_bytes && result->points.n_data > 0) {
            if (result->listing) {
                result->stopped = true;
                return LATHE_OK;
            }
            return lathe_fail_field(
                err, LATHE_RESOURCE_EXHAUSTED, "ids",
                "the reply would pass its limit of %llu bytes after %zu points: ask "
                "for fewer points, fields or no payload",
                (unsigned long long)result->limit_bytes, result->points.n_data);
        }
        result->bytes += bytes;
        rc = lathe_task_reserve(result->task, LATHE_TASK_REPLY_COPIES * bytes, err);
        if (rc == LATHE_OK)
            rc = point_add(result, &records[i], idkeys[i], err);
    }
    return rc;
}

/* ---- The three ways to name points ---- */

/* Takes the next length-prefixed id key. False at the end or if malformed. */
static bool idkey_next(struct lathe_reader *reader, struct lathe_bytes *idkey_out)
{
    *idkey_out = lathe_read_bytes(reader, lathe_read_u8(reader));
    return !reader->failed && lathe_idkey_valid(*idkey_out);
}

static size_t idkey_count(struct lathe_bytes idkeys)
{
    struct lathe_reader reader = lathe_reader_of(idkeys);
    struct lathe_bytes idkey;
    size_t count = 0;

    while (lathe_reader_left(&reader) > 0) {
        if (!idkey_next(&reader, &idkey))
            return SIZE_MAX;
        count++;
    }
    return count;
}

static bool result_reserve(struct result *result, size_t count)
{
    result->points.data = lathe_arena_alloc(&result->task->arena,
                                            (count + 1) * sizeof(*result->points.data));
    return result->points.data != NULL;
}

static enum lathe_status get(struct result *result, struct lathe_bytes idkeys,
                             struct lathe_error *err)
{
    struct lathe_reader reader = lathe_reader_of(idkeys);
    size_t left = idkey_count(idkeys);
    enum lathe_status rc = LATHE_OK;

    if (left > LATHE_MAX_GET_IDS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "ids",
                                "malformed, or more than the limit of %u", LATHE_MAX_GET_IDS);
    if (!result_reserve(result, left))
        return no_memory(err);
    while (left > 0 && rc == LATHE_OK) {
        struct lathe_bytes run[RUN];
        size_t count = 0;

        while (count < RUN && count < left && idkey_next(&reader, &run[count]))
            count++;
        left -= count;
        rc = run_add(result, run, count, err);
    }
    return rc;
}

static enum lathe_status list(struct result *result, const Lathe__Shard__List *message,
                              struct lathe_error *err)
{
    struct lathe_key_range range = lathe_key_range_collection(result->view->collection->id);
    struct lathe_bytes after = lathe_bytes_of(message->after_idkey.data, message->after_idkey.len);
    struct lathe_store_scan scan = {.snapshot = result->task->snapshot->stored,
                                    .lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper)};
    struct lathe_store_iter *iter = NULL;
    struct lathe_idkey idkeys[RUN];
    enum lathe_status rc;

    if (message->limit == 0 || message->limit > LATHE_MAX_PAGE_POINTS ||
        (after.size > 0 && !lathe_idkey_valid(after)))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "limit", "%u, 1 to %u are allowed",
                                message->limit, LATHE_MAX_PAGE_POINTS);
    if (!result_reserve(result, message->limit))
        return no_memory(err);
    rc = lathe_store_iter_create(result->task->snapshot->store, LATHE_FAMILY_ORDER, &scan, &iter,
                                 err);
    if (rc != LATHE_OK)
        return rc;
    if (after.size > 0) {
        struct lathe_key key = lathe_key_order(result->view->collection->id, after);

        lathe_store_iter_seek(iter, lathe_key_view(&key));
        if (lathe_store_iter_valid(iter) &&
            lathe_bytes_equal(lathe_store_iter_key(iter), lathe_key_view(&key)))
            lathe_store_iter_next(iter);
    } else {
        lathe_store_iter_seek_first(iter);
    }
    while (rc == LATHE_OK && !result->stopped && result->points.n_data < message->limit &&
           lathe_store_iter_valid(iter)) {
        struct lathe_bytes run[RUN];
        size_t count = 0;

        while (count < RUN && result->points.n_data + count < message->limit &&
               lathe_store_iter_valid(iter) && rc == LATHE_OK) {
            struct lathe_order_key key;

            rc = lathe_key_order_parse(lathe_store_iter_key(iter), &key, err);
            if (rc == LATHE_OK)
                rc = lathe_idkey_decode(key.idkey, &idkeys[count], err);
            run[count] = lathe_idkey_view(&idkeys[count]);
            count++;
            lathe_store_iter_next(iter);
        }
        if (rc == LATHE_OK)
            rc = run_add(result, run, count, err);
    }
    if (rc == LATHE_OK)
        rc = lathe_store_iter_status(iter, err);
    result->points.more = result->stopped || lathe_store_iter_valid(iter);
    lathe_store_iter_destroy(iter);
    return rc;
}

static enum lathe_status selection_of(const Lathe__Shard__Fetch *fetch,
                                      const struct lathe_shard_collection *collection,
                                      struct selection *selection, struct lathe_error *err)
{
    if (fetch == NULL)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "nothing is asked for");
    selection->payload = fetch->payload;
    selection->vectors = fetch->vectors;
    selection->fields = fetch->n_fields == 0 ? UINT32_MAX : 0;
    for (size_t i = 0; i < fetch->n_fields; i++) {
        if (fetch->fields[i] >= collection->field_count)
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "fields", "field %u, there are %u",
                                    fetch->fields[i], collection->field_count);
        selection->fields |= 1u << fetch->fields[i];
    }
    return LATHE_OK;
}

static enum lathe_status points_read(struct result *result, struct lathe_error *err)
{
    const struct lathe_task *task = result->task;
    const Lathe__Shard__List *list_message = (const Lathe__Shard__List *)task->message;
    const Lathe__Shard__Fetch *fetch;
    enum lathe_status rc;

    switch (task->request.header.kind) {
    case LATHE_FRAME_FETCH:
        fetch = (const Lathe__Shard__Fetch *)task->message;
        break;
    case LATHE_FRAME_GET:
        fetch = ((const Lathe__Shard__Get *)task->message)->fetch;
        break;
    default:
        fetch = list_message->fetch;
        break;
    }
    result->limit_bytes = LATHE_MAX_MESSAGE_BYTES;
    rc = selection_of(fetch, result->view->collection, &result->selection, err);
    if (rc != LATHE_OK)
        return rc;
    if (task->request.header.kind != LATHE_FRAME_LIST)
        return get(result, lathe_bytes_of(fetch->idkeys.data, fetch->idkeys.len), err);
    result->listing = true;
    if (list_message->limit_bytes > 0 && list_message->limit_bytes < result->limit_bytes)
        result->limit_bytes = list_message->limit_bytes;
    return list(result, list_message, err);
}

static void answer_points(struct read *read, const struct lathe_collection_view *view)
{
    struct lathe_task *task = read->task;
    struct result result = {.task = task, .clock = read->clock, .view = view};
    struct lathe_error err;

    lathe__shard__points__init(&result.points);
    result.points.applied_seq = task->snapshot->applied_seq;
    result.points.points = view->points;
    if (points_read(&result, &err) == LATHE_OK)
        lathe_task_answer(task, task->request.header.kind, &result.points.base);
    else
        lathe_task_fail(task, &err, false);
}

/* ---- STATS ---- */

static void answer_stats(struct lathe_task *task, const struct lathe_collection_view *view)
{
    Lathe__Shard__StatsReply reply = LATHE__SHARD__STATS_REPLY__INIT;
    Lathe__Shard__FieldStats fields[LATHE_MAX_FIELDS];
    Lathe__Shard__FieldStats *list_of[LATHE_MAX_FIELDS];
    struct lathe_store_figures figures;

    lathe_store_figures(task->snapshot->store, &figures);
    reply.applied_seq = task->snapshot->applied_seq;
    reply.disk_bytes = figures.disk_bytes;
    reply.disk_free_bytes = figures.disk_free_bytes;
    if (view != NULL) {
        reply.points = view->points;
        reply.fields = list_of;
        reply.n_fields = view->collection->field_count;
        for (uint32_t f = 0; f < view->collection->field_count; f++) {
            lathe__shard__field_stats__init(&fields[f]);
            fields[f].rows = view->fields[f]->row_count;
            fields[f].dead_rows = view->fields[f]->dead_count;
            fields[f].memory_bytes = view->fields[f]->memory_bytes;
            list_of[f] = &fields[f];
        }
    }
    lathe_task_answer(task, LATHE_FRAME_STATS, &reply.base);
}

/* ---- The pool's side ---- */

static void read_chunk(struct lathe_pool_job *job, unsigned thread, uint32_t chunk)
{
    struct read *read = (struct read *)job;
    struct lathe_task *task = read->task;
    const struct lathe_collection_view *view = lathe_snapshot_find(task->snapshot,
                                                                   task->request.header.collection);

    (void)thread;
    (void)chunk;
    if (task->request.header.kind == LATHE_FRAME_STATS)
        answer_stats(task, view);
    else
        answer_points(read, view);
}

static void read_done(struct lathe_pool_job *job)
{
    struct read *read = (struct read *)job;

    lathe_task_finish(read->task);
    lathe_free(read);
}

void lathe_read_start(struct lathe_pool *pool, const struct lathe_clock *clock,
                      struct lathe_task *task)
{
    struct read *read = lathe_zalloc(sizeof(*read));
    struct lathe_error err;

    if (read == NULL) {
        (void)no_memory(&err);
        lathe_task_fail(task, &err, false);
        lathe_task_finish(task);
        return;
    }
    read->task = task;
    read->clock = clock;
    read->job = (struct lathe_pool_job){.chunk_count = 1, .chunk = read_chunk, .done = read_done};
    lathe_pool_submit(pool, &read->job);
}
