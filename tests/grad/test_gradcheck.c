/* SPDX-License-Identifier: Apache-2.0 */
/* Every op of the registry, every sample: backward against central differences, in double.
 *
 * Each sample is checked twice: on leaves, whose gradients are added into memory that exists, and
 * behind another op, where backward gets fresh memory and has to fill all of it. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include <akin/autograd.h>
#include <akin/ops.h>

#define TOLERANCE 1e-6
#define MAX_CASES 2000

typedef struct grad_case { int op, sample; } grad_case;

static ak_ctx *open_quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static bool is_end(const ak_sample *s)
{
    return (s->flags & AK_SAMPLE_END) != 0;
}

static int sample_count(const ak_op *op)
{
    int n = 0;
    while (op->samples && !is_end(&op->samples[n]))
        n++;
    return n;
}

static void expect_exact(const grad_case *c, const char *where, ak_status status,
                         const ak_gradcheck *r, const char *message)
{
    const ak_op *op = ak_op_at(c->op);
    cr_expect_eq(status, AK_OK, "%s sample %d (%s): %s", op->name, c->sample, where, message);
    cr_expect(r->worst <= TOLERANCE,
              "%s sample %d (%s): operand %d element %lld: backward %.12g, differences %.12g, "
              "relative error %.3g", op->name, c->sample, where, r->operand,
              (long long)r->element, r->analytic, r->numeric, r->worst);
}

/* ---- every op, every sample ----------------------------------------------------------------- */

ParameterizedTestParameters(gradcheck, samples)
{
    static grad_case cases[MAX_CASES];
    size_t n = 0;
    for (int i = 0; ak_op_at(i); i++) {
        if (!ak_op_at(i)->backward)
            continue;
        for (int j = 0; j < sample_count(ak_op_at(i)) && n < MAX_CASES; j++)
            cases[n++] = (grad_case){ i, j };
    }
    return cr_make_param_array(grad_case, cases, n);
}

static ak_tensor *run_behind(ak_tensor *const *in, int n, void *user)
{
    const grad_case *c = user;
    const ak_op *op = ak_op_at(c->op);
    ak_tensor *moved[AK_MAX_IN];
    for (int i = 0; i < n; i++)
        moved[i] = in[i] && in[i]->needs_grad ? ak_scale(in[i], 1) : in[i];
    return ak_sample_run(op, &op->samples[c->sample], moved);
}

ParameterizedTest(grad_case *c, gradcheck, samples)
{
    const ak_op *op = ak_op_at(c->op);
    const ak_sample *s = &op->samples[c->sample];
    const int n = s->n_in ? s->n_in : op->n_in;
    ak_ctx *ctx = open_quiet();
    for (uint64_t seed = 1; seed <= 2; seed++) {
        ak_gradcheck r = { 0 };
        ak_status status = ak_gradcheck_op(ctx, op, s, seed, &r);
        expect_exact(c, "leaves", status, &r, ak_error_message(ctx));

        ak_tensor *in[AK_MAX_IN] = { 0 };
        ak_sample_draw(ctx, s, op->n_in, seed, in);
        r = (ak_gradcheck){ 0 };
        status = ak_gradcheck_fn(ctx, run_behind, c, in, n, &r);
        expect_exact(c, "behind an op", status, &r, ak_error_message(ctx));
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- what samples have to cover ------------------------------------------------------------- */

static bool has_dim(const ak_sample *s, int n_in, bool odd)
{
    for (int i = 0; i < (s->n_in ? s->n_in : n_in); i++)
        for (int d = 0; d < s->in[i].n; d++) {
            const int64_t dim = s->in[i].dims[d];
            if (odd ? dim > 1 && dim % 2 : dim == 1)
                return true;
        }
    return false;
}

/* Square matrices of pairs have even sizes only. */
static bool even_by_definition(const ak_op *op)
{
    return op == ak_op_find("pair_diagonal");
}

Test(gradcheck, every_op_has_samples)
{
    int ops = 0;
    for (int i = 0; ak_op_at(i); i++, ops++) {
        const ak_op *op = ak_op_at(i);
        bool one = false, odd = false;
        for (int j = 0; j < sample_count(op); j++) {
            one = one || has_dim(&op->samples[j], op->n_in, false);
            odd = odd || has_dim(&op->samples[j], op->n_in, true);
        }
        cr_expect_not_null(op->formula, "%s", op->name);
        cr_expect(sample_count(op) >= 5, "%s: %d samples, 5 are needed", op->name,
                  sample_count(op));
        cr_expect((one && odd) || even_by_definition(op),
                  "%s: no sample with %s", op->name, one ? "an odd size" : "a dim of 1");
        cr_expect_eq(ak_op_find(op->name), op, "%s: the name is not unique", op->name);
    }
    cr_expect(ops > 60, "only %d ops", ops);
}

/* ---- a wrong backward is caught ------------------------------------------------------------- */

static ak_status wrong_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;
    return AK_OK;
}

static void wrong_forward(ak_call *k)
{
    for (int64_t i = 0; i < k->out->size; i++)
        k->out->data[i] = k->in[0]->data[i] * k->in[0]->data[i];
}

/* 2 x dy, but one element in a thousand parts too large. */
static void wrong_backward(ak_call *k)
{
    ak_real *dx = ak_call_grad(k, 0);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] += 2 * k->in[0]->data[i] * k->out->grad[i] * (i == 2 ? (ak_real)1.001 : 1);
}

