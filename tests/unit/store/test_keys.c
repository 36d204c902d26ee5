/* test_keys.c - stored keys: every byte, every malformed form, and the order of keys. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/keys.h"
#include "tests/support/test.h"

static void assert_hex(const struct lathe_key *key, const char *want)
{
    char text[2 * LATHE_KEY_MAX_BYTES + 1] = "";

    for (int i = 0; i < key->size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", key->bytes[i]);
    assert_string_equal(text, want);
}

static struct lathe_idkey text_id(const char *text)
{
    struct lathe_idkey id;

    assert_int_equal(lathe_idkey_string(lathe_bytes_str(text), &id, NULL), LATHE_OK);
    return id;
}

static const uint8_t client[16] = {0xC0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xCF};

/* ---- Goldens: a change here makes every stored directory unreadable -------------------------- */

static void point_and_order_keys_have_their_golden_bytes(void **state)
{
    struct lathe_idkey number = lathe_idkey_number(0x0102030405060708u);
    struct lathe_idkey uuid = lathe_idkey_uuid(client);
    struct lathe_idkey text = text_id("caf\xc3\xa9");
    struct lathe_key key;

    (void)state;
    key = lathe_key_point(0x0A0B0C0Du, 0x3FFE, lathe_idkey_view(&number));
    assert_hex(&key, "0a0b0c0d"
                     "3ffe"
                     "01"
                     "0102030405060708");
    key = lathe_key_point(1, 0, lathe_idkey_view(&uuid));
    assert_hex(&key, "00000001"
                     "0000"
                     "02"
                     "c00102030405060708090a0b0c0d0ecf");
    key = lathe_key_point(1, 255, lathe_idkey_view(&text));
    assert_hex(&key, "00000001"
                     "00ff"
                     "03"
                     "636166c3a9");
    key = lathe_key_order(7, lathe_idkey_view(&number));
    assert_hex(&key, "00000007"
                     "01"
                     "0102030405060708");
    key = lathe_key_order(7, lathe_idkey_view(&text));
    assert_hex(&key, "00000007"
                     "03"
                     "636166c3a9");
}

static void other_keys_have_their_golden_bytes(void **state)
{
    struct lathe_key key = lathe_key_original(0x01020304u, 0x0506, 0x0708090A0B0C0D0Eu);

    (void)state;
    assert_hex(&key, "01020304"
                     "0506"
                     "0708090a0b0c0d0e");
    key = lathe_key_payload(0xFFFFFFFEu, 0x8000000000000001u);
    assert_hex(&key, "fffffffe"
                     "8000000000000001");
    key = lathe_key_meta_collection(0x01020304u);
    assert_hex(&key, "01"
                     "01020304");
    key = lathe_key_meta_client(client);
    assert_hex(&key, "02"
                     "c00102030405060708090a0b0c0d0ecf");
    key = lathe_key_meta_result(client, 0x1122334455667788u);
    assert_hex(&key, "03"
                     "c00102030405060708090a0b0c0d0ecf"
                     "1122334455667788");
    key = lathe_key_meta_named("rows");
    assert_hex(&key, "04"
                     "726f7773");
    key = lathe_key_log(0x00000000000001FFu);
    assert_hex(&key, "00000000000001ff");
}

static void ranges_have_their_golden_bytes(void **state)
{
    struct lathe_key_range range = lathe_key_range_collection(0x0000FFFFu);

    (void)state;
    assert_hex(&range.lower, "0000ffff");
    assert_hex(&range.upper, "00010000");
    range = lathe_key_range_collection(UINT32_MAX - 1);
    assert_hex(&range.lower, "fffffffe");
    assert_hex(&range.upper, "ffffffff");
    range = lathe_key_range_slots(5, 16, LATHE_SLOTS);
    assert_hex(&range.lower, "000000050010");
    assert_hex(&range.upper, "000000054000");
    range = lathe_key_range_rows(5, 2, 1, 256);
    assert_hex(&range.lower, "0000000500020000000000000001");
    assert_hex(&range.upper, "0000000500020000000000000100");
    range = lathe_key_range_field(5, 0x00FF);
    assert_hex(&range.lower, "0000000500ff");
    assert_hex(&range.upper, "000000050100");
    range = lathe_key_range_field(5, UINT16_MAX);
    assert_hex(&range.lower, "00000005ffff");
    assert_hex(&range.upper, "00000006");
    range = lathe_key_range_meta(LATHE_META_RESULT);
    assert_hex(&range.lower, "03");
    assert_hex(&range.upper, "04");
    range = lathe_key_range_results(client, 1, 2);
    assert_hex(&range.lower, "03c00102030405060708090a0b0c0d0ecf0000000000000001");
    assert_hex(&range.upper, "03c00102030405060708090a0b0c0d0ecf0000000000000002");
    range = lathe_key_range_log(3, UINT64_MAX);
    assert_hex(&range.lower, "0000000000000003");
    assert_hex(&range.upper, "ffffffffffffffff");
}

