/* options.c - collects the values of a table of options from all its sources. */
#include "common/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>

#include "common/base/check.h"
#include "common/base/mem.h"

enum { WHERE_BYTES = 256, LINE_LIMIT_BYTES = 64 * 1024 };

struct value {
    char *text;
    uint64_t number;
    bool automatic;
};

/* Later sources overrule earlier ones, so this order is the order of precedence. */
enum source { FROM_NOWHERE, FROM_DEFAULT, FROM_FILE, FROM_ENVIRONMENT, FROM_FLAG };

/* The values of one row, all from one source. */
struct slot {
    struct value *values;
    size_t count;
    size_t capacity;
    enum source source;
    char where[WHERE_BYTES];
};

struct lathe_options {
    const struct lathe_option_set *set;
    struct slot *slots; /* one a row */
};

static void slot_clear(struct slot *slot)
{
    for (size_t i = 0; i < slot->count; i++)
        lathe_free(slot->values[i].text);
    slot->count = 0;
}

void lathe_options_destroy(struct lathe_options *options)
{
    if (options == NULL)
        return;
    for (size_t i = 0; options->slots != NULL && i < options->set->option_count; i++) {
        slot_clear(&options->slots[i]);
        lathe_free(options->slots[i].values);
    }
    lathe_free(options->slots);
    lathe_free(options);
}

static bool has_flag(const struct lathe_option *option, unsigned flag)
{
    return (option->flags & flag) != 0;
}

/* Checks a value and makes it the row's: in place of what came from elsewhere, beside what came
 * from the same source if the row is REPEATED. */
static enum lathe_status slot_add(struct lathe_options *options, size_t row, enum source source,
                                  const char *where, const char *text, struct lathe_error *err)
{
    const struct lathe_option *option = &options->set->options[row];
    struct slot *slot = &options->slots[row];
    struct value value;
    enum lathe_status rc;

    rc = lathe_option_check(option, text, where, &value.number, &value.automatic, err);
    if (rc != LATHE_OK || source < slot->source)
        return rc;
    if (source != slot->source || !has_flag(option, LATHE_OPTION_REPEATED))
        slot_clear(slot);
    if (!lathe_grow(&slot->values, &slot->capacity, slot->count + 1, sizeof(value)))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the options");
    value.text = lathe_strdup(text);
    if (value.text == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the options");
    slot->values[slot->count++] = value;
    slot->source = source;
    (void)snprintf(slot->where, sizeof(slot->where), "%s", where);
    return LATHE_OK;
}

/* The row of that name which is no argument, or option_count. */
static size_t row_of(const struct lathe_option_set *set, const char *name, size_t size)
{
    size_t row = 0;

    while (row < set->option_count && (has_flag(&set->options[row], LATHE_OPTION_POSITIONAL) ||
                                       strlen(set->options[row].name) != size ||
                                       memcmp(set->options[row].name, name, size) != 0))
        row++;
    return row;
}

static size_t row_of_letter(const struct lathe_option_set *set, char letter)
{
    size_t row = 0;

    while (row < set->option_count && (letter == '\0' || set->options[row].letter != letter))
        row++;
    return row;
}

/* The next argument that takes no flag: rows are filled in table order, a REPEATED one takes the
 * rest. */
static enum lathe_status positional_add(struct lathe_options *options, const char *text,
                                        struct lathe_error *err)
{
    const struct lathe_option_set *set = options->set;

    for (size_t row = 0; row < set->option_count; row++) {
        const struct lathe_option *option = &set->options[row];

        if (!has_flag(option, LATHE_OPTION_POSITIONAL))
            continue;
        if (options->slots[row].source != FROM_FLAG || has_flag(option, LATHE_OPTION_REPEATED))
            return slot_add(options, row, FROM_FLAG, option->value, text, err);
    }
    return lathe_fail(err, LATHE_INVALID_ARGUMENT, "unexpected argument \"%s\"", text);
}

/* What one flag is made of: its row, its name as written, and a value in the same argument, if any.
 */
struct flag {
    size_t row;
    int name_size;
    const char *value;
};

static struct flag flag_split(const struct lathe_option_set *set, const char *argument)
{
    struct flag flag = {.value = NULL};

    if (argument[1] == '-') {
        size_t size = strcspn(argument, "=");

        flag.row = row_of(set, argument + 2, size - 2);
        flag.name_size = (int)size;
        flag.value = argument[size] == '=' ? argument + size + 1 : NULL;
    } else {
        flag.row = row_of_letter(set, argument[1]);
        flag.name_size = 2;
        flag.value = argument[2] != '\0' ? argument + 2 : NULL;
    }
    return flag;
}

/* Takes the flag at *at_p, and the argument behind it where that is its value. */
static enum lathe_status flag_add(struct lathe_options *options,
                                  const struct lathe_option_sources *sources, size_t *at_p,
                                  struct lathe_error *err)
{
    const char *argument = sources->arguments[*at_p];
    struct flag flag = flag_split(options->set, argument);
    char where[LATHE_OPTION_VARIABLE_BYTES];
    const struct lathe_option *option;

    if (flag.row == options->set->option_count)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "unknown option %.*s", flag.name_size,
                          argument);
    option = &options->set->options[flag.row];
    (void)snprintf(where, sizeof(where), "--%s", option->name);
    if (flag.value == NULL && option->type == LATHE_OPTION_BOOL) {
        flag.value = "yes";
    } else if (flag.value == NULL) {
        const char *next = *at_p + 1 < sources->argument_count ? sources->arguments[*at_p + 1]
                                                               : "--";

        /* What looks like a flag is one: a forgotten value must not swallow it. --name=-x is a way
         * out. */
        if (next[0] == '-' && next[1] != '\0')
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, option->name, "%.*s needs a value",
                                    flag.name_size, argument);
        flag.value = next;
        (*at_p)++;
    }
    return slot_add(options, flag.row, FROM_FLAG, where, flag.value, err);
}

