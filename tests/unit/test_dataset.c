/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets: where they come from, what they say, what is refused. */
#include "data_files.h"

#include <akin/data.h>

/* A small MNIST-like set of n pictures [2, 3] and `labels` labels in a folder. */
static void put_set(const char *dir, const char *images, const char *labels, unsigned char n,
                    unsigned char n_labels, bool gzip)
{
    unsigned char x[256] = { 0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 2, 0, 0, 0, 3 };
    unsigned char y[64] = { 0, 0, 8, 1, 0, 0, 0, n_labels };
    for (unsigned i = 0; i < 6u * n; i++)
        x[16 + i] = (unsigned char)(5 * i);
    for (unsigned i = 0; i < n_labels; i++)
        y[8 + i] = (unsigned char)(i % 3);
    if (gzip) {
        put_gzip(path_in(dir, images), x, 16 + 6u * n);
        put_gzip(path_in(dir, labels), y, 8u + n_labels);
    } else {
        put_file(path_in(dir, images), x, 16 + 6u * n);
        put_file(path_in(dir, labels), y, 8u + n_labels);
    }
}

static void expect_set(ak_ctx *ctx, ak_dataset *ds, int64_t n)
{
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_size(ds), n);
    cr_expect(ak_shape_equal(ak_dataset_item(ds), AK_SHAPE(2, 3, 1)));
    cr_expect_eq(ak_dataset_classes(ds), 3);
    cr_expect_eq(ak_dataset_label(ds, 4), 1);
    cr_expect_eq(ak_dataset_label(ds, n), -1);
    cr_expect_eq(ak_dataset_label(ds, -1), -1);
    cr_expect_str_eq(ak_dataset_class_name(ds, 2), "2");
    cr_expect_eq(ak_dataset_ctx(ds), ctx);
    ak_tensor *x = ak_dataset_batch(ds, 1, 2);
    cr_expect(ak_shape_equal(x->shape, AK_SHAPE(2, 2, 3, 1)));
    for (int i = 0; i < 12; i++)
        cr_expect_float_eq((double)x->data[i], 5 * (6 + i) / 255.0, 1e-6);
    ak_index *y = ak_dataset_labels(ds, 1, 3);
    cr_expect(y->size == 3 && y->data[0] == 1 && y->data[1] == 2 && y->data[2] == 0);
}

