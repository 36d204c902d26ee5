/* check.h - the checks that everything from outside passes before any shard hears of it. Pure.
 *
 * Each failure names the field by its path in the message it was given ("dense.values"); callers
 * put what they know of the path in front with lathe_error_in(). */
#ifndef LATHE_COORDINATOR_API_CHECK_H
#define LATHE_COORDINATOR_API_CHECK_H
#include "common/base/id.h"
#include "coordinator/collection.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/common.pb-c.h"

/* No control characters (C0, DEL, C1). */
LATHE_MUST_CHECK enum lathe_status lathe_check_no_control(const char *name,
                                                          struct lathe_error *err);
/* A collection's name: 1..LATHE_MAX_NAME_BYTES, no control characters, no '/'. */
LATHE_MUST_CHECK enum lathe_status lathe_check_collection_name(const char *name,
                                                               struct lathe_error *err);

/* A whole create request, made a draft for lathe_collections_submit(). Owner: the caller releases
 * it. */
LATHE_MUST_CHECK enum lathe_status
lathe_check_create(const Lathe__V1__CreateCollectionRequest *request,
                   struct lathe_collection **draft_out, struct lathe_error *err);

/* An id. A missing one is INVALID_ARGUMENT. Paths start below the id: "", "uuid" or "string". */
LATHE_MUST_CHECK enum lathe_status
lathe_check_id(const Lathe__V1__PointId *id, struct lathe_idkey *key_out, struct lathe_error *err);

/* The field of this name, which must exist. */
LATHE_MUST_CHECK enum lathe_status lathe_check_field(const struct lathe_collection *collection,
                                                     const char *name,
                                                     const struct lathe_field **field_out,
                                                     struct lathe_error *err);

/* A vector's elements as float32 bytes: one form, a known element type, whole elements. They are
 * views into the message. */
LATHE_MUST_CHECK enum lathe_status lathe_check_elements(const Lathe__V1__Vector *vector,
                                                        struct lathe_bytes *elements_out,
                                                        struct lathe_error *err);
/* A vector to be stored in `field`: elements, dims, finite, norm, the rule on zero vectors. */
LATHE_MUST_CHECK enum lathe_status lathe_check_stored_vector(const Lathe__V1__Vector *vector,
                                                             const struct lathe_field *field,
                                                             struct lathe_bytes *elements_out,
                                                             struct lathe_error *err);

/* A payload: every value has a kind, doubles are finite, keys are unique in each object, at most
 * LATHE_MAX_VALUE_DEPTH lists and objects deep (the payload itself is the first), at most
 * `max_bytes` encoded. Fields that this version does not know are removed, so that what is stored
 * is what was checked. */
LATHE_MUST_CHECK enum lathe_status lathe_check_payload(Lathe__V1__Object *payload,
                                                       uint64_t max_bytes, struct lathe_error *err);

/* What to return of each point, with fields as numbers. */
struct lathe_selection {
    bool payload;
    bool vectors;
    uint32_t field_count; /* 0: all */
    uint32_t fields[LATHE_MAX_FIELDS];
};

/* `selection` may be NULL: nothing but ids. */
LATHE_MUST_CHECK enum lathe_status lathe_check_selection(const Lathe__V1__Selection *selection,
                                                         const struct lathe_collection *collection,
                                                         struct lathe_selection *selection_out,
                                                         struct lathe_error *err);
/* True if vectors of this field are wanted. */
bool lathe_selection_wants(const struct lathe_selection *selection, uint32_t field);
#endif
