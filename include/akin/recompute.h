/* SPDX-License-Identifier: Apache-2.0 */
/* akin/recompute.h - less memory for one more forward pass: modules that backward runs again, and
 * batches that run in chunks.
 *
 * A loss over pairs wants a large batch at once: its gradient for one sample depends on all others,
 * so averaging the gradients of small batches is another method (ak_accumulate_begin refuses it).
 * Only the embeddings are needed together, and they are small. Encoded in chunks, the batch costs
 * the memory of one chunk, and the step is the undivided one (GradCache: Gao et al., "Scaling deep
 * contrastive learning batch size under memory limited setup", arXiv 2101.06983; also BASIC, Pham
 * et al., arXiv 2111.10050):
 *
 *     ak_chunked_options o = { .rows = 64 };
 *     ak_ntxent_options n = { .tau = 0.2 };
 *     ak_tensor *z1 = ak_forward_chunked(enc, (ak_inputs){ .x = b.view[0] }, o);      // [4096, D]
 *     ak_tensor *z2 = ak_forward_chunked(enc, (ak_inputs){ .x = b.view[1] }, o);
 *     ak_tensor *loss = ak_loss_ntxent(ak_forward(head, z1), ak_forward(head, z2), n);
 *     ak_backward(loss);                  // encodes each chunk again, and gives it its gradient
 *     ak_optim_step(opt);
 *     ak_step_end(ctx);
 *
 * z1 is a tensor as any other: it may go into several losses, heads, or a memory of keys; encoders
 * may be shared by views, or be one a modality; ak_backward keeps all that it promises. So there is
 * nothing to begin, to end, or to replay by hand.
 */
#ifndef AKIN_RECOMPUTE_H
#define AKIN_RECOMPUTE_H

#include <akin/autograd.h>
#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ak_chunked_options {
    int64_t rows;               /* samples that run at once, [1, ..); 0 = 64. The last chunk may
                                 * have fewer. From N on: one chunk, as ak_nn_recompute */
} ak_chunked_options;

/* Apply a module to a batch in chunks of samples, without keeping what it makes on the way.
 *
 *   in        every field that m takes, the samples along the first axis of each; a .bias of fewer
 *             than four axes goes to every chunk. Index arrays must live as long as the tape
 *   returns   what ak_forward_with(m, in) would; step lifetime. A row of it is made from that
 *             sample alone
 *   grad      that of the undivided forward up to rounding (sums over samples are made chunk by
 *             chunk), the same bits for any number of threads: to .x, .memory, .bias, .skip, to
 *             parameters, and to what else m uses
 *   random    dropout and noise give each sample the numbers that it has in the undivided batch, in
 *             both runs, where samples stand along the first axis; ak_randn and ak_uniform in m if
 *             theirs is as long as the chunk. Ops of one's own: ak_random_first
 *   norms     split batch norm (.groups of ak_batch_norm_options) is that of the undivided batch,
 *             where .rows is a multiple of the samples of a group: a chunk takes the statistics of
 *             the groups in it. Running ones move in forward, chunk by chunk, to what the batch
 *             makes of them at once (a chunk with moments that are not finite is left out). Where
 *             it is an op in a module of one's own, the kind says which chunks cut no group
 *             (ak_module_kind.mixes_rows)
 *   cost      memory of one chunk and of the result in place of the batch; one more forward pass in
 *             backward. Without a tape (ak_no_grad_begin) chunks save memory all the same, and
 *             nothing runs twice
 *   errors    those of ak_forward_with and ak_recompute. AK_ERR_VALUE for rows < 0 and for a
 *             .state; AK_ERR_SHAPE if fields have different numbers of samples, or a chunk gives
 *             another number of rows. AK_ERR_STATE for a module that makes a row from several
 *             samples, where there is more than one chunk:
 *               - batch norm in train mode (split: where a chunk cuts a group), and what else its
 *                 kind says (ak_module_kind.mixes_rows): the message has its path. Group or layer
 *                 norm instead, or ak_module_train(m, false)
 *               - an op that does by its record (AK_OP_MIXES_ROWS), or that writes what it finds;
 *                 a split batch norm that runs twice in a chunk, as its running statistics would
 *                 take the batches in another order
 *               - whatever shows in the numbers: in the first call of a module in train mode, and
 *                 in evaluation mode, with 3 samples or more, sample 1 runs beside sample 0 and
 *                 beside sample 2 as well, and must give the same as in its chunk, but for rounding
 *                 (1e-3 of its largest number in float, 1e-8 in double). Not found is what does
 *                 not show then: of neighbours that are alike, smaller, or in force only later.
 *                 With split batch norm groups are tried as samples are, two at a time
 */
AK_API ak_tensor *ak_forward_chunked(ak_module *m, ak_inputs in, ak_chunked_options o);

/* A container that backward runs again (ak_recompute): put it around each block of a deep network,
 * or around every few of them.
 *
 *     ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
 *     ak_nn_recompute(ctx, "first", block(ctx, "1"));     // block: a constructor of your own
 *     ak_nn_recompute(ctx, "second", block(ctx, "2"));
 *     net = ak_module_end(net);
 *
 *   body      becomes its child and keeps its name
 *   returns   the module, context lifetime: what body takes and returns. NULL after an error
 *   grad      bit for bit that of body. A batch norm inside moves its running statistics once
 *   errors    those of ak_recompute; in a forward on the tape AK_ERR_VALUE for a .state, which two
 *             runs would change twice
 */
AK_API ak_module *ak_nn_recompute(ak_ctx *ctx, const char *name, ak_module *body);

#ifdef __cplusplus
}
#endif
#endif
