/* SPDX-License-Identifier: Apache-2.0 */
/* The matrix product: tile, packing and epilogue by themselves, then ak__gemm in every form over
 * edge sizes, against sums in double. */
#include "check.h"

#include "base/parallel.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t at_least(int64_t n, int64_t low) { return n > low ? n : low; }

/* ---- the entries ---------------------------------------------------------------------------- */

/* Tiles of every size, packed and in place. */
static void check_tile(const isa_table *isa, int m, int n, int64_t kc, bool accumulate)
{
    const ak_kernels *k = &isa->table;
    const int64_t ldc = n + 3, lda = kc + 1, ldb = k->nr + 5;
    float *pa = aligned_alloc(64, 64 * 1024), *pb = aligned_alloc(64, 64 * 1024);
    guarded a = guarded_new((m - 1) * lda + kc, 0);
    const int64_t read = n <= k->nr / 2 ? k->nr / 2 : k->nr;
    guarded b = guarded_new(kc > 0 ? (kc - 1) * ldb + read : 0, 0);
    guarded c = guarded_new((m - 1) * ldc + n, 0), d = guarded_new((m - 1) * ldc + n, 1);
    fill(a.x, a.n, FILL_PLAIN);
    fill(b.x, b.n, FILL_PLAIN);
    fill(c.x, c.n, FILL_PLAIN);
    float *start = malloc((size_t)c.n * sizeof(float));
    memcpy(start, c.x, (size_t)c.n * sizeof(float));
    memcpy(d.x, c.x, (size_t)c.n * sizeof(float));
    k->gemm_pack(pa, a.x, lda, m, kc, k->mr, false);
    k->gemm_pack(pb, b.x, ldb, n, kc, k->nr, true);
    k->gemm_direct(kc, a.x, lda, 1, b.x, ldb, c.x, ldc, m, n, accumulate);
    k->gemm_direct(kc, pa, 1, k->mr, pb, k->nr, d.x, ldc, m, n, accumulate);
    bool near = true;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < ldc && i * ldc + j < c.n; j++) {
            double s = accumulate || j >= n ? (double)start[i * ldc + j] : 0, bound = fabs(s);
            for (int64_t q = 0; q < kc && j < n; q++) {
                const double t = (double)a.x[i * lda + q] * (double)b.x[q * ldb + j];
                s += t;
                bound += fabs(t);
            }
            near = near && near_enough(c.x[i * ldc + j], (float)s, bound * 1e-6);
        }
    }
    const bool equal = memcmp(c.x, d.x, (size_t)c.n * sizeof(float)) == 0;
    check_result(near, isa->name, "gemm_direct m %d n %d kc %lld", m, n, (long long)kc);
    check_result(equal, isa->name, "gemm_direct m %d n %d kc %lld: other bits where packed", m, n,
                 (long long)kc);
    const bool kept = guarded_free(a) + guarded_free(b) + guarded_free(c) + guarded_free(d) == 4;
    check_result(kept, isa->name, "gemm tile m %d n %d wrote outside", m, n);
    free(start);
    free(pa);
    free(pb);
}

static void check_tiles(const isa_table *isa)
{
    static const int64_t depths[] = {0, 1, 2, 7, 33};
    for (int m = 1; m <= isa->table.mr; m++)
        for (int n = 1; n <= isa->table.nr; n++)
            for (int d = 0; d < 5; d++)
                check_tile(isa, m, n, depths[d], (m + n + d) % 2 == 0);
}

static void check_pack(const isa_table *isa, int width, int64_t ni, int64_t nk, bool k_major)
{
    const int64_t ld = (k_major ? ni : nk) + 3;
    const int64_t lines = k_major ? nk : ni, line = k_major ? ni : nk;
    guarded x = guarded_new(lines > 0 ? (lines - 1) * ld + line : 0, 0);
    guarded y = guarded_new(nk * width, 0);
    fill(x.x, x.n, FILL_ODD);
    isa->table.gemm_pack(y.x, x.x, ld, ni, nk, width, k_major);
    bool ok = true;
    for (int64_t k = 0; k < nk; k++) {
        for (int64_t i = 0; i < width; i++) {
            const float zero = 0;
            const float *want = i < ni ? &x.x[k_major ? k * ld + i : i * ld + k] : &zero;
            ok = ok && memcmp(&y.x[k * width + i], want, sizeof zero) == 0;
        }
    }
    const bool kept = guarded_free(x) + guarded_free(y) == 2;
    check_result(ok && kept, isa->name, "gemm_pack width %d ni %lld nk %lld k_major %d", width,
                 (long long)ni, (long long)nk, k_major);
}

