/* SPDX-License-Identifier: Apache-2.0 */
/* Contrastive losses: worked examples, fused = composed in tiles of every size, small temperatures,
 * symmetries, threads, duplicates, odd inputs, misuse. Compiled for float and for double. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

#include "losses/engine/walk.h"

#ifdef _OPENMP
#include <omp.h>
#endif

/* Of fused against composed, relative to the largest number: the double build is the proof. */
#define EQUAL (sizeof(ak_real) == 8 ? 1e-12 : 2e-5)
#define EXACT (sizeof(ak_real) == 8 ? 1e-6 : 2e-6)     /* worked examples have six digits */

static ak_ctx *ctx;

static void be_silent(void *user, ak_log_level level, const char *message)
{
    (void)level;
    if (user)
        snprintf(user, 200, "%s", message);
}

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_on_log(ctx, be_silent, NULL);
}

static void close_context(void)
{
    ak__walk_tile = 0;
    ak_close(ctx);
}

TestSuite(losses, .init = open_context, .fini = close_context);

static ak_tensor *leaf(ak_shape shape, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(9, stream, (uint64_t)i);
    return ak_require_grad(t);
}

static ak_tensor *matrix(int64_t n, int64_t m, const double *values)
{
    return ak_require_grad(ak_from_double(ctx, AK_SHAPE(n, m), values));
}

static double largest_difference(const ak_real *a, const ak_real *b, int64_t n)
{
    double most = 0, size = sizeof(ak_real) == 8 ? 1e-3 : 1;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        most = d > most || isnan(d) ? (isnan(d) ? 1e30 : d) : most;
        size = fabs((double)b[i]) > size ? fabs((double)b[i]) : size;
    }
    return most / size;
}

static bool all_finite(const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite((double)x[i]))
            return false;
    return true;
}

/* ---- worked examples of akin/losses.h -------------------------------------------------------- */

Test(losses, ntxent_example)
{
    const double eye[] = { 1, 0, 0, 1 };
    ak_loss_report r;
    ak_tensor *loss = ak_loss_ntxent(matrix(2, 2, eye), matrix(2, 2, eye),
                                     (ak_ntxent_options){ .tau = 1, .report = &r });
    cr_expect_float_eq(ak_item(loss), 0.551445, EXACT);
    cr_expect_float_eq(r.chance, log(3), 1e-12);
    cr_expect_eq(r.accuracy, 1);
    cr_expect_eq(r.anchors, 4);
    cr_expect_eq(r.lonely, 0);
    cr_expect_float_eq(r.loss, 0.551445, EXACT);
    cr_expect_float_eq(r.tau, 1, 1e-15);
}

static const double example_q[] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
static const double example_k[] = { 2, 0, 0, 0, 1, 0, 1, 0, 3 };

Test(losses, infonce_example)
{
    ak_loss_report r;
    const ak_infonce_options o = { .tau = 1, .normalized = true, .report = &r };
    ak_tensor *loss = ak_loss_infonce(matrix(3, 3, example_q), matrix(3, 3, example_k), o);
    cr_expect_float_eq(ak_item(loss), 0.351325, EXACT);
    cr_expect_float_eq(r.chance, log(3), 1e-12);
    cr_expect_eq(r.anchors, 3);
    loss = ak_loss_clip(matrix(3, 3, example_q), matrix(3, 3, example_k), NULL, o);
    cr_expect_float_eq(ak_item(loss), 0.335802, EXACT);
    cr_expect_eq(r.anchors, 6);
    cr_expect_eq(r.accuracy, 1);
}

Test(losses, supcon_example)
{
    const double z[] = { 1, 0, 1, 0, 0, 1 };
    ak_index *labels = ak_index_from(ctx, AK_SHAPE(3), (const int32_t[]){ 0, 0, 1 });
    ak_loss_report r;
    ak_tensor *loss = ak_loss_supcon(matrix(3, 2, z), labels,
                                     (ak_supcon_options){ .tau = 1, .report = &r });
    cr_expect_float_eq(ak_item(loss), 0.208841, EXACT);
    cr_expect_eq(r.lonely, 1);
    cr_expect_eq(r.anchors, 3);
    cr_expect_eq(r.accuracy, 1);
    cr_expect_float_eq(r.chance, log(2) * 2 / 3, 1e-12);
}

/* Ties count as wrong: all embeddings alike find nobody, and the loss is that of chance. */
Test(losses, all_alike_is_chance)
{
    ak_tensor *z = ak_full(ctx, AK_SHAPE(5, 3), 1);
    ak_loss_report r;
    ak_loss_ntxent(z, z, (ak_ntxent_options){ .tau = 0.1, .report = &r });
    cr_expect_float_eq(r.loss, log(9), 1e-5);
    cr_expect_float_eq(r.chance, log(9), 1e-12);
    cr_expect_eq(r.accuracy, 0);
    ak_loss_clip(z, z, NULL, (ak_infonce_options){ .report = &r });
    cr_expect_float_eq(r.loss, log(5), 1e-5);
    cr_expect_eq(r.accuracy, 0);
    ak_index *same = ak_index_from(ctx, AK_SHAPE(5), (const int32_t[]){ 4, 4, 4, 4, 4 });
    ak_loss_supcon(z, same, (ak_supcon_options){ .report = &r });
    cr_expect_float_eq(r.loss, log(4), 1e-5);
    cr_expect_eq(r.accuracy, 1, "every candidate is a partner");
}

