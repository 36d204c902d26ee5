/* command_collection.c - `lathe collection create|list|describe|drop`. */
#include <inttypes.h>
#include <time.h>

#include "cli/commands.h"
#include "cli/json_out.h"
#include "cli/progress.h"
#include "cli/schema.h"
#include "cli/text_table.h"

static void append_field_json(const Lathe__V1__FieldSchema *field, struct lathe_buf *out)
{
    lathe_buf_text(out, "{\"name\":");
    lathe_json_string(out, field->name);
    lathe_buf_printf(out, ",\"dims\":%u,\"metric\":\"%s\",\"zero_vectors\":\"%s\"}", field->dims,
                     lathe_schema_metric_name(field->metric),
                     field->zero_vectors == LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT ? "reject"
                                                                                         : "allow");
}

static void append_stats_json(const Lathe__V1__CollectionStats *stats, struct lathe_buf *out)
{
    lathe_buf_printf(out, ",\"points\":%" PRIu64 ",\"field_stats\":[", stats->points);
    for (size_t i = 0; i < stats->n_fields; i++) {
        const Lathe__V1__FieldStats *field = stats->fields[i];

        lathe_buf_text(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        lathe_json_string(out, field->name);
        lathe_buf_printf(
            out, ",\"rows\":%" PRIu64 ",\"dead_rows\":%" PRIu64 ",\"memory_bytes\":%" PRIu64 "}",
            field->rows, field->dead_rows, field->memory_bytes);
    }
    lathe_buf_text(out, "]");
}

/* Metadata is bytes that Lathe never reads; here it is shown as text. */
static void append_metadata_json(const Lathe__V1__Collection *collection, struct lathe_buf *out)
{
    struct lathe_buf text = {0};

    lathe_buf_append(&text, collection->metadata.data, collection->metadata.len);
    lathe_buf_u8(&text, 0);
    lathe_buf_text(out, ",\"metadata\":");
    lathe_json_string(out, text.failed ? "" : (const char *)text.data);
    out->failed = out->failed || text.failed;
    lathe_buf_fini(&text);
}

static void append_collection_json(const Lathe__V1__Collection *collection, struct lathe_buf *out)
{
    lathe_buf_text(out, "{\"name\":");
    lathe_json_string(out, collection->name);
    lathe_buf_printf(out, ",\"id\":%u,\"shards\":%u,\"created_ms\":%" PRIu64 ",\"fields\":[",
                     collection->id, collection->shards, collection->created_ms);
    for (size_t i = 0; collection->schema != NULL && i < collection->schema->n_fields; i++) {
        if (i > 0)
            lathe_buf_u8(out, ',');
        append_field_json(collection->schema->fields[i], out);
    }
    lathe_buf_u8(out, ']');
    append_metadata_json(collection, out);
    if (collection->stats != NULL)
        append_stats_json(collection->stats, out);
    lathe_buf_u8(out, '}');
}

/* "768 cosine", or "title 768 cosine, body 384 dot". */
static void append_fields_text(const Lathe__V1__CollectionSchema *schema, struct lathe_buf *out)
{
    for (size_t i = 0; schema != NULL && i < schema->n_fields; i++) {
        const Lathe__V1__FieldSchema *field = schema->fields[i];

        lathe_buf_printf(out, "%s%s%s%u %s", i > 0 ? ", " : "", field->name,
                         field->name[0] != '\0' ? " " : "", field->dims,
                         lathe_schema_metric_name(field->metric));
    }
}

static void append_time(uint64_t created_ms, struct lathe_buf *out)
{
    time_t seconds = (time_t)(created_ms / 1000);
    char text[32];
    struct tm utc;

    if (gmtime_r(&seconds, &utc) != NULL &&
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &utc) > 0)
        lathe_buf_text(out, text);
}

