/* SPDX-License-Identifier: Apache-2.0 */
/* One training step of a two-layer network and the end: what a process costs before it works. The
 * clock is compare.py's, around the whole process. */
#include <akin/akin.h>

int main(void)
{
    ak_ctx    *ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_module *net = ak_mlp(ctx, "mlp", (int[]){ 64, 128, 64, 0 });
    ak_optim  *opt = ak_adamw(ctx, "*", (ak_adamw_options){ 0 });
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(32, 64)), *y = ak_randn(ctx, AK_SHAPE(32, 64));
    ak_backward(ak_mse(ak_forward(net, x), y));
    ak_optim_step(opt);
    ak_step_end(ctx);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
