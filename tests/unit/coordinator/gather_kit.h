/* gather_kit.h - what the tests of the gather machine share: scatters, and frames that answer them.
 */
#ifndef LATHE_TESTS_UNIT_COORDINATOR_GATHER_KIT_H
#define LATHE_TESTS_UNIT_COORDINATOR_GATHER_KIT_H
#include "coordinator/gather.h"

enum { SHARDS = 5 };

/* A scatter to the shards of a bit mask. */
struct lathe_scatter *scatter_make(unsigned shards, uint16_t kind, uint64_t deadline_us);
void scatter_free(struct lathe_scatter *scatter);
/* Its part for a shard, or NULL. */
struct lathe_part *part_of(struct lathe_scatter *scatter, uint32_t shard);
/* Gives the machine an answer of this kind from a shard. */
enum lathe_gather_verdict answer_with(struct lathe_gather *gather, uint32_t shard, uint64_t id,
                                      uint16_t kind, const char *text);
/* UNAVAILABLE. */
struct lathe_error unreachable(void);
#endif
