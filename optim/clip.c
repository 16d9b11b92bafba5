/* SPDX-License-Identifier: Apache-2.0 */
/* Lengths of gradients, clipping by norm and by value. */
#include "autograd/accumulate.h"
#include "base/frame.h"
#include "base/parallel.h"
#include "base/real.h"
#include "optim/optim_internal.h"

/* Eight sums side by side, so that the compiler may use vector registers without changing the
 * order of additions. */
static double chunk_squares(const ak_real *x, int64_t n)
{
    double sum[8] = { 0 };
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++)
            sum[k] += (double)x[i + k] * (double)x[i + k];
    for (int k = 0; i < n; i++, k++)
        sum[k] += (double)x[i] * (double)x[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7]));
}

double ak__optim_sum_squares(const ak_real *x, int64_t n)
{
    enum { GROUP = 64 };        /* partial sums at a time, on the stack */
    double total = 0;
    for (int64_t start = 0; start < n; start += GROUP * AK__OPTIM_CHUNK) {
        double  part[GROUP];
        int64_t m = n - start < GROUP * AK__OPTIM_CHUNK ? n - start : GROUP * AK__OPTIM_CHUNK;
        AK__PARALLEL_CHUNKS(c, m, AK__OPTIM_CHUNK, begin, end)
            part[c] = chunk_squares(x + start + begin, end - begin);
        for (int64_t c = 0; c < ak__chunk_count(m, AK__OPTIM_CHUNK); c++)
            total += part[c];
    }
    return total;
}

/* A factor below the smallest normal number has lost digits as a float, and is rounded once. */
static void scale_chunk(ak_real *g, double factor, int64_t n)
{
    if (factor >= (double)AK_REAL_MIN) {
        ak__k.scale(g, (ak_real)factor, g, n);
        return;
    }
    for (int64_t j = 0; j < n; j++)
        g[j] = (ak_real)(factor * (double)g[j]);
}

/* From the end: the norm's pass has left that in the caches. */
static void scale_gradients(ak_optim *opt, double factor)
{
    for (int64_t i = opt->n - 1; i >= 0; i--) {
        const ak_tensor *t = opt->entries[i].param;
        if (!(t->flags & AK_PARAM_FROZEN))
            AK__PARALLEL_CHUNKS_BACK(c, t->size, AK__OPTIM_CHUNK, begin, end)
                scale_chunk(t->grad + begin, factor, end - begin);
    }
}

double ak_clip_grad_norm(ak_optim *opt, double max_norm)
{
    if (!AK__GIVEN(NULL, opt))
        return (double)NAN;
    if (opt->ctx->status != AK_OK || !ak__outside_frames(opt->ctx, "clip_grad_norm") ||
        !ak__accumulate_ended(opt->ctx, "clip_grad_norm"))
        return (double)NAN;
    if (!(max_norm > 0)) {
        ak_fail(opt->ctx, AK_ERR_VALUE, "clip_grad_norm: max_norm = %g must be > 0", max_norm);
        return (double)NAN;
    }
    double squares = 0;
    for (int64_t i = 0; i < opt->n; i++) {
        const ak_tensor *t = opt->entries[i].param;
        if (!(t->flags & AK_PARAM_FROZEN))
            squares += ak__optim_sum_squares(t->grad, t->size);
    }
    const double norm = sqrt(squares);
    if (!isfinite(norm)) {
        if (ak__optim_gradients_finite(opt, "clip_grad_norm"))
            ak_fail(opt->ctx, AK_ERR_NUMBER, "clip_grad_norm: the gradients are finite, but their "
                    "norm is beyond the largest number; nothing was changed");
        return norm;
    }
    if (norm > max_norm)
        scale_gradients(opt, max_norm / norm);
    return norm;
}

ak_status ak_clip_grad_value(ak_optim *opt, double limit)
{
    if (!AK__GIVEN(NULL, opt))
        return ak__refused(NULL);
    if (opt->ctx->status != AK_OK || !ak__outside_frames(opt->ctx, "clip_grad_value") ||
        !ak__accumulate_ended(opt->ctx, "clip_grad_value"))
        return opt->ctx->status;
    if (!(limit > 0))
        return ak_fail(opt->ctx, AK_ERR_VALUE, "clip_grad_value: limit = %g must be > 0", limit);
    if (!ak__optim_gradients_finite(opt, "clip_grad_value"))
        return opt->ctx->status;
    const ak_real hi = (ak_real)limit, lo = -hi;
    ak__optim_run run;
    ak__optim_find_idle(opt);
    for (int64_t i = 0; ak__optim_next_run(opt, &i, &run); )
        AK__PARALLEL_CHUNKS(c, run.n, AK__OPTIM_CHUNK, begin, end)
            for (int64_t j = begin; j < end; j++)
                run.g[j] = run.g[j] > hi ? hi : run.g[j] < lo ? lo : run.g[j];
    return AK_OK;
}
