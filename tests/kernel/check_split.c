/* SPDX-License-Identifier: Apache-2.0 */
/* kernelcheck: products of split operands. */
#include "check.h"

#include <math.h>
#include <string.h>

/* ---- panels ---------------------------------------------------------------------------------- */

/* Right operands of n positions side by side; the caller frees them. */
static float *split_right(const ak_kernels *k, const float *x, int64_t ld, int64_t n, int64_t nk,
                          float alpha, bool k_major)
{
    const int64_t size = AK_SPLIT_SIZE(nk), panels = (n + AK_SPLIT_SIDE - 1) / AK_SPLIT_SIDE;
    float *to = aligned_alloc(64, (size_t)(panels * size + 16) * sizeof *to);
    for (int64_t j = 0; j < n; j += AK_SPLIT_SIDE) {
        const int64_t left = n - j < AK_SPLIT_SIDE ? n - j : AK_SPLIT_SIDE;
        k->split_pack(to + j / AK_SPLIT_SIDE * size, k_major ? x + j : x + j * ld, ld, left, nk,
                      alpha, k_major, false);
    }
    return to;
}

/* A split product against sums in double, to the bound of gemm_direct. */
static void check_split(const isa_table *isa, int m, int n, int64_t nk, int variant)
{
    const ak_kernels *k = &isa->table;
    const bool a_major = variant & 1, b_major = variant & 2, accumulate = variant & 4;
    const float alpha = variant & 8 ? 0.5F : 1;
    const int64_t lda = (a_major ? m : nk) + 1, ldb = (b_major ? n : nk) + 2, ldc = n + 3;
    guarded a = matrix_new(a_major ? nk : m, a_major ? m : nk, lda);
    guarded b = matrix_new(b_major ? nk : n, b_major ? n : nk, ldb);
    guarded c = matrix_new(m, n, ldc);
    fill(a.x, a.n, FILL_PLAIN);
    fill(b.x, b.n, FILL_PLAIN);
    fill(c.x, c.n, FILL_PLAIN);
    float *start = malloc((size_t)c.n * sizeof(float));
    memcpy(start, c.x, (size_t)c.n * sizeof(float));
    float *pa = aligned_alloc(64, (size_t)(AK_SPLIT_SIZE(nk) + 16) * sizeof(float));
    float *pb = split_right(k, b.x, ldb, n, nk, alpha, b_major);
    k->split_pack(pa, a.x, lda, m, nk, 1, a_major, true);
    k->split_multiply(nk, pa, pb, AK_SPLIT_SIZE(nk), c.x, ldc, m, n, accumulate);
    bool near = true;
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < ldc && i * ldc + j < c.n; j++) {
            double s = accumulate || j >= n ? (double)start[i * ldc + j] : 0, bound = fabs(s);
            for (int64_t q = 0; q < nk && j < n; q++) {
                const float x = a_major ? a.x[q * lda + i] : a.x[i * lda + q];
                const float y = b_major ? b.x[q * ldb + j] : b.x[j * ldb + q];
                s += (double)alpha * (double)x * (double)y;
                bound += fabs((double)alpha * (double)x * (double)y);
            }
            near = near && near_enough(c.x[i * ldc + j], (float)s, bound * 1e-6);
        }
    }
    const bool kept = guarded_free(a) + guarded_free(b) + guarded_free(c) == 3;
    check_result(near && kept, isa->name, "split m %d n %d nk %lld variant %d", m, n,
                 (long long)nk, variant);
    free(start);
    free(pa);
    free(pb);
}

