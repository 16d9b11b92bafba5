/* SPDX-License-Identifier: Apache-2.0 */
/* Scenes: two tinted garments on a canvas, with captions that are exact and captions that are wrong
 * in one thing. A scene is a function of (seed, number); its picture is drawn when it is read. */
#include "data/cache.h"

#include "base/base.h"
#include "base/text.h"
#include "data/dataset.h"

#include <string.h>

#define SIDE          28        /* of a garment */
#define CLASSES       10
#define CAPTIONS      4         /* right, and three that are wrong */
#define STREAM_SCENES UINT64_C(0x7363656e65732e2e)

static const char *const garments[] = { "T-shirt", "trouser", "pullover", "dress", "coat",
                                             "sandal", "shirt", "sneaker", "bag", "ankle boot",
                                             NULL };
static const char *const shapes[] = { "disc", "ring", "square", "frame", "triangle", "cross",
                                           "bars", "zigzag", "star", "crescent", NULL };
static const char *const colours[AK_SCENE_COLOURS + 1] = { "red", "green", "blue", "yellow",
                                                           "pink", "cyan", "orange", "white",
                                                           NULL };
static const uint8_t tints[AK_SCENE_COLOURS][3] = {
    { 255, 40, 40 },  { 40, 220, 40 },  { 70, 90, 255 },  { 255, 240, 40 },
    { 255, 110, 200 }, { 40, 230, 240 }, { 255, 140, 20 }, { 255, 255, 255 }
};
static const char *const relations[AK_SCENE_RELATIONS + 1] = { "left of", "right of", "above",
                                                               "below", NULL };

/* What the callback is handed. */
typedef struct scene_set {
    const uint8_t *pictures;        /* [n, SIDE, SIDE] */
    const int32_t *of_class;        /* pictures in the order of their classes, */
    int64_t        start[CLASSES + 1];  /* which begin here */
    uint64_t       seed;
    int64_t        first, size;
    int            side;
    bool           drawn;
    const ak_tokenizer *tokenizer;
    int64_t        longest;
    const char   **caption[CAPTIONS];   /* [size]; NULL = not a field */
} scene_set;

/* ---- what is in a scene ---------------------------------------------------------------------- */

/* Everything random of scene i: numbers in [0, 2^32). */
enum {
    GARMENT_A, GARMENT_B, COLOUR_A, COLOUR_B, RELATION, PICTURE_A, PICTURE_B, NEAR,
    ASIDE = NEAR + 2
};

static void draw_numbers(const scene_set *s, int64_t i, uint32_t out[12])
{
    const uint64_t stream = ak__stream(STREAM_SCENES, (uint64_t)(s->first + i), 0, 0);
    for (uint64_t b = 0; b < 3; b++)
        ak__philox(s->seed, stream, b, out + 4 * b);
}

/* A number below n: 2^32 values on so few leave no bias that could be measured. */
static int32_t below(uint32_t random, int64_t n)
{
    return (int32_t)((uint64_t)random * (uint64_t)n >> 32);
}

static ak_scene scene_of(const scene_set *s, int64_t i)
{
    uint32_t r[12];
    ak_scene scene;
    draw_numbers(s, i, r);
    /* The second differs: it is one of the others, in a row behind the first. */
    scene.garment[0] = below(r[GARMENT_A], CLASSES);
    scene.garment[1] = (scene.garment[0] + 1 + below(r[GARMENT_B], CLASSES - 1)) % CLASSES;
    scene.colour[0] = below(r[COLOUR_A], AK_SCENE_COLOURS);
    scene.colour[1] = (scene.colour[0] + 1 + below(r[COLOUR_B], AK_SCENE_COLOURS - 1)) %
                      AK_SCENE_COLOURS;
    scene.relation = below(r[RELATION], AK_SCENE_RELATIONS);
    return scene;
}

