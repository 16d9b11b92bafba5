/* SPDX-License-Identifier: Apache-2.0 */
/* .npy and .npz: round trips, files written by NumPy, and every way in which a file can be wrong.
 * AK_TEST_DATA is the folder tests/data. */
#include "data_files.h"

#include "io/array.h"

#include <akin/io.h>

static const char *fixture(const char *name)
{
    return path_in(getenv("AK_TEST_DATA"), name);
}

static const ak_array *need(ak_ctx *ctx, ak_npz *f, const char *name, ak_type type, ak_shape shape)
{
    const ak_array *a = ak_npz_find(f, name);
    char            text[AK_SHAPE_TEXT];
    cr_assert_not_null(a, "%s: %s", name, ak_error_message(ctx));
    cr_assert_eq(a->type, type, "%s is %s", name, ak_type_name(a->type));
    cr_assert(ak_shape_equal(a->shape, shape), "%s is %s", name, ak_shape_text(a->shape, text));
    cr_assert_str_eq(a->name, name);
    return a;
}

Test(npz, deflated_by_numpy)
{
    ak_ctx *ctx = quiet();
    ak_npz *f = ak_npz_open(ctx, fixture("numpy_deflated.npz"));
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_npz_count(f), 9);
    cr_expect_str_eq(ak_npz_name(f, 0), "c_order");
    cr_expect_null(ak_npz_name(f, 9));
    const ak_array *c = need(ctx, f, "c_order", AK_TYPE_F32, AK_SHAPE(2, 3, 4));
    const ak_array *fortran = need(ctx, f, "fortran", AK_TYPE_F64, AK_SHAPE(2, 3, 4));
    for (int i = 0; i < 24; i++) {
        cr_expect_eq(ak_array_at(c, i), i / 4.0);
        cr_expect_eq(ak_array_at(fortran, i), i / 4.0);
    }
    const ak_array *ints = need(ctx, f, "with.dots.in.name", AK_TYPE_I64, AK_SHAPE(3));
    ak_index       *index = ak_array_index(ctx, ints);
    cr_expect_eq(index->size, 3);
    cr_expect_eq(index->data[1], -2);
    cr_expect_eq(ak_array_at(need(ctx, f, "bytes", AK_TYPE_U8, AK_SHAPE(256)), 255), 255);
    const ak_array *flags = need(ctx, f, "flags", AK_TYPE_BOOL, AK_SHAPE(3));
    cr_expect(ak_array_at(flags, 0) == 1 && ak_array_at(flags, 1) == 0);
    const ak_array *scalar = need(ctx, f, "scalar", AK_TYPE_F64, AK_SCALAR);
    cr_expect_eq(ak_item(ak_array_tensor(ctx, scalar)), 2.5);
    cr_expect_eq(need(ctx, f, "empty", AK_TYPE_F32, AK_SHAPE(0, 3))->size, 0);
    const ak_array *big = need(ctx, f, "big_endian", AK_TYPE_F32, AK_SHAPE(2));
    cr_expect(ak_array_at(big, 0) == 1.5 && ak_array_at(big, 1) == -2);
    need(ctx, f, "int32", AK_TYPE_I32, AK_SHAPE(1, 2));
    cr_expect_null(ak_npz_find(f, "absent"));
    cr_expect_eq(ak_error(ctx), AK_OK);
    cr_expect_eq(ak_npz_find(f, "c_order"), c);         /* read once */
    cr_expect_eq(ak_npz_at(f, 0), c);
    ak_npz_close(f);
    cr_expect_eq(ak_array_at(c, 4), 1);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(npz, stored_by_numpy_and_text)
{
    ak_ctx *ctx = quiet();
    ak_npz *f = ak_npz_open(ctx, fixture("numpy_stored.npz"));
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_array_at(need(ctx, f, "x", AK_TYPE_F32, AK_SHAPE(2, 3, 4)), 23), 5.75);
    cr_expect_null(ak_npz_find(f, "text"));
    expect_error(ctx, AK_ERR_UNSUPPORTED, "\"text\"", "<U3");
    ak_npz_close(f);
    cr_expect_null(ak_npz_find(f, "text"));
    expect_error(ctx, AK_ERR_STATE, "text", "ak_npz_close");
    ak_close(ctx);
}

