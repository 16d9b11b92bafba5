/* SPDX-License-Identifier: Apache-2.0 */
/* Attention by tiles of scores: a block of queries against a block of keys.
 *
 * A piece of work is some queries (forward) or some keys (backward) of one head. It goes over
 * blocks of keys; their K and V are packed once, K times the scale, into the panels that the
 * register tile reads, and meet all queries of the piece. Queries come in strips, as many as a
 * register tile has rows: what a strip's scores go through is done while they are in L1. Only
 * products that sum over queries wait until there are some strips, a tile, whose S stays in L2.
 * With n keys in a block, m queries:
 *
 *     forward     S = Q K^T    softmax     Y += P V                              4 m n D
 *     backward    S = Q K^T    dP = dY V^T    P, dS    dV += P^T dY
 *                 dK += dS^T Q    dQ += dS K                                    10 m n D
 *
 * The first product that adds to a result which is not there yet assigns it.
 *
 * Causal: a row of register tiles ends at the diagonal, a column of them begins there, and the
 * part of S beyond that some register tile still reads is zero. So the work is half. The diagonal
 * is moved by what lies in front of the queries (`past`), and bends at a prefix that all see.
 *
 * The gradient of a bias that samples or heads share is a sum over them. Then one owner goes over
 * all that share it, in order; where these would be too few for the threads, each has a part of the
 * samples, and what they have summed is added in order.
 *
 * Where the kernels have products of split operands (kernels.h), large problems use them: a strip
 * has as many queries as a panel, and left operands, which else stay where they are, are packed. */
#include "attention_tiles.h"

#include "base/base.h"
#include "base/carve.h"
#include "base/parallel.h"
#include "base/real.h"
#include "base/whole.h"
#include "split_panels.h"

#include <string.h>

/* Largest tile of the backward; the forward has the same keys. Both are for D = 64: S, dS and the
 * blocks of the two sides stay in L2 together. */
#define MOST_KEYS    256
#define MOST_QUERIES 96
/* The same of split operands, which are better the longer the sums are. */
#define MOST_KEYS_SPLIT    512
#define MOST_QUERIES_SPLIT 256
/* Queries of a piece of the forward at most, if there are many heads, or few. */
#define PIECE_QUERIES     512
#define PIECE_QUERIES_FEW 128
/* Keys of a piece of the backward at least: it is cut only where there are few heads. */
#define PIECE_KEYS 256
/* Pieces that are enough for all threads of most machines. */
#define ENOUGH_PIECES 32
/* The same of owners of a bias: each but the first of a head has an array of its size. */
#define ENOUGH_OWNERS 8

/* n in equal blocks of at most `most`, rounded up to whole units. */
static int64_t even_block(int64_t n, int64_t most, int64_t unit)
{
    const int64_t block = n > 0 ? ak__ceil_div(n, ak__ceil_div(n, most)) : 1;
    return ak__min(ak__round_to(block, unit), n > 0 ? ak__round_to(most, unit) : unit);
}

/* ---- the plan -------------------------------------------------------------------------------- */

typedef struct attention_plan {
    int64_t keys, queries;              /* of a tile */
    int64_t ld;                         /* of a tile's rows: no multiple of a page's part */
    int64_t piece;                      /* queries (forward) or keys (backward) of a piece */
    int64_t pieces;                     /* of a head */
    bool    split;                      /* operands of products are split */
    int64_t strip;                      /* queries of a strip */
} attention_plan;

/* Splitting costs a pass over every tile, and operands are filled up to multiples of 32: from this
 * width of heads and so many queries and keys on it pays. */
#define SPLIT_WIDTH 32
int64_t ak__attention_split_from = 256;

static bool worth_splitting(const ak__attention *a)
{
    const int64_t from = ak__attention_split_from;
    return ak__k.split_multiply && ak__min(a->D, a->Dv) >= ak__min(SPLIT_WIDTH, from) &&
           ak__min(a->Tq, a->Tk) >= from && !a->past;   /* panels begin at the diagonal */
}

