/* point_view.h - points as tables and as JSON, for `get` and `search`. */
#ifndef LATHE_CLI_POINT_VIEW_H
#define LATHE_CLI_POINT_VIEW_H
#include "common/base/bytes.h"
#include "lathe/v1/common.pb-c.h"

/* Borrows everything from a reply. */
struct lathe_point_view {
    const Lathe__V1__PointId *id;
    uint64_t version;
    float score;
    const Lathe__V1__Object *payload;
    Lathe__V1__NamedVector *const *vectors;
    size_t vector_count;
};

/* What is shown besides the id. */
struct lathe_point_columns {
    bool rank_and_score;
    bool payload; /* a column for each key of the first ones met, the rest as JSON */
    bool vectors; /* size and first elements */
};

void lathe_point_table(const struct lathe_point_view *points, size_t count,
                       struct lathe_point_columns columns, unsigned terminal_columns,
                       struct lathe_buf *out);
/* {"id":..,"score":..,"version":..,"payload":{..},"vectors":{..}}, whole vectors. */
void lathe_point_json(const struct lathe_point_view *point, struct lathe_point_columns columns,
                      struct lathe_buf *out);
#endif
