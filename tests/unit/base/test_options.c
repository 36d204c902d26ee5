/* test_options.c - the table of options: every type, every source, every error, help and documents.
 */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/options.h"

static const struct lathe_option rows[] = {
    {.name = "file",
     .type = LATHE_OPTION_PATH,
     .flags = LATHE_OPTION_POSITIONAL | LATHE_OPTION_FLAG_ONLY | LATHE_OPTION_REQUIRED,
     .value = "FILE",
     .summary = "The file."},
    {.name = "id",
     .type = LATHE_OPTION_TEXT,
     .flags = LATHE_OPTION_POSITIONAL | LATHE_OPTION_FLAG_ONLY | LATHE_OPTION_REPEATED,
     .value = "ID",
     .summary = "Ids."},
    {.name = "listen",
     .type = LATHE_OPTION_TEXT,
     .value = "ADDR",
     .fallback = "localhost:1",
     .summary = "Where clients connect."},
    {.name = "scan-threads",
     .type = LATHE_OPTION_UINT,
     .flags = LATHE_OPTION_AUTO,
     .letter = 't',
     .value = "N",
     .min = 1,
     .max = 64,
     .fallback = "auto",
     .unit = "threads",
     .summary = "Threads."},
    {.name = "limit",
     .type = LATHE_OPTION_BYTES,
     .value = "BYTES",
     .min = 1024,
     .max = UINT64_MAX,
     .fallback = "1MiB",
     .summary = "Bytes."},
    {.name = "timeout",
     .type = LATHE_OPTION_DURATION,
     .value = "TIME",
     .min = 1,
     .max = 60000,
     .fallback = "2s",
     .summary = "Time."},
    {.name = "metric",
     .type = LATHE_OPTION_CHOICE,
     .choices = "cosine|dot|euclidean",
     .fallback = "dot",
     .summary = "Metric."},
    {.name = "insecure", .type = LATHE_OPTION_BOOL, .fallback = "no", .summary = "Flag."},
    {.name = "field",
     .type = LATHE_OPTION_TEXT,
     .flags = LATHE_OPTION_REPEATED,
     .value = "NAME",
     .summary = "Fields."},
    {.name = "yes",
     .type = LATHE_OPTION_BOOL,
     .flags = LATHE_OPTION_FLAG_ONLY,
     .summary = "Do not ask."},
    {.name = "config", .type = LATHE_OPTION_PATH, .value = "FILE", .summary = "File."},
};
static const struct lathe_option_set set = {"lathe try", "Try it.", "A note.\n", rows,
                                            sizeof(rows) / sizeof(rows[0])};

/* An environment of the test's own: pairs of name and value, ended by NULL. */
static const char *const *variables;

static const char *variable(const char *name)
{
    for (const char *const *v = variables; v != NULL && *v != NULL; v += 2)
        if (strcmp(*v, name) == 0)
            return v[1];
    return NULL;
}

static enum lathe_status load(const char *const *arguments, struct lathe_options **options_out,
                              struct lathe_error *err)
{
    struct lathe_option_sources sources = {.arguments = arguments, .environment = variable};

    while (arguments[sources.argument_count] != NULL)
        sources.argument_count++;
    return lathe_options_create(&set, &sources, options_out, err);
}

#define LOAD(...)         load_ok((const char *const[]){__VA_ARGS__, NULL})
#define REFUSE(text, ...) refuse(text, (const char *const[]){__VA_ARGS__, NULL})

static struct lathe_options *load_ok(const char *const *arguments)
{
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};

    if (load(arguments, &options, &err) != LATHE_OK)
        fail_msg("%s", err.message);
    return options;
}

static void refuse(const char *text, const char *const *arguments)
{
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};

    assert_int_not_equal(load(arguments, &options, &err), LATHE_OK);
    assert_null(options);
    if (strcmp(err.message, text) != 0)
        fail_msg("said \"%s\" in place of \"%s\"", err.message, text);
}

