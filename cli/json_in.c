/* json_in.c - see json_in.h. */
#include "cli/json_in.h"

#include <math.h>
#include <stdio.h>

#include "common/base/mem.h"

static Lathe__V1__Object *object_of(const json_t *json, unsigned depth, struct lathe_error *err);

static const char no_memory[] = "no memory for the payload";

static char *string_of(const char *text, struct lathe_error *err)
{
    char *copy = lathe_strdup(text);

    if (copy == NULL)
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, no_memory);
    return copy;
}

static Lathe__V1__Value *value_of(const json_t *json, unsigned depth, struct lathe_error *err);

static Lathe__V1__ListValue *list_of(const json_t *json, unsigned depth, struct lathe_error *err)
{
    Lathe__V1__ListValue *list = lathe_alloc(sizeof(*list));
    size_t count = json_array_size(json);

    if (list != NULL) {
        lathe__v1__list_value__init(list);
        list->values = count > 0 ? lathe_zalloc_array(count, sizeof(*list->values)) : NULL;
    }
    if (list == NULL || (count > 0 && list->values == NULL)) {
        lathe_free(list);
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, no_memory);
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        list->values[i] = value_of(json_array_get(json, i), depth + 1, err);
        if (list->values[i] == NULL) {
            lathe_error_in(err, "[%zu]", i);
            protobuf_c_message_free_unpacked(&list->base, NULL);
            return NULL;
        }
        list->n_values++;
    }
    return list;
}

/* Fills the oneof; false after a failure. */
static bool value_fill(Lathe__V1__Value *value, const json_t *json, unsigned depth,
                       struct lathe_error *err)
{
    switch (json_typeof(json)) {
    case JSON_NULL:
        value->kind_case = LATHE__V1__VALUE__KIND_NULL_VALUE;
        return true;
    case JSON_TRUE:
    case JSON_FALSE:
        value->kind_case = LATHE__V1__VALUE__KIND_BOOL_VALUE;
        value->bool_value = json_is_true(json);
        return true;
    case JSON_INTEGER:
        value->kind_case = LATHE__V1__VALUE__KIND_INT_VALUE;
        value->int_value = json_integer_value(json);
        return true;
    case JSON_REAL:
        value->kind_case = LATHE__V1__VALUE__KIND_DOUBLE_VALUE;
        value->double_value = json_real_value(json);
        return true;
    case JSON_STRING:
        value->string_value = string_of(json_string_value(json), err);
        value->kind_case = value->string_value != NULL ? LATHE__V1__VALUE__KIND_STRING_VALUE
                                                       : LATHE__V1__VALUE__KIND__NOT_SET;
        return value->string_value != NULL;
    case JSON_ARRAY:
        value->list_value = list_of(json, depth, err);
        value->kind_case = value->list_value != NULL ? LATHE__V1__VALUE__KIND_LIST_VALUE
                                                     : LATHE__V1__VALUE__KIND__NOT_SET;
        return value->list_value != NULL;
    case JSON_OBJECT:
        value->object_value = object_of(json, depth, err);
        value->kind_case = value->object_value != NULL ? LATHE__V1__VALUE__KIND_OBJECT_VALUE
                                                       : LATHE__V1__VALUE__KIND__NOT_SET;
        return value->object_value != NULL;
    }
    return false;
}

static Lathe__V1__Value *value_of(const json_t *json, unsigned depth, struct lathe_error *err)
{
    Lathe__V1__Value *value = lathe_alloc(sizeof(*value));

    if (value == NULL) {
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, no_memory);
        return NULL;
    }
    if (depth > LATHE_MAX_VALUE_DEPTH) {
        lathe_free(value);
        (void)lathe_fail(err, LATHE_INVALID_ARGUMENT,
                         "lists and objects are nested deeper than the limit of %u",
                         LATHE_MAX_VALUE_DEPTH);
        return NULL;
    }
    lathe__v1__value__init(value);
    if (!value_fill(value, json, depth, err)) {
        protobuf_c_message_free_unpacked(&value->base, NULL);
        return NULL;
    }
    return value;
}

/* One key with its value; NULL after a failure. */
static Lathe__V1__Entry *entry_of(const char *key, const json_t *json, unsigned depth,
                                  struct lathe_error *err)
{
    Lathe__V1__Entry *entry = lathe_alloc(sizeof(*entry));

    if (entry == NULL) {
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, no_memory);
        return NULL;
    }
    lathe__v1__entry__init(entry);
    entry->value = value_of(json, depth + 1, err);
    if (entry->value == NULL)
        lathe_error_in(err, "%s", key);
    else
        entry->key = string_of(key, err);
    if (entry->value == NULL || entry->key == NULL) {
        protobuf_c_message_free_unpacked(&entry->base, NULL);
        return NULL;
    }
    return entry;
}

/* jansson keeps the order of an object's keys. */
static Lathe__V1__Object *object_of(const json_t *json, unsigned depth, struct lathe_error *err)
{
    Lathe__V1__Object *object;
    size_t count = json_object_size(json);
    void *at = json_object_iter((json_t *)(uintptr_t)json);

    object = lathe_alloc(sizeof(*object));
    if (object != NULL) {
        lathe__v1__object__init(object);
        object->entries = count > 0 ? lathe_zalloc_array(count, sizeof(*object->entries)) : NULL;
    }
    if (object == NULL || (count > 0 && object->entries == NULL)) {
        lathe_free(object);
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, no_memory);
        return NULL;
    }
    for (; at != NULL; at = json_object_iter_next((json_t *)(uintptr_t)json, at)) {
        Lathe__V1__Entry *entry = entry_of(json_object_iter_key(at), json_object_iter_value(at),
                                           depth, err);

        if (entry == NULL) {
            protobuf_c_message_free_unpacked(&object->base, NULL);
            return NULL;
        }
        object->entries[object->n_entries++] = entry;
    }
    return object;
}

