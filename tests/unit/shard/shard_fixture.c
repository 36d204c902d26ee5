/* shard_fixture.c - see shard_fixture.h. */
#include "tests/unit/shard/shard_fixture.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "lathe/v1/common.pb-c.h"
#include "shard/data/load.h"
#include "shard/kernel/cpu.h"
#include "shard/search/read.h"

enum { PATIENCE_US = 60 * 1000 * 1000, BUDGET_US = 10 * 1000 * 1000, DONE_TASKS = 4096 };

/* ---- Time ---- */

static uint64_t fake_now_us(void *context)
{
    return atomic_load(&((struct fake_clock *)context)->now_us);
}

static uint64_t fake_wall_ms(void *context)
{
    return atomic_load(&((struct fake_clock *)context)->wall_ms);
}

void fake_clock_init(struct fake_clock *fake)
{
    atomic_init(&fake->now_us, 1000u * 1000u);
    atomic_init(&fake->wall_ms, 1700000000000u);
    fake->clock = (struct lathe_clock){fake_now_us, fake_wall_ms, fake};
}

void fake_clock_advance(struct fake_clock *fake, uint64_t ms)
{
    atomic_fetch_add(&fake->now_us, ms * 1000);
    atomic_fetch_add(&fake->wall_ms, ms);
}

/* ---- Requests ---- */

void request_init(struct request *request, uint64_t time_ms)
{
    *request = (struct request){0};
    lathe_arena_init(&request->arena, 0);
    lathe__shard__write__init(&request->write);
    request->write.time_ms = time_ms;
}

void request_fini(struct request *request)
{
    lathe_arena_fini(&request->arena);
    lathe_buf_fini(&request->block);
}

static void *take(struct lathe_arena *arena, size_t size)
{
    void *memory = lathe_arena_alloc(arena, size);

    assert_non_null(memory);
    return memory;
}

/* A list in the arena with one element more; the old one is left to the arena. */
static void *grown(struct lathe_arena *arena, const void *list, size_t count, size_t size)
{
    void *fresh = take(arena, (count + 1) * size);

    if (count > 0)
        memcpy(fresh, list, count * size);
    return fresh;
}

static ProtobufCBinaryData keep(struct lathe_arena *arena, struct lathe_bytes bytes)
{
    ProtobufCBinaryData data = {bytes.size, take(arena, bytes.size)};

    if (bytes.size > 0)
        memcpy(data.data, bytes.data, bytes.size);
    return data;
}

Lathe__Shard__Operation *request_add(struct request *request, Lathe__Shard__OperationKind kind,
                                     struct lathe_idkey id)
{
    Lathe__Shard__Write *write = &request->write;
    Lathe__Shard__Operation *operation = take(&request->arena, sizeof(*operation));

    lathe__shard__operation__init(operation);
    operation->kind = kind;
    operation->idkey = keep(&request->arena, lathe_idkey_view(&id));
    write->operations = grown(&request->arena, write->operations, write->n_operations,
                              sizeof(*write->operations));
    write->operations[write->n_operations++] = operation;
    return operation;
}

void request_vector(struct request *request, Lathe__Shard__Operation *operation, uint32_t field,
                    const float *vector, uint32_t dims)
{
    Lathe__Shard__VectorRef *ref = take(&request->arena, sizeof(*ref));

    lathe__shard__vector_ref__init(ref);
    ref->field = field;
    ref->offset = request->block.size;
    ref->size = (uint32_t)(dims * sizeof(float));
    lathe_buf_append(&request->block, vector, ref->size);
    operation->vectors = grown(&request->arena, operation->vectors, operation->n_vectors,
                               sizeof(*operation->vectors));
    operation->vectors[operation->n_vectors++] = ref;
}

void request_payload(struct request *request, Lathe__Shard__Operation *operation,
                     struct lathe_bytes payload)
{
    operation->payload = keep(&request->arena, payload);
}

void request_key(struct request *request, Lathe__Shard__Operation *operation, const char *key)
{
    operation->keys = grown(&request->arena, operation->keys, operation->n_keys,
                            sizeof(*operation->keys));
    operation->keys[operation->n_keys++] = keep(&request->arena, lathe_bytes_str(key));
}

