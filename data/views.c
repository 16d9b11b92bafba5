/* SPDX-License-Identifier: Apache-2.0 */
/* Making a view of a picture: one resampling for all geometry, then the changes, then normalising;
 * and of other kinds of fields, by their own functions. */
#include "data/pixels.h"
#include "data/views.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

#define EXTRA_LINE 96           /* reflected ends of a row in the blur, and padding */
#define GROUP      4            /* channels of a pixel that are scaled together */

/* Where a viewer's pieces lie in its memory. */
typedef struct viewer_layout {
    size_t plane, line, row;            /* numbers of one piece */
    size_t planes_at, scratch_at, line_at, pixels_at, rows_at, weights_at, total;
} viewer_layout;

/* Of views of height x width of pictures W wide with C channels. */
static viewer_layout layout_of(int64_t height, int64_t width, int64_t W, int64_t C)
{
    viewer_layout l = { 0 };
    const int64_t wide = width > W ? width : W;
    l.plane = (size_t)(ak__lanes(height * width) + AK__LANES);
    l.line = (size_t)(ak__lanes(wide * C) + AK__LANES);
    l.row = (size_t)(ak__lanes(wide) + AK__LANES);
    l.scratch_at = l.plane * (size_t)C;
    l.line_at = l.scratch_at + l.plane + l.row + EXTRA_LINE;
    l.pixels_at = l.line_at + l.line;
    l.rows_at = l.pixels_at + GROUP * l.row;
    l.weights_at = l.rows_at + 2 * l.row * (size_t)C;
    l.total = l.weights_at + l.row;
    return l;
}

static viewer_layout layout_for(const ak__field *f, const ak__views *v, int view)
{
    return layout_of(v->item[view].dims[0], v->item[view].dims[1], f->item.dims[1],
                     f->item.dims[2]);
}

size_t ak__viewer_numbers(const ak__field *f, const ak__views *v)
{
    size_t most = 0;
    for (int view = 0; f->kind == AK_FIELD_PICTURE && view < v->views; view++) {
        const size_t total = v->lists[view] ? layout_for(f, v, view).total : 0;
        most = total > most ? total : most;
    }
    return most;
}

size_t ak__viewer_taps(const ak__views *v)
{
    size_t most = 0;
    for (int view = 0; v->item[0].n == 3 && view < v->views; view++)
        if (2 * (size_t)v->item[view].dims[1] > most)
            most = 2 * (size_t)v->item[view].dims[1];
    return most;
}

/* ---- resampling ------------------------------------------------------------------------------ */

/* Pixels to sample from: interleaved channels, rows one after the other. */
typedef struct pixel_source {
    const uint8_t *bytes;       /* or NULL: */
    const ak_real *reals;
    bool           scale;       /* reals: y = (x - offset) * factor */
    ak_real        offset, factor;
    int64_t        width;
    int            channels;
} pixel_source;

typedef struct resampler {
    pixel_source   from;
    ak_box         box;
    int64_t        height, width;       /* of the result */
    int32_t       *left, *right;        /* [width] places in `line` */
    ak_real       *weight;              /* [width] of the right one */
    ak_real       *line;                /* a row of the box as numbers */
    ak_real       *pixels;              /* [width][GROUP]: a group of channels, scaled */
    ak_real       *rows;                /* [2][channels][row_size]: rows scaled to `width` */
    size_t         row_size;
} resampler;

/* Neighbours of output o when `n` pixels are scaled to `out` (pixel centres at half integers). */
static int64_t neighbours(int64_t o, int64_t n, int64_t out, int64_t *next, ak_real *weight)
{
    double at = ((double)o + 0.5) * ((double)n / (double)out) - 0.5;
    at = at > 0 ? at : 0;
    int64_t i = (int64_t)at;
    i = i < n ? i : n - 1;
    *next = i + 1 < n ? i + 1 : i;
    *weight = (ak_real)(at - (double)i);
    return i;
}

