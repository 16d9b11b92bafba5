/* SPDX-License-Identifier: Apache-2.0 */
/* Making a view of an item: one resampling for all geometry, then the changes, then normalising. */
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

static viewer_layout layout_of(const ak_dataset *ds)
{
    viewer_layout l = { 0 };
    if (ds->item.n != 3)
        return l;
    const int64_t H = ds->item.dims[0], W = ds->item.dims[1], C = ds->item.dims[2];
    l.plane = (size_t)(ak__lanes(H * W) + AK__LANES);
    l.line = (size_t)(ak__lanes(W * C) + AK__LANES);
    l.row = (size_t)(ak__lanes(W) + AK__LANES);
    l.scratch_at = l.plane * (size_t)C;
    l.line_at = l.scratch_at + l.plane + l.row + EXTRA_LINE;
    l.pixels_at = l.line_at + l.line;
    l.rows_at = l.pixels_at + GROUP * l.row;
    l.weights_at = l.rows_at + 2 * l.row * (size_t)C;
    l.total = l.weights_at + l.row;
    return l;
}

size_t ak__viewer_numbers(const ak_dataset *ds)
{
    return layout_of(ds).total;
}

size_t ak__viewer_taps(const ak_dataset *ds)
{
    return ds->item.n == 3 ? 2 * (size_t)ds->item.dims[1] : 0;
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

static resampler resampler_of(const ak__viewer *v, const viewer_layout *l, ak_box box)
{
    const int64_t H = v->ds->item.dims[0], W = v->ds->item.dims[1];
    return (resampler){ .box = box, .height = H, .width = W, .left = v->taps,
                        .right = v->taps + W, .weight = v->memory + l->weights_at,
                        .line = v->memory + l->line_at, .pixels = v->memory + l->pixels_at,
                        .rows = v->memory + l->rows_at, .row_size = l->row };
}

/* From the data set's item. */
static void sample_item(const ak__viewer *v, const viewer_layout *l, int64_t i, ak_box box,
                        ak_picture *p)
{
    const ak_dataset *ds = v->ds;
    resampler         r = resampler_of(v, l, box);
    r.from = (pixel_source){ .bytes = ds->bytes ? ds->bytes + i * ds->item_size : NULL,
                             .reals = ds->bytes ? NULL : ds->reals + i * ds->item_size,
                             .scale = ds->scale, .offset = ds->offset, .factor = ds->factor,
                             .width = r.width, .channels = ds->channels };
    resample(&r, p->plane);
}

/* Geometry that comes after changes: from the planes, by way of scratch. */
static void sample_planes(const ak__viewer *v, const viewer_layout *l, ak_box box, ak_picture *p)
{
    resampler r = resampler_of(v, l, box);
    for (int c = 0; c < p->channels; c++) {
        r.from = (pixel_source){ .reals = p->plane[c], .width = r.width, .channels = 1 };
        resample(&r, &p->scratch);
        memcpy(p->plane[c], p->scratch, (size_t)(r.height * r.width) * sizeof *p->scratch);
    }
}

/* Planes to interleaved pixels, normalised; mean 0 and deviation 1 change no bit. */
AK__PIXELS static void write_item(const ak_dataset *ds, const ak_picture *p, ak_real *restrict out)
{
    const int64_t n = p->height * p->width;
    if (p->channels == 1) {
        const ak_real *restrict x = p->plane[0];
        const ak_real           m = ds->mean[0], s = ds->inverse_std[0];
        for (int64_t i = 0; i < n; i++)
            out[i] = (x[i] - m) * s;
    } else if (p->channels == 3) {
        const ak_real *restrict r = p->plane[0], *restrict g = p->plane[1];
        const ak_real *restrict b = p->plane[2];
        const ak_real m0 = ds->mean[0], m1 = ds->mean[1], m2 = ds->mean[2];
        const ak_real s0 = ds->inverse_std[0], s1 = ds->inverse_std[1], s2 = ds->inverse_std[2];
        for (int64_t i = 0; i < n; i++) {
            out[3 * i] = (r[i] - m0) * s0;
            out[3 * i + 1] = (g[i] - m1) * s1;
            out[3 * i + 2] = (b[i] - m2) * s2;
        }
    } else {
        for (int c = 0; c < p->channels; c++)
            for (int64_t i = 0; i < n; i++)
                out[i * p->channels + c] = (p->plane[c][i] - ds->mean[c]) * ds->inverse_std[c];
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

ak_status ak__view_fail(const ak_dataset *ds, const char *who, const ak__view_fault *f)
{
    if (f->kind->look)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s made a box of rows %lld + %lld and columns "
                       "%lld + %lld, which is not inside of item %lld (view %d) of \"%s\": %lld "
                       "rows, %lld columns", who, f->kind->name, (long long)f->box.y,
                       (long long)f->box.height, (long long)f->box.x, (long long)f->box.width,
                       (long long)f->item, f->view, ds->name, (long long)ds->item.dims[0],
                       (long long)ds->item.dims[1]);
    return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s needs values in [0, 1]; an augmentation before "
                   "it made %g of item %lld (view %d) of \"%s\"", who, f->kind->name, f->value,
                   (long long)f->item, f->view, ds->name);
}

/* ---- a view ---------------------------------------------------------------------------------- */

bool ak__viewer_make(const ak__viewer *v, int64_t epoch, int64_t i, int view, ak_real *out,
                     ak__view_fault *fault)
{
    const ak_augment *list = v->lists ? v->lists[view] : NULL;
    if (!list || !list->kind) {
        ak__dataset_plain(v->ds, i, out);
        return true;
    }
    const viewer_layout l = layout_of(v->ds);
    const int64_t       H = v->ds->item.dims[0], W = v->ds->item.dims[1];
    const ak_box        whole = { 0, 0, H, W, false };
    ak_box              box = whole;
    bool                sampled = false, looked = false, strange = false;
    ak_picture          p = { .height = H, .width = W, .channels = v->ds->channels,
                              .scratch = v->memory + l.scratch_at };
    for (int c = 0; c < p.channels; c++)
        p.plane[c] = v->memory + l.planes_at + (size_t)c * l.plane;
    for (int k = 0;; k++) {
        const ak_augment *a = &list[k];
        const ak_draws    draws = { v->seed, ak__stream((uint64_t)epoch, (uint64_t)i,
                                                        (uint64_t)view, (uint64_t)k) };
        *fault = (ak__view_fault){ .kind = a->kind, .item = i, .view = view };
        if (a->kind && a->kind->look) {
            a->kind->look(&box, a->option, draws);
            fault->box = box;
            if (!box_inside(&box, H, W))
                return false;
            looked = true;
            continue;
        }
        if (!sampled)
            sample_item(v, &l, i, box, &p);
        else if (looked)
            sample_planes(v, &l, box, &p);
        sampled = true;
        looked = false;
        box = whole;
        if (!a->kind)
            break;
        if (strange && a->kind->unit_range && !planes_inside(&p, &fault->value))
            return false;
        strange = strange || !ak__augment_own(a->kind);
        a->kind->change(&p, a->option, draws);
    }
    write_item(v->ds, &p, out);
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

/* Smallest and largest number of reals, as they are stored; found once. */
static void find_range(ak_dataset *ds)
{
    const int64_t n = ds->item_size;
    ds->not_finite = -1;
    ds->lowest = ds->highest = ds->reals[0];
    for (int64_t i = 0; i < ds->size; i++) {
        const ak_real *restrict x = ds->reals + i * n;
        ak_real lo = ds->lowest, hi = ds->highest, zero = 0;
        for (int64_t k = 0; k < n; k++) {
            lo = x[k] < lo ? x[k] : lo;
            hi = x[k] > hi ? x[k] : hi;
            zero += x[k] - x[k];                /* NaN for infinities and NaN */
        }
        ds->lowest = lo;
        ds->highest = hi;
        if (isnan(zero) && ds->not_finite < 0)
            ds->not_finite = i;
    }
    ds->range_known = true;
}

/* Pictures of bytes are in [0, 1]; reals may be anything, and clamping would hide that. */
static ak_status check_range(ak_dataset *ds, const char *who, const ak_augment_kind *kind)
{
    if (ds->bytes)
        return AK_OK;
    if (!ds->range_known)
        find_range(ds);
    if (ds->not_finite >= 0)
        return ak_fail(ds->ctx, AK_ERR_NUMBER, "%s: %s needs values in [0, 1]; item %lld of "
                       "\"%s\" holds numbers that are not finite; repair the data or leave the "
                       "item out", who, kind->name, (long long)ds->not_finite, ds->name);
    const ak_dataset now = ak__dataset_settled(ds);
    const ak_real    lo = now.scale ? (now.lowest - now.offset) * now.factor : now.lowest;
    const ak_real    hi = now.scale ? (now.highest - now.offset) * now.factor : now.highest;
    if (lo >= -ROUNDING && hi <= 1 + ROUNDING)
        return AK_OK;
    return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s needs values in [0, 1]; those of \"%s\" go from "
                   "%g to %g\n    hint: ak_dataset_scale(ds, 0, 255) reads 0..255 as 0..1; a mean "
                   "and a deviation (ak_dataset_normalize) are applied after the augmentations",
                   who, kind->name, ds->name, (double)lo, (double)hi);
}

ak_status ak__augment_check(ak_dataset *ds, const char *who, const ak_augment *list)
{
    const int n = ak__augment_count(list);
    if (n > AK__LIST_MAX)
        return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: more than %d augmentations in a list: does it "
                       "end with { 0 }?", who, AK__LIST_MAX);
    char      text[AK_SHAPE_TEXT];
    if (n && (ds->item.n != 3 || ds->channels > AK_MAX_CHANNELS))
        return ak_fail(ds->ctx, AK_ERR_SHAPE, "%s: %s needs pictures [H, W, C] of at most %d "
                       "channels; items of \"%s\" are %s", who, list[0].kind->name,
                       AK_MAX_CHANNELS, ds->name, ak_shape_text(ds->item, text));
    for (int k = 0; k < n; k++) {
        const ak_augment_kind *kind = list[k].kind;
        if (!kind->look == !kind->change)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: augmentation \"%s\" must have one of look "
                           "and change", who, kind->name);
        const char *wrong = kind->check ? kind->check(list[k].option) : NULL;
        if (wrong)
            return ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %s (entry %d of the list): %s; given: %g, "
                           "%g, %g, %g, %g", who, kind->name, k, wrong, list[k].option[0],
                           list[k].option[1], list[k].option[2], list[k].option[3],
                           list[k].option[4]);
        const ak_status range = kind->unit_range ? check_range(ds, who, kind) : AK_OK;
        if (range)
            return range;
    }
    return AK_OK;
}

