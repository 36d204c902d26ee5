/* api.h - the services of lathe.v1 as methods of the gRPC server: what they need, and their table.
 */
#ifndef LATHE_COORDINATOR_API_API_H
#define LATHE_COORDINATOR_API_API_H
#include "common/base/clock.h"
#include "common/base/mem.h"
#include "coordinator/collections.h"
#include "coordinator/grpc_server.h"

enum { LATHE_DEFAULT_READ_TIMEOUT_MS = 10000 };

/* The context of every handler. Filled by the coordinator; nothing in it changes while the server
 * runs. */
struct lathe_api {
    struct lathe_engine *engine;
    struct lathe_collections *collections;
    const struct lathe_clock *clock; /* with the monotonic time of lathe_system_clock */
    struct lathe_budget *budget;     /* may be NULL */
    const char *kernel;              /* name of the scan kernels: "avx2" */
    uint64_t started_us;
    uint64_t max_payload_bytes; /* of one point's encoded payload */
    uint32_t in_flight_calls;   /* limits of the gRPC server, for GetInfo */
    uint64_t in_flight_bytes;
};

/* Every method of lathe.v1, for lathe_grpc_config; the context is a struct lathe_api. */
const struct lathe_method *lathe_api_methods(size_t *count_out);

/* The handlers, by service. Threads: completion-queue threads. */
lathe_unary_fn lathe_api_create_collection;
lathe_unary_fn lathe_api_get_collection;
lathe_unary_fn lathe_api_list_collections;
lathe_unary_fn lathe_api_delete_collection;
lathe_unary_fn lathe_api_write_points;
extern const struct lathe_stream_handler lathe_api_stream_writes;
lathe_unary_fn lathe_api_get_points;
lathe_unary_fn lathe_api_list_points;
lathe_unary_fn lathe_api_count_points;
lathe_unary_fn lathe_api_search;
lathe_unary_fn lathe_api_search_batch;
lathe_unary_fn lathe_api_get_info;
#endif
