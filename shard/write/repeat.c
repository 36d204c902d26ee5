/* repeat.c - see repeat.h. */
#include "shard/write/repeat.h"

#include <inttypes.h>

#include "common/base/id.h"
#include "common/base/mem.h"
#include "common/base/table.h"
#include "common/store/keys.h"

struct client {
    uint8_t id[LATHE_CLIENT_ID_BYTES];
    struct lathe_client_record record; /* with the group in the making */
    struct lathe_client_record stored; /* as it was committed; valid when is_stored */
    bool is_stored;
    bool forgotten; /* in the group in the making */
    bool touched;   /* in the list below */
    struct client *next_touched;
    UT_hash_handle hh;
};

struct lathe_clients {
    struct lathe_store *store;
    struct client *known;
    struct client *touched; /* by the group in the making */
    /* Clients silent since before this time were forgotten, with the group in the making, and as it
     * was committed. It only grows, whatever the clocks do. */
    uint64_t forgotten_before_ms;
    uint64_t stored_forgotten_before_ms;
};

static struct lathe_key forgotten_key(void)
{
    return lathe_key_meta_named("clients-forgotten-before");
}

static struct client *client_find(const struct lathe_clients *clients, const uint8_t *id)
{
    struct client *client = NULL;

    HASH_FIND(hh, clients->known, id, LATHE_CLIENT_ID_BYTES, client);
    return client;
}

static struct client *client_add(struct lathe_clients *clients, const uint8_t *id)
{
    struct client *client = lathe_zalloc(sizeof(*client));

    if (client == NULL)
        return NULL;
    memcpy(client->id, id, sizeof(client->id));
    HASH_ADD(hh, clients->known, id, sizeof(client->id), client);
    if (!lathe_table_holds(&client->hh)) {
        lathe_free(client);
        return NULL;
    }
    return client;
}

static enum lathe_status load_one(struct lathe_clients *clients, struct lathe_bytes key_bytes,
                                  struct lathe_bytes value, struct lathe_error *err)
{
    struct lathe_meta_key key;
    struct lathe_client_record record;
    struct client *client;
    enum lathe_status rc = lathe_key_meta_parse(key_bytes, &key, err);

    if (rc == LATHE_OK)
        rc = lathe_client_record_decode(value, &record, err);
    if (rc != LATHE_OK)
        return rc;
    client = client_add(clients, key.client_id);
    if (client == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the clients' memory");
    client->record = client->stored = record;
    client->is_stored = true;
    return LATHE_OK;
}

static enum lathe_status load_forgotten(struct lathe_clients *clients, struct lathe_error *err)
{
    struct lathe_key key = forgotten_key();
    struct lathe_store_value value;
    enum lathe_status rc = lathe_store_get(clients->store, NULL, LATHE_FAMILY_META,
                                           lathe_key_view(&key), &value, err);

    if (rc == LATHE_OK && value.found) {
        if (value.bytes.size == sizeof(uint64_t))
            clients->forgotten_before_ms = lathe_get_u64le(value.bytes.data);
        else
            rc = lathe_fail(err, LATHE_DATA_LOSS, "the record of forgotten clients has %zu bytes",
                            value.bytes.size);
    }
    clients->stored_forgotten_before_ms = clients->forgotten_before_ms;
    lathe_store_value_release(&value);
    return rc;
}

enum lathe_status lathe_clients_open(struct lathe_store *store, struct lathe_clients **clients_out,
                                     struct lathe_error *err)
{
    struct lathe_key_range range = lathe_key_range_meta(LATHE_META_CLIENT);
    struct lathe_store_scan scan = {.lower = lathe_key_view(&range.lower),
                                    .upper = lathe_key_view(&range.upper)};
    struct lathe_store_iter *iter = NULL;
    struct lathe_clients *clients = lathe_zalloc(sizeof(*clients));
    enum lathe_status rc;

    *clients_out = NULL;
    if (clients == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the clients' memory");
    clients->store = store;
    rc = lathe_store_iter_create(store, LATHE_FAMILY_META, &scan, &iter, err);
    if (rc == LATHE_OK) {
        for (lathe_store_iter_seek_first(iter); rc == LATHE_OK && lathe_store_iter_valid(iter);
             lathe_store_iter_next(iter))
            rc = load_one(clients, lathe_store_iter_key(iter), lathe_store_iter_value(iter), err);
        if (rc == LATHE_OK)
            rc = lathe_store_iter_status(iter, err);
    }
    lathe_store_iter_destroy(iter);
    if (rc == LATHE_OK)
        rc = load_forgotten(clients, err);
    if (rc == LATHE_OK)
        *clients_out = clients;
    else
        lathe_clients_close(clients);
    return rc;
}

void lathe_clients_close(struct lathe_clients *clients)
{
    struct client *client, *next;

    if (clients == NULL)
        return;
    HASH_ITER(hh, clients->known, client, next)
    {
        HASH_DEL(clients->known, client);
        lathe_free(client);
    }
    lathe_free(clients);
}

/* An id that may have been forgotten is refused, for a repeat could not be told from a new request.
 * A client that was forgotten wrote last before forgotten_before_ms, and its id was made no later
 * than LATHE_CLIENT_AHEAD_MS after that. */
static enum lathe_status new_client_check(const struct lathe_clients *clients,
                                          const struct lathe_request_key *key,
                                          struct lathe_error *err)
{
    uint64_t made_ms = lathe_uuid_time_ms(key->client_id);

