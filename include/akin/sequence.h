/* SPDX-License-Identifier: Apache-2.0 */
/* akin/sequence.h - encoders of series, sets of ids and tables.
 *
 * Series have the shape [N, T, C] and may be padded at the end: `.lengths` says how many positions
 * of each are no padding. Then what stands in padding is not read, results are 0 there, and the
 * valid ones are those of the same series without padding, in train mode too.
 *
 *     ak_module *net = ak_convnet1d(ctx, "ecg", (ak_convnet1d_options){
 *         .channels = { 1, 32, 64, 128 }, .kernel = 7, .stride = { 2, 2, 2 } });
 *     ak_tensor *z = ak_convnet1d_pooled(net, x, lengths);                    // [N, 128]
 *
 *     ak_module *gru = ak_nn_gru(ctx, "gru", 128, 256, (ak_gru_layer_options){ .both = true });
 *     ak_tensor *y = ak_forward_with(gru, (ak_inputs){ .x = x, .lengths = lengths });
 *     ak_tensor *h = ak_last_state(y, lengths, 2);                            // [N, 512]
 *
 * The log-mel front end of sounds is akin/sound.h.
 */
#ifndef AKIN_SEQUENCE_H
#define AKIN_SEQUENCE_H

#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- recurrent ------------------------------------------------------------------------------- */

typedef struct ak_gru_layer_options {
    int    layers;      /* one on the other, [1, 64]; 0 = 1 */
    bool   both;        /* both directions: each layer returns [N, T, 2 hidden] */
    bool   no_bias;
    double dropout;     /* of what a layer hands to the next, [0, 1) */
} ak_gru_layer_options;
/* Gated recurrent unit (ak_gru) in layers.
 *
 *   takes        .x [N, T, in]; .lengths [N]; .memory [N, layers * directions, hidden], the initial
 *                states in PyTorch's order: layer 0, its other direction, layer 1, ..
 *   returns      [N, T, directions * hidden], the states of the last layer; 0 in padding
 *   parameters   PyTorch's names: weight_ih_l0 [3 hidden, in], weight_hh_l0 [3 hidden, hidden],
 *                bias_ih_l0, bias_hh_l0 [3 hidden], weight_ih_l0_reverse, .., weight_ih_l1, ..;
 *                rows in the order r, z, n
 *   start        uniform within 1 / sqrt(hidden), as PyTorch
 *   errors       AK_ERR_VALUE for options and lengths, AK_ERR_SHAPE for each input
 */
AK_API ak_module *ak_nn_gru(ak_ctx *ctx, const char *name, int64_t in, int64_t hidden,
                            ak_gru_layer_options o);
/* The state after the last step: y[n, length-1] of the first direction, y[n, 0] of the second.
 *
 *   y         [N, T, directions * H], of ak_gru or ak_nn_gru; directions 1 or 2
 *   lengths   [N] in [1, T], those that y was made with; NULL = T
 *   returns   [N, directions * H]; belongs to the step
 *   grad      to the places that were taken
 *   errors    AK_ERR_SHAPE; AK_ERR_VALUE for directions, and for a length of 0: a sequence without
 *             a step has no last state
 */
AK_API ak_tensor *ak_last_state(ak_tensor *y, ak_index *lengths, int directions);

/* ---- convolution ----------------------------------------------------------------------------- */

typedef enum ak_convnet1d_norm {
    AK_CONVNET1D_BATCH_NORM = 0, AK_CONVNET1D_GROUP_NORM, AK_CONVNET1D_NO_NORM
} ak_convnet1d_norm;

typedef struct ak_convnet1d_options {
    int channels[AK_CONVNET_MAX + 1];   /* of x, then of each layer; ends with 0 */
    int kernel;                         /* [1, 2^20]; 0 = 3; kernel/2 zeros on each side */
    int stride[AK_CONVNET_MAX];         /* of each layer, >= 1; 0 = 1 */
    ak_convnet1d_norm norm;             /* behind each convolution */
    int groups;                         /* of group norm: divides all channels but those of x */
    ak_activation activation;           /* behind each norm; default AK_RELU */
} ak_convnet1d_options;
/* Convolutions over time: frames of sound, ECG, series.
 *
 *   takes        .x [N, T, channels[0]]; .lengths [N] in [0, T]
 *   returns      [N, T', last channels]; T' as ak_convnet1d_lengths says, 0 in padding
 *   norms        take statistics over valid positions alone: batch norm of the batch, group norm
 *                of each sample
 *   parameters   conv1/weight [O, kernel, I] (and conv1/bias without norm), bn1/weight, bn1/bias
 *                (gn1/..), conv2/..; buffers bn1/running_mean, bn1/running_var
 *   errors       AK_ERR_SHAPE; AK_ERR_VALUE for lengths. Those of ak_nn_batch_norm: one valid
 *                position in all is too few for it in train mode
 */
