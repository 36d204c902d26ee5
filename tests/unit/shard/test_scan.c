/* test_scan.c - the scan against brute force: every metric, kernel set and number of threads, on
 * data that is hard on bounds and ties, and with the list of ranges cut and shuffled. */
#include "tests/unit/shard/shard_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/mem.h"
#include "common/vec/score.h"
#include "shard/data/row.h"
#include "shard/kernel/cpu.h"

enum { PATIENCE_US = 60 * 1000 * 1000, THREADS = 4, SETS_MAX = 8, ROWS_MAX = 6000 };

enum data_kind {
    RANDOM,
    CLUSTERED,  /* a few directions, little apart */
    DUPLICATES, /* a few vectors, many times: ties to be broken by id */
    ZEROS,      /* some rows are zero */
    NORMS,      /* from 2^-60 to 2^49 */
    INTEGERS,   /* small whole numbers: many equal scores */
    DATA_KINDS
};

/* A field with all that its rows were made of. */
struct field {
    struct lathe_rows rows;
    struct lathe_field_view *view;
    uint32_t dims;
    enum lathe_metric metric;
    uint32_t row_count; /* dead ones among them */
    float *vectors;
    struct lathe_idkey *ids;
    bool *dead;
};

static struct lathe_pool *pools[THREADS];
static const struct lathe_kernel_set *sets[SETS_MAX];
static size_t set_count;

static int group_setup(void **state)
{
    (void)state;
    for (unsigned t = 0; t < THREADS; t++)
        pools[t] = lathe_pool_create(t + 1);
    for (size_t i = 0; i < lathe_kernel_set_count; i++)
        if (lathe_kernel_select(lathe_kernel_sets[i]->name, lathe_cpu_detect(), &sets[set_count],
                                NULL) == LATHE_OK)
            set_count++;
    return set_count > 0 ? 0 : -1;
}

static int group_teardown(void **state)
{
    (void)state;
    for (unsigned t = 0; t < THREADS; t++)
        lathe_pool_destroy(pools[t]);
    return 0;
}

/* ---- Data ---- */

static void row_draw(struct test_rng *rng, enum data_kind kind, const struct field *field,
                     uint32_t row, float *out)
{
    test_rng_gauss_floats(rng, out, field->dims);
    switch (kind) {
    case CLUSTERED:
        for (uint32_t i = 0; i < field->dims && row >= 4; i++)
            out[i] = field->vectors[(size_t)(row % 4) * field->dims + i] + 0x1p-12f * out[i];
        break;
    case DUPLICATES:
        if (row >= 5)
            memcpy(out, field->vectors + (size_t)(row % 5) * field->dims,
                   field->dims * sizeof(float));
        break;
    case ZEROS:
        if (test_rng_below(rng, 3) == 0)
            memset(out, 0, field->dims * sizeof(float));
        break;
    case NORMS:
        for (uint32_t i = 0, e = (uint32_t)test_rng_below(rng, 100); i < field->dims; i++)
            out[i] = ldexpf(out[i], (int)e - 60);
        break;
    case INTEGERS:
        for (uint32_t i = 0; i < field->dims; i++)
            out[i] = roundf(out[i]);
        break;
    default:
        break;
    }
}

static void field_make(struct field *field, struct test_rng *rng, enum data_kind kind,
                       enum lathe_metric metric, uint32_t dims, uint32_t row_count)
{
    *field = (struct field){.dims = dims, .metric = metric, .row_count = row_count};
    field->vectors = lathe_alloc_array(row_count, dims * sizeof(float));
    field->ids = lathe_alloc_array(row_count, sizeof(*field->ids));
    field->dead = lathe_zalloc_array(row_count, sizeof(*field->dead));
    lathe_rows_init(&field->rows, dims, metric, NULL);
    for (uint32_t row = 0; row < row_count; row++) {
        row_draw(rng, kind, field, row, field->vectors + (size_t)row * dims);
        field->ids[row] = id_of((uint32_t)(row * 48271ull % 2147483647u));
        assert_int_equal(lathe_rows_append(&field->rows, field->vectors + (size_t)row * dims, row,
                                           row, lathe_idkey_view(&field->ids[row])),
                         LATHE_OK);
    }
    for (uint32_t row = 0; row < row_count; row++) {
        field->dead[row] = test_rng_below(rng, 4) == 0;
        if (field->dead[row])
            assert_true(lathe_rows_kill(&field->rows, row));
    }
    field->view = lathe_rows_publish(&field->rows);
}

