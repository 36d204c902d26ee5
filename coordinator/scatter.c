/* scatter.c - the memory of scatters; see engine.h. */
#include "common/base/check.h"
#include "common/base/mem.h"
#include "coordinator/engine.h"

static void parts_free(struct lathe_scatter *scatter)
{
    for (size_t i = 0; i < scatter->part_count; i++) {
        lathe_frame_fini(&scatter->parts[i].request);
        lathe_frame_fini(&scatter->parts[i].reply);
    }
    lathe_free(scatter->parts);
    scatter->parts = NULL;
    scatter->part_count = 0;
}

bool lathe_scatter_reset(struct lathe_scatter *scatter, size_t part_count)
{
    LATHE_REQUIRE(part_count > 0);
    parts_free(scatter);
    scatter->give_up_us = 0;
    scatter->parts = lathe_zalloc_array(part_count, sizeof(*scatter->parts));
    if (scatter->parts == NULL)
        return false;
    scatter->part_count = part_count;
    return true;
}

void lathe_scatter_fini(struct lathe_scatter *scatter)
{
    parts_free(scatter);
}

const struct lathe_part *lathe_scatter_failed(const struct lathe_scatter *scatter)
{
    for (size_t i = 0; i < scatter->part_count; i++)
        if (scatter->parts[i].error.status != LATHE_OK)
            return &scatter->parts[i];
    return NULL;
}
