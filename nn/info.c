/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of a module make of an input, and what that costs. */
#include "nn/module.h"

#include <akin/weights.h>

#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>

void ak__note_pass(ak_module *m, const ak__work *before, const ak_tensor *y)
{
    m->passes.runs++;
    m->passes.work.flops += m->ctx->work->flops - before->flops;
    m->passes.work.bytes += m->ctx->work->bytes - before->bytes;
    m->passes.shape = y->shape;
}

static void forget_passes(ak_module *m, uint64_t visit)
{
    if (!ak__first_visit(m, visit))
        return;
    m->passes = (struct ak__passes){ 0 };
    for (int64_t i = 0; i < m->n_children; i++)
        forget_passes(m->children[i], visit);
}

/* A unit may run its parts without a pass of its own: what they did is what it did. */
static struct ak__passes passes_of(const ak_module *m)
{
    struct ak__passes all = m->passes;
    for (int64_t i = 0; m->passes.runs == 0 && i < m->n_children; i++) {
        const struct ak__passes p = passes_of(m->children[i]);
        all.work.flops += p.work.flops;
        all.work.bytes += p.work.bytes;
        if (p.runs) {
            all.runs = p.runs;
            all.shape = p.shape;
        }
    }
    return all;
}

/* "1.82 G" */
static const char *amount(double x, char buf[16])
{
    static const char units[] = " kMGTPE";
    int unit = 0;
    for (; x >= 999.5 && units[unit + 1]; unit++)
        x /= 1000;
    ak__format(buf, 16, unit ? "%.3g %c" : "%.3g", x, units[unit]);
    return buf;
}

enum { NAME = 26, WHAT = 40, SHAPE = 20 };

static void print_part(const ak_module *m, const char *parent, const char *around, int depth,
                       FILE *file)
{
    const struct ak__passes p = passes_of(m);
    char shape[AK_SHAPE_TEXT] = "-", runs[24] = "", flops[16], bytes[16];
    if (p.runs)
        ak_shape_text(p.shape, shape);
    if (p.runs > 1)
        ak__format(runs, sizeof runs, " x%" PRId64, p.runs);
    fprintf(file, "%*s%-*s %-*s %-*s %12" PRId64 " %9s %9s%s\n", 2 * depth, "", NAME - 2 * depth,
            ak__short_name(m->name, parent, around), WHAT, m->what, SHAPE, shape,
            ak_module_size(m), amount(p.work.flops, flops), amount(p.work.bytes, bytes), runs);
    for (int64_t i = 0; i < m->n_children; i++)
        print_part(m->children[i], m->name, parent, depth + 1, file);
}

ak_status ak_module_info(ak_module *m, ak_inputs in, FILE *file)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, file))
        return ak__refused(m ? m->ctx : NULL);
    ak_ctx *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    const ak_mark mark = ak_mark_step(ctx);
    const bool    training = ak_is_training(ctx);
    ak__work      work = { 0 };
    forget_passes(m, ak__new_visit(m));
    ak_train_mode(ctx, false);
    ak_no_grad_begin(ctx);
    ctx->work = &work;
    ak_forward_with(m, in);
    ctx->work = NULL;
    ak_no_grad_end(ctx);
    ak_train_mode(ctx, training);
    if (ak_error(ctx) != AK_OK || ak_release(ctx, mark) != AK_OK)
        return ak_error(ctx);
    fprintf(file, "%-*s %-*s %-*s %12s %9s %9s\n", NAME, "module", WHAT, "", SHAPE, "result",
            "parameters", "FLOPs", "bytes");
    print_part(m, "", "", 0, file);
    return AK_OK;
}