/* Two of four texts are swapped: half of the anchors find their partner, in both directions. */
Test(losses, accuracy_counts_both_directions)
{
    const double x[] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1 };
    const double y[] = { 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0 };
    for (int64_t tile = 0; tile <= 3; tile++) {
        ak_loss_report r;
        ak__walk_tile = tile;
        ak_loss_clip(matrix(4, 4, x), matrix(4, 4, y), NULL, (ak_infonce_options){ .report = &r });
        cr_expect_eq(r.accuracy, 0.5);
    }
}

/* ---- fused = composed ------------------------------------------------------------------------ */

typedef struct outcome {
    double   loss;
    ak_real *grad[AK_MAX_IN];
} outcome;

static outcome run_form(const ak_loss_info *l, const ak_sample *s, bool composed, int64_t tile)
{
    ak_tensor *in[AK_MAX_IN];
    outcome o = { 0 };
    ak__walk_tile = tile;
    ak_sample_draw(ctx, s, s->n_in, 3, in);
    for (int i = 0; i < s->n_in; i++)
        in[i] = ak_require_grad(ak_from(ctx, in[i]->shape, in[i]->data));
    ak_tensor *loss = (composed ? l->composed : l->run)(in, s->n_in, s);
    o.loss = ak_item(loss);
    cr_expect_eq(ak_backward(loss), AK_OK, "%s: %s", l->name, ak_error_message(ctx));
    for (int i = 0; i < s->n_in; i++)
        o.grad[i] = in[i]->grad;
    return o;
}

static int64_t operand_size(const ak_sample *s, int i) { return ak_shape_size(s->in[i]); }

static void expect_equal(const ak_loss_info *l, const ak_sample *s, int number, int64_t tile)
{
    const outcome a = run_form(l, s, false, tile), b = run_form(l, s, true, 0);
    cr_expect(fabs(a.loss - b.loss) <= EQUAL * fmax(1, fabs(b.loss)),
              "%s sample %d tile %lld: fused %.15g, composed %.15g", l->name, number,
              (long long)tile, a.loss, b.loss);
    for (int i = 0; i < s->n_in; i++) {
        const double d = largest_difference(a.grad[i], b.grad[i], operand_size(s, i));
        cr_expect(d <= EQUAL, "%s sample %d tile %lld: gradient of operand %d differs by %.3g",
                  l->name, number, (long long)tile, i, d);
    }
}

Test(losses, fused_equals_composed)
{
    static const int64_t tiles[] = { 0, 1, 2, 7, 64 };
    for (int i = 0; ak_loss_at(i); i++) {
        const ak_loss_info *l = ak_loss_at(i);
        for (int j = 0; !(l->samples[j].flags & AK_SAMPLE_END); j++)
            for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++)
                expect_equal(l, &l->samples[j], j, tiles[t]);
        ak_step_end(ctx);
    }
}

/* The same on one larger batch, plain options; 0 is by size, 7 and 64 cut it unevenly. */
static void expect_equal_large(const char *name, ak_sample s)
{
    const ak_loss_info *l = ak_loss_find(name);
    static const int64_t tiles[] = { 0, 1, 7, 64 };
    for (size_t t = 0; t < sizeof tiles / sizeof *tiles; t++) {
        expect_equal(l, &s, -1, tiles[t]);
        ak_step_end(ctx);
    }
}

Test(losses, fused_equals_composed_large)
{
    expect_equal_large("ntxent", (ak_sample){ .in = { { 2, { 71, 9 } }, { 2, { 71, 9 } } },
                                              .n_in = 2 });
    expect_equal_large("ntxent_views", (ak_sample){ .in = { { 3, { 3, 37, 5 } } }, .n_in = 1 });
    expect_equal_large("infonce", (ak_sample){ .in = { { 2, { 90, 8 } }, { 2, { 90, 8 } } },
                                               .n_in = 2 });
    expect_equal_large("clip", (ak_sample){
        .in = { { 2, { 97, 5 } }, { 2, { 97, 5 } }, { 1, { 1 } } }, .n_in = 3 });
    expect_equal_large("supcon", (ak_sample){ .in = { { 3, { 3, 33, 6 } } }, .n_in = 1 });
    expect_equal_large("supcon", (ak_sample){ .in = { { 3, { 3, 200, 4 } } }, .n_in = 1 });
}

