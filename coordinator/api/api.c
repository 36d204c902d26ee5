/* api.c - the table of methods. */
#include "coordinator/api/api.h"

#include "common/base/limits.h"

static const struct lathe_method methods[] = {
    {.path = "/lathe.v1.CollectionService/CreateCollection",
     .unary = lathe_api_create_collection,
     .default_timeout_ms = LATHE_DEFAULT_WRITE_TIMEOUT_MS},
    {.path = "/lathe.v1.CollectionService/GetCollection",
     .unary = lathe_api_get_collection,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
    {.path = "/lathe.v1.CollectionService/ListCollections",
     .unary = lathe_api_list_collections,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
    {.path = "/lathe.v1.CollectionService/DeleteCollection",
     .unary = lathe_api_delete_collection,
     .default_timeout_ms = LATHE_DEFAULT_WRITE_TIMEOUT_MS},
    {.path = "/lathe.v1.PointService/WritePoints",
     .unary = lathe_api_write_points,
     .default_timeout_ms = LATHE_DEFAULT_WRITE_TIMEOUT_MS},
    /* A stream lives as long as its client wants; each of its requests has its own deadline. */
    {.path = "/lathe.v1.PointService/StreamWrites", .stream = &lathe_api_stream_writes},
    {.path = "/lathe.v1.PointService/GetPoints",
     .unary = lathe_api_get_points,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
    {.path = "/lathe.v1.PointService/ListPoints",
     .unary = lathe_api_list_points,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
    {.path = "/lathe.v1.PointService/CountPoints",
     .unary = lathe_api_count_points,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
    {.path = "/lathe.v1.SearchService/Search",
     .unary = lathe_api_search,
     .default_timeout_ms = LATHE_DEFAULT_SEARCH_TIMEOUT_MS},
    {.path = "/lathe.v1.SearchService/SearchBatch",
     .unary = lathe_api_search_batch,
     .default_timeout_ms = LATHE_DEFAULT_SEARCH_TIMEOUT_MS},
    {.path = "/lathe.v1.ServerService/GetInfo",
     .unary = lathe_api_get_info,
     .default_timeout_ms = LATHE_DEFAULT_READ_TIMEOUT_MS},
};

const struct lathe_method *lathe_api_methods(size_t *count_out)
{
    *count_out = sizeof(methods) / sizeof(methods[0]);
    return methods;
}
