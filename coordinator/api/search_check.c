/* search_check.c - the checks of searches, and the frame that asks the shards; see search_plan.h.
 */
#include <math.h>

#include "coordinator/api/search_plan.h"

static enum lathe_status unserved(struct lathe_error *err, bool present, const char *field)
{
    return !present ? LATHE_OK
                    : lathe_fail_field(err, LATHE_UNIMPLEMENTED, field,
                                       "`%s` is not served by this version", field);
}

/* Parts of the request whose place is kept for later versions. */
static enum lathe_status unserved_check(const Lathe__V1__SearchRequest *in, struct lathe_error *err)
{
    enum lathe_status status = unserved(err, in->filter != NULL, "filter");

    if (status == LATHE_OK)
        status = unserved(err, in->group_by != NULL, "group_by");
    if (status == LATHE_OK)
        status = unserved(err, in->force_plan != NULL, "force_plan");
    if (status == LATHE_OK)
        status = unserved(err, in->query_case == LATHE__V1__SEARCH_REQUEST__QUERY_SPARSE, "sparse");
    if (status == LATHE_OK)
        status = unserved(err, in->query_case == LATHE__V1__SEARCH_REQUEST__QUERY_MULTI, "multi");
    if (status == LATHE_OK)
        status = unserved(err, in->query_case == LATHE__V1__SEARCH_REQUEST__QUERY_FUSION, "fusion");
    return status;
}

static enum lathe_status limits_check(struct lathe_search_item *item, struct lathe_error *err)
{
    const Lathe__V1__SearchRequest *in = item->in;

    item->limit = in->limit > 0 ? in->limit : LATHE_SEARCH_DEFAULT_LIMIT;
    item->offset = in->offset;
    if ((uint64_t)item->limit + item->offset > LATHE_MAX_RESULTS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "limit",
                                "limit %u and offset %u together are more than the limit of %u",
                                item->limit, item->offset, LATHE_MAX_RESULTS);
    if (in->threshold_case == LATHE__V1__SEARCH_REQUEST__THRESHOLD_SCORE_THRESHOLD &&
        !isfinite(in->score_threshold))
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "score_threshold",
                                "a threshold must be finite, not %f", (double)in->score_threshold);
    return LATHE_OK;
}

static enum lathe_status guarantee_check(struct lathe_search_item *item, struct lathe_error *err)
{
    const Lathe__V1__Guarantee *guarantee = item->in->guarantee;

    item->guarantee = LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT;
    if (guarantee == NULL)
        return LATHE_OK;
    switch (guarantee->level) {
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_UNSPECIFIED:
        return LATHE_OK;
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED:
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_EXACT:
        break;
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL:
        if (!(guarantee->recall > 0.0 && guarantee->recall <= 1.0)) /* NaN too */
            return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "guarantee.recall",
                                    "a recall lies above 0 and is at most 1; this is %g",
                                    guarantee->recall);
        break;
    case LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_BUDGET:
        return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "guarantee.level",
                                "BUDGET is not served by this version");
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "guarantee.level",
                                "there is no guarantee %d", (int)guarantee->level);
    }
    item->guarantee = (uint32_t)guarantee->level;
    return LATHE_OK;
}

/* Query vectors and stored ones obey the same rules, but a zero vector has no direction to search
 * in. */
static enum lathe_status query_check(const struct lathe_search_item *item, struct lathe_error *err)
{
    return lathe_vector_check_f32((const float *)(const void *)item->elements.data,
                                  item->field->dims, item->field->metric, false, err);
}

static enum lathe_status vector_check(struct lathe_search_item *item, struct lathe_error *err)
{
    const Lathe__V1__Vector *vector = item->in->vector;
    const char *form = vector->data.len > 0 ? "vector.data" : "vector.values";
    enum lathe_status status = lathe_check_elements(vector, &item->elements, err);
    size_t dims;

    if (status != LATHE_OK) {
        lathe_error_in(err, "vector");
        return status;
    }
    dims = item->elements.size / sizeof(float);
    if (dims == 0 || dims > item->field->dims)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, form,
                                "the query has %zu dims, field \"%s\" has %u", dims,
                                item->field->name, item->field->dims);
    if (dims < item->field->dims)
        return lathe_fail_field(
            err, LATHE_UNIMPLEMENTED, form,
            "the query has %zu dims, field \"%s\" has %u; searching by a prefix "
            "is not served by this version",
            dims, item->field->name, item->field->dims);
    status = query_check(item, err);
    if (status != LATHE_OK && err != NULL)
        (void)strcpy(err->field, form);
    return status;
}

static enum lathe_status dims_check(const struct lathe_search_item *item, struct lathe_error *err)
{
    uint32_t dims = item->in->dims;

