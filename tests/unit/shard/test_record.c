/* test_record.c - the bytes of stored values: round trips, golden bytes, and that nothing else is
 * taken for one. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/data/record.h"

static void assert_hex(const struct lathe_buf *buf, const char *wanted)
{
    char text[2048] = "";

    assert_true(buf->size < sizeof(text) / 2);
    for (size_t i = 0; i < buf->size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", buf->data[i]);
    assert_string_equal(text, wanted);
}

/* A record of any kind behind one face: encode what `decode` gave. */
struct kind {
    const char *name;
    enum lathe_status (*decode)(struct lathe_bytes bytes, void *record, struct lathe_error *err);
    void (*encode)(const void *record, struct lathe_buf *buf);
    void (*sample)(struct test_rng *rng, struct lathe_buf *buf);
};

union any {
    struct lathe_point_record point;
    struct lathe_counters_record counters;
    struct lathe_log_state_record log_state;
    struct lathe_client_record client;
    struct lathe_result_record result;
};

static struct lathe_result *decoded_results;

#define FACE(kind)                                                                 \
    static enum lathe_status kind##_decode(struct lathe_bytes bytes, void *record, \
                                           struct lathe_error *err)                \
    {                                                                              \
        return lathe_##kind##_record_decode(bytes, record, err);                   \
    }                                                                              \
    static void kind##_encode(const void *record, struct lathe_buf *buf)           \
    {                                                                              \
        lathe_##kind##_record_encode(record, buf);                                 \
    }
FACE(point)
FACE(counters)
FACE(log_state)
FACE(client)
#undef FACE

static enum lathe_status result_decode(struct lathe_bytes bytes, void *record,
                                       struct lathe_error *err)
{
    return lathe_result_record_decode(bytes, record, &decoded_results, err);
}

static void result_encode(const void *record, struct lathe_buf *buf)
{
    lathe_result_record_encode(record, buf);
}

static void point_sample(struct test_rng *rng, struct lathe_buf *buf)
{
    struct lathe_point_record record = {.point = test_rng_u64(rng),
                                        .version = test_rng_u64(rng),
                                        .payload_bytes = (uint32_t)test_rng_u64(rng),
                                        .row_count = (uint32_t)test_rng_below(rng, 17)};

    for (uint32_t i = 0; i < record.row_count; i++)
        record.rows[i] = test_rng_below(rng, 3) == 0 ? LATHE_NO_ROW : test_rng_u64(rng);
    lathe_point_record_encode(&record, buf);
}

static void counters_sample(struct test_rng *rng, struct lathe_buf *buf)
{
    struct lathe_counters_record record = {.points = test_rng_u64(rng),
                                           .next_point = test_rng_u64(rng),
                                           .field_count = (uint32_t)test_rng_below(rng, 17)};

    for (uint32_t i = 0; i < record.field_count; i++) {
        record.next_row[i] = test_rng_u64(rng);
        record.rows[i] = test_rng_u64(rng);
    }
    lathe_counters_record_encode(&record, buf);
}

static void log_state_sample(struct test_rng *rng, struct lathe_buf *buf)
{
    struct lathe_log_state_record record = {.applied_seq = test_rng_u64(rng),
                                            .first_seq = test_rng_u64(rng),
                                            .bytes = test_rng_u64(rng)};

    for (size_t i = 0; i < sizeof(record.hash); i++)
        record.hash[i] = (uint8_t)test_rng_u64(rng);
    lathe_log_state_record_encode(&record, buf);
}

static void client_sample(struct test_rng *rng, struct lathe_buf *buf)
{
    struct lathe_client_record record = {test_rng_u64(rng), test_rng_u64(rng), test_rng_u64(rng)};

    lathe_client_record_encode(&record, buf);
}

static void result_sample(struct test_rng *rng, struct lathe_buf *buf)
{
    struct lathe_result results[20];
    struct lathe_result_record record = {.seq = test_rng_u64(rng),
                                         .result_count = (uint32_t)test_rng_below(rng, 21),
                                         .results = results};

    for (size_t i = 0; i < sizeof(record.digest); i++)
        record.digest[i] = (uint8_t)test_rng_u64(rng);
    for (uint32_t i = 0; i < record.result_count; i++)
        results[i] = (struct lathe_result){(uint32_t)test_rng_below(rng, 3),
                                           test_rng_below(rng, 2)};
    lathe_result_record_encode(&record, buf);
}

static const struct kind kinds[] = {
    {"point", point_decode, point_encode, point_sample},
    {"counters", counters_decode, counters_encode, counters_sample},
    {"log state", log_state_decode, log_state_encode, log_state_sample},
    {"client", client_decode, client_encode, client_sample},
    {"result", result_decode, result_encode, result_sample},
};
enum { KINDS = sizeof(kinds) / sizeof(kinds[0]) };

