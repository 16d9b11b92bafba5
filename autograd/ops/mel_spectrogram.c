/* SPDX-License-Identifier: Apache-2.0 */
/* Mel spectra of sounds: the object, sounds by themselves, and the op for a batch. The numbers are
 * made in tensor/mel.c. */
#include <akin/sound.h>

#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>

#include "autograd/families.h"
#include "autograd/ops/common.h"
#include "base/base.h"
#include "base/real.h"
#include "tensor/mel.h"
#include "tensor/tensor_internal.h"

/* Memory of ak_mel_run that no thread uses; more than there are threads at a time. */
#define KEPT 64

struct ak_mel {
    ak__mel     mel;
    ak_ctx     *ctx;
    ak_mel_options options;
    ak_mel_form form;
    ak_real     floor;
    double      top_db;
    _Atomic(void *) kept[KEPT];
};

/* ---- making ---------------------------------------------------------------------------------- */

static void free_kept(void *user)
{
    ak_mel *m = user;
    for (int i = 0; i < KEPT; i++)
        ak__free(atomic_load(&m->kept[i]));
}

static ak_mel_options with_defaults(ak_mel_options o)
{
    o.n_fft = o.n_fft ? o.n_fft : 2048;
    o.window = o.window ? o.window : o.n_fft;
    o.hop = o.hop ? o.hop : o.n_fft >= 4 ? o.n_fft / 4 : 1;
    o.mels = o.mels ? o.mels : 128;
    o.fmax = o.fmax != 0 ? o.fmax : o.rate / 2;
    o.floor = o.floor != 0 ? o.floor : 1e-10;
    return o;
}

static bool options_fit(ak_ctx *ctx, const ak_mel_options *o)
{
    ak_status s = AK_OK;
    if (!(o->rate > 0 && o->rate <= 1e9))
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .rate %g is not in (0, 1e9] samples a second",
                    o->rate);
    else if (o->n_fft < 2 || o->n_fft > 1 << 20)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .n_fft %d is not in [2, 2^20]", o->n_fft);
    else if (o->window < 1 || o->window > o->n_fft)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .window %d is not in [1, .n_fft = %d]", o->window,
                    o->n_fft);
    else if (o->hop < 1)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .hop %d is not at least 1", o->hop);
    else if (o->mels < 1 || o->mels > 1 << 16)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .mels %d is not in [1, 2^16]", o->mels);
    else if (!(o->fmin >= 0 && o->fmin < o->fmax && o->fmax <= o->rate / 2))
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .fmin %g, .fmax %g: not 0 <= fmin < fmax <= rate / 2 "
                    "= %g", o->fmin, o->fmax, o->rate / 2);
    else if (o->scale != AK_MEL_SLANEY && o->scale != AK_MEL_HTK)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .scale %d is neither AK_MEL_SLANEY nor AK_MEL_HTK",
                    (int)o->scale);
    else if (o->norm != AK_MEL_AREA && o->norm != AK_MEL_PEAK)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .norm %d is neither AK_MEL_AREA nor AK_MEL_PEAK",
                    (int)o->norm);
    else if ((int)o->form < AK_MEL_POWER || o->form > AK_MEL_DB)
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .form %d is no ak_mel_form", (int)o->form);
    else if (!(o->floor >= (double)AK_REAL_MIN && o->floor <= 1e30))
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .floor %g is not in [%g, 1e30]", o->floor,
                    (double)AK_REAL_MIN);
    else if (!(o->top_db >= 0 && isfinite(o->top_db)) || (o->top_db > 0 && o->form != AK_MEL_DB))
        s = ak_fail(ctx, AK_ERR_VALUE, "mel: .top_db %g is not >= 0, or .form is not AK_MEL_DB",
                    o->top_db);
    return s == AK_OK;
}

