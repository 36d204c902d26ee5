/* test_rows.c - the readers: good, bad, cut off and oversize files of each format. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/readers/rows.h"

static char *dir;
static char path[4300];

static int setup(void **state)
{
    (void)state;
    dir = test_dir_create();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_dir_remove(dir);
    return 0;
}

static const char *put(const char *name, const void *data, size_t size)
{
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    (void)fclose(file);
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

static struct lathe_rows *opened(const char *file, enum lathe_rows_purpose purpose)
{
    struct lathe_rows *rows = NULL;
    struct lathe_error err = {0};

    if (lathe_rows_open(file, purpose, &rows, &err) != LATHE_OK)
        fail_msg("%s", err.message);
    return rows;
}

/* The end of an error's message; what stands before it is the path. */
static void check_ending(const struct lathe_error *err, const char *ending)
{
    size_t size = strlen(err->message), end = strlen(ending);

    if (strncmp(err->message, path, strlen(path)) != 0 || size < end ||
        strcmp(err->message + size - end, ending) != 0)
        fail_msg("\"%s\" does not end with \"%s\"", err->message, ending);
}

static void refuse_file(const char *file, enum lathe_rows_purpose purpose, enum lathe_status status,
                        const char *ending)
{
    struct lathe_rows *rows = NULL;
    struct lathe_error err = {0};

    assert_int_equal(lathe_rows_open(file, purpose, &rows, &err), status);
    assert_null(rows);
    check_ending(&err, ending);
}

static void refuse_row(struct lathe_rows *rows, const char *ending)
{
    struct lathe_rows_position before = lathe_rows_position(rows);
    struct lathe_error err = {0};
    struct lathe_row row;

    assert_int_equal(lathe_rows_next(rows, &row, &err), LATHE_INVALID_ARGUMENT);
    check_ending(&err, ending);
    assert_true(lathe_rows_position(rows).offset == before.offset);
}

static void expect_floats(const struct lathe_row_vector *vector, const char *field,
                          const float *values, size_t count)
{
    assert_string_equal(vector->field, field);
    assert_int_equal(vector->data.size, count * sizeof(float));
    assert_memory_equal(vector->data.data, values, count * sizeof(float));
}

static void expect_end(struct lathe_rows *rows)
{
    struct lathe_error err = {0};
    struct lathe_row row;

    assert_int_equal(lathe_rows_next(rows, &row, &err), LATHE_OUT_OF_RANGE);
    assert_int_equal(err.status, LATHE_OK);
    assert_int_equal(lathe_rows_next(rows, &row, &err), LATHE_OUT_OF_RANGE);
}

/* `count` rows of `dims` as .fvecs; element j of row i is i + j / 16. */
static void fvecs_bytes(struct lathe_buf *out, uint32_t count, uint32_t dims)
{
    for (uint32_t i = 0; i < count; i++) {
        lathe_buf_u32le(out, dims);
        for (uint32_t j = 0; j < dims; j++) {
            float value = (float)i + (float)j / 16;

            lathe_buf_append(out, &value, sizeof(value));
        }
    }
}

static void fvecs_rows_are_read_and_found_again(void **state)
{
    struct lathe_buf bytes = {0};
    struct lathe_rows *rows;
    struct lathe_rows_position third;
    struct lathe_row row;
    static const float want[3] = {2, 2.0625f, 2.125f};

    (void)state;
    fvecs_bytes(&bytes, 5, 3);
    rows = opened(put("a.fvecs", bytes.data, bytes.size), LATHE_ROWS_POINTS);
    assert_int_equal(lathe_rows_total(rows), 5);
    assert_false(lathe_rows_named(rows));
    for (int i = 0; i < 2; i++)
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    third = lathe_rows_position(rows);
    assert_int_equal(third.row, 2);
    assert_int_equal(third.offset, 32);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        assert_int_equal(row.id.size, 0);
        assert_null(row.payload);
        assert_int_equal(row.vector_count, 1);
        expect_floats(&row.vectors[0], "", want, 3);
        assert_int_equal(lathe_rows_seek(rows, third, NULL), LATHE_OK);
    }
    for (int i = 0; i < 3; i++)
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    expect_end(rows);
    third.row = 6;
    assert_int_equal(lathe_rows_seek(rows, third, NULL), LATHE_INVALID_ARGUMENT);
    third = (struct lathe_rows_position){.offset = bytes.size + 1};
    assert_int_equal(lathe_rows_seek(rows, third, NULL), LATHE_INVALID_ARGUMENT);
    lathe_rows_close(&rows);
    assert_null(rows);
    lathe_buf_fini(&bytes);
}

