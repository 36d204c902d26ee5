/* progress.h - how far a long command is: a bar on a terminal, a line now and then elsewhere. */
#ifndef LATHE_CLI_PROGRESS_H
#define LATHE_CLI_PROGRESS_H
#include <stdbool.h>
#include <stdio.h>

#include "common/base/clock.h"

struct lathe_progress {
    FILE *out;
    unsigned columns; /* of the terminal; 0 = none */
    const struct lathe_clock *clock;
    uint64_t begun_us;
    uint64_t shown_us;
    uint64_t rows_before; /* done by an earlier run */
    double part_before;
    bool line_open; /* a bar stands on the terminal's last line */
};

void lathe_progress_start(struct lathe_progress *progress, FILE *out, unsigned columns,
                          const struct lathe_clock *clock, uint64_t rows_before,
                          double part_before);
/* `rows` done, which is `part` (0 to 1) of all; total_rows 0 = not known. Prints only when it is
 * time. */
void lathe_progress_show(struct lathe_progress *progress, uint64_t rows, uint64_t total_rows,
                         double part);
/* Takes the bar away, if there is one: what is said next stands in its place. */
void lathe_progress_stop(struct lathe_progress *progress);
/* Rows a second since the start. */
double lathe_progress_rate(const struct lathe_progress *progress, uint64_t rows);
/* "1,234,567" */
const char *lathe_progress_number(uint64_t number, char text_out[32]);
/* "0:07", "12:34", "3:02:01" */
const char *lathe_progress_time(double seconds, char text_out[32]);
#endif
