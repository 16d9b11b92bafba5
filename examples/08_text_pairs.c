/* SPDX-License-Identifier: Apache-2.0 */
/* 08_text_pairs.c - a sentence finds the one that says the same (Gao et al., SimCSE, EMNLP 2021).
 *
 * usage: 08_text_pairs [FILE]      a line: sentence, tab, another that says the same; without a tab
 * it is its own partner, and dropout alone tells two passes apart. No FILE: drawn ones. AK_STEPS */
#include <akin/akin.h>
#include <ctype.h>
#include <string.h>
enum { WORDS = 8192, LONGEST = 32, LINES = 50000, ROOM = 400, DRAWN = 20000, WIDTH = 96 };

static const char *const says[4][10] = {        /* of each kind five things, in two words each */
    { "big", "large", "fast", "quick", "glad", "happy", "quiet", "silent", "bold", "brave" },
    { "dog", "hound", "boy", "lad", "girl", "lass", "thief", "robber", "lady", "woman" },
    { "likes", "loves", "sees", "spots", "chases", "hunts", "helps", "assists", "fears", "dreads" },
    { "garden", "yard", "road", "street", "forest", "woods", "shop", "store", "house", "home" } };

/* Line n: "glad boy sees big dog helps quiet thief road", a tab, and the same in other words. */
static void draw(uint64_t n, char *line)
{
    for (uint64_t i = 0; i < 18; i++)
        line += sprintf(line, "%s%s", i == 9 ? "\t" : " ", says["012012013"[i % 9] - '0']
            [2 * ak_random_below(1, n, i % 9, 5) + ak_random_below(2, n, i, 2)]);
}

/* The first LONGEST words, as numbers: their hash. The table has room for some thousand words. */
static int64_t tokens(const char *text, int32_t *ids)
{
    int64_t n = 0;
    for (size_t length; n < LONGEST; text += length) {
        uint32_t hash = 0;
        text += strspn(text, " .,;:!?");
        if ((length = strcspn(text, " .,;:!?\t\r\n")) == 0) break;
        for (size_t i = 0; i < length; i++)
            hash = 31 * hash + (uint32_t)tolower((unsigned char)text[i]);
        ids[n++] = 1 + (int32_t)(hash % (WORDS - 1));
    }
    return n;
}

/* A sentence and its partner, of a line. */
static bool fill(ak_item_data *item, void *lines)
{
    const char *text = ((char (*)[ROOM])lines)[item->number], *tab = strchr(text, '\t');
    item->length[0] = tokens(text, item->data[0]);
    item->length[1] = tokens(tab ? tab + 1 : text, item->data[1]);
    strcpy(item->error, "a sentence without a word");
    return item->length[0] > 0 && item->length[1] > 0;
}

static ak_tensor *loss_of(ak_module *enc, const ak_batch *b, ak_loss_report *report)
{
    const ak_inputs x = ak_batch_inputs(b, "one", 0), y = ak_batch_inputs(b, "other", 0);
    ak_tensor *z = ak_pool_mean(ak_forward_with(enc, x), x.lengths, NULL);
    ak_tensor *k = ak_pool_mean(ak_forward_with(enc, y), y.lengths, NULL);
    return ak_loss_infonce(z, k, (ak_infonce_options){ .tau = 0.05, .report = report });
}

int main(int argc, char **argv)
{
    static char lines[LINES][ROOM];
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    FILE *file = argc > 1 ? fopen(argv[1], "r") : NULL;
    if (argc > 1 && !file) ak_fail(ctx, AK_ERR_IO, "%s can not be read", argv[1]);
    int64_t n = 0;
    for (; !file && n < DRAWN; n++) draw((uint64_t)n, lines[n]);
    for (; file && fgets(lines[n], ROOM, file); n++)
        if (n == LINES - 1 || strlen(lines[n]) == ROOM - 1)
            ak_fail(ctx, AK_ERR_VALUE, "line %d: too long, or one too many", (int)n + 1);
    ak_field one = { "one", AK_FIELD_TOKENS, .shape = AK_SHAPE(LONGEST) }, other = one;
    other.name = "other";
    ak_dataset *train, *held, *all = ak_dataset_callback(ctx, "sentences", n,
        (ak_field[]){ one, other, { 0 } }, fill, lines);
    ak_dataset_split(all, 0.98, 1, &train, &held);
    ak_loader *pairs = ak_loader_open(train, (ak_loader_options){ .batch = 64 });
    ak_module *enc = ak_module_begin(ak_nn_sequential(ctx, "encoder", NULL));
    ak_nn_embedding(ctx, "words", WORDS, WIDTH, (ak_embedding_layer_options){ 0 });
    ak_nn_positions(ctx, "positions", LONGEST, WIDTH);
    ak_transformer_stack(ctx, "stack", (ak_stack_options){ .width = WIDTH, .layers = 2,
        .block = { .heads = 4, .activation = AK_GELU, .dropout = 0.1 } });
    ak_module_end(enc);
    const int64_t steps = ak_env_int(ctx, "AK_STEPS", 100);
    ak_optim *opt = ak_adamw(ctx, "*", (ak_adamw_options){ .lr = 1e-3 });
    for (int64_t step = 0; step <= steps; step++, ak_step_end(ctx)) {
        ak_batch b;
        if (step % 20 == 0 || step == steps) {
            ak_loss_report r = { 0 };
            ak_train_mode(ctx, false);
            if (ak_dataset_get(held, 0, ak_dataset_size(held), &b)) loss_of(enc, &b, &r);
            printf("step %4d: %5.1f %% of %d held-out ones find their partner\n", (int)step,
                   100 * r.accuracy, (int)b.size);
            ak_train_mode(ctx, true);
        }
        if (step == steps || !ak_loader_endless(pairs, &b)) break;
        ak_backward(loss_of(enc, &b, NULL));
        ak_optim_step(opt);
    }
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
