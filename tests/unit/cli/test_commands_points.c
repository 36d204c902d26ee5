/* test_commands_points.c - the program as a user meets it: search, get, delete, info, import. */
#include "tests/unit/cli/run_cli.h"

#include <string.h>
#include <unistd.h>

#include "common/base/bytes.h"
#include "common/base/limits.h"
#include "lathe/v1/collections.pb-c.h"
#include "lathe/v1/search.pb-c.h"
#include "lathe/v1/server.pb-c.h"

/* {"word": word, "gloss": gloss} with the storage of the caller. */
struct payload {
    Lathe__V1__Value values[2];
    Lathe__V1__Entry entries[2], *pointers[2];
    Lathe__V1__Object object;
};

static Lathe__V1__Object *payload_of(struct payload *p, const char *word, const char *gloss)
{
    const char *keys[2] = {"word", "gloss"}, *texts[2] = {word, gloss};

    lathe__v1__object__init(&p->object);
    for (int i = 0; i < 2; i++) {
        lathe__v1__value__init(&p->values[i]);
        p->values[i].kind_case = LATHE__V1__VALUE__KIND_STRING_VALUE;
        p->values[i].string_value = (char *)(uintptr_t)texts[i];
        lathe__v1__entry__init(&p->entries[i]);
        p->entries[i].key = (char *)(uintptr_t)keys[i];
        p->entries[i].value = &p->values[i];
        p->pointers[i] = &p->entries[i];
    }
    p->object.entries = p->pointers;
    p->object.n_entries = 2;
    return &p->object;
}

/* The requests of the searches made. */
static struct {
    unsigned calls;
    uint32_t limit;
    float first;
    uint64_t like;
    char field[20];
    bool payload, vectors;
    size_t searches;    /* of all calls */
    size_t batches[32]; /* searches of each call */
    size_t too_many;    /* a batch of so many is refused with... */
    enum lathe_status limit_status;
    float refused; /* a vector that begins with this is refused */
} asked;

static void note_search(const Lathe__V1__SearchRequest *search)
{
    asked.limit = search->limit;
    asked.payload = search->selection->payload;
    asked.vectors = search->selection->vectors;
    (void)snprintf(asked.field, sizeof(asked.field), "%s", search->field);
    if (search->query_case == LATHE__V1__SEARCH_REQUEST__QUERY_LIKE)
        asked.like = search->like->number;
    else
        memcpy(&asked.first, search->vector->data.data, sizeof(float));
}

