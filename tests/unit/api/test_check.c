/* test_check.c - coordinator/api/check: every limit on both sides, every refusal with its field. */
#include "tests/unit/api/fixture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "coordinator/api/check.h"

/* ---- Create -----------------------------------------------------------------------------------
 */

/* A valid create request with one field, changed by each case. */
struct create {
    Lathe__V1__CreateCollectionRequest request;
    Lathe__V1__CollectionSchema schema;
    Lathe__V1__FieldSchema fields[LATHE_MAX_FIELDS + 1];
    Lathe__V1__FieldSchema *list[LATHE_MAX_FIELDS + 1];
    char names[LATHE_MAX_FIELDS + 1][8];
    char long_name[LATHE_MAX_NAME_BYTES + 2];
    uint32_t ladder[LATHE_MAX_LADDER + 1];
    uint8_t metadata[LATHE_MAX_METADATA_BYTES + 1];
};

static void create_init(struct create *create, size_t field_count)
{
    memset(create, 0, sizeof(*create));
    lathe__v1__create_collection_request__init(&create->request);
    lathe__v1__collection_schema__init(&create->schema);
    create->request.name = "films";
    create->request.schema = &create->schema;
    create->schema.fields = create->list;
    create->schema.n_fields = field_count;
    memset(create->long_name, 'n', sizeof(create->long_name) - 1);
    for (size_t i = 0; i <= LATHE_MAX_FIELDS; i++) {
        lathe__v1__field_schema__init(&create->fields[i]);
        (void)snprintf(create->names[i], sizeof(create->names[i]), "f%zu", i);
        create->fields[i].name = create->names[i];
        create->fields[i].dims = 8;
        create->fields[i].metric = LATHE__V1__METRIC__METRIC_COSINE;
        create->list[i] = &create->fields[i];
    }
}

static void name_empty(struct create *c)
{
    c->request.name = "";
}
static void name_long(struct create *c)
{
    c->request.name = c->long_name;
}
static void name_slash(struct create *c)
{
    c->request.name = "a/b";
}
static void name_newline(struct create *c)
{
    c->request.name = "a\nb";
}
static void name_delete(struct create *c)
{
    c->request.name = "a\x7f";
}
static void name_c1(struct create *c)
{
    c->request.name = "a\xc2\x85";
}
static void no_schema(struct create *c)
{
    c->request.schema = NULL;
}
static void no_fields(struct create *c)
{
    c->schema.n_fields = 0;
}
static void many_fields(struct create *c)
{
    c->schema.n_fields = LATHE_MAX_FIELDS + 1;
}
static void metadata_long(struct create *c)
{
    c->request.metadata.data = c->metadata;
    c->request.metadata.len = sizeof(c->metadata);
}
static void field_name_long(struct create *c)
{
    c->fields[1].name = c->long_name;
}
static void field_name_control(struct create *c)
{
    c->fields[1].name = "\x01";
}
static void field_name_twice(struct create *c)
{
    c->fields[1].name = c->fields[0].name;
}
static void sparse(struct create *c)
{
    c->fields[1].kind = LATHE__V1__FIELD_KIND__FIELD_KIND_SPARSE;
}
static void multi(struct create *c)
{
    c->fields[1].kind = LATHE__V1__FIELD_KIND__FIELD_KIND_MULTI;
}
static void kind_unknown(struct create *c)
{
    c->fields[1].kind = 9;
}
static void dims_zero(struct create *c)
{
    c->fields[1].dims = 0;
}
static void dims_many(struct create *c)
{
    c->fields[1].dims = LATHE_MAX_DIMS + 1;
}
static void metric_missing(struct create *c)
{
    c->fields[1].metric = 0;
}
static void metric_manhattan(struct create *c)
{
    c->fields[1].metric = LATHE__V1__METRIC__METRIC_MANHATTAN;
}
static void metric_unknown(struct create *c)
{
    c->fields[1].metric = 5;
}
static void element_int8(struct create *c)
{
    c->fields[1].element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_INT8;
}
static void element_unknown(struct create *c)
{
    c->fields[1].element = 7;
}
static void zero_unknown(struct create *c)
{
    c->fields[1].zero_vectors = 3;
}
static void ladder_set(struct create *c, size_t count, uint32_t a, uint32_t b)
{
    c->fields[1].ladder = c->ladder;
    c->fields[1].n_ladder = count;
    c->ladder[0] = a;
    c->ladder[1] = b;
}
static void ladder_long(struct create *c)
{
    ladder_set(c, LATHE_MAX_LADDER + 1, 1, 2);
}
static void ladder_zero(struct create *c)
{
    ladder_set(c, 1, 0, 0);
}
static void ladder_whole(struct create *c)
{
    ladder_set(c, 2, 4, 8);
}
static void ladder_falls(struct create *c)
{
    ladder_set(c, 2, 4, 4);
}

