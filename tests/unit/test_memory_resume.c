/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints hold queues, banks and numbers of samples without a word from the program: a run that
 * was killed and resumed ends with the bits of one that never stopped. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/losses.h>
#include <akin/memory.h>
#include <akin/nn.h>
#include <akin/ops.h>
#include <akin/optim.h>

#include "base/state.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAMPLES = 20, BATCH = 6, DIM = 5, ROWS = 13, STEPS = 11 };

static char path[64];

static void make_path(void)
{
    strcpy(path, "/tmp/akin-memory-XXXXXX");
    const int fd = mkstemp(path);
    cr_assert(fd >= 0);
    close(fd);
    unlink(path);
}

static void remove_path(void) { unlink(path); }

TestSuite(memory_resume, .init = make_path, .fini = remove_path);

typedef struct world {
    ak_ctx *ctx;
    ak_module *net;
    ak_optim *opt;
    ak_queue *queue, *random;
    ak_bank *bank;
    ak_sample_state *u;
} world;

static world build(int64_t rows)
{
    world w = { .ctx = ak_open((ak_options){ .seed = 9, .quiet = true }) };
    ak_on_error(w.ctx, NULL, NULL);
    w.net = ak_mlp(w.ctx, "net", (int[]){ 4, DIM, 0 });
    w.opt = ak_adamw(w.ctx, "net*", (ak_adamw_options){ .lr = 1e-2 });
    w.queue = ak_queue_make(w.ctx, "queue", rows, DIM, (ak_queue_options){ .ids = true,
                                                                           .labels = true });
    w.random = ak_queue_make(w.ctx, "random", ROWS, DIM, (ak_queue_options){
        .random_start = true });
    w.bank = ak_bank_make(w.ctx, "bank", SAMPLES, DIM, (ak_bank_options){ .labels = true });
    w.u = ak_sample_state_make(w.ctx, "u", SAMPLES, (ak_sample_state_options){ .start = 1 });
    cr_assert(w.queue && w.random && w.bank && w.u, "%s", ak_error_message(w.ctx));
    return w;
}

/* A step whose loss depends on everything that is kept. */
static void train(world *w, int t)
{
    int32_t id[BATCH];
    for (int i = 0; i < BATCH; i++)
        id[i] = (int32_t)((t * BATCH + 7 * i) % SAMPLES);
    ak_index *ids = ak_index_from(w->ctx, AK_SHAPE(BATCH), id);
    ak_tensor *x = ak_randn(w->ctx, AK_SHAPE(BATCH, 4));
    ak_tensor *z = ak_forward(w->net, x), *k = ak_detach(z), *present;
    ak_tensor *old = ak_bank_gather(w->bank, ids, &present);
    ak_tensor *near = ak_queue_nearest(w->random, k, (ak_nearest_options){ 0 }).rows;
    ak_tensor *loss = ak_loss_infonce(z, ak_add(old, near), (ak_infonce_options){
        .tau = 0.5, .queue = ak_queue_rows(w->queue),
        .weights = ak_add_scalar(ak_sample_state_read(w->u, ids), 1) });
    cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(w->ctx));
    ak_optim_step(w->opt);
    ak_queue_push(w->queue, k, (ak_queue_push_options){ .ids = ids, .labels = ids });
    ak_queue_push(w->random, ak_rows(k, 0, 5), (ak_queue_push_options){ 0 });
    ak_bank_update(w->bank, ids, k);
    const ak_kmeans_result c = ak_kmeans(k, 2, (ak_kmeans_options){ 0 });
    ak_bank_set_labels(w->bank, ids, c.labels);
    ak_sample_state_update(w->u, ids, ak_square(ak_sum_axis(k, 1)));
    cr_assert_eq(ak_step_end(w->ctx), AK_OK, "step %d: %s", t, ak_error_message(w->ctx));
}

static void same_bytes(const void *a, const void *b, size_t n, const char *what)
{
    cr_expect_eq(memcmp(a, b, n), 0, "%s differs", what);
}

static void same_tensor(const ak_tensor *a, const ak_tensor *b, const char *what)
{
    cr_assert(ak_shape_equal(a->shape, b->shape), "%s", what);
    same_bytes(a->data, b->data, (size_t)a->size * sizeof(ak_real), what);
}

