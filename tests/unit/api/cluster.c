/* cluster.c - see cluster.h. */
#include "tests/unit/api/cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/id.h"
#include "lathe/v1/collections.pb-c.h"

enum { PATIENCE_MS = 20000, CALL_TIMEOUT_MS = 20000 };

static void require(bool condition)
{
    if (!condition)
        abort(); /* cmocka's own assertions work in the test's thread only */
}

/* ---- Proxies ----------------------------------------------------------------------------------
 */

struct wires {
    struct proxy *proxy;
    struct lathe_socket *router;
    struct lathe_socket *dealer;
    struct lathe_peer peer; /* the coordinator that spoke last */
    uint64_t holds[256];    /* request ids of searches that asked to be held */
    size_t hold_count;
};

static struct lathe_frame copy_of(const struct lathe_frame *frame)
{
    struct lathe_buf body = {0};
    struct lathe_buf block = {0};
    struct lathe_frame copy;

    lathe_buf_append(&body, frame->body.data, frame->body.size);
    lathe_buf_append(&block, frame->block.data, frame->block.size);
    require(lathe_frame_make(&copy, &frame->header, &body, &block));
    return copy;
}

/* True if the id was there, and then no longer is. */
static bool hold_take(struct wires *wires, uint64_t id)
{
    for (size_t i = 0; i < wires->hold_count; i++) {
        if (wires->holds[i] == id) {
            wires->holds[i] = wires->holds[--wires->hold_count];
            return true;
        }
    }
    return false;
}

static void note_request(struct wires *wires, const struct lathe_frame *frame)
{
    const struct lathe_frame_header *header = &frame->header;
    struct lathe_arena arena = {0};
    ProtobufCMessage *message;

    atomic_fetch_add(&wires->proxy->seen[header->kind], 1);
    if (header->kind == LATHE_FRAME_SEARCH) {
        require(lathe_message_decode(&lathe__shard__search__descriptor, frame->body, &arena,
                                     &message, NULL) == LATHE_OK);
        if (((Lathe__Shard__Search *)message)->hold) {
            require(wires->hold_count < 256);
            wires->holds[wires->hold_count++] = header->request_id;
        }
        lathe_arena_fini(&arena);
    }
    if (header->kind == LATHE_FRAME_FETCH || header->kind == LATHE_FRAME_RELEASE ||
        header->kind == LATHE_FRAME_CANCEL)
        (void)hold_take(wires, header->request_id);
    atomic_store(&wires->proxy->held, (int)wires->hold_count);
}

static void refuse(struct wires *wires, const struct lathe_frame *frame, bool stale)
{
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;
    struct lathe_frame_header header = frame->header;
    struct lathe_buf body = {0};
    struct lathe_frame answer;

    (void)hold_take(wires, header.request_id);
    atomic_store(&wires->proxy->held, (int)wires->hold_count);
    failure.status = (uint32_t)atomic_load(&wires->proxy->refuse_status);
    failure.message = "refused by the test";
    failure.field = "operations";
    failure.retry_after_ms = 12;
    failure.stale_route = stale;
    header.kind = LATHE_FRAME_ERROR | LATHE_FRAME_REPLY;
    header.flags = 0;
    lathe_message_encode(&failure.base, &body);
    require(lathe_frame_make(&answer, &header, &body, NULL));
    (void)!lathe_socket_send(wires->router, &wires->peer, &answer);
}

static void request_pass(struct wires *wires, struct lathe_frame *frame)
{
    int fault = atomic_load(&wires->proxy->fault[frame->header.kind]);
    struct lathe_frame copy;

    note_request(wires, frame);
    if (fault == REFUSE || fault == STALE) {
        refuse(wires, frame, fault == STALE);
    } else if (fault != DROP_REQUEST) {
        copy = copy_of(frame);
        copy.header.schema_version += fault == OTHER_SCHEMA;
        (void)!lathe_socket_send(wires->dealer, NULL, &copy);
    }
    lathe_frame_fini(frame);
}

static void reply_pass(struct wires *wires, struct lathe_frame *frame)
{
    uint16_t kind = frame->header.kind & (uint16_t)~LATHE_FRAME_REPLY;
    int fault = kind == LATHE_FRAME_ERROR ? PASS : atomic_load(&wires->proxy->fault[kind]);
    struct lathe_frame copy;

    if (fault == PASS || fault == SPOIL || fault == OTHER_SCHEMA) {
        copy = copy_of(frame);
        if (fault == SPOIL && copy.body.size > 0)
            memset((void *)(uintptr_t)copy.body.data, 0xFF, copy.body.size);
        (void)!lathe_socket_send(wires->router, &wires->peer, &copy);
    }
    lathe_frame_fini(frame);
}

