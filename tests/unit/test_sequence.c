/* SPDX-License-Identifier: Apache-2.0 */
/* Recurrent layers against their formula, convolutions over time with padding, bags of ids against
 * the ops they replace. What holds for all modules is in tests/modules. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/sequence.h>

#ifdef _OPENMP
#include <omp.h>
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-12 : 2e-6)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static void expect_error(ak_ctx *ctx, ak_status status, const char *part)
{
    cr_expect_eq(ak_error(ctx), status, "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), part), "\"%s\" is not in: %s", part,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

static void expect_near(double got, double want, const char *what, int64_t i)
{
    cr_assert_float_eq(got, want, 20 * TOL * fmax(1, fabs(want)), "%s [%lld]: %.9g, not %.9g", what,
                       (long long)i, got, want);
}

static ak_tensor *normal(ak_ctx *ctx, ak_shape shape, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(2, stream, (uint64_t)i);
    return t;
}

/* Numbers that must not be read. */
static void spoil_padding(ak_tensor *x, const int32_t *lengths)
{
    const int64_t T = x->shape.dims[1], C = x->shape.dims[2];
    for (int64_t n = 0; n < x->shape.dims[0]; n++)
        for (int64_t i = lengths[n] * C; i < T * C; i++)
            x->data[n * T * C + i] = (ak_real)NAN;
}

static void expect_zero_padding(const ak_real *x, ak_shape shape, const int32_t *lengths,
                                const char *what)
{
    const int64_t T = shape.dims[1], C = shape.dims[2];
    for (int64_t n = 0; n < shape.dims[0]; n++)
        for (int64_t i = lengths[n] * C; i < T * C; i++)
            cr_assert_eq(x[n * T * C + i], 0, "%s of %lld in padding", what, (long long)n);
}

/* ---- GRU ------------------------------------------------------------------------------------- */

static ak_gru_weights weights_of(ak_ctx *ctx, int64_t I, int64_t H, uint64_t stream)
{
    ak_gru_weights w = { normal(ctx, AK_SHAPE(3 * H, I), stream),
                         normal(ctx, AK_SHAPE(3 * H, H), stream + 1),
                         normal(ctx, AK_SHAPE(3 * H), stream + 2),
                         normal(ctx, AK_SHAPE(3 * H), stream + 3) };
    ak_tensor *const all[] = { w.w_ih, w.w_hh, w.b_ih, w.b_hh };
    for (int i = 0; i < 4; i++) {
        for (int64_t j = 0; j < all[i]->size; j++)
            all[i]->data[j] *= (ak_real)0.3;
        ak_require_grad(all[i]);
    }
    return w;
}

