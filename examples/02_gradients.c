/* SPDX-License-Identifier: Apache-2.0 */
/* 02_gradients.c - backward, parameters, the tape, and a gradient proved by finite differences. */
#include <akin/akin.h>
#include <stdio.h>

/* A function to check: the mean softplus of a linear layer. in[0] x [2,3], in[1] w [2,3]. */
static ak_tensor *model(ak_tensor *const *in, int n, void *user)
{
    (void)n;
    (void)user;
    return ak_mean(ak_softplus(ak_matmul_nt(in[0], in[1])));
}

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });

    /* d/dx of sum x^2 is 2x. A leaf gets a gradient when it asks for one. */
    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(2), (ak_real[]){ 3, 4 }));
    ak_backward(ak_sum(ak_square(x)));
    printf("x->grad: %g %g\n", (double)x->grad[0], (double)x->grad[1]);
    ak_step_end(ctx);

    /* A parameter lives as long as the context and collects gradients until they are zeroed. */
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(2, 3), 0);
    for (int i = 0; i < 6; i++)
        w->data[i] = (ak_real)(i - 2) / 4;
    ak_tensor *data = ak_keep(ak_randn(ctx, AK_SHAPE(2, 3)));
    ak_tensor *y = model((ak_tensor *[]){ data, w }, 2, NULL);
    printf("\nthe tape:\n");
    ak_tape_print(ctx, stdout);
    ak_backward(y);
    printf("\nw->grad[0]: %.6f\n", (double)w->grad[0]);
    ak_step_end(ctx);               /* y is gone, w and its gradient stay */

    /* Numbers that shall not carry a gradient: detach, or a no-grad scope. */
    ak_no_grad_begin(ctx);
    printf("in a no-grad scope: needs_grad %d\n", ak_square(w)->needs_grad);
    ak_no_grad_end(ctx);
    ak_step_end(ctx);

    /* Compare backward with central differences, element by element. */
    ak_zero_grad(ctx);
    ak_gradcheck check = { 0 };
    ak_tensor *in[] = { data, w };
    const ak_status status = ak_gradcheck_fn(ctx, model, NULL, in, 2, &check);
    printf("gradient check: worst relative error %s 1e-2 (float; the double build reaches 1e-9)\n",
           check.worst < 1e-2 ? "below" : "ABOVE");
    const bool good = status == AK_OK && check.worst < 1e-2;
    return ak_close(ctx) == AK_OK && good ? 0 : 1;
}
