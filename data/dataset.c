/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets: items of one shape in memory, with labels; where they come from and what they
 * hand out. */
#include "data/dataset.h"

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "io/array.h"
#include "io/file.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FOLDERS 2               /* places that ak_dataset_find looks at */

/* ---- making ---------------------------------------------------------------------------------- */

ak_dataset *ak__dataset_new(ak_ctx *ctx, const char *name, int64_t size, ak_shape item,
                            const uint8_t *bytes, const ak_real *reals, const int32_t *labels)
{
    ak_dataset *ds = ak__ctx_alloc(ctx, sizeof *ds);
    if (!ds || !(ds->name = ak__ctx_strdup(ctx, name)))
        return NULL;
    ds->ctx = ctx;
    ds->size = size;
    ds->item = item;
    ds->item_size = ak_shape_size(item);
    ds->channels = (int)(item.n ? item.dims[item.n - 1] : 1);
    ds->bytes = bytes;
    ds->reals = reals;
    ds->labels = labels;
    ds->factor = 1;
    for (int c = 0; c < AK_MAX_CHANNELS; c++)
        ds->inverse_std[c] = 1;
    for (int64_t i = 0; labels && i < size; i++) {
        if (labels[i] < -1) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: label %d of item %lld is below -1 (which means "
                    "unknown)", name, labels[i], (long long)i);
            return NULL;
        }
        if (labels[i] >= ds->classes)
            ds->classes = (int64_t)labels[i] + 1;
    }
    for (int64_t i = 0; reals && ctx->check_numbers && i < size * ds->item_size; i++)
        if (!isfinite(reals[i])) {
            ak_fail(ctx, AK_ERR_NUMBER, "%s: item %lld holds %g (number %lld of it); repair the "
                    "data or leave the item out", name, (long long)(i / ds->item_size),
                    (double)reals[i], (long long)(i % ds->item_size));
            return NULL;
        }
    return ds;
}

/* Batches, item numbers and channel counts are 32-bit. */
#define MOST_ITEMS   INT32_MAX
#define MOST_NUMBERS (INT32_MAX / 2)    /* of an item */

/* Shape of one item of [N, ..]: [N, H, W] gets a channel, [N] is [N, 1]. False: no such set. */
static bool item_shape(ak_ctx *ctx, const char *name, ak_shape all, ak_shape *item)
{
    char text[AK_SHAPE_TEXT];
    *item = (ak_shape){ .n = all.n - 1 };
    bool    fine = all.n >= 1 && all.n <= AK_MAX_DIMS, small = true;
    int64_t numbers = 1;
    for (int i = 0; fine && i < all.n; i++) {
        fine = all.dims[i] >= 1;
        if (i > 0 && fine) {
            small = small && numbers <= MOST_NUMBERS / all.dims[i];
            numbers *= small ? all.dims[i] : 1;
            item->dims[i - 1] = all.dims[i];
        }
    }
    if (!fine) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: [N, H, W, C], [N, H, W], [N, D] or [N] with at least one "
                "item is needed; the shape is %s", name, ak_shape_text(all, text));
        return false;
    }
    if (!small || all.dims[0] > MOST_ITEMS) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: the shape is %s; at most %d items of at most %d numbers "
                "are possible", name, ak_shape_text(all, text), MOST_ITEMS, MOST_NUMBERS);
        return false;
    }
    if (all.n == 1 || all.n == 3)
        item->dims[item->n++] = 1;
    return true;
}

/* Context memory for n elements, padded so that blocks of AK__LANES may be read to the end. */
static void *items_alloc(ak_ctx *ctx, int64_t n, size_t size)
{
    return ak__ctx_alloc(ctx, ((size_t)n + AK__LANES) * size);
}

static const uint8_t *copy_bytes(ak_ctx *ctx, const void *from, int64_t n)
{
    uint8_t *to = items_alloc(ctx, n, 1);
    if (to)
        memcpy(to, from, (size_t)n);
    return to;
}

static const int32_t *copy_labels(ak_ctx *ctx, const int32_t *from, int64_t n)
{
    int32_t *to = ak__ctx_alloc(ctx, (size_t)n * sizeof *to);
    if (to)
        memcpy(to, from, (size_t)n * sizeof *to);
    return to;
}