static void *proxy_run(void *argument)
{
    struct wires wires = {.proxy = argument};
    struct proxy *proxy = argument;
    struct lathe_socket *sockets[2];
    uint64_t stop;

    require(lathe_router_open(proxy->net, proxy->front, &wires.router, NULL) == LATHE_OK);
    require(lathe_dealer_open(proxy->net, proxy->back, &wires.dealer, NULL) == LATHE_OK);
    sockets[0] = wires.router;
    sockets[1] = wires.dealer;
    while (read(proxy->stop_fd, &stop, sizeof(stop)) < 0) {
        struct lathe_frame frame;

        while (lathe_socket_receive(wires.router, &wires.peer, &frame, NULL) == LATHE_OK)
            request_pass(&wires, &frame);
        while (lathe_socket_receive(wires.dealer, NULL, &frame, NULL) == LATHE_OK)
            reply_pass(&wires, &frame);
        lathe_net_wait(sockets, 2, &proxy->stop_fd, 1, UINT64_MAX);
    }
    lathe_socket_close(&wires.router);
    lathe_socket_close(&wires.dealer);
    return NULL;
}

static void proxy_name(struct proxy *proxy, uint32_t number)
{
    (void)snprintf(proxy->front, sizeof(proxy->front), "inproc://proxy-%u", number);
    (void)snprintf(proxy->back, sizeof(proxy->back), "inproc://shard-%u", number);
}

static void proxy_start(struct proxy *proxy, struct lathe_net *net)
{
    proxy->net = net;
    proxy->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_int_equal(pthread_create(&proxy->thread, NULL, proxy_run, proxy), 0);
}

static void proxy_stop(struct proxy *proxy)
{
    uint64_t one = 1;

    assert_int_equal(write(proxy->stop_fd, &one, sizeof(one)), sizeof(one));
    (void)pthread_join(proxy->thread, NULL);
    (void)close(proxy->stop_fd);
}

void cluster_fault(struct cluster *cluster, enum lathe_frame_kind kind, enum fault fault)
{
    for (uint32_t i = 0; i < cluster->shard_count; i++)
        cluster_shard_fault(cluster, i, kind, fault);
}

void cluster_shard_fault(struct cluster *cluster, uint32_t shard, enum lathe_frame_kind kind,
                         enum fault fault)
{
    atomic_store(&cluster->proxies[shard].fault[kind], fault);
}

size_t cluster_seen(struct cluster *cluster, enum lathe_frame_kind kind)
{
    size_t seen = 0;

    for (uint32_t i = 0; i < cluster->shard_count; i++)
        seen += atomic_load(&cluster->proxies[i].seen[kind]);
    return seen;
}

/* ---- Waiting ----------------------------------------------------------------------------------
 */

void cluster_wait(bool (*condition)(void *context), void *context, const char *what)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    uint64_t end_us = lathe_now_us(&lathe_system_clock) + PATIENCE_MS * 1000u;

    while (!condition(context)) {
        if (lathe_now_us(&lathe_system_clock) > end_us)
            fail_msg("waited in vain: %s", what);
        (void)nanosleep(&pause, NULL);
    }
}

struct seen_wait {
    struct cluster *cluster;
    enum lathe_frame_kind kind;
    size_t wanted;
};

static bool is_seen(void *context)
{
    const struct seen_wait *wait = context;

    return cluster_seen(wait->cluster, wait->kind) >= wait->wanted;
}

void cluster_wait_seen(struct cluster *cluster, enum lathe_frame_kind kind, size_t wanted)
{
    struct seen_wait wait = {cluster, kind, wanted};

    cluster_wait(is_seen, &wait, "a frame at the proxies");
}

static bool is_released(void *context)
{
    struct cluster *cluster = context;

    for (uint32_t i = 0; i < cluster->shard_count; i++) {
        if (atomic_load(&cluster->proxies[i].held) > 0)
            return false;
    }
    return true;
}

void cluster_wait_released(struct cluster *cluster)
{
    cluster_wait(is_released, cluster, "every shard lets go of its held search");
}

/* ---- Start and stop ---------------------------------------------------------------------------
 */

static void shard_open(struct cluster *cluster, uint32_t number)
{
    char *directory = cluster->shard_dirs[number];
    struct lathe_error err = {0};
    const struct lathe_kernel_set *kernel;
    struct lathe_shard_config config = {
        .directory = directory,
        .endpoint = cluster->proxies[number].back,
        .shard = number,
        .shard_count = cluster->shard_count,
        .net = cluster->net,
        .pool = cluster->pool,
        .cache = cluster->cache,
        .budget = &cluster->budget,
        .clock = &lathe_system_clock,
        .max_payload_bytes = LATHE_DEFAULT_PAYLOAD_BYTES,
        .write_buffer_bytes = 8u << 20,
        .in_flight = 256,
    };

    (void)snprintf(directory, sizeof(cluster->shard_dirs[0]), "%s/shard-%u", cluster->dir, number);
    memset(config.cluster_id, 7, sizeof(config.cluster_id));
    assert_int_equal(lathe_kernel_select("scalar", 0, &kernel, NULL), LATHE_OK);
    config.kernel = kernel;
    if (lathe_shard_start(&config, &cluster->shards[number], &err) != LATHE_OK)
        fail_msg("shard %u: %s", number, err.message);
}