void request_field(struct request *request, Lathe__Shard__Operation *operation, uint32_t field)
{
    operation->fields = grown(&request->arena, operation->fields, operation->n_fields,
                              sizeof(*operation->fields));
    operation->fields[operation->n_fields++] = field;
}

void request_client(struct request *request, const uint8_t client_id[16], uint64_t number)
{
    struct lathe_buf body = {0};
    uint8_t digest[LATHE_DIGEST_BYTES];

    lathe_message_encode(&request->write.base, &body);
    lathe_digest((struct lathe_bytes[]){lathe_buf_view(&body), lathe_buf_view(&request->block)}, 2,
                 digest);
    lathe_buf_fini(&body);
    request->write.digest = keep(&request->arena, lathe_bytes_of(digest, sizeof(digest)));
    request->write.client_id = keep(&request->arena, lathe_bytes_of(client_id, 16));
    request->write.request_number = number;
}

struct lathe_bytes payload_make(struct lathe_arena *arena, const struct pair *pairs, size_t count)
{
    Lathe__V1__Object object = LATHE__V1__OBJECT__INIT;
    struct lathe_buf buf = {0};
    ProtobufCBinaryData kept;

    object.entries = take(arena, (count + 1) * sizeof(*object.entries));
    for (size_t i = 0; i < count; i++) {
        Lathe__V1__Entry *entry = take(arena, sizeof(*entry));
        Lathe__V1__Value *value = take(arena, sizeof(*value));

        lathe__v1__entry__init(entry);
        lathe__v1__value__init(value);
        entry->key = (char *)(uintptr_t)pairs[i].key;
        entry->value = value;
        value->kind_case = LATHE__V1__VALUE__KIND_INT_VALUE;
        value->int_value = pairs[i].value;
        object.entries[object.n_entries++] = entry;
    }
    lathe_message_encode(&object.base, &buf);
    kept = keep(arena, lathe_buf_view(&buf));
    lathe_buf_fini(&buf);
    return lathe_bytes_of(kept.data, kept.len);
}

struct lathe_idkey id_of(uint32_t number)
{
    struct lathe_idkey key;
    uint8_t uuid[16] = {0};
    char text[32];

    switch (number % 3) {
    case 0:
        return lathe_idkey_number(number * 1000003ull);
    case 1:
        lathe_put_u32be(uuid + 6, number);
        return lathe_idkey_uuid(uuid);
    default:
        (void)snprintf(text, sizeof(text), "point %u", number);
        assert_int_equal(lathe_idkey_string(lathe_bytes_str(text), &key, NULL), LATHE_OK);
        return key;
    }
}

/* ---- Parts ---- */

struct lathe_store *store_open_at(const char *path)
{
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN_OR_CREATE,
                                        .families = LATHE_FAMILIES_ALL,
                                        .write_buffer_bytes = 8u << 20};
    struct lathe_store *store = NULL;
    struct lathe_error err = {0};

    if (lathe_store_open(path, &config, &store, &err) != LATHE_OK)
        fail_msg("open %s: %s", path, err.message);
    return store;
}

void parts_start(struct parts *parts)
{
    struct lathe_writer_config config = {.clock = &parts->clock.clock,
                                         .budget = &parts->budget,
                                         .publication = &parts->publication,
                                         .directory = parts->dir,
                                         .max_payload_bytes = parts->max_payload_bytes,
                                         .queue_capacity = DONE_TASKS};
    struct lathe_tables tables = {0};
    struct lathe_clients *clients = NULL;
    struct lathe_log_state_record log;
    struct lathe_error err = {0};

    parts->store = config.store = store_open_at(parts->path);
    lathe_publication_init(&parts->publication);
    if (lathe_load(parts->store, &parts->budget, &tables, &log, &err) != LATHE_OK ||
        lathe_clients_open(parts->store, &clients, &err) != LATHE_OK ||
        lathe_writer_start(&config, &tables, &clients, &log, &parts->writer, &err) != LATHE_OK)
        fail_msg("start: %s", err.message);
}

