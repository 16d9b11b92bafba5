/* SPDX-License-Identifier: Apache-2.0 */
/* A folder as a study leaves it, for tests of the page: two runs with curves and a NaN, a damaged
 * line, names that are no good HTML, an embedding of drawn pictures. usage: make_run FOLDER */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <akin/page.h>
#include <akin/report.h>

#define EVIL "<script>document.title='taken'</script><img src=x onerror=alert(1)>\"'&"

enum { ROWS = 120, WIDE = 12, SIDE = 12, CLASSES = 4 };

static void write_run(ak_ctx *ctx, const char *parent, const char *name, double first)
{
    ak_run *run = ak_run_open(ctx, name, (ak_run_options){ .parent = parent });
    ak_run_setting(run, "note", "%s", "</script>" EVIL);
    for (int epoch = 1; epoch <= 12; epoch++)
        ak_run_log(run, "epoch", NULL, (ak_value[]){ { "epoch", epoch },
            { "loss", epoch == 5 ? (double)NAN : first * exp(-epoch / 5.0) + 1 },
            { EVIL, 1.0 / epoch }, { 0 } });
    ak_run_log(run, "probe", EVIL, (ak_value[]){ { "accuracy", 0.75 }, { "lo", 0.7 },
                                                 { "hi", 0.8 }, { 0 } });
}

static void write_study(const char *path)
{
    FILE *file = fopen(path, "w");
    if (!file)
        exit(1);
    fprintf(file, "{\"event\":\"study\",\"name\":\"s\",\"measures\":[{\"name\":\"accuracy\","
            "\"unit\":\"%%\",\"higher_is_better\":true}],\"arms\":[\"plain\",\"<b>other</b>\"],"
            "\"baseline\":\"plain\"}\n");
    for (int arm = 0; arm < 2; arm++)
        for (int seed = 1; seed <= 3; seed++)
            fprintf(file, "{\"event\":\"result\",\"arm\":\"%s\",\"seed\":%d,\"measure\":"
                    "\"accuracy\",\"value\":%g,\"lo\":70,\"hi\":90,\"n\":1000}\n",
                    arm ? "<b>other</b>" : "plain", seed, 78 + 4 * arm + 0.7 * seed);
    fprintf(file, "{\"event\":\"result\",\"arm\":\n{\"event\":\"claim\",\"name\":\"better\","
            "\"text\":\"<i>other</i> is above plain\",\"shown\":true,\"estimate\":4,\"lo\":2.5,"
            "\"hi\":5.5,\"p\":0.003}\n{\"event\":\"claim\",\"name\":\"cut");
    fclose(file);
}

static void write_embedding(ak_ctx *ctx, const char *folder)
{
    static ak_real     x[ROWS * WIDE], picture[ROWS * SIDE * SIDE];
    static int32_t     label[ROWS];
    static const char *caption[ROWS];
    for (int i = 0; i < ROWS; i++) {
        label[i] = i % CLASSES;
        caption[i] = i ? "a drawn picture" : EVIL;
        for (int c = 0; c < WIDE; c++)
            x[i * WIDE + c] = (ak_real)(ak_random_normal(1, 2, (uint64_t)(i * WIDE + c)) / 2 +
                                        (c == label[i] ? 2 : 0));
        for (int p = 0; p < SIDE * SIDE; p++)
            picture[i * SIDE * SIDE + p] = (ak_real)((p / (label[i] + 1)) % 2);
    }
    ak_page_embedding(ctx, folder, (ak_page_rows){
        .features = ak_from(ctx, AK_SHAPE(ROWS, WIDE), x),
        .labels = ak_index_from(ctx, AK_SHAPE(ROWS), label),
        .pictures = ak_from(ctx, AK_SHAPE(ROWS, SIDE, SIDE, 1), picture),
        .classes = (const char *const[]){ "one", "two", "<script>three", "four", NULL },
        .captions = caption, .what = "drawn " EVIL });
}

int main(int argc, char **argv)
{
    char path[512];
    if (argc != 2)
        return 2;
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    write_run(ctx, argv[1], "plain", 3);
    write_run(ctx, argv[1], "other", 2);
    snprintf(path, sizeof path, "%s/study.jsonl", argv[1]);
    write_study(path);
    write_embedding(ctx, argv[1]);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
