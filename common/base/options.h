/* options.h - one table of options drives flags, environment, configuration file, checks, help and
 * documents.
 *
 * An option exists only as a row of a table. Its value comes from the first of these that has it:
 * the flag --name, the environment variable LATHE_NAME, the line "name = value" of the
 * configuration file, the row's default. Every value is checked wherever it comes from, also one
 * that is then overruled. */
#ifndef LATHE_BASE_OPTIONS_H
#define LATHE_BASE_OPTIONS_H
#include "common/base/bytes.h"

enum lathe_option_type {
    LATHE_OPTION_BOOL,  /* a flag alone means yes; yes/no, true/false, on/off, 1/0 are understood */
    LATHE_OPTION_UINT,  /* decimal digits */
    LATHE_OPTION_BYTES, /* digits, then nothing or K, M, G, T (KiB, MiB, GiB, TiB): powers of 1,024
                         */
    LATHE_OPTION_DURATION, /* digits, then ms, s or min; kept in milliseconds */
    LATHE_OPTION_TEXT,
    LATHE_OPTION_CHOICE, /* one of a few words */
    LATHE_OPTION_PATH    /* of a file or directory; not opened here */
};

/* lathe_option.flags */
enum {
    LATHE_OPTION_AUTO = 1,       /* "auto" is a value too: the program decides */
    LATHE_OPTION_REQUIRED = 2,   /* must be given */
    LATHE_OPTION_REPEATED = 4,   /* may come several times, and every one counts */
    LATHE_OPTION_FLAG_ONLY = 8,  /* belongs to one call: not read from file or environment */
    LATHE_OPTION_POSITIONAL = 16 /* an argument without a flag, in table order; FLAG_ONLY as well */
};

/* A row. Plain constant data. */
struct lathe_option {
    const char *name; /* "memory-limit": --memory-limit, LATHE_MEMORY_LIMIT, "memory-limit = ..." */
    enum lathe_option_type type;
    unsigned flags;
    char letter;          /* 'k' for -k; 0 = none */
    const char *value;    /* what help calls the value: "ADDR"; NULL for BOOL and CHOICE */
    uint64_t min, max;    /* of UINT, BYTES and DURATION, inclusive */
    const char *choices;  /* of CHOICE: "cosine|dot|euclidean" */
    const char *fallback; /* the default as a person writes it; NULL = none */
    const char *unit;     /* of a UINT: "threads"; NULL = none */
    const char *summary;  /* one sentence */
};

/* The table of one command. */
struct lathe_option_set {
    const char *command; /* "lathe serve" */
    const char *summary; /* one sentence */
    const char *notes;   /* paragraphs below the options in help and documents; NULL = none */
    const struct lathe_option *options;
    size_t option_count;
};

struct lathe_option_sources {
    const char *const *arguments; /* those behind the command's name */
    size_t argument_count;
    const char *(*environment)(const char *name); /* NULL: there is none */
};

struct lathe_options;

/* Reads all sources. A row named "config" of type PATH names the configuration file.
 * Owner: the caller, lathe_options_destroy(). Memory: sources are copied; `set` is kept.
 * Errors: INVALID_ARGUMENT naming option, value, range and source; NOT_FOUND: no configuration
 * file. */
LATHE_MUST_CHECK enum lathe_status lathe_options_create(const struct lathe_option_set *set,
                                                        const struct lathe_option_sources *sources,
                                                        struct lathe_options **options_out,
                                                        struct lathe_error *err);
void lathe_options_destroy(struct lathe_options *options);

/* True if --help or -h is among the arguments (before "--"). */
bool lathe_options_want_help(const struct lathe_option_sources *sources);

/* `name` must be a row of the table. Results live as long as `options`. */
const char *lathe_options_text(const struct lathe_options *options,
                               const char *name); /* NULL = none */
uint64_t lathe_options_number(const struct lathe_options *options,
                              const char *name); /* auto, none: 0 */
bool lathe_options_bool(const struct lathe_options *options, const char *name);
bool lathe_options_auto(const struct lathe_options *options, const char *name);
/* True if it does not merely have its default. */
bool lathe_options_given(const struct lathe_options *options, const char *name);
/* The values of a REPEATED row. */
size_t lathe_options_count(const struct lathe_options *options, const char *name);
const char *lathe_options_text_at(const struct lathe_options *options, const char *name,
                                  size_t index);
/* The position of a CHOICE's value in its choices. */
unsigned lathe_options_choice(const struct lathe_options *options, const char *name);

/* Every value in effect, in table order; `where` is "default", "--name", "LATHE_NAME" or
 * "FILE:LINE". */
typedef void lathe_options_visit_fn(void *context, const char *name, const char *value,
                                    const char *where);
void lathe_options_visit(const struct lathe_options *options, lathe_options_visit_fn *visit,
                         void *context);

/* Appends what --help prints, and the section of the command in the documents. */
void lathe_options_help(const struct lathe_option_set *set, struct lathe_buf *out);
void lathe_options_markdown(const struct lathe_option_set *set, struct lathe_buf *out);

/* Below: for options*.c and for text that speaks of such values. */

enum { LATHE_OPTION_NUMBER_BYTES = 32, LATHE_OPTION_VARIABLE_BYTES = 80 };

/* Checks one value against its row. *number_out: the number, the truth value, or the choice's
 * position. INVALID_ARGUMENT: the message names option, value and range, and ends with `where`. */
LATHE_MUST_CHECK enum lathe_status lathe_option_check(const struct lathe_option *option,
                                                      const char *text, const char *where,
                                                      uint64_t *number_out, bool *auto_out,
                                                      struct lathe_error *err);
/* "64 MiB", "1500 ms": the largest unit that needs no fraction. */
void lathe_option_format_number(enum lathe_option_type type, uint64_t number,
                                char text_out[LATHE_OPTION_NUMBER_BYTES]);
/* "LATHE_MEMORY_LIMIT" of "memory-limit". */
void lathe_option_variable(const struct lathe_option *option,
                           char name_out[LATHE_OPTION_VARIABLE_BYTES]);
/* "1 to 64", "at least 1 MiB", "cosine, dot or euclidean"; empty where anything goes. */
void lathe_option_range(const struct lathe_option *option, struct lathe_buf *out);
#endif
