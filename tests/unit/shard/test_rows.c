/* test_rows.c - rows as the writer keeps them and as readers see them: order, isolation of what was
 * published, rewriting, and every byte of the budget given back. */
#include "tests/unit/shard/shard_fixture.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/data/table.h"
#include "shard/kernel/propose.h"

enum { DIMS = 5 };

static void vector_of(uint64_t row, float out[DIMS])
{
    for (int i = 0; i < DIMS; i++)
        out[i] = (float)row * 8 + (float)i + 1;
}

static void append(struct lathe_rows *rows, uint64_t row)
{
    struct lathe_idkey id = id_of((uint32_t)row);
    float vector[DIMS];

    vector_of(row, vector);
    assert_int_equal(lathe_rows_append(rows, vector, row, row * 10, lathe_idkey_view(&id)),
                     LATHE_OK);
}

static bool is_dead(const struct lathe_segment_view *view, uint32_t position)
{
    return view->dead != NULL && (view->dead->bits[position / 64] >> (position % 64) & 1) != 0;
}

/* The live rows of a view, one after another; checks that each is what was appended. */
static size_t live_rows(const struct lathe_field_view *view, uint64_t *rows_out, size_t room)
{
    size_t count = 0;
    uint64_t dead = 0;

    for (size_t s = 0; s < view->segment_count; s++) {
        const struct lathe_segment_view *segment = &view->segments[s];

        assert_true(segment->row_count > 0);
        for (uint32_t i = 0; i < segment->row_count; i++) {
            uint64_t row = segment->segment->row_ids[i];
            struct lathe_idkey id = id_of((uint32_t)row);
            float vector[DIMS];

            if (is_dead(segment, i)) {
                dead++;
                continue;
            }
            vector_of(row, vector);
            assert_memory_equal(lathe_segment_row(segment->segment, i), vector, sizeof(vector));
            assert_int_equal(segment->segment->points[i], row * 10);
            assert_true(
                lathe_bytes_equal(lathe_segment_id(segment->segment, i), lathe_idkey_view(&id)));
            assert_int_equal(lathe_segment_find(segment->segment, segment->row_count, row), i);
            assert_true(count < room);
            assert_true(count == 0 || rows_out[count - 1] < row);
            rows_out[count++] = row;
        }
    }
    assert_int_equal(view->row_count, count);
    assert_int_equal(view->dead_count, dead);
    return count;
}

static void assert_budget(struct lathe_budget *budget, bool empty)
{
    assert_true((atomic_load(&budget->used_bytes[LATHE_MEM_ROWS]) == 0) == empty);
    assert_true((atomic_load(&budget->used_bytes[LATHE_MEM_IDS]) == 0) == empty);
}

static void segments_lay_rows_out_in_whole_lines(void **state)
{
    struct lathe_segment *segment = lathe_segment_create(DIMS, LATHE_COSINE, 64, NULL);
    struct lathe_idkey id = lathe_idkey_number(1);
    float vector[DIMS];

    (void)state;
    assert_int_equal(segment->stride, 16);
    assert_int_equal(lathe_segment_row_bytes(16), 64);
    assert_int_equal(lathe_segment_row_bytes(17), 128);
    vector_of(3, vector);
    lathe_segment_append(segment, vector, 3, 30, lathe_idkey_view(&id));
    assert_int_equal((uintptr_t)lathe_segment_row(segment, 0) % 64, 0);
    for (int i = DIMS; i < 16; i++)
        assert_true(segment->rows[i] == 0);
    assert_true(segment->aux[0] == lathe_proposal_aux(LATHE_COSINE, vector, DIMS));
    assert_int_equal(lathe_segment_find(segment, 1, 3), 0);
    assert_int_equal(lathe_segment_find(segment, 1, 2), UINT32_MAX);
    assert_int_equal(lathe_segment_find(segment, 0, 3), UINT32_MAX);
    lathe_segment_release(segment);
}

