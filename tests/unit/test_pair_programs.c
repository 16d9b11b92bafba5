/* SPDX-License-Identifier: Apache-2.0 */
/* The pair engine beyond the losses that are built on it: programs with two score matrices a cell,
 * targets made of another pair's scores, a second sweep, several sets of candidates, candidates
 * that are made on the fly. Each is held equal to its composition, or to a walk over everything. */
#include <criterion/criterion.h>

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

#include "losses/engine/logsumexp.h"
#include "losses/engine/pairs.h"

#define EQUAL (sizeof(ak_real) == 8 ? 1e-12 : 2e-5)

static ak_ctx *ctx;

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void)
{
    ak__walk_tile = 0;
    cr_expect_eq(ak_close(ctx), AK_OK, "%s", ak_error_message(ctx));
}

TestSuite(pair_programs, .init = open_context, .fini = close_context);

static void fill(ak_real *x, int64_t n, uint64_t stream)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = (ak_real)ak_random_normal(9, stream, (uint64_t)i);
}

static ak_tensor *leaf(int64_t n, int64_t d, uint64_t stream)
{
    ak_tensor *t = ak_zeros(ctx, AK_SHAPE(n, d));
    fill(t->data, t->size, stream);
    return ak_require_grad(t);
}

static void expect_close(const ak_real *a, const ak_real *b, int64_t n, const char *what)
{
    double largest = 1e-30, worst = 0;
    for (int64_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs((double)b[i]));
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
    }
    cr_expect(worst <= EQUAL * largest, "%s: off by %g of %g", what, worst, largest);
}

/* ---- targets that are the softmax of another pair's scores ----------------------------------- */

typedef struct soft_row { ak__lse p, q; double weighted; } soft_row;    /* weighted: sum e^m s */

static soft_row *soft_at(const ak__pair_run *run, int64_t r)
{
    return (soft_row *)(void *)run->row + r;
}

static size_t soft_bytes(const ak__pair_loss *loss) { (void)loss; return sizeof(soft_row); }

static void soft_start(ak__pair_run *run)
{
    for (int64_t r = 0; r < run->size.R; r++)
        *soft_at(run, r) = (soft_row){ { -(double)INFINITY, 0 }, { -(double)INFINITY, 0 }, 0 };
}

static void soft_absorb(const ak__walk *w, const ak__tile *t)
{
    for (int64_t i = 0; i < t->m; i++) {
        soft_row *row = soft_at(w->user, t->r0 + i);
        for (int64_t j = 0; j < t->n; j++) {
            const double s = (double)t->score[0][i * t->ld + j];
            const double m = (double)t->score[1][i * t->ld + j], before = row->q.max;
            ak__lse_add(&row->p, s);
            ak__lse_add(&row->q, m);
            row->weighted *= row->q.max > before ? exp(before - row->q.max) : 1;
            row->weighted += exp(m - row->q.max) * s;
        }
    }
}

static double soft_finish(ak__pair_run *run, bool *again)
{
    double loss = 0;
    *again = false;
    for (int64_t r = 0; r < run->size.R; r++) {
        const soft_row *row = soft_at(run, r);
        loss += ak__lse_value(&row->p) - row->weighted / row->q.sum;
    }
    return loss / (double)run->size.R;
}

static void soft_gradient(const ak__walk *w, const ak__tile *t)
{
    const ak__pair_run *run = w->user;
    for (int64_t i = 0; i < t->m; i++) {
        const soft_row *row = soft_at(run, t->r0 + i);
        for (int64_t j = 0; j < t->n; j++) {
            ak_real *s = &t->score[0][i * t->ld + j], *m = &t->score[1][i * t->ld + j];
            const double p = exp((double)*s - ak__lse_value(&row->p));
            const double q = exp((double)*m - ak__lse_value(&row->q));
            *s = (ak_real)((p - q) / (double)run->size.R);
            *m = 0;
        }
    }
}

static const ak__pair_program soft_program = {
    .anchor_bytes = soft_bytes, .start = soft_start, .absorb = soft_absorb,
    .finish = soft_finish, .gradient = soft_gradient };
