/* SPDX-License-Identifier: Apache-2.0 */
/* Read a sound at another rate and write it as floats; usage: rates IN RATE OUT. See rates.py. */
#include <akin/audio.h>

#include <stdlib.h>

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    ak_ctx *ctx = ak_open((ak_options){ .quiet = true });
    ak_on_error(ctx, ak_error_exit, NULL);
    const int  rate = atoi(argv[2]);
    ak_tensor *x = ak_sound_read(ctx, argv[1], (ak_sound_options){ .rate = rate,
                                                                   .channels = AK_NONE });
    ak_sound_write(ctx, argv[3], x, rate, AK_SOUND_F32);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
