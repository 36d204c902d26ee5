/* test_log.c - the bytes of log entries: golden ones, checksum, chain and effects. */
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

#include "common/base/mem.h"
#include "shard/write/log.h"

static void assert_hex(struct lathe_bytes bytes, const char *wanted)
{
    char text[2048] = "";

    assert_true(bytes.size < sizeof(text) / 2);
    for (size_t i = 0; i < bytes.size; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes.data[i]);
    assert_string_equal(text, wanted);
}

static const struct lathe_log_entry sample = {.kind = LATHE_LOG_WRITE,
                                              .collection = 0x01020304,
                                              .seq = 0x0A,
                                              .epoch = 0x0B,
                                              .time_ms = 0x0C0D,
                                              .previous_hash = {0xE0, [15] = 0xEF},
                                              .client_id = {0xC0, [15] = 0xCF},
                                              .request_number = 0x0F,
                                              .body = {(const uint8_t *)"body", 4}};

static void entry_bytes_and_hash_are_fixed(void **state)
{
    struct lathe_buf buf = {0};
    uint8_t hash[LATHE_DIGEST_BYTES];

    (void)state;
    lathe_log_entry_encode(&sample, &buf, hash);
    assert_hex(lathe_buf_view(&buf), "01"
                                     "01"
                                     "0000"
                                     "04030201"
                                     "0a00000000000000"
                                     "0b00000000000000"
                                     "0d0c000000000000"
                                     "e00000000000000000000000000000ef"
                                     "c00000000000000000000000000000cf"
                                     "0f00000000000000"
                                     "04000000"
                                     "20efc064"
                                     "626f6479");
    assert_hex(lathe_bytes_of(hash, sizeof(hash)), "7f2d7228fdb9d518829393f16292db28");
    lathe_buf_fini(&buf);
}

static void entries_come_back(void **state)
{
    struct lathe_buf buf = {0};
    uint8_t hash[LATHE_DIGEST_BYTES], again[LATHE_DIGEST_BYTES];
    struct lathe_log_entry entry;
    struct lathe_error err = {0};

    (void)state;
    lathe_buf_text(&buf, "before"); /* appended, not written from the start */
    lathe_log_entry_encode(&sample, &buf, hash);
    assert_int_equal(
        lathe_log_entry_decode(lathe_bytes_of(buf.data + 6, buf.size - 6), &entry, again, &err),
        LATHE_OK);
    assert_memory_equal(hash, again, sizeof(hash));
    assert_int_equal(entry.kind, sample.kind);
    assert_int_equal(entry.collection, sample.collection);
    assert_int_equal(entry.seq, sample.seq);
    assert_int_equal(entry.epoch, sample.epoch);
    assert_int_equal(entry.time_ms, sample.time_ms);
    assert_memory_equal(entry.previous_hash, sample.previous_hash, sizeof(entry.previous_hash));
    assert_memory_equal(entry.client_id, sample.client_id, sizeof(entry.client_id));
    assert_int_equal(entry.request_number, sample.request_number);
    assert_true(lathe_bytes_equal(entry.body, sample.body));
    lathe_buf_fini(&buf);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state)
{
    struct lathe_buf buf = {0};
    uint8_t hash[LATHE_DIGEST_BYTES];
    struct lathe_log_entry entry;
    struct lathe_error err = {0};

    (void)state;
    lathe_log_entry_encode(&sample, &buf, hash);
    for (size_t bit = 0; bit < buf.size * 8; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(lathe_log_entry_decode(lathe_buf_view(&buf), &entry, hash, &err),
                         LATHE_DATA_LOSS);
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < buf.size; size++) {
        uint8_t *cut = lathe_alloc(size);

        memcpy(cut, buf.data, size);
        assert_int_equal(lathe_log_entry_decode(lathe_bytes_of(cut, size), &entry, hash, &err),
                         LATHE_DATA_LOSS);
        lathe_free(cut);
    }
    lathe_buf_u8(&buf, 0);
    assert_int_equal(lathe_log_entry_decode(lathe_buf_view(&buf), &entry, NULL, &err),
                     LATHE_DATA_LOSS);
    lathe_buf_fini(&buf);
}

/* The hash covers the hash before, so one entry stands for all before it. */
static void the_chain_ties_entries_together(void **state)
{
    struct lathe_log_entry entry = sample;
    uint8_t hashes[2][LATHE_DIGEST_BYTES];

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct lathe_buf buf = {0};

        entry.previous_hash[7] = (uint8_t)i;
        lathe_log_entry_encode(&entry, &buf, hashes[i]);
        lathe_buf_fini(&buf);
    }
    assert_memory_not_equal(hashes[0], hashes[1], sizeof(hashes[0]));
}

