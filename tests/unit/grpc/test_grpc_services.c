/* test_grpc_services.c - the standard services: health, reflection; and the descriptors behind it.
 */
#include <google/protobuf/descriptor.pb-c.h>
#include <grpc/health/v1/health.pb-c.h>
#include <grpc/reflection/v1/reflection.pb-c.h>
#include <string.h>

#include "common/net/message.h"
#include "coordinator/grpc/descriptor.h"
#include "tests/unit/grpc/grpc_fixture.h"

#define ASKED(what)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWERED(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

static const struct fixture_options defaults;

/* --- Health --- */

static void encode_health(const char *service, struct lathe_buf *buf)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;

    request.service = (char *)service;
    lathe_message_encode(&request.base, buf);
}

static int decode_health(const struct lathe_buf *reply)
{
    Grpc__Health__V1__HealthCheckResponse *response =
        grpc__health__v1__health_check_response__unpack(NULL, reply->size, reply->data);
    int status;

    assert_non_null(response);
    status = (int)response->status;
    grpc__health__v1__health_check_response__free_unpacked(response, NULL);
    return status;
}

/* The serving status of a service, or minus the gRPC code of the failure. */
static int check_health(const struct fixture *fixture, const char *service)
{
    struct lathe_buf request = {0}, reply = {0};
    enum lathe_status status;
    int health;

    encode_health(service, &request);
    status = lathe_channel_call(fixture->channel, "/grpc.health.v1.Health/Check",
                                lathe_buf_view(&request), 20000, &reply, NULL);
    health = status == LATHE_OK ? decode_health(&reply) : -(int)status;
    lathe_buf_fini(&request);
    lathe_buf_fini(&reply);
    return health;
}

static void check_says_whether_the_server_serves(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);

    (void)state;
    assert_int_equal(check_health(fixture, ""), 2);
    lathe_grpc_server_set_serving(fixture->server, true);
    assert_int_equal(check_health(fixture, ""), 1);
    assert_int_equal(check_health(fixture, "test.T"), 1);
    assert_int_equal(check_health(fixture, "grpc.health.v1.Health"), 1);
    assert_int_equal(check_health(fixture, "test.Nothing"), -LATHE_NOT_FOUND);
    assert_int_equal(check_health(fixture, "test"), -LATHE_NOT_FOUND);
    assert_int_equal(check_health(fixture, "\xFF"), -LATHE_INVALID_ARGUMENT);
    lathe_grpc_server_set_serving(fixture->server, false);
    assert_int_equal(check_health(fixture, ""), 2);
    fixture_stop(fixture);
}

static void check_works_while_the_server_is_full(void **state)
{
    struct fixture *fixture = fixture_start(&(struct fixture_options){.in_flight_calls = 1});
    struct caller caller;

    (void)state;
    caller_start(&caller, fixture, "/test.T/Hold", 1, 1);
    assert_true(fixture_wait(fixture, &fixture->held_count, 1));
    assert_int_equal(check_health(fixture, ""), 2);
    fixture_release(fixture, NULL);
    caller_join(&caller);
    fixture_stop(fixture);
}

static void a_request_that_is_too_long_or_malformed_is_refused(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_error err = {0};
    char name[3000];

    (void)state;
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(check_health(fixture, name), -LATHE_INVALID_ARGUMENT);
    assert_int_equal(
        fixture_call(fixture->channel, "/grpc.health.v1.Health/Check", "\x0A\x7Fx", NULL, &err),
        LATHE_INVALID_ARGUMENT);
    fixture_stop(fixture);
}

static struct lathe_channel_stream *watch(const struct fixture *fixture, const char *service)
{
    struct lathe_channel_stream *stream = NULL;
    struct lathe_buf request = {0};

