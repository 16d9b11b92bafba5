/* SPDX-License-Identifier: Apache-2.0 */
/* A running mean for numbers that a program reports. */
#include <math.h>

#include <akin/report.h>

void ak_average_add(ak_average *a, double value)
{
    a->sum += value;
    a->n++;
}

double ak_average_get(const ak_average *a)
{
    return a->n ? a->sum / (double)a->n : (double)NAN;
}
