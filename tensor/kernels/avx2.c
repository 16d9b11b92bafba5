/* SPDX-License-Identifier: Apache-2.0 */
/* The entries for AVX2 + FMA: eight floats at a time. The code is in simd_entries.h. */
#define AK__ISA avx2
#define AK__VW  8
#include "simd_entries.h"
#include "gru_simd.h"
#define FFT(name) FN(name)
#include "fft_lanes.h"
#include "taps_simd.h"
#include "winograd_simd.h"

void ak__kernels_avx2(ak_kernels *table)
{
    set_entries_avx2(table);
    table->taps = taps_avx2;
    table->taps_gradient = taps_gradient_avx2;
    table->gru_step = gru_step_avx2;
    table->gru_slope = gru_slope_avx2;
    table->fft = fft_avx2;
    table->fft_real = fft_real_avx2;
    table->fft_power = fft_power_avx2;
    table->winograd = winograd_avx2;
    table->isa = "avx2";
}
