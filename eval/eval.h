/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of eval/ share. */
#ifndef AK_EVAL_H
#define AK_EVAL_H

#include <akin/eval.h>

/* A result that says "not available". */
ak_eval_result ak__eval_nothing(void);
/* Do two feature sets fit together? Records the error if not. */
bool ak__eval_fit(const char *who, const ak_features *train, const ak_features *test);
/* Accuracy and its interval from one flag (0 or 1) per test item. False: an error is recorded. */
bool ak__eval_score(ak_ctx *ctx, const uint8_t *correct, int64_t n, ak_eval_result *r);
/* Features of both sets; false (and both NULL) after an error. */
bool ak__eval_features(ak_module *enc, ak_dataset *train, ak_dataset *test, ak_features **a,
                       ak_features **b);
/* 1 / |x| for each of n rows of length d; 0 for a zero row. */
void ak__inverse_norms(const ak_real *x, int64_t n, int64_t d, ak_real *inverse);

#endif