static const ak_op soft_op = AK__PAIR_OP("soft", "mean_i [lse_j s_ij - sum_j softmax(m_i)_j s_ij]");

static ak_tensor *cosines(ak_tensor *x, ak_tensor *y, double scale)
{
    return ak_scale(ak_matmul_nt(ak_l2_normalize(x), ak_l2_normalize(y)), scale);
}

Test(pair_programs, targets_from_another_pair)
{
    for (int64_t tile = 0; tile < 4; tile += 3) {
        ak__walk_tile = tile;
        ak_tensor *x = leaf(7, 5, 1), *y = leaf(7, 5, 2);
        ak_tensor *teacher_x = ak_detach(leaf(7, 3, 3)), *teacher_y = ak_detach(leaf(7, 3, 4));
        const ak__pair_loss o = { .program = &soft_program, .tau = 0.2, .factor = 1,
                                  .other[0].scale = 3 };
        ak_tensor *loss = ak__pairs_apply(&soft_op, o, (ak__pair_operands){
            .x = &x, .n_x = 1, .y = &y, .n_y = 1, .other[0] = { teacher_x, teacher_y, NULL } });
        ak_backward(loss);
        ak_tensor *x2 = leaf(7, 5, 1), *y2 = leaf(7, 5, 2);
        ak_tensor *s = cosines(x2, y2, 5), *q = ak_softmax(cosines(teacher_x, teacher_y, 3));
        ak_tensor *want = ak_mean(ak_sub(ak_logsumexp(s, 1), ak_sum_axis(ak_mul(q, s), 1)));
        ak_backward(want);
        expect_close(loss->data, want->data, 1, "loss");
        expect_close(x->grad, x2->grad, x->size, "gradient of x");
        expect_close(y->grad, y2->grad, y->size, "gradient of y");
        cr_expect_null(teacher_x->grad);
        ak_step_end(ctx);
    }
}

/* ---- two score matrices a cell, both with gradients, in two sweeps --------------------------- */

typedef struct product_row { double max, sum, own; } product_row;

static product_row *product_at(const ak__pair_run *run, int64_t r)
{
    return (product_row *)(void *)run->row + r;
}

static size_t product_bytes(const ak__pair_loss *loss) { (void)loss; return sizeof(product_row); }

static void product_start(ak__pair_run *run)
{
    for (int64_t r = 0; r < run->size.R; r++)
        if (run->sweep == 0)
            *product_at(run, r) = (product_row){ .max = -(double)INFINITY };
}

static double product_of(const ak__tile *t, int64_t at)
{
    return (double)t->score[0][at] * (double)t->score[1][at];
}

static void product_absorb(const ak__walk *w, const ak__tile *t)
{
    const ak__pair_run *run = w->user;
    for (int64_t i = 0; i < t->m; i++) {
        product_row *row = product_at(run, t->r0 + i);
        for (int64_t j = 0; j < t->n; j++) {
            const double l = product_of(t, i * t->ld + j);
            if (run->sweep == 0) {
                row->max = l > row->max ? l : row->max;
                row->own = t->c0 + j == t->r0 + i ? l : row->own;
            } else {
                row->sum += exp(l - row->max);
            }
        }
    }
}

static double product_finish(ak__pair_run *run, bool *again)
{
    double loss = 0;
    *again = run->sweep == 0;
    for (int64_t r = 0; r < run->size.R; r++)
        loss += product_at(run, r)->max + log(product_at(run, r)->sum) - product_at(run, r)->own;
    return loss / (double)run->size.R;
}

static void product_gradient(const ak__walk *w, const ak__tile *t)
{
    const ak__pair_run *run = w->user;
    for (int64_t i = 0; i < t->m; i++) {
        const product_row *row = product_at(run, t->r0 + i);
        for (int64_t j = 0; j < t->n; j++) {
            ak_real *a = &t->score[0][i * t->ld + j], *b = &t->score[1][i * t->ld + j];
            const double l = (double)*a * (double)*b, own = t->c0 + j == t->r0 + i;
            const double g = (exp(l - row->max) / row->sum - own) / (double)run->size.R;
            const double of_a = g * (double)*b, of_b = g * (double)*a;
            *a = (ak_real)of_a;
            *b = (ak_real)of_b;
        }
    }
}

