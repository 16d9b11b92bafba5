/* SPDX-License-Identifier: Apache-2.0 */
/* akin/study.h - methods compared: arms times seeds, intervals, claims that can fail.
 *
 * A study is a program that holds its methods and nothing else. Each arm (the method, a baseline,
 * an ablation) is a function that trains with one seed and hands over what it measured, item by
 * item. The rest is here: which runs are to be made, which are there already, going on after a
 * kill, progress, intervals, paired tests, the table, the claims and the exit code.
 *
 *     static void train(ak_study_run *run, void *user)
 *     {
 *         ak_ctx *ctx = ak_study_ctx(run);        // of this run alone, its seed is the run's
 *         const char *checkpoint = ak_study_path(run, "last.ckpt");
 *         ... build ...
 *         if (ak_checkpoint_exists(checkpoint))
 *             ak_checkpoint_load(ctx, checkpoint);
 *         while (step < steps && ak_study_progress(run, step, steps)) { ... }
 *         ak_study_result(run, "accuracy", right, n, "kNN k=20, 10000 test items");
 *     }
 *     int main(int argc, char **argv)
 *     {
 *         return ak_study_main(argc, argv, &(ak_study){
 *             .name = "mine", .settings = "batch 256, AdamW 2e-3",
 *             .measures = (ak_study_measure[]){ { "accuracy", "%", .scale = 100 }, { 0 } },
 *             .arms = (ak_study_arm[]){ { "mine", train }, { "old", train_old }, { 0 } },
 *             .baseline = "old",
 *             .claims = (ak_study_claim[]){ { "better", "mine is better than old by 1 %",
 *                 .measure = "accuracy", .arm = "mine", .against = "old", .margin = 0.01 },
 *                 { 0 } } });
 *     }
 *
 * Command line: --seeds N, --arm NAME (may be repeated), --quick, --resume, --data FOLDER, --list,
 * --help. Anything else is refused with exit code 2. docs/STUDIES.md tells what is written where.
 */
#ifndef AKIN_STUDY_H
#define AKIN_STUDY_H

#include <akin/eval_compare.h>
#include <akin/report.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- what a study is ------------------------------------------------------------------------- */

typedef struct ak_study_run ak_study_run;
/* One run: train with the run's seed, measure, hand over with ak_study_result. */
typedef void (*ak_study_fn)(ak_study_run *run, void *user);

typedef struct ak_study_measure {
    const char *name;               /* letters, digits, "_", "-" */
    const char *unit;               /* for the table; NULL = "" */
    double      scale;              /* the table shows scale * value; 0 = 1 */
    bool        lower_is_better;
} ak_study_measure;

typedef struct ak_study_arm {
    const char *name;               /* letters, digits, "_", "-" */
    ak_study_fn run;
    void       *user;               /* what it points to is not looked at: name it in .settings */
    const char *settings;           /* of this arm alone; part of what decides whether a result is
                                     * still good. NULL = "" */
} ak_study_arm;

/* What varies in the interval of a claim. */
typedef enum ak_study_over {
    AK_STUDY_AUTO,                  /* crossed where results came item by item, else seeds */
    AK_STUDY_CROSSED,               /* other seeds and other items could have come */
    AK_STUDY_SEEDS,                 /* other seeds could have come: t interval of paired runs */
    AK_STUDY_ITEMS                  /* these trained nets on other items, mean over seeds */
} ak_study_over;

/* An inequality that has to hold at the worse end of the 95 % interval:
 *
 *     gain = measure(arm) - measure(against), or measure(arm) alone where against is NULL;
 *     with lower_is_better: the negative of it.     shown: lower end of gain > margin
 *
 * A negative margin says "not worse than by so much". For lower_is_better without against, margin
 * is -limit: "measure below 0.3" is margin = -0.3. Claims are not corrected for their number. */
typedef struct ak_study_claim {
    const char   *name, *text;
    const char   *measure, *arm, *against;
    double        margin;
    ak_study_over over;
} ak_study_claim;

typedef struct ak_study {
    const char *name;               /* the folder in $AK_RUNS or "runs"; with --quick NAME-quick */
    const char *text;               /* a line for the table's head; NULL = none */
    const char *settings;           /* what decides results and is no code; NULL = "" */
    const ak_study_measure *measures;   /* the list ends with { 0 }, as the others */
    const ak_study_arm     *arms;
    const ak_study_claim   *claims; /* NULL = none: the exit code says whether all runs were made */
    const char *baseline;           /* every arm's difference to it is shown; NULL = the last arm */
    int         seeds;              /* without --seeds; 0 = 5 */
    int         quick_seeds;        /* with --quick and without --seeds; 0 = 2 */
    const char *parent;             /* folder of study folders; NULL = $AK_RUNS or "runs" */
    FILE       *out;                /* the table; NULL = stdout */
    FILE       *progress;           /* where it stands; NULL = stderr */
} ak_study;

