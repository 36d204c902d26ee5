/* rows.c - see rows.h: opens files and hands over to their formats. */
#include "cli/readers/rows.h"

#include <stdio.h>

#include "cli/readers/rows_format.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

/* Of the beginning of a file, to tell its format by. */
enum { HEAD_BYTES = 4096 };

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);

    return size > end_size && text[size - end_size - 1] == '.' &&
           strcmp(text + size - end_size, end) == 0;
}

/* The first byte that is no white space, 0 if there is none. */
static uint8_t first_byte(struct lathe_bytes head)
{
    for (size_t i = 0; i < head.size; i++)
        if (strchr(" \t\r\n", head.data[i]) == NULL)
            return head.data[i];
    return 0;
}

/* By the end of the name, else by the first bytes. .fvecs has none that tell it. */
static const struct lathe_rows_format *format_of(const char *path, struct lathe_bytes head)
{
    static const char npy_magic[] = "\x93NUMPY";

    if (ends_with(path, "fvecs"))
        return &lathe_rows_fvecs;
    if (ends_with(path, "npy") ||
        (head.size >= 6 && memcmp(head.data, npy_magic, sizeof(npy_magic) - 1) == 0))
        return &lathe_rows_npy;
    if (ends_with(path, "jsonl") || ends_with(path, "ndjson") || first_byte(head) == '{')
        return &lathe_rows_jsonl;
    if (first_byte(head) == '[')
        return &lathe_rows_json_array;
    return NULL;
}

enum lathe_status lathe_rows_open(const char *path, enum lathe_rows_purpose purpose,
                                  struct lathe_rows **rows_out, struct lathe_error *err)
{
    struct lathe_rows *rows = lathe_zalloc(sizeof(*rows));
    struct lathe_error failure = {0};
    struct lathe_bytes head;
    enum lathe_status rc;

    *rows_out = NULL;
    if (rows != NULL)
        rows->path = lathe_strdup(path);
    if (rows == NULL || rows->path == NULL) {
        lathe_free(rows);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to open %s", path);
    }
    rows->purpose = purpose;
    rc = lathe_file_window_open(&rows->file, path, err);
    if (rc != LATHE_OK)
        goto done;
    rc = lathe_file_window_view(&rows->file, 0, 1, HEAD_BYTES, &head, &failure);
    if (rc != LATHE_OK) {
        (void)lathe_fail(err, rc, "%s: %s", path, failure.message);
        goto done;
    }
    rows->format = format_of(path, head);
    if (rows->format == NULL || (rows->format->questions_only && purpose != LATHE_ROWS_QUESTIONS)) {
        rc = lathe_fail(err, LATHE_INVALID_ARGUMENT,
                        "%s is of no known format: it takes %s.fvecs, .npy or JSON lines", path,
                        purpose == LATHE_ROWS_QUESTIONS ? "a JSON array, " : "");
        rows->format = NULL;
        goto done;
    }
    rc = rows->format->open(rows, &failure);
    if (rc != LATHE_OK) {
        (void)lathe_fail(err, rc, "%s: %s", path, failure.message);
        goto done;
    }
    *rows_out = rows;
    rows = NULL;
done:
    lathe_rows_close(&rows);
    return rc;
}

void lathe_rows_close(struct lathe_rows **rows_p)
{
    struct lathe_rows *rows = *rows_p;

    *rows_p = NULL;
    if (rows == NULL)
        return;
    if (rows->format != NULL)
        rows->format->close(rows);
    lathe_file_window_close(&rows->file);
    lathe_free(rows->path);
    lathe_free(rows);
}

enum lathe_status lathe_rows_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                  struct lathe_error *err)
{
    struct lathe_rows_position before = rows->at;
    char name[LATHE_ROWS_NAME_BYTES];
    struct lathe_error failure = {0};
    enum lathe_status rc;

    row_out->id.size = 0;
    row_out->vector_count = 0;
    row_out->payload = NULL;
    row_out->text = NULL;
    rc = rows->format->next(rows, row_out, &failure);
    if (rc == LATHE_OK || rc == LATHE_OUT_OF_RANGE)
        return rc;
    /* rows->at stands before the bad row, behind empty lines. */
    lathe_rows_name(
        rows, (struct lathe_rows_position){.row = rows->at.row + 1, .line = rows->at.line + 1},
        name);
    (void)lathe_fail_field(err, rc, failure.field, "%s: %s: %s", rows->path, name, failure.message);
    rows->at = before;
    return rc;
}

struct lathe_rows_position lathe_rows_position(const struct lathe_rows *rows)
{
    return rows->at;
}

enum lathe_status lathe_rows_seek(struct lathe_rows *rows, struct lathe_rows_position position,
                                  struct lathe_error *err)
{
    if (position.offset > rows->file.size_bytes || (rows->total > 0 && position.row > rows->total))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s ends before row %llu", rows->path,
                          (unsigned long long)position.row);
    rows->at = position;
    return LATHE_OK;
}

uint64_t lathe_rows_total(const struct lathe_rows *rows)
{
    return rows->total;
}

bool lathe_rows_named(const struct lathe_rows *rows)
{
    return rows->format->named;
}

const char *lathe_rows_path(const struct lathe_rows *rows)
{
    return rows->path;
}

void lathe_rows_name(const struct lathe_rows *rows, struct lathe_rows_position end,
                     char name_out[LATHE_ROWS_NAME_BYTES])
{
    if (rows->format->named)
        (void)snprintf(name_out, LATHE_ROWS_NAME_BYTES, "line %llu", (unsigned long long)end.line);
    else
        (void)snprintf(name_out, LATHE_ROWS_NAME_BYTES, "row %llu",
                       (unsigned long long)end.row - 1);
}

void lathe_rows_pass(struct lathe_rows *rows, struct lathe_bytes bytes)
{
    rows->at.crc = lathe_crc32c(rows->at.crc, bytes);
    rows->at.offset += bytes.size;
}

enum lathe_status lathe_rows_crc(struct lathe_rows *rows, uint64_t size, uint32_t *crc_out,
                                 struct lathe_error *err)
{
    uint32_t crc = 0;

    for (uint64_t at = 0; at < size;) {
        struct lathe_error failure = {0};
        struct lathe_bytes bytes;
        enum lathe_status rc = lathe_file_window_view(&rows->file, at, 1, (size_t)(size - at),
                                                      &bytes, &failure);

        if (rc != LATHE_OK)
            return lathe_fail(err, rc, "%s: %s", rows->path, failure.message);
        crc = lathe_crc32c(crc, bytes);
        at += bytes.size;
    }
    *crc_out = crc;
    return LATHE_OK;
}

uint64_t lathe_rows_bytes(const struct lathe_rows *rows)
{
    return rows->file.size_bytes;
}

uint64_t lathe_rows_modified_ns(const struct lathe_rows *rows)
{
    return rows->file.modified_ns;
}
