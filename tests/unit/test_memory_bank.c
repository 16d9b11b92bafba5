/* SPDX-License-Identifier: Apache-2.0 */
/* Banks and numbers of samples: averages against their closed forms, what is there and what is not,
 * and the search for nearest rows against the search through all of them. */
#include <criterion/criterion.h>

#include <akin/memory.h>
#include <akin/ops.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

#define TOL (sizeof(ak_real) == 8 ? 1e-13 : 1e-5)

static ak_ctx *ctx;

static void begin(void)
{
    ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
}

static void end(void) { ak_close(ctx); }

TestSuite(bank, .init = begin, .fini = end);
TestSuite(nearest, .init = begin, .fini = end);
TestSuite(sample_state, .init = begin, .fini = end);

static void expect_error(ak_status want, const char *a, const char *b, int line)
{
    cr_expect_eq(ak_error(ctx), want, "line %d: %s: %s", line, ak_status_name(ak_error(ctx)),
                 ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), a) && strstr(ak_error_message(ctx), b),
              "line %d: no \"%s\" and \"%s\" in: %s", line, a, b, ak_error_message(ctx));
    ak_step_end(ctx);
}
#define EXPECT_ERROR(want, a, b) expect_error(want, a, b, __LINE__)

#define IDS(...)                                                                                   \
    ak_index_from(ctx, AK_SHAPE(sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t)),             \
                  (int32_t[]){ __VA_ARGS__ })

/* ---- bank ------------------------------------------------------------------------------------ */

/* F_t = m^(t-1) x_1 + (1-m) sum_s m^(t-s) x_s for rows as they are. */
Test(bank, trace_is_the_closed_form)
{
    enum { N = 5, D = 3, STEPS = 12 };
    const double m = 0.75;
    ak_bank *b = ak_bank_make(ctx, "b", N, D, (ak_bank_options){
        .momentum = m, .form = AK_ROWS_AS_THEY_ARE });
    cr_assert_not_null(b);
    double x[N][STEPS][D], want[D];
    int visits[N] = { 0 };
    for (int t = 0; t < STEPS; t++) {
        ak_tensor *rows = ak_randn(ctx, AK_SHAPE(3, D));
        int32_t id[3];
        for (int i = 0; i < 3; i++) {
            id[i] = (int32_t)((t * 2 + i * 3) % N);     /* each id is met at its own times */
            for (int j = 0; j < D; j++)
                x[id[i]][visits[id[i]]][j] = (double)rows->data[i * D + j];
            visits[id[i]]++;
        }
        cr_assert_eq(ak_bank_update(b, ak_index_from(ctx, AK_SHAPE(3), id), rows), AK_OK);
        for (int i = 0; i < N; i++) {
            ak_tensor *present, *row = ak_bank_gather(b, IDS(i), &present);
            cr_expect_eq(present->data[0], visits[i] > 0);
            for (int j = 0; j < D; j++) {
                want[j] = visits[i] ? pow(m, visits[i] - 1) * x[i][0][j] : 0;
                for (int s = 1; s < visits[i]; s++)
                    want[j] += (1 - m) * pow(m, visits[i] - 1 - s) * x[i][s][j];
                cr_expect_float_eq((double)row->data[j], want[j], TOL);
            }
        }
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
    cr_expect_eq(ak_bank_tell(b).held, N);
}

Test(bank, unit_rows_stay_unit_and_an_id_may_come_twice)
{
    ak_bank *b = ak_bank_make(ctx, "b", 3, 2, (ak_bank_options){ 0 });
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3, 2), (ak_real[]){ 2, 0, 0, 3, 5, 0 });
    cr_assert_eq(ak_bank_update(b, IDS(1, 1, 1), x), AK_OK);
    /* (1, 0), then the half-way between (1, 0) and (0, 1), then between that and (1, 0). */
    const ak_tensor *row = ak_bank_gather(b, IDS(1), NULL);
    cr_expect_float_eq((double)row->data[0], sqrt(2 + sqrt(2.0)) / 2, TOL);  /* cos pi/8 */
    cr_expect_float_eq((double)row->data[1], sqrt(2 - sqrt(2.0)) / 2, TOL);
    /* Opposite rows cancel out: the new one is taken. */
    ak_bank_update(b, IDS(0, 0), ak_from(ctx, AK_SHAPE(2, 2), (ak_real[]){ 1, 0, -1, 0 }));
    row = ak_bank_gather(b, IDS(0), NULL);
    cr_expect(row->data[0] == -1 && row->data[1] == 0);
    /* Replaced. */
    ak_bank *r = ak_bank_make(ctx, "r", 3, 2, (ak_bank_options){ .momentum = AK_NONE });
    cr_assert_eq(ak_bank_update(r, IDS(1, 1, 1), x), AK_OK);
    row = ak_bank_gather(r, IDS(1), NULL);
    cr_expect(row->data[0] == 1 && row->data[1] == 0);
}

