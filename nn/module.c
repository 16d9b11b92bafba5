/* SPDX-License-Identifier: Apache-2.0 */
/* The module object: building, names that nest, parameters, children, listing. */
#include "nn/module.h"

#include <akin/weights.h>

#include "base/base.h"
#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- building -------------------------------------------------------------------------------- */

static bool usable_name(ak_ctx *ctx, const char *path)
{
    if (strlen(path) >= AK__NAME_MAX / 2) {
        ak_fail(ctx, AK_ERR_VALUE, "module \"%.40s...\": its path is longer than %d characters",
                path, AK__NAME_MAX / 2 - 1);
        return false;
    }
    return ak__name_legal(ctx, "module", path);
}

ak_module *ak__module_at(ak_ctx *ctx, const char *path, const ak_module_kind *kind)
{
    if (!usable_name(ctx, path))
        return NULL;
    ak_module *m = ak__ctx_alloc(ctx, sizeof *m);
    char *copy = m ? ak__ctx_strdup(ctx, path) : NULL;
    void *state = copy && kind->state_bytes ? ak__ctx_alloc(ctx, kind->state_bytes) : NULL;
    if (!copy || (kind->state_bytes && !state))
        return NULL;
    *m = (ak_module){ .ctx = ctx, .kind = kind, .name = copy, .what = kind->name ? kind->name : "",
                      .forward = kind->forward, .user = state };
    return m;
}

/* A module named below the one that is open, and its child. */
static ak_module *make(ak_ctx *ctx, const char *name, const ak_module_kind *kind)
{
    ak_module *parent = ctx->module_open;
    char path[AK__NAME_MAX];
    if (!usable_name(ctx, name))
        return NULL;
    if (!parent)
        return ak__module_at(ctx, name, kind);
    ak__format(path, sizeof path, "%s/%s", parent->name, name);
    for (int64_t i = 0; i < parent->n_children; i++)
        if (strcmp(parent->children[i]->name, path) == 0) {
            ak_fail(ctx, AK_ERR_VALUE, "module %s: the name is used already in %s", path,
                    parent->name);
            return NULL;
        }
    ak_module *m = ak__module_at(ctx, path, kind);
    return m && ak__append_child(parent, m) ? m : NULL;
}

ak_module *ak_module_new(ak_ctx *ctx, const char *name, ak_forward_fn forward, void *user)
{
    static const ak_module_kind kind = { .needs = AK_IN_X };
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, forward))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    ak_module *m = make(ctx, name, &kind);
    if (!m)
        return NULL;
    m->forward = forward;
    m->user = user;
    return m;
}

ak_module *ak_module_make(ak_ctx *ctx, const char *name, const ak_module_kind *kind)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, name) || !AK__GIVEN(ctx, kind))
        return NULL;
    if (ak_error(ctx) != AK_OK)
        return NULL;
    const unsigned known = AK_IN_ALL, x = AK_IN_X;
    if (!kind->forward == !kind->forward_with ||
        ((kind->needs | kind->takes) & ~known) || (kind->forward && (kind->takes & ~x))) {
        ak_fail(ctx, AK_ERR_VALUE, "ak_module_make: kind of \"%.80s\": a kind has one of .forward "
                "(of x alone) and .forward_with, and .needs and .takes are AK_IN bits (0x%x, 0x%x "
                "of 0x%x)", name, kind->needs, kind->takes, known);
        return NULL;
    }
    return make(ctx, name, kind);
}

ak_module *ak_module_begin(ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    for (const ak_module *open = m->ctx->module_open; open; open = open->outer)
        if (open == m) {
            ak_fail(m->ctx, AK_ERR_STATE, "ak_module_begin: %s is open already\n    hint: "
                    "ak_module_end(m) is missing", m->name);
            return m;
        }
    m->outer = m->ctx->module_open;
    m->ctx->module_open = m;
    return m;
}

ak_module *ak_module_end(ak_module *m)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    ak_ctx *ctx = m->ctx;
    const ak_module *open = ctx->module_open;
    while (open && open != m)
        open = open->outer;
    if (!open) {
        ak_fail(ctx, AK_ERR_STATE, "ak_module_end: %s is not open%s%s", m->name,
                ctx->module_open ? "; open is " : "",
                ctx->module_open ? ctx->module_open->name : "");
        return NULL;
    }
    if (ctx->module_open != m)
        ak_fail(ctx, AK_ERR_STATE, "ak_module_end: %s inside of %s is still open\n    hint: each "
                "ak_module_begin has its ak_module_end", ctx->module_open->name, m->name);
    const bool failed = ak_error(ctx) != AK_OK;
    for (ak_module *end = ctx->module_open, *next; end != m->outer; end = next) {
        next = end->outer;
        end->broken = end->broken || failed;
        if (end != m)
            end->outer = NULL;
    }
    ctx->module_open = m->outer;
    m->outer = NULL;
    return m->broken ? NULL : m;
}