static void bad_fvecs_are_named_by_row(void **state)
{
    struct lathe_buf bytes = {0};
    struct lathe_rows *rows;
    struct lathe_row row;

    (void)state;
    fvecs_bytes(&bytes, 2, 3);
    rows = opened(put("cut.fvecs", bytes.data, bytes.size - 1), LATHE_ROWS_POINTS);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    refuse_row(rows, "cut.fvecs: row 1: the file ends inside it, after 15 of 16 bytes");
    refuse_row(rows, "row 1: the file ends inside it, after 15 of 16 bytes");
    lathe_rows_close(&rows);
    rows = opened(put("cut.fvecs", bytes.data, 18), LATHE_ROWS_POINTS);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    refuse_row(rows, "row 1: the file ends inside it, after 2 of 16 bytes");
    lathe_rows_close(&rows);
    lathe_put_u32le(bytes.data + 16, 4);
    rows = opened(put("dims.fvecs", bytes.data, bytes.size), LATHE_ROWS_POINTS);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    refuse_row(rows, "row 1: it has 4 dims, and row 0 has 3");
    lathe_rows_close(&rows);
    refuse_file(put("a.fvecs", "\x01\x02", 2), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": 2 bytes are too few for .fvecs");
    refuse_file(put("a.fvecs", "\0\0\0\0", 4), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": row 0 has 0 dims, so this is not .fvecs; it takes 1 to 16384");
    refuse_file(put("a.fvecs", "\xFF\xFF\xFF\xFFxxxx", 8), LATHE_ROWS_POINTS,
                LATHE_INVALID_ARGUMENT,
                ": row 0 has -1 dims, so this is not .fvecs; it takes 1 to 16384");
    refuse_file(put("a.fvecs", "\xFF\xFF\xFF\x7Fxxxx", 8), LATHE_ROWS_POINTS,
                LATHE_INVALID_ARGUMENT,
                ": row 0 has 2147483647 dims, so this is not .fvecs; it takes 1 to 16384");
    rows = opened(put("a.fvecs", "\x08\0\0\0", 4), LATHE_ROWS_POINTS);
    refuse_row(rows, "a.fvecs: row 0: the file ends inside it, after 4 of 36 bytes");
    lathe_rows_close(&rows);
    lathe_buf_fini(&bytes);
}

/* An .npy file of version 1 with this header and `floats` elements 0, 1, 2... */
static const char *put_npy(const char *header, size_t floats)
{
    struct lathe_buf out = {0};
    const char *file;

    lathe_buf_append(&out, "\x93NUMPY\1\0", 8);
    lathe_buf_u16le(&out, (uint16_t)strlen(header));
    lathe_buf_text(&out, header);
    for (size_t i = 0; i < floats; i++) {
        float value = (float)i;

        lathe_buf_append(&out, &value, sizeof(value));
    }
    file = put("a.npy", out.data, out.size);
    lathe_buf_fini(&out);
    return file;
}

static void npy_rows_are_read(void **state)
{
    struct lathe_rows *rows = opened(
        put_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }  \n", 6),
        LATHE_ROWS_POINTS);
    struct lathe_row row;
    struct lathe_rows_position at;

    (void)state;
    assert_int_equal(lathe_rows_total(rows), 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        expect_floats(&row.vectors[0], "", (const float[]){2.0f * (float)i, 2.0f * (float)i + 1},
                      2);
        if (i == 1)
            at = lathe_rows_position(rows);
    }
    expect_end(rows);
    assert_int_equal(lathe_rows_seek(rows, at, NULL), LATHE_OK);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    expect_floats(&row.vectors[0], "", (const float[]){4, 5}, 2);
    lathe_rows_close(&rows);
    /* One vector, as a question is saved. */
    rows = opened(put_npy("{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }", 4),
                  LATHE_ROWS_QUESTIONS);
    assert_int_equal(lathe_rows_total(rows), 1);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    expect_floats(&row.vectors[0], "", (const float[]){0, 1, 2, 3}, 4);
    expect_end(rows);
    lathe_rows_close(&rows);
}

static void npy_versions_2_and_3_and_no_rows_are_read(void **state)
{
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 768), }";
    struct lathe_buf out = {0};
    struct lathe_rows *rows;

    (void)state;
    for (uint8_t version = 2; version <= 3; version++) {
        lathe_buf_clear(&out);
        lathe_buf_append(&out, "\x93NUMPY", 6);
        lathe_buf_u8(&out, version);
        lathe_buf_u8(&out, 0);
        lathe_buf_u32le(&out, sizeof(header) - 1);
        lathe_buf_text(&out, header);
        rows = opened(put("data", out.data, out.size), LATHE_ROWS_POINTS); /* known by its magic */
        assert_int_equal(lathe_rows_total(rows), 0);
        expect_end(rows);
        lathe_rows_close(&rows);
    }
    lathe_buf_fini(&out);
}

