/* cluster.h - a coordinator with real shards in one process, and between each two of them a proxy
 * that can lose or refuse frames. */
#ifndef LATHE_TESTS_UNIT_API_CLUSTER_H
#define LATHE_TESTS_UNIT_API_CLUSTER_H
#include <pthread.h>
#include <stdatomic.h>

#include "client/grpc_client.h"
#include "coordinator/coordinator.h"
#include "shard/shard.h"
#include "tests/unit/api/fixture.h"

enum { CLUSTER_MAX_SHARDS = 4 };

/* What a proxy does with the frames of a kind. */
enum fault {
    PASS,
    DROP_REQUEST, /* the shard never hears of it */
    DROP_REPLY,   /* the shard does it, the coordinator never hears of that */
    REFUSE,       /* the coordinator gets a failure with `refuse_status` */
    SPOIL,        /* the answer's body is garbage */
    STALE,        /* as REFUSE, saying STALE_ROUTE */
    OTHER_SCHEMA  /* the request comes with another schema version than was sent */
};

struct proxy {
    struct lathe_net *net;
    char front[64]; /* the coordinator's side */
    char back[64];  /* the shard's */
    pthread_t thread;
    int stop_fd;
    _Atomic int fault[LATHE_FRAME_KINDS];
    _Atomic int refuse_status;
    atomic_size_t seen[LATHE_FRAME_KINDS]; /* requests, by kind */
    atomic_int held;                       /* searches that the shard holds */
};

struct cluster {
    struct lathe_net *net;
    struct lathe_pool *pool;
    struct lathe_store_cache *cache;
    struct lathe_budget budget;
    char *dir;
    uint32_t shard_count;
    struct lathe_shard *shards[CLUSTER_MAX_SHARDS];
    char shard_dirs[CLUSTER_MAX_SHARDS][512]; /* a shard keeps what its config points to */
    struct proxy proxies[CLUSTER_MAX_SHARDS];
    struct lathe_coordinator *coordinator;
    struct lathe_channel *channel;
    struct lathe_arena arena; /* of what tests build and read */
};

/* Starts everything in a fresh directory. */
struct cluster *cluster_open(uint32_t shards);
void cluster_close(struct cluster *cluster);
/* Stops the coordinator and starts another one on the same catalog. */
void cluster_restart_coordinator(struct cluster *cluster);

/* All proxies do this with frames of this kind. */
void cluster_fault(struct cluster *cluster, enum lathe_frame_kind kind, enum fault fault);
void cluster_shard_fault(struct cluster *cluster, uint32_t shard, enum lathe_frame_kind kind,
                         enum fault fault);
size_t cluster_seen(struct cluster *cluster, enum lathe_frame_kind kind); /* by all proxies */
/* Waits until that is at least `wanted`. */
void cluster_wait_seen(struct cluster *cluster, enum lathe_frame_kind kind, size_t wanted);
/* Waits until no shard holds a search any more. */
void cluster_wait_released(struct cluster *cluster);

/* One call: "PointService/GetPoints". The reply is in the cluster's arena, NULL on failure. */
void *cluster_call(struct cluster *cluster, const char *method, const void *request,
                   const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms,
                   struct lathe_error *err);
/* The same, which must succeed. */
void *cluster_ok(struct cluster *cluster, const char *method, const void *request,
                 const ProtobufCMessageDescriptor *reply_type);

/* Creates "films" with the fields of fixture_collection(), but for the name. */
void cluster_create(struct cluster *cluster, const char *name);
/* Fails the test unless the condition becomes true within some seconds. */
void cluster_wait(bool (*condition)(void *context), void *context, const char *what);
#endif
