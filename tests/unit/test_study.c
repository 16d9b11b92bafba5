/* SPDX-License-Identifier: Apache-2.0 */
/* Studies: killed and gone on with, the table has the same bits; equal arms are not told apart;
 * what is damaged, locked, full or not finite is said. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <akin/akin.h>

enum { ITEMS = 300, STEPS = 8 };

static char folder[64], other[64];
static FILE *nowhere;
static int   runs_made;

static void set_up(void)
{
    /* in memory where that is possible: every run is flushed to the disk */
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder, sizeof folder, "%s/akin-study-XXXXXX", base);
    snprintf(other, sizeof other, "%s/akin-study-XXXXXX", base);
    cr_assert(mkdtemp(folder) && mkdtemp(other));
    nowhere = fopen("/dev/null", "w");
    cr_assert_not_null(nowhere);
    unsetenv("AK_SEED");
}

static void tear_down(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s' '%s'", folder, other);
    cr_assert_eq(system(command), 0);
    fclose(nowhere);
}

TestSuite(study, .init = set_up, .fini = tear_down);

/* The whole of a file; "" if there is none. */
static char *slurp(const char *parent, const char *file)
{
    static char text[4][200000];
    static int  turn;
    char        path[256], *to = text[turn++ % 4];
    snprintf(path, sizeof path, "%s/%s", parent, file);
    FILE *f = fopen(path, "r");
    to[f ? fread(to, 1, sizeof text[0] - 1, f) : 0] = '\0';
    if (f)
        fclose(f);
    return to;
}

#define MAIN(study, ...) main_of(study, (char *[]){ "test", __VA_ARGS__ },                         \
                                 (int)(sizeof((char *[]){ "test", __VA_ARGS__ }) / sizeof(char *)))
static int main_of(ak_study study, char **argv, int argc)
{
    study.out = study.progress = nowhere;
    if (!study.parent)
        study.parent = folder;
    return ak_study_main(argc, argv, &study);
}

/* ---- killed and gone on with ----------------------------------------------------------------- */

static int kill_in = -1;        /* steps from now; -1 = never */
static int steps_made;

static ak_dataset *pictures(ak_ctx *ctx, bool training)
{
    char where[512];
    if (!ak_dataset_find("fashion-mnist", where, sizeof where))
        return ak_dataset_drawn(ctx, 1, training ? 0 : 1000000, training ? 512 : ITEMS);
    return ak_dataset_subset(ak_dataset_fashion_mnist(ctx, training ? "train" : "test"), 0,
                             training ? 512 : ITEMS);
}

/* A classifier; user points to its learning rate. */
static void classifier(ak_study_run *run, void *user)
{
    ak_ctx     *ctx = ak_study_ctx(run);
    const char *file = ak_study_path(run, "last.ckpt");
    ak_dataset *test = pictures(ctx, false);
    ak_loader  *loader = ak_loader_open(pictures(ctx, true), (ak_loader_options){ .batch = 64 });
    ak_module  *net = ak_convnet(ctx, "net", (ak_convnet_options){ .channels = { 1, 8 },
                                                                  .pool = 4 });
    ak_module *fc = ak_nn_linear(ctx, "fc", 128, 10, (ak_linear_options){ 0 });
    ak_optim  *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = *(const double *)user });
    int64_t    step = 0;
    if (ak_checkpoint_exists(file)) {
        ak_checkpoint_load(ctx, file);
        step = ak_loader_tell(loader).batch;
    }
    for (ak_batch b; ak_study_progress(run, step, STEPS) && ak_loader_next(loader, &b); step++) {
        ak_backward(ak_cross_entropy(ak_forward(fc, ak_forward(net, b.view[0])), b.label,
                                     (ak_cross_entropy_options){ 0 }));
        ak_optim_step(opt);
        ak_step_end(ctx);
        ak_checkpoint_save(ctx, file);
        steps_made++;
        if (kill_in > 0 && --kill_in == 0)
            raise(SIGKILL);
    }
    ak_train_mode(ctx, false);
    ak_no_grad_begin(ctx);
    const ak_index *want = ak_dataset_labels(test, 0, ITEMS);
    const ak_index *got = ak_argmax(ak_forward(fc, ak_forward(net, ak_dataset_batch(test, 0,
                                                                                    ITEMS))), 1);
    double right[ITEMS];
    for (int i = 0; i < ITEMS && !ak_error(ctx); i++)
        right[i] = got->data[i] == want->data[i];
    ak_no_grad_end(ctx);
    ak_study_result(run, "accuracy", right, ITEMS, "of test pictures");
}

