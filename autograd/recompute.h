/* SPDX-License-Identifier: Apache-2.0 */
/* Segments of the tape that keep only their result and run again in backward: whole, or divided
 * into parts of the rows of a batch. For nn/. */
#ifndef AK_AUTOGRAD_RECOMPUTE_H
#define AK_AUTOGRAD_RECOMPUTE_H

#include <akin/autograd.h>

typedef struct ak__segment {
    /* Rows first .. first+count-1 of the result, from `what`; all rows of an undivided one. A
     * tensor that holds a part of the rows says so by ak__slice_rows. */
    ak_tensor *(*run)(const struct ak__segment *s, int64_t first, int64_t count);
    const void *what;           /* in the memory of what runs now */
    const char *who;            /* "ak_recompute", or a module's path: for messages */
    int64_t rows, part;         /* runs are of `part` rows each; part >= rows: undivided */
    int64_t try_rows;           /* rows that may depend on each other, and on no others (1, or a
                                 * group of a split batch norm): find out, by two runs of two such
                                 * groups that have one in common. 0: do not */
} ak__segment;
/* NULL from run is an error. Poison after one. */
ak_tensor *ak__recompute(ak_ctx *ctx, const ak__segment *s);

/* ak_rows for a run of a divided segment. */
ak_tensor *ak__slice_rows(ak_tensor *x, int64_t first, int64_t count);

/* Rows first .. first+count-1 of a batch: those that run now, and that x is made of. count 0: x is
 * made of none, or all rows run at once. */
typedef struct ak__part { int64_t first, count, batch; } ak__part;
ak__part ak__part_of(const ak_tensor *x);
/* Of how many samples are these n, if a part of a batch runs? n itself, if not. */
int64_t ak__whole_batch(const ak_ctx *ctx, int64_t n);

#endif
