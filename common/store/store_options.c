/* store_options.c - how RocksDB is set up, and why. Measured in docs/decisions/0003. */
#include "common/base/mem.h"
#include "common/store/store_internal.h"

enum {
    KIB = 1024,
    MIB = 1024 * 1024,
    DEFAULT_WRITE_BUFFER_BYTES = 256 * MIB,
    MIN_FAMILY_BUFFER_BYTES = 256 * KIB,
    DEFAULT_JOBS = 2,
    INFO_LOG_FATAL = 4, /* RocksDB's InfoLogLevel; the C interface has no name for it */
    OPEN_FILES = 512,   /* a store; 8 shards stay within 4,096 descriptors */
    BLOOM_BITS = 10     /* 1 % false answers */
};

struct family_setup {
    uint32_t block_bytes;
    int compression;         /* of upper levels */
    int bottom_compression;  /* of the level that holds nine tenths */
    uint32_t buffer_share;   /* its memtable may take 1/share of write_buffer_bytes */
    uint32_t file_bytes;     /* SST files of this size */
    uint32_t min_blob_bytes; /* values from this size on lie in blob files; 0 = none do */
    uint32_t blob_file_bytes;
    int blob_compression;
    bool bloom;       /* asked for single keys that may be absent */
    bool blob_cached; /* values are read again soon */
};

static const struct family_setup setups[LATHE_FAMILIES] = {
    /* Looked up by id on every write, most ids are new: the filter answers without a read. */
    [LATHE_FAMILY_POINTS] = {16 * KIB, rocksdb_lz4_compression, rocksdb_lz4_compression, 8,
                             32 * MIB, 0, 0, 0, true, false},
    [LATHE_FAMILY_ORDER] = {16 * KIB, rocksdb_lz4_compression, rocksdb_lz4_compression, 8, 32 * MIB,
                            0, 0, 0, true, false},
    /* Vectors do not compress, and compaction of 3 KB values would copy each of them several
     * times; in blob files they are written once. Row ids only grow, so overwriting rows leaves
     * old blob files dead as a whole, and they go without being read. A flush makes one blob file;
     * files of 32 MiB at most let small collections give space back in small pieces. The scan
     * core keeps the hot rows itself, so no cache holds them twice. */
    [LATHE_FAMILY_ORIGINALS] = {16 * KIB, rocksdb_no_compression, rocksdb_no_compression, 4,
                                8 * MIB, 256, 32 * MIB, rocksdb_no_compression, false, false},
    /* Small payloads compress well together; one above 4 KiB is not copied at each compaction. */
    [LATHE_FAMILY_PAYLOAD] = {16 * KIB, rocksdb_lz4_compression, rocksdb_zstd_compression, 8,
                              32 * MIB, 4 * KIB, 32 * MIB, rocksdb_lz4_compression, false, true},
    [LATHE_FAMILY_SEGMENTS] = {64 * KIB, rocksdb_no_compression, rocksdb_no_compression, 8,
                               32 * MIB, 4 * KIB, 64 * MIB, rocksdb_no_compression, false, false},
    [LATHE_FAMILY_IDS] = {16 * KIB, rocksdb_lz4_compression, rocksdb_lz4_compression, 8, 32 * MIB,
                          0, 0, 0, true, false},
    [LATHE_FAMILY_META] = {16 * KIB, rocksdb_lz4_compression, rocksdb_lz4_compression, 8, 8 * MIB,
                           0, 0, 0, true, false},
    /* Written once, trimmed from the front, seldom read: cheap to write comes first, and files are
     * small enough that trimming frees space in steps of a few percent. */
    [LATHE_FAMILY_LOG] = {64 * KIB, rocksdb_no_compression, rocksdb_no_compression, 8, 8 * MIB, 0,
                          0, 0, false, false},
};

static uint64_t write_buffer_bytes(const struct lathe_store_config *config)
{
    return config->write_buffer_bytes != 0 ? config->write_buffer_bytes
                                           : DEFAULT_WRITE_BUFFER_BYTES;
}

/* What the C interface has no setter for. `options` is replaced. */
static enum lathe_status set_by_text(rocksdb_options_t **options_p, struct lathe_error *err)
{
    /* Without preallocation an empty store takes no disk, and a file is as long as what was
     * written to it. Measured: no slower. And the manifest says which older write-ahead logs there
     * are and how long they were synced, so that one that is missing or cut is noticed. */
    static const char text[] = "allow_fallocate=false;track_and_verify_wals_in_manifest=true";
    rocksdb_options_t *changed = rocksdb_options_create();
    char *failure = NULL;

    rocksdb_get_options_from_string(*options_p, text, changed, &failure);
    rocksdb_options_destroy(*options_p);
    *options_p = changed;
    return lathe_store_result(&failure, "set options", err);
}