Test(dataset, idx_in_every_spelling)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    put_set(dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", 7, 7, false);
    put_set(dir, "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz", 5, 5, true);
    put_set(dir, "dots-images.idx3-ubyte", "dots-labels.idx1-ubyte.gz", 6, 6, false);
    expect_set(ctx, ak_dataset_idx(ctx, dir, "train"), 7);
    expect_set(ctx, ak_dataset_idx(ctx, dir, "t10k"), 5);
    expect_set(ctx, ak_dataset_idx(ctx, dir, "test"), 5);
    expect_set(ctx, ak_dataset_idx(ctx, dir, "dots"), 6);
    cr_expect(strstr(ak_dataset_name(ak_dataset_idx(ctx, dir, "train")), dir));
    remove_folder(dir);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(dataset, idx_errors)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    cr_expect_null(ak_dataset_idx(ctx, dir, "train"));
    expect_error(ctx, AK_ERR_NOT_FOUND, "train-images-idx3-ubyte", dir);
    put_set(dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", 7, 6, false);
    cr_expect_null(ak_dataset_idx(ctx, dir, "train"));
    expect_error(ctx, AK_ERR_FORMAT, "has 6 labels", "has 7 pictures");
    unlink(path_in(dir, "train-labels-idx1-ubyte"));
    cr_expect_null(ak_dataset_idx(ctx, dir, "train"));
    expect_error(ctx, AK_ERR_NOT_FOUND, "train-labels-idx1-ubyte", dir);
    put_set(dir, "swap-labels-idx1-ubyte", "swap-images-idx3-ubyte", 2, 2, false);
    cr_expect_null(ak_dataset_idx(ctx, dir, "swap"));
    expect_error(ctx, AK_ERR_FORMAT, "swap-images", "pictures [N, H, W]");
    put_set(dir, "none-images-idx3-ubyte", "none-labels-idx1-ubyte", 0, 0, false);
    cr_expect_null(ak_dataset_idx(ctx, dir, "none"));
    expect_error(ctx, AK_ERR_SHAPE, "none-images", "[0,2,3]");
    cr_expect_null(ak_dataset_idx(ctx, dir, ""));
    expect_error(ctx, AK_ERR_VALUE, "dataset_idx", "train");
    remove_folder(dir);
    ak_close(ctx);
}

Test(dataset, fashion_mnist_by_environment)
{
    ak_ctx *ctx = quiet();
    char    dir[64], found[256];
    new_folder(dir);
    put_set(dir, "train-images-idx3-ubyte", "train-labels-idx1-ubyte", 7, 7, false);
    setenv("AK_DATA", dir, 1);
    cr_expect_str_eq(ak_dataset_find("fashion-mnist", found, sizeof found), dir);
    ak_dataset *ds = ak_dataset_fashion_mnist(ctx, "train");
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_size(ds), 7);
    cr_expect_eq(ak_dataset_classes(ds), 10);
    cr_expect(strstr(ak_dataset_name(ds), "Fashion-MNIST, train"), "%s", ak_dataset_name(ds));
    cr_expect_str_eq(ak_dataset_class_name(ds, 9), "ankle boot");
    cr_expect_null(ak_dataset_fashion_mnist(ctx, "test"));      /* there is no test part */
    expect_error(ctx, AK_ERR_NOT_FOUND, "test-images", dir);
    cr_expect_null(ak_dataset_fashion_mnist(ctx, "valid"));
    expect_error(ctx, AK_ERR_VALUE, "valid", "test");
    cr_expect_null(ak_dataset_find("no-such-set-anywhere", found, 4));
    remove_folder(dir);
    /* A named folder without the set is an error, also where the set is installed. */
    cr_expect_null(ak_dataset_find("fashion-mnist", found, sizeof found));
    cr_expect_null(ak_dataset_fashion_mnist(ctx, "train"));
    expect_error(ctx, AK_ERR_NOT_FOUND, "AK_DATA", dir);
    ak_close(ctx);
}

Test(dataset, memory_subset_normalize)
{
    static const uint8_t pixels[3 * 2 * 1 * 2] = { 0, 255, 51, 102, 255, 0, 0, 0, 1, 2, 3, 4 };
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_memory(ctx, pixels, AK_SHAPE(3, 2, 1, 2), (int32_t[]){ 4, -1, 0 });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_classes(ds), 5);
    cr_expect_eq(ak_dataset_label(ds, 1), -1);
    cr_expect_eq(ak_dataset_normalize(ds, (double[]){ 0.2, 0.4 }, (double[]){ 0.5, 0.25 }), AK_OK);
    ak_dataset *part = ak_dataset_subset(ds, 0, 2);
    cr_expect_eq(ak_dataset_size(part), 2);
    ak_tensor *x = ak_dataset_batch(part, 0, 1);
    const double want[] = { (0 - 0.2) / 0.5, (1 - 0.4) / 0.25, 0, 0 };
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)x->data[i], want[i], 1e-6);
    cr_expect_eq(ak_dataset_label(ak_dataset_subset(ds, 2, 1), 0), 0);
    cr_expect_null(ak_dataset_subset(ds, 2, 2));
    expect_error(ctx, AK_ERR_VALUE, "2 items from 2 on", "has 3");
    cr_expect_null(ak_dataset_subset(ds, 0, 0));
    ak_step_end(ctx);
    cr_expect_eq(ak_dataset_normalize(ds, NULL, (double[]){ 1, 0 }), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "channel 1", "> 0");
    cr_expect(ak_is_poison(ak_dataset_batch(ds, 1, 3)));
    expect_error(ctx, AK_ERR_VALUE, "3 items from 1 on", "has 3");
    cr_expect_null(ak_dataset_memory(ctx, pixels, AK_SHAPE(0, 2, 2, 1), NULL));
    expect_error(ctx, AK_ERR_SHAPE, "dataset_memory", "[0,2,2,1]");
    cr_expect_null(ak_dataset_memory(ctx, pixels, AK_SHAPE(2, 2), (int32_t[]){ 0, -2 }));
    expect_error(ctx, AK_ERR_VALUE, "-2", "item 1");
    ak_close(ctx);
}

