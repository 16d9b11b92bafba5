/* SPDX-License-Identifier: Apache-2.0 */
/* Operands packed once, and the two inner loops of gemm.c over them. */
#include "panels.h"

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }

/* K in equal blocks of at most kc, as gemm.c cuts it. */
static int64_t block_of(int64_t K)
{
    const int64_t blocks = ceil_div(K, ak__k.kc);
    return K > 0 ? min_of(ceil_div(ceil_div(K, blocks), 8) * 8, ak__k.kc) : 1;
}

int64_t ak__panels_size(int64_t I, int64_t K, int width) { return ceil_div(I, width) * width * K; }

ak__panels ak__panels_pack(ak_real *to, const ak_real *x, int64_t ld, bool k_major, int64_t I,
                           int64_t K, ak_real alpha, int width)
{
    const ak__panels p = {.data = to, .I = I, .K = K, .kb = block_of(K), .width = width};
    ak_real *dst = to;
    for (int64_t k = 0; k < K; k += p.kb) {
        const int64_t nk = min_of(p.kb, K - k);
        for (int64_t i = 0; i < I; i += width, dst += nk * width) {
            const ak_real *from = k_major ? x + k * ld + i : x + i * ld + k;
            ak__k.gemm_pack(dst, from, ld, min_of(width, I - i), nk, width, k_major);
        }
    }
    if (alpha != 1)
        ak__k.scale(to, alpha, to, dst - to);
    return p;
}

/* All of C for one block of K: `nk` of it, the first panel of B at b. A is either panels at a
 * (step = elements from one to the next) or rows in place (step = mr rows). */
typedef struct panel_block {
    const ak_real *a, *b;
    int64_t step, rs, cs, nk;
} panel_block;

static void multiply_block(const panel_block *p, int64_t M, int64_t N, ak_real *C, int64_t ldc,
                           bool accumulate)
{
    const int64_t mr = ak__k.mr, nr = ak__k.nr;
    const ak_real *b = p->b;
    for (int64_t j = 0; j < N; j += nr, b += nr * p->nk) {
        const int n = (int)min_of(nr, N - j);
        const ak_real *a = p->a;
        for (int64_t i = 0; i < M; i += mr, a += p->step)
            ak__k.gemm_direct(p->nk, a, p->rs, p->cs, b, nr, C + i * ldc + j, ldc,
                              (int)min_of(mr, M - i), n, accumulate);
    }
}

void ak__panels_multiply(const ak__panels *A, const ak__panels *B, ak_real *C, int64_t ldc,
                         bool accumulate)
{
    const int64_t mr = A->width, wide_a = ceil_div(A->I, mr) * mr;
    const int64_t wide_b = ceil_div(B->I, B->width) * B->width;
    for (int64_t k = 0; k < A->K; k += A->kb) {
        const int64_t nk = min_of(A->kb, A->K - k);
        const panel_block p = {A->data + k * wide_a, B->data + k * wide_b, nk * mr, 1, mr, nk};
        multiply_block(&p, A->I, B->I, C, ldc, accumulate || k > 0);
    }
}

void ak__panels_multiply_rows(const ak_real *a, int64_t rs, int64_t cs, int64_t M,
                              const ak__panels *B, ak_real *C, int64_t ldc, bool accumulate)
{
    const int64_t wide_b = ceil_div(B->I, B->width) * B->width;
    for (int64_t k = 0; k < B->K; k += B->kb) {
        const int64_t nk = min_of(B->kb, B->K - k);
        const panel_block p = {a + k * cs, B->data + k * wide_b, ak__k.mr * rs, rs, cs, nk};
        multiply_block(&p, M, B->I, C, ldc, accumulate || k > 0);
    }
}
