/* syncshim.c - a preloaded shim that writes down what a power cut would leave.
 *
 * kill -9 leaves the page cache alone, so it says nothing about syncs. This shim keeps a journal of
 * what was made durable below LATHE_SHIM_PATH; after the kill, lathe_crash takes back everything
 * that was not:
 *   - a file is cut to its length at its last fsync or fdatasync that returned, and bytes below
 * that length that were overwritten or truncated since are put back;
 *   - a name that was made, removed, linked or renamed is put back unless its directory was fsynced
 *     afterwards (for a rename: both directories).
 * sync_file_range, sync and msync count for nothing; writes through a mapping are not seen, nor
 * files that stdio opened. LATHE_SHIM_PATH exists before the shim starts. LATHE_SHIM_LIE, if set,
 * is a path: while that file exists no sync counts.
 *
 * The side directory LATHE_SHIM_SIDE (same file system, outside the watched path, made by the
 * caller) holds the journal, links that keep removed files alive ("keep-N"), and overwritten bytes
 * ("undo-N"). Each journal line is one write(), and says an operation BEFORE it is done: undoing
 * what was never done changes nothing. A sync is written AFTER it is done. So a kill between any
 * two instructions leaves a journal that claims no more than is true.
 *
 * Lines (numbers decimal; a path is the rest of its line or ends with a tab):
 *   create DIRINO PATH           mkdir DIRINO PATH          rmdir DIRINO PATH
 *   link DIRINO PATH             unlink DIRINO KEEP PATH
 *   rename DIRINO DIRINO INO KEEP FROM\tTO                  (KEEP "-": TO did not exist)
 *   new INO                      a file was made: nothing of it is durable
 *   file INO LENGTH              a file that was there is opened for writing: all of it is durable,
 *                                unless an earlier line says otherwise
 *   undo INO OFFSET SIZE NAME    these durable bytes are about to be overwritten
 *   sync INO LENGTH UPTO         dirsync INO UPTO           UPTO: journal lines before this offset
 *                                                           were done when the sync began */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/fault/shim_common.h"

enum { MAX_FILES = 16384, LINE_BYTES = 2 * PATH_MAX + 256 };

/* What is durable of a file that was opened for writing. Removed files keep their entry: their
 * number may come back, and the next open says so. */
struct tracked {
    uint64_t ino;
    uint64_t durable;
    uint64_t sync_number; /* of the last sync that counted */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* held over a journal line AND its call */
static struct tracked files[MAX_FILES];
static size_t file_count;
static unsigned char watched[SHIM_MAX_FDS];
static int journal = -1;

/* The shim's own writing goes past its wrappers. */
static ssize_t raw_write(int fd, const void *data, size_t size)
{
    SHIM_REAL(write);

    return real(fd, data, size);
}

static int raw_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    SHIM_REAL(openat);

    return real(dirfd, path, flags, mode);
}

static int raw_close(int fd)
{
    SHIM_REAL(close);

    return real(fd);
}

static void side_path(const char *name, char out[PATH_MAX])
{
    const char *side = getenv("LATHE_SHIM_SIDE");

    if (side == NULL || snprintf(out, PATH_MAX, "%s/%s", side, name) >= PATH_MAX)
        shim_die("LATHE_SHIM_SIDE");
}

static void open_journal(void)
{
    char path[PATH_MAX];

    if (journal >= 0)
        return;
    side_path("journal", path);
    journal = raw_openat(AT_FDCWD, path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    if (journal < 0)
        shim_die(path);
}

__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    char line[LINE_BYTES];
    va_list arguments;
    int size;

    open_journal();
    va_start(arguments, format);
    size = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    if (size < 0 || size >= (int)sizeof(line) - 1)
        shim_die("journal line");
    line[size] = '\n';
    if (raw_write(journal, line, (size_t)size + 1) != size + 1)
        shim_die("journal");
}

static uint64_t journal_size(void)
{
    struct stat info;

    open_journal();
    if (fstat(journal, &info) != 0)
        shim_die("journal");
    return (uint64_t)info.st_size;
}

