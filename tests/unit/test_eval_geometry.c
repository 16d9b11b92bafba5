/* SPDX-License-Identifier: Apache-2.0 */
/* Shape of an embedding: closed forms, values of numpy and scipy, coverage. */
#include <omp.h>

#include "eval_table.h"

static const ak_bootstrap_options quick = { .resamples = 200 };
static const ak_rank_options plain = { .groups = AK_NONE };

static double rankme(const ak_tensor *z)
{
    return ak_measure_rankme(z, plain).value;
}

static double effective(const ak_tensor *z)
{
    return ak_measure_effective_rank(z, plain).value;
}

/* ---- on the sphere --------------------------------------------------------------------------- */

/* Unit vectors along x, y and -x; their partners along x, x and x: squared distances 0, 2, 4. Sums
 * of unit differences: (0 + -1 + -2, 1). */
Test(geometry, sphere_by_hand)
{
    ak_ctx *ctx = quiet();
    const ak_real a[6] = { 3, 0, 0, 5, -1, 0 }, b[6] = { 1, 0, 2, 0, 7, 0 };
    const ak_tensor *x = ak_from(ctx, AK_SHAPE(3, 2), a), *y = ak_from(ctx, AK_SHAPE(3, 2), b);
    const ak_measure align = ak_measure_alignment(x, y, quick);
    NEAR(align.value, 2, 1e-6);
    cr_assert(align.n == 3 && strstr(align.protocol, "BCa"), "%s", align.protocol);
    const ak_measure gap = ak_measure_modality_gap(x, y, 0);
    NEAR(gap.value, sqrt(10) / 3, 1e-6);
    cr_assert(gap.lo >= 0 && gap.hi <= 2);
    const ak_measure even = ak_measure_uniformity(x, 0);
    NEAR(even.value, log((2 * exp(-4) + exp(-8)) / 3), 1e-6);
    cr_assert(strstr(even.protocol, "jackknife"));
    ak_close(ctx);
}

Test(geometry, sphere_is_that_of_numpy)             /* scipy.spatial.distance.pdist */
{
    ak_ctx *ctx = quiet();
    const ak_tensor *x = number_table(ctx, 40, 6, 1), *y = number_table(ctx, 40, 6, 2);
    NEAR(ak_measure_alignment(x, y, quick).value, 1.8276242526833406, 1e-6);
    NEAR(ak_measure_modality_gap(x, y, 0).value, 0.15133621870450273, 1e-6);
    NEAR(ak_measure_uniformity(x, 0).value, -2.848060205404104, 1e-6);
    NEAR(ak_measure_alignment(x, y, quick).value, ak_eval_alignment(x, y), 1e-6);
    NEAR(ak_measure_uniformity(x, 0).value, ak_eval_uniformity(x), 1e-6);
    ak_close(ctx);
}

Test(geometry, equal_rows_on_the_sphere)
{
    ak_ctx *ctx = quiet();
    const ak_tensor *x = ak_full(ctx, AK_SHAPE(300, 4), 2), *one = ak_full(ctx, AK_SHAPE(1, 4), 1);
    ak_measure m = ak_measure_uniformity(x, 0);
    NEAR(m.value, 0, 1e-6);
    NEAR(m.lo, 0, 1e-6);
    m = ak_measure_modality_gap(x, x, 0);
    cr_assert(m.value == 0 && m.lo == 0 && m.hi == 0);
    m = ak_measure_alignment(x, x, quick);              /* all 0: a share, by Wilson */
    cr_assert(m.value == 0 && m.hi > 0 && m.hi < 0.02, "%g", m.hi);
    m = ak_measure_modality_gap(one, one, 0);
    cr_assert(m.value == 0 && m.lo == 0 && m.hi == 2);
    m = ak_measure_uniformity(number_table(ctx, 2, 3, 1), 0);
    cr_assert(m.value < 0 && m.lo == -(double)INFINITY && m.hi == 0);
    ak_close(ctx);
}

/* ---- directions ------------------------------------------------------------------------------ */

