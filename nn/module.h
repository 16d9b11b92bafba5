/* SPDX-License-Identifier: Apache-2.0 */
/* What the layers of nn/ share: the module object, building modules, and errors that name the
 * module's path. */
#ifndef AK_MODULE_H
#define AK_MODULE_H

#include <akin/autograd.h>
#include <akin/nn.h>

#include "base/base.h"

#define AK__NAME_MAX 512        /* longest path, with its final zero */

struct ak_module {
    ak_ctx        *ctx;
    const ak_module_kind *kind;
    const char    *name;            /* path */
    const char    *what;            /* for listings: "linear 128 -> 64" */
    const char    *note;            /* what its weights mean beyond their shapes, for files of them:
                                     * "8 heads"; NULL: nothing */
    ak_forward_fn  forward;         /* of ak_module_new; else the kind's, or NULL */
    void          *user;            /* the kind's state, or the program's pointer */
    bool           evaluating;      /* ak_module_train(m, false) */
    bool           bound;           /* kind->bind has seen all parameters and children */
    unsigned       rows_tried;      /* ak_forward_chunked found that rows stay apart: 1 = in train
                                     * mode, 2 = in evaluation mode */
    bool           broken;          /* an error came while its parts were made */
    int64_t        n_tensors, tensors_room;
    ak_tensor    **tensors;         /* [n_tensors] own parameters and buffers */
    int64_t        n_children, children_room;
    ak_module    **children;        /* [n_children] */
    ak_module     *outer;           /* while it is open: the one that was open before */
    uint64_t       visit;           /* last walk that passed here */
    ak_module     *clone;           /* of the last copy (clone.c) */
    struct ak__passes {
        int64_t  runs;
        ak__work work;
        ak_shape shape;             /* of the last result */
    } passes;                       /* while work is counted (info.c) */
};

/* A walk passes a module once, however often it stands in the tree: weights that two places share
 * are one set of weights. The number of a new walk: */
static inline uint64_t ak__new_visit(const ak_module *m)
{
    return ++m->ctx->module_visits;
}

static inline bool ak__first_visit(ak_module *m, uint64_t visit)
{
    const bool first = m->visit != visit;
    m->visit = visit;
    return first;
}

/* Own parameter or buffer i, in the order in which they were added; NULL past the end. */
static inline ak_tensor *ak__own(const ak_module *m, int64_t i)
{
    return i < m->n_tensors ? m->tensors[i] : NULL;
}

/* "<name><number>" into buf, for constructors that number their parts; returns buf. */
const char *ak__numbered(char buf[32], const char *name, int number);
/* Is m complete and no module open? Else an error that names `who` wanted to run or save it. */
bool ak__complete(const ak_module *m, const char *who);
/* A module at `path`, whatever is open, below no other. NULL after an error. */
ak_module *ak__module_at(ak_ctx *ctx, const char *path, const ak_module_kind *kind);
/* Sets the note; copied. */
void ak__module_note(ak_module *m, const char *format, ...) AK_PRINTF(2, 3);
/* "GELU", for notes and listings. */
const char *ak__activation_name(ak_activation kind);
/* Add a tensor that exists, or a child, to the lists. False when memory is exhausted. */
bool ak__append_tensor(ak_module *m, ak_tensor *t);
bool ak__append_child(ak_module *m, ak_module *child);
/* What follows "path/" in name; NULL if name is not below it. */
const char *ak__below(const char *name, const char *path);

/* A part is listed by what its path adds to that of the module that it stands in, or of the one
 * around that: the parts of a unit are named as the unit is. */
const char *ak__short_name(const char *name, const char *parent, const char *around);
/* A pass through m has ended: ctx->work was `before` when it began. */
void ak__note_pass(ak_module *m, const ak__work *before, const ak_tensor *y);

/* Fail with "<path> (<what>): expected x <expected>, got <shape>"; returns the poison tensor. */
ak_tensor *ak__module_shape_error(ak_module *m, const ak_tensor *x, const char *format, ...)
    AK_PRINTF(3, 4);
/* For constructors: true if x is usable; else the error "<path>: <what> must be ..., got x". */
bool ak__module_positive(ak_module *m, const char *what, int64_t x);

