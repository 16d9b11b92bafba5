/* SPDX-License-Identifier: Apache-2.0 */
/* Generation: words behind a prompt, one after the other. All that is asked of a model is in
 * ak_inputs: ids, lengths and state in, logits of the next word out. */
#include "nn/transformer.h"

#include "tensor/tensor_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the next word of a row ------------------------------------------------------------------ */

typedef struct candidate { double logit; int32_t id; } candidate;

typedef struct drawing {
    const ak_generate_options *o;
    int64_t    V;
    candidate *all;         /* [V] */
    uint64_t   seed, stream;
} drawing;

static int by_logit(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int32_t most_likely(const ak_real *logits, int64_t V)
{
    int64_t best = 0;
    for (int64_t v = 1; v < V; v++)
        if (logits[v] > logits[best])
            best = v;
    return (int32_t)best;
}

/* The likelier words come first, where only some of them are wanted; returns how many are. */
static int64_t order_candidates(const drawing *d, const ak_real *logits)
{
    const ak_generate_options *o = d->o;
    for (int64_t v = 0; v < d->V; v++)
        d->all[v] = (candidate){ (double)logits[v] / o->temperature, (int32_t)v };
    const bool some = (o->top_k > 0 && o->top_k < d->V) || (o->top_p > 0 && o->top_p < 1);
    if (some)
        qsort(d->all, (size_t)d->V, sizeof *d->all, by_logit);
    return o->top_k > 0 && o->top_k < d->V ? o->top_k : d->V;
}

/* Logits become weights e^(logit - top); returns their sum. */
static double weigh(candidate *c, int64_t n)
{
    double top = -(double)INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++)
        top = c[i].logit > top ? c[i].logit : top;
    for (int64_t i = 0; i < n; i++) {
        c[i].logit = exp(c[i].logit - top);
        sum += c[i].logit;
    }
    return sum;
}

static int32_t next_word(const drawing *d, const ak_real *logits, int64_t row, int64_t step)
{
    const ak_generate_options *o = d->o;
    if (o->temperature == 0)
        return most_likely(logits, d->V);
    int64_t n = order_candidates(d, logits);
    double sum = weigh(d->all, n);
    if (o->top_p > 0 && o->top_p < 1) {
        const double wanted = o->top_p * sum;
        int64_t some = 0;
        for (sum = 0; some < n && sum < wanted; some++)
            sum += d->all[some].logit;
        n = some;
    }
    /* A row's numbers do not depend on how many rows there are. */
    const uint64_t at = (uint64_t)row << 32 | (uint64_t)step;
    double left = ak_random_uniform(d->seed, d->stream, at) * sum;
    int64_t i = 0;
    while (i + 1 < n && left >= d->all[i].logit)
        left -= d->all[i++].logit;
    return d->all[i].id;
}

/* ---- checks ---------------------------------------------------------------------------------- */

bool ak__lengths_in(const char *who, ak_ctx *ctx, const ak_index *lengths, int64_t N, int64_t lo,
                    int64_t hi)
{
    char text[AK_SHAPE_TEXT];
    if (!ak_shape_equal(lengths->shape, AK_SHAPE(N))) {
        ak_fail(ctx, AK_ERR_SHAPE, "%s: one number a row is wanted, [%" PRId64 "], got %s", who, N,
                ak_shape_text(lengths->shape, text));
        return false;
    }
    for (int64_t n = 0; n < N; n++)
        if (lengths->data[n] < lo || lengths->data[n] > hi) {
            ak_fail(ctx, AK_ERR_VALUE, "%s: %d of row %" PRId64 " is not in [%" PRId64 ", %" PRId64
                    "]", who, (int)lengths->data[n], n, lo, hi);
            return false;
        }
    return true;
}

static bool options_fit(ak_ctx *ctx, const ak_generate_options *o)
{
    if (o->steps < 1 || o->steps > 1 << 30 || !(o->temperature >= 0 && isfinite(o->temperature)) ||
        o->top_k < 0 || !(o->top_p >= 0 && o->top_p <= 1))
        ak_fail(ctx, AK_ERR_VALUE, "ak_generate: .steps %" PRId64 " must be in [1, 2^30], "
                ".temperature %g and .top_k %d >= 0, .top_p %g in [0, 1]", o->steps,
                o->temperature, o->top_k, o->top_p);
    else if (o->temperature == 0 && (o->top_k || o->top_p > 0))
        ak_fail(ctx, AK_ERR_VALUE, "ak_generate: .top_k and .top_p choose among words that are "
                "drawn; .temperature 0 takes the most likely one\n    hint: .temperature = 1");
    else if (o->inputs.ids || o->inputs.lengths || o->inputs.state || o->inputs.mask)
        ak_fail(ctx, AK_ERR_VALUE, "ak_generate: .inputs holds .ids, .lengths, .mask or .state, "
                "which ak_generate makes itself");
    return ak_error(ctx) == AK_OK;
}

