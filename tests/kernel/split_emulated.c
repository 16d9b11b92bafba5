/* SPDX-License-Identifier: Apache-2.0 */
#include "split_emulated.h"

#include <stdlib.h>

void ak__kernels_split_emulated(ak_kernels *table);
void ak__kernels_split_all_emulated(ak_kernels *table);

bool split_emulated_fill(ak_kernels *table)
{
    if (ak__cpu_level() >= AK__AVX512) {
        ak__kernels_split_emulated(table);
        return true;
    }
#ifdef AK_CHECK_EMULATED
    if (ak__cpu_level() >= AK__AVX2) {
        ak__kernels_split_all_emulated(table);
        return true;
    }
#endif
    return false;
}

/* Before main: no context has been opened, and the table is chosen once a process. */
__attribute__((constructor)) static void choose_emulation(void)
{
    if (getenv("AK_TEST_SPLIT") && ak__kernels_init() && !ak__k.split_multiply)
        (void)split_emulated_fill(&ak__k);
}
