/* run_cli.h - runs the program inside a test, with the fake client, and keeps what it printed. */
#ifndef LATHE_TESTS_UNIT_CLI_RUN_CLI_H
#define LATHE_TESTS_UNIT_CLI_RUN_CLI_H
#include "tests/support/test.h"

#include "cli/cli.h"
#include "cli/serve.h"
#include "tests/unit/cli/fake_client.h"

/* The surroundings of the next run, and what the last one did. Reset by run_setup(). */
struct run {
    unsigned columns;
    bool interactive;
    const char *typed;           /* what the person answers */
    const char *server_variable; /* LATHE_SERVER */
    enum lathe_status serve_status;

    char *out, *err;
    struct lathe_serve_config served; /* its texts are gone, but for: */
    char served_data[100];

    char *dir;       /* of the group */
    char path[4300]; /* of the file that run_put() wrote last */
};

extern struct run run;

int run_setup(void **state);
int run_group_setup(void **state);
int run_group_teardown(void **state);

/* `words` begin with "lathe" and end with NULL. Returns the exit code. */
int run_words(const char *const *words);
#define RUN(...) run_words((const char *const[]){"lathe", __VA_ARGS__, NULL})

/* Fails unless `part` is in the text. */
void run_contains(const char *text, const char *part);
/* Writes a file of the group's directory; returns its path. */
const char *run_put(const char *name, const char *text);
/* Answers the call in progress with the collection "words" of a default and a named field. */
void run_reply_collection(void);
#endif
