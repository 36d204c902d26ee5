/* test_log.c - levels, and lines that stay whole. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/log.h"

/* Runs `body` with stderr going to a file, and returns what it wrote; freed by the caller. */
static char *captured(void (*body)(void))
{
    char *dir = test_dir_create(), path[4200], *text;
    int saved = dup(STDERR_FILENO), fd;
    long size;
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/log", dir);
    fd = open(path, O_CREAT | O_RDWR | O_APPEND, 0600);
    assert_true(fd >= 0);
    assert_true(dup2(fd, STDERR_FILENO) >= 0);
    body();
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(saved);
    (void)close(fd);
    file = fopen(path, "r");
    assert_non_null(file);
    (void)fseek(file, 0, SEEK_END);
    size = ftell(file);
    rewind(file);
    text = calloc(1, (size_t)size + 1);
    assert_int_equal(fread(text, 1, (size_t)size, file), size);
    (void)fclose(file);
    test_dir_remove(dir);
    return text;
}

static void every_level_has_its_name_and_no_other_is_taken(void **state)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    enum lathe_log_level level;

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_true(lathe_log_level_parse(names[i], &level));
        assert_int_equal(level, i);
    }
    assert_false(lathe_log_level_parse("", &level));
    assert_false(lathe_log_level_parse("Info", &level));
    assert_false(lathe_log_level_parse("warning", &level));
}

static void write_two_levels(void)
{
    lathe_log_set_level(LATHE_LOG_WARN);
    lathe_log(LATHE_LOG_INFO, "quiet", "n=%d", 1);
    lathe_log(LATHE_LOG_WARN, "loud", "n=%d text=%s", 2, "x");
    lathe_log_set_level(LATHE_LOG_INFO);
}

static void lines_below_the_level_are_dropped(void **state)
{
    char *text = captured(write_two_levels);

    (void)state;
    assert_null(strstr(text, "quiet"));
    assert_int_equal(strncmp(text, "time=", 5), 0);
    assert_non_null(strstr(text, "Z level=warn event=loud n=2 text=x\n"));
    free(text);
}

static void write_long(void)
{
    char *value = malloc(5000);

    memset(value, 'v', 4999);
    value[4999] = '\0';
    lathe_log(LATHE_LOG_ERROR, "long", "value=%s", value);
    free(value);
}

static void a_long_line_is_cut_and_ended(void **state)
{
    char *text = captured(write_long);
    size_t size = strlen(text);

    (void)state;
    assert_in_range(size, 1000, 1024);
    assert_int_equal(text[size - 1], '\n');
    free(text);
}

/* What the one line of `text` says after its event. */
static const char *pairs_of(const char *text, const char *event)
{
    const char *found = strstr(text, event), *end = strchr(text, '\n');

    assert_non_null(found);
    assert_non_null(end);
    assert_int_equal(end[1], '\0'); /* one event, one line */
    return found + strlen(event) + 1;
}

static void write_numbers(void)
{
    lathe_log(LATHE_LOG_INFO, "numbers",
              "a=%d b=%u c=%lld d=%llu e=%zu f=%x g=%" PRIu64 " h=%" PRId32 " i=%03d j=%ld k=%i",
              -1, 4000000000u, -5000000000ll, 18446744073709551615ull, (size_t)7, 255u,
              UINT64_C(18446744073709551615), INT32_C(-9), 5, -6l, 8);
}

static void numbers_are_as_printf_writes_them(void **state)
{
    char *text = captured(write_numbers);

    (void)state;
    assert_string_equal(pairs_of(text, "event=numbers"),
                        "a=-1 b=4000000000 c=-5000000000 d=18446744073709551615 e=7 f=ff "
                        "g=18446744073709551615 h=-9 i=005 j=-6 k=8\n");
    free(text);
}

static void write_texts(void)
{
    const char *volatile none = NULL; /* volatile: or the compiler sees it */

    lathe_log(
        LATHE_LOG_INFO, "texts",
        "text=\"%s\" n=%d bare=%s spaced=%s pair=%s quote=%s bytes=\"%s\" utf8=%s empty=\"%s\" "
        "null=%s",
        "say \"no\"\\\nevent=x\r\t\x1b[0m\x7f", 1, "plain-1.5", "two words", "a=b", "\"",
        "\xff\xc3", "\xc3\xa9", "", none);
}

/* As JSON and Go write strings, so that readers of logfmt undo it. */
static void texts_cannot_leave_their_value(void **state)
{
    char *text = captured(write_texts);

    (void)state;
    assert_string_equal(pairs_of(text, "event=texts"),
                        "text=\"say \\\"no\\\"\\\\\\nevent=x\\r\\t\\u001b[0m\\u007f\" n=1 "
                        "bare=plain-1.5 spaced=\"two words\" pair=\"a=b\" quote=\"\\\"\" "
                        "bytes=\"\\u00ff\\u00c3\" utf8=\xc3\xa9 empty=\"\" null=(null)\n");
    free(text);
}

static size_t cut_at; /* bytes before what must not be cut in two */

static void write_cut(void)
{
    char value[2000] = "";

    memset(value, 'v', cut_at);
    for (size_t i = cut_at; i + 4 < sizeof(value); i += 4)
        memcpy(value + i, (i - cut_at) % 8 == 0 ? "\"\n\"\n" : "\xf0\x9f\x8c\x8d", 5);
    lathe_log(LATHE_LOG_ERROR, "cut", "text=\"%s\" n=%d", value, 7);
}

static void a_cut_value_is_closed(void **state)
{
    (void)state;
    for (cut_at = 880; cut_at < 940; cut_at++) {
        char *text = captured(write_cut);
        const char *pairs = pairs_of(text, "event=cut");
        size_t size = strlen(pairs), at = strlen("text=\"") + cut_at;

        assert_in_range(strlen(text), 1000, 1024);
        assert_string_equal(pairs + size - 2, "\"\n");
        assert_true(lathe_utf8_valid(lathe_bytes_str(text)));
        while (at < size - 2) {
            if (pairs[at] == '\\') {
                assert_non_null(strchr("\"n", pairs[at + 1]));
                at++;
            } else {
                assert_int_not_equal(pairs[at], '"');
            }
            at++;
        }
        assert_int_equal(at, size - 2); /* the last quote is none of the value's */
        free(text);
    }
}

static void *write_many(void *context)
{
    for (int i = 0; i < 500; i++)
        lathe_log(LATHE_LOG_INFO, "many", "thread=%s n=%d end", (const char *)context, i);
    return NULL;
}

static void write_from_threads(void)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        (void)pthread_create(&threads[i], NULL, write_many, (void *)"abcd");
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
}

static void lines_of_several_threads_stay_whole(void **state)
{
    char *text = captured(write_from_threads), *rest = NULL;
    int lines = 0;

    (void)state;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest), lines++) {
        assert_int_equal(strncmp(line, "time=", 5), 0);
        assert_string_equal(line + strlen(line) - 4, " end");
    }
    assert_int_equal(lines, 2000);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_level_has_its_name_and_no_other_is_taken),
        cmocka_unit_test(lines_below_the_level_are_dropped),
        cmocka_unit_test(a_long_line_is_cut_and_ended),
        cmocka_unit_test(numbers_are_as_printf_writes_them),
        cmocka_unit_test(texts_cannot_leave_their_value),
        cmocka_unit_test(a_cut_value_is_closed),
        cmocka_unit_test(lines_of_several_threads_stay_whole),
    };

    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
