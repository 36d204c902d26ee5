/* store_fixture.c - see store_fixture.h. */
#include "tests/unit/store/store_fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/mem.h"

int fixture_setup(void **state)
{
    struct fixture *f = lathe_zalloc(sizeof(*f));

    f->dir = test_dir_create();
    (void)snprintf(f->path, sizeof(f->path), "%s/store", f->dir);
    fixture_open(f);
    *state = f;
    return 0;
}

int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    test_dir_remove(f->dir);
    lathe_free(f);
    return 0;
}

enum lathe_status fixture_try_open(struct fixture *f, struct lathe_error *err)
{
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN_OR_CREATE,
                                        .families = LATHE_FAMILIES_ALL,
                                        .write_buffer_bytes = 8u << 20};

    assert_null(f->store);
    return lathe_store_open(f->path, &config, &f->store, err);
}

void fixture_open(struct fixture *f)
{
    struct lathe_error err = {0};

    if (fixture_try_open(f, &err) != LATHE_OK)
        fail_msg("open: %s", err.message);
}

void fixture_close(struct fixture *f)
{
    lathe_store_close(f->store);
    f->store = NULL;
}

static void commit(struct fixture *f, struct lathe_store_batch *batch)
{
    struct lathe_error err = {0};

    if (lathe_store_commit(f->store, batch, true, &err) != LATHE_OK)
        fail_msg("commit: %s", err.message);
    lathe_store_batch_destroy(batch);
}

void fixture_put(struct fixture *f, enum lathe_family family, const char *key, const char *value)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);

    lathe_store_batch_put(batch, family, lathe_bytes_str(key), lathe_bytes_str(value));
    commit(f, batch);
}

void fixture_delete(struct fixture *f, enum lathe_family family, const char *key)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(f->store);

    lathe_store_batch_delete(batch, family, lathe_bytes_str(key));
    commit(f, batch);
}

const char *fixture_get(struct fixture *f, const struct lathe_store_snapshot *snapshot,
                        enum lathe_family family, const char *key)
{
    static char text[256];
    struct lathe_store_value value;
    struct lathe_error err = {0};

    if (lathe_store_get(f->store, snapshot, family, lathe_bytes_str(key), &value, &err) != LATHE_OK)
        fail_msg("get %s: %s", key, err.message);
    (void)snprintf(text, sizeof(text), "%.*s", value.found ? (int)value.bytes.size : 1,
                   value.found ? (const char *)value.bytes.data : "-");
    lathe_store_value_release(&value);
    return text;
}

void fixture_fill(uint8_t *bytes, size_t size, uint64_t number, uint64_t version)
{
    struct test_rng rng;

    test_rng_seed_with(&rng, number * 1000003u + version);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(test_rng_u64(&rng) >> 24);
}

void fixture_list(const char *dir, const char *suffix, struct fixture_files *out)
{
    DIR *directory = opendir(dir);
    struct dirent *entry;

    out->count = 0;
    assert_non_null(directory);
    while ((entry = readdir(directory)) != NULL) {
        size_t size = strlen(entry->d_name);

        if (size < strlen(suffix) || strcmp(entry->d_name + size - strlen(suffix), suffix) != 0)
            continue;
        assert_true(out->count < FIXTURE_MAX_FILES);
        (void)snprintf(out->paths[out->count++], sizeof(out->paths[0]), "%s/%s", dir,
                       entry->d_name);
    }
    (void)closedir(directory);
}

void fixture_copy(const char *from, const char *to)
{
    char command[16384];

    (void)snprintf(command, sizeof(command), "rm -rf '%s' && cp -r '%s' '%s'", to, from, to);
    assert_int_equal(system(command), 0);
}

off_t fixture_file_size(const char *path)
{
    struct stat info;

    assert_int_equal(stat(path, &info), 0);
    return info.st_size;
}

void fixture_largest(const char *dir, const char *suffix, char *path_out)
{
    struct fixture_files files;
    off_t best = -1;

    fixture_list(dir, suffix, &files);
    assert_true(files.count > 0);
    for (size_t i = 0; i < files.count; i++) {
        if (fixture_file_size(files.paths[i]) > best) {
            best = fixture_file_size(files.paths[i]);
            (void)strcpy(path_out, files.paths[i]);
        }
    }
}
