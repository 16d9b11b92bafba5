/* SPDX-License-Identifier: Apache-2.0 */
/* Making the plan of a Fourier transform (kernels/fft.h). */
#ifndef AK_FFT_PLAN_H
#define AK_FFT_PLAN_H

#include "base/base.h"
#include "kernels/fft.h"

/* Of n >= 2 real numbers, below 2^31; its tables live as long as the context. False: out of memory,
 * recorded. */
bool ak__fft_plan(ak__fft *plan, ak_ctx *ctx, int64_t n);

#endif
