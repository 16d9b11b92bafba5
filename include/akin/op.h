/* SPDX-License-Identifier: Apache-2.0 */
/* akin/op.h - for authors of ops: what an op is and what its functions see.
 *
 * An op is one record: a shape function, forward, backward, and samples to test it with. ak_apply()
 * is the only way to run one; it checks operands, allocates the output, runs forward, traces, and
 * records the call on the tape if an operand needs a gradient. Users of ops need akin/ops.h only.
 *
 *     static ak_status cube_shape(ak_call *k) { k->out->shape = k->in[0]->shape; return AK_OK; }
 *     static void cube_forward(ak_call *k)
 *     {
 *         for (int64_t i = 0; i < k->out->size; i++)
 *             k->out->data[i] = k->in[0]->data[i] * k->in[0]->data[i] * k->in[0]->data[i];
 *     }
 *     static void cube_backward(ak_call *k)
 *     {
 *         ak_real *dx = ak_call_grad(k, 0);
 *         if (!dx) return;
 *         for (int64_t i = 0; i < k->out->size; i++)
 *             dx[i] += 3 * k->in[0]->data[i] * k->in[0]->data[i] * k->out->grad[i];
 *     }
 *     static const ak_op cube = { .name = "cube", .formula = "y = x^3", .n_in = 1,
 *                                 .shape = cube_shape, .forward = cube_forward,
 *                                 .backward = cube_backward };
 *     ak_tensor *my_cube(ak_tensor *x) { return ak_apply(&cube, &x, 1, NULL); }
 *
 * What each function sees: shape has in and attr (ak_apply's copy) and sets out->shape, AK_SCALAR
 * for one number. Forward has out->data as well; like shape it may fail, by ak_call_fail and
 * return. Backward has out->grad, dL/dy, never NULL.
 *
 * Rules for backward: it adds into gradients and never assigns (except through
 * ak_call_grad_fresh); it looks only at in, out, attr and saved; it skips operands whose
 * gradient is NULL. Operands may be the same tensor twice: their gradients are then one. It may run
 * more than once (several losses share what they are made from), so it leaves saved as it was.
 *
 * No address of an operand's numbers outlives forward, in saved or anywhere: they may be given back
 * and made again elsewhere (ak_done_with). Backward takes k->in[i]->data anew.
 *
 * Label, row and token numbers are index operands (`n_index`, `indices`): ak_apply_all() takes them
 * beside the tensors, checks that they are there, of this context and step, and hands them to every
 * function as k->index; the shape function says how large they are (ak_call_index_shape) and which
 * numbers they hold (ak_call_index_range). A second output is k->also or k->places.
 *
 * A loss with a backward of its own is such an op, with the embeddings as operands:
 * ak_apply(&op, (ak_tensor *[]){ z1, z2 }, 2, &options). ak_gradcheck_op (akin/autograd.h) proves
 * it by its samples.
 */
#ifndef AKIN_OP_H
#define AKIN_OP_H

#include <akin/tensor.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AK_MAX_IN 8     /* operands of a sample; calls may have more */
#define AK_MAX_INDEX 4  /* index operands of an op */

typedef struct ak_op ak_op;

typedef struct ak_call {        /* one application of one op */
    ak_ctx     *ctx;
    const ak_op *op;
    ak_tensor **in;             /* n_in operands; optional ones may be NULL. As many as the record
                                 * says, however few were handed in (AK_OP_VARIADIC: these) */
    int         n_in;
    unsigned    writes;         /* operands that this call changes: as the record says, or fewer */
    bool        mixes_rows;     /* as the flag AK_OP_MIXES_ROWS says; shape takes it back where rows
                                 * stay apart (batch norm in evaluation mode) and what is written is
                                 * right in a part of a batch */
    bool        across_samples; /* as the flag AK_OP_ACROSS_SAMPLES says, likewise */
    ak_index  **index;          /* the record's n_index index operands; optional ones may be NULL */
    ak_tensor  *out;
    ak_tensor  *also;           /* second outputs, constants: if the flags say so and shape sets */
    ak_index   *places;         /* their shapes; NULL = none */
    const void *attr;           /* options, copied into the step (op->attr_size bytes) */
    void       *saved;          /* what forward left for backward: set by ak_call_save */
    struct ak_call *prev;       /* the tape, newest first */
    int64_t     number;         /* of the call in its step, from 1 */
    double      seconds;        /* of forward, when tracing */
    uint32_t   *seen;           /* versions of the operands' numbers, after forward */
} ak_call;

