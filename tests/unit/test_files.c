/* SPDX-License-Identifier: Apache-2.0 */
/* Data sets of one's own files: folders, lists, lines of JSON; what is broken is named and left
 * out; the same bits for any number of loader threads. */
#include "data_files.h"

#include <akin/files.h>

#include <sys/stat.h>

static ak_ctx *ctx;
static char    dir[64];
static int     warnings;
static char    warning[2000];

static void count_warnings(void *user, ak_log_level level, const char *message)
{
    (void)user;
    if (level != AK_LOG_WARNING)
        return;
    warnings++;
    snprintf(warning, sizeof warning, "%s", message);
}

static void remove_all(const char *path)
{
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d)); )
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) {
            char below[600];
            snprintf(below, sizeof below, "%s/%s", path, e->d_name);
            remove_all(below);
        }
    if (d)
        closedir(d);
    remove(path);
}

static void setup(void)
{
    ctx = quiet();
    ak_on_log(ctx, count_warnings, NULL);
    warnings = 0;
    new_folder(dir);
}

static void teardown(void)
{
    ak_close(ctx);
    remove_all(dir);
}

static void folder(const char *name) { cr_assert_eq(mkdir(path_in(dir, name), 0700), 0); }
static void put_lines(const char *name, const char *text)
{
    put_file(path_in(dir, name), text, strlen(text));
}

/* A picture of its own for each number, 6 x 8 or larger. */
static void picture(const char *name, int number, int64_t height, int64_t width)
{
    uint8_t *x = malloc((size_t)(height * width * 3));
    cr_assert_not_null(x);
    for (int64_t i = 0; i < height * width * 3; i++)
        x[i] = (uint8_t)(i * (number + 1) + 40 * number);
    const ak_array a = { .name = name, .type = AK_TYPE_U8, .shape = AK_SHAPE(height, width, 3),
                         .size = height * width * 3, .data = x };
    cr_assert_eq(ak_picture_write_png(ctx, path_in(dir, name), &a), AK_OK, "%s",
                 ak_error_message(ctx));
    free(x);
}

static void sound(const char *name, int number, int64_t samples, int rate)
{
    ak_tensor *x = ak_zeros(ctx, AK_SHAPE(samples));
    for (int64_t i = 0; i < samples; i++)
        x->data[i] = (ak_real)(0.5 * sin((double)i * 0.02 * (number + 1)) + 0.1 * sin((double)i));
    cr_assert_eq(ak_sound_write(ctx, path_in(dir, name), x, rate, AK_SOUND_S16), AK_OK);
    ak_step_end(ctx);
}

#define SMALL .pictures = { .height = 4, .width = 5 }

/* Item i of the first field is what ak_picture_read makes of this file. */
static void expect_picture(ak_dataset *ds, int64_t i, const char *name)
{
    const ak_array *want = ak_picture_read(ctx, path_in(dir, name), (ak_picture_options){
        .height = 4, .width = 5 });
    ak_tensor *x = ak_dataset_batch(ds, i, 1);
    cr_assert_not_null(want, "%s", ak_error_message(ctx));
    cr_assert_eq(x->size, want->size, "%s", ak_error_message(ctx));
    for (int64_t k = 0; k < x->size; k++)
        cr_assert_eq(x->data[k], (ak_real)ak_array_at(want, k) * (ak_real)(1.0 / 255), "%s", name);
    ak_step_end(ctx);
}

/* ---- folders --------------------------------------------------------------------------------- */