static int no_variables(void **state)
{
    (void)state;
    variables = NULL;
    return 0;
}

static void defaults_hold_where_nothing_is_given(void **state)
{
    struct lathe_options *o = LOAD("f");

    (void)state;
    assert_string_equal(lathe_options_text(o, "listen"), "localhost:1");
    assert_true(lathe_options_auto(o, "scan-threads"));
    assert_int_equal(lathe_options_number(o, "scan-threads"), 0);
    assert_int_equal(lathe_options_number(o, "limit"), 1 << 20);
    assert_int_equal(lathe_options_number(o, "timeout"), 2000);
    assert_int_equal(lathe_options_choice(o, "metric"), 1);
    assert_false(lathe_options_bool(o, "insecure"));
    assert_false(lathe_options_bool(o, "yes"));
    assert_null(lathe_options_text(o, "field"));
    assert_int_equal(lathe_options_count(o, "field"), 0);
    assert_false(lathe_options_given(o, "listen"));
    assert_true(lathe_options_given(o, "file"));
    lathe_options_destroy(o);
}

static void flags_are_read_in_every_spelling(void **state)
{
    struct lathe_options *o = LOAD("--listen", "a:1", "f", "--scan-threads=7", "--limit", "4G",
                                   "--timeout=250ms", "--metric", "euclidean", "--insecure", "x",
                                   "--field", "b", "--field=-c", "y");

    (void)state;
    assert_string_equal(lathe_options_text(o, "file"), "f");
    assert_string_equal(lathe_options_text(o, "listen"), "a:1");
    assert_int_equal(lathe_options_number(o, "scan-threads"), 7);
    assert_false(lathe_options_auto(o, "scan-threads"));
    assert_true(lathe_options_number(o, "limit") == (uint64_t)4 << 30);
    assert_int_equal(lathe_options_number(o, "timeout"), 250);
    assert_int_equal(lathe_options_choice(o, "metric"), 2);
    assert_true(lathe_options_bool(o, "insecure"));
    assert_int_equal(lathe_options_count(o, "id"), 2);
    assert_string_equal(lathe_options_text_at(o, "id", 1), "y");
    assert_int_equal(lathe_options_count(o, "field"), 2);
    assert_string_equal(lathe_options_text_at(o, "field", 0), "b");
    assert_string_equal(lathe_options_text_at(o, "field", 1), "-c");
    lathe_options_destroy(o);
    o = LOAD("-t", "5", "--", "--file", "-x");
    assert_int_equal(lathe_options_number(o, "scan-threads"), 5);
    assert_string_equal(lathe_options_text(o, "file"), "--file");
    assert_string_equal(lathe_options_text_at(o, "id", 0), "-x");
    lathe_options_destroy(o);
    o = LOAD("-t6", "-", "--insecure=no", "--scan-threads", "9");
    assert_int_equal(lathe_options_number(o, "scan-threads"), 9); /* the last of the same flag */
    assert_string_equal(lathe_options_text(o, "file"), "-");
    assert_false(lathe_options_bool(o, "insecure"));
    lathe_options_destroy(o);
}

