/* SPDX-License-Identifier: Apache-2.0 */
/* The order of an epoch: complete, shuffled, a function of (seed, epoch), balanced on request. */
#include "data_files.h"

#include "data/dataset.h"

#define N 103

static void order_of(ak__sampler s, int64_t epoch, int64_t n, int64_t *order)
{
    static int64_t workspace[3 * 1000];
    cr_assert_leq(ak__sampler_workspace(n, s.classes), 3 * 1000);
    ak__sampler_order(&s, epoch, n, order, workspace);
}

Test(sampler, permutation_by_seed_and_epoch)
{
    int64_t a[N], b[N];
    bool    seen[N] = { false };
    order_of((ak__sampler){ .seed = 5 }, 2, N, a);
    for (int i = 0; i < N; i++) {
        cr_assert(a[i] >= 0 && a[i] < N && !seen[a[i]]);
        seen[a[i]] = true;
    }
    order_of((ak__sampler){ .seed = 5 }, 2, N, b);
    cr_expect_eq(memcmp(a, b, sizeof a), 0);
    order_of((ak__sampler){ .seed = 5 }, 3, N, b);
    cr_expect_neq(memcmp(a, b, sizeof a), 0);
    order_of((ak__sampler){ .seed = 6 }, 2, N, b);
    cr_expect_neq(memcmp(a, b, sizeof a), 0);
    order_of((ak__sampler){ .in_order = true }, 2, N, b);
    for (int i = 0; i < N; i++)
        cr_expect_eq(b[i], i);
}

Test(sampler, first_place_is_uniform)
{
    int     count[8] = { 0 };
    int64_t order[8];
    for (int epoch = 0; epoch < 4000; epoch++) {
        order_of((ak__sampler){ .seed = 1 }, epoch, 8, order);
        count[order[0]]++;
    }
    for (int i = 0; i < 8; i++)         /* 500 +- 5 standard deviations */
        cr_expect(abs(count[i] - 500) < 105, "%d: %d", i, count[i]);
}

Test(sampler, balance)
{
    int32_t labels[N];
    for (int i = 0; i < N; i++)         /* 90 of class 0, 10 of class 2, 3 of class 3, none of 1 */
        labels[i] = i < 90 ? 0 : i < 100 ? 2 : 3;
    const ak__sampler s = { .seed = 9, .balance = true, .labels = labels, .classes = 4 };
    int64_t order[N], again[N], other[N];
    order_of(s, 0, N, order);
    order_of(s, 0, N, again);
    order_of(s, 1, N, other);
    cr_expect_eq(memcmp(order, again, sizeof order), 0);
    cr_expect_neq(memcmp(order, other, sizeof order), 0);
    int count[4] = { 0 }, times[N] = { 0 };
    for (int i = 0; i < N; i++) {
        count[labels[order[i]]]++;
        times[order[i]]++;
        if (i % 3 == 2)                 /* every window of one round has every class once */
            cr_expect_eq((1 << labels[order[i]] | 1 << labels[order[i - 1]] |
                          1 << labels[order[i - 2]]), 1 | 4 | 8);
    }
    cr_expect(abs(count[0] - 34) <= 1 && abs(count[2] - 34) <= 1 && abs(count[3] - 34) <= 1);
    for (int i = 0; i < 90; i++)
        cr_expect_leq(times[i], 1);
    for (int i = 90; i < 100; i++)
        cr_expect(times[i] == 3 || times[i] == 4);
}
