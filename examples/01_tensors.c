/* SPDX-License-Identifier: Apache-2.0 */
/* 01_tensors.c - make tensors, compute with them, read them, and see what an error looks like. */
#include <akin/akin.h>
#include <stdio.h>

int main(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });

    /* Two rows of three numbers. A tensor is row-major; the last axis is the feature axis. */
    ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 3), (ak_real[]){ 1, 2, 2, 0, 3, 4 });
    ak_print(ak_name(x, "x"), stdout);

    /* Ops return new tensors and nest. Nothing is freed by hand. */
    ak_tensor *unit = ak_l2_normalize(x);                   /* [2, 3] rows of length 1 */
    ak_tensor *cosine = ak_matmul_nt(unit, unit);           /* [2, 2] unit unit^T */
    ak_print(ak_name(cosine, "cosine"), stdout);
    printf("the two rows have cosine %.4f\n", ak_at(cosine, AK_SHAPE(0, 1)));

    /* Shapes broadcast as in NumPy; a reduction removes its axis. */
    ak_tensor *mean = ak_mean_axis(x, 0);                   /* [3] */
    ak_print(ak_name(ak_sub(x, mean), "centred"), stdout);

    /* Views share memory: a row range, another shape. */
    ak_tensor *row = ak_rows(x, 1, 1);                      /* [1, 3] the second row of x */
    row->data[0] = 7;
    printf("x[1,0] is now %g\n", ak_at(x, AK_SHAPE(1, 0)));

    /* Errors stick until the step ends. The default hook prints and aborts; this program looks. */
    ak_on_error(ctx, NULL, NULL);
    ak_tensor *wrong = ak_matmul(x, x);                     /* [2,3] x [2,3] does not fit */
    ak_tensor *after = ak_exp(wrong);                       /* computes nothing */
    printf("poison: %d, status: %s\n%s\n", ak_is_poison(after), ak_status_name(ak_error(ctx)),
           ak_error_message(ctx));

    ak_step_end(ctx);               /* everything above is gone, the error is cleared */
    ak_tensor *again = ak_full(ctx, AK_SHAPE(4), 2);
    printf("after the step: sum of squares %g\n", ak_item(ak_sum(ak_square(again))));
    return ak_close(ctx) == AK_ERR_SHAPE ? 0 : 1;           /* the run's first error: as planned */
}