Test(npy, version_2_fortran_by_numpy)
{
    ak_ctx         *ctx = quiet();
    const ak_array *a = ak_npy_read(ctx, fixture("numpy_v2.npy"));
    cr_assert_not_null(a, "%s", ak_error_message(ctx));
    cr_expect(ak_shape_equal(a->shape, AK_SHAPE(2, 3)));
    for (int i = 0; i < 6; i++)
        cr_expect_eq(ak_array_at(a, i), i);
    ak_close(ctx);
}

Test(npy, round_trip)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const ak_shape shapes[] = { AK_SCALAR, AK_SHAPE(1), AK_SHAPE(5), AK_SHAPE(0, 4),
                                AK_SHAPE(3, 1, 2), AK_SHAPE(1, 2, 1, 2, 1, 3) };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        ak_tensor *t = ak_randn(ctx, shapes[i]);
        cr_assert_eq(ak_npy_write(ctx, path_in(dir, "t.npy"), t), AK_OK);
        const ak_array *a = ak_npy_read(ctx, path_in(dir, "t.npy"));
        cr_assert_not_null(a, "%s", ak_error_message(ctx));
        cr_expect(ak_shape_equal(a->shape, shapes[i]));
        cr_expect_eq(memcmp(a->data, t->data, (size_t)t->size * sizeof *t->data), 0);
    }
    cr_expect_eq(count_files(dir), 1);
    remove_folder(dir);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(npz, round_trip_stored_and_deflated)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    ak_tensor *t[] = { ak_randn(ctx, AK_SHAPE(7, 5)), ak_zeros(ctx, AK_SHAPE(1000)),
                       ak_zeros(ctx, AK_SHAPE(0)) };
    const char *const names[] = { "first", "a.b.c", "empty" };
    cr_assert_eq(ak_npz_write(ctx, path_in(dir, "s.npz"), names, t, 3), AK_OK);
    cr_assert_eq(ak_npz_write_deflated(ctx, path_in(dir, "d.npz"), names, t, 3), AK_OK);
    for (int k = 0; k < 2; k++) {
        ak_npz *f = ak_npz_open(ctx, path_in(dir, k ? "d.npz" : "s.npz"));
        cr_assert_not_null(f, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_npz_count(f), 3);
        for (int i = 0; i < 3; i++) {
            const ak_array *a = ak_npz_find(f, names[i]);
            cr_assert_not_null(a, "%s", ak_error_message(ctx));
            cr_expect(ak_shape_equal(a->shape, t[i]->shape));
            cr_expect_eq(memcmp(a->data, t[i]->data, (size_t)t[i]->size * sizeof(ak_real)), 0);
        }
    }
    unsigned char file[8192];
    cr_expect_lt(get_file(path_in(dir, "d.npz"), file, sizeof file), 2000);
    cr_expect_gt(get_file(path_in(dir, "s.npz"), file, sizeof file), 4000);
    cr_expect_eq(count_files(dir), 2);

    const ak_array arrays[] = { { "ids", AK_TYPE_I32, AK_SHAPE(2), 2, (int32_t[]){ 5, -6 } } };
    cr_assert_eq(ak_npz_write_arrays(ctx, path_in(dir, "i.npz"), arrays, 1, true), AK_OK);
    ak_npz *f = ak_npz_open(ctx, path_in(dir, "i.npz"));
    cr_expect_eq(ak_array_at(need(ctx, f, "ids", AK_TYPE_I32, AK_SHAPE(2)), 1), -6);
    remove_folder(dir);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(npz, refuses_to_write_nonsense)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    ak_tensor *t[] = { ak_zeros(ctx, AK_SHAPE(2)), ak_zeros(ctx, AK_SHAPE(2)) };
    cr_expect_eq(ak_npz_write(ctx, path_in(dir, "x"), (const char *const[]){ "a", "a" }, t, 2),
                 AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "/x", "\"a\" is given twice");
    t[0] = t[1] = ak_zeros(ctx, AK_SHAPE(2));
    cr_expect_eq(ak_npz_write(ctx, path_in(dir, "x"), (const char *const[]){ "a", "" }, t, 2),
                 AK_ERR_VALUE);
    ak_step_end(ctx);
    cr_expect_eq(ak_npz_write(ctx, path_in(dir, "x"), (const char *const[]){ "a", "b" }, t, 2),
                 AK_ERR_STALE);
    expect_error(ctx, AK_ERR_STALE, "ak_npz_write", "earlier step");
    t[0] = ak_zeros(ctx, AK_SHAPE(2));
    t[1] = NULL;
    cr_expect_eq(ak_npz_write(ctx, path_in(dir, "x"), (const char *const[]){ "a", "b" }, t, 2),
                 AK_ERR_VALUE);
    cr_expect(strstr(ak_error_message(ctx), "tensor 1 (\"b\") is missing (NULL)"), "%s",
              ak_error_message(ctx));
    cr_expect_eq(ak_npy_write(ctx, path_in(dir, "x"), t[0]), AK_ERR_STATE); /* error pending */
    ak_step_end(ctx);
    cr_expect_eq(count_files(dir), 0);
    remove_folder(dir);
    ak_close(ctx);
}