static void coordinator_open(struct cluster *cluster)
{
    const char *endpoints[CLUSTER_MAX_SHARDS];
    char catalog[4096];
    char address[64];
    struct lathe_error err = {0};
    struct lathe_coordinator_config config = {
        .listen = "127.0.0.1:0",
        .catalog_dir = catalog,
        .endpoints = endpoints,
        .shard_count = cluster->shard_count,
        .net = cluster->net,
        .clock = &lathe_system_clock,
        .budget = &cluster->budget,
        .kernel = "scalar",
        .cq_threads = 2,
        .in_flight_calls = 100,
        .in_flight_bytes = 256u << 20,
    };

    (void)snprintf(catalog, sizeof(catalog), "%s/catalog", cluster->dir);
    memset(config.cluster_id, 7, sizeof(config.cluster_id));
    for (uint32_t i = 0; i < cluster->shard_count; i++)
        endpoints[i] = cluster->proxies[i].front;
    if (lathe_coordinator_start(&config, &cluster->coordinator, &err) != LATHE_OK)
        fail_msg("coordinator: %s", err.message);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d",
                   lathe_coordinator_port(cluster->coordinator));
    cluster->channel = lathe_channel_open(address);
    assert_non_null(cluster->channel);
}

struct cluster *cluster_open(uint32_t shards)
{
    struct cluster *cluster = calloc(1, sizeof(*cluster));

    assert_true(shards <= CLUSTER_MAX_SHARDS);
    cluster->shard_count = shards;
    cluster->dir = test_dir_create();
    cluster->net = lathe_net_create();
    cluster->pool = lathe_pool_create(2);
    cluster->cache = lathe_store_cache_create(16u << 20);
    for (uint32_t i = 0; i < shards; i++) {
        proxy_name(&cluster->proxies[i], i);
        shard_open(cluster, i);
        proxy_start(&cluster->proxies[i], cluster->net);
    }
    coordinator_open(cluster);
    return cluster;
}

static void coordinator_close(struct cluster *cluster)
{
    lathe_coordinator_stop(&cluster->coordinator, 10000);
    lathe_channel_close(cluster->channel);
}

void cluster_close(struct cluster *cluster)
{
    coordinator_close(cluster);
    for (uint32_t i = 0; i < cluster->shard_count; i++) {
        proxy_stop(&cluster->proxies[i]);
        lathe_shard_stop(&cluster->shards[i]);
    }
    lathe_store_cache_destroy(cluster->cache);
    lathe_pool_destroy(cluster->pool);
    lathe_net_destroy(cluster->net);
    test_dir_remove(cluster->dir);
    lathe_arena_fini(&cluster->arena);
    free(cluster);
}

void cluster_restart_coordinator(struct cluster *cluster)
{
    coordinator_close(cluster);
    coordinator_open(cluster);
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

void *cluster_call(struct cluster *cluster, const char *method, const void *request,
                   const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms,
                   struct lathe_error *err)
{
    char path[128];
    struct lathe_buf bytes = {0};
    struct lathe_buf reply = {0};
    void *message = NULL;

    (void)snprintf(path, sizeof(path), "/lathe.v1.%s", method);
    *err = (struct lathe_error){0};
    lathe_message_encode(request, &bytes);
    if (lathe_channel_call(cluster->channel, path, lathe_buf_view(&bytes), timeout_ms, &reply,
                           err) == LATHE_OK)
        message = fixture_decode(reply_type, &reply, &cluster->arena);
    lathe_buf_fini(&bytes);
    lathe_buf_fini(&reply);
    return message;
}

void *cluster_ok(struct cluster *cluster, const char *method, const void *request,
                 const ProtobufCMessageDescriptor *reply_type)
{
    struct lathe_error err;
    void *reply = cluster_call(cluster, method, request, reply_type, CALL_TIMEOUT_MS, &err);

    if (reply == NULL)
        fail_msg("%s: %s %s: %s", method, lathe_status_name(err.status), err.field, err.message);
    return reply;
}

void cluster_create(struct cluster *cluster, const char *name)
{
    struct lathe_collection *model = fixture_collection(cluster->shard_count);
    Lathe__V1__CreateCollectionRequest request = LATHE__V1__CREATE_COLLECTION_REQUEST__INIT;
    Lathe__V1__CollectionSchema schema = LATHE__V1__COLLECTION_SCHEMA__INIT;
    Lathe__V1__FieldSchema fields[3];
    Lathe__V1__FieldSchema *list[3] = {&fields[0], &fields[1], &fields[2]};

    for (int i = 0; i < 3; i++) {
        lathe__v1__field_schema__init(&fields[i]);
        fields[i].name = model->fields[i].name;
        fields[i].dims = model->fields[i].dims;
        fields[i].metric = (Lathe__V1__Metric)model->fields[i].metric;
    }
    fields[2].zero_vectors = LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT;
    schema.n_fields = 3;
    schema.fields = list;
    request.name = (char *)name;
    request.schema = &schema;
    (void)cluster_ok(cluster, "CollectionService/CreateCollection", &request,
                     &lathe__v1__collection__descriptor);
    lathe_collection_release(&model);
}
