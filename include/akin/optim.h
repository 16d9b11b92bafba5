/* SPDX-License-Identifier: Apache-2.0 */
/* akin/optim.h - optimisers, learning-rate schedules, clipping, moving averages.
 *
 * An optimiser owns the parameters whose names fit its pattern (akin/tensor.h: ak_match) at the
 * time it is made. A step reads their gradients, changes the values and zeroes the gradients, in
 * one pass over the slabs that they stand in. Biases, norm scales and temperatures
 * (AK_PARAM_NO_DECAY) get no weight decay unless a group says so.
 *
 *     ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){
 *         .lr = 2e-3, .weight_decay = 1e-4, .schedule = ak_cosine(100, steps) });
 *     ak_optim_group(opt, "encoder*", (ak_group_options){ .lr_scale = 0.1 });
 *     ...
 *     ak_backward(loss);
 *     ak_clip_grad_norm(opt, 1.0);
 *     ak_optim_step(opt);
 *
 * A parameter that no optimiser owns is reported once, as a warning, at the next step: of the first
 * one, and of one that was made after its optimiser.
 *
 * A teacher (BYOL, DINO, MoCo's key encoder) moves by ak_ema_update alone:
 *
 *     ak_module *student = ak_convnet(ctx, "student", o), *teacher = ak_convnet(ctx, "teacher", o);
 *     ak_freeze(ctx, "teacher/...", true);            // with a star: no gradients, no decay
 *     ak_ema_update(ctx, "teacher", "student", 0);    // starts as a copy
 *     ak_optim *opt = ak_adamw(ctx, "*", options);    // frozen parameters stay as they are
 *     ... each step:
 *     ak_no_grad_begin(ctx);
 *     ak_tensor *target = ak_forward(teacher, view2); // batch norm as the mode says: see below
 *     ak_no_grad_end(ctx);
 *     ak_backward(loss_of(ak_forward(student, view1), target));
 *     ak_optim_step(opt);
 *     ak_ema_update(ctx, "teacher", "student", 0.996);    // of the student after its step
 *
 * In train mode the teacher's batch norms use the statistics of the batch; ak_module_train(teacher,
 * false) makes them use the running ones, which ak_ema_update copies from the student.
 */
#ifndef AKIN_OPTIM_H
#define AKIN_OPTIM_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- schedules: a factor for the learning rate as a function of the step, from 0 ------------- */

typedef enum ak_schedule_kind { AK_SCHEDULE_CONSTANT, AK_SCHEDULE_COSINE, AK_SCHEDULE_STEP }
    ak_schedule_kind;
typedef struct ak_schedule {
    ak_schedule_kind kind;
    int64_t warmup;         /* steps over which the factor rises linearly from 1/warmup to 1 */
    int64_t total;          /* cosine: step at which the factor reaches `final` */
    int64_t every;          /* step: length of a stair */
    double  factor;         /* step: what a stair multiplies by, [0, inf) */
    double  final;          /* cosine: last factor, [0, inf) */
} ak_schedule;
/* An optimiser refuses (AK_ERR_VALUE) a negative warmup, a cosine with total < 1, a staircase with
 * every < 1, and a factor or final that is negative or not finite. */

/* Constant after `warmup` steps. */
AK_API ak_schedule ak_constant(int64_t warmup);
/* Half a cosine from 1 at step `warmup` to 0 at step `total` (Loshchilov, Hutter, "SGDR", 2017).
 * A total that is not above warmup leaves the rise alone; the factor is `final` after it. */
AK_API ak_schedule ak_cosine(int64_t warmup, int64_t total);
/* factor^(floor(step / every)). */
AK_API ak_schedule ak_staircase(int64_t every, double factor);
/* The factor at a step, >= 0. errors: AK_ERR_VALUE for a step below 0 or an unknown kind (NaN) */
AK_API double ak_schedule_at(ak_schedule schedule, int64_t step);

/* ---- optimisers ------------------------------------------------------------------------------ */

typedef struct ak_optim ak_optim;

typedef struct ak_sgd_options {
    double lr;              /* (0, inf); 0 = 0.1 */
    double momentum;        /* [0, 1); default 0 */
    double weight_decay;    /* [0, inf); added to the gradient; default 0 */
    bool   nesterov;        /* needs momentum */
    ak_schedule schedule;   /* default: constant */
} ak_sgd_options;

typedef struct ak_adamw_options {
    double lr;              /* (0, inf); 0 = 1e-3 */
    double beta1, beta2;    /* [0, 1); 0 = 0.9 and 0.999 (AK_NONE: 0) */
    double eps;             /* (0, inf); 0 = 1e-8 */
    double weight_decay;    /* [0, inf); default 0 */
    ak_schedule schedule;   /* default: constant */
} ak_adamw_options;

