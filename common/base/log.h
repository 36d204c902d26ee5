/* log.h - one line an event, logfmt, to stderr: time, level, part, event id, then key=value pairs.
 */
#ifndef LATHE_BASE_LOG_H
#define LATHE_BASE_LOG_H
#include "common/base/status.h"

enum lathe_log_level { LATHE_LOG_DEBUG, LATHE_LOG_INFO, LATHE_LOG_WARN, LATHE_LOG_ERROR };

/* Lines below `level` are dropped before they are formatted. Default: INFO. Threads: any. */
void lathe_log_set_level(enum lathe_log_level level);
bool lathe_log_level_parse(const char *text, enum lathe_log_level *level_out);

/* `event` is a fixed id such as "shard-loaded"; `format` gives key=value pairs, units in the keys.
 * ERROR means that somebody must act. Threads: any; a line is never torn. */
void lathe_log(enum lathe_log_level level, const char *event, const char *format, ...)
    LATHE_PRINTF(3, 4);
#endif
