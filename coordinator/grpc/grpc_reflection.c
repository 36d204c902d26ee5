/* grpc_reflection.c - server reflection, v1 and v1alpha: the same messages under two names. */
#include <grpc/reflection/v1/reflection.pb-c.h>

#include "common/net/message.h"
#include "coordinator/grpc/descriptor.h"
#include "coordinator/grpc/grpc_internal.h"

enum { REQUEST_BYTES = 8192 };

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

/* The cases of the two oneofs, whose full names do not fit on a line. */
#define ASKED(what)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##what
#define ANSWERED(what) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##what

struct lathe_grpc_reflection {
    const struct lathe_grpc_server *server;
    struct lathe_descriptors *descriptors;
};

struct lathe_grpc_reflection *lathe_grpc_reflection_create(const struct lathe_grpc_server *server,
                                                           struct lathe_error *err)
{
    struct lathe_grpc_reflection *reflection = lathe_zalloc(sizeof(*reflection));

    if (reflection == NULL) {
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the reflection service");
        return NULL;
    }
    reflection->server = server;
    reflection->descriptors = lathe_descriptors_create(err);
    if (reflection->descriptors == NULL) {
        lathe_free(reflection);
        return NULL;
    }
    return reflection;
}

void lathe_grpc_reflection_destroy(struct lathe_grpc_reflection *reflection)
{
    if (reflection == NULL)
        return;
    lathe_descriptors_destroy(reflection->descriptors);
    lathe_free(reflection);
}

/* --- Answers: each in the arena of its request --- */

static void answer_error(reflection_response *response, Grpc__Reflection__V1__ErrorResponse *error,
                         enum lathe_status status, const char *message)
{
    grpc__reflection__v1__error_response__init(error);
    error->error_code = (int32_t)status;
    error->error_message = (char *)message;
    response->message_response_case = ANSWERED(ERROR_RESPONSE);
    response->error_response = error;
}

static bool answer_file(const struct lathe_descriptors *descriptors, int file,
                        struct lathe_arena *arena, reflection_response *response)
{
    size_t count = lathe_descriptors_count(descriptors);
    Grpc__Reflection__V1__FileDescriptorResponse *answer = lathe_arena_alloc(arena,
                                                                             sizeof(*answer));
    ProtobufCBinaryData *data = lathe_arena_alloc(arena, count * sizeof(*data));
    int *files = lathe_arena_alloc(arena, count * sizeof(*files));

    if (answer == NULL || data == NULL || files == NULL)
        return false;
    grpc__reflection__v1__file_descriptor_response__init(answer);
    answer->n_file_descriptor_proto = lathe_descriptors_closure(descriptors, file, files);
    answer->file_descriptor_proto = data;
    for (size_t i = 0; i < answer->n_file_descriptor_proto; i++) {
        struct lathe_bytes bytes = lathe_descriptors_bytes(descriptors, files[i]);

        data[i] = (ProtobufCBinaryData){bytes.size, (uint8_t *)bytes.data};
    }
    response->message_response_case = ANSWERED(FILE_DESCRIPTOR_RESPONSE);
    response->file_descriptor_response = answer;
    return true;
}

/* True if no method before this one has the same service. */
static bool first_of_service(const struct lathe_grpc_server *server, size_t index)
{
    struct lathe_bytes service = lathe_grpc_service_of(&server->methods[index]);

    for (size_t i = 0; i < index; i++)
        if (lathe_bytes_equal(lathe_grpc_service_of(&server->methods[i]), service))
            return false;
    return service.size > 0;
}

