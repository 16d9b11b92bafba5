/* SPDX-License-Identifier: Apache-2.0 */
/* What the abuse tests share: walking the registry, step copies of operands. */
#ifndef AK_TESTS_ABUSE_H
#define AK_TESTS_ABUSE_H

#include <akin/autograd.h>
#include <akin/ops.h>

/* Under AddressSanitizer: is memory lost? Criterion does not see the report at a test's end. */
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#define ABUSE_EXPECT_NO_LEAK() cr_expect_eq(__lsan_do_recoverable_leak_check(), 0, "memory leaks")
#else
#define ABUSE_EXPECT_NO_LEAK() ((void)0)
#endif

static inline ak_ctx *abuse_open(uint64_t seed)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = seed, .quiet = true });
    if (ctx)
        ak_on_error(ctx, NULL, NULL);
    return ctx;
}

static inline bool abuse_is_end(const ak_sample *s)
{
    return (s->flags & AK_SAMPLE_END) != 0;
}

static inline int abuse_operands(const ak_op *op, const ak_sample *s)
{
    return s->n_in ? s->n_in : op->n_in;
}

/* The poison tensor, without a pending error. */
static inline ak_tensor *abuse_poison(ak_ctx *ctx)
{
    ak_tensor *poison = ak_zeros(ctx, AK_SHAPE(-1));
    ak_step_end(ctx);
    return poison;
}

/* Operands as tensors of the running step, which need gradients. */
static inline void abuse_step_operands(ak_ctx *ctx, const ak_op *op, const ak_sample *s,
                                       ak_tensor **in)
{
    ak_tensor *drawn[AK_MAX_IN] = { 0 };
    ak_sample_draw(ctx, s, op->n_in, 1, drawn);
    for (int i = 0; i < abuse_operands(op, s); i++)
        in[i] = drawn[i] ? ak_require_grad(ak_from(ctx, drawn[i]->shape, drawn[i]->data)) : NULL;
}

#endif