    if (clients->forgotten_before_ms > 0 &&
        (made_ms < clients->forgotten_before_ms ||
         made_ms - clients->forgotten_before_ms < LATHE_CLIENT_AHEAD_MS))
        return lathe_fail_field(err, LATHE_FAILED_PRECONDITION, "client_id",
                                "clients as old as this id were forgotten here, so a repeat could "
                                "not be told from a new request: make a new client id (by a clock "
                                "that is right)");
    if (made_ms + LATHE_CLIENT_FORGET_MS < key->time_ms)
        return lathe_fail_field(err, LATHE_FAILED_PRECONDITION, "client_id",
                                "this client id is older than 24 h and unknown here, so a repeat "
                                "could not be told from a new request: make a new client id");
    if (made_ms > key->time_ms && made_ms - key->time_ms > LATHE_CLIENT_AHEAD_MS)
        return lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "client_id",
                                "this client id is dated %" PRIu64
                                " ms ahead of the server's clock, the limit is %llu (10 min): "
                                "set the client's clock and make a new client id",
                                made_ms - key->time_ms, LATHE_CLIENT_AHEAD_MS);
    return LATHE_OK;
}

/* The refusals that concern a client's age and number. */
static enum lathe_status age_check(const struct lathe_clients *clients, const struct client *client,
                                   const struct lathe_request_key *key, struct lathe_error *err)
{
    if (client == NULL) {
        enum lathe_status rc = new_client_check(clients, key, err);

        if (rc != LATHE_OK)
            return rc;
        if (HASH_COUNT(clients->known) >= LATHE_MAX_CLIENTS)
            return lathe_fail_field(
                err, LATHE_RESOURCE_EXHAUSTED, "client_id",
                "%d clients have written in the last 24 h, the limit of a shard",
                LATHE_MAX_CLIENTS);
        return LATHE_OK;
    }
    if (key->number < client->record.floor)
        return lathe_fail_field(err, LATHE_FAILED_PRECONDITION, "request_number",
                                "request number %" PRIu64
                                " is too old: results are kept from %" PRIu64 " on (the last %u)",
                                key->number, client->record.floor, LATHE_CLIENT_WINDOW);
    return LATHE_OK;
}

enum lathe_status lathe_clients_check(struct lathe_clients *clients,
                                      const struct lathe_request_key *key,
                                      struct lathe_result_record *record_out,
                                      struct lathe_result **results_out, struct lathe_error *err)
{
    struct client *client = client_find(clients, key->client_id);
    struct lathe_key result_key = lathe_key_meta_result(key->client_id, key->number);
    struct lathe_store_value value;
    enum lathe_status rc = age_check(clients, client, key, err);

    *record_out = (struct lathe_result_record){0};
    if (rc != LATHE_OK || client == NULL || key->number > client->record.max_number)
        return rc;
    rc = lathe_store_get(clients->store, NULL, LATHE_FAMILY_META, lathe_key_view(&result_key),
                         &value, err);
    if (rc != LATHE_OK)
        return rc;
    if (value.found)
        rc = lathe_result_record_decode(value.bytes, record_out, results_out, err);
    lathe_store_value_release(&value);
    if (rc == LATHE_OK && record_out->result_count > 0 &&
        memcmp(record_out->digest, key->digest, LATHE_DIGEST_BYTES) != 0)
        rc = lathe_fail_field(err, LATHE_INVALID_ARGUMENT, "request_number",
                              "request number %" PRIu64 " was used before for other content",
                              key->number);
    return rc;
}

/* Deletes the results below the new floor. */
static void raise_floor(struct lathe_store_batch *batch, const uint8_t *id, uint64_t from,
                        uint64_t to)
{
    if (to - from <= LATHE_CLIENT_WINDOW) {
        for (uint64_t number = from; number < to; number++) {
            struct lathe_key key = lathe_key_meta_result(id, number);

            lathe_store_batch_delete(batch, LATHE_FAMILY_META, lathe_key_view(&key));
        }
    } else {
        struct lathe_key_range range = lathe_key_range_results(id, from, to);

        lathe_store_batch_delete_range(batch, LATHE_FAMILY_META, lathe_key_view(&range.lower),
                                       lathe_key_view(&range.upper));
    }
}

static void put(struct lathe_store_batch *batch, const struct lathe_key *key, struct lathe_buf *buf)
{
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(key), lathe_buf_view(buf));
    lathe_buf_clear(buf);
}

