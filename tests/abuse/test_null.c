/* SPDX-License-Identifier: Apache-2.0 */
/* Every pointer argument of every public function in turn: NULL, and where it is a tensor or an
 * index array also what a failed call returned, one of an earlier step, one of another context.
 * Each call runs in a process of its own; it must end without a signal and with an error that names
 * the function, unless the header says that NULL is fine. make_null_calls.py writes the calls. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>

#include <akin/akin.h>
#include <akin/op.h>

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abuse.h"

static struct world {
    ak_ctx *ctx, *other;
    ak_tensor *x, *list[3], *out[AK_MAX_IN], *number, *vector, *cube, *picture;
    ak_tensor *bright, *volume, *filter1, *filter2, *kept[1], *running_mean, *running_var, *gates;
    ak_index *ids, *found, *lengths, *mask, *bags, *ones, *one;
    ak_module *net, *conv, *norm, *parts[2], *bert, *masked, *gpt, *convnet1d, *tabular;
    ak_module *t5, *clip, *clip_text, *qformer;
    ak_decoding *seen;
    ak_mel *mel;
    ak_module_kind kind;
    ak_momentum *momentum;
    ak_dataset *set, *sets[2];
    ak_field fields[3];
    ak_join joins[3];
    ak_item_fn fill;
    ak_item_test test;
    ak_loader *loader;
    ak_batch batch;
    ak_features *features;
    ak_eval_result results[2];
    ak_retrieval retrievals[2];
    ak_roc_point points[16];
    ak_optim *optim;
    ak_queue *queue;
    ak_bank *bank;
    ak_sample_state *averages;
    ak_npz *npz;
    ak_safetensors *safetensors;
    ak_module *lora, *adapted, *merged;
    const char *layers[2];
    const ak_array *array, *pixels;
    const ak_table *table;
    ak_run *run;
    ak_progress *progress;
    ak_value values[2];
    ak_average average;
    const ak_op *op;
    ak_call *call, *index_call;
    ak_gradcheck check;
    ak_augment augment[2];
    ak_real reals[16];
    double doubles[16];
    float floats[16];
    int ints[4];
    int32_t numbers32[16];
    int64_t numbers64[16];
    uint8_t bytes[16];
    bool flag;
    char text[200];
    const char *names[2], *string;
    FILE *file;
    ak_forward_fn forward;
    ak_grad_fn closure;
    ak_study study;
    ak_study_run *study_run;
    ak_study_score_fn score;
    char *arguments[2];
} w;

typedef enum argument_kind { OTHER, TENSOR, INDEX } argument_kind;
typedef struct null_call {
    const char *function, *argument;
    void (*call)(void *bad);
    argument_kind kind;
    bool legal;         /* NULL is fine */
    bool can_differ;    /* another argument belongs to a context too */
} null_call;

/* Formats are handed in like everything else. */
#pragma GCC diagnostic ignored "-Wformat-security"
#include "null_calls.h"

static ak_tensor *forward_same(ak_module *m, ak_tensor *x)
{
    (void)m;
    return ak_scale(x, 2);
}

static ak_tensor *closure_square(ak_tensor *const *in, int n, void *user)
{
    (void)n, (void)user;
    return ak_square(in[0]);
}

static bool fill_nothing(ak_item_data *item, void *user)
{
    (void)item, (void)user;
    return true;
}

static bool test_all(const ak_dataset *ds, int64_t item, void *user)
{
    (void)ds, (void)item, (void)user;
    return true;
}

static double score_one(ak_study_run *run, ak_ctx *ctx, int i, void *user)
{
    (void)run, (void)ctx, (void)i, (void)user;
    return 1;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "w");
    cr_assert(f != NULL);
    fputs(text, f);
    fclose(f);
}

