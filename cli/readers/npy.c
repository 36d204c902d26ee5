/* npy.c - .npy of NumPy, versions 1 to 3: little-endian float32 in C order, of shape (rows, dims)
 * or, for one vector, (dims,). The header is the text of a Python dictionary. */
#include <ctype.h>
#include <stdio.h>

#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

enum { MAGIC_BYTES = 6, FRONT_BYTES = MAGIC_BYTES + 2 + 4, HEADER_LIMIT_BYTES = 64 * 1024 };

struct npy {
    uint64_t data_offset;
    uint64_t dims;
};

/* The text behind 'key': in the header, NULL if it is not there. */
static const char *header_value(const char *header, const char *key)
{
    char quoted[32];
    const char *at;

    (void)snprintf(quoted, sizeof(quoted), "'%s'", key);
    at = strstr(header, quoted);
    if (at == NULL)
        return NULL;
    at += strlen(quoted);
    while (*at == ' ' || *at == ':')
        at++;
    return at;
}

/* A decimal number at *at_p, spaces and a comma behind it skipped. False: there is none. */
static bool shape_number(const char **at_p, uint64_t *number_out)
{
    const char *p = *at_p;
    uint64_t number = 0;

    if (!isdigit((unsigned char)*p))
        return false;
    for (; isdigit((unsigned char)*p); p++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*p - '0'), &number))
            return false;
    while (*p == ' ' || *p == ',')
        p++;
    *at_p = p;
    *number_out = number;
    return true;
}

static enum lathe_status shape_parse(struct lathe_rows *rows, struct npy *npy, const char *header,
                                     struct lathe_error *err)
{
    const char *p = header_value(header, "shape");
    uint64_t sizes[2];
    unsigned count = 0;

    if (p == NULL || *p++ != '(')
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "the .npy header has no shape");
    while (*p != ')') {
        uint64_t size;

        if (!shape_number(&p, &size) || count == 2)
            return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                              "the array must have two dimensions, rows and dims");
        sizes[count++] = size;
    }
    if (count == 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the array must have two dimensions, rows and dims");
    rows->total = count == 2 ? sizes[0] : 1;
    npy->dims = sizes[count - 1];
    if (npy->dims < 1 || npy->dims > LATHE_MAX_DIMS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "rows have %llu dims; it takes 1 to %u",
                          (unsigned long long)npy->dims, LATHE_MAX_DIMS);
    return LATHE_OK;
}

static enum lathe_status header_parse(struct lathe_rows *rows, struct npy *npy, const char *header,
                                      struct lathe_error *err)
{
    const char *descr = header_value(header, "descr");
    const char *order = header_value(header, "fortran_order");
    uint64_t bytes;
    enum lathe_status rc;

    if (descr == NULL || strncmp(descr, "'<f4'", 5) != 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "its elements are %.12s; only little-endian float32 ('<f4') can be read",
                          descr != NULL ? descr : "not said");
    if (order == NULL || strncmp(order, "False", 5) != 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the array must be in C order, not in Fortran order");
    rc = shape_parse(rows, npy, header, err);
    if (rc != LATHE_OK)
        return rc;
    if (__builtin_mul_overflow(rows->total, npy->dims * sizeof(float), &bytes) ||
        bytes != rows->file.size_bytes - npy->data_offset)
        return lathe_fail(
            err, LATHE_INVALID_ARGUMENT,
            "%llu rows of %llu dims need another size than the %llu bytes that follow "
            "the header",
            (unsigned long long)rows->total, (unsigned long long)npy->dims,
            (unsigned long long)(rows->file.size_bytes - npy->data_offset));
    return LATHE_OK;
}

/* The header with its front; its text is behind the first *front_out bytes. */
static enum lathe_status header_view(struct lathe_rows *rows, struct lathe_bytes *header_out,
                                     size_t *front_out, struct lathe_error *err)
{
    uint64_t file_bytes = rows->file.size_bytes;
    struct lathe_bytes magic;
    struct lathe_reader reader;
    size_t text_bytes;
    uint8_t major;
    enum lathe_status rc = lathe_file_window_view(
        &rows->file, 0, (size_t)(file_bytes < FRONT_BYTES ? file_bytes : FRONT_BYTES), FRONT_BYTES,
        header_out, err);

    if (rc != LATHE_OK)
        return rc;
    reader = lathe_reader_of(*header_out);
    magic = lathe_read_bytes(&reader, MAGIC_BYTES);
    major = lathe_read_u8(&reader);
    (void)lathe_read_u8(&reader); /* minor version */
    text_bytes = major == 1 ? lathe_read_u16le(&reader) : lathe_read_u32le(&reader);
    if (reader.failed || memcmp(magic.data, "\x93NUMPY", MAGIC_BYTES) != 0 || major < 1 ||
        major > 3 || text_bytes > HEADER_LIMIT_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "this is not an .npy file");
    *front_out = (size_t)(reader.at - header_out->data);
    if (text_bytes > file_bytes - *front_out)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "the file ends inside its header");
    return lathe_file_window_view(&rows->file, 0, *front_out + text_bytes, *front_out + text_bytes,
                                  header_out, err);
}

static enum lathe_status npy_open(struct lathe_rows *rows, struct lathe_error *err)
{
    struct npy *npy = lathe_zalloc(sizeof(*npy));
    struct lathe_bytes header;
    size_t front = 0;
    enum lathe_status rc;
    char *text;

    rows->state = npy;
    if (npy == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the header");
    rc = header_view(rows, &header, &front, err);
    if (rc != LATHE_OK)
        return rc;
    text = lathe_zalloc(header.size - front + 1);
    if (text == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the header");
    memcpy(text, header.data + front, header.size - front);
    npy->data_offset = header.size;
    rc = header_parse(rows, npy, text, err);
    lathe_free(text);
    lathe_rows_pass(rows, header);
    return rc;
}

static enum lathe_status npy_next(struct lathe_rows *rows, struct lathe_row *row_out,
                                  struct lathe_error *err)
{
    const struct npy *npy = rows->state;
    size_t stride = (size_t)npy->dims * sizeof(float);
    struct lathe_bytes row;
    enum lathe_status rc;

    if (rows->at.row == rows->total)
        return LATHE_OUT_OF_RANGE;
    rc = lathe_file_window_view(&rows->file, rows->at.offset, stride, stride, &row, err);
    if (rc != LATHE_OK)
        return rc;
    row_out->vectors[0] = (struct lathe_row_vector){"", row};
    row_out->vector_count = 1;
    lathe_rows_pass(rows, row);
    rows->at.row++;
    return LATHE_OK;
}

static void npy_close(struct lathe_rows *rows)
{
    lathe_free(rows->state);
}

const struct lathe_rows_format lathe_rows_npy = {false, false, npy_open, npy_next, npy_close};
