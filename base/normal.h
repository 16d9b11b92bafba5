/* SPDX-License-Identifier: Apache-2.0 */
/* The normal distribution. */
#ifndef AK_NORMAL_H
#define AK_NORMAL_H

/* P(Z < x); full relative accuracy in the lower tail. */
double ak__normal_cdf(double x);
/* Its inverse for p in (0, 1). */
double ak__normal_quantile(double p);

#endif
