/* SPDX-License-Identifier: Apache-2.0 */
/* k-means: inertia that never rises, repaired clusters, data far from 0 and of any size; Sinkhorn:
 * sums, marginals, any eps. */
#include <criterion/criterion.h>

#include <akin/memory.h>
#include <akin/ops.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define DOUBLE (sizeof(ak_real) == 8)
#define TOL (DOUBLE ? 1e-11 : 1e-5)

static ak_ctx *ctx;

static void begin(void)
{
    ctx = ak_open((ak_options){ .seed = 11, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
}

static void end(void) { ak_close(ctx); }

TestSuite(kmeans, .init = begin, .fini = end);
TestSuite(sinkhorn, .init = begin, .fini = end);

static void expect_error(ak_status want, const char *a, const char *b, int line)
{
    cr_expect_eq(ak_error(ctx), want, "line %d: %s: %s", line, ak_status_name(ak_error(ctx)),
                 ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), a) && strstr(ak_error_message(ctx), b),
              "line %d: no \"%s\" and \"%s\" in: %s", line, a, b, ak_error_message(ctx));
    ak_step_end(ctx);
}
#define EXPECT_ERROR(want, a, b) expect_error(want, a, b, __LINE__)

/* ---- k-means --------------------------------------------------------------------------------- */

/* N rows around `groups` centres `apart` from one another, with noise 1; times scale, plus shift.
 */
static ak_tensor *groups_of(int64_t N, int64_t D, int groups, double apart, double scale,
                            double shift)
{
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(N, D)), *c = ak_randn(ctx, AK_SHAPE(groups, D));
    for (int64_t i = 0; i < N * D; i++) {
        const double centre = apart * (double)c->data[i / D % groups * D + i % D];
        x->data[i] = (ak_real)(scale * ((double)x->data[i] + centre) + shift);
    }
    return x;
}

static double row_length(const ak_real *x, int64_t d)
{
    double s = 0;
    for (int64_t j = 0; j < d; j++)
        s += (double)x[j] * (double)x[j];
    return sqrt(s);
}

/* |x / |x| - c|^2 or |x - c|^2 */
static double distance(const ak_real *x, const ak_real *c, int64_t d, bool spherical)
{
    const double f = spherical ? 1 / row_length(x, d) : 1;
    double s = 0;
    for (int64_t j = 0; j < d; j++)
        s += (f * (double)x[j] - (double)c[j]) * (f * (double)x[j] - (double)c[j]);
    return s;
}

/* What must hold of every result. */
static void check_result(const ak_tensor *x, ak_kmeans_result r, bool spherical, double tol)
{
    const int64_t N = x->shape.dims[0], D = x->shape.dims[1], K = r.centroids->shape.dims[0];
    cr_assert(!ak_is_poison(r.centroids), "%s", ak_error_message(ctx));
    int64_t *size = calloc((size_t)K, sizeof *size);
    double inertia = 0, worst = 0;
    for (int64_t i = 0; i < N; i++) {
        const int32_t l = r.labels->data[i];
        cr_assert(l >= 0 && l < K);
        size[l]++;
        const double own = distance(x->data + i * D, r.centroids->data + l * D, D, spherical);
        inertia += own;
        for (int64_t j = 0; j < K; j++)
            worst = fmax(worst, own - distance(x->data + i * D, r.centroids->data + j * D, D,
                                               spherical));
    }
    const double mean = fmax(inertia / (double)N, 1e-300);
    cr_expect(worst <= tol * mean, "labels are of the nearest: %g of %g", worst, mean);
    /* A centroid of one row is that row only within rounding. */
    const double least = (double)N * (DOUBLE ? 1e-28 : 1e-12);
    cr_expect(fabs(inertia - r.inertia) <= tol * inertia + least, "inertia %g, not %g", r.inertia,
              inertia);
    for (int64_t j = 0; j < K; j++) {
        cr_expect(size[j] > 0 && size[j] == r.sizes->data[j]);
        if (spherical)
            cr_expect_float_eq(row_length(r.centroids->data + j * D, D), 1, TOL);
    }
    cr_expect(r.traced >= 1 && r.trace[r.traced - 1] == r.inertia);
    for (int i = 1; i < r.traced; i++)
        cr_expect(r.trace[i] <= r.trace[i - 1], "iteration %d: %.17g after %.17g", i, r.trace[i],
                  r.trace[i - 1]);
    free(size);
}

