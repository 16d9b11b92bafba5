/* SPDX-License-Identifier: Apache-2.0 */
/* akin data: what a data set holds, and a sheet of samples with their captions. */
#include "tool.h"

#include <akin/cache.h>
#include <akin/picture.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- letters --------------------------------------------------------------------------------- */

#define FIRST 32
#define LAST  126

/* 5 columns of each character from ' ' on, the lowest bit above. */
static const uint8_t letters[LAST - FIRST + 1][5] = {
    { 0, 0, 0, 0, 0 }, { 0, 0, 0x5f, 0, 0 }, { 0, 7, 0, 7, 0 }, { 0x14, 0x7f, 0x14, 0x7f, 0x14 },
    { 0x24, 0x2a, 0x7f, 0x2a, 0x12 }, { 0x23, 0x13, 8, 0x64, 0x62 },
    { 0x36, 0x49, 0x55, 0x22, 0x50 }, { 0, 5, 3, 0, 0 }, { 0, 0x1c, 0x22, 0x41, 0 },
    { 0, 0x41, 0x22, 0x1c, 0 }, { 0x14, 8, 0x3e, 8, 0x14 }, { 8, 8, 0x3e, 8, 8 },
    { 0, 0x50, 0x30, 0, 0 }, { 8, 8, 8, 8, 8 }, { 0, 0x60, 0x60, 0, 0 }, { 0x20, 0x10, 8, 4, 2 },
    { 0x3e, 0x51, 0x49, 0x45, 0x3e }, { 0, 0x42, 0x7f, 0x40, 0 },
    { 0x42, 0x61, 0x51, 0x49, 0x46 }, { 0x21, 0x41, 0x45, 0x4b, 0x31 },
    { 0x18, 0x14, 0x12, 0x7f, 0x10 }, { 0x27, 0x45, 0x45, 0x45, 0x39 },
    { 0x3c, 0x4a, 0x49, 0x49, 0x30 }, { 1, 0x71, 9, 5, 3 }, { 0x36, 0x49, 0x49, 0x49, 0x36 },
    { 6, 0x49, 0x49, 0x29, 0x1e }, { 0, 0x36, 0x36, 0, 0 }, { 0, 0x56, 0x36, 0, 0 },
    { 8, 0x14, 0x22, 0x41, 0 }, { 0x14, 0x14, 0x14, 0x14, 0x14 }, { 0, 0x41, 0x22, 0x14, 8 },
    { 2, 1, 0x51, 9, 6 }, { 0x32, 0x49, 0x79, 0x41, 0x3e }, { 0x7e, 0x11, 0x11, 0x11, 0x7e },
    { 0x7f, 0x49, 0x49, 0x49, 0x36 }, { 0x3e, 0x41, 0x41, 0x41, 0x22 },
    { 0x7f, 0x41, 0x41, 0x22, 0x1c }, { 0x7f, 0x49, 0x49, 0x49, 0x41 }, { 0x7f, 9, 9, 9, 1 },
    { 0x3e, 0x41, 0x49, 0x49, 0x7a }, { 0x7f, 8, 8, 8, 0x7f }, { 0, 0x41, 0x7f, 0x41, 0 },
    { 0x20, 0x40, 0x41, 0x3f, 1 }, { 0x7f, 8, 0x14, 0x22, 0x41 },
    { 0x7f, 0x40, 0x40, 0x40, 0x40 }, { 0x7f, 2, 0xc, 2, 0x7f }, { 0x7f, 4, 8, 0x10, 0x7f },
    { 0x3e, 0x41, 0x41, 0x41, 0x3e }, { 0x7f, 9, 9, 9, 6 }, { 0x3e, 0x41, 0x51, 0x21, 0x5e },
    { 0x7f, 9, 0x19, 0x29, 0x46 }, { 0x46, 0x49, 0x49, 0x49, 0x31 }, { 1, 1, 0x7f, 1, 1 },
    { 0x3f, 0x40, 0x40, 0x40, 0x3f }, { 0x1f, 0x20, 0x40, 0x20, 0x1f },
    { 0x3f, 0x40, 0x38, 0x40, 0x3f }, { 0x63, 0x14, 8, 0x14, 0x63 }, { 7, 8, 0x70, 8, 7 },
    { 0x61, 0x51, 0x49, 0x45, 0x43 }, { 0, 0x7f, 0x41, 0x41, 0 }, { 2, 4, 8, 0x10, 0x20 },
    { 0, 0x41, 0x41, 0x7f, 0 }, { 4, 2, 1, 2, 4 }, { 0x40, 0x40, 0x40, 0x40, 0x40 },
    { 0, 1, 2, 4, 0 }, { 0x20, 0x54, 0x54, 0x54, 0x78 }, { 0x7f, 0x48, 0x44, 0x44, 0x38 },
    { 0x38, 0x44, 0x44, 0x44, 0x20 }, { 0x38, 0x44, 0x44, 0x48, 0x7f },
    { 0x38, 0x54, 0x54, 0x54, 0x18 }, { 8, 0x7e, 9, 1, 2 }, { 0xc, 0x52, 0x52, 0x52, 0x3e },
    { 0x7f, 8, 4, 4, 0x78 }, { 0, 0x44, 0x7d, 0x40, 0 }, { 0x20, 0x40, 0x44, 0x3d, 0 },
    { 0x7f, 0x10, 0x28, 0x44, 0 }, { 0, 0x41, 0x7f, 0x40, 0 }, { 0x7c, 4, 0x18, 4, 0x78 },
    { 0x7c, 8, 4, 4, 0x78 }, { 0x38, 0x44, 0x44, 0x44, 0x38 }, { 0x7c, 0x14, 0x14, 0x14, 8 },
    { 8, 0x14, 0x14, 0x18, 0x7c }, { 0x7c, 8, 4, 4, 8 }, { 0x48, 0x54, 0x54, 0x54, 0x20 },
    { 4, 0x3f, 0x44, 0x40, 0x20 }, { 0x3c, 0x40, 0x40, 0x20, 0x7c },
    { 0x1c, 0x20, 0x40, 0x20, 0x1c }, { 0x3c, 0x40, 0x30, 0x40, 0x3c },
    { 0x44, 0x28, 0x10, 0x28, 0x44 }, { 0xc, 0x50, 0x50, 0x50, 0x3c },
    { 0x44, 0x64, 0x54, 0x4c, 0x44 }, { 0, 8, 0x36, 0x41, 0 }, { 0, 0, 0x7f, 0, 0 },
    { 0, 0x41, 0x36, 8, 0 }, { 8, 4, 8, 0x10, 8 }
};

