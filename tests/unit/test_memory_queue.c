/* SPDX-License-Identifier: Apache-2.0 */
/* Queues: what stands where after any sequence of pushes, what is seen before they are full, what
 * is refused, and MoCo's order of forward, backward and push. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/memory.h>
#include <akin/ops.h>

#include <math.h>
#include <string.h>

#define TOL (sizeof(ak_real) == 8 ? 1e-14 : 1e-6)

static ak_ctx *ctx;

static void begin(void)
{
    ctx = ak_open((ak_options){ .seed = 7, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
}

static void end(void) { ak_close(ctx); }

TestSuite(queue, .init = begin, .fini = end);

static void expect_error(ak_status want, const char *a, const char *b, int line)
{
    cr_expect_eq(ak_error(ctx), want, "line %d: %s: %s", line, ak_status_name(ak_error(ctx)),
                 ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), a) && strstr(ak_error_message(ctx), b),
              "line %d: no \"%s\" and \"%s\" in: %s", line, a, b, ak_error_message(ctx));
    ak_step_end(ctx);
}
#define EXPECT_ERROR(want, a, b) expect_error(want, a, b, __LINE__)

/* Row number n of all that are ever pushed: [cos n, sin n], of length 1. */
static double angle_row(int64_t n, int j) { return j ? sin((double)n) : cos((double)n); }

static ak_tensor *angle_rows(int64_t from, int64_t n)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(n, 2));
    for (int64_t i = 0; i < 2 * n; i++)
        x->data[i] = (ak_real)angle_row(from + i / 2, (int)(i % 2));
    return x;
}

static ak_index *numbers(int64_t from, int64_t n)
{
    int32_t x[64];
    for (int64_t i = 0; i < n; i++)
        x[i] = (int32_t)(from + i);
    return ak_index_from(ctx, AK_SHAPE(n), x);
}

/* After n rows in all, place p of a queue of K holds the newest row r with r mod K = p. */
static int64_t row_at(int64_t p, int64_t n, int64_t K)
{
    return p + (n - 1 - p) / K * K;
}

