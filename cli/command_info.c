/* command_info.c - `lathe info` and `lathe version`. */
#include <inttypes.h>

#include "cli/commands.h"
#include "cli/json_out.h"
#include "cli/progress.h"
#include "cli/text_table.h"
#include "lathe/v1/server.pb-c.h"

/* The limits of a server, in the order they are shown. */
struct limit {
    const char *name;
    uint64_t value;
};

enum { LIMITS = 20 };

static void limits_of(const Lathe__V1__Limits *l, struct limit limits_out[LIMITS])
{
    const struct limit limits[LIMITS] = {
        {"collections", l->collections},
        {"fields", l->fields},
        {"dims", l->dims},
        {"results", l->results},
        {"batch_searches", l->batch_searches},
        {"operations", l->operations},
        {"get_ids", l->get_ids},
        {"page_points", l->page_points},
        {"name_bytes", l->name_bytes},
        {"metadata_bytes", l->metadata_bytes},
        {"id_bytes", l->id_bytes},
        {"payload_bytes", l->payload_bytes},
        {"message_bytes", l->message_bytes},
        {"value_depth", l->value_depth},
        {"filter_depth", l->filter_depth},
        {"batch_results", l->batch_results},
        {"ladder", l->ladder},
        {"message_depth", l->message_depth},
        {"in_flight_calls", l->in_flight_calls},
        {"in_flight_bytes", l->in_flight_bytes},
    };

    memcpy(limits_out, limits, sizeof(limits));
}

static void append_json(const Lathe__V1__GetInfoResponse *info, struct lathe_buf *out)
{
    struct limit limits[LIMITS];

    lathe_buf_text(out, "{\"version\":");
    lathe_json_string(out, info->version);
    lathe_buf_printf(out, ",\"shards\":%u,\"kernel\":", info->shards);
    lathe_json_string(out, info->kernel);
    lathe_buf_printf(out, ",\"uptime_ms\":%" PRIu64, info->uptime_ms);
    if (info->memory != NULL) {
        lathe_buf_printf(
            out, ",\"memory\":{\"limit_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64 ",\"parts\":{",
            info->memory->limit_bytes, info->memory->used_bytes);
        for (size_t i = 0; i < info->memory->n_parts; i++) {
            lathe_json_key(out, i == 0, info->memory->parts[i]->name);
            lathe_buf_printf(out, "%" PRIu64, info->memory->parts[i]->used_bytes);
        }
        lathe_buf_text(out, "}}");
    }
    if (info->disk != NULL)
        lathe_buf_printf(out, ",\"disk\":{\"used_bytes\":%" PRIu64 ",\"free_bytes\":%" PRIu64 "}",
                         info->disk->used_bytes, info->disk->free_bytes);
    if (info->limits != NULL) {
        limits_of(info->limits, limits);
        lathe_buf_text(out, ",\"limits\":{");
        for (size_t i = 0; i < LIMITS; i++) {
            lathe_json_key(out, i == 0, limits[i].name);
            lathe_buf_printf(out, "%" PRIu64, limits[i].value);
        }
        lathe_buf_u8(out, '}');
    }
    lathe_buf_text(out, "}\n");
}

static void add_number(struct lathe_text_table *table, const char *prefix, const char *name,
                       uint64_t number)
{
    char text[32];

    lathe_text_table_cellf(table, "%s%s", prefix, name);
    lathe_text_table_cell(table, lathe_bytes_str(lathe_progress_number(number, text)));
}

static void append_text(struct lathe_cli *cli, const Lathe__V1__GetInfoResponse *info,
                        struct lathe_buf *out)
{
    struct lathe_text_table *table = lathe_text_table_create();
    struct limit limits[LIMITS];
    char text[32];

    lathe_text_table_column(table, "server", false);
    lathe_text_table_column(table, lathe_options_text(cli->options, "server"), true);
    lathe_text_table_cell(table, lathe_bytes_str("version"));
    lathe_text_table_cell(table, lathe_bytes_str(info->version));
    lathe_text_table_cell(table, lathe_bytes_str("kernel"));
    lathe_text_table_cell(table, lathe_bytes_str(info->kernel));
    add_number(table, "", "shards", info->shards);
    lathe_text_table_cell(table, lathe_bytes_str("up for"));
    lathe_text_table_cell(
        table, lathe_bytes_str(lathe_progress_time((double)info->uptime_ms * 1e-3, text)));
    if (info->memory != NULL) {
        add_number(table, "memory: ", "limit bytes", info->memory->limit_bytes);
        add_number(table, "memory: ", "used bytes", info->memory->used_bytes);
        for (size_t i = 0; i < info->memory->n_parts; i++)
            add_number(table, "memory: ", info->memory->parts[i]->name,
                       info->memory->parts[i]->used_bytes);
    }
    if (info->disk != NULL) {
        add_number(table, "disk: ", "used bytes", info->disk->used_bytes);
        add_number(table, "disk: ", "free bytes", info->disk->free_bytes);
    }
    if (info->limits != NULL) {
        limits_of(info->limits, limits);
        for (size_t i = 0; i < LIMITS; i++)
            add_number(table, "limit: ", limits[i].name, limits[i].value);
    }
    lathe_text_table_print(table, cli->out_columns, out);
    lathe_text_table_destroy(table);
}

int lathe_command_info(struct lathe_cli *cli)
{
    Lathe__V1__GetInfoRequest request = LATHE__V1__GET_INFO_REQUEST__INIT;
    Lathe__V1__GetInfoResponse *info = NULL;
    struct lathe_error err = {0};
    struct lathe_buf text = {0};
    int code;

    if (lathe_cli_call(cli, "/lathe.v1.ServerService/GetInfo", &request.base,
                       &lathe__v1__get_info_response__descriptor, &info, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    if (lathe_options_bool(cli->options, "json"))
        append_json(info, &text);
    else
        append_text(cli, info, &text);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_client_free_reply(&info->base);
    return code;
}

int lathe_command_version(struct lathe_cli *cli)
{
    struct lathe_buf text = {0};
    int code;

    lathe_buf_text(&text, "lathe " LATHE_VERSION "\n");
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}