Test(geometry, rank_in_closed_form)
{
    ak_ctx *ctx = quiet();
    /* 4 equal singular values; less their mean, 3 */
    ak_tensor *unit = ak_zeros(ctx, AK_SHAPE(4, 4));
    for (int i = 0; i < 4; i++)
        unit->data[5 * i] = 8;
    NEAR(rankme(unit), 4, 1e-5);
    NEAR(effective(unit), 3, 1e-9);
    /* fewer rows than columns: 3 orthogonal rows of 10; less their mean, 2 */
    ak_tensor *wide = ak_zeros(ctx, AK_SHAPE(3, 10));
    for (int i = 0; i < 3; i++)
        wide->data[10 * i + 3 * i] = 1;
    NEAR(rankme(wide), 3, 1e-5);
    NEAR(effective(wide), 2, 1e-9);
    /* singular values 3 and 1: p = 3/4, 1/4 */
    const ak_real two[8] = { 3, 0, -3, 0, 0, 1, 0, -1 };
    const double expected = exp(-0.75 * log(0.75) - 0.25 * log(0.25));
    NEAR(rankme(ak_from(ctx, AK_SHAPE(4, 2), two)), expected, 1e-5);
    NEAR(effective(ak_from(ctx, AK_SHAPE(4, 2), two)), expected, 1e-9);
    ak_close(ctx);
}

/* Collapsed embeddings: all rows equal, all rows multiples of one, nothing at all; tall and wide,
 * of any size that a number can have. */
Test(geometry, rank_of_what_has_collapsed)
{
    ak_ctx *ctx = quiet();
    const int64_t shapes[3][2] = { { 50, 10 }, { 5, 40 }, { 1, 7 } };
    const ak_real sizes[3] = { (ak_real)0.3, (ak_real)1e-30, (ak_real)1e30 };
    for (int s = 0; s < 3; s++)
        for (int k = 0; k < 3; k++) {
            const int64_t n = shapes[s][0], d = shapes[s][1];
            const ak_tensor *equal = ak_full(ctx, AK_SHAPE(n, d), (double)sizes[k]);
            const double least = (double)(n < d ? n : d);
            NEAR(rankme(equal), 1, 2e-6 * least);
            NEAR(effective(equal), 0, 0);
            ak_tensor *line = ak_full(ctx, AK_SHAPE(n, d), (double)sizes[k]);
            for (int64_t i = 0; i < n * d; i++)
                line->data[i] *= (ak_real)(i / d + 1) * (ak_real)(i % d == 2 ? 2 : 1);
            NEAR(rankme(line), 1, 2e-6 * least);
            NEAR(effective(line), n > 1 ? 1 : 0, 1e-6);
            NEAR(rankme(ak_zeros(ctx, AK_SHAPE(n, d))), 0, 0);
        }
    const ak_measure m = ak_measure_rankme(ak_full(ctx, AK_SHAPE(1, 7), 1), (ak_rank_options){ 0 });
    cr_assert(m.lo == 0 && m.hi == 1 && m.n == 1);
    ak_close(ctx);
}

static ak_tensor *uneven_table(ak_ctx *ctx, int64_t n, int64_t d)
{
    ak_tensor *z = number_table(ctx, n, d, 11);
    for (int64_t i = 0; i < n * d; i++)
        z->data[i] = (ak_real)((double)z->data[i] * (double)(1 + i % d % 4) + 0.5);
    return z;
}