int lathe_command_collection_create(struct lathe_cli *cli)
{
    const struct lathe_options *options = cli->options;
    const char *name = lathe_options_text(options, "name");
    Lathe__V1__ZeroVectors zero = LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_UNSPECIFIED;
    Lathe__V1__Collection *collection = NULL;
    struct lathe_error err = {0};
    struct lathe_schema schema;
    struct lathe_buf text = {0};
    int code;

    lathe_schema_init(&schema);
    if (lathe_options_text(options, "zero-vectors") != NULL)
        zero = lathe_options_choice(options, "zero-vectors") == 0
                   ? LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT
                   : LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW;
    if (lathe_options_text(options, "dims") != NULL &&
        lathe_schema_add(&schema, lathe_bytes_str(""), lathe_options_number(options, "dims"),
                         lathe_schema_metric_of_choice(lathe_options_choice(options, "metric")),
                         zero, &err) != LATHE_OK)
        return lathe_cli_usage(cli, "%s", err.message);
    for (size_t i = 0; i < lathe_options_count(options, "field"); i++)
        if (lathe_schema_add_text(&schema, lathe_options_text_at(options, "field", i), zero,
                                  &err) != LATHE_OK)
            return lathe_cli_usage(cli, "%s", err.message);
    if (schema.message.n_fields == 0)
        return lathe_cli_usage(cli, "a collection needs --dims N, or --field NAME:DIMS:METRIC");
    if (lathe_schema_create_collection(cli, name, &schema, lathe_options_text(options, "metadata"),
                                       &collection, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    if (lathe_options_bool(options, "json")) {
        append_collection_json(collection, &text);
        lathe_buf_u8(&text, '\n');
    } else {
        lathe_buf_printf(&text, "created collection %s (", name);
        append_fields_text(collection->schema, &text);
        lathe_buf_printf(&text, ") on %u shard%s\n", collection->shards,
                         collection->shards == 1 ? "" : "s");
    }
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_client_free_reply(&collection->base);
    return code;
}

static void append_list_table(struct lathe_cli *cli, const Lathe__V1__ListCollectionsResponse *list,
                              struct lathe_buf *out)
{
    struct lathe_text_table *table = lathe_text_table_create();
    struct lathe_buf cell = {0};

    lathe_text_table_column(table, "name", false);
    lathe_text_table_column(table, "fields", false);
    lathe_text_table_column(table, "created", false);
    for (size_t i = 0; i < list->n_collections; i++) {
        lathe_text_table_cell(table, lathe_bytes_str(list->collections[i]->name));
        append_fields_text(list->collections[i]->schema, &cell);
        lathe_text_table_cell(table, lathe_buf_view(&cell));
        lathe_buf_clear(&cell);
        append_time(list->collections[i]->created_ms, &cell);
        lathe_text_table_cell(table, lathe_buf_view(&cell));
        lathe_buf_clear(&cell);
    }
    lathe_text_table_print(table, cli->out_columns, out);
    lathe_buf_fini(&cell);
    lathe_text_table_destroy(table);
}

int lathe_command_collection_list(struct lathe_cli *cli)
{
    Lathe__V1__ListCollectionsRequest request = LATHE__V1__LIST_COLLECTIONS_REQUEST__INIT;
    Lathe__V1__ListCollectionsResponse *list = NULL;
    struct lathe_error err = {0};
    struct lathe_buf text = {0};
    int code;

    if (lathe_cli_call(cli, "/lathe.v1.CollectionService/ListCollections", &request.base,
                       &lathe__v1__list_collections_response__descriptor, &list, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    if (!lathe_options_bool(cli->options, "json")) {
        if (list->n_collections == 0)
            lathe_buf_text(&text, "there are no collections\n");
        else
            append_list_table(cli, list, &text);
    }
    for (size_t i = 0; lathe_options_bool(cli->options, "json") && i < list->n_collections; i++) {
        append_collection_json(list->collections[i], &text);
        lathe_buf_u8(&text, '\n');
    }
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_client_free_reply(&list->base);
    return code;
}

static void append_number(struct lathe_text_table *table, uint64_t number)
{
    char text[32];

    lathe_text_table_cell(table, lathe_bytes_str(lathe_progress_number(number, text)));
}

/* The fields with their stored rows, which come in the order of the schema or not at all. */
static void append_fields_table(struct lathe_cli *cli, const Lathe__V1__Collection *collection,
                                struct lathe_buf *out)
{
    struct lathe_text_table *table = lathe_text_table_create();
    const Lathe__V1__CollectionStats *stats = collection->stats;

    lathe_text_table_column(table, "field", false);
    lathe_text_table_column(table, "dims", true);
    lathe_text_table_column(table, "metric", false);
    lathe_text_table_column(table, "rows", true);
    lathe_text_table_column(table, "dead rows", true);
    lathe_text_table_column(table, "memory bytes", true);
    for (size_t i = 0; collection->schema != NULL && i < collection->schema->n_fields; i++) {
        const Lathe__V1__FieldSchema *field = collection->schema->fields[i];
        const Lathe__V1__FieldStats *rows = NULL;

        for (size_t j = 0; stats != NULL && j < stats->n_fields; j++)
            if (strcmp(stats->fields[j]->name, field->name) == 0)
                rows = stats->fields[j];
        lathe_text_table_cell(table,
                              lathe_bytes_str(field->name[0] != '\0' ? field->name : "(default)"));
        lathe_text_table_cellf(table, "%u", field->dims);
        lathe_text_table_cell(table, lathe_bytes_str(lathe_schema_metric_name(field->metric)));
        append_number(table, rows != NULL ? rows->rows : 0);
        append_number(table, rows != NULL ? rows->dead_rows : 0);
        append_number(table, rows != NULL ? rows->memory_bytes : 0);
    }
    lathe_text_table_print(table, cli->out_columns, out);
    lathe_text_table_destroy(table);
}

static void append_description(struct lathe_cli *cli, const Lathe__V1__Collection *collection,
                               struct lathe_buf *out)
{
    char number[32];

    lathe_buf_text(out, "collection  ");
    lathe_text_clean(lathe_bytes_str(collection->name), out);
    lathe_buf_printf(out, "\nid          %u\nshards      %u\ncreated     ", collection->id,
                     collection->shards);
    append_time(collection->created_ms, out);
    if (collection->metadata.len > 0) {
        lathe_buf_text(out, "\nmetadata    ");
        lathe_text_clean(lathe_bytes_of(collection->metadata.data, collection->metadata.len), out);
    }
    if (collection->stats != NULL)
        lathe_buf_printf(out, "\npoints      %s",
                         lathe_progress_number(collection->stats->points, number));
    lathe_buf_text(out, "\n\n");
    append_fields_table(cli, collection, out);
}

int lathe_command_collection_describe(struct lathe_cli *cli)
{
    Lathe__V1__Collection *collection = NULL;
    struct lathe_error err = {0};
    struct lathe_buf text = {0};
    int code;

    if (lathe_collection_get(cli, lathe_options_text(cli->options, "name"), &collection, &err) !=
        LATHE_OK)
        return lathe_cli_fail(cli, &err);
    if (lathe_options_bool(cli->options, "json")) {
        append_collection_json(collection, &text);
        lathe_buf_u8(&text, '\n');
    } else {
        append_description(cli, collection, &text);
    }
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_client_free_reply(&collection->base);
    return code;
}

/* Only a person at a terminal is asked; a script said what it wanted. */
static bool drop_confirmed(struct lathe_cli *cli, const char *name)
{
    char answer[16];

    if (!cli->interactive || lathe_options_bool(cli->options, "yes"))
        return true;
    (void)fprintf(cli->err, "Drop collection %s and all its points for good? [y/N] ", name);
    (void)fflush(cli->err);
    return fgets(answer, sizeof(answer), cli->in) != NULL &&
           (strcmp(answer, "y\n") == 0 || strcmp(answer, "yes\n") == 0);
}

int lathe_command_collection_drop(struct lathe_cli *cli)
{
    Lathe__V1__DeleteCollectionRequest request = LATHE__V1__DELETE_COLLECTION_REQUEST__INIT;
    const char *name = lathe_options_text(cli->options, "name");
    Lathe__V1__DeleteCollectionResponse *reply = NULL;
    struct lathe_error err = {0};
    struct lathe_buf text = {0};
    int code;

    if (!drop_confirmed(cli, name)) {
        (void)fprintf(cli->err, "lathe: collection %s was not dropped\n", name);
        return LATHE_EXIT_FAILED;
    }
    request.name = (char *)(uintptr_t)name;
    if (lathe_cli_call(cli, "/lathe.v1.CollectionService/DeleteCollection", &request.base,
                       &lathe__v1__delete_collection_response__descriptor, &reply,
                       &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    lathe_client_free_reply(&reply->base);
    lathe_buf_printf(&text, "dropped collection %s\n", name);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}