char *ak_scene_caption(ak_scene scene, ak_scene_change change, bool drawn, char *buf, size_t size)
{
    if (!AK__GIVEN(NULL, buf) || size == 0)
        return NULL;
    const char *const *names = drawn ? shapes : garments;
    const int  swap_colours = change == AK_SCENE_SWAP_COLOURS || change == AK_SCENE_SWAP_BOTH;
    const int  swap_garments = change == AK_SCENE_SWAP_GARMENTS || change == AK_SCENE_SWAP_BOTH;
    bool       fine = scene.relation >= 0 && scene.relation < AK_SCENE_RELATIONS &&
                      change >= AK_SCENE_AS_IT_IS && change <= AK_SCENE_SWAP_BOTH;
    *buf = '\0';
    for (int k = 0; k < 2; k++)
        fine = fine && scene.garment[k] >= 0 && scene.garment[k] < CLASSES &&
               scene.colour[k] >= 0 && scene.colour[k] < AK_SCENE_COLOURS;
    if (fine)
        ak__format(buf, size, "the %s %s is %s the %s %s", colours[scene.colour[swap_colours]],
                   names[scene.garment[swap_garments]], relations[scene.relation],
                   colours[scene.colour[!swap_colours]], names[scene.garment[!swap_garments]]);
    return buf;
}

/* ---- its picture ----------------------------------------------------------------------------- */

/* A garment over what is there: its grey is how much of its colour covers the ground. */
static void place(const scene_set *s, const uint8_t *garment, const uint8_t tint[3], int64_t top,
                  int64_t left, uint8_t *canvas)
{
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            uint8_t  *to = canvas + 3 * ((top + y) * s->side + left + x);
            const int grey = garment[SIDE * y + x];
            for (int c = 0; c < 3; c++)
                to[c] = (uint8_t)((grey * tint[c] + (255 - grey) * to[c] + 127) / 255);
        }
}

static void draw_scene(const scene_set *s, int64_t i, uint8_t *canvas)
{
    const ak_scene scene = scene_of(s, i);
    uint32_t       r[12];
    draw_numbers(s, i, r);
    memset(canvas, 24, (size_t)s->side * (size_t)s->side * 3);
    const bool across = scene.relation < 2;                 /* side by side */
    const int  before = scene.relation % 2;                 /* which one is left, or above */
    /* Halves of the canvas do not overlap; each garment is anywhere in its own. */
    const int64_t half = s->side / 2, along = half - SIDE, beside = s->side - SIDE;
    for (int k = 0; k < 2; k++) {
        const int32_t  class = scene.garment[k];
        const int64_t  n = s->start[class + 1] - s->start[class];
        const int32_t  picture = s->of_class[s->start[class] + below(r[PICTURE_A + k], n)];
        const int64_t  near = (k == before ? 0 : s->side - half) +
                              below(r[NEAR + k], along + 1);
        const int64_t  aside = below(r[ASIDE + k], beside + 1);
        place(s, s->pictures + (int64_t)picture * SIDE * SIDE, tints[scene.colour[k]],
              across ? aside : near, across ? near : aside, canvas);
    }
}

bool ak__scene_fill(ak_item_data *item, void *user)
{
    const scene_set *s = user;
    draw_scene(s, item->number, item->data[0]);
    for (int k = 0; k < CAPTIONS && s->caption[k]; k++) {
        const char *text = s->caption[k][item->number];
        if (!ak__text_tokens(s->tokenizer, text, (int64_t)strlen(text), s->longest,
                             item->data[1 + k], &item->length[1 + k], item->error))
            return false;
    }
    return true;
}

const char *ak__scene_text(void *user, int slot, int64_t item)
{
    const scene_set *s = user;
    return s->caption[slot - 1][item];
}