static void field_free(struct field *field)
{
    lathe_field_view_release(field->view);
    lathe_rows_fini(&field->rows);
    lathe_free(field->vectors);
    lathe_free(field->ids);
    lathe_free(field->dead);
}

/* ---- Brute force ---- */

/* The score in plain double arithmetic, not in the order of the definition. */
static double naive_score(const struct field *field, const float *x, const float *q)
{
    double dot = 0, xx = 0, qq = 0, difference = 0;

    for (uint32_t i = 0; i < field->dims; i++) {
        dot += (double)x[i] * (double)q[i];
        xx += (double)x[i] * (double)x[i];
        qq += (double)q[i] * (double)q[i];
        difference += ((double)x[i] - (double)q[i]) * ((double)x[i] - (double)q[i]);
    }
    if (field->metric == LATHE_COSINE)
        return xx == 0 || qq == 0 ? 0 : dot / sqrt(xx) / sqrt(qq);
    return field->metric == LATHE_DOT ? dot : sqrt(difference);
}

static enum lathe_metric sort_metric;

static int hit_order(const void *a, const void *b)
{
    return lathe_hit_before(sort_metric, a, b) ? -1 : 1;
}

/* Every live row that the query may have, sorted whole. Returns how many are wanted. */
static uint32_t brute_force(const struct field *field, const struct lathe_scan_query *query,
                            struct lathe_hit *hits)
{
    uint32_t count = 0;

    for (uint32_t row = 0; row < field->row_count; row++) {
        const float *x = field->vectors + (size_t)row * field->dims;
        struct lathe_hit hit = {.id = lathe_idkey_view(&field->ids[row])};

        if (field->dead[row] || lathe_bytes_equal(query->exclude, hit.id))
            continue;
        hit.score = lathe_score_f32(field->metric, x, query->vector, field->dims);
        if (query->has_threshold && lathe_score_better(field->metric, query->threshold, hit.score))
            continue;
        hits[count++] = hit;
    }
    sort_metric = field->metric;
    qsort(hits, count, sizeof(*hits), hit_order);
    return count < query->limit ? count : query->limit;
}

/* ---- Scans ---- */

static void push_done(struct lathe_scan *scan, void *context)
{
    assert_true(lathe_queue_push(context, scan));
}

static struct lathe_scan *scan_run(const struct field *field, const struct lathe_scan_config *with,
                                   const struct lathe_scan_query *queries, size_t query_count,
                                   struct lathe_pool *pool)
{
    struct lathe_scan_config config = *with;
    struct lathe_queue *done = lathe_queue_create(1, false);
    struct lathe_scan *scan;
    void *item = NULL;

    config.view = field->view;
    config.metric = field->metric;
    config.dims = field->dims;
    if (config.clock == NULL)
        config.clock = &lathe_system_clock;
    if (config.deadline_us == 0)
        config.deadline_us = UINT64_MAX;
    scan = lathe_scan_create(&config, queries, query_count, push_done, done);
    assert_non_null(scan);
    lathe_scan_run(scan, pool);
    assert_int_equal(lathe_queue_pop(done, &item, 1, PATIENCE_US), 1);
    assert_ptr_equal(item, scan);
    lathe_queue_destroy(done);
    return scan;
}

static void assert_hits(const struct lathe_scan_query *got, const struct lathe_hit *wanted,
                        uint32_t count)
{
    assert_int_equal(got->hit_count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_memory_equal(&got->hits[i].score, &wanted[i].score, sizeof(float));
        assert_true(lathe_bytes_equal(got->hits[i].id, wanted[i].id));
    }
}

