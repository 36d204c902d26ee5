/* commit.h - a shard's state as its writer keeps it, and the one way to change it: a group in the
 * making, its log entries, one synced batch, one publication.
 *
 *   lathe_commit_log() any number of times, then
 *   lathe_commit_run() -> OK: install what changed, lathe_commit_publish()
 *                      -> else: lathe_commit_undo()
 *
 * Owner: the writer thread; other threads only read the atomics. */
#ifndef LATHE_SHARD_COMMIT_H
#define LATHE_SHARD_COMMIT_H
#include <stdatomic.h>

#include "common/base/clock.h"
#include "shard/data/table.h"
#include "shard/write/group.h"
#include "shard/write/repeat.h"

struct lathe_commit {
    const struct lathe_clock *clock;
    struct lathe_store *store;
    struct lathe_publication *publication;
    struct lathe_budget *budget;
    uint32_t shard; /* for messages */
    struct lathe_tables tables;
    struct lathe_clients *clients;
    struct lathe_group *group;
    struct lathe_log_state_record log; /* with the group in the making */
    struct lathe_log_state_record log_committed;
    struct lathe_error read_only; /* status OK, or why nothing more is committed to this store */
    struct lathe_buf entry;       /* the log entry or state in the making */
    _Atomic bool disk_was_full;   /* read_only: the store must be opened anew */
    _Atomic uint64_t count;       /* publications of a commit */
    _Atomic uint64_t last_us;     /* time of the last one; 0 = none */
};

/* Takes over tables and clients (both are emptied, also on failure), and publishes them as loaded.
 * RESOURCE_EXHAUSTED: memory is short; fini() is due all the same. */
LATHE_MUST_CHECK enum lathe_status lathe_commit_init(struct lathe_commit *commit,
                                                     struct lathe_tables *tables,
                                                     struct lathe_clients **clients_p,
                                                     const struct lathe_log_state_record *log,
                                                     struct lathe_error *err);
void lathe_commit_fini(struct lathe_commit *commit);

/* Puts the next log entry into the group's batch; its sequence number and the hash of the one
 * before are filled in. */
LATHE_MUST_CHECK enum lathe_status lathe_commit_log(struct lathe_commit *commit,
                                                    struct lathe_log_entry *entry,
                                                    struct lathe_error *err);
/* Stores the group with the state of the log, synced. A commit that fails because the disk is full
 * makes the shard read-only; one that fails otherwise ends the process, for a failed sync must
 * never be tried again and the next start replays what was synced. */
LATHE_MUST_CHECK enum lathe_status lathe_commit_run(struct lathe_commit *commit,
                                                    struct lathe_error *err);
/* Seals what was committed, if anything was since the last seal. Fails as lathe_commit_run(). */
void lathe_commit_seal(struct lathe_commit *commit);
/* Gives up the group in the making: nothing of it was stored. */
void lathe_commit_undo(struct lathe_commit *commit);
/* After lathe_commit_run(): moves the group's rows into the tables, and empties it. */
void lathe_commit_install(struct lathe_commit *commit);
/* What is stored and what is shown would part ways, so the process ends, and the next start loads
 * what is stored. `doing` goes to the log. */
_Noreturn void lathe_commit_out_of_memory(const struct lathe_commit *commit, const char *doing);
/* Shows readers what is committed. */
void lathe_commit_publish(struct lathe_commit *commit);
#endif
