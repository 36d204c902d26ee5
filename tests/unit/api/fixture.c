/* fixture.c - see fixture.h. */
#include "tests/unit/api/fixture.h"

#include <stdio.h>

struct lathe_collection *fixture_collection(uint32_t shards)
{
    struct lathe_collection *collection = lathe_collection_create(
        "films", lathe_bytes_str("about films"), 3);

    assert_non_null(collection);
    collection->id = 7;
    collection->schema_version = 1;
    collection->created_ms = 1700000000000u;
    for (int i = 0; i < LATHE_SLOT_KEY_BYTES; i++)
        collection->slot_key[i] = (uint8_t)(i * 7 + 1);
    lathe_slot_map_init(&collection->slots, shards);
    collection->fields[0] = (struct lathe_field){.name = "",
                                                 .kind = 1,
                                                 .dims = FIXTURE_DIMS,
                                                 .metric = LATHE_COSINE,
                                                 .element = LATHE_FLOAT32};
    collection->fields[1] = (struct lathe_field){.name = "title",
                                                 .kind = 1,
                                                 .dims = FIXTURE_TITLE_DIMS,
                                                 .metric = LATHE_EUCLIDEAN,
                                                 .element = LATHE_FLOAT32,
                                                 .allow_zero = true,
                                                 .ladder_count = 2,
                                                 .ladder = {1, 2}};
    collection->fields[2] = (struct lathe_field){.name = "strict",
                                                 .kind = 1,
                                                 .dims = FIXTURE_DIMS,
                                                 .metric = LATHE_DOT,
                                                 .element = LATHE_FLOAT32};
    return collection;
}

void *fixture_alloc(struct lathe_arena *arena, size_t size)
{
    void *memory = lathe_arena_alloc(arena, size);

    assert_non_null(memory);
    return memset(memory, 0, size);
}

Lathe__V1__PointId *fixture_id(struct lathe_arena *arena, uint64_t number)
{
    Lathe__V1__PointId *id = fixture_alloc(arena, sizeof(*id));

    lathe__v1__point_id__init(id);
    id->id_case = LATHE__V1__POINT_ID__ID_NUMBER;
    id->number = number;
    return id;
}

static char *copy(struct lathe_arena *arena, const char *text, size_t size)
{
    char *memory = fixture_alloc(arena, size + 1);

    return memcpy(memory, text, size);
}

Lathe__V1__PointId *fixture_text_id(struct lathe_arena *arena, const char *text, size_t size)
{
    Lathe__V1__PointId *id = fixture_id(arena, 0);

    id->id_case = LATHE__V1__POINT_ID__ID_STRING;
    id->string = copy(arena, text, size);
    return id;
}

Lathe__V1__PointId *fixture_uuid(struct lathe_arena *arena, const char *text)
{
    Lathe__V1__PointId *id = fixture_id(arena, 0);

    id->id_case = LATHE__V1__POINT_ID__ID_UUID;
    id->uuid = copy(arena, text, strlen(text));
    return id;
}

Lathe__V1__Vector *fixture_vector(struct lathe_arena *arena, size_t dims)
{
    Lathe__V1__Vector *vector = fixture_alloc(arena, sizeof(*vector));

    lathe__v1__vector__init(vector);
    vector->n_values = dims;
    vector->values = fixture_alloc(arena, (dims + 1) * sizeof(float));
    for (size_t i = 0; i < dims; i++)
        vector->values[i] = (float)(i + 1);
    return vector;
}

Lathe__V1__NamedVector *fixture_named(struct lathe_arena *arena, const char *field, size_t dims)
{
    Lathe__V1__NamedVector *named = fixture_alloc(arena, sizeof(*named));

    lathe__v1__named_vector__init(named);
    named->field = copy(arena, field, strlen(field));
    named->kind_case = LATHE__V1__NAMED_VECTOR__KIND_DENSE;
    named->dense = fixture_vector(arena, dims);
    return named;
}

Lathe__V1__Value *fixture_string(struct lathe_arena *arena, const char *text)
{
    Lathe__V1__Value *value = fixture_alloc(arena, sizeof(*value));

    lathe__v1__value__init(value);
    value->kind_case = LATHE__V1__VALUE__KIND_STRING_VALUE;
    value->string_value = copy(arena, text, strlen(text));
    return value;
}

Lathe__V1__Object *fixture_object(struct lathe_arena *arena, const char *key,
                                  Lathe__V1__Value *value)
{
    Lathe__V1__Object *object = fixture_alloc(arena, sizeof(*object));
    Lathe__V1__Entry *entry = fixture_alloc(arena, sizeof(*entry));

    lathe__v1__object__init(object);
    lathe__v1__entry__init(entry);
    entry->key = copy(arena, key, strlen(key));
    entry->value = value;
    object->n_entries = 1;
    object->entries = fixture_alloc(arena, sizeof(entry));
    object->entries[0] = entry;
    return object;
}

Lathe__V1__Object *fixture_nested(struct lathe_arena *arena, unsigned levels)
{
    Lathe__V1__Object *object = fixture_object(arena, "k", fixture_string(arena, "deep"));

    for (unsigned i = 1; i < levels; i++) {
        Lathe__V1__Value *value = fixture_string(arena, "");

        value->kind_case = LATHE__V1__VALUE__KIND_OBJECT_VALUE;
        value->object_value = object;
        object = fixture_object(arena, "k", value);
    }
    return object;
}

static Lathe__V1__WriteOperation *upsert(struct lathe_arena *arena, uint64_t number)
{
    Lathe__V1__WriteOperation *operation = fixture_alloc(arena, sizeof(*operation));
    Lathe__V1__UpsertPoint *point = fixture_alloc(arena, sizeof(*point));

    lathe__v1__write_operation__init(operation);
    lathe__v1__upsert_point__init(point);
    operation->operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT;
    operation->upsert = point;
    point->id = fixture_id(arena, number);
    point->n_vectors = 1;
    point->vectors = fixture_alloc(arena, sizeof(void *));
    point->vectors[0] = fixture_named(arena, "", FIXTURE_DIMS);
    point->payload = fixture_object(arena, "name", fixture_string(arena, "Metropolis"));
    return operation;
}

Lathe__V1__WritePointsRequest *fixture_write(struct lathe_arena *arena, size_t count)
{
    Lathe__V1__WritePointsRequest *request = fixture_alloc(arena, sizeof(*request));

    lathe__v1__write_points_request__init(request);
    request->collection = copy(arena, "films", 5);
    request->n_operations = count;
    request->operations = fixture_alloc(arena, count * sizeof(void *));
    for (size_t i = 0; i < count; i++)
        request->operations[i] = upsert(arena, i + 1);
    return request;
}

void *fixture_decode(const ProtobufCMessageDescriptor *descriptor, struct lathe_buf *buf,
                     struct lathe_arena *arena)
{
    struct lathe_error err = {0};
    ProtobufCMessage *message = NULL;

    assert_false(buf->failed);
    if (lathe_message_decode(descriptor, lathe_buf_view(buf), arena, &message, &err) != LATHE_OK)
        fail_msg("%s: %s", descriptor->name, err.message);
    return message;
}

void fixture_expect(const struct lathe_error *err, enum lathe_status status, const char *field,
                    const char *text)
{
    if (err->status != status || strcmp(err->field, field) != 0 ||
        strstr(err->message, text) == NULL)
        fail_msg("want %s in \"%s\" saying \"%s\"; got %s in \"%s\" saying \"%s\"",
                 lathe_status_name(status), field, text, lathe_status_name(err->status), err->field,
                 err->message);
}
