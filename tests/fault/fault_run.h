/* fault_run.h - runs a program under a shim, and lathe_crash after it. */
#ifndef LATHE_TESTS_FAULT_FAULT_RUN_H
#define LATHE_TESTS_FAULT_FAULT_RUN_H
#include <sys/types.h>

#include "tests/support/test.h"

/* A watched directory and a side directory, both inside a fresh temporary one. */
struct fault_dirs {
    char *base;
    char watched[4200];
    char side[4200];
    char off[4200]; /* LATHE_SHIM_OFF: not there */
};

void fault_dirs_init(struct fault_dirs *dirs);
void fault_dirs_fini(struct fault_dirs *dirs);

/* Environment of a shimmed child: "NAME=value" strings, NULL-terminated, beside the paths. */
struct fault_child {
    pid_t pid;
    int out; /* its stdout */
};

/* Starts `argv` (argv[0] a path) in dirs->watched with the shim preloaded; `shim` NULL: none. */
struct fault_child fault_start(const struct fault_dirs *dirs, const char *shim,
                               const char *const *settings, const char *const *argv);
/* Reads what it prints to its end into out (cut at size), waits, returns the wait status. */
int fault_finish(struct fault_child *child, char *out, size_t size);

/* Takes back what was not synced. Fails the test if lathe_crash fails. */
void fault_crash(const struct fault_dirs *dirs);
/* The same, but pages of the unsynced end of a *.log file may stay or be spoiled. */
void fault_crash_torn(const struct fault_dirs *dirs, uint64_t seed);
#endif
