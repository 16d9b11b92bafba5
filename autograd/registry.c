/* SPDX-License-Identifier: Apache-2.0 */
/* The list of op families: iteration, lookup by name, running an op's samples. */
#include "autograd/families.h"
#include "autograd/tape.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

static const ak_op *const *const families[] = {
    ak__ops_unary, ak__ops_binary, ak__ops_reduce, ak__ops_order, ak__ops_linear, ak__ops_layout,
    ak__ops_index, ak__ops_segment, ak__ops_select, ak__ops_norm, ak__ops_softmax, ak__ops_conv,
    ak__ops_pool, ak__ops_attention, ak__ops_positions, ak__ops_joined, ak__ops_gru, ak__ops_bag,
    ak__ops_mel, ak__ops_random,
};
enum { FAMILIES = sizeof families / sizeof *families };

const ak_op *ak_op_at(int i)
{
    if (i < 0)
        return NULL;
    for (int f = 0; f < FAMILIES; f++)
        for (int j = 0; families[f][j]; j++)
            if (i-- == 0)
                return families[f][j];
    return NULL;
}

const ak_op *ak_op_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    for (int i = 0; ak_op_at(i); i++)
        if (strcmp(ak_op_at(i)->name, name) == 0)
            return ak_op_at(i);
    return NULL;
}

/* Evenly spread numbers in random order: any two are at least (hi - lo) / n apart. */
static void fill_distinct(ak_tensor *t, const ak_sample *s, double lo, double hi, uint64_t seed,
                          uint64_t stream)
{
    int64_t *order = ak__step_alloc(t->ctx, (size_t)t->size * sizeof *order);
    if (!order)
        return;
    ak_random_permutation(seed, stream, t->size, order);
    for (int64_t i = 0; i < t->size; i++) {
        /* Operands of one sample get different fractions, so that they are apart too. */
        double part = ((double)order[i] + 0.3 + 0.37 * (double)(stream % 2)) / (double)t->size;
        double x = lo + (hi - lo) * part;
        if ((s->flags & AK_SAMPLE_AWAY_FROM_ZERO) && fabs(x) < 0.1)
            x = x < 0 ? x - 0.1 : x + 0.1;
        t->data[i] = (ak_real)x;
    }
}

void ak_sample_draw(ak_ctx *ctx, const ak_sample *s, int n_in, uint64_t seed, ak_tensor **in)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, s) || !AK__GIVEN(ctx, in))
        return;
    double lo = s->lo, hi = s->hi;
    if (!(lo < hi)) {
        lo = -1;
        hi = 1;
    }
    int n = s->n_in ? s->n_in : n_in;
    for (int i = 0; i < n; i++) {
        if (s->in[i].n == AK_ABSENT) {
            in[i] = NULL;
            continue;
        }
        in[i] = ak_state(ctx, s->in[i]);
        if (ak_is_poison(in[i]))
            continue;
        in[i]->needs_grad = !(i == 1 && (s->flags & AK_SAMPLE_CONSTANT_1));
        if (s->flags & AK_SAMPLE_DISTINCT) {
            fill_distinct(in[i], s, lo, hi, seed, (uint64_t)i);
            continue;
        }
        for (int64_t j = 0; j < in[i]->size; j++) {
            double x = lo + (hi - lo) * ak_random_uniform(seed, (uint64_t)i, (uint64_t)j);
            if ((s->flags & AK_SAMPLE_AWAY_FROM_ZERO) && fabs(x) < 0.1)
                x = x < 0 ? x - 0.1 : x + 0.1;
            in[i]->data[j] = (ak_real)x;
        }
    }
}

ak_tensor *ak_sample_run(const ak_op *op, const ak_sample *s, ak_tensor **in)
{
    if (!AK__GIVEN(NULL, op) || !AK__GIVEN(NULL, s) || !AK__GIVEN(NULL, in))
        return &ak__poison;
    int n = s->n_in ? s->n_in : op->n_in;
    ak_index *index[AK_MAX_INDEX] = { 0 };
    for (int i = 0; i < n && (s->call || op->n_index); i++)
        if (in[i] && !ak__tensor_known(NULL, in[i], op->name, "an operand"))
            return &ak__poison;         /* the context of an operand is looked at */
    if (s->call)
        return s->call(in, n, s);
    for (int i = 0; i < op->n_index; i++)
        if (s->index[i].values)
            index[i] = ak_index_from(in[0]->ctx, s->index[i].shape, s->index[i].values);
    return ak_apply_all(op, (ak_operands){ in, n, index, op->n_index }, s->attr).out;
}
