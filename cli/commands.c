/* commands.c - the table of commands and their options: what `lathe` takes, checks, explains,
 * documents. */
#include "cli/commands.h"

#include "cli/schema.h"
#include "common/base/limits.h"

#define ONE_CALL LATHE_OPTION_FLAG_ONLY
#define ARGUMENT (LATHE_OPTION_POSITIONAL | LATHE_OPTION_FLAG_ONLY)
#define REQUIRED LATHE_OPTION_REQUIRED

#define SERVER_ROW                                                                     \
    {                                                                                  \
        .name = "server", .type = LATHE_OPTION_TEXT, .value = "ADDR",                  \
        .fallback = "127.0.0.1:7770", .summary = "The server: host:port or unix:path." \
    }
#define TIMEOUT_ROW(time, sentence)                                                  \
    {                                                                                \
        .name = "timeout", .type = LATHE_OPTION_DURATION, .value = "TIME", .min = 1, \
        .max = 60 * 60 * 1000, .fallback = time, .summary = sentence                 \
    }
#define CLIENT_ROWS SERVER_ROW, TIMEOUT_ROW("10s", "How long an answer may take.")
#define JSON_ROW                                                          \
    {                                                                     \
        .name = "json", .type = LATHE_OPTION_BOOL, .flags = ONE_CALL,     \
        .summary = "Print JSON, one document a line, instead of a table." \
    }
#define NAME_ROW                                                                                  \
    {                                                                                             \
        .name = "name", .type = LATHE_OPTION_TEXT, .flags = ARGUMENT | REQUIRED, .value = "NAME", \
        .summary = "The collection."                                                              \
    }
#define COLLECTION_ROW                                                                 \
    {                                                                                  \
        .name = "collection", .type = LATHE_OPTION_TEXT, .flags = ONE_CALL | REQUIRED, \
        .value = "NAME", .summary = "The collection."                                  \
    }
#define IDS_ROW                                                                              \
    {                                                                                        \
        .name = "id", .type = LATHE_OPTION_TEXT,                                             \
        .flags = ARGUMENT | REQUIRED | LATHE_OPTION_REPEATED, .value = "ID",                 \
        .summary =                                                                           \
            "Ids of points: digits are a number, a UUID is a UUID, anything else a string; " \
            "str:7 is the string 7."                                                         \
    }

static const struct lathe_option serve_options[] = {
    {.name = "data",
     .type = LATHE_OPTION_PATH,
     .flags = REQUIRED,
     .value = "DIR",
     .summary = "Data directory; made if it does not exist."},
    {.name = "listen",
     .type = LATHE_OPTION_TEXT,
     .value = "ADDR",
     .fallback = "127.0.0.1:7770",
     .summary = "Where clients connect: host:port, [v6]:port or unix:path; port 0 takes a free "
                "one."},
    {.name = "shards",
     .type = LATHE_OPTION_UINT,
     .flags = LATHE_OPTION_AUTO,
     .value = "N",
     .min = 1,
     .max = LATHE_MAX_SHARDS,
     .fallback = "auto",
     .unit = "shards",
     .summary = "Shards of a new data directory, fixed for its life; auto is what the directory "
                "has, or one for every two cores."},
    {.name = "memory-limit",
     .type = LATHE_OPTION_BYTES,
     .flags = LATHE_OPTION_AUTO,
     .value = "BYTES",
     .min = (uint64_t)64 << 20,
     .max = (uint64_t)1 << 50,
     .fallback = "auto",
     .summary = "What rows, ids, caches and requests may take in all; inserts are refused at 95 "
                "% of it; auto is 80 % of what the process may use."},
    {.name = "scan-threads",
     .type = LATHE_OPTION_UINT,
     .flags = LATHE_OPTION_AUTO,
     .value = "N",
     .min = 1,
     .max = 1024,
     .fallback = "auto",
     .unit = "threads",
     .summary = "Threads that scan rows, shared by all shards; auto is one for each core."},
    {.name = "kernel",
     .type = LATHE_OPTION_CHOICE,
     .choices = "auto|scalar|avx2|avx512",
     .fallback = "auto",
     .summary = "Instruction set of the scan; auto is the best that the processor has."},
    {.name = "max-payload",
     .type = LATHE_OPTION_BYTES,
     .value = "BYTES",
     .min = 1024,
     .max = 16u << 20,
     .fallback = "1MiB",
     .summary = "Largest payload of a point."},
    {.name = "insecure",
     .type = LATHE_OPTION_BOOL,
     .fallback = "no",
     .summary = "Allow an address that other machines can reach, without encryption."},
    {.name = "log-level",
     .type = LATHE_OPTION_CHOICE,
     .choices = "debug|info|warn|error",
     .fallback = "info",
     .summary = "Lines below this level are not logged."},
    {.name = "port-file",
     .type = LATHE_OPTION_PATH,
     .value = "FILE",
     .summary = "File that gets the port once the server answers."},
    {.name = "config",
     .type = LATHE_OPTION_PATH,
     .value = "FILE",
     .summary = "Configuration file with lines \"option = value\"; # begins a comment."},
};

