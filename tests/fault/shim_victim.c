/* shim_victim.c - does the file operations of its arguments, one after another, for tests of the
 * shims. Each argument is an operation and its operands, separated by colons:
 *
 *   append:FILE:TEXT  appendv:FILE:TEXT  put:FILE:OFFSET:TEXT  replace:FILE:TEXT  cut:FILE:SIZE
 *   sync:FILE  datasync:FILE  syncdir:DIR  rename:A:B  unlink:A  link:A:B  mkdir:D  rmdir:D
 *   fill:FILE:BYTES   writes so many bytes in pieces of 1000, prints what was written and the error
 *   left:DIR          prints what statvfs says is free, in bytes
 *   touch:FILE        makes an empty file with an absolute path
 *   die               kill -9 to itself
 *
 * Failures of all but fill, sync and datasync end it with exit code 1; these print. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

static void must(int result, const char *what)
{
    if (result >= 0)
        return;
    (void)fprintf(stderr, "victim: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int open_for(const char *path, int flags)
{
    int fd = open(path, flags | O_CREAT, 0644);

    must(fd, path);
    return fd;
}

static const char *error_name(int error)
{
    return error == 0 ? "ok" : error == ENOSPC ? "ENOSPC" : error == EIO ? "EIO" : strerror(error);
}

static void fill(const char *path, long wanted)
{
    static char bytes[1000];
    int fd = open_for(path, O_WRONLY | O_APPEND);
    long done = 0;
    int error = 0;

    while (done < wanted && error == 0) {
        size_t size = wanted - done < 1000 ? (size_t)(wanted - done) : 1000;
        ssize_t put = write(fd, bytes, size);

        error = put < 0 ? errno : 0;
        done += put > 0 ? put : 0;
    }
    (void)close(fd);
    printf("fill %ld %s\n", done, error_name(error));
}

static void append_in_two(const char *path, char *text)
{
    int fd = open_for(path, O_WRONLY | O_APPEND);
    struct iovec parts[2] = {{text, strlen(text) / 2}, {NULL, 0}};

    parts[1].iov_base = text + parts[0].iov_len;
    parts[1].iov_len = strlen(text) - parts[0].iov_len;
    must((int)writev(fd, parts, 2), path);
    (void)close(fd);
}

static void sync_file(const char *path, int (*sync_fn)(int))
{
    int fd = open_for(path, O_WRONLY);

    printf("sync %s\n", error_name(sync_fn(fd) == 0 ? 0 : errno));
    (void)close(fd);
}

static void sync_directory(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY);

    must(fd, path);
    must(fsync(fd), path);
    (void)close(fd);
}

static void write_at(const char *path, int flags, off_t at, const char *text)
{
    int fd = open_for(path, O_WRONLY | flags);

    if (at >= 0)
        must((int)pwrite(fd, text, strlen(text), at), path);
    else
        must((int)write(fd, text, strlen(text)), path);
    (void)close(fd);
}

static void cut(const char *path, off_t size)
{
    int fd = open_for(path, O_WRONLY);

    must(ftruncate(fd, size), path);
    (void)close(fd);
}

static void print_left(const char *path)
{
    struct statvfs info;

    must(statvfs(path, &info), path);
    printf("left %llu\n", (unsigned long long)info.f_bavail * info.f_frsize);
}

static void do_names(const char *name, const char *a, const char *b)
{
    if (strcmp(name, "rename") == 0)
        must(rename(a, b), a);
    else if (strcmp(name, "unlink") == 0)
        must(unlink(a), a);
    else if (strcmp(name, "link") == 0)
        must(link(a, b), a);
    else if (strcmp(name, "mkdir") == 0)
        must(mkdir(a, 0755), a);
    else if (strcmp(name, "rmdir") == 0)
        must(rmdir(a), a);
    else
        must(-1, name);
}

static void do_one(char *operation)
{
    const char *name = strsep(&operation, ":");
    char *a = strsep(&operation, ":");
    char *b = strsep(&operation, ":");
    char *c = strsep(&operation, ":");

    if (strcmp(name, "append") == 0)
        write_at(a, O_APPEND, -1, b);
    else if (strcmp(name, "appendv") == 0)
        append_in_two(a, b);
    else if (strcmp(name, "put") == 0)
        write_at(a, 0, strtol(b, NULL, 10), c);
    else if (strcmp(name, "replace") == 0)
        write_at(a, O_TRUNC, -1, b);
    else if (strcmp(name, "cut") == 0)
        cut(a, strtol(b, NULL, 10));
    else if (strcmp(name, "sync") == 0)
        sync_file(a, fsync);
    else if (strcmp(name, "datasync") == 0)
        sync_file(a, fdatasync);
    else if (strcmp(name, "syncdir") == 0)
        sync_directory(a);
    else if (strcmp(name, "fill") == 0)
        fill(a, strtol(b, NULL, 10));
    else if (strcmp(name, "left") == 0)
        print_left(a);
    else if (strcmp(name, "touch") == 0)
        (void)close(open_for(a, O_WRONLY));
    else if (strcmp(name, "die") == 0)
        must(raise(SIGKILL), name);
    else
        do_names(name, a, b);
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        do_one(argv[i]);
    return 0;
}