/* Sizes at which the engine cuts tiles by itself. */
Test(losses, tiles_chosen_by_size)
{
    for (int symmetric = 0; symmetric < 2; symmetric++) {
        ak_tensor *x[2], *y[2];
        double loss[2];
        for (int f = 0; f < 2; f++) {
            x[f] = leaf(AK_SHAPE(symmetric ? 301 : 70, 4), 1);
            y[f] = leaf(AK_SHAPE(symmetric ? 301 : 70, 4), 2);
            ak_tensor *queue = ak_detach(leaf(AK_SHAPE(5000, 4), 3)), *l;
            if (symmetric)
                l = (f ? ak_loss_ntxent_composed : ak_loss_ntxent)(x[f], y[f],
                                                                   (ak_ntxent_options){ 0 });
            else
                l = (f ? ak_loss_infonce_composed : ak_loss_infonce)(
                    x[f], y[f], (ak_infonce_options){ .queue = queue });
            loss[f] = ak_item(l);
            ak_backward(l);
        }
        cr_expect(fabs(loss[0] - loss[1]) <= EQUAL * loss[1], "%g %g", loss[0], loss[1]);
        cr_expect(largest_difference(x[0]->grad, x[1]->grad, x[0]->size) <= EQUAL);
        cr_expect(largest_difference(y[0]->grad, y[1]->grad, y[0]->size) <= EQUAL);
    }
}

/* A list of views and a stack of views are one loss; two views are ntxent; pair_sum is its sum. */
Test(losses, views_agree)
{
    ak_tensor *z = leaf(AK_SHAPE(2, 6, 4), 1);
    ak_tensor *list[2] = { ak_reshape(ak_rows(z, 0, 1), AK_SHAPE(6, 4)),
                           ak_reshape(ak_rows(z, 1, 1), AK_SHAPE(6, 4)) };
    const ak_ntxent_options o = { .tau = 0.2 };
    ak_ntxent_options sum = o;
    sum.pair_sum = true;
    const double two = ak_item(ak_loss_ntxent(list[0], list[1], o));
    cr_expect_eq(ak_item(ak_loss_ntxent_views(z, o)), two);
    cr_expect_eq(ak_item(ak_loss_ntxent_list(list, 2, o)), two);
    cr_expect_float_eq(ak_item(ak_loss_ntxent_views(z, sum)), 2 * two, 1e-6);
    cr_expect_float_eq(ak_item(ak_loss_ntxent_list(list, 2, sum)), 2 * two, 1e-6);
    cr_expect_float_eq(ak_item(ak_loss_supcon(z, NULL, (ak_supcon_options){ .tau = 0.2 })), two,
                       1e-5);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* tau 0.005: e^(1/tau) is no float, and barely a double. */
Test(losses, small_temperatures)
{
    static const double taus[] = { 0.01, 0.005, 1e-4 };
    for (int i = 0; i < 3; i++) {
        ak_tensor *a = leaf(AK_SHAPE(9, 8), 1), *b = leaf(AK_SHAPE(9, 8), 2);
        for (int64_t tile = 0; tile < 10; tile += 4) {
            ak__walk_tile = tile;
            ak_tensor *n = ak_loss_ntxent(a, b, (ak_ntxent_options){ .tau = taus[i] });
            ak_tensor *c = ak_loss_clip(a, b, NULL, (ak_infonce_options){ .tau = taus[i] });
            ak_tensor *m = ak_loss_ntxent_composed(a, b, (ak_ntxent_options){ .tau = taus[i] });
            cr_expect(fabs(ak_item(n) - ak_item(m)) <= 10 * EQUAL * ak_item(m), "tau %g: %g %g",
                      taus[i], ak_item(n), ak_item(m));
            cr_expect(isfinite(ak_item(c)) && ak_item(c) > 0);
            ak_backward(ak_add(n, c));
            cr_expect(all_finite(a->grad, a->size) && all_finite(b->grad, b->size));
        }
        /* partners that are equal cost nothing, whatever the temperature */
        ak_tensor *same = ak_loss_ntxent(a, a, (ak_ntxent_options){ .tau = taus[i] });
        cr_expect(ak_item(same) >= 0 && ak_item(same) < 1e-3, "%g", ak_item(same));
        ak_step_end(ctx);
    }
}

/* Rows that are not of unit length have scores beyond the scale. */
Test(losses, long_rows_taken_as_they_are)
{
    ak_tensor *a = ak_scale(leaf(AK_SHAPE(6, 4), 1), 20);
    ak_tensor *b = ak_scale(leaf(AK_SHAPE(6, 4), 2), 20);
    const ak_infonce_options o = { .tau = 0.1, .normalized = true };
    const double x = ak_item(ak_loss_infonce(a, b, o));
    const double y = ak_item(ak_loss_infonce_composed(a, b, o));
    cr_expect(isfinite(x) && fabs(x - y) <= 1e-5 * fabs(y), "%g %g", x, y);
}

Test(losses, zero_rows)
{
    ak_tensor *grad[2];
    for (int f = 0; f < 2; f++) {
        ak_tensor *a = leaf(AK_SHAPE(4, 3), 1), *b = leaf(AK_SHAPE(4, 3), 2);
        memset(a->data, 0, 3 * sizeof(ak_real));
        ak_tensor *loss = (f ? ak_loss_ntxent_composed : ak_loss_ntxent)(a, b,
                                                                         (ak_ntxent_options){ 0 });
        cr_expect(isfinite(ak_item(loss)));
        ak_backward(loss);
        cr_expect(all_finite(a->grad, a->size));
        grad[f] = ak_from(ctx, AK_SHAPE(4, 3), a->grad);
    }
    /* the zero row itself has a gradient of 1/floor; the others are ordinary */
    cr_expect(largest_difference(grad[0]->data, grad[1]->data, 3) <= EQUAL);
    cr_expect(largest_difference(grad[0]->data + 3, grad[1]->data + 3, 9) <= EQUAL);
}

Test(losses, number_that_is_none_shows)
{
    for (int64_t tile = 0; tile < 3; tile += 2) {
        ak__walk_tile = tile;
        ak_tensor *a = leaf(AK_SHAPE(5, 3), 1), *b = leaf(AK_SHAPE(5, 3), 2);
        a->data[4] = (ak_real)NAN;
        cr_expect(isnan(ak_item(ak_loss_ntxent(a, b, (ak_ntxent_options){ .tau = 0.1 }))));
        cr_expect(isnan(ak_item(ak_loss_clip(a, b, NULL, (ak_infonce_options){ .tau = 0.01 }))));
        ak_check_numbers(ctx, true);
        ak_loss_ntxent(a, b, (ak_ntxent_options){ 0 });
        cr_expect_eq(ak_step_end(ctx), AK_ERR_NUMBER);
        ak_check_numbers(ctx, false);
    }
}

/* However the scores are cut: one block, kept ones, ones made again, blocks of several tiles, a
 * block wider than high. */
Test(losses, cut_by_size)
{
    static const int64_t rows[] = { 90, 300, 1700, 4200 };
    enum { D = 3 };
    for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
        const int64_t N = rows[n];
        double loss[2];
        ak_real *grad[2];
        for (int forced = 0; forced < 2; forced++) {
            ak__walk_tile = forced ? 100 : 0;
            ak_tensor *x = leaf(AK_SHAPE(N, D), 1), *y = leaf(AK_SHAPE(N, D), 2);
            ak_tensor *queue = leaf(AK_SHAPE(1500, D), 3);
            ak_tensor *l = ak_loss_clip(x, y, NULL, (ak_infonce_options){ .tau = 0.3 });
            l = ak_add(l, ak_loss_ntxent(x, y, (ak_ntxent_options){ .tau = 0.3 }));
            if (N < 1000)
                l = ak_add(l, ak_loss_infonce(x, y, (ak_infonce_options){ .queue = queue }));
            loss[forced] = ak_item(l);
            cr_assert_eq(ak_backward(l), AK_OK);
            grad[forced] = malloc((size_t)(2 * N * D) * sizeof(ak_real));
            memcpy(grad[forced], x->grad, (size_t)(N * D) * sizeof(ak_real));
            memcpy(grad[forced] + N * D, y->grad, (size_t)(N * D) * sizeof(ak_real));
            ak_step_end(ctx);
        }
        cr_expect_float_eq(loss[0], loss[1], 10 * EQUAL * fabs(loss[1]));
        cr_expect(largest_difference(grad[0], grad[1], 2 * N * D) <= 20 * EQUAL, "%d", (int)N);
        free(grad[0]);
        free(grad[1]);
    }
    ak__walk_tile = 0;
}

