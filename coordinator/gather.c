/* gather.c - see gather.h.
 *
 * A part of a scatter:
 *
 *                      answer of its kind            reply set
 *               +---------------------------------> ANSWERED
 *               |      ERROR answer                  error: the shard's own
 *   begin --> WAITING --------------------------->  FAILED
 *               |      not sent, shard lost          error: UNAVAILABLE
 *               +---------------------------------> FAILED
 *               |      deadline, cancelled, given up
 *               |                                    error: DEADLINE_EXCEEDED, CANCELLED,
 * UNAVAILABLE
 *               +---------------------------------> ABANDONED (its shard is told)
 *
 * A settled part never changes again: later frames for it are counted and dropped.
 *
 * A slot of the table:
 *
 *   FREE --begin--> IN FLIGHT --last part settled--> FREE, generation + 1; the scatter waits to be
 * taken
 *
 * The id on the wire is the slot's index and generation, so an answer to what is over matches
 * nothing, even when the slot is in use again. A scatter that goes on with a held search
 * (hold_request_id) keeps the id of the earlier phase while it sits in another slot; so slots are
 * found by id through chains, one for each index, in which a fresh id is alone nearly always. */
#include "coordinator/gather.h"

#include <inttypes.h>

#include "common/base/check.h"
#include "common/base/mem.h"
#include "common/net/message.h"
#include "shard.pb-c.h"

#define NONE UINT32_MAX

enum { RETRY_AFTER_MS = 100 };

struct slot {
    struct lathe_scatter *scatter; /* NULL = free */
    uint64_t request_id;
    uint64_t due_us;     /* give-up time or deadline, whichever is earlier */
    uint32_t generation; /* of the next id made here */
    uint32_t waiting;    /* parts that are not settled */
    uint32_t heap_at;
    uint32_t next; /* in the free list, or in the chain of its id */
};

struct lathe_gather {
    struct slot *slots;
    uint32_t *chains; /* by index of an id: the first slot in flight under such an id */
    uint32_t *heap;   /* slots in flight, the one due first on top */
    uint32_t capacity;
    uint32_t in_flight;
    uint32_t free;
    struct lathe_scatter *done_first;
    struct lathe_scatter *done_last;
    struct lathe_gather_counts counts;
};

struct lathe_gather *lathe_gather_create(size_t capacity)
{
    struct lathe_gather *gather = lathe_zalloc(sizeof(*gather));

    LATHE_REQUIRE(capacity > 0 && capacity < UINT32_MAX / 2);
    if (gather == NULL)
        return NULL;
    gather->capacity = (uint32_t)capacity;
    gather->slots = lathe_zalloc_array(capacity, sizeof(*gather->slots));
    gather->chains = lathe_alloc_array(capacity, sizeof(*gather->chains));
    gather->heap = lathe_alloc_array(capacity, sizeof(*gather->heap));
    if (gather->slots == NULL || gather->chains == NULL || gather->heap == NULL) {
        lathe_gather_destroy(gather);
        return NULL;
    }
    for (uint32_t i = 0; i < gather->capacity; i++) {
        gather->slots[i].generation = 1; /* so that no id is 0 */
        gather->slots[i].next = i + 1 < gather->capacity ? i + 1 : NONE;
        gather->chains[i] = NONE;
    }
    return gather;
}

void lathe_gather_destroy(struct lathe_gather *gather)
{
    if (gather == NULL)
        return;
    LATHE_REQUIRE(gather->in_flight == 0 && gather->done_first == NULL);
    lathe_free(gather->slots);
    lathe_free(gather->chains);
    lathe_free(gather->heap);
    lathe_free(gather);
}

/* ---- The heap of what is due ---------------------------------------------------------------- */

static void heap_put(struct lathe_gather *gather, uint32_t at, uint32_t index)
{
    gather->heap[at] = index;
    gather->slots[index].heap_at = at;
}

static uint64_t heap_key(const struct lathe_gather *gather, uint32_t at)
{
    return gather->slots[gather->heap[at]].due_us;
}

