/* SPDX-License-Identifier: Apache-2.0 */
/* safetensors: round trips, what other writers leave to choice, every way in which a file can be
 * wrong. Files are made by hand: length, JSON, bytes. */
#include "data_files.h"

#include "io/array.h"

#include <akin/io.h>

static uint8_t content[1 << 16];

/* A file in memory out of a header and n bytes of data 0, 1, 2, ..; returns its size. */
static size_t make(const char *header, size_t n)
{
    const size_t length = strlen(header);
    cr_assert(8 + length + n <= sizeof content);
    for (int i = 0; i < 8; i++)
        content[i] = (uint8_t)(length >> (8 * i));
    memcpy(content + 8, header, length);
    for (size_t i = 0; i < n; i++)
        content[8 + length + i] = (uint8_t)i;
    return 8 + length + n;
}

static ak_safetensors *parse(ak_ctx *ctx, const char *header, size_t n)
{
    return ak__safetensors_parse(ctx, "file", content, make(header, n));
}

static ak_safetensors *need(ak_ctx *ctx, const char *header, size_t n)
{
    ak_safetensors *f = parse(ctx, header, n);
    cr_assert_not_null(f, "%s: %s", header, ak_error_message(ctx));
    return f;
}

/* It is refused as damaged, with a message that has these words. */
static void refused(const char *header, size_t n, const char *word, const char *other)
{
    ak_ctx *ctx = quiet();
    cr_expect_null(parse(ctx, header, n), "%s was taken", header);
    expect_error(ctx, AK_ERR_FORMAT, word, other);
    ak_close(ctx);
}

/* ---- what is read ---------------------------------------------------------------------------- */

