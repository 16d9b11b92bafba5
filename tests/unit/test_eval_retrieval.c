/* SPDX-License-Identifier: Apache-2.0 */
/* Retrieval: cases worked by hand, all orders of tied rows, values of scikit-learn, coverage. */
#include <omp.h>

#include "eval_table.h"

/* A query along the first axis, and gallery rows with these cosines to it. */
static ak_tensor *along(ak_ctx *ctx, int64_t n)
{
    ak_tensor *q = ak_zeros(ctx, AK_SHAPE(n, 2));
    for (int64_t i = 0; i < n; i++)
        q->data[2 * i] = 2;
    return q;
}

static ak_tensor *with_cosines(ak_ctx *ctx, const double *cosine, int64_t n)
{
    ak_tensor *g = ak_zeros(ctx, AK_SHAPE(n, 2));
    for (int64_t i = 0; i < n; i++) {
        g->data[2 * i] = (ak_real)cosine[i];
        g->data[2 * i + 1] = (ak_real)sqrt(1 - cosine[i] * cosine[i]);
    }
    return g;
}

/* ---- by hand --------------------------------------------------------------------------------- */

/* Ranks by cosine: ids 7 5 5 7 5. The query of id 5 has R = 3: right at ranks 2, 3, 5; RR 1/2,
 * MAP@R (1/2 + 2/3) / 3. The query of id 7 has R = 2: ranks 1, 4; RR 1, MAP@R 1/2. */
Test(retrieval, ranks_by_hand)
{
    ak_ctx *ctx = quiet();
    const double cosine[5] = { 0.2, 0.9, 0.5, 0.7, -0.3 };
    const int32_t gallery_id[5] = { 7, 7, 5, 5, 5 }, query_id[2] = { 5, 7 };
    double r1[2], r5[2], mrr[2], map_r[2];
    const ak_retrieval r = ak_eval_retrieval(along(ctx, 2), with_cosines(ctx, cosine, 5),
        (ak_retrieval_options){ .query_id = query_id, .gallery_id = gallery_id,
                                .each = { .r1 = r1, .r5 = r5, .mrr = mrr, .map_r = map_r } });
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_assert(r1[0] == 0 && r1[1] == 1 && r5[0] == 1 && r5[1] == 1);
    NEAR(mrr[0], 0.5, 0);
    NEAR(mrr[1], 1, 0);
    NEAR(map_r[0], (0.5 + 2.0 / 3) / 3, 1e-15);
    NEAR(map_r[1], 0.5, 1e-15);
    NEAR(r.r1.value, 0.5, 0);
    NEAR(r.mrr.value, 0.75, 1e-15);
    cr_assert(r.r1.n == 2 && r.r1.unknown == 0 && r.gallery == 5);
    cr_assert(strstr(r.r1.protocol, "Wilson") && strstr(r.mrr.protocol, "BCa") &&
              strstr(r.map_r.protocol, "MAP@R of 2 queries in 5 rows"), "%s", r.map_r.protocol);
    ak_close(ctx);
}

/* Partners without ids; the two directions differ. Row 0 of a finds row 1 of b first (1 to 0.8),
 * row 1 row 0 (0.6 to 0); row 0 of b finds its own (0.8 to 0.6), row 1 row 0 (1 to 0). */
Test(retrieval, both_directions)
{
    ak_ctx *ctx = quiet();
    const ak_real x[4] = { 1, 0, 0, 1 }, y[4] = { (ak_real)0.8, (ak_real)0.6, 1, 0 };
    ak_retrieval r[2];
    cr_assert_eq(ak_eval_retrieval_both(ak_from(ctx, AK_SHAPE(2, 2), x),
                                        ak_from(ctx, AK_SHAPE(2, 2), y),
                                        (ak_retrieval_options){ 0 }, r), AK_OK);
    NEAR(r[0].r1.value, 0, 0);
    NEAR(r[0].mrr.value, 0.5, 0);
    NEAR(r[1].r1.value, 0.5, 0);
    NEAR(r[1].mrr.value, 0.75, 0);
    NEAR(r[1].r5.value, 1, 0);
    NEAR(r[1].map_r.value, r[1].r1.value, 0);   /* one right answer each */
    ak_close(ctx);
}

