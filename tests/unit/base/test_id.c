/* test_id.c - id keys, their order, their texts, UUIDs. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/base/id.h"

static struct lathe_idkey parsed(const char *text)
{
    struct lathe_error err = {0};
    struct lathe_idkey key;

    if (lathe_idkey_parse(text, &key, &err) != LATHE_OK)
        fail_msg("\"%s\": %s", text, err.message);
    return key;
}

static void check_parse(const char *text, enum lathe_id_kind kind, const char *canonical)
{
    struct lathe_idkey key = parsed(text);
    char out[LATHE_ID_TEXT_BYTES];

    assert_int_equal(lathe_idkey_kind(lathe_idkey_view(&key)), kind);
    lathe_idkey_format(lathe_idkey_view(&key), out);
    assert_string_equal(out, canonical);
}

static void keys_have_their_golden_bytes(void **state)
{
    struct lathe_idkey key = lathe_idkey_number(0x0102030405060708u);

    (void)state;
    assert_int_equal(key.size, 9);
    assert_memory_equal(key.bytes, "\1\1\2\3\4\5\6\7\x8", 9);
    key = parsed("00112233-4455-6677-8899-aabbccddeeff");
    assert_int_equal(key.size, 17);
    assert_memory_equal(key.bytes,
                        "\2\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 17);
    key = parsed("word");
    assert_int_equal(key.size, 5);
    assert_memory_equal(key.bytes, "\3word", 5);
}

static void key_order_is_numbers_then_uuids_then_strings(void **state)
{
    static const char *const ordered[] = {"0",
                                          "9",
                                          "10",
                                          "255",
                                          "256",
                                          "18446744073709551615",
                                          "00000000-0000-0000-0000-000000000000",
                                          "00000000-0000-0000-0000-000000000001",
                                          "ffffffff-ffff-ffff-ffff-ffffffffffff",
                                          "str:0",
                                          "a",
                                          "aa",
                                          "b",
                                          "\xC3\xA4"};

    (void)state;
    for (size_t i = 0; i + 1 < sizeof(ordered) / sizeof(ordered[0]); i++) {
        struct lathe_idkey a = parsed(ordered[i]), b = parsed(ordered[i + 1]);

        if (lathe_bytes_compare(lathe_idkey_view(&a), lathe_idkey_view(&b)) >= 0)
            fail_msg("%s does not come before %s", ordered[i], ordered[i + 1]);
    }
}

static void text_becomes_the_kind_that_it_looks_like(void **state)
{
    static const char uuid[] = "0123abcd-4567-89ab-cdef-0123456789ab";

    (void)state;
    check_parse("7", LATHE_ID_NUMBER, "7");
    check_parse("007", LATHE_ID_NUMBER, "7");
    check_parse("18446744073709551615", LATHE_ID_NUMBER, "18446744073709551615");
    check_parse("18446744073709551616", LATHE_ID_STRING, "18446744073709551616");
    check_parse("-7", LATHE_ID_STRING, "-7");
    check_parse("7.0", LATHE_ID_STRING, "7.0");
    check_parse("str:7", LATHE_ID_STRING, "7");
    check_parse("str:str:7", LATHE_ID_STRING, "str:7");
    check_parse(uuid, LATHE_ID_UUID, uuid);
    check_parse("0123ABCD-4567-89AB-CDEF-0123456789AB", LATHE_ID_UUID, uuid);
    check_parse("0123abcd456789abcdef0123456789ab", LATHE_ID_UUID, uuid);
    check_parse("{0123abcd-4567-89ab-cdef-0123456789ab}", LATHE_ID_UUID, uuid);
    check_parse("urn:uuid:0123abcd-4567-89ab-cdef-0123456789ab", LATHE_ID_UUID, uuid);
    check_parse("0123abcd-4567-89ab-cdef-0123456789a", LATHE_ID_STRING,
                "0123abcd-4567-89ab-cdef-0123456789a");
    check_parse("0123abcd-4567-89ab-cdef+0123456789ab", LATHE_ID_STRING,
                "0123abcd-4567-89ab-cdef+0123456789ab");
    check_parse("g123abcd-4567-89ab-cdef-0123456789ab", LATHE_ID_STRING,
                "g123abcd-4567-89ab-cdef-0123456789ab");
}

static void string_ids_end_at_their_limit(void **state)
{
    char text[LATHE_MAX_ID_BYTES + 2];
    struct lathe_error err = {0};
    struct lathe_idkey key;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[LATHE_MAX_ID_BYTES] = '\0';
    assert_int_equal(lathe_idkey_parse(text, &key, NULL), LATHE_OK);
    assert_int_equal(key.size, LATHE_IDKEY_MAX_BYTES);
    text[LATHE_MAX_ID_BYTES] = 'x';
    text[LATHE_MAX_ID_BYTES + 1] = '\0';
    assert_int_equal(lathe_idkey_parse(text, &key, &err), LATHE_INVALID_ARGUMENT);
    assert_string_equal(err.field, "id");
    assert_non_null(strstr(err.message, "129"));
    assert_non_null(strstr(err.message, "128"));
    assert_int_equal(lathe_idkey_parse("", &key, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(lathe_idkey_parse("str:", &key, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(lathe_idkey_parse("\xFFx", &key, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "UTF-8"));
}

static void decode_refuses_what_is_no_key(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {{"", 0},          {"\0", 1},           {"\1", 1},
               {"\1xxxxxxx", 8}, {"\1xxxxxxxxx", 10}, {"\2xxxxxxxxxxxxxxx", 16},
               {"\3", 1},        {"\3\xFF", 2},       {"\4xxxxxxxx", 9}};
    struct lathe_idkey key = parsed("word"), back;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (lathe_idkey_decode(lathe_bytes_of(bad[i].bytes, bad[i].size), &back, NULL) !=
            LATHE_INVALID_ARGUMENT)
            fail_msg("case %zu was accepted", i);
    assert_int_equal(lathe_idkey_decode(lathe_idkey_view(&key), &back, NULL), LATHE_OK);
    assert_memory_equal(&key, &back, 1 + key.size);
}

static void new_uuids_carry_their_time_and_version(void **state)
{
    uint8_t a[16], b[16];

    (void)state;
    lathe_uuid_new(0x0123456789ABu, a);
    lathe_uuid_new(0x0123456789ABu, b);
    assert_true(lathe_uuid_time_ms(a) == 0x0123456789ABu);
    assert_int_equal(a[6] >> 4, 7);
    assert_int_equal(a[8] >> 6, 2);
    assert_memory_not_equal(a, b, 16);
}

static void derived_uuids_depend_on_all_that_they_come_from(void **state)
{
    uint8_t client[16] = {1}, other[16] = {2}, a[16], b[16];
    char text[37];

    (void)state;
    lathe_uuid_derive(client, 5, 6, a);
    lathe_uuid_format(a, text);
    assert_string_equal(text, "fbe26803-6928-87ef-9887-6d0d850d843f"); /* golden */
    lathe_uuid_derive(client, 5, 6, b);
    assert_memory_equal(a, b, 16);
    assert_int_equal(a[6] >> 4, 8);
    assert_int_equal(a[8] >> 6, 2);
    lathe_uuid_derive(client, 5, 7, b);
    assert_memory_not_equal(a, b, 16);
    lathe_uuid_derive(client, 6, 6, b);
    assert_memory_not_equal(a, b, 16);
    lathe_uuid_derive(other, 5, 6, b);
    assert_memory_not_equal(a, b, 16);
}

static int init(void **state)
{
    (void)state;
    return lathe_hash_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_have_their_golden_bytes),
        cmocka_unit_test(key_order_is_numbers_then_uuids_then_strings),
        cmocka_unit_test(text_becomes_the_kind_that_it_looks_like),
        cmocka_unit_test(string_ids_end_at_their_limit),
        cmocka_unit_test(decode_refuses_what_is_no_key),
        cmocka_unit_test(new_uuids_carry_their_time_and_version),
        cmocka_unit_test(derived_uuids_depend_on_all_that_they_come_from),
    };

    return cmocka_run_group_tests_name("base/id", tests, init, NULL);
}
