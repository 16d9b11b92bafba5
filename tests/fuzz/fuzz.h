/* SPDX-License-Identifier: Apache-2.0 */
/* What all fuzz targets share: a quiet context, a check that stays in release builds. */
#ifndef AK_TESTS_FUZZ_H
#define AK_TESTS_FUZZ_H

#include <akin/core.h>

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_require(condition)                                                                    \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static inline ak_ctx *fuzz_open(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .quiet = true, .threads = 1 });
    fuzz_require(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* Every refusal must say something. */
static inline void fuzz_close(ak_ctx *ctx)
{
    fuzz_require(ak_error(ctx) == AK_OK || ak_error_message(ctx)[0]);
    ak_close(ctx);
}

#endif