static struct lathe_effect effect_draw(struct test_rng *rng, struct lathe_idkey *id,
                                       uint8_t payload[32])
{
    struct lathe_effect effect = {.exists = test_rng_below(rng, 4) != 0};

    *id = lathe_idkey_number(test_rng_u64(rng));
    effect.idkey = lathe_idkey_view(id);
    for (uint32_t f = 0; f < LATHE_MAX_FIELDS; f++)
        effect.rows[f] = LATHE_NO_ROW;
    if (!effect.exists)
        return effect;
    effect.point = test_rng_u64(rng);
    effect.row_count = (uint32_t)test_rng_below(rng, LATHE_MAX_FIELDS + 1);
    for (uint32_t f = 0; f < effect.row_count; f++)
        effect.rows[f] = test_rng_u64(rng);
    effect.payload_changed = test_rng_below(rng, 2) == 0;
    for (int i = 0; i < 32; i++)
        payload[i] = (uint8_t)test_rng_u64(rng);
    if (effect.payload_changed)
        effect.payload = lathe_bytes_of(payload, test_rng_below(rng, 33));
    return effect;
}

static void effects_come_back_and_no_cut_is_taken(void **state)
{
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "effects_come_back_and_no_cut_is_taken");
    for (int round = 0; round < 300; round++) {
        struct lathe_idkey id;
        uint8_t payload[32];
        struct lathe_effect effect = effect_draw(&rng, &id, payload), back;
        struct lathe_buf buf = {0};
        struct lathe_reader reader;
        struct lathe_error err = {0};

        lathe_effect_encode(&effect, &buf);
        reader = lathe_reader_of(lathe_buf_view(&buf));
        assert_int_equal(lathe_effect_decode(&reader, &back, &err), LATHE_OK);
        assert_int_equal(lathe_reader_left(&reader), 0);
        assert_int_equal(back.exists, effect.exists);
        assert_true(lathe_bytes_equal(back.idkey, effect.idkey));
        assert_int_equal(back.point, effect.point);
        assert_int_equal(back.payload_changed, effect.payload_changed);
        assert_true(lathe_bytes_equal(back.payload, effect.payload));
        assert_int_equal(back.row_count, effect.row_count);
        assert_memory_equal(back.rows, effect.rows, sizeof(back.rows));
        for (size_t size = 0; size < buf.size; size++) {
            uint8_t *cut = lathe_alloc(size);

            memcpy(cut, buf.data, size);
            reader = lathe_reader_of(lathe_bytes_of(cut, size));
            assert_int_equal(lathe_effect_decode(&reader, &back, &err), LATHE_DATA_LOSS);
            lathe_free(cut);
        }
        lathe_buf_fini(&buf);
    }
}

static void effect_bytes_are_fixed(void **state)
{
    struct lathe_idkey id = lathe_idkey_number(7);
    struct lathe_effect effect = {.exists = true,
                                  .payload_changed = true,
                                  .idkey = lathe_idkey_view(&id),
                                  .point = 3,
                                  .payload = lathe_bytes_str("pay"),
                                  .row_count = 2,
                                  .rows = {4, LATHE_NO_ROW}};
    struct lathe_buf buf = {0};

    (void)state;
    lathe_effect_encode(&effect, &buf);
    assert_hex(lathe_buf_view(&buf), "03"
                                     "09"
                                     "010000000000000007"
                                     "0300000000000000"
                                     "02"
                                     "0400000000000000"
                                     "ffffffffffffffff"
                                     "03000000"
                                     "706179");
    lathe_buf_clear(&buf);
    effect.payload_changed = false;
    lathe_effect_encode(&effect, &buf);
    assert_hex(lathe_buf_view(&buf), "02"
                                     "09"
                                     "010000000000000007"
                                     "0300000000000000"
                                     "02"
                                     "0400000000000000"
                                     "ffffffffffffffff");
    lathe_buf_clear(&buf);
    effect.exists = false;
    lathe_effect_encode(&effect, &buf);
    assert_hex(lathe_buf_view(&buf), "01"
                                     "09"
                                     "010000000000000007");
    lathe_buf_fini(&buf);
}

static void malformed_effects_are_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x00\x09\x01\0\0\0\0\0\0\0\x07", 11}, /* no kind */
        {"\x04\x09\x01\0\0\0\0\0\0\0\x07", 11}, /* a kind of another day */
        {"\x01\x08\x01\0\0\0\0\0\0\0", 10},     /* an id key that is none */
        {"\x01\x00", 2},                        /* no id */
        {"\x02\x09\x01\0\0\0\0\0\0\0\x07"
         "\0\0\0\0\0\0\0\0"
         "\x11",
         20}, /* 17 fields */
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lathe_reader reader = lathe_reader_of(lathe_bytes_of(cases[i].bytes, cases[i].size));
        struct lathe_effect effect;

        assert_int_equal(lathe_effect_decode(&reader, &effect, NULL), LATHE_DATA_LOSS);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_bytes_and_hash_are_fixed),
        cmocka_unit_test(entries_come_back),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(the_chain_ties_entries_together),
        cmocka_unit_test(effects_come_back_and_no_cut_is_taken),
        cmocka_unit_test(effect_bytes_are_fixed),
        cmocka_unit_test(malformed_effects_are_refused),
    };

    if (!lathe_hash_init())
        return 1;
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