static bool prompt_fits(ak_ctx *ctx, const ak_index *prompt, const ak_index *lengths)
{
    char text[AK_SHAPE_TEXT];
    if (prompt->shape.n != 2 || prompt->size < 1) {
        ak_fail(ctx, AK_ERR_SHAPE, "ak_generate: expected a prompt [N, T] with a word at least, "
                "got %s", ak_shape_text(prompt->shape, text));
        return false;
    }
    return !lengths || ak__lengths_in("ak_generate: lengths", ctx, lengths, prompt->shape.dims[0],
                                      1, prompt->shape.dims[1]);
}

/* ---- the loop -------------------------------------------------------------------------------- */

typedef struct generation {
    ak_module *m;
    ak_ctx    *ctx;
    const ak_generate_options *o;
    ak_decoding *seen;          /* NULL: none */
    int64_t    N, T, width;     /* rows; of the prompt, of the result */
    int32_t   *words, *lengths; /* [N, width], [N] */
    bool      *ended;           /* [N] */
} generation;

/* What the module is handed in this step: positions `from` .. `to` - 1 of each row, or with a state
 * those that it has not seen. *at: where the last word of row n is. */
static ak_inputs step_inputs(const generation *g, int64_t step, int64_t *T)
{
    ak_inputs in = g->o->inputs;
    const bool first = step == 0 || !g->seen;
    *T = !first ? 1 : g->T + (g->seen ? 0 : step);
    ak_index *ids = ak__index_new(g->ctx, AK_SHAPE(g->N, *T));
    ak_index *lengths = ak__index_new(g->ctx, AK_SHAPE(g->N));
    in.ids = ids;
    in.lengths = lengths;
    in.state = g->seen;
    if (ids == &ak__poison_index || lengths == &ak__poison_index)
        return in;
    for (int64_t n = 0; n < g->N; n++) {
        const int32_t *row = g->words + n * g->width;
        int32_t *to = ak__index_data(ids) + n * *T;
        if (first)
            memcpy(to, row, (size_t)*T * sizeof *to);
        else
            *to = row[g->lengths[n] - 1];
        ak__index_data(lengths)[n] = first ? g->lengths[n] : !g->ended[n];
    }
    return in;
}

/* The logits of row n: of its last word. NULL after an error. */
static const ak_real *row_logits(const generation *g, const ak_tensor *y, int64_t n, int64_t step,
                                 int64_t T)
{
    const bool first = step == 0 || !g->seen;
    const int64_t V = y->shape.dims[2], t = first ? g->lengths[n] - 1 : 0;
    const ak_real *logits = y->data + (n * T + t) * V;
    for (int64_t v = 0; v < V; v++)
        if (isnan(logits[v]) || (isinf(logits[v]) && logits[v] > 0)) {
            ak_fail(g->ctx, AK_ERR_NUMBER, "ak_generate: %s makes %g for word %" PRId64 " of row %"
                    PRId64 " in step %" PRId64, g->m->name, (double)logits[v], v, n, step);
            return NULL;
        }
    return logits;
}

static bool made_logits(const generation *g, const ak_tensor *y, int64_t T)
{
    char text[AK_SHAPE_TEXT];
    if (ak_is_poison(y))
        return false;
    if (y->shape.n == 3 && y->shape.dims[0] == g->N && y->shape.dims[1] == T &&
        y->shape.dims[2] >= 1)
        return true;
    ak_fail(g->ctx, AK_ERR_SHAPE, "ak_generate: %s makes %s of [%" PRId64 ",%" PRId64 "] words; "
            "logits [N, T, V] are expected", g->m->name, ak_shape_text(y->shape, text), g->N, T);
    return false;
}

static void add_word(generation *g, int64_t n, int32_t word)
{
    g->words[n * g->width + g->lengths[n]++] = word;
    g->ended[n] = g->o->has_end && word == g->o->end;
}

static bool all_ended(const generation *g)
{
    for (int64_t n = 0; n < g->N; n++)
        if (!g->ended[n])
            return false;
    return true;
}

static bool run_step(generation *g, drawing *d, int64_t step)
{
    int64_t T;
    const ak_inputs in = step_inputs(g, step, &T);
    ak_tensor *y = ak_error(g->ctx) == AK_OK ? ak_forward_with(g->m, in) : &ak__poison;
    if (!made_logits(g, y, T))
        return false;
    d->V = y->shape.dims[2];
    if (!d->all)
        d->all = ak__step_alloc(g->ctx, (size_t)d->V * sizeof *d->all);
    for (int64_t n = 0; d->all && n < g->N; n++) {
        const ak_real *logits = g->ended[n] ? NULL : row_logits(g, y, n, step, T);
        if (!logits && !g->ended[n])
            return false;
        if (logits)
            add_word(g, n, next_word(d, logits, n, step));
    }
    ak_done_with(y, false);
    return d->all != NULL;
}