/* Exit codes. */
enum {
    AK_STUDY_SHOWN = 0,             /* every run was made, every claim is shown. With --quick, which
                                     * is too small for claims: every run was made */
    AK_STUDY_NOT_SHOWN = 1,
    AK_STUDY_USAGE = 2,
    AK_STUDY_FAILED = 3             /* a run failed, or a folder can not be used: told on stderr */
};

/* Make all runs that are not there yet, print the table, judge the claims.
 *
 *   runs      of every arm with seeds 1 to n. A run whose result is in study.jsonl under the same
 *             key is not made again. The key is a hash of the program and the library (their
 *             files), settings of study and arm, arm, seed, --quick, --data, instruction set and
 *             AK_* of the environment but AK_RUNS
 *   resume    with --resume an unfinished run goes on in its own folder; without, it begins anew
 *             in a new one
 *   failure   a run that fails (an error in its context, a measure that is missing or not finite)
 *             is told, the others are still made, and no claim about its arm is shown
 *   table     depends on results alone: the same bits after any number of kills
 *   returns   the exit code of the program
 *   errors    one line on stderr: two processes in one folder, AK_SEED in the environment (all
 *             seeds would be the same), names that are twice or unknown, files
 */
AK_API int ak_study_main(int argc, char **argv, const ak_study *study);

/* ---- inside of a run ------------------------------------------------------------------------- */

/* The run's context; errors are kept in it, none ends the program. */
AK_API ak_ctx *ak_study_ctx(ak_study_run *run);
AK_API const char *ak_study_arm_name(const ak_study_run *run);
/* From 1. Arms share seeds: what is drawn from it alone is paired. */
AK_API int ak_study_seed(const ak_study_run *run);
/* Is this a trial of seconds? */
AK_API bool ak_study_quick(const ak_study_run *run);
/* Folder of --data; NULL = not given. */
AK_API const char *ak_study_data(const ak_study_run *run);
/* A file of the run's own folder (the checkpoint); lives as long as the run. */
AK_API const char *ak_study_path(ak_study_run *run, const char *file);
/* The run's folder, for ak_run_log and ak_run_setting. NULL while settings are chosen. Its
 * settings.json (arm, settings of arm and study, the arm's own) is written by the first ak_run_log
 * or ak_study_progress, at the latest when the arm returns. */
AK_API ak_run *ak_study_folder(ak_study_run *run);

/* `done` of `of` parts of this run are made: shows where the study stands.
 *   returns   true; false once an error has happened in the run's context: leave the loop
 *   errors    AK_ERR_VALUE unless 0 <= done <= of, of >= 1 */
AK_API bool ak_study_progress(ak_study_run *run, int64_t done, int64_t of);

/* What was measured, item by item (right or wrong, reciprocal rank): mean and interval over items
 * by ak_measure_mean; the items are kept for paired tests.
 *
 *   each      [n] in an order that is the same for all arms and seeds; copied
 *   protocol  what was measured; NULL = none
 *   errors    AK_ERR_VALUE (no such measure, given twice, n < 1), AK_ERR_NUMBER (NaN, infinity),
 *             AK_ERR_STATE while settings are chosen, AK_ERR_MEMORY
 */
AK_API ak_status ak_study_result(ak_study_run *run, const char *measure, const double *each,
                                 int64_t n, const char *protocol);
/* A figure that is no mean of items (NMI, AUC), with the interval it came with. */
AK_API ak_status ak_study_figure(ak_study_run *run, const char *measure, ak_measure figure);

/* Score of setting i on validation items, larger is better. ctx is of this trial alone. */
typedef double (*ak_study_score_fn)(ak_study_run *run, ak_ctx *ctx, int i, void *user);
/* Choose among settings by their score on a validation split; the table says so.
 *
 *   what      what is chosen ("tau");  names   [n], texts of the settings
 *   validation  which items judge ("last 5000 training pictures"): part of the table
 *   score     called for every i that has no score yet; scores survive a kill. Test results can not
 *             be handed over from it (AK_ERR_STATE), nor can it choose
 *   returns   the index of the largest score, the first of equal ones; -1 after an error
 *   errors    AK_ERR_VALUE (n < 1, a choice of this name was made), AK_ERR_NUMBER (a score is not
 *             finite), what score records
 */
AK_API int ak_study_choose(ak_study_run *run, const char *what, const char *const *names, int n,
                           const char *validation, ak_study_score_fn score, void *user);

#ifdef __cplusplus
}
#endif
#endif
