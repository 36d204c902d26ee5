/* test_alloc.c - memory that runs out when a test says so. For tests that are linked with
 * -Wl,--wrap=lathe_alloc. */
#include "tests/support/test.h"

#include <stdatomic.h>

void *__real_lathe_alloc(size_t size);
void *__wrap_lathe_alloc(size_t size);

static atomic_size_t fail_size;
static atomic_int passes;

void test_alloc_fail(size_t size, int let_pass)
{
    atomic_store(&passes, let_pass);
    atomic_store(&fail_size, size);
}

bool test_alloc_failed(void)
{
    return atomic_load(&fail_size) == 0;
}

void *__wrap_lathe_alloc(size_t size)
{
    size_t wanted = atomic_load(&fail_size);

    if (wanted == 0 || (wanted != SIZE_MAX && wanted != size) || atomic_fetch_sub(&passes, 1) > 0)
        return __real_lathe_alloc(size);
    atomic_store(&fail_size, 0);
    return NULL;
}
