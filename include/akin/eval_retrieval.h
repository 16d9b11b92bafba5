/* SPDX-License-Identifier: Apache-2.0 */
/* akin/eval_retrieval.h - search: does a query find its right answers among the rows of a gallery?
 *
 *     ak_retrieval r[2];
 *     ak_eval_retrieval_both(pictures, captions, (ak_retrieval_options){ 0 }, r);
 *     printf("picture to text R@1 %.3f [%.3f, %.3f]\n", r[0].r1.value, r[0].r1.lo, r[0].r1.hi);
 *     printf("text to picture R@1 %.3f, %s\n", r[1].r1.value, r[1].r1.protocol);
 *
 * Equal captions are not wrong answers of each other: give both sides ids of what is one thing
 * (AK_FIELD_ID), and every row of the query's id is a right answer.
 *
 * **Ties.** Rows of equal cosine have no order. Each figure is its expected value where equal rows
 * are put in random order, in closed form: an encoder that makes all rows equal scores as chance
 * does, wherever the right answers stand.
 */
#ifndef AKIN_EVAL_RETRIEVAL_H
#define AKIN_EVAL_RETRIEVAL_H

#include <akin/eval_compare.h>
#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Figures query by query, for ak_compare_paired: each NULL, or room for as many numbers as there
 * are queries. Those of unknown queries are left out: the others move up, in order. */
typedef struct ak_retrieval_each {
    double *r1, *r5, *r10, *mrr, *map_r;
} ak_retrieval_each;

typedef struct ak_retrieval_options {
    const int32_t *query_id;    /* [N] and [M]: rows of equal ids are right answers; both or */
    const int32_t *gallery_id;  /* neither. -1 = unknown: such a query is left out and counted, such
                                 * a row is no one's right answer. NULL: row i answers query i */
    bool leave_one_out;         /* queries are the gallery: row i does not answer itself; by ids */
    ak_retrieval_each each;     /* of ak_eval_retrieval; ak_eval_retrieval_both refuses it */
    ak_bootstrap_options bootstrap;
} ak_retrieval_options;

typedef struct ak_retrieval {
    ak_measure r1, r5, r10;     /* share of queries with a right answer among the nearest k */
    ak_measure mrr;             /* mean of 1 / rank of the nearest right answer */
    ak_measure map_r;           /* mean average precision among the nearest R */
    int64_t    gallery;         /* rows that each query is compared with */
} ak_retrieval;

/* Rank the gallery for every query by cosine.
 *
 *   formula   R right answers of a query, ranks from 1 on; rel(i) = 1 if rank i is right, else 0:
 *                 R@k    = 1 if a rank <= k is right
 *                 RR     = 1 / the least right rank
 *                 MAP@R  = 1/R sum_{i=1..R} rel(i) (rel(1) + .. + rel(i)) / i
 *             and the mean over the queries. With one right answer MAP@R is R@1
 *   ties      expected values over random order of equal cosines. In a group of g rows, r of them
 *             right, behind a others, b of them right:
 *                 first right one at place j:  p(j) = C(g - j, r - 1) / C(g, r)
 *                 E[rel(a+j) (rel(1) + .. + rel(a+j))] = r/g (b + 1 + (j - 1)(r - 1)/(g - 1))
 *             Zero rows have cosine 0 to everything
 *   shapes    query [N, D], gallery [M, D]
 *   memory    64 rows of M cosines a thread, never N x M; the same bits for any number of threads
 *   interval  over queries: Wilson where all figures are 0 or 1, else BCa (akin/eval_compare.h).
 *             Queries that share right answers are alike, and the interval then too narrow: take
 *             one query an id where that matters
 *   returns   .n of each measure counts the known queries; value NaN after an error
 *   errors    AK_ERR_SHAPE (D differs, nothing to compare, N != M without ids), AK_ERR_VALUE (one
 *             of the ids, an id below -1, a known query without a right answer: counted, the first
 *             named; no known query; leave_one_out of two sets; options), AK_ERR_NUMBER (rows that
 *             are not finite, counted), AK_ERR_MEMORY
 *   sources   McSherry, Najork, "Computing information retrieval performance measures efficiently
 *             in the presence of tied scores", ECIR 2008; Musgrave, Belongie, Lim, "A metric
 *             learning reality check", ECCV 2020 (MAP@R)
 */
AK_API ak_retrieval ak_eval_retrieval(const ak_tensor *query, const ak_tensor *gallery,
                                      ak_retrieval_options options);

/* Both directions: result[0] of rows of `a` that look for `b`, result[1] the other way. Ids of the
 * options are those of a and of b; leave_one_out has one direction alone and is refused. */
AK_API ak_status ak_eval_retrieval_both(const ak_tensor *a, const ak_tensor *b,
                                        ak_retrieval_options options, ak_retrieval result[2]);

#ifdef __cplusplus
}
#endif
#endif