static double row_product(const ak_tensor *w, const ak_tensor *b, int64_t row, const double *x)
{
    const int64_t K = w->shape.dims[1];
    double sum = b ? (double)b->data[row] : 0;
    for (int64_t k = 0; k < K; k++)
        sum += (double)w->data[row * K + k] * x[k];
    return sum;
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

/* One step of the formula in akin/ops.h. */
static void step_by_hand(const ak_gru_weights *w, const double *x, double *h)
{
    const int64_t H = w->w_hh->shape.dims[1];
    double next[64];
    for (int64_t i = 0; i < H; i++) {
        const double r = sigmoid(row_product(w->w_ih, w->b_ih, i, x) +
                                 row_product(w->w_hh, w->b_hh, i, h));
        const double z = sigmoid(row_product(w->w_ih, w->b_ih, H + i, x) +
                                 row_product(w->w_hh, w->b_hh, H + i, h));
        const double m = tanh(row_product(w->w_ih, w->b_ih, 2 * H + i, x) +
                              r * row_product(w->w_hh, w->b_hh, 2 * H + i, h));
        next[i] = (1 - z) * m + z * h[i];
    }
    memcpy(h, next, (size_t)H * sizeof *h);
}

typedef struct gru_case {
    ak_tensor *x, *initial;
    ak_gru_weights w;
    ak_gru_options o;
    int32_t lengths[80];
} gru_case;

static gru_case gru_make(ak_ctx *ctx, int64_t N, int64_t T, int64_t I, int64_t H, bool both)
{
    gru_case c = { .x = normal(ctx, AK_SHAPE(N, T, I), 1), .w = weights_of(ctx, I, H, 10) };
    for (int64_t n = 0; n < N; n++)
        c.lengths[n] = (int32_t)(n == 0 ? T : n == 1 ? 0 : (7 * n) % (T + 1));
    spoil_padding(c.x, c.lengths);
    ak_require_grad(c.x);
    c.o.lengths = ak_index_from(ctx, AK_SHAPE(N), c.lengths);
    c.o.initial = ak_require_grad(normal(ctx, AK_SHAPE(N, both ? 2 : 1, H), 2));
    if (both)
        c.o.reverse = weights_of(ctx, I, H, 20);
    return c;
}

static void check_direction(const gru_case *c, const ak_tensor *y, int direction)
{
    const int64_t *d = c->x->shape.dims, T = d[1], I = d[2], H = c->w.w_hh->shape.dims[1];
    const int64_t directions = ak_last_dim(y) / H;
    const ak_gru_weights *w = direction ? &c->o.reverse : &c->w;
    for (int64_t n = 0; n < d[0]; n++) {
        double h[64], x[64];
        for (int64_t i = 0; i < H; i++)
            h[i] = (double)c->o.initial->data[(n * directions + direction) * H + i];
        for (int64_t s = 0; s < c->lengths[n]; s++) {
            const int64_t t = direction ? c->lengths[n] - 1 - s : s;
            for (int64_t i = 0; i < I; i++)
                x[i] = (double)c->x->data[(n * T + t) * I + i];
            step_by_hand(w, x, h);
            const int64_t at = ((n * T + t) * directions + direction) * H;
            for (int64_t i = 0; i < H; i++)
                expect_near((double)y->data[at + i], h[i], "state", at + i);
        }
    }
}

/* Several pieces of samples, lengths from nothing to everything, and padding that is no number. */
Test(gru, formula_lengths_and_directions)
{
    for (int both = 0; both < 2; both++) {
        ak_ctx *ctx = quiet();
        gru_case c = gru_make(ctx, 75, 6, 5, 11, both);
        ak_tensor *y = ak_gru(c.x, c.w, c.o);
        cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
        for (int d = 0; d <= both; d++)
            check_direction(&c, y, d);
        expect_zero_padding(y->data, y->shape, c.lengths, "y");
        ak_tensor *dy = normal(ctx, y->shape, 3);
        spoil_padding(dy, c.lengths);
        cr_assert_eq(ak_backward_from(y, dy->data), AK_OK, "%s", ak_error_message(ctx));
        expect_zero_padding(c.x->grad, c.x->shape, c.lengths, "gradient");
        for (int64_t i = 0; i < c.x->size; i++)
            cr_assert(isfinite(c.x->grad[i]), "gradient of x[%lld]", (long long)i);
        for (int64_t i = 0; i < c.w.w_hh->size; i++)
            cr_assert(isfinite(c.w.w_hh->grad[i]), "gradient of w_hh[%lld]", (long long)i);
        const int64_t D = c.o.initial->size / 75;
        for (int64_t i = 0; i < D; i++)         /* sample 1 has no step: nothing depends on it */
            cr_expect_eq(c.o.initial->grad[D + i], 0);
        ak_close(ctx);
    }
}

/* Without padding and in several pieces: x is read where it stands. */
Test(gru, a_batch_without_padding_is_that_with_full_lengths)
{
    ak_ctx *ctx = quiet();
    gru_case c = gru_make(ctx, 70, 4, 3, 6, true);
    for (int64_t i = 0; i < c.x->size; i++)
        c.x->data[i] = (ak_real)ak_random_normal(2, 9, (uint64_t)i);
    int32_t full[70];
    for (int n = 0; n < 70; n++)
        full[n] = 4;
    c.o.lengths = NULL;
    ak_tensor *y = ak_gru(c.x, c.w, c.o);
    c.o.lengths = ak_index_from(ctx, AK_SHAPE(70), full);
    ak_tensor *same = ak_gru(c.x, c.w, c.o);
    cr_expect_eq(memcmp(y->data, same->data, (size_t)y->size * sizeof *y->data), 0);
    for (int n = 0; n < 70; n++)
        c.lengths[n] = 4;
    check_direction(&c, y, 0);
    check_direction(&c, y, 1);
    ak_close(ctx);
}

/* A step that is recorded keeps the gates; one that is not, does not: the same states. */
Test(gru, with_and_without_a_tape)
{
    ak_ctx *ctx = quiet();
    gru_case c = gru_make(ctx, 9, 5, 3, 20, true);
    ak_tensor *y = ak_gru(c.x, c.w, c.o);
    ak_no_grad_begin(ctx);
    ak_tensor *same = ak_gru(c.x, c.w, c.o);
    ak_no_grad_end(ctx);
    cr_expect_eq(memcmp(y->data, same->data, (size_t)y->size * sizeof *y->data), 0);
    ak_close(ctx);
}

static void gru_bits(int threads, uint32_t *bits)
{
#ifdef _OPENMP
    omp_set_num_threads(threads);
#endif
    ak_ctx *ctx = quiet();
    gru_case c = gru_make(ctx, 75, 6, 5, 33, true);
    ak_tensor *y = ak_gru(c.x, c.w, c.o);
    cr_assert_eq(ak_backward_from(y, normal(ctx, y->shape, 3)->data), AK_OK);
    const ak_real *const arrays[] = { y->data, c.x->grad, c.o.initial->grad, c.w.w_ih->grad,
                                      c.w.w_hh->grad, c.w.b_hh->grad, c.o.reverse.w_hh->grad,
                                      c.o.reverse.b_ih->grad };
    const int64_t sizes[] = { y->size, c.x->size, c.o.initial->size, c.w.w_ih->size,
                              c.w.w_hh->size, 99, c.w.w_hh->size, 99 };
    *bits = 2166136261u;
    for (size_t a = 0; a < sizeof sizes / sizeof *sizes; a++)
        for (size_t b = 0; b < (size_t)sizes[a] * sizeof(ak_real); b++)
            *bits = (*bits ^ ((const unsigned char *)arrays[a])[b]) * 16777619u;
    ak_close(ctx);
}

/* Pieces of samples depend on the number of threads, results do not. */
Test(gru, same_bits_for_any_number_of_threads)
{
    uint32_t one, many;
    gru_bits(1, &one);
    for (int threads = 2; threads <= 5; threads++) {
        gru_bits(threads, &many);
        cr_expect_eq(many, one, "%d threads", threads);
    }
}

Test(gru, nothing_to_do)
{
    ak_ctx *ctx = quiet();
    const ak_shape shapes[] = { AK_SHAPE(0, 3, 2), AK_SHAPE(2, 0, 2), AK_SHAPE(2, 3, 2) };
    for (int i = 0; i < 3; i++) {
        ak_gru_weights w = weights_of(ctx, 2, 4, 10);
        ak_gru_options o = { .reverse = weights_of(ctx, 2, 4, 20) };
        if (i == 2)
            o.lengths = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 0, 0 });
        ak_tensor *y = ak_gru(ak_require_grad(ak_zeros(ctx, shapes[i])), w, o);
        cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
        cr_assert_eq(ak_backward(ak_sum(y)), AK_OK, "%s", ak_error_message(ctx));
        for (int64_t j = 0; j < w.w_hh->size; j++)
            cr_expect_eq(w.w_hh->grad[j], 0);
        ak_step_end(ctx);
    }
    ak_close(ctx);
}

