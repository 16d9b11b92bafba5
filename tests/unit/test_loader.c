/* SPDX-License-Identifier: Apache-2.0 */
/* The loader: the same bits for any number of threads and after a resume, labels that follow their
 * pictures, the ends of epochs, refusals. */
#include "data_files.h"

#include "base/base.h"
#include "base/state.h"

#include <akin/data.h>

#define ITEM (28 * 28)

static const ak_augment augment[] = { { 0 } };      /* nothing */

static ak_loader_options usual(int threads, const ak_augment *list)
{
    return (ak_loader_options){ .batch = 8, .views = 2, .augment = list, .threads = threads,
                                .seed = 11 };
}

static uint64_t hash_batch(uint64_t h, const ak_batch *b)
{
    h = ak__hash_bytes(h, b->all->data, (size_t)b->all->size * sizeof(ak_real));
    h = ak__hash_bytes(h, b->label->data, (size_t)b->label->size * sizeof(int32_t));
    h = ak__hash_bytes(h, b->index->data, (size_t)b->index->size * sizeof(int32_t));
    h = ak__hash_bytes(h, &b->epoch, sizeof b->epoch);
    return ak__hash_bytes(h, &b->number, sizeof b->number);
}

/* Hash of `batches` batches, over the ends of epochs. */
static uint64_t hash_run(ak_ctx *ctx, ak_loader *l, int batches)
{
    uint64_t h = AK__HASH_START;
    for (int done = 0; done < batches; ) {
        ak_batch b;
        if (ak_loader_next(l, &b)) {
            h = hash_batch(h, &b);
            done++;
        }
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    return h;
}

static void everything(ak_augment list[8])
{
    list[0] = ak_random_crop(0.3, 1);
    list[1] = ak_random_flip(0.5);
    list[2] = ak_color_jitter(0.4, 0.4, 0.4, 0.1, 0.8);
    list[3] = ak_random_gray(0.2);
    list[4] = ak_random_blur(0.1, 2, 0.5);
    list[5] = ak_random_solarize(0.5, 0.2);
    list[6] = (ak_augment){ 0 };
}

Test(loader, same_bits_for_any_threads)
{
    uint64_t   want = 0;
    ak_augment list[8];
    everything(list);
    for (int k = 0; k < 4; k++) {
        const int   threads[] = { AK_NONE, 0, 1, 4 };
        ak_ctx     *ctx = quiet();
        ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 50);
        ak_loader  *l = ak_loader_open(ds, usual(threads[k], list));
        cr_assert_not_null(l, "%s", ak_error_message(ctx));
        const uint64_t h = hash_run(ctx, l, 20);            /* 6 batches an epoch */
        if (k == 0)
            want = h;
        cr_expect_eq(h, want, "threads = %d", threads[k]);
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
}

Test(loader, seed_epoch_and_view_matter)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 16);
    ak_augment  list[] = { ak_random_crop(0.2, 0.9), { 0 } };
    ak_loader_options o = usual(AK_NONE, list);
    o.batch = 16;
    o.in_order = true;
    ak_loader *l = ak_loader_open(ds, o);
    o.seed = 12;
    ak_loader *other = ak_loader_open(ds, o);
    ak_batch   a, b, c;
    cr_assert(ak_loader_next(l, &a) && !ak_loader_next(l, &c) && ak_loader_next(l, &b));
    cr_assert(ak_loader_next(other, &c));
    const size_t bytes = 16 * ITEM * sizeof(ak_real);
    cr_expect_neq(memcmp(a.view[0]->data, a.view[1]->data, bytes), 0);
    cr_expect_neq(memcmp(a.view[0]->data, b.view[0]->data, bytes), 0);
    cr_expect_neq(memcmp(a.view[0]->data, c.view[0]->data, bytes), 0);
    ak_close(ctx);
}