static const struct lathe_option create_options[] = {
    NAME_ROW,
    {.name = "dims",
     .type = LATHE_OPTION_UINT,
     .flags = ONE_CALL,
     .value = "N",
     .min = 1,
     .max = LATHE_MAX_DIMS,
     .unit = "dims",
     .summary = "Elements of a vector of the default field."},
    {.name = "metric",
     .type = LATHE_OPTION_CHOICE,
     .flags = ONE_CALL,
     .choices = LATHE_METRIC_CHOICES,
     .fallback = "cosine",
     .summary = "How vectors of the default field are compared."},
    {.name = "field",
     .type = LATHE_OPTION_TEXT,
     .flags = ONE_CALL | LATHE_OPTION_REPEATED,
     .value = "NAME:DIMS:METRIC",
     .summary = "A named field; may come several times, with or without --dims."},
    {.name = "zero-vectors",
     .type = LATHE_OPTION_CHOICE,
     .flags = ONE_CALL,
     .choices = "reject|allow",
     .summary = "Whether a vector of zeros is taken; without it cosine rejects and the others "
                "allow."},
    {.name = "metadata",
     .type = LATHE_OPTION_TEXT,
     .flags = ONE_CALL,
     .value = "TEXT",
     .summary = "Text that is kept with the collection."},
    JSON_ROW,
    CLIENT_ROWS,
};

