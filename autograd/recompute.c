/* SPDX-License-Identifier: Apache-2.0 */
/* Segments that backward runs again. A segment runs in a frame (base/frame.h): memory and a tape of
 * its own, both gone when it ends. What it used from outside is noted by the funnel and becomes the
 * operands of one call on the tape around it. That call's backward begins such a frame anew, runs
 * the segment with the same random numbers, and walks the frame's tape as a part of the walk that
 * goes on: gradients of what is outside have their memory outside. So orders of sums, and bits, are
 * those of the undivided tape; a backward that fails is put back by the walk around it.
 *
 * Divided into parts of the rows of a batch, it is the exact step of GradCache (Gao et al.,
 * "Scaling deep contrastive learning batch size under memory limited setup", arXiv 2101.06983). */
#include "autograd/recompute.h"

#include <akin/ops.h>

#include "autograd/tape.h"
#include "base/frame.h"
#include "base/real.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

typedef struct segment_attr {
    ak__segment s;
    ak_shape    shape;          /* of the result */
    const ak_real *made;        /* its numbers; read by forward only */
    uint64_t stream, drawn;     /* the first of the streams that a run takes, and how many */
    bool     evaluating;
} segment_attr;

static bool divided(const ak__segment *s)
{
    return s->part < s->rows;
}

/* ---- what a frame uses from outside ---------------------------------------------------------- */

int64_t ak__whole_batch(const ak_ctx *ctx, int64_t n)
{
    const ak__frame *f = ctx->frame;
    return f && f->rows ? f->batch * (n / f->rows) : n;
}

/* Room for one more of a list. The old array stays with the context: a few bytes a parameter. */
static bool grow(ak_ctx *ctx, void *list, size_t bytes, int64_t n, int64_t *room)
{
    if (n < *room)
        return true;
    void *old, *more = ak__ctx_alloc(ctx, (size_t)(*room ? 2 * *room : 64) * bytes);
    if (!more)
        return false;
    memcpy(&old, list, sizeof old);
    if (n)
        memcpy(more, old, (size_t)n * bytes);
    memcpy(list, &more, sizeof more);
    *room = *room ? 2 * *room : 64;
    return true;
}

static void note(ak_ctx *ctx, ak_tensor *t, bool by_gradient)
{
    ak__frame *f = ctx->frame;
    if (!ak__from_outside(ctx, t->generation)) {
        const bool detached = !ak__from_outside(ctx, t->root->generation);
        t = detached ? t->owner : t->root;
        by_gradient = by_gradient && !detached;
        if (!ak__from_outside(ctx, t->generation))
            return;                 /* made in the frame */
    }
    t = by_gradient ? t->root : t;
    /* The newest first: neighbours in the network share operands. */
    for (int64_t i = f->n_seen - 1; i >= 0; i--)
        if (f->seen[i].t == t) {
            f->seen[i].by_gradient = f->seen[i].by_gradient || by_gradient;
            return;
        }
    if (grow(ctx, &f->seen, sizeof *f->seen, f->n_seen, &f->seen_room))
        f->seen[f->n_seen++] = (ak__seen){ t, by_gradient };
}

ak__part ak__part_of(const ak_tensor *x)
{
    const ak__frame *f = x->ctx ? x->ctx->frame : NULL;
    if (!f || !f->rows || !(x->flags & AK__OF_ROWS))
        return (ak__part){ 0, 0, 0 };
    return (ak__part){ f->first, f->rows, f->batch };
}

/* A tensor that parts of a batch write into, one after another. */
typedef struct ak__taken {
    const ak_tensor *t;
    int64_t end;                /* rows below it were written */
} ak__taken;

static ak__taken *taken_of(ak_ctx *ctx, const ak_tensor *t)
{
    for (int64_t i = ctx->n_taken - 1; i >= 0; i--)
        if (ctx->taken[i].t == t)
            return &ctx->taken[i];
    if (!grow(ctx, &ctx->taken, sizeof *ctx->taken, ctx->n_taken, &ctx->taken_room))
        return NULL;
    ctx->taken[ctx->n_taken] = (ak__taken){ t, 0 };
    return &ctx->taken[ctx->n_taken++];
}

/* Each part continues where the one before ended. Not so where an op runs twice in each part: then
 * shares of the parts in what is written are those of another order than the undivided one. */
