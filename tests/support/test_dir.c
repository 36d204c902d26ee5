/* test_dir.c - temporary directories of tests. */
#include "tests/support/test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *test_dir_create(void)
{
    const char *base = getenv("TMPDIR");
    char path[4096];

    (void)snprintf(path, sizeof(path), "%s/lathe-test-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
    return strdup(path);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void test_dir_remove(char *path)
{
    if (path == NULL)
        return;
    (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(path);
}
