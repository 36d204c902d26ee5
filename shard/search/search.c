/* search.c - see search.h. */
#include "shard/search/search.h"

#include <math.h>

#include "common/base/mem.h"
#include "shard.pb-c.h"
#include "shard/search/read.h"

enum { GUARANTEE_LEVEL_CERTIFIED = 1 };

/* Of a hit in a reply, at most: score, payload size, id key with its length. */
enum { HIT_BYTES = 4 + 5 + 1 + LATHE_IDKEY_MAX_BYTES };

/* A search under way: one scan for each field that its queries name. */
struct search {
    const struct lathe_search_config *config;
    struct lathe_task *task;
    const struct lathe_collection_view *view;
    const Lathe__Shard__Search *message;
    struct lathe_scan *scans[LATHE_MAX_FIELDS]; /* by field; NULL: no query names it */
    size_t *place;                              /* of each query inside its field's scan */
    _Atomic uint32_t left;                      /* scans not done */
};

static void search_destroy(struct search *search)
{
    for (uint32_t f = 0; f < LATHE_MAX_FIELDS; f++)
        lathe_scan_destroy(search->scans[f]);
    lathe_free(search->place);
    lathe_free(search);
}

static void fail(struct search *search, const struct lathe_error *err)
{
    struct lathe_task *task = search->task;

    lathe_task_fail(task, err, false);
    search_destroy(search);
    lathe_task_finish(task);
}

static enum lathe_status query_check(const struct lathe_shard_collection *collection,
                                     const Lathe__Shard__Query *query, struct lathe_bytes block,
                                     struct lathe_error *err)
{
    const Lathe__Shard__VectorRef *ref = query->vector;
    const struct lathe_field *field;

    if (ref == NULL || ref->field >= collection->field_count)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vector",
                                "no vector of a known field");
    field = &collection->fields[ref->field];
    if (ref->size != field->vector_bytes || ref->offset % sizeof(float) != 0 ||
        ref->offset > block.size || ref->size > block.size - ref->offset)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vector",
                                "%u bytes at %llu of a block of %zu, a vector has %zu bytes",
                                ref->size, (unsigned long long)ref->offset, block.size,
                                field->vector_bytes);
    if (query->limit == 0 || query->limit > LATHE_MAX_RESULTS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "limit", "%u, 1 to %u are allowed",
                                query->limit, LATHE_MAX_RESULTS);
    if (query->has_threshold && isnan(query->threshold))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "threshold", "not a number");
    if (query->exclude_idkey.len > 0 &&
        !lathe_idkey_valid(lathe_bytes_of(query->exclude_idkey.data, query->exclude_idkey.len)))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "exclude_idkey", "not an id key");
    return lathe_vector_check_f32((const float *)(const void *)(block.data + ref->offset),
                                  field->dims, field->metric, false, err);
}

static enum lathe_status check(const struct search *search, struct lathe_error *err)
{
    size_t count = search->message->n_queries;
    uint64_t results = 0;

    if (count == 0 || count > LATHE_MAX_BATCH_SEARCHES)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "queries", "%zu, 1 to %u are allowed",
                                count, LATHE_MAX_BATCH_SEARCHES);
    for (size_t i = 0; i < count; i++) {
        enum lathe_status rc = query_check(search->view->collection, search->message->queries[i],
                                           search->task->block, err);

        if (rc != LATHE_OK) {
            lathe_error_in(err, "queries[%zu]", i);
            return rc;
        }
        results += search->message->queries[i]->limit;
    }
    if (results > LATHE_MAX_BATCH_RESULTS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "queries",
                                "%llu results over all queries, the limit is %u",
                                (unsigned long long)results, LATHE_MAX_BATCH_RESULTS);
    return LATHE_OK;
}

/* ---- Memory ---- */

/* Hits that a query can have: there are no more than rows. At least 1. */
static uint32_t hits_at_most(const struct search *search, const Lathe__Shard__Query *asked)
{
    uint64_t rows = search->view->fields[asked->vector->field]->row_count;

    if (rows == 0)
        return 1;
    return asked->limit < rows ? asked->limit : (uint32_t)rows;
}

