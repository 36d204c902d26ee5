/* command_import.c - `lathe import`: finds or makes the collection and the place to go on, then
 * runs the importer. */
#include <signal.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/importer.h"
#include "cli/schema.h"
#include "common/base/mem.h"

static volatile sig_atomic_t stop_requested;

/* The first request to stop ends the import in good order; a second one ends the process. */
static void on_signal(int signal_number)
{
    stop_requested = 1;
    (void)signal(signal_number, SIG_DFL);
}

static void signals_catch(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};

    stop_requested = 0;
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void signals_release(void)
{
    (void)signal(SIGINT, SIG_DFL);
    (void)signal(SIGTERM, SIG_DFL);
}

static void system_sleep_ms(void *context, uint32_t ms)
{
    struct timespec time = {ms / 1000, (long)(ms % 1000) * 1000000L};

    (void)context;
    (void)nanosleep(&time, NULL); /* a signal ends it early, which is what is wanted */
}

/* A collection for the file: the fields and dims of its first row, one metric for all. */
static enum lathe_status create_from_first_row(struct lathe_cli *cli, const char *name,
                                               struct lathe_rows *rows,
                                               Lathe__V1__Collection **collection_out,
                                               struct lathe_error *err)
{
    struct lathe_rows_position begin = lathe_rows_position(rows);
    const char *field = lathe_options_text(cli->options, "field");
    Lathe__V1__Metric metric = lathe_schema_metric_of_choice(
        lathe_options_choice(cli->options, "metric"));
    struct lathe_schema schema;
    struct lathe_row row;
    enum lathe_status rc = lathe_rows_next(rows, &row, err);

    if (rc == LATHE_OUT_OF_RANGE)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s has no rows", lathe_rows_path(rows));
    lathe_schema_init(&schema);
    for (size_t i = 0; rc == LATHE_OK && i < row.vector_count; i++) {
        const char *own = row.vectors[i].field;

        rc = lathe_schema_add(&schema,
                              lathe_bytes_str(own[0] == '\0' && field != NULL ? field : own),
                              row.vectors[i].data.size / sizeof(float), metric,
                              LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_UNSPECIFIED, err);
    }
    if (rc == LATHE_OK && schema.message.n_fields == 0)
        rc = lathe_fail(err, LATHE_INVALID_ARGUMENT,
                        "%s: the first row has no vector to take fields and dims from",
                        lathe_rows_path(rows));
    if (rc == LATHE_OK)
        rc = lathe_schema_create_collection(cli, name, &schema, NULL, collection_out, err);
    if (rc == LATHE_OK)
        rc = lathe_rows_seek(rows, begin, err);
    return rc;
}

static enum lathe_status collection_find(struct lathe_cli *cli, const char *name,
                                         struct lathe_rows *rows,
                                         Lathe__V1__Collection **collection_out,
                                         struct lathe_error *err)
{
    struct lathe_error failure = {0};
    enum lathe_status rc = lathe_collection_get(cli, name, collection_out, &failure);

    if (rc == LATHE_NOT_FOUND && lathe_options_bool(cli->options, "create"))
        return create_from_first_row(cli, name, rows, collection_out, err);
    if (rc == LATHE_NOT_FOUND)
        return lathe_fail(err, rc, "there is no collection %s; --create makes it", name);
    *err = failure;
    return rc;
}

/* Vectors that come without a field name go to --field, or to the only field that there is. */
static enum lathe_status field_choose(struct lathe_cli *cli,
                                      const Lathe__V1__Collection *collection,
                                      struct lathe_import_state *state, struct lathe_error *err)
{
    const char *field = lathe_options_text(cli->options, "field");
    const Lathe__V1__CollectionSchema *schema = collection->schema;

    if (field == NULL && schema != NULL && schema->n_fields == 1)
        field = schema->fields[0]->name;
    if (field != NULL && strlen(field) >= sizeof(state->field))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "the field name has %zu bytes; the limit is %u", strlen(field),
                                LATHE_MAX_NAME_BYTES);
    (void)snprintf(state->field, sizeof(state->field), "%s", field != NULL ? field : "");
    return LATHE_OK;
}

/* Fills `state` with where the import stands: at the beginning, or where an earlier run of it
 * stopped. */
static enum lathe_status state_find(struct lathe_cli *cli, struct lathe_rows *rows,
                                    const char *path, struct lathe_import_state *state,
                                    struct lathe_error *err)
{
    uint64_t wall_ms = lathe_wall_ms(cli->clock);
    struct lathe_import_state saved;
    enum lathe_import_resume resume;
    struct lathe_error failure = {0};
    enum lathe_status rc = lathe_import_state_load(path, &saved, &failure);

