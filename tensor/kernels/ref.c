/* SPDX-License-Identifier: Apache-2.0 */
/* Every entry of the table in portable C, for float and for double (AK_REAL_BITS).
 *
 * These are the meaning of the entries: kernelcheck compares each faster version with them.
 * Sums over one array are kept in double, so that the reference is the better of the two. */
#include "kernels.h"

#include "base/real.h"

/* ---- matrix product ---- */

#define MR_REF 4
#define NR_REF 8

/* The whole tile, in a buffer that the compiler keeps in registers. */
static void product_ref(int64_t kc, const ak_real *a, int64_t rs, int64_t cs, const ak_real *b,
                        int64_t ldb, int m, int n, ak_real out[MR_REF][NR_REF])
{
    for (int i = 0; i < m; i++) {
        ak_real acc[NR_REF] = {0};
        if (n == NR_REF) {
            for (int64_t k = 0; k < kc; k++) {
                const ak_real x = a[i * rs + k * cs];
                for (int j = 0; j < NR_REF; j++)
                    acc[j] += x * b[k * ldb + j];
            }
        } else {
            for (int64_t k = 0; k < kc; k++) {
                const ak_real x = a[i * rs + k * cs];
                for (int j = 0; j < n; j++)
                    acc[j] += x * b[k * ldb + j];
            }
        }
        for (int j = 0; j < NR_REF; j++)
            out[i][j] = acc[j];
    }
}

static void gemm_direct_ref(int64_t kc, const ak_real *a, int64_t rs, int64_t cs,
                            const ak_real *b, int64_t ldb, ak_real *c, int64_t ldc, int m, int n,
                            bool accumulate)
{
    ak_real out[MR_REF][NR_REF];
    product_ref(kc, a, rs, cs, b, ldb, m, n, out);
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++)
            c[i * ldc + j] = accumulate ? c[i * ldc + j] + out[i][j] : out[i][j];
}

static void gemm_pack_ref(ak_real *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk,
                          int width, bool k_major)
{
    const int64_t si = k_major ? 1 : ld, sk = k_major ? ld : 1;
    for (int64_t k = 0; k < nk; k++) {
        for (int64_t i = 0; i < ni; i++)
            dst[k * width + i] = x[i * si + k * sk];
        for (int64_t i = ni; i < width; i++)
            dst[k * width + i] = 0;
    }
}

/* max(x, 0) that keeps NaN */
static ak_real relu_of(ak_real x)
{
    return x < 0 ? 0 : x;
}

static void gemm_finish_ref(ak_real *c, int64_t ldc, int m, int64_t n, const ak_real *bias,
                            bool relu)
{
    for (int i = 0; i < m; i++) {
        ak_real *row = c + i * ldc;
        for (int64_t j = 0; bias && j < n; j++)
            row[j] += bias[j];
        for (int64_t j = 0; relu && j < n; j++)
            row[j] = relu_of(row[j]);
    }
}

/* ---- level 1 ---- */

static ak_real dot_ref(const ak_real *x, const ak_real *y, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i] * (double)y[i];
    return (ak_real)s;
}

static ak_real sum_ref(const ak_real *x, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i];
    return (ak_real)s;
}

static ak_real sum_squares_ref(const ak_real *x, int64_t n)
{
    return dot_ref(x, x, n);
}

static ak_real max_ref(const ak_real *x, int64_t n)
{
    ak_real m = -(ak_real)INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (isnan(x[i]))
            return x[i];
        if (x[i] > m)
            m = x[i];
    }
    return m;
}

static void axpy_ref(ak_real *y, ak_real a, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a * x[i];
}

static void scale_ref(ak_real *y, ak_real a, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a * x[i];
}

static void add_ref(ak_real *y, const ak_real *a, const ak_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

static void sub_ref(ak_real *y, const ak_real *a, const ak_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] - b[i];
}

static void mul_ref(ak_real *y, const ak_real *a, const ak_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

static void mul_add_ref(ak_real *y, const ak_real *a, const ak_real *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += a[i] * b[i];
}

static void put_at(ak_real *y, ak_real v, ak__put put)
{
    *y = put == AK__ADD ? *y + v : v;
}

static void affine_ref(ak_real *y, ak_real a, const ak_real *x, ak_real b, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&y[i], a * x[i] + b, put);
}

static void shift_ref(ak_real *y, const ak_real *x, ak_real a, ak_real b, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&y[i], (x[i] - a) - b, put);
}

