/* SPDX-License-Identifier: Apache-2.0 */
/* The live tape as text, as a table and as a Graphviz digraph. */
#include "autograd/tape.h"
#include "base/frame.h"

#include <inttypes.h>

/* The tape is linked newest first; people read oldest first. Reversed twice, in place. */
static ak_call *reverse(ak_call *k)
{
    ak_call *before = NULL;
    while (k) {
        ak_call *next = k->prev;
        k->prev = before;
        before = k;
        k = next;
    }
    return before;
}

static void print_call(const ak_call *k, FILE *file)
{
    char operands[512], text[AK_SHAPE_TEXT];
    ak__call_operands_text(k, operands, sizeof operands);
    fprintf(file, "%4" PRId64 "  %-20s (%s) -> %s%s%s\n", k->number, k->op->name, operands,
            ak_shape_text(k->out->shape, text), k->out->name ? " " : "",
            k->out->name ? k->out->name : "");
}

void ak_tape_print(ak_ctx *ctx, FILE *file)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, file))
        return;
    fprintf(file, "step %" PRIu64 ": %" PRId64 " ops ran, %" PRId64 " are on the tape\n",
            ak__step_number(ctx), ctx->calls, ctx->recorded);
    ctx->tape = reverse(ctx->tape);
    for (const ak_call *k = ctx->tape; k; k = k->prev)
        print_call(k, file);
    ctx->tape = reverse(ctx->tape);
}

void ak_tape_table(ak_ctx *ctx, FILE *file)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, file))
        return;
    double bytes = 0, flops = 0, seconds = 0;
    fprintf(file, "%4s  %-20s %-20s %12s %12s %10s\n", "#", "op", "output", "bytes", "MFLOP", "ms");
    ctx->tape = reverse(ctx->tape);
    for (const ak_call *k = ctx->tape; k; k = k->prev) {
        char   text[AK_SHAPE_TEXT];
        double b = (double)k->out->size * (double)sizeof(ak_real), f = ak__call_flops(k);
        fprintf(file, "%4" PRId64 "  %-20s %-20s %12.0f %12.3f ", k->number, k->op->name,
                ak_shape_text(k->out->shape, text), b, 1e-6 * f);
        if (ctx->tracing)
            fprintf(file, "%10.3f\n", 1e3 * k->seconds);
        else
            fprintf(file, "%10s\n", "-");
        bytes += b;
        flops += f;
        seconds += k->seconds;
    }
    ctx->tape = reverse(ctx->tape);
    fprintf(file, "%4s  %-20s %-20s %12.0f %12.3f ", "", "total", "", bytes, 1e-6 * flops);
    if (ctx->tracing)
        fprintf(file, "%10.3f\n", 1e3 * seconds);
    else
        fprintf(file, "%10s\n", "-");
}

static void dot_text(FILE *file, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', file);
        fputc(*text, file);
    }
}

static void dot_leaf(FILE *file, const ak_tensor *leaf)
{
    char text[AK_SHAPE_TEXT];
    fprintf(file, "  t%p [shape=box, style=filled, fillcolor=%s, label=\"", (const void *)leaf,
            leaf->needs_grad ? "lightblue" : "lightgrey");
    dot_text(file, leaf->name ? leaf->name : "input");
    fprintf(file, "\\n%s\"];\n", ak_shape_text(leaf->shape, text));
}

void ak_tape_dot(ak_ctx *ctx, FILE *file)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, file))
        return;
    fputs("digraph tape {\n  rankdir=TB;\n  node [fontname=\"sans-serif\"];\n", file);
    ctx->tape = reverse(ctx->tape);
    for (const ak_call *k = ctx->tape; k; k = k->prev) {
        char text[AK_SHAPE_TEXT];
        fprintf(file, "  t%p [label=\"%s\\n%s\"];\n", (const void *)k->out, k->op->name,
                ak_shape_text(k->out->shape, text));
        for (int i = 0; i < k->n_in; i++) {
            if (!k->in[i])
                continue;
            const ak_tensor *root = k->in[i]->root;
            if (!root->maker)
                dot_leaf(file, root);
            fprintf(file, "  t%p -> t%p;\n", (const void *)root, (const void *)k->out);
        }
    }
    ctx->tape = reverse(ctx->tape);
    fputs("}\n", file);
}
