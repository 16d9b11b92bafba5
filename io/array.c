/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays of any element type: making them, reading elements, turning them into tensors. */
#include "io/array.h"

#include "base/base.h"
#include "tensor/tensor_internal.h"

#include <math.h>
#include <string.h>

size_t ak_type_size(ak_type type)
{
    static const uint8_t sizes[] = {
#define SIZE(name, bytes, code) bytes,
        AK_TYPE_MAP(SIZE)
#undef SIZE
    };
    return (unsigned)type < AK_TYPE_COUNT ? sizes[type] : 0;
}

const char *ak_type_name(ak_type type)
{
    static const char names[][4] = {
#define NAME(name, bytes, code) code,
        AK_TYPE_MAP(NAME)
#undef NAME
    };
    return (unsigned)type < AK_TYPE_COUNT ? names[type] : "?";
}

bool ak__little_endian(void)
{
    const uint16_t one = 1;
    uint8_t        first;
    memcpy(&first, &one, 1);
    return first == 1;
}

void ak__swap_bytes(void *to, const void *from, int64_t count, size_t size)
{
    uint8_t       *t = to;
    const uint8_t *f = from;
    for (int64_t i = 0; i < count; i++, t += size, f += size) {
        uint8_t one[8];
        for (size_t b = 0; b < size; b++)
            one[b] = f[size - 1 - b];
        memcpy(t, one, size);
    }
}

ak_array *ak__arrays_of(ak_ctx *ctx, const char *who, const char *const *names,
                        ak_tensor *const *tensors, int n, ak_status *status)
{
    const size_t bytes = ((size_t)n + 1) * sizeof(ak_array);
    ak_array    *arrays = ak__malloc(bytes);
    *status = arrays ? AK_OK : ak__fail_memory(ctx, bytes);
    for (int i = 0; !*status && i < n; i++) {
        const ak_tensor *t = tensors[i];
        char what[80];
        snprintf(what, sizeof what, "tensor %d (\"%.40s\")", i, names[i] ? names[i] : "");
        if (!ak__tensor_check(ctx, t, who, what))
            *status = ak__refused(ctx);
        else
            arrays[i] = (ak_array){ .name = names[i], .shape = t->shape, .size = t->size,
                                    .type = sizeof(ak_real) == 8 ? AK_TYPE_F64 : AK_TYPE_F32,
                                    .data = t->data };
    }
    if (!*status)
        return arrays;
    ak__free(arrays);
    return NULL;
}

bool ak__array_bytes(ak_shape shape, ak_type type, size_t limit, size_t *bytes)
{
    size_t total = ak_type_size(type);
    bool   fits = true;
    for (int i = 0; i < shape.n; i++) {
        const int64_t d = shape.dims[i];
        if (d == 0) {
            *bytes = 0;
            return true;
        }
        if (d < 0 || (uint64_t)d > limit / total)
            fits = false;
        else
            total *= (size_t)d;
    }
    *bytes = total;
    return fits && total <= limit;
}

float ak__from_half(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31;
    const uint32_t fraction = h & 0x3ff;
    uint32_t       bits;
    float          x;
    if (exponent == 0) {                                    /* zero or denormal: fraction / 2^24 */
        x = (float)fraction * 0x1p-24f;
        return sign ? -x : x;
    }
    if (exponent == 31)
        bits = sign | 0x7f800000u | fraction << 13;
    else
        bits = sign | (exponent + 127 - 15) << 23 | fraction << 13;
    memcpy(&x, &bits, sizeof x);
    return x;
}

int64_t ak__beyond_real(const double *values, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (isfinite(values[i]) && !isfinite((ak_real)values[i]))
            return i;
    return -1;
}