static void touch(struct lathe_clients *clients, struct client *client)
{
    if (client->touched)
        return;
    client->touched = true;
    client->next_touched = clients->touched;
    clients->touched = client;
}

static void settle_one(struct lathe_clients *clients, struct client *client, bool committed)
{
    bool stays = committed ? !client->forgotten : client->is_stored;

    if (!stays) {
        HASH_DEL(clients->known, client);
        lathe_free(client);
        return;
    }
    if (committed)
        client->stored = client->record;
    else
        client->record = client->stored;
    client->is_stored = true;
    client->forgotten = client->touched = false;
}

void lathe_clients_settle(struct lathe_clients *clients, bool committed)
{
    while (clients->touched != NULL) {
        struct client *client = clients->touched;

        clients->touched = client->next_touched;
        settle_one(clients, client, committed);
    }
    if (committed)
        clients->stored_forgotten_before_ms = clients->forgotten_before_ms;
    else
        clients->forgotten_before_ms = clients->stored_forgotten_before_ms;
}

enum lathe_status lathe_clients_remember(struct lathe_clients *clients,
                                         struct lathe_store_batch *batch,
                                         const struct lathe_request_key *key,
                                         const struct lathe_result_record *record,
                                         struct lathe_error *err)
{
    struct client *client = client_find(clients, key->client_id);
    struct lathe_key client_key = lathe_key_meta_client(key->client_id);
    struct lathe_key result_key = lathe_key_meta_result(key->client_id, key->number);
    struct lathe_buf buf = {0};
    uint64_t floor;
    bool failed;

    if (client == NULL)
        client = client_add(clients, key->client_id);
    if (client == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a client's memory");
    touch(clients, client);
    if (key->number > client->record.max_number)
        client->record.max_number = key->number;
    if (key->time_ms > client->record.last_ms)
        client->record.last_ms = key->time_ms;
    floor = client->record.max_number >= LATHE_CLIENT_WINDOW
                ? client->record.max_number - (LATHE_CLIENT_WINDOW - 1)
                : 0;
    if (floor > client->record.floor) {
        raise_floor(batch, key->client_id, client->record.floor, floor);
        client->record.floor = floor;
    }
    lathe_client_record_encode(&client->record, &buf);
    failed = buf.failed;
    put(batch, &client_key, &buf);
    lathe_result_record_encode(record, &buf);
    failed = failed || buf.failed;
    put(batch, &result_key, &buf);
    lathe_buf_fini(&buf);
    return failed ? lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a result") : LATHE_OK;
}

size_t lathe_clients_forget(struct lathe_clients *clients, struct lathe_store_batch *batch,
                            uint64_t before_ms)
{
    struct client *client, *next;
    struct lathe_key record_key = forgotten_key();
    uint8_t record[sizeof(uint64_t)];
    size_t forgotten = 0;

    if (before_ms > clients->forgotten_before_ms)
        clients->forgotten_before_ms = before_ms;
    lathe_put_u64le(record, clients->forgotten_before_ms);
    lathe_store_batch_put(batch, LATHE_FAMILY_META, lathe_key_view(&record_key),
                          lathe_bytes_of(record, sizeof(record)));
    HASH_ITER(hh, clients->known, client, next)
    {
        struct lathe_key key = lathe_key_meta_client(client->id);
        struct lathe_key last = lathe_key_meta_result(client->id, UINT64_MAX);
        struct lathe_key_range range;

        if (client->record.last_ms >= before_ms)
            continue;
        range = lathe_key_range_results(client->id, 0, UINT64_MAX);
        lathe_store_batch_delete(batch, LATHE_FAMILY_META, lathe_key_view(&key));
        lathe_store_batch_delete_range(batch, LATHE_FAMILY_META, lathe_key_view(&range.lower),
                                       lathe_key_view(&range.upper));
        lathe_store_batch_delete(batch, LATHE_FAMILY_META, lathe_key_view(&last));
        client->forgotten = true;
        touch(clients, client);
        forgotten++;
    }
    return forgotten;
}

bool lathe_clients_any_before(const struct lathe_clients *clients, uint64_t before_ms)
{
    for (const struct client *client = clients->known; client != NULL; client = client->hh.next)
        if (client->record.last_ms < before_ms)
            return true;
    return false;
}
