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

/* ---- A group that is given up ---- */

enum { GROUP = 40 };

/* A collection with one point whose payload got lost behind the shard's back. */
static uint32_t damaged_collection(struct parts *parts)
{
    static const uint32_t dims[] = {2};
    static const enum lathe_metric metrics[] = {LATHE_DOT};
    uint32_t id = parts_create(parts, 1, dims, metrics);
    struct request request;

    request_init(&request, 1);
    request_payload(&request, request_add(&request, LATHE__SHARD__OPERATION_KIND__UPSERT, id_of(1)),
                    payload_make(&request.arena, (struct pair[]){{"k", 1}}, 1));
    lathe_task_destroy(parts_write(parts, id, &request));
    request_fini(&request);
    store_delete(parts->store, LATHE_FAMILY_PAYLOAD, lathe_key_payload(id, 0));
    return id;
}

/* Sends writes to `sound` with one to `damaged` among them. Returns how many were given up with
 * it. */
static size_t write_around_damage(struct parts *parts, uint32_t sound, uint32_t damaged,
                                  const uint8_t client[16], struct request *requests,
                                  bool applied_out[GROUP])
{
    struct lathe_task *tasks[GROUP];
    size_t given_up = 0;

    for (uint32_t i = 0; i < GROUP; i++) {
        request_init(&requests[i], lathe_wall_ms(&parts->clock.clock));
        request_payload(&requests[i],
                        request_add(&requests[i],
                                    i == GROUP / 2 ? LATHE__SHARD__OPERATION_KIND__SET_PAYLOAD
                                                   : LATHE__SHARD__OPERATION_KIND__UPSERT,
                                    id_of(i == GROUP / 2 ? 1 : i)),
                        payload_make(&requests[i].arena, (struct pair[]){{"i", i}}, 1));
        request_client(&requests[i], client, i + 1);
        tasks[i] = parts_task(parts, LATHE_FRAME_WRITE, i == GROUP / 2 ? damaged : sound,
                              &requests[i].write.base, &requests[i].block);
    }
    for (uint32_t i = 0; i < GROUP; i++)
        parts_submit(parts, tasks[i]);
    for (uint32_t i = 0; i < GROUP; i++)
        (void)parts_wait(parts);
    for (uint32_t i = 0; i < GROUP; i++) {
        applied_out[i] = tasks[i]->reply_kind == LATHE_FRAME_WRITE;
        if (i == GROUP / 2)
            assert_int_equal(failure_of(tasks[i])->status, LATHE_DATA_LOSS);
        else if (!applied_out[i])
            assert_int_equal(failure_of(tasks[i])->status, LATHE_UNAVAILABLE);
        given_up += !applied_out[i] && i != GROUP / 2;
        lathe_task_destroy(tasks[i]);
    }
    return given_up;
}

/* Requests that share a commit with one that meets damage are not applied, say so, and can be sent
 * again; their client is not told that they were done. */
static void requests_beside_damage_can_be_sent_again(void **state)
{
    static const uint32_t dims[] = {2};
    static const enum lathe_metric metrics[] = {LATHE_DOT};
    struct parts parts;
    uint32_t sound;
    size_t given_up = 0;

    (void)state;
    parts_init(&parts);
    sound = parts_create(&parts, 1, dims, metrics);
    /* Who shares a commit with whom is the machine's choice: so until it has happened. */
    for (int round = 0; round < 200 && given_up == 0; round++) {
        uint32_t damaged = damaged_collection(&parts);
        struct request requests[GROUP];
        bool applied[GROUP];
        uint8_t client[16];

        lathe_uuid_new(lathe_wall_ms(&parts.clock.clock), client);
        given_up = write_around_damage(&parts, sound, damaged, client, requests, applied);
        for (uint32_t i = 0; i < GROUP; i++) {
            if (i != GROUP / 2) {
                struct lathe_task *task = parts_write(&parts, sound, &requests[i]);

                assert_int_equal(write_reply(task)->repeated_request, applied[i]);
                assert_int_equal(write_reply(task)->outcomes[0], LATHE_OUTCOME_APPLIED);
                lathe_task_destroy(task);
            }
            request_fini(&requests[i]);
        }
        parts_drop(&parts, damaged);
    }
    assert_true(given_up > 0);
    parts_stop(&parts);
    parts_start(&parts); /* what is stored fits together */
    parts_fini(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_writes_do_what_the_model_does),
        cmocka_unit_test(requests_beside_damage_can_be_sent_again),
    };

    return cmocka_run_group_tests_name("operation", tests, NULL, NULL);
}