static bool answer_services(const struct lathe_grpc_server *server, struct lathe_arena *arena,
                            reflection_response *response)
{
    Grpc__Reflection__V1__ListServiceResponse *answer = lathe_arena_alloc(arena, sizeof(*answer));
    Grpc__Reflection__V1__ServiceResponse **list = lathe_arena_alloc(arena, server->method_count *
                                                                                sizeof(*list));

    if (answer == NULL || list == NULL)
        return false;
    grpc__reflection__v1__list_service_response__init(answer);
    answer->service = list;
    for (size_t i = 0; i < server->method_count; i++) {
        struct lathe_bytes name = lathe_grpc_service_of(&server->methods[i]);
        Grpc__Reflection__V1__ServiceResponse *service;
        char *text;

        if (!first_of_service(server, i))
            continue;
        service = lathe_arena_alloc(arena, sizeof(*service));
        text = lathe_arena_alloc(arena, name.size + 1);
        if (service == NULL || text == NULL)
            return false;
        memcpy(text, name.data, name.size);
        text[name.size] = '\0';
        grpc__reflection__v1__service_response__init(service);
        service->name = text;
        list[answer->n_service++] = service;
    }
    response->message_response_case = ANSWERED(LIST_SERVICES_RESPONSE);
    response->list_services_response = answer;
    return true;
}

/* Fills in the response to one request. False when memory is short. */
static bool answer(const struct lathe_grpc_reflection *reflection,
                   const reflection_request *request, struct lathe_arena *arena,
                   reflection_response *response, Grpc__Reflection__V1__ErrorResponse *error)
{
    const struct lathe_descriptors *descriptors = reflection->descriptors;
    int file;

    switch (request->message_request_case) {
    case ASKED(LIST_SERVICES):
        return answer_services(reflection->server, arena, response);
    case ASKED(FILE_BY_FILENAME):
        file = lathe_descriptors_by_name(descriptors, request->file_by_filename);
        break;
    case ASKED(FILE_CONTAINING_SYMBOL):
        file = lathe_descriptors_by_symbol(descriptors, request->file_containing_symbol);
        break;
    case ASKED(FILE_CONTAINING_EXTENSION):
        file = LATHE_DESCRIPTOR_NONE; /* the API has no extensions */
        break;
    case ASKED(ALL_EXTENSION_NUMBERS_OF_TYPE):
        answer_error(response, error, LATHE_UNIMPLEMENTED, "the API has no extensions");
        return true;
    default:
        answer_error(response, error, LATHE_INVALID_ARGUMENT, "the request asks for nothing");
        return true;
    }
    if (file != LATHE_DESCRIPTOR_NONE)
        return answer_file(descriptors, file, arena, response);
    answer_error(response, error, LATHE_NOT_FOUND, "no file of the API has or defines that");
    return true;
}

/* --- The stream --- */

static enum lathe_status handle(const struct lathe_grpc_reflection *reflection,
                                struct lathe_bytes bytes, struct lathe_arena *arena,
                                struct lathe_buf *reply, struct lathe_error *err)
{
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error;
    reflection_request *request;
    ProtobufCMessage *message;
    enum lathe_status status;

    if (bytes.size > REQUEST_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the request has %zu bytes, more than the limit of %d", bytes.size,
                          REQUEST_BYTES);
    status = lathe_message_decode(&grpc__reflection__v1__server_reflection_request__descriptor,
                                  bytes, arena, &message, err);
    if (status != LATHE_OK)
        return status;
    request = (reflection_request *)message;
    response.valid_host = request->host;
    response.original_request = request;
    if (!answer(reflection, request, arena, &response, &error))
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the answer");
    lathe_message_encode(&response.base, reply);
    return LATHE_OK;
}

static void reflection_message(void *context, struct lathe_call *call, struct lathe_bytes request)
{
    struct lathe_arena arena = {0};
    struct lathe_buf reply = {0};
    struct lathe_error err = {0};

    if (handle(context, request, &arena, &reply, &err) == LATHE_OK) {
        lathe_call_send(call, &reply);
        lathe_call_next(call);
    } else {
        lathe_call_finish(call, &err);
    }
    lathe_arena_fini(&arena);
}

static void reflection_closed(void *context, struct lathe_call *call, bool half_closed)
{
    (void)context;
    (void)half_closed;
    lathe_call_finish(call, NULL);
}

static const struct lathe_stream_handler reflection_stream = {NULL, reflection_message,
                                                              reflection_closed, NULL};

const struct lathe_method lathe_grpc_reflection_methods[LATHE_GRPC_REFLECTION_METHODS] = {
    {"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", NULL, &reflection_stream, 0},
    {"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", NULL, &reflection_stream, 0},
};
