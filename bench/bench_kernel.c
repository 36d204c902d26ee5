/* bench_kernel.c - how fast the float32 kernels run over rows that lie out of cache, beside what
 * the machine's memory delivers to one core that only reads.
 *
 *   bench_kernel [MIB of rows, default 1024] [repeats, default 9]
 *
 * Then: eight queries on a block of rows that stays in the second-level cache, as eight calls and
 * as one tile.
 *
 * Prints the median and the best of the repeats in GB/s. The repeats of all candidates are
 * interleaved, so that a busy neighbour hits them alike. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "common/base/clock.h"
#include "common/base/mem.h"
#include "shard/kernel/cpu.h"
#include "shard/kernel/kernel.h"
#include "shard/kernel/propose.h"

enum { MAX_LINES = 24, MAX_REPEATS = 101, CALL_ROWS = 1024 };
enum { BLOCK_QUERIES = 8, BLOCK_FLOATS = 48 * 1024 };
enum work { READ, DOT, L2SQ, PROPOSE_COSINE };

static const char *const work_names[] = {"read", "dot", "l2sq", "propose cosine"};

struct rows {
    float *data;
    float *query;
    float *aux;
    float *out;
    size_t row_count;
    size_t dims;
};

struct line {
    const struct lathe_kernel_set *set; /* NULL for plain reading */
    enum work work;
    double seconds[MAX_REPEATS];
};

typedef uint64_t word_pair __attribute__((vector_size(16), aligned(8)));

static volatile uint64_t sink;

/* Reads everything in one sequential stream. */
static void read_all(const struct rows *rows)
{
    size_t words = rows->row_count * rows->dims * sizeof(float) / sizeof(word_pair);
    const word_pair *at = (const word_pair *)(const void *)rows->data;
    word_pair sum[4] = {{0, 0}};

    for (size_t i = 0; i < words / 4 * 4; i += 4)
        for (size_t j = 0; j < 4; j++)
            sum[j] ^= at[i + j];
    sink = sum[0][0] ^ sum[1][0] ^ sum[2][0] ^ sum[3][0] ^ sum[0][1] ^ sum[1][1] ^ sum[2][1] ^
           sum[3][1];
}

static void run_rows(const struct line *line, const struct rows *rows)
{
    struct lathe_proposal proposal;

    lathe_proposal_init(&proposal, line->set, LATHE_COSINE, rows->query, (uint32_t)rows->dims);
    for (size_t i = 0; i < rows->row_count; i += CALL_ROWS) {
        size_t count = rows->row_count - i < CALL_ROWS ? rows->row_count - i : CALL_ROWS;
        const float *at = rows->data + i * rows->dims;

        if (line->work == DOT)
            line->set->dot_f32(rows->query, at, rows->dims, count, rows->dims, rows->out);
        else if (line->work == L2SQ)
            line->set->l2sq_f32(rows->query, at, rows->dims, count, rows->dims, rows->out);
        else
            lathe_proposal_run(&proposal, at, rows->dims, count, rows->aux + i, rows->out);
    }
}

static double time_line(const struct line *line, const struct rows *rows)
{
    uint64_t start_us = lathe_now_us(&lathe_system_clock);

    if (line->work == READ)
        read_all(rows);
    else
        run_rows(line, rows);
    return (double)(lathe_now_us(&lathe_system_clock) - start_us) * 1e-6;
}

