/* SPDX-License-Identifier: Apache-2.0 */
/* akin/weights.h - weights from other libraries and for them, and adapters (LoRA).
 *
 *     ak_module_load_safetensors(bert, "model.safetensors", (ak_weight_map){
 *         .pairs = (ak_weight_pair[]){
 *             { .file = "encoder.layer.*.attention.self.{query,key,value}.*",
 *               .module = "layer.*.attention.qkv.*" },
 *             { .file = "embeddings.LayerNorm.*", .module = "embeddings.norm.*" },
 *             { 0 } },
 *         .prefix = "bert.", .ignore = "cls.*" });
 *
 * Names of a file and of a module are the same but for the sign between their parts: "." and "/"
 * are one here, in names and in patterns. What no pair says otherwise has one name on both sides.
 *
 * Files of PyTorch hold weights of convolutions as [O, I, kH, kW], this library as [O, kH, kW, I].
 * Weights of the layers ak_nn_conv1d, ak_nn_conv2d and ak_nn_conv2d_transposed are turned on the
 * way (.convolutions); a weight that a module of one's own hands to ak_conv2d needs a pair with
 * .axes = "0231".
 */
#ifndef AKIN_WEIGHTS_H
#define AKIN_WEIGHTS_H

#include <akin/nn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the map --------------------------------------------------------------------------------- */

#define AK_WEIGHT_PARTS 8

/* Names in the file and what they are called in the module. A star stands for any text, also with
 * "/" in it, as short as possible, and is carried over: the first to the first, and so on; both
 * sides have equally many, eight at most. Of several pairs that fit a name the first holds. */
typedef struct ak_weight_pair {
    const char *file;       /* "h.*.attn.c_attn.weight"; with {a,b,c} once in it: several arrays of
                             * the file, AK_WEIGHT_PARTS at most, which are joined in the module */
    const char *module;     /* below the module: "blocks.*.attn.qkv.weight". A '~' before it: there
                             * may be no such tensor */
    const char *axes;       /* axis k in the module is axis axes[k] in the file: "10" = transposed
                             * (GPT-2's Conv1D, I x O), "0231" = PyTorch's convolution; NULL = the
                             * same order, for convolution layers as .convolutions says */
    int         axis;       /* of the module, along which parts are joined; 0 = the first */
    const int  *shares;     /* of the parts in that axis, ended by 0: (int[]){ 4, 1, 1, 0 }; NULL =
                             * equal parts */
} ak_weight_pair;

typedef enum ak_conv_layout {
    AK_CONV_BY_FILE = 0,    /* safetensors: AK_CONV_FIRST, unless the file says that it is from
                             * here and has AK_CONV_LAST; npz: AK_CONV_LAST */
    AK_CONV_FIRST,          /* [O, I, kH, kW]: PyTorch's */
    AK_CONV_LAST            /* [O, kH, kW, I]: this library's, as it is */
} ak_conv_layout;

/* { 0 }: all of the module's tensors, and nothing else, under their own names. */
typedef struct ak_weight_map {
    const ak_weight_pair *pairs;    /* ended by { 0 }, 1000 at most; NULL = none */
    const char *prefix;             /* what all names in the file begin with: "bert." */
    const char *only;               /* tensors of the module to load or save, a pattern (ak_match in
                                     * akin/tensor.h) of names below it; NULL = all */
    ak_conv_layout convolutions;
    /* For loading; patterns, of which each alternative must fit something or begin with '~': */
    const char *ignore;             /* names in the file, behind the prefix, to take for absent */
    const char *allow_unexpected;   /* names in the file that need not be used */
    const char *allow_missing;      /* names in the module that need not be in the file: these
                                     * keep their numbers */
} ak_weight_map;

/* ---- weights of a module --------------------------------------------------------------------- */

/* Parameters and buffers of m from a safetensors file (F64, F32, F16, BF16). "num_batches_tracked"
 * of PyTorch's batch norms is passed over: there is no such count here.
 *
 *   errors    AK_ERR_FORMAT, and nothing has changed, if file and module do not fit: the message
 *             lists each array that is missing, unexpected, of another shape (and says where it
 *             is transposed) or no floating-point numbers; so if nothing would be loaded at all,
 *             and if the file is from here and its weights were those of other heads, another
 *             activation or norms of another eps, which no shape shows;
 *             AK_ERR_VALUE for a finite number beyond
 *             ak_real, and for a map that is wrong or has a pair that another one hides;
 *             AK_ERR_NOT_FOUND for a pair or pattern that fits nothing; else as
 *             ak_safetensors_open. Numbers that are not finite are loaded with a warning
 */
AK_API ak_status ak_module_load_safetensors(ak_module *m, const char *path, ak_weight_map map);
/* Write them as F32 (F64 in the double build), with "." between the parts of names, by the same map
 * as for loading: what is joined in the module is cut into its parts again, axes are turned back,
 * the prefix is put in front. The metadata says "format": "pt" where convolutions are PyTorch's,
 * and of modules what no shape shows: "module encoder/layer/0/attention": "8 heads, scale 0.125".
 *
 *   returns   AK_OK; the file is complete or, on failure, the old one is untouched
 *   errors    AK_ERR_VALUE for a module without parameters, two tensors of one name, a tensor that
 *             the pair's parts do not divide; AK_ERR_IO, AK_ERR_MEMORY, AK_ERR_STATE
 */
AK_API ak_status ak_module_save_safetensors(ak_module *m, const char *path, ak_weight_map map);
/* The same for archives of numpy, with "/" between the parts of names that are written. */
AK_API ak_status ak_module_load_npz_with(ak_module *m, const char *path, ak_weight_map map);
AK_API ak_status ak_module_save_npz_with(ak_module *m, const char *path, ak_weight_map map);