Test(kmeans, inertia_never_rises)
{
    static const struct { int64_t N, D, K; } cases[] = {
        { 1, 1, 1 }, { 5, 2, 5 }, { 300, 3, 7 }, { 1000, 16, 40 }, { 700, 5, 600 }
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int how = 0; how < 4; how++) {
            ak_tensor *x = ak_randn(ctx, AK_SHAPE(cases[c].N, cases[c].D));
            const ak_kmeans_options o = { .spherical = how & 1,
                                          .tolerance = how & 2 ? AK_NONE : 0 };
            const ak_kmeans_result r = ak_kmeans(x, cases[c].K, o);
            check_result(x, r, o.spherical, DOUBLE ? 1e-10 : 1e-4);
            cr_expect(r.iterations == r.traced && r.iterations <= 100);
            cr_assert_eq(ak_step_end(ctx), AK_OK);
        }
}

/* At the end without a tolerance each centroid is the mean of its rows. */
Test(kmeans, converged_centroids_are_means)
{
    enum { N = 400, D = 4, K = 9 };
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(N, D));
    const ak_kmeans_result r = ak_kmeans(x, K, (ak_kmeans_options){ .tolerance = AK_NONE,
                                                                    .iterations = 1000 });
    cr_assert(r.converged);
    for (int k = 0; k < K; k++)
        for (int j = 0; j < D; j++) {
            double sum = 0;
            for (int i = 0; i < N; i++)
                sum += r.labels->data[i] == k ? (double)x->data[i * D + j] : 0;
            cr_expect_float_eq((double)r.centroids->data[k * D + j], sum / r.sizes->data[k], TOL);
        }
    const ak_kmeans_result one = ak_kmeans(x, K, (ak_kmeans_options){ .iterations = 1 });
    cr_expect(one.iterations == 1 && !one.converged && one.inertia > r.inertia);
    check_result(x, one, false, DOUBLE ? 1e-10 : 1e-4);
}

/* The groups are found, wherever they lie and however large their numbers are. */
Test(kmeans, groups_are_found_far_from_0_and_of_any_size)
{
    static const struct { double scale, shift; } cases[] = {
        { 1, 0 }, { 1, 3e4 }, { 1e-20, 0 }, { 1e30, 0 }, { 1e15, -1e18 }
    };
    enum { N = 600, D = 8, K = 6 };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int64_t batch = 0; batch <= 100; batch += 100) {
            ak_tensor *x = groups_of(N, D, K, 40, cases[c].scale, cases[c].shift);
            const ak_kmeans_result r = ak_kmeans(x, K, (ak_kmeans_options){ .restarts = 4,
                                                                            .batch = batch });
            cr_assert(!ak_is_poison(r.centroids), "%s", ak_error_message(ctx));
            for (int i = 0; i < N; i++)
                cr_expect_eq(r.labels->data[i], r.labels->data[i % K], "case %d, row %d", (int)c,
                             i);
            for (int k = 0; k < K; k++)
                cr_expect_eq(r.sizes->data[k], N / K);
            const double share = r.inertia / (cases[c].scale * cases[c].scale) / N / D;
            cr_expect(share > 0.7 && share < 1.3, "noise of 1 a number: %g", share);
            /* New rows go where the old ones are. */
            const ak_index *again = ak_kmeans_assign(x, r.centroids, false);
            cr_expect_eq(memcmp(again->data, r.labels->data, N * sizeof(int32_t)), 0);
            cr_assert_eq(ak_step_end(ctx), AK_OK);
        }
}