ak_mel *ak_mel_make(ak_ctx *ctx, ak_mel_options o)
{
    if (!AK__GIVEN(NULL, ctx))
        return NULL;
    o = with_defaults(o);
    if (ak_error(ctx) != AK_OK || !options_fit(ctx, &o))
        return NULL;
    ak_mel *m = ak__ctx_alloc(ctx, sizeof *m);
    if (!m || !ak__mel_make(&m->mel, ctx, (ak__mel_spec){
            .rate = o.rate, .fmin = o.fmin, .fmax = o.fmax, .n_fft = o.n_fft, .window = o.window,
            .hop = o.hop, .mels = o.mels, .htk = o.scale == AK_MEL_HTK,
            .slaney_norm = o.norm == AK_MEL_AREA, .center = !o.no_center }))
        return NULL;
    m->ctx = ctx;
    m->options = o;
    m->form = o.form;
    m->floor = (ak_real)o.floor;
    m->top_db = o.top_db;
    if (m->mel.empty > 0)
        ak_log_message(ctx, AK_LOG_WARNING, "mel: %" PRId64 " of %d triangles hold no bin of an "
                       "n_fft of %d: they are always 0; fewer mels or a larger n_fft have none",
                       m->mel.empty, o.mels, o.n_fft);
    return ak__at_close(ctx, free_kept, m) ? m : NULL;
}

ak_mel_options ak_mel_settings(const ak_mel *m)
{
    return AK__GIVEN(NULL, m) ? m->options : (ak_mel_options){ 0 };
}

int64_t ak_mel_frames(const ak_mel *m, int64_t samples)
{
    return AK__GIVEN(NULL, m) ? ak__mel_frames(&m->mel, samples) : -1;
}

ak_index *ak_mel_lengths(const ak_mel *m, const ak_index *lengths)
{
    if (!AK__GIVEN(NULL, m) || !AK__INDEX(m->ctx, lengths) || ak_error(m->ctx) != AK_OK)
        return &ak__poison_index;
    for (int64_t i = 0; i < lengths->size; i++)
        if (lengths->data[i] < 0) {
            ak_fail(m->ctx, AK_ERR_VALUE, "mel_lengths: length %d of sound %" PRId64 " is below 0",
                    (int)lengths->data[i], i);
            return &ak__poison_index;
        }
    ak_index *frames = ak__index_new(m->ctx, lengths->shape);
    for (int64_t i = 0; frames != &ak__poison_index && i < lengths->size; i++)
        ak__index_data(frames)[i] = (int32_t)ak__mel_frames(&m->mel, lengths->data[i]);
    return frames;
}

/* ---- the form of n numbers ------------------------------------------------------------------- */

#define DB 4.34294481903251827651       /* 10 / ln 10 */

/* y = max(y, floor), NaN as it is; its logarithm. top_db waits until the whole sound is done. */
static void put_form(const ak_mel *m, ak_real *y, int64_t n)
{
    if (m->form == AK_MEL_POWER)
        return;
    for (int64_t i = 0; i < n; i++)
        y[i] = y[i] < m->floor ? m->floor : y[i];
    ak__k.log(y, y, n);
    if (m->form == AK_MEL_DB)
        ak__k.scale(y, (ak_real)DB, y, n);
}

/* Below which a sound's numbers are raised; -inf = none. */
static ak_real lowest_of(const ak_mel *m, const ak_real *y, int64_t n)
{
    return m->top_db > 0 && n > 0 ? ak__k.max(y, n) - (ak_real)m->top_db : -(ak_real)INFINITY;
}

static void raise_to(ak_real *y, int64_t n, ak_real lowest)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = y[i] < lowest ? lowest : y[i];
}

/* ---- one sound ------------------------------------------------------------------------------- */

static void *take_memory(const ak_mel *m)
{
    ak_mel *own = (ak_mel *)(uintptr_t)m;       /* the memory is not what m says */
    for (int i = 0; i < KEPT; i++) {
        void *p = atomic_exchange(&own->kept[i], NULL);
        if (p)
            return p;
    }
    return ak__malloc((size_t)ak__mel_work(&m->mel) * sizeof(ak_real));
}

