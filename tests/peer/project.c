/* SPDX-License-Identifier: Apache-2.0 */
/* Projections of an array, for projection.py. usage: project IN.npy OUT.npz */
#include <stdio.h>

#include <akin/io.h>
#include <akin/page.h>

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    ak_ctx *ctx = ak_open((ak_options){ 0 });
    ak_on_error(ctx, ak_error_exit, NULL);
    double     share[5];
    ak_tensor *x = ak_array_tensor(ctx, ak_npy_read(ctx, argv[1]));
    ak_tensor *pca = ak_pca(x, 5, share);
    ak_npz_write(ctx, argv[2], (const char *const[]){ "pca", "share", "tsne" },
                 (ak_tensor *const[]){ pca, ak_from_double(ctx, AK_SHAPE(5), share),
                                       ak_tsne(x, (ak_tsne_options){ 0 }) }, 3);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