static void prepare_taps(resampler *r)
{
    const int C = r->from.channels;
    for (int64_t o = 0; o < r->width; o++) {
        const int64_t to = r->box.mirror ? r->width - 1 - o : o;
        int64_t       next;
        r->left[to] = (int32_t)(C * neighbours(o, r->box.width, r->width, &next, &r->weight[to]));
        r->right[to] = (int32_t)(C * next);
    }
}

/* Row y of the box as numbers. */
AK__PIXELS static void read_row(const resampler *r, int64_t y)
{
    const int     C = r->from.channels;
    const int64_t start = ((r->box.y + y) * r->from.width + r->box.x) * C, n = r->box.width * C;
    ak_real *restrict line = r->line;
    if (r->from.bytes) {
        const uint8_t *restrict x = r->from.bytes + start;
        for (int64_t i = 0; i < n; i += AK__LANES)
            for (int j = 0; j < AK__LANES; j++)
                line[i + j] = (ak_real)x[i + j] * AK__BYTE_SCALE;
    } else {
        memcpy(line, r->from.reals + start, (size_t)n * sizeof *line);
    }
    if (r->from.scale)
        for (int64_t i = 0; i < n; i++)
            line[i] = (line[i] - r->from.offset) * r->from.factor;
}

/* One channel, scaled to the result's width. */
static void scale_channel(const resampler *r, ak_real *restrict out)
{
    const ak_real *restrict line = r->line;
    for (int64_t o = 0; o < r->width; o++) {
        const ak_real a = line[r->left[o]], b = line[r->right[o]];
        out[o] = a + r->weight[o] * (b - a);
    }
}

/* GROUP channels from `first` on, of which the last may not exist (`line` is padded): a pixel's
 * channels are neighbours and take one vector. Then each goes to its own row. */
AK__PIXELS static void scale_group(const resampler *r, int first, ak_real *restrict out)
{
    const ak_real *restrict line = r->line + first;
    ak_real *restrict       pixels = r->pixels;
    for (int64_t o = 0; o < r->width; o++) {
        const ak_real *a = line + r->left[o], *b = line + r->right[o], w = r->weight[o];
        ak_real        mixed[GROUP];
        for (int j = 0; j < GROUP; j++)
            mixed[j] = a[j] + w * (b[j] - a[j]);
        memcpy(pixels + o * GROUP, mixed, sizeof mixed);
    }
    for (int j = 0; j < GROUP && first + j < r->from.channels; j++)
        for (int64_t o = 0; o < r->width; o++)
            out[(size_t)j * r->row_size + (size_t)o] = pixels[o * GROUP + j];
}

/* Row y of the box, scaled to the result's width, into rows[slot]. */
static void scale_row(const resampler *r, int64_t y, int64_t slot)
{
    const int C = r->from.channels;
    ak_real  *rows = r->rows + (size_t)(slot * C) * r->row_size;
    read_row(r, y);
    if (C == 1)
        scale_channel(r, rows);
    else
        for (int first = 0; first < C; first += GROUP)
            scale_group(r, first, rows + (size_t)first * r->row_size);
}

/* Scale the box to height x width, one plane a channel. Each row of the box is scaled once: row y
 * is kept in slot y & 1, and the two rows that an output row needs are neighbours. */
AK__PIXELS static void resample(resampler *r, ak_real *const *planes)
{
    const int C = r->from.channels;
    int64_t   held[2] = { -1, -1 };
    prepare_taps(r);
    for (int64_t o = 0; o < r->height; o++) {
        int64_t       bottom;
        ak_real       w;
        const int64_t top = neighbours(o, r->box.height, r->height, &bottom, &w);
        for (int64_t y = top; y <= bottom; y++)
            if (held[y & 1] != y) {
                scale_row(r, y, y & 1);
                held[y & 1] = y;
            }
        for (int c = 0; c < C; c++) {
            const ak_real *restrict a = r->rows + (size_t)((top & 1) * C + c) * r->row_size;
            const ak_real *restrict b = r->rows + (size_t)((bottom & 1) * C + c) * r->row_size;
            ak_real *restrict       y = planes[c] + o * r->width;
            for (int64_t i = 0; i < r->width; i += AK__LANES)
                for (int j = 0; j < AK__LANES; j++)
                    y[i + j] = a[i + j] + w * (b[i + j] - a[i + j]);
        }
    }
}

