/* SPDX-License-Identifier: Apache-2.0 */
/* akin/nn.h - modules: layers, containers, whole encoders and heads, initialisers.
 *
 * A module is a name, parameters, buffers, children and a forward function. Names are paths: the
 * weights of layer "conv1" in "encoder" are "encoder/conv1/weight", and patterns select them
 * ("encoder/...", written with a star, is the whole encoder: akin/tensor.h ak_match). What a module
 * creates lives as long as its context; nothing is freed by hand.
 *
 *     ak_module *enc  = ak_convnet(ctx, "encoder", (ak_convnet_options){
 *         .channels = { 1, 32, 64, 128 }, .pool = 4 });
 *     ak_module *head = ak_mlp(ctx, "projector", (int[]){ 2048, 128, 64, 0 });
 *     ak_module_print(enc, stdout);
 *     ak_tensor *z = ak_forward(head, ak_forward(enc, pictures));         // [N, 64]
 *
 * A module of one's own: what it is stands in a record, and its parts are made between begin and
 * end, which names them below it ("gated/value/weight") and makes them its children:
 *
 *     typedef struct gate { ak_module *value, *gate; } gate;
 *     static void gate_bind(ak_module *m)
 *     {
 *         gate *g = ak_module_user(m);
 *         g->value = ak_module_child(m, 0);
 *         g->gate = ak_module_child(m, 1);
 *     }
 *     static ak_tensor *gate_forward(ak_module *m, ak_tensor *x)
 *     {
 *         gate *g = ak_module_user(m);
 *         ak_tensor *value = ak_forward(g->value, x);     // C does not say which argument of
 *         ak_tensor *gate = ak_forward(g->gate, x);       // a call comes first: one a statement
 *         return ak_mul(value, ak_sigmoid(gate));
 *     }
 *     static const ak_module_kind gate_kind = { .name = "gate", .state_bytes = sizeof(gate),
 *                                               .forward = gate_forward, .bind = gate_bind };
 *
 *     ak_module *m = ak_module_begin(ak_module_make(ctx, "gated", &gate_kind));
 *     ak_nn_linear(ctx, "value", 64, 64, (ak_linear_options){ 0 });
 *     ak_nn_linear(ctx, "gate", 64, 64, (ak_linear_options){ 0 });
 *     m = ak_module_end(m);
 *
 * Constructors return NULL after an error (recorded in the context: wrong sizes AK_ERR_VALUE, a
 * name in use AK_ERR_VALUE, AK_ERR_MEMORY) and while one is pending. While one is, every function
 * here accepts NULL for a module without another word, so a program may check once, at the end;
 * afterwards NULL is AK_ERR_VALUE.
 *
 * The numbers a layer starts with depend on the context's seed and on the parameter's name alone:
 * adding another layer before it changes nothing.
 *
 * N batch, H W picture, T time, C channels, D features; the feature axis is last.
 */
#ifndef AKIN_NN_H
#define AKIN_NN_H

#include <akin/ops.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ak_module ak_module;

/* ---- running modules ------------------------------------------------------------------------- */

/* What a module can be handed: bit, kind, name. */
#define AK_INPUT_MAP(FIELD)                                                                        \
    FIELD(X, TENSOR, x)                                                                            \
    FIELD(IDS, INDEX, ids)                                                                         \
    FIELD(TYPES, INDEX, types)                                                                     \
    FIELD(LENGTHS, INDEX, lengths)                                                                 \
    FIELD(MASK, INDEX, mask)                                                                       \
    FIELD(PREFIX, INDEX, prefix)                                                                   \
    FIELD(MEMORY, TENSOR, memory)                                                                  \
    FIELD(MEMORY_IDS, INDEX, memory_ids)                                                           \
    FIELD(MEMORY_LENGTHS, INDEX, memory_lengths)                                                   \
    FIELD(MEMORY_MASK, INDEX, memory_mask)                                                         \
    FIELD(BIAS, TENSOR, bias)                                                                      \
    FIELD(SKIP, TENSOR, skip)                                                                      \
    FIELD(STATE, POINTER, state)

