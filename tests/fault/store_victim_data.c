/* store_victim_data.c - see store_victim.h. */
#include <string.h>

#include "common/store/keys.h"
#include "tests/fault/store_victim.h"

enum lathe_status victim_open(const char *path, struct lathe_store **store_out,
                              struct lathe_error *err)
{
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN_OR_CREATE,
                                        .families = LATHE_FAMILIES_ALL,
                                        .write_buffer_bytes = 1u << 20};

    return lathe_store_open(path, &config, store_out, err);
}

void victim_fill(uint8_t value[VICTIM_VALUE_BYTES], uint64_t n)
{
    uint64_t x = n * 0x9E3779B97F4A7C15u + 1;

    for (int i = 0; i < VICTIM_VALUE_BYTES; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        value[i] = (uint8_t)(x >> 32);
    }
}

uint64_t victim_count(struct lathe_store *store)
{
    struct lathe_key key = lathe_key_meta_named("count");
    struct lathe_store_value value;
    uint64_t count = 0;

    if (lathe_store_get(store, NULL, LATHE_FAMILY_META, lathe_key_view(&key), &value, NULL) !=
        LATHE_OK)
        return UINT64_MAX;
    if (value.found && value.bytes.size == 8)
        count = lathe_get_u64le(value.bytes.data);
    lathe_store_value_release(&value);
    return count;
}

/* A family's keys must be those of first..end-1, with the first `size` bytes of each value. */
static bool check_family(struct lathe_store *store, enum lathe_family family, uint64_t first,
                         uint64_t end, size_t size)
{
    struct lathe_store_scan scan = {.large = true};
    struct lathe_store_iter *iter = NULL;
    bool fine;

    if (lathe_store_iter_create(store, family, &scan, &iter, NULL) != LATHE_OK)
        return false;
    fine = true;
    lathe_store_iter_seek_first(iter);
    for (uint64_t n = first; n < end && fine; n++) {
        struct lathe_key key = family == LATHE_FAMILY_LOG ? lathe_key_log(n)
                                                          : lathe_key_original(1, 0, n);
        uint8_t want[VICTIM_VALUE_BYTES];

        victim_fill(want, n);
        fine = lathe_store_iter_valid(iter) &&
               lathe_bytes_equal(lathe_store_iter_key(iter), lathe_key_view(&key)) &&
               lathe_bytes_equal(lathe_store_iter_value(iter), lathe_bytes_of(want, size));
        if (fine)
            lathe_store_iter_next(iter);
    }
    fine = fine && !lathe_store_iter_valid(iter) && lathe_store_iter_status(iter, NULL) == LATHE_OK;
    lathe_store_iter_destroy(iter);
    return fine;
}

bool victim_check(struct lathe_store *store, uint64_t count)
{
    uint64_t first = count > VICTIM_KEPT ? count - VICTIM_KEPT : 0;

    return check_family(store, LATHE_FAMILY_LOG, 0, count, 100) &&
           check_family(store, LATHE_FAMILY_ORIGINALS, first, count, VICTIM_VALUE_BYTES);
}
