/* fuzz_frame.c - any bytes as a frame: never a crash; what is accepted encodes to the same bytes
 * again.
 *
 * The first two bytes say where the block begins. If the checksum is all that is wrong, it is made
 * right, so that the checks behind it are reached. */
#include <stdlib.h>

#include "common/base/hash.h"
#include "common/net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decodes, and checks that encoding gives the same bytes. */
static void decode(struct lathe_bytes first, struct lathe_bytes second)
{
    uint8_t again[LATHE_FRAME_HEADER_BYTES];
    struct lathe_frame_header header;
    struct lathe_bytes body, block;

    if (lathe_frame_decode(first, second, &header, &body, &block, NULL) != LATHE_OK)
        return;
    if (body.size + LATHE_FRAME_HEADER_BYTES != first.size || block.size != second.size)
        abort();
    lathe_frame_encode_header(&header, body, block, again);
    if (memcmp(again, first.data, sizeof(again)) != 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lathe_bytes first, second;
    uint8_t *copy;
    uint32_t crc;
    size_t cut;

    if (size < 2)
        return 0;
    cut = (size_t)(data[0] | data[1] << 8) % (size - 1);
    copy = malloc(size - 2 + 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, data + 2, size - 2);
    first = lathe_bytes_of(copy, cut);
    second = lathe_bytes_of(copy + cut, size - 2 - cut);
    decode(first, second);
    if (cut >= LATHE_FRAME_HEADER_BYTES) {
        crc = lathe_crc32c(0, lathe_bytes_of(copy, 60));
        crc = lathe_crc32c(crc, lathe_bytes_of(copy + 64, cut - 64));
        crc = lathe_crc32c(crc, second);
        lathe_put_u32le(copy + 60, crc);
        lathe_put_u32le(copy + 48, (uint32_t)(cut - 64));
        lathe_put_u64le(copy + 52, second.size);
        decode(first, second);
        crc = lathe_crc32c(0, lathe_bytes_of(copy, 60));
        crc = lathe_crc32c(crc, lathe_bytes_of(copy + 64, cut - 64));
        crc = lathe_crc32c(crc, second);
        lathe_put_u32le(copy + 60, crc);
        decode(first, second);
    }
    free(copy);
    return 0;
}
