/* fake_shard.h - a shard of the engine's tests: a thread with a router that does what the
 * collection id of each request tells it to. */
#ifndef LATHE_TESTS_UNIT_COORDINATOR_FAKE_SHARD_H
#define LATHE_TESTS_UNIT_COORDINATOR_FAKE_SHARD_H
#include <pthread.h>

#include "common/net/link.h"

/* Collection ids, and what a shard does with a request that has them. */
enum behaviour {
    ECHO = 1, /* answers with the request's body and block */
    SILENT,   /* never answers */
    TWICE,    /* answers two times */
    FAILING,  /* fails: RESOURCE_EXHAUSTED */
    STALE,    /* fails: STALE_ROUTE */
    LATE,     /* answers when the next frame comes */
    ALIEN,    /* answers another request that nobody made, then this one */
    BEHAVIOURS
};

struct fake_shard {
    struct lathe_net *net;
    const char *endpoint;
    uint32_t number; /* what it says in HELLO */
    pthread_t thread;
    int stop_fd;

    pthread_mutex_t mutex; /* over what follows */
    pthread_cond_t changed;
    bool open;
    size_t hellos;
    size_t requests;
    size_t cancels;
    size_t releases;
    uint64_t last_cancel; /* request ids */
    uint64_t last_release;
    uint64_t last_budget_us;
    uint16_t last_kind;
};

/* Opens the router, and serves until stopped. */
void fake_shard_start(struct fake_shard *shard, struct lathe_net *net, const char *endpoint,
                      uint32_t number);
void fake_shard_stop(struct fake_shard *shard);
/* *count (one of the shard's) as it is now. */
size_t fake_shard_count(struct fake_shard *shard, const size_t *count);
/* Waits until *count (one of the shard's) is at least `wanted`; fails the test after some seconds.
 */
void fake_shard_wait(struct fake_shard *shard, const size_t *count, size_t wanted);
#endif
