/* test_json.c - payloads, ids and vectors between JSON and lathe.v1. */
#include "tests/support/test.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/json_in.h"
#include "cli/json_out.h"
#include "common/base/limits.h"

static json_t *parsed(const char *text)
{
    json_error_t reason;
    json_t *json = json_loads(text, LATHE_JSON_FLAGS | JSON_DECODE_ANY, &reason);

    if (json == NULL)
        fail_msg("%s: %s", text, reason.text);
    return json;
}

/* JSON to a payload, through its wire form, and back. */
static char *round_trip(const char *text)
{
    json_t *json = parsed(text);
    struct lathe_error err = {0};
    Lathe__V1__Object *object = NULL, *copy;
    struct lathe_buf out = {0};
    uint8_t *bytes;
    size_t size;

    if (lathe_json_to_object(json, "payload", &object, &err) != LATHE_OK)
        fail_msg("%s: %s", text, err.message);
    size = lathe__v1__object__get_packed_size(object);
    bytes = malloc(size + 1);
    (void)lathe__v1__object__pack(object, bytes);
    copy = lathe__v1__object__unpack(NULL, size, bytes);
    assert_non_null(copy);
    lathe_json_object(&out, copy);
    lathe_buf_u8(&out, 0);
    assert_false(out.failed);
    free(bytes);
    lathe__v1__object__free_unpacked(object, NULL);
    lathe__v1__object__free_unpacked(copy, NULL);
    json_decref(json);
    return (char *)out.data;
}

static void payloads_come_back_as_they_were(void **state)
{
    static const char *const texts[] = {
        "{}",
        "{\"a\":null}",
        "{\"a\":[]}",
        "{\"a\":{}}",
        "{\"a\":true,\"b\":false}",
        "{\"a\":0,\"b\":-1,\"c\":9223372036854775807,\"d\":-9223372036854775808}",
        "{\"a\":0.0,\"b\":1.0,\"c\":-2.5,\"d\":0.1,\"e\":1e+300,\"f\":4.94065645841247e-324}",
        "{\"a\":1.7976931348623157e+308,\"b\":0.30000000000000004}",
        "{\"a\":\"\",\"b\":\"x\"}",
        "{\"z\":1,\"a\":2,\"m\":3}", /* the order of keys */
        "{\"\":1}",
        "{\"a\":\"\\\"\\\\\\n\\t\\u0001\"}",
        "{\"a\":\"gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80\"}",
        "{\"a\":[1,2.5,\"x\",null,[true],{\"b\":[{}]}]}",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *back = round_trip(texts[i]);

        assert_string_equal(back, texts[i]);
        free(back);
    }
}

static void integers_and_doubles_stay_apart(void **state)
{
    json_t *json = parsed("{\"i\":1,\"d\":1.0,\"e\":1e3}");
    Lathe__V1__Object *object = NULL;

    (void)state;
    assert_int_equal(lathe_json_to_object(json, "payload", &object, NULL), LATHE_OK);
    assert_int_equal(object->entries[0]->value->kind_case, LATHE__V1__VALUE__KIND_INT_VALUE);
    assert_int_equal(object->entries[1]->value->kind_case, LATHE__V1__VALUE__KIND_DOUBLE_VALUE);
    assert_int_equal(object->entries[2]->value->kind_case, LATHE__V1__VALUE__KIND_DOUBLE_VALUE);
    lathe__v1__object__free_unpacked(object, NULL);
    json_decref(json);
}

/* {"a":[[[...]]]} with `depth` lists. */
static json_t *nested(unsigned depth)
{
    struct lathe_buf text = {0};
    json_t *json;

    lathe_buf_text(&text, "{\"a\":");
    for (unsigned i = 0; i < depth; i++)
        lathe_buf_u8(&text, '[');
    for (unsigned i = 0; i < depth; i++)
        lathe_buf_u8(&text, ']');
    lathe_buf_text(&text, "}");
    lathe_buf_u8(&text, 0);
    json = parsed((const char *)text.data);
    lathe_buf_fini(&text);
    return json;
}

