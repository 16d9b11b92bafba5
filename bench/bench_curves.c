/* SPDX-License-Identifier: Apache-2.0 */
/* Does training with Winograd convolutions differ from training with plain sums? SimCLR with a
 * narrow ResNet-18, both ways from the same seeds.
 *
 *     bench_curves [SEEDS [STEPS]]        default 3 and 120; minutes
 *
 * Rounding differences grow from step to step, so the two runs of a seed part after a while as two
 * seeds do. What may not happen is that one way learns better: the means over the seeds have to
 * agree as means of so many seeds of one way would (t, Welch's, is printed for each line).
 * Fashion-MNIST where it is installed (or in AK_DATA), else drawn pictures. */
#include <akin/akin.h>

#include "bench/bench.h"

#include <math.h>

enum { MOST_SEEDS = 16, WINDOWS = 6, LINES = WINDOWS + 1, BATCH = 128 };

/* Mean loss of each window of steps, then the accuracy of kNN. */
typedef struct curve {
    double value[LINES];
} curve;

static ak_dataset *pictures(ak_ctx *ctx, bool training)
{
    char where[512];
    const bool real = getenv("AK_DATA") || ak_dataset_find("fashion-mnist", where, sizeof where);
    const int64_t items = training ? 20000 : 2000;
    ak_dataset *all = real ? ak_dataset_fashion_mnist(ctx, training ? "train" : "test")
        : ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, items);
    ak_dataset *some = ak_dataset_subset(all, 0, items);
    ak_dataset_normalize(some, (double[]){ 0.286 }, (double[]){ 0.353 });
    return some;
}

static double accuracy_of(ak_module *enc, ak_dataset *train, ak_dataset *test)
{
    ak_dataset *some = ak_dataset_subset(train, 0, 5000);
    return 100 * ak_eval_knn(enc, some, test, (ak_knn_options){ .k = 20 });
}

static curve train_once(uint64_t seed, bool exact, int steps)
{
    curve c = { { 0 } };
    ak_ctx *ctx = ak_open((ak_options){ .seed = seed, .exact_conv = exact, .quiet = true });
    if (!ctx)
        bench_die("out of memory");
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_dataset *train = pictures(ctx, true), *test = pictures(ctx, false);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){
        .batch = BATCH, .views = 2,
        .augment = (ak_augment[]){ ak_random_crop(0.3, 1), ak_random_flip(0.5),
                                   ak_color_jitter(0.4, 0.4, 0, 0, 0.8), { 0 } } });
    ak_module *enc = ak_resnet18(ctx, "encoder", (ak_resnet_options){ .channels = 1, .width = 32 });
    ak_module *head = ak_mlp(ctx, "projector", (int[]){ 256, 256, 64, 0 });
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){
        .lr = 1e-3, .weight_decay = 1e-4, .schedule = ak_cosine(steps / 10, steps) });
    const int length = steps / WINDOWS;
    int step = 0;
    while (step < steps) {
        for (ak_batch b; step < steps && ak_loader_next(pairs, &b); step++) {
            ak_loss_report r;
            ak_tensor *z1 = ak_forward(head, ak_forward(enc, b.view[0]));
            ak_tensor *z2 = ak_forward(head, ak_forward(enc, b.view[1]));
            ak_backward(ak_loss_ntxent(z1, z2, (ak_ntxent_options){ .tau = 0.2, .report = &r }));
            ak_optim_step(opt);
            ak_step_end(ctx);
            c.value[step / length] += r.loss / length;
        }
    }
    c.value[WINDOWS] = accuracy_of(enc, train, test);
    ak_close(ctx);
    return c;
}

/* Mean of a line over the seeds, and the variance of that mean. */
static double mean_of(const curve *c, int seeds, int line, double *variance)
{
    double mean = 0, squares = 0;
    for (int s = 0; s < seeds; s++)
        mean += c[s].value[line] / seeds;
    for (int s = 0; s < seeds; s++)
        squares += (c[s].value[line] - mean) * (c[s].value[line] - mean);
    *variance = squares / (seeds - 1) / seeds;
    return mean;
}

static void print_line(const curve *exact, const curve *fast, int seeds, int steps, int line)
{
    const int length = steps / WINDOWS;
    double ve, vf;
    const double e = mean_of(exact, seeds, line, &ve), f = mean_of(fast, seeds, line, &vf);
    char name[64] = "kNN accuracy, %";
    if (line < WINDOWS)
        (void)snprintf(name, sizeof name, "loss, steps %d to %d", line * length + 1,
                       (line + 1) * length);
    printf("%-24s %8.4f +- %.4f   %8.4f +- %.4f   %+9.4f   %5.2f\n", name, e, sqrt(seeds * ve), f,
           sqrt(seeds * vf), f - e, (f - e) / sqrt(ve + vf + 1e-30));
}

/* A whole number in [least, most]. */
static int number_of(const char *text, int least, int most)
{
    char *end;
    const long n = strtol(text, &end, 10);
    if (!*text || *end || n < least || n > most) {
        fprintf(stderr, "usage: bench_curves [SEEDS [STEPS]], SEEDS 2 to %d, STEPS %d to 100000\n",
                MOST_SEEDS, WINDOWS);
        exit(2);
    }
    return (int)n;
}

int main(int argc, char **argv)
{
    static curve exact[MOST_SEEDS], fast[MOST_SEEDS];
    const int seeds = argc > 1 ? number_of(argv[1], 2, MOST_SEEDS) : 3;
    const int wanted = argc > 2 ? number_of(argv[2], WINDOWS, 100000) : 120;
    const int steps = wanted / WINDOWS * WINDOWS;
    unsetenv("AK_CONV");                    /* they would decide for both ways */
    unsetenv("AK_SEED");
    for (int s = 0; s < seeds; s++) {
        exact[s] = train_once((uint64_t)s + 1, true, steps);
        fast[s] = train_once((uint64_t)s + 1, false, steps);
        fprintf(stderr, "seed %d: last loss %.4f and %.4f, accuracy %.2f and %.2f\n", s + 1,
                exact[s].value[WINDOWS - 1], fast[s].value[WINDOWS - 1], exact[s].value[WINDOWS],
                fast[s].value[WINDOWS]);
    }
    printf("ResNet-18 of width 32, 28 px, %d x 2 a step, %d seeds: mean +- deviation of a seed\n"
           "%-24s %-20s   %-20s   %9s   %5s\n",
           BATCH, seeds, "", "plain sums", "Winograd", "differ", "t");
    for (int line = 0; line < LINES; line++)
        print_line(exact, fast, seeds, steps, line);
    return 0;
}
