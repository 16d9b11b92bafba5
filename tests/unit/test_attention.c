/* SPDX-License-Identifier: Apache-2.0 */
/* Attention against what it stands for, a product, a softmax and a product; both layouts, blocks
 * that do not come out even, masks, extreme scores, threads, memory. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#include "base/parallel.h"
#include "tensor/attention_tiles.h"

/* Of the largest number that is compared, or of 1. */
#define TOLERANCE (sizeof(ak_real) == 8 ? 1e-12 : 1e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* ---- the composition ------------------------------------------------------------------------- */

static ak_tensor *split_heads(ak_tensor *x, int heads)
{
    if (heads == 0)
        return x;
    const int64_t *d = x->shape.dims;
    ak_tensor *parts = ak_reshape(x, AK_SHAPE(d[0], d[1], heads, d[2] / heads));
    return ak_permute(parts, (int[]){ 0, 2, 1, 3 });
}

static ak_tensor *join_heads(ak_tensor *x, int heads)
{
    if (heads == 0)
        return x;
    const int64_t *d = x->shape.dims;
    ak_tensor *parts = ak_permute(x, (int[]){ 0, 2, 1, 3 });
    return ak_reshape(parts, AK_SHAPE(d[0], d[2], d[1] * d[3]));
}

/* [N, 1, 1, Tk]: 0 where there is a key, else -inf */
static ak_tensor *key_bias(ak_ctx *ctx, int64_t N, int64_t Tk, const ak_attention_options *o)
{
    ak_tensor *b = ak_zeros(ctx, AK_SHAPE(N, 1, 1, Tk));
    for (int64_t i = 0; i < N * Tk; i++)
        if ((o->key_lengths && i % Tk >= o->key_lengths->data[i / Tk]) ||
            (o->key_mask && !o->key_mask->data[i]))
            b->data[i] = -(ak_real)INFINITY;
    return b;
}

static ak_tensor *composed(ak_tensor *q, ak_tensor *k, ak_tensor *v, ak_attention_options o)
{
    q = split_heads(q, o.heads);
    k = split_heads(k, o.heads);
    v = split_heads(v, o.heads);
    const int64_t D = q->shape.dims[3];
    ak_tensor *s = ak_scale(ak_matmul_nt(q, k), o.scale > 0 ? o.scale : 1 / sqrt((double)D));
    if (o.bias)
        s = ak_add(s, o.bias);
    if (o.key_lengths || o.key_mask)
        s = ak_add(s, key_bias(q->ctx, q->shape.dims[0], k->shape.dims[2], &o));
    if (o.causal)
        s = ak_triangle(s, false, 0, -(double)INFINITY);
    return join_heads(ak_matmul(ak_softmax(s), v), o.heads);
}

/* ---- comparison ------------------------------------------------------------------------------ */

typedef struct problem {
    int64_t N, H, Tq, Tk, D, Dv;
    bool    flat, causal, lengths, mask;
    int     bias_axes;
    double  spread;             /* of the scores; 0 = 1 */
} problem;

static const char *text_of(const problem *p)
{
    static char text[160];
    snprintf(text, sizeof text, "N%d H%d Tq%d Tk%d D%d Dv%d%s%s%s%s bias %d", (int)p->N, (int)p->H,
             (int)p->Tq, (int)p->Tk, (int)p->D, (int)p->Dv, p->flat ? " flat" : "",
             p->causal ? " causal" : "", p->lengths ? " lengths" : "", p->mask ? " mask" : "",
             p->bias_axes);
    return text;
}

static ak_tensor *operand(ak_ctx *ctx, const problem *p, int64_t T, int64_t D, double spread)
{
    const ak_shape shape = p->flat ? AK_SHAPE(p->N, T, p->H * D) : AK_SHAPE(p->N, p->H, T, D);
    ak_tensor *x = ak_state(ctx, shape);
    ak_tensor *drawn = ak_randn(ctx, shape);
    for (int64_t i = 0; i < x->size; i++)
        x->data[i] = drawn->data[i] * (ak_real)spread;
    return ak_require_grad(x);
}

