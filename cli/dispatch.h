/* dispatch.h - finds the command that the words name, reads its options, runs it. */
#ifndef LATHE_CLI_DISPATCH_H
#define LATHE_CLI_DISPATCH_H
#include "cli/cli.h"

/* The whole program. Returns the exit code. */
int lathe_cli_run(struct lathe_cli *cli, int argc, const char *const *argv);
#endif
