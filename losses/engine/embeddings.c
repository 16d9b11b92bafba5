/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings: checks, rows and their norms, the gradient through the normalisation. */
#include "losses/engine/embeddings.h"

#include "base/base.h"
#include "base/parallel.h"
#include "base/real.h"
#include "tensor/far_rows.h"
#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

/* Rows with smaller inverse norms take products in another order. */
#define FAR_INVERSE ((ak_real)1e-15)

/* ---- where operands stand -------------------------------------------------------------------- */

/* Operands of one matrix of scores: n_x stacked to its rows from x on, n_y to its columns from y on
 * (0: the rows themselves), one of constants. -1: none. */
typedef struct places {
    int x, n_x, y, n_y, queue;
} places;

static places places_of(const ak__pair_loss *o, int p)
{
    if (p == 0)
        return (places){ 0, o->n_x, o->n_x, o->n_y, o->queue };
    const struct ak__other_pair *q = &o->other[p - 1];
    return (places){ q->x, 1, q->y, q->y >= 0, q->queue };
}

static int64_t width_of(const ak_call *k, int operand) { return ak_last_dim(k->in[operand]); }

ak__pair_sizes ak__pair_sizes_of(const ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    const ak_shape first = k->in[0]->shape;
    ak__pair_sizes z = { .D = first.dims[first.n - 1] };
    for (int i = 0; i < o->n_x; i++)
        z.rows += ak_row_count(k->in[i]);
    z.samples = first.dims[first.n - 2];
    z.views = z.samples > 0 ? z.rows / z.samples : 0;
    z.R = o->first_view ? z.samples : z.rows;
    z.C = o->n_y ? 0 : z.rows;
    for (int i = 0; i < o->n_y; i++)
        z.C += ak_row_count(k->in[o->n_x + i]);
    z.K = o->queue >= 0 ? k->in[o->queue]->shape.dims[0] : 0;
    return z;
}

/* ---- checks ---------------------------------------------------------------------------------- */

ak_status ak__pair_index_check(ak_call *k, const ak_index *ix, const char *name, int64_t n)
{
    char text[AK_SHAPE_TEXT];
    if (!ix)
        return AK_OK;
    if (ix == &ak__poison_index)
        return ak_call_fail(k, AK_ERR_STATE, "%s is the result of a call that failed in an earlier "
                            "step", name);
    if (ix->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "%s belongs to another context", name);
    if (ix->generation != 0 && ix->generation != k->ctx->generation)
        return ak_call_fail(k, AK_ERR_STALE, "%s is of an earlier step", name);
    if (ix->size != n)
        return ak_call_fail(k, AK_ERR_SHAPE, "%s %s should hold one number for each of %" PRId64
                            " samples", name, ak_shape_text(ix->shape, text), n);
    return AK_OK;
}

ak_status ak__pair_matrix_check(ak_call *k, int operand, const char *name, int64_t n, int64_t m)
{
    char text[AK_SHAPE_TEXT];
    if (operand < 0)
        return AK_OK;
    const ak_shape s = k->in[operand]->shape;
    if (s.n != 2 || s.dims[0] != n || s.dims[1] != m)
        return ak_call_fail(k, AK_ERR_SHAPE, "%s is %s, expected [%" PRId64 ",%" PRId64 "]", name,
                            ak_shape_text(s, text), n, m);
    return AK_OK;
}

ak_status ak__pair_classes_check(ak_call *k, const ak_index *ix, const char *name,
                                 const char *unknown, int64_t n)
{
    const ak_status st = ak__pair_index_check(k, ix, name, n);
    for (int64_t i = 0; ix && st == AK_OK && i < n; i++)
        if (ix->data[i] < -1)
            return ak_call_fail(k, AK_ERR_VALUE, "%s: item %" PRId64 " has %d; numbers go from 0 "
                                "on, and -1 means %s", name, i, (int)ix->data[i], unknown);
    return st;
}

/* The other pairs have a row for each row and for each column. */
static ak_status check_others(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    const ak__pair_sizes z = ak__pair_sizes_of(k);
    for (int p = 1; p < o->matrices; p++) {
        const places at = places_of(o, p);
        const int64_t D = width_of(k, at.x);
        ak_status st = ak__pair_matrix_check(k, at.x, "the other rows", z.R, D);
        if (st == AK_OK && at.n_y)
            st = ak__pair_matrix_check(k, at.y, "the other columns", z.C, D);
        if (st == AK_OK && z.K > 0 && at.queue < 0)
            st = ak_call_fail(k, AK_ERR_SHAPE, "a second pair of embeddings needs a queue too");
        if (st == AK_OK)
            st = ak__pair_matrix_check(k, at.queue, "the other queue", z.K, D);
        if (st == AK_OK && ak__is_symmetric(o) == (at.n_y > 0))
            st = ak_call_fail(k, AK_ERR_SHAPE, "both pairs of embeddings have columns of their "
                              "own, or neither");
        if (st != AK_OK)
            return st;
    }
    return AK_OK;
}

