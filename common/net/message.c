/* message.c - see message.h.
 *
 * The walk over the wire bytes is stricter than protobuf-c itself: whatever it lets through,
 * protobuf-c can unpack, short of memory. So the cause of a failure is always known, and named with
 * its place. The walk also adds up a lower bound of the memory that unpacking takes: what cannot
 * fit is refused before anything is allocated, and what can gets its memory in one piece. */
#include "common/net/message.h"

#include <stdio.h>

#include "common/base/check.h"
#include "common/base/mem.h"

/* ---- The arena ------------------------------------------------------------------------------ */

enum { ARENA_ALIGN = 16, ARENA_CHUNK_MIN_BYTES = 4096, ARENA_CHUNK_MAX_BYTES = 1024 * 1024 };

struct chunk {
    struct chunk *next; /* the one before it in time */
    uint8_t *at;
    uint8_t *end;
    size_t size; /* of the whole allocation */
};

_Static_assert(sizeof(struct chunk) % ARENA_ALIGN == 0, "what follows a chunk's head is aligned");

static size_t round_up(size_t size)
{
    return (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
}

static size_t arena_left(const struct lathe_arena *arena)
{
    size_t limit = arena->limit_bytes != 0 ? arena->limit_bytes : LATHE_ARENA_DEFAULT_BYTES;

    return limit > arena->used_bytes ? limit - arena->used_bytes : 0;
}

void lathe_arena_init(struct lathe_arena *arena, size_t limit_bytes)
{
    *arena = (struct lathe_arena){.limit_bytes = limit_bytes};
}

void lathe_arena_fini(struct lathe_arena *arena)
{
    struct chunk *chunk = arena->chunks;

    while (chunk != NULL) {
        struct chunk *next = chunk->next;

        lathe_free(chunk);
        chunk = next;
    }
    *arena = (struct lathe_arena){0};
}

/* A new chunk with room for `room` bytes, or as near to `wished` as the limit allows. */
static struct chunk *chunk_add(struct lathe_arena *arena, size_t room, size_t wished)
{
    size_t left = arena_left(arena);
    struct chunk *chunk;
    size_t size;

    if (left < sizeof(*chunk) || room > left - sizeof(*chunk))
        return NULL;
    if (wished < room)
        wished = room;
    size = wished > left - sizeof(*chunk) ? left : sizeof(*chunk) + wished;
    chunk = lathe_alloc(size);
    if (chunk == NULL)
        return NULL;
    *chunk = (struct chunk){
        .next = arena->chunks,
        .at = (uint8_t *)chunk + sizeof(*chunk),
        .end = (uint8_t *)chunk + size,
        .size = size,
    };
    arena->chunks = chunk;
    arena->used_bytes += size;
    return chunk;
}

void *lathe_arena_alloc(struct lathe_arena *arena, size_t size)
{
    struct chunk *chunk = arena->chunks;
    void *memory;

    if (size > SIZE_MAX - ARENA_ALIGN)
        return NULL;
    size = size > 0 ? round_up(size) : ARENA_ALIGN;
    if (chunk == NULL || size > (size_t)(chunk->end - chunk->at)) {
        size_t wished = chunk != NULL ? 2 * chunk->size : ARENA_CHUNK_MIN_BYTES;

        chunk = chunk_add(arena, size,
                          wished < ARENA_CHUNK_MAX_BYTES ? wished : ARENA_CHUNK_MAX_BYTES);
        if (chunk == NULL)
            return NULL;
    }
    memory = chunk->at;
    chunk->at += size;
    return memory;
}

/* Makes room for about that much in one piece. Failing is no failure yet: smaller pieces may do. */
static void arena_reserve(struct lathe_arena *arena, size_t needed)
{
    const struct chunk *chunk = arena->chunks;

    if (chunk == NULL || needed > (size_t)(chunk->end - chunk->at))
        (void)chunk_add(arena, needed, needed + needed / 8 + 1024);
}

/* ---- The walk ------------------------------------------------------------------------------- */

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

enum {
    VARINT_BYTES = 10,
    TAG_BYTES = 5,      /* protobuf-c reads no longer tags and lengths */
    SCANNED_BYTES = 32, /* protobuf-c notes each member of a message in at least this much, */
    SCANNED_FREE = 16,  /* but the first ones on its stack */
    FIELD_NUMBER_MAX = 0x1FFFFFFF,
    FIELDS_MAX = 64 /* of one message of ours */
};

/* A message on the way from the root to where the walk is. */
struct level {
    const struct level *parent;
    const ProtobufCMessageDescriptor *descriptor;
    const uint8_t *begin;
    const uint8_t *end;
    const uint8_t *at;                     /* where the member that is being read begins */
    const ProtobufCFieldDescriptor *field; /* that member's; NULL if unknown or not yet read */
    uint64_t once;                         /* fields that may not come again, by their index */
};

struct walk {
    uint64_t needed_bytes; /* unpacking takes at least this much memory */
    uint64_t limit_bytes;
    bool known_only;            /* a field that the descriptor does not have is refused, */
    struct lathe_error unknown; /* this one, unless something is malformed as well */
    enum lathe_status status;
    struct lathe_error *err;
};

/* Reads a varint of at most `max` bytes; NULL if it is longer or cut off. */
static inline const uint8_t *varint_read(const uint8_t *p, const uint8_t *end, int max,
                                         uint64_t *value_out)
{
    uint64_t value = 0;

    for (int i = 0; i < max && p < end; i++) {
        uint8_t byte = *p++;

        value |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (byte < 0x80) {
            *value_out = value;
            return p;
        }
    }
    return NULL;
}

/* How many members of the same field stand before the one at level->at. Only for texts. */
static unsigned occurrences_before(const struct level *level)
{
    const uint8_t *p = level->begin;
    unsigned count = 0;

    while (p < level->at) {
        uint64_t tag = 0, size = 0;

        p = varint_read(p, level->end, TAG_BYTES, &tag);
        count += (tag >> 3) == level->field->id;
        switch ((enum wire)(tag & 7)) {
        case WIRE_VARINT:
            p = varint_read(p, level->end, VARINT_BYTES, &size);
            break;
        case WIRE_FIXED64:
            p += 8;
            break;
        case WIRE_FIXED32:
            p += 4;
            break;
        case WIRE_BYTES:
            p = varint_read(p, level->end, TAG_BYTES, &size) + size;
            break;
        }
    }
    return count;
}

/* Appends the path of the member that `level` is at: "operations[3].upsert.payload". */
static void path_append(const struct level *level, char *path, size_t room)
{
    size_t used;

    if (level->parent != NULL)
        path_append(level->parent, path, room);
    if (level->field == NULL)
        return;
    used = strlen(path);
    if (level->field->label == PROTOBUF_C_LABEL_REPEATED)
        (void)snprintf(path + used, room - used, "%s%s[%u]", used > 0 ? "." : "",
                       level->field->name, occurrences_before(level));
    else
        (void)snprintf(path + used, room - used, "%s%s", used > 0 ? "." : "", level->field->name);
}

/* Notes why and where the walk ends. Returns false. */
static bool refuse(struct walk *walk, const struct level *level, const char *why)
{
    char path[LATHE_ERROR_FIELD_BYTES] = "";

    path_append(level, path, sizeof(path));
    walk->status = lathe_fail_field(walk->err, LATHE_INVALID_ARGUMENT, path, "%s%s%s: %s",
                                    level->descriptor->name, path[0] != '\0' ? ", " : "", path,
                                    why);
    return false;
}

/* Notes the first field that is not of this version. */
static void note_unknown(struct walk *walk, const struct level *level, uint64_t number)
{
    char path[LATHE_ERROR_FIELD_BYTES] = "";

    if (walk->unknown.status != LATHE_OK)
        return;
    path_append(level, path, sizeof(path));
    (void)lathe_fail_field(&walk->unknown, LATHE_UNIMPLEMENTED, path,
                           "field %llu of %s is not known to this version, and what it asks for "
                           "would be left out",
                           (unsigned long long)number, level->descriptor->name);
}

/* Counts memory that unpacking will take; false when it is more than there may be. */
static bool need(struct walk *walk, const struct level *level, uint64_t bytes)
{
    char path[LATHE_ERROR_FIELD_BYTES] = "";

    walk->needed_bytes += bytes;
    if (walk->needed_bytes <= walk->limit_bytes)
        return true;
    path_append(level, path, sizeof(path));
    walk->status = lathe_fail_field(walk->err, LATHE_RESOURCE_EXHAUSTED, path,
                                    "%s needs more than the limit of %llu bytes of memory",
                                    level->descriptor->name, (unsigned long long)walk->limit_bytes);
    return false;
}

static enum wire wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return WIRE_FIXED64;
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return WIRE_FIXED32;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return WIRE_BYTES;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_ENUM:
        break;
    }
    return WIRE_VARINT;
}

