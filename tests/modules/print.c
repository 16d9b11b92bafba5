/* SPDX-License-Identifier: Apache-2.0 */
/* Writes docs/ENCODERS.md from the rows that the tests run. */
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *end_text(ak_head_end end)
{
    static const char *const text[] = { "nothing", "batch norm", "batch norm without scale",
                                        "layer norm", "unit length" };
    return text[end];
}

static const char *size_text(int size, char buf[32])
{
    snprintf(buf, 32, size ? "%d" : "that of x", size);
    return buf;
}

int main(void)
{
    puts("# Encoders, poolings, heads\n\n"
         "Made by `build-test/tests/modules/print_modules > docs/ENCODERS.md`, of the rows in\n"
         "`tests/modules/rows.h`; `tests/modules/test_modules.c` runs each of them. Parameters are "
         "those of\nthe example in the row, as `ak_module_size` counts them.\n");
    for (int i = 0; i < ROWS; i++) {
        const module_row *r = &rows[i];
        if (i == 0 || strcmp(r->kind, rows[i - 1].kind) != 0)
            printf("%s## %c%s\n\n| module | input | output | example | parameters | who uses it "
                   "|\n|---|---|---|---|---|---|\n", i ? "\n" : "",
                   r->kind[0] - 'a' + 'A', r->kind + 1);
        char x[AK_SHAPE_TEXT], y[AK_SHAPE_TEXT];
        ak_shape_text(r->x.n < 0 ? r->ids : r->x, x);
        ak_shape_text(r->y, y);
        printf("| `%s` | %s | %s | %s -> %s | %" PRId64 " | %s |\n", r->call, r->input, r->output,
               x, y, r->size, r->used);
    }
    puts("\n## Heads by name\n\n"
         "`ak_head(ctx, name, kind, in, options)`: linear layers, batch norm and ReLU behind each "
         "hidden one\nwhere the table says so, else ReLU. Sizes are the papers'; options replace "
         "them.\n\n"
         "| kind | layers | hidden | out | batch norm | last bias | at the end | source |\n"
         "|---|---|---|---|---|---|---|---|");
    const ak_head_kind *k;
    for (int i = 0; (k = ak_head_at(i)) != NULL; i++) {
        char hidden[32], out[32];
        printf("| %s | %d | %s | %s | %s | %s | %s | %s |\n", k->name, k->layers,
               k->layers > 1 ? size_text(k->hidden, hidden) : "", size_text(k->out, out),
               k->batch_norm ? "yes" : "no", k->no_bias_out ? "no" : "yes", end_text(k->end),
               k->source);
    }
    return 0;
}
