/* SPDX-License-Identifier: Apache-2.0 */
/* 06_custom_op.c - an op from outside the library: y = x sin(x), with its gradient proved. */
#include <akin/akin.h>
#include <math.h>
#include <stdio.h>

/* ---- the op: shape, forward, backward, record ------------------------------------------------ */

static ak_status wave_shape(ak_call *k)
{
    k->out->shape = k->in[0]->shape;        /* or: return ak_call_fail(k, AK_ERR_SHAPE, "...") */
    return AK_OK;
}

static void wave_forward(ak_call *k)
{
    for (int64_t i = 0; i < k->out->size; i++) {
        const double x = (double)k->in[0]->data[i];
        k->out->data[i] = (ak_real)(x * sin(x));
    }
}

static void wave_backward(ak_call *k)       /* dx += dy (sin x + x cos x) */
{
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx)
        return;
    for (int64_t i = 0; i < k->out->size; i++) {
        const double x = (double)k->in[0]->data[i];
        dx[i] += (ak_real)(sin(x) + x * cos(x)) * k->out->grad[i];
    }
}

static const ak_op wave = {
    .name = "wave", .formula = "y = x sin(x)", .n_in = 1,
    .shape = wave_shape, .forward = wave_forward, .backward = wave_backward,
    .samples = (const ak_sample[]){ { .in = { { 1, { 4 } } }, .lo = -3, .hi = 3 },
                                    { .in = { { 2, { 3, 5 } } } }, AK_END },
};

static ak_tensor *my_wave(ak_tensor *x) { return ak_apply(&wave, &x, 1, NULL); }

/* ---- using it ------------------------------------------------ */

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);

    ak_tensor *x = ak_require_grad(ak_from(ctx, AK_SHAPE(3), (ak_real[]){ 0, 1, 2 }));
    ak_tensor *y = my_wave(x);
    ak_backward(ak_sum(ak_square(y)));      /* it mixes with the library's ops */
    for (int i = 0; i < 3; i++)
        printf("x %g   y %.4f   gradient of sum y^2 %.4f\n", (double)x->data[i],
               (double)y->data[i], (double)x->grad[i]);
    ak_step_end(ctx);

    /* Every sample of the record, against central differences. */
    double worst = 0;
    for (const ak_sample *s = wave.samples; !(s->flags & AK_SAMPLE_END); s++) {
        ak_gradcheck check = { 0 };
        if (ak_gradcheck_op(ctx, &wave, s, 1, &check) != AK_OK)
            return 1;
        worst = fmax(worst, check.worst);
    }
    printf("gradient check: worst relative error %s 1e-2\n", worst < 1e-2 ? "below" : "ABOVE");
    return ak_close(ctx) == AK_OK && worst < 1e-2 ? 0 : 1;
}
