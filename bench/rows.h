/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of the comparison with a peer, as bench_serve measures them: one file a family
 * (rows_gemm.c, ..), which adds its rows by name; opening a row makes a job that can be run again
 * and again, and that can share what went in and came out, so that the peer works on the same
 * numbers and compares. */
#ifndef AK_BENCH_ROWS_H
#define AK_BENCH_ROWS_H

#include <akin/akin.h>

#include "bench/bench.h"

/* ---- what is shared ------------------------------------------------------------------------- */

/* Arrays on their way into an .npz file. "in/NAME" is what the peer starts from, "out/NAME" what we
 * got; akin's layouts. */
#define BENCH_SHARED 256
typedef struct bench_archive {
    ak_ctx  *ctx;
    ak_array arrays[BENCH_SHARED];
    int      n;
} bench_archive;

/* The values as they are now (copied: parameters may move afterwards). */
void bench_share(bench_archive *a, const char *name, const ak_tensor *t);
void bench_share_values(bench_archive *a, const char *name, ak_shape shape, const ak_real *values);
void bench_share_number(bench_archive *a, const char *name, double value);
void bench_share_index(bench_archive *a, const char *name, const ak_index *x);
/* Every parameter of the context as "in/<its name>". */
void bench_share_params(bench_archive *a);

/* ---- rows and jobs -------------------------------------------------------------------------- */

typedef struct bench_job bench_job;
struct bench_job {
    ak_ctx *ctx;                        /* of this job; opened and closed by the server */
    void   *state;                      /* bench_job_state() */
    void  (*run)(bench_job *j);         /* what is timed; ends its step */
    void  (*prepare)(bench_job *j);     /* before each run, not timed; NULL = nothing */
    void  (*share)(bench_job *j, bench_archive *a);     /* NULL = nothing can be compared */
    const char *const *configs;         /* ways to do the same, ended by NULL; NULL = one way */
    int     config;                     /* the one to run */
    double  divide;                     /* a run is so many things (ops, views); 0 = 1 */
    double  work;                       /* operations that a run counts as; 0 = not stated */
    double  flops, bytes;               /* the floor: least of both; 0 = not stated */
};

/* Zeroed memory for j->state, freed by the server. */
void *bench_job_state(bench_job *j, size_t bytes);

typedef struct bench_row {
    char        name[72];
    void      (*open)(bench_job *j, const struct bench_row *row);
    const void *what;                   /* the family's own: which case */
    int         part;                   /* .. and which part of it */
} bench_row;

typedef struct bench_table {
    bench_row rows[200];
    int       n;
} bench_table;

/* The next row of a table, to be filled; its name is set. */
bench_row *bench_table_add(bench_table *t, const char *format, ...) AK_PRINTF(2, 3);
const bench_row *bench_table_find(const bench_table *t, const char *name);

/* The families, in the order of the printed table. */
void rows_gemm(bench_table *t);
void rows_conv(bench_table *t);
void rows_op(bench_table *t);
void rows_attention(bench_table *t);
void rows_loss(bench_table *t);
void rows_optim(bench_table *t);
void rows_step(bench_table *t);
void rows_sequence(bench_table *t);
void rows_view(bench_table *t);

/* ---- helpers -------------------------------------------------------------------------------- */

/* Standard normal numbers that live as long as the context; each stream gives others. */
ak_tensor *bench_normal(ak_ctx *ctx, ak_shape shape, uint64_t stream);
/* t's numbers as a leaf of the running step that gets a gradient; nothing is copied. */
ak_tensor *bench_leaf(ak_tensor *t);
/* Operations of what is on the tape, forward and backward (twice the forward). */
double bench_tape_flops(ak_ctx *ctx);

#endif
