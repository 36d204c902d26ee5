/* test_write_plan.c - checks of write requests, their way to shards and back. */
#include "tests/unit/api/fixture.h"

#include <stdio.h>

#include "coordinator/api/write_plan.h"

enum { MAX_PAYLOAD = 1000, SHARDS = 4 };

static const uint8_t client[16] = {1, 0x8f, 0, 0, 0, 0, 0x7a, 1, 0x81, 2, 3, 4, 5, 6, 7, 8};

struct scene {
    struct lathe_arena arena;
    struct lathe_collection *collection;
    Lathe__V1__WritePointsRequest *request;
    struct lathe_write_plan plan;
    struct lathe_error err;
};

static void scene_open(struct scene *scene, size_t operations)
{
    memset(scene, 0, sizeof(*scene));
    scene->collection = fixture_collection(SHARDS);
    scene->request = fixture_write(&scene->arena, operations);
}

static void scene_close(struct scene *scene)
{
    lathe_arena_fini(&scene->arena);
    lathe_collection_release(&scene->collection);
}

static enum lathe_status scene_check(struct scene *scene)
{
    scene->err = (struct lathe_error){0};
    if (lathe_write_check_header(scene->request, &scene->err) != LATHE_OK)
        return scene->err.status;
    return lathe_write_check(scene->request, scene->collection, MAX_PAYLOAD, 1700000000000u,
                             &scene->arena, &scene->plan, &scene->err);
}

/* Gives operation 1 another kind. */
#define SET_KIND(scene, member, upper, type, init, ...)              \
    do {                                                             \
        type *made = fixture_alloc(&(scene)->arena, sizeof(type));   \
        init(made);                                                  \
        __VA_ARGS__(scene)->request->operations[1]->operation_case = \
            LATHE__V1__WRITE_OPERATION__OPERATION_##upper;           \
        (scene)->request->operations[1]->member = made;              \
    } while (0)

static Lathe__V1__UpsertPoint *second(struct scene *scene)
{
    return scene->request->operations[1]->upsert;
}

static void two_vectors(struct scene *scene, Lathe__V1__NamedVector *other)
{
    Lathe__V1__NamedVector **list = fixture_alloc(&scene->arena, 2 * sizeof(void *));

    list[0] = second(scene)->vectors[0];
    list[1] = other;
    second(scene)->vectors = list;
    second(scene)->n_vectors = 2;
}

