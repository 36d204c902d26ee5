/* page.h - a page of points in id order: its token, and the merge of the shards' lists. Pure. */
#ifndef LATHE_COORDINATOR_API_PAGE_H
#define LATHE_COORDINATOR_API_PAGE_H
#include "common/base/id.h"
#include "coordinator/api/convert.h"

enum {
    LATHE_PAGE_DEFAULT_POINTS = 100,
    LATHE_PAGE_BYTES = 32 * 1024 * 1024, /* half of what a reply may have */
    LATHE_PAGE_TOKEN_BYTES = 192         /* of text, NUL included */
};

/* The token of the page after `idkey`: base64url (RFC 4648) of the id key and 8 bytes that tell
 * whether this collection made it. */
void lathe_page_token_make(const struct lathe_collection *collection, struct lathe_bytes idkey,
                           char token_out[LATHE_PAGE_TOKEN_BYTES]);
/* An empty token gives an empty id key: from the first point on. INVALID_ARGUMENT for all that
 * lathe_page_token_make() did not make for this collection. */
LATHE_MUST_CHECK enum lathe_status lathe_page_token_read(const struct lathe_collection *collection,
                                                         const char *token,
                                                         struct lathe_idkey *idkey_out,
                                                         struct lathe_error *err);

/* Bytes of points that each shard may send for one page. */
uint64_t lathe_page_share_bytes(size_t shard_count);

/* What one shard sent for a page, checked by lathe_points_check(). */
struct lathe_page_source {
    const Lathe__Shard__Points *points;
    struct lathe_bytes block;
};

/* Checks that a shard's ids ascend and come after `after`, and that more is only said after
 * something. INTERNAL. */
LATHE_MUST_CHECK enum lathe_status lathe_page_source_check(const struct lathe_page_source *source,
                                                           struct lathe_bytes after,
                                                           struct lathe_error *err);

struct lathe_page_item {
    uint32_t source;
    uint32_t index;
};

/* Merges by id until the page is full in points or bytes, or a shard that has more runs dry.
 * `items_out` has room for `page_size`. Returns how many; *more_out: points remain. */
size_t lathe_page_merge(const struct lathe_page_source *sources, size_t source_count,
                        size_t page_size, const struct lathe_collection *collection,
                        const struct lathe_selection *selection, struct lathe_page_item *items_out,
                        bool *more_out);
#endif
