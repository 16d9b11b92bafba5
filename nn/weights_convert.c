/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays from file to file: names by the map, axes turned, parts joined. */
#include "nn/weights.h"

#include <akin/checkpoint.h>

#include "base/text.h"
#include "io/checkpoint.h"
#include "io/file.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef enum format { NONE, NPZ, TENSORS, CHECKPOINT } format;

/* An array that will be written, and those it is made of. */
typedef struct output {
    const char           *name;         /* with "/" */
    const ak_weight_pair *pair;
    int                   parts;
    const ak_array       *from[AK_WEIGHT_PARTS];
    const char           *names[AK_WEIGHT_PARTS];
} output;

typedef struct conversion {
    ak_ctx              *ctx;
    const char          *in, *out;
    const ak_weight_map *map;
    format               reads, writes;
    int64_t              n;             /* arrays read */
    const ak_array     **arrays;        /* [n] */
    const char         **names;         /* [n] with "/", without the prefix */
    const char         **metadata;      /* of a safetensors file: key, value, .., NULL */
    bool                 own_order;     /* convolutions lie as this library has them */
    int64_t              n_out;
    output              *outputs;       /* [n_out] */
} conversion;

static const char who[] = "ak_weights_convert";

/* ---- which formats --------------------------------------------------------------------------- */

static bool find_input(conversion *c)
{
    ak__mapping map;
    if (ak__file_map(c->ctx, c->in, &map) != AK_OK)
        return false;
    c->reads = map.n >= 4 && memcmp(map.data, "PK", 2) == 0 ? NPZ
             : map.n >= 5 && memcmp(map.data, "\x89""AKIN", 5) == 0 ? CHECKPOINT : TENSORS;
    ak__file_unmap(&map);
    return true;
}

static bool ends_with(const char *path, const char *end)
{
    const size_t n = strlen(path), k = strlen(end);
    return n > k && strcmp(path + n - k, end) == 0;
}

