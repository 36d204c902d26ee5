/* option_value.c - one value of an option: its spelling, its range, and what is said when it is
 * wrong. */
#include "common/base/options.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"TiB", (uint64_t)1 << 40},
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"T", (uint64_t)1 << 40},
    {"G", 1 << 30},
    {"M", 1 << 20},
    {"K", 1 << 10},
    {"B", 1},
    {"", 1},
};
static const struct unit time_units[] = {{"min", 60000}, {"s", 1000}, {"ms", 1}};

enum {
    BYTE_UNITS = sizeof(byte_units) / sizeof(byte_units[0]),
    TIME_UNITS = sizeof(time_units) / sizeof(time_units[0])
};

/* Digits, then a unit of the table (spaces between allowed). NULL when it is one, else the reason.
 */
static const char *number_parse(const char *text, const struct unit *units, size_t unit_count,
                                uint64_t *number_out)
{
    const char *p = text;
    uint64_t number = 0;

    if (!isdigit((unsigned char)*p))
        return "does not begin with a digit";
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
            return "does not fit 64 bits";
    while (*p == ' ')
        p++;
    for (size_t i = 0; i < unit_count; i++) {
        if (strcasecmp(p, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].factor, number_out))
            return "does not fit 64 bits";
        return NULL;
    }
    return *p == '\0' ? "lacks a unit" : "has an unknown unit";
}

static const char *bool_parse(const char *text, uint64_t *number_out)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on", "0", "1"};

    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *number_out = i % 2;
            return NULL;
        }
    }
    return "is neither yes nor no";
}

static const char *choice_parse(const char *choices, const char *text, uint64_t *number_out)
{
    size_t size = strlen(text);
    uint64_t position = 0;

    for (const char *p = choices;; p++, position++) {
        size_t word = strcspn(p, "|");

        if (word == size && memcmp(p, text, size) == 0) {
            *number_out = position;
            return NULL;
        }
        p += word;
        if (*p == '\0')
            return "is not one of the choices";
    }
}

/* NULL when the value is well formed, else what is wrong with it. */
static const char *value_parse(const struct lathe_option *option, const char *text,
                               uint64_t *number_out)
{
    static const struct unit none[] = {{"", 1}};
    const char *wrong = NULL;

    switch (option->type) {
    case LATHE_OPTION_BOOL:
        return bool_parse(text, number_out);
    case LATHE_OPTION_CHOICE:
        return choice_parse(option->choices, text, number_out);
    case LATHE_OPTION_TEXT:
    case LATHE_OPTION_PATH:
        if (text[0] == '\0')
            return "is empty";
        return lathe_utf8_valid(lathe_bytes_str(text)) || option->type == LATHE_OPTION_PATH
                   ? NULL
                   : "is not valid UTF-8";
    case LATHE_OPTION_UINT:
        wrong = number_parse(text, none, 1, number_out);
        if (wrong != NULL)
            wrong = "is not a whole number of 64 bits";
        break;
    case LATHE_OPTION_BYTES:
        wrong = number_parse(text, byte_units, BYTE_UNITS, number_out);
        break;
    case LATHE_OPTION_DURATION:
        wrong = number_parse(text, time_units, TIME_UNITS, number_out);
        break;
    }
    if (wrong == NULL && (*number_out < option->min || *number_out > option->max))
        wrong = "is outside the range";
    return wrong;
}

enum lathe_status lathe_option_check(const struct lathe_option *option, const char *text,
                                     const char *where, uint64_t *number_out, bool *auto_out,
                                     struct lathe_error *err)
{
    struct lathe_buf range = {0};
    const char *wrong;

    *number_out = 0;
    *auto_out = (option->flags & LATHE_OPTION_AUTO) != 0 && strcmp(text, "auto") == 0;
    if (*auto_out)
        return LATHE_OK;
    wrong = value_parse(option, text, number_out);
    if (wrong == NULL)
        return LATHE_OK;
    *number_out = 0;
    lathe_option_range(option, &range);
    lathe_buf_u8(&range, 0);
    (void)lathe_fail_field(err, LATHE_INVALID_ARGUMENT, option->name, "%s: \"%s\" %s%s%s (from %s)",
                           option->name, text, wrong,
                           range.failed || range.size <= 1 ? "" : "; it takes ",
                           range.failed ? "" : (const char *)range.data, where);
    lathe_buf_fini(&range);
    return LATHE_INVALID_ARGUMENT;
}

void lathe_option_format_number(enum lathe_option_type type, uint64_t number,
                                char text_out[LATHE_OPTION_NUMBER_BYTES])
{
    const struct unit *units = type == LATHE_OPTION_BYTES ? byte_units : time_units;
    size_t count = type == LATHE_OPTION_BYTES ? 4 : TIME_UNITS;

    for (size_t i = 0; type != LATHE_OPTION_UINT && i < count; i++) {
        if (number > 0 && number % units[i].factor == 0) {
            (void)snprintf(text_out, LATHE_OPTION_NUMBER_BYTES, "%" PRIu64 " %s",
                           number / units[i].factor, units[i].name);
            return;
        }
    }
    (void)snprintf(text_out, LATHE_OPTION_NUMBER_BYTES, "%" PRIu64, number);
}

void lathe_option_variable(const struct lathe_option *option,
                           char name_out[LATHE_OPTION_VARIABLE_BYTES])
{
    (void)snprintf(name_out, LATHE_OPTION_VARIABLE_BYTES, "LATHE_%s", option->name);
    for (char *p = name_out; *p != '\0'; p++)
        *p = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

static void choices_range(const char *choices, struct lathe_buf *out)
{
    for (const char *p = choices; *p != '\0'; p++) {
        size_t word = strcspn(p, "|");
        bool last = strchr(p + word, '|') == NULL || p[word] == '\0';

        if (p != choices)
            lathe_buf_text(out, last ? " or " : ", ");
        lathe_buf_append(out, p, word);
        p += word;
        if (*p == '\0')
            return;
    }
}

void lathe_option_range(const struct lathe_option *option, struct lathe_buf *out)
{
    char min[LATHE_OPTION_NUMBER_BYTES], max[LATHE_OPTION_NUMBER_BYTES];
    const char *unit = option->unit != NULL ? option->unit : "";

    switch (option->type) {
    case LATHE_OPTION_BOOL:
        lathe_buf_text(out, "yes or no");
        return;
    case LATHE_OPTION_CHOICE:
        choices_range(option->choices, out);
        break;
    case LATHE_OPTION_TEXT:
    case LATHE_OPTION_PATH:
        return;
    case LATHE_OPTION_UINT:
    case LATHE_OPTION_BYTES:
    case LATHE_OPTION_DURATION:
        lathe_option_format_number(option->type, option->min, min);
        lathe_option_format_number(option->type, option->max, max);
        if (option->max == UINT64_MAX)
            lathe_buf_printf(out, "at least %s", min);
        else
            lathe_buf_printf(out, "%s to %s", min, max);
        if (unit[0] != '\0')
            lathe_buf_printf(out, " %s", unit);
        break;
    }
    if ((option->flags & LATHE_OPTION_AUTO) != 0)
        lathe_buf_text(out, ", or auto");
}
