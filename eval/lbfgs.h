/* SPDX-License-Identifier: Apache-2.0 */
/* A minimiser for smooth functions of many variables: L-BFGS with a strong Wolfe line search. */
#ifndef AK_LBFGS_H
#define AK_LBFGS_H

#include <stdbool.h>
#include <stdint.h>

/* Value at x [n]; the gradient goes into g [n]. */
typedef double (*ak__objective)(void *user, const double *x, double *g);

typedef struct ak__lbfgs_options {
    int    memory;              /* pairs remembered, >= 1 */
    int    max_iterations;      /* >= 1 */
    double gradient_norm;       /* stop when no component is larger */
} ak__lbfgs_options;

typedef struct ak__lbfgs_result {
    double  value, gradient_norm;
    int64_t iterations, evaluations;
    bool    converged;          /* the norm was reached */
} ak__lbfgs_result;

/* Minimise from x, which becomes the best point found. False: out of memory (nothing recorded). */
bool ak__lbfgs(ak__objective f, void *user, double *x, int64_t n, ak__lbfgs_options o,
               ak__lbfgs_result *result);

#endif