/* A name in the side directory that was not used before, also not by an earlier process. */
static void fresh_name(const char *kind, char out[64])
{
    static unsigned count;

    (void)snprintf(out, 64, "%s-%d-%u", kind, (int)getpid(), count++);
}

static uint64_t parent_ino(const char *absolute)
{
    char parent[PATH_MAX];
    struct stat info;
    char *slash;

    (void)snprintf(parent, sizeof(parent), "%s", absolute);
    slash = strrchr(parent, '/');
    slash[slash == parent ? 1 : 0] = '\0';
    return stat(parent, &info) == 0 ? (uint64_t)info.st_ino : 0;
}

/* Links a file that is about to lose a name into the side directory. */
static void keep(const char *absolute, char name_out[64])
{
    SHIM_REAL(linkat);
    char path[PATH_MAX];

    fresh_name("keep", name_out);
    side_path(name_out, path);
    if (real(AT_FDCWD, absolute, AT_FDCWD, path, 0) != 0)
        shim_die(path);
}

/* ---- Files ---------------------------------------------------------------------------------- */

static struct tracked *find(uint64_t ino)
{
    for (size_t i = file_count; i-- > 0;) {
        if (files[i].ino == ino)
            return &files[i];
    }
    return NULL;
}

static void track(uint64_t ino, uint64_t durable, bool made)
{
    struct tracked *file = find(ino);

    if (file == NULL) {
        if (file_count == MAX_FILES)
            shim_die("too many files");
        file = &files[file_count++];
    }
    *file = (struct tracked){ino, durable, 0};
    if (made)
        note("new %" PRIu64, ino);
    else
        note("file %" PRIu64 " %" PRIu64, ino, durable);
}

static struct tracked *tracked_fd(int fd)
{
    struct stat info;