/* ---- symmetries ------------------------------------------------------------------------------ */

/* Samples in another order (as after shuffling shards): same loss, gradients in that order. */
Test(losses, order_of_samples)
{
    enum { N = 12, D = 5 };
    static const int64_t tiles[] = { 0, 5 };
    int64_t order[N];
    ak_random_permutation(1, 2, N, order);
    for (int t = 0; t < 2; t++) {
        ak__walk_tile = tiles[t];
        ak_tensor *a = leaf(AK_SHAPE(N, D), 1), *b = leaf(AK_SHAPE(N, D), 2);
        ak_tensor *c = ak_require_grad(ak_zeros(ctx, AK_SHAPE(N, D)));
        ak_tensor *d = ak_require_grad(ak_zeros(ctx, AK_SHAPE(N, D)));
        for (int i = 0; i < N; i++) {
            memcpy(c->data + i * D, a->data + order[i] * D, D * sizeof(ak_real));
            memcpy(d->data + i * D, b->data + order[i] * D, D * sizeof(ak_real));
        }
        const ak_ntxent_options o = { .tau = 0.2 };
        ak_tensor *x = ak_loss_ntxent(a, b, o), *y = ak_loss_ntxent(c, d, o);
        ak_tensor *u = ak_loss_clip(a, b, NULL, (ak_infonce_options){ 0 });
        ak_tensor *v = ak_loss_clip(c, d, NULL, (ak_infonce_options){ 0 });
        cr_expect_float_eq(ak_item(x), ak_item(y), 1e-5);
        cr_expect_float_eq(ak_item(u), ak_item(v), 1e-5);
        ak_backward(ak_add(x, u));
        ak_backward(ak_add(y, v));
        for (int i = 0; i < N; i++)
            cr_expect(largest_difference(c->grad + i * D, a->grad + order[i] * D, D) <= 20 * EQUAL);
        ak_step_end(ctx);
    }
}