ak_scene ak_dataset_scene(const ak_dataset *ds, int64_t item)
{
    if (!AK__GIVEN(NULL, ds) || ak_error(ds->ctx))
        return (ak_scene){ 0 };
    for (int p = 0; p < ds->n_parts; p++)
        if (ds->part[p].source && ds->part[p].source->fill == ak__scene_fill && item >= 0 &&
            item < ds->size)
            return scene_of(ds->part[p].source->user, ak__row_of(&ds->part[p], item));
    ak_fail(ds->ctx, AK_ERR_VALUE, "dataset_scene: item %lld of \"%s\" (%lld items) is no scene",
            (long long)item, ds->name, (long long)ds->size);
    return (ak_scene){ 0 };
}

/* ---- a set ----------------------------------------------------------------------------------- */

/* Pictures to take garments from, in the order of their classes. */
static bool take_pictures(ak_ctx *ctx, scene_set *s, const char *split, char *where, size_t room)
{
    ak_dataset *from;
    if (ak_dataset_find("fashion-mnist", where, room)) {
        from = ak_dataset_fashion_mnist(ctx, split);
    } else {
        s->drawn = true;
        from = ak_dataset_drawn(ctx, 1, strcmp(split, "train") ? 1000000 : 0, 2000);
        ak__format(where, room, "drawn shapes");
        ak_log_message(ctx, AK_LOG_WARNING, "dataset_scenes: Fashion-MNIST is not installed "
                   "(dataset-fashion-mnist): shapes that akin draws stand for garments");
    }
    const ak__field *x = from ? ak__dataset_main(from) : NULL;
    if (!x)
        return false;
    if (!x->bytes || x->numbers != SIDE * SIDE || ak_dataset_classes(from) > CLASSES) {
        ak_fail(ctx, AK_ERR_FORMAT, "dataset_scenes: the pictures of \"%s\" are not 28 x 28 bytes "
                "of ten classes", from->name);
        return false;
    }
    int32_t *order = ak__ctx_alloc(ctx, (size_t)from->size * sizeof *order);
    int64_t  n = 0;
    for (int32_t class = 0; order && class < CLASSES; class++) {
        s->start[class] = n;
        for (int64_t i = 0; i < from->size; i++)
            if (ak_dataset_label(from, i) == class)
                order[n++] = (int32_t)i;
        if (n == s->start[class]) {
            ak_fail(ctx, AK_ERR_FORMAT, "dataset_scenes: \"%s\" has no picture of class %d",
                    from->name, class);
            return false;
        }
    }
    s->start[CLASSES] = n;
    s->of_class = order;
    s->pictures = x->bytes;
    return order != NULL;
}

static bool write_captions(ak_ctx *ctx, scene_set *s, int changes)
{
    char caption[AK_SCENE_CAPTION];
    for (int k = 0; k < changes; k++) {
        if (!(s->caption[k] = ak__ctx_alloc(ctx, (size_t)s->size * sizeof *s->caption[k])))
            return false;
        size_t total = 0;
        for (int64_t i = 0; i < s->size; i++)
            total += strlen(ak_scene_caption(scene_of(s, i), (ak_scene_change)k, s->drawn, caption,
                                             sizeof caption)) + 1;
        char *at = ak__ctx_alloc(ctx, total);
        for (int64_t i = 0; at && i < s->size; i++) {
            s->caption[k][i] = at;
            at += strlen(ak_scene_caption(scene_of(s, i), (ak_scene_change)k, s->drawn, at,
                                          sizeof caption)) + 1;
        }
        if (!at)
            return false;
    }
    return true;
}

/* Of a scene: what its labels and its id are. Equal captions have equal ids. */
static int32_t number_of(ak_scene x, int which)
{
    switch (which) {
    case 0:  return x.garment[0];
    case 1:  return x.garment[1];
    case 2:  return x.colour[0];
    case 3:  return x.colour[1];
    case 4:  return x.relation;
    default: return (((x.garment[0] * CLASSES + x.garment[1]) * AK_SCENE_COLOURS + x.colour[0]) *
                     AK_SCENE_COLOURS + x.colour[1]) * AK_SCENE_RELATIONS + x.relation;
    }
}

