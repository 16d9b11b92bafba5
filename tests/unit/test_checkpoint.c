/* SPDX-License-Identifier: Apache-2.0 */
/* Weights and checkpoints: equal bits after a round trip and after a resume; damaged, foreign and
 * unfitting files are refused with nothing changed; running out of memory leaves no file behind. */
#include <criterion/criterion.h>

#include <akin/autograd.h>
#include <akin/checkpoint.h>
#include <akin/nn.h>
#include <akin/optim.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a folder for each test ------------------------------------------------------------------ */

static char folder[64], file[128];

static void make_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/akin-checkpoint-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/run.ckpt", folder);
}

/* Entries of the folder, which are removed if `clear`. */
static int folder_entries(bool clear)
{
    DIR *d = opendir(folder);
    cr_assert_not_null(d);
    int n = 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL; ) {
        if (e->d_name[0] == '.')
            continue;
        n++;
        char path[400];
        snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (clear)
            unlink(path);
    }
    closedir(d);
    return n;
}

static void remove_folder(void)
{
    folder_entries(true);
    rmdir(folder);
}

static size_t read_bytes(unsigned char **bytes)
{
    FILE *f = fopen(file, "rb");
    cr_assert_not_null(f);
    fseek(f, 0, SEEK_END);
    const size_t n = (size_t)ftell(f);
    rewind(f);
    *bytes = malloc(n);
    cr_assert_eq(fread(*bytes, 1, n, f), n);
    fclose(f);
    return n;
}

