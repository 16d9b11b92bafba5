/* SPDX-License-Identifier: Apache-2.0 */
/* Calls, time, bytes and FLOPs per op, printed when the context closes. */
#include "autograd/tape.h"

#include <stdlib.h>
#include <string.h>

typedef struct trace_row {
    const ak_op *op;
    int64_t calls[2];           /* forward, backward */
    double  seconds[2], bytes[2], flops[2];
} trace_row;

enum { ROWS = 256 };            /* more ops than the library has, with room for users' own */

typedef struct trace {
    ak_ctx   *ctx;
    trace_row rows[ROWS];
    int       n;
    int64_t   lost;             /* calls of ops that found no row */
} trace;

static void print_at_close(void *obj)
{
    trace *t = obj;
    if (t->ctx->process == ak__process())       /* a forked child only frees */
        ak_trace_print(t->ctx, stderr);
}

static trace *trace_of(ak_ctx *ctx)
{
    void **slot = ak__ctx_slot(ctx, AK__SLOT_TRACE);
    if (!*slot) {
        trace *t = ak__ctx_alloc(ctx, sizeof *t);
        if (!t || !ak__at_close(ctx, print_at_close, t))
            return NULL;
        t->ctx = ctx;
        *slot = t;
    }
    return *slot;
}

void ak__trace_add(ak_ctx *ctx, const ak_op *op, bool backward, double seconds, double bytes,
                   double flops)
{
    trace *t = trace_of(ctx);
    if (!t)
        return;
    int i = 0;
    while (i < t->n && t->rows[i].op != op)
        i++;
    if (i == ROWS) {
        t->lost++;
        return;
    }
    if (i == t->n)
        t->rows[t->n++].op = op;
    trace_row *r = &t->rows[i];
    r->calls[backward]++;
    r->seconds[backward] += seconds;
    r->bytes[backward] += bytes;
    r->flops[backward] += flops;
}

void ak_trace(ak_ctx *ctx, bool on)
{
    if (!AK__GIVEN(NULL, ctx))
        return;
    ctx->tracing = on;
}

static int slower_first(const void *a, const void *b)
{
    const trace_row *x = a, *y = b;
    double tx = x->seconds[0] + x->seconds[1], ty = y->seconds[0] + y->seconds[1];
    return (tx < ty) - (tx > ty);
}

void ak_trace_print(ak_ctx *ctx, FILE *file)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, file))
        return;
    trace *t = *ak__ctx_slot(ctx, AK__SLOT_TRACE);
    if (!t || !t->n)
        return;
    qsort(t->rows, (size_t)t->n, sizeof t->rows[0], slower_first);
    double total = 0;
    for (int i = 0; i < t->n; i++)
        total += t->rows[i].seconds[0] + t->rows[i].seconds[1];
    fprintf(file, "%-22s %9s %11s %9s %11s %9s %9s %6s\n", "op", "calls", "forward ms", "backward",
            "ms", "MB", "GFLOP", "share");
    for (int i = 0; i < t->n; i++) {
        const trace_row *r = &t->rows[i];
        double seconds = r->seconds[0] + r->seconds[1];
        fprintf(file, "%-22s %9lld %11.2f %9lld %11.2f %9.1f %9.2f %5.1f%%\n", r->op->name,
                (long long)r->calls[0], 1e3 * r->seconds[0], (long long)r->calls[1],
                1e3 * r->seconds[1], 1e-6 * (r->bytes[0] + r->bytes[1]),
                1e-9 * (r->flops[0] + r->flops[1]), total > 0 ? 100 * seconds / total : 0.0);
    }
    if (t->lost)
        fprintf(file, "(%lld calls of further ops are not listed)\n", (long long)t->lost);
}