AK_API ak_module *ak_convnet1d(ak_ctx *ctx, const char *name, ak_convnet1d_options o);
/* Lengths of what it returns: an index array of the step; 0 where a series is too short to reach
 * the end. errors: AK_ERR_VALUE for another kind of module and for lengths below 0 (the poison
 * index) */
AK_API ak_index *ak_convnet1d_lengths(const ak_module *m, const ak_index *lengths);
/* Its mean over valid positions [N, last channels]. lengths NULL: all of x.
 * errors: also AK_ERR_VALUE for a series of which no position is left */
AK_API ak_tensor *ak_convnet1d_pooled(ak_module *m, ak_tensor *x, ak_index *lengths);
/* Lengths behind one convolution (or pooling): (length + 2 padding - dilation (kernel - 1) - 1) /
 * stride + 1, 0 where that is less and for a length of 0. Stride, padding and dilation of o count.
 * errors: AK_ERR_VALUE for options and lengths below 0 (the poison index) */
AK_API ak_index *ak_conv_lengths(const ak_index *lengths, int kernel, ak_conv_options o);

/* ---- sets of ids ----------------------------------------------------------------------------- */

typedef struct ak_embedding_bag_layer_options {
    ak_bag_mode mode;       /* default AK_BAG_MEAN */
    int     padding;        /* an id that counts for nothing */
    bool    has_padding;    /* .padding is meant, also if it is 0 */
    ak_init weight;         /* default: normal, deviation 1, as PyTorch */
} ak_embedding_bag_layer_options;
/* A row of a table for each id, and their sum, mean or largest (ak_embedding_bag).
 *
 *   takes        .ids [N, T]; .lengths [N]; .x [N, T], a weight of each id (not for the largest)
 *   returns      [N, dim]; zeros where there is no id
 *   parameters   weight [vocabulary, dim]; the row of padding starts as 0 and stays so
 *   errors       those of ak_embedding_bag; AK_ERR_VALUE for options
 */
AK_API ak_module *ak_nn_embedding_bag(ak_ctx *ctx, const char *name, int64_t vocabulary,
                                      int64_t dim, ak_embedding_bag_layer_options o);

/* ---- tables ---------------------------------------------------------------------------------- */

/* What becomes of a number that is missing (NaN). */
typedef enum ak_missing {
    AK_MISSING_REFUSE = 0,      /* AK_ERR_NUMBER that names row and column */
    AK_MISSING_FLAG,            /* the column's mean, and a column more that is 1 where it was */
    AK_MISSING_EMBEDDING        /* a number of the column's own that is learned: missing [F] */
} ak_missing;

#define AK_TABULAR_MAX 256
typedef struct ak_tabular_options {
    int numbers;                /* F columns of numbers; 0 = none */
    int categories[AK_TABULAR_MAX + 1]; /* how many each column of categories has; ends with 0 */
    int width[AK_TABULAR_MAX];  /* of a column's embedding; 0 = min(50, (categories + 1) / 2) */
    ak_missing missing;
    const int *hidden;          /* layers of the network and its output, ends with 0 as for ak_mlp:
                                 * (int[]){ 128, 64, 0 }; at least one */
    ak_mlp_options mlp;
} ak_tabular_options;
/* Rows of a table: numbers and categories.
 *
 *   takes        .x [N, F] numbers, .ids [N, columns] categories, each if there are such columns
 *   numbers      (x - mean) / std with buffers that ak_tabular_fit sets (0 and 1 at first)
 *   categories   id i of [0, categories) is row i of the column's table; -1, an unknown one, is its
 *                last row, which starts as 0
 *   returns      [N, last of hidden]: the network over numbers, flags, embeddings
 *   parameters   category0/weight [categories + 1, width], .., missing [F], mlp/fc1/weight, ..;
 *                buffers mean, std [F]
 *   grad         by parameters, and by x where it is not missing
 *   errors       AK_ERR_SHAPE; AK_ERR_NUMBER for an infinite number (and a missing one: .missing);
 *                AK_ERR_VALUE for another id; each names row and column
 */
AK_API ak_module *ak_tabular(ak_ctx *ctx, const char *name, ak_tabular_options o);
/* Set mean and std to those of x [M, F], of the numbers that are not missing (std with 1/M; that of
 * a column of equal numbers is 1).
 * errors: AK_ERR_VALUE for another module and for a column without a number, AK_ERR_NUMBER for an
 * infinite one, AK_ERR_SHAPE; nothing has changed then */
AK_API ak_status ak_tabular_fit(ak_module *m, const ak_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
