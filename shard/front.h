/* front.h - the thread that owns a shard's ROUTER socket: admission, deadlines, replies, held
 * searches. */
#ifndef LATHE_SHARD_FRONT_H
#define LATHE_SHARD_FRONT_H
#include "shard/search/search.h"
#include "shard/write/writer.h"

struct lathe_front;

struct lathe_front_config {
    const struct lathe_clock *clock;
    struct lathe_net *net;
    const char *endpoint;
    uint32_t shard;
    uint32_t shard_count;
    uint8_t cluster_id[16];
    struct lathe_publication *publication;
    struct lathe_writer *writer;
    struct lathe_search_config search; /* kernel, clock, pool */
    size_t in_flight;                  /* tasks inside at once; more are refused */
    struct lathe_budget *budget;
};

/* authorise(): one call stands in front of every frame. Everything is allowed on links that do not
 * leave the machine; CURVE identities will be checked here. */
bool lathe_front_authorise(const struct lathe_peer *peer, const struct lathe_frame_header *header);

LATHE_MUST_CHECK enum lathe_status lathe_front_start(const struct lathe_front_config *config,
                                                     struct lathe_front **front_out,
                                                     struct lathe_error *err);
/* Refuses what comes from now on, waits for the tasks inside, ends the thread. The writer and the
 * pool still run. */
void lathe_front_stop(struct lathe_front **front_p);

/* Answers everything with UNAVAILABLE from now on, and returns when nothing inside refers to the
 * writer, the publication or the store any more: they may be replaced then. Threads: the one that
 * calls stop(). */
void lathe_front_pause(struct lathe_front *front);
/* Serves again, with this writer and what the publication holds now. */
void lathe_front_resume(struct lathe_front *front, struct lathe_writer *writer);
#endif
