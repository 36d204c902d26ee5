/* test_text_table.c - widths, cutting, aligned columns, ids and points as text. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "cli/point_view.h"
#include "cli/progress.h"
#include "cli/text_table.h"
#include "cli/wire_id.h"

#define E_ACUTE  "\xC3\xA9"
#define ELLIPSIS "\xE2\x80\xA6"
#define BROKEN   "\xEF\xBF\xBD"

static size_t width(const char *text)
{
    return lathe_text_width(lathe_bytes_str(text));
}

static void width_is_counted_in_columns(void **state)
{
    (void)state;
    assert_int_equal(width(""), 0);
    assert_int_equal(width("abc"), 3);
    assert_int_equal(width("caf" E_ACUTE), 4);
    assert_int_equal(width("\xE6\x97\xA5\xE6\x9C\xAC"), 4); /* two wide characters */
    assert_int_equal(width("e\xCC\x81"), 1);                /* a combining accent */
    assert_int_equal(width("a\xFF\xFE"), 3);
    assert_int_equal(width("\xE2\x82"), 2); /* cut off */
}

static void check_cut(const char *text, size_t columns, const char *want)
{
    struct lathe_buf out = {0};

    lathe_text_cut(lathe_bytes_str(text), columns, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, want);
    lathe_buf_fini(&out);
}

static void cutting_never_splits_a_character(void **state)
{
    (void)state;
    check_cut("abcdef", 6, "abcdef");
    check_cut("abcdef", 5, "abcd" ELLIPSIS);
    check_cut("abcdef", 1, ELLIPSIS);
    check_cut("abcdef", 0, "");
    check_cut("", 0, "");
    check_cut("caf" E_ACUTE "s", 4, "caf" ELLIPSIS);
    check_cut("\xE6\x97\xA5\xE6\x9C\xAC\xE8\xAA\x9E", 4, "\xE6\x97\xA5" ELLIPSIS);
}

static void text_is_made_safe_for_a_terminal(void **state)
{
    struct lathe_buf out = {0};

    (void)state;
    lathe_text_clean(lathe_bytes_str("a\nb\tc\x1b[31m\xFF\xC2\x9B" E_ACUTE), &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, "a b c" BROKEN "[31m" BROKEN BROKEN E_ACUTE);
    lathe_buf_fini(&out);
}

static void columns_line_up(void **state)
{
    struct lathe_text_table *table = lathe_text_table_create();
    struct lathe_buf out = {0};

    (void)state;
    lathe_text_table_column(table, "#", true);
    lathe_text_table_column(table, "word", false);
    lathe_text_table_column(table, "gloss", false);
    lathe_text_table_cellf(table, "%d", 9);
    lathe_text_table_cell(table, lathe_bytes_str("caf" E_ACUTE));
    lathe_text_table_cell(table, lathe_bytes_str("a place"));
    lathe_text_table_cellf(table, "%d", 10);
    lathe_text_table_cell(table, lathe_bytes_str(""));
    lathe_text_table_cell(table, lathe_bytes_str("line\nbreak"));
    lathe_text_table_print(table, 0, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, " #  word  gloss\n"
                                          " 9  caf" E_ACUTE "  a place\n"
                                          "10        line break\n");
    lathe_buf_fini(&out);
    lathe_text_table_destroy(table);
}

static void the_widest_columns_are_cut_and_numbers_are_not(void **state)
{
    struct lathe_text_table *table = lathe_text_table_create();
    struct lathe_buf out = {0};

    (void)state;
    lathe_text_table_column(table, "number", true);
    lathe_text_table_column(table, "short", false);
    lathe_text_table_column(table, "long", false);
    lathe_text_table_cell(table, lathe_bytes_str("1234567890123"));
    lathe_text_table_cell(table, lathe_bytes_str("abcdef"));
    lathe_text_table_cell(table, lathe_bytes_str("a text that goes on and on and on"));
    lathe_text_table_print(table, 35, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, "       number  short   long\n"
                                          "1234567890123  abcdef  a text that" ELLIPSIS "\n");
    lathe_buf_fini(&out);
    lathe_text_table_destroy(table);
}