static attention_plan plan_tiles(const ak__attention *a, bool backward)
{
    const int64_t heads = a->N * a->H;
    const bool split = worth_splitting(a);
    const int64_t strip = split ? AK_SPLIT_SIDE : ak__k.mr;
    const int64_t queries = split ? MOST_QUERIES_SPLIT : MOST_QUERIES;
    attention_plan p = { .keys = split ? even_block(a->Tk, MOST_KEYS_SPLIT, AK_SPLIT_SIDE)
                                       : even_block(a->Tk, MOST_KEYS, ak__k.nr),
                         .queries = backward ? even_block(a->Tq, queries, strip) : strip,
                         .split = split, .strip = strip };
    p.ld = ak__round_to(p.keys, 32) + 16;
    if (!backward) {
        p.piece = even_block(a->Tq, heads < ENOUGH_PIECES ? PIECE_QUERIES_FEW : PIECE_QUERIES,
                             p.queries);
        p.pieces = ak__max(ak__ceil_div(a->Tq, p.piece), 1);
        return p;
    }
    p.pieces = ak__max(ak__min(a->Tk / PIECE_KEYS, ENOUGH_PIECES / ak__max(heads, 1)), 1);
    p.piece = ak__max(ak__round_to(ak__ceil_div(a->Tk, p.pieces), p.keys), 1);
    p.pieces = ak__max(ak__ceil_div(a->Tk, p.piece), 1);
    return p;
}

/* What one thread works in: panels of the two sides and tiles. */
typedef struct attention_space {
    ak_real *keys, *values;             /* scale K^T [D, keys], V [keys, Dv] or V^T [Dv, keys] */
    ak_real *left;                      /* a left operand, if split */
    ak_real *s;                         /* scores, then probabilities */
    ak_real *top, *sum;                 /* forward: of the queries of a piece */
    /* backward only */
    ak_real *ds;                        /* dP, then dS */
    ak_real *rows_k;                    /* K [keys, D] */
    ak_real *rows_q, *rows_dy;          /* Q [queries, D], dY [queries, Dv] */
    ak_real *delta;                     /* [Tq]: <y, dy> of each query of the head */
} attention_space;

/* Elements of a right operand [K, N], packed. */
static int64_t packed_size(const attention_plan *p, int64_t K, int64_t N)
{
    return p->split ? ak__ceil_div(N, AK_SPLIT_SIDE) * AK_SPLIT_SIZE(K)
                    : ak__round_to(N, ak__k.nr) * K;
}

/* Lay out the space of one thread in memory; returns its size. */
static int64_t lay_out(attention_space *x, const ak__attention *a, const attention_plan *p,
                       bool backward, ak_real *memory)
{
    const int64_t longest = ak__max(ak__max(p->keys, p->queries), ak__max(a->D, a->Dv));
    ak__carver area = { .base = (char *)memory };
    *x = (attention_space){ .keys = ak__carve_reals(&area, packed_size(p, a->D, p->keys)) };
    x->left = ak__carve_reals(&area, p->split ? AK_SPLIT_SIZE(longest) : 0);
    x->s = ak__carve_reals(&area, p->queries * p->ld);
    if (!backward) {
        x->values = ak__carve_reals(&area, packed_size(p, p->keys, a->Dv));
        x->top = ak__carve_reals(&area, p->piece);
        x->sum = ak__carve_reals(&area, p->piece);
        return (int64_t)(area.used / sizeof(ak_real));
    }
    x->values = ak__carve_reals(&area, packed_size(p, a->Dv, p->keys));
    x->ds = ak__carve_reals(&area, p->queries * p->ld);
    x->rows_k = ak__carve_reals(&area, packed_size(p, p->keys, a->D));
    x->rows_q = ak__carve_reals(&area, packed_size(p, p->queries, a->D));
    x->rows_dy = ak__carve_reals(&area, packed_size(p, p->queries, a->Dv));
    x->delta = ak__carve_reals(&area, a->Tq);
    return (int64_t)(area.used / sizeof(ak_real));
}

static int64_t space_size(const ak__attention *a, const attention_plan *p, bool backward)
{
    attention_space x;
    return lay_out(&x, a, p, backward, NULL);
}

/* What one piece but the first of each head has for dq. */
static int64_t part_size(const ak__attention *a)
{
    return ak__round_to(a->N * a->H * a->Tq * a->D, 16);
}

/* Who adds to the gradient of the bias: `chunks` owners for each of `outer` separate parts of it,
 * which share the `inner` heads that have this part. */
typedef struct bias_owners { int64_t outer, inner, chunks, size; } bias_owners;

static bias_owners owners_of(const ak__attention *a)
{
    const int64_t heads = a->N * a->H;
    const int64_t outer = a->bias_sample ? heads : a->bias_head ? a->H : 1;
    const int64_t inner = outer > 0 ? heads / outer : 0;
    const int64_t wanted = ak__ceil_div(ENOUGH_OWNERS, ak__max(outer, 1));
    return (bias_owners){ outer, inner, ak__max(ak__min(wanted, inner), 1),
                          ak__round_to(outer * a->Tq * a->Tk, 16) };
}