/* Index arrays and a bias of the running step: lengths from 0 up, a mask with holes. */
static ak_attention_options options_of(ak_ctx *ctx, const problem *p)
{
    ak_attention_options o = { .heads = p->flat ? (int)p->H : 0, .causal = p->causal };
    static int32_t numbers[8192];
    cr_assert(p->N * p->Tk <= 8192);
    if (p->lengths) {
        for (int64_t n = 0; n < p->N; n++)
            numbers[n] = (int32_t)(p->Tk * n / p->N);
        o.key_lengths = ak_index_from(ctx, AK_SHAPE(p->N), numbers);
    }
    if (p->mask) {
        for (int64_t i = 0; i < p->N * p->Tk; i++)
            numbers[i] = i * i % 7 != 2 && i % p->Tk < p->Tk - 2 * (i / p->Tk);
        o.key_mask = ak_index_from(ctx, AK_SHAPE(p->N, p->Tk), numbers);
    }
    const int64_t full[4] = { p->N, p->H, p->Tq, p->Tk };
    ak_shape shape = { .n = p->bias_axes };
    for (int d = 0; d < shape.n; d++)
        shape.dims[d] = full[4 - shape.n + d];
    if (p->bias_axes > 0)
        o.bias = ak_randn(ctx, shape);
    return o;
}

static double largest_difference(const ak_real *a, const ak_real *b, int64_t n)
{
    double worst = 0, top = 1;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        if (!(d <= worst))
            worst = d;
        top = fmax(top, fabs((double)b[i]));
    }
    return worst / top;
}