Test(bank, what_is_missing_is_said)
{
    ak_bank *b = ak_bank_make(ctx, "faces", 4, 2, (ak_bank_options){ 0 });
    ak_tensor *one = ak_full(ctx, AK_SHAPE(2, 2), 1), *present;
    cr_assert_eq(ak_bank_update(b, IDS(2, -1), one), AK_OK);
    cr_expect_eq(ak_bank_tell(b).held, 1, "-1 is padding");
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2, 2), (int32_t[]){ 2, 3, -1, 2 });
    const ak_tensor *rows = ak_bank_gather(b, ids, &present);
    cr_assert(ak_shape_equal(rows->shape, AK_SHAPE(2, 2, 2)));
    static const ak_real there[] = { 1, 0, 0, 1 };
    cr_expect_eq(memcmp(present->data, there, sizeof there), 0);
    cr_expect(rows->data[2] == 0 && rows->data[5] == 0 && rows->data[6] == rows->data[0]);
    ak_bank_gather(b, ids, NULL);
    EXPECT_ERROR(AK_ERR_STATE, "2 of 4 rows are not there", "id 3 (item 1)");
    cr_expect(ak_is_poison(ak_bank_rows(b)));
    EXPECT_ERROR(AK_ERR_STATE, "3 of 4 rows were never set, the first is 0", "faces");
    ak_bank_update(b, IDS(4), ak_full(ctx, AK_SHAPE(1, 2), 1));
    EXPECT_ERROR(AK_ERR_VALUE, "item 0 has 4", "expected -1 to 3");
    ak_bank_update(b, IDS(0, 1), ak_full(ctx, AK_SHAPE(3, 2), 1));
    EXPECT_ERROR(AK_ERR_SHAPE, "[3,2]", "[2]");
    ak_tensor *bad = ak_full(ctx, AK_SHAPE(2, 2), 1);
    bad->data[3] = (ak_real)NAN;
    ak_bank_update(b, IDS(0, 1), bad);
    EXPECT_ERROR(AK_ERR_NUMBER, "row 1 of 2 is not finite", "ak_bank_update");
    cr_expect_eq(ak_bank_tell(b).held, 1, "all or nothing");
    cr_expect_null(ak_bank_make(ctx, "m", 4, 2, (ak_bank_options){ .momentum = 1 }));
    EXPECT_ERROR(AK_ERR_VALUE, ".momentum is 1", "[0, 1)");
    cr_expect_null(ak_bank_make(ctx, "m", 4, 2, (ak_bank_options){ .momentum = (double)NAN }));
    EXPECT_ERROR(AK_ERR_VALUE, ".momentum is", "nan");
    cr_expect_null(ak_bank_make(ctx, "faces", 4, 2, (ak_bank_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "a bank \"faces\" already", "");
    cr_expect_null(ak_bank_make(ctx, "m", 0, 2, (ak_bank_options){ 0 }));
    EXPECT_ERROR(AK_ERR_VALUE, "samples is 0", "");
}

Test(bank, random_start_has_all_rows)
{
    ak_bank *b = ak_bank_make(ctx, "b", 40, 3, (ak_bank_options){ .random_start = true });
    const ak_tensor *rows = ak_bank_rows(b);
    cr_assert(ak_shape_equal(rows->shape, AK_SHAPE(40, 3)));
    const ak_real first = rows->data[0];
    ak_tensor *x = ak_full(ctx, AK_SHAPE(1, 3), 1);
    cr_assert_eq(ak_bank_update(b, IDS(0), x), AK_OK);
    /* The random row counts as the old one. */
    cr_expect(rows->data[0] != first && fabs((double)rows->data[0] - 1 / sqrt(3.0)) > 1e-3);
    ak_bank_update(b, IDS(0), ak_rows(ak_bank_rows(b), 1, 1));
    EXPECT_ERROR(AK_ERR_VALUE, "the bank's own", "ak_bank_gather");
}

Test(bank, labels_are_kept_beside)
{
    ak_bank *b = ak_bank_make(ctx, "b", 4, 2, (ak_bank_options){ .labels = true });
    cr_assert_eq(ak_bank_set_labels(b, IDS(3, 1, -1), IDS(7, -1, 5)), AK_OK);
    cr_assert_eq(ak_bank_set_labels(b, IDS(0), IDS(2)), AK_OK);
    static const int32_t want[] = { 2, -1, -1, 7 };
    cr_expect_eq(memcmp(ak_bank_labels(b)->data, want, sizeof want), 0);
    ak_bank_set_labels(b, IDS(0, 1), IDS(2));
    EXPECT_ERROR(AK_ERR_SHAPE, "labels [1]", "ids [2]");
    ak_bank_set_labels(b, IDS(0), IDS(-2));
    EXPECT_ERROR(AK_ERR_VALUE, "labels: item 0 has -2", "");
    ak_bank *plain = ak_bank_make(ctx, "plain", 4, 2, (ak_bank_options){ 0 });
    ak_bank_labels(plain);
    EXPECT_ERROR(AK_ERR_STATE, "keeps no labels", "plain");
}

/* ---- nearest --------------------------------------------------------------------------------- */

static double cosine(const ak_real *a, const ak_real *b, int64_t d)
{
    double ab = 0, aa = 0, bb = 0;
    for (int64_t j = 0; j < d; j++) {
        ab += (double)a[j] * (double)b[j];
        aa += (double)a[j] * (double)a[j];
        bb += (double)b[j] * (double)b[j];
    }
    return aa > 0 && bb > 0 ? ab / sqrt(aa) / sqrt(bb) : 0;
}

/* The k best of all by sorting: of those whose id is another. */
static void check_against_all(const ak_tensor *x, const ak_tensor *rows, ak_nearest r, int k,
                              const int32_t *ids, const int32_t *row_ids)
{
    const int64_t N = x->shape.dims[0], M = rows->shape.dims[0], D = x->shape.dims[1];
    for (int64_t i = 0; i < N; i++) {
        double last = 2;
        for (int n = 0; n < k; n++) {
            const int32_t place = r.places->data[i * k + n];
            const double c = cosine(x->data + i * D, rows->data + place * D, D);
            cr_expect_float_eq((double)r.cosines->data[i * k + n], c, TOL);
            cr_expect(c <= last + TOL, "nearest first");
            cr_expect(!ids || ids[i] == -1 || row_ids[place] != ids[i]);
            cr_expect_eq(memcmp(r.rows->data + (i * k + n) * D, rows->data + place * D,
                                (size_t)D * sizeof(ak_real)), 0);
            for (int o = 0; o < n; o++)
                cr_expect_neq(r.places->data[i * k + o], place, "each once");
            last = c;
        }
        /* No row outside of the list is nearer than its last. */
        int nearer = 0;
        for (int64_t j = 0; j < M; j++)
            nearer += (!ids || ids[i] == -1 || row_ids[j] != ids[i]) &&
                      cosine(x->data + i * D, rows->data + j * D, D) > last + TOL;
        cr_expect_leq(nearer, k - 1);
    }
}

Test(nearest, equals_the_search_through_all)
{
    static const struct { int64_t N, M, D; int k; } cases[] = {
        { 1, 1, 1, 1 }, { 3, 7, 5, 7 }, { 70, 1300, 17, 20 }, { 65, 513, 8, 1 }, { 2, 600, 3, 300 }
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        ak_tensor *x = ak_randn(ctx, AK_SHAPE(cases[c].N, cases[c].D));
        ak_tensor *rows = ak_randn(ctx, AK_SHAPE(cases[c].M, cases[c].D));
        const ak_nearest r = ak_nearest_rows(x, rows, (ak_nearest_options){ .k = cases[c].k });
        cr_assert(ak_shape_equal(r.rows->shape, AK_SHAPE(cases[c].N, cases[c].k, cases[c].D)));
        check_against_all(x, rows, r, cases[c].k, NULL, NULL);
        const ak_nearest one = ak_nearest_rows(x, rows, (ak_nearest_options){ 0 });
        cr_assert(ak_shape_equal(one.rows->shape, x->shape));
        for (int64_t i = 0; i < cases[c].N; i++)
            cr_expect_eq(one.places->data[i], r.places->data[i * cases[c].k]);
        cr_assert_eq(ak_step_end(ctx), AK_OK);
    }
}

Test(nearest, own_ids_are_left_out)
{
    enum { N = 40, M = 90, D = 6 };
    int32_t ids[N], row_ids[M];
    for (int i = 0; i < N; i++)
        ids[i] = i % 9 == 0 ? -1 : i % 10;
    for (int j = 0; j < M; j++)
        row_ids[j] = j % 11 == 0 ? -1 : j % 10;
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(N, D)), *rows = ak_randn(ctx, AK_SHAPE(M, D));
    const ak_nearest_options o = { .k = 5, .ids = ak_index_from(ctx, AK_SHAPE(N), ids),
                                   .row_ids = ak_index_from(ctx, AK_SHAPE(M), row_ids) };
    check_against_all(x, rows, ak_nearest_rows(x, rows, o), 5, ids, row_ids);
    /* A bank's rows have their places as ids, a queue's those that were pushed. */
    ak_bank *b = ak_bank_make(ctx, "b", M, D, (ak_bank_options){ 0 });
    ak_queue *q = ak_queue_make(ctx, "q", M, D, (ak_queue_options){ .ids = true });
    int32_t all[M];
    for (int j = 0; j < M; j++)
        all[j] = j;
    ak_index *every = ak_index_from(ctx, AK_SHAPE(M), all);
    ak_bank_update(b, every, rows);
    ak_queue_push(q, rows, (ak_queue_push_options){ .ids = every });
    const ak_nearest with = ak_bank_nearest(b, rows, (ak_nearest_options){ 0 });
    const ak_nearest without = ak_bank_nearest(b, rows, (ak_nearest_options){ .ids = every });
    const ak_nearest queued = ak_queue_nearest(q, rows, (ak_nearest_options){ .ids = every });
    for (int j = 0; j < M; j++) {
        cr_expect_eq(with.places->data[j], j);
        cr_expect_neq(without.places->data[j], j);
        cr_expect_eq(queued.places->data[j], without.places->data[j]);
    }
    cr_assert_eq(ak_step_end(ctx), AK_OK);
}

