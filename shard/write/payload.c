/* payload.c - see payload.h. */
#include "shard/write/payload.h"

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

static Lathe__V1__Entry *find(const Lathe__V1__Object *object, const char *key)
{
    for (size_t i = 0; i < object->n_entries; i++)
        if (strcmp(object->entries[i]->key, key) == 0)
            return object->entries[i];
    return NULL;
}

static enum lathe_status encode(const Lathe__V1__Object *object, struct lathe_buf *out,
                                struct lathe_error *err)
{
    lathe_message_encode(&object->base, out);
    return out->failed ? lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a payload")
                       : LATHE_OK;
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
    if (rc != LATHE_OK)
        goto done;
    merged.entries = lathe_arena_alloc(&arena,
                                       (old->n_entries + add->n_entries + 1) * sizeof(void *));
    if (merged.entries == NULL) {
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory to merge a payload");
        goto done;
    }
    for (size_t i = 0; i < old->n_entries; i++) {
        Lathe__V1__Entry *replaced = find(add, old->entries[i]->key);

        merged.entries[merged.n_entries++] = replaced != NULL ? replaced : old->entries[i];
    }
    for (size_t i = 0; i < add->n_entries; i++)
        if (find(old, add->entries[i]->key) == NULL)
            merged.entries[merged.n_entries++] = add->entries[i];
    rc = encode(&merged, out, err);
done:
    lathe_arena_fini(&arena);
    return rc;
}

static bool among(const char *key, const struct lathe_bytes *keys, size_t key_count)
{
    for (size_t i = 0; i < key_count; i++)
        if (lathe_bytes_equal(lathe_bytes_str(key), keys[i]))
            return true;
    return false;
}

enum lathe_status lathe_payload_remove(struct lathe_bytes base, const struct lathe_bytes *keys,
                                       size_t key_count, struct lathe_buf *out,
                                       struct lathe_error *err)
{
    struct lathe_arena arena;
    Lathe__V1__Object *object = NULL;
    size_t kept = 0;
    enum lathe_status rc;

    lathe_arena_init(&arena, base.size * ARENA_FACTOR + ARENA_SLACK_BYTES);
    rc = decode(base, &arena, &object, LATHE_DATA_LOSS, err);
    if (rc == LATHE_OK) {
        for (size_t i = 0; i < object->n_entries; i++)
            if (!among(object->entries[i]->key, keys, key_count))
                object->entries[kept++] = object->entries[i];
        object->n_entries = kept;
        rc = encode(object, out, err);
    }
    lathe_arena_fini(&arena);
    return rc;
}
