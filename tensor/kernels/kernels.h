/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel table: every routine that has a version per instruction set.
 *
 * ref.c fills all entries in portable C, for float and for double. avx2.c and avx512.c (float
 * only) replace what they do better and leave the rest, so AVX-512 inherits AVX2's entries.
 * The table is chosen once per process: see dispatch.c.
 *
 * Contract of every entry, unless its line says otherwise:
 *   - arrays need no alignment; n = 0 is allowed and does nothing (sums are 0, max is -inf);
 *   - y may be the same array as an input (exact overlap), never a shifted overlap;
 *   - reductions over n use a fixed order that depends on n alone; they may differ between
 *     instruction sets in the last digits;
 *   - NaN in, NaN out; no entry depends on -ffast-math or on the rounding mode;
 *   - nothing past the n-th element is read or written.
 */
#ifndef AK_KERNELS_H
#define AK_KERNELS_H

#include <akin/core.h>

#include "fft.h"
#include "winograd.h"

/* Panels of split operands: positions of one, and k that its length is a multiple of. */
#define AK_SPLIT_SIDE 32
/* ak_reals of a panel of nk. */
#define AK_SPLIT_SIZE(nk) (((nk) + 31) / 32 * (int64_t)(32 * 32 * 6 / sizeof(ak_real)))

/* Split numbers where they are: 32 k a step, of which those of step s begin at[s] bytes behind
 * `data` (NULL: step after step, as in a panel). Sixteen rows of 64 bytes are what the matrix unit
 * takes at once: `row` bytes apart, rows are positions of a left operand, pairs of k of a right
 * one. Then come `half`: to the position 16 further on, `third`: to the next third of the numbers,
 * `panel`: to the position 32 further on. */
typedef struct ak__split_operand {
    const void    *data;
    const int64_t *at;
    int64_t        row, half, third, panel;
} ak__split_operand;

/* A panel of split_pack, the next one `panel` bytes further on. */
static inline ak__split_operand ak__split_panels(const void *data, int64_t panel)
{
    return (ak__split_operand){ data, NULL, 64, 1024, 2048, panel };
}

/* Numbers of a size below this one can be split so that no sum of products of them overflows. */
#define AK_SPLIT_LIMIT 0x1p30

/* Bytes of a line of split_lines. */
#define AK_SPLIT_LINE 192

/* Largest register tile of any instruction set: edge buffers are of this size. */
#define AK_MAX_MR 32
#define AK_MAX_NR 64

typedef struct ak__adam_args {
    ak_real lr;             /* step size of this call */
    ak_real beta1, beta2, eps;
    ak_real correction1;    /* 1 / (1 - beta1^t) */
    ak_real correction2;    /* 1 / (1 - beta2^t) */
    ak_real decay;          /* decoupled: p -= lr * decay * p first (AdamW) */
    ak_real l2;             /* coupled: g += l2 * p first (Adam) */
} ak__adam_args;

typedef struct ak__sgd_args {
    ak_real lr, momentum, l2;   /* g = g + l2*p */
    bool nesterov, first;       /* first: v = g, as PyTorch's first step */
} ak__sgd_args;

/* How an entry puts its results. AK__PAST is for arrays that are too large to be found in a cache
 * again: they are written past the caches, whose lines then need not be read first. What is there
 * is read after ak__k.fence() only, also by other threads. Where y is not aligned it means
 * AK__SET. */
typedef enum ak__put {
    AK__SET,                    /* y = */
    AK__ADD,                    /* y += */
    AK__PAST                    /* y =, not into the caches; y is no input */
} ak__put;

/* Where a ReLU let the gradient through: y[r][c] > 0 if y is given; else, if scale is given,
 * x[r][c] * scale[c] + shift[c] > 0, the very numbers of column_affine, so that y need not be read;
 * else everywhere. */
typedef struct ak__gate {
    const ak_real *y;
    const ak_real *scale, *shift;
} ak__gate;