static void npy_refused(const char *head, size_t data, ak_status status, const char *word)
{
    unsigned char file[512] = "\x93NUMPY\x01";
    const size_t  n = strlen(head);
    file[8] = (unsigned char)n;
    memcpy(file + 10, head, n);
    ak_ctx *ctx = quiet();
    cr_expect_null(ak__npy_parse(ctx, "some.npy", file, 10 + n + data));
    expect_error(ctx, status, "some.npy", word);
    ak_close(ctx);
}

Test(npy, wrong_files)
{
    const char *good = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
    npy_refused(good, 7, AK_ERR_FORMAT, "too few");
    npy_refused(good, 9, AK_ERR_FORMAT, "too many");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296,4294967296,4), }", 8,
                AK_ERR_FORMAT, "too few");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }", 8,
                AK_ERR_FORMAT, "damaged");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", 8, AK_ERR_FORMAT,
                "damaged");
    npy_refused("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2,), }", 8, AK_ERR_FORMAT,
                "damaged");
    npy_refused("{'descr': '<f4', 'shape': (2,), }", 8, AK_ERR_FORMAT, "damaged");
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (2,", 8, AK_ERR_FORMAT,
                "damaged");
    npy_refused("{'descr': '<f3', 'fortran_order': False, 'shape': (4,), }", 8, AK_ERR_UNSUPPORTED,
                "<f3");
    npy_refused("{'descr': '|f4', 'fortran_order': False, 'shape': (2,), }", 8, AK_ERR_UNSUPPORTED,
                "|f4");
    npy_refused("{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", 9, AK_ERR_FORMAT,
                "type <f2, but 9 bytes follow, which is too many");
    npy_refused("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, AK_ERR_UNSUPPORTED,
                "|O");
    npy_refused("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8,
                AK_ERR_UNSUPPORTED, "fields");
    npy_refused("{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,8), }", 8,
                AK_ERR_UNSUPPORTED, "7 axes");
    ak_ctx *ctx = quiet();
    cr_expect_null(ak__npy_parse(ctx, "some.npy", (const uint8_t *)"PK\3\4" "567890", 10));
    expect_error(ctx, AK_ERR_FORMAT, "some.npy", "no .npy file");
    cr_expect_null(ak__npy_parse(ctx, "some.npy", (const uint8_t *)"\x93NUMPY\x01\0\xff\xff", 10));
    expect_error(ctx, AK_ERR_FORMAT, "some.npy", "header");
    cr_expect_null(ak__npy_parse(ctx, "some.npy", (const uint8_t *)"\x93NUMPY\x09\0\0\0", 10));
    expect_error(ctx, AK_ERR_UNSUPPORTED, "some.npy", "version 9.0");
    ak_close(ctx);
}

