/* test_hash.c - the stored hashes against published vectors. */
#include "tests/support/test.h"

#include "common/base/hash.h"
#include "common/base/id.h"
#include "common/base/limits.h"

static const uint8_t counting_key[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static void siphash_gives_the_vectors_of_its_authors(void **state)
{
    /* Appendix A of the paper is the one of 15 bytes; all are in the authors' vectors.h. */
    static const struct {
        size_t size;
        uint64_t hash;
    } vectors[] = {{0, 0x726fdb47dd0e0e31u}, {1, 0x74f839c593dc67fdu}, {2, 0x0d6c8009d9a94f5au},
                   {7, 0xab0200f58b01d137u}, {8, 0x93f5f5799a932462u}, {15, 0xa129ca6149be45e5u},
                   {63, 0x958a324ceb064572u}};
    uint8_t bytes[63];

    (void)state;
    for (unsigned i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        assert_true(lathe_siphash(counting_key, lathe_bytes_of(bytes, vectors[i].size)) ==
                    vectors[i].hash);
}

static void crc32c_gives_the_vectors_of_rfc_3720(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(lathe_crc32c(0, lathe_bytes_str("")), 0);
    assert_int_equal(lathe_crc32c(0, lathe_bytes_str("123456789")), 0xE3069283);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(lathe_crc32c(0, lathe_bytes_of(bytes, 32)), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof(bytes));
    assert_int_equal(lathe_crc32c(0, lathe_bytes_of(bytes, 32)), 0x62A8AB43);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(lathe_crc32c(0, lathe_bytes_of(bytes, 32)), 0x46DD794E);
    for (unsigned i = 0; i < 32; i++)
        bytes[i] = (uint8_t)(31 - i);
    assert_int_equal(lathe_crc32c(0, lathe_bytes_of(bytes, 32)), 0x113FDB5C);
}

static void crc32c_of_pieces_is_that_of_the_whole(void **state)
{
    struct lathe_bytes whole = lathe_bytes_str("123456789");

    (void)state;
    for (size_t cut = 0; cut <= whole.size; cut++) {
        uint32_t crc = lathe_crc32c(0, lathe_bytes_of(whole.data, cut));

        crc = lathe_crc32c(crc, lathe_bytes_of(whole.data + cut, whole.size - cut));
        assert_int_equal(crc, 0xE3069283);
    }
}

static void digest_is_blake2b_of_16_bytes_over_all_parts(void **state)
{
    static const uint8_t empty[16] = {0xca, 0xe6, 0x69, 0x41, 0xd9, 0xef, 0xbd, 0x40,
                                      0x4e, 0x4d, 0x88, 0x75, 0x8e, 0xa6, 0x76, 0x70};
    static const uint8_t abc[16] = {0xcf, 0x4a, 0xb7, 0x91, 0xc6, 0x2b, 0x8d, 0x2b,
                                    0x21, 0x09, 0xc9, 0x02, 0x75, 0x28, 0x78, 0x16};
    struct lathe_bytes parts[3] = {lathe_bytes_str("a"), lathe_bytes_str(""),
                                   lathe_bytes_str("bc")};
    uint8_t digest[LATHE_DIGEST_BYTES];

    (void)state;
    lathe_digest(NULL, 0, digest);
    assert_memory_equal(digest, empty, 16);
    lathe_digest(parts, 3, digest);
    assert_memory_equal(digest, abc, 16);
    parts[0] = lathe_bytes_str("abc");
    lathe_digest(parts, 1, digest);
    assert_memory_equal(digest, abc, 16);
}

static void slots_stay_where_they_are_and_cover_the_range(void **state)
{
    static bool seen[LATHE_SLOTS];
    struct lathe_idkey key = lathe_idkey_number(7);
    unsigned used = 0;

    (void)state;
    /* Golden: rows would be lost if a slot moved. */
    assert_int_equal(lathe_slot_of(counting_key, lathe_idkey_view(&key)), 7217);
    assert_int_equal(lathe_idkey_parse("00000000-0000-0000-0000-000000000000", &key, NULL),
                     LATHE_OK);
    assert_int_equal(lathe_slot_of(counting_key, lathe_idkey_view(&key)), 2548);
    assert_int_equal(lathe_idkey_parse("word", &key, NULL), LATHE_OK);
    assert_int_equal(lathe_slot_of(counting_key, lathe_idkey_view(&key)), 12494);
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t slot;

        key = lathe_idkey_number(i);
        slot = lathe_slot_of(counting_key, lathe_idkey_view(&key));
        assert_in_range(slot, 0, LATHE_SLOTS - 1);
        used += !seen[slot];
        seen[slot] = true;
    }
    /* 200,000 throws leave a slot empty with probability e^-12.2: a tenth of one slot in all. */
    assert_in_range(used, LATHE_SLOTS - 8, LATHE_SLOTS);
}

static void random_bytes_differ(void **state)
{
    uint8_t a[16] = {0}, b[16] = {0};

    (void)state;
    lathe_random(a, sizeof(a));
    lathe_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

static int init(void **state)
{
    (void)state;
    return lathe_hash_init() ? 0 : -1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(siphash_gives_the_vectors_of_its_authors),
        cmocka_unit_test(crc32c_gives_the_vectors_of_rfc_3720),
        cmocka_unit_test(crc32c_of_pieces_is_that_of_the_whole),
        cmocka_unit_test(digest_is_blake2b_of_16_bytes_over_all_parts),
        cmocka_unit_test(slots_stay_where_they_are_and_cover_the_range),
        cmocka_unit_test(random_bytes_differ),
    };

    return cmocka_run_group_tests_name("base/hash", tests, init, NULL);
}
