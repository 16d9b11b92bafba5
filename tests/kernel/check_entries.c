/* SPDX-License-Identifier: Apache-2.0 */
/* Every entry but the matrix product: one record each, run on the reference and on the table
 * under test with the same values.
 *
 * The tolerance of entry k at element i is factor * epsilon * bound[i], where bound is what the
 * reference gives for the same call with every term made positive: the sum of absolute values. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_ARRAYS 8
#define LENGTHS 131

/* One call: io[0..n_io) are read and written (or only written), in[0..n_in) are read. For column
 * entries arrays are [R, C] or [C], as the record says. */
typedef struct kernel_call {
    float  *io[4];
    float  *in[MAX_ARRAYS];
    float   a, b;                   /* scalar arguments */
    int64_t n, R, C;
    bool    flag;                   /* relu, an optional array given, nesterov... */
    bool    second;
    ak__put put;
    float   result[2];              /* scalars that the entry returns */
} kernel_call;

typedef struct entry_record {
    const char *name;
    void (*run)(const ak_kernels *k, kernel_call *c);
    const char *io, *in;            /* one letter an array: n [n] or [R,C], c [C], s positive [n],
                                     * S positive [C] */
    double      factor;             /* 0: the bits must be equal */
    const char *signs;              /* of the inputs and of a, b in the call that gives the bound:
                                     * + |x|, - -|x|, 1 one, . as is; order io, in, a, b */
    int         flags;
} entry_record;

enum {
    F = 1, G = 2, P = 4,            /* uses flag, second, put */
    R1 = 8,                         /* returns a scalar */
    COLUMNS = 16,
    SELF = 32                       /* the output may be the first input */
};

