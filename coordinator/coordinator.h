/* coordinator.h - a coordinator: engine, catalog, collections and gRPC server, in start and stop
 * order. */
#ifndef LATHE_COORDINATOR_COORDINATOR_H
#define LATHE_COORDINATOR_COORDINATOR_H
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/link.h"

struct lathe_coordinator;

/* Borrowed for the call, except where it says kept: that must outlive the coordinator. */
struct lathe_coordinator_config {
    const char *listen;           /* of the gRPC server: "127.0.0.1:0", "unix:path" */
    const char *catalog_dir;      /* made if it is not there; its parent exists */
    const char *const *endpoints; /* one a shard */
    uint32_t shard_count;
    uint8_t cluster_id[16];
    struct lathe_net *net;           /* kept; for inproc endpoints the one of the shards */
    const struct lathe_clock *clock; /* kept; its monotonic time is that of lathe_system_clock */
    struct lathe_budget *budget;     /* kept; may be NULL */
    const char *kernel;              /* kept; name of the scan kernels, for people */
    unsigned cq_threads;             /* completion-queue threads of the gRPC server */
    uint32_t in_flight_calls;
    uint64_t in_flight_bytes;
    uint64_t max_payload_bytes; /* of one point; 0 = LATHE_DEFAULT_PAYLOAD_BYTES */
    uint64_t start_timeout_ms;  /* how long to wait for all shards; 0 = 60 s */
};

/* Starts in the order engine, catalog, collections (all shards have acknowledged them), gRPC
 * server, and then says SERVING. Owner:  on LATHE_OK *coordinator_out is the caller's, given up
 * with lathe_coordinator_stop(); else NULL. Errors: those of the parts, unchanged. */
LATHE_MUST_CHECK enum lathe_status
lathe_coordinator_start(const struct lathe_coordinator_config *config,
                        struct lathe_coordinator **coordinator_out, struct lathe_error *err);
int lathe_coordinator_port(const struct lathe_coordinator *coordinator);
/* Says NOT_SERVING, lets calls in flight end (at most drain_ms, then cancels them), and stops the
 * parts in reverse order. NULL is accepted. The shards still serve meanwhile. */
void lathe_coordinator_stop(struct lathe_coordinator **coordinator_p, uint64_t drain_ms);
#endif
