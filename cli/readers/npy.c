/* npy.c - .npy of NumPy, versions 1 to 3: little-endian float32 in C order, of shape (rows, dims)
 * or, for one vector, (dims,). The header is the text of a Python dictionary. */
#include <ctype.h>

#include "cli/readers/rows_format.h"
#include "common/base/mem.h"

enum {
    MAGIC_BYTES = 6,
    FRONT_BYTES = MAGIC_BYTES + 2 + 4,
    HEADER_LIMIT_BYTES = 64 * 1024,
    SHOWN_BYTES = 40
};

struct npy {
    uint64_t data_offset;
    uint64_t dims;
};

/* The values of the header's dictionary, as they stand there. */
struct header {
    struct lathe_bytes descr, order, shape;
};

/* How much of a value an error shows. */
static int shown(struct lathe_bytes value)
{
    return value.size < SHOWN_BYTES ? (int)value.size : SHOWN_BYTES;
}

static void skip_space(struct lathe_bytes *text)
{
    while (text->size > 0 && isspace(text->data[0]))
        *text = lathe_bytes_of(text->data + 1, text->size - 1);
}

static void cut_front(struct lathe_bytes *text, size_t size)
{
    *text = lathe_bytes_of(text->data + size, text->size - size);
    skip_space(text);
}

static bool take(struct lathe_bytes *text, char c)
{
    if (text->size == 0 || text->data[0] != (uint8_t)c)
        return false;
    cut_front(text, 1);
    return true;
}

/* Bytes of the string at the front, with its quotes; 0 if there is none. */
static size_t string_size(struct lathe_bytes text)
{
    const uint8_t *end = NULL;

    if (text.size > 0 && (text.data[0] == '\'' || text.data[0] == '"'))
        end = memchr(text.data + 1, text.data[0], text.size - 1);
    return end != NULL ? (size_t)(end - text.data) + 1 : 0;
}

/* Bytes of the list or tuple at the front, with its brackets; 0 if there is none. */
static size_t brackets_size(struct lathe_bytes text)
{
    size_t depth = 0, at = 0;

    while (at < text.size) {
        uint8_t c = text.data[at];
        size_t string = string_size(lathe_bytes_of(text.data + at, text.size - at));

        depth += c == '(' || c == '[' ? 1 : 0;
        depth -= depth > 0 && (c == ')' || c == ']') ? 1 : 0;
        at += string > 0 ? string : 1;
        if (depth == 0)
            return c == ')' || c == ']' ? at : 0;
    }
    return 0;
}

static size_t word_size(struct lathe_bytes text)
{
    size_t size = 0;

    while (size < text.size && isalnum(text.data[size]))
        size++;
    return size;
}

/* Takes a string, a list or tuple, or a word. */
static bool take_value(struct lathe_bytes *text, struct lathe_bytes *value_out)
{
    size_t size = string_size(*text);

    if (size == 0)
        size = brackets_size(*text);
    if (size == 0)
        size = word_size(*text);
    *value_out = lathe_bytes_of(text->data, size);
    cut_front(text, size);
    return size > 0;
}

static bool is_text(struct lathe_bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && memcmp(bytes.data, text, bytes.size) == 0;
}

/* The place of a key's value; NULL: it has no such key, or had it already. */
static struct lathe_bytes *header_place(struct header *header, struct lathe_bytes key)
{
    struct lathe_bytes name = lathe_bytes_of(key.data + 1, key.size - 2);
    struct lathe_bytes *place = is_text(name, "descr")           ? &header->descr
                                : is_text(name, "fortran_order") ? &header->order
                                : is_text(name, "shape")         ? &header->shape
                                                                 : NULL;

    return place != NULL && place->size == 0 ? place : NULL;
}

/* "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", in any order. */
static bool header_split(struct lathe_bytes text, struct header *header_out)
{
    memset(header_out, 0, sizeof(*header_out));
    skip_space(&text);
    if (!take(&text, '{'))
        return false;
    while (!take(&text, '}')) {
        struct lathe_bytes key = lathe_bytes_of(text.data, string_size(text)), *place;

        if (key.size == 0)
            return false;
        cut_front(&text, key.size);
        place = header_place(header_out, key);
        if (place == NULL || !take(&text, ':') || !take_value(&text, place))
            return false;
        if (!take(&text, ',') && (text.size == 0 || text.data[0] != '}'))
            return false;
    }
    return text.size == 0 && header_out->descr.size > 0 && header_out->order.size > 0 &&
           header_out->shape.size > 0;
}

