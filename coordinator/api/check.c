/* check.c - see check.h. Names, ids, vectors, selections; payloads are in check_payload.c. */
#include "coordinator/api/check.h"

#include "common/vec/types.h"

enum lathe_status lathe_check_no_control(const char *name, struct lathe_error *err)
{
    for (const uint8_t *p = (const uint8_t *)name; *p != '\0'; p++) {
        /* C0, DEL, and C1, which UTF-8 writes as C2 80 to C2 9F. */
        if (*p < 0x20 || *p == 0x7F || (*p == 0xC2 && p[1] >= 0x80 && p[1] <= 0x9F))
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "name",
                                    "a name must not hold control characters");
    }
    return LATHE_OK;
}

enum lathe_status lathe_check_collection_name(const char *name, struct lathe_error *err)
{
    size_t size = strlen(name);
    enum lathe_status status;

    if (size < 1 || size > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "name",
                                "a name of %zu bytes is outside the limits of 1 to %u bytes", size,
                                LATHE_MAX_NAME_BYTES);
    status = lathe_check_no_control(name, err);
    if (status == LATHE_OK && strchr(name, '/') != NULL)
        status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "name",
                                  "a collection's name must not hold '/'");
    return status;
}

/* ---- Ids ------------------------------------------------------------------------------------- */

enum lathe_status lathe_check_id(const Lathe__V1__PointId *id, struct lathe_idkey *key_out,
                                 struct lathe_error *err)
{
    uint8_t uuid[16];
    enum lathe_status status;

    key_out->size = 0;
    if (id == NULL)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "", "an id is missing");
    switch (id->id_case) {
    case LATHE__V1__POINT_ID__ID_NUMBER:
        *key_out = lathe_idkey_number(id->number);
        return LATHE_OK;
    case LATHE__V1__POINT_ID__ID_UUID:
        if (!lathe_uuid_parse(lathe_bytes_str(id->uuid), uuid))
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "uuid",
                                    "this is no spelling of a UUID");
        *key_out = lathe_idkey_uuid(uuid);
        return LATHE_OK;
    case LATHE__V1__POINT_ID__ID_STRING:
        status = lathe_idkey_string(lathe_bytes_str(id->string), key_out, err);
        if (status != LATHE_OK && err != NULL)
            memcpy(err->field, "string", sizeof("string"));
        return status;
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "",
                                "an id must be a number, a uuid or a string");
    }
}

/* ---- Vectors --------------------------------------------------------------------------------- */

enum lathe_status lathe_check_field(const struct lathe_collection *collection, const char *name,
                                    const struct lathe_field **field_out, struct lathe_error *err)
{
    *field_out = lathe_collection_field(collection, name);
    if (*field_out != NULL)
        return LATHE_OK;
    if (name[0] == '\0')
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "collection \"%s\" has no unnamed field; name one",
                                collection->name);
    if (strlen(name) > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "a name of %zu bytes is longer than the limit of %u bytes",
                                strlen(name), LATHE_MAX_NAME_BYTES);
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field", "there is no field \"%s\"", name);
}

static enum lathe_status element_check(Lathe__V1__ElementType element, struct lathe_error *err)
{
    if (element == LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_UNSPECIFIED ||
        element == LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32)
        return LATHE_OK;
    if (lathe_element_name((enum lathe_element)element) == NULL)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "element",
                                "there is no element type %d", (int)element);
    return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "element",
                            "element type %s is not served by this version, only float32",
                            lathe_element_name((enum lathe_element)element));
}

enum lathe_status lathe_check_elements(const Lathe__V1__Vector *vector,
                                       struct lathe_bytes *elements_out, struct lathe_error *err)
{
    enum lathe_status status = element_check(vector->element, err);

    if (status != LATHE_OK)
        return status;
    if (vector->n_values > 0 && vector->data.len > 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "data",
                                "a vector comes as `values` or as `data`, not as both");
    if (vector->data.len % sizeof(float) != 0)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "data",
                                "%zu bytes are no whole number of float32 elements",
                                vector->data.len);
    if (vector->data.len > 0)
        *elements_out = lathe_bytes_of(vector->data.data, vector->data.len);
    else
        *elements_out = lathe_bytes_of(vector->values, vector->n_values * sizeof(float));
    return LATHE_OK;
}

static bool all_zero(const float *x, uint32_t dims)
{
    for (uint32_t i = 0; i < dims; i++) {
        float element;

        memcpy(&element, (const char *)x + i * sizeof(float), sizeof(element));
        if (element != 0.0f)
            return false;
    }
    return true;
}

enum lathe_status lathe_check_stored_vector(const Lathe__V1__Vector *vector,
                                            const struct lathe_field *field,
                                            struct lathe_bytes *elements_out,
                                            struct lathe_error *err)
{
    enum lathe_status status = lathe_check_elements(vector, elements_out, err);
    const char *form = vector->data.len > 0 ? "data" : "values";
    size_t dims;

    if (status != LATHE_OK)
        return status;
    dims = elements_out->size / sizeof(float);
    if (dims != field->dims)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, form,
                                "the vector has %zu dims, field \"%s\" has %u", dims, field->name,
                                field->dims);
    status = lathe_vector_check_f32((const float *)(const void *)elements_out->data, field->dims,
                                    field->metric, field->allow_zero, err);
    /* Under other metrics a zero vector means nothing special, but a field may still refuse it. */
    if (status == LATHE_OK && !field->allow_zero && field->metric != LATHE_COSINE &&
        all_zero((const float *)(const void *)elements_out->data, field->dims))
        status = lathe_fail(err, LATHE_INVALID_ARGUMENT,
                            "field \"%s\" refuses zero vectors (zero_vectors = REJECT)",
                            field->name);
    if (status != LATHE_OK && err != NULL)
        (void)strcpy(err->field, form);
    return status;
}

/* ---- Selections ------------------------------------------------------------------------------ */

enum lathe_status lathe_check_selection(const Lathe__V1__Selection *selection,
                                        const struct lathe_collection *collection,
                                        struct lathe_selection *selection_out,
                                        struct lathe_error *err)
{
    uint32_t seen = 0;

    *selection_out = (struct lathe_selection){0};
    if (selection == NULL)
        return LATHE_OK;
    selection_out->payload = selection->payload != 0;
    selection_out->vectors = selection->vectors != 0;
    if (selection->n_fields > 0 && !selection->vectors)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "selection.fields",
                                "`fields` chooses among vectors: set `vectors` as well");
    for (size_t i = 0; i < selection->n_fields; i++) {
        const struct lathe_field *field;
        enum lathe_status status = lathe_check_field(collection, selection->fields[i], &field, err);
        uint32_t number;

        if (status != LATHE_OK) {
            if (err != NULL)
                err->field[0] = '\0';
            lathe_error_in(err, "selection.fields[%zu]", i);
            return status;
        }
        number = lathe_collection_field_number(collection, field);
        if ((seen & 1u << number) == 0)
            selection_out->fields[selection_out->field_count++] = number;
        seen |= 1u << number;
    }
    return LATHE_OK;
}

bool lathe_selection_wants(const struct lathe_selection *selection, uint32_t field)
{
    if (!selection->vectors)
        return false;
    for (uint32_t i = 0; i < selection->field_count; i++) {
        if (selection->fields[i] == field)
            return true;
    }
    return selection->field_count == 0;
}