/* Values of item 0, first number. */
static double first(ak_dataset *ds)
{
    return (double)ak_dataset_batch(ds, 0, 1)->data[0];
}

/* A subset reads as its set does, whenever that is said, until it has settings of its own. */
Test(dataset, subset_follows_its_set)
{
    ak_ctx *ctx = quiet();
    ak_real x[] = { 255, 0, 51, 102, 204, 153 };
    ak_dataset *ds = ak_dataset_tensor(ctx, ak_from(ctx, AK_SHAPE(3, 2, 1, 1), x), NULL);
    ak_dataset *early = ak_dataset_subset(ds, 0, 2), *inner = ak_dataset_subset(early, 0, 1);
    ak_loader  *open = ak_loader_open(early, (ak_loader_options){ .batch = 2, .in_order = true });
    cr_expect_eq(first(inner), 255);
    cr_expect_eq(ak_dataset_scale(ds, 0, 255), AK_OK);
    cr_expect_eq(ak_dataset_normalize(ds, (double[]){ 0.5 }, (double[]){ 0.25 }), AK_OK);
    ak_dataset *late = ak_dataset_subset(ds, 0, 2);
    cr_expect_eq(first(ds), 2);
    cr_expect_eq(first(early), 2);
    cr_expect_eq(first(inner), 2);
    cr_expect_eq(first(late), 2);
    const ak_augment flip[] = { ak_random_flip(0), { 0 } };
    cr_expect_eq((double)ak_augment_item(early, flip, 1, 0, 0, 0)->data[0], 2);

    /* Its own setting stands, whatever comes later; the other setting is still the set's. */
    cr_expect_eq(ak_dataset_normalize(early, NULL, NULL), AK_OK);
    cr_expect_eq(ak_dataset_normalize(ds, (double[]){ 0 }, (double[]){ 0.125 }), AK_OK);
    cr_expect_eq(first(early), 1);
    cr_expect_eq(first(inner), 1);
    cr_expect_eq(first(late), 8);
    cr_expect_eq(ak_dataset_scale(ds, 0, 510), AK_OK);
    cr_expect_eq(first(early), 0.5);
    cr_expect_eq(first(ds), 4);

    /* Loaders: those that are open keep what they had, others read as the subset does. */
    ak_batch b;
    cr_assert(ak_loader_next(open, &b));
    cr_expect_eq((double)b.all->data[0], 255);
    open = ak_loader_open(late, (ak_loader_options){ .batch = 2, .in_order = true });
    cr_assert(ak_loader_next(open, &b));
    cr_expect_eq((double)b.all->data[0], 4);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(dataset, subset_has_the_classes_of_its_set)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *part = ak_dataset_subset(ak_dataset_drawn(ctx, 1, 0, 30), 0, 2);
    cr_expect_eq(ak_dataset_classes(part), 10);
    cr_expect_str_eq(ak_dataset_class_name(part, 9), "crescent");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Floats 0..255 are read as bytes are, bit for bit, with and without augmentation. */
Test(dataset, scaled_floats_are_bytes)
{
    ak_ctx *ctx = quiet();
    uint8_t bytes[256];
    ak_real reals[256];
    for (int i = 0; i < 256; i++)
        reals[i] = bytes[i] = (uint8_t)i;
    const ak_shape shape = AK_SHAPE(4, 8, 8, 1);
    ak_dataset *a = ak_dataset_memory(ctx, bytes, shape, NULL);
    ak_dataset *b = ak_dataset_tensor(ctx, ak_from(ctx, shape, reals), NULL);
    cr_expect_eq(ak_dataset_scale(b, 0, 255), AK_OK);
    cr_expect_eq(memcmp(ak_dataset_batch(a, 0, 4)->data, ak_dataset_batch(b, 0, 4)->data,
                        sizeof reals), 0);
    const ak_augment list[] = { ak_random_crop(0.3, 0.9), ak_color_jitter(0.4, 0.4, 0, 0, 1),
                                ak_random_solarize(0.5, 0.5), { 0 } };
    for (int64_t i = 0; i < 4; i++)
        cr_expect_eq(memcmp(ak_augment_item(a, list, 1, 0, i, 0)->data,
                            ak_augment_item(b, list, 1, 0, i, 0)->data, 64 * sizeof *reals), 0);

    cr_expect_eq(ak_dataset_scale(a, 0, 255), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "bytes", "pictures in memory");
    const double wrong[][2] = { { 1, 1 }, { 2, 1 }, { 0, (double)NAN },
                                { -(double)INFINITY, 0 }, { 0, 1e-320 } };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        cr_expect_eq(ak_dataset_scale(b, wrong[k][0], wrong[k][1]), AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, "dataset_scale", "lo < hi");
    }
    cr_expect_eq(ak_dataset_scale(NULL, 0, 1), AK_ERR_VALUE);
    ak_close(ctx);
}