/* NULL = not there. */
typedef struct ak_inputs {
    ak_tensor *x;               /* what goes from module to module: pictures, vectors, [N, T, C] */
    ak_index  *ids;             /* [N, T] tokens, or numbers of categories */
    ak_index  *types;           /* [N, T] what kind of token each is */
    ak_index  *lengths;         /* [N] positions of x or ids that are no padding */
    ak_index  *mask;            /* [N, T] 1 = no padding, where lengths can not say it */
    ak_index  *prefix;          /* [N] first positions of x that all others see (causal
                                 * attention) */
    ak_tensor *memory;          /* [N, S, C] what cross-attention looks at */
    ak_index  *memory_ids;      /* [N, S] the tokens that a module makes its memory of */
    ak_index  *memory_lengths;  /* [N] likewise, */
    ak_index  *memory_mask;     /* [N, S] of memory */
    ak_tensor *bias;            /* added to the scores of attention (ak_attention_options) */
    ak_tensor *skip;            /* added before the last activation (ak_nn_conv_norm) */
    void      *state;           /* of the caller, between calls: a decoder's keys and values */
} ak_inputs;

/* A bit a field: AK_IN_X, AK_IN_IDS, .. */
enum ak_input_places {
#define AK_INPUT_PLACE(bit, kind, field) AK_IN_PLACE_##bit,
    AK_INPUT_MAP(AK_INPUT_PLACE)
#undef AK_INPUT_PLACE
    AK_IN_COUNT
};
typedef enum ak_input {
#define AK_INPUT_BIT(bit, kind, field) AK_IN_##bit = 1 << AK_IN_PLACE_##bit,
    AK_INPUT_MAP(AK_INPUT_BIT)
#undef AK_INPUT_BIT
    AK_IN_ALL = (1 << AK_IN_COUNT) - 1
} ak_input;

/* Apply a module to x alone.
 *
 *   returns   one tensor, what its forward function returns, step lifetime; poison while an error
 *             is pending. An encoder returns the sequence [N, T, C] or map [N, H, W, C]; what a
 *             method wants beside it, a pooled vector, is a function of that: ak_global_avg_pool(y)
 *   errors    AK_ERR_SHAPE with the module's path and the shape it expects, AK_ERR_VALUE for NULL,
 *             for a module that needs more than x, and for a forward function that returns NULL;
 *             AK_ERR_STATE where an ak_module_end is missing
 */
AK_API ak_tensor *ak_forward(ak_module *m, ak_tensor *x);
/* The same with several inputs. Index arrays must live as long as the tape.
 *
 *     y = ak_forward_with(text, (ak_inputs){ .ids = tokens, .lengths = lengths });
 *
 *   containers  hand x on, and every part gets those of the other fields that it takes
 *   errors      also AK_ERR_VALUE, naming path and field, for a field that the module does not take
 *               and for one that it needs and is not there; AK_ERR_STALE, AK_ERR_CONTEXT,
 *               AK_ERR_STATE (poison) for each field
 */
AK_API ak_tensor *ak_forward_with(ak_module *m, ak_inputs in);
/* What a module takes, AK_IN bits: of a container, what its parts take. 0 after an error. */
AK_API unsigned ak_module_takes(const ak_module *m);
/* x, and those of the other fields that m takes: for a container of one's own. */
AK_API ak_inputs ak_inputs_for(const ak_module *m, ak_inputs in);

/* Keep a module and everything below it in evaluation mode (false), whatever ak_train_mode says:
 * a frozen encoder whose running statistics must stay. true: follow the context again. */
AK_API void ak_module_train(ak_module *m, bool train);

/* ---- what a module is made of ---------------------------------------------------------------- */

AK_API const char *ak_module_name(const ak_module *m);      /* its path; "" for NULL */
/* Parameters and buffers, its own first, then those of its children in the order they were added
 * (the state list); NULL past the end. */
