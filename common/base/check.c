/* check.c - what happens when our own code is wrong: say where, and stop before it does harm. */
#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void lathe_check_failed(const char *condition, const char *file, int line)
{
    (void)fprintf(stderr, "lathe: check failed: %s (%s:%d)\n", condition, file, line);
    abort();
}