static const ak__pair_program product_program = {
    .anchor_bytes = product_bytes, .start = product_start, .absorb = product_absorb,
    .finish = product_finish, .gradient = product_gradient };
static const ak_op product_op = AK__PAIR_OP("product", "mean_i [lse_j a_ij b_ij - a_ii b_ii]");

Test(pair_programs, two_matrices_in_two_sweeps)
{
    for (int64_t tile = 0; tile < 5; tile += 4) {
        ak__walk_tile = tile;
        ak_tensor *in[4], *same[4];
        for (int i = 0; i < 4; i++) {
            in[i] = leaf(9, i < 2 ? 4 : 6, (uint64_t)i + 5);
            same[i] = leaf(9, i < 2 ? 4 : 6, (uint64_t)i + 5);
        }
        const ak__pair_loss o = { .program = &product_program, .tau = 0.5, .factor = 1,
                                  .other[0].scale = 1.5 };
        ak_tensor *loss = ak__pairs_apply(&product_op, o, (ak__pair_operands){
            .x = &in[0], .n_x = 1, .y = &in[1], .n_y = 1, .other[0] = { in[2], in[3], NULL } });
        ak_backward(loss);
        ak_tensor *l = ak_mul(cosines(same[0], same[1], 2), cosines(same[2], same[3], 1.5));
        ak_tensor *want = ak_mean(ak_sub(ak_logsumexp(l, 1), ak_diagonal(l)));
        ak_backward(want);
        expect_close(loss->data, want->data, 1, "loss");
        for (int i = 0; i < 4; i++)
            expect_close(in[i]->grad, same[i]->grad, in[i]->size, "gradient");
        ak_step_end(ctx);
    }
}

/* Both scores of a cell are kept, tile by tile, or made again. */
Test(pair_programs, two_matrices_kept_or_made_again)
{
    enum { N = 1500 };
    static ak_real gradient[2][4][N * 6];
    ak_real value[2];
    for (int kept = 0; kept < 2; kept++) {
        ak_close(ctx);
        ctx = ak_open((ak_options){ .quiet = true, .score_memory = kept ? INT64_MAX : AK_NONE });
        ak_tensor *in[4];
        for (int i = 0; i < 4; i++)
            in[i] = leaf(N, i < 2 ? 4 : 6, (uint64_t)i + 5);
        const ak__pair_loss o = { .program = &product_program, .tau = 0.5, .factor = 1,
                                  .other[0].scale = 1.5 };
        ak_tensor *loss = ak__pairs_apply(&product_op, o, (ak__pair_operands){
            .x = &in[0], .n_x = 1, .y = &in[1], .n_y = 1, .other[0] = { in[2], in[3], NULL } });
        ak_backward(loss);
        value[kept] = loss->data[0];
        for (int i = 0; i < 4; i++)
            memcpy(gradient[kept][i], in[i]->grad, (size_t)in[i]->size * sizeof(ak_real));
        const size_t scores = 2 * (size_t)N * N * sizeof(ak_real);
        cr_expect_eq(ak_memory_use(ctx).step_peak > scores, kept == 1);
    }
    cr_expect_eq(value[0], value[1]);
    cr_expect_eq(memcmp(gradient[0], gradient[1], sizeof gradient[0]), 0);
}

/* ---- sets of candidates ---------------------------------------------------------------------- */

enum { ROWS = 37, D = 8, FIRST = 29, SECOND = 41, THIRD = 33 };

typedef struct seen { double sum[ROWS]; } seen;

static void sum_squares(const ak__walk *w, const ak__tile *t)
{
    seen *s = w->user;
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++)
            s->sum[t->r0 + i] += (double)(t->c0 + j + 1) * pow((double)t->s[i * t->ld + j], 2);
}

