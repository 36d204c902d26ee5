/* serve.h - what `lathe serve` was asked to do. */
#ifndef LATHE_CLI_SERVE_H
#define LATHE_CLI_SERVE_H
#include "common/base/log.h"
#include "common/base/options.h"

/* Checked. Pointers are borrowed and live as long as the server runs. */
struct lathe_serve_config {
    const char *data;            /* data directory */
    uint32_t shards;             /* 0 = as the directory has it; a new one: one per two cores */
    const char *listen;          /* "host:port", "[v6]:port" or "unix:path"; port 0 = a free one */
    bool loopback;               /* only this machine can reach `listen` */
    bool insecure;               /* another address was allowed in spite of that */
    uint64_t memory_limit_bytes; /* 0 = lathe_memory_default_limit() */
    uint32_t scan_threads;       /* 0 = one a core */
    const char *kernel;          /* "auto", "scalar", "avx2" or "avx512" */
    uint64_t max_payload_bytes;
    enum lathe_log_level log_level; /* already set */
    const char *port_file;          /* gets the port as text once the server answers; NULL = none */
};

/* Runs the server until SIGTERM or SIGINT. The body of `lathe serve`, in serve_run.c. */
LATHE_MUST_CHECK enum lathe_status lathe_serve_run(const struct lathe_serve_config *config,
                                                   struct lathe_error *err);

/* Checks "host:port", "[v6]:port" or "unix:path" and says whether only this machine can reach it:
 * 127.0.0.0/8, ::1, "localhost" and Unix sockets. INVALID_ARGUMENT: not such an address. */
LATHE_MUST_CHECK enum lathe_status lathe_listen_check(const char *address, bool *loopback_out,
                                                      struct lathe_error *err);
#endif
