/* schema.c - see schema.h. */
#include "cli/schema.h"

void lathe_schema_init(struct lathe_schema *schema)
{
    memset(schema, 0, sizeof(*schema));
    lathe__v1__collection_schema__init(&schema->message);
    schema->message.fields = schema->pointers;
}

enum lathe_status lathe_schema_add(struct lathe_schema *schema, struct lathe_bytes name,
                                   uint64_t dims, Lathe__V1__Metric metric,
                                   Lathe__V1__ZeroVectors zero_vectors, struct lathe_error *err)
{
    size_t at = schema->message.n_fields;
    Lathe__V1__FieldSchema *field = &schema->fields[at];

    if (at == LATHE_MAX_FIELDS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "a collection has at most %u fields", LATHE_MAX_FIELDS);
    if (name.size > LATHE_MAX_NAME_BYTES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "the field name \"%.20s...\" has %zu bytes; the limit is %u",
                                (const char *)name.data, name.size, LATHE_MAX_NAME_BYTES);
    lathe__v1__field_schema__init(field);
    memcpy(schema->names[at], name.data, name.size);
    schema->names[at][name.size] = '\0';
    field->name = schema->names[at];
    field->kind = LATHE__V1__FIELD_KIND__FIELD_KIND_DENSE;
    field->dims = dims > UINT32_MAX ? UINT32_MAX : (uint32_t)dims;
    field->metric = metric;
    field->element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32;
    field->zero_vectors = zero_vectors;
    schema->pointers[at] = field;
    schema->message.n_fields++;
    return LATHE_OK;
}

const char *lathe_schema_metric_name(Lathe__V1__Metric metric)
{
    switch (metric) {
    case LATHE__V1__METRIC__METRIC_COSINE:
        return "cosine";
    case LATHE__V1__METRIC__METRIC_DOT:
        return "dot";
    case LATHE__V1__METRIC__METRIC_EUCLIDEAN:
        return "euclidean";
    case LATHE__V1__METRIC__METRIC_MANHATTAN:
        return "manhattan";
    default:
        return "unknown";
    }
}

Lathe__V1__Metric lathe_schema_metric_of_choice(unsigned choice)
{
    static const Lathe__V1__Metric metrics[] = {LATHE__V1__METRIC__METRIC_COSINE,
                                                LATHE__V1__METRIC__METRIC_DOT,
                                                LATHE__V1__METRIC__METRIC_EUCLIDEAN};

    return metrics[choice];
}

enum lathe_status lathe_schema_add_text(struct lathe_schema *schema, const char *text,
                                        Lathe__V1__ZeroVectors zero_vectors,
                                        struct lathe_error *err)
{
    static const struct lathe_option dims_row = {.name = "field",
                                                 .type = LATHE_OPTION_UINT,
                                                 .min = 1,
                                                 .max = LATHE_MAX_DIMS,
                                                 .unit = "dims"};
    static const struct lathe_option metric_row = {
        .name = "field", .type = LATHE_OPTION_CHOICE, .choices = LATHE_METRIC_CHOICES};
    const char *metric = strrchr(text, ':');
    const char *dims = metric != NULL ? memrchr(text, ':', (size_t)(metric - text)) : NULL;
    uint64_t count, choice;
    char digits[24];
    bool automatic;

    if (dims == NULL || metric - dims - 1 >= (ptrdiff_t)sizeof(digits))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "field",
                                "field: \"%s\" is not NAME:DIMS:METRIC (from --field)", text);
    memcpy(digits, dims + 1, (size_t)(metric - dims - 1));
    digits[metric - dims - 1] = '\0';
    if (lathe_option_check(&dims_row, digits, "--field", &count, &automatic, err) != LATHE_OK ||
        lathe_option_check(&metric_row, metric + 1, "--field", &choice, &automatic, err) !=
            LATHE_OK)
        return LATHE_INVALID_ARGUMENT;
    return lathe_schema_add(schema, lathe_bytes_of(text, (size_t)(dims - text)), count,
                            lathe_schema_metric_of_choice((unsigned)choice), zero_vectors, err);
}

enum lathe_status lathe_collection_get(struct lathe_cli *cli, const char *name,
                                       Lathe__V1__Collection **collection_out,
                                       struct lathe_error *err)
{
    Lathe__V1__GetCollectionRequest request = LATHE__V1__GET_COLLECTION_REQUEST__INIT;

    request.name = (char *)(uintptr_t)name;
    return lathe_cli_call(cli, "/lathe.v1.CollectionService/GetCollection", &request.base,
                          &lathe__v1__collection__descriptor, collection_out, err);
}

enum lathe_status lathe_schema_create_collection(struct lathe_cli *cli, const char *name,
                                                 const struct lathe_schema *schema,
                                                 const char *metadata,
                                                 Lathe__V1__Collection **collection_out,
                                                 struct lathe_error *err)
{
    Lathe__V1__CreateCollectionRequest request = LATHE__V1__CREATE_COLLECTION_REQUEST__INIT;

    request.name = (char *)(uintptr_t)name;
    request.schema = (Lathe__V1__CollectionSchema *)(uintptr_t)&schema->message;
    if (metadata != NULL) {
        request.metadata.data = (uint8_t *)(uintptr_t)metadata;
        request.metadata.len = strlen(metadata);
    }
    return lathe_cli_call(cli, "/lathe.v1.CollectionService/CreateCollection", &request.base,
                          &lathe__v1__collection__descriptor, collection_out, err);
}
