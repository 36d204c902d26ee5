/* shim_common.c - see shim_common.h. */
#include "tests/fault/shim_common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Noreturn void shim_die(const char *what)
{
    (void)dprintf(STDERR_FILENO, "shim: %s: %s\n", what, strerror(errno));
    _exit(99);
}

/* `path` made absolute, as written. */
static bool make_absolute(int dirfd, const char *path, char out[PATH_MAX])
{
    char link[64], base[PATH_MAX];
    ssize_t size;

    if (path[0] == '/')
        return snprintf(out, PATH_MAX, "%s", path) < PATH_MAX;
    if (dirfd == AT_FDCWD) {
        if (getcwd(base, sizeof(base)) == NULL)
            return false;
    } else {
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
        size = readlink(link, base, sizeof(base) - 1);
        if (size < 0)
            return false;
        base[size] = '\0';
    }
    return snprintf(out, PATH_MAX, "%s/%s", base, path) < PATH_MAX;
}

bool shim_resolve(int dirfd, const char *path, char out[PATH_MAX])
{
    char absolute[PATH_MAX], parent[PATH_MAX];
    char *slash;
    size_t size;

    if (path == NULL || !make_absolute(dirfd, path, absolute))
        return false;
    size = strlen(absolute);
    while (size > 1 && absolute[size - 1] == '/')
        absolute[--size] = '\0';
    slash = strrchr(absolute, '/');
    *slash = '\0';
    if (realpath(slash == absolute ? "/" : absolute, parent) == NULL)
        return false;
    return snprintf(out, PATH_MAX, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash + 1) <
           PATH_MAX;
}

bool shim_watches(const char *absolute)
{
    const char *prefix = getenv("LATHE_SHIM_PATH");
    size_t size;

    if (prefix == NULL)
        return false;
    size = strlen(prefix);
    return strncmp(absolute, prefix, size) == 0 && (absolute[size] == '/' || absolute[size] == 0);
}

bool shim_watched_path(int dirfd, const char *path, char out[PATH_MAX])
{
    int saved = errno;
    bool watched = shim_resolve(dirfd, path, out) && shim_watches(out);

    errno = saved;
    return watched;
}
