/* run_cli.c - see run_cli.h. */
#include "tests/unit/cli/run_cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/dispatch.h"
#include "lathe/v1/collections.pb-c.h"

struct run run;

static enum lathe_status serve_fake(const struct lathe_serve_config *config,
                                    struct lathe_error *error)
{
    run.served = *config;
    (void)snprintf(run.served_data, sizeof(run.served_data), "%s", config->data);
    if (run.serve_status != LATHE_OK)
        return lathe_fail(error, run.serve_status, "the data directory is in use");
    return LATHE_OK;
}

static const char *environment(const char *name)
{
    return strcmp(name, "LATHE_SERVER") == 0 ? run.server_variable : NULL;
}

int run_words(const char *const *words)
{
    const char *typed = run.typed != NULL ? run.typed : "\n";
    size_t out_size, err_size;
    struct lathe_cli cli = {.environment = environment,
                            .clock = &lathe_system_clock,
                            .serve = serve_fake,
                            .out_columns = run.columns,
                            .interactive = run.interactive};
    FILE *results, *errors;
    int argc = 0, code;

    free(run.out);
    free(run.err);
    run.out = run.err = NULL;
    results = open_memstream(&run.out, &out_size);
    errors = open_memstream(&run.err, &err_size);
    cli.out = results;
    cli.err = errors;
    cli.in = fmemopen((void *)(uintptr_t)typed, strlen(typed), "r");
    while (words[argc] != NULL)
        argc++;
    code = lathe_cli_run(&cli, argc, words);
    (void)fclose(results);
    (void)fclose(errors);
    (void)fclose(cli.in);
    assert_int_equal(fake.clients, 0);
    return code;
}

int run_setup(void **state)
{
    (void)state;
    fake_reset();
    run.columns = 0;
    run.interactive = false;
    run.typed = NULL;
    run.server_variable = NULL;
    run.serve_status = LATHE_OK;
    memset(&run.served, 0, sizeof(run.served));
    return 0;
}

int run_group_setup(void **state)
{
    (void)state;
    run.dir = test_dir_create();
    return 0;
}

int run_group_teardown(void **state)
{
    (void)state;
    test_dir_remove(run.dir);
    free(run.out);
    free(run.err);
    return 0;
}

void run_contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

const char *run_put(const char *name, const char *text)
{
    FILE *file;

    (void)snprintf(run.path, sizeof(run.path), "%s/%s", run.dir, name);
    file = fopen(run.path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    return run.path;
}

void run_reply_collection(void)
{
    Lathe__V1__Collection collection = LATHE__V1__COLLECTION__INIT;
    Lathe__V1__CollectionSchema schema = LATHE__V1__COLLECTION_SCHEMA__INIT;
    Lathe__V1__FieldSchema fields[2] = {LATHE__V1__FIELD_SCHEMA__INIT,
                                        LATHE__V1__FIELD_SCHEMA__INIT};
    Lathe__V1__FieldSchema *pointers[2] = {&fields[0], &fields[1]};
    Lathe__V1__CollectionStats stats = LATHE__V1__COLLECTION_STATS__INIT;
    Lathe__V1__FieldStats field = LATHE__V1__FIELD_STATS__INIT, *field_pointer = &field;

    fields[0].dims = 384;
    fields[0].metric = LATHE__V1__METRIC__METRIC_COSINE;
    fields[0].zero_vectors = LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT;
    fields[1].name = (char *)"title";
    fields[1].dims = 64;
    fields[1].metric = LATHE__V1__METRIC__METRIC_EUCLIDEAN;
    fields[1].zero_vectors = LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW;
    schema.fields = pointers;
    schema.n_fields = 2;
    field.name = (char *)"title";
    field.rows = 4000;
    field.dead_rows = 3;
    field.memory_bytes = 1024000;
    stats.points = 4001;
    stats.fields = &field_pointer;
    stats.n_fields = 1;
    collection.name = (char *)"words";
    collection.id = 7;
    collection.shards = 2;
    collection.created_ms = 1700000000123u;
    collection.schema = &schema;
    collection.metadata.data = (uint8_t *)"note\n";
    collection.metadata.len = 5;
    collection.stats = &stats;
    fake_reply(&collection.base);
}