static bool parts_follow(ak_call *k)
{
    const ak__frame *f = k->ctx->frame;
    for (int i = 0; k->writes >> i && i < k->n_in; i++) {
        if (!(k->writes >> i & 1) || !k->in[i] ||
            !ak__from_outside(k->ctx, k->in[i]->owner->generation))
            continue;
        ak__taken *taken = taken_of(k->ctx, k->in[i]->owner);
        if (!taken)
            return false;
        if (f->first && f->first != taken->end) {
            ak_call_hint(k, "use it once in what runs in parts, or let each use have its own");
            ak_call_fail(k, AK_ERR_STATE, "%s runs in parts of the batch, and operand %d is written"
                         " more than once in each of them", f->who, i);
            return false;
        }
        taken->end = f->first + f->rows;
    }
    return true;
}

/* What is made from rows of a part of the batch holds such rows, and no others. An op with the flag
 * AK_OP_MIXES_ROWS that takes k->mixes_rows back has made sure that what it writes is right too. */
static bool rows_stay_apart(ak_call *k)
{
    const ak__frame *f = k->ctx->frame;
    bool of_rows = false;
    for (int i = 0; i < k->n_in; i++)
        of_rows = of_rows || (k->in[i] && (k->in[i]->flags & AK__OF_ROWS));
    for (int i = 0; i < k->op->n_index; i++)
        of_rows = of_rows || (k->index[i] && k->index[i]->of_rows);
    if (of_rows) {
        k->out->flags |= AK__OF_ROWS;
        if (k->also)
            k->also->flags |= AK__OF_ROWS;
        if (k->places)
            k->places->of_rows = true;
    }
    const bool mixes = of_rows && k->mixes_rows;
    const bool in_parts = of_rows && (k->op->flags & AK_OP_MIXES_ROWS);
    if (!mixes && (!k->writes || in_parts))
        return f->again || parts_follow(k);
    ak_call_hint(k, "group or layer norm keeps rows apart, batch norm in evaluation mode "
                 "(ak_module_train), and split batch norm where no group is cut (.groups)");
    ak_call_fail(k, AK_ERR_STATE, "%s runs in parts of the batch, and this op %s", f->who,
                 mixes ? "makes each row of its result from all rows of the batch"
                       : "writes what it finds in a batch");
    return false;
}

/* In a second run: what the call writes was written by the first. */
static bool keep_written(ak_call *k)
{
    ak_ctx *ctx = k->ctx;
    for (int i = 0; k->writes >> i && i < k->n_in; i++) {
        ak_tensor *t = k->in[i];
        if (!(k->writes >> i & 1) || !t || !ak__from_outside(ctx, t->owner->generation))
            continue;
        ak__kept *kept = ak__step_alloc(ctx, sizeof *kept);
        const size_t bytes = (size_t)t->size * sizeof(ak_real);
        void *copy = kept ? ak__step_alloc(ctx, bytes) : NULL;
        if (!copy)
            return false;
        *kept = (ak__kept){ ctx->frame->kept, t, memcpy(copy, t->data, bytes), t->owner->version,
                            t->owner->changed_by };
        ctx->frame->kept = kept;
    }
    return true;
}

bool ak__segment_before(ak_call *k)
{
    ak__frame *f = k->ctx->frame;
    f->kept = NULL;
    return (!f->rows || rows_stay_apart(k)) && (!f->again || !k->writes || keep_written(k));
}

void ak__segment_after(ak_call *k)
{
    ak__frame *f = k->ctx->frame;
    for (const ak__kept *kept = f->kept; kept; kept = kept->next) {
        memcpy(kept->t->data, kept->bytes, (size_t)kept->t->size * sizeof(ak_real));
        kept->t->owner->version = kept->version;
        kept->t->owner->changed_by = kept->changed_by;
    }
    f->kept = NULL;
    for (int i = 0; f->watches && i < k->n_in; i++) {
        const bool written = i < 32 && (k->writes >> i & 1);
        if (k->in[i] && !written)
            note(k->ctx, k->in[i], k->out->maker == k && k->in[i]->root->needs_grad);
    }
}

ak_tensor *ak__slice_rows(ak_tensor *x, int64_t first, int64_t count)
{
    ak_tensor *t = ak_rows(x, first, count);
    if (!ak_is_poison(t))
        t->flags |= AK__OF_ROWS;
    return t;
}

/* ---- one run --------------------------------------------------------------------------------- */

