/* limits.h - every limit on what comes from outside, in one place. Published by
 * ServerService.GetInfo. A limit that a user may change is an option (base/options); these are
 * fixed. */
#ifndef LATHE_BASE_LIMITS_H
#define LATHE_BASE_LIMITS_H
#include <stdint.h>

#define LATHE_MAX_COLLECTIONS    1024u
#define LATHE_MAX_FIELDS         16u           /* vector fields of one collection */
#define LATHE_MAX_NAME_BYTES     255u          /* collection and field names */
#define LATHE_MAX_METADATA_BYTES (64u * 1024u) /* user metadata of a collection */
#define LATHE_MAX_DIMS           16384u
#define LATHE_MAX_LADDER         32u     /* declared prefix lengths of one field */
#define LATHE_MAX_ID_BYTES       128u    /* a string id */
#define LATHE_MAX_RESULTS        16384u  /* limit + offset of one search */
#define LATHE_MAX_BATCH_SEARCHES 1024u   /* searches in one SearchBatch */
#define LATHE_MAX_BATCH_RESULTS  262144u /* limit + offset summed over a SearchBatch */
#define LATHE_MAX_MESSAGE_BYTES  (64u * 1024u * 1024u) /* request and reply */
#define LATHE_MAX_OPERATIONS     65536u                /* operations in one write */
#define LATHE_MAX_GET_IDS        65536u                /* ids in one GetPoints */
#define LATHE_MAX_PAGE_POINTS    10000u                /* points in one ListPoints page */
#define LATHE_MAX_VALUE_DEPTH    32u                   /* nesting of payload lists and objects */
#define LATHE_MAX_FILTER_DEPTH   16u
#define LATHE_MAX_MESSAGE_DEPTH \
    100u /* nesting of any protobuf message, as other languages have it */
#define LATHE_MAX_SHARDS       256u
#define LATHE_MAX_SQUARED_NORM 0x1p100 /* of a stored or query vector */
#define LATHE_SLOTS            16384u
#define LATHE_CLIENT_WINDOW    1024u /* write results remembered for each client */
#define LATHE_CLIENT_FORGET_MS (24ull * 3600ull * 1000ull)
/* How far a new client's id may be dated ahead of the server's clock. */
#define LATHE_CLIENT_AHEAD_MS (10ull * 60ull * 1000ull)

#define LATHE_DEFAULT_PAYLOAD_BYTES     (1024u * 1024u)
#define LATHE_DEFAULT_SEARCH_TIMEOUT_MS 2000u
#define LATHE_DEFAULT_WRITE_TIMEOUT_MS  10000u

_Static_assert(LATHE_MAX_DIMS * sizeof(float) * 16u < LATHE_MAX_MESSAGE_BYTES,
               "a message must hold at least a few of the largest vectors");
_Static_assert(3u * LATHE_MAX_VALUE_DEPTH + 3u <= LATHE_MAX_MESSAGE_DEPTH,
               "the deepest payload (object, entry, value a level) fits a write request");
_Static_assert(LATHE_SLOTS % LATHE_MAX_SHARDS == 0, "every shard can own whole slots");
#endif