Test(loader, batches_labels_and_epochs)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 50);
    ak_loader  *l = ak_loader_open(ds, usual(0, augment));
    const ak_tensor *plain = ak_keep(ak_dataset_batch(ds, 0, 50));
    ak_step_end(ctx);
    cr_expect_eq(ak_loader_batches(l), 6);
    for (int epoch = 0; epoch < 3; epoch++) {
        bool seen[50] = { false };
        int  batches = 0;
        for (ak_batch b; ak_loader_next(l, &b); batches++) {
            cr_expect(b.size == 8 && b.views == 2 && b.epoch == epoch && b.number == batches);
            cr_expect(ak_shape_equal(b.all->shape, AK_SHAPE(16, 28, 28, 1)));
            cr_expect(ak_shape_equal(b.view[1]->shape, AK_SHAPE(8, 28, 28, 1)));
            cr_expect_eq(b.view[1]->data, b.all->data + 8 * ITEM);
            cr_expect_eq(b.view[0]->root, b.all->root);
            cr_expect_null(b.view[2]);
            for (int i = 0; i < 8; i++) {
                const int32_t k = b.index->data[i];
                cr_assert(k >= 0 && k < 50 && !seen[k]);
                seen[k] = true;
                cr_expect_eq(b.label->data[i], k % 10);
                for (int v = 0; v < 2; v++)
                    cr_expect_eq(memcmp(b.view[v]->data + i * ITEM, plain->data + k * ITEM,
                                        ITEM * sizeof(ak_real)), 0);
            }
            ak_step_end(ctx);
        }
        cr_expect_eq(batches, 6);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(loader, last_batch_kept)
{
    ak_ctx           *ctx = quiet();
    ak_loader_options o = usual(1, NULL);
    o.keep_last = true;
    o.in_order = true;
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), o);
    int64_t    total = 0, last = 0;
    for (ak_batch b; ak_loader_next(l, &b); ak_step_end(ctx)) {
        for (int i = 0; i < b.size; i++)
            cr_expect_eq(b.index->data[i], total + i);
        total += last = b.size;
        cr_expect(ak_shape_equal(b.all->shape, AK_SHAPE(2 * last, 28, 28, 1)));
    }
    cr_expect_eq(total, 50);
    cr_expect_eq(last, 2);
    ak_close(ctx);
}

Test(loader, seek_continues_with_the_same_batches)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 50);
    ak_augment  list[8];
    everything(list);
    for (int threads = AK_NONE; threads <= 3; threads++) {
        ak_loader *l = ak_loader_open(ds, usual(threads, list));
        for (int before = 0; before <= 13; before++) {      /* also at the ends of epochs */
            ak_loader_seek(l, (ak_loader_state){ 0, 0 });
            if (before)
                hash_run(ctx, l, before);
            const ak_loader_state at = ak_loader_tell(l);
            const uint64_t        want = hash_run(ctx, l, 7);
            ak_loader            *resumed = ak_loader_open(ds, usual(0, list));
            cr_expect_eq(ak_loader_seek(resumed, at), AK_OK);
            cr_expect_eq(ak_loader_tell(resumed).batch, at.batch);
            cr_expect_eq(hash_run(ctx, resumed, 7), want, "after %d", before);
            ak_loader_close(resumed);
        }
    }
    ak_loader *l = ak_loader_open(ds, usual(0, list));
    ak_batch   b;
    cr_expect_eq(ak_loader_seek(l, (ak_loader_state){ 4, 6 }), AK_OK);
    cr_expect_not(ak_loader_next(l, &b));                   /* the end of epoch 4 comes first */
    cr_expect(ak_loader_next(l, &b) && b.epoch == 5 && b.number == 0);
    cr_expect_eq(ak_loader_seek(l, (ak_loader_state){ 0, 7 }), AK_ERR_VALUE);
    expect_error(ctx, AK_ERR_VALUE, "batch 7", "has 6");
    cr_expect_eq(ak_loader_seek(l, (ak_loader_state){ -1, 0 }), AK_ERR_VALUE);
    ak_close(ctx);
}