Test(gru, last_state)
{
    ak_ctx *ctx = quiet();
    ak_tensor *y = ak_require_grad(normal(ctx, AK_SHAPE(3, 4, 6), 1));
    ak_index *lengths = ak_index_from(ctx, AK_SHAPE(3), (int32_t[]){ 4, 1, 2 });
    const ak_tensor *one = ak_last_state(y, lengths, 1);
    ak_tensor *two = ak_last_state(y, lengths, 2);
    const ak_tensor *all = ak_last_state(y, NULL, 2);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 6; i++) {
            const int last = lengths->data[n] - 1;
            cr_expect_eq(one->data[n * 6 + i], y->data[(n * 4 + last) * 6 + i]);
            cr_expect_eq(two->data[n * 6 + i], y->data[(n * 4 + (i < 3 ? last : 0)) * 6 + i]);
            cr_expect_eq(all->data[n * 6 + i], y->data[(n * 4 + (i < 3 ? 3 : 0)) * 6 + i]);
        }
    cr_assert_eq(ak_backward(ak_sum(two)), AK_OK);
    cr_expect_eq(y->grad[(1 * 4 + 0) * 6 + 2], 1, "both directions of a series of one step");
    cr_expect_eq(y->grad[(0 * 4 + 3) * 6 + 3], 0, "the second direction ends at the first step");
    ak_step_end(ctx);
    y = normal(ctx, AK_SHAPE(3, 4, 6), 1);
    ak_last_state(y, ak_index_from(ctx, AK_SHAPE(3), (int32_t[]){ 4, 0, 2 }), 1);
    expect_error(ctx, AK_ERR_VALUE, "length 0 of sample 1 is not in [1, 4]");
    ak_last_state(normal(ctx, AK_SHAPE(3, 4, 6), 1), NULL, 3);
    expect_error(ctx, AK_ERR_VALUE, "directions = 3");
    ak_last_state(normal(ctx, AK_SHAPE(3, 4, 5), 1), NULL, 2);
    expect_error(ctx, AK_ERR_SHAPE, "[3,4,5]");
    ak_last_state(normal(ctx, AK_SHAPE(3, 4, 6), 1),
                  ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 1 }), 1);
    expect_error(ctx, AK_ERR_SHAPE, "lengths must be [3], got [2]");
    ak_close(ctx);
}

