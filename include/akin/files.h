/* SPDX-License-Identifier: Apache-2.0 */
/* akin/files.h - data sets of one's own files: folders, lists (CSV, TSV), lines of JSON.
 *
 *     ak_dataset *cats = ak_dataset_picture_folder(ctx, "cats", (ak_files_options){
 *         .pictures = { .height = 64, .width = 64 } });           // classes: names of sub-folders
 *
 *     ak_dataset *pairs = ak_dataset_list(ctx, "photos/pairs.tsv", (ak_files_options){
 *         .picture = "file", .caption = "text", .same_captions = true,
 *         .pictures = { .shorter = 64, .height = 64, .width = 64 } });
 *
 * Files stay where they are: a loader's threads decode a batch's pictures and sounds when they need
 * them, or all are decoded once (.cache). What becomes of them does not depend on the number of
 * threads.
 *
 * Fields, of those that are asked for, in this order:
 *
 *     picture   AK_FIELD_PICTURE   [H, W, C] bytes
 *     sound     AK_FIELD_SEQUENCE  [T, mels] with .mel, else samples [T, C]
 *     caption   AK_FIELD_TOKENS    ids of the tokeniser, with lengths
 *     numbers   AK_FIELD_NUMBERS   [K]
 *     label     AK_FIELD_LABELS    numbered as ak_table_options says
 *     id        AK_FIELD_ID
 *
 * **Broken files.** Each file's header is read when the set is opened. Items with one that is
 * missing, no picture or sound, cut off (WAV) or larger than the options allow are left out, and so
 * are those that name no file or no caption; a warning counts them and names the first with the
 * reason. What only decoding can find is an error of the batch that needs it, naming the file; with
 * .check or .cache it is found, and left out, at opening.
 */
#ifndef AKIN_FILES_H
#define AKIN_FILES_H

#include <akin/audio.h>
#include <akin/data.h>
#include <akin/picture.h>
#include <akin/sound.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest sound, if .most_seconds says nothing else. */
#define AK_FILES_SECONDS 30.0

typedef struct ak_files_options {
    /* Columns of a list, by name or by number from 1 ("2"); keys of lines of JSON. NULL = none. */
    const char *picture;        /* paths of pictures */
    const char *sound;          /* paths of sounds */
    const char *caption;
    const char *label;
    const char *id;             /* whole numbers from -1 on stay; otherwise equal texts get equal
                                 * numbers, from 0 on by first appearance */
    const char *numbers;        /* a pattern as for ak_match, each of whose alternatives must fit a
                                 * column; in JSON one key, of a number or a list of them */

    const char *folder;         /* that paths are relative to; NULL = the one the list is in */
    const char *ending;         /* added to each path: ".png"; NULL = nothing */
    char        delimiter;      /* of a list; 0 = a tab if the first line has one, else a comma */
    bool        no_header;      /* the first line is data; columns are then named "1", "2", .. */
    bool        no_quotes;      /* quotes in cells are characters: lists that know no quoting */
    bool        keep_missing;   /* a missing number becomes NaN, a missing label or id -1, instead
                                 * of an error */
    const char *const *classes; /* names of the classes in order, ended by NULL; NULL = as found, of
                                 * folders by their names' bytes */
    int64_t     max_bytes;      /* that a packed list may unpack to; 0 = AK_TABLE_BYTES */

    ak_picture_options pictures;    /* .height and .width are needed: with .shorter cut out of the
                                     * middle, else stretched to */
    const ak_tokenizer *tokenizer;  /* of captions; in this version NULL (ak_tokenizer) */
    int64_t     most_tokens;        /* longer captions are cut, and counted; if their last token is
                                     * the end token, it stays the last one. 0 = not cut here */
    bool        same_captions;      /* the field "id": equal captions have equal ids, so that they
                                     * are no negatives; not together with .id */

    ak_sound_options sounds;        /* .rate is needed; .channels AK_NONE is not possible */
    const ak_mel *mel;              /* frames instead of samples: its rate, one channel */
    double      most_seconds;       /* of a sound, > 0; longer ones are left out; 0 = 30 */
    bool        cut_sounds;         /* instead their first .most_seconds are taken */

    bool        refuse;         /* a broken file is an error (AK_ERR_FORMAT) that names it */
    bool        check;          /* decode every file once at opening, to find all broken ones */
    bool        cache;          /* .. and keep what it becomes in memory */
    int64_t    *left_out;       /* out: items that were left out; NULL = not wanted */
} ak_files_options;

/* Pictures (.png, .jpg, .jpeg, in any case) in a folder. Each sub-folder is a class of its name,
 * whatever the folders below it are called; pictures beside the sub-folders have no label (-1), and
 * if all are, there is no field "label". Names that begin with a dot are passed over, and other
 * files, which are counted in a message. Order: by path, byte by byte. Links are followed, to a
 * depth of 32 folders.
 *
 *   options  those of columns and lists must not be set
 *   returns  context lifetime; NULL on failure
 *   errors   AK_ERR_VALUE (an option; a sub-folder with pictures that is none of .classes),
 *            AK_ERR_NOT_FOUND (no such folder, no picture in it), AK_ERR_FORMAT (all are broken, or
 *            one is and .refuse), AK_ERR_IO, AK_ERR_STATE (built without a library that is needed:
 *            only if no file could be read), AK_ERR_MEMORY
 */
AK_API ak_dataset *ak_dataset_picture_folder(ak_ctx *ctx, const char *folder,
                                             ak_files_options options);
/* The same of sounds: .wav, .flac, .ogg, .oga, .opus. */
AK_API ak_dataset *ak_dataset_sound_folder(ak_ctx *ctx, const char *folder,
                                           ak_files_options options);

/* A CSV or TSV file, plain or gzip, written as ak_table_read says: one item a line.
 *
 *   errors   as above; AK_ERR_FORMAT with line and column as ak_table_read; AK_ERR_VALUE for a
 *            column that is not there; AK_ERR_NUMBER for a NaN of .keep_missing when numbers are
 *            checked
 */
AK_API ak_dataset *ak_dataset_list(ak_ctx *ctx, const char *path, ak_files_options options);

/* Lines of JSON (RFC 8259, UTF-8), plain or gzip: an object each, whose other keys are passed over.
 * Paths and captions are strings; labels and ids strings or numbers; a key that is absent or null
 * is a missing value. Empty lines are skipped.
 *
 *   errors   as above; AK_ERR_FORMAT with the line: no JSON, no object, a key twice, a value of
 *            another kind, a list of numbers of another length than the first
 */
AK_API ak_dataset *ak_dataset_json_lines(ak_ctx *ctx, const char *path, ak_files_options options);

#ifdef __cplusplus
}
#endif
#endif
