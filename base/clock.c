/* SPDX-License-Identifier: Apache-2.0 */
/* A clock that only goes forward. */
#define _POSIX_C_SOURCE 200809L
#include "base/base.h"

#include <time.h>

double ak__now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