Test(retrieval, unknown_queries_are_counted_and_unknown_rows_are_wrong)
{
    ak_ctx *ctx = quiet();
    const double cosine[3] = { 0.9, 0.5, 0.1 };
    const int32_t gallery_id[3] = { -1, 4, 9 }, query_id[3] = { 4, -1, 9 };
    double mrr[3] = { -1, -1, -1 };
    const ak_retrieval r = ak_eval_retrieval(along(ctx, 3), with_cosines(ctx, cosine, 3),
        (ak_retrieval_options){ .query_id = query_id, .gallery_id = gallery_id,
                                .each = { .mrr = mrr } });
    cr_assert(r.mrr.n == 2 && r.mrr.unknown == 1);
    NEAR(mrr[0], 0.5, 0);
    NEAR(mrr[1], 1.0 / 3, 1e-15);
    cr_assert_eq(mrr[2], -1);
    ak_close(ctx);
}

/* Two classes on two axes: without itself, row 0 finds row 1 (id 0) first; row 3 has id 0 and
 * stands with the others, so each of 2 and 4 finds it or the other by even chance. */
Test(retrieval, leave_one_out)
{
    ak_ctx *ctx = quiet();
    const ak_real x[10] = { 1, 0, 1, 0, 0, 1, 0, 1, 0, 1 };
    const int32_t id[5] = { 0, 0, 1, 0, 1 };
    double r1[5], map_r[5];
    const ak_tensor *t = ak_from(ctx, AK_SHAPE(5, 2), x);
    const ak_retrieval r = ak_eval_retrieval(t, t,
        (ak_retrieval_options){ .query_id = id, .gallery_id = id, .leave_one_out = true,
                                .each = { .r1 = r1, .map_r = map_r } });
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_assert_eq(r.gallery, 4);
    const double expected[5] = { 1, 1, 0.5, 0, 0.5 };
    for (int i = 0; i < 5; i++)
        NEAR(r1[i], expected[i], 1e-15);
    /* row 0: rank 1 right; ranks 2 to 4 tie, one right: rank 2 of R = 2 is right by 1/3 */
    NEAR(map_r[0], (1 + 1.0 / 3) / 2, 1e-15);
    cr_assert(strstr(r.r1.protocol, "leave one out"), "%s", r.r1.protocol);
    ak_close(ctx);
}

/* ---- ties ------------------------------------------------------------------------------------ */

enum { TIED = 7 };
typedef struct orders {
    const double *cosine;
    const int32_t *id;
    double sum[5];
    int    count;
} orders;

/* Figures of one order of the gallery, from their definitions. */
static void count_order(orders *o, const int *order)
{
    int R = 0, right = 0, first = 0;
    double precision = 0;
    for (int i = 0; i < TIED; i++)
        R += o->id[i] == 1;
    for (int i = 0; i < TIED; i++) {
        if (o->id[order[i]] != 1)
            continue;
        right++;
        first = first ? first : i + 1;
        precision += i < R ? (double)right / (i + 1) : 0;
    }
    const double figure[5] = { first <= 1, first <= 5, first <= 10, 1.0 / first, precision / R };
    for (int k = 0; k < 5; k++)
        o->sum[k] += figure[k];
    o->count++;
}

/* All orders that go down in cosine. */
static void all_orders(orders *o, int *order, int held, unsigned used)
{
    if (held == TIED) {
        count_order(o, order);
        return;
    }
    double best = -2;
    for (int i = 0; i < TIED; i++)
        best = !(used >> i & 1) && o->cosine[i] > best ? o->cosine[i] : best;
    for (int i = 0; i < TIED; i++)
        if (!(used >> i & 1) && o->cosine[i] == best) {
            order[held] = i;
            all_orders(o, order, held + 1, used | 1u << i);
        }
}

