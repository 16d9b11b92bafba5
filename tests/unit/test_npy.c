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
    char            text[96];
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
    npy_refused("{'descr': '<f2', 'fortran_order': False, 'shape': (4,), }", 8, AK_ERR_UNSUPPORTED,
                "<f2");
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

/* Every prefix and every single changed byte: an error or an array, never a crash. */
Test(npz, damaged_anywhere)
{
    unsigned char file[8192], copy[8192];
    const size_t  n = get_file(fixture("numpy_deflated.npz"), file, sizeof file);
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
    expect_error(ctx, AK_ERR_UNSUPPORTED, "x.npz", "zip64");
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
