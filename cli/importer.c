/* importer.c - see importer.h. */
#include "cli/importer.h"

#include <stdio.h>
#include <stdlib.h>

#include "cli/import_batch.h"
#include "common/base/mem.h"
#include "lathe/v1/points.pb-c.h"

enum { BACKOFF_FIRST_MS = 50, BACKOFF_LONGEST_MS = 2000 };

struct importer {
    const struct lathe_importer_config *config;
    struct lathe_write_stream *stream; /* NULL = to be opened */
    struct lathe_import_batch *ring;   /* LATHE_IMPORT_WINDOW of them, the oldest at `first` */
    size_t first;
    size_t count;           /* batches not acknowledged, in the order of the file */
    size_t sent;            /* the first so many of them are on the stream */
    uint64_t fresh;         /* the next request number */
    bool probing;           /* numbers from `fresh` on may be in use, each for its own batch */
    bool ended;             /* no further batch is made */
    struct lathe_error end; /* why, if it is not the end of the file */
    uint64_t progress_us;   /* the last acknowledgement */
    uint32_t backoff_ms;
};

static struct lathe_import_batch *batch_at(const struct importer *im, size_t index)
{
    return &im->ring[(im->first + index) % LATHE_IMPORT_WINDOW];
}

static enum lathe_status batch_seal(struct importer *im, size_t index, uint64_t number,
                                    struct lathe_error *err)
{
    const struct lathe_import_state *state = im->config->state;

    return lathe_import_batch_seal(batch_at(im, index), state->collection, state->client_id, number,
                                   err);
}

/* Writes down how far it is, and the numbers of what is on the way. */
static enum lathe_status state_save(struct importer *im, struct lathe_error *err)
{
    struct lathe_import_state *state = im->config->state;

    if (im->count > 0)
        state->next_request = batch_at(im, 0)->number;
    state->fresh_request = im->count > 1 ? batch_at(im, 1)->number : im->fresh;
    return lathe_import_state_save(im->config->state_path, state, err);
}

static struct lathe_idkey row_id(const struct importer *im, const struct lathe_row *row,
                                 uint64_t number)
{
    const struct lathe_import_state *state = im->config->state;
    uint8_t uuid[16];

    if (row->id.size > 0)
        return row->id;
    if (!lathe_rows_named(im->config->rows))
        return lathe_idkey_number(state->first_id + number);
    /* Made here and not by the server, so that it is the same however often the row is sent. */
    lathe_uuid_derive(state->import_id, number, 0, uuid);
    return lathe_idkey_uuid(uuid);
}

/* Fills the next batch of the ring. A bad row ends it, and the import. */
static enum lathe_status batch_fill(struct importer *im, struct lathe_import_batch *batch,
                                    struct lathe_error *err)
{
    const struct lathe_importer_config *config = im->config;

    lathe_import_batch_clear(batch, lathe_rows_position(config->rows));
    while (!lathe_import_batch_full(batch)) {
        uint64_t number = lathe_rows_position(config->rows).row;
        struct lathe_idkey id;
        struct lathe_row row;
        enum lathe_status rc = lathe_rows_next(config->rows, &row, &im->end);

        if (rc != LATHE_OK) {
            im->ended = true;
            return LATHE_OK;
        }
        id = row_id(im, &row, number);
        rc = lathe_import_batch_add(batch, &row, &id, config->state->field,
                                    lathe_rows_position(config->rows), err);
        if (rc != LATHE_OK)
            return rc;
    }
    return LATHE_OK;
}

static enum lathe_status batch_make(struct importer *im, struct lathe_error *err)
{
    enum lathe_status rc = batch_fill(im, batch_at(im, im->count), err);

    if (rc != LATHE_OK || batch_at(im, im->count)->row_count == 0)
        return rc;
    im->count++;
    return batch_seal(im, im->count - 1,
                      im->count == 1 ? im->config->state->next_request : im->fresh++, err);
}

/* Waits before something is tried again, longer each time. False: no patience is left. */
static bool wait_again(struct importer *im, uint32_t at_least_ms)
{
    const struct lathe_importer_config *config = im->config;
    uint32_t ms = im->backoff_ms > at_least_ms ? im->backoff_ms : at_least_ms;
    uint64_t waited_us = lathe_now_us(config->clock) - im->progress_us;

    if (*config->stop != 0 || waited_us / 1000 >= config->patience_ms)
        return false;
    config->sleep_ms(config->sleep_context, ms < BACKOFF_LONGEST_MS ? ms : BACKOFF_LONGEST_MS);
    im->backoff_ms = im->backoff_ms * 2 < BACKOFF_LONGEST_MS ? im->backoff_ms * 2
                                                             : BACKOFF_LONGEST_MS;
    return true;
}

/* True if a broken stream is worth another one. A server that stops ends its streams as CANCELLED.
 */
