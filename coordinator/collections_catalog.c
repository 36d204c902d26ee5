/* collections_catalog.c - see collections_catalog.h. */
#include "coordinator/collections_catalog.h"

struct catalog_key {
    uint8_t bytes[5 + LATHE_MAX_NAME_BYTES];
    size_t size;
};

static struct lathe_bytes key_view(const struct catalog_key *key)
{
    return lathe_bytes_of(key->bytes, key->size);
}

static struct catalog_key key_of_name(const char *name)
{
    struct catalog_key key = {.size = 5 + strlen(name)};

    memcpy(key.bytes, "name/", 5);
    memcpy(key.bytes + 5, name, key.size - 5);
    return key;
}

static struct catalog_key key_of_id(uint32_t id)
{
    struct catalog_key key = {.size = 7};

    memcpy(key.bytes, "id/", 3);
    lathe_put_u32be(key.bytes + 3, id);
    return key;
}

/* Revision and value of a key that holds a 4-byte number; an absent one is (0, 0). */
static enum lathe_status number_get(struct lathe_catalog *catalog, struct lathe_bytes key,
                                    uint32_t *number_out, uint64_t *revision_out,
                                    struct lathe_error *err)
{
    struct lathe_catalog_entry entry = {0};
    enum lathe_status status = catalog->ops->get(catalog, key, &entry, err);

    *number_out = 0;
    *revision_out = 0;
    if (status == LATHE_NOT_FOUND)
        return LATHE_OK;
    if (status == LATHE_OK && entry.value.size != 4)
        status = lathe_fail(err, LATHE_DATA_LOSS,
                            "the catalog holds %zu bytes where a number of 4 "
                            "bytes should be",
                            entry.value.size);
    if (status == LATHE_OK) {
        *number_out = lathe_get_u32be(entry.value.data);
        *revision_out = entry.revision;
    }
    lathe_catalog_entry_fini(&entry);
    return status;
}

enum lathe_status lathe_catalog_add_collection(struct lathe_catalog *catalog,
                                               struct lathe_collection *draft,
                                               struct lathe_error *err)
{
    struct lathe_bytes next_key = lathe_bytes_str("next");
    struct catalog_key name_key = key_of_name(draft->name);
    struct lathe_buf record = {0};
    struct catalog_key id_key;
    uint8_t id_value[4];
    uint8_t next_value[4];
    uint64_t revision;
    enum lathe_status status;

    status = number_get(catalog, next_key, &draft->id, &revision, err);
    if (status != LATHE_OK)
        return status;
    draft->id = revision == 0 ? 1 : draft->id;
    if (draft->id >= UINT32_MAX - 1)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "all %u collection ids were used",
                          draft->id);
    id_key = key_of_id(draft->id);
    lathe_put_u32be(id_value, draft->id);
    lathe_put_u32be(next_value, draft->id + 1);
    lathe_collection_encode(draft, &record);
    if (record.failed) {
        lathe_buf_fini(&record);
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a collection's record");
    }
    status = catalog->ops->transact(
        catalog, (struct lathe_catalog_compare[]){{key_view(&name_key), 0}, {next_key, revision}},
        2,
        (struct lathe_catalog_change[]){
            {key_view(&name_key), lathe_bytes_of(id_value, 4), false},
            {key_view(&id_key), lathe_buf_view(&record), false},
            {next_key, lathe_bytes_of(next_value, 4), false},
        },
        3, err);
    lathe_buf_fini(&record);
    return status;
}

enum lathe_status lathe_catalog_remove_collection(struct lathe_catalog *catalog, const char *name,
                                                  struct lathe_error *err)
{
    struct catalog_key name_key = key_of_name(name);
    struct catalog_key id_key;
    uint64_t revision;
    uint32_t id;
    enum lathe_status status = number_get(catalog, key_view(&name_key), &id, &revision, err);

    if (status != LATHE_OK)
        return status;
    if (revision == 0)
        return lathe_fail_field(err, LATHE_NOT_FOUND, "name", "there is no collection \"%s\"",
                                name);
    id_key = key_of_id(id);
    return catalog->ops->transact(
        catalog, (struct lathe_catalog_compare[]){{key_view(&name_key), revision}}, 1,
        (struct lathe_catalog_change[]){
            {key_view(&name_key), {NULL, 0}, true},
            {key_view(&id_key), {NULL, 0}, true},
        },
        2, err);
}

/* ---- Load -------------------------------------------------------------------------------------
 */

struct load {
    lathe_catalog_collection_fn *visit;
    void *context;
    struct lathe_error *err;
};

static enum lathe_status load_visit(void *context, const struct lathe_catalog_entry *entry)
{
    struct load *load = context;
    struct lathe_collection *collection;
    enum lathe_status status = lathe_collection_decode(lathe_buf_view(&entry->value), &collection,
                                                       load->err);

    if (status != LATHE_OK)
        return status;
    status = load->visit(load->context, collection, load->err);
    lathe_collection_release(&collection);
    return status;
}

enum lathe_status lathe_catalog_load_collections(struct lathe_catalog *catalog,
                                                 uint32_t *next_id_out,
                                                 lathe_catalog_collection_fn *visit, void *context,
                                                 struct lathe_error *err)
{
    struct load load = {visit, context, err};
    uint64_t revision;
    enum lathe_status status = number_get(catalog, lathe_bytes_str("next"), next_id_out, &revision,
                                          err);

    if (status != LATHE_OK)
        return status;
    if (revision == 0)
        *next_id_out = 1;
    return catalog->ops->list(catalog, lathe_bytes_str("id/"), load_visit, &load, err);
}