size_t ak__attention_memory(const ak__attention *a, bool backward)
{
    const attention_plan p = plan_tiles(a, backward);
    const int64_t threads = ak__in_parallel() ? 1 : ak__max_threads();
    const bias_owners o = owners_of(a);
    const int64_t bias = backward && a->bias_grad ? (o.chunks - 1) * o.size : 0;
    const int64_t shared = backward ? (p.pieces - 1) * part_size(a) + bias : 0;
    return (size_t)(threads * space_size(a, &p, backward) + shared);
}

/* ---- one head -------------------------------------------------------------------------------- */

/* One head of an operand, or of a result: a row for each position. */
typedef struct head_rows { const ak_real *data; int64_t ld; } head_rows;
typedef struct head_sums {
    ak_real *data;                      /* NULL = not wanted */
    int64_t  ld;
    bool     fresh;                     /* what is there is not to be added to */
} head_sums;

static head_rows rows_of(const ak_real *data, const ak__head_place *at, int64_t n, int64_t h)
{
    return (head_rows){ data + n * at->sample + h * at->head, at->row };
}

static head_sums sums_of(ak_real *data, const ak__head_place *at, int64_t n, int64_t h, bool fresh)
{
    return (head_sums){ data ? data + n * at->sample + h * at->head : NULL, at->row, fresh };
}

/* Rows that nothing is added to, where there is nothing yet. */
static void zero_rows(const head_sums *x, int64_t begin, int64_t end, int64_t width)
{
    for (int64_t i = begin; x->data && x->fresh && i < end; i++)
        memset(x->data + i * x->ld, 0, (size_t)width * sizeof(ak_real));
}

/* Keys of sample n that may exist: up to the last that is not masked. */
static int64_t last_key(const ak__attention *a, int64_t n)
{
    int64_t keys = a->key_lengths ? ak__min(a->key_lengths[n], a->Tk) : a->Tk;
    while (a->key_mask && keys > 0 && a->key_mask[n * a->Tk + keys - 1] == 0)
        keys--;
    return keys;
}

/* One tile: m queries from r0, n keys from c0. */
typedef struct attention_tile {
    const ak__attention *a;
    int64_t sample, head;
    int64_t r0, m, c0, n, ld;
    int64_t rows;                       /* of a strip */
    ak_real *left;                      /* where left operands are split; NULL = they are not */
    ak_real *dbias;                     /* [Tq, Tk] of this head; NULL = not wanted */
} attention_tile;

/* The queries of the tile from the i-th on that fill a strip, as a tile. */
static attention_tile strip_of(const attention_tile *t, int64_t i)
{
    attention_tile strip = *t;
    strip.r0 += i;
    strip.m = ak__min(t->rows, t->m - i);
    return strip;
}

/* Keys of sample n that its query i, which may be the one behind the last, sees if causal. */
static int64_t edge(const ak__attention *a, int64_t n, int64_t i)
{
    const int64_t diagonal = i + 1 + (a->past ? a->past[n] : 0);
    return a->prefix ? ak__max(diagonal, a->prefix[n]) : diagonal;
}

/* Does the tile lie above the diagonal altogether? */
static bool is_hidden(const attention_tile *t)
{
    return t->a->causal && edge(t->a, t->sample, t->r0 + t->m - 1) <= t->c0;
}

/* Keys of the tile that query i of it sees. */
static int64_t visible(const attention_tile *t, int64_t i)
{
    if (!t->a->causal)
        return t->n;
    return ak__max(ak__min(edge(t->a, t->sample, t->r0 + i) - t->c0, t->n), 0);
}

/* Keys that register tiles read of the row of query i; those that it does not see must be 0. */
static int64_t read_of_row(const attention_tile *t, int64_t i)
{
    if (!t->a->causal)
        return t->n;
    return ak__max(ak__min(edge(t->a, t->sample, t->r0 + i) + t->rows - 1 - t->c0, t->n), 0);
}

/* First query of the tile that sees its key j. */
static int64_t first_query(const attention_tile *t, int64_t j)
{
    const ak__attention *a = t->a;
    const int64_t key = t->c0 + j;
    if (!a->causal || (a->prefix && key < a->prefix[t->sample]))
        return 0;
    const int64_t past = a->past ? a->past[t->sample] : 0;
    return ak__max(ak__min(key - past - t->r0, t->m), 0);
}

/* ---- products -------------------------------------------------------------------------------- */