/* ---- the sheet ------------------------------------------------------------------------------- */

#define COLUMNS 6
#define ROWS    6
#define CELL    132             /* pixels across */
#define ADVANCE 6               /* from letter to letter */
#define ACROSS  21              /* letters of a line */
#define LINES   3
#define LINE    9               /* pixels from line to line */
#define GAP     4

typedef struct sheet {
    uint8_t *pixels;            /* [height, width, 3] */
    int64_t  height, width, cell_height;
    FILE    *texts;             /* the captions in full */
} sheet;

static void write_letter(sheet *s, int64_t top, int64_t left, char c)
{
    const unsigned char u = (unsigned char)c;
    for (int x = 0; x < 5 && u >= FIRST && u <= LAST; x++)
        for (int y = 0; y < 7; y++)
            if (letters[u - FIRST][x] >> y & 1)
                memset(s->pixels + 3 * ((top + y) * s->width + left + x), 30, 3);
}

/* At most LINES lines, broken at blanks where that is possible. */
static void write_text(sheet *s, int64_t top, int64_t left, const char *text, int64_t n)
{
    for (int line = 0; line < LINES && n > 0; line++) {
        int64_t take = n < ACROSS ? n : ACROSS;
        for (int64_t k = take; n > take && k > ACROSS / 2; k--)
            if (text[k] == ' ') {
                take = k;
                break;
            }
        for (int64_t k = 0; k < take; k++)
            write_letter(s, top + line * LINE, left + k * ADVANCE, text[k]);
        while (take < n && text[take] == ' ')
            take++;
        text += take;
        n -= take;
    }
}

/* A picture in the upper middle of a cell, each pixel `times` pixels wide. */
static void put_picture(sheet *s, int64_t top, int64_t left, const ak_tensor *x, int64_t times)
{
    const int64_t h = x->shape.dims[1], w = x->shape.dims[2], channels = x->shape.dims[3];
    left += (CELL - w * times) / 2;
    for (int64_t i = 0; i < h * times; i++)
        for (int64_t j = 0; j < w * times; j++)
            for (int64_t c = 0; c < 3; c++) {
                const int64_t from = (i / times * w + j / times) * channels +
                                     (channels >= 3 ? c : 0);
                s->pixels[3 * ((top + i) * s->width + left + j) + c] =
                    (uint8_t)(255 * (double)x->data[from] + 0.5);
            }
}

static bool plain(const char *text, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if ((unsigned char)text[i] < FIRST || (unsigned char)text[i] > LAST)
            return false;
    return true;
}

/* Is there a field of this name in the set? */
static bool has_field(const ak_dataset *ds, const char *name, ak_field_kind kind)
{
    ak_field f;
    for (int i = 0; ak_dataset_field_at(ds, i, &f); i++)
        if (f.kind == kind && strcmp(f.name, name) == 0)
            return true;
    return false;
}

