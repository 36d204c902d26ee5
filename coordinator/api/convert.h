/* convert.h - ids, points and collections from their inner form to protobuf. Pure. */
#ifndef LATHE_COORDINATOR_API_CONVERT_H
#define LATHE_COORDINATOR_API_CONVERT_H
#include "coordinator/api/check.h"
#include "coordinator/api/wire.h"
#include "coordinator/engine.h"
#include "shard.pb-c.h"

/* Writes a lathe.v1.PointId; `source` is a struct lathe_bytes with a valid id key. */
void lathe_wire_id(struct lathe_wire *wire, const void *source);

/* A point as a shard gave it, and what of it is wanted. All borrowed. */
struct lathe_point_source {
    const struct lathe_collection *collection;
    const struct lathe_selection *selection;
    const Lathe__Shard__PointData *data; /* checked by lathe_points_check() */
    struct lathe_bytes block;            /* of the frame that `data` came in */
};

/* Writes a lathe.v1.Point; `source` is a struct lathe_point_source. */
void lathe_wire_point(struct lathe_wire *wire, const void *source);
/* The parts of a point that lathe.v1.Point and SearchHit share, under the given field numbers. */
void lathe_wire_point_vectors(struct lathe_wire *wire, uint32_t number,
                              const struct lathe_point_source *point);
void lathe_wire_point_payload(struct lathe_wire *wire, uint32_t number,
                              const struct lathe_point_source *point);

/* An upper bound of the encoded size of a hit or point with this selection, tag and length
 * included. */
uint64_t lathe_point_size_bound(const struct lathe_collection *collection,
                                const struct lathe_selection *selection, uint64_t payload_bytes);

/* Checks a shard's Points: valid id keys, vectors of known fields with the right size inside the
 * block. INTERNAL says what is wrong. */
LATHE_MUST_CHECK enum lathe_status lathe_points_check(const Lathe__Shard__Points *points,
                                                      struct lathe_bytes block,
                                                      const struct lathe_collection *collection,
                                                      struct lathe_error *err);

/* A Fetch body's choice of fields, as a shard wants it. The selection must outlive the message. */
void lathe_fetch_select(Lathe__Shard__Fetch *fetch, const struct lathe_selection *selection);
/* Appends an id key with its length before it: the form of idkeys in Fetch and Hits. */
void lathe_idkeys_append(struct lathe_buf *buf, struct lathe_bytes idkey);

/* What is known of one shard's answer. */
struct lathe_shard_answer {
    uint32_t shard;
    bool answered;
    uint64_t applied_seq;
    uint64_t rows;
};
/* Writes a lathe.v1.Coverage; `source` is a struct lathe_coverage_source. */
struct lathe_coverage_source {
    const struct lathe_shard_answer *answers;
    size_t count;
};
void lathe_wire_coverage(struct lathe_wire *wire, const void *source);

/* Writes a lathe.v1.Collection without stats; `source` is a struct lathe_collection_source. */
struct lathe_collection_source {
    const struct lathe_collection *collection;
    bool metadata;
};
void lathe_collection_to_wire(struct lathe_wire *wire, const void *source);
#endif
