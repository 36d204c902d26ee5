/* rows_format.h - what rows.c asks of a format. Only for the files of this folder. */
#ifndef LATHE_CLI_READERS_ROWS_FORMAT_H
#define LATHE_CLI_READERS_ROWS_FORMAT_H
#include "cli/readers/file_window.h"
#include "cli/readers/rows.h"

struct lathe_rows_format {
    bool named; /* see lathe_rows_named() */
    bool questions_only;
    /* Makes rows->state and rows->total from the file; NULL state is fine. Errors do not name the
     * file. */
    enum lathe_status (*open)(struct lathe_rows *rows, struct lathe_error *err);
    /* As lathe_rows_next(); moves rows->at behind the row with lathe_rows_pass(). */
    enum lathe_status (*next)(struct lathe_rows *rows, struct lathe_row *row_out,
                              struct lathe_error *err);
    void (*close)(struct lathe_rows *rows);
};

struct lathe_rows {
    const struct lathe_rows_format *format;
    enum lathe_rows_purpose purpose;
    char *path;
    struct lathe_file_window file;
    struct lathe_rows_position at;
    uint64_t total;
    void *state; /* the format's */
};

/* Moves rows->at behind bytes that it stands before: those of a view. */
void lathe_rows_pass(struct lathe_rows *rows, struct lathe_bytes bytes);

extern const struct lathe_rows_format lathe_rows_fvecs;
extern const struct lathe_rows_format lathe_rows_npy;
extern const struct lathe_rows_format lathe_rows_jsonl;
extern const struct lathe_rows_format lathe_rows_json_array;
#endif