static void same_index(const ak_index *a, const ak_index *b, const char *what)
{
    cr_assert_eq(a->size, b->size, "%s", what);
    same_bytes(a->data, b->data, (size_t)a->size * sizeof(int32_t), what);
}

static void same_queue(ak_queue *a, ak_queue *b, bool marks)
{
    const ak_queue_state x = ak_queue_tell(a), y = ak_queue_tell(b);
    same_bytes(&x, &y, sizeof x, "counters of a queue");
    same_tensor(ak_queue_rows(a), ak_queue_rows(b), "rows of a queue");
    same_index(ak_queue_ages(a), ak_queue_ages(b), "ages");
    if (!marks)
        return;
    same_index(ak_queue_ids(a), ak_queue_ids(b), "ids");
    same_index(ak_queue_labels(a), ak_queue_labels(b), "labels of a queue");
}

static void same_world(world *a, world *b)
{
    int32_t id[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        id[i] = i;
    ak_index *ia = ak_index_from(a->ctx, AK_SHAPE(SAMPLES), id);
    ak_index *ib = ak_index_from(b->ctx, AK_SHAPE(SAMPLES), id);
    same_queue(a->queue, b->queue, true);
    same_queue(a->random, b->random, false);
    ak_tensor *pa, *pb;
    same_tensor(ak_bank_gather(a->bank, ia, &pa), ak_bank_gather(b->bank, ib, &pb), "bank");
    same_tensor(pa, pb, "what is there");
    cr_expect_eq(ak_bank_tell(a->bank).held, ak_bank_tell(b->bank).held);
    same_index(ak_bank_labels(a->bank), ak_bank_labels(b->bank), "labels of the bank");
    same_tensor(ak_sample_state_all(a->u), ak_sample_state_all(b->u), "numbers of samples");
    same_index(ak_sample_state_visits(a->u, ia), ak_sample_state_visits(b->u, ib), "visits");
    cr_expect_eq(ak_hash(a->ctx, "*"), ak_hash(b->ctx, "*"), "parameters");
    cr_assert_eq(ak_error(a->ctx), AK_OK, "%s", ak_error_message(a->ctx));
    cr_assert_eq(ak_error(b->ctx), AK_OK, "%s", ak_error_message(b->ctx));
}

/* For every step at which it may be saved: a child trains, saves, trains on and is killed. */
Test(memory_resume, killed_and_resumed_is_the_straight_run)
{
    world straight = build(ROWS);
    for (int t = 0; t < STEPS; t++)
        train(&straight, t);
    for (int saved = 0; saved < STEPS; saved += 2) {
        const pid_t child = fork();
        cr_assert(child >= 0);
        if (child == 0) {
            world w = build(ROWS);
            for (int t = 0; t < saved; t++)
                train(&w, t);
            if (ak_checkpoint_save(w.ctx, path) != AK_OK)
                _exit(3);
            train(&w, saved);
            raise(SIGKILL);
        }
        int status = 0;
        waitpid(child, &status, 0);
        cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "saved at %d", saved);
        world w = build(ROWS);
        cr_assert_eq(ak_checkpoint_load(w.ctx, path), AK_OK, "%s", ak_error_message(w.ctx));
        for (int t = saved; t < STEPS; t++)
            train(&w, t);
        same_world(&straight, &w);
        ak_close(w.ctx);
    }
    ak_close(straight.ctx);
}

static void refused(ak_ctx *ctx, ak_status want, const char *a, const char *b)
{
    cr_expect_eq(ak_checkpoint_load(ctx, path), want, "%s", ak_error_message(ctx));
    cr_expect(strstr(ak_error_message(ctx), a) && strstr(ak_error_message(ctx), b),
              "no \"%s\" and \"%s\" in: %s", a, b, ak_error_message(ctx));
    ak_step_end(ctx);
}

