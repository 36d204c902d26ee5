/* test_commands.c - the program as a user meets it: what it prints, asks, sends, and its exit
 * codes. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/serve.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/search.pb-c.h"
#include "lathe/v1/server.pb-c.h"
#include "tests/unit/cli/fake_client.h"

/* What the last run printed. */
static char *out, *err;
static size_t out_size, err_size;
static unsigned columns;
static bool interactive;
static const char *typed;
static const char *server_variable;

static struct lathe_serve_config served;
static char served_data[100];
static enum lathe_status serve_status;

static enum lathe_status serve_fake(const struct lathe_serve_config *config,
                                    struct lathe_error *error)
{
    served = *config;
    (void)snprintf(served_data, sizeof(served_data), "%s", config->data);
    if (serve_status != LATHE_OK)
        return lathe_fail(error, serve_status, "the data directory is in use");
    return LATHE_OK;
}

static const char *environment(const char *name)
{
    return strcmp(name, "LATHE_SERVER") == 0 ? server_variable : NULL;
}

static int run_words(const char *const *words)
{
    struct lathe_cli cli = {.environment = environment,
                            .clock = &lathe_system_clock,
                            .serve = serve_fake,
                            .out_columns = columns,
                            .interactive = interactive};
    int argc = 0, code;

    free(out);
    free(err);
    out = err = NULL;
    cli.out = open_memstream(&out, &out_size);
    cli.err = open_memstream(&err, &err_size);
    cli.in = fmemopen((void *)(uintptr_t)(typed != NULL ? typed : "\n"),
                      typed != NULL ? strlen(typed) : 1, "r");
    while (words[argc] != NULL)
        argc++;
    {
        FILE *results = cli.out, *errors = cli.err;

        code = lathe_cli_run(&cli, argc, words);
        (void)fclose(results);
        (void)fclose(errors);
    }
    (void)fclose(cli.in);
    assert_int_equal(fake.clients, 0);
    return code;
}

#define RUN(...) run_words((const char *const[]){"lathe", __VA_ARGS__, NULL})

static int setup(void **state)
{
    (void)state;
    fake_reset();
    columns = 0;
    interactive = false;
    typed = NULL;
    server_variable = NULL;
    serve_status = LATHE_OK;
    memset(&served, 0, sizeof(served));
    return 0;
}

static void contains(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

static void help_is_everywhere(void **state)
{
    (void)state;
    assert_int_equal(RUN("--help"), LATHE_EXIT_OK);
    contains(out, "  serve                 Run a server");
    contains(out, "Exit codes: 0 done, 1 the operation failed, 2 ");
    assert_int_equal(RUN("help"), LATHE_EXIT_OK);
    for (size_t i = 0; i < lathe_cli_command_count; i++) {
        const char *name = lathe_cli_commands[i].set.command + strlen("lathe ");
        char first[40];
        const char *second = strchr(name, ' ');
        char *by_help;

        (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, " "), name);
        if (second != NULL) {
            assert_int_equal(RUN("help", first, second + 1), LATHE_EXIT_OK);
            by_help = strdup(out);
            assert_int_equal(RUN(first, second + 1, "--help"), LATHE_EXIT_OK);
        } else {
            assert_int_equal(RUN("help", first), LATHE_EXIT_OK);
            by_help = strdup(out);
            assert_int_equal(RUN(first, "-h"), LATHE_EXIT_OK);
        }
        assert_string_equal(out, by_help);
        contains(out, lathe_cli_commands[i].set.summary);
        contains(out, "Exit codes");
        assert_string_equal(err, "");
        free(by_help);
    }
    assert_int_equal(RUN("collection", "--help"), LATHE_EXIT_OK);
    contains(out, "  collection drop ");
    assert_null(strstr(out, "  serve "));
}