/* Only what is there is found, in a bank as in a queue that is not full. */
Test(nearest, rows_that_are_not_there_are_not_found)
{
    ak_bank *b = ak_bank_make(ctx, "b", 1000, 2, (ak_bank_options){ 0 });
    ak_bank_update(b, IDS(999), ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ -1, 0 }));
    ak_tensor *x = ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ 1, 0 });
    cr_expect_eq(ak_bank_nearest(b, x, (ak_nearest_options){ 0 }).places->data[0], 999);
    ak_bank_nearest(b, x, (ak_nearest_options){ .k = 2 });
    EXPECT_ERROR(AK_ERR_VALUE, "row 0 of x has only 1 of 1000", "k is 2");
    x = ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ 1, 0 });
    ak_bank_nearest(b, x, (ak_nearest_options){ .ids = IDS(999) });
    EXPECT_ERROR(AK_ERR_VALUE, "only 0", "own id");
    ak_queue *q = ak_queue_make(ctx, "q", 8, 2, (ak_queue_options){ 0 });
    x = ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ 1, 0 });
    cr_expect(ak_is_poison(ak_queue_nearest(q, x, (ak_nearest_options){ 0 }).rows));
    EXPECT_ERROR(AK_ERR_VALUE, "0 rows to choose from", "\"q\"");
    ak_queue_push(q, ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ -1, 0 }),
                  (ak_queue_push_options){ 0 });
    x = ak_from(ctx, AK_SHAPE(1, 2), (ak_real[]){ 1, 0 });
    cr_expect_eq(ak_queue_nearest(q, x, (ak_nearest_options){ 0 }).cosines->data[0], -1);
    ak_queue_nearest(q, x, (ak_nearest_options){ .ids = IDS(1) });
    EXPECT_ERROR(AK_ERR_STATE, ".ids where rows have none", "\"q\"");
}