static int compare_seconds(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static size_t make_lines(struct line lines_out[MAX_LINES])
{
    size_t count = 0;

    lines_out[count++] = (struct line){.work = READ};
    for (size_t i = 0; i < lathe_kernel_set_count; i++) {
        const struct lathe_kernel_set *set;

        if (lathe_kernel_select(lathe_kernel_sets[i]->name, lathe_cpu_detect(), &set, NULL) !=
            LATHE_OK)
            continue;
        for (int work = DOT; work <= PROPOSE_COSINE; work++)
            lines_out[count++] = (struct line){.set = set, .work = (enum work)work};
    }
    return count;
}

static void run_dims(float *data, size_t floats, size_t dims, size_t repeats)
{
    static struct line lines[MAX_LINES];
    struct rows rows = {.data = data, .dims = dims, .row_count = floats / dims};
    size_t count = make_lines(lines);
    double gigabytes = (double)(rows.row_count * dims * sizeof(float)) * 1e-9;

    rows.query = lathe_zalloc_array(dims, sizeof(float));
    rows.aux = lathe_zalloc_array(rows.row_count, sizeof(float));
    rows.out = lathe_zalloc_array(CALL_ROWS, sizeof(float));
    if (rows.query == NULL || rows.aux == NULL || rows.out == NULL)
        exit(1);
    for (size_t i = 0; i < dims; i++)
        rows.query[i] = 1.0f / (float)(i + 1);
    for (size_t r = 0; r < repeats; r++)
        for (size_t i = 0; i < count; i++)
            lines[i].seconds[r] = time_line(&lines[i], &rows);
    for (size_t i = 0; i < count; i++) {
        qsort(lines[i].seconds, repeats, sizeof(double), compare_seconds);
        printf("dims %5zu  %-8s %-14s median %6.2f  best %6.2f GB/s  %8.1f ns a row\n", dims,
               lines[i].set != NULL ? lines[i].set->name : "-", work_names[lines[i].work],
               gigabytes / lines[i].seconds[repeats / 2], gigabytes / lines[i].seconds[0],
               lines[i].seconds[repeats / 2] * 1e9 / (double)rows.row_count);
    }
    lathe_free(rows.query);
    lathe_free(rows.aux);
    lathe_free(rows.out);
}

/* Nanoseconds for one row under one query. */
static double time_block(const struct lathe_kernel_set *set, bool tile, const float *const *queries,
                         const float *rows, size_t row_count, size_t dims, float *const *outs)
{
    enum { ROUNDS = 300 };
    uint64_t start_us = lathe_now_us(&lathe_system_clock);

    for (size_t r = 0; r < ROUNDS; r++) {
        if (tile)
            set->dot_tile_f32(queries, BLOCK_QUERIES, rows, dims, row_count, dims, outs);
        for (size_t j = 0; j < BLOCK_QUERIES && !tile; j++)
            set->dot_f32(queries[j], rows, dims, row_count, dims, outs[j]);
    }
    return (double)(lathe_now_us(&lathe_system_clock) - start_us) * 1e3 /
           (double)(ROUNDS * BLOCK_QUERIES * row_count);
}

static void run_block(const float *data, size_t dims, size_t repeats)
{
    size_t row_count = BLOCK_FLOATS / dims;
    const float *rows = data + BLOCK_QUERIES * dims, *queries[BLOCK_QUERIES];
    float *outs[BLOCK_QUERIES];
    static float out[BLOCK_QUERIES][BLOCK_FLOATS / 768 + 1];
    static double seconds[2][MAX_REPEATS];

    for (size_t j = 0; j < BLOCK_QUERIES; j++) {
        queries[j] = data + j * dims;
        outs[j] = out[j];
    }
    for (size_t i = 0; i < lathe_kernel_set_count; i++) {
        const struct lathe_kernel_set *set;

        if (lathe_kernel_select(lathe_kernel_sets[i]->name, lathe_cpu_detect(), &set, NULL) !=
            LATHE_OK)
            continue;
        for (size_t r = 0; r < repeats; r++)
            for (int tile = 0; tile < 2; tile++)
                seconds[tile][r] = time_block(set, tile != 0, queries, rows, row_count, dims, outs);
        for (int tile = 0; tile < 2; tile++) {
            qsort(seconds[tile], repeats, sizeof(double), compare_seconds);
            printf("dims %5zu  %-8s 8 queries, %-5s  median %6.1f  best %6.1f ns a row and query\n",
                   dims, set->name, tile != 0 ? "tile" : "calls", seconds[tile][repeats / 2],
                   seconds[tile][0]);
        }
    }
}

int main(int argc, char **argv)
{
    static const size_t dims[] = {768, 1536, 4096};
    size_t bytes = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1024) << 20;
    size_t repeats = argc > 2 ? strtoul(argv[2], NULL, 10) : 9;
    float *data;

    if (bytes == 0 || repeats == 0 || repeats > MAX_REPEATS) {
        fprintf(stderr, "usage: bench_kernel [MIB] [REPEATS, 1..%d]\n", MAX_REPEATS);
        return 2;
    }
    data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    (void)madvise(data, bytes, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes / sizeof(float); i++)
        data[i] = (float)(i % 1013) * 0.001f;
    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
        run_dims(data, bytes / sizeof(float), dims[i], repeats);
    for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
        run_block(data, dims[i], repeats);
    return 0;
}