/* Six axes of 19 digits are the longest shape that a file can announce. */
Test(npy, longest_shape_is_named_whole)
{
#define LONG "9000000000000000000"
    npy_refused("{'descr': '<f4', 'fortran_order': False, 'shape': (" LONG ", " LONG ", " LONG ", "
                LONG ", " LONG ", " LONG "), }", 8, AK_ERR_FORMAT,
                "[" LONG "," LONG "," LONG "," LONG "," LONG "," LONG "] elements");
#undef LONG
    char           text[AK_SHAPE_TEXT + 1];
    const ak_shape lowest = { 6, { INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN,
                                   INT64_MIN } }, many = { 9, { 1, 2, 3, 4, 5, 6 } };
    text[AK_SHAPE_TEXT] = 'x';                          /* the first byte behind */
    ak_shape_text(lowest, text);
    cr_expect_eq(strlen(text), 2 + 5 + 6 * 20);
    cr_expect_eq(text[AK_SHAPE_TEXT], 'x');
    cr_expect_str_eq(ak_shape_text(many, text), "[1,2,3,4,5,6,..]");
    cr_expect_str_eq(ak_shape_text(AK_SCALAR, text), "[]");
}

/* A header for `data`, which is read as floats. */
static const ak_array *hand_made(ak_ctx *ctx, const char *head, const void *data, size_t bytes)
{
    unsigned char file[512] = "\x93NUMPY\x01";
    const size_t  n = strlen(head);
    file[8] = (unsigned char)n;
    memcpy(file + 10, head, n);
    memcpy(file + 10 + n, data, bytes);
    const ak_array *a = ak__npy_parse(ctx, "hand.npy", file, 10 + n + bytes);
    cr_assert_not_null(a, "%s: %s", head, ak_error_message(ctx));
    return a;
}

Test(npy, type_without_byte_order_is_the_machines)
{
    ak_ctx     *ctx = quiet();
    const float one[] = { 1, -2.5f };
    const ak_array *a = hand_made(ctx, "{'descr': 'f4', 'fortran_order': False, 'shape': (2,), }",
                                  one, sizeof one);
    cr_expect(a->type == AK_TYPE_F32 && ak_array_at(a, 1) == -2.5);
    const uint8_t bytes[] = { 7, 200 };
    a = hand_made(ctx, "{'descr': 'u1', 'fortran_order': False, 'shape': (2,), }", bytes, 2);
    cr_expect(a->type == AK_TYPE_U8 && ak_array_at(a, 1) == 200);
    ak_close(ctx);
}

/* Expected values: IEEE 754 binary16, from its formula. */
Test(npy, halves_become_the_same_floats)
{
    static const struct { uint16_t half; double value; } cases[] = {
        { 0x3c00, 1 }, { 0xc100, -2.5 }, { 0x0000, 0 }, { 0x0001, 0x1p-24 },
        { 0x83ff, -1023 * 0x1p-24 }, { 0x0400, 0x1p-14 }, { 0x7bff, 65504 },
        { 0x3555, 0x1.554p-2 }, { 0x7c00, (double)INFINITY }, { 0xfc00, -(double)INFINITY },
    };
    enum { N = sizeof cases / sizeof *cases };
    ak_ctx  *ctx = quiet();
    uint16_t little[N], big[N];
    for (int i = 0; i < N; i++) {
        little[i] = cases[i].half;
        big[i] = (uint16_t)(cases[i].half >> 8 | cases[i].half << 8);
    }
    for (int swapped = 0; swapped < 2; swapped++) {
        const ak_array *a = hand_made(ctx, swapped
            ? "{'descr': '>f2', 'fortran_order': True, 'shape': (2, 5), }"
            : "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 5), }",
            swapped ? big : little, sizeof little);
        cr_expect_eq(a->type, AK_TYPE_F32);
        for (int i = 0; i < N; i++)                     /* element i of Fortran order */
            cr_expect_eq(ak_array_at(a, swapped ? i % 2 * 5 + i / 2 : i), cases[i].value,
                         "%04x is %a", cases[i].half,
                         ak_array_at(a, swapped ? i % 2 * 5 + i / 2 : i));
    }
    const uint16_t special[] = { 0x8000, 0x7e01, 0xfc01 };
    const ak_array *a = hand_made(ctx, "{'descr': '<f2', 'fortran_order': False, 'shape': (3,)}",
                                  special, sizeof special);
    const float *x = a->data;
    cr_expect(x[0] == 0 && signbit(x[0]) && isnan(x[1]) && !signbit(x[1]) && isnan(x[2]));
    cr_expect_eq(hand_made(ctx, "{'descr': '<f2', 'fortran_order': True, 'shape': (0,3)}", "",
                           0)->size, 0);
    ak_close(ctx);
}