    if (!shim_fd_fits(fd) || !watched[fd] || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return NULL;
    return find((uint64_t)info.st_ino);
}

/* Saves the durable bytes of [from, to) before they change. What was truncated before is saved
 * already; bytes written since are saved needlessly, and the earlier ones go over them. */
static void save_durable(int fd, struct tracked *file, uint64_t from, uint64_t to)
{
    char name[64], path[PATH_MAX], proc[64];
    struct stat info;
    char *bytes;
    size_t size;
    int in, out;

    if (fstat(fd, &info) != 0)
        shim_die("fstat");
    if (to > file->durable)
        to = file->durable;
    if (to > (uint64_t)info.st_size)
        to = (uint64_t)info.st_size;
    if (from >= to)
        return;
    size = (size_t)(to - from);
    bytes = malloc(size);
    /* The descriptor may be for writing alone. */
    (void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", fd);
    in = raw_openat(AT_FDCWD, proc, O_RDONLY | O_CLOEXEC, 0);
    fresh_name("undo", name);
    side_path(name, path);
    out = raw_openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (bytes == NULL || in < 0 || out < 0 ||
        pread(in, bytes, size, (off_t)from) != (ssize_t)size ||
        raw_write(out, bytes, size) != (ssize_t)size)
        shim_die(path);
    (void)raw_close(in);
    (void)raw_close(out);
    free(bytes);
    note("undo %" PRIu64 " %" PRIu64 " %zu %s", file->ino, from, size, name);
}

static void before_truncate(int fd, uint64_t size)
{
    struct tracked *file = tracked_fd(fd);

    if (file != NULL)
        save_durable(fd, file, size, UINT64_MAX);
}

static void before_write(int fd, uint64_t offset, size_t size)
{
    struct tracked *file = tracked_fd(fd);

    if (file != NULL)
        save_durable(fd, file, offset, offset + size);
}

/* Where write() would put its bytes. */
static uint64_t write_offset(int fd)
{
    struct stat info;
    int flags = fcntl(fd, F_GETFL);

    if (flags >= 0 && (flags & O_APPEND) != 0)
        return fstat(fd, &info) == 0 ? (uint64_t)info.st_size : 0;
    return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

/* ---- Opening -------------------------------------------------------------------------------- */

/* Opens a watched path without O_TRUNC, which is done once what it takes is saved. */
static int open_watched(const char *absolute, int flags, mode_t mode)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    bool existed;
    struct stat info;
    int fd;

    (void)pthread_mutex_lock(&lock);
    existed = lstat(absolute, &info) == 0;
    if (!existed && (flags & O_CREAT) != 0)
        note("create %" PRIu64 " %s", parent_ino(absolute), absolute);
    fd = raw_openat(AT_FDCWD, absolute, flags & ~O_TRUNC, mode);
    if (shim_fd_fits(fd) && fstat(fd, &info) == 0) {
        watched[fd] = 1;
        if (S_ISREG(info.st_mode) && !existed)
            track((uint64_t)info.st_ino, 0, true);
        else if (S_ISREG(info.st_mode) && writes && find((uint64_t)info.st_ino) == NULL)
            track((uint64_t)info.st_ino, (uint64_t)info.st_size, false);
        if (S_ISREG(info.st_mode) && writes && (flags & O_TRUNC) != 0 && existed) {
            SHIM_REAL(ftruncate);

            before_truncate(fd, 0);
            (void)real(fd, 0);
        }
    }
    (void)pthread_mutex_unlock(&lock);
    return fd;
}

int openat(int dirfd, const char *path, int flags, ...)
{
    char absolute[PATH_MAX];
    mode_t mode = 0;
    int fd;

    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {
        va_list arguments;

        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    if (shim_watched_path(dirfd, path, absolute))
        return open_watched(absolute, flags, mode);
    fd = raw_openat(dirfd, path, flags, mode);
    if (shim_fd_fits(fd))
        watched[fd] = 0;
    return fd;
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
    if (shim_fd_fits(fd))
        watched[fd] = 0;
    return raw_close(fd);
}

/* ---- Writing -------------------------------------------------------------------------------- */

ssize_t write(int fd, const void *data, size_t size)
{
    ssize_t result;

    if (!shim_fd_fits(fd) || !watched[fd])
        return raw_write(fd, data, size);
    (void)pthread_mutex_lock(&lock);
    before_write(fd, write_offset(fd), size);
    result = raw_write(fd, data, size);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    SHIM_REAL(pwrite);
    ssize_t result;

    if (!shim_fd_fits(fd) || !watched[fd])
        return real(fd, data, size, offset);
    (void)pthread_mutex_lock(&lock);
    before_write(fd, (uint64_t)offset, size);
    result = real(fd, data, size, offset);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset)
    __attribute__((alias("pwrite")));

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;

    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    SHIM_REAL(writev);
    ssize_t result;

    if (!shim_fd_fits(fd) || !watched[fd])
        return real(fd, parts, count);
    (void)pthread_mutex_lock(&lock);
    before_write(fd, write_offset(fd), total(parts, count));
    result = real(fd, parts, count);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    SHIM_REAL(pwritev);
    ssize_t result;

    if (!shim_fd_fits(fd) || !watched[fd])
        return real(fd, parts, count, offset);
    (void)pthread_mutex_lock(&lock);
    before_write(fd, (uint64_t)offset, total(parts, count));
    result = real(fd, parts, count, offset);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
    __attribute__((alias("pwritev")));

int ftruncate(int fd, off_t size)
{
    SHIM_REAL(ftruncate);
    int result;

    (void)pthread_mutex_lock(&lock);
    before_truncate(fd, (uint64_t)size);
    result = real(fd, size);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate64(int fd, off_t size) __attribute__((alias("ftruncate")));

/* ---- Syncing -------------------------------------------------------------------------------- */

/* What will be durable when a sync that begins now has returned. */
struct promise {
    struct stat info;
    uint64_t upto;
    uint64_t number; /* in order of beginning */
    bool known;
};

static struct promise promise_of(int fd)
{
    static uint64_t count;
    struct promise promise = {.known = false};

    (void)pthread_mutex_lock(&lock);
    promise.known = shim_fd_fits(fd) && watched[fd] && fstat(fd, &promise.info) == 0;
    if (promise.known)
        promise.upto = journal_size();
    promise.number = ++count;
    (void)pthread_mutex_unlock(&lock);
    return promise;
}

/* A disk that says "synced" and is not: tests of tests must see the loss. */
static bool syncs_count_for_nothing(void)
{
    const char *path = getenv("LATHE_SHIM_LIE");

    return path != NULL && access(path, F_OK) == 0;
}

static int after_sync(const struct promise *promise, int result)
{
    uint64_t ino = (uint64_t)promise->info.st_ino;
    struct tracked *file;

    if (result != 0 || !promise->known || syncs_count_for_nothing())
        return result;
    (void)pthread_mutex_lock(&lock);
    if (S_ISDIR(promise->info.st_mode)) {
        note("dirsync %" PRIu64 " %" PRIu64, ino, promise->upto);
    } else if ((file = find(ino)) != NULL && file->sync_number < promise->number) {
        /* Of two syncs at once the one that began later says more. */
        file->sync_number = promise->number;
        file->durable = (uint64_t)promise->info.st_size;
        note("sync %" PRIu64 " %" PRIu64 " %" PRIu64, ino, file->durable, promise->upto);
    }
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd)
{
    SHIM_REAL(fsync);
    struct promise promise = promise_of(fd);

    return after_sync(&promise, real(fd));
}

int fdatasync(int fd)
{
    SHIM_REAL(fdatasync);
    struct promise promise = promise_of(fd);

    return after_sync(&promise, real(fd));
}

/* ---- Names ---------------------------------------------------------------------------------- */

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    SHIM_REAL(renameat2);
    char source[PATH_MAX], target[PATH_MAX], kept[64] = "-";
    bool watch = shim_watched_path(from_fd, from, source);
    struct stat info, old;
    int result;

    watch = shim_watched_path(to_fd, to, target) || watch;
    (void)pthread_mutex_lock(&lock);
    if (watch && shim_resolve(from_fd, from, source) && lstat(source, &info) == 0) {
        if (lstat(target, &old) == 0 && S_ISREG(old.st_mode))
            keep(target, kept);
        note("rename %" PRIu64 " %" PRIu64 " %" PRIu64 " %s %s\t%s", parent_ino(source),
             parent_ino(target), (uint64_t)info.st_ino, kept, source, target);
    }
    result = real(from_fd, from, to_fd, to, flags);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    return renameat2(from_fd, from, to_fd, to, 0);
}

int rename(const char *from, const char *to)
{
    return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    SHIM_REAL(unlinkat);
    char absolute[PATH_MAX], kept[64];
    struct stat info;
    int result;

    (void)pthread_mutex_lock(&lock);
    if (shim_watched_path(dirfd, path, absolute) && lstat(absolute, &info) == 0) {
        if ((flags & AT_REMOVEDIR) != 0) {
            note("rmdir %" PRIu64 " %s", parent_ino(absolute), absolute);
        } else if (S_ISREG(info.st_mode)) {
            keep(absolute, kept);
            note("unlink %" PRIu64 " %s %s", parent_ino(absolute), kept, absolute);
        }
    }
    result = real(dirfd, path, flags);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path)
{
    return unlinkat(AT_FDCWD, path, 0);
}

int rmdir(const char *path)
{
    return unlinkat(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    struct stat info;
    bool directory = lstat(path, &info) == 0 && S_ISDIR(info.st_mode);

    return unlinkat(AT_FDCWD, path, directory ? AT_REMOVEDIR : 0);
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    SHIM_REAL(linkat);
    char absolute[PATH_MAX];
    struct stat info;
    int result;

    (void)pthread_mutex_lock(&lock);
    if (shim_watched_path(to_fd, to, absolute) && lstat(absolute, &info) != 0)
        note("link %" PRIu64 " %s", parent_ino(absolute), absolute);
    result = real(from_fd, from, to_fd, to, flags);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int link(const char *from, const char *to)
{
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    SHIM_REAL(mkdirat);
    char absolute[PATH_MAX];
    struct stat info;
    int result;

    (void)pthread_mutex_lock(&lock);
    if (shim_watched_path(dirfd, path, absolute) && lstat(absolute, &info) != 0)
        note("mkdir %" PRIu64 " %s", parent_ino(absolute), absolute);
    result = real(dirfd, path, mode);
    (void)pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}