/* Rows of the prompt, and room behind them. */
static bool start(generation *g, const ak_index *prompt, const ak_index *lengths, ak_index *words,
                  ak_index *count)
{
    g->ended = ak__step_alloc(g->ctx, (size_t)g->N * sizeof *g->ended);
    if (words == &ak__poison_index || count == &ak__poison_index || !g->ended)
        return false;
    g->words = ak__index_data(words);
    g->lengths = ak__index_data(count);
    memset(g->ended, 0, (size_t)g->N * sizeof *g->ended);
    for (int64_t n = 0; n < g->N; n++) {
        g->lengths[n] = lengths ? lengths->data[n] : (int32_t)g->T;
        for (int64_t t = 0; t < g->width; t++)
            g->words[n * g->width + t] = t < g->lengths[n] ? prompt->data[n * g->T + t]
                                                           : g->o->fill;
    }
    if (!g->o->no_state)
        g->seen = ak_decoding_open(g->ctx, g->N, g->width);
    return g->o->no_state || g->seen;
}

ak_index *ak_generate(ak_module *m, ak_index *prompt, ak_index *lengths, ak_generate_options o,
                      ak_index **all)
{
    if (all)
        *all = &ak__poison_index;
    if (!AK__GIVEN(NULL, m))
        return &ak__poison_index;
    ak_ctx *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK || !AK__INDEX(ctx, prompt) || (lengths && !AK__INDEX(ctx, lengths)))
        return &ak__poison_index;
    if (!options_fit(ctx, &o) || !prompt_fits(ctx, prompt, lengths))
        return &ak__poison_index;
    generation g = { .m = m, .ctx = ctx, .o = &o, .N = prompt->shape.dims[0],
                     .T = prompt->shape.dims[1], .width = prompt->shape.dims[1] + o.steps };
    drawing d = { .o = &o };
    if (o.temperature > 0) {
        d.seed = ak_seed(ctx);
        d.stream = ak_next_stream(ctx);
    }
    ak_index *words = ak__index_new(ctx, AK_SHAPE(g.N, g.width));
    ak_index *count = ak__index_new(ctx, AK_SHAPE(g.N));
    const bool training = ak_is_training(ctx);
    bool fine = start(&g, prompt, lengths, words, count);
    ak_train_mode(ctx, false);
    ak_no_grad_begin(ctx);
    for (int64_t step = 0; fine && step < o.steps && !all_ended(&g); step++)
        fine = run_step(&g, &d, step);
    ak_no_grad_end(ctx);
    ak_train_mode(ctx, training);
    ak_decoding_close(g.seen);
    if (!fine)
        return &ak__poison_index;
    if (all)
        *all = count;
    return words;
}

/* ---- how likely words are -------------------------------------------------------------------- */

ak_tensor *ak_log_likelihood(ak_module *m, ak_index *ids, ak_index *first, ak_index *lengths,
                             ak_inputs inputs)
{
    static const char who[] = "ak_log_likelihood";
    if (!AK__GIVEN(NULL, m))
        return &ak__poison;
    ak_ctx *ctx = m->ctx;
    if (ak_error(ctx) != AK_OK || !AK__INDEX(ctx, ids) || !AK__INDEX(ctx, first) ||
        (lengths && !AK__INDEX(ctx, lengths)))
        return &ak__poison;
    if (inputs.ids || inputs.lengths || inputs.state) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .inputs holds .ids, .lengths or .state: the words are an "
                "argument, and they are run at once", who);
        return &ak__poison;
    }
    inputs.ids = ids;
    inputs.lengths = lengths;
    ak_tensor *logits = ak_forward_with(m, inputs);
    if (ak_is_poison(logits) || !ak__words_fit(who, logits, ids))
        return &ak__poison;
    const int64_t N = ids->shape.dims[0], T = ids->shape.dims[1];
    if (!ak__lengths_in("ak_log_likelihood: first", ctx, first, N, 1, T) ||
        (lengths && !ak__lengths_in("ak_log_likelihood: lengths", ctx, lengths, N, 0, T)))
        return &ak__poison;
    ak_tensor *rows = ak_cross_entropy(ak_flatten_rows(logits),
                                       ak__next_words(ctx, ids, first, lengths),
                                       (ak_cross_entropy_options){ .reduction = AK_REDUCE_NONE });
    return ak_neg(ak_sum_axis(ak_reshape(rows, AK_SHAPE(N, T)), 1));
}