/* ---- pixels in and out ----------------------------------------------------------------------- */

static resampler resampler_of(const ak__viewer *v, const viewer_layout *l, const ak_picture *p,
                              ak_box box)
{
    return (resampler){ .box = box, .height = p->height, .width = p->width, .left = v->taps,
                        .right = v->taps + p->width, .weight = v->memory + l->weights_at,
                        .line = v->memory + l->line_at, .pixels = v->memory + l->pixels_at,
                        .rows = v->memory + l->rows_at, .row_size = l->row };
}

/* From the data set's item. */
static void sample_item(const ak__viewer *v, const viewer_layout *l, const ak__view *view,
                        ak_box box, ak_picture *p)
{
    const ak__field *f = view->field;
    resampler        r = resampler_of(v, l, p, box);
    r.from = (pixel_source){ .bytes = view->raw->bytes, .reals = view->raw->reals,
                             .scale = f->scale, .offset = f->offset, .factor = f->factor,
                             .width = f->item.dims[1], .channels = f->channels };
    resample(&r, p->plane);
}

/* Geometry that comes after changes: from the planes, by way of scratch. */
static void sample_planes(const ak__viewer *v, const viewer_layout *l, ak_box box, ak_picture *p)
{
    resampler r = resampler_of(v, l, p, box);
    for (int c = 0; c < p->channels; c++) {
        r.from = (pixel_source){ .reals = p->plane[c], .width = r.width, .channels = 1 };
        resample(&r, &p->scratch);
        memcpy(p->plane[c], p->scratch, (size_t)(r.height * r.width) * sizeof *p->scratch);
    }
}

/* Planes to interleaved pixels, normalised; mean 0 and deviation 1 change no bit. */
AK__PIXELS static void write_item(const ak__field *f, const ak_picture *p, ak_real *restrict out)
{
    const int64_t n = p->height * p->width;
    if (p->channels == 1) {
        const ak_real *restrict x = p->plane[0];
        const ak_real           m = f->mean[0], s = f->inverse_std[0];
        for (int64_t i = 0; i < n; i++)
            out[i] = (x[i] - m) * s;
    } else if (p->channels == 3) {
        const ak_real *restrict r = p->plane[0], *restrict g = p->plane[1];
        const ak_real *restrict b = p->plane[2];
        const ak_real m0 = f->mean[0], m1 = f->mean[1], m2 = f->mean[2];
        const ak_real s0 = f->inverse_std[0], s1 = f->inverse_std[1], s2 = f->inverse_std[2];
        for (int64_t i = 0; i < n; i++) {
            out[3 * i] = (r[i] - m0) * s0;
            out[3 * i + 1] = (g[i] - m1) * s1;
            out[3 * i + 2] = (b[i] - m2) * s2;
        }
    } else {
        for (int c = 0; c < p->channels; c++)
            for (int64_t i = 0; i < n; i++)
                out[i * p->channels + c] = (p->plane[c][i] - f->mean[c]) * f->inverse_std[c];
    }
}

/* ---- faults ---------------------------------------------------------------------------------- */

/* Scaling and blurring round: values that far outside [0, 1] are taken for its ends. */
#define ROUNDING ((ak_real)1e-5)

static bool box_inside(const ak_box *b, int64_t height, int64_t width)
{
    return b->y >= 0 && b->x >= 0 && b->height >= 1 && b->width >= 1 && b->y < height &&
           b->x < width && b->height <= height - b->y && b->width <= width - b->x;
}

/* Are all values in [0, 1]? If not: one that is not. */
static bool planes_inside(const ak_picture *p, double *value)
{
    for (int c = 0; c < p->channels; c++)
        for (int64_t i = 0; i < p->height * p->width; i++) {
            const ak_real x = p->plane[c][i];
            if (!(x >= -ROUNDING && x <= 1 + ROUNDING)) {
                *value = (double)x;
                return false;
            }
        }
    return true;
}