static void npy_headers_may_be_written_otherwise(void **state)
{
    static const char *const headers[] = {
        "{'descr':'<f4','fortran_order':False,'shape':(3,2)}",
        "{\"shape\" : ( 3 , 2 , ) , \"fortran_order\" : False , \"descr\" : \"<f4\" , }   \n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        struct lathe_rows *rows = opened(put_npy(headers[i], 6), LATHE_ROWS_POINTS);

        assert_int_equal(lathe_rows_total(rows), 3);
        lathe_rows_close(&rows);
    }
}

static void bad_npy_files_are_refused(void **state)
{
    static const struct {
        const char *header, *ending;
    } bad[] = {
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }",
         ": its elements are '<f8'; only little-endian float32 ('<f4') can be read"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }",
         ": its elements are '>f4'; only little-endian float32 ('<f4') can be read"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1, 2), }",
         ": its elements are '|O'; only little-endian float32 ('<f4') can be read"},
        {"{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,), }",
         ": its elements are [('a', '<f4'), ('b', '<f4')]; only little-endian float32 ('<f4') can "
         "be read"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }",
         ": the array must be in C order; fortran_order is True"},
        {"{'descr': '<f4', 'fortran_order': Falsey, 'shape': (1, 2), }",
         ": the array must be in C order; fortran_order is Falsey"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }",
         ": its shape is (); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 2), }",
         ": its shape is (1, 1, 2); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }",
         ": its shape is (-1, 2); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2), }",
         ": its shape is (1, -2); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1 2), }",
         ": its shape is (1 2); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1L, 2L), }",
         ": its shape is (1L, 2L); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 2), }",
         ": its shape is (99999999999999999999, 2); it takes two sizes, rows and dims"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 0), }",
         ": rows have 0 dims; it takes 1 to 16384"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 16385), }",
         ": rows have 16385 dims; it takes 1 to 16384"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }",
         ": the file ends before row 1 does: its header promises 2 rows of 2 dims, and 8 bytes "
         "follow "
         "it"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }",
         ": the file ends before row 1 does: its header promises 9223372036854775807 rows of 2 "
         "dims, "
         "and 8 bytes follow it"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1), }",
         ": 4 bytes follow the 1 rows of 1 dims that its header promises"},
    };
    static const char *const no_header[] = {
        "",
        "{}",
        "{'fortran_order': False, 'shape': (1, 2), }",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2)} x",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'shape': (1, 2)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), 'more': 1}",
        "{'descr': '<f4' 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr': '<f4, 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr' '<f4', 'fortran_order': False, 'shape': (1, 2)}",
        "{'descr': , 'fortran_order': False, 'shape': (1, 2)}",
        "['<f4', False, (1, 2)]",
        "\xFF\xFE\x01",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse_file(put_npy(bad[i].header, 2), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                    bad[i].ending);
    for (size_t i = 0; i < sizeof(no_header) / sizeof(no_header[0]); i++)
        refuse_file(put_npy(no_header[i], 2), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                    ": the .npy header is not a dictionary of descr, fortran_order and shape");
    refuse_file(put("a.npy", "\x93NUM", 4), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": this is not an .npy file");
    refuse_file(put("a.npy", "\x93NUMPY", 6), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": the file ends inside its header");
    refuse_file(put("a.npy", "\x93NUMPY\1\0", 8), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": the file ends inside its header");
    refuse_file(put("a.npy", "\x93NUMPY\4\0\0\0\0\0", 12), LATHE_ROWS_POINTS,
                LATHE_INVALID_ARGUMENT, ": it is of version 4 of .npy; 1 to 3 are known");
    refuse_file(put("a.npy", "NUMPYNUMPY", 10), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                ": this is not an .npy file");
    refuse_file(put("a.npy", "\x93NUMPY\2\0\xFF\xFF\xFF\xFFxx", 14), LATHE_ROWS_POINTS,
                LATHE_INVALID_ARGUMENT, ": its header has 4294967295 bytes; the limit is 65536");
    refuse_file(put("a.npy", "\x93NUMPY\1\0\x10\0xx", 12), LATHE_ROWS_POINTS,
                LATHE_INVALID_ARGUMENT, ": the file ends inside its header");
}

