/* command_search.c - `lathe search`: the vector of a point, or the vectors of a file, several of
 * them a call. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/answer_view.h"
#include "cli/commands.h"
#include "cli/readers/rows.h"
#include "cli/wire_id.h"
#include "common/base/mem.h"
#include "lathe/v1/search.pb-c.h"

/* Questions of one SearchBatch. More would save little: the way there and back is already shared.
 */
enum { QUESTIONS_PER_CALL = 64, QUESTION_HEAD_BYTES = 2 * LATHE_MAX_NAME_BYTES + 64 };

_Static_assert(QUESTIONS_PER_CALL <= LATHE_MAX_BATCH_SEARCHES, "a batch takes them all");
_Static_assert(QUESTIONS_PER_CALL *(LATHE_MAX_DIMS * sizeof(float) + QUESTION_HEAD_BYTES) <
                   LATHE_MAX_MESSAGE_BYTES,
               "a request holds them, however many dims they have");

/* A row of the file as a search. */
struct question {
    Lathe__V1__SearchRequest request;
    Lathe__V1__Vector vector;
    struct lathe_buf data; /* its elements */
    struct lathe_buf text; /* with its end; empty = none */
    uint64_t row;
    struct lathe_rows_position end; /* behind the row */
};

/* The questions of a file on their way through the calls. */
struct questions {
    struct lathe_cli *cli;
    struct lathe_rows *rows;
    Lathe__V1__Selection selection;
    bool titled;  /* there may be several */
    size_t next;  /* how many the next call takes: few at first, more while answers come quickly */
    size_t most;  /* more at once were too many for a reply, or for the time */
    size_t count; /* read and not answered */
    struct question at[QUESTIONS_PER_CALL];
};

static void request_init(struct lathe_cli *cli, Lathe__V1__SearchRequest *request,
                         Lathe__V1__Selection *selection)
{
    const struct lathe_options *options = cli->options;
    const char *field = lathe_options_text(options, "field");

    lathe__v1__selection__init(selection);
    selection->payload = lathe_options_bool(options, "with-payload");
    selection->vectors = lathe_options_bool(options, "with-vectors");
    lathe__v1__search_request__init(request);
    request->collection = (char *)(uintptr_t)lathe_options_text(options, "collection");
    request->field = (char *)(uintptr_t)(field != NULL ? field : "");
    request->limit = (uint32_t)lathe_options_number(options, "limit");
    request->selection = selection;
}

static struct lathe_point_columns columns_of(const Lathe__V1__Selection *selection)
{
    return (struct lathe_point_columns){
        .rank_and_score = true, .payload = selection->payload, .vectors = selection->vectors};
}

static int search_like(struct lathe_cli *cli, const char *text)
{
    Lathe__V1__SearchRequest request;
    Lathe__V1__SearchResponse *reply = NULL;
    Lathe__V1__Selection selection;
    struct lathe_answer_head head = {.together = 1};
    struct lathe_error err = {0};
    struct lathe_idkey key;
    struct lathe_wire_id id;
    int code;

    if (lathe_idkey_parse(text, &key, &err) != LATHE_OK)
        return lathe_cli_usage(cli, "like: %s", err.message);
    request_init(cli, &request, &selection);
    lathe_wire_id_set(&id, &key);
    request.query_case = LATHE__V1__SEARCH_REQUEST__QUERY_LIKE;
    request.like = &id.message;
    if (lathe_cli_call(cli, "/lathe.v1.SearchService/Search", &request.base,
                       &lathe__v1__search_response__descriptor, &reply, &err) != LATHE_OK)
        return lathe_cli_fail(cli, &err);
    head.columns = columns_of(&selection);
    code = lathe_answer_print(cli, &head, reply);
    lathe_client_free_reply(&reply->base);
    return code;
}

/* ---- The questions of a file ------------------------------------------------------------------
 */

static struct questions *questions_create(struct lathe_cli *cli, struct lathe_rows *rows)
{
    struct questions *questions = lathe_zalloc(sizeof(*questions));
    uint64_t limit = lathe_options_number(cli->options, "limit");

    if (questions == NULL)
        return NULL;
    questions->cli = cli;
    questions->rows = rows;
    questions->titled = !lathe_options_given(cli->options, "row") && lathe_rows_total(rows) != 1;
    questions->next = 1;
    questions->most = LATHE_MAX_BATCH_RESULTS / limit < QUESTIONS_PER_CALL
                          ? (size_t)(LATHE_MAX_BATCH_RESULTS / limit)
                          : QUESTIONS_PER_CALL;
    return questions;
}

static void questions_destroy(struct questions *questions)
{
    if (questions == NULL)
        return;
    for (size_t i = 0; i < QUESTIONS_PER_CALL; i++) {
        lathe_buf_fini(&questions->at[i].data);
        lathe_buf_fini(&questions->at[i].text);
    }
    lathe_free(questions);
}

/* The vector of a row that is meant: the one of --field, else the only one. NULL: it is not clear.
 */