/* Packing tells of numbers that can not be split, wherever they are. */
static void check_split_fits(const isa_table *isa)
{
    enum { SIDE = 29 };
    static const struct { float x; bool fits; } cases[] = {
        {0, true}, {-0.0F, true}, {1e-45F, true}, {-FLT_MIN, true}, {0x1.fep29F, true},
        {-0x1.fep29F, true}, {0x1p30F, false}, {-0x1p30F, false}, {0x1p104F, false},
        {FLT_MAX, false}, {-FLT_MAX, false}, {INFINITY, false}, {-INFINITY, false}, {NAN, false},
    };
    float x[SIDE * SIDE];
    float *to = aligned_alloc(64, (size_t)AK_SPLIT_SIZE(SIDE) * sizeof(float));
    for (int v = 0; v < 4; v++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            fill(x, SIDE * SIDE, FILL_PLAIN);
            x[random_bits() % (SIDE * SIDE)] = cases[i].x;
            const bool fits = isa->table.split_pack(to, x, SIDE, SIDE, SIDE, 1, v & 1, v & 2);
            check_result(fits == cases[i].fits, isa->name, "split_pack of %g", (double)cases[i].x);
        }
    }
    free(to);
}

/* One NaN in the left operand reaches its row and nothing else; so does one in the right. */
static void check_split_nan(const isa_table *isa)
{
    enum { SIDE = 20 };
    float a[SIDE * SIDE], b[SIDE * SIDE], c[SIDE * SIDE];
    fill(a, SIDE * SIDE, FILL_PLAIN);
    fill(b, SIDE * SIDE, FILL_PLAIN);
    a[3 * SIDE + 18] = NAN;
    b[7 * SIDE + 2] = -NAN;
    float *pa = aligned_alloc(64, (size_t)AK_SPLIT_SIZE(SIDE) * sizeof(float));
    float *pb = split_right(&isa->table, b, SIDE, SIDE, SIDE, 1, false);
    isa->table.split_pack(pa, a, SIDE, SIDE, SIDE, 1, false, true);
    isa->table.split_multiply(SIDE, pa, pb, AK_SPLIT_SIZE(SIDE), c, SIDE, SIDE, SIDE, false);
    bool right = true;
    for (int i = 0; i < SIDE; i++)
        for (int j = 0; j < SIDE; j++)
            right = right && (c[i * SIDE + j] != c[i * SIDE + j]) == (i == 3 || j == 7);
    check_result(right, isa->name, "split NaN");
    free(pa);
    free(pb);
}

/* ---- lines ----------------------------------------------------------------------------------- */

static float half_value(uint16_t bits)
{
    const uint32_t all = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &all, sizeof x);
    return x;
}

/* The number of pair l of a line (its first, or its second): the sum of its thirds is exact, and
 * 2^23 times as large. */
static float line_value(const char *line, int l, int second)
{
    uint16_t third[3];
    for (int i = 0; i < 3; i++)
        memcpy(&third[i], line + i * 64 + (2 * l + second) * 2, sizeof third[i]);
    return (half_value(third[0]) + half_value(third[1]) + half_value(third[2])) * 0x1p-23F;
}

static void check_lines(const isa_table *isa, int64_t lines, int nx, int ny)
{
    const int64_t ld = 16 + (int64_t)(random_bits() % 5), step = AK_SPLIT_LINE + 64;
    guarded x = matrix_new(lines, nx, ld), y = matrix_new(lines, ny, ld);
    fill(x.x, x.n, FILL_PLAIN);
    fill(y.x, y.n, FILL_PLAIN);
    if (lines % 2)                      /* subnormal numbers and the largest as well */
        for (int64_t i = 0; i < x.n; i++)
            x.x[i] = ldexpf(x.x[i], (int)(random_bits() % 250) - 150);
    const size_t bytes = (size_t)(lines * step + 64) / 64 * 64;
    char *to = memset(aligned_alloc(64, bytes), 0x55, bytes);
    isa->table.split_lines(to, step, x.x, y.x, ld, lines, nx, ny);
    bool right = true;
    for (int64_t i = 0; i < lines; i++) {
        const char *line = to + i * step;
        for (int l = 0; l < 16; l++)
            right = right && line_value(line, l, 0) == (l < nx ? x.x[i * ld + l] : 0) &&
                    line_value(line, l, 1) == (l < ny ? y.x[i * ld + l] : 0);
        for (int64_t b = AK_SPLIT_LINE; b < step; b++)
            right = right && line[b] == 0x55;
    }
    const bool kept = guarded_free(x) + guarded_free(y) == 2;
    check_result(right && kept, isa->name, "split_lines %lld of %d and %d", (long long)lines, nx,
                 ny);
    free(to);
}