/* Longer embeddings change nothing, and the gradient is at right angles to each row. */
Test(losses, length_does_not_matter)
{
    ak_tensor *a = leaf(AK_SHAPE(6, 4), 1), *b = leaf(AK_SHAPE(6, 4), 2);
    const ak_ntxent_options o = { .tau = 0.2 };
    ak_tensor *loss = ak_loss_ntxent(a, b, o);
    const double longer = ak_item(ak_loss_ntxent(ak_scale(a, 7), b, o));
    cr_expect_float_eq(ak_item(loss), longer, 1e-5);
    ak_backward(loss);
    for (int i = 0; i < 6; i++) {
        double dot = 0;
        for (int d = 0; d < 4; d++)
            dot += (double)a->data[i * 4 + d] * (double)a->grad[i * 4 + d];
        cr_expect_float_eq(dot, 0, 1e-5);
    }
}

/* One tensor in both places gets the sum of both gradients. */
Test(losses, the_same_tensor_twice)
{
    ak_tensor *grad[2];
    for (int f = 0; f < 2; f++) {
        ak_tensor *z = leaf(AK_SHAPE(5, 3), 1), *w = ak_scale(z, 1);
        ak_backward((f ? ak_loss_clip_composed : ak_loss_clip)(w, w, NULL,
                                                               (ak_infonce_options){ .tau = 0.5 }));
        grad[f] = ak_from(ctx, AK_SHAPE(5, 3), z->grad);
    }
    cr_expect(largest_difference(grad[0]->data, grad[1]->data, 15) <= EQUAL);
}

/* Gradients add to those that are there, and scale with what comes from above. */
Test(losses, upstream_and_accumulation)
{
    ak_tensor *a = leaf(AK_SHAPE(5, 3), 1), *b = leaf(AK_SHAPE(5, 3), 2);
    ak_backward(ak_loss_ntxent(a, b, (ak_ntxent_options){ 0 }));
    ak_tensor *once = ak_from(ctx, a->shape, a->grad);
    ak_backward(ak_scale(ak_loss_ntxent(a, b, (ak_ntxent_options){ 0 }), 2));
    for (int i = 0; i < 15; i++)
        cr_expect_float_eq((double)a->grad[i], 3 * (double)once->data[i], 1e-5);
}

/* ---- threads --------------------------------------------------------------------------------- */

#ifdef _OPENMP
static void bits_of_step(ak_real *out, int64_t tile, bool ntxent)
{
    ak__walk_tile = tile;
    ak_tensor *a = leaf(AK_SHAPE(300, 16), 1), *b = leaf(AK_SHAPE(300, 16), 2);
    ak_tensor *s = ak_require_grad(ak_full(ctx, AK_SHAPE(1), 2));
    ak_tensor *loss = ntxent ? ak_loss_ntxent(a, b, (ak_ntxent_options){ .log_scale = s })
                             : ak_loss_clip(a, b, s, (ak_infonce_options){ 0 });
    ak_backward(loss);
    memcpy(out, loss->data, sizeof(ak_real));
    memcpy(out + 1, s->grad, sizeof(ak_real));
    memcpy(out + 2, a->grad, (size_t)a->size * sizeof(ak_real));
    memcpy(out + 2 + a->size, b->grad, (size_t)b->size * sizeof(ak_real));
    ak_step_end(ctx);
}
#endif

Test(losses, same_bits_for_any_number_of_threads)
{
#ifdef _OPENMP
    enum { SIZE = 2 + 2 * 300 * 16 };
    static ak_real first[SIZE], other[SIZE];
    static const int64_t tiles[] = { 0, 32, 100 };
    for (int t = 0; t < 6; t++) {
        omp_set_num_threads(1);
        bits_of_step(first, tiles[t % 3], t < 3);
        for (int threads = 2; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            bits_of_step(other, tiles[t % 3], t < 3);
            cr_expect_eq(memcmp(first, other, sizeof first), 0, "%d threads, tile %lld", threads,
                         (long long)tiles[t % 3]);
        }
    }
#else
    cr_skip_test("built without OpenMP");
#endif
}

/* ---- options --------------------------------------------------------------------------------- */

/* Padding rows change nothing, whatever is in them; their gradient is 0. */
Test(losses, padding_is_not_there)
{
    ak_tensor *a = leaf(AK_SHAPE(6, 3), 1), *b = leaf(AK_SHAPE(6, 3), 2);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(6), (const int32_t[]){ 1, 2, 3, 4, -1, -1 });
    ak_loss_report r, s;
    ak_tensor *loss = ak_loss_ntxent(a, b, (ak_ntxent_options){ .ids = ids, .report = &r });
    ak_loss_ntxent(ak_rows(a, 0, 4), ak_rows(b, 0, 4), (ak_ntxent_options){ .report = &s });
    cr_expect_float_eq(r.loss, s.loss, 1e-6);
    cr_expect_float_eq(r.chance, s.chance, 1e-6);
    cr_expect_eq(r.anchors, 8);
    cr_expect_eq(r.accuracy, s.accuracy);
    ak_backward(loss);
    for (int i = 12; i < 18; i++)
        cr_expect_eq(a->grad[i], 0);
    ak_tensor *text = leaf(AK_SHAPE(6, 3), 3);
    loss = ak_loss_clip(a, text, NULL, (ak_infonce_options){ .ids = ids });
    ak_tensor *shorter = ak_loss_clip(ak_rows(a, 0, 4), ak_rows(text, 0, 4), NULL,
                                      (ak_infonce_options){ 0 });
    cr_expect_float_eq(ak_item(loss), ak_item(shorter), 1e-5);
}

