/* SPDX-License-Identifier: Apache-2.0 */
/* Batch norm as it is called: of a batch at once, or of a part of one. Split batch norm can run in
 * parts: a part of whole groups has the statistics that these groups have in the batch. */
#include "autograd/moments.h"
#include "autograd/recompute.h"
#include "autograd/ops/norm_internal.h"

bool ak__batch_norm_part(const ak_tensor *x, ak_batch_norm_options *o)
{
    const ak__part p = ak__part_of(x);
    const int64_t G = o->groups;
    if (p.count == 0 || G < 2)
        return false;
    if (p.batch % G || p.first % (p.batch / G) || p.count % (p.batch / G)) {
        o->groups = 1;
        return false;
    }
    o->groups = (int)(p.count / (p.batch / G));
    /* Running statistics r of the batch are (1 - m) r + m (mean over groups). With the share w of
     * groups in a part, and W in all parts up to it, they are that divided by 1 - m + m W. */
    const double m = ak__batch_norm_momentum(o);
    const double w = (double)p.count / (double)p.batch;
    const double W = (double)(p.first + p.count) / (double)p.batch;
    if (m > 0)
        o->momentum = m * w / (1 - m + m * W);
    return true;
}

ak_tensor *ak_batch_norm_add(ak_tensor *x, ak_tensor *skip, ak_tensor *w, ak_tensor *b,
                             ak_tensor *running_mean, ak_tensor *running_var,
                             ak_batch_norm_options o)
{
    return ak__batch_norm_moments(x, NULL, skip, w, b, running_mean, running_var, o);
}

ak_tensor *ak_batch_norm(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_tensor *running_mean,
                         ak_tensor *running_var, ak_batch_norm_options o)
{
    return ak__batch_norm_moments(x, NULL, NULL, w, b, running_mean, running_var, o);
}
