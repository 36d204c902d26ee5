/* command_search.c - `lathe search`: the vectors of a file or the vector of a point, one search
 * each. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/cli.h"
#include "cli/json_out.h"
#include "cli/point_view.h"
#include "cli/progress.h"
#include "cli/readers/rows.h"
#include "cli/text_table.h"
#include "cli/wire_id.h"
#include "common/base/mem.h"
#include "lathe/v1/search.pb-c.h"

/* One search: the message and what its answer is headed by. */
struct question {
    Lathe__V1__SearchRequest request;
    Lathe__V1__Selection selection;
    const char *text; /* NULL = none */
    uint64_t row;     /* in the file */
    bool titled;      /* one of several */
};

static const char *guarantee_name(Lathe__V1__GuaranteeLevel level)
{
    switch (level) {
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED:
        return "certified";
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT:
        return "exact";
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL:
        return "target recall";
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_BUDGET:
        return "budget";
    default:
        return "unspecified";
    }
}

static uint64_t covered_rows(const Lathe__V1__Coverage *coverage)
{
    uint64_t rows = 0;

    for (size_t i = 0; coverage != NULL && i < coverage->n_shards; i++)
        rows += coverage->shards[i]->rows;
    return rows;
}

static struct lathe_point_columns columns_of(const struct question *question)
{
    return (struct lathe_point_columns){.rank_and_score = true,
                                        .payload = question->selection.payload,
                                        .vectors = question->selection.vectors};
}

