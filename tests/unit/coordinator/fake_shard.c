/* fake_shard.c - see fake_shard.h. */
#include "tests/support/test.h"

#include "tests/unit/coordinator/fake_shard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/net/message.h"
#include "shard.pb-c.h"

enum { PATIENCE_S = 20 };

/* What a thread of the shard has that others must not see. */
struct server {
    struct fake_shard *shard;
    struct lathe_socket *router;
    struct lathe_peer late_peer;
    struct lathe_frame late; /* an answer kept back */
};

static void require(bool condition)
{
    if (!condition)
        abort(); /* cmocka's own assertions work in the test's thread only */
}

static void send(struct server *server, const struct lathe_peer *peer, struct lathe_frame *frame)
{
    enum lathe_status status = lathe_socket_send(server->router, peer, frame);

    (void)status; /* an engine that has gone asks for nothing */
}

static void send_message(struct server *server, const struct lathe_peer *peer,
                         const struct lathe_frame_header *header, const ProtobufCMessage *message)
{
    struct lathe_buf body = {0};
    struct lathe_frame frame;

    lathe_message_encode(message, &body);
    require(lathe_frame_make(&frame, header, &body, NULL));
    send(server, peer, &frame);
}

static void answer_hello(struct server *server, const struct lathe_peer *peer,
                         const struct lathe_frame *frame)
{
    struct lathe_frame_header header = lathe_frame_answer_header(&frame->header, LATHE_FRAME_HELLO);
    Lathe__Shard__HelloReply reply = LATHE__SHARD__HELLO_REPLY__INIT;

    reply.protocol = LATHE_FRAME_VERSION;
    reply.shard = server->shard->number;
    reply.kernel = "none";
    send_message(server, peer, &header, &reply.base);
}

static void answer_failure(struct server *server, const struct lathe_peer *peer,
                           const struct lathe_frame *frame)
{
    struct lathe_frame_header header = lathe_frame_answer_header(&frame->header, LATHE_FRAME_ERROR);
    Lathe__Shard__Failure failure = LATHE__SHARD__FAILURE__INIT;

    failure.stale_route = frame->header.collection == STALE;
    failure.status = failure.stale_route ? LATHE_FAILED_PRECONDITION : LATHE_RESOURCE_EXHAUSTED;
    failure.message = "as the test wants";
    send_message(server, peer, &header, &failure.base);
}

static struct lathe_frame echo_of(const struct lathe_frame *frame, uint64_t request_id)
{
    struct lathe_frame_header header = lathe_frame_answer_header(&frame->header,
                                                                 frame->header.kind);
    struct lathe_buf body = {0}, block = {0};
    struct lathe_frame answer;

    header.request_id = request_id;
    lathe_buf_append(&body, frame->body.data, frame->body.size);
    lathe_buf_append(&block, frame->block.data, frame->block.size);
    require(lathe_frame_make(&answer, &header, &body, &block));
    return answer;
}

static void answer_echo(struct server *server, const struct lathe_peer *peer,
                        const struct lathe_frame *frame, uint64_t request_id)
{
    struct lathe_frame answer = echo_of(frame, request_id);

    send(server, peer, &answer);
}

static void late_give(struct server *server)
{
    if (server->late.owner != NULL)
        send(server, &server->late_peer, &server->late);
}

static void answer_request(struct server *server, const struct lathe_peer *peer,
                           const struct lathe_frame *frame)
{
    uint64_t id = frame->header.request_id;

    switch ((enum behaviour)frame->header.collection) {
    case SILENT:
        return;
    case TWICE:
        answer_echo(server, peer, frame, id);
        break;
    case FAILING:
    case STALE:
        answer_failure(server, peer, frame);
        return;
    case LATE:
        server->late_peer = *peer;
        server->late = echo_of(frame, id);
        return;
    case ALIEN:
        answer_echo(server, peer, frame, id + (7ull << 32));
        answer_echo(server, peer, frame, UINT64_MAX - 1);
        break;
    case ECHO:
    case BEHAVIOURS:
        break;
    }
    answer_echo(server, peer, frame, id);
}

