/* task.c - see task.h. */
#include "shard/task.h"

#include <inttypes.h>

#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "shard.pb-c.h"

enum { BLOCK_ALIGN = 16, RETRY_MS = 1000 };

/* Vectors are read as floats in place, so the block must be aligned; ZeroMQ does not promise that.
 */
static bool block_align(struct lathe_task *task)
{
    task->block = task->request.block;
    if ((uintptr_t)task->block.data % BLOCK_ALIGN == 0)
        return true;
    task->block_copy = lathe_alloc_aligned(BLOCK_ALIGN, task->block.size);
    if (task->block_copy == NULL)
        return false;
    memcpy(task->block_copy, task->block.data, task->block.size);
    task->block = lathe_bytes_of(task->block_copy, task->block.size);
    return true;
}

static void charge_set(struct lathe_task *task, uint64_t bytes)
{
    lathe_budget_charge(task->budget, LATHE_MEM_REQUESTS,
                        (int64_t)bytes - (int64_t)task->charged_bytes);
    task->charged_bytes = bytes;
}

/* From here on the task is charged for what it holds now. */
static void charge_settle(struct lathe_task *task)
{
    size_t copied = task->block_copy != NULL ? task->block.size : 0;

    charge_set(task, sizeof(*task) + task->request.body.size + task->request.block.size + copied +
                         task->arena.used_bytes + task->reply_body.capacity +
                         task->reply_block.capacity);
}

enum lathe_status lathe_task_create(const struct lathe_peer *peer, struct lathe_frame *frame,
                                    const ProtobufCMessageDescriptor *descriptor,
                                    struct lathe_budget *budget, struct lathe_task **task_out,
                                    struct lathe_error *err)
{
    struct lathe_task *task = lathe_zalloc(sizeof(*task));
    enum lathe_status rc;

    *task_out = NULL;
    if (task == NULL) {
        lathe_frame_fini(frame);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a request");
    }
    task->peer = *peer;
    task->budget = budget;
    task->request = *frame;
    *frame = (struct lathe_frame){0};
    lathe_arena_init(&task->arena, LATHE_ARENA_DEFAULT_BYTES);
    rc = block_align(task) ? lathe_message_decode(descriptor, task->request.body, &task->arena,
                                                  &task->message, err)
                           : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a request");
    /* The reply is put together in the same arena, and may be as large whatever the request took.
     */
    task->arena.limit_bytes = task->arena.used_bytes + LATHE_ARENA_DEFAULT_BYTES;
    charge_settle(task);
    if (rc == LATHE_OK)
        *task_out = task;
    else
        lathe_task_destroy(task);
    return rc;
}

/* Frees what came and what went. */
static void messages_free(struct lathe_task *task)
{
    lathe_arena_fini(&task->arena);
    task->message = NULL;
    lathe_free(task->block_copy);
    task->block_copy = NULL;
    task->block = lathe_bytes_of(NULL, 0);
    lathe_frame_fini(&task->request);
    lathe_buf_fini(&task->reply_body);
    lathe_buf_fini(&task->reply_block);
}

void lathe_task_hold(struct lathe_task *task)
{
    messages_free(task);
    charge_settle(task);
}

void lathe_task_destroy(struct lathe_task *task)
{
    if (task == NULL)
        return;
    lathe_snapshot_release(task->snapshot);
    messages_free(task);
    charge_set(task, 0);
    lathe_free(task);
}

enum lathe_status lathe_task_reserve(struct lathe_task *task, uint64_t bytes,
                                     struct lathe_error *err)
{
    if (lathe_budget_take_request(task->budget, bytes)) {
        task->charged_bytes += bytes;
        return LATHE_OK;
    }
    (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                     "memory: the request needs %" PRIu64 " bytes more, and %" PRIu64 " of %" PRIu64
                     " are used (--memory-limit): ask for less, or again later",
                     bytes, lathe_budget_used(task->budget), task->budget->limit_bytes);
    err->retry_after_ms = RETRY_MS;
    return LATHE_RESOURCE_EXHAUSTED;
}

void lathe_task_answer(struct lathe_task *task, uint16_t kind, const ProtobufCMessage *message)
{
    struct lathe_error err;

    lathe_buf_clear(&task->reply_body);
    lathe_message_encode(message, &task->reply_body);
    task->reply_kind = kind;
    if (task->reply_body.failed || task->reply_block.failed) {
        /* Not a refusal: what was asked for may have been done. */
        (void)lathe_fail(&err, LATHE_UNAVAILABLE, "no memory for a reply");
        lathe_task_fail(task, &err, false);
    }
}

void lathe_task_fail(struct lathe_task *task, const struct lathe_error *err, bool stale_route)
{
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;

    failure.status = err->status;
    failure.message = (char *)(uintptr_t)err->message;
    failure.field = (char *)(uintptr_t)err->field;
    failure.retry_after_ms = err->retry_after_ms;
    failure.stale_route = stale_route;
    lathe_buf_fini(&task->reply_block);
    lathe_buf_clear(&task->reply_body);
    lathe_message_encode(&failure.base, &task->reply_body);
    task->reply_kind = LATHE_FRAME_ERROR;
    task->hold = false;
}

void lathe_task_finish(struct lathe_task *task)
{
    charge_settle(task);
    /* The queue has room for every task that admission lets in, so a push can only fail by a
     * mistake. */
    LATHE_REQUIRE(lathe_queue_push(task->done, task));
}

bool lathe_task_expired(const struct lathe_task *task, uint64_t now_us, struct lathe_error *err)
{
    if (atomic_load_explicit(&task->cancelled, memory_order_relaxed)) {
        (void)lathe_fail(err, LATHE_CANCELLED, "the caller went away");
        return true;
    }
    if (now_us >= task->deadline_us) {
        (void)lathe_fail(err, LATHE_DEADLINE_EXCEEDED,
                         "the deadline passed before the shard came to it");
        return true;
    }
    return false;
}
