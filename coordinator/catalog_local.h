/* catalog_local.h - the embedded catalog: one RocksDB directory that one coordinator owns.
 *
 * Stored bytes, all in family META, never changed:
 *   0x01                 -> u64le: the revision of the last transaction
 *   0x02 | the key       -> u64le: revision of the entry's last change | the value
 * Every transaction has the next revision, and commits it with its changes in one synced batch. So
 * revisions only grow, also over removals and restarts, and a key that comes back never has a
 * revision it had before. */
#ifndef LATHE_COORDINATOR_CATALOG_LOCAL_H
#define LATHE_COORDINATOR_CATALOG_LOCAL_H
#include "coordinator/catalog.h"

/* Opens the catalog in directory `path` (its parent exists), or makes an empty one.
 * Owner:   the caller, who gives it up with (*catalog_out)->ops->close().
 * Errors:  as lathe_store_open(): FAILED_PRECONDITION when it is open elsewhere, DATA_LOSS when it
 * is damaged. Threads: every operation may be called from any thread; transactions are serialised,
 * reads do not wait for them. A visitor of list() sees the catalog as it was when list() began. */
LATHE_MUST_CHECK enum lathe_status lathe_catalog_local_open(const char *path,
                                                            struct lathe_catalog **catalog_out,
                                                            struct lathe_error *err);
#endif
