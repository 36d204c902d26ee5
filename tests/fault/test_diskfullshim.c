/* test_diskfullshim.c - libdiskfullshim fails when and where it is told to. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/fault/fault_run.h"

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

static const char *run(struct fault_dirs *dirs, const char *const *settings,
                       const char *const *operations)
{
    static char out[4096];
    const char *argv[32] = {SHIM_VICTIM};
    struct fault_child child;

    for (size_t i = 0; operations[i] != NULL; i++)
        argv[i + 1] = operations[i];
    child = fault_start(dirs, DISKFULLSHIM, settings, argv);
    assert_int_equal(fault_finish(&child, out, sizeof(out)), 0);
    return out;
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static void the_disk_is_full_after_so_many_bytes(void **state)
{
    assert_string_equal(run(*state, LIST("LATHE_SHIM_BYTES=4500"),
                            LIST("fill:a:3000", "fill:b:9000", "fill:a:1", "sync:a")),
                        "fill 3000 ok\n"
                        "fill 1500 ENOSPC\n"
                        "fill 0 ENOSPC\n"
                        "sync ok\n");
}

static void other_directories_are_not_touched(void **state)
{
    struct fault_dirs *dirs = *state;
    char operation[4300];

    (void)snprintf(operation, sizeof(operation), "fill:%s/a:9000", dirs->side);
    assert_string_equal(run(dirs, LIST("LATHE_SHIM_BYTES=0"), LIST("fill:a:1", operation)),
                        "fill 0 ENOSPC\n"
                        "fill 9000 ok\n");
}

static void deleting_and_truncating_give_bytes_back(void **state)
{
    assert_string_equal(run(*state, LIST("LATHE_SHIM_BYTES=5000"),
                            LIST("fill:a:3000", "fill:b:3000", "unlink:a", "fill:b:3100",
                                 "cut:b:1000", "fill:b:5000", "link:b:c", "unlink:b", "fill:c:1")),
                        "fill 3000 ok\n"
                        "fill 2000 ENOSPC\n"
                        "fill 3000 ENOSPC\n"
                        "fill 4000 ENOSPC\n"
                        "fill 0 ENOSPC\n");
}

static void what_is_left_is_what_statvfs_says(void **state)
{
    assert_string_equal(run(*state, LIST("LATHE_SHIM_BYTES=409600"),
                            LIST("left:.", "fill:a:204800", "left:.", "fill:a:204800", "left:.")),
                        "left 409600\n"
                        "fill 204800 ok\n"
                        "left 204800\n"
                        "fill 204800 ok\n"
                        "left 0\n");
}

static void an_io_error_is_whole(void **state)
{
    assert_string_equal(run(*state, LIST("LATHE_SHIM_BYTES=2500", "LATHE_SHIM_ERRNO=EIO"),
                            LIST("fill:a:9000", "fill:a:9000", "unlink:a", "fill:b:1000")),
                        "fill 2000 EIO\n"
                        "fill 0 EIO\n"
                        "fill 0 EIO\n");
}

static void a_sync_fails_after_so_many_bytes_and_writes_go_on(void **state)
{
    assert_string_equal(
        run(*state, LIST("LATHE_SHIM_BYTES=2000", "LATHE_SHIM_ERRNO=EIO", "LATHE_SHIM_FAIL_SYNC=1"),
            LIST("fill:a:1000", "sync:a", "fill:a:1000", "sync:a", "fill:a:1000", "datasync:a")),
        "fill 1000 ok\n"
        "sync ok\n"
        "fill 1000 ok\n"
        "sync EIO\n"
        "fill 1000 ok\n"
        "sync EIO\n");
}

static void the_control_file_lifts_the_fault_while_running(void **state)
{
    struct fault_dirs *dirs = *state;
    char touch[4300];

    (void)snprintf(touch, sizeof(touch), "touch:%s", dirs->off);
    assert_string_equal(
        run(dirs, LIST("LATHE_SHIM_BYTES=1000"), LIST("fill:a:2000", touch, "fill:a:2000")),
        "fill 1000 ENOSPC\n"
        "fill 2000 ok\n");
}

#define SHIM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SHIM_TEST(the_disk_is_full_after_so_many_bytes),
        SHIM_TEST(other_directories_are_not_touched),
        SHIM_TEST(deleting_and_truncating_give_bytes_back),
        SHIM_TEST(what_is_left_is_what_statvfs_says),
        SHIM_TEST(an_io_error_is_whole),
        SHIM_TEST(a_sync_fails_after_so_many_bytes_and_writes_go_on),
        SHIM_TEST(the_control_file_lifts_the_fault_while_running),
    };

    return cmocka_run_group_tests_name("fault/diskfullshim", tests, NULL, NULL);
}
