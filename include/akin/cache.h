/* SPDX-License-Identifier: Apache-2.0 */
/* akin/cache.h - prepared data sets, which are mapped, and scenes that the library draws.
 *
 * tools/prepare turns Debian packages into caches (docs/DATA.md): folders of plain .npy files and a
 * manifest, in $AK_DATA/NAME or ~/.cache/akin/NAME. A cache has *entries*; of each entry every
 * field has a value or none. A data set of it is chosen by split, language and fields:
 *
 *     ak_dataset *train = ak_dataset_cache(ctx, "stamps", (ak_cache_options){
 *         .split = "voices/train", .languages = "fr es ro",
 *         .fields = "picture caption speech language id", .longest = 32 });     // bytes
 *
 * The files are mapped, not read: a cache may be larger than memory, and what was read of it does
 * not stay in the process. Values are read by loader threads, item by item.
 *
 * Functions that return a pointer return NULL after recording an error.
 */
#ifndef AKIN_CACHE_H
#define AKIN_CACHE_H

#include <akin/data.h>
#include <akin/sound.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- caches ---------------------------------------------------------------------------------- */

/* What a field of a cache holds, and what it becomes in a data set. */
typedef enum ak_cache_kind {
    AK_CACHE_PICTURE = 1,   /* bytes [H, W, C]: AK_FIELD_PICTURE */
    AK_CACHE_TEXT,          /* UTF-8: AK_FIELD_TOKENS, and ak_dataset_text */
    AK_CACHE_SOUND,         /* samples: AK_FIELD_SEQUENCE of mel spectra, or of samples */
    AK_CACHE_LABELS,        /* one class an entry, with names: AK_FIELD_LABELS */
    AK_CACHE_ID             /* what is one thing: AK_FIELD_ID */
} ak_cache_kind;

typedef struct ak_cache_field {
    const char   *name;
    ak_cache_kind kind;
    int64_t       entries;      /* that have a value */
    int64_t       values;       /* different ones stored: several entries may share a picture */
    ak_shape      shape;        /* of a picture */
    double        rate;         /* of a sound: samples a second */
    double        seconds;      /* of all sounds together */
    const char *const *names;   /* of labels, [classes], then NULL */
    int64_t       classes;
} ak_cache_field;

typedef struct ak_cache_part { const char *name; int64_t entries; } ak_cache_part;
typedef struct ak_cache_split {
    const char          *name;
    const ak_cache_part *parts;     /* [n] */
    int64_t              n;
    int64_t              without;   /* entries in none of the parts */
} ak_cache_split;

/* What the manifest of a cache says. Read-only for users. */
typedef struct ak_cache_info {
    const char *name, *path;        /* its folder */
    const char *about, *licence;
    const char *recipe, *options;   /* how it was made */
    int64_t     entries, bytes;     /* of all files */
    const ak_cache_field *fields;   /* [n_fields] */
    int64_t     n_fields;
    const ak_cache_split *splits;   /* [n_splits] */
    int64_t     n_splits;
    const char *const *packages;    /* name, version, name, version, .., NULL */
} ak_cache_info;

/* Where a cache of this name is: $AK_DATA/<name>, or ~/.cache/akin/<name> where AK_DATA is not set;
 * a name with a '/' in it is a folder itself.
 *
 *   buf      size bytes for the path; a folder whose path does not fit is not found
 *   returns  buf, or NULL if no manifest.json is there (no error is recorded)
 */
AK_API char *ak_cache_find(const char *name, char *buf, size_t size);

/* What a cache holds. The manifest is compared with all files: their sizes, types and shapes, where
 * texts and sounds begin, rows and labels.
 *
 *   returns  context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND with the place looked at and the command that makes it;
 *            AK_ERR_FORMAT naming file and fault (links, and files outside of the folder, are one);
 *            AK_ERR_UNSUPPORTED for another version of the format; AK_ERR_IO, AK_ERR_MEMORY
 */
AK_API const ak_cache_info *ak_cache_look(ak_ctx *ctx, const char *name);

/* Which entries and fields. Lists are words with blanks or commas between them. */
typedef struct ak_cache_options {
    const char *split;          /* "voices/train", "things/train+validation"; several of them must
                                 * all hold: "kind/object things/test". NULL = all entries */
    const char *languages;      /* of the field "language": "en fr"; NULL = all */
    const char *fields;         /* wanted, in this order: entries that lack one are left out. NULL =
                                 * all fields that every chosen entry has */
    const ak_tokenizer *tokenizer;  /* of texts; NULL = their bytes are the tokens, padded by 0 */
    int64_t     longest;        /* tokens of a text, longer ones are cut; 0 = 64 */
    double      seconds;        /* of a sound, longer ones are cut; 0 = 3 */
    const ak_mel *mel;          /* for sounds, made for their rate; NULL = 40 bands, 400 samples
                                 * every 160, Slaney's scale and norm, logarithm with floor 1e-6 */
    bool        samples;        /* sounds as samples in [-1, 1), [T, 1], instead of mel spectra */
} ak_cache_options;