/* What belongs to the running step. */
static void build_step(void)
{
    w.x = ak_require_grad(ak_randn(w.ctx, AK_SHAPE(2, 2)));
    w.number = ak_full(w.ctx, AK_SHAPE(1), 1);
    w.vector = ak_full(w.ctx, AK_SHAPE(2), 1);
    w.running_mean = ak_full(w.ctx, AK_SHAPE(2), 0);
    w.running_var = ak_full(w.ctx, AK_SHAPE(2), 1);
    w.cube = ak_randn(w.ctx, AK_SHAPE(2, 2, 2));
    w.volume = ak_randn(w.ctx, AK_SHAPE(1, 2, 2, 2));
    w.lengths = ak_index_from(w.ctx, AK_SHAPE(2), (int32_t[]){ 1, 2 });
    w.mask = ak_index_from(w.ctx, AK_SHAPE(2, 2), (int32_t[]){ 1, 1, 1, 1 });
    w.picture = ak_randn(w.ctx, AK_SHAPE(1, 2, 2, 2));
    w.bright = ak_full(w.ctx, AK_SHAPE(2, 2), 0.5);
    w.one = ak_index_from(w.ctx, AK_SHAPE(1), (int32_t[]){ 0 });
    w.filter1 = ak_randn(w.ctx, AK_SHAPE(2, 1, 2));
    w.filter2 = ak_randn(w.ctx, AK_SHAPE(2, 1, 1, 2));
    for (int i = 0; i < 3; i++)
        w.list[i] = w.x;
    for (int i = 0; i < AK_MAX_IN; i++)
        w.out[i] = w.x;
    ak_dataset_get(w.set, 0, 2, &w.batch);
    w.ids = ak_index_from(w.ctx, AK_SHAPE(2), (int32_t[]){ 0, 1 });
    w.bags = ak_index_from(w.ctx, AK_SHAPE(1, 2), (int32_t[]){ 0, 1 });
    w.ones = ak_index_from(w.ctx, AK_SHAPE(2), (int32_t[]){ 1, 1 });
    w.gates = ak_randn(w.ctx, AK_SHAPE(6, 2));
    w.call = ak_square(w.x)->maker;
    w.index_call = ak_pick(w.x, w.ids)->maker;
}