static void write_bytes(const unsigned char *bytes, size_t n)
{
    FILE *f = fopen(file, "wb");
    cr_assert_not_null(f);
    cr_assert_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* ---- a small run with every kind of state ---------------------------------------------------- */

typedef struct run {
    ak_ctx    *ctx;
    ak_module *enc, *head;
    ak_optim  *adam, *sgd;
    int64_t    step;
    double     mean;
} run;

static void start(run *r, uint64_t seed, bool values)
{
    *r = (run){ 0 };
    r->ctx = ak_open((ak_options){ .seed = seed, .quiet = true });
    cr_assert_not_null(r->ctx);
    ak_on_error(r->ctx, NULL, NULL);
    r->enc = ak_convnet(r->ctx, "encoder", (ak_convnet_options){ .channels = { 1, 3, 4 } });
    r->head = ak_mlp_with(r->ctx, "head", (int[]){ 4, 6, 2, 0 }, (ak_mlp_options){
        .dropout = 0.3 });
    r->adam = ak_adamw(r->ctx, "encoder/*", (ak_adamw_options){
        .lr = 0.01, .schedule = ak_cosine(3, 20) });
    r->sgd = ak_sgd(r->ctx, "head/*", (ak_sgd_options){ .lr = 0.05, .momentum = 0.9 });
    if (values) {
        ak_checkpoint_value(r->ctx, "step", &r->step);
        ak_checkpoint_number(r->ctx, "mean", &r->mean);
    }
    cr_assert_eq(ak_error(r->ctx), AK_OK, "%s", ak_error_message(r->ctx));
}

/* Pictures are drawn from the context's random streams, dropout as well: the counter matters. */
static void train(run *r, int steps)
{
    for (int i = 0; i < steps; i++, r->step++) {
        ak_tensor *x = ak_randn(r->ctx, AK_SHAPE(6, 8, 8, 1));
        ak_tensor *y = ak_forward(r->head, ak_forward(r->enc, x));
        ak_tensor *loss = ak_mean(ak_square(ak_add_scalar(y, -1)));
        cr_assert_eq(ak_backward(loss), AK_OK, "%s", ak_error_message(r->ctx));
        r->mean = 0.9 * r->mean + 0.1 * ak_item(loss);
        cr_assert_eq(ak_optim_step(r->adam), AK_OK);
        cr_assert_eq(ak_optim_step(r->sgd), AK_OK);
        cr_assert_eq(ak_step_end(r->ctx), AK_OK);
    }
}

Test(checkpoint, resumed_run_ends_with_the_same_bits, .init = make_folder, .fini = remove_folder)
{
    run whole, first, second;
    start(&whole, 5, true);
    train(&whole, 10);
    start(&first, 5, true);
    train(&first, 5);
    cr_assert_eq(ak_checkpoint_save(first.ctx, file), AK_OK);
    cr_assert_neq(ak_hash(first.ctx, "*"), ak_hash(whole.ctx, "*"));
    ak_close(first.ctx);

    start(&second, 5, true);
    cr_assert(ak_checkpoint_exists(file));
    cr_assert_eq(ak_checkpoint_load(second.ctx, file), AK_OK, "%s", ak_error_message(second.ctx));
    cr_assert_eq(second.step, 5);
    train(&second, 5);
    cr_expect_eq(second.step, 10);
    cr_expect_eq(second.mean, whole.mean, "%.17g, not %.17g", second.mean, whole.mean);
    cr_expect_eq(ak_optim_steps(second.adam), 10);
    const ak_tensor *t;
    for (int64_t i = 0; (t = ak_param_at(whole.ctx, i)) != NULL; i++)
        cr_expect_eq(memcmp(t->data, ak_param_at(second.ctx, i)->data,
                            (size_t)t->size * sizeof *t->data), 0, "%s differs", t->name);
    ak_close(second.ctx);
    ak_close(whole.ctx);
}

Test(checkpoint, saving_twice_gives_the_same_file, .init = make_folder, .fini = remove_folder)
{
    run a, b;
    start(&a, 5, true);
    train(&a, 4);
    ak_checkpoint_save(a.ctx, file);
    unsigned char *one, *two;
    const size_t n = read_bytes(&one);
    start(&b, 5, true);
    cr_assert_eq(ak_checkpoint_load(b.ctx, file), AK_OK);
    ak_checkpoint_save(b.ctx, file);
    cr_assert_eq(read_bytes(&two), n);
    cr_expect_eq(memcmp(one, two, n), 0);
    cr_expect_eq(folder_entries(false), 1, "no temporary file is left");
    free(one);
    free(two);
    ak_close(a.ctx);
    ak_close(b.ctx);
}

/* Load must fail with `status`, say `words`, and leave everything as it was. */
static void expect_refused(run *r, bool whole, ak_status status, const char *words)
{
    unsigned char *before_state, *after_state;
    char kept[128];
    snprintf(kept, sizeof kept, "%s", file);
    const uint32_t before = ak_hash(r->ctx, "*");
    const int64_t step = r->step, steps = ak_optim_steps(r->adam);

    snprintf(file, sizeof file, "%s/before", folder);
    cr_assert_eq(ak_checkpoint_save(r->ctx, file), AK_OK);
    const size_t n = read_bytes(&before_state);
    const ak_status got = whole ? ak_checkpoint_load(r->ctx, kept) : ak_load(r->ctx, kept);
    cr_expect_eq(got, status, "status %d, not %d: %s", (int)got, (int)status,
                 ak_error_message(r->ctx));
    cr_expect_not_null(strstr(ak_error_message(r->ctx), words), "\"%s\" is not in: %s", words,
                       ak_error_message(r->ctx));
    ak_step_end(r->ctx);
    cr_expect_eq(ak_hash(r->ctx, "*"), before, "%s: weights changed", words);
    cr_expect_eq(r->step, step);
    cr_expect_eq(ak_optim_steps(r->adam), steps);
    cr_assert_eq(ak_checkpoint_save(r->ctx, file), AK_OK);
    cr_assert_eq(read_bytes(&after_state), n);
    cr_expect_eq(memcmp(before_state, after_state, n), 0, "%s: some state changed", words);
    free(before_state);
    free(after_state);
    unlink(file);
    snprintf(file, sizeof file, "%s", kept);
}

Test(checkpoint, damaged_files_are_refused, .init = make_folder, .fini = remove_folder)
{
    run a, b;
    start(&a, 5, true);
    train(&a, 3);
    cr_assert_eq(ak_checkpoint_save(a.ctx, file), AK_OK);
    unsigned char *bytes;
    const size_t n = read_bytes(&bytes);
    start(&b, 5, true);
    train(&b, 1);

    const size_t cuts[] = { 0, 7, 8, 39, 40, 100, n / 2, n - 1 };
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        write_bytes(bytes, cuts[i]);
        expect_refused(&b, true, AK_ERR_FORMAT, "run.ckpt");
    }
    for (size_t i = 0; i < 60; i++) {
        const size_t at = i < 40 ? i : (size_t)ak_random_below(1, 2, i, n);
        bytes[at] ^= (unsigned char)(1u << i % 8);
        write_bytes(bytes, n);
        expect_refused(&b, true, AK_ERR_FORMAT, "run.ckpt");
        bytes[at] ^= (unsigned char)(1u << i % 8);
    }
    bytes[8] = 2;
    write_bytes(bytes, n);
    expect_refused(&b, true, AK_ERR_FORMAT, "version 2");
    bytes[8] = 1;
    write_bytes(bytes, n);
    cr_expect_eq(ak_checkpoint_load(b.ctx, file), AK_OK, "%s", ak_error_message(b.ctx));
    free(bytes);
    ak_close(a.ctx);
    ak_close(b.ctx);
}

