/* text_table.c - see text_table.h. */
#include "cli/text_table.h"

#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <wchar.h>

#include "common/base/mem.h"

enum { GAP = 2, CELL_LIMIT = 200, COLUMN_LEAST = 8 };

struct column {
    size_t width; /* of the widest cell or the title */
    bool right;
};

struct lathe_text_table {
    struct column *columns;
    size_t column_count;
    size_t column_capacity;
    struct lathe_buf *cells; /* titles first */
    size_t cell_count;
    size_t cell_capacity;
    bool failed;
};

static const char replacement[] = "\xEF\xBF\xBD"; /* U+FFFD */
static const char ellipsis[] = "\xE2\x80\xA6";    /* U+2026 */

/* The character at the front of the text: its size in bytes, 1 and *valid_out = false if it is
 * none. */
static size_t character_at(struct lathe_bytes text, uint32_t *code_out, bool *valid_out)
{
    uint8_t first = text.data[0];
    size_t size = first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;

    *valid_out = size <= text.size && lathe_utf8_valid(lathe_bytes_of(text.data, size));
    if (!*valid_out)
        return 1;
    *code_out = size == 1 ? first : first & (0x7Fu >> size);
    for (size_t i = 1; i < size; i++)
        *code_out = *code_out << 6 | (text.data[i] & 0x3Fu);
    return size;
}

/* wcwidth() knows nothing outside ASCII in the "C" locale, so it is asked in a UTF-8 one, whatever
 * the user's is. */
static size_t code_width(uint32_t code)
{
    static locale_t utf8;
    locale_t before;
    int width;

    if (code < 0x7F)
        return 1;
    if (utf8 == (locale_t)0)
        utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (utf8 == (locale_t)0)
        return 1;
    before = uselocale(utf8);
    width = wcwidth((wchar_t)code);
    (void)uselocale(before);
    return width >= 0 ? (size_t)width : 1;
}

static struct lathe_bytes bytes_after(struct lathe_bytes text, size_t size)
{
    return lathe_bytes_of(text.data + size, text.size - size);
}

size_t lathe_text_width(struct lathe_bytes text)
{
    size_t width = 0;

    while (text.size > 0) {
        uint32_t code = 0;
        bool valid;
        size_t size = character_at(text, &code, &valid);

        width += valid ? code_width(code) : 1;
        text = bytes_after(text, size);
    }
    return width;
}

void lathe_text_clean(struct lathe_bytes text, struct lathe_buf *out)
{
    while (text.size > 0) {
        uint32_t code = 0;
        bool valid;
        size_t size = character_at(text, &code, &valid);

        if (valid && (code == '\n' || code == '\t' || code == '\r'))
            lathe_buf_u8(out, ' ');
        else if (!valid || code < 0x20 || (code >= 0x7F && code < 0xA0))
            lathe_buf_text(out, replacement);
        else
            lathe_buf_append(out, text.data, size);
        text = bytes_after(text, size);
    }
}

void lathe_text_cut(struct lathe_bytes text, size_t columns, struct lathe_buf *out)
{
    size_t width = 0, kept = 0;

    if (lathe_text_width(text) <= columns) {
        lathe_buf_append(out, text.data, text.size);
        return;
    }
    while (columns > 0 && kept < text.size) {
        uint32_t code = 0;
        bool valid;
        size_t size = character_at(bytes_after(text, kept), &code, &valid);

        width += valid ? code_width(code) : 1;
        if (width > columns - 1)
            break;
        kept += size;
    }
    lathe_buf_append(out, text.data, kept);
    if (columns > 0)
        lathe_buf_text(out, ellipsis);
}

struct lathe_text_table *lathe_text_table_create(void)
{
    return lathe_zalloc(sizeof(struct lathe_text_table));
}