static void a_bad_collection_is_refused_naming_field_and_limit(void **state)
{
    static const struct {
        void (*change)(struct create *);
        enum lathe_status status;
        const char *field;
        const char *text;
    } cases[] = {
        {name_empty, LATHE_INVALID_ARGUMENT, "name", "1 to 255"},
        {name_long, LATHE_INVALID_ARGUMENT, "name", "256 bytes"},
        {name_slash, LATHE_INVALID_ARGUMENT, "name", "'/'"},
        {name_newline, LATHE_INVALID_ARGUMENT, "name", "control"},
        {name_delete, LATHE_INVALID_ARGUMENT, "name", "control"},
        {name_c1, LATHE_INVALID_ARGUMENT, "name", "control"},
        {no_schema, LATHE_INVALID_ARGUMENT, "schema.fields", "1 to 16"},
        {no_fields, LATHE_INVALID_ARGUMENT, "schema.fields", "0 fields"},
        {many_fields, LATHE_INVALID_ARGUMENT, "schema.fields", "17 fields"},
        {metadata_long, LATHE_INVALID_ARGUMENT, "metadata", "65536"},
        {field_name_long, LATHE_INVALID_ARGUMENT, "schema.fields[1].name", "255"},
        {field_name_control, LATHE_INVALID_ARGUMENT, "schema.fields[1].name", "control"},
        {field_name_twice, LATHE_INVALID_ARGUMENT, "schema.fields[1].name", "\"f0\" already"},
        {sparse, LATHE_UNIMPLEMENTED, "schema.fields[1].kind", "dense"},
        {multi, LATHE_UNIMPLEMENTED, "schema.fields[1].kind", "dense"},
        {kind_unknown, LATHE_INVALID_ARGUMENT, "schema.fields[1].kind", "9"},
        {dims_zero, LATHE_INVALID_ARGUMENT, "schema.fields[1].dims", "1 to 16384"},
        {dims_many, LATHE_INVALID_ARGUMENT, "schema.fields[1].dims", "16385"},
        {metric_missing, LATHE_INVALID_ARGUMENT, "schema.fields[1].metric", "must be chosen"},
        {metric_manhattan, LATHE_UNIMPLEMENTED, "schema.fields[1].metric", "manhattan"},
        {metric_unknown, LATHE_INVALID_ARGUMENT, "schema.fields[1].metric", "5"},
        {element_int8, LATHE_UNIMPLEMENTED, "schema.fields[1].element", "int8"},
        {element_unknown, LATHE_INVALID_ARGUMENT, "schema.fields[1].element", "7"},
        {zero_unknown, LATHE_INVALID_ARGUMENT, "schema.fields[1].zero_vectors", "3"},
        {ladder_long, LATHE_INVALID_ARGUMENT, "schema.fields[1].ladder", "32"},
        {ladder_zero, LATHE_INVALID_ARGUMENT, "schema.fields[1].ladder[0]", "this is 0"},
        {ladder_whole, LATHE_INVALID_ARGUMENT, "schema.fields[1].ladder[1]", "dims - 1 = 7"},
        {ladder_falls, LATHE_INVALID_ARGUMENT, "schema.fields[1].ladder[1]", "ascend"},
    };
    struct create *create = malloc(sizeof(*create));

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lathe_collection *draft;
        struct lathe_error err = {0};

        create_init(create, 2);
        cases[i].change(create);
        assert_int_equal(lathe_check_create(&create->request, &draft, &err), cases[i].status);
        fixture_expect(&err, cases[i].status, cases[i].field, cases[i].text);
        assert_null(draft);
    }
    free(create);
}