static void segments_grow_with_the_field(void **state)
{
    struct lathe_rows rows;

    (void)state;
    lathe_rows_init(&rows, 1024, LATHE_DOT, NULL);
    for (uint64_t row = 0; row < 9000; row++) {
        static const float zeros[1024];
        struct lathe_idkey id = lathe_idkey_number(row);

        assert_int_equal(lathe_rows_append(&rows, zeros, row, row, lathe_idkey_view(&id)),
                         LATHE_OK);
    }
    assert_int_equal(rows.segments[0].segment->capacity,
                     LATHE_SEGMENT_FIRST_BYTES / (1024 * sizeof(float)));
    assert_int_equal(rows.segments[rows.segment_count - 1].segment->capacity,
                     LATHE_SEGMENT_MAX_BYTES / (1024 * sizeof(float)));
    assert_true(rows.segment_count < 12);
    for (size_t i = 1; i < rows.segment_count; i++)
        assert_true(rows.segments[i].segment->capacity >= rows.segments[i - 1].segment->capacity);
    lathe_rows_fini(&rows);
}

static void readers_keep_what_was_published(void **state)
{
    struct lathe_budget budget = {0};
    struct lathe_rows rows;
    struct lathe_field_view *before, *after;
    uint64_t live[4096];

    (void)state;
    lathe_rows_init(&rows, DIMS, LATHE_EUCLIDEAN, &budget);
    for (uint64_t row = 0; row < 100; row++)
        append(&rows, row);
    assert_true(lathe_rows_kill(&rows, 7));
    before = lathe_rows_publish(&rows);
    assert_true(lathe_rows_kill(&rows, 8));
    assert_false(lathe_rows_kill(&rows, 8));   /* dead already */
    assert_false(lathe_rows_kill(&rows, 100)); /* not there */
    append(&rows, 100);
    after = lathe_rows_publish(&rows);
    assert_int_equal(live_rows(before, live, 4096), 99);
    assert_int_equal(live[7], 8);
    assert_int_equal(live_rows(after, live, 4096), 99);
    assert_int_equal(live[7], 9);
    assert_int_equal(live[98], 100);
    assert_true(before->segments[0].dead != after->segments[0].dead);
    lathe_field_view_release(before);
    lathe_rows_fini(&rows); /* the view outlives the writer's rows */
    assert_int_equal(live_rows(after, live, 4096), 99);
    assert_budget(&budget, false);
    lathe_field_view_release(after);
    assert_budget(&budget, true);
}

/* Kills between two publications change one copy of the mask, not one copy each. */
static void a_mask_is_copied_once_between_publications(void **state)
{
    struct lathe_rows rows;
    struct lathe_field_view *view;
    struct lathe_mask *mask;

    (void)state;
    lathe_rows_init(&rows, DIMS, LATHE_DOT, NULL);
    for (uint64_t row = 0; row < 10; row++)
        append(&rows, row);
    assert_true(lathe_rows_kill(&rows, 1));
    mask = rows.segments[0].dead;
    assert_true(lathe_rows_kill(&rows, 2));
    assert_ptr_equal(rows.segments[0].dead, mask);
    view = lathe_rows_publish(&rows);
    assert_true(lathe_rows_kill(&rows, 3));
    assert_ptr_not_equal(rows.segments[0].dead, mask);
    mask = rows.segments[0].dead;
    assert_true(lathe_rows_kill(&rows, 4));
    assert_ptr_equal(rows.segments[0].dead, mask);
    lathe_field_view_release(view);
    lathe_rows_fini(&rows);
}

/* Appends, kills, publications and tidying at random: what is alive is what should be, for the
 * newest view and for an old one. */
