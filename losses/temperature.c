/* SPDX-License-Identifier: Apache-2.0 */
/* The learned temperature: a log scale that is kept in range. */
#include <akin/losses.h>

#include "base/real.h"
#include "tensor/tensor_internal.h"

#include <math.h>

ak_tensor *ak_temperature(ak_ctx *ctx, const char *name, double tau)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name))
        return &ak__poison;
    const double start = tau == 0 ? 0.07 : tau;
    if (!(start > 0) || !ak__scale_fits(1 / start))
        ak_fail(ctx, AK_ERR_VALUE, "temperature \"%s\": tau %g must be above 0 and have an inverse",
                name, tau);
    ak_tensor *s = ak_param(ctx, name, AK_SHAPE(1), AK_PARAM_NO_DECAY);
    if (!ak_is_poison(s))
        s->data[0] = (ak_real)log(1 / start);
    return s;
}

double ak_temperature_clamp(ak_tensor *log_scale, double lo, double hi)
{
    if (!AK__TENSOR(NULL, log_scale))
        return (double)NAN;
    const double least = lo == 0 ? 1 : lo, most = hi == 0 ? 100 : hi;
    char text[AK_SHAPE_TEXT];
    if (log_scale->size != 1) {
        ak_fail(log_scale->ctx, AK_ERR_SHAPE, "ak_temperature_clamp: the log scale is %s, expected "
                "one number", ak_shape_text(log_scale->shape, text));
        return (double)NAN;
    }
    if (!(least > 0) || !(most >= least) || !ak__scale_fits(most)) {
        ak_fail(log_scale->ctx, AK_ERR_VALUE, "ak_temperature_clamp: [%g, %g] is no range: 0 < lo "
                "<= hi, both finite", least, most);
        return (double)NAN;
    }
    const double s = (double)log_scale->data[0];
    if (s != s) {
        ak_fail(log_scale->ctx, AK_ERR_NUMBER, "ak_temperature_clamp: the log scale is NaN");
        return (double)NAN;
    }
    const ak_real kept = log_scale->data[0];
    if (s < log(least))
        log_scale->data[0] = (ak_real)log(least);
    if (s > log(most))
        log_scale->data[0] = (ak_real)log(most);
    if (log_scale->data[0] != kept)
        ak__changed(log_scale, "ak_temperature_clamp");
    return exp((double)log_scale->data[0]);
}
