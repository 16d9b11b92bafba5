/* SPDX-License-Identifier: Apache-2.0 */
/* Embeddings as files, pages of folders: what is written, what is noted, what is refused. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <akin/io.h>
#include <akin/page.h>

static char    folder[64];
static ak_ctx *ctx;

static void begin(void)
{
    strcpy(folder, "/tmp/akin-page-XXXXXX");
    cr_assert_not_null(mkdtemp(folder));
    ctx = ak_open((ak_options){ .seed = 3, .quiet = true });
    ak_on_error(ctx, NULL, NULL);
}

static void end(void)
{
    char command[128];
    ak_close(ctx);
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(page, .init = begin, .fini = end);

static const char *in_folder(const char *name)
{
    static char path[4][200];
    static int  next;
    char *p = path[next++ % 4];
    snprintf(p, 200, "%s/%s", folder, name);
    return p;
}

static void write_text(const char *name, const char *text, size_t n)
{
    FILE *file = fopen(in_folder(name), "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, n, file), n);
    fclose(file);
}

/* The data of a page that was written. */
static json_t *data_of(const ak_page *page)
{
    cr_assert_not_null(page, "%s", ak_error_message(ctx));
    FILE *file = fopen(page->path, "rb");
    char *text = calloc(1, (size_t)page->bytes + 1);
    cr_assert_eq(fread(text, 1, (size_t)page->bytes, file), (size_t)page->bytes);
    cr_assert_eq(fgetc(file), EOF);
    fclose(file);
    char *begins = strstr(text, "id=\"data\">");
    cr_assert_not_null(begins);
    begins += 10;
    *strstr(begins, "</script>") = '\0';
    json_t *json = json_loads(begins, 0, NULL);
    cr_assert_not_null(json);
    free(text);
    return json;
}

static int64_t member(const json_t *json, const char *name)
{
    return json_integer_value(json_object_get(json, name));
}

static void refused(ak_status expected)
{
    cr_assert_eq(ak_error(ctx), expected, "%s", ak_error_message(ctx));
    ak_step_end(ctx);
}

enum { ROWS = 40, WIDE = 6 };

static ak_page_rows some_rows(void)
{
    static ak_real x[ROWS * WIDE], picture[ROWS * 4 * 5];
    static int32_t label[ROWS];
    static const char *const classes[] = { "a", "b", NULL };
    for (int i = 0; i < ROWS; i++) {
        label[i] = i % 2 ? 1 : i % 10 ? 0 : -1;
        for (int c = 0; c < WIDE; c++)
            x[i * WIDE + c] = (ak_real)(ak_random_normal(1, 1, (uint64_t)(i * WIDE + c)) +
                                        (c == i % 2 ? 9 : 0));
        for (int p = 0; p < 20; p++)
            picture[i * 20 + p] = (ak_real)((i % 3) - 1);
    }
    return (ak_page_rows){
        .features = ak_from(ctx, AK_SHAPE(ROWS, WIDE), x),
        .labels = ak_index_from(ctx, AK_SHAPE(ROWS), label),
        .pictures = ak_from(ctx, AK_SHAPE(ROWS, 4, 5, 1), picture), .lo = -1, .hi = 1,
        .classes = classes, .what = "rows" };
}

Test(page, an_embedding_as_files)
{
    ak_page_rows rows = some_rows();
    cr_assert_eq(ak_page_embedding(ctx, folder, rows), AK_OK, "%s", ak_error_message(ctx));
    ak_npz *f = ak_npz_open(ctx, in_folder("embedding.npz"));
    const ak_array *features = ak_npz_find(f, "features"), *label = ak_npz_find(f, "label");
    const ak_array *picture = ak_npz_find(f, "picture");
    cr_assert_eq(features->type, AK_TYPE_F32);
    cr_assert_eq(picture->type, AK_TYPE_U8);
    cr_assert(ak_shape_equal(picture->shape, AK_SHAPE(ROWS, 4, 5, 1)));
    const double levels[] = { 0, 128, 255 };
    for (int i = 0; i < ROWS; i++) {
        cr_assert_eq(ak_array_at(label, i), rows.labels->data[i]);
        cr_assert_eq(ak_array_at(picture, 20 * i), levels[i % 3]);
        cr_assert_eq(ak_array_at(features, i * WIDE), (float)rows.features->data[i * WIDE]);
    }
    rows.labels = ak_index_from(ctx, AK_SHAPE(2), (int32_t[]){ 0, 1 });
    ak_page_embedding(ctx, folder, rows);
    refused(AK_ERR_SHAPE);
    rows = some_rows();
    rows.hi = -2;
    ak_page_embedding(ctx, folder, rows);
    refused(AK_ERR_VALUE);
    rows = some_rows();
    ak_page_embedding(ctx, in_folder("none"), rows);
    refused(AK_ERR_IO);
}