Test(safetensors, types_and_values)
{
    ak_ctx *ctx = quiet();
    const uint8_t half[] = { 0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0x00, 0x7c };  /* 1 -2 2^-24 inf */
    const uint8_t brain[] = { 0x80, 0x3f, 0x00, 0xc0, 0x49, 0x40, 0x80, 0xff }; /* 1 -2 3.14 -inf */
    const double  doubles[] = { 0.1, -2 };
    const float   floats[] = { 1.5f };
    const size_t  n = make("{\"h\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]},"
                           "\"b\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[8,16]},"
                           "\"d\":{\"data_offsets\":[16,32],\"shape\":[2],\"dtype\":\"F64\"},"
                           "\"f\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[32,36]},"
                           "\"i\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[36,44]},"
                           "\"q\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[44,47]}}",
                           47);
    uint8_t *data = content + n - 47;
    memcpy(data, half, 8);
    memcpy(data + 8, brain, 8);
    memcpy(data + 16, doubles, 16);
    memcpy(data + 32, floats, 4);
    ak_safetensors *f = ak__safetensors_parse(ctx, "file", content, n);
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_safetensors_count(f), 6);
    const ak_array *h = ak_safetensors_find(f, "h"), *b = ak_safetensors_find(f, "b");
    cr_assert(h && b);
    cr_expect_eq(h->type, AK_TYPE_F32);
    cr_expect(ak_shape_equal(h->shape, AK_SHAPE(2, 2)));
    cr_expect(ak_array_at(h, 0) == 1 && ak_array_at(h, 1) == -2 && ak_array_at(h, 2) == 0x1p-24 &&
              isinf(ak_array_at(h, 3)));
    cr_expect(ak_array_at(b, 0) == 1 && ak_array_at(b, 1) == -2 && ak_array_at(b, 2) == 3.140625 &&
              ak_array_at(b, 3) == (double)-INFINITY);
    const ak_array *d = ak_safetensors_find(f, "d"), *s = ak_safetensors_find(f, "f");
    cr_expect(d->type == AK_TYPE_F64 && ak_array_at(d, 0) == 0.1);
    cr_expect(s->shape.n == 0 && s->size == 1 && ak_array_at(s, 0) == 1.5);
    cr_expect_eq(ak_safetensors_find(f, "i")->type, AK_TYPE_I64);
    cr_expect_eq(ak_safetensors_find(f, "q")->size, 3);
    cr_expect_eq(ak_safetensors_at(f, 0), h, "made once, and in the order of the bytes");
    cr_expect_str_eq(ak_safetensors_info(f, 1)->type, "BF16");
    cr_expect_eq(ak_safetensors_info(f, 2)->bytes, 16);
    cr_expect_null(ak_safetensors_find(f, "absent"));
    cr_expect_null(ak_safetensors_at(f, 6));
    cr_expect_eq(ak_safetensors_index(f, "absent"), -1);
    ak_tensor *to = ak_zeros(ctx, AK_SHAPE(2, 2));
    cr_expect_eq(ak_safetensors_read(f, ak_safetensors_index(f, "h"), to), AK_OK);
    cr_expect(to->data[1] == -2 && to->data[2] == (ak_real)0x1p-24);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(safetensors, what_the_format_leaves_open)
{
    ak_ctx *ctx = quiet();
    cr_expect_eq(ak_safetensors_count(need(ctx, "{}", 0)), 0);
    cr_expect_eq(ak_safetensors_count(need(ctx, "{\"__metadata__\":{}}", 0)), 0);
    ak_safetensors *f = need(ctx, "{\"__metadata__\":{\"format\":\"pt\",\"a\":\"\"},"
                             "\"e\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[0,0]},"
                             "\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
                             "\"z\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[4,4]}}"
                             "          ", 4);
    const char *value;
    cr_expect_str_eq(ak_safetensors_metadata(f, 0, &value), "format");
    cr_expect_str_eq(value, "pt");
    cr_expect_str_eq(ak_safetensors_metadata(f, 1, NULL), "a");
    cr_expect_null(ak_safetensors_metadata(f, 2, &value));
    cr_expect_null(value);
    const ak_array *e = ak_safetensors_find(f, "e");
    cr_expect(e->size == 0 && ak_shape_equal(e->shape, AK_SHAPE(3, 0)));
    cr_expect_eq(ak_safetensors_find(f, "z")->size, 0);
    /* In the order of the names, not of the bytes, and escapes in a name. */
    f = need(ctx, "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[3,5]},"
                  "\"b\\u00e4\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]}}", 5);
    cr_expect_str_eq(ak_safetensors_name(f, 0), "b\xc3\xa4");
    cr_expect_eq(ak_array_at(ak_safetensors_find(f, "a"), 0), 3);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* A type that can not be read is no fault of the file: only asking for it is one. */
Test(safetensors, unreadable_only_when_wanted)
{
    ak_ctx *ctx = quiet();
    ak_safetensors *f = need(ctx, "{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[4],"
                             "\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"NEW9\",\"shape\":[4],"
                             "\"data_offsets\":[4,9]},\"c\":{\"dtype\":\"F4\",\"shape\":[2,3],"
                             "\"data_offsets\":[9,12]},\"d\":{\"dtype\":\"U8\","
                             "\"shape\":[1,1,1,1,1,1,1],\"data_offsets\":[12,13]},"
                             "\"e\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[13,14]}}",
                             14);
    for (int64_t i = 0; i < 4; i++) {
        cr_expect_not(ak_safetensors_info(f, i)->readable);
        cr_expect_null(ak_safetensors_at(f, i));
        expect_error(ctx, AK_ERR_UNSUPPORTED, ak_safetensors_name(f, i),
                     i == 3 ? "7 axes" : ak_safetensors_info(f, i)->type);
    }
    cr_expect_eq(ak_array_at(ak_safetensors_at(f, 4), 0), 13);
    cr_expect_eq(ak_safetensors_read(f, 4, ak_zeros(ctx, AK_SHAPE(1))), AK_ERR_UNSUPPORTED);
    expect_error(ctx, AK_ERR_UNSUPPORTED, "floating-point", "U8");
    ak_close(ctx);
}

Test(safetensors, reading_into_a_tensor)
{
    ak_ctx *ctx = quiet();
    const size_t n = make("{\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]}}", 16);
    memcpy(content + n - 16, (double[]){ 1, 1e300 }, 16);
    ak_safetensors *f = ak__safetensors_parse(ctx, "file", content, n);
    ak_tensor *to = ak_full(ctx, AK_SHAPE(2), 5);
    if (AK_REAL_BITS == 32) {
        cr_expect_eq(ak_safetensors_read(f, 0, to), AK_ERR_VALUE);
        cr_expect_eq(to->data[0], 5);
        expect_error(ctx, AK_ERR_VALUE, "element 1 of \"d\"", "1e+300");
    } else {
        cr_expect_eq(ak_safetensors_read(f, 0, to), AK_OK);
        cr_expect_eq((double)to->data[1], 1e300);
    }
    ak_safetensors_read(f, 0, ak_zeros(ctx, AK_SHAPE(1, 2)));
    expect_error(ctx, AK_ERR_SHAPE, "[2]", "[1,2]");
    ak_safetensors_read(f, 1, ak_zeros(ctx, AK_SHAPE(2)));
    expect_error(ctx, AK_ERR_VALUE, "tensor 1 of 1", "file");
    ak_close(ctx);
}

/* ---- what is wrong --------------------------------------------------------------------------- */

#define ONE(rest) "{\"a\":{" rest "}}"
#define FLOATS(shape, range) ONE("\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" range)

Test(safetensors, lengths_that_lie)
{
    ak_ctx *ctx = quiet();
    for (size_t n = 0; n < 8; n++) {
        make("{}", 0);
        cr_expect_null(ak__safetensors_parse(ctx, "file", content, n));
        expect_error(ctx, AK_ERR_FORMAT, "length of its header", "file");
    }
    const size_t n = make("{}", 0);
    const uint64_t lies[] = { 3, 1000, (uint64_t)1 << 40, UINT64_MAX, UINT64_MAX - 7, INT64_MAX };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        memcpy(content, &lies[i], 8);
        cr_expect_null(ak__safetensors_parse(ctx, "file", content, n));
        expect_error(ctx, AK_ERR_FORMAT, "its header is said to have", "2 follow");
    }
    memset(content, 0, 8);
    cr_expect_null(ak__safetensors_parse(ctx, "file", content, n));
    expect_error(ctx, AK_ERR_FORMAT, "no JSON object", "file");
    ak_close(ctx);
}