ak_status ak__embeddings_check(ak_call *k)
{
    const ak__pair_loss *o = k->attr;
    const int n = o->n_x + o->n_y;
    char a[AK_SHAPE_TEXT], b[AK_SHAPE_TEXT];
    for (int i = 0; i < n; i++)
        if (!k->in[i])
            return ak_call_fail(k, AK_ERR_VALUE, "embedding %d is NULL", i);
    const ak_shape first = k->in[0]->shape;
    const bool stack = first.n == 3 && o->n_x == 1 && o->n_y == 0;
    const int rank = stack ? 3 : 2;
    if (first.n != rank)
        return ak_call_fail(k, AK_ERR_SHAPE, "embeddings are %s, expected %s",
                            ak_shape_text(first, a), n == 1 ? "[N, D] or [V, N, D]" : "[N, D]");
    if (k->in[0]->size == 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "embeddings %s are empty", ak_shape_text(first, a));
    for (int i = 1; i < n; i++) {
        const ak_shape s = k->in[i]->shape;
        const bool free_count = i >= o->n_x &&
                                (o->matrix >= 0 || o->target.columns || o->free_columns);
        const bool fits = s.n == rank && s.dims[rank - 1] == first.dims[rank - 1] &&
                          (free_count ? s.dims[0] > 0 : s.dims[0] == first.dims[0]);
        if (!fits)
            return ak_call_fail(k, AK_ERR_SHAPE, "embeddings %s and %s do not fit",
                                ak_shape_text(first, a), ak_shape_text(s, b));
    }
    if (o->queue >= 0) {
        const ak_shape s = k->in[o->queue]->shape;
        if (s.n != 2 || s.dims[1] != first.dims[rank - 1])
            return ak_call_fail(k, AK_ERR_SHAPE, "queue %s does not fit embeddings %s",
                                ak_shape_text(s, b), ak_shape_text(first, a));
    }
    return check_others(k);
}

/* ---- rows and norms -------------------------------------------------------------------------- */

/* Rows that do not lie one after the other are stacked, and normalised on the way. Others stay
 * where they are, with the inverse of the norm as a factor. */
static bool copies_x(const ak__pair_loss *o, int p)
{
    return places_of(o, p).n_x > 1;
}

static bool wants(const ak_call *k, int first, int n)
{
    bool any = false;
    for (int i = first; i < first + n; i++)
        any = any || k->in[i]->root->needs_grad;
    return any;
}

void ak__embeddings_carve(ak__pair_run *run, ak__carver *c)
{
    const ak__pair_loss *o = run->loss;
    const ak__pair_sizes *z = &run->size;
    const bool once = !o->program->absorb && run->recorded;
    for (int p = 0; p < o->matrices; p++) {
        struct ak__pair_rows *rows = &run->rows[p];
        const int64_t D = run->walk.scores[p].D, n = p == 0 ? z->rows : z->R;
        const bool columns = places_of(o, p).n_y > 0;
        if (copies_x(o, p))
            rows->x = ak__carve_reals(c, n * D);
        if (!o->normalized) {
            rows->inverse_x = ak__carve_reals(c, n);
            if (columns)
                rows->inverse_y = ak__carve_reals(c, z->C);
            rows->inverse_q = ak__carve_reals(c, z->K);
        }
        if (once) {
            rows->gradient_x = ak__carve_reals(c, n * D);
            if (columns)
                rows->gradient_y = ak__carve_reals(c, z->C * D);
        }
    }
}

/* 1 / max(|x|, floor), also where squares overflow. */
static ak_real inverse_norm(const ak_real *x, int64_t D)
{
    const ak_real s = ak__k.sum_squares(x, D);
    if ((double)s > AK__LARGEST_SQUARES)
        return (ak_real)ak__far_inverse(x, D);
    return 1 / ak__fmax(ak__sqrt(s), (ak_real)AK__NORM_FLOOR);
}

