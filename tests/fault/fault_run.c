/* fault_run.c - see fault_run.h. The build passes the paths of the shims and of lathe_crash. */
#include "tests/fault/fault_run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

void fault_dirs_init(struct fault_dirs *dirs)
{
    char *made = test_dir_create();

    dirs->base = realpath(made, NULL);
    free(made);
    assert_non_null(dirs->base);
    (void)snprintf(dirs->watched, sizeof(dirs->watched), "%s/watched", dirs->base);
    (void)snprintf(dirs->side, sizeof(dirs->side), "%s/side", dirs->base);
    (void)snprintf(dirs->off, sizeof(dirs->off), "%s/off", dirs->base);
    assert_int_equal(mkdir(dirs->watched, 0755), 0);
    assert_int_equal(mkdir(dirs->side, 0755), 0);
}

void fault_dirs_fini(struct fault_dirs *dirs)
{
    test_dir_remove(dirs->base);
    dirs->base = NULL;
}

/* In the child: never returns. */
static void become(const struct fault_dirs *dirs, const char *shim, const char *const *settings,
                   const char *const *argv)
{
    (void)setenv("LATHE_SHIM_PATH", dirs->watched, 1);
    (void)setenv("LATHE_SHIM_SIDE", dirs->side, 1);
    (void)setenv("LATHE_SHIM_OFF", dirs->off, 1);
    for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
        (void)putenv((char *)(uintptr_t)settings[i]);
    if (shim != NULL)
        (void)setenv("LD_PRELOAD", shim, 1);
    /* The shims stand in front of a sanitizer's runtime and pass everything on to it. */
    (void)setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1);
    if (chdir(dirs->watched) == 0)
        (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    perror(argv[0]);
    _exit(127);
}

struct fault_child fault_start(const struct fault_dirs *dirs, const char *shim,
                               const char *const *settings, const char *const *argv)
{
    struct fault_child child;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    (void)fflush(stdout);
    child.pid = fork();
    if (child.pid == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)close(ends[1]);
        become(dirs, shim, settings, argv);
    }
    assert_true(child.pid > 0);
    (void)close(ends[1]);
    child.out = ends[0];
    return child;
}

int fault_finish(struct fault_child *child, char *out, size_t size)
{
    char spare[4096];
    size_t used = 0;
    ssize_t got;
    int status = 0;

    while ((got = read(child->out, spare, sizeof(spare))) > 0) {
        for (ssize_t i = 0; i < got && used + 1 < size; i++)
            out[used++] = spare[i];
    }
    if (size > 0)
        out[used] = '\0';
    (void)close(child->out);
    assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
    return status;
}

static void crash(const struct fault_dirs *dirs, const char *seed)
{
    const char *argv[] = {LATHE_CRASH, dirs->watched, dirs->side, seed, NULL};
    struct fault_child child = fault_start(dirs, NULL, NULL, argv);
    char out[256];
    int status = fault_finish(&child, out, sizeof(out));

    if (status != 0)
        fail_msg("lathe_crash: status %d, %s", status, out);
}

void fault_crash(const struct fault_dirs *dirs)
{
    crash(dirs, NULL);
}

void fault_crash_torn(const struct fault_dirs *dirs, uint64_t seed)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64, seed);
    crash(dirs, text);
}
