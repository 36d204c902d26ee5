/* test_catalog_local.c - the embedded catalog: entries, revisions, transactions, and what lasts. */
#include "tests/support/test.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/store/store.h"
#include "coordinator/catalog_local.h"

struct fixture {
    char *dir;
    char path[512];
    struct lathe_catalog *catalog;
};

static void open_catalog(struct fixture *fixture)
{
    assert_int_equal(lathe_catalog_local_open(fixture->path, &fixture->catalog, NULL), LATHE_OK);
}

static void close_catalog(struct fixture *fixture)
{
    fixture->catalog->ops->close(fixture->catalog);
    fixture->catalog = NULL;
}

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));

    fixture->dir = test_dir_create();
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/catalog", fixture->dir);
    open_catalog(fixture);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    close_catalog(fixture);
    test_dir_remove(fixture->dir);
    free(fixture);
    return 0;
}

static enum lathe_status put_if(struct lathe_catalog *catalog, const char *key, const char *value,
                                const uint64_t *revision)
{
    struct lathe_catalog_compare compare = {.key = lathe_bytes_str(key)};
    struct lathe_catalog_change change = {lathe_bytes_str(key), lathe_bytes_str(value), false};

    if (revision != NULL)
        compare.revision = *revision;
    return catalog->ops->transact(catalog, &compare, revision != NULL, &change, 1, NULL);
}

static void put(struct lathe_catalog *catalog, const char *key, const char *value)
{
    assert_int_equal(put_if(catalog, key, value, NULL), LATHE_OK);
}

/* Expects the value, and returns the revision; value NULL: expects that there is none. */
static uint64_t expect(struct lathe_catalog *catalog, const char *key, const char *value)
{
    struct lathe_catalog_entry entry;
    enum lathe_status status = catalog->ops->get(catalog, lathe_bytes_str(key), &entry, NULL);
    uint64_t revision = entry.revision;

    assert_int_equal(status, value != NULL ? LATHE_OK : LATHE_NOT_FOUND);
    if (value != NULL) {
        assert_true(lathe_bytes_equal(lathe_buf_view(&entry.key), lathe_bytes_str(key)));
        assert_true(lathe_bytes_equal(lathe_buf_view(&entry.value), lathe_bytes_str(value)));
        assert_int_not_equal(revision, 0);
    } else {
        assert_int_equal(revision, 0);
    }
    lathe_catalog_entry_fini(&entry);
    return revision;
}

static void entries_are_put_got_and_removed(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct lathe_catalog_change remove = {.key = lathe_bytes_str("a"), .remove = true};
    uint64_t first, second;

    expect(catalog, "a", NULL);
    put(catalog, "a", "one");
    first = expect(catalog, "a", "one");
    put(catalog, "b", "");
    expect(catalog, "b", "");
    put(catalog, "a", "two");
    second = expect(catalog, "a", "two");
    assert_true(second > first);
    assert_int_equal(catalog->ops->transact(catalog, NULL, 0, &remove, 1, NULL), LATHE_OK);
    expect(catalog, "a", NULL);
    put(catalog, "a", "two");
    assert_true(expect(catalog, "a", "two") > second); /* never a revision it had before */
}