/* A duplicate among the negatives is taken out, and reported. */
Test(losses, duplicates_are_no_negatives)
{
    ak_tensor *a = leaf(AK_SHAPE(3, 4), 1), *b = leaf(AK_SHAPE(3, 4), 2);
    memcpy(a->data + 4, a->data, 4 * sizeof(ak_real));
    memcpy(b->data + 4, b->data, 4 * sizeof(ak_real));
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(3), (const int32_t[]){ 7, 7, 8 });
    ak_loss_report r;
    ak_loss_infonce(a, b, (ak_infonce_options){ .tau = 0.1, .ids = ids, .report = &r });
    cr_expect_float_eq(r.masked, 2.0 / 9, 1e-12);
    cr_expect_float_eq(r.chance, (2 * log(2) + log(3)) / 3, 1e-12);
    const double with = r.loss;
    ak_loss_infonce(a, b, (ak_infonce_options){ .tau = 0.1, .report = &r });
    cr_expect_lt(with, r.loss - 0.1, "%g %g", with, r.loss);
}

/* Weights 1 and 0 are leaving an anchor out of the mean; they stay candidates. */
Test(losses, weights)
{
    ak_tensor *q = leaf(AK_SHAPE(3, 4), 1), *k = leaf(AK_SHAPE(3, 4), 2);
    double mean = 0;
    for (int i = 0; i < 3; i++) {
        ak_tensor *w = ak_zeros(ctx, AK_SHAPE(3));
        w->data[i] = 2;
        mean += ak_item(ak_loss_infonce(q, k, (ak_infonce_options){ .weights = w })) / 3;
    }
    cr_expect_float_eq(mean, ak_item(ak_loss_infonce(q, k, (ak_infonce_options){ 0 })), 1e-5);
    ak_tensor *none = ak_zeros(ctx, AK_SHAPE(3));
    cr_expect_eq(ak_item(ak_loss_infonce(q, k, (ak_infonce_options){ .weights = none })), 0);
}

/* Targets by matrix, by list and by position are the same where they say the same. */
Test(losses, targets_agree)
{
    ak_tensor *q = leaf(AK_SHAPE(4, 3), 1), *k = leaf(AK_SHAPE(4, 3), 2);
    ak_tensor *eye = ak_zeros(ctx, AK_SHAPE(4, 4));
    for (int i = 0; i < 4; i++)
        eye->data[i * 5] = 1;
    ak_index *own = ak_index_from(ctx, AK_SHAPE(4, 1), (const int32_t[]){ 0, 1, 2, 3 });
    ak_loss_report r[4];
    ak_loss_clip(q, k, NULL, (ak_infonce_options){ .report = &r[0] });
    ak_loss_clip(q, k, NULL, (ak_infonce_options){ .targets = eye, .report = &r[1] });
    ak_loss_clip(q, k, NULL, (ak_infonce_options){ .target_columns = own, .report = &r[2] });
    ak_loss_clip(q, k, NULL, (ak_infonce_options){ .labels = own, .report = &r[3] });
    for (int i = 1; i < 4; i++) {
        cr_expect_float_eq(r[i].loss, r[0].loss, 1e-5, "%d", i);
        cr_expect_eq(r[i].accuracy, r[0].accuracy, "%d", i);
        cr_expect_float_eq(r[i].chance, r[0].chance, 1e-12, "%d", i);
    }
}

/* With the queue alone as negatives the other keys do not matter (MoCo). */
Test(losses, queue_only)
{
    ak_tensor *q = leaf(AK_SHAPE(3, 4), 1), *k = leaf(AK_SHAPE(3, 4), 2);
    ak_tensor *queue = leaf(AK_SHAPE(5, 4), 3);
    ak_loss_report r;
    ak_tensor *loss = ak_loss_infonce(q, k, (ak_infonce_options){
        .queue = queue, .no_batch_negatives = true, .report = &r });
    cr_expect_float_eq(r.chance, log(6), 1e-12);
    double mean = 0;
    for (int i = 0; i < 3; i++)
        mean += ak_item(ak_loss_infonce(ak_rows(q, i, 1), ak_rows(k, i, 1),
                                        (ak_infonce_options){ .queue = queue })) / 3;
    cr_expect_float_eq(r.loss, mean, 1e-5);
    ak_backward(loss);
    cr_expect_null(queue->grad, "the queue is a constant");
}

