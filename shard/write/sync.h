/* sync.h - SYNC: the collections that a shard holds, brought to what the catalog says. */
#ifndef LATHE_SHARD_SYNC_H
#define LATHE_SHARD_SYNC_H
#include "common/base/queue.h"
#include "shard/task.h"
#include "shard/write/commit.h"

/* Makes the collections that are missing and drops those that the catalog no longer has, in one
 * commit of its own: no group may be in the making. Fills the task's answer; the caller finishes
 * it. `dropped` (may be NULL) gets each dropped collection's id, as a pointer. */
void lathe_sync_run(struct lathe_commit *commit, struct lathe_task *task,
                    struct lathe_queue *dropped);
#endif
