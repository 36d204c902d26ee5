/* gather_kit.c - see gather_kit.h. */
#include "tests/support/test.h"

#include "tests/unit/coordinator/gather_kit.h"

#include "common/base/mem.h"

static void never_called(struct lathe_scatter *scatter)
{
    (void)scatter;
    fail_msg("the machine itself calls nobody");
}

/* A scatter to the shards of a bit mask. */
struct lathe_scatter *scatter_make(unsigned shards, uint16_t kind, uint64_t deadline_us)
{
    struct lathe_scatter *scatter = lathe_zalloc(sizeof(*scatter));
    size_t part = 0;

    assert_true(lathe_scatter_reset(scatter, (size_t)__builtin_popcount(shards)));
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        if ((shards & 1u << shard) == 0)
            continue;
        scatter->parts[part].shard = shard;
        scatter->parts[part++].request.header.kind = kind;
    }
    scatter->deadline_us = deadline_us;
    scatter->done = never_called;
    return scatter;
}

void scatter_free(struct lathe_scatter *scatter)
{
    lathe_scatter_fini(scatter);
    lathe_free(scatter);
}

struct lathe_part *part_of(struct lathe_scatter *scatter, uint32_t shard)
{
    for (size_t i = 0; i < scatter->part_count; i++)
        if (scatter->parts[i].shard == shard)
            return &scatter->parts[i];
    return NULL;
}

enum lathe_gather_verdict answer_with(struct lathe_gather *gather, uint32_t shard, uint64_t id,
                                      uint16_t kind, const char *text)
{
    struct lathe_frame_header header = {.kind = kind | LATHE_FRAME_REPLY, .request_id = id};
    struct lathe_buf body = {0};
    struct lathe_frame frame;
    enum lathe_gather_verdict verdict;

    lathe_buf_append(&body, text, strlen(text));
    assert_true(lathe_frame_make(&frame, &header, &body, NULL));
    verdict = lathe_gather_answer(gather, shard, &frame);
    assert_null(frame.owner); /* taken or dropped, never left */
    return verdict;
}

struct lathe_error unreachable(void)
{
    struct lathe_error err = {0};

    (void)lathe_fail(&err, LATHE_UNAVAILABLE, "not reachable");
    return err;
}