/* Charges the whole search before anything of it is taken. */
static enum lathe_status reserve(struct search *search, struct lathe_error *err)
{
    unsigned threads = lathe_pool_threads(search->config->pool);
    uint64_t bytes = sizeof(*search);

    for (size_t i = 0; i < search->message->n_queries; i++) {
        uint32_t hits = hits_at_most(search, search->message->queries[i]);

        bytes += lathe_scan_query_bytes(hits, threads) +
                 LATHE_TASK_REPLY_COPIES *
                     (sizeof(Lathe__Shard__Hits) + (uint64_t)hits * HIT_BYTES);
    }
    return lathe_task_reserve(search->task, bytes, err);
}

/* ---- The reply ---- */

/* One query's hits, in the task's arena. NULL: no memory. */
static Lathe__Shard__Hits *hits_build(struct search *search, const Lathe__Shard__Query *asked,
                                      const struct lathe_scan_query *found, uint64_t rows)
{
    struct lathe_arena *arena = &search->task->arena;
    Lathe__Shard__Hits *hits = lathe_arena_alloc(arena, sizeof(*hits));
    size_t id_bytes = 0;
    uint8_t *at;

    if (hits == NULL)
        return NULL;
    lathe__shard__hits__init(hits);
    hits->rows = rows;
    hits->rows_proposed = found->rows_scored;
    hits->bytes_read = found->bytes_read;
    hits->guarantee = GUARANTEE_LEVEL_CERTIFIED;
    if (found->hit_count == 0)
        return hits;
    for (uint32_t i = 0; i < found->hit_count; i++)
        id_bytes += 1 + found->hits[i].id.size;
    hits->scores = lathe_arena_alloc(arena, found->hit_count * sizeof(float));
    hits->idkeys.data = at = lathe_arena_alloc(arena, id_bytes);
    if (asked->want_sizes)
        hits->payload_bytes = lathe_arena_alloc(arena, found->hit_count * sizeof(uint32_t));
    if (hits->scores == NULL || at == NULL || (asked->want_sizes && hits->payload_bytes == NULL))
        return NULL;
    hits->n_scores = found->hit_count;
    hits->idkeys.len = id_bytes;
    for (uint32_t i = 0; i < found->hit_count; i++) {
        struct lathe_bytes id = found->hits[i].id;

        hits->scores[i] = found->hits[i].score;
        *at++ = (uint8_t)id.size;
        memcpy(at, id.data, id.size);
        at += id.size;
    }
    return hits;
}

static enum lathe_status reply_fill(struct search *search, Lathe__Shard__SearchReply *reply,
                                    struct lathe_error *err)
{
    const Lathe__Shard__Search *message = search->message;
    struct lathe_task *task = search->task;
    enum lathe_status rc = LATHE_OK;