/* Usable things of every kind, in the folder that the process stands in. */
static void build_world(void)
{
    w.other = abuse_open(2);
    w.ctx = w.study_run ? ak_study_ctx(w.study_run) : abuse_open(1);
    w.op = ak_op_find("square");
    w.net = ak_nn_linear(w.ctx, "net", 2, 2, (ak_linear_options){ 0 });
    w.parts[0] = w.net;
    w.conv = ak_nn_conv2d(w.ctx, "conv", 2, 2, 1, (ak_conv_layer_options){ 0 });
    w.norm = ak_nn_batch_norm(w.ctx, "norm", 2, (ak_batch_norm_options){ 0 });
    w.convnet1d = ak_convnet1d(w.ctx, "series", (ak_convnet1d_options){ .channels = { 2, 2 } });
    w.tabular = ak_tabular(w.ctx, "rows", (ak_tabular_options){ .numbers = 2,
                                                                .hidden = (int[]){ 2, 0 } });
    w.mel = ak_mel_make(w.ctx, (ak_mel_options){ .rate = 16, .n_fft = 4, .hop = 4, .mels = 1,
                                                 .scale = AK_MEL_HTK, .norm = AK_MEL_PEAK });
    w.kind = (ak_module_kind){ .name = "same", .forward = forward_same };
    ak_module_save_npz(w.net, "net.npz");
    const ak_bert_options bert = { .vocab = 2, .width = 2, .layers = 1, .heads = 1,
                                   .pooler = true };
    w.bert = ak_bert(w.ctx, "bert", bert);
    w.masked = ak_bert_masked(w.ctx, "masked", bert);
    w.gpt = ak_gpt(w.ctx, "gpt", (ak_gpt_options){ .vocab = 2, .width = 2, .layers = 1,
                                                   .heads = 1, .positions = 8 });
    w.t5 = ak_t5(w.ctx, "t5", (ak_t5_options){ .vocab = 2, .width = 2, .layers = 1, .heads = 1 });
    w.clip = ak_clip(w.ctx, "clip", (ak_clip_options){
        .text = { .vocab = 2, .width = 2, .layers = 1, .heads = 1 }, .projection = 2,
        .picture = { .image = 2, .patch = 2, .channels = 2, .width = 2, .layers = 1,
                     .heads = 1 } });
    w.clip_text = ak_module_child(w.clip, 0);
    w.qformer = ak_qformer(w.ctx, "qformer", (ak_qformer_options){
        .width = 2, .layers = 1, .heads = 1, .queries = 2, .vocab = 2 });
    w.seen = ak_decoding_open(w.ctx, 2, 2);
    ak_module_save_safetensors(w.net, "net.safetensors", (ak_weight_map){ 0 });
    ak_save(w.ctx, "net.ckpt");
    w.lora = ak_nn_linear(w.ctx, "lora", 2, 2, (ak_linear_options){ 0 });
    w.adapted = ak_nn_linear(w.ctx, "adapted", 2, 2, (ak_linear_options){ 0 });
    w.merged = ak_nn_linear(w.ctx, "merged", 2, 2, (ak_linear_options){ 0 });
    ak_lora_add(w.adapted, "*", (ak_lora_options){ 0 });
    ak_lora_add(w.merged, "*", (ak_lora_options){ 0 });
    ak_lora_merge(w.merged);
    ak_lora_save(w.adapted, "adapter.safetensors");
    w.layers[0] = "*";
    w.momentum = ak_momentum_encoder(w.net, "teacher", (ak_momentum_options){ 0 });
    w.optim = ak_adamw(w.ctx, "*", (ak_adamw_options){ 0 });
    w.set = ak_dataset_tensor(w.ctx, ak_randn(w.ctx, AK_SHAPE(4, 2)), (int32_t[]){ 0, 1, 0, 1 });
    w.fields[0] = (ak_field){ "x", AK_FIELD_VECTOR,
                              .tensor = ak_keep(ak_randn(w.ctx, AK_SHAPE(4, 2))) };
    w.fields[1] = (ak_field){ "y", AK_FIELD_VECTOR, .tensor = w.fields[0].tensor };
    w.joins[0] = (ak_join){ w.set, "label" };
    ak_dataset *beside = ak_dataset_subset(w.set, 0, 2);
    ak_dataset_rename(beside, "vector", "other");
    w.joins[1] = (ak_join){ beside, "label" };
    w.fill = fill_nothing;
    w.test = test_all;
    w.loader = ak_loader_open(w.set, (ak_loader_options){ .batch = 2, .threads = AK_NONE });
    w.features = ak_features_open(NULL, w.set, (ak_features_options){ 0 });
    w.queue = ak_queue_make(w.ctx, "queue", 4, 2, (ak_queue_options){ .random_start = true });
    w.bank = ak_bank_make(w.ctx, "bank", 4, 2, (ak_bank_options){ .random_start = true,
                                                                  .labels = true });
    w.averages = ak_sample_state_make(w.ctx, "averages", 4, (ak_sample_state_options){ 0 });
    ak_tensor *saved = ak_full(w.ctx, AK_SHAPE(2, 2), 1);
    ak_npz_write(w.ctx, "a.npz", (const char *const[]){ "name" }, &saved, 1);
    w.npz = ak_npz_open(w.ctx, "a.npz");
    ak_safetensors_write(w.ctx, "a.safetensors", (const char *const[]){ "name" }, &saved, 1, NULL);
    w.safetensors = ak_safetensors_open(w.ctx, "a.safetensors");
    w.array = ak_npz_find(w.npz, "name");
    static const uint8_t  bytes[4] = { 1, 2, 3, 4 };
    static const ak_array pixels = { "pixels", AK_TYPE_U8, { 2, { 2, 2 } }, 4, bytes };
    w.pixels = &pixels;
    ak_picture_write_png(w.ctx, "a.png", w.pixels);
    write_file("a.csv", "p,q\n1,2\n3,4\n");
    w.table = ak_table_read(w.ctx, "a.csv", (ak_table_options){ 0 });
    w.run = ak_run_open(w.ctx, "run", (ak_run_options){ .parent = "runs" });
    w.file = fopen("/dev/null", "w");
    w.progress = ak_progress_open(w.ctx, (ak_progress_options){ .epochs = 1, .steps = 1,
                                                                .file = w.file });
    w.names[0] = "one";
    w.names[1] = "two";
    w.ints[0] = 2;
    w.ints[1] = 2;
    for (int i = 0; i < 16; i++)
        w.doubles[i] = 1;
    w.kept[0] = ak_require_grad(ak_keep(ak_full(w.ctx, AK_SHAPE(2), 1)));
    w.forward = forward_same;
    w.closure = closure_square;
    w.score = score_one;
    cr_assert_eq(ak_step_end(w.ctx), AK_OK, "the world has no faults of its own: %s",
                 ak_error_message(w.ctx));
    build_step();
}

/* ---- one call in a process of its own -------------------------------------------------------- */

typedef struct outcome { ak_status status; char message[400]; } outcome;

