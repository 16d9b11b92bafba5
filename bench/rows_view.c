/* SPDX-License-Identifier: Apache-2.0 */
/* Two augmented views of each picture, made on one core, from bytes to normalised numbers. What is
 * drawn differs from the peer, so nothing is compared. */
#include "bench/rows.h"

enum { PICTURES = 2560, BATCH = 256, VIEWS = 2 };

typedef struct view_case { const char *name; int64_t side, channels; bool rand_augment; } view_case;

static const view_case cases[] = {
    { "views 28x28 grey (crop, flip, jitter, blur)", 28, 1, false },
    { "views 32x32x3 (crop, flip, jitter, grey, blur)", 32, 3, false },
    { "views 96x96x3 (crop, flip, jitter, grey, blur)", 96, 3, false },
    { "views 32x32x3 (crop, flip, RandAugment 2 at 9)", 32, 3, true },
};

static ak_dataset *noise(ak_ctx *ctx, const view_case *c)
{
    const int64_t n = PICTURES * c->side * c->side * c->channels;
    uint8_t *x = malloc((size_t)n);
    if (!x)
        bench_die("out of memory");
    for (int64_t i = 0; i < n; i++)
        x[i] = (uint8_t)(ak_random_u32(1, 1, (uint64_t)i) >> 24);
    ak_dataset *ds = ak_dataset_memory(ctx, x, AK_SHAPE(PICTURES, c->side, c->side, c->channels),
                                       NULL);
    free(x);
    return ds;
}

static void run(bench_job *j)
{
    ak_loader **loader = j->state;
    ak_batch    b;
    if (!ak_loader_next(*loader, &b))       /* the end of an epoch */
        ak_loader_next(*loader, &b);
    ak_step_end(j->ctx);
}

static void open_views(bench_job *j, const bench_row *row)
{
    ak_loader      **loader = bench_job_state(j, sizeof *loader);
    const view_case *c = row->what;
    const ak_augment grey[] = { ak_random_crop(0.2, 1), ak_random_flip(0.5),
                                ak_color_jitter(0.4, 0.4, 0, 0, 0.8), ak_random_blur(0.1, 2, 0.5),
                                { 0 } };
    const ak_augment color[] = { ak_random_crop(0.2, 1), ak_random_flip(0.5),
                                 ak_color_jitter(0.4, 0.4, 0.4, 0.1, 0.8), ak_random_gray(0.2),
                                 ak_random_blur(0.1, 2, 0.5), { 0 } };
    const ak_augment ops[] = { ak_random_crop(0.2, 1), ak_random_flip(0.5), ak_rand_augment(2, 9),
                               { 0 } };
    const double mean[] = { 0.5, 0.5, 0.5 }, std[] = { 0.25, 0.25, 0.25 };
    ak_dataset *ds = noise(j->ctx, c);
    ak_dataset_normalize(ds, mean, std);
    *loader = ak_loader_open(ds, (ak_loader_options){
        .batch = BATCH, .views = VIEWS,
        .augment = c->rand_augment ? ops : c->channels == 1 ? grey : color, .threads = AK_NONE });
    j->run = run;
    j->divide = BATCH * VIEWS;
}

void rows_view(bench_table *t)
{
    for (int i = 0; i < BENCH_COUNT(cases); i++) {
        bench_row *row = bench_table_add(t, "%s", cases[i].name);
        row->open = open_views;
        row->what = &cases[i];
    }
}