/* Right on leaves, but with fresh memory it leaves one element out. */
static void careless_backward(ak_call *k)
{
    bool fresh;
    ak_real *dx = ak_call_grad_fresh(k, 0, &fresh);
    for (int64_t i = 0; dx && i < k->out->size; i++)
        dx[i] = (fresh ? 0 : dx[i]) +
                (fresh && i == 1 ? 0 : 2 * k->in[0]->data[i] * k->out->grad[i]);
}

static const ak_sample wrong_sample = { .in = {{ 1, { 5 } }}, .lo = .5, .hi = 1 };
static const ak_op wrong_op = { .name = "wrong", .n_in = 1, .shape = wrong_shape,
                                .forward = wrong_forward, .backward = wrong_backward };
static const ak_op careless_op = { .name = "careless", .n_in = 1, .shape = wrong_shape,
                                   .forward = wrong_forward, .backward = careless_backward };

static ak_tensor *careless_behind(ak_tensor *const *in, int n, void *user)
{
    (void)user;
    ak_tensor *x = ak_scale(in[0], 1);
    return ak_apply(&careless_op, &x, n, NULL);
}

Test(gradcheck, a_planted_error_is_found)
{
    ak_ctx *ctx = open_quiet();
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_op(ctx, &wrong_op, &wrong_sample, 1, &r), AK_OK);
    cr_expect(r.worst > 1e-4 && r.worst < 1e-2, "worst %g", r.worst);
    cr_expect_eq(r.operand, 0);
    cr_expect_eq(r.element, 2);
    ak_close(ctx);
}

Test(gradcheck, an_error_with_fresh_memory_is_found)
{
    ak_ctx *ctx = open_quiet();
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_op(ctx, &careless_op, &wrong_sample, 1, &r), AK_OK);
    cr_expect(r.worst > 0.1, "on leaves: worst %g", r.worst);
    cr_expect_eq(r.element, 1);

    ak_tensor *in[AK_MAX_IN];
    ak_sample_draw(ctx, &wrong_sample, 1, 1, in);
    r = (ak_gradcheck){ 0 };
    cr_assert_eq(ak_gradcheck_fn(ctx, careless_behind, NULL, in, 1, &r), AK_OK);
    cr_expect(r.worst > 0.1, "behind an op: worst %g", r.worst);
    cr_expect_eq(r.element, 1);
    ak_close(ctx);
}

/* The same function with the right backward passes, so the check is not merely strict. */
Test(gradcheck, the_right_backward_passes)
{
    ak_ctx *ctx = open_quiet();
    ak_gradcheck r = { 0 };
    cr_assert_eq(ak_gradcheck_op(ctx, ak_op_find("square"), &wrong_sample, 1, &r), AK_OK);
    cr_expect(r.worst <= 1e-7, "worst %g", r.worst);
    ak_close(ctx);
}