/* numpy.linalg.svd of the rows, and of the rows without each of 20 (12) groups; t by scipy. */
Test(geometry, rank_is_that_of_numpy)
{
    ak_ctx *ctx = quiet();
    const ak_tensor *tall = uneven_table(ctx, 50, 8), *wide = uneven_table(ctx, 12, 30);
    const ak_rank_options o = { 0 };
    const ak_measure m[4] = { ak_measure_rankme(tall, o), ak_measure_effective_rank(tall, o),
                              ak_measure_rankme(wide, o), ak_measure_effective_rank(wide, o) };
    static const double expected[4][3] = {
        { 6.986987732361039, 6.84461202662954, 7.129363438092539 },
        { 6.8934675345997505, 6.722173108814487, 7.064761960385014 },
        { 10.903070219261211, 10.552681523117329, 11.253458915405094 },
        { 10.130201490594155, 9.685771390693416, 10.574631590494894 },
    };
    for (int i = 0; i < 4; i++) {
        NEAR(m[i].value, expected[i][0], 2e-6);
        NEAR(m[i].lo, expected[i][1], 2e-5);
        NEAR(m[i].hi, expected[i][2], 2e-5);
    }
    cr_assert(strstr(m[0].protocol, "RankMe of 50 rows of 8") &&
              strstr(m[3].protocol, "centred, 95 % jackknife of 12 groups"), "%s", m[3].protocol);
    ak_close(ctx);
}

/* ---- house rules ----------------------------------------------------------------------------- */

Test(geometry, same_bits_for_any_number_of_threads)
{
    ak_ctx *ctx = quiet();
    const ak_tensor *x = number_table(ctx, 700, 30, 1), *y = number_table(ctx, 700, 30, 2);
    ak_measure m[4][5];
    for (int t = 0; t < 4; t++) {
        omp_set_num_threads(t + 1);
        m[t][0] = ak_measure_alignment(x, y, quick);
        m[t][1] = ak_measure_modality_gap(x, y, 0);
        m[t][2] = ak_measure_uniformity(x, 0);
        m[t][3] = ak_measure_rankme(x, (ak_rank_options){ 0 });
        m[t][4] = ak_measure_effective_rank(x, (ak_rank_options){ 0 });
        for (int k = 0; k < 5; k++)
            cr_assert(m[t][k].value == m[0][k].value && m[t][k].lo == m[0][k].lo &&
                      m[t][k].hi == m[0][k].hi, "%d", k);
    }
    ak_close(ctx);
}

Test(geometry, what_is_refused)
{
    ak_ctx *ctx = quiet();
#define REFUSED(status, part, measure) do { \
        const ak_measure m_ = measure; \
        cr_assert(isnan(m_.value) && isnan(m_.lo) && isnan(m_.hi)); \
        expect_error(ctx, status, part); \
    } while (0)
#define TABLE(n, d) number_table(ctx, n, d, 1)
#define BAD ak_full(ctx, AK_SHAPE(3, 2), (double)NAN)
    REFUSED(AK_ERR_SHAPE, "z1 [3,2], z2 [4,2]",
            ak_measure_alignment(TABLE(3, 2), TABLE(4, 2), quick));
    REFUSED(AK_ERR_SHAPE, "z1 [3,2], z2 [3,3]",
            ak_measure_modality_gap(TABLE(3, 2), TABLE(3, 3), 0));
    REFUSED(AK_ERR_SHAPE, "N >= 2", ak_measure_uniformity(TABLE(1, 2), 0));
    REFUSED(AK_ERR_SHAPE, "RankMe: z [2]", ak_measure_rankme(ak_full(ctx, AK_SHAPE(2), 1), plain));
    REFUSED(AK_ERR_VALUE, "level -1", ak_measure_uniformity(TABLE(3, 2), -1));
    REFUSED(AK_ERR_VALUE, "level 1", ak_measure_modality_gap(TABLE(3, 2), TABLE(3, 2), 1));
    REFUSED(AK_ERR_VALUE, "4 groups of 3 rows",
            ak_measure_rankme(TABLE(3, 2), (ak_rank_options){ .groups = 4 }));
    REFUSED(AK_ERR_VALUE, "level 2",
            ak_measure_effective_rank(TABLE(3, 2), (ak_rank_options){ .level = 2 }));
    REFUSED(AK_ERR_VALUE, "99 resamples", ak_measure_alignment(TABLE(3, 2), TABLE(3, 2),
            (ak_bootstrap_options){ .resamples = 99 }));
    REFUSED(AK_ERR_NUMBER, "3 of 3 rows", ak_measure_rankme(BAD, plain));
    REFUSED(AK_ERR_NUMBER, "3 of 3 rows", ak_measure_uniformity(BAD, 0));
    REFUSED(AK_ERR_NUMBER, "3 of 3 row", ak_measure_alignment(TABLE(3, 2), BAD, quick));
    ak_close(ctx);
}

