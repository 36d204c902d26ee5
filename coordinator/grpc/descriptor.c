/* descriptor.c - see descriptor.h. The set is about ten files, so it is searched, not indexed. */
#include "coordinator/grpc/descriptor.h"

#include <google/protobuf/descriptor.pb-c.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* protoc's output, put into the program as it is (ELF only, as everything else here). */
__asm__(".section .rodata\n"
        ".balign 16\n"
        "lathe_descriptor_set_begin:\n"
        ".incbin \"" LATHE_DESCRIPTOR_SET_FILE "\"\n"
        "lathe_descriptor_set_end:\n"
        ".previous\n");
extern const uint8_t lathe_descriptor_set_begin[];
extern const uint8_t lathe_descriptor_set_end[];

typedef Google__Protobuf__FileDescriptorProto file_proto;
typedef Google__Protobuf__DescriptorProto message_proto;
typedef Google__Protobuf__EnumDescriptorProto enum_proto;
typedef Google__Protobuf__ServiceDescriptorProto service_proto;

struct lathe_descriptors {
    Google__Protobuf__FileDescriptorSet *set;
    struct lathe_buf *encoded; /* one a file */
};

static bool encode_files(struct lathe_descriptors *descriptors)
{
    descriptors->encoded = lathe_zalloc_array(descriptors->set->n_file,
                                              sizeof(*descriptors->encoded));
    if (descriptors->encoded == NULL)
        return false;
    for (size_t i = 0; i < descriptors->set->n_file; i++) {
        const ProtobufCMessage *file = &descriptors->set->file[i]->base;
        uint8_t *room = lathe_buf_extend(&descriptors->encoded[i],
                                         protobuf_c_message_get_packed_size(file));

        if (room == NULL)
            return false;
        (void)protobuf_c_message_pack(file, room);
    }
    return true;
}

struct lathe_descriptors *lathe_descriptors_create(struct lathe_error *err)
{
    struct lathe_descriptors *descriptors = lathe_zalloc(sizeof(*descriptors));
    size_t size = (size_t)(lathe_descriptor_set_end - lathe_descriptor_set_begin);

    if (descriptors != NULL)
        descriptors->set = google__protobuf__file_descriptor_set__unpack(
            NULL, size, lathe_descriptor_set_begin);
    if (descriptors != NULL && descriptors->set != NULL && encode_files(descriptors))
        return descriptors;
    lathe_descriptors_destroy(descriptors);
    (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the API's descriptors");
    return NULL;
}

void lathe_descriptors_destroy(struct lathe_descriptors *descriptors)
{
    if (descriptors == NULL)
        return;
    for (size_t i = 0; descriptors->encoded != NULL && i < descriptors->set->n_file; i++)
        lathe_buf_fini(&descriptors->encoded[i]);
    lathe_free(descriptors->encoded);
    if (descriptors->set != NULL)
        google__protobuf__file_descriptor_set__free_unpacked(descriptors->set, NULL);
    lathe_free(descriptors);
}

int lathe_descriptors_by_name(const struct lathe_descriptors *descriptors, const char *name)
{
    for (size_t i = 0; i < descriptors->set->n_file; i++)
        if (strcmp(descriptors->set->file[i]->name, name) == 0)
            return (int)i;
    return LATHE_DESCRIPTOR_NONE;
}

/* --- Symbols --- */

/* What follows "scope." in the symbol; "" if the symbol is the scope itself; NULL if it is not in
 * that scope. */
static const char *inside(const char *symbol, const char *scope)
{
    size_t size = strlen(scope);

    if (size == 0)
        return symbol;
    if (strncmp(symbol, scope, size) != 0)
        return NULL;
    if (symbol[size] == '\0')
        return symbol + size;
    return symbol[size] == '.' && symbol[size + 1] != '\0' ? symbol + size + 1 : NULL;
}

/* An enum's values are named in the scope around it, as in C++. */
static bool enums_define(enum_proto *const *enums, size_t count, const char *symbol)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(enums[i]->name, symbol) == 0)
            return true;
        for (size_t v = 0; v < enums[i]->n_value; v++)
            if (strcmp(enums[i]->value[v]->name, symbol) == 0)
                return true;
    }
    return false;
}

/* Depth is bounded by the nesting in our own files. */
static bool message_defines(const message_proto *message, const char *symbol)
{
    const char *rest = inside(symbol, message->name);

    if (rest == NULL)
        return false;
    if (*rest == '\0' || enums_define(message->enum_type, message->n_enum_type, rest))
        return true;
    for (size_t i = 0; i < message->n_field; i++)
        if (strcmp(message->field[i]->name, rest) == 0)
            return true;
    for (size_t i = 0; i < message->n_nested_type; i++)
        if (message_defines(message->nested_type[i], rest))
            return true;
    return false;
}

static bool service_defines(const service_proto *service, const char *symbol)
{
    const char *rest = inside(symbol, service->name);

    if (rest == NULL || *rest == '\0')
        return rest != NULL;
    for (size_t i = 0; i < service->n_method; i++)
        if (strcmp(service->method[i]->name, rest) == 0)
            return true;
    return false;
}

static bool file_defines(const file_proto *file, const char *symbol)
{
    const char *rest = inside(symbol, file->package != NULL ? file->package : "");

    if (rest == NULL || *rest == '\0')
        return false;
    for (size_t i = 0; i < file->n_message_type; i++)
        if (message_defines(file->message_type[i], rest))
            return true;
    for (size_t i = 0; i < file->n_service; i++)
        if (service_defines(file->service[i], rest))
            return true;
    return enums_define(file->enum_type, file->n_enum_type, rest);
}

int lathe_descriptors_by_symbol(const struct lathe_descriptors *descriptors, const char *symbol)
{
    for (size_t i = 0; i < descriptors->set->n_file; i++)
        if (file_defines(descriptors->set->file[i], symbol))
            return (int)i;
    return LATHE_DESCRIPTOR_NONE;
}

/* --- Files --- */

size_t lathe_descriptors_count(const struct lathe_descriptors *descriptors)
{
    return descriptors->set->n_file;
}

static bool contains(const int *files, size_t count, int file)
{
    for (size_t i = 0; i < count; i++)
        if (files[i] == file)
            return true;
    return false;
}

size_t lathe_descriptors_closure(const struct lathe_descriptors *descriptors, int file,
                                 int *files_out)
{
    size_t count = 1;

    files_out[0] = file;
    for (size_t at = 0; at < count; at++) { /* the list grows while it is read: breadth first */
        const file_proto *from = descriptors->set->file[files_out[at]];

        for (size_t i = 0; i < from->n_dependency; i++) {
            int needed = lathe_descriptors_by_name(descriptors, from->dependency[i]);

            LATHE_REQUIRE(needed != LATHE_DESCRIPTOR_NONE); /* protoc included the imports */
            if (!contains(files_out, count, needed))
                files_out[count++] = needed;
        }
    }
    return count;
}

struct lathe_bytes lathe_descriptors_bytes(const struct lathe_descriptors *descriptors, int file)
{
    return lathe_buf_view(&descriptors->encoded[file]);
}