/* The same problem by ak_attention and by the composition; outputs and gradients agree. */
static void expect_equal(const problem *p)
{
    ak_ctx *ctx = quiet();
    const double spread = p->spread > 0 ? sqrt(p->spread) : 1;
    ak_tensor *in[3] = { operand(ctx, p, p->Tq, p->D, spread), operand(ctx, p, p->Tk, p->D, spread),
                         operand(ctx, p, p->Tk, p->Dv, 1) };
    ak_attention_options o = options_of(ctx, p);
    ak_tensor *want = composed(in[0], in[1], in[2], o);
    ak_tensor *dy = ak_randn(ctx, want->shape);
    cr_assert_eq(ak_backward_from(want, dy->data), AK_OK, "%s", ak_error_message(ctx));
    ak_tensor *grads[3];
    for (int i = 0; i < 3; i++) {
        grads[i] = ak_from(ctx, in[i]->shape, in[i]->grad);
        memset(in[i]->grad, 0, (size_t)in[i]->size * sizeof(ak_real));
    }
    ak_tensor *y = ak_attention(in[0], in[1], in[2], o);
    cr_assert(ak_shape_equal(y->shape, want->shape), "%s: %s", text_of(p), ak_error_message(ctx));
    const double of_y = largest_difference(y->data, want->data, y->size);
    cr_expect(of_y <= TOLERANCE, "%s: y differs by %g", text_of(p), of_y);
    cr_assert_eq(ak_backward_from(y, dy->data), AK_OK);
    for (int i = 0; i < 3; i++) {
        const double d = largest_difference(in[i]->grad, grads[i]->data, in[i]->size);
        cr_expect(d <= TOLERANCE, "%s: d%c differs by %g", text_of(p), "qkv"[i], d);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

static const problem problems[] = {
    /* one tile, and blocks that do not come out even */
    { 2, 3, 64, 64, 64, 64, .flat = true },
    { 1, 2, 197, 197, 64, 64, .flat = false },
    { 1, 2, 197, 197, 64, 64, .flat = true, .causal = true },
    { 1, 2, 300, 300, 33, 17, .causal = true },
    { 1, 1, 97, 513, 16, 40, .flat = false },
    /* many heads: pieces as large as they get */
    { 8, 4, 530, 31, 8, 8, .causal = true },
    { 8, 5, 33, 270, 9, 8, .flat = false },
    /* few heads: keys in pieces, with parts of dq to be added */
    { 1, 1, 50, 1200, 24, 24, .flat = true },
    { 1, 1, 800, 800, 16, 16, .causal = true },
    { 1, 2, 700, 40, 16, 16, .causal = true },
    { 1, 1, 40, 700, 16, 16, .causal = true },
    /* masks and biases */
    { 3, 2, 20, 290, 16, 16, .lengths = true },
    { 4, 1, 290, 290, 16, 16, .lengths = true, .causal = true, .flat = true },
    { 4, 2, 30, 290, 16, 16, .mask = true },
    { 4, 2, 290, 290, 16, 16, .mask = true, .causal = true, .flat = true },
    { 3, 2, 110, 60, 16, 16, .lengths = true, .mask = true, .bias_axes = 2 },
    { 2, 3, 20, 300, 16, 16, .bias_axes = 3, .flat = true },
    { 2, 2, 110, 110, 8, 8, .bias_axes = 4, .causal = true },
};
enum { PROBLEMS = sizeof problems / sizeof *problems };

/* With operands as they are, and split, where the kernels can. */
static void both_ways(void (*check)(void))
{
    check();
    ak__attention_split_from = 1;
    check();
}

static void check_equals_the_composition(void)
{
    for (int i = 0; i < PROBLEMS; i++)
        expect_equal(&problems[i]);
}

Test(attention, equals_the_composition)
{
    both_ways(check_equals_the_composition);
}

/* ---- by hand --------------------------------------------------------------------------------- */

Test(attention, by_hand)
{
    ak_ctx *ctx = quiet();
    /* One query; scores 0 and ln 3, so weights 1/4 and 3/4. */
    ak_tensor *q = ak_from_double(ctx, AK_SHAPE(1, 1, 1, 1), (double[]){ 1 });
    ak_tensor *k = ak_from_double(ctx, AK_SHAPE(1, 1, 2, 1), (double[]){ 0, log(3) });
    ak_tensor *v = ak_from_double(ctx, AK_SHAPE(1, 1, 2, 2), (double[]){ 4, 8, 0, 4 });
    ak_require_grad(q);
    ak_require_grad(v);
    ak_tensor *y = ak_attention(q, k, v, (ak_attention_options){ 0 });
    cr_expect_float_eq((double)y->data[0], 1, 1e-6);
    cr_expect_float_eq((double)y->data[1], 5, 1e-6);
    ak_backward(ak_sum(y));
    /* dv = weights; dP = (12, 4), delta = 6: dS = (1/4 6, 3/4 (-2)), dq = dS k */
    const double dv[] = { 0.25, 0.25, 0.75, 0.75 };
    for (int i = 0; i < 4; i++)
        cr_expect_float_eq((double)v->grad[i], dv[i], 1e-6);
    cr_expect_float_eq((double)q->grad[0], -1.5 * log(3), 1e-5);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* The first query sees the first key only. */
static void check_causal_sees_no_later_key(void)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_randn(ctx, AK_SHAPE(1, 2, 300, 8));
    ak_tensor *k = ak_require_grad(ak_randn(ctx, AK_SHAPE(1, 2, 300, 8)));
    ak_tensor *v = ak_require_grad(ak_randn(ctx, AK_SHAPE(1, 2, 300, 8)));
    const ak_attention_options o = { .causal = true };
    ak_tensor *y = ak_attention(q, k, v, o);
    for (int i = 0; i < 8; i++)
        cr_expect_eq(y->data[i], v->data[i]);
    /* what comes later does not matter */
    ak_real before[200 * 8];
    memcpy(before, y->data, sizeof before);
    for (int i = 200 * 8; i < 300 * 8; i++)
        k->data[i] = v->data[i] = (ak_real)1e6;
    y = ak_attention(q, k, v, o);
    for (int i = 0; i < 200 * 8; i++)
        cr_assert_eq(y->data[i], before[i], "element %d", i);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, causal_sees_no_later_key)
{
    both_ways(check_causal_sees_no_later_key);
}

/* ---- masks ----------------------------------------------------------------------------------- */

static void check_a_query_without_keys_is_zero(void)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_require_grad(ak_randn(ctx, AK_SHAPE(3, 2, 4, 5)));
    ak_tensor *k = ak_require_grad(ak_randn(ctx, AK_SHAPE(3, 2, 6, 5)));
    ak_tensor *v = ak_require_grad(ak_randn(ctx, AK_SHAPE(3, 2, 6, 5)));
    ak_tensor *none = ak_full(ctx, AK_SHAPE(4, 6), -(double)INFINITY);
    const int32_t zeros[18] = { 0 };
    const ak_attention_options all[] = {
        { .key_lengths = ak_index_from(ctx, AK_SHAPE(3), zeros) },
        { .key_mask = ak_index_from(ctx, AK_SHAPE(3, 6), zeros) },
        { .bias = none },
    };
    for (int j = 0; j < 3; j++) {
        ak_tensor *y = ak_attention(q, k, v, all[j]);
        for (int64_t i = 0; i < y->size; i++)
            cr_assert_eq((double)y->data[i], 0.0, "options %d", j);
        ak_backward(ak_sum(y));
        const ak_tensor *in[] = { q, k, v };
        for (int t = 0; t < 3; t++)
            for (int64_t i = 0; i < in[t]->size; i++)
                cr_assert_eq((double)in[t]->grad[i], 0.0, "options %d", j);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, a_query_without_keys_is_zero)
{
    both_ways(check_a_query_without_keys_is_zero);
}

static void check_keys_beyond_the_length_are_not_read(void)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 7, 12)));
    ak_tensor *k = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 9, 12)));
    ak_tensor *v = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 9, 12)));
    for (int64_t i = 5 * 12; i < 9 * 12; i++)
        k->data[i] = v->data[i] = (ak_real)NAN;
    const int32_t lengths[] = { 5, 9 };
    ak_index *n = ak_index_from(ctx, AK_SHAPE(2), lengths);
    ak_tensor *y = ak_attention(q, k, v, (ak_attention_options){ .heads = 3, .key_lengths = n });
    ak_backward(ak_sum(ak_square(y)));
    for (int64_t i = 0; i < y->size; i++)
        cr_assert(isfinite((double)y->data[i]) && isfinite((double)q->grad[i]));
    for (int64_t i = 0; i < k->size; i++) {
        const bool padding = i >= 5 * 12 && i < 9 * 12;
        cr_assert(isfinite((double)k->grad[i]) && isfinite((double)v->grad[i]));
        cr_assert(!padding || (k->grad[i] == 0 && v->grad[i] == 0));
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, keys_beyond_the_length_are_not_read)
{
    both_ways(check_keys_beyond_the_length_are_not_read);
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* Scores of +-1e4: nothing overflows, and one key takes all. */
static void check_extreme_scores(void)
{
    const int T = 270;
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_require_grad(ak_full(ctx, AK_SHAPE(1, 1, T, 1), 1));
    ak_tensor *k = ak_require_grad(ak_full(ctx, AK_SHAPE(1, 1, T, 1), -1e4));
    ak_tensor *v = ak_require_grad(ak_randn(ctx, AK_SHAPE(1, 1, T, 3)));
    k->data[T - 2] = (ak_real)1e4;
    ak_tensor *y = ak_attention(q, k, v, (ak_attention_options){ 0 });
    for (int i = 0; i < 3 * T; i++)
        cr_assert_eq(y->data[i], v->data[(T - 2) * 3 + i % 3]);
    ak_backward(ak_sum(ak_square(y)));
    for (int i = 0; i < T; i++)
        cr_assert(isfinite((double)q->grad[i]) && isfinite((double)k->grad[i]));
    for (int i = 0; i < 3 * T; i++)
        cr_assert(isfinite((double)v->grad[i]));
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, extreme_scores)
{
    both_ways(check_extreme_scores);
}

static void check_wide_scores_equal_the_composition(void)
{
    expect_equal(&(problem){ 2, 2, 150, 330, 16, 16, .spread = 30 });
}

Test(attention, wide_scores_equal_the_composition)
{
    both_ways(check_wide_scores_equal_the_composition);
}

static void check_nan_is_kept(void)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_randn(ctx, AK_SHAPE(1, 1, 5, 4)), *k = ak_randn(ctx, AK_SHAPE(1, 1, 5, 4));
    q->data[2 * 4] = (ak_real)NAN;
    ak_tensor *y = ak_attention(q, k, k, (ak_attention_options){ 0 });
    for (int i = 0; i < 20; i++)
        cr_expect_eq(isnan((double)y->data[i]), i / 4 == 2);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, nan_is_kept)
{
    both_ways(check_nan_is_kept);
}