static void run_dot(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->dot(c->in[0], c->in[1], c->n);
}
static void run_sum(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->sum(c->in[0], c->n);
}
static void run_sum_squares(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->sum_squares(c->in[0], c->n);
}
static void run_max(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->max(c->in[0], c->n);
}
static void run_axpy(const ak_kernels *k, kernel_call *c)
{
    k->axpy(c->io[0], c->a, c->in[0], c->n);
}
static void run_scale(const ak_kernels *k, kernel_call *c)
{
    k->scale(c->io[0], c->a, c->in[0], c->n);
}
static void run_add(const ak_kernels *k, kernel_call *c)
{
    k->add(c->io[0], c->in[0], c->in[1], c->n);
}
static void run_sub(const ak_kernels *k, kernel_call *c)
{
    k->sub(c->io[0], c->in[0], c->in[1], c->n);
}
static void run_mul(const ak_kernels *k, kernel_call *c)
{
    k->mul(c->io[0], c->in[0], c->in[1], c->n);
}
static void run_mul_add(const ak_kernels *k, kernel_call *c)
{
    k->mul_add(c->io[0], c->in[0], c->in[1], c->n);
}
static void run_affine(const ak_kernels *k, kernel_call *c)
{
    k->affine(c->io[0], c->a, c->in[0], c->b, c->n, c->put);
    k->fence();
}
static void run_shift(const ak_kernels *k, kernel_call *c)
{
    k->shift(c->io[0], c->in[0], c->a, c->b, c->n, c->put);
    k->fence();
}
static void run_combine(const ak_kernels *k, kernel_call *c)
{
    k->combine(c->io[0], c->a, c->in[0], c->b, c->in[1], c->n, c->put);
    k->fence();
}
static void run_exp_sum(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->exp_sum(c->flag ? NULL : c->io[0], c->in[0], c->a, c->n);
}
static void run_exp_affine(const ak_kernels *k, kernel_call *c)
{
    k->exp_affine(c->io[0], c->a, c->in[0], c->b, c->a, c->flag ? c->in[1] : NULL, 0.5F, c->n,
                  c->put);
}
static void run_exp_fold(const ak_kernels *k, kernel_call *c)
{
    c->result[0] = k->exp_fold(c->io[0], c->in[0], c->a, c->n);
}
static void run_exp_weigh(const ak_kernels *k, kernel_call *c)
{
    k->exp_weigh(c->io[0], c->in[0], c->a, c->b, c->flag ? c->in[1] : NULL, c->n);
}
static void run_relu(const ak_kernels *k, kernel_call *c)
{
    k->relu(c->io[0], c->in[0], c->n, c->put);
}
static void run_relu_backward(const ak_kernels *k, kernel_call *c)
{
    k->relu_backward(c->io[0], c->in[0], c->in[1], c->n, c->put);
}
static void run_gelu(const ak_kernels *k, kernel_call *c)
{
    k->gelu(c->io[0], c->in[0], c->n, c->put);
}
static void run_gelu_backward(const ak_kernels *k, kernel_call *c)
{
    k->gelu_backward(c->io[0], c->in[0], c->in[1], c->n, c->put);
}
static void run_gelu_tanh(const ak_kernels *k, kernel_call *c)
{
    k->gelu_tanh(c->io[0], c->in[0], c->n, c->put);
}
static void run_gelu_tanh_backward(const ak_kernels *k, kernel_call *c)
{
    k->gelu_tanh_backward(c->io[0], c->in[0], c->in[1], c->n, c->put);
}
static void run_layer_norm_row(const ak_kernels *k, kernel_call *c)
{
    k->layer_norm_row(c->io[0], c->in[0], c->flag ? c->in[1] : NULL, c->second ? c->in[2] : NULL,
                      0.1F, c->n, &c->result[0], &c->result[1], c->put);
}
static void run_softmax_backward_row(const ak_kernels *k, kernel_call *c)
{
    k->softmax_backward_row(c->io[0], c->in[0], c->in[1], c->n, c->put);
}
/* flag: all outputs and a weight, centred; else one output after the other. */
static void run_norm_backward_row(const ak_kernels *k, kernel_call *c)
{
    if (c->flag) {
        k->norm_backward_row(c->io[0], c->io[1], c->io[2], c->in[0], c->in[1], c->in[2], 0.5F,
                             0.25F, c->n, true, c->put);
        return;
    }
    k->norm_backward_row(c->io[0], NULL, NULL, c->in[0], c->in[1], NULL, 0, 0.5F, c->n, c->second,
                         c->put);
    k->norm_backward_row(NULL, c->io[1], NULL, c->in[0], c->in[1], c->in[2], 0.5F, 1, c->n,
                         c->second, c->put);
    k->norm_backward_row(NULL, NULL, c->io[2], c->in[0], c->in[1], c->in[2], 0.5F, 1, c->n,
                         c->second, c->put);
}
static void run_column_moments(const ak_kernels *k, kernel_call *c)
{
    k->column_moments(c->io[0], c->io[1], c->in[0], c->in[1], c->R, c->C);
}
static void run_column_sum(const ak_kernels *k, kernel_call *c)
{
    k->column_sum(c->io[0], c->in[0], c->R, c->C);
}
static void run_column_affine(const ak_kernels *k, kernel_call *c)
{
    k->column_affine(c->io[0], c->in[0], c->in[1], c->in[2], c->second ? c->in[3] : NULL, c->R,
                     c->C, c->flag, c->put);
}
/* flag: by y; second: by a map of x; else open. */
static ak__gate gate_of(const kernel_call *c, const float *y, const float *scale,
                        const float *shift)
{
    return c->flag ? (ak__gate){.y = y}
         : c->second ? (ak__gate){.scale = scale, .shift = shift} : (ak__gate){.y = NULL};
}
static void run_batch_norm_sums(const ak_kernels *k, kernel_call *c)
{
    k->batch_norm_sums(c->io[0], c->io[1], c->in[0], c->in[1],
                       gate_of(c, c->in[2], c->in[5], c->in[6]), c->in[3], c->in[4], c->R, c->C);
}
static void run_batch_norm_grad(const ak_kernels *k, kernel_call *c)
{
    k->batch_norm_grad(c->io[0], c->in[0], c->in[1], gate_of(c, c->in[2], c->in[6], c->in[7]),
                       c->in[3], c->in[4], c->in[5], c->R, c->C, c->put);
}
static void run_adam(const ak_kernels *k, kernel_call *c)
{
    const ak__adam_args args = {.lr = 1e-2F, .beta1 = 0.9F, .beta2 = 0.99F, .eps = 1e-3F,
                                .correction1 = 1.5F, .correction2 = 2.5F,
                                .decay = c->flag ? 0.1F : 0.0F, .l2 = c->second ? 0.2F : 0.0F};
    k->adam(c->io[0], c->io[1], c->io[2], c->io[3], c->n, &args);
}
static void run_sgd(const ak_kernels *k, kernel_call *c)
{
    const ak__sgd_args args = {.lr = 0.1F, .momentum = 0.9F, .l2 = c->second ? 0.2F : 0.0F,
                               .nesterov = c->flag, .first = c->second};
    k->sgd(c->io[0], c->io[1], c->flag || c->second ? c->io[2] : NULL, c->n, &args);
}
static void run_lerp(const ak_kernels *k, kernel_call *c)
{
    k->lerp(c->io[0], c->in[0], c->a, c->n);
}

