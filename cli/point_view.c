/* point_view.c - see point_view.h. */
#include "cli/point_view.h"

#include <inttypes.h>
#include <math.h>

#include "cli/json_out.h"
#include "cli/text_table.h"
#include "cli/wire_id.h"

enum { KEY_COLUMNS = 8, VECTOR_PREVIEW = 4 };

/* The payload keys that get a column of their own. */
struct keys {
    const char *names[KEY_COLUMNS];
    size_t count;
    bool more; /* there are others */
};

static size_t key_find(const struct keys *keys, const char *name)
{
    size_t i = 0;

    while (i < keys->count && strcmp(keys->names[i], name) != 0)
        i++;
    return i;
}

static struct keys keys_collect(const struct lathe_point_view *points, size_t count)
{
    struct keys keys = {.count = 0};

    for (size_t i = 0; i < count; i++) {
        const Lathe__V1__Object *payload = points[i].payload;

        for (size_t j = 0; payload != NULL && j < payload->n_entries; j++) {
            const char *name = payload->entries[j]->key;

            if (key_find(&keys, name) < keys.count)
                continue;
            if (keys.count < KEY_COLUMNS)
                keys.names[keys.count++] = name;
            else
                keys.more = true;
        }
    }
    return keys;
}

static const Lathe__V1__Value *value_find(const Lathe__V1__Object *payload, const char *name)
{
    for (size_t i = 0; payload != NULL && i < payload->n_entries; i++)
        if (strcmp(payload->entries[i]->key, name) == 0)
            return payload->entries[i]->value;
    return NULL;
}

/* Text as it is, everything else as JSON. */
static void append_value(const Lathe__V1__Value *value, struct lathe_buf *out)
{
    if (value->kind_case == LATHE__V1__VALUE__KIND_STRING_VALUE)
        lathe_buf_text(out, value->string_value);
    else
        lathe_json_value(out, value);
}

static void append_more(const Lathe__V1__Object *payload, const struct keys *keys,
                        struct lathe_buf *out)
{
    bool first = true;

    for (size_t i = 0; payload != NULL && i < payload->n_entries; i++) {
        const Lathe__V1__Entry *entry = payload->entries[i];

        if (key_find(keys, entry->key) < keys->count)
            continue;
        lathe_buf_printf(out, "%s%s: ", first ? "" : ", ", entry->key);
        append_value(entry->value, out);
        first = false;
    }
}

static void append_vectors(const struct lathe_point_view *point, struct lathe_buf *out)
{
    for (size_t i = 0; i < point->vector_count; i++) {
        const Lathe__V1__NamedVector *vector = point->vectors[i];
        size_t dims, shown;

        if (vector->kind_case != LATHE__V1__NAMED_VECTOR__KIND_DENSE ||
            vector->dense->element > LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32)
            continue;
        dims = vector->dense->data.len > 0 ? vector->dense->data.len / sizeof(float)
                                           : vector->dense->n_values;
        lathe_buf_printf(out, "%s%s%s%zu:", i > 0 ? "; " : "", vector->field,
                         vector->field[0] != '\0' ? " " : "", dims);
        shown = dims < VECTOR_PREVIEW ? dims : VECTOR_PREVIEW;
        for (size_t j = 0; j < shown; j++) {
            float value;

            if (vector->dense->data.len > 0)
                memcpy(&value, vector->dense->data.data + j * sizeof(float), sizeof(float));
            else
                value = vector->dense->values[j];
            lathe_buf_printf(out, " %.4g", (double)value);
        }
        lathe_buf_text(out, dims > shown ? " ..." : "");
    }
}

static void add_columns(struct lathe_text_table *table, struct lathe_point_columns columns,
                        const struct keys *keys)
{
    if (columns.rank_and_score) {
        lathe_text_table_column(table, "#", true);
        lathe_text_table_column(table, "score", true);
    }
    lathe_text_table_column(table, "id", false);
    for (size_t i = 0; columns.payload && i < keys->count; i++)
        lathe_text_table_column(table, keys->names[i], false);
    if (columns.payload && keys->more)
        lathe_text_table_column(table, "more", false);
    if (columns.vectors)
        lathe_text_table_column(table, "vectors", false);
}

static void cell_flush(struct lathe_text_table *table, struct lathe_buf *cell,
                       struct lathe_buf *out)
{
    lathe_text_table_cell(table, lathe_buf_view(cell));
    out->failed = out->failed || cell->failed;
    lathe_buf_clear(cell);
}

static void add_row(struct lathe_text_table *table, const struct lathe_point_view *point,
                    size_t rank, struct lathe_point_columns columns, const struct keys *keys,
                    struct lathe_buf *cell, struct lathe_buf *out)
{
    if (columns.rank_and_score) {
        lathe_text_table_cellf(table, "%zu", rank);
        lathe_text_table_cellf(table, fabsf(point->score) < 1e6f ? "%.6f" : "%.8g",
                               (double)point->score);
    }
    lathe_wire_id_text(point->id, cell);
    cell_flush(table, cell, out);
    for (size_t i = 0; columns.payload && i < keys->count; i++) {
        const Lathe__V1__Value *value = value_find(point->payload, keys->names[i]);

        if (value != NULL)
            append_value(value, cell);
        cell_flush(table, cell, out);
    }
    if (columns.payload && keys->more) {
        append_more(point->payload, keys, cell);
        cell_flush(table, cell, out);
    }
    if (columns.vectors) {
        append_vectors(point, cell);
        cell_flush(table, cell, out);
    }
}

void lathe_point_table(const struct lathe_point_view *points, size_t count,
                       struct lathe_point_columns columns, unsigned terminal_columns,
                       struct lathe_buf *out)
{
    struct keys keys = keys_collect(points, count);
    struct lathe_text_table *table = lathe_text_table_create();
    struct lathe_buf cell = {0};

    add_columns(table, columns, &keys);
    for (size_t i = 0; i < count; i++)
        add_row(table, &points[i], i + 1, columns, &keys, &cell, out);
    lathe_text_table_print(table, terminal_columns, out);
    lathe_buf_fini(&cell);
    lathe_text_table_destroy(table);
}

void lathe_point_json(const struct lathe_point_view *point, struct lathe_point_columns columns,
                      struct lathe_buf *out)
{
    lathe_buf_text(out, "{\"id\":");
    lathe_json_id(out, point->id);
    if (columns.rank_and_score) {
        lathe_buf_text(out, ",\"score\":");
        lathe_json_float(out, point->score);
    }
    lathe_buf_printf(out, ",\"version\":%" PRIu64, point->version);
    if (columns.payload) {
        lathe_buf_text(out, ",\"payload\":");
        lathe_json_object(out, point->payload);
    }
    if (columns.vectors) {
        lathe_buf_text(out, ",\"vectors\":");
        lathe_json_vectors(out, point->vectors, point->vector_count);
    }
    lathe_buf_u8(out, '}');
}