Test(nearest, ties_go_to_the_lower_place_and_lengths_do_not_count)
{
    static const ak_real rows[] = { 0, 0, 1, 2, (ak_real)1e-30, (ak_real)2e-30, (ak_real)1e30,
                                    (ak_real)2e30, 1, 2 };
    ak_tensor *m = ak_from(ctx, AK_SHAPE(5, 2), rows);
    ak_tensor *x = ak_from(ctx, AK_SHAPE(3, 2), (ak_real[]){ 1, 2, (ak_real)1e30, (ak_real)2e30,
                                                            (ak_real)-1e-30, (ak_real)-2e-30 });
    const ak_nearest r = ak_nearest_rows(x, m, (ak_nearest_options){ .k = 5 });
    for (int i = 0; i < 15; i++) {
        const bool zero = r.places->data[i] == 0;
        cr_expect_float_eq((double)r.cosines->data[i], zero ? 0 : i < 10 ? 1 : -1, 1e-6);
    }
    cr_expect_eq(r.places->data[10], 0, "0 is nearer than -1");
    /* Equal rows: exactly equal scores. */
    ak_tensor *same = ak_full(ctx, AK_SHAPE(700, 3), 0.5);
    const ak_nearest t = ak_nearest_rows(ak_full(ctx, AK_SHAPE(1, 3), 2), same,
                                         (ak_nearest_options){ .k = 4 });
    for (int i = 0; i < 4; i++)
        cr_expect_eq(t.places->data[i], i);
}

