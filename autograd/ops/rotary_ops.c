/* SPDX-License-Identifier: Apache-2.0 */
/* Positions inside attention: rotary turns, and biases by bucket of distance. */
#include <inttypes.h>
#include <math.h>

#include <akin/ops.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "tensor/kernels/kernels.h"

/* ---- rotary ---------------------------------------------------------------------------------- */

typedef struct rotary_work {
    int64_t N, H, T, D;
    int64_t sample, head, row;      /* strides */
    int64_t turned, width;
    bool    interleaved, add, per_sample;
    ak_real sign;                   /* -1: back */
    const ak_real *table;           /* [T or N T][width]: cosines, then sines, of width/2 angles */
    const ak_real *from;
    ak_real *to;
} rotary_work;

static rotary_work rotary_sizes(const ak_call *k)
{
    const ak_rotary_options *o = k->attr;
    const int64_t *d = k->in[0]->shape.dims;
    rotary_work w = { .N = d[0], .interleaved = o->interleaved, .per_sample = k->index[0] != NULL };
    if (o->heads > 0) {
        w.H = o->heads;
        w.T = d[1];
        w.D = d[2] / w.H;
        w.sample = d[1] * d[2];
        w.head = w.D;
        w.row = d[2];
    } else {
        w.H = d[1];
        w.T = d[2];
        w.D = d[3];
        w.sample = d[1] * d[2] * d[3];
        w.head = d[2] * d[3];
        w.row = d[3];
    }
    w.turned = o->turned ? o->turned : w.H;
    w.width = o->width ? o->width : w.D;
    return w;
}

static ak_status rotary_shape(ak_call *k)
{
    const ak_rotary_options *o = k->attr;
    const ak_shape s = k->in[0]->shape;
    if (o->heads < 0 || o->turned < 0 || o->width < 0)
        return ak_call_fail(k, AK_ERR_VALUE, ".heads = %d, .turned = %d, .width = %d must be >= 0",
                            o->heads, o->turned, o->width);
    if (s.n != (o->heads > 0 ? 3 : 4))
        return ak_call_fail(k, AK_ERR_SHAPE, "x has %d axes; with .heads = %d it is %s", s.n,
                            o->heads, o->heads > 0 ? "[N, T, heads * D]" : "[N, H, T, D]");
    if (o->heads > 0 && s.dims[2] % o->heads != 0)
        return ak_call_fail(k, AK_ERR_SHAPE, "the last axis, %" PRId64 ", does not divide into %d "
                            "heads", s.dims[2], o->heads);
    const rotary_work w = rotary_sizes(k);
    if (w.turned > w.H || w.width > w.D || w.width % 2 != 0)
        return ak_call_fail(k, AK_ERR_VALUE, "%" PRId64 " of %" PRId64 " heads and %" PRId64
                            " of %" PRId64 " features are turned: no more than there are, features "
                            "in pairs", w.turned, w.H, w.width, w.D);
    if (!(o->base >= 0 && isfinite(o->base)))
        return ak_call_fail(k, AK_ERR_VALUE, ".base = %g is not in (0, ..) (0: 10000)", o->base);
    ak_status status = ak_call_index_shape(k, 0, AK_SHAPE(w.N));
    status = status == AK_OK ? ak_call_index_range(k, 0, 0, INT32_MAX) : status;
    k->out->shape = s;
    return status;
}

/* Angles in double: at position 10^5 a float has five digits behind the point less. */
static ak_real *make_table(ak_call *k, const rotary_work *w)
{
    const ak_rotary_options *o = k->attr;
    const double base = o->base > 0 ? o->base : 10000;
    const int64_t rows = w->per_sample ? w->N * w->T : w->T, half = w->width / 2;
    ak_real *table = ak_call_scratch(k, (size_t)(rows * w->width) * sizeof *table);
    for (int64_t i = 0; table && i < half; i++) {
        const double speed = pow(base, -2.0 * (double)i / (double)w->width);
        for (int64_t r = 0; r < rows; r++) {
            const int64_t start = w->per_sample ? k->index[0]->data[r / w->T] : 0;
            const double angle = (double)(start + r % w->T) * speed;
            table[r * w->width + i] = (ak_real)cos(angle);
            table[r * w->width + half + i] = (ak_real)sin(angle);
        }
    }
    return table;
}

