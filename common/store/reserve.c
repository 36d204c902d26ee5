/* reserve.c - see reserve.h. */
#include "common/store/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/store/store.h"

static bool reserve_path(const char *store_path, char path_out[PATH_MAX])
{
    return snprintf(path_out, PATH_MAX, "%s.reserve", store_path) < PATH_MAX;
}

/* Whether it is there and really has blocks: a copied directory may have holes in their place. */
static bool is_there(const char *path, uint64_t bytes)
{
    struct stat info;

    return stat(path, &info) == 0 && (uint64_t)info.st_size >= bytes &&
           (uint64_t)info.st_blocks * 512u >= bytes;
}

enum lathe_status lathe_reserve_make(const char *store_path, uint64_t bytes, uint64_t leave_bytes,
                                     struct lathe_error *err)
{
    char path[PATH_MAX];
    uint64_t free_bytes;
    int fd, failure;

    if (!reserve_path(store_path, path))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "reserve of %s: the path is too long",
                          store_path);
    if (is_there(path, bytes))
        return LATHE_OK;
    if (lathe_disk_free(store_path, &free_bytes, err) != LATHE_OK)
        return err->status;
    if (free_bytes < leave_bytes || free_bytes - leave_bytes < bytes)
        return LATHE_OK;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return lathe_fail(err, LATHE_INTERNAL, "reserve %s: %s", path, strerror(errno));
    failure = posix_fallocate(fd, 0, (off_t)bytes);
    (void)close(fd);
    if (failure == 0)
        return LATHE_OK;
    (void)unlink(path);
    return lathe_fail(err, failure == ENOSPC ? LATHE_RESOURCE_EXHAUSTED : LATHE_INTERNAL,
                      "reserve %s: %s", path, strerror(failure));
}

bool lathe_reserve_free(const char *store_path)
{
    char path[PATH_MAX];

    return reserve_path(store_path, path) && unlink(path) == 0;
}