void lathe_text_table_destroy(struct lathe_text_table *table)
{
    if (table == NULL)
        return;
    for (size_t i = 0; i < table->cell_count; i++)
        lathe_buf_fini(&table->cells[i]);
    lathe_free(table->cells);
    lathe_free(table->columns);
    lathe_free(table);
}

/* Adds a cell under `column` and makes the column wide enough. */
static void cell_add(struct lathe_text_table *table, size_t column, struct lathe_bytes text)
{
    struct lathe_buf *cell;
    size_t width;

    if (!lathe_grow(&table->cells, &table->cell_capacity, table->cell_count + 1,
                    sizeof(*table->cells))) {
        table->failed = true;
        return;
    }
    cell = &table->cells[table->cell_count++];
    *cell = (struct lathe_buf){0};
    lathe_text_clean(text, cell);
    table->failed = table->failed || cell->failed;
    width = lathe_text_width(lathe_buf_view(cell));
    if (width > table->columns[column].width)
        table->columns[column].width = width;
}

void lathe_text_table_column(struct lathe_text_table *table, const char *title, bool right)
{
    if (table == NULL || table->failed)
        return;
    if (!lathe_grow(&table->columns, &table->column_capacity, table->column_count + 1,
                    sizeof(*table->columns))) {
        table->failed = true;
        return;
    }
    table->columns[table->column_count++] = (struct column){.right = right};
    cell_add(table, table->column_count - 1, lathe_bytes_str(title));
}

void lathe_text_table_cell(struct lathe_text_table *table, struct lathe_bytes text)
{
    if (table != NULL && !table->failed && table->column_count > 0)
        cell_add(table, table->cell_count % table->column_count, text);
}

void lathe_text_table_cellf(struct lathe_text_table *table, const char *format, ...)
{
    char text[256];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    lathe_text_table_cell(table, lathe_bytes_str(text));
}

/* The greatest width that columns may keep so that a line fits: narrow ones keep theirs, wide ones
 * are cut to the same width. */
static size_t width_cap(const struct lathe_text_table *table, size_t columns)
{
    size_t cap = CELL_LIMIT;

    while (columns > 0 && cap > COLUMN_LEAST) {
        size_t total = GAP * (table->column_count - 1);

        for (size_t i = 0; i < table->column_count; i++)
            total += table->columns[i].width < cap ? table->columns[i].width : cap;
        if (total <= columns)
            break;
        cap--;
    }
    return cap;
}

/* Numbers are never cut: half a number is a wrong one. */
static size_t column_width(const struct column *column, size_t cap)
{
    return column->width <= cap || column->right ? column->width : cap;
}

static void append_spaces(struct lathe_buf *out, size_t count)
{
    lathe_buf_printf(out, "%*s", (int)count, "");
}

static void append_line(const struct lathe_text_table *table, size_t first, size_t cap,
                        struct lathe_buf *out)
{
    for (size_t i = 0; i < table->column_count && first + i < table->cell_count; i++) {
        const struct column *column = &table->columns[i];
        struct lathe_buf cut = {0};
        size_t width = column_width(column, cap), used;

        lathe_text_cut(lathe_buf_view(&table->cells[first + i]), width, &cut);
        used = lathe_text_width(lathe_buf_view(&cut));
        if (i > 0)
            append_spaces(out, GAP);
        if (column->right)
            append_spaces(out, width - used);
        lathe_buf_append(out, cut.data, cut.size);
        if (!column->right && i + 1 < table->column_count)
            append_spaces(out, width - used);
        out->failed = out->failed || cut.failed;
        lathe_buf_fini(&cut);
    }
    lathe_buf_u8(out, '\n');
}

void lathe_text_table_print(const struct lathe_text_table *table, size_t columns,
                            struct lathe_buf *out)
{
    size_t cap;

    if (table == NULL || table->failed) {
        out->failed = true;
        return;
    }
    if (table->column_count == 0)
        return;
    cap = width_cap(table, columns);
    for (size_t first = 0; first < table->cell_count; first += table->column_count)
        append_line(table, first, cap, out);
}