AK_API ak_tensor *ak_module_param(const ak_module *m, int64_t i);
/* By path below the module ("conv1/weight"); NULL if there is none. */
AK_API ak_tensor *ak_module_find(const ak_module *m, const char *path);
AK_API ak_module *ak_module_child(const ak_module *m, int64_t i);
/* Trainable numbers (buffers are not counted). */
AK_API int64_t ak_module_size(const ak_module *m);
/* A tree: name, what it is, shapes, numbers of parameters. */
AK_API void ak_module_print(const ak_module *m, FILE *file);

/* ---- building -------------------------------------------------------------------------------- */

/* Names are paths of parts between slashes. None may be empty, hold a sign of patterns (* ? , ! ~)
 * or a control character: AK_ERR_VALUE, so that a pattern reaches every name. */

/* Every module that is made from here to ak_module_end(m) is named below m ("fc1" in "net" is
 * "net/fc1") and becomes its child, in the order in which they are made:
 *
 *     ak_module *net = ak_module_begin(ak_nn_sequential(ctx, "net", NULL));
 *     ak_nn_linear(ctx, "fc1", 64, 32, (ak_linear_options){ .relu = true });   // net/fc1/weight
 *     ak_nn_dropout(ctx, "drop", 0.1);
 *     ak_nn_linear(ctx, "fc2", 32, 10, (ak_linear_options){ 0 });
 *     net = ak_module_end(net);
 *
 * They nest. A part that is handed to a container made there (a list of ak_nn_sequential, a body of
 * ak_nn_residual) moves into that, and keeps its name.
 *
 *   returns   m
 *   errors    AK_ERR_STATE if m is open already. A name that m has already is AK_ERR_VALUE in the
 *             constructor. While a module is open none can be run, saved, loaded or copied
 *             (AK_ERR_STATE): a forgotten end is found there
 */
AK_API ak_module *ak_module_begin(ak_module *m);
/* returns m; NULL after an error since the begin, and m can not be run then (AK_ERR_STATE)
 * errors: AK_ERR_STATE if m is not open, or a module inside of it still is (both are closed) */
AK_API ak_module *ak_module_end(ak_module *m);

typedef ak_tensor *(*ak_forward_fn)(ak_module *m, ak_tensor *x);

/* What modules of one kind have in common; it must live as long as the context. */
typedef struct ak_module_kind {
    const char   *name;         /* for listings and messages, until ak_module_describe */
    /* One of the two; they may call ops and ak_forward: */
    ak_forward_fn forward;      /* of x alone, */
    ak_tensor   *(*forward_with)(ak_module *m, const ak_inputs *in);    /* or of several inputs: */
    unsigned      needs;        /* AK_IN bits that must be there, */
    unsigned      takes;        /* and those that may be there as well */
    bool          container;    /* takes what its children take (ak_inputs_for) */
    size_t        state_bytes;  /* zeroed memory for ak_module_user: options, and pointers to own
                                 * parameters and children that */
    bool          plain_state;  /* it holds numbers alone: a copy is not searched for pointers to
                                 * the original, as which bytes between fields could be taken */
    void        (*bind)(ak_module *m);  /* sets (ak_module_find, ak_module_child): called before
                                 * the first forward after some were added, and in a copy */
    /* Where a batch runs `rows` at a time: does a row of the result depend on rows that run at
     * another time? (Batch norm's do in train mode; split batch norm's do not where no group is
     * cut.) NULL = no. Such a module is refused there: akin/recompute.h. */
    bool        (*mixes_rows)(const ak_module *m, int64_t rows, int64_t batch, bool training);
    const struct ak__fusion *fusion;    /* private */
} ak_module_kind;

/* A module of a kind, without parameters yet.
 *
 *   name      its path, or below the open module what its path adds to that; copied
 *   errors    AK_ERR_VALUE for a name that is none, and for a kind without forward function
 */
AK_API ak_module *ak_module_make(ak_ctx *ctx, const char *name, const ak_module_kind *kind);
/* The short form: a function of x.
 *
 *   forward   never NULL
 *   user      handed out by ak_module_user; must live as long as the context; may be NULL. With one
 *             that is not NULL there is no ak_module_clone
 */