Test(files, a_folder_of_folders, .init = setup, .fini = teardown)
{
    folder("zebra"), folder("cat"), folder("cat/young"), folder("cat/.hidden"), folder("7");
    picture("zebra/b.png", 0, 6, 8), picture("zebra/a.PNG", 1, 9, 5);
    picture("cat/young/x.png", 2, 6, 8), picture("cat/z.png", 3, 6, 8);
    picture("cat/.hidden/x.png", 4, 6, 8), picture("7/1.png", 5, 6, 8);
    put_lines("cat/readme.txt", "no picture");
    ak_dataset *ds = ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    static const char *const order[] = { "7/1.png", "cat/young/x.png", "cat/z.png", "zebra/a.PNG",
                                         "zebra/b.png" };
    static const int label[] = { 0, 1, 1, 2, 2 };
    cr_assert_eq(ak_dataset_size(ds), 5);
    cr_assert_eq(ak_dataset_classes(ds), 3);
    for (int i = 0; i < 5; i++) {
        expect_picture(ds, i, order[i]);
        cr_expect_eq(ak_dataset_label(ds, i), label[i]);
    }
    cr_expect_str_eq(ak_dataset_class_name(ds, 0), "7");
    cr_expect_str_eq(ak_dataset_class_name(ds, 2), "zebra");
    cr_expect_eq(warnings, 0, "%s", warning);

    static const char *const classes[] = { "zebra", "7", "cat", "dog", NULL };
    ds = ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL, .classes = classes });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_dataset_label(ds, 0) == 1 && ak_dataset_label(ds, 4) == 0);
    cr_expect_eq(ak_dataset_classes(ds), 4);
    static const char *const few[] = { "zebra", "cat", NULL };
    cr_expect_null(ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL,
                                                                           .classes = few }));
    expect_error(ctx, AK_ERR_FORMAT, "\"7\"", "none of the 2 classes");

    picture("alone.png", 6, 6, 8);      /* beside the sub-folders: no label */
    ds = ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL });
    cr_assert_eq(ak_dataset_size(ds), 6);
    expect_picture(ds, 1, "alone.png");
    cr_expect_eq(ak_dataset_label(ds, 1), -1);
    ds = ak_dataset_picture_folder(ctx, path_in(dir, "7"), (ak_files_options){ SMALL });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(!ak_dataset_field_at(ds, 1, &(ak_field){ 0 }));    /* no labels at all */

    cr_expect_null(ak_dataset_picture_folder(ctx, path_in(dir, "none"), (ak_files_options){
        SMALL }));
    expect_error(ctx, AK_ERR_NOT_FOUND, "none", "no such folder");
    cr_expect_null(ak_dataset_sound_folder(ctx, dir, (ak_files_options){ .sounds.rate = 8000 }));
    expect_error(ctx, AK_ERR_NOT_FOUND, ".wav", "7 others");
    cr_assert_eq(symlink(dir, path_in(dir, "cat/loop")), 0);
    cr_expect_null(ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL }));
    expect_error(ctx, AK_ERR_IO, "folders deep", "link");
}

Test(files, a_folder_of_sounds, .init = setup, .fini = teardown)
{
    folder("dog"), folder("bird");
    sound("dog/a.wav", 1, 900, 8000), sound("bird/b.wav", 2, 400, 4000);
    ak_dataset *ds = ak_dataset_sound_folder(ctx, dir, (ak_files_options){ .sounds.rate = 8000 });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 0, 2, &b), "%s", ak_error_message(ctx));
    const ak_column *c = ak_batch_need(&b, "sound", AK_FIELD_SEQUENCE);
    cr_assert(ak_shape_equal(c->view[0]->shape, AK_SHAPE(2, 900, 1)));
    cr_expect(c->lengths[0]->data[0] == 800 && c->lengths[0]->data[1] == 900);
    cr_expect(b.label->data[0] == 0 && b.label->data[1] == 1);
    ak_tensor *x = ak_sound_read(ctx, path_in(dir, "bird/b.wav"), (ak_sound_options){
        .rate = 8000 });
    cr_assert_eq(x->size, 800);
    cr_expect(memcmp(x->data, c->view[0]->data, 800 * sizeof(ak_real)) == 0);
    cr_expect(c->view[0]->data[850] == 0);
}

/* ---- lists ----------------------------------------------------------------------------------- */