/* ---- Parsing -------------------------------------------------------------------------------- */

static void parsers_give_back_what_was_built(void **state)
{
    struct lathe_idkey id = text_id("x");
    struct lathe_key point = lathe_key_point(9, 77, lathe_idkey_view(&id));
    struct lathe_key order = lathe_key_order(9, lathe_idkey_view(&id));
    struct lathe_key original = lathe_key_original(9, 65535, UINT64_MAX);
    struct lathe_key payload = lathe_key_payload(9, 12345678901u);
    struct lathe_key log = lathe_key_log(UINT64_MAX - 1);
    struct lathe_point_key point_out;
    struct lathe_order_key order_out;
    struct lathe_original_key original_out;
    struct lathe_payload_key payload_out;
    uint64_t sequence;

    (void)state;
    assert_int_equal(lathe_key_point_parse(lathe_key_view(&point), &point_out, NULL), LATHE_OK);
    assert_int_equal(point_out.collection, 9);
    assert_int_equal(point_out.slot, 77);
    assert_true(lathe_bytes_equal(point_out.idkey, lathe_idkey_view(&id)));
    assert_int_equal(lathe_key_order_parse(lathe_key_view(&order), &order_out, NULL), LATHE_OK);
    assert_int_equal(order_out.collection, 9);
    assert_true(lathe_bytes_equal(order_out.idkey, lathe_idkey_view(&id)));
    assert_int_equal(lathe_key_original_parse(lathe_key_view(&original), &original_out, NULL),
                     LATHE_OK);
    assert_int_equal(original_out.collection, 9);
    assert_int_equal(original_out.field, 65535);
    assert_true(original_out.row == UINT64_MAX);
    assert_int_equal(lathe_key_payload_parse(lathe_key_view(&payload), &payload_out, NULL),
                     LATHE_OK);
    assert_int_equal(payload_out.collection, 9);
    assert_true(payload_out.point == 12345678901u);
    assert_int_equal(lathe_key_log_parse(lathe_key_view(&log), &sequence, NULL), LATHE_OK);
    assert_true(sequence == UINT64_MAX - 1);
}

static void meta_parser_gives_back_every_kind(void **state)
{
    struct lathe_key keys[] = {lathe_key_meta_collection(4), lathe_key_meta_client(client),
                               lathe_key_meta_result(client, 99), lathe_key_meta_named("n")};
    struct lathe_meta_key out;

    (void)state;
    assert_int_equal(lathe_key_meta_parse(lathe_key_view(&keys[0]), &out, NULL), LATHE_OK);
    assert_int_equal(out.kind, LATHE_META_COLLECTION);
    assert_int_equal(out.collection, 4);
    assert_int_equal(lathe_key_meta_parse(lathe_key_view(&keys[1]), &out, NULL), LATHE_OK);
    assert_int_equal(out.kind, LATHE_META_CLIENT);
    assert_memory_equal(out.client_id, client, 16);
    assert_int_equal(lathe_key_meta_parse(lathe_key_view(&keys[2]), &out, NULL), LATHE_OK);
    assert_int_equal(out.kind, LATHE_META_RESULT);
    assert_memory_equal(out.client_id, client, 16);
    assert_true(out.request_number == 99);
    assert_int_equal(lathe_key_meta_parse(lathe_key_view(&keys[3]), &out, NULL), LATHE_OK);
    assert_int_equal(out.kind, LATHE_META_NAMED);
    assert_true(lathe_bytes_equal(out.name, lathe_bytes_str("n")));
}

/* All parsers on one run of bytes: bit i of the result says that parser i took it. */
static unsigned accepted_by(struct lathe_bytes key, struct lathe_error *err)
{
    struct lathe_point_key point;
    struct lathe_order_key order;
    struct lathe_original_key original;
    struct lathe_payload_key payload;
    struct lathe_meta_key meta;
    uint64_t sequence;
    enum lathe_status statuses[] = {
        lathe_key_point_parse(key, &point, err),       lathe_key_order_parse(key, &order, err),
        lathe_key_original_parse(key, &original, err), lathe_key_payload_parse(key, &payload, err),
        lathe_key_meta_parse(key, &meta, err),         lathe_key_log_parse(key, &sequence, err)};
    unsigned bits = 0;

    for (unsigned i = 0; i < 6; i++) {
        assert_true(statuses[i] == LATHE_OK || statuses[i] == LATHE_DATA_LOSS);
        if (statuses[i] == LATHE_OK)
            bits |= 1u << i;
    }
    return bits;
}