static void check_packs(const isa_table *isa)
{
    static const int widths[] = {4, 6, 8, 14, 16, 32};
    for (int w = 0; w < 6; w++)
        for (int64_t ni = 1; ni <= widths[w]; ni++)
            for (int64_t nk = 0; nk < 36; nk++)
                for (int major = 0; major < 2; major++)
                    check_pack(isa, widths[w], ni, nk, major);
}

static void check_finish(const isa_table *isa)
{
    for (int64_t n = 1; n < 131; n++) {
        for (int v = 0; v < 8; v++) {
            const int m = 1 + v % 4;
            const int64_t ld = n + 2;
            guarded c = guarded_new((m - 1) * ld + n, v), bias = guarded_new(n, v % 2);
            float *want = malloc((size_t)c.n * sizeof(float));
            fill(c.x, c.n, FILL_ODD);
            fill(bias.x, n, FILL_ODD);
            memcpy(want, c.x, (size_t)c.n * sizeof(float));
            for (int64_t i = 0; i < c.n; i++) {
                float s = want[i] + (v & 1 && i % ld < n ? bias.x[i % ld] : 0.0F);
                s = v & 2 && s < 0 ? 0.0F : s;
                want[i] = i % ld < n ? s : want[i];
            }
            isa->table.gemm_finish(c.x, ld, m, n, v & 1 ? bias.x : NULL, v & 2);
            bool ok = true;
            for (int64_t i = 0; i < c.n; i++)
                ok = ok && near_enough(c.x[i], want[i], 0);
            const bool kept = guarded_free(c) + guarded_free(bias) == 2;
            check_result(ok && kept, isa->name, "gemm_finish n %lld variant %d", (long long)n, v);
            free(want);
        }
    }
}

/* ---- the whole product ---------------------------------------------------------------------- */

typedef struct product {
    ak__gemm_form form;
    int64_t       M, N, K, lda, ldb, ldc;
    float         alpha, beta;
    bool          bias, relu;
} product;

static bool a_k_major(const product *p) { return p->form == AK__TN; }
static bool b_k_major(const product *p) { return p->form == AK__NN || p->form == AK__TN; }

/* One element in double, and how far the float result may be. */
static double exact_element(const product *p, const float *a, const float *b, float c, float bias,
                            int64_t i, int64_t j, double *tolerance)
{
    const double beta = p->beta != 0 ? (double)p->beta * (double)c : 0;
    double s = 0, bound = 0;
    for (int64_t k = 0; k < p->K; k++) {
        const float x = a_k_major(p) ? a[k * p->lda + i] : a[i * p->lda + k];
        const float y = b_k_major(p) ? b[k * p->ldb + j] : b[j * p->ldb + k];
        s += (double)x * (double)y;
        bound += fabs((double)x * (double)y);
    }
    s = (double)p->alpha * s + beta + (double)bias;
    bound = fabs((double)p->alpha) * bound + fabs(beta) + fabs((double)bias);
    *tolerance = bound * (double)FLT_EPSILON * (4 + sqrt((double)p->K));
    return p->relu && s < 0 ? 0 : s;
}

/* Compare some elements: all of a small result, 2000 of a large one, corners always. */
static bool product_right(const product *p, const float *a, const float *b, const float *c0,
                          const float *c, const float *bias)
{
    const int64_t all = p->M * p->N;
    const int64_t tries = all < 4000 && p->K < 600 ? all : 600;
    for (int64_t t = 0; t < tries; t++) {
        int64_t at = tries == all ? t : (int64_t)(random_bits() % (uint64_t)all);
        if (tries != all && t < 4)
            at = (t & 1 ? p->N - 1 : 0) + (t & 2 ? (p->M - 1) * p->N : 0);
        const int64_t i = at / p->N, j = at % p->N;
        double tolerance;
        const double want = exact_element(p, a, b, c0[i * p->ldc + j], p->bias ? bias[j] : 0, i, j,
                                          &tolerance);
        if (!near_enough(c[i * p->ldc + j], (float)want, tolerance + fabs(want) * 1e-7))
            return false;
    }
    return true;
}

