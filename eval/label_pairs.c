/* SPDX-License-Identifier: Apache-2.0 */
#include "eval/label_pairs.h"

#include <string.h>

#include "base/base.h"
#include "base/classes.h"

static bool check_pairs(ak_ctx *ctx, const char *who, const int32_t *truth, const char *other,
                        const int32_t *labels, int64_t n, int64_t *known)
{
    *known = 0;
    if (n < 1 || n > INT32_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: %lld items; expected at least 1, at most 2^31 - 1", who,
                (long long)n);
        return false;
    }
    for (int64_t i = 0; i < n; i++) {
        if (truth[i] < -1 || labels[i] < 0) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: item %lld has label %d and %s %d; expected a label >= "
                    "0, or -1 for unknown, and a %s >= 0", who, (long long)i, (int)truth[i], other,
                    (int)labels[i], other);
            return false;
        }
        *known += truth[i] >= 0;
    }
    if (*known == 0)
        ak_fail(ctx, AK_ERR_VALUE, "%s: the labels of all %lld items are unknown (-1)", who,
                (long long)n);
    return *known > 0;
}

bool ak__label_pairs_make(ak_ctx *ctx, const char *who, const int32_t *truth, const char *other,
                          const int32_t *labels, int64_t n, ak__label_pairs *p)
{
    int64_t known, to = 0;
    *p = (ak__label_pairs){ 0 };
    if (!check_pairs(ctx, who, truth, other, labels, n, &known))
        return false;
    const size_t bytes = 4 * (size_t)known * sizeof *p->a;
    p->a = ak__malloc(bytes);
    if (!p->a) {
        ak__fail_memory(ctx, bytes);
        return false;
    }
    p->b = p->a + known;
    p->value = p->b + known;
    p->n = known;
    p->unknown = n - known;
    for (int64_t i = 0; i < n; i++)
        if (truth[i] >= 0) {
            p->a[to] = truth[i];
            p->b[to++] = labels[i];
        }
    p->distinct = ak__distinct(p->a, 2 * known, p->value);      /* b lies behind a */
    for (int64_t i = 0; i < 2 * known; i++)
        p->a[i] = (int32_t)ak__place_of(p->value, p->distinct, p->a[i]);
    return true;
}

void ak__label_pairs_free(ak__label_pairs *p)
{
    ak__free(p->a);
    *p = (ak__label_pairs){ 0 };
}
