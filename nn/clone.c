/* SPDX-License-Identifier: Apache-2.0 */
/* Copies of modules: momentum encoders, teachers. */
#include "nn/module.h"

#include "tensor/tensor_internal.h"

#include <stdint.h>
#include <string.h>

typedef struct plan {
    const ak_module *root;
    const char      *name;      /* of the copy */
    uint64_t         visit;
} plan;

/* "name/rest" for what is named below the root, "name/its name" for what is not. */
static void new_path(const plan *p, const char *name, char path[2 * AK__NAME_MAX])
{
    const char *rest = ak__below(name, p->root->name);
    if (strcmp(name, p->root->name) == 0)
        snprintf(path, 2 * AK__NAME_MAX, "%s", p->name);
    else
        snprintf(path, 2 * AK__NAME_MAX, "%s/%s", p->name, rest ? rest : name);
}

/* ---- before anything is made ----------------------------------------------------------------- */

static bool tensor_can(const plan *p, const ak_tensor *t)
{
    ak_ctx *ctx = p->root->ctx;
    char path[2 * AK__NAME_MAX];
    new_path(p, t->name, path);
    if (strlen(path) < AK__NAME_MAX && !ak_param_find(ctx, path))
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "ak_module_clone: the copy of %s can not be \"%.200s\": the name "
            "is %s", t->name, path, strlen(path) < AK__NAME_MAX ? "used already" : "too long");
    return false;
}

static bool can(ak_module *m, const plan *p)
{
    if (!ak__first_visit(m, p->visit))
        return true;
    if (m->user && !m->kind->state_bytes) {
        ak_fail(m->ctx, AK_ERR_VALUE, "ak_module_clone: %s can not be copied: its user pointer is "
                "the program's own\n    hint: make it by ak_module_make with a kind that has "
                ".state_bytes, and .bind if the state has pointers", m->name);
        return false;
    }
    for (int64_t i = 0; i < m->n_tensors; i++)
        if (!tensor_can(p, m->tensors[i]))
            return false;
    for (int64_t i = 0; i < m->n_children; i++)
        if (!can(m->children[i], p))
            return false;
    return true;
}

/* ---- making ---------------------------------------------------------------------------------- */

static ak_tensor *copy_tensor(const plan *p, const ak_tensor *t)
{
    ak_ctx *ctx = p->root->ctx;
    char path[2 * AK__NAME_MAX];
    new_path(p, t->name, path);
    const int kept = t->flags & (AK_PARAM_NO_DECAY | AK_PARAM_BUFFER);
    ak_tensor *c = ak_param(ctx, path, t->shape,
                            kept & AK_PARAM_BUFFER ? kept : kept | AK_PARAM_FROZEN);
    ak__twin *twin = ak_is_poison(c) ? NULL : ak__ctx_alloc(ctx, sizeof *twin);
    if (!twin)
        return NULL;
    *twin = (ak__twin){ .from = t, .root = p->root->name };
    c->twin = twin;
    memcpy(c->data, t->data, (size_t)t->size * sizeof *t->data);
    return c;
}

static ak_module *copy(ak_module *m, const plan *p)
{
    if (!ak__first_visit(m, p->visit))
        return m->clone;
    char path[2 * AK__NAME_MAX];
    new_path(p, m->name, path);
    ak_module *c = m->clone = ak__module_at(m->ctx, path, m->kind);
    if (!c)
        return NULL;
    c->what = m->what;
    c->note = m->note;
    c->forward = m->forward;
    c->evaluating = m->evaluating;
    if (m->kind->state_bytes)
        memcpy(c->user, m->user, m->kind->state_bytes);
    for (int64_t i = 0; i < m->n_tensors; i++) {
        ak_tensor *t = copy_tensor(p, m->tensors[i]);
        if (!t || !ak__append_tensor(c, t))
            return NULL;
    }
    for (int64_t i = 0; i < m->n_children; i++) {
        ak_module *child = copy(m->children[i], p);
        if (!child || !ak__append_child(c, child))
            return NULL;
    }
    return c;
}

/* ---- what the state points to ---------------------------------------------------------------- */

/* The name of the part of m whose address this is; NULL if there is none. */
static const char *part_at(ak_module *m, const void *address, uint64_t visit)
{
    const char *name = address == m ? m->name : NULL;
    if (!ak__first_visit(m, visit))
        return NULL;
    for (int64_t i = 0; !name && i < m->n_tensors; i++)
        name = address == m->tensors[i] ? m->tensors[i]->name : NULL;
    for (int64_t i = 0; !name && i < m->n_children; i++)
        name = part_at(m->children[i], address, visit);
    return name;
}

/* State that still points to the original would run the original's weights without a word. */
static bool state_is_own(ak_module *root, const ak_module *c)
{
    const size_t words = c->kind->plain_state ? 0 : c->kind->state_bytes / sizeof(void *);
    for (size_t i = 0; i < words; i++) {
        void *word;
        memcpy(&word, (const char *)c->user + i * sizeof word, sizeof word);
        const char *name = word ? part_at(root, word, ak__new_visit(root)) : NULL;
        if (name) {
            ak_fail(c->ctx, AK_ERR_VALUE, "ak_module_clone: the state of %s (%s) points to %s\n"
                    "    hint: .bind of its kind must set every pointer to a part anew", c->name,
                    c->what, name);
            return false;
        }
    }
    return true;
}

static bool bind_all(ak_module *root, ak_module *c, uint64_t visit)
{
    if (!ak__first_visit(c, visit))
        return true;
    if (c->kind->bind)
        c->kind->bind(c);
    c->bound = true;
    if (!state_is_own(root, c))
        return false;
    for (int64_t i = 0; i < c->n_children; i++)
        if (!bind_all(root, c->children[i], visit))
            return false;
    return true;
}

ak_module *ak_module_clone(ak_module *m, const char *name)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, name))
        return NULL;
    if (ak_error(m->ctx) != AK_OK || !ak__complete(m, "ak_module_clone") ||
        !ak__name_legal(m->ctx, "ak_module_clone", name))
        return NULL;
    plan p = { .root = m, .name = name, .visit = ak__new_visit(m) };
    if (!can(m, &p))
        return NULL;
    p.visit = ak__new_visit(m);
    ak_module *c = copy(m, &p);
    return c && bind_all(m, c, ak__new_visit(m)) ? c : NULL;
}