static void *bad_argument(const null_call *c, const char *what)
{
    ak_ctx *ctx = strcmp(what, "foreign") == 0 ? w.other : w.ctx;
    void *bad = NULL;
    if (strcmp(what, "NULL") == 0)
        return NULL;
    if (strcmp(what, "poison") == 0)
        bad = c->kind == TENSOR ? (void *)ak_zeros(ctx, AK_SHAPE(-1))
                                : (void *)ak_index_from(ctx, AK_SHAPE(-1), w.numbers32);
    else
        bad = c->kind == TENSOR ? (void *)ak_randn(ctx, AK_SHAPE(2, 2))
                                : (void *)ak_index_from(ctx, AK_SHAPE(2), w.numbers32);
    if (strcmp(what, "foreign") != 0) {
        ak_step_end(ctx);
        build_step();
    }
    return bad;
}

/* In a folder of its own: makes the call and sends what it left behind. Does not return. */
static void make_call(const null_call *c, const char *what, int fd, const char *folder)
{
    build_world();
    c->call(bad_argument(c, what));
    outcome o = { 0 };
    /* ak_close(ctx) has no context left that could be asked. */
    const bool closed = strcmp(c->function, "ak_close") == 0 && strcmp(what, "NULL") != 0;
    ak_ctx *const asked[2] = { closed ? w.other : w.ctx, w.other };
    for (int i = 0; i < 2 && o.status == AK_OK; i++) {
        o.status = ak_error(asked[i]);
        if (o.status != AK_OK)
            snprintf(o.message, sizeof o.message, "%s", ak_error_message(asked[i]));
    }
    const bool sent = write(fd, &o, sizeof o) == (ssize_t)sizeof o;
    char remove[100];
    snprintf(remove, sizeof remove, "rm -rf %s", folder);
    _exit(chdir("/") || system(remove) || !sent ? 4 : 0);
}

/* A run of a study is there inside of an arm only: the call is made from there. */
static struct in_study { const null_call *c; const char *what, *folder; int fd; } now;

static void arm(ak_study_run *run, void *user)
{
    const struct in_study *n = user;
    w.study_run = run;
    make_call(n->c, n->what, n->fd, n->folder);
}

static void child(const null_call *c, const char *what, int fd)
{
    alarm(20);
    char folder[] = "/tmp/akin-null-XXXXXX";
    if (!mkdtemp(folder) || chdir(folder))
        _exit(3);
    if (strncmp(c->function, "ak_study_", 9) != 0)
        make_call(c, what, fd, folder);
    now = (struct in_study){ c, what, folder, fd };
    w.arguments[0] = w.text;
    w.study = (ak_study){ .name = "null", .parent = "studies", .progress = fopen("/dev/null", "w"),
        .measures = (ak_study_measure[]){ { .name = "name" }, { 0 } },
        .arms = (ak_study_arm[]){ { "arm", arm, &now, NULL }, { 0 } } };
    ak_study_main(1, w.arguments, &w.study);
    _exit(5);           /* the arm was not called */
}

/* What the call left behind; false after a signal. */
static bool run_call(const null_call *c, const char *what, outcome *o)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    fflush(NULL);
    const pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        close(ends[0]);
        child(c, what, ends[1]);
    }
    close(ends[1]);
    const bool got = read(ends[0], o, sizeof *o) == (ssize_t)sizeof *o;
    close(ends[0]);
    int status = 0;
    waitpid(pid, &status, 0);
    cr_expect(got && WIFEXITED(status) && WEXITSTATUS(status) == 0,
              "%s(%s = %s): ended with %s %d", c->function, c->argument, what,
              WIFSIGNALED(status) ? "signal" : "code",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return got;
}

static bool names_function(const null_call *c, const char *message)
{
    /* "add: operand b .." is ak_add's, and the loss ntxent ak_loss_ntxent's. */
    const char *name = c->function + strlen("ak_");
    name += strncmp(name, "loss_", 5) == 0 ? 5 : 0;
    /* A variant of an op is told by the op's name. */
    static const char *const endings[] = { "_keepdim", "_with" };
    char stem[64];
    snprintf(stem, sizeof stem, "%s", name);
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        const size_t n = strlen(stem), m = strlen(endings[i]);
        if (n > m && strcmp(stem + n - m, endings[i]) == 0)
            stem[n - m] = 0;
    }
    return strstr(message, stem) != NULL;
}