/* Replies with `answer`, to each search of a batch. */
static enum lathe_status answer_all(const Lathe__V1__SearchBatchRequest *batch,
                                    Lathe__V1__SearchResponse *answer, struct lathe_error *error)
{
    Lathe__V1__SearchBatchResponse reply = LATHE__V1__SEARCH_BATCH_RESPONSE__INIT;
    Lathe__V1__SearchResponse *answers[LATHE_MAX_BATCH_SEARCHES];

    assert_in_range(batch->n_searches, 1, LATHE_MAX_BATCH_SEARCHES);
    assert_true(asked.calls < sizeof(asked.batches) / sizeof(asked.batches[0]));
    asked.batches[asked.calls++] = batch->n_searches;
    if (asked.too_many > 0 && batch->n_searches >= asked.too_many)
        return lathe_fail_field(error, asked.limit_status, "limit", "too many");
    for (size_t i = 0; i < batch->n_searches; i++) {
        char field[64];

        note_search(batch->searches[i]);
        answers[i] = answer;
        (void)snprintf(field, sizeof(field), "searches[%zu].vector.data", i);
        if (asked.refused != 0 && asked.first == asked.refused)
            return lathe_fail_field(error, LATHE_INVALID_ARGUMENT, field, "it has 1 dims");
    }
    asked.searches += batch->n_searches;
    reply.responses = answers;
    reply.n_responses = batch->n_searches;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static enum lathe_status call_search(const char *path, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    const Lathe__V1__SearchBatchRequest *batch = NULL;
    Lathe__V1__SearchResponse reply = LATHE__V1__SEARCH_RESPONSE__INIT;
    Lathe__V1__SearchHit hits[2] = {LATHE__V1__SEARCH_HIT__INIT, LATHE__V1__SEARCH_HIT__INIT};
    Lathe__V1__SearchHit *pointers[2] = {&hits[0], &hits[1]};
    Lathe__V1__PointId ids[2] = {LATHE__V1__POINT_ID__INIT, LATHE__V1__POINT_ID__INIT};
    Lathe__V1__Report report = LATHE__V1__REPORT__INIT;
    Lathe__V1__Coverage coverage = LATHE__V1__COVERAGE__INIT;
    Lathe__V1__ShardCoverage shards[2] = {LATHE__V1__SHARD_COVERAGE__INIT,
                                          LATHE__V1__SHARD_COVERAGE__INIT};
    Lathe__V1__ShardCoverage *shard_pointers[2] = {&shards[0], &shards[1]};
    Lathe__V1__Plan plan = LATHE__V1__PLAN__INIT;
    Lathe__V1__PlanStep step = LATHE__V1__PLAN_STEP__INIT, *step_pointer = &step;
    struct payload payloads[2];

    if (strcmp(path, "/lathe.v1.SearchService/Search") == 0) {
        note_search((const Lathe__V1__SearchRequest *)request);
    } else {
        assert_string_equal(path, "/lathe.v1.SearchService/SearchBatch");
        batch = (const Lathe__V1__SearchBatchRequest *)request;
        asked.payload = batch->searches[0]->selection->payload;
    }
    for (int i = 0; i < 2; i++) {
        ids[i].id_case = LATHE__V1__POINT_ID__ID_NUMBER;
        ids[i].number = 100 + (uint64_t)i;
        hits[i].id = &ids[i];
        hits[i].version = 9;
        hits[i].score = i == 0 ? 0.75f : 0.5f;
        if (asked.payload)
            hits[i].payload = payload_of(&payloads[i], i == 0 ? "beaver" : "otter",
                                         i == 0 ? "large semiaquatic rodent with a broad flat tail"
                                                : "freshwater carnivore");
        shards[i].rows = 2000;
    }
    step.name = (char *)"originals";
    step.rows_in = 4000;
    step.rows_out = 10;
    step.bytes_read = 6144000;
    plan.steps = &step_pointer;
    plan.n_steps = 1;
    coverage.shards_asked = coverage.shards_answered = 2;
    coverage.shards = shard_pointers;
    coverage.n_shards = 2;
    report.guarantee = LATHE__V1__GUARANTEE_LEVEL__GUARANTEE_LEVEL_CERTIFIED;
    report.estimated_recall = 1;
    report.plan = &plan;
    report.coverage = &coverage;
    report.originals_read = 42;
    report.shard_us = 900;
    report.scan_us = 800;
    report.total_us = 1234;
    report.kernel = (char *)"avx2";
    reply.hits = pointers;
    reply.n_hits = 2;
    reply.report = &report;
    if (batch != NULL)
        return answer_all(batch, &reply, error);
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void search_prints_a_table_a_person_can_read(void **state)
{
    (void)state;
    fake.call = call_search;
    run.columns = 64;
    assert_int_equal(
        RUN("search", "--collection", "words", "-k", "5", "--with-payload",
            run_put("q.jsonl", "{\"text\":\"an animal that builds dams\",\"vector\":[1]}\n"
                               "{\"vector\":[2]}\n")),
        LATHE_EXIT_OK);
    assert_string_equal(
        run.out, "> an animal that builds dams\n"
                 "#     score  id   word    gloss\n"
                 "1  0.750000  100  beaver  large semiaquatic rodent with a broad\xE2\x80\xA6\n"
                 "2  0.500000  101  otter   freshwater carnivore\n"
                 "certified, 4,000 rows on 2 of 2 shards, 1.23 ms (scan 0.80 ms, avx2)\n"
                 "\n"
                 "> row 1\n"
                 "#     score  id   word    gloss\n"
                 "1  0.750000  100  beaver  large semiaquatic rodent with a broad\xE2\x80\xA6\n"
                 "2  0.500000  101  otter   freshwater carnivore\n"
                 "certified, 4,000 rows on 2 of 2 shards, 1.23 ms (scan 0.80 ms, avx2)\n");
    assert_int_equal(asked.limit, 5);
    assert_true(asked.first == 2.0f);
    assert_false(asked.vectors);
}

static void search_prints_a_line_of_json_for_each_row(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(RUN("search", "--collection", "words", "--json", "--row", "1",
                         run_put("q.json", "[[1],[3]]")),
                     LATHE_EXIT_OK);
    assert_string_equal(
        run.out,
        "{\"row\":1,\"hits\":[{\"id\":100,\"score\":0.75,\"version\":9},"
        "{\"id\":101,\"score\":0.5,\"version\":9}],\"report\":{\"guarantee\":\"certified\","
        "\"estimated_recall\":1.0,\"plan\":[{\"name\":\"originals\",\"rows_in\":4000,"
        "\"rows_out\":10,\"bytes_read\":6144000}],\"rows\":4000,\"shards_asked\":2,"
        "\"shards_answered\":2,\"originals_read\":42,\"shard_us\":900,\"scan_us\":800,"
        "\"total_us\":1234,\"kernel\":\"avx2\",\"batch_searches\":1}}\n");
    assert_true(asked.first == 3.0f);
    assert_int_equal(asked.limit, 10);
}

static void search_can_begin_at_a_stored_point(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(RUN("search", "--collection", "words", "--like", "77", "--field", "title",
                         "--with-vectors"),
                     LATHE_EXIT_OK);
    assert_int_equal(asked.like, 77);
    assert_string_equal(asked.field, "title");
    assert_true(asked.vectors);
    run_contains(run.out, "1  0.750000  100");
    assert_null(strchr(run.out, '>')); /* one question needs no title */
}

static void search_takes_the_vector_of_its_field(void **state)
{
    (void)state;
    fake.call = call_search;
    (void)run_put("q.jsonl", "{\"vectors\":{\"a\":[1],\"b\":[2]}}\n");
    assert_int_equal(RUN("search", "--collection", "words", "--field", "b", run.path),
                     LATHE_EXIT_OK);
    assert_true(asked.first == 2.0f);
    assert_int_equal(RUN("search", "--collection", "words", run.path), LATHE_EXIT_FAILED);
    run_contains(run.err, "q.jsonl: line 1: it has no vector of the field \"\"");
}

/* [[0.5],[1.5],...] */
static const char *put_rows(unsigned count)
{
    struct lathe_buf text = {0};
    const char *path;

    for (unsigned i = 0; i < count; i++)
        lathe_buf_printf(&text, "%s[%u.5]", i == 0 ? "[" : ",", i);
    lathe_buf_text(&text, "]");
    lathe_buf_u8(&text, 0);
    path = run_put("q.json", (const char *)text.data);
    lathe_buf_fini(&text);
    return path;
}

/* Fails unless lines of JSON for the rows 0..count-1 were printed, in order. */
static void check_rows(unsigned count)
{
    const char *at = run.out;

    for (unsigned i = 0; i < count; i++) {
        char want[40];

        (void)snprintf(want, sizeof(want), "{\"row\":%u,\"hits\":[{\"id\":100,", i);
        if (strncmp(at, want, strlen(want)) != 0)
            fail_msg("row %u is not at: %.60s", i, at);
        at = strchr(at, '\n') + 1;
    }
    assert_string_equal(at, "");
}

static void rows_are_searched_in_batches_that_grow(void **state)
{
    static const size_t want[] = {1, 2, 4, 8, 16, 32, 64, 64, 9};

    (void)state;
    fake.call = call_search;
    memset(&asked, 0, sizeof(asked));
    assert_int_equal(RUN("search", "--collection", "words", "--json", put_rows(200)),
                     LATHE_EXIT_OK);
    check_rows(200);
    assert_int_equal(asked.calls, sizeof(want) / sizeof(want[0]));
    assert_memory_equal(asked.batches, want, sizeof(want));
    assert_int_equal(asked.searches, 200);
    run_contains(run.out, "\"batch_searches\":64}}");
    /* Limits of a batch add up. */
    memset(&asked, 0, sizeof(asked));
    assert_int_equal(RUN("search", "--collection", "words", "--json", "-k", "16384", put_rows(60)),
                     LATHE_EXIT_OK);
    check_rows(60);
    for (unsigned i = 0; i < asked.calls; i++)
        assert_in_range(asked.batches[i], 1, LATHE_MAX_BATCH_RESULTS / 16384);
    assert_int_equal(RUN("search", "--collection", "words", put_rows(3)), LATHE_EXIT_OK);
    run_contains(run.out, "> row 2\n");
    run_contains(run.out, "2 of 2 shards, 2 searches in 1.23 ms (scan 0.80 ms, avx2)\n");
}

static void batches_shrink_to_what_the_server_can_answer(void **state)
{
    static const size_t too_large[] = {1, 2, 4, 8, 16, 8, 8, 8, 8, 8, 8, 7};
    static const size_t too_slow[] = {1, 2, 4, 8, 1, 2, 4, 1, 4, 4, 3};

    (void)state;
    fake.call = call_search;
    memset(&asked, 0, sizeof(asked));
    asked.too_many = 9;
    asked.limit_status = LATHE_RESOURCE_EXHAUSTED;
    assert_int_equal(RUN("search", "--collection", "words", "--json", put_rows(70)), LATHE_EXIT_OK);
    check_rows(70);
    assert_int_equal(asked.calls, sizeof(too_large) / sizeof(too_large[0]));
    assert_memory_equal(asked.batches, too_large, sizeof(too_large));
    memset(&asked, 0, sizeof(asked));
    asked.too_many = 5;
    asked.limit_status = LATHE_DEADLINE_EXCEEDED;
    assert_int_equal(RUN("search", "--collection", "words", "--json", put_rows(26)), LATHE_EXIT_OK);
    check_rows(26);
    assert_int_equal(asked.calls, sizeof(too_slow) / sizeof(too_slow[0]));
    assert_memory_equal(asked.batches, too_slow, sizeof(too_slow));
    asked.calls = 0;
    asked.too_many = 1; /* nothing is small enough */
    assert_int_equal(RUN("search", "--collection", "words", put_rows(5)), LATHE_EXIT_FAILED);
    run_contains(run.err, "q.json: row 0: limit: too many (DEADLINE_EXCEEDED)");
    assert_int_equal(asked.calls, 1);
}

static void a_refused_row_is_named_and_those_before_it_are_answered(void **state)
{
    (void)state;
    fake.call = call_search;
    for (unsigned row = 0; row < 40; row++) {
        char want[80];

        memset(&asked, 0, sizeof(asked));
        asked.refused = (float)row + 0.5f;
        assert_int_equal(RUN("search", "--collection", "words", "--json", put_rows(40)),
                         LATHE_EXIT_FAILED);
        check_rows(row);
        (void)snprintf(want, sizeof(want),
                       "q.json: row %u: vector.data: it has 1 dims (INVALID_ARGUMENT)\n", row);
        run_contains(run.err, want);
    }
    memset(&asked, 0, sizeof(asked));
    asked.refused = 2;
    assert_int_equal(RUN("search", "--collection", "words",
                         run_put("q.jsonl", "{\"vector\":[1]}\n\n{\"vector\":[2]}\n")),
                     LATHE_EXIT_FAILED);
    run_contains(run.err, "q.jsonl: line 3: vector.data: it has 1 dims");
    asked.refused = 0;
}

static enum lathe_status call_no_collection(const char *path, const ProtobufCMessage *request,
                                            struct lathe_error *error)
{
    (void)path;
    (void)request;
    return lathe_fail_field(error, LATHE_NOT_FOUND, "searches[0].collection",
                            "there is no collection \"words\"");
}

static void what_is_about_no_row_names_none(void **state)
{
    (void)state;
    fake.call = call_no_collection;
    assert_int_equal(RUN("search", "--collection", "words", put_rows(2)), LATHE_EXIT_FAILED);
    assert_string_equal(run.err, "lathe: there is no collection \"words\" (NOT_FOUND)\n");
}

static void wrong_searches_are_refused(void **state)
{
    (void)state;
    fake.call = call_search;
    assert_int_equal(RUN("search", "--collection", "words"), LATHE_EXIT_USAGE);
    run_contains(run.err, "a search needs a file of vectors or --like ID");
    assert_int_equal(RUN("search", "--collection", "words", "--like", "7", "f"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("search", "--collection", "words", "-k", "0", "f"), LATHE_EXIT_USAGE);
    run_contains(run.err, "limit: \"0\" is outside the range; it takes 1 to 16384 results");
    assert_int_equal(
        RUN("search", "--collection", "words", "--row", "2", run_put("q.json", "[[1],[3]]")),
        LATHE_EXIT_USAGE);
    run_contains(run.err, "has no row 2");
    assert_int_equal(RUN("search", "--collection", "words", run_put("q.json", "[[1],[]]")),
                     LATHE_EXIT_FAILED);
    run_contains(run.err, "q.json: row 1: vector: a vector of 0 elements");
    run_contains(run.out, "1  0.750000  100"); /* the row before it was answered */
}

static enum lathe_status call_get(const char *service, const ProtobufCMessage *request,
                                  struct lathe_error *error)
{
    const Lathe__V1__GetPointsRequest *get = (const Lathe__V1__GetPointsRequest *)request;
    Lathe__V1__GetPointsResponse reply = LATHE__V1__GET_POINTS_RESPONSE__INIT;
    Lathe__V1__Point point = LATHE__V1__POINT__INIT, *point_pointer = &point;
    Lathe__V1__PointId *missing;
    struct payload payload;

    (void)error;
    assert_string_equal(service, "/lathe.v1.PointService/GetPoints");
    assert_true(get->selection->payload);
    assert_int_equal(get->n_ids, 2);
    assert_int_equal(get->ids[0]->number, 7);
    assert_string_equal(get->ids[1]->string, "8");
    point.id = get->ids[0];
    point.version = 3;
    point.payload = payload_of(&payload, "caf\xC3\xA9", "a place");
    missing = get->ids[1];
    reply.points = &point_pointer;
    reply.n_points = 1;
    reply.missing = &missing;
    reply.n_missing = 1;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void get_shows_points_and_names_missing_ones(void **state)
{
    (void)state;
    fake.call = call_get;
    assert_int_equal(RUN("get", "--collection", "words", "7", "str:8"), LATHE_EXIT_FAILED);
    assert_string_equal(run.out, "id  word  gloss\n"
                                 "7   caf\xC3\xA9  a place\n");
    assert_string_equal(run.err, "lathe: no point str:8\n");
    assert_int_equal(RUN("get", "--collection", "words", "--json", "7", "str:8"),
                     LATHE_EXIT_FAILED);
    assert_string_equal(run.out, "{\"id\":7,\"version\":3,\"payload\":{\"word\":\"caf\xC3\xA9\","
                                 "\"gloss\":\"a place\"}}\n");
    assert_int_equal(RUN("get", "--collection", "words", "str:"), LATHE_EXIT_USAGE);
    assert_int_equal(RUN("get", "--collection", "words"), LATHE_EXIT_USAGE);
}

static Lathe__V1__Outcome second_outcome;

static enum lathe_status call_delete(const char *service, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    const Lathe__V1__WritePointsRequest *write = (const Lathe__V1__WritePointsRequest *)request;
    Lathe__V1__WritePointsResponse reply = LATHE__V1__WRITE_POINTS_RESPONSE__INIT;
    Lathe__V1__WriteResult results[2] = {LATHE__V1__WRITE_RESULT__INIT,
                                         LATHE__V1__WRITE_RESULT__INIT};
    Lathe__V1__WriteResult *pointers[2] = {&results[0], &results[1]};

    (void)error;
    assert_string_equal(service, "/lathe.v1.PointService/WritePoints");
    assert_int_equal(write->client_id.len, 16);
    assert_int_equal(write->request_number, 1);
    assert_int_equal(write->n_operations, 2);
    assert_int_equal(write->operations[1]->operation_case,
                     LATHE__V1__WRITE_OPERATION__OPERATION_DELETE);
    assert_string_equal(write->operations[1]->delete_->id->uuid,
                        "0123abcd-4567-89ab-cdef-0123456789ab");
    results[0].outcome = LATHE__V1__OUTCOME__OUTCOME_APPLIED;
    results[1].outcome = second_outcome;
    reply.results = pointers;
    reply.n_results = 2;
    fake_reply(&reply.base);
    return LATHE_OK;
}

static void delete_counts_what_it_did(void **state)
{
    (void)state;
    fake.call = call_delete;
    second_outcome = LATHE__V1__OUTCOME__OUTCOME_NOT_FOUND;
    assert_int_equal(
        RUN("delete", "--collection", "words", "7", "0123ABCD-4567-89AB-CDEF-0123456789AB"),
        LATHE_EXIT_OK);
    assert_string_equal(run.out, "deleted 1, not found 1\n");
    second_outcome = LATHE__V1__OUTCOME__OUTCOME_UNKNOWN;
    assert_int_equal(RUN("delete", "--collection", "words", "7", "--json",
                         "0123ABCD-4567-89AB-CDEF-0123456789AB"),
                     LATHE_EXIT_FAILED);
    assert_string_equal(run.out, "{\"deleted\":1,\"not_found\":0}\n");
    assert_string_equal(run.err,
                        "lathe: 1 could not be deleted; the same command can be repeated\n");
}

static enum lathe_status call_info(const char *service, const ProtobufCMessage *request,
                                   struct lathe_error *error)
{
    Lathe__V1__GetInfoResponse info = LATHE__V1__GET_INFO_RESPONSE__INIT;
    Lathe__V1__Memory memory = LATHE__V1__MEMORY__INIT;
    Lathe__V1__MemoryPart part = LATHE__V1__MEMORY_PART__INIT, *part_pointer = &part;
    Lathe__V1__Disk disk = LATHE__V1__DISK__INIT;

    (void)request;
    (void)error;
    assert_string_equal(service, "/lathe.v1.ServerService/GetInfo");
    part.name = (char *)"rows";
    part.used_bytes = 1000;
    memory.limit_bytes = 5000000;
    memory.used_bytes = 1000;
    memory.parts = &part_pointer;
    memory.n_parts = 1;
    disk.used_bytes = 12;
    disk.free_bytes = 13;
    info.version = (char *)"0.1.0";
    info.kernel = (char *)"avx512";
    info.shards = 2;
    info.uptime_ms = 65000;
    info.memory = &memory;
    info.disk = &disk;
    fake_reply(&info.base);
    return LATHE_OK;
}

static void info_shows_the_server(void **state)
{
    (void)state;
    fake.call = call_info;
    assert_int_equal(RUN("info"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "server               127.0.0.1:7770\n"
                                 "version                       0.1.0\n"
                                 "kernel                       avx512\n"
                                 "shards                            2\n"
                                 "up for                         1:05\n"
                                 "memory: limit bytes       5,000,000\n"
                                 "memory: used bytes            1,000\n"
                                 "memory: rows                  1,000\n"
                                 "disk: used bytes                 12\n"
                                 "disk: free bytes                 13\n");
    assert_int_equal(RUN("info", "--json"), LATHE_EXIT_OK);
    assert_string_equal(run.out, "{\"version\":\"0.1.0\",\"shards\":2,\"kernel\":\"avx512\","
                                 "\"uptime_ms\":65000,\"memory\":{\"limit_bytes\":5000000,"
                                 "\"used_bytes\":1000,\"parts\":{\"rows\":1000}},"
                                 "\"disk\":{\"used_bytes\":12,\"free_bytes\":13}}\n");
}

/* The server of an import: one collection, which may have to be made first. */
static bool collection_there;
static unsigned rows_written;
static bool refuse_writes;

static enum lathe_status call_import(const char *service, const ProtobufCMessage *request,
                                     struct lathe_error *error)
{
    if (strstr(service, "CreateCollection") != NULL) {
        const Lathe__V1__CreateCollectionRequest *create =
            (const Lathe__V1__CreateCollectionRequest *)request;

        assert_int_equal(create->schema->n_fields, 1);
        assert_string_equal(create->schema->fields[0]->name, "");
        assert_int_equal(create->schema->fields[0]->dims, 2);
        assert_int_equal(create->schema->fields[0]->metric, LATHE__V1__METRIC__METRIC_DOT);
        collection_there = true;
    } else {
        assert_string_equal(service, "/lathe.v1.CollectionService/GetCollection");
    }
    if (!collection_there)
        return lathe_fail_field(error, LATHE_NOT_FOUND, "name", "there is none");
    run_reply_collection();
    return LATHE_OK;
}

static bool write_import(const Lathe__V1__WritePointsRequest *request,
                         Lathe__V1__WritePointsResponse *response)
{
    if (refuse_writes) {
        response->status = LATHE_PERMISSION_DENIED;
        response->message = (char *)"not today";
        response->n_results = 0;
        return true;
    }
    for (size_t i = 0; i < request->n_operations; i++) {
        const Lathe__V1__UpsertPoint *upsert = request->operations[i]->upsert;

        if (rows_written == 0)
            assert_int_equal(upsert->id->number, 7);
        else
            assert_int_equal(upsert->id->id_case, LATHE__V1__POINT_ID__ID_UUID);
        rows_written++;
    }
    return true;
}

static void import_makes_the_collection_and_writes_every_row(void **state)
{
    static const char lines[] = "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\n";
    char state_file[4400];

    (void)state;
    fake.call = call_import;
    fake.write = write_import;
    collection_there = false;
    refuse_writes = false;
    rows_written = 0;
    (void)run_put("rows.jsonl", lines);
    (void)snprintf(state_file, sizeof(state_file), "%s.lathe-import", run.path);
    assert_int_equal(RUN("import", run.path, "--collection", "words"), LATHE_EXIT_FAILED);
    assert_string_equal(run.err,
                        "lathe: there is no collection words; --create makes it (NOT_FOUND)\n");
    assert_int_equal(RUN("import", run.path, "--collection", "words", "--create"),
                     LATHE_EXIT_USAGE);
    assert_string_equal(run.err, "lathe: --create needs --metric\n");
    assert_int_equal(
        RUN("import", run.path, "--collection", "words", "--create", "--metric", "dot"),
        LATHE_EXIT_OK);
    run_contains(run.out, "imported 2 rows into words in 0:00 (");
    assert_int_equal(rows_written, 2);
    assert_null(fopen(state_file, "r")); /* finished, so there is nothing to go on from */
}

static void import_that_fails_says_how_to_go_on(void **state)
{
    static const char lines[] = "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\nx\n";
    char state_file[4400];

    (void)state;
    fake.call = call_import;
    fake.write = write_import;
    collection_there = true;
    refuse_writes = false;
    rows_written = 0;
    (void)run_put("rows.jsonl", lines);
    assert_int_equal(RUN("import", run.path, "--collection", "words"), LATHE_EXIT_FAILED);
    run_contains(run.err,
                 "lathe: 2 rows are imported; the same command goes on there (its state is in ");
    run_contains(run.err, "rows.jsonl: line 3: '[' or '{' expected near 'x'");
    assert_int_equal(rows_written, 2);
    assert_int_equal(RUN("import", run.path, "--collection", "words", "--first-id", "5"),
                     LATHE_EXIT_FAILED);
    run_contains(run.err,
                 "belongs to an unfinished import of this file into collection words at "
                 "127.0.0.1:7770 (field \"\", first id 0); finish that one or remove the file");
    (void)run_put("rows.jsonl",
                  "{\"id\":7,\"vectors\":[1,2]}\n{\"vectors\":[3,4]}\n{\"vectors\":[5,6]}"
                  "\n");
    assert_int_equal(RUN("import", run.path, "--collection", "words"), LATHE_EXIT_OK);
    run_contains(run.err,
                 "lathe: going on behind the first 2 rows, where the earlier import stopped\n");
    run_contains(run.out, "imported 1 row into words");
    assert_int_equal(rows_written, 3);
    refuse_writes = true;
    assert_int_equal(RUN("import", run.path, "--collection", "words"), LATHE_EXIT_FAILED);
    run_contains(run.err, "rows.jsonl: from line 1: not today (PERMISSION_DENIED)");
    /* Nothing was stored, so nothing is in the way of an import of the same file elsewhere. */
    assert_null(strstr(run.err, "rows are imported"));
    (void)snprintf(state_file, sizeof(state_file), "%s.lathe-import", run.path);
    assert_int_not_equal(access(state_file, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(search_prints_a_table_a_person_can_read, run_setup),
        cmocka_unit_test_setup(search_prints_a_line_of_json_for_each_row, run_setup),
        cmocka_unit_test_setup(search_can_begin_at_a_stored_point, run_setup),
        cmocka_unit_test_setup(search_takes_the_vector_of_its_field, run_setup),
        cmocka_unit_test_setup(rows_are_searched_in_batches_that_grow, run_setup),
        cmocka_unit_test_setup(batches_shrink_to_what_the_server_can_answer, run_setup),
        cmocka_unit_test_setup(a_refused_row_is_named_and_those_before_it_are_answered, run_setup),
        cmocka_unit_test_setup(what_is_about_no_row_names_none, run_setup),
        cmocka_unit_test_setup(wrong_searches_are_refused, run_setup),
        cmocka_unit_test_setup(get_shows_points_and_names_missing_ones, run_setup),
        cmocka_unit_test_setup(delete_counts_what_it_did, run_setup),
        cmocka_unit_test_setup(info_shows_the_server, run_setup),
        cmocka_unit_test_setup(import_makes_the_collection_and_writes_every_row, run_setup),
        cmocka_unit_test_setup(import_that_fails_says_how_to_go_on, run_setup),
    };

    return cmocka_run_group_tests_name("cli/commands_points", tests, run_group_setup,
                                       run_group_teardown);
}