    encode_health(service, &request);
    assert_int_equal(
        lathe_channel_stream_open(fixture->channel, "/grpc.health.v1.Health/Watch", &stream, NULL),
        LATHE_OK);
    assert_int_equal(lathe_channel_stream_send(stream, lathe_buf_view(&request), NULL), LATHE_OK);
    lathe_buf_fini(&request);
    return stream;
}

static int next_health(struct lathe_channel_stream *stream)
{
    struct lathe_buf reply = {0};
    enum lathe_status status = lathe_channel_stream_receive(stream, &reply, NULL);
    int health = status == LATHE_OK ? decode_health(&reply) : -(int)status;

    lathe_buf_fini(&reply);
    return health;
}

static void watch_follows_every_change_until_the_server_stops(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *all = watch(fixture, "");
    struct lathe_channel_stream *unknown = watch(fixture, "test.Nothing");
    struct lathe_channel_stream *left = watch(fixture, "test.T");

    (void)state;
    assert_int_equal(next_health(all), 2);
    assert_int_equal(next_health(unknown), 3);
    assert_int_equal(next_health(left), 2);
    lathe_channel_stream_close(left, false);
    for (int i = 0; i < 10; i++) {
        lathe_grpc_server_set_serving(fixture->server, true);
        lathe_grpc_server_set_serving(fixture->server, true); /* no change, no message */
        assert_int_equal(next_health(all), 1);
        lathe_grpc_server_set_serving(fixture->server, false);
        assert_int_equal(next_health(all), 2);
    }
    lathe_grpc_server_set_serving(fixture->server, true);
    assert_int_equal(next_health(all), 1);
    assert_int_equal(lathe_grpc_server_calls(fixture->server), 0); /* a Watch is no load */
    lathe_grpc_server_stop(&fixture->server, 60000);
    assert_int_equal(next_health(all), 2);
    assert_int_equal(next_health(all), -LATHE_UNAVAILABLE);
    assert_int_equal(next_health(unknown), -LATHE_UNAVAILABLE);
    lathe_channel_stream_close(all, false);
    lathe_channel_stream_close(unknown, false);
    fixture_stop(fixture);
}

static void watch_without_a_request_is_refused(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = NULL;

    (void)state;
    assert_int_equal(
        lathe_channel_stream_open(fixture->channel, "/grpc.health.v1.Health/Watch", &stream, NULL),
        LATHE_OK);
    lathe_channel_stream_close(stream, true);
    stream = watch(fixture, "\xC0\xAF");
    assert_int_equal(next_health(stream), -LATHE_INVALID_ARGUMENT);
    lathe_channel_stream_close(stream, false);
    fixture_stop(fixture);
}

/* --- Reflection --- */

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

static const char *const reflection_paths[] = {
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
};

static reflection_response *ask(struct lathe_channel_stream *stream, reflection_request *request)
{
    struct lathe_buf bytes = {0}, reply = {0};
    reflection_response *response;

    lathe_message_encode(&request->base, &bytes);
    assert_int_equal(lathe_channel_stream_send(stream, lathe_buf_view(&bytes), NULL), LATHE_OK);
    assert_int_equal(lathe_channel_stream_receive(stream, &reply, NULL), LATHE_OK);
    response = grpc__reflection__v1__server_reflection_response__unpack(NULL, reply.size,
                                                                        reply.data);
    assert_non_null(response);
    assert_int_equal(response->original_request->message_request_case,
                     request->message_request_case);
    assert_string_equal(response->valid_host, request->host);
    lathe_buf_fini(&bytes);
    lathe_buf_fini(&reply);
    return response;
}

static void done(reflection_response *response)
{
    grpc__reflection__v1__server_reflection_response__free_unpacked(response, NULL);
}

static reflection_request about(int kind, const char *text)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;

    request.host = (char *)"somewhere";
    request.message_request_case =
        (Grpc__Reflection__V1__ServerReflectionRequest__MessageRequestCase)kind;
    request.file_containing_symbol = (char *)text; /* a union of strings */
    return request;
}