/* Is this an initialiser? If not, an error names what it was for. Asked before a parameter is made,
 * whose name would stay in use. */
bool ak__init_known(ak_ctx *ctx, const char *name, ak_init how);
/* A weight of the default kind or as asked, and a bias uniform within 1/sqrt(fan_in). */
ak_tensor *ak__module_weight(ak_module *m, ak_shape shape, ak_init init);
ak_tensor *ak__module_bias(ak_module *m, int64_t size, const ak_tensor *weight);
/* A parameter filled with `value` that is not decayed. */
ak_tensor *ak__module_scale(ak_module *m, const char *name, int64_t size, double value);

/* In a kind's record: its state is a struct of options and sizes. One that points to own tensors or
 * children says .state_bytes, and has a .bind. */
#define AK__STATE(type) .state_bytes = sizeof(type), .plain_state = true

/* Is m a linear layer and nothing else, y = x weight^T + bias with its own tensors? */
bool ak__is_plain_linear(const ak_module *m);

/* ---- running: forward.c ---------------------------------------------------------------------- */

/* What one layer hands to another beside the inputs, as operands of the call. A convolution takes
 * the moments of what it writes while that is in the cache (autograd/moments.h); a batch norm can
 * use them in place of a pass of its own, and add something before its activation. */
typedef struct ak__handed {
    ak_tensor **wanted;     /* gets the moments of the result, or NULL if this way takes none */
    ak_tensor  *moments;    /* of x, which nothing has changed since; NULL = none */
    ak_tensor  *skip;       /* like x; NULL = none */
    bool        relu;       /* max(., 0) at the end, whatever the norm's own options say */
} ak__handed;

/* Which kinds can do so: a convolution has to_norm, a batch norm has norm. */
typedef struct ak__fusion {
    ak_tensor *(*to_norm)(ak_module *m, ak_tensor *x, ak_tensor **moments);
    ak_tensor *(*norm)(ak_module *m, ak_tensor *x, const ak__handed *h);
} ak__fusion;

static inline bool ak__gives_moments(const ak_module *m)
{
    return m->kind->fusion && m->kind->fusion->to_norm;
}

static inline bool ak__takes_moments(const ak_module *m)
{
    return m->kind->fusion && m->kind->fusion->norm;
}

/* Is this one of the three convolution layers, whose first tensor is the weight? */
bool ak__is_convolution(const ak_module *m);
/* Does a batch norm end in max(., 0) by its own options? */
bool ak__norm_has_relu(const ak_module *norm);
/* Has each part of the batch its own statistics? Moments of the whole are of no use to it then. */
bool ak__norm_is_split(const ak_module *norm);

/* The one way in which a module is run. h: NULL, or for a module whose kind can. */
ak_tensor *ak__run(ak_module *m, const ak_inputs *in, const ak__handed *h);

/* What goes with a sample (all fields but a bias of attention that samples share) has as many
 * entries along its first axis: into *rows. False: an error names what does not fit m, or the
 * number. */
bool ak__inputs_rows(const ak_module *m, const ak_inputs *in, int64_t *rows);
/* Rows first .. first+count-1 of such fields, for a run of a divided segment
 * (autograd/recompute.h). */
ak_inputs ak__inputs_slice(ak_ctx *ctx, const ak_inputs *in, int64_t first, int64_t count);
/* What else a module can do than its forward function: one tower of two, another mask. Run as that
 * is: what it is handed is compared, and evaluation mode holds. */
typedef struct ak__use {
    const char *who;                /* the public function, for messages */
    unsigned    needs, takes;       /* AK_IN bits */
    ak_tensor *(*run)(ak_module *m, const ak_inputs *in, const void *how);
    const void *how;
} ak__use;
ak_tensor *ak__run_use(ak_module *m, const ak_inputs *in, const ak__use *use);

/* Convolution and batch norm of a unit of ak_nn_conv_norm (conv_norm.c). skip NULL: none; last:
 * nobody needs x afterwards, it is given back as soon as the convolution has read it. */
ak_tensor *ak__conv_norm_forward(ak_module *unit, ak_tensor *x, ak_tensor *skip, bool last);

#endif
