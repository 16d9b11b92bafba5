/* SPDX-License-Identifier: Apache-2.0 */
/* akin/report.h - what people look at while a program trains: progress, run folders, settings.
 *
 * A run folder belongs to one run and is never written over: runs/NAME, then runs/NAME-2, ... It
 * holds settings.json (everything that decides the result) and metrics.jsonl (a line of JSON for
 * each logged moment, ended by the hash of the weights).
 *
 *     ak_run *run = ak_run_open(ctx, "simclr", (ak_run_options){ 0 });
 *     ak_run_setting(run, "epochs", "%d", epochs);
 *     ak_progress *p = ak_progress_open(ctx, (ak_progress_options){
 *         .epochs = epochs, .steps = ak_loader_batches(pairs), .views = 512, .chance = log(511) });
 *     ...
 *         ak_progress_step(p, ak_item(loss), accuracy);            // every step
 *     ...
 *     ak_progress_epoch(p);                                        // at the end of an epoch
 *     ak_run_log(run, "epoch", NULL, (ak_value[]){ { "epoch", epoch },
 *                                                  { "loss", ak_progress_loss(p) }, { 0 } });
 *
 * Functions that return a pointer return NULL after an error; while that is pending, all accept
 * NULL and do nothing. Afterwards NULL is AK_ERR_VALUE.
 */
#ifndef AKIN_REPORT_H
#define AKIN_REPORT_H

#include <akin/core.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- settings from the environment ----------------------------------------------------------- */

/* A whole number >= 0 from the environment.
 *   returns   its value, or `otherwise` where it is not set or empty
 *   errors    AK_ERR_VALUE if it is no such number (then `otherwise`; under the default hook the
 *             program ends with the message and code 1, as for AK_SEED) */
AK_API int64_t ak_env_int(ak_ctx *ctx, const char *name, int64_t otherwise);
/* Text from the environment, `otherwise` where it is not set or empty. */
AK_API const char *ak_env_text(const char *name, const char *otherwise);

/* Name of the i-th kernel of the table and, into *isa, the instruction set whose version is in use
 * ("ref", "avx2", "avx512", "amx"); NULL past the end. isa may be NULL. */
AK_API const char *ak_kernel_at(int i, const char **isa);

/* ---- running mean ---------------------------------------------------------------------------- */

/* { 0 } is an empty one. (ak_mean is the op.) */
typedef struct ak_average { double sum; int64_t n; } ak_average;
AK_API void ak_average_add(ak_average *a, double value);
AK_API double ak_average_get(const ak_average *a);      /* NaN while empty */

/* ---- run folder ------------------------------------------------------------------------------ */

typedef struct ak_run ak_run;

typedef struct ak_run_options {
    const char *parent;     /* folder that holds runs, made if missing; NULL = $AK_RUNS or "runs" */
    bool        resume;     /* go on in the newest folder of this name; a new one if none */
} ak_run_options;

/* Make (or find again) the folder of a run: parent/name, or the first free of parent/name-2, ...
 *
 *   name      one path component, no '/'
 *   returns   belongs to the context; settings.json is written by the first ak_run_log
 *             (of a study: also by ak_study_progress, and when the arm returns)
 *   errors    AK_ERR_VALUE (name), AK_ERR_IO with the path, AK_ERR_MEMORY
 */
AK_API ak_run *ak_run_open(ak_ctx *ctx, const char *name, ak_run_options options);
/* "runs/simclr-2" */
AK_API const char *ak_run_folder(const ak_run *run);
/* A path in the folder ("runs/simclr-2/weights.safetensors"); context lifetime. */
AK_API const char *ak_run_path(ak_run *run, const char *file);
/* True if an earlier run is gone on with. */
AK_API bool ak_run_resumed(const ak_run *run);

/* Note a setting for settings.json: true, false, a number, or text; format as printf, with a
 * decimal point whatever the program's locale says. A number is written digit for digit if every
 * reader gives the same digits again: whole ones below 2^53, others of up to 15 digits, in the form
 * that JSON has for them. What is none of these (18446744073709551615, 00451923) is text. The
 * library adds by itself: version, seed, CPU level, threads, time, and AK_* of the environment.
 * Bytes that are no UTF-8 become U+FFFD. A resumed run writes settings-resumed.json, -2, ... beside
 * the first.
 *   errors    AK_ERR_STATE after the first ak_run_log, AK_ERR_VALUE for a name given twice and for
 *             "akin" and "environment", AK_ERR_MEMORY */
AK_API ak_status ak_run_setting(ak_run *run, const char *name, const char *format, ...)
    AK_PRINTF(3, 4);

typedef struct ak_value { const char *name; double value; } ak_value;
/* Append a line to metrics.jsonl: "event" and "detail" (a protocol; NULL = none), the values (ended
 * by { 0 }; whole numbers as such, others with all their digits, NaN as null, infinities as "inf"
 * and "-inf"), "seconds" since the run was opened, and "hash" of all weights. Written through at
 * once; a line that a full disk or a kill has cut short is removed before the next one.
 *   errors    AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_VALUE for a name that the line has already */
AK_API ak_status ak_run_log(ak_run *run, const char *event, const char *detail,
                            const ak_value *values);

/* ---- progress -------------------------------------------------------------------------------- */

typedef struct ak_progress ak_progress;

typedef struct ak_progress_options {
    int64_t epochs;         /* >= 1 */
    int64_t steps;          /* of an epoch, >= 1 */
    int64_t views;          /* items that a step encodes; 0 = views/s is not shown */
    double  chance;         /* loss that knows nothing (ln(2N-1) for NT-Xent); 0 = none */
    int64_t epoch, step;    /* epochs, and steps of the next one, already done (a resumed run) */
    double  every;          /* seconds between lines: 0 = 0.2 on a terminal, 30 elsewhere */
    FILE   *file;           /* NULL = stdout */
} ak_progress_options;

/* A line that says where the training stands:
 *
 *   epoch 3/6  step 120/234  loss 4.813 (chance 6.236)  acc 45.2 %  521 views/s  ETA 1:23  3fa2b1c0
 *
 * Loss and accuracy are means of the epoch so far; the last field is the hash of the weights. The
 * line that ends the training shows "took 2:41, 291 MB": the most memory the process held. On a
 * terminal one line is updated; elsewhere lines are printed now and then, and one an epoch.
 *
 *   errors    AK_ERR_VALUE (epochs, steps < 1, a negative views, every or place), AK_ERR_MEMORY
 */
AK_API ak_progress *ak_progress_open(ak_ctx *ctx, ak_progress_options options);
/* One step was made. accuracy in [0, 1], or NaN where there is none. */
AK_API void ak_progress_step(ak_progress *p, double loss, double accuracy);
/* The epoch is over: prints its line. Means stay readable until the next step. */
AK_API void ak_progress_epoch(ak_progress *p);
AK_API double ak_progress_loss(const ak_progress *p);           /* means of the epoch */
AK_API double ak_progress_accuracy(const ak_progress *p);
AK_API double ak_progress_seconds(const ak_progress *p);        /* spent in steps; evaluation
                                                                 * between epochs left out */

#ifdef __cplusplus
}
#endif
#endif
