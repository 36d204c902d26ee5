/* test_bytes.c - views, the buffer, the reader, UTF-8. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/bytes.h"

#define VIEW(literal) lathe_bytes_of(literal, sizeof(literal) - 1)

static void compare_orders_bytewise_and_puts_a_prefix_first(void **state)
{
    (void)state;
    assert_int_equal(lathe_bytes_compare(VIEW(""), VIEW("")), 0);
    assert_true(lathe_bytes_compare(VIEW("a"), VIEW("ab")) < 0);
    assert_true(lathe_bytes_compare(VIEW("ab"), VIEW("a")) > 0);
    assert_true(lathe_bytes_compare(VIEW("a\xFF"), VIEW("b")) < 0);
    assert_true(lathe_bytes_compare(VIEW("\x7F"), VIEW("\x80")) < 0); /* unsigned */
    assert_int_equal(lathe_bytes_compare(VIEW("same"), VIEW("same")), 0);
}

static void equal_needs_the_same_size_and_bytes(void **state)
{
    (void)state;
    assert_true(lathe_bytes_equal(lathe_bytes_of(NULL, 0), VIEW("")));
    assert_true(lathe_bytes_equal(VIEW("a\0b"), VIEW("a\0b")));
    assert_false(lathe_bytes_equal(VIEW("a\0b"), VIEW("a\0c")));
    assert_false(lathe_bytes_equal(VIEW("ab"), VIEW("abc")));
}