static void expect_error(const null_call *c, const char *what, ak_status want, const char *word)
{
    outcome o;
    if (!run_call(c, what, &o))
        return;
    cr_expect_eq(o.status, want, "%s(%s = %s): %s: %s", c->function, c->argument, what,
                 ak_status_name(o.status), o.message);
    cr_expect(strstr(o.message, word) != NULL, "%s(%s = %s): no \"%s\" in: %s", c->function,
              c->argument, what, word, o.message);
    cr_expect(names_function(c, o.message), "%s(%s = %s): not named in: %s", c->function,
              c->argument, what, o.message);
}

Test(null, every_pointer_argument_in_turn)
{
    int legal = 0;
    for (int i = 0; i < NULL_CALLS; i++) {
        const null_call *c = &null_calls[i];
        outcome o;
        if (!c->legal) {
            expect_error(c, "NULL", AK_ERR_VALUE, "missing (NULL)");
            continue;
        }
        legal++;
        if (run_call(c, "NULL", &o))
            cr_expect_eq(o.status, AK_OK, "%s(%s = NULL) is fine by its header: %s", c->function,
                         c->argument, o.message);
    }
    printf("null: %d calls of %d functions, %d of them with a NULL that is fine\n", NULL_CALLS,
           NULL_FUNCTIONS, legal);
    cr_expect(NULL_CALLS > 400 && NULL_FUNCTIONS > 250, "the headers are read");
}

Test(null, every_tensor_poison_stale_foreign)
{
    int calls = 0;
    for (int i = 0; i < NULL_CALLS; i++) {
        const null_call *c = &null_calls[i];
        if (c->kind == OTHER || strcmp(c->function, "ak_is_poison") == 0)
            continue;
        expect_error(c, "poison", AK_ERR_STATE, c->kind == TENSOR ? "poison" : "failed");
        expect_error(c, "stale", AK_ERR_STALE, "earlier step");
        calls += 2;
        if (c->can_differ) {
            expect_error(c, "foreign", AK_ERR_CONTEXT, "another context");
            calls++;
        }
    }
    printf("null: %d calls with poison, stale and foreign tensors and index arrays\n", calls);
    cr_expect(calls > 200);
}

/* ---- no context to complain in --------------------------------------------------------------- */

Test(null, without_a_context_it_is_said_on_stderr, .init = cr_redirect_stderr)
{
    ak_tensor *y = ak_square(NULL);
    cr_expect(ak_is_poison(y));
    ak_seed(NULL);
    fflush(stderr);
    char text[400] = "";
    cr_assert(fread(text, 1, sizeof text - 1, cr_get_redirected_stderr()) > 0);
    cr_expect(strstr(text, "square: operand x is missing (NULL)") != NULL, "%s", text);
    cr_expect(strstr(text, "ak_seed: ctx is missing (NULL)") != NULL, "%s", text);
    cr_expect(strstr(text, "no open context") != NULL, "%s", text);

    /* What came of it is an error as soon as there is a context. */
    ak_ctx *ctx = abuse_open(1);
    cr_expect(ak_is_poison(ak_add(y, ak_zeros(ctx, AK_SHAPE(2)))));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_STATE);
    cr_expect(ak_is_poison(ak_relu(y)));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_STATE);
    ak_close(ctx);
}

/* Poison alone is silent while the error that made it is pending, wherever that is. */
Test(null, poison_of_a_pending_error_stays_silent)
{
    ak_ctx *a = abuse_open(1), *b = abuse_open(2);
    ak_tensor *poison = ak_zeros(a, AK_SHAPE(-1));
    cr_expect(ak_is_poison(ak_relu(ak_square(poison))));
    cr_expect_eq(ak_error(b), AK_OK, "%s", ak_error_message(b));
    cr_expect(ak_is_poison(ak_add(poison, ak_zeros(b, AK_SHAPE(2)))));
    cr_expect_eq(ak_step_end(b), AK_ERR_STATE, "but not in a step of another context");
    cr_expect_eq(ak_step_end(a), AK_ERR_SHAPE);
    cr_expect(ak_is_poison(ak_relu(poison)));
    cr_expect_eq(ak_step_end(a), AK_ERR_STATE, "a's step was ended last: it is told");
    ak_close(a);
    ak_close(b);
}