/* Fewer different rows than clusters, and clusters that run empty: every one has a row. */
Test(kmeans, empty_clusters_are_repaired)
{
    ak_tensor *same = ak_full(ctx, AK_SHAPE(20, 3), 2);
    for (int64_t batch = 0; batch < 10; batch += 5)
        for (int spherical = 0; spherical < 2; spherical++) {
            const ak_kmeans_result r = ak_kmeans(same, 7, (ak_kmeans_options){
                .batch = batch, .spherical = spherical });
            check_result(same, r, spherical, 1e-6);
            cr_expect_float_eq(r.inertia, 0, 1e-10);
        }
    /* Heavy duplicates: three places, one with nearly all rows. */
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(200, 2));
    for (int i = 0; i < 200; i++)
        x->data[2 * i] = (ak_real)(i < 190 ? 0 : i < 197 ? 5 : 100 + i);
    const ak_kmeans_result r = ak_kmeans(x, 8, (ak_kmeans_options){ .tolerance = AK_NONE });
    check_result(x, r, false, 1e-6);
}

Test(kmeans, spherical_does_not_see_lengths)
{
    ak_tensor *x = groups_of(200, 6, 4, 10, 1, 0), *y = ak_scale(x, 1);
    for (int64_t i = 0; i < y->size; i++)
        y->data[i] *= (ak_real)(i / 6 % 3 == 0 ? 1024 : i / 6 % 3 == 1 ? 1 : 1.0 / 4096);
    const ak_kmeans_options o = { .spherical = true, .restarts = 8 };
    const ak_kmeans_result a = ak_kmeans(x, 4, o), b = ak_kmeans(y, 4, o);
    cr_expect_float_eq(b.inertia, a.inertia, 1e-4 * a.inertia);
    check_result(y, b, true, DOUBLE ? 1e-10 : 1e-4);
    const ak_index *again = ak_kmeans_assign(x, b.centroids, true);
    cr_expect_eq(memcmp(again->data, b.labels->data, 200 * sizeof(int32_t)), 0,
                 "assigned by direction");
}

Test(kmeans, restarts_keep_the_best_and_draws_repeat)
{
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(300, 2)));
    double best = (double)INFINITY;
    ak_ctx *const outer = ctx;
    double inertia[2];
    for (int twice = 0; twice < 2; twice++) {
        ctx = ak_open((ak_options){ .seed = 2, .quiet = true });
        ak_tensor *copy = ak_from(ctx, x->shape, x->data);
        inertia[twice] = ak_kmeans(copy, 12, (ak_kmeans_options){ .restarts = 8 }).inertia;
        if (twice)
            for (int i = 0; i < 8; i++)
                best = fmin(best, ak_kmeans(copy, 12, (ak_kmeans_options){ 0 }).inertia);
        ak_close(ctx);
    }
    ctx = outer;
    cr_expect_eq(inertia[0], inertia[1], "seed and stream decide");
    cr_expect(inertia[0] < best * 1.1, "%g against the best of other draws, %g", inertia[0], best);
}

/* k-means++ against centroids drawn from the rows alike: with groups far apart it misses fewer. */
Test(kmeans, seeds_lie_apart)
{
    int all = 0;
    for (int t = 0; t < 20; t++) {
        ak_tensor *x = groups_of(240, 4, 8, 100, 1, 0);
        const ak_kmeans_result r = ak_kmeans(x, 8, (ak_kmeans_options){ .iterations = 1 });
        bool found = true;
        for (int k = 0; k < 8; k++)
            found = found && r.sizes->data[k] == 30;
        all += found;
        ak_step_end(ctx);
    }
    /* Rows drawn alike would hit all eight groups in 8! / 8^8 = 0.24 % of the runs. */
    cr_expect_geq(all, 14, "%d of 20", all);
}

