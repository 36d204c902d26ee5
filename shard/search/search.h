/* search.h - SEARCH frames: from a decoded message to scans, and from their answers to the reply.
 */
#ifndef LATHE_SHARD_SEARCH_H
#define LATHE_SHARD_SEARCH_H
#include "shard/search/scan.h"
#include "shard/task.h"

struct lathe_search_config {
    const struct lathe_kernel_set *kernel;
    const struct lathe_clock *clock;
    struct lathe_pool *pool;
};

/* Takes a SEARCH task that holds its snapshot, and finishes it (lathe_task_finish) on a pool
 * thread, or at once when it is refused. `config` outlives the task. */
void lathe_search_start(const struct lathe_search_config *config, struct lathe_task *task);
#endif