/* ---- tiles of any strides -------------------------------------------------------------------- */

/* C(i, j) = sum over steps s and p < 16 of X[i + shift(s)][p] U[16 s + p][j], and the same of the
 * upper sixteen columns of X with V: the left operand overlaps itself, as pixels of taps do, the
 * right one is of pairs of pixels. */
typedef struct overlap {
    const float *x, *u, *v;
    int64_t      n;
    int64_t      shift[9];
} overlap;

static double overlap_sum(const overlap *o, int64_t steps, int64_t i, int64_t j, double *bound)
{
    double sum = 0;
    for (int64_t k = 0; k < steps * 16; k++) {
        const float *x = o->x + (i + o->shift[k / 16]) * 32 + k % 16;
        const double a = (double)x[0] * (double)o->u[k * o->n + j];
        const double b = (double)x[16] * (double)o->v[k * o->n + j];
        sum += a + b;
        *bound += fabs(a) + fabs(b);
    }
    return sum;
}

static void check_tiles_of(const isa_table *isa, int64_t m, int64_t n, int64_t steps,
                           bool accumulate)
{
    enum { MOST = 40 };
    const ak_kernels *k = &isa->table;
    const int64_t pixels = m + MOST + 32, layers = (n + 31) / 32 * 2, layer = steps * 16 * 192;
    const int64_t ldc = n + (int64_t)(random_bits() % 3);
    guarded x = matrix_new(pixels, 32, 32), u = matrix_new(steps * 16, n, n);
    guarded v = matrix_new(steps * 16, n, n), c = matrix_new(m, n, ldc);
    const guarded all[] = { x, u, v, c };
    for (int i = 0; i < 4; i++)
        fill(all[i].x, all[i].n, FILL_PLAIN);
    float *start = malloc((size_t)c.n * sizeof *start);
    memcpy(start, c.x, (size_t)c.n * sizeof *start);
    char *left = aligned_alloc(64, (size_t)(pixels * 192));
    char *right = aligned_alloc(64, (size_t)(layers * layer));
    memset(right, 0xff, (size_t)(layers * layer));      /* NaN past n */
    k->split_lines(left, 192, x.x, x.x + 16, 32, pixels, 16, 16);
    for (int64_t j = 0; j < n; j += 16) {
        const int some = (int)(n - j < 16 ? n - j : 16);
        k->split_lines(right + j / 16 * layer, 192, u.x + j, v.x + j, n, steps * 16, some, some);
    }
    overlap o = { .x = x.x, .u = u.x, .v = v.x, .n = n };
    int64_t at[9], right_at[9];
    for (int64_t s = 0; s < steps; s++) {
        o.shift[s] = (int64_t)(random_bits() % MOST);
        at[s] = o.shift[s] * 192;
        right_at[s] = s * 16 * 192;
    }
    const ak__split_operand a = { left, at, 192, 16 * 192, 64, 32 * 192 };
    const ak__split_operand b = { right, right_at, 192, layer, 64, 2 * layer };
    k->split_tiles(steps, &a, &b, c.x, ldc, m, n, accumulate, x.x, x.n * (int64_t)sizeof(float));
    bool near = true;
    for (int64_t i = 0; i < c.n; i++) {
        double bound = 0, want = accumulate || i % ldc >= n ? (double)start[i] : 0;
        bound += fabs(want);
        if (i % ldc < n)
            want += overlap_sum(&o, steps, i / ldc, i % ldc, &bound);
        near = near && near_enough(c.x[i], (float)want, bound * 1e-6);
    }
    const bool kept = guarded_free(x) + guarded_free(u) + guarded_free(v) + guarded_free(c) == 4;
    check_result(near && kept, isa->name, "split_tiles m %lld n %lld steps %lld", (long long)m,
                 (long long)n, (long long)steps);
    free(start);
    free(left);
    free(right);
}