/* The bytes are copied to the end of a heap block, so that a sanitizer sees one read too many. */
static unsigned accepted_at_block_end(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    unsigned bits;

    if (size > 0)
        memcpy(copy, bytes, size);
    bits = accepted_by(lathe_bytes_of(copy, size), NULL);
    free(copy);
    return bits;
}

static void a_key_that_is_too_short_or_long_is_refused(void **state)
{
    struct lathe_idkey id = lathe_idkey_number(5);
    struct lathe_key keys[] = {lathe_key_point(1, 2, lathe_idkey_view(&id)),
                               lathe_key_order(1, lathe_idkey_view(&id)),
                               lathe_key_original(1, 2, 3),
                               lathe_key_payload(1, 2),
                               lathe_key_meta_result(client, 3),
                               lathe_key_log(9)};

    (void)state;
    for (unsigned k = 0; k < 6; k++) {
        uint8_t bytes[LATHE_KEY_MAX_BYTES + 1] = {0};

        memcpy(bytes, keys[k].bytes, keys[k].size);
        for (size_t size = 0; size <= keys[k].size + 1u; size++) {
            bool whole = (accepted_at_block_end(bytes, size) & 1u << k) != 0;

            if (whole != (size == keys[k].size))
                fail_msg("parser %u takes %zu bytes of %u", k, size, keys[k].size);
        }
    }
}

static void wrong_fields_are_refused_with_the_bytes_in_the_message(void **state)
{
    /* slot 16384; id kind 4; empty string id; collection UINT32_MAX; meta kinds 0, 5; empty name */
    static const struct {
        const char *bytes;
        size_t size;
        unsigned parser;
    } cases[] = {
        {"\0\0\0\1\x40\0\1\0\0\0\0\0\0\0\5", 15, 0},
        {"\0\0\0\1\0\0\4\0\0\0\0\0\0\0\5", 15, 0},
        {"\0\0\0\1\0\0\3", 7, 0},
        {"\xff\xff\xff\xff\0\0\1\0\0\0\0\0\0\0\5", 15, 0},
        {"\xff\xff\xff\xff\1\0\0\0\0\0\0\0\5", 13, 1},
        {"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\5", 14, 2},
        {"\xff\xff\xff\xff\0\0\0\0\0\0\0\5", 12, 3},
        {"\0\0\0\0\0", 5, 4},
        {"\5\0\0\0\0", 5, 4},
        {"\4", 1, 4},
        {"\1\xff\xff\xff\xff", 5, 4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lathe_bytes key = lathe_bytes_of(cases[i].bytes, cases[i].size);

        assert_int_equal(accepted_by(key, NULL) & 1u << cases[i].parser, 0);
    }
    {
        struct lathe_error err = {0};
        uint64_t sequence;

        assert_int_equal(lathe_key_log_parse(lathe_bytes_str("\x12\xab"), &sequence, &err),
                         LATHE_DATA_LOSS);
        assert_non_null(strstr(err.message, "log"));
        assert_non_null(strstr(err.message, "12ab"));
    }
}

static void random_bytes_never_break_a_parser(void **state)
{
    struct test_rng *rng = *state;

    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[200];
        size_t size = test_rng_below(rng, sizeof(bytes));

        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)test_rng_below(rng, j % 2 == 0 ? 5 : 256);
        (void)accepted_at_block_end(bytes, size);
    }
}

/* ---- Order ---------------------------------------------------------------------------------- */

static struct lathe_idkey random_id(struct test_rng *rng)
{
    uint8_t uuid[16];
    char text[8] = "";

    switch (test_rng_below(rng, 3)) {
    case 0:
        return lathe_idkey_number(test_rng_u64(rng) >> test_rng_below(rng, 64));
    case 1:
        for (int i = 0; i < 16; i++)
            uuid[i] = (uint8_t)test_rng_below(rng, 3);
        return lathe_idkey_uuid(uuid);
    default:
        for (size_t i = 0; i < 1 + test_rng_below(rng, 4); i++)
            text[i] = (char)('a' + test_rng_below(rng, 2));
        text[0] = text[0] != '\0' ? text[0] : 'a';
        return text_id(text);
    }
}

