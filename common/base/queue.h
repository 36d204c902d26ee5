/* queue.h - a bounded queue of pointers between threads. A full queue says so; it never grows or
 * drops. */
#ifndef LATHE_BASE_QUEUE_H
#define LATHE_BASE_QUEUE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lathe_queue;

/* Owner: the caller, who destroys it when no thread uses it and it is empty. NULL when memory is
 * short. With `with_event` the queue has an eventfd that is readable while items wait, for use with
 * poll(). */
struct lathe_queue *lathe_queue_create(size_t capacity, bool with_event);
void lathe_queue_destroy(struct lathe_queue *queue);

/* False when the queue is full or closed; `item` then stays the caller's. Threads: any. */
bool lathe_queue_push(struct lathe_queue *queue, void *item);

/* Takes up to `max` items in order of arrival. Waits at most timeout_us for the first (0 = do not
 * wait, UINT64_MAX = no limit). 0 when none came or the queue is closed and empty. Threads: any. */
size_t lathe_queue_pop(struct lathe_queue *queue, void **items_out, size_t max,
                       uint64_t timeout_us);

/* Further pushes fail; waiting poppers wake. Items inside can still be popped. */
void lathe_queue_close(struct lathe_queue *queue);
bool lathe_queue_closed(struct lathe_queue *queue);
size_t lathe_queue_size(struct lathe_queue *queue);
int lathe_queue_event_fd(const struct lathe_queue *queue); /* -1 without event */
#endif
