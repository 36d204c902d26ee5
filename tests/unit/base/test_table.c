/* test_table.c - tables under a key of the process, and without memory. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/table.h"

enum { ELEMENTS = 2000, HASHES = 8 };

struct element {
    uint32_t key;
    UT_hash_handle hh;
};

static struct element *element_make(uint32_t key)
{
    struct element *element = calloc(1, sizeof(*element));

    assert_non_null(element);
    element->key = key;
    return element;
}

static struct element *find(struct element *table, uint32_t key)
{
    struct element *element = NULL;

    HASH_FIND(hh, table, &key, sizeof(key), element);
    return element;
}

static void clear(struct element **table)
{
    struct element *element, *next;

    HASH_ITER(hh, *table, element, next)
    {
        HASH_DEL(*table, element);
        free(element);
    }
    assert_null(*table);
}

static void what_is_added_is_found_in_the_order_of_adding(void **state)
{
    struct element *table = NULL;
    uint32_t i = 0;

    (void)state;
    for (uint32_t key = 0; key < ELEMENTS; key++) {
        struct element *element = element_make(key * 7919);

        HASH_ADD(hh, table, key, sizeof(element->key), element);
        assert_true(lathe_table_holds(&element->hh));
    }
    assert_int_equal(HASH_COUNT(table), ELEMENTS);
    for (struct element *element = table; element != NULL; element = element->hh.next)
        assert_int_equal(element->key, i++ * 7919);
    for (uint32_t key = 0; key < ELEMENTS; key++)
        assert_non_null(find(table, key * 7919));
    assert_null(find(table, 1));
    clear(&table);
}

/* The hashes that uthash takes, of HASHES keys. */
static void hashes_take(unsigned hashes[HASHES])
{
    for (uint32_t key = 0; key < HASHES; key++)
        HASH_VALUE(&key, sizeof(key), hashes[key]);
}

/* Runs before this process draws its key, so that the child draws its own. */
static void a_process_hashes_as_no_other_does(void **state)
{
    unsigned own[HASHES], again[HASHES], others[HASHES];
    int ends[2], status;
    pid_t child;

    (void)state;
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool ready = lathe_hash_init();

        hashes_take(others);
        _exit(ready && write(ends[1], others, sizeof(others)) == sizeof(others) ? 0 : 1);
    }
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], others, sizeof(others)), sizeof(others));
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_true(lathe_hash_init());
    hashes_take(own);
    assert_memory_not_equal(own, others, sizeof(own));
    assert_true(lathe_hash_init()); /* again: the key stays, or tables would lose what they hold */
    hashes_take(again);
    assert_memory_equal(own, again, sizeof(own));
}

/* Adds elements while the allocation after `let_pass` others fails. Returns how many adds failed.
 */
static int fill(int let_pass)
{
    struct element *table = NULL;
    int failed = 0;

    test_alloc_fail(SIZE_MAX, let_pass);
    for (uint32_t key = 0; key < ELEMENTS; key++) {
        struct element *element = element_make(key);

        HASH_ADD(hh, table, key, sizeof(element->key), element);
        if (!lathe_table_holds(&element->hh)) {
            failed++;
            assert_null(find(table, key));
            assert_int_equal(HASH_COUNT(table), key);
            HASH_ADD(hh, table, key, sizeof(element->key), element); /* memory is back */
            assert_true(lathe_table_holds(&element->hh));
        }
        assert_ptr_equal(find(table, key), element);
    }
    test_alloc_fail(0, 0);
    for (uint32_t key = 0; key < ELEMENTS; key++)
        assert_non_null(find(table, key));
    clear(&table);
    return failed;
}

static void an_add_without_memory_leaves_the_table_as_it_was(void **state)
{
    int let_pass = 0;

    (void)state;
    while (fill(let_pass) == 1)
        let_pass++;
    /* The table, its first buckets, and each time they double. */
    assert_in_range(let_pass, 5, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_process_hashes_as_no_other_does), /* must be the first */
        cmocka_unit_test(what_is_added_is_found_in_the_order_of_adding),
        cmocka_unit_test(an_add_without_memory_leaves_the_table_as_it_was),
    };

    return cmocka_run_group_tests_name("base/table", tests, NULL, NULL);
}
