/* SPDX-License-Identifier: Apache-2.0 */
/* What a checkpoint holds of an optimiser: steps, learning rate, history. */
#include "base/state.h"
#include "optim/optim_internal.h"

#include <inttypes.h>

/* u64 arrays of history (0 to 2), u64 bytes a number, u64 parameters, u64 steps, f64 lr; then for
 * every parameter: u64 length of the name, the name, u64 size, u64 steps, its history.
 * docs/FORMATS.md */
#define HEAD_BYTES 40

static int arrays_of(const ak_optim *opt)
{
    return (opt->history[0] != NULL) + (opt->history[1] != NULL);
}

static size_t entry_bytes(const ak_optim *opt, const ak_tensor *t)
{
    return 24 + strlen(t->name) + (size_t)arrays_of(opt) * (size_t)t->size * sizeof(ak_real);
}

static size_t optim_state_size(void *obj)
{
    const ak_optim *opt = obj;
    size_t size = HEAD_BYTES;
    for (int64_t i = 0; i < opt->n; i++)
        size += entry_bytes(opt, opt->entries[i].param);
    return size;
}

static void optim_state_save(void *obj, unsigned char *bytes)
{
    const ak_optim *opt = obj;
    ak__put_u64(&bytes, (uint64_t)arrays_of(opt));
    ak__put_u64(&bytes, sizeof(ak_real));
    ak__put_u64(&bytes, (uint64_t)opt->n);
    ak__put_u64(&bytes, (uint64_t)opt->steps);
    ak__put_f64(&bytes, opt->lr);
    for (int64_t i = 0; i < opt->n; i++) {
        const ak__optim_entry *e = &opt->entries[i];
        const size_t length = strlen(e->param->name);
        const size_t numbers = (size_t)e->param->size * sizeof(ak_real);
        ak__put_u64(&bytes, length);
        memcpy(bytes, e->param->name, length);
        bytes += length;
        ak__put_u64(&bytes, (uint64_t)e->param->size);
        ak__put_u64(&bytes, (uint64_t)e->steps);
        for (int m = 0; m < arrays_of(opt); m++, bytes += numbers)
            memcpy(bytes, opt->history[m] + e->at, numbers);
    }
}

static ak_status optim_state_check(void *obj, const unsigned char *bytes, size_t size)
{
    const ak_optim *opt = obj;
    const unsigned char *const end = bytes + size;
    if (size < HEAD_BYTES)
        return ak_fail(opt->ctx, AK_ERR_FORMAT, "%s(\"%s\"): its state in the file has only %zu "
                       "bytes", opt->kind, opt->pattern, size);
    const uint64_t arrays = ak__get_u64(&bytes), width = ak__get_u64(&bytes);
    const uint64_t n = ak__get_u64(&bytes);
    bytes += 16;
    if (arrays != (uint64_t)arrays_of(opt) || width != sizeof(ak_real) || n != (uint64_t)opt->n)
        return ak_fail(opt->ctx, AK_ERR_FORMAT, "%s(\"%s\"): the file holds %" PRIu64 " parameters "
                       "with %" PRIu64 " moments of %" PRIu64 " bytes, this optimiser has %" PRId64
                       " with %d of %zu", opt->kind, opt->pattern, n, arrays, width, opt->n,
                       arrays_of(opt), sizeof(ak_real));
    for (int64_t i = 0; i < opt->n; i++) {
        const ak_tensor *t = opt->entries[i].param;
        const size_t need = entry_bytes(opt, t), length = strlen(t->name);
        if ((size_t)(end - bytes) < need || ak__get_u64(&bytes) != length ||
            memcmp(bytes, t->name, length) != 0)
            return ak_fail(opt->ctx, AK_ERR_FORMAT, "%s(\"%s\"): its parameter %" PRId64 " is %s "
                           "here and another in the file", opt->kind, opt->pattern, i, t->name);
        bytes += length;
        if (ak__get_u64(&bytes) != (uint64_t)t->size)
            return ak_fail(opt->ctx, AK_ERR_SHAPE, "%s(\"%s\"): %s has another size in the file",
                           opt->kind, opt->pattern, t->name);
        bytes += need - length - 16;
    }
    if (bytes != end)
        return ak_fail(opt->ctx, AK_ERR_FORMAT, "%s(\"%s\"): %zu bytes too many in its state",
                       opt->kind, opt->pattern, (size_t)(end - bytes));
    return AK_OK;
}

static void optim_state_load(void *obj, const unsigned char *bytes, size_t size)
{
    ak_optim *opt = obj;
    (void)size;
    bytes += 24;
    opt->steps = (int64_t)ak__get_u64(&bytes);
    opt->lr = ak__get_f64(&bytes);
    for (int64_t i = 0; i < opt->n; i++) {
        ak__optim_entry *e = &opt->entries[i];
        const size_t numbers = (size_t)e->param->size * sizeof(ak_real);
        bytes += 8 + strlen(e->param->name) + 8;
        e->steps = (int64_t)ak__get_u64(&bytes);
        for (int m = 0; m < arrays_of(opt); m++, bytes += numbers)
            memcpy(opt->history[m] + e->at, bytes, numbers);
    }
    ak__optim_drop_gradients(opt);
}

static int64_t optim_state_not_finite(void *obj, const char **where)
{
    const ak_optim *opt = obj;
    int64_t count = 0;
    for (int64_t i = 0; i < opt->n; i++)
        for (int m = 0; m < arrays_of(opt); m++) {
            const ak__optim_entry *e = &opt->entries[i];
            const int64_t bad = ak__count_not_finite(opt->history[m] + e->at, e->param->size, NULL);
            if (bad && !count)
                *where = e->param->name;
            count += bad;
        }
    return count;
}

bool ak__optim_register(ak_optim *opt)
{
    static const ak__state_ops ops = {
        optim_state_size, optim_state_save, optim_state_check, optim_state_load,
        optim_state_not_finite
    };
    char name[200];
    snprintf(name, sizeof name, "%s %s", opt->kind, opt->pattern);
    return ak__state_register(opt->ctx, name, &ops, opt) != NULL;
}
