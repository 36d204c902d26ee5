/* store_victim.h - what store_victim and the test that examines its remains agree on. */
#ifndef LATHE_TESTS_FAULT_STORE_VICTIM_H
#define LATHE_TESTS_FAULT_STORE_VICTIM_H
#include "common/store/store.h"

enum { VICTIM_VALUE_BYTES = 2000, VICTIM_KEPT = 300 };

enum lathe_status victim_open(const char *path, struct lathe_store **store_out,
                              struct lathe_error *err);
/* Bytes of original n. */
void victim_fill(uint8_t value[VICTIM_VALUE_BYTES], uint64_t n);
/* The number of the next commit. */
uint64_t victim_count(struct lathe_store *store);
/* True if exactly the commits 0..count-1 are there, each whole. */
bool victim_check(struct lathe_store *store, uint64_t count);
#endif
