/* SPDX-License-Identifier: Apache-2.0 */
/* All weights of a module to and from one file. Loading has two rounds: everything is looked at and
 * compared first, so that a file that does not fit changes nothing. */
#include "nn/weights.h"

#include "base/text.h"
#include "nn/module.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <string.h>

/* One array of the file that a tensor is made of. */
typedef struct part {
    const char *name;
    ak__layout  layout;
    ak__floats  floats;                 /* when loading */
} part;

/* A tensor of the module with its place in a file. */
typedef struct weight {
    ak_tensor  *tensor;
    const char *name;                   /* below the module; a whole one of parts elsewhere */
    bool        conv;                   /* the weight of a convolution layer */
    bool        absent;                 /* it may be missing in the file, and is */
    const ak_weight_pair *pair;
    int         n;
    part        parts[AK_WEIGHT_PARTS];
} weight;

/* What is to be loaded or saved; step memory. */
typedef struct weights {
    ak_module    *m;
    const char   *who, *path;
    bool          npz;
    ak_weight_map map;
    bool          conv_first;           /* in the file */
    bool          convs;                /* are there any? */
    int64_t       n;
    weight       *all;                  /* [n] */
    const char  **names;                /* [n] */
} weights;

/* ---- the module's side ----------------------------------------------------------------------- */

static bool conv_weight_of(ak_module *m, const ak_tensor *t, uint64_t visit)
{
    if (!ak__first_visit(m, visit))
        return false;
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (m->tensors[i] == t)
            return i == 0 && ak__is_convolution(m);
    for (int64_t i = 0; i < m->n_children; i++)
        if (conv_weight_of(m->children[i], t, visit))
            return true;
    return false;
}

/* Two tensors that would have one name in a file. */
static bool names_differ(const weights *w)
{
    for (int64_t i = 0; i < w->n; i++)
        for (int64_t k = 0; k < i; k++)
            if (strcmp(w->names[k], w->names[i]) == 0) {
                ak_fail(w->m->ctx, AK_ERR_VALUE, "%s: %s and %s would both be \"%s\" in the file",
                        w->m->name, w->all[k].tensor->name, w->all[i].tensor->name, w->names[i]);
                return false;
            }
    return true;
}

static bool collect(weights *w)
{
    ak_module  *m = w->m;
    ak_ctx     *ctx = m->ctx;
    int64_t     n = 0;
    const char *only;
    while (ak_module_param(m, n))
        n++;
    if (n == 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: has no parameters", m->name);
        return false;
    }
    w->all = ak__step_alloc(ctx, (size_t)n * sizeof *w->all);
    w->names = ak__step_alloc(ctx, (size_t)n * sizeof *w->names);
    if (!w->all || !w->names)
        return false;
    for (w->n = 0; w->n < n; w->n++) {
        ak_tensor  *t = ak_module_param(m, w->n);
        const char *rest = ak__below(t->name, m->name);
        w->names[w->n] = ak__weight_name(ctx, rest ? rest : t->name);
        if (!w->names[w->n])
            return false;
        w->all[w->n] = (weight){ .tensor = t, .name = w->names[w->n],
                                 .conv = conv_weight_of(m, t, ak__new_visit(m)) };
    }
    if (!names_differ(w) || !ak__weight_pattern(ctx, w->who, "tensor of the module", w->map.only,
                                                w->names, w->n, &only))
        return false;
    n = 0;
    for (int64_t i = 0; i < w->n; i++) {
        if (only && !ak__weight_fits(only, w->names[i]))
            continue;
        w->convs = w->convs || w->all[i].conv;
        w->all[n] = w->all[i];
        w->names[n++] = w->names[i];
    }
    w->n = n;
    return true;
}