static void slope_of_squares(const ak__walk *w, const ak__tile *t)
{
    (void)w;
    for (int64_t i = 0; i < t->m; i++)
        for (int64_t j = 0; j < t->n; j++)
            t->s[i * t->ld + j] *= (ak_real)(2 * (t->c0 + j + 1));
}

/* One walk with the candidates in sets; returns what rows saw and the gradients. */
static void walk_sets(int sets, const int64_t *count, const ak_real *x, const ak_real *y,
                      seen *s, ak_real *dx, ak_real *dy)
{
    ak__walk w = { .R = ROWS, .sets = sets, .matrices = 1, .user = s, .out.samples = ROWS };
    w.scores[0] = (ak__score_matrix){ .D = D, .x = x, .dx = dx, .scale = 1 };
    for (int i = 0, at = 0; i < sets; at += (int)count[i++]) {
        w.count[i] = count[i];
        w.scores[0].set[i] = (ak__candidates){ .y = y + at * D, .dy = dy + at * D };
    }
    w.memory = ak_zeros(ctx, AK_SHAPE((int64_t)ak__walk_memory(&w)))->data;
    ak__walk_absorb(&w, sum_squares);
    ak__walk_gradient(&w, slope_of_squares);
}

Test(pair_programs, several_sets_are_one)
{
    const int64_t all = FIRST + SECOND + THIRD, count[] = { FIRST, SECOND, THIRD };
    ak_tensor *x = leaf(ROWS, D, 1), *y = leaf(all, D, 2);
    seen one = { { 0 } }, three = { { 0 } };
    ak_tensor *dx[2] = { ak_zeros(ctx, x->shape), ak_zeros(ctx, x->shape) };
    ak_tensor *dy[2] = { ak_zeros(ctx, y->shape), ak_zeros(ctx, y->shape) };
    walk_sets(1, &all, x->data, y->data, &one, dx[0]->data, dy[0]->data);
    ak__walk_tile = 16;
    walk_sets(3, count, x->data, y->data, &three, dx[1]->data, dy[1]->data);
    for (int r = 0; r < ROWS; r++)
        cr_expect_float_eq(three.sum[r], one.sum[r], EQUAL * one.sum[r]);
    expect_close(dx[1]->data, dx[0]->data, x->size, "gradient of rows");
    expect_close(dy[1]->data, dy[0]->data, y->size, "gradient of candidates");
}

/* Row n of the product set is a[n / m] * b[n mod m], element by element: Khatri-Rao rows. */
enum { A = 90, B = 100 };
typedef struct product_rows { const ak_real *a, *b; ak_real *da, *db; int64_t taken; } product_rows;

static void make_rows(void *user, int64_t first, int64_t n, ak_real *rows)
{
    const product_rows *p = user;
    for (int64_t i = 0; i < n * D; i++) {
        const int64_t row = first + i / D, d = i % D;
        rows[i] = p->a[row / B * D + d] * p->b[row % B * D + d];
    }
}

static void take_rows(void *user, int64_t first, int64_t n, const ak_real *g)
{
    product_rows *p = user;
    cr_assert_eq(first, p->taken, "chunks come once, in order");
    p->taken += n;
    for (int64_t i = 0; i < n * D; i++) {
        const int64_t row = first + i / D, d = i % D;
        p->da[row / B * D + d] += g[i] * p->b[row % B * D + d];
        p->db[row % B * D + d] += g[i] * p->a[row / B * D + d];
    }
}