static void give_memory(const ak_mel *m, void *p)
{
    ak_mel *own = (ak_mel *)(uintptr_t)m;
    for (int i = 0; i < KEPT; i++) {
        void *none = NULL;
        if (atomic_compare_exchange_strong(&own->kept[i], &none, p))
            return;
    }
    ak__free(p);
}

ak_status ak_mel_run(const ak_mel *m, const ak_real *x, int64_t samples, ak_real *y)
{
    if (!AK__GIVEN(NULL, m) || !AK__GIVEN(m->ctx, x) || !AK__GIVEN(m->ctx, y))
        return AK_ERR_VALUE;
    if (samples < 0)
        return ak_fail(m->ctx, AK_ERR_VALUE, "mel_run: samples = %" PRId64 " is below 0", samples);
    const int64_t frames = ak__mel_frames(&m->mel, samples), mels = m->mel.spec.mels;
    void *memory = frames > 0 ? take_memory(m) : NULL;
    if (frames > 0 && !memory)
        return AK_ERR_MEMORY;
    for (int64_t f = 0; f < frames; f += AK_MEL_BLOCK) {
        const int64_t count = ak__min(AK_MEL_BLOCK, frames - f);
        ak__mel_block(&m->mel, x, samples, f, count, y + f * mels, memory);
        put_form(m, y + f * mels, count * mels);
    }
    if (frames > 0)
        give_memory(m, memory);
    raise_to(y, frames * mels, lowest_of(m, y, frames * mels));
    return AK_OK;
}

/* ---- the op ---------------------------------------------------------------------------------- */

/* The object lives as long as the context and does not change: it is an option like any other. */
typedef struct mel_attr { const ak_mel *mel; } mel_attr;

typedef struct sounds {
    ak_call *k;
    const ak_mel *m;
    int64_t  N, S, T, mels, blocks;     /* blocks: of each sound, short ones as well */
    ak_real *room;                      /* of each thread */
    int64_t  need;
} sounds;

static sounds sounds_of(ak_call *k)
{
    const ak_mel *m = ((const mel_attr *)k->attr)->mel;
    const ak_shape x = k->in[0]->shape, y = k->out->shape;
    sounds s = { .k = k, .m = m, .N = x.n == 2 ? x.dims[0] : 1, .S = x.dims[x.n - 1],
                 .T = y.dims[y.n - 2], .mels = m->mel.spec.mels };
    s.blocks = ak__ceil_div(s.T, AK_MEL_BLOCK);
    s.need = ak__mel_work(&m->mel) + AK_MEL_BLOCK * s.mels;
    s.need = ak__round_to(s.need, 16);
    return s;
}

static int64_t samples_of(const sounds *s, int64_t n)
{
    return s->k->index[0] ? s->k->index[0]->data[n] : s->S;
}

static int64_t frames_of(const sounds *s, int64_t n)
{
    return ak__mel_frames(&s->m->mel, samples_of(s, n));
}

static bool take_room(sounds *s)
{
    const int64_t threads = ak__in_parallel() ? 1 : ak__max_threads();
    s->room = ak_call_scratch(s->k, (size_t)(threads * s->need) * sizeof *s->room);
    return s->room != NULL;
}

static ak_status mel_shape(ak_call *k)
{
    const ak_mel *m = ((const mel_attr *)k->attr)->mel;
    const ak_shape x = k->in[0]->shape;
    if (!m)
        return ak_call_fail(k, AK_ERR_VALUE, "there is no ak_mel");
    if (m->ctx != k->ctx)
        return ak_call_fail(k, AK_ERR_CONTEXT, "m belongs to another context");
    if (x.n != 1 && x.n != 2)
        return ak_call_fail(k, AK_ERR_SHAPE, "x must be [N, S] or [S]");
    const int64_t S = x.dims[x.n - 1], T = ak__mel_frames(&m->mel, S), mels = m->mel.spec.mels;
    ak_status s = ak_call_index_shape(k, 0, AK_SHAPE(x.n == 2 ? x.dims[0] : 1));
    s = s == AK_OK ? ak_call_index_range(k, 0, 0, S + 1) : s;
    k->out->shape = x.n == 2 ? AK_SHAPE(x.dims[0], T, mels) : AK_SHAPE(T, mels);
    return s;
}

