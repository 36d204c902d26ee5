/* test_operation.c - what operations do: random ones against a model through the writer, and the
 * cases that randomness meets too seldom. */
#include "tests/unit/shard/model.h"

#include "common/base/mem.h"
#include "shard/write/operation.h"

static uint64_t keys_of(struct lathe_store *store, enum lathe_family family)
{
    struct lathe_store_scan scan = {0};
    struct lathe_store_iter *iter = NULL;
    uint64_t count = 0;

    assert_int_equal(lathe_store_iter_create(store, family, &scan, &iter, NULL), LATHE_OK);
    for (lathe_store_iter_seek_first(iter); lathe_store_iter_valid(iter);
         lathe_store_iter_next(iter))
        count++;
    lathe_store_iter_destroy(iter);
    return count;
}

/* Nothing is left in the store of what the model no longer has. */
static void check_keys(struct model *model)
{
    uint64_t payloads = 0, vectors = 0;

    for (int i = 0; i < MODEL_POINTS; i++) {
        const struct model_point *point = &model->points[i];

        payloads += point->exists && point->pair_count > 0;
        for (int f = 0; f < MODEL_FIELDS; f++)
            vectors += point->exists && point->has[f];
    }
    assert_int_equal(keys_of(model->parts->store, LATHE_FAMILY_POINTS), model_live(model));
    assert_int_equal(keys_of(model->parts->store, LATHE_FAMILY_ORDER), model_live(model));
    assert_int_equal(keys_of(model->parts->store, LATHE_FAMILY_PAYLOAD), payloads);
    assert_int_equal(keys_of(model->parts->store, LATHE_FAMILY_ORIGINALS), vectors);
}

static void random_writes_do_what_the_model_does(void **state)
{
    struct test_rng rng;
    struct parts parts;
    struct model model;
    uint64_t seq = 0;

    (void)state;
    test_rng_seed(&rng, "random_writes_do_what_the_model_does");
    parts_init(&parts);
    parts.max_payload_bytes = 60;
    parts_stop(&parts);
    parts_start(&parts);
    model_init(&model, &parts, &rng, &seq);
    for (int round = 0; round < 6; round++) {
        for (int step = 0; step < 40; step++) {
            model_step(&model, 1 + test_rng_below(&rng, 12));
            if (step % 8 == 0)
                model_compare(&model);
        }
        check_keys(&model);
        if (round % 2 == 1) {
            parts_stop(&parts);
            parts_start(&parts);
        }
        model_compare(&model);
    }
    model_fini(&model);
    parts_fini(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_writes_do_what_the_model_does),
    };

    return cmocka_run_group_tests_name("operation", tests, NULL, NULL);
}
