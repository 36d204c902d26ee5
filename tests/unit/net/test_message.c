/* test_message.c - messages from outside: what is let through, what is refused, and how it is
 * named. */
#include "tests/support/test.h"

#include <stdio.h>

#include "common/base/mem.h"
#include "common/net/message.h"
#include "lathe/v1/points.pb-c.h"
#include "shard.pb-c.h"

#define WRITE lathe__v1__write_points_request__descriptor

/* Numbers of the fields used here. */
enum {
    WRITE_COLLECTION = 1,
    WRITE_NUMBER = 3,
    WRITE_OPERATIONS = 4,
    OPERATION_UPSERT = 1,
    OPERATION_DELETE = 2,
    OPERATION_MODE = 14,
    UPSERT_ID = 1,
    UPSERT_VECTORS = 2,
    UPSERT_PAYLOAD = 3,
    OBJECT_ENTRIES = 1,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
    VALUE_STRING = 5,
    VALUE_LIST = 6,
    LIST_VALUES = 1,
    NAMED_DENSE = 2,
    VECTOR_VALUES = 1
};

/* ---- Wire bytes by hand --------------------------------------------------------------------- */

static void put_varint(struct lathe_buf *buf, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        lathe_buf_u8(buf, (uint8_t)(value | 0x80));
    lathe_buf_u8(buf, (uint8_t)value);
}

static void put_tag(struct lathe_buf *buf, unsigned field, unsigned wire)
{
    put_varint(buf, (uint64_t)field << 3 | wire);
}

static void put_bytes(struct lathe_buf *buf, unsigned field, const void *data, size_t size)
{
    put_tag(buf, field, 2);
    put_varint(buf, size);
    lathe_buf_append(buf, data, size);
}

/* Wraps what the buffer holds into a member of an outer message. */
static void wrap(struct lathe_buf *buf, unsigned field)
{
    struct lathe_buf outer = {0};

    put_bytes(&outer, field, buf->data, buf->size);
    lathe_buf_fini(buf);
    *buf = outer;
}

static enum lathe_status decode_within(const ProtobufCMessageDescriptor *descriptor,
                                       const struct lathe_buf *buf, size_t limit,
                                       struct lathe_error *err)
{
    struct lathe_arena arena;
    ProtobufCMessage *message;
    enum lathe_status status;
    /* A copy of exactly this size, so that a sanitizer sees a read past it. */
    uint8_t *copy = lathe_alloc(buf->size);

    if (buf->size > 0)
        memcpy(copy, buf->data, buf->size);
    lathe_arena_init(&arena, limit);
    status = lathe_message_decode(descriptor, lathe_bytes_of(copy, buf->size), &arena, &message,
                                  err);
    lathe_free(copy);
    assert_true((status == LATHE_OK) == (message != NULL));
    if (limit > 0)
        assert_true(arena.used_bytes <= limit);
    if (message != NULL) { /* every pointer in it is sound */
        struct lathe_buf again = {0};

        lathe_message_encode(message, &again);
        assert_false(again.failed);
        lathe_buf_fini(&again);
    }
    lathe_arena_fini(&arena);
    return status;
}

static enum lathe_status decode(const ProtobufCMessageDescriptor *descriptor,
                                const struct lathe_buf *buf, struct lathe_error *err)
{
    return decode_within(descriptor, buf, 0, err);
}

