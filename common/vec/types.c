/* types.c - names of metrics and element types; the check of a vector from outside. */
#include "common/vec/types.h"

#include <math.h>
#include <string.h>

#include "common/base/limits.h"
#include "common/vec/score.h"

const char *lathe_metric_name(enum lathe_metric metric)
{
    switch (metric) {
#define NAME(name, number, text) \
    case LATHE_##name:           \
        return text;
        LATHE_METRIC_TABLE(NAME)
#undef NAME
    }
    return NULL;
}

const char *lathe_element_name(enum lathe_element element)
{
    switch (element) {
#define NAME(name, number, text, bits) \
    case LATHE_##name:                 \
        return text;
        LATHE_ELEMENT_TABLE(NAME)
#undef NAME
    }
    return NULL;
}

bool lathe_metric_parse(const char *text, enum lathe_metric *metric_out)
{
#define PARSE(name, number, known)  \
    if (strcmp(text, known) == 0) { \
        *metric_out = LATHE_##name; \
        return true;                \
    }
    LATHE_METRIC_TABLE(PARSE)
#undef PARSE
    return false;
}

bool lathe_element_parse(const char *text, enum lathe_element *element_out)
{
#define PARSE(name, number, known, bits) \
    if (strcmp(text, known) == 0) {      \
        *element_out = LATHE_##name;     \
        return true;                     \
    }
    LATHE_ELEMENT_TABLE(PARSE)
#undef PARSE
    return false;
}

size_t lathe_element_bytes(enum lathe_element element, uint32_t dims)
{
    switch (element) {
#define BYTES(name, number, text, bits) \
    case LATHE_##name:                  \
        return ((size_t)dims * (bits) + 7) / 8;
        LATHE_ELEMENT_TABLE(BYTES)
#undef BYTES
    }
    return 0;
}

/* Says which of the two reasons made the squared norm of `x` unacceptable. */
static enum lathe_status refuse_norm(const float *x, uint32_t dims, double squared_norm,
                                     struct lathe_error *err)
{
    for (uint32_t i = 0; i < dims; i++) {
        float element;

        memcpy(&element, x + i, sizeof(element)); /* it may lie at any address */
        if (!isfinite(element))
            return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                              "element %u of the vector is %g; every element must be finite", i,
                              (double)element);
    }
    return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                      "the squared norm of the vector is %g; the limit is 2^100 = %g", squared_norm,
                      LATHE_MAX_SQUARED_NORM);
}

enum lathe_status lathe_vector_check_f32(const float *x, uint32_t dims, enum lathe_metric metric,
                                         bool allow_zero, struct lathe_error *err)
{
    /* Finite floats cannot overflow a double here, nor can their squares vanish: the sum is finite
     * exactly when every element is, and zero exactly when every element is. One pass tells all. */
    double squared_norm = lathe_squared_norm_f32(x, dims);

    if (!(squared_norm <= LATHE_MAX_SQUARED_NORM))
        return refuse_norm(x, dims, squared_norm, err);
    if (squared_norm == 0 && metric == LATHE_COSINE && !allow_zero)
        return lathe_fail(
            err, LATHE_INVALID_ARGUMENT,
            "the vector is zero, which has no direction under the cosine metric; this "
            "field rejects zero vectors");
    return LATHE_OK;
}
