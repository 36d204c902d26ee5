/* descriptor.h - the .proto files of the public API, as the server itself knows them: found by name
 * and by what they define. */
#ifndef LATHE_COORDINATOR_GRPC_DESCRIPTOR_H
#define LATHE_COORDINATOR_GRPC_DESCRIPTOR_H
#include "common/base/bytes.h"

struct lathe_descriptors;

enum { LATHE_DESCRIPTOR_NONE = -1 };

/* Reads the set that was built into the program. RESOURCE_EXHAUSTED: memory is short. */
struct lathe_descriptors *lathe_descriptors_create(struct lathe_error *err);
void lathe_descriptors_destroy(struct lathe_descriptors *descriptors);

/* The index of a file, or LATHE_DESCRIPTOR_NONE. */
int lathe_descriptors_by_name(const struct lathe_descriptors *descriptors, const char *name);
/* The same of the file that defines a service, method, message, enum, field or enum value, given
 * with its package and without a leading dot. */
int lathe_descriptors_by_symbol(const struct lathe_descriptors *descriptors, const char *symbol);

size_t lathe_descriptors_count(const struct lathe_descriptors *descriptors);
/* Fills files_out (room for lathe_descriptors_count) with a file and all it depends on, the file
 * itself first, each once. Returns their number. */
size_t lathe_descriptors_closure(const struct lathe_descriptors *descriptors, int file,
                                 int *files_out);
/* The encoded FileDescriptorProto; lives as long as the set. */
struct lathe_bytes lathe_descriptors_bytes(const struct lathe_descriptors *descriptors, int file);
#endif
