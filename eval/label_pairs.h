/* SPDX-License-Identifier: Apache-2.0 */
/* True labels beside others, unknown items left out. */
#ifndef AK_LABEL_PAIRS_H
#define AK_LABEL_PAIRS_H

#include <akin/core.h>

typedef struct ak__label_pairs {
    int32_t *a, *b;             /* [n] true and other labels, by places in `value` */
    int32_t *value;             /* [distinct] labels that occur on either side, ascending */
    int64_t  n, unknown, distinct;
} ak__label_pairs;

/* `other` is what the other labels are called. False: an error is recorded, nothing to free. */
bool ak__label_pairs_make(ak_ctx *ctx, const char *who, const int32_t *truth, const char *other,
                          const int32_t *labels, int64_t n, ak__label_pairs *p);
void ak__label_pairs_free(ak__label_pairs *p);

#endif
