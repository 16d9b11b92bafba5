/* SPDX-License-Identifier: Apache-2.0 */
/* A program that forks after contexts, loaders and kernels have started threads: nothing waits for
 * ever in the child, it gets the same bits, and the parent goes on. */
#include <akin/akin.h>

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef _OPENMP
#include <omp.h>
#endif

typedef struct scene {
    ak_ctx    *ctx;
    ak_loader *threaded, *plain;        /* with two threads, and without any */
    uint32_t   want;                    /* hash of a training step in the parent */
} scene;

static ak_ctx *quiet(int threads)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1, .threads = threads, .quiet = true });
    cr_assert_not_null(ctx);
    ak_on_error(ctx, NULL, NULL);
    return ctx;
}

/* Products, a convolution, a loss and their gradients, large enough for threads. */
static uint32_t work(ak_ctx *ctx, const char *name)
{
    ak_module *net = ak_convnet(ctx, name, (ak_convnet_options){ .channels = { 1, 16, 32 },
                                                                 .pool = 4 });
    ak_dataset *ds = ak_dataset_drawn(ctx, 1, 0, 128);
    ak_tensor  *z = ak_forward(net, ak_dataset_batch(ds, 0, 128));
    ak_tensor  *s = ak_matmul_nt(z, z);
    ak_backward(ak_add(ak_mean(ak_square(s)), ak_loss_supcon(z, ak_dataset_labels(ds, 0, 128),
                                                             (ak_supcon_options){ 0 })));
    double sum = 0;
    for (int64_t i = 0; ak_param_at(ctx, i); i++)
        for (int64_t k = 0; ak_param_at(ctx, i)->grad && k < ak_param_at(ctx, i)->size; k++)
            sum += (double)ak_param_at(ctx, i)->grad[k] * (double)(k % 7 + 1);
    uint32_t hash[2];
    memcpy(hash, &sum, sizeof hash);
    return ak_step_end(ctx) == AK_OK ? hash[0] ^ hash[1] : 0;
}

static scene scene_open(void)
{
    scene s = { .ctx = quiet(2) };
    ak_ctx *first = quiet(2);
    s.want = work(first, "net");        /* OpenMP's threads have started */
    ak_close(first);
    cr_assert_neq(s.want, 0);
    ak_param(s.ctx, "w", AK_SHAPE(1), 0);      /* something to save */
    ak_dataset *ds = ak_dataset_drawn(s.ctx, 3, 0, 400);
    s.threaded = ak_loader_open(ds, (ak_loader_options){ .batch = 16, .threads = 2 });
    s.plain = ak_loader_open(ds, (ak_loader_options){ .batch = 16, .threads = AK_NONE });
    ak_batch b;
    cr_assert(ak_loader_next(s.threaded, &b) && ak_loader_next(s.plain, &b));
    ak_step_end(s.ctx);
    return s;
}

/* Run fn in a child; what it returns, or -1 if it crashes or takes longer than 20 seconds. */
static int in_child(int (*fn)(scene *), scene *s)
{
    const pid_t child = fork();
    cr_assert_geq(child, 0);
    if (child == 0)
        _exit(fn(s));
    for (int i = 0; i < 400; i++) {
        int status;
        if (waitpid(child, &status, WNOHANG) == child)
            return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return -1;
}

/* The error is there, of the right kind, and names both processes. */
static bool told(scene *s, const char *who)
{
    char parent[32], own[32];
    snprintf(parent, sizeof parent, "process %ld", (long)getppid());
    snprintf(own, sizeof own, "process %ld", (long)getpid());
    const char *m = ak_error_message(s->ctx);
    const bool  fine = ak_error(s->ctx) == AK_ERR_STATE && strstr(m, who) && strstr(m, parent) &&
                      strstr(m, own);
    if (!fine)
        fprintf(stderr, "%s: %s\n", who, m);
    ak_step_end(s->ctx);
    return fine;
}

static int loader_calls(scene *s)
{
    ak_batch b;
    if (ak_loader_next(s->threaded, &b) || !told(s, "loader_next"))
        return 1;
    if (ak_loader_endless(s->threaded, &b) || !told(s, "loader_endless"))
        return 2;
    if (ak_loader_seek(s->threaded, (ak_loader_state){ 0 }) != AK_ERR_STATE ||
        !told(s, "loader_seek"))
        return 3;
    ak_loader_close(s->threaded);
    ak_loader_close(s->threaded);
    return ak_loader_next(s->plain, &b) && b.size == 16 && b.number == 1 ? 0 : 4;
}

static int only_close(scene *s)
{
    return ak_close(s->ctx) == AK_OK ? 0 : 1;
}

static int kernels(scene *s)
{
#ifdef _OPENMP
    omp_set_num_threads(2);             /* as a program may do that knows nothing of this */
#endif
    if (ak_threads() != 1)
        return 1;
    return work(s->ctx, "net") == s->want ? 0 : 2;
}

static int own_context(scene *s)
{
    ak_ctx *ctx = quiet(2);             /* warns: one thread */
    ak_batch b;
    if (work(ctx, "net") != s->want)
        return 1;
    ak_loader *l = ak_loader_open(ak_dataset_drawn(ctx, 3, 0, 400),
                                  (ak_loader_options){ .batch = 16, .threads = 2 });
    for (int i = 0; i < 30; i++, ak_step_end(ctx))
        if (!ak_loader_endless(l, &b))
            return 2;
    return ak_close(ctx) == AK_OK && ak_close(s->ctx) == AK_OK ? 0 : 3;
}

static int grandchild(scene *s)
{
    return in_child(kernels, s) == 0 && in_child(only_close, s) == 0 ? 0 : 1;
}

static int checkpoint(scene *s)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/akin-fork-%ld", (long)getpid());
    if (ak_checkpoint_save(s->ctx, path))           /* a copy may be saved .. */
        return 1;
    const ak_status status = ak_checkpoint_load(s->ctx, path);
    unlink(path);
    return status == AK_ERR_STATE && told(s, "checkpoint") ? 0 : 2;     /* .. but not go on */
}

static void expect_in_child(int (*fn)(scene *))
{
    scene s = scene_open();
    cr_expect_eq(in_child(fn, &s), 0);
    /* The parent knows nothing of it. */
    ak_batch b;
    for (int i = 0; i < 30; i++, ak_step_end(s.ctx))
        cr_assert(ak_loader_endless(s.threaded, &b));
    cr_expect_eq(work(s.ctx, "net"), s.want);
    cr_expect_eq(ak_close(s.ctx), AK_OK);
}

Test(fork, loader_calls_are_refused, .timeout = 60) { expect_in_child(loader_calls); }
Test(fork, close_only_frees, .timeout = 60) { expect_in_child(only_close); }
Test(fork, kernels_go_on_with_the_same_bits, .timeout = 60) { expect_in_child(kernels); }
Test(fork, a_context_of_its_own, .timeout = 60) { expect_in_child(own_context); }
Test(fork, a_child_of_the_child, .timeout = 60) { expect_in_child(grandchild); }
Test(fork, checkpoint_of_a_lost_loader, .timeout = 60) { expect_in_child(checkpoint); }
