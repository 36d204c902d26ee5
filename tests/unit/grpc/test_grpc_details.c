/* test_grpc_details.c - google.rpc.Status: what the server writes, the client reads. */
#include <google/rpc/status.pb-c.h>
#include <stdio.h>
#include <string.h>

#include "client/status_details.h"
#include "coordinator/grpc/grpc_details.h"
#include "tests/support/test.h"

static struct lathe_error round_trip(const struct lathe_error *err)
{
    struct lathe_error read = {0};
    struct lathe_buf buf = {0};

    lathe_grpc_details_encode(err, &buf);
    assert_false(buf.failed);
    lathe_status_details_decode(lathe_buf_view(&buf), &read);
    lathe_buf_fini(&buf);
    return read;
}

static void field_and_hint_survive_the_way(void **state)
{
    static const uint32_t hints[] = {0, 1, 999, 1000, 61001, 3600000};
    struct lathe_error err = {0}, read;

    (void)state;
    for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
        for (int with_field = 0; with_field < 2; with_field++) {
            (void)lathe_fail_field(&err, LATHE_INVALID_ARGUMENT, with_field ? "a.b[3]" : "", "why");
            err.retry_after_ms = hints[i];
            assert_int_equal(lathe_grpc_has_details(&err), with_field || hints[i] > 0);
            read = round_trip(&err);
            assert_string_equal(read.field, err.field);
            assert_int_equal(read.retry_after_ms, hints[i]);
        }
}

static void the_status_repeats_code_and_text(void **state)
{
    Google__Rpc__Status *status;
    struct lathe_error err = {0};
    struct lathe_buf buf = {0};

    (void)state;
    (void)lathe_fail_field(&err, LATHE_OUT_OF_RANGE, "limit", "17000 is above 16384");
    lathe_grpc_details_encode(&err, &buf);
    status = google__rpc__status__unpack(NULL, buf.size, buf.data);
    assert_non_null(status);
    assert_int_equal(status->code, 11);
    assert_string_equal(status->message, "17000 is above 16384");
    assert_int_equal(status->n_details, 1);
    assert_string_equal(status->details[0]->type_url, "type.googleapis.com/google.rpc.BadRequest");
    google__rpc__status__free_unpacked(status, NULL);
    lathe_buf_fini(&buf);
}

static void broken_details_leave_the_failure_as_it_was(void **state)
{
    struct lathe_error err = {0}, read;
    struct lathe_buf buf = {0};
    struct test_rng rng;

    (void)state;
    test_rng_seed(&rng, "broken_details_leave_the_failure_as_it_was");
    (void)lathe_fail_field(&err, LATHE_INVALID_ARGUMENT, "operations[1]", "why not");
    err.retry_after_ms = 5000;
    lathe_grpc_details_encode(&err, &buf);
    for (size_t size = 0; size < buf.size; size++) { /* cut short: never more than was there */
        read = (struct lathe_error){.status = LATHE_ABORTED};
        lathe_status_details_decode(lathe_bytes_of(buf.data, size), &read);
        assert_int_equal(read.status, LATHE_ABORTED);
        assert_true(read.field[0] == '\0' || strcmp(read.field, err.field) == 0);
    }
    for (int i = 0; i < 2000; i++) { /* any byte changed: no crash, texts stay terminated */
        size_t at = test_rng_below(&rng, buf.size);
        uint8_t before = buf.data[at];

        buf.data[at] = (uint8_t)test_rng_u64(&rng);
        read = (struct lathe_error){0};
        lathe_status_details_decode(lathe_buf_view(&buf), &read);
        assert_true(strnlen(read.field, sizeof(read.field)) < sizeof(read.field));
        assert_true(read.retry_after_ms <= 3600u * 1000u + 2200u);
        buf.data[at] = before;
    }
    lathe_buf_fini(&buf);
}

static void what_is_no_utf8_becomes_question_marks(void **state)
{
    static const struct {
        const char *text, *clean;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"Gr\xC3\xB6\xC3\x9F"
         "e \xE2\x88\x9E \xF0\x9F\x98\x80",
         "Gr\xC3\xB6\xC3\x9F"
         "e \xE2\x88\x9E \xF0\x9F\x98\x80"},
        {"cut \xE2\x88", "cut ??"},
        {"\xC3", "?"},
        {"\xFFx\xC0\xAF", "?x??"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[64];

        (void)snprintf(text, sizeof(text), "%s", cases[i].text);
        lathe_grpc_text_clean(text);
        assert_string_equal(text, cases[i].clean);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(field_and_hint_survive_the_way),
        cmocka_unit_test(the_status_repeats_code_and_text),
        cmocka_unit_test(broken_details_leave_the_failure_as_it_was),
        cmocka_unit_test(what_is_no_utf8_becomes_question_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
