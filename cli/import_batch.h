/* import_batch.h - rows encoded as one lathe.v1.WritePointsRequest.
 *
 * The operations come first and what names the request last, so that its number can change, and
 * rows be taken off its end, without encoding anything again. */
#ifndef LATHE_CLI_IMPORT_BATCH_H
#define LATHE_CLI_IMPORT_BATCH_H
#include "cli/readers/rows.h"

enum { LATHE_IMPORT_BATCH_ROWS = 256, LATHE_IMPORT_BATCH_BYTES = 1024 * 1024 };

struct lathe_import_batch {
    struct lathe_buf bytes;
    uint64_t number; /* of the request */
    uint32_t row_count;
    struct lathe_rows_position ends[LATHE_IMPORT_BATCH_ROWS]; /* behind each row */
    size_t sizes[LATHE_IMPORT_BATCH_ROWS];                    /* bytes up to the end of each row */
    struct lathe_rows_position begin;
};

void lathe_import_batch_clear(struct lathe_import_batch *batch, struct lathe_rows_position begin);
void lathe_import_batch_fini(struct lathe_import_batch *batch);
/* True if another row of that size would make it too large. An empty batch takes any row. */
bool lathe_import_batch_full(const struct lathe_import_batch *batch);
/* Adds an upsert of the row under `id`; vectors of the field "" go to `field`. `end`: behind the
 * row. RESOURCE_EXHAUSTED when memory is short. */
LATHE_MUST_CHECK enum lathe_status
lathe_import_batch_add(struct lathe_import_batch *batch, const struct lathe_row *row,
                       const struct lathe_idkey *id, const char *field,
                       struct lathe_rows_position end, struct lathe_error *err);
/* Keeps the first `row_count` rows. */
void lathe_import_batch_cut(struct lathe_import_batch *batch, uint32_t row_count);
/* Completes the request: bytes are then what is sent. May be called again with another number. */
LATHE_MUST_CHECK enum lathe_status
lathe_import_batch_seal(struct lathe_import_batch *batch, const char *collection,
                        const uint8_t client_id[16], uint64_t number, struct lathe_error *err);
struct lathe_rows_position lathe_import_batch_end(const struct lathe_import_batch *batch);
#endif