/* The caption of an item: a text, else the name of its class. */
static const char *caption_of(const ak_dataset *ds, const char *text, int64_t item, int64_t *n)
{
    if (text)
        return ak_dataset_text(ds, text, item, n);
    const char *name = ak_dataset_class_name(ds, ak_dataset_label(ds, item));
    *n = (int64_t)strlen(name);
    return name;
}

static bool add_sample(sheet *s, ak_dataset *ds, const char *text, int64_t item, int place)
{
    char        number[64];
    int64_t     n = 0;
    const char *caption = caption_of(ds, text, item, &n);
    if (!caption)
        return false;
    if (s->texts)
        fprintf(s->texts, "%d\titem %" PRId64 "\t%.*s\n", place + 1, item, (int)n, caption);
    if (!s->pixels)
        return true;
    ak_tensor    *x = ak_dataset_batch(ds, item, 1);
    const int64_t top = GAP + place / COLUMNS * s->cell_height;
    const int64_t left = GAP + (int64_t)(place % COLUMNS) * CELL, side = x->shape.dims[2];
    const int64_t times = side >= CELL / 2 ? 1 : (CELL - 8) / side;
    put_picture(s, top, left, x, times);
    if (!plain(caption, n)) {
        snprintf(number, sizeof number, "(%d)", place + 1);     /* of the list beside the sheet */
        caption = number;
        n = (int64_t)strlen(number);
    }
    write_text(s, top + x->shape.dims[1] * times + 3, left + 3, caption, n);
    return true;
}

/* Samples at even distances into NAME.png, and their captions into NAME.txt. */
static int write_sheet(ak_ctx *ctx, ak_dataset *ds, const char *text, const char *to)
{
    const ak_shape item = ak_dataset_item(ds);
    const bool     pictures = item.n == 3 && item.dims[1] <= CELL - 2 * GAP;
    const int64_t  size = ak_dataset_size(ds);
    const int      count = (int)(size < COLUMNS * ROWS ? size : COLUMNS * ROWS);
    char           path[4096];
    sheet          s = { 0 };
    snprintf(path, sizeof path, "%s.txt", to);
    if (!(s.texts = fopen(path, "w"))) {
        fprintf(stderr, "akin: %s can not be written\n", path);
        return 1;
    }
    printf("samples           %s", path);
    if (pictures) {
        const int64_t side = item.dims[1];
        s.cell_height = item.dims[0] * (side >= CELL / 2 ? 1 : (CELL - 8) / side) + LINES * LINE +
                        2 * GAP;
        s.width = COLUMNS * CELL + 2 * GAP;
        s.height = (count + COLUMNS - 1) / COLUMNS * s.cell_height + 2 * GAP;
        s.pixels = malloc((size_t)(s.height * s.width * 3));
        if (s.pixels)
            memset(s.pixels, 236, (size_t)(s.height * s.width * 3));
    }
    bool fine = s.pixels || !pictures;
    for (int k = 0; fine && k < count; k++)
        fine = add_sample(&s, ds, text, (2 * k + 1) * size / (2 * count), k);
    if (fclose(s.texts) != 0) {
        fprintf(stderr, "\nakin: %s can not be written\n", path);
        fine = false;
    }
    if (fine && s.pixels) {
        const ak_shape shape = AK_SHAPE(s.height, s.width, 3);
        snprintf(path, sizeof path, "%s.png", to);
        fine = ak_picture_write_png(ctx, path, &(ak_array){ .name = "sheet", .type = AK_TYPE_U8,
            .shape = shape, .size = ak_shape_size(shape), .data = s.pixels }) == AK_OK;
        printf(", %s", path);
    }
    printf("\n");
    free(s.pixels);
    return fine ? 0 : 1;
}

/* ---- what it says ---------------------------------------------------------------------------- */

static void say_cache(const ak_cache_info *c)
{
    static const char *const kinds[] = { "?", "picture", "text", "sound", "labels", "id" };
    char shape[AK_SHAPE_TEXT];
    printf("%s: %s\n", c->name, c->about);
    printf("folder            %s, %.1f MB\n", c->path, (double)c->bytes / 1e6);
    printf("licence           %s\n", c->licence);
    printf("made by           recipe %s%s%s, of", c->recipe, *c->options ? ", " : "", c->options);
    for (int64_t i = 0; c->packages[i]; i += 2)
        printf(" %s %s", c->packages[i], c->packages[i + 1]);
    printf("\nentries           %" PRId64 "\n", c->entries);
    printf("%-17s %-8s %9s %9s\n", "field", "kind", "entries", "values");
    for (int64_t i = 0; i < c->n_fields; i++) {
        const ak_cache_field *f = &c->fields[i];
        printf("  %-15s %-8s %9" PRId64 " %9" PRId64, f->name, kinds[f->kind], f->entries,
               f->values);
        if (f->kind == AK_CACHE_PICTURE)
            printf("  %s", ak_shape_text(f->shape, shape));
        else if (f->kind == AK_CACHE_SOUND)
            printf("  %g Hz, %.0f s", f->rate, f->seconds);
        else if (f->kind == AK_CACHE_LABELS)
            printf("  %" PRId64 " classes", f->classes);
        printf("\n");
    }
    for (int64_t i = 0; i < c->n_splits; i++) {
        printf("split %-11s", c->splits[i].name);
        for (int64_t p = 0; p < c->splits[i].n; p++)
            printf(" %s %" PRId64, c->splits[i].parts[p].name, c->splits[i].parts[p].entries);
        if (c->splits[i].without)
            printf(", in none of them %" PRId64, c->splits[i].without);
        printf("\n");
    }
}