Test(gru, layers_are_one_on_the_other)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_gru(ctx, "gru", 3, 4, (ak_gru_layer_options){ .layers = 2, .both = true,
                                                                       .dropout = 0.5 });
    ak_index *lengths = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 5, 2 });
    ak_tensor *x = normal(ctx, AK_SHAPE(2, 5, 3), 1), *start = normal(ctx, AK_SHAPE(2, 4, 4), 2);
    ak_gru_weights w[4];
    for (int i = 0; i < 4; i++) {
        static const char *const names[] = { "weight_ih", "weight_hh", "bias_ih", "bias_hh" };
        ak_tensor **const to[] = { &w[i].w_ih, &w[i].w_hh, &w[i].b_ih, &w[i].b_hh };
        for (int k = 0; k < 4; k++) {
            char name[64];
            snprintf(name, sizeof name, "%s_l%d%s", names[k], i / 2, i % 2 ? "_reverse" : "");
            *to[k] = ak_module_find(m, name);
            cr_assert_not_null(*to[k], "%s", name);
            for (int64_t j = 0; j < (*to[k])->size; j++)
                cr_assert(fabs((double)(*to[k])->data[j]) <= 0.5, "1 / sqrt(hidden)");
        }
    }
    ak_train_mode(ctx, false);
    const ak_inputs in = { .x = x, .lengths = lengths, .memory = start };
    const ak_tensor *y = ak_forward_with(m, in);
    ak_tensor *below = ak_gru(x, w[0], (ak_gru_options){
        .lengths = lengths, .reverse = w[1], .initial = ak_slice(start, 1, 0, 2) });
    const ak_tensor *by_hand = ak_gru(below, w[2], (ak_gru_options){
        .lengths = lengths, .reverse = w[3], .initial = ak_slice(start, 1, 2, 2) });
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(memcmp(y->data, by_hand->data, (size_t)y->size * sizeof *y->data), 0);
    ak_train_mode(ctx, true);
    const ak_tensor *dropped = ak_forward_with(m, in);
    cr_expect_neq(memcmp(y->data, dropped->data, (size_t)y->size * sizeof *y->data), 0);
    ak_forward_with(m, (ak_inputs){ .x = x, .memory = normal(ctx, AK_SHAPE(2, 2, 4), 2) });
    expect_error(ctx, AK_ERR_SHAPE, ".memory [2, 4, 4]");
    ak_forward(m, normal(ctx, AK_SHAPE(2, 5, 4), 1));
    expect_error(ctx, AK_ERR_SHAPE, "gru (GRU 3 -> 8 (both directions), 2 layers)");
    cr_expect_null(ak_nn_gru(ctx, "bad", 3, 4, (ak_gru_layer_options){ .dropout = 1 }));
    expect_error(ctx, AK_ERR_VALUE, ".dropout 1");
    ak_close(ctx);
}