    reply->hits = lathe_arena_alloc(&task->arena, message->n_queries * sizeof(*reply->hits));
    if (reply->hits == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply");
    reply->n_hits = message->n_queries;
    for (size_t i = 0; i < message->n_queries && rc == LATHE_OK; i++) {
        const Lathe__Shard__Query *asked = message->queries[i];
        uint32_t field = asked->vector->field;
        const struct lathe_scan_query *found = lathe_scan_query(search->scans[field],
                                                                search->place[i]);

        reply->hits[i] = hits_build(search, asked, found, search->view->fields[field]->row_count);
        if (reply->hits[i] == NULL)
            return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a reply");
        if (!asked->want_sizes || found->hit_count == 0)
            continue;
        reply->hits[i]->n_payload_bytes = found->hit_count;
        rc = lathe_read_payload_sizes(task->snapshot, search->view->collection, found->hits,
                                      found->hit_count, reply->hits[i]->payload_bytes, err);
    }
    return rc;
}

static const char *why(enum lathe_status status)
{
    switch (status) {
    case LATHE_DEADLINE_EXCEEDED:
        return "the deadline passed during the scan";
    case LATHE_CANCELLED:
        return "the caller went away during the scan";
    default:
        return "memory was short during the scan";
    }
}

static void complete(struct search *search)
{
    Lathe__Shard__SearchReply reply = LATHE__SHARD__SEARCH_REPLY__INIT;
    struct lathe_task *task = search->task;
    struct lathe_error err;
    enum lathe_status rc = LATHE_OK;

    for (uint32_t f = 0; f < LATHE_MAX_FIELDS && rc == LATHE_OK; f++) {
        if (search->scans[f] == NULL)
            continue;
        rc = lathe_scan_status(search->scans[f]);
        if (lathe_scan_us(search->scans[f]) > reply.scan_us)
            reply.scan_us = lathe_scan_us(search->scans[f]);
    }
    if (rc != LATHE_OK)
        rc = lathe_fail(&err, rc, "%s", why(rc));
    else
        rc = reply_fill(search, &reply, &err);
    if (rc != LATHE_OK) {
        fail(search, &err);
        return;
    }
    reply.applied_seq = task->snapshot->applied_seq;
    reply.shard_us = lathe_now_us(search->config->clock) - task->received_us;
    lathe_task_answer(task, LATHE_FRAME_SEARCH, &reply.base);
    task->hold = search->message->hold && task->reply_kind == LATHE_FRAME_SEARCH;
    search_destroy(search);
    lathe_task_finish(task);
}

static void scan_done(struct lathe_scan *scan, void *context)
{
    struct search *search = context;

    (void)scan;
    if (atomic_fetch_sub_explicit(&search->left, 1, memory_order_acq_rel) == 1)
        complete(search);
}

/* ---- The start ---- */

/* The scan of one field's queries. False: no memory. */
static bool scan_build(struct search *search, uint32_t field)
{
    const struct lathe_field *schema = &search->view->collection->fields[field];
    const Lathe__Shard__Search *message = search->message;
    struct lathe_scan_config config = {.kernel = search->config->kernel,
                                       .clock = search->config->clock,
                                       .view = search->view->fields[field],
                                       .metric = schema->metric,
                                       .dims = schema->dims,
                                       .deadline_us = search->task->deadline_us,
                                       .cancelled = &search->task->cancelled};
    struct lathe_scan_query *queries = lathe_zalloc_array(message->n_queries, sizeof(*queries));
    size_t count = 0;

    if (queries == NULL)
        return false;
    for (size_t i = 0; i < message->n_queries; i++) {
        const Lathe__Shard__Query *asked = message->queries[i];

        if (asked->vector->field != field)
            continue;
        search->place[i] = count;
        queries[count++] = (struct lathe_scan_query){
            .vector = (const float *)(const void *)(search->task->block.data +
                                                    asked->vector->offset),
            .limit = hits_at_most(search, asked),
            .has_threshold = asked->has_threshold,
            .threshold = asked->threshold,
            .exclude = lathe_bytes_of(asked->exclude_idkey.data, asked->exclude_idkey.len)};
    }
    search->scans[field] = count > 0 ? lathe_scan_create(&config, queries, count, scan_done, search)
                                     : NULL;
    lathe_free(queries);
    return count == 0 || search->scans[field] != NULL;
}

void lathe_search_start(const struct lathe_search_config *config, struct lathe_task *task)
{
    struct search *search = lathe_zalloc(sizeof(*search));
    struct lathe_error err;
    uint32_t scans = 0;
    struct lathe_scan *run[LATHE_MAX_FIELDS];

    if (search == NULL) {
        (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for a search");
        lathe_task_fail(task, &err, false);
        lathe_task_finish(task);
        return;
    }
    search->config = config;
    search->task = task;
    search->message = (const Lathe__Shard__Search *)task->message;
    search->view = lathe_snapshot_find(task->snapshot, task->request.header.collection);
    if (check(search, &err) != LATHE_OK || reserve(search, &err) != LATHE_OK) {
        fail(search, &err);
        return;
    }
    search->place = lathe_alloc_array(search->message->n_queries, sizeof(*search->place));
    for (uint32_t f = 0; f < search->view->collection->field_count; f++) {
        if (search->place == NULL || !scan_build(search, f)) {
            (void)lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for a search");
            fail(search, &err);
            return;
        }
        if (search->scans[f] != NULL)
            run[scans++] = search->scans[f];
    }
    /* From the first run on, the last scan to end frees the search: only local variables from here.
     */
    atomic_store_explicit(&search->left, scans, memory_order_release);
    for (uint32_t i = 0; i < scans; i++)
        lathe_scan_run(run[i], config->pool);
}
