/* test_mem.c - checked sizes and the budget. */
#include "tests/support/test.h"

#include <string.h>

#include "common/base/mem.h"

static void sizes_that_overflow_are_refused(void **state)
{
    (void)state;
    assert_null(lathe_alloc_array(SIZE_MAX / 2, 3));
    assert_null(lathe_zalloc_array(SIZE_MAX / 2, 3));
    assert_null(lathe_realloc_array(NULL, SIZE_MAX / 2, 3));
}

static void nothing_can_be_allocated_and_freed(void **state)
{
    void *all[] = {lathe_alloc(0),           lathe_zalloc(0),        lathe_alloc_array(0, 8),
                   lathe_zalloc_array(8, 0), lathe_realloc(NULL, 0), lathe_alloc_aligned(64, 0)};

    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_non_null(all[i]);
        lathe_free(all[i]);
    }
    lathe_free(NULL);
}

static void zeroed_and_aligned_memory_is_that(void **state)
{
    uint8_t *zeroed = lathe_zalloc_array(1000, 3);
    void *aligned = lathe_alloc_aligned(4096, 100);
    char *copy = lathe_strdup("text");

    (void)state;
    for (int i = 0; i < 3000; i++)
        assert_int_equal(zeroed[i], 0);
    assert_int_equal((uintptr_t)aligned % 4096, 0);
    assert_string_equal(copy, "text");
    lathe_free(zeroed);
    lathe_free(aligned);
    lathe_free(copy);
}

static void grow_keeps_what_is_there_and_at_least_doubles(void **state)
{
    uint32_t *array = NULL;
    size_t capacity = 0, before;

    (void)state;
    for (uint32_t i = 0; i < 1000; i++) {
        assert_true(lathe_grow(&array, &capacity, i + 1, sizeof(*array)));
        array[i] = i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(array[i], i);
    before = capacity;
    assert_true(lathe_grow(&array, &capacity, capacity, sizeof(*array)));
    assert_int_equal(capacity, before);
    assert_true(lathe_grow(&array, &capacity, before + 1, sizeof(*array)));
    assert_int_equal(capacity, 2 * before);
    before = capacity;
    assert_false(lathe_grow(&array, &capacity, SIZE_MAX / 2, sizeof(*array)));
    assert_int_equal(capacity, before);
    assert_int_equal(array[999], 999);
    lathe_free(array);
}

static void budget_counts_every_part(void **state)
{
    struct lathe_budget budget = {.limit_bytes = 1000};

    (void)state;
    lathe_budget_charge(&budget, LATHE_MEM_ROWS, 600);
    lathe_budget_charge(&budget, LATHE_MEM_IDS, 200);
    assert_int_equal(lathe_budget_used(&budget), 800);
    lathe_budget_charge(&budget, LATHE_MEM_ROWS, -100);
    assert_int_equal(lathe_budget_used(&budget), 700);
    assert_int_equal(budget.used_bytes[LATHE_MEM_ROWS], 500);
    lathe_budget_charge(NULL, LATHE_MEM_ROWS, 1);
    lathe_budget_charge(&budget, LATHE_MEM_IDS, -900);
    assert_int_equal(lathe_budget_used(&budget), 0); /* never below nothing */
}

static void budget_has_room_up_to_its_percentage(void **state)
{
    struct lathe_budget budget = {.limit_bytes = 1000}, unlimited = {0};

    (void)state;
    lathe_budget_charge(&budget, LATHE_MEM_CACHE, 900);
    assert_true(lathe_budget_has_room(&budget, 50, 95));
    assert_false(lathe_budget_has_room(&budget, 51, 95));
    assert_false(lathe_budget_has_room(&budget, 1, 90));
    assert_true(lathe_budget_has_room(&budget, 100, 100));
    assert_false(lathe_budget_has_room(&budget, UINT64_MAX, 100));
    lathe_budget_charge(&unlimited, LATHE_MEM_CACHE, 900);
    assert_true(lathe_budget_has_room(&unlimited, UINT64_MAX, 1));
    assert_true(lathe_budget_has_room(NULL, UINT64_MAX, 1));
}

static void requests_get_what_fits_or_their_share(void **state)
{
    struct lathe_budget budget = {.limit_bytes = 1000}, unlimited = {0};

    (void)state;
    lathe_budget_charge(&budget, LATHE_MEM_ROWS, 900);
    assert_false(lathe_budget_take_request(&budget, 101));
    assert_false(lathe_budget_take_request(&budget, UINT64_MAX));
    assert_int_equal(lathe_budget_used(&budget), 900);
    assert_true(lathe_budget_take_request(&budget, 100));
    assert_int_equal(budget.used_bytes[LATHE_MEM_REQUESTS], 100);
    assert_false(lathe_budget_take_request(&budget, 1));
    lathe_budget_charge(&budget, LATHE_MEM_REQUESTS, -100);

    lathe_budget_charge(&budget, LATHE_MEM_ROWS, 900); /* far above the limit */
    assert_false(lathe_budget_take_request(&budget, 51));
    assert_true(lathe_budget_take_request(&budget, 30));
    assert_false(lathe_budget_take_request(&budget, 21));
    assert_true(lathe_budget_take_request(&budget, 20));
    assert_int_equal(budget.used_bytes[LATHE_MEM_REQUESTS], 50);

    assert_true(lathe_budget_take_request(&unlimited, 1u << 30));
    assert_int_equal(unlimited.used_bytes[LATHE_MEM_REQUESTS], 1u << 30);
    assert_true(lathe_budget_take_request(NULL, UINT64_MAX));
}

static void parts_have_distinct_names(void **state)
{
    (void)state;
    for (int i = 0; i < LATHE_MEM_PARTS; i++)
        for (int j = 0; j < i; j++)
            assert_string_not_equal(lathe_mem_part_name((enum lathe_mem_part)i),
                                    lathe_mem_part_name((enum lathe_mem_part)j));
    assert_string_equal(lathe_mem_part_name(LATHE_MEM_CACHE), "block_cache");
}

static void default_limit_is_a_part_of_the_machine(void **state)
{
    (void)state;
    assert_in_range(lathe_memory_default_limit(), 1 << 20, (uint64_t)1 << 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_overflow_are_refused),
        cmocka_unit_test(nothing_can_be_allocated_and_freed),
        cmocka_unit_test(zeroed_and_aligned_memory_is_that),
        cmocka_unit_test(grow_keeps_what_is_there_and_at_least_doubles),
        cmocka_unit_test(budget_counts_every_part),
        cmocka_unit_test(budget_has_room_up_to_its_percentage),
        cmocka_unit_test(requests_get_what_fits_or_their_share),
        cmocka_unit_test(parts_have_distinct_names),
        cmocka_unit_test(default_limit_is_a_part_of_the_machine),
    };

    return cmocka_run_group_tests_name("base/mem", tests, NULL, NULL);
}