static bool find_output(conversion *c)
{
    if (!c->out)
        return true;
    c->writes = ends_with(c->out, ".npz") ? NPZ : ends_with(c->out, ".safetensors") ? TENSORS
              : ends_with(c->out, ".ckpt") || ends_with(c->out, ".akin") ? CHECKPOINT : NONE;
    if (c->writes == NONE)
        ak_fail(c->ctx, AK_ERR_VALUE, "%s: %s ends with none of .safetensors, .npz, .ckpt, .akin",
                who, c->out);
    return c->writes != NONE;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Is this array wanted? Its name, without the prefix, at *name; false and an error: out of
 * memory. */
static bool wanted(const conversion *c, const char *stored, const char *ignore, const char **name)
{
    const char *prefix = c->map->prefix ? ak__weight_name(c->ctx, c->map->prefix) : "";
    *name = prefix ? ak__weight_name(c->ctx, stored) : NULL;
    if (!*name)
        return false;
    if (strncmp(*name, prefix, strlen(prefix)) == 0)
        *name += strlen(prefix);
    return !ak__weight_fits(ignore, *name);
}

/* The pattern of what to leave out, once it was found to fit something. */
static bool find_ignored(const conversion *c, const char *const *stored, int64_t n,
                         const char **ignore)
{
    const char **names = ak__step_alloc(c->ctx, ((size_t)n + 1) * sizeof *names);
    *ignore = NULL;
    for (int64_t i = 0; names && i < n; i++) {
        wanted(c, stored[i], NULL, &names[i]);
        if (!names[i])
            return false;
    }
    return names && ak__weight_pattern(c->ctx, who, "array of the file", c->map->ignore, names, n,
                                       ignore);
}

typedef struct source {
    ak_npz         *npz;
    ak_safetensors *tensors;
    const ak_checkpoint_contents *saved;
    int64_t         n;
} source;

static const char *source_name(const source *s, int64_t i)
{
    return s->npz ? ak_npz_name(s->npz, i) : s->tensors ? ak_safetensors_name(s->tensors, i)
                                                        : s->saved->arrays[i].name;
}

static const ak_array *source_array(const source *s, int64_t i)
{
    return s->npz ? ak_npz_at(s->npz, i) : s->tensors ? ak_safetensors_at(s->tensors, i)
                                                      : &s->saved->arrays[i];
}

static bool open_source(const conversion *c, source *s)
{
    *s = (source){ 0 };
    if (c->reads == NPZ)
        s->npz = ak_npz_open(c->ctx, c->in);
    else if (c->reads == TENSORS)
        s->tensors = ak_safetensors_open(c->ctx, c->in);
    else
        s->saved = ak_checkpoint_look(c->ctx, c->in);
    s->n = s->npz ? ak_npz_count(s->npz) : s->tensors ? ak_safetensors_count(s->tensors)
         : s->saved ? s->saved->n : 0;
    return s->npz || s->tensors || s->saved;
}

static bool read_metadata(conversion *c, const ak_safetensors *f)
{
    const char *key, *value;
    int64_t     n = 0;
    while (ak_safetensors_metadata(f, n, NULL))
        n++;
    c->metadata = ak__step_alloc(c->ctx, (size_t)(2 * n + 1) * sizeof *c->metadata);
    if (!c->metadata)
        return false;
    for (int64_t i = 0; (key = ak_safetensors_metadata(f, i, &value)) != NULL; i++) {
        c->metadata[2 * i] = key;
        c->metadata[2 * i + 1] = value;
        c->own_order = c->own_order || (strcmp(key, AK__CONV_KEY) == 0 &&
                                        strcmp(value, AK__CONV_LAST) == 0);
    }
    c->metadata[2 * n] = NULL;
    return true;
}

static bool read_arrays(conversion *c, const source *s)
{
    const char **stored = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *stored);
    const char  *ignore;
    c->arrays = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *c->arrays);
    c->names = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *c->names);
    if (!stored || !c->arrays || !c->names)
        return false;
    for (int64_t i = 0; i < s->n; i++)
        stored[i] = source_name(s, i);
    if (!find_ignored(c, stored, s->n, &ignore))
        return false;
    for (int64_t i = 0; i < s->n; i++) {
        if (!wanted(c, stored[i], ignore, &c->names[c->n])) {
            if (ak_error(c->ctx))
                return false;
            continue;
        }
        if (!(c->arrays[c->n] = source_array(s, i)))
            return false;
        c->n++;
    }
    return true;
}

static bool read_all(conversion *c)
{
    source s;
    c->own_order = c->reads != TENSORS;
    const bool fine = open_source(c, &s) && (!s.tensors || read_metadata(c, s.tensors)) &&
                      read_arrays(c, &s);
    ak_npz_close(s.npz);                /* what was handed out stays */
    ak_safetensors_close(s.tensors);
    return fine;
}

/* ---- what becomes of them -------------------------------------------------------------------- */

static bool place(conversion *c, int64_t i, const ak__target *t)
{
    output *o = NULL;
    for (int64_t k = 0; !o && k < c->n_out; k++)
        o = strcmp(c->outputs[k].name, t->name) == 0 ? &c->outputs[k] : NULL;
    if (o && (o->pair != t->pair || o->from[t->part])) {
        ak_fail(c->ctx, AK_ERR_VALUE, "%s: \"%.200s\" and \"%.200s\" would both be \"%.200s\"", who,
                o->names[o->from[t->part] ? t->part : 0] ? o->names[o->from[t->part] ? t->part : 0]
                : "another array", c->names[i], t->name);
        return false;
    }
    if (!o) {
        o = &c->outputs[c->n_out++];
        *o = (output){ .name = t->name, .pair = t->pair, .parts = t->parts };
    }
    o->from[t->part] = c->arrays[i];
    o->names[t->part] = c->names[i];
    return true;
}