/* ---- convolution ----------------------------------------------------------------------------- */

Test(convnet1d, lengths_are_those_of_the_convolution)
{
    ak_ctx *ctx = quiet();
    for (int kernel = 1; kernel <= 5; kernel += 2)
        for (int stride = 1; stride <= 3; stride++)
            for (int dilation = 1; dilation <= 2; dilation++)
                for (int T = 1; T <= 9; T++) {
                    const ak_conv_options o = { .stride = stride, .padding = kernel / 2,
                                                .dilation = dilation };
                    const ak_index *got = ak_conv_lengths(
                        ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ T, 0 }), kernel, o);
                    if (T + 2 * o.padding < dilation * (kernel - 1) + 1)
                        cr_expect_eq(got->data[0], 0);
                    else
                        cr_expect_eq(got->data[0], ak_conv1d(
                            ak_zeros(ctx, AK_SHAPE(1, T, 1)), ak_zeros(ctx, AK_SHAPE(1, kernel, 1)),
                            NULL, o)->shape.dims[1], "%d %d %d %d", kernel, stride, dilation, T);
                    cr_expect_eq(got->data[1], 0);
                    cr_assert_eq(ak_step_end(ctx), AK_OK);
                }
    ak_conv_lengths(ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 3, -1 }), 3,
                    (ak_conv_options){ 0 });
    expect_error(ctx, AK_ERR_VALUE, "length -1 of number 1");
    ak_conv_lengths(ak_index_from(ctx, AK_SHAPE(1), (int32_t[]){ 3 }), 0, (ak_conv_options){ 0 });
    expect_error(ctx, AK_ERR_VALUE, "kernel 0");
    ak_close(ctx);
}

static ak_module *small_net(ak_ctx *ctx, const char *name, ak_convnet1d_norm norm)
{
    return ak_convnet1d(ctx, name, (ak_convnet1d_options){
        .channels = { 2, 6, 4 }, .kernel = 3, .stride = { 2, 1 }, .norm = norm,
        .groups = norm == AK_CONVNET1D_GROUP_NORM ? 2 : 0, .activation = AK_GELU });
}

/* Every series gives what it gives alone, whatever stands in its padding; in train mode too, where
 * no statistics are shared. */
Test(convnet1d, padding_changes_nothing)
{
    for (int norm = 0; norm <= AK_CONVNET1D_NO_NORM; norm++)
        for (int train = 0; train <= (norm != AK_CONVNET1D_BATCH_NORM); train++) {
            ak_ctx *ctx = quiet();
            ak_module *m = small_net(ctx, "net", (ak_convnet1d_norm)norm);
            ak_train_mode(ctx, train);
            const int32_t lengths[] = { 7, 1, 0, 4, 6 };
            ak_index *index = ak_index_from(ctx, AK_SHAPE(5), lengths);
            ak_tensor *x = normal(ctx, AK_SHAPE(5, 7, 2), 1);
            spoil_padding(x, lengths);
            ak_require_grad(x);
            ak_tensor *y = ak_forward_with(m, (ak_inputs){ .x = x, .lengths = index });
            cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
            const ak_index *left = ak_convnet1d_lengths(m, index);
            expect_zero_padding(y->data, y->shape, left->data, "y");
            for (int64_t n = 0; n < 5; n++) {
                cr_expect_eq(left->data[n], (lengths[n] + 1) / 2);
                if (lengths[n] == 0)
                    continue;
                const ak_tensor *alone = ak_forward(m, ak_slice(ak_rows(x, n, 1), 1, 0,
                                                                lengths[n]));
                cr_assert_eq(alone->shape.dims[1], left->data[n]);
                for (int64_t i = 0; i < alone->size; i++)
                    expect_near((double)y->data[n * y->shape.dims[1] * 4 + i],
                                (double)alone->data[i], "alone", i);
            }
            cr_assert_eq(ak_backward(ak_sum(ak_square(y))), AK_OK, "%s", ak_error_message(ctx));
            expect_zero_padding(x->grad, x->shape, lengths, "gradient");
            ak_tensor *t;
            for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++)
                for (int64_t j = 0; t->grad && j < t->size; j++)
                    cr_assert(isfinite(t->grad[j]), "%s", t->name);
            ak_close(ctx);
        }
}