Test(loader, checkpoint_state)
{
    ak_ctx          *ctx = quiet();
    ak_dataset      *ds = ak_dataset_drawn(ctx, 1, 0, 50);
    ak_loader       *l = ak_loader_open(ds, usual(0, NULL));
    const ak__state *s = ak__state_find(ctx, "loader");
    unsigned char    bytes[256];
    cr_assert_not_null(s);
    hash_run(ctx, l, 9);
    const size_t n = s->ops->size(s->obj);
    cr_assert_leq(n, sizeof bytes);
    s->ops->save(s->obj, bytes);
    const uint64_t want = hash_run(ctx, l, 5);
    cr_expect_eq(s->ops->check(s->obj, bytes, n), AK_OK);
    s->ops->load(s->obj, bytes, n);
    cr_expect_eq(hash_run(ctx, l, 5), want);
    cr_expect_neq(s->ops->check(s->obj, bytes, n - 1), AK_OK);
    ak_step_end(ctx);

    ak_loader_options o = usual(0, NULL);
    o.batch = 10;
    ak_loader_open(ds, o);
    const ak__state *other = ak__state_find(ctx, "loader#2");
    cr_assert_not_null(other);
    cr_expect_neq(other->ops->check(other->obj, bytes, n), AK_OK);
    expect_error(ctx, AK_ERR_STATE, "batch 8", "same options");

    /* The same numbers, but places in another order; files from before that was written load. */
    o = usual(0, NULL);
    o.in_order = true;
    ak_loader_open(ds, o);
    other = ak__state_find(ctx, "loader#3");
    cr_expect_neq(other->ops->check(other->obj, bytes, n), AK_OK);
    expect_error(ctx, AK_ERR_STATE, ".in_order 0", "same options");
    cr_expect_eq(other->ops->check(other->obj, bytes, n - 8), AK_OK);
    ak_close(ctx);
}

Test(loader, each_view_its_own_list)
{
    ak_ctx           *ctx = quiet();
    ak_augment        solarize[] = { ak_random_solarize(0, 1), { 0 } };
    ak_loader_options o = usual(1, NULL);
    o.augment_each = (const ak_augment *const[]){ NULL, solarize };
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 20), o);
    solarize[0] = (ak_augment){ 0 };                        /* lists are copied */
    ak_batch b;
    cr_assert(ak_loader_next(l, &b));
    for (int64_t i = 0; i < b.view[0]->size; i++)
        cr_expect_float_eq((double)b.view[1]->data[i], 1 - (double)b.view[0]->data[i], 1e-6);
    ak_close(ctx);
}

Test(loader, rows_and_normalisation)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_tensor(ctx, ak_randn(ctx, AK_SHAPE(20, 3)), NULL);
    cr_expect_eq(ak_dataset_normalize(ds, (double[]){ 1, 2, 3 }, (double[]){ 1, 2, 4 }), AK_OK);
    ak_loader *l = ak_loader_open(ds, (ak_loader_options){ .batch = 5 });
    ak_batch   b;
    cr_assert(ak_loader_next(l, &b));
    cr_expect(ak_shape_equal(b.view[0]->shape, AK_SHAPE(5, 3)));
    cr_expect_eq(b.label->data[0], -1);
    const ak_tensor *plain = ak_dataset_batch(ds, b.index->data[2], 1);
    cr_expect_eq(memcmp(b.view[0]->data + 6, plain->data, 3 * sizeof(ak_real)), 0);
    ak_close(ctx);
}

Test(loader, balance)
{
    ak_ctx *ctx = quiet();
    uint8_t pixels[40] = { 0 };
    int32_t labels[40];
    for (int i = 0; i < 40; i++)
        labels[i] = i < 36 ? 0 : 1;
    ak_dataset *ds = ak_dataset_memory(ctx, pixels, AK_SHAPE(40, 1), labels);
    ak_loader  *l = ak_loader_open(ds, (ak_loader_options){ .batch = 10, .balance = true });
    for (ak_batch b; ak_loader_next(l, &b); ak_step_end(ctx)) {
        int ones = 0;
        for (int i = 0; i < 10; i++)
            ones += b.label->data[i];
        cr_expect_eq(ones, 5);
    }
    ak_dataset *unlabelled = ak_dataset_memory(ctx, pixels, AK_SHAPE(40, 1), NULL);
    cr_expect_null(ak_loader_open(unlabelled, (ak_loader_options){ .batch = 10, .balance = true }));
    expect_error(ctx, AK_ERR_VALUE, "balance", "item 0");
    ak_close(ctx);
}