/* A deviation whose inverse is no number would make every item infinite, or zero. */
Test(dataset, normalize_refuses_what_ak_real_can_not_hold)
{
    ak_ctx       *ctx = quiet();
    ak_dataset   *ds = ak_dataset_tensor(ctx, ak_zeros(ctx, AK_SHAPE(2, 1)), NULL);
    const double wrong[] = { 0, -1, (double)NAN, (double)INFINITY, 1e-320 };
    for (size_t k = 0; k < sizeof wrong / sizeof *wrong; k++) {
        cr_expect_eq(ak_dataset_normalize(ds, NULL, &wrong[k]), AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, "channel 0", "> 0");
    }
    if (sizeof(ak_real) == 4) {
        cr_expect_eq(ak_dataset_normalize(ds, NULL, (double[]){ 1e60 }), AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, "1e+60", "> 0");
        cr_expect_eq(ak_dataset_normalize(ds, (double[]){ 1e60 }, NULL), AK_ERR_VALUE);
        expect_error(ctx, AK_ERR_VALUE, "1e+60", "finite");
    }
    ak_close(ctx);
}

/* Numbers at the ends of int64_t: refused, and nothing overflows on the way. */
Test(dataset, huge_ranges_and_shapes)
{
    ak_ctx       *ctx = quiet();
    ak_dataset   *ds = ak_dataset_drawn(ctx, 1, 0, 5);
    const int64_t ends[] = { INT64_MIN, -1, 4, 6, INT64_MAX - 1, INT64_MAX };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (size_t k = 0; k < sizeof ends / sizeof *ends; k++) {
            cr_expect_null(ak_dataset_subset(ds, ends[i], ends[k]));
            expect_error(ctx, AK_ERR_VALUE, "dataset_subset", "has 5");
            cr_expect(ak_is_poison(ak_dataset_batch(ds, ends[i], ends[k])));
            expect_error(ctx, AK_ERR_VALUE, "dataset_batch", "has 5");
            ak_dataset_labels(ds, ends[i], ends[k]);
            expect_error(ctx, AK_ERR_VALUE, "dataset_labels", "has 5");
        }
    const struct { int64_t first, count; } drawn[] = {
        { INT64_MAX, 1 }, { INT64_MAX - 5, 10 }, { 0, INT64_MAX }, { 0, 0 }, { 0, -1 },
        { INT64_MIN, 1 }, { 0, (int64_t)INT32_MAX + 1 } };
    for (size_t k = 0; k < sizeof drawn / sizeof *drawn; k++) {
        cr_expect_null(ak_dataset_drawn(ctx, 1, drawn[k].first, drawn[k].count));
        expect_error(ctx, AK_ERR_VALUE, "dataset_drawn", "are needed");
    }
    cr_expect_not_null(ak_dataset_drawn(ctx, 1, INT64_MAX - 5, 5));     /* the last that exist */

    const uint8_t  byte = 0;
    const ak_shape shapes[] = { AK_SHAPE(1, INT64_MAX, INT64_MAX, 3), AK_SHAPE(INT64_MAX, 1),
                                AK_SHAPE(1, INT64_C(1) << 32, INT64_C(1) << 32),
                                AK_SHAPE(2, INT32_MAX), AK_SHAPE((int64_t)INT32_MAX + 1, 1) };
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) {
        cr_expect_null(ak_dataset_memory(ctx, &byte, shapes[k], NULL));
        expect_error(ctx, AK_ERR_SHAPE, "dataset_memory", "at most 2147483647 items");
    }
    ak_close(ctx);
}