Test(nearest, refusals)
{
    ak_tensor *x = ak_full(ctx, AK_SHAPE(2, 3), 1), *rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ .k = 5 });
    EXPECT_ERROR(AK_ERR_VALUE, "k is 5", "4 rows");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ .k = -1 });
    EXPECT_ERROR(AK_ERR_VALUE, "k is -1", "4 rows");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 2), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ 0 });
    EXPECT_ERROR(AK_ERR_SHAPE, "[2,3]", "rows of 2 numbers");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ .ids = IDS(1, 2) });
    EXPECT_ERROR(AK_ERR_VALUE, ".row_ids is missing (NULL)", "");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ .row_ids = IDS(1, 2, 3, 4) });
    EXPECT_ERROR(AK_ERR_VALUE, ".ids is missing (NULL)", "");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    ak_nearest_rows(x, rows, (ak_nearest_options){ .ids = IDS(1), .row_ids = IDS(1, 2, 3, 4) });
    EXPECT_ERROR(AK_ERR_SHAPE, ".ids [1] for 2 rows", "");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    rows->data[4] = (ak_real)NAN;
    ak_nearest_rows(x, rows, (ak_nearest_options){ 0 });
    EXPECT_ERROR(AK_ERR_NUMBER, "1 of 4 rows", "row 1");
    x = ak_full(ctx, AK_SHAPE(2, 3), 1), rows = ak_full(ctx, AK_SHAPE(4, 3), 1);
    x->data[5] = (ak_real)INFINITY;
    ak_nearest_rows(x, rows, (ak_nearest_options){ 0 });
    EXPECT_ERROR(AK_ERR_NUMBER, "row of x", "1 of 2");
}

/* ---- numbers of samples ---------------------------------------------------------------------- */

Test(sample_state, average_is_the_closed_form)
{
    enum { N = 4, STEPS = 9 };
    const double m = 0.8;
    for (int blend = 0; blend < 2; blend++) {
        ak_sample_state *s = ak_sample_state_make(ctx, blend ? "blend" : "first", N,
            (ak_sample_state_options){ .momentum = m, .start = 3, .blend_first = blend });
        double want[N] = { 3, 3, 3, 3 };
        int visits[N] = { 0 };
        for (int t = 0; t < STEPS; t++) {
            const int32_t id[3] = { (int32_t)(t % 3), -1, (int32_t)(t * t % 3) };
            ak_tensor *x = ak_randn(ctx, AK_SHAPE(3));
            for (int i = 0; i < 3; i++) {
                if (id[i] < 0)
                    continue;
                const double w = visits[id[i]]++ == 0 && !blend ? 0 : m;
                want[id[i]] = w * want[id[i]] + (1 - w) * (double)x->data[i];
            }
            ak_index *ids = ak_index_from(ctx, AK_SHAPE(3), id);
            cr_assert_eq(ak_sample_state_update(s, ids, x), AK_OK);
            const ak_tensor *read = ak_sample_state_read(s, ids);
            const ak_index *times = ak_sample_state_visits(s, ids);
            for (int i = 0; i < 3; i++) {
                cr_expect_float_eq((double)read->data[i], id[i] < 0 ? 3 : want[id[i]], TOL);
                cr_expect_eq(times->data[i], id[i] < 0 ? 0 : visits[id[i]]);
            }
            const ak_tensor *all = ak_sample_state_all(s);
            for (int i = 0; i < N; i++)
                cr_expect_float_eq((double)all->data[i], want[i], TOL);
            cr_assert_eq(ak_step_end(ctx), AK_OK);
        }
        cr_expect_eq((double)ak_sample_state_all(s)->data[3], 3, "never met");
    }
}