static bool stream_retryable(enum lathe_status status)
{
    return lathe_status_retryable(status) || status == LATHE_CANCELLED;
}

/* The stream broke: everything unanswered will go out again on a new one, under its numbers. */
static enum lathe_status stream_lost(struct importer *im, const struct lathe_error *failure,
                                     struct lathe_error *err)
{
    lathe_write_stream_close(&im->stream);
    im->config->state->untouched = false; /* who knows what came through */
    im->sent = 0;
    im->probing = true;
    if (stream_retryable(failure->status) && wait_again(im, failure->retry_after_ms))
        return LATHE_OK;
    if (err != NULL)
        *err = *failure;
    return failure->status;
}

static enum lathe_status batch_send(struct importer *im, struct lathe_error *err)
{
    const struct lathe_buf *bytes = &batch_at(im, im->sent)->bytes;
    struct lathe_error failure = {0};
    enum lathe_status rc = LATHE_OK;

    if (im->stream == NULL)
        rc = lathe_write_stream_open(im->config->client, LATHE_IMPORT_WINDOW, &im->stream,
                                     &failure);
    if (rc == LATHE_OK)
        rc = lathe_write_stream_send(im->stream, bytes->data, bytes->size, &failure);
    if (rc != LATHE_OK)
        return stream_lost(im, &failure, err);
    im->sent++;
    return LATHE_OK;
}

/* Takes the answers to all that is on the stream, and forgets them. */
static void stream_drain(struct importer *im)
{
    im->config->state->untouched = im->config->state->untouched && im->sent == 0;
    while (im->sent > 0) {
        ProtobufCMessage *reply = NULL;

        if (lathe_write_stream_receive(im->stream, &reply, NULL) != LATHE_OK) {
            lathe_write_stream_close(&im->stream);
            im->sent = 0;
            return;
        }
        lathe_client_free_reply(reply);
        im->sent--;
    }
}

/* From here on numbers are used that no run can have used: those of a window are left out. */
static void numbers_leave(struct importer *im)
{
    if (im->probing)
        im->fresh += LATHE_IMPORT_WINDOW;
    im->probing = false;
}

/* Gives the batches behind the oldest fresh numbers, so that they are applied behind it. */
static enum lathe_status numbers_renew(struct importer *im, struct lathe_error *err)
{
    enum lathe_status rc = LATHE_OK;

    numbers_leave(im);
    for (size_t i = 1; i < im->count && rc == LATHE_OK; i++)
        rc = batch_seal(im, i, im->fresh++, err);
    return rc;
}

/* The oldest batch was refused for a reason that will pass. */
static enum lathe_status batch_repeat(struct importer *im, const struct lathe_error *failure,
                                      struct lathe_error *err)
{
    enum lathe_status rc = numbers_renew(im, err);

    if (rc == LATHE_OK)
        rc = state_save(im, err);
    if (rc != LATHE_OK)
        return rc;
    if (wait_again(im, failure->retry_after_ms))
        return LATHE_OK;
    if (err != NULL)
        *err = *failure;
    return failure->status;
}

/* The row that the field of a refusal names, or row_count. */
static uint32_t refused_row(const char *field, uint32_t row_count)
{
    static const char name[] = "operations[";
    unsigned long row;
    char *end;

    if (strncmp(field, name, sizeof(name) - 1) != 0)
        return row_count;
    row = strtoul(field + sizeof(name) - 1, &end, 10);
    return *end == ']' && row < row_count ? (uint32_t)row : row_count;
}

/* The oldest batch was refused for good: nothing of it is stored. What is before the bad row is
 * sent once more, and that is the end. */
static enum lathe_status batch_give_up(struct importer *im, const struct lathe_error *failure,
                                       struct lathe_error *err)
{
    struct lathe_import_batch *batch = batch_at(im, 0);
    uint32_t row = refused_row(failure->field, batch->row_count);
    char name[LATHE_ROWS_NAME_BYTES];
    const char *field;
    bool known;

    im->ended = true;
    numbers_leave(im);
    known = row < batch->row_count;
    if (!known) /* it is not about one row, so none of them is taken */
        row = 0;
    lathe_rows_name(im->config->rows, batch->ends[row], name);
    /* The index of the operation means nothing outside the batch. */
    field = known ? strchr(failure->field, ']') + 1 : failure->field;
    field += field[0] == '.' ? 1 : 0;
    (void)lathe_fail(&im->end, failure->status, "%s: %s%s: %s%s%s",
                     lathe_rows_path(im->config->rows), known ? "" : "from ", name, field,
                     field[0] != '\0' ? ": " : "", failure->message);
    lathe_import_batch_cut(batch, row);
    im->count = row > 0 ? 1 : 0;
    if (row > 0)
        return batch_seal(im, 0, im->fresh++, err);
    im->config->state->next_request = im->fresh++;
    return state_save(im, err);
}