static void combine_ref(ak_real *y, ak_real a, const ak_real *u, ak_real b, const ak_real *v,
                        int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&y[i], a * u[i] + b * v[i], put);
}

static void fence_ref(void)
{
}

/* ---- elementary functions ---- */

/* With e^-|x| nothing overflows, and small results keep their digits. */
static ak_real sigmoid_of(ak_real x)
{
    const ak_real e = ak__exp(-ak__fabs(x));
    return (x < 0 ? e : 1) / (1 + e);
}

static void exp_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ak__exp(x[i]);
}

static void log_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ak__log(x[i]);
}

static void tanh_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ak__tanh(x[i]);
}

static void erf_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ak__erf(x[i]);
}

static void sigmoid_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = sigmoid_of(x[i]);
}

static ak_real exp_sum_ref(ak_real *y, const ak_real *x, ak_real shift, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        const ak_real e = ak__exp(x[i] - shift);
        if (y)
            y[i] = e;
        s += (double)e;
    }
    return (ak_real)s;
}

static void exp_affine_ref(ak_real *y, ak_real a, const ak_real *x, ak_real shift, ak_real b,
                           const ak_real *t, ak_real c, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&y[i], a * ak__exp(x[i] - shift) + ((t ? b * t[i] : 0) + c), put);
}

static ak_real exp_fold_ref(ak_real *sum, const ak_real *x, ak_real shift, int64_t n)
{
    double s = 0;
    for (int64_t i = 0; i < n; i++) {
        const ak_real e = ak__exp(x[i] - shift);
        sum[i] += e;
        s += (double)e;
    }
    return (ak_real)s;
}

static void exp_weigh_ref(ak_real *y, const ak_real *x, ak_real shift, ak_real a, const ak_real *b,
                          int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = ak__exp(x[i] - shift) * (b ? a + b[i] : a);
}

/* ---- activations ---- */

static void relu_ref(ak_real *y, const ak_real *x, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&y[i], relu_of(x[i]), put);
}

static void relu_backward_ref(ak_real *dx, const ak_real *y, const ak_real *dy, int64_t n,
                              ak__put put)
{
    for (int64_t i = 0; i < n; i++)
        put_at(&dx[i], y[i] > 0 ? dy[i] : 0, put);
}

#define SQRT_HALF     ((ak_real)0.70710678118654752440)
#define NORMAL_PEAK   ((ak_real)0.39894228040143267794)  /* 1 / sqrt(2 pi) */
#define GELU_A        ((ak_real)1.59576912160573071176)  /* 2 sqrt(2 / pi) */
#define GELU_B        (GELU_A * (ak_real)0.044715)

/* |x| held away from infinity, where the tails are 0 in either precision. */
static ak_real gelu_size(ak_real x)
{
    const ak_real t = ak__fabs(x);
    return t > 60 ? 60 : t;
}

/* With t = |x| and a tail F(-t): x F(x) = max(x, 0) - t F(-t), and its slope is D for x < 0, else
 * 1 - D, with D = F(-t) - t F'(t). Nothing cancels for negative x. */
static ak_real normal_tail(ak_real t)
{
    return (ak_real)0.5 * ak__erfc(t * SQRT_HALF);
}

static void gelu_ref(ak_real *y, const ak_real *x, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real t = gelu_size(x[i]);
        put_at(&y[i], relu_of(x[i]) - t * normal_tail(t), put);
    }
}

static void gelu_backward_ref(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                              ak__put put)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real t = gelu_size(x[i]);
        const ak_real D = normal_tail(t) - t * NORMAL_PEAK * ak__exp((ak_real)-0.5 * t * t);
        put_at(&dx[i], (x[i] < 0 ? D : 1 - D) * dy[i], put);
    }
}

/* The tanh form: F(x) = (1 + tanh z/2) / 2 = sigmoid(z), z = x (A + B x^2). */
static ak_real gelu_tanh_tail(ak_real t)
{
    return sigmoid_of(-t * (GELU_A + GELU_B * t * t));
}

static void gelu_tanh_ref(ak_real *y, const ak_real *x, int64_t n, ak__put put)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real t = gelu_size(x[i]);
        put_at(&y[i], relu_of(x[i]) - t * gelu_tanh_tail(t), put);
    }
}

static void gelu_tanh_backward_ref(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                                   ak__put put)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real t = gelu_size(x[i]), f = gelu_tanh_tail(t);
        const ak_real D = f - f * (1 - f) * t * (GELU_A + 3 * GELU_B * t * t);
        put_at(&dx[i], (x[i] < 0 ? D : 1 - D) * dy[i], put);
    }
}

