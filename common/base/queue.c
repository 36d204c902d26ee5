/* queue.c - see queue.h. A ring under one mutex: hand-overs are few and large, so a lock is cheap.
 */
#include "common/base/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/mem.h"

struct lathe_queue {
    pthread_mutex_t mutex;
    pthread_cond_t not_empty;
    void **ring;
    size_t capacity;
    size_t first; /* index of the oldest item */
    size_t size;
    int event_fd; /* readable exactly while size > 0 or the queue is closed; -1 = none */
    bool closed;
};

struct lathe_queue *lathe_queue_create(size_t capacity, bool with_event)
{
    struct lathe_queue *queue = lathe_zalloc(sizeof(*queue));
    pthread_condattr_t attributes;

    LATHE_REQUIRE(capacity > 0);
    if (queue == NULL)
        return NULL;
    queue->event_fd = with_event ? eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1;
    queue->ring = lathe_alloc_array(capacity, sizeof(void *));
    if (queue->ring == NULL || (with_event && queue->event_fd < 0)) {
        if (queue->event_fd >= 0)
            (void)close(queue->event_fd);
        lathe_free(queue->ring);
        lathe_free(queue);
        return NULL;
    }
    queue->capacity = capacity;
    (void)pthread_mutex_init(&queue->mutex, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&queue->not_empty, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return queue;
}

void lathe_queue_destroy(struct lathe_queue *queue)
{
    if (queue == NULL)
        return;
    LATHE_REQUIRE(queue->size == 0);
    (void)pthread_cond_destroy(&queue->not_empty);
    (void)pthread_mutex_destroy(&queue->mutex);
    if (queue->event_fd >= 0)
        (void)close(queue->event_fd);
    lathe_free(queue->ring);
    lathe_free(queue);
}

static void event_raise(struct lathe_queue *queue)
{
    uint64_t one = 1;

    if (queue->event_fd >= 0)
        LATHE_REQUIRE(write(queue->event_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
}

static void event_clear(struct lathe_queue *queue)
{
    uint64_t count;

    if (queue->event_fd >= 0)
        LATHE_REQUIRE(read(queue->event_fd, &count, sizeof(count)) > 0 || errno == EAGAIN);
}

bool lathe_queue_push(struct lathe_queue *queue, void *item)
{
    bool pushed;

    (void)pthread_mutex_lock(&queue->mutex);
    pushed = !queue->closed && queue->size < queue->capacity;
    if (pushed) {
        queue->ring[(queue->first + queue->size) % queue->capacity] = item;
        if (queue->size++ == 0) {
            event_raise(queue);
            (void)pthread_cond_signal(&queue->not_empty);
        }
    }
    (void)pthread_mutex_unlock(&queue->mutex);
    return pushed;
}

/* Waits until there is an item, the queue is closed, or the time is over. Called with the lock
 * held. */
static void wait_for_item(struct lathe_queue *queue, uint64_t timeout_us)
{
    struct timespec until;

    if (timeout_us == 0)
        return;
    if (timeout_us == UINT64_MAX) {
        while (queue->size == 0 && !queue->closed)
            (void)pthread_cond_wait(&queue->not_empty, &queue->mutex);
        return;
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(timeout_us / 1000000u);
    until.tv_nsec += (long)(timeout_us % 1000000u) * 1000;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    while (queue->size == 0 && !queue->closed)
        if (pthread_cond_timedwait(&queue->not_empty, &queue->mutex, &until) == ETIMEDOUT)
            return;
}

size_t lathe_queue_pop(struct lathe_queue *queue, void **items_out, size_t max, uint64_t timeout_us)
{
    size_t taken = 0;

    (void)pthread_mutex_lock(&queue->mutex);
    wait_for_item(queue, timeout_us);
    while (taken < max && queue->size > 0) {
        items_out[taken++] = queue->ring[queue->first];
        queue->first = (queue->first + 1) % queue->capacity;
        queue->size--;
    }
    if (queue->size > 0)
        (void)pthread_cond_signal(&queue->not_empty); /* another popper may take the rest */
    else if (taken > 0 && !queue->closed)
        event_clear(queue);
    (void)pthread_mutex_unlock(&queue->mutex);
    return taken;
}

void lathe_queue_close(struct lathe_queue *queue)
{
    (void)pthread_mutex_lock(&queue->mutex);
    if (!queue->closed) {
        queue->closed = true;
        event_raise(queue);
        (void)pthread_cond_broadcast(&queue->not_empty);
    }
    (void)pthread_mutex_unlock(&queue->mutex);
}

bool lathe_queue_closed(struct lathe_queue *queue)
{
    bool closed;

    (void)pthread_mutex_lock(&queue->mutex);
    closed = queue->closed;
    (void)pthread_mutex_unlock(&queue->mutex);
    return closed;
}

size_t lathe_queue_size(struct lathe_queue *queue)
{
    size_t size;

    (void)pthread_mutex_lock(&queue->mutex);
    size = queue->size;
    (void)pthread_mutex_unlock(&queue->mutex);
    return size;
}

int lathe_queue_event_fd(const struct lathe_queue *queue)
{
    return queue->event_fd;
}