static void json_lines_are_points(void **state)
{
    struct lathe_rows *rows = opened(
        put_text("a.jsonl",
                 "{\"id\": 7, \"vectors\": [1, 2], \"payload\": {\"word\": \"x\", \"n\": 1}}\n"
                 "\n"
                 "   \t\r\n"
                 "{\"id\":\"word\",\"vectors\":{\"a\":[3],\"b\":\"AACAPwAAAL8=\"}}\r\n"
                 "{\"payload\":{}}\n"
                 "{}"),
        LATHE_ROWS_POINTS);
    struct lathe_rows_position at;
    struct lathe_row row;
    char text[LATHE_ID_TEXT_BYTES];

    (void)state;
    assert_true(lathe_rows_named(rows));
    assert_int_equal(lathe_rows_total(rows), 0);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_int_equal(lathe_idkey_as_number(lathe_idkey_view(&row.id)), 7);
    expect_floats(&row.vectors[0], "", (const float[]){1, 2}, 2);
    assert_int_equal(row.payload->n_entries, 2);
    assert_string_equal(row.payload->entries[0]->value->string_value, "x");
    at = lathe_rows_position(rows);
    assert_int_equal(at.row, 1);
    assert_int_equal(at.line, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        lathe_idkey_format(lathe_idkey_view(&row.id), text);
        assert_string_equal(text, "word");
        assert_int_equal(row.vector_count, 2);
        expect_floats(&row.vectors[0], "a", (const float[]){3}, 1);
        expect_floats(&row.vectors[1], "b", (const float[]){1, -0.5f}, 2);
        assert_null(row.payload);
        assert_int_equal(lathe_rows_position(rows).line, 4);
        assert_int_equal(lathe_rows_seek(rows, at, NULL), LATHE_OK);
    }
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_int_equal(row.id.size, 0);
    assert_int_equal(row.vector_count, 0);
    assert_int_equal(row.payload->n_entries, 0);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_null(row.payload);
    expect_end(rows);
    assert_int_equal(lathe_rows_position(rows).row, 4);
    lathe_rows_close(&rows);
}

static void ids_reach_the_end_of_64_bits(void **state)
{
    static const struct {
        const char *line;
        uint64_t id;
    } good[] = {
        {"{\"id\":9223372036854775807}", INT64_MAX},
        {"{\"id\":9223372036854775808}", (uint64_t)INT64_MAX + 1},
        {"{\"payload\":{\"id\":\"\\\"id\\\":5\",\"a\":[{\"id\":6}]},\"id\": "
         "18446744073709551615 ,\"vectors\":[1]}",
         UINT64_MAX},
    };
    struct lathe_row row;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct lathe_rows *rows = opened(put_text("a.jsonl", good[i].line), LATHE_ROWS_POINTS);
        struct lathe_error err = {0};

        if (lathe_rows_next(rows, &row, &err) != LATHE_OK)
            fail_msg("%s", err.message);
        assert_true(lathe_idkey_as_number(lathe_idkey_view(&row.id)) == good[i].id);
        lathe_rows_close(&rows);
    }
}

static void bad_json_lines_are_named_by_line(void **state)
{
    static const struct {
        const char *line, *ending;
    } bad[] = {
        {"{\"id\":18446744073709551616}",
         "too big integer near '18446744073709551616' (column 26)"},
        {"{\"id\":1,\"payload\":{\"n\":18446744073709551615}}",
         "too big integer near '18446744073709551615' (column 43)"},
        {"{\"id\":1,\"id\":2}", "duplicate object key near '\"id\"' (column 12)"},
        {"{\"payload\":{\"a\":1,\"a\":2}}", "duplicate object key near '\"a\"' (column 21)"},
        {"{\"id\":1", "'}' expected near end of file (column 7)"},
        {"{\"id\":1} x", "end of file expected near 'x' (column 10)"},
        {"[1]", "it is not a JSON object"},
        {"not json", "'[' or '{' expected near 'not' (column 3)"},
        {"{\"id\":-1}", "id must be an integer of 0 to 2^64 - 1, a UUID or a string"},
        {"{\"id\":1.5}", "id must be an integer of 0 to 2^64 - 1, a UUID or a string"},
        {"{\"id\":\"\"}", "a string id must not be empty"},
        {"{\"vectors\":[1,\"x\"]}", "vectors: element 1 is not a number"},
        {"{\"vectors\":{\"a\":[]}}", "vectors.a: a vector of 0 elements; it takes 1 to 16384"},
        {"{\"payload\":[]}", "payload must be an object"},
        {"{\"metadata\":1}", "unknown key \"metadata\"; a point has id, vectors and payload"},
        {"{\"payload\":{\"a\":\"\\u0000\"}}",
         "\\u0000 is not allowed without JSON_ALLOW_NUL near '\"\\u0000\"' (column 24)"},
        {"{\"payload\":{\"a\":1e999}}", "real number overflow near '1e999' (column 21)"},
        {"{\"payload\":{\"a\":NaN}}", "invalid token near 'NaN' (column 19)"},
        {"{\"payload\":{\"a\":\"\xFF\"}}", "unable to decode byte 0xff near '\"' (column 17)"},
        {"{\"payload\":{\"a\":\"\xED\xA0\x80\"}}",
         "unable to decode byte 0xed near '\"' (column 17)"},
        {"{\"payload\":{\"a\":\"\xC0\x80\"}}", "unable to decode byte 0xc0 near '\"' (column 17)"},
        {"{\"vectors\":[1,NaN]}", "invalid token near 'NaN' (column 17)"},
        {"{\"vectors\":[1,-Infinity]}", "invalid token near '-' (column 15)"},
        {"{\"vectors\":[1,null]}", "vectors: element 1 is not a number"},
        {"{\"vectors\":[1,1e39]}", "vectors: element 1 (1e+39) does not fit float32"},
        {"{\"vectors\":{\"a\":[1],\"a\":[2]}}", "duplicate object key near '\"a\"' (column 23)"},
        {"{\"vectors\":\"AAAA\"}", "vectors: 3 bytes are not whole float32 elements"},
        {"{\"id\":1}{\"id\":2}", "end of file expected near '{' (column 9)"},
        {"{\"id\":1}\r{\"id\":2}", "end of file expected near '{' (column 10)"},
    };
    struct lathe_row row;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[300], ending[300];
        struct lathe_rows *rows;

        (void)snprintf(text, sizeof(text), "{\"id\":5}\n\n%s\n{\"id\":6}\n", bad[i].line);
        (void)snprintf(ending, sizeof(ending), "a.jsonl: line 3: %s", bad[i].ending);
        rows = opened(put_text("a.jsonl", text), LATHE_ROWS_POINTS);
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        refuse_row(rows, ending);
        lathe_rows_close(&rows);
    }
}

