/* repeat.h - the memory that makes repeating a write safe: who wrote, and what the last results
 * were.
 *
 * For each client a shard keeps the results of its last LATHE_CLIENT_WINDOW request numbers, in the
 * same batch as the data, and a floor below which numbers are refused. A client silent for 24 h is
 * forgotten; an unknown client whose id carries an older time, or one more than 24 h ahead, is
 * refused. Owner: the writer thread.
 */
#ifndef LATHE_SHARD_REPEAT_H
#define LATHE_SHARD_REPEAT_H
#include "common/store/store.h"
#include "shard/data/record.h"

struct lathe_clients;

enum { LATHE_MAX_CLIENTS = 262144 }; /* remembered by one shard */

/* Reads what is stored. Owner: the caller. */
LATHE_MUST_CHECK enum lathe_status lathe_clients_open(struct lathe_store *store,
                                                      struct lathe_clients **clients_out,
                                                      struct lathe_error *err);
void lathe_clients_close(struct lathe_clients *clients); /* NULL is accepted */

struct lathe_request_key {
    const uint8_t *client_id; /* 16 bytes */
    uint64_t number;
    const uint8_t *digest; /* LATHE_DIGEST_BYTES */
    uint64_t time_ms;
};

/* LATHE_OK: *record_out holds an earlier request's results (result_count > 0, in *results_out,
 * which grows), or nothing (0): the request is new. FAILED_PRECONDITION: too old a number or
 * client. INVALID_ARGUMENT: the number belongs to another request, or the client id is dated ahead.
 * RESOURCE_EXHAUSTED: too many clients. DATA_LOSS: the stored result is malformed. */
LATHE_MUST_CHECK enum lathe_status lathe_clients_check(struct lathe_clients *clients,
                                                       const struct lathe_request_key *key,
                                                       struct lathe_result_record *record_out,
                                                       struct lathe_result **results_out,
                                                       struct lathe_error *err);

/* Puts a new request's results into the batch, and takes off those below the new floor. What is
 * remembered here stands only after settle(). */
LATHE_MUST_CHECK enum lathe_status lathe_clients_remember(struct lathe_clients *clients,
                                                          struct lathe_store_batch *batch,
                                                          const struct lathe_request_key *key,
                                                          const struct lathe_result_record *record,
                                                          struct lathe_error *err);

/* Forgets in the batch, and here with settle(), every client silent since before `before_ms`.
 * Returns how many. */
size_t lathe_clients_forget(struct lathe_clients *clients, struct lathe_store_batch *batch,
                            uint64_t before_ms);
/* After the commit of the batch that remember() and forget() filled: what they did stands. Not
 * committed: it is undone, as if they had not been called. */
void lathe_clients_settle(struct lathe_clients *clients, bool committed);
/* True if forget() would find one. */
bool lathe_clients_any_before(const struct lathe_clients *clients, uint64_t before_ms);
#endif
