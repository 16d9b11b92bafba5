/* SPDX-License-Identifier: Apache-2.0 */
/* Prepared caches: what tests/data/cache holds (tests/tools/prepare.d/tiny.py makes it), every way
 * in which one can be wrong, memory of a large one; scenes. */
#include "data_files.h"

#include <akin/cache.h>
#include <akin/io.h>

#include <sys/stat.h>

static const char *tiny(void)
{
    return path_in(getenv("AK_TEST_DATA"), "cache");
}

static ak_dataset *set_of(ak_ctx *ctx, ak_cache_options o)
{
    ak_dataset *ds = ak_dataset_cache(ctx, tiny(), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    return ds;
}

/* ---- what is there --------------------------------------------------------------------------- */

Test(cache, manifest)
{
    ak_ctx              *ctx = quiet();
    const ak_cache_info *c = ak_cache_look(ctx, tiny());
    cr_assert_not_null(c, "%s", ak_error_message(ctx));
    cr_expect_str_eq(c->name, "tiny");
    cr_expect_str_eq(c->licence, "Apache-2.0");
    cr_expect_eq(c->entries, 12);
    cr_assert_eq(c->n_fields, 7);
    cr_expect_str_eq(c->fields[0].name, "picture");
    cr_expect(ak_shape_equal(c->fields[0].shape, AK_SHAPE(6, 5, 3)));
    cr_expect_eq(c->fields[0].values, 4);
    cr_expect_eq(c->fields[1].entries, 10);         /* two captions are missing */
    cr_expect_eq(c->fields[3].entries, 2);
    cr_expect_float_eq(c->fields[3].seconds, (120 + 160) / 8000.0, 1e-12);
    cr_expect_eq(c->fields[4].classes, 3);
    cr_expect_str_eq(c->fields[4].names[2], "ja");
    cr_expect_eq(c->fields[5].entries, 9);          /* one thing has no label */
    cr_assert_eq(c->n_splits, 2);
    cr_expect_eq(c->splits[0].parts[0].entries, 6);
    cr_expect_eq(c->splits[1].without, 4);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cache, entries_are_chosen)
{
    ak_ctx *ctx = quiet();
    cr_expect_eq(ak_dataset_size(set_of(ctx, (ak_cache_options){ 0 })), 12);
    cr_expect_eq(ak_dataset_size(set_of(ctx, (ak_cache_options){ .split = "things/train" })), 6);
    cr_expect_eq(ak_dataset_size(set_of(ctx, (ak_cache_options){
        .split = "things/train+test voices/train" })), 3);
    cr_expect_eq(ak_dataset_size(set_of(ctx, (ak_cache_options){ .languages = "en, ja",
        .fields = "caption picture" })), 7);
    ak_dataset *heard = set_of(ctx, (ak_cache_options){ .fields = "speech,caption id" });
    cr_expect_eq(ak_dataset_size(heard), 2);
    cr_expect_eq(ak_dataset_value(heard, "id", 1), 1);
    ak_dataset *labelled = set_of(ctx, (ak_cache_options){ .fields = "picture label" });
    cr_expect_eq(ak_dataset_size(labelled), 9);
    cr_expect_str_eq(ak_dataset_class_name(labelled, ak_dataset_label(labelled, 4)), "round");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(cache, wrong_names_list_the_right_ones)
{
    ak_ctx *ctx = quiet();
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .split = "thing/train" }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "things, voices", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .split = "things/tests" }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "train, validation, test", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .split = "things" }));
    expect_error(ctx, AK_ERR_VALUE, "\"things/train\" does", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .languages = "de" }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "en, fr, ja", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .fields = "sound" }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "picture, caption, name, speech", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .fields = "speech",
                                                                     .languages = "fr" }));
    expect_error(ctx, AK_ERR_VALUE, "no entry", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .longest = -1 }));
    expect_error(ctx, AK_ERR_VALUE, ".longest -1", "");
    cr_expect_null(ak_dataset_cache(ctx, tiny(), (ak_cache_options){ .seconds = (double)NAN }));
    expect_error(ctx, AK_ERR_VALUE, ".seconds", "");
    setenv("AK_DATA", "/tmp/akin-none", 1);
    cr_expect_null(ak_dataset_cache(ctx, "stamps", (ak_cache_options){ 0 }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "tools/prepare stamps", "");
    ak_close(ctx);
}

/* ---- values ---------------------------------------------------------------------------------- */

