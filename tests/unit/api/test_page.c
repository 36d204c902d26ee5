/* test_page.c - page tokens and the merge of the shards' lists. */
#include "tests/unit/api/fixture.h"

#include "coordinator/api/page.h"

/* ---- Tokens -----------------------------------------------------------------------------------
 */

static void a_token_gives_its_id_back(void **state)
{
    struct lathe_collection *collection = fixture_collection(1);
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "page tokens");
    for (int round = 0; round < 2000; round++) {
        char text[LATHE_MAX_ID_BYTES];
        char token[LATHE_PAGE_TOKEN_BYTES];
        struct lathe_idkey key;
        struct lathe_idkey read;

        if (round % 3 == 0) {
            key = lathe_idkey_number(test_rng_u64(&rng));
        } else {
            size_t size = 1 + test_rng_below(&rng, sizeof(text));

            for (size_t i = 0; i < size; i++)
                text[i] = (char)('a' + test_rng_below(&rng, 26));
            assert_int_equal(lathe_idkey_string(lathe_bytes_of(text, size), &key, NULL), LATHE_OK);
        }
        lathe_page_token_make(collection, lathe_idkey_view(&key), token);
        assert_true(strlen(token) < LATHE_PAGE_TOKEN_BYTES);
        assert_null(strpbrk(token, "+/=")); /* fits a URL as it is */
        assert_int_equal(lathe_page_token_read(collection, token, &read, NULL), LATHE_OK);
        assert_true(lathe_bytes_equal(lathe_idkey_view(&key), lathe_idkey_view(&read)));
    }
    lathe_collection_release(&collection);
}

static void refused(const struct lathe_collection *collection, const char *token)
{
    struct lathe_error err = {0};
    struct lathe_idkey key;

    if (lathe_page_token_read(collection, token, &key, &err) == LATHE_OK)
        fail_msg("token \"%s\" was taken", token);
    fixture_expect(&err, LATHE_INVALID_ARGUMENT, "page_token", "\"films\"");
    assert_int_equal(key.size, 0);
}

static void a_token_that_was_not_given_out_is_refused(void **state)
{
    struct lathe_collection *collection = fixture_collection(1);
    struct lathe_collection *other = fixture_collection(1);
    struct lathe_idkey key = lathe_idkey_number(77);
    char token[LATHE_PAGE_TOKEN_BYTES];
    char changed[LATHE_PAGE_TOKEN_BYTES + 8];
    struct test_rng rng;

    (void)state;
    other->slot_key[3] ^= 1;
    lathe_page_token_make(collection, lathe_idkey_view(&key), token);
    refused(other, token);
    refused(collection, "x");
    refused(collection, "not a token");
    refused(collection, "====");
    refused(collection, "AAAAAAAAAAA");            /* a check and no id */
    refused(collection, "AAAAAAAAAAAAAAAAAAAAAA"); /* a wrong check */
    for (size_t i = 0; i < strlen(token); i++) {   /* every single character counts */
        strcpy(changed, token);
        changed[i] = changed[i] == 'A' ? 'B' : 'A';
        refused(collection, changed);
        strcpy(changed, token);
        changed[i] = '\0';
        if (i > 0)
            refused(collection, changed);
    }
    strcpy(changed, token);
    strcat(changed, "A");
    refused(collection, changed);
    memset(changed, 'A', sizeof(changed) - 1); /* longer than any */
    changed[sizeof(changed) - 1] = '\0';
    refused(collection, changed);
    test_rng_seed(&rng, "garbage tokens");
    for (int round = 0; round < 5000; round++) {
        size_t size = 1 + test_rng_below(&rng, sizeof(changed) - 1);

        for (size_t i = 0; i < size; i++)
            changed[i] = (char)(1 + test_rng_below(&rng, 255));
        changed[size] = '\0';
        refused(collection, changed);
    }
    lathe_collection_release(&collection);
    lathe_collection_release(&other);
}

/* ---- The merge --------------------------------------------------------------------------------
 */

enum { SHARDS = 3, POINTS = 400 };

/* Points 0..POINTS-1, spread over shards at random; each shard pages its own like a real one. */
struct model {
    struct lathe_arena arena;
    struct lathe_collection *collection;
    struct lathe_selection selection;
    int shard_of[POINTS];
    Lathe__Shard__PointData *data[POINTS];
};

static void model_open(struct model *model, struct test_rng *rng, size_t payload_bytes)
{
    memset(model, 0, sizeof(*model));
    model->collection = fixture_collection(SHARDS);
    model->selection.payload = true;
    for (int i = 0; i < POINTS; i++) {
        struct lathe_idkey key = lathe_idkey_number((uint64_t)i);
        Lathe__Shard__PointData *data = fixture_alloc(&model->arena, sizeof(*data));

        lathe__shard__point_data__init(data);
        data->idkey.data = fixture_alloc(&model->arena, key.size);
        data->idkey.len = key.size;
        memcpy(data->idkey.data, key.bytes, key.size);
        data->payload.len = payload_bytes; /* never looked at */
        model->data[i] = data;
        model->shard_of[i] = (int)test_rng_below(rng, SHARDS);
    }
}

static void model_close(struct model *model)
{
    lathe_arena_fini(&model->arena);
    lathe_collection_release(&model->collection);
}

static struct lathe_page_source shard_page(struct model *model, int shard, int after, size_t limit)
{
    Lathe__Shard__Points *points = fixture_alloc(&model->arena, sizeof(*points));

