/* SPDX-License-Identifier: Apache-2.0 */
/* The entries for AVX-512 F, VL, DQ, BW: sixteen floats at a time. The code is in simd_entries.h.
 * kernelcheck builds this file a second time over emulated instructions, to test it anywhere. */
#define AK__ISA avx512
#define AK__VW  16
#include "simd_entries.h"
#include "gru_simd.h"
#define FFT(name) FN(name)
#include "fft_lanes.h"
#include "taps_simd.h"
#include "winograd_simd.h"

#ifdef AK_SIMD_EMULATED
#define ak__kernels_avx512 ak__kernels_avx512_emulated
void ak__kernels_avx512_emulated(ak_kernels *table);
#endif

void ak__kernels_avx512(ak_kernels *table)
{
    set_entries_avx512(table);
    table->taps = taps_avx512;
    table->taps_gradient = taps_gradient_avx512;
    table->gru_step = gru_step_avx512;
    table->gru_slope = gru_slope_avx512;
    table->fft = fft_avx512;
    table->fft_real = fft_real_avx512;
    table->fft_power = fft_power_avx512;
    table->winograd = winograd_avx512;
    table->isa = "avx512";
}
