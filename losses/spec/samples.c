/* SPDX-License-Identifier: Apache-2.0 */
/* Labels, ids and constants of samples. */
#include "losses/spec/samples.h"

#include <akin/ops.h>

const int32_t ak__some_labels[12] = { 1, 7, 1, 4, 9, 7, 4, 1, 12, 5, 5, 6 };
const int32_t ak__few_labels[12] = { 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2 };
const int32_t ak__unknown_labels[12] = { 1, -1, 1, -1, 4, 1, -1, 4, 4, -1, 1, 6 };
const int32_t ak__some_ids[12] = { 3, 0, 3, 5, -1, 6, 0, 8, 9, 10, 11, 12 };
const int32_t ak__some_columns[14] = { 2, 0, 1, 4, 3, 3, 0, 2, 4, 1, 0, 5, 1, 2 };

const ak__loss_case *ak__case_of(const ak_sample *s)
{
    static const ak__loss_case plain = { 0 };
    return s->attr ? s->attr : &plain;
}

ak_tensor *ak__sample_constant(ak_ctx *ctx, ak_shape shape, uint64_t stream, double lo)
{
    ak_tensor *t = ak_zeros(ctx, shape);
    for (int64_t i = 0; i < t->size && !ak_is_poison(t); i++)
        t->data[i] = (ak_real)(lo + ak_random_uniform(5, stream, (uint64_t)i));
    return t;
}

ak_index *ak__sample_index(ak_ctx *ctx, const int32_t *values, int64_t n)
{
    return values ? ak_index_from(ctx, AK_SHAPE(n), values) : NULL;
}

ak_tensor *ak__unit_rows(ak_tensor *z, bool normalized)
{
    return ak_flatten_rows(normalized ? z : ak_l2_normalize(z));
}
