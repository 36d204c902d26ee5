/* load.h - a shard's state from its store, at start: collections, rows and where the log stands. */
#ifndef LATHE_SHARD_LOAD_H
#define LATHE_SHARD_LOAD_H
#include "shard/data/table.h"

/* Fills `tables` and *log_out. A collection whose stored bytes are damaged is loaded without rows
 * and says so in its `damage`; what concerns the whole shard is returned: DATA_LOSS, INTERNAL,
 * RESOURCE_EXHAUSTED. */
LATHE_MUST_CHECK enum lathe_status
lathe_load(struct lathe_store *store, struct lathe_budget *budget, struct lathe_tables *tables,
           struct lathe_log_state_record *log_out, struct lathe_error *err);
#endif