static void nesting_ends_at_its_limit(void **state)
{
    Lathe__V1__Object *object = NULL;
    struct lathe_error err = {0};
    json_t *json = nested(LATHE_MAX_VALUE_DEPTH);

    (void)state;
    assert_int_equal(lathe_json_to_object(json, "payload", &object, &err), LATHE_OK);
    lathe__v1__object__free_unpacked(object, NULL);
    json_decref(json);
    json = nested(LATHE_MAX_VALUE_DEPTH + 1);
    assert_int_equal(lathe_json_to_object(json, "payload", &object, &err), LATHE_INVALID_ARGUMENT);
    assert_null(object);
    assert_int_equal(strncmp(err.field, "payload.a[0][0]", 15), 0);
    assert_non_null(strstr(err.message, "limit of 32"));
    json_decref(json);
    json = nested(2000);
    assert_int_equal(lathe_json_to_object(json, "payload", &object, &err), LATHE_INVALID_ARGUMENT);
    json_decref(json);
}

static void a_payload_must_be_an_object(void **state)
{
    static const char *const texts[] = {"[]", "1", "\"x\"", "null"};

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        json_t *json = parsed(texts[i]);
        Lathe__V1__Object *object = NULL;
        struct lathe_error err = {0};

        assert_int_equal(lathe_json_to_object(json, "payload", &object, &err),
                         LATHE_INVALID_ARGUMENT);
        assert_string_equal(err.message, "payload must be an object");
        json_decref(json);
    }
}

static void check_id(const char *text, const char *canonical, enum lathe_id_kind kind)
{
    char out[LATHE_ID_TEXT_BYTES];
    struct lathe_idkey key;
    json_t *json = parsed(text);

    assert_int_equal(lathe_json_to_id(json, &key, NULL), LATHE_OK);
    assert_int_equal(lathe_idkey_kind(lathe_idkey_view(&key)), kind);
    lathe_idkey_format(lathe_idkey_view(&key), out);
    assert_string_equal(out, canonical);
    json_decref(json);
}

static void ids_are_numbers_uuids_or_strings(void **state)
{
    static const char *const bad[] = {"-1", "1.0", "null", "true", "[]", "\"\""};

    (void)state;
    check_id("0", "0", LATHE_ID_NUMBER);
    check_id("9223372036854775807", "9223372036854775807", LATHE_ID_NUMBER);
    check_id("\"7\"", "7", LATHE_ID_STRING);
    check_id("\"str:7\"", "str:7", LATHE_ID_STRING);
    check_id("\"0123ABCD-4567-89AB-CDEF-0123456789AB\"", "0123abcd-4567-89ab-cdef-0123456789ab",
             LATHE_ID_UUID);
    check_id("\"0123abcd456789abcdef0123456789ab\"", "0123abcd456789abcdef0123456789ab",
             LATHE_ID_STRING);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        json_t *json = parsed(bad[i]);
        struct lathe_idkey key;

        if (lathe_json_to_id(json, &key, NULL) != LATHE_INVALID_ARGUMENT)
            fail_msg("%s was accepted", bad[i]);
        json_decref(json);
    }
}

static enum lathe_status vector_of(const char *text, struct lathe_buf *out, struct lathe_error *err)
{
    json_t *json = parsed(text);
    enum lathe_status rc = lathe_json_to_vector(json, "vectors.x", out, err);

    json_decref(json);
    return rc;
}

static void vectors_are_lists_or_base64(void **state)
{
    static const float want[] = {1.0f, -0.5f, 3.0f, 0x1p-149f, 3.40282347e38f};
    struct lathe_buf out = {0};

    (void)state;
    assert_int_equal(vector_of("[1, -0.5, 3.0, 1.4e-45, 3.40282347e38]", &out, NULL), LATHE_OK);
    assert_int_equal(out.size, sizeof(want));
    assert_memory_equal(out.data, want, sizeof(want));
    lathe_buf_clear(&out);
    /* 1, -0.5: 00 00 80 3f 00 00 00 bf; then with one and two elements, for both paddings */
    assert_int_equal(vector_of("\"AACAPwAAAL8=\"", &out, NULL), LATHE_OK);
    assert_int_equal(out.size, 8);
    assert_memory_equal(out.data, want, 8);
    assert_int_equal(vector_of("\"AACAPw==\"", &out, NULL), LATHE_OK); /* appended */
    assert_int_equal(out.size, 12);
    assert_memory_equal(out.data + 8, want, 4);
    assert_int_equal(vector_of("\"AACAPwAAAL8AAEBA\"", &out, NULL), LATHE_OK);
    assert_memory_equal(out.data + 12, want, 12);
    lathe_buf_fini(&out);
}