Test(cache, values)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *ds = set_of(ctx, (ak_cache_options){ .fields = "picture caption speech",
                                                     .samples = true, .seconds = 0.015 });
    ak_tensor *x = ak_dataset_batch(ds, 0, 2);
    cr_assert(ak_shape_equal(x->shape, AK_SHAPE(2, 6, 5, 3)));
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < 90; k++)
            cr_expect_eq((int)lround(255 * (double)x->data[90 * i + k]),
                         (37 * i + 5 * (k / 15) + 11 * (k / 3 % 5) + 83 * (k % 3)) % 256);
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 0, 2, &b), "%s", ak_error_message(ctx));
    const ak_column *caption = ak_batch_field(&b, "caption"),
                         *speech = ak_batch_field(&b, "speech");
    cr_assert(caption && speech);
    cr_expect_eq(caption->lengths[0]->data[0], 6);
    cr_expect_eq(caption->ids[0]->data[2], 'd');
    cr_expect_eq(speech->lengths[0]->data[0], 120);
    cr_expect_eq(speech->lengths[0]->data[1], 120);            /* cut: 160 are stored */
    cr_expect_eq(speech->view[0]->data[1], (ak_real)(2700 - 30000) / 32768);
    int64_t     n;
    const char *text = ak_dataset_text(ds, "caption", 1, &n);
    cr_assert_not_null(text, "%s", ak_error_message(ctx));
    cr_expect(n == 6 && memcmp(text, "a ring", 6) == 0);
    ak_dataset *second = ak_dataset_subset(ds, 1, 1);
    text = ak_dataset_text(second, "caption", 0, &n);
    cr_expect(text && n == 6 && memcmp(text, "a ring", 6) == 0);
    cr_expect_null(ak_dataset_text(ds, "picture", 0, &n));
    expect_error(ctx, AK_ERR_VALUE, "holds no texts", "");
    cr_expect_null(ak_dataset_text(ds, "caption", 2, &n));
    expect_error(ctx, AK_ERR_VALUE, "no item 2", "");
    ak_close(ctx);
}

/* A sum that depends on each bit of an epoch. */
static uint64_t epoch_sum(int threads)
{
    ak_ctx     *ctx = quiet();
    uint64_t    sum = 1;
    ak_dataset *ds = set_of(ctx, (ak_cache_options){ .fields = "picture caption language id" });
    ak_loader  *l = ak_loader_open(ds, (ak_loader_options){ .batch = 3, .threads = threads,
                                                           .seed = 5 });
    cr_assert_not_null(l, "%s", ak_error_message(ctx));
    for (ak_batch b; ak_loader_next(l, &b); ak_step_end(ctx)) {
        const ak_column *caption = ak_batch_field(&b, "caption");
        for (int64_t i = 0; i < b.view[0]->size; i++)
            sum = sum * 1099511628211u + (uint64_t)llround(255 * (double)b.view[0]->data[i]);
        for (int64_t i = 0; i < caption->ids[0]->size; i++)
            sum = sum * 1099511628211u + (uint64_t)caption->ids[0]->data[i];
    }
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    ak_close(ctx);
    return sum;
}

Test(cache, same_bits_for_all_threads)
{
    const uint64_t sum = epoch_sum(AK_NONE);
    for (int threads = 1; threads <= 4; threads++)
        cr_expect_eq(epoch_sum(threads), sum, "%d threads", threads);
}