Test(files, a_list_of_files, .init = setup, .fini = teardown)
{
    folder("sub");
    picture("a.png", 0, 6, 8), picture("b c.png", 1, 6, 8), picture("sub/d.png", 2, 6, 8);
    put_lines("list.csv", "file,kind,age,weight,who\n"
                          "a.png,cat,1,2.5,x\n\"b c.png\",dog,2,-1,y\nsub/d.png,cat,3,0,x\n");
    ak_dataset *ds = ak_dataset_list(ctx, path_in(dir, "list.csv"), (ak_files_options){
        SMALL, .picture = "file", .label = "kind", .numbers = "age,weight", .id = "5" });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_assert_eq(ak_dataset_size(ds), 3);
    expect_picture(ds, 0, "a.png"), expect_picture(ds, 1, "b c.png");
    expect_picture(ds, 2, "sub/d.png");
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 0, 3, &b));
    cr_expect(b.label->data[0] == 0 && b.label->data[1] == 1 && b.label->data[2] == 0);
    cr_expect_str_eq(ak_dataset_class_name(ds, 1), "dog");
    const ak_column *n = ak_batch_need(&b, "numbers", AK_FIELD_NUMBERS);
    cr_assert(ak_shape_equal(n->view[0]->shape, AK_SHAPE(3, 2)));
    cr_expect(n->view[0]->data[2] == 2 && n->view[0]->data[3] == -1);
    const ak_column *id = ak_batch_need(&b, "id", AK_FIELD_ID);
    cr_expect(id->ids[0]->data[0] == 0 && id->ids[0]->data[1] == 1 && id->ids[0]->data[2] == 0);

    /* Without a header, with endings and another folder; a table without quoting. */
    put_lines("sub/list.tsv", "a\t5\t\"quoted\n\nsub/d\t-1\t9\"\n");
    ds = ak_dataset_list(ctx, path_in(dir, "sub/list.tsv"), (ak_files_options){
        SMALL, .picture = "1", .label = "2", .id = "3", .no_header = true, .folder = dir,
        .ending = ".png", .no_quotes = true });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    expect_picture(ds, 1, "sub/d.png");
    cr_expect(ak_dataset_label(ds, 0) == 5 && ak_dataset_label(ds, 1) == -1);
    cr_expect_eq(ak_dataset_value(ds, "id", 1), 1);
    put_lines("ids.csv", "file,who\na.png,17\na.png,-1\nb c.png,3\n");
    ds = ak_dataset_list(ctx, path_in(dir, "ids.csv"), (ak_files_options){
        SMALL, .picture = "file", .id = "who" });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_dataset_value(ds, "id", 0) == 17 && ak_dataset_value(ds, "id", 1) == -1);
    put_lines("ids.csv", "file,who\na.png,99999999999\na.png,1.5\nb c.png,99999999999\n");
    ds = ak_dataset_list(ctx, path_in(dir, "ids.csv"), (ak_files_options){
        SMALL, .picture = "file", .id = "who" });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_dataset_value(ds, "id", 0) == 0 && ak_dataset_value(ds, "id", 1) == 1 &&
              ak_dataset_value(ds, "id", 2) == 0);
}

/* What a list can not be opened with, and why. */
Test(files, refusals_name_line_and_column, .init = setup, .fini = teardown)
{
    static const struct { const char *text; ak_status status; const char *a, *b; } all[] = {
        { "", AK_ERR_FORMAT, "list.csv", "is empty" },
        { "file,kind,age\n", AK_ERR_FORMAT, "no rows", "no_header" },
        { "file,kind,age\na.png,1\n", AK_ERR_FORMAT, "line 2 has 2 cells", "has 3" },
        { "file,kind,age\na.png,x,\n", AK_ERR_FORMAT, "line 2, column 3", "missing" },
        { "file,kind,age\na.png,x,old\n", AK_ERR_FORMAT, "no finite number", "\"old\"" },
        { "file,kind,age\na.png,,1\n", AK_ERR_FORMAT, "line 2", "label is missing" },
        { "file,kind,age\na.png,0.5,1\n", AK_ERR_FORMAT, "line 2, column 2", "no class number" },
        { "file,kind,age\n\"a.png,x,1\n", AK_ERR_FORMAT, "line 2", "not closed" },
        { "picture,kind,age\na.png,x,1\n", AK_ERR_VALUE, "no column \"file\"", "the pictures" },
        { "file,kind,years\na.png,x,1\n", AK_ERR_NOT_FOUND, "\"age\"", "column" },
        { "file,file,kind,age\na.png,x,1,1\n", AK_ERR_VALUE, "columns 1 and 2", "the pictures" },
    };
    picture("a.png", 0, 6, 8);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        put_lines("list.csv", all[i].text);
        cr_expect_null(ak_dataset_list(ctx, path_in(dir, "list.csv"), (ak_files_options){
            SMALL, .picture = "file", .label = "kind", .numbers = "age" }), "%s", all[i].text);
        expect_error(ctx, all[i].status, all[i].a, all[i].b);
    }
    put_lines("list.csv", "file,kind,age\na.png,,NA\n");
    ak_dataset *ds = ak_dataset_list(ctx, path_in(dir, "list.csv"), (ak_files_options){
        SMALL, .picture = "file", .label = "kind", .numbers = "age", .keep_missing = true });
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_dataset_label(ds, 0) == -1 && isnan(ak_dataset_value(ds, "label", 0)) == 0);

    const ak_mel *mel = ak_mel_make(ctx, (ak_mel_options){ .rate = 8000, .n_fft = 256, .mels = 8,
        .scale = AK_MEL_HTK, .norm = AK_MEL_AREA });
    const ak_files_options bad[] = {
        { 0 }, { .picture = "file" }, { SMALL, .picture = "file", .caption = "kind" },
        { .sound = "file" }, { .sound = "file", .sounds = { .rate = 8000, .channels = AK_NONE } },
        { .sound = "file", .sounds = { .rate = 8000, .seconds = 1 } },
        { .sound = "file", .sounds = { .rate = 8000, .channels = 2 }, .mel = mel },
        { .sound = "file", .sounds = { .rate = 16000 }, .mel = mel },
        { .sound = "file", .sounds.rate = 8000, .most_seconds = -1 },
        { SMALL, .picture = "file", .most_tokens = 3 },
        { SMALL, .caption = "kind", .id = "age", .same_captions = true },
        { SMALL, .picture = "file", .delimiter = '"' },
        { SMALL, .picture = "file", .max_bytes = -1 },
        { .picture = "file", .pictures = { .height = 4, .width = 5, .channels = 2 } },
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_null(ak_dataset_list(ctx, path_in(dir, "list.csv"), bad[i]), "%zu", i);
        cr_expect_eq(ak_error(ctx), AK_ERR_VALUE, "%zu: %s", i, ak_error_message(ctx));
        ak_step_end(ctx);
    }
    cr_expect_null(ak_dataset_picture_folder(ctx, dir, (ak_files_options){ SMALL,
                                                                           .label = "x" }));
    expect_error(ctx, AK_ERR_VALUE, "a folder has none", "ak_dataset_list");
}