static void check_product(const isa_table *isa, product p)
{
    const bool at = a_k_major(&p), bt = b_k_major(&p);
    p.lda = (at ? p.M : p.K) + (int64_t)(random_bits() % 3);
    p.ldb = (bt ? p.N : p.K) + (int64_t)(random_bits() % 3);
    p.ldc = p.N + (int64_t)(random_bits() % 3);
    guarded a = matrix_new(at ? p.K : p.M, at ? p.M : p.K, p.lda);
    guarded b = matrix_new(bt ? p.K : p.N, bt ? p.N : p.K, p.ldb);
    guarded c = matrix_new(p.M, p.N, p.ldc), bias = guarded_new(p.N, 0);
    fill(a.x, a.n, FILL_PLAIN);
    fill(b.x, b.n, FILL_PLAIN);
    fill(c.x, c.n, p.beta == 0 ? FILL_ODD : FILL_PLAIN);
    fill(bias.x, bias.n, FILL_PLAIN);
    float *c0 = malloc((size_t)c.n * sizeof(float) + 1);
    memcpy(c0, c.x, (size_t)c.n * sizeof(float));
    const ak__epilogue ep = {.bias = p.bias ? bias.x : NULL, .relu = p.relu};
    ak__gemm(p.form, p.M, p.N, p.K, p.alpha, a.x, p.lda, b.x, p.ldb, p.beta, c.x, p.ldc, &ep);
    bool ok = product_right(&p, a.x, b.x, c0, c.x, bias.x);
    for (int64_t i = 0; i + 1 < p.M; i++)
        for (int64_t j = p.N; j < p.ldc && p.N > 0; j++)
            ok = ok && memcmp(&c.x[i * p.ldc + j], &c0[i * p.ldc + j], sizeof(float)) == 0;
    const bool kept = guarded_free(a) + guarded_free(b) + guarded_free(c) + guarded_free(bias) == 4;
    check_result(ok && kept, isa->name,
                 "gemm form %d M %lld N %lld K %lld alpha %g beta %g bias %d relu %d", (int)p.form,
                 (long long)p.M, (long long)p.N, (long long)p.K, (double)p.alpha, (double)p.beta,
                 p.bias, p.relu);
    free(c0);
}

/* Sizes at and beside the tile and the blocks. */
static int64_t random_size(const int64_t tile, const int64_t block, bool large)
{
    const int64_t sizes[] = {0, 1, 2, 3, 5, tile - 1, tile, tile + 1, 2 * tile, 2 * tile + 1, 17,
                             31, 33, 64, 97, 130, large ? block - 1 : 4, large ? block + 1 : 7};
    return at_least(sizes[random_bits() % (sizeof sizes / sizeof sizes[0])], 0);
}

static void check_products(const isa_table *isa)
{
    static const float alphas[] = {1, 1, 1, -0.5F, 0, 2}, betas[] = {0, 0, 1, 1, 0.5F, -2};
    const ak_kernels *k = &isa->table;
    const int count = isa->emulated ? 1500 : 6000;
    for (int t = 0; t < count; t++) {
        const bool large = t % 20 == 0;
        product p = {.form = (ak__gemm_form)(random_bits() % 3),
                     .alpha = alphas[random_bits() % 6], .beta = betas[random_bits() % 6],
                     .bias = random_bits() % 3 == 0, .relu = random_bits() % 3 == 0};
        p.M = random_size(k->mr, k->mc, large);
        p.N = random_size(k->nr, k->nc, large && !isa->emulated);
        p.K = random_size(8, k->kc, large);
        check_product(isa, p);
    }
    /* a long K with a small result */
    for (int form = 0; form < 3 && !isa->emulated; form++)
        check_product(isa, (product){.form = (ak__gemm_form)form, .M = 37, .N = 51, .K = 9001,
                                     .alpha = 1, .beta = 0.5F, .bias = true, .relu = form & 1});
}

/* Sizes whose operands are split where the kernels can. */
static void check_large_products(const isa_table *isa)
{
    static const int64_t sides[] = {128, 161, 224, 300, 1057}, depths[] = {48, 63, 64, 129, 300};
    for (int t = 0; t < 48; t++) {
        product p = {.form = (ak__gemm_form)(t % 3), .M = sides[random_bits() % 5],
                     .N = t % 9 ? sides[random_bits() % 5] : 1500, .K = depths[random_bits() % 5],
                     .alpha = t % 3 ? 1 : -0.5F, .beta = (float)(t / 4 % 3), .bias = t & 1,
                     .relu = t & 2};
        check_product(isa, p);
    }
}