/* The bytes are made of the first input's bits, so that they are guarded as well. */
static void run_from_u8(const ak_kernels *k, kernel_call *c)
{
    k->from_u8(c->io[0], (const uint8_t *)c->in[0] + 3 * c->n, c->a, c->b, c->n);
}

/* Gates of a quarter of n numbers: what is behind stays as it is. flag: with a bias; second: c is
 * kept. */
static void run_gru_step(const ak_kernels *k, kernel_call *c)
{
    k->gru_step(c->io[0], c->in[0], c->flag ? c->in[1] : NULL, c->in[2], c->io[1], c->io[2],
                c->n / 4, c->second);
}
static void run_gru_slope(const ak_kernels *k, kernel_call *c)
{
    k->gru_slope(c->io[0], c->io[1], c->io[2], c->in[0], c->in[1], c->in[2], c->n / 4);
}

static const entry_record records[] = {
    {"dot", run_dot, "", "nn", 8, "++++", R1},
    {"sum", run_sum, "", "n", 8, "+++", R1},
    {"sum_squares", run_sum_squares, "", "n", 8, "+++", R1},
    {"max", run_max, "", "n", 0, "+++", R1},
    {"axpy", run_axpy, "n", "n", 2, "++++", 0},
    {"scale", run_scale, "n", "n", 0, "++++", SELF},
    {"add", run_add, "n", "nn", 0, "+++++", SELF},
    {"sub", run_sub, "n", "nn", 0, "++-++", SELF},
    {"mul", run_mul, "n", "nn", 0, "+++++", SELF},
    {"mul_add", run_mul_add, "n", "nn", 2, "+++++", 0},
    {"affine", run_affine, "n", "n", 2, "++++", P | SELF},
    {"shift", run_shift, "n", "n", 0, "++--", P | SELF},
    {"combine", run_combine, "n", "nn", 4, "+++++", P | SELF},
    {"exp_sum", run_exp_sum, "n", "n", 64, "", F | R1 | SELF},
    {"exp_affine", run_exp_affine, "n", "nn", 64, "+.++.", F | P | SELF},
    {"exp_fold", run_exp_fold, "n", "n", 64, "+...", R1},
    {"exp_weigh", run_exp_weigh, "n", "nn", 64, "+.+.+", F | SELF},
    {"relu", run_relu, "n", "n", 0, "++++", P | SELF},
    {"relu_backward", run_relu_backward, "n", "nn", 0, "+++++", P},
    {"gelu", run_gelu, "n", "n", 4, "", P | SELF},
    {"gelu_backward", run_gelu_backward, "n", "nn", 8, "", P},
    {"gelu_tanh", run_gelu_tanh, "n", "n", 4, "", P | SELF},
    {"gelu_tanh_backward", run_gelu_tanh_backward, "n", "nn", 12, "", P},
    {"softmax_backward_row", run_softmax_backward_row, "n", "nn", 16, "--+..", P},
    {"layer_norm_row", run_layer_norm_row, "n", "nnn", 16, "", F | G | P | R1 | SELF},
    {"norm_backward_row", run_norm_backward_row, "nnn", "nnn", 32, "", F | G | P},
    {"column_moments", run_column_moments, "cc", "nc", 16, "+++-++", COLUMNS},
    {"column_sum", run_column_sum, "c", "n", 16, "++++", COLUMNS},
    {"column_affine", run_column_affine, "n", "nccn", 2, "+++++++", F | G | P | COLUMNS | SELF},
    {"batch_norm_sums", run_batch_norm_sums, "cc", "nnncScc", 16, "++++1-+11++", F | G | COLUMNS},
    {"batch_norm_grad", run_batch_norm_grad, "n", "nnnccccc", 4, "+++1+++11++",
     F | G | P | COLUMNS},
    {"adam", run_adam, "nnns", "", 16, "", F | G},
    {"sgd", run_sgd, "nnn", "", 8, "", F | G},
    {"lerp", run_lerp, "n", "n", 3, "+---", 0},
    {"gru_step", run_gru_step, "nnn", "nnn", 64, "", F | G},
    {"gru_slope", run_gru_slope, "nnn", "nnn", 64, "", 0},
    {"from_u8", run_from_u8, "n", "n", 2, "+.++", 0},
};

