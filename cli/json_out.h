/* json_out.h - JSON as Lathe writes it: compact, integers to 64 bits, doubles that read back the
 * same. */
#ifndef LATHE_CLI_JSON_OUT_H
#define LATHE_CLI_JSON_OUT_H
#include "common/base/bytes.h"
#include "lathe/v1/common.pb-c.h"

/* Appends a string with its quotes; what is not UTF-8 becomes U+FFFD. */
void lathe_json_string(struct lathe_buf *out, const char *text);
/* As few of 15 to 17 digits as read back to the same number, always with a point or an exponent, so
 * that it stays a double. */
void lathe_json_double(struct lathe_buf *out, double value);
/* The same for float32; integers have no point, since a vector's elements are floats anyway. */
void lathe_json_float(struct lathe_buf *out, float value);
void lathe_json_id(struct lathe_buf *out, const Lathe__V1__PointId *id);
void lathe_json_value(struct lathe_buf *out, const Lathe__V1__Value *value);
/* NULL is written as {}. */
void lathe_json_object(struct lathe_buf *out, const Lathe__V1__Object *object);
/* {"field": [..], ..}. Vectors that are not float32 are left out. */
void lathe_json_vectors(struct lathe_buf *out, Lathe__V1__NamedVector *const *vectors,
                        size_t count);
/* A field name, as `"name":`, after a comma unless `first`. */
void lathe_json_key(struct lathe_buf *out, bool first, const char *name);
#endif