/* Which rows of the batch, where this is a part of a part. */
static bool place_rows(ak_ctx *ctx, const ak__segment *s, ak__frame *f, int64_t first,
                       int64_t count)
{
    if (!divided(s))
        return true;
    const int64_t outer = f->outer ? f->outer->rows : 0;
    if (outer && s->rows % outer) {
        ak_fail(ctx, AK_ERR_STATE, "%s: %" PRId64 " rows are divided inside of %s, which runs with "
                "%" PRId64 " rows of a batch: which of them belong to which?", s->who, s->rows,
                f->outer->who, outer);
        return false;
    }
    f->first = first + (outer ? f->outer->first * (s->rows / outer) : 0);
    f->rows = count;
    f->batch = outer ? f->outer->batch * (s->rows / outer) : s->rows;
    return true;
}

static bool result_fits(ak_ctx *ctx, const ak__segment *s, const ak_tensor *y, int64_t count)
{
    char text[AK_SHAPE_TEXT];
    const ak__frame *f = ctx->frame;
    if (!y) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: its function returned NULL\n    hint: a tensor is wanted, "
                "poison after an error", s->who);
        return false;
    }
    if (ctx->status != AK_OK || !ak__tensor_check(ctx, y, s->who, "its result"))
        return false;
    if (divided(s) && (y->shape.n < 1 || y->shape.dims[0] != count)) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: returned %s for %" PRId64 " rows\n    hint: in parts of "
                "the batch runs what makes a row of each sample; a mean over the batch, or a loss, "
                "comes after it", s->who, ak_shape_text(y->shape, text), count);
        return false;
    }
    if (f->rows && f->drawn != f->asked) {
        ak_fail(ctx, AK_ERR_STATE, "%s: %" PRIu64 " streams of random numbers were taken and ak_ran"
                "dom_first was called %" PRIu64 " times: each part of the batch would get the same "
                "numbers\n    hint: akin/tensor.h, ak_random_first", s->who, f->drawn, f->asked);
        return false;
    }
    return true;
}

/* Run a part in a frame of its own, which is open afterwards, whatever happened. Poison: failed. */
static ak_tensor *run_part(ak_ctx *ctx, const segment_attr *a, int64_t first, int64_t count)
{
    const ak__segment *s = &a->s;
    const int no_grad = ctx->no_grad;
    if (!place_rows(ctx, s, ctx->frame, first, count))
        return &ak__poison;
    ctx->frame->who = s->who;
    ctx->next_stream = a->stream;
    ak_tensor *y = s->run(s, first, count);
    if (ctx->no_grad != no_grad) {
        ctx->no_grad = no_grad;
        ak_fail(ctx, AK_ERR_STATE, "%s: ak_no_grad_begin() and ak_no_grad_end() inside of it do "
                "not match", s->who);
    }
    if (!result_fits(ctx, s, y, count))
        return &ak__poison;
    /* What is handed through was not made here: an op makes it a part of the frame's tape. */
    if (ak__from_outside(ctx, y->root->generation))
        y = ak_scale(y, 1);
    return y;
}

/* ---- forward --------------------------------------------------------------------------------- */

static ak_status recompute_shape(ak_call *k)
{
    k->out->shape = ((const segment_attr *)k->attr)->shape;
    return AK_OK;
}

static void recompute_forward(ak_call *k)
{
    const segment_attr *a = k->attr;
    if (k->out->size)
        memcpy(k->out->data, a->made, (size_t)k->out->size * sizeof(ak_real));
}

static void recompute_backward(ak_call *k);

/* Backward reads the operands by running the segment, and asks for them itself: there may be more
 * than `reads` has bits for. */
static const ak_op recompute_op = {
    .name = "recompute", .formula = "y = f(x, ..), which backward runs again", .n_in = 1,
    .attr_size = sizeof(segment_attr), .flags = AK_OP_VARIADIC,
    .shape = recompute_shape, .forward = recompute_forward, .backward = recompute_backward,
    .reads = AK_READS_NONE,
};

bool ak__runs_again(const ak_call *k) { return k->op == &recompute_op; }

/* Everything is constant: nothing to be recorded, but seen by a segment around this one. */
static ak_tensor *constant(ak_ctx *ctx, const segment_attr *a, const ak__frame *f)
{
    ak_tensor *y = ak__tensor_new(ctx, a->shape);
    if (ak_is_poison(y))
        return y;
    if (y->size)
        memcpy(y->data, a->made, (size_t)y->size * sizeof(ak_real));
    for (int64_t i = 0; ctx->frame && ctx->frame->watches && i < f->n_seen; i++)
        note(ctx, f->seen[i].t, false);
    return y;
}