/* One head at one position. */
static void turn(const rotary_work *w, ak_real *to, const ak_real *from, const ak_real *table)
{
    const int64_t half = w->width / 2, step = w->interleaved ? 2 : 1;
    const int64_t other = w->interleaved ? 1 : half;
    for (int64_t i = 0; i < half; i++) {
        const ak_real a = from[i * step], b = from[i * step + other];
        const ak_real c = table[i], s = w->sign * table[half + i];
        const ak_real first = a * c - b * s, second = b * c + a * s;
        to[i * step] = w->add ? to[i * step] + first : first;
        to[i * step + other] = w->add ? to[i * step + other] + second : second;
    }
    if (w->width < w->D)
        ak__pass_span(to + w->width, from + w->width, w->D - w->width, w->add);
}

static void turn_rows(void *user, int64_t begin, int64_t end)
{
    const rotary_work *w = user;
    for (int64_t r = begin; r < end; r++) {
        const int64_t at = r / w->T * w->sample + r % w->T * w->row;
        const ak_real *table = w->table + (w->per_sample ? r : r % w->T) * w->width;
        for (int64_t h = 0; h < w->H; h++) {
            const int64_t place = at + h * w->head;
            if (h < w->turned)
                turn(w, w->to + place, w->from + place, table);
            else
                ak__pass_span(w->to + place, w->from + place, w->D, w->add);
        }
    }
}

static void rotary_forward(ak_call *k)
{
    rotary_work w = rotary_sizes(k);
    w.sign = 1;
    w.from = k->in[0]->data;
    w.to = k->out->data;
    w.table = make_table(k, &w);
    if (w.table)
        ak__for_rows(w.N * w.T, w.H * w.D, turn_rows, &w);
}

static void rotary_backward(ak_call *k)
{
    bool fresh;
    rotary_work w = rotary_sizes(k);
    w.sign = -1;
    w.from = k->out->grad;
    w.to = ak_call_grad_fresh(k, 0, &fresh);
    w.add = !fresh;
    w.table = w.to ? make_table(k, &w) : NULL;
    if (w.table)
        ak__for_rows(w.N * w.T, w.H * w.D, turn_rows, &w);
}

#define ROTARY(...) .attr = &(const ak_rotary_options){ __VA_ARGS__ }
#define START(n, ...) .index = { { { 1, { n } }, (const int32_t[]){ __VA_ARGS__ } } }
static const ak_op rotary_op = {
    .name = "rotary", .formula = "pairs of features turned by position", .n_in = 1,
    .attr_size = sizeof(ak_rotary_options), .n_index = 1, .indices = "start", .index_optional = 1,
    .shape = rotary_shape, .forward = rotary_forward, .backward = rotary_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { .in = { { 4, { 1, 2, 5, 8 } } }, ROTARY(0) },
        { .in = { { 4, { 1, 1, 1, 2 } } }, ROTARY(.base = 100) },
        { .in = { { 3, { 2, 4, 12 } } }, ROTARY(.heads = 3, .turned = 2, .interleaved = true) },
        { .in = { { 3, { 2, 3, 10 } } }, ROTARY(.heads = 2, .width = 4), START(2, 7, 0) },
        { .in = { { 4, { 3, 1, 2, 6 } } }, ROTARY(.interleaved = true), START(3, 0, 1, 90) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 4, { 1, 2, 3, 5 } } }, ROTARY(0) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(0) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 3) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 2, .turned = 3) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 2, .width = 6) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = -1) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 2, .base = -1) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 2), START(2, 1, 2) },
        { .in = { { 3, { 1, 2, 8 } } }, ROTARY(.heads = 2), START(1, -1) },
        AK_END },
};

ak_tensor *ak_rotary(ak_tensor *x, ak_rotary_options o)
{
    return ak_apply_all(&rotary_op, (ak_operands){ &x, 1, &o.start, 1 }, &o).out;
}

/* ---- relative bias --------------------------------------------------------------------------- */

typedef struct relative_attr {
    ak_relative_options o;
    int64_t Tq, Tk;
} relative_attr;

static int64_t max_distance_of(const ak_relative_options *o)
{
    return o->max_distance ? o->max_distance : 128;
}

/* Buckets of one side. */
static int64_t side_of(const ak_relative_options *o, int64_t buckets)
{
    return o->one_sided ? buckets : buckets / 2;
}

/* Logarithms in float, as the models' own code has them: at a border between buckets one more digit
 * would be another bucket. */
