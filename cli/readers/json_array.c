/* json_array.c - a question as one JSON array: a vector, or a list of vectors. */
#include "cli/json_in.h"
#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

enum { FILE_LIMIT_BYTES = 64 * 1024 * 1024 };

struct json_array {
    json_t *vectors;
    struct lathe_buf vector; /* of the row handed out */
};

static enum lathe_status json_array_open(struct lathe_rows *rows, struct lathe_error *err)
{
    struct json_array *array = lathe_zalloc(sizeof(*array));
    json_error_t reason;
    struct lathe_bytes text;
    enum lathe_status rc;
    json_t *json;

    rows->state = array;
    if (array == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reader");
    if (rows->file.size_bytes > FILE_LIMIT_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "it has %llu bytes; the limit of a JSON array is %d",
                          (unsigned long long)rows->file.size_bytes, FILE_LIMIT_BYTES);
    rc = lathe_file_window_view(&rows->file, 0, (size_t)rows->file.size_bytes,
                                (size_t)rows->file.size_bytes, &text, err);
    if (rc != LATHE_OK)
        return rc;
    json = json_loadb((const char *)text.data, text.size, LATHE_JSON_FLAGS, &reason);
    if (json == NULL)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "line %d: %s", reason.line, reason.text);
    array->vectors = json;
    if (!json_is_array(json_array_get(json, 0)) && !json_is_string(json_array_get(json, 0))) {
        array->vectors = json_pack("[o]", json); /* one vector: a list of it */
        if (array->vectors == NULL)
            return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reader");
    }
    rows->total = json_array_size(array->vectors);
    return LATHE_OK;
}

static enum lathe_status json_array_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                         struct lathe_error *err)
{
    struct json_array *array = rows->state;
    enum lathe_status rc;

    if (rows->at.row == rows->total)
        return LATHE_OUT_OF_RANGE;
    lathe_buf_clear(&array->vector);
    rc = lathe_json_to_vector(json_array_get(array->vectors, rows->at.row), "vector",
                              &array->vector, err);
    if (rc != LATHE_OK)
        return rc;
    row_out->vectors[0] = (struct lathe_row_vector){"", lathe_buf_view(&array->vector)};
    row_out->vector_count = 1;
    rows->at.row++;
    return LATHE_OK;
}

static void json_array_close(struct lathe_rows *rows)
{
    struct json_array *array = rows->state;

    if (array == NULL)
        return;
    json_decref(array->vectors);
    lathe_buf_fini(&array->vector);
    lathe_free(array);
}

const struct lathe_rows_format lathe_rows_json_array = {false, true, json_array_open,
                                                        json_array_next, json_array_close};