/* Cuts the default list at random blocks and shuffles it. */
static struct lathe_scan_range *ranges_shuffled(const struct field *field, struct test_rng *rng,
                                                size_t *count_out)
{
    struct lathe_scan_range *whole, *cut;
    size_t count = lathe_scan_ranges(field->view, &whole), made = 0;
    uint32_t blocks = field->row_count / LATHE_BLOCK_ROWS + (uint32_t)count +
                      (uint32_t)field->view->segment_count;

    cut = lathe_alloc_array(blocks + 1, sizeof(*cut));
    for (size_t i = 0; i < count; i++)
        while (whole[i].block_count > 0) {
            uint32_t step = 1 + (uint32_t)test_rng_below(rng, whole[i].block_count);

            cut[made++] = (struct lathe_scan_range){whole[i].segment, whole[i].first_block, step};
            whole[i].first_block += step;
            whole[i].block_count -= step;
        }
    for (size_t i = made; i > 1; i--) {
        size_t j = test_rng_below(rng, i);
        struct lathe_scan_range swapped = cut[i - 1];

        cut[i - 1] = cut[j];
        cut[j] = swapped;
    }
    lathe_free(whole);
    *count_out = made;
    return cut;
}

static uint32_t limit_draw(const struct field *field, struct test_rng *rng)
{
    switch (test_rng_below(rng, 4)) {
    case 0:
        return 1;
    case 1:
        return 10;
    case 2:
        return 1 + (uint32_t)test_rng_below(rng, field->row_count);
    default:
        return field->row_count + 7;
    }
}

static void query_draw(const struct field *field, struct test_rng *rng, float *vector,
                       struct lathe_scan_query *query)
{
    const float *near = field->vectors + test_rng_below(rng, field->row_count) * field->dims;
    uint64_t how = test_rng_below(rng, 3);

    test_rng_gauss_floats(rng, vector, field->dims);
    for (uint32_t i = 0; i < field->dims && how > 0; i++) /* a stored row, or close to one */
        vector[i] = near[i] + (how == 1 ? 0 : 0x1p-10f * near[i] * vector[i]);
    if (field->metric == LATHE_COSINE && !(lathe_squared_norm_f32(vector, field->dims) > 0))
        vector[0] = 1; /* a zero query under cosine never gets here */
    *query = (struct lathe_scan_query){.vector = vector, .limit = limit_draw(field, rng)};
    if (test_rng_below(rng, 3) == 0) {
        query->has_threshold = true;
        query->threshold = lathe_score_f32(field->metric, near, vector, field->dims);
    }
    if (test_rng_below(rng, 3) == 0)
        query->exclude = lathe_idkey_view(&field->ids[test_rng_below(rng, field->row_count)]);
}

/* One query, under every kernel set and number of threads, with lists in order and shuffled. */
static void check_query(const struct field *field, const struct lathe_scan_query *query,
                        struct test_rng *rng)
{
    struct lathe_hit *wanted = lathe_alloc_array(field->row_count, sizeof(*wanted));
    uint32_t count = brute_force(field, query, wanted);

    for (size_t s = 0; s < set_count; s++)
        for (unsigned t = 0; t < THREADS; t++) {
            struct lathe_scan_config config = {.kernel = sets[s]};
            struct lathe_scan_range *ranges = NULL;
            struct lathe_scan *scan;

            if ((t + s) % 2 == 1)
                config.ranges = ranges = ranges_shuffled(field, rng, &config.range_count);
            scan = scan_run(field, &config, query, 1, pools[t]);
            assert_int_equal(lathe_scan_status(scan), LATHE_OK);
            assert_hits(lathe_scan_query(scan, 0), wanted, count);
            assert_true(lathe_scan_query(scan, 0)->rows_scored <= field->view->row_count);
            lathe_scan_destroy(scan);
            lathe_free(ranges);
        }
    lathe_free(wanted);
}

static void scans_find_what_brute_force_finds(void **state)
{
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_DOT, LATHE_EUCLIDEAN};
    static const uint32_t dims[] = {1, 2, 7, 16, 33, 96};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "scans_find_what_brute_force_finds");
    for (size_t m = 0; m < 3; m++)
        for (int kind = 0; kind < DATA_KINDS; kind++) {
            uint32_t rows = 1 + (uint32_t)test_rng_below(&rng, kind % 2 == 0 ? 600 : 4000);
            struct field field;

            field_make(&field, &rng, (enum data_kind)kind, metrics[m],
                       dims[test_rng_below(&rng, 6)], rows);
            for (int i = 0; i < 6; i++) {
                float vector[96];
                struct lathe_scan_query query;

                query_draw(&field, &rng, vector, &query);
                check_query(&field, &query, &rng);
            }
            field_free(&field);
        }
}

