/* SPDX-License-Identifier: Apache-2.0 */
/* A running mean for numbers that a program reports. */
#include <math.h>

#include <akin/report.h>

#include "base/base.h"

void ak_average_add(ak_average *a, double value)
{
    if (!AK__GIVEN(NULL, a))
        return;
    a->sum += value;
    a->n++;
}

double ak_average_get(const ak_average *a)
{
    if (!AK__GIVEN(NULL, a))
        return (double)NAN;
    return a->n ? a->sum / (double)a->n : (double)NAN;
}
