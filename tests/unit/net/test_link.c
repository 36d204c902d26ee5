/* test_link.c - frames over real ZeroMQ sockets, inproc, ipc and tcp, and what garbage does there.
 */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "common/net/link.h"

enum { PATIENCE_US = 10 * 1000 * 1000 };

static struct lathe_frame frame_of(uint16_t kind, uint64_t id, const char *body, size_t block_size)
{
    struct lathe_frame_header header = {.kind = kind, .request_id = id};
    struct lathe_buf body_buf = {0}, block_buf = {0};
    struct lathe_frame frame;

    lathe_buf_append(&body_buf, body, strlen(body));
    if (block_size > 0)
        memset(lathe_buf_extend(&block_buf, block_size), 'b', block_size);
    assert_true(lathe_frame_make(&frame, &header, &body_buf, &block_buf));
    return frame;
}

/* Waits for the next message, however it is judged. */
static enum lathe_status receive(struct lathe_socket *socket, struct lathe_peer *peer,
                                 struct lathe_frame *frame, struct lathe_error *err)
{
    uint64_t until = lathe_now_us(&lathe_system_clock) + PATIENCE_US;
    enum lathe_status status;

    while ((status = lathe_socket_receive(socket, peer, frame, err)) == LATHE_NOT_FOUND &&
           lathe_now_us(&lathe_system_clock) < until)
        lathe_net_wait(&socket, 1, NULL, 0, PATIENCE_US);
    return status;
}

/* Sends until the link is up: a dealer refuses while there is no peer. */
static void send_when_up(struct lathe_socket *dealer, uint16_t kind, uint64_t id, const char *body,
                         size_t block_size)
{
    uint64_t until = lathe_now_us(&lathe_system_clock) + PATIENCE_US;
    enum lathe_status status;

    do {
        struct lathe_frame frame = frame_of(kind, id, body, block_size);

        status = lathe_socket_send(dealer, NULL, &frame);
        assert_null(frame.owner);
        if (status != LATHE_OK)
            lathe_net_wait(&dealer, 1, NULL, 0, 1000);
    } while (status != LATHE_OK && lathe_now_us(&lathe_system_clock) < until);
    assert_int_equal(status, LATHE_OK);
}

struct pair {
    struct lathe_net *net;
    struct lathe_socket *router;
    struct lathe_socket *dealer;
};

static void pair_open(struct pair *pair, const char *endpoint)
{
    pair->net = lathe_net_create();
    assert_non_null(pair->net);
    assert_int_equal(lathe_router_open(pair->net, endpoint, &pair->router, NULL), LATHE_OK);
    assert_int_equal(
        lathe_dealer_open(pair->net, lathe_socket_endpoint(pair->router), &pair->dealer, NULL),
        LATHE_OK);
}

static void pair_close(struct pair *pair)
{
    lathe_socket_close(&pair->dealer);
    lathe_socket_close(&pair->router);
    assert_null(pair->router);
    lathe_net_destroy(pair->net);
}

static void check_round_trip(const char *endpoint)
{
    struct lathe_frame frame;
    struct lathe_peer peer;
    struct pair pair;

    pair_open(&pair, endpoint);
    send_when_up(pair.dealer, LATHE_FRAME_SEARCH, 77, "question", 100000);
    assert_int_equal(receive(pair.router, &peer, &frame, NULL), LATHE_OK);
    assert_true(peer.size > 0);
    assert_int_equal(frame.header.kind, LATHE_FRAME_SEARCH);
    assert_int_equal(frame.header.request_id, 77);
    assert_true(lathe_bytes_equal(frame.body, lathe_bytes_str("question")));
    assert_int_equal(frame.block.size, 100000);
    assert_int_equal(frame.block.data[99999], 'b');
    lathe_frame_fini(&frame);

    frame = frame_of(LATHE_FRAME_SEARCH | LATHE_FRAME_REPLY, 77, "answer", 0);
    assert_int_equal(lathe_socket_send(pair.router, &peer, &frame), LATHE_OK);
    assert_int_equal(receive(pair.dealer, NULL, &frame, NULL), LATHE_OK);
    assert_true(lathe_bytes_equal(frame.body, lathe_bytes_str("answer")));
    assert_int_equal(frame.block.size, 0);
    lathe_frame_fini(&frame);
    assert_int_equal(lathe_socket_receive(pair.dealer, NULL, &frame, NULL), LATHE_NOT_FOUND);
    pair_close(&pair);
}