    if (dims == 0 || dims == item->field->dims)
        return LATHE_OK;
    if (dims > item->field->dims)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "dims",
                                "%u dims are more than the %u of field \"%s\"", dims,
                                item->field->dims, item->field->name);
    return lathe_fail_field(err, LATHE_UNIMPLEMENTED, "dims",
                            "searching by the first %u of %u dims is not served by this version",
                            dims, item->field->dims);
}

static enum lathe_status target_check(struct lathe_search_item *item, struct lathe_error *err)
{
    enum lathe_status status;

    switch (item->in->query_case) {
    case LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR:
        return vector_check(item, err);
    case LATHE__V1__SEARCH_REQUEST__QUERY_LIKE:
        status = lathe_check_id(item->in->like, &item->like, err);
        if (status != LATHE_OK)
            lathe_error_in(err, "like");
        return status;
    default:
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "vector",
                                "a query is missing: give `vector` or `like`");
    }
}

static enum lathe_status item_check(struct lathe_search_item *item,
                                    const struct lathe_collection *collection,
                                    struct lathe_error *err)
{
    enum lathe_status status = unserved_check(item->in, err);

    if (status == LATHE_OK)
        status = lathe_check_field(collection, item->in->field, &item->field, err);
    if (status != LATHE_OK)
        return status;
    item->field_number = lathe_collection_field_number(collection, item->field);
    status = limits_check(item, err);
    if (status == LATHE_OK)
        status = guarantee_check(item, err);
    if (status == LATHE_OK)
        status = dims_check(item, err);
    if (status == LATHE_OK)
        status = target_check(item, err);
    if (status == LATHE_OK)
        status = lathe_check_selection(item->in->selection, collection, &item->selection, err);
    return status;
}

/* Adds what one item wants to what the shards are asked for. */
static void selection_add(struct lathe_search_plan *plan, const struct lathe_selection *wanted)
{
    struct lathe_selection *all = &plan->selection;
    bool every = (all->vectors && all->field_count == 0) ||
                 (wanted->vectors && wanted->field_count == 0);

    plan->selects = plan->selects || wanted->payload || wanted->vectors;
    all->payload = all->payload || wanted->payload;
    for (uint32_t i = 0; !every && i < wanted->field_count; i++) {
        if (!all->vectors || !lathe_selection_wants(all, wanted->fields[i])) {
            all->vectors = true;
            all->fields[all->field_count++] = wanted->fields[i];
        }
    }
    if (every) {
        all->vectors = true;
        all->field_count = 0;
    }
}

static enum lathe_status batch_total_check(const struct lathe_search_plan *plan,
                                           struct lathe_error *err)
{
    uint64_t total = 0;

    for (size_t i = 0; i < plan->count; i++)
        total += (uint64_t)plan->items[i].limit + plan->items[i].offset;
    if (!plan->batch || total <= LATHE_MAX_BATCH_RESULTS)
        return LATHE_OK;
    return lathe_fail_field(
        err, LATHE_INVALID_ARGUMENT, "searches",
        "limits and offsets of the batch sum up to %llu, more than the limit of "
        "%u",
        (unsigned long long)total, LATHE_MAX_BATCH_RESULTS);
}

enum lathe_status lathe_search_check(Lathe__V1__SearchRequest *const *searches, size_t count,
                                     bool batch, const struct lathe_collection *collection,
                                     struct lathe_arena *arena, struct lathe_search_plan *plan_out,
                                     struct lathe_error *err)
{
    *plan_out = (struct lathe_search_plan){
        .collection = collection, .arena = arena, .batch = batch, .allow_partial = true};
    plan_out->items = lathe_arena_alloc(arena, count * sizeof(*plan_out->items));
    if (plan_out->items == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "the server has no memory for this request");
    plan_out->count = count;
    for (size_t i = 0; i < count; i++) {
        struct lathe_search_item *item = &plan_out->items[i];
        enum lathe_status status;

        *item = (struct lathe_search_item){.in = searches[i]};
        status = item_check(item, collection, err);
        if (status != LATHE_OK) {
            if (batch)
                lathe_error_in(err, "searches[%zu]", i);
            return status;
        }
        plan_out->allow_partial = plan_out->allow_partial && searches[i]->allow_partial;
        item->selects = item->selection.payload || item->selection.vectors;
        selection_add(plan_out, &item->selection);
    }
    return batch_total_check(plan_out, err);
}

/* ---- Searches like a stored point -------------------------------------------------------------
 */

