/* authorise.h - the one decision about who may call what. */
#ifndef LATHE_COORDINATOR_GRPC_AUTHORISE_H
#define LATHE_COORDINATOR_GRPC_AUTHORISE_H
#include "common/base/bytes.h"

/* Asked once for every RPC (health, reflection and unknown paths too), before its handler and
 * before its request is looked at. `path` is "/package.Service/Method" as the client sent it: bytes
 * from outside. Anything but LATHE_OK is the call's answer; err then says why. Threads: any. */
LATHE_MUST_CHECK enum lathe_status lathe_authorise(struct lathe_bytes path,
                                                   struct lathe_error *err);
#endif