/* 100,000,001 bytes of header in a file without blocks: refused by its length. */
Test(safetensors, header_beyond_the_limit)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    const char *path = path_in(new_folder(dir), "large");
    const uint64_t length = 100000001;
    put_file(path, &length, 8);
    cr_assert_eq(truncate(path, 8 + 100000001), 0);
    cr_expect_null(ak_safetensors_open(ctx, path));
    expect_error(ctx, AK_ERR_FORMAT, "at most 100000000", path);
    remove_folder(dir);
    ak_close(ctx);
}

Test(safetensors, headers_that_are_none)
{
    refused("[]", 0, "no JSON object", "{");
    refused(" {}", 0, "no JSON object", "{");
    refused("{", 0, "no JSON", "byte");
    refused("{} x", 0, "no JSON", "byte");
    refused("{\"a\":1}", 0, "\"a\"", "no object");
    refused("{\"a\":[]}", 0, "\"a\"", "no object");
    refused("{\"a\xff\":{}}", 0, "UTF-8", "file");
    refused("{\"__metadata__\":3}", 0, "__metadata__", "no object");
    refused("{\"__metadata__\":{\"k\":3}}", 0, "\"k\"", "no text");
    refused("{\"a\\u0000b\":{}}", 0, "JSON", "file");
    refused("{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, "twice", "\"a\"");
    refused("{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "twice", "\"k\"");
    refused(ONE("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 4,
            "twice", "dtype");
    static char deep[8192];
    for (int i = 0; i < 4000; i++)
        memcpy(deep + 5 + i, "[", 2);
    memcpy(deep, "{\"a\":", 5);
    refused(deep, 0, "JSON", "depth");
}

Test(safetensors, entries_that_are_wrong)
{
    refused(ONE("\"shape\":[1],\"data_offsets\":[0,4]"), 4, "\"a\"", "dtype");
    refused(ONE("\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,4]"), 4, "\"a\"", "dtype");
    refused(ONE("\"dtype\":\"F32\",\"data_offsets\":[0,4]"), 4, "\"a\"", "shape");
    refused(FLOATS("4", "[0,4]"), 4, "\"a\"", "shape");
    refused(FLOATS("[-1]", "[0,4]"), 4, "axis 0", "\"a\"");
    refused(FLOATS("[1,-1]", "[0,4]"), 4, "axis 1", "\"a\"");
    refused(FLOATS("[1.0]", "[0,4]"), 4, "axis 0", "\"a\"");
    refused(FLOATS("[\"1\"]", "[0,4]"), 4, "axis 0", "\"a\"");
    refused(FLOATS("[true]", "[0,4]"), 4, "axis 0", "\"a\"");
    refused(FLOATS("[99999999999999999999]", "[0,4]"), 4, "JSON", "big integer");
    refused(FLOATS("[9223372036854775807,9223372036854775807]", "[0,4]"), 4, "4 bytes", "\"a\"");
    /* Times 4 bytes these are 4 and 0 modulo 2^64. */
    refused(FLOATS("[4611686018427387905]", "[0,4]"), 4, "4 bytes", "\"a\"");
    refused(FLOATS("[4294967296,4294967296]", "[0,0]"), 0, "0 bytes", "\"a\"");
    refused(FLOATS("[2]", "[0,4]"), 4, "4 bytes", "[2]");
    refused(FLOATS("[1]", "[0,8]"), 8, "8 bytes", "[1]");
    refused(FLOATS("[0]", "[0,4]"), 4, "4 bytes", "[0]");
    refused(FLOATS("[]", "[0,0]"), 0, "0 bytes", "\"a\"");
    refused(ONE("\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[0,2]"), 2, "F4", "\"a\"");
    refused(FLOATS("[1]", "[0]"), 4, "data_offsets", "\"a\"");
    refused(FLOATS("[1]", "[0,4,8]"), 4, "data_offsets", "\"a\"");
    refused(FLOATS("[1]", "[-4,0]"), 4, "data_offsets", "\"a\"");
    refused(FLOATS("[1]", "[0,4.0]"), 4, "data_offsets", "\"a\"");
    refused(FLOATS("[1]", "{}"), 4, "data_offsets", "\"a\"");
    refused(FLOATS("[1]", "[4,0]"), 4, "before it begins", "\"a\"");
    refused(FLOATS("[2]", "[0,8]"), 4, "ends at byte 8", "which has 4");
    refused(FLOATS("[1]", "[9223372036854775803,9223372036854775807]"), 4, "ends at byte",
            "which has 4");
}

#define TWO(first, second)                                                                         \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" first "},"                          \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" second "}}"

Test(safetensors, bytes_of_two_or_of_none)
{
    refused(TWO("[0,4]", "[0,4]"), 4, "overlap", "\"b\"");
    refused(TWO("[0,4]", "[3,7]"), 7, "overlap at byte 3", "\"a\"");
    refused(TWO("[4,8]", "[2,6]"), 8, "a gap", "bytes 0 to 2");
    refused(TWO("[0,4]", "[5,9]"), 9, "a gap", "bytes 4 to 5");
    refused(TWO("[0,4]", "[4,8]"), 9, "1 bytes follow", "last");
    refused("{}", 1, "1 bytes follow", "last");
    /* An empty one inside of another. */
    refused("{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[2,2]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4, "overlap",
            "\"e\"");
    refused("{\"e\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[1,1]}}", 1, "a gap", "\"e\"");
}

Test(safetensors, no_regular_file)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    cr_expect_null(ak_safetensors_open(ctx, path_in(dir, "absent")));
    expect_error(ctx, AK_ERR_NOT_FOUND, "no such file", "absent");
    cr_expect_null(ak_safetensors_open(ctx, dir));
    expect_error(ctx, AK_ERR_IO, "a folder", dir);
    cr_expect_null(ak_safetensors_open(ctx, "/dev/null"));
    expect_error(ctx, AK_ERR_IO, "a device", "/dev/null");
    put_file(path_in(dir, "empty"), "", 0);
    cr_expect_null(ak_safetensors_open(ctx, path_in(dir, "empty")));
    expect_error(ctx, AK_ERR_FORMAT, "it has 0 bytes", "empty");
    remove_folder(dir);
    ak_close(ctx);
}