typedef struct ak_lars_options {
    double lr;              /* (0, inf); 0 = 0.3 */
    double momentum;        /* [0, 1); 0 = 0.9 (AK_NONE: 0) */
    double weight_decay;    /* [0, inf); default 0 */
    double trust;           /* (0, inf); 0 = 0.001 */
    bool   adapt_all;       /* scale biases and norms as well; default: they take plain steps */
    ak_schedule schedule;   /* default: constant */
} ak_lars_options;

typedef struct ak_lamb_options {
    double lr;              /* (0, inf); 0 = 1e-3 */
    double beta1, beta2;    /* [0, 1); 0 = 0.9 and 0.999 (AK_NONE: 0) */
    double eps;             /* (0, inf); 0 = 1e-6 */
    double weight_decay;    /* [0, inf); default 0 */
    bool   adapt_all;       /* scale biases and norms as well; default: they take Adam's steps */
    ak_schedule schedule;   /* default: constant */
} ak_lamb_options;

typedef struct ak_rmsprop_options {
    double lr;              /* (0, inf); 0 = 0.01 */
    double alpha;           /* of the average of squares, [0, 1); 0 = 0.99 (AK_NONE: 0) */
    double momentum;        /* [0, 1); default 0 */
    double eps;             /* (0, inf); 0 = 1e-8 */
    double weight_decay;    /* [0, inf); added to the gradient; default 0 */
    ak_schedule schedule;   /* default: constant */
} ak_rmsprop_options;

typedef struct ak_adagrad_options {
    double lr;              /* (0, inf); 0 = 0.01 */
    double eps;             /* (0, inf); 0 = 1e-10 */
    double weight_decay;    /* [0, inf); added to the gradient; default 0 */
    ak_schedule schedule;   /* default: constant */
} ak_adagrad_options;

/* Each constructor:
 *   pattern   names of the parameters (akin/tensor.h: ak_match); "*" = all. A parameter is owned
 *             once, however many alternatives it fits and however often its module is used
 *   returns   the optimiser, context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE for an option out of range, as given or as an ak_real (in float an eps
 *             of 1e-50 is 0 and a momentum of 0.99999999 is 1), or for a parameter that another
 *             optimiser owns; AK_ERR_NOT_FOUND if an alternative fits no parameter, AK_ERR_MEMORY
 */

/* g += wd p;  v = mu v + g (v = g at first);  p -= lr v, with Nesterov p -= lr (g + mu v) */
AK_API ak_optim *ak_sgd(ak_ctx *ctx, const char *pattern, ak_sgd_options o);
/* g += wd p;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;
 * p -= lr (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)      (Kingma, Ba, 2015) */
AK_API ak_optim *ak_adam(ak_ctx *ctx, const char *pattern, ak_adamw_options o);
/* The same with decay apart from the gradient: p -= lr wd p first (Loshchilov, Hutter, 2019) */
AK_API ak_optim *ak_adamw(ak_ctx *ctx, const char *pattern, ak_adamw_options o);
/* local = trust |p| / (|g| + wd |p| + 1e-8), 1 where |p| or |g| is 0;
 * v = mu v + local (g + wd p);  p -= lr v                  (You, Gitman, Ginsburg, 2017) */
AK_API ak_optim *ak_lars(ak_ctx *ctx, const char *pattern, ak_lars_options o);
/* m, v as Adam;  u = (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps) + wd p;
 * p -= lr (|p| / |u|) u, the ratio 1 where |p| or |u| is 0            (You et al., 2020) */
AK_API ak_optim *ak_lamb(ak_ctx *ctx, const char *pattern, ak_lamb_options o);
/* g += wd p;  v = alpha v + (1-alpha) g^2;  u = g / (sqrt(v) + eps);  with momentum
 * u = mu u' + u, u' of the step before;  p -= lr u                    (Tieleman, Hinton, 2012) */
AK_API ak_optim *ak_rmsprop(ak_ctx *ctx, const char *pattern, ak_rmsprop_options o);
/* g += wd p;  s += g^2;  p -= lr g / (sqrt(s) + eps)                  (Duchi et al., 2011) */
AK_API ak_optim *ak_adagrad(ak_ctx *ctx, const char *pattern, ak_adagrad_options o);

typedef struct ak_group_options {
    double lr_scale;        /* [0, inf); 0 = 1 (AK_NONE: 0) */
    double weight_decay;    /* [0, inf); replaces the optimiser's, also where there is none by
                             * default; 0 = unchanged (AK_NONE: 0) */
} ak_group_options;
/* Other settings for some of the optimiser's parameters; later calls win. Returns how many fit.
 * errors: as any pattern, among the optimiser's own parameters; AK_ERR_VALUE. */
AK_API int64_t ak_optim_group(ak_optim *opt, const char *pattern, ak_group_options o);