static void values_are_understood_with_their_units(void **state)
{
    static const struct {
        const char *name, *text;
        uint64_t number;
    } good[] = {{"limit", "1024", 1024},
                {"limit", "1k", 1024},
                {"limit", "3 KiB", 3072},
                {"limit", "2M", 2 << 20},
                {"limit", "2mib", 2 << 20},
                {"limit", "1GiB", 1 << 30},
                {"limit", "5T", (uint64_t)5 << 40},
                {"limit", "2048B", 2048},
                {"limit", "18446744073709551615", UINT64_MAX},
                {"timeout", "1ms", 1},
                {"timeout", "60s", 60000},
                {"timeout", "1min", 60000},
                {"scan-threads", "064", 64},
                {"insecure", "yes", 1},
                {"insecure", "TRUE", 1},
                {"insecure", "on", 1},
                {"insecure", "1", 1},
                {"insecure", "no", 0},
                {"insecure", "false", 0},
                {"insecure", "off", 0},
                {"insecure", "0", 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        char flag[64];
        struct lathe_options *o;

        (void)snprintf(flag, sizeof(flag), "--%s=%s", good[i].name, good[i].text);
        o = LOAD("f", flag);
        if (lathe_options_number(o, good[i].name) != good[i].number)
            fail_msg("%s is read as %llu", flag,
                     (unsigned long long)lathe_options_number(o, good[i].name));
        lathe_options_destroy(o);
    }
}

static void wrong_values_are_named_with_range_and_source(void **state)
{
    (void)state;
    REFUSE("scan-threads: \"0\" is outside the range; it takes 1 to 64 threads, or auto (from "
           "--scan-threads)",
           "f", "--scan-threads=0");
    REFUSE("scan-threads: \"65\" is outside the range; it takes 1 to 64 threads, or auto (from "
           "--scan-threads)",
           "f", "-t65");
    REFUSE("scan-threads: \"4x\" is not a whole number of 64 bits; it takes 1 to 64 threads, or "
           "auto (from --scan-threads)",
           "f", "--scan-threads", "4x");
    REFUSE("scan-threads: \"18446744073709551616\" is not a whole number of 64 bits; it takes 1 "
           "to 64 threads, or auto (from --scan-threads)",
           "f", "--scan-threads", "18446744073709551616");
    REFUSE("limit: \"1023\" is outside the range; it takes at least 1 KiB (from --limit)", "f",
           "--limit", "1023");
    REFUSE("limit: \"4Q\" has an unknown unit; it takes at least 1 KiB (from --limit)", "f",
           "--limit", "4Q");
    REFUSE("limit: \"1.5G\" has an unknown unit; it takes at least 1 KiB (from --limit)", "f",
           "--limit", "1.5G");
    REFUSE("limit: \"16777216T\" does not fit 64 bits; it takes at least 1 KiB (from --limit)", "f",
           "--limit", "16777216T");
    REFUSE("limit: \"auto\" does not begin with a digit; it takes at least 1 KiB (from --limit)",
           "f", "--limit", "auto");
    REFUSE("timeout: \"5\" lacks a unit; it takes 1 ms to 1 min (from --timeout)", "f", "--timeout",
           "5");
    REFUSE("timeout: \"61s\" is outside the range; it takes 1 ms to 1 min (from --timeout)", "f",
           "--timeout", "61s");
    REFUSE("metric: \"l2\" is not one of the choices; it takes cosine, dot or euclidean (from "
           "--metric)",
           "f", "--metric", "l2");
    REFUSE("metric: \"cos\" is not one of the choices; it takes cosine, dot or euclidean (from "
           "--metric)",
           "f", "--metric", "cos");
    REFUSE("insecure: \"maybe\" is neither yes nor no; it takes yes or no (from --insecure)", "f",
           "--insecure=maybe");
    REFUSE("listen: \"\" is empty (from --listen)", "f", "--listen=");
    REFUSE("listen: \"\xFF\" is not valid UTF-8 (from --listen)", "f", "--listen", "\xFF");
}

static void wrong_command_lines_are_refused(void **state)
{
    (void)state;
    REFUSE("FILE is missing", "--insecure");
    REFUSE("unknown option --nothing", "f", "--nothing");
    REFUSE("unknown option --nothing", "f", "--nothing=1");
    REFUSE("unknown option --file", "--file=f"); /* an argument is no flag */
    REFUSE("unknown option -z", "f", "-z");
    REFUSE("unknown option --lis", "f", "--lis=1"); /* no abbreviations */
    REFUSE("--listen needs a value", "f", "--listen");
    REFUSE("--listen needs a value", "f", "--listen", "--insecure");
    REFUSE("-t needs a value", "f", "-t");
}

static void one_argument_too_many_is_refused(void **state)
{
    static const struct lathe_option one[] = {
        {.name = "file",
         .type = LATHE_OPTION_PATH,
         .flags = LATHE_OPTION_POSITIONAL | LATHE_OPTION_FLAG_ONLY,
         .value = "FILE",
         .summary = "The file."}};
    static const struct lathe_option_set only = {"lathe one", "One.", NULL, one, 1};
    static const char *const arguments[] = {"a", "b"};
    struct lathe_option_sources sources = {.arguments = arguments, .argument_count = 2};
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_options_create(&only, &sources, &options, &err), LATHE_INVALID_ARGUMENT);
    assert_string_equal(err.message, "unexpected argument \"b\"");
    sources.argument_count = 0;
    assert_int_equal(lathe_options_create(&only, &sources, &options, &err), LATHE_OK);
    assert_null(lathe_options_text(options, "file"));
    lathe_options_destroy(options);
}