static bool whole_field(ak_ctx *ctx, const scene_set *s, int which, ak_field *to)
{
    ak_array *a = ak__ctx_alloc(ctx, sizeof *a);
    int32_t  *v = ak__ctx_alloc(ctx, (size_t)s->size * sizeof *v);
    for (int64_t i = 0; a && v && i < s->size; i++)
        v[i] = number_of(scene_of(s, i), which);
    if (a)
        *a = (ak_array){ .name = to->name, .type = AK_TYPE_I32, .shape = AK_SHAPE(s->size),
                         .size = s->size, .data = v };
    to->array = a;
    to->borrowed = true;
    return a && v;
}

ak_dataset *ak_dataset_scenes(ak_ctx *ctx, const char *split, ak_scene_options o)
{
    if (!AK__GIVEN(NULL, ctx) || !AK__GIVEN(ctx, split) || ak_error(ctx))
        return NULL;
    const int64_t count = o.count ? o.count : 10000, longest = o.longest ? o.longest : AK__LONGEST;
    const int     side = o.side ? o.side : 64, captions = o.wrong ? CAPTIONS : 1;
    if ((strcmp(split, "train") && strcmp(split, "test")) || count < 1 ||
        count > AK__MOST_ITEMS || o.first < 0 || o.first > INT64_MAX - count ||
        side < 2 * SIDE + 1 || side > 512 || longest < 1 || longest > 1 << 20) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_scenes: split \"%s\" must be \"train\" or \"test\", "
                ".count %lld in [1, %d], .first %lld >= 0, .side %d in [57, 512], .longest %lld in "
                "[1, 2^20]", split, (long long)count, AK__MOST_ITEMS, (long long)o.first, side,
                (long long)longest);
        return NULL;
    }
    scene_set *s = ak__ctx_alloc(ctx, sizeof *s);
    char       where[4096], what[4096 + 200];
    if (!s)
        return NULL;
    *s = (scene_set){ .seed = o.seed, .first = o.first, .size = count, .side = side,
                      .tokenizer = o.tokenizer, .longest = longest };
    if (!take_pictures(ctx, s, split, where, sizeof where) || !write_captions(ctx, s, captions))
        return NULL;
    const char *const *names = s->drawn ? shapes : garments;
    static const char *const texts[CAPTIONS] = { "caption", "swapped_colours", "swapped_garments",
                                                 "swapped_both" };
    ak_field fields[1 + CAPTIONS + 6 + 1] = {
        { .name = "picture", .kind = AK_FIELD_PICTURE, .shape = AK_SHAPE(side, side, 3),
          .bytes = true }
    };
    ak_field whole[6] = {
        { .name = "garment_a", .class_names = names },
        { .name = "garment_b", .class_names = names },
        { .name = "colour_a", .class_names = colours },
        { .name = "colour_b", .class_names = colours },
        { .name = "relation", .class_names = relations }, { .name = "id" }
    };
    for (int k = 0; k < captions; k++)
        fields[1 + k] = (ak_field){ .name = texts[k], .kind = AK_FIELD_TOKENS,
                                    .shape = AK_SHAPE(longest), .tokenizer = o.tokenizer };
    for (int k = 0; k < 6; k++) {
        whole[k].kind = k < 5 ? AK_FIELD_LABELS : AK_FIELD_ID;
        if (!whole_field(ctx, s, k, &whole[k]))
            return NULL;
        fields[1 + captions + k] = whole[k];
    }
    ak__format(what, sizeof what, "scenes %lld .. %lld (seed %llu), %s, of %s",
               (long long)o.first, (long long)(o.first + count - 1), (unsigned long long)o.seed,
               split, where);
    return ak_dataset_callback(ctx, what, count, fields, ak__scene_fill, s);
}