/* The result, outside of the frame that made it. */
static ak_tensor *result(ak_ctx *ctx, const segment_attr *a, const ak__frame *f, bool needs_grad)
{
    bool from_outside = false;      /* else: of a leaf that was made in the segment, and is gone */
    for (int64_t i = 0; i < f->n_seen; i++)
        from_outside = from_outside || f->seen[i].by_gradient;
    if (!needs_grad || !from_outside || ctx->no_grad > 0)
        return constant(ctx, a, f);
    ak_tensor **in = ak__step_alloc(ctx, (size_t)f->n_seen * sizeof *in);
    if (!in)
        return &ak__poison;
    for (int64_t i = 0; i < f->n_seen; i++) {
        ak_tensor *t = f->seen[i].t;
        in[i] = f->seen[i].by_gradient || !t->root->needs_grad ? t : ak_detach(t);
    }
    return ak_apply(&recompute_op, in, (int)f->n_seen, a);
}

/* The numbers of a row of the result. */
typedef struct row { const ak_real *at; int64_t width; } row;

/* Largest difference of two rows, and their largest number. False: one is not finite. */
static bool compare(const ak_real *a, const ak_real *b, int64_t n, double *difference,
                    double *largest)
{
    *difference = *largest = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - (double)b[i]), size = fabs((double)a[i]);
        if (!(d <= (double)AK_REAL_MAX))
            return false;
        *difference = d > *difference ? d : *difference;
        *largest = size > *largest ? size : *largest;
    }
    return true;
}

/* What rounding makes of another order of sums stays far below. */
#define ROWS_DIFFER (AK_REAL_BITS == 64 ? 1e-8 : 1e-3)

static bool same_row(ak_ctx *ctx, const ak__segment *s, row a, row b, const char *when)
{
    double difference, largest;
    if (a.width != b.width) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: its result for a sample has %" PRId64 " numbers, and %"
                PRId64 " %s\n    hint: a size that is found in the batch (its longest sequence) is "
                "found before, for all parts", s->who, a.width, b.width, when);
        return false;
    }
    if (!compare(a.at, b.at, a.width, &difference, &largest) ||
        difference <= ROWS_DIFFER * largest)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "%s: its result for a sample depends on the other samples that run "
            "with it: it differs by %g (its largest number is %g) %s\n    hint: in parts of the "
            "batch runs what makes each row from its own sample; what looks at the whole batch "
            "comes after it", s->who, difference, largest, when);
    return false;
}

/* Row 1 beside row 0, which is kept in *r, and beside row 2: two runs of equal size, so that the
 * same kernels do both. "Row": as many as may depend on each other. */
static bool try_rows(ak_ctx *ctx, const segment_attr *a, row *r)
{
    const int64_t few = a->s.try_rows;
    bool fine = true;
    for (int64_t first = 0; fine && first <= few; first += few) {
        ak__frame *f = ak__frame_begin(ctx);
        if (!f)
            return false;
        f->again = true;
        ak_no_grad_begin(ctx);
        const ak_tensor *y = run_part(ctx, a, first, 2 * few);
        ak_no_grad_end(ctx);
        ak__frame_leave(ctx);
        fine = !ak_is_poison(y) && ctx->status == AK_OK;
        const row now = { fine ? y->data + (first == 0 ? y->size / 2 : 0) : NULL, y->size / 2 };
        if (fine && first == 0) {
            ak_real *copy = ak__step_alloc(ctx, (size_t)now.width * sizeof *copy);
            fine = copy;
            if (copy && now.width)
                memcpy(copy, now.at, (size_t)now.width * sizeof *copy);
            *r = (row){ copy, now.width };
        } else if (fine) {
            fine = same_row(ctx, &a->s, *r, now, "when they are others");
        }
        ak__frame_drop(ctx, f);
    }
    return fine;
}

/* The numbers of one part into place; *made: memory for all of them, had at the first. */
static bool take_part(ak_ctx *ctx, segment_attr *a, const ak_tensor *y, int64_t first,
                      int64_t count, ak_real **made)
{
    ak_shape shape = y->shape;
    shape.dims[0] = a->s.rows;
    const int64_t width = count ? y->size / count : 0;
    if (!*made) {
        a->shape = shape;
        *made = ak__step_alloc(ctx, (size_t)(width * a->s.rows) * sizeof **made);
        if (!*made)
            return false;
    } else if (!ak_shape_equal(shape, a->shape)) {
        char one[AK_SHAPE_TEXT], other[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_SHAPE, "%s: parts of the batch give rows of different sizes: %s and %s",
                a->s.who, ak_shape_text(a->shape, one), ak_shape_text(shape, other));
        return false;
    }
    if (y->size)
        memcpy(*made + first * width, y->data, (size_t)y->size * sizeof **made);
    return true;
}

