/* rows.h - rows of a file, whatever its format: .fvecs, .npy, JSON lines, a JSON array.
 *
 * The file is read piece by piece, and a row points into the piece wherever it can. One file a
 * format, behind one small table. */
#ifndef LATHE_CLI_READERS_ROWS_H
#define LATHE_CLI_READERS_ROWS_H
#include "common/base/bytes.h"
#include "common/base/id.h"
#include "common/base/limits.h"
#include "lathe/v1/common.pb-c.h"

struct lathe_rows;

/* What the file is read for. Points: JSON lines hold id, vectors and payload and nothing else.
 * Questions: they hold a vector and perhaps a text; other keys do not matter. */
enum lathe_rows_purpose { LATHE_ROWS_POINTS, LATHE_ROWS_QUESTIONS };

enum { LATHE_ROWS_LINE_BYTES = 16 * 1024 * 1024 }; /* limit of one JSON line */

/* A place between two rows. */
struct lathe_rows_position {
    uint64_t row;    /* rows before it */
    uint64_t line;   /* lines before it; 0 where the format has no lines */
    uint64_t offset; /* bytes before it */
    uint32_t crc;    /* CRC-32C of them */
};

struct lathe_row_vector {
    const char *field;       /* "" = the default field */
    struct lathe_bytes data; /* little-endian float32, at any alignment */
};

/* Valid until the next call on the same rows. */
struct lathe_row {
    struct lathe_idkey id; /* size 0 where the file gives none */
    struct lathe_row_vector vectors[LATHE_MAX_FIELDS];
    size_t vector_count;
    const Lathe__V1__Object *payload; /* NULL = none */
    const char *text;                 /* of a question; NULL = none */
};

/* Opens a file; its format is known by the end of its name or its first bytes.
 * Owner: the caller, lathe_rows_close(). Errors: NOT_FOUND (cannot be read), INVALID_ARGUMENT (no
 * known format, a bad header). The message names the file. Threads: one at a time. */
LATHE_MUST_CHECK enum lathe_status lathe_rows_open(const char *path,
                                                   enum lathe_rows_purpose purpose,
                                                   struct lathe_rows **rows_out,
                                                   struct lathe_error *err);
void lathe_rows_close(struct lathe_rows **rows_p);

/* The next row. OUT_OF_RANGE: there is none, `err` is untouched. INVALID_ARGUMENT: the row is bad,
 * or the file was cut off before its end; INTERNAL: it cannot be read. The message names the row by
 * line or number, and the position stays before it. */
LATHE_MUST_CHECK enum lathe_status
lathe_rows_next(struct lathe_rows *rows, struct lathe_row *row_out, struct lathe_error *err);

/* Where the next row begins. */
struct lathe_rows_position lathe_rows_position(const struct lathe_rows *rows);
/* Goes to a position that lathe_rows_position() gave for this file. INVALID_ARGUMENT: not inside
 * it. */
LATHE_MUST_CHECK enum lathe_status lathe_rows_seek(struct lathe_rows *rows,
                                                   struct lathe_rows_position position,
                                                   struct lathe_error *err);

/* Rows in the file; 0 where only reading it would tell. */
uint64_t lathe_rows_total(const struct lathe_rows *rows);
/* False for formats that are vectors alone: a row's id is then its number, and it is of one field.
 */
bool lathe_rows_named(const struct lathe_rows *rows);
const char *lathe_rows_path(const struct lathe_rows *rows);
/* "line 12" or "row 7" of the row that ends at `end`: lines are counted from 1 as editors do, rows
 * from 0 as the ids that they get. */
enum { LATHE_ROWS_NAME_BYTES = 40 };
void lathe_rows_name(const struct lathe_rows *rows, struct lathe_rows_position end,
                     char name_out[LATHE_ROWS_NAME_BYTES]);
/* The CRC-32C of the file's first `size` bytes, read for it; size is at most lathe_rows_bytes().
 * Errors: as of lathe_rows_next(), without a row. */
LATHE_MUST_CHECK enum lathe_status lathe_rows_crc(struct lathe_rows *rows, uint64_t size,
                                                  uint32_t *crc_out, struct lathe_error *err);
uint64_t lathe_rows_bytes(const struct lathe_rows *rows);       /* of the file when it was opened */
uint64_t lathe_rows_modified_ns(const struct lathe_rows *rows); /* since 1970 */
#endif
