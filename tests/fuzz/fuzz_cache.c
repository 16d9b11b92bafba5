/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target: prepared caches. An input is a manifest, a zero byte, then files: two bytes of
 * length each and as many of content, in the order in which they are asked for. */
#include "fuzz.h"

#include "io/cache_files.h"

#include <string.h>

typedef struct input { const uint8_t *at; size_t left; } input;

static bool next_file(ak_ctx *ctx, const char *path, ak__mapping *map, void *user)
{
    input *in = user;
    if (in->left < 2) {
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no more files", path);
        return false;
    }
    size_t n = in->at[0] | (size_t)in->at[1] << 8;
    n = n < in->left - 2 ? n : in->left - 2;
    *map = (ak__mapping){ .data = n ? in->at + 2 : NULL, .n = n, .fd = -1 };
    in->at += 2 + n;
    in->left -= 2 + n;
    return true;
}

/* Every value of the first entries, read to its last byte. */
static void read_values(ak__cached *c)
{
    char error[200];
    for (int64_t k = 0; k < c->n_fields; k++) {
        const ak__cached_field *f = &c->fields[k];
        const bool numbers = f->kind == AK__CACHED_LABELS || f->kind == AK__CACHED_ID;
        for (int64_t i = 0; i < c->entries && i < 64; i++) {
            const void *at;
            int64_t     n;
            if (numbers) {
                fuzz_require(ak__cached_whole(&f->values, i) >= -1);
                continue;
            }
            if (ak__cached_row(f, i) < 0)
                continue;
            fuzz_require(ak__cached_value(c, f, i, &at, &n, error));
            const volatile uint8_t *bytes = at;
            for (size_t b = 0; b < (size_t)n * f->values.size; b++)
                (void)bytes[b];
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ak_ctx       *ctx = fuzz_open();
    const size_t  n = size ? strnlen((const char *)data, size) : 0;
    input         in = { data + (n < size ? n + 1 : n), n < size ? size - n - 1 : 0 };
    ak__cached   *c = ak__cached_parse(ctx, "fuzz", (const char *)data, n, next_file, &in);
    fuzz_require((c == NULL) == (ak_error(ctx) != AK_OK));
    if (c)
        read_values(c);
    fuzz_close(ctx);
    return 0;
}