static bool same_draws(ak_ctx *ctx, const segment_attr *a, uint64_t drawn)
{
    if (drawn == a->drawn)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "%s: one run takes %" PRIu64 " streams of random numbers and the "
            "next %" PRIu64 "\n    hint: a segment does the same in each run", a->s.who, a->drawn,
            drawn);
    return false;
}

static ak_tensor *run_parts(ak_ctx *ctx, segment_attr *a)
{
    ak_real *made = NULL;
    row      tried = { NULL, 0 };
    bool     needs_grad = false, of_rows = false;
    ak__frame *f = ak__frame_next(ctx);
    const int64_t few = a->s.try_rows;
    if (!f || (few && a->s.rows >= 3 * few && !try_rows(ctx, a, &tried)))
        return &ak__poison;
    f->n_seen = 0;
    for (int64_t first = 0; first < a->s.rows; first += a->s.part) {
        const int64_t rest = a->s.rows - first, count = rest < a->s.part ? rest : a->s.part;
        if (!ak__frame_begin(ctx))
            return &ak__poison;
        f->watches = true;
        const ak_tensor *y = run_part(ctx, a, first, count);
        a->drawn = first ? a->drawn : ctx->next_stream - a->stream;
        const bool fine = !ak_is_poison(y) && same_draws(ctx, a, ctx->next_stream - a->stream);
        needs_grad = needs_grad || y->needs_grad;
        of_rows = of_rows || (y->flags & AK__OF_ROWS);
        ak__frame_leave(ctx);
        const bool taken = fine && take_part(ctx, a, y, first, count, &made);
        ak__frame_drop(ctx, f);
        if (!taken)
            return &ak__poison;
    }
    const int64_t width = few * (ak_shape_size(a->shape) / a->s.rows);
    if (tried.at && !same_row(ctx, &a->s, (row){ made + width, width }, tried,
                              "when there are fewer of them"))
        return &ak__poison;
    a->made = made;
    ak_tensor *y = result(ctx, a, f, needs_grad);
    ak__step_give(ctx, made, (size_t)ak_shape_size(a->shape) * sizeof *made);
    if (!ak_is_poison(y) && of_rows && ctx->frame && ctx->frame->rows)
        y->flags |= AK__OF_ROWS;
    return y;
}

static ak_tensor *run_whole(ak_ctx *ctx, segment_attr *a)
{
    ak__frame *f = ak__frame_begin(ctx);
    if (!f)
        return &ak__poison;
    f->n_seen = 0;
    f->watches = true;
    ak_tensor *y = run_part(ctx, a, 0, a->s.rows), *out = &ak__poison;
    const uint8_t of_rows = y->flags & AK__OF_ROWS;
    a->drawn = ctx->next_stream - a->stream;
    ak__frame_leave(ctx);
    if (!ak_is_poison(y) && ctx->status == AK_OK) {
        a->shape = y->shape;
        a->made = y->data;
        out = result(ctx, a, f, y->needs_grad);
    }
    ak__frame_drop(ctx, f);
    if (!ak_is_poison(out) && ctx->frame && ctx->frame->rows)
        out->flags |= of_rows;
    return out;
}

ak_tensor *ak__recompute(ak_ctx *ctx, const ak__segment *s)
{
    if (ctx->status != AK_OK)
        return &ak__poison;
    if (ctx->no_grad == 0)
        ctx->recomputed_in = ctx->steps + 1;
    segment_attr a = { .s = *s, .stream = ctx->next_stream, .evaluating = ctx->evaluating };
    if (divided(s))
        return run_parts(ctx, &a);
    if (ctx->no_grad == 0)
        return run_whole(ctx, &a);
    ak_tensor *y = s->run(s, 0, s->rows);
    if (!y)
        ak_fail(ctx, AK_ERR_VALUE, "%s: its function returned NULL\n    hint: a tensor is wanted, "
                "poison after an error", s->who);
    return y ? y : &ak__poison;
}

/* ---- backward -------------------------------------------------------------------------------- */