ak_dataset *ak_dataset_memory(ak_ctx *ctx, const uint8_t *pictures, ak_shape shape,
                              const int32_t *labels)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, pictures))
        return NULL;
    ak_shape item;
    if (ak_error(ctx) || !item_shape(ctx, "dataset_memory", shape, &item))
        return NULL;
    const uint8_t *bytes = copy_bytes(ctx, pictures, ak_shape_size(shape));
    const int32_t *own = bytes && labels ? copy_labels(ctx, labels, shape.dims[0]) : NULL;
    return bytes && (own || !labels)
        ? ak__dataset_new(ctx, "pictures in memory", shape.dims[0], item, bytes, NULL, own) : NULL;
}

ak_dataset *ak_dataset_tensor(ak_ctx *ctx, const ak_tensor *items, const int32_t *labels)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__TENSOR(ctx, items))
        return NULL;
    ak_shape item;
    if (ak_error(ctx) || !item_shape(ctx, "dataset_tensor", items->shape, &item))
        return NULL;
    ak_real *reals = items_alloc(ctx, items->size, sizeof *reals);
    if (!reals)
        return NULL;
    memcpy(reals, items->data, (size_t)items->size * sizeof *reals);
    const int32_t *own = labels ? copy_labels(ctx, labels, items->shape.dims[0]) : NULL;
    return own || !labels ? ak__dataset_new(ctx, items->name ? items->name : "items in memory",
                                            items->shape.dims[0], item, NULL, reals, own) : NULL;
}

/* Are there `count` items from `start` on, and at least `least`? Sums of numbers from outside could
 * pass the end of int64_t, so there are none here. */
static bool range_fits(ak_dataset *ds, const char *who, int64_t start, int64_t count, int64_t least)
{
    if (ak_error(ds->ctx))
        return false;
    if (start >= 0 && count >= least && start <= ds->size - count)
        return true;
    ak_fail(ds->ctx, AK_ERR_VALUE, "%s: %lld items from %lld on are not in \"%s\", which has %lld",
            who, (long long)count, (long long)start, ds->name, (long long)ds->size);
    return false;
}

ak_dataset *ak_dataset_subset(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !range_fits(ds, "dataset_subset", start, count, 1))
        return NULL;
    ak_dataset *part = ak__ctx_alloc(ds->ctx, sizeof *part);
    char        name[512];
    if (!part)
        return NULL;
    *part = *ds;
    part->parent = ds;
    part->own_scale = part->own_normal = part->range_known = false;
    snprintf(name, sizeof name, "%s, items %lld .. %lld", ds->name, (long long)start,
             (long long)(start + count - 1));
    if (!(part->name = ak__ctx_strdup(ds->ctx, name)))
        return NULL;
    part->size = count;
    part->bytes = ds->bytes ? ds->bytes + start * ds->item_size : NULL;
    part->reals = ds->reals ? ds->reals + start * ds->item_size : NULL;
    part->labels = ds->labels ? ds->labels + start : NULL;
    return part;
}

/* ---- IDX ------------------------------------------------------------------------------------- */

/* The file of a set that exists: kind is "images" or "labels"; false if there is none. */
static bool idx_path(const char *dir, const char *prefix, const char *kind, char *path,
                     size_t room)
{
    static const char axes[] = { '3', '4', '1' };
    const char *const prefixes[] = { prefix, strcmp(prefix, "test") == 0 ? "t10k" : NULL };
    for (int p = 0; p < 2 && prefixes[p]; p++)
        for (size_t a = 0; a < sizeof axes; a++)
            for (int form = 0; form < 4; form++) {
                if ((axes[a] == '1') != (kind[0] == 'l'))
                    continue;
                const int n = snprintf(path, room, "%s/%s-%s%sidx%c-ubyte%s", dir, prefixes[p],
                                       kind, form & 2 ? "." : "-", axes[a], form & 1 ? ".gz" : "");
                if (n > 0 && (size_t)n < room && ak__file_exists(path))
                    return true;
            }
    return false;
}