Test(checkpoint, unfitting_programs_are_refused, .init = make_folder, .fini = remove_folder)
{
    run a, b;
    start(&a, 5, true);
    train(&a, 2);
    cr_assert_eq(ak_checkpoint_save(a.ctx, file), AK_OK);
    start(&b, 6, true);
    expect_refused(&b, true, AK_ERR_VALUE, "seed 5");
    ak_close(b.ctx);
    start(&b, 5, false);
    expect_refused(&b, true, AK_ERR_NOT_FOUND, "value/step");
    ak_close(b.ctx);
    start(&b, 5, true);
    int64_t more = 0;
    ak_checkpoint_value(b.ctx, "more", &more);
    expect_refused(&b, true, AK_ERR_NOT_FOUND, "value/more");
    ak_close(b.ctx);
    start(&b, 5, true);
    ak_param(b.ctx, "another", AK_SHAPE(2), 0);
    expect_refused(&b, true, AK_ERR_NOT_FOUND, "another");
    expect_refused(&b, false, AK_ERR_NOT_FOUND, "another");
    ak_close(b.ctx);

    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_convnet(ctx, "encoder", (ak_convnet_options){ .channels = { 1, 3, 5 } });
    const uint32_t before = ak_hash(ctx, "*");
    cr_expect_eq(ak_load_some(ctx, file, "encoder/*"), AK_ERR_SHAPE);
    cr_expect_not_null(strstr(ak_error_message(ctx), "encoder/conv2/weight is [4,3,3,3] in the file"
                              " and [5,3,3,3] in this program"), "%s", ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_load(ctx, file), AK_ERR_NOT_FOUND);
    cr_expect_not_null(strstr(ak_error_message(ctx), "head/fc1/weight"), "%s",
                       ak_error_message(ctx));
    ak_step_end(ctx);
    cr_expect_eq(ak_load(ctx, "/no/such/file"), AK_ERR_NOT_FOUND);
    ak_step_end(ctx);
    cr_expect_not(ak_checkpoint_exists("/no/such/file"));
    cr_expect_eq(ak_hash(ctx, "*"), before);
    ak_close(ctx);
    ak_close(a.ctx);
}

Test(checkpoint, other_optimiser_is_refused, .init = make_folder, .fini = remove_folder)
{
    ak_ctx *ctx[2];
    for (int i = 0; i < 2; i++) {
        ctx[i] = ak_open((ak_options){ .seed = 5, .quiet = true });
        ak_on_error(ctx[i], NULL, NULL);
        ak_mlp(ctx[i], "m", (int[]){ 3, 2, 0 });
        ak_sgd(ctx[i], "*", (ak_sgd_options){ .momentum = i ? 0.9 : 0 });
    }
    cr_assert_eq(ak_checkpoint_save(ctx[0], file), AK_OK);
    cr_expect_eq(ak_checkpoint_load(ctx[1], file), AK_ERR_FORMAT);
    cr_expect_not_null(strstr(ak_error_message(ctx[1]), "moments"), "%s",
                       ak_error_message(ctx[1]));
    ak_close(ctx[0]);
    ak_close(ctx[1]);
}

