/* topk.h - the best k hits of a stream, whatever the order they come in.
 *
 * A hit is better by its score, and at equal scores by the smaller id key. No two hits offered to
 * one top-k have the same id, so the order is total and the result does not depend on the order of
 * the offers. Merging two lists is offering one to the other. */
#ifndef LATHE_VEC_TOPK_H
#define LATHE_VEC_TOPK_H
#include "common/base/bytes.h"
#include "common/vec/types.h"

/* Plain data, copied freely. */
struct lathe_hit {
    struct lathe_bytes id; /* id key; borrowed: it must outlive the top-k that the hit is kept in */
    uint64_t ref;          /* the caller's own: a row, a shard and index, ... */
    float score;           /* the defined score, never NaN */
};

/* True if `a` comes before `b` in a result list under `metric`. */
bool lathe_hit_before(enum lathe_metric metric, const struct lathe_hit *a,
                      const struct lathe_hit *b);

struct lathe_topk;

/* Room for the best `k` (at least 1) hits, allocated at once. NULL when memory is short.
 * Owner: the caller. Threads: one at a time. */
struct lathe_topk *lathe_topk_create(uint32_t k, enum lathe_metric metric);
void lathe_topk_destroy(struct lathe_topk *topk); /* NULL is accepted */

/* Keeps a copy of *hit if it is among the best k so far; returns whether it is. */
bool lathe_topk_offer(struct lathe_topk *topk, const struct lathe_hit *hit);

uint32_t lathe_topk_count(const struct lathe_topk *topk);
bool lathe_topk_full(const struct lathe_topk *topk); /* k hits are kept */
/* The k-th best score so far. Only while full: a worse score can never be kept, an equal one can,
 * if its id is smaller. */
float lathe_topk_worst(const struct lathe_topk *topk);

/* Writes the kept hits to hits_out (room for lathe_topk_count() of them), best first, and empties
 * the top-k, which can then be used again. Returns how many. */
uint32_t lathe_topk_drain(struct lathe_topk *topk, struct lathe_hit *hits_out);
#endif