void parts_stop(struct parts *parts)
{
    lathe_writer_stop(&parts->writer);
    lathe_publication_fini(&parts->publication);
    lathe_store_close(parts->store);
    parts->store = NULL;
    for (int part = 0; part < LATHE_MEM_PARTS; part++)
        assert_int_equal(atomic_load(&parts->budget.used_bytes[part]), 0);
}

void parts_init(struct parts *parts)
{
    *parts = (struct parts){.next_id = 1, .max_payload_bytes = 1u << 20};
    assert_true(lathe_hash_init());
    parts->dir = test_dir_create();
    (void)snprintf(parts->path, sizeof(parts->path), "%s/store", parts->dir);
    fake_clock_init(&parts->clock);
    parts->done = lathe_queue_create(DONE_TASKS, false);
    parts->pool = lathe_pool_create(2);
    parts->search = (struct lathe_search_config){.clock = &parts->clock.clock, .pool = parts->pool};
    assert_int_equal(lathe_kernel_select("auto", lathe_cpu_detect(), &parts->search.kernel, NULL),
                     LATHE_OK);
    parts_start(parts);
}

void parts_fini(struct parts *parts)
{
    if (parts->writer != NULL)
        parts_stop(parts);
    lathe_pool_destroy(parts->pool);
    lathe_queue_destroy(parts->done);
    lathe_arena_fini(&parts->arena);
    test_dir_remove(parts->dir);
}