static void forward_block(const sounds *s, int64_t n, int64_t begin, ak_real *room)
{
    ak_real *y = s->k->out->data + (n * s->T + begin) * s->mels;
    const int64_t all = ak__min(AK_MEL_BLOCK, s->T - begin);
    const int64_t count = ak__max(0, ak__min(all, frames_of(s, n) - begin));
    if (count > 0) {
        ak__mel_block(&s->m->mel, s->k->in[0]->data + n * s->S, samples_of(s, n), begin, count, y,
                      room);
        put_form(s->m, y, count * s->mels);
    }
    memset(y + count * s->mels, 0, (size_t)((all - count) * s->mels) * sizeof *y);
}

static void mel_forward(ak_call *k)
{
    sounds s = sounds_of(k);
    if (!take_room(&s))
        return;
    const int64_t pieces = s.N * s.blocks;
    AK__PARALLEL_FOR_DYNAMIC(i, pieces, pieces > 1)
        forward_block(&s, i / s.blocks, i % s.blocks * AK_MEL_BLOCK,
                      s.room + ak__thread_id() * s.need);
    if (!(s.m->top_db > 0))
        return;
    AK__PARALLEL_FOR(n, s.N, pieces > 1) {
        ak_real *y = k->out->data + n * s.T * s.mels;
        const int64_t size = frames_of(&s, n) * s.mels;
        raise_to(y, size, lowest_of(s.m, y, size));
    }
}

/* dL/d power of a block, in place of dy: spectra are made again for the slope of a logarithm. */
static const ak_real *form_slope(const sounds *s, int64_t n, int64_t begin, int64_t count,
                                 ak_real lowest, ak_real *power, ak_real *room)
{
    const ak_mel *m = s->m;
    const int64_t at = (n * s->T + begin) * s->mels;
    const ak_real *dy = s->k->out->grad + at, *y = s->k->out->data + at;
    if (m->form == AK_MEL_POWER)
        return dy;
    ak__mel_block(&m->mel, s->k->in[0]->data + n * s->S, samples_of(s, n), begin, count, power,
                  room);
    const ak_real factor = m->form == AK_MEL_DB ? (ak_real)DB : 1;
    for (int64_t i = 0; i < count * s->mels; i++) {
        const bool open = !(power[i] < m->floor) && y[i] > lowest;
        power[i] = open ? factor * dy[i] / power[i] : 0;
    }
    return power;
}

/* Frames overlap: one thread goes through a sound in order. */
static void sound_slope(const sounds *s, int64_t n, ak_real *dx, ak_real *room)
{
    const int64_t frames = frames_of(s, n), size = frames * s->mels;
    const ak_real lowest = lowest_of(s->m, s->k->out->data + n * s->T * s->mels, size);
    ak_real *power = room + ak__mel_work(&s->m->mel);
    for (int64_t f = 0; f < frames; f += AK_MEL_BLOCK) {
        const int64_t count = ak__min(AK_MEL_BLOCK, frames - f);
        const ak_real *dy = form_slope(s, n, f, count, lowest, power, room);
        ak__mel_slope(&s->m->mel, s->k->in[0]->data + n * s->S, samples_of(s, n), f, count, dy,
                      dx + n * s->S, room);
    }
}

static void mel_backward(ak_call *k)
{
    sounds s = sounds_of(k);
    ak_real *dx = ak_call_grad(k, 0);
    if (!dx || !take_room(&s))
        return;
    AK__PARALLEL_FOR_DYNAMIC(n, s.N, s.N > 1)
        sound_slope(&s, n, dx, s.room + ak__thread_id() * s.need);
}