static void a_transaction_needs_every_comparison(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct lathe_catalog_compare compares[] = {{.key = lathe_bytes_str("a")},
                                               {.key = lathe_bytes_str("new")}};
    struct lathe_catalog_change changes[] = {
        {lathe_bytes_str("a"), lathe_bytes_str("changed"), false},
        {lathe_bytes_str("new"), lathe_bytes_str("created"), false},
        {lathe_bytes_str("b"), lathe_bytes_of(NULL, 0), true},
    };
    struct lathe_error err;
    uint64_t revision;

    put(catalog, "a", "1");
    put(catalog, "b", "2");
    compares[0].revision = expect(catalog, "a", "1") + 1;
    assert_int_equal(catalog->ops->transact(catalog, compares, 2, changes, 3, &err), LATHE_ABORTED);
    assert_non_null(strstr(err.message, "revision"));
    expect(catalog, "a", "1");
    expect(catalog, "b", "2");
    expect(catalog, "new", NULL);

    compares[0].revision--;
    assert_int_equal(catalog->ops->transact(catalog, compares, 2, changes, 3, NULL), LATHE_OK);
    revision = expect(catalog, "a", "changed");
    assert_int_equal(expect(catalog, "new", "created"),
                     revision); /* one transaction, one revision */
    expect(catalog, "b", NULL);
    /* Now "new" is there: what wants to create it fails. */
    compares[0].revision = revision;
    assert_int_equal(catalog->ops->transact(catalog, compares, 2, changes, 3, NULL), LATHE_ABORTED);
    /* A transaction without changes only compares. */
    assert_int_equal(catalog->ops->transact(catalog, compares, 1, NULL, 0, NULL), LATHE_OK);
    assert_int_equal(catalog->ops->transact(catalog, compares, 2, NULL, 0, NULL), LATHE_ABORTED);
}

/* ---- Listing -------------------------------------------------------------------------------- */

struct listing {
    struct lathe_catalog *catalog;
    char text[256];
    int stop_after;
};

static enum lathe_status collect(void *context, const struct lathe_catalog_entry *entry)
{
    struct listing *listing = context;
    size_t used = strlen(listing->text);

    assert_int_not_equal(entry->revision, 0);
    (void)snprintf(listing->text + used, sizeof(listing->text) - used, "%.*s=%.*s ",
                   (int)entry->key.size, (const char *)entry->key.data, (int)entry->value.size,
                   (const char *)entry->value.data);
    if (listing->catalog != NULL) /* a visitor may use the catalog */
        put(listing->catalog, "c/9", "added while listing");
    return --listing->stop_after == 0 ? LATHE_CANCELLED : LATHE_OK;
}

static void expect_list(struct lathe_catalog *catalog, const char *prefix, const char *text)
{
    struct listing listing = {0};

    assert_int_equal(catalog->ops->list(catalog, lathe_bytes_str(prefix), collect, &listing, NULL),
                     LATHE_OK);
    assert_string_equal(listing.text, text);
}

static void listing_shows_a_prefix_in_order(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct listing listing = {.stop_after = 2};

    expect_list(catalog, "", "");
    put(catalog, "c/2", "two");
    put(catalog, "d", "x");
    put(catalog, "c/10", "ten");
    put(catalog, "b", "y");
    put(catalog, "c", "no slash");
    expect_list(catalog, "c/", "c/10=ten c/2=two ");
    expect_list(catalog, "", "b=y c=no slash c/10=ten c/2=two d=x ");
    expect_list(catalog, "c/10", "c/10=ten ");
    expect_list(catalog, "c/1000", "");
    expect_list(catalog, "z", "");
    assert_int_equal(catalog->ops->list(catalog, lathe_bytes_str(""), collect, &listing, NULL),
                     LATHE_CANCELLED); /* the visitor's own */
    assert_string_equal(listing.text, "b=y c=no slash ");
}

static void a_visitor_may_change_the_catalog_and_sees_it_as_it_was(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct listing listing = {.catalog = catalog};

    put(catalog, "c/1", "one");
    put(catalog, "c/2", "two");
    assert_int_equal(catalog->ops->list(catalog, lathe_bytes_str("c/"), collect, &listing, NULL),
                     LATHE_OK);
    assert_string_equal(listing.text, "c/1=one c/2=two ");
    expect_list(catalog, "c/", "c/1=one c/2=two c/9=added while listing ");
}

static void keys_of_any_bytes_are_kept_apart(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct lathe_catalog_change changes[] = {
        {lathe_bytes_of("", 0), lathe_bytes_str("empty"), false},
        {lathe_bytes_of("\0", 1), lathe_bytes_str("nul"), false},
        {lathe_bytes_of("\xff\xff", 2), lathe_bytes_str("high"), false},
    };
    struct lathe_catalog_entry entry;

    assert_int_equal(catalog->ops->transact(catalog, NULL, 0, changes, 3, NULL), LATHE_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(catalog->ops->get(catalog, changes[i].key, &entry, NULL), LATHE_OK);
        assert_true(lathe_bytes_equal(lathe_buf_view(&entry.value), changes[i].value));
        lathe_catalog_entry_fini(&entry);
    }
}