    if (rc == LATHE_NOT_FOUND)
        return LATHE_OK;
    if (rc != LATHE_OK)
        return lathe_fail(err, rc, "%s; remove the file to import from the beginning",
                          failure.message);
    rc = lathe_import_state_compare(&saved, state, rows, wall_ms, &resume, err);
    if (rc != LATHE_OK)
        return rc;
    switch (resume) {
    case LATHE_IMPORT_OTHER_IMPORT:
        return lathe_fail(
            err, LATHE_FAILED_PRECONDITION,
            "%s belongs to an unfinished import of this file into collection %s at %s "
            "(field \"%s\", first id %llu); finish that one or remove the file",
            path, saved.collection, saved.server, saved.field, (unsigned long long)saved.first_id);
    case LATHE_IMPORT_START_OVER:
        (void)fprintf(cli->err,
                      "lathe: the file or the collection is not the one of the earlier import; "
                      "beginning anew\n");
        return LATHE_OK;
    case LATHE_IMPORT_RESUME_NEW:
        lathe_import_state_renew(&saved, wall_ms);
        break;
    case LATHE_IMPORT_RESUME:
        break;
    }
    saved.file_bytes = state->file_bytes;
    saved.file_modified_ns = state->file_modified_ns;
    saved.batch_rows = state->batch_rows;
    saved.batch_bytes = state->batch_bytes;
    *state = saved;
    (void)fprintf(cli->err,
                  "lathe: going on behind the first %llu rows, where the earlier import stopped\n",
                  (unsigned long long)saved.done.row);
    return lathe_rows_seek(rows, saved.done, err);
}

static int report(struct lathe_cli *cli, const struct lathe_progress *progress,
                  const struct lathe_import_state *state)
{
    struct lathe_buf text = {0};
    char rows[32], rate[32], time[32];
    uint64_t now = lathe_now_us(cli->clock);
    int code;

    lathe_buf_printf(
        &text, "imported %s row%s into %s in %s (%s rows/s)\n",
        lathe_progress_number(state->done.row - progress->rows_before, rows),
        state->done.row - progress->rows_before == 1 ? "" : "s", state->collection,
        lathe_progress_time((double)(now - progress->begun_us) * 1e-6, time),
        lathe_progress_number((uint64_t)lathe_progress_rate(progress, state->done.row), rate));
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}

static int rows_import(struct lathe_cli *cli, struct lathe_rows *rows, const char *state_path,
                       struct lathe_import_state *state)
{
    struct lathe_progress progress;
    struct lathe_importer_config config = {
        .client = cli->client,
        .rows = rows,
        .state = state,
        .state_path = state_path,
        .progress = &progress,
        .clock = cli->clock,
        .sleep_ms = system_sleep_ms,
        .stop = &stop_requested,
        .patience_ms = (uint32_t)lathe_options_number(cli->options, "timeout"),
    };
    struct lathe_error err = {0};
    enum lathe_status rc;

    lathe_progress_start(&progress, cli->err, cli->err_columns, cli->clock, state->done.row,
                         (double)state->done.offset / (double)lathe_rows_bytes(rows));
    signals_catch();
    rc = lathe_importer_run(&config, &err);
    signals_release();
    lathe_progress_stop(&progress);
    if (rc == LATHE_OK) {
        lathe_import_state_remove(state_path);
        return report(cli, &progress, state);
    }
    if (!state->untouched)
        (void)fprintf(cli->err,
                      "lathe: %llu row%s imported; the same command goes on there (its state is in "
                      "%s)\n",
                      (unsigned long long)state->done.row, state->done.row == 1 ? " is" : "s are",
                      state_path);
    return lathe_cli_fail(cli, &err);
}

int lathe_command_import(struct lathe_cli *cli)
{
    const struct lathe_options *options = cli->options;
    const char *file = lathe_options_text(options, "file");
    const char *name = lathe_options_text(options, "collection");
    Lathe__V1__Collection *collection = NULL;
    struct lathe_rows *rows = NULL;
    struct lathe_import_state state;
    struct lathe_error err = {0};
    char *path = NULL;
    int code;

    if (lathe_options_bool(options, "create") && lathe_options_text(options, "metric") == NULL)
        return lathe_cli_usage(cli, "--create needs --metric");
    if (lathe_rows_open(file, LATHE_ROWS_POINTS, &rows, &err) != LATHE_OK ||
        collection_find(cli, name, rows, &collection, &err) != LATHE_OK) {
        code = lathe_cli_fail(cli, &err);
        goto done;
    }
    lathe_import_state_init(&state, rows, lathe_wall_ms(cli->clock));
    (void)snprintf(state.server, sizeof(state.server), "%s", lathe_options_text(options, "server"));
    (void)snprintf(state.collection, sizeof(state.collection), "%s", name);
    state.collection_id = collection->id;
    state.first_id = lathe_options_number(options, "first-id");
    path = lathe_import_state_path(file, cli->environment);
    if (path == NULL)
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the state's path");
    else if (field_choose(cli, collection, &state, &err) == LATHE_OK)
        (void)state_find(cli, rows, path, &state, &err);
    code = err.status != LATHE_OK ? lathe_cli_fail(cli, &err)
                                  : rows_import(cli, rows, path, &state);
done:
    lathe_free(path);
    if (collection != NULL)
        lathe_client_free_reply(&collection->base);
    lathe_rows_close(&rows);
    return code;
}
