/* SPDX-License-Identifier: Apache-2.0 */
/* The module object: path, parameters, children, forward, evaluation mode, listing. */
#include "nn/module.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

struct ak_module {
    ak_ctx        *ctx;
    const char    *name;            /* path */
    const char    *what;            /* for listings: "linear 128 -> 64" */
    ak_forward_fn  forward;
    void          *user;
    bool           evaluating;      /* ak_module_train(m, false) */
    int64_t        n_tensors, tensors_room;
    ak_tensor    **tensors;         /* [n_tensors] own parameters and buffers */
    int64_t        n_children, children_room;
    ak_module    **children;        /* [n_children] */
    uint64_t       visit;           /* last walk that passed here */
};

/* A walk passes a module once, however often it stands in the tree: weights that two places share
 * are one set of weights. The number of a new walk: */
static uint64_t new_visit(const ak_module *m)
{
    return ++m->ctx->module_visits;
}

static bool first_visit(ak_module *m, uint64_t visit)
{
    const bool first = m->visit != visit;
    m->visit = visit;
    return first;
}

/* ---- building -------------------------------------------------------------------------------- */

ak_module *ak_module_new(ak_ctx *ctx, const char *name, ak_forward_fn forward, void *user)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, forward))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    if (!*name) {
        ak_fail(ctx, AK_ERR_VALUE, "module: the name is empty, it must have one byte at least");
        return NULL;
    }
    if (strlen(name) >= AK__NAME_MAX / 2) {
        ak_fail(ctx, AK_ERR_VALUE, "module \"%.40s...\": its path is longer than %d characters",
                name, AK__NAME_MAX / 2 - 1);
        return NULL;
    }
    ak_module *m = ak__ctx_alloc(ctx, sizeof *m);
    char *copy = m ? ak__ctx_strdup(ctx, name) : NULL;
    if (!copy)
        return NULL;
    *m = (ak_module){ .ctx = ctx, .name = copy, .what = "", .forward = forward, .user = user };
    return m;
}

ak_module *ak__module_make(ak_ctx *ctx, const char *name, ak_forward_fn forward, size_t bytes)
{
    if (ak_error(ctx) != AK_OK)
        return NULL;
    ak_module *m = ak_module_new(ctx, name, forward, NULL);
    if (!m)
        return NULL;
    m->user = ak__ctx_alloc(ctx, bytes ? bytes : 1);
    return m->user ? m : NULL;
}

/* Room for one more pointer. The old array stays with the context: a few bytes a module. */
static bool grow(ak_ctx *ctx, void *list, int64_t n, int64_t *room)
{
    if (n < *room)
        return true;
    const int64_t wanted = *room ? 2 * *room : 4;
    void **bigger = ak__ctx_alloc(ctx, (size_t)wanted * sizeof *bigger);
    if (!bigger)
        return false;
    void **old;
    memcpy(&old, list, sizeof old);
    if (n)
        memcpy(bigger, old, (size_t)n * sizeof *bigger);
    memcpy(list, &bigger, sizeof bigger);
    *room = wanted;
    return true;
}

/* Is m the tree's root or below it? */
static bool contains(const ak_module *root, const ak_module *m)
{
    if (root == m)
        return true;
    for (int64_t i = 0; i < root->n_children; i++)
        if (contains(root->children[i], m))
            return true;
    return false;
}

ak_module *ak_module_add(ak_module *m, ak_module *child)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, child))
        return NULL;
    if (child->ctx != m->ctx) {
        ak_fail(m->ctx, AK_ERR_CONTEXT, "module %s: child %s belongs to another context", m->name,
                child->name);
        return child;
    }
    if (contains(child, m)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "module %s: %s can not be its child: %s\n    hint: modules "
                "form a tree", m->name, child->name,
                child == m ? "a module is no part of itself"
                           : "the one is part of the other already, the other way round");
        return child;
    }
    if (grow(m->ctx, &m->children, m->n_children, &m->children_room))
        m->children[m->n_children++] = child;
    return child;
}

/* Append to a path of at most AK__NAME_MAX - 1 characters; what is longer is cut, and then refused
 * by ak_module_new. */
