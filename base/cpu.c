/* SPDX-License-Identifier: Apache-2.0 */
/* What the processor and the operating system allow. Built without instruction-set flags, so that
 * nothing here can be an illegal instruction on the oldest machine. */
#include "tensor/kernels/kernels.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <cpuid.h>

/* CPUID leaf 1, ecx */
#define CPUID1_FMA     (1U << 12)
#define CPUID1_OSXSAVE (1U << 27)
#define CPUID1_AVX     (1U << 28)
/* CPUID leaf 7, ebx */
#define CPUID7_AVX2     (1U << 5)
#define CPUID7_AVX512F  (1U << 16)
#define CPUID7_AVX512DQ (1U << 17)
#define CPUID7_AVX512BW (1U << 30)
#define CPUID7_AVX512VL (1U << 31)
/* CPUID leaf 7, edx */
#define CPUID7_AMX_BF16 (1U << 22)
#define CPUID7_AMX_TILE (1U << 24)
/* XCR0: xmm and ymm; opmask, upper halves of zmm0-15, zmm16-31; matrix registers */
#define XCR0_AVX    0x06U
#define XCR0_AVX512 0xe6U
#define XCR0_AMX    0x600e6U

/* The register sets that the system saves on a task switch. Needs OSXSAVE. */
static unsigned xcr0_low(void)
{
    unsigned eax, edx;
    __asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
    (void)edx;
    return eax;
}

/* Matrix registers are 8 KB that a thread has only after its process asked the system for them. */
static bool matrix_registers_granted(void)
{
#ifdef __linux__
    const long arch_prctl = 158, request_permission = 0x1023, matrix_data = 18;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(arch_prctl), "D"(request_permission), "S"(matrix_data)
                     : "rcx", "r11", "memory");
    return result == 0;
#else
    return false;
#endif
}

ak__level ak__cpu_level(void)
{
    const unsigned need_amx = CPUID7_AMX_BF16 | CPUID7_AMX_TILE;
    const unsigned need1 = CPUID1_FMA | CPUID1_OSXSAVE | CPUID1_AVX;
    const unsigned need512 = CPUID7_AVX512F | CPUID7_AVX512DQ | CPUID7_AVX512BW | CPUID7_AVX512VL;
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & need1) != need1)
        return AK__REF;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(ebx & CPUID7_AVX2))
        return AK__REF;
    const unsigned saved = xcr0_low();
    if ((saved & XCR0_AVX) != XCR0_AVX)
        return AK__REF;
    if ((ebx & need512) != need512 || (saved & XCR0_AVX512) != XCR0_AVX512)
        return AK__AVX2;
    const bool amx = (edx & need_amx) == need_amx && (saved & XCR0_AMX) == XCR0_AMX;
    return amx && matrix_registers_granted() ? AK__AMX : AK__AVX512;
}

#else

ak__level ak__cpu_level(void)
{
    return AK__REF;
}

#endif
