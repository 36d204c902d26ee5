/* file_window.c - see file_window.h. */
#include "cli/readers/file_window.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* What is read at once: enough rows that a read costs little, and few enough for the caches. */
enum { WINDOW_BYTES = 256 * 1024, GROWTH = 4 };

enum lathe_status lathe_file_window_open(struct lathe_file_window *window, const char *path,
                                         struct lathe_error *err)
{
    struct stat info;

    memset(window, 0, sizeof(*window));
    /* Without O_NONBLOCK the open of a pipe would wait for its writer. */
    window->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (window->fd < 0)
        return lathe_fail(err, LATHE_NOT_FOUND, "%s cannot be read: %s", path, strerror(errno));
    window->open = true;
    if (fstat(window->fd, &info) != 0)
        return lathe_fail(err, LATHE_NOT_FOUND, "%s cannot be read: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return lathe_fail(err, LATHE_NOT_FOUND, "%s is not a file", path);
    if (info.st_size == 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s is empty", path);
    window->size_bytes = (uint64_t)info.st_size;
    window->modified_ns = (uint64_t)info.st_mtim.tv_sec * 1000000000u +
                          (uint64_t)info.st_mtim.tv_nsec;
    (void)posix_fadvise(window->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return LATHE_OK;
}

void lathe_file_window_close(struct lathe_file_window *window)
{
    if (window->open)
        (void)close(window->fd);
    lathe_free(window->buffer);
    memset(window, 0, sizeof(*window));
}

/* Reads at least `least` bytes at `offset` into the buffer, and what more there is room for. */
static enum lathe_status fill(struct lathe_file_window *window, uint64_t offset, size_t least,
                              struct lathe_error *err)
{
    uint64_t left = window->size_bytes - offset;
    size_t wanted = window->capacity_bytes < left ? window->capacity_bytes : (size_t)left;

    window->begin = offset;
    window->held_bytes = 0;
    while (window->held_bytes < wanted) {
        ssize_t got = pread(window->fd, window->buffer + window->held_bytes,
                            wanted - window->held_bytes, (off_t)(offset + window->held_bytes));

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return lathe_fail(err, LATHE_INTERNAL, "the file cannot be read: %s", strerror(errno));
        if (got == 0)
            break;
        window->held_bytes += (size_t)got;
    }
    if (window->held_bytes >= least)
        return LATHE_OK;
    return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                      "the file was cut off while it was read: %llu bytes are left of %llu",
                      (unsigned long long)(offset + window->held_bytes),
                      (unsigned long long)window->size_bytes);
}

/* A buffer for `least` bytes, growing in steps towards `most`. What it held is read again. */
static enum lathe_status grow(struct lathe_file_window *window, size_t least, size_t most,
                              struct lathe_error *err)
{
    size_t capacity = window->capacity_bytes * GROWTH;

    if (least <= window->capacity_bytes && window->buffer != NULL)
        return LATHE_OK;
    capacity = capacity < most ? capacity : most;
    capacity = capacity > least ? capacity : least;
    capacity = capacity > WINDOW_BYTES ? capacity : WINDOW_BYTES;
    lathe_free(window->buffer);
    window->held_bytes = window->capacity_bytes = 0;
    window->buffer = lathe_alloc(capacity);
    if (window->buffer == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for %zu bytes of the file",
                          capacity);
    window->capacity_bytes = capacity;
    return LATHE_OK;
}

/* How many of the bytes that the buffer holds lie at `offset` and behind it. */
static size_t held_at(const struct lathe_file_window *window, uint64_t offset)
{
    if (offset < window->begin || offset - window->begin >= window->held_bytes)
        return 0;
    return window->held_bytes - (size_t)(offset - window->begin);
}

enum lathe_status lathe_file_window_view(struct lathe_file_window *window, uint64_t offset,
                                         size_t least, size_t most, struct lathe_bytes *bytes_out,
                                         struct lathe_error *err)
{
    size_t held = held_at(window, offset);
    enum lathe_status rc;

    LATHE_REQUIRE(offset <= window->size_bytes);
    LATHE_REQUIRE(least <= most && least <= window->size_bytes - offset);
    if (held < least || window->buffer == NULL) {
        rc = grow(window, least, most, err);
        if (rc == LATHE_OK)
            rc = fill(window, offset, least, err);
        if (rc != LATHE_OK)
            return rc;
        held = window->held_bytes;
    }
    *bytes_out = lathe_bytes_of(held > 0 ? window->buffer + (offset - window->begin) : NULL,
                                held < most ? held : most);
    return LATHE_OK;
}