static enum lathe_status read_arguments(struct lathe_options *options,
                                        const struct lathe_option_sources *sources,
                                        struct lathe_error *err)
{
    bool flags_ended = false;

    for (size_t at = 0; at < sources->argument_count; at++) {
        const char *argument = sources->arguments[at];
        enum lathe_status rc;

        if (!flags_ended && strcmp(argument, "--") == 0) {
            flags_ended = true;
            continue;
        }
        if (!flags_ended && argument[0] == '-' && argument[1] != '\0')
            rc = flag_add(options, sources, &at, err);
        else
            rc = positional_add(options, argument, err);
        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}

/* An empty variable counts as unset, since many launchers cannot unset one. */
static enum lathe_status read_environment(struct lathe_options *options,
                                          const struct lathe_option_sources *sources,
                                          struct lathe_error *err)
{
    char variable[LATHE_OPTION_VARIABLE_BYTES];

    for (size_t row = 0; row < options->set->option_count; row++) {
        const struct lathe_option *option = &options->set->options[row];
        const char *text;
        enum lathe_status rc;

        if (sources->environment == NULL || has_flag(option, LATHE_OPTION_FLAG_ONLY))
            continue;
        lathe_option_variable(option, variable);
        text = sources->environment(variable);
        if (text == NULL || text[0] == '\0')
            continue;
        rc = slot_add(options, row, FROM_ENVIRONMENT, variable, text, err);
        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}

static char *trim(char *text)
{
    size_t size;

    while (isspace((unsigned char)*text))
        text++;
    size = strlen(text);
    while (size > 0 && isspace((unsigned char)text[size - 1]))
        text[--size] = '\0';
    return text;
}

/* Cuts a comment off: '#' at the beginning or after a space, so that a value may hold one inside.
 */
static void cut_comment(char *line)
{
    for (char *p = line; *p != '\0'; p++) {
        if (*p == '#' && (p == line || isspace((unsigned char)p[-1]))) {
            *p = '\0';
            return;
        }
    }
}

static enum lathe_status file_line(struct lathe_options *options, char *line, const char *where,
                                   struct lathe_error *err)
{
    const struct lathe_option_set *set = options->set;
    char *equals, *name;
    size_t row;

    cut_comment(line);
    line = trim(line);
    if (line[0] == '\0')
        return LATHE_OK;
    equals = strchr(line, '=');
    if (equals == NULL)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s: \"%s\" is not \"option = value\"",
                          where, line);
    *equals = '\0';
    name = trim(line);
    row = row_of(set, name, strlen(name));
    if (row == set->option_count)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "%s: unknown option \"%s\"", where, name);
    if (has_flag(&set->options[row], LATHE_OPTION_FLAG_ONLY) || strcmp(name, "config") == 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, name,
                                "%s: %s can only be given as a flag", where, name);
    if (options->slots[row].source == FROM_FILE &&
        !has_flag(&set->options[row], LATHE_OPTION_REPEATED))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, name, "%s: %s was given before, at %s",
                                where, name, options->slots[row].where);
    return slot_add(options, row, FROM_FILE, where, trim(equals + 1), err);
}

static enum lathe_status read_file(struct lathe_options *options, const char *path,
                                   struct lathe_error *err)
{
    FILE *file = fopen(path, "re");
    char *line = NULL;
    size_t capacity = 0;
    unsigned number = 0;
    ssize_t size;
    enum lathe_status rc = LATHE_OK;

    if (file == NULL)
        return lathe_fail_field(err, LATHE_NOT_FOUND, "config",
                                "the configuration file %s cannot be read: %s", path,
                                strerror(errno));
    while (rc == LATHE_OK && (size = getline(&line, &capacity, file)) >= 0) {
        char where[WHERE_BYTES];

        (void)snprintf(where, sizeof(where), "%s:%u", path, ++number);
        if (size > LINE_LIMIT_BYTES || memchr(line, '\0', (size_t)size) != NULL)
            rc = lathe_fail(err, LATHE_INVALID_ARGUMENT,
                            "%s: a line must be text of at most %d bytes", where, LINE_LIMIT_BYTES);
        else
            rc = file_line(options, line, where, err);
    }
    if (rc == LATHE_OK && ferror(file))
        rc = lathe_fail_field(err, LATHE_NOT_FOUND, "config",
                              "the configuration file %s cannot be read: %s", path,
                              strerror(errno));
    lathe_free(line);
    (void)fclose(file);
    return rc;
}