Test(kmeans, refusals)
{
    ak_tensor *x = ak_full(ctx, AK_SHAPE(3, 2), 1);
    cr_expect(ak_is_poison(ak_kmeans(x, 4, (ak_kmeans_options){ 0 }).centroids));
    EXPECT_ERROR(AK_ERR_VALUE, "k is 4 for 3 rows", "ak_kmeans");
    ak_kmeans(ak_full(ctx, AK_SHAPE(3, 2), 1), 0, (ak_kmeans_options){ 0 });
    EXPECT_ERROR(AK_ERR_VALUE, "k is 0 for 3 rows", "");
    ak_kmeans(ak_full(ctx, AK_SHAPE(3), 1), 1, (ak_kmeans_options){ 0 });
    EXPECT_ERROR(AK_ERR_SHAPE, "[3]", "[N, D]");
    x = ak_full(ctx, AK_SHAPE(3, 2), 1);
    x->data[4] = (ak_real)NAN;
    ak_kmeans(x, 2, (ak_kmeans_options){ 0 });
    EXPECT_ERROR(AK_ERR_NUMBER, "1 of 3 rows", "row 2");
    x = ak_full(ctx, AK_SHAPE(3, 2), 1);
    x->data[2] = x->data[3] = 0;
    ak_kmeans(x, 2, (ak_kmeans_options){ .spherical = true });
    EXPECT_ERROR(AK_ERR_NUMBER, "row 1 of 3 is all zeros", "");
    static const ak_kmeans_options bad[] = {
        { .restarts = -1 }, { .iterations = -1 }, { .batch = -1 }, { .tolerance = 1 },
        { .tolerance = -0.5 }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        ak_kmeans(ak_full(ctx, AK_SHAPE(3, 2), 1), 2, bad[i]);
        EXPECT_ERROR(AK_ERR_VALUE, i < 3 ? "-1" : ".tolerance", "expected");
    }
    ak_kmeans_assign(ak_full(ctx, AK_SHAPE(3, 2), 1), ak_full(ctx, AK_SHAPE(3, 3), 1), false);
    EXPECT_ERROR(AK_ERR_SHAPE, "[3,2]", "[3,3]");
    x = ak_full(ctx, AK_SHAPE(3, 2), 1e30);
    ak_kmeans_assign(x, ak_from(ctx, AK_SHAPE(2, 2), (ak_real[]){ 0, 1, 1, 0 }), false);
    EXPECT_ERROR(AK_ERR_NUMBER, "row 0 of 3 has 1e+30", "can not be told");
    cr_expect(ak_shape_equal(ak_kmeans_assign(ak_full(ctx, AK_SHAPE(2, 3, 2), 1),
                                              ak_full(ctx, AK_SHAPE(1, 2), 1), false)->shape,
                             AK_SHAPE(2, 3)));
}

Test(kmeans, memory_runs_out_and_a_step_like_the_last_takes_none)
{
    for (int n = 1; n < 60; n++) {
        ak_ctx *c = ak_open((ak_options){ .quiet = true });
        ak_on_error(c, NULL, NULL);
        ak_tensor *x = ak_randn(c, AK_SHAPE(500, 40));
        ak_fail_alloc_after((uint64_t)n, true);
        const ak_kmeans_result r = ak_kmeans(x, 20, (ak_kmeans_options){ 0 });
        const ak_index *labels = ak_kmeans_assign(x, r.centroids, false);
        ak_tensor *codes = ak_sinkhorn(x, (ak_sinkhorn_options){ .eps = 1, .tolerance = 1e-3 });
        ak_fail_alloc_after(0, false);
        const ak_status status = ak_error(c);
        cr_expect(status == AK_OK || status == AK_ERR_MEMORY, "%d: %s", n, ak_error_message(c));
        cr_expect(status == AK_OK || ak_is_poison(codes));
        cr_expect(status != AK_OK || labels->size == 500);
        ak_close(c);
        if (status == AK_OK)
            break;
        cr_assert(n < 59, "it never works");
    }
    uint64_t before = 0;
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(500, 40)));
    for (int step = 0; step < 6; step++) {
        ak_kmeans(x, 20, (ak_kmeans_options){ .iterations = 5 });
        ak_sinkhorn(x, (ak_sinkhorn_options){ .eps = 1 });
        cr_assert_eq(ak_step_end(ctx), AK_OK);
        if (step == 2)
            before = ak_malloc_count();
    }
    cr_expect_eq(ak_malloc_count(), before);
}