/* With a kernel of 1, the valid positions of a padded batch are a batch of vectors. */
Test(convnet1d, batch_norm_counts_valid_positions)
{
    ak_ctx *ctx = quiet();
    const ak_convnet1d_options o = { .channels = { 3, 4 }, .kernel = 1 };
    ak_module *padded = ak_convnet1d(ctx, "padded", o), *plain = ak_convnet1d(ctx, "plain", o);
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(padded, i)) != NULL; i++)
        ak_copy(ak_module_param(plain, i), t);
    const int32_t lengths[] = { 5, 2, 0 };
    ak_tensor *x = normal(ctx, AK_SHAPE(3, 5, 3), 1);
    spoil_padding(x, lengths);
    ak_tensor *valid = ak_concat_n(0, (ak_tensor *[]){
        ak_flatten_rows(ak_rows(x, 0, 1)),
        ak_flatten_rows(ak_slice(ak_rows(x, 1, 1), 1, 0, 2)) }, 2);
    const ak_tensor *y = ak_forward_with(padded, (ak_inputs){
        .x = x, .lengths = ak_index_from(ctx, AK_SHAPE(3), lengths) });
    const ak_tensor *want = ak_forward(plain, ak_reshape(valid, AK_SHAPE(1, 7, 3)));
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < 7 * 4; i++)
        expect_near((double)y->data[i], (double)want->data[i], "y", i);
    for (int64_t i = 0; (t = ak_module_param(padded, i)) != NULL; i++)
        for (int64_t j = 0; j < t->size; j++)
            expect_near((double)t->data[j], (double)ak_module_param(plain, i)->data[j], t->name, j);
    ak_close(ctx);
}

Test(convnet1d, means_of_what_is_left)
{
    ak_ctx *ctx = quiet();
    ak_module *m = small_net(ctx, "net", AK_CONVNET1D_GROUP_NORM);
    const int32_t lengths[] = { 7, 3 };
    ak_tensor *x = normal(ctx, AK_SHAPE(2, 7, 2), 1);
    ak_index *index = ak_index_from(ctx, AK_SHAPE(2), lengths);
    const ak_tensor *y = ak_convnet1d_pooled(m, x, index);
    for (int64_t n = 0; n < 2; n++) {
        const ak_tensor *alone = ak_global_avg_pool(
            ak_forward(m, ak_slice(ak_rows(x, n, 1), 1, 0, lengths[n])));
        for (int64_t i = 0; i < 4; i++)
            expect_near((double)y->data[n * 4 + i], (double)alone->data[i], "mean", i);
    }
    const ak_tensor *all = ak_convnet1d_pooled(m, x, NULL);
    const ak_tensor *direct = ak_global_avg_pool(ak_forward(m, x));
    cr_expect_eq(memcmp(all->data, direct->data, 8 * sizeof *all->data), 0);
    ak_convnet1d_pooled(m, x, ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 7, 0 }));
    expect_error(ctx, AK_ERR_VALUE, "of series 1, of length 0, no position is left");
    ak_close(ctx);
}