Test(checkpoint, weights_alone, .init = make_folder, .fini = remove_folder)
{
    run a, b;
    start(&a, 5, true);
    train(&a, 2);
    cr_assert_eq(ak_save(a.ctx, file), AK_OK);
    start(&b, 9, true);
    expect_refused(&b, true, AK_ERR_FORMAT, "a file of weights");
    cr_assert_eq(ak_load(b.ctx, file), AK_OK, "%s", ak_error_message(b.ctx));
    cr_expect_eq(ak_hash(b.ctx, "*"), ak_hash(a.ctx, "*"), "another seed is fine for weights");
    ak_close(b.ctx);

    cr_assert_eq(ak_checkpoint_save(a.ctx, file), AK_OK);
    start(&b, 9, false);
    cr_assert_eq(ak_load_some(b.ctx, file, "encoder/*"), AK_OK, "%s", ak_error_message(b.ctx));
    cr_expect_eq(ak_hash(b.ctx, "encoder/*"), ak_hash(a.ctx, "encoder/*"));
    cr_expect_neq(ak_hash(b.ctx, "head/*"), ak_hash(a.ctx, "head/*"));
    cr_expect_eq(ak_load_some(b.ctx, file, "nothing/*"), AK_ERR_NOT_FOUND);
    ak_step_end(b.ctx);
    cr_expect_eq(ak_save_some(b.ctx, file, "nothing/*"), AK_ERR_NOT_FOUND);
    ak_step_end(b.ctx);
    cr_assert_eq(ak_save_some(b.ctx, file, "encoder/*"), AK_OK);
    cr_expect_eq(ak_load(b.ctx, file), AK_ERR_NOT_FOUND, "the head is missing in it");
    ak_close(b.ctx);
    ak_close(a.ctx);
}

Test(checkpoint, nothing_is_written_while_an_error_is_pending, .init = make_folder,
     .fini = remove_folder)
{
    run a;
    start(&a, 5, true);
    ak_fail(a.ctx, AK_ERR_NUMBER, "broken step");
    cr_expect_eq(ak_checkpoint_save(a.ctx, file), AK_ERR_NUMBER);
    cr_expect_eq(ak_save(a.ctx, file), AK_ERR_NUMBER);
    cr_expect_eq(folder_entries(false), 0);
    ak_step_end(a.ctx);
    cr_expect_eq(ak_checkpoint_save(a.ctx, "/no/such/folder/file"), AK_ERR_IO);
    ak_close(a.ctx);
}

Test(checkpoint, running_out_of_memory_leaves_the_old_file, .init = make_folder,
     .fini = remove_folder)
{
    run a, b;
    start(&a, 5, true);
    train(&a, 1);
    cr_assert_eq(ak_checkpoint_save(a.ctx, file), AK_OK);
    unsigned char *old, *now;
    const size_t n = read_bytes(&old);
    train(&a, 1);
    bool saved = false;
    for (uint64_t k = 1; !saved; k++) {
        cr_assert_lt(k, 100, "saving needs a bounded number of allocations");
        ak_fail_alloc_after(k, true);
        const ak_status status = ak_checkpoint_save(a.ctx, file);
        ak_fail_alloc_after(0, false);
        saved = status == AK_OK;
        ak_step_end(a.ctx);
        cr_assert_eq(folder_entries(false), 1, "allocation %d left a file behind", (int)k);
        if (saved)
            break;
        cr_assert_eq(status, AK_ERR_MEMORY);
        cr_assert_eq(read_bytes(&now), n);
        cr_assert_eq(memcmp(old, now, n), 0, "allocation %d: the old file changed", (int)k);
        free(now);
    }
    start(&b, 5, true);
    const uint32_t before = ak_hash(b.ctx, "*");
    bool loaded = false;
    for (uint64_t k = 1; !loaded; k++) {
        cr_assert_lt(k, 100);
        ak_fail_alloc_after(k, true);
        const ak_status status = ak_checkpoint_load(b.ctx, file);
        ak_fail_alloc_after(0, false);
        loaded = status == AK_OK;
        ak_step_end(b.ctx);
        if (loaded)
            break;
        cr_assert_eq(status, AK_ERR_MEMORY);
        cr_assert_eq(ak_hash(b.ctx, "*"), before);
        cr_assert_eq(b.step, 0);
    }
    cr_expect_eq(ak_hash(b.ctx, "*"), ak_hash(a.ctx, "*"));
    free(old);
    ak_close(a.ctx);
    ak_close(b.ctx);
}