/* Rows of a and columns of b of all sizes that there are: from subnormal numbers up to `most`, a
 * power of two. Each row or column has one size, or in `mixed` ones every number. */
static void fill_sizes(float *x, int64_t lines, int64_t n, int most, bool mixed)
{
    int e = 0;
    for (int64_t i = 0; i < lines * n; i++) {
        if (mixed || i % n == 0)
            e = (int)(random_bits() % (uint64_t)(most + 150)) - 149;
        x[i] = ldexpf(random_bits() % 2 ? 1.0F : -1.0F, e) *
               (1 + (float)(random_bits() % (1 << 23)) * 0x1p-23F);
    }
}

/* Errors are those of plain sums, of numbers of any size, also where C is added to. */
static void check_sizes(const isa_table *isa)
{
    enum { M = 170, N = 163, K = 150 };
    float *a = malloc((size_t)M * K * 4), *b = malloc((size_t)N * K * 4);
    float *c = malloc((size_t)M * N * 4), *c0 = malloc((size_t)M * N * 4);
    const float rounding = FLT_EPSILON * (4 + sqrtf((float)K));
    for (int v = 0; v < 24; v++) {
        const float alpha = v % 3 ? 1 : -1;
        const int most = v & 8 ? 127 : 29;
        fill_sizes(a, M, K, most, v & 1);
        fill_sizes(b, N, K, v & 4 ? most : 3, v & 2);
        fill(c0, (int64_t)M * N, FILL_PLAIN);
        for (int64_t i = 0; v & 16 && i < M * N; i++)
            c0[i] *= 0x1p-120F;
        memcpy(c, c0, (size_t)M * N * 4);
        ak__gemm(AK__NT, M, N, K, alpha, a, K, b, K, v & 16 ? 1.0F : 0.0F, c, N, NULL);
        bool right = true;
        for (int t = 0; t < 3000; t++) {
            const int64_t at = (int64_t)(random_bits() % (M * N)), i = at / N, j = at % N;
            double s = 0, bound = 0;
            for (int64_t k = 0; k < K; k++) {
                s += (double)alpha * (double)a[i * K + k] * (double)b[j * K + k];
                bound += fabs((double)alpha * (double)a[i * K + k] * (double)b[j * K + k]);
            }
            const double sum = v & 16 ? s + (double)c0[at] : s;
            const double far = bound * (double)rounding + fabs(sum) * 1e-7 + K * 0x1p-149;
            right = right && (bound > (double)FLT_MAX || fabs((double)c[at] - sum) <= far);
        }
        check_result(right, isa->name, "gemm of all sizes, variant %d", v);
    }
    free(a);
    free(b);
    free(c);
    free(c0);
}

/* Are all of n results the same infinity or NaN, or as near as rounding brings them? */
static bool same_kinds(const float *got, const float *want, int64_t n)
{
    bool same = true;
    for (int64_t i = 0; i < n; i++) {
        const bool odd = !(fabsf(want[i]) <= FLT_MAX);
        same = same && (odd ? got[i] == want[i] || (got[i] != got[i] && want[i] != want[i])
                            : fabsf(got[i] - want[i]) <= 1e-4F + 1e-6F * fabsf(want[i]));
    }
    return same;
}

/* What can not be split gives what the plain product gives, also where C is added to. */
static void check_unfit(const isa_table *isa)
{
    enum { M = 170, N = 163, K = 70 };
    static const float odd[] = {INFINITY, -INFINITY, NAN, FLT_MAX};
    float *a = malloc((size_t)M * K * 4), *b = malloc((size_t)N * K * 4);
    float *c[2] = {malloc((size_t)M * N * 4), malloc((size_t)M * N * 4)};
    for (int v = 0; v < 64; v++) {
        const ak__gemm_form form = (ak__gemm_form)(v % 3);
        fill(a, (int64_t)M * K, FILL_PLAIN);
        fill(b, (int64_t)N * K, FILL_PLAIN);
        if (v & 4)
            a[random_bits() % (M * K)] = odd[v / 16];
        else
            b[random_bits() % (N * K)] = odd[v / 16];
        fill(c[0], (int64_t)M * N, FILL_PLAIN);
        memcpy(c[1], c[0], (size_t)M * N * 4);
        for (int plain = 0; plain < 2; plain++) {
            ak__k.split_multiply = plain ? NULL : isa->table.split_multiply;
            ak__gemm(form, M, N, K, v & 32 ? -1.0F : 1.0F, a,
                     form == AK__TN ? M : K, b,
                     form == AK__NN || form == AK__TN ? N : K, v & 8 ? 1.0F : 0.0F, c[plain], N,
                     NULL);
        }
        ak__k.split_multiply = isa->table.split_multiply;
        check_result(same_kinds(c[0], c[1], M * N), isa->name, "gemm unfit %d", v);
    }
    free(a);
    free(b);
    free(c[0]);
    free(c[1]);
}

