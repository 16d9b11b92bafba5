/* SPDX-License-Identifier: Apache-2.0 */
/* Products of split operands on machines without the unit for them: split_amx.c over matrix
 * registers in C (amx_emulated.h), and where there is no AVX-512 over vectors in C as well.
 *
 * Every test program has this in it. With AK_TEST_SPLIT=1 in the environment the whole library
 * takes the ways of a machine with AMX, some hundred times slower. */
#ifndef AK_SPLIT_EMULATED_H
#define AK_SPLIT_EMULATED_H

#include "tensor/kernels/kernels.h"

/* Put the emulated entries into a table. False: not even AVX2. */
bool split_emulated_fill(ak_kernels *table);

#endif