static ak_status make_item(ak_dataset *ds, const ak_augment *list, uint64_t seed, int64_t epoch,
                           int64_t item, int view, ak_tensor *out)
{
    const size_t     numbers = ak__viewer_numbers(ds), taps = ak__viewer_taps(ds);
    const ak_dataset now = ak__dataset_settled(ds);
    const ak_mark    mark = ak_mark_step(ds->ctx);
    ak__view_fault   fault;
    ak__viewer       v = { .ds = &now, .seed = seed };
    v.memory = ak__step_alloc(ds->ctx, (numbers + 1) * sizeof *v.memory);
    v.taps = ak__step_alloc(ds->ctx, (taps + 1) * sizeof *v.taps);
    const ak_augment *lists[AK_MAX_VIEWS] = { 0 };
    lists[view] = list;
    v.lists = lists;
    if (!v.memory || !v.taps)
        return AK_ERR_MEMORY;
    memset(v.memory, 0, numbers * sizeof *v.memory);
    if (!ak__viewer_make(&v, epoch, item, view, out->data, &fault))
        return ak__view_fail(ds, "augment_item", &fault);
    return ak_release(ds->ctx, mark);
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
    if (!ak_error(ds->ctx))
        ak__augment_check(ds, "augment_item", list);
    if (ak_error(ds->ctx))
        return &ak__poison;
    ak_tensor *out = ak__tensor_new(ds->ctx, ds->item);
    if (ak_is_poison(out) || make_item(ds, list, seed, epoch, item, view, out))
        return &ak__poison;
    return out;
}