static void set_table(rocksdb_options_t *options, uint32_t block_bytes, bool bloom,
                      const struct lathe_store_cache *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();

    rocksdb_block_based_options_set_block_cache(table, cache->cache);
    rocksdb_block_based_options_set_block_size(table, block_bytes);
    rocksdb_block_based_options_set_format_version(table, 5);
    /* Indexes and filters live in the cache too, so that its size is the whole bill. */
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    if (bloom)
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(BLOOM_BITS));
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_blobs(rocksdb_options_t *options, const struct family_setup *setup,
                      const struct lathe_store_cache *cache)
{
    if (setup->min_blob_bytes == 0)
        return;
    rocksdb_options_set_enable_blob_files(options, 1);
    rocksdb_options_set_min_blob_size(options, setup->min_blob_bytes);
    rocksdb_options_set_blob_file_size(options, setup->blob_file_bytes);
    rocksdb_options_set_blob_compression_type(options, setup->blob_compression);
    if (setup->blob_cached)
        rocksdb_options_set_blob_cache(options, cache->cache);
    /* Compactions of their own accord move no blobs: each would copy the live rows of the oldest
     * files, dead ones among them or not. lathe_store_reclaim() switches this on for a step when
     * there is enough to gain. */
    rocksdb_options_set_enable_blob_gc(options, 0);
}

rocksdb_options_t *lathe_store_options(const struct lathe_store_config *config,
                                       const struct lathe_store_cache *cache,
                                       struct lathe_error *err)
{
    rocksdb_options_t *options = rocksdb_options_create();
    uint64_t buffers = write_buffer_bytes(config);
    int jobs = config->background_jobs != 0 ? (int)config->background_jobs : DEFAULT_JOBS;

    rocksdb_options_set_create_if_missing(options, config->mode != LATHE_STORE_OPEN);
    rocksdb_options_set_error_if_exists(options, config->mode == LATHE_STORE_CREATE);
    /* A family that a later version added is made in an old store. */
    rocksdb_options_set_create_missing_column_families(options, 1);

    rocksdb_options_set_paranoid_checks(options, 1);
    /* The mode that never drops what was acknowledged without a word: an incomplete record at the
     * end of the log is dropped, a wrong byte in front of that end fails the open. Point-in-time
     * recovery (RocksDB's default) would stop there silently and lose the synced records behind it;
     * absolute consistency would refuse every store whose machine lost power while it wrote. That
     * what was not synced is not always a clean prefix is store_check.c's part, which goes before.
     */
    rocksdb_options_set_wal_recovery_mode(options,
                                          rocksdb_tolerate_corrupted_tail_records_recovery);
    rocksdb_options_set_recycle_log_file_num(options, 0);

    rocksdb_options_set_db_write_buffer_size(options, (size_t)buffers);
    /* Bounds the replay at the next start, about a second for the default. */
    rocksdb_options_set_max_total_wal_size(options, buffers);
    rocksdb_options_set_max_background_jobs(options, jobs);
    /* Lets a file reach the disk while it is written, not all at its end, where the commits'
     * syncs would wait behind it. */
    rocksdb_options_set_bytes_per_sync(options, MIB);

    /* Loading reads every original in key order: the kernel must be allowed to read ahead. */
    rocksdb_options_set_advise_random_on_open(options, 0);
    rocksdb_options_set_max_open_files(options, OPEN_FILES);
    rocksdb_options_set_skip_stats_update_on_db_open(options, 1);
    /* RocksDB's own journal, file LOG, stays empty: where asserts are compiled in, as in Debian's
     * library, a failed write to it (a full disk) ends the process, and the C interface cannot
     * replace it. Without a size limit the level is heeded for its headers too. Failures reach our
     * own log with the text of the call that met them. */
    rocksdb_options_set_info_log_level(options, INFO_LOG_FATAL);
    rocksdb_options_set_max_log_file_size(options, 0);
    rocksdb_options_set_keep_log_file_num(options, 1);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_max_manifest_file_size(options, 16 * MIB);

    /* For RocksDB's own family, lest it makes a cache of its own. */
    set_table(options, 4 * KIB, false, cache);
    if (set_by_text(&options, err) != LATHE_OK) {
        rocksdb_options_destroy(options);
        return NULL;
    }
    return options;
}

rocksdb_options_t *lathe_store_family_options(const rocksdb_options_t *store_options,
                                              const struct lathe_store_config *config,
                                              const struct lathe_store_cache *cache,
                                              enum lathe_family family)
{
    const struct family_setup *setup = &setups[family];
    /* The C interface forgot a const; the copy leaves its source as it is. */
    rocksdb_options_t *options = rocksdb_options_create_copy((rocksdb_options_t *)store_options);
    uint64_t buffer = write_buffer_bytes(config) / setup->buffer_share;

    if (buffer < MIN_FAMILY_BUFFER_BYTES)
        buffer = MIN_FAMILY_BUFFER_BYTES;
    rocksdb_options_set_write_buffer_size(options, (size_t)buffer);
    /* One is filled while two are written out: a burst does not wait for the disk. */
    rocksdb_options_set_max_write_buffer_number(options, 3);
    rocksdb_options_set_target_file_size_base(options, setup->file_bytes);
    rocksdb_options_set_max_bytes_for_level_base(options, 4ull * setup->file_bytes);
    /* Nine tenths of the data in the last level, always: dead versions above it stay few. */
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_compression(options, setup->compression);
    rocksdb_options_set_bottommost_compression(options, setup->bottom_compression);
    set_table(options, setup->block_bytes, setup->bloom, cache);
    set_blobs(options, setup, cache);
    return options;
}
