/* SPDX-License-Identifier: Apache-2.0 */
/* All weights of a module to and from one .npz file. */
#include "nn/module.h"

#include <akin/io.h>

#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <string.h>

/* Parameters and buffers of a module with their names in a file; step memory. */
typedef struct weights {
    int64_t      n;
    ak_tensor  **tensors;       /* [n] */
    const char **names;         /* [n] paths below the module; whole ones of parts elsewhere */
} weights;

static bool collect(ak_module *m, weights *w)
{
    ak_ctx *ctx = m->ctx;
    *w = (weights){ 0 };
    while (ak_module_param(m, w->n))
        w->n++;
    if (w->n == 0) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: has no parameters", m->name);
        return false;
    }
    w->tensors = ak__step_alloc(ctx, (size_t)w->n * sizeof *w->tensors);
    w->names = ak__step_alloc(ctx, (size_t)w->n * sizeof *w->names);
    if (!w->tensors || !w->names)
        return false;
    for (int64_t i = 0; i < w->n; i++) {
        ak_tensor *t = w->tensors[i] = ak_module_param(m, i);
        const char *rest = ak__below(t->name, m->name);
        w->names[i] = rest ? rest : t->name;
        for (int64_t k = 0; k < i; k++)
            if (strcmp(w->names[k], w->names[i]) == 0) {
                ak_fail(ctx, AK_ERR_VALUE, "%s: %s and %s would both be \"%s\" in the file",
                        m->name, w->tensors[k]->name, t->name, w->names[i]);
                return false;
            }
    }
    return true;
}

/* ---- saving ---------------------------------------------------------------------------------- */

static void warn_of_numbers(ak_ctx *ctx, const char *path, const weights *w)
{
    int64_t tensors = 0, first = -1;
    for (int64_t i = 0; i < w->n; i++)
        if (ak__count_not_finite(w->tensors[i]->data, w->tensors[i]->size, NULL)) {
            tensors++;
            first = first < 0 ? i : first;
        }
    if (tensors)
        ak_log_message(ctx, AK_LOG_WARNING, "%s: %lld of the tensors saved hold numbers that are "
                       "not finite, the first is \"%s\"", path, (long long)tensors,
                       w->tensors[first]->name);
}

ak_status ak_module_save_npz(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    ak_ctx *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    weights w;
    if (!ak__complete(m, "ak_module_save_npz") || !collect(m, &w))
        return ak_error(ctx);
    warn_of_numbers(ctx, path, &w);
    return ak_npz_write(ctx, path, w.names, w.tensors, (int)w.n);
}

/* ---- loading --------------------------------------------------------------------------------- */

/* What does not fit, one after the other, as far as there is room. */
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

static void compare(const ak_tensor *t, const char *name, const ak_array *a, faults *f)
{
    char want[AK_SHAPE_TEXT], got[AK_SHAPE_TEXT], text[3 * AK_SHAPE_TEXT];
    ak_shape_text(t->shape, want);
    if (!a) {
        add_fault(f, "missing", name, want);
    } else if (!ak_shape_equal(a->shape, t->shape)) {
        ak__format(text, sizeof text, "%s in the file, %s in the module",
                   ak_shape_text(a->shape, got), want);
        add_fault(f, "another shape", name, text);
    } else if (a->type != AK_TYPE_F32 && a->type != AK_TYPE_F64) {
        ak__format(text, sizeof text, "%s in the file", ak_type_name(a->type));
        add_fault(f, "no floating-point numbers", name, text);
    }
}

static void find_unexpected(ak_npz *file, const weights *w, faults *f)
{
    const char *name;
    for (int64_t i = 0; (name = ak_npz_name(file, i)) != NULL; i++) {
        bool known = false;
        for (int64_t k = 0; !known && k < w->n; k++)
            known = strcmp(w->names[k], name) == 0;
        if (!known)
            add_fault(f, "unexpected", name, "");
    }
}

/* The arrays as tensors of the step; NULL: an error is recorded. */
static ak_tensor **read_all(ak_module *m, const char *path, ak_npz *file, const weights *w)
{
    ak_ctx *ctx = m->ctx;
    ak_tensor **read = ak__step_alloc(ctx, (size_t)w->n * sizeof *read);
    faults f = { .n = 0 };
    f.text = AK__TEXT(f.buf);
    for (int64_t i = 0; read && i < w->n; i++) {
        const ak_array *a = ak_npz_find(file, w->names[i]);
        if (ak_error(ctx) != AK_OK)
            return NULL;
        const int64_t before = f.n;
        compare(w->tensors[i], w->names[i], a, &f);
        read[i] = f.n == before ? ak_array_tensor(ctx, a) : NULL;
        if (ak_error(ctx) != AK_OK)
            return NULL;
    }
    find_unexpected(file, w, &f);
    if (read && f.n) {
        if (f.shown < f.n)
            ak_fail(ctx, AK_ERR_FORMAT, "%s does not fit %s in %lld arrays:%s\n    and %lld more",
                    path, m->name, (long long)f.n, f.buf, (long long)(f.n - f.shown));
        else
            ak_fail(ctx, AK_ERR_FORMAT, "%s does not fit %s in %lld arrays:%s", path, m->name,
                    (long long)f.n, f.buf);
        return NULL;
    }
    return read;
}

ak_status ak_module_load_npz(ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return ak__refused(m ? m->ctx : NULL);
    ak_ctx *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK)
        return ak_error(ctx);
    weights w;
    if (!ak__complete(m, "ak_module_load_npz") || !collect(m, &w))
        return ak_error(ctx);
    ak_npz *file = ak_npz_open(ctx, path);
    ak_tensor **read = file ? read_all(m, path, file, &w) : NULL;
    for (int64_t i = 0; read && i < w.n; i++) {
        memcpy(w.tensors[i]->data, read[i]->data, (size_t)read[i]->size * sizeof *read[i]->data);
        ak__changed(w.tensors[i], "ak_module_load_npz");
    }
    ak_npz_close(file);
    return ak_error(ctx);
}