Test(checkpoint, values_have_names)
{
    run a;
    start(&a, 5, true);
    int64_t x = 0;
    cr_expect_eq(ak_checkpoint_value(a.ctx, "step", &x), AK_ERR_VALUE);
    ak_step_end(a.ctx);
    cr_expect_eq(ak_checkpoint_value(a.ctx, "", &x), AK_ERR_VALUE);
    ak_step_end(a.ctx);
    double y = 0;
    cr_expect_eq(ak_checkpoint_number(a.ctx, "step", &y), AK_OK, "kinds are kept apart");
    ak_close(a.ctx);
}

/* ---- what is saved is loaded ----------------------------------------------------------------- */

Test(checkpoint, long_names, .init = make_folder, .fini = remove_folder)
{
    char names[3][3000];
    const size_t lengths[] = { 1023, 1024, 2999 };
    ak_ctx *ctx[2];
    for (int i = 0; i < 2; i++) {
        ctx[i] = ak_open((ak_options){ .seed = 5, .quiet = true });
        ak_on_error(ctx[i], NULL, NULL);
        for (int k = 0; k < 3; k++) {
            memset(names[k], 'n', lengths[k]);
            names[k][lengths[k]] = 0;
            ak_fill(ak_param(ctx[i], names[k], AK_SHAPE(2), 0), i ? 0 : k + 1);
        }
    }
    cr_assert_eq(ak_checkpoint_save(ctx[0], file), AK_OK);
    cr_expect_eq(ak_checkpoint_load(ctx[1], file), AK_OK, "%s", ak_error_message(ctx[1]));
    cr_expect_eq(ak_hash(ctx[1], "*"), ak_hash(ctx[0], "*"));
    cr_assert_eq(ak_save(ctx[0], file), AK_OK);
    cr_expect_eq(ak_load(ctx[1], file), AK_OK, "%s", ak_error_message(ctx[1]));
    ak_close(ctx[0]);
    ak_close(ctx[1]);
}

Test(checkpoint, state_without_parameters, .init = make_folder, .fini = remove_folder)
{
    int64_t epoch = 7;
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_checkpoint_value(ctx, "epoch", &epoch);
    cr_assert_eq(ak_checkpoint_save(ctx, file), AK_OK);
    epoch = 0;
    cr_expect_eq(ak_checkpoint_load(ctx, file), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(epoch, 7);
    cr_expect_eq(ak_save(ctx, file), AK_ERR_NOT_FOUND, "there are no weights");
    ak_step_end(ctx);
    ak_close(ctx);
}

/* Parameters and states have their own names. */
Test(checkpoint, parameter_called_like_a_state, .init = make_folder, .fini = remove_folder)
{
    int64_t epoch = 7;
    ak_ctx *ctx = ak_open((ak_options){ .seed = 5, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    ak_fill(ak_param(ctx, "context", AK_SHAPE(2), 0), 1.5);
    ak_tensor *t = ak_param(ctx, "value/epoch", AK_SHAPE(1), 0);
    ak_fill(t, 2.5);
    ak_checkpoint_value(ctx, "epoch", &epoch);
    cr_assert_eq(ak_checkpoint_save(ctx, file), AK_OK);
    epoch = 0;
    ak_fill(t, 0);
    cr_expect_eq(ak_checkpoint_load(ctx, file), AK_OK, "%s", ak_error_message(ctx));
    cr_expect(epoch == 7 && ak_item(t) == 2.5);
    ak_close(ctx);
}
