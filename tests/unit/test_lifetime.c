/* SPDX-License-Identifier: Apache-2.0 */
/* Values given back before the step ends: same gradients bit for bit, less memory, clear errors;
 * and the pool that the memory goes through. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/nn.h>
#include <akin/ops.h>

#include "base/arena.h"

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    cr_assert(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* ---- the pool -------------------------------------------------------------------------------- */

#define PIECE ((size_t)AK__LARGE)

Test(pool, neighbours_join_in_any_order)
{
    static const int orders[][4] = { { 0, 1, 2, 3 }, { 3, 2, 1, 0 }, { 0, 2, 1, 3 },
                                     { 1, 3, 0, 2 }, { 2, 0, 3, 1 } };
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        ak__pool pool = { 0 };
        char    *memory = ak__malloc(8 * PIECE);
        for (int i = 0; i < 4; i++)
            ak__pool_give(&pool, memory + (size_t)orders[k][i] * 2 * PIECE, 2 * PIECE - 8);
        cr_assert_not_null(pool.first);
        cr_expect_null(pool.first->next, "order %zu leaves more than one piece", k);
        cr_expect_eq(pool.first->size, 8 * PIECE);
        cr_expect_eq((char *)ak__pool_take(&pool, 8 * PIECE), memory);
        cr_expect_null(ak__pool_take(&pool, 1));
        ak__free(memory);
    }
}

Test(pool, takes_the_smallest_that_fits_and_keeps_the_rest)
{
    ak__pool pool = { 0 };
    char    *memory = ak__malloc(16 * PIECE);
    ak__pool_give(&pool, memory, 8 * PIECE);
    ak__pool_give(&pool, memory + 10 * PIECE, 3 * PIECE);
    ak__pool_give(&pool, memory + 14 * PIECE, PIECE);
    ak__pool_give(&pool, memory + 9 * PIECE, 64);           /* too small to be kept */
    cr_expect_eq((char *)ak__pool_take(&pool, 2 * PIECE), memory + 10 * PIECE);
    cr_expect_eq((char *)ak__pool_take(&pool, 2 * PIECE), memory);
    cr_expect_eq((char *)ak__pool_take(&pool, PIECE), memory + 12 * PIECE);
    cr_expect_eq((char *)ak__pool_take(&pool, PIECE), memory + 14 * PIECE);
    cr_expect_null(ak__pool_take(&pool, 7 * PIECE));
    cr_expect_eq((char *)ak__pool_take(&pool, 6 * PIECE), memory + 2 * PIECE);
    cr_expect_null(pool.first);
    ak__free(memory);
}

Test(arena, both_ends_marked_and_released)
{
    ak__arena arena = { 0 };
    char *small = ak__arena_alloc(&arena, 100), *large = ak__arena_alloc_large(&arena, PIECE);
    cr_assert(small && large && large > small);
    const ak__arena_mark mark = ak__arena_mark_get(&arena);
    char *next = ak__arena_alloc_large(&arena, PIECE), *after = ak__arena_alloc(&arena, 1);
    cr_expect_eq(next + PIECE, large, "large pieces are neighbours");
    cr_expect_eq(after, small + 128);
    cr_assert_not_null(ak__arena_alloc_large(&arena, 64 * PIECE));  /* another block */
    ak__arena_release(&arena, mark);
    ak__arena_release(&arena, mark);
    cr_expect_eq(arena.in_use, 128 + PIECE);
    ak__arena_reset(&arena);
    cr_expect_eq(arena.in_use, 0);
    const size_t reserved = arena.reserved;
    cr_assert_not_null(ak__arena_alloc_large(&arena, 66 * PIECE));
    cr_expect_eq(arena.reserved, reserved, "one block has room for all of the last step");
    ak__arena_free(&arena);
}

/* Blocks grow by halves of odd sums; what comes from either end is aligned all the same. */
Test(arena, every_piece_is_aligned)
{
    ak__arena arena = { 0 };
    for (int step = 0; step < 3; step++) {
        for (size_t i = 1; i < 60; i++) {
            const size_t bytes = i * i * 977 + i;
            cr_assert_eq((uintptr_t)ak__arena_alloc_large(&arena, bytes) % AK__ALIGN, 0);
            cr_assert_eq((uintptr_t)ak__arena_alloc(&arena, bytes / 7) % AK__ALIGN, 0);
        }
        ak__arena_reset(&arena);
    }
    ak__arena_free(&arena);
}

