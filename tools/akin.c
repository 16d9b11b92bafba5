/* SPDX-License-Identifier: Apache-2.0 */
/* akin - what is in the library, and is it right?
 *
 *   akin info               version, instruction set, threads
 *   akin info FILE          arrays of a safetensors, npz or npy file, or of a checkpoint
 *   akin info NAME          parts of a module, their results, parameters, FLOPs, bytes
 *   akin convert IN OUT     arrays from file to file
 *   akin data [NAME]        data sets that are prepared; one: counts, fields, splits, a sheet
 *   akin report FOLDER      a run or a study as one HTML page
 *   akin ops [--markdown]   every op: operands, formula; the Markdown form is docs/OPS.md
 *   akin losses             every loss: formula, source, options
 *   akin kernels            every kernel and the instruction set whose version is in use
 *   akin augmentations      every augmentation of pictures
 *   akin metrics            every measure of an embedding
 *   akin check NAME...      gradients of ops and losses against finite differences, all samples
 *
 * `check` needs double precision to be worth something: built in float, this program starts the
 * program akin64 (the same source on the double library) that stands beside it. */
#define _POSIX_C_SOURCE 200809L
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TOLERANCE 1e-6

int library_info(ak_ctx *ctx)
{
    char where[512];
    const ak_memory memory = ak_memory_use(ctx);
    printf("akin %s (%d-bit numbers)\n", ak_version(), AK_REAL_BITS);
    printf("instruction set   %s   (AK_CPU=ref|avx2|avx512|amx sets an upper bound)\n",
           ak_cpu_name());
    printf("threads           %d   (OMP_NUM_THREADS)\n", ak_threads());
    printf("convolutions      %s   (AK_CONV=fast|exact: with Winograd's algorithm or without)\n",
           ak_exact_conv(ctx) ? "exact" : "fast");
    printf("seed              %llu   (AK_SEED)\n", (unsigned long long)ak_seed(ctx));
    printf("Fashion-MNIST     %s\n", ak_dataset_find("fashion-mnist", where, sizeof where)
                                         ? where : "not found (AK_DATA, dataset-fashion-mnist)");
    printf("libraries         zlib, jansson\n");
    printf("held by a context %zu bytes\n", memory.context_bytes + memory.step_reserved);
    return 0;
}

/* ---- ops ------------------------------------------------------------------------------------- */

static int sample_count(const ak_sample *s)
{
    int n = 0;
    while (s && !(s[n].flags & AK_SAMPLE_END))
        n++;
    return n;
}

static const char *operands(const ak_op *op, char *buf, size_t size)
{
    if (op->flags & AK_OP_VARIADIC)
        snprintf(buf, size, "n");
    else if (op->flags & AK_OP_OPTIONAL_IN)
        snprintf(buf, size, "%d-%d", op->required ? op->required : 1, op->n_in);
    else
        snprintf(buf, size, "%d", op->n_in);
    return buf;
}

static void markdown_text(const char *text)
{
    for (; text && *text; text++) {
        if (strchr("|*_<\\", *text))
            putchar('\\');
        putchar(*text == '\n' ? ' ' : *text);
    }
}

static int ops_markdown(void)
{
    printf("# Ops\n\nWritten by `akin ops --markdown`; do not edit. How each is called: "
           "`include/akin/ops.h`.\n\n"
           "| op | operands | index arrays | formula | gradient | samples |\n"
           "|---|---|---|---|---|---|\n");
    for (int i = 0; ak_op_at(i); i++) {
        const ak_op *op = ak_op_at(i);
        char n[24];
        printf("| %s | %s | ", op->name, operands(op, n, sizeof n));
        markdown_text(op->indices);
        printf(" | ");
        markdown_text(op->formula);
        printf(" | %s | %d |\n", op->backward ? "yes" : "no", sample_count(op->samples));
    }
    return 0;
}

static int ops(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    if (argc > 0 && strcmp(argv[0], "--markdown") == 0)
        return ops_markdown();
    for (int i = 0; ak_op_at(i); i++) {
        const ak_op *op = ak_op_at(i);
        char n[24];
        printf("%-24s %-4s %-12s %s\n", op->name, operands(op, n, sizeof n),
               op->backward ? "" : "no gradient", op->formula);
    }
    return 0;
}

/* ---- other lists ----------------------------------------------------------------------------- */

static int losses(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argc;
    (void)argv;
    for (int i = 0; ak_loss_at(i); i++) {
        const ak_loss_info *l = ak_loss_at(i);
        printf("%s%s - %s\n    %s\n    chance: %s\n    source: %s\n", i ? "\n" : "", l->name,
               l->title, l->formula, l->chance, l->source);
        for (const char *line = l->options; line && *line;) {
            const size_t n = strcspn(line, "\n");
            printf("      .%.*s\n", (int)n, line);
            line += n + (line[n] == '\n');
        }
    }
    return 0;
}

static int kernels(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argc;
    (void)argv;
    const char *name, *isa;
    for (int i = 0; (name = ak_kernel_at(i, &isa)); i++)
        printf("%-24s %s\n", name, isa);
    return 0;
}

static int augmentations(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argc;
    (void)argv;
    for (int i = 0; ak_augment_at(i); i++) {
        const ak_augment_kind *a = ak_augment_at(i);
        printf("%-18s %s\n%-18s options: %s\n", a->name, a->formula, "", a->options);
    }
    return 0;
}

