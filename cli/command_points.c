/* command_points.c - `lathe get`, `lathe delete`, `lathe count`. */
#include <inttypes.h>

#include "cli/commands.h"
#include "cli/point_view.h"
#include "cli/wire_id.h"
#include "common/base/mem.h"
#include "lathe/v1/points.pb-c.h"

/* The ids of a command line as messages. */
struct ids {
    struct lathe_wire_id *ids;
    Lathe__V1__PointId **pointers;
    size_t count;
};

static void ids_fini(struct ids *ids)
{
    lathe_free(ids->ids);
    lathe_free(ids->pointers);
}

static enum lathe_status ids_read(struct lathe_cli *cli, struct ids *ids, struct lathe_error *err)
{
    size_t count = lathe_options_count(cli->options, "id");

    *ids = (struct ids){.count = count};
    ids->ids = lathe_alloc_array(count, sizeof(*ids->ids));
    ids->pointers = lathe_alloc_array(count, sizeof(Lathe__V1__PointId *));
    if (ids->ids == NULL || ids->pointers == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the ids");
    for (size_t i = 0; i < count; i++) {
        struct lathe_idkey key;
        enum lathe_status rc = lathe_idkey_parse(lathe_options_text_at(cli->options, "id", i), &key,
                                                 err);

        if (rc != LATHE_OK)
            return rc;
        lathe_wire_id_set(&ids->ids[i], &key);
        ids->pointers[i] = &ids->ids[i].message;
    }
    return LATHE_OK;
}

static struct lathe_point_view view_of(const Lathe__V1__Point *point)
{
    return (struct lathe_point_view){.id = point->id,
                                     .version = point->version,
                                     .payload = point->payload,
                                     .vectors = point->vectors,
                                     .vector_count = point->n_vectors};
}

static int print_points(struct lathe_cli *cli, const Lathe__V1__GetPointsResponse *reply)
{
    struct lathe_point_columns columns = {
        .payload = true, .vectors = lathe_options_bool(cli->options, "with-vectors")};
    struct lathe_point_view *views = lathe_alloc_array(reply->n_points, sizeof(*views));
    struct lathe_buf text = {.failed = views == NULL};
    int code;

    for (size_t i = 0; views != NULL && i < reply->n_points; i++)
        views[i] = view_of(reply->points[i]);
    if (!lathe_options_bool(cli->options, "json")) {
        if (reply->n_points > 0)
            lathe_point_table(views, views != NULL ? reply->n_points : 0, columns, cli->out_columns,
                              &text);
    } else {
        for (size_t i = 0; views != NULL && i < reply->n_points; i++) {
            lathe_point_json(&views[i], columns, &text);
            lathe_buf_u8(&text, '\n');
        }
    }
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_free(views);
    return code;
}

/* "lathe: no point 7, x", or nothing when there are none. */
static void say_missing(struct lathe_cli *cli, Lathe__V1__PointId *const *ids, size_t count)
{
    struct lathe_buf text = {0};

    for (size_t i = 0; i < count; i++) {
        lathe_buf_text(&text, i > 0 ? ", " : "lathe: no point ");
        lathe_wire_id_text(ids[i], &text);
    }
    if (count > 0 && !text.failed)
        (void)fprintf(cli->err, "%.*s\n", (int)text.size, (const char *)text.data);
    lathe_buf_fini(&text);
}

int lathe_command_get(struct lathe_cli *cli)
{
    Lathe__V1__GetPointsRequest request = LATHE__V1__GET_POINTS_REQUEST__INIT;
    Lathe__V1__Selection selection = LATHE__V1__SELECTION__INIT;
    Lathe__V1__GetPointsResponse *reply = NULL;
    struct lathe_error err = {0};
    struct ids ids;
    int code;

    if (ids_read(cli, &ids, &err) != LATHE_OK) {
        code = lathe_cli_usage(cli, "%s", err.message);
        goto done;
    }
    selection.payload = true;
    selection.vectors = lathe_options_bool(cli->options, "with-vectors");
    request.collection = (char *)(uintptr_t)lathe_options_text(cli->options, "collection");
    request.ids = ids.pointers;
    request.n_ids = ids.count;
    request.selection = &selection;
    if (lathe_cli_call(cli, "/lathe.v1.PointService/GetPoints", &request.base,
                       &lathe__v1__get_points_response__descriptor, &reply, &err) != LATHE_OK) {
        code = lathe_cli_fail(cli, &err);
        goto done;
    }
    code = print_points(cli, reply);
    say_missing(cli, reply->missing, reply->n_missing);
    if (code == LATHE_EXIT_OK && reply->n_missing > 0)
        code = LATHE_EXIT_FAILED;
    lathe_client_free_reply(&reply->base);
done:
    ids_fini(&ids);
    return code;
}

/* Counts the outcomes; what is neither deleted nor missing is a failure. */
static int print_deleted(struct lathe_cli *cli, const struct ids *ids,
                         const Lathe__V1__WritePointsResponse *reply)
{
    size_t deleted = 0, missing = 0;
    struct lathe_buf text = {0};
    int code;

    for (size_t i = 0; i < reply->n_results && i < ids->count; i++) {
        if (reply->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_APPLIED)
            deleted++;
        else if (reply->results[i]->outcome == LATHE__V1__OUTCOME__OUTCOME_NOT_FOUND)
            missing++;
    }
    if (lathe_options_bool(cli->options, "json"))
        lathe_buf_printf(&text, "{\"deleted\":%zu,\"not_found\":%zu}\n", deleted, missing);
    else
        lathe_buf_printf(&text, "deleted %zu, not found %zu\n", deleted, missing);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    if (code == LATHE_EXIT_OK && deleted + missing < ids->count) {
        (void)fprintf(
            cli->err, "lathe: %zu could not be deleted%s%s; the same command can be repeated\n",
            ids->count - deleted - missing, reply->message[0] != '\0' ? ": " : "", reply->message);
        code = LATHE_EXIT_FAILED;
    }
    return code;
}

/* The request with one delete an id. `operations`, `deletes` and `pointers` have room for
 * ids->count. */
static void deletes_fill(const struct ids *ids, Lathe__V1__WriteOperation *operations,
                         Lathe__V1__DeletePoint *deletes, Lathe__V1__WriteOperation **pointers)
{
    for (size_t i = 0; i < ids->count; i++) {
        lathe__v1__delete_point__init(&deletes[i]);
        deletes[i].id = ids->pointers[i];
        lathe__v1__write_operation__init(&operations[i]);
        operations[i].operation_case = LATHE__V1__WRITE_OPERATION__OPERATION_DELETE;
        operations[i].delete_ = &deletes[i];
        pointers[i] = &operations[i];
    }
}

static int points_delete(struct lathe_cli *cli, const struct ids *ids)
{
    Lathe__V1__WriteOperation *operations = lathe_alloc_array(ids->count, sizeof(*operations));
    Lathe__V1__DeletePoint *deletes = lathe_alloc_array(ids->count, sizeof(*deletes));
    Lathe__V1__WriteOperation **pointers = lathe_alloc_array(ids->count,
                                                             sizeof(Lathe__V1__WriteOperation *));
    Lathe__V1__WritePointsRequest request = LATHE__V1__WRITE_POINTS_REQUEST__INIT;
    Lathe__V1__WritePointsResponse *reply = NULL;
    struct lathe_error err = {0};
    enum lathe_status rc;
    int code;

    if (operations == NULL || deletes == NULL || pointers == NULL) {
        rc = lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the request");
    } else {
        deletes_fill(ids, operations, deletes, pointers);
        request.collection = (char *)(uintptr_t)lathe_options_text(cli->options, "collection");
        request.operations = pointers;
        request.n_operations = ids->count;
        rc = lathe_cli_connect(cli, &err);
    }
    if (rc == LATHE_OK) {
        request.client_id.data = (uint8_t *)(uintptr_t)lathe_client_id(cli->client);
        request.client_id.len = 16;
        request.request_number = lathe_client_next_request(cli->client);
        rc = lathe_cli_call(cli, "/lathe.v1.PointService/WritePoints", &request.base,
                            &lathe__v1__write_points_response__descriptor, &reply, &err);
    }
    code = rc == LATHE_OK ? print_deleted(cli, ids, reply) : lathe_cli_fail(cli, &err);
    if (reply != NULL)
        lathe_client_free_reply(&reply->base);
    lathe_free(operations);
    lathe_free(deletes);
    lathe_free(pointers);
    return code;
}

int lathe_command_delete(struct lathe_cli *cli)
{
    struct lathe_error err = {0};
    struct ids ids;
    int code;

    if (ids_read(cli, &ids, &err) == LATHE_OK)
        code = points_delete(cli, &ids);
    else
        code = lathe_cli_usage(cli, "%s", err.message);
    ids_fini(&ids);
    return code;
}

int lathe_command_count(struct lathe_cli *cli)
{
    Lathe__V1__CountPointsRequest request = LATHE__V1__COUNT_POINTS_REQUEST__INIT;
    Lathe__V1__CountPointsResponse *reply = NULL;
    struct lathe_error err = {0};
    struct lathe_buf text = {0};
    int code;

    request.collection = (char *)(uintptr_t)lathe_options_text(cli->options, "collection");
    if (lathe_cli_call(cli, "/lathe.v1.PointService/CountPoints", &request.base,
                       &lathe__v1__count_points_response__descriptor, &reply, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    if (lathe_options_bool(cli->options, "json"))
        lathe_buf_printf(&text, "{\"count\":%" PRIu64 "}\n", reply->count);
    else
        lathe_buf_printf(&text, "%" PRIu64 "\n", reply->count);
    lathe_client_free_reply(&reply->base);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    return code;
}
