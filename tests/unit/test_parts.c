/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of data sets and sets side by side: which items, that seeds decide, that fields, labels and
 * settings come along. */
#include "data_files.h"

#include <akin/data.h>

#include <math.h>

/* Item i is the number i, with the label i % 4; every tenth item is unknown if `some`. */
static ak_dataset *numbered(ak_ctx *ctx, int n, bool some)
{
    ak_real x[1000];
    int32_t y[1000];
    cr_assert_leq(n, 1000);
    for (int i = 0; i < n; i++) {
        x[i] = (ak_real)i;
        y[i] = some && i % 10 == 9 ? -1 : i % 4;
    }
    return ak_dataset_tensor(ctx, ak_from(ctx, AK_SHAPE(n), x), y);
}

/* The number that item i of a part was in the whole set. */
static int was(ak_dataset *ds, int64_t i)
{
    return (int)ak_dataset_batch(ds, i, 1)->data[0];
}

static void expect_labels_follow(ak_dataset *ds, bool some)
{
    for (int64_t i = 0; i < ak_dataset_size(ds); i++) {
        const int k = was(ds, i);
        cr_expect_eq(ak_dataset_label(ds, i), some && k % 10 == 9 ? -1 : k % 4);
    }
}

/* How many items of a label there are. */
static int count(ak_dataset *ds, int32_t label)
{
    int n = 0;
    for (int64_t i = 0; i < ak_dataset_size(ds); i++)
        n += ak_dataset_label(ds, i) == label;
    return n;
}

static bool is_even(const ak_dataset *ds, int64_t item, void *user)
{
    (void)user;
    return ak_dataset_label(ds, item) % 2 == 0;
}

Test(parts, lists_tests_and_classes)
{
    ak_ctx       *ctx = quiet();
    ak_dataset   *ds = numbered(ctx, 40, false);
    const int64_t list[] = { 7, 7, 0, 39 };
    ak_dataset   *a = ak_dataset_pick(ds, list, 4);
    cr_assert_eq(ak_dataset_size(a), 4);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(was(a, i), list[i]);
    ak_dataset *b = ak_dataset_pick(ak_dataset_subset(a, 1, 3), (int64_t[]){ 2, 0 }, 2);
    cr_expect(was(b, 0) == 39 && was(b, 1) == 7, "a part of a part of a part");
    expect_labels_follow(b, false);
    cr_expect_eq(ak_dataset_classes(b), 4, "the classes of the whole set");
    ak_dataset *even = ak_dataset_where(ds, is_even, NULL);
    cr_expect_eq(ak_dataset_size(even), 20);
    cr_expect(was(even, 0) == 0 && was(even, 1) == 2 && was(even, 2) == 4);
    ak_dataset *three = ak_dataset_class(even, 2);
    cr_expect(ak_dataset_size(three) == 10 && was(three, 1) == 6);
    ak_dataset_normalize(ds, (double[]){ 1 }, NULL);
    cr_expect_eq(was(three, 1), 5, "as the whole set is read, also when that is said later");

    cr_expect_null(ak_dataset_class(ds, 4));
    expect_error(ctx, AK_ERR_VALUE, "without items", "label 4");
    cr_expect_null(ak_dataset_pick(ds, (int64_t[]){ 1, 40 }, 2));
    expect_error(ctx, AK_ERR_VALUE, "entry 1 is item 40", "has 40");
    cr_expect_null(ak_dataset_pick(ds, list, 0));
    expect_error(ctx, AK_ERR_VALUE, "0 items", "dataset_pick");
    cr_expect_null(ak_dataset_pick(ds, list, INT64_MAX));
    expect_error(ctx, AK_ERR_VALUE, "dataset_pick", "possible");
    ak_close(ctx);
}