static void set_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

/* The same bits on 1 to 4 threads, and inside a parallel region. */
static void check_threads(const isa_table *isa)
{
    static const int64_t sizes[][3] = {{64, 64, 64},   {129, 65, 300}, {7, 1030, 257},
                                       {1000, 9, 520}, {61, 53, 9000}, {300, 300, 300},
                                       {230, 1100, 150}};
    const int before = ak__max_threads();
    for (int s = 0; s < 21; s++) {
        const int64_t M = sizes[s / 3][0], N = sizes[s / 3][1], K = sizes[s / 3][2];
        const ak__gemm_form form = (ak__gemm_form)(s % 3);
        if (isa->emulated && M * N * K > 10000000)
            continue;
        float *a = malloc((size_t)(M * K) * sizeof(float)), *b = malloc((size_t)(N * K) * 4);
        float *c[2] = {malloc((size_t)(M * N) * sizeof(float)), malloc((size_t)(M * N) * 4)};
        fill(a, M * K, FILL_PLAIN);
        fill(b, N * K, FILL_PLAIN);
        const int64_t lda = form == AK__TN ? M : K;
        const int64_t ldb = form == AK__NN || form == AK__TN ? N : K;
        for (int threads = 1; threads <= 4; threads++) {
            set_threads(threads);
            float *out = c[threads > 1];
            ak__gemm(form, M, N, K, 1, a, lda, b, ldb, 0, out, N, NULL);
            check_result(memcmp(c[0], out, (size_t)(M * N) * sizeof(float)) == 0, isa->name,
                         "gemm %lldx%lldx%lld: other bits on %d threads", (long long)M,
                         (long long)N, (long long)K, threads);
        }
        free(a);
        free(b);
        free(c[0]);
        free(c[1]);
    }
    set_threads(before);
}

static void check_batched(const isa_table *isa)
{
    enum { BATCH = 5, M = 13, N = 34, K = 21 };
    for (int v = 0; v < 16; v++) {
        float a[BATCH * M * K], b[BATCH * N * K], c[BATCH * M * N], d[BATCH * M * N];
        fill(a, BATCH * M * K, FILL_PLAIN);
        fill(b, BATCH * N * K, FILL_PLAIN);
        fill(c, BATCH * M * N, FILL_PLAIN);
        memcpy(d, c, sizeof d);
        const ak__gemm_form form = (ak__gemm_form)(v % 3);
        const int64_t lda = form == AK__TN ? M : K;
        const int64_t ldb = form == AK__NN || form == AK__TN ? N : K;
        const int64_t sa = v & 4 ? 0 : M * K, sb = v & 8 ? 0 : N * K;
        ak__gemm_batched(form, BATCH, M, N, K, 1, a, lda, sa, b, ldb, sb, 1, c, N, M * N);
        for (int i = 0; i < BATCH; i++)
            ak__gemm(form, M, N, K, 1, a + i * sa, lda, b + i * sb, ldb, 1, d + i * M * N, N, NULL);
        check_result(memcmp(c, d, sizeof c) == 0, isa->name, "gemm_batched variant %d", v);
    }
}

void check_gemm(const isa_table *isa)
{
    const ak_kernels before = ak__k;
    ak__k = isa->table;
    if (wanted("gemm_direct"))
        check_tiles(isa);
    if (wanted("gemm_pack"))
        check_packs(isa);
    if (wanted("gemm_finish"))
        check_finish(isa);
    if (wanted("gemm"))
        check_products(isa);
    if (wanted("gemm_large") && (!isa->emulated || isa->split_only)) {
        check_large_products(isa);
        check_sizes(isa);
        check_unfit(isa);
    }
    if (wanted("gemm_threads"))
        check_threads(isa);
    if (wanted("gemm_batched"))
        check_batched(isa);
    ak__k = before;
}