/* ---- what is broken -------------------------------------------------------------------------- */

/* The first `keep` bytes of a file. */
static void cut_file(const char *name, size_t keep)
{
    static unsigned char bytes[1 << 20];
    const size_t n = get_file(path_in(dir, name), bytes, sizeof bytes);
    cr_assert(n > keep);
    put_file(path_in(dir, name), bytes, keep);
}

Test(files, broken_files_are_counted_and_named, .init = setup, .fini = teardown)
{
    static const uint8_t huge[33] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n', 0, 0, 0, 13, 'I',
                                      'H', 'D', 'R', 0, 0, 0x75, 0x30, 0, 0, 0x75, 0x30, 8, 2 };
    picture("a.png", 0, 60, 80), picture("cut.png", 1, 60, 80), picture("b.png", 2, 6, 8);
    cut_file("cut.png", 200);
    put_file(path_in(dir, "huge.png"), huge, sizeof huge);
    put_lines("text.png", "no picture"), put_lines("empty.png", "");
    folder("folder.png");
    put_lines("list.csv", "file,label\na.png,0\nnone.png,1\nhuge.png,1\ntext.png,1\nempty.png,1\n"
                          "folder.png,1\n,1\nb.png,5\ncut.png,3\n");
    int64_t left_out = -1;
    const ak_files_options o = { SMALL, .picture = "file", .label = "label",
                                 .left_out = &left_out };
    const ak_memory before = ak_memory_use(ctx);
    ak_dataset *ds = ak_dataset_list(ctx, path_in(dir, "list.csv"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_memory_use(ctx).context_bytes - before.context_bytes < 100000);
    cr_expect_eq(ak_dataset_size(ds), 3);
    cr_expect_eq(left_out, 6);
    cr_expect_eq(warnings, 1);
    static const char *const words[] = { "6 of 9 items are left out", "line 3: ",
                                         "none.png: no such",
                                         "30000 x 30000", "text.png: is no PNG or JPEG",
                                         "empty.png: is empty", "a folder", "and 1 more" };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        cr_expect(strstr(warning, words[i]), "no \"%s\" in: %s", words[i], warning);
    expect_picture(ds, 1, "b.png");
    cr_expect_eq(ak_dataset_label(ds, 1), 5);
    cr_expect(strstr(ak_dataset_name(ds), "3 of 9 items"), "%s", ak_dataset_name(ds));

    /* What the header does not tell is an error of the batch, with the file's name. */
    cr_expect(ak_is_poison(ak_dataset_batch(ds, 2, 1)));
    expect_error(ctx, AK_ERR_VALUE, "item 2", "cut.png");
    for (int threads = 0; threads <= 2; threads++) {
        ak_loader *l = ak_loader_open(ds, (ak_loader_options){
            .batch = 3, .threads = threads ? threads : AK_NONE });
        ak_batch b;
        cr_expect_not(ak_loader_next(l, &b));
        expect_error(ctx, AK_ERR_VALUE, "item 2", "cut.png");
        ak_loader_close(l);
    }
    for (int k = 0; k < 2; k++) {       /* or it is found at opening */
        ak_files_options all = o;
        all.check = k == 0, all.cache = k == 1;
        ds = ak_dataset_list(ctx, path_in(dir, "list.csv"), all);
        cr_assert_not_null(ds, "%s", ak_error_message(ctx));
        cr_expect_eq(ak_dataset_size(ds), 2);
        cr_expect_eq(left_out, 7);
        expect_picture(ds, 0, "a.png"), expect_picture(ds, 1, "b.png");
        cr_expect_eq(ak_dataset_label(ds, 1), 5);
    }
    ak_files_options strict = o;
    strict.refuse = true;
    cr_expect_null(ak_dataset_list(ctx, path_in(dir, "list.csv"), strict));
    expect_error(ctx, AK_ERR_FORMAT, "6 of 9 items", "none.png");
    put_lines("list.csv", "file,label\nnone.png,1\ntext.png,1\n");
    cr_expect_null(ak_dataset_list(ctx, path_in(dir, "list.csv"), o));
    expect_error(ctx, AK_ERR_FORMAT, "2 of 2 items", "none is left");
}

