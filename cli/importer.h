/* importer.h - sends the rows of a file as batches, several at a time, and keeps account of them.
 *
 * A batch is sent again until it is acknowledged; under the same number it is applied once. Where
 * an id comes twice the later row must win, so no batch may be applied behind one that comes after
 * it:
 *   - after a refusal that will pass (memory, a shard that is away) the refused batch is repeated
 * under its number, and the batches behind it, which may have been applied, under fresh ones;
 *   - after a lost connection, and at the start of a run, batches go out one at a time under the
 * numbers they had, as long as the server says that it knows them. The first that it did not know
 * ends that: what is behind it gets fresh numbers.
 */
#ifndef LATHE_CLI_IMPORTER_H
#define LATHE_CLI_IMPORTER_H
#include <signal.h>

#include "cli/import_state.h"
#include "cli/progress.h"
#include "client/lathe.h"

struct lathe_importer_config {
    struct lathe_client *client;
    struct lathe_rows *rows; /* at state->done */
    struct lathe_import_state *state;
    const char *state_path;
    struct lathe_progress *progress;
    const struct lathe_clock *clock;
    void (*sleep_ms)(void *context, uint32_t ms);
    void *sleep_context;
    const volatile sig_atomic_t *stop; /* becomes non-zero when the user wants to end */
    uint32_t patience_ms; /* without any acknowledgement, refusals and lost connections end it */
};

enum { LATHE_IMPORT_WINDOW = 8 };

/* Runs to the end of the file. Whatever happens, what was acknowledged is in `state` and its file.
 * LATHE_OK: every row is. CANCELLED: `stop` was set. INVALID_ARGUMENT and so on: a row is bad,
 * named in `err`, and every row before it is acknowledged. Else: the server or the file failed.
 * Where state->untouched is left, there is no file of the state. */
LATHE_MUST_CHECK enum lathe_status lathe_importer_run(const struct lathe_importer_config *config,
                                                      struct lathe_error *err);
#endif
