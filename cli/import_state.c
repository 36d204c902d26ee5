/* import_state.c - see import_state.h. The file is one JSON object. */
#include "cli/import_state.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/import_batch.h"
#include "cli/json_out.h"
#include "common/base/hash.h"
#include "common/base/mem.h"

enum { STATE_VERSION = 1 };

/* A client id is as good as new for an hour less than the server remembers it. */
#define CLIENT_LIFE_MS (LATHE_CLIENT_FORGET_MS - 3600ull * 1000ull)

void lathe_import_state_init(struct lathe_import_state *state, const struct lathe_rows *rows,
                             uint64_t wall_ms)
{
    memset(state, 0, sizeof(*state));
    lathe_uuid_new(wall_ms, state->import_id);
    lathe_import_state_renew(state, wall_ms);
    state->batch_rows = LATHE_IMPORT_BATCH_ROWS;
    state->batch_bytes = LATHE_IMPORT_BATCH_BYTES;
    state->untouched = true;
    state->file_bytes = lathe_rows_bytes(rows);
    state->file_modified_ns = lathe_rows_modified_ns(rows);
    state->done = lathe_rows_position(rows);
}

void lathe_import_state_renew(struct lathe_import_state *state, uint64_t wall_ms)
{
    lathe_uuid_new(wall_ms, state->client_id);
    state->next_request = 1;
    state->fresh_request = 2;
}

/* ~/.local/state/lathe/DIGEST.lathe-import; NULL if there is no home or memory. */
static char *fallback_path(const char *file, const char *(*environment)(const char *name))
{
    const char *base = environment("XDG_STATE_HOME");
    const char *home = environment("HOME");
    char real[PATH_MAX];
    struct lathe_bytes part = lathe_bytes_str(realpath(file, real) != NULL ? real : file);
    struct lathe_buf path = {0};
    uint8_t digest[LATHE_DIGEST_BYTES];

    lathe_digest(&part, 1, digest);
    if (base != NULL && base[0] == '/')
        lathe_buf_printf(&path, "%s", base);
    else if (home != NULL && home[0] == '/')
        lathe_buf_printf(&path, "%s/.local/state", home);
    else
        return NULL;
    lathe_buf_printf(&path, "/lathe/%016" PRIx64 ".lathe-import", lathe_get_u64le(digest));
    lathe_buf_u8(&path, 0);
    if (path.failed)
        lathe_buf_fini(&path);
    return (char *)path.data;
}

/* Makes the directories above a file; a failure shows when the file is written. */
static void make_parents(char *path)
{
    for (char *p = path + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        (void)mkdir(path, 0700);
        *p = '/';
    }
}

/* True if files can be made in the directory that a path lies in. */
static bool parent_writable(const char *path)
{
    const char *slash = strrchr(path, '/');
    char parent[PATH_MAX];

    if (slash == NULL)
        return access(".", W_OK | X_OK) == 0;
    if ((size_t)(slash - path) + 1 >= sizeof(parent))
        return false;
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path) + 1, path);
    return access(parent, W_OK | X_OK) == 0;
}

char *lathe_import_state_path(const char *file, const char *(*environment)(const char *name))
{
    struct lathe_buf beside = {0};
    char *path;

    if (!parent_writable(file)) {
        path = fallback_path(file, environment);
        if (path != NULL) {
            make_parents(path);
            return path;
        }
    }
    lathe_buf_printf(&beside, "%s.lathe-import", file);
    lathe_buf_u8(&beside, 0);
    if (beside.failed)
        lathe_buf_fini(&beside);
    return (char *)beside.data;
}

static bool copy_text(char *out, size_t size, const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL && snprintf(out, size, "%s", text) < (int)size;
}

static bool copy_uuid(uint8_t out[16], const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text != NULL && lathe_uuid_parse(lathe_bytes_str(text), out);
}

static bool copy_number(uint64_t *out, uint64_t max, const json_t *json, const char *key)
{
    json_t *number = json_object_get(json, key);
    json_int_t value = json_integer_value(number);

    *out = (uint64_t)value;
    return json_is_integer(number) && value >= 0 && *out <= max;
}