/* The second run must be the first: its numbers are compared where nobody has changed those, or
 * given them back. */
static bool same_numbers(ak_ctx *ctx, const segment_attr *a, const ak_tensor *out,
                         const ak_tensor *y, int64_t at)
{
    if (y->size > out->size - at || (!divided(&a->s) && y->size != out->size)) {
        char text[AK_SHAPE_TEXT];
        ak_fail(ctx, AK_ERR_STATE, "%s: the run in backward gives %s, another size than in forward",
                a->s.who, ak_shape_text(y->shape, text));
        return false;
    }
    if (!out->data || out->version != 0 || y->size == 0 ||
        memcmp(out->data + at, y->data, (size_t)y->size * sizeof(ak_real)) == 0)
        return true;
    ak_fail(ctx, AK_ERR_STATE, "%s: the run in backward gives other numbers than the one in forward"
            "\n    hint: something that it reads was changed in between and ak_touch was not "
            "called, or the mode of a module (ak_module_train), or it does not do the same each "
            "time", a->s.who);
    return false;
}

static bool part_backward(ak_call *k, int64_t first, int64_t count)
{
    const segment_attr *a = k->attr;
    ak_ctx *ctx = k->ctx;
    ak__frame *f = ak__frame_begin(ctx);
    if (!f)
        return false;
    f->again = true;
    ak_tensor *y = run_part(ctx, a, first, count);
    const int64_t at = a->s.rows ? k->out->size / a->s.rows * first : 0;
    if (!ak_is_poison(y) && ctx->status == AK_OK &&
        same_draws(ctx, a, ctx->next_stream - a->stream) && same_numbers(ctx, a, k->out, y, at))
        ak__walk_segment(y, k->out->grad + at);
    ak__frame_end(ctx);
    return ctx->status == AK_OK;
}

static void recompute_backward(ak_call *k)
{
    const segment_attr *a = k->attr;
    ak_ctx *ctx = k->ctx;
    for (int i = 0; i < k->n_in; i++)
        if (!ak__operand_unchanged(k, i) || !ak__values_there(k->in[i]))
            return;
    const uint64_t next_stream = ctx->next_stream;
    const bool evaluating = ctx->evaluating;
    const int  no_grad = ctx->no_grad;
    ctx->evaluating = a->evaluating;
    ctx->no_grad = 0;
    if (divided(&a->s)) {
        for (int64_t first = 0; first < a->s.rows; first += a->s.part) {
            const int64_t rest = a->s.rows - first;
            if (!part_backward(k, first, rest < a->s.part ? rest : a->s.part))
                break;
        }
    } else {
        part_backward(k, 0, a->s.rows);
    }
    ctx->next_stream = next_stream;
    ctx->evaluating = evaluating;
    ctx->no_grad = no_grad;
    for (int i = 0; i < k->n_in; i++)
        if (!k->in[i]->root->maker && k->in[i]->root->grad)
            k->in[i]->grad = k->in[i]->root->grad + k->in[i]->offset;
}

/* ---- a function ------------------------------------------------------------------------------ */

typedef struct function {
    ak_segment_fn fn;
    void         *user;
    ak_tensor   **in;
    int           n;
} function;

static ak_tensor *run_function(const ak__segment *s, int64_t first, int64_t count)
{
    const function *f = s->what;
    (void)first;
    (void)count;
    return f->fn(f->in, f->n, f->user);
}

ak_tensor *ak_recompute(ak_ctx *ctx, ak_segment_fn fn, void *user, ak_tensor *const *in, int n)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, fn) || (n > 0 && !AK__GIVEN(ctx, in)))
        return &ak__poison;
    if (n < 0) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_recompute: %d operands", n);
        return &ak__poison;
    }
    for (int i = 0; i < n; i++)
        if (in[i] && !ak__tensor_known(ctx, in[i], "ak_recompute", "an operand"))
            return &ak__poison;
    function *f = ctx->status == AK_OK ? ak__step_alloc(ctx, sizeof *f) : NULL;
    ak_tensor **copy = f ? ak__step_alloc(ctx, (size_t)n * sizeof *copy) : NULL;
    if (!copy)
        return &ak__poison;
    for (int i = 0; i < n; i++)
        copy[i] = in[i];
    *f = (function){ fn, user, copy, n };
    return ak__recompute(ctx, &(ak__segment){ .run = run_function, .what = f,
                                              .who = "ak_recompute", .rows = 1, .part = 1 });
}