Test(loader, refusals)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 50);
    ak_dataset *rows = ak_dataset_tensor(ctx, ak_zeros(ctx, AK_SHAPE(50, 3)), NULL);
    ak_augment  bad[] = { ak_random_flip(0.5), ak_random_crop(0.5, 0.2), { 0 } };
    ak_augment  good[] = { ak_random_flip(0.5), { 0 } };
    const struct { ak_dataset *ds; ak_loader_options o; const char *word, *other; } cases[] = {
        { ds, { .batch = 1 }, "batch of 1", ".batch" },
        { ds, { .batch = 51 }, "51", "50 items" },
        { ds, { 0 }, "256 (the default)", "50 items" },
        { ds, { .batch = -3 }, "-3", ".batch" },
        { ds, { .batch = 8, .views = 17 }, "17", ".views" },
        { ds, { .batch = 8, .views = -1 }, "-1", ".views" },
        { ds, { .batch = 8, .views = INT32_MAX }, "2147483647", ".views" },
        { ds, { .batch = INT64_MAX }, "9223372036854775807", "50 items" },
        { ds, { .batch = INT64_MIN }, "-9223372036854775808", ".batch" },
        { ds, { .batch = 7, .keep_last = true }, ".keep_last", "batches of 7" },
        { ds, { .batch = 8, .threads = INT32_MIN }, "-2147483648", ".threads" },
        { ds, { .batch = 8, .threads = 65 }, "65", ".threads" },
        { ds, { .batch = 8, .threads = -2 }, "-2", ".threads" },
        { ds, { .batch = 8, .augment = bad }, "random_crop (entry 1", "0 < lo <= hi <= 1" },
        { ds, { .batch = 8, .balance = true, .in_order = true }, ".balance", ".in_order" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cr_expect_null(ak_loader_open(cases[i].ds, cases[i].o));
        expect_error(ctx, AK_ERR_VALUE, cases[i].word, cases[i].other);
    }
    cr_expect_null(ak_loader_open(rows, (ak_loader_options){ .batch = 8, .augment = good }));
    expect_error(ctx, AK_ERR_SHAPE, "random_flip", "[3]");
    ak_close(ctx);
}

Test(loader, pending_error_and_closed)
{
    ak_ctx    *ctx = quiet();
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(1, NULL));
    ak_batch   b;
    ak_fail(ctx, AK_ERR_VALUE, "made up");
    cr_expect_not(ak_loader_next(l, &b));
    cr_expect(ak_is_poison(b.all));
    ak_step_end(ctx);
    cr_expect_eq(ak_loader_tell(l).batch, 0);               /* nothing was lost */
    cr_expect(ak_loader_next(l, &b) && b.number == 0);
    ak_loader_close(l);
    ak_loader_close(l);
    cr_expect_not(ak_loader_next(l, &b));
    expect_error(ctx, AK_ERR_STATE, "loader_next", "closed");
    cr_expect_not(ak_loader_endless(l, &b));
    expect_error(ctx, AK_ERR_STATE, "loader_endless", "closed");
    cr_expect_eq(ak_loader_seek(l, (ak_loader_state){ 0, 0 }), AK_ERR_STATE);
    expect_error(ctx, AK_ERR_STATE, "loader_seek", "closed");
    ak_close(ctx);
}

/* ---- the end of an epoch, and an error ------------------------------------------------------- */

static void expect_poison(const ak_batch *b)
{
    cr_expect(b->size == 0 && ak_is_poison(b->all) && b->label && b->index);
    for (int v = 0; v < AK_MAX_VIEWS; v++)
        cr_expect(ak_is_poison(b->view[v]));
}