static void wrong_vectors_are_refused_with_a_reason(void **state)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"[]", "vectors.x: a vector of 0 elements; it takes 1 to 16384"},
        {"[1,\"x\"]", "vectors.x: element 1 is not a number"},
        {"[1,null]", "vectors.x: element 1 is not a number"},
        {"[[1]]", "vectors.x: element 0 is not a number"},
        {"[1e39]", "vectors.x: element 0 (1e+39) does not fit float32"},
        {"\"\"", "vectors.x: the text is not padded base64"},
        {"\"AACAPw\"", "vectors.x: the text is not padded base64"},
        {"\"AACA Pw=\"", "vectors.x: the text is not padded base64"},
        {"\"AACA=w==\"", "vectors.x: the text is not padded base64"},
        {"\"====\"", "vectors.x: the text is not padded base64"},
        {"\"AAA=\"", "vectors.x: 2 bytes are not whole float32 elements"},
        {"7", "vectors.x must be a list of numbers or the base64 of float32 elements"},
        {"null", "vectors.x must be a list of numbers or the base64 of float32 elements"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct lathe_buf out = {0};
        struct lathe_error err = {0};

        assert_int_equal(vector_of(bad[i].text, &out, &err), LATHE_INVALID_ARGUMENT);
        assert_string_equal(err.message, bad[i].message);
        assert_string_equal(err.field, "vectors.x");
        lathe_buf_fini(&out);
    }
}

static void vectors_end_at_the_limit_of_dims(void **state)
{
    for (int over = 0; over <= 1; over++) {
        json_t *json = json_array();
        struct lathe_buf out = {0};
        struct lathe_error err = {0};

        (void)state;
        for (unsigned i = 0; i < LATHE_MAX_DIMS + (unsigned)over; i++)
            (void)json_array_append_new(json, json_real(0.5));
        assert_int_equal(lathe_json_to_vector(json, "v", &out, &err),
                         over ? LATHE_INVALID_ARGUMENT : LATHE_OK);
        json_decref(json);
        lathe_buf_fini(&out);
    }
}

static void floats_and_doubles_read_back_the_same(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "cli/json");
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = test_rng_u64(&rng);
        uint32_t low = (uint32_t)bits;
        struct lathe_buf out = {0};
        double d;
        float f;

        memcpy(&d, &bits, sizeof(d));
        memcpy(&f, &low, sizeof(f));
        if (d - d != 0 || f - f != 0)
            continue; /* not finite */
        lathe_json_double(&out, d);
        lathe_buf_u8(&out, 0);
        assert_true(strtod((char *)out.data, NULL) == d);
        lathe_buf_clear(&out);
        lathe_json_float(&out, f);
        lathe_buf_u8(&out, 0);
        assert_true((float)strtod((char *)out.data, NULL) == f); /* as lathe_json_to_vector does */
        lathe_buf_fini(&out);
    }
}

static void ids_are_written_in_their_kind(void **state)
{
    Lathe__V1__PointId id = LATHE__V1__POINT_ID__INIT;
    struct lathe_buf out = {0};

    (void)state;
    lathe_json_id(&out, NULL);
    lathe_json_id(&out, &id);
    id.id_case = LATHE__V1__POINT_ID__ID_NUMBER;
    id.number = UINT64_MAX;
    lathe_json_id(&out, &id);
    id.id_case = LATHE__V1__POINT_ID__ID_STRING;
    id.string = (char *)"a\"b";
    lathe_json_id(&out, &id);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, "nullnull18446744073709551615\"a\\\"b\"");
    lathe_buf_fini(&out);
}

static void text_that_is_not_utf8_is_made_valid(void **state)
{
    struct lathe_buf out = {0};

    (void)state;
    lathe_json_string(&out, "a\xFF"
                            "b\x7F");
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, "\"a\xEF\xBF\xBD"
                                          "b\xEF\xBF\xBD\"");
    lathe_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_come_back_as_they_were),
        cmocka_unit_test(integers_and_doubles_stay_apart),
        cmocka_unit_test(nesting_ends_at_its_limit),
        cmocka_unit_test(a_payload_must_be_an_object),
        cmocka_unit_test(ids_are_numbers_uuids_or_strings),
        cmocka_unit_test(vectors_are_lists_or_base64),
        cmocka_unit_test(wrong_vectors_are_refused_with_a_reason),
        cmocka_unit_test(vectors_end_at_the_limit_of_dims),
        cmocka_unit_test(floats_and_doubles_read_back_the_same),
        cmocka_unit_test(ids_are_written_in_their_kind),
        cmocka_unit_test(text_that_is_not_utf8_is_made_valid),
    };

    return cmocka_run_group_tests_name("cli/json", tests, NULL, NULL);
}
