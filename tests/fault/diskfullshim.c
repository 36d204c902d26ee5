/* diskfullshim.c - a preloaded shim: the disk below a path fills up or fails after N bytes.
 *
 *   LATHE_SHIM_PATH       what is watched
 *   LATHE_SHIM_BYTES      writes below it succeed for so many bytes, then fail
 *   LATHE_SHIM_ERRNO      ENOSPC (default) or EIO
 *   LATHE_SHIM_FAIL_SYNC  1: after these bytes writes go on and fsync and fdatasync fail instead
 *   LATHE_SHIM_OFF        a path; while that file exists there is no fault
 *
 * ENOSPC behaves as a disk does: the last write is short, deleting and truncating watched files
 * gives bytes back, and statvfs tells what is left. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/fault/shim_common.h"

static _Atomic unsigned char watched[SHIM_MAX_FDS];
static _Atomic int64_t used_bytes;

static int64_t limit_bytes(void)
{
    const char *text = getenv("LATHE_SHIM_BYTES");

    return text != NULL ? (int64_t)strtoll(text, NULL, 10) : INT64_MAX;
}

static int fault_errno(void)
{
    const char *text = getenv("LATHE_SHIM_ERRNO");

    return text != NULL && strcmp(text, "EIO") == 0 ? EIO : ENOSPC;
}

static bool faults_are_off(void)
{
    const char *path = getenv("LATHE_SHIM_OFF");
    int saved = errno;
    bool off = path != NULL && access(path, F_OK) == 0;

    errno = saved;
    return off;
}

static bool only_syncs_fail(void)
{
    const char *text = getenv("LATHE_SHIM_FAIL_SYNC");

    return text != NULL && strcmp(text, "1") == 0;
}

/* Takes up to `wanted` bytes of what is left; 0 sets errno. */
static size_t take(size_t wanted)
{
    int64_t before = atomic_fetch_add(&used_bytes, (int64_t)wanted);
    int64_t left = limit_bytes() - before;
    size_t granted;

    if (only_syncs_fail() || left >= (int64_t)wanted || faults_are_off())
        return wanted;
    granted = left > 0 && fault_errno() == ENOSPC ? (size_t)left : 0;
    (void)atomic_fetch_sub(&used_bytes, (int64_t)(wanted - granted));
    if (granted == 0)
        errno = fault_errno();
    return granted;
}

static void give(int64_t bytes)
{
    if (fault_errno() == ENOSPC && bytes > 0)
        (void)atomic_fetch_sub(&used_bytes, bytes);
}

static bool is_watched(int fd)
{
    return shim_fd_fits(fd) && watched[fd] != 0;
}

/* The bytes that go when the last name of a watched file goes. */
static int64_t bytes_of_last_name(const char *absolute)
{
    struct stat info;
    int saved = errno;
    int64_t bytes = 0;

    if (lstat(absolute, &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1)
        bytes = info.st_size;
    errno = saved;
    return bytes;
}

/* ---- Opening and closing -------------------------------------------------------------------- */

static int note_open(int fd, bool watch, int64_t given)
{
    if (shim_fd_fits(fd))
        watched[fd] = watch;
    if (fd >= 0)
        give(given);
    return fd;
}

static int64_t bytes_truncated(const char *absolute, int flags)
{
    return (flags & O_TRUNC) != 0 ? bytes_of_last_name(absolute) : 0;
}

int openat(int dirfd, const char *path, int flags, ...)
{
    SHIM_REAL(openat);
    char absolute[PATH_MAX];
    bool watch = shim_watched_path(dirfd, path, absolute);
    int64_t given = watch ? bytes_truncated(absolute, flags) : 0;
    mode_t mode = 0;

    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_list arguments;

        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return note_open(real(dirfd, path, flags, mode), watch, given);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_list arguments;

        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));
int openat64(int dirfd, const char *path, int flags, ...) __attribute__((alias("openat")));

int creat(const char *path, mode_t mode)
{
    return openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
    SHIM_REAL(close);

    if (shim_fd_fits(fd))
        watched[fd] = 0;
    return real(fd);
}

