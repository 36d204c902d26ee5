/* test_frame.c - frames: golden bytes, and that nothing malformed is taken. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/base/hash.h"
#include "common/base/mem.h"
#include "common/net/frame.h"
#include "common/net/frame_parts.h"

/* Made by an independent implementation (docs/wire.md). They never change. */
struct golden {
    const char *name;
    struct lathe_frame_header header;
    const char *first; /* hexadecimal */
    const char *second;
};

static const struct golden goldens[] = {
    {"search",
     {LATHE_FRAME_SEARCH, 0x0000000300000011u, 7, 2, 1, 0, 9, 1500000},
     "4c54484501000400110000000300000007000000020000000100000000000000"
     "090000000000000060e316000000000008000000080000000000000009c9b16a"
     "0a060a0410041808",
     "0000803f000020c0"},
    {"cancel",
     {LATHE_FRAME_CANCEL, 0x0000000300000011u, 0, 0, 0, 0, 0, 0},
     "4c54484501000a00110000000300000000000000000000000000000000000000"
     "000000000000000000000000000000000000000000000000"
     "00000000c695fc74",
     ""},
    {"error",
     {LATHE_FRAME_ERROR | LATHE_FRAME_REPLY, 0xfedcba9876543210u, 0, 0, 0, LATHE_FRAME_SEARCH, 0,
      0},
     "4c54484501000b801032547698badcfe00000000000000000000000004000000"
     "000000000000000000000000000000000a000000000000000000000000df25b1"
     "080e1204627573792064",
     ""},
};

static struct lathe_buf from_hex(const char *hex)
{
    struct lathe_buf buf = {0};

    for (; hex[0] != '\0'; hex += 2) {
        char pair[3] = {hex[0], hex[1], '\0'};

        lathe_buf_u8(&buf, (uint8_t)strtoul(pair, NULL, 16));
    }
    return buf;
}

static struct lathe_frame make(const struct lathe_frame_header *header, const char *body,
                               const char *block)
{
    struct lathe_buf body_buf = {0}, block_buf = {0};
    struct lathe_frame frame;

    lathe_buf_append(&body_buf, body, strlen(body));
    lathe_buf_append(&block_buf, block, strlen(block));
    assert_true(lathe_frame_make(&frame, header, &body_buf, &block_buf));
    assert_null(body_buf.data);
    assert_null(block_buf.data);
    return frame;
}

static enum lathe_status decode(struct lathe_bytes first, struct lathe_bytes second,
                                struct lathe_frame_header *header, struct lathe_error *err)
{
    struct lathe_bytes body, block;

    return lathe_frame_decode(first, second, header, &body, &block, err);
}

static void check_header(const struct lathe_frame_header *got,
                         const struct lathe_frame_header *wanted)
{
    assert_int_equal(got->kind, wanted->kind);
    assert_int_equal(got->request_id, wanted->request_id);
    assert_int_equal(got->collection, wanted->collection);
    assert_int_equal(got->schema_version, wanted->schema_version);
    assert_int_equal(got->slot_map_version, wanted->slot_map_version);
    assert_int_equal(got->flags, wanted->flags);
    assert_int_equal(got->epoch, wanted->epoch);
    assert_int_equal(got->budget_us, wanted->budget_us);
}

static void golden_frames_encode_to_the_same_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
        const struct golden *golden = &goldens[i];
        struct lathe_buf first = from_hex(golden->first), second = from_hex(golden->second);
        struct lathe_buf body = {0}, block = {0};
        struct lathe_frame_parts parts;
        struct lathe_frame frame;

        lathe_buf_append(&body, first.data + LATHE_FRAME_HEADER_BYTES,
                         first.size - LATHE_FRAME_HEADER_BYTES);
        lathe_buf_append(&block, second.data, second.size);
        assert_true(lathe_frame_make(&frame, &golden->header, &body, &block));
        assert_true(lathe_frame_take_parts(&frame, &parts));
        assert_null(frame.owner);
        assert_int_equal(parts.first_size, first.size);
        assert_memory_equal(parts.first, first.data, first.size);
        assert_int_equal(parts.block_size, second.size);
        if (second.size > 0)
            assert_memory_equal(parts.block, second.data, second.size);
        lathe_free(parts.first_memory);
        lathe_free(parts.block);
        lathe_buf_fini(&first);
        lathe_buf_fini(&second);
    }
}

static void golden_frames_decode_to_the_same_header(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(goldens) / sizeof(goldens[0]); i++) {
        struct lathe_buf first = from_hex(goldens[i].first), second = from_hex(goldens[i].second);
        struct lathe_frame_header header;
        struct lathe_bytes body, block;

        assert_int_equal(lathe_frame_decode(lathe_buf_view(&first), lathe_buf_view(&second),
                                            &header, &body, &block, NULL),
                         LATHE_OK);
        check_header(&header, &goldens[i].header);
        assert_ptr_equal(body.data, first.data + LATHE_FRAME_HEADER_BYTES);
        assert_int_equal(body.size, first.size - LATHE_FRAME_HEADER_BYTES);
        assert_true(lathe_bytes_equal(block, lathe_buf_view(&second)));
        lathe_buf_fini(&first);
        lathe_buf_fini(&second);
    }
}