static bool copy_u32(uint32_t *out, const json_t *json, const char *key)
{
    uint64_t number;
    bool copied = copy_number(&number, UINT32_MAX, json, key);

    *out = (uint32_t)number;
    return copied;
}

static bool state_of_json(const json_t *json, struct lathe_import_state *s)
{
    char first_id[24];
    struct lathe_idkey id;

    if (!copy_text(s->server, sizeof(s->server), json, "server") ||
        !copy_text(s->collection, sizeof(s->collection), json, "collection") ||
        !copy_u32(&s->collection_id, json, "collection_id") ||
        !copy_text(s->field, sizeof(s->field), json, "field") ||
        !copy_text(first_id, sizeof(first_id), json, "first_id") ||
        lathe_idkey_parse(first_id, &id, NULL) != LATHE_OK ||
        lathe_idkey_kind(lathe_idkey_view(&id)) != LATHE_ID_NUMBER)
        return false;
    s->first_id = lathe_idkey_as_number(lathe_idkey_view(&id));
    return copy_uuid(s->import_id, json, "import_id") &&
           copy_uuid(s->client_id, json, "client_id") &&
           copy_number(&s->next_request, INT64_MAX, json, "next_request") &&
           copy_number(&s->fresh_request, INT64_MAX, json, "fresh_request") &&
           copy_number(&s->done.row, INT64_MAX, json, "row") &&
           copy_number(&s->done.line, INT64_MAX, json, "line") &&
           copy_number(&s->done.offset, INT64_MAX, json, "offset") &&
           copy_number(&s->file_bytes, INT64_MAX, json, "file_bytes") &&
           copy_number(&s->file_modified_ns, INT64_MAX, json, "file_modified_ns") &&
           copy_u32(&s->done.crc, json, "prefix_crc32c") &&
           copy_u32(&s->batch_rows, json, "batch_rows") &&
           copy_u32(&s->batch_bytes, json, "batch_bytes") && s->next_request > 0 &&
           s->fresh_request > s->next_request && s->done.offset <= s->file_bytes;
}

enum lathe_status lathe_import_state_load(const char *path, struct lathe_import_state *state_out,
                                          struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;
    json_error_t reason;
    json_t *json;

    memset(state_out, 0, sizeof(*state_out));
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return lathe_fail(err, LATHE_NOT_FOUND, "there is no %s", path);
    json = json_load_file(path, JSON_REJECT_DUPLICATES, &reason);
    if (json == NULL)
        return lathe_fail(err, LATHE_DATA_LOSS, "the state of the import in %s is damaged: %s",
                          path, reason.text);
    if (json_integer_value(json_object_get(json, "version")) != STATE_VERSION ||
        !state_of_json(json, state_out))
        rc = lathe_fail(err, LATHE_DATA_LOSS,
                        "the state of the import in %s is damaged: a value is missing or wrong",
                        path);
    json_decref(json);
    return rc;
}

static void append_state(const struct lathe_import_state *s, struct lathe_buf *out)
{
    char uuid[37];

    lathe_buf_printf(out, "{\n  \"version\": %d,\n  ", STATE_VERSION);
    lathe_json_key(out, true, "server");
    lathe_json_string(out, s->server);
    lathe_json_key(out, false, "collection");
    lathe_json_string(out, s->collection);
    lathe_json_key(out, false, "field");
    lathe_json_string(out, s->field);
    lathe_buf_printf(out, ",\n  \"collection_id\": %u, \"first_id\": \"%" PRIu64 "\",\n",
                     s->collection_id, s->first_id);
    lathe_uuid_format(s->import_id, uuid);
    lathe_buf_printf(out, "  \"import_id\": \"%s\",\n", uuid);
    lathe_uuid_format(s->client_id, uuid);
    lathe_buf_printf(out, "  \"client_id\": \"%s\",\n", uuid);
    lathe_buf_printf(out, "  \"next_request\": %" PRIu64 ", \"fresh_request\": %" PRIu64 ",\n",
                     s->next_request, s->fresh_request);
    lathe_buf_printf(out,
                     "  \"row\": %" PRIu64 ", \"line\": %" PRIu64 ", \"offset\": %" PRIu64 ",\n",
                     s->done.row, s->done.line, s->done.offset);
    lathe_buf_printf(out, "  \"file_bytes\": %" PRIu64 ", \"file_modified_ns\": %" PRIu64 ",\n",
                     s->file_bytes, s->file_modified_ns);
    lathe_buf_printf(out, "  \"prefix_crc32c\": %u, \"batch_rows\": %u, \"batch_bytes\": %u\n}\n",
                     s->done.crc, s->batch_rows, s->batch_bytes);
}

