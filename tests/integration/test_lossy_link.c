/* test_lossy_link.c - a whole Lathe in this process, over a link that drops and repeats frames.
 *
 * Every request frame is sent twice, and every reply to the first try of every write is dropped;
 * the client repeats under the same number. What is stored must be what a run without faults
 * stores. */
#include "tests/support/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "client/lathe.h"
#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/id.h"
#include "common/base/mem.h"
#include "coordinator/coordinator.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/points.pb-c.h"
#include "shard/kernel/cpu.h"
#include "shard/shard.h"

enum {
    SHARDS = 2,
    DIMS = 8,
    REQUESTS = 60,
    OPERATIONS = 6,
    IDS = 40,
    TRY_MS = 120,
    CALL_MS = 5000
};

struct faults {
    bool enabled;
    _Atomic bool drop_replies;
    _Atomic unsigned dropped;
    _Atomic unsigned repeated;
};

struct world {
    char *directory;
    char paths[SHARDS][4096]; /* the shards keep pointers to them */
    struct faults faults;
    struct lathe_net_fault table;
    struct lathe_net *net;
    struct lathe_pool *pool;
    struct lathe_store_cache *cache;
    struct lathe_shard *shards[SHARDS];
    struct lathe_coordinator *coordinator;
    struct lathe_client *client;
    uint8_t client_id[16];
};

static enum lathe_net_fate fate(void *context, const struct lathe_frame_header *header)
{
    struct faults *faults = context;
    uint16_t kind = header->kind & (uint16_t)~LATHE_FRAME_REPLY;

    if (!faults->enabled || kind == LATHE_FRAME_HELLO)
        return LATHE_NET_PASS;
    if ((header->kind & LATHE_FRAME_REPLY) == 0) {
        faults->repeated++;
        return LATHE_NET_DUPLICATE;
    }
    if (!atomic_load(&faults->drop_replies))
        return LATHE_NET_PASS;
    faults->dropped++;
    return LATHE_NET_DROP;
}

static void world_start(struct world *world, bool with_faults)
{
    static const char *const endpoints[SHARDS] = {"inproc://lossy-0", "inproc://lossy-1"};
    const struct lathe_kernel_set *kernel;
    struct lathe_coordinator_config config = {.listen = "127.0.0.1:0",
                                              .endpoints = endpoints,
                                              .shard_count = SHARDS,
                                              .clock = &lathe_system_clock,
                                              .kernel = "auto",
                                              .cq_threads = 2,
                                              .in_flight_calls = 64,
                                              .in_flight_bytes = 1 << 26};
    char catalog[4096], address[64];

    memset(world, 0, sizeof(*world));
    world->directory = test_dir_create();
    world->faults.enabled = with_faults;
    world->table = (struct lathe_net_fault){fate, &world->faults};
    world->net = lathe_net_create();
    lathe_net_set_fault(world->net, &world->table);
    world->pool = lathe_pool_create(2);
    world->cache = lathe_store_cache_create(8 << 20);
    assert_int_equal(lathe_kernel_select("auto", lathe_cpu_detect(), &kernel, NULL), LATHE_OK);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct lathe_shard_config shard = {.endpoint = endpoints[i],
                                           .shard = i,
                                           .shard_count = SHARDS,
                                           .net = world->net,
                                           .pool = world->pool,
                                           .cache = world->cache,
                                           .kernel = kernel,
                                           .clock = &lathe_system_clock,
                                           .max_payload_bytes = 1 << 20,
                                           .write_buffer_bytes = 16 << 20,
                                           .in_flight = 64};

        (void)snprintf(world->paths[i], sizeof(world->paths[i]), "%s/shard-%u", world->directory,
                       i);
        shard.directory = world->paths[i];
        assert_int_equal(lathe_shard_start(&shard, &world->shards[i], NULL), LATHE_OK);
    }
    (void)snprintf(catalog, sizeof(catalog), "%s/catalog", world->directory);
    config.catalog_dir = catalog;
    config.net = world->net;
    assert_int_equal(lathe_coordinator_start(&config, &world->coordinator, NULL), LATHE_OK);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d",
                   lathe_coordinator_port(world->coordinator));
    assert_int_equal(lathe_client_open(address, &world->client, NULL), LATHE_OK);
    lathe_uuid_new(lathe_wall_ms(&lathe_system_clock), world->client_id);
}

static void world_stop(struct world *world)
{
    lathe_client_close(&world->client);
    lathe_coordinator_stop(&world->coordinator, 2000);
    for (uint32_t i = 0; i < SHARDS; i++)
        lathe_shard_stop(&world->shards[i]);
    lathe_net_destroy(world->net);
    lathe_pool_destroy(world->pool);
    lathe_store_cache_destroy(world->cache);
    test_dir_remove(world->directory);
}

