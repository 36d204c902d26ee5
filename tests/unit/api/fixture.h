/* fixture.h - collections and messages for the tests of coordinator/api. */
#ifndef LATHE_TESTS_UNIT_API_FIXTURE_H
#define LATHE_TESTS_UNIT_API_FIXTURE_H
#include "common/net/message.h"
#include "coordinator/collection.h"
#include "lathe/v1/points.pb-c.h"
#include "shard.pb-c.h"
#include "tests/support/test.h"

enum { FIXTURE_DIMS = 4, FIXTURE_TITLE_DIMS = 3 };

/* Collection "films", id 7: the unnamed field (cosine, FIXTURE_DIMS), "title" (Euclidean,
 * FIXTURE_TITLE_DIMS), "strict" (dot, FIXTURE_DIMS, zero vectors refused). A fixed slot key. */
struct lathe_collection *fixture_collection(uint32_t shards);

/* Messages, in the arena. */
void *fixture_alloc(struct lathe_arena *arena, size_t size);
Lathe__V1__PointId *fixture_id(struct lathe_arena *arena, uint64_t number);
Lathe__V1__PointId *fixture_text_id(struct lathe_arena *arena, const char *text, size_t size);
Lathe__V1__PointId *fixture_uuid(struct lathe_arena *arena, const char *text);
/* A vector of `dims` elements 1, 2, 3, ... */
Lathe__V1__Vector *fixture_vector(struct lathe_arena *arena, size_t dims);
Lathe__V1__NamedVector *fixture_named(struct lathe_arena *arena, const char *field, size_t dims);
Lathe__V1__Value *fixture_string(struct lathe_arena *arena, const char *text);
/* An object with one entry; `value` may be NULL. */
Lathe__V1__Object *fixture_object(struct lathe_arena *arena, const char *key,
                                  Lathe__V1__Value *value);
/* `levels` objects inside each other, the innermost with a string. */
Lathe__V1__Object *fixture_nested(struct lathe_arena *arena, unsigned levels);

/* A request with `count` upserts of points 1..count: default vector and a small payload. */
Lathe__V1__WritePointsRequest *fixture_write(struct lathe_arena *arena, size_t count);

/* Decodes; fails the test when that fails. */
void *fixture_decode(const ProtobufCMessageDescriptor *descriptor, struct lathe_buf *buf,
                     struct lathe_arena *arena);

/* Asserts that the failure has the status, names the field and says `text` somewhere. */
void fixture_expect(const struct lathe_error *err, enum lathe_status status, const char *field,
                    const char *text);
#endif