/* ---- Sinkhorn -------------------------------------------------------------------------------- */

static ak_tensor *cosines(int64_t N, int64_t K)
{
    return ak_matmul_nt(ak_l2_normalize(ak_randn(ctx, AK_SHAPE(N, 16))),
                        ak_l2_normalize(ak_randn(ctx, AK_SHAPE(K, 16))));
}

/* Largest errors of the sums of rows and, over what it should be, of columns. */
static void sums(const ak_tensor *q, const double *part, double *rows, double *columns)
{
    const int64_t N = q->shape.dims[0], K = q->shape.dims[1];
    *rows = *columns = 0;
    for (int64_t i = 0; i < N; i++) {
        double s = 0;
        for (int64_t j = 0; j < K; j++) {
            cr_assert(q->data[i * K + j] >= 0 && isfinite(q->data[i * K + j]));
            s += (double)q->data[i * K + j];
        }
        *rows = fmax(*rows, fabs(s - 1));
    }
    for (int64_t j = 0; j < K; j++) {
        double s = 0;
        for (int64_t i = 0; i < N; i++)
            s += (double)q->data[i * K + j];
        *columns = fmax(*columns, fabs(s / (double)N / (part ? part[j] : 1 / (double)K) - 1));
    }
}

Test(sinkhorn, sums_are_right_at_small_eps)
{
    static const struct { int64_t N, K; } cases[] = { { 64, 16 }, { 200, 30 }, { 64, 64 },
                                                      { 7, 20 }, { 1, 1 }, { 1, 5 }, { 5, 1 } };
    static const double eps[] = { 1, 0.05, 0.005, 0.0005 };
    /* Several draws: where codes are nearly 0 and 1, luck decides how hard a matrix is. */
    for (size_t c = 0; c < 5 * sizeof cases / sizeof *cases; c++)
        for (size_t e = 0; e < sizeof eps / sizeof *eps; e++) {
            const int64_t N = cases[c / 5].N, K = cases[c / 5].K;
            ak_sinkhorn_report r;
            double rows, columns;
            const ak_tensor *q = ak_sinkhorn(cosines(N, K), (ak_sinkhorn_options){
                .eps = eps[e], .tolerance = 1e-7, .report = &r });
            cr_assert(!ak_is_poison(q), "%s", ak_error_message(ctx));
            sums(q, NULL, &rows, &columns);
            cr_expect(rows < 1e-6 && columns < 1e-6, "N %d K %d eps %g: rows %g, columns %g",
                      (int)N, (int)K, eps[e], rows, columns);
            cr_expect(r.error <= 1e-7 && r.iterations < 1000, "%d iterations, %g", r.iterations,
                      r.error);
            cr_assert_eq(ak_step_end(ctx), AK_OK);
        }
}

/* Fixed iterations as they are written in SwAV's program, in double. */
Test(sinkhorn, fixed_iterations_are_those_of_the_paper)
{
    enum { N = 24, K = 9 };
    for (int T = 1; T <= 4; T++) {
        ak_tensor *s = cosines(N, K);
        double Q[N][K], all = 0;
        for (int i = 0; i < N; i++)
            for (int j = 0; j < K; j++)
                all += Q[i][j] = exp((double)s->data[i * K + j] / 0.05);
        for (int i = 0; i < N; i++)
            for (int j = 0; j < K; j++)
                Q[i][j] /= all;
        for (int t = 0; t < T; t++) {
            for (int j = 0; j < K; j++) {
                double sum = 0;
                for (int i = 0; i < N; i++)
                    sum += Q[i][j];
                for (int i = 0; i < N; i++)
                    Q[i][j] /= sum * K;
            }
            for (int i = 0; i < N; i++) {
                double sum = 0;
                for (int j = 0; j < K; j++)
                    sum += Q[i][j];
                for (int j = 0; j < K; j++)
                    Q[i][j] /= sum * N;
            }
        }
        ak_sinkhorn_report r;
        const ak_tensor *q = ak_sinkhorn(s, (ak_sinkhorn_options){
            .iterations = T == 3 ? 0 : T, .report = &r });
        double columns = 0;
        for (int j = 0; j < K; j++) {
            double sum = 0;
            for (int i = 0; i < N; i++) {
                cr_expect_float_eq((double)q->data[i * K + j], Q[i][j] * N, TOL);
                sum += Q[i][j];
            }
            columns = fmax(columns, fabs(sum * K - 1));
        }
        cr_expect_eq(r.iterations, T);
        cr_expect_float_eq(r.error, columns, DOUBLE ? 1e-10 : 1e-4);
        cr_expect(!q->needs_grad);
    }
}