/* ---- a residual block ------------------------------------------------------------------------ */

enum { KEEP, GIVE, MAKE_AGAIN };

typedef struct block_result { uint32_t hash; size_t bytes; double loss; } block_result;

/* Blocks of conv, norm, conv, norm + skip, each the skip of the next; far: with a mean far from 0
 * in the second block's first norm. */
enum { CONVS = 6 };

static block_result run_blocks(int mode, double far)
{
    ak_ctx *ctx = quiet();
    block_result r = { 0 };
    const ak_conv_options same = { .padding = 1 };
    ak_tensor *w[CONVS], *g[CONVS], *bias[CONVS];
    for (int i = 0; i < CONVS; i++) {
        char name[8];
        snprintf(name, sizeof name, "w%d", i);
        w[i] = ak_param(ctx, name, AK_SHAPE(8, 3, 3, 8), 0);
        snprintf(name, sizeof name, "g%d", i);
        g[i] = ak_param(ctx, name, AK_SHAPE(8), 0);
        snprintf(name, sizeof name, "b%d", i);
        bias[i] = ak_param(ctx, name, AK_SHAPE(8), 0);
        for (int64_t j = 0; j < w[i]->size; j++)
            w[i]->data[j] = (ak_real)(0.2 * sin((double)(j * (i + 3))));
        ak_fill(g[i], 1 + 0.1 * i);
        ak_fill(bias[i], i == 2 ? far : 0);
    }
    for (int step = 0; step < 2; step++) {
        ak_tensor *x = ak_param_find(ctx, "x");
        if (!x)
            x = ak_param(ctx, "x", AK_SHAPE(4, 64, 64, 8), 0);
        for (int64_t j = 0; j < x->size; j++)
            x->data[j] = (ak_real)cos(0.37 * (double)j);
        ak_tensor *y = x;
        for (int i = 0; i < CONVS; i += 2) {
            const ak_batch_norm_options o = { .relu = true };
            ak_tensor *c1 = ak_conv2d(y, w[i], bias[i], same);
            ak_tensor *y1 = ak_batch_norm(c1, g[i], NULL, NULL, NULL, o);
            if (mode != KEEP)
                ak_done_with(c1, false);
            ak_tensor *c2 = ak_conv2d(y1, w[i + 1], NULL, same);
            if (mode != KEEP)
                ak_done_with(y1, mode == MAKE_AGAIN);
            ak_tensor *out = ak_batch_norm_add(c2, y, g[i + 1], NULL, NULL, NULL, o);
            if (mode != KEEP) {
                ak_done_with(c2, false);
                ak_done_with(y, mode == MAKE_AGAIN);    /* x itself the first time: no effect */
            }
            y = out;
        }
        ak_tensor *loss = ak_mean(ak_square(y));
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        r.loss = ak_item(loss);
        for (int64_t j = 0; j < x->size; j++)   /* the gradient of x into its hash */
            x->data[j] = x->grad[j];
        r.bytes = ak_memory_use(ctx).step_bytes;
        for (int i = 0; i < CONVS; i++)
            memcpy(w[i]->data, w[i]->grad, (size_t)w[i]->size * sizeof(ak_real));
        r.hash = ak_hash(ctx, "*");
        ak_zero_grad(ctx);
        ak_step_end(ctx);
    }
    cr_expect_eq(ak_close(ctx), AK_OK);
    return r;
}

Test(done_with, same_bits_and_less_memory)
{
    const block_result keep = run_blocks(KEEP, 0), give = run_blocks(GIVE, 0),
                       again = run_blocks(MAKE_AGAIN, 0);
    cr_expect(isfinite(keep.loss) && keep.loss > 0);
    cr_expect_eq(keep.hash, give.hash);
    cr_expect_eq(keep.hash, again.hash);
    cr_expect_lt(give.bytes, keep.bytes);
    cr_expect_lt(again.bytes, give.bytes);
}

/* There the norm's backward reads its output: it is made again after it was given back. */
/* A layer of a transformer's kind, norm, activation and the way around them: each result that only
 * backward wants is kept (0), or given back, to be made again where its op can (1). Gradients of x
 * and of all weights into `grads`. */
