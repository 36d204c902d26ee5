/* status_details.h - the bytes of grpc-status-details-bin as a failure. */
#ifndef LATHE_CLIENT_STATUS_DETAILS_H
#define LATHE_CLIENT_STATUS_DETAILS_H
#include "common/base/bytes.h"

/* Reads google.rpc.Status: the field of the first BadRequest violation and the delay of RetryInfo
 * go into err. What cannot be read is left out: status and text are there without it. */
void lathe_status_details_decode(struct lathe_bytes details, struct lathe_error *err);
#endif
