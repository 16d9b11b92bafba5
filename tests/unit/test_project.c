/* SPDX-License-Identifier: Apache-2.0 */
/* PCA against closed forms; t-SNE: the divergence falls, clusters stay apart, bits stay. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include <akin/page.h>

#include "report/project.h"

#define TOLERANCE (AK_REAL_BITS == 64 ? 1e-10 : 2e-5)

static ak_ctx *quiet(void)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 42, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

Test(project, eigenvectors_of_a_chain)
{
    /* The second difference: eigenvalues 2 - 2 cos(pi k / (n + 1)). */
    enum { N = 40 };
    static double a[N * N], before[N * N], values[N], room[2 * N];
    for (int i = 0; i < N; i++) {
        a[i * N + i] = 2;
        if (i > 0)
            a[i * N + i - 1] = a[(i - 1) * N + i] = -1;
    }
    /* turned by a reflection, so that it is full */
    double u[N], square = 0;
    for (int i = 0; i < N; i++) {
        u[i] = 1 + i % 7;
        square += u[i] * u[i];
    }
    for (int side = 0; side < 2; side++)
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int j = 0; j < N; j++)
                sum += u[j] * (side ? a[j * N + i] : a[i * N + j]);
            for (int j = 0; j < N; j++)
                *(side ? &a[j * N + i] : &a[i * N + j]) -= 2 * sum / square * u[j];
        }
    memcpy(before, a, sizeof a);
    cr_assert(ak__eigen(a, N, values, room));
    for (int k = 0; k < N; k++) {
        cr_assert_float_eq(values[k], 2 - 2 * cos(acos(-1) * (N - k) / (N + 1)), 1e-12);
        for (int i = 0; i < N; i++) {
            double sum = 0;
            for (int j = 0; j < N; j++)
                sum += before[i * N + j] * a[k * N + j];
            cr_assert_float_eq(sum, values[k] * a[k * N + i], 1e-12, "vector %d", k);
        }
    }
}

