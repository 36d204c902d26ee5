/* file_window.h - a file read piece by piece.
 *
 * Not mapped: a file that shrinks under a mapping kills the process that reads it, and here it is
 * an error like any other. */
#ifndef LATHE_CLI_READERS_FILE_WINDOW_H
#define LATHE_CLI_READERS_FILE_WINDOW_H
#include "common/base/bytes.h"
#include "common/base/status.h"

/* Zeroed it is closed. Threads: one at a time. */
struct lathe_file_window {
    bool open;
    int fd;
    uint64_t size_bytes;  /* when it was opened */
    uint64_t modified_ns; /* since 1970, likewise */
    uint8_t *buffer;
    size_t capacity_bytes;
    uint64_t begin; /* of what the buffer holds */
    size_t held_bytes;
};

/* Opens a regular file that is not empty. NOT_FOUND: it cannot be read. INVALID_ARGUMENT: it is
 * empty. The message names it. */
LATHE_MUST_CHECK enum lathe_status
lathe_file_window_open(struct lathe_file_window *window, const char *path, struct lathe_error *err);
void lathe_file_window_close(struct lathe_file_window *window);

/* At least `least` and at most `most` bytes from `offset` on, as many as are at hand. They are
 * inside the file as it was opened; `most` may reach behind its end. *bytes_out is valid until the
 * next call. INVALID_ARGUMENT: the file has become shorter. INTERNAL: it cannot be read.
 * RESOURCE_EXHAUSTED: memory is short. The message does not name the file. */
LATHE_MUST_CHECK enum lathe_status
lathe_file_window_view(struct lathe_file_window *window, uint64_t offset, size_t least, size_t most,
                       struct lathe_bytes *bytes_out, struct lathe_error *err);
#endif