Lathe__Shard__CollectionSpec *spec_make(struct lathe_arena *arena, uint32_t id, uint32_t fields,
                                        const uint32_t *dims, const enum lathe_metric *metrics)
{
    static const uint8_t slot_key[LATHE_SLOT_KEY_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
    Lathe__Shard__CollectionSpec *spec = take(arena, sizeof(*spec));
    char name[32];

    lathe__shard__collection_spec__init(spec);
    (void)snprintf(name, sizeof(name), "collection %u", id);
    spec->id = id;
    spec->name = (char *)keep(arena, lathe_bytes_of(name, strlen(name) + 1)).data;
    spec->slot_key = keep(arena, lathe_bytes_of(slot_key, sizeof(slot_key)));
    spec->schema_version = SPEC_SCHEMA_VERSION;
    spec->fields = take(arena, fields * sizeof(*spec->fields));
    for (uint32_t f = 0; f < fields; f++) {
        Lathe__Shard__FieldSpec *field = take(arena, sizeof(*field));

        lathe__shard__field_spec__init(field);
        (void)snprintf(name, sizeof(name), "field%u", f);
        field->name = (char *)keep(arena, lathe_bytes_of(name, strlen(name) + 1)).data;
        field->kind = 1;
        field->dims = dims[f];
        field->metric = metrics[f];
        field->element = LATHE_FLOAT32;
        spec->fields[spec->n_fields++] = field;
    }
    return spec;
}

struct lathe_task *parts_sync(struct parts *parts)
{
    Lathe__Shard__Sync sync = LATHE__SHARD__SYNC__INIT;

    sync.collections = parts->specs;
    sync.n_collections = parts->spec_count;
    sync.next_id = parts->next_id;
    sync.time_ms = lathe_wall_ms(&parts->clock.clock);
    return parts_call(parts, LATHE_FRAME_SYNC, 0, &sync.base, NULL);
}

uint32_t parts_create(struct parts *parts, uint32_t fields, const uint32_t *dims,
                      const enum lathe_metric *metrics)
{
    uint32_t id = parts->next_id++;
    struct lathe_task *task;

    assert_true(parts->spec_count < PARTS_SPECS);
    parts->specs[parts->spec_count++] = spec_make(&parts->arena, id, fields, dims, metrics);
    task = parts_sync(parts);
    assert_int_equal(sync_reply(task)->created, 1);
    lathe_task_destroy(task);
    return id;
}

void parts_drop(struct parts *parts, uint32_t id)
{
    size_t kept = 0;
    struct lathe_task *task;

    for (size_t i = 0; i < parts->spec_count; i++)
        if (parts->specs[i]->id != id)
            parts->specs[kept++] = parts->specs[i];
    assert_int_equal(kept + 1, parts->spec_count);
    parts->spec_count = kept;
    task = parts_sync(parts);
    assert_int_equal(sync_reply(task)->dropped, 1);
    lathe_task_destroy(task);
}

static const ProtobufCMessageDescriptor *descriptor_of(uint16_t kind)
{
    switch (kind) {
    case LATHE_FRAME_SYNC:
        return &lathe__shard__sync__descriptor;
    case LATHE_FRAME_WRITE:
        return &lathe__shard__write__descriptor;
    case LATHE_FRAME_SEARCH:
        return &lathe__shard__search__descriptor;
    case LATHE_FRAME_FETCH:
        return &lathe__shard__fetch__descriptor;
    case LATHE_FRAME_GET:
        return &lathe__shard__get__descriptor;
    case LATHE_FRAME_LIST:
        return &lathe__shard__list__descriptor;
    default:
        return &lathe__shard__stats__descriptor;
    }
}

struct lathe_task *parts_task(struct parts *parts, uint16_t kind, uint32_t collection,
                              const ProtobufCMessage *message, const struct lathe_buf *block)
{
    struct lathe_frame_header header = {.kind = kind, .collection = collection};
    struct lathe_peer peer = {1, {0}};
    struct lathe_buf body = {0}, copy = {0};
    struct lathe_frame frame;
    struct lathe_task *task = NULL;
    struct lathe_error err = {0};

    lathe_message_encode(message, &body);
    if (block != NULL)
        lathe_buf_append(&copy, block->data, block->size);
    assert_true(lathe_frame_make(&frame, &header, &body, &copy));
    if (lathe_task_create(&peer, &frame, descriptor_of(kind), &parts->budget, &task, &err) !=
        LATHE_OK)
        fail_msg("task: %s", err.message);
    task->received_us = lathe_now_us(&parts->clock.clock);
    task->deadline_us = task->received_us + BUDGET_US;
    task->done = parts->done;
    return task;
}

void parts_submit(struct parts *parts, struct lathe_task *task)
{
    uint16_t kind = task->request.header.kind;

    if (kind == LATHE_FRAME_WRITE || kind == LATHE_FRAME_SYNC) {
        assert_true(lathe_writer_submit(parts->writer, task));
        return;
    }
    if (task->snapshot == NULL)
        task->snapshot = lathe_publication_acquire(&parts->publication);
    if (kind == LATHE_FRAME_SEARCH)
        lathe_search_start(&parts->search, task);
    else
        lathe_read_start(parts->pool, &parts->clock.clock, task);
}

struct lathe_task *parts_wait(struct parts *parts)
{
    void *task = NULL;

    assert_int_equal(lathe_queue_pop(parts->done, &task, 1, PATIENCE_US), 1);
    return task;
}

struct lathe_task *parts_call(struct parts *parts, uint16_t kind, uint32_t collection,
                              const ProtobufCMessage *message, const struct lathe_buf *block)
{
    parts_submit(parts, parts_task(parts, kind, collection, message, block));
    return parts_wait(parts);
}

struct lathe_task *parts_write(struct parts *parts, uint32_t collection,
                               const struct request *request)
{
    return parts_call(parts, LATHE_FRAME_WRITE, collection, &request->write.base, &request->block);
}

static const void *decode(struct lathe_task *task, uint16_t kind,
                          const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = NULL;
    struct lathe_error err = {0};

    if (task->reply_kind != kind && task->reply_kind == LATHE_FRAME_ERROR)
        fail_msg("the task failed: %s", failure_of(task)->message);
    assert_int_equal(task->reply_kind, kind);
    if (lathe_message_decode(descriptor, lathe_buf_view(&task->reply_body), &task->arena, &message,
                             &err) != LATHE_OK)
        fail_msg("reply: %s", err.message);
    return message;
}

const Lathe__Shard__WriteReply *write_reply(struct lathe_task *task)
{
    return decode(task, LATHE_FRAME_WRITE, &lathe__shard__write_reply__descriptor);
}

const Lathe__Shard__SearchReply *search_reply(struct lathe_task *task)
{
    return decode(task, LATHE_FRAME_SEARCH, &lathe__shard__search_reply__descriptor);
}

const Lathe__Shard__Points *points_reply(struct lathe_task *task)
{
    return decode(task, task->request.header.kind, &lathe__shard__points__descriptor);
}

const Lathe__Shard__StatsReply *stats_reply(struct lathe_task *task)
{
    return decode(task, LATHE_FRAME_STATS, &lathe__shard__stats_reply__descriptor);
}

const Lathe__Shard__SyncReply *sync_reply(struct lathe_task *task)
{
    return decode(task, LATHE_FRAME_SYNC, &lathe__shard__sync_reply__descriptor);
}

const Lathe__Shard__Failure *failure_of(struct lathe_task *task)
{
    return decode(task, LATHE_FRAME_ERROR, &lathe__shard__failure__descriptor);
}

/* ---- Stores ---- */

static struct lathe_store_iter *walk(struct lathe_store *store, enum lathe_family family,
                                     const struct lathe_key_range *range)
{
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;

    if (range != NULL) {
        scan.lower = lathe_key_view(&range->lower);
        scan.upper = lathe_key_view(&range->upper);
    }
    assert_int_equal(lathe_store_iter_create(store, family, &scan, &iter, NULL), LATHE_OK);
    lathe_store_iter_seek_first(iter);
    return iter;
}

static void print_hex(struct lathe_buf *out, struct lathe_bytes bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        lathe_buf_printf(out, "%02x", bytes.data[i]);
}

void store_get(struct lathe_store *store, enum lathe_family family, struct lathe_key key,
               struct lathe_buf *out)
{
    struct lathe_store_value value;

    assert_int_equal(lathe_store_get(store, NULL, family, lathe_key_view(&key), &value, NULL),
                     LATHE_OK);
    lathe_buf_append(out, value.bytes.data, value.bytes.size);
    lathe_store_value_release(&value);
}

static void print_vectors(struct lathe_store *store, uint32_t collection,
                          const struct lathe_point_record *record, struct lathe_buf *out)
{
    for (uint32_t f = 0; f < record->row_count; f++) {
        struct lathe_buf vector = {0};

        if (record->rows[f] == LATHE_NO_ROW)
            continue;
        store_get(store, LATHE_FAMILY_ORIGINALS,
                  lathe_key_original(collection, (uint16_t)f, record->rows[f]), &vector);
        lathe_buf_printf(out, " field%u=row%" PRIu64 ":", f, record->rows[f]);
        for (size_t i = 0; i + sizeof(float) <= vector.size; i += sizeof(float)) {
            float element;

            memcpy(&element, vector.data + i, sizeof(element));
            lathe_buf_printf(out, "%s%a", i > 0 ? "," : "", (double)element);
        }
        lathe_buf_fini(&vector);
    }
}

static void print_point(struct lathe_store *store, const struct lathe_order_key *key, uint16_t slot,
                        struct lathe_buf *out)
{
    struct lathe_buf stored = {0}, payload = {0};
    struct lathe_point_record record;
    char id[LATHE_ID_TEXT_BYTES];

    lathe_idkey_format(key->idkey, id);
    store_get(store, LATHE_FAMILY_POINTS, lathe_key_point(key->collection, slot, key->idkey),
              &stored);
    assert_int_equal(lathe_point_record_decode(lathe_buf_view(&stored), &record, NULL), LATHE_OK);
    store_get(store, LATHE_FAMILY_PAYLOAD, lathe_key_payload(key->collection, record.point),
              &payload);
    assert_int_equal(payload.size, record.payload_bytes);
    lathe_buf_printf(out, "point %s slot=%u version=%" PRIu64 " number=%" PRIu64 " payload=", id,
                     slot, record.version, record.point);
    print_hex(out, lathe_buf_view(&payload));
    print_vectors(store, key->collection, &record, out);
    lathe_buf_text(out, "\n");
    lathe_buf_fini(&stored);
    lathe_buf_fini(&payload);
}

static void print_points(struct lathe_store *store, uint32_t collection, struct lathe_buf *out)
{
    struct lathe_key_range range = lathe_key_range_collection(collection);
    struct lathe_store_iter *iter = walk(store, LATHE_FAMILY_ORDER, &range);

    for (; lathe_store_iter_valid(iter); lathe_store_iter_next(iter)) {
        struct lathe_bytes slot = lathe_store_iter_value(iter);
        struct lathe_order_key key;

        assert_int_equal(lathe_key_order_parse(lathe_store_iter_key(iter), &key, NULL), LATHE_OK);
        assert_int_equal(slot.size, 2);
        print_point(store, &key, (uint16_t)(slot.data[0] | slot.data[1] << 8), out);
    }
    assert_int_equal(lathe_store_iter_status(iter, NULL), LATHE_OK);
    lathe_store_iter_destroy(iter);
}

/* Every value of family meta as it is stored, but the log's state: trimming changes that alone. */
static void print_meta(struct lathe_store *store, struct lathe_buf *out)
{
    struct lathe_key state_key = lathe_log_state_key();
    struct lathe_store_iter *iter = walk(store, LATHE_FAMILY_META, NULL);

    for (; lathe_store_iter_valid(iter); lathe_store_iter_next(iter)) {
        struct lathe_bytes key = lathe_store_iter_key(iter);
        struct lathe_log_state_record log;

        if (lathe_bytes_equal(key, lathe_key_view(&state_key))) {
            assert_int_equal(
                lathe_log_state_record_decode(lathe_store_iter_value(iter), &log, NULL), LATHE_OK);
            lathe_buf_printf(out, "log applied_seq=%" PRIu64 " hash=", log.applied_seq);
            print_hex(out, lathe_bytes_of(log.hash, sizeof(log.hash)));
        } else {
            lathe_buf_text(out, "meta ");
            print_hex(out, key);
            lathe_buf_text(out, " = ");
            print_hex(out, lathe_store_iter_value(iter));
        }
        lathe_buf_text(out, "\n");
    }
    assert_int_equal(lathe_store_iter_status(iter, NULL), LATHE_OK);
    lathe_store_iter_destroy(iter);
}

static void print_counts(struct lathe_store *store, struct lathe_buf *out)
{
    for (int family = 0; family < LATHE_FAMILIES; family++) {
        struct lathe_store_iter *iter = walk(store, (enum lathe_family)family, NULL);
        size_t count = 0;

        for (; lathe_store_iter_valid(iter); lathe_store_iter_next(iter))
            count++;
        lathe_buf_printf(out, "keys %s=%zu\n", lathe_family_name((enum lathe_family)family), count);
        lathe_store_iter_destroy(iter);
    }
}

void store_export(struct lathe_store *store, struct lathe_buf *out)
{
    struct lathe_key_range range = lathe_key_range_meta(LATHE_META_COLLECTION);
    struct lathe_store_iter *iter = walk(store, LATHE_FAMILY_META, &range);

    lathe_buf_clear(out);
    for (; lathe_store_iter_valid(iter); lathe_store_iter_next(iter)) {
        struct lathe_meta_key key;

        assert_int_equal(lathe_key_meta_parse(lathe_store_iter_key(iter), &key, NULL), LATHE_OK);
        lathe_buf_printf(out, "collection %u\n", key.collection);
        print_points(store, key.collection, out);
    }
    lathe_store_iter_destroy(iter);
    print_meta(store, out);
    print_counts(store, out);
    assert_false(out->failed);
}

/* Names the first line that differs. */
void assert_exports_equal(const struct lathe_buf *a, const struct lathe_buf *b)
{
    size_t at = 0, line = 0;

    while (at < a->size && at < b->size && a->data[at] == b->data[at]) {
        at++;
        if (a->data[at - 1] == '\n')
            line = at;
    }
    if (at < a->size || at < b->size)
        fail_msg("exports differ at byte %zu:\n%.*s\n%.*s", at,
                 (int)(a->size - line < 400 ? a->size - line : 400), (const char *)a->data + line,
                 (int)(b->size - line < 400 ? b->size - line : 400), (const char *)b->data + line);
}

static void commit_one(struct lathe_store *store, struct lathe_store_batch *batch)
{
    assert_int_equal(lathe_store_commit(store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
}

void store_put(struct lathe_store *store, enum lathe_family family, struct lathe_key key,
               struct lathe_bytes value)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(store);

    lathe_store_batch_put(batch, family, lathe_key_view(&key), value);
    commit_one(store, batch);
}

void store_delete(struct lathe_store *store, enum lathe_family family, struct lathe_key key)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(store);

    lathe_store_batch_delete(batch, family, lathe_key_view(&key));
    commit_one(store, batch);
}
