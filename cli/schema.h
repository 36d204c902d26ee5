/* schema.h - the schema of a collection between the command line and lathe.v1. */
#ifndef LATHE_CLI_SCHEMA_H
#define LATHE_CLI_SCHEMA_H
#include "cli/cli.h"
#include "common/base/limits.h"
#include "lathe/v1/collections.pb-c.h"

/* A schema with the room that it needs. Not copied: the messages point into it. */
struct lathe_schema {
    Lathe__V1__CollectionSchema message;
    Lathe__V1__FieldSchema fields[LATHE_MAX_FIELDS];
    Lathe__V1__FieldSchema *pointers[LATHE_MAX_FIELDS];
    char names[LATHE_MAX_FIELDS][LATHE_MAX_NAME_BYTES + 1];
};

void lathe_schema_init(struct lathe_schema *schema);
/* Adds a field. INVALID_ARGUMENT: too many fields, or the name is too long. What else is wrong the
 * server says. */
LATHE_MUST_CHECK enum lathe_status lathe_schema_add(struct lathe_schema *schema,
                                                    struct lathe_bytes name, uint64_t dims,
                                                    Lathe__V1__Metric metric,
                                                    Lathe__V1__ZeroVectors zero_vectors,
                                                    struct lathe_error *err);
/* Adds "NAME:DIMS:METRIC". The name may hold colons. */
LATHE_MUST_CHECK enum lathe_status lathe_schema_add_text(struct lathe_schema *schema,
                                                         const char *text,
                                                         Lathe__V1__ZeroVectors zero_vectors,
                                                         struct lathe_error *err);

/* "cosine" and so on; the names of the option --metric in the order of its choices. */
#define LATHE_METRIC_CHOICES "cosine|dot|euclidean"
const char *lathe_schema_metric_name(Lathe__V1__Metric metric);
Lathe__V1__Metric lathe_schema_metric_of_choice(unsigned choice);

/* GetCollection; freed with lathe_client_free_reply(). */
LATHE_MUST_CHECK enum lathe_status lathe_collection_get(struct lathe_cli *cli, const char *name,
                                                        Lathe__V1__Collection **collection_out,
                                                        struct lathe_error *err);
LATHE_MUST_CHECK enum lathe_status
lathe_schema_create_collection(struct lathe_cli *cli, const char *name,
                               const struct lathe_schema *schema, const char *metadata,
                               Lathe__V1__Collection **collection_out, struct lathe_error *err);
#endif
