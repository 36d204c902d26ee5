/* test_commands.c - the program as a user meets it: help, usage errors, serve, collections, exit
 * codes. */
#include "tests/unit/cli/run_cli.h"

#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "common/base/limits.h"
#include "lathe/v1/collections.pb-c.h"

static void help_is_everywhere(void **state)
{
    (void)state;
    assert_int_equal(RUN("--help"), LATHE_EXIT_OK);
    run_contains(run.out, "  serve                 Run a server");
    run_contains(run.out, "Exit codes: 0 done, 1 the operation failed, 2 ");
    assert_int_equal(RUN("help"), LATHE_EXIT_OK);
    for (size_t i = 0; i < lathe_cli_command_count; i++) {
        const char *name = lathe_cli_commands[i].set.command + strlen("lathe ");
        char first[40];
        const char *second = strchr(name, ' ');
        char *by_help;

        (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(name, " "), name);
        if (second != NULL) {
            assert_int_equal(RUN("help", first, second + 1), LATHE_EXIT_OK);
            by_help = strdup(run.out);
            assert_int_equal(RUN(first, second + 1, "--help"), LATHE_EXIT_OK);
        } else {
            assert_int_equal(RUN("help", first), LATHE_EXIT_OK);
            by_help = strdup(run.out);
            assert_int_equal(RUN(first, "-h"), LATHE_EXIT_OK);
        }
        assert_string_equal(run.out, by_help);
        run_contains(run.out, lathe_cli_commands[i].set.summary);
        run_contains(run.out, "Exit codes");
        assert_string_equal(run.err, "");
        free(by_help);
    }
    assert_int_equal(RUN("collection", "--help"), LATHE_EXIT_OK);
    run_contains(run.out, "  collection drop ");
    assert_null(strstr(run.out, "  serve "));
}