/* The scores are what a reader of the metric's definition expects, not only equal among us. */
static void scores_are_those_of_plain_arithmetic(void **state)
{
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_DOT, LATHE_EUCLIDEAN};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "scores_are_those_of_plain_arithmetic");
    for (size_t m = 0; m < 3; m++) {
        struct lathe_scan_config config = {.kernel = sets[0]};
        struct lathe_scan_query query;
        struct lathe_scan *scan;
        struct field field;
        float vector[33];
        double last = 0;

        field_make(&field, &rng, RANDOM, metrics[m], 33, 2000);
        test_rng_gauss_floats(&rng, vector, 33);
        query = (struct lathe_scan_query){.vector = vector, .limit = 2000};
        scan = scan_run(&field, &config, &query, 1, pools[1]);
        assert_int_equal(lathe_scan_query(scan, 0)->hit_count, field.view->row_count);
        for (uint32_t i = 0; i < lathe_scan_query(scan, 0)->hit_count; i++) {
            const struct lathe_hit *hit = &lathe_scan_query(scan, 0)->hits[i];
            uint32_t row = 0;
            double score;

            while (!lathe_bytes_equal(lathe_idkey_view(&field.ids[row]), hit->id))
                row++;
            score = naive_score(&field, field.vectors + (size_t)row * 33, vector);
            assert_true(fabs((double)hit->score - score) <= 1e-6 * fmax(1, fabs(score)));
            if (i > 0)
                assert_true(metrics[m] == LATHE_EUCLIDEAN ? score >= last - 1e-5
                                                          : score <= last + 1e-5);
            last = score;
        }
        lathe_scan_destroy(scan);
        field_free(&field);
    }
}

/* Queries of a batch have each its limit, threshold and exclusion, as if they came alone. */
static void check_batch(const struct field *field, struct test_rng *rng)
{
    enum { QUERIES = 20 };
    struct lathe_scan_query queries[QUERIES];
    float vectors[QUERIES][24];
    struct lathe_hit *wanted = lathe_alloc_array(field->row_count, sizeof(*wanted));

    for (int i = 0; i < QUERIES; i++)
        query_draw(field, rng, vectors[i], &queries[i]);
    for (unsigned t = 0; t < THREADS; t++) {
        size_t count = 1 + test_rng_below(rng, QUERIES);
        struct lathe_scan_config config = {.kernel = sets[test_rng_below(rng, set_count)]};
        struct lathe_scan_range *ranges = ranges_shuffled(field, rng, &config.range_count);
        struct lathe_scan *scan;

        config.ranges = ranges;
        scan = scan_run(field, &config, queries, count, pools[t]);
        assert_int_equal(lathe_scan_status(scan), LATHE_OK);
        for (size_t i = 0; i < count; i++)
            assert_hits(lathe_scan_query(scan, i), wanted, brute_force(field, &queries[i], wanted));
        lathe_scan_destroy(scan);
        lathe_free(ranges);
    }
    lathe_free(wanted);
}

static void a_batch_gives_what_single_queries_give(void **state)
{
    static const enum lathe_metric metrics[] = {LATHE_COSINE, LATHE_DOT, LATHE_EUCLIDEAN};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "a_batch_gives_what_single_queries_give");
    for (int i = 0; i < 3 * DATA_KINDS; i++) {
        struct field field;

        field_make(&field, &rng, (enum data_kind)(i % DATA_KINDS), metrics[i / DATA_KINDS],
                   1 + (uint32_t)test_rng_below(&rng, 24),
                   1 + (uint32_t)test_rng_below(&rng, 1500));
        check_batch(&field, &rng);
        field_free(&field);
    }
}

/* Most rows are dropped by their bound: the scan would be right, but no scan, without it. */
static void few_rows_are_scored(void **state)
{
    struct lathe_scan_config config = {.kernel = sets[0]};
    struct lathe_scan_query query = {.limit = 10};
    struct lathe_scan *scan;
    struct test_rng rng;
    struct field field;

    (void)state;
    test_rng_seed(&rng, "few_rows_are_scored");
    field_make(&field, &rng, RANDOM, LATHE_COSINE, 64, ROWS_MAX);
    query.vector = field.vectors;
    scan = scan_run(&field, &config, &query, 1, pools[0]);
    assert_true(lathe_scan_query(scan, 0)->rows_scored < ROWS_MAX / 10);
    assert_int_equal(lathe_scan_query(scan, 0)->bytes_read, (uint64_t)ROWS_MAX * 64 * 4);
    lathe_scan_destroy(scan);
    field_free(&field);
}