static void frames_go_there_and_back(void **state)
{
    char *dir = test_dir_create();
    char ipc[512];

    (void)state;
    (void)snprintf(ipc, sizeof(ipc), "ipc://%s/socket", dir);
    check_round_trip("inproc://shard-0");
    check_round_trip(ipc);
    check_round_trip("tcp://127.0.0.1:*");
    test_dir_remove(dir);
}

static void a_block_goes_through_inproc_without_a_copy(void **state)
{
    struct lathe_frame frame;
    struct lathe_peer peer;
    const uint8_t *data;
    struct pair pair;

    (void)state;
    pair_open(&pair, "inproc://copies");
    frame = frame_of(LATHE_FRAME_WRITE, 1, "body", 1 << 20);
    data = frame.block.data;
    assert_int_equal(lathe_socket_send(pair.dealer, NULL, &frame), LATHE_OK);
    assert_int_equal(receive(pair.router, &peer, &frame, NULL), LATHE_OK);
    assert_ptr_equal(frame.block.data, data);
    lathe_frame_fini(&frame);
    pair_close(&pair);
}

static void a_received_frame_can_be_sent_on(void **state)
{
    struct lathe_frame frame;
    struct lathe_peer peer;
    struct pair pair;

    (void)state;
    pair_open(&pair, "inproc://echo");
    send_when_up(pair.dealer, LATHE_FRAME_GET, 9, "again", 500);
    assert_int_equal(receive(pair.router, &peer, &frame, NULL), LATHE_OK);
    frame.header.kind |= LATHE_FRAME_REPLY;
    assert_int_equal(lathe_socket_send(pair.router, &peer, &frame), LATHE_OK);
    assert_int_equal(receive(pair.dealer, NULL, &frame, NULL), LATHE_OK);
    assert_int_equal(frame.header.kind, LATHE_FRAME_GET | LATHE_FRAME_REPLY);
    assert_true(lathe_bytes_equal(frame.body, lathe_bytes_str("again")));
    assert_int_equal(frame.block.size, 500);
    lathe_frame_fini(&frame);
    pair_close(&pair);
}

static void a_dealer_may_be_opened_before_its_router(void **state)
{
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *dealer, *router;
    struct lathe_frame frame;
    struct lathe_peer peer;

    (void)state;
    assert_int_equal(lathe_dealer_open(net, "inproc://later", &dealer, NULL), LATHE_OK);
    assert_int_equal(lathe_router_open(net, "inproc://later", &router, NULL), LATHE_OK);
    send_when_up(dealer, LATHE_FRAME_HELLO, 1, "", 0);
    assert_int_equal(receive(router, &peer, &frame, NULL), LATHE_OK);
    lathe_frame_fini(&frame);
    lathe_socket_close(&dealer);
    lathe_socket_close(&router);
    lathe_net_destroy(net);
}

static void sending_to_nobody_fails_at_once(void **state)
{
    struct lathe_peer stranger = {.size = 5, .bytes = {0, 1, 2, 3, 4}};
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *dealer, *router;
    struct lathe_frame frame;

    (void)state;
    assert_int_equal(lathe_router_open(net, "tcp://127.0.0.1:*", &router, NULL), LATHE_OK);
    frame = frame_of(LATHE_FRAME_GET | LATHE_FRAME_REPLY, 1, "lost", 10);
    assert_int_equal(lathe_socket_send(router, &stranger, &frame), LATHE_UNAVAILABLE);
    assert_null(frame.owner);
    assert_int_equal(lathe_dealer_open(net, "ipc:///nonexistent/lathe", &dealer, NULL), LATHE_OK);
    frame = frame_of(LATHE_FRAME_GET, 1, "lost", 10);
    assert_int_equal(lathe_socket_send(dealer, NULL, &frame), LATHE_UNAVAILABLE);
    assert_null(frame.owner);
    lathe_socket_close(&dealer);
    lathe_socket_close(&router);
    lathe_net_destroy(net);
}