static void a_row_has_at_most_as_many_fields_as_a_collection(void **state)
{
    struct lathe_buf text = {0};
    struct lathe_rows *rows;

    (void)state;
    lathe_buf_text(&text, "{\"vectors\":{");
    for (unsigned i = 0; i <= LATHE_MAX_FIELDS; i++)
        lathe_buf_printf(&text, "%s\"f%u\":[1]", i > 0 ? "," : "", i);
    lathe_buf_text(&text, "}}");
    rows = opened(put("a.jsonl", text.data, text.size), LATHE_ROWS_POINTS);
    refuse_row(rows, "line 1: it has vectors of more than 16 fields");
    lathe_rows_close(&rows);
    lathe_buf_fini(&text);
}

static void deep_nesting_is_named_by_line(void **state)
{
    static const struct {
        unsigned depth;
        const char *want;
    } deep[] = {{33, "lists and objects are nested deeper than the limit of 32"},
                {1000, "lists and objects are nested deeper than the limit of 32"},
                {100000, "line 2: maximum parsing depth reached near '['"}};

    (void)state;
    for (size_t i = 0; i < sizeof(deep) / sizeof(deep[0]); i++) {
        struct lathe_buf text = {0};
        struct lathe_error err = {0};
        struct lathe_rows *rows;
        struct lathe_row row;

        lathe_buf_text(&text, "{\"id\":1}\n{\"payload\":{\"a\":");
        for (unsigned j = 0; j < deep[i].depth; j++)
            lathe_buf_u8(&text, '[');
        for (unsigned j = 0; j < deep[i].depth; j++)
            lathe_buf_u8(&text, ']');
        lathe_buf_text(&text, "}}\n");
        rows = opened(put("a.jsonl", text.data, text.size), LATHE_ROWS_POINTS);
        assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        assert_int_equal(lathe_rows_next(rows, &row, &err), LATHE_INVALID_ARGUMENT);
        assert_non_null(strstr(err.message, "a.jsonl: line 2: "));
        assert_non_null(strstr(err.message, deep[i].want));
        lathe_rows_close(&rows);
        lathe_buf_fini(&text);
    }
}

static void a_long_key_is_shown_in_part(void **state)
{
    struct lathe_buf text = {0};
    struct lathe_rows *rows;

    (void)state;
    lathe_buf_printf(&text, "{\"%0*d\":1}", 1000, 0);
    rows = opened(put("a.jsonl", text.data, text.size), LATHE_ROWS_POINTS);
    refuse_row(rows, "line 1: unknown key \"000000000000000000000000000000000000000000000000000000"
                     "000000\"; a point has id, vectors and payload");
    lathe_rows_close(&rows);
    lathe_buf_fini(&text);
}

