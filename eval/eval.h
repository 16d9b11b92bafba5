/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of eval/ share. */
#ifndef AK_EVAL_H
#define AK_EVAL_H

#include <akin/eval.h>

/* A result that says "not available". */
ak_eval_result ak__eval_nothing(void);
/* Do two feature sets fit together? Records the error if not. */
bool ak__eval_fit(const char *who, const ak_features *train, const ak_features *test);
/* Accuracy and Wilson's interval from one flag (0 or 1) per test item. */
void ak__eval_score(const uint8_t *correct, int64_t n, ak_eval_result *r);
/* Features of both sets; false (and both NULL) after an error. */
bool ak__eval_features(ak_module *enc, ak_dataset *train, ak_dataset *test, ak_features_options o,
                       ak_features **a, ak_features **b);
/* Features are there already: were options for making some given? False: an error is recorded. */
bool ak__eval_no_features(ak_ctx *ctx, const char *who, ak_features_options o);
/* 1 / |x| for each of n rows of length d; 0 for a zero row. Rows of any size. cosine_rows.c */
void ak__inverse_norms(const ak_real *x, int64_t n, int64_t d, ak_real *inverse);

/* Rows whose products times both inverses are cosines: x itself, or a copy at unit length if some
 * rows are so long or so short that products of them overflow or vanish. */
typedef struct ak__cosine_rows_of {
    const ak_real *x;           /* [n, d] */
    ak_real       *inverse;     /* [n]; 0 for a zero row */
    ak_real       *own;         /* x if it is a copy, else NULL */
} ak__cosine_rows_of;
/* False: an error is recorded, nothing to free. */
bool ak__cosine_rows(ak_ctx *ctx, const ak_real *x, int64_t n, int64_t d, ak__cosine_rows_of *r);
void ak__cosine_rows_free(ak__cosine_rows_of *r);

#endif