static void a_collection_at_every_limit_is_taken(void **state)
{
    struct create *create = malloc(sizeof(*create));
    struct lathe_collection *draft;
    struct lathe_error err = {0};

    (void)state;
    create_init(create, LATHE_MAX_FIELDS);
    create->long_name[LATHE_MAX_NAME_BYTES] = '\0';
    create->request.name = create->long_name;
    create->fields[0].name = "";
    create->fields[0].dims = LATHE_MAX_DIMS;
    create->fields[1].name = create->long_name;
    create->fields[2].metric = LATHE__V1__METRIC__METRIC_DOT;
    create->fields[3].zero_vectors = LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW;
    create->request.metadata.data = create->metadata;
    create->request.metadata.len = LATHE_MAX_METADATA_BYTES;
    ladder_set(create, 2, 1, 7);
    assert_int_equal(lathe_check_create(&create->request, &draft, &err), LATHE_OK);
    assert_string_equal(draft->name, create->long_name);
    assert_int_equal(draft->field_count, LATHE_MAX_FIELDS);
    assert_int_equal(draft->metadata.size, LATHE_MAX_METADATA_BYTES);
    assert_int_equal(draft->fields[1].ladder_count, 2);
    assert_int_equal(draft->fields[1].ladder[1], 7);
    assert_false(draft->fields[0].allow_zero); /* cosine refuses by itself */
    assert_true(draft->fields[2].allow_zero);  /* dot does not */
    assert_true(draft->fields[3].allow_zero);  /* as asked */
    assert_int_equal(draft->fields[0].element, LATHE_FLOAT32);
    lathe_collection_release(&draft);
    free(create);
}

/* ---- Ids --------------------------------------------------------------------------------------
 */

static void ids_are_taken_in_every_spelling_and_refused_with_their_member(void **state)
{
    struct lathe_arena arena = {0};
    char text[LATHE_MAX_ID_BYTES + 1];
    struct lathe_idkey a;
    struct lathe_idkey b;
    struct lathe_error err = {0};
    Lathe__V1__PointId *none;

    (void)state;
    memset(text, 'x', sizeof(text));
    none = fixture_id(&arena, 0);
    none->id_case = LATHE__V1__POINT_ID__ID__NOT_SET;
    assert_int_equal(lathe_check_id(NULL, &a, &err), LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "", "missing");
    assert_int_equal(lathe_check_id(none, &a, &err), LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "", "number, a uuid or a string");
    assert_int_equal(lathe_check_id(fixture_text_id(&arena, "", 0), &a, &err),
                     LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "string", "empty");
    assert_int_equal(lathe_check_id(fixture_text_id(&arena, text, sizeof(text)), &a, &err),
                     LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "string", "limit of 128");
    assert_int_equal(lathe_check_id(fixture_uuid(&arena, "0188-no"), &a, &err),
                     LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "uuid", "UUID");

    assert_int_equal(lathe_check_id(fixture_text_id(&arena, text, LATHE_MAX_ID_BYTES), &a, &err),
                     LATHE_OK);
    assert_int_equal(lathe_check_id(fixture_id(&arena, 0), &a, &err), LATHE_OK);
    assert_int_equal(a.size, 9);
    assert_int_equal(
        lathe_check_id(fixture_uuid(&arena, "0188D0F0-1234-7ABC-8DEF-0123456789AB"), &a, &err),
        LATHE_OK);
    assert_int_equal(
        lathe_check_id(fixture_uuid(&arena, "urn:uuid:0188d0f0-1234-7abc-8def-0123456789ab"), &b,
                       &err),
        LATHE_OK);
    assert_true(lathe_bytes_equal(lathe_idkey_view(&a), lathe_idkey_view(&b)));
    lathe_arena_fini(&arena);
}

/* ---- Vectors ----------------------------------------------------------------------------------
 */

static void vector_fails(Lathe__V1__Vector *vector, const struct lathe_field *field,
                         enum lathe_status status, const char *path, const char *text)
{
    struct lathe_bytes elements;
    struct lathe_error err = {0};

    assert_int_equal(lathe_check_stored_vector(vector, field, &elements, &err), status);
    fixture_expect(&err, status, path, text);
}

static void a_bad_vector_is_refused_naming_its_form(void **state)
{
    struct lathe_collection *collection = fixture_collection(1);
    const struct lathe_field *cosine = &collection->fields[0];
    const struct lathe_field *strict = &collection->fields[2];
    struct lathe_arena arena = {0};
    Lathe__V1__Vector *vector;

    (void)state;
    vector_fails(fixture_vector(&arena, 3), cosine, LATHE_INVALID_ARGUMENT, "values",
                 "has 3 dims, field \"\" has 4");
    vector_fails(fixture_vector(&arena, 0), cosine, LATHE_INVALID_ARGUMENT, "values", "0 dims");
    vector_fails(fixture_vector(&arena, 5), strict, LATHE_INVALID_ARGUMENT, "values", "\"strict\"");
    vector = fixture_vector(&arena, 4);
    vector->values[2] = NAN;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "values", "2");
    vector->values[2] = -INFINITY;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "values", "2");
    vector->values[2] = 1e30f;
    vector_fails(vector, strict, LATHE_INVALID_ARGUMENT, "values", "norm");
    memset(vector->values, 0, 4 * sizeof(float));
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "values", "zero");
    vector_fails(vector, strict, LATHE_INVALID_ARGUMENT, "values", "REJECT");
    vector->values[0] = -0.0f; /* still the zero vector */
    vector_fails(vector, strict, LATHE_INVALID_ARGUMENT, "values", "REJECT");
    vector = fixture_vector(&arena, 4);
    vector->data.data = (uint8_t *)vector->values;
    vector->data.len = 16;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "data", "both");
    vector->n_values = 0;
    vector->data.len = 15;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "data", "15 bytes");
    vector->data.len = 12;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "data", "3 dims");
    vector->data.len = 16;
    vector->element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT16;
    vector_fails(vector, cosine, LATHE_UNIMPLEMENTED, "element", "float16");
    vector->element = 17;
    vector_fails(vector, cosine, LATHE_INVALID_ARGUMENT, "element", "17");
    lathe_arena_fini(&arena);
    lathe_collection_release(&collection);
}

