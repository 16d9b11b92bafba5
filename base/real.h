/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's mathematics for ak_real, whichever type that is in this build. */
#ifndef AK_BASE_REAL_H
#define AK_BASE_REAL_H

#include <akin/core.h>
#include <float.h>
#include <math.h>

#if AK_REAL_BITS == 64
#define AK__F(name) name
#define AK_REAL_EPS DBL_EPSILON
#define AK_REAL_MAX DBL_MAX
#define AK_REAL_MIN DBL_MIN
#else
#define AK__F(name) name##f
#define AK_REAL_EPS FLT_EPSILON
#define AK_REAL_MAX FLT_MAX
#define AK_REAL_MIN FLT_MIN
#endif

static inline ak_real ak__exp(ak_real x) { return AK__F(exp)(x); }
static inline ak_real ak__expm1(ak_real x) { return AK__F(expm1)(x); }
static inline ak_real ak__sin(ak_real x) { return AK__F(sin)(x); }
static inline ak_real ak__cos(ak_real x) { return AK__F(cos)(x); }
static inline ak_real ak__log(ak_real x) { return AK__F(log)(x); }
static inline ak_real ak__log1p(ak_real x) { return AK__F(log1p)(x); }
static inline ak_real ak__sqrt(ak_real x) { return AK__F(sqrt)(x); }
static inline ak_real ak__tanh(ak_real x) { return AK__F(tanh)(x); }
static inline ak_real ak__erf(ak_real x) { return AK__F(erf)(x); }
static inline ak_real ak__erfc(ak_real x) { return AK__F(erfc)(x); }
static inline ak_real ak__pow(ak_real x, ak_real p) { return AK__F(pow)(x, p); }
static inline ak_real ak__floor(ak_real x) { return AK__F(floor)(x); }
static inline ak_real ak__fabs(ak_real x) { return AK__F(fabs)(x); }
static inline ak_real ak__nextafter(ak_real x, ak_real to) { return AK__F(nextafter)(x, to); }
static inline ak_real ak__fmax(ak_real a, ak_real b) { return a > b ? a : b; }
static inline ak_real ak__fmin(ak_real a, ak_real b) { return a < b ? a : b; }

/* Can scores be made with this scale? It is a normal number. */
static inline bool ak__scale_fits(double scale)
{
    return scale >= (double)AK_REAL_MIN && scale <= (double)AK_REAL_MAX;
}

/* log(1 + e) for e in [0, 1], in a form that loops over arrays can be vectorised with:
 * 2 artanh(e / (2 + e)), whose series is short there. */
static inline ak_real ak__log_1_plus(ak_real e)
{
#if AK_REAL_BITS == 64
    return log1p(e);
#else
    const float z = e / (2 + e), y = z * z;
    const float tail = 1 / 7.0f + y * (1 / 9.0f + y * (1 / 11.0f + y * (1 / 13.0f)));
    return 2 * z * (1 + y * (1 / 3.0f + y * (1 / 5.0f + y * tail)));
#endif
}

#endif