/* The order that is promised, worked out without the bytes of the key. */
static int compare_ids(const struct lathe_idkey *a, const struct lathe_idkey *b)
{
    enum lathe_id_kind kind_a = lathe_idkey_kind(lathe_idkey_view(a));
    enum lathe_id_kind kind_b = lathe_idkey_kind(lathe_idkey_view(b));

    if (kind_a != kind_b)
        return kind_a < kind_b ? -1 : 1;
    if (kind_a == LATHE_ID_NUMBER) {
        uint64_t x = lathe_idkey_as_number(lathe_idkey_view(a));
        uint64_t y = lathe_idkey_as_number(lathe_idkey_view(b));

        return x < y ? -1 : x > y;
    }
    return lathe_bytes_compare(lathe_bytes_of(a->bytes + 1, a->size - 1u),
                               lathe_bytes_of(b->bytes + 1, b->size - 1u));
}

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static void order_of_keys_is_order_of_collections_slots_and_ids(void **state)
{
    struct test_rng *rng = *state;

    for (int i = 0; i < 20000; i++) {
        struct lathe_idkey ids[2] = {random_id(rng), random_id(rng)};
        uint32_t collections[2] = {(uint32_t)(test_rng_below(rng, 2) * 255 + 255),
                                   (uint32_t)(test_rng_below(rng, 2) * 255 + 255)};
        struct lathe_key a = lathe_key_order(collections[0], lathe_idkey_view(&ids[0]));
        struct lathe_key b = lathe_key_order(collections[1], lathe_idkey_view(&ids[1]));
        int want = compare_ids(&ids[0], &ids[1]);

        if (collections[0] != collections[1])
            want = collections[0] < collections[1] ? -1 : 1;
        assert_int_equal(sign(lathe_bytes_compare(lathe_key_view(&a), lathe_key_view(&b))),
                         sign(want));
    }
}

static void order_of_keys_is_order_of_numbers(void **state)
{
    struct test_rng *rng = *state;

    for (int i = 0; i < 20000; i++) {
        uint64_t x = test_rng_u64(rng) >> test_rng_below(rng, 64);
        uint64_t y = test_rng_u64(rng) >> test_rng_below(rng, 64);
        int want = x < y ? -1 : x > y;
        struct lathe_key pairs[3][2] = {
            {lathe_key_original(1, 1, x), lathe_key_original(1, 1, y)},
            {lathe_key_payload(1, x), lathe_key_payload(1, y)},
            {lathe_key_log(x), lathe_key_log(y)},
        };

        for (int p = 0; p < 3; p++)
            assert_int_equal(sign(lathe_bytes_compare(lathe_key_view(&pairs[p][0]),
                                                      lathe_key_view(&pairs[p][1]))),
                             want);
    }
}

static bool in_range(const struct lathe_key_range *range, const struct lathe_key *key)
{
    return lathe_bytes_compare(lathe_key_view(&range->lower), lathe_key_view(key)) <= 0 &&
           lathe_bytes_compare(lathe_key_view(key), lathe_key_view(&range->upper)) < 0;
}

static void a_collection_range_holds_its_keys_and_no_other(void **state)
{
    static const uint32_t collections[] = {0, 1, 254, 255, 256, 65535, 65536, UINT32_MAX - 1};
    struct lathe_idkey low = lathe_idkey_number(0);
    struct lathe_idkey high = text_id("\xf4\x8f\xbf\xbf");

    (void)state;
    for (size_t i = 0; i < 8; i++) {
        struct lathe_key_range range = lathe_key_range_collection(collections[i]);

        for (size_t j = 0; j < 8; j++) {
            uint32_t c = collections[j];
            struct lathe_key keys[] = {lathe_key_point(c, 0, lathe_idkey_view(&low)),
                                       lathe_key_point(c, 16383, lathe_idkey_view(&high)),
                                       lathe_key_order(c, lathe_idkey_view(&low)),
                                       lathe_key_order(c, lathe_idkey_view(&high)),
                                       lathe_key_original(c, 0, 0),
                                       lathe_key_original(c, UINT16_MAX, UINT64_MAX),
                                       lathe_key_payload(c, 0),
                                       lathe_key_payload(c, UINT64_MAX)};

            for (size_t k = 0; k < 8; k++)
                assert_int_equal(in_range(&range, &keys[k]), i == j);
        }
    }
}

int main(void)
{
    static struct test_rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(point_and_order_keys_have_their_golden_bytes),
        cmocka_unit_test(other_keys_have_their_golden_bytes),
        cmocka_unit_test(ranges_have_their_golden_bytes),
        cmocka_unit_test(parsers_give_back_what_was_built),
        cmocka_unit_test(meta_parser_gives_back_every_kind),
        cmocka_unit_test(a_key_that_is_too_short_or_long_is_refused),
        cmocka_unit_test(wrong_fields_are_refused_with_the_bytes_in_the_message),
        cmocka_unit_test_prestate(random_bytes_never_break_a_parser, &rng),
        cmocka_unit_test_prestate(order_of_keys_is_order_of_collections_slots_and_ids, &rng),
        cmocka_unit_test_prestate(order_of_keys_is_order_of_numbers, &rng),
        cmocka_unit_test(a_collection_range_holds_its_keys_and_no_other),
    };

    test_rng_seed(&rng, "store/keys");
    return cmocka_run_group_tests_name("store/keys", tests, NULL, NULL);
}
