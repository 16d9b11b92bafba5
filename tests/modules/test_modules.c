/* SPDX-License-Identifier: Apache-2.0 */
/* What holds for every module of rows.h: sizes, batches of one, padding, files, copies, frozen
 * parameters, gradients, the same bits for any number of threads. */
#include <criterion/criterion.h>

#include "table.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static ak_module *make(ak_ctx *ctx, const module_row *r, const char *name)
{
    ak_module *m = r->make(ctx, name);
    cr_assert_not_null(m, "%s: %s", r->call, ak_error_message(ctx));
    return m;
}

/* Parameters of starts that hide something (norms of zeros, a bias of zero) get other numbers. */
static void stir(ak_module *m)
{
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++)
        for (int64_t j = 0; j < t->size; j++)
            t->data[j] += (ak_real)(0.1 * ak_random_uniform(11, (uint64_t)i, (uint64_t)j));
}

/* The first `samples` of the row's example; x belongs to the step, or is kept with a gradient. */
static ak_inputs inputs_of(ak_ctx *ctx, const module_row *r, int64_t samples)
{
    ak_inputs in = { 0 };
    if (r->x.n >= 0) {
        ak_tensor *x = ak_zeros(ctx, r->x);
        for (int64_t i = 0; i < x->size; i++)
            x->data[i] = (ak_real)ak_random_normal(5, 1, (uint64_t)i);
        in.x = ak_rows(x, 0, samples);
    }
    if (r->ids.n >= 0) {
        int32_t values[64];
        ak_shape shape = r->ids;
        shape.dims[0] = samples;
        for (int64_t i = 0; i < ak_shape_size(shape); i++)
            values[i] = (int32_t)((3 * i + i / 2) % r->below);
        in.ids = ak_index_from(ctx, shape, values);
    }
    if (r->flags & MEMORY) {
        in.memory = ak_zeros(ctx, AK_SHAPE(samples, 3, 5));
        for (int64_t i = 0; i < in.memory->size; i++)
            in.memory->data[i] = (ak_real)ak_random_normal(5, 2, (uint64_t)i);
    }
    if (r->flags & SOURCE) {
        static const int32_t words[] = { 2, 0, 3, 1, 1, 4 };
        in.memory_ids = ak_index_from(ctx, AK_SHAPE(samples, 3), words);
    }
    return in;
}

static int64_t samples_of(const module_row *r)
{
    return r->x.n >= 0 ? r->x.dims[0] : r->ids.dims[0];
}

static ak_tensor *run(ak_ctx *ctx, ak_module *m, const module_row *r)
{
    ak_tensor *y = ak_forward_with(m, inputs_of(ctx, r, samples_of(r)));
    cr_assert_not(ak_is_poison(y), "%s: %s", r->call, ak_error_message(ctx));
    return y;
}

static bool same_bits(const ak_tensor *a, const ak_tensor *b)
{
    return ak_shape_equal(a->shape, b->shape) &&
           memcmp(a->data, b->data, (size_t)a->size * sizeof *a->data) == 0;
}

Test(modules, rows_are_true)
{
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, r, "m");
        const ak_tensor *y = run(ctx, m, r);
        char got[AK_SHAPE_TEXT], want[AK_SHAPE_TEXT];
        cr_expect(ak_shape_equal(y->shape, r->y), "%s: gives %s, the row says %s", r->call,
                  ak_shape_text(y->shape, got), ak_shape_text(r->y, want));
        cr_expect_eq(ak_module_size(m), r->size, "%s: has %lld parameters, the row says %lld",
                     r->call, (long long)ak_module_size(m), (long long)r->size);
        ak_close(ctx);
    }
}

/* In evaluation mode a sample does not depend on the others of its batch. In train mode a batch of
 * one is fine, or refused where there are no statistics. */
Test(modules, batch_of_one)
{
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, r, "m");
        stir(m);
        ak_train_mode(ctx, false);
        const ak_tensor *all = run(ctx, m, r);
        const ak_tensor *one = ak_forward_with(m, inputs_of(ctx, r, 1));
        cr_assert_not(ak_is_poison(one), "%s: %s", r->call, ak_error_message(ctx));
        const double tol = sizeof(ak_real) == 8 ? 1e-12 : 2e-5;
        for (int64_t j = 0; j < one->size; j++)
            cr_expect_float_eq((double)one->data[j], (double)all->data[j], tol *
                               fmax(1, fabs((double)all->data[j])), "%s: %lld", r->call,
                               (long long)j);
        ak_step_end(ctx);
        ak_train_mode(ctx, true);
        const uint32_t before = ak_hash(ctx, "~*");
        const bool refused = ak_is_poison(ak_forward_with(m, inputs_of(ctx, r, 1)));
        cr_expect_eq(refused, (r->flags & BATCH) != 0, "%s: %s", r->call, ak_error_message(ctx));
        if (refused) {
            cr_expect_eq(ak_error(ctx), AK_ERR_SHAPE, "%s", ak_error_message(ctx));
            if (r->x.n < 4)     /* in deep nets the norms before the one that refuses have moved */
                cr_expect_eq(ak_hash(ctx, "~*"), before, "%s: a refused batch moved something",
                             r->call);
        }
        ak_step_end(ctx);
        cr_expect_eq(ak_error(ctx), AK_OK);
        ak_close(ctx);
    }
}