/* Layer-wise learning-rate decay (BEiT, Bao et al. 2022; MAE, He et al. 2022): layer i of L, from
 * the embeddings (0) to the head (L - 1), learns with lr_scale = decay^(L - 1 - i), in place of
 * what a group has said.
 *
 *     ak_optim_layer_decay(opt, (const char *const[]){ "vit/patch_embed*,vit/pos_embed",
 *         "vit/blocks/0*", "vit/blocks/1*", "*", NULL }, 0.75);      // 0.42, 0.56, 0.75, 1
 *     ak_optim_layer_decay(opt, ak_module_layers(net), 0.75);        // akin/weights.h
 *
 *   layers   patterns from the input to the output, ended by NULL, 1000 at most. A parameter is of
 *            the first that it fits, so that "*" at the end is the rest
 *   decay    (0, 1]
 *   errors   as any pattern, among the optimiser's own parameters; AK_ERR_VALUE for a decay out of
 *            range, a pattern whose parameters are all in layers before it, and a parameter that
 *            fits none; nothing has changed then
 */
AK_API ak_status ak_optim_layer_decay(ak_optim *opt, const char *const *layers, double decay);

/* Change the parameters by their gradients, then zero those.
 *
 *   who       parameters that have got a gradient since the last step or ak_zero_grad: those that a
 *             backward reached, if only with zeros, and those with a number other than 0 in p->grad
 *             that the program wrote itself. All others, frozen ones among them, stay as they are
 *             with their moments: no decay, no momentum, and the step does not count for Adam's
 *             corrections. If none has got one, nothing moves, and a warning says so once
 *   errors    the pending error; AK_ERR_NUMBER if numbers are checked and a gradient is not finite
 *             (names the parameter). Parameters and moments have not changed then; the gradients
 *             are dropped (zeroed), so that the next step starts clean. Without ak_check_numbers
 *             it relies on ak_backward, which refuses a loss and gradients that are not finite, and
 *             does not look at what the program wrote into p->grad: ak_clip_grad_norm does.
 *             AK_ERR_STATE between ak_accumulate_begin and ak_accumulate_end: nothing changes, nor
 *             is dropped
 */
AK_API ak_status ak_optim_step(ak_optim *opt);
/* Steps made so far, learning rate of the next one (schedule included). */
AK_API int64_t ak_optim_steps(const ak_optim *opt);
AK_API double ak_optim_lr(const ak_optim *opt);
/* Replace the base learning rate, (0, inf). */
AK_API ak_status ak_optim_set_lr(ak_optim *opt, double lr);

/* ---- clipping: call between ak_backward and ak_optim_step ------------------------------------ */

/* Both change p->grad at once: what is there now, not what comes later. Several calls act one after
 * the other. */

/* Scale all gradients of the optimiser by max_norm / norm if norm > max_norm; one reading pass, and
 * one more where it scales.
 *
 *   max_norm   (0, inf]; inf only measures
 *   returns    the norm before this call, over parameters that are not frozen, added up in double
 *              in a fixed order; a number that is not finite after an error
 *   errors     AK_ERR_VALUE; AK_ERR_NUMBER naming the parameter if a gradient is not finite:
 *              nothing has changed, and the next step is refused. AK_ERR_STATE between
 *              ak_accumulate_begin and ak_accumulate_end
 */
AK_API double ak_clip_grad_norm(ak_optim *opt, double max_norm);
/* Clamp each gradient element to [-limit, limit], limit > 0. errors: as above; infinity is not
 * clamped but refused. */
AK_API ak_status ak_clip_grad_value(ak_optim *opt, double limit);

/* ---- moving averages ------------------------------------------------------------------------- */

/* teacher = momentum teacher + (1 - momentum) student, for every parameter "student/rest" and its
 * namesake "teacher/rest"; buffers (running statistics) are copied.
 *
 *   teacher, student   name prefixes without the final slash. Each tensor below one needs its
 *                      namesake below the other; where only a part is shared, name that part
 *                      ("teacher/encoder"). A copy (ak_module_clone) also knows the parts that the
 *                      student has under other names
 *   momentum           [0, 1]; 0 copies, 1 leaves the parameters alone. Above 0.99994 (in double
 *                      1 - 1e-13) steps can be smaller than half a unit in the last place, where a
 *                      rounded average stands still: numbers are then rounded up or down by chance,
 *                      so that their mean moves by the formula. The chances come from seed and next
 *                      stream: a run repeats with the same bits, for any number of threads
 *   errors             AK_ERR_NOT_FOUND naming the missing one, AK_ERR_SHAPE, AK_ERR_VALUE; nothing
 *                      is changed then
 */
AK_API ak_status ak_ema_update(ak_ctx *ctx, const char *teacher, const char *student,
                               double momentum);

#ifdef __cplusplus
}
#endif
#endif
