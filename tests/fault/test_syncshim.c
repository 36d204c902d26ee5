/* test_syncshim.c - libsyncshim and lathe_crash leave exactly what was synced. */
#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/fault_run.h"

enum { MAX_OPERATIONS = 64, TEXT_BYTES = 4096 };

static int setup(void **state)
{
    struct fault_dirs *dirs = calloc(1, sizeof(*dirs));

    fault_dirs_init(dirs);
    *state = dirs;
    return 0;
}

static int teardown(void **state)
{
    fault_dirs_fini(*state);
    free(*state);
    return 0;
}

/* Runs the operations (NULL at the end), then kill -9, then the crash. */
static void live_and_crash(struct fault_dirs *dirs, const char *const *operations)
{
    const char *argv[MAX_OPERATIONS + 3] = {SHIM_VICTIM};
    struct fault_child child;
    char out[TEXT_BYTES];
    size_t count = 1;
    int status;

    while (operations[count - 1] != NULL) {
        argv[count] = operations[count - 1];
        count++;
    }
    argv[count++] = "die";
    argv[count] = NULL;
    child = fault_start(dirs, SYNCSHIM, NULL, argv);
    status = fault_finish(&child, out, sizeof(out));
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
        fail_msg("victim: status %d, %s", status, out);
    fault_crash(dirs);
}

#define LIVE_AND_CRASH(dirs, ...) live_and_crash(dirs, (const char *const[]){__VA_ARGS__, NULL})