Test(parts, split_is_a_partition_by_seed)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = numbered(ctx, 101, false), *a, *b, *c, *d;
    int         seen[101] = { 0 }, moved = 0, shared = 0;
    cr_assert_eq(ak_dataset_split(ds, 0.2, 3, &a, &b), AK_OK);
    cr_expect(ak_dataset_size(a) == 20 && ak_dataset_size(b) == 81);
    for (int64_t i = 0; i < 20; i++)
        seen[was(a, i)]++;
    for (int64_t i = 0; i < 81; i++)
        seen[was(b, i)]++;
    for (int i = 0; i < 101; i++)
        cr_expect_eq(seen[i], 1);
    for (int64_t i = 1; i < 20; i++)
        cr_expect_lt(was(a, i - 1), was(a, i), "in their order");
    cr_assert_eq(ak_dataset_split(ds, 0.2, 3, &c, &d), AK_OK);
    for (int64_t i = 0; i < 20; i++)
        cr_expect_eq(was(c, i), was(a, i));
    cr_assert_eq(ak_dataset_split(ds, 0.2, 4, &c, &d), AK_OK);
    for (int64_t i = 0; i < 20; i++)
        moved += was(c, i) != was(a, i);
    cr_expect_gt(moved, 5);
    cr_assert_eq(ak_dataset_split(b, 0.5, 1, &c, &d), AK_OK);
    for (int64_t i = 0; i < ak_dataset_size(c); i++)
        for (int64_t k = 0; k < 20; k++)
            shared += was(c, i) == was(a, k);
    cr_expect_eq(shared, 0);
    const double wrong[] = { 0, 1, -0.1, 1.1, (double)NAN, 0.001, 0.999 };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_neq(ak_dataset_split(ds, wrong[i], 1, &c, &d), AK_OK);
        expect_error(ctx, AK_ERR_VALUE, "dataset_split", "share");
        cr_expect(!c && !d);
    }
    ak_close(ctx);
}

Test(parts, shares_of_every_class_nest)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = numbered(ctx, 400, true);
    ak_dataset *ten = ak_dataset_share(ds, 0.1, 5), *one = ak_dataset_share(ds, 0.01, 5);
    int         inside = 0;
    for (int32_t y = -1; y < 4; y++) {
        cr_expect_eq(count(ten, y), (int)lround(0.1 * count(ds, y)), "%d", y);
        cr_expect_eq(count(one, y), (int)fmax(1, (double)lround(0.01 * count(ds, y))), "%d", y);
    }
    for (int64_t i = 0; i < ak_dataset_size(one); i++)
        for (int64_t k = 0; k < ak_dataset_size(ten); k++)
            inside += was(one, i) == was(ten, k);
    cr_expect_eq(inside, ak_dataset_size(one));
    expect_labels_follow(ten, true);
    cr_expect_eq(ak_dataset_size(ak_dataset_share(ds, 1, 5)), 400);

    ak_dataset *hidden = ak_dataset_hide_labels(ds, 0.1, 5);
    cr_assert_eq(ak_dataset_size(hidden), 400);
    for (int64_t i = 0, k = 0; i < 400; i++) {
        bool shown = false;
        for (k = 0; k < ak_dataset_size(ten); k++)
            shown = shown || was(ten, k) == i;
        cr_expect_eq(ak_dataset_label(hidden, i), shown ? ak_dataset_label(ds, i) : -1);
        cr_expect_eq(was(hidden, i), i);
    }
    cr_expect_eq(ak_dataset_label(ds, 0), 0, "the whole set is as it was");
    cr_expect_null(ak_dataset_share(ds, 0, 5));
    expect_error(ctx, AK_ERR_VALUE, "dataset_share", "(0, 1]");
    ak_dataset_drop(ds, "label");
    cr_expect_null(ak_dataset_hide_labels(ds, 0.5, 5));
    expect_error(ctx, AK_ERR_STATE, "no field of labels", "vector");
    ak_close(ctx);
}

Test(parts, long_tail)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = numbered(ctx, 800, false);             /* 200 of each */
    ak_dataset *tail = ak_dataset_long_tail(ds, 100, 2);
    for (int c = 0; c < 4; c++)
        cr_expect_eq(count(tail, c), (int)lround(200 * pow(100, -c / 3.0)), "%d", c);
    expect_labels_follow(tail, false);
    cr_expect_eq(ak_dataset_size(ak_dataset_long_tail(ds, 1, 2)), 800);
    const double wrong[] = { 0.5, 0, -1, (double)NAN, (double)INFINITY };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_null(ak_dataset_long_tail(ds, wrong[i], 2));
        expect_error(ctx, AK_ERR_VALUE, "dataset_long_tail", "ratio");
    }
    ak_close(ctx);
}