static void a_line_ends_at_its_limit(void **state)
{
    char *text = malloc(LATHE_ROWS_LINE_BYTES + 2);
    struct lathe_rows *rows;
    struct lathe_row row;

    (void)state;
    memset(text, 'x', LATHE_ROWS_LINE_BYTES + 1);
    text[0] = '{';
    text[LATHE_ROWS_LINE_BYTES + 1] = '\n';
    rows = opened(put("a.jsonl", text, LATHE_ROWS_LINE_BYTES + 2), LATHE_ROWS_POINTS);
    refuse_row(rows, "line 1: it is longer than the limit of a line, 16777216 bytes");
    lathe_rows_close(&rows);
    free(text);
    (void)put_text("a.jsonl", "{\"id\":1}\n{\"id\":2");
    assert_int_equal(truncate(path, 70 * 1024 * 1024), 0); /* the rest is one line of zeros */
    rows = opened(path, LATHE_ROWS_POINTS);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    refuse_row(rows, "line 2: it is longer than the limit of a line, 16777216 bytes");
    lathe_rows_close(&rows);
}

static void questions_have_a_vector_and_a_text(void **state)
{
    struct lathe_rows *rows = opened(
        put_text("q.jsonl", "{\"text\":\"builds dams\",\"expect\":\"beaver\",\"vector\":"
                            "\"AACAPwAAAL8=\"}\n"
                            "{\"vectors\":{\"a\":[1],\"b\":[2]},\"text\":7}\n"
                            "{\"vector\":[1,[2]]}\n"),
        LATHE_ROWS_QUESTIONS);
    struct lathe_row row;

    (void)state;
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_string_equal(row.text, "builds dams");
    expect_floats(&row.vectors[0], "", (const float[]){1, -0.5f}, 2);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_null(row.text);
    assert_int_equal(row.vector_count, 2);
    refuse_row(rows, "q.jsonl: line 3: vector: element 1 is not a number");
    lathe_rows_close(&rows);
    rows = opened(put_text("q.jsonl", "{\"text\":\"nothing\"}\n"), LATHE_ROWS_QUESTIONS);
    refuse_row(rows, "q.jsonl: line 1: it has no \"vector\"");
    lathe_rows_close(&rows);
}

static void a_json_array_is_one_vector_or_several(void **state)
{
    struct lathe_rows *rows = opened(put_text("q.json", " [1, 2.5]\n"), LATHE_ROWS_QUESTIONS);
    struct lathe_row row;

    (void)state;
    assert_int_equal(lathe_rows_total(rows), 1);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    expect_floats(&row.vectors[0], "", (const float[]){1, 2.5f}, 2);
    expect_end(rows);
    lathe_rows_close(&rows);
    rows = opened(put_text("q", "[[1,2],\n\"AACAPwAAAL8=\",\n[]]"), LATHE_ROWS_QUESTIONS);
    assert_int_equal(lathe_rows_total(rows), 3);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    expect_floats(&row.vectors[0], "", (const float[]){1, -0.5f}, 2);
    refuse_row(rows, "q: row 2: vector: a vector of 0 elements; it takes 1 to 16384");
    lathe_rows_close(&rows);
    rows = opened(put_text("q.json", "[]"), LATHE_ROWS_QUESTIONS);
    refuse_row(rows, "row 0: vector: a vector of 0 elements; it takes 1 to 16384");
    lathe_rows_close(&rows);
    refuse_file(put_text("q.json", "[1,\n2"), LATHE_ROWS_QUESTIONS, LATHE_INVALID_ARGUMENT,
                ": line 2: ']' expected near end of file");
    rows = opened(put_text("q.json", "[[1,2],[1,{\"a\":2}]]"), LATHE_ROWS_QUESTIONS);
    assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
    refuse_row(rows, "q.json: row 1: vector: element 1 is not a number");
    lathe_rows_close(&rows);
    refuse_file(put_text("q.json", "[[1,NaN]]"), LATHE_ROWS_QUESTIONS, LATHE_INVALID_ARGUMENT,
                ": line 1: invalid token near 'NaN'");
    assert_int_equal(truncate(put_text("q.json", "[1,"), 70 * 1024 * 1024), 0);
    refuse_file(path, LATHE_ROWS_QUESTIONS, LATHE_INVALID_ARGUMENT,
                ": it has 73400320 bytes; the limit of a JSON array is 67108864");
}