/* ---- a view ---------------------------------------------------------------------------------- */

static bool make_picture(const ak__viewer *viewer, const ak__view *v, ak__fault *fault)
{
    const ak_augment   *list = v->views->lists[v->view];
    const viewer_layout l = layout_for(v->field, v->views, v->view);
    const ak_shape      size = v->views->item[v->view];
    ak_picture          p = { .height = size.dims[0], .width = size.dims[1],
                              .channels = v->field->channels,
                              .scratch = viewer->memory + l.scratch_at };
    ak_box              box = { 0, 0, v->field->item.dims[0], v->field->item.dims[1], false };
    ak_box              whole = box;
    bool                sampled = false, looked = false;
    bool                strange = v->field->slot >= 0 && !v->field->as_bytes;
    for (int c = 0; c < p.channels; c++)
        p.plane[c] = viewer->memory + l.planes_at + (size_t)c * l.plane;
    for (int k = 0;; k++) {
        const ak_augment *a = &list[k];
        const ak_draws    draws = { v->views->seed, ak__stream((uint64_t)v->epoch,
                                                               (uint64_t)v->item,
                                                               (uint64_t)v->view, (uint64_t)k) };
        if (a->kind && a->kind->look) {
            a->kind->look(&box, a->option, draws);
            if (!box_inside(&box, whole.height, whole.width)) {
                fault->what = AK__FAULT_BOX;
                fault->kind = a->kind;
                fault->box = box;
                fault->height = whole.height;
                fault->width = whole.width;
                return false;
            }
            looked = true;
            continue;
        }
        if (!sampled)
            sample_item(viewer, &l, v, box, &p);
        else if (looked)
            sample_planes(viewer, &l, box, &p);
        sampled = true;
        looked = false;
        box = whole = (ak_box){ 0, 0, p.height, p.width, false };
        if (!a->kind)
            break;
        if (strange && a->kind->unit_range && !planes_inside(&p, &fault->value)) {
            fault->what = AK__FAULT_RANGE;
            fault->kind = a->kind;
            return false;
        }
        strange = strange || !ak__augment_own(a->kind);
        a->kind->change(&p, a->option, draws);
    }
    write_item(v->field, &p, v->reals);
    return true;
}

/* Has a change left a length that is possible? */
static bool length_fits(const ak__view *v, const ak_augment_kind *kind, int64_t length,
                        ak__fault *fault)
{
    const int64_t least = v->field->varies ? 0 : 1, most = v->field->steps;
    if (length >= least && length <= most)
        return true;
    fault->what = AK__FAULT_LENGTH;
    fault->kind = kind;
    snprintf(fault->text, sizeof fault->text, "length %lld, where %lld to %lld are possible,",
             (long long)length, (long long)least, (long long)most);
    return false;
}

/* A vector or a sequence. */
static bool make_sequence(ak__view *v, ak__fault *fault)
{
    const ak_augment *list = v->views->lists[v->view];
    ak_sequence       x = { .data = v->reals, .length = v->raw->length, .width = v->field->width,
                            .most = v->field->steps };
    ak__field_scaled(v->field, v->raw, v->reals);
    for (int k = 0; list && list[k].kind; k++) {
        list[k].kind->sequence(&x, list[k].option,
                               (ak_draws){ v->views->seed,
                                           ak__stream((uint64_t)v->epoch, (uint64_t)v->item,
                                                      (uint64_t)v->view, (uint64_t)k) });
        x = (ak_sequence){ v->reals, x.length, v->field->width, v->field->steps };
        if (!length_fits(v, list[k].kind, x.length, fault))
            return false;
    }
    ak__field_normal(v->field, v->reals, x.length * x.width);
    v->length = x.length;
    return true;
}