/* The file's text, "-" when it is not there. */
static const char *text_of(struct fault_dirs *dirs, const char *name)
{
    static char text[TEXT_BYTES];
    char path[4300];
    FILE *file;
    size_t size;

    (void)snprintf(path, sizeof(path), "%s/%s", dirs->watched, name);
    file = fopen(path, "r");
    if (file == NULL)
        return "-";
    size = fread(text, 1, sizeof(text) - 1, file);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

static void make_file(struct fault_dirs *dirs, const char *name, const char *text)
{
    char path[4300];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", dirs->watched, name);
    file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static size_t entries(const char *path)
{
    DIR *directory = opendir(path);
    size_t count = 0;

    assert_non_null(directory);
    while (readdir(directory) != NULL)
        count++;
    (void)closedir(directory);
    return count - 2;
}

/* ---- Content -------------------------------------------------------------------------------- */

static void a_file_is_cut_to_its_last_synced_length(void **state)
{
    LIVE_AND_CRASH(*state, "append:a:one", "sync:a", "syncdir:.", "append:a:two", "append:b:x",
                   "datasync:b", "syncdir:.", "append:b:y");
    assert_string_equal(text_of(*state, "a"), "one");
    assert_string_equal(text_of(*state, "b"), "x");
}

static void a_file_that_was_never_synced_is_empty(void **state)
{
    LIVE_AND_CRASH(*state, "append:a:one", "syncdir:.");
    assert_string_equal(text_of(*state, "a"), "");
}

static void vectors_of_buffers_count_as_writes(void **state)
{
    LIVE_AND_CRASH(*state, "appendv:a:onetwo", "sync:a", "syncdir:.", "appendv:a:three");
    assert_string_equal(text_of(*state, "a"), "onetwo");
}

static void overwritten_bytes_come_back_unless_synced(void **state)
{
    LIVE_AND_CRASH(*state, "append:a:0123456789", "append:b:0123456789", "sync:a", "sync:b",
                   "syncdir:.", "put:a:3:xyz", "put:a:4:uvw", "put:b:3:xyz", "sync:b",
                   "put:b:8:long");
    assert_string_equal(text_of(*state, "a"), "0123456789");
    assert_string_equal(text_of(*state, "b"), "012xyz6789");
}

static void truncated_bytes_come_back_unless_synced(void **state)
{
    LIVE_AND_CRASH(*state, "append:a:0123456789", "append:b:0123456789", "append:c:0123456789",
                   "sync:a", "sync:b", "sync:c", "syncdir:.", "cut:a:4", "cut:b:4", "sync:b",
                   "replace:c:new");
    assert_string_equal(text_of(*state, "a"), "0123456789");
    assert_string_equal(text_of(*state, "b"), "0123");
    assert_string_equal(text_of(*state, "c"), "0123456789");
}

static void a_file_from_before_is_durable_as_it_was(void **state)
{
    make_file(*state, "old", "was here");
    make_file(*state, "untouched", "too");
    LIVE_AND_CRASH(*state, "append:old: and more");
    assert_string_equal(text_of(*state, "old"), "was here");
    assert_string_equal(text_of(*state, "untouched"), "too");
}

/* ---- Names ---------------------------------------------------------------------------------- */

static void a_new_name_is_gone_unless_its_directory_was_synced(void **state)
{
    LIVE_AND_CRASH(*state, "append:a:one", "sync:a", "syncdir:.", "append:b:two", "sync:b");
    assert_string_equal(text_of(*state, "a"), "one");
    assert_string_equal(text_of(*state, "b"), "-");
}

static void a_rename_over_a_file_is_undone_unless_synced(void **state)
{
    struct fault_dirs *dirs = *state;

    make_file(dirs, "CURRENT", "old");
    LIVE_AND_CRASH(dirs, "append:tmp:new", "sync:tmp", "rename:tmp:CURRENT");
    assert_string_equal(text_of(dirs, "CURRENT"), "old");
    assert_string_equal(text_of(dirs, "tmp"), "-");
    LIVE_AND_CRASH(dirs, "append:tmp:new", "sync:tmp", "rename:tmp:CURRENT", "syncdir:.");
    assert_string_equal(text_of(dirs, "CURRENT"), "new");
    assert_string_equal(text_of(dirs, "tmp"), "-");
    LIVE_AND_CRASH(dirs, "append:tmp:newer", "rename:tmp:CURRENT", "syncdir:.");
    assert_string_equal(text_of(dirs, "CURRENT"), "");
}

static void a_removed_file_is_back_unless_synced(void **state)
{
    make_file(*state, "a", "one");
    make_file(*state, "b", "two");
    LIVE_AND_CRASH(*state, "unlink:a", "syncdir:.", "append:b:more", "unlink:b", "append:b:new",
                   "sync:b");
    assert_string_equal(text_of(*state, "a"), "-");
    assert_string_equal(text_of(*state, "b"), "two");
}

static void a_link_is_gone_unless_synced(void **state)
{
    make_file(*state, "a", "one");
    LIVE_AND_CRASH(*state, "link:a:b", "syncdir:.", "link:a:c");
    assert_string_equal(text_of(*state, "b"), "one");
    assert_string_equal(text_of(*state, "c"), "-");
}

static void a_directory_is_gone_with_its_files_unless_its_parent_was_synced(void **state)
{
    struct fault_dirs *dirs = *state;

    LIVE_AND_CRASH(dirs, "mkdir:d", "append:d/a:one", "sync:d/a", "syncdir:d");
    assert_int_equal(entries(dirs->watched), 0);
    LIVE_AND_CRASH(dirs, "mkdir:d", "syncdir:.", "append:d/a:one", "sync:d/a", "syncdir:d",
                   "append:d/b:two", "sync:d/b");
    assert_string_equal(text_of(dirs, "d/a"), "one");
    assert_string_equal(text_of(dirs, "d/b"), "-");
}

static void a_directory_that_was_renamed_is_found_again(void **state)
{
    LIVE_AND_CRASH(*state, "mkdir:d", "syncdir:.", "append:d/a:one", "sync:d/a", "syncdir:d",
                   "append:d/b:two", "rename:d:e", "syncdir:.");
    assert_string_equal(text_of(*state, "e/a"), "one");
    assert_string_equal(text_of(*state, "e/b"), "-");
}

static void a_move_between_directories_needs_both_synced(void **state)
{
    struct fault_dirs *dirs = *state;

    LIVE_AND_CRASH(dirs, "mkdir:d", "append:a:one", "sync:a", "syncdir:.", "rename:a:d/a",
                   "syncdir:d");
    assert_string_equal(text_of(dirs, "a"), "one");
    assert_string_equal(text_of(dirs, "d/a"), "-");
    LIVE_AND_CRASH(dirs, "rename:a:d/a", "syncdir:d", "syncdir:.");
    assert_string_equal(text_of(dirs, "a"), "-");
    assert_string_equal(text_of(dirs, "d/a"), "one");
}

static void the_side_directory_is_empty_after_a_crash(void **state)
{
    struct fault_dirs *dirs = *state;

    make_file(dirs, "a", "one");
    LIVE_AND_CRASH(dirs, "put:a:0:x", "unlink:a");
    assert_int_equal(entries(dirs->side), 0);
    assert_string_equal(text_of(dirs, "a"), "one");
}

static void a_journal_line_that_was_cut_off_is_ignored(void **state)
{
    struct fault_dirs *dirs = *state;
    char path[4300];
    FILE *journal;

    make_file(dirs, "a", "one");
    (void)snprintf(path, sizeof(path), "%s/journal", dirs->side);
    journal = fopen(path, "w");
    assert_non_null(journal);
    (void)fprintf(journal, "file 1 2\nunlink 12 keep-");
    (void)fclose(journal);
    fault_crash(dirs);
    assert_string_equal(text_of(dirs, "a"), "one");
}

/* ---- Against a model ------------------------------------------------------------------------ */

enum { NAMES = 4, FILES = 64, RUNS = 40, STEPS = 40 };

/* One directory: names point to files; each file has the text it has and the text that is safe. */
struct model {
    struct {
        char now[TEXT_BYTES];
        char safe[TEXT_BYTES];
    } files[FILES];
    int file_count;
    int now[NAMES]; /* index into files, -1 = no such name */
    int safe[NAMES];
};

static int model_open(struct model *model, int name)
{
    if (model->now[name] < 0) {
        assert_true(model->file_count < FILES);
        model->now[name] = model->file_count++;
    }
    return model->now[name];
}

static void write_into(char *text, size_t at, const char *piece)
{
    size_t size = strlen(text);

    memcpy(text + at, piece, strlen(piece));
    if (at + strlen(piece) > size)
        text[at + strlen(piece)] = '\0';
}

/* Chooses a step, writes it as an operation of the victim, and does it in the model. */
static void model_step(struct model *model, struct test_rng *rng, unsigned step, char *operation)
{
    int name = (int)test_rng_below(rng, NAMES);
    int other = (int)test_rng_below(rng, NAMES);
    bool there = model->now[name] >= 0;
    char *now = there ? model->files[model->now[name]].now : NULL;
    char piece[32];

    (void)snprintf(piece, sizeof(piece), "<%u>", step);
    switch (test_rng_below(rng, 8)) {
    case 0:
        (void)sprintf(operation, "syncdir:.");
        memcpy(model->safe, model->now, sizeof(model->safe));
        return;
    case 1:
        (void)sprintf(operation, "sync:n%d", name);
        name = model_open(model, name);
        (void)strcpy(model->files[name].safe, model->files[name].now);
        return;
    case 2:
        if (there) {
            (void)sprintf(operation, "unlink:n%d", name);
            model->now[name] = -1;
            return;
        }
        break;
    case 3:
        if (there && other != name) {
            (void)sprintf(operation, "rename:n%d:n%d", name, other);
            model->now[other] = model->now[name];
            model->now[name] = -1;
            return;
        }
        break;
    case 4:
        if (there && now[0] != '\0') {
            size_t at = test_rng_below(rng, strlen(now));

            (void)sprintf(operation, "put:n%d:%zu:%s", name, at, piece);
            write_into(now, at, piece);
            return;
        }
        break;
    case 5:
        if (there && now[0] != '\0') {
            size_t size = test_rng_below(rng, strlen(now));

            (void)sprintf(operation, "cut:n%d:%zu", name, size);
            now[size] = '\0';
            return;
        }
        break;
    case 6:
        (void)sprintf(operation, "replace:n%d:%s", name, piece);
        (void)strcpy(model->files[model_open(model, name)].now, piece);
        return;
    default:
        break;
    }
    (void)sprintf(operation, "append:n%d:%s", name, piece);
    name = model_open(model, name);
    (void)strcat(model->files[name].now, piece);
}

/* After a crash the safe state is the only one, and its files are safe as they are. */
static void model_crash(struct model *model)
{
    memcpy(model->now, model->safe, sizeof(model->now));
    for (int i = 0; i < model->file_count; i++)
        (void)strcpy(model->files[i].now, model->files[i].safe);
}

static void random_operations_leave_what_the_model_says(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "syncshim model");
    for (int run = 0; run < RUNS; run++) {
        struct model *model = calloc(1, sizeof(*model));
        struct fault_dirs dirs;

        fault_dirs_init(&dirs);
        for (int i = 0; i < NAMES; i++)
            model->now[i] = model->safe[i] = -1;
        /* Twice in one directory: the second life starts from a crash. */
        for (int life = 0; life < 2; life++) {
            char texts[STEPS][64];
            const char *operations[STEPS + 1] = {NULL};

            for (unsigned step = 0; step < STEPS && model->file_count < FILES - 1; step++) {
                model_step(model, &rng, step, texts[step]);
                operations[step] = texts[step];
            }
            live_and_crash(&dirs, operations);
            model_crash(model);
            for (int i = 0; i < NAMES; i++) {
                char name[8];

                (void)snprintf(name, sizeof(name), "n%d", i);
                assert_string_equal(text_of(&dirs, name),
                                    model->now[i] < 0 ? "-" : model->files[model->now[i]].safe);
            }
        }
        fault_dirs_fini(&dirs);
        free(model);
    }
}

#define SHIM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHIM_TEST(a_file_is_cut_to_its_last_synced_length),
        SHIM_TEST(a_file_that_was_never_synced_is_empty),
        SHIM_TEST(vectors_of_buffers_count_as_writes),
        SHIM_TEST(overwritten_bytes_come_back_unless_synced),
        SHIM_TEST(truncated_bytes_come_back_unless_synced),
        SHIM_TEST(a_file_from_before_is_durable_as_it_was),
        SHIM_TEST(a_new_name_is_gone_unless_its_directory_was_synced),
        SHIM_TEST(a_rename_over_a_file_is_undone_unless_synced),
        SHIM_TEST(a_removed_file_is_back_unless_synced),
        SHIM_TEST(a_link_is_gone_unless_synced),
        SHIM_TEST(a_directory_is_gone_with_its_files_unless_its_parent_was_synced),
        SHIM_TEST(a_directory_that_was_renamed_is_found_again),
        SHIM_TEST(a_move_between_directories_needs_both_synced),
        SHIM_TEST(the_side_directory_is_empty_after_a_crash),
        SHIM_TEST(a_journal_line_that_was_cut_off_is_ignored),
        cmocka_unit_test(random_operations_leave_what_the_model_says),
    };

    return cmocka_run_group_tests_name("fault/syncshim", tests, NULL, NULL);
}
