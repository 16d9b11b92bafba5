/* SPDX-License-Identifier: Apache-2.0 */
/* Operands packed once, and the two inner loops of gemm.c over them. */
#include "panels.h"

#include "base/whole.h"
#include "split_panels.h"

/* Block of K of split panels: a left and a right one are in L1 together. */
#define SPLIT_BLOCK 128


bool ak__panels_are_split(void) { return ak__k.split_multiply != NULL; }

static int64_t width_of(ak__side_of side)
{
    if (ak__panels_are_split())
        return AK_SPLIT_SIDE;
    return side == AK__LEFT ? ak__k.mr : ak__k.nr;
}

/* Elements of a panel of nk. */
static int64_t panel_size(int64_t nk, ak__side_of side)
{
    return ak__panels_are_split() ? AK_SPLIT_SIZE(nk) : nk * width_of(side);
}

/* K in equal blocks, as gemm.c cuts it; those of split panels are whole steps. */
static int64_t block_of(int64_t K)
{
    const bool split = ak__panels_are_split();
    const int64_t most = split ? SPLIT_BLOCK : ak__k.kc, unit = split ? 32 : 8;
    const int64_t blocks = ak__ceil_div(K, most);
    return K > 0 ? ak__min(ak__round_to(ak__ceil_div(K, blocks), unit), most) : 1;
}

int64_t ak__panels_size(int64_t I, int64_t K, ak__side_of side)
{
    const int64_t kb = block_of(K), panels = ak__ceil_div(I, width_of(side));
    return panels * (K / kb * panel_size(kb, side) + panel_size(K % kb, side));
}

ak__panels ak__panels_pack(ak_real *to, const ak_real *x, int64_t ld, bool k_major, int64_t I,
                           int64_t K, ak_real alpha, ak__side_of side)
{
    const ak__panels p = {.data = to, .I = I, .K = K, .kb = block_of(K), .side = side};
    const int64_t width = width_of(side);
    ak_real *dst = to;
    for (int64_t k = 0; k < K; k += p.kb) {
        const int64_t nk = ak__min(p.kb, K - k);
        for (int64_t i = 0; i < I; i += width, dst += panel_size(nk, side)) {
            const ak_real *from = k_major ? x + k * ld + i : x + i * ld + k;
            const int64_t ni = ak__min(width, I - i);
            if (ak__panels_are_split())
                ak__split_pack(dst, from, ld, ni, nk, alpha, k_major, side == AK__LEFT);
            else
                ak__k.gemm_pack(dst, from, ld, ni, nk, (int)width, k_major);
        }
    }
    if (alpha != 1 && !ak__panels_are_split())
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
        const int n = (int)ak__min(nr, N - j);
        const ak_real *a = p->a;
        for (int64_t i = 0; i < M; i += mr, a += p->step)
            ak__k.gemm_direct(p->nk, a, p->rs, p->cs, b, nr, C + i * ldc + j, ldc,
                              (int)ak__min(mr, M - i), n, accumulate);
    }
}

/* The panels of the block of K that begins at k. */
static const ak_real *block_at(const ak__panels *p, int64_t k)
{
    const int64_t panels = ak__ceil_div(p->I, width_of(p->side));
    return p->data + panels * (k / p->kb) * panel_size(p->kb, p->side);
}

void ak__panels_multiply(const ak__panels *A, const ak__panels *B, ak_real *C, int64_t ldc,
                         bool accumulate)
{
    for (int64_t k = 0; k < A->K; k += A->kb) {
        const int64_t nk = ak__min(A->kb, A->K - k), step = panel_size(nk, AK__LEFT);
        const bool add = accumulate || k > 0;
        const ak_real *a = block_at(A, k), *b = block_at(B, k);
        if (!ak__panels_are_split()) {
            const panel_block p = {a, b, step, 1, ak__k.mr, nk};
            multiply_block(&p, A->I, B->I, C, ldc, add);
            continue;
        }
        for (int64_t i = 0; i < A->I; i += AK_SPLIT_SIDE, a += step)
            ak__split_multiply(nk, a, b, step, C + i * ldc, ldc,
                                 (int)ak__min(AK_SPLIT_SIDE, A->I - i), B->I, add);
    }
}

void ak__panels_multiply_rows(const ak_real *a, int64_t lda, int64_t M, const ak__panels *B,
                              ak_real *C, int64_t ldc, bool accumulate)
{
    _Alignas(64) ak_real split[AK_SPLIT_SIZE(SPLIT_BLOCK)];
    for (int64_t k = 0; k < B->K; k += B->kb) {
        const int64_t nk = ak__min(B->kb, B->K - k);
        const bool add = accumulate || k > 0;
        const ak_real *b = block_at(B, k);
        if (!ak__panels_are_split()) {
            const panel_block p = {a + k, b, ak__k.mr * lda, lda, 1, nk};
            multiply_block(&p, M, B->I, C, ldc, add);
            continue;
        }
        for (int64_t i = 0; i < M; i += AK_SPLIT_SIDE) {
            const int m = (int)ak__min(AK_SPLIT_SIDE, M - i);
            ak__split_pack(split, a + i * lda + k, lda, m, nk, 1, false, true);
            ak__split_multiply(nk, split, b, AK_SPLIT_SIZE(nk), C + i * ldc, ldc, m, B->I, add);
        }
    }
}