/* What is packed behind a small header is not unpacked. */
Test(npy, packed_bombs)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const size_t   n = 64u << 20;
    unsigned char *file = calloc(1, n);
    cr_assert_not_null(file);
    const size_t head = ak__npy_header((char *)file, AK_TYPE_U8, AK_SHAPE(5));
    put_gzip(path_in(dir, "x"), file, (unsigned)(head + 5));
    cr_expect_not_null(ak_npy_read(ctx, path_in(dir, "x")), "%s", ak_error_message(ctx));
    put_gzip(path_in(dir, "x"), file, (unsigned)n);
    /* Damage near the end is not seen, since nothing reads so far. */
    const size_t   packed = get_file(path_in(dir, "x"), file, n);
    file[packed - 5] ^= 1;
    put_file(path_in(dir, "x"), file, packed);
    cr_expect_null(ak_npy_read(ctx, path_in(dir, "x")));
    expect_error(ctx, AK_ERR_FORMAT, "more than the 133 bytes that its header announces", "/x");
    /* A header of 4 GB. */
    memset(file, 0, n);
    memcpy(file, "\x93NUMPY\x02\0\xff\xff\xff\xff", 12);
    put_gzip(path_in(dir, "x"), file, (unsigned)n);
    cr_expect_null(ak_npy_read(ctx, path_in(dir, "x")));
    expect_error(ctx, AK_ERR_FORMAT, "a header of 4294967295 bytes", "/x");
    free(file);
    remove_folder(dir);
    ak_close(ctx);
}

Test(npz, zip64_by_numpy)
{
    ak_ctx *ctx = quiet();
    ak_npz *f = ak_npz_open(ctx, fixture("numpy_zip64_entry.npz"));
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_array_at(need(ctx, f, "a", AK_TYPE_F64, AK_SHAPE(20)), 19), 19);
    cr_expect_eq(ak_array_at(need(ctx, f, "b", AK_TYPE_F64, AK_SHAPE(3)), 2), 2);
    f = ak_npz_open(ctx, fixture("numpy_zip64_end.npz"));
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_npz_count(f), 3);
    cr_expect_eq(ak_array_at(need(ctx, f, "k2", AK_TYPE_U8, AK_SHAPE(3)), 2), 2);
    ak_close(ctx);
}

/* With the limit lowered every kind of 64-bit record is written; what is needed of them. */
Test(npz, zip64_round_trip)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const double   values[] = { 1, 2, 3 };
    const ak_array arrays[] = { { "a", AK_TYPE_F64, AK_SHAPE(3), 3, values },
                                { "b/", AK_TYPE_F64, AK_SHAPE(2), 2, values + 1 } };
    const uint64_t limits[] = { 0, 100, 150, 200, 300, UINT32_MAX };
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        for (int deflated = 0; deflated < 2; deflated++) {
            cr_assert_eq(ak__npz_write(ctx, path_in(dir, "x"), arrays, 2, deflated, limits[i]),
                         AK_OK);
            ak_npz *f = ak_npz_open(ctx, path_in(dir, "x"));
            cr_assert_not_null(f, "%s", ak_error_message(ctx));
            cr_expect_eq(ak_npz_count(f), 2);
            cr_expect_eq(ak_array_at(need(ctx, f, "a", AK_TYPE_F64, AK_SHAPE(3)), 2), 3);
            cr_expect_eq(ak_array_at(need(ctx, f, "b/", AK_TYPE_F64, AK_SHAPE(2)), 0), 2);
        }
    remove_folder(dir);
    ak_close(ctx);
}

/* Where the magic stands for the k-th time. */
static size_t find_magic(const unsigned char *file, size_t n, const char *magic, int k)
{
    for (size_t at = 0; at + 4 <= n; at++)
        if (memcmp(file + at, magic, 4) == 0 && k-- == 0)
            return at;
    cr_assert_fail("no such record");
    return 0;
}

