/* answer_view.h - how the answer to a search is shown: a table with a line about it, or JSON. */
#ifndef LATHE_CLI_ANSWER_VIEW_H
#define LATHE_CLI_ANSWER_VIEW_H
#include "cli/cli.h"
#include "cli/point_view.h"
#include "lathe/v1/search.pb-c.h"

/* What an answer is headed by, and what of its hits is shown. */
struct lathe_answer_head {
    const char *text; /* of the question; NULL = none */
    uint64_t row;     /* of the question, in its file */
    bool titled;      /* one of several */
    size_t together;  /* searches that the times of the report are about */
    struct lathe_point_columns columns;
};

/* Prints one answer to cli->out. Returns the exit code. */
int lathe_answer_print(struct lathe_cli *cli, const struct lathe_answer_head *head,
                       const Lathe__V1__SearchResponse *reply);
#endif