static void say_set(const ak_dataset *ds)
{
    static const char *const kinds[] = { "?", "picture", "vector", "sequence", "tokens", "labels",
                                         "numbers", "id" };
    char     shape[AK_SHAPE_TEXT];
    ak_field f;
    printf("%s\nitems             %" PRId64 "\n", ak_dataset_name(ds), ak_dataset_size(ds));
    for (int i = 0; ak_dataset_field_at(ds, i, &f); i++)
        printf("  %-15s %-8s %s\n", f.name, kinds[f.kind], ak_shape_text(f.shape, shape));
}

/* ---- the command ----------------------------------------------------------------------------- */

static int list_sets(ak_ctx *ctx)
{
    static const char *const names[] = { "stamps", "emoji", "clipart", "icons", "packages" };
    char path[4096];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (ak_cache_find(names[i], path, sizeof path)) {
            const ak_cache_info *c = ak_cache_look(ctx, names[i]);
            printf("%-14s %9" PRId64 " entries  %s\n", names[i], c->entries, c->path);
        } else {
            printf("%-14s not there: tools/prepare %s\n", names[i], names[i]);
        }
    }
    if (!ak_dataset_find("fashion-mnist", path, sizeof path))
        snprintf(path, sizeof path, "not there: apt install dataset-fashion-mnist");
    printf("%-14s %s\n", "fashion-mnist", path);
    printf("%-14s drawn by the library\n", "scenes");
    return 0;
}

/* The first field of a kind in a cache, the names first that are asked for; NULL: none. */
static const char *field_of(const ak_cache_info *c, ak_cache_kind kind, const char *rather)
{
    const char *found = NULL;
    for (int64_t i = 0; i < c->n_fields; i++)
        if (c->fields[i].kind == kind && (!found || strcmp(c->fields[i].name, rather) == 0))
            found = c->fields[i].name;
    return found;
}

int data_command(ak_ctx *ctx, int argc, char **argv)
{
    const char *name = argc > 0 ? argv[0] : NULL, *split = NULL, *languages = NULL, *to = NULL;
    char        fields[256], base[256];
    for (int i = 1; i < argc; i += 2) {
        const char **option = strcmp(argv[i], "--split") == 0 ? &split
                            : strcmp(argv[i], "--languages") == 0 ? &languages
                            : strcmp(argv[i], "--sheet") == 0 ? &to : NULL;
        if (!option || i + 1 == argc) {
            fprintf(stderr, "usage: akin data [NAME [--split SPLIT/PART] [--languages \"en fr\"] "
                            "[--sheet FILE]]\n");
            return 2;
        }
        *option = argv[i + 1];
    }
    if (!name)
        return list_sets(ctx);
    if (!to) {
        const char *slash = strrchr(name, '/');
        snprintf(base, sizeof base, "%s", slash && slash[1] ? slash + 1 : name);
        to = base;
    }
    if (strcmp(name, "scenes") == 0 || strcmp(name, "fashion-mnist") == 0) {
        const char *part = split ? split : "train";
        ak_dataset *ds = name[0] == 's'
            ? ak_dataset_scenes(ctx, part, (ak_scene_options){ .wrong = true })
            : ak_dataset_fashion_mnist(ctx, part);
        say_set(ds);
        return write_sheet(ctx, ds, has_field(ds, "caption", AK_FIELD_TOKENS) ? "caption" : NULL,
                           to);
    }
    const ak_cache_info *c = ak_cache_look(ctx, name);
    const char *picture = field_of(c, AK_CACHE_PICTURE, "picture");
    const char *text = field_of(c, AK_CACHE_TEXT, "caption");
    say_cache(c);
    if (!text) {
        printf("samples           none: the set has no texts\n");
        return 0;
    }
    snprintf(fields, sizeof fields, "%s %s", picture ? picture : "", text);
    ak_dataset *ds = ak_dataset_cache(ctx, name, (ak_cache_options){
        .split = split, .languages = languages, .fields = fields });
    return write_sheet(ctx, ds, text, to);
}
