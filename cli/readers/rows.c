/* rows.c - see rows.h: opens files and hands over to their formats. */
#include "cli/readers/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);

    return size > end_size && text[size - end_size - 1] == '.' &&
           strcmp(text + size - end_size, end) == 0;
}

/* The first byte that is no white space, 0 if there is none. */
static uint8_t first_byte(struct lathe_bytes file)
{
    for (size_t i = 0; i < file.size; i++)
        if (strchr(" \t\r\n", file.data[i]) == NULL)
            return file.data[i];
    return 0;
}

/* By the end of the name, else by the first bytes. .fvecs has none that tell it. */
static const struct lathe_rows_format *format_of(const char *path, struct lathe_bytes file)
{
    static const char npy_magic[] = "\x93NUMPY";

    if (ends_with(path, "fvecs"))
        return &lathe_rows_fvecs;
    if (ends_with(path, "npy") ||
        (file.size >= 6 && memcmp(file.data, npy_magic, sizeof(npy_magic) - 1) == 0))
        return &lathe_rows_npy;
    if (ends_with(path, "jsonl") || ends_with(path, "ndjson") || first_byte(file) == '{')
        return &lathe_rows_jsonl;
    if (first_byte(file) == '[')
        return &lathe_rows_json_array;
    return NULL;
}

static enum lathe_status map_file(struct lathe_rows *rows, struct lathe_error *err)
{
    int fd = open(rows->path, O_RDONLY | O_CLOEXEC);
    enum lathe_status rc = LATHE_OK;
    struct stat info;
    void *memory;

    if (fd < 0 || fstat(fd, &info) != 0) {
        rc = lathe_fail(err, LATHE_NOT_FOUND, "%s cannot be read: %s", rows->path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        rc = lathe_fail(err, LATHE_NOT_FOUND, "%s is not a file", rows->path);
    } else if (info.st_size == 0) {
        rc = lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s is empty", rows->path);
    } else {
        memory = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (memory == MAP_FAILED) {
            rc = lathe_fail(err, LATHE_NOT_FOUND, "%s cannot be mapped: %s", rows->path,
                            strerror(errno));
        } else {
            (void)madvise(memory, (size_t)info.st_size, MADV_SEQUENTIAL);
            rows->file = lathe_bytes_of(memory, (size_t)info.st_size);
            rows->modified_ns = (uint64_t)info.st_mtim.tv_sec * 1000000000u +
                                (uint64_t)info.st_mtim.tv_nsec;
        }
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

enum lathe_status lathe_rows_open(const char *path, enum lathe_rows_purpose purpose,
                                  struct lathe_rows **rows_out, struct lathe_error *err)
{
    struct lathe_rows *rows = lathe_zalloc(sizeof(*rows));
    struct lathe_error failure = {0};
    enum lathe_status rc;

    *rows_out = NULL;
    if (rows != NULL)
        rows->path = lathe_strdup(path);
    if (rows == NULL || rows->path == NULL) {
        lathe_free(rows);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to open %s", path);
    }
    rows->purpose = purpose;
    rc = map_file(rows, err);
    if (rc != LATHE_OK)
        goto done;
    rows->format = format_of(path, rows->file);
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
    if (rows->file.size > 0)
        (void)munmap((void *)(uintptr_t)rows->file.data, rows->file.size);
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
        rows, (struct lathe_rows_position){rows->at.row + 1, rows->at.line + 1, rows->at.offset},
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
    if (position.offset > rows->file.size || (rows->total > 0 && position.row > rows->total))
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

struct lathe_bytes lathe_rows_file(const struct lathe_rows *rows)
{
    return rows->file;
}

uint64_t lathe_rows_modified_ns(const struct lathe_rows *rows)
{
    return rows->modified_ns;
}
