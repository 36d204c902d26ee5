/* test_store_faults.c - the store under kill -9, power cuts, a full disk and failing syncs. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/fault/fault_run.h"
#include "tests/fault/store_victim.h"

enum { KILLS = 20, OUT_BYTES = 1 << 20 };

struct world {
    struct fault_dirs dirs;
    char store[4300];
    char out[OUT_BYTES];
};

static int setup(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    fault_dirs_init(&world->dirs);
    (void)snprintf(world->store, sizeof(world->store), "%s/store", world->dirs.watched);
    *state = world;
    return 0;
}

static int teardown(void **state)
{
    struct world *world = *state;

    fault_dirs_fini(&world->dirs);
    free(world);
    return 0;
}

/* Lets a victim live for `acks` acknowledged commits and kills it. Gives the number that the next
 * commit would have had for certain: the last acknowledged one plus 1, `before` if none was. */
static uint64_t live_and_kill(struct world *world, const char *sync, uint64_t acks, uint64_t before)
{
    const char *argv[] = {STORE_VICTIM, world->store, sync, NULL};
    struct fault_child child = fault_start(&world->dirs, SYNCSHIM, NULL, argv);
    FILE *out = fdopen(dup(child.out), "r");
    uint64_t next = before;
    char line[256];
    int status;

    for (uint64_t i = 0; i < acks && fgets(line, sizeof(line), out) != NULL; i++) {
        if (line[0] < '0' || line[0] > '9')
            fail_msg("victim: %s", line);
        next = strtoull(line, NULL, 10) + 1;
    }
    (void)kill(child.pid, SIGKILL);
    /* It may have been acknowledged more than was waited for. */
    while (fgets(line, sizeof(line), out) != NULL) {
        if (strchr(line, '\n') != NULL && line[0] >= '0' && line[0] <= '9')
            next = strtoull(line, NULL, 10) + 1;
    }
    (void)fclose(out);
    status = fault_finish(&child, line, sizeof(line));
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    return next;
}

/* What survived: checks that it is whole and returns the count. */
static uint64_t examine(struct world *world)
{
    struct lathe_store *store = NULL;
    struct lathe_error err = {0};
    uint64_t count;

    if (victim_open(world->store, &store, &err) != LATHE_OK)
        fail_msg("open after a kill: %s: %s", lathe_status_name(err.status), err.message);
    count = victim_count(store);
    if (!victim_check(store, count))
        fail_msg("not exactly the commits 0..%" PRIu64 " are there", count);
    lathe_store_close(store);
    return count;
}

static void power_cuts_lose_no_acknowledged_commit(void **state)
{
    struct world *world = *state;
    struct test_rng rng;
    uint64_t count = 0;

    test_rng_seed(&rng, "power cuts");
    for (int i = 0; i < KILLS; i++) {
        uint64_t acks = test_rng_below(&rng, 4) == 0 ? test_rng_below(&rng, 3)
                                                     : test_rng_below(&rng, 250);
        uint64_t promised = live_and_kill(world, "sync", acks, count);

        fault_crash_torn(&world->dirs, test_rng_u64(&rng) | 1);
        count = examine(world);
        if (count < promised)
            fail_msg("kill %d: %" PRIu64 " acknowledged, %" PRIu64 " there", i, promised, count);
        /* At most the commit that was under way is there beside them. */
        assert_true(count <= promised + 1);
    }
    print_message("%d power cuts, %" PRIu64 " commits\n", KILLS, count);
}

/* The test of the test: without the sync the same cut must lose something. */
static void power_cuts_lose_commits_that_were_not_synced(void **state)
{
    struct world *world = *state;
    uint64_t promised = live_and_kill(world, "sync", 50, 0);
    uint64_t count;

    fault_crash(&world->dirs);
    assert_true(examine(world) >= promised);
    promised = live_and_kill(world, "nosync", 60, promised);
    fault_crash(&world->dirs);
    count = examine(world);
    assert_true(count >= 50);
    assert_true(count < promised);
}

static void a_kill_alone_loses_not_even_those(void **state)
{
    struct world *world = *state;
    uint64_t promised = live_and_kill(world, "nosync", 200, 0);

    assert_true(examine(world) >= promised);
}

/* Runs a victim to its end under the disk shim; its output is in world->out. */
static void run_on_bad_disk(struct world *world, const char *const *settings)
{
    const char *argv[] = {STORE_VICTIM, world->store, "sync", "5000", NULL};
    struct fault_child child = fault_start(&world->dirs, DISKFULLSHIM, settings, argv);

    if (fault_finish(&child, world->out, sizeof(world->out)) != 0)
        fail_msg("victim: %s", world->out);
}

static uint64_t acknowledged(const char *out)
{
    uint64_t next = 0;

    for (const char *line = out; line != NULL && line[0] >= '0' && line[0] <= '9';) {
        next = strtoull(line, NULL, 10) + 1;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return next;
}

/* The failure was told as `failed`, reading went on, and what was acknowledged is there again. */
static void check_bad_disk(struct world *world, const char *failed)
{
    uint64_t promised = acknowledged(world->out);
    uint64_t count;
    char wanted[64];

    (void)snprintf(wanted, sizeof(wanted), "failed %s\n", failed);
    if (strstr(world->out, wanted) == NULL)
        fail_msg("not \"failed %s\" but %s", failed, world->out);
    assert_non_null(strstr(world->out, "\nread all\n"));
    count = examine(world);
    assert_true(count >= promised);
    assert_true(count <= promised + 2);
}

/* Fails after some bytes, DISKS times: the fault meets the log, a table, a blob file, a manifest.
 */
static void try_bad_disks(const char *failed, const char *kind, const char *sync)
{
    enum { DISKS = 5 };
    struct test_rng rng;

    test_rng_seed(&rng, failed);
    for (int i = 0; i < DISKS; i++) {
        char bytes[64];
        void *state = NULL;

        assert_int_equal(setup(&state), 0);
        (void)snprintf(bytes, sizeof(bytes), "LATHE_SHIM_BYTES=%" PRIu64,
                       400000 + test_rng_below(&rng, 1300000));
        run_on_bad_disk(state, (const char *const[]){bytes, kind, sync, NULL});
        check_bad_disk(state, failed);
        if (sync != NULL)
            assert_null(strstr(((struct world *)state)->out, "\nagain OK\n"));
        assert_int_equal(teardown(&state), 0);
    }
}

static void a_full_disk_is_told_and_reading_goes_on(void **state)
{
    (void)state;
    try_bad_disks("RESOURCE_EXHAUSTED", "LATHE_SHIM_ERRNO=ENOSPC", NULL);
}

static void a_write_error_is_told_and_reading_goes_on(void **state)
{
    (void)state;
    try_bad_disks("INTERNAL", "LATHE_SHIM_ERRNO=EIO", NULL);
}

static void a_failed_sync_ends_writing_for_good(void **state)
{
    (void)state;
    try_bad_disks("INTERNAL", "LATHE_SHIM_ERRNO=EIO", "LATHE_SHIM_FAIL_SYNC=1");
}

#define FAULT_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FAULT_TEST(power_cuts_lose_no_acknowledged_commit),
        FAULT_TEST(power_cuts_lose_commits_that_were_not_synced),
        FAULT_TEST(a_kill_alone_loses_not_even_those),
        cmocka_unit_test(a_full_disk_is_told_and_reading_goes_on),
        cmocka_unit_test(a_write_error_is_told_and_reading_goes_on),
        cmocka_unit_test(a_failed_sync_ends_writing_for_good),
    };

    return cmocka_run_group_tests_name("fault/store", tests, NULL, NULL);
}