static void utf8_accepts_every_code_point_and_no_surrogate(void **state)
{
    (void)state;
    for (uint32_t code = 0; code <= 0x10FFFF; code++) {
        uint8_t text[4];
        size_t size;

        if (code < 0x80) {
            text[0] = (uint8_t)(code);
            size = 1;
        } else if (code < 0x800) {
            text[0] = (uint8_t)(0xC0 | code >> 6);
            text[1] = (uint8_t)(0x80 | (code & 0x3F));
            size = 2;
        } else if (code < 0x10000) {
            text[0] = (uint8_t)(0xE0 | code >> 12);
            text[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
            text[2] = (uint8_t)(0x80 | (code & 0x3F));
            size = 3;
        } else {
            text[0] = (uint8_t)(0xF0 | code >> 18);
            text[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
            text[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
            text[3] = (uint8_t)(0x80 | (code & 0x3F));
            size = 4;
        }
        if (lathe_utf8_valid(lathe_bytes_of(text, size)) != (code < 0xD800 || code > 0xDFFF))
            fail_msg("U+%04X", code);
        for (size_t cut = 1; cut < size; cut++)
            if (lathe_utf8_valid(lathe_bytes_of(text, cut)))
                fail_msg("U+%04X cut to %zu bytes", code, cut);
    }
}

static void utf8_refuses_overlong_forms_and_stray_bytes(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xBF",
        "a\x80",
        "\xC0\x80",
        "\xC1\xBF",
        "\xE0\x80\x80",
        "\xE0\x9F\xBF",
        "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "\xFE",
        "\xFF",
        "\xC2",
        "\xC2\x20",
        "\xE2\x82",
        "\xE2\x82\x20",
        "\xF0\x9F\x98",
        "\xED\xA0\x80",
        "\xED\xBF\xBF",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (lathe_utf8_valid(lathe_bytes_str(bad[i])))
            fail_msg("case %zu was accepted", i);
    assert_true(lathe_utf8_valid(VIEW("")));
    assert_true(lathe_utf8_valid(VIEW("a\0b")));
    assert_true(lathe_utf8_valid(VIEW("gr\xC3\xBC\xC3\x9F \xE2\x82\xAC \xF0\x9F\x98\x80")));
}

static void buffer_writes_what_the_reader_reads(void **state)
{
    struct lathe_buf buf = {0};
    struct lathe_reader reader;
    struct lathe_bytes tail;

    (void)state;
    lathe_buf_u8(&buf, 0x12);
    lathe_buf_u16le(&buf, 0x3456);
    lathe_buf_u32le(&buf, 0x789ABCDE);
    lathe_buf_u64le(&buf, 0x0123456789ABCDEFu);
    lathe_buf_u32be(&buf, 0x789ABCDE);
    lathe_buf_u64be(&buf, 0x0123456789ABCDEFu);
    lathe_buf_append(&buf, "tail", 4);
    lathe_buf_append(&buf, NULL, 0);
    assert_false(buf.failed);
    assert_memory_equal(buf.data,
                        "\x12\x56\x34\xDE\xBC\x9A\x78\xEF\xCD\xAB\x89\x67\x45\x23\x01"
                        "\x78\x9A\xBC\xDE\x01\x23\x45\x67\x89\xAB\xCD\xEFtail",
                        31);
    reader = lathe_reader_of(lathe_buf_view(&buf));
    assert_int_equal(lathe_read_u8(&reader), 0x12);
    assert_int_equal(lathe_read_u16le(&reader), 0x3456);
    assert_int_equal(lathe_read_u32le(&reader), 0x789ABCDE);
    assert_int_equal(lathe_read_u64le(&reader), 0x0123456789ABCDEFu);
    assert_int_equal(lathe_read_u32be(&reader), 0x789ABCDE);
    assert_int_equal(lathe_read_u64be(&reader), 0x0123456789ABCDEFu);
    assert_int_equal(lathe_reader_left(&reader), 4);
    tail = lathe_read_bytes(&reader, 4);
    assert_memory_equal(tail.data, "tail", 4);
    assert_false(reader.failed);
    lathe_buf_fini(&buf);
    assert_null(buf.data);
}

static void reader_past_the_end_fails_for_good_and_gives_zeros(void **state)
{
    struct lathe_reader reader = lathe_reader_of(VIEW("\xFF\xFF\xFF"));

    (void)state;
    assert_int_equal(lathe_read_u32le(&reader), 0);
    assert_true(reader.failed);
    assert_int_equal(lathe_read_u8(&reader), 0); /* although a byte would be there */
    assert_null(lathe_read_bytes(&reader, 1).data);
    reader = lathe_reader_of(lathe_bytes_of(NULL, 0));
    assert_int_equal(lathe_read_bytes(&reader, 0).size, 0);
    assert_false(reader.failed);
    assert_int_equal(lathe_read_u64be(&reader), 0);
    assert_true(reader.failed);
    reader = lathe_reader_of(VIEW("abc"));
    assert_null(lathe_read_bytes(&reader, SIZE_MAX).data);
    assert_true(reader.failed);
}

static void buffer_grows_and_clear_keeps_its_memory(void **state)
{
    struct lathe_buf buf = {0};
    uint8_t *memory;

    (void)state;
    for (unsigned i = 0; i < 100000; i++)
        lathe_buf_u8(&buf, (uint8_t)i);
    for (unsigned i = 0; i < 100000; i++)
        assert_int_equal(buf.data[i], i & 0xFF);
    memory = buf.data;
    lathe_buf_clear(&buf);
    assert_int_equal(buf.size, 0);
    lathe_buf_u8(&buf, 7);
    assert_ptr_equal(buf.data, memory);
    lathe_buf_fini(&buf);
}

static void buffer_that_cannot_grow_fails_and_ignores_what_follows(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    lathe_buf_u8(&buf, 1);
    assert_null(lathe_buf_extend(&buf, SIZE_MAX));
    assert_true(buf.failed);
    lathe_buf_u8(&buf, 2);
    lathe_buf_printf(&buf, "%d", 3);
    assert_int_equal(buf.size, 1);
    lathe_buf_clear(&buf);
    assert_false(buf.failed);
    lathe_buf_fini(&buf);
}

static void buffer_takes_text_and_formats_of_any_length(void **state)
{
    struct lathe_buf buf = {0};

    (void)state;
    lathe_buf_text(&buf, "a=");
    lathe_buf_printf(&buf, "%d %s|", 42, "x");
    lathe_buf_printf(&buf, "%*s", 1000, "end");
    assert_int_equal(buf.size, 2 + 5 + 1000);
    assert_memory_equal(buf.data, "a=42 x|   ", 10);
    assert_memory_equal(buf.data + buf.size - 3, "end", 3);
    lathe_buf_fini(&buf);
}

static void fixed_order_puts_and_gets_agree(void **state)
{
    uint8_t p[8];

    (void)state;
    lathe_put_u32le(p, 0x01020304);
    assert_memory_equal(p, "\4\3\2\1", 4);
    assert_int_equal(lathe_get_u32le(p), 0x01020304);
    lathe_put_u32be(p, 0xFFFEFDFC);
    assert_memory_equal(p, "\xFF\xFE\xFD\xFC", 4);
    assert_int_equal(lathe_get_u32be(p), 0xFFFEFDFC);
    lathe_put_u64le(p, 0x0102030405060708u);
    assert_memory_equal(p, "\x8\7\6\5\4\3\2\1", 8);
    assert_int_equal(lathe_get_u64le(p), 0x0102030405060708u);
    lathe_put_u64be(p, 0xFFEEDDCCBBAA9988u);
    assert_memory_equal(p, "\xFF\xEE\xDD\xCC\xBB\xAA\x99\x88", 8);
    assert_true(lathe_get_u64be(p) == 0xFFEEDDCCBBAA9988u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compare_orders_bytewise_and_puts_a_prefix_first),
        cmocka_unit_test(equal_needs_the_same_size_and_bytes),
        cmocka_unit_test(utf8_accepts_every_code_point_and_no_surrogate),
        cmocka_unit_test(utf8_refuses_overlong_forms_and_stray_bytes),
        cmocka_unit_test(buffer_writes_what_the_reader_reads),
        cmocka_unit_test(reader_past_the_end_fails_for_good_and_gives_zeros),
        cmocka_unit_test(buffer_grows_and_clear_keeps_its_memory),
        cmocka_unit_test(buffer_that_cannot_grow_fails_and_ignores_what_follows),
        cmocka_unit_test(buffer_takes_text_and_formats_of_any_length),
        cmocka_unit_test(fixed_order_puts_and_gets_agree),
    };

    return cmocka_run_group_tests_name("base/bytes", tests, NULL, NULL);
}