static void random_changes_keep_order_and_content(void **state)
{
    enum { ROUNDS = 400, ROOM = 20000 };
    struct lathe_budget budget = {0};
    struct lathe_rows rows;
    struct lathe_field_view *old = NULL;
    uint64_t *alive = lathe_alloc_array(ROOM, sizeof(*alive));
    uint64_t *old_alive = lathe_alloc_array(ROOM, sizeof(*alive));
    uint64_t *seen = lathe_alloc_array(ROOM, sizeof(*alive));
    size_t count = 0, old_count = 0, tidied = 0;
    uint64_t next = 0;
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "random_changes_keep_order_and_content");
    lathe_rows_init(&rows, DIMS, LATHE_COSINE, &budget);
    for (int round = 0; round < ROUNDS; round++) {
        struct lathe_field_view *view;

        for (uint64_t i = test_rng_below(&rng, 90); i > 0 && count < ROOM; i--) {
            next += 1 + test_rng_below(&rng, 3); /* rows superseded at once leave gaps */
            append(&rows, next);
            alive[count++] = next;
        }
        for (uint64_t i = test_rng_below(&rng, 70); i > 0 && count > 0; i--) {
            size_t at = test_rng_below(&rng, test_rng_below(&rng, 2) == 0 ? count : count / 8 + 1);

            assert_true(lathe_rows_kill(&rows, alive[at]));
            memmove(alive + at, alive + at + 1, (count - at - 1) * sizeof(*alive));
            count--;
        }
        if (test_rng_below(&rng, 3) == 0)
            tidied += lathe_rows_tidy(&rows, 10);
        assert_int_equal(rows.row_count, count);
        view = lathe_rows_publish(&rows);
        assert_int_equal(live_rows(view, seen, ROOM), count);
        assert_memory_equal(seen, alive, count * sizeof(*alive));
        if (old != NULL) {
            assert_int_equal(live_rows(old, seen, ROOM), old_count);
            assert_memory_equal(seen, old_alive, old_count * sizeof(*alive));
        }
        if (test_rng_below(&rng, 10) == 0) {
            lathe_field_view_release(old);
            old = view;
            old_count = count;
            memcpy(old_alive, alive, count * sizeof(*alive));
        } else {
            lathe_field_view_release(view);
        }
    }
    assert_true(tidied > 10);
    while (lathe_rows_tidy(&rows, 0))
        continue;
    assert_int_equal(rows.dead_count, 0);
    lathe_field_view_release(old);
    lathe_rows_fini(&rows);
    assert_budget(&budget, true);
    lathe_free(alive);
    lathe_free(old_alive);
    lathe_free(seen);
}

static void tidying_gives_memory_back(void **state)
{
    struct lathe_budget budget = {0};
    struct lathe_rows rows;
    uint64_t full;

    (void)state;
    lathe_rows_init(&rows, DIMS, LATHE_DOT, &budget);
    assert_false(lathe_rows_tidy(&rows, 0));
    for (uint64_t row = 0; row < 20000; row++)
        append(&rows, row);
    assert_false(lathe_rows_tidy(&rows, 0)); /* nothing is dead */
    full = lathe_budget_used(&budget);
    for (uint64_t row = 0; row < 20000; row++)
        if (row % 10 != 3)
            assert_true(lathe_rows_kill(&rows, row));
    assert_false(lathe_rows_tidy(&rows, 90)); /* not more than 90 % */
    while (lathe_rows_tidy(&rows, 10))
        continue;
    assert_true(lathe_budget_used(&budget) < full / 8);
    for (uint64_t row = 3; row < 20000; row += 10)
        assert_true(lathe_rows_kill(&rows, row));
    while (lathe_rows_tidy(&rows, 10))
        continue;
    assert_int_equal(rows.segment_count, 0);
    assert_int_equal(lathe_budget_used(&budget), 0);
    append(&rows, 20000);
    lathe_rows_fini(&rows);
    assert_budget(&budget, true);
}

/* ---- Tables and publication ---- */

static struct lathe_table *table_of(uint32_t id, struct lathe_budget *budget)
{
    static const uint32_t dims[] = {DIMS, DIMS};
    static const enum lathe_metric metrics[] = {LATHE_DOT, LATHE_DOT};
    struct lathe_shard_collection *collection = NULL;
    struct lathe_arena arena;
    struct lathe_buf spec = {0};

    lathe_arena_init(&arena, 0);
    lathe_message_encode(&spec_make(&arena, id, 2, dims, metrics)->base, &spec);
    assert_int_equal(lathe_shard_collection_create(lathe_buf_view(&spec), &collection, NULL),
                     LATHE_OK);
    lathe_buf_fini(&spec);
    lathe_arena_fini(&arena);
    return lathe_table_create(collection, budget);
}