/* ---- the calls ------------------------------------------------------------------------------ */

static int64_t length_of(char kind, const kernel_call *c)
{
    return kind == 'c' || kind == 'S' ? c->C : c->n;
}

/* Arrays of one call: for the table under test guarded, for the reference plain. */
typedef struct call_arrays {
    guarded io[4], in[MAX_ARRAYS];
    int     n_io, n_in;
} call_arrays;

static call_arrays arrays_new(const entry_record *r, kernel_call *c, int placement)
{
    call_arrays a = {.n_io = (int)strlen(r->io), .n_in = (int)strlen(r->in)};
    for (int i = 0; i < a.n_io; i++) {
        a.io[i] = guarded_new(length_of(r->io[i], c), placement);
        c->io[i] = a.io[i].x;
    }
    for (int i = 0; i < a.n_in; i++) {
        a.in[i] = guarded_new(length_of(r->in[i], c), placement ? 4 - placement : 0);
        c->in[i] = a.in[i].x;
    }
    return a;
}

static bool arrays_free(call_arrays *a)
{
    bool ok = true;
    for (int i = 0; i < a->n_io; i++)
        ok = guarded_free(a->io[i]) && ok;
    for (int i = 0; i < a->n_in; i++)
        ok = guarded_free(a->in[i]) && ok;
    return ok;
}

static void arrays_copy(const call_arrays *from, call_arrays *to)
{
    for (int i = 0; i < from->n_io; i++)
        memcpy(to->io[i].x, from->io[i].x, (size_t)from->io[i].n * sizeof(float));
    for (int i = 0; i < from->n_in; i++)
        memcpy(to->in[i].x, from->in[i].x, (size_t)from->in[i].n * sizeof(float));
}

static void arrays_fill(const entry_record *r, call_arrays *a, fill_kind kind)
{
    for (int i = 0; i < a->n_io; i++)
        fill(a->io[i].x, a->io[i].n, r->io[i] == 's' ? FILL_POSITIVE : kind);
    for (int i = 0; i < a->n_in; i++)
        fill(a->in[i].x, a->in[i].n, r->in[i] == 'S' ? FILL_POSITIVE : kind);
}

static float positive_value(char sign, float x)
{
    if (!isfinite(x) && sign != '.')
        x = 0;
    return sign == '+' ? fabsf(x) : sign == '-' ? -fabsf(x) : sign == '1' ? 1.0F : x;
}