static void the_environment_is_read(void **state)
{
    static const char *const good[] = {
        "LATHE_LISTEN", "env:1", "LATHE_SCAN_THREADS", "3", "LATHE_YES", "yes",
        "LATHE_FILE",   "g",     "LATHE_TIMEOUT",      "",  NULL};
    static const char *const bad[] = {"LATHE_SCAN_THREADS", "99", NULL};
    struct lathe_options *o;

    (void)state;
    variables = good;
    o = LOAD("f");
    assert_string_equal(lathe_options_text(o, "listen"), "env:1");
    assert_int_equal(lathe_options_number(o, "scan-threads"), 3);
    assert_false(lathe_options_bool(o, "yes")); /* only a flag */
    assert_string_equal(lathe_options_text(o, "file"), "f");
    assert_int_equal(lathe_options_number(o, "timeout"), 2000); /* empty is unset */
    lathe_options_destroy(o);
    variables = bad;
    REFUSE("scan-threads: \"99\" is outside the range; it takes 1 to 64 threads, or auto (from "
           "LATHE_SCAN_THREADS)",
           "f");
    REFUSE("scan-threads: \"99\" is outside the range; it takes 1 to 64 threads, or auto (from "
           "LATHE_SCAN_THREADS)",
           "f", "-t", "4"); /* checked although the flag would win */
}

/* Writes a configuration file; *path_out is valid until the next call. */
static const char *config(const char *dir, const char *text)
{
    static char flag[4300];
    FILE *file;

    (void)snprintf(flag, sizeof(flag), "--config=%s/lathe.conf", dir);
    file = fopen(flag + strlen("--config="), "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    return flag;
}

static void the_file_is_read(void **state)
{
    char *dir = test_dir_create();
    struct lathe_options *o = LOAD("f", config(dir, "# a comment\n"
                                                    "\n"
                                                    "listen = file:1   # after a space\n"
                                                    "  scan-threads=8\t\r\n"
                                                    "limit = 2 MiB\n"
                                                    "insecure = yes\n"
                                                    "field = a#1\n"
                                                    "field = b = c\n"
                                                    "metric = cosine"));

    (void)state;
    assert_string_equal(lathe_options_text(o, "listen"), "file:1");
    assert_int_equal(lathe_options_number(o, "scan-threads"), 8);
    assert_int_equal(lathe_options_number(o, "limit"), 2 << 20);
    assert_true(lathe_options_bool(o, "insecure"));
    assert_int_equal(lathe_options_count(o, "field"), 2);
    assert_string_equal(lathe_options_text_at(o, "field", 0), "a#1");
    assert_string_equal(lathe_options_text_at(o, "field", 1), "b = c");
    assert_int_equal(lathe_options_choice(o, "metric"), 0);
    lathe_options_destroy(o);
    test_dir_remove(dir);
}

static void check_file_error(const char *dir, const char *text, const char *ending)
{
    const char *flag = config(dir, text);
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};
    char want[4600];
    const char *const arguments[] = {"f", flag, NULL};

    assert_int_equal(load(arguments, &options, &err), LATHE_INVALID_ARGUMENT);
    (void)snprintf(want, sizeof(want), ending, flag + strlen("--config="));
    if (strcmp(err.message, want) != 0)
        fail_msg("said \"%s\" in place of \"%s\"", err.message, want);
}

