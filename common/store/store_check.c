/* store_check.c - finds the one kind of damage that RocksDB takes for an interrupted write.
 *
 * The manifest and the write-ahead log are sequences of records in blocks of 32 KiB: masked crc32c
 * of type and data (4 bytes), length of the data (2), type (1), data; little-endian. A record that
 * reaches beyond the end of the file was being written when the machine stopped, so it was never
 * acknowledged and RocksDB ends there without a word. A wrong byte in the length of a record in the
 * last block looks the same, and everything from there on would be lost silently: acknowledged
 * writes in the log, whole tables in the manifest.
 *
 * The checksum does not cover the length, so the two can be told apart: if some shorter length
 * makes the checksum right, and what follows is the end of the file or another record, the record
 * is complete and its length is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/store/store_internal.h"

enum { BLOCK_BYTES = 32768, HEADER_BYTES = 7, TYPE_AT = 6, LENGTH_AT = 4 };

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

static bool last_block_is_damaged(const uint8_t *block, size_t size)
{
    const uint8_t *at = block;
    size_t left = size;

    while (left >= HEADER_BYTES) {
        size_t length = record_length(at);

        if (length > left - HEADER_BYTES)
            return length_is_wrong(at, left);
        at += HEADER_BYTES + length;
        left -= HEADER_BYTES + length;
    }
    return false;
}

/* Reads what lies behind the last whole block of a file. */
static enum lathe_status read_last_block(const char *path, uint8_t block[BLOCK_BYTES],
                                         size_t *size_out, struct lathe_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    ssize_t got = -1;

    *size_out = 0;
    if (fd >= 0 && fstat(fd, &info) == 0)
        got = pread(fd, block, BLOCK_BYTES, info.st_size / BLOCK_BYTES * BLOCK_BYTES);
    if (got < 0)
        (void)lathe_fail(err, LATHE_INTERNAL, "check %s: %s", path, strerror(errno));
    else
        *size_out = (size_t)got;
    if (fd >= 0)
        (void)close(fd);
    return got < 0 ? LATHE_INTERNAL : LATHE_OK;
}

enum lathe_status lathe_store_check_log(const char *path, struct lathe_error *err)
{
    uint8_t block[BLOCK_BYTES];
    size_t size = 0;
    enum lathe_status status = read_last_block(path, block, &size, err);

    if (status == LATHE_OK && last_block_is_damaged(block, size))
        status = lathe_fail(err, LATHE_DATA_LOSS,
                            "Corruption: %s: the length of a record in the last %zu bytes is wrong",
                            path, size);
    return status;
}
