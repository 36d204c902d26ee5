/* main.c - the `lathe` program: its surroundings, handed to lathe_cli_run(). */
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/dispatch.h"
#include "cli/serve.h"

static const char *environment(const char *name)
{
    return getenv(name);
}

/* The width to cut tables to: COLUMNS, as usual, or that of the terminal behind a stream; 0 if
 * neither. */
static unsigned columns_of(FILE *stream)
{
    const char *wanted = getenv("COLUMNS");
    unsigned long columns = wanted != NULL ? strtoul(wanted, NULL, 10) : 0;
    struct winsize size;

    if (columns >= 20 && columns <= 10000)
        return (unsigned)columns;
    if (isatty(fileno(stream)) == 0)
        return 0;
    return ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

int main(int argc, char **argv)
{
    struct lathe_cli cli = {
        .in = stdin,
        .out = stdout,
        .err = stderr,
        .out_columns = columns_of(stdout),
        /* A progress bar is drawn on a terminal alone, whatever COLUMNS says. */
        .err_columns = isatty(STDERR_FILENO) != 0 ? columns_of(stderr) : 0,
        .interactive = isatty(STDIN_FILENO) != 0 && isatty(STDERR_FILENO) != 0,
        .environment = environment,
        .clock = &lathe_system_clock,
        .serve = lathe_serve_run,
    };

    /* A reader that goes away is an error of the write, said with an exit code. */
    (void)signal(SIGPIPE, SIG_IGN);
    return lathe_cli_run(&cli, argc, (const char *const *)argv);
}
