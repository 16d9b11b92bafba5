/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that draw random numbers. The options hold seed and stream, so that backward draws the same
 * mask again instead of keeping it, and so that a replay is exact. */
#include <akin/autograd.h>
#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#define MOST_NOISE 1e30         /* sigma times a drawn number stays finite */

typedef struct random_attr { double amount; uint64_t seed, stream, first; } random_attr;

static random_attr next_attr(const ak_tensor *x, double amount)
{
    return (random_attr){ .amount = amount, .seed = ak_seed(x->ctx),
                          .stream = ak_next_stream(x->ctx), .first = ak_random_first(x) };
}

typedef struct random_args {
    const random_attr *o;
    const ak_real *from;
    ak_real *to, scale;
    uint64_t keep;              /* an element stays if its 32 random bits are below this */
    bool     add;
} random_args;

/* ---- dropout -------------------------------------------------------------------------------- */

static ak_status dropout_shape(ak_call *k)
{
    const random_attr *o = k->attr;
    if (!(o->amount >= 0 && o->amount < 1))
        return ak_call_fail(k, AK_ERR_VALUE, "p = %g is not in [0, 1)", o->amount);
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

/* to = or += from scale where kept, else 0. A block of four words serves four elements: the first
 * and the last block of a span may be taken in part. */
static void dropout_span(void *user, int64_t begin, int64_t end)
{
    const random_args *u = user;
    for (int64_t i = begin; i < end; ) {
        uint32_t w[4];
        const uint64_t number = u->o->first + (uint64_t)i;
        ak__philox(u->o->seed, u->o->stream, number >> 2, w);
        for (int j = (int)(number & 3); j < 4 && i < end; j++, i++) {
            const ak_real v = w[j] < u->keep ? u->from[i] * u->scale : 0;
            u->to[i] = u->add ? u->to[i] + v : v;
        }
    }
}

static void dropout_walk(const ak_call *k, random_args u)
{
    u.o = k->attr;
    u.scale = (ak_real)(1 / (1 - u.o->amount));
    u.keep = (uint64_t)((1 - u.o->amount) * 4294967296.0);
    ak__for_spans(k->out->size, dropout_span, &u);
}

static void dropout_forward(ak_call *k)
{
    dropout_walk(k, (random_args){ .to = k->out->data, .from = k->in[0]->data });
}

static void dropout_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    if (dx)
        dropout_walk(k, (random_args){ .to = dx, .from = k->out->grad, .add = !fresh });
}

#define RANDOM(a, s) .attr = &(const random_attr){ a, 7, s, 0 }
static const ak_op dropout_op = {
    .name = "dropout", .formula = "y = x / (1 - p) with probability 1 - p, else 0", .n_in = 1,
    .attr_size = sizeof(random_attr), .flags = AK_OP_RANDOM,
    .shape = dropout_shape, .forward = dropout_forward, .backward = dropout_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, RANDOM(0, 1) },
        { .in = {{ 1, { 7 } }}, RANDOM(.5, 2) },
        { .in = {{ 2, { 3, 5 } }}, RANDOM(.25, 3) },
        { .in = {{ 3, { 2, 1, 9 } }}, RANDOM(.9, 4) },
        { .in = {{ 4, { 2, 3, 1, 4 } }}, RANDOM(.1, 5) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = {{ 2, { 2, 3 } }}, RANDOM(1, 1) },
        { .in = {{ 2, { 2, 3 } }}, RANDOM(-.1, 1) },
        AK_END },
};

ak_tensor *ak_dropout(ak_tensor *x, double p)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    const bool idle = p == 0 || (p > 0 && p < 1 && !ak_is_training(x->ctx));
    if (idle)
        return x;
    const random_attr o = next_attr(x, p);
    return ak_apply(&dropout_op, &x, 1, &o);
}

/* ---- Gaussian noise ------------------------------------------------------------------------- */

static ak_status gaussian_noise_shape(ak_call *k)
{
    const random_attr *o = k->attr;
    if (!(o->amount >= 0 && o->amount <= MOST_NOISE))
        return ak_call_fail(k, AK_ERR_VALUE, "sigma = %g is not in [0, %g]", o->amount,
                            MOST_NOISE);
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void gaussian_noise_span(void *user, int64_t begin, int64_t end)
{
    const random_args *u = user;
    for (int64_t i = begin; i < end; i++)
        u->to[i] = u->from[i] + u->scale * (ak_real)ak_random_normal(
            u->o->seed, u->o->stream, u->o->first + (uint64_t)i);
}

static void gaussian_noise_forward(ak_call *k)
{
    random_args u = { .o = k->attr, .to = k->out->data, .from = k->in[0]->data };
    u.scale = (ak_real)u.o->amount;
    ak__for_spans(k->out->size, gaussian_noise_span, &u);
}

static void gaussian_noise_backward(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    if (dx)
        ak__k.add(dx, dx, k->out->grad, k->out->size);
}

static const ak_op gaussian_noise_op = {
    .name = "gaussian_noise", .formula = "y = x + sigma n, n standard normal", .n_in = 1,
    .attr_size = sizeof(random_attr), .flags = AK_OP_RANDOM,
    .shape = gaussian_noise_shape, .forward = gaussian_noise_forward,
    .backward = gaussian_noise_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = {{ 1, { 1 } }}, RANDOM(0, 1) },
        { .in = {{ 1, { 7 } }}, RANDOM(.5, 2) },
        { .in = {{ 2, { 3, 5 } }}, RANDOM(1, 3) },
        { .in = {{ 3, { 2, 1, 9 } }}, RANDOM(2, 4) },
        { .in = {{ 4, { 2, 3, 1, 4 } }}, RANDOM(.1, 5) },
        AK_END },
    .misuse = (const ak_sample[]){ { .in = {{ 2, { 2, 3 } }}, RANDOM(-1, 1) }, AK_END },
};

ak_tensor *ak_gaussian_noise(ak_tensor *x, double sigma)
{
    if (!AK__TENSOR(NULL, x))
        return &ak__poison;
    const bool idle = sigma == 0 || (sigma > 0 && sigma <= MOST_NOISE && !ak_is_training(x->ctx));
    if (idle)
        return x;
    const random_attr o = next_attr(x, sigma);
    return ak_apply(&gaussian_noise_op, &x, 1, &o);
}

/* ---- the family ----------------------------------------------------------------------------- */

const ak_op *const ak__ops_random[] = { &dropout_op, &gaussian_noise_op, NULL };