static bool place_all(conversion *c)
{
    const int pairs = ak__map_pairs(c->map);
    bool     *used = ak__step_alloc(c->ctx, (size_t)pairs + 1);
    c->outputs = ak__step_alloc(c->ctx, ((size_t)c->n + 1) * sizeof *c->outputs);
    if (!used || !c->outputs)
        return false;
    memset(used, 0, (size_t)pairs + 1);
    for (int64_t i = 0; i < c->n; i++) {
        ak__target t;
        if (!ak__map_target(c->ctx, c->map, c->names[i], used, &t) || !place(c, i, &t))
            return false;
    }
    for (int64_t i = 0; i < c->n_out; i++)
        for (int k = 0; k < c->outputs[i].parts; k++)
            if (!c->outputs[i].from[k]) {
                ak_fail(c->ctx, AK_ERR_VALUE, "%s: part %d of \"%.200s\" is missing in %s: the "
                        "pair { \"%.120s\", \"%.120s\" } joins %d", who, k + 1,
                        c->outputs[i].name, c->in, c->outputs[i].pair->file,
                        c->outputs[i].pair->module, c->outputs[i].parts);
                return false;
            }
    return ak__map_used(c->ctx, who, c->map, used, c->names, c->n, true);
}

/* ---- numbers --------------------------------------------------------------------------------- */

typedef struct copying { const uint8_t *from; uint8_t *to; size_t size; } copying;

static void copy_row(void *user, int64_t at, int64_t n, int64_t place_of, int64_t step)
{
    const copying *c = user;
    for (int64_t i = 0; i < n; i++)
        memcpy(c->to + (size_t)(place_of + i * step) * c->size,
               c->from + (size_t)(at + i) * c->size, c->size);
}

static bool misfit(const conversion *c, const output *o, int part)
{
    char shape[AK_SHAPE_TEXT];
    ak_fail(c->ctx, AK_ERR_VALUE, "%s: \"%.200s\" %s %s does not fit the pair { \"%.120s\", "
            "\"%.120s\" } (.axes, .axis, .shares, and one type for all parts)", who,
            o->names[part], ak_type_name(o->from[part]->type),
            ak_shape_text(o->from[part]->shape, shape), o->pair->file, o->pair->module);
    return false;
}

/* The shape of the whole: axes turned, parts one behind the other. */
static bool whole_shape(const conversion *c, const output *o, ak__layout *l)
{
    const ak_array *first = o->from[0];
    *l = ak__layout_plain(first->shape);
    if (o->pair->axes && !ak__layout_axes(l, o->pair->axes))
        return misfit(c, o, 0);
    for (int i = 0; i < first->shape.n; i++)
        l->shape.dims[i] = first->shape.dims[l->from[i]];
    l->size = l->shape.n ? l->shape.dims[0] : 1;
    if (o->parts == 1)
        return true;
    if (o->pair->axis >= l->shape.n)
        return misfit(c, o, 0);
    int64_t all = 0;
    for (int k = 0; k < o->parts; k++) {
        const ak_array *a = o->from[k];
        if (a->shape.n != first->shape.n || a->type != first->type)
            return misfit(c, o, k);
        all += a->shape.dims[l->from[o->pair->axis]];
    }
    l->shape.dims[o->pair->axis] = all;
    return true;
}

static bool make_array(const conversion *c, const output *o, ak_array *a)
{
    ak__layout whole;
    size_t     bytes;
    *a = *o->from[0];
    if (!o->pair || (o->parts == 1 && !o->pair->axes))
        return true;
    if (!whole_shape(c, o, &whole))
        return false;
    if (!ak__array_bytes(whole.shape, a->type, SIZE_MAX / 4, &bytes))
        return misfit(c, o, 0);
    copying to = { .size = ak_type_size(a->type) };
    if (!(to.to = ak__step_alloc(c->ctx, bytes + 1)))
        return false;
    for (int k = 0; k < o->parts; k++) {
        ak__layout part = whole;
        if ((o->parts > 1 && !ak__layout_part(&part, o->pair->axis, k, o->parts,
                                              o->pair->shares)) ||
            !ak_shape_equal(ak__layout_shape(&part), o->from[k]->shape))
            return misfit(c, o, k);
        to.from = o->from[k]->data;
        ak__layout_walk(&part, copy_row, &to);
    }
    a->shape = whole.shape;
    a->data = to.to;
    a->size = (int64_t)(bytes / to.size);
    return true;
}