/* ---- from file to file ----------------------------------------------------------------------- */

/* Write the arrays of one file into another: safetensors, npz, and the weights of a checkpoint.
 *
 *   in        any of them, known by its first bytes
 *   out       .safetensors, .npz, .ckpt or .akin, by its end; NULL = only check and list
 *   map       .prefix is taken off where a name begins with it, .ignore leaves arrays out, pairs
 *             give others names (from .file to .module), turn axes and join; what no pair names
 *             keeps its name, with the file's sign between its parts
 *   axes      stay as they are unless a pair has .axes: no module says what is a convolution. A
 *             safetensors file is marked as having the order that it came with, npz and
 *             checkpoints this library's; .convolutions says what it has now, and must where pairs
 *             turn arrays of 3 axes or more
 *   types     stay, but for F16 and BF16, which become F32; a checkpoint has floating-point
 *             numbers alone
 *   list      one line an array: names, type, shape; NULL = none
 *   errors    AK_ERR_VALUE for a map that is wrong or has .only, .allow_missing or
 *             .allow_unexpected, two arrays of one name, a part that is missing or does not fit,
 *             an end of `out` that is none of these; AK_ERR_NOT_FOUND for a pair, pattern or
 *             prefix that fits nothing; AK_ERR_UNSUPPORTED for a type that can not be read or
 *             written; else as the readers and writers. Nothing is written then
 */
AK_API ak_status ak_weights_convert(ak_ctx *ctx, const char *in, const char *out,
                                    ak_weight_map map, FILE *list);

/* ---- adapters -------------------------------------------------------------------------------- */

typedef struct ak_lora_options {
    int64_t rank;       /* r >= 1; 0 = 8 */
    double  alpha;      /* (0, 1e30]; 0 = the rank, so that the factor is 1 */
    double  dropout;    /* of x before A, in train mode: [0, 1) */
    ak_init a;          /* how A starts; default uniform within 1 / sqrt(in): Kaiming's with slope
                         * sqrt(5), as in the paper's code. B starts with zeros */
} ak_lora_options;
/* Low-rank adapters (Hu et al., "LoRA", 2021) for linear layers (ak_nn_linear) of a module,
 * wherever they stand in it:  y = x W^T + bias + alpha / r (x A^T) B^T;  A [r, in], B [out, r].
 *
 *     ak_lora_add(encoder, "*qkv", (ak_lora_options){ .rank = 8, .alpha = 16 });
 *     ak_optim *opt = ak_adamw(ctx, "*", options);        // after: it owns what there is
 *
 *   pattern     paths of layers, as for ak_match
 *   parameters  <layer>/lora_a, lora_b; buffers lora_alpha, lora_merged. They are part of the
 *               layer: copies, checkpoints and files hold them
 *   freezes     all other parameters of m, as in the paper; ak_freeze(ctx, "..norm..", false) thaws
 *               some again
 *   returns     how many layers; 0 after an error
 *   errors      AK_ERR_NOT_FOUND for an alternative of the pattern that fits no linear layer of m
 *               (near names are listed); AK_ERR_VALUE for options, and for a layer that has an
 *               adapter; nothing is made then
 */
AK_API int64_t ak_lora_add(ak_module *m, const char *pattern, ak_lora_options o);
/* W += alpha / r B A in every layer of m that has an adapter: from then on it costs nothing, and W
 * alone is the whole layer (for a file: .only = "!*lora_*"). Unmerge takes it off again. Both
 * change W by one rounding a number. In between the adapters get no gradient.
 *
 *   errors   AK_ERR_NOT_FOUND if there is no adapter; AK_ERR_STATE if one is merged (or is not)
 *            already, and if A or B changed since the merge, also in a forward pass; nothing has
 *            changed then
 */
AK_API ak_status ak_lora_merge(ak_module *m);
AK_API ak_status ak_lora_unmerge(ak_module *m);
/* The adapters alone (lora_a, lora_b, lora_alpha) to and from a safetensors file.
 * errors: AK_ERR_NOT_FOUND, AK_ERR_STATE while they are merged; else as for a module */
AK_API ak_status ak_lora_save(ak_module *m, const char *path);
AK_API ak_status ak_lora_load(ak_module *m, const char *path);

/* ---- what a module costs --------------------------------------------------------------------- */

/* Run m once and print its tree: for each part its result's shape, its numbers of parameters (those
 * of a part that stands at several places once), and the FLOPs and bytes of its passes, which are
 * those of the ops in them: operands and results. "x2" is a part that ran twice, "-" one that did
 * not; where only the parts of a part ran, it has their sum and the last one's result.
 *
 *     ak_module_info(net, (ak_inputs){ .x = ak_zeros(ctx, AK_SHAPE(1, 32, 32, 3)) }, stdout);
 *
 *   in        as for ak_forward_with; only shapes matter where all fields are tensors
 *   pass      in evaluation mode, nothing recorded, so that nothing of m changes; its memory is
 *             given back
 *   errors    as ak_forward_with; nothing is printed then
 */
AK_API ak_status ak_module_info(ak_module *m, ak_inputs in, FILE *file);

/* ---- layers of a module ---------------------------------------------------------------------- */

/* A pattern for each layer of m, ended by NULL: its own parameters if it has some, then each child
 * that has (once, and not where they are all another module's), in their order. For
 * ak_optim_layer_decay (akin/optim.h):
 *
 *     ak_optim_layer_decay(opt, ak_module_layers(encoder), 0.75);
 *
 *   returns   context lifetime; NULL after an error
 *   errors    AK_ERR_VALUE for a module without parameters, AK_ERR_MEMORY, AK_ERR_STATE
 */
AK_API const char *const *ak_module_layers(ak_module *m);

#ifdef __cplusplus
}
#endif
#endif
