/* payload.c - see payload.h. */
#include "shard/write/payload.h"

#include <stdlib.h>

#include "common/base/limits.h"
#include "common/net/message.h"
#include "lathe/v1/common.pb-c.h"

/* A decoded object needs a small multiple of its bytes. */
enum { ARENA_FACTOR = 64, ARENA_SLACK_BYTES = 1 << 16 };

static enum lathe_status decode(struct lathe_bytes bytes, struct lathe_arena *arena,
                                Lathe__V1__Object **object_out, enum lathe_status bad,
                                struct lathe_error *err)
{
    ProtobufCMessage *message = NULL;
    enum lathe_status rc;

    rc = lathe_message_decode(&lathe__v1__object__descriptor, bytes, arena, &message, err);
    if (rc == LATHE_INVALID_ARGUMENT && bad != LATHE_INVALID_ARGUMENT)
        rc = lathe_fail(err, bad, "a stored payload of %zu bytes is malformed", bytes.size);
    *object_out = (Lathe__V1__Object *)message;
    return rc;
}

enum lathe_status lathe_payload_check(struct lathe_bytes payload, struct lathe_error *err)
{
    struct lathe_arena arena;
    Lathe__V1__Object *object = NULL;
    enum lathe_status rc;

    lathe_arena_init(&arena, payload.size * ARENA_FACTOR + ARENA_SLACK_BYTES);
    rc = decode(payload, &arena, &object, LATHE_INVALID_ARGUMENT, err);
    lathe_arena_fini(&arena);
    return rc;
}

/* Entries by key, so that objects of many keys are put together in n log n steps. */
struct sorted {
    Lathe__V1__Entry **entries;
    size_t count;
};

static int by_key(const void *a, const void *b)
{
    const Lathe__V1__Entry *const *x = a, *const *y = b;

    return strcmp((*x)->key, (*y)->key);
}

static bool sort(const Lathe__V1__Object *object, struct lathe_arena *arena,
                 struct sorted *sorted_out)
{
    size_t bytes = object->n_entries * sizeof(*sorted_out->entries);

    sorted_out->count = object->n_entries;
    sorted_out->entries = lathe_arena_alloc(arena, bytes);
    if (sorted_out->entries == NULL)
        return false;
    if (bytes > 0)
        memcpy(sorted_out->entries, object->entries, bytes);
    qsort(sorted_out->entries, sorted_out->count, sizeof(*sorted_out->entries), by_key);
    return true;
}

static Lathe__V1__Entry *find(const struct sorted *sorted, struct lathe_bytes key)
{
    size_t low = 0, high = sorted->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = lathe_bytes_compare(lathe_bytes_str(sorted->entries[middle]->key), key);

        if (order == 0)
            return sorted->entries[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static enum lathe_status encode(const Lathe__V1__Object *object, struct lathe_buf *out,
                                struct lathe_error *err)
{
    lathe_message_encode(&object->base, out);
    return out->failed ? lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a payload")
                       : LATHE_OK;
}

/* The entries of `old`, each in its place or replaced, then those that only `add` has. */
static bool merge(const Lathe__V1__Object *old, const Lathe__V1__Object *add,
                  struct lathe_arena *arena, Lathe__V1__Object *merged)
{
    struct sorted old_keys, add_keys;

    merged->entries = lathe_arena_alloc(arena, (old->n_entries + add->n_entries) * sizeof(void *));
    if (merged->entries == NULL || !sort(old, arena, &old_keys) || !sort(add, arena, &add_keys))
        return false;
    for (size_t i = 0; i < old->n_entries; i++) {
        Lathe__V1__Entry *replaced = find(&add_keys, lathe_bytes_str(old->entries[i]->key));

        merged->entries[merged->n_entries++] = replaced != NULL ? replaced : old->entries[i];
    }
    for (size_t i = 0; i < add->n_entries; i++)
        if (find(&old_keys, lathe_bytes_str(add->entries[i]->key)) == NULL)
            merged->entries[merged->n_entries++] = add->entries[i];
    return true;
}

enum lathe_status lathe_payload_merge(struct lathe_bytes base, struct lathe_bytes patch,
                                      struct lathe_buf *out, struct lathe_error *err)
{
    struct lathe_arena arena;
    Lathe__V1__Object *old = NULL, *add = NULL;
    Lathe__V1__Object merged = LATHE__V1__OBJECT__INIT;
    enum lathe_status rc;

    lathe_arena_init(&arena, (base.size + patch.size) * ARENA_FACTOR + ARENA_SLACK_BYTES);
    rc = decode(base, &arena, &old, LATHE_DATA_LOSS, err);
    if (rc == LATHE_OK)
        rc = decode(patch, &arena, &add, LATHE_INVALID_ARGUMENT, err);
    if (rc == LATHE_OK)
        rc = merge(old, add, &arena, &merged)
                 ? encode(&merged, out, err)
                 : lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to merge a payload");
    lathe_arena_fini(&arena);
    return rc;
}

enum lathe_status lathe_payload_remove(struct lathe_bytes base, const struct lathe_bytes *keys,
                                       size_t key_count, struct lathe_buf *out,
                                       struct lathe_error *err)
{
    struct lathe_arena arena;
    struct sorted sorted;
    Lathe__V1__Object *object = NULL;
    size_t kept = 0;
    enum lathe_status rc;

    lathe_arena_init(&arena, base.size * ARENA_FACTOR + ARENA_SLACK_BYTES);
    rc = decode(base, &arena, &object, LATHE_DATA_LOSS, err);
    if (rc == LATHE_OK && !sort(object, &arena, &sorted))
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a payload");
    if (rc == LATHE_OK) {
        for (size_t i = 0; i < key_count; i++) {
            Lathe__V1__Entry *entry = find(&sorted, keys[i]);

            if (entry != NULL)
                entry->base.descriptor = NULL; /* marks it: it is not encoded any more */
        }
        for (size_t i = 0; i < object->n_entries; i++)
            if (object->entries[i]->base.descriptor != NULL)
                object->entries[kept++] = object->entries[i];
        object->n_entries = kept;
        rc = encode(object, out, err);
    }
    lathe_arena_fini(&arena);
    return rc;
}