Test(loader, endless_passes_the_ends_of_epochs)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 20);
    ak_loader  *each = ak_loader_open(ds, usual(1, NULL));
    ak_loader  *all = ak_loader_open(ds, usual(1, NULL));
    int         steps = 0;
    for (int epoch = 0; epoch < 4; epoch++)
        for (ak_batch a, b; ak_loader_next(each, &a); ak_step_end(ctx), steps++) {
            cr_assert(ak_loader_endless(all, &b));
            cr_expect(a.epoch == b.epoch && a.number == b.number && b.epoch == epoch);
            cr_expect_eq(hash_batch(1, &a), hash_batch(1, &b));
        }
    cr_expect_eq(steps, 8);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Loops of both kinds over a loader that never gives a batch: each comes to its end. */
Test(loader, no_loop_spins_on_an_error, .timeout = 20)
{
    ak_ctx    *ctx = quiet();
    ak_batch   b;
    ak_loader *closed = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(1, NULL));
    ak_loader_close(closed);
    ak_loader *const loaders[] = { NULL, closed };
    for (int k = 0; k < 2; k++) {
        for (int epoch = 0; epoch < 5; epoch++)             /* a loop over batches */
            for (; ak_loader_next(loaders[k], &b); ak_step_end(ctx))
                expect_poison(&b);
        for (int step = 0; step < 5; step++) {              /* loops that wait for a batch */
            while (!ak_loader_next(loaders[k], &b))
                ;
            expect_poison(&b);
            while (!ak_loader_endless(loaders[k], &b))
                ;
            expect_poison(&b);
            ak_step_end(ctx);
        }
        for (int step = 0; step < 5 && ak_loader_endless(loaders[k], &b); step++)
            cr_expect(false);
        ak_step_end(ctx);
    }
    /* An error from elsewhere. */
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(1, NULL));
    for (int step = 0; step < 3; step++) {
        ak_fail(ctx, AK_ERR_VALUE, "made up");
        cr_expect_not(ak_loader_next(l, &b));
        cr_expect_not(ak_loader_next(l, &b));
        while (!ak_loader_next(l, &b))
            ;
        expect_poison(&b);
        cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    }
    cr_expect(ak_loader_next(l, &b) && b.size == 8 && b.number == 0);
    ak_close(ctx);
}

Test(loader, the_end_of_an_epoch_is_no_error)
{
    ak_ctx    *ctx = quiet();
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 8), usual(AK_NONE, NULL));
    ak_batch   b;
    for (int epoch = 0; epoch < 3; epoch++) {
        cr_expect(ak_loader_next(l, &b) && b.epoch == epoch);
        cr_expect_not(ak_loader_next(l, &b));
        cr_expect(!b.all && !b.view[0] && b.size == 0 && !ak_error(ctx));
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- what a last batch may be ---------------------------------------------------------------- */

Test(loader, a_last_batch_of_one_is_said_at_opening)
{
    ak_ctx *ctx = quiet();
    for (int64_t items = 2; items <= 40; items++) {
        ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, items);
        for (int64_t batch = 2; batch <= items; batch++)
            for (int keep = 0; keep < 2; keep++) {
                ak_loader *l = ak_loader_open(ds, (ak_loader_options){
                    .batch = batch, .keep_last = keep, .threads = AK_NONE });
                cr_expect_eq(!l, keep && items % batch == 1);
                if (!l) {                   /* what the message proposes works */
                    const char *at = strstr(ak_error_message(ctx), ".batch (");
                    const int64_t other = at ? strtoll(at + 8, NULL, 10) : 0;
                    cr_assert(other >= 2 && other <= items && items % other != 1);
                    expect_error(ctx, AK_ERR_VALUE, ".keep_last", "last batch of 1");
                }
                ak_loader_close(l);
            }
    }
    cr_expect_null(ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 41),
                                  (ak_loader_options){ .batch = 8, .keep_last = true }));
    expect_error(ctx, AK_ERR_VALUE, "41 items in batches of 8", "7 leaves 6");
    ak_close(ctx);
}