static bool idx_load(ak_ctx *ctx, const char *dir, const char *prefix, const char *kind,
                     char *path, size_t room, ak__bytes *file, ak__idx *idx)
{
    if (!idx_path(dir, prefix, kind, path, room)) {
        const bool pictures = kind[0] == 'i';
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s/%s-%s-idx%d-ubyte: no such file, nor with .gz, nor "
                "spelled %s.idx%d; check the folder, or install Debian's dataset-fashion-mnist "
                "and use /usr/share/datasets/fashion-mnist", dir, prefix, kind, pictures ? 3 : 1,
                kind, pictures ? 3 : 1);
        return false;
    }
    if (ak__file_read(ctx, path, AK__IDX_EXPECTED, file))
        return false;
    if (ak__idx_parse(ctx, path, file->data, file->n, idx)) {
        ak__bytes_free(file);
        return false;
    }
    char text[AK_SHAPE_TEXT];
    const bool fine = idx->type == AK_TYPE_U8 &&
                      (kind[0] == 'i' ? idx->shape.n == 3 || idx->shape.n == 4 : idx->shape.n == 1);
    if (!fine) {
        ak_fail(ctx, AK_ERR_FORMAT, "%s: holds %s of type %s; %s of type u1 were expected", path,
                ak_shape_text(idx->shape, text), ak_type_name(idx->type),
                kind[0] == 'i' ? "pictures [N, H, W] or [N, H, W, C]" : "labels [N]");
        ak__bytes_free(file);
    }
    return fine;
}

static ak_dataset *idx_dataset(ak_ctx *ctx, const char *pictures, const ak__idx *x,
                               const char *labels, const ak__idx *y)
{
    ak_shape item;
    if (x->shape.dims[0] != y->shape.dims[0]) {
        ak_fail(ctx, AK_ERR_FORMAT, "%s: has %lld labels, but %s has %lld pictures; the two files "
                "must be of the same set, fetch both again", labels, (long long)y->shape.dims[0],
                pictures, (long long)x->shape.dims[0]);
        return NULL;
    }
    if (!item_shape(ctx, pictures, x->shape, &item))
        return NULL;
    const int64_t  n = x->shape.dims[0];
    const uint8_t *bytes = copy_bytes(ctx, x->data, (int64_t)x->bytes);
    int32_t       *own = bytes ? ak__ctx_alloc(ctx, (size_t)n * sizeof *own) : NULL;
    if (!own)
        return NULL;
    for (int64_t i = 0; i < n; i++)
        own[i] = y->data[i];
    return ak__dataset_new(ctx, pictures, n, item, bytes, NULL, own);
}

ak_dataset *ak_dataset_idx(ak_ctx *ctx, const char *dir, const char *prefix)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, dir) || !AK__GIVEN(ctx, prefix))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    if (!*dir || !*prefix) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_idx: a folder and what the file names begin with "
                "(\"train\", \"t10k\") are needed");
        return NULL;
    }
    char        x_path[4096], y_path[4096];
    ak__bytes   x_file, y_file;
    ak__idx     x, y;
    ak_dataset *ds = NULL;
    if (!idx_load(ctx, dir, prefix, "images", x_path, sizeof x_path, &x_file, &x))
        return NULL;
    if (idx_load(ctx, dir, prefix, "labels", y_path, sizeof y_path, &y_file, &y)) {
        ds = idx_dataset(ctx, x_path, &x, y_path, &y);
        ak__bytes_free(&y_file);
    }
    ak__bytes_free(&x_file);
    return ds;
}

/* The value of AK_DATA, NULL if it is not set. */
static const char *named_folder(void)
{
    const char *own = getenv("AK_DATA");
    return own && *own ? own : NULL;
}

/* The k-th folder where a set of this name may lie; false if it cannot be. Whoever names a folder
 * wants that one: no other place is looked at. */
static bool folder(int k, const char *name, char *path, size_t room)
{
    const char *own = named_folder();
    int         n;
    if (k == 0)
        n = own ? snprintf(path, room, "%s/%s", own, name) : snprintf(path, room, "data/%s", name);
    else
        n = own ? snprintf(path, room, "%s", own)
                : snprintf(path, room, "/usr/share/datasets/%s", name);
    return n > 0 && (size_t)n < room;
}

char *ak_dataset_find(const char *name, char *buf, size_t size)
{
    if (!AK__GIVEN(NULL, name) || !AK__GIVEN(NULL, buf))
        return NULL;
    char path[4096];
    for (int k = 0; k < FOLDERS; k++)
        if (folder(k, name, buf, size) && idx_path(buf, "train", "images", path, sizeof path))
            return buf;
    return NULL;
}

