/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: weights and checkpoints. Length and checksum are made to fit, so that what lies
 * behind them is reached; a refused file must change nothing. */
#include "fuzz.h"

#include <akin/checkpoint.h>
#include <akin/optim.h>
#include <akin/tensor.h>

#include "base/state.h"
#include "io/checkpoint.h"

#include <stdlib.h>
#include <zlib.h>

#define LENGTH_AT 32

static void make_fit(uint8_t *bytes, size_t size)
{
    if (size < 48)
        return;
    unsigned char *at = bytes + LENGTH_AT;
    ak__put_u64(&at, size);
    at = bytes + size - 8;
    ak__put_u64(&at, crc32(crc32(0, NULL, 0), bytes, (uInt)(size - 8)));
}

static int64_t value;

static ak_ctx *fresh(void)
{
    ak_ctx *ctx = fuzz_open();
    ak_param(ctx, "a/weight", AK_SHAPE(2, 3), 0);
    ak_param(ctx, "a/bias", AK_SHAPE(2), AK_PARAM_NO_DECAY);
    ak_buffer(ctx, "scalar", AK_SCALAR);
    ak_sgd(ctx, "*", (ak_sgd_options){ .momentum = 0.5 });
    value = 5;
    ak_checkpoint_value(ctx, "v", &value);
    fuzz_require(ak_error(ctx) == AK_OK);
    return ctx;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ak_ctx *ctx;         /* until a file was taken: slabs of parameters are slow to make */
    if (!ctx)
        ctx = fresh();
    const uint32_t before = ak_hash(ctx, "*");
    uint8_t       *bytes = malloc(size ? size : 1);
    bool           taken = false;
    fuzz_require(bytes != NULL);
    memcpy(bytes, data, size);
    make_fit(bytes, size);
    for (int whole = 0; whole < 2 && !taken; whole++) {
        const ak_status status = ak__checkpoint_parse(ctx, "fuzz", bytes, size, "*", whole);
        fuzz_require((status != AK_OK) == (ak_error(ctx) != AK_OK));
        fuzz_require(status == AK_OK || (ak_hash(ctx, "*") == before && value == 5 &&
                                         ak_error_message(ctx)[0]));
        taken = status == AK_OK;
        ak_step_end(ctx);
    }
    free(bytes);
    if (taken) {
        fuzz_close(ctx);
        ctx = NULL;
    }
    return 0;
}
