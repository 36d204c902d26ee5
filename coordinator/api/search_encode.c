/* search_encode.c - the bytes of SearchResponse and SearchBatchResponse; see search_plan.h. */
#include "coordinator/api/search_plan.h"

enum {
    BATCH_RESPONSES = 1,
    RESPONSE_HITS = 1,
    RESPONSE_REPORT = 2,
    HIT_ID = 1,
    HIT_SCORE = 2,
    HIT_VERSION = 3,
    HIT_VECTORS = 4,
    HIT_PAYLOAD = 5,
    REPORT_GUARANTEE = 1,
    REPORT_RECALL = 2,
    REPORT_PLAN = 3,
    REPORT_COVERAGE = 4,
    REPORT_ORIGINALS_READ = 5,
    REPORT_SHARD_US = 6,
    REPORT_SCAN_US = 7,
    REPORT_TOTAL_US = 8,
    REPORT_KERNEL = 9,
    PLAN_STEPS = 1,
    STEP_NAME = 1,
    STEP_ROWS_IN = 2,
    STEP_ROWS_OUT = 3,
    STEP_BYTES_READ = 4
};

/* One search being written. */
struct response {
    const struct lathe_search_plan *plan;
    const char *kernel;
    uint64_t total_us;
    size_t item;
    uint32_t hit; /* the one being written */
    /* Sums and worst cases over the shards that answered. */
    uint64_t guarantee;
    uint64_t rows;
    uint64_t rows_proposed;
    uint64_t bytes_read;
    uint64_t shard_us;
    uint64_t scan_us;
};

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void response_sum(struct response *response)
{
    for (size_t i = 0; i < response->plan->answer_count; i++) {
        const Lathe__Shard__SearchReply *reply = response->plan->answers[i].reply;
        const Lathe__Shard__Hits *hits;

        if (reply == NULL)
            continue;
        hits = reply->hits[response->item];
        response->guarantee = larger(response->guarantee, hits->guarantee);
        response->rows += hits->rows;
        response->rows_proposed += hits->rows_proposed;
        response->bytes_read += hits->bytes_read;
        response->shard_us = larger(response->shard_us, reply->shard_us);
        response->scan_us = larger(response->scan_us, reply->scan_us);
    }
}

/* ---- Hits ------------------------------------------------------------------------------------ */

static void wire_hit(struct lathe_wire *wire, const void *source)
{
    const struct response *response = source;
    const struct lathe_search_plan *plan = response->plan;
    const struct lathe_search_item *item = &plan->items[response->item];
    const struct lathe_hit *hit = &item->hits[response->hit];
    struct lathe_point_source point = {.collection = plan->collection,
                                       .selection = &item->selection};
    const struct lathe_group_item *place;

    lathe_wire_message(wire, HIT_ID, lathe_wire_id, &hit->id);
    lathe_wire_float(wire, HIT_SCORE, hit->score);
    if (!item->selects)
        return;
    place = &plan->points.items[item->first_point + response->hit];
    point.data = plan->shares[place->share]->data[place->index];
    point.block = plan->blocks[place->share];
    lathe_wire_uint_set(wire, HIT_VERSION, point.data->version);
    lathe_wire_point_vectors(wire, HIT_VECTORS, &point);
    lathe_wire_point_payload(wire, HIT_PAYLOAD, &point);
}

/* ---- The report ------------------------------------------------------------------------------ */

static void wire_step(struct lathe_wire *wire, const void *source)
{
    const struct response *response = source;

    lathe_wire_string_set(wire, STEP_NAME, "originals");
    lathe_wire_uint_set(wire, STEP_ROWS_IN, response->rows);
    lathe_wire_uint_set(wire, STEP_ROWS_OUT, response->plan->items[response->item].found);
    lathe_wire_uint_set(wire, STEP_BYTES_READ, response->bytes_read);
}

static void wire_plan(struct lathe_wire *wire, const void *source)
{
    lathe_wire_message(wire, PLAN_STEPS, wire_step, source);
}

static void wire_coverage(struct lathe_wire *wire, const void *source)
{
    const struct response *response = source;
    const struct lathe_search_plan *plan = response->plan;
    struct lathe_shard_answer answers[LATHE_MAX_SHARDS];
    struct lathe_coverage_source coverage = {answers, plan->answer_count};

    for (size_t i = 0; i < plan->answer_count; i++) {
        const Lathe__Shard__SearchReply *reply = plan->answers[i].reply;

        answers[i] = (struct lathe_shard_answer){.shard = plan->answers[i].shard};
        if (reply == NULL)
            continue;
        answers[i].answered = true;
        answers[i].applied_seq = reply->applied_seq;
        answers[i].rows = reply->hits[response->item]->rows;
    }
    lathe_wire_coverage(wire, &coverage);
}

static void wire_report(struct lathe_wire *wire, const void *source)
{
    const struct response *response = source;

    lathe_wire_uint_set(wire, REPORT_GUARANTEE, response->guarantee);
    lathe_wire_double(wire, REPORT_RECALL, 1.0); /* weaker than EXACT is never given */
    lathe_wire_message(wire, REPORT_PLAN, wire_plan, response);
    lathe_wire_message(wire, REPORT_COVERAGE, wire_coverage, response);
    lathe_wire_uint_set(wire, REPORT_ORIGINALS_READ, response->rows_proposed);
    lathe_wire_uint_set(wire, REPORT_SHARD_US, response->shard_us);
    lathe_wire_uint_set(wire, REPORT_SCAN_US, response->scan_us);
    lathe_wire_uint_set(wire, REPORT_TOTAL_US, response->total_us);
    lathe_wire_string_set(wire, REPORT_KERNEL, response->kernel);
}

/* ---- Responses --------------------------------------------------------------------------------
 */

static void wire_response(struct lathe_wire *wire, const void *source)
{
    struct response response = *(const struct response *)source;
    uint32_t hit_count = response.plan->items[response.item].hit_count;

    for (response.hit = 0; response.hit < hit_count; response.hit++)
        lathe_wire_message(wire, RESPONSE_HITS, wire_hit, &response);
    lathe_wire_message(wire, RESPONSE_REPORT, wire_report, &response);
}

void lathe_search_encode(const struct lathe_search_plan *plan, const char *kernel,
                         uint64_t total_us, struct lathe_buf *reply)
{
    struct lathe_wire wire = {reply, 0};

    for (size_t i = 0; i < plan->count; i++) {
        struct response response = {
            .plan = plan, .kernel = kernel, .total_us = total_us, .item = i};

        response_sum(&response);
        if (plan->batch)
            lathe_wire_message(&wire, BATCH_RESPONSES, wire_response, &response);
        else
            wire_response(&wire, &response);
    }
}