static void tables_are_found_by_id(void **state)
{
    static const uint32_t ids[] = {40, 7, 1000, 8, 1, 4294967294u};
    struct lathe_tables tables = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_true(lathe_tables_insert(&tables, table_of(ids[i], NULL)));
    for (size_t i = 1; i < tables.count; i++)
        assert_true(tables.list[i - 1]->collection->id < tables.list[i]->collection->id);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_int_equal(lathe_tables_find(&tables, ids[i])->collection->id, ids[i]);
    assert_null(lathe_tables_find(&tables, 9));
    lathe_tables_remove(&tables, lathe_tables_find(&tables, 8));
    assert_null(lathe_tables_find(&tables, 8));
    assert_non_null(lathe_tables_find(&tables, 40));
    lathe_tables_fini(&tables);
}

static void a_snapshot_stays_as_it_was_published(void **state)
{
    struct lathe_tables tables = {0};
    struct lathe_budget budget = {0};
    struct lathe_publication publication;
    struct lathe_snapshot *first, *second;
    char *dir = test_dir_create();
    char path[4200];
    struct lathe_store *store;
    struct lathe_store_value value;
    struct lathe_key key = lathe_key_meta_named("x");

    (void)state;
    (void)snprintf(path, sizeof(path), "%s/store", dir);
    store = store_open_at(path);
    lathe_publication_init(&publication);
    assert_true(lathe_tables_insert(&tables, table_of(5, &budget)));
    assert_true(lathe_tables_insert(&tables, table_of(6, &budget)));
    append(&tables.list[0]->rows[0], 1);
    assert_int_equal(lathe_tables_publish(&tables, store, 10, &publication), LATHE_OK);
    first = lathe_publication_acquire(&publication);

    append(&tables.list[0]->rows[0], 2);
    tables.list[0]->counters.points = 2;
    tables.list[0]->changed = true;
    store_put(store, LATHE_FAMILY_META, key, lathe_bytes_str("later"));
    assert_int_equal(lathe_tables_publish(&tables, store, 11, &publication), LATHE_OK);
    second = lathe_publication_acquire(&publication);

    assert_int_equal(first->applied_seq, 10);
    assert_int_equal(lathe_snapshot_find(first, 5)->points, 0);
    assert_int_equal(lathe_snapshot_find(first, 5)->fields[0]->row_count, 1);
    assert_int_equal(second->applied_seq, 11);
    assert_int_equal(lathe_snapshot_find(second, 5)->points, 2);
    assert_int_equal(lathe_snapshot_find(second, 5)->fields[0]->row_count, 2);
    /* What did not change is shared. */
    assert_ptr_equal(lathe_snapshot_find(first, 6), lathe_snapshot_find(second, 6));
    assert_null(lathe_snapshot_find(second, 7));
    assert_int_equal(lathe_store_get(store, first->stored, LATHE_FAMILY_META, lathe_key_view(&key),
                                     &value, NULL),
                     LATHE_OK);
    assert_false(value.found);

    /* A dropped collection stays with those who still read it. */
    lathe_tables_remove(&tables, tables.list[0]);
    assert_int_equal(lathe_tables_publish(&tables, store, 12, &publication), LATHE_OK);
    assert_int_equal(lathe_snapshot_find(first, 5)->fields[0]->segments[0].row_count, 1);
    lathe_snapshot_release(first);
    assert_budget(&budget, false);
    lathe_snapshot_release(second);
    assert_budget(&budget, true);
    lathe_publication_fini(&publication);
    lathe_tables_fini(&tables);
    lathe_store_close(store);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segments_lay_rows_out_in_whole_lines),
        cmocka_unit_test(segments_grow_with_the_field),
        cmocka_unit_test(readers_keep_what_was_published),
        cmocka_unit_test(a_mask_is_copied_once_between_publications),
        cmocka_unit_test(random_changes_keep_order_and_content),
        cmocka_unit_test(tidying_gives_memory_back),
        cmocka_unit_test(tables_are_found_by_id),
        cmocka_unit_test(a_snapshot_stays_as_it_was_published),
    };

    return cmocka_run_group_tests_name("rows", tests, NULL, NULL);
}