typedef struct ak_kernels {
    const char *isa;                        /* of the highest level that set an entry */

    /* ---- matrix product ---- */
    int     mr, nr;                         /* register tile */
    int64_t mc, kc, nc;                     /* cache blocks: mc a multiple of mr, nc of nr */
    int64_t past;                           /* bytes of a result that no cache keeps */
    /* The register tile: C[m,n] = sum_k A(., k) outer B(k, .) (+ C if accumulate), m <= mr and
     * n <= nr, with A(i, k) at a[i*rs + k*cs] and row k of B at b + k*ldb: operands can stay where
     * they are or be packed (gemm_pack: rs 1, cs mr, ldb nr), the bits are the same. Rows of B are
     * read to nr elements, or to nr/2 if n <= nr/2. C has rows ldc apart. */
    void (*gemm_direct)(int64_t kc, const ak_real *a, int64_t rs, int64_t cs, const ak_real *b,
                        int64_t ldb, ak_real *c, int64_t ldc, int m, int n, bool accumulate);
    /* dst[k*width + i] = x(i, k), i < ni <= width, k < nk; 0 for i in [ni, width).
     * x(i, k) is x[k*ld + i] if k_major, else x[i*ld + k]. */
    void (*gemm_pack)(ak_real *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk,
                      int width, bool k_major);
    /* Epilogue of a piece of C: c += bias (per column, NULL = none), then max(., 0) if relu. */
    void (*gemm_finish)(ak_real *c, int64_t ldc, int m, int64_t n, const ak_real *bias, bool relu);

    /* ---- matrix product of split operands; NULL = use the one above ----
     * For matrix units that multiply bfloat16 only, many times faster. A float is the sum of three
     * bfloat16 of 8 bits, its thirds, and of the nine products of these the six are summed, in
     * float, that a float can tell. Errors are a half to a fifth of those of gemm_direct, which
     * adds more numbers to one sum (kernelcheck holds both to one bound), down to the smallest
     * subnormal number. But sums overflow beyond 2^82, and a number beyond 2^104 is like an
     * infinite one, which gives infinity or NaN: such a result has to be made in another way
     * (split_panels.h, conv/plain.c). A NaN gives NaN. */
    /* A panel: x(i, k) times alpha, as in gemm_pack, i < ni <= AK_SPLIT_SIDE; dst is aligned to 64
     * bytes and has AK_SPLIT_SIZE(nk) elements. Left and right operands differ: see
     * ak__split_operand; pair p of a step is k = p and p + 16, and panels hold 2^23 times the
     * numbers. False: a number's size is AK_SPLIT_LIMIT or more (to within 2^-8). */
    bool (*split_pack)(void *dst, const ak_real *x, int64_t ld, int64_t ni, int64_t nk,
                       ak_real alpha, bool k_major, bool left);
    /* C[m,n] = one left panel by n columns of right panels, `step` elements from one to the next
     * (+ C if accumulate); m <= AK_SPLIT_SIDE. The panels may go on past nk, if what one of them
     * has up to the next multiple of 32 is 0. Sums over k have one order, which depends on nk
     * alone. */
    void (*split_multiply)(int64_t nk, const void *a, const ak_real *b, int64_t step, ak_real *c,
                           int64_t ldc, int m, int64_t n, bool accumulate);
    /* The same with operands of any strides, all m rows. It may read the positions of whole halves
     * past m and n; whatever they hold, results within are right. While it multiplies, the
     * `ahead_bytes` at `ahead` are fetched into the second cache. */
    void (*split_tiles)(int64_t steps, const ak__split_operand *a, const ak__split_operand *b,
                        ak_real *c, int64_t ldc, int64_t m, int64_t n, bool accumulate,
                        const void *ahead, int64_t ahead_bytes);
    /* Split lines, to be put together as operands: sixteen pairs of x[i ld + l] and y[i ld + l],
     * l < 16 (0 from l = nx, ny on), of line i, at dst + i step bytes, 64-byte aligned: thirds of
     * 64 bytes each. */
    void (*split_lines)(void *dst, int64_t step, const ak_real *x, const ak_real *y, int64_t ld,
                        int64_t lines, int nx, int ny);
    /* dst[i dst_step + j] = (accumulate: dst +) src[i src_step + j] + bias[j], j < n.
     * bias NULL = 0. False: a number of src is not finite, and nothing has been written. */
    bool (*split_put)(ak_real *dst, int64_t dst_step, const ak_real *src, int64_t src_step,
                      int64_t rows, int n, const ak_real *bias, bool accumulate);

    /* ---- level 1 ---- */
    ak_real (*dot)(const ak_real *x, const ak_real *y, int64_t n);
    ak_real (*sum)(const ak_real *x, int64_t n);
    ak_real (*sum_squares)(const ak_real *x, int64_t n);
    ak_real (*max)(const ak_real *x, int64_t n);                 /* NaN if any is NaN */
    void (*axpy)(ak_real *y, ak_real a, const ak_real *x, int64_t n);          /* y += a x */
    void (*scale)(ak_real *y, ak_real a, const ak_real *x, int64_t n);         /* y = a x */
    void (*add)(ak_real *y, const ak_real *a, const ak_real *b, int64_t n);    /* y = a + b */
    void (*sub)(ak_real *y, const ak_real *a, const ak_real *b, int64_t n);    /* y = a - b */
    void (*mul)(ak_real *y, const ak_real *a, const ak_real *b, int64_t n);    /* y = a * b */
    void (*mul_add)(ak_real *y, const ak_real *a, const ak_real *b, int64_t n);/* y += a * b */
    /* a x + b;  a u + b v */
    void (*affine)(ak_real *y, ak_real a, const ak_real *x, ak_real b, int64_t n, ak__put put);
    /* (x - a) - b: where a is large, x - a is exact and b keeps its digits */
    void (*shift)(ak_real *y, const ak_real *x, ak_real a, ak_real b, int64_t n, ak__put put);
    void (*combine)(ak_real *y, ak_real a, const ak_real *u, ak_real b, const ak_real *v,
                    int64_t n, ak__put put);
    void (*fence)(void);            /* after stores with AK__PAST, before anybody reads them */

    /* ---- elementary functions; error bounds in vector_math.h ---- */
    void (*exp)(ak_real *y, const ak_real *x, int64_t n);
    void (*log)(ak_real *y, const ak_real *x, int64_t n);
    void (*tanh)(ak_real *y, const ak_real *x, int64_t n);
    void (*erf)(ak_real *y, const ak_real *x, int64_t n);
    void (*sigmoid)(ak_real *y, const ak_real *x, int64_t n);
    /* y = exp(x - shift); returns the sum of y. -inf gives 0. y may be NULL (sum only).
     * x - shift must not exceed 88; results below the smallest normal number may be 0. */
    ak_real (*exp_sum)(ak_real *y, const ak_real *x, ak_real shift, int64_t n);
    /* a exp(x - shift) + b t + c, the gradient of a log-sum-exp and of the losses on it; t may be
     * NULL (0). exp as in exp_sum. */
    void (*exp_affine)(ak_real *y, ak_real a, const ak_real *x, ak_real shift, ak_real b,
                       const ak_real *t, ak_real c, int64_t n, ak__put put);
    /* sum[j] += exp(x[j] - shift); returns what was added in all. exp as in exp_sum, here and in
     * the next. */
    ak_real (*exp_fold)(ak_real *sum, const ak_real *x, ak_real shift, int64_t n);
    /* y[j] = exp(x[j] - shift) * (a + b[j]); b NULL = 0 */
    void (*exp_weigh)(ak_real *y, const ak_real *x, ak_real shift, ak_real a, const ak_real *b,
                      int64_t n);

    /* ---- activations, and dx = or += slope dy ---- */
    void (*relu)(ak_real *y, const ak_real *x, int64_t n, ak__put put);
    void (*relu_backward)(ak_real *dx, const ak_real *y, const ak_real *dy, int64_t n,
                          ak__put put);                           /* dy where y > 0 */
    void (*gelu)(ak_real *y, const ak_real *x, int64_t n, ak__put put);  /* exact: x Phi(x) */
    void (*gelu_backward)(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                          ak__put put);
    void (*gelu_tanh)(ak_real *y, const ak_real *x, int64_t n, ak__put put);
    void (*gelu_tanh_backward)(ak_real *dx, const ak_real *x, const ak_real *dy, int64_t n,
                               ak__put put);

    /* ---- rows and columns of x [R, C] (row-major, contiguous) ---- */
    /* dx = or += y (dy - <dy, y>) for one row */
    void (*softmax_backward_row)(ak_real *dx, const ak_real *y, const ak_real *dy, int64_t n,
                                 ak__put put);
    /* y = (x - mean) rstd * w + b for one row; w, b may be NULL; mean, rstd are written. */
    void (*layer_norm_row)(ak_real *y, const ak_real *x, const ak_real *w, const ak_real *b,
                           ak_real eps, int64_t n, ak_real *mean, ak_real *rstd, ak__put put);
    /* Backward of one row: with xh = (x - mean) rstd and g = dy w (w NULL: ones)
     *     dx = or += rstd (g - mean(g) - xh mean(g xh));  dw += dy xh;  db += dy
     * where mean(g) counts as 0 unless `centered` (RMS norm: mean = 0, not centered). dx, dw, db
     * may be NULL. */
    void (*norm_backward_row)(ak_real *dx, ak_real *dw, ak_real *db, const ak_real *dy,
                              const ak_real *x, const ak_real *w, ak_real mean, ak_real rstd,
                              int64_t n, bool centered, ak__put put);
    /* sum[c] += sum_r x[r][c];  squares[c] += sum_r (x[r][c] - shift[c])^2, and sum is of
     * x - shift as well. shift must not be NULL. */
    void (*column_moments)(ak_real *sum, ak_real *squares, const ak_real *x, const ak_real *shift,
                           int64_t R, int64_t C);
    /* sum[c] += sum_r x[r][c] */
    void (*column_sum)(ak_real *sum, const ak_real *x, int64_t R, int64_t C);
    /* y[r][c] = x[r][c] * scale[c] + shift[c] (+ add[r][c] if not NULL), then max(., 0) if relu */
    void (*column_affine)(ak_real *y, const ak_real *x, const ak_real *scale, const ak_real *shift,
                          const ak_real *add, int64_t R, int64_t C, bool relu, ak__put put);
    /* Batch norm backward, first pass: with g = dy where the gate is open
     *     sum_g[c] += sum_r g;  sum_gx[c] += sum_r g * (x - mean[c]) * rstd[c] */
    void (*batch_norm_sums)(ak_real *sum_g, ak_real *sum_gx, const ak_real *dy, const ak_real *x,
                            ak__gate gate, const ak_real *mean, const ak_real *rstd,
                            int64_t R, int64_t C);
    /* second pass: dx = or += g * p[c] + x * q[c] + r[c], g as above */
    void (*batch_norm_grad)(ak_real *dx, const ak_real *dy, const ak_real *x, ak__gate gate,
                            const ak_real *p, const ak_real *q, const ak_real *r,
                            int64_t R, int64_t C, ak__put put);

    /* ---- optimisers: one streaming pass; g is zeroed on the way ---- */
    void (*adam)(ak_real *p, ak_real *g, ak_real *m, ak_real *v, int64_t n,
                 const ak__adam_args *args);
    void (*sgd)(ak_real *p, ak_real *g, ak_real *v, int64_t n, const ak__sgd_args *args);
                                            /* v NULL: no momentum */
    void (*lerp)(ak_real *y, const ak_real *x, ak_real t, int64_t n);  /* y += t (x - y) */

    /* ---- conversion ---- */
    void (*from_u8)(ak_real *y, const uint8_t *x, ak_real scale, ak_real shift, int64_t n);

    /* ---- depthwise convolution: a row of `pixels` pixels of C channels, steps in elements ---- */
    /* y[i step_y + c] = (accumulate: y +) bias[c] + sum_t x[t][i step_x + c] w[t][c], t < count.
     * bias NULL = 0. y is none of the inputs. */
    void (*taps)(ak_real *y, int64_t step_y, const ak_real *const *x, int64_t step_x,
                 const ak_real *const *w, int count, int64_t pixels, int64_t C,
                 const ak_real *bias, bool accumulate);
    /* sum[t][c] += sum_i x[t][i step_x + c] dy[i step_dy + c] */
    void (*taps_gradient)(ak_real *const *sum, const ak_real *const *x, int64_t step_x,
                          const ak_real *dy, int64_t step_dy, int count, int64_t pixels,
                          int64_t C);

    /* ---- gated recurrent unit: one step of one sample; gates of n numbers each ---- */
    /* gates [4, n] holds what x adds to r, z and m, state [3, n] what h adds, bias [3, n] (NULL =
     * 0). With s = state + bias:
     *     r = sigmoid(gates_r + s_r);  z = sigmoid(gates_z + s_z);  c = s_m;
     *     m = tanh(gates_m + r c);  to = y = m + z (h - m)
     * gates gets r, z, m and, if `keep` (else it has three rows), c. to may be h. */
    void (*gru_step)(ak_real *gates, const ak_real *state, const ak_real *bias, const ak_real *h,
                     ak_real *to, ak_real *y, int64_t n, bool keep);
    /* Its slopes, from the gates it kept. With g = dh + dy:
     *     dm = g (1 - z) (1 - m^2);  dc = dm r;  dr = dm c r (1 - r);  dz = g (h - m) z (1 - z)
     * slopes [4, n] gets dc, dr, dz, dm, to [3, n] gets dr, dz, dc, and dh becomes g z. */
    void (*gru_slope)(ak_real *slopes, ak_real *to, ak_real *dh, const ak_real *gates,
                      const ak_real *h, const ak_real *dy, int64_t n);

    /* ---- Fourier transform of AK_FFT_LANES series: fft.h; arrays are aligned to 64 bytes ---- */
    /* The complex transform of the plan: z [N, 2, lanes] (real and imaginary part) into z or spare,
     * of AK_FFT_SIZE each, whichever is returned. The bits are the same on all levels, here and in
     * the next two. */
    ak_real *(*fft)(const ak__fft *plan, ak_real *z, ak_real *spare);
    /* Its result made into the spectrum [n/2 + 1, 2, lanes] of the plan's real numbers. */
    void (*fft_real)(const ak__fft *plan, ak_real *z);
    /* power [bins, lanes] = re^2 + im^2 of z [bins, 2, lanes] */
    void (*fft_power)(ak_real *power, const ak_real *z, int64_t bins);

    /* ---- Winograd convolution: one tile, see winograd.h ---- */
    bool (*winograd)(ak__winograd_kind kind, const ak__winograd_call *c);
} ak_kernels;