/* The arrays of the file that make up each tensor, and how they lie in it. */
static bool plan(weights *w)
{
    ak_ctx    *ctx = w->m->ctx;
    const int  pairs = ak__map_pairs(&w->map);
    bool      *used = ak__step_alloc(ctx, (size_t)pairs + 1);
    if (!used)
        return false;
    memset(used, 0, (size_t)pairs + 1);
    for (int64_t i = 0; i < w->n; i++) {
        weight    *one = &w->all[i];
        ak__origin from;
        char       shape[AK_SHAPE_TEXT];
        if (!ak__map_origin(ctx, &w->map, one->name, used, &from))
            return false;
        one->pair = from.pair;
        one->n = from.n;
        for (int k = 0; k < from.n; k++) {
            part *p = &one->parts[k];
            *p = (part){ .name = from.names[k], .layout = ak__layout_plain(one->tensor->shape) };
            const char *axes = from.pair ? from.pair->axes : NULL;
            const bool  fine = !axes || ak__layout_axes(&p->layout, axes);
            if (!axes && one->conv && w->conv_first)
                ak__layout_conv(&p->layout);
            if (fine && (from.n == 1 || ak__layout_part(&p->layout, from.pair->axis, k, from.n,
                                                        from.pair->shares)))
                continue;
            ak_fail(ctx, AK_ERR_VALUE, "%s: the pair { \"%.120s\", \"%.120s\" } does not fit %s "
                    "%s: its %s", w->who, from.pair->file, from.pair->module, one->name,
                    ak_shape_text(one->tensor->shape, shape),
                    !fine ? ".axes are of another number of axes" : "parts do not divide .axis");
            return false;
        }
    }
    return ak__map_used(ctx, w->who, &w->map, used, w->names, w->n, false);
}

static bool begin(weights *w, ak_module *m, const char *who, const char *path, bool npz,
                  const ak_weight_map *map)
{
    *w = (weights){ .m = m, .who = who, .path = path, .npz = npz, .map = *map };
    w->conv_first = map->convolutions == AK_CONV_FIRST ||
                    (map->convolutions == AK_CONV_BY_FILE && !npz);
    return ak__complete(m, who) && ak__map_check(m->ctx, who, map) && collect(w);
}

static void warn_of_numbers(const weights *w, const char *what, int64_t tensors, const char *first)
{
    if (tensors)
        ak_log_message(w->m->ctx, AK_LOG_WARNING, "%s: %" PRId64 " of the tensors %s hold numbers "
                       "that are not finite, the first is \"%s\"", w->path, tensors, what, first);
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* A part as it lies in the file: the numbers of the tensor in another order. */
typedef struct gathering { const ak_real *from; ak_real *to; } gathering;

static void gather_row(void *user, int64_t at, int64_t n, int64_t place, int64_t step)
{
    const gathering *g = user;
    for (int64_t i = 0; i < n; i++)
        g->to[at + i] = g->from[place + i * step];
}

/* The array of one part, its name with the prefix and the file's sign between parts. Numbers are
 * the tensor's own, or a copy in step memory where they lie in another order. */
static bool make_array(const weights *w, const weight *one, const part *p, ak_array *a)
{
    ak_ctx     *ctx = w->m->ctx;
    const char *prefix = w->map.prefix ? w->map.prefix : "";
    char        name[2 * AK__WEIGHT_NAME];
    if (!ak__format(name, sizeof name, "%s%s", prefix, p->name)) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: the prefix \"%.40s..\" is too long", w->who, prefix);
        return false;
    }
    char *copy = ak__step_alloc(ctx, strlen(name) + 1);
    for (size_t i = 0; copy && i <= strlen(name); i++)
        copy[i] = strchr("./", name[i]) && name[i] ? w->npz ? '/' : '.' : name[i];
    const ak_shape shape = ak__layout_shape(&p->layout);
    const int64_t  size = ak_shape_size(shape);
    if (!copy)
        return false;
    *a = (ak_array){ .name = copy, .type = sizeof(ak_real) == 8 ? AK_TYPE_F64 : AK_TYPE_F32,
                     .shape = shape, .size = size, .data = one->tensor->data };
    if (ak__layout_is_plain(&p->layout))
        return true;
    gathering g = { .from = one->tensor->data,
                    .to = ak__step_alloc(ctx, ((size_t)size + 1) * sizeof *g.to) };
    if (!g.to)
        return false;
    ak__layout_walk(&p->layout, gather_row, &g);
    a->data = g.to;
    return true;
}

static bool make_arrays(const weights *w, ak_array *arrays)
{
    int64_t bad = 0, n = 0;
    const char *first = "";
    for (int64_t i = 0; i < w->n; i++) {
        const weight *one = &w->all[i];
        if (ak__count_not_finite(one->tensor->data, one->tensor->size, NULL) && bad++ == 0)
            first = one->tensor->name;
        for (int k = 0; k < one->n; k++)
            if (!make_array(w, one, &one->parts[k], &arrays[n++]))
                return false;
    }
    warn_of_numbers(w, "saved", bad, first);
    return true;
}