enum {
    BY_NAME = ASKED(FILE_BY_FILENAME),
    BY_SYMBOL = ASKED(FILE_CONTAINING_SYMBOL),
    BY_EXTENSION = ASKED(FILE_CONTAINING_EXTENSION),
    EXTENSIONS = ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE),
    SERVICES = ASKED(LIST_SERVICES)
};

static void expect_error(struct lathe_channel_stream *stream, reflection_request request, int code)
{
    reflection_response *response = ask(stream, &request);

    assert_int_equal(response->message_response_case, ANSWERED(ERROR_RESPONSE));
    assert_int_equal(response->error_response->error_code, code);
    done(response);
}

/* Asks for a file; checks its name, and that whatever it imports came with it. */
static void expect_file(struct lathe_channel_stream *stream, int kind, const char *text,
                        const char *name)
{
    reflection_request request = about(kind, text);
    reflection_response *response = ask(stream, &request);
    Google__Protobuf__FileDescriptorProto *files[32] = {NULL};
    size_t count;

    assert_int_equal(response->message_response_case, ANSWERED(FILE_DESCRIPTOR_RESPONSE));
    count = response->file_descriptor_response->n_file_descriptor_proto;
    assert_in_range(count, 1, 32);
    for (size_t i = 0; i < count; i++) {
        const ProtobufCBinaryData *bytes =
            &response->file_descriptor_response->file_descriptor_proto[i];

        files[i] = google__protobuf__file_descriptor_proto__unpack(NULL, bytes->len, bytes->data);
        assert_non_null(files[i]);
    }
    assert_string_equal(files[0]->name, name);
    for (size_t i = 0; i < count; i++)
        for (size_t d = 0; d < files[i]->n_dependency; d++) {
            unsigned times = 0;

            for (size_t j = 0; j < count; j++)
                times += strcmp(files[j]->name, files[i]->dependency[d]) == 0;
            assert_int_equal(times, 1);
        }
    for (size_t i = 0; i < count; i++)
        google__protobuf__file_descriptor_proto__free_unpacked(files[i], NULL);
    done(response);
}