AK_API ak_module *ak_module_new(ak_ctx *ctx, const char *name, ak_forward_fn forward, void *user);
/* Make child, which was made elsewhere, part of m (listing, state list, evaluation mode); it keeps
 * its name. A module may stand at several places: they share its weights, which state list and
 * ak_module_size count once. Returns child.
 * errors: AK_ERR_VALUE if m is child, or a part of it: modules form a tree, and for what was made
 * inside m while m is open: it is its child already; AK_ERR_CONTEXT */
AK_API ak_module *ak_module_add(ak_module *m, ak_module *child);
/* A parameter or buffer "path/name" of m: zeros, to be filled by ak_init_fill or ak_fill.
 * flags: ak_param_flags. Poison after an error. */
AK_API ak_tensor *ak_module_add_param(ak_module *m, const char *name, ak_shape shape, int flags);
AK_API ak_tensor *ak_module_add_buffer(ak_module *m, const char *name, ak_shape shape);
AK_API void *ak_module_user(const ak_module *m);
AK_API ak_ctx *ak_module_ctx(const ak_module *m);
/* What ak_module_print shows beside the name; copied. */
AK_API void ak_module_describe(ak_module *m, const char *format, ...) AK_PRINTF(2, 3);

/* ---- copies and files ------------------------------------------------------------------------ */

/* A copy of m and everything below it: a teacher, a momentum encoder.
 *
 *     ak_module *teacher = ak_module_clone(student, "teacher");
 *     ... in every step: ak_ema_update(ctx, "teacher", "student", 0.99);
 *
 *   names     those of m with `name` in place of m's path; a part that is not named below m keeps
 *             its name behind "name/", and ak_ema_update finds it all the same
 *   values    parameters and buffers are copied; parameters are frozen (ak_freeze thaws them);
 *             ak_module_train(m, false) holds for the copy as well
 *   parts     a part that stands at several places in m does so in the copy
 *   state     of a kind with .state_bytes: copied, then .bind sets its pointers
 *   returns   the copy, context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE, before anything is made, for a name in use and for a module that can
 *             not be copied: one of ak_module_new with a user pointer; AK_ERR_VALUE for state that
 *             points to parts of m when .bind has been called; AK_ERR_STATE
 */
AK_API ak_module *ak_module_clone(ak_module *m, const char *name);

/* All parameters and buffers of m as an archive of arrays, named by their paths below m
 * ("conv1/weight"); numpy.load reads it. Numbers that are not finite are written with a warning.
 *
 *   returns   AK_OK; the file is complete or, on failure, the old one is untouched
 *   errors    AK_ERR_VALUE for a module without parameters, AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE
 */
AK_API ak_status ak_module_save_npz(ak_module *m, const char *path);
/* Take them from such a file, f4, f8 or f2, written here or by numpy.savez. The arrays that were
 * read stay in memory until the context closes.
 *
 *   errors    AK_ERR_FORMAT, and nothing has changed, if file and module do not fit; the message
 *             lists every array that is missing, unexpected, of another shape or no floating-point
 *             numbers; AK_ERR_VALUE for a number beyond ak_real; else as ak_npz_open
 */
AK_API ak_status ak_module_load_npz(ak_module *m, const char *path);

/* ---- initialisers ---------------------------------------------------------------------------- */

/* For a weight [O, .., I] fan_in is the product of all axes but the first, fan_out that of all but
 * the last. uniform means [-bound, bound) with the same variance. */
typedef enum ak_init_kind {
    AK_INIT_DEFAULT = 0,        /* uniform, bound = 1 / sqrt(fan_in): PyTorch's for these layers */
    AK_INIT_CONSTANT,           /* every number = scale, 0 = zeros */
    AK_INIT_UNIFORM,            /* bound = scale */
    AK_INIT_NORMAL,             /* standard deviation = scale */
    AK_INIT_TRUNCATED_NORMAL,   /* N(0, scale^2) cut at two standard deviations */
    AK_INIT_HE_NORMAL,          /* deviation = scale sqrt(2 / fan_in); He et al. 2015 */
    AK_INIT_HE_UNIFORM,
    AK_INIT_XAVIER_NORMAL,      /* deviation = scale sqrt(2 / (fan_in + fan_out)); Glorot, Bengio */
    AK_INIT_XAVIER_UNIFORM,     /*                                                       2010 */
    AK_INIT_ORTHOGONAL          /* [O, rest]: rows (or columns, the fewer) orthogonal, of length
                                 * scale; Saxe et al. 2014 */
} ak_init_kind;