/* Right operand B[K, N] times alpha: rows of x, or with `turned` x^T. */
static void pack_right(const attention_plan *p, ak_real *dst, const head_rows *x, int64_t first,
                       int64_t K, int64_t N, ak_real alpha, bool turned)
{
    const int64_t width = p->split ? AK_SPLIT_SIDE : ak__k.nr, size = packed_size(p, K, 1);
    const ak_real *from = x->data + first * x->ld;
    for (int64_t j = 0; j < N; j += width) {
        const ak_real *at = turned ? from + j * x->ld : from + j;
        const int64_t n = ak__min(width, N - j);
        if (p->split)
            ak__split_pack(dst + j / width * size, at, x->ld, n, K, alpha, !turned, false);
        else
            ak__k.gemm_pack(dst + j / width * size, at, x->ld, n, K, (int)width, !turned);
    }
    if (alpha != 1 && !p->split)
        ak__k.scale(dst, alpha, dst, packed_size(p, K, N));
}

/* s[m, n] = x[m, K] B[K, n] of a strip, x = rows of queries, B packed; past the last key that the
 * strip sees nothing is made. */
static void make_scores(const attention_tile *strip, ak_real *s, const head_rows *x,
                        const ak_real *packed, int64_t K)
{
    const int64_t nr = ak__k.nr, seen = visible(strip, strip->m - 1);
    const ak_real *rows = x->data + strip->r0 * x->ld;
    if (strip->left) {
        ak__split_pack(strip->left, rows, x->ld, strip->m, K, 1, false, true);
        ak__split_multiply(K, strip->left, packed, AK_SPLIT_SIZE(K), s, strip->ld, (int)strip->m,
                             seen, false);
        return;
    }
    for (int64_t j = 0; j < seen; j += nr)
        ak__k.gemm_direct(K, rows, x->ld, 1, packed + j * K, nr, s + j, strip->ld, (int)strip->m,
                          (int)ak__min(nr, strip->n - j), false);
}

/* c = or += s[m, n] B[n, N] of a strip, c = rows of queries. */
static void add_to_queries(const attention_tile *strip, const ak_real *s, const ak_real *packed,
                           int64_t N, const head_sums *c, bool first)
{
    const int64_t nr = ak__k.nr, K = read_of_row(strip, 0);
    const bool add = !(c->fresh && first);
    ak_real *to = c->data + strip->r0 * c->ld;
    if (strip->left) {
        ak__split_pack(strip->left, s, strip->ld, strip->m, K, 1, false, true);
        ak__split_multiply(K, strip->left, packed, AK_SPLIT_SIZE(strip->n), to, c->ld,
                             (int)strip->m, N, add);
        return;
    }
    for (int64_t j = 0; j < N; j += nr)
        ak__k.gemm_direct(K, s, strip->ld, 1, packed + j * strip->n, nr, to + j, c->ld,
                          (int)strip->m, (int)ak__min(nr, N - j), add);
}

/* c = or += s^T[n, m] B[m, N], c = rows of keys. */
static void add_to_keys(const attention_tile *t, const ak_real *s, const ak_real *packed,
                        int64_t N, const head_sums *c, bool first)
{
    const int64_t nr = ak__k.nr;
    const bool add = !(c->fresh && first);
    for (int64_t i = 0; i < t->n; i += t->rows) {
        const int64_t from = first_query(t, i), n = ak__min(t->rows, t->n - i);
        ak_real *to = c->data + (t->c0 + i) * c->ld;
        if (t->left) {
            ak__split_pack(t->left, s + from * t->ld + i, t->ld, n, t->m - from, 1, true, true);
            ak__split_multiply(t->m - from, t->left, packed + AK_SPLIT_SIZE(from),
                                 AK_SPLIT_SIZE(t->m), to, c->ld, (int)n, N, add);
            continue;
        }
        for (int64_t j = 0; j < N; j += nr)
            ak__k.gemm_direct(t->m - from, s + from * t->ld + i, 1, t->ld,
                              packed + j * t->m + from * nr, nr, to + j, c->ld, (int)n,
                              (int)ak__min(nr, N - j), add);
    }
}

/* ---- scores to probabilities ----------------------------------------------------------------- */

/* Row i of the tile: bias and mask. */
static void add_extras(const attention_tile *t, ak_real *s, int64_t i, int64_t n)
{
    const ak__attention *a = t->a;
    if (a->bias) {
        const ak_real *bias = a->bias + t->sample * a->bias_sample + t->head * a->bias_head;
        ak__k.add(s, s, bias + (t->r0 + i) * a->Tk + t->c0, n);
    }
    const int32_t *exists = a->key_mask ? a->key_mask + t->sample * a->Tk + t->c0 : NULL;
    for (int64_t j = 0; exists && j < n; j++)
        s[j] = exists[j] ? s[j] : -(ak_real)INFINITY;
}

