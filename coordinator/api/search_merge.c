/* search_merge.c - from the shards' hits to each search's, and the size of the reply; see
 * search_plan.h. */
#include <math.h>

#include "common/base/check.h"
#include "coordinator/api/search_plan.h"

/* ---- Checks of replies ------------------------------------------------------------------------
 */

/* Takes the next id key off the run that Hits carries. */
static struct lathe_bytes idkey_next(struct lathe_reader *reader)
{
    return lathe_read_bytes(reader, lathe_read_u8(reader));
}

static const char *hits_fault(const struct lathe_search_plan *plan,
                              const struct lathe_search_item *item, const Lathe__Shard__Hits *hits)
{
    struct lathe_reader reader = lathe_reader_of(
        lathe_bytes_of(hits->idkeys.data, hits->idkeys.len));

    if (hits->n_scores > item->limit + item->offset)
        return "it has more hits than asked for";
    if (item->selects && plan->selection.payload && hits->n_payload_bytes != hits->n_scores)
        return "it lacks the sizes of payloads";
    for (size_t i = 0; i < hits->n_scores; i++) {
        if (isnan(hits->scores[i]))
            return "a score is not a number";
        if (!lathe_idkey_valid(idkey_next(&reader)))
            return "an id is malformed";
    }
    if (reader.failed || lathe_reader_left(&reader) != 0)
        return "its ids are not as many as its scores";
    /* The levels' numbers fall with strength. */
    if (hits->guarantee < LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED ||
        hits->guarantee > item->guarantee)
        return "its guarantee is weaker than asked for";
    return NULL;
}

enum lathe_status lathe_search_reply_check(const struct lathe_search_plan *plan, uint32_t shard,
                                           const Lathe__Shard__SearchReply *reply,
                                           struct lathe_error *err)
{
    if (reply->n_hits != plan->count)
        return lathe_fail(err, LATHE_INTERNAL, "shard %u answered %zu searches with %zu lists",
                          shard, plan->count, reply->n_hits);
    for (size_t i = 0; i < plan->count; i++) {
        const char *fault = hits_fault(plan, &plan->items[i], reply->hits[i]);

        if (fault != NULL)
            return lathe_fail(err, LATHE_INTERNAL, "shard %u sent a wrong list of hits: %s", shard,
                              fault);
    }
    return LATHE_OK;
}

/* ---- The merge --------------------------------------------------------------------------------
 */

static void answer_offer(const struct lathe_search_plan *plan, size_t answer, size_t item,
                         struct lathe_topk *topk)
{
    const Lathe__Shard__Hits *hits = plan->answers[answer].reply->hits[item];
    struct lathe_reader reader = lathe_reader_of(
        lathe_bytes_of(hits->idkeys.data, hits->idkeys.len));

    for (size_t i = 0; i < hits->n_scores; i++) {
        struct lathe_hit hit = {
            .id = idkey_next(&reader), .ref = (uint64_t)answer << 32 | i, .score = hits->scores[i]};

        (void)lathe_topk_offer(topk, &hit);
    }
}

static enum lathe_status item_merge(struct lathe_search_plan *plan, size_t index,
                                    struct lathe_error *err)
{
    struct lathe_search_item *item = &plan->items[index];
    struct lathe_topk *topk = lathe_topk_create(item->limit + item->offset, item->field->metric);
    struct lathe_hit *all;

    if (topk == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "the server has no memory for this request");
    for (size_t i = 0; i < plan->answer_count; i++) {
        if (plan->answers[i].reply != NULL)
            answer_offer(plan, i, index, topk);
    }
    item->found = lathe_topk_count(topk);
    all = lathe_arena_alloc(plan->arena, item->found * sizeof(*all));
    if (all != NULL) {
        (void)lathe_topk_drain(topk, all);
        item->hit_count = item->found > item->offset ? item->found - item->offset : 0;
        item->hits = all + (item->found - item->hit_count);
    }
    lathe_topk_destroy(topk);
    return all != NULL ? LATHE_OK
                       : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                                    "the server has no memory for this request");
}

enum lathe_status lathe_search_merge(struct lathe_search_plan *plan, struct lathe_error *err)
{
    enum lathe_status status = LATHE_OK;

    for (size_t i = 0; status == LATHE_OK && i < plan->count; i++)
        status = item_merge(plan, i, err);
    return status;
}

/* ---- The size of the reply --------------------------------------------------------------------
 */

