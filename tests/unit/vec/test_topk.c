/* test_topk.c - the bounded heap of hits against sorting everything. */
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

#include "common/vec/score.h"
#include "common/vec/topk.h"

enum { HITS = 400 };

static uint8_t id_bytes[HITS][8];
static enum lathe_metric sort_metric;

static int compare_hits(const void *a, const void *b)
{
    const struct lathe_hit *x = a, *y = b;

    if (x->score != y->score)
        return lathe_score_better(sort_metric, x->score, y->score) ? -1 : 1;
    return memcmp(x->id.data, y->id.data, x->id.size < y->id.size ? x->id.size : y->id.size) < 0 ||
                   (x->id.size < y->id.size && memcmp(x->id.data, y->id.data, x->id.size) == 0)
               ? -1
               : 1;
}

/* Distinct ids of 2 to 8 bytes, some of them prefixes of others; few distinct scores: many ties. */
static void make_hits(struct test_rng *rng, struct lathe_hit *hits, size_t count, uint64_t scores)
{
    for (size_t i = 0; i < count; i++) {
        memset(id_bytes[i], 0, sizeof(id_bytes[i]));
        id_bytes[i][0] = (uint8_t)(i / 7 * 37);
        id_bytes[i][1] = (uint8_t)(i / 7 * 37 >> 8);
        hits[i] = (struct lathe_hit){.id = lathe_bytes_of(id_bytes[i], 2 + i % 7),
                                     .ref = i,
                                     .score = (float)test_rng_below(rng, scores) - 3};
    }
}

static void shuffle(struct test_rng *rng, struct lathe_hit *hits, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = test_rng_below(rng, i);
        struct lathe_hit moved = hits[j];

        hits[j] = hits[i - 1];
        hits[i - 1] = moved;
    }
}

static void assert_same(const struct lathe_hit *a, const struct lathe_hit *b, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(a[i].ref, b[i].ref);
        assert_true(a[i].score == b[i].score);
        assert_ptr_equal(a[i].id.data, b[i].id.data);
    }
}

static void keeps_what_sorting_everything_puts_first(void **state)
{
    static const uint32_t ks[] = {1, 2, 3, 7, 10, 64, HITS - 1, HITS, HITS + 5};
    static struct lathe_hit hits[HITS], sorted[HITS], drained[HITS];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "topk");
    for (int round = 0; round < 40; round++) {
        sort_metric = (enum lathe_metric)(1 + round % 4);
        make_hits(&rng, hits, HITS, round % 2 == 0 ? 5 : 100000);
        memcpy(sorted, hits, sizeof(hits));
        qsort(sorted, HITS, sizeof(sorted[0]), compare_hits);
        for (size_t i = 0; i < sizeof(ks) / sizeof(ks[0]); i++) {
            struct lathe_topk *topk = lathe_topk_create(ks[i], sort_metric);
            uint32_t wanted = ks[i] < HITS ? ks[i] : HITS;

            shuffle(&rng, hits, HITS);
            for (size_t j = 0; j < HITS; j++)
                (void)lathe_topk_offer(topk, &hits[j]);
            assert_int_equal(lathe_topk_full(topk), ks[i] <= HITS);
            if (lathe_topk_full(topk))
                assert_true(lathe_topk_worst(topk) == sorted[wanted - 1].score);
            assert_int_equal(lathe_topk_count(topk), wanted);
            assert_int_equal(lathe_topk_drain(topk, drained), wanted);
            assert_same(drained, sorted, wanted);
            assert_int_equal(lathe_topk_count(topk), 0);
            lathe_topk_destroy(topk);
        }
    }
}

static void merged_parts_equal_the_whole(void **state)
{
    static struct lathe_hit hits[HITS], sorted[HITS], drained[HITS], merged[HITS];
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "topk merge");
    sort_metric = LATHE_DOT;
    make_hits(&rng, hits, HITS, 4);
    memcpy(sorted, hits, sizeof(hits));
    qsort(sorted, HITS, sizeof(sorted[0]), compare_hits);
    for (size_t parts = 1; parts <= 8; parts++) {
        struct lathe_topk *part = lathe_topk_create(20, LATHE_DOT);
        struct lathe_topk *whole = lathe_topk_create(20, LATHE_DOT);

        shuffle(&rng, hits, HITS);
        for (size_t p = 0; p < parts; p++) {
            for (size_t j = p; j < HITS; j += parts)
                (void)lathe_topk_offer(part, &hits[j]);
            for (uint32_t n = lathe_topk_drain(part, drained), j = 0; j < n; j++)
                (void)lathe_topk_offer(whole, &drained[j]);
        }
        assert_int_equal(lathe_topk_drain(whole, merged), 20);
        assert_same(merged, sorted, 20);
        lathe_topk_destroy(part);
        lathe_topk_destroy(whole);
    }
}

static void offer_says_whether_it_kept_the_hit(void **state)
{
    struct lathe_hit a = {lathe_bytes_str("a"), 1, 5}, b = {lathe_bytes_str("b"), 2, 5};
    struct lathe_hit c = {lathe_bytes_str("c"), 3, 5}, near = {lathe_bytes_str("z"), 4, 1};
    struct lathe_topk *topk = lathe_topk_create(2, LATHE_EUCLIDEAN);
    struct lathe_hit out[2];

    (void)state;
    assert_true(lathe_topk_offer(topk, &b));
    assert_false(lathe_topk_full(topk));
    assert_true(lathe_topk_offer(topk, &c));
    assert_true(lathe_topk_full(topk));
    assert_true(lathe_topk_offer(topk, &a));    /* ties the worst, smaller id */
    assert_false(lathe_topk_offer(topk, &c));   /* ties the worst, larger id */
    assert_true(lathe_topk_offer(topk, &near)); /* nearer is better */
    assert_true(lathe_topk_worst(topk) == 5);
    assert_int_equal(lathe_topk_drain(topk, out), 2);
    assert_int_equal(out[0].ref, 4);
    assert_int_equal(out[1].ref, 1);
    assert_true(lathe_topk_offer(topk, &c)); /* usable again */
    assert_int_equal(lathe_topk_drain(topk, out), 1);
    assert_int_equal(out[0].ref, 3);
    lathe_topk_destroy(topk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_what_sorting_everything_puts_first),
        cmocka_unit_test(merged_parts_equal_the_whole),
        cmocka_unit_test(offer_says_whether_it_kept_the_hit),
    };

    return cmocka_run_group_tests_name("vec/topk", tests, NULL, NULL);
}