Test(retrieval, ties_are_the_mean_of_all_orders)
{
    ak_ctx *ctx = quiet();
    static const double cosine[][TIED] = {
        { 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5 }, { 0.9, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1 },
        { 0.9, 0.9, 0.9, 0.5, 0.5, 0.5, 0.5 }, { 0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.9 },
    };
    int cases = 0;
    for (size_t c = 0; c < sizeof cosine / sizeof *cosine; c++)
        for (unsigned right = 1; right < 1u << TIED; right++) {
            int32_t id[TIED];
            for (int i = 0; i < TIED; i++)
                id[i] = right >> i & 1;
            orders o = { .cosine = cosine[c], .id = id };
            int order[TIED];
            all_orders(&o, order, 0, 0);
            double each[5];
            const int32_t one = 1;
            ak_eval_retrieval(along(ctx, 1), with_cosines(ctx, cosine[c], TIED),
                (ak_retrieval_options){ .query_id = &one, .gallery_id = id,
                    .each = { &each[0], &each[1], &each[2], &each[3], &each[4] },
                    .bootstrap = { .resamples = 100 } });
            for (int k = 0; k < 5; k++)
                NEAR(each[k], o.sum[k] / o.count, 1e-12);
            ak_step_end(ctx);
            cases++;
        }
    cr_assert_eq(cases, 4 * 127);
    ak_close(ctx);
}

/* An encoder that makes all rows equal: R@k = k / M, MRR = H(M) / M, wherever partners stand. */
Test(retrieval, equal_rows_score_as_chance_does)
{
    ak_ctx *ctx = quiet();
    double harmonic = 0;
    for (int i = 1; i <= 20; i++)
        harmonic += 1.0 / i;
    for (int zero = 0; zero < 2; zero++) {      /* zero rows are equal too */
        const ak_tensor *x = ak_full(ctx, AK_SHAPE(20, 3), zero ? 0 : (double)(ak_real)0.7);
        const ak_retrieval r = ak_eval_retrieval(x, x, (ak_retrieval_options){ 0 });
        NEAR(r.r1.value, 0.05, 1e-12);
        NEAR(r.r5.value, 0.25, 1e-12);
        NEAR(r.r10.value, 0.5, 1e-12);
        NEAR(r.mrr.value, harmonic / 20, 1e-12);
    }
    ak_close(ctx);
}

/* ---- values of others ------------------------------------------------------------------------ */

/* label_ranking_average_precision_score (one right answer: MRR) and top_k_accuracy_score of the
 * cosines of these tables. */
Test(retrieval, figures_are_those_of_scikit_learn)
{
    ak_ctx *ctx = quiet();
    ak_retrieval r[2];
    ak_eval_retrieval_both(number_table(ctx, 30, 6, 3), number_table(ctx, 30, 6, 4),
                           (ak_retrieval_options){ 0 }, r);
    const double expected[2][4] = {
        { 0.13164437063686626, 0.03333333333333333, 0.1, 0.3333333333333333 },
        { 0.13969955358808725, 0.03333333333333333, 0.2, 0.36666666666666664 },
    };
    for (int i = 0; i < 2; i++) {
        NEAR(r[i].mrr.value, expected[i][0], 1e-12);
        NEAR(r[i].r1.value, expected[i][1], 1e-12);
        NEAR(r[i].r5.value, expected[i][2], 1e-12);
        NEAR(r[i].r10.value, expected[i][3], 1e-12);
    }
    ak_close(ctx);
}