static bool make_tokens(ak__view *v, ak__fault *fault)
{
    const ak_augment *list = v->views->lists[v->view];
    ak_token_list     x = { .data = v->whole, .length = v->raw->length, .most = v->field->steps,
                            .tokenizer = v->field->tokenizer };
    memcpy(v->whole, v->raw->whole, (size_t)v->raw->length * sizeof *v->whole);
    for (int k = 0; list && list[k].kind; k++) {
        list[k].kind->tokens(&x, list[k].option,
                             (ak_draws){ v->views->seed,
                                         ak__stream((uint64_t)v->epoch, (uint64_t)v->item,
                                                    (uint64_t)v->view, (uint64_t)k) });
        x = (ak_token_list){ v->whole, x.length, v->field->steps, v->field->tokenizer };
        if (!length_fits(v, list[k].kind, x.length, fault))
            return false;
        for (int64_t t = 0; t < x.length; t++)
            if (x.data[t] < 0) {
                fault->what = AK__FAULT_TOKEN;
                fault->kind = list[k].kind;
                fault->value = (double)x.data[t];
                return false;
            }
    }
    v->length = x.length;
    return true;
}

bool ak__view_make(const ak__viewer *viewer, ak__view *v, ak__fault *fault)
{
    fault->what = AK__NO_FAULT;     /* the rest is set where there is one */
    fault->item = v->item;
    fault->view = v->view;
    fault->field = v->place;
    v->length = 1;
    switch (v->field->kind) {
    case AK_FIELD_PICTURE:
        if (v->views->lists[v->view])
            return make_picture(viewer, v, fault);
        ak__field_plain(v->field, v->raw, v->reals);
        return true;
    case AK_FIELD_VECTOR:
    case AK_FIELD_SEQUENCE:
        return make_sequence(v, fault);
    case AK_FIELD_TOKENS:
        return make_tokens(v, fault);
    case AK_FIELD_NUMBERS:
        ak__field_plain(v->field, v->raw, v->reals);
        return true;
    case AK_FIELD_LABELS:
    case AK_FIELD_ID:
        memcpy(v->whole, v->raw->whole, (size_t)v->field->numbers * sizeof *v->whole);
        return true;
    }
    return true;
}

/* ---- checks and the public view -------------------------------------------------------------- */

int ak__augment_count(const ak_augment *list)
{
    int n = 0;
    while (list && n <= AK__LIST_MAX && list[n].kind)
        n++;
    return n;
}

/* Smallest and largest number of reals of the set's items, as they are stored; found once. */
static void find_range(const ak_dataset *ds, ak__field *f)
{
    const int64_t n = f->numbers;
    f->not_finite = -1;
    f->lowest = f->highest = f->reals[ak__row_of(&ds->part[f->part], 0) * n];
    for (int64_t i = 0; i < ds->size; i++) {
        const ak_real *restrict x = f->reals + ak__row_of(&ds->part[f->part], i) * n;
        ak_real lo = f->lowest, hi = f->highest, zero = 0;
        for (int64_t k = 0; k < n; k++) {
            lo = x[k] < lo ? x[k] : lo;
            hi = x[k] > hi ? x[k] : hi;
            zero += x[k] - x[k];                /* NaN for infinities and NaN */
        }
        f->lowest = lo;
        f->highest = hi;
        if (isnan(zero) && f->not_finite < 0)
            f->not_finite = i;
    }
    f->range_known = true;
}

/* Pictures of bytes are in [0, 1]; reals may be anything, and clamping would hide that. Those of a
 * callback are looked at when they are there. */