/* ---- writing --------------------------------------------------------------------------------- */

Test(safetensors, round_trip)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    const char *path = path_in(new_folder(dir), "file.safetensors");
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(3, 5)), *s = ak_full(ctx, AK_SCALAR, 2.5);
    ak_tensor *e = ak_zeros(ctx, AK_SHAPE(0, 4));
    cr_assert_eq(ak_safetensors_write(ctx, path, (const char *const[]){ "x", "s\xc3\xa4\"", "e" },
                                      (ak_tensor *const[]){ x, s, e }, 3,
                                      (const char *const[]){ "format", "pt", NULL }), AK_OK);
    unsigned char bytes[512];
    get_file(path, bytes, sizeof bytes);
    cr_expect_eq(bytes[0] % 8, 0, "the data begins at a multiple of 8");
    ak_safetensors *f = ak_safetensors_open(ctx, path);
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_safetensors_count(f), 3);
    cr_expect_str_eq(ak_safetensors_metadata(f, 0, NULL), "format");
    const ak_array *a = ak_safetensors_find(f, "x");
    cr_expect_eq(a->type, AK_REAL_BITS == 64 ? AK_TYPE_F64 : AK_TYPE_F32);
    cr_expect(memcmp(a->data, x->data, (size_t)x->size * sizeof *x->data) == 0);
    cr_expect_eq(ak_array_at(ak_safetensors_find(f, "s\xc3\xa4\""), 0), 2.5);
    ak_safetensors_close(f);
    cr_expect_eq(ak_safetensors_find(f, "x"), a, "what was handed out stays");
    cr_expect_null(ak_safetensors_find(f, "e"));
    expect_error(ctx, AK_ERR_STATE, "after ak_safetensors_close", "\"e\"");
    cr_expect_eq(count_files(dir), 1);
    remove_folder(dir);
    ak_close(ctx);
}

