/* store_check.c - finds the damage that RocksDB takes for an interrupted write, and the interrupted
 * write that RocksDB takes for damage. Reasons: docs/decisions/0007.
 *
 * The manifest and the write-ahead log are sequences of records in blocks of 32 KiB: masked crc32c
 * of type and data (4 bytes), length of the data (2), type (1), data; little-endian. A batch is one
 * record FULL, or FIRST, any number of MIDDLE, and LAST, one a block. Less than a header's 7 bytes
 * at the end of a block are skipped.
 *
 * RocksDB ends without a word where a record reaches beyond the end of the file, which is how a
 * write looks that was interrupted and never acknowledged. Two wrong bytes look the same, and
 * everything behind them would be lost silently, acknowledged writes in the log, whole tables in
 * the manifest:
 *   - a length in the last block that became too large;
 *   - a type that became that of a recycled log (5 to 8), of which we write none.
 * The checksum tells them apart. It does not cover the length: if another one makes it right, and
 * behind that comes the end of the file or another whole record, the length is wrong. And if one of
 * the four types in use makes it right, the type is wrong. RocksDB also skips a block from zeros on
 * without a word.
 *
 * The other way round, the pages of an append that was not synced reach the disk in any order, so a
 * power cut may leave zeros or old bytes inside the last batch, which RocksDB refuses. One batch is
 * in flight at a time and synced before the next, so damage behind which no batch begins is that
 * batch: it was never acknowledged. In the last synced batch it would look the same; that is what
 * lathe_store_seal() is for. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/store/store_internal.h"

enum { BLOCK_BYTES = 32768, HEADER_BYTES = 7, TYPE_AT = 6, LENGTH_AT = 4 };
enum { TYPE_FULL = 1, TYPE_FIRST = 2, TYPE_MIDDLE = 3, TYPE_LAST = 4, MAX_TYPE = 4 };

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

/* True if the record at `at`, which is not right, is so with another length. */
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

enum lathe_status lathe_store_check_manifest(const char *path, struct lathe_error *err)
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

/* ---- The write-ahead log -------------------------------------------------------------------- */

/* A walk over one file, block by block. */
struct walk {
    uint64_t block_at; /* offset of the block */
    uint64_t batch_at; /* where the batch that is open begins */
    uint64_t hurt_at;  /* where the first wrong byte lies, or less than 32 KiB before it */
    uint64_t cut_at;   /* where the batch begins that it belongs to */
    bool open;         /* after FIRST or MIDDLE */
    bool hurt;
    bool zeros;   /* nothing but zeros from hurt_at on, which does not lie inside a batch */
    bool damaged; /* and no interrupted commit explains it */
};

static bool all_zeros(const uint8_t *bytes, size_t size)
{
    return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

static void hurt(struct walk *walk, uint64_t at)
{
    if (walk->hurt)
        return;
    walk->hurt = true;
    walk->hurt_at = at;
    walk->cut_at = walk->open ? walk->batch_at : at;
    walk->zeros = !walk->open;
}

/* A record whose checksum is right. */
static void take(struct walk *walk, uint8_t type, uint64_t at)
{
    bool begins = type == TYPE_FULL || type == TYPE_FIRST;

    if (begins == walk->open)
        hurt(walk, at); /* the open batch has no end, or this fragment no beginning */
    walk->damaged |= walk->hurt && begins;
    if (begins)
        walk->batch_at = at;
    walk->open = type == TYPE_FIRST || type == TYPE_MIDDLE;
}

/* True if a batch begins anywhere in these bytes, whose records nothing leads to any more. */
static bool batch_begins_in(const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i + HEADER_BYTES <= size; i++) {
        uint8_t type = bytes[i + TYPE_AT];

        if ((type == TYPE_FULL || type == TYPE_FIRST) && record_is_right(bytes + i, size - i))
            return true;
    }
    return false;
}

/* The rest of a block, from a record on that is not right. */
static void take_wrong(struct walk *walk, const uint8_t *at, size_t left, uint64_t offset)
{
    size_t length = left >= HEADER_BYTES ? record_length(at) : 0;

    if (!walk->hurt && left >= HEADER_BYTES)
        walk->damaged = length_is_wrong(at, left) ||
                        (length <= left - HEADER_BYTES && type_is_wrong(at, length));
    hurt(walk, offset);
    walk->damaged = walk->damaged || batch_begins_in(at, left);
}

