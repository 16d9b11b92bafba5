/* SPDX-License-Identifier: Apache-2.0 */
/* Queues, banks, numbers of samples and Sinkhorn's codes against what reference programs hold after
 * their steps: moco, nnclr, mochi, swav, interclr, isogclr. */
#include <criterion/criterion.h>

#include <math.h>
#include <string.h>

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/memory.h>
#include <akin/nn.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include "golden.h"

static ak_ctx *ctx;
static char msg[GOLDEN_MESSAGE];

static void open_context(void)
{
    ctx = ak_open((ak_options){ .seed = 1, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void close_context(void)
{
    cr_expect_eq(ak_close(ctx), AK_OK);
}

TestSuite(golden_memory, .init = open_context, .fini = close_context);

#define EXPECT_CLOSE(t, f, key)                                                                    \
    cr_expect(golden_close((t)->data, f, key, GOLDEN_TOL, msg), "%s", msg)
#define EXPECT_NUMBER(t, f, key)                                                                   \
    cr_expect(golden_close_number(ak_item(t), f, key, GOLDEN_TOL, msg), "%s", msg)
#define EXPECT_GRAD(t, f, key)                                                                     \
    cr_expect(golden_close((t)->grad, f, key, GOLDEN_TOL, msg), "%s", msg)
#define PUSH(q, rows)                                                                              \
    cr_assert_eq(ak_queue_push(q, rows, (ak_queue_push_options){ 0 }), AK_OK, "%s",                \
                 ak_error_message(ctx))

static int64_t whole(golden_file *f, const char *key) { return llrint(golden_number(f, key)); }

/* The momentum option whose new value has this weight. */
static double momentum_of(double fresh) { return fresh == 1 ? AK_NONE : 1 - fresh; }

/* A queue that holds these rows as they are (of length 1 to seven digits), with the pointer at ptr.
 */
static ak_queue *queue_of(const char *name, ak_tensor *rows, int64_t ptr)
{
    const int64_t K = rows->shape.dims[0], D = rows->shape.dims[1];
    ak_queue *q = ak_queue_make(ctx, name, K, D, (ak_queue_options){ .form = AK_ROWS_UNIT });
    cr_assert_not_null(q, "%s", ak_error_message(ctx));
    if (ptr)
        PUSH(q, ak_rows(rows, 0, ptr));
    PUSH(q, ak_concat(0, ak_rows(rows, ptr, K - ptr), ak_rows(rows, 0, ptr)));
    cr_assert(ak_queue_tell(q).next == ptr && ak_queue_tell(q).held == K);
    return q;
}

/* ---- moco: three steps ----------------------------------------------------------------------- */

static ak_tensor *parameter(const char *name, golden_file *f, const char *key)
{
    ak_tensor *from = golden_tensor(ctx, f, key);
    ak_tensor *p = ak_param(ctx, name, from->shape, AK_PARAM_NO_DECAY);
    ak_copy(p, from);
    return p;
}

static void moco_set(golden_file *f, int s)
{
    ak_tensor *w = parameter(golden_key("s%d/q/w", s), f, golden_key("s%d_W0", s));
    ak_tensor *b = parameter(golden_key("s%d/q/b", s), f, golden_key("s%d_b0", s));
    ak_tensor *wk = parameter(golden_key("s%d/k/w", s), f, golden_key("s%d_Wk0", s));
    ak_tensor *bk = parameter(golden_key("s%d/k/b", s), f, golden_key("s%d_bk0", s));
    ak_freeze(ctx, golden_key("s%d/k/*", s), true);
    ak_queue *q = queue_of(golden_key("s%d/queue", s),
                           golden_tensor(ctx, f, golden_key("s%d_queue0", s)),
                           whole(f, "opt_ptr0"));
    ak_optim *opt = ak_sgd(ctx, golden_key("s%d/q/*", s), (ak_sgd_options){
        .lr = golden_number(f, golden_key("s%d_lr", s)) });
    cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    for (int t = 0; golden_has(f, golden_key("s%d_step%d_xq", s, t)); t++) {
        ak_ema_update(ctx, golden_key("s%d/k", s), golden_key("s%d/q", s),
                      golden_number(f, golden_key("s%d_m", s)));
        EXPECT_CLOSE(wk, f, golden_key("s%d_step%d_Wk", s, t));
        EXPECT_CLOSE(bk, f, golden_key("s%d_step%d_bk", s, t));
        ak_tensor *xq = golden_tensor(ctx, f, golden_key("s%d_step%d_xq", s, t));
        ak_tensor *xk = golden_tensor(ctx, f, golden_key("s%d_step%d_xk", s, t));
        ak_tensor *k = ak_l2_normalize(ak_linear(xk, wk, bk));
        ak_tensor *z = ak_l2_normalize(ak_linear(xq, w, b));
        ak_tensor *loss = ak_loss_infonce(z, k, (ak_infonce_options){
            .tau = golden_number(f, golden_key("s%d_tau", s)), .queue = ak_queue_rows(q),
            .no_batch_negatives = true, .normalized = true });
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(ctx));
        EXPECT_NUMBER(loss, f, golden_key("s%d_step%d_loss", s, t));
        EXPECT_GRAD(w, f, golden_key("s%d_step%d_g_W", s, t));
        EXPECT_GRAD(b, f, golden_key("s%d_step%d_g_b", s, t));
        PUSH(q, k);
        EXPECT_CLOSE(ak_queue_rows(q), f, golden_key("s%d_step%d_queue", s, t));
        cr_expect_eq(ak_queue_tell(q).next, whole(f, golden_key("s%d_step%d_ptr", s, t)));
        ak_optim_step(opt);
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
}

Test(golden_memory, moco)
{
    golden_file *f = golden_open("moco");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_queue0", s)); s++, sets++)
        moco_set(f, s);
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* ---- nnclr: nearest rows of a queue ---------------------------------------------------------- */

Test(golden_memory, nnclr)
{
    golden_file *f = golden_open("nnclr");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_queue", s)); s++, sets++) {
        ak_queue *q = queue_of(golden_key("queue%d", s),
                               golden_tensor(ctx, f, golden_key("s%d_queue", s)),
                               whole(f, "opt_ptr0"));
        const ak_infonce_options o = { .tau = golden_number(f, golden_key("s%d_tau", s)) };
        ak_tensor *half[2], *p[2];
        for (int v = 0; v < 2; v++) {
            ak_tensor *z = golden_tensor(ctx, f, golden_key("s%d_z%d", s, v + 1));
            const ak_nearest r = ak_queue_nearest(q, z, (ak_nearest_options){ 0 });
            EXPECT_CLOSE(r.rows, f, golden_key("s%d_nn%d", s, v + 1));
            p[1 - v] = ak_require_grad(golden_tensor(ctx, f, golden_key("s%d_p%d", s, 2 - v)));
            half[v] = ak_loss_infonce(r.rows, p[1 - v], o);
        }
        ak_tensor *loss = ak_scale(ak_add(half[0], half[1]), 0.5);
        ak_backward(loss);
        EXPECT_NUMBER(loss, f, golden_key("s%d_loss", s));
        EXPECT_GRAD(p[0], f, golden_key("s%d_g_p1", s));
        EXPECT_GRAD(p[1], f, golden_key("s%d_g_p2", s));
        PUSH(q, ak_l2_normalize(golden_tensor(ctx, f, golden_key("s%d_z1", s))));
        EXPECT_CLOSE(ak_queue_rows(q), f, golden_key("s%d_queue_after", s));
        cr_expect_eq(ak_queue_tell(q).next, whole(f, golden_key("s%d_ptr_after", s)));
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* ---- mochi: the hardest rows of a queue ------------------------------------------------------ */

Test(golden_memory, mochi)
{
    golden_file *f = golden_open("mochi");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_queue", s)); s++, sets++) {
        ak_queue *q = queue_of(golden_key("queue%d", s),
                               golden_tensor(ctx, f, golden_key("s%d_queue", s)),
                               whole(f, "opt_ptr0"));
        const int k = (int)whole(f, golden_key("s%d_N", s));
        const ak_nearest r = ak_queue_nearest(q, golden_tensor(ctx, f, golden_key("s%d_q", s)),
                                              (ak_nearest_options){ .k = k });
        const double *want = golden_values(f, golden_key("s%d_topN", s));
        const int64_t n = golden_size(f, golden_key("s%d_topN", s));
        cr_assert_eq(r.places->size, n);
        for (int64_t i = 0; i < n; i++) {       /* a set: the order has no meaning there */
            bool found = false;
            for (int64_t j = i / k * k; j < i / k * k + k; j++)
                found = found || r.places->data[i] == (int32_t)want[j];
            cr_expect(found, "set %d, row %d", s, (int)(i / k));
        }
        PUSH(q, ak_l2_normalize(golden_tensor(ctx, f, golden_key("s%d_k", s))));
        EXPECT_CLOSE(ak_queue_rows(q), f, golden_key("s%d_queue_after", s));
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* ---- swav: codes, with queues and without ---------------------------------------------------- */

/* Codes of view v: those of the queue stand in front and are cut off. */
static ak_tensor *codes_of(golden_file *f, int s, int v, ak_tensor *scores, ak_tensor *prototypes)
{
    const ak_sinkhorn_options o = {
        .eps = golden_number(f, golden_key("s%d_eps", s)),
        .iterations = (int)whole(f, golden_key("s%d_iters", s)) };
    if (!golden_has(f, golden_key("s%d_queue", s)))
        return ak_sinkhorn(scores, o);
    ak_tensor *all = golden_tensor(ctx, f, golden_key("s%d_queue", s));
    const int64_t len = all->shape.dims[1], D = all->shape.dims[2];
    ak_queue *q = ak_queue_make(ctx, golden_key("s%d/queue%d", s, v), len, D,
                                (ak_queue_options){ .form = AK_ROWS_UNIT });
    PUSH(q, ak_reshape(ak_rows(all, v, 1), AK_SHAPE(len, D)));
    ak_tensor *with = ak_concat(0, ak_matmul_nt(ak_queue_rows(q), prototypes), scores);
    return ak_rows(ak_sinkhorn(with, o), len, scores->shape.dims[0]);
}

static void swav_set(golden_file *f, int s)
{
    ak_tensor *c = ak_require_grad(golden_tensor(ctx, f, golden_key("s%d_C", s)));
    const double tau = golden_number(f, golden_key("s%d_tau", s));
    ak_tensor *z[16], *scores[16], *loss = NULL;
    int V = 0;
    for (; V < 16 && golden_has(f, golden_key("s%d_z%d", s, V)); V++) {
        z[V] = ak_require_grad(golden_tensor(ctx, f, golden_key("s%d_z%d", s, V)));
        scores[V] = ak_matmul_nt(ak_l2_normalize(z[V]), c);
    }
    int A = 0;
    for (; golden_has(f, golden_key("s%d_code%d", s, A)); A++) {
        ak_tensor *code = codes_of(f, s, A, scores[A], c);
        cr_assert(!ak_is_poison(code), "%s", ak_error_message(ctx));
        EXPECT_CLOSE(code, f, golden_key("s%d_code%d", s, A));
        for (int v = 0; v < V; v++) {
            if (v == A)
                continue;
            ak_tensor *log_p = ak_log_softmax(ak_scale(scores[v], 1 / tau));
            ak_tensor *term = ak_scale(ak_sum(ak_mul(code, log_p)),
                                       -1 / (double)code->shape.dims[0]);
            loss = loss ? ak_add(loss, term) : term;
        }
    }
    loss = ak_scale(loss, 1.0 / A / (V - 1));
    ak_backward(loss);
    EXPECT_NUMBER(loss, f, golden_key("s%d_loss", s));
    EXPECT_GRAD(c, f, golden_key("s%d_g_C", s));
    for (int v = 0; v < V; v++)
        EXPECT_GRAD(z[v], f, golden_key("s%d_g_z%d", s, v));
    cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
}

Test(golden_memory, swav)
{
    golden_file *f = golden_open("swav");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_C", s)); s++, sets++)
        swav_set(f, s);
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* ---- interclr: a bank, its labels and centroids ---------------------------------------------- */

/* The centroid with the largest product; centroids are no unit rows. */
static ak_index *labels_of(ak_tensor *rows, ak_tensor *centroids)
{
    return ak_argmax(ak_matmul_nt(rows, centroids), 1);
}

static void interclr_set(golden_file *f, int s)
{
    ak_tensor *feats = golden_tensor(ctx, f, golden_key("s%d_feats", s));
    ak_index *labels = golden_index(ctx, f, golden_key("s%d_labels", s));
    ak_index *ids = golden_index(ctx, f, golden_key("s%d_idx", s));
    ak_tensor *centroids = golden_tensor(ctx, f, golden_key("s%d_mem_centroids0", s));
    const int64_t n = feats->shape.dims[0], C = centroids->shape.dims[0];
    const double fresh = golden_number(f, golden_key("s%d_mem_momentum_new", s));
    ak_bank *bank = ak_bank_make(ctx, golden_key("bank%d", s), n, feats->shape.dims[1],
                                 (ak_bank_options){ .labels = true,
                                                    .momentum = momentum_of(fresh) });
    cr_assert_not_null(bank, "%s", ak_error_message(ctx));
    int32_t all[4096];
    cr_assert(n <= 4096);
    for (int64_t i = 0; i < n; i++)
        all[i] = (int32_t)i;
    ak_index *every = ak_index_from(ctx, AK_SHAPE(n), all);
    cr_assert_eq(ak_bank_update(bank, every, feats), AK_OK);
    cr_assert_eq(ak_bank_set_labels(bank, every, labels), AK_OK);

    /* Hard negatives: the most similar rows of other labels. */
    int32_t own[4096];
    for (int64_t i = 0; i < ids->size; i++)
        own[i] = labels->data[ids->data[i]];
    ak_tensor *q = golden_tensor(ctx, f, golden_key("s%d_q", s));
    const ak_shape hard = golden_shape(f, golden_key("s%d_neg", s));
    const ak_nearest r = ak_nearest_rows(q, ak_bank_rows(bank), (ak_nearest_options){
        .k = (int)hard.dims[1], .ids = ak_index_from(ctx, ids->shape, own), .row_ids = labels });
    const double *want = golden_values(f, golden_key("s%d_neg", s));
    for (int64_t i = 0; i < r.places->size; i++)
        cr_expect_eq(r.places->data[i], (int32_t)want[i], "set %d, negative %d", s, (int)i);

    /* The update with the keys, the new labels, the new centroids. */
    ak_tensor *k = golden_tensor(ctx, f, golden_key("s%d_k", s));
    cr_assert_eq(ak_bank_update(bank, ids, k), AK_OK);
    EXPECT_CLOSE(ak_bank_rows(bank), f, golden_key("s%d_mem_feats1", s));
    ak_bank_set_labels(bank, ids, labels_of(ak_bank_gather(bank, ids, NULL), centroids));
    const ak_index *now = ak_bank_labels(bank);
    want = golden_values(f, golden_key("s%d_mem_labels1", s));
    int changed = 0;
    for (int64_t i = 0; i < n; i++)
        cr_expect_eq(now->data[i], (int32_t)want[i], "set %d, label %d", s, (int)i);
    for (int64_t i = 0; i < ids->size; i++)
        changed += now->data[ids->data[i]] != labels->data[ids->data[i]];
    cr_expect_float_eq((double)changed / (double)ids->size,
                       golden_number(f, golden_key("s%d_mem_change_ratio", s)), 1e-6);
    ak_tensor *means = ak_segment_mean(ak_bank_rows(bank), ak_bank_labels(bank), C);
    for (int64_t c = 0; c < C; c++) {       /* a cluster without rows keeps its centroid */
        bool any = false;
        for (int64_t i = 0; i < n; i++)
            any = any || now->data[i] == c;
        if (!any)
            ak_copy(ak_rows(means, c, 1), ak_rows(centroids, c, 1));
    }
    EXPECT_CLOSE(means, f, golden_key("s%d_mem_centroids1", s));
    cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
}

Test(golden_memory, interclr)
{
    golden_file *f = golden_open("interclr");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_feats", s)); s++, sets++)
        interclr_set(f, s);
    cr_expect_geq(sets, 1);
    golden_free(f);
}

/* ---- isogclr: denominators, momenta and temperatures of samples ------------------------------ */

typedef struct isogclr {
    golden_file *f;
    const char  *tag;
    int          s;
    bool         learns_tau;
    ak_sample_state *u, *m, *tau;
    double gamma, rho, eta, beta, least, most, clip;
} isogclr;

static double option(const isogclr *g, const char *name)
{
    return golden_number(g->f, golden_key("opt_%s_%s", g->tag, name));
}

/* Sum over both views of e^(sim / tau) and of e^(sim / tau) sim / tau, over the 2 (N - 1) negatives
 * of row i of view v. */
static void sums_of(const ak_tensor *x, int v, int64_t i, double tau, double *e, double *es)
{
    const int64_t N = x->shape.dims[1], D = x->shape.dims[2];
    const ak_real *anchor = x->data + (v * N + i) * D;
    *e = *es = 0;
    for (int64_t j = 0; j < 2 * N; j++) {
        if (j % N == i)
            continue;
        double sim = 0;
        for (int64_t d = 0; d < D; d++)
            sim += (double)anchor[d] * (double)x->data[j * D + d];
        *e += exp(sim / tau);
        *es += exp(sim / tau) * sim / tau;
    }
}

static void isogclr_step(isogclr *g, int t, ak_tensor *x, ak_index *ids)
{
    const int64_t N = x->shape.dims[1];
    const double K = 2 * (double)(N - 1);
    ak_tensor *mean = ak_zeros(ctx, AK_SHAPE(N)), *slope = ak_zeros(ctx, AK_SHAPE(N));
    ak_tensor *old_tau = ak_sample_state_read(g->tau, ids);
    ak_tensor *old_u = ak_sample_state_read(g->u, ids);
    const ak_index *visits = ak_sample_state_visits(g->u, ids);
    for (int64_t i = 0; i < N; i++)
        for (int v = 0; v < 2; v++) {
            double e, es;
            sums_of(x, v, i, (double)old_tau->data[i], &e, &es);
            mean->data[i] += (ak_real)(e / K / 2);
            const double w = visits->data[i] ? g->gamma : 1;
            const double u = (1 - w) * (double)old_u->data[i] + w * e / K;
            slope->data[i] += (ak_real)((log(u) + g->rho - es / K / u) / 2);
        }
    cr_assert_eq(ak_sample_state_update(g->u, ids, mean), AK_OK);
    EXPECT_CLOSE(ak_sample_state_all(g->u), g->f, golden_key("s%d_%s_step%d_u", g->s, g->tag, t));
    if (!g->learns_tau)
        return;
    for (int64_t i = 0; i < N; i++)
        slope->data[i] = (ak_real)fmax(-g->clip, fmin(g->clip, (double)slope->data[i]));
    cr_assert_eq(ak_sample_state_update(g->m, ids, slope), AK_OK);
    ak_tensor *tau = ak_sub(old_tau, ak_scale(ak_sample_state_read(g->m, ids), g->eta));
    cr_assert_eq(ak_sample_state_write(g->tau, ids, ak_clamp(tau, g->least, g->most)), AK_OK);
    EXPECT_CLOSE(ak_sample_state_all(g->m), g->f, golden_key("s%d_%s_step%d_m", g->s, g->tag, t));
    EXPECT_CLOSE(ak_sample_state_all(g->tau), g->f,
                 golden_key("s%d_%s_step%d_tau", g->s, g->tag, t));
}

static void isogclr_run(golden_file *f, const char *tag, int s, bool learns_tau)
{
    isogclr g = { .f = f, .tag = tag, .s = s, .learns_tau = learns_tau };
    g.gamma = option(&g, "gamma");
    if (learns_tau) {
        g.rho = option(&g, "rho");
        g.eta = option(&g, "eta");
        g.beta = option(&g, "beta");
        g.least = option(&g, "tau_min");
        g.most = option(&g, "tau_max");
        g.clip = option(&g, "clip");
    }
    const int64_t n = whole(f, golden_key("s%d_n", s));
    g.u = ak_sample_state_make(ctx, golden_key("s%d/%s/u", s, tag), n, (ak_sample_state_options){
        .momentum = momentum_of(g.gamma) });
    g.m = ak_sample_state_make(ctx, golden_key("s%d/%s/m", s, tag), n, (ak_sample_state_options){
        .momentum = learns_tau ? momentum_of(g.beta) : 0, .blend_first = true });
    g.tau = ak_sample_state_make(ctx, golden_key("s%d/%s/tau", s, tag), n,
        (ak_sample_state_options){ .start = golden_number(f, golden_key("s%d_tau0", s)) });
    cr_assert(g.u && g.m && g.tau, "%s", ak_error_message(ctx));
    const ak_shape shape = golden_shape(f, golden_key("s%d_x", s));      /* [steps, 2, N, D] */
    for (int t = 0; t < shape.dims[0]; t++) {
        ak_tensor *x = ak_rows(golden_tensor(ctx, f, golden_key("s%d_x", s)), t, 1);
        x = ak_l2_normalize(ak_reshape(x, AK_SHAPE(2, shape.dims[2], shape.dims[3])));
        const ak_index *all = golden_index(ctx, f, golden_key("s%d_idx", s));
        isogclr_step(&g, t, x, ak_index_from(ctx, AK_SHAPE(shape.dims[2]),
                                             all->data + t * shape.dims[2]));
        cr_assert_eq(ak_step_end(ctx), AK_OK, "%s", ak_error_message(ctx));
    }
}

Test(golden_memory, isogclr)
{
    golden_file *f = golden_open("isogclr");
    cr_assert_not_null(f);
    int sets = 0;
    for (int s = 0; golden_has(f, golden_key("s%d_x", s)); s++, sets++) {
        isogclr_run(f, "libauc_sogclr_uni", s, false);
        isogclr_run(f, "sogclr_repo_uni", s, false);
        isogclr_run(f, "libauc_isogclr_uni", s, true);
        isogclr_run(f, "paper_isogclr_uni", s, true);
    }
    cr_expect_geq(sets, 1);
    golden_free(f);
}
