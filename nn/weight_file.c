/* SPDX-License-Identifier: Apache-2.0 */
/* Archives of numpy and safetensors files as one sorted list of arrays. */
#include "nn/weights.h"

#include <stdlib.h>
#include <string.h>

static const char *name_at(const ak__weight_file *file, int64_t i)
{
    return file->npz ? ak_npz_name(file->npz, i) : ak_safetensors_name(file->tensors, i);
}

static int by_name(const void *a, const void *b)
{
    const ak__weight_entry *x = a, *y = b;
    if (x->outside != y->outside)
        return x->outside ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* Two names may differ in their dots and slashes alone. An archive may have one name twice, too. */
static bool names_differ(const ak__weight_file *file)
{
    for (int64_t i = 1; i < file->n; i++) {
        const ak__weight_entry *a = &file->entries[i - 1], *b = &file->entries[i];
        if (by_name(a, b) != 0)
            continue;
        ak_fail(file->ctx, AK_ERR_FORMAT, "%s: \"%.200s\" and \"%.200s\" are one name here\n"
                "    hint: \".\" and \"/\" are the same between the parts of a name", file->path,
                name_at(file, a->place), name_at(file, b->place));
        return false;
    }
    return true;
}

static bool read_names(ak__weight_file *file, const char *prefix)
{
    const size_t length = prefix ? strlen(prefix) : 0;
    file->n = file->npz ? ak_npz_count(file->npz) : ak_safetensors_count(file->tensors);
    file->entries = ak__step_alloc(file->ctx, ((size_t)file->n + 1) * sizeof *file->entries);
    if (prefix && !(prefix = ak__weight_name(file->ctx, prefix)))
        return false;
    for (int64_t i = 0; file->entries && i < file->n; i++) {
        const char *name = ak__weight_name(file->ctx, name_at(file, i));
        if (!name)
            return false;
        const bool outside = length && strncmp(name, prefix, length) != 0;
        file->entries[i] = (ak__weight_entry){ .name = outside ? name : name + length,
                                               .place = i, .outside = outside };
    }
    if (!file->entries)
        return false;
    if (file->n)
        qsort(file->entries, (size_t)file->n, sizeof *file->entries, by_name);
    return names_differ(file);
}

bool ak__weight_open(ak_ctx *ctx, const char *path, bool npz, const char *prefix,
                     ak__weight_file *file)
{
    *file = (ak__weight_file){ .ctx = ctx, .path = path };
    if (npz)
        file->npz = ak_npz_open(ctx, path);
    else
        file->tensors = ak_safetensors_open(ctx, path);
    if ((file->npz || file->tensors) && read_names(file, prefix))
        return true;
    ak__weight_close(file);
    return false;
}

void ak__weight_close(ak__weight_file *file)
{
    ak_npz_close(file->npz);
    ak_safetensors_close(file->tensors);
}

ak__weight_entry *ak__weight_find(const ak__weight_file *file, const char *name)
{
    const ak__weight_entry wanted = { .name = name };
    return file->n ? bsearch(&wanted, file->entries, (size_t)file->n, sizeof wanted, by_name)
                   : NULL;
}

bool ak__weight_look_at(const ak__weight_file *file, const ak__weight_entry *e,
                        ak__weight_look *look)
{
    if (file->tensors) {
        const ak_safetensors_entry *info = ak_safetensors_info(file->tensors, e->place);
        look->shape = info->shape;
        look->type = info->type;
        return ak__safetensors_floats(file->tensors, e->place, &look->floats);
    }
    const ak_array *a = ak_npz_at(file->npz, e->place);
    if (!a)
        return false;
    *look = (ak__weight_look){
        .shape = a->shape, .type = ak_type_name(a->type),
        .floats = { .kind = a->type == AK_TYPE_F32 ? AK__FLOAT32
                          : a->type == AK_TYPE_F64 ? AK__FLOAT64 : AK__NO_FLOATS,
                    .at = a->data, .n = a->size } };
    return true;
}