/* ---- Writing -------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *data, size_t size)
{
    SHIM_REAL(write);

    if (is_watched(fd) && size > 0) {
        size = take(size);
        if (size == 0)
            return -1;
    }
    return real(fd, data, size);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    SHIM_REAL(pwrite);

    if (is_watched(fd) && size > 0) {
        size = take(size);
        if (size == 0)
            return -1;
    }
    return real(fd, data, size, offset);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
    __attribute__((alias("pwrite")));

/* Several buffers are all written or none: callers of the vector forms see no short write here. */
static bool take_all(const struct iovec *parts, int count)
{
    size_t wanted = 0;
    size_t granted;

    for (int i = 0; i < count; i++)
        wanted += parts[i].iov_len;
    if (wanted == 0)
        return true;
    granted = take(wanted);
    if (granted == wanted)
        return true;
    (void)atomic_fetch_sub(&used_bytes, (int64_t)granted);
    errno = fault_errno();
    return false;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    SHIM_REAL(writev);

    if (is_watched(fd) && !take_all(parts, count))
        return -1;
    return real(fd, parts, count);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    SHIM_REAL(pwritev);

    if (is_watched(fd) && !take_all(parts, count))
        return -1;
    return real(fd, parts, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
    __attribute__((alias("pwritev")));

/* ---- Syncing -------------------------------------------------------------------------------- */

static bool sync_fails(int fd)
{
    if (!is_watched(fd) || !only_syncs_fail() || atomic_load(&used_bytes) < limit_bytes() ||
        faults_are_off())
        return false;
    errno = fault_errno();
    return true;
}

int fsync(int fd)
{
    SHIM_REAL(fsync);

    return sync_fails(fd) ? -1 : real(fd);
}

int fdatasync(int fd)
{
    SHIM_REAL(fdatasync);

    return sync_fails(fd) ? -1 : real(fd);
}

/* ---- Giving bytes back ---------------------------------------------------------------------- */

int ftruncate(int fd, off_t size)
{
    SHIM_REAL(ftruncate);
    struct stat info;
    int64_t given = 0;
    int result;

    if (is_watched(fd) && fstat(fd, &info) == 0 && info.st_size > size)
        given = info.st_size - size;
    result = real(fd, size);
    if (result == 0)
        give(given);
    return result;
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

int unlinkat(int dirfd, const char *path, int flags)
{
    SHIM_REAL(unlinkat);
    char absolute[PATH_MAX];
    int64_t given = shim_watched_path(dirfd, path, absolute) ? bytes_of_last_name(absolute) : 0;
    int result = real(dirfd, path, flags);

    if (result == 0)
        give(given);
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rename(const char *from, const char *to)
{
    SHIM_REAL(rename);
    char absolute[PATH_MAX];
    int64_t given = shim_watched_path(AT_FDCWD, to, absolute) ? bytes_of_last_name(absolute) : 0;
    int result = real(from, to);

    if (result == 0)
        give(given);
    return result;
}

/* ---- What is left --------------------------------------------------------------------------- */

static void show_what_is_left(struct statvfs *info)
{
    int64_t left = limit_bytes() - atomic_load(&used_bytes);
    fsblkcnt_t blocks = left > 0 ? (fsblkcnt_t)left / info->f_frsize : 0;

    if (limit_bytes() == INT64_MAX || only_syncs_fail() || fault_errno() != ENOSPC ||
        faults_are_off())
        return;
    if (blocks < info->f_bavail)
        info->f_bavail = info->f_bfree = blocks;
}

int statvfs(const char *path, struct statvfs *info)
{
    SHIM_REAL(statvfs);
    char absolute[PATH_MAX];
    int result = real(path, info);

    if (result == 0 && shim_watched_path(AT_FDCWD, path, absolute))
        show_what_is_left(info);
    return result;
}

int fstatvfs(int fd, struct statvfs *info)
{
    SHIM_REAL(fstatvfs);
    int result = real(fd, info);

    if (result == 0 && is_watched(fd))
        show_what_is_left(info);
    return result;
}