static void around(ak_ctx *ctx, ak_tensor *(*norm)(ak_tensor *x, ak_tensor *w), int mode,
                   ak_tensor *(*activation)(ak_tensor *x), ak_tensor *const *p, ak_real *grads)
{
    ak_zero_grad(ctx);
    ak_tensor *x = p[0];
    for (int layer = 0; layer < 3; layer++) {
        ak_tensor *n = norm(x, p[1]), *h = ak_linear(n, p[2], p[3]), *a = activation(h);
        ak_tensor *y = ak_linear(a, p[4], NULL), *sum = ak_add(x, y);
        for (int i = 0; mode && i < 5; i++)
            ak_done_with((ak_tensor *[]){ n, h, a, y, x }[i], true);
        x = sum;
    }
    cr_assert_eq(ak_backward(ak_mean(ak_square(x))), AK_OK, "%s", ak_error_message(ctx));
    for (int i = 0; i < 5; i++)
        for (int64_t k = 0; k < p[i]->size; k++)
            *grads++ = p[i]->grad[k];
}

static ak_tensor *layer_norm(ak_tensor *x, ak_tensor *w) { return ak_layer_norm(x, w, NULL, 0); }
static ak_tensor *rms_norm(ak_tensor *x, ak_tensor *w) { return ak_rms_norm(x, w, 0); }
static ak_tensor *half(ak_tensor *x) { return ak_scale(x, 0.5); }

Test(done_with, norms_and_activations_are_made_again_and_sums_need_nothing)
{
    enum { N = 300, C = 32, H = 64, ALL = N * C + C + H * C + H + C * H };
    static ak_real kept[ALL], again[ALL];
    ak_tensor *(*const norms[])(ak_tensor *, ak_tensor *) = { layer_norm, rms_norm };
    ak_tensor *(*const activations[])(ak_tensor *) = { ak_gelu, ak_gelu_tanh, ak_silu, ak_tanh,
                                                       ak_relu, ak_quick_gelu, half, ak_sigmoid };
    ak_ctx *ctx = quiet();
    ak_tensor *p[] = { ak_param(ctx, "x", AK_SHAPE(N, C), 0), ak_param(ctx, "g", AK_SHAPE(C), 0),
                       ak_param(ctx, "w1", AK_SHAPE(H, C), 0), ak_param(ctx, "b1", AK_SHAPE(H), 0),
                       ak_param(ctx, "w2", AK_SHAPE(C, H), 0) };
    for (int i = 0; i < 5; i++)
        ak_init_fill(p[i], (ak_init){ .kind = AK_INIT_NORMAL, .scale = 0.3 });
    ak_step_end(ctx);
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof activations / sizeof *activations; k++) {
            around(ctx, norms[i], 0, activations[k], p, kept);
            const size_t most = ak_memory_use(ctx).step_bytes;
            ak_step_end(ctx);
            around(ctx, norms[i], 1, activations[k], p, again);
            cr_expect_arr_eq(again, kept, sizeof kept, "norm %zu, activation %zu", i, k);
            cr_expect_lt(ak_memory_use(ctx).step_bytes, most, "norm %zu, activation %zu", i, k);
            ak_step_end(ctx);
        }
    ak_close(ctx);
}

Test(done_with, far_means)
{
    const block_result keep = run_blocks(KEEP, 3e4), give = run_blocks(GIVE, 3e4),
                       again = run_blocks(MAKE_AGAIN, 3e4);
    cr_expect_eq(keep.hash, give.hash);
    cr_expect_eq(keep.hash, again.hash);
}

Test(done_with, a_later_use_is_served_or_refused)
{
    ak_ctx *ctx = quiet();
    ak_tensor *x = ak_require_grad(ak_randn(ctx, AK_SHAPE(4000, 8)));
    const ak_batch_norm_options o = { .relu = true };
    ak_tensor *y = ak_batch_norm(x, NULL, NULL, NULL, NULL, o);
    ak_tensor *before = ak_keep(y), *part = ak_rows(y, 100, 3000);
    ak_tensor *a = ak_sum(ak_square(y));
    ak_done_with(y, true);
    cr_expect_null(y->data);
    ak_tensor *b = ak_sum(ak_mul(part, part));      /* through an alias, after all */
    cr_assert_not_null(y->data);
    cr_expect_arr_eq(y->data, before->data, (size_t)y->size * sizeof(ak_real));
    cr_expect_eq(ak_backward(ak_add(a, b)), AK_OK);

    ak_tensor *z = ak_exp(ak_randn(ctx, AK_SHAPE(4000, 8)));    /* not on the tape */
    ak_done_with(z, false);
    cr_expect_null(z->data);
    cr_expect(ak_is_poison(ak_square(z)));
    cr_expect_eq(ak_error(ctx), AK_ERR_STATE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "ak_done_with"));
    ak_step_end(ctx);
    ak_close(ctx);
}