static uint64_t hit_payload_bytes(const struct lathe_search_plan *plan, size_t item,
                                  const struct lathe_hit *hit)
{
    const Lathe__Shard__Hits *hits = plan->answers[hit->ref >> 32].reply->hits[item];
    uint32_t index = (uint32_t)hit->ref;

    return index < hits->n_payload_bytes ? hits->payload_bytes[index] : 0;
}

/* Bytes of the reply, at most, with at most `limit` hits a search and parts of the selections left
 * out. */
static uint64_t reply_bytes(const struct lathe_search_plan *plan, uint32_t limit, bool payload,
                            bool vectors)
{
    /* Around the hits of one search: its report with a coverage of each shard. */
    uint64_t bytes = plan->count * (512 + (uint64_t)plan->answer_count * 48);

    for (size_t i = 0; i < plan->count; i++) {
        const struct lathe_search_item *item = &plan->items[i];
        /* What the shards send is the same for all searches that select anything. */
        struct lathe_selection kept = item->selects ? plan->selection : item->selection;

        kept.payload = kept.payload && payload;
        kept.vectors = kept.vectors && vectors;
        for (uint32_t j = 0; j < item->hit_count && j < limit; j++)
            bytes += lathe_point_size_bound(
                plan->collection, &kept,
                kept.payload ? hit_payload_bytes(plan, i, &item->hits[j]) : 0);
    }
    return bytes;
}

/* The largest limit whose reply fits; it is below `most`, whose reply does not. */
static uint32_t limit_that_fits(const struct lathe_search_plan *plan, uint32_t most)
{
    uint32_t fits = 0;

    while (most - fits > 1) {
        uint32_t middle = fits + (most - fits) / 2;

        if (reply_bytes(plan, middle, true, true) <= LATHE_MAX_MESSAGE_BYTES)
            fits = middle;
        else
            most = middle;
    }
    return fits;
}

enum lathe_status lathe_search_size_check(const struct lathe_search_plan *plan,
                                          struct lathe_error *err)
{
    uint64_t bytes = reply_bytes(plan, UINT32_MAX, true, true);
    const char *advice = "";
    uint32_t limit;

    if (bytes <= LATHE_MAX_MESSAGE_BYTES)
        return LATHE_OK;
    limit = limit_that_fits(plan, LATHE_MAX_RESULTS + 1);
    if (plan->selection.vectors &&
        reply_bytes(plan, UINT32_MAX, true, false) <= LATHE_MAX_MESSAGE_BYTES)
        advice = ", and so does the reply without selection.vectors";
    else if (plan->selection.payload &&
             reply_bytes(plan, UINT32_MAX, false, true) <= LATHE_MAX_MESSAGE_BYTES)
        advice = ", and so does the reply without selection.payload";
    else if (plan->selects &&
             reply_bytes(plan, UINT32_MAX, false, false) <= LATHE_MAX_MESSAGE_BYTES)
        advice = ", and so does the reply without payload and vectors";
    if (limit == 0)
        return lathe_fail_field(
            err, LATHE_RESOURCE_EXHAUSTED, "selection",
            "the reply would have %llu bytes, more than the limit of %u, and no "
            "limit makes it fit: ask for fewer searches or select less%s",
            (unsigned long long)bytes, LATHE_MAX_MESSAGE_BYTES, advice);
    return lathe_fail_field(err, LATHE_RESOURCE_EXHAUSTED, "limit",
                            "the reply would have %llu bytes, more than the limit of %u; limit %u "
                            "fits%s",
                            (unsigned long long)bytes, LATHE_MAX_MESSAGE_BYTES, limit, advice);
}

enum lathe_status lathe_search_collect(struct lathe_search_plan *plan, struct lathe_error *err)
{
    size_t count = 0;

    for (size_t i = 0; i < plan->count; i++) {
        const struct lathe_search_item *item = &plan->items[i];

        count += item->selects ? item->hit_count : 0;
    }
    if (!lathe_group_init(&plan->points, count, plan->arena))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "the server has no memory for this request");
    for (size_t i = 0; i < plan->count; i++) {
        struct lathe_search_item *item = &plan->items[i];

        if (!item->selects)
            continue;
        item->first_point = plan->points.count;
        for (uint32_t j = 0; j < item->hit_count; j++)
            lathe_group_add(&plan->points, item->hits[j].id,
                            plan->answers[item->hits[j].ref >> 32].shard);
    }
    return LATHE_OK;
}