Test(project, pca_of_a_line_and_of_an_ellipse)
{
    ak_ctx *ctx = quiet();
    /* (1,2,2) t: one direction of length 3 |t| */
    ak_real line[15];
    for (int i = 0; i < 5; i++)
        for (int c = 0; c < 3; c++)
            line[3 * i + c] = (ak_real)((c ? 2 : 1) * (i - 1.5) + 10);
    double share[3];
    ak_tensor *y = ak_pca(ak_from(ctx, AK_SHAPE(5, 3), line), 3, share);
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    const double sign = ak_at(y, AK_SHAPE(0, 0)) < 0 ? 1 : -1;
    for (int i = 0; i < 5; i++) {
        cr_assert_float_eq(ak_at(y, AK_SHAPE(i, 0)), sign * 3 * (i - 2), 3e-5);
        cr_assert_float_eq(ak_at(y, AK_SHAPE(i, 1)), 0, 3e-5);
    }
    cr_assert_float_eq(share[0], 1, 1e-9);
    cr_assert_float_eq(share[2], 0, 1e-9);
    /* by rows and by columns: four points of a cross, variances 8 and 2 */
    for (int wide = 0; wide < 2; wide++) {
        ak_real   cross[4 * 8] = { 0 };
        const int d = wide ? 8 : 2;
        cross[0] = 2, cross[d] = -2;
        cross[2 * d + 1] = 1, cross[3 * d + 1] = -1;
        y = ak_pca(ak_from(ctx, AK_SHAPE(4, d), cross), 2, share);
        cr_assert_float_eq(fabs(ak_at(y, AK_SHAPE(0, 0))), 2, TOLERANCE);
        cr_assert_float_eq(fabs(ak_at(y, AK_SHAPE(2, 1))), 1, TOLERANCE);
        cr_assert_float_eq(share[0], 0.8, TOLERANCE);
        cr_assert_float_eq(share[1], 0.2, TOLERANCE);
    }
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(project, pca_of_equal_rows_is_zero)
{
    ak_ctx *ctx = quiet();
    double share[2] = { 9, 9 };
    ak_tensor *y = ak_pca(ak_full(ctx, AK_SHAPE(6, 3), 0.25), 2, share);
    cr_assert_eq(ak_at(y, AK_SHAPE(3, 1)), 0);
    cr_assert_eq(share[0], 0);
    cr_assert_eq(ak_close(ctx), AK_OK);
}

enum { EACH = 40, GROUPS = 3, ROWS = EACH * GROUPS, WIDE = 20 };

static ak_tensor *groups(ak_ctx *ctx)
{
    static ak_real x[ROWS * WIDE];
    for (int i = 0; i < ROWS; i++)
        for (int c = 0; c < WIDE; c++)
            x[i * WIDE + c] = (ak_real)(0.3 * ak_random_normal(7, 1, (uint64_t)(i * WIDE + c)) +
                                        (c == i / EACH ? 4 : 0));
    return ak_from(ctx, AK_SHAPE(ROWS, WIDE), x);
}

Test(project, tsne_keeps_clusters_apart)
{
    ak_ctx *ctx = quiet();
    static double cost[400];
    ak_tensor *y = ak_tsne(groups(ctx), (ak_tsne_options){ .iterations = 400,
                                                           .divergence = cost });
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_assert_lt(cost[399], 0.6 * cost[0]);
    for (int i = 300; i + 50 < 400; i += 50)
        cr_assert_leq(cost[i + 50], cost[i] + 1e-3);
    /* the nearest of every point is of its group */
    for (int i = 0; i < ROWS; i++) {
        double best = (double)INFINITY;
        int    who = -1;
        for (int j = 0; j < ROWS; j++) {
            const double distance = hypot(ak_at(y, AK_SHAPE(i, 0)) - ak_at(y, AK_SHAPE(j, 0)),
                                          ak_at(y, AK_SHAPE(i, 1)) - ak_at(y, AK_SHAPE(j, 1)));
            if (j != i && distance < best)
                best = distance, who = j;
        }
        cr_assert_eq(who / EACH, i / EACH, "point %d", i);
    }
    cr_assert_eq(ak_close(ctx), AK_OK);
}

Test(project, tsne_has_the_same_bits_for_any_threads)
{
#ifdef _OPENMP
    ak_ctx *ctx = quiet();
    double sums[3];
    for (int threads = 1; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        ak_tensor *y = ak_tsne(groups(ctx), (ak_tsne_options){ .iterations = 60 });
        sums[threads - 1] = 0;
        for (int i = 0; i < ROWS; i++)
            sums[threads - 1] += (i + 1) * ak_at(y, AK_SHAPE(i, i % 2));
    }
    cr_assert_eq(memcmp(&sums[0], &sums[1], sizeof *sums), 0);
    cr_assert_eq(memcmp(&sums[0], &sums[2], sizeof *sums), 0);
    cr_assert_eq(ak_close(ctx), AK_OK);
#endif
}

Test(project, equal_rows_stay_finite)
{
    ak_ctx *ctx = quiet();
    ak_tensor *y = ak_tsne(ak_full(ctx, AK_SHAPE(10, 3), 2), (ak_tsne_options){ .iterations = 50 });
    for (int i = 0; i < 10; i++)
        cr_assert(isfinite(ak_at(y, AK_SHAPE(i, 0))));
    cr_assert_eq(ak_close(ctx), AK_OK);
}

/* An error of a kind, which ends. */
static void refused(ak_ctx *ctx, ak_status expected)
{
    cr_assert_eq(ak_error(ctx), expected, "%s", ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(project, what_can_not_be_is_refused)
{
    ak_ctx *ctx = quiet();
    ak_pca(ak_zeros(ctx, AK_SHAPE(3)), 1, NULL);
    refused(ctx, AK_ERR_SHAPE);
    ak_pca(ak_zeros(ctx, AK_SHAPE(3, 5)), 4, NULL);
    refused(ctx, AK_ERR_VALUE);
    ak_pca(ak_full(ctx, AK_SHAPE(3, 5), (double)NAN), 1, NULL);
    refused(ctx, AK_ERR_NUMBER);
    ak_tsne(ak_zeros(ctx, AK_SHAPE(3, 5)), (ak_tsne_options){ 0 });
    refused(ctx, AK_ERR_VALUE);
    ak_tsne(ak_zeros(ctx, AK_SHAPE(9, 5)), (ak_tsne_options){ .perplexity = 5 });
    refused(ctx, AK_ERR_VALUE);
    ak_tsne(ak_zeros(ctx, AK_SHAPE(9, 5)), (ak_tsne_options){ .iterations = -1 });
    refused(ctx, AK_ERR_VALUE);
    ak_close(ctx);
}
