/* SPDX-License-Identifier: Apache-2.0 */
/* What the optimisers share: the list of parameters, their settings, runs over the slabs. Files
 * call downward in this list:
 *
 *     sgd.c adamw.c lars.c lamb.c rmsprop.c   a method: its options and its update of a run
 *     param_group.c           making an optimiser: its parameters and settings
 *     optim_state.c           what a checkpoint holds of it
 *     clip.c                  gradients cut before the step
 *     optim_step.c            the step over runs of parameters
 *     home.c                  what optim/ keeps in a context: who owns what; plans of ema.c
 */
#ifndef AK_OPTIM_INTERNAL_H
#define AK_OPTIM_INTERNAL_H

#include <akin/optim.h>

#include <math.h>

#include "tensor/kernels/kernels.h"
#include "tensor/tensor_internal.h"

/* Elements that one thread takes at a time; fixed, so sums have the same bits always. */
#define AK__OPTIM_CHUNK ((int64_t)65536)

typedef struct ak__optim_entry {
    ak_tensor *param;
    double     lr_scale, decay;
    int64_t    at;              /* place in the arrays of history */
    int64_t    steps;           /* that it took part in: fewer than the optimiser's if frozen */
    bool       idle;            /* takes no part in this step: frozen, or without a gradient */
    bool       was_frozen;
} ak__optim_entry;

/* Adjacent parameters with the same settings: one stretch of memory. */
typedef struct ak__optim_run {
    ak_real *p, *g, *m1, *m2;   /* history; NULL where the method has none */
    int64_t  n;
    double   lr, decay;         /* lr with schedule and group */
    int64_t  steps;             /* made before, by these parameters */
    const ak__optim_entry *entry;   /* the first */
} ak__optim_run;

struct ak_optim {
    ak_ctx     *ctx;
    const char *kind;           /* "adamw", for messages */
    const char *pattern;
    ak__optim_entry *entries;
    int64_t     n;
    ak_real    *history[2];     /* of gradients: velocity, or Adam's moments; docs call both so */
    int64_t     history_size;
    double      lr;
    ak_schedule schedule;
    int64_t     steps;
    bool        per_param;      /* runs are single parameters (LARS, LAMB) */
    bool        warned;         /* of a step without any gradient */
    void      (*update)(ak_optim *opt, const ak__optim_run *run);
    union {
        ak_sgd_options   sgd;
        ak_adamw_options adam;
        ak_lars_options  lars;
        ak_lamb_options  lamb;
        ak_rmsprop_options rmsprop;
        ak_adagrad_options adagrad;
    } o;
    bool        coupled_decay;  /* Adam: decay through the gradient */
    struct ak_optim *next;      /* of the context */
};

/* What optim/ keeps in a context. */
typedef struct ak__optim_home {
    ak_optim *first;            /* newest first */
    int64_t   looked_at;        /* parameters that a step has asked for their owner */
    struct ak__ema_plan *plans;
} ak__optim_home;
ak__optim_home *ak__optim_home_of(ak_ctx *ctx);     /* NULL: out of memory, recorded */

/* The optimiser that moves t; NULL: none. */
const ak_optim *ak__optim_owner(const ak__optim_home *home, const ak_tensor *t);

/* A new optimiser with its entries; `arrays` of history. NULL after an error. */
ak_optim *ak__optim_new(ak_ctx *ctx, const char *kind, const char *pattern, double lr,
                        double decay, ak_schedule schedule, int arrays);
/* Records AK_ERR_VALUE and returns false if !(lo <= x < hi), with x as given or rounded to ak_real:
 * an eps of 1e-50 is 0 in float, a beta of 0.999999999 is 1. */
#define AK__NO_LIMIT ((double)INFINITY)     /* for hi: any finite number */
#define AK__ABOVE_0 1e-300                  /* for lo */
bool ak__optim_range(ak_ctx *ctx, const char *kind, const char *option, double x, double lo,
                     double hi);
/* Enter it into the list of what checkpoints hold (optim_state.c). False: out of memory. */
bool ak__optim_register(ak_optim *opt);
/* The next run of parameters that are not idle, from entry *i on; false at the end. */
bool ak__optim_next_run(const ak_optim *opt, int64_t *i, ak__optim_run *run);
/* Say which entries are idle; returns how many are not. */
int64_t ak__optim_find_idle(ak_optim *opt);
/* Are all gradients finite that a step would use? If not: AK_ERR_NUMBER names the parameter. */
bool ak__optim_gradients_finite(ak_optim *opt, const char *who);
/* Zero the gradients. */
void ak__optim_drop_gradients(ak_optim *opt);
/* Sum of squares in double, in an order that n alone decides. */
double ak__optim_sum_squares(const ak_real *x, int64_t n);

#endif