Test(sinkhorn, weights_say_what_rows_and_columns_get)
{
    enum { N = 50, K = 6 };
    static const ak_real parts[K] = { 1, 2, 3, 0, 4, (ak_real)0.5 };
    ak_tensor *s = cosines(N, K), *r = ak_full(ctx, AK_SHAPE(N), 2);
    r->data[3] = 0;
    r->data[4] = 6;
    const ak_tensor *q = ak_sinkhorn(s, (ak_sinkhorn_options){
        .eps = 0.01, .tolerance = 1e-8, .row_weights = r,
        .column_weights = ak_from(ctx, AK_SHAPE(K), parts) });
    cr_assert(!ak_is_poison(q), "%s", ak_error_message(ctx));
    for (int j = 0; j < K; j++) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            sum += (double)r->data[i] * (double)q->data[i * K + j] / (2 * (N - 2) + 6);
        cr_expect_float_eq(sum, (double)parts[j] / 10.5, 1e-6, "column %d: %g", j, sum);
    }
    for (int i = 0; i < N; i++) {
        double sum = 0;
        for (int j = 0; j < K; j++)
            sum += (double)q->data[i * K + j];
        cr_expect_float_eq(sum, 1, 1e-6, "a row of weight 0 has a code too");
    }
    /* A weight of 2 is the row twice. */
    ak_tensor *twice = ak_concat(0, s, ak_rows(s, 0, 1));
    ak_tensor *w = ak_full(ctx, AK_SHAPE(N), 1);
    w->data[0] = 2;
    const ak_tensor *a = ak_sinkhorn(s, (ak_sinkhorn_options){ .row_weights = w });
    const ak_tensor *b = ak_sinkhorn(twice, (ak_sinkhorn_options){ 0 });
    for (int i = 0; i < N * K; i++)
        cr_expect_float_eq((double)a->data[i], (double)b->data[i], TOL);
}

/* A prototype far below all others still gets its part; constants cancel out. */
Test(sinkhorn, scores_may_be_far_apart)
{
    ak_tensor *s = cosines(12, 4);
    const ak_tensor *before = ak_sinkhorn(s, (ak_sinkhorn_options){ .tolerance = 1e-9 });
    ak_tensor *far = ak_scale(s, 1);
    for (int i = 0; i < 12; i++)
        far->data[4 * i + 2] -= 1000;
    const ak_tensor *q = ak_sinkhorn(far, (ak_sinkhorn_options){ .tolerance = 1e-9 });
    cr_assert(!ak_is_poison(q), "%s", ak_error_message(ctx));
    for (int i = 0; i < 48; i++)
        cr_expect_float_eq((double)q->data[i], (double)before->data[i], DOUBLE ? 1e-7 : 5e-3);
    q = ak_sinkhorn(far, (ak_sinkhorn_options){ .eps = 1e-5, .iterations = 5 });
    double rows, columns;
    sums(q, NULL, &rows, &columns);
    cr_expect(rows < 1e-6);
}