static double fast = 1e-2, slow = 1e-5;
static const ak_study_measure accuracy[] = { { "accuracy", "%", 100, false }, { 0 } };
static const ak_study_claim better[] = {
    { "better", "a is better than b", "accuracy", "a", "b", 0, AK_STUDY_AUTO }, { 0 }
};
static const ak_study_arm nets[] = { { "a", classifier, &fast, "lr 1e-2" },
                                     { "b", classifier, &slow, "lr 1e-5" }, { 0 } };
static const ak_study two_nets = { .name = "nets", .measures = accuracy, .arms = nets,
                                   .claims = better };

/* In a child process: its exit code, or minus the signal. *steps: optimiser steps it made. */
static int in_child(ak_study study, int kill_after, int *steps)
{
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    const pid_t child = fork();
    if (child == 0) {
        kill_in = kill_after;
        const int code = MAIN(study, "--quick", "--resume");
        _exit(write(ends[1], &steps_made, sizeof steps_made) == sizeof steps_made ? code : 99);
    }
    int status;
    close(ends[1]);
    cr_assert_eq(waitpid(child, &status, 0), child);
    *steps = 0;
    if (WIFEXITED(status))
        cr_assert_eq(read(ends[0], steps, sizeof *steps), (ssize_t)sizeof *steps);
    close(ends[0]);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

Test(study, killed_and_resumed_to_the_same_table)
{
    ak_study study = two_nets;
    int      steps;
    cr_assert_eq(in_child(study, -1, &steps), 0);
    cr_assert_eq(steps, 4 * STEPS);
    char *whole = slurp(folder, "nets-quick/table.txt");
    cr_assert(strstr(whole, "claim better: "), "%s", whole);
    study.parent = other;
    for (int i = 0; i < 3; i++)         /* in the middle of runs 1 and 2, in the last step of 2 */
        cr_assert_eq(in_child(study, 5, &steps), -SIGKILL);
    cr_assert_eq(in_child(study, -1, &steps), 0);
    cr_expect_eq(steps, 4 * STEPS - 15, "%d steps: what was there was made again", steps);
    cr_expect_str_eq(slurp(other, "nets-quick/table.txt"), whole);
    cr_assert_eq(in_child(study, -1, &steps), 0);
    cr_expect_eq(steps, 0);             /* all is there */
    cr_expect_str_eq(slurp(other, "nets-quick/table.txt"), whole);
}

/* ---- what is written of a run ---------------------------------------------------------------- */

/* The first file of that name in a run's folder; "" if there is none. */
static char *of_run(const char *study, const char *run, const char *file)
{
    char pattern[256], name[256] = "";
    glob_t found;
    snprintf(pattern, sizeof pattern, "%s/%s/%s*/%s", folder, study, run, file);
    if (glob(pattern, 0, NULL, &found) == 0)
        snprintf(name, sizeof name, "%s", found.gl_pathv[0] + strlen(folder) + 1);
    globfree(&found);
    return slurp(folder, name);
}

Test(study, every_run_says_what_it_was_made_with)
{
    ak_study study = two_nets;
    int      steps;
    study.settings = "batch 64";
    cr_assert_eq(in_child(study, 5, &steps), -SIGKILL);     /* these arms log nothing */
    const char *text = of_run("nets-quick", "a-1", "settings.json");
    cr_expect(strstr(text, "\"arm\": \"a\""), "killed: %s", text);
    cr_expect(strstr(text, "\"arm_settings\": \"lr 1e-2\""), "killed: %s", text);
    cr_expect(strstr(text, "\"study_settings\": \"batch 64\""), "killed: %s", text);
    cr_assert_eq(in_child(study, -1, &steps), 0);
    cr_expect_str_eq(of_run("nets-quick", "a-1", "settings.json"), text, "the first stays");
    cr_expect_str_neq(of_run("nets-quick", "a-1", "settings-resumed.json"), "");
    cr_expect(strstr(of_run("nets-quick", "b-2", "settings.json"), "\"arm\": \"b\""));
}

/* Does any line of the text end with a blank? */
static bool loose_blanks(const char *text)
{
    return strstr(text, " \n") != NULL;
}

/* ---- equal arms ------------------------------------------------------------------------------ */

static int    repetition;
static double gain;

/* Right or wrong by the item's difficulty, the training's luck, and chance. */
static void simulated(ak_study_run *run, void *user)
{
    const int      arm = *(const int *)user;
    const uint64_t rep = (uint64_t)repetition, seed = (uint64_t)ak_study_seed(run);
    double         right[100];
    const double   luck = 0.05 * ak_random_normal(rep, 7 + (uint64_t)arm, seed);
    for (uint64_t i = 0; i < 100; i++) {
        const double hard = 0.3 * ak_random_uniform(rep, 3, i);
        right[i] = ak_random_uniform(rep, 100 * seed + 10 + (uint64_t)arm, i) <
                   0.6 + hard + luck + (arm == 0 ? gain : 0);
    }
    runs_made++;
    ak_study_result(run, "accuracy", right, 100, "simulated");
}

static int first = 0, second = 1;
static const ak_study_arm equal[] = { { "a", simulated, &first, NULL },
                                      { "b", simulated, &second, NULL }, { 0 } };
static const ak_study_claim both_ways[] = {
    { "crossed", "", "accuracy", "a", "b", 0, AK_STUDY_AUTO },
    { "seeds", "", "accuracy", "a", "b", 0, AK_STUDY_SEEDS }, { 0 }
};

Test(study, equal_arms_are_not_told_apart)
{
    int shown[2] = { 0 };
    for (repetition = 1; repetition <= 200; repetition++) {
        char name[32], file[64];
        snprintf(name, sizeof name, "null%d", repetition);
        snprintf(file, sizeof file, "%s/study.jsonl", name);
        cr_assert_lt(MAIN(((ak_study){ .name = name, .measures = accuracy, .arms = equal,
                                       .claims = both_ways }), "--seeds", "3"), 2);
        const char *text = slurp(folder, file);
        shown[0] += strstr(text, "\"name\":\"crossed\",\"text\":\"\",\"shown\":true") != NULL;
        shown[1] += strstr(text, "\"name\":\"seeds\",\"text\":\"\",\"shown\":true") != NULL;
    }
    cr_log_info("shown: %d and %d of 200", shown[0], shown[1]);
    cr_expect_leq(shown[0], 10, "crossed: %d of 200", shown[0]);
    cr_expect_leq(shown[1], 10, "seeds: %d of 200", shown[1]);
    gain = 0.3;         /* and a difference that is there is found */
    cr_expect_eq(MAIN(((ak_study){ .name = "power", .measures = accuracy, .arms = equal,
                                   .claims = both_ways }), "--seeds", "5"), AK_STUDY_SHOWN);
}

/* ---- accidents ------------------------------------------------------------------------------- */

static double score(ak_study_run *run, ak_ctx *ctx, int i, void *user);
static const ak_study small = { .name = "small", .measures = accuracy, .arms = equal, .seeds = 2 };

static int made_by(ak_study study)
{
    runs_made = 0;
    cr_assert_eq(MAIN(study, "--resume"), 0);
    return runs_made;
}

Test(study, what_is_there_is_not_made_again)
{
    ak_study study = small;
    cr_expect_eq(made_by(study), 4);
    cr_expect_eq(made_by(study), 0);
    study.settings = "other";
    cr_expect_eq(made_by(study), 4);
    study.settings = NULL;
    cr_expect_eq(made_by(study), 0, "results of the first settings are kept");
    setenv("AK_STUDY_TEST", "1", 1);
    cr_expect_eq(made_by(study), 4);
    unsetenv("AK_STUDY_TEST");
    study.seeds = 3;
    cr_expect_eq(made_by(study), 2);
}

Test(study, damage_is_told_and_made_again)
{
    char  path[128];
    cr_assert_eq(made_by(small), 4);
    char *text = slurp(folder, "small/study.jsonl");
    char  table[8192];
    snprintf(table, sizeof table, "%s", slurp(folder, "small/table.txt"));
    char *digit = strstr(strstr(text, "\"event\":\"result\""), "\"value\":0.");
    digit[10] = digit[10] == '1' ? '2' : '1';           /* valid JSON, but another number */
    snprintf(path, sizeof path, "%s/small/study.jsonl", folder);
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fputs("{\"event\":\"result\",\"arm\":", f);         /* and a line that was cut */
    fclose(f);
    cr_expect_eq(made_by(small), 1);
    cr_expect_str_eq(slurp(folder, "small/table.txt"), table);
    char command[256];
    snprintf(command, sizeof command, "truncate -s 50 %s/small/a-1-*/items.npz", folder);
    cr_assert_eq(system(command), 0);
    cr_expect_eq(made_by(small), 1);
    cr_expect_str_eq(slurp(folder, "small/table.txt"), table);
}

Test(study, one_process_a_folder)
{
    char path[128];
    cr_assert_eq(made_by(small), 4);
    snprintf(path, sizeof path, "%s/small/lock", folder);
    const int fd = open(path, O_RDWR);
    cr_assert(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    cr_expect_eq(MAIN(small, "--resume"), AK_STUDY_FAILED);
    close(fd);
    cr_expect_eq(made_by(small), 0);
}

static void not_finite(ak_study_run *run, void *user)
{
    double each[10] = { 0 };
    each[4] = *(double *)user;
    ak_study_result(run, "accuracy", each, 10, NULL);
}

static void of_no_protocol(ak_study_run *run, void *user)
{
    const double each[2] = { *(const double *)user, 0 };
    ak_study_result(run, "accuracy", each, 2, NULL);
}

/* Rows without a difference, measures without a protocol, claims without a text. */
Test(study, no_line_of_the_table_ends_with_blanks)
{
    double one = 1;
    const ak_study_arm   arms[] = { { "a", of_no_protocol, &one, NULL },
                                    { "b", of_no_protocol, &one, NULL }, { 0 } };
    const ak_study_claim claims[] = { { "none", NULL, "accuracy", "a", "b", 9, AK_STUDY_AUTO },
                                      { 0 } };
    const ak_study study = { .name = "plain", .measures = accuracy, .arms = arms,
                             .claims = claims, .seeds = 2 };
    cr_expect_eq(MAIN(study, "--arm", "a"), AK_STUDY_NOT_SHOWN);        /* no run of b is there */
    cr_expect(!loose_blanks(slurp(folder, "plain/table.txt")), "%s",
              slurp(folder, "plain/table.txt"));
    cr_expect_eq(MAIN(study, "--resume"), AK_STUDY_NOT_SHOWN);
    cr_expect(!loose_blanks(slurp(folder, "plain/table.txt")), "%s",
              slurp(folder, "plain/table.txt"));
    cr_assert(strstr(slurp(folder, "plain/table.txt"), "claim none: not shown"));
}

/* A run that fails says it too. */
static void fails(ak_study_run *run, void *user)
{
    ak_fail(ak_study_ctx(run), AK_ERR_VALUE, "%s", (const char *)user);
}

Test(study, a_failed_run_says_what_it_was_made_with)
{
    char why[] = "no such thing";
    const ak_study_arm arms[] = { { "a", fails, why, "of no use" }, { 0 } };
    const ak_study study = { .name = "fails", .measures = accuracy, .arms = arms, .seeds = 1 };
    cr_expect_eq(MAIN(study, "--resume"), AK_STUDY_FAILED);
    cr_expect(strstr(of_run("fails", "a-1", "settings.json"), "of no use"));
}

static void nothing(ak_study_run *run, void *user)
{
    if (ak_study_seed(run) < 0)
        *(int *)user = 0;
}

Test(study, failing_runs_show_nothing)
{
    double nan = (double)NAN;
    const ak_study_arm arms[] = { { "a", simulated, &first, NULL },
                                  { "b", not_finite, &nan, NULL }, { 0 } };
    ak_study study = { .name = "nan", .measures = accuracy, .arms = arms, .claims = better,
                       .seeds = 2 };
    gain = 0.3;
    cr_expect_eq(MAIN(study, "--quick"), AK_STUDY_FAILED);
    cr_expect(strstr(slurp(folder, "nan-quick/table.txt"), "claim better: not shown"));
    const ak_study_arm silent[] = { { "silent", nothing, NULL, NULL }, { 0 } };
    study.arms = silent;
    study.claims = NULL;
    cr_expect_eq(MAIN(study, "--quick"), AK_STUDY_FAILED);
}

Test(study, full_disk)
{
    cr_assert_eq(made_by(small), 4);
    char before[20000];
    snprintf(before, sizeof before, "%s", slurp(folder, "small/study.jsonl"));
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit limit, old;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){ 300, old.rlim_max };
    setrlimit(RLIMIT_FSIZE, &limit);
    cr_expect_eq(MAIN(small, "--seeds", "3"), AK_STUDY_FAILED);
    setrlimit(RLIMIT_FSIZE, &old);
    cr_expect_str_eq(slurp(folder, "small/study.jsonl"), before);
    cr_expect_eq(MAIN(small, "--seeds", "3"), AK_STUDY_SHOWN);
}

Test(study, command_line)
{
    cr_expect_eq(MAIN(small, "--seed", "2"), AK_STUDY_USAGE);
    cr_expect_eq(MAIN(small, "--seeds"), AK_STUDY_USAGE);
    cr_expect_eq(MAIN(small, "--seeds", "0"), AK_STUDY_USAGE);
    cr_expect_eq(MAIN(small, "--seeds", "2x"), AK_STUDY_USAGE);
    cr_expect_eq(MAIN(small, "--arm", "c"), AK_STUDY_USAGE);
    cr_expect_eq(MAIN(small, "extra"), AK_STUDY_USAGE);
    runs_made = 0;
    cr_expect_eq(MAIN(small, "--list"), 0);
    cr_expect_eq(runs_made, 0);
    cr_expect_eq(MAIN(small, "--arm", "b", "--seeds", "1"), 0);
    cr_expect_eq(runs_made, 1);
    setenv("AK_SEED", "3", 1);          /* every seed would be 3 */
    cr_expect_eq(MAIN(small, "--resume"), AK_STUDY_USAGE);
    unsetenv("AK_SEED");
}

Test(study, nothing_where_something_is_needed)
{
    ak_ctx *ctx = ak_open((ak_options){ .quiet = true });
    ak_on_error(ctx, NULL, NULL);
    cr_expect_eq(ak_study_main(0, NULL, &small), AK_STUDY_USAGE);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_expect_null(ak_study_ctx(NULL));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_expect_not(ak_study_progress(NULL, 0, 1));
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_expect_eq(ak_study_result(NULL, "a", (double[]){ 1 }, 1, NULL), AK_ERR_VALUE);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    cr_expect_eq(ak_study_choose(NULL, "a", (const char *[]){ "1" }, 1, "b", score, NULL), -1);
    cr_expect_eq(ak_step_end(ctx), AK_ERR_VALUE);
    ak_close(ctx);
}

/* ---- choosing -------------------------------------------------------------------------------- */

static int tried;
static double score(ak_study_run *run, ak_ctx *ctx, int i, void *user)
{
    tried++;
    if (*(bool *)user)
        ak_study_result(run, "accuracy", (double[]){ 1 }, 1, NULL);
    return ak_error(ctx) ? 0 : -fabs(i - 1.0);
}

static void chooses(ak_study_run *run, void *user)
{
    const double one = 1;
    const int    i = ak_study_choose(run, "tau", (const char *[]){ "0.1", "0.2", "0.5" }, 3,
                                     "last 50 of training", score, user);
    if (i == 1)
        ak_study_result(run, "accuracy", &one, 1, NULL);
}

Test(study, settings_are_chosen_on_validation)
{
    bool cheats = false;
    const ak_study_arm arms[] = { { "a", chooses, &cheats, NULL }, { 0 } };
    const ak_study study = { .name = "choice", .measures = accuracy, .arms = arms, .seeds = 1 };
    cr_assert_eq(MAIN(study, "--resume"), 0);
    cr_expect_eq(tried, 3);
    const char *table = slurp(folder, "choice/table.txt");
    cr_expect(strstr(table, "chosen on validation (last 50 of training): a seed 1, tau = 0.2"),
              "%s", table);
    cheats = true;                      /* test results can not choose */
    cr_expect_eq(MAIN(study, "--seeds", "2"), AK_STUDY_FAILED);
}