static void wrong_words_are_usage_errors(void **state)
{
    (void)state;
    assert_int_equal(run_words((const char *const[]){"lathe", NULL}), LATHE_EXIT_USAGE);
    run_contains(run.err, "Usage: lathe COMMAND [options]");
    assert_string_equal(run.out, "");
    assert_int_equal(RUN("srve"), LATHE_EXIT_USAGE);
    assert_string_equal(run.err, "lathe: unknown command \"srve\"; \"lathe help\" lists them\n");
    assert_int_equal(RUN("collection"), LATHE_EXIT_USAGE);
    run_contains(run.err, "collection list");
    assert_int_equal(RUN("collection", "make"), LATHE_EXIT_USAGE);
    assert_string_equal(
        run.err,
        "lathe: unknown command \"collection make\"; \"lathe help collection\" lists them\n");
    assert_int_equal(RUN("--json", "info"), LATHE_EXIT_USAGE);
    assert_string_equal(run.err,
                        "lathe: a command must come before --json; \"lathe help\" lists them\n");
    assert_int_equal(RUN("help", "srve"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("help", "serve", "x"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("count", "--colection", "x"), LATHE_EXIT_USAGE);
    assert_string_equal(run.err, "lathe: unknown option --colection\n"
                                 "lathe: \"lathe count --help\" tells more\n");
    assert_int_equal(RUN("count"), LATHE_EXIT_USAGE);
    run_contains(run.err, "lathe: --collection is missing\n");
}

static void the_version_is_printed(void **state)
{
    (void)state;
    assert_int_equal(RUN("version"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "lathe " LATHE_VERSION "\n");
    assert_int_equal(RUN("--version"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "lathe " LATHE_VERSION "\n");
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
    assert_string_equal(from, run.out);
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
    assert_string_equal(run.served_data, "d");
    assert_int_equal(run.served.shards, 0);
    assert_true(run.served.loopback);
    assert_false(run.served.insecure);
    assert_int_equal(run.served.memory_limit_bytes, 0);
    assert_int_equal(run.served.scan_threads, 0);
    assert_int_equal(run.served.max_payload_bytes, LATHE_DEFAULT_PAYLOAD_BYTES);
    assert_int_equal(run.served.log_level, LATHE_LOG_INFO);
    assert_null(run.served.port_file);
    assert_int_equal(RUN("serve", "--data", "d", "--shards", "4", "--listen", "0.0.0.0:0",
                         "--insecure", "--memory-limit", "2GiB", "--scan-threads", "3", "--kernel",
                         "avx2", "--max-payload", "64K", "--log-level", "error", "--port-file",
                         "p"),
                     LATHE_EXIT_OK);
    assert_int_equal(run.served.shards, 4);
    assert_false(run.served.loopback);
    assert_true(run.served.insecure);
    assert_true(run.served.memory_limit_bytes == (uint64_t)2 << 30);
    assert_int_equal(run.served.scan_threads, 3);
    assert_int_equal(run.served.max_payload_bytes, 65536);
    assert_int_equal(run.served.log_level, LATHE_LOG_ERROR);
    assert_non_null(run.served.port_file);
    lathe_log_set_level(LATHE_LOG_INFO);
    assert_int_equal(RUN("serve"), LATHE_EXIT_USAGE);
    run_contains(run.err, "--data is missing");
    run.serve_status = LATHE_FAILED_PRECONDITION;
    assert_int_equal(RUN("serve", "--data", "d"), LATHE_EXIT_FAILED);
    assert_string_equal(run.err, "lathe: the data directory is in use (FAILED_PRECONDITION)\n");
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
        run_contains(run.err, "add --insecure");
        run_contains(run.err, open[i]);
        assert_null(run.served.data);
        assert_int_equal(RUN("serve", "--data", "d", "--insecure", "--listen", open[i]),
                         LATHE_EXIT_OK);
        assert_false(run.served.loopback);
        memset(&run.served, 0, sizeof(run.served));
    }
    for (size_t i = 0; i < sizeof(local) / sizeof(local[0]); i++) {
        assert_int_equal(RUN("serve", "--data", "d", "--listen", local[i]), LATHE_EXIT_OK);
        assert_true(run.served.loopback);
    }
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(RUN("serve", "--data", "d", "--insecure", "--listen", wrong[i]),
                         LATHE_EXIT_USAGE);
        run_contains(run.err, "is not host:port, [v6]:port or unix:path");
    }
}

static enum lathe_status call_unreachable(const char *path, const ProtobufCMessage *request,
                                          struct lathe_error *error)
{
    (void)path;
    (void)request;
    return lathe_fail(error, LATHE_UNAVAILABLE, "no listener");
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
    assert_string_equal(
        run.err,
        "lathe: the server at 127.0.0.1:7770 cannot be reached: no listener (UNAVAILABLE)\n");
    assert_int_equal(RUN("collection", "list"), LATHE_EXIT_UNREACHABLE);
    fake.call = call_missing;
    assert_int_equal(RUN("count", "--collection", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(run.err, "lathe: collection: there is nothing named words (NOT_FOUND)\n");
}

static enum lathe_status call_with_escapes(const char *path, const ProtobufCMessage *request,
                                           struct lathe_error *error)
{
    (void)path;
    (void)request;
    return lathe_fail(error, LATHE_NOT_FOUND, "there is no \x1b[31mred\nthing");
}

static void failures_are_safe_for_a_terminal(void **state)
{
    (void)state;
    fake.call = call_with_escapes;
    assert_int_equal(RUN("count", "--collection", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(run.err, "lathe: there is no \xEF\xBF\xBD[31mred thing (NOT_FOUND)\n");
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
    assert_string_equal(run.out, "12345678901\n");
    assert_string_equal(fake.address, "127.0.0.1:7770");
    assert_int_equal(fake.timeout_ms, 10000);
    run.server_variable = "h:1";
    assert_int_equal(RUN("count", "--collection=words", "--json", "--timeout", "250ms"),
                     LATHE_EXIT_OK);
    assert_string_equal(run.out, "{\"count\":12345678901}\n");
    assert_int_equal(fake.timeout_ms, 250);
    assert_string_equal(fake.address, "h:1");
    assert_int_equal(RUN("count", "--collection=words", "--server", "unix:/x"), LATHE_EXIT_OK);
    assert_string_equal(fake.address, "unix:/x");
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
    run_reply_collection();
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
    assert_string_equal(run.out,
                        "created collection words (384 cosine, title 64 euclidean) on 2 shards\n");
    assert_int_equal(RUN("collection", "create", "words"), LATHE_EXIT_USAGE);
    assert_string_equal(run.err,
                        "lathe: a collection needs --dims N, or --field NAME:DIMS:METRIC\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "title"), LATHE_EXIT_USAGE);
    assert_string_equal(run.err,
                        "lathe: field: \"title\" is not NAME:DIMS:METRIC (from --field)\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "t:0:dot"), LATHE_EXIT_USAGE);
    assert_string_equal(
        run.err,
        "lathe: field: \"0\" is outside the range; it takes 1 to 16384 dims (from --field)\n");
    assert_int_equal(RUN("collection", "create", "words", "--field", "t:8:l2"), LATHE_EXIT_USAGE);
    run_contains(run.err, "it takes cosine, dot or euclidean");
}

static enum lathe_status call_get_collection(const char *path, const ProtobufCMessage *request,
                                             struct lathe_error *error)
{
    (void)error;
    assert_string_equal(path, "/lathe.v1.CollectionService/GetCollection");
    assert_string_equal(((const Lathe__V1__GetCollectionRequest *)request)->name, "words");
    run_reply_collection();
    return LATHE_OK;
}

static void collections_are_described(void **state)
{
    (void)state;
    fake.call = call_get_collection;
    assert_int_equal(RUN("collection", "describe", "words"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "collection  words\n"
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
        run.out,
        "{\"name\":\"words\",\"id\":7,\"shards\":2,\"created_ms\":1700000000123,\"fields\":["
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
    assert_string_equal(run.out, "there are no collections\n");
    assert_int_equal(RUN("collection", "list", "--json"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "");
    list_empty = false;
    assert_int_equal(RUN("collection", "list"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "name   fields  created\n"
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
    assert_string_equal(run.out, "dropped collection words\n");
    run.interactive = true;
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(run.err, "Drop collection words and all its points for good? [y/N] "
                                 "lathe: collection words was not dropped\n");
    run.typed = "yes please\n";
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_FAILED);
    assert_int_equal(drops, 1);
    run.typed = "y\n";
    assert_int_equal(RUN("collection", "drop", "words"), LATHE_EXIT_OK);
    run.typed = NULL;
    assert_int_equal(RUN("collection", "drop", "--yes", "words"), LATHE_EXIT_OK);
    assert_int_equal(drops, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(help_is_everywhere, run_setup),
        cmocka_unit_test_setup(wrong_words_are_usage_errors, run_setup),
        cmocka_unit_test_setup(the_version_is_printed, run_setup),
        cmocka_unit_test_setup(the_documents_are_in_step, run_setup),
        cmocka_unit_test_setup(every_row_of_every_table_is_sound, run_setup),
        cmocka_unit_test_setup(serve_gets_its_configuration, run_setup),
        cmocka_unit_test_setup(an_open_address_needs_to_be_allowed, run_setup),
        cmocka_unit_test_setup(failures_have_their_exit_codes, run_setup),
        cmocka_unit_test_setup(failures_are_safe_for_a_terminal, run_setup),
        cmocka_unit_test_setup(count_prints_a_number, run_setup),
        cmocka_unit_test_setup(collections_are_created_with_fields, run_setup),
        cmocka_unit_test_setup(collections_are_described, run_setup),
        cmocka_unit_test_setup(collections_are_listed, run_setup),
        cmocka_unit_test_setup(drop_asks_a_person_only, run_setup),
    };

    return cmocka_run_group_tests_name("cli/commands", tests, run_group_setup, run_group_teardown);
}