ak_dataset *ak_dataset_fashion_mnist(ak_ctx *ctx, const char *split)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, split))
        return NULL;
    static const char *const names[] = { "T-shirt/top", "trouser", "pullover", "dress", "coat",
                                         "sandal", "shirt", "sneaker", "bag", "ankle boot", NULL };
    if (ak_error(ctx))
        return NULL;
    if (strcmp(split, "train") && strcmp(split, "test") && strcmp(split, "t10k")) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_fashion_mnist: there is no part \"%s\"; \"train\" and "
                "\"test\" are known", split);
        return NULL;
    }
    char dir[4096];
    if (!ak_dataset_find("fashion-mnist", dir, sizeof dir)) {
        const char *own = named_folder();
        if (own)
            ak_fail(ctx, AK_ERR_NOT_FOUND, "Fashion-MNIST was not found where AK_DATA says: there "
                    "is no train-images-idx3-ubyte(.gz) in %s/fashion-mnist or %s\n"
                    "    hint: correct AK_DATA, or unset it to use the installed one", own, own);
        else
            ak_fail(ctx, AK_ERR_NOT_FOUND, "Fashion-MNIST was not found in data/fashion-mnist or "
                    "/usr/share/datasets/fashion-mnist\n    hint: on Debian: apt install "
                    "dataset-fashion-mnist; or name its folder in AK_DATA; or use "
                    "ak_dataset_drawn");
        return NULL;
    }
    ak_dataset *ds = ak_dataset_idx(ctx, dir, split);
    if (!ds)
        return NULL;
    char name[sizeof dir + 64];
    snprintf(name, sizeof name, "Fashion-MNIST, %s, from %s", split, dir);
    ds->name = ak__ctx_strdup(ctx, name);
    if (ds->classes <= 10) {
        ds->classes = 10;
        ds->class_names = names;
    }
    return ds->name ? ds : NULL;
}

/* ---- arrays and tables ----------------------------------------------------------------------- */

static const ak_array *need_array(ak_ctx *ctx, ak_npz *f, const char *path, const char *name)
{
    const ak_array *a = ak_npz_find(f, name);
    if (a || ak_error(ctx))
        return a;
    char     list[256];
    ak__text all = AK__TEXT(list);
    for (int64_t i = 0; i < ak_npz_count(f) && !all.cut; i++)
        ak__text_add(&all, "%s%s", i ? ", " : "", ak_npz_name(f, i));
    ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: has no array \"%s\"; it has: %s", path, name,
            *list ? list : "none");
    return NULL;
}

static const int32_t *array_labels(ak_ctx *ctx, const char *path, const ak_array *y, int64_t n)
{
    char text[AK_SHAPE_TEXT];
    if (y->size != n || y->shape.n < 1 || y->shape.dims[0] != n) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: labels \"%s\" are %s, but there are %lld items; [N] is "
                "needed", path, y->name, ak_shape_text(y->shape, text), (long long)n);
        return NULL;
    }
    int32_t *labels = ak__ctx_alloc(ctx, (size_t)n * sizeof *labels);
    for (int64_t i = 0; labels && i < n; i++) {
        const double v = ak_array_at(y, i);
        if (!(v >= -1 && v <= INT32_MAX) || v > floor(v)) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: label %lld of \"%s\" is %g; whole numbers from -1 on "
                    "are needed", path, (long long)i, y->name, v);
            return NULL;
        }
        labels[i] = (int32_t)v;
    }
    return labels;
}

static ak_dataset *npz_dataset(ak_ctx *ctx, ak_npz *f, const char *path, const char *items,
                               const char *labels)
{
    const ak_array *x = need_array(ctx, f, path, items);
    const ak_array *y = x && labels ? need_array(ctx, f, path, labels) : NULL;
    ak_shape        item;
    if (!x || (labels && !y) || !item_shape(ctx, path, x->shape, &item))
        return NULL;
    const int64_t  n = x->shape.dims[0];
    const int32_t *own = y ? array_labels(ctx, path, y, n) : NULL;
    const uint8_t *bytes = NULL;
    ak_real       *reals = NULL;
    if (y && !own)
        return NULL;
    const int64_t beyond = x->type == AK_TYPE_F64 ? ak__beyond_real(x->data, x->size) : -1;
    if (beyond >= 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: element %lld of \"%s\" is %g, beyond the range of the "
                "library's numbers; scale the array", path, (long long)beyond, x->name,
                ak_array_at(x, beyond));
        return NULL;
    }
    if (x->type == AK_TYPE_U8)
        bytes = copy_bytes(ctx, x->data, x->size);
    else if ((reals = items_alloc(ctx, x->size, sizeof *reals)))
        for (int64_t i = 0; i < x->size; i++)
            reals[i] = (ak_real)ak_array_at(x, i);
    return bytes || reals ? ak__dataset_new(ctx, path, n, item, bytes, reals, own) : NULL;
}