Test(parts, noisy_labels)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = numbered(ctx, 1000, true), *noisy = ak_dataset_noisy_labels(ds, 0.4, 3);
    int         wrong = 0, to[4] = { 0 };
    ak_batch    b;
    cr_assert(ak_dataset_get(noisy, 0, 1000, &b), "%s", ak_error_message(ctx));
    const ak_index *clean = ak_batch_field(&b, "clean_label")->ids[0];
    for (int i = 0; i < 1000; i++) {
        cr_expect_eq(clean->data[i], ak_dataset_label(ds, i));
        cr_expect_eq(b.label->data[i], ak_dataset_label(noisy, i));
        cr_expect_eq(b.label->data[i] < 0, clean->data[i] < 0, "unknown stays unknown");
        if (b.label->data[i] != clean->data[i]) {
            wrong++;
            to[b.label->data[i]]++;
        }
    }
    cr_expect(abs(wrong - 360) < 60, "%d of 900 known", wrong);     /* 4 deviations */
    for (int c = 0; c < 4; c++)
        cr_expect(abs(to[c] - wrong / 4) < 40, "%d to %d", to[c], c);
    ak_dataset *again = ak_dataset_noisy_labels(ds, 0.4, 3);
    for (int i = 0; i < 1000; i++)
        cr_expect_eq(ak_dataset_label(again, i), ak_dataset_label(noisy, i));
    ak_dataset *none = ak_dataset_noisy_labels(ds, 0, 3), *all = ak_dataset_noisy_labels(ds, 1, 3);
    for (int i = 0; i < 1000; i++) {
        cr_expect_eq(ak_dataset_label(none, i), ak_dataset_label(ds, i));
        cr_expect(ak_dataset_label(all, i) != ak_dataset_label(ds, i) || i % 10 == 9);
    }
    cr_expect_null(ak_dataset_noisy_labels(ak_dataset_class(ds, 1), 0.5, 1));
    expect_error(ctx, AK_ERR_VALUE, "dataset_noisy_labels", "needs two");
    ak_close(ctx);
}

/* ---- side by side ---------------------------------------------------------------------------- */

/* Rows and keys: item i is the number 10 i + salt. */
static ak_dataset *keyed(ak_ctx *ctx, const char *field, int salt, const int32_t *keys, int n)
{
    ak_real x[16];
    for (int i = 0; i < n; i++)
        x[i] = (ak_real)(10 * i + salt);
    const ak_array k = { "keys", AK_TYPE_I32, AK_SHAPE(n), n, keys };
    return ak_dataset_fields(ctx, field, (ak_field[]){
        { field, AK_FIELD_VECTOR, .tensor = ak_from(ctx, AK_SHAPE(n), x) },
        { "id", AK_FIELD_ID, .array = &k }, { 0 } });
}

static char said[600];
static void hear(void *user, ak_log_level level, const char *message)
{
    (void)user;
    if (level == AK_LOG_WARNING)
        snprintf(said, sizeof said, "%s", message);
}