/* ---- putting --------------------------------------------------------------------------------- */

static void check_put(const isa_table *isa, int64_t rows, int n, int variant)
{
    const bool accumulate = variant & 1;
    const int64_t step = n + (int64_t)(random_bits() % 40);
    const int64_t from = variant & 4 ? 0 : n + (int64_t)(random_bits() % 3);
    guarded dst = matrix_new(rows, n, step), src = matrix_new(from ? rows : 1, n, from);
    guarded bias = matrix_new(1, n, n);
    const guarded all[] = { dst, src, bias };
    for (int i = 0; i < 3; i++)
        fill(all[i].x, all[i].n, FILL_PLAIN);
    float *want = malloc((size_t)dst.n * sizeof *want);
    memcpy(want, dst.x, (size_t)dst.n * sizeof *want);
    for (int64_t i = 0; i < rows; i++)
        for (int j = 0; j < n; j++) {
            float *to = &want[i * step + j];
            *to = (accumulate ? *to + src.x[i * from + j] : src.x[i * from + j]) +
                  (variant & 2 ? bias.x[j] : 0);
        }
    bool right = true;
    if (src.n > 0) {                    /* what is not finite is refused, and nothing written */
        float *one = &src.x[(from ? (int64_t)(random_bits() % (uint64_t)rows) * from : 0) +
                            (int64_t)(random_bits() % (uint64_t)n)], kept = *one;
        *one = variant & 1 ? INFINITY : NAN;
        float *before = malloc((size_t)dst.n * sizeof *before);
        memcpy(before, dst.x, (size_t)dst.n * sizeof *before);
        right = !isa->table.split_put(dst.x, step, src.x, from, rows, n, NULL, accumulate) &&
                memcmp(before, dst.x, (size_t)dst.n * sizeof *before) == 0;
        free(before);
        *one = kept;
    }
    right = isa->table.split_put(dst.x, step, src.x, from, rows, n, variant & 2 ? bias.x : NULL,
                                 accumulate) && right;
    for (int64_t i = 0; i < dst.n; i++)
        right = right && near_enough(dst.x[i], want[i], 0);
    const bool kept = guarded_free(dst) + guarded_free(src) + guarded_free(bias) == 3;
    check_result(right && kept, isa->name, "split_put %lld rows of %d, variant %d",
                 (long long)rows, n, variant);
    free(want);
}

/* ---- all ------------------------------------------------------------------------------------- */

static void check_panels(const isa_table *isa)
{
    static const int64_t depths[] = {1, 15, 16, 17, 31, 32, 33, 47, 64, 100};
    int variant = 0;
    for (int m = 1; m <= AK_SPLIT_SIDE; m++)
        for (int n = 1; n < 70; n += n < 34 ? 1 : 7)
            for (int d = 0; d < 10; d++, variant++)
                check_split(isa, m, n, depths[d], variant % 16);
    check_split_nan(isa);
    check_split_fits(isa);
}

void check_split_operands(const isa_table *isa)
{
    if (!isa->table.split_multiply)
        return;
    if (wanted("split_multiply") || wanted("split_pack"))
        check_panels(isa);
    for (int i = 0; i < 17 * 17 && wanted("split_lines"); i++)
        check_lines(isa, 1 + i % 7, 1 + i % 16, i / 17);
    for (int i = 0; i < 300 && wanted("split_tiles"); i++)
        check_tiles_of(isa, 1 + (int64_t)(random_bits() % 90), 1 + (int64_t)(random_bits() % 90),
                       1 + i % 9, i % 2);
    for (int i = 0; i < 32 * 8 && wanted("split_put"); i++)
        check_put(isa, 1 + i % 5, 1 + i / 8, i % 8);
}
