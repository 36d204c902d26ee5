/* test_collection.c - the collection object, its catalog record, and what clients and shards see of
 * it. */
#include "tests/unit/api/fixture.h"

#include "catalog.pb-c.h"
#include "coordinator/api/convert.h"
#include "coordinator/collections_sync.h"
#include "lathe/v1/collections.pb-c.h"

static void a_record_gives_the_collection_back(void **state)
{
    struct lathe_collection *collection = fixture_collection(5);
    struct lathe_collection *read;
    struct lathe_buf record = {0};
    struct lathe_buf again = {0};

    (void)state;
    lathe_collection_encode(collection, &record);
    assert_int_equal(lathe_collection_decode(lathe_buf_view(&record), &read, NULL), LATHE_OK);
    assert_string_equal(read->name, "films");
    assert_int_equal(read->id, 7);
    assert_int_equal(read->created_ms, 1700000000000u);
    assert_memory_equal(read->slot_key, collection->slot_key, LATHE_SLOT_KEY_BYTES);
    assert_memory_equal(&read->slots, &collection->slots, sizeof(read->slots));
    assert_true(lathe_bytes_equal(read->metadata, collection->metadata));
    assert_int_equal(read->field_count, 3);
    assert_memory_equal(read->fields, collection->fields, 3 * sizeof(read->fields[0]));
    lathe_collection_encode(read, &again);
    assert_true(lathe_bytes_equal(lathe_buf_view(&record), lathe_buf_view(&again)));
    lathe_collection_release(&read);
    lathe_collection_release(&collection);
    lathe_buf_fini(&record);
    lathe_buf_fini(&again);
}

/* These bytes are in catalogs: they never change. */
static void a_record_has_the_bytes_it_always_had(void **state)
{
    static const uint8_t golden[] = {
        0x08, 1,    0x10, 7,    0x1a, 5,    'f',  'i',  'l',  'm',  's',  0x22, 16,   1,
        8,    15,   22,   29,   36,   43,   50,   57,   64,   71,   78,   85,   92,   99,
        106,  0x28, 1,    0x30, 0x80, 0xd0, 0x95, 0xff, 0xbc, 0x31, 0x3a, 11,   'a',  'b',
        'o',  'u',  't',  ' ',  'f',  'i',  'l',  'm',  's',  0x42, 8,    0x10, 1,    0x18,
        4,    0x20, 1,    0x28, 1,    0x42, 21,   0x0a, 5,    't',  'i',  't',  'l',  'e',
        0x10, 1,    0x18, 3,    0x20, 3,    0x28, 1,    0x30, 1,    0x3a, 2,    1,    2,
        0x42, 16,   0x0a, 6,    's',  't',  'r',  'i',  'c',  't',  0x10, 1,    0x18, 4,
        0x20, 2,    0x28, 1,    0x4a, 7,    0x08, 1,    0x12, 3,    0,    0x80, 0x40};
    struct lathe_collection *collection = fixture_collection(2);
    struct lathe_buf record = {0};

    (void)state;
    lathe_collection_encode(collection, &record);
    assert_int_equal(record.size, sizeof(golden));
    assert_memory_equal(record.data, golden, sizeof(golden));
    lathe_collection_release(&collection);
    lathe_buf_fini(&record);
}

