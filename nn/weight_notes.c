/* SPDX-License-Identifier: Apache-2.0 */
/* What weights mean beyond their shapes (heads, an activation, the epsilon of a norm) goes into the
 * metadata of a file, and is compared when they come back: with another of these the numbers would
 * fit and say something else. */
#include "nn/weights.h"

#include <stdio.h>
#include <string.h>

#include "nn/module.h"

/* In front of a module's path in the file's metadata. */
#define KEY "module "

typedef struct notes {
    ak_module  *root;
    const char *prefix;             /* of all names in the file, with "/"; "" = none */
    const char **list;              /* key, note, key, note, ..; NULL: they are counted only */
    int64_t     n;
    bool        failed;
} notes;

/* Below the module that is saved; its whole path where it is not named below it. */
static const char *path_in(const notes *all, const ak_module *m)
{
    const char *below = ak__below(m->name, all->root->name);
    return m == all->root ? "" : below ? below : m->name;
}

static void add(notes *all, ak_module *m, uint64_t visit)
{
    if (!ak__first_visit(m, visit) || all->failed)
        return;
    if (m->note && all->list) {
        char key[2 * AK__WEIGHT_NAME];
        snprintf(key, sizeof key, KEY "%s%s", all->prefix, path_in(all, m));
        const size_t size = strlen(key) + 1;
        char *copy = ak__step_alloc(m->ctx, size);
        all->failed = !copy;
        if (!copy)
            return;
        all->list[all->n] = memcpy(copy, key, size);
        all->list[all->n + 1] = m->note;
    }
    all->n += m->note ? 2 : 0;
    for (int64_t i = 0; i < m->n_children; i++)
        add(all, m->children[i], visit);
}

static bool set_prefix(notes *all, const char *prefix)
{
    all->prefix = prefix ? ak__weight_name(all->root->ctx, prefix) : "";
    return all->prefix;
}

const char *const *ak__weight_notes(ak_module *m, const char *prefix, const char *const *first)
{
    notes all = { .root = m };
    int64_t start = 0;
    if (!set_prefix(&all, prefix))
        return NULL;
    while (first[start])
        start++;
    add(&all, m, ak__new_visit(m));
    all.list = ak__step_alloc(m->ctx, (size_t)(start + all.n + 1) * sizeof *all.list);
    if (!all.list)
        return NULL;
    memcpy(all.list, first, (size_t)start * sizeof *first);
    all.n = start;
    add(&all, m, ak__new_visit(m));
    all.list[all.n] = NULL;
    return all.failed ? NULL : all.list;
}

static const ak_module *at_path(const notes *all, ak_module *m, const char *path, uint64_t visit)
{
    if (!ak__first_visit(m, visit))
        return NULL;
    if (strcmp(path_in(all, m), path) == 0)
        return m;
    const ak_module *found = NULL;
    for (int64_t i = 0; i < m->n_children && !found; i++)
        found = at_path(all, m->children[i], path, visit);
    return found;
}

static bool is_loaded(const char *path, const char *const *names, int64_t n)
{
    const size_t length = strlen(path);
    for (int64_t i = 0; i < n; i++)
        if (!length || (strncmp(names[i], path, length) == 0 && names[i][length] == '/'))
            return true;
    return false;
}

bool ak__weight_notes_agree(ak_module *m, const char *prefix, const ak__weight_file *file,
                            const char *const *names, int64_t n)
{
    notes all = { .root = m };
    const char *key, *value;
    if (!file->tensors)
        return true;
    if (!set_prefix(&all, prefix))
        return false;
    const size_t front = strlen(KEY), length = strlen(all.prefix);
    for (int64_t i = 0; (key = ak_safetensors_metadata(file->tensors, i, &value)) != NULL; i++) {
        if (strncmp(key, KEY, front) != 0 || strncmp(key + front, all.prefix, length) != 0)
            continue;
        const char *path = key + front + length;
        const ak_module *one = at_path(&all, m, path, ak__new_visit(m));
        if (!one || !one->note || strcmp(one->note, value) == 0 || !is_loaded(path, names, n))
            continue;
        ak_fail(m->ctx, AK_ERR_FORMAT, "%s: these weights are of %s with %.100s; here it has %s\n"
                "    hint: make the module with the options that its weights were trained with",
                file->path, one->name, value, one->note);
        return false;
    }
    return true;
}