static void collection_create(struct world *world)
{
    Lathe__V1__CreateCollectionRequest request = LATHE__V1__CREATE_COLLECTION_REQUEST__INIT;
    Lathe__V1__CollectionSchema schema = LATHE__V1__COLLECTION_SCHEMA__INIT;
    Lathe__V1__FieldSchema field = LATHE__V1__FIELD_SCHEMA__INIT, *fields = &field;
    ProtobufCMessage *reply = NULL;

    field.dims = DIMS;
    field.metric = LATHE__V1__METRIC__METRIC_EUCLIDEAN;
    schema.fields = &fields;
    schema.n_fields = 1;
    request.name = "c";
    request.schema = &schema;
    assert_int_equal(
        lathe_client_call(world->client, "/lathe.v1.CollectionService/CreateCollection",
                          &request.base, &lathe__v1__collection__descriptor, CALL_MS, &reply, NULL),
        LATHE_OK);
    lathe_client_free_reply(reply);
}

/* One random operation and all that it points to. */
struct operation {
    Lathe__V1__WriteOperation message;
    Lathe__V1__UpsertPoint upsert;
    Lathe__V1__DeletePoint delete_point;
    Lathe__V1__SetPayload set_payload;
    Lathe__V1__PointId id;
    Lathe__V1__NamedVector named, *named_list;
    Lathe__V1__Vector dense;
    Lathe__V1__Object object;
    Lathe__V1__Entry entry, *entry_list;
    Lathe__V1__Value value;
    char key[16];
    float values[DIMS];
};

static void payload_make(struct operation *op, struct test_rng *rng)
{
    lathe__v1__object__init(&op->object);
    lathe__v1__entry__init(&op->entry);
    lathe__v1__value__init(&op->value);
    (void)snprintf(op->key, sizeof(op->key), "k%u", (unsigned)test_rng_below(rng, 3));
    op->value.kind_case = LATHE__V1__VALUE__KIND_INT_VALUE;
    op->value.int_value = (int64_t)test_rng_u64(rng);
    op->entry.key = op->key;
    op->entry.value = &op->value;
    op->entry_list = &op->entry;
    op->object.entries = &op->entry_list;
    op->object.n_entries = 1;
}

static void operation_make(struct operation *op, struct test_rng *rng)
{
    unsigned kind = (unsigned)test_rng_below(rng, 4);

    lathe__v1__write_operation__init(&op->message);
    lathe__v1__point_id__init(&op->id);
    op->id.id_case = LATHE__V1__POINT_ID__ID_NUMBER;
    op->id.number = test_rng_below(rng, IDS);
    payload_make(op, rng);
    if (kind == 0) {
        lathe__v1__delete_point__init(&op->delete_point);
        op->delete_point.id = &op->id;
        op->message.operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_DELETE;
        op->message.delete_ = &op->delete_point;
    } else if (kind == 1) {
        lathe__v1__set_payload__init(&op->set_payload);
        op->set_payload.id = &op->id;
        op->set_payload.payload = &op->object;
        op->message.operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_SET_PAYLOAD;
        op->message.set_payload = &op->set_payload;
    } else {
        lathe__v1__upsert_point__init(&op->upsert);
        lathe__v1__named_vector__init(&op->named);
        lathe__v1__vector__init(&op->dense);
        test_rng_gauss_floats(rng, op->values, DIMS);
        op->dense.values = op->values;
        op->dense.n_values = DIMS;
        op->named.field = (char *)"";
        op->named.kind_case = LATHE__V1__NAMED_VECTOR__KIND_DENSE;
        op->named.dense = &op->dense;
        op->named_list = &op->named;
        op->upsert.id = &op->id;
        op->upsert.vectors = &op->named_list;
        op->upsert.n_vectors = 1;
        op->upsert.payload = &op->object;
        op->message.operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_UPSERT;
        op->message.upsert = &op->upsert;
    }
}

/* True if every operation's outcome is known. */
static bool known(const Lathe__V1__WritePointsResponse *response)
{
    for (size_t i = 0; i < response->n_results; i++)
        if (response->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_UNKNOWN ||
            response->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_REJECTED)
            return false;
    return response->n_results > 0;
}

/* Sends one request until its outcome is known; the first try meets the faults. Appends the
 * outcomes. */