/* ---- coverage -------------------------------------------------------------------------------- */

static double uniform(int stream, int run, int i)
{
    return ak_random_uniform((uint64_t)stream, (uint64_t)run, (uint64_t)i);
}

/* log E exp(4 cos(a - b) - 4) of two angles uniform in [0, 2]: |a - b| = t has density 1 - t/2. */
static double uniformity_of_an_arc(void)
{
    double sum = 0;
    for (int i = 0; i < 20000; i++) {
        const double t = 2 * (i + 0.5) / 20000;
        sum += (1 - t / 2) * exp(4 * cos(t) - 4) * 2 / 20000;
    }
    return log(sum);
}

/* Rows on arcs of the circle: angles in [0, 2], partners later by up to 1. */
Test(geometry, intervals_on_the_sphere_cover)
{
    omp_set_num_threads(1);
    ak_ctx *ctx = quiet();
    enum { ROWS = 100 };
    const double align = 2 - 2 * sin(1), even = uniformity_of_an_arc();
    /* means of (cos, sin) of a in [0, 2], and of a + b, b in [0, 1] */
    const double x = sin(2) / 2, y = (1 - cos(2)) / 2;
    const double c = sin(1), s = 1 - cos(1);
    const double gap = hypot(x - (x * c - y * s), y - (x * s + y * c));
    int held[3] = { 0 };
    for (int r = 0; r < coverage_runs(); r++) {
        const ak_mark mark = ak_mark_step(ctx);
        ak_tensor *u = ak_zeros(ctx, AK_SHAPE(ROWS, 2)), *v = ak_zeros(ctx, AK_SHAPE(ROWS, 2));
        for (int i = 0; i < ROWS; i++) {
            const double a = 2 * uniform(1, r, i), b = a + uniform(2, r, i);
            u->data[2 * i] = (ak_real)cos(a);
            u->data[2 * i + 1] = (ak_real)sin(a);
            v->data[2 * i] = (ak_real)cos(b);
            v->data[2 * i + 1] = (ak_real)sin(b);
        }
        held[0] += holds(ak_measure_alignment(u, v,
            (ak_bootstrap_options){ .resamples = 400, .seed = (uint64_t)r }), align);
        held[1] += holds(ak_measure_uniformity(u, 0), even);
        held[2] += holds(ak_measure_modality_gap(u, v, 0), gap);
        ak_release(ctx, mark);
    }
    expect_coverage(held[0], "alignment");
    expect_coverage(held[1], "uniformity");
    expect_coverage(held[2], "modality gap");
    ak_close(ctx);
}

/* Three columns, uniform, of widths 4, 2, 1. The truth is the mean figure of as many rows, by as
 * many other draws. */
Test(geometry, intervals_of_ranks_cover)
{
    omp_set_num_threads(1);
    ak_ctx *ctx = quiet();
    enum { ROWS = 120 };
    double truth[2] = { 0 };
    int held[2] = { 0 };
    for (int r = 0; r < 2 * coverage_runs(); r++) {
        const ak_mark mark = ak_mark_step(ctx);
        ak_tensor *z = ak_zeros(ctx, AK_SHAPE(ROWS, 3));
        for (int i = 0; i < 3 * ROWS; i++)
            z->data[i] = (ak_real)((uniform(1, r, i) - 0.5) * (double)(4 >> i % 3));
        const bool first = r < coverage_runs();
        const ak_rank_options o = { .groups = first ? AK_NONE : 0 };
        const ak_measure m[2] = { ak_measure_rankme(z, o), ak_measure_effective_rank(z, o) };
        for (int k = 0; k < 2; k++) {
            truth[k] += first ? m[k].value / coverage_runs() : 0;
            held[k] += !first && holds(m[k], truth[k]);
        }
        ak_release(ctx, mark);
    }
    expect_coverage(held[0], "RankMe");
    expect_coverage(held[1], "effective rank");
    ak_close(ctx);
}
