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
    int64_t              n_metadata;    /* keys and values */
    bool                 own_order;     /* convolutions lie as this library has them, in the file */
    int64_t              n_out;
    output              *outputs;       /* [n_out] in the order of their first arrays */
    int64_t             *slots;         /* [mask + 1] at the hash of a name: the place of its
                                         * output, from 1 on; 0 = free */
    uint64_t             mask;
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

/* What the file says of itself, with room for two pairs more. */
static bool read_metadata(conversion *c, const ak_safetensors *f)
{
    const char *key, *value;
    int64_t     n = 0;
    while (f && ak_safetensors_metadata(f, n, NULL))
        n++;
    c->metadata = ak__step_alloc(c->ctx, (size_t)(2 * n + 5) * sizeof *c->metadata);
    if (!c->metadata)
        return false;
    for (int64_t i = 0; i < n && (key = ak_safetensors_metadata(f, i, &value)) != NULL; i++) {
        const bool order = strcmp(key, AK__CONV_KEY) == 0;
        c->own_order = c->own_order || (order && strcmp(value, AK__CONV_LAST) == 0);
        if (order && c->map->convolutions != AK_CONV_BY_FILE)
            continue;                   /* another one comes instead */
        c->metadata[c->n_metadata++] = key;
        c->metadata[c->n_metadata++] = value;
    }
    c->metadata[c->n_metadata] = NULL;
    return true;
}

/* The names with "/", without the prefix; NULL after an error. */
static const char **read_names(const conversion *c, const source *s)
{
    const char  *prefix = c->map->prefix ? ak__weight_name(c->ctx, c->map->prefix) : "";
    const char **names = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *names);
    const size_t length = prefix ? strlen(prefix) : 0;
    int64_t      fits = 0;
    for (int64_t i = 0; prefix && names && i < s->n; i++) {
        const char *name = ak__weight_name(c->ctx, source_name(s, i));
        if (!name)
            return NULL;
        const bool below = strncmp(name, prefix, length) == 0;
        names[i] = below ? name + length : name;
        fits += below;
    }
    if (length && fits == 0 && names) {
        ak_fail(c->ctx, AK_ERR_NOT_FOUND, "%s: no name in %s begins with .prefix \"%.100s\"", who,
                c->in, c->map->prefix);
        return NULL;
    }
    return prefix ? names : NULL;
}

static bool read_arrays(conversion *c, const source *s)
{
    const char **names = read_names(c, s), *ignore;
    if (!names || !ak__weight_pattern(c->ctx, who, "array of the file", c->map->ignore, names, s->n,
                                      &ignore))
        return false;
    c->arrays = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *c->arrays);
    c->names = ak__step_alloc(c->ctx, ((size_t)s->n + 1) * sizeof *c->names);
    for (int64_t i = 0; c->arrays && c->names && i < s->n; i++) {
        if (ak__weight_fits(ignore, names[i]))
            continue;
        c->names[c->n] = names[i];
        if (!(c->arrays[c->n] = source_array(s, i)))
            return false;
        c->n++;
    }
    return c->arrays && c->names;
}

static bool read_all(conversion *c)
{
    source s;
    c->own_order = c->reads != TENSORS;
    const bool fine = open_source(c, &s) && read_metadata(c, s.tensors) && read_arrays(c, &s);
    ak_npz_close(s.npz);                /* what was handed out stays */
    ak_safetensors_close(s.tensors);
    return fine;
}

/* ---- what becomes of them -------------------------------------------------------------------- */

/* The output of a name; a new one has no parts yet. */
static output *output_of(conversion *c, const char *name)
{
    for (uint64_t at = ak__hash_bytes(AK__HASH_START, name, strlen(name)); ; at++) {
        int64_t *slot = &c->slots[at & c->mask];
        if (*slot == 0) {
            c->outputs[c->n_out] = (output){ .name = name };
            *slot = ++c->n_out;
        }
        output *o = &c->outputs[*slot - 1];
        if (strcmp(o->name, name) == 0)
            return o;
    }
}

static bool place(conversion *c, int64_t i, const ak__target *t)
{
    output *o = output_of(c, t->name);
    if (o->parts && (o->pair != t->pair || o->from[t->part])) {
        int other = 0;
        while (!o->from[other])
            other++;
        ak_fail(c->ctx, AK_ERR_VALUE, "%s: \"%.200s\" and \"%.200s\" would both be \"%.200s\"", who,
                o->names[o->from[t->part] ? t->part : other], c->names[i], t->name);
        return false;
    }
    o->pair = t->pair;
    o->parts = t->parts;
    o->from[t->part] = c->arrays[i];
    o->names[t->part] = c->names[i];
    return true;
}