static void write_until_known(struct world *world, const Lathe__V1__WritePointsRequest *request,
                              struct lathe_buf *outcomes)
{
    atomic_store(&world->faults.drop_replies, true);
    for (int attempt = 0; attempt < 20; attempt++) {
        ProtobufCMessage *reply = NULL;
        struct lathe_error err = {0};
        enum lathe_status rc = lathe_client_call(
            world->client, "/lathe.v1.PointService/WritePoints", &request->base,
            &lathe__v1__write_points_response__descriptor,
            world->faults.enabled && attempt == 0 ? TRY_MS : CALL_MS, &reply, &err);
        bool done = rc == LATHE_OK && known((const Lathe__V1__WritePointsResponse *)reply);

        atomic_store(&world->faults.drop_replies, false);
        if (rc != LATHE_OK && rc != LATHE_DEADLINE_EXCEEDED && rc != LATHE_UNAVAILABLE)
            fail_msg("write failed: %s %s", lathe_status_name(rc), err.message);
        for (size_t i = 0; done && i < ((Lathe__V1__WritePointsResponse *)reply)->n_results; i++)
            lathe_buf_u8(outcomes,
                         (uint8_t)((Lathe__V1__WritePointsResponse *)reply)->results[i]->outcome);
        lathe_client_free_reply(reply);
        if (done)
            return;
    }
    fail_msg("request %llu never got through", (unsigned long long)request->request_number);
}

/* Everything stored, in id order, without versions (which number each run's own sequence). */
static void export(struct world *world, struct lathe_buf *out)
{
    Lathe__V1__ListPointsRequest request = LATHE__V1__LIST_POINTS_REQUEST__INIT;
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;
    ProtobufCMessage *reply = NULL;
    Lathe__V1__ListPointsResponse *page;

    selection.payload = selection.vectors = 1;
    request.collection = "c";
    request.selection = &selection;
    request.page_size = IDS + 1;
    assert_int_equal(lathe_client_call(world->client, "/lathe.v1.PointService/ListPoints",
                                       &request.base, &lathe__v1__list_points_response__descriptor,
                                       CALL_MS, &reply, NULL),
                     LATHE_OK);
    page = (Lathe__V1__ListPointsResponse *)reply;
    for (size_t i = 0; i < page->n_points; i++) {
        size_t size;

        page->points[i]->version = 0;
        size = protobuf_c_message_get_packed_size(&page->points[i]->base);
        (void)protobuf_c_message_pack(&page->points[i]->base, lathe_buf_extend(out, size));
    }
    lathe_client_free_reply(reply);
}

/* The same history, with or without faults. */
static void run(uint64_t seed, bool with_faults, struct lathe_buf *outcomes,
                struct lathe_buf *stored)
{
    struct world world;
    struct test_rng rng;

    test_rng_seed_with(&rng, seed);
    world_start(&world, with_faults);
    collection_create(&world);
    for (uint64_t number = 1; number <= REQUESTS; number++) {
        Lathe__V1__WritePointsRequest request = LATHE__V1__WRITE_POINTS_REQUEST__INIT;
        struct operation operations[OPERATIONS];
        Lathe__V1__WriteOperation *list[OPERATIONS];

        for (int i = 0; i < OPERATIONS; i++) {
            operation_make(&operations[i], &rng);
            list[i] = &operations[i].message;
        }
        request.collection = "c";
        request.client_id.data = world.client_id;
        request.client_id.len = sizeof(world.client_id);
        request.request_number = number;
        request.operations = list;
        request.n_operations = OPERATIONS;
        write_until_known(&world, &request, outcomes);
    }
    export(&world, stored);
    if (with_faults) {
        assert_true(atomic_load(&world.faults.dropped) >= REQUESTS);
        assert_true(atomic_load(&world.faults.repeated) >= 2 * REQUESTS);
    }
    world_stop(&world);
}

static void lost_replies_and_repeated_requests_end_in_the_same_state(void **state)
{
    struct lathe_buf outcomes[2] = {{0}}, stored[2] = {{0}};
    struct test_rng *rng = *state;
    uint64_t seed = test_rng_u64(rng);

    run(seed, false, &outcomes[0], &stored[0]);
    run(seed, true, &outcomes[1], &stored[1]);
    assert_true(stored[0].size > 0);
    assert_true(lathe_bytes_equal(lathe_buf_view(&outcomes[0]), lathe_buf_view(&outcomes[1])));
    assert_true(lathe_bytes_equal(lathe_buf_view(&stored[0]), lathe_buf_view(&stored[1])));
    for (int i = 0; i < 2; i++) {
        lathe_buf_fini(&outcomes[i]);
        lathe_buf_fini(&stored[i]);
    }
}

int main(void)
{
    static struct test_rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate(lost_replies_and_repeated_requests_end_in_the_same_state, &rng),
    };

    test_rng_seed(&rng, "integration/lossy_link");
    return lathe_hash_init()
               ? cmocka_run_group_tests_name("integration/lossy_link", tests, NULL, NULL)
               : 1;
}