/* 1/norm of the rows of t into inverse (NULL: none), and the rows times it into y (NULL: not). */
static void prepare_rows(const ak_tensor *t, ak_real *y, ak_real *inverse)
{
    const int64_t D = ak_last_dim(t);
    AK__PARALLEL_CHUNKS(c, ak_row_count(t), 64, begin, end)
        for (int64_t r = begin; r < end; r++) {
            const ak_real *x = t->data + r * D;
            if (inverse)
                inverse[r] = inverse_norm(x, D);
            if (y)
                ak__k.scale(y + r * D, inverse ? inverse[r] : 1, x, D);
        }
}

void ak__embeddings_prepare(const ak_call *k, ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    for (int p = 0; p < o->matrices; p++) {
        const struct ak__pair_rows *rows = &run->rows[p];
        const places at = places_of(o, p);
        int64_t first = 0;
        for (int i = at.x; i < at.x + at.n_x; first += ak_row_count(k->in[i++]))
            if (rows->x || rows->inverse_x)
                prepare_rows(k->in[i], rows->x ? rows->x + first * run->walk.scores[p].D : NULL,
                             rows->inverse_x ? rows->inverse_x + first : NULL);
        if (at.n_y && rows->inverse_y)
            prepare_rows(k->in[at.y], NULL, rows->inverse_y);
        if (at.queue >= 0 && rows->inverse_q)
            prepare_rows(k->in[at.queue], NULL, rows->inverse_q);
    }
}

void ak__embeddings_locate(const ak_call *k, ak__pair_run *run)
{
    for (int p = 0; p < run->loss->matrices; p++) {
        const struct ak__pair_rows *rows = &run->rows[p];
        const places at = places_of(run->loss, p);
        ak__score_matrix *s = &run->walk.scores[p];
        s->x = rows->x ? rows->x : k->in[at.x]->data;
        s->x_inverse = rows->x ? NULL : rows->inverse_x;
        s->set[0].y = at.n_y ? k->in[at.y]->data : s->x;
        s->set[0].inverse = at.n_y ? rows->inverse_y : s->x_inverse;
        if (at.queue >= 0)
            s->set[1] = (ak__candidates){ .y = k->in[at.queue]->data,
                                          .inverse = rows->inverse_q };
    }
}

static double largest_norm(const ak_real *x, int64_t rows, int64_t D)
{
    double most = 0;
    for (int64_t r = 0; r < rows; r++) {
        const double s = (double)ak__k.sum_squares(x + r * D, D);
        most = s > most || s != s ? s : most;
    }
    return sqrt(most);
}

double ak__embeddings_bound(const ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    const ak__pair_sizes *z = &run->size;
    const ak__score_matrix *s = &run->walk.scores[0];
    if (!o->normalized)
        return run->scale * (1 + 16 * (double)AK_REAL_EPS);
    const double x = largest_norm(s->x, z->R, z->D);
    double y = o->n_y || o->first_view ? largest_norm(s->set[0].y, z->C, z->D) : x;
    if (z->K > 0) {
        const double q = largest_norm(s->set[1].y, z->K, z->D);
        y = q > y || q != q ? q : y;
    }
    return run->scale * x * y * (1 + 16 * (double)AK_REAL_EPS);
}

/* ---- backward -------------------------------------------------------------------------------- */

/* Where a gradient of stacked rows gathers: the operand's own memory if that is fresh, else
 * scratch. Zeroed. */
typedef struct row_gradient {
    ak_real *g;
    bool     in_place;
} row_gradient;

static row_gradient gather_space(ak_call *k, int first, int n, int64_t elements)
{
    row_gradient r = { 0 };
    if (n == 1) {
        bool fresh;
        ak_real *g = ak_call_grad_fresh(k, first, &fresh);
        if (g && fresh)
            r = (row_gradient){ g, true };
    }
    if (!r.g)
        r.g = ak_call_scratch(k, (size_t)elements * sizeof(ak_real));
    if (r.g)
        memset(r.g, 0, (size_t)elements * sizeof(ak_real));
    return r;
}

typedef struct unit_backward {
    const ak_real *x, *g, *inverse;     /* rows, gradient of unit rows, 1/norm (may be NULL) */
    bool           units;               /* rows are unit rows */
    ak_real       *out;
    bool           assign;
    ak_real        factor;
} unit_backward;

/* Gradient of one row through the normalisation: (g - x <x, g>) / |x|. A row below the floor was
 * divided by a constant. */
