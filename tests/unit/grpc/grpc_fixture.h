/* grpc_fixture.h - a real server with small handlers, and a connection to it.
 *
 * Methods under /test.T/: Echo (the request back), Fail (a failure with every detail), Hold (kept
 * until the test answers it), Timed (default deadline 40 ms, answered CANCELLED from on_cancel),
 * Size (as many bytes as the request's text says), Deadline (the ms left, as text, or "none"),
 * Stream (an echo of each message; "next-is-mine" is kept until the test asks for the next, "fail"
 * fails it).
 *
 * And of lathe.v1, for the client: ServerService/GetInfo (UNAVAILABLE as often as asked) and
 * PointService/StreamWrites (answers each request's number; number 999 ends the stream). */
#ifndef LATHE_TESTS_GRPC_FIXTURE_H
#define LATHE_TESTS_GRPC_FIXTURE_H
#include <pthread.h>
#include <stdbool.h>

#include "client/grpc_client.h"
#include "coordinator/grpc_server.h"
#include "tests/support/test.h"

enum { FIXTURE_HELD_MAX = 512 };

struct fixture {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct lathe_grpc_server *server;
    struct lathe_channel *channel;
    struct lathe_budget budget;
    char address[256];
    /* Under the lock. */
    struct lathe_call *held[FIXTURE_HELD_MAX];
    unsigned held_count;
    unsigned echoed;
    unsigned cancelled;
    unsigned opened, messages, half_closed, gone, destroyed;
    unsigned unavailable_left; /* so many GetInfo calls are answered UNAVAILABLE */
    unsigned info_calls;
    bool info_differed; /* two GetInfo requests with different bytes */
    struct lathe_buf info_request;
    struct lathe_call *first_stream; /* the first one opened */
    bool stream_waits;               /* its message was not given back yet */
};

struct fixture_options {
    const char *listen; /* NULL: a free port */
    uint32_t in_flight_calls;
    uint64_t in_flight_bytes;
};

/* Starts server and connection; every option may be 0. */
struct fixture *fixture_start(const struct fixture_options *options);
/* Answers what is held, then stops and frees all. */
void fixture_stop(struct fixture *fixture);

/* Waits until *counter >= wanted; false after 20 s. */
bool fixture_wait(struct fixture *fixture, const unsigned *counter, unsigned wanted);
unsigned fixture_get(struct fixture *fixture, const unsigned *counter);
/* Answers every held call: OK with its own text, or with err. */
void fixture_release(struct fixture *fixture, const struct lathe_error *err);

/* A call of /test.T/<method> over `channel`. The reply is compared to `expected` if it is not NULL.
 */
enum lathe_status fixture_call(struct lathe_channel *channel, const char *path, const char *request,
                               const char *expected, struct lathe_error *err);

/* Calls from other threads. */
struct caller {
    pthread_t thread;
    struct lathe_channel *channel;
    const char *path;
    struct lathe_buf request;
    uint32_t timeout_ms;
    unsigned count; /* calls, one after the other; 0 = until one fails */
    unsigned ok;
    unsigned echo_differed;
    enum lathe_status status; /* of the last call */
    struct lathe_error err;
};

void caller_start(struct caller *caller, struct fixture *fixture, const char *path, size_t size,
                  unsigned count);
void caller_join(struct caller *caller); /* frees the request */
#endif
