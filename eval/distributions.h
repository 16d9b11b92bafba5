/* SPDX-License-Identifier: Apache-2.0 */
/* Distributions that intervals and tests are read from. */
#ifndef AK_DISTRIBUTIONS_H
#define AK_DISTRIBUTIONS_H

#include <stdint.h>

/* P(|T| > |t|) of Student's t with df > 0 degrees of freedom. */
double ak__t_two_sided(double t, double df);
/* x with P(T < x) = p, for p in (0, 1). */
double ak__t_quantile(double p, double df);
/* Probability of at most min(k, n - k) or at least max(k, n - k) heads in n throws: the exact
 * two-sided test of a fair coin. 1 for n = 0. */
double ak__coin_two_sided(int64_t k, int64_t n);
/* P(X <= k) of the number of heads. */
double ak__coin_at_most(int64_t k, int64_t n);

#endif