static void append(char *buf, const char *text)
{
    size_t n = strlen(buf);
    while (*text && n < AK__NAME_MAX - 1)
        buf[n++] = *text++;
    buf[n] = '\0';
}

const char *ak__part_name(char *buf, const char *parent, const char *name, int number)
{
    char digits[16];
    snprintf(digits, sizeof digits, "%d", number);
    buf[0] = '\0';
    append(buf, parent);
    append(buf, "/");
    append(buf, name);
    if (number >= 0)
        append(buf, digits);
    return buf;
}

const char *ak__module_path(char *buf, const ak_module *m, const char *name)
{
    return ak__part_name(buf, m->name, name, -1);
}

static ak_tensor *add_tensor(ak_module *m, const char *name, ak_shape shape, int flags,
                             bool buffer)
{
    char path[AK__NAME_MAX];
    if (strlen(m->name) + strlen(name) + 2 > sizeof path) {
        ak_fail(m->ctx, AK_ERR_VALUE, "module %s: the name \"%.40s...\" is too long", m->name,
                name);
        return &ak__poison;
    }
    ak__module_path(path, m, name);
    ak_tensor *t = buffer ? ak_buffer(m->ctx, path, shape) : ak_param(m->ctx, path, shape, flags);
    if (ak_is_poison(t))
        return t;
    if (!grow(m->ctx, &m->tensors, m->n_tensors, &m->tensors_room))
        return &ak__poison;
    m->tensors[m->n_tensors++] = t;
    return t;
}

ak_tensor *ak_module_add_param(ak_module *m, const char *name, ak_shape shape, int flags)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, name))
        return &ak__poison;
    return add_tensor(m, name, shape, flags, false);
}

ak_tensor *ak_module_add_buffer(ak_module *m, const char *name, ak_shape shape)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, name))
        return &ak__poison;
    return add_tensor(m, name, shape, 0, true);
}

void ak_module_describe(ak_module *m, const char *format, ...)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, format))
        return;
    char text[128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *copy = ak__ctx_strdup(m->ctx, text);
    if (copy)
        m->what = copy;
}

bool ak__module_positive(ak_ctx *ctx, const char *name, const char *what, int64_t x)
{
    if (x >= 1)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: %s must be at least 1, got %" PRId64, name, what, x);
    return false;
}

/* ---- parameters of layers -------------------------------------------------------------------- */

ak_tensor *ak__module_weight(ak_module *m, ak_shape shape, ak_init init)
{
    if (!ak__init_known(m->ctx, m->name, init))
        return &ak__poison;
    ak_tensor *w = ak_module_add_param(m, "weight", shape, 0);
    if (!ak_is_poison(w))
        ak_init_fill(w, init);
    return w;
}

ak_tensor *ak__module_bias(ak_module *m, int64_t size, const ak_tensor *weight)
{
    ak_tensor *b = ak_module_add_param(m, "bias", AK_SHAPE(size), AK_PARAM_NO_DECAY);
    if (ak_is_poison(b) || ak_is_poison(weight) || weight->size == 0)
        return b;
    const double fan_in = (double)(weight->size / weight->shape.dims[0]);
    ak_init_fill(b, (ak_init){ .kind = AK_INIT_UNIFORM, .scale = 1 / sqrt(fan_in) });
    return b;
}

ak_tensor *ak__module_scale(ak_module *m, const char *name, int64_t size, double value)
{
    ak_tensor *t = ak_module_add_param(m, name, AK_SHAPE(size), AK_PARAM_NO_DECAY);
    if (!ak_is_poison(t))
        ak_fill(t, value);
    return t;
}

ak_forward_fn ak__module_function(const ak_module *m)
{
    return m ? m->forward : NULL;
}

/* ---- running --------------------------------------------------------------------------------- */

ak_tensor *ak_forward(ak_module *m, ak_tensor *x)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m) || !AK__TENSOR(m->ctx, x))
        return &ak__poison;
    if (ak_error(m->ctx) != AK_OK)
        return &ak__poison;
    const bool training = ak_is_training(m->ctx);
    if (m->evaluating)
        ak_train_mode(m->ctx, false);
    ak_tensor *y = m->forward(m, x);
    if (m->evaluating)
        ak_train_mode(m->ctx, training);
    if (!y) {
        ak_fail(m->ctx, AK_ERR_VALUE, "%s: its forward function returned NULL\n    hint: a tensor "
                "is wanted, poison after an error", m->name);
        return &ak__poison;
    }
    return y;
}

