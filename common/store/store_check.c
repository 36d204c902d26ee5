/* store_check.c - finds the damage that RocksDB takes for an interrupted write.
 *
 * The manifest and the write-ahead log are sequences of records in blocks of 32 KiB: masked crc32c
 * of type and data (4 bytes), length of the data (2), type (1), data; little-endian. RocksDB ends
 * without a word where a record reaches beyond the end of the file, which is how a write looks that
 * was interrupted and never acknowledged. Two wrong bytes look the same, and everything behind them
 * would be lost silently, acknowledged writes in the log, whole tables in the manifest:
 *   - a length in the last block that became too large;
 *   - a type that became that of a recycled log (5 to 8), of which we write none.
 * The checksum tells them apart. It does not cover the length: if a shorter one makes it right, and
 * behind that comes the end of the file or another whole record, the length is wrong. And if one of
 * the four types in use makes it right, the type is wrong. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/base/hash.h"
#include "common/store/store_internal.h"

enum { BLOCK_BYTES = 32768, HEADER_BYTES = 7, TYPE_AT = 6, LENGTH_AT = 4, MAX_TYPE = 4 };

static uint32_t mask_crc(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

static size_t record_length(const uint8_t *header)
{
    return (size_t)header[LENGTH_AT] | (size_t)header[LENGTH_AT + 1] << 8;
}

/* True if a whole record with the right checksum begins here. */
static bool record_is_right(const uint8_t *at, size_t left)
{
    size_t length;

    if (left < HEADER_BYTES)
        return false;
    length = record_length(at);
    return length <= left - HEADER_BYTES &&
           mask_crc(lathe_crc32c(0, lathe_bytes_of(at + TYPE_AT, 1 + length))) ==
               lathe_get_u32le(at);
}

/* True if the record at `at`, whose length reaches beyond the `left` bytes, is complete with a
 * shorter one. */
static bool length_is_wrong(const uint8_t *at, size_t left)
{
    uint32_t want = lathe_get_u32le(at);
    uint32_t crc = lathe_crc32c(0, lathe_bytes_of(at + TYPE_AT, 1));

    for (size_t length = 0; HEADER_BYTES + length <= left; length++) {
        const uint8_t *end = at + HEADER_BYTES + length;
        size_t behind = left - HEADER_BYTES - length;

        if (mask_crc(crc) == want && (behind == 0 || record_is_right(end, behind)))
            return true;
        if (behind > 0)
            crc = lathe_crc32c(crc, lathe_bytes_of(end, 1));
    }
    return false;
}

/* True if the record is complete and only its type is that of a recycled log. */
static bool type_is_wrong(const uint8_t *at, size_t length)
{
    for (uint8_t type = 1; type <= MAX_TYPE; type++) {
        uint32_t crc = lathe_crc32c(0, lathe_bytes_of(&type, 1));

        crc = lathe_crc32c(crc, lathe_bytes_of(at + HEADER_BYTES, length));
        if (mask_crc(crc) == lathe_get_u32le(at))
            return true;
    }
    return false;
}

static bool block_is_damaged(const uint8_t *block, size_t size)
{
    const uint8_t *at = block;
    size_t left = size;

    while (left >= HEADER_BYTES) {
        size_t length = record_length(at);

        if (length > left - HEADER_BYTES)
            return length_is_wrong(at, left);
        if (at[TYPE_AT] > MAX_TYPE && type_is_wrong(at, length))
            return true;
        at += HEADER_BYTES + length;
        left -= HEADER_BYTES + length;
    }
    return false;
}

enum lathe_status lathe_store_check_log(const char *path, struct lathe_error *err)
{
    uint8_t block[BLOCK_BYTES];
    FILE *file = fopen(path, "rbe");
    enum lathe_status status = LATHE_OK;
    uint64_t offset = 0;
    size_t size;

    if (file == NULL)
        return lathe_fail(err, LATHE_INTERNAL, "check %s: %s", path, strerror(errno));
    while (status == LATHE_OK && (size = fread(block, 1, sizeof(block), file)) > 0) {
        if (block_is_damaged(block, size))
            status = lathe_fail(err, LATHE_DATA_LOSS,
                                "Corruption: %s: a record between bytes %llu and %llu has a wrong "
                                "header",
                                path, (unsigned long long)offset,
                                (unsigned long long)(offset + size));
        offset += size;
    }
    if (status == LATHE_OK && ferror(file) != 0)
        status = lathe_fail(err, LATHE_INTERNAL, "check %s: %s", path, strerror(errno));
    (void)fclose(file);
    return status;
}