/* Counts a frame, for the tests. */
static void note(struct fake_shard *shard, const struct lathe_frame_header *header)
{
    (void)pthread_mutex_lock(&shard->mutex);
    if (header->kind == LATHE_FRAME_HELLO) {
        shard->hellos++;
    } else if (header->kind == LATHE_FRAME_CANCEL) {
        shard->cancels++;
        shard->last_cancel = header->request_id;
    } else if (header->kind == LATHE_FRAME_RELEASE) {
        shard->releases++;
        shard->last_release = header->request_id;
    } else {
        shard->requests++;
        shard->last_budget_us = header->budget_us;
        shard->last_kind = header->kind;
    }
    (void)pthread_cond_broadcast(&shard->changed);
    (void)pthread_mutex_unlock(&shard->mutex);
}

static void serve(struct server *server)
{
    struct lathe_frame frame;
    struct lathe_peer peer;

    while (lathe_socket_receive(server->router, &peer, &frame, NULL) == LATHE_OK) {
        late_give(server);
        if (frame.header.kind == LATHE_FRAME_HELLO)
            answer_hello(server, &peer, &frame);
        else if (frame.header.kind != LATHE_FRAME_CANCEL &&
                 frame.header.kind != LATHE_FRAME_RELEASE)
            answer_request(server, &peer, &frame);
        note(server->shard, &frame.header);
        lathe_frame_fini(&frame);
    }
}

static void *run(void *argument)
{
    struct server server = {.shard = argument};
    struct fake_shard *shard = server.shard;
    uint64_t stop;

    require(lathe_router_open(shard->net, shard->endpoint, &server.router, NULL) == LATHE_OK);
    (void)pthread_mutex_lock(&shard->mutex);
    shard->open = true;
    (void)pthread_cond_broadcast(&shard->changed);
    (void)pthread_mutex_unlock(&shard->mutex);
    while (read(shard->stop_fd, &stop, sizeof(stop)) < 0) {
        lathe_net_wait(&server.router, 1, &shard->stop_fd, 1, UINT64_MAX);
        serve(&server);
    }
    lathe_frame_fini(&server.late);
    lathe_socket_close(&server.router);
    return NULL;
}

void fake_shard_start(struct fake_shard *shard, struct lathe_net *net, const char *endpoint,
                      uint32_t number)
{
    *shard = (struct fake_shard){.net = net, .endpoint = endpoint, .number = number};
    shard->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(shard->stop_fd >= 0);
    (void)pthread_mutex_init(&shard->mutex, NULL);
    (void)pthread_cond_init(&shard->changed, NULL);
    assert_int_equal(pthread_create(&shard->thread, NULL, run, shard), 0);
    (void)pthread_mutex_lock(&shard->mutex);
    while (!shard->open)
        (void)pthread_cond_wait(&shard->changed, &shard->mutex);
    (void)pthread_mutex_unlock(&shard->mutex);
}

void fake_shard_stop(struct fake_shard *shard)
{
    uint64_t one = 1;

    assert_int_equal(write(shard->stop_fd, &one, sizeof(one)), sizeof(one));
    (void)pthread_join(shard->thread, NULL);
    (void)close(shard->stop_fd);
    (void)pthread_cond_destroy(&shard->changed);
    (void)pthread_mutex_destroy(&shard->mutex);
}

size_t fake_shard_count(struct fake_shard *shard, const size_t *count)
{
    size_t seen;

    (void)pthread_mutex_lock(&shard->mutex);
    seen = *count;
    (void)pthread_mutex_unlock(&shard->mutex);
    return seen;
}

void fake_shard_wait(struct fake_shard *shard, const size_t *count, size_t wanted)
{
    struct timespec until;
    int failed = 0;
    size_t seen;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PATIENCE_S;
    (void)pthread_mutex_lock(&shard->mutex);
    while (*count < wanted && failed == 0)
        failed = pthread_cond_timedwait(&shard->changed, &shard->mutex, &until);
    seen = *count;
    (void)pthread_mutex_unlock(&shard->mutex);
    assert_true(seen >= wanted);
}
