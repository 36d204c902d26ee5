/* page.c - see page.h. */
#include "coordinator/api/page.h"

#include "common/base/check.h"
#include "common/base/hash.h"

/* ---- Tokens ---------------------------------------------------------------------------------- */

enum { CHECK_BYTES = 8, TOKEN_RAW_MAX = LATHE_IDKEY_MAX_BYTES + CHECK_BYTES };

_Static_assert((TOKEN_RAW_MAX * 4 + 2) / 3 < LATHE_PAGE_TOKEN_BYTES, "every token has room");

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64_write(const uint8_t *data, size_t size, char *out)
{
    uint32_t bits = 0;
    unsigned count = 0;

    for (size_t i = 0; i < size; i++) {
        bits = bits << 8 | data[i];
        for (count += 8; count >= 6; count -= 6)
            *out++ = alphabet[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *out++ = alphabet[bits << (6 - count) & 63];
    *out = '\0';
}

/* False for another alphabet, padding, left-over bits or more than TOKEN_RAW_MAX bytes. */
static bool base64_read(const char *text, uint8_t out[TOKEN_RAW_MAX], size_t *size_out)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t size = 0;

    for (; *text != '\0'; text++) {
        const char *place = strchr(alphabet, *text);

        if (place == NULL)
            return false;
        bits = bits << 6 | (uint32_t)(place - alphabet);
        count += 6;
        if (count < 8)
            continue;
        if (size == TOKEN_RAW_MAX)
            return false;
        count -= 8;
        out[size++] = (uint8_t)(bits >> count);
    }
    *size_out = size;
    return count < 6 && (bits & ((1u << count) - 1)) == 0;
}

/* The collection's own key makes the check: a token of another collection, or one made up, does not
 * pass. */
static void token_check(const struct lathe_collection *collection, struct lathe_bytes idkey,
                        uint8_t check_out[CHECK_BYTES])
{
    uint8_t text[5 + LATHE_IDKEY_MAX_BYTES] = "page";

    LATHE_REQUIRE(idkey.size <= LATHE_IDKEY_MAX_BYTES);
    memcpy(text + 5, idkey.data, idkey.size);
    lathe_put_u64le(check_out,
                    lathe_siphash(collection->slot_key, lathe_bytes_of(text, 5 + idkey.size)));
}

void lathe_page_token_make(const struct lathe_collection *collection, struct lathe_bytes idkey,
                           char token_out[LATHE_PAGE_TOKEN_BYTES])
{
    uint8_t raw[TOKEN_RAW_MAX];

    token_check(collection, idkey, raw);
    memcpy(raw + CHECK_BYTES, idkey.data, idkey.size);
    base64_write(raw, CHECK_BYTES + idkey.size, token_out);
}

enum lathe_status lathe_page_token_read(const struct lathe_collection *collection,
                                        const char *token, struct lathe_idkey *idkey_out,
                                        struct lathe_error *err)
{
    uint8_t raw[TOKEN_RAW_MAX];
    uint8_t check[CHECK_BYTES];
    size_t size;

    idkey_out->size = 0;
    if (token[0] == '\0')
        return LATHE_OK;
    if (base64_read(token, raw, &size) && size > CHECK_BYTES) {
        struct lathe_bytes idkey = lathe_bytes_of(raw + CHECK_BYTES, size - CHECK_BYTES);

        token_check(collection, idkey, check);
        if (memcmp(check, raw, CHECK_BYTES) == 0 &&
            lathe_idkey_decode(idkey, idkey_out, NULL) == LATHE_OK)
            return LATHE_OK;
    }
    return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "page_token",
                            "this is no next_page_token of collection \"%s\"", collection->name);
}

/* ---- The merge ------------------------------------------------------------------------------- */

uint64_t lathe_page_share_bytes(size_t shard_count)
{
    const uint64_t least = 1024 * 1024;
    uint64_t share = 2ull * LATHE_PAGE_BYTES / shard_count; /* shares are rarely even */

    return share > least ? share : least;
}

static struct lathe_bytes idkey_at(const struct lathe_page_source *source, size_t index)
{
    const ProtobufCBinaryData *idkey = &source->points->data[index]->idkey;

    return lathe_bytes_of(idkey->data, idkey->len);
}

enum lathe_status lathe_page_source_check(const struct lathe_page_source *source,
                                          struct lathe_bytes after, struct lathe_error *err)
{
    if (source->points->more && source->points->n_data == 0)
        return lathe_fail(err, LATHE_INTERNAL, "a shard has more points but sent none");
    for (size_t i = 0; i < source->points->n_data; i++) {
        struct lathe_bytes idkey = idkey_at(source, i);

        if (lathe_bytes_compare(after, idkey) >= 0)
            return lathe_fail(err, LATHE_INTERNAL, "a shard sent points out of id order");
        after = idkey;
    }
    return LATHE_OK;
}

/* The source whose next id is the smallest, or -1. *dry_out: one with more to come has run dry. */
static int smallest(const struct lathe_page_source *sources, size_t count, const uint32_t *next,
                    bool *dry_out)
{
    int best = -1;

    *dry_out = false;
    for (size_t i = 0; i < count; i++) {
        if (next[i] == sources[i].points->n_data) {
            *dry_out = *dry_out || sources[i].points->more;
            continue;
        }
        if (best < 0 || lathe_bytes_compare(idkey_at(&sources[i], next[i]),
                                            idkey_at(&sources[best], next[best])) < 0)
            best = (int)i;
    }
    return best;
}

size_t lathe_page_merge(const struct lathe_page_source *sources, size_t source_count,
                        size_t page_size, const struct lathe_collection *collection,
                        const struct lathe_selection *selection, struct lathe_page_item *items_out,
                        bool *more_out)
{
    uint32_t next[LATHE_MAX_SHARDS] = {0};
    uint64_t bytes = 0;
    size_t count = 0;

    LATHE_REQUIRE(source_count <= LATHE_MAX_SHARDS);
    for (;;) {
        bool dry;
        int source = smallest(sources, source_count, next, &dry);

        *more_out = source >= 0 || dry;
        if (source < 0 || dry || count == page_size)
            return count;
        bytes += lathe_point_size_bound(collection, selection,
                                        sources[source].points->data[next[source]]->payload.len);
        if (count > 0 && bytes > LATHE_PAGE_BYTES)
            return count;
        items_out[count++] = (struct lathe_page_item){(uint32_t)source, next[source]++};
    }
}