Test(done_with, leaves_what_it_must_not_touch)
{
    ak_ctx *ctx = quiet();
    ak_tensor *p = ak_param(ctx, "p", AK_SHAPE(4000, 8), 0);
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4000, 8)), *kept = ak_keep(x);
    ak_tensor *const all[] = { p, kept, ak_rows(x, 0, 3999), ak_detach(x),
                               ak_zeros(ctx, AK_SHAPE(9)) };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        ak_done_with(all[i], true);
        cr_expect_not_null(all[i]->data, "tensor %zu", i);
    }
    cr_expect_not_null(x->data);
    /* An operand of a recorded call that is no call's output stays until the step ends. */
    ak_tensor *y = ak_mul(x, p);
    ak_done_with(x, true);
    cr_expect_not_null(x->data);
    cr_expect_eq(ak_backward(ak_sum(y)), AK_OK);
    cr_expect_arr_eq(p->grad, kept->data, (size_t)p->size * sizeof(ak_real));
    ak_close(ctx);
}

/* ---- gradients in the memory of those they come from ----------------------------------------- */

static ak_tensor *leaky(ak_tensor *x) { return ak_leaky_relu(x, 0.1); }
static ak_tensor *shifted(ak_tensor *x) { return ak_add_scalar(x, 0.25); }
static ak_tensor *norm(ak_tensor *x)
{
    return ak_batch_norm(x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .relu = true });
}
static ak_tensor *norm_add(ak_tensor *x)
{
    return ak_batch_norm_add(x, x, NULL, NULL, NULL, NULL, (ak_batch_norm_options){ .relu = true });
}

static ak_tensor *(*const mappings[])(ak_tensor *) = {
    ak_neg, ak_exp, ak_relu, ak_gelu, ak_gelu_tanh, ak_silu, ak_sigmoid, ak_tanh, ak_softplus,
    ak_erf, ak_abs, ak_square, leaky, shifted, norm, norm_add,
};

/* dx of f(x) for an x that an op made (whose gradient may lie over that of f) or a leaf; twice: x
 * has a second reader. */
static uint32_t gradient_hash(int f, bool made, bool twice)
{
    ak_ctx *ctx = quiet();
    ak_tensor *leaf = ak_param(ctx, "x", AK_SHAPE(517, 67), 0);
    for (int64_t i = 0; i < leaf->size; i++)
        leaf->data[i] = (ak_real)sin(1.3 * (double)i);
    ak_tensor *x = made ? ak_scale(leaf, 1) : leaf;
    ak_tensor *y = ak_sum(ak_square(ak_scale(mappings[f](x), 3)));
    cr_assert_eq(ak_backward(twice ? ak_add(ak_sum(ak_square(x)), y) : y), AK_OK);
    memcpy(leaf->data, leaf->grad, (size_t)leaf->size * sizeof(ak_real));
    const uint32_t hash = ak_hash(ctx, "*");
    cr_expect_eq(ak_close(ctx), AK_OK);
    return hash;
}

Test(gradients, over_each_other)
{
    for (int f = 0; f < (int)(sizeof mappings / sizeof *mappings); f++)
        for (int twice = 0; twice < 2; twice++)
            cr_expect_eq(gradient_hash(f, true, twice), gradient_hash(f, false, twice),
                         "mapping %d, read %d times", f, 1 + twice);
}

/* ---- evaluation ------------------------------------------------------------------------------ */

/* Bytes of a forward of ResNet-18. */
static size_t forward_bytes(bool tape)
{
    ak_ctx *ctx = quiet();
    ak_module *net = ak_resnet18(ctx, "net", (ak_resnet_options){ .width = 8 });
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(32, 64, 64, 3)));
    ak_step_end(ctx);
    if (!tape)
        ak_no_grad_begin(ctx);
    cr_expect_not(ak_is_poison(ak_forward(net, x)));
    const size_t bytes = ak_memory_use(ctx).step_bytes;
    cr_expect_eq(ak_close(ctx), AK_OK);
    return bytes;
}

/* In evaluation no tape holds a map: it is free as soon as the next one is made. */
Test(done_with, a_network_without_tape_needs_few_maps)
{
    const size_t with = forward_bytes(true), without = forward_bytes(false);
    cr_expect_lt(2 * without, with, "%zu without tape, %zu with", without, with);
}
