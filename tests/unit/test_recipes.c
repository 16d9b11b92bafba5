/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes of the headers and sentences of the documents, as programs. */
#include "data_files.h"

#include <akin/akin.h>

/* ---- akin/checkpoint.h: stopping and resuming ------------------------------------------------ */

#define EPOCHS 4                /* of two batches: eight steps */

typedef struct session {
    ak_ctx    *ctx;
    ak_loader *loader;
    ak_module *net;
    ak_optim  *opt;
    int64_t    done;            /* the program's own counter */
    int        steps;           /* trained by this program */
} session;

static void session_open(session *s, bool counter)
{
    *s = (session){ .ctx = quiet() };
    s->loader = ak_loader_open(ak_dataset_drawn(s->ctx, 1, 0, 20), (ak_loader_options){
        .batch = 8, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5), { 0 } } });
    s->net = ak_convnet(s->ctx, "net", (ak_convnet_options){ .channels = { 1, 3, 4 }, .pool = 2 });
    s->opt = ak_adamw(s->ctx, "*", (ak_adamw_options){ .lr = 0.01 });
    if (counter)
        ak_checkpoint_value(s->ctx, "done", &s->done);
    cr_assert_eq(ak_error(s->ctx), AK_OK, "%s", ak_error_message(s->ctx));
}

static void train(session *s, const ak_batch *b)
{
    ak_tensor *z1 = ak_forward(s->net, b->view[0]), *z2 = ak_forward(s->net, b->view[1]);
    ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2 }));
    ak_optim_step(s->opt);
    s->steps++;
}

/* The first recipe; the program is killed after `most` steps. `often`: it saves between steps. */
static void by_the_loader(session *s, const char *path, int most, bool often)
{
    if (ak_checkpoint_exists(path))
        ak_checkpoint_load(s->ctx, path);
    while (ak_loader_tell(s->loader).epoch < EPOCHS) {
        for (ak_batch b; ak_loader_next(s->loader, &b); ak_step_end(s->ctx)) {
            if (s->steps == most)
                return;
            train(s, &b);
            if (often)
                ak_checkpoint_save(s->ctx, path);
        }
        if (ak_checkpoint_save(s->ctx, path))
            break;
    }
}

/* The second. */
static void by_a_counter(session *s, const char *path, int most, bool often)
{
    (void)often;
    if (ak_checkpoint_exists(path))
        ak_checkpoint_load(s->ctx, path);
    while (s->done < EPOCHS) {
        for (ak_batch b; ak_loader_next(s->loader, &b); ak_step_end(s->ctx)) {
            if (s->steps == most)
                return;
            train(s, &b);
        }
        s->done++;
        if (ak_checkpoint_save(s->ctx, path))
            break;
    }
}

/* Killed after `most` steps and started again: `all` steps in both together, the same weights. */
static void expect_resumed(void (*recipe)(session *, const char *, int, bool), bool counter,
                           bool often, int most, int all)
{
    char dir[64];
    const char *path = path_in(new_folder(dir), "run.ckpt");
    session whole, first, second;
    session_open(&whole, counter);
    recipe(&whole, path, 100, false);
    cr_assert_eq(whole.steps, 2 * EPOCHS);
    unlink(path);
    session_open(&first, counter);
    recipe(&first, path, most, often);
    session_open(&second, counter);
    recipe(&second, path, 100, often);
    cr_expect_eq(first.steps + second.steps, all, "killed after %d: %d + %d steps", most,
                 first.steps, second.steps);
    cr_expect_eq(ak_hash(second.ctx, "*"), ak_hash(whole.ctx, "*"), "killed after %d", most);
    ak_close(first.ctx);
    cr_expect_eq(ak_close(second.ctx), AK_OK);
    cr_expect_eq(ak_close(whole.ctx), AK_OK);
    remove_folder(dir);
}

Test(recipes, a_resumed_run_repeats_no_epoch)
{
    for (int most = 0; most <= 2 * EPOCHS; most++) {
        const int lost = most < 2 * EPOCHS ? most % 2 : 0;  /* steps since the last checkpoint */
        expect_resumed(by_the_loader, false, false, most, 2 * EPOCHS + lost);
        expect_resumed(by_a_counter, true, false, most, 2 * EPOCHS + lost);
        expect_resumed(by_the_loader, false, true, most, 2 * EPOCHS);
    }
}

