/* test_log.c - levels, and lines that stay whole. */
#include "tests/support/test.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        cmocka_unit_test(lines_of_several_threads_stay_whole),
    };

    return cmocka_run_group_tests_name("base/log", tests, NULL, NULL);
}
