/* check_payload.c - the check of payloads, see check.h. */
#include <math.h>
#include <stdlib.h>

#include "common/base/mem.h"
#include "coordinator/api/check.h"

static enum lathe_status object_check(Lathe__V1__Object *object, uint32_t depth,
                                      struct lathe_error *err);

/* Fields of a later version would be stored unchecked. */
static void strip(ProtobufCMessage *message)
{
    message->n_unknown_fields = 0;
}

static enum lathe_status depth_check(uint32_t depth, struct lathe_error *err)
{
    if (depth <= LATHE_MAX_VALUE_DEPTH)
        return LATHE_OK;
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "",
                            "lists and objects are nested deeper than the limit of %u",
                            LATHE_MAX_VALUE_DEPTH);
}

static enum lathe_status value_check(Lathe__V1__Value *value, uint32_t depth,
                                     struct lathe_error *err);

static enum lathe_status list_check(Lathe__V1__ListValue *list, uint32_t depth,
                                    struct lathe_error *err)
{
    enum lathe_status status = depth_check(depth, err);

    strip(&list->base);
    for (size_t i = 0; status == LATHE_OK && i < list->n_values; i++) {
        status = value_check(list->values[i], depth, err);
        if (status != LATHE_OK)
            lathe_error_in(err, "values[%zu]", i);
    }
    return status;
}

static enum lathe_status value_check(Lathe__V1__Value *value, uint32_t depth,
                                     struct lathe_error *err)
{
    enum lathe_status status;

    strip(&value->base);
    switch (value->kind_case) {
    case LATHE__V1__VALUE__KIND_NULL_VALUE:
        value->null_value = LATHE__V1__NULL_VALUE__NULL_VALUE; /* its one number */
        return LATHE_OK;
    case LATHE__V1__VALUE__KIND_BOOL_VALUE:
    case LATHE__V1__VALUE__KIND_INT_VALUE:
    case LATHE__V1__VALUE__KIND_STRING_VALUE:
        return LATHE_OK;
    case LATHE__V1__VALUE__KIND_DOUBLE_VALUE:
        if (isfinite(value->double_value))
            return LATHE_OK;
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "double_value",
                                "a double must be finite, not %f", value->double_value);
    case LATHE__V1__VALUE__KIND_LIST_VALUE:
        status = list_check(value->list_value, depth + 1, err);
        if (status != LATHE_OK)
            lathe_error_in(err, "list_value");
        return status;
    case LATHE__V1__VALUE__KIND_OBJECT_VALUE:
        status = object_check(value->object_value, depth + 1, err);
        if (status != LATHE_OK)
            lathe_error_in(err, "object_value");
        return status;
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "",
                                "a value must have a kind; null is `null_value`");
    }
}

static int key_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum lathe_status duplicate(const char *key, struct lathe_error *err)
{
    size_t size = strlen(key);

    if (size > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "entries",
                                "a key of %zu bytes comes more than once", size);
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "entries",
                            "the key \"%s\" comes more than once", key);
}

static enum lathe_status keys_check(const Lathe__V1__Object *object, struct lathe_error *err)
{
    enum lathe_status status = LATHE_OK;
    const char **keys;

    if (object->n_entries < 2)
        return LATHE_OK;
    keys = lathe_alloc_array(object->n_entries, sizeof(*keys));
    if (keys == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to check a payload's keys");
    for (size_t i = 0; i < object->n_entries; i++)
        keys[i] = object->entries[i]->key;
    qsort(keys, object->n_entries, sizeof(*keys), key_order);
    for (size_t i = 1; status == LATHE_OK && i < object->n_entries; i++) {
        if (strcmp(keys[i - 1], keys[i]) == 0)
            status = duplicate(keys[i], err);
    }
    lathe_free(keys);
    return status;
}

static enum lathe_status object_check(Lathe__V1__Object *object, uint32_t depth,
                                      struct lathe_error *err)
{
    enum lathe_status status = depth_check(depth, err);

    strip(&object->base);
    for (size_t i = 0; status == LATHE_OK && i < object->n_entries; i++) {
        Lathe__V1__Entry *entry = object->entries[i];

        strip(&entry->base);
        if (entry->value == NULL)
            status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "value",
                                      "an entry must have a value; null is `null_value`");
        else if ((status = value_check(entry->value, depth, err)) != LATHE_OK)
            lathe_error_in(err, "value");
        if (status != LATHE_OK)
            lathe_error_in(err, "entries[%zu]", i);
    }
    return status == LATHE_OK ? keys_check(object, err) : status;
}

enum lathe_status lathe_check_payload(Lathe__V1__Object *payload, uint64_t max_bytes,
                                      struct lathe_error *err)
{
    enum lathe_status status = object_check(payload, 1, err);
    size_t size;

    if (status == LATHE_OK) {
        size = lathe__v1__object__get_packed_size(payload);
        if (size > max_bytes)
            status = lathe_fail_field(
                err, LATHE_INVALID_ARGUMENT, "",
                "a payload of %zu bytes is larger than the limit of %llu bytes", size,
                (unsigned long long)max_bytes);
    }
    if (status != LATHE_OK)
        lathe_error_in(err, "payload");
    return status;
}
