/* jsonl.c - JSON lines: one object a line. For points {"id", "vectors", "payload"}; for questions
 * {"vector" or "vectors", "text"}. Empty lines are skipped. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/json_in.h"
#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

struct jsonl {
    json_t *line; /* of the row handed out */
    struct lathe_buf vectors;
    Lathe__V1__Object *payload;
    struct lathe_buf patched; /* see parse_big_id() */
};

static enum lathe_status jsonl_open(struct lathe_rows *rows, struct lathe_error *err)
{
    rows->state = lathe_zalloc(sizeof(struct jsonl));
    if (rows->state == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reader");
    return LATHE_OK;
}

static void row_drop(struct jsonl *jsonl)
{
    json_decref(jsonl->line);
    jsonl->line = NULL;
    if (jsonl->payload != NULL)
        protobuf_c_message_free_unpacked(&jsonl->payload->base, NULL);
    jsonl->payload = NULL;
    lathe_buf_clear(&jsonl->vectors);
}

static void jsonl_close(struct lathe_rows *rows)
{
    struct jsonl *jsonl = rows->state;

    if (jsonl == NULL)
        return;
    row_drop(jsonl);
    lathe_buf_fini(&jsonl->vectors);
    lathe_buf_fini(&jsonl->patched);
    lathe_free(jsonl);
}

/* Skips a JSON string that begins at `at`; the index behind it, or the end. */
static size_t string_end(struct lathe_bytes line, size_t at)
{
    for (at++; at < line.size && line.data[at] != '"'; at++)
        if (line.data[at] == '\\')
            at++;
    return at < line.size ? at + 1 : line.size;
}

/* The digits behind the outermost "id" of a line; empty if there are none. */
static struct lathe_bytes id_digits(struct lathe_bytes line)
{
    unsigned depth = 0;
    size_t at = 0;

    while (at < line.size) {
        size_t begin = at;

        if (line.data[at] == '{' || line.data[at] == '[') {
            depth++;
        } else if (line.data[at] == '}' || line.data[at] == ']') {
            depth--;
        } else if (line.data[at] == '"') {
            at = string_end(line, at);
            if (depth != 1 || at - begin != 4 || memcmp(line.data + begin, "\"id\"", 4) != 0)
                continue;
            while (at < line.size && (line.data[at] == ' ' || line.data[at] == ':'))
                at++;
            begin = at;
            while (at < line.size && isdigit(line.data[at]))
                at++;
            return lathe_bytes_of(line.data + begin, at - begin);
        }
        at++;
    }
    return lathe_bytes_of(NULL, 0);
}

/* jansson's integers end at 2^63, ids at 2^64: a line that is refused for a number too large is
 * tried again with the digits of its id taken out. False: that was not it. */
static bool parse_big_id(struct jsonl *jsonl, struct lathe_bytes line, struct lathe_idkey *id_out)
{
    struct lathe_bytes digits = id_digits(line);
    char text[24];
    json_error_t reason;

    if (digits.size < 19 || digits.size > 20 || digits.data[0] == '0')
        return false;
    memcpy(text, digits.data, digits.size);
    text[digits.size] = '\0';
    if (lathe_idkey_parse(text, id_out, NULL) != LATHE_OK ||
        lathe_idkey_kind(lathe_idkey_view(id_out)) != LATHE_ID_NUMBER)
        return false;
    lathe_buf_clear(&jsonl->patched);
    lathe_buf_append(&jsonl->patched, line.data, line.size);
    if (jsonl->patched.failed)
        return false;
    memset(jsonl->patched.data + (digits.data - line.data), ' ', digits.size - 1);
    jsonl->patched.data[digits.data - line.data + (ptrdiff_t)digits.size - 1] = '0';
    jsonl->line = json_loadb((const char *)jsonl->patched.data, jsonl->patched.size,
                             LATHE_JSON_FLAGS, &reason);
    return jsonl->line != NULL;
}

static enum lathe_status parse_line(struct jsonl *jsonl, struct lathe_bytes line,
                                    struct lathe_idkey *big_id_out, struct lathe_error *err)
{
    json_error_t reason;

    big_id_out->size = 0;
    jsonl->line = json_loadb((const char *)line.data, line.size, LATHE_JSON_FLAGS, &reason);
    if (jsonl->line == NULL && json_error_code(&reason) == json_error_numeric_overflow &&
        !parse_big_id(jsonl, line, big_id_out))
        big_id_out->size = 0;
    if (jsonl->line == NULL)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s (column %d)", reason.text,
                          reason.column);
    if (!json_is_object(jsonl->line))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "it is not a JSON object");
    return LATHE_OK;
}

/* Field names and the sizes of their vectors first: the buffer moves while it grows. */
static enum lathe_status add_vector(struct jsonl *jsonl, struct lathe_row *row, const char *field,
                                    const json_t *json, const char *path, struct lathe_error *err)
{
    size_t before = jsonl->vectors.size;
    enum lathe_status rc;

    if (row->vector_count == LATHE_MAX_FIELDS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vectors",
                                "it has vectors of more than %u fields", LATHE_MAX_FIELDS);
    rc = lathe_json_to_vector(json, path, &jsonl->vectors, err);
    if (rc == LATHE_OK)
        row->vectors[row->vector_count++] = (struct lathe_row_vector){
            field, lathe_bytes_of(NULL, jsonl->vectors.size - before)};
    return rc;
}

