/* SPDX-License-Identifier: Apache-2.0 */
/* One model with another library's weights, for the scripts beside this file (clients.py):
 *
 *     client bert|gpt|t5|qformer|vit WEIGHTS JOB OUT [FILE MODULE AXES]..
 *
 * WEIGHTS is a safetensors file with the library's own names; what they are called here and how
 * they lie is said by a map, three words a pair. JOB (npz) holds the inputs (ids, lengths, x, ..),
 * options (opt_NAME) and the gradient of the result (gy). OUT gets the result y, the gradients of x
 * and of the memory, or of the word embeddings (gwords), and words that were generated from the
 * prompt (greedy). OUT.safetensors gets the weights again, by the same map the other way. */
#include <akin/akin.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ak_ctx *ctx;
static ak_npz *job;

static int whole(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "opt_%s", name);
    const ak_array *a = ak_npz_find(job, key);
    return a ? (int)ak_array_at(a, 0) : 0;
}

static double number(const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "opt_%s", name);
    const ak_array *a = ak_npz_find(job, key);
    return a ? ak_array_at(a, 0) : 0;
}

static ak_tensor *tensor(const char *name)
{
    const ak_array *a = ak_npz_find(job, name);
    return a ? ak_require_grad(ak_array_tensor(ctx, a)) : NULL;
}

static ak_index *words(const char *name)
{
    const ak_array *a = ak_npz_find(job, name);
    return a ? ak_array_index(ctx, a) : NULL;
}

static ak_module *make(const char *kind)
{
    if (strcmp(kind, "bert") == 0)
        return ak_bert(ctx, "net", (ak_bert_options){
            .vocab = whole("vocab"), .width = whole("width"), .layers = whole("layers"),
            .heads = whole("heads"), .hidden = whole("hidden"), .positions = whole("positions"),
            .pooler = true, .eps = number("eps") });
    if (strcmp(kind, "gpt") == 0)
        return ak_gpt(ctx, "net", (ak_gpt_options){
            .vocab = whole("vocab"), .width = whole("width"), .layers = whole("layers"),
            .heads = whole("heads"), .positions = whole("positions"), .eps = number("eps") });
    if (strcmp(kind, "t5") == 0)
        return ak_t5(ctx, "net", (ak_t5_options){
            .vocab = whole("vocab"), .width = whole("width"), .layers = whole("layers"),
            .heads = whole("heads"), .head_width = whole("head_width"), .hidden = whole("hidden"),
            .gated = whole("gated"), .activation = whole("gated") ? AK_GELU_TANH : AK_RELU,
            .untied = whole("untied"), .eps = number("eps") });
    if (strcmp(kind, "qformer") == 0)
        return ak_qformer(ctx, "net", (ak_qformer_options){
            .width = whole("width"), .layers = whole("layers"), .heads = whole("heads"),
            .hidden = whole("hidden"), .memory_width = whole("memory_width"),
            .every = whole("every"), .eps = number("eps") });
    if (strcmp(kind, "vit") == 0)
        return ak_vit(ctx, "net", (ak_vit_options){
            .image = whole("image"), .patch = whole("patch"), .width = whole("width"),
            .layers = whole("layers"), .heads = whole("heads"), .classes = whole("classes"),
            .eps = number("eps") });
    fprintf(stderr, "client: no model is called %s\n", kind);
    exit(2);
}

/* Words as numbers. */
static ak_tensor *as_numbers(const ak_index *ids)
{
    ak_tensor *y = ak_zeros(ctx, ids->shape);
    for (int64_t i = 0; i < ids->size && !ak_is_poison(y); i++)
        y->data[i] = (ak_real)ids->data[i];
    return y;
}

static ak_tensor *generated(ak_module *net, ak_inputs source)
{
    ak_index *y = ak_generate(net, words("prompt"), words("prompt_lengths"), (ak_generate_options){
        .steps = whole("steps"), .has_end = whole("has_end"), .end = whole("end"),
        .fill = whole("fill"), .inputs = source }, NULL);
    return as_numbers(y);
}

enum { PAIRS = 16 };

static void load_and_save(ak_module *net, const char *path, const char *out, int n,
                          char **words_of_map)
{
    ak_weight_pair pairs[PAIRS + 1] = { 0 };
    for (int i = 0; i < n; i++)
        pairs[i] = (ak_weight_pair){ .file = words_of_map[3 * i],
                                     .module = words_of_map[3 * i + 1],
                                     .axes = words_of_map[3 * i + 2] };
    char again[4096];
    snprintf(again, sizeof again, "%s.safetensors", out);
    if (ak_module_load_safetensors(net, path, (ak_weight_map){ .pairs = pairs }) == AK_OK)
        ak_module_save_safetensors(net, again, (ak_weight_map){ .pairs = pairs });
}

int main(int argc, char **argv)
{
    if (argc < 5 || (argc - 5) % 3 != 0 || (argc - 5) / 3 > PAIRS) {
        fprintf(stderr, "usage: client KIND WEIGHTS JOB OUT [FILE MODULE AXES]..\n");
        return 2;
    }
    ctx = ak_open((ak_options){ .seed = 1 });
    job = ak_npz_open(ctx, argv[3]);
    ak_module *net = job ? make(argv[1]) : NULL;
    load_and_save(net, argv[2], argv[4], (argc - 5) / 3, argv + 5);
    ak_train_mode(ctx, false);
    const ak_inputs in = {
        .x = tensor("x"), .ids = words("ids"), .types = words("types"), .lengths = words("lengths"),
        .memory = tensor("memory"), .memory_ids = words("memory_ids"),
        .memory_lengths = words("memory_lengths") };
    ak_tensor *y = ak_forward_with(net, in), *gy = tensor("gy");
    if (ak_error(ctx) == AK_OK)
        ak_backward_from(y, gy->data);

    const char *names[6];
    ak_tensor *out[6];
    int n = 0;
    names[n] = "y";
    out[n++] = y;
    const ak_tensor *sources[] = { in.x, in.memory, in.ids ? ak_module_param(net, 0) : NULL };
    static const char *const gradients[] = { "gx", "gmemory", "gwords" };
    for (int i = 0; i < 3 && ak_error(ctx) == AK_OK; i++)
        if (sources[i]) {
            names[n] = gradients[i];
            out[n++] = ak_from(ctx, sources[i]->shape, sources[i]->grad);
        }
    if (ak_npz_find(job, "prompt")) {
        names[n] = "greedy";
        out[n++] = generated(net, (ak_inputs){ .memory_ids = in.memory_ids,
                                               .memory_lengths = in.memory_lengths });
    }
    if (ak_error(ctx) == AK_OK)
        ak_npz_write(ctx, argv[4], names, out, n);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
