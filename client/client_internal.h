/* client_internal.h - what the files of the client share. */
#ifndef LATHE_CLIENT_INTERNAL_H
#define LATHE_CLIENT_INTERNAL_H
#include <stdatomic.h>

#include "client/grpc_client.h"
#include "client/lathe.h"

struct lathe_client {
    struct lathe_channel *channel;
    uint8_t id[16];
    _Atomic uint64_t next_request;
};

/* Decodes the bytes of a reply. The message is freed with lathe_client_free_reply(). INTERNAL: the
 * bytes are no such message. */
LATHE_MUST_CHECK enum lathe_status lathe_client_decode(const ProtobufCMessageDescriptor *type,
                                                       struct lathe_bytes bytes,
                                                       ProtobufCMessage **reply_out,
                                                       struct lathe_error *err);
#endif
