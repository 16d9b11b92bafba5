/* SPDX-License-Identifier: Apache-2.0 */
/* Mixtures of the rows of a batch: mixup and CutMix, made of ops, so that gradients pass. */
#include <akin/picture.h>

#include <akin/ops.h>

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <math.h>

#define MOST_ALPHA 1000

/* ---- the share ------------------------------------------------------------------------------- */

/* Draws of one stream, one after the other. */
typedef struct draws { uint64_t seed, stream, next; } draws;

static double next_uniform(draws *d)
{
    return ak_random_uniform(d->seed, d->stream, d->next++);
}

static double next_normal(draws *d)
{
    d->next += d->next & 1;                         /* a pair of uniforms makes two normals */
    const double x = ak_random_normal(d->seed, d->stream, d->next);
    d->next += 2;
    return x;
}

/* The logarithm of a number ~ Gamma(alpha, 1), which may be too small for itself.
 * Marsaglia, Tsang, "A simple method for generating gamma variables", 2000. */
static double log_gamma_draw(draws *d, double alpha)
{
    double boost = 0;
    if (alpha < 1) {
        boost = log1p(-next_uniform(d)) / alpha;    /* log(1 - U) is finite: U < 1 */
        alpha += 1;
    }
    const double a = alpha - 1.0 / 3, c = 1 / sqrt(9 * a);
    for (;;) {
        const double x = next_normal(d), root = 1 + c * x, v = root * root * root;
        const double u = 1 - next_uniform(d);
        if (root > 0 && log(u) < 0.5 * x * x + a - a * v + a * log(v))
            return log(a * v) + boost;
    }
}

/* ~ Beta(alpha, alpha) */
static double beta_draw(draws *d, double alpha)
{
    const double x = log_gamma_draw(d, alpha), y = log_gamma_draw(d, alpha);
    return 1 / (1 + exp(y - x));
}

/* ---- what both have in common ---------------------------------------------------------------- */

static ak_mixed poison(void)
{
    return (ak_mixed){ .x = &ak__poison, .partner = &ak__poison_index, .label = &ak__poison_index,
                       .other = &ak__poison_index, .target = &ak__poison };
}

static ak_status check(const char *who, const ak_tensor *x, const ak_index *labels,
                       const ak_mix_options *o)
{
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    if (x->shape.n < 1 || x->shape.dims[0] < 1 || x->shape.dims[0] > INT32_MAX)
        return ak_fail(x->ctx, AK_ERR_SHAPE, "%s: x must be [N, ..] with a row at least; given: %s",
                       who, ak_shape_text(x->shape, a));
    if (labels && (labels->shape.n != 1 || labels->size != x->shape.dims[0]))
        return ak_fail(x->ctx, AK_ERR_SHAPE, "%s: labels must be [N], one a row of x; given: x %s, "
                       "labels %s", who, ak_shape_text(x->shape, a),
                       ak_shape_text(labels->shape, b));
    if (!(o->alpha >= 0 && o->alpha <= MOST_ALPHA) || !(o->share >= 0 && o->share <= 1))
        return ak_fail(x->ctx, AK_ERR_VALUE, "%s: .alpha must be in (0, %d] (0 = 1) and .share in "
                       "(0, 1] (0 = drawn); given: %g, %g", who, MOST_ALPHA, o->alpha, o->share);
    if (o->classes < 0 || o->classes > INT32_MAX || (o->classes && !labels))
        return ak_fail(x->ctx, AK_ERR_VALUE, "%s: .classes is %lld: soft labels need labels, and "
                       "classes from 1 on", who, (long long)o->classes);
    for (int64_t i = 0; o->classes && i < labels->size; i++)
        if (labels->data[i] < 0 || labels->data[i] >= o->classes)
            return ak_fail(x->ctx, AK_ERR_VALUE, "%s: label %d of row %lld is none of %lld classes"
                           "; what has no label can not be part of a soft one", who,
                           (int)labels->data[i], (long long)i, (long long)o->classes);
    return AK_OK;
}

/* A random permutation of the rows, and the labels that go with it. False: recorded. */
static bool find_partners(ak_tensor *x, ak_index *labels, draws *d, ak_mixed *m)
{
    const int64_t N = x->shape.dims[0];
    int64_t      *order = ak__step_alloc(x->ctx, (size_t)N * sizeof *order);
    if (!order)
        return false;
    ak_random_permutation(d->seed, d->stream, N, order);
    m->partner = ak_index_from64(x->ctx, AK_SHAPE(N), order);
    ak__step_give(x->ctx, order, (size_t)N * sizeof *order);
    m->label = labels;
    m->other = labels ? ak__index_new(x->ctx, AK_SHAPE(N)) : NULL;
    if (ak_error(x->ctx))
        return false;
    for (int64_t i = 0; labels && i < N; i++)
        ak__index_data(m->other)[i] = labels->data[m->partner->data[i]];
    return true;
}