/* Takes a decimal number. False: there is none, or it is too large. */
static bool take_number(struct lathe_bytes *text, uint64_t *number_out)
{
    size_t size = 0;
    uint64_t number = 0;

    for (; size < text->size && isdigit(text->data[size]); size++)
        if (__builtin_mul_overflow(number, 10u, &number) ||
            __builtin_add_overflow(number, (uint64_t)(text->data[size] - '0'), &number))
            return false;
    cut_front(text, size);
    *number_out = number;
    return size > 0;
}

/* One size or two, in brackets. *count_out: how many. */
static bool shape_read(struct lathe_bytes shape, uint64_t sizes_out[2], unsigned *count_out)
{
    *count_out = 0;
    if (!take(&shape, '('))
        return false;
    while (!take(&shape, ')')) {
        if (*count_out == 2 || !take_number(&shape, &sizes_out[*count_out]))
            return false;
        ++*count_out;
        if (!take(&shape, ',') && (shape.size == 0 || shape.data[0] != ')'))
            return false;
    }
    return *count_out > 0;
}

/* True if the file has exactly the bytes that its rows need. */
static enum lathe_status size_check(const struct lathe_rows *rows, const struct npy *npy,
                                    struct lathe_error *err)
{
    uint64_t stride = npy->dims * sizeof(float), follow = rows->file.size_bytes - npy->data_offset;
    uint64_t whole = follow / stride;

    if (whole < rows->total)
        return lathe_fail(
            err, LATHE_INVALID_ARGUMENT,
            "the file ends before row %llu does: its header promises %llu rows of %llu "
            "dims, and %llu bytes follow it",
            (unsigned long long)whole, (unsigned long long)rows->total,
            (unsigned long long)npy->dims, (unsigned long long)follow);
    if (follow != rows->total * stride)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "%llu bytes follow the %llu rows of %llu dims that its header promises",
                          (unsigned long long)(follow - rows->total * stride),
                          (unsigned long long)rows->total, (unsigned long long)npy->dims);
    return LATHE_OK;
}

static enum lathe_status header_parse(struct lathe_rows *rows, struct npy *npy,
                                      struct lathe_bytes text, struct lathe_error *err)
{
    struct header header;
    uint64_t sizes[2];
    unsigned count;

    if (!header_split(text, &header))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the .npy header is not a dictionary of descr, fortran_order and shape");
    if (!is_text(header.descr, "'<f4'") && !is_text(header.descr, "\"<f4\""))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "its elements are %.*s; only little-endian float32 ('<f4') can be read",
                          shown(header.descr), (const char *)header.descr.data);
    if (!is_text(header.order, "False"))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "the array must be in C order; fortran_order is %.*s",
                          shown(header.order), (const char *)header.order.data);
    if (!shape_read(header.shape, sizes, &count))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "its shape is %.*s; it takes two sizes, rows and dims",
                          shown(header.shape), (const char *)header.shape.data);
    rows->total = count == 2 ? sizes[0] : 1;
    npy->dims = sizes[count - 1];
    if (npy->dims < 1 || npy->dims > LATHE_MAX_DIMS)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "rows have %llu dims; it takes 1 to %u",
                          (unsigned long long)npy->dims, LATHE_MAX_DIMS);
    return size_check(rows, npy, err);
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
    if (magic.size < MAGIC_BYTES || memcmp(magic.data, "\x93NUMPY", MAGIC_BYTES) != 0)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "this is not an .npy file");
    if (!reader.failed && (major < 1 || major > 3))
        return lathe_fail(err, LATHE_INVALID_ARGUMENT,
                          "it is of version %u of .npy; 1 to 3 are known", major);
    if (!reader.failed && text_bytes > HEADER_LIMIT_BYTES)
        return lathe_fail(err, LATHE_INVALID_ARGUMENT, "its header has %zu bytes; the limit is %d",
                          text_bytes, HEADER_LIMIT_BYTES);
    *front_out = (size_t)(reader.at - header_out->data);
    if (reader.failed || text_bytes > file_bytes - *front_out)
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

    rows->state = npy;
    if (npy == NULL)
        return lathe_fail(err, LATHE_RESOURCE_EXHAUSTED, "no memory for the header");
    rc = header_view(rows, &header, &front, err);
    if (rc != LATHE_OK)
        return rc;
    npy->data_offset = header.size;
    rc = header_parse(rows, npy, lathe_bytes_of(header.data + front, header.size - front), err);
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