/* ---- operands -------------------------------------------------------------------------------- */

/* One tensor as queries, keys and values: three gradients meet in one memory, fresh and not. */
static void check_one_tensor_three_times(void)
{
    for (int behind = 0; behind < 2; behind++) {
        ak_ctx *ctx = quiet();
        ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 70, 12)));
        const ak_attention_options o = { .heads = 2, .causal = true };
        ak_tensor *dy = ak_randn(ctx, x->shape);
        ak_tensor *in = behind ? ak_scale(x, 1) : x;
        ak_backward_from(composed(in, in, in, o), dy->data);
        ak_tensor *want = ak_from(ctx, x->shape, x->grad);
        memset(x->grad, 0, (size_t)x->size * sizeof(ak_real));
        in = behind ? ak_scale(x, 1) : x;
        ak_backward_from(ak_attention(in, in, in, o), dy->data);
        const double d = largest_difference(x->grad, want->data, x->size);
        cr_expect(d <= TOLERANCE, "differs by %g", d);
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
}

Test(attention, one_tensor_three_times)
{
    both_ways(check_one_tensor_three_times);
}

/* Each alone needs a gradient. */
static void check_gradients_of_some_operands(void)
{
    for (int only = 0; only < 3; only++) {
        ak_ctx *ctx = quiet();
        ak_tensor *in[3], *dy = ak_randn(ctx, AK_SHAPE(2, 2, 21, 6));
        for (int i = 0; i < 3; i++)
            in[i] = ak_randn(ctx, AK_SHAPE(2, 2, 21, 6));
        ak_require_grad(in[only]);
        ak_backward_from(composed(in[0], in[1], in[2], (ak_attention_options){ 0 }), dy->data);
        ak_tensor *want = ak_from(ctx, dy->shape, in[only]->grad);
        memset(in[only]->grad, 0, (size_t)dy->size * sizeof(ak_real));
        ak_backward_from(ak_attention(in[0], in[1], in[2], (ak_attention_options){ 0 }), dy->data);
        for (int i = 0; i < 3; i++)
            cr_expect(i == only || !in[i]->grad);
        const double d = largest_difference(in[only]->grad, want->data, dy->size);
        cr_expect(d <= TOLERANCE, "d%c differs by %g", "qkv"[only], d);
        cr_expect_eq(ak_close(ctx), AK_OK);
    }
}