static ak_tensor *mixture(ak_tensor *a, ak_tensor *b, double share)
{
    return ak_add(ak_scale(a, share), ak_scale(b, 1 - share));
}

/* What is random, and soft labels later. False: recorded, *m is poison. */
static bool begin(const char *who, ak_tensor *x, ak_index *labels, const ak_mix_options *o,
                  draws *d, ak_mixed *m)
{
    *m = poison();
    if (ak_error(x->ctx) || check(who, x, labels, o))
        return false;
    /* One stream for the order of rows, one for what else is drawn. */
    *d = (draws){ ak_seed(x->ctx), ak_next_stream(x->ctx), 0 };
    ak_mixed found = { 0 };
    if (!find_partners(x, labels, d, &found))
        return false;
    d->stream = ak_next_stream(x->ctx);
    found.share = o->share > 0 ? o->share : beta_draw(d, o->alpha > 0 ? o->alpha : 1);
    *m = found;
    return true;
}

static ak_mixed finish(ak_mixed m, int64_t classes)
{
    if (classes)
        m.target = mixture(ak_one_hot(m.label, classes), ak_one_hot(m.other, classes), m.share);
    return ak_is_poison(m.x) || (classes && ak_is_poison(m.target)) ? poison() : m;
}

/* ---- mixup, cutmix --------------------------------------------------------------------------- */

ak_mixed ak_mixup(ak_tensor *x, ak_index *labels, ak_mix_options options)
{
    draws    d;
    ak_mixed m;
    if (!AK__TENSOR(NULL, x) || (labels && !AK__INDEX(x->ctx, labels)) ||
        !begin("mixup", x, labels, &options, &d, &m))
        return poison();
    m.x = m.share == 1 ? x : mixture(x, ak_gather_rows(x, m.partner), m.share);
    return finish(m, options.classes);
}

/* The part of n pixels that a box covers whose side is n sqrt(1 - share), from its middle. */
static void cut_side(draws *d, int64_t n, double share, int64_t *from, int64_t *to)
{
    const int64_t half = (int64_t)((double)n * sqrt(1 - share)) / 2;
    const int64_t middle = (int64_t)(next_uniform(d) * (double)n);
    *from = middle - half > 0 ? middle - half : 0;
    *to = middle + half < n ? middle + half : n;
}

/* 1 inside of the box, 0 outside, for ak_where; poison: recorded. */
static ak_tensor *box_mask(const ak_tensor *x, int64_t top, int64_t bottom, int64_t left,
                           int64_t right)
{
    const int64_t H = x->shape.dims[1], W = x->shape.dims[2], C = x->shape.dims[3];
    ak_tensor    *mask = ak_zeros(x->ctx, x->shape);
    for (int64_t i = 0; !ak_is_poison(mask) && i < x->shape.dims[0]; i++)
        for (int64_t y = top; y < bottom; y++)
            for (int64_t k = left * C; k < right * C; k++)
                mask->data[(i * H + y) * W * C + k] = 1;
    return mask;
}

ak_mixed ak_cutmix(ak_tensor *x, ak_index *labels, ak_mix_options options)
{
    draws    d;
    ak_mixed m;
    char     text[AK_SHAPE_TEXT];
    if (!AK__TENSOR(NULL, x) || (labels && !AK__INDEX(x->ctx, labels)))
        return poison();
    if (!ak_error(x->ctx) && (x->shape.n != 4 || x->size < 1))
        ak_fail(x->ctx, AK_ERR_SHAPE, "cutmix: x must be [N, H, W, C]; given: %s",
                ak_shape_text(x->shape, text));
    if (!begin("cutmix", x, labels, &options, &d, &m))
        return poison();
    const int64_t H = x->shape.dims[1], W = x->shape.dims[2];
    int64_t       top, bottom, left, right;
    cut_side(&d, W, m.share, &left, &right);
    cut_side(&d, H, m.share, &top, &bottom);
    m.share = 1 - (double)((bottom - top) * (right - left)) / (double)(H * W);
    m.x = m.share == 1 ? x : ak_where(box_mask(x, top, bottom, left, right),
                                      ak_gather_rows(x, m.partner), x);
    return finish(m, options.classes);
}