static void wrong_words_are_usage_errors(void **state)
{
    (void)state;
    assert_int_equal(run_words((const char *const[]){"lathe", NULL}), LATHE_EXIT_USAGE);
    contains(err, "Usage: lathe COMMAND [options]");
    assert_string_equal(out, "");
    assert_int_equal(RUN("srve"), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: unknown command \"srve\"; \"lathe help\" lists them\n");
    assert_int_equal(RUN("collection"), LATHE_EXIT_USAGE);
    contains(err, "collection list");
    assert_int_equal(RUN("collection", "make"), LATHE_EXIT_USAGE);
    assert_string_equal(
        err, "lathe: unknown command \"collection make\"; \"lathe help collection\" lists them\n");
    assert_int_equal(RUN("--json", "info"), LATHE_EXIT_USAGE);
    assert_string_equal(err,
                        "lathe: a command must come before --json; \"lathe help\" lists them\n");
    assert_int_equal(RUN("help", "srve"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("help", "serve", "x"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("count", "--colection", "x"), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: unknown option --colection\n"
                             "lathe: \"lathe count --help\" tells more\n");
    assert_int_equal(RUN("count"), LATHE_EXIT_USAGE);
    contains(err, "lathe: --collection is missing\n");
}

static void the_version_is_printed(void **state)
{
    (void)state;
    assert_int_equal(RUN("version"), LATHE_EXIT_OK);
    assert_string_equal(out, "lathe " LATHE_VERSION "\n");
    assert_int_equal(RUN("--version"), LATHE_EXIT_OK);
    assert_string_equal(out, "lathe " LATHE_VERSION "\n");
}

/* The option reference in docs/operations.md is what `lathe help --markdown` prints. */
static void the_documents_are_in_step(void **state)
{
    static const char begin[] = "<!-- lathe help --markdown -->\n", end[] = "<!-- end -->";
    FILE *file = fopen(LATHE_SOURCE_DIR "/docs/operations.md", "r");
    char *text = calloc(1, 1 << 20), *from, *to;

    (void)state;
    assert_non_null(file);
    assert_in_range(fread(text, 1, (1 << 20) - 1, file), 1, (1 << 20) - 2);
    (void)fclose(file);
    from = strstr(text, begin);
    assert_non_null(from);
    from += strlen(begin);
    to = strstr(from, end);
    assert_non_null(to);
    *to = '\0';
    assert_int_equal(RUN("help", "--markdown"), LATHE_EXIT_OK);
    assert_string_equal(from, out);
    free(text);
}

static void every_row_of_every_table_is_sound(void **state)
{
    (void)state;
    for (size_t i = 0; i < lathe_cli_command_count; i++) {
        const struct lathe_option_set *set = &lathe_cli_commands[i].set;

        assert_int_equal(strncmp(set->command, "lathe ", 6), 0);
        for (size_t j = 0; j < set->option_count; j++) {
            const struct lathe_option *row = &set->options[j];
            size_t size = strlen(row->summary);
            uint64_t number;
            bool automatic;

            assert_int_equal(row->summary[size - 1], '.');
            assert_null(strchr(row->summary, '|')); /* it would end a cell of the documents */
            assert_true((row->flags & LATHE_OPTION_POSITIONAL) == 0 ||
                        (row->flags & LATHE_OPTION_FLAG_ONLY) != 0);
            assert_true(row->value != NULL || row->type == LATHE_OPTION_BOOL ||
                        row->type == LATHE_OPTION_CHOICE);
            if (row->fallback != NULL)
                assert_int_equal(
                    lathe_option_check(row, row->fallback, "", &number, &automatic, NULL),
                    LATHE_OK);
            for (size_t k = 0; k < j; k++)
                assert_string_not_equal(row->name, set->options[k].name);
        }
    }
}

static void serve_gets_its_configuration(void **state)
{
    (void)state;
    assert_int_equal(RUN("serve", "--data", "d"), LATHE_EXIT_OK);
    assert_string_equal(served_data, "d");
    assert_int_equal(served.shards, 0);
    assert_true(served.loopback);
    assert_false(served.insecure);
    assert_int_equal(served.memory_limit_bytes, 0);
    assert_int_equal(served.scan_threads, 0);
    assert_int_equal(served.max_payload_bytes, LATHE_DEFAULT_PAYLOAD_BYTES);
    assert_int_equal(served.log_level, LATHE_LOG_INFO);
    assert_null(served.port_file);
    assert_int_equal(RUN("serve", "--data", "d", "--shards", "4", "--listen", "0.0.0.0:0",
                         "--insecure", "--memory-limit", "2GiB", "--scan-threads", "3", "--kernel",
                         "avx2", "--max-payload", "64K", "--log-level", "error", "--port-file",
                         "p"),
                     LATHE_EXIT_OK);
    assert_int_equal(served.shards, 4);
    assert_false(served.loopback);
    assert_true(served.insecure);
    assert_true(served.memory_limit_bytes == (uint64_t)2 << 30);
    assert_int_equal(served.scan_threads, 3);
    assert_int_equal(served.max_payload_bytes, 65536);
    assert_int_equal(served.log_level, LATHE_LOG_ERROR);
    assert_non_null(served.port_file);
    lathe_log_set_level(LATHE_LOG_INFO);
    assert_int_equal(RUN("serve"), LATHE_EXIT_USAGE);
    contains(err, "--data is missing");
    serve_status = LATHE_FAILED_PRECONDITION;
    assert_int_equal(RUN("serve", "--data", "d"), LATHE_EXIT_FAILED);
    assert_string_equal(err, "lathe: the data directory is in use (FAILED_PRECONDITION)\n");
}

static void an_open_address_needs_to_be_allowed(void **state)
{
    static const char *const open[] = {"0.0.0.0:7770",
                                       "[::]:7770",
                                       "192.168.1.2:7770",
                                       "example.org:7770",
                                       "127.0.0.1.example.org:7770",
                                       "localhost.example.org:1",
                                       "128.0.0.1:1"};
    static const char *const local[] = {"127.0.0.1:0", "127.9.8.7:65535", "[::1]:7770",
                                        "localhost:7770", "unix:/run/lathe.sock"};
    static const char *const wrong[] = {"7770",     ":7770", "127.0.0.1", "127.0.0.1:",
                                        "::1:7770", "[::1]", "[::1]7770", "127.0.0.1:65536",
                                        "a:-1",     "a:1x",  "unix:",     "a:123456",
                                        "[]:1",     "["};

    (void)state;
    for (size_t i = 0; i < sizeof(open) / sizeof(open[0]); i++) {
        assert_int_equal(RUN("serve", "--data", "d", "--listen", open[i]), LATHE_EXIT_USAGE);
        contains(err, "add --insecure");
        contains(err, open[i]);
        assert_null(served.data);
        assert_int_equal(RUN("serve", "--data", "d", "--insecure", "--listen", open[i]),
                         LATHE_EXIT_OK);
        assert_false(served.loopback);
        memset(&served, 0, sizeof(served));
    }
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        assert_int_equal(RUN("serve", "--data", "d", "--listen", local[i]), LATHE_EXIT_OK);
        assert_true(served.loopback);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(RUN("serve", "--data", "d", "--insecure", "--listen", wrong[i]),
                         LATHE_EXIT_USAGE);
        contains(err, "is not host:port, [v6]:port or unix:path");
    }
}

static enum lathe_status call_unreachable(const char *path, const ProtobufCMessage *request,
                                          struct lathe_error *error)
{
    (void)path;
    (void)request;
    return lathe_fail(error, LATHE_UNAVAILABLE, "127.0.0.1:1 refused the connection");
}

static enum lathe_status call_missing(const char *path, const ProtobufCMessage *request,
                                      struct lathe_error *error)
{
    (void)path;
    (void)request;
    return lathe_fail_field(error, LATHE_NOT_FOUND, "collection", "there is nothing named words");
}

static void failures_have_their_exit_codes(void **state)
{
    (void)state;
    fake.call = call_unreachable;
    assert_int_equal(RUN("info"), LATHE_EXIT_UNREACHABLE);
    assert_string_equal(err, "lathe: 127.0.0.1:1 refused the connection (UNAVAILABLE)\n");
    assert_int_equal(RUN("collection", "list"), LATHE_EXIT_UNREACHABLE);
    fake.call = call_missing;
    assert_int_equal(RUN("count", "--collection", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(err, "lathe: collection: there is nothing named words (NOT_FOUND)\n");
}

static enum lathe_status call_count(const char *path, const ProtobufCMessage *request,
                                    struct lathe_error *error)
{
    Lathe__V1__CountPointsResponse reply = LATHE__V1__COUNT_POINTS_RESPONSE__INIT;

    (void)error;
    assert_string_equal(path, "/lathe.v1.PointService/CountPoints");
    assert_string_equal(((const Lathe__V1__CountPointsRequest *)request)->collection, "words");
    reply.count = 12345678901u;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void count_prints_a_number(void **state)
{
    (void)state;
    fake.call = call_count;
    assert_int_equal(RUN("count", "--collection", "words"), LATHE_EXIT_OK);
    assert_string_equal(out, "12345678901\n");
    assert_string_equal(fake.address, "127.0.0.1:7770");
    assert_int_equal(fake.timeout_ms, 10000);
    server_variable = "h:1";
    assert_int_equal(RUN("count", "--collection=words", "--json", "--timeout", "250ms"),
                     LATHE_EXIT_OK);
    assert_string_equal(out, "{\"count\":12345678901}\n");
    assert_int_equal(fake.timeout_ms, 250);
    assert_string_equal(fake.address, "h:1");
    assert_int_equal(RUN("count", "--collection=words", "--server", "unix:/x"), LATHE_EXIT_OK);
    assert_string_equal(fake.address, "unix:/x");
}

/* A collection with a default and a named field. */
static void reply_collection(void)
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

static enum lathe_status call_create(const char *path, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    const Lathe__V1__CreateCollectionRequest *create =
        (const Lathe__V1__CreateCollectionRequest *)request;

    (void)error;
    assert_string_equal(path, "/lathe.v1.CollectionService/CreateCollection");
    assert_string_equal(create->name, "words");
    assert_int_equal(create->schema->n_fields, 3);
    assert_string_equal(create->schema->fields[0]->name, "");
    assert_int_equal(create->schema->fields[0]->dims, 384);
    assert_int_equal(create->schema->fields[0]->metric, LATHE__V1__METRIC__METRIC_COSINE);
    assert_int_equal(create->schema->fields[0]->zero_vectors,
                     LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW);
    assert_string_equal(create->schema->fields[1]->name, "title");
    assert_int_equal(create->schema->fields[1]->dims, 64);
    assert_int_equal(create->schema->fields[1]->metric, LATHE__V1__METRIC__METRIC_EUCLIDEAN);
    assert_string_equal(create->schema->fields[2]->name, "a:b");
    assert_int_equal(create->schema->fields[2]->metric, LATHE__V1__METRIC__METRIC_DOT);
    assert_int_equal(create->metadata.len, 4);
    reply_collection();
    return LATHE_OK;
}

static void collections_are_created_with_fields(void **state)
{
    (void)state;
    fake.call = call_create;
    assert_int_equal(RUN("collection", "create", "words", "--dims", "384", "--field",
                         "title:64:euclidean", "--field", "a:b:8:dot", "--zero-vectors", "allow",
                         "--metadata", "note"),
                     LATHE_EXIT_OK);
    assert_string_equal(out,
                        "created collection words (384 cosine, title 64 euclidean) on 2 shards\n");
    assert_int_equal(RUN("collection", "create", "words"), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: a collection needs --dims N, or --field NAME:DIMS:METRIC\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "title"), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: field: \"title\" is not NAME:DIMS:METRIC (from --field)\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "t:0:dot"), LATHE_EXIT_USAGE);
    assert_string_equal(
        err, "lathe: field: \"0\" is outside the range; it takes 1 to 16384 dims (from --field)\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "t:8:l2"), LATHE_EXIT_USAGE);
    contains(err, "it takes cosine, dot or euclidean");
}

static enum lathe_status call_get_collection(const char *path, const ProtobufCMessage *request,
                                             struct lathe_error *error)
{
    (void)error;
    assert_string_equal(path, "/lathe.v1.CollectionService/GetCollection");
    assert_string_equal(((const Lathe__V1__GetCollectionRequest *)request)->name, "words");
    reply_collection();
    return LATHE_OK;
}

static void collections_are_described(void **state)
{
    (void)state;
    fake.call = call_get_collection;
    assert_int_equal(RUN("collection", "describe", "words"), LATHE_EXIT_OK);
    assert_string_equal(out, "collection  words\n"
                             "id          7\n"
                             "shards      2\n"
                             "created     2023-11-14 22:13:20 UTC\n"
                             "metadata    note \n"
                             "points      4,001\n"
                             "\n"
                             "field      dims  metric      rows  dead rows  memory bytes\n"
                             "(default)   384  cosine         0          0             0\n"
                             "title        64  euclidean  4,000          3     1,024,000\n");
    assert_int_equal(RUN("collection", "describe", "words", "--json"), LATHE_EXIT_OK);
    assert_string_equal(
        out, "{\"name\":\"words\",\"id\":7,\"shards\":2,\"created_ms\":1700000000123,\"fields\":["
             "{\"name\":\"\",\"dims\":384,\"metric\":\"cosine\",\"zero_vectors\":\"reject\"},"
             "{\"name\":\"title\",\"dims\":64,\"metric\":\"euclidean\",\"zero_vectors\":\"allow\"}"
             "],\"metadata\":\"note\\n\",\"points\":4001,\"field_stats\":[{\"name\":\"title\","
             "\"rows\":4000,\"dead_rows\":3,\"memory_bytes\":1024000}]}\n");
}

static bool list_empty;

static enum lathe_status call_list(const char *path, const ProtobufCMessage *request,
                                   struct lathe_error *error)
{
    Lathe__V1__ListCollectionsResponse list = LATHE__V1__LIST_COLLECTIONS_RESPONSE__INIT;
    Lathe__V1__Collection collections[2] = {LATHE__V1__COLLECTION__INIT,
                                            LATHE__V1__COLLECTION__INIT};
    Lathe__V1__Collection *pointers[2] = {&collections[0], &collections[1]};

    (void)request;
    (void)error;
    assert_string_equal(path, "/lathe.v1.CollectionService/ListCollections");
    collections[0].name = (char *)"a";
    collections[1].name = (char *)"b\x1b[0m";
    list.collections = pointers;
    list.n_collections = list_empty ? 0 : 2;
    fake_reply(&list.base);
    return LATHE_OK;
}

static void collections_are_listed(void **state)
{
    (void)state;
    fake.call = call_list;
    list_empty = true;
    assert_int_equal(RUN("collection", "list"), LATHE_EXIT_OK);
    assert_string_equal(out, "there are no collections\n");
    assert_int_equal(RUN("collection", "list", "--json"), LATHE_EXIT_OK);
    assert_string_equal(out, "");
    list_empty = false;
    assert_int_equal(RUN("collection", "list"), LATHE_EXIT_OK);
    assert_string_equal(out, "name   fields  created\n"
                             "a              1970-01-01 00:00:00 UTC\n"
                             "b\xEF\xBF\xBD[0m          1970-01-01 00:00:00 UTC\n");
}

static unsigned drops;

static enum lathe_status call_drop(const char *path, const ProtobufCMessage *request,
                                   struct lathe_error *error)
{
    Lathe__V1__DeleteCollectionResponse reply = LATHE__V1__DELETE_COLLECTION_RESPONSE__INIT;

    (void)error;
    assert_string_equal(path, "/lathe.v1.CollectionService/DeleteCollection");
    assert_string_equal(((const Lathe__V1__DeleteCollectionRequest *)request)->name, "words");
    drops++;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void drop_asks_a_person_only(void **state)
{
    (void)state;
    fake.call = call_drop;
    drops = 0;
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_OK);
    assert_string_equal(out, "dropped collection words\n");
    interactive = true;
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(err, "Drop collection words and all its points for good? [y/N] "
                             "lathe: collection words was not dropped\n");
    typed = "yes please\n";
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_FAILED);
    assert_int_equal(drops, 1);
    typed = "y\n";
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_OK);
    typed = NULL;
    assert_int_equal(RUN("collection", "drop", "--yes", "words"), LATHE_EXIT_OK);
    assert_int_equal(drops, 3);
}

/* {"word": word, "gloss": gloss} with the storage of the caller. */
struct payload {
    Lathe__V1__Value values[2];
    Lathe__V1__Entry entries[2], *pointers[2];
    Lathe__V1__Object object;
};

static Lathe__V1__Object *payload_of(struct payload *p, const char *word, const char *gloss)
{
    const char *keys[2] = {"word", "gloss"}, *texts[2] = {word, gloss};

    lathe__v1__object__init(&p->object);
    for (int i = 0; i < 2; i++) {
        lathe__v1__value__init(&p->values[i]);
        p->values[i].kind_case = LATHE__V1__VALUE__KIND_STRING_VALUE;
        p->values[i].string_value = (char *)(uintptr_t)texts[i];
        lathe__v1__entry__init(&p->entries[i]);
        p->entries[i].key = (char *)(uintptr_t)keys[i];
        p->entries[i].value = &p->values[i];
        p->pointers[i] = &p->entries[i];
    }
    p->object.entries = p->pointers;
    p->object.n_entries = 2;
    return &p->object;
}

/* The requests of the searches made. */
static struct {
    unsigned calls;
    uint32_t limit;
    float first;
    uint64_t like;
    char field[20];
    bool payload, vectors;
} asked;

static void note_search(const Lathe__V1__SearchRequest *search)
{
    asked.calls++;
    asked.limit = search->limit;
    asked.payload = search->selection->payload;
    asked.vectors = search->selection->vectors;
    (void)snprintf(asked.field, sizeof(asked.field), "%s", search->field);
    if (search->query_case == LATHE__V1__SEARCH_REQUEST__QUERY_LIKE)
        asked.like = search->like->number;
    else
        memcpy(&asked.first, search->vector->data.data, sizeof(float));
}

static enum lathe_status call_search(const char *path, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    Lathe__V1__SearchResponse reply = LATHE__V1__SEARCH_RESPONSE__INIT;
    Lathe__V1__SearchHit hits[2] = {LATHE__V1__SEARCH_HIT__INIT, LATHE__V1__SEARCH_HIT__INIT};
    Lathe__V1__SearchHit *pointers[2] = {&hits[0], &hits[1]};
    Lathe__V1__PointId ids[2] = {LATHE__V1__POINT_ID__INIT, LATHE__V1__POINT_ID__INIT};
    Lathe__V1__Report report = LATHE__V1__REPORT__INIT;
    Lathe__V1__Coverage coverage = LATHE__V1__COVERAGE__INIT;
    Lathe__V1__ShardCoverage shards[2] = {LATHE__V1__SHARD_COVERAGE__INIT,
                                          LATHE__V1__SHARD_COVERAGE__INIT};
    Lathe__V1__ShardCoverage *shard_pointers[2] = {&shards[0], &shards[1]};
    Lathe__V1__Plan plan = LATHE__V1__PLAN__INIT;
    Lathe__V1__PlanStep step = LATHE__V1__PLAN_STEP__INIT, *step_pointer = &step;
    struct payload payloads[2];

    (void)error;
    assert_string_equal(path, "/lathe.v1.SearchService/Search");
    note_search((const Lathe__V1__SearchRequest *)request);
    for (int i = 0; i < 2; i++) {
        ids[i].id_case = LATHE__V1__POINT_ID__ID_NUMBER;
        ids[i].number = 100 + i;
        hits[i].id = &ids[i];
        hits[i].version = 9;
        hits[i].score = i == 0 ? 0.75f : 0.5f;
        if (asked.payload)
            hits[i].payload = payload_of(&payloads[i], i == 0 ? "beaver" : "otter",
                                         i == 0 ? "large semiaquatic rodent with a broad flat tail"
                                                : "freshwater carnivore");
        shards[i].rows = 2000;
    }
    step.name = (char *)"originals";
    step.rows_in = 4000;
    step.rows_out = 10;
    step.bytes_read = 6144000;
    plan.steps = &step_pointer;
    plan.n_steps = 1;
    coverage.shards_asked = coverage.shards_answered = 2;
    coverage.shards = shard_pointers;
    coverage.n_shards = 2;
    report.guarantee = LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_CERTIFIED;
    report.estimated_recall = 1;
    report.plan = &plan;
    report.coverage = &coverage;
    report.originals_read = 42;
    report.shard_us = 900;
    report.scan_us = 800;
    report.total_us = 1234;
    report.kernel = (char *)"avx2";
    reply.hits = pointers;
    reply.n_hits = 2;
    reply.report = &report;
    fake_reply(&reply.base);
    return LATHE_OK;
}

/* A file in a directory of the test's own, whose path is returned. */
static char *dir;
static char path[4300];

static const char *put(const char *name, const char *text)
{
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    return path;
}

static void search_prints_a_table_a_person_can_read(void **state)
{
    (void)state;
    fake.call = call_search;
    columns = 64;
    assert_int_equal(RUN("search", "--collection", "words", "-k", "5", "--with-payload",
                         put("q.jsonl", "{\"text\":\"an animal that builds dams\",\"vector\":[1]}\n"
                                        "{\"vector\":[2]}\n")),
                     LATHE_EXIT_OK);
    assert_string_equal(
        out, "> an animal that builds dams\n"
             "#     score  id   word    gloss\n"
             "1  0.750000  100  beaver  large semiaquatic rodent with a broad\xE2\x80\xA6\n"
             "2  0.500000  101  otter   freshwater carnivore\n"
             "certified, 4,000 rows on 2 of 2 shards, 1.23 ms (scan 0.80 ms, avx2)\n"
             "\n"
             "> row 1\n"
             "#     score  id   word    gloss\n"
             "1  0.750000  100  beaver  large semiaquatic rodent with a broad\xE2\x80\xA6\n"
             "2  0.500000  101  otter   freshwater carnivore\n"
             "certified, 4,000 rows on 2 of 2 shards, 1.23 ms (scan 0.80 ms, avx2)\n");
    assert_int_equal(asked.limit, 5);
    assert_true(asked.first == 2.0f);
    assert_false(asked.vectors);
}

static void search_prints_a_line_of_json_for_each_row(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(
        RUN("search", "--collection", "words", "--json", "--row", "1", put("q.json", "[[1],[3]]")),
        LATHE_EXIT_OK);
    assert_string_equal(
        out, "{\"row\":1,\"hits\":[{\"id\":100,\"score\":0.75,\"version\":9},"
             "{\"id\":101,\"score\":0.5,\"version\":9}],\"report\":{\"guarantee\":\"certified\","
             "\"estimated_recall\":1.0,\"plan\":[{\"name\":\"originals\",\"rows_in\":4000,"
             "\"rows_out\":10,\"bytes_read\":6144000}],\"rows\":4000,\"shards_asked\":2,"
             "\"shards_answered\":2,\"originals_read\":42,\"shard_us\":900,\"scan_us\":800,"
             "\"total_us\":1234,\"kernel\":\"avx2\"}}\n");
    assert_true(asked.first == 3.0f);
    assert_int_equal(asked.limit, 10);
}

static void search_can_begin_at_a_stored_point(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(RUN("search", "--collection", "words", "--like", "77", "--field", "title",
                         "--with-vectors"),
                     LATHE_EXIT_OK);
    assert_int_equal(asked.like, 77);
    assert_string_equal(asked.field, "title");
    assert_true(asked.vectors);
    contains(out, "1  0.750000  100");
    assert_null(strchr(out, '>')); /* one question needs no title */
}

static void search_takes_the_vector_of_its_field(void **state)
{
    (void)state;
    fake.call = call_search;
    (void)put("q.jsonl", "{\"vectors\":{\"a\":[1],\"b\":[2]}}\n");
    assert_int_equal(RUN("search", "--collection", "words", "--field", "b", path), LATHE_EXIT_OK);
    assert_true(asked.first == 2.0f);
    assert_int_equal(RUN("search", "--collection", "words", path), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: row 0 has no vector of the field \"\"\n");
}

static void wrong_searches_are_refused(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(RUN("search", "--collection", "words"), LATHE_EXIT_USAGE);
    contains(err, "a search needs a file of vectors or --like ID");
    assert_int_equal(RUN("search", "--collection", "words", "--like", "7", "f"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("search", "--collection", "words", "-k", "0", "f"), LATHE_EXIT_USAGE);
    contains(err, "limit: \"0\" is outside the range; it takes 1 to 16384 results");
    assert_int_equal(
        RUN("search", "--collection", "words", "--row", "2", put("q.json", "[[1],[3]]")),
        LATHE_EXIT_USAGE);
    contains(err, "has no row 2");
    assert_int_equal(RUN("search", "--collection", "words", put("q.json", "[[1],[]]")),
                     LATHE_EXIT_FAILED);
    contains(err, "q.json: row 1: vector: a vector of 0 elements");
    contains(out, "1  0.750000  100"); /* the row before it was answered */
}

static enum lathe_status call_get(const char *service, const ProtobufCMessage *request,
                                  struct lathe_error *error)
{
    const Lathe__V1__GetPointsRequest *get = (const Lathe__V1__GetPointsRequest *)request;
    Lathe__V1__GetPointsResponse reply = LATHE__V1__GET_POINTS_RESPONSE__INIT;
    Lathe__V1__Point point = LATHE__V1__POINT__INIT, *point_pointer = &point;
    Lathe__V1__PointId *missing;
    struct payload payload;

    (void)error;
    assert_string_equal(service, "/lathe.v1.PointService/GetPoints");
    assert_true(get->selection->payload);
    assert_int_equal(get->n_ids, 2);
    assert_int_equal(get->ids[0]->number, 7);
    assert_string_equal(get->ids[1]->string, "8");
    point.id = get->ids[0];
    point.version = 3;
    point.payload = payload_of(&payload, "caf\xC3\xA9", "a place");
    missing = get->ids[1];
    reply.points = &point_pointer;
    reply.n_points = 1;
    reply.missing = &missing;
    reply.n_missing = 1;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void get_shows_points_and_names_missing_ones(void **state)
{
    (void)state;
    fake.call = call_get;
    assert_int_equal(RUN("get", "--collection", "words", "7", "str:8"), LATHE_EXIT_FAILED);
    assert_string_equal(out, "id  word  gloss\n"
                             "7   caf\xC3\xA9  a place\n");
    assert_string_equal(err, "lathe: no point str:8\n");
    assert_int_equal(RUN("get", "--collection", "words", "--json", "7", "str:8"),
                     LATHE_EXIT_FAILED);
    assert_string_equal(out, "{\"id\":7,\"version\":3,\"payload\":{\"word\":\"caf\xC3\xA9\","
                             "\"gloss\":\"a place\"}}\n");
    assert_int_equal(RUN("get", "--collection", "words", "str:"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("get", "--collection", "words"), LATHE_EXIT_USAGE);
}

static Lathe__V1__Outcome second_outcome;

static enum lathe_status call_delete(const char *service, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    const Lathe__V1__WritePointsRequest *write = (const Lathe__V1__WritePointsRequest *)request;
    Lathe__V1__WritePointsResponse reply = LATHE__V1__WRITE_POINTS_RESPONSE__INIT;
    Lathe__V1__WriteResult results[2] = {LATHE__V1__WRITE_RESULT__INIT,
                                         LATHE__V1__WRITE_RESULT__INIT};
    Lathe__V1__WriteResult *pointers[2] = {&results[0], &results[1]};

    (void)error;
    assert_string_equal(service, "/lathe.v1.PointService/WritePoints");
    assert_int_equal(write->client_id.len, 16);
    assert_int_equal(write->request_number, 1);
    assert_int_equal(write->n_operations, 2);
    assert_int_equal(write->operations[1]->operation_case,
                     LATHE__V1__WRITE_OPERATION__OPERATION_DELETE);
    assert_string_equal(write->operations[1]->delete_->id->uuid,
                        "0123abcd-4567-89ab-cdef-0123456789ab");
    results[0].outcome = LATHE__V1__OUTCOME__OUTCOME_APPLIED;
    results[1].outcome = second_outcome;
    reply.results = pointers;
    reply.n_results = 2;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void delete_counts_what_it_did(void **state)
{
    (void)state;
    fake.call = call_delete;
    second_outcome = LATHE__V1__OUTCOME__OUTCOME_NOT_FOUND;
    assert_int_equal(
        RUN("delete", "--collection", "words", "7", "0123ABCD-4567-89AB-CDEF-0123456789AB"),
        LATHE_EXIT_OK);
    assert_string_equal(out, "deleted 1, not found 1\n");
    second_outcome = LATHE__V1__OUTCOME__OUTCOME_UNKNOWN;
    assert_int_equal(RUN("delete", "--collection", "words", "7", "--json",
                         "0123ABCD-4567-89AB-CDEF-0123456789AB"),
                     LATHE_EXIT_FAILED);
    assert_string_equal(out, "{\"deleted\":1,\"not_found\":0}\n");
    assert_string_equal(err, "lathe: 1 could not be deleted; the same command can be repeated\n");
}

static enum lathe_status call_info(const char *service, const ProtobufCMessage *request,
                                   struct lathe_error *error)
{
    Lathe__V1__GetInfoResponse info = LATHE__V1__GET_INFO_RESPONSE__INIT;
    Lathe__V1__Memory memory = LATHE__V1__MEMORY__INIT;
    Lathe__V1__MemoryPart part = LATHE__V1__MEMORY_PART__INIT, *part_pointer = &part;
    Lathe__V1__Disk disk = LATHE__V1__DISK__INIT;

    (void)request;
    (void)error;
    assert_string_equal(service, "/lathe.v1.ServerService/GetInfo");
    part.name = (char *)"rows";
    part.used_bytes = 1000;
    memory.limit_bytes = 5000000;
    memory.used_bytes = 1000;
    memory.parts = &part_pointer;
    memory.n_parts = 1;
    disk.used_bytes = 12;
    disk.free_bytes = 13;
    info.version = (char *)"0.1.0";
    info.kernel = (char *)"avx512";
    info.shards = 2;
    info.uptime_ms = 65000;
    info.memory = &memory;
    info.disk = &disk;
    fake_reply(&info.base);
    return LATHE_OK;
}

static void info_shows_the_server(void **state)
{
    (void)state;
    fake.call = call_info;
    assert_int_equal(RUN("info"), LATHE_EXIT_OK);
    assert_string_equal(out, "server               127.0.0.1:7770\n"
                             "version                       0.1.0\n"
                             "kernel                       avx512\n"
                             "shards                            2\n"
                             "up for                         1:05\n"
                             "memory: limit bytes       5,000,000\n"
                             "memory: used bytes            1,000\n"
                             "memory: rows                  1,000\n"
                             "disk: used bytes                 12\n"
                             "disk: free bytes                 13\n");
    assert_int_equal(RUN("info", "--json"), LATHE_EXIT_OK);
    assert_string_equal(out, "{\"version\":\"0.1.0\",\"shards\":2,\"kernel\":\"avx512\","
                             "\"uptime_ms\":65000,\"memory\":{\"limit_bytes\":5000000,"
                             "\"used_bytes\":1000,\"parts\":{\"rows\":1000}},"
                             "\"disk\":{\"used_bytes\":12,\"free_bytes\":13}}\n");
}

/* The server of an import: one collection, which may have to be made first. */
static bool collection_there;
static unsigned rows_written;
static bool refuse_writes;

static enum lathe_status call_import(const char *service, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    if (strstr(service, "CreateCollection") != NULL) {
        const Lathe__V1__CreateCollectionRequest *create =
            (const Lathe__V1__CreateCollectionRequest *)request;

        assert_int_equal(create->schema->n_fields, 1);
        assert_string_equal(create->schema->fields[0]->name, "");
        assert_int_equal(create->schema->fields[0]->dims, 2);
        assert_int_equal(create->schema->fields[0]->metric, LATHE__V1__METRIC__METRIC_DOT);
        collection_there = true;
    } else {
        assert_string_equal(service, "/lathe.v1.CollectionService/GetCollection");
    }
    if (!collection_there)
        return lathe_fail_field(error, LATHE_NOT_FOUND, "name", "there is none");
    reply_collection();
    return LATHE_OK;
}

static bool write_import(const Lathe__V1__WritePointsRequest *request,
                         Lathe__V1__WritePointsResponse *response)
{
    if (refuse_writes) {
        response->status = LATHE_PERMISSION_DENIED;
        response->message = (char *)"not today";
        return true;
    }
    for (size_t i = 0; i < request->n_operations; i++) {
        const Lathe__V1__UpsertPoint *upsert = request->operations[i]->upsert;

        if (rows_written == 0)
            assert_int_equal(upsert->id->number, 7);
        else
            assert_int_equal(upsert->id->id_case, LATHE__V1__POINT_ID__ID_UUID);
        rows_written++;
    }
    return true;
}

static void import_makes_the_collection_and_writes_every_row(void **state)
{
    static const char lines[] = "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\n";
    char state_file[4400];

    (void)state;
    fake.call = call_import;
    fake.write = write_import;
    collection_there = false;
    refuse_writes = false;
    rows_written = 0;
    (void)put("rows.jsonl", lines);
    (void)snprintf(state_file, sizeof(state_file), "%s.lathe-import", path);
    assert_int_equal(RUN("import", path, "--collection", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(err,
                        "lathe: there is no collection words; --create makes it (NOT_FOUND)\n");
    assert_int_equal(RUN("import", path, "--collection", "words", "--create"), LATHE_EXIT_USAGE);
    assert_string_equal(err, "lathe: --create needs --metric\n");
    assert_int_equal(RUN("import", path, "--collection", "words", "--create", "--metric", "dot"),
                     LATHE_EXIT_OK);
    contains(out, "imported 2 rows into words in 0:00 (");
    assert_int_equal(rows_written, 2);
    assert_null(fopen(state_file, "r")); /* finished, so there is nothing to go on from */
}

static void import_that_fails_says_how_to_go_on(void **state)
{
    static const char lines[] = "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\nx\n";

    (void)state;
    fake.call = call_import;
    fake.write = write_import;
    collection_there = true;
    refuse_writes = false;
    rows_written = 0;
    (void)put("rows.jsonl", lines);
    assert_int_equal(RUN("import", path, "--collection", "words"), LATHE_EXIT_FAILED);
    contains(err, "lathe: 2 rows are imported; the same command goes on behind them (its state is "
                  "in ");
    contains(err, "rows.jsonl: line 3: '[' or '{' expected near 'x'");
    assert_int_equal(rows_written, 2);
    assert_int_equal(RUN("import", path, "--collection", "words", "--first-id", "5"),
                     LATHE_EXIT_FAILED);
    contains(err, "belongs to an unfinished import of this file into collection words at "
                  "127.0.0.1:7770 (field \"\", first id 0); finish that one or remove the file");
    (void)put("rows.jsonl", "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\n{\"vectors\":[5,6]}"
                            "\n");
    assert_int_equal(RUN("import", path, "--collection", "words"), LATHE_EXIT_OK);
    contains(err, "lathe: going on behind row 2, where the earlier import stopped\n");
    contains(out, "imported 1 rows into words");
    assert_int_equal(rows_written, 3);
    refuse_writes = true;
    assert_int_equal(RUN("import", path, "--collection", "words"), LATHE_EXIT_FAILED);
    contains(err, "rows.jsonl: from line 1: not today (PERMISSION_DENIED)");
}

static int group_setup(void **state)
{
    (void)state;
    dir = test_dir_create();
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    test_dir_remove(dir);
    free(out);
    free(err);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(help_is_everywhere, setup),
        cmocka_unit_test_setup(wrong_words_are_usage_errors, setup),
        cmocka_unit_test_setup(the_version_is_printed, setup),
        cmocka_unit_test_setup(the_documents_are_in_step, setup),
        cmocka_unit_test_setup(every_row_of_every_table_is_sound, setup),
        cmocka_unit_test_setup(serve_gets_its_configuration, setup),
        cmocka_unit_test_setup(an_open_address_needs_to_be_allowed, setup),
        cmocka_unit_test_setup(failures_have_their_exit_codes, setup),
        cmocka_unit_test_setup(count_prints_a_number, setup),
        cmocka_unit_test_setup(collections_are_created_with_fields, setup),
        cmocka_unit_test_setup(collections_are_described, setup),
        cmocka_unit_test_setup(collections_are_listed, setup),
        cmocka_unit_test_setup(drop_asks_a_person_only, setup),
        cmocka_unit_test_setup(search_prints_a_table_a_person_can_read, setup),
        cmocka_unit_test_setup(search_prints_a_line_of_json_for_each_row, setup),
        cmocka_unit_test_setup(search_can_begin_at_a_stored_point, setup),
        cmocka_unit_test_setup(search_takes_the_vector_of_its_field, setup),
        cmocka_unit_test_setup(wrong_searches_are_refused, setup),
        cmocka_unit_test_setup(get_shows_points_and_names_missing_ones, setup),
        cmocka_unit_test_setup(delete_counts_what_it_did, setup),
        cmocka_unit_test_setup(info_shows_the_server, setup),
        cmocka_unit_test_setup(import_makes_the_collection_and_writes_every_row, setup),
        cmocka_unit_test_setup(import_that_fails_says_how_to_go_on, setup),
    };

    return cmocka_run_group_tests_name("cli/commands", tests, group_setup, group_teardown);
}
