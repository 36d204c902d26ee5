/* test_queue.c - order, bounds, closing, the event, and several threads at both ends. */
#include "tests/support/test.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "common/base/queue.h"

static void *item(uintptr_t number)
{
    return (void *)number;
}

static bool readable(const struct lathe_queue *queue)
{
    struct pollfd fd = {.fd = lathe_queue_event_fd(queue), .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void items_come_out_in_order_and_a_full_queue_says_so(void **state)
{
    struct lathe_queue *queue = lathe_queue_create(3, false);
    void *out[8];

    (void)state;
    assert_int_equal(lathe_queue_event_fd(queue), -1);
    for (int round = 0; round < 5; round++) { /* the ring turns */
        assert_true(lathe_queue_push(queue, item(1)));
        assert_true(lathe_queue_push(queue, item(2)));
        assert_true(lathe_queue_push(queue, item(3)));
        assert_false(lathe_queue_push(queue, item(4)));
        assert_int_equal(lathe_queue_size(queue), 3);
        assert_int_equal(lathe_queue_pop(queue, out, 2, 0), 2);
        assert_ptr_equal(out[0], item(1));
        assert_ptr_equal(out[1], item(2));
        assert_true(lathe_queue_push(queue, item(5)));
        assert_int_equal(lathe_queue_pop(queue, out, 8, UINT64_MAX), 2);
        assert_ptr_equal(out[0], item(3));
        assert_ptr_equal(out[1], item(5));
        assert_int_equal(lathe_queue_pop(queue, out, 8, 0), 0);
    }
    lathe_queue_destroy(queue);
}

static void pop_gives_up_when_its_time_is_over(void **state)
{
    struct lathe_queue *queue = lathe_queue_create(1, false);
    void *out[1];

    (void)state;
    assert_int_equal(lathe_queue_pop(queue, out, 1, 2000), 0);
    lathe_queue_destroy(queue);
    lathe_queue_destroy(NULL);
}

static void event_is_readable_while_items_wait(void **state)
{
    struct lathe_queue *queue = lathe_queue_create(4, true);
    void *out[4];

    (void)state;
    assert_false(readable(queue));
    assert_true(lathe_queue_push(queue, item(1)));
    assert_true(lathe_queue_push(queue, item(2)));
    assert_true(readable(queue));
    assert_int_equal(lathe_queue_pop(queue, out, 1, 0), 1);
    assert_true(readable(queue));
    assert_int_equal(lathe_queue_pop(queue, out, 4, 0), 1);
    assert_false(readable(queue));
    lathe_queue_close(queue);
    assert_true(readable(queue)); /* so that a poller wakes and sees the end */
    assert_int_equal(lathe_queue_pop(queue, out, 4, UINT64_MAX), 0);
    assert_true(readable(queue));
    lathe_queue_destroy(queue);
}

static void a_closed_queue_takes_nothing_and_gives_what_it_has(void **state)
{
    struct lathe_queue *queue = lathe_queue_create(4, false);
    void *out[4];

    (void)state;
    assert_true(lathe_queue_push(queue, item(1)));
    assert_false(lathe_queue_closed(queue));
    lathe_queue_close(queue);
    lathe_queue_close(queue);
    assert_true(lathe_queue_closed(queue));
    assert_false(lathe_queue_push(queue, item(2)));
    assert_int_equal(lathe_queue_pop(queue, out, 4, UINT64_MAX), 1);
    assert_int_equal(lathe_queue_pop(queue, out, 4, UINT64_MAX), 0);
    lathe_queue_destroy(queue);
}

enum { PRODUCERS = 3, CONSUMERS = 3, EACH = 20000 };

struct shared {
    struct lathe_queue *queue;
    _Atomic uint64_t sum;
    _Atomic uint64_t count;
    _Atomic uint64_t disorder;
};

struct producer {
    struct shared *shared;
    uintptr_t number;
};

static void *produce(void *context)
{
    struct producer *producer = context;

    for (uintptr_t i = 1; i <= EACH; i++)
        while (!lathe_queue_push(producer->shared->queue, item(producer->number << 32 | i)))
            (void)sched_yield(); /* full: the consumers' turn */
    return NULL;
}

static void *consume(void *context)
{
    struct shared *shared = context;
    uintptr_t last[PRODUCERS] = {0};
    void *out[7];
    size_t count;

    while ((count = lathe_queue_pop(shared->queue, out, 7, UINT64_MAX)) > 0) {
        for (size_t i = 0; i < count; i++) {
            uintptr_t from = (uintptr_t)out[i] >> 32, number = (uintptr_t)out[i] & 0xFFFFFFFF;

            if (number <= last[from])
                atomic_fetch_add(&shared->disorder, 1);
            last[from] = number;
            atomic_fetch_add(&shared->sum, number);
        }
        atomic_fetch_add(&shared->count, count);
    }
    return NULL;
}

static void several_threads_lose_and_repeat_nothing(void **state)
{
    struct shared shared = {.queue = lathe_queue_create(16, true)};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS + CONSUMERS];

    (void)state;
    for (int i = 0; i < CONSUMERS; i++)
        assert_int_equal(pthread_create(&threads[PRODUCERS + i], NULL, consume, &shared), 0);
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&shared, (uintptr_t)i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    for (int i = 0; i < PRODUCERS; i++)
        (void)pthread_join(threads[i], NULL);
    lathe_queue_close(shared.queue); /* wakes the consumers that wait */
    for (int i = 0; i < CONSUMERS; i++)
        (void)pthread_join(threads[PRODUCERS + i], NULL);
    assert_int_equal(shared.count, PRODUCERS * EACH);
    assert_int_equal(shared.sum, (uint64_t)PRODUCERS * EACH * (EACH + 1) / 2);
    assert_int_equal(shared.disorder, 0);
    lathe_queue_destroy(shared.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order_and_a_full_queue_says_so),
        cmocka_unit_test(pop_gives_up_when_its_time_is_over),
        cmocka_unit_test(event_is_readable_while_items_wait),
        cmocka_unit_test(a_closed_queue_takes_nothing_and_gives_what_it_has),
        cmocka_unit_test(several_threads_lose_and_repeat_nothing),
    };

    return cmocka_run_group_tests_name("base/queue", tests, NULL, NULL);
}