Test(safetensors, arrays_of_every_type)
{
    ak_ctx *ctx = quiet();
    char    dir[64], names[AK_TYPE_COUNT][8];
    const char *path = path_in(new_folder(dir), "file");
    ak_array all[AK_TYPE_COUNT];
    for (int t = 0; t < AK_TYPE_COUNT; t++) {
        snprintf(names[t], sizeof names[t], "%s", ak_type_name((ak_type)t));
        all[t] = (ak_array){ .name = names[t], .type = (ak_type)t, .shape = AK_SHAPE(1),
                             .size = 1, .data = (double[]){ 1 } };
    }
    cr_assert_eq(ak_safetensors_write_arrays(ctx, path, all, AK_TYPE_COUNT, NULL), AK_OK);
    ak_safetensors *f = ak_safetensors_open(ctx, path);
    for (int t = 0; t < AK_TYPE_COUNT; t++) {
        const ak_array *a = ak_safetensors_find(f, names[t]);
        cr_assert_not_null(a, "%s", ak_error_message(ctx));
        cr_expect_eq(a->type, (ak_type)t);
        cr_expect(memcmp(a->data, all[t].data, ak_type_size((ak_type)t)) == 0);
    }
    /* Wide elements first: a program that maps the file finds each number aligned. */
    int64_t at = 0;
    for (int64_t i = 0; i < AK_TYPE_COUNT; i++) {
        const int64_t bytes = ak_safetensors_info(f, i)->bytes;
        cr_expect_eq(at % bytes, 0, "%s at %d", ak_safetensors_name(f, i), (int)at);
        at += bytes;
    }
    remove_folder(dir);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(safetensors, what_is_not_written)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    const char *path = path_in(new_folder(dir), "file");
    put_file(path, "old", 3);
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(2));
    const struct { const char *names[2], *metadata[5], *word; } wrong[] = {
        { { "a", "a" }, { NULL }, "given twice" },
        { { "a", "" }, { NULL }, "needs a name" },
        { { "a", "__metadata__" }, { NULL }, "needs a name" },
        { { "a", "\xff" }, { NULL }, "not UTF-8" },
        { { "a", "b" }, { "k", NULL }, "no value" },
        { { "a", "b" }, { "k", "v", "k", "w", NULL }, "given twice" },
        { { "a", "b" }, { "k", "\xff", NULL }, "not UTF-8" },
        { { "a", "b" }, { "\xff", "v", NULL }, "not UTF-8" },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        x = ak_zeros(ctx, AK_SHAPE(2));
        cr_expect_eq(ak_safetensors_write(ctx, path, wrong[i].names, (ak_tensor *const[]){ x, x },
                                          2, wrong[i].metadata), AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, wrong[i].word, path);
    }
    ak_array bad = { .name = "a", .type = AK_TYPE_F32, .shape = AK_SHAPE(3), .size = 2,
                     .data = (float[]){ 1, 2 } };
    ak_safetensors_write_arrays(ctx, path, &bad, 1, NULL);
    expect_error(ctx, AK_ERR_VALUE, "not complete", path);
    unsigned char bytes[8];
    cr_expect_eq(get_file(path, bytes, sizeof bytes), 3, "the old file is untouched");
    cr_expect_eq(count_files(dir), 1);
    remove_folder(dir);
    ak_close(ctx);
}

/* What no reader would take is not written. */
Test(safetensors, a_header_beyond_the_limit_is_not_written)
{
    ak_ctx *ctx = quiet();
    char    dir[64], *name = malloc(100000000);
    const char *path = path_in(new_folder(dir), "file");
    cr_assert_not_null(name);
    memset(name, 'n', 99999999);
    name[99999999] = '\0';
    const ak_array a = { .name = name, .type = AK_TYPE_F32, .shape = AK_SHAPE(0) };
    cr_expect_eq(ak_safetensors_write_arrays(ctx, path, &a, 1, NULL), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "readers take 100000000 at most", path);
    cr_expect_eq(count_files(dir), 0);
    free(name);
    remove_folder(dir);
    ak_close(ctx);
}

/* Cut off while it is open: an error, not a signal. */
Test(safetensors, cut_off_meanwhile)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    const char *path = path_in(new_folder(dir), "file");
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(4096));
    ak_safetensors_write(ctx, path, (const char *const[]){ "x" }, &x, 1, NULL);
    ak_safetensors *f = ak_safetensors_open(ctx, path);
    cr_assert_eq(truncate(path, 100), 0);
    cr_expect_null(ak_safetensors_at(f, 0));
    expect_error(ctx, AK_ERR_IO, "shorter", path);
    remove_folder(dir);
    ak_close(ctx);
}
