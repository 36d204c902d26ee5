/* collections_catalog.h - collections in the catalog: its keys, and the transactions on them.
 *
 *   "name/<name>"                 -> id, 4 bytes big-endian
 *   "id/<id, 4 bytes big-endian>" -> CollectionRecord (proto/catalog.proto)
 *   "next"                        -> the id that the next collection gets, 4 bytes big-endian
 * These never change. An id is given out once: "next" is compared and raised in the transaction
 * that uses it. */
#ifndef LATHE_COORDINATOR_COLLECTIONS_CATALOG_H
#define LATHE_COORDINATOR_COLLECTIONS_CATALOG_H
#include "coordinator/catalog.h"
#include "coordinator/collection.h"

/* Gives the draft its id and adds it. ABORTED: somebody else changed the catalog meanwhile, or the
 * name is there. RESOURCE_EXHAUSTED: no ids are left. */
LATHE_MUST_CHECK enum lathe_status lathe_catalog_add_collection(struct lathe_catalog *catalog,
                                                                struct lathe_collection *draft,
                                                                struct lathe_error *err);
/* NOT_FOUND: there is none of this name. ABORTED: as above. */
LATHE_MUST_CHECK enum lathe_status lathe_catalog_remove_collection(struct lathe_catalog *catalog,
                                                                   const char *name,
                                                                   struct lathe_error *err);

/* Called for each collection; a failure ends the load. */
typedef enum lathe_status lathe_catalog_collection_fn(void *context,
                                                      struct lathe_collection *collection,
                                                      struct lathe_error *err);
/* Reads everything. DATA_LOSS: a record is damaged. */
LATHE_MUST_CHECK enum lathe_status
lathe_catalog_load_collections(struct lathe_catalog *catalog, uint32_t *next_id_out,
                               lathe_catalog_collection_fn *visit, void *context,
                               struct lathe_error *err);
#endif