static int64_t bucket_of(int64_t distance, const ak_relative_options *o, int64_t buckets)
{
    const int64_t side = side_of(o, buckets), exact = side / 2;
    const int64_t first = !o->one_sided && distance > 0 ? side : 0;
    const int64_t far = distance > 0 ? (o->one_sided ? 0 : distance) : -distance;
    if (far < exact)
        return first + far;
    const float range = (float)log((double)max_distance_of(o) / (double)exact);
    const float at = logf((float)far / (float)exact) / range * (float)(side - exact);
    const int64_t large = exact + (int64_t)at;
    return first + (large < side - 1 ? large : side - 1);
}

static ak_status relative_shape(ak_call *k)
{
    const relative_attr *a = k->attr;
    const ak_shape t = k->in[0]->shape;
    if (t.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "the table is no matrix [buckets, H]");
    const int64_t side = side_of(&a->o, t.dims[0]);
    if (side < 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "%" PRId64 " buckets are too few: at least %d",
                            t.dims[0], a->o.one_sided ? 2 : 4);
    if (a->Tq < 1 || a->Tk < 1 || a->Tq > INT32_MAX || a->Tk > INT32_MAX)
        return ak_call_fail(k, AK_ERR_VALUE, "%" PRId64 " queries and %" PRId64 " keys: both are "
                            "in [1, 2^31)", a->Tq, a->Tk);
    if (max_distance_of(&a->o) <= side / 2)
        return ak_call_fail(k, AK_ERR_VALUE, ".max_distance = %" PRId64 " is not above the %" PRId64
                            " distances with a bucket of their own", max_distance_of(&a->o),
                            side / 2);
    const ak_index *past = k->index[0];
    const int64_t N = past ? past->size : 0, H = t.dims[1];
    k->out->shape = past ? AK_SHAPE(N, H, a->Tq, a->Tk) : AK_SHAPE(H, a->Tq, a->Tk);
    const ak_status s = ak_call_index_shape(k, 0, AK_SHAPE(N));
    return s == AK_OK ? ak_call_index_range(k, 0, 0, INT32_MAX) : s;
}

/* All that a pair's bias depends on is j - i: one line of numbers a head, of which row i is the
 * part from Tq - 1 - i on. */
typedef struct relative_work {
    const relative_attr *a;
    int64_t N, H, line;
    const int32_t *bucket;          /* [N, line] */
    const ak_real *table;
    ak_real *y, *lines;             /* forward: [N, H, line] */
    const ak_real *dy;
    ak_real *dtable;
    double  *sums;                  /* backward: [H, buckets] */
    int64_t buckets;
} relative_work;

static bool relative_sizes(ak_call *k, relative_work *w)
{
    const relative_attr *a = k->attr;
    const ak_tensor *table = k->in[0];
    *w = (relative_work){ .a = a, .N = k->index[0] ? k->index[0]->size : 1,
                          .H = table->shape.dims[1], .line = a->Tq + a->Tk - 1,
                          .buckets = table->shape.dims[0], .table = table->data };
    int32_t *bucket = ak_call_scratch(k, (size_t)(w->N * w->line) * sizeof *bucket);
    for (int64_t n = 0; bucket && n < w->N; n++) {
        const int64_t past = k->index[0] ? k->index[0]->data[n] : 0;
        for (int64_t l = 0; l < w->line; l++)
            bucket[n * w->line + l] =
                (int32_t)bucket_of(l - (a->Tq - 1) - past, &a->o, w->buckets);
    }
    w->bucket = bucket;
    w->lines = ak_call_scratch(k, (size_t)(w->N * w->H * w->line) * sizeof *w->lines);
    return bucket && w->lines;
}

static void relative_rows(void *user, int64_t begin, int64_t end)
{
    const relative_work *w = user;
    const int64_t Tq = w->a->Tq, Tk = w->a->Tk;
    for (int64_t item = begin; item < end; item++) {
        const int32_t *bucket = w->bucket + item / w->H * w->line;
        ak_real *line = w->lines + item * w->line;
        for (int64_t l = 0; l < w->line; l++)
            line[l] = w->table[bucket[l] * w->H + item % w->H];
        for (int64_t i = 0; i < Tq; i++)
            memcpy(w->y + (item * Tq + i) * Tk, line + Tq - 1 - i, (size_t)Tk * sizeof *line);
    }
}