static bool make_slots(conversion *c)
{
    uint64_t n = 4;
    while (n < 2 * (uint64_t)c->n)
        n *= 2;
    c->mask = n - 1;
    c->slots = ak__step_alloc(c->ctx, (size_t)n * sizeof *c->slots);
    c->outputs = ak__step_alloc(c->ctx, ((size_t)c->n + 1) * sizeof *c->outputs);
    if (c->slots)
        memset(c->slots, 0, (size_t)n * sizeof *c->slots);
    return c->slots && c->outputs;
}

static bool place_all(conversion *c)
{
    const int pairs = ak__map_pairs(c->map);
    bool     *used = ak__step_alloc(c->ctx, (size_t)pairs + 1);
    if (!used || !make_slots(c))
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
    int64_t kept = 0, turned = 0;       /* what may be convolutions, as it was and in other order */
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
        const bool axes = o->pair && o->pair->axes;
        kept += arrays[i].shape.n == 4 && !axes;
        turned += arrays[i].shape.n >= 3 && axes;
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
    if (turned && c->writes == TENSORS && c->map->convolutions == AK_CONV_BY_FILE) {
        ak_fail(c->ctx, AK_ERR_VALUE, "%s: pairs turn %" PRId64 " arrays of 3 axes or more, and %s "
                "has to say how convolutions lie in it\n    hint: .convolutions = AK_CONV_LAST "
                "(this library's order) or AK_CONV_FIRST (PyTorch's)", who, turned, c->out);
        return false;
    }
    if (kept && !c->own_order && (c->writes == NPZ || c->writes == CHECKPOINT) &&
        c->map->convolutions != AK_CONV_LAST)
        ak_log_message(c->ctx, AK_LOG_WARNING, "%s: %" PRId64 " arrays of 4 axes keep the order "
                       "that %s has; pairs with .axes = \"0231\" turn PyTorch's convolutions", who,
                       kept, c->in);
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

static void add_metadata(conversion *c, const char *key, const char *value)
{
    for (int64_t i = 0; i < c->n_metadata; i += 2)
        if (strcmp(c->metadata[i], key) == 0)
            return;
    c->metadata[c->n_metadata++] = key;
    c->metadata[c->n_metadata++] = value;
    c->metadata[c->n_metadata] = NULL;
}

static ak_status write_all(conversion *c, const ak_array *arrays)
{
    const int n = (int)c->n_out;
    if (c->writes == NPZ)
        return ak_npz_write_arrays(c->ctx, c->out, arrays, n, false);
    if (c->writes == CHECKPOINT)
        return ak__checkpoint_write_arrays(c->ctx, c->out, arrays, n);
    if (c->map->convolutions == AK_CONV_FIRST) {
        add_metadata(c, "format", "pt");
        add_metadata(c, AK__CONV_KEY, AK__CONV_FIRST);
    } else if (c->map->convolutions == AK_CONV_LAST || c->own_order) {
        add_metadata(c, AK__CONV_KEY, AK__CONV_LAST);
    }
    return ak_safetensors_write_arrays(c->ctx, c->out, arrays, n, c->metadata);
}

/* Fields that are for modules would change nothing. */
static bool map_fits(const conversion *c)
{
    const ak_weight_map *map = c->map;
    if (!ak__map_check(c->ctx, who, map))
        return false;
    if (!map->only && !map->allow_unexpected && !map->allow_missing)
        return true;
    ak_fail(c->ctx, AK_ERR_VALUE, "%s: .%s is for loading a module\n    hint: .ignore leaves "
            "arrays out", who, map->only ? "only" : map->allow_missing ? "allow_missing"
            : "allow_unexpected");
    return false;
}

ak_status ak_weights_convert(ak_ctx *ctx, const char *in, const char *out, ak_weight_map map,
                             FILE *list)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, in))
        return ak__refused(ctx);
    conversion c = { .ctx = ctx, .in = in, .out = out, .map = &map };
    if (ak_error(ctx) != AK_OK || !map_fits(&c) || !find_output(&c) || !find_input(&c) ||
        !read_all(&c) || !place_all(&c))
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