/* ---- rows and columns ---- */

static void softmax_backward_row_ref(ak_real *dx, const ak_real *y, const ak_real *dy, int64_t n,
                                     ak__put put)
{
    const ak_real s = dot_ref(dy, y, n);
    for (int64_t i = 0; i < n; i++)
        put_at(&dx[i], y[i] * (dy[i] - s), put);
}

static void layer_norm_row_ref(ak_real *y, const ak_real *x, const ak_real *w, const ak_real *b,
                               ak_real eps, int64_t n, ak_real *mean, ak_real *rstd, ak__put put)
{
    const double count = n > 0 ? (double)n : 1.0;
    double s = 0, q = 0;
    for (int64_t i = 0; i < n; i++)
        s += (double)x[i];
    const double mu = s / count;
    for (int64_t i = 0; i < n; i++)
        q += ((double)x[i] - mu) * ((double)x[i] - mu);
    const double r = 1.0 / sqrt(q / count + (double)eps);
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = (ak_real)(((double)x[i] - mu) * r);
        put_at(&y[i], (w ? v * w[i] : v) + (b ? b[i] : 0), put);
    }
    *mean = (ak_real)mu;
    *rstd = (ak_real)r;
}

static void norm_backward_row_ref(ak_real *dx, ak_real *dw, ak_real *db, const ak_real *dy,
                                  const ak_real *x, const ak_real *w, ak_real mean, ak_real rstd,
                                  int64_t n, bool centered, ak__put put)
{
    const double count = n > 0 ? (double)n : 1.0;
    double sum_g = 0, sum_gh = 0;
    for (int64_t i = 0; i < n; i++) {
        const ak_real h = (x[i] - mean) * rstd;
        const double g = w ? (double)dy[i] * (double)w[i] : (double)dy[i];
        if (dw)
            dw[i] += dy[i] * h;
        if (db)
            db[i] += dy[i];
        sum_g += g;
        sum_gh += g * (double)h;
    }
    const ak_real mean_g = centered ? (ak_real)(sum_g / count) : 0;
    const ak_real mean_gh = (ak_real)(sum_gh / count);
    for (int64_t i = 0; dx && i < n; i++) {
        const ak_real h = (x[i] - mean) * rstd, g = w ? dy[i] * w[i] : dy[i];
        put_at(&dx[i], rstd * (g - mean_g - h * mean_gh), put);
    }
}

static void column_moments_ref(ak_real *sum, ak_real *squares, const ak_real *x,
                               const ak_real *shift, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) {
        for (int64_t c = 0; c < C; c++) {
            const ak_real d = x[r * C + c] - shift[c];
            sum[c] += d;
            squares[c] += d * d;
        }
    }
}

static void column_sum_ref(ak_real *sum, const ak_real *x, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++)
        for (int64_t c = 0; c < C; c++)
            sum[c] += x[r * C + c];
}

static void column_affine_ref(ak_real *y, const ak_real *x, const ak_real *scale,
                              const ak_real *shift, const ak_real *add, int64_t R, int64_t C,
                              bool relu, ak__put put)
{
    for (int64_t r = 0; r < R; r++) {
        for (int64_t c = 0; c < C; c++) {
            const int64_t at = r * C + c;
            const ak_real v = x[at] * scale[c] + shift[c] + (add ? add[at] : 0);
            put_at(&y[at], relu ? relu_of(v) : v, put);
        }
    }
}

static bool gate_open(ak__gate gate, ak_real x, int64_t at, int64_t c)
{
    if (gate.y)
        return gate.y[at] > 0;
    return !gate.scale || x * gate.scale[c] + gate.shift[c] > 0;
}

static void batch_norm_sums_ref(ak_real *sum_g, ak_real *sum_gx, const ak_real *dy,
                                const ak_real *x, ak__gate gate, const ak_real *mean,
                                const ak_real *rstd, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) {
        for (int64_t c = 0; c < C; c++) {
            const int64_t at = r * C + c;
            const ak_real g = gate_open(gate, x[at], at, c) ? dy[at] : 0;
            sum_g[c] += g;
            sum_gx[c] += g * ((x[at] - mean[c]) * rstd[c]);
        }
    }
}

static void batch_norm_grad_ref(ak_real *dx, const ak_real *dy, const ak_real *x, ak__gate gate,
                                const ak_real *p, const ak_real *q, const ak_real *r, int64_t R,
                                int64_t C, ak__put put)
{
    for (int64_t row = 0; row < R; row++) {
        for (int64_t c = 0; c < C; c++) {
            const int64_t at = row * C + c;
            const ak_real g = gate_open(gate, x[at], at, c) ? dy[at] : 0;
            put_at(&dx[at], g * p[c] + x[at] * q[c] + r[c], put);
        }
    }
}

