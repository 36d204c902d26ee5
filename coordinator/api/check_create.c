/* check_create.c - the check of a new collection, see check.h. */
#include <stdio.h>

#include "coordinator/api/check.h"

static enum lathe_status kind_check(const Lathe__V1__FieldSchema *in, struct lathe_error *err)
{
    switch (in->kind) {
    case LATHE__V1__FIELD_KIND__FIELD_KIND_UNSPECIFIED:
    case LATHE__V1__FIELD_KIND__FIELD_KIND_DENSE:
        return LATHE_OK;
    case LATHE__V1__FIELD_KIND__FIELD_KIND_SPARSE:
    case LATHE__V1__FIELD_KIND__FIELD_KIND_MULTI:
        return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "kind",
                                "this version serves dense fields only");
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "kind", "there is no field kind %d",
                                (int)in->kind);
    }
}

static enum lathe_status metric_check(const Lathe__V1__FieldSchema *in, struct lathe_error *err)
{
    switch (in->metric) {
    case LATHE__V1__METRIC__METRIC_COSINE:
    case LATHE__V1__METRIC__METRIC_DOT:
    case LATHE__V1__METRIC__METRIC_EUCLIDEAN:
        return LATHE_OK;
    case LATHE__V1__METRIC__METRIC_MANHATTAN:
        return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "metric",
                                "metric manhattan is not served by this version");
    case LATHE__V1__METRIC__METRIC_UNSPECIFIED:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "metric",
                                "a metric must be chosen: cosine, dot or euclidean");
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "metric", "there is no metric %d",
                                (int)in->metric);
    }
}

static enum lathe_status element_check(const Lathe__V1__FieldSchema *in, struct lathe_error *err)
{
    const char *name = lathe_element_name((enum lathe_element)in->element);

    if (in->element == LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_UNSPECIFIED ||
        in->element == LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32)
        return LATHE_OK;
    if (name == NULL)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "element",
                                "there is no element type %d", (int)in->element);
    return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "element",
                            "element type %s is not served by this version, only float32", name);
}

static enum lathe_status zero_check(const Lathe__V1__FieldSchema *in, bool *allow_out,
                                    struct lathe_error *err)
{
    switch (in->zero_vectors) {
    case LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_UNSPECIFIED:
        *allow_out = in->metric != LATHE__V1__METRIC__METRIC_COSINE;
        return LATHE_OK;
    case LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT:
        *allow_out = false;
        return LATHE_OK;
    case LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW:
        *allow_out = true;
        return LATHE_OK;
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "zero_vectors",
                                "there is no rule %d on zero vectors", (int)in->zero_vectors);
    }
}

static enum lathe_status ladder_check(const Lathe__V1__FieldSchema *in, struct lathe_field *field,
                                      struct lathe_error *err)
{
    if (in->n_ladder > LATHE_MAX_LADDER)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "ladder",
                                "%zu prefix lengths are more than the limit of %u", in->n_ladder,
                                LATHE_MAX_LADDER);
    for (size_t i = 0; i < in->n_ladder; i++) {
        if (in->ladder[i] < 1 || in->ladder[i] >= in->dims ||
            (i > 0 && in->ladder[i] <= in->ladder[i - 1])) {
            enum lathe_status status = lathe_fail_field(
                err, LATHE_INVALID_ARGUMENT, "",
                "prefix lengths must ascend and lie between 1 and dims - 1 = %u; this is %u",
                in->dims - 1, in->ladder[i]);

            lathe_error_in(err, "ladder[%zu]", i);
            return status;
        }
        field->ladder[i] = in->ladder[i];
    }
    field->ladder_count = (uint32_t)in->n_ladder;
    return LATHE_OK;
}

static enum lathe_status field_name_check(const char *name, struct lathe_error *err)
{
    /* The rules of a collection's name, but for the empty name and '/', which are allowed here. */
    size_t size = strlen(name);

    if (size > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "name",
                                "a name of %zu bytes is longer than the limit of %u bytes", size,
                                LATHE_MAX_NAME_BYTES);
    return lathe_check_no_control(name, err);
}

static enum lathe_status field_check(const Lathe__V1__FieldSchema *in, struct lathe_field *field,
                                     struct lathe_error *err)
{
    enum lathe_status status = field_name_check(in->name, err);

    if (status == LATHE_OK)
        status = kind_check(in, err);
    if (status == LATHE_OK && (in->dims < 1 || in->dims > LATHE_MAX_DIMS))
        status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "dims",
                                  "%u dims are outside the limits of 1 to %u", in->dims,
                                  LATHE_MAX_DIMS);
    if (status == LATHE_OK)
        status = metric_check(in, err);
    if (status == LATHE_OK)
        status = element_check(in, err);
    if (status == LATHE_OK)
        status = zero_check(in, &field->allow_zero, err);
    if (status == LATHE_OK)
        status = ladder_check(in, field, err);
    if (status != LATHE_OK)
        return status;
    (void)snprintf(field->name, sizeof(field->name), "%s", in->name);
    field->kind = LATHE_FIELD_KIND_DENSE_NUMBER;
    field->dims = in->dims;
    field->metric = (enum lathe_metric)in->metric;
    field->element = LATHE_FLOAT32;
    return LATHE_OK;
}

static enum lathe_status fields_check(const Lathe__V1__CollectionSchema *schema,
                                      struct lathe_collection *draft, struct lathe_error *err)
{
    for (size_t i = 0; i < schema->n_fields; i++) {
        enum lathe_status status = field_check(schema->fields[i], &draft->fields[i], err);

        for (size_t j = 0; status == LATHE_OK && j < i; j++) {
            if (strcmp(draft->fields[j].name, draft->fields[i].name) == 0)
                status = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "name",
                                          "field %zu has the name \"%s\" already", j,
                                          draft->fields[i].name);
        }
        if (status != LATHE_OK) {
            lathe_error_in(err, "schema.fields[%zu]", i);
            return status;
        }
    }
    return LATHE_OK;
}

enum lathe_status lathe_check_create(const Lathe__V1__CreateCollectionRequest *request,
                                     struct lathe_collection **draft_out, struct lathe_error *err)
{
    enum lathe_status status = lathe_check_collection_name(request->name, err);
    size_t field_count = request->schema != NULL ? request->schema->n_fields : 0;

    *draft_out = NULL;
    if (status != LATHE_OK)
        return status;
    if (request->metadata.len > LATHE_MAX_METADATA_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "metadata",
                                "%zu bytes are more than the limit of %u bytes",
                                request->metadata.len, LATHE_MAX_METADATA_BYTES);
    if (field_count < 1 || field_count > LATHE_MAX_FIELDS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "schema.fields",
                                "%zu fields are outside the limits of 1 to %u", field_count,
                                LATHE_MAX_FIELDS);
    *draft_out = lathe_collection_create(
        request->name, lathe_bytes_of(request->metadata.data, request->metadata.len),
        (uint32_t)field_count);
    if (*draft_out == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection");
    status = fields_check(request->schema, *draft_out, err);
    if (status != LATHE_OK)
        lathe_collection_release(draft_out);
    return status;
}
