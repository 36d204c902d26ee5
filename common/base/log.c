/* log.c - see log.h. */
#include "common/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/base/bytes.h"

static _Atomic int minimum_level = LATHE_LOG_INFO;
static const char *const level_names[] = {"debug", "info", "warn", "error"};

enum { LINE_BYTES = 1024 };

void lathe_log_set_level(enum lathe_log_level level)
{
    atomic_store_explicit(&minimum_level, (int)level, memory_order_relaxed);
}

bool lathe_log_level_parse(const char *text, enum lathe_log_level *level_out)
{
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *level_out = (enum lathe_log_level)i;
            return true;
        }
    }
    return false;
}

/* A line in the making. */
struct line {
    char bytes[LINE_BYTES];
    size_t used;
    bool quoted; /* inside a value that began with a quote */
    bool full;   /* something was left out: so is all that follows */
};

/* All of it or nothing, with room left for the closing quote and the newline. */
static void put(struct line *line, const char *text, size_t size)
{
    if (size > sizeof(line->bytes) - 2 - line->used)
        line->full = true;
    if (line->full)
        return;
    memcpy(line->bytes + line->used, text, size);
    line->used += size;
}

static void put_quote(struct line *line)
{
    put(line, "\"", 1);
    line->quoted ^= !line->full;
}

/* One character of a value, escaped if it must be. Returns how many bytes of the text it was. */
static size_t put_escaped(struct line *line, const char *text, bool utf8)
{
    static const char escaped[] = "\"\\\n\r\t", letters[] = "\"\\nrt";
    unsigned char c = (unsigned char)text[0];
    const char *found = strchr(escaped, text[0]);
    char piece[8];
    size_t size;

    if (found != NULL) {
        put(line, (char[]){'\\', letters[found - escaped]}, 2);
        return 1;
    }
    if (c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8)) {
        (void)snprintf(piece, sizeof(piece), "\\u%04x", c);
        put(line, piece, 6);
        return 1;
    }
    size = c < 0xC0 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
    put(line, text, size);
    return size;
}

static bool needs_quotes(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text <= ' ' || strchr("\"\\=\x7F", *text) != NULL)
            return true;
    return false;
}

static void put_text(struct line *line, const char *text)
{
    bool utf8 = lathe_utf8_valid(lathe_bytes_str(text));
    bool quotes = !line->quoted && (!utf8 || needs_quotes(text));

    if (quotes)
        put_quote(line);
    while (*text != '\0' && !line->full)
        text += put_escaped(line, text, utf8);
    if (quotes)
        put_quote(line);
}

static long long next_signed(va_list *args, const char *length)
{
    switch (length[0]) {
    case 'z':
        return va_arg(*args, ssize_t);
    case 'l':
        return length[1] == 'l' ? va_arg(*args, long long) : va_arg(*args, long);
    default:
        return va_arg(*args, int);
    }
}

static unsigned long long next_unsigned(va_list *args, const char *length)
{
    switch (length[0]) {
    case 'z':
        return va_arg(*args, size_t);
    case 'l':
        return length[1] == 'l' ? va_arg(*args, unsigned long long) : va_arg(*args, unsigned long);
    default:
        return va_arg(*args, unsigned);
    }
}

/* Writes one conversion, whose format begins after its '%'. Returns what follows it, NULL if it is
 * none that the log knows. */
static const char *put_conversion(struct line *line, const char *format, va_list *args)
{
    size_t flags = strspn(format, "0123456789.-+# ");
    const char *length = format + flags;
    const char *kind = length + strspn(length, "lz");
    char spec[24], number[64];
    int size;

    if (*kind == 's' && kind == format) {
        const char *text = va_arg(*args, const char *);

        put_text(line, text != NULL ? text : "(null)");
        return kind + 1;
    }
    if (*kind == '\0' || strchr("diux", *kind) == NULL || flags > sizeof(spec) - 5)
        return NULL;
    (void)snprintf(spec, sizeof(spec), "%%%.*sll%c", (int)flags, format, *kind);
    size = *kind == 'd' || *kind == 'i'
               ? snprintf(number, sizeof(number), spec, next_signed(args, length))
               : snprintf(number, sizeof(number), spec, next_unsigned(args, length));
    put(line, number, (size_t)size < sizeof(number) ? (size_t)size : sizeof(number) - 1);
    return kind + 1;
}

static void put_pairs(struct line *line, const char *format, va_list *args)
{
    while (format != NULL && *format != '\0' && !line->full) {
        if (*format == '%') {
            format = put_conversion(line, format + 1, args);
            continue;
        }
        if (*format == '"')
            put_quote(line);
        else
            put(line, format, 1);
        format++;
    }
}

void lathe_log(enum lathe_log_level level, const char *event, const char *format, ...)
{
    struct line line = {.used = 0};
    struct timespec now;
    struct tm utc;
    va_list args;

    if ((int)level < atomic_load_explicit(&minimum_level, memory_order_relaxed))
        return;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    line.used = strftime(line.bytes, sizeof(line.bytes), "time=%Y-%m-%dT%H:%M:%S", &utc);
    line.used += (size_t)snprintf(line.bytes + line.used, sizeof(line.bytes) - line.used,
                                  ".%03ldZ level=%s event=%s ", now.tv_nsec / 1000000,
                                  level_names[level], event);
    va_start(args, format);
    put_pairs(&line, format, &args);
    va_end(args);
    if (line.quoted)
        line.bytes[line.used++] = '"';
    line.bytes[line.used++] = '\n';
    /* One write a line keeps lines whole when several threads log. */
    if (write(STDERR_FILENO, line.bytes, line.used) < 0)
        return; /* a log that cannot be written has nowhere to say so */
}