/* Moves the slot at `at` to where it belongs, among `size` of them. */
static void heap_settle(struct lathe_gather *gather, uint32_t at, uint32_t size)
{
    uint32_t index = gather->heap[at];
    uint64_t key = gather->slots[index].due_us;

    while (at > 0 && heap_key(gather, (at - 1) / 2) > key) {
        heap_put(gather, at, gather->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    for (;;) {
        uint32_t child = 2 * at + 1;

        if (child >= size)
            break;
        if (child + 1 < size && heap_key(gather, child + 1) < heap_key(gather, child))
            child++;
        if (heap_key(gather, child) >= key)
            break;
        heap_put(gather, at, gather->heap[child]);
        at = child;
    }
    heap_put(gather, at, index);
}

/* Takes a slot out of the heap of in_flight slots. */
static void heap_remove(struct lathe_gather *gather, uint32_t at)
{
    uint32_t last = gather->in_flight - 1;

    if (at == last)
        return;
    heap_put(gather, at, gather->heap[last]);
    heap_settle(gather, at, last);
}

/* ---- Slots and ids -------------------------------------------------------------------------- */

static uint32_t id_index(uint64_t request_id)
{
    return (uint32_t)request_id;
}

static uint32_t id_generation(uint64_t request_id)
{
    return (uint32_t)(request_id >> 32);
}

static struct slot *slot_find(struct lathe_gather *gather, uint64_t request_id)
{
    uint32_t at;

    if (id_index(request_id) >= gather->capacity)
        return NULL;
    at = gather->chains[id_index(request_id)];
    while (at != NONE && gather->slots[at].request_id != request_id)
        at = gather->slots[at].next;
    return at != NONE ? &gather->slots[at] : NULL;
}

static void chain_remove(struct lathe_gather *gather, uint32_t index)
{
    uint32_t *link = &gather->chains[id_index(gather->slots[index].request_id)];

    while (*link != index)
        link = &gather->slots[*link].next;
    *link = gather->slots[index].next;
}

/* Puts a scatter into a free slot; there is one. */
static void slot_take(struct lathe_gather *gather, struct lathe_scatter *scatter)
{
    uint32_t index = gather->free;
    struct slot *slot = &gather->slots[index];
    uint32_t *chain;

    gather->free = slot->next;
    slot->request_id = scatter->hold_request_id;
    if (slot->request_id == 0)
        slot->request_id = (uint64_t)slot->generation << 32 | index;
    LATHE_REQUIRE(id_index(slot->request_id) < gather->capacity);
    LATHE_REQUIRE(slot_find(gather, slot->request_id) == NULL);
    slot->scatter = scatter;
    slot->due_us = scatter->deadline_us;
    if (scatter->give_up_us != 0 && scatter->give_up_us < slot->due_us)
        slot->due_us = scatter->give_up_us;
    slot->waiting = (uint32_t)scatter->part_count;
    chain = &gather->chains[id_index(slot->request_id)];
    slot->next = *chain;
    *chain = index;
    gather->heap[gather->in_flight] = index;
    heap_settle(gather, gather->in_flight, gather->in_flight + 1);
    gather->in_flight++;
    scatter->request_id = slot->request_id;
}

static void done_append(struct lathe_gather *gather, struct lathe_scatter *scatter)
{
    scatter->next = NULL;
    if (gather->done_last != NULL)
        gather->done_last->next = scatter;
    else
        gather->done_first = scatter;
    gather->done_last = scatter;
}

/* The last part is settled: the slot is free for others, under another id. */
static void slot_complete(struct lathe_gather *gather, struct slot *slot)
{
    uint32_t index = (uint32_t)(slot - gather->slots);

    LATHE_REQUIRE(slot->waiting == 0);
    chain_remove(gather, index);
    heap_remove(gather, slot->heap_at);
    gather->in_flight--;
    done_append(gather, slot->scatter);
    slot->scatter = NULL;
    if (++slot->generation == 0)
        slot->generation = 1;
    slot->next = gather->free;
    gather->free = index;
}

/* ---- Settling ------------------------------------------------------------------------------- */

static void part_fail(struct lathe_part *part, const struct lathe_error *err, bool abandoned)
{
    lathe_frame_fini(&part->request);
    part->error = *err;
    part->settled = true;
    part->abandoned = abandoned;
}

/* Gives up what a request still waits for. */
static void slot_abandon(struct lathe_gather *gather, struct slot *slot, enum lathe_status status)
{
    struct lathe_scatter *scatter = slot->scatter;

    for (size_t i = 0; i < scatter->part_count; i++) {
        struct lathe_part *part = &scatter->parts[i];
        struct lathe_error err = {0};

        if (part->settled)
            continue;
        if (status == LATHE_CANCELLED) {
            (void)lathe_fail(&err, status, "cancelled before shard %" PRIu32 " answered",
                             part->shard);
        } else if (status == LATHE_UNAVAILABLE) {
            (void)lathe_fail(&err, status,
                             "shard %" PRIu32 " did not answer while there was time to wait",
                             part->shard);
            err.retry_after_ms = RETRY_AFTER_MS;
        } else {
            (void)lathe_fail(&err, status, "shard %" PRIu32 " did not answer before the deadline",
                             part->shard);
        }
        part_fail(part, &err, true);
    }
    slot->waiting = 0;
    slot_complete(gather, slot);
}

/* Prepares the parts of a scatter that begins. */
static void parts_begin(struct lathe_scatter *scatter, uint64_t budget_us)
{
    for (size_t i = 0; i < scatter->part_count; i++) {
        struct lathe_part *part = &scatter->parts[i];

        LATHE_REQUIRE(!part->settled);
        part->kind = part->request.header.kind;
        part->request.header.request_id = scatter->request_id;
        part->request.header.budget_us = budget_us;
    }
}

/* Why a scatter cannot begin; false if it can. */
static bool begin_refused(const struct lathe_gather *gather, struct lathe_scatter *scatter,
                          uint64_t now_us, struct lathe_error *err)
{
    if (atomic_load_explicit(&scatter->cancelled, memory_order_acquire))
        (void)lathe_fail(err, LATHE_CANCELLED, "cancelled before it was sent");
    else if (scatter->deadline_us <= now_us)
        (void)lathe_fail(err, LATHE_DEADLINE_EXCEEDED, "the deadline passed before it was sent");
    else if (gather->in_flight == gather->capacity)
        (void)lathe_fail(err, LATHE_RESOURCE_EXHAUSTED,
                         "%" PRIu32 " requests to the shards are in flight, the most there may be",
                         gather->capacity);
    else
        return false;
    if (err->status == LATHE_RESOURCE_EXHAUSTED)
        err->retry_after_ms = RETRY_AFTER_MS;
    return true;
}

void lathe_gather_begin(struct lathe_gather *gather, struct lathe_scatter *scatter, uint64_t now_us)
{
    struct lathe_error err = {0};
    bool endless = scatter->deadline_us == UINT64_MAX;

    LATHE_REQUIRE(scatter->part_count > 0);
    scatter->request_id = 0;
    if (begin_refused(gather, scatter, now_us, &err)) {
        for (size_t i = 0; i < scatter->part_count; i++)
            part_fail(&scatter->parts[i], &err, false);
        done_append(gather, scatter);
        return;
    }
    slot_take(gather, scatter);
    parts_begin(scatter, endless ? UINT64_MAX : scatter->deadline_us - now_us);
}

void lathe_gather_fail_part(struct lathe_gather *gather, struct lathe_scatter *scatter,
                            struct lathe_part *part, const struct lathe_error *err)
{
    struct slot *slot = slot_find(gather, scatter->request_id);

    LATHE_REQUIRE(slot != NULL && slot->scatter == scatter);
    LATHE_REQUIRE(!part->settled);
    part_fail(part, err, false);
    if (--slot->waiting == 0)
        slot_complete(gather, slot);
}

/* ---- Answers -------------------------------------------------------------------------------- */

bool lathe_failure_decode(struct lathe_bytes body, uint32_t shard, struct lathe_error *err)
{
    struct lathe_arena arena;
    ProtobufCMessage *message;
    bool stale = false;

    lathe_arena_init(&arena, 0);
    if (lathe_message_decode(&lathe__shard__failure__descriptor, body, &arena, &message, NULL) !=
        LATHE_OK) {
        (void)lathe_fail(err, LATHE_INTERNAL, "shard %" PRIu32 " sent an unreadable failure",
                         shard);
    } else {
        const Lathe__Shard__Failure *failure = (const Lathe__Shard__Failure *)message;
        enum lathe_status status = lathe_status_from_number(failure->status);

        stale = failure->stale_route;
        (void)lathe_fail_field(err, status != LATHE_OK ? status : LATHE_INTERNAL, failure->field,
                               "%s", failure->message);
        err->retry_after_ms = failure->retry_after_ms;
    }
    lathe_arena_fini(&arena);
    return stale;
}

static struct lathe_part *part_find(struct lathe_scatter *scatter, uint32_t shard)
{
    /* Most scatters go to all shards in order. */
    if (shard < scatter->part_count && scatter->parts[shard].shard == shard)
        return &scatter->parts[shard];
    for (size_t i = 0; i < scatter->part_count; i++)
        if (scatter->parts[i].shard == shard)
            return &scatter->parts[i];
    return NULL;
}

/* True if the frame answers what the part asked in this phase: a FETCH has the id of the SEARCH
 * before it, whose answer may come twice. */
static bool answers(const struct lathe_part *part, const struct lathe_frame_header *header)
{
    if (header->kind == (LATHE_FRAME_ERROR | LATHE_FRAME_REPLY))
        return header->flags == 0 || header->flags == part->kind;
    return header->kind == (part->kind | LATHE_FRAME_REPLY);
}

/* The part that a frame is for, or NULL; then it is counted. */
static struct lathe_part *part_match(struct lathe_gather *gather, struct slot *slot, uint32_t shard,
                                     const struct lathe_frame_header *header)
{
    struct lathe_part *part;

    if (slot == NULL) {
        uint32_t index = id_index(header->request_id);
        bool given = index < gather->capacity && id_generation(header->request_id) > 0 &&
                     id_generation(header->request_id) < gather->slots[index].generation;

        if (given)
            gather->counts.late++;
        else
            gather->counts.unknown++;
        return NULL;
    }
    part = part_find(slot->scatter, shard);
    if (part == NULL)
        gather->counts.unknown++;
    else if (!answers(part, header))
        gather->counts.late++;
    else if (part->settled)
        gather->counts.duplicate++;
    else
        return part;
    return NULL;
}

enum lathe_gather_verdict lathe_gather_answer(struct lathe_gather *gather, uint32_t shard,
                                              struct lathe_frame *frame)
{
    struct slot *slot = slot_find(gather, frame->header.request_id);
    struct lathe_part *part = part_match(gather, slot, shard, &frame->header);
    enum lathe_gather_verdict verdict = LATHE_GATHER_SETTLED;

    if (part == NULL) {
        lathe_frame_fini(frame);
        return LATHE_GATHER_IGNORED;
    }
    if (frame->header.kind == (LATHE_FRAME_ERROR | LATHE_FRAME_REPLY)) {
        struct lathe_error err = {0};

        if (lathe_failure_decode(frame->body, shard, &err)) {
            verdict = LATHE_GATHER_STALE;
            err.status = LATHE_UNAVAILABLE;
            if (err.retry_after_ms == 0)
                err.retry_after_ms = RETRY_AFTER_MS;
        }
        part_fail(part, &err, false);
        lathe_frame_fini(frame);
    } else {
        lathe_frame_fini(&part->request);
        part->reply = *frame;
        part->error = (struct lathe_error){0};
        part->settled = true;
        *frame = (struct lathe_frame){0};
    }
    if (--slot->waiting == 0)
        slot_complete(gather, slot);
    return verdict;
}

/* ---- Giving up ------------------------------------------------------------------------------ */

void lathe_gather_expire(struct lathe_gather *gather, uint64_t now_us)
{
    while (gather->in_flight > 0 && heap_key(gather, 0) <= now_us) {
        struct slot *slot = &gather->slots[gather->heap[0]];
        bool late = slot->scatter->deadline_us <= now_us;

        slot_abandon(gather, slot, late ? LATHE_DEADLINE_EXCEEDED : LATHE_UNAVAILABLE);
    }
}

void lathe_gather_cancel_marked(struct lathe_gather *gather)
{
    for (uint32_t i = 0; i < gather->capacity; i++) {
        struct slot *slot = &gather->slots[i];

        if (slot->scatter != NULL &&
            atomic_load_explicit(&slot->scatter->cancelled, memory_order_acquire))
            slot_abandon(gather, slot, LATHE_CANCELLED);
    }
}

void lathe_gather_cancel_all(struct lathe_gather *gather)
{
    while (gather->in_flight > 0)
        slot_abandon(gather, &gather->slots[gather->heap[0]], LATHE_CANCELLED);
}

void lathe_gather_lose_shard(struct lathe_gather *gather, uint32_t shard, const char *why)
{
    struct lathe_error err = {0};

    (void)lathe_fail(&err, LATHE_UNAVAILABLE, "shard %" PRIu32 " is lost: %s", shard, why);
    err.retry_after_ms = RETRY_AFTER_MS;
    for (uint32_t i = 0; i < gather->capacity; i++) {
        struct lathe_scatter *scatter = gather->slots[i].scatter;
        struct lathe_part *part = scatter != NULL ? part_find(scatter, shard) : NULL;

        if (part != NULL && !part->settled)
            lathe_gather_fail_part(gather, scatter, part, &err);
    }
}

struct lathe_scatter *lathe_gather_next_done(struct lathe_gather *gather)
{
    struct lathe_scatter *scatter = gather->done_first;

    if (scatter != NULL) {
        gather->done_first = scatter->next;
        if (gather->done_first == NULL)
            gather->done_last = NULL;
        scatter->next = NULL;
    }
    return scatter;
}

uint64_t lathe_gather_next_due(const struct lathe_gather *gather)
{
    return gather->in_flight > 0 ? heap_key(gather, 0) : UINT64_MAX;
}

size_t lathe_gather_in_flight(const struct lathe_gather *gather)
{
    return gather->in_flight;
}

struct lathe_gather_counts lathe_gather_counts(const struct lathe_gather *gather)
{
    return gather->counts;
}