Test(convnet1d, what_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_module *m = small_net(ctx, "net", AK_CONVNET1D_BATCH_NORM);
    ak_tensor *x = normal(ctx, AK_SHAPE(2, 7, 2), 1);
    ak_forward_with(m, (ak_inputs){
        .x = x, .lengths = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 7, 8 }) });
    expect_error(ctx, AK_ERR_VALUE, "8 of series 1 is not in [0, 7]");
    ak_forward_with(m, (ak_inputs){
        .x = normal(ctx, AK_SHAPE(2, 7, 2), 1),
        .lengths = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 1, 0 }) });
    cr_expect_neq(ak_error(ctx), AK_OK, "statistics of one position");
    ak_step_end(ctx);
    ak_forward(m, normal(ctx, AK_SHAPE(2, 7, 3), 1));
    expect_error(ctx, AK_ERR_SHAPE, "[N, T, 2]");
    const ak_convnet1d_options bad[] = {
        { .channels = { 2 } }, { .channels = { 2, 3, -1 } },
        { .channels = { 2, 3 }, .stride = { 1, 2 } }, { .channels = { 2, 3 }, .groups = 1 },
        { .channels = { 2, 3 }, .norm = 3 }, { .channels = { 2, 3 }, .kernel = -1 },
        { .channels = { 2, 3 }, .norm = AK_CONVNET1D_GROUP_NORM, .groups = 2 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char name[16];
        snprintf(name, sizeof name, "bad%d", (int)i);
        cr_expect_null(ak_convnet1d(ctx, name, bad[i]), "%d", (int)i);
        expect_error(ctx, AK_ERR_VALUE, name);
    }
    ak_convnet1d_lengths(ak_nn_global_avg_pool(ctx, "other"),
                         ak_index_from(ctx, AK_SHAPE(1), (int32_t[]){ 1 }));
    expect_error(ctx, AK_ERR_VALUE, "other (global average pool) is no ak_convnet1d");
    ak_close(ctx);
}

/* ---- bags of ids ----------------------------------------------------------------------------- */

enum { N = 3, T = 4, V = 6, D = 5, PADDING = 2 };
static const int32_t bag_ids[N * T] = { 1, 2, 1, 5, 3, 0, 99, -7, 2, 2, 4, 1 };
static const int32_t bag_lengths[N] = { 4, 2, 2 };     /* the last one holds padding alone */

/* The definition, with the gradient of the table for a dy of ones. */
static void bag_by_hand(const ak_tensor *w, ak_bag_mode mode, const ak_tensor *weights, double *y,
                        double *dw)
{
    memset(y, 0, N * D * sizeof *y);
    memset(dw, 0, V * D * sizeof *dw);
    for (int n = 0; n < N; n++)
        for (int d = 0; d < D; d++) {
            double sum = 0, total = 0, largest = -(double)INFINITY;
            int winner = -1;
            for (int t = 0; t < bag_lengths[n]; t++) {
                const int id = bag_ids[n * T + t];
                const double v = id == PADDING ? 0 : (double)w->data[id * D + d];
                const double a = weights ? (double)weights->data[n * T + t] : 1;
                if (id == PADDING)
                    continue;
                sum += a * v;
                total += a;
                winner = v > largest ? id : winner;
                largest = fmax(largest, v);
            }
            const double share = mode == AK_BAG_MEAN ? (total != 0 ? 1 / total : 0) : 1;
            y[n * D + d] = mode == AK_BAG_MAX ? (winner < 0 ? 0 : largest) : sum * share;
            for (int t = 0; mode != AK_BAG_MAX && t < bag_lengths[n]; t++)
                if (bag_ids[n * T + t] != PADDING)
                    dw[bag_ids[n * T + t] * D + d] +=
                        share * (weights ? (double)weights->data[n * T + t] : 1);
            if (mode == AK_BAG_MAX && winner >= 0)
                dw[winner * D + d] += 1;
        }
}