static enum lathe_status read_defaults(struct lathe_options *options, struct lathe_error *err)
{
    for (size_t row = 0; row < options->set->option_count; row++) {
        const char *fallback = options->set->options[row].fallback;
        enum lathe_status rc;

        if (fallback == NULL)
            continue;
        rc = slot_add(options, row, FROM_DEFAULT, "default", fallback, err);
        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}

static enum lathe_status check_required(const struct lathe_options *options,
                                        struct lathe_error *err)
{
    for (size_t row = 0; row < options->set->option_count; row++) {
        const struct lathe_option *option = &options->set->options[row];

        if (!has_flag(option, LATHE_OPTION_REQUIRED) || options->slots[row].count > 0)
            continue;
        if (has_flag(option, LATHE_OPTION_POSITIONAL))
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, option->name, "%s is missing",
                                    option->value);
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, option->name, "--%s is missing",
                                option->name);
    }
    return LATHE_OK;
}

enum lathe_status lathe_options_create(const struct lathe_option_set *set,
                                       const struct lathe_option_sources *sources,
                                       struct lathe_options **options_out, struct lathe_error *err)
{
    struct lathe_options *options = lathe_zalloc(sizeof(*options));
    enum lathe_status rc;
    size_t config;

    *options_out = NULL;
    if (options != NULL) {
        options->set = set;
        options->slots = lathe_zalloc_array(set->option_count, sizeof(*options->slots));
    }
    if (options == NULL || options->slots == NULL) {
        lathe_options_destroy(options);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the options");
    }
    /* Flags and environment come first because they name the file; the order of precedence holds
     * all the same, since slot_add() never lets a weaker source overrule a stronger one. */
    rc = read_defaults(options, err);
    if (rc == LATHE_OK)
        rc = read_environment(options, sources, err);
    if (rc == LATHE_OK)
        rc = read_arguments(options, sources, err);
    config = row_of(set, "config", strlen("config"));
    if (rc == LATHE_OK && config < set->option_count && options->slots[config].count > 0)
        rc = read_file(options, options->slots[config].values[0].text, err);
    if (rc == LATHE_OK)
        rc = check_required(options, err);
    if (rc == LATHE_OK) {
        *options_out = options;
        options = NULL;
    }
    lathe_options_destroy(options);
    return rc;
}

bool lathe_options_want_help(const struct lathe_option_sources *sources)
{
    for (size_t i = 0; i < sources->argument_count; i++) {
        const char *argument = sources->arguments[i];

        if (strcmp(argument, "--") == 0)
            return false;
        if (strcmp(argument, "--help") == 0 || strcmp(argument, "-h") == 0)
            return true;
    }
    return false;
}

static const struct slot *slot_of(const struct lathe_options *options, const char *name)
{
    for (size_t row = 0; row < options->set->option_count; row++)
        if (strcmp(options->set->options[row].name, name) == 0)
            return &options->slots[row];
    LATHE_UNREACHABLE();
}

const char *lathe_options_text(const struct lathe_options *options, const char *name)
{
    const struct slot *slot = slot_of(options, name);

    return slot->count > 0 ? slot->values[0].text : NULL;
}

uint64_t lathe_options_number(const struct lathe_options *options, const char *name)
{
    const struct slot *slot = slot_of(options, name);

    return slot->count > 0 ? slot->values[0].number : 0;
}

bool lathe_options_bool(const struct lathe_options *options, const char *name)
{
    return lathe_options_number(options, name) != 0;
}

bool lathe_options_auto(const struct lathe_options *options, const char *name)
{
    const struct slot *slot = slot_of(options, name);

    return slot->count > 0 && slot->values[0].automatic;
}

bool lathe_options_given(const struct lathe_options *options, const char *name)
{
    return slot_of(options, name)->source > FROM_DEFAULT;
}

size_t lathe_options_count(const struct lathe_options *options, const char *name)
{
    return slot_of(options, name)->count;
}

const char *lathe_options_text_at(const struct lathe_options *options, const char *name,
                                  size_t index)
{
    const struct slot *slot = slot_of(options, name);

    LATHE_REQUIRE(index < slot->count);
    return slot->values[index].text;
}

unsigned lathe_options_choice(const struct lathe_options *options, const char *name)
{
    return (unsigned)lathe_options_number(options, name);
}

void lathe_options_visit(const struct lathe_options *options, lathe_options_visit_fn *visit,
                         void *context)
{
    for (size_t row = 0; row < options->set->option_count; row++) {
        const struct slot *slot = &options->slots[row];

        for (size_t i = 0; i < slot->count; i++)
            visit(context, options->set->options[row].name, slot->values[i].text, slot->where);
    }
}