Test(losses, supcon_cases)
{
    ak_tensor *z = leaf(AK_SHAPE(1, 4, 3), 1);
    ak_index *different = ak_index_from(ctx, AK_SHAPE(4), (const int32_t[]){ 1, 2, 3, 4 });
    ak_loss_report r;
    ak_tensor *loss = ak_loss_supcon(z, different, (ak_supcon_options){ .report = &r });
    cr_expect_eq(ak_item(loss), 0, "no anchor has a partner");
    cr_expect_eq(r.lonely, 4);
    cr_expect_eq(r.accuracy, 0);
    ak_backward(loss);
    for (int i = 0; i < 12; i++)
        cr_expect_eq(z->grad[i], 0);
    /* base temperature multiplies */
    ak_index *labels = ak_index_from(ctx, AK_SHAPE(4), (const int32_t[]){ 1, 1, 2, 2 });
    const double plain = ak_item(ak_loss_supcon(z, labels, (ak_supcon_options){ .tau = 0.1 }));
    const ak_supcon_options half = { .tau = 0.1, .base_tau = 0.05 };
    const double based = ak_item(ak_loss_supcon(z, labels, half));
    cr_expect_float_eq(based, 2 * plain, 1e-5);
    /* a 0/1 matrix of partners is labels */
    ak_tensor *pairs = ak_zeros(ctx, AK_SHAPE(4, 4));
    for (int i = 0; i < 16; i++)
        pairs->data[i] = i / 8 == i % 4 / 2 ? 1 : 0;
    cr_expect_float_eq(ak_item(ak_loss_supcon(z, NULL, (ak_supcon_options){ .positives = pairs })),
                       plain, 1e-5);
}

Test(losses, label_smoothing_lifts_the_minimum)
{
    ak_tensor *a = leaf(AK_SHAPE(5, 8), 1);
    const double hard = ak_item(ak_loss_ntxent(a, a, (ak_ntxent_options){ .tau = 0.05 }));
    const ak_ntxent_options o = { .tau = 0.05, .label_smoothing = 0.1 };
    const double soft = ak_item(ak_loss_ntxent(a, a, o));
    cr_expect_gt(soft, hard + 0.5);
}

/* ---- temperature ----------------------------------------------------------------------------- */

