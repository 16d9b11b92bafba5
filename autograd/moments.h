/* SPDX-License-Identifier: Apache-2.0 */
/* Batch norm behind a convolution, without a pass over memory for its statistics: the convolution
 * takes moments of what it writes and hands them on as its second output (tensor/moments.h). For
 * nn/, where a layer knows what follows; it is the caller's promise that nothing changes y in
 * between. */
#ifndef AK_AUTOGRAD_MOMENTS_H
#define AK_AUTOGRAD_MOMENTS_H

#include <akin/ops.h>

/* ak_conv2d, or ak_conv1d for a sequence, and *moments [parts, 3 C + 1] of its result y; NULL if
 * this way of convolving takes none. Shapes and errors as there. */
ak_tensor *ak__conv_moments(ak_tensor *x, ak_tensor *w, ak_tensor *b, ak_conv_options o,
                            ak_tensor **moments);

/* ak_batch_norm_add of such a result. moments NULL: it takes its statistics itself. */
ak_tensor *ak__batch_norm_moments(ak_tensor *x, ak_tensor *moments, ak_tensor *skip, ak_tensor *w,
                                  ak_tensor *b, ak_tensor *running_mean, ak_tensor *running_var,
                                  ak_batch_norm_options o);

/* Is x, in train mode, a part of a batch that runs in parts (ak_forward_chunked), and does it hold
 * whole groups of a split batch norm? Then o gets the groups that are in it, and the momentum with
 * which running statistics take what they do of the batch at once, after the last part. Where a
 * group is cut o gets one, and the funnel refuses the call. */
bool ak__batch_norm_part(const ak_tensor *x, ak_batch_norm_options *o);

#endif