static bool make_all(const conversion *c, ak_array *arrays)
{
    int64_t pictures = 0;
    for (int64_t i = 0; i < c->n_out; i++) {
        const output *o = &c->outputs[i];
        if (!make_array(c, o, &arrays[i]))
            return false;
        char *name = ak__step_alloc(c->ctx, strlen(o->name) + 1);
        for (size_t k = 0; name && k <= strlen(o->name); k++)
            name[k] = o->name[k] == '/' && c->writes == TENSORS ? '.' : o->name[k];
        if (!name)
            return false;
        arrays[i].name = name;
        pictures += arrays[i].shape.n == 4 && !(o->pair && o->pair->axes);
        if (c->writes != CHECKPOINT)
            continue;
        if (!ak__name_legal(c->ctx, who, name))
            return false;
        if (arrays[i].type != AK_TYPE_F32 && arrays[i].type != AK_TYPE_F64) {
            ak_fail(c->ctx, AK_ERR_UNSUPPORTED, "%s: \"%.200s\" is of type %s; a checkpoint has "
                    "floating-point numbers alone\n    hint: .ignore leaves it out", who, name,
                    ak_type_name(arrays[i].type));
            return false;
        }
    }
    if (pictures && !c->own_order && c->writes != NONE && c->writes != TENSORS)
        ak_log_message(c->ctx, AK_LOG_WARNING, "%s: %" PRId64 " arrays of 4 axes keep the order "
                       "that %s has; pairs with .axes = \"0231\" turn PyTorch's convolutions", who,
                       pictures, c->in);
    return true;
}

static void print_list(const conversion *c, const ak_array *arrays, FILE *list)
{
    char shape[AK_SHAPE_TEXT];
    for (int64_t i = 0; list && i < c->n_out; i++) {
        const output *o = &c->outputs[i];
        for (int k = 0; k < o->parts; k++)
            fprintf(list, "%s%s", k ? " + " : "", o->names[k]);
        fprintf(list, " -> %s  %s %s\n", arrays[i].name, ak_type_name(arrays[i].type),
                ak_shape_text(arrays[i].shape, shape));
    }
}

static ak_status write_all(const conversion *c, const ak_array *arrays)
{
    static const char *const pt[] = { "format", "pt", NULL };
    static const char *const own[] = { AK__CONV_KEY, AK__CONV_LAST, NULL };
    const int n = (int)c->n_out;
    if (c->writes == NPZ)
        return ak_npz_write_arrays(c->ctx, c->out, arrays, n, false);
    if (c->writes == CHECKPOINT)
        return ak__checkpoint_write_arrays(c->ctx, c->out, arrays, n);
    const bool keep = c->metadata && c->map->convolutions == AK_CONV_BY_FILE;
    const bool last = c->map->convolutions == AK_CONV_LAST ||
                      (c->map->convolutions == AK_CONV_BY_FILE && c->own_order);
    return ak_safetensors_write_arrays(c->ctx, c->out, arrays, n,
                                       keep ? c->metadata : last ? own : pt);
}

ak_status ak_weights_convert(ak_ctx *ctx, const char *in, const char *out, ak_weight_map map,
                             FILE *list)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, in))
        return ak__refused(ctx);
    conversion c = { .ctx = ctx, .in = in, .out = out, .map = &map };
    if (ak_error(ctx) != AK_OK || !ak__map_check(ctx, who, &map) || !find_output(&c) ||
        !find_input(&c) || !read_all(&c) || !place_all(&c))
        return ak_error(ctx);
    if (c.n_out > INT32_MAX || (c.n_out == 0 && c.writes == CHECKPOINT))
        return ak_fail(ctx, AK_ERR_VALUE, "%s: %s has %" PRId64 " arrays to convert", who, in,
                       c.n_out);
    ak_array *arrays = ak__step_alloc(ctx, ((size_t)c.n_out + 1) * sizeof *arrays);
    if (!arrays || !make_all(&c, arrays))
        return ak_error(ctx);
    if (out && write_all(&c, arrays) != AK_OK)
        return ak_error(ctx);
    print_list(&c, arrays, list);
    return AK_OK;
}