/* The closed form for every size of batch from 0 to more than twice the queue, mixed. */
Test(queue, trace_is_the_closed_form_over_the_wrap)
{
    enum { K = 7 };
    static const int64_t batches[] = { 3, 3, 3, 1, 7, 4, 0, 8, 2, 21, 5, 6, 16, 1, 1, 13, 7, 7 };
    ak_queue *q = ak_queue_make(ctx, "q", K, 2, (ak_queue_options){
        .form = AK_ROWS_UNIT, .ids = true, .labels = true });
    cr_assert_not_null(q);
    int64_t n = 0, first_of[64] = { 0 };
    const int pushes = (int)(sizeof batches / sizeof *batches);
    for (int t = 0; t < pushes; t++) {
        const int64_t b = batches[t];
        first_of[t] = n;
        cr_assert_eq(ak_queue_push(q, angle_rows(n, b), (ak_queue_push_options){
            .ids = numbers(n, b), .labels = numbers(1000 + n, b) }), AK_OK, "%s",
            ak_error_message(ctx));
        n += b;
        const int64_t held = n < K ? n : K;
        const ak_queue_state s = ak_queue_tell(q);
        cr_expect(s.size == K && s.dim == 2 && s.held == held && s.next == n % K &&
                  s.pushes == t + 1);
        const ak_tensor *rows = ak_queue_rows(q);
        const ak_index *ids = ak_queue_ids(q), *labels = ak_queue_labels(q);
        const ak_index *ages = ak_queue_ages(q);
        cr_assert(ak_shape_equal(rows->shape, AK_SHAPE(held, 2)));
        cr_assert(ids->size == held && labels->size == held && ages->size == held);
        for (int64_t p = 0; p < held; p++) {
            const int64_t r = row_at(p, n, K);
            int push = t;
            while (first_of[push] > r)
                push--;
            for (int j = 0; j < 2; j++)
                cr_expect_eq(rows->data[2 * p + j], (ak_real)angle_row(r, j));
            cr_expect_eq(ids->data[p], r);
            cr_expect_eq(labels->data[p], 1000 + r);
            cr_expect_eq(ages->data[p], t - push, "push %d, place %d", t, (int)p);
        }
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(queue, views_of_the_same_samples_share_their_ids)
{
    ak_queue *q = ak_queue_make(ctx, "q", 8, 2, (ak_queue_options){ .ids = true });
    ak_tensor *keys = ak_reshape(angle_rows(0, 6), AK_SHAPE(2, 3, 2));
    cr_assert_eq(ak_queue_push(q, keys, (ak_queue_push_options){ .ids = numbers(5, 3) }), AK_OK);
    const ak_index *ids = ak_queue_ids(q);
    static const int32_t want[] = { 5, 6, 7, 5, 6, 7 };
    cr_assert_eq(ids->size, 6);
    cr_expect_eq(memcmp(ids->data, want, sizeof want), 0);
    cr_assert_eq(ak_queue_push(q, keys, (ak_queue_push_options){ .ids = numbers(20, 6) }), AK_OK);
    ids = ak_queue_ids(q);
    static const int32_t next[] = { 22, 23, 24, 25, 6, 7, 20, 21 };
    cr_expect(ids->size == 8 && memcmp(ids->data, next, sizeof next) == 0);
}

Test(queue, padding_is_left_out)
{
    ak_queue *q = ak_queue_make(ctx, "q", 4, 2, (ak_queue_options){ .ids = true });
    ak_tensor *rows = angle_rows(0, 6);
    rows->data[3] = (ak_real)NAN;       /* a padding row may hold anything */
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(6), (int32_t[]){ 0, -1, 2, 3, 4, 5 });
    cr_assert_eq(ak_queue_push(q, rows, (ak_queue_push_options){ .ids = ids }), AK_OK, "%s",
                 ak_error_message(ctx));
    const ak_index *seen = ak_queue_ids(q);
    cr_assert_eq(seen->size, 4);
    static const int32_t want[] = { 5, 2, 3, 4 };
    cr_expect_eq(memcmp(seen->data, want, sizeof want), 0, "%d %d %d %d", seen->data[0],
                 seen->data[1], seen->data[2], seen->data[3]);
    cr_expect_eq(ak_queue_tell(q).next, 1);
}

Test(queue, rows_are_normalized_or_checked_or_kept)
{
    static const ak_real far[] = { 3, 4, (ak_real)3e30, (ak_real)4e30, (ak_real)3e-30,
                                   (ak_real)4e-30 };
    ak_queue *q = ak_queue_make(ctx, "q", 3, 2, (ak_queue_options){ 0 });
    ak_queue *unit = ak_queue_make(ctx, "unit", 3, 2, (ak_queue_options){ .form = AK_ROWS_UNIT });
    ak_queue *raw = ak_queue_make(ctx, "raw", 3, 2, (ak_queue_options){
        .form = AK_ROWS_AS_THEY_ARE });
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3, 2), far);
    cr_assert_eq(ak_queue_push(q, x, (ak_queue_push_options){ 0 }), AK_OK);
    for (int i = 0; i < 6; i++)
        cr_expect_float_eq((double)ak_queue_rows(q)->data[i], i % 2 ? 0.8 : 0.6, TOL);
    cr_assert_eq(ak_queue_push(raw, x, (ak_queue_push_options){ 0 }), AK_OK);
    cr_expect_eq(memcmp(ak_queue_rows(raw)->data, far, sizeof far), 0);
    ak_queue_push(unit, x, (ak_queue_push_options){ 0 });
    EXPECT_ERROR(AK_ERR_NUMBER, "row 0 of 3 has length 5", "\"unit\"");
    cr_expect_eq(ak_queue_tell(unit).held, 0, "nothing has changed");
    cr_expect_eq(ak_queue_tell(unit).pushes, 0);
}

Test(queue, random_start_is_full_of_directions)
{
    ak_queue *a = ak_queue_make(ctx, "a", 300, 5, (ak_queue_options){ .random_start = true,
                                                                      .ids = true });
    ak_queue *b = ak_queue_make(ctx, "b", 300, 5, (ak_queue_options){ .random_start = true });
    const ak_tensor *rows = ak_queue_rows(a);
    cr_assert(ak_shape_equal(rows->shape, AK_SHAPE(300, 5)));
    double mean[5] = { 0 };
    for (int i = 0; i < 300; i++) {
        double square = 0;
        for (int j = 0; j < 5; j++) {
            const double x = (double)rows->data[5 * i + j];
            square += x * x;
            mean[j] += x / 300;
        }
        cr_expect_float_eq(square, 1, 10 * TOL);
        cr_expect_eq(ak_queue_ids(a)->data[i], -1);
        cr_expect_eq(ak_queue_ages(a)->data[i], 0);
    }
    for (int j = 0; j < 5; j++)
        cr_expect(fabs(mean[j]) < 0.12, "no direction is preferred: %g", mean[j]);
    cr_expect_neq(memcmp(rows->data, ak_queue_rows(b)->data, 300), 0, "another name, other rows");
    ak_ctx *again = ak_open((ak_options){ .seed = 7, .quiet = true });
    ak_queue *c = ak_queue_make(again, "a", 300, 5, (ak_queue_options){ .random_start = true });
    cr_expect_eq(memcmp(rows->data, ak_queue_rows(c)->data, (size_t)rows->size * sizeof(ak_real)),
                 0, "a function of seed and name");
    ak_close(again);
    /* Pushed rows take the places of random ones, the oldest first. */
    cr_assert_eq(ak_queue_push(b, ak_full(ctx, AK_SHAPE(2, 5), 1), (ak_queue_push_options){ 0 }),
                 AK_OK);
    cr_expect(ak_queue_ages(b)->data[0] == 0 && ak_queue_ages(b)->data[2] == 1);
    cr_expect_float_eq((double)ak_queue_rows(b)->data[9], 1 / sqrt(5.0), TOL);
}

