/* test_status.c - codes and error objects. */
#include "tests/support/test.h"

#include <string.h>

#include "common/base/clock.h"
#include "common/base/status.h"

static void codes_are_those_of_grpc(void **state)
{
    (void)state;
    assert_int_equal(LATHE_OK, 0);
    assert_int_equal(LATHE_INVALID_ARGUMENT, 3);
    assert_int_equal(LATHE_UNAVAILABLE, 14);
    assert_int_equal(LATHE_UNAUTHENTICATED, 16);
    assert_string_equal(lathe_status_name(LATHE_OK), "OK");
    assert_string_equal(lathe_status_name(LATHE_RESOURCE_EXHAUSTED), "RESOURCE_EXHAUSTED");
    assert_string_equal(lathe_status_name(99), "UNKNOWN");
    assert_int_equal(lathe_status_from_number(5), LATHE_NOT_FOUND);
    assert_int_equal(lathe_status_from_number(16), LATHE_UNAUTHENTICATED);
    assert_int_equal(lathe_status_from_number(17), LATHE_UNKNOWN);
    assert_int_equal(lathe_status_from_number(UINT32_MAX), LATHE_UNKNOWN);
}

static void only_what_can_pass_is_retryable(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20; i++)
        assert_int_equal(lathe_status_retryable(i),
                         i == LATHE_DEADLINE_EXCEEDED || i == LATHE_RESOURCE_EXHAUSTED ||
                             i == LATHE_ABORTED || i == LATHE_UNAVAILABLE);
}

static void fail_fills_and_returns(void **state)
{
    struct lathe_error err = {.retry_after_ms = 5};

    (void)state;
    assert_int_equal(lathe_fail_field(&err, LATHE_NOT_FOUND, "a.b", "no %d", 7), LATHE_NOT_FOUND);
    assert_int_equal(err.status, LATHE_NOT_FOUND);
    assert_int_equal(err.retry_after_ms, 0);
    assert_string_equal(err.field, "a.b");
    assert_string_equal(err.message, "no 7");
    assert_int_equal(lathe_fail(&err, LATHE_INTERNAL, "x"), LATHE_INTERNAL);
    assert_string_equal(err.field, "");
    assert_int_equal(lathe_fail(NULL, LATHE_ABORTED, "x"), LATHE_ABORTED);
}

static void long_texts_are_cut(void **state)
{
    char text[2000];
    struct lathe_error err;

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    (void)lathe_fail_field(&err, LATHE_INTERNAL, text, "%s", text);
    assert_int_equal(strlen(err.field), LATHE_ERROR_FIELD_BYTES - 1);
    assert_int_equal(strlen(err.message), LATHE_ERROR_MESSAGE_BYTES - 1);
    lathe_error_in(&err, "%s", text);
    assert_int_equal(strlen(err.field), LATHE_ERROR_FIELD_BYTES - 1);
}

static void callers_prefix_the_path(void **state)
{
    struct lathe_error err = {0};

    (void)state;
    lathe_error_in(&err, "point");
    assert_string_equal(err.field, "point");
    lathe_error_in(&err, "[%d]", 3);
    assert_string_equal(err.field, "[3].point");
    lathe_error_in(&err, "operations");
    assert_string_equal(err.field, "operations[3].point");
    lathe_error_in(NULL, "x");
}

static void clocks_go_forward(void **state)
{
    uint64_t a = lathe_now_us(&lathe_system_clock), b = lathe_now_us(&lathe_system_clock);

    (void)state;
    assert_true(b >= a);
    assert_true(lathe_wall_ms(&lathe_system_clock) > 1700000000000u); /* in 2023 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_those_of_grpc),
        cmocka_unit_test(only_what_can_pass_is_retryable),
        cmocka_unit_test(fail_fills_and_returns),
        cmocka_unit_test(long_texts_are_cut),
        cmocka_unit_test(callers_prefix_the_path),
        cmocka_unit_test(clocks_go_forward),
    };

    return cmocka_run_group_tests_name("base/status", tests, NULL, NULL);
}