/* `name`: the key that the vectors are under. */
static enum lathe_status read_vectors(struct jsonl *jsonl, struct lathe_row *row, json_t *json,
                                      const char *name, struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;
    const char *field;
    json_t *vector;

    if (!json_is_object(json))
        return add_vector(jsonl, row, "", json, name, err);
    json_object_foreach(json, field, vector)
    {
        char path[LATHE_ERROR_FIELD_BYTES];

        (void)snprintf(path, sizeof(path), "%s.%.100s", name, field);
        rc = add_vector(jsonl, row, field, vector, path, err);
        if (rc != LATHE_OK)
            return rc;
    }
    return rc;
}

static void place_vectors(const struct jsonl *jsonl, struct lathe_row *row)
{
    const uint8_t *at = jsonl->vectors.data;

    for (size_t i = 0; i < row->vector_count; i++) {
        row->vectors[i].data.data = at;
        at += row->vectors[i].data.size;
    }
}

static enum lathe_status read_point(struct jsonl *jsonl, struct lathe_row *row,
                                    const struct lathe_idkey *big_id, struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;
    const char *key;
    json_t *value;

    json_object_foreach(jsonl->line, key, value)
    {
        if (strcmp(key, "id") == 0 && big_id->size > 0)
            row->id = *big_id;
        else if (strcmp(key, "id") == 0)
            rc = lathe_json_to_id(value, &row->id, err);
        else if (strcmp(key, "vectors") == 0)
            rc = read_vectors(jsonl, row, value, key, err);
        else if (strcmp(key, "payload") == 0)
            rc = lathe_json_to_object(value, "payload", &jsonl->payload, err);
        else
            rc = lathe_fail(err, LATHE_INVALID_ARGUMENT,
                            "unknown key \"%.60s\"; a point has id, vectors and payload", key);
        if (rc != LATHE_OK)
            return rc;
    }
    row->payload = jsonl->payload;
    place_vectors(jsonl, row);
    return LATHE_OK;
}

static enum lathe_status read_question(struct jsonl *jsonl, struct lathe_row *row,
                                       struct lathe_error *err)
{
    json_t *vectors = json_object_get(jsonl->line, "vector");
    const char *name = vectors != NULL ? "vector" : "vectors";
    enum lathe_status rc;

    if (vectors == NULL)
        vectors = json_object_get(jsonl->line, name);
    if (vectors == NULL)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "it has no \"vector\"");
    rc = read_vectors(jsonl, row, vectors, name, err);
    row->text = json_string_value(json_object_get(jsonl->line, "text"));
    place_vectors(jsonl, row);
    return rc;
}

/* The bytes of the line at rows->at with its end, if it has one; none where nothing is left. A line
 * beyond the limit is refused before all of it is read. */
static enum lathe_status line_view(struct lathe_rows *rows, struct lathe_bytes *line_out,
                                   struct lathe_error *err)
{
    uint64_t left = rows->file.size_bytes - rows->at.offset;

    *line_out = lathe_bytes_of(NULL, 0);
    while (line_out->size < left) {
        size_t searched = line_out->size;
        const uint8_t *end;
        enum lathe_status rc;

        if (searched > LATHE_ROWS_LINE_BYTES)
            return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                              "it is longer than the limit of a line, %d bytes",
                              LATHE_ROWS_LINE_BYTES);
        rc = lathe_file_window_view(&rows->file, rows->at.offset, searched + 1,
                                    LATHE_ROWS_LINE_BYTES + 1, line_out, err);
        if (rc != LATHE_OK)
            return rc;
        end = memchr(line_out->data + searched, '\n', line_out->size - searched);
        if (end != NULL) {
            line_out->size = (size_t)(end - line_out->data) + 1;
            break;
        }
    }
    return LATHE_OK;
}

static struct lathe_bytes without_end(struct lathe_bytes line)
{
    return lathe_bytes_of(line.data, line.size - (line.data[line.size - 1] == '\n' ? 1 : 0));
}

static bool blank(struct lathe_bytes line)
{
    for (size_t i = 0; i < line.size; i++)
        if (!isspace(line.data[i]))
            return false;
    return true;
}

static enum lathe_status jsonl_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                    struct lathe_error *err)
{
    struct jsonl *jsonl = rows->state;
    struct lathe_idkey big_id;
    struct lathe_bytes line;
    enum lathe_status rc;

    row_drop(jsonl);
    for (;;) {
        rc = line_view(rows, &line, err);
        if (rc != LATHE_OK)
            return rc;
        if (line.size == 0)
            return LATHE_OUT_OF_RANGE;
        if (!blank(line))
            break;
        lathe_rows_pass(rows, line);
        rows->at.line++;
    }
    rc = parse_line(jsonl, without_end(line), &big_id, err);
    if (rc == LATHE_OK && rows->purpose == LATHE_ROWS_POINTS)
        rc = read_point(jsonl, row_out, &big_id, err);
    else if (rc == LATHE_OK)
        rc = read_question(jsonl, row_out, err);
    if (rc != LATHE_OK)
        return rc;
    lathe_rows_pass(rows, line);
    rows->at.line++;
    rows->at.row++;
    return LATHE_OK;
}

const struct lathe_rows_format lathe_rows_jsonl = {true, false, jsonl_open, jsonl_next,
                                                   jsonl_close};