static const struct lathe_option list_options[] = {JSON_ROW, CLIENT_ROWS};
static const struct lathe_option describe_options[] = {NAME_ROW, JSON_ROW, CLIENT_ROWS};
static const struct lathe_option drop_options[] = {
    NAME_ROW,
    {.name = "yes",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Do not ask; nothing is asked either where nobody sits at a terminal."},
    CLIENT_ROWS,
};

static const struct lathe_option import_options[] = {
    {.name = "file",
     .type = LATHE_OPTION_PATH,
     .flags = ARGUMENT | REQUIRED,
     .value = "FILE",
     .summary = "Rows as .fvecs, as .npy of float32, or as JSON lines (.jsonl)."},
    COLLECTION_ROW,
    {.name = "create",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Make the collection if there is none, with the fields and dims of the first "
                "row; needs --metric."},
    {.name = "metric",
     .type = LATHE_OPTION_CHOICE,
     .flags = ONE_CALL,
     .choices = LATHE_METRIC_CHOICES,
     .summary = "How vectors of a collection made by --create are compared."},
    {.name = "field",
     .type = LATHE_OPTION_TEXT,
     .flags = ONE_CALL,
     .value = "NAME",
     .summary = "Field of vectors that come without a field name; without it the only field, or "
                "the default one."},
    {.name = "first-id",
     .type = LATHE_OPTION_UINT,
     .flags = ONE_CALL,
     .value = "N",
     .min = 0,
     .max = INT64_MAX,
     .fallback = "0",
     .summary = "Id of the first row of .fvecs and .npy; the others count on."},
    SERVER_ROW,
    TIMEOUT_ROW("60s", "How long the server may be away or refuse before the import stops."),
};

static const char import_notes[] =
    "A line of JSON is {\"id\": ..., \"vectors\": ..., \"payload\": {...}}. The id is a number, a "
    "UUID or a\n"
    "string; without one the point gets a UUID. Vectors are a list of numbers, the base64 of\n"
    "little-endian float32, or an object of those by field name.\n"
    "\n"
    "An import that stopped goes on where it was when the same command is given again. What it "
    "needs to\n"
    "know is in FILE.lathe-import, or in $XDG_STATE_HOME/lathe where that cannot be written, "
    "until all\n"
    "rows are in. Where an id comes more than once, the last row wins.\n";

static const struct lathe_option search_options[] = {
    {.name = "file",
     .type = LATHE_OPTION_PATH,
     .flags = ARGUMENT,
     .value = "VECTORFILE",
     .summary = "Vectors to search for: .fvecs, .npy, a JSON array, or JSON lines with \"vector\" "
                "and perhaps \"text\", which heads the answer."},
    COLLECTION_ROW,
    {.name = "like",
     .type = LATHE_OPTION_TEXT,
     .flags = ONE_CALL,
     .value = "ID",
     .summary = "Search for the vector of this point, which is left out of the answer."},
    {.name = "limit",
     .type = LATHE_OPTION_UINT,
     .flags = ONE_CALL,
     .letter = 'k',
     .value = "N",
     .min = 1,
     .max = LATHE_MAX_RESULTS,
     .fallback = "10",
     .unit = "results",
     .summary = "Results wanted."},
    {.name = "field",
     .type = LATHE_OPTION_TEXT,
     .flags = ONE_CALL,
     .value = "NAME",
     .summary = "The field searched; without it the default field."},
    {.name = "row",
     .type = LATHE_OPTION_UINT,
     .flags = ONE_CALL,
     .value = "N",
     .min = 0,
     .max = INT64_MAX,
     .summary = "Search for this row of the file alone, counted from 0."},
    {.name = "with-payload",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Show payloads."},
    {.name = "with-vectors",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Show vectors: their first elements, or all of them with --json."},
    JSON_ROW,
    CLIENT_ROWS,
};

static const struct lathe_option get_options[] = {
    IDS_ROW,
    COLLECTION_ROW,
    {.name = "with-vectors",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Show vectors: their first elements, or all of them with --json."},
    JSON_ROW,
    CLIENT_ROWS,
};

static const struct lathe_option delete_options[] = {IDS_ROW, COLLECTION_ROW, JSON_ROW,
                                                     CLIENT_ROWS};
static const struct lathe_option count_options[] = {COLLECTION_ROW, JSON_ROW, CLIENT_ROWS};
static const struct lathe_option info_options[] = {JSON_ROW, CLIENT_ROWS};
static const struct lathe_option help_options[] = {
    {.name = "command",
     .type = LATHE_OPTION_TEXT,
     .flags = ARGUMENT | LATHE_OPTION_REPEATED,
     .value = "COMMAND",
     .summary = "The command to explain."},
    {.name = "markdown",
     .type = LATHE_OPTION_BOOL,
     .flags = ONE_CALL,
     .summary = "Print all commands and options as Markdown."},
};

#define SET(name, sentence, rows, paragraphs)                                       \
    {                                                                               \
        "lathe " name, sentence, paragraphs, rows, sizeof(rows) / sizeof((rows)[0]) \
    }

const struct lathe_command lathe_cli_commands[] = {
    {SET("serve", "Run a server: coordinator and shards in one process.", serve_options, NULL),
     lathe_command_serve},
    {SET("collection create", "Make a collection.", create_options, NULL),
     lathe_command_collection_create},
    {SET("collection list", "List the collections.", list_options, NULL),
     lathe_command_collection_list},
    {SET("collection describe", "Show fields and counts of a collection.", describe_options, NULL),
     lathe_command_collection_describe},
    {SET("collection drop", "Drop a collection and everything in it.", drop_options, NULL),
     lathe_command_collection_drop},
    {SET("import", "Write the rows of a file into a collection.", import_options, import_notes),
     lathe_command_import},
    {SET("search", "Find the points nearest to vectors.", search_options, NULL),
     lathe_command_search},
    {SET("get", "Show points by id; missing ones make the exit code 1.", get_options, NULL),
     lathe_command_get},
    {SET("delete", "Delete points by id; missing ones are no failure.", delete_options, NULL),
     lathe_command_delete},
    {SET("count", "Count the points of a collection.", count_options, NULL), lathe_command_count},
    {SET("info", "Show version, memory, disk and limits of a server.", info_options, NULL),
     lathe_command_info},
    {{"lathe version", "Print the version of this program.", NULL, NULL, 0}, lathe_command_version},
    {SET("help", "Explain a command.", help_options, NULL), lathe_command_help},
};

const size_t lathe_cli_command_count = sizeof(lathe_cli_commands) / sizeof(lathe_cli_commands[0]);