static void a_damaged_record_is_data_loss(void **state)
{
    struct lathe_collection *collection = fixture_collection(5);
    struct lathe_collection *read;
    struct lathe_buf record = {0};
    struct lathe_error err;

    (void)state;
    lathe_collection_encode(collection, &record);
    for (size_t size = 0; size < record.size; size++) /* no prefix is a whole record */
        assert_int_not_equal(
            lathe_collection_decode(lathe_bytes_of(record.data, size), &read, NULL), LATHE_OK);
    for (size_t i = 0; i < record.size; i++) { /* and nothing crashes */
        for (int bit = 0; bit < 8; bit++) {
            record.data[i] ^= (uint8_t)(1 << bit);
            if (lathe_collection_decode(lathe_buf_view(&record), &read, NULL) == LATHE_OK)
                lathe_collection_release(&read);
            assert_null(read);
            record.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    record.data[1] = 2; /* format */
    assert_int_equal(lathe_collection_decode(lathe_buf_view(&record), &read, &err),
                     LATHE_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "format 2"));
    lathe_collection_release(&collection);
    lathe_buf_fini(&record);
}

static void clients_see_the_schema_as_it_was_understood(void **state)
{
    struct lathe_collection *collection = fixture_collection(5);
    struct lathe_collection_source source = {collection, true};
    struct lathe_arena arena = {0};
    struct lathe_buf buf = {0};
    struct lathe_wire wire = {&buf, 0};
    struct lathe_wire counted = {NULL, 0};
    const Lathe__V1__Collection *seen;

    (void)state;
    lathe_collection_to_wire(&counted, &source);
    lathe_collection_to_wire(&wire, &source);
    assert_int_equal(counted.size, buf.size);
    assert_int_equal(wire.size, buf.size);
    seen = fixture_decode(&lathe__v1__collection__descriptor, &buf, &arena);
    assert_string_equal(seen->name, "films");
    assert_int_equal(seen->id, 7);
    assert_int_equal(seen->shards, 5);
    assert_int_equal(seen->created_ms, 1700000000000u);
    assert_int_equal(seen->metadata.len, 11);
    assert_int_equal(seen->schema->n_fields, 3);
    assert_int_equal(seen->schema->fields[0]->zero_vectors,
                     LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_REJECT);
    assert_string_equal(seen->schema->fields[1]->name, "title");
    assert_int_equal(seen->schema->fields[1]->dims, 3);
    assert_int_equal(seen->schema->fields[1]->metric, LATHE__V1__METRIC__METRIC_EUCLIDEAN);
    assert_int_equal(seen->schema->fields[1]->zero_vectors,
                     LATHE__V1__ZERO_VECTORS__ZERO_VECTORS_ALLOW);
    assert_int_equal(seen->schema->fields[1]->n_ladder, 2);
    assert_int_equal(seen->schema->fields[1]->ladder[1], 2);
    assert_int_equal(seen->schema->fields[2]->element,
                     LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32);
    lathe_buf_fini(&buf);
    lathe_arena_fini(&arena);
    lathe_collection_release(&collection);
}

static void shards_are_told_every_collection(void **state)
{
    enum { COUNT = 30, SHARDS = 3 };
    struct lathe_collection *items[COUNT];
    struct lathe_collection *added = fixture_collection(SHARDS);
    struct lathe_sync_state sync = {
        .items = items, .count = COUNT, .added = added, .next_id = 99, .time_ms = 5};
    struct lathe_scatter scatter = {0};
    struct lathe_arena arena = {0};

    (void)state;
    for (uint32_t i = 0; i < COUNT; i++) {
        items[i] = fixture_collection(SHARDS);
        items[i]->id = 10 + i;
    }
    assert_true(lathe_scatter_reset(&scatter, SHARDS));
    assert_int_equal(lathe_sync_build(&sync, scatter.parts, SHARDS, NULL), LATHE_OK);
    for (uint32_t shard = 0; shard < SHARDS; shard++) {
        struct lathe_buf body = {(uint8_t *)scatter.parts[shard].request.body.data,
                                 scatter.parts[shard].request.body.size, 0, false};
        const Lathe__Shard__Sync *seen = fixture_decode(&lathe__shard__sync__descriptor, &body,
                                                        &arena);

        assert_int_equal(scatter.parts[shard].shard, shard);
        assert_int_equal(scatter.parts[shard].request.header.kind, LATHE_FRAME_SYNC);
        assert_int_equal(seen->n_collections, COUNT + 1);
        assert_int_equal(seen->next_id, 99);
        assert_int_equal(seen->time_ms, 5);
        assert_int_equal(seen->collections[3]->id, 13);
        assert_int_equal(seen->collections[COUNT]->id, 7);
        assert_memory_equal(seen->collections[3]->slot_key.data, added->slot_key, 16);
        assert_int_equal(seen->collections[3]->n_fields, 3);
        assert_string_equal(seen->collections[3]->fields[1]->name, "title");
        assert_int_equal(seen->collections[3]->fields[1]->metric, LATHE_EUCLIDEAN);
        assert_true(seen->collections[3]->fields[1]->allow_zero);
        assert_int_equal(seen->collections[3]->fields[1]->ladder[1], 2);
    }
    assert_int_equal(lathe_sync_result(&scatter, NULL), LATHE_OK);
    lathe_scatter_fini(&scatter);
    lathe_arena_fini(&arena);
    for (uint32_t i = 0; i < COUNT; i++)
        lathe_collection_release(&items[i]);
    lathe_collection_release(&added);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_gives_the_collection_back),
        cmocka_unit_test(a_record_has_the_bytes_it_always_had),
        cmocka_unit_test(a_damaged_record_is_data_loss),
        cmocka_unit_test(clients_see_the_schema_as_it_was_understood),
        cmocka_unit_test(shards_are_told_every_collection),
    };

    return lathe_hash_init() ? cmocka_run_group_tests_name("api/collection", tests, NULL, NULL) : 1;
}