static void expect_services(struct lathe_channel_stream *stream)
{
    static const char *const names[] = {
        "test.T",
        "lathe.v1.ServerService",
        "lathe.v1.PointService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    };
    reflection_request request = about(SERVICES, "*");
    reflection_response *response = ask(stream, &request);

    assert_int_equal(response->message_response_case, ANSWERED(LIST_SERVICES_RESPONSE));
    assert_int_equal(response->list_services_response->n_service, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(response->list_services_response->service[i]->name, names[i]);
    done(response);
}

static void reflection_tells_services_files_and_symbols(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    Grpc__Reflection__V1__ExtensionRequest extension =
        GRPC__REFLECTION__V1__EXTENSION_REQUEST__INIT;

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct lathe_channel_stream *stream = NULL;
        reflection_request request;

        assert_int_equal(
            lathe_channel_stream_open(fixture->channel, reflection_paths[i], &stream, NULL),
            LATHE_OK);
        expect_services(stream);
        expect_file(stream, BY_NAME, "lathe/v1/points.proto", "lathe/v1/points.proto");
        expect_file(stream, BY_NAME, "google/protobuf/any.proto", "google/protobuf/any.proto");
        expect_file(stream, BY_SYMBOL, "lathe.v1.SearchService", "lathe/v1/search.proto");
        expect_file(stream, BY_SYMBOL, "lathe.v1.SearchService.Search", "lathe/v1/search.proto");
        expect_file(stream, BY_SYMBOL, "lathe.v1.WriteOperation", "lathe/v1/points.proto");
        expect_file(stream, BY_SYMBOL, "grpc.reflection.v1alpha.ServerReflection",
                    "grpc/reflection/v1alpha/reflection.proto");
        expect_error(stream, about(BY_NAME, "lathe/v1/nothing.proto"), LATHE_NOT_FOUND);
        expect_error(stream, about(BY_SYMBOL, "lathe.v1.Nothing"), LATHE_NOT_FOUND);
        expect_error(stream, about(BY_SYMBOL, ""), LATHE_NOT_FOUND);
        expect_error(stream, about(EXTENSIONS, "lathe.v1.Point"), LATHE_UNIMPLEMENTED);
        request = about(BY_EXTENSION, NULL);
        request.file_containing_extension = &extension;
        expect_error(stream, request, LATHE_NOT_FOUND);
        expect_error(stream, about(0, NULL), LATHE_INVALID_ARGUMENT);
        lathe_channel_stream_close(stream, true);
    }
    fixture_stop(fixture);
}

static void a_malformed_reflection_request_ends_the_stream(void **state)
{
    struct fixture *fixture = fixture_start(&defaults);
    struct lathe_channel_stream *stream = NULL;
    struct lathe_buf reply = {0};

    (void)state;
    assert_int_equal(
        lathe_channel_stream_open(fixture->channel, reflection_paths[0], &stream, NULL), LATHE_OK);
    assert_int_equal(lathe_channel_stream_send(stream, lathe_bytes_of("\x22\x7F", 2), NULL),
                     LATHE_OK);
    assert_int_equal(lathe_channel_stream_receive(stream, &reply, NULL), LATHE_INVALID_ARGUMENT);
    lathe_channel_stream_close(stream, false);
    fixture_stop(fixture);
}

/* --- Descriptors --- */

static void every_kind_of_symbol_is_found_in_its_file(void **state)
{
    static const struct {
        const char *symbol;
        const char *file; /* NULL: not there */
    } cases[] = {
        {"google.rpc.BadRequest", "google/rpc/error_details.proto"},
        {"google.rpc.BadRequest.FieldViolation", "google/rpc/error_details.proto"},
        {"google.rpc.BadRequest.FieldViolation.field", "google/rpc/error_details.proto"},
        {"grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.HealthCheckResponse.SERVING", "grpc/health/v1/health.proto"},
        {"grpc.health.v1.Health.Watch", "grpc/health/v1/health.proto"},
        {"lathe.v1.GuaranteeLevel", "lathe/v1/search.proto"},
        {"lathe.v1.GUARANTEE_LEVEL_EXACT", "lathe/v1/search.proto"},
        {"google.protobuf.Any", "google/protobuf/any.proto"},
        {"google.rpc.BadRequest.", NULL},
        {"google.rpc", NULL},
        {"google.rpc.BadReques", NULL},
        {"google.rpc.BadRequestX", NULL},
        {"google.rpc.BadRequest.FieldViolation.field.x", NULL},
        {"grpc.health.v1.Health.Nothing", NULL},
        {".lathe.v1.GuaranteeLevel", NULL},
    };
    struct lathe_error err = {0};
    struct lathe_descriptors *descriptors = lathe_descriptors_create(&err);

    (void)state;
    assert_non_null(descriptors);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int expected = cases[i].file != NULL ? lathe_descriptors_by_name(descriptors, cases[i].file)
                                             : LATHE_DESCRIPTOR_NONE;

        assert_true(cases[i].file == NULL || expected != LATHE_DESCRIPTOR_NONE);
        assert_int_equal(lathe_descriptors_by_symbol(descriptors, cases[i].symbol), expected);
    }
    lathe_descriptors_destroy(descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_says_whether_the_server_serves),
        cmocka_unit_test(check_works_while_the_server_is_full),
        cmocka_unit_test(a_request_that_is_too_long_or_malformed_is_refused),
        cmocka_unit_test(watch_follows_every_change_until_the_server_stops),
        cmocka_unit_test(watch_without_a_request_is_refused),
        cmocka_unit_test(reflection_tells_services_files_and_symbols),
        cmocka_unit_test(a_malformed_reflection_request_ends_the_stream),
        cmocka_unit_test(every_kind_of_symbol_is_found_in_its_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