/* Bytes of one number of a repeated field that comes as varints. */
static size_t number_bytes(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_INT64 || type == PROTOBUF_C_TYPE_UINT64 ||
                   type == PROTOBUF_C_TYPE_SINT64
               ? 8
               : 4;
}

static bool check_packed(struct walk *walk, struct level *level, const uint8_t *p, size_t size)
{
    ProtobufCType type = level->field->type;
    enum wire wire = wire_of(type);
    uint8_t most = type == PROTOBUF_C_TYPE_BOOL ? 1 : 0xFF;
    size_t count = 0;
    unsigned run = 0;

    if (wire != WIRE_VARINT) {
        if (size % (wire == WIRE_FIXED32 ? 4 : 8) != 0)
            return refuse(walk, level, "packed numbers end inside a number");
        return need(walk, level, size);
    }
    for (size_t i = 0; i < size; i++) {
        if (p[i] > most)
            return refuse(walk, level, "a packed truth value is neither 0 nor 1");
        count += p[i] < 0x80;
        run = p[i] < 0x80 ? 0 : run + 1;
        if (run == VARINT_BYTES)
            return refuse(walk, level, "a varint is longer than 10 bytes");
    }
    if (run > 0)
        return refuse(walk, level, "packed numbers end inside a number");
    return need(walk, level, count * number_bytes(type));
}