/* With the hook off an error ends the recipe; it does not go round for ever. */
Test(recipes, an_error_ends_the_run, .timeout = 30)
{
    char dir[64];
    const char *path = path_in(new_folder(dir), "run.ckpt");
    session s;
    session_open(&s, true);
    s.loader = NULL;
    ak_fail(s.ctx, AK_ERR_VALUE, "the loader could not be opened");
    by_the_loader(&s, path, 100, false);
    cr_expect_eq(s.steps, 0);
    by_a_counter(&s, path, 100, false);
    cr_expect_eq(s.steps, 0);
    cr_expect_eq(ak_close(s.ctx), AK_ERR_VALUE);
    remove_folder(dir);
}

/* ---- akin/checkpoint.h, docs/MEMORY.md: what a checkpoint holds ------------------------------ */

Test(recipes, checkpoints_hold_buffers_not_private_state)
{
    char dir[64];
    const char *path = path_in(new_folder(dir), "run.ckpt");
    ak_ctx *ctx = quiet();
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(2), 0), *queue = ak_buffer(ctx, "q", AK_SHAPE(2));
    ak_tensor *own = ak_state(ctx, AK_SHAPE(2));
    ak_tensor *const all[] = { w, queue, own };
    for (int i = 0; i < 3; i++)
        ak_fill(all[i], 1 + i);
    cr_assert_eq(ak_checkpoint_save(ctx, path), AK_OK);
    for (int i = 0; i < 3; i++)
        ak_fill(all[i], 9);
    cr_assert_eq(ak_checkpoint_load(ctx, path), AK_OK);
    cr_expect_eq((double)w->data[1], 1);
    cr_expect_eq((double)queue->data[1], 2);
    cr_expect_eq((double)own->data[1], 9);
    ak_close(ctx);
    remove_folder(dir);
}

/* ---- akin/tensor.h: aliases belong to the step ----------------------------------------------- */

Test(recipes, aliases_of_parameters_belong_to_the_step)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *w = ak_param(ctx, "w", AK_SHAPE(3, 2), 0), *kept = NULL;
    for (int step = 0; step < 2; step++) {
        ak_tensor *part = ak_rows(w, 1, 1);
        ak_backward(ak_sum(part));
        for (int i = 0; i < 6; i++)
            cr_expect_eq((double)w->grad[i], (step + 1) * (i / 2 == 1));
        kept = part;
        cr_expect_eq(ak_step_end(ctx), AK_OK);
    }
    cr_expect(ak_is_poison(ak_sum(kept)));
    expect_error(ctx, AK_ERR_STALE, "", "ak_keep");
    ak_close(ctx);
}

/* ---- akin/losses.h: how many views ----------------------------------------------------------- */

Test(recipes, ntxent_takes_64_views)
{
    ak_ctx    *ctx = quiet();
    ak_tensor *z[65];
    for (int v = 0; v < 65; v++)
        z[v] = ak_randn(ctx, AK_SHAPE(3, 4));
    const ak_ntxent_options o = { 0 };
    const double list = ak_item(ak_loss_ntxent_list(z, 64, o));
    ak_tensor *all = ak_zeros(ctx, AK_SHAPE(65, 3, 4));
    for (int v = 0; v < 65; v++)
        memcpy(all->data + 12 * v, z[v]->data, 12 * sizeof(ak_real));
    ak_tensor *whole = ak_rows(all, 0, 64);
    cr_expect_eq(list, ak_item(ak_loss_ntxent_views(whole, o)));
    cr_expect_float_eq(list, ak_item(ak_loss_ntxent_views_composed(whole, o)), 1e-4);
    cr_expect(ak_is_poison(ak_loss_ntxent_list(z, 65, o)));
    expect_error(ctx, AK_ERR_SHAPE, "65 views", "64");
    cr_expect(ak_is_poison(ak_loss_ntxent_views(ak_zeros(ctx, AK_SHAPE(65, 3, 4)), o)));
    expect_error(ctx, AK_ERR_SHAPE, "[65,3,4]", "64");
    ak_close(ctx);
}