static bool write_file(const char *path, const struct lathe_buf *text)
{
    FILE *file = fopen(path, "we");
    bool written;

    if (file == NULL)
        return false;
    written = fwrite(text->data, 1, text->size, file) == text->size;
    return fclose(file) == 0 && written;
}

enum lathe_status lathe_import_state_save(const char *path, const struct lathe_import_state *state,
                                          struct lathe_error *err)
{
    struct lathe_buf text = {0}, temporary = {0};
    enum lathe_status rc = LATHE_OK;

    append_state(state, &text);
    lathe_buf_printf(&temporary, "%s.new", path);
    lathe_buf_u8(&temporary, 0);
    /* The new file takes the old one's place whole, so a kill leaves one of the two. */
    if (text.failed || temporary.failed)
        rc = lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the state of the import");
    else if (!write_file((const char *)temporary.data, &text) ||
             rename((const char *)temporary.data, path) != 0)
        rc = lathe_fail(err, LATHE_INTERNAL, "the state of the import cannot be written to %s: %s",
                        path, strerror(errno));
    lathe_buf_fini(&text);
    lathe_buf_fini(&temporary);
    return rc;
}

void lathe_import_state_remove(const char *path)
{
    (void)unlink(path);
}

/* True if the file still begins with what was imported from it. */
static enum lathe_status prefix_compare(const struct lathe_import_state *saved,
                                        struct lathe_rows *rows, bool *same_out,
                                        struct lathe_error *err)
{
    uint32_t crc;
    enum lathe_status rc;

    *same_out = false;
    if (saved->done.offset > lathe_rows_bytes(rows))
        return LATHE_OK;
    rc = lathe_rows_crc(rows, saved->done.offset, &crc, err);
    if (rc == LATHE_OK)
        *same_out = crc == saved->done.crc;
    return rc;
}

enum lathe_status lathe_import_state_compare(const struct lathe_import_state *saved,
                                             const struct lathe_import_state *wanted,
                                             struct lathe_rows *rows, uint64_t wall_ms,
                                             enum lathe_import_resume *resume_out,
                                             struct lathe_error *err)
{
    bool file_same = saved->file_bytes == wanted->file_bytes &&
                     saved->file_modified_ns == wanted->file_modified_ns;
    bool batches_same = saved->batch_rows == wanted->batch_rows &&
                        saved->batch_bytes == wanted->batch_bytes;
    bool prefix_same = true;

    *resume_out = LATHE_IMPORT_RESUME;
    if (strcmp(saved->server, wanted->server) != 0 ||
        strcmp(saved->collection, wanted->collection) != 0 ||
        strcmp(saved->field, wanted->field) != 0 || saved->first_id != wanted->first_id) {
        *resume_out = LATHE_IMPORT_OTHER_IMPORT;
        return LATHE_OK;
    }
    if (saved->collection_id != wanted->collection_id) {
        *resume_out = LATHE_IMPORT_START_OVER; /* dropped and made again under the same name */
        return LATHE_OK;
    }
    if (!file_same) {
        enum lathe_status rc = prefix_compare(saved, rows, &prefix_same, err);

        if (rc != LATHE_OK)
            return rc;
    }
    if (!prefix_same)
        *resume_out = LATHE_IMPORT_START_OVER;
    else if (!file_same || !batches_same ||
             lathe_uuid_time_ms(saved->client_id) + CLIENT_LIFE_MS < wall_ms)
        *resume_out = LATHE_IMPORT_RESUME_NEW;
    return LATHE_OK;
}