ak_dataset *ak_dataset_npz(ak_ctx *ctx, const char *path, const char *items, const char *labels)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path) || !AK__GIVEN(ctx, items))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    ak_npz     *f = ak_npz_open(ctx, path);
    ak_dataset *ds = f ? npz_dataset(ctx, f, path, items, labels) : NULL;
    ak_npz_close(f);
    return ds;
}

ak_dataset *ak_dataset_table(ak_ctx *ctx, const char *path, ak_table_options options)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, path))
        return NULL;
    const ak_table *t = ak_error(ctx) ? NULL : ak_table_read(ctx, path, options);
    if (!t)
        return NULL;
    ak_shape item;
    if (!item_shape(ctx, path, AK_SHAPE(t->rows, t->columns), &item))
        return NULL;
    const int64_t n = t->rows * t->columns;
    ak_real      *reals = items_alloc(ctx, n, sizeof *reals);
    if (!reals)
        return NULL;
    const int64_t beyond = ak__beyond_real(t->values, n);
    if (beyond >= 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: row %lld: %g in column \"%s\" is beyond the range of the "
                "library's numbers; scale the column, or leave it out with .skip", path,
                (long long)(beyond / t->columns) + 1, t->values[beyond],
                t->names[beyond % t->columns]);
        return NULL;
    }
    for (int64_t i = 0; i < n; i++)
        reals[i] = (ak_real)t->values[i];
    ak_dataset *ds = ak__dataset_new(ctx, path, t->rows, item, NULL, reals, t->labels);
    if (ds && t->labels) {
        ds->classes = t->classes;
        ds->class_names = t->class_names;
    }
    return ds;
}

/* ---- what a data set says -------------------------------------------------------------------- */

ak_ctx *ak_dataset_ctx(const ak_dataset *ds) { return ds ? ds->ctx : NULL; }
int64_t ak_dataset_size(const ak_dataset *ds) { return ds ? ds->size : 0; }
ak_shape ak_dataset_item(const ak_dataset *ds) { return ds ? ds->item : AK_SCALAR; }
int64_t ak_dataset_classes(const ak_dataset *ds) { return ds ? ds->classes : 0; }
const char *ak_dataset_name(const ak_dataset *ds) { return ds ? ds->name : "no data set"; }

int32_t ak_dataset_label(const ak_dataset *ds, int64_t i)
{
    if (!AK__GIVEN(NULL, ds))
        return -1;
    return ds && ds->labels && i >= 0 && i < ds->size ? ds->labels[i] : -1;
}

const char *ak_dataset_class_name(const ak_dataset *ds, int32_t label)
{
    if (!AK__GIVEN(NULL, ds))
        return "";
    static _Thread_local char number[16];
    if (ds && ds->class_names && label >= 0 && label < ds->classes)
        return ds->class_names[label];
    snprintf(number, sizeof number, "%d", (int)label);
    return number;
}

const char *const *ak_dataset_class_names(const ak_dataset *ds)
{
    return ds ? ds->class_names : NULL;
}

/* ---- how items are read ---------------------------------------------------------------------- */

ak_dataset ak__dataset_settled(const ak_dataset *ds)
{
    ak_dataset        now = *ds;
    const ak_dataset *by = ds;
    while (by->parent && !by->own_scale)
        by = by->parent;
    now.scale = by->scale;
    now.offset = by->offset;
    now.factor = by->factor;
    for (by = ds; by->parent && !by->own_normal; )
        by = by->parent;
    now.normalize = by->normalize;
    memcpy(now.mean, by->mean, sizeof now.mean);
    memcpy(now.inverse_std, by->inverse_std, sizeof now.inverse_std);
    now.parent = NULL;
    return now;
}