/* Give all values the signs with which every term is positive; infinities count as 0, for where a
 * result does depend on one, there is no tolerance. */
static void make_positive(const entry_record *r, call_arrays *a, kernel_call *c)
{
    const char *s = r->signs;
    for (int i = 0; i < a->n_io + a->n_in; i++, s++) {
        guarded *g = i < a->n_io ? &a->io[i] : &a->in[i - a->n_io];
        for (int64_t j = 0; j < g->n; j++)
            g->x[j] = positive_value(*s, g->x[j]);
    }
    c->a = positive_value(s[0], c->a);
    c->b = positive_value(s[1], c->b);
}

static double finite_size(float x)
{
    return isfinite(x) ? fabs((double)x) : 0;
}

/* Entries without a positive call: the bound is the largest number in sight. */
static double rough_bound(const kernel_call *c, const call_arrays *start, const call_arrays *ref,
                          int64_t i)
{
    double b = 0;
    for (int k = 0; k < start->n_io; k++)
        if (i < start->io[k].n)
            b += finite_size(start->io[k].x[i]) + finite_size(ref->io[k].x[i]);
    double product = 1;
    for (int k = 0; k < start->n_in; k++)
        if (i < start->in[k].n)
            product *= 1 + finite_size(start->in[k].x[i]);
    return b + product + finite_size(c->a);
}

static bool same_bits_or_nan(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof a) == 0;
}

static double tolerance_at(const entry_record *r, const kernel_call *c, const call_arrays *start,
                           const call_arrays *ref, const call_arrays *bound, int k, int64_t i)
{
    const double b = r->signs[0] ? fabs((double)bound->io[k].x[i])
                                 : rough_bound(c, start, ref, i);
    return r->factor * (double)FLT_EPSILON * b;
}

static void compare(const entry_record *r, const isa_table *isa, const kernel_call *got,
                    const kernel_call *ref, const kernel_call *bound, const call_arrays *a_got,
                    const call_arrays *a_ref, const call_arrays *a_bound,
                    const call_arrays *a_start)
{
    for (int k = 0; k < a_got->n_io; k++) {
        for (int64_t i = 0; i < a_got->io[k].n; i++) {
            const float x = a_got->io[k].x[i], y = a_ref->io[k].x[i];
            const bool ok = r->factor == 0
                ? same_bits_or_nan(x, y)
                : near_enough(x, y, tolerance_at(r, ref, a_start, a_ref, a_bound, k, i));
            check_result(ok, isa->name, "%s array %d, n %lld R %lld C %lld, [%lld]: %.9g, not %.9g",
                         r->name, k, (long long)got->n, (long long)got->R, (long long)got->C,
                         (long long)i, (double)x, (double)y);
        }
    }
    for (int k = 0; k < 2 && (r->flags & R1); k++) {
        const double b = r->signs[0] ? fabs((double)bound->result[k])
                                     : 1 + fabs((double)ref->result[k]);
        const double tolerance = r->factor == 0 ? 0 : r->factor * (double)FLT_EPSILON * b;
        check_result(near_enough(got->result[k], ref->result[k], tolerance), isa->name,
                     "%s n %lld: %.9g, not %.9g", r->name, (long long)got->n,
                     (double)got->result[k], (double)ref->result[k]);
    }
}

