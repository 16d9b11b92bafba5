/* SPDX-License-Identifier: Apache-2.0 */
/* Learning-rate factors as functions of the step. */
#include <akin/optim.h>

#include <inttypes.h>
#include <math.h>

ak_schedule ak_constant(int64_t warmup)
{
    return (ak_schedule){ .kind = AK_SCHEDULE_CONSTANT, .warmup = warmup };
}

ak_schedule ak_cosine(int64_t warmup, int64_t total)
{
    return (ak_schedule){ .kind = AK_SCHEDULE_COSINE, .warmup = warmup, .total = total };
}

ak_schedule ak_staircase(int64_t every, double factor)
{
    return (ak_schedule){ .kind = AK_SCHEDULE_STEP, .every = every, .factor = factor };
}

double ak_schedule_at(ak_schedule s, int64_t step)
{
    if (step < 0 || (int)s.kind < 0 || s.kind > AK_SCHEDULE_STEP) {
        ak_fail(NULL, AK_ERR_VALUE, "ak_schedule_at: step %" PRId64 " of a schedule of kind %d; "
                "steps count from 0, kinds (ak_schedule_kind) go up to %d", step, (int)s.kind,
                (int)AK_SCHEDULE_STEP);
        return (double)NAN;
    }
    if (step < s.warmup)
        return (double)(step + 1) / (double)s.warmup;
    switch (s.kind) {
    case AK_SCHEDULE_COSINE: {
        double length = (double)(s.total - s.warmup);
        double part = length > 0 ? (double)(step - s.warmup) / length : 1;
        part = part > 1 ? 1 : part;
        return s.final + (1 - s.final) * 0.5 * (1 + cos(3.14159265358979323846 * part));
    }
    case AK_SCHEDULE_STEP:
        return s.every > 0 ? pow(s.factor, (double)(step / s.every)) : 1;
    case AK_SCHEDULE_CONSTANT:
        break;
    }
    return 1;
}
