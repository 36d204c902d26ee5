/* fake_client.h - stands in for the client library: calls and write streams answered by the test.
 */
#ifndef LATHE_TESTS_UNIT_CLI_FAKE_CLIENT_H
#define LATHE_TESTS_UNIT_CLI_FAKE_CLIENT_H
#include "client/lathe.h"
#include "lathe/v1/points.pb-c.h"

/* What the test answers with; reset by fake_reset(). */
struct fake_server {
    /* A unary call. The reply may be on the stack: it is copied. */
    enum lathe_status (*call)(const char *path, const ProtobufCMessage *request,
                              struct lathe_error *err);
    /* A request of a stream. False: the connection breaks. */
    bool (*write)(const Lathe__V1__WritePointsRequest *request,
                  Lathe__V1__WritePointsResponse *response_out);
    /* Before an answer is taken. False: the connection breaks, and unread answers are lost. */
    bool (*answer)(void);
    enum lathe_status broken_status; /* what a broken connection says; default UNAVAILABLE */

    char address[64];    /* of the last lathe_client_open() */
    uint32_t timeout_ms; /* of the last call */
    unsigned clients;    /* open now */
    unsigned streams;    /* open now */
    unsigned streams_opened;
    uint32_t pending_most; /* unanswered requests at once */
};

extern struct fake_server fake;

void fake_reset(void);
/* Sets the reply of the call in progress to a copy of `message`. */
void fake_reply(const ProtobufCMessage *message);
#endif
