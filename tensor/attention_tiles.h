/* SPDX-License-Identifier: Apache-2.0 */
/* Scaled dot-product attention tile by tile: no matrix of scores is ever whole.
 *
 * Forward keeps, for each query, the largest score so far and the sum of exponentials, as in
 * Milakov & Gimelshein, arXiv 1805.02867; backward makes the scores of a tile again, as in Dao et
 * al., arXiv 2205.14135. What forward leaves for backward is two numbers a query.
 *
 * Same bits for any number of threads: the work is cut by sizes alone, and whatever several pieces
 * add to is added in order. */
#ifndef AK_ATTENTION_TILES_H
#define AK_ATTENTION_TILES_H

#include "kernels/kernels.h"

/* Where the numbers of one head are: element d of position t of head h of sample n is
 * data[n * sample + h * head + t * row + d]. [N, H, T, D] and [N, T, H D] differ in these only. */
typedef struct ak__head_place {
    int64_t sample, head, row;
} ak__head_place;

/* Of a query's scores: the largest, and 1 / the sum of e^(s - top). In one number, the log-sum-exp,
 * both would lose digits where the scores are far from 0. */
typedef struct ak__query_sum {
    ak_real top, inverse;
} ak__query_sum;

typedef struct ak__attention {
    int64_t N, H, Tq, Tk;               /* samples, heads, queries, keys */
    int64_t D, Dv;                      /* width of queries and keys, of values */
    ak_real scale;                      /* > 0 */
    bool    causal;                     /* query i sees the keys 0 .. i; with these, of sample n, */
    const int32_t *past;                /* [N]: 0 .. past[n] + i; NULL = 0 */
    const int32_t *prefix;              /* [N]: and all below prefix[n]; NULL = 0 */
    const int32_t *key_lengths;         /* [N]: keys at or beyond it do not exist; NULL = Tk */
    const int32_t *key_mask;            /* [N, Tk]: 0 = this key does not exist; NULL = all do */
    const ak_real *bias;                /* added to scaled scores, [.., Tq, Tk]; NULL = none */
    int64_t bias_sample, bias_head;     /* its strides over samples and heads; 0 = shared */
    bool    bias_grad;                  /* backward makes its gradient as well */
    double  dropout;                    /* probabilities that are taken out, [0, 1); 0 = none, */
    uint64_t seed, stream;              /* and what decides which */

    const ak_real *q, *k, *v;
    ak_real *y;                         /* the output */
    ak__head_place at_q, at_k, at_v, at_y;
    ak__query_sum *query;               /* [N, H, Tq] */
    ak_real *memory;                    /* ak__attention_memory() elements */
} ak__attention;

/* Gradients have the places of what they belong to. NULL = not wanted; else they are added to, or
 * assigned where `fresh` says so. No two of dq, dk, dv may overlap. */
typedef struct ak__attention_grads {
    const ak_real *dy;
    ak_real *dq, *dk, *dv;
    bool     fresh_q, fresh_k, fresh_v;
    ak_real *dbias;                     /* always added to; with bias_grad, never NULL */
} ak__attention_grads;

/* For tests: from so many queries and keys on operands are split, where the kernels can. */
extern int64_t ak__attention_split_from;

/* Elements of `memory` that a forward or a backward works in. */
size_t ak__attention_memory(const ak__attention *a, bool backward);

/* y = softmax(scale q k^T + bias) v for each head, and query. With dropout the softmax is as
 * without; its numbers become 0, or 1 / (1 - dropout) times what they were. A query that sees no
 * key gives zeros, and its top is +inf. */
void ak__attention_forward(const ak__attention *a);
void ak__attention_backward(const ak__attention *a, const ak__attention_grads *g);

#endif