/* ---- Lasting -------------------------------------------------------------------------------- */

static void entries_and_revisions_last_over_a_restart(void **state)
{
    struct fixture *fixture = *state;
    struct lathe_catalog_change remove = {.key = lathe_bytes_str("b"), .remove = true};
    uint64_t a, b;

    put(fixture->catalog, "a", "one");
    put(fixture->catalog, "b", "two");
    a = expect(fixture->catalog, "a", "one");
    b = expect(fixture->catalog, "b", "two");
    assert_int_equal(fixture->catalog->ops->transact(fixture->catalog, NULL, 0, &remove, 1, NULL),
                     LATHE_OK);
    close_catalog(fixture);
    open_catalog(fixture);
    assert_int_equal(expect(fixture->catalog, "a", "one"), a);
    expect(fixture->catalog, "b", NULL);
    put(fixture->catalog, "b", "again");
    assert_true(expect(fixture->catalog, "b", "again") > b + 1); /* the removal had one, too */
}

static void a_second_open_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct lathe_catalog *second;
    struct lathe_error err;

    assert_int_equal(lathe_catalog_local_open(fixture->path, &second, &err),
                     LATHE_FAILED_PRECONDITION);
    assert_null(second);
    assert_string_not_equal(err.message, "");
    put(fixture->catalog, "a", "the first one still works");
}

static void stored_bytes_never_change(void **state)
{
    static const uint8_t revision[] = {2, 0, 0, 0, 0, 0, 0, 0};
    static const uint8_t stored[] = {1, 0, 0, 0, 0, 0, 0, 0, 'v', '1'};
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN,
                                        .families = LATHE_FAMILY_BIT(LATHE_FAMILY_META)};
    struct fixture *fixture = *state;
    struct lathe_store_value value;
    struct lathe_store *store;

    put(fixture->catalog, "key", "v1");
    put(fixture->catalog, "other", "v2");
    close_catalog(fixture);
    assert_int_equal(lathe_store_open(fixture->path, &config, &store, NULL), LATHE_OK);
    assert_int_equal(
        lathe_store_get(store, NULL, LATHE_FAMILY_META, lathe_bytes_str("\x02key"), &value, NULL),
        LATHE_OK);
    assert_true(value.found);
    assert_true(lathe_bytes_equal(value.bytes, lathe_bytes_of(stored, sizeof(stored))));
    lathe_store_value_release(&value);
    assert_int_equal(
        lathe_store_get(store, NULL, LATHE_FAMILY_META, lathe_bytes_str("\x01"), &value, NULL),
        LATHE_OK);
    assert_true(value.found);
    assert_true(lathe_bytes_equal(value.bytes, lathe_bytes_of(revision, sizeof(revision))));
    lathe_store_value_release(&value);
    lathe_store_close(store);
    open_catalog(fixture);
}

/* Puts raw bytes under a stored key, then opens the catalog again. */
static enum lathe_status reopen_with(struct fixture *fixture, const char *key, const char *bytes)
{
    struct lathe_store_config config = {.mode = LATHE_STORE_OPEN,
                                        .families = LATHE_FAMILY_BIT(LATHE_FAMILY_META)};
    struct lathe_store_batch *batch;
    struct lathe_store *store;

    close_catalog(fixture);
    assert_int_equal(lathe_store_open(fixture->path, &config, &store, NULL), LATHE_OK);
    batch = lathe_store_batch_create(store);
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_bytes_str(key), lathe_bytes_str(bytes));
    assert_int_equal(lathe_store_commit(store, batch, true, NULL), LATHE_OK);
    lathe_store_batch_destroy(batch);
    lathe_store_close(store);
    return lathe_catalog_local_open(fixture->path, &fixture->catalog, NULL);
}