/* Ranks by numpy's argsort, MAP@R by its definition. */
Test(retrieval, figures_with_ids_are_those_of_numpy)
{
    ak_ctx *ctx = quiet();
    int32_t query_id[40], gallery_id[60];
    for (int i = 0; i < 60; i++)
        gallery_id[i] = i % 12;
    memcpy(query_id, gallery_id, sizeof query_id);
    const ak_retrieval r = ak_eval_retrieval(number_table(ctx, 40, 6, 1),
        number_table(ctx, 60, 6, 2),
        (ak_retrieval_options){ .query_id = query_id, .gallery_id = gallery_id });
    NEAR(r.r1.value, 0.075, 1e-12);
    NEAR(r.r5.value, 0.5, 1e-12);
    NEAR(r.r10.value, 0.675, 1e-12);
    NEAR(r.mrr.value, 0.23282144387709805, 1e-12);
    NEAR(r.map_r.value, 0.053, 1e-12);
    ak_close(ctx);
}

/* ---- house rules ----------------------------------------------------------------------------- */

Test(retrieval, same_bits_for_any_number_of_threads)
{
    ak_ctx *ctx = quiet();
    ak_retrieval r[4];
    memset(r, 0, sizeof r);
    for (int t = 0; t < 4; t++) {
        omp_set_num_threads(t + 1);
        r[t] = ak_eval_retrieval(number_table(ctx, 300, 9, 5), number_table(ctx, 300, 9, 6),
                                 (ak_retrieval_options){ 0 });
        cr_assert_eq(ak_error(ctx), AK_OK);
        cr_assert(r[t].mrr.value == r[0].mrr.value && r[t].mrr.lo == r[0].mrr.lo &&
                  r[t].mrr.hi == r[0].mrr.hi && r[t].r10.value == r[0].r10.value &&
                  r[t].map_r.value == r[0].map_r.value);
    }
    ak_close(ctx);
}

/* Lengths of rows, however far apart, change no rank. */
Test(retrieval, lengths_do_not_count)
{
    ak_ctx *ctx = quiet();
    ak_tensor *q = number_table(ctx, 30, 6, 3), *g = number_table(ctx, 30, 6, 4);
    for (int64_t i = 0; i < 30; i++)
        for (int64_t j = 0; j < 6; j++) {
            q->data[i * 6 + j] *= i % 2 ? (ak_real)0x1p100 : (ak_real)0x1p-90;
            g->data[i * 6 + j] *= i % 3 ? (ak_real)0x1p-80 : (ak_real)0x1p90;
        }
    const ak_retrieval r = ak_eval_retrieval(q, g, (ak_retrieval_options){ 0 });
    NEAR(r.mrr.value, 0.13164437063686626, 1e-12);
    ak_close(ctx);
}

Test(retrieval, what_is_refused)
{
    ak_ctx *ctx = quiet();
    const int32_t id[3] = { 0, 1, 2 }, other[3] = { 0, 0, 2 }, low[3] = { 0, -2, 1 };
    const int32_t unknown[3] = { -1, -1, -1 };
    double each[3];
#define REFUSED(status, part, q, g, ...) do { \
        const ak_retrieval r_ = ak_eval_retrieval(q, g, (ak_retrieval_options){ __VA_ARGS__ }); \
        cr_assert(isnan(r_.r1.value) && isnan(r_.map_r.hi)); \
        expect_error(ctx, status, part); \
    } while (0)
