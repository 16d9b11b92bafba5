/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/rows.h"

#include "autograd/tape.h"

/* ---- what is shared ------------------------------------------------------------------------- */

static void *copied(ak_ctx *ctx, const void *from, size_t bytes)
{
    void *to = ak__ctx_alloc(ctx, bytes);
    if (!to)
        bench_die("out of memory");
    return memcpy(to, from, bytes);
}

static void add(bench_archive *a, const char *name, ak_type type, ak_shape shape,
                const void *values)
{
    if (a->n == BENCH_SHARED)
        bench_die("more arrays than BENCH_SHARED");
    const int64_t size = ak_shape_size(shape);
    a->arrays[a->n++] = (ak_array){
        .name = ak__ctx_strdup(a->ctx, name), .type = type, .shape = shape, .size = size,
        .data = copied(a->ctx, values, (size_t)size * ak_type_size(type)) };
}

void bench_share_values(bench_archive *a, const char *name, ak_shape shape, const ak_real *values)
{
    add(a, name, sizeof(ak_real) == 4 ? AK_TYPE_F32 : AK_TYPE_F64, shape, values);
}

void bench_share(bench_archive *a, const char *name, const ak_tensor *t)
{
    bench_share_values(a, name, t->shape, t->data);
}

void bench_share_number(bench_archive *a, const char *name, double value)
{
    add(a, name, AK_TYPE_F64, AK_SCALAR, &value);
}

void bench_share_index(bench_archive *a, const char *name, const ak_index *x)
{
    add(a, name, AK_TYPE_I32, x->shape, x->data);
}

void bench_share_params(bench_archive *a)
{
    const ak_tensor *p;
    for (int64_t i = 0; (p = ak_param_at(a->ctx, i)) != NULL; i++) {
        char name[256];
        snprintf(name, sizeof name, "in/%s", p->name);
        if (!(p->flags & AK_PARAM_BUFFER))
            bench_share(a, name, p);
    }
}

/* ---- rows and jobs -------------------------------------------------------------------------- */

void *bench_job_state(bench_job *j, size_t bytes)
{
    j->state = calloc(1, bytes);
    if (!j->state)
        bench_die("out of memory");
    return j->state;
}

bench_row *bench_table_add(bench_table *t, const char *format, ...)
{
    if (t->n == BENCH_COUNT(t->rows))
        bench_die("more rows than a bench_table holds");
    bench_row *row = &t->rows[t->n++];
    va_list args;
    va_start(args, format);
    const int length = vsnprintf(row->name, sizeof row->name, format, args);
    va_end(args);
    if (length >= (int)sizeof row->name)
        bench_die("the name of a row is too long");
    return row;
}

const bench_row *bench_table_find(const bench_table *t, const char *name)
{
    for (int i = 0; i < t->n; i++)
        if (strcmp(t->rows[i].name, name) == 0)
            return &t->rows[i];
    return NULL;
}

/* ---- helpers -------------------------------------------------------------------------------- */

ak_tensor *bench_normal(ak_ctx *ctx, ak_shape shape, uint64_t stream)
{
    ak_tensor *t = ak_state(ctx, shape);
    for (int64_t i = 0; i < t->size; i++)
        t->data[i] = (ak_real)ak_random_normal(1, stream, (uint64_t)i);
    return t;
}

ak_tensor *bench_leaf(ak_tensor *t)
{
    return ak_require_grad(ak_detach(t));
}

double bench_tape_flops(ak_ctx *ctx)
{
    double sum = 0;
    for (const ak_call *k = ctx->tape; k; k = k->prev)
        sum += 3 * ak__call_flops(k);
    return sum;
}