Test(files, sounds_that_are_broken_or_too_long, .init = setup, .fini = teardown)
{
    sound("a.wav", 0, 4000, 8000), sound("long.wav", 1, 20000, 8000);
    sound("cut.wav", 2, 4000, 8000), sound("b.wav", 3, 3000, 8000);
    cut_file("cut.wav", 2000);
    sound("short.wav", 4, 1, 8000);
    put_lines("list.tsv", "sound\na.wav\nlong.wav\ncut.wav\nb.wav\nnone.flac\n");
    int64_t left_out;
    ak_files_options o = { .sound = "sound", .sounds.rate = 16000, .most_seconds = 1,
                           .left_out = &left_out };
    ak_dataset *ds = ak_dataset_list(ctx, path_in(dir, "list.tsv"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect_eq(left_out, 3);
    cr_expect(strstr(warning, "long.wav: lasts 2.5 s; at most 1"), "%s", warning);
    cr_expect(strstr(warning, "cut.wav: was cut off after 978 samples"), "%s", warning);
    cr_expect(ak_shape_equal(ak_dataset_item(ds), AK_SHAPE(8000, 1)));
    o.cut_sounds = true;                /* its first second */
    ds = ak_dataset_list(ctx, path_in(dir, "list.tsv"), o);
    cr_expect_eq(left_out, 2);
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 1, 1, &b), "%s", ak_error_message(ctx));
    cr_expect_eq(b.column->lengths[0]->data[0], 16000);

    const ak_mel *mel = ak_mel_make(ctx, (ak_mel_options){ .rate = 16000, .n_fft = 400, .hop = 160,
        .mels = 20, .scale = AK_MEL_SLANEY, .norm = AK_MEL_AREA, .form = AK_MEL_LOG,
        .no_center = true });
    put_lines("list.tsv", "sound\na.wav\nshort.wav\nb.wav\n");
    o.mel = mel;
    ds = ak_dataset_list(ctx, path_in(dir, "list.tsv"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(strstr(warning, "short.wav: is too short"), "%s", warning);
    cr_assert(ak_dataset_get(ds, 0, 2, &b), "%s", ak_error_message(ctx));
    ak_tensor *x = ak_sound_read(ctx, path_in(dir, "a.wav"), (ak_sound_options){ .rate = 16000 });
    ak_tensor *y = ak_mel_spectrogram(mel, x, NULL);
    cr_assert_eq(b.column->lengths[0]->data[0], y->shape.dims[0], "%s", ak_error_message(ctx));
    cr_expect(memcmp(b.view[0]->data, y->data, (size_t)y->size * sizeof *y->data) == 0);
}

/* ---- every kind of field --------------------------------------------------------------------- */

enum { N = 24 };

#if AK_HAVE_TOKENIZER

static ak_tokenizer *words(void)
{
    static const char *const texts[] = { "a red cat on a mat", "two dogs and a cat", "the dog ran",
                                         "a cat, a dog and a mat", "one red dog" };
    ak_tokenizer *t = ak_tokenizer_train(ctx, texts, NULL, 5, (ak_tokenizer_options){
        .kind = AK_TOKENIZER_BPE, .vocab = 280 });
    cr_assert_not_null(t, "%s", ak_error_message(ctx));
    return t;
}

#else       /* captions are refused; the other kinds are tried alike */

static ak_tokenizer *words(void) { return NULL; }

#endif

static const char *caption_of(int i)
{
    static char text[100];
    snprintf(text, sizeof text, "%s %s%s", i % 3 ? "a red" : "the", i % 2 ? "cat" : "dog",
             i % 4 ? "" : " and a mat");
    return text;
}

/* The same items as TSV and as lines of JSON. */
static void write_lists(void)
{
    char   tsv[8192] = "picture\tsound\ttext\tkind\tx\ty\twho\n", json[8192] = "";
    size_t t = strlen(tsv), j = 0;
    for (int i = 0; i < N; i++) {
        char name[2][40];
        snprintf(name[0], 40, "p%d.png", i), snprintf(name[1], 40, "s%d.wav", i);
        picture(name[0], i, 6 + i % 5, 8 + i % 7), sound(name[1], i, 500 + 37 * (i % 9), 8000);
        t += (size_t)snprintf(tsv + t, sizeof tsv - t, "%s\t%s\t%s\tk%d\t%d\t%g\t%d\n", name[0],
                              name[1], caption_of(i), i % 3, i, i / 4.0, 100 + i);
        j += (size_t)snprintf(json + j, sizeof json - j, "{\"picture\": \"%s\", \"sound\": \"%s\", "
                              "\"text\": \"%s\", \"other\": [{}], \"kind\": \"k%d\", \"xy\": [%d, "
                              "%g], \"who\": %d}\n", name[0], name[1], caption_of(i), i % 3, i,
                              i / 4.0, 100 + i);
    }
    put_lines("all.tsv", tsv), put_lines("all.jsonl", json);
}

static ak_files_options every_kind(const ak_tokenizer *t, const ak_mel *mel)
{
    return (ak_files_options){
        .picture = "picture", .sound = "sound", .caption = t ? "text" : NULL, .label = "kind",
        .numbers = "x,y", .id = "who", .tokenizer = t, .mel = mel, .sounds.rate = 8000,
        .pictures = { .shorter = 7, .height = 6, .width = 6, .filter = AK_FILTER_BICUBIC } };
}

/* All numbers of an epoch, as one hash and by their sum. */
static uint64_t epoch_hash(ak_dataset *ds, int threads)
{
    const ak_augment pictures[] = { ak_random_crop(0.5, 1), ak_random_flip(0.5), { 0 } };
    const ak_augment sounds[] = { ak_time_crop(0.5, 1), ak_time_mask(1, 3, 0.5), { 0 } };
    ak_loader *l = ak_loader_open(ds, (ak_loader_options){
        .batch = 5, .views = 2, .augment = pictures, .seed = 9,
        .threads = threads ? threads : AK_NONE, .keep_last = true,
        .fields = (ak_field_views[]){ { "sound", 2, sounds, NULL }, { 0 } } });
    cr_assert_not_null(l, "%s", ak_error_message(ctx));
    uint64_t hash = 14695981039346656037ull;
    int      batches = 0;
    for (ak_batch b; ak_loader_next(l, &b); batches++) {
        for (int c = 0; c < b.columns; c++) {
            const ak_column *column = &b.column[c];
            const void      *parts[] = { column->all ? column->all->data : NULL,
                                         column->all_ids ? column->all_ids->data : NULL,
                                         column->all_lengths ? column->all_lengths->data : NULL };
            const size_t bytes[] = {
                column->all ? (size_t)column->all->size * sizeof(ak_real) : 0,
                column->all_ids ? (size_t)column->all_ids->size * 4 : 0,
                column->all_lengths ? (size_t)column->all_lengths->size * 4 : 0 };
            for (int p = 0; p < 3; p++)
                for (size_t i = 0; i < bytes[p]; i++)
                    hash = (hash ^ ((const unsigned char *)parts[p])[i]) * 1099511628211ull;
        }
        ak_step_end(ctx);
    }
    cr_assert_eq(ak_error(ctx), AK_OK, "%s", ak_error_message(ctx));
    cr_assert_eq(batches, 5);
    ak_loader_close(l);
    return hash;
}

Test(files, every_kind_has_the_same_bits_for_any_threads, .init = setup, .fini = teardown)
{
    ak_tokenizer *t = words();
    const ak_mel *mel = ak_mel_make(ctx, (ak_mel_options){ .rate = 8000, .n_fft = 128, .mels = 8,
        .scale = AK_MEL_HTK, .norm = AK_MEL_AREA, .form = AK_MEL_LOG });
    write_lists();
    ak_files_options o = every_kind(t, mel);
    ak_dataset *list = ak_dataset_list(ctx, path_in(dir, "all.tsv"), o);
    cr_assert_not_null(list, "%s", ak_error_message(ctx));
    const uint64_t want = epoch_hash(list, 0);
    for (int threads = 1; threads <= 4; threads++)
        cr_expect_eq(epoch_hash(list, threads), want, "%d threads", threads);
    o.cache = true;
    ak_dataset *cached = ak_dataset_list(ctx, path_in(dir, "all.tsv"), o);
    cr_assert_not_null(cached, "%s", ak_error_message(ctx));
    o.numbers = "xy";
    ak_dataset *lines = ak_dataset_json_lines(ctx, path_in(dir, "all.jsonl"), o);
    cr_assert_not_null(lines, "%s", ak_error_message(ctx));
    for (int threads = 0; threads <= 4; threads += 2) {
        cr_expect_eq(epoch_hash(cached, threads), want, "cached, %d threads", threads);
        cr_expect_eq(epoch_hash(lines, threads), want, "JSON, %d threads", threads);
    }
    cr_expect_eq(warnings, 0, "%s", warning);
    static const char *const names[] = { "picture", "sound", "caption", "numbers", "label", "id" };
    for (int i = 0, at = 0; i < 6; i++) {
        ak_field f;
        if (!t && strcmp(names[i], "caption") == 0)
            continue;
        cr_assert(ak_dataset_field_at(list, at++, &f));
        cr_expect_str_eq(f.name, names[i]);
    }
}

/* ---- captions -------------------------------------------------------------------------------- */

#if AK_HAVE_TOKENIZER

Test(files, captions_become_tokens, .init = setup, .fini = teardown)
{
    ak_tokenizer *t = words();
    write_lists();
    ak_files_options o = { .caption = "text", .tokenizer = t, .same_captions = true };
    ak_dataset *ds = ak_dataset_list(ctx, path_in(dir, "all.tsv"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 0, N, &b), "%s", ak_error_message(ctx));
    const ak_column *c = ak_batch_need(&b, "caption", AK_FIELD_TOKENS);
    const ak_column *id = ak_batch_need(&b, "id", AK_FIELD_ID);
    const int64_t    T = c->ids[0]->shape.dims[1];
    for (int i = 0; i < N; i++) {
        int32_t ids[64];
        const int64_t n = ak_tokenizer_encode(t, caption_of(i), AK_TEXT_END, ids, 64);
        cr_assert_eq(c->lengths[0]->data[i], n);
        for (int64_t k = 0; k < n; k++)
            cr_assert_eq(c->ids[0]->data[i * T + k], ids[k]);
        for (int k = 0; k < N; k++) {       /* equal captions, and only these, have equal ids */
            char text[100];
            snprintf(text, sizeof text, "%s", caption_of(i));
            cr_assert_eq(id->ids[0]->data[i] == id->ids[0]->data[k],
                         strcmp(text, caption_of(k)) == 0, "%d, %d", i, k);
        }
    }
    o.most_tokens = 2;
    ds = ak_dataset_list(ctx, path_in(dir, "all.tsv"), o);
    cr_assert(ak_dataset_get(ds, 0, N, &b), "%s", ak_error_message(ctx));
    cr_expect_eq(ak_batch_need(&b, "caption", AK_FIELD_TOKENS)->ids[0]->shape.dims[1], 2);

    put_lines("few.tsv", "text\nthe dog\n-1\n-1\n\"\"\n007\n7\n");
    o = (ak_files_options){ .caption = "text", .tokenizer = t, .same_captions = true };
    ds = ak_dataset_list(ctx, path_in(dir, "few.tsv"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(strstr(warning, "line 5: has no caption"), "%s", warning);
    cr_assert_eq(ak_dataset_size(ds), 5);
    cr_expect_eq(ak_dataset_value(ds, "id", 1), ak_dataset_value(ds, "id", 2));
    cr_expect(ak_dataset_value(ds, "id", 1) >= 0);
    cr_expect_neq(ak_dataset_value(ds, "id", 3), ak_dataset_value(ds, "id", 4));
}

#else

Test(files, captions_without_tokenizers, .init = setup, .fini = teardown)
{
    put_lines("few.tsv", "text\nthe dog\n");
    const ak_tokenizer *t = (const ak_tokenizer *)(const void *)dir;    /* not looked at */
    cr_expect_null(ak_dataset_list(ctx, path_in(dir, "few.tsv"), (ak_files_options){
        .caption = "text", .tokenizer = t }));
    expect_error(ctx, AK_ERR_STATE, "few.tsv", "tokenizers");
}

#endif

/* ---- lines of JSON --------------------------------------------------------------------------- */

Test(files, lines_of_json_that_are_refused, .init = setup, .fini = teardown)
{
    static const struct { const char *text, *a, *b; } all[] = {
        { "", "list.jsonl", "is empty" }, { "\n \n", "list.jsonl", "is empty" },
        { "{\"kind\": 1, \"xy\": 1}\n{\"kind\": 1", "line 2 is no JSON", "byte" },
        { "[1]\n", "line 1 is no object", "key" },
        { "{\"kind\": 1, \"kind\": 2, \"xy\": 1}", "line 1 is no JSON", "duplicate" },
        { "{\"kind\": {}, \"xy\": 1}", "line 1", "neither a string nor a number" },
        { "{\"xy\": 1}", "line 1", "label is missing" },
        { "{\"kind\": 1, \"xy\": \"1\"}", "line 1: \"xy\"", "no number" },
        { "{\"kind\": 1, \"xy\": []}", "line 1: \"xy\"", "empty list" },
        { "{\"kind\": 1}", "line 1: \"xy\"", "missing" },
        { "{\"kind\": 1, \"xy\": [1, null]}", "line 1: \"xy\"", "missing" },
        { "{\"kind\": 1, \"xy\": [1, 2]}\n\n{\"kind\": 1, \"xy\": 3}", "line 3", "has 1 numbers" },
        { "{\"kind\": 1.5, \"xy\": 1}", "line 1", "no class number" },
        { "{\"kind\": \"a\\u0000b\", \"xy\": 1}", "line 1 is no JSON", "u0000" },
        { "{\"kind\": \"\xff\", \"xy\": 1}", "line 1 is no JSON", "0xff" },
    };
    const ak_files_options o = { .label = "kind", .numbers = "xy" };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        put_lines("list.jsonl", all[i].text);
        cr_expect_null(ak_dataset_json_lines(ctx, path_in(dir, "list.jsonl"), o), "%s",
                       all[i].text);
        expect_error(ctx, AK_ERR_FORMAT, all[i].a, all[i].b);
    }
    put_lines("list.jsonl", "{\"kind\": 3, \"xy\": [1e300, 2]}\n");
    ak_dataset *ds = ak_dataset_json_lines(ctx, path_in(dir, "list.jsonl"), o);
    if (sizeof(ak_real) < 8)
        expect_error(ctx, AK_ERR_VALUE, "numbers", "beyond the range");
    else
        cr_expect_not_null(ds);
    const char *packed = "\xef\xbb\xbf{\"kind\": 3, \"xy\": -2.5e-1}\r\n";
    put_gzip(path_in(dir, "list.jsonl.gz"), packed, (unsigned)strlen(packed));
    ds = ak_dataset_json_lines(ctx, path_in(dir, "list.jsonl.gz"), o);
    cr_assert_not_null(ds, "%s", ak_error_message(ctx));
    cr_expect(ak_dataset_label(ds, 0) == 3);
    ak_batch b;
    cr_assert(ak_dataset_get(ds, 0, 1, &b));
    cr_expect_eq(ak_batch_need(&b, "numbers", AK_FIELD_NUMBERS)->view[0]->data[0],
                 (ak_real)-0.25);
}