Test(memory_resume, another_size_or_kind_is_an_error_and_changes_nothing)
{
    world w = build(ROWS);
    for (int t = 0; t < 3; t++)
        train(&w, t);
    cr_assert_eq(ak_checkpoint_save(w.ctx, path), AK_OK);
    world other = build(ROWS + 1), twin = build(ROWS + 1);
    train(&other, 0);
    train(&twin, 0);
    refused(other.ctx, AK_ERR_SHAPE, "queue \"queue\" has rows 13, dim 5,",
            "and rows 14, dim 5,");
    same_world(&other, &twin);
    ak_close(other.ctx);
    ak_close(twin.ctx);
    ak_close(w.ctx);

    ak_ctx *a = ak_open((ak_options){ .quiet = true }), *b = ak_open((ak_options){ .quiet = true });
    ak_on_error(a, NULL, NULL);
    ak_on_error(b, NULL, NULL);
    ak_queue_make(a, "q", 4, 2, (ak_queue_options){ .ids = true });
    cr_assert_eq(ak_checkpoint_save(a, path), AK_OK, "%s", ak_error_message(a));
    ak_queue_make(b, "q", 4, 2, (ak_queue_options){ .labels = true });
    refused(b, AK_ERR_SHAPE, "ids 1, labels 0 in the file", "ids 0, labels 1 in this program");
    ak_close(b);
    b = ak_open((ak_options){ .quiet = true });
    ak_on_error(b, NULL, NULL);
    ak_bank_make(b, "q", 4, 2, (ak_bank_options){ 0 });
    refused(b, AK_ERR_NOT_FOUND, "bank q", "queue q");
    ak_close(b);
    ak_close(a);
}

/* A load between forward and backward is a change like any other; weights leave memory alone. */
Test(memory_resume, loading_counts_as_a_change)
{
    world w = build(ROWS);
    for (int t = 0; t < 3; t++)
        train(&w, t);
    cr_assert_eq(ak_checkpoint_save(w.ctx, path), AK_OK);
    ak_tensor *z = ak_forward(w.net, ak_randn(w.ctx, AK_SHAPE(BATCH, 4)));
    ak_tensor *loss = ak_loss_infonce(ak_scale(z, 2), ak_detach(z), (ak_infonce_options){
        .queue = ak_queue_rows(w.queue) });
    cr_assert_eq(ak_checkpoint_load(w.ctx, path), AK_OK);
    cr_expect_eq(ak_backward(loss), AK_ERR_STATE);
    cr_expect_not_null(strstr(ak_error_message(w.ctx), "loading a file"), "%s",
                       ak_error_message(w.ctx));
    ak_step_end(w.ctx);
    const ak_queue_state before = ak_queue_tell(w.queue);
    cr_assert_eq(ak_save(w.ctx, path), AK_OK);
    train(&w, 3);
    cr_assert_eq(ak_load(w.ctx, path), AK_OK);
    cr_expect_eq(ak_queue_tell(w.queue).pushes, before.pushes + 1);
    ak_close(w.ctx);
}

/* Bytes of a state that are too few, too many or changed: refused, or taken without harm. */
Test(memory_resume, damaged_states_do_no_harm)
{
    world w = build(ROWS);
    for (int t = 0; t < 4; t++)
        train(&w, t);
    static const char *const names[] = { "queue queue", "queue random", "bank bank",
                                         "sample_state u" };
    int refusals = 0;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const ak__state *s = ak__state_find(w.ctx, names[i]);
        cr_assert_not_null(s);
        const size_t n = s->ops->size(s->obj);
        unsigned char *good = malloc(n + 8), *bytes = malloc(n + 8);
        s->ops->save(s->obj, good);
        cr_expect_eq(s->ops->check(s->obj, good, n), AK_OK);
        for (size_t size = 0; size < n + 8; size += size < n ? 1 + n / 97 : 8) {
            if (size == n)
                continue;
            cr_expect_neq(s->ops->check(s->obj, good, size), AK_OK, "%zu of %zu bytes", size, n);
            ak_step_end(w.ctx);
        }
        for (size_t at = 0; at < n; at++) {
            memcpy(bytes, good, n);
            bytes[at] ^= at % 8 == 7 ? 0xff : 0x10;
            if (s->ops->check(s->obj, bytes, n) == AK_OK) {
                s->ops->load(s->obj, bytes, n);
                ak_queue_ages(w.queue);
                ak_queue_ids(w.queue);
                ak_queue_rows(w.random);
                ak_bank_labels(w.bank);
                ak_sample_state_all(w.u);
                cr_expect_eq(ak_error(w.ctx), AK_OK, "%s", ak_error_message(w.ctx));
            } else {
                refusals++;
            }
            ak_step_end(w.ctx);
            s->ops->load(s->obj, good, n);
        }
        free(bytes);
        free(good);
    }
    cr_expect_geq(refusals, 300, "%d", refusals);
    train(&w, 4);
    ak_close(w.ctx);
}