static void an_empty_field_has_no_hits(void **state)
{
    struct lathe_scan_config config = {.kernel = sets[0]};
    struct lathe_scan_query query = {.limit = 3};
    float vector[4] = {1, 2, 3, 4};
    struct lathe_scan *scan;
    struct field field = {.dims = 4, .metric = LATHE_DOT};

    (void)state;
    lathe_rows_init(&field.rows, 4, LATHE_DOT, NULL);
    field.view = lathe_rows_publish(&field.rows);
    query.vector = vector;
    scan = scan_run(&field, &config, &query, 1, pools[0]);
    assert_int_equal(lathe_scan_status(scan), LATHE_OK);
    assert_int_equal(lathe_scan_query(scan, 0)->hit_count, 0);
    lathe_scan_destroy(scan);
    field_free(&field);
}

static void a_scan_stops_when_nobody_waits(void **state)
{
    _Atomic bool cancelled = true;
    struct fake_clock clock;
    struct lathe_scan_config late = {.kernel = sets[0], .clock = &clock.clock};
    struct lathe_scan_config given_up = {.kernel = sets[0], .cancelled = &cancelled};
    struct lathe_scan_query query = {.limit = 3};
    struct lathe_scan *scan;
    struct test_rng rng;
    struct field field;

    (void)state;
    test_rng_seed(&rng, "a_scan_stops_when_nobody_waits");
    fake_clock_init(&clock);
    field_make(&field, &rng, RANDOM, LATHE_DOT, 8, 1000);
    query.vector = field.vectors;
    late.deadline_us = lathe_now_us(&clock.clock);
    scan = scan_run(&field, &late, &query, 1, pools[1]);
    assert_int_equal(lathe_scan_status(scan), LATHE_DEADLINE_EXCEEDED);
    assert_int_equal(lathe_scan_query(scan, 0)->bytes_read, 0);
    lathe_scan_destroy(scan);
    scan = scan_run(&field, &given_up, &query, 1, pools[1]);
    assert_int_equal(lathe_scan_status(scan), LATHE_CANCELLED);
    lathe_scan_destroy(scan);
    late.deadline_us++;
    scan = scan_run(&field, &late, &query, 1, pools[1]);
    assert_int_equal(lathe_scan_status(scan), LATHE_OK);
    assert_int_equal(lathe_scan_query(scan, 0)->hit_count, 3);
    lathe_scan_destroy(scan);
    field_free(&field);
}

/* The default list covers every block of every segment once. */
static void the_default_list_covers_the_view(void **state)
{
    struct lathe_scan_range *ranges;
    struct test_rng rng;
    struct field field;
    size_t count, at = 0;

    (void)state;
    test_rng_seed(&rng, "the_default_list_covers_the_view");
    field_make(&field, &rng, RANDOM, LATHE_DOT, 700, 3000);
    count = lathe_scan_ranges(field.view, &ranges);
    assert_true(field.view->segment_count > 1);
    for (uint32_t s = 0; s < field.view->segment_count; s++) {
        uint32_t blocks = (field.view->segments[s].row_count + LATHE_BLOCK_ROWS - 1) /
                          LATHE_BLOCK_ROWS;

        for (uint32_t next = 0; next < blocks; next += ranges[at++].block_count) {
            assert_true(at < count);
            assert_int_equal(ranges[at].segment, s);
            assert_int_equal(ranges[at].first_block, next);
            assert_true((uint64_t)ranges[at].block_count * LATHE_BLOCK_ROWS * 704 * 4 <=
                        LATHE_RANGE_BYTES);
        }
    }
    assert_int_equal(at, count);
    lathe_free(ranges);
    field_free(&field);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scans_find_what_brute_force_finds),
        cmocka_unit_test(scores_are_those_of_plain_arithmetic),
        cmocka_unit_test(a_batch_gives_what_single_queries_give),
        cmocka_unit_test(few_rows_are_scored),
        cmocka_unit_test(an_empty_field_has_no_hits),
        cmocka_unit_test(a_scan_stops_when_nobody_waits),
        cmocka_unit_test(the_default_list_covers_the_view),
    };

    return cmocka_run_group_tests_name("scan", tests, group_setup, group_teardown);
}