/* ---- padding --------------------------------------------------------------------------------- */

enum { SHORT = 5, LONG = 9 };           /* positions of the two batches that are compared */

/* A batch of T positions of which lengths are valid: those hold the same numbers for any T. */
static ak_inputs padded_inputs(ak_ctx *ctx, const module_row *r, int64_t T, const int32_t *lengths)
{
    ak_inputs in = { 0 };
    const int64_t N = samples_of(r);
    if (r->x.n >= 0) {
        const int64_t C = ak_shape_size(r->x) / r->x.dims[0] / r->x.dims[1];
        ak_shape shape = r->x;
        shape.dims[1] = T;
        in.x = ak_zeros(ctx, shape);
        for (int64_t i = 0; i < in.x->size; i++) {
            const int64_t n = i / (T * C), t = i / C % T, place = (n * LONG + t) * C + i % C;
            in.x->data[i] = t < lengths[n] ? (ak_real)ak_random_normal(5, 1, (uint64_t)place)
                                           : (ak_real)(100 * T);
        }
        ak_require_grad(in.x);
    }
    if (r->ids.n >= 0) {
        int32_t values[8 * LONG];
        for (int64_t i = 0; i < N * T; i++)
            values[i] = (int32_t)((i / T * 3 + (i % T < lengths[i / T] ? i % T : i)) % r->below);
        in.ids = ak_index_from(ctx, AK_SHAPE(N, T), values);
    }
    in.lengths = ak_index_from(ctx, AK_SHAPE(N), lengths);
    return in;
}

/* Positions of y that are compared. One with as many as x has them where x has, others are 0 where
 * nothing is left. */
static int64_t compared(const ak_tensor *y, int64_t n, int64_t T, const int32_t *lengths)
{
    return y->shape.n < 3 ? 1 : y->shape.dims[1] == T ? lengths[n] : y->shape.dims[1];
}

typedef struct padded_run { ak_ctx *ctx; ak_module *m; ak_inputs in; ak_tensor *y; } padded_run;

/* Forward, and backward from the compared positions. */
static padded_run run_padded(const module_row *r, bool train, int64_t T, const int32_t *lengths)
{
    padded_run p = { .ctx = quiet() };
    p.m = make(p.ctx, r, "m");
    stir(p.m);
    ak_train_mode(p.ctx, train);
    p.in = padded_inputs(p.ctx, r, T, lengths);
    p.y = ak_forward_with(p.m, p.in);
    cr_assert_not(ak_is_poison(p.y), "%s: %s", r->call, ak_error_message(p.ctx));
    ak_tensor *dy = ak_zeros(p.ctx, p.y->shape);
    const int64_t each = dy->size / samples_of(r), D = ak_last_dim(dy);
    for (int64_t n = 0; n < samples_of(r); n++)
        for (int64_t i = 0; i < compared(p.y, n, T, lengths) * D; i++)
            dy->data[n * each + i] = (ak_real)ak_random_normal(6, (uint64_t)n, (uint64_t)i);
    if (ak_module_size(p.m))
        cr_assert_eq(ak_backward_from(p.y, dy->data), AK_OK, "%s: %s", r->call,
                     ak_error_message(p.ctx));
    return p;
}

static void expect_near(const module_row *r, const char *what, ak_real a, ak_real b)
{
    const double tol = sizeof(ak_real) == 8 ? 1e-11 : 1e-4, size = fmax(1, fabs((double)b));
    cr_assert_float_eq((double)a, (double)b, tol * size, "%s: %s: %g, %g", r->call, what, (double)a,
                       (double)b);
}

static void expect_same_run(const module_row *r, const padded_run *a, const padded_run *b,
                            const int32_t *lengths)
{
    const int64_t N = samples_of(r), D = ak_last_dim(a->y);
    for (int64_t n = 0; n < N; n++)
        for (int64_t i = 0; i < compared(a->y, n, SHORT, lengths) * D; i++)
            expect_near(r, "y", a->y->data[n * a->y->size / N + i],
                        b->y->data[n * b->y->size / N + i]);
    const ak_tensor *t;
    for (int64_t j = 0; (t = ak_module_param(a->m, j)) != NULL; j++)
        for (int64_t i = 0; i < t->size; i++) {
            const ak_tensor *other = ak_module_param(b->m, j);
            expect_near(r, t->name, t->data[i], other->data[i]);
            if (t->grad)
                expect_near(r, t->name, t->grad[i], other->grad[i]);
        }
    for (int64_t i = 0; a->in.x && i < a->in.x->size; i++) {
        const int64_t C = a->in.x->size / N / SHORT, n = i / (SHORT * C), at = i % (SHORT * C);
        if (at / C < lengths[n])
            expect_near(r, "dx", a->in.x->grad[i], b->in.x->grad[n * LONG * C + at]);
        else
            cr_assert_eq(a->in.x->grad[i], 0, "%s: dx in padding", r->call);
    }
}

