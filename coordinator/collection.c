/* collection.c - see collection.h. */
#include "coordinator/collection.h"

#include <stdio.h>

#include "catalog.pb-c.h"
#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/net/message.h"

struct lathe_collection *lathe_collection_create(const char *name, struct lathe_bytes metadata,
                                                 uint32_t field_count)
{
    struct lathe_collection *collection;
    uint8_t *copy;

    LATHE_REQUIRE(strlen(name) <= LATHE_MAX_NAME_BYTES);
    LATHE_REQUIRE(field_count >= 1 && field_count <= LATHE_MAX_FIELDS);
    collection = lathe_zalloc(sizeof(*collection) + field_count * sizeof(struct lathe_field));
    copy = lathe_alloc(metadata.size);
    if (collection == NULL || copy == NULL) {
        lathe_free(collection);
        lathe_free(copy);
        return NULL;
    }
    if (metadata.size > 0)
        memcpy(copy, metadata.data, metadata.size);
    atomic_init(&collection->refs, 1);
    (void)snprintf(collection->name, sizeof(collection->name), "%s", name);
    collection->metadata = lathe_bytes_of(copy, metadata.size);
    collection->field_count = field_count;
    return collection;
}

void lathe_collection_acquire(struct lathe_collection *collection)
{
    (void)atomic_fetch_add_explicit(&collection->refs, 1, memory_order_relaxed);
}

void lathe_collection_release(struct lathe_collection **collection_p)
{
    struct lathe_collection *collection = *collection_p;

    *collection_p = NULL;
    if (collection == NULL ||
        atomic_fetch_sub_explicit(&collection->refs, 1, memory_order_acq_rel) != 1)
        return;
    lathe_free((void *)(uintptr_t)collection->metadata.data);
    lathe_free(collection);
}

const struct lathe_field *lathe_collection_field(const struct lathe_collection *collection,
                                                 const char *name)
{
    for (uint32_t i = 0; i < collection->field_count; i++) {
        if (strcmp(collection->fields[i].name, name) == 0)
            return &collection->fields[i];
    }
    return NULL;
}

uint32_t lathe_collection_shard_of(const struct lathe_collection *collection,
                                   struct lathe_bytes idkey)
{
    return lathe_slot_map_shard(&collection->slots, lathe_slot_of(collection->slot_key, idkey));
}

/* ---- The record ------------------------------------------------------------------------------ */

/* Everything a record points at while it is encoded. */
struct record_parts {
    Lathe__Catalog__CollectionRecord record;
    Lathe__Catalog__SlotMapRecord slots;
    Lathe__Catalog__FieldRecord fields[LATHE_MAX_FIELDS];
    Lathe__Catalog__FieldRecord *field_list[LATHE_MAX_FIELDS];
    uint32_t first[LATHE_MAX_SHARDS];
};

static void record_fields(struct record_parts *parts, const struct lathe_collection *collection)
{
    for (uint32_t i = 0; i < collection->field_count; i++) {
        const struct lathe_field *field = &collection->fields[i];
        Lathe__Catalog__FieldRecord *out = &parts->fields[i];

        lathe__catalog__field_record__init(out);
        out->name = (char *)(uintptr_t)field->name;
        out->kind = field->kind;
        out->dims = field->dims;
        out->metric = (uint32_t)field->metric;
        out->element = (uint32_t)field->element;
        out->allow_zero = field->allow_zero;
        out->n_ladder = field->ladder_count;
        out->ladder = (uint32_t *)(uintptr_t)field->ladder;
        parts->field_list[i] = out;
    }
    parts->record.n_fields = collection->field_count;
    parts->record.fields = parts->field_list;
}

void lathe_collection_encode(const struct lathe_collection *collection, struct lathe_buf *buf)
{
    struct record_parts *parts = lathe_zalloc(sizeof(*parts));

    if (parts == NULL) {
        buf->failed = true;
        return;
    }
    lathe__catalog__collection_record__init(&parts->record);
    parts->record.format = LATHE_COLLECTION_RECORD_FORMAT;
    parts->record.id = collection->id;
    parts->record.name = (char *)(uintptr_t)collection->name;
    parts->record.slot_key.data = (uint8_t *)(uintptr_t)collection->slot_key;
    parts->record.slot_key.len = LATHE_SLOT_KEY_BYTES;
    parts->record.schema_version = collection->schema_version;
    parts->record.created_ms = collection->created_ms;
    parts->record.metadata.data = (uint8_t *)(uintptr_t)collection->metadata.data;
    parts->record.metadata.len = collection->metadata.size;
    record_fields(parts, collection);
    lathe__catalog__slot_map_record__init(&parts->slots);
    for (uint32_t i = 0; i < collection->slots.shard_count; i++)
        parts->first[i] = collection->slots.first[i];
    parts->slots.version = collection->slots.version;
    parts->slots.n_first = collection->slots.shard_count;
    parts->slots.first = parts->first;
    parts->record.slot_map = &parts->slots;
    lathe_message_encode(&parts->record.base, buf);
    lathe_free(parts);
}