#define TABLE(n, d) number_table(ctx, n, d, 1)
    REFUSED(AK_ERR_SHAPE, "[3,2], gallery [3,4]", TABLE(3, 2), TABLE(3, 4), 0);
    REFUSED(AK_ERR_SHAPE, "N = M", TABLE(3, 2), TABLE(4, 2), 0);
    REFUSED(AK_ERR_VALUE, ".query_id without .gallery_id", TABLE(3, 2), TABLE(4, 2),
            .query_id = id);
    REFUSED(AK_ERR_VALUE, "1 of 3 queries have no right answer in the gallery, the first is query "
            "1 with id 1", TABLE(3, 2), TABLE(3, 2), .query_id = id, .gallery_id = other);
    REFUSED(AK_ERR_VALUE, "1 of 3 queries", TABLE(3, 2), TABLE(3, 2), .query_id = other,
            .gallery_id = other, .leave_one_out = true);
    REFUSED(AK_ERR_VALUE, "query id 1 is -2", TABLE(3, 2), TABLE(3, 2), .query_id = low,
            .gallery_id = id);
    REFUSED(AK_ERR_VALUE, "all 3 queries are unknown", TABLE(3, 2), TABLE(3, 2),
            .query_id = unknown, .gallery_id = id);
    REFUSED(AK_ERR_VALUE, "leave_one_out", TABLE(3, 2), number_table(ctx, 3, 2, 9), .query_id = id,
            .gallery_id = id, .leave_one_out = true);
    REFUSED(AK_ERR_VALUE, "leave_one_out", TABLE(3, 2), TABLE(3, 2), .leave_one_out = true);
    REFUSED(AK_ERR_VALUE, "99 resamples", TABLE(3, 2), TABLE(3, 2), .bootstrap.resamples = 99);
    REFUSED(AK_ERR_NUMBER, "gallery: 3 of 3 rows", TABLE(3, 2),
            ak_full(ctx, AK_SHAPE(3, 2), (double)NAN), 0);
    ak_retrieval both[2];
    ak_eval_retrieval_both(TABLE(3, 2), TABLE(3, 2),
                           (ak_retrieval_options){ .each.mrr = each }, both);
    expect_error(ctx, AK_ERR_VALUE, ".each belongs to one direction");
    cr_assert(isnan(both[0].r1.value) && isnan(both[1].r1.value));
    ak_close(ctx);
}

/* Queries are noisy rows of a gallery that stays; the truth is the mean over 20000 of them. */
Test(retrieval, intervals_cover)
{
    ak_ctx *ctx = quiet();
    enum { ALL = 20000, N = 80, M = 50, D = 4 };
    ak_tensor *g = number_table(ctx, M, D, 8), *q = ak_zeros(ctx, AK_SHAPE(ALL, D));
    int32_t *id = calloc(ALL, sizeof *id), gallery_id[M];
    for (int i = 0; i < M; i++)
        gallery_id[i] = i;
    for (int64_t i = 0; i < ALL; i++) {
        id[i] = (int32_t)(M * ak_random_uniform(1, 0, (uint64_t)i));
        for (int64_t j = 0; j < D; j++)
            q->data[i * D + j] = g->data[id[i] * D + j] +
                (ak_real)(0.9 * (ak_random_uniform(2, (uint64_t)j, (uint64_t)i) - 0.5));
    }
    const ak_retrieval_options all = { .query_id = id, .gallery_id = gallery_id,
                                       .bootstrap.resamples = 100 };
    const ak_retrieval truth = ak_eval_retrieval(q, g, all);
    cr_assert(truth.r1.value > 0.3 && truth.r1.value < 0.95, "%g", truth.r1.value);
    omp_set_num_threads(1);
    int shares = 0, ranks = 0;
    for (int r = 0; r < coverage_runs(); r++) {
        const ak_mark mark = ak_mark_step(ctx);
        ak_tensor *some = ak_zeros(ctx, AK_SHAPE(N, D));
        int32_t some_id[N];
        for (int64_t i = 0; i < N; i++) {
            const int64_t k = (int64_t)(ALL * ak_random_uniform(3, (uint64_t)r, (uint64_t)i));
            memcpy(some->data + i * D, q->data + k * D, D * sizeof *q->data);
            some_id[i] = id[k];
        }
        const ak_retrieval m = ak_eval_retrieval(some, g,
            (ak_retrieval_options){ .query_id = some_id, .gallery_id = gallery_id,
                                    .bootstrap = { .resamples = 400, .seed = (uint64_t)r } });
        shares += holds(m.r1, truth.r1.value);
        ranks += holds(m.mrr, truth.mrr.value);
        ak_release(ctx, mark);
    }
    expect_coverage(shares, "R@1");
    expect_coverage(ranks, "MRR");
    free(id);
    ak_close(ctx);
}