/* How to try an op. in[i].n = AK_ABSENT leaves an optional operand out. */
#define AK_ABSENT (-1)
typedef struct ak_sample_list { ak_shape shape; const int32_t *values; } ak_sample_list;
typedef struct ak_sample {
    ak_shape    in[AK_MAX_IN];
    int         n_in;           /* 0 = the op's n_in */
    ak_sample_list index[AK_MAX_INDEX];     /* index operands; values NULL leaves one out */
    double      lo, hi;         /* range of the drawn operands; both 0 = [-1, 1] */
    const void *attr;           /* handed to ak_apply, or to call */
    /* Runs the op where attr and index do not do (options in public form);
     * NULL = ak_apply_all(op, { in, n_in, index }, attr). */
    ak_tensor *(*call)(ak_tensor *const *in, int n_in, const struct ak_sample *s);
    unsigned    flags;          /* ak_sample_flags */
} ak_sample;

typedef enum ak_sample_flags {
    AK_SAMPLE_DISTINCT = 1,     /* all drawn numbers are well apart (max, sorting, kinks) */
    AK_SAMPLE_AWAY_FROM_ZERO = 2, /* |x| >= 0.1 */
    AK_SAMPLE_CONSTANT_1 = 4,   /* operand 1 is drawn as a constant */
    AK_SAMPLE_END = 1 << 30
} ak_sample_flags;
#define AK_END { .flags = AK_SAMPLE_END }

typedef enum ak_op_flags {
    AK_OP_OPTIONAL_IN = 1,      /* operands from ak_op.required on may be NULL */
    AK_OP_VARIADIC = 2,         /* any number of operands >= 1 */
    AK_OP_RANDOM = 4,           /* draws numbers: attr holds the stream, so a replay is exact, and
                                 * the first number (ak_random_first) */
    AK_OP_NO_SHAPE_CHECK = 8,   /* every shape fits: has no `misuse` samples */
    AK_OP_MAKES_INF = 16,       /* -inf is a legal result (masks): not a number error */
    AK_OP_MAKES_TENSOR = 32,    /* has a second output, k->also (moments of a convolution) */
    AK_OP_MAKES_INDEX = 64,     /* has a second output of whole numbers, k->places (top-k) */
    AK_OP_MIXES_ROWS = 128,     /* a row of the result depends on other rows (statistics of the
                                 * batch): k->mixes_rows, which shape may take back */
    AK_OP_ACROSS_SAMPLES = 256  /* a loss that scores samples of a batch against each other: no mean
                                 * over parts of it (ak_accumulate_begin) */
} ak_op_flags;

/* Bits of ak_op.reads: values that backward looks at. */
#define AK_READS(i)     (1u << (i))     /* of operand i */
#define AK_READS_OUT    (1u << 31)
#define AK_READS_NONE   (1u << 30)

struct ak_op {
    const char *name, *formula; /* shown by messages, `akin ops`, docs/OPS.md */
    int         n_in;
    size_t      attr_size;
    unsigned    flags;          /* ak_op_flags */
    const char *operands;       /* their names for messages, "x w b"; NULL = x of one, a b of two */
    int         required;       /* with AK_OP_OPTIONAL_IN: so many must be there; 0 = the first */
    ak_status (*shape)(ak_call *k);     /* sets k->out->shape, or fails with ak_call_fail */
    void      (*forward)(ak_call *k);   /* fills k->out->data (uninitialised before) */
    void      (*backward)(ak_call *k);  /* NULL = the result is a constant (argmax) */
    double    (*flops)(const ak_call *k);   /* of forward; NULL = one per output element */
    unsigned    reads;          /* AK_READS bits; 0 = all operands and the output. What is not
                                 * among them may be changed or given back before backward */
    /* Fills out->data a second time, with the same bits and from the operands in `reads` and
     * `again_reads`, when the values were given back (ak_done_with) and backward needs them; NULL =
     * they are kept. */
    void      (*again)(ak_call *k);
    unsigned    again_reads;    /* AK_READS bits of operands that only `again` looks at */
    unsigned    constants;      /* AK_READS bits of operands that get no gradient: one that needs
                                 * it is refused (ak_call_constant), not passed over */
    unsigned    writes;         /* AK_READS bits of operands whose numbers forward changes (running
                                 * statistics): they share no memory with other operands, and a
                                 * backward that needs what was there before is refused. Shape and
                                 * forward take bits off k->writes when a call changes nothing */
    int         n_index;        /* index operands, up to AK_MAX_INDEX */
    const char *indices;        /* their names for messages, "rows" */
    unsigned    index_optional; /* bits of those that may be NULL */
    const ak_sample *samples;   /* at least 2, ended by AK_END */
    const ak_sample *misuse;    /* must be refused with AK_ERR_SHAPE or AK_ERR_VALUE */
};

/* Apply an op.
 *
 *   in        operands of one context; NULL where the record says that one is optional. Optional
 *             ones at the end may be left out
 *   attr      copied (op->attr_size bytes); NULL = zeros
 *   returns   op's output, step lifetime; the poison tensor if an error is pending, or after one
 *   errors    AK_ERR_VALUE for a missing operand, more or fewer than the record has, and for one
 *             that the op writes and that shares memory with another; AK_ERR_STATE for poison that
 *             a call of an earlier step left behind, AK_ERR_STALE, AK_ERR_CONTEXT (contexts are
 *             mixed), and what the op's shape function and forward find
 */