static void a_frame_shows_its_body_and_block(void **state)
{
    struct lathe_frame_header header = {.kind = LATHE_FRAME_WRITE, .request_id = 5};
    struct lathe_frame frame = make(&header, "the body", "the block");

    (void)state;
    assert_int_equal(frame.header.request_id, 5);
    assert_true(lathe_bytes_equal(frame.body, lathe_bytes_str("the body")));
    assert_true(lathe_bytes_equal(frame.block, lathe_bytes_str("the block")));
    lathe_frame_fini(&frame);
    assert_null(frame.owner);
    assert_int_equal(frame.body.size, 0);
    lathe_frame_fini(&frame);
}

static void a_block_is_taken_and_not_copied(void **state)
{
    struct lathe_frame_header header = {.kind = LATHE_FRAME_WRITE};
    struct lathe_buf block = {0};
    struct lathe_frame_parts parts;
    struct lathe_frame frame;
    const uint8_t *data;

    (void)state;
    assert_non_null(lathe_buf_extend(&block, 100000));
    data = memset(block.data, 7, block.size);
    assert_true(lathe_frame_make(&frame, &header, NULL, &block));
    assert_ptr_equal(frame.block.data, data);
    assert_true(lathe_frame_take_parts(&frame, &parts));
    assert_ptr_equal(parts.block, data);
    lathe_free(parts.first_memory);
    lathe_free(parts.block);
}

static void a_failed_buffer_makes_no_frame_and_leaks_nothing(void **state)
{
    struct lathe_frame_header header = {.kind = LATHE_FRAME_WRITE};
    struct lathe_buf body = {0}, block = {0};
    struct lathe_frame frame;

    (void)state;
    lathe_buf_append(&body, "body", 4);
    lathe_buf_append(&block, "block", 5);
    block.failed = true;
    assert_false(lathe_frame_make(&frame, &header, &body, &block));
    assert_null(frame.owner);
    assert_null(body.data);
    assert_null(block.data);
    assert_false(block.failed);
}

static void a_frame_without_owner_is_encoded_from_its_header(void **state)
{
    struct lathe_frame frame = {.header = goldens[1].header};
    struct lathe_buf first = from_hex(goldens[1].first);
    struct lathe_frame_parts parts;

    (void)state;
    assert_true(lathe_frame_take_parts(&frame, &parts));
    assert_int_equal(parts.first_size, first.size);
    assert_memory_equal(parts.first, first.data, first.size);
    assert_null(parts.block);
    lathe_free(parts.first_memory);
    lathe_buf_fini(&first);
}

static void every_truncation_is_refused(void **state)
{
    struct lathe_buf first = from_hex(goldens[0].first), second = from_hex(goldens[0].second);
    struct lathe_frame_header header;
    struct lathe_error err;

    (void)state;
    for (size_t size = 0; size < first.size; size++) {
        /* A copy of exactly this size, so that a sanitizer sees a read past it. */
        uint8_t *cut = lathe_alloc(size);

        memcpy(cut, first.data, size);
        assert_int_equal(decode(lathe_bytes_of(cut, size), lathe_buf_view(&second), &header, &err),
                         LATHE_INVALID_ARGUMENT);
        assert_string_not_equal(err.message, "");
        lathe_free(cut);
    }
    for (size_t size = 0; size < second.size; size++)
        assert_int_equal(
            decode(lathe_buf_view(&first), lathe_bytes_of(second.data, size), &header, &err),
            LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode(lathe_bytes_of(NULL, 0), lathe_bytes_of(NULL, 0), &header, &err),
                     LATHE_INVALID_ARGUMENT);
    lathe_buf_fini(&first);
    lathe_buf_fini(&second);
}