static void clear_hidden(const attention_tile *t, ak_real *s, int64_t i)
{
    const int64_t seen = visible(t, i), end = read_of_row(t, i);
    for (int64_t j = seen; j < end; j++)
        s[j] = 0;
}

/* Which of the probabilities of a row from its key c0 on stay. A block of four random words serves
 * four keys. */
typedef struct kept_keys { uint64_t seed, stream, row, keep; } kept_keys;

static kept_keys kept_of_row(const attention_tile *t, int64_t i)
{
    const ak__attention *a = t->a;
    const int64_t row = (t->sample * a->H + t->head) * a->Tq + t->r0 + i;
    return (kept_keys){ a->seed, a->stream, (uint64_t)(row * ak__ceil_div(a->Tk, 4)),
                        (uint64_t)((1 - a->dropout) * 4294967296.0) };
}

static bool is_kept(const kept_keys *k, int64_t j, uint32_t w[4], bool first)
{
    if (first || j % 4 == 0)
        ak__philox(k->seed, k->stream, k->row + (uint64_t)(j / 4), w);
    return w[j % 4] < k->keep;
}

/* Take probabilities out, the others grow. */
static void drop_row(const attention_tile *t, ak_real *p, int64_t i, int64_t n)
{
    const kept_keys kept = kept_of_row(t, i);
    const ak_real grown = (ak_real)(1 / (1 - t->a->dropout));
    uint32_t w[4];
    for (int64_t j = 0; j < n; j++)
        p[j] = is_kept(&kept, t->c0 + j, w, j == 0) ? p[j] * grown : 0;
}

/* dp (of what was left) becomes scale dS, p what was left. */
static void drop_row_backward(const attention_tile *t, ak_real *p, ak_real *dp, ak_real delta,
                              int64_t i, int64_t n)
{
    const kept_keys kept = kept_of_row(t, i);
    const ak_real grown = (ak_real)(1 / (1 - t->a->dropout)), scale = t->a->scale;
    uint32_t w[4];
    for (int64_t j = 0; j < n; j++) {
        const ak_real left = is_kept(&kept, t->c0 + j, w, j == 0) ? grown : 0;
        dp[j] = scale * p[j] * (left * dp[j] - delta);
        p[j] *= left;
    }
}

/* What to subtract before exp; anything finite will do where nothing is seen yet. */
static ak_real shift_for(ak_real top)
{
    return top == -(ak_real)INFINITY ? 0 : top;
}

/* Scores become e^(s - largest so far); what was summed before is brought to the new largest. */
static void softmax_tile(const attention_tile *t, ak_real *s, ak_real *top, ak_real *sum,
                         const head_sums *y)
{
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *row = s + i * t->ld;
        const int64_t n = visible(t, i);
        add_extras(t, row, i, n);
        const ak_real before = top[i], here = ak__k.max(row, n);
        if (n > 0 && !(here <= before)) {
            top[i] = here;
            const ak_real shrink = ak__exp(before - shift_for(here));
            if (t->c0 > 0 && shrink != 1) {
                sum[i] *= shrink;
                ak_real *yi = y->data + (t->r0 + i) * y->ld;
                ak__k.scale(yi, shrink, yi, t->a->Dv);
            }
        }
        sum[i] += ak__k.exp_sum(row, row, shift_for(top[i]), n);
        if (t->a->dropout > 0)
            drop_row(t, row, i, n);
        clear_hidden(t, row, i);
    }
}

/* s becomes P = e^(s - top) / sum, ds (holding dP) becomes scale dS = scale P (dP - delta). */
static void softmax_tile_backward(const attention_tile *t, ak_real *s, ak_real *ds,
                                  const ak__query_sum *query, const ak_real *delta)
{
    const ak_real factor = t->a->scale;
    for (int64_t i = 0; i < t->m; i++) {
        ak_real *p = s + i * t->ld, *dp = ds + i * t->ld;
        const int64_t n = visible(t, i);
        add_extras(t, p, i, n);
        ak__k.exp_affine(p, query[i].inverse, p, query[i].top, 0, NULL, 0, n, AK__SET);
        if (t->a->dropout > 0) {
            drop_row_backward(t, p, dp, delta[i], i, n);
        } else {
            ak__k.affine(dp, factor, dp, -factor * delta[i], n, AK__SET);
            ak__k.mul(dp, dp, p, n);
        }
        if (t->dbias)
            ak__k.affine(t->dbias + (t->r0 + i) * t->a->Tk + t->c0, 1 / factor, dp, 0, n, AK__ADD);
        clear_hidden(t, p, i);
        clear_hidden(t, dp, i);
    }
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Divide by the sums, and leave what backward makes P of. */
static void finish_queries(const ak__attention *a, const attention_space *x, const head_sums *y,
                           ak__query_sum *query, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        const ak_real sum = x->sum[i - begin];
        ak_real *row = y->data + i * y->ld;
        const bool blind = sum == 0;
        const ak_real inverse = blind ? 0 : 1 / sum;
        ak__k.scale(row, inverse, row, a->Dv);
        query[i] = (ak__query_sum){ blind ? (ak_real)INFINITY : x->top[i - begin], inverse };
    }
}