/* Silent while an error is pending: it is what the call returned that failed. */
Test(dataset, null_is_passed_on)
{
    ak_ctx *ctx = quiet();
    cr_expect_eq(ak_dataset_normalize(NULL, NULL, NULL), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "ak_dataset_normalize", "ds is missing (NULL)");
    ak_fail(ctx, AK_ERR_NOT_FOUND, "no file");
    cr_expect_null(ak_dataset_subset(NULL, 0, 1));
    cr_expect_eq(ak_dataset_size(NULL), 0);
    cr_expect_null(ak_loader_open(NULL, (ak_loader_options){ 0 }));
    cr_expect(ak_is_poison(ak_dataset_batch(NULL, 0, 1)));
    ak_batch b;
    cr_expect_not(ak_loader_next(NULL, &b));
    cr_expect(ak_is_poison(b.view[0]) && ak_is_poison(b.all) && b.size == 0);
    ak_loader_close(NULL);
    cr_expect_eq(ak_dataset_normalize(NULL, NULL, NULL), AK_ERR_NOT_FOUND);
    expect_error(ctx, AK_ERR_NOT_FOUND, "no file", "");
    ak_close(ctx);
}

Test(dataset, numbers_are_checked)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(4, 3));
    x->data[7] = (ak_real)NAN;
    cr_expect_not_null(ak_dataset_tensor(ctx, x, NULL));
    ak_check_numbers(ctx, true);
    cr_expect_null(ak_dataset_tensor(ctx, x, NULL));
    expect_error(ctx, AK_ERR_NUMBER, "item 2", "number 1");
    ak_close(ctx);
}