/* m = 0.99999999: a float average would stand still. */
Test(sample_state, momentum_near_1_does_not_stall)
{
    ak_sample_state *s = ak_sample_state_make(ctx, "s", 1, (ak_sample_state_options){
        .momentum = 1 - 1e-8, .start = 1, .blend_first = true });
    for (int t = 0; t < 1000; t++) {
        cr_assert_eq(ak_sample_state_update(s, IDS(0), ak_full(ctx, AK_SHAPE(1), 201)), AK_OK);
        ak_step_end(ctx);
    }
    cr_expect_float_eq((double)ak_sample_state_all(s)->data[0], 1 + 200 * 1e-5, 1e-6);
}

Test(sample_state, wide_values_and_writes)
{
    ak_sample_state *s = ak_sample_state_make(ctx, "s", 5, (ak_sample_state_options){ .width = 2 });
    ak_index *ids = ak_index_from(ctx, AK_SHAPE(2, 1), (int32_t[]){ 4, 0 });
    ak_tensor *x = ak_from(ctx, AK_SHAPE(2, 1, 2), (ak_real[]){ 1, 2, 3, 4 });
    cr_assert_eq(ak_sample_state_write(s, ids, x), AK_OK, "%s", ak_error_message(ctx));
    const ak_tensor *read = ak_sample_state_read(s, ids);
    cr_assert(ak_shape_equal(read->shape, x->shape));
    cr_expect_eq(memcmp(read->data, x->data, 4 * sizeof(ak_real)), 0);
    cr_expect(ak_shape_equal(ak_sample_state_all(s)->shape, AK_SHAPE(5, 2)));
    cr_assert_eq(ak_sample_state_update(s, ids, ak_scale(x, 2)), AK_OK);
    cr_expect_float_eq((double)ak_sample_state_read(s, ids)->data[3], 0.9 * 4 + 0.1 * 8, TOL);

    ak_sample_state_update(s, ids, ak_full(ctx, AK_SHAPE(2, 1), 1));
    EXPECT_ERROR(AK_ERR_SHAPE, "[2,1]", "2 numbers for each id");
    ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 4, 5 });
    ak_sample_state_update(s, ids, ak_full(ctx, AK_SHAPE(2, 2), 1));
    EXPECT_ERROR(AK_ERR_VALUE, "item 1 has 5", "-1 to 4");
    ids = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 4, 1 });
    ak_tensor *bad = ak_full(ctx, AK_SHAPE(2, 2), 1);
    bad->data[3] = (ak_real)NAN;
    ak_sample_state_update(s, ids, bad);
    EXPECT_ERROR(AK_ERR_NUMBER, "the value of id 1 (item 1) is", "nan");
    cr_expect_eq(ak_sample_state_visits(s, IDS(4))->data[0], 2, "all or nothing");
    cr_expect_null(ak_sample_state_make(ctx, "t", 5, (ak_sample_state_options){ .width = -1 }));
    EXPECT_ERROR(AK_ERR_VALUE, ".width is -1", "");
    cr_expect_null(ak_sample_state_make(ctx, "t", 5, (ak_sample_state_options){
        .start = (double)INFINITY }));
    EXPECT_ERROR(AK_ERR_VALUE, ".start inf", "");
    cr_expect_null(ak_sample_state_make(ctx, "t", 5, (ak_sample_state_options){ .momentum = -2 }));
    EXPECT_ERROR(AK_ERR_VALUE, ".momentum is -2", "");
}

/* ---- threads --------------------------------------------------------------------------------- */

#ifdef _OPENMP
Test(nearest, same_bits_for_any_number_of_threads)
{
    ak_tensor *x = ak_randn(ctx, AK_SHAPE(300, 24)), *rows = ak_randn(ctx, AK_SHAPE(2000, 24));
    ak_nearest one = { 0 };
    for (int threads = 1; threads <= 4; threads++) {
        omp_set_num_threads(threads);
        const ak_nearest r = ak_nearest_rows(x, rows, (ak_nearest_options){ .k = 7 });
        cr_assert(!ak_is_poison(r.rows));
        if (threads == 1)
            one = r;
        cr_expect_eq(memcmp(r.places->data, one.places->data, 2100 * sizeof(int32_t)), 0);
        cr_expect_eq(memcmp(r.cosines->data, one.cosines->data, 2100 * sizeof(ak_real)), 0);
    }
}
#endif
