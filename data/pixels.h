/* SPDX-License-Identifier: Apache-2.0 */
/* AK__PIXELS before a function with loops over pixels: it is compiled a second time for AVX2, and
 * the system's loader takes the version that fits the processor.
 *
 * This needs no entry in the kernel table. What such a function does to a number depends on no
 * other lane, products are not contracted into sums (-ffp-contract=off), and sums over pixels have
 * a fixed number of parts: both versions give the same bits, so AK_CPU has nothing to choose.
 * Vectors of 16 numbers gain nothing, as rows of small pictures are short. What such a function
 * calls is inlined (static and small) or has the word itself.
 */
#ifndef AK_DATA_PIXELS_H
#define AK_DATA_PIXELS_H

#include <stdint.h>     /* __GLIBC__, where the loader is known to do this */

#if defined(AK_HAVE_SIMD) && defined(__GLIBC__)
#define AK__PIXELS __attribute__((target_clones("avx2", "default")))
#else
#define AK__PIXELS
#endif

#endif