bool ak__complete(const ak_module *m, const char *who)
{
    if (m->ctx->module_open) {
        ak_fail(m->ctx, AK_ERR_STATE, "%s: the module %s is still open\n    hint: ak_module_end(m) "
                "is missing: what is made before it would be part of %s", who,
                m->ctx->module_open->name, m->ctx->module_open->name);
        return false;
    }
    if (m->broken) {
        ak_fail(m->ctx, AK_ERR_STATE, "%s: the module %s is not complete: there was an error while "
                "its parts were made", who, m->name);
        return false;
    }
    return true;
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

bool ak__append_tensor(ak_module *m, ak_tensor *t)
{
    m->bound = false;
    if (!grow(m->ctx, &m->tensors, m->n_tensors, &m->tensors_room))
        return false;
    m->tensors[m->n_tensors++] = t;
    return true;
}

bool ak__append_child(ak_module *m, ak_module *child)
{
    m->bound = false;
    if (!grow(m->ctx, &m->children, m->n_children, &m->children_room))
        return false;
    m->children[m->n_children++] = child;
    return true;
}

/* A part that was made inside a module that is open, and is handed to a container made there: it
 * stands in the container then. */
static void leave_open(const ak_module *container, const ak_module *child)
{
    for (ak_module *open = container->ctx->module_open; open; open = open->outer)
        for (int64_t i = 0; open != container && i < open->n_children; i++)
            if (open->children[i] == child) {
                memmove(open->children + i, open->children + i + 1,
                        (size_t)(open->n_children - i - 1) * sizeof *open->children);
                open->n_children--;
                return;
            }
}

static bool is_child(const ak_module *m, const ak_module *child)
{
    for (int64_t i = 0; i < m->n_children; i++)
        if (m->children[i] == child)
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
    if (m->ctx->module_open == m && is_child(m, child)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_module_add: %s is a part of %s already\n    hint: what "
                "is made between ak_module_begin and ak_module_end is added by itself; to run a "
                "part twice, add it again after ak_module_end", child->name, m->name);
        return child;
    }
    leave_open(m, child);
    ak__append_child(m, child);
    return child;
}

const char *ak__numbered(char buf[32], const char *name, int number)
{
    snprintf(buf, 32, "%s%d", name, number);
    return buf;
}

static ak_tensor *add_tensor(ak_module *m, const char *name, ak_shape shape, int flags,
                             bool buffer)
{
    char path[AK__NAME_MAX];
    if (!ak__format(path, sizeof path, "%s/%s", m->name, name)) {
        ak_fail(m->ctx, AK_ERR_VALUE, "module %s: the name \"%.40s...\" is too long", m->name,
                name);
        return &ak__poison;
    }
    ak_tensor *t = buffer ? ak_buffer(m->ctx, path, shape) : ak_param(m->ctx, path, shape, flags);
    return ak_is_poison(t) || ak__append_tensor(m, t) ? t : &ak__poison;
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

/* In context memory; what was there if there is no room. */
static const char *kept_text(ak_ctx *ctx, const char *there, const char *format, va_list args)
{
    char text[128];
    vsnprintf(text, sizeof text, format, args);
    const char *copy = ak__ctx_strdup(ctx, text);
    return copy ? copy : there;
}

void ak_module_describe(ak_module *m, const char *format, ...)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, format))
        return;
    va_list args;
    va_start(args, format);
    m->what = kept_text(m->ctx, m->what, format, args);
    va_end(args);
}

void ak__module_note(ak_module *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    m->note = kept_text(m->ctx, m->note, format, args);
    va_end(args);
}

bool ak__module_positive(ak_module *m, const char *what, int64_t x)
{
    if (x >= 1)
        return true;
    ak_fail(m->ctx, AK_ERR_VALUE, "%s: %s must be at least 1, got %" PRId64, m->name, what, x);
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
        ak_tensor *t = ak__first_visit(child, visit) ? nth_tensor(child, visit, i) : NULL;
        if (t)
            return t;
    }
    return NULL;
}

ak_tensor *ak_module_param(const ak_module *m, int64_t i)
{
    if (!AK__GIVEN(NULL, m))
        return NULL;
    return i >= 0 ? nth_tensor(m, ak__new_visit(m), &i) : NULL;
}

