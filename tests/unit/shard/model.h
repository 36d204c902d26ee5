/* model.h - what a collection must be after random writes, kept in plain arrays, and the driver
 * that sends the same writes to a shard's parts and compares. */
#ifndef LATHE_TESTS_UNIT_SHARD_MODEL_H
#define LATHE_TESTS_UNIT_SHARD_MODEL_H
#include "tests/unit/shard/shard_fixture.h"

enum {
    MODEL_POINTS = 40,
    MODEL_FIELDS = 3,
    MODEL_DIMS_MAX = 9,
    MODEL_KEYS = 6,
    MODEL_OPERATIONS = 6, /* of one request */
    MODEL_CLIENTS = 3,
    MODEL_REMEMBERED = 64
};

struct model_point {
    bool exists;
    uint64_t version;
    struct pair pairs[MODEL_KEYS];
    uint32_t pair_count;
    bool has[MODEL_FIELDS];
    float vectors[MODEL_FIELDS][MODEL_DIMS_MAX];
};

/* What the shard must answer to one request. */
struct expected {
    uint64_t seq;
    bool repeated;
    size_t count;
    uint32_t outcomes[MODEL_OPERATIONS];
    uint64_t versions[MODEL_OPERATIONS];
};

/* A request that may come again. */
struct remembered {
    struct request request;
    struct expected expected;
};

struct model {
    struct test_rng *rng;
    struct parts *parts;
    uint32_t collection;
    uint32_t dims[MODEL_FIELDS];
    enum lathe_metric metrics[MODEL_FIELDS];
    struct model_point points[MODEL_POINTS];
    uint64_t *seq; /* the shard's; shared by models of several collections */
    uint8_t clients[MODEL_CLIENTS][16];
    uint64_t numbers[MODEL_CLIENTS];
    struct remembered *remembered; /* MODEL_REMEMBERED */
    size_t remembered_count;
};

/* Makes the collection on the shard. `seq` counts what the shard applied. */
void model_init(struct model *model, struct parts *parts, struct test_rng *rng, uint64_t *seq);
void model_fini(struct model *model);

/* Sends `count` random requests in one go, waits for the answers and checks each. */
void model_step(struct model *model, size_t count);

/* Compares everything that can be read: LIST in pages, GET, STATS and a SEARCH of each field. */
void model_compare(struct model *model);
uint32_t model_live(const struct model *model);
#endif
