/* cli.h - what every command of `lathe` gets, what commands share, and how they end. */
#ifndef LATHE_CLI_CLI_H
#define LATHE_CLI_CLI_H
#include <protobuf-c/protobuf-c.h>
#include <stdio.h>

#include "client/lathe.h"
#include "common/base/clock.h"
#include "common/base/options.h"

struct lathe_serve_config;

/* Exit codes of every command; `lathe help` lists them. */
enum {
    LATHE_EXIT_OK = 0,
    LATHE_EXIT_FAILED = 1,      /* the operation failed */
    LATHE_EXIT_USAGE = 2,       /* the command line, environment or configuration file is wrong */
    LATHE_EXIT_UNREACHABLE = 3, /* the server cannot be reached */
};

typedef enum lathe_status lathe_serve_fn(const struct lathe_serve_config *config,
                                         struct lathe_error *err);

/* What a command runs with. Zeroed but for the streams, the clock and `serve`, it is ready for
 * lathe_cli_run(). Threads: one. */
struct lathe_cli {
    FILE *in;             /* where a question is answered */
    FILE *out;            /* results */
    FILE *err;            /* errors, questions, progress */
    unsigned out_columns; /* width of the terminal behind `out`; 0 = none */
    unsigned err_columns; /* the same of `err` */
    bool interactive;     /* a person sits at `in` and `err` */
    const char *(*environment)(const char *name);
    const struct lathe_clock *clock;
    lathe_serve_fn *serve; /* the body of `lathe serve` */

    const struct lathe_options *options; /* of the running command */
    struct lathe_client *client;         /* opened by the first call */
};

/* Says on cli->err what went wrong (`err` holds it) and returns the exit code that goes with it. */
int lathe_cli_fail(struct lathe_cli *cli, const struct lathe_error *err);
/* Says that the command line is wrong; returns LATHE_EXIT_USAGE. */
int lathe_cli_usage(struct lathe_cli *cli, const char *format, ...) LATHE_PRINTF(2, 3);

/* The connection of the option --server, opened on first use; closed by lathe_cli_run(). */
LATHE_MUST_CHECK enum lathe_status lathe_cli_connect(struct lathe_cli *cli,
                                                     struct lathe_error *err);
/* One call with the options --server and --timeout. On LATHE_OK *reply_out is freed with
 * lathe_client_free_reply(). */
LATHE_MUST_CHECK enum lathe_status lathe_cli_call(struct lathe_cli *cli, const char *path,
                                                  const ProtobufCMessage *request,
                                                  const ProtobufCMessageDescriptor *reply_type,
                                                  void *reply_out, struct lathe_error *err);

/* Prints a buffer to cli->out. LATHE_EXIT_FAILED if memory was short or it cannot be written. */
int lathe_cli_print(struct lathe_cli *cli, const struct lathe_buf *text);
#endif
