/* collections_sync.c - see collections_sync.h. */
#include "coordinator/collections_sync.h"

#include "common/base/mem.h"
#include "common/net/message.h"
#include "shard.pb-c.h"

/* One collection as the shards are told it. */
struct spec {
    Lathe__Shard__CollectionSpec message;
    Lathe__Shard__FieldSpec fields[LATHE_MAX_FIELDS];
    Lathe__Shard__FieldSpec *field_list[LATHE_MAX_FIELDS];
};

static void spec_fill(struct spec *spec, const struct lathe_collection *collection)
{
    lathe__shard__collection_spec__init(&spec->message);
    spec->message.id = collection->id;
    spec->message.name = (char *)(uintptr_t)collection->name;
    spec->message.slot_key.data = (uint8_t *)(uintptr_t)collection->slot_key;
    spec->message.slot_key.len = LATHE_SLOT_KEY_BYTES;
    spec->message.schema_version = collection->schema_version;
    for (uint32_t i = 0; i < collection->field_count; i++) {
        const struct lathe_field *field = &collection->fields[i];
        Lathe__Shard__FieldSpec *out = &spec->fields[i];

        lathe__shard__field_spec__init(out);
        out->name = (char *)(uintptr_t)field->name;
        out->kind = field->kind;
        out->dims = field->dims;
        out->metric = (uint32_t)field->metric;
        out->element = (uint32_t)field->element;
        out->allow_zero = field->allow_zero;
        out->n_ladder = field->ladder_count;
        out->ladder = (uint32_t *)(uintptr_t)field->ladder;
        spec->field_list[i] = out;
    }
    spec->message.n_fields = collection->field_count;
    spec->message.fields = spec->field_list;
}

/* Appends one collection at a time: repeated fields of messages written one after another add up.
 */
static void collection_append(const struct lathe_collection *collection, struct spec *spec,
                              struct lathe_buf *body)
{
    Lathe__Shard__CollectionSpec *list[1] = {&spec->message};
    Lathe__Shard__Sync sync = LATHE__SHARD__SYNC__INIT;

    spec_fill(spec, collection);
    sync.n_collections = 1;
    sync.collections = list;
    lathe_message_encode(&sync.base, body);
}

static void body_build(const struct lathe_sync_state *state, struct lathe_buf *body)
{
    Lathe__Shard__Sync rest = LATHE__SHARD__SYNC__INIT;
    struct spec *spec = lathe_alloc(sizeof(*spec));

    if (spec == NULL) {
        body->failed = true;
        return;
    }
    for (size_t i = 0; i < state->count; i++)
        collection_append(state->items[i], spec, body);
    if (state->added != NULL)
        collection_append(state->added, spec, body);
    rest.next_id = state->next_id;
    rest.time_ms = state->time_ms;
    lathe_message_encode(&rest.base, body);
    lathe_free(spec);
}

enum lathe_status lathe_sync_build(const struct lathe_sync_state *state, struct lathe_part *parts,
                                   size_t part_count, struct lathe_error *err)
{
    const struct lathe_frame_header header = {.kind = LATHE_FRAME_SYNC};
    struct lathe_buf body = {0};
    bool made = true;

    body_build(state, &body);
    for (size_t i = 0; made && !body.failed && i < part_count; i++) {
        struct lathe_buf copy = {0};
        struct lathe_buf block = {0};

        lathe_buf_append(&copy, body.data, body.size);
        parts[i].shard = (uint32_t)i;
        made = !copy.failed && lathe_frame_make(&parts[i].request, &header, &copy, &block);
        lathe_buf_fini(&copy);
    }
    made = made && !body.failed;
    lathe_buf_fini(&body);
    return made ? LATHE_OK
                : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to tell the shards");
}

enum lathe_status lathe_sync_result(const struct lathe_scatter *scatter, struct lathe_error *err)
{
    const struct lathe_part *failed = lathe_scatter_failed(scatter);

    if (failed == NULL)
        return LATHE_OK;
    (void)lathe_fail(err, failed->error.status, "shard %u has not acknowledged the collections: %s",
                     failed->shard, failed->error.message);
    if (err != NULL)
        err->retry_after_ms = failed->error.retry_after_ms;
    return failed->error.status;
}