static void client_short(struct scene *s)
{
    s->request->client_id.data = (uint8_t *)client;
    s->request->client_id.len = 15;
}
static void client_v4(struct scene *s)
{
    uint8_t *other = fixture_alloc(&s->arena, 16);

    memcpy(other, client, 16);
    other[6] = 0x4a;
    s->request->client_id.data = other;
    s->request->client_id.len = 16;
    s->request->request_number = 1;
}
static void client_variant(struct scene *s)
{
    client_v4(s);
    s->request->client_id.data[6] = 0x7a;
    s->request->client_id.data[8] = 0xc1;
}
static void no_number(struct scene *s)
{
    s->request->client_id.data = (uint8_t *)client;
    s->request->client_id.len = 16;
}
static void no_operations(struct scene *s)
{
    s->request->n_operations = 0;
}
static void many_operations(struct scene *s)
{
    s->request->n_operations = LATHE_MAX_OPERATIONS + 1;
}
static void no_kind(struct scene *s)
{
    s->request->operations[1]->operation_case = 0;
}
static void bad_id(struct scene *s)
{
    second(s)->id = fixture_uuid(&s->arena, "x");
}
static void empty_id(struct scene *s)
{
    second(s)->id->id_case = 0;
}
static void unknown_field(struct scene *s)
{
    second(s)->vectors[0]->field = "plot";
}
static void field_twice(struct scene *s)
{
    two_vectors(s, fixture_named(&s->arena, "", FIXTURE_DIMS));
}
static void wrong_dims(struct scene *s)
{
    two_vectors(s, fixture_named(&s->arena, "title", 5));
}
static void sparse(struct scene *s)
{
    second(s)->vectors[0]->kind_case = LATHE__V1__NAMED_VECTOR__KIND_SPARSE;
}
static void multi(struct scene *s)
{
    second(s)->vectors[0]->kind_case = LATHE__V1__NAMED_VECTOR__KIND_MULTI;
}
static void vector_without_kind(struct scene *s)
{
    second(s)->vectors[0]->kind_case = 0;
}
static void payload_large(struct scene *s)
{
    char text[MAX_PAYLOAD + 1];

    memset(text, 'p', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    second(s)->payload = fixture_object(&s->arena, "k", fixture_string(&s->arena, text));
}
static void bad_mode(struct scene *s)
{
    s->request->operations[1]->mode = 3;
}
static void negative_mode(struct scene *s)
{
    s->request->operations[1]->mode = -1;
}
static void delete_without_id(struct scene *s)
{
    SET_KIND(s, delete_, DELETE, Lathe__V1__DeletePoint, lathe__v1__delete_point__init, );
}
static void insert_only_delete(struct scene *s)
{
    SET_KIND(s, delete_, DELETE, Lathe__V1__DeletePoint, lathe__v1__delete_point__init,
             made->id = fixture_id(&s->arena, 1););
    s->request->operations[1]->mode = LATHE__V1__WRITE_MODE__WRITE_MODE_INSERT_ONLY;
}
static void set_payload_without_one(struct scene *s)
{
    SET_KIND(s, set_payload, SET_PAYLOAD, Lathe__V1__SetPayload, lathe__v1__set_payload__init,
             made->id = fixture_id(&s->arena, 1););
}
static void overwrite_with_bad(struct scene *s)
{
    SET_KIND(s, overwrite_payload, OVERWRITE_PAYLOAD, Lathe__V1__OverwritePayload,
             lathe__v1__overwrite_payload__init, made->id = fixture_id(&s->arena, 1);
             made->payload = fixture_object(&s->arena, "k", NULL););
}
static void delete_keys_without_keys(struct scene *s)
{
    SET_KIND(s, delete_payload_keys, DELETE_PAYLOAD_KEYS, Lathe__V1__DeletePayloadKeys,
             lathe__v1__delete_payload_keys__init, made->id = fixture_id(&s->arena, 1););
}
static void clear_without_id(struct scene *s)
{
    SET_KIND(s, clear_payload, CLEAR_PAYLOAD, Lathe__V1__ClearPayload,
             lathe__v1__clear_payload__init, );
}
static void set_vectors_without_any(struct scene *s)
{
    SET_KIND(s, set_vectors, SET_VECTORS, Lathe__V1__SetVectors, lathe__v1__set_vectors__init,
             made->id = fixture_id(&s->arena, 1););
}
static void delete_vectors_of(struct scene *s, char **fields, size_t count)
{
    SET_KIND(s, delete_vectors, DELETE_VECTORS, Lathe__V1__DeleteVectors,
             lathe__v1__delete_vectors__init, made->id = fixture_id(&s->arena, 1);
             made->n_fields = count; made->fields = fields;);
}
static void delete_no_vectors(struct scene *s)
{
    delete_vectors_of(s, NULL, 0);
}
static void delete_unknown_vector(struct scene *s)
{
    static char *fields[] = {"title", "plot"};

    delete_vectors_of(s, fields, 2);
}
static void delete_vector_twice(struct scene *s)
{
    static char *fields[] = {"title", "title"};

    delete_vectors_of(s, fields, 2);
}
static void delete_by_filter(struct scene *s)
{
    SET_KIND(s, delete_by_filter, DELETE_BY_FILTER, Lathe__V1__DeleteByFilter,
             lathe__v1__delete_by_filter__init, );
}

static void a_bad_request_is_refused_naming_operation_field_and_limit(void **state)
{
    static const struct {
        void (*change)(struct scene *);
        enum lathe_status status;
        const char *field;
        const char *text;
    } cases[] = {
        {client_short, LATHE_INVALID_ARGUMENT, "client_id", "not 15"},
        {client_v4, LATHE_INVALID_ARGUMENT, "client_id", "version 7"},
        {client_variant, LATHE_INVALID_ARGUMENT, "client_id", "version 7"},
        {no_number, LATHE_INVALID_ARGUMENT, "request_number", "from 1"},
        {no_operations, LATHE_INVALID_ARGUMENT, "operations", "1 to 65536"},
        {many_operations, LATHE_INVALID_ARGUMENT, "operations", "65537"},
        {no_kind, LATHE_INVALID_ARGUMENT, "operations[1]", "kind"},
        {bad_id, LATHE_INVALID_ARGUMENT, "operations[1].upsert.id.uuid", "UUID"},
        {empty_id, LATHE_INVALID_ARGUMENT, "operations[1].upsert.id", "must be"},
        {unknown_field, LATHE_INVALID_ARGUMENT, "operations[1].upsert.vectors[0].field", "plot"},
        {field_twice, LATHE_INVALID_ARGUMENT, "operations[1].upsert.vectors[1].field", "already"},
        {wrong_dims, LATHE_INVALID_ARGUMENT, "operations[1].upsert.vectors[1].dense.values",
         "has 5 dims, field \"title\" has 3"},
        {sparse, LATHE_UNIMPLEMENTED, "operations[1].upsert.vectors[0].sparse", "not served"},
        {multi, LATHE_UNIMPLEMENTED, "operations[1].upsert.vectors[0].multi", "not served"},
        {vector_without_kind, LATHE_INVALID_ARGUMENT, "operations[1].upsert.vectors[0]", "kind"},
        {payload_large, LATHE_INVALID_ARGUMENT, "operations[1].upsert.payload", "limit of 1000"},
        {bad_mode, LATHE_INVALID_ARGUMENT, "operations[1].mode", "3"},
        {negative_mode, LATHE_INVALID_ARGUMENT, "operations[1].mode", "-1"},
        {delete_without_id, LATHE_INVALID_ARGUMENT, "operations[1].delete.id", "missing"},
        {insert_only_delete, LATHE_INVALID_ARGUMENT, "operations[1].mode", "INSERT_ONLY"},
        {set_payload_without_one, LATHE_INVALID_ARGUMENT, "operations[1].set_payload.payload",
         "missing"},
        {overwrite_with_bad, LATHE_INVALID_ARGUMENT,
         "operations[1].overwrite_payload.payload.entries[0].value", "null_value"},
        {delete_keys_without_keys, LATHE_INVALID_ARGUMENT, "operations[1].delete_payload_keys.keys",
         "no key"},
        {clear_without_id, LATHE_INVALID_ARGUMENT, "operations[1].clear_payload.id", "missing"},
        {set_vectors_without_any, LATHE_INVALID_ARGUMENT, "operations[1].set_vectors.vectors",
         "no vector"},
        {delete_no_vectors, LATHE_INVALID_ARGUMENT, "operations[1].delete_vectors.fields",
         "no field"},
        {delete_unknown_vector, LATHE_INVALID_ARGUMENT, "operations[1].delete_vectors.fields[1]",
         "plot"},
        {delete_vector_twice, LATHE_INVALID_ARGUMENT, "operations[1].delete_vectors.fields[1]",
         "twice"},
        {delete_by_filter, LATHE_UNIMPLEMENTED, "operations[1].delete_by_filter", "not served"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct scene scene;

        scene_open(&scene, 3);
        cases[i].change(&scene);
        assert_int_equal(scene_check(&scene), cases[i].status);
        fixture_expect(&scene.err, cases[i].status, cases[i].field, cases[i].text);
        scene_close(&scene);
    }
}

/* ---- Frames -----------------------------------------------------------------------------------
 */

static Lathe__Shard__Write *share_build(struct scene *scene, size_t share, struct lathe_buf *block)
{
    struct lathe_buf body = {0};
    Lathe__Shard__Write *write;

    lathe_write_build(&scene->plan, share, 1700000000001u, &body, block);
    assert_false(block->failed);
    write = fixture_decode(&lathe__shard__write__descriptor, &body, &scene->arena);
    lathe_buf_fini(&body);
    return write;
}

static void every_operation_reaches_the_shard_of_its_slot_in_order(void **state)
{
    enum { OPERATIONS = 500 };
    struct scene scene;
    size_t total = 0;

    (void)state;
    scene_open(&scene, OPERATIONS);
    for (size_t i = 400; i < OPERATIONS; i++) /* ids come again: still in order */
        scene.request->operations[i]->upsert->id->number = i - 399;
    assert_int_equal(scene_check(&scene), LATHE_OK);
    assert_int_equal(scene.plan.share_count, SHARDS);
    for (size_t share = 0; share < SHARDS; share++) {
        uint32_t shard = scene.plan.shares[share].shard;
        struct lathe_buf block = {0};
        Lathe__Shard__Write *write = share_build(&scene, share, &block);
        size_t next = 0;

        for (size_t i = 0; i < OPERATIONS; i++) {
            struct lathe_bytes idkey = lathe_idkey_view(&scene.plan.ops[i].id);
            const Lathe__Shard__Operation *operation;

            if (lathe_collection_shard_of(scene.collection, idkey) != shard)
                continue;
            operation = write->operations[next++];
            assert_true(lathe_bytes_equal(
                idkey, lathe_bytes_of(operation->idkey.data, operation->idkey.len)));
            assert_int_equal(operation->kind, LATHE__SHARD__OPERATION_KIND__UPSERT);
            assert_int_equal(operation->vectors[0]->size, FIXTURE_DIMS * 4);
            assert_memory_equal(block.data + operation->vectors[0]->offset,
                                scene.request->operations[i]->upsert->vectors[0]->dense->values,
                                FIXTURE_DIMS * 4);
        }
        assert_int_equal(next, write->n_operations);
        assert_int_equal(next, scene.plan.shares[share].op_count);
        assert_int_equal(block.size, scene.plan.shares[share].vector_bytes);
        assert_int_equal(write->time_ms, 1700000000001u);
        assert_int_equal(write->digest.len, LATHE_DIGEST_BYTES);
        total += next;
        lathe_buf_fini(&block);
    }
    assert_int_equal(total, OPERATIONS);
    scene_close(&scene);
}

static void each_kind_of_operation_keeps_what_it_carries(void **state)
{
    static char *keys[] = {"a", "", "b"};
    static char *fields[] = {"strict", ""};
    struct scene scene;
    struct lathe_buf block = {0};
    const Lathe__Shard__Operation *operation;

    (void)state;
    /* Several named fields, in the order given; payload; mode and condition. */
    scene_open(&scene, 2);
    lathe_slot_map_init(&scene.collection->slots, 1);
    two_vectors(&scene, fixture_named(&scene.arena, "title", FIXTURE_TITLE_DIMS));
    scene.request->operations[1]->mode = LATHE__V1__WRITE_MODE__WRITE_MODE_UPDATE_ONLY;
    scene.request->operations[1]->if_version = UINT64_MAX;
    assert_int_equal(scene_check(&scene), LATHE_OK);
    operation = share_build(&scene, 0, &block)->operations[1];
    assert_int_equal(operation->n_vectors, 2);
    assert_int_equal(operation->vectors[0]->field, 0);
    assert_int_equal(operation->vectors[1]->field, 1);
    assert_int_equal(operation->vectors[1]->offset, 2 * FIXTURE_DIMS * 4);
    assert_int_equal(operation->mode, 2);
    assert_true(operation->if_version == UINT64_MAX);
    {
        struct lathe_buf payload = {operation->payload.data, operation->payload.len,
                                    operation->payload.len, false};
        const Lathe__V1__Object *object = fixture_decode(&lathe__v1__object__descriptor, &payload,
                                                         &scene.arena);

        assert_string_equal(object->entries[0]->key, "name");
        assert_string_equal(object->entries[0]->value->string_value, "Metropolis");
    }
    lathe_buf_fini(&block);
    /* Keys, an empty one too. */
    SET_KIND(&scene, delete_payload_keys, DELETE_PAYLOAD_KEYS, Lathe__V1__DeletePayloadKeys,
             lathe__v1__delete_payload_keys__init, made->id = fixture_id(&scene.arena, 9);
             made->n_keys = 3; made->keys = keys;);
    assert_int_equal(scene_check(&scene), LATHE_OK);
    operation = share_build(&scene, 0, &block)->operations[1];
    assert_int_equal(operation->kind, LATHE__SHARD__OPERATION_KIND__DELETE_PAYLOAD_KEYS);
    assert_int_equal(operation->n_keys, 3);
    assert_int_equal(operation->keys[1].len, 0);
    assert_memory_equal(operation->keys[2].data, "b", 1);
    lathe_buf_fini(&block);
    /* Fields by number. */
    delete_vectors_of(&scene, fields, 2);
    assert_int_equal(scene_check(&scene), LATHE_OK);
    operation = share_build(&scene, 0, &block)->operations[1];
    assert_int_equal(operation->kind, LATHE__SHARD__OPERATION_KIND__DELETE_VECTORS);
    assert_int_equal(operation->n_fields, 2);
    assert_int_equal(operation->fields[0], 2);
    assert_int_equal(operation->fields[1], 0);
    lathe_buf_fini(&block);
    scene_close(&scene);
}

/* The ids that the server makes and the digests of two builds of the same request. */
static void build_twice(struct scene *a, struct scene *b, bool with_client)
{
    struct scene *scenes[2] = {a, b};

    for (int i = 0; i < 2; i++) {
        scene_open(scenes[i], 3);
        lathe_slot_map_init(&scenes[i]->collection->slots, 1);
        second(scenes[i])->id = NULL;
        if (with_client) {
            scenes[i]->request->client_id.data = (uint8_t *)client;
            scenes[i]->request->client_id.len = 16;
            scenes[i]->request->request_number = 12;
        }
        assert_int_equal(scene_check(scenes[i]), LATHE_OK);
        assert_true(scenes[i]->plan.ops[1].id_is_made);
        assert_false(scenes[i]->plan.ops[0].id_is_made);
        assert_int_equal(scenes[i]->plan.ops[1].id.bytes[0], LATHE_ID_UUID);
    }
}

static void digest_of(struct scene *scene, uint8_t digest[LATHE_DIGEST_BYTES])
{
    struct lathe_buf block = {0};
    const Lathe__Shard__Write *write = share_build(scene, 0, &block);

    memcpy(digest, write->digest.data, LATHE_DIGEST_BYTES);
    lathe_buf_fini(&block);
}

static void a_repeated_request_meets_the_same_points_and_has_the_same_digest(void **state)
{
    uint8_t first[LATHE_DIGEST_BYTES];
    uint8_t other[LATHE_DIGEST_BYTES];
    struct scene a;
    struct scene b;

    (void)state;
    build_twice(&a, &b, true);
    assert_true(lathe_bytes_equal(lathe_idkey_view(&a.plan.ops[1].id),
                                  lathe_idkey_view(&b.plan.ops[1].id)));
    digest_of(&a, first);
    digest_of(&b, other);
    assert_memory_equal(first, other, sizeof(first));
    second(&b)->vectors[0]->dense->values[3] += 1.0f; /* only in the vector block */
    digest_of(&b, other);
    assert_memory_not_equal(first, other, sizeof(first));
    second(&b)->vectors[0]->dense->values[3] -= 1.0f;
    b.collection->id++; /* another collection */
    digest_of(&b, other);
    assert_memory_not_equal(first, other, sizeof(first));
    scene_close(&a);
    scene_close(&b);
    /* Without a client nobody can repeat: every request makes new points. */
    build_twice(&a, &b, false);
    assert_false(lathe_bytes_equal(lathe_idkey_view(&a.plan.ops[1].id),
                                   lathe_idkey_view(&b.plan.ops[1].id)));
    scene_close(&a);
    scene_close(&b);
}

/* ---- Results ----------------------------------------------------------------------------------
 */

/* An answer in which operation j of the share has version 1000 * share + j. */
static void answer_ok(struct scene *scene, size_t share, struct lathe_write_answer *answer,
                      bool repeated)
{
    uint32_t count = scene->plan.shares[share].op_count;
    Lathe__Shard__WriteReply *reply = fixture_alloc(&scene->arena, sizeof(*reply));

    lathe__shard__write_reply__init(reply);
    reply->n_outcomes = reply->n_versions = count;
    reply->outcomes = fixture_alloc(&scene->arena, count * sizeof(uint32_t));
    reply->versions = fixture_alloc(&scene->arena, count * sizeof(uint64_t));
    reply->repeated_request = repeated;
    for (uint32_t j = 0; j < count; j++) {
        reply->outcomes[j] = 1 + j % 3;
        reply->versions[j] = 1000 * share + j;
    }
    assert_int_equal(lathe_write_reply_check(&scene->plan.shares[share], reply, NULL), LATHE_OK);
    *answer = (struct lathe_write_answer){.reply = reply};
}

static void answer_failed(struct lathe_write_answer *answer, enum lathe_status status)
{
    *answer = (struct lathe_write_answer){0};
    (void)lathe_fail_field(&answer->error, status, "operations", "shard: %s",
                           lathe_status_name(status));
    answer->error.retry_after_ms = 70;
}

static Lathe__V1__WritePointsResponse *respond(struct scene *scene,
                                               const struct lathe_write_answer *answers,
                                               bool *failed_out, struct lathe_error *err)
{
    struct lathe_buf reply = {0};
    Lathe__V1__WritePointsResponse *response;

    *failed_out = lathe_write_failed(&scene->plan, answers, err);
    lathe_write_respond(&scene->plan, answers, err, &reply);
    response = fixture_decode(&lathe__v1__write_points_response__descriptor, &reply, &scene->arena);
    lathe_buf_fini(&reply);
    return response;
}

static void results_come_back_in_the_order_of_the_operations(void **state)
{
    enum { OPERATIONS = 200 };
    struct scene scene;
    struct lathe_write_answer answers[SHARDS];
    const Lathe__V1__WritePointsResponse *response;
    uint32_t next[SHARDS] = {0};
    struct lathe_error err;
    bool failed;

    (void)state;
    scene_open(&scene, OPERATIONS);
    scene.request->operations[5]->upsert->id = NULL;
    scene.request->request_number = 3;
    assert_int_equal(scene_check(&scene), LATHE_OK);
    for (size_t i = 0; i < scene.plan.share_count; i++)
        answer_ok(&scene, i, &answers[i], true);
    response = respond(&scene, answers, &failed, &err);
    assert_false(failed);
    assert_int_equal(response->request_number, 3);
    assert_int_equal(response->n_results, OPERATIONS);
    assert_int_equal(response->status, 0);
    assert_true(response->repeated_request);
    for (size_t i = 0; i < OPERATIONS; i++) {
        uint16_t share = scene.plan.ops[i].share;
        uint32_t j = next[share]++;

        assert_int_equal(response->results[i]->outcome, 1 + j % 3);
        assert_int_equal(response->results[i]->version, 1000 * share + j);
        assert_true((response->results[i]->id != NULL) == (i == 5));
    }
    assert_int_equal(response->results[5]->id->id_case, LATHE__V1__POINT_ID__ID_UUID);
    answer_ok(&scene, 0, &answers[0], false); /* one shard did it now: no longer a mere repeat */
    assert_false(respond(&scene, answers, &failed, &err)->repeated_request);
    scene_close(&scene);
}

static void a_refusal_is_rejected_and_a_loss_is_unknown(void **state)
{
    static const struct {
        enum lathe_status status;
        Lathe__V1__Outcome outcome;
    } cases[] = {
        {LATHE_RESOURCE_EXHAUSTED, LATHE__V1__OUTCOME__OUTCOME_REJECTED},
        {LATHE_FAILED_PRECONDITION, LATHE__V1__OUTCOME__OUTCOME_REJECTED},
        {LATHE_INVALID_ARGUMENT, LATHE__V1__OUTCOME__OUTCOME_REJECTED},
        {LATHE_ABORTED, LATHE__V1__OUTCOME__OUTCOME_REJECTED},
        {LATHE_DEADLINE_EXCEEDED, LATHE__V1__OUTCOME__OUTCOME_UNKNOWN},
        {LATHE_UNAVAILABLE, LATHE__V1__OUTCOME__OUTCOME_UNKNOWN},
        {LATHE_CANCELLED, LATHE__V1__OUTCOME__OUTCOME_UNKNOWN},
        {LATHE_INTERNAL, LATHE__V1__OUTCOME__OUTCOME_UNKNOWN},
        {LATHE_UNKNOWN, LATHE__V1__OUTCOME__OUTCOME_UNKNOWN},
    };
    struct scene scene;

    (void)state;
    scene_open(&scene, 100);
    assert_int_equal(scene_check(&scene), LATHE_OK);
    for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
        struct lathe_write_answer answers[SHARDS];
        const Lathe__V1__WritePointsResponse *response;
        struct lathe_error err;
        bool failed;

        for (size_t i = 0; i < SHARDS; i++)
            answer_ok(&scene, i, &answers[i], false);
        answer_failed(&answers[2], cases[c].status);
        response = respond(&scene, answers, &failed, &err);
        assert_false(failed); /* others applied theirs */
        assert_int_equal(response->status, cases[c].status);
        assert_string_equal(response->field, "operations");
        assert_int_equal(response->retry_after_ms, 70);
        assert_non_null(strstr(response->message, lathe_status_name(cases[c].status)));
        for (size_t i = 0; i < 100; i++) {
            bool lost = scene.plan.ops[i].share == 2;

            assert_true((response->results[i]->outcome == cases[c].outcome) == lost);
            if (lost)
                assert_int_equal(response->results[i]->version, 0);
        }
        /* The same failure everywhere is the call's own. */
        for (size_t i = 0; i < SHARDS; i++)
            answer_failed(&answers[i], cases[c].status);
        response = respond(&scene, answers, &failed, &err);
        assert_true(failed);
        assert_int_equal(err.status, cases[c].status);
        assert_int_equal(response->n_results, 100); /* a stream is told all the same */
        /* Different failures are told apart by operation. */
        answer_failed(&answers[1],
                      cases[c].status == LATHE_ABORTED ? LATHE_UNAVAILABLE : LATHE_ABORTED);
        (void)respond(&scene, answers, &failed, &err);
        assert_false(failed);
    }
    scene_close(&scene);
}

static void a_reply_that_does_not_fit_the_request_is_internal(void **state)
{
    struct scene scene;
    struct lathe_write_answer answer;
    Lathe__Shard__WriteReply *reply;
    struct lathe_error err = {0};

    (void)state;
    scene_open(&scene, 100);
    assert_int_equal(scene_check(&scene), LATHE_OK);
    answer_ok(&scene, 0, &answer, false);
    reply = (Lathe__Shard__WriteReply *)answer.reply;
    reply->n_versions--;
    assert_int_equal(lathe_write_reply_check(&scene.plan.shares[0], reply, &err), LATHE_INTERNAL);
    reply->n_versions++;
    reply->outcomes[1] = 0;
    assert_int_equal(lathe_write_reply_check(&scene.plan.shares[0], reply, &err), LATHE_INTERNAL);
    reply->outcomes[1] = 6;
    assert_int_equal(lathe_write_reply_check(&scene.plan.shares[0], reply, &err), LATHE_INTERNAL);
    scene_close(&scene);
}

static void a_refused_request_of_a_stream_is_answered_without_results(void **state)
{
    struct lathe_arena arena = {0};
    struct lathe_error err = {0};
    struct lathe_buf reply = {0};
    const Lathe__V1__WritePointsResponse *response;

    (void)state;
    (void)lathe_fail_field(&err, LATHE_INVALID_ARGUMENT, "operations[3].upsert.id", "no id");
    lathe_write_respond_failure(44, &err, &reply);
    response = fixture_decode(&lathe__v1__write_points_response__descriptor, &reply, &arena);
    assert_int_equal(response->request_number, 44);
    assert_int_equal(response->n_results, 0);
    assert_int_equal(response->status, LATHE_INVALID_ARGUMENT);
    assert_string_equal(response->field, "operations[3].upsert.id");
    assert_string_equal(response->message, "no id");
    lathe_buf_fini(&reply);
    lathe_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bad_request_is_refused_naming_operation_field_and_limit),
        cmocka_unit_test(every_operation_reaches_the_shard_of_its_slot_in_order),
        cmocka_unit_test(each_kind_of_operation_keeps_what_it_carries),
        cmocka_unit_test(a_repeated_request_meets_the_same_points_and_has_the_same_digest),
        cmocka_unit_test(results_come_back_in_the_order_of_the_operations),
        cmocka_unit_test(a_refusal_is_rejected_and_a_loss_is_unknown),
        cmocka_unit_test(a_reply_that_does_not_fit_the_request_is_internal),
        cmocka_unit_test(a_refused_request_of_a_stream_is_answered_without_results),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/write_plan", tests, NULL, NULL) : 1;
}
