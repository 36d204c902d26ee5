/* fuzz_message.c - any bytes as a message of each kind that comes from outside: never a crash;
 * memory stays under the limit; short input never fails for memory (then the check before unpacking
 * and protobuf-c would disagree); and what is accepted encodes, and decodes again. The first byte
 * picks the message. */
#include <stdlib.h>

#include "common/net/message.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/points.pb-c.h"
#include "lathe/v1/search.pb-c.h"
#include "shard.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const descriptors[] = {
    &lathe__v1__write_points_request__descriptor,
    &lathe__v1__create_collection_request__descriptor,
    &lathe__v1__search_request__descriptor,
    &lathe__v1__get_points_request__descriptor,
    &lathe__v1__list_points_request__descriptor,
    &lathe__shard__hello__descriptor,
    &lathe__shard__sync__descriptor,
    &lathe__shard__write__descriptor,
    &lathe__shard__write_reply__descriptor,
    &lathe__shard__search__descriptor,
    &lathe__shard__search_reply__descriptor,
    &lathe__shard__points__descriptor,
    &lathe__shard__failure__descriptor,
    &lathe__shard__stats_reply__descriptor,
};

enum { SMALL_LIMIT = 3000, LARGE_LIMIT = 16 << 20, SHORT_INPUT = 8192 };

static void decode(const ProtobufCMessageDescriptor *descriptor, struct lathe_bytes bytes,
                   size_t limit, bool again)
{
    struct lathe_buf buf = {0};
    struct lathe_arena arena;
    ProtobufCMessage *message;
    struct lathe_error err = {0};
    enum lathe_status status;

    lathe_arena_init(&arena, limit);
    status = lathe_message_decode(descriptor, bytes, &arena, &message, &err);
    if (arena.used_bytes > limit || (status == LATHE_OK) != (message != NULL))
        abort();
    if (status != err.status)
        abort();
    if (limit == LARGE_LIMIT && bytes.size <= SHORT_INPUT && status == LATHE_RESOURCE_EXHAUSTED)
        abort();
    if (status == LATHE_OK) {
        lathe_message_encode(message, &buf);
        if (again)
            decode(descriptor, lathe_buf_view(&buf), LARGE_LIMIT, false);
    } else if (limit == LARGE_LIMIT && !again) {
        abort(); /* what we have encoded ourselves must decode */
    }
    lathe_buf_fini(&buf);
    lathe_arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const ProtobufCMessageDescriptor *descriptor;
    struct lathe_bytes bytes;

    if (size == 0)
        return 0;
    descriptor = descriptors[data[0] % (sizeof(descriptors) / sizeof(descriptors[0]))];
    bytes = lathe_bytes_of(data + 1, size - 1);
    decode(descriptor, bytes, LARGE_LIMIT, true);
    decode(descriptor, bytes, SMALL_LIMIT, true);
    return 0;
}