/* A data set of a cache.
 *
 *   returns  fields as chosen; those of no class or id ask the files, item by item. The main field
 *            is the first one that is neither label nor id, the label the first label. Entries keep
 *            their order. NULL on failure
 *   errors   as ak_cache_look; AK_ERR_NOT_FOUND for a split, part, language or field that is not
 *            there (the message lists those that are), AK_ERR_VALUE for options, and if no entry is
 *            left; while it is read AK_ERR_VALUE for an item whose file was cut off or changed
 *            meanwhile, or whose text the tokeniser can not encode
 */
AK_API ak_dataset *ak_dataset_cache(ak_ctx *ctx, const char *name, ak_cache_options options);

/* A text of an item, as it is stored: of sets of ak_dataset_cache and ak_dataset_scenes, their
 * parts, and sets joined with them.
 *
 *   field    of texts; of those that the set was made with, tokenised or not
 *   bytes    out: its length; the text has no zero at its end
 *   returns  UTF-8, in the mapping: valid until the context closes; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_VALUE (no such item, no texts), AK_ERR_IO if the file was cut
 *            off meanwhile
 */
AK_API const char *ak_dataset_text(const ak_dataset *ds, const char *field, int64_t item,
                                   int64_t *bytes);

/* ---- scenes ---------------------------------------------------------------------------------- */

#define AK_SCENE_COLOURS   8
#define AK_SCENE_RELATIONS 4

/* Two garments of different kinds and colours, and how the first stands to the second. */
typedef struct ak_scene {
    int32_t garment[2];     /* class of Fashion-MNIST */
    int32_t colour[2];      /* red, green, blue, yellow, pink, cyan, orange, white */
    int32_t relation;       /* left of, right of, above, below */
} ak_scene;

/* Captions of the same words that are wrong for the picture: hard negatives. */
typedef enum ak_scene_change {
    AK_SCENE_AS_IT_IS,
    AK_SCENE_SWAP_COLOURS,  /* "the blue sneaker is left of the red bag": which has what */
    AK_SCENE_SWAP_GARMENTS, /* "the red bag is left of the blue sneaker" */
    AK_SCENE_SWAP_BOTH      /* "the blue bag is left of the red sneaker": who stands where */
} ak_scene_change;

typedef struct ak_scene_options {
    int64_t  count;         /* scenes; 0 = 10000 */
    int64_t  first;         /* scene i is a function of (seed, first + i): ranges that do not
                             * overlap are disjoint samples */
    uint64_t seed;
    int      side;          /* of the canvas, 57 to 512; 0 = 64 */
    bool     wrong;         /* also the fields "swapped_colours", "swapped_garments",
                             * "swapped_both": tokens of the wrong captions */
    const ak_tokenizer *tokenizer;  /* as in ak_cache_options */
    int64_t  longest;       /* 0 = 64 */
} ak_scene_options;

/* Pictures of two garments, each tinted with a colour, side by side or one above the other, with
 * captions that are exact: "the red sneaker is left of the blue bag".
 *
 *   split    "train" or "test": whose pictures of Fashion-MNIST. Where it is not installed, shapes
 *            of ak_dataset_drawn take their place, with a warning, and ak_dataset_name says so
 *   returns  fields picture [side, side, 3], caption (tokens), garment_a, garment_b, colour_a,
 *            colour_b, relation (labels, with names), id: equal for equal captions
 *   errors   AK_ERR_VALUE for options; as ak_dataset_fashion_mnist but for its not being there
 *   source   after the attribution and relation tests of Yuksekgonul et al., "When and why
 *            vision-language models behave like bags-of-words", ICLR 2023
 */
AK_API ak_dataset *ak_dataset_scenes(ak_ctx *ctx, const char *split, ak_scene_options options);

/* The scene of an item of such a set, or of a part of one. errors: AK_ERR_VALUE, and zeros, for
 * another set and for items that are not there */
AK_API ak_scene ak_dataset_scene(const ak_dataset *ds, int64_t item);
/* Its caption, changed or not: at most size bytes with the zero, AK_SCENE_CAPTION are enough.
 * drawn: shapes instead of garments. Returns buf, empty for what is no scene; NULL without buf */
#define AK_SCENE_CAPTION 96
AK_API char *ak_scene_caption(ak_scene scene, ak_scene_change change, bool drawn, char *buf,
                              size_t size);

#ifdef __cplusplus
}
#endif
#endif
