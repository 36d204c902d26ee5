/* engine_kit.h - what the tests of the engine share: a cluster of fake shards with an engine, and
 * calls that somebody waits for. */
#ifndef LATHE_TESTS_UNIT_COORDINATOR_ENGINE_KIT_H
#define LATHE_TESTS_UNIT_COORDINATOR_ENGINE_KIT_H
#include <semaphore.h>

#include "coordinator/engine.h"
#include "tests/unit/coordinator/fake_shard.h"

enum { SHARDS = 3, PATIENCE_S = 20, LONG_US = 60 * 1000 * 1000 };

extern const char *const endpoints[SHARDS];
extern const enum behaviour all_echo[SHARDS];

uint64_t now_us(void);
/* Fails the test after some seconds. */
void wait_sem(sem_t *sem);
void wait_ready(struct lathe_engine *engine, bool ready);

struct cluster {
    struct lathe_net *net;
    struct fake_shard shards[SHARDS];
    struct lathe_engine *engine;
    sem_t stale_calls; /* posted by on_stale() */
    _Atomic uint32_t stale_shard;
};

/* Starts shards and engine, and waits until it is ready. */
void cluster_open_with(struct cluster *cluster, const struct lathe_clock *clock,
                       const struct lathe_net_fault *fault, size_t capacity);
void cluster_open(struct cluster *cluster);
void cluster_close(struct cluster *cluster);

/* A scatter to all shards. */
struct call {
    struct lathe_scatter scatter; /* its context is the call, or what begins with one */
    sem_t done;
    int done_calls;
};

void part_set(struct lathe_part *part, uint32_t shard, uint16_t kind, uint32_t collection);
/* Each shard does as told. */
void call_init(struct call *call, const enum behaviour behaviours[SHARDS], uint64_t timeout_us);
void call_done(struct lathe_scatter *scatter);
void call_fini(struct call *call); /* it was done once */
/* Submits it and waits for it. */
void call_run(struct cluster *cluster, struct call *call, const enum behaviour behaviours[SHARDS],
              uint64_t timeout_us);
void check_answered(const struct lathe_part *part);
/* A call that must go well: the engine is as it should be. */
void check_well(struct cluster *cluster);
#endif