static ak_status check_range(ak_dataset *ds, int field, const char *who,
                             const ak_augment_kind *kind)
{
    ak__field *f = ds->field[field];
    if (!f->reals)
        return AK_OK;
    if (!f->range_known)
        find_range(ds, f);
    if (f->not_finite >= 0)
        return ak_fail(ds->ctx, AK_ERR_NUMBER, "%s: %s needs values in [0, 1]; item %lld of "
                       "\"%s\" holds numbers that are not finite; repair the data or leave the "
                       "item out", who, kind->name, (long long)f->not_finite, ds->name);
    ak__reader r;
    ak__reader_open(&r, ds);
    const ak__field *now = &r.field[field];
    const ak_real    lo = now->scale ? (now->lowest - now->offset) * now->factor : now->lowest;
    const ak_real    hi = now->scale ? (now->highest - now->offset) * now->factor : now->highest;
    if (lo >= -ROUNDING && hi <= 1 + ROUNDING)
        return AK_OK;
    return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s needs values in [0, 1]; those of \"%s\" go from "
                   "%g to %g\n    hint: ak_dataset_scale(ds, 0, 255) reads 0..255 as 0..1; a mean "
                   "and a deviation (ak_dataset_normalize) are applied after the augmentations",
                   who, kind->name, ds->name, (double)lo, (double)hi);
}

/* What a kind of augmentation works on. */
static bool kind_fits(const ak_augment_kind *kind, ak_field_kind field)
{
    return field == AK_FIELD_PICTURE ? kind->look || kind->change
         : field == AK_FIELD_TOKENS  ? kind->tokens != NULL : kind->sequence != NULL;
}

static ak_status kind_misfit(ak_dataset *ds, int field, const char *who,
                             const ak_augment_kind *kind)
{
    const ak__field *f = ds->field[field];
    char             text[AK_SHAPE_TEXT];
    if (kind->look || kind->change)
        return ak_fail(ds->ctx, AK_ERR_SHAPE, "%s: %s needs pictures [H, W, C] of at most %d "
                       "channels; items of \"%s\" are %s (field \"%s\")", who, kind->name,
                       AK_MAX_CHANNELS, ds->name, ak_shape_text(f->item, text), f->name);
    return ak_fail(ds->ctx, AK_ERR_SHAPE, "%s: %s is for %s; field \"%s\" of \"%s\" is of another "
                   "kind", who, kind->name, kind->tokens ? "token ids" : "vectors and sequences",
                   f->name, ds->name);
}

ak_status ak__augment_check(ak_dataset *ds, int field, const char *who, const ak_augment *list)
{
    const int n = ak__augment_count(list);
    int       sizes = 0;
    if (n > AK__LIST_MAX)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: more than %d augmentations in a list: does it "
                       "end with { 0 }?", who, AK__LIST_MAX);
    for (int k = 0; k < n; k++) {
        const ak_augment_kind *kind = list[k].kind;
        if (!!kind->look + !!kind->change + !!kind->sequence + !!kind->tokens != 1)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: augmentation \"%s\" must have one of look, "
                           "change, sequence and tokens", who, kind->name);
        if (!kind_fits(kind, ds->field[field]->kind) ||
            (ds->field[field]->kind == AK_FIELD_PICTURE &&
             ds->field[field]->channels > AK_MAX_CHANNELS))
            return kind_misfit(ds, field, who, kind);
        const char *wrong = kind->check ? kind->check(list[k].option) : NULL;
        if (!wrong && kind->tokens_check)
            wrong = kind->tokens_check(ds->field[field]->tokenizer);
        if (wrong)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s (entry %d of the list): %s; given: %g, "
                           "%g, %g, %g, %g, %g", who, kind->name, k, wrong, list[k].option[0],
                           list[k].option[1], list[k].option[2], list[k].option[3],
                           list[k].option[4], list[k].option[5]);
        int64_t height, width;
        sizes += ak__augment_size((const ak_augment[]){ list[k], { 0 } }, &height, &width);
        if (sizes > 1)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s (entry %d of the list) stands there a "
                           "second time", who, kind->name, k);
        const ak_status range = kind->unit_range ? check_range(ds, field, who, kind) : AK_OK;
        if (range)
            return range;
    }
    return AK_OK;
}