static ak_status save(ak_module *m, const char *who, const char *path, bool npz,
                      const ak_weight_map *map)
{
    weights w;
    ak_ctx *ctx = m->ctx;
    int64_t n = 0;
    if (ak_error(ctx) != AK_OK || !begin(&w, m, who, path, npz, map) || !plan(&w))
        return ak_error(ctx);
    for (int64_t i = 0; i < w.n; i++)
        n += w.all[i].n;
    ak_array *arrays = ak__step_alloc(ctx, (size_t)(n + 1) * sizeof *arrays);
    if (!arrays || !make_arrays(&w, arrays))
        return ak_error(ctx);
    if (npz)
        return ak_npz_write_arrays(ctx, path, arrays, (int)n, false);
    const char *first[] = { "format", "pt", AK__CONV_KEY, AK__CONV_FIRST, NULL };
    const char *last[] = { AK__CONV_KEY, AK__CONV_LAST, NULL };
    const char *const *notes = ak__weight_notes(m, map->prefix,
                                                w.conv_first || !w.convs ? first : last);
    return notes ? ak_safetensors_write_arrays(ctx, path, arrays, (int)n, notes) : ak_error(ctx);
}

/* ---- loading: the order of a convolution's axes ---------------------------------------------- */

/* What the file says of itself holds; another wish is an error, since many shapes would fit. */
static bool find_conv_layout(weights *w, const ak__weight_file *file)
{
    const char *key, *value;
    for (int64_t i = 0; file->tensors &&
             (key = ak_safetensors_metadata(file->tensors, i, &value)) != NULL; i++) {
        if (strcmp(key, AK__CONV_KEY) != 0)
            continue;
        const bool first = strcmp(value, AK__CONV_FIRST) == 0;
        if (!first && strcmp(value, AK__CONV_LAST) != 0)
            continue;
        if (w->convs && w->map.convolutions != AK_CONV_BY_FILE && first != w->conv_first) {
            ak_fail(w->m->ctx, AK_ERR_FORMAT, "%s: its convolutions are \"%s\", by its metadata; "
                    ".convolutions asks for the other order\n    hint: AK_CONV_BY_FILE takes what "
                    "the file says", w->path, value);
            return false;
        }
        w->conv_first = first;
    }
    return true;
}

/* ---- loading: what does not fit -------------------------------------------------------------- */

/* One after the other, as far as there is room. */
typedef struct faults {
    ak__text text;
    int64_t  n, shown;
    char     buf[1000];
} faults;

static void add_fault(faults *f, const char *what, const char *name, const char *found)
{
    f->n++;
    if (f->text.n + strlen(what) + strlen(name) + strlen(found) + 12 > f->text.room)
        return;
    ak__text_add(&f->text, "\n    %s: %s%s%s", name, what, *found ? ", " : "", found);
    f->shown++;
}

static bool is_transposed(ak_shape a, ak_shape b)
{
    return a.n == 2 && b.n == 2 && a.dims[0] == b.dims[1] && a.dims[1] == b.dims[0];
}

static bool same_numbers(ak_shape a, ak_shape b)
{
    ak_shape rest = b;
    for (int i = 0; i < a.n; i++) {
        int k = 0;
        while (k < rest.n && rest.dims[k] != a.dims[i])
            k++;
        if (k == rest.n)
            return false;
        rest.dims[k] = -1;
    }
    return a.n == b.n;
}

/* The part against what the file has. `name` is what the message shows. */
static void compare(const part *p, const char *name, const ak__weight_look *look, faults *f)
{
    char want[AK_SHAPE_TEXT], got[AK_SHAPE_TEXT], text[3 * AK_SHAPE_TEXT];
    const ak_shape shape = ak__layout_shape(&p->layout);
    ak_shape_text(shape, want);
    if (!ak_shape_equal(look->shape, shape)) {
        ak__format(text, sizeof text, "%s in the file, %s in the module%s",
                   ak_shape_text(look->shape, got), want,
                   is_transposed(look->shape, shape) ? "; .axes = \"10\" takes it" : "");
        add_fault(f, is_transposed(look->shape, shape) ? "transposed"
                     : same_numbers(look->shape, shape) ? "another order of axes"
                                                        : "another shape", name, text);
    } else if (look->floats.kind == AK__NO_FLOATS) {
        ak__format(text, sizeof text, "%s in the file", look->type);
        add_fault(f, "no floating-point numbers", name, text);
    }
}