/* Queries [begin, end) of head h of sample n. */
static void forward_piece(const ak__attention *a, const attention_plan *p,
                          const attention_space *x, int64_t n, int64_t h, int64_t begin,
                          int64_t end)
{
    const head_rows q = rows_of(a->q, &a->at_q, n, h), k = rows_of(a->k, &a->at_k, n, h);
    const head_rows v = rows_of(a->v, &a->at_v, n, h);
    const head_sums y = sums_of(a->y, &a->at_y, n, h, true);
    const int64_t exist = last_key(a, n);
    const int64_t keys = a->causal ? ak__min(exist, edge(a, n, end - 1)) : exist;
    for (int64_t i = 0; i < end - begin; i++) {
        x->top[i] = -(ak_real)INFINITY;
        x->sum[i] = 0;
    }
    if (keys == 0)
        zero_rows(&y, begin, end, a->Dv);
    for (int64_t c = 0; c < keys; c += p->keys) {
        attention_tile t = { .a = a, .sample = n, .head = h, .c0 = c,
                             .n = ak__min(p->keys, keys - c), .ld = p->ld, .rows = p->strip,
                             .left = p->split ? x->left : NULL };
        pack_right(p, x->keys, &k, c, a->D, t.n, a->scale, true);
        pack_right(p, x->values, &v, c, t.n, a->Dv, 1, false);
        for (t.r0 = begin; t.r0 < end; t.r0 += p->queries) {
            t.m = ak__min(p->queries, end - t.r0);
            if (is_hidden(&t))
                continue;
            make_scores(&t, x->s, &q, x->keys, a->D);
            softmax_tile(&t, x->s, x->top + t.r0 - begin, x->sum + t.r0 - begin, &y);
            add_to_queries(&t, x->s, x->values, a->Dv, &y, c == 0);
        }
    }
    finish_queries(a, x, &y, a->query + (n * a->H + h) * a->Tq, begin, end);
}

/* Multiply-adds of a product below which a second thread costs more than it brings. */
#define WORTH_THREADS 65536.0

static bool worth_threads(const ak__attention *a, int64_t items)
{
    const double scores = (double)(a->N * a->H) * (double)a->Tq * (double)a->Tk;
    return items > 1 && scores * (double)(a->D + a->Dv) >= WORTH_THREADS;
}

void ak__attention_forward(const ak__attention *a)
{
    const attention_plan p = plan_tiles(a, false);
    const int64_t items = a->N * a->H * p.pieces, room = space_size(a, &p, false);
    const bool nested = ak__in_parallel();
    AK__PARALLEL_FOR_DYNAMIC(item, items, worth_threads(a, items)) {
        attention_space x;
        lay_out(&x, a, &p, false, a->memory + (nested ? 0 : ak__thread_id()) * room);
        const int64_t head = item / p.pieces, begin = item % p.pieces * p.piece;
        forward_piece(a, &p, &x, head / a->H, head % a->H, begin,
                      ak__min(begin + p.piece, a->Tq));
    }
}

/* ---- backward -------------------------------------------------------------------------------- */

/* What the pieces of a backward share. */
typedef struct backward_work {
    const ak__attention *a;
    const ak__attention_grads *g;
    attention_plan plan;
    ak_real *parts;                     /* [pieces - 1][N, H, Tq, D]: dq of the later pieces */
    bias_owners owners;
    ak_real *bias_parts;                /* [chunks - 1][size of the bias]: of the later owners */
} backward_work;

/* delta = <y, dy> of each query of head h of sample n: the sum of P dP over the keys. */
static void make_delta(const backward_work *w, ak_real *delta, int64_t n, int64_t h)
{
    const ak__attention *a = w->a;
    const head_rows y = rows_of(a->y, &a->at_y, n, h), dy = rows_of(w->g->dy, &a->at_y, n, h);
    for (int64_t i = 0; i < a->Tq; i++)
        delta[i] = ak__k.dot(y.data + i * y.ld, dy.data + i * dy.ld, a->Dv);
}

