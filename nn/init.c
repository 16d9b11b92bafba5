/* SPDX-License-Identifier: Apache-2.0 */
/* Weight initialisers. A number depends on the seed, the parameter's name and its place alone. */
#include "base/arena.h"
#include "base/base.h"
#include "base/parallel.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

#define INIT_CHUNK 4096
#define INIT_STREAM 0x696e6974u         /* "init": apart from every other use of a name */

typedef struct init_plan {
    uint64_t seed, stream;
    double   width;         /* standard deviation or bound */
    bool     uniform, truncated;
} init_plan;

static double draw(const init_plan *p, int64_t i)
{
    const uint64_t at = (uint64_t)i;
    if (p->uniform)
        return p->width * (2 * ak_random_uniform(p->seed, p->stream, at) - 1);
    if (p->truncated)
        return p->width * ak_random_truncated_normal(p->seed, p->stream, at, -2, 2);
    return p->width * ak_random_normal(p->seed, p->stream, at);
}

static void fill_drawn(ak_tensor *w, init_plan plan)
{
    ak_real *out = w->data;
    const int64_t n = w->size;
    AK__PARALLEL_CHUNKS(c, n, INIT_CHUNK, begin, end)
        for (int64_t i = begin; i < end; i++)
            out[i] = (ak_real)draw(&plan, i);
}

/* Make the rows of q [r, n], r <= n, orthonormal: Gram-Schmidt, each row twice, because once loses
 * orthogonality in proportion to the condition ("twice is enough", Giraud et al. 2005). The result
 * is the Q of the decomposition with a positive diagonal: Q is uniform over all such matrices. */
static void orthonormalize(double *q, int64_t r, int64_t n)
{
    for (int64_t i = 0; i < r; i++) {
        double *a = q + i * n;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t j = 0; j < i; j++) {
                const double *b = q + j * n;
                double dot = 0;
                for (int64_t k = 0; k < n; k++)
                    dot += a[k] * b[k];
                for (int64_t k = 0; k < n; k++)
                    a[k] -= dot * b[k];
            }
        double square = 0;
        for (int64_t k = 0; k < n; k++)
            square += a[k] * a[k];
        const double inverse = 1 / sqrt(square);
        for (int64_t k = 0; k < n; k++)
            a[k] *= inverse;
    }
}

static ak_status fill_orthogonal(ak_tensor *w, init_plan plan, double scale)
{
    const int64_t rows = w->shape.dims[0], columns = w->size / rows;
    const bool wide = rows <= columns;
    const int64_t r = wide ? rows : columns, n = wide ? columns : rows;
    double *q = ak__malloc((size_t)w->size * sizeof *q);
    if (!q)
        return ak__fail_memory(w->ctx, (size_t)w->size * sizeof *q);
    for (int64_t i = 0; i < w->size; i++)
        q[i] = draw(&plan, i);
    orthonormalize(q, r, n);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < columns; k++)
            w->data[i * columns + k] = (ak_real)(scale * (wide ? q[i * n + k] : q[k * n + i]));
    ak__free(q);
    return AK_OK;
}

static bool needs_fans(ak_init_kind kind)
{
    return kind == AK_INIT_DEFAULT || kind >= AK_INIT_HE_NORMAL;
}

/* Standard deviation (kinds of normal numbers) or bound (uniform ones). */
static void plan_width(init_plan *p, const ak_tensor *w, ak_init how, double scale)
{
    double fan_in = 1, fan_out = 1;
    if (needs_fans(how.kind)) {
        fan_in = (double)(w->size / w->shape.dims[0]);
        fan_out = (double)(w->size / w->shape.dims[w->shape.n - 1]);
    }
    const double he = scale * sqrt(2 / (how.fan_out ? fan_out : fan_in));
    const double xavier = scale * sqrt(2 / (fan_in + fan_out));
    switch (how.kind) {
    case AK_INIT_DEFAULT:          p->width = scale / sqrt(fan_in); p->uniform = true; break;
    case AK_INIT_UNIFORM:          p->width = scale; p->uniform = true; break;
    case AK_INIT_NORMAL:           p->width = scale; break;
    case AK_INIT_TRUNCATED_NORMAL: p->width = scale; p->truncated = true; break;
    case AK_INIT_HE_NORMAL:        p->width = he; break;
    case AK_INIT_HE_UNIFORM:       p->width = he * sqrt(3); p->uniform = true; break;
    case AK_INIT_XAVIER_NORMAL:    p->width = xavier; break;
    case AK_INIT_XAVIER_UNIFORM:   p->width = xavier * sqrt(3); p->uniform = true; break;
    case AK_INIT_ORTHOGONAL:
    case AK_INIT_CONSTANT:         p->width = 1; break;
    }
}

bool ak__init_known(ak_ctx *ctx, const char *name, ak_init how)
{
    if ((int)how.kind < 0 || how.kind > AK_INIT_ORTHOGONAL) {
        ak_fail(ctx, AK_ERR_VALUE, "init of %s: unknown kind %d (ak_init_kind: 0 to %d)", name,
                (int)how.kind, (int)AK_INIT_ORTHOGONAL);
        return false;
    }
    if (!isfinite(how.scale) || (how.scale < 0 && how.kind != AK_INIT_CONSTANT)) {
        ak_fail(ctx, AK_ERR_VALUE, "init of %s: scale must be >= 0 and finite, got %g", name,
                how.scale);
        return false;
    }
    return true;
}

ak_status ak_init_fill(ak_tensor *w, ak_init how)
{
    if (!AK__TENSOR(NULL, w))
        return ak__refused(NULL);
    ak_ctx *ctx = w->ctx;
    if (!w->name || !*w->name)
        return ak_fail(ctx, AK_ERR_VALUE, "init: the tensor has no name to draw numbers by");
    if (!ak__init_known(ctx, w->name, how))
        return AK_ERR_VALUE;
    if (w->size == 0)
        return AK_OK;
    char shape[AK_SHAPE_TEXT];
    if (needs_fans(how.kind) && w->shape.n < 2)
        return ak_fail(ctx, AK_ERR_SHAPE, "init of %s: needs at least two axes, got %s\n"
                       "    hint: AK_INIT_CONSTANT, _UNIFORM, _NORMAL fit any shape", w->name,
                       ak_shape_text(w->shape, shape));
    if (how.kind == AK_INIT_CONSTANT) {
        ak_fill(w, how.scale);
        return AK_OK;
    }
    const bool small = how.kind == AK_INIT_UNIFORM || how.kind == AK_INIT_NORMAL ||
                       how.kind == AK_INIT_TRUNCATED_NORMAL;
    const double scale = how.scale > 0 ? how.scale : small ? 0.02 : 1;
    init_plan plan = {
        .seed = ak_seed(ctx),
        .stream = ak__stream(INIT_STREAM,
                             ak__hash_bytes(AK__HASH_START, w->name, strlen(w->name)), 0, 0),
    };
    plan_width(&plan, w, how, scale);
    ak__changed(w, "ak_init_fill");
    if (how.kind == AK_INIT_ORTHOGONAL)
        return fill_orthogonal(w, plan, scale);
    fill_drawn(w, plan);
    return AK_OK;
}