/* What the patterns of the map are, with "/", after they were found to fit something. */
typedef struct chosen { const char *ignore, *unexpected, *missing; } chosen;

static bool choose(const weights *w, const ak__weight_file *file, chosen *c)
{
    ak_ctx      *ctx = w->m->ctx;
    const char **names = ak__step_alloc(ctx, ((size_t)file->n + 1) * sizeof *names);
    for (int64_t i = 0; names && i < file->n; i++)
        names[i] = file->entries[i].name;
    return names &&
           ak__weight_pattern(ctx, w->who, "array of the file", w->map.ignore, names, file->n,
                              &c->ignore) &&
           ak__weight_pattern(ctx, w->who, "array of the file", w->map.allow_unexpected, names,
                              file->n, &c->unexpected) &&
           ak__weight_pattern(ctx, w->who, "tensor of the module", w->map.allow_missing, w->names,
                              w->n, &c->missing);
}

/* "blocks/0/qkv/weight (attn.q.weight)": the module's name, and the file's where that differs. */
static const char *both_names(const weight *one, const part *p, char buf[2 * AK__WEIGHT_NAME])
{
    if (strcmp(one->name, p->name) == 0)
        return one->name;
    ak__format(buf, 2 * AK__WEIGHT_NAME, "%s (\"%s\")", one->name, p->name);
    return buf;
}

/* Look at all arrays of one tensor. False: an error is recorded, not only a fault noted. */
static bool look_at(const ak__weight_file *file, const chosen *c, weight *one, faults *f)
{
    ak__weight_entry *found[AK_WEIGHT_PARTS];
    char name[2 * AK__WEIGHT_NAME], shape[AK_SHAPE_TEXT];
    int  there = 0;
    for (int k = 0; k < one->n; k++) {
        found[k] = ak__weight_find(file, one->parts[k].name);
        if (found[k] && ak__weight_fits(c->ignore, found[k]->name))
            found[k] = NULL;
        there += found[k] != NULL;
    }
    one->absent = there == 0 && ak__weight_fits(c->missing, one->name);
    for (int k = 0; k < one->n && !one->absent; k++) {
        part *p = &one->parts[k];
        ak__weight_look look;
        if (!found[k]) {
            add_fault(f, "missing", both_names(one, p, name),
                      ak_shape_text(ak__layout_shape(&p->layout), shape));
            continue;
        }
        found[k]->used = true;
        if (!ak__weight_look_at(file, found[k], &look))
            return false;
        compare(p, both_names(one, p, name), &look, f);
        p->floats = look.floats;
    }
    return true;
}

/* PyTorch's batch norms count their batches. */
static bool is_batch_count(const char *name)
{
    const char *last = strrchr(name, '/');
    return strcmp(last ? last + 1 : name, "num_batches_tracked") == 0;
}

static void find_unexpected(const ak__weight_file *file, const chosen *c, faults *f)
{
    for (int64_t i = 0; i < file->n; i++) {
        const ak__weight_entry *e = &file->entries[i];
        if (!e->used && !is_batch_count(e->name) && !ak__weight_fits(c->ignore, e->name) &&
            !ak__weight_fits(c->unexpected, e->name))
            add_fault(f, "unexpected", e->name, "");
    }
}

/* What may be missing one by one may not be missing altogether: nothing would be loaded. */
static bool some_there(const weights *w)
{
    for (int64_t i = 0; i < w->n; i++)
        if (!w->all[i].absent)
            return true;
    ak_fail(w->m->ctx, AK_ERR_FORMAT, "%s has not one of the %" PRId64 " arrays of %s\n"
            "    hint: is .prefix right, and does .allow_missing fit only what may be missing?",
            w->path, w->n, w->m->name);
    return false;
}

