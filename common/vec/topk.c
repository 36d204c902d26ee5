/* topk.c - a binary heap whose root is the worst hit kept. */
#include "common/vec/topk.h"

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/vec/score.h"

struct lathe_topk {
    uint32_t k;
    uint32_t count;
    enum lathe_metric metric;
    struct lathe_hit *hits; /* heap: a parent is never before its children */
};

bool lathe_hit_before(enum lathe_metric metric, const struct lathe_hit *a,
                      const struct lathe_hit *b)
{
    if (a->score != b->score)
        return lathe_score_better(metric, a->score, b->score);
    return lathe_bytes_compare(a->id, b->id) < 0;
}

struct lathe_topk *lathe_topk_create(uint32_t k, enum lathe_metric metric)
{
    struct lathe_topk *topk;

    LATHE_REQUIRE(k > 0);
    topk = lathe_zalloc(sizeof(*topk));
    if (topk == NULL)
        return NULL;
    topk->hits = lathe_alloc_array(k, sizeof(*topk->hits));
    if (topk->hits == NULL) {
        lathe_free(topk);
        return NULL;
    }
    topk->k = k;
    topk->metric = metric;
    return topk;
}

void lathe_topk_destroy(struct lathe_topk *topk)
{
    if (topk == NULL)
        return;
    lathe_free(topk->hits);
    lathe_free(topk);
}

/* Moves the hit at `at` towards the root while it is worse than its parent. */
static void sift_up(struct lathe_topk *topk, uint32_t at)
{
    struct lathe_hit moving = topk->hits[at];

    while (at > 0) {
        uint32_t parent = (at - 1) / 2;

        if (!lathe_hit_before(topk->metric, &topk->hits[parent], &moving))
            break;
        topk->hits[at] = topk->hits[parent];
        at = parent;
    }
    topk->hits[at] = moving;
}

/* Puts `moving` into the heap of `count` hits whose root is free. */
static void sift_down(struct lathe_topk *topk, uint32_t count, struct lathe_hit moving)
{
    uint32_t at = 0;

    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= count)
            break;
        if (child + 1 < count &&
            lathe_hit_before(topk->metric, &topk->hits[child], &topk->hits[child + 1]))
            child++;
        if (!lathe_hit_before(topk->metric, &moving, &topk->hits[child]))
            break;
        topk->hits[at] = topk->hits[child];
        at = child;
    }
    topk->hits[at] = moving;
}

bool lathe_topk_offer(struct lathe_topk *topk, const struct lathe_hit *hit)
{
    if (topk->count < topk->k) {
        topk->hits[topk->count] = *hit;
        sift_up(topk, topk->count++);
        return true;
    }
    if (!lathe_hit_before(topk->metric, hit, &topk->hits[0]))
        return false;
    sift_down(topk, topk->count, *hit);
    return true;
}

uint32_t lathe_topk_count(const struct lathe_topk *topk)
{
    return topk->count;
}

bool lathe_topk_full(const struct lathe_topk *topk)
{
    return topk->count == topk->k;
}

float lathe_topk_worst(const struct lathe_topk *topk)
{
    LATHE_REQUIRE(topk->count == topk->k);
    return topk->hits[0].score;
}

uint32_t lathe_topk_drain(struct lathe_topk *topk, struct lathe_hit *hits_out)
{
    uint32_t count = topk->count;

    for (uint32_t left = count; left > 0; left--) {
        hits_out[left - 1] = topk->hits[0];
        sift_down(topk, left - 1, topk->hits[left - 1]);
    }
    topk->count = 0;
    return count;
}
