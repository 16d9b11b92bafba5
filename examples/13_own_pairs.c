/* SPDX-License-Identifier: Apache-2.0 */
/* 13_own_pairs.c - a TSV of picture path and caption: a batch of pictures, token ids and lengths.
 *
 * usage: 13_own_pairs LIST.tsv     with the columns file and text */
#include <akin/akin.h>
#include <akin/files.h>

int main(int argc, char **argv)
{
    if (argc != 2)
        return fprintf(stderr, "usage: 13_own_pairs LIST.tsv\n"), 2;
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    ak_tokenizer *words = ak_tokenizer_train_files(ctx, (const char *[]){ argv[1], NULL },
        (ak_tokenizer_options){ .kind = AK_TOKENIZER_BPE, .vocab = 1000 });
    ak_dataset *pairs = ak_dataset_list(ctx, argv[1], (ak_files_options){
        .picture = "file", .caption = "text", .tokenizer = words, .same_captions = true,
        .most_tokens = 32, .pictures = { .shorter = 32, .height = 32, .width = 32 } });
    ak_batch b;
    ak_dataset_get(pairs, 0, ak_dataset_size(pairs) < 8 ? ak_dataset_size(pairs) : 8, &b);
    const ak_inputs x = ak_batch_inputs(&b, "picture", 0), t = ak_batch_inputs(&b, "caption", 0);
    char shape[2][AK_SHAPE_TEXT];
    printf("%s\n%s and %s, the first caption has %d tokens\n", ak_dataset_name(pairs),
           ak_shape_text(x.x->shape, shape[0]), ak_shape_text(t.ids->shape, shape[1]),
           (int)t.lengths->data[0]);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