Test(npz, same_name_twice_and_overlapping_entries)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const float    old[] = { 0, 1 }, new[] = { 100, 101 };
    const ak_array arrays[] = { { "a", AK_TYPE_F32, AK_SHAPE(2), 2, old },
                                { "b", AK_TYPE_F32, AK_SHAPE(2), 2, new } };
    cr_assert_eq(ak_npz_write_arrays(ctx, path_in(dir, "x"), arrays, 2, false), AK_OK);
    unsigned char file[2048], copy[2048];
    const size_t  n = get_file(path_in(dir, "x"), file, sizeof file);
    const size_t  second = find_magic(file, n, "PK\1\2", 1);
    memcpy(copy, file, n);
    copy[second + 46] = 'a';
    ak_npz *f = ak__npz_parse(ctx, "x.npz", copy, n);
    cr_assert_not_null(f, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_npz_count(f), 2);
    cr_expect_eq(ak_array_at(ak_npz_find(f, "a"), 0), 100);     /* the last, as NumPy takes it */
    cr_expect_eq(ak_array_at(ak_npz_at(f, 0), 0), 0);
    memcpy(copy, file, n);
    memset(copy + second + 42, 0, 4);                           /* the first one's bytes again */
    cr_expect_null(ak__npz_parse(ctx, "x.npz", copy, n));
    expect_error(ctx, AK_ERR_FORMAT, "x.npz", "overlap");
    remove_folder(dir);
    ak_close(ctx);
}

/* An entry that unpacks to far more than its array needs is left when that is known. */
Test(npz, packed_bomb_in_an_entry)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const uint32_t n = 32u << 20;
    uint8_t       *zeros = calloc(1, n);
    cr_assert_not_null(zeros);
    const ak_array a = { "a", AK_TYPE_U8, AK_SHAPE(n), n, zeros };
    cr_assert_eq(ak_npz_write_arrays(ctx, path_in(dir, "x"), &a, 1, true), AK_OK);
    const size_t packed = get_file(path_in(dir, "x"), zeros, n);
    uint8_t     *c = zeros + find_magic(zeros, packed, "PK\1\2", 0);
    memcpy(c + 24, "\5\0\0\0", 4);                      /* the directory announces 5 bytes */
    ak_npz *f = ak__npz_parse(ctx, "x.npz", zeros, packed);
    cr_expect_null(ak_npz_at(f, 0));
    expect_error(ctx, AK_ERR_FORMAT, "more than the 5 bytes that the directory announces", "x.npz");
    free(zeros);
    remove_folder(dir);
    ak_close(ctx);
}

/* Every prefix and every single changed byte: an error or an array, never a crash. */
static void damage_anywhere(const char *path)
{
    unsigned char file[8192], copy[8192];
    const size_t  n = get_file(fixture(path), file, sizeof file);
    int           refused = 0;
    for (size_t at = 0; at < 2 * n; at++) {
        ak_ctx *ctx = quiet();
        memcpy(copy, file, n);
        size_t size = n;
        if (at < n)
            copy[at] ^= 0xa5;
        else
            size = at - n;
        ak_npz *f = ak__npz_parse(ctx, "x.npz", copy, size);
        for (int64_t i = 0; f && i < ak_npz_count(f); i++) {
            ak_npz_at(f, i);
            if (ak_error(ctx))
                cr_expect(strstr(ak_error_message(ctx), "x.npz"));
            refused += ak_step_end(ctx) != AK_OK;
        }
        refused += ak_step_end(ctx) != AK_OK;
        ak_close(ctx);
    }
    cr_expect_gt(refused, (int)n);
}

Test(npz, damaged_anywhere)
{
    damage_anywhere("numpy_deflated.npz");
    damage_anywhere("numpy_zip64_entry.npz");
    damage_anywhere("numpy_zip64_end.npz");
}