static const struct lathe_row_vector *vector_choose(const struct lathe_row *row, const char *field)
{
    for (size_t i = 0; i < row->vector_count; i++)
        if (strcmp(row->vectors[i].field, field) == 0)
            return &row->vectors[i];
    return row->vector_count == 1 && row->vectors[0].field[0] == '\0' ? &row->vectors[0] : NULL;
}

/* Makes a question of a row, which is copied. */
static enum lathe_status question_add(struct questions *questions, const struct lathe_row *row,
                                      uint64_t number, struct lathe_error *err)
{
    struct question *question = &questions->at[questions->count];
    const struct lathe_row_vector *chosen;

    request_init(questions->cli, &question->request, &questions->selection);
    question->row = number;
    question->end = lathe_rows_position(questions->rows);
    chosen = vector_choose(row, question->request.field);
    if (chosen == NULL) {
        char name[LATHE_ROWS_NAME_BYTES];

        lathe_rows_name(questions->rows, question->end, name);
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "%s: %s: it has no vector of the field \"%s\"",
                          lathe_rows_path(questions->rows), name, question->request.field);
    }
    lathe_buf_clear(&question->data);
    lathe_buf_append(&question->data, chosen->data.data, chosen->data.size);
    lathe_buf_clear(&question->text);
    if (row->text != NULL)
        lathe_buf_append(&question->text, row->text, strlen(row->text) + 1);
    if (question->data.failed || question->text.failed)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for a question");
    lathe__v1__vector__init(&question->vector);
    question->vector.data.data = question->data.data;
    question->vector.data.len = question->data.size;
    question->vector.element = LATHE__V1__ELEMENT_TYPE__ELEMENT_TYPE_FLOAT32;
    question->request.query_case = LATHE__V1__SEARCH_REQUEST__QUERY_VECTOR;
    question->request.vector = &question->vector;
    questions->count++;
    return LATHE_OK;
}

/* Reads questions for the next call. OUT_OF_RANGE: these are the last ones. */
static enum lathe_status questions_read(struct questions *questions, struct lathe_error *err)
{
    const struct lathe_options *options = questions->cli->options;
    bool one = lathe_options_given(options, "row");
    uint64_t wanted = lathe_options_number(options, "row");

    while (questions->count < questions->next) {
        uint64_t number = lathe_rows_position(questions->rows).row;
        struct lathe_row row;
        enum lathe_status rc = lathe_rows_next(questions->rows, &row, err);

        if (rc == LATHE_OK && one && number < wanted)
            continue;
        if (rc == LATHE_OK)
            rc = question_add(questions, &row, number, err);
        if (rc != LATHE_OK)
            return rc;
        if (one)
            return LATHE_OUT_OF_RANGE;
    }
    return LATHE_OK;
}

static int answers_print(struct questions *questions, size_t first, size_t count,
                         const Lathe__V1__SearchBatchResponse *reply)
{
    int code = LATHE_EXIT_OK;

    for (size_t i = 0; i < count && code == LATHE_EXIT_OK; i++) {
        const struct question *question = &questions->at[first + i];
        struct lathe_answer_head head = {
            .text = question->text.size > 0 ? (const char *)question->text.data : NULL,
            .row = question->row,
            .titled = questions->titled,
            .together = count,
            .columns = columns_of(&questions->selection)};

        code = lathe_answer_print(questions->cli, &head, reply->responses[i]);
    }
    return code;
}

/* Asks `count` questions in one call and prints the answers. *code_out: of printing them. */
static enum lathe_status some_ask(struct questions *questions, size_t first, size_t count,
                                  int *code_out, struct lathe_error *err)
{
    Lathe__V1__SearchBatchRequest request = LATHE__V1__SEARCH_BATCH_REQUEST__INIT;
    Lathe__V1__SearchRequest *searches[QUESTIONS_PER_CALL];
    Lathe__V1__SearchBatchResponse *reply = NULL;
    enum lathe_status rc;

    for (size_t i = 0; i < count; i++)
        searches[i] = &questions->at[first + i].request;
    request.searches = searches;
    request.n_searches = count;
    rc = lathe_cli_call(questions->cli, "/lathe.v1.SearchService/SearchBatch", &request.base,
                        &lathe__v1__search_batch_response__descriptor, &reply, err);
    if (rc != LATHE_OK)
        return rc;
    if (reply->n_responses != count)
        rc = lathe_fail(err, LATHE_INTERNAL, "the server gave %zu answers to %zu searches",
                        reply->n_responses, count);
    else
        *code_out = answers_print(questions, first, count, reply);
    lathe_client_free_reply(&reply->base);
    return rc;
}

/* More at once while a call takes a small part of its time, so that none runs out of it. */
static void pace_set(struct questions *questions, uint64_t call_us)
{
    uint64_t timeout_us = lathe_options_number(questions->cli->options, "timeout") * 1000;

    if (call_us > timeout_us / 8)
        return;
    questions->next *= 2;
    if (questions->next > questions->most)
        questions->next = questions->most;
}

