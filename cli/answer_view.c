/* answer_view.c - see answer_view.h. */
#include "cli/answer_view.h"

#include <inttypes.h>

#include "cli/json_out.h"
#include "cli/progress.h"
#include "cli/text_table.h"
#include "common/base/mem.h"

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

static void append_report_json(const Lathe__V1__Report *report, size_t together,
                               struct lathe_buf *out)
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
    lathe_buf_printf(out, ",\"batch_searches\":%zu}", together);
}

static void append_json(const struct lathe_answer_head *head, const struct lathe_point_view *hits,
                        const Lathe__V1__SearchResponse *reply, struct lathe_buf *out)
{
    lathe_buf_printf(out, "{\"row\":%" PRIu64, head->row);
    if (head->text != NULL) {
        lathe_json_key(out, false, "text");
        lathe_json_string(out, head->text);
    }
    lathe_buf_text(out, ",\"hits\":[");
    for (size_t i = 0; i < reply->n_hits; i++) {
        if (i > 0)
            lathe_buf_u8(out, ',');
        lathe_point_json(&hits[i], head->columns, out);
    }
    lathe_buf_u8(out, ']');
    if (reply->report != NULL)
        append_report_json(reply->report, head->together, out);
    lathe_buf_text(out, "}\n");
}

static void append_report_text(const Lathe__V1__Report *report, size_t together,
                               struct lathe_buf *out)
{
    const Lathe__V1__Coverage *coverage = report->coverage;
    char rows[32];

    lathe_buf_printf(out, "%s, %s rows", guarantee_name(report->guarantee),
                     lathe_progress_number(covered_rows(coverage), rows));
    if (coverage != NULL)
        lathe_buf_printf(out, " on %u of %u shards", coverage->shards_answered,
                         coverage->shards_asked);
    lathe_buf_text(out, ", ");
    if (together > 1)
        lathe_buf_printf(out, "%zu searches in ", together);
    lathe_buf_printf(out, "%.2f ms (scan %.2f ms", (double)report->total_us * 1e-3,
                     (double)report->scan_us * 1e-3);
    if (report->kernel[0] != '\0') {
        lathe_buf_text(out, ", ");
        lathe_text_clean(lathe_bytes_str(report->kernel), out);
    }
    lathe_buf_text(out, ")\n");
}

static void append_text(struct lathe_cli *cli, const struct lathe_answer_head *head,
                        const struct lathe_point_view *hits, const Lathe__V1__SearchResponse *reply,
                        struct lathe_buf *out)
{
    if (head->titled && head->row > 0)
        lathe_buf_u8(out, '\n');
    if (head->text != NULL) {
        lathe_buf_text(out, "> ");
        lathe_text_clean(lathe_bytes_str(head->text), out);
        lathe_buf_u8(out, '\n');
    } else if (head->titled) {
        lathe_buf_printf(out, "> row %" PRIu64 "\n", head->row);
    }
    if (reply->n_hits == 0)
        lathe_buf_text(out, "nothing found\n");
    else
        lathe_point_table(hits, reply->n_hits, head->columns, cli->out_columns, out);
    if (reply->report != NULL)
        append_report_text(reply->report, head->together, out);
}

int lathe_answer_print(struct lathe_cli *cli, const struct lathe_answer_head *head,
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
        append_json(head, hits, reply, &text);
    else
        append_text(cli, head, hits, reply, &text);
    code = lathe_cli_print(cli, &text);
    lathe_buf_fini(&text);
    lathe_free(hits);
    return code;
}