static void errors_in_the_file_name_its_line(void **state)
{
    char *dir = test_dir_create();

    (void)state;
    check_file_error(dir, "\nlisten = x\nscan-threads = 65\n",
                     "scan-threads: \"65\" is outside the range; it takes 1 to 64 threads, or auto "
                     "(from %s:3)");
    check_file_error(dir, "listen\n", "%s:1: \"listen\" is not \"option = value\"");
    check_file_error(dir, "what = 1\n", "%s:1: unknown option \"what\"");
    check_file_error(dir, "file = 1\n", "%s:1: unknown option \"file\"");
    check_file_error(dir, "yes = yes\n", "%s:1: yes can only be given as a flag");
    check_file_error(dir, "config = other\n", "%s:1: config can only be given as a flag");
    check_file_error(dir, "listen =\n", "listen: \"\" is empty (from %s:1)");
    test_dir_remove(dir);
}

static void a_file_says_everything_once(void **state)
{
    char *dir = test_dir_create(), want[4600];
    const char *flag = config(dir, "listen = a\nlisten = b\n");
    const char *const arguments[] = {"f", flag, NULL};
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(load(arguments, &options, &err), LATHE_INVALID_ARGUMENT);
    (void)snprintf(want, sizeof(want), "%s:2: listen was given before, at %s:1",
                   flag + strlen("--config="), flag + strlen("--config="));
    assert_string_equal(err.message, want);
    test_dir_remove(dir);
}

static void a_file_of_no_text_or_no_file_is_refused(void **state)
{
    char *dir = test_dir_create(), *line = calloc(1, 70000);
    const char *flag;
    struct lathe_options *options = NULL;
    struct lathe_error err = {0};

    (void)state;
    memset(line, '#', 69999);
    flag = config(dir, line);
    assert_int_equal(load((const char *const[]){"f", flag, NULL}, &options, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, ":1: a line must be text of at most 65536 bytes"));
    assert_int_equal(load((const char *const[]){"f", "--config=/nowhere/x", NULL}, &options, &err),
                     LATHE_NOT_FOUND);
    assert_string_equal(err.message, "the configuration file /nowhere/x cannot be read: No such "
                                     "file or directory");
    free(line);
    test_dir_remove(dir);
}

static void flag_beats_environment_beats_file_beats_default(void **state)
{
    static const char *const env[] = {"LATHE_LISTEN", "env", "LATHE_FIELD", "e", NULL};
    char *dir = test_dir_create();
    const char *flag = config(dir, "listen = file\nfield = f1\nfield = f2\ntimeout = 3s\n");
    struct lathe_options *o = LOAD("f", flag);

    (void)state;
    assert_string_equal(lathe_options_text(o, "listen"), "file");
    assert_int_equal(lathe_options_count(o, "field"), 2);
    assert_int_equal(lathe_options_number(o, "timeout"), 3000);
    lathe_options_destroy(o);
    variables = env;
    o = LOAD("f", flag);
    assert_string_equal(lathe_options_text(o, "listen"), "env");
    assert_int_equal(lathe_options_count(o, "field"), 1); /* in place of the file's, not beside */
    assert_string_equal(lathe_options_text(o, "field"), "e");
    assert_int_equal(lathe_options_number(o, "timeout"), 3000);
    lathe_options_destroy(o);
    o = LOAD("f", "--listen=flag", flag, "--field=x", "--field=y");
    assert_string_equal(lathe_options_text(o, "listen"), "flag");
    assert_int_equal(lathe_options_count(o, "field"), 2);
    assert_string_equal(lathe_options_text(o, "field"), "x");
    lathe_options_destroy(o);
    test_dir_remove(dir);
}