/* Where piece `piece` adds its part of dq. */
static head_sums query_sums(const backward_work *w, int64_t piece, int64_t n, int64_t h)
{
    const ak__attention *a = w->a;
    if (piece == 0 || !w->g->dq)
        return sums_of(w->g->dq, &a->at_q, n, h, w->g->fresh_q);
    return (head_sums){ w->parts + (piece - 1) * part_size(a) + (n * a->H + h) * a->Tq * a->D,
                        a->D, true };
}

/* The gradients of one head that a piece adds to. */
typedef struct head_grads { head_sums dq, dk, dv; } head_grads;

/* One strip of a tile of the backward: s and ds become P and dS, dq is added to. */
static void backward_strip(const backward_work *w, const attention_space *x,
                           const attention_tile *strip, ak_real *s, ak_real *ds,
                           const head_sums *dq, bool first)
{
    const ak__attention *a = w->a;
    const head_rows q = rows_of(a->q, &a->at_q, strip->sample, strip->head);
    const head_rows dy = rows_of(w->g->dy, &a->at_y, strip->sample, strip->head);
    const ak__query_sum *query = a->query + (strip->sample * a->H + strip->head) * a->Tq;
    make_scores(strip, s, &q, x->keys, a->D);
    make_scores(strip, ds, &dy, x->values, a->Dv);
    softmax_tile_backward(strip, s, ds, query + strip->r0, x->delta + strip->r0);
    if (dq->data)
        add_to_queries(strip, ds, x->rows_k, a->D, dq, first);
}

/* One tile of the backward; K and V of its keys are packed. first_q, first_k: the first one of its
 * queries, of its keys. */
static void backward_tile(const backward_work *w, const attention_space *x,
                          const attention_tile *t, const head_grads *d, bool first_q, bool first_k)
{
    const ak__attention *a = w->a;
    for (int64_t i = 0; i < t->m; i += t->rows) {
        const attention_tile strip = strip_of(t, i);
        if (!is_hidden(&strip))
            backward_strip(w, x, &strip, x->s + i * t->ld, x->ds + i * t->ld, &d->dq, first_q);
        else if (first_q)
            zero_rows(&d->dq, strip.r0, strip.r0 + strip.m, a->D);
    }
    if (is_hidden(t))
        return;
    if (d->dv.data) {
        const head_rows dy = rows_of(w->g->dy, &a->at_y, t->sample, t->head);
        pack_right(&w->plan, x->rows_dy, &dy, t->r0, t->m, a->Dv, 1, false);
        add_to_keys(t, x->s, x->rows_dy, a->Dv, &d->dv, first_k);
    }
    if (d->dk.data) {
        const head_rows q = rows_of(a->q, &a->at_q, t->sample, t->head);
        pack_right(&w->plan, x->rows_q, &q, t->r0, t->m, a->D, 1, false);
        add_to_keys(t, x->ds, x->rows_q, a->D, &d->dk, first_k);
    }
}

/* A block of keys against all queries; t has the keys. */
static void backward_block(const backward_work *w, const attention_space *x, attention_tile t,
                           const head_grads *d, bool first_q)
{
    const ak__attention *a = w->a;
    const head_rows k = rows_of(a->k, &a->at_k, t.sample, t.head);
    const head_rows v = rows_of(a->v, &a->at_v, t.sample, t.head);
    pack_right(&w->plan, x->keys, &k, t.c0, a->D, t.n, a->scale, true);
    pack_right(&w->plan, x->values, &v, t.c0, a->Dv, t.n, 1, true);
    if (d->dq.data)
        pack_right(&w->plan, x->rows_k, &k, t.c0, t.n, a->D, 1, false);
    bool first_k = true;
    for (t.r0 = 0; t.r0 < a->Tq; t.r0 += w->plan.queries) {
        t.m = ak__min(w->plan.queries, a->Tq - t.r0);
        backward_tile(w, x, &t, d, first_q, first_k);
        first_k = first_k && is_hidden(&t);
    }
    if (first_k) {
        zero_rows(&d->dk, t.c0, t.c0 + t.n, a->D);
        zero_rows(&d->dv, t.c0, t.c0 + t.n, a->Dv);
    }
}

