/* hash.c - see hash.h. The only file that includes libsodium and ISA-L. */
#include "common/base/hash.h"

#include <isa-l/crc.h>
#include <limits.h>
#include <pthread.h>
#include <sodium.h>

#include "common/base/check.h"
#include "common/base/limits.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool ready;
static uint8_t process_key[LATHE_SLOT_KEY_BYTES];

/* Once: tables that hold elements already need the key to stay. */
static void init(void)
{
    ready = sodium_init() >= 0;
    if (ready)
        lathe_random(process_key, sizeof(process_key));
}

bool lathe_hash_init(void)
{
    return pthread_once(&once, init) == 0 && ready;
}

uint64_t lathe_siphash(const uint8_t key[LATHE_SLOT_KEY_BYTES], struct lathe_bytes bytes)
{
    uint8_t out[crypto_shorthash_siphash24_BYTES];

    (void)crypto_shorthash_siphash24(out, bytes.data, bytes.size, key);
    return lathe_get_u64le(out);
}

uint64_t lathe_hash_keyed(struct lathe_bytes bytes)
{
    return lathe_siphash(process_key, bytes);
}

uint32_t lathe_slot_of(const uint8_t key[LATHE_SLOT_KEY_BYTES], struct lathe_bytes idkey)
{
    return (uint32_t)(lathe_siphash(key, idkey) % LATHE_SLOTS);
}

uint32_t lathe_crc32c(uint32_t crc, struct lathe_bytes bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;

    crc = ~crc;
    while (left > 0) {
        int piece = left > INT_MAX ? INT_MAX : (int)left;

        /* ISA-L takes a pointer to non-const but only reads. */
        crc = crc32_iscsi((unsigned char *)(uintptr_t)at, piece, crc);
        at += piece;
        left -= (size_t)piece;
    }
    return ~crc;
}

void lathe_digest(const struct lathe_bytes *parts, size_t part_count,
                  uint8_t digest_out[LATHE_DIGEST_BYTES])
{
    crypto_generichash_state state;

    (void)crypto_generichash_init(&state, NULL, 0, LATHE_DIGEST_BYTES);
    for (size_t i = 0; i < part_count; i++)
        (void)crypto_generichash_update(&state, parts[i].data, parts[i].size);
    (void)crypto_generichash_final(&state, digest_out, LATHE_DIGEST_BYTES);
}

void lathe_random(void *out, size_t size)
{
    randombytes_buf(out, size);
}