static enum lathe_status field_decode(const Lathe__Catalog__FieldRecord *in,
                                      struct lathe_field *field, struct lathe_error *err)
{
    if (strlen(in->name) > LATHE_MAX_NAME_BYTES || in->dims < 1 || in->dims > LATHE_MAX_DIMS ||
        in->n_ladder > LATHE_MAX_LADDER)
        return lathe_fail(err, LATHE_DATA_LOSS, "a field's name, dims or ladder is out of range");
    if (in->kind != LATHE_FIELD_KIND_DENSE_NUMBER ||
        lathe_metric_name((enum lathe_metric)in->metric) == NULL ||
        lathe_element_name((enum lathe_element)in->element) == NULL)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "field \"%s\" has an unknown kind %u, metric %u or element %u", in->name,
                          in->kind, in->metric, in->element);
    (void)snprintf(field->name, sizeof(field->name), "%s", in->name);
    field->kind = in->kind;
    field->dims = in->dims;
    field->metric = (enum lathe_metric)in->metric;
    field->element = (enum lathe_element)in->element;
    field->allow_zero = in->allow_zero;
    field->ladder_count = (uint32_t)in->n_ladder;
    for (size_t i = 0; i < in->n_ladder; i++)
        field->ladder[i] = in->ladder[i];
    return LATHE_OK;
}

static enum lathe_status slots_decode(const Lathe__Catalog__SlotMapRecord *in,
                                      struct lathe_slot_map *slots, struct lathe_error *err)
{
    if (in == NULL || in->n_first < 1 || in->n_first > LATHE_MAX_SHARDS || in->first[0] != 0)
        return lathe_fail(err, LATHE_DATA_LOSS, "the slot map is missing or has a wrong size");
    for (size_t i = 0; i < in->n_first; i++) {
        if (in->first[i] >= LATHE_SLOTS || (i > 0 && in->first[i] <= in->first[i - 1]))
            return lathe_fail(err, LATHE_DATA_LOSS, "the slot map's ranges do not ascend");
        slots->first[i] = (uint16_t)in->first[i];
    }
    slots->version = in->version;
    slots->shard_count = (uint32_t)in->n_first;
    return LATHE_OK;
}

static enum lathe_status record_check(const Lathe__Catalog__CollectionRecord *record,
                                      struct lathe_error *err)
{
    if (record->format > LATHE_COLLECTION_RECORD_FORMAT)
        return lathe_fail(err, LATHE_UNIMPLEMENTED,
                          "the record has format %u, this program reads up to %d", record->format,
                          LATHE_COLLECTION_RECORD_FORMAT);
    if (record->format == 0 || record->id == 0 || record->name[0] == '\0' ||
        strlen(record->name) > LATHE_MAX_NAME_BYTES ||
        record->slot_key.len != LATHE_SLOT_KEY_BYTES || record->n_fields < 1 ||
        record->n_fields > LATHE_MAX_FIELDS || record->metadata.len > LATHE_MAX_METADATA_BYTES)
        return lathe_fail(err, LATHE_DATA_LOSS,
                          "the record of collection %u is incomplete or out of range", record->id);
    return LATHE_OK;
}

static enum lathe_status record_read(const Lathe__Catalog__CollectionRecord *record,
                                     struct lathe_collection **collection_out,
                                     struct lathe_error *err)
{
    enum lathe_status status = record_check(record, err);
    struct lathe_collection *collection;

    if (status != LATHE_OK)
        return status;
    collection = lathe_collection_create(
        record->name, lathe_bytes_of(record->metadata.data, record->metadata.len),
        (uint32_t)record->n_fields);
    if (collection == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection");
    collection->id = record->id;
    collection->schema_version = record->schema_version;
    collection->created_ms = record->created_ms;
    memcpy(collection->slot_key, record->slot_key.data, LATHE_SLOT_KEY_BYTES);
    for (size_t i = 0; status == LATHE_OK && i < record->n_fields; i++)
        status = field_decode(record->fields[i], &collection->fields[i], err);
    if (status == LATHE_OK)
        status = slots_decode(record->slot_map, &collection->slots, err);
    if (status != LATHE_OK) {
        lathe_collection_release(&collection);
        return status;
    }
    *collection_out = collection;
    return LATHE_OK;
}

enum lathe_status lathe_collection_decode(struct lathe_bytes record,
                                          struct lathe_collection **collection_out,
                                          struct lathe_error *err)
{
    struct lathe_arena arena;
    ProtobufCMessage *message;
    enum lathe_status status;

    *collection_out = NULL;
    lathe_arena_init(&arena, 0);
    status = lathe_message_decode(&lathe__catalog__collection_record__descriptor, record, &arena,
                                  &message, err);
    if (status == LATHE_OK)
        status = record_read((const Lathe__Catalog__CollectionRecord *)message, collection_out,
                             err);
    else
        status = lathe_fail(err, LATHE_DATA_LOSS, "a collection's record cannot be decoded");
    lathe_arena_fini(&arena);
    return status;
}