static void relative_forward(ak_call *k)
{
    relative_work w;
    if (!relative_sizes(k, &w))
        return;
    w.y = k->out->data;
    ak__for_rows(w.N * w.H, w.a->Tq * w.a->Tk, relative_rows, &w);
}

/* The column of one head, the samples in order. */
static void relative_columns(void *user, int64_t begin, int64_t end)
{
    const relative_work *w = user;
    const int64_t Tq = w->a->Tq, Tk = w->a->Tk;
    for (int64_t h = begin; h < end; h++) {
        double *sum = w->sums + h * w->buckets;
        ak_real *line = w->lines + h * w->line;
        memset(sum, 0, (size_t)w->buckets * sizeof *sum);
        for (int64_t n = 0; n < w->N; n++) {
            const ak_real *dy = w->dy + (n * w->H + h) * Tq * Tk;
            memset(line, 0, (size_t)w->line * sizeof *line);
            for (int64_t i = 0; i < Tq; i++)
                ak__k.add(line + Tq - 1 - i, line + Tq - 1 - i, dy + i * Tk, Tk);
            for (int64_t l = 0; l < w->line; l++)
                sum[w->bucket[n * w->line + l]] += (double)line[l];
        }
        for (int64_t b = 0; b < w->buckets; b++)
            w->dtable[b * w->H + h] += (ak_real)sum[b];
    }
}

static void relative_backward(ak_call *k)
{
    relative_work w;
    ak_real *d = ak_call_grad(k, 0);
    if (!d || !relative_sizes(k, &w))
        return;
    w.dy = k->out->grad;
    w.dtable = d;
    w.sums = ak_call_scratch(k, (size_t)(w.H * w.buckets) * sizeof *w.sums);
    if (w.sums)
        ak__for_rows(w.H, w.N * w.a->Tq * w.a->Tk, relative_columns, &w);
}

static ak_tensor *sample_relative(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    const relative_attr *a = s->attr;
    ak_relative_options o = a->o;
    (void)n_in;
    if (s->index[0].values)
        o.past = ak_index_from(in[0]->ctx, s->index[0].shape, s->index[0].values);
    return ak_relative_bias(in[0], a->Tq, a->Tk, o);
}

#define RELATIVE(B, H, ...)                                                                        \
    .in = { { 2, { B, H } } }, .call = sample_relative,                                            \
    .attr = &(const relative_attr){ __VA_ARGS__ }
static const ak_op relative_bias_op = {
    .name = "relative_bias", .formula = "y[h,i,j] = table[bucket(j - i), h]", .n_in = 1,
    .operands = "table", .attr_size = sizeof(relative_attr), .n_index = 1, .indices = "past",
    .index_optional = 1,
    .shape = relative_shape, .forward = relative_forward, .backward = relative_backward,
    .reads = AK_READS_NONE,
    .samples = (const ak_sample[]){
        { RELATIVE(4, 1, .Tq = 1, .Tk = 1) },
        { RELATIVE(8, 2, { .max_distance = 6 }, 9, 7) },
        { RELATIVE(8, 3, { .max_distance = 16, .one_sided = true }, 5, 11) },
        { RELATIVE(7, 2, { .max_distance = 9 }, 2, 6), START(3, 4, 0, 3) },
        { RELATIVE(2, 1, { .one_sided = true }, 3, 1) },
        AK_END },
    .misuse = (const ak_sample[]){
        { RELATIVE(3, 1, .Tq = 1, .Tk = 1) },
        { RELATIVE(1, 1, { .one_sided = true }, 1, 1) },
        { RELATIVE(8, 2, { .max_distance = 2 }, 9, 7) },
        { RELATIVE(8, 2, { 0 }, 0, 7) },
        { RELATIVE(8, 2, { 0 }, 3, -1) },
        { RELATIVE(8, 2, { 0 }, 3, 1), START(1, -1) },
        { .in = { { 1, { 8 } } }, .call = sample_relative,
          .attr = &(const relative_attr){ .Tq = 1, .Tk = 1 } },
        AK_END },
};

ak_tensor *ak_relative_bias(ak_tensor *table, int64_t Tq, int64_t Tk, ak_relative_options o)
{
    const relative_attr attr = { .o = o, .Tq = Tq, .Tk = Tk };
    return ak_apply_all(&relative_bias_op, (ak_operands){ &table, 1, &o.past, 1 }, &attr).out;
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_positions[] = { &rotary_op, &relative_bias_op, NULL };
