/* import_state.h - how far an import came, in a small file, so that the same command goes on there.
 *
 * The batches that were not acknowledged are sent again with the same content, client id and
 * request numbers, so the server tells which of them it has. */
#ifndef LATHE_CLI_IMPORT_STATE_H
#define LATHE_CLI_IMPORT_STATE_H
#include "cli/readers/rows.h"

struct lathe_import_state {
    /* What is imported where. Another import has another one of these. */
    char server[256];
    char collection[LATHE_MAX_NAME_BYTES + 1];
    uint32_t collection_id;
    char field[LATHE_MAX_NAME_BYTES + 1];
    uint64_t first_id;

    uint8_t import_id[16]; /* rows without an id get theirs from this and their number */
    uint8_t client_id[16];
    /* Numbers stay with their content: the batch that begins at `done` has next_request, those
     * behind it fresh_request and so on. A number from there on was used for that batch or not at
     * all. */
    uint64_t next_request;
    uint64_t fresh_request;
    struct lathe_rows_position done; /* everything before it is acknowledged */

    uint64_t file_bytes; /* the file as it was */
    uint64_t file_modified_ns;
    uint32_t batch_rows; /* the limits that rows were put together under */
    uint32_t batch_bytes;

    /* It is sure that nothing of the file is stored, so there is nothing to go on from. Not in the
     * state's file: whatever has one may have stored something. */
    bool untouched;
};

/* A new import: fresh ids, at the position of `rows`. */
void lathe_import_state_init(struct lathe_import_state *state, const struct lathe_rows *rows,
                             uint64_t wall_ms);
/* Unacknowledged requests are forgotten: the import goes on at `done` as a new client. */
void lathe_import_state_renew(struct lathe_import_state *state, uint64_t wall_ms);

/* Where the state of a file is kept: FILE.lathe-import, or in $XDG_STATE_HOME/lathe (else
 * ~/.local/state/lathe) where the file's directory cannot be written. Owner: the caller,
 * lathe_free(). NULL when memory is short. */
char *lathe_import_state_path(const char *file, const char *(*environment)(const char *name));

/* NOT_FOUND: there is none. DATA_LOSS: it is damaged. */
LATHE_MUST_CHECK enum lathe_status lathe_import_state_load(const char *path,
                                                           struct lathe_import_state *state_out,
                                                           struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status lathe_import_state_save(const char *path,
                                                           const struct lathe_import_state *state,
                                                           struct lathe_error *err);
void lathe_import_state_remove(const char *path);

enum lathe_import_resume {
    LATHE_IMPORT_RESUME,     /* go on, unacknowledged requests under their numbers */
    LATHE_IMPORT_RESUME_NEW, /* go on at `done`, as a new client: the file changed behind it, or the
                                server has forgotten the old one */
    LATHE_IMPORT_START_OVER, /* it speaks of another file, or of a collection that is gone */
    LATHE_IMPORT_OTHER_IMPORT, /* it belongs to another import of the file, which is not finished */
};

/* What a loaded state is worth for the import that `wanted` begins. If the file is not as it was,
 * what is before saved->done is read; the errors are those of lathe_rows_crc(). */
LATHE_MUST_CHECK enum lathe_status
lathe_import_state_compare(const struct lathe_import_state *saved,
                           const struct lathe_import_state *wanted, struct lathe_rows *rows,
                           uint64_t wall_ms, enum lathe_import_resume *resume_out,
                           struct lathe_error *err);
#endif
