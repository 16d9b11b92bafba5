/* SPDX-License-Identifier: Apache-2.0 */
/* Which version of each kernel runs: ref first, then what each higher level replaces, up to what
 * the processor allows and AK_CPU asks. Once per process. */
#include "kernels.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__unix__)
#include <unistd.h>
#endif

ak_kernels ak__k;

static const char *const level_names[AK__LEVELS] = {"ref", "avx2", "avx512", "amx"};

const char *ak__level_name(ak__level level) { return level_names[level]; }

bool ak__kernels_fill(ak_kernels *table, ak__level level)
{
#ifdef AK_HAVE_SIMD
    if (level > ak__cpu_level())
        return false;
    ak__kernels_ref(table);
    if (level >= AK__AVX2) {
        ak__kernels_avx2(table);
        ak__kernels_gemm_avx2(table);
    }
    if (level >= AK__AVX512) {
        ak__kernels_avx512(table);
        ak__kernels_gemm_avx512(table);
    }
    if (level >= AK__AMX)
        ak__kernels_split_amx(table);
    return true;
#else
    ak__kernels_ref(table);
    return level == AK__REF;
#endif
}

/* One function pointer of the table, as bytes: its place and its name. */
typedef struct table_entry {
    const char *name;
    size_t      at;
} table_entry;

#define ENTRY(name) {#name, offsetof(ak_kernels, name)}

static const table_entry table_entries[] = {
    ENTRY(gemm_direct),   ENTRY(gemm_pack),      ENTRY(gemm_finish),
    ENTRY(split_pack),    ENTRY(split_multiply), ENTRY(split_tiles),   ENTRY(split_lines),
    ENTRY(split_put),
    ENTRY(dot),           ENTRY(sum),            ENTRY(sum_squares),    ENTRY(max),
    ENTRY(axpy),          ENTRY(scale),          ENTRY(add),            ENTRY(sub),
    ENTRY(mul),           ENTRY(mul_add),        ENTRY(affine),         ENTRY(shift),
    ENTRY(combine),
    ENTRY(fence),         ENTRY(exp),            ENTRY(log),            ENTRY(tanh),
    ENTRY(erf),           ENTRY(sigmoid),        ENTRY(exp_sum),        ENTRY(exp_affine),
    ENTRY(exp_fold),      ENTRY(exp_weigh),
    ENTRY(relu),          ENTRY(relu_backward),  ENTRY(gelu),           ENTRY(gelu_backward),
    ENTRY(gelu_tanh),     ENTRY(gelu_tanh_backward),
    ENTRY(softmax_backward_row), ENTRY(layer_norm_row), ENTRY(norm_backward_row),
    ENTRY(column_moments),
    ENTRY(column_sum),    ENTRY(column_affine),  ENTRY(batch_norm_sums), ENTRY(batch_norm_grad),
    ENTRY(adam),          ENTRY(sgd),            ENTRY(lerp),           ENTRY(from_u8),
    ENTRY(taps),          ENTRY(taps_gradient),  ENTRY(winograd),
    ENTRY(fft),           ENTRY(fft_real),       ENTRY(fft_power),
    ENTRY(gru_step),      ENTRY(gru_slope),
};

#define ENTRY_COUNT (sizeof table_entries / sizeof table_entries[0])

static ak__kernel_name names_in_use[ENTRY_COUNT];
static int names_count;

static bool has_entry(const ak_kernels *table, size_t at)
{
    static void (*const none)(void);
    return memcmp((const char *)table + at, &none, sizeof none) != 0;
}

/* Note for each entry that there is the highest level, up to `level`, that changed it. */
static void note_levels(ak__level level)
{
    ak_kernels below, here;
    for (size_t i = 0; i < ENTRY_COUNT; i++)
        if (has_entry(&ak__k, table_entries[i].at))
            names_in_use[names_count++] = (ak__kernel_name){table_entries[i].name, AK__REF};
    (void)ak__kernels_fill(&below, AK__REF);
    for (int l = AK__AVX2; l <= (int)level; l++) {
        (void)ak__kernels_fill(&here, (ak__level)l);
        int n = 0;
        for (size_t i = 0; i < ENTRY_COUNT; i++) {
            const size_t at = table_entries[i].at;
            if (!has_entry(&ak__k, at))
                continue;
            if (memcmp((const char *)&below + at, (const char *)&here + at, sizeof(void (*)(void))))
                names_in_use[n].level = (ak__level)l;
            n++;
        }
        below = here;
    }
}

/* The level that AK_CPU allows; false if it is no level's name. */
static bool level_asked(ak__level *level)
{
    const char *text = getenv("AK_CPU");
    *level = AK__AMX;
    if (!text || !*text)
        return true;
    for (int l = AK__REF; l < AK__LEVELS; l++) {
        if (strcmp(text, level_names[l]) == 0) {
            *level = (ak__level)l;
            return true;
        }
    }
    return false;
}

/* A result is read again, and other arrays are read in between: a quarter of the last cache. */
static int64_t past_bytes(int64_t otherwise)
{
#ifdef _SC_LEVEL3_CACHE_SIZE
    const long last = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (last > 0)
        return last / 4;
#endif
    return otherwise;
}

static bool choose_table(void)
{
    ak__level level;
    const bool known = level_asked(&level);
    while (!ak__kernels_fill(&ak__k, level))
        level = (ak__level)((int)level - 1);
    ak__k.past = past_bytes(ak__k.past);
    note_levels(level);
    return known;
}

bool ak__kernels_init(void)
{
    enum { UNSET, BUSY, GOOD, BAD };
    static atomic_int state = UNSET;
    int seen = UNSET;
    if (atomic_compare_exchange_strong(&state, &seen, BUSY)) {
        seen = choose_table() ? GOOD : BAD;
        atomic_store(&state, seen);
    }
    while (seen == BUSY)
        seen = atomic_load(&state);
    return seen == GOOD;
}

const ak__kernel_name *ak__kernel_at(int i)
{
    (void)ak__kernels_init();
    return i >= 0 && i < names_count ? &names_in_use[i] : NULL;
}