static void poison_pixel(ak_picture *p, const double *options, ak_draws draws)
{
    (void)options;
    if (ak_draw(draws, 0) < 0.5)
        p->plane[0][3] = (ak_real)NAN;
}

Test(loader, user_augmentation_and_number_check)
{
    static const ak_augment_kind kind = { .name = "poison_pixel", .change = poison_pixel };
    ak_augment list[] = { { &kind, { 0 } }, { 0 } };
    ak_ctx    *ctx = quiet();
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(2, list));
    ak_batch   b;
    cr_expect(ak_loader_next(l, &b));
    int bad = 0;
    for (int i = 0; i < 16; i++)
        bad += isnan(b.all->data[i * ITEM + 3]);
    cr_expect(bad > 0 && bad < 16);
    ak_step_end(ctx);
    ak_check_numbers(ctx, true);
    cr_expect_not(ak_loader_next(l, &b));
    expect_error(ctx, AK_ERR_NUMBER, "not finite", "drawn pictures");
    cr_expect_eq(ak_loader_tell(l).batch, 2);               /* that batch was skipped */
    ak_close(ctx);
}

static void outside_look(ak_box *box, const double *options, ak_draws draws)
{
    (void)options;
    if (ak_draw(draws, 0) < 0.2)
        box->x = 100;
}

/* Faults that threads meet are told by the call that would have handed out the batch. */
Test(loader, faults_of_own_augmentations)
{
    static const ak_augment_kind kinds[] = { { .name = "outside", .look = outside_look },
                                             { .name = "poison_pixel", .change = poison_pixel } };
    const char *const words[] = { "outside made a box", "random_solarize needs" };
    for (int k = 0; k < 2; k++)
        for (int threads = AK_NONE; threads <= 2; threads++) {
            ak_augment list[] = { { &kinds[k], { 0 } }, ak_random_solarize(0.5, 0), { 0 } };
            ak_ctx    *ctx = quiet();
            ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(threads, list));
            ak_batch   b;
            for (int64_t batch = 1; batch <= 6; batch++) {
                cr_expect_not(ak_loader_next(l, &b));
                expect_poison(&b);
                expect_error(ctx, AK_ERR_VALUE, words[k], "drawn pictures");
                cr_expect_eq(ak_loader_tell(l).batch, batch);       /* it was skipped */
            }
            cr_expect_not(ak_loader_next(l, &b));
            cr_expect_eq(ak_error(ctx), AK_OK);                     /* the end of the epoch */
            ak_close(ctx);
        }
}

Test(loader, no_allocation_after_the_first_step)
{
    ak_ctx    *ctx = quiet();
    ak_augment list[8];
    everything(list);
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 1, 0, 50), usual(2, list));
    hash_run(ctx, l, 2);
    const uint64_t before = ak_malloc_count();
    hash_run(ctx, l, 40);
    cr_expect_eq(ak_malloc_count(), before);
    ak_close(ctx);
}

Test(loader, out_of_memory_at_every_place)
{
    for (uint64_t n = 1;; n++) {
        ak_ctx    *ctx = quiet();
        ak_augment list[8];
        ak_batch   b;
        everything(list);
        ak_fail_alloc_after(n, false);
        ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 20);
        const bool  done = ak_loader_next(ak_loader_open(ds, usual(2, list)), &b);
        ak_fail_alloc_after(0, false);
        const ak_status status = ak_close(ctx);
        cr_assert((status == AK_OK) == done);
        if (done)
            break;
        cr_expect_eq(status, AK_ERR_MEMORY);
        cr_assert_lt(n, 200);
    }
}

/* Many loaders opened, used a little and closed at awkward moments. */
Test(loader, opening_and_closing)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 50);
    for (int i = 0; i < 60; i++) {
        ak_loader *l = ak_loader_open(ds, usual(1 + i % 4, NULL));
        ak_batch   b;
        for (int k = 0; k < i % 5; k++)
            ak_loader_next(l, &b);
        if (i % 3 == 0)
            ak_loader_seek(l, (ak_loader_state){ i, i % 7 });
        if (i % 2)
            ak_loader_close(l);
        ak_step_end(ctx);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}