/* What is read is written with the same bytes again; no part of it and nothing longer is read. */
static void records_come_back_and_no_cut_is_taken(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "records_come_back_and_no_cut_is_taken");
    for (int round = 0; round < 200; round++) {
        const struct kind *kind = &kinds[round % KINDS];
        struct lathe_buf bytes = {0}, again = {0};
        union any record;
        struct lathe_error err = {0};

        kind->sample(&rng, &bytes);
        assert_int_equal(kind->decode(lathe_buf_view(&bytes), &record, &err), LATHE_OK);
        kind->encode(&record, &again);
        assert_true(lathe_bytes_equal(lathe_buf_view(&bytes), lathe_buf_view(&again)));
        for (size_t size = 0; size < bytes.size; size++) {
            /* A copy of its own size, so that a sanitizer sees a read past the end. */
            uint8_t *cut = lathe_alloc(size);

            memcpy(cut, bytes.data, size);
            assert_int_equal(kind->decode(lathe_bytes_of(cut, size), &record, &err),
                             LATHE_DATA_LOSS);
            assert_non_null(strstr(err.message, kind->name));
            lathe_free(cut);
        }
        lathe_buf_u8(&bytes, 0);
        assert_int_equal(kind->decode(lathe_buf_view(&bytes), &record, &err), LATHE_DATA_LOSS);
        lathe_buf_fini(&bytes);
        lathe_buf_fini(&again);
    }
}

/* A changed byte is refused, or read as a record that is written as those bytes. */
static void mutated_records_are_refused_or_exact(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "mutated_records_are_refused_or_exact");
    for (int round = 0; round < 20000; round++) {
        const struct kind *kind = &kinds[round % KINDS];
        struct lathe_buf bytes = {0}, again = {0};
        union any record;
        struct lathe_error err = {0};
        enum lathe_status rc;

        kind->sample(&rng, &bytes);
        for (uint64_t i = test_rng_below(&rng, 3); i < 3; i++)
            bytes.data[test_rng_below(&rng, bytes.size)] = (uint8_t)test_rng_u64(&rng);
        rc = kind->decode(lathe_buf_view(&bytes), &record, &err);
        if (rc != LATHE_OK) {
            assert_int_equal(rc, LATHE_DATA_LOSS);
        } else {
            kind->encode(&record, &again);
            /* Runs of results may have been written in more pieces than needed. */
            if (kind->decode == result_decode)
                assert_true(again.size <= bytes.size);
            else
                assert_true(lathe_bytes_equal(lathe_buf_view(&bytes), lathe_buf_view(&again)));
        }
        lathe_buf_fini(&bytes);
        lathe_buf_fini(&again);
    }
}

static void other_formats_are_refused_by_name(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "other_formats_are_refused_by_name");
    for (int k = 0; k < KINDS; k++) {
        struct lathe_buf bytes = {0};
        union any record;
        struct lathe_error err = {0};

        kinds[k].sample(&rng, &bytes);
        bytes.data[0] = 2;
        assert_int_equal(kinds[k].decode(lathe_buf_view(&bytes), &record, &err), LATHE_DATA_LOSS);
        assert_non_null(strstr(err.message, "format 2, this build reads 1"));
        lathe_buf_fini(&bytes);
    }
}

static void point_bytes_are_fixed(void **state)
{
    struct lathe_point_record record = {.point = 0x0102030405060708,
                                        .version = 9,
                                        .payload_bytes = 0x0A0B0C0D,
                                        .row_count = 2,
                                        .rows = {5, LATHE_NO_ROW}};
    struct lathe_buf buf = {0};

    (void)state;
    lathe_point_record_encode(&record, &buf);
    assert_hex(&buf, "01"
                     "0807060504030201"
                     "0900000000000000"
                     "0d0c0b0a"
                     "02"
                     "0500000000000000"
                     "ffffffffffffffff");
    lathe_buf_fini(&buf);
}

static void points_of_fewer_fields_have_no_row_in_the_others(void **state)
{
    struct lathe_point_record record = {.row_count = 1, .rows = {5}}, back;
    struct lathe_buf buf = {0};

    (void)state;
    lathe_point_record_encode(&record, &buf);
    assert_int_equal(lathe_point_record_decode(lathe_buf_view(&buf), &back, NULL), LATHE_OK);
    assert_int_equal(back.rows[0], 5);
    for (uint32_t f = 1; f < LATHE_MAX_FIELDS; f++)
        assert_true(back.rows[f] == LATHE_NO_ROW);
    lathe_buf_fini(&buf);
}