Test(page, neighbours_places_and_pictures)
{
    ak_page_embedding(ctx, folder, some_rows());
    json_t *json = data_of(ak_page_write(ctx, folder, (ak_page_options){ 0 }));
    json_t *map = json_object_get(json, "map");
    cr_assert_eq(member(map, "n"), ROWS);
    cr_assert_eq(member(map, "k"), 8);
    const json_t *near = json_object_get(map, "near"), *cosine = json_object_get(map, "cosine");
    cr_assert_eq(json_array_size(near), ROWS * 8);
    for (size_t i = 0; i < ROWS * 8; i++) {     /* of the own side, the nearest first */
        const int64_t j = json_integer_value(json_array_get(near, i));
        cr_assert_eq(j % 2, (int64_t)(i / 8) % 2);
        cr_assert_neq(j, (int64_t)i / 8);
        if (i % 8)
            cr_assert_leq(json_integer_value(json_array_get(cosine, i)),
                          json_integer_value(json_array_get(cosine, i - 1)));
    }
    int64_t most = 0;
    const char *const kinds[] = { "pca", "tsne" };
    for (int kind = 0; kind < 2; kind++, most = 0) {
        const json_t *places = json_object_get(map, kinds[kind]);
        cr_assert_eq(json_array_size(places), 2 * ROWS);
        for (size_t i = 0; i < 2 * ROWS; i++) {
            const int64_t at = json_integer_value(json_array_get(places, i));
            most = llabs(at) > most ? llabs(at) : most;
        }
        cr_assert_eq(most, 5000);
    }
#if AK_HAVE_PNG
    const json_t *pictures = json_object_get(map, "pictures");
    cr_assert_eq(member(pictures, "height"), 4);
    cr_assert_eq(member(pictures, "width"), 5);
    cr_assert_eq(member(pictures, "columns"), 7);
    cr_assert(strncmp(json_string_value(json_object_get(pictures, "url")),
                      "data:image/png;base64,iVBORw0KGgo", 33) == 0);
#endif
    json_decref(json);
}

Test(page, rows_are_left_out_and_said)
{
    ak_page_rows rows = some_rows();
    rows.features->data[7 * WIDE + 2] = (ak_real)NAN;
    ak_page_embedding(ctx, folder, rows);
    const ak_page *page = ak_page_write(ctx, folder, (ak_page_options){ .points = 20 });
    json_t *json = data_of(page), *map = json_object_get(json, "map");
    cr_assert_eq(member(map, "n"), 20);
    for (size_t i = 0; i < 20; i++)
        cr_assert_neq(json_integer_value(json_array_get(json_object_get(map, "row"), i)), 7);
    cr_assert_not_null(strstr(page->notes[0], "1 rows that are not finite"));
    cr_assert_not_null(strstr(page->notes[1], "20 of 40 rows"));
    cr_assert_null(page->notes[2]);
    json_decref(json);
}

Test(page, lines_damaged_long_and_many)
{
    static char text[3000000];
    size_t n = 0;
    for (int i = 0; i < 20000; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "{\"event\":\"step\",\"step\":%d,\"loss\":"
                              "%g,\"an \\u2028 odd </script> name\":null}\n", i, 1.0 / (i + 1));
    n += (size_t)snprintf(text + n, sizeof text - n, "{\"event\":\n\xff\xfe\n[1]\n{\"event\":\"");
    memset(text + n, 'x', 9000);
    n += 9000;
    n += (size_t)snprintf(text + n, sizeof text - n, "\"}\n{\"cut\":");
    write_text("metrics.jsonl", text, n);
    const ak_page *page = ak_page_write(ctx, folder, (ak_page_options){ 0 });
    json_t *json = data_of(page), *run = json_array_get(json_object_get(json, "runs"), 0);
    const json_t *lines = json_object_get(run, "lines");
    cr_assert_eq(json_array_size(lines), 12000);
    cr_assert_eq(member(json_array_get(lines, 0), "step"), 0);
    cr_assert_eq(json_string_length(json_object_get(json_array_get(lines, 11999), "event")), 403);
    cr_assert_not_null(strstr(page->notes[0], "4 damaged lines left out, the first is line 20001"));
    cr_assert_not_null(strstr(page->notes[1], "12000 of 20001 lines"));
    cr_assert_leq(page->bytes, AK_PAGE_BYTES);
    json_decref(json);
}

Test(page, a_page_is_never_too_large)
{
    /* lines with so many names that a tenth of them is as much as a page takes */
    static char line[20000], text[40000000];
    size_t n = (size_t)snprintf(line, sizeof line, "{\"event\":\"e\""), all = 0;
    for (int i = 0; i < 300; i++)
        n += (size_t)snprintf(line + n, sizeof line - n, ",\"a long name of number %d\":%d.25", i,
                              i);
    n += (size_t)snprintf(line + n, sizeof line - n, "}\n");
    for (; all + n < sizeof text; all += n)
        memcpy(text + all, line, n);
    write_text("metrics.jsonl", text, all);
    const ak_page *page = ak_page_write(ctx, folder, (ak_page_options){ 0 });
    cr_assert_not_null(page, "%s", ak_error_message(ctx));
    cr_assert_leq(page->bytes, AK_PAGE_BYTES);
    cr_assert_not_null(strstr(page->notes[0], "lines are shown"));
}

Test(page, what_can_not_be_is_refused)
{
    ak_page_write(ctx, in_folder("none"), (ak_page_options){ 0 });
    refused(AK_ERR_NOT_FOUND);
    ak_page_write(ctx, folder, (ak_page_options){ 0 });
    refused(AK_ERR_NOT_FOUND);
    ak_page_write(ctx, folder, (ak_page_options){ .points = -1 });
    refused(AK_ERR_VALUE);
    ak_page_write(ctx, folder, (ak_page_options){ .perplexity = (double)NAN });
    refused(AK_ERR_VALUE);
    write_text("embedding.npz", "PK\3\4 and no more", 16);
    ak_page_write(ctx, folder, (ak_page_options){ 0 });
    refused(AK_ERR_FORMAT);
    const float x[6] = { 0 };
    const ak_array wrong[] = {
        { .name = "features", .type = AK_TYPE_F32, .shape = AK_SHAPE(3, 2), .size = 6, .data = x },
        { .name = "label", .type = AK_TYPE_F32, .shape = AK_SHAPE(2), .size = 2, .data = x } };
    ak_npz_write_arrays(ctx, in_folder("embedding.npz"), wrong, 2, false);
    ak_page_write(ctx, folder, (ak_page_options){ 0 });
    refused(AK_ERR_FORMAT);
}
