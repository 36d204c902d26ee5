/* kernel_table.c - every kernel set of this build, and the choice among them. */
#include <stdio.h>
#include <string.h>

#include "shard/kernel/cpu.h"
#include "shard/kernel/kernel.h"

/* Fastest first; "auto" takes the first that can run, and scalar always can. */
const struct lathe_kernel_set *const lathe_kernel_sets[] = {
#if defined(__x86_64__)
    &lathe_kernel_avx512,
    &lathe_kernel_avx2,
#endif
    &lathe_kernel_scalar,
};
const size_t lathe_kernel_set_count = sizeof(lathe_kernel_sets) / sizeof(lathe_kernel_sets[0]);

static bool can_run(const struct lathe_kernel_set *set, uint32_t cpu)
{
    return (set->cpu_needed & ~cpu) == 0;
}

static enum lathe_status fail_unknown(const char *name, struct lathe_error *err)
{
    char names[128] = "auto";

    for (size_t i = 0; i < lathe_kernel_set_count; i++) {
        size_t used = strlen(names);

        snprintf(names + used, sizeof(names) - used, ", %s", lathe_kernel_sets[i]->name);
    }
    return lathe_fail(err, LATHE_INVALID_ARGUMENT, "kernel \"%s\" is none of: %s", name, names);
}

static enum lathe_status fail_missing(const struct lathe_kernel_set *set, uint32_t cpu,
                                      struct lathe_error *err)
{
    char missing[64], present[64];

    lathe_cpu_describe(set->cpu_needed & ~cpu, missing, sizeof(missing));
    lathe_cpu_describe(cpu, present, sizeof(present));
    return lathe_fail(err, LATHE_FAILED_PRECONDITION,
                      "kernel \"%s\" cannot run here: the processor or the operating system lacks "
                      "%s (present: %s)",
                      set->name, missing, present);
}

enum lathe_status lathe_kernel_select(const char *name, uint32_t cpu,
                                      const struct lathe_kernel_set **set_out,
                                      struct lathe_error *err)
{
    bool any = strcmp(name, "auto") == 0;

    *set_out = NULL;
    for (size_t i = 0; i < lathe_kernel_set_count; i++) {
        const struct lathe_kernel_set *set = lathe_kernel_sets[i];

        if (any ? !can_run(set, cpu) : strcmp(name, set->name) != 0)
            continue;
        if (!can_run(set, cpu))
            return fail_missing(set, cpu, err);
        *set_out = set;
        return LATHE_OK;
    }
    return fail_unknown(name, err);
}