static void files_that_cannot_be_are_refused(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/none.jsonl", dir);
    refuse_file(path, LATHE_ROWS_POINTS, LATHE_NOT_FOUND,
                " cannot be read: No such file or directory");
    (void)snprintf(path, sizeof(path), "%s", dir);
    refuse_file(path, LATHE_ROWS_POINTS, LATHE_NOT_FOUND, " is not a file");
    (void)snprintf(path, sizeof(path), "%s/pipe.jsonl", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    refuse_file(path, LATHE_ROWS_POINTS, LATHE_NOT_FOUND, " is not a file");
    refuse_file(put("a.jsonl", "", 0), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT, " is empty");
    refuse_file(put_text("a.csv", "1,2\n"), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                " is of no known format: it takes .fvecs, .npy or JSON lines");
    refuse_file(put_text("a.json", "[[1,2]]"), LATHE_ROWS_POINTS, LATHE_INVALID_ARGUMENT,
                " is of no known format: it takes .fvecs, .npy or JSON lines");
    refuse_file(put_text("a.txt", "x"), LATHE_ROWS_QUESTIONS, LATHE_INVALID_ARGUMENT,
                " is of no known format: it takes a JSON array, .fvecs, .npy or JSON lines");
}

/* Writes `row_count` rows of four floats (200 bytes of JSON) as one of three formats; the bytes of
 * its header and of a row. */
static void put_many(unsigned kind, unsigned row_count, size_t *header_out, size_t *row_out)
{
    static const char *const names[] = {"s.fvecs", "s.npy", "s.jsonl"};
    struct lathe_buf bytes = {0};
    char header[100];

    *header_out = 0;
    *row_out = kind == 0 ? 20 : kind == 1 ? 16 : 200;
    if (kind == 1) {
        (void)snprintf(header, sizeof(header),
                       "{'descr': '<f4', 'fortran_order': False, 'shape': (%u, 4), }", row_count);
        lathe_buf_append(&bytes, "\x93NUMPY\1\0", 8);
        lathe_buf_u16le(&bytes, (uint16_t)strlen(header));
        lathe_buf_text(&bytes, header);
        *header_out = bytes.size;
    }
    for (unsigned i = 0; i < row_count; i++) {
        if (kind == 0)
            lathe_buf_u32le(&bytes, 4);
        if (kind < 2)
            lathe_buf_append(&bytes, "\0\0\x80\x3F\0\0\x80\x3F\0\0\x80\x3F\0\0\x80\x3F", 16);
        else
            lathe_buf_printf(&bytes, "{\"id\":%6u,\"vectors\":[1,1,1,1],\"payload\":{}}%*s\n", i,
                             199 - 46, "");
    }
    (void)put(names[kind], bytes.data, bytes.size);
    lathe_buf_fini(&bytes);
}

static void a_file_that_shrinks_while_it_is_read_is_an_error(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        static const unsigned count = 60000; /* more than is read at once */
        struct lathe_rows *rows;
        struct lathe_row row;
        struct lathe_error err = {0};
        size_t header, size, kept;
        char ending[200];
        unsigned cut = count - 7, got = 0;

        put_many(kind, count, &header, &size);
        rows = opened(path, LATHE_ROWS_POINTS);
        for (; got < 100; got++)
            assert_int_equal(lathe_rows_next(rows, &row, NULL), LATHE_OK);
        kept = header + cut * size + size / 2; /* half of row `cut` is left */
        assert_int_equal(truncate(path, (off_t)kept), 0);
        while (lathe_rows_next(rows, &row, &err) == LATHE_OK)
            got++;
        assert_int_equal(got, cut);
        (void)snprintf(ending, sizeof(ending),
                       ": %s %u: the file was cut off while it was read: %zu bytes are left of %zu",
                       kind < 2 ? "row" : "line", kind < 2 ? cut : cut + 1, kept,
                       header + count * size);
        assert_int_equal(err.status, LATHE_INVALID_ARGUMENT);
        check_ending(&err, ending);
        assert_int_equal(lathe_rows_position(rows).row, cut);
        refuse_row(rows, ending); /* and again */
        lathe_rows_close(&rows);
    }
}

static void the_sum_of_what_was_read_is_that_of_the_file(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct lathe_rows *rows;
        struct lathe_row row;
        size_t header, size;
        uint32_t crc;

        put_many(kind, 30000, &header, &size);
        rows = opened(path, LATHE_ROWS_POINTS);
        for (unsigned i = 0; lathe_rows_next(rows, &row, NULL) == LATHE_OK; i++) {
            struct lathe_rows_position at = lathe_rows_position(rows);

            if (i % 5000 != 0)
                continue;
            assert_int_equal(at.offset, header + (i + 1) * size);
            assert_int_equal(lathe_rows_crc(rows, at.offset, &crc, NULL), LATHE_OK);
            assert_int_equal(at.crc, crc);
        }
        assert_int_equal(lathe_rows_position(rows).row, 30000);
        assert_int_equal(lathe_rows_crc(rows, lathe_rows_bytes(rows), &crc, NULL), LATHE_OK);
        assert_int_equal(lathe_rows_position(rows).crc, crc);
        assert_int_equal(truncate(path, 1000), 0);
        assert_int_equal(lathe_rows_crc(rows, 1000, &crc, NULL), LATHE_OK);
        assert_int_equal(lathe_rows_crc(rows, lathe_rows_bytes(rows), &crc, NULL),
                         LATHE_INVALID_ARGUMENT);
        lathe_rows_close(&rows);
    }
}