static void damaged_entries_are_data_loss(void **state)
{
    struct lathe_catalog_compare compare = {.key = lathe_bytes_str("short"), .revision = 1};
    struct fixture *fixture = *state;
    struct lathe_catalog_entry entry;
    struct listing listing = {0};

    assert_int_equal(reopen_with(fixture, "\x02short", "1234567"), LATHE_OK);
    assert_int_equal(fixture->catalog->ops->get(fixture->catalog, compare.key, &entry, NULL),
                     LATHE_DATA_LOSS);
    assert_int_equal(
        fixture->catalog->ops->list(fixture->catalog, lathe_bytes_str(""), collect, &listing, NULL),
        LATHE_DATA_LOSS);
    assert_int_equal(fixture->catalog->ops->transact(fixture->catalog, &compare, 1, NULL, 0, NULL),
                     LATHE_DATA_LOSS);
    assert_int_equal(reopen_with(fixture, "\x01", "123"), LATHE_DATA_LOSS);
    assert_null(fixture->catalog);
    assert_int_equal(lathe_catalog_local_open(fixture->path, &fixture->catalog, NULL),
                     LATHE_DATA_LOSS); /* and again: the first failure left nothing open */
    test_dir_remove(fixture->dir);
    fixture->dir = test_dir_create();
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/catalog", fixture->dir);
    open_catalog(fixture);
}

/* ---- Threads -------------------------------------------------------------------------------- */

enum { THREADS = 4, INCREMENTS = 50 };

/* Adds to a counter by compare and swap; returns NULL after an error. */
static void *increment(void *context)
{
    struct lathe_catalog *catalog = context;

    for (int i = 0; i < INCREMENTS;) {
        struct lathe_catalog_entry entry;
        enum lathe_status status;
        char text[32] = "";

        if (catalog->ops->get(catalog, lathe_bytes_str("counter"), &entry, NULL) != LATHE_OK)
            return NULL;
        memcpy(text, entry.value.data, entry.value.size);
        (void)snprintf(text, sizeof(text), "%d", 1 + atoi(text));
        status = put_if(catalog, "counter", text, &entry.revision);
        lathe_catalog_entry_fini(&entry);
        if (status == LATHE_OK)
            i++;
        else if (status != LATHE_ABORTED)
            return NULL;
    }
    return context;
}

static void compare_and_swap_loses_nothing_between_threads(void **state)
{
    struct lathe_catalog *catalog = ((struct fixture *)*state)->catalog;
    struct lathe_catalog_change zero = {lathe_bytes_str("counter"), lathe_bytes_str("0"), false};
    struct lathe_catalog_entry entry;
    pthread_t threads[THREADS];

    assert_int_equal(catalog->ops->transact(catalog, NULL, 0, &zero, 1, NULL), LATHE_OK);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, increment, catalog), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;

        (void)pthread_join(threads[i], &result);
        assert_ptr_equal(result, catalog);
    }
    assert_int_equal(catalog->ops->get(catalog, lathe_bytes_str("counter"), &entry, NULL),
                     LATHE_OK);
    assert_memory_equal(entry.value.data, "200", 3);
    lathe_catalog_entry_fini(&entry);
}

#define WITH_CATALOG(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_CATALOG(entries_are_put_got_and_removed),
        WITH_CATALOG(a_transaction_needs_every_comparison),
        WITH_CATALOG(listing_shows_a_prefix_in_order),
        WITH_CATALOG(a_visitor_may_change_the_catalog_and_sees_it_as_it_was),
        WITH_CATALOG(keys_of_any_bytes_are_kept_apart),
        WITH_CATALOG(entries_and_revisions_last_over_a_restart),
        WITH_CATALOG(a_second_open_is_refused),
        WITH_CATALOG(stored_bytes_never_change),
        WITH_CATALOG(damaged_entries_are_data_loss),
        WITH_CATALOG(compare_and_swap_loses_nothing_between_threads),
    };

    return cmocka_run_group_tests_name("coordinator/catalog_local", tests, NULL, NULL);
}