/* ---- optimisers ---- */

static void adam_ref(ak_real *p, ak_real *g, ak_real *m, ak_real *v, int64_t n,
                     const ak__adam_args *args)
{
    const ak_real rest1 = 1 - args->beta1, rest2 = 1 - args->beta2;
    const ak_real keep = 1 - args->lr * args->decay;
    for (int64_t i = 0; i < n; i++) {
        const ak_real d = g[i] + args->l2 * p[i];
        m[i] = args->beta1 * m[i] + rest1 * d;
        v[i] = args->beta2 * v[i] + rest2 * d * d;
        const ak_real root = ak__sqrt(v[i] * args->correction2) + args->eps;
        p[i] = p[i] * keep - args->lr * (m[i] * args->correction1) / root;
        g[i] = 0;
    }
}

static void sgd_ref(ak_real *p, ak_real *g, ak_real *v, int64_t n, const ak__sgd_args *args)
{
    for (int64_t i = 0; i < n; i++) {
        ak_real d = g[i] + args->l2 * p[i];
        if (v) {
            v[i] = args->first ? d : args->momentum * v[i] + d;
            d = args->nesterov ? d + args->momentum * v[i] : v[i];
        }
        p[i] -= args->lr * d;
        g[i] = 0;
    }
}

static void lerp_ref(ak_real *y, const ak_real *x, ak_real t, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] += t * (x[i] - y[i]);
}

/* ---- conversion ---- */

static void from_u8_ref(ak_real *y, const uint8_t *x, ak_real scale, ak_real shift, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = (ak_real)x[i] * scale + shift;
}

static void set_gemm_ref(ak_kernels *table)
{
    table->mr = MR_REF;
    table->nr = NR_REF;
    table->mc = 128;
    table->kc = 256;
    table->nc = 512;
    table->past = 32 << 20;
    table->gemm_direct = gemm_direct_ref;
    table->gemm_pack = gemm_pack_ref;
    table->gemm_finish = gemm_finish_ref;
    table->split_pack = NULL;
    table->split_multiply = NULL;
    table->split_tiles = NULL;
    table->split_lines = NULL;
    table->split_put = NULL;
}

void ak__kernels_ref(ak_kernels *table)
{
    table->isa = "ref";
    set_gemm_ref(table);
    table->dot = dot_ref;
    table->sum = sum_ref;
    table->sum_squares = sum_squares_ref;
    table->max = max_ref;
    table->axpy = axpy_ref;
    table->scale = scale_ref;
    table->add = add_ref;
    table->sub = sub_ref;
    table->mul = mul_ref;
    table->mul_add = mul_add_ref;
    table->affine = affine_ref;
    table->shift = shift_ref;
    table->combine = combine_ref;
    table->fence = fence_ref;
    table->exp = exp_ref;
    table->log = log_ref;
    table->tanh = tanh_ref;
    table->erf = erf_ref;
    table->sigmoid = sigmoid_ref;
    table->exp_sum = exp_sum_ref;
    table->exp_affine = exp_affine_ref;
    table->exp_fold = exp_fold_ref;
    table->exp_weigh = exp_weigh_ref;
    table->relu = relu_ref;
    table->relu_backward = relu_backward_ref;
    table->gelu = gelu_ref;
    table->gelu_backward = gelu_backward_ref;
    table->gelu_tanh = gelu_tanh_ref;
    table->gelu_tanh_backward = gelu_tanh_backward_ref;
    table->softmax_backward_row = softmax_backward_row_ref;
    table->layer_norm_row = layer_norm_row_ref;
    table->norm_backward_row = norm_backward_row_ref;
    table->column_moments = column_moments_ref;
    table->column_sum = column_sum_ref;
    table->column_affine = column_affine_ref;
    table->batch_norm_sums = batch_norm_sums_ref;
    table->batch_norm_grad = batch_norm_grad_ref;
    table->adam = adam_ref;
    table->sgd = sgd_ref;
    table->lerp = lerp_ref;
    table->from_u8 = from_u8_ref;
    table->taps = ak__taps_ref;
    table->taps_gradient = ak__taps_gradient_ref;
    table->gru_step = ak__gru_step_ref;
    table->gru_slope = ak__gru_slope_ref;
    ak__kernels_fft_ref(table);
    table->winograd = ak__winograd_ref;
}