Test(queue, refusals_change_nothing)
{
    cr_expect_null(ak_queue_make(ctx, "q", 0, 2, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "rows is 0", "\"q\"");
    cr_expect_null(ak_queue_make(ctx, "q", 2, -1, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "dim is -1", "\"q\"");
    cr_expect_null(ak_queue_make(ctx, "q", (int64_t)1 << 40, 2, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "rows is", "2^31");
    cr_expect_null(ak_queue_make(ctx, "q", INT32_MAX, INT64_MAX / 4, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_SHAPE, "shape", "");
    cr_expect_null(ak_queue_make(ctx, "q", 2, 2, (ak_queue_options){ .form = (ak_row_form)9 }));
    EXPECT_ERROR(AK_ERR_VALUE, ".form is 9", "ak_row_form");
    cr_expect_null(ak_queue_make(ctx, "a//b", 2, 2, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "a//b", "no path");
    ak_queue *q = ak_queue_make(ctx, "q", 4, 2, (ak_queue_options){ .ids = true, .labels = true });
    cr_assert_not_null(q);
    cr_expect_null(ak_queue_make(ctx, "q", 4, 2, (ak_queue_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "a queue \"q\" already", "names");

    const ak_queue_state before = ak_queue_tell(q);
#define PUSH(rows, the_ids, the_labels)                                                            \
    ak_queue_push(q, rows, (ak_queue_push_options){ .ids = the_ids, .labels = the_labels })
    PUSH(ak_full(ctx, AK_SHAPE(3, 3), 1), numbers(0, 3), numbers(0, 3));
    EXPECT_ERROR(AK_ERR_SHAPE, "[3,3]", "[N,2]");
    PUSH(ak_full(ctx, AK_SHAPE(2), 1), numbers(0, 1), numbers(0, 1));
    EXPECT_ERROR(AK_ERR_SHAPE, "[2]", "[N,2]");
    PUSH(angle_rows(0, 3), NULL, numbers(0, 3));
    EXPECT_ERROR(AK_ERR_VALUE, ".ids is missing (NULL)", "ak_queue_push");
    PUSH(angle_rows(0, 3), numbers(0, 3), NULL);
    EXPECT_ERROR(AK_ERR_VALUE, ".labels is missing (NULL)", "ak_queue_push");
    PUSH(angle_rows(0, 3), numbers(0, 2), numbers(0, 3));
    EXPECT_ERROR(AK_ERR_SHAPE, ".ids [2]", "[3,2]");
    PUSH(angle_rows(0, 3), numbers(-2, 3), numbers(0, 3));
    EXPECT_ERROR(AK_ERR_VALUE, ".ids: item 0 has -2", "expected -1");
    PUSH(angle_rows(0, 3), numbers(0, 3), numbers(-3, 3));
    EXPECT_ERROR(AK_ERR_VALUE, ".labels: item 0 has -3", "expected -1");
    ak_tensor *bad = angle_rows(0, 3);
    bad->data[3] = (ak_real)INFINITY;
    PUSH(bad, numbers(0, 3), numbers(0, 3));
    EXPECT_ERROR(AK_ERR_NUMBER, "row 1 of 3 is not finite", "inf");
    bad = angle_rows(0, 3);
    bad->data[4] = bad->data[5] = 0;
    PUSH(bad, numbers(0, 3), numbers(0, 3));
    EXPECT_ERROR(AK_ERR_NUMBER, "row 2 of 3 is all zeros", "AK_ROWS_AS_THEY_ARE");
    ak_index *stale = numbers(0, 3);
    ak_step_end(ctx);
    PUSH(angle_rows(0, 3), stale, numbers(0, 3));
    EXPECT_ERROR(AK_ERR_STALE, ".ids", "earlier step");
    ak_fail(ctx, AK_ERR_VALUE, "an earlier fault");
    cr_expect_eq(PUSH(NULL, NULL, NULL), AK_ERR_VALUE);
    EXPECT_ERROR(AK_ERR_VALUE, "an earlier fault", "");
    cr_expect_eq(memcmp(&before, &(ak_queue_state[]){ ak_queue_tell(q) }, sizeof before), 0);

    ak_queue *plain = ak_queue_make(ctx, "plain", 4, 2, (ak_queue_options){ 0 });
    cr_expect_eq(ak_queue_ids(plain)->size, 0);
    EXPECT_ERROR(AK_ERR_STATE, "keeps no ids", "ak_queue_options");
    ak_queue_labels(plain);
    EXPECT_ERROR(AK_ERR_STATE, "keeps no labels", "ak_queue_options");
    ak_queue_push(plain, angle_rows(0, 3), (ak_queue_push_options){ .ids = numbers(0, 3) });
    EXPECT_ERROR(AK_ERR_VALUE, "keeps no ids", "plain");
    ak_queue_push(plain, angle_rows(0, 3), (ak_queue_push_options){ 0 });
    ak_queue_push(plain, ak_rows(ak_queue_rows(plain), 0, 2), (ak_queue_push_options){ 0 });
    EXPECT_ERROR(AK_ERR_VALUE, "the queue's own", "plain");
}

/* Loss, backward, push: the loss sees the queue of before, and no gradient goes there. */
Test(queue, moco_order_is_right_and_the_other_is_an_error)
{
    ak_queue *q = ak_queue_make(ctx, "negatives", 6, 4, (ak_queue_options){ 0 });
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(4, 4), 0);
    for (int i = 0; i < 4; i++)
        w->data[5 * i] = 1;
    for (int step = 0; step < 4; step++) {
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 4)), *keys = ak_randn(ctx, AK_SHAPE(4, 4));
        ak_tensor *seen = ak_queue_rows(q), *copy = seen->size ? ak_scale(seen, 1) : NULL;
        cr_expect(!seen->needs_grad);
        ak_tensor *z = ak_matmul(x, w);
        const ak_infonce_options o = { .queue = seen, .no_batch_negatives = true };
        ak_tensor *loss = ak_loss_infonce(z, keys, o);
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_queue_push(q, keys, (ak_queue_push_options){ 0 }), AK_OK);
        cr_expect_null(seen->grad);
        /* The same against the queue as it was: a copy, and the composition. */
        ak_infonce_options before = o;
        before.queue = copy;
        if (copy)
            cr_expect_float_eq(ak_item(loss), ak_item(ak_loss_infonce_composed(z, keys, before)),
                               1e-5);
        else
            cr_expect_eq(ak_item(loss), 0, "no candidate but the partner");
        cr_assert_eq(ak_step_end(ctx), AK_OK);
        ak_zero_grad(ctx);
    }
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(4, 4));
    ak_tensor *loss = ak_loss_infonce(ak_matmul(x, w), x, (ak_infonce_options){
        .queue = ak_queue_rows(q), .no_batch_negatives = true });
    cr_assert_eq(ak_queue_push(q, x, (ak_queue_push_options){ 0 }), AK_OK);
    ak_backward(loss);
    EXPECT_ERROR(AK_ERR_STATE, "\"negatives\" [6,4] was changed by ak_queue_push", "infonce");
}

/* A step like the last one takes no memory of the system. */
Test(queue, no_malloc_in_a_step)
{
    ak_queue *q = ak_queue_make(ctx, "q", 50, 8, (ak_queue_options){ .ids = true });
    uint64_t before = 0;
    for (int step = 0; step < 12; step++) {
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(16, 8));
        ak_queue_push(q, x, (ak_queue_push_options){ .ids = numbers(16 * step, 16) });
        ak_queue_ages(q);
        ak_queue_nearest(q, x, (ak_nearest_options){ .k = 3, .ids = numbers(16 * step, 16) });
        cr_assert_eq(ak_step_end(ctx), AK_OK);
        if (step == 5)
            before = ak_malloc_count();
    }
    cr_expect_eq(ak_malloc_count(), before);
}

/* Every allocation of a queue's life fails in turn: an error, no crash, nothing half made. */
Test(queue, memory_runs_out)
{
    for (int n = 1; n < 200; n++) {
        ak_ctx *c = ak_open((ak_options){ .quiet = true });
        ak_on_error(c, NULL, NULL);
        ak_fail_alloc_after((uint64_t)n, true);
        ak_queue *q = ak_queue_make(c, "q", 5000, 8, (ak_queue_options){ .ids = true });
        ak_nearest r = { 0 };
        if (q) {
            ak_tensor *x = ak_full(c, AK_SHAPE(4, 8), 1);
            ak_index *ids = ak_index_from(c, AK_SHAPE(4), (int32_t[]){ 0, 1, 2, 3 });
            ak_queue_push(q, x, (ak_queue_push_options){ .ids = ids });
            r = ak_queue_nearest(q, x, (ak_nearest_options){ 0 });
        }
        ak_fail_alloc_after(0, false);
        const ak_status status = ak_error(c);
        cr_expect(status == AK_OK || status == AK_ERR_MEMORY, "%d: %s", n, ak_error_message(c));
        cr_expect(status == AK_OK || !q || ak_is_poison(r.rows) || r.rows == NULL);
        ak_close(c);
        if (status == AK_OK)
            return;
    }
    cr_assert_fail("it never works");
}