/* The question that a refusal is about, or `count`: it is about none. *field_out: the field without
 * it. */
static size_t refused_question(const struct lathe_error *err, size_t count, const char **field_out)
{
    static const char name[] = "searches[";
    unsigned long index;
    char *end;

    *field_out = err->field;
    if (strncmp(err->field, name, sizeof(name) - 1) != 0)
        return count;
    index = strtoul(err->field + sizeof(name) - 1, &end, 10);
    if (*end != ']' || index >= count)
        return count;
    *field_out = end + (end[1] == '.' ? 2 : 1);
    return index;
}

/* Says which row of the file a failure is about, unless it is about none of them. */
static int refusal_print(struct questions *questions, size_t first, size_t count,
                         const struct lathe_error *failure)
{
    struct lathe_error err = *failure;
    const char *field;
    size_t index = refused_question(failure, count, &field);
    char name[LATHE_ROWS_NAME_BYTES];

    if (failure->status == LATHE_UNAVAILABLE)
        return lathe_cli_fail(questions->cli, failure);
    if (strcmp(field, "collection") == 0) {
        (void)lathe_fail_field(&err, failure->status, "collection", "%s", failure->message);
        return lathe_cli_fail(questions->cli, &err);
    }
    lathe_rows_name(questions->rows, questions->at[first + (index < count ? index : 0)].end, name);
    (void)lathe_fail(&err, failure->status, "%s: %s%s: %s%s%s", lathe_rows_path(questions->rows),
                     index < count || count == 1 ? "" : "from ", name, field,
                     field[0] != '\0' ? ": " : "", failure->message);
    return lathe_cli_fail(questions->cli, &err);
}

/* After a call of `count` questions that failed: how many to ask now. 0: there is no use. */
static size_t count_again(struct questions *questions, size_t count,
                          const struct lathe_error *failure)
{
    const char *field;
    size_t index = refused_question(failure, count, &field);

    if (index < count) /* those before it are answered first; 0 if it is the first one */
        return index;
    if (failure->status == LATHE_RESOURCE_EXHAUSTED) /* the reply would be too large */
        return questions->most = count / 2;
    if (failure->status != LATHE_DEADLINE_EXCEEDED || count == 1)
        return 0;
    questions->most = count / 2;
    return 1;
}

/* Asks what was read, and prints the answers in order. Returns the exit code. */
static int questions_ask(struct questions *questions)
{
    const struct lathe_clock *clock = questions->cli->clock;
    int code = LATHE_EXIT_OK;
    size_t first = 0;

    while (first < questions->count && code == LATHE_EXIT_OK) {
        size_t left = questions->count - first;
        size_t count = left < questions->next ? left : questions->next;
        uint64_t begun_us = lathe_now_us(clock);
        struct lathe_error err = {0};

        if (some_ask(questions, first, count, &code, &err) == LATHE_OK) {
            first += count;
            pace_set(questions, lathe_now_us(clock) - begun_us);
            continue;
        }
        questions->next = count_again(questions, count, &err);
        if (questions->next == 0)
            return refusal_print(questions, first, count, &err);
    }
    questions->count = 0;
    return code;
}

static int search_file(struct lathe_cli *cli, const char *file)
{
    struct questions *questions = NULL;
    struct lathe_rows *rows = NULL;
    struct lathe_error err = {0};
    enum lathe_status rc = lathe_rows_open(file, LATHE_ROWS_QUESTIONS, &rows, &err);
    int code = LATHE_EXIT_OK;
    uint64_t asked = 0;

    if (rc == LATHE_OK) {
        questions = questions_create(cli, rows);
        if (questions == NULL)
            rc = lathe_fail(&err, LATHE_RESOURCE_EXHAUSTED, "no memory for the questions");
    }
    while (rc == LATHE_OK && code == LATHE_EXIT_OK) {
        rc = questions_read(questions, &err);
        asked += questions->count;
        code = questions_ask(questions);
    }
    if (code == LATHE_EXIT_OK && rc == LATHE_OUT_OF_RANGE && asked == 0 &&
        lathe_options_given(cli->options, "row"))
        code = lathe_cli_usage(cli, "row: %s has no row %" PRIu64, file,
                               lathe_options_number(cli->options, "row"));
    else if (code == LATHE_EXIT_OK && rc != LATHE_OUT_OF_RANGE)
        code = lathe_cli_fail(cli, &err);
    questions_destroy(questions);
    lathe_rows_close(&rows);
    return code;
}

int lathe_command_search(struct lathe_cli *cli)
{
    const char *file = lathe_options_text(cli->options, "file");
    const char *like = lathe_options_text(cli->options, "like");

    if ((file == NULL) == (like == NULL))
        return lathe_cli_usage(cli, "a search needs a file of vectors or --like ID, one of them");
    return file != NULL ? search_file(cli, file) : search_like(cli, like);
}
