/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the parts of kernelcheck. */
#ifndef AK_KERNEL_CHECK_H
#define AK_KERNEL_CHECK_H

#include "tensor/gemm.h"

#include <float.h>
#include <stdlib.h>

typedef struct isa_table {
    const char *name;
    bool        emulated;           /* slow: fewer repeats */
    bool        split_only;         /* nothing else differs from another table */
    ak_kernels  table;
} isa_table;

typedef struct guarded {
    float  *x;
    int64_t n;
    char   *map;
    size_t  bytes;
} guarded;

typedef enum fill_kind { FILL_PLAIN, FILL_ZEROS, FILL_NO_DENORMALS, FILL_ODD,
                       FILL_POSITIVE } fill_kind;

extern long checks_passed, checks_failed;

bool wanted(const char *name);
void check_result(bool ok, const char *isa, const char *format, ...) AK_PRINTF(3, 4);
uint64_t random_bits(void);
float random_float(void);
void fill(float *x, int64_t n, fill_kind kind);
/* placement 0: the array ends at an unreadable page; 1, 2, 3: it begins that many floats past a
 * 64-byte boundary. Around it are sentinels. */
guarded guarded_new(int64_t n, int placement);
bool guarded_free(guarded g);
/* A matrix that ends at an unreadable page. */
static inline guarded matrix_new(int64_t rows, int64_t cols, int64_t ld)
{
    return guarded_new(rows > 0 && cols > 0 ? (rows - 1) * ld + cols : 0, 0);
}
bool near_enough(float got, float want, double tolerance);
double ulp_error(float got, double want);
/* There are at most this many tables to test: one a level, two emulated. */
#define MOST_TABLES (AK__LEVELS + 2)
int isa_tables(isa_table out[MOST_TABLES]);

void check_entries(const ak_kernels *ref, const isa_table *isa);
void check_fft(const ak_kernels *ref, const isa_table *isa);
void check_gemm(const isa_table *isa);
void check_split_operands(const isa_table *isa);
void check_taps(const isa_table *isa);
void check_winograd(const ak_kernels *ref, const isa_table *isa);
void bench_kernels(const isa_table *isas, int count);
void measure_ulp(const isa_table *isa);

/* An elementary function and its stated bound. */
typedef struct function_bound {
    const char *name;
    size_t      at;                 /* offset of the entry in the table */
    double    (*exact)(double x);
    double      ulp;
} function_bound;
extern const function_bound function_bounds[5];

typedef void (*map_fn)(ak_real *y, const ak_real *x, int64_t n);
map_fn function_entry(const ak_kernels *table, size_t at);

#ifdef AK_CHECK_EMULATED
void ak__kernels_avx512_emulated(ak_kernels *table);
void ak__kernels_gemm_avx512_emulated(ak_kernels *table);
#endif

#endif
