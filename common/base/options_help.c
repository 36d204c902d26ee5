/* options_help.c - what --help prints and what the documents say of a table of options. */
#include "common/base/options.h"

enum { HELP_COLUMNS = 96, HELP_INDENT = 28 };

static bool is_positional(const struct lathe_option *option)
{
    return (option->flags & LATHE_OPTION_POSITIONAL) != 0;
}

static bool is_required(const struct lathe_option *option)
{
    return (option->flags & LATHE_OPTION_REQUIRED) != 0;
}

/* "--listen ADDR", "--metric cosine|dot", "-k, --limit N", "FILE". */
static void append_spelling(const struct lathe_option *option, struct lathe_buf *out)
{
    const char *value = option->type == LATHE_OPTION_CHOICE ? option->choices : option->value;

    if (is_positional(option)) {
        lathe_buf_text(out, option->value);
        return;
    }
    if (option->letter != '\0')
        lathe_buf_printf(out, "-%c, ", option->letter);
    lathe_buf_printf(out, "--%s", option->name);
    if (option->type != LATHE_OPTION_BOOL)
        lathe_buf_printf(out, " %s", value);
}

static void append_usage(const struct lathe_option_set *set, struct lathe_buf *out)
{
    bool others = false;

    lathe_buf_text(out, set->command);
    for (size_t i = 0; i < set->option_count; i++) {
        const struct lathe_option *option = &set->options[i];
        const char *more = (option->flags & LATHE_OPTION_REPEATED) != 0 ? "..." : "";

        if (is_positional(option) && is_required(option))
            lathe_buf_printf(out, " %s%s", option->value, more);
        else if (is_positional(option))
            lathe_buf_printf(out, " [%s%s]", option->value, more);
    }
    for (size_t i = 0; i < set->option_count; i++) {
        const struct lathe_option *option = &set->options[i];

        if (!is_positional(option) && is_required(option)) {
            lathe_buf_u8(out, ' ');
            append_spelling(option, out);
        } else {
            others = others || !is_positional(option);
        }
    }
    lathe_buf_text(out, others ? " [options]\n" : "\n");
}

/* Appends text from `column` on, broken at spaces so that lines end before HELP_COLUMNS and go on
 * at `indent`. */
static void append_wrapped(struct lathe_buf *out, const char *text, int column, int indent)
{
    while (*text != '\0') {
        int size = (int)strcspn(text, " ");

        if (column + 1 + size > HELP_COLUMNS && column > indent) {
            lathe_buf_printf(out, "\n%*s", indent, "");
            column = indent;
        } else if (column > indent) {
            lathe_buf_u8(out, ' ');
            column++;
        }
        lathe_buf_append(out, text, (size_t)size);
        column += size;
        text += size + (text[size] == ' ' ? 1 : 0);
    }
    lathe_buf_u8(out, '\n');
}

/* The sentence, then range, default and variable in brackets. */
static void append_row(const struct lathe_option *option, struct lathe_buf *out)
{
    struct lathe_buf left = {0}, text = {0};
    char variable[LATHE_OPTION_VARIABLE_BYTES];

    append_spelling(option, &left);
    lathe_buf_text(&text, option->summary);
    if (option->type != LATHE_OPTION_BOOL && option->type != LATHE_OPTION_CHOICE &&
        option->type != LATHE_OPTION_TEXT && option->type != LATHE_OPTION_PATH) {
        lathe_buf_text(&text, " Takes ");
        lathe_option_range(option, &text);
        lathe_buf_u8(&text, '.');
    }
    if (option->fallback != NULL && option->type != LATHE_OPTION_BOOL)
        lathe_buf_printf(&text, " [default: %s]", option->fallback);
    if ((option->flags & LATHE_OPTION_FLAG_ONLY) == 0) {
        lathe_option_variable(option, variable);
        lathe_buf_printf(&text, " [%s]", variable);
    }
    lathe_buf_u8(&text, 0);
    out->failed = out->failed || left.failed || text.failed;
    if (!out->failed) {
        lathe_buf_printf(out, "  %.*s", (int)left.size, (const char *)left.data);
        if (left.size + 3 > HELP_INDENT)
            lathe_buf_printf(out, "\n%*s", HELP_INDENT, "");
        else
            lathe_buf_printf(out, "%*s", HELP_INDENT - 2 - (int)left.size, "");
        append_wrapped(out, (const char *)text.data, HELP_INDENT, HELP_INDENT);
    }
    lathe_buf_fini(&left);
    lathe_buf_fini(&text);
}

static void append_rows(const struct lathe_option_set *set, bool positional, const char *title,
                        struct lathe_buf *out)
{
    bool any = false;

    for (size_t i = 0; i < set->option_count; i++) {
        if (is_positional(&set->options[i]) != positional)
            continue;
        if (!any)
            lathe_buf_printf(out, "\n%s:\n", title);
        any = true;
        append_row(&set->options[i], out);
    }
}

void lathe_options_help(const struct lathe_option_set *set, struct lathe_buf *out)
{
    lathe_buf_text(out, "Usage: ");
    append_usage(set, out);
    lathe_buf_u8(out, '\n');
    append_wrapped(out, set->summary, 0, 0);
    append_rows(set, true, "Arguments", out);
    append_rows(set, false, "Options", out);
    if (set->notes != NULL)
        lathe_buf_printf(out, "\n%s", set->notes);
}

/* A cell of a Markdown table: the bars of choices must not end it. */
static void append_cell(const struct lathe_buf *text, struct lathe_buf *out)
{
    for (size_t i = 0; i < text->size; i++) {
        if (text->data[i] == '|')
            lathe_buf_u8(out, '\\');
        lathe_buf_u8(out, text->data[i]);
    }
    out->failed = out->failed || text->failed;
}

static void markdown_row(const struct lathe_option *option, struct lathe_buf *out)
{
    struct lathe_buf spelling = {0}, range = {0};
    char variable[LATHE_OPTION_VARIABLE_BYTES];

    append_spelling(option, &spelling);
    lathe_option_range(option, &range);
    lathe_buf_text(out, "| `");
    append_cell(&spelling, out);
    lathe_buf_text(out, "` | ");
    append_cell(&range, out);
    lathe_buf_text(out, " | ");
    if (is_required(option))
        lathe_buf_text(out, "required");
    else if (option->fallback != NULL)
        lathe_buf_printf(out, "`%s`", option->fallback);
    lathe_buf_text(out, " | ");
    if ((option->flags & LATHE_OPTION_FLAG_ONLY) == 0) {
        lathe_option_variable(option, variable);
        lathe_buf_printf(out, "`%s`", variable);
    }
    lathe_buf_printf(out, " | %s |\n", option->summary);
    lathe_buf_fini(&spelling);
    lathe_buf_fini(&range);
}

void lathe_options_markdown(const struct lathe_option_set *set, struct lathe_buf *out)
{
    lathe_buf_printf(out, "### %s\n\n%s\n\n```\n", set->command, set->summary);
    append_usage(set, out);
    lathe_buf_text(out, "```\n");
    if (set->option_count > 0)
        lathe_buf_text(out, "\n| option | values | default | environment | meaning |\n"
                            "|---|---|---|---|---|\n");
    for (size_t i = 0; i < set->option_count; i++)
        markdown_row(&set->options[i], out);
    if (set->notes != NULL)
        lathe_buf_printf(out, "\n%s", set->notes);
    lathe_buf_u8(out, '\n');
}
