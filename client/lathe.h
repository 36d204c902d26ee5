/* lathe.h - liblathe, the C client of Lathe: connections, calls, deadlines and retries.
 *
 * Requests and replies are the messages of lathe.v1 (protobuf-c). A write goes out with the
 * connection's client id and a request number of its own, and is repeated under that number until
 * the server has answered, so it is applied once whatever is lost on the way. */
#ifndef LATHE_CLIENT_LATHE_H
#define LATHE_CLIENT_LATHE_H
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

#include "common/base/status.h"

struct lathe_client;
struct lathe_write_stream;

/* `address`: "host:port" or "unix:path". Does not wait for the server. Threads: any, many at once.
 * RESOURCE_EXHAUSTED: memory is short. */
LATHE_MUST_CHECK enum lathe_status
lathe_client_open(const char *address, struct lathe_client **client_out, struct lathe_error *err);
/* No call may be running and no stream open. */
void lathe_client_close(struct lathe_client **client_p);

/* One unary call, waiting for its answer. `path` is "/lathe.v1.SearchService/Search" and so on.
 * On LATHE_OK *reply_out is the caller's, freed with lathe_client_free_reply(). UNAVAILABLE
 * (and CANCELLED, which a stopping server may say) is tried again with backoff and the same bytes
 * until timeout_ms is over; on failure `err` holds the
 * server's status, text, field and retry hint. Threads: any. */
LATHE_MUST_CHECK enum lathe_status
lathe_client_call(struct lathe_client *client, const char *path, const ProtobufCMessage *request,
                  const ProtobufCMessageDescriptor *reply_type, uint32_t timeout_ms,
                  ProtobufCMessage **reply_out, struct lathe_error *err);
/* Frees a reply of this client's, whole. NULL is fine. Never protobuf-c's own free functions. */
void lathe_client_free_reply(ProtobufCMessage *reply);

/* Who this connection writes as (16 bytes, a version 7 UUID), and the next request number. */
const uint8_t *lathe_client_id(const struct lathe_client *client);
uint64_t lathe_client_next_request(struct lathe_client *client);

/* A stream of writes with at most `window` requests unanswered (at least 1). One thread at a time.
 * Does not wait for the server. */
LATHE_MUST_CHECK enum lathe_status lathe_write_stream_open(struct lathe_client *client,
                                                           uint32_t window,
                                                           struct lathe_write_stream **stream_out,
                                                           struct lathe_error *err);
/* Sends an encoded lathe.v1.WritePointsRequest. The caller first takes answers while the window is
 * full (lathe_write_stream_pending() == window; FAILED_PRECONDITION otherwise). Bytes are copied.
 * Waits while the server is not reading. */
LATHE_MUST_CHECK enum lathe_status lathe_write_stream_send(struct lathe_write_stream *stream,
                                                           const uint8_t *request, size_t size,
                                                           struct lathe_error *err);
uint32_t lathe_write_stream_pending(const struct lathe_write_stream *stream);
/* Waits for the answer to the oldest unanswered request: a lathe.v1.WritePointsResponse, freed with
 * lathe_client_free_reply(). On failure the stream is broken: open a new one and send again, under
 * the same numbers, what was not answered. FAILED_PRECONDITION: nothing is unanswered. */
LATHE_MUST_CHECK enum lathe_status lathe_write_stream_receive(struct lathe_write_stream *stream,
                                                              ProtobufCMessage **reply_out,
                                                              struct lathe_error *err);
void lathe_write_stream_close(struct lathe_write_stream **stream_p);
#endif
