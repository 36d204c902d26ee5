/* search_plan.h - one or many searches of a collection: checks, the frame for the shards, the merge
 * of their answers, the size of the reply and its bytes. Pure: no I/O, no clock, no locks.
 *
 * Order: check, [like: resolve], body, [each shard: reply_read], merge, [payload or vectors wanted:
 * size_check, collect, [each shard: points]], encode. */
#ifndef LATHE_COORDINATOR_API_SEARCH_PLAN_H
#define LATHE_COORDINATOR_API_SEARCH_PLAN_H
#include "common/vec/topk.h"
#include "coordinator/api/group.h"
#include "lathe/v1/search.pb-c.h"

enum { LATHE_SEARCH_DEFAULT_LIMIT = 10 };

/* One search. Filled by the check, except for the last group. */
struct lathe_search_item {
    const Lathe__V1__SearchRequest *in;
    const struct lathe_field *field;
    uint32_t field_number;
    uint32_t limit;
    uint32_t offset;
    uint32_t guarantee; /* number of GuaranteeLevel, never 0 */
    struct lathe_selection selection;
    bool selects;            /* payload or vectors are wanted */
    struct lathe_idkey like; /* size 0: no like */
    struct lathe_bytes
        elements; /* of the query vector; of a like, known after lathe_search_resolve() */

    struct lathe_hit
        *hits; /* merged, without the offset's; ref = answer << 32 | index in its Hits */
    uint32_t hit_count;
    uint32_t found;     /* hits before the offset was taken off */
    size_t first_point; /* of its hits in the plan's group, if it has a selection */
};

/* What one shard answered: the decoded reply, or nothing. */
struct lathe_search_answer {
    uint32_t shard;
    const Lathe__Shard__SearchReply *reply; /* NULL: it did not answer */
};

struct lathe_search_plan {
    const struct lathe_collection *collection;
    struct lathe_arena *arena;
    struct lathe_search_item *items;
    size_t count;
    bool batch;
    bool selects;                     /* some item wants payload or vectors */
    bool allow_partial;               /* all items do */
    struct lathe_selection selection; /* what shards send for the hits of items with a selection */

    struct lathe_search_answer *answers; /* one a shard that was asked */
    size_t answer_count;
    struct lathe_group points;           /* hits whose payload or vectors are wanted */
    const Lathe__Shard__Points **shares; /* the answers for `points`, one a share */
    struct lathe_bytes *blocks;
};

/* Checks the searches of one collection. Paths begin with "searches[i]" in a batch. `arena` and the
 * messages are kept: they must outlive the plan. */
LATHE_MUST_CHECK enum lathe_status
lathe_search_check(Lathe__V1__SearchRequest *const *searches, size_t count, bool batch,
                   const struct lathe_collection *collection, struct lathe_arena *arena,
                   struct lathe_search_plan *plan_out, struct lathe_error *err);

/* Gathers the points that searches are like. Empty group: there are none. */
LATHE_MUST_CHECK enum lathe_status lathe_search_likes(const struct lathe_search_plan *plan,
                                                      struct lathe_group *group,
                                                      struct lathe_selection *selection_out,
                                                      struct lathe_error *err);
/* Takes the query vectors from the answers, in the order of the group: `points` and `blocks` one a
 * share, checked by lathe_points_check() and lathe_group_check(). NOT_FOUND: a point or its vector
 * is not there. */
LATHE_MUST_CHECK enum lathe_status lathe_search_resolve(struct lathe_search_plan *plan,
                                                        const struct lathe_group *group,
                                                        const Lathe__Shard__Points *const *points,
                                                        const struct lathe_bytes *blocks,
                                                        struct lathe_error *err);

/* Appends the SEARCH body and vector block, the same for every shard. */
void lathe_search_body(const struct lathe_search_plan *plan, struct lathe_buf *body,
                       struct lathe_buf *block);

/* Checks a shard's reply against what was asked. INTERNAL. */
LATHE_MUST_CHECK enum lathe_status lathe_search_reply_check(const struct lathe_search_plan *plan,
                                                            uint32_t shard,
                                                            const Lathe__Shard__SearchReply *reply,
                                                            struct lathe_error *err);
/* Merges all answers into each item's hits. */
LATHE_MUST_CHECK enum lathe_status lathe_search_merge(struct lathe_search_plan *plan,
                                                      struct lathe_error *err);

/* RESOURCE_EXHAUSTED, naming the limit that fits or the field to leave out, if the reply would pass
 * LATHE_MAX_MESSAGE_BYTES. */
LATHE_MUST_CHECK enum lathe_status lathe_search_size_check(const struct lathe_search_plan *plan,
                                                           struct lathe_error *err);
/* Gathers the hits whose payload or vectors are wanted in plan->points. */
LATHE_MUST_CHECK enum lathe_status lathe_search_collect(struct lathe_search_plan *plan,
                                                        struct lathe_error *err);

/* Appends the SearchResponse or SearchBatchResponse. `kernel` and `total_us` are for the reports.
 */
void lathe_search_encode(const struct lathe_search_plan *plan, const char *kernel,
                         uint64_t total_us, struct lathe_buf *reply);
#endif
