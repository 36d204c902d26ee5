/* json_out.c - see json_out.h. jansson reads JSON here; it cannot write a uint64 above 2^63, which
 * ids are. */
#include "cli/json_out.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/text_table.h"

void lathe_json_string(struct lathe_buf *out, const char *text)
{
    struct lathe_buf clean = {0};

    /* What is valid is left as it is, control characters too: they are escaped below. */
    if (!lathe_utf8_valid(lathe_bytes_str(text))) {
        lathe_text_clean(lathe_bytes_str(text), &clean);
        lathe_buf_u8(&clean, 0);
        out->failed = out->failed || clean.failed;
        text = clean.failed ? "" : (const char *)clean.data;
    }
    lathe_buf_u8(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        if (c == '"' || c == '\\')
            lathe_buf_printf(out, "\\%c", c);
        else if (c == '\n')
            lathe_buf_text(out, "\\n");
        else if (c == '\t')
            lathe_buf_text(out, "\\t");
        else if (c < 0x20 || c == 0x7F)
            lathe_buf_printf(out, "\\u%04x", c);
        else
            lathe_buf_u8(out, c);
    }
    lathe_buf_u8(out, '"');
    lathe_buf_fini(&clean);
}

void lathe_json_double(struct lathe_buf *out, double value)
{
    char text[40];

    if (!isfinite(value)) { /* never stored; JSON has no word for it */
        lathe_buf_text(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    lathe_buf_text(out, text);
    if (strpbrk(text, ".e") == NULL)
        lathe_buf_text(out, ".0");
}

void lathe_json_float(struct lathe_buf *out, float value)
{
    char text[40];

    if (!isfinite(value)) {
        lathe_buf_text(out, "null");
        return;
    }
    for (int digits = 6; digits <= 9; digits++) {
        (void)snprintf(text, sizeof(text), "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    lathe_buf_text(out, text);
}

void lathe_json_key(struct lathe_buf *out, bool first, const char *name)
{
    if (!first)
        lathe_buf_u8(out, ',');
    lathe_json_string(out, name);
    lathe_buf_u8(out, ':');
}

void lathe_json_id(struct lathe_buf *out, const Lathe__V1__PointId *id)
{
    switch (id != NULL ? id->id_case : LATHE__V1__POINT_ID__ID__NOT_SET) {
    case LATHE__V1__POINT_ID__ID_NUMBER:
        lathe_buf_printf(out, "%" PRIu64, id->number);
        return;
    case LATHE__V1__POINT_ID__ID_UUID:
        lathe_json_string(out, id->uuid);
        return;
    case LATHE__V1__POINT_ID__ID_STRING:
        lathe_json_string(out, id->string);
        return;
    default:
        lathe_buf_text(out, "null");
    }
}

static void append_list(struct lathe_buf *out, const Lathe__V1__ListValue *list)
{
    lathe_buf_u8(out, '[');
    for (size_t i = 0; i < list->n_values; i++) {
        if (i > 0)
            lathe_buf_u8(out, ',');
        lathe_json_value(out, list->values[i]);
    }
    lathe_buf_u8(out, ']');
}

void lathe_json_value(struct lathe_buf *out, const Lathe__V1__Value *value)
{
    switch (value != NULL ? value->kind_case : LATHE__V1__VALUE__KIND__NOT_SET) {
    case LATHE__V1__VALUE__KIND_BOOL_VALUE:
        lathe_buf_text(out, value->bool_value ? "true" : "false");
        return;
    case LATHE__V1__VALUE__KIND_INT_VALUE:
        lathe_buf_printf(out, "%" PRId64, value->int_value);
        return;
    case LATHE__V1__VALUE__KIND_DOUBLE_VALUE:
        lathe_json_double(out, value->double_value);
        return;
    case LATHE__V1__VALUE__KIND_STRING_VALUE:
        lathe_json_string(out, value->string_value);
        return;
    case LATHE__V1__VALUE__KIND_LIST_VALUE:
        append_list(out, value->list_value);
        return;
    case LATHE__V1__VALUE__KIND_OBJECT_VALUE:
        lathe_json_object(out, value->object_value);
        return;
    default:
        lathe_buf_text(out, "null");
    }
}

void lathe_json_object(struct lathe_buf *out, const Lathe__V1__Object *object)
{
    lathe_buf_u8(out, '{');
    for (size_t i = 0; object != NULL && i < object->n_entries; i++) {
        lathe_json_key(out, i == 0, object->entries[i]->key);
        lathe_json_value(out, object->entries[i]->value);
    }
    lathe_buf_u8(out, '}');
}

static void append_vector(struct lathe_buf *out, const Lathe__V1__Vector *vector)
{
    size_t count = vector->data.len > 0 ? vector->data.len / sizeof(float) : vector->n_values;

    lathe_buf_u8(out, '[');
    for (size_t i = 0; i < count; i++) {
        float value;

        if (vector->data.len > 0)
            memcpy(&value, vector->data.data + i * sizeof(float), sizeof(float));
        else
            value = vector->values[i];
        if (i > 0)
            lathe_buf_u8(out, ',');
        lathe_json_float(out, value);
    }
    lathe_buf_u8(out, ']');
}

void lathe_json_vectors(struct lathe_buf *out, Lathe__V1__NamedVector *const *vectors, size_t count)
{
    bool first = true;

    lathe_buf_u8(out, '{');
    for (size_t i = 0; i < count; i++) {
        const Lathe__V1__NamedVector *vector = vectors[i];

        if (vector->kind_case != LATHE__V1__NAMED_VECTOR__KIND_DENSE ||
            vector->dense->element > LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32)
            continue;
        lathe_json_key(out, first, vector->field);
        append_vector(out, vector->dense);
        first = false;
    }
    lathe_buf_u8(out, '}');
}