/* Expects a refusal whose field and message say what is given. Frees the buffer. */
static void expect_refused(struct lathe_buf *buf, const char *field, const char *text)
{
    struct lathe_error err = {0};

    assert_int_equal(decode(&WRITE, buf, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(err.status, LATHE_INVALID_ARGUMENT);
    assert_string_equal(err.field, field);
    if (strstr(err.message, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.message, text);
    lathe_buf_fini(buf);
}

/* A write request with `count` upserts that have an id, a payload with text and list, and a vector.
 */
static struct lathe_buf sample_request(size_t count, size_t dims)
{
    struct lathe_buf request = {0};

    put_bytes(&request, WRITE_COLLECTION, "books", 5);
    put_tag(&request, WRITE_NUMBER, 0);
    put_varint(&request, 77);
    for (size_t i = 0; i < count; i++) {
        struct lathe_buf entry = {0}, list = {0}, vector = {0}, id = {0}, upsert = {0};
        uint8_t *floats;

        put_bytes(&list, VALUE_STRING, "na\xc3\xafve text", 11);
        wrap(&list, LIST_VALUES);
        wrap(&list, VALUE_LIST);
        put_bytes(&entry, ENTRY_KEY, "title", 5);
        put_bytes(&entry, ENTRY_VALUE, list.data, list.size);
        wrap(&entry, OBJECT_ENTRIES);
        put_tag(&vector, VECTOR_VALUES, 2);
        put_varint(&vector, dims * 4);
        floats = lathe_buf_extend(&vector, dims * 4);
        if (dims > 0)
            memset(floats, 1, dims * 4);
        wrap(&vector, NAMED_DENSE);
        put_tag(&id, 1, 0);
        put_varint(&id, i);
        put_bytes(&upsert, UPSERT_ID, id.data, id.size);
        put_bytes(&upsert, UPSERT_VECTORS, vector.data, vector.size);
        put_bytes(&upsert, UPSERT_PAYLOAD, entry.data, entry.size);
        wrap(&upsert, OPERATION_UPSERT);
        put_bytes(&request, WRITE_OPERATIONS, upsert.data, upsert.size);
        lathe_buf_fini(&entry);
        lathe_buf_fini(&list);
        lathe_buf_fini(&vector);
        lathe_buf_fini(&id);
        lathe_buf_fini(&upsert);
    }
    return request;
}

/* ---- What is let through -------------------------------------------------------------------- */

static void a_request_comes_out_as_it_was_written(void **state)
{
    struct lathe_buf request = sample_request(5, 3), again = {0};
    struct lathe_arena arena = {0};
    Lathe__V1__WritePointsRequest *write;
    Lathe__V1__UpsertPoint *upsert;
    ProtobufCMessage *message;

    (void)state;
    assert_int_equal(lathe_message_decode(&WRITE, lathe_buf_view(&request), &arena, &message, NULL),
                     LATHE_OK);
    write = (Lathe__V1__WritePointsRequest *)message;
    assert_string_equal(write->collection, "books");
    assert_int_equal(write->request_number, 77);
    assert_int_equal(write->n_operations, 5);
    upsert = write->operations[4]->upsert;
    assert_int_equal(upsert->id->number, 4);
    assert_string_equal(upsert->payload->entries[0]->key, "title");
    assert_string_equal(upsert->payload->entries[0]->value->list_value->values[0]->string_value,
                        "na\xc3\xafve text");
    assert_int_equal(upsert->vectors[0]->dense->n_values, 3);
    lathe_buf_u8(&again, 'x'); /* encoding appends */
    lathe_message_encode(message, &again);
    assert_int_equal(again.size, request.size + 1);
    assert_memory_equal(again.data + 1, request.data, request.size);
    lathe_arena_fini(&arena);
    lathe_buf_fini(&again);
    lathe_buf_fini(&request);
}

static void an_empty_message_is_a_message(void **state)
{
    struct lathe_arena arena = {0};
    ProtobufCMessage *message;

    (void)state;
    assert_int_equal(lathe_message_decode(&lathe__shard__stats__descriptor, lathe_bytes_of(NULL, 0),
                                          &arena, &message, NULL),
                     LATHE_OK);
    assert_ptr_equal(message->descriptor, &lathe__shard__stats__descriptor);
    lathe_arena_fini(&arena);
}

static void unpacked_numbers_and_unknown_fields_are_accepted(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    put_tag(&buf, VECTOR_VALUES, 5);
    lathe_buf_u32le(&buf, 0x3f800000);
    put_tag(&buf, VECTOR_VALUES, 5);
    lathe_buf_u32le(&buf, 0x40000000);
    put_bytes(&buf, VECTOR_VALUES, "abcdefgh", 8);
    put_tag(&buf, 1000, 0);
    put_varint(&buf, UINT64_MAX);
    put_bytes(&buf, 536870911, "unknown", 7);
    put_tag(&buf, 1001, 1);
    lathe_buf_u64le(&buf, 5);
    assert_int_equal(decode(&lathe__v1__vector__descriptor, &buf, NULL), LATHE_OK);
    lathe_buf_fini(&buf);
}

static enum lathe_status decode_known(struct lathe_buf *buf, struct lathe_error *err)
{
    struct lathe_arena arena = {0};
    ProtobufCMessage *message;
    enum lathe_status rc = lathe_message_decode_known(&lathe__v1__write_points_request__descriptor,
                                                      lathe_buf_view(buf), &arena, &message, err);

    lathe_arena_fini(&arena);
    return rc;
}

/* At any depth; but what is malformed as well is called so. */
static void unknown_fields_of_a_request_are_named(void **state)
{
    struct lathe_error err = {0};
    struct lathe_buf operation = {0}, buf = {0};

    (void)state;
    put_tag(&operation, 1000, 0);
    put_varint(&operation, 7);
    put_bytes(&buf, 4, operation.data, operation.size);
    assert_int_equal(decode_known(&buf, &err), LATHE_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "field 1000 of lathe.v1.WriteOperation"));
    assert_string_equal(err.field, "operations[0]");
    put_tag(&buf, 1, 2);
    assert_int_equal(decode_known(&buf, &err), LATHE_INVALID_ARGUMENT);
    lathe_buf_clear(&buf);
    put_bytes(&buf, 1, "films", 5);
    assert_int_equal(decode_known(&buf, &err), LATHE_OK);
    lathe_buf_fini(&buf);
    lathe_buf_fini(&operation);
}

static void the_last_member_of_a_oneof_wins(void **state)
{
    struct lathe_buf buf = {0};
    struct lathe_arena arena = {0};
    Lathe__V1__WriteOperation *operation;
    ProtobufCMessage *message;

    (void)state;
    put_bytes(&buf, OPERATION_UPSERT, "", 0);
    put_bytes(&buf, OPERATION_DELETE, "", 0);
    put_bytes(&buf, OPERATION_UPSERT, "", 0);
    put_bytes(&buf, OPERATION_DELETE, "", 0);
    assert_int_equal(lathe_message_decode(&lathe__v1__write_operation__descriptor,
                                          lathe_buf_view(&buf), &arena, &message, NULL),
                     LATHE_OK);
    operation = (Lathe__V1__WriteOperation *)message;
    assert_int_equal(operation->operation_case, LATHE__V1__WRITE_OPERATION__OPERATION_DELETE);
    lathe_arena_fini(&arena);
    lathe_buf_fini(&buf);
}

/* ---- What is refused, and its name ---------------------------------------------------------- */

/* A request whose fourth operation has a payload entry with this key. */
static struct lathe_buf request_with_key(const char *key, size_t size)
{
    struct lathe_buf request = sample_request(3, 0), upsert = {0};

    put_bytes(&upsert, ENTRY_KEY, key, size);
    wrap(&upsert, OBJECT_ENTRIES);
    wrap(&upsert, UPSERT_PAYLOAD);
    wrap(&upsert, OPERATION_UPSERT);
    put_bytes(&request, WRITE_OPERATIONS, upsert.data, upsert.size);
    lathe_buf_fini(&upsert);
    return request;
}

static void bad_text_is_named_by_its_path(void **state)
{
    static const char path[] = "operations[3].upsert.payload.entries[0].key";
    struct lathe_buf buf = request_with_key("\xff", 1);

    (void)state;
    expect_refused(&buf, path, "not UTF-8");
    buf = request_with_key("long enough \xed\xa0\x80", 15); /* a surrogate */
    expect_refused(&buf, path,
                   "operations[3].upsert.payload.entries[0].key: text that is not UTF-8");
    buf = request_with_key("abc\0def", 7);
    expect_refused(&buf, path, "NUL");
    buf = request_with_key("caf\xc3", 4);
    expect_refused(&buf, path, "not UTF-8");
}

static void text_deep_in_a_payload_is_named_too(void **state)
{
    struct lathe_buf values = {0}, request = {0};

    (void)state;
    for (int i = 0; i < 3; i++) {
        struct lathe_buf value = {0};

        put_bytes(&value, VALUE_STRING, i == 2 ? "\x80" : "a", 1);
        put_bytes(&values, LIST_VALUES, value.data, value.size);
        lathe_buf_fini(&value);
    }
    wrap(&values, VALUE_LIST);
    wrap(&values, ENTRY_VALUE);
    put_bytes(&request, OBJECT_ENTRIES, "", 0);
    put_bytes(&request, OBJECT_ENTRIES, values.data, values.size);
    wrap(&request, UPSERT_PAYLOAD);
    wrap(&request, OPERATION_UPSERT);
    wrap(&request, WRITE_OPERATIONS);
    lathe_buf_fini(&values);
    expect_refused(
        &request, "operations[0].upsert.payload.entries[1].value.list_value.values[2].string_value",
        "not UTF-8");
}

static void malformed_numbers_are_refused(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    put_tag(&buf, WRITE_NUMBER, 0);
    for (int i = 0; i < 10; i++)
        lathe_buf_u8(&buf, 0x80);
    lathe_buf_u8(&buf, 0);
    expect_refused(&buf, "request_number", "longer than 10 bytes");
    put_tag(&buf, WRITE_NUMBER, 0);
    lathe_buf_u8(&buf, 0x80);
    expect_refused(&buf, "request_number", "cut off");
    put_tag(&buf, 1000, 1);
    lathe_buf_u32le(&buf, 5);
    expect_refused(&buf, "", "cut off");
    put_tag(&buf, 1000, 5);
    lathe_buf_u16le(&buf, 5);
    expect_refused(&buf, "", "cut off");
}

static void malformed_tags_are_refused(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    put_tag(&buf, 0, 0); /* there is no field 0 */
    put_varint(&buf, 1);
    expect_refused(&buf, "", "tag");
    put_varint(&buf, (uint64_t)536870912 << 3); /* one more than the largest field */
    put_varint(&buf, 1);
    expect_refused(&buf, "", "tag");
    lathe_buf_append(&buf, "\x98\x80\x80\x80\x80\x00\x01", 7); /* request_number in six bytes */
    expect_refused(&buf, "", "tag");
    lathe_buf_u8(&buf, 0x98);
    expect_refused(&buf, "", "tag");
}

static void wrong_wire_types_and_groups_are_refused(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    put_tag(&buf, WRITE_COLLECTION, 0);
    put_varint(&buf, 5);
    expect_refused(&buf, "collection", "wrong wire type");
    put_bytes(&buf, WRITE_NUMBER, "\x05", 1);
    expect_refused(&buf, "request_number", "wrong wire type");
    put_tag(&buf, WRITE_OPERATIONS, 5);
    lathe_buf_u32le(&buf, 0);
    expect_refused(&buf, "operations[0]", "wrong wire type");
    for (unsigned wire = 3; wire < 8; wire++) {
        if (wire == 5)
            continue;
        put_tag(&buf, 1000, wire);
        expect_refused(&buf, "", "groups");
    }
}

static void packed_numbers_must_be_whole(void **state)
{
    const ProtobufCMessageDescriptor *list = &lathe__shard__write_reply__descriptor;
    struct lathe_buf buf = {0}, vector = {0};
    struct lathe_error err;

    (void)state;
    put_bytes(&vector, VECTOR_VALUES, "abcdef", 6);
    assert_int_equal(decode(&lathe__v1__vector__descriptor, &vector, &err), LATHE_INVALID_ARGUMENT);
    assert_string_equal(err.field, "values[0]");
    lathe_buf_fini(&vector);
    put_bytes(&buf, 2, "\x01\x80", 2);
    assert_int_equal(decode(list, &buf, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "end inside a number"));
    lathe_buf_clear(&buf);
    put_bytes(&buf, 2, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11);
    assert_int_equal(decode(list, &buf, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "longer than 10 bytes"));
    lathe_buf_clear(&buf);
    put_bytes(&buf, 2, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x05", 11);
    assert_int_equal(decode(list, &buf, &err), LATHE_OK);
    lathe_buf_fini(&buf);
}

static void a_message_that_comes_twice_is_refused(void **state)
{
    struct lathe_buf upsert = {0};

    (void)state;
    put_bytes(&upsert, UPSERT_PAYLOAD, "", 0);
    put_bytes(&upsert, UPSERT_PAYLOAD, "", 0);
    wrap(&upsert, OPERATION_UPSERT);
    wrap(&upsert, WRITE_OPERATIONS);
    expect_refused(&upsert, "operations[0].upsert.payload", "twice");
}

static void every_truncation_is_refused(void **state)
{
    struct lathe_buf request = sample_request(1, 3), cut;
    size_t first = 7, second = 9; /* the two members before the operation end here */

    (void)state;
    for (size_t size = 0; size < request.size; size++) {
        enum lathe_status expected = size == 0 || size == first || size == second
                                         ? LATHE_OK
                                         : LATHE_INVALID_ARGUMENT;

        cut = (struct lathe_buf){.data = request.data, .size = size};
        if (decode(&WRITE, &cut, NULL) != expected)
            fail_msg("cut to %zu bytes: not %s", size, lathe_status_name(expected));
    }
    lathe_buf_fini(&request);
}

static void mutations_are_refused_or_sound(void **state)
{
    struct lathe_buf request = sample_request(4, 4);
    struct lathe_buf mutant = {0};
    struct test_rng *rng = *state;
    size_t accepted = 0, refused = 0;

    for (int round = 0; round < 60000; round++) {
        enum lathe_status status;

        lathe_buf_clear(&mutant);
        lathe_buf_append(&mutant, request.data, request.size);
        for (uint64_t changes = 1 + test_rng_below(rng, 3); changes > 0; changes--)
            mutant.data[test_rng_below(rng, mutant.size)] = (uint8_t)test_rng_u64(rng);
        if (test_rng_below(rng, 4) == 0)
            mutant.size = test_rng_below(rng, mutant.size);
        status = decode(&WRITE, &mutant, NULL);
        accepted += status == LATHE_OK;
        refused += status == LATHE_INVALID_ARGUMENT;
        /* Memory cannot be the reason here: whatever passes the walk, protobuf-c can unpack. */
        assert_int_not_equal(status, LATHE_RESOURCE_EXHAUSTED);
    }
    assert_true(accepted > 1000);
    assert_true(refused > 1000);
    lathe_buf_fini(&mutant);
    lathe_buf_fini(&request);
}

/* ---- Depth and memory ----------------------------------------------------------------------- */

/* Lists in lists: `levels` values, each in the list of the one around it. */
static struct lathe_buf nested_values(size_t levels)
{
    struct lathe_buf reversed = {0}, buf = {0};
    size_t size = 0;

    /* From the inside out: each message before its header, everything backwards. */
    for (size_t i = 0; i < 2 * levels; i++) {
        struct lathe_buf head = {0};

        put_tag(&head, i % 2 == 0 ? LIST_VALUES : VALUE_LIST, 2);
        put_varint(&head, size);
        for (size_t j = head.size; j > 0; j--)
            lathe_buf_u8(&reversed, head.data[j - 1]);
        size += head.size;
        lathe_buf_fini(&head);
    }
    for (size_t i = reversed.size; i > 0; i--)
        lathe_buf_u8(&buf, reversed.data[i - 1]);
    lathe_buf_fini(&reversed);
    return buf;
}

static void nesting_is_limited(void **state)
{
    const ProtobufCMessageDescriptor *value = &lathe__v1__value__descriptor;
    size_t most = (LATHE_MAX_MESSAGE_DEPTH - 1) /
                  2; /* the outermost value, then two messages a level */
    struct lathe_buf buf = nested_values(most);
    struct lathe_error err;

    (void)state;
    assert_int_equal(decode(value, &buf, NULL), LATHE_OK);
    lathe_buf_fini(&buf);
    buf = nested_values(most + 1);
    assert_int_equal(decode(value, &buf, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "nested deeper than"));
    lathe_buf_fini(&buf);
    buf = nested_values(100000);
    assert_int_equal(decode(value, &buf, NULL), LATHE_INVALID_ARGUMENT);
    lathe_buf_fini(&buf);
}

static void a_million_empty_messages_hit_the_limit(void **state)
{
    struct lathe_buf buf = {0};
    struct lathe_error err;

    (void)state;
    for (int i = 0; i < 1000000; i++)
        put_bytes(&buf, WRITE_OPERATIONS, "", 0);
    assert_int_equal(decode_within(&WRITE, &buf, (size_t)16 << 20, &err), LATHE_RESOURCE_EXHAUSTED);
    assert_non_null(strstr(err.message, "16777216 bytes"));
    assert_int_equal(decode(&WRITE, &buf, NULL), LATHE_OK); /* 2 MB on the wire */
    lathe_buf_fini(&buf);
}

static void what_cannot_fit_is_refused_before_memory_is_taken(void **state)
{
    struct lathe_buf buf = {0};
    struct lathe_arena arena;
    ProtobufCMessage *message;

    (void)state;
    for (int i = 0; i < 100000;
         i++) { /* numbers one by one: each costs protobuf-c a note of 32 bytes */
        put_tag(&buf, VECTOR_VALUES, 5);
        lathe_buf_u32le(&buf, 0x3f800000);
    }
    lathe_arena_init(&arena, 2000000);
    assert_int_equal(lathe_message_decode(&lathe__v1__vector__descriptor, lathe_buf_view(&buf),
                                          &arena, &message, NULL),
                     LATHE_RESOURCE_EXHAUSTED);
    assert_int_equal(arena.used_bytes, 0);
    lathe_arena_fini(&arena);
    lathe_buf_fini(&buf);
}

static void any_limit_either_suffices_or_is_named(void **state)
{
    struct lathe_buf request = sample_request(40, 10);
    bool enough = false;

    (void)state;
    for (size_t limit = 1; !enough; limit += 37) {
        struct lathe_error err = {0};
        enum lathe_status status = decode_within(&WRITE, &request, limit, &err);

        enough = status == LATHE_OK;
        if (!enough)
            assert_int_equal(status, LATHE_RESOURCE_EXHAUSTED);
        assert_int_equal(err.status, status);
        assert_true(limit < 100000);
    }
    lathe_buf_fini(&request);
}

static void an_arena_aligns_counts_and_ends(void **state)
{
    struct lathe_arena arena;
    size_t given = 0;

    (void)state;
    lathe_arena_init(&arena, 100000);
    for (size_t i = 0;; i++) {
        size_t size = i * 7 % 300;
        uint8_t *memory = lathe_arena_alloc(&arena, size);

        if (memory == NULL)
            break;
        assert_int_equal((uintptr_t)memory % 16, 0);
        memset(memory, 0xAA, size);
        given += size;
        assert_true(arena.used_bytes <= 100000);
        assert_true(given <= arena.used_bytes);
    }
    assert_true(given > 80000);
    assert_null(lathe_arena_alloc(&arena, SIZE_MAX));
    lathe_arena_fini(&arena);
    assert_int_equal(arena.used_bytes, 0);
    assert_null(arena.chunks);
}

int main(void)
{
    static struct test_rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_comes_out_as_it_was_written),
        cmocka_unit_test(an_empty_message_is_a_message),
        cmocka_unit_test(unpacked_numbers_and_unknown_fields_are_accepted),
        cmocka_unit_test(unknown_fields_of_a_request_are_named),
        cmocka_unit_test(the_last_member_of_a_oneof_wins),
        cmocka_unit_test(bad_text_is_named_by_its_path),
        cmocka_unit_test(text_deep_in_a_payload_is_named_too),
        cmocka_unit_test(malformed_numbers_are_refused),
        cmocka_unit_test(malformed_tags_are_refused),
        cmocka_unit_test(wrong_wire_types_and_groups_are_refused),
        cmocka_unit_test(packed_numbers_must_be_whole),
        cmocka_unit_test(a_message_that_comes_twice_is_refused),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test_prestate(mutations_are_refused_or_sound, &rng),
        cmocka_unit_test(nesting_is_limited),
        cmocka_unit_test(a_million_empty_messages_hit_the_limit),
        cmocka_unit_test(what_cannot_fit_is_refused_before_memory_is_taken),
        cmocka_unit_test(any_limit_either_suffices_or_is_named),
        cmocka_unit_test(an_arena_aligns_counts_and_ends),
    };

    test_rng_seed(&rng, "net/message");
    return cmocka_run_group_tests_name("net/message", tests, NULL, NULL);
}