/* Whatever stands in padding, and however much of it there is, values, gradients and running
 * statistics are the same; sequences of length 1 and of full length among them. */
Test(modules, padding_changes_nothing)
{
    static const int32_t lengths[][3] = { { SHORT, 1, 3 }, { 1, 1, 1 }, { SHORT, SHORT, SHORT } };
    int found = 0;
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        const bool takes = ak_module_takes(make(ctx, r, "m")) & AK_IN_LENGTHS;
        ak_close(ctx);
        for (int c = 0; takes && c < 3; c++)
            for (int train = 0; train <= !(r->flags & RANDOM); train++) {
                padded_run a = run_padded(r, train, SHORT, lengths[c]);
                padded_run b = run_padded(r, train, LONG, lengths[c]);
                expect_same_run(r, &a, &b, lengths[c]);
                ak_close(a.ctx);
                ak_close(b.ctx);
                found++;
            }
    }
    cr_expect_gt(found, 0);
}

/* Train and evaluation mode differ where there are batch norms or draws, and nowhere else; a module
 * that is kept in evaluation mode does not move in either. */
Test(modules, both_modes)
{
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, r, "m");
        const ak_tensor *t;
        bool buffers = false;
        for (int64_t j = 0; (t = ak_module_param(m, j)) != NULL; j++)
            buffers = buffers || ((t->flags & AK_PARAM_BUFFER) && !(r->flags & FIXED));
        ak_train_mode(ctx, false);
        const uint32_t start = ak_hash(ctx, "~*");
        ak_tensor *evaluated = ak_keep(run(ctx, m, r));
        cr_expect_eq(ak_hash(ctx, "~*"), start, "%s: evaluation moves something", r->call);
        ak_train_mode(ctx, true);
        ak_module_train(m, false);
        cr_expect(same_bits(run(ctx, m, r), evaluated), "%s: ak_module_train", r->call);
        cr_expect_eq(ak_hash(ctx, "~*"), start, "%s", r->call);
        ak_module_train(m, true);
        const ak_tensor *trained = run(ctx, m, r);
        cr_expect_eq(same_bits(trained, evaluated), !buffers && !(r->flags & RANDOM), "%s",
                     r->call);
        cr_expect_eq(ak_hash(ctx, "~*") != start, buffers, "%s: running statistics", r->call);
        ak_close(ctx);
    }
}

/* Frozen parameters get no gradient and keep their bits, whatever the optimiser does. */
Test(modules, frozen)
{
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, r, "m");
        if (ak_module_size(m) == 0) {
            ak_close(ctx);
            continue;
        }
        ak_tensor *free = ak_param(ctx, "free", r->y, 0);
        ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 0.1, .weight_decay = 0.5 });
        ak_freeze(ctx, "m/*", true);
        ak_train_mode(ctx, false);
        const uint32_t before = ak_hash(ctx, "m/*");
        for (int step = 0; step < 2; step++) {
            ak_tensor *loss = ak_mean(ak_square(ak_sub(run(ctx, m, r), free)));
            cr_assert_eq(ak_backward(loss), AK_OK, "%s: %s", r->call, ak_error_message(ctx));
            const ak_tensor *t;
            for (int64_t j = 0; (t = ak_module_param(m, j)) != NULL; j++)
                for (int64_t e = 0; t->grad && e < t->size; e++)
                    cr_assert_eq(t->grad[e], 0, "%s: %s", r->call, t->name);
            ak_optim_step(opt);
            ak_step_end(ctx);
        }
        cr_expect_eq(ak_hash(ctx, "m/*"), before, "%s: frozen parameters moved", r->call);
        ak_freeze(ctx, "m/*", false);
        cr_assert_eq(ak_backward(ak_mean(ak_square(ak_sub(run(ctx, m, r), free)))), AK_OK);
        ak_optim_step(opt);
        cr_expect_neq(ak_hash(ctx, "m/*"), before, "%s: thawed parameters stand still", r->call);
        ak_close(ctx);
    }
}