static void a_full_link_says_so_and_keeps_what_it_took(void **state)
{
    struct lathe_frame frame;
    struct lathe_peer peer;
    size_t sent = 0, received = 0;
    struct pair pair;

    (void)state;
    pair_open(&pair, "inproc://full");
    for (;;) {
        frame = frame_of(LATHE_FRAME_GET, sent, "x", sent % 2 * 100);
        if (lathe_socket_send(pair.dealer, NULL, &frame) != LATHE_OK)
            break;
        sent++;
        assert_true(sent < 100000);
    }
    assert_true(sent > 100);
    while (lathe_socket_receive(pair.router, &peer, &frame, NULL) == LATHE_OK) {
        assert_int_equal(frame.header.request_id, received);
        received++;
        lathe_frame_fini(&frame);
    }
    assert_int_equal(received, sent);
    pair_close(&pair);
}

static void a_frame_over_the_limit_is_not_sent(void **state)
{
    struct lathe_frame frame;
    struct pair pair;

    (void)state;
    pair_open(&pair, "inproc://large");
    frame = frame_of(LATHE_FRAME_WRITE, 1, "", (size_t)LATHE_FRAME_MAX_PART_BYTES + 1);
    assert_int_equal(lathe_socket_send(pair.dealer, NULL, &frame), LATHE_RESOURCE_EXHAUSTED);
    assert_null(frame.owner);
    pair_close(&pair);
}

/* ---- Garbage: a plain ZeroMQ socket that sends what it likes --------------------------------- */

struct garbage {
    const char *parts[4];
    size_t count;
};

static void garbage_from_a_peer_is_refused_and_named(void **state)
{
    static const struct garbage all[] = {
        {{""}, 1},
        {{"x"}, 1},
        {{"", "body"}, 2},
        {{"GET / HTTP/1.1\r\nHost: somewhere.example\r\n\r\n and some more to be long enough"}, 1},
        {{"a", "b", "c"}, 3},
        {{"LTHE\001", "b", "c", "d"}, 4},
    };
    void *context = zmq_ctx_new(), *stranger = zmq_socket(context, ZMQ_DEALER);
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *router;
    struct lathe_frame frame;
    struct lathe_error err;
    struct lathe_peer peer;
    int linger = 0;

    (void)state;
    assert_int_equal(lathe_router_open(net, "tcp://127.0.0.1:*", &router, NULL), LATHE_OK);
    (void)zmq_setsockopt(stranger, ZMQ_LINGER, &linger, sizeof(linger));
    assert_int_equal(zmq_connect(stranger, lathe_socket_endpoint(router)), 0);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (size_t j = 0; j < all[i].count; j++)
            assert_true(zmq_send(stranger, all[i].parts[j], strlen(all[i].parts[j]),
                                 j + 1 < all[i].count ? ZMQ_SNDMORE : 0) >= 0);
        err.message[0] = '\0';
        assert_int_equal(receive(router, &peer, &frame, &err), LATHE_INVALID_ARGUMENT);
        assert_string_not_equal(err.message, "");
        assert_int_equal(peer.size, 5);
        assert_null(frame.owner);
    }
    assert_int_equal(lathe_socket_receive(router, &peer, &frame, NULL), LATHE_NOT_FOUND);
    (void)zmq_close(stranger);
    lathe_socket_close(&router);
    lathe_net_destroy(net);
    (void)zmq_ctx_term(context);
}

static void a_peer_with_a_long_name_is_refused(void **state)
{
    void *context = zmq_ctx_new(), *stranger = zmq_socket(context, ZMQ_DEALER);
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *router;
    struct lathe_frame frame;
    struct lathe_peer peer;
    char name[40];
    int linger = 0;

    (void)state;
    memset(name, 'n', sizeof(name));
    assert_int_equal(lathe_router_open(net, "tcp://127.0.0.1:*", &router, NULL), LATHE_OK);
    (void)zmq_setsockopt(stranger, ZMQ_LINGER, &linger, sizeof(linger));
    assert_int_equal(zmq_setsockopt(stranger, ZMQ_ROUTING_ID, name, sizeof(name)), 0);
    assert_int_equal(zmq_connect(stranger, lathe_socket_endpoint(router)), 0);
    assert_true(zmq_send(stranger, "a", 1, ZMQ_SNDMORE) >= 0);
    assert_true(zmq_send(stranger, "b", 1, 0) >= 0);
    assert_int_equal(receive(router, &peer, &frame, NULL), LATHE_INVALID_ARGUMENT);
    assert_int_equal(peer.size, 0);
    assert_int_equal(lathe_socket_receive(router, &peer, &frame, NULL), LATHE_NOT_FOUND);
    (void)zmq_close(stranger);
    lathe_socket_close(&router);
    lathe_net_destroy(net);
    (void)zmq_ctx_term(context);
}