ak_tensor *ak_module_find(const ak_module *m, const char *path)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, path))
        return NULL;
    ak_tensor *t;
    for (int64_t i = 0; (t = ak_module_param(m, i)) != NULL; i++) {
        const char *rest = ak__below(t->name, m->name);
        if (rest && strcmp(rest, path) == 0)
            return t;
    }
    return NULL;
}

/* Is child i a layer? Not where it stands a second time, nor where all its parameters are of
 * modules elsewhere, as an output layer's that are the embedding's. */
static bool is_layer(const ak_module *m, int64_t i)
{
    ak_module       *child = m->children[i];
    const ak_tensor *t;
    for (int64_t k = 0; k < i; k++)
        if (m->children[k] == child)
            return false;
    for (int64_t k = 0; (t = ak_module_param(child, k)) != NULL; k++)
        if (!(t->flags & AK_PARAM_BUFFER) && ak__below(t->name, child->name))
            return true;
    return false;
}

/* Its own parameters as one pattern; NULL if there are none, or after an error. */
static const char *own_pattern(const ak_module *m)
{
    size_t room = 1;
    for (int64_t i = 0; i < m->n_tensors; i++)
        room += strlen(m->tensors[i]->name) + 1;
    char    *buf = ak__ctx_alloc(m->ctx, room);
    ak__text t = { 0 };
    if (!buf)
        return NULL;
    t = ak__text_in(buf, room);
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (!(m->tensors[i]->flags & AK_PARAM_BUFFER))
            ak__text_add(&t, "%s%s", t.n ? "," : "", m->tensors[i]->name);
    return t.n ? buf : NULL;
}

const char *const *ak_module_layers(ak_module *m)
{
    if (!AK__GIVEN(NULL, m) || ak_error(m->ctx) != AK_OK || !ak__complete(m, "ak_module_layers"))
        return NULL;
    const char **layers = ak__ctx_alloc(m->ctx, (size_t)(m->n_children + 2) * sizeof *layers);
    int64_t      n = 0;
    if (layers && (layers[n] = own_pattern(m)) != NULL)
        n++;
    for (int64_t i = 0; layers && i < m->n_children; i++) {
        char path[AK__NAME_MAX];
        if (!is_layer(m, i))
            continue;
        snprintf(path, sizeof path, "%.500s/*", m->children[i]->name);
        if (!(layers[n++] = ak__ctx_strdup(m->ctx, path)))
            return NULL;
    }
    if (n == 0 && ak_error(m->ctx) == AK_OK)
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_module_layers: %s has no parameters", m->name);
    return ak_error(m->ctx) == AK_OK ? layers : NULL;
}

static int64_t size_of(const ak_module *m, uint64_t visit)
{
    int64_t size = 0;
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (!(m->tensors[i]->flags & AK_PARAM_BUFFER))
            size += m->tensors[i]->size;
    for (int64_t c = 0; c < m->n_children; c++)
        size += ak__first_visit(m->children[c], visit) ? size_of(m->children[c], visit) : 0;
    return size;
}

int64_t ak_module_size(const ak_module *m)
{
    return AK__GIVEN(NULL, m) ? size_of(m, ak__new_visit(m)) : 0;
}

const char *ak__below(const char *name, const char *path)
{
    const size_t n = strlen(path);
    return strncmp(name, path, n) == 0 && name[n] == '/' ? name + n + 1 : NULL;
}

const char *ak__short_name(const char *name, const char *parent, const char *around)
{
    const char *rest = ak__below(name, parent);
    rest = rest ? rest : ak__below(name, around);
    return rest ? rest : name;
}

static void print_tree(const ak_module *m, const char *parent, const char *around, int depth,
                       FILE *file)
{
    fprintf(file, "%*s%-*s %-36s %10" PRId64 "%s\n", 2 * depth, "", 24 - 2 * depth,
            ak__short_name(m->name, parent, around), m->what, ak_module_size(m),
            m->evaluating ? "  (evaluation mode)" : "");
    for (int64_t i = 0; i < m->n_tensors; i++) {
        const ak_tensor *t = m->tensors[i];
        char shape[AK_SHAPE_TEXT];
        fprintf(file, "%*s%-*s %-36s%s%s\n", 2 * depth + 2, "", 22 - 2 * depth,
                ak__short_name(t->name, m->name, ""), ak_shape_text(t->shape, shape),
                t->flags & AK_PARAM_BUFFER ? " buffer" : "",
                t->flags & AK_PARAM_FROZEN ? " frozen" : "");
    }
    for (int64_t c = 0; c < m->n_children; c++)
        print_tree(m->children[c], m->name, parent, depth + 1, file);
}

void ak_module_print(const ak_module *m, FILE *file)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, file))
        return;
    if (m)
        print_tree(m, "", "", 0, file);
}