Test(cache, spectra)
{
    ak_ctx     *ctx = quiet();
    ak_mel     *mel = ak_mel_make(ctx, (ak_mel_options){ .rate = 8000, .n_fft = 64, .hop = 32,
        .mels = 5, .scale = AK_MEL_SLANEY, .norm = AK_MEL_AREA, .form = AK_MEL_LOG });
    ak_dataset *sounds = set_of(ctx, (ak_cache_options){ .fields = "speech", .samples = true });
    ak_dataset *spectra = set_of(ctx, (ak_cache_options){ .fields = "speech", .mel = mel });
    ak_batch    x, y;
    cr_assert(ak_dataset_get(sounds, 1, 1, &x) && ak_dataset_get(spectra, 1, 1, &y), "%s",
              ak_error_message(ctx));
    const ak_column *a = ak_batch_field(&x, "speech"), *b = ak_batch_field(&y, "speech");
    cr_expect_eq(a->lengths[0]->data[0], 160);
    cr_expect_eq(b->lengths[0]->data[0], ak_mel_frames(mel, 160));
    ak_tensor *want = ak_mel_spectrogram(mel, ak_reshape(a->view[0], AK_SHAPE(160)), NULL);
    for (int64_t i = 0; i < want->size; i++)
        cr_expect_eq(b->view[0]->data[i], want->data[i]);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* ---- hostile caches -------------------------------------------------------------------------- */

/* A copy of the small cache; buf holds its folder. */
static char *copied(char buf[64])
{
    char command[700];
    new_folder(buf);
    snprintf(command, sizeof command, "cp -r %s/. %s && chmod -R u+w %s", tiny(), buf, buf);
    cr_assert_eq(system(command), 0);
    return buf;
}

/* The same with a word of a file changed by sed. */
static void expect_damage(const char *sed, const char *file, ak_status status, const char *text)
{
    ak_ctx *ctx = quiet();
    char    dir[64], command[700];
    copied(dir);
    snprintf(command, sizeof command, "cd %s && LC_ALL=C sed -i '%s' %s", dir, sed, file);
    cr_assert_eq(system(command), 0);
    cr_expect_null(ak_cache_look(ctx, dir), "%s", sed);
    expect_error(ctx, status, text, "");
    ak_close(ctx);
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

Test(cache, damage_is_told)
{
    expect_damage("s/akin cache/other/", "manifest.json", AK_ERR_FORMAT, "not that of a cache");
    expect_damage("s/\"version\": 1/\"version\": 9/", "manifest.json", AK_ERR_UNSUPPORTED,
                  "version 9");
    expect_damage("s/\"entries\": 12/\"entries\": 13/", "manifest.json", AK_ERR_FORMAT, "13");
    expect_damage("s/caption.npy/..\\/caption.npy/", "manifest.json", AK_ERR_FORMAT,
                  "a file in this folder");
    expect_damage("s/caption.npy/absent.npy/", "manifest.json", AK_ERR_NOT_FOUND, "absent.npy");
    expect_damage("s/\"kind\": \"sound\"/\"kind\": \"film\"/", "manifest.json", AK_ERR_FORMAT,
                  "film");
    expect_damage("s/\"rate\": 8000/\"rate\": -1/", "manifest.json", AK_ERR_FORMAT, "rate -1");
    expect_damage("s/(4, 6, 5, 3)/(4, 6, 5, 4)/", "picture.npy", AK_ERR_FORMAT, "picture.npy");
    expect_damage("s/|u1/<i8/", "caption.npy", AK_ERR_FORMAT, "caption.npy");
    expect_damage("s/\"name\": \"test\"/\"name\": 3/", "manifest.json", AK_ERR_FORMAT, "name");
    expect_damage("$d", "manifest.json", AK_ERR_FORMAT, "damaged");
}

/* One number of an array becomes another. */
static void expect_number(const char *file, long at, const void *bytes, size_t n, const char *text)
{
    ak_ctx *ctx = quiet();
    char    dir[64], command[700];
    copied(dir);
    FILE *f = fopen(path_in(dir, file), "r+b");
    cr_assert_not_null(f);
    cr_assert_eq(fseek(f, 128 + at, SEEK_SET), 0);
    cr_assert_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
    cr_expect_null(ak_cache_look(ctx, dir), "%s", file);
    expect_error(ctx, AK_ERR_FORMAT, text, "");
    ak_close(ctx);
    snprintf(command, sizeof command, "rm -r %s", dir);
    cr_assert_eq(system(command), 0);
}

Test(cache, numbers_out_of_their_range)
{
    const int64_t far = INT64_C(1) << 40, back = -8, one = 1;
    const int32_t row = 77, less = -2;
    const int8_t  part = 9;
    expect_number("caption-starts.npy", 8, &far, 8, "begins at");
    expect_number("caption-starts.npy", 16, &back, 8, "begins at");
    expect_number("speech-starts.npy", 0, &one, 8, "begins at 1");
    expect_number("picture-rows.npy", 4, &row, 4, "number 77");
    expect_number("caption-rows.npy", 8, &less, 4, "number -2");
    expect_number("language.npy", 0, &row, 4, "outside [-1, 3)");
    expect_number("split-things.npy", 2, &part, 1, "number 9");
}

Test(cache, links_lead_elsewhere)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    copied(dir);
    cr_assert_eq(unlink(path_in(dir, "picture.npy")), 0);
    cr_assert_eq(symlink("/etc/passwd", path_in(dir, "picture.npy")), 0);
    cr_expect_null(ak_cache_look(ctx, dir));
    expect_error(ctx, AK_ERR_FORMAT, "is a link", "");
    ak_close(ctx);
}

/* A file that becomes shorter while it is in use must not end the program. */
Test(cache, cut_off_meanwhile)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    int64_t n;
    copied(dir);
    ak_dataset *ds = ak_dataset_cache(ctx, dir, (ak_cache_options){ .fields = "picture caption" });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_assert_eq(truncate(path_in(dir, "picture.npy"), 0), 0);
    cr_assert_eq(truncate(path_in(dir, "caption.npy"), 0), 0);
    ak_dataset_batch(ds, 0, 1);
    expect_error(ctx, AK_ERR_VALUE, "has been cut off", "");
    cr_expect_null(ak_dataset_text(ds, "caption", 0, &n));
    expect_error(ctx, AK_ERR_IO, "has been cut off", "");
    ak_close(ctx);
}