void ak_module_train(ak_module *m, bool train)
{
    if (!AK__GIVEN(NULL, m))
        return;
    if (m)
        m->evaluating = !train;
}

ak_tensor *ak__module_shape_error(ak_module *m, const ak_tensor *x, const char *format, ...)
{
    char expected[160], got[AK_SHAPE_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(expected, sizeof expected, format, args);
    va_end(args);
    ak_fail(m->ctx, AK_ERR_SHAPE, "%s (%s): expected x %s, got %s%s%s", m->name, m->what, expected,
            x->name ? x->name : "", x->name ? " " : "", ak_shape_text(x->shape, got));
    return &ak__poison;
}

/* ---- looking --------------------------------------------------------------------------------- */

const char *ak_module_name(const ak_module *m)
{
    return m ? m->name : "";
}

void *ak_module_user(const ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    return m->user;
}

ak_ctx *ak_module_ctx(const ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    return m->ctx;
}

ak_module *ak_module_child(const ak_module *m, int64_t i)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    return i >= 0 && i < m->n_children ? m->children[i] : NULL;
}

/* The i-th tensor below m; *i is lowered by how many were passed. Depth is the nesting of modules
 * that the program wrote, a handful. */
static ak_tensor *nth_tensor(const ak_module *m, uint64_t visit, int64_t *i)
{
    if (*i < m->n_tensors)
        return m->tensors[*i];
    *i -= m->n_tensors;
    for (int64_t c = 0; c < m->n_children; c++) {
        ak_module *child = m->children[c];
        ak_tensor *t = first_visit(child, visit) ? nth_tensor(child, visit, i) : NULL;
        if (t)
            return t;
    }
    return NULL;
}

ak_tensor *ak_module_param(const ak_module *m, int64_t i)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    return i >= 0 ? nth_tensor(m, new_visit(m), &i) : NULL;
}

ak_tensor *ak_module_find(const ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return NULL;
    char name[AK__NAME_MAX];
    ak__module_path(name, m, path);
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++)
        if (strcmp(t->name, name) == 0)
            return t;
    return NULL;
}

static int64_t size_of(const ak_module *m, uint64_t visit)
{
    int64_t size = 0;
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (!(m->tensors[i]->flags & AK_PARAM_BUFFER))
            size += m->tensors[i]->size;
    for (int64_t c = 0; c < m->n_children; c++)
        size += first_visit(m->children[c], visit) ? size_of(m->children[c], visit) : 0;
    return size;
}

int64_t ak_module_size(const ak_module *m)
{
    return AK__GIVEN(NULL, m) ? size_of(m, new_visit(m)) : 0;
}

/* A child is listed by what its path adds to its parent's. */
static const char *short_name(const char *name, const char *parent)
{
    const size_t n = strlen(parent);
    return n && strncmp(name, parent, n) == 0 && name[n] == '/' ? name + n + 1 : name;
}

static void print_tree(const ak_module *m, const char *parent, int depth, FILE *file)
{
    fprintf(file, "%*s%-*s %-36s %10" PRId64 "%s\n", 2 * depth, "", 24 - 2 * depth,
            short_name(m->name, parent), m->what, ak_module_size(m),
            m->evaluating ? "  (evaluation mode)" : "");
    for (int64_t i = 0; i < m->n_tensors; i++) {
        const ak_tensor *t = m->tensors[i];
        char shape[AK_SHAPE_TEXT];
        fprintf(file, "%*s%-*s %-36s%s%s\n", 2 * depth + 2, "", 22 - 2 * depth,
                short_name(t->name, m->name), ak_shape_text(t->shape, shape),
                t->flags & AK_PARAM_BUFFER ? " buffer" : "",
                t->flags & AK_PARAM_FROZEN ? " frozen" : "");
    }
    for (int64_t c = 0; c < m->n_children; c++)
        print_tree(m->children[c], m->name, depth + 1, file);
}

void ak_module_print(const ak_module *m, FILE *file)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, file))
        return;
    if (m)
        print_tree(m, "", 0, file);
}