/* A piece of the keys of head h of sample n, against all queries. */
static void backward_piece(const backward_work *w, const attention_space *x, int64_t piece,
                           int64_t n, int64_t h, ak_real *dbias)
{
    const ak__attention *a = w->a;
    const int64_t begin = piece * w->plan.piece, end = ak__min(begin + w->plan.piece, a->Tk);
    const ak__attention_grads *g = w->g;
    const head_grads d = { query_sums(w, piece, n, h), sums_of(g->dk, &a->at_k, n, h, g->fresh_k),
                           sums_of(g->dv, &a->at_v, n, h, g->fresh_v) };
    const int64_t keys = ak__max(ak__min(end, last_key(a, n)), begin);
    make_delta(w, x->delta, n, h);
    for (int64_t c = begin; c < keys; c += w->plan.keys) {
        const attention_tile t = { .a = a, .sample = n, .head = h, .c0 = c,
                                   .n = ak__min(w->plan.keys, keys - c), .ld = w->plan.ld,
                                   .rows = w->plan.strip, .dbias = dbias,
                                   .left = w->plan.split ? x->left : NULL };
        backward_block(w, x, t, &d, c == begin);
    }
    if (keys == begin)
        zero_rows(&d.dq, 0, a->Tq, a->D);
    zero_rows(&d.dk, keys, end, a->D);
    zero_rows(&d.dv, keys, end, a->Dv);
}

/* dq += what the later pieces of head h of sample n have for it, in order. */
static void add_parts(const backward_work *w, int64_t n, int64_t h)
{
    const int64_t Tq = w->a->Tq, D = w->a->D;
    const head_sums dq = query_sums(w, 0, n, h);
    for (int64_t piece = 1; piece < w->plan.pieces; piece++) {
        const head_sums part = query_sums(w, piece, n, h);
        for (int64_t i = 0; i < Tq; i++)
            ak__k.add(dq.data + i * dq.ld, dq.data + i * dq.ld, part.data + i * D, D);
    }
}

/* Where owner `chunk` of a part of the bias adds up what head h of sample n has for it. */
static ak_real *bias_sums(const backward_work *w, int64_t chunk, int64_t n, int64_t h)
{
    const ak__attention *a = w->a;
    ak_real *sums = chunk == 0 ? w->g->dbias : w->bias_parts + (chunk - 1) * w->owners.size;
    return sums + n * a->bias_sample + h * a->bias_head;
}

/* All pieces of the heads of one owner of the bias, in order. */
static void backward_owner(const backward_work *w, const attention_space *x, int64_t owner)
{
    const ak__attention *a = w->a;
    const bias_owners *o = &w->owners;
    const int64_t part = owner / o->chunks, chunk = owner % o->chunks;
    const int64_t first = chunk * o->inner / o->chunks, end = (chunk + 1) * o->inner / o->chunks;
    if (chunk > 0)
        memset(bias_sums(w, chunk, 0, part), 0, (size_t)(a->Tq * a->Tk) * sizeof(ak_real));
    for (int64_t i = first; i < end; i++) {
        const bool shared = !a->bias_sample && !a->bias_head;
        const int64_t n = a->bias_sample ? part / a->H : shared ? i / a->H : i;
        const int64_t h = a->bias_sample ? part % a->H : shared ? i % a->H : part;
        for (int64_t piece = 0; piece < w->plan.pieces; piece++)
            backward_piece(w, x, piece, n, h, bias_sums(w, chunk, n, h));
    }
}

void ak__attention_backward(const ak__attention *a, const ak__attention_grads *g)
{
    backward_work w = { .a = a, .g = g, .plan = plan_tiles(a, true), .owners = owners_of(a) };
    const attention_plan *p = &w.plan;
    const int64_t heads = a->N * a->H;
    const int64_t items = a->bias_grad ? w.owners.outer * w.owners.chunks : heads * p->pieces;
    const int64_t room = space_size(a, p, true);
    const bool nested = ak__in_parallel();
    w.parts = a->memory + (nested ? 1 : ak__max_threads()) * room;
    w.bias_parts = w.parts + (p->pieces - 1) * part_size(a);
    AK__PARALLEL_FOR_DYNAMIC(item, items, worth_threads(a, items)) {
        attention_space x;
        lay_out(&x, a, p, true, a->memory + (nested ? 0 : ak__thread_id()) * room);
        const int64_t head = item / p->pieces;
        if (a->bias_grad)
            backward_owner(&w, &x, item);
        else
            backward_piece(&w, &x, item % p->pieces, head / a->H, head % a->H, NULL);
    }
    if (p->pieces > 1 && g->dq) {
        AK__PARALLEL_FOR(head, heads, worth_threads(a, heads))
            add_parts(&w, head / a->H, head % a->H);
    }
    for (int64_t chunk = 1; a->bias_grad && heads > 0 && chunk < w.owners.chunks; chunk++)
        ak__k.add(g->dbias, g->dbias, bias_sums(&w, chunk, 0, 0),
                  w.owners.outer * a->Tq * a->Tk);
}