static void every_flipped_bit_is_refused(void **state)
{
    struct lathe_buf first = from_hex(goldens[0].first), second = from_hex(goldens[0].second);
    struct lathe_frame_header header;

    (void)state;
    for (size_t bit = 0; bit < 8 * (first.size + second.size); bit++) {
        uint8_t *byte = bit / 8 < first.size ? first.data + bit / 8
                                             : second.data + (bit / 8 - first.size);

        *byte ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(decode(lathe_buf_view(&first), lathe_buf_view(&second), &header, NULL),
                             LATHE_OK);
        *byte ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(decode(lathe_buf_view(&first), lathe_buf_view(&second), &header, NULL),
                     LATHE_OK);
    lathe_buf_fini(&first);
    lathe_buf_fini(&second);
}

/* Puts a value into a header and makes the checksum right again: what is left to refuse it is the
 * check of this one field. */
static enum lathe_status decode_with(size_t at, size_t size, uint64_t value,
                                     struct lathe_error *err)
{
    struct lathe_buf first = from_hex(goldens[1].first);
    struct lathe_frame_header header;
    enum lathe_status status;

    for (size_t i = 0; i < size; i++)
        first.data[at + i] = (uint8_t)(value >> (8 * i));
    lathe_put_u32le(first.data + 60, lathe_crc32c(0, lathe_bytes_of(first.data, 60)));
    status = decode(lathe_buf_view(&first), lathe_bytes_of(NULL, 0), &header, err);
    lathe_buf_fini(&first);
    return status;
}

static void fields_that_no_frame_may_have_are_refused(void **state)
{
    struct lathe_error err;

    (void)state;
    assert_int_equal(decode_with(6, 2, LATHE_FRAME_HELLO, &err), LATHE_OK);
    assert_int_equal(decode_with(6, 2, 0, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(6, 2, LATHE_FRAME_KINDS, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "kind 0x000C"));
    assert_int_equal(decode_with(6, 2, LATHE_FRAME_ERROR, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(6, 2, LATHE_FRAME_CANCEL | LATHE_FRAME_REPLY, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(6, 2, LATHE_FRAME_RELEASE | LATHE_FRAME_REPLY, &err),
                     LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(28, 4, 1, &err), LATHE_INVALID_ARGUMENT);
    assert_non_null(strstr(err.message, "flags 0x00000001"));
    assert_int_equal(decode_with(48, 4, 1, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(48, 4, UINT32_MAX, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(52, 8, UINT64_MAX, &err), LATHE_INVALID_ARGUMENT);
    assert_int_equal(decode_with(0, 4, 0x20544547, &err), LATHE_INVALID_ARGUMENT);
}

static void another_version_is_unimplemented_and_named(void **state)
{
    struct lathe_error err;

    (void)state;
    assert_int_equal(decode_with(4, 2, 2, &err), LATHE_UNIMPLEMENTED);
    assert_non_null(strstr(err.message, "version 2"));
}

static void an_answer_keeps_what_matches_it_to_its_request(void **state)
{
    struct lathe_frame_header answer = lathe_frame_answer_header(&goldens[0].header,
                                                                 LATHE_FRAME_ERROR);

    (void)state;
    assert_int_equal(answer.kind, LATHE_FRAME_ERROR | LATHE_FRAME_REPLY);
    assert_int_equal(answer.flags, LATHE_FRAME_SEARCH);
    assert_int_equal(answer.request_id, goldens[0].header.request_id);
    assert_int_equal(answer.budget_us, 0);
    answer = lathe_frame_answer_header(&goldens[0].header, LATHE_FRAME_SEARCH);
    assert_int_equal(answer.kind, LATHE_FRAME_SEARCH | LATHE_FRAME_REPLY);
    assert_int_equal(answer.flags, 0);
}

static void frames_of_any_size_come_back_as_they_were(void **state)
{
    struct test_rng *rng = *state;

    for (int round = 0; round < 300; round++) {
        size_t body_size = test_rng_below(rng, 300), block_size = test_rng_below(rng, 2000);
        struct lathe_frame_header header = {
            .kind = LATHE_FRAME_GET, .request_id = test_rng_u64(rng), .epoch = test_rng_u64(rng)};
        struct lathe_frame_header got;
        struct lathe_buf body = {0}, block = {0};
        struct lathe_frame_parts parts;
        struct lathe_bytes got_body, got_block;
        struct lathe_frame frame;

        for (size_t i = 0; i < body_size; i++)
            lathe_buf_u8(&body, (uint8_t)i);
        for (size_t i = 0; i < block_size; i++)
            lathe_buf_u8(&block, (uint8_t)(3 * i));
        assert_true(lathe_frame_make(&frame, &header, &body, &block));
        assert_true(lathe_frame_take_parts(&frame, &parts));
        assert_int_equal(lathe_frame_decode(lathe_bytes_of(parts.first, parts.first_size),
                                            lathe_bytes_of(parts.block, parts.block_size), &got,
                                            &got_body, &got_block, NULL),
                         LATHE_OK);
        check_header(&got, &header);
        assert_int_equal(got_body.size, body_size);
        assert_int_equal(got_block.size, block_size);
        for (size_t i = 0; i < body_size; i++)
            assert_int_equal(got_body.data[i], (uint8_t)i);
        for (size_t i = 0; i < block_size; i++)
            assert_int_equal(got_block.data[i], (uint8_t)(3 * i));
        lathe_free(parts.first_memory);
        lathe_free(parts.block);
    }
}

int main(void)
{
    static struct test_rng rng;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_frames_encode_to_the_same_bytes),
        cmocka_unit_test(golden_frames_decode_to_the_same_header),
        cmocka_unit_test(a_frame_shows_its_body_and_block),
        cmocka_unit_test(a_block_is_taken_and_not_copied),
        cmocka_unit_test(a_failed_buffer_makes_no_frame_and_leaks_nothing),
        cmocka_unit_test(a_frame_without_owner_is_encoded_from_its_header),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_flipped_bit_is_refused),
        cmocka_unit_test(fields_that_no_frame_may_have_are_refused),
        cmocka_unit_test(another_version_is_unimplemented_and_named),
        cmocka_unit_test(an_answer_keeps_what_matches_it_to_its_request),
        cmocka_unit_test_prestate(frames_of_any_size_come_back_as_they_were, &rng),
    };

    test_rng_seed(&rng, "net/frame");
    return cmocka_run_group_tests_name("net/frame", tests, NULL, NULL);
}
