/* hash.h - the hashes Lathe stores, sends or puts into tables, and random bytes. The doors to
 * libsodium and ISA-L. */
#ifndef LATHE_BASE_HASH_H
#define LATHE_BASE_HASH_H
#include "common/base/bytes.h"

enum { LATHE_SLOT_KEY_BYTES = 16, LATHE_DIGEST_BYTES = 16 };

/* Must be called before the rest of this header; again is harmless. False if the system gives no
 * random bytes. Threads: any. */
bool lathe_hash_init(void);

/* SipHash-2-4 (Aumasson, Bernstein 2012), 64 bits. */
uint64_t lathe_siphash(const uint8_t key[LATHE_SLOT_KEY_BYTES], struct lathe_bytes bytes);

/* The same under a key that this process drew in lathe_hash_init(): for tables in memory, so that
 * nobody outside can choose keys that meet. Differs from run to run: never stored, never sent. */
uint64_t lathe_hash_keyed(struct lathe_bytes bytes);

/* The slot of an id in a collection, 0..LATHE_SLOTS-1. `key` is the collection's own random key. */
uint32_t lathe_slot_of(const uint8_t key[LATHE_SLOT_KEY_BYTES], struct lathe_bytes idkey);

/* CRC-32C (Castagnoli, RFC 3720), of `bytes` continued from `crc`; begin with 0. */
uint32_t lathe_crc32c(uint32_t crc, struct lathe_bytes bytes);

/* BLAKE2b (RFC 7693) with a 16-byte result, over several pieces: request digests and the log's
 * chain. */
void lathe_digest(const struct lathe_bytes *parts, size_t part_count,
                  uint8_t digest_out[LATHE_DIGEST_BYTES]);

/* Cryptographically strong random bytes. */
void lathe_random(void *out, size_t size);
#endif