static enum lathe_status batch_done(struct importer *im, struct lathe_error *err)
{
    const struct lathe_importer_config *config = im->config;
    struct lathe_rows_position end = lathe_import_batch_end(batch_at(im, 0));

    config->state->done = end;
    im->first = (im->first + 1) % LATHE_IMPORT_WINDOW;
    im->count--;
    if (im->count == 0)
        config->state->next_request = im->fresh++;
    im->progress_us = lathe_now_us(config->clock);
    im->backoff_ms = BACKOFF_FIRST_MS;
    lathe_progress_show(config->progress, end.row, lathe_rows_total(config->rows),
                        (double)end.offset / (double)lathe_rows_bytes(config->rows));
    return state_save(im, err);
}

/* What an answer means for its batch: LATHE_OK when every row of it is in. */
static enum lathe_status answer_check(const struct lathe_import_batch *batch,
                                      const Lathe__V1__WritePointsResponse *answer,
                                      struct lathe_error *err)
{
    if (answer->request_number != batch->number)
        return lathe_fail(
            err, LATHE_INTERNAL, "the server answered request %llu where %llu was due",
            (unsigned long long)answer->request_number, (unsigned long long)batch->number);
    if (answer->status != 0) {
        (void)lathe_fail_field(err, lathe_status_from_number(answer->status), answer->field, "%s",
                               answer->message);
        if (err != NULL)
            err->retry_after_ms = answer->retry_after_ms;
        return lathe_status_from_number(answer->status);
    }
    if (answer->n_results != batch->row_count)
        return lathe_fail(err, LATHE_INTERNAL, "the server gave %zu results for %u rows",
                          answer->n_results, batch->row_count);
    for (size_t i = 0; i < answer->n_results; i++)
        if (answer->results[i]->outcome != LATHE__V1__OUTCOME__OUTCOME_APPLIED)
            return lathe_fail(err, LATHE_UNAVAILABLE, "a shard did not take its rows");
    return LATHE_OK;
}

static enum lathe_status answer_take(struct importer *im, struct lathe_error *err)
{
    const Lathe__V1__WritePointsResponse *answer;
    struct lathe_error failure = {0};
    ProtobufCMessage *reply = NULL;
    enum lathe_status rc = lathe_write_stream_receive(im->stream, &reply, &failure);
    bool known;

    if (rc != LATHE_OK)
        return stream_lost(im, &failure, err);
    im->sent--;
    answer = (const Lathe__V1__WritePointsResponse *)reply;
    known = answer->repeated_request != 0;
    /* A request that was refused at the door, and so never came to a shard, has no results. */
    if (answer->status == 0 || answer->n_results > 0)
        im->config->state->untouched = false;
    rc = answer_check(batch_at(im, 0), answer, &failure);
    lathe_client_free_reply(reply);
    if (rc == LATHE_OK) {
        if (im->probing && !known)
            rc = numbers_renew(im, err);
        return rc == LATHE_OK ? batch_done(im, err) : rc;
    }
    stream_drain(im);
    if (lathe_status_retryable(rc))
        return batch_repeat(im, &failure, err);
    return batch_give_up(im, &failure, err);
}

static enum lathe_status run(struct importer *im, struct lathe_error *err)
{
    enum lathe_status rc = state_save(im, err);

    while (rc == LATHE_OK) {
        size_t window = im->probing ? 1 : LATHE_IMPORT_WINDOW;

        if (*im->config->stop != 0 && !im->ended) {
            im->ended = true;
            (void)lathe_fail(&im->end, LATHE_CANCELLED, "stopped on request");
        }
        if (im->sent < im->count && im->sent < window)
            rc = batch_send(im, err);
        else if (!im->ended && im->count < window)
            rc = batch_make(im, err);
        else if (im->count > 0)
            rc = answer_take(im, err);
        else
            break;
    }
    return rc;
}

enum lathe_status lathe_importer_run(const struct lathe_importer_config *config,
                                     struct lathe_error *err)
{
    struct importer im = {.config = config,
                          .fresh = config->state->fresh_request,
                          .probing = true,
                          .progress_us = lathe_now_us(config->clock),
                          .backoff_ms = BACKOFF_FIRST_MS};
    enum lathe_status rc;

    im.ring = lathe_zalloc_array(LATHE_IMPORT_WINDOW, sizeof(*im.ring));
    if (im.ring == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the batches");
    rc = run(&im, err);
    lathe_write_stream_close(&im.stream);
    for (size_t i = 0; i < LATHE_IMPORT_WINDOW; i++)
        lathe_import_batch_fini(&im.ring[i]);
    lathe_free(im.ring);
    if (config->state->untouched)
        lathe_import_state_remove(config->state_path);
    if (rc == LATHE_OK && im.end.status != LATHE_OK) {
        rc = im.end.status;
        if (err != NULL)
            *err = im.end;
    }
    return rc;
}
