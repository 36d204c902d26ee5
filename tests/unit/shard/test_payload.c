/* test_payload.c - merging keys into stored payloads and taking them off. */
#include "tests/unit/shard/shard_fixture.h"

#include <stdio.h>
#include <string.h>

#include "shard/write/payload.h"

static int arena_setup(void **state)
{
    static struct lathe_arena arena;

    lathe_arena_init(&arena, 0);
    *state = &arena;
    return 0;
}

static int arena_teardown(void **state)
{
    lathe_arena_fini(*state);
    return 0;
}

static void assert_payload(struct lathe_buf *out, struct lathe_arena *arena,
                           const struct pair *pairs, size_t count)
{
    assert_true(lathe_bytes_equal(lathe_buf_view(out), payload_make(arena, pairs, count)));
    lathe_buf_fini(out);
}

static void merged_keys_keep_their_place_and_new_ones_come_last(void **state)
{
    struct lathe_arena *arena = *state;
    struct lathe_bytes base = payload_make(arena, (struct pair[]){{"z", 1}, {"a", 2}, {"m", 3}}, 3);
    struct lathe_bytes patch = payload_make(arena, (struct pair[]){{"y", 9}, {"a", 8}, {"b", 7}},
                                            3);
    struct lathe_buf out = {0};

    assert_int_equal(lathe_payload_merge(base, patch, &out, NULL), LATHE_OK);
    assert_payload(&out, arena, (struct pair[]){{"z", 1}, {"a", 8}, {"m", 3}, {"y", 9}, {"b", 7}},
                   5);
}

static void empty_sides_merge(void **state)
{
    struct lathe_arena *arena = *state;
    struct lathe_bytes some = payload_make(arena, (struct pair[]){{"", 1}, {"b", 2}}, 2);
    struct lathe_bytes none = lathe_bytes_of(NULL, 0);
    struct lathe_buf out = {0};

    assert_int_equal(lathe_payload_merge(none, some, &out, NULL), LATHE_OK);
    assert_payload(&out, arena, (struct pair[]){{"", 1}, {"b", 2}}, 2);
    assert_int_equal(lathe_payload_merge(some, none, &out, NULL), LATHE_OK);
    assert_payload(&out, arena, (struct pair[]){{"", 1}, {"b", 2}}, 2);
    assert_int_equal(lathe_payload_merge(none, none, &out, NULL), LATHE_OK);
    assert_int_equal(out.size, 0);
    lathe_buf_fini(&out);
}

static void removed_keys_go_and_the_rest_keeps_its_order(void **state)
{
    struct lathe_arena *arena = *state;
    struct lathe_bytes base = payload_make(
        arena, (struct pair[]){{"d", 1}, {"c", 2}, {"b", 3}, {"a", 4}}, 4);
    struct lathe_bytes keys[] = {lathe_bytes_str("c"), lathe_bytes_str("nothing"),
                                 lathe_bytes_str("a"), lathe_bytes_str("c")};
    struct lathe_buf out = {0};

    assert_int_equal(lathe_payload_remove(base, keys, 4, &out, NULL), LATHE_OK);
    assert_payload(&out, arena, (struct pair[]){{"d", 1}, {"b", 3}}, 2);
    assert_int_equal(lathe_payload_remove(base, keys, 0, &out, NULL), LATHE_OK);
    assert_true(lathe_bytes_equal(lathe_buf_view(&out), base));
    lathe_buf_fini(&out);
}

/* A key is what its bytes are: no prefix and nothing behind a NUL counts. */
static void keys_are_compared_whole(void **state)
{
    struct lathe_arena *arena = *state;
    struct lathe_bytes base = payload_make(arena, (struct pair[]){{"ab", 1}, {"a", 2}}, 2);
    struct lathe_bytes keys[] = {lathe_bytes_of("a\0b", 3), lathe_bytes_str("abc")};
    struct lathe_buf out = {0};

    assert_int_equal(lathe_payload_remove(base, keys, 2, &out, NULL), LATHE_OK);
    assert_payload(&out, arena, (struct pair[]){{"ab", 1}, {"a", 2}}, 2);
}

static void malformed_sides_are_told_apart(void **state)
{
    struct lathe_bytes bad = lathe_bytes_str("\x0a\x7f");
    struct lathe_bytes none = lathe_bytes_of(NULL, 0);
    struct lathe_buf out = {0};
    struct lathe_error err = {0};

    (void)state;
    assert_int_equal(lathe_payload_merge(bad, none, &out, &err), LATHE_DATA_LOSS);
    assert_int_equal(lathe_payload_merge(none, bad, &out, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(lathe_payload_remove(bad, NULL, 0, &out, &err), LATHE_DATA_LOSS);
    assert_int_equal(lathe_payload_check(bad, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(lathe_payload_check(none, &err), LATHE_OK);
    assert_int_equal(out.size, 0);
}

/* Large objects are put together by sorting, not by comparing every key with every other: with the
 * square of these counts the test would run for minutes. */
static void many_keys_are_merged_and_removed(void **state)
{
    enum { KEYS = 60000 };
    struct lathe_arena *arena = *state;
    struct pair *pairs = lathe_arena_alloc(arena, 2 * KEYS * sizeof(*pairs));
    struct lathe_bytes *keys = lathe_arena_alloc(arena, KEYS * sizeof(*keys));
    char *names = lathe_arena_alloc(arena, 2 * KEYS * 8);
    struct lathe_buf out = {0}, rest = {0};

    for (uint32_t i = 0; i < 2 * KEYS; i++) {
        pairs[i] = (struct pair){names + 8 * i, i};
        (void)snprintf(names + 8 * i, 8, "%06u", i * 7919 % (2 * KEYS));
    }
    for (uint32_t i = 0; i < KEYS; i++)
        keys[i] = lathe_bytes_str(pairs[i].key);
    assert_int_equal(lathe_payload_merge(payload_make(arena, pairs, KEYS),
                                         payload_make(arena, pairs + KEYS, KEYS), &out, NULL),
                     LATHE_OK);
    assert_true(lathe_bytes_equal(lathe_buf_view(&out), payload_make(arena, pairs, 2 * KEYS)));
    assert_int_equal(lathe_payload_remove(lathe_buf_view(&out), keys, KEYS, &rest, NULL), LATHE_OK);
    assert_true(lathe_bytes_equal(lathe_buf_view(&rest), payload_make(arena, pairs + KEYS, KEYS)));
    lathe_buf_fini(&out);
    lathe_buf_fini(&rest);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, arena_setup, arena_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(merged_keys_keep_their_place_and_new_ones_come_last),
        TEST(empty_sides_merge),
        TEST(removed_keys_go_and_the_rest_keeps_its_order),
        TEST(keys_are_compared_whole),
        TEST(malformed_sides_are_told_apart),
        TEST(many_keys_are_merged_and_removed),
    };

    return cmocka_run_group_tests_name("payload", tests, NULL, NULL);
}