static void a_cell_without_a_terminal_ends_at_200_columns(void **state)
{
    struct lathe_text_table *table = lathe_text_table_create();
    struct lathe_buf out = {0};
    char text[1000];

    (void)state;
    memset(text, 'x', sizeof(text));
    lathe_text_table_column(table, "t", false);
    lathe_text_table_cell(table, lathe_bytes_of(text, sizeof(text)));
    lathe_text_table_print(table, 0, &out);
    assert_int_equal(out.size, 2 + 199 + 3 + 1);
    lathe_buf_fini(&out);
    lathe_text_table_destroy(table);
    lathe_text_table_destroy(NULL);
}

static void without_memory_a_table_says_so(void **state)
{
    struct lathe_buf out = {0};

    (void)state;
    lathe_text_table_column(NULL, "t", false);
    lathe_text_table_cell(NULL, lathe_bytes_str("x"));
    lathe_text_table_print(NULL, 0, &out);
    assert_true(out.failed);
    lathe_buf_fini(&out);
}

static void check_id_text(const char *string, const char *want)
{
    Lathe__V1__PointId id = LATHE__V1__POINT_ID__INIT;
    struct lathe_buf out = {0};
    struct lathe_idkey key;
    struct lathe_wire_id wire;

    id.id_case = LATHE__V1__POINT_ID__ID_STRING;
    id.string = (char *)(uintptr_t)string;
    lathe_wire_id_text(&id, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, want);
    /* What is shown can be typed. */
    assert_int_equal(lathe_idkey_parse((char *)out.data, &key, NULL), LATHE_OK);
    lathe_wire_id_set(&wire, &key);
    assert_int_equal(wire.message.id_case, LATHE__V1__POINT_ID__ID_STRING);
    assert_string_equal(wire.message.string, string);
    lathe_buf_fini(&out);
}

static void string_ids_that_look_like_others_are_marked(void **state)
{
    (void)state;
    check_id_text("word", "word");
    check_id_text("7", "str:7");
    check_id_text("str:7", "str:str:7");
    check_id_text("0123abcd456789abcdef0123456789ab", "str:0123abcd456789abcdef0123456789ab");
}

static void points_get_a_column_for_each_payload_key(void **state)
{
    Lathe__V1__Value text = LATHE__V1__VALUE__INIT, number = LATHE__V1__VALUE__INIT;
    Lathe__V1__Entry a = LATHE__V1__ENTRY__INIT, b = LATHE__V1__ENTRY__INIT;
    Lathe__V1__Entry *both[] = {&a, &b}, *second[] = {&b};
    Lathe__V1__Object first = LATHE__V1__OBJECT__INIT, other = LATHE__V1__OBJECT__INIT;
    Lathe__V1__PointId id = LATHE__V1__POINT_ID__INIT;
    Lathe__V1__Vector dense = LATHE__V1__VECTOR__INIT;
    Lathe__V1__NamedVector named = LATHE__V1__NAMED_VECTOR__INIT, *vectors[] = {&named};
    float values[5] = {1, -0.5f, 0.25f, 3, 4};
    struct lathe_point_view points[2] = {{&id, 3, 0.75f, &first, vectors, 1},
                                         {&id, 4, -0.5f, &other, NULL, 0}};
    struct lathe_buf out = {0};

    (void)state;
    text.kind_case = LATHE__V1__VALUE__KIND_STRING_VALUE;
    text.string_value = (char *)"beaver";
    number.kind_case = LATHE__V1__VALUE__KIND_INT_VALUE;
    number.int_value = 7;
    a.key = (char *)"word";
    a.value = &text;
    b.key = (char *)"n";
    b.value = &number;
    first.entries = both;
    first.n_entries = 2;
    other.entries = second;
    other.n_entries = 1;
    id.id_case = LATHE__V1__POINT_ID__ID_NUMBER;
    id.number = 100;
    dense.values = values;
    dense.n_values = 5;
    named.kind_case = LATHE__V1__NAMED_VECTOR__KIND_DENSE;
    named.dense = &dense;
    lathe_point_table(points, 2, (struct lathe_point_columns){true, true, true}, 0, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data, "#      score  id   word    n  vectors\n"
                                          "1   0.750000  100  beaver  7  5: 1 -0.5 0.25 3 ...\n"
                                          "2  -0.500000  100          7  \n");
    lathe_buf_clear(&out);
    lathe_point_json(&points[0], (struct lathe_point_columns){true, true, true}, &out);
    lathe_buf_u8(&out, 0);
    assert_string_equal((char *)out.data,
                        "{\"id\":100,\"score\":0.75,\"version\":3,\"payload\":{\"word\":\"beaver\","
                        "\"n\":7},\"vectors\":{\"\":[1,-0.5,0.25,3,4]}}");
    lathe_buf_fini(&out);
}

