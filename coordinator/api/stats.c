/* stats.c - see stats.h. */
#include "coordinator/api/stats.h"

enum lathe_status lathe_stats_ask(struct lathe_request *request, struct lathe_error *err)
{
    Lathe__Shard__Stats body = LATHE__SHARD__STATS__INIT;

    return lathe_request_ask_all(request, LATHE_FRAME_STATS, &body.base, err);
}

static void stats_add(struct lathe_stats *stats, const Lathe__Shard__StatsReply *reply)
{
    stats->points += reply->points;
    for (size_t i = 0; i < reply->n_fields && i < LATHE_MAX_FIELDS; i++) {
        stats->fields[i].rows += reply->fields[i]->rows;
        stats->fields[i].dead_rows += reply->fields[i]->dead_rows;
        stats->fields[i].memory_bytes += reply->fields[i]->memory_bytes;
    }
    stats->disk_bytes += reply->disk_bytes;
    if (reply->disk_free_bytes < stats->disk_free_bytes)
        stats->disk_free_bytes = reply->disk_free_bytes;
}

enum lathe_status lathe_stats_read(struct lathe_request *request, struct lathe_stats *stats_out,
                                   struct lathe_error *err)
{
    size_t count = request->scatter.part_count;

    *stats_out = (struct lathe_stats){.disk_free_bytes = UINT64_MAX, .answer_count = count};
    stats_out->answers = lathe_request_alloc(request, count, sizeof(*stats_out->answers));
    if (stats_out->answers == NULL)
        return lathe_request_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        const struct lathe_part *part = &request->scatter.parts[i];
        const Lathe__Shard__StatsReply *reply;
        ProtobufCMessage *message;
        enum lathe_status status;

        if (part->error.status != LATHE_OK) {
            lathe_part_explain(part, err);
            return part->error.status;
        }
        status = lathe_part_decode(request, part, &lathe__shard__stats_reply__descriptor, &message,
                                   err);
        if (status != LATHE_OK)
            return status;
        reply = (const Lathe__Shard__StatsReply *)message;
        stats_add(stats_out, reply);
        stats_out->answers[i] = (struct lathe_shard_answer){part->shard, true, reply->applied_seq,
                                                            reply->points};
    }
    return LATHE_OK;
}