/* A file, and a copy, give the same output bits. */
Test(modules, files_and_copies)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/akin-modules-%d.npz", (int)getpid());
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        ak_ctx *ctx = quiet();
        ak_module *m = make(ctx, r, "m"), *other = make(ctx, r, "other");
        stir(m);
        if (!(r->flags & RANDOM))
            run(ctx, m, r);                     /* running statistics that are not the start's */
        ak_step_end(ctx);
        ak_train_mode(ctx, false);
        ak_tensor *y = ak_keep(run(ctx, m, r));
        if (ak_module_param(m, 0)) {
            cr_assert_eq(ak_module_save_npz(m, path), AK_OK, "%s", ak_error_message(ctx));
            cr_assert_eq(ak_module_load_npz(other, path), AK_OK, "%s: %s", r->call,
                         ak_error_message(ctx));
        }
        cr_expect(same_bits(run(ctx, other, r), y), "%s: loaded", r->call);
        ak_module *twin = ak_module_clone(m, "twin");
        cr_assert_not_null(twin, "%s: %s", r->call, ak_error_message(ctx));
        cr_expect(same_bits(run(ctx, twin, r), y), "%s: copied", r->call);
        stir(m);
        cr_expect(same_bits(run(ctx, twin, r), y), "%s: the copy follows the original", r->call);
        ak_close(ctx);
    }
    unlink(path);
}

/* ---- gradients ------------------------------------------------------------------------------- */

typedef struct closure { const module_row *r; ak_module *m; ak_ctx *ctx; } closure;

static ak_tensor *output(ak_tensor *const *in, int n, void *user)
{
    const closure *c = user;
    ak_inputs inputs = inputs_of(c->ctx, c->r, samples_of(c->r));
    (void)n;
    if (inputs.x)
        inputs.x = in[0];
    return ak_forward_with(c->m, inputs);
}

Test(modules, gradients)
{
    for (int i = 0; i < ROWS && sizeof(ak_real) == 8; i++) {
        const module_row *r = &rows[i];
        for (int train = 0; train < 2; train++) {
            if ((train && (r->flags & RANDOM)) || r->size > 2000)   /* deep nets: golden files */
                continue;
            ak_ctx *ctx = quiet();
            ak_module *m = make(ctx, r, "m");
            stir(m);
            ak_train_mode(ctx, train);
            ak_tensor *in[128];
            int n = 0;
            if (r->x.n >= 0) {
                in[n] = ak_param(ctx, "x", r->x, 0);
                ak_copy(in[n++], inputs_of(ctx, r, samples_of(r)).x);
            }
            ak_tensor *t;
            for (int64_t j = 0; (t = ak_module_param(m, j)) != NULL; j++)
                if (!(t->flags & AK_PARAM_BUFFER))
                    in[n++] = t;
            ak_gradcheck result = { 0 };
            cr_assert_eq(ak_gradcheck_fn(ctx, output, &(closure){ r, m, ctx }, in, n, &result),
                         AK_OK, "%s: %s", r->call, ak_error_message(ctx));
            cr_expect_lt(result.worst, 2e-8, "%s, %s mode: %g at %s[%lld]: %g, numeric %g", r->call,
                         train ? "train" : "evaluation", result.worst, in[result.operand]->name,
                         (long long)result.element, result.analytic, result.numeric);
            ak_close(ctx);
        }
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

/* Output, gradients and running statistics of a training step as one number. */
static uint32_t step_bits(const module_row *r)
{
    ak_ctx *ctx = quiet();
    ak_module *m = make(ctx, r, "m");
    ak_tensor *y = run(ctx, m, r);
    uint32_t bits = 2166136261u;
    for (int64_t j = 0; j < y->size; j++) {
        ak_real v = y->data[j];
        for (size_t b = 0; b < sizeof v; b++)
            bits = (bits ^ ((unsigned char *)&v)[b]) * 16777619u;
    }
    if (ak_module_size(m)) {
        cr_assert_eq(ak_backward(ak_mean(ak_square(y))), AK_OK, "%s", ak_error_message(ctx));
        const ak_tensor *t;
        for (int64_t j = 0; (t = ak_module_param(m, j)) != NULL; j++)
            for (int64_t e = 0; e < t->size && t->grad; e++) {
                ak_real v = t->grad[e];
                for (size_t b = 0; b < sizeof v; b++)
                    bits = (bits ^ ((unsigned char *)&v)[b]) * 16777619u;
            }
    }
    bits ^= ak_hash(ctx, "~m/*");
    ak_close(ctx);
    return bits;
}

Test(modules, same_bits_for_any_number_of_threads)
{
#ifdef _OPENMP
    for (int i = 0; i < ROWS; i++) {
        omp_set_num_threads(1);
        const uint32_t one = step_bits(&rows[i]);
        for (int threads = 2; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            cr_expect_eq(step_bits(&rows[i]), one, "%s with %d threads", rows[i].call, threads);
        }
    }
#endif
}
