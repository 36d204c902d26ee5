/* test_placement.c - every slot has exactly one shard, in contiguous and even ranges. */
#include "tests/support/test.h"

#include "coordinator/placement.h"

static void every_shard_count_covers_every_slot_evenly(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= LATHE_MAX_SHARDS; shards++) {
        uint32_t owned[LATHE_MAX_SHARDS] = {0};
        struct lathe_slot_map map;
        uint32_t last = 0;

        lathe_slot_map_init(&map, shards);
        assert_int_equal(map.version, 1);
        assert_int_equal(map.shard_count, shards);
        for (uint32_t slot = 0; slot < LATHE_SLOTS; slot++) {
            uint32_t shard = lathe_slot_map_shard(&map, slot);

            assert_true(shard < shards);
            assert_true(shard == last || shard == last + 1); /* contiguous */
            last = shard;
            owned[shard]++;
        }
        assert_int_equal(last, shards - 1);
        for (uint32_t i = 0; i < shards; i++) {
            assert_true(owned[i] >= LATHE_SLOTS / shards);
            assert_true(owned[i] <= LATHE_SLOTS / shards + 1);
        }
    }
}

static void uneven_maps_are_followed(void **state)
{
    struct lathe_slot_map map = {.version = 4, .shard_count = 4, .first = {0, 1, 5000, 16383}};

    (void)state;
    assert_int_equal(lathe_slot_map_shard(&map, 0), 0);
    assert_int_equal(lathe_slot_map_shard(&map, 1), 1);
    assert_int_equal(lathe_slot_map_shard(&map, 4999), 1);
    assert_int_equal(lathe_slot_map_shard(&map, 5000), 2);
    assert_int_equal(lathe_slot_map_shard(&map, 16382), 2);
    assert_int_equal(lathe_slot_map_shard(&map, 16383), 3);
}

static void the_first_maps_never_change(void **state)
{
    struct lathe_slot_map map;

    (void)state;
    lathe_slot_map_init(&map, 3);
    assert_int_equal(map.first[0], 0);
    assert_int_equal(map.first[1], 5461);
    assert_int_equal(map.first[2], 10922);
    lathe_slot_map_init(&map, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(map.first[i], i * 2048);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shard_count_covers_every_slot_evenly),
        cmocka_unit_test(uneven_maps_are_followed),
        cmocka_unit_test(the_first_maps_never_change),
    };

    return cmocka_run_group_tests_name("coordinator/placement", tests, NULL, NULL);
}