static void floats_and_bytes_give_the_same_elements(void **state)
{
    struct lathe_collection *collection = fixture_collection(1);
    struct lathe_arena arena = {0};
    Lathe__V1__Vector *values = fixture_vector(&arena, 3);
    Lathe__V1__Vector *data = fixture_vector(&arena, 0);
    _Alignas(float) uint8_t bytes[12];
    struct lathe_bytes a;
    struct lathe_bytes b;

    (void)state;
    memcpy(bytes, values->values, 12);
    data->data.data = bytes;
    data->data.len = 12;
    data->element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32;
    assert_int_equal(lathe_check_stored_vector(values, &collection->fields[1], &a, NULL), LATHE_OK);
    assert_int_equal(lathe_check_stored_vector(data, &collection->fields[1], &b, NULL), LATHE_OK);
    assert_true(lathe_bytes_equal(a, b));
    memset(values->values, 0, 12); /* allowed where zero vectors are */
    assert_int_equal(lathe_check_stored_vector(values, &collection->fields[1], &a, NULL), LATHE_OK);
    lathe_arena_fini(&arena);
    lathe_collection_release(&collection);
}

/* ---- Payloads ---------------------------------------------------------------------------------
 */

static void payload_fails(Lathe__V1__Object *payload, uint64_t max_bytes, const char *path,
                          const char *text)
{
    struct lathe_error err = {0};

    assert_int_equal(lathe_check_payload(payload, max_bytes, &err), LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, path, text);
}

static Lathe__V1__Value *list_of(struct lathe_arena *arena, Lathe__V1__Value *value)
{
    Lathe__V1__Value *outer = fixture_string(arena, "");
    Lathe__V1__ListValue *list = fixture_alloc(arena, sizeof(*list));

    lathe__v1__list_value__init(list);
    list->n_values = 1;
    list->values = fixture_alloc(arena, sizeof(void *));
    list->values[0] = value;
    outer->kind_case = LATHE__V1__VALUE__KIND_LIST_VALUE;
    outer->list_value = list;
    return outer;
}

static void a_bad_payload_is_refused_naming_the_place(void **state)
{
    struct lathe_arena arena = {0};
    Lathe__V1__Value *value;
    Lathe__V1__Object *object;
    Lathe__V1__Object *twice;

    (void)state;
    payload_fails(fixture_object(&arena, "k", NULL), 1000, "payload.entries[0].value", "must have");
    value = fixture_string(&arena, "");
    value->kind_case = LATHE__V1__VALUE__KIND__NOT_SET;
    payload_fails(fixture_object(&arena, "k", value), 1000, "payload.entries[0].value", "kind");
    payload_fails(fixture_object(&arena, "k", list_of(&arena, value)), 1000,
                  "payload.entries[0].value.list_value.values[0]", "kind");
    value = fixture_string(&arena, "");
    value->kind_case = LATHE__V1__VALUE__KIND_DOUBLE_VALUE;
    value->double_value = NAN;
    payload_fails(fixture_object(&arena, "k", value), 1000, "payload.entries[0].value.double_value",
                  "finite");
    value->double_value = INFINITY;
    payload_fails(fixture_object(&arena, "k", list_of(&arena, value)), 1000,
                  "payload.entries[0].value.list_value.values[0].double_value", "inf");
    /* A key twice, at the top and inside. */
    twice = fixture_alloc(&arena, sizeof(*twice));
    lathe__v1__object__init(twice);
    twice->n_entries = 3;
    twice->entries = fixture_alloc(&arena, 3 * sizeof(void *));
    for (int i = 0; i < 3; i++)
        twice->entries[i] =
            fixture_object(&arena, i == 1 ? "b" : "a", fixture_string(&arena, "x"))->entries[0];
    payload_fails(twice, 1000, "payload.entries", "\"a\" comes more than once");
    value = fixture_string(&arena, "");
    value->kind_case = LATHE__V1__VALUE__KIND_OBJECT_VALUE;
    value->object_value = twice;
    payload_fails(fixture_object(&arena, "k", value), 1000,
                  "payload.entries[0].value.object_value.entries", "more than once");
    /* Depth: the payload itself is the first level. */
    object = fixture_nested(&arena, LATHE_MAX_VALUE_DEPTH);
    assert_int_equal(lathe_check_payload(object, 1000, NULL), LATHE_OK);
    {
        struct lathe_error err = {0};

        object = fixture_nested(&arena, LATHE_MAX_VALUE_DEPTH + 1);
        assert_int_equal(lathe_check_payload(object, 1000, &err), LATHE_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "limit of 32"));
        assert_memory_equal(err.field, "payload.entries[0].value.object_value", 36);
    }
    /* Size: exactly at the limit, and one below it. */
    object = fixture_object(&arena, "name", fixture_string(&arena, "Metropolis"));
    assert_int_equal(lathe_check_payload(object, lathe__v1__object__get_packed_size(object), NULL),
                     LATHE_OK);
    payload_fails(object, lathe__v1__object__get_packed_size(object) - 1, "payload", "limit of 21");
    lathe_arena_fini(&arena);
}

