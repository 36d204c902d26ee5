/* store_fixture.h - an open store in a temporary directory, and short forms of its calls. */
#ifndef LATHE_TESTS_UNIT_STORE_STORE_FIXTURE_H
#define LATHE_TESTS_UNIT_STORE_STORE_FIXTURE_H
#include <sys/types.h>

#include "common/store/store.h"
#include "tests/support/test.h"

struct fixture {
    char *dir;
    char path[4200]; /* dir/store */
    struct lathe_store *store;
};

int fixture_setup(void **state);
int fixture_teardown(void **state);

/* Opens and closes with every family. The store is made when it is not there. */
void fixture_open(struct fixture *f);
void fixture_close(struct fixture *f);
enum lathe_status fixture_try_open(struct fixture *f, struct lathe_error *err);

void fixture_put(struct fixture *f, enum lathe_family family, const char *key, const char *value);
void fixture_delete(struct fixture *f, enum lathe_family family, const char *key);
/* The value, "-" when absent; valid until the next call. */
const char *fixture_get(struct fixture *f, const struct lathe_store_snapshot *snapshot,
                        enum lathe_family family, const char *key);

/* Deterministic bytes of record `number` in its `version`. */
void fixture_fill(uint8_t *bytes, size_t size, uint64_t number, uint64_t version);

/* Names of the directory's files that end so; the count. */
enum { FIXTURE_MAX_FILES = 256 };
struct fixture_files {
    char paths[FIXTURE_MAX_FILES][4400];
    size_t count;
};
void fixture_list(const char *dir, const char *suffix, struct fixture_files *out);
/* The largest of them: the one with the records. */
void fixture_largest(const char *dir, const char *suffix, char *path_out); /* 4400 bytes */
off_t fixture_file_size(const char *path);
/* Copies the directory `from`, which holds plain files only, to `to`, which is removed before. */
void fixture_copy(const char *from, const char *to);
#endif