Test(pair_programs, candidates_made_on_the_fly)
{
    ak_tensor *x = leaf(ROWS, D, 1), *a = leaf(A, D, 2), *b = leaf(B, D, 3);
    ak_tensor *da = ak_zeros(ctx, a->shape), *db = ak_zeros(ctx, b->shape);
    ak_tensor *dx = ak_zeros(ctx, x->shape);
    product_rows rows = { a->data, b->data, da->data, db->data, 0 };
    seen s = { { 0 } };
    cr_assert_gt(A * B, 2 * AK__CHUNK);
    ak__walk w = { .R = ROWS, .sets = 1, .count = { A * B }, .matrices = 1, .user = &s,
                   .out.samples = ROWS };
    w.scores[0] = (ak__score_matrix){ .D = D, .x = x->data, .dx = dx->data, .scale = 1 };
    w.scores[0].set[0].maker = (ak__maker){ make_rows, take_rows, &rows };
    const size_t memory = ak__walk_memory(&w);
    cr_expect_lt(memory, (size_t)A * B * D * 16, "never all rows at once");
    w.memory = ak_zeros(ctx, AK_SHAPE((int64_t)memory))->data;
    ak__walk_absorb(&w, sum_squares);
    ak__walk_gradient(&w, slope_of_squares);
    cr_expect_eq(rows.taken, A * B);

    ak_tensor *all = ak_zeros(ctx, AK_SHAPE(A * B, D)), *dall = ak_zeros(ctx, all->shape);
    make_rows(&rows, 0, A * B, all->data);
    seen want = { { 0 } };
    ak_tensor *dx2 = ak_zeros(ctx, x->shape);
    walk_sets(1, &(int64_t){ A * B }, x->data, all->data, &want, dx2->data, dall->data);
    ak_tensor *da2 = ak_zeros(ctx, a->shape), *db2 = ak_zeros(ctx, b->shape);
    product_rows rows2 = { a->data, b->data, da2->data, db2->data, 0 };
    take_rows(&rows2, 0, A * B, dall->data);
    for (int r = 0; r < ROWS; r++)
        cr_expect_float_eq(s.sum[r], want.sum[r], EQUAL * want.sum[r]);
    expect_close(dx->data, dx2->data, x->size, "gradient of rows");
    expect_close(da->data, da2->data, a->size, "gradient of the first factor");
    expect_close(db->data, db2->data, b->size, "gradient of the second factor");
}

/* ---- rules ----------------------------------------------------------------------------------- */

/* What a rule takes out of an 8 x 8 tile, as the definition says it pair by pair. */
static bool defined_out(const ak__pair_rule *rule, int64_t r, int64_t c)
{
    const int64_t N = rule->samples, a = r % N, b = c % N;
    const bool same_view = r / N == c / N;
    const int32_t *l = rule->labels;
    const bool like = a == b || (l && l[a] == l[b] && l[a] != -1);
    return ((rule->out & AK__OUT_SELF) && r == c) || ((rule->out & AK__OUT_PARTNERS) && a == b) ||
           ((rule->out & AK__OUT_OTHERS) && a != b) ||
           ((rule->out & AK__OUT_SAME_VIEW) && same_view) ||
           ((rule->out & AK__OUT_OTHER_VIEWS) && !same_view) ||
           ((rule->out & AK__OUT_SAME_LABEL) && a != b && like) ||
           ((rule->out & AK__OUT_OTHER_LABELS) && !like);
}

Test(pair_programs, rules_take_out_what_they_say)
{
    enum { N = 5, V = 3, SIDE = 4 };
    static const int32_t labels[N] = { 2, -1, 2, -1, 7 };
    int tried = 0;
    for (unsigned out = 0; out < 128; out++) {
        const ak__pair_rule rule = { .out = out, .labels = labels, .samples = N };
        for (int64_t r0 = 0; r0 < N * V; r0 += SIDE)
            for (int64_t c0 = 0; c0 < N * V; c0 += SIDE, tried++) {
                ak_real s[SIDE * SIDE] = { 0 };
                const int64_t m = r0 + SIDE < N * V ? SIDE : N * V - r0;
                const int64_t n = c0 + SIDE < N * V ? SIDE : N * V - c0;
                const ak__tile t = { .s = s, .score = { s }, .ld = SIDE, .r0 = r0, .m = m,
                                     .c0 = c0, .n = n };
                ak__rule_apply(&rule, &t, 1);
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < n; j++)
                        cr_assert_eq(s[i * SIDE + j] != 0, defined_out(&rule, r0 + i, c0 + j),
                                     "rule %u, pair %d %d", out, (int)(r0 + i), (int)(c0 + j));
            }
    }
    cr_expect_eq(tried, 128 * 16);
}