typedef struct ak_init {
    ak_init_kind kind;
    double scale;       /* as above, >= 0; 0 = 1 (UNIFORM, NORMAL, TRUNCATED_NORMAL: 0.02) */
    bool   fan_out;     /* HE_*: fan_out in place of fan_in */
} ak_init;

/* Fill a parameter. Numbers are drawn by (context's seed, hash of its name, place in it).
 *
 *   errors    AK_ERR_SHAPE if the kind needs fans and w has less than two axes; AK_ERR_VALUE for
 *             a tensor without name or a negative scale
 */
AK_API ak_status ak_init_fill(ak_tensor *w, ak_init how);

/* ---- layers ---------------------------------------------------------------------------------- */
/* Parameters are listed with their shapes; biases and norm weights carry AK_PARAM_NO_DECAY. */

typedef enum ak_activation {
    AK_RELU = 0, AK_LEAKY_RELU /* slope 0.01 */, AK_ELU /* alpha 1 */, AK_GELU, AK_GELU_TANH,
    AK_SILU, AK_SIGMOID, AK_TANH, AK_SOFTPLUS, AK_HARDSWISH, AK_QUICK_GELU, AK_IDENTITY
} ak_activation;
/* The op by its value; x itself for AK_IDENTITY. errors: AK_ERR_VALUE for an unknown value */
AK_API ak_tensor *ak_activate(ak_tensor *x, ak_activation kind);

typedef struct ak_linear_options {
    bool    no_bias;
    bool    relu;       /* max(., 0) fused */
    ak_init weight;     /* default AK_INIT_DEFAULT */
} ak_linear_options;
/* y = x weight^T + bias:  x [.., in] -> [.., out];  weight [out, in], bias [out] */
AK_API ak_module *ak_nn_linear(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                               ak_linear_options o);

typedef struct ak_conv_layer_options {
    int     stride;         /* 0 = 1 */
    int     padding;        /* zeros on each side; 0 = none */
    int     dilation;       /* 0 = 1 */
    int     groups;         /* divides in and out; 0 = 1 */
    int     output_padding; /* transposed only */
    bool    exact;          /* as in ak_conv_options */
    bool    no_bias;
    ak_init weight;         /* default AK_INIT_DEFAULT */
} ak_conv_layer_options;
/* x [N, H, W, in] -> [N, H', W', out];  weight [out, kernel, kernel, in/groups], bias [out] */
AK_API ak_module *ak_nn_conv2d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                               ak_conv_layer_options o);
/* x [N, T, in] -> [N, T', out];  weight [out, kernel, in/groups], bias [out] */
AK_API ak_module *ak_nn_conv1d(ak_ctx *ctx, const char *name, int64_t in, int64_t out, int kernel,
                               ak_conv_layer_options o);
/* x [N, H, W, in] -> [N, H', W', out];  weight [in, kernel, kernel, out/groups], bias [out] */
AK_API ak_module *ak_nn_conv2d_transposed(ak_ctx *ctx, const char *name, int64_t in, int64_t out,
                                          int kernel, ak_conv_layer_options o);

/* weight [C] ones, bias [C] zeros (neither with .no_affine); buffers running_mean [C] zeros,
 * running_var [C] ones. x [.., C], like ak_batch_norm (train and evaluation mode). */
AK_API ak_module *ak_nn_batch_norm(ak_ctx *ctx, const char *name, int64_t channels,
                                   ak_batch_norm_options o);