Test(losses, temperature)
{
    ak_tensor *s = ak_temperature(ctx, "scale", 0);
    cr_expect_float_eq((double)s->data[0], 2.65926, 1e-5);
    cr_expect(s->flags & AK_PARAM_NO_DECAY);
    cr_expect_float_eq(ak_temperature_clamp(s, 0, 0), 1 / 0.07, 1e-4);
    ak_fill(s, 9);
    cr_expect_float_eq(ak_temperature_clamp(s, 0, 0), 100, 1e-3);
    cr_expect_float_eq((double)s->data[0], log(100), 1e-6);
    ak_fill(s, -1);
    cr_expect_float_eq(ak_temperature_clamp(s, 0, 0), 1, 1e-6);
    cr_expect_float_eq(ak_temperature_clamp(s, 2, 50), 2, 1e-6);
    /* the clamp is not in the loss: beyond it the gradient is alive */
    ak_fill(s, 5);
    ak_backward(ak_loss_clip(leaf(AK_SHAPE(4, 3), 1), leaf(AK_SHAPE(4, 3), 2), s,
                             (ak_infonce_options){ 0 }));
    cr_expect_neq(s->grad[0], 0);
    cr_expect(isnan(ak_temperature_clamp(s, 5, 2)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_expect(ak_is_poison(ak_temperature(ctx, "bad", -1)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
}

/* ---- misuse ---------------------------------------------------------------------------------- */

static void expect_refused(const ak_tensor *t, ak_status status, const char *part)
{
    cr_expect(ak_is_poison(t));
    cr_expect_not_null(strstr(ak_error_message(ctx), part), "\"%s\" should say \"%s\"",
                       ak_error_message(ctx), part);
    const ak_status got = ak_step_end(ctx);
    cr_expect_eq(got, status, "%s instead of %s", ak_status_name(got), ak_status_name(status));
}

Test(losses, bad_temperatures)
{
    const double bad[] = { -0.1, (double)NAN, (double)INFINITY };
    for (int i = 0; i < 3; i++) {
        expect_refused(ak_loss_ntxent(leaf(AK_SHAPE(3, 2), 1), leaf(AK_SHAPE(3, 2), 2),
                                      (ak_ntxent_options){ .tau = bad[i] }),
                       AK_ERR_VALUE, "temperature");
        expect_refused(ak_loss_clip(leaf(AK_SHAPE(3, 2), 1), leaf(AK_SHAPE(3, 2), 2), NULL,
                                    (ak_infonce_options){ .tau = bad[i] }),
                       AK_ERR_VALUE, "temperature");
        expect_refused(ak_loss_supcon(leaf(AK_SHAPE(3, 2), 1), NULL,
                                      (ak_supcon_options){ .tau = bad[i] }),
                       AK_ERR_VALUE, "temperature");
    }
}

Test(losses, batch_of_one)
{
    char said[200] = "";
    expect_refused(ak_loss_ntxent(leaf(AK_SHAPE(1, 2), 1), leaf(AK_SHAPE(1, 2), 2),
                                  (ak_ntxent_options){ 0 }), AK_ERR_VALUE, "at least 2 samples");
    ak_on_log(ctx, be_silent, said);
    ak_tensor *x = leaf(AK_SHAPE(1, 3), 1), *y = leaf(AK_SHAPE(1, 3), 2);
    ak_tensor *loss = ak_loss_clip(x, y, NULL, (ak_infonce_options){ 0 });
    cr_expect_float_eq(ak_item(loss), 0, 1e-5);
    ak_backward(loss);
    for (int i = 0; i < 3; i++)
        cr_expect_float_eq((double)x->grad[i], 0, 1e-5);
    cr_expect_not_null(strstr(said, "no negatives"));
}

Test(losses, shapes_that_do_not_fit)
{
    ak_tensor *a = leaf(AK_SHAPE(3, 2), 1), *b = leaf(AK_SHAPE(4, 2), 2);
    expect_refused(ak_loss_ntxent(a, b, (ak_ntxent_options){ 0 }), AK_ERR_SHAPE, "[3,2] and [4,2]");
    a = leaf(AK_SHAPE(3, 2), 1), b = leaf(AK_SHAPE(3, 4), 2);
    expect_refused(ak_loss_clip(a, b, NULL, (ak_infonce_options){ 0 }), AK_ERR_SHAPE,
                   "[3,2] and [3,4]");
    a = leaf(AK_SHAPE(3), 1);
    expect_refused(ak_loss_ntxent(a, a, (ak_ntxent_options){ 0 }), AK_ERR_SHAPE, "[N, D]");
    a = leaf(AK_SHAPE(3, 2), 1);
    expect_refused(ak_loss_ntxent_views(a, (ak_ntxent_options){ 0 }), AK_ERR_SHAPE, "[V, N, D]");
    a = leaf(AK_SHAPE(3, 2), 1);
    expect_refused(ak_loss_infonce(a, a, (ak_infonce_options){ .queue = leaf(AK_SHAPE(5, 3), 2) }),
                   AK_ERR_SHAPE, "queue [5,3]");
    a = leaf(AK_SHAPE(3, 2), 1);
    const ak_infonce_options wide = { .targets = leaf(AK_SHAPE(3, 4), 2) };
    expect_refused(ak_loss_infonce(a, a, wide), AK_ERR_SHAPE,
                   "target matrix is [3,4], expected [3,3]");
    a = leaf(AK_SHAPE(3, 2), 1);
    ak_index *two = ak_index_from(ctx, AK_SHAPE(2), (const int32_t[]){ 0, 1 });
    expect_refused(ak_loss_supcon(a, two, (ak_supcon_options){ 0 }), AK_ERR_SHAPE, "labels [2]");
    a = leaf(AK_SHAPE(3, 2), 1);
    expect_refused(ak_loss_supcon(a, NULL, (ak_supcon_options){ 0 }), AK_ERR_SHAPE, "one view");
    a = leaf(AK_SHAPE(0, 2), 1);
    expect_refused(ak_loss_infonce(a, a, (ak_infonce_options){ 0 }), AK_ERR_SHAPE, "empty");
    a = leaf(AK_SHAPE(3, 2), 1);
    ak_tensor *list[1] = { a };
    expect_refused(ak_loss_ntxent_list(list, 1, (ak_ntxent_options){ 0 }), AK_ERR_SHAPE, "1 views");
}

Test(losses, options_that_do_not_go_together)
{
    ak_tensor *a = leaf(AK_SHAPE(3, 2), 1);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(3), (const int32_t[]){ 0, 1, 2 });
    expect_refused(ak_loss_infonce(a, a, (ak_infonce_options){ .labels = ids,
                                                               .target_columns = ids }),
                   AK_ERR_VALUE, "exclude each other");
    a = leaf(AK_SHAPE(3, 2), 1);
    ids = ak_index_from(ctx, AK_SHAPE(3), (const int32_t[]){ 0, 1, 3 });
    expect_refused(ak_loss_infonce(a, a, (ak_infonce_options){ .target_columns = ids }),
                   AK_ERR_VALUE, "target_columns[2] = 3");
    a = leaf(AK_SHAPE(3, 2), 1);
    expect_refused(ak_loss_clip(a, a, NULL, (ak_infonce_options){ .queue = a }), AK_ERR_VALUE,
                   "queue");
    a = leaf(AK_SHAPE(3, 2), 1);
    expect_refused(ak_loss_ntxent(a, a, (ak_ntxent_options){ .label_smoothing = 1 }), AK_ERR_VALUE,
                   "smoothing");
}

/* The n-th allocation fails, for all n: a recorded error, nothing worse. */
Test(losses, memory_runs_out)
{
    for (uint64_t n = 1; n < 60; n++) {
        ak_ctx *c = ak_open((ak_options){ .seed = 1, .quiet = true });
        ak_on_error(c, NULL, NULL);
        ak_tensor *a = ak_require_grad(ak_randn(c, AK_SHAPE(40, 8)));
        ak_tensor *b = ak_require_grad(ak_randn(c, AK_SHAPE(40, 8)));
        ak_fail_alloc_after(n, true);
        ak_tensor *loss = ak_loss_ntxent(a, b, (ak_ntxent_options){ 0 });
        const ak_status st = ak_backward(loss);
        ak_fail_alloc_after(0, false);
        cr_expect(st == AK_OK || ak_error(c) == AK_ERR_MEMORY, "n %d: %s", (int)n,
                  ak_error_message(c));
        ak_close(c);
    }
}