static void the_environment_can_name_the_file(void **state)
{
    char *dir = test_dir_create();
    const char *path = config(dir, "listen = file\n") + strlen("--config=");
    const char *const env[] = {"LATHE_CONFIG", path, NULL};
    struct lathe_options *o;

    (void)state;
    variables = env;
    o = LOAD("f");
    assert_string_equal(lathe_options_text(o, "listen"), "file");
    lathe_options_destroy(o);
    test_dir_remove(dir);
}

static void visit_one(void *context, const char *name, const char *value, const char *where)
{
    lathe_buf_printf(context, "%s=%s (%s)\n", name, value, where);
}

static void what_is_in_effect_can_be_listed(void **state)
{
    static const char *const env[] = {"LATHE_TIMEOUT", "5s", NULL};
    struct lathe_buf text = {0};
    struct lathe_options *o;

    (void)state;
    variables = env;
    o = LOAD("f", "--field=a", "--field=b");
    lathe_options_visit(o, visit_one, &text);
    lathe_buf_u8(&text, 0);
    assert_string_equal((char *)text.data, "file=f (FILE)\n"
                                           "listen=localhost:1 (default)\n"
                                           "scan-threads=auto (default)\n"
                                           "limit=1MiB (default)\n"
                                           "timeout=5s (LATHE_TIMEOUT)\n"
                                           "metric=dot (default)\n"
                                           "insecure=no (default)\n"
                                           "field=a (--field)\n"
                                           "field=b (--field)\n");
    lathe_buf_fini(&text);
    lathe_options_destroy(o);
}

static void help_is_asked_for_before_the_end_of_flags(void **state)
{
    static const char *const asked[] = {"f", "--help"};
    static const char *const letter[] = {"-h"};
    static const char *const ended[] = {"--", "--help"};

    (void)state;
    assert_true(lathe_options_want_help(&(struct lathe_option_sources){asked, 2, NULL}));
    assert_true(lathe_options_want_help(&(struct lathe_option_sources){letter, 1, NULL}));
    assert_false(lathe_options_want_help(&(struct lathe_option_sources){ended, 2, NULL}));
    assert_false(lathe_options_want_help(&(struct lathe_option_sources){NULL, 0, NULL}));
}

static void help_lists_every_row(void **state)
{
    struct lathe_buf text = {0};

    (void)state;
    lathe_options_help(&set, &text);
    lathe_buf_u8(&text, 0);
    assert_string_equal(
        (char *)text.data,
        "Usage: lathe try FILE [ID...] [options]\n"
        "\n"
        "Try it.\n"
        "\n"
        "Arguments:\n"
        "  FILE                      The file.\n"
        "  ID                        Ids.\n"
        "\n"
        "Options:\n"
        "  --listen ADDR             Where clients connect. [default: localhost:1] [LATHE_LISTEN]\n"
        "  -t, --scan-threads N      Threads. Takes 1 to 64 threads, or auto. [default: auto]\n"
        "                            [LATHE_SCAN_THREADS]\n"
        "  --limit BYTES             Bytes. Takes at least 1 KiB. [default: 1MiB] [LATHE_LIMIT]\n"
        "  --timeout TIME            Time. Takes 1 ms to 1 min. [default: 2s] [LATHE_TIMEOUT]\n"
        "  --metric cosine|dot|euclidean\n"
        "                            Metric. [default: dot] [LATHE_METRIC]\n"
        "  --insecure                Flag. [LATHE_INSECURE]\n"
        "  --field NAME              Fields. [LATHE_FIELD]\n"
        "  --yes                     Do not ask.\n"
        "  --config FILE             File. [LATHE_CONFIG]\n"
        "\n"
        "A note.\n");
    lathe_buf_fini(&text);
}