static void endpoints_that_cannot_be_are_named(void **state)
{
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *first, *second;
    struct lathe_error err;

    (void)state;
    assert_int_equal(lathe_router_open(net, "carrier-pigeon://x", &first, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_null(first);
    assert_non_null(strstr(err.message, "carrier-pigeon://x"));
    assert_int_equal(lathe_dealer_open(net, "tcp://", &first, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(lathe_router_open(net, "inproc://taken", &first, NULL), LATHE_OK);
    assert_int_equal(lathe_router_open(net, "inproc://taken", &second, &err),
                     LATHE_FAILED_PRECONDITION);
    assert_non_null(strstr(err.message, "inproc://taken"));
    lathe_socket_close(&first);
    lathe_net_destroy(net);
}

/* ---- Waiting -------------------------------------------------------------------------------- */

static void waiting_ends_for_frames_descriptors_and_time(void **state)
{
    uint64_t one = 1, before;
    struct lathe_frame frame;
    struct lathe_peer peer;
    struct pair pair;
    int fd = eventfd(0, EFD_CLOEXEC);

    (void)state;
    pair_open(&pair, "inproc://wait");
    before = lathe_now_us(&lathe_system_clock);
    lathe_net_wait(&pair.router, 1, &fd, 1, 0);
    lathe_net_wait(&pair.router, 1, &fd, 1, 1500);
    assert_true(lathe_now_us(&lathe_system_clock) - before >= 1500);

    assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
    lathe_net_wait(&pair.router, 1, &fd, 1, UINT64_MAX); /* would never end without the event */
    assert_int_equal(read(fd, &one, sizeof(one)), sizeof(one));

    frame = frame_of(LATHE_FRAME_GET, 1, "", 0);
    assert_int_equal(lathe_socket_send(pair.dealer, NULL, &frame), LATHE_OK);
    lathe_net_wait(&pair.router, 1, &fd, 1, UINT64_MAX);
    assert_int_equal(lathe_socket_receive(pair.router, &peer, &frame, NULL), LATHE_OK);
    lathe_frame_fini(&frame);
    pair_close(&pair);
    (void)close(fd);
}

/* ---- Faults --------------------------------------------------------------------------------- */

static enum lathe_net_fate fate_of(void *context, const struct lathe_frame_header *header)
{
    (*(size_t *)context)++;
    if (header->request_id % 3 == 1)
        return LATHE_NET_DROP;
    return header->request_id % 3 == 2 ? LATHE_NET_DUPLICATE : LATHE_NET_PASS;
}

static void a_fault_hook_drops_and_duplicates(void **state)
{
    static const uint64_t expected[] = {0, 2, 2, 3, 5, 5};
    size_t asked = 0;
    struct lathe_net_fault fault = {fate_of, &asked};
    struct lathe_net *net = lathe_net_create();
    struct lathe_socket *dealer, *router;
    struct lathe_frame frame;
    struct lathe_peer peer;

    (void)state;
    lathe_net_set_fault(net, &fault);
    assert_int_equal(lathe_router_open(net, "inproc://faulty", &router, NULL), LATHE_OK);
    assert_int_equal(lathe_dealer_open(net, "inproc://faulty", &dealer, NULL), LATHE_OK);
    for (uint64_t id = 0; id < 6; id++) {
        frame = frame_of(LATHE_FRAME_GET, id, "body", id * 1000);
        assert_int_equal(lathe_socket_send(dealer, NULL, &frame), LATHE_OK);
        assert_null(frame.owner);
    }
    assert_int_equal(asked, 6);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        assert_int_equal(receive(router, &peer, &frame, NULL), LATHE_OK);
        assert_int_equal(frame.header.request_id, expected[i]);
        assert_int_equal(frame.block.size, expected[i] * 1000);
        lathe_frame_fini(&frame);
    }
    assert_int_equal(lathe_socket_receive(router, &peer, &frame, NULL), LATHE_NOT_FOUND);
    lathe_socket_close(&dealer);
    lathe_socket_close(&router);
    lathe_net_destroy(net);
}

/* ---- Threads -------------------------------------------------------------------------------- */

enum { THREADED_FRAMES = 3000 };

struct echo {
    struct lathe_net *net;
    const char *endpoint;
    size_t seen;
    bool failed;
};

/* Answers every frame with its own bytes doubled, until a RELEASE comes. */
static void *echo_run(void *context)
{
    struct echo *echo = context;
    struct lathe_socket *router;
    bool done = false;

    if (lathe_router_open(echo->net, echo->endpoint, &router, NULL) != LATHE_OK) {
        echo->failed = true;
        return NULL;
    }
    while (!done) {
        struct lathe_frame frame, answer;
        struct lathe_buf body = {0}, block = {0};
        struct lathe_frame_header header;
        struct lathe_peer peer;

        lathe_net_wait(&router, 1, NULL, 0, UINT64_MAX);
        if (lathe_socket_receive(router, &peer, &frame, NULL) != LATHE_OK)
            continue;
        done = frame.header.kind == LATHE_FRAME_RELEASE;
        echo->seen++;
        header = lathe_frame_answer_header(&frame.header, frame.header.kind);
        lathe_buf_append(&body, frame.body.data, frame.body.size);
        lathe_buf_append(&block, frame.block.data, frame.block.size);
        for (size_t i = 0; i < block.size; i++)
            block.data[i] = (uint8_t)(block.data[i] * 2);
        lathe_frame_fini(&frame);
        if (!lathe_frame_make(&answer, &header, &body, &block))
            echo->failed = true;
        if (done)
            lathe_frame_fini(&answer);
        else if (lathe_socket_send(router, &peer, &answer) != LATHE_OK)
            echo->failed = true;
    }
    lathe_socket_close(&router);
    return NULL;
}

static void check_threads(const char *endpoint)
{
    struct echo echo = {.net = lathe_net_create(), .endpoint = endpoint};
    struct lathe_socket *dealer;
    struct lathe_frame frame;
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, echo_run, &echo), 0);
    assert_int_equal(lathe_dealer_open(echo.net, endpoint, &dealer, NULL), LATHE_OK);
    for (uint64_t id = 0; id < THREADED_FRAMES; id += 100) {
        for (uint64_t i = id; i < id + 100; i++)
            send_when_up(dealer, LATHE_FRAME_GET, i, "text", i % 700);
        for (uint64_t i = id; i < id + 100; i++) {
            assert_int_equal(receive(dealer, NULL, &frame, NULL), LATHE_OK);
            assert_int_equal(frame.header.request_id, i);
            assert_int_equal(frame.block.size, i % 700);
            for (size_t j = 0; j < frame.block.size; j++)
                assert_int_equal(frame.block.data[j], (uint8_t)('b' * 2));
            lathe_frame_fini(&frame);
        }
    }
    send_when_up(dealer, LATHE_FRAME_RELEASE, 0, "", 0);
    (void)pthread_join(thread, NULL);
    assert_false(echo.failed);
    assert_int_equal(echo.seen, THREADED_FRAMES + 1);
    lathe_socket_close(&dealer);
    lathe_net_destroy(echo.net);
}

static void two_threads_exchange_frames_without_a_race(void **state)
{
    char *dir = test_dir_create();
    char ipc[512];

    (void)state;
    (void)snprintf(ipc, sizeof(ipc), "ipc://%s/socket", dir);
    check_threads("inproc://threads");
    check_threads(ipc);
    test_dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_go_there_and_back),
        cmocka_unit_test(a_block_goes_through_inproc_without_a_copy),
        cmocka_unit_test(a_received_frame_can_be_sent_on),
        cmocka_unit_test(a_dealer_may_be_opened_before_its_router),
        cmocka_unit_test(sending_to_nobody_fails_at_once),
        cmocka_unit_test(a_full_link_says_so_and_keeps_what_it_took),
        cmocka_unit_test(a_frame_over_the_limit_is_not_sent),
        cmocka_unit_test(garbage_from_a_peer_is_refused_and_named),
        cmocka_unit_test(a_peer_with_a_long_name_is_refused),
        cmocka_unit_test(endpoints_that_cannot_be_are_named),
        cmocka_unit_test(waiting_ends_for_frames_descriptors_and_time),
        cmocka_unit_test(a_fault_hook_drops_and_duplicates),
        cmocka_unit_test(two_threads_exchange_frames_without_a_race),
    };

    return cmocka_run_group_tests_name("net/link", tests, NULL, NULL);
}