/* weight, bias [D]; eps 0 = 1e-5 */
AK_API ak_module *ak_nn_layer_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps);
/* weight [D]; eps 0 = 1e-6 */
AK_API ak_module *ak_nn_rms_norm(ak_ctx *ctx, const char *name, int64_t dim, double eps);
/* weight, bias [C]; groups divides C; eps 0 = 1e-5 */
AK_API ak_module *ak_nn_group_norm(ak_ctx *ctx, const char *name, int64_t channels, int groups,
                                   double eps);

/* Without parameters. */
AK_API ak_module *ak_nn_activation(ak_ctx *ctx, const char *name, ak_activation kind);
AK_API ak_module *ak_nn_dropout(ak_ctx *ctx, const char *name, double p);   /* p in [0, 1) */
AK_API ak_module *ak_nn_max_pool2d(ak_ctx *ctx, const char *name, ak_pool_options o);
AK_API ak_module *ak_nn_avg_pool2d(ak_ctx *ctx, const char *name, ak_pool_options o);
AK_API ak_module *ak_nn_adaptive_avg_pool2d(ak_ctx *ctx, const char *name, int64_t oh, int64_t ow);
AK_API ak_module *ak_nn_global_avg_pool(ak_ctx *ctx, const char *name);   /* [N, .., C] -> [N, C] */
AK_API ak_module *ak_nn_flatten(ak_ctx *ctx, const char *name);             /* [N, ..] -> [N, D] */
AK_API ak_module *ak_nn_l2_normalize(ak_ctx *ctx, const char *name);

typedef struct ak_conv_norm_options {
    ak_activation activation;   /* default AK_RELU; AK_IDENTITY = none */
    bool          skip;         /* needs .skip beside .x: added before the activation */
} ak_conv_norm_options;
/* y = activation(norm(conv(x)) + skip) as one unit: in train mode the convolution takes the batch
 * norm's statistics of what it writes, ReLU and sum need no pass of their own, and the map between
 * the two is given back early.
 *
 *   conv, norm   of ak_nn_conv2d or ak_nn_conv1d, and of ak_nn_batch_norm without .relu; the unit's
 *                children
 *   errors       AK_ERR_VALUE for other modules, AK_ERR_SHAPE (with the unit's path) when skip is
 *                not like the result
 */
AK_API ak_module *ak_nn_conv_norm(ak_ctx *ctx, const char *name, ak_module *conv, ak_module *norm,
                                  ak_conv_norm_options o);

/* ---- containers ------------------------------------------------------------------------------ */

/* One after the other; the list ends with NULL, after 1000 modules at most (AK_ERR_VALUE):
 *     ak_nn_sequential(ctx, "net", (ak_module *[]){ a, b, c, NULL })
 * parts NULL: none yet, they are made between ak_module_begin and ak_module_end. */
AK_API ak_module *ak_nn_sequential(ak_ctx *ctx, const char *name, ak_module *const *parts);
/* y = activation(body(x) + shortcut(x)); shortcut NULL = x itself. body NULL as well: the first
 * module that is made inside is the body, a second one the shortcut. errors: AK_ERR_SHAPE (with the
 * module's path) when the two differ, AK_ERR_VALUE when it is run with no part or more than two. */
AK_API ak_module *ak_nn_residual(ak_ctx *ctx, const char *name, ak_module *body,
                                 ak_module *shortcut, ak_activation activation);

/* ---- heads ----------------------------------------------------------------------------------- */

typedef struct ak_mlp_options {
    bool          batch_norm;       /* after every linear layer but the last */
    bool          batch_norm_out;   /* after the last one as well, */
    bool          plain_out;        /* and that one without scale and bias (.no_affine) */
    bool          no_bias_out;      /* of the last linear layer */
    int           groups;           /* of the batch norms (ak_batch_norm_options) */
    ak_activation activation;       /* after every layer but the last; default AK_RELU */
    bool          no_bias;          /* of the linear layers; those before a batch norm never have
                                     * one: the norm takes it away again */
    double        dropout;          /* before every linear layer but the first, [0, 1) */
    ak_init       weight;
} ak_mlp_options;
/* Linear layers fc1, fc2, .. with ReLU between them; sizes ends with 0: (int[]){ 2048, 128, 64, 0 }
 * is 2048 -> 128 -> ReLU -> 64.  x [.., sizes[0]] -> [.., last] */
