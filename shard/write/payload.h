/* payload.h - operations on stored payloads: encoded lathe.v1.Object messages. Pure. */
#ifndef LATHE_SHARD_PAYLOAD_H
#define LATHE_SHARD_PAYLOAD_H
#include "common/base/bytes.h"

/* INVALID_ARGUMENT: the bytes are no encoded object. RESOURCE_EXHAUSTED: memory is short. */
LATHE_MUST_CHECK enum lathe_status lathe_payload_check(struct lathe_bytes payload,
                                                       struct lathe_error *err);

/* Appends `base` with the top-level keys of `patch` put in: existing keys keep their place, new
 * ones come last. DATA_LOSS: `base` is malformed; INVALID_ARGUMENT: `patch` is. */
LATHE_MUST_CHECK enum lathe_status lathe_payload_merge(struct lathe_bytes base,
                                                       struct lathe_bytes patch,
                                                       struct lathe_buf *out,
                                                       struct lathe_error *err);

/* Appends `base` without the given top-level keys; keys that are not there do not matter. */
LATHE_MUST_CHECK enum lathe_status lathe_payload_remove(struct lathe_bytes base,
                                                        const struct lathe_bytes *keys,
                                                        size_t key_count, struct lathe_buf *out,
                                                        struct lathe_error *err);
#endif