Test(dataset, npz_and_table)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    new_folder(dir);
    const uint8_t  pixels[] = { 0, 51, 102, 255, 1, 2, 3, 4 };
    const int64_t  classes[] = { 1, 0 };
    const double   rows[] = { 1, 2, 3, 4 };
    const ak_array arrays[] = { { "pictures", AK_TYPE_U8, AK_SHAPE(2, 2, 2), 8, pixels },
                                { "y", AK_TYPE_I64, AK_SHAPE(2, 1), 2, classes },
                                { "rows", AK_TYPE_F64, AK_SHAPE(2, 2), 4, rows } };
    const char *path = path_in(dir, "set.npz");
    cr_assert_eq(ak_npz_write_arrays(ctx, path, arrays, 3, true), AK_OK);
    ak_dataset *ds = ak_dataset_npz(ctx, path, "pictures", "y");
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_shape_equal(ak_dataset_item(ds), AK_SHAPE(2, 2, 1)));
    cr_expect_eq(ak_dataset_label(ds, 0), 1);
    cr_expect_float_eq((double)ak_dataset_batch(ds, 0, 1)->data[3], 1, 1e-6);
    ds = ak_dataset_npz(ctx, path, "rows", NULL);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_label(ds, 0), -1);
    cr_expect_eq((double)ak_dataset_batch(ds, 1, 1)->data[1], 4);
    cr_expect_eq(ak_dataset_labels(ds, 0, 2)->data[1], -1);
    cr_expect_null(ak_dataset_npz(ctx, path, "x", "y"));
    expect_error(ctx, AK_ERR_NOT_FOUND, "\"x\"", "pictures, y, rows");
    cr_expect_null(ak_dataset_npz(ctx, path, "pictures", "rows"));
    expect_error(ctx, AK_ERR_SHAPE, "\"rows\"", "2 items");

    put_file(path_in(dir, "t.csv"), "a,kind\n1,x\n2,y\n", 15);
    ds = ak_dataset_table(ctx, path_in(dir, "t.csv"), (ak_table_options){ .label = "kind" });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_shape_equal(ak_dataset_item(ds), AK_SHAPE(1)));
    cr_expect_str_eq(ak_dataset_class_name(ds, 1), "y");
    cr_expect_eq((double)ak_dataset_batch(ds, 1, 1)->data[0], 2);
    remove_folder(dir);
    ak_close(ctx);
}

/* Labels by the nearest of the first `train` pictures, by squared distance of pixels. */
static double pixel_knn(ak_dataset *train, ak_dataset *test)
{
    const int64_t n = ak_dataset_size(train), m = ak_dataset_size(test), d = 28 * 28;
    const ak_real *x = ak_dataset_batch(train, 0, n)->data, *y = ak_dataset_batch(test, 0, m)->data;
    int            right = 0;
    for (int64_t j = 0; j < m; j++) {
        double  best = 1e30;
        int64_t at = 0;
        for (int64_t i = 0; i < n; i++) {
            ak_real sum = 0;
            for (int64_t k = 0; k < d; k++)
                sum += (x[i * d + k] - y[j * d + k]) * (x[i * d + k] - y[j * d + k]);
            if ((double)sum < best) {
                best = (double)sum;
                at = i;
            }
        }
        right += ak_dataset_label(train, at) == ak_dataset_label(test, j);
    }
    return right / (double)m;
}

Test(drawn, balanced_pure_and_not_trivial)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *a = ak_dataset_drawn(ctx, 3, 0, 1000), *b = ak_dataset_drawn(ctx, 3, 500, 300);
    ak_dataset *other = ak_dataset_drawn(ctx, 4, 0, 1);
    int         count[10] = { 0 };
    for (int i = 0; i < 1000; i++)
        count[ak_dataset_label(a, i)]++;
    for (int c = 0; c < 10; c++)
        cr_expect_eq(count[c], 100);
    cr_expect_eq(ak_dataset_classes(a), 10);
    cr_expect_str_eq(ak_dataset_class_name(a, 8), "star");
    const size_t bytes = 300 * 784 * sizeof(ak_real);
    cr_expect_eq(memcmp(ak_dataset_batch(a, 500, 300)->data, ak_dataset_batch(b, 0, 300)->data,
                        bytes), 0);
    cr_expect_neq(memcmp(ak_dataset_batch(a, 0, 1)->data, ak_dataset_batch(other, 0, 1)->data,
                         784 * sizeof(ak_real)), 0);
    const double accuracy = pixel_knn(a, ak_dataset_drawn(ctx, 3, 1000000, 300));
    cr_expect(accuracy > 0.2 && accuracy < 0.9, "nearest neighbour of pixels: %g", accuracy);
    fprintf(stderr, "drawn pictures: nearest neighbour of pixels %.1f %%\n", 100 * accuracy);
    cr_expect_null(ak_dataset_drawn(ctx, 1, -1, 5));
    expect_error(ctx, AK_ERR_VALUE, "dataset_drawn", "-1");
    ak_close(ctx);
}