/* One call of an entry on both tables. self: the output is the first input. */
static void check_call(const ak_kernels *ref, const isa_table *isa, const entry_record *r,
                       kernel_call call, fill_kind kind, int placement, bool self)
{
    call.a = random_float();
    call.b = random_float();
    kernel_call c_start = call, c_got = call, c_ref = call, c_bound = call;
    call_arrays start = arrays_new(r, &c_start, placement);
    call_arrays got = arrays_new(r, &c_got, placement);
    call_arrays want = arrays_new(r, &c_ref, placement);
    call_arrays bound = arrays_new(r, &c_bound, placement);
    arrays_fill(r, &start, kind);
    arrays_copy(&start, &got);
    arrays_copy(&start, &want);
    arrays_copy(&start, &bound);
    if (self) {
        memcpy(got.io[0].x, got.in[0].x, (size_t)got.io[0].n * sizeof(float));
        c_got.in[0] = c_got.io[0];
    }
    r->run(ref, &c_ref);
    r->run(&isa->table, &c_got);
    if (r->signs[0]) {
        make_positive(r, &bound, &c_bound);
        r->run(ref, &c_bound);
    }
    compare(r, isa, &c_got, &c_ref, &c_bound, &got, &want, &bound, &start);
    const bool kept = arrays_free(&got);
    check_result(kept, isa->name, "%s n %lld: wrote outside its arrays", r->name,
                 (long long)call.n);
    (void)arrays_free(&start);
    (void)arrays_free(&want);
    (void)arrays_free(&bound);
}

/* What the values may be. Where an infinity would be multiplied and added, FMA and two roundings
 * may differ in kind (inf against NaN) only through overflow, which these values do not reach. */
static fill_kind odd_kind(const entry_record *r)
{
    if (strcmp(r->name, "batch_norm_sums") == 0)    /* products in another order may underflow */
        return FILL_NO_DENORMALS;
    static const char *const overflow[] = {"adam", "layer_norm_row", "norm_backward_row",
                                           "from_u8"};
    for (size_t i = 0; i < sizeof overflow / sizeof overflow[0]; i++)
        if (strcmp(r->name, overflow[i]) == 0)
            return FILL_ZEROS;
    return FILL_ODD;
}

/* The i-th of all ways to call an entry; returns the placement. */
static int choose(const entry_record *r, int i, kernel_call *c)
{
    const int placement = i % 4;
    i /= 4;
    if (r->flags & F) {
        c->flag = i % 2;
        i /= 2;
    }
    if (r->flags & G) {
        c->second = i % 2;
        i /= 2;
    }
    c->put = (ak__put)i;
    return placement;
}

static void check_record(const ak_kernels *ref, const isa_table *isa, const entry_record *r)
{
    static const int64_t row_counts[] = {0, 1, 2, 15, 16, 17, 33};
    const int variants = (r->flags & F ? 2 : 1) * (r->flags & G ? 2 : 1) * (r->flags & P ? 3 : 1);
    for (int64_t n = 0; n < LENGTHS; n++) {
        for (int i = 0; i < variants * 4; i++) {
            const int64_t rows = r->flags & COLUMNS ? row_counts[random_bits() % 7] : 1;
            kernel_call c = {.n = rows * n, .R = rows, .C = n};
            const int placement = choose(r, i, &c);
            check_call(ref, isa, r, c, FILL_PLAIN, placement, false);
            check_call(ref, isa, r, c, odd_kind(r), placement, false);
            const bool no_output = strcmp(r->name, "exp_sum") == 0 && c.flag;
            if ((r->flags & SELF) && !no_output && c.put == AK__SET)
                check_call(ref, isa, r, c, FILL_PLAIN, placement, true);
        }
    }
}

/* ---- elementary functions ------------------------------------------------------------------- */

static double exact_sigmoid(double x) { return 1 / (1 + exp(-x)); }

const function_bound function_bounds[5] = {
    {"exp",     offsetof(ak_kernels, exp),     exp,           2},
    {"log",     offsetof(ak_kernels, log),     log,           2},
    {"tanh",    offsetof(ak_kernels, tanh),    tanh,          4},
    {"erf",     offsetof(ak_kernels, erf),     erf,           4},
    {"sigmoid", offsetof(ak_kernels, sigmoid), exact_sigmoid, 4},
};

map_fn function_entry(const ak_kernels *table, size_t at)
{
    map_fn f;
    memcpy(&f, (const char *)table + at, sizeof f);
    return f;
}