/* Upper half of a float. */
static float from_bfloat16(uint16_t h)
{
    const uint32_t bits = (uint32_t)h << 16;
    float          x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

size_t ak__floats_size(ak__float_kind kind)
{
    return kind == AK__FLOAT64 ? 8 : kind == AK__FLOAT32 ? 4 : kind == AK__NO_FLOATS ? 0 : 2;
}

double ak__float_at(const ak__floats *f, int64_t i)
{
    const uint8_t *at = f->at + (size_t)i * ak__floats_size(f->kind);
    uint16_t       half;
    float          single;
    double         x = nan("");
    if (f->kind == AK__FLOAT64) {
        memcpy(&x, at, sizeof x);
    } else if (f->kind == AK__FLOAT32) {
        memcpy(&single, at, sizeof single);
        x = (double)single;
    } else if (f->kind != AK__NO_FLOATS) {
        memcpy(&half, at, sizeof half);
        x = (double)(f->kind == AK__FLOAT16 ? ak__from_half(half) : from_bfloat16(half));
    }
    return x;
}

/* Loops of their own for what whole models consist of: no step by way of double. */
void ak__floats_read(const ak__floats *f, int64_t first, int64_t n, ak_real *to)
{
    const uint8_t *at = f->at + (size_t)first * ak__floats_size(f->kind);
    uint16_t       half;
    float          single;
    if (n > 0 && f->kind == (sizeof(ak_real) == 8 ? AK__FLOAT64 : AK__FLOAT32)) {
        memcpy(to, at, (size_t)n * sizeof *to);
    } else if (f->kind == AK__FLOAT32) {
        for (int64_t i = 0; i < n; i++) {
            memcpy(&single, at + 4 * i, sizeof single);
            to[i] = (ak_real)single;
        }
    } else if (f->kind == AK__FLOAT64) {
        for (int64_t i = 0; i < n; i++)
            to[i] = (ak_real)ak__float_at(f, first + i);
    } else {
        for (int64_t i = 0; i < n; i++) {
            memcpy(&half, at + 2 * i, sizeof half);
            to[i] = (ak_real)(f->kind == AK__FLOAT16 ? ak__from_half(half) : from_bfloat16(half));
        }
    }
}

void ak__floats_look(const ak__floats *f, int64_t *not_finite, int64_t *beyond)
{
    *not_finite = 0;
    *beyond = -1;
    for (int64_t i = 0; i < f->n; i++) {
        const double x = ak__float_at(f, i);
        if (!isfinite(x))
            ++*not_finite;
        else if (*beyond < 0 && !isfinite((ak_real)x))
            *beyond = i;
    }
}

ak_array *ak__array_new(ak_ctx *ctx, const char *name, ak_type type, ak_shape shape)
{
    size_t bytes;
    if (!ak__array_bytes(shape, type, SIZE_MAX / 4, &bytes)) {
        ak_fail(ctx, AK_ERR_FORMAT, "%s: the array is too large for this machine", name);
        return NULL;
    }
    ak_array *a = ak__ctx_alloc(ctx, sizeof *a);
    char     *copy = a ? ak__ctx_strdup(ctx, name) : NULL;
    void     *data = copy ? ak__ctx_alloc(ctx, bytes ? bytes : 1) : NULL;
    if (!data)
        return NULL;
    *a = (ak_array){ .name = copy, .type = type, .shape = shape, .data = data,
                     .size = (int64_t)(bytes / ak_type_size(type)) };
    return a;
}

double ak_array_at(const ak_array *a, int64_t i)
{
    if (!a || i < 0 || i >= a->size)
        return nan("");
    switch (a->type) {
    case AK_TYPE_F32:  return (double)((const float *)a->data)[i];
    case AK_TYPE_F64:  return ((const double *)a->data)[i];
    case AK_TYPE_I8:   return ((const int8_t *)a->data)[i];
    case AK_TYPE_I16:  return ((const int16_t *)a->data)[i];
    case AK_TYPE_I32:  return ((const int32_t *)a->data)[i];
    case AK_TYPE_I64:  return (double)((const int64_t *)a->data)[i];
    case AK_TYPE_U8:   return ((const uint8_t *)a->data)[i];
    case AK_TYPE_U16:  return ((const uint16_t *)a->data)[i];
    case AK_TYPE_U32:  return ((const uint32_t *)a->data)[i];
    case AK_TYPE_U64:  return (double)((const uint64_t *)a->data)[i];
    case AK_TYPE_BOOL: return ((const uint8_t *)a->data)[i] != 0;
    case AK_TYPE_COUNT: break;
    }
    return nan("");
}

ak_tensor *ak_array_tensor(ak_ctx *ctx, const ak_array *a)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a))
        return &ak__poison;
    if (a->type == AK_TYPE_F32)
        return ak_from_float(ctx, a->shape, a->data);
    if (a->type == AK_TYPE_F64) {
        const int64_t i = ak__beyond_real(a->data, a->size);
        if (i < 0)
            return ak_from_double(ctx, a->shape, a->data);
        ak_fail(ctx, AK_ERR_VALUE, "array_tensor: element %lld of \"%s\" is %g, beyond the range "
                "of the library's numbers; scale the array", (long long)i, a->name,
                ((const double *)a->data)[i]);
        return &ak__poison;
    }
    ak_tensor *t = ak__tensor_new(ctx, a->shape);
    if (!ak_is_poison(t))
        for (int64_t i = 0; i < a->size; i++)
            t->data[i] = (ak_real)ak_array_at(a, i);
    return t;
}

ak_index *ak_array_index(ak_ctx *ctx, const ak_array *a)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, a))
        return &ak__poison_index;
    for (int64_t i = 0; i < a->size; i++) {
        const double x = ak_array_at(a, i);
        if (!(x >= INT32_MIN && x <= INT32_MAX) || x < floor(x) || x > floor(x)) {
            ak_fail(ctx, AK_ERR_VALUE, "array_index: element %lld of \"%s\" is %g; whole numbers "
                    "of 32 bits are needed", (long long)i, a->name, x);
            return &ak__poison_index;
        }
    }
    const size_t bytes = (size_t)(a->size ? a->size : 1) * sizeof(int32_t);
    int32_t     *values = ak__step_alloc(ctx, bytes);
    if (!values)
        return &ak__poison_index;
    for (int64_t i = 0; i < a->size; i++)
        values[i] = (int32_t)ak_array_at(a, i);
    return ak_index_from(ctx, a->shape, values);
}
