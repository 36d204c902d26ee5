/* test_reserve.c - space set aside beside a store. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/reserve.h"
#include "common/store/store.h"
#include "tests/support/test.h"

enum { BYTES = 3 << 20 };

struct fixture {
    char *dir;
    char store[4096];
    char file[4200];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->dir = test_dir_create();
    (void)snprintf(f->store, sizeof(f->store), "%s/store", f->dir);
    (void)snprintf(f->file, sizeof(f->file), "%s.reserve", f->store);
    assert_int_equal(mkdir(f->store, 0700), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    test_dir_remove(f->dir);
    free(f);
    return 0;
}

static uint64_t blocks_bytes(const struct fixture *f)
{
    struct stat info;

    return stat(f->file, &info) == 0 ? (uint64_t)info.st_blocks * 512u : 0;
}

static void a_reserve_takes_its_bytes_and_gives_them_back(void **state)
{
    struct fixture *f = *state;

    assert_false(lathe_reserve_free(f->store));
    for (int i = 0; i < 2; i++) {
        assert_int_equal(lathe_reserve_make(f->store, BYTES, 0, NULL), LATHE_OK);
        assert_true(blocks_bytes(f) >= BYTES);
    }
    assert_true(lathe_reserve_free(f->store));
    assert_int_equal(access(f->file, F_OK), -1);
}

static void a_file_with_holes_is_filled(void **state)
{
    struct fixture *f = *state;
    FILE *file = fopen(f->file, "w");

    assert_non_null(file);
    (void)fclose(file);
    assert_int_equal(truncate(f->file, BYTES), 0);
    assert_true(blocks_bytes(f) < BYTES);
    assert_int_equal(lathe_reserve_make(f->store, BYTES, 0, NULL), LATHE_OK);
    assert_true(blocks_bytes(f) >= BYTES);
}

static void a_disk_that_is_nearly_full_gets_none(void **state)
{
    struct fixture *f = *state;
    uint64_t free_bytes;

    assert_int_equal(lathe_disk_free(f->store, &free_bytes, NULL), LATHE_OK);
    assert_int_equal(lathe_reserve_make(f->store, BYTES, 2 * free_bytes, NULL), LATHE_OK);
    assert_int_equal(access(f->file, F_OK), -1);
    assert_int_equal(lathe_reserve_make(f->store, 2 * free_bytes, 0, NULL), LATHE_OK);
    assert_int_equal(access(f->file, F_OK), -1);
}

static void what_cannot_be_made_is_said_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct lathe_error err = {0};

    assert_int_equal(mkdir(f->file, 0700), 0);
    assert_int_equal(lathe_reserve_make(f->store, BYTES, 0, &err), LATHE_INTERNAL);
    assert_non_null(strstr(err.message, f->file));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reserve_takes_its_bytes_and_gives_them_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_file_with_holes_is_filled, setup, teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_is_nearly_full_gets_none, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_made_is_said_and_leaves_nothing, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
