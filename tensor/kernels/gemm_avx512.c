/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix product for AVX-512: the 14x32 tile (28 accumulators, 2 vectors of B, 1-2 of A in 32
 * registers). Packing is AVX2's, which is bound by memory already. */
#define AK__ISA avx512
#define AK__VW  16
#define AK__MR  14
#include "gemm_tile.h"

#ifdef AK_SIMD_EMULATED
#define ak__kernels_gemm_avx512 ak__kernels_gemm_avx512_emulated
void ak__kernels_gemm_avx512_emulated(ak_kernels *table);
#endif

void ak__kernels_gemm_avx512(ak_kernels *table)
{
    table->mr = MR;
    table->nr = NR;
    table->mc = 182;
    table->kc = 384;
    table->nc = 1024;
    table->gemm_direct = gemm_direct_avx512;
    table->gemm_finish = gemm_finish_avx512;
}
