/* collection.h - what a shard knows of a collection: fixed facts, counted, read by every thread. */
#ifndef LATHE_SHARD_COLLECTION_H
#define LATHE_SHARD_COLLECTION_H
#include "common/base/bytes.h"
#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/vec/types.h"

struct lathe_field {
    char name[LATHE_MAX_NAME_BYTES + 1];
    uint32_t dims;
    enum lathe_metric metric;
    enum lathe_element element;
    bool allow_zero;
    size_t vector_bytes; /* of one stored original */
};

struct lathe_shard_collection {
    uint32_t id;
    uint32_t schema_version;
    char name[LATHE_MAX_NAME_BYTES + 1]; /* for messages to people */
    uint8_t slot_key[LATHE_SLOT_KEY_BYTES];
    uint32_t field_count;
    struct lathe_field fields[LATHE_MAX_FIELDS];
    struct lathe_bytes spec; /* the encoded lathe.shard.CollectionSpec it came from */
    _Atomic uint32_t references;
};

/* From an encoded lathe.shard.CollectionSpec (copied): a frame's or a stored one. INVALID_ARGUMENT
 * names what is wrong. Owner: one reference is the caller's. */
LATHE_MUST_CHECK enum lathe_status
lathe_shard_collection_create(struct lathe_bytes spec,
                              struct lathe_shard_collection **collection_out,
                              struct lathe_error *err);
struct lathe_shard_collection *
lathe_shard_collection_acquire(struct lathe_shard_collection *collection);
void lathe_shard_collection_release(
    struct lathe_shard_collection *collection); /* NULL is accepted */
#endif