Test(attention, gradients_of_some_operands)
{
    both_ways(check_gradients_of_some_operands);
}

Test(attention, nothing_to_do)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = ak_require_grad(ak_randn(ctx, AK_SHAPE(2, 1, 3, 4)));
    ak_tensor *empty = ak_require_grad(ak_zeros(ctx, AK_SHAPE(2, 1, 0, 4)));
    ak_tensor *y = ak_attention(q, empty, empty, (ak_attention_options){ 0 });
    for (int64_t i = 0; i < y->size; i++)
        cr_expect_eq((double)y->data[i], 0.0);
    ak_backward(ak_sum(y));
    for (int64_t i = 0; i < q->size; i++)
        cr_expect_eq((double)q->grad[i], 0.0);
    cr_expect_eq(ak_attention(empty, q, q, (ak_attention_options){ 0 })->size, 0);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

static void expect_refused(ak_ctx *ctx, const ak_tensor *y, const char *words)
{
    cr_expect(ak_is_poison(y));
    cr_expect(strstr(ak_error_message(ctx), words), "no \"%s\" in: %s", words,
              ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(attention, messages_name_what_is_wrong)
{
    ak_ctx *ctx = quiet();
    const ak_attention_options flat = { .heads = 2 }, none = { 0 };
    ak_tensor *x = ak_state(ctx, AK_SHAPE(2, 3, 4)), *w = ak_state(ctx, AK_SHAPE(2, 3, 5));
    ak_tensor *z = ak_state(ctx, AK_SHAPE(2, 4, 4));
    expect_refused(ctx, ak_attention(x, x, x, none), ".heads is not set");
    expect_refused(ctx, ak_attention(x, w, x, flat), "the last axis of k, 5");
    expect_refused(ctx, ak_attention(x, x, z, flat), "3 keys, but 4 values");
    const int32_t lengths[] = { 4, 0 };
    ak_attention_options o = flat;
    o.key_lengths = ak_index_from(ctx, AK_SHAPE(2), lengths);
    expect_refused(ctx, ak_attention(x, x, x, o), "key_lengths[0] = 4");
    o = flat;
    o.bias = ak_state(ctx, AK_SHAPE(3, 4));
    expect_refused(ctx, ak_attention(x, x, x, o), "the bias needs the last 2, 3 or 4 axes");
    o = flat;
    o.past = ak_index_from(ctx, AK_SHAPE(2), lengths);
    expect_refused(ctx, ak_attention(x, x, x, o), ".past says what a causal query sees");
    expect_refused(ctx, ak_attention_qkv(x, flat), "does not divide into 3 times 2 heads");
    expect_refused(ctx, ak_attention_kv(x, x, none), ".heads = 0 must be >= 1");
    ak_close(ctx);
}

/* ---- threads and memory ---------------------------------------------------------------------- */

#ifdef _OPENMP
/* Output and gradients, one after the other. */
static ak_real *all_results(ak_ctx *ctx, const problem *p, int threads, int64_t *size)
{
    omp_set_num_threads(threads);
    ak_tensor *in[3] = { operand(ctx, p, p->Tq, p->D, 1), operand(ctx, p, p->Tk, p->D, 1),
                         operand(ctx, p, p->Tk, p->Dv, 1) };
    ak_tensor *y = ak_attention(in[0], in[1], in[2], options_of(ctx, p));
    ak_backward_from(y, ak_randn(ctx, y->shape)->data);
    const ak_tensor *list[] = { y, in[0], in[1], in[2] };
    *size = 0;
    for (int i = 0; i < 4; i++)
        *size += list[i]->size;
    ak_real *all = ak_state(ctx, AK_SHAPE(*size))->data, *to = all;
    for (int i = 0; i < 4; i++) {
        memcpy(to, i ? list[i]->grad : list[i]->data, (size_t)list[i]->size * sizeof *to);
        to += list[i]->size;
    }
    return all;
}

static void check_same_bits_for_any_number_of_threads(void)
{
    for (int i = 0; i < PROBLEMS; i++) {
        const ak_real *one = NULL;
        ak_ctx *open[5];
        for (int threads = 1; threads <= 4; threads++) {
            int64_t size;
            open[threads] = quiet();
            const ak_real *all = all_results(open[threads], &problems[i], threads, &size);
            if (!one)
                one = all;
            cr_expect(!memcmp(one, all, (size_t)size * sizeof *all), "%s with %d threads",
                      text_of(&problems[i]), threads);
        }
        for (int threads = 1; threads <= 4; threads++)
            ak_close(open[threads]);
    }
}

Test(attention, same_bits_for_any_number_of_threads)
{
    both_ways(check_same_bits_for_any_number_of_threads);
}
#endif

/* No more than a few times the operands, where the scores alone would be 32 times as large. */
static void check_memory_grows_with_the_length(void)
{
    ak_ctx *ctx = quiet();
    const int64_t T = 4096, D = 32;
    ak_tensor *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = ak_require_grad(ak_randn(ctx, AK_SHAPE(1, 1, T, D)));
    ak_backward(ak_sum(ak_attention(x[0], x[1], x[2], (ak_attention_options){ .causal = true })));
    cr_expect_eq(ak_step_end(ctx), AK_OK);
    const size_t operands = (size_t)(8 * T * D) * sizeof(ak_real);
    cr_expect_lt(ak_memory_use(ctx).step_peak, 4 * operands);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(attention, memory_grows_with_the_length)
{
    both_ways(check_memory_grows_with_the_length);
}

Test(attention, no_malloc_after_the_first_steps)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = operand(ctx, &(problem){ .N = 2, .H = 3, .flat = true }, 40, 8, 1);
    uint64_t before = 0;
    for (int step = 0; step < 6; step++) {
        if (step == 3)
            before = ak_malloc_count();
        ak_tensor *y = ak_attention(ak_scale(x, 1), ak_scale(x, 2), x,
                                    (ak_attention_options){ .heads = 3 });
        ak_backward(ak_sum(y));
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    cr_expect_eq(ak_malloc_count(), before);
    cr_expect_eq(ak_close(ctx), AK_OK);
}