/* Any float, or one of the edges. */
static float function_argument(void)
{
    static const float edges[] = {0.0F, -0.0F, INFINITY, -INFINITY, NAN, FLT_MAX, -FLT_MAX,
                                  FLT_MIN, 1e-45F, 88.72283F, 88.72284F, -87.33655F, -103.97F,
                                  -104.0F, 0.625F, 0.93F, 4.0F, -1.0F, 1.0F};
    const uint64_t r = random_bits();
    if (r % 8 == 0)
        return edges[random_bits() % (sizeof edges / sizeof edges[0])];
    if (r % 8 < 5)
        return random_float() * (r % 8 == 1 ? 12.0F : 1.0F);
    const uint32_t bits = (uint32_t)random_bits();
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static void check_function(const isa_table *isa, const function_bound *f)
{
    const map_fn run = function_entry(&isa->table, f->at);
    for (int64_t n = 0; n < LENGTHS; n++) {
        for (int placement = 0; placement < 8; placement++) {
            guarded x = guarded_new(n, placement % 4), y = guarded_new(n, (placement + 1) % 4);
            for (int64_t i = 0; i < n; i++)
                x.x[i] = function_argument();
            run(y.x, x.x, n);
            for (int64_t i = 0; i < n; i++)
                check_result(ulp_error(y.x[i], f->exact((double)x.x[i])) <= f->ulp, isa->name,
                             "%s(%.9g) = %.9g", f->name, (double)x.x[i], (double)y.x[i]);
            check_result(guarded_free(x) && guarded_free(y), isa->name,
                         "%s n %lld: wrote outside its arrays", f->name, (long long)n);
        }
    }
}

/* Adam's root by itself: without momentum and decay p becomes -1 / (root of v + eps). */
static void check_adam_root(const isa_table *isa)
{
    const ak__adam_args args = {.lr = 1, .beta2 = 1, .eps = FLT_MIN, .correction1 = 1,
                                .correction2 = 1};
    for (int i = 0; i < 20000; i++) {
        float p[16], g[16], m[16], v[16], had[16];
        for (int j = 0; j < 16; j++) {
            p[j] = 0;
            g[j] = 1;
            m[j] = 0;
            had[j] = v[j] = fabsf(function_argument());
        }
        isa->table.adam(p, g, m, v, 16, &args);
        for (int j = 0; j < 16; j++) {
            const double want = -1 / (sqrt((double)had[j]) + (double)args.eps);
            const double bound = had[j] > 0 && had[j] < FLT_MIN ? 1024 : 4;
            check_result(ulp_error(p[j], want) <= bound, isa->name, "adam: v %.9g gives %.9g",
                         (double)had[j], (double)p[j]);
        }
    }
}

void check_entries(const ak_kernels *ref, const isa_table *isa)
{
    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++)
        if (wanted(records[i].name))
            check_record(ref, isa, &records[i]);
    for (int i = 0; i < 5; i++)
        if (wanted(function_bounds[i].name))
            check_function(isa, &function_bounds[i]);
    if (wanted("adam"))
        check_adam_root(isa);
}

void measure_ulp(const isa_table *isa)
{
    enum { BLOCK = 4096 };
    static float x[BLOCK], y[BLOCK];
    const uint32_t stride = isa->emulated ? 61 : 7;
    for (int f = 0; f < 5; f++) {
        if (!wanted(function_bounds[f].name))
            continue;
        const map_fn run = function_entry(&isa->table, function_bounds[f].at);
        double worst = 0;
        float at = 0;
        for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += (uint64_t)BLOCK * stride) {
            for (uint32_t i = 0; i < BLOCK; i++) {
                const uint32_t b = (uint32_t)bits + i * stride;
                memcpy(&x[i], &b, sizeof b);
            }
            run(y, x, BLOCK);
            for (int i = 0; i < BLOCK; i++) {
                const double e = ulp_error(y[i], function_bounds[f].exact((double)x[i]));
                if (e > worst) {
                    worst = e;
                    at = x[i];
                }
            }
        }
        printf("%-18s %-8s %.3f ulp at %.9g\n", isa->name, function_bounds[f].name, worst,
               (double)at);
        fflush(stdout);
    }
}