static bool fit(weights *w, const ak__weight_file *file)
{
    ak_ctx *ctx = w->m->ctx;
    faults  f = { .n = 0 };
    chosen  c;
    f.text = AK__TEXT(f.buf);
    if (!find_conv_layout(w, file) || !plan(w) || !choose(w, file, &c))
        return false;
    for (int64_t i = 0; i < w->n; i++)
        if (!look_at(file, &c, &w->all[i], &f))
            return false;
    find_unexpected(file, &c, &f);
    if (f.n == 0)
        return some_there(w);
    char more[40] = "";
    if (f.shown < f.n)
        ak__format(more, sizeof more, "\n    and %" PRId64 " more", f.n - f.shown);
    ak_fail(ctx, AK_ERR_FORMAT, "%s does not fit %s in %" PRId64 " arrays:%s%s", w->path,
            w->m->name, f.n, f.buf, more);
    return false;
}

/* Are the numbers ones that can be held? */
static bool numbers_fit(const weights *w)
{
    int64_t     bad = 0;
    const char *first = "";
    for (int64_t i = 0; i < w->n; i++)
        for (int k = 0; k < w->all[i].n && !w->all[i].absent; k++) {
            const part *p = &w->all[i].parts[k];
            int64_t not_finite, beyond;
            ak__floats_look(&p->floats, &not_finite, &beyond);
            if (beyond >= 0) {
                ak_fail(w->m->ctx, AK_ERR_VALUE, "%s: element %" PRId64 " of \"%s\" is %g, beyond "
                        "the range of the library's numbers; nothing was loaded", w->path, beyond,
                        p->name, ak__float_at(&p->floats, beyond));
                return false;
            }
            if (not_finite && bad++ == 0)
                first = p->name;
        }
    warn_of_numbers(w, "loaded", bad, first);
    return true;
}

/* ---- loading: take it ------------------------------------------------------------------------ */

typedef struct scattering { const ak__floats *from; ak_real *to; } scattering;

static void scatter_row(void *user, int64_t at, int64_t n, int64_t place, int64_t step)
{
    const scattering *s = user;
    if (step == 1) {
        ak__floats_read(s->from, at, n, s->to + place);
        return;
    }
    ak_real some[256];
    for (int64_t done = 0; done < n; done += 256) {
        const int64_t now = n - done < 256 ? n - done : 256;
        ak__floats_read(s->from, at + done, now, some);
        for (int64_t i = 0; i < now; i++)
            s->to[place + (done + i) * step] = some[i];
    }
}

static void take_all(const weights *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        const weight *one = &w->all[i];
        for (int k = 0; k < one->n && !one->absent; k++)
            ak__layout_walk(&one->parts[k].layout, scatter_row,
                            &(scattering){ &one->parts[k].floats, one->tensor->data });
        if (!one->absent)
            ak__changed(one->tensor, w->who);
    }
}

static ak_status load(ak_module *m, const char *who, const char *path, bool npz,
                      const ak_weight_map *map)
{
    weights         w;
    ak__weight_file file;
    ak_ctx         *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK || !begin(&w, m, who, path, npz, map) ||
        !ak__weight_open(ctx, path, npz, map->prefix, &file))
        return ak_error(ctx);
    if (fit(&w, &file) && numbers_fit(&w) &&
        ak__weight_notes_agree(m, map->prefix, &file, w.names, w.n))
        take_all(&w);
    ak__weight_close(&file);
    return ak_error(ctx);
}

/* ---- the public functions -------------------------------------------------------------------- */

ak_status ak_module_save_npz(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return save(m, "ak_module_save_npz", path, true, &(ak_weight_map){ 0 });
}

ak_status ak_module_load_npz(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return load(m, "ak_module_load_npz", path, true, &(ak_weight_map){ 0 });
}

ak_status ak_module_save_npz_with(ak_module *m, const char *path, ak_weight_map map)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return save(m, "ak_module_save_npz_with", path, true, &map);
}

ak_status ak_module_load_npz_with(ak_module *m, const char *path, ak_weight_map map)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return load(m, "ak_module_load_npz_with", path, true, &map);
}

ak_status ak_module_save_safetensors(ak_module *m, const char *path, ak_weight_map map)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return save(m, "ak_module_save_safetensors", path, false, &map);
}

ak_status ak_module_load_safetensors(ak_module *m, const char *path, ak_weight_map map)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    return load(m, "ak_module_load_safetensors", path, false, &map);
}