static int metrics(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    (void)argc;
    (void)argv;
    for (int i = 0; ak_metric_at(i); i++) {
        const ak_metric_info *m = ak_metric_at(i);
        printf("%-14s %s\n%-14s %s; %s\n", m->name, m->text, "", m->function, m->source);
    }
    return 0;
}

/* ---- check ----------------------------------------------------------------------------------- */

#if AK_REAL_BITS == 64

/* What a closure needs to run a sample of a loss. */
typedef struct loss_sample { const ak_loss_info *loss; const ak_sample *sample; } loss_sample;

static ak_tensor *run_loss(ak_tensor *const *in, int n, void *user)
{
    const loss_sample *s = user;
    return s->loss->run(in, n, s->sample);
}

static ak_status check_loss(ak_ctx *ctx, const ak_loss_info *loss, const ak_sample *sample,
                            uint64_t seed, ak_gradcheck *result)
{
    ak_tensor *in[AK_MAX_IN] = { 0 };
    const int n = sample->n_in;
    ak_sample_draw(ctx, sample, n, seed, in);
    loss_sample s = { loss, sample };
    return ak_gradcheck_fn(ctx, run_loss, &s, in, n, result);
}

/* All samples of an op or a loss; the number that are wrong. */
static int check_one(ak_ctx *ctx, const char *name)
{
    const ak_op *op = ak_op_find(name);
    const ak_loss_info *loss = op ? NULL : ak_loss_find(name);
    if (!op && !loss) {
        fprintf(stderr, "akin: nothing is called '%s'; see akin ops, akin losses\n", name);
        return 1;
    }
    if (op && !op->backward) {
        printf("%s: has no gradient\n", name);
        return 0;
    }
    const ak_sample *samples = op ? op->samples : loss->samples;
    int wrong = 0;
    for (int i = 0; i < sample_count(samples); i++) {
        ak_gradcheck r = { 0 };
        const ak_status status = op ? ak_gradcheck_op(ctx, op, &samples[i], (uint64_t)i + 1, &r)
                                    : check_loss(ctx, loss, &samples[i], (uint64_t)i + 1, &r);
        const bool good = status == AK_OK && r.worst <= TOLERANCE;
        printf("%s: sample %d: worst relative error %.1e%s\n", name, i, r.worst,
               good ? "" : "  WRONG");
        if (!good)
            printf("    operand %d, element %lld: backward %.10g, differences %.10g; %s\n",
                   r.operand, (long long)r.element, r.analytic, r.numeric, ak_status_name(status));
        wrong += !good;
    }
    return wrong;
}

static int check(ak_ctx *ctx, int argc, char **argv)
{
    int wrong = argc < 1;
    if (argc < 1)
        fprintf(stderr, "usage: akin check NAME...\n");
    for (int i = 0; i < argc; i++)
        wrong += check_one(ctx, argv[i]);
    return wrong ? 1 : 0;
}

#else

/* Become akin64, which stands in the folder of this program. */
static int check(ak_ctx *ctx, int argc, char **argv)
{
    (void)ctx;
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 8);
    if (n <= 0)
        return 1;
    path[n] = '\0';
    char *slash = strrchr(path, '/');
    snprintf(slash ? slash + 1 : path, 7, "akin64");
    char **args = argv - 2;             /* "akin", "check", then the names */
    args[argc + 2] = NULL;
    execv(path, args);
    fprintf(stderr, "akin: %s can not be started; it is built beside this program\n", path);
    return 1;
}

#endif

static const struct command { const char *name; command_fn *run; const char *text; } commands[] = {
    { "info", info_command, "version, instruction set, threads; FILE: its arrays; NAME: a module" },
    { "convert", convert_command, "IN OUT: arrays between safetensors, npz and checkpoints" },
    { "data", data_command, "NAME: counts, fields, splits of a data set, and a sheet of samples" },
    { "report", report_command, "FOLDER: a run or a study as one HTML page" },
    { "ops", ops, "every op; --markdown writes docs/OPS.md" },
    { "losses", losses, "every loss: formula, source, options" },
    { "kernels", kernels, "every kernel and the instruction set in use" },
    { "augmentations", augmentations, "every augmentation of pictures" },
    { "metrics", metrics, "every measure of an embedding" },
    { "check", check, "NAME...: gradients against finite differences, in double" },
};

int main(int argc, char **argv)
{
    const int n = (int)(sizeof commands / sizeof *commands);
    for (int i = 0; i < n && argc > 1; i++) {
        if (strcmp(argv[1], commands[i].name) != 0)
            continue;
        ak_ctx *ctx = ak_open((ak_options){ .quiet = true });
        if (!ctx)
            return 1;
        ak_on_error(ctx, ak_error_exit, NULL);
        int result = commands[i].run(ctx, argc - 2, argv + 2);
        if (fflush(stdout) != 0 || ferror(stdout)) {
            fprintf(stderr, "akin: standard output can not be written to\n");
            result = 1;
        }
        return ak_close(ctx) == AK_OK ? result : 1;
    }
    const bool asked = argc > 1 && strcmp(argv[1], "--help") == 0;
    FILE *out = asked ? stdout : stderr;
    fprintf(out, "usage: akin COMMAND\n");
    for (int i = 0; i < n; i++)
        fprintf(out, "  %-14s %s\n", commands[i].name, commands[i].text);
    return asked ? 0 : 2;
}