    lathe__shard__points__init(points);
    points->data = fixture_alloc(&model->arena, (limit + 1) * sizeof(void *));
    for (int i = after + 1; i < POINTS; i++) {
        if (model->shard_of[i] != shard)
            continue;
        if (points->n_data == limit) {
            points->more = true;
            break;
        }
        points->data[points->n_data++] = model->data[i];
    }
    return (struct lathe_page_source){points, {NULL, 0}};
}

static int number_of(const struct lathe_page_source *sources, struct lathe_page_item item)
{
    const ProtobufCBinaryData *idkey = &sources[item.source].points->data[item.index]->idkey;

    return (int)lathe_idkey_as_number(lathe_bytes_of(idkey->data, idkey->len));
}

/* Walks all pages; returns how many there were. */
static int walk(struct model *model, size_t page_size, size_t shard_limit)
{
    struct lathe_page_item items[POINTS];
    struct lathe_page_source sources[SHARDS];
    int last = -1;
    int pages = 0;
    bool more = true;

    while (more) {
        struct lathe_idkey after = lathe_idkey_number((uint64_t)(last < 0 ? 0 : last));
        size_t count;

        for (int i = 0; i < SHARDS; i++) {
            sources[i] = shard_page(model, i, last, shard_limit);
            if (last >= 0)
                assert_int_equal(
                    lathe_page_source_check(&sources[i], lathe_idkey_view(&after), NULL), LATHE_OK);
        }
        count = lathe_page_merge(sources, SHARDS, page_size, model->collection, &model->selection,
                                 items, &more);
        assert_true(count > 0 && count <= page_size);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(number_of(sources, items[i]), ++last);
        pages++;
    }
    assert_int_equal(last, POINTS - 1);
    return pages;
}

static void pages_hold_every_point_once_in_order(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "page merge");
    for (int round = 0; round < 20; round++) {
        struct model model;
        size_t page_size = 1 + test_rng_below(&rng, POINTS);
        size_t shard_limit = 1 + test_rng_below(&rng, page_size); /* bounded in bytes, say */

        model_open(&model, &rng, 10);
        assert_int_equal(walk(&model, page_size, page_size),
                         (int)((POINTS + page_size - 1) / page_size));
        (void)walk(&model, page_size, shard_limit);
        model_close(&model);
    }
}

static void a_page_is_bounded_in_bytes_but_holds_at_least_one_point(void **state)
{
    struct test_rng rng;
    struct model model;

    (void)state;
    test_rng_seed(&rng, "page bytes");
    model_open(&model, &rng, LATHE_PAGE_BYTES / 10); /* nine fit */
    assert_int_equal(walk(&model, POINTS, POINTS), (POINTS + 8) / 9);
    model_close(&model);
    model_open(&model, &rng, 2 * LATHE_PAGE_BYTES);
    assert_int_equal(walk(&model, POINTS, POINTS), POINTS);
    model_close(&model);
}

static void an_empty_collection_is_one_empty_page(void **state)
{
    struct lathe_collection *collection = fixture_collection(SHARDS);
    struct lathe_selection selection = {0};
    Lathe__Shard__Points none = LATHE__SHARD__POINTS__INIT;
    struct lathe_page_source sources[SHARDS] = {
        {&none, {NULL, 0}}, {&none, {NULL, 0}}, {&none, {NULL, 0}}};
    struct lathe_page_item items[1];
    bool more = true;

    (void)state;
    assert_int_equal(lathe_page_merge(sources, SHARDS, 1, collection, &selection, items, &more), 0);
    assert_false(more);
    lathe_collection_release(&collection);
}

static void a_shard_that_lists_wrongly_is_found_out(void **state)
{
    struct test_rng rng;
    struct model model;
    struct lathe_page_source source;
    struct lathe_idkey after;
    struct lathe_error err = {0};
    struct lathe_bytes none = {NULL, 0};
    Lathe__Shard__PointData *first;

    (void)state;
    test_rng_seed(&rng, "page order");
    model_open(&model, &rng, 0);
    source = shard_page(&model, 1, -1, 10);
    assert_int_equal(lathe_page_source_check(&source, none, &err), LATHE_OK);
    first = source.points->data[0];
    after = lathe_idkey_number(lathe_idkey_as_number(lathe_bytes_of(first->idkey.data, 9)));
    assert_int_equal(lathe_page_source_check(&source, lathe_idkey_view(&after), &err),
                     LATHE_INTERNAL);
    ((Lathe__Shard__Points *)source.points)->data[0] = source.points->data[1];
    assert_int_equal(lathe_page_source_check(&source, none, &err), LATHE_INTERNAL);
    ((Lathe__Shard__Points *)source.points)->n_data = 0;
    assert_int_equal(lathe_page_source_check(&source, none, &err), LATHE_INTERNAL);
    model_close(&model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_gives_its_id_back),
        cmocka_unit_test(a_token_that_was_not_given_out_is_refused),
        cmocka_unit_test(pages_hold_every_point_once_in_order),
        cmocka_unit_test(a_page_is_bounded_in_bytes_but_holds_at_least_one_point),
        cmocka_unit_test(an_empty_collection_is_one_empty_page),
        cmocka_unit_test(a_shard_that_lists_wrongly_is_found_out),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/page", tests, NULL, NULL) : 1;
}
