/* grpc_details.h - a failure as google.rpc.Status, the bytes of grpc-status-details-bin. */
#ifndef LATHE_COORDINATOR_GRPC_DETAILS_H
#define LATHE_COORDINATOR_GRPC_DETAILS_H
#include "common/base/bytes.h"

/* True if the failure has more to say than status and text: a field or a retry hint. */
bool lathe_grpc_has_details(const struct lathe_error *err);

/* Appends the encoded google.rpc.Status: BadRequest if err names a field, RetryInfo if it has a
 * hint. The texts must be valid UTF-8. buf->failed tells of lacking memory. */
void lathe_grpc_details_encode(const struct lathe_error *err, struct lathe_buf *buf);

/* Replaces what is not UTF-8 (a text that was cut inside a character, bytes a client sent) by '?'.
 */
void lathe_grpc_text_clean(char *text);
#endif
