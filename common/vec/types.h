/* types.h - metrics and element types, by the numbers that are stored and sent, and the check that
 * every vector from outside passes. */
#ifndef LATHE_VEC_TYPES_H
#define LATHE_VEC_TYPES_H
#include <stddef.h>

#include "common/base/status.h"

/* name, number, text. The numbers are those of the public API and of the stored catalog. */
#define LATHE_METRIC_TABLE(X)    \
    X(COSINE, 1, "cosine")       \
    X(DOT, 2, "dot")             \
    X(EUCLIDEAN, 3, "euclidean") \
    X(MANHATTAN, 4, "manhattan")

/* name, number, text, bits an element. */
#define LATHE_ELEMENT_TABLE(X)     \
    X(FLOAT32, 1, "float32", 32)   \
    X(FLOAT16, 2, "float16", 16)   \
    X(BFLOAT16, 3, "bfloat16", 16) \
    X(INT8, 4, "int8", 8)          \
    X(UINT8, 5, "uint8", 8)        \
    X(BIT, 6, "bit", 1)

enum lathe_metric {
#define LATHE_METRIC_ENUM(name, number, text) LATHE_##name = (number),
    LATHE_METRIC_TABLE(LATHE_METRIC_ENUM)
#undef LATHE_METRIC_ENUM
};

enum lathe_element {
#define LATHE_ELEMENT_ENUM(name, number, text, bits) LATHE_##name = (number),
    LATHE_ELEMENT_TABLE(LATHE_ELEMENT_ENUM)
#undef LATHE_ELEMENT_ENUM
};

/* "cosine", "float32" and so on; NULL for a number outside the table. */
const char *lathe_metric_name(enum lathe_metric metric);
const char *lathe_element_name(enum lathe_element element);

/* The number of a name, exactly as the functions above write it. False for any other text. */
bool lathe_metric_parse(const char *text, enum lathe_metric *metric_out);
bool lathe_element_parse(const char *text, enum lathe_element *element_out);

/* Bytes that `dims` elements take when stored; bits are packed 8 a byte, the last byte filled up
 * with zero bits. 0 for a number outside the table. */
size_t lathe_element_bytes(enum lathe_element element, uint32_t dims);

/* Refuses what Lathe neither stores nor searches with: an element that is not finite (the message
 * names the first by its index), a squared norm above LATHE_MAX_SQUARED_NORM, and under cosine a
 * zero vector unless `allow_zero`. The squared norm is the sum of score.h, in its order, so that
 * every machine draws the same line. `dims` is 1..LATHE_MAX_DIMS; no alignment is assumed.
 * Errors: INVALID_ARGUMENT. Threads: any. */
LATHE_MUST_CHECK enum lathe_status lathe_vector_check_f32(const float *x, uint32_t dims,
                                                          enum lathe_metric metric, bool allow_zero,
                                                          struct lathe_error *err);
#endif