void ak__dataset_plain(const ak_dataset *ds, int64_t i, ak_real *restrict out)
{
    const int64_t n = ds->item_size;
    const int     C = ds->channels;
    if (ds->bytes) {
        const uint8_t *restrict x = ds->bytes + i * n;
        for (int64_t k = 0; k < n; k++)
            out[k] = (ak_real)x[k] * AK__BYTE_SCALE;
    } else {
        memcpy(out, ds->reals + i * n, (size_t)n * sizeof *out);
    }
    if (ds->scale)
        for (int64_t k = 0; k < n; k++)
            out[k] = (out[k] - ds->offset) * ds->factor;
    if (!ds->normalize)
        return;
    if (C == 3)
        for (int64_t k = 0; k < n; k += 3)
            for (int c = 0; c < 3; c++)
                out[k + c] = (out[k + c] - ds->mean[c]) * ds->inverse_std[c];
    else
        for (int c = 0; c < C; c++)
            for (int64_t k = c; k < n; k += C)
                out[k] = (out[k] - ds->mean[c]) * ds->inverse_std[c];
}

/* (x - shift) * factor must stay a number in ak_real, and tell numbers apart. */
static bool usable(double shift, double factor)
{
    return isfinite((ak_real)shift) && isfinite((ak_real)factor) && (ak_real)factor > 0;
}

ak_status ak_dataset_scale(ak_dataset *ds, double lo, double hi)
{
    if (!AK__GIVEN(NULL, ds))
        return ak__refused(NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    if (ds->bytes)
        return ak_fail(ds->ctx, AK_ERR_STATE, "dataset_scale: \"%s\" holds bytes, which are read "
                       "as [0, 1] already", ds->name);
    if (!(lo < hi) || !usable(lo, 1 / (hi - lo)))
        return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_scale: from %g to %g: finite numbers "
                       "lo < hi are needed", lo, hi);
    ds->own_scale = ds->scale = true;
    ds->offset = (ak_real)lo;
    ds->factor = (ak_real)(1 / (hi - lo));
    return AK_OK;
}

ak_status ak_dataset_normalize(ak_dataset *ds, const double *mean, const double *std)
{
    if (!AK__GIVEN(NULL, ds))
        return ak__refused(NULL);
    if (ak_error(ds->ctx))
        return AK_ERR_STATE;
    if (ds->channels > AK_MAX_CHANNELS)
        return ak_fail(ds->ctx, AK_ERR_SHAPE, "dataset_normalize: items of \"%s\" have %d "
                       "channels; at most %d can be normalised", ds->name, ds->channels,
                       AK_MAX_CHANNELS);
    for (int c = 0; c < ds->channels; c++)
        if (!usable(mean ? mean[c] : 0, std ? 1 / std[c] : 1))
            return ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_normalize: mean %g and standard "
                           "deviation %g of channel %d: finite numbers and a deviation > 0 are "
                           "needed", mean ? mean[c] : 0, std ? std[c] : 1, c);
    for (int c = 0; c < ds->channels; c++) {
        ds->mean[c] = (ak_real)(mean ? mean[c] : 0);
        ds->inverse_std[c] = (ak_real)(std ? 1 / std[c] : 1);
    }
    ds->normalize = mean || std;
    ds->own_normal = true;
    return AK_OK;
}

/* ---- batches for evaluation ------------------------------------------------------------------ */

ak_tensor *ak_dataset_batch(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !range_fits(ds, "dataset_batch", start, count, 0))
        return &ak__poison;
    ak_shape shape = { .n = ds->item.n + 1, .dims = { count } };
    memcpy(shape.dims + 1, ds->item.dims, (size_t)ds->item.n * sizeof *shape.dims);
    ak_tensor *t = ak__tensor_new(ds->ctx, shape);
    if (ak_is_poison(t))
        return t;
    const ak_dataset now = ak__dataset_settled(ds);
    AK__PARALLEL_FOR(i, count, count * ds->item_size > 65536)
        ak__dataset_plain(&now, start + i, t->data + i * ds->item_size);
    return t;
}

ak_index *ak_dataset_labels(ak_dataset *ds, int64_t start, int64_t count)
{
    if (!AK__GIVEN(NULL, ds) || !range_fits(ds, "dataset_labels", start, count, 0))
        return &ak__poison_index;
    if (ds->labels)
        return ak_index_from(ds->ctx, AK_SHAPE(count), ds->labels + start);
    int32_t *unknown = ak__step_alloc(ds->ctx, ((size_t)count + 1) * sizeof *unknown);
    for (int64_t i = 0; unknown && i < count; i++)
        unknown[i] = -1;
    return unknown ? ak_index_from(ds->ctx, AK_SHAPE(count), unknown) : &ak__poison_index;
}