/* ---- memory ---------------------------------------------------------------------------------- */

#define GIANT 65536             /* pictures [128, 128, 1]: 1 GB, a hole in a file */

static long resident_kb(void)
{
    char  line[256];
    long  kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (f)
        fclose(f);
    return kb;
}

static void make_giant(const char *dir)
{
    static const char manifest[] =
        "{\"format\": \"akin cache\", \"version\": 1, \"name\": \"giant\", \"about\": \"zeros\","
        " \"licence\": \"none\", \"recipe\": \"1\", \"options\": \"\", \"packages\": {},"
        " \"entries\": 65536, \"fields\": [{\"name\": \"picture\", \"kind\": \"picture\","
        " \"values\": \"picture.npy\"}], \"splits\": []}";
    char head[128];
    memset(head, ' ', sizeof head);
    memcpy(head, "\x93NUMPY\x01\x00\x76\x00", 10);
    const int n = snprintf(head + 10, 118, "{'descr': '|u1', 'fortran_order': False, "
                           "'shape': (%d, 128, 128, 1), }", GIANT);
    head[10 + n] = ' ';
    head[127] = '\n';
    put_file(path_in(dir, "manifest.json"), manifest, sizeof manifest - 1);
    put_file(path_in(dir, "picture.npy"), head, sizeof head);
    cr_assert_eq(truncate(path_in(dir, "picture.npy"), 128 + (off_t)GIANT * 128 * 128), 0);
}

Test(cache, memory_does_not_grow_with_it)
{
    ak_ctx *ctx = quiet();
    char    dir[64];
    make_giant(new_folder(dir));
    ak_dataset *ds = ak_dataset_cache(ctx, dir, (ak_cache_options){ 0 });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    ak_loader *l = ak_loader_open(ds, (ak_loader_options){ .batch = 64, .threads = 2 });
    cr_assert_not_null(l, "%s", ak_error_message(ctx));
    long before = 0, most = 0;
    int  step = 0;
    for (ak_batch b; ak_loader_next(l, &b); ak_step_end(ctx)) {
        const long kb = resident_kb();
        if (step++ == 8)        /* the loader's own batches are there */
            before = kb;
        most = kb > most ? kb : most;
    }
    cr_expect_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_expect_eq(step, GIANT / 64);
    cr_expect_lt(most - before, 20 * 1024, "grew from %ld to %ld kB over 1 GB", before, most);
    cr_expect_eq(ak_close(ctx), AK_OK);
    unlink(path_in(dir, "picture.npy"));
}

/* ---- scenes ---------------------------------------------------------------------------------- */

Test(scenes, captions_say_what_is_there)
{
    ak_ctx *ctx = quiet();
    char    caption[AK_SCENE_CAPTION];
    const ak_scene s = { .garment = { 7, 8 }, .colour = { 0, 2 }, .relation = 0 };
    cr_expect_str_eq(ak_scene_caption(s, AK_SCENE_AS_IT_IS, false, caption, sizeof caption),
                     "the red sneaker is left of the blue bag");
    cr_expect_str_eq(ak_scene_caption(s, AK_SCENE_SWAP_COLOURS, false, caption, sizeof caption),
                     "the blue sneaker is left of the red bag");
    cr_expect_str_eq(ak_scene_caption(s, AK_SCENE_SWAP_GARMENTS, false, caption, sizeof caption),
                     "the red bag is left of the blue sneaker");
    cr_expect_str_eq(ak_scene_caption(s, AK_SCENE_SWAP_BOTH, false, caption, sizeof caption),
                     "the blue bag is left of the red sneaker");
    cr_expect_str_eq(ak_scene_caption((ak_scene){ .relation = 4 }, AK_SCENE_AS_IT_IS, false,
                                      caption, sizeof caption), "");
    cr_expect_eq(ak_close(ctx), AK_OK);
}

