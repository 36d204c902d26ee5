/* log.h - one line an event, logfmt, to stderr: time, level, event id, then key=value pairs.
 *
 * Values come from anywhere, so the log writes them in a way that a reader can undo: in quotes
 * where they hold a space, a quote, a backslash, '=' or a control character, and then with \", \\,
 * \n, \r, \t and \u001b for what would end the value or the line. */
#ifndef LATHE_BASE_LOG_H
#define LATHE_BASE_LOG_H
#include "common/base/status.h"

enum lathe_log_level { LATHE_LOG_DEBUG, LATHE_LOG_INFO, LATHE_LOG_WARN, LATHE_LOG_ERROR };

/* Lines below `level` are dropped before they are formatted. Default: INFO. Threads: any. */
void lathe_log_set_level(enum lathe_log_level level);
bool lathe_log_level_parse(const char *text, enum lathe_log_level *level_out);

/* `event` is a fixed id such as "shard-loaded"; `format` gives key=value pairs, units in the keys.
 * ERROR means that somebody must act. It knows %s, and %d, %i, %u and %x without a length or with
 * l, ll or z; it takes nothing after another one. A %s is escaped, in quotes of the format's own
 * or, where it needs them, in quotes that it gets. A line that is too long is cut between
 * characters, and ends with its quote closed. Threads: any; a line is never torn. */
void lathe_log(enum lathe_log_level level, const char *event, const char *format, ...)
    LATHE_PRINTF(3, 4);
#endif