ak_status ak__views_open(ak__views *v, ak_dataset *ds, int f, const char *who, int views,
                         const ak_augment *const *lists, uint64_t seed)
{
    const ak__field *field = ds->field[f];
    char             a[AK_SHAPE_TEXT];
    *v = (ak__views){ .views = views, .seed = seed };
    if (field != ak__dataset_main(ds))      /* others draw other numbers */
        v->seed ^= ak__hash_bytes(AK__HASH_START, field->name, strlen(field->name));
    for (int view = 0; view < views; view++) {
        const ak_augment *list = lists ? lists[view] : NULL;
        const ak_status   status = ak__augment_check(ds, f, who, list);
        if (status)
            return status;
        v->lists[view] = ak__augment_count(list) ? list : NULL;
        v->item[view] = field->item;
        if (ak__augment_size(list, &v->item[view].dims[0], &v->item[view].dims[1]) &&
            v->item[view].dims[0] * v->item[view].dims[1] > AK__MOST_NUMBERS / field->channels)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: views %s of field \"%s\" have too many "
                           "numbers", who, ak_shape_text(v->item[view], a), field->name);
        v->numbers[view] = ak_shape_size(v->item[view]);
    }
    return AK_OK;
}

static bool make_item(const ak__reader *r, int f, const ak__views *views, int64_t epoch,
                      int64_t item, int view, ak_tensor *out)
{
    const ak_mark  mark = ak_mark_step(r->ctx);
    const size_t   numbers = ak__viewer_numbers(&r->field[f], views);
    ak__fault      fault;
    ak__raw        raw[AK_MAX_FIELDS];
    ak__viewer     viewer = { .memory = ak__step_alloc(r->ctx, (numbers + 1) * sizeof(ak_real)) };
    viewer.taps = ak__step_alloc(r->ctx, (ak__viewer_taps(views) + 1) * sizeof(int32_t));
    viewer.scratch = ak__step_alloc(r->ctx, r->scratch + 1);
    if (!viewer.memory || !viewer.taps || !viewer.scratch)
        return false;
    memset(viewer.memory, 0, numbers * sizeof *viewer.memory);
    ak__view v = { .field = &r->field[f], .place = f, .views = views, .epoch = epoch, .item = item,
                   .view = view, .raw = &raw[f], .reals = out->data };
    if (!ak__reader_item(r, item, viewer.scratch, raw, &fault) ||
        !ak__view_make(&viewer, &v, &fault)) {
        ak__fault_fail(r, "augment_item", &fault);
        return false;
    }
    return ak_release(r->ctx, mark) == AK_OK;
}

ak_tensor *ak_augment_item(ak_dataset *ds, const ak_augment *list, uint64_t seed, int64_t epoch,
                           int64_t item, int view)
{
    if (!AK__GIVEN(NULL, ds) || !AK__GIVEN(ds->ctx, list))
        return &ak__poison;
    if (!ak_error(ds->ctx) && (item < 0 || item >= ds->size || view < 0 || view >= AK_MAX_VIEWS ||
                               epoch < 0))
        ak_fail(ds->ctx, AK_ERR_VALUE, "augment_item: epoch %lld, item %lld, view %d: \"%s\" has "
                "%lld items, there are %d views at most, and epochs count from 0", (long long)epoch,
                (long long)item, view, ds->name, (long long)ds->size, AK_MAX_VIEWS);
    if (ak_error(ds->ctx))
        return &ak__poison;
    ak__reader r;
    ak__reader_open(&r, ds);
    if (r.main < 0 || r.field[r.main].kind > AK_FIELD_VECTOR) {
        ak_fail(ds->ctx, AK_ERR_SHAPE, "augment_item: the main field of \"%s\" is no picture and "
                "no vector", ds->name);
        return &ak__poison;
    }
    const ak_augment *lists[AK_MAX_VIEWS] = { 0 };
    ak__views         views;
    lists[view] = list;
    if (ak__views_open(&views, ds, r.main, "augment_item", view + 1, lists, seed))
        return &ak__poison;
    ak_tensor *out = ak__tensor_new(ds->ctx, views.item[view]);
    if (ak_is_poison(out) || !make_item(&r, r.main, &views, epoch, item, view, out))
        return &ak__poison;
    return out;
}