static void counters_bytes_and_key_are_fixed(void **state)
{
    struct lathe_counters_record record = {
        .points = 3, .next_point = 4, .field_count = 2, .next_row = {5, 6}, .rows = {7, 8}};
    struct lathe_key key = lathe_counters_key(0xAB);
    struct lathe_buf buf = {0};

    (void)state;
    lathe_counters_record_encode(&record, &buf);
    assert_hex(&buf, "01"
                     "0300000000000000"
                     "0400000000000000"
                     "02"
                     "0500000000000000"
                     "0700000000000000"
                     "0600000000000000"
                     "0800000000000000");
    assert_true(lathe_bytes_equal(lathe_key_view(&key), lathe_bytes_str("\x04"
                                                                        "counters/000000ab")));
    lathe_buf_fini(&buf);
}

static void log_state_bytes_and_key_are_fixed(void **state)
{
    struct lathe_log_state_record record = {
        .applied_seq = 0x10, .first_seq = 2, .bytes = 0x300, .hash = {0xAA, 0xBB, [15] = 0xCC}};
    struct lathe_key key = lathe_log_state_key();
    struct lathe_buf buf = {0};

    (void)state;
    lathe_log_state_record_encode(&record, &buf);
    assert_hex(&buf, "01"
                     "1000000000000000"
                     "0200000000000000"
                     "0003000000000000"
                     "aabb00000000000000000000000000cc");
    assert_true(lathe_bytes_equal(lathe_key_view(&key), lathe_bytes_str("\x04log")));
    lathe_buf_fini(&buf);
}

static void client_bytes_are_fixed(void **state)
{
    struct lathe_client_record record = {.last_ms = 1, .max_number = 0x0203, .floor = 4};
    struct lathe_buf buf = {0};

    (void)state;
    lathe_client_record_encode(&record, &buf);
    assert_hex(&buf, "01"
                     "0100000000000000"
                     "0302000000000000"
                     "0400000000000000");
    lathe_buf_fini(&buf);
}

static void equal_results_share_an_entry(void **state)
{
    struct lathe_result results[] = {{1, 7}, {1, 7}, {1, 7}, {2, 0}};
    struct lathe_result_record record = {
        .digest = {0xD1}, .seq = 7, .result_count = 4, .results = results};
    struct lathe_buf buf = {0};

    (void)state;
    lathe_result_record_encode(&record, &buf);
    assert_hex(&buf, "01"
                     "d1000000000000000000000000000000"
                     "0700000000000000"
                     "04000000"
                     "03000000"
                     "01"
                     "0700000000000000"
                     "01000000"
                     "02"
                     "0000000000000000");
    lathe_buf_fini(&buf);
}

/* A count from disk allocates nothing before it is believed. */
static void impossible_counts_are_refused(void **state)
{
    struct lathe_result results[] = {{1, 7}};
    struct lathe_result_record record = {.result_count = 1, .results = results}, back;
    struct lathe_point_record point = {.row_count = 17}, point_back;
    struct lathe_buf buf = {0};
    struct lathe_error err = {0};

    (void)state;
    lathe_result_record_encode(&record, &buf);
    lathe_put_u32le(buf.data + 25, LATHE_MAX_OPERATIONS + 1);
    assert_int_equal(
        lathe_result_record_decode(lathe_buf_view(&buf), &back, &decoded_results, &err),
        LATHE_DATA_LOSS);
    lathe_put_u32le(buf.data + 25, 1);
    lathe_put_u32le(buf.data + 29, 2); /* a run longer than all results */
    assert_int_equal(
        lathe_result_record_decode(lathe_buf_view(&buf), &back, &decoded_results, &err),
        LATHE_DATA_LOSS);
    lathe_buf_clear(&buf);
    lathe_buf_u8(&buf, 1);
    (void)memset(lathe_buf_extend(&buf, 20), 0, 20);
    lathe_buf_u8(&buf, (uint8_t)point.row_count);
    (void)memset(lathe_buf_extend(&buf, 17 * 8), 0, 17 * 8);
    assert_int_equal(lathe_point_record_decode(lathe_buf_view(&buf), &point_back, &err),
                     LATHE_DATA_LOSS);
    assert_non_null(strstr(err.message, "17 fields, the limit is 16"));
    lathe_buf_fini(&buf);
}

static int results_free(void **state)
{
    (void)state;
    lathe_free(decoded_results);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_back_and_no_cut_is_taken),
        cmocka_unit_test(mutated_records_are_refused_or_exact),
        cmocka_unit_test(other_formats_are_refused_by_name),
        cmocka_unit_test(point_bytes_are_fixed),
        cmocka_unit_test(points_of_fewer_fields_have_no_row_in_the_others),
        cmocka_unit_test(counters_bytes_and_key_are_fixed),
        cmocka_unit_test(log_state_bytes_and_key_are_fixed),
        cmocka_unit_test(client_bytes_are_fixed),
        cmocka_unit_test(equal_results_share_an_entry),
        cmocka_unit_test(impossible_counts_are_refused),
    };

    return cmocka_run_group_tests_name("record", tests, NULL, results_free);
}