Test(join, pairs_and_triples)
{
    ak_ctx     *ctx = quiet();
    ak_on_log(ctx, hear, NULL);
    ak_dataset *text = keyed(ctx, "text", 1, (int32_t[]){ 5, 3, 5, 8, -1, 2 }, 6);
    ak_dataset *image = keyed(ctx, "image", 2, (int32_t[]){ 2, 3, 4, 5 }, 4);
    ak_dataset *sound = keyed(ctx, "sound", 3, (int32_t[]){ 3, 5, 9 }, 3);
    int64_t     unmatched[3];
    ak_batch    b;
    *said = 0;
    ak_dataset *both = ak_dataset_join((ak_join[]){ { text, "id" }, { image, "id" }, { 0 } },
                                       unmatched);
    cr_assert_not_null(both, "%s", ak_error_message(ctx));
    cr_expect_eq(ak_dataset_size(both), 4);
    cr_expect(unmatched[0] == 2 && unmatched[1] == 1, "8 and -1 of the text, 4 of the images");
    cr_expect(strstr(said, "4 joined") && strstr(said, "2 of 6, 1 of 4"), "%s", said);
    cr_expect(strstr(ak_dataset_name(both), "unmatched 2 of 6, 1 of 4"));
    cr_assert(ak_dataset_get(both, 0, 4, &b));
    const int want[4][3] = { { 1, 32, 5 }, { 11, 12, 3 }, { 21, 32, 5 }, { 51, 2, 2 } };
    for (int i = 0; i < 4; i++) {
        cr_expect_eq((int)ak_batch_field(&b, "text")->all->data[i], want[i][0]);
        cr_expect_eq((int)ak_batch_field(&b, "image")->all->data[i], want[i][1]);
        cr_expect_eq(ak_batch_field(&b, "id")->ids[0]->data[i], want[i][2]);
    }
    ak_step_end(ctx);
    ak_dataset *three = ak_dataset_join((ak_join[]){ { text, "id" }, { image, "id" },
                                                     { sound, "id" }, { 0 } }, unmatched);
    cr_assert_not_null(three);
    cr_expect_eq(ak_dataset_size(three), 3);
    cr_expect(unmatched[0] == 3 && unmatched[1] == 2 && unmatched[2] == 1);
    ak_dataset *last = ak_dataset_pick(three, (int64_t[]){ 2, 0 }, 2);
    cr_assert(ak_dataset_get(last, 0, 2, &b));
    cr_expect_eq((int)ak_batch_field(&b, "text")->all->data[0], 21);
    cr_expect_eq((int)ak_batch_field(&b, "sound")->all->data[0], 13);
    ak_loader *l = ak_loader_open(three, (ak_loader_options){ .batch = 3 });
    for (; ak_loader_next(l, &b); ak_step_end(ctx))
        for (int i = 0; i < 3; i++)
            cr_expect_eq((int)ak_batch_field(&b, "image")->all->data[i],
                         ak_batch_field(&b, "id")->ids[0]->data[i] == 5 ? 32 : 12);
    *said = 0;
    ak_dataset *whole = ak_dataset_pick(image, (int64_t[]){ 1, 3 }, 2);
    ak_dataset *exact = ak_dataset_pick(text, (int64_t[]){ 0, 1, 2 }, 3);
    cr_assert_not_null(ak_dataset_join((ak_join[]){ { exact, "id" }, { whole, "id" }, { 0 } },
                                       NULL));
    cr_expect_eq(*said, 0, "nothing is left, nothing is said");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(join, refusals)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *a = keyed(ctx, "a", 1, (int32_t[]){ 1, 2, 1 }, 3);
    ak_dataset *b = keyed(ctx, "b", 2, (int32_t[]){ 1, 2, 3 }, 3);
    ak_dataset *c = keyed(ctx, "a", 3, (int32_t[]){ 7, 8 }, 2);
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, "id" }, { a, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "key 1 occurs twice", "items 0 and 2");
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, "id" }, { c, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "no key", "dataset_join");
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, "key" }, { c, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_NOT_FOUND, "\"key\"", "b, id");
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, "b" }, { c, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "is no key", "\"b\"");
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, NULL }, { c, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "missing (NULL)", "key");
    cr_expect_null(ak_dataset_join((ak_join[]){ { b, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "dataset_join", "2 to 8");
    ak_dataset *d = keyed(ctx, "a", 3, (int32_t[]){ 1, 2 }, 2);
    cr_expect_null(ak_dataset_join((ak_join[]){ { a, "id" }, { d, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_VALUE, "a field \"a\"", "ak_dataset_rename");
    ak_ctx *other = quiet();
    ak_dataset *e = keyed(other, "e", 3, (int32_t[]){ 1, 2 }, 2);
    cr_expect_null(ak_dataset_join((ak_join[]){ { a, "id" }, { e, "id" }, { 0 } }, NULL));
    expect_error(ctx, AK_ERR_CONTEXT, "dataset_join", "another context");
    ak_close(other);
    ak_close(ctx);
}