static void lines_may_be_of_any_length_up_to_the_limit(void **state)
{
    static const size_t sizes[] = {200,     262143,  262144,  262145,  262146,
                                   1048576, 1048577, 4194303, 4194305, LATHE_ROWS_LINE_BYTES};
    struct lathe_buf bytes = {0};
    struct lathe_rows *rows;
    struct lathe_row row;

    (void)state;
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        size_t size = sizes[i / 2];
        size_t spaces = size - strlen("{\"id\":000}");

        if (i % 2 == 0) /* every other line is short, so that long ones begin anywhere */
            lathe_buf_printf(&bytes, "{\"id\":%zu}\n", i);
        else
            lathe_buf_printf(&bytes, "{\"id\":%3zu%*s}\n", i, (int)spaces, "");
    }
    rows = opened(put("long.jsonl", bytes.data, bytes.size - 1), LATHE_ROWS_POINTS);
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct lathe_error err = {0};

        if (lathe_rows_next(rows, &row, &err) != LATHE_OK)
            fail_msg("line %zu: %s", i, err.message);
        assert_int_equal(lathe_idkey_as_number(lathe_idkey_view(&row.id)), i);
    }
    expect_end(rows);
    lathe_rows_close(&rows);
    lathe_buf_fini(&bytes);
}

static void any_cut_or_damage_ends_in_an_error_or_in_rows(void **state)
{
    static const char *const names[] = {"d.fvecs", "d.npy", "d.jsonl", "d.json"};
    static const char json[] = "{\"id\":1,\"vectors\":{\"a\":[1,2],\"b\":\"AACAPw==\"},"
                               "\"payload\":{\"a\":[1,{\"b\":null}]}}\n{\"id\":\"x\"}\n";
    static const char header[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    struct lathe_buf files[4] = {0};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "cli/rows");
    fvecs_bytes(&files[0], 4, 5);
    lathe_buf_append(&files[1], "\x93NUMPY\1\0", 8);
    lathe_buf_u16le(&files[1], sizeof(header) - 1);
    lathe_buf_text(&files[1], header);
    lathe_buf_append(&files[1], "xxxxyyyyzzzzuuuu", 16);
    lathe_buf_text(&files[2], json);
    lathe_buf_text(&files[3], "[[1,2.5e3],[3,-4]]");
    for (int run = 0; run < 4000; run++) {
        unsigned kind = (unsigned)run % 4;
        size_t size = 1 + test_rng_below(&rng, files[kind].size);
        uint8_t *copy = malloc(size);
        struct lathe_rows *rows = NULL;
        struct lathe_row row;

        memcpy(copy, files[kind].data, size);
        for (uint64_t i = test_rng_below(&rng, 4); i > 0; i--)
            copy[test_rng_below(&rng, size)] = (uint8_t)test_rng_u64(&rng);
        if (lathe_rows_open(put(names[kind], copy, size),
                            kind == 3 ? LATHE_ROWS_QUESTIONS : LATHE_ROWS_POINTS, &rows,
                            NULL) == LATHE_OK) {
            unsigned count = 0;

            while (lathe_rows_next(rows, &row, NULL) == LATHE_OK)
                count++;
            assert_in_range(count, 0, 200);
        }
        lathe_rows_close(&rows);
        free(copy);
    }
    for (int i = 0; i < 4; i++)
        lathe_buf_fini(&files[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fvecs_rows_are_read_and_found_again, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_fvecs_are_named_by_row, setup, teardown),
        cmocka_unit_test_setup_teardown(npy_rows_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(npy_versions_2_and_3_and_no_rows_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(npy_headers_may_be_written_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_npy_files_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(json_lines_are_points, setup, teardown),
        cmocka_unit_test_setup_teardown(ids_reach_the_end_of_64_bits, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_json_lines_are_named_by_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_has_at_most_as_many_fields_as_a_collection, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(deep_nesting_is_named_by_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_key_is_shown_in_part, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_ends_at_its_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(questions_have_a_vector_and_a_text, setup, teardown),
        cmocka_unit_test_setup_teardown(a_json_array_is_one_vector_or_several, setup, teardown),
        cmocka_unit_test_setup_teardown(files_that_cannot_be_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_shrinks_while_it_is_read_is_an_error, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_sum_of_what_was_read_is_that_of_the_file, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(lines_may_be_of_any_length_up_to_the_limit, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(any_cut_or_damage_ends_in_an_error_or_in_rows, setup,
                                        teardown),
    };

    return cmocka_run_group_tests_name("cli/rows", tests, NULL, NULL);
}