static void append_report_json(const Lathe__V1__Report *report, struct lathe_buf *out)
{
    const Lathe__V1__Coverage *coverage = report->coverage;

    lathe_buf_printf(out, ",\"report\":{\"guarantee\":\"%s\",\"estimated_recall\":",
                     guarantee_name(report->guarantee));
    lathe_json_double(out, report->estimated_recall);
    lathe_buf_text(out, ",\"plan\":[");
    for (size_t i = 0; report->plan != NULL && i < report->plan->n_steps; i++) {
        const Lathe__V1__PlanStep *step = report->plan->steps[i];

        lathe_buf_text(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        lathe_json_string(out, step->name);
        lathe_buf_printf(
            out, ",\"rows_in\":%" PRIu64 ",\"rows_out\":%" PRIu64 ",\"bytes_read\":%" PRIu64 "}",
            step->rows_in, step->rows_out, step->bytes_read);
    }
    lathe_buf_printf(out, "],\"rows\":%" PRIu64 ",\"shards_asked\":%u,\"shards_answered\":%u",
                     covered_rows(coverage), coverage != NULL ? coverage->shards_asked : 0,
                     coverage != NULL ? coverage->shards_answered : 0);
    lathe_buf_printf(out,
                     ",\"originals_read\":%" PRIu64 ",\"shard_us\":%" PRIu64 ",\"scan_us\":%" PRIu64
                     ",\"total_us\":%" PRIu64 ",\"kernel\":",
                     report->originals_read, report->shard_us, report->scan_us, report->total_us);
    lathe_json_string(out, report->kernel);
    lathe_buf_u8(out, '}');
}

static void append_json(const struct question *question, const struct lathe_point_view *hits,
                        const Lathe__V1__SearchResponse *reply, struct lathe_buf *out)
{
    lathe_buf_printf(out, "{\"row\":%" PRIu64, question->row);
    if (question->text != NULL) {
        lathe_json_key(out, false, "text");
        lathe_json_string(out, question->text);
    }
    lathe_buf_text(out, ",\"hits\":[");
    for (size_t i = 0; i < reply->n_hits; i++) {
        if (i > 0)
            lathe_buf_u8(out, ',');
        lathe_point_json(&hits[i], columns_of(question), out);
    }
    lathe_buf_u8(out, ']');
    if (reply->report != NULL)
        append_report_json(reply->report, out);
    lathe_buf_text(out, "}\n");
}

static void append_report_text(const Lathe__V1__Report *report, struct lathe_buf *out)
{
    const Lathe__V1__Coverage *coverage = report->coverage;
    char rows[32];

    lathe_buf_printf(out, "%s, %s rows", guarantee_name(report->guarantee),
                     lathe_progress_number(covered_rows(coverage), rows));
    if (coverage != NULL)
        lathe_buf_printf(out, " on %u of %u shards", coverage->shards_answered,
                         coverage->shards_asked);
    lathe_buf_printf(out, ", %.2f ms (scan %.2f ms", (double)report->total_us * 1e-3,
                     (double)report->scan_us * 1e-3);
    if (report->kernel[0] != '\0') {
        lathe_buf_text(out, ", ");
        lathe_text_clean(lathe_bytes_str(report->kernel), out);
    }
    lathe_buf_text(out, ")\n");
}

static void append_text(struct lathe_cli *cli, const struct question *question,
                        const struct lathe_point_view *hits, const Lathe__V1__SearchResponse *reply,
                        struct lathe_buf *out)
{
    if (question->titled && question->row > 0)
        lathe_buf_u8(out, '\n');
    if (question->text != NULL) {
        lathe_buf_text(out, "> ");
        lathe_text_clean(lathe_bytes_str(question->text), out);
        lathe_buf_u8(out, '\n');
    } else if (question->titled) {
        lathe_buf_printf(out, "> row %" PRIu64 "\n", question->row);
    }
    if (reply->n_hits == 0)
        lathe_buf_text(out, "nothing found\n");
    else
        lathe_point_table(hits, reply->n_hits, columns_of(question), cli->out_columns, out);
    if (reply->report != NULL)
        append_report_text(reply->report, out);
}

static int print_reply(struct lathe_cli *cli, const struct question *question,
                       const Lathe__V1__SearchResponse *reply)
{
    struct lathe_point_view *hits = lathe_alloc_array(reply->n_hits, sizeof(*hits));
    struct lathe_buf text = {0};
    int code;

    for (size_t i = 0; hits != NULL && i < reply->n_hits; i++) {
        const Lathe__V1__SearchHit *hit = reply->hits[i];

        hits[i] = (struct lathe_point_view){.id = hit->id,
                                            .version = hit->version,
                                            .score = hit->score,
                                            .payload = hit->payload,
                                            .vectors = hit->vectors,
                                            .vector_count = hit->n_vectors};
    }
    if (hits == NULL)
        text.failed = true;
    else if (lathe_options_bool(cli->options, "json"))
        append_json(question, hits, reply, &text);
    else
        append_text(cli, question, hits, reply, &text);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_free(hits);
    return code;
}

static void question_init(struct lathe_cli *cli, struct question *question)
{
    const struct lathe_options *options = cli->options;
    const char *field = lathe_options_text(options, "field");

    memset(question, 0, sizeof(*question));
    lathe__v1__search_request__init(&question->request);
    lathe__v1__selection__init(&question->selection);
    question->selection.payload = lathe_options_bool(options, "with-payload");
    question->selection.vectors = lathe_options_bool(options, "with-vectors");
    question->request.collection = (char *)(uintptr_t)lathe_options_text(options, "collection");
    question->request.field = (char *)(uintptr_t)(field != NULL ? field : "");
    question->request.limit = (uint32_t)lathe_options_number(options, "limit");
    question->request.selection = &question->selection;
}

static int question_ask(struct lathe_cli *cli, const struct question *question)
{
    Lathe__V1__SearchResponse *reply = NULL;
    struct lathe_error err = {0};
    int code;

    if (lathe_cli_call(cli, "/lathe.v1.SearchService/Search", &question->request.base,
                       &lathe__v1__search_response__descriptor, &reply, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    code = print_reply(cli, question, reply);
    lathe_client_free_reply(&reply->base);
    return code;
}

static int search_like(struct lathe_cli *cli, const char *text)
{
    struct lathe_error err = {0};
    struct question question;
    struct lathe_idkey key;
    struct lathe_wire_id id;

    if (lathe_idkey_parse(text, &key, &err) != LATHE_OK)
        return lathe_cli_usage(cli, "like: %s", err.message);
    question_init(cli, &question);
    lathe_wire_id_set(&id, &key);
    question.request.query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
    question.request.like = &id.message;
    return question_ask(cli, &question);
}

/* The vector of a row that is meant: the one of --field, else the only one. NULL: it is not clear.
 */
static const struct lathe_row_vector *vector_choose(const struct lathe_row *row, const char *field)
{
    for (size_t i = 0; i < row->vector_count; i++)
        if (strcmp(row->vectors[i].field, field) == 0)
            return &row->vectors[i];
    return row->vector_count == 1 && row->vectors[0].field[0] == '\0' ? &row->vectors[0] : NULL;
}

static int search_row(struct lathe_cli *cli, const struct lathe_row *row, uint64_t number,
                      bool titled)
{
    Lathe__V1__Vector vector = LATHE__V1__VECTOR__INIT;
    const struct lathe_row_vector *chosen;
    struct question question;

    question_init(cli, &question);
    chosen = vector_choose(row, question.request.field);
    if (chosen == NULL)
        return lathe_cli_usage(cli, "row %" PRIu64 " has no vector of the field \"%s\"", number,
                               question.request.field);
    vector.data.data = (uint8_t *)(uintptr_t)chosen->data.data;
    vector.data.len = chosen->data.size;
    vector.element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32;
    question.request.query_case = LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR;
    question.request.vector = &vector;
    question.text = row->text;
    question.row = number;
    question.titled = titled;
    return question_ask(cli, &question);
}

static int search_file(struct lathe_cli *cli, const char *file)
{
    const struct lathe_options *options = cli->options;
    bool one = lathe_options_given(options, "row");
    uint64_t wanted = lathe_options_number(options, "row");
    struct lathe_rows *rows = NULL;
    struct lathe_error err = {0};
    struct lathe_row row;
    enum lathe_status rc = lathe_rows_open(file, LATHE_ROWS_QUESTIONS, &rows, &err);
    int code = LATHE_EXIT_OK;
    uint64_t number = 0;

    for (; rc == LATHE_OK && code == LATHE_EXIT_OK; number++) {
        rc = lathe_rows_next(rows, &row, &err);
        if (rc != LATHE_OK || (one && number < wanted))
            continue;
        code = search_row(cli, &row, number, !one && lathe_rows_total(rows) != 1);
        if (one)
            break;
    }
    if (rc == LATHE_OUT_OF_RANGE && one)
        code = lathe_cli_usage(cli, "row: %s has no row %" PRIu64, file, wanted);
    else if (rc != LATHE_OK && rc != LATHE_OUT_OF_RANGE)
        code = lathe_cli_fail(cli, &err);
    lathe_rows_close(&rows);
    return code;
}

int lathe_command_search(struct lathe_cli *cli)
{
    const char *file = lathe_options_text(cli->options, "file");
    const char *like = lathe_options_text(cli->options, "like");

    if ((file == NULL) == (like == NULL))
        return lathe_cli_usage(cli, "a search needs a file of vectors or --like ID, one of them");
    return file != NULL ? search_file(cli, file) : search_like(cli, like);
}