AK_API ak_tensor *ak_apply(const ak_op *op, ak_tensor *const *in, int n_in, const void *attr);

typedef struct ak_operands {
    ak_tensor *const *in;
    int               n_in;
    ak_index *const  *index;    /* may be NULL if n_index is 0 */
    int               n_index;
} ak_operands;
typedef struct ak_outputs {
    ak_tensor *out, *also;      /* also, places: NULL if the op made none; poison after an error */
    ak_index  *places;
} ak_outputs;
/* The same for an op with index operands, or with more than one output. Index arrays are used where
 * they are, not copied: they live as long as the tape.
 *
 *     ak_apply_all(&pick, (ak_operands){ &x, 1, &columns, 1 }, NULL).out
 *
 *   errors    as ak_apply; the same of index arrays */
AK_API ak_outputs ak_apply_all(const ak_op *op, ak_operands operands, const void *attr);

/* For shape functions: has index operand i this shape, are all its numbers in [lo, hi)? AK_OK for
 * one that is left out; else fails with AK_ERR_SHAPE, or AK_ERR_VALUE and the first bad number. */
AK_API ak_status ak_call_index_shape(ak_call *k, int i, ak_shape shape);
AK_API ak_status ak_call_index_range(ak_call *k, int i, int64_t lo, int64_t hi);
/* Say how to mend what the next ak_call_fail of this call reports: "hint: ..." becomes the last
 * line of its message. Before it, since the hook that ak_call_fail calls may end the program:
 *
 *     ak_call_hint(k, "ak_matmul_nt(a, b) computes a b^T");
 *     return ak_call_fail(k, AK_ERR_SHAPE, "inner sizes differ: %d against %d", K, L);
 */
AK_API void ak_call_hint(ak_call *k, const char *format, ...) AK_PRINTF(2, 3);
/* Fail with "<op>: <message>"; returns status. The operands are added to the message. */
AK_API ak_status ak_call_fail(ak_call *k, ak_status status, const char *format, ...)
    AK_PRINTF(3, 4);
/* For shape functions whose record can not name its constants: fail with AK_ERR_VALUE if operand i
 * needs a gradient (and gradients are being recorded). what: "the queue", or NULL. */
AK_API ak_status ak_call_constant(ak_call *k, int i, const char *what);
/* Memory that forward leaves to backward: sets k->saved and returns it, until the step ends. One
 * piece a call: a second request returns the first. NULL: out of memory (already recorded: just
 * return). */
AK_API void *ak_call_save(ak_call *k, size_t bytes);
/* In the backward of an op whose `reads` leaves AK_READS_OUT out: the values of its output after
 * all, made again if they were given back. NULL after an error. */
AK_API ak_real *ak_call_out(ak_call *k);
/* Backward has read operand i and will not again: what nobody else keeps (ak_done_with) and its
 * maker can make again is given back, and the gradients that backward still makes may take its
 * place. */
AK_API void ak_call_done_reading(ak_call *k, int i);
/* Memory for this forward or backward only; released when it returns. */
AK_API void *ak_call_scratch(ak_call *k, size_t bytes);
/* Will backward run for this call? Forward may skip saving if not. */
AK_API bool ak_call_recorded(const ak_call *k);
/* Gradient of operand i to add into, zeroed at its first use; NULL if none is wanted. */
AK_API ak_real *ak_call_grad(ak_call *k, int i);
/* The same; *fresh true means: uninitialised, so every element must be assigned. Saves a pass. */
AK_API ak_real *ak_call_grad_fresh(ak_call *k, int i, bool *fresh);
/* The same for a backward that reads out->grad[j] no more once it has assigned element j (at most
 * for one operand of a call): dx may then be the memory of out->grad, which saves room. */
AK_API ak_real *ak_call_grad_over(ak_call *k, int i, bool *fresh);

/* Helpers: product of all but the last axis; the last axis (1 for a scalar). */
static inline int64_t ak_row_count(const ak_tensor *t)
{
    int64_t r = 1;
    for (int i = 0; i + 1 < t->shape.n; i++)
        r *= t->shape.dims[i];
    return r;
}
static inline int64_t ak_last_dim(const ak_tensor *t)
{
    return t->shape.n ? t->shape.dims[t->shape.n - 1] : 1;
}

/* ---- registry ------------------------------------------------------------------------------- */

/* Ops of the library, by position (NULL past the end) and by name (NULL if unknown). */
AK_API const ak_op *ak_op_at(int i);
AK_API const ak_op *ak_op_find(const char *name);
/* Operands of a sample drawn by (seed), as leaves that need gradients where they may. */
AK_API void ak_sample_draw(ak_ctx *ctx, const ak_sample *s, int n_in, uint64_t seed,
                           ak_tensor **in);
/* Run a sample on given operands. */
AK_API ak_tensor *ak_sample_run(const ak_op *op, const ak_sample *s, ak_tensor **in);

#ifdef __cplusplus
}
#endif
#endif
