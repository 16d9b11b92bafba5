/* SPDX-License-Identifier: Apache-2.0 */
/* The Fourier transform for any processor: fft_lanes.h as the compiler's vectors are by default. */
#include "kernels.h"

#define FFT(name) name##_ref
#include "fft_lanes.h"

void ak__kernels_fft_ref(ak_kernels *table)
{
    table->fft = fft_ref;
    table->fft_real = fft_real_ref;
    table->fft_power = fft_power_ref;
}
