/* fuzz_frame.c - any bytes as a frame: never a crash; what is accepted encodes to the same bytes
 * again.
 *
 * The first two bytes say where the block begins. The bytes are tried as they are, then with the
 * right checksum, then with the right sizes too, so that the checks behind these are reached. */
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

static void put_crc(uint8_t *first, size_t size, struct lathe_bytes second)
{
    uint32_t crc = lathe_crc32c(0, lathe_bytes_of(first, 60));

    crc = lathe_crc32c(
        crc, lathe_bytes_of(first + LATHE_FRAME_HEADER_BYTES, size - LATHE_FRAME_HEADER_BYTES));
    lathe_put_u32le(first + 60, lathe_crc32c(crc, second));
}

/* A copy of exactly this size, so that a read past it is seen. */
static uint8_t *copy_of(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size);

    if (copy == NULL)
        abort();
    return size > 0 ? memcpy(copy, data, size) : copy;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *first, *second;
    struct lathe_bytes block;
    size_t cut;

    if (size < 2)
        return 0;
    cut = (size_t)(data[0] | data[1] << 8) % (size - 1);
    first = copy_of(data + 2, cut);
    second = copy_of(data + 2 + cut, size - 2 - cut);
    block = lathe_bytes_of(second, size - 2 - cut);
    decode(lathe_bytes_of(first, cut), block);
    if (cut >= LATHE_FRAME_HEADER_BYTES) {
        put_crc(first, cut, block);
        decode(lathe_bytes_of(first, cut), block);
        lathe_put_u32le(first + 48, (uint32_t)(cut - LATHE_FRAME_HEADER_BYTES));
        lathe_put_u64le(first + 52, block.size);
        put_crc(first, cut, block);
        decode(lathe_bytes_of(first, cut), block);
    }
    free(first);
    free(second);
    return 0;
}
