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

static void gemm_4x8_ref(int64_t kc, const ak_real *a, const ak_real *b, ak_real *c, int64_t ldc,
                         int m, int n, bool accumulate)
{
    gemm_direct_ref(kc, a, 1, MR_REF, b, NR_REF, c, ldc, m, n, accumulate);
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

static void put_grad(ak_real *dx, ak_real g, bool accumulate)
{
    *dx = accumulate ? *dx + g : g;
}

static void relu_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = relu_of(x[i]);
}

static void relu_backward_ref(ak_real *dx, const ak_real *y, const ak_real *dy, int64_t n,
                              bool accumulate)
{
    for (int64_t i = 0; i < n; i++)
        put_grad(&dx[i], y[i] > 0 ? dy[i] : 0, accumulate);
}

/* x held away from infinity, so that x * 0 in the limits is 0 and not NaN. */
static ak_real floor_at(ak_real x, ak_real low)
{
    return x < low ? low : x;
}

static ak_real hold_between(ak_real x, ak_real bound)
{
    return x > bound ? bound : floor_at(x, -bound);
}

#define SQRT_HALF     ((ak_real)0.70710678118654752440)
#define NORMAL_PEAK   ((ak_real)0.39894228040143267794)  /* 1 / sqrt(2 pi) */
#define GELU_A        ((ak_real)1.59576912160573071176)  /* 2 sqrt(2 / pi) */
#define GELU_B        (GELU_A * (ak_real)0.044715)

static void gelu_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = floor_at(x[i], (ak_real)-1e30);
        y[i] = v * ((ak_real)0.5 * (1 + ak__erf(v * SQRT_HALF)));
    }
}

static void gelu_backward_ref(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                              bool accumulate)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = hold_between(x[i], 100);
        const ak_real cdf = (ak_real)0.5 * (1 + ak__erf(v * SQRT_HALF));
        const ak_real pdf = NORMAL_PEAK * ak__exp((ak_real)-0.5 * v * v);
        put_grad(&dx[i], (cdf + v * pdf) * dy[i], accumulate);
    }
}

/* 0.5 (1 + tanh u) = sigmoid(2u): small values keep their digits. */
static ak_real gelu_gate(ak_real x)
{
    return sigmoid_of(x * (GELU_A + GELU_B * x * x));
}

static void gelu_tanh_ref(ak_real *y, const ak_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = floor_at(x[i], (ak_real)-1e30);
        y[i] = v * gelu_gate(v);
    }
}

static void gelu_tanh_backward_ref(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                                   bool accumulate)
{
    for (int64_t i = 0; i < n; i++) {
        const ak_real v = hold_between(x[i], 100);
        const ak_real s = gelu_gate(v);
        const ak_real slope = s + v * s * (1 - s) * (GELU_A + 3 * GELU_B * v * v);
        put_grad(&dx[i], slope * dy[i], accumulate);
    }
}

/* ---- rows and columns ---- */

static void layer_norm_row_ref(ak_real *y, const ak_real *x, const ak_real *w, const ak_real *b,
                               ak_real eps, int64_t n, ak_real *mean, ak_real *rstd)
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
        y[i] = (w ? v * w[i] : v) + (b ? b[i] : 0);
    }
    *mean = (ak_real)mu;
    *rstd = (ak_real)r;
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
                              const ak_real *shift, int64_t R, int64_t C, bool relu)
{
    for (int64_t r = 0; r < R; r++) {
        for (int64_t c = 0; c < C; c++) {
            const ak_real v = x[r * C + c] * scale[c] + shift[c];
            y[r * C + c] = relu ? relu_of(v) : v;
        }
    }
}

static void batch_norm_sums_ref(ak_real *sum_g, ak_real *sum_gx, const ak_real *dy,
                                const ak_real *x, const ak_real *y, const ak_real *mean,
                                const ak_real *rstd, int64_t R, int64_t C)
{
    for (int64_t r = 0; r < R; r++) {
        for (int64_t c = 0; c < C; c++) {
            const int64_t at = r * C + c;
            const ak_real g = !y || y[at] > 0 ? dy[at] : 0;
            sum_g[c] += g;
            sum_gx[c] += g * ((x[at] - mean[c]) * rstd[c]);
        }
    }
}

static void batch_norm_grad_ref(ak_real *dx, const ak_real *dy, const ak_real *x,
                                const ak_real *y, const ak_real *p, const ak_real *q,
                                const ak_real *r, int64_t R, int64_t C, bool accumulate)
{
    for (int64_t row = 0; row < R; row++) {
        for (int64_t c = 0; c < C; c++) {
            const int64_t at = row * C + c;
            const ak_real g = !y || y[at] > 0 ? dy[at] : 0;
            put_grad(&dx[at], g * p[c] + x[at] * q[c] + r[c], accumulate);
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
        const ak_real d = args->grad_scale * g[i] + args->l2 * p[i];
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
        ak_real d = args->grad_scale * g[i] + args->l2 * p[i];
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
    table->gemm_tile = gemm_4x8_ref;
    table->gemm_direct = gemm_direct_ref;
    table->gemm_pack = gemm_pack_ref;
    table->gemm_finish = gemm_finish_ref;
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
    table->exp = exp_ref;
    table->log = log_ref;
    table->tanh = tanh_ref;
    table->erf = erf_ref;
    table->sigmoid = sigmoid_ref;
    table->exp_sum = exp_sum_ref;
    table->exp_fold = exp_fold_ref;
    table->exp_weigh = exp_weigh_ref;
    table->relu = relu_ref;
    table->relu_backward = relu_backward_ref;
    table->gelu = gelu_ref;
    table->gelu_backward = gelu_backward_ref;
    table->gelu_tanh = gelu_tanh_ref;
    table->gelu_tanh_backward = gelu_tanh_backward_ref;
    table->layer_norm_row = layer_norm_row_ref;
    table->column_moments = column_moments_ref;
    table->column_sum = column_sum_ref;
    table->column_affine = column_affine_ref;
    table->batch_norm_sums = batch_norm_sums_ref;
    table->batch_norm_grad = batch_norm_grad_ref;
    table->adam = adam_ref;
    table->sgd = sgd_ref;
    table->lerp = lerp_ref;
    table->from_u8 = from_u8_ref;
}
