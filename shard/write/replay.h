/* replay.h - a shard's state made again from its log.
 *
 * Entries hold resolved effects, so no clock and no condition is asked. Vectors are not in the log:
 * they are read, by their rows, from the store that the log comes from, where only the rows of the
 * log's END are left. A row that is gone there was superseded later on and counts as "no row" until
 * its successor comes. So the state is right at the log's end, and only there. */
#ifndef LATHE_SHARD_REPLAY_H
#define LATHE_SHARD_REPLAY_H
#include "common/store/store.h"

/* Brings `into` (an empty store, or a checkpoint of `from`) to the end of the log of `from` as it
 * is at the call: points, payloads, vectors, collections, the clients' results and the log itself.
 * Both are open with every family, nobody else writes to `into`, and `from` may be in use. Every
 * entry is checked (checksum, hash of the one before), and at the end the counters of each
 * collection are compared with those of `from`. Takes the memory that serving `into` would.
 * Errors: DATA_LOSS names the sequence number of the entry that is damaged, missing or does not
 * follow from what is stored; OUT_OF_RANGE: the log no longer reaches back to where `into` stands;
 * FAILED_PRECONDITION: `into` is ahead of `from`; else those of the store. After a failure `into`
 * is of no use. Threads: one for `into`. */
LATHE_MUST_CHECK enum lathe_status lathe_replay(struct lathe_store *from, struct lathe_store *into,
                                                struct lathe_error *err);
#endif
