/* grpc_client.h - the one door to gRPC on the client's side: bytes out, bytes in.
 *
 * Knows nothing of Lathe's messages, retries or windows. */
#ifndef LATHE_CLIENT_GRPC_CLIENT_H
#define LATHE_CLIENT_GRPC_CLIENT_H
#include "common/base/bytes.h"

struct lathe_channel;
struct lathe_channel_stream;

/* Does not wait for the server. NULL when memory is short. Threads: any, many at once. */
struct lathe_channel *lathe_channel_open(const char *address);
/* No call and no stream may be using the channel any more. */
void lathe_channel_close(struct lathe_channel *channel);

/* One unary call. On LATHE_OK the reply's bytes are in `reply` (which the caller frees, also after
 * a failure). On failure err holds the server's status, text, field and retry hint, or gRPC's own.
 * Blocks at most timeout_ms (UINT32_MAX: without limit, and without a deadline for the server). */
LATHE_MUST_CHECK enum lathe_status lathe_channel_call(struct lathe_channel *channel,
                                                      const char *path, struct lathe_bytes request,
                                                      uint32_t timeout_ms, struct lathe_buf *reply,
                                                      struct lathe_error *err);

/* A bidirectional stream without a deadline. One thread at a time. */
LATHE_MUST_CHECK enum lathe_status
lathe_channel_stream_open(struct lathe_channel *channel, const char *path,
                          struct lathe_channel_stream **stream_out, struct lathe_error *err);
/* Sends a message. Answers that come meanwhile are kept, so that a server that waits for its
 * answers to be taken does not hold the sending up. */
LATHE_MUST_CHECK enum lathe_status lathe_channel_stream_send(struct lathe_channel_stream *stream,
                                                             struct lathe_bytes message,
                                                             struct lathe_error *err);
/* Waits for the next answer. A failure is the stream's end: UNAVAILABLE if the server ended it with
 * success. */
LATHE_MUST_CHECK enum lathe_status lathe_channel_stream_receive(struct lathe_channel_stream *stream,
                                                                struct lathe_buf *message_out,
                                                                struct lathe_error *err);
/* With `finish` the server gets a moment to end the stream itself, as success. Frees the stream. */
void lathe_channel_stream_close(struct lathe_channel_stream *stream, bool finish);
#endif
