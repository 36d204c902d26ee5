/* store_victim.c - commits to a store until it is killed or fails, and says what was acknowledged.
 *
 *   store_victim PATH sync|nosync [COMMITS]
 *
 * Commit n (from where the store stands) puts original n and log entry n and sets meta "count" to
 * n + 1. After each commit it prints one line "n"; a failure prints "failed STATUS", tries once
 * more, prints "again STATUS", reads everything back and prints "read all" or "read less". Now and
 * then it deletes old originals, flushes and reclaims, so that every kind of file comes and goes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/store/keys.h"
#include "tests/fault/store_victim.h"

static struct lathe_store *store;

static enum lathe_status commit_number(uint64_t n, bool sync)
{
    struct lathe_store_batch *batch = lathe_store_batch_create(store);
    struct lathe_key original = lathe_key_original(1, 0, n);
    struct lathe_key log = lathe_key_log(n);
    struct lathe_key count = lathe_key_meta_named("count");
    uint8_t value[VICTIM_VALUE_BYTES], number[8];
    enum lathe_status status;

    victim_fill(value, n);
    lathe_put_u64le(number, n + 1);
    lathe_store_batch_put(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&original),
                          lathe_bytes_of(value, sizeof(value)));
    lathe_store_batch_put(batch, LATHE_FAMILY_LOG, lathe_key_view(&log),
                          lathe_bytes_of(value, 100));
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&count),
                          lathe_bytes_of(number, sizeof(number)));
    if (n >= VICTIM_KEPT) {
        original = lathe_key_original(1, 0, n - VICTIM_KEPT);
        lathe_store_batch_delete(batch, LATHE_FAMILY_ORIGINALS, lathe_key_view(&original));
    }
    status = lathe_store_commit(store, batch, sync, NULL);
    lathe_store_batch_destroy(batch);
    return status;
}

static enum lathe_status tidy(uint64_t n)
{
    bool more;

    if (n % 97 == 96)
        return lathe_store_flush(store, NULL);
    if (n % 211 == 210)
        return lathe_store_reclaim(store, &more, NULL);
    return LATHE_OK;
}

int main(int argc, char **argv)
{
    bool sync = argc > 2 && strcmp(argv[2], "sync") == 0;
    uint64_t commits = argc > 3 ? strtoull(argv[3], NULL, 10) : UINT64_MAX;
    struct lathe_error err = {0};
    enum lathe_status status = victim_open(argv[1], &store, &err);
    uint64_t n, end;

    if (status != LATHE_OK) {
        printf("open %s: %s\n", lathe_status_name(status), err.message);
        return 1;
    }
    n = victim_count(store);
    end = commits < UINT64_MAX - n ? n + commits : UINT64_MAX;
    while (n < end && status == LATHE_OK) {
        status = commit_number(n, sync);
        if (status != LATHE_OK)
            break;
        printf("%" PRIu64 "\n", n);
        (void)fflush(stdout);
        /* Tidying syncs, which would blur what a commit without sync loses. */
        status = sync ? tidy(n) : LATHE_OK;
        n++;
    }
    if (status != LATHE_OK) {
        printf("failed %s\n", lathe_status_name(status));
        printf("again %s\n", lathe_status_name(commit_number(n, sync)));
        printf("read %s\n", victim_check(store, n) ? "all" : "less");
    }
    lathe_store_close(store);
    return 0;
}