/* Where the pixels of one tint stand, on average; false: there are none. */
static bool centre(const ak_real *x, int side, const double tint[3], double at[2])
{
    double sum = 0;
    at[0] = at[1] = 0;
    for (int i = 0; i < side * side; i++) {
        double far = 0, weight = 0;
        for (int c = 0; c < 3; c++)
            weight = fmax(weight, (double)x[3 * i + c]);
        for (int c = 0; c < 3; c++)
            far = fmax(far, fabs((double)x[3 * i + c] / fmax(weight, 1e-6) - tint[c]));
        if (far > 0.08 || weight < 0.5)
            continue;
        sum++;
        at[0] += i / side;
        at[1] += i % side;
    }
    at[0] /= sum;
    at[1] /= sum;
    return sum >= 8;
}

/* The picture shows what the caption says: the middles of red and blue, which differ most. */
Test(scenes, pictures_show_what_captions_say)
{
    ak_ctx     *ctx = quiet();
    int         seen = 0;
    ak_dataset *ds = ak_dataset_scenes(ctx, "train", (ak_scene_options){ .count = 2000, .seed = 3,
                                                                       .side = 65 });
    static const double tint[3][3] = { { 1, 40 / 255.0, 40 / 255.0 }, { 0.18, 1, 0.18 },
                                       { 70 / 255.0, 90 / 255.0, 1 } };
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    for (int64_t i = 0; i < 2000; i++) {
        const ak_scene s = ak_dataset_scene(ds, i);
        double         at[2][2];
        cr_assert(s.garment[0] != s.garment[1] && s.colour[0] != s.colour[1]);
        if (s.colour[0] > 2 || s.colour[1] > 2)
            continue;
        const ak_tensor *x = ak_dataset_batch(ds, i, 1);
        if (centre(x->data, 65, tint[s.colour[0]], at[0]) &&
            centre(x->data, 65, tint[s.colour[1]], at[1])) {
            const double across = at[1][1] - at[0][1], down = at[1][0] - at[0][0];
            cr_expect_gt(s.relation == 0 ? across : s.relation == 1 ? -across
                         : s.relation == 2 ? down : -down, 0, "scene %lld", (long long)i);
            seen++;
        }
        ak_step_end(ctx);
    }
    cr_expect_gt(seen, 60);
    cr_expect_eq(ak_close(ctx), AK_OK);
}

Test(scenes, a_scene_is_its_number)
{
    ak_ctx     *ctx = quiet();
    ak_dataset *all = ak_dataset_scenes(ctx, "test", (ak_scene_options){ .count = 30, .seed = 9,
                                                                        .wrong = true });
    ak_dataset *end = ak_dataset_scenes(ctx, "test", (ak_scene_options){ .count = 10, .first = 20,
                                                                        .seed = 9 });
    cr_assert(all && end, "%s", ak_error_message(ctx));
    int64_t n, m;
    for (int64_t i = 0; i < 10; i++) {
        const ak_tensor *a = ak_dataset_batch(all, 20 + i, 1), *b = ak_dataset_batch(end, i, 1);
        cr_expect_eq(memcmp(a->data, b->data, (size_t)a->size * sizeof(ak_real)), 0);
        const char *one = ak_dataset_text(all, "caption", 20 + i, &n);
        const char *two = ak_dataset_text(end, "caption", i, &m);
        cr_expect(one && two && n == m && memcmp(one, two, (size_t)n) == 0);
        const char *wrong = ak_dataset_text(all, "swapped_both", 20 + i, &m);
        cr_expect(wrong && strcmp(wrong, one) != 0);
        cr_expect_eq(ak_dataset_value(all, "id", 20 + i), ak_dataset_value(end, "id", i));
    }
    cr_expect_null(ak_dataset_scenes(ctx, "test", (ak_scene_options){ .side = 56 }));
    expect_error(ctx, AK_ERR_VALUE, ".side 56", "");
    ak_dataset_scene(all, 30);
    expect_error(ctx, AK_ERR_VALUE, "is no scene", "");
    ak_close(ctx);
}