static bool check_string(struct walk *walk, struct level *level, const uint8_t *p, size_t size)
{
    if (size > 0 && memchr(p, 0, size) != NULL)
        return refuse(walk, level, "text with a NUL character");
    if (!lathe_utf8_valid(lathe_bytes_of(p, size)))
        return refuse(walk, level, "text that is not UTF-8");
    return need(walk, level, round_up(size + 1));
}

/* protobuf would merge the second of two messages into the first. No encoder writes them,
 * protobuf-c has mistakes there, and a chain of merges copies without bound: so it is refused.
 * Members of a oneof are not merged, the last one wins. */
static bool check_once(struct walk *walk, struct level *level)
{
    const ProtobufCFieldDescriptor *field = level->field;
    uint64_t bit = 1ull << (field - level->descriptor->fields);

    if (field->label == PROTOBUF_C_LABEL_REPEATED ||
        (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0)
        return true;
    if ((level->once & bit) != 0)
        return refuse(walk, level, "is there twice");
    level->once |= bit;
    return true;
}

static bool check_message(struct walk *walk, struct level *level, unsigned depth);

/* A length-delimited member of a known field. */
static bool check_delimited(struct walk *walk, struct level *level, const uint8_t *p, size_t size,
                            unsigned depth)
{
    const ProtobufCFieldDescriptor *field = level->field;

    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        struct level inner = {
            .parent = level,
            .descriptor = field->descriptor,
            .begin = p,
            .end = p + size,
        };

        return check_once(walk, level) && check_message(walk, &inner, depth + 1);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return check_string(walk, level, p, size);
    if (field->type == PROTOBUF_C_TYPE_BYTES)
        return need(walk, level, size);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return check_packed(walk, level, p, size);
    return refuse(walk, level, "has the wrong wire type");
}

/* Checks the value of the member whose tag was read; *p_p is moved behind it. */
static bool check_value(struct walk *walk, struct level *level, unsigned wire, const uint8_t **p_p,
                        unsigned depth)
{
    const uint8_t *p = *p_p, *end = level->end;
    const ProtobufCFieldDescriptor *field = level->field;
    uint64_t value;

    if (field != NULL && wire != WIRE_BYTES && wire != wire_of(field->type))
        return refuse(walk, level, "has the wrong wire type");
    switch (wire) {
    case WIRE_VARINT:
        p = varint_read(p, end, VARINT_BYTES, &value);
        if (p == NULL)
            return refuse(walk, level, "a varint is cut off or longer than 10 bytes");
        break;
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        if (end - p < (wire == WIRE_FIXED32 ? 4 : 8))
            return refuse(walk, level, "a number is cut off");
        p += wire == WIRE_FIXED32 ? 4 : 8;
        break;
    case WIRE_BYTES:
        p = varint_read(p, end, TAG_BYTES, &value);
        if (p == NULL || value > (uint64_t)(end - p))
            return refuse(walk, level, "is longer than what it stands in");
        if (field == NULL ? !need(walk, level, value)
                          : !check_delimited(walk, level, p, (size_t)value, depth))
            return false;
        p += value;
        break;
    default:
        return refuse(walk, level, "has the wrong wire type (groups are not accepted)");
    }
    *p_p = p;
    return true;
}

static bool check_message(struct walk *walk, struct level *level, unsigned depth)
{
    const uint8_t *p = level->begin;
    uint64_t members = 0;

    LATHE_REQUIRE(level->descriptor->n_fields <= FIELDS_MAX);
    if (depth > LATHE_MAX_MESSAGE_DEPTH) {
        walk->status = lathe_fail(walk->err, LATHE_INVALID_ARGUMENT,
                                  "messages are nested deeper than %u", LATHE_MAX_MESSAGE_DEPTH);
        return false;
    }
    if (!need(walk, level, round_up(level->descriptor->sizeof_message)))
        return false;
    while (p < level->end) {
        uint64_t tag;

        level->at = p;
        p = varint_read(p, level->end, TAG_BYTES, &tag);
        if (p == NULL || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX) {
            level->field = NULL;
            return refuse(walk, level, "a field's tag is malformed");
        }
        if (level->field == NULL || level->field->id != tag >> 3)
            level->field = protobuf_c_message_descriptor_get_field(level->descriptor,
                                                                   (unsigned)(tag >> 3));
        if (level->field == NULL && walk->known_only)
            note_unknown(walk, level, tag >> 3);
        if (++members > SCANNED_FREE && !need(walk, level, SCANNED_BYTES))
            return false;
        if (!check_value(walk, level, (unsigned)(tag & 7), &p, depth))
            return false;
    }
    level->field = NULL;
    return true;
}

/* ---- Decoding and encoding ------------------------------------------------------------------ */

static void *allocate(void *arena, size_t size)
{
    return lathe_arena_alloc(arena, size);
}

/* protobuf-c frees what it drops on the way; the arena frees everything at once. */
static void free_nothing(void *arena, void *memory)
{
    (void)arena;
    (void)memory;
}

static enum lathe_status decode(const ProtobufCMessageDescriptor *descriptor,
                                struct lathe_bytes bytes, bool known_only,
                                struct lathe_arena *arena, ProtobufCMessage **message_out,
                                struct lathe_error *err)
{
    ProtobufCAllocator allocator = {allocate, free_nothing, arena};
    const struct lathe_reader reader = lathe_reader_of(
        bytes); /* never NULL, not even for no bytes */
    struct level root = {.descriptor = descriptor, .begin = reader.at, .end = reader.end};
    struct walk walk = {.limit_bytes = arena_left(arena), .known_only = known_only, .err = err};

    *message_out = NULL;
    if (!check_message(&walk, &root, 1))
        return walk.status;
    if (walk.unknown.status != LATHE_OK) {
        if (err != NULL)
            *err = walk.unknown;
        return walk.unknown.status;
    }
    arena_reserve(arena, walk.needed_bytes);
    *message_out = protobuf_c_message_unpack(descriptor, &allocator, bytes.size, reader.at);
    if (*message_out == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                          "%s needs more than the limit of %llu bytes of memory", descriptor->name,
                          (unsigned long long)walk.limit_bytes);
    return LATHE_OK;
}

enum lathe_status lathe_message_decode(const ProtobufCMessageDescriptor *descriptor,
                                       struct lathe_bytes bytes, struct lathe_arena *arena,
                                       ProtobufCMessage **message_out, struct lathe_error *err)
{
    return decode(descriptor, bytes, false, arena, message_out, err);
}

enum lathe_status lathe_message_decode_known(const ProtobufCMessageDescriptor *descriptor,
                                             struct lathe_bytes bytes, struct lathe_arena *arena,
                                             ProtobufCMessage **message_out,
                                             struct lathe_error *err)
{
    return decode(descriptor, bytes, true, arena, message_out, err);
}

void lathe_message_encode(const ProtobufCMessage *message, struct lathe_buf *buf)
{
    uint8_t *out = lathe_buf_extend(buf, protobuf_c_message_get_packed_size(message));

    if (out != NULL)
        (void)protobuf_c_message_pack(message, out);
}
