/* SPDX-License-Identifier: Apache-2.0 */
/* akin/checkpoint.h - saving weights, and stopping and resuming a run.
 *
 * ak_save and ak_load are for weights: the result of a training, to be used elsewhere. A checkpoint
 * is the whole state of a run: parameters and buffers (ak_param, ak_buffer: running statistics, a
 * teacher), moments and step counts of every optimiser, queues, banks and numbers of samples
 * (akin/memory.h), the counter of random streams, the place of every loader, and numbers of the
 * program's own. It does not hold what ak_state and
 * ak_keep made, nor options and modes. A run that stops and resumes ends with the same bits as one
 * that never stopped.
 *
 *     ... open the same context, modules, optimisers and loaders as before, in the same order ...
 *     if (ak_checkpoint_exists("run.ckpt"))
 *         ak_checkpoint_load(ctx, "run.ckpt");
 *     while (ak_loader_tell(loader).epoch < 100) {        // the loader knows where it is
 *         for (ak_batch b; ak_loader_next(loader, &b); ak_step_end(ctx))
 *             ... train on b ...
 *         if (ak_checkpoint_save(ctx, "run.ckpt"))        // may also be called between two steps
 *             break;
 *     }
 *
 * A counter of one's own goes along. It must say what is done, so count before saving:
 *
 *     int64_t done = 0;                                   // epochs
 *     ak_checkpoint_value(ctx, "done", &done);            // before loading
 *     ... load as above ...
 *     while (done < 100) {
 *         ... train an epoch ...
 *         done++;                                         // or a resumed run repeats this epoch
 *         if (ak_checkpoint_save(ctx, "run.ckpt"))
 *             break;
 *     }
 *
 * Files are written beside their place, flushed and renamed: there is the old file or the new one,
 * nothing in between. A link is followed; what is no regular file is refused. Files carry a
 * checksum; docs/FORMATS.md describes them byte by byte. Loading happens entirely or not at all:
 * after an error nothing has changed.
 */
#ifndef AKIN_CHECKPOINT_H
#define AKIN_CHECKPOINT_H

#include <akin/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Write all parameters and buffers. Numbers that are not finite are written with a warning that
 * names the first tensor and how many there are (checkpoints: of an optimiser's moments as well).
 *
 *   errors   the pending error (nothing is written then), AK_ERR_IO, AK_ERR_MEMORY: the old file
 *            is untouched
 */
AK_API ak_status ak_save(ak_ctx *ctx, const char *path);
/* Write those whose names fit pattern (akin/tensor.h: ak_match). errors: also those of any
 * pattern. */
AK_API ak_status ak_save_some(ak_ctx *ctx, const char *path, const char *pattern);

/* Read all parameters and buffers from a file of ak_save or of ak_checkpoint_save.
 *
 *   errors   the pending error, AK_ERR_NOT_FOUND (no file; or parameters missing in it, or too many
 *            in it: named), AK_ERR_SHAPE (named, with both shapes), AK_ERR_FORMAT (damaged,
 *            shortened, not such a file, another version), AK_ERR_IO, AK_ERR_MEMORY: nothing has
 *            changed
 */
AK_API ak_status ak_load(ak_ctx *ctx, const char *path);
/* Read those whose names fit pattern and leave all others as they are: an encoder alone is
 * ak_load_some(ctx, path, "encoder/..."), with a star. Each alternative must fit a name of this
 * program or of the file. */
AK_API ak_status ak_load_some(ak_ctx *ctx, const char *path, const char *pattern);

/* Write the whole state of the run. errors: as ak_save; AK_ERR_STATE between ak_accumulate_begin
 * and ak_accumulate_end, since gradients are no part of it. */
AK_API ak_status ak_checkpoint_save(ak_ctx *ctx, const char *path);
/* Read it back, into a context with the same seed, modules, optimisers, loaders and values, made in
 * the same order. The learning rate is the stored one (ak_optim_set_lr changes it afterwards).
 *
 *   errors   as ak_load; AK_ERR_NOT_FOUND if an optimiser, loader or value is in one but not in the
 *            other (named); AK_ERR_VALUE for another seed
 */
AK_API ak_status ak_checkpoint_load(ak_ctx *ctx, const char *path);
/* Is there a file? Records no error. */
AK_API bool ak_checkpoint_exists(const char *path);

/* What a file holds, whatever this program has made. */
typedef struct ak_checkpoint_contents {
    bool               run;         /* the whole state of a run; false: weights alone */
    int64_t            n;
    const ak_array    *arrays;      /* [n] parameters and buffers, sorted by name */
    int64_t            n_states;    /* optimisers, loaders, values */
    const char *const *states;      /* [n_states] names */
    const int64_t     *state_bytes; /* [n_states] */
} ak_checkpoint_contents;
/* Read it.  returns context lifetime; NULL on failure.  errors: as ak_load, but for names and
 * shapes */
AK_API const ak_checkpoint_contents *ak_checkpoint_look(ak_ctx *ctx, const char *path);

/* Let checkpoints hold a whole number, or a number, of the program.
 *
 *   name     unique among them; copied
 *   value    read by save, written by load; must outlive the context
 *   errors   AK_ERR_VALUE for an empty or used name, AK_ERR_MEMORY
 */
AK_API ak_status ak_checkpoint_value(ak_ctx *ctx, const char *name, int64_t *value);
AK_API ak_status ak_checkpoint_number(ak_ctx *ctx, const char *name, double *value);

#ifdef __cplusplus
}
#endif
#endif