/* The table in use. Set before main code runs any kernel: ak_open() and kernel tests see to it. */
extern ak_kernels ak__k;

typedef enum ak__level { AK__REF, AK__AVX2, AK__AVX512, AK__AMX, AK__LEVELS } ak__level;

/* Highest level that this processor and operating system allow (tests for AVX2 + FMA, for AVX-512
 * F, VL, DQ, BW, for AMX with bfloat16, and that the system saves the registers; those of AMX have
 * to be asked for, which this does). base/cpu.c */
ak__level ak__cpu_level(void);
/* Names as AK_CPU has them. */
const char *ak__level_name(ak__level level);
/* Choose the table once: min(ak__cpu_level(), AK_CPU). Idempotent, thread-safe.
 * An unknown AK_CPU value is reported by ak_open() as AK_ERR_VALUE. */
bool ak__kernels_init(void);
/* Fill `table` for one level, whatever is in use now (tests). False if not available. */
bool ak__kernels_fill(ak_kernels *table, ak__level level);

void ak__taps_ref(ak_real *y, int64_t step_y, const ak_real *const *x, int64_t step_x,
                  const ak_real *const *w, int count, int64_t pixels, int64_t C,
                  const ak_real *bias, bool accumulate);
void ak__taps_gradient_ref(ak_real *const *sum, const ak_real *const *x, int64_t step_x,
                           const ak_real *dy, int64_t step_dy, int count, int64_t pixels,
                           int64_t C);
void ak__gru_step_ref(ak_real *gates, const ak_real *state, const ak_real *bias, const ak_real *h,
                      ak_real *to, ak_real *y, int64_t n, bool keep);
void ak__gru_slope_ref(ak_real *slopes, ak_real *to, ak_real *dh, const ak_real *gates,
                       const ak_real *h, const ak_real *dy, int64_t n);
void ak__kernels_fft_ref(ak_kernels *table);
void ak__kernels_ref(ak_kernels *table);
void ak__kernels_avx2(ak_kernels *table);
void ak__kernels_avx512(ak_kernels *table);
void ak__kernels_gemm_avx2(ak_kernels *table);
void ak__kernels_gemm_avx512(ak_kernels *table);
void ak__kernels_split_amx(ak_kernels *table);

/* One line per entry for `akin kernels`: name and the level whose version is in use. */
typedef struct ak__kernel_name { const char *name; ak__level level; } ak__kernel_name;
const ak__kernel_name *ak__kernel_at(int i);    /* NULL past the end */

#endif