static double mel_flops(const ak_call *k)
{
    const ak_mel *m = ((const mel_attr *)k->attr)->mel;
    const double n = (double)m->mel.spec.n_fft;
    return (double)(k->out->size / m->mel.spec.mels) * (2.5 * n * log2(n) + 6 * n);
}

/* ---- the record ------------------------------------------------------------------------------ */

/* Of a small rate, so that few samples do. */
static ak_tensor *sample_mel(ak_tensor *const *in, int n_in, const ak_sample *s)
{
    (void)n_in;
    ak_mel_options o = *(const ak_mel_options *)s->attr;
    ak_index *lengths = s->index[0].values
        ? ak_index_from(in[0]->ctx, s->index[0].shape, s->index[0].values) : NULL;
    ak_mel *m = ak_mel_make(in[0]->ctx, o);
    return m ? ak_mel_spectrogram(m, in[0], lengths) : &ak__poison;
}

#define MEL(...)                                                                                   \
    .call = sample_mel, .n_in = 1,                                                                 \
    .attr = &(const ak_mel_options){ .rate = 16, .scale = AK_MEL_HTK, .norm = AK_MEL_PEAK,         \
                                     __VA_ARGS__ }

static const ak_op mel_op = {
    .name = "mel_spectrogram", .formula = "y = triangles |FFT(window x)|^2, or its logarithm",
    .n_in = 1, .attr_size = sizeof(mel_attr), .n_index = 1, .indices = "lengths",
    .index_optional = 1,
    .shape = mel_shape, .forward = mel_forward, .backward = mel_backward, .flops = mel_flops,
    .samples = (const ak_sample[]){
        { .in = { { 1, { 1 } } }, MEL(.n_fft = 4, .mels = 1) },
        { .in = { { 2, { 2, 19 } } }, MEL(.n_fft = 8, .hop = 3, .mels = 3) },
        { .in = { { 2, { 3, 17 } } }, MEL(.n_fft = 6, .hop = 2, .window = 5, .mels = 2),
          .index = { { { 1, { 3 } }, (const int32_t[]){ 17, 0, 9 } } } },
        { .in = { { 1, { 23 } } }, MEL(.n_fft = 7, .hop = 4, .mels = 2, .no_center = true) },
        { .in = { { 1, { 40 } } }, MEL(.n_fft = 12, .hop = 20, .mels = 3, .form = AK_MEL_LOG) },
        { .in = { { 2, { 2, 30 } } }, MEL(.n_fft = 20, .hop = 6, .mels = 2, .form = AK_MEL_DB) },
        { .in = { { 1, { 5 } } }, MEL(.n_fft = 22, .hop = 6, .mels = 2) },
        AK_END },
    .misuse = (const ak_sample[]){
        { .in = { { 3, { 1, 2, 8 } } }, MEL(.n_fft = 4, .mels = 1) },
        { .in = { { 0, { 0 } } }, MEL(.n_fft = 4, .mels = 1) },
        { .in = { { 2, { 2, 8 } } }, MEL(.n_fft = 4, .mels = 1),
          .index = { { { 1, { 2 } }, (const int32_t[]){ 8, 9 } } } },
        { .in = { { 2, { 2, 8 } } }, MEL(.n_fft = 4, .mels = 1),
          .index = { { { 1, { 3 } }, (const int32_t[]){ 8, 8, 8 } } } },
        { .in = { { 1, { 8 } } }, MEL(.n_fft = 4, .mels = 1),
          .index = { { { 1, { 1 } }, (const int32_t[]){ -1 } } } },
        AK_END },
};

ak_tensor *ak_mel_spectrogram(const ak_mel *m, ak_tensor *x, ak_index *lengths)
{
    if (!AK__GIVEN(x ? x->ctx : NULL, m))
        return &ak__poison;
    return ak_apply_all(&mel_op, (ak_operands){ &x, 1, &lengths, 1 }, &(mel_attr){ m }).out;
}

/* ---- the family ------------------------------------------------------------------------------ */

const ak_op *const ak__ops_mel[] = { &mel_op, NULL };