AK_API ak_module *ak_mlp(ak_ctx *ctx, const char *name, const int *sizes);
/* Likewise with options; batch norms are bn1, bn2, .. */
AK_API ak_module *ak_mlp_with(ak_ctx *ctx, const char *name, const int *sizes, ak_mlp_options o);
/* in -> hidden -> batch norm -> ReLU -> out -> batch norm, no biases: the projection head of
 * SimCLR (Chen et al. 2020, appendix B) and Barlow Twins with one hidden layer. */
AK_API ak_module *ak_projector(ak_ctx *ctx, const char *name, int in, int hidden, int out);
/* dim -> hidden -> batch norm -> ReLU -> dim: the predictor of BYOL (Grill et al. 2020) and
 * SimSiam (Chen, He 2021). */
AK_API ak_module *ak_predictor(ak_ctx *ctx, const char *name, int dim, int hidden);

/* ---- encoders for pictures ------------------------------------------------------------------- */

#define AK_CONVNET_MAX 8
typedef struct ak_convnet_options {
    int channels[AK_CONVNET_MAX + 1];   /* of the picture, then of each layer; ends with 0 */
    int pool;                           /* side of the pooled map, >= 1; 0 = 1 */
    bool map;                           /* the map before pooling; without .pool */
    int groups;                         /* of every batch norm (ak_batch_norm_options); 0 = 1 */
} ak_convnet_options;
/* 3x3 convolutions (the first with stride 1, the others with stride 2) without bias, each followed
 * by batch norm + ReLU; adaptive average pooling to pool x pool; flattened.
 *
 *   x [N, H, W, channels[0]] -> [N, pool * pool * last channels], or the map [N, H', W', last]
 *   parameters   conv1/weight, bn1/weight, bn1/bias, conv2/..; buffers bn1/running_mean, ..
 */
AK_API ak_module *ak_convnet(ak_ctx *ctx, const char *name, ak_convnet_options o);

typedef struct ak_resnet_options {
    int channels;       /* of the pictures; 0 = 3 */
    int width;          /* of the first stage; the others have 2, 4, 8 times as many; 0 = 64 */
    int stem;           /* 3 = one 3x3 layer with stride 1 and no pooling, for small pictures;
                         * 7 = 7x7 with stride 2 and 3x3 max pooling; 0 = 3 */
    int classes;        /* outputs of a last linear layer "fc"; 0 = none: features [N, F] */
    bool map;           /* the map [N, H', W', F] before pooling; without classes */
    int depth;          /* 18, 34: two 3x3 layers a block, F = 8 width; 50: bottlenecks of 1x1, 3x3
                         * (which has the stride, as torchvision) and 1x1, F = 32 width; 0 = 18 */
    bool zero_last;     /* the last norm of each block starts at 0, and so the block as its shortcut
                         * (Goyal et al. 2017; torchvision's zero_init_residual) */
    int groups;         /* of every batch norm (ak_batch_norm_options); 0 = 1 */
} ak_resnet_options;
/* ResNet (He et al. 2016): four stages of blocks; global average pooling.
 *
 *   x [N, H, W, channels] -> [N, F], or [N, classes], or the map
 *   parameters   torchvision's names with "/" for ".": conv1/weight, bn1/weight,
 *                layer1/0/conv1/weight, layer2/0/downsample/0/weight, fc/weight, ..
 *   start        convolutions He normal by fan_out, as torchvision
 *   errors       AK_ERR_VALUE, also for a .depth that is not the one in the function's name
 */
AK_API ak_module *ak_resnet(ak_ctx *ctx, const char *name, ak_resnet_options o);
AK_API ak_module *ak_resnet18(ak_ctx *ctx, const char *name, ak_resnet_options o);
AK_API ak_module *ak_resnet34(ak_ctx *ctx, const char *name, ak_resnet_options o);
AK_API ak_module *ak_resnet50(ak_ctx *ctx, const char *name, ak_resnet_options o);

#ifdef __cplusplus
}
#endif
#endif
