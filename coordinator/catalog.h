/* catalog.h - the truth about collections, behind one small interface: get, list, and a transaction
 * that compares revisions. The embedded implementation is catalog_local (RocksDB); etcd can stand
 * here later. Watch and lease join the table with the first implementation that several
 * coordinators share. */
#ifndef LATHE_COORDINATOR_CATALOG_H
#define LATHE_COORDINATOR_CATALOG_H
#include "common/base/bytes.h"

struct lathe_catalog;

/* One key with its value and the revision of its last change (0: the key does not exist). */
struct lathe_catalog_entry {
    struct lathe_buf key;
    struct lathe_buf value;
    uint64_t revision;
};

struct lathe_catalog_compare {
    struct lathe_bytes key;
    uint64_t revision; /* the key must still have it; 0: must not exist */
};

struct lathe_catalog_change {
    struct lathe_bytes key;
    struct lathe_bytes value;
    bool remove;
};

typedef enum lathe_status lathe_catalog_visit_fn(void *context,
                                                 const struct lathe_catalog_entry *entry);

struct lathe_catalog_ops {
    /* NOT_FOUND: no such key. */
    enum lathe_status (*get)(struct lathe_catalog *, struct lathe_bytes key,
                             struct lathe_catalog_entry *entry_out, struct lathe_error *err);
    /* Every key that begins with `prefix`, in byte order. */
    enum lathe_status (*list)(struct lathe_catalog *, struct lathe_bytes prefix,
                              lathe_catalog_visit_fn *visit, void *context,
                              struct lathe_error *err);
    /* All changes, durably, or (ABORTED, when a comparison fails) none. */
    enum lathe_status (*transact)(struct lathe_catalog *,
                                  const struct lathe_catalog_compare *compares,
                                  size_t compare_count, const struct lathe_catalog_change *changes,
                                  size_t change_count, struct lathe_error *err);
    void (*close)(struct lathe_catalog *);
};

struct lathe_catalog {
    const struct lathe_catalog_ops *ops;
};

void lathe_catalog_entry_fini(struct lathe_catalog_entry *entry);
#endif