static void markdown_has_a_row_for_every_option(void **state)
{
    struct lathe_buf text = {0};

    (void)state;
    lathe_options_markdown(&set, &text);
    lathe_buf_u8(&text, 0);
    assert_string_equal(
        (char *)text.data,
        "### lathe try\n"
        "\n"
        "Try it.\n"
        "\n"
        "```\n"
        "lathe try FILE [ID...] [options]\n"
        "```\n"
        "\n"
        "| option | values | default | environment | meaning |\n"
        "|---|---|---|---|---|\n"
        "| `FILE` |  | required |  | The file. |\n"
        "| `ID` |  |  |  | Ids. |\n"
        "| `--listen ADDR` |  | `localhost:1` | `LATHE_LISTEN` | Where clients connect. |\n"
        "| `-t, --scan-threads N` | 1 to 64 threads, or auto | `auto` | `LATHE_SCAN_THREADS` | "
        "Threads. |\n"
        "| `--limit BYTES` | at least 1 KiB | `1MiB` | `LATHE_LIMIT` | Bytes. |\n"
        "| `--timeout TIME` | 1 ms to 1 min | `2s` | `LATHE_TIMEOUT` | Time. |\n"
        "| `--metric cosine\\|dot\\|euclidean` | cosine, dot or euclidean | `dot` | "
        "`LATHE_METRIC` | Metric. |\n"
        "| `--insecure` | yes or no | `no` | `LATHE_INSECURE` | Flag. |\n"
        "| `--field NAME` |  |  | `LATHE_FIELD` | Fields. |\n"
        "| `--yes` | yes or no |  |  | Do not ask. |\n"
        "| `--config FILE` |  |  | `LATHE_CONFIG` | File. |\n"
        "\n"
        "A note.\n"
        "\n");
    lathe_buf_fini(&text);
}

static void numbers_are_written_in_their_largest_unit(void **state)
{
    char text[LATHE_OPTION_NUMBER_BYTES];

    (void)state;
    lathe_option_format_number(LATHE_OPTION_BYTES, 0, text);
    assert_string_equal(text, "0");
    lathe_option_format_number(LATHE_OPTION_BYTES, 1536, text);
    assert_string_equal(text, "1536");
    lathe_option_format_number(LATHE_OPTION_BYTES, (uint64_t)3 << 40, text);
    assert_string_equal(text, "3 TiB");
    lathe_option_format_number(LATHE_OPTION_DURATION, 1500, text);
    assert_string_equal(text, "1500 ms");
    lathe_option_format_number(LATHE_OPTION_UINT, 1024, text);
    assert_string_equal(text, "1024");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_hold_where_nothing_is_given, no_variables),
        cmocka_unit_test_setup(flags_are_read_in_every_spelling, no_variables),
        cmocka_unit_test_setup(values_are_understood_with_their_units, no_variables),
        cmocka_unit_test_setup(wrong_values_are_named_with_range_and_source, no_variables),
        cmocka_unit_test_setup(wrong_command_lines_are_refused, no_variables),
        cmocka_unit_test_setup(one_argument_too_many_is_refused, no_variables),
        cmocka_unit_test_setup(the_environment_is_read, no_variables),
        cmocka_unit_test_setup(the_file_is_read, no_variables),
        cmocka_unit_test_setup(errors_in_the_file_name_its_line, no_variables),
        cmocka_unit_test_setup(a_file_says_everything_once, no_variables),
        cmocka_unit_test_setup(a_file_of_no_text_or_no_file_is_refused, no_variables),
        cmocka_unit_test_setup(flag_beats_environment_beats_file_beats_default, no_variables),
        cmocka_unit_test_setup(the_environment_can_name_the_file, no_variables),
        cmocka_unit_test_setup(what_is_in_effect_can_be_listed, no_variables),
        cmocka_unit_test_setup(help_is_asked_for_before_the_end_of_flags, no_variables),
        cmocka_unit_test_setup(help_lists_every_row, no_variables),
        cmocka_unit_test_setup(markdown_has_a_row_for_every_option, no_variables),
        cmocka_unit_test_setup(numbers_are_written_in_their_largest_unit, no_variables),
    };

    return cmocka_run_group_tests_name("base/options", tests, NULL, NULL);
}
