/* text_table.h - text for a person: columns that line up whatever the script, cut to the width
 * there is.
 */
#ifndef LATHE_CLI_TEXT_TABLE_H
#define LATHE_CLI_TEXT_TABLE_H
#include "common/base/bytes.h"

/* Columns that UTF-8 text takes on a terminal. Bytes that are not UTF-8 take one each. */
size_t lathe_text_width(struct lathe_bytes text);
/* Appends the text made safe for a terminal: white space becomes a space, other control characters
 * and bytes that are not UTF-8 become U+FFFD. */
void lathe_text_clean(struct lathe_bytes text, struct lathe_buf *out);
/* Appends as much of clean text as takes at most `columns`, with an ellipsis where something is
 * cut. */
void lathe_text_cut(struct lathe_bytes text, size_t columns, struct lathe_buf *out);

struct lathe_text_table;

/* Owner: the caller. NULL when memory is short; every function below then does nothing. */
struct lathe_text_table *lathe_text_table_create(void);
void lathe_text_table_destroy(struct lathe_text_table *table);

/* Columns are added before the first cell. `title` is copied. */
void lathe_text_table_column(struct lathe_text_table *table, const char *title, bool right);
/* Cells fill row by row. The text is cleaned and copied. */
void lathe_text_table_cell(struct lathe_text_table *table, struct lathe_bytes text);
void lathe_text_table_cellf(struct lathe_text_table *table, const char *format, ...)
    LATHE_PRINTF(2, 3);
/* Appends the table: titles, then rows. With `columns` > 0 the widest columns are cut until a line
 * fits; else cells are cut at 200 columns. Sets out->failed when memory was short on the way. */
void lathe_text_table_print(const struct lathe_text_table *table, size_t columns,
                            struct lathe_buf *out);
#endif
