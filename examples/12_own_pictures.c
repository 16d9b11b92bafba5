/* SPDX-License-Identifier: Apache-2.0 */
/* 12_own_pictures.c - a folder of one's own PNG files with a CSV of labels: a linear probe's table.
 *
 * usage: 12_own_pictures [FOLDER]      FOLDER/labels.csv has the columns file and label. No FOLDER:
 * it is drawn first: dark and bright pictures, and one file that is broken. AK_RUNS */
#include <akin/akin.h>
#include <akin/files.h>

#include <stdlib.h>
#include <sys/stat.h>

static const char *draw(ak_ctx *ctx)
{
    static char folder[1024];
    char        path[1100];
    uint8_t     x[16 * 16 * 3];
    const char *runs = getenv("AK_RUNS");
    snprintf(folder, sizeof folder, "%s", runs ? runs : "runs");
    mkdir(folder, 0777);
    snprintf(folder, sizeof folder, "%.900s/own_pictures", runs ? runs : "runs");
    mkdir(folder, 0777);
    snprintf(path, sizeof path, "%s/labels.csv", folder);
    FILE *list = fopen(path, "w");
    if (!list) ak_fail(ctx, AK_ERR_IO, "%s can not be written", path);
    fprintf(list, "file,label\nbroken.png,dark\n");
    for (int i = 0; i < 120; i++) {
        for (int k = 0; k < 768; k++)
            x[k] = (uint8_t)(60 + 60 * (i % 2) +
                             (int)ak_random_below(1, (uint64_t)i, (uint64_t)k, 100));
        snprintf(path, sizeof path, "%s/%d.png", folder, i);
        ak_picture_write_png(ctx, path, &(ak_array){ .name = path, .type = AK_TYPE_U8,
            .shape = AK_SHAPE(16, 16, 3), .size = 768, .data = x });
        fprintf(list, "%d.png,%s\n", i, i % 2 ? "bright" : "dark");
    }
    fclose(list);
    snprintf(path, sizeof path, "%s/broken.png", folder);
    if ((list = fopen(path, "w"))) fclose(list);
    return folder;
}

int main(int argc, char **argv)
{
    ak_ctx *ctx = ak_open((ak_options){ .seed = 1 });
    ak_on_error(ctx, ak_error_exit, NULL);
    char path[1200];
    snprintf(path, sizeof path, "%s/labels.csv", argc > 1 ? argv[1] : draw(ctx));
    ak_dataset *train, *test, *all = ak_dataset_list(ctx, path, (ak_files_options){
        .picture = "file", .label = "label",
        .pictures = { .shorter = 16, .height = 16, .width = 16 } });
    ak_dataset_split(all, 0.7, 1, &train, &test);
    ak_features *a = ak_features_open(NULL, train, (ak_features_options){ 0 });
    ak_features *b = ak_features_open(NULL, test, (ak_features_options){ 0 });
    const ak_eval_result r = ak_eval_linear_on(a, b, (ak_linear_probe_options){ 0 });
    printf("%s\npixels   %5.1f %% [%5.1f, %5.1f]\n  %s\n", ak_dataset_name(all), 100 * r.accuracy,
           100 * r.lo, 100 * r.hi, r.protocol);
    ak_features_close(b);
    ak_features_close(a);
    return ak_close(ctx) == AK_OK ? 0 : 1;
}