static void unit_row_backward(const unit_backward *u, int64_t r, double dot, int64_t D)
{
    const ak_real *x = u->x + r * D, *g = u->g + r * D;
    ak_real *out = u->out + r * D;
    const ak_real inverse = u->inverse ? u->inverse[r] : 1;
    const bool projected = u->inverse && inverse < (ak_real)(0.999 / AK__NORM_FLOOR);
    const ak_real a = u->factor * inverse;
    if (inverse < FAR_INVERSE) {        /* a * inverse may vanish, <x, g> is of unit rows */
        const ak_real own = (ak_real)dot, one = u->units ? 1 : inverse;
        for (int64_t d = 0; d < D; d++)
            out[d] = (u->assign ? 0 : out[d]) + a * (g[d] - own * (x[d] * one));
        return;
    }
    const ak_real b = projected ? a * (ak_real)dot * (u->units ? 1 : inverse) : 0;
    if (u->assign)
        for (int64_t d = 0; d < D; d++)
            out[d] = a * g[d] - b * x[d];
    else
        for (int64_t d = 0; d < D; d++)
            out[d] += a * g[d] - b * x[d];
}

/* dot[r] = <x_r, g_r>, x_r times its factor if it has one; factors of long rows come first */
static void row_dots(double *dot, const ak_real *x, const ak_real *inverse, const ak_real *g,
                     int64_t rows, int64_t D)
{
    AK__PARALLEL_CHUNKS(c, rows, 64, begin, end)
        for (int64_t r = begin; r < end; r++)
            dot[r] = inverse && inverse[r] < FAR_INVERSE
                ? ak__far_dot((double)inverse[r], x + r * D, 1, g + r * D, D)
                : (double)(ak__k.dot(x + r * D, g + r * D, D) * (inverse ? inverse[r] : 1));
}

/* A stack of rows and its gradient, on the way to the operands first .. first+n-1. */
typedef struct stack {
    int             first, n;
    bool            units;      /* x holds unit rows */
    const ak_real  *x, *inverse;
    row_gradient    gradient;
    double         *dot;
} stack;

static void give_rows(ak_call *k, const stack *s, double factor)
{
    const int64_t D = width_of(k, s->first);
    int64_t at = 0;
    for (int i = s->first; i < s->first + s->n; at += ak_row_count(k->in[i++])) {
        bool fresh = true;
        ak_real *out = s->gradient.in_place ? s->gradient.g : ak_call_grad_fresh(k, i, &fresh);
        if (!out)
            continue;
        const unit_backward u = { s->x + at * D, s->gradient.g + at * D,
                                  s->inverse ? s->inverse + at : NULL, s->units, out, fresh,
                                  (ak_real)factor };
        AK__PARALLEL_CHUNKS(c, ak_row_count(k->in[i]), 64, begin, end)
            for (int64_t r = begin; r < end; r++)
                unit_row_backward(&u, r, s->dot[at + r], D);
    }
}

/* d loss / d log scale = sum of dS * S = sum over rows of <x, dX>; where a row is its own column,
 * each score is in it twice. */
static void give_scale(ak_call *k, const ak__pair_run *run, const double *dot, double factor)
{
    const ak__pair_loss *o = run->loss;
    ak_real *g = o->log_scale >= 0 ? ak_call_grad(k, o->log_scale) : NULL;
    if (!g)
        return;
    double sum = 0;
    for (int64_t r = 0; r < run->size.R; r++)
        sum += dot[r];
    g[0] += (ak_real)(factor * (ak__is_symmetric(o) ? 0.5 * sum : sum));
}

/* Gradients of one matrix, before and after the sweep. */
typedef struct matrix_backward {
    bool         want_x, want_y;
    row_gradient dx, dy;
    ak_real     *anchors;       /* of the rows, where those are only the first view */
    int64_t      rows;
} matrix_backward;

static bool wants_x(const ak_call *k, const ak__pair_loss *o, int p)
{
    const places at = places_of(o, p);
    return wants(k, at.x, at.n_x) || (p == 0 && o->log_scale >= 0 && wants(k, o->log_scale, 1));
}

static bool wants_y(const ak_call *k, const ak__pair_loss *o, int p)
{
    const places at = places_of(o, p);
    return at.n_y && wants(k, at.y, at.n_y);
}