Test(npz, checksum_zip64_encryption)
{
    unsigned char file[8192], copy[8192];
    const size_t  n = get_file(fixture("numpy_stored.npz"), file, sizeof file);
    size_t        central = 0;
    while (memcmp(file + central, "PK\1\2", 4) != 0)
        central++;
    ak_ctx *ctx = quiet();
    memcpy(copy, file, n);
    copy[30 + file[26] + file[28] + 128 + 4] ^= 1;      /* a number of the first array */
    ak_npz *f = ak__npz_parse(ctx, "x.npz", copy, n);
    cr_expect_null(ak_npz_at(f, 0));
    expect_error(ctx, AK_ERR_FORMAT, "\"x\"", "checksum");
    memcpy(copy, file, n);
    memset(copy + central + 20, 0xff, 4);
    cr_expect_null(ak__npz_parse(ctx, "x.npz", copy, n));
    expect_error(ctx, AK_ERR_FORMAT, "x.npz", "64-bit sizes (zip64) of an entry are missing");
    memcpy(copy, file, n);
    memset(copy + n - 22 + 16, 0xff, 4);                /* the directory's place */
    cr_expect_null(ak__npz_parse(ctx, "x.npz", copy, n));
    expect_error(ctx, AK_ERR_FORMAT, "x.npz", "64-bit end record (zip64) is missing");
    memcpy(copy, file, n);
    copy[central + 8] |= 1;
    cr_expect_null(ak__npz_parse(ctx, "x.npz", copy, n));
    expect_error(ctx, AK_ERR_UNSUPPORTED, "x.npz", "encrypted");
    memcpy(copy, file, n);
    copy[central + 10] = 12;
    f = ak__npz_parse(ctx, "x.npz", copy, n);
    cr_expect_null(ak_npz_at(f, 0));
    expect_error(ctx, AK_ERR_UNSUPPORTED, "x.npz", "method 12");
    cr_expect_null(ak__npz_parse(ctx, "x.npz", file, n - 1));
    expect_error(ctx, AK_ERR_FORMAT, "x.npz", "cut off");
    ak_close(ctx);
}

Test(array, index_and_null)
{
    ak_ctx        *ctx = quiet();
    const double   values[] = { 1, 2.5 };
    const ak_array a = { "v", AK_TYPE_F64, AK_SHAPE(2), 2, values };
    ak_array_index(ctx, &a);
    expect_error(ctx, AK_ERR_VALUE, "\"v\"", "2.5");
    const double   far[] = { (double)INFINITY, -1e300 };
    const ak_array b = { "far", AK_TYPE_F64, AK_SHAPE(2), 2, far };
    ak_tensor     *t = ak_array_tensor(ctx, &b);
    if (sizeof(ak_real) == 4)
        expect_error(ctx, AK_ERR_VALUE, "element 1 of \"far\"", "-1e+300");
    else
        cr_expect_eq(ak_at(t, AK_SHAPE(1)), -1e300);
    cr_expect(ak_is_poison(ak_array_tensor(ctx, NULL)));
    expect_error(ctx, AK_ERR_VALUE, "array_tensor", "NULL");
    cr_expect_null(ak_npz_find(NULL, "x"));
    cr_expect_eq(ak_npz_count(NULL), 0);
    ak_npz_close(NULL);
    cr_expect_eq(ak_type_size((ak_type)99), 0);
    cr_expect_str_eq(ak_type_name((ak_type)99), "?");
    ak_close(ctx);
}

Test(npz, out_of_memory_at_every_place)
{
    char dir[64];
    new_folder(dir);
    for (uint64_t n = 1;; n++) {
        ak_ctx    *ctx = quiet();
        ak_tensor *t = ak_zeros(ctx, AK_SHAPE(20));
        ak_fail_alloc_after(n, false);
        bool done = ak_npz_write_deflated(ctx, path_in(dir, "x"), (const char *const[]){ "t" }, &t,
                                          1) == AK_OK;
        ak_npz *f = done ? ak_npz_open(ctx, path_in(dir, "x")) : NULL;
        done = f && ak_npz_at(f, 0);
        ak_fail_alloc_after(0, false);
        cr_assert((ak_close(ctx) == AK_OK) == done);
        cr_expect_leq(count_files(dir), 1);
        if (done)
            break;
        cr_assert_lt(n, 200);
    }
    remove_folder(dir);
}