enum lathe_status lathe_search_likes(const struct lathe_search_plan *plan,
                                     struct lathe_group *group,
                                     struct lathe_selection *selection_out, struct lathe_error *err)
{
    *selection_out = (struct lathe_selection){.vectors = true};
    if (!lathe_group_init(group, plan->count, plan->arena))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "the server has no memory for this request");
    for (size_t i = 0; i < plan->count; i++) {
        const struct lathe_search_item *item = &plan->items[i];
        struct lathe_bytes idkey = lathe_idkey_view(&item->like);

        if (idkey.size == 0)
            continue;
        lathe_group_add(group, idkey, lathe_collection_shard_of(plan->collection, idkey));
        if (selection_out->field_count == 0 ||
            !lathe_selection_wants(selection_out, item->field_number))
            selection_out->fields[selection_out->field_count++] = item->field_number;
    }
    return LATHE_OK;
}

static enum lathe_status like_missing(const struct lathe_search_item *item, bool point,
                                      struct lathe_error *err)
{
    char text[LATHE_ID_TEXT_BYTES];

    lathe_idkey_format(lathe_idkey_view(&item->like), text);
    if (point)
        return lathe_fail_field(err, LATHE_NOT_FOUND, "like", "there is no point %s", text);
    return lathe_fail_field(err, LATHE_NOT_FOUND, "like", "point %s has no vector of field \"%s\"",
                            text, item->field->name);
}

static enum lathe_status like_take(struct lathe_search_plan *plan, struct lathe_search_item *item,
                                   const Lathe__Shard__PointData *data, struct lathe_bytes block,
                                   struct lathe_error *err)
{
    if (data->missing)
        return like_missing(item, true, err);
    for (size_t i = 0; i < data->n_vectors; i++) {
        const Lathe__Shard__VectorRef *ref = data->vectors[i];
        void *copy;
        enum lathe_status status;

        if (ref->field != item->field_number)
            continue;
        copy = lathe_arena_alloc(plan->arena, ref->size);
        if (copy == NULL)
            return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                              "the server has no memory for this request");
        memcpy(copy, block.data + ref->offset, ref->size);
        item->elements = lathe_bytes_of(copy, ref->size);
        status = query_check(item, err);
        if (status != LATHE_OK && err != NULL)
            memcpy(err->field, "like", sizeof("like"));
        return status;
    }
    return like_missing(item, false, err);
}

enum lathe_status lathe_search_resolve(struct lathe_search_plan *plan,
                                       const struct lathe_group *group,
                                       const Lathe__Shard__Points *const *points,
                                       const struct lathe_bytes *blocks, struct lathe_error *err)
{
    const struct lathe_group_item *next = group->items;

    for (size_t i = 0; i < plan->count; i++) {
        struct lathe_search_item *item = &plan->items[i];
        enum lathe_status status;

        if (item->like.size == 0)
            continue;
        status = like_take(plan, item, points[next->share]->data[next->index], blocks[next->share],
                           err);
        if (status != LATHE_OK) {
            if (plan->batch)
                lathe_error_in(err, "searches[%zu]", i);
            return status;
        }
        next++;
    }
    return LATHE_OK;
}

/* ---- The frame --------------------------------------------------------------------------------
 */

/* Appends one query; repeated fields of messages written one after another add up. */
static void query_append(const struct lathe_search_plan *plan, const struct lathe_search_item *item,
                         struct lathe_buf *body, struct lathe_buf *block)
{
    Lathe__Shard__Search search = LATHE__SHARD__SEARCH__INIT;
    Lathe__Shard__Query query = LATHE__SHARD__QUERY__INIT;
    Lathe__Shard__VectorRef ref = LATHE__SHARD__VECTOR_REF__INIT;
    Lathe__Shard__Query *list[1] = {&query};

    ref.field = item->field_number;
    ref.offset = block->size;
    ref.size = (uint32_t)item->elements.size;
    lathe_buf_append(block, item->elements.data, item->elements.size);
    query.vector = &ref;
    query.limit = item->limit + item->offset;
    query.has_threshold = item->in->threshold_case ==
                          LATHE__V1__SEARCH_REQUEST__THRESHOLD_SCORE_THRESHOLD;
    query.threshold = query.has_threshold ? item->in->score_threshold : 0.0f;
    query.exclude_idkey.data = (uint8_t *)(uintptr_t)item->like.bytes;
    query.exclude_idkey.len = item->like.size;
    query.guarantee = item->guarantee;
    if (item->guarantee == LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_TARGET_RECALL)
        query.recall = item->in->guarantee->recall;
    query.want_sizes = item->selects && plan->selection.payload;
    search.n_queries = 1;
    search.queries = list;
    lathe_message_encode(&search.base, body);
}

void lathe_search_body(const struct lathe_search_plan *plan, struct lathe_buf *body,
                       struct lathe_buf *block)
{
    Lathe__Shard__Search rest = LATHE__SHARD__SEARCH__INIT;

    for (size_t i = 0; i < plan->count; i++)
        query_append(plan, &plan->items[i], body, block);
    rest.hold = plan->selects;
    lathe_message_encode(&rest.base, body);
}
