/* mem.c - see mem.h. The only file that calls malloc and its kin. */
#include "common/base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *lathe_alloc(size_t size)
{
    return malloc(size > 0 ? size : 1);
}

void *lathe_zalloc(size_t size)
{
    return calloc(1, size > 0 ? size : 1);
}

void *lathe_alloc_array(size_t count, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(count, size, &total) ? NULL : lathe_alloc(total);
}

void *lathe_zalloc_array(size_t count, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(count, size, &total) ? NULL : lathe_zalloc(total);
}

void *lathe_realloc(void *memory, size_t size)
{
    return realloc(memory, size > 0 ? size : 1);
}

void *lathe_realloc_array(void *memory, size_t count, size_t size)
{
    size_t total;

    return __builtin_mul_overflow(count, size, &total) ? NULL : lathe_realloc(memory, total);
}

void *lathe_alloc_aligned(size_t alignment, size_t size)
{
    void *memory = NULL;

    return posix_memalign(&memory, alignment, size > 0 ? size : 1) == 0 ? memory : NULL;
}

char *lathe_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = lathe_alloc(size);

    return copy != NULL ? memcpy(copy, text, size) : NULL;
}

void lathe_free(void *memory)
{
    free(memory);
}

bool lathe_grow(void *array_p, size_t *capacity_p, size_t wanted, size_t size)
{
    void **array = array_p;
    size_t capacity = *capacity_p < 8 ? 8 : *capacity_p;
    void *grown;

    if (wanted <= *capacity_p)
        return true;
    while (capacity < wanted) {
        if (capacity > SIZE_MAX / 2)
            return false;
        capacity *= 2;
    }
    grown = lathe_realloc_array(*array, capacity, size);
    if (grown == NULL)
        return false;
    *array = grown;
    *capacity_p = capacity;
    return true;
}

const char *lathe_mem_part_name(enum lathe_mem_part part)
{
    static const char *const names[] = {
#define LATHE_MEM_PART_TEXT(name, text) text,
        LATHE_MEM_PART_TABLE(LATHE_MEM_PART_TEXT)
#undef LATHE_MEM_PART_TEXT
    };

    return names[part];
}

uint64_t lathe_budget_used(struct lathe_budget *budget)
{
    int64_t used = 0;

    for (int part = 0; part < LATHE_MEM_PARTS; part++)
        used += atomic_load_explicit(&budget->used_bytes[part], memory_order_relaxed);
    return used > 0 ? (uint64_t)used : 0;
}

void lathe_budget_charge(struct lathe_budget *budget, enum lathe_mem_part part, int64_t bytes)
{
    if (budget != NULL)
        atomic_fetch_add_explicit(&budget->used_bytes[part], bytes, memory_order_relaxed);
}

bool lathe_budget_has_room(struct lathe_budget *budget, uint64_t bytes, unsigned percent)
{
    uint64_t allowed;

    if (budget == NULL || budget->limit_bytes == 0)
        return true;
    allowed = budget->limit_bytes / 100 * percent;
    return bytes <= allowed && lathe_budget_used(budget) <= allowed - bytes;
}

static bool request_fits(struct lathe_budget *budget, uint64_t bytes)
{
    uint64_t share;
    int64_t used;

    if (lathe_budget_has_room(budget, bytes, 100))
        return true;
    share = budget->limit_bytes / 100 * LATHE_MEMORY_REQUEST_PERCENT;
    used = atomic_load_explicit(&budget->used_bytes[LATHE_MEM_REQUESTS], memory_order_relaxed);
    return bytes <= share && used <= (int64_t)(share - bytes);
}

bool lathe_budget_take_request(struct lathe_budget *budget, uint64_t bytes)
{
    if (!request_fits(budget, bytes))
        return false;
    lathe_budget_charge(budget, LATHE_MEM_REQUESTS, (int64_t)bytes);
    if (request_fits(budget, 0))
        return true;
    /* Another request took the room in between. */
    lathe_budget_charge(budget, LATHE_MEM_REQUESTS, -(int64_t)bytes);
    return false;
}

/* The number in a one-line file; 0 if there is none ("max" in a cgroup without a limit). */
static uint64_t number_in_file(const char *path)
{
    unsigned long long number = 0;
    FILE *file = fopen(path, "re");

    if (file == NULL)
        return 0;
    if (fscanf(file, "%llu", &number) != 1)
        number = 0;
    (void)fclose(file);
    return number;
}

uint64_t lathe_memory_default_limit(void)
{
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t cgroup = number_in_file("/sys/fs/cgroup/memory.max");

    if (cgroup == 0)
        cgroup = number_in_file("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    if (cgroup == 0 || cgroup > machine)
        cgroup = machine;
    return cgroup / 10 * 8;
}