enum lathe_status lathe_json_to_object(const json_t *json, const char *path,
                                       Lathe__V1__Object **object_out, struct lathe_error *err)
{
    struct lathe_error failure = {0};

    *object_out = NULL;
    if (!json_is_object(json))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path, "%s must be an object", path);
    *object_out = object_of(json, 0, &failure);
    if (*object_out != NULL)
        return LATHE_OK;
    lathe_error_in(&failure, "%s", path);
    return lathe_fail_field(err, failure.status, failure.field, "%s: %s", failure.field,
                            failure.message);
}

enum lathe_status lathe_json_to_id(const json_t *json, struct lathe_idkey *id_out,
                                   struct lathe_error *err)
{
    const char *text = json_string_value(json);
    uint8_t uuid[16];

    id_out->size = 0;
    if (json_is_integer(json) && json_integer_value(json) >= 0) {
        *id_out = lathe_idkey_number((uint64_t)json_integer_value(json));
        return LATHE_OK;
    }
    if (text == NULL)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "id",
                                "id must be an integer of 0 to 2^64 - 1, a UUID or a string");
    if (strlen(text) == 36 && lathe_uuid_parse(lathe_bytes_str(text), uuid)) {
        *id_out = lathe_idkey_uuid(uuid);
        return LATHE_OK;
    }
    return lathe_idkey_string(lathe_bytes_str(text), id_out, err);
}

static int base64_digit(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* The bytes of one group of four digits, of which `digits` count; false if one is none. */
static bool base64_group(const char *text, size_t digits, uint8_t *bytes_out)
{
    uint32_t group = 0;

    for (size_t i = 0; i < 4; i++) {
        int digit = i < digits ? base64_digit((uint8_t)text[i]) : 0;

        if (digit < 0)
            return false;
        group = group << 6 | (uint32_t)digit;
    }
    for (size_t i = 0; i + 1 < digits; i++)
        bytes_out[i] = (uint8_t)(group >> (16 - 8 * i));
    return true;
}

/* Appends the bytes of padded base64; false if the text is not that or memory is short. */
static bool base64_decode(const char *text, size_t size, struct lathe_buf *out)
{
    size_t padding = 0;
    uint8_t *p;

    if (size % 4 != 0 || size == 0)
        return false;
    while (padding < 2 && text[size - 1 - padding] == '=')
        padding++;
    p = lathe_buf_extend(out, size / 4 * 3 - padding);
    for (size_t at = 0; p != NULL && at < size; at += 4)
        if (!base64_group(text + at, at + 4 == size ? 4 - padding : 4, p + at / 4 * 3))
            return false;
    return p != NULL;
}

static enum lathe_status check_dims(size_t dims, const char *path, struct lathe_error *err)
{
    if (dims >= 1 && dims <= LATHE_MAX_DIMS)
        return LATHE_OK;
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                            "%s: a vector of %zu elements; it takes 1 to %u", path, dims,
                            LATHE_MAX_DIMS);
}

static enum lathe_status vector_of_base64(const json_t *json, const char *path,
                                          struct lathe_buf *out, struct lathe_error *err)
{
    size_t before = out->size;

    if (!base64_decode(json_string_value(json), json_string_length(json), out) && !out->failed)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                                "%s: the text is not padded base64", path);
    if ((out->size - before) % sizeof(float) != 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                                "%s: %zu bytes are not whole float32 elements", path,
                                out->size - before);
    return check_dims((out->size - before) / sizeof(float), path, err);
}

static enum lathe_status vector_of_list(const json_t *json, const char *path, struct lathe_buf *out,
                                        struct lathe_error *err)
{
    size_t count = json_array_size(json);
    enum lathe_status rc = check_dims(count, path, err);
    uint8_t *p;

    if (rc != LATHE_OK)
        return rc;
    p = lathe_buf_extend(out, count * sizeof(float));
    for (size_t i = 0; p != NULL && i < count; i++) {
        const json_t *element = json_array_get(json, i);
        float value = (float)json_number_value(element);
        uint32_t bits;

        if (!json_is_number(element))
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                                    "%s: element %zu is not a number", path, i);
        if (!isfinite(value))
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                                    "%s: element %zu (%g) does not fit float32", path, i,
                                    json_number_value(element));
        memcpy(&bits, &value, sizeof(bits));
        lathe_put_u32le(p + i * sizeof(float), bits);
    }
    return LATHE_OK;
}

enum lathe_status lathe_json_to_vector(const json_t *json, const char *path, struct lathe_buf *out,
                                       struct lathe_error *err)
{
    enum lathe_status rc;

    if (json_is_string(json))
        rc = vector_of_base64(json, path, out, err);
    else if (json_is_array(json))
        rc = vector_of_list(json, path, out, err);
    else
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, path,
                                "%s must be a list of numbers or the base64 of float32 elements",
                                path);
    if (out->failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a vector");
    return rc;
}