static void walk_block(struct walk *walk, const uint8_t *block, size_t size)
{
    size_t at = 0;

    while (size - at >= HEADER_BYTES && record_is_right(block + at, size - at) &&
           block[at + TYPE_AT] >= TYPE_FULL && block[at + TYPE_AT] <= MAX_TYPE) {
        take(walk, block[at + TYPE_AT], walk->block_at + at);
        at += HEADER_BYTES + record_length(block + at);
    }
    if (size - at >= HEADER_BYTES || (size < BLOCK_BYTES && at < size))
        take_wrong(walk, block + at, size - at, walk->block_at + at);
    if (walk->zeros) {
        at = walk->hurt_at > walk->block_at ? (size_t)(walk->hurt_at - walk->block_at) : 0;
        walk->zeros = all_zeros(block + at, size - at);
    }
    walk->block_at += size;
}

/* On LATHE_OK the walk says what the file is: hurt and damaged. */
static enum lathe_status walk_file(const char *path, struct walk *walk, struct lathe_error *err)
{
    uint8_t block[BLOCK_BYTES];
    FILE *file = fopen(path, "rbe");
    enum lathe_status status = LATHE_OK;
    size_t size;

    *walk = (struct walk){.block_at = 0};
    if (file == NULL)
        return lathe_fail(err, LATHE_INTERNAL, "check %s: %s", path, strerror(errno));
    while (!walk->damaged && (size = fread(block, 1, sizeof(block), file)) > 0)
        walk_block(walk, block, size);
    if (ferror(file) != 0)
        status = lathe_fail(err, LATHE_INTERNAL, "check %s: %s", path, strerror(errno));
    (void)fclose(file);
    if (walk->hurt && walk->zeros && !walk->damaged)
        walk->hurt = false; /* space that was never written */
    else if (walk->open)
        hurt(walk, walk->batch_at);
    return status;
}

static enum lathe_status wal_is_damaged(const char *path, const struct walk *walk,
                                        struct lathe_error *err)
{
    return lathe_fail(err, LATHE_DATA_LOSS,
                      "Corruption: %s: the write-ahead log is damaged at byte %" PRIu64
                      ", and an interrupted commit does not explain it",
                      path, walk->hurt_at);
}

static enum lathe_status wal_cut(const char *path, const struct walk *walk, struct lathe_error *err)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    enum lathe_status status = LATHE_OK;

    if (fd < 0 || ftruncate(fd, (off_t)walk->cut_at) != 0 || fsync(fd) != 0)
        status = lathe_fail(err, LATHE_INTERNAL, "cut %s: %s", path, strerror(errno));
    else
        lathe_log(LATHE_LOG_WARN, "interrupted-commit-dropped",
                  "file=%s kept_bytes=%" PRIu64 " dropped_bytes=%" PRIu64, path, walk->cut_at,
                  walk->block_at - walk->cut_at);
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* Takes RocksDB's lock on the directory, so that no log is cut that somebody is writing: an end in
 * the making looks as an interrupted one. Given up by closing *fd_out. */
static enum lathe_status directory_lock(const char *directory, int *fd_out, struct lathe_error *err)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    char path[PATH_MAX];
    int fd;

    if (snprintf(path, sizeof(path), "%s/LOCK", directory) >= (int)sizeof(path))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "open store %s: the path is too long",
                          directory);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return lathe_fail(err, LATHE_INTERNAL, "open %s: %s", path, strerror(errno));
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) {
        *fd_out = fd;
        return LATHE_OK;
    }
    /* Closing it would give up the lock that this process itself may hold through RocksDB. */
    if (fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type == F_UNLCK || lock.l_pid != getpid())
        (void)close(fd);
    return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                      "open store %s: another process uses the directory; stop it first",
                      directory);
}

enum lathe_status lathe_store_check_wal(const char *directory, const char *path, bool newest,
                                        struct lathe_error *err)
{
    struct walk walk;
    enum lathe_status status = walk_file(path, &walk, err);
    int lock = -1;

    if (status != LATHE_OK || !walk.hurt)
        return status;
    if (walk.damaged || !newest)
        return wal_is_damaged(path, &walk, err);
    status = directory_lock(directory, &lock, err);
    if (status != LATHE_OK)
        return status;
    /* It may have grown until it was locked. */
    status = walk_file(path, &walk, err);
    if (status == LATHE_OK && walk.damaged)
        status = wal_is_damaged(path, &walk, err);
    else if (status == LATHE_OK && walk.hurt)
        status = wal_cut(path, &walk, err);
    (void)close(lock);
    return status;
}