static bool matrix_begin(ak_call *k, ak__pair_run *run, int p, matrix_backward *b)
{
    const ak__pair_loss *o = run->loss;
    const places at = places_of(o, p);
    const int64_t D = run->walk.scores[p].D, R = run->size.R, C = run->size.C;
    ak__score_matrix *s = &run->walk.scores[p];
    *b = (matrix_backward){ .want_x = wants_x(k, o, p), .want_y = wants_y(k, o, p),
                            .rows = p == 0 ? run->size.rows : R };
    if (!o->program->absorb) {
        b->dx = (row_gradient){ run->rows[p].gradient_x, false };
        b->dy = (row_gradient){ run->rows[p].gradient_y, false };
        return true;
    }
    if (b->want_x)
        b->dx = gather_space(k, at.x, at.n_x, b->rows * D);
    if (b->want_y)
        b->dy = gather_space(k, at.y, at.n_y, C * D);
    const bool part = o->first_view && p == 0;
    b->anchors = part ? ak_call_scratch(k, (size_t)(R * D) * sizeof(ak_real)) : b->dx.g;
    if ((b->want_x && (!b->dx.g || !b->anchors)) || (b->want_y && !b->dy.g))
        return false;
    if (part)
        memset(b->anchors, 0, (size_t)(R * D) * sizeof(ak_real));
    s->dx = b->anchors;
    s->set[0].dy = at.n_y ? b->dy.g : b->dx.g;
    return true;
}

static void matrix_end(ak_call *k, ak__pair_run *run, int p, matrix_backward *b, double *dot)
{
    const ak__pair_loss *o = run->loss;
    const places at = places_of(o, p);
    const ak__score_matrix *s = &run->walk.scores[p];
    const double factor = s->scale * (double)k->out->grad[0];
    if (b->anchors != b->dx.g && b->dx.g && o->program->absorb)
        ak__k.add(b->dx.g, b->dx.g, b->anchors, run->size.R * s->D);
    if (b->want_x) {
        row_dots(dot, s->x, s->x_inverse, b->dx.g, b->rows, s->D);
        if (p == 0)
            give_scale(k, run, dot, factor);
        give_rows(k, &(stack){ at.x, at.n_x, !s->x_inverse, s->x, run->rows[p].inverse_x, b->dx,
                               dot }, factor);
    }
    if (b->want_y) {
        const ak__candidates *c = &s->set[0];
        row_dots(dot, c->y, c->inverse, b->dy.g, run->size.C, s->D);
        give_rows(k, &(stack){ at.y, at.n_y, !c->inverse, c->y, run->rows[p].inverse_y, b->dy,
                               dot }, factor);
    }
}

bool ak__embeddings_backward(ak_call *k, ak__pair_run *run)
{
    matrix_backward of[AK__MAX_SCORES];
    const ak__pair_loss *o = run->loss;
    const int64_t most = run->size.rows > run->size.C ? run->size.rows : run->size.C;
    const bool sweeps = o->program->absorb;
    if (sweeps)
        run->walk.memory = ak_call_scratch(k, ak__walk_memory(&run->walk) * sizeof(ak_real));
    double *dot = ak_call_scratch(k, (size_t)most * sizeof(double));
    bool there = dot && (run->walk.memory || !sweeps);
    for (int p = 0; there && p < o->matrices; p++)
        there = matrix_begin(k, run, p, &of[p]);
    if (!there)
        return false;
    if (sweeps)
        ak__walk_gradient(&run->walk, o->program->gradient);
    for (int p = 0; p < o->matrices; p++)
        matrix_end(k, run, p, &of[p], dot);
    return true;
}

bool ak__embeddings_sweep_once(ak_call *k, ak__pair_run *run)
{
    const ak__pair_loss *o = run->loss;
    if (!run->recorded) {
        ak__walk_absorb(&run->walk, o->program->gradient);
        return true;
    }
    for (int p = 0; p < o->matrices; p++) {
        ak__score_matrix *s = &run->walk.scores[p];
        const struct ak__pair_rows *rows = &run->rows[p];
        const int64_t n = p == 0 ? run->size.rows : run->size.R;
        memset(rows->gradient_x, 0, (size_t)(n * s->D) * sizeof(ak_real));
        if (rows->gradient_y)
            memset(rows->gradient_y, 0, (size_t)(run->size.C * s->D) * sizeof(ak_real));
        s->dx = wants_x(k, o, p) ? rows->gradient_x : NULL;
        s->set[0].dy = rows->gradient_y ? wants_y(k, o, p) ? rows->gradient_y : NULL : s->dx;
    }
    ak__walk_gradient(&run->walk, o->program->gradient);
    return true;
}