Test(sinkhorn, refusals)
{
#define TRY(o) ak_sinkhorn(ak_full(ctx, AK_SHAPE(3, 2), 1), (ak_sinkhorn_options)o)
#define O(...) { __VA_ARGS__ }
    TRY(O(.eps = -1));
    EXPECT_ERROR(AK_ERR_VALUE, ".eps is -1", "");
    TRY(O(.eps = (double)NAN));
    EXPECT_ERROR(AK_ERR_VALUE, ".eps is", "nan");
    TRY(O(.eps = 1e-10));
    EXPECT_ERROR(AK_ERR_VALUE, ".eps is 1e-10 and the largest score 1", "1e+09");
    TRY(O(.iterations = -1));
    EXPECT_ERROR(AK_ERR_VALUE, ".iterations -1", "");
    TRY(O(.tolerance = 1e-14));
    EXPECT_ERROR(AK_ERR_VALUE, ".tolerance is 1e-14", "1e-12");
    TRY(O(.row_weights = ak_full(ctx, AK_SHAPE(2), 1)));
    EXPECT_ERROR(AK_ERR_SHAPE, ".row_weights [2]", "3 numbers");
    TRY(O(.column_weights = ak_full(ctx, AK_SHAPE(2), -1)));
    EXPECT_ERROR(AK_ERR_VALUE, ".column_weights: item 0 is -1", "");
    TRY(O(.column_weights = ak_full(ctx, AK_SHAPE(2), 0)));
    EXPECT_ERROR(AK_ERR_VALUE, ".column_weights are all 0", "");
    ak_sinkhorn(ak_full(ctx, AK_SHAPE(3), 1), (ak_sinkhorn_options){ 0 });
    EXPECT_ERROR(AK_ERR_SHAPE, "[3]", "[N, K]");
    ak_sinkhorn(ak_zeros(ctx, AK_SHAPE(0, 3)), (ak_sinkhorn_options){ 0 });
    EXPECT_ERROR(AK_ERR_SHAPE, "[0,3]", "a row and a column");
    ak_tensor *x = ak_full(ctx, AK_SHAPE(3, 2), 1);
    x->data[3] = (ak_real)NAN;
    ak_sinkhorn(x, (ak_sinkhorn_options){ 0 });
    EXPECT_ERROR(AK_ERR_NUMBER, "row 1", "");
    ak_sinkhorn_report r = { 0 };
    ak_sinkhorn(cosines(64, 16), (ak_sinkhorn_options){ .eps = 0.001, .iterations = 4,
                                                        .tolerance = 1e-9, .report = &r });
    EXPECT_ERROR(AK_ERR_NUMBER, "after 4 iterations", ".tolerance is 1e-09");
    cr_expect(r.iterations == 4 && r.error > 1e-9);
}

/* ---- threads --------------------------------------------------------------------------------- */

#ifdef _OPENMP
Test(kmeans, same_bits_for_any_number_of_threads)
{
    ak_tensor *x = ak_keep(ak_randn(ctx, AK_SHAPE(3000, 24)));
    for (int64_t batch = 0; batch < 500; batch += 256) {
        ak_real *first = NULL;
        for (int threads = 1; threads <= 4; threads++) {
            omp_set_num_threads(threads);
            ak_ctx *c = ak_open((ak_options){ .seed = 4, .quiet = true, .threads = threads });
            ak_tensor *copy = ak_from(c, x->shape, x->data);
            const ak_kmeans_result r = ak_kmeans(copy, 37, (ak_kmeans_options){
                .batch = batch, .iterations = 12 });
            const ak_tensor *q = ak_sinkhorn(ak_rows(copy, 0, 999), (ak_sinkhorn_options){
                .eps = 0.5, .tolerance = 1e-4 });
            const size_t a = 37 * 24 * sizeof(ak_real), b = (size_t)q->size * sizeof(ak_real);
            if (threads == 1) {
                first = malloc(a + b);
                memcpy(first, r.centroids->data, a);
                memcpy((char *)first + a, q->data, b);
            }
            cr_expect_eq(memcmp(first, r.centroids->data, a), 0, "%d threads", threads);
            cr_expect_eq(memcmp((char *)first + a, q->data, b), 0, "%d threads", threads);
            ak_close(c);
        }
        free(first);
    }
}
#endif