static void fields_of_later_versions_are_not_stored(void **state)
{
    struct lathe_arena arena = {0};
    Lathe__V1__Object *object = fixture_object(&arena, "k",
                                               list_of(&arena, fixture_string(&arena, "v")));
    size_t size = lathe__v1__object__get_packed_size(object);
    ProtobufCMessageUnknownField unknown = {
        .tag = 77, .wire_type = PROTOBUF_C_WIRE_TYPE_VARINT, .len = 1, .data = (uint8_t *)"\x05"};
    ProtobufCMessage *messages[] = {&object->base, &object->entries[0]->base,
                                    &object->entries[0]->value->base,
                                    &object->entries[0]->value->list_value->base};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        messages[i]->n_unknown_fields = 1;
        messages[i]->unknown_fields = &unknown;
    }
    assert_true(lathe__v1__object__get_packed_size(object) > size);
    assert_int_equal(lathe_check_payload(object, 1000, NULL), LATHE_OK);
    assert_int_equal(lathe__v1__object__get_packed_size(object), size);
    lathe_arena_fini(&arena);
}

/* ---- Selections -------------------------------------------------------------------------------
 */

static void selections_name_known_fields(void **state)
{
    struct lathe_collection *collection = fixture_collection(1);
    Lathe__V1__Selection in = LATHE__V1__SELECTION__INIT;
    char *names[3] = {"title", "", "title"};
    struct lathe_selection out;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_check_selection(NULL, collection, &out, &err), LATHE_OK);
    assert_false(out.payload || out.vectors || lathe_selection_wants(&out, 0));
    in.vectors = true;
    assert_int_equal(lathe_check_selection(&in, collection, &out, &err), LATHE_OK);
    assert_true(lathe_selection_wants(&out, 0) && lathe_selection_wants(&out, 2));
    in.n_fields = 3;
    in.fields = names;
    assert_int_equal(lathe_check_selection(&in, collection, &out, &err), LATHE_OK);
    assert_int_equal(out.field_count, 2);
    assert_true(lathe_selection_wants(&out, 0) && lathe_selection_wants(&out, 1));
    assert_false(lathe_selection_wants(&out, 2));
    in.vectors = false;
    assert_int_equal(lathe_check_selection(&in, collection, &out, &err), LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "selection.fields", "`vectors`");
    in.vectors = true;
    names[2] = "plot";
    assert_int_equal(lathe_check_selection(&in, collection, &out, &err), LATHE_INVALID_ARGUMENT);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "selection.fields[2]", "\"plot\"");
    lathe_collection_release(&collection);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_collection_is_refused_naming_field_and_limit),
        cmocka_unit_test(a_collection_at_every_limit_is_taken),
        cmocka_unit_test(ids_are_taken_in_every_spelling_and_refused_with_their_member),
        cmocka_unit_test(a_bad_vector_is_refused_naming_its_form),
        cmocka_unit_test(floats_and_bytes_give_the_same_elements),
        cmocka_unit_test(a_bad_payload_is_refused_naming_the_place),
        cmocka_unit_test(fields_of_later_versions_are_not_stored),
        cmocka_unit_test(selections_name_known_fields),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/check", tests, NULL, NULL) : 1;
}