static uint64_t fake_us;

static uint64_t fake_now_us(void *context)
{
    (void)context;
    return fake_us;
}

static const struct lathe_clock fake_clock = {fake_now_us, NULL, NULL};

static void numbers_and_times_are_readable(void **state)
{
    char text[32];

    (void)state;
    assert_string_equal(lathe_progress_number(0, text), "0");
    assert_string_equal(lathe_progress_number(999, text), "999");
    assert_string_equal(lathe_progress_number(1000, text), "1,000");
    assert_string_equal(lathe_progress_number(UINT64_MAX, text), "18,446,744,073,709,551,615");
    assert_string_equal(lathe_progress_time(7.4, text), "0:07");
    assert_string_equal(lathe_progress_time(754, text), "12:34");
    assert_string_equal(lathe_progress_time(10921, text), "3:02:01");
    assert_string_equal(lathe_progress_time(-1, text), "0:00");
}

static void progress_is_a_bar_on_a_terminal_and_lines_elsewhere(void **state)
{
    struct lathe_progress progress;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    (void)state;
    fake_us = 1000000;
    lathe_progress_start(&progress, out, 0, &fake_clock, 100, 0.1);
    fake_us += 4999999;
    lathe_progress_show(&progress, 500, 1000, 0.5);
    (void)fflush(out);
    assert_int_equal(size, 0); /* too early */
    fake_us += 1;
    lathe_progress_show(&progress, 600, 1000, 0.6);
    (void)fflush(out);
    assert_string_equal(text, " 60 %  600 of 1,000 rows, 100 rows/s, 0:04 left\n");
    lathe_progress_stop(&progress);
    rewind(out);
    lathe_progress_start(&progress, out, 60, &fake_clock, 0, 0);
    fake_us += 1000000;
    lathe_progress_show(&progress, 250, 0, 0.25);
    lathe_progress_stop(&progress);
    (void)fclose(out);
    assert_string_equal(
        text, "\r 25 % [####...............] 250 rows, 250 rows/s, 0:03 left\x1b[K\r\x1b[K");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_is_counted_in_columns),
        cmocka_unit_test(cutting_never_splits_a_character),
        cmocka_unit_test(text_is_made_safe_for_a_terminal),
        cmocka_unit_test(columns_line_up),
        cmocka_unit_test(the_widest_columns_are_cut_and_numbers_are_not),
        cmocka_unit_test(a_cell_without_a_terminal_ends_at_200_columns),
        cmocka_unit_test(without_memory_a_table_says_so),
        cmocka_unit_test(string_ids_that_look_like_others_are_marked),
        cmocka_unit_test(points_get_a_column_for_each_payload_key),
        cmocka_unit_test(numbers_and_times_are_readable),
        cmocka_unit_test(progress_is_a_bar_on_a_terminal_and_lines_elsewhere),
    };

    return cmocka_run_group_tests_name("cli/text_table", tests, NULL, NULL);
}
