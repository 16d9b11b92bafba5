/* SPDX-License-Identifier: Apache-2.0 */
/* Rows and numbers of samples that come in. */
#include "memory/rows.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/parallel.h"
#include "tensor/far_rows.h"
#include "tensor/kernels/kernels.h"

/* How far from 1 the length of a unit row may be: rows made in half precision still are. */
#define UNIT_SLACK 1e-4
#define DRAW_CHUNK ((int64_t)64)    /* rows */

bool ak__row_form_known(ak__speaker me, ak_row_form form)
{
    if (form == AK_ROWS_NORMALIZED || form == AK_ROWS_UNIT || form == AK_ROWS_AS_THEY_ARE)
        return true;
    ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": .form is %d, which is no ak_row_form", me.who,
            me.name, (int)form);
    return false;
}

static double row_length(const ak_real *x, int64_t d)
{
    const ak_real s = ak__k.sum_squares(x, d);
    if (ak__squares_hold(s))
        return sqrt((double)s);
    const double inverse = ak__far_inverse(x, d);
    return inverse == 0 ? 0 : 1 / inverse;
}

bool ak__rows_accepted(ak__speaker me, ak_row_form form, const ak_real *x, int64_t n, int64_t d,
                       const int32_t *ids)
{
    for (int64_t i = 0; i < n; i++) {
        if (ids && ids[i] == -1)
            continue;
        int64_t at = 0;
        if (ak__count_not_finite(x + i * d, d, &at)) {
            ak_fail(me.ctx, AK_ERR_NUMBER, "%s: \"%s\": row %" PRId64 " of %" PRId64 " is not "
                    "finite: number %" PRId64 " is %g", me.who, me.name, i, n, at,
                    (double)x[i * d + at]);
            return false;
        }
        if (form == AK_ROWS_AS_THEY_ARE)
            continue;
        const double length = row_length(x + i * d, d);
        if (length == 0) {
            ak_fail(me.ctx, AK_ERR_NUMBER, "%s: \"%s\": row %" PRId64 " of %" PRId64 " is all "
                    "zeros: it has no direction\n    hint: .form = AK_ROWS_AS_THEY_ARE keeps such "
                    "rows", me.who, me.name, i, n);
            return false;
        }
        if (form == AK_ROWS_UNIT && !(fabs(length - 1) <= UNIT_SLACK)) {
            ak_fail(me.ctx, AK_ERR_NUMBER, "%s: \"%s\": row %" PRId64 " of %" PRId64 " has length "
                    "%g; expected 1\n    hint: ak_l2_normalize, or .form = AK_ROWS_NORMALIZED",
                    me.who, me.name, i, n, length);
            return false;
        }
    }
    return true;
}

void ak__row_unit(ak_real *y, const ak_real *x, int64_t d)
{
    const ak_real s = ak__k.sum_squares(x, d);
    if (ak__squares_hold(s))
        ak__k.scale(y, (ak_real)(1 / sqrt((double)s)), x, d);
    else
        ak__far_unit(y, x, d);
}

void ak__row_put(ak_real *y, const ak_real *x, int64_t d, ak_row_form form)
{
    if (form == AK_ROWS_NORMALIZED)
        ak__row_unit(y, x, d);
    else
        memcpy(y, x, (size_t)d * sizeof *y);
}

void ak__rows_draw(ak__speaker me, ak_real *x, int64_t n, int64_t d)
{
    const uint64_t seed = ak_seed(me.ctx);
    const uint64_t stream = ak__hash_bytes(AK__HASH_START, me.name, strlen(me.name));
    AK__PARALLEL_CHUNKS(c, n, DRAW_CHUNK, begin, end)
        for (int64_t i = begin; i < end; i++) {
            for (int64_t j = 0; j < d; j++)
                x[i * d + j] = (ak_real)ak_random_normal(seed, stream, (uint64_t)(i * d + j));
            ak__row_unit(x + i * d, x + i * d, d);
        }
}

bool ak__numbers_fit(ak__speaker me, const char *what, const ak_index *x, int64_t most)
{
    for (int64_t i = 0; i < x->size; i++) {
        if (x->data[i] >= -1 && x->data[i] < most)
            continue;
        ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": %s: item %" PRId64 " has %" PRId32 "; expected "
                "-1 to %" PRId64, me.who, me.name, what, i, x->data[i], most - 1);
        return false;
    }
    return true;
}

double ak__momentum(ak__speaker me, double value, double otherwise)
{
    const double m = value == 0 ? otherwise : value == AK_NONE ? 0 : value;
    if (m >= 0 && m < 1)
        return m;
    ak_fail(me.ctx, AK_ERR_VALUE, "%s: \"%s\": .momentum is %g; expected [0, 1), or AK_NONE for 0",
            me.who, me.name, value);
    return (double)NAN;
}
