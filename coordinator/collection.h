/* collection.h - what the coordinator knows of one collection: an object that never changes once it
 * is published, counted, and the record that the catalog keeps of it. */
#ifndef LATHE_COORDINATOR_COLLECTION_H
#define LATHE_COORDINATOR_COLLECTION_H
#include <stdatomic.h>

#include "common/base/hash.h"
#include "common/vec/types.h"
#include "coordinator/placement.h"

enum { LATHE_COLLECTION_RECORD_FORMAT = 1, LATHE_FIELD_KIND_DENSE_NUMBER = 1 };

/* A vector field. Its number in frames to shards is its place in lathe_collection.fields. */
struct lathe_field {
    char name[LATHE_MAX_NAME_BYTES + 1]; /* "" is the default field */
    uint32_t kind;                       /* number of lathe.v1.FieldKind; only DENSE now */
    uint32_t dims;
    enum lathe_metric metric;
    enum lathe_element element;
    bool allow_zero;
    uint32_t ladder_count;
    uint32_t ladder[LATHE_MAX_LADDER];
};

struct lathe_collection {
    atomic_uint refs;
    char name[LATHE_MAX_NAME_BYTES + 1];
    uint32_t id; /* 0 in a draft that was not created yet */
    uint32_t schema_version;
    uint8_t slot_key[LATHE_SLOT_KEY_BYTES];
    struct lathe_slot_map slots;
    uint64_t created_ms;
    struct lathe_bytes metadata; /* owned */
    uint32_t field_count;        /* 1..LATHE_MAX_FIELDS */
    struct lathe_field fields[]; /* distinct names */
};

/* A zeroed object with one reference, its name and a copy of the metadata; the caller fills in the
 * rest before anyone else sees it. NULL when memory is short. `name` has at most
 * LATHE_MAX_NAME_BYTES. */
struct lathe_collection *lathe_collection_create(const char *name, struct lathe_bytes metadata,
                                                 uint32_t field_count);
void lathe_collection_acquire(struct lathe_collection *collection); /* Threads: any. */
/* Drops the reference in *collection_p and sets it to NULL; NULL is accepted. Threads: any. */
void lathe_collection_release(struct lathe_collection **collection_p);

/* The field of this name, or NULL. */
const struct lathe_field *lathe_collection_field(const struct lathe_collection *collection,
                                                 const char *name);
static inline uint32_t lathe_collection_field_number(const struct lathe_collection *collection,
                                                     const struct lathe_field *field)
{
    return (uint32_t)(field - collection->fields);
}
/* The shard that holds the point with this id key. */
uint32_t lathe_collection_shard_of(const struct lathe_collection *collection,
                                   struct lathe_bytes idkey);

/* Appends the record; buf->failed tells of lacking memory. */
void lathe_collection_encode(const struct lathe_collection *collection, struct lathe_buf *buf);
/* Reads a record back. DATA_LOSS, with what is wrong, if it is none; UNIMPLEMENTED: a newer format.
 */
LATHE_MUST_CHECK enum lathe_status lathe_collection_decode(struct lathe_bytes record,
                                                           struct lathe_collection **collection_out,
                                                           struct lathe_error *err);
#endif
