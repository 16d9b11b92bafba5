/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of rows.h as an array. */
#ifndef AK_TESTS_MODULES_TABLE_H
#define AK_TESTS_MODULES_TABLE_H

#include <akin/akin.h>

typedef struct module_row {
    const char *kind, *call, *input, *output, *used;
    ak_shape    x, ids;         /* n = AK_ABSENT: not taken */
    int         below;          /* the ids */
    ak_shape    y;
    int64_t     size;           /* trainable numbers */
    unsigned    flags;
    ak_module *(*make)(ak_ctx *ctx, const char *name);
} module_row;

enum { BATCH = 1, RANDOM = 2, MEMORY = 4, SOURCE = 8, FIXED = 16 };

#define AK_TESTS_ABSENT (-1)
#define COUNT_AXES(_1, _2, _3, _4, _5, n, ...) n
#define AXES(...) { COUNT_AXES(__VA_ARGS__, 5, 4, 3, 2, 1, 0), { __VA_ARGS__ } }
#define NONE { .n = AK_TESTS_ABSENT }

/* Constructors that are more than one call. */
static ak_module *two_heads(ak_ctx *ctx, const char *name)
{
    ak_module *m = ak_module_begin(ak_multi_head(ctx, name));
    ak_mlp(ctx, "trunk", (int[]){ 6, 5, 0 });
    ak_head(ctx, "instance", "simclr", 5, (ak_head_options){ .hidden = 3, .out = 4 });
    ak_head(ctx, "cluster", "linear", 5, (ak_head_options){ .out = 4 });
    return ak_module_end(m);
}

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

/* Rows are told apart by their lines. */
#define ROW(kind, call, input, output, used, x, ids, below, y, size, flags, ...)                   \
    static ak_module *JOIN(make_, __LINE__)(ak_ctx *ctx, const char *name) { return __VA_ARGS__; }
#include "rows.h"

static const module_row rows[] = {
#define ROW(kind, call, input, output, used, x, ids, below, y, size, flags, ...)                   \
    { kind, call, input, output, used, x, ids, below, y, size, flags, JOIN(make_, __LINE__) },
#include "rows.h"
};
#define ROWS ((int)(sizeof rows / sizeof *rows))

#endif