Test(embedding_bag, definition)
{
    for (int i = 0; i < 5; i++) {
        ak_ctx *ctx = quiet();
        const ak_bag_mode mode = i < 3 ? (ak_bag_mode)i : (ak_bag_mode)(i - 3);
        ak_tensor *w = ak_require_grad(normal(ctx, AK_SHAPE(V, D), 1));
        ak_tensor *weights = i < 3 ? NULL : ak_require_grad(ak_exp(normal(ctx, AK_SHAPE(N, T), 2)));
        ak_tensor *y = ak_embedding_bag(w, ak_index_from(ctx, AK_SHAPE(N, T), bag_ids),
            (ak_embedding_bag_options){ .mode = mode, .weights = weights, .padding = PADDING,
                .has_padding = true, .lengths = ak_index_from(ctx, AK_SHAPE(N), bag_lengths) });
        cr_assert_not(ak_is_poison(y), "%s", ak_error_message(ctx));
        double want[N * D], dw[V * D];
        bag_by_hand(w, mode, weights, want, dw);
        for (int j = 0; j < N * D; j++)
            expect_near((double)y->data[j], want[j], "bag", j);
        for (int j = 2 * D; j < N * D; j++)
            cr_expect_eq(y->data[j], 0, "a bag of padding alone");
        cr_assert_eq(ak_backward(ak_sum(y)), AK_OK, "%s", ak_error_message(ctx));
        for (int j = 0; j < V * D; j++)
            expect_near((double)w->grad[j], dw[j], "gradient of the table", j);
        ak_close(ctx);
    }
}

/* Large enough for several threads: the gradient has one order of its sums. */
Test(embedding_bag, same_bits_for_any_number_of_threads)
{
#ifdef _OPENMP
    enum { BAGS = 300, LONG = 20, ROWS = 50, WIDE = 33 };
    static int32_t ids[BAGS * LONG];
    for (int i = 0; i < BAGS * LONG; i++)
        ids[i] = (int32_t)((i * 7919L + i / 13) % ROWS);
    for (int mode = 0; mode <= AK_BAG_MAX; mode++) {
        static ak_real one[ROWS * WIDE];
        for (int threads = 1; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            ak_ctx *ctx = quiet();
            ak_tensor *w = ak_require_grad(normal(ctx, AK_SHAPE(ROWS, WIDE), 1));
            const ak_embedding_bag_options o = { .mode = (ak_bag_mode)mode };
            ak_tensor *y = ak_embedding_bag(w, ak_index_from(ctx, AK_SHAPE(BAGS, LONG), ids), o);
            cr_assert_eq(ak_backward(ak_sum(ak_square(y))), AK_OK);
            if (threads == 1)
                memcpy(one, w->grad, sizeof one);
            cr_expect_eq(memcmp(one, w->grad, sizeof one), 0, "mode %d, %d threads", mode, threads);
            ak_close(ctx);
        }
    }
#endif
}

Test(embedding_bag, layer)
{
    ak_ctx *ctx = quiet();
    ak_module *m = ak_nn_embedding_bag(ctx, "bag", V, D, (ak_embedding_bag_layer_options){
        .padding = PADDING, .has_padding = true });
    ak_tensor *w = ak_module_find(m, "weight");
    for (int d = 0; d < D; d++)
        cr_expect_eq(w->data[PADDING * D + d], 0);
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(N, T), bag_ids);
    ak_tensor *y = ak_forward_with(m, (ak_inputs){
        .ids = ids, .lengths = ak_index_from(ctx, AK_SHAPE(N), bag_lengths) });
    cr_assert_eq(ak_backward(ak_sum(y)), AK_OK, "%s", ak_error_message(ctx));
    for (int d = 0; d < D; d++)
        cr_expect_eq(w->grad[PADDING * D + d], 0, "padding does not learn");
    ak_forward_with(m, (ak_inputs){ .ids = ids });
    expect_error(ctx, AK_ERR_VALUE, "ids[1,2] = 99 is not in [0, 6)");
    cr_expect_null(ak_nn_embedding_bag(ctx, "bad", V, D, (ak_embedding_bag_layer_options){
        .padding = 1 }));
    expect_error(ctx, AK_ERR_VALUE, ".has_padding");
    ak_close(ctx);
}
