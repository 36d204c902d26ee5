/* progress.c - see progress.h. */
#include "cli/progress.h"

#include <inttypes.h>
#include <string.h>

enum { BAR_EVERY_US = 100 * 1000, LINE_EVERY_US = 5 * 1000 * 1000, BAR_LONGEST = 30 };

void lathe_progress_start(struct lathe_progress *progress, FILE *out, unsigned columns,
                          const struct lathe_clock *clock, uint64_t rows_before, double part_before)
{
    uint64_t now = lathe_now_us(clock);

    *progress = (struct lathe_progress){.out = out,
                                        .columns = columns,
                                        .clock = clock,
                                        .begun_us = now,
                                        .shown_us = now,
                                        .rows_before = rows_before,
                                        .part_before = part_before};
}

const char *lathe_progress_number(uint64_t number, char text_out[32])
{
    char digits[24];
    size_t count = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, number);
    char *p = text_out;

    for (size_t i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            *p++ = ',';
        *p++ = digits[i];
    }
    *p = '\0';
    return text_out;
}

const char *lathe_progress_time(double seconds, char text_out[32])
{
    uint64_t s = seconds >= 0 && seconds < 1e9 ? (uint64_t)(seconds + 0.5) : 0;

    if (s >= 3600)
        (void)snprintf(text_out, 32, "%" PRIu64 ":%02u:%02u", s / 3600, (unsigned)(s / 60 % 60),
                       (unsigned)(s % 60));
    else
        (void)snprintf(text_out, 32, "%u:%02u", (unsigned)(s / 60), (unsigned)(s % 60));
    return text_out;
}

static double seconds_since(const struct lathe_progress *progress)
{
    return (double)(lathe_now_us(progress->clock) - progress->begun_us) * 1e-6;
}

double lathe_progress_rate(const struct lathe_progress *progress, uint64_t rows)
{
    double seconds = seconds_since(progress);

    return seconds > 0 ? (double)(rows - progress->rows_before) / seconds : 0;
}

static void print_bar(const struct lathe_progress *progress, const char *text, double part)
{
    size_t text_columns = strlen(text) + sizeof("100 % [] ") - 1;
    size_t room = progress->columns > text_columns + 1 ? progress->columns - 1 - text_columns : 0;
    size_t size = room < BAR_LONGEST ? room : BAR_LONGEST;
    size_t full = (size_t)((double)size * part);

    (void)fprintf(progress->out, "\r%3u %% [", (unsigned)(part * 100));
    for (size_t i = 0; i < size; i++)
        (void)fputc(i < full ? '#' : '.', progress->out);
    (void)fprintf(progress->out, "] %s\x1b[K", text);
    (void)fflush(progress->out);
}

void lathe_progress_show(struct lathe_progress *progress, uint64_t rows, uint64_t total_rows,
                         double part)
{
    uint64_t now = lathe_now_us(progress->clock);
    char done[32], total[32], rate[32], left[32], text[192];
    double gained = part - progress->part_before;

    if (now - progress->shown_us < (progress->columns > 0 ? BAR_EVERY_US : LINE_EVERY_US))
        return;
    progress->shown_us = now;
    (void)snprintf(text, sizeof(text), "%s%s%s rows, %s rows/s, %s left",
                   lathe_progress_number(rows, done), total_rows > 0 ? " of " : "",
                   total_rows > 0 ? lathe_progress_number(total_rows, total) : "",
                   lathe_progress_number((uint64_t)lathe_progress_rate(progress, rows), rate),
                   gained > 0
                       ? lathe_progress_time(seconds_since(progress) * (1 - part) / gained, left)
                       : "?");
    if (progress->columns > 0) {
        print_bar(progress, text, part);
        progress->line_open = true;
    } else {
        (void)fprintf(progress->out, "%3u %%  %s\n", (unsigned)(part * 100), text);
        (void)fflush(progress->out);
    }
}

void lathe_progress_stop(struct lathe_progress *progress)
{
    if (progress->line_open)
        (void)fputs("\r\x1b[K", progress->out);
    progress->line_open = false;
}
