/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of data/text/ share: memory to work in, Unicode, and the inside of a tokeniser.
 *
 * A text passes these stages, each a file:
 *
 *     utf8.c        bytes that are no UTF-8 become U+FFFD
 *     added.c       added tokens are found; what stands between them is a piece
 *     normal.c      normalizers, one after the other (charsmap.c: sentencepiece's)
 *     split.c       pre-tokenizers: pieces become words (pattern.c: regular expressions)
 *     bpe.c, wordpiece.c, unigram.c       words become ids
 *     encode.c      all of them, truncation, what the post-processor adds
 *
 * and back in decode.c. token_read.c and token_parts.c read tokenizer.json into this form;
 * token_train.c makes such a file's content, and reads it as any other. */
#ifndef AK_DATA_TEXT_H
#define AK_DATA_TEXT_H

#include <akin/text.h>

#include <stdatomic.h>

/* ---- memory to work in ----------------------------------------------------------------------- */

/* Bytes that grow. Nothing is recorded, for threads that have no context: what grows returns
 * false, and the caller gives up. AK__TEXT_SLACK more may be read behind the last one. */
#define AK__TEXT_SLACK 16
typedef struct ak__chars {
    uint8_t *data;
    int64_t  n, room;
} ak__chars;
bool ak__chars_more(ak__chars *b, int64_t extra);       /* room for n + extra */
bool ak__chars_add(ak__chars *b, const void *from, int64_t n);
bool ak__chars_text(ak__chars *b, const char *text);
bool ak__chars_print(ak__chars *b, const char *format, ...) AK_PRINTF(2, 3);
void ak__chars_free(ak__chars *b);

/* An array that grows: *data has room for *room elements of `size` bytes and gets it for `want`. */
bool ak__grow(void **data, int64_t *room, int64_t want, size_t size);

typedef struct ak__ids {
    int32_t *data;
    int64_t  n, room;
} ak__ids;
static inline bool ak__ids_more(ak__ids *b, int64_t extra)
{
    return b->n + extra <= b->room ||
           ak__grow((void **)&b->data, &b->room, b->n + extra, sizeof *b->data);
}
static inline bool ak__ids_add(ak__ids *b, int32_t id)
{
    if (!ak__ids_more(b, 1))
        return false;
    b->data[b->n++] = id;
    return true;
}

/* Parts of a text: bytes [begin, end). */
typedef struct ak__span { int64_t begin, end; } ak__span;
typedef struct ak__spans {
    ak__span *data;
    int64_t   n, room;
} ak__spans;
static inline bool ak__spans_add(ak__spans *b, int64_t begin, int64_t end)
{
    if (b->n == b->room && !ak__grow((void **)&b->data, &b->room, b->n + 1, sizeof *b->data))
        return false;
    b->data[b->n++] = (ak__span){ begin, end };
    return true;
}

/* ---- Unicode (utf8.c, unicode.c) ------------------------------------------------------------- */

/* Bytes of the character at p, of valid UTF-8. */
static inline int ak__utf8_length(uint8_t first)
{
    return first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}
/* The character at p, of valid UTF-8; *n its bytes. */
static inline int32_t ak__utf8_at(const uint8_t *p, int *n)
{
    *n = ak__utf8_length(*p);
    switch (*n) {
    case 1:  return p[0];
    case 2:  return (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    case 3:  return (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    default: return (p[0] & 0x07) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
    }
}
/* Write c, 4 bytes at most; how many. */
int ak__utf8_put(uint8_t *p, int32_t c);
/* The last character before p, which is not the first of its text. */
int32_t ak__utf8_before(const uint8_t *p);
bool ak__chars_put(ak__chars *b, int32_t c);
/* Bytes of the valid UTF-8 that n bytes begin with. */
int64_t ak__utf8_valid(const uint8_t *p, int64_t n);
/* Add text with U+FFFD for what is no UTF-8. */
bool ak__utf8_mend(ak__chars *to, const uint8_t *p, int64_t n);

/* Is there a library with Unicode's tables? Records AK_ERR_STATE if not. */
bool ak__unicode_there(ak_ctx *ctx);
typedef enum ak__unicode_class {
    AK__SPACE = 1, AK__LETTER = 2, AK__NUMBER = 4, AK__PUNCTUATION = 8, AK__MARK = 16,
    AK__MARK_NONSPACING = 32, AK__OTHER = 64, AK__WORD = 128
} ak__unicode_class;
/* The classes that c is in: white space; L, N, P, M, Mn; Cc, Cf, Co and Cs; what \w matches.
 * ASCII's symbols count as punctuation, as they do for BERT. */
unsigned ak__unicode_classes(int32_t c);
extern const uint8_t ak__ascii_classes[128];
static inline unsigned ak__classes(int32_t c)
{
    return c < 128 ? ak__ascii_classes[c] : ak__unicode_classes(c);
}
bool ak__unicode_chinese(int32_t c);
/* Add c in lower case: one character, or two. */
bool ak__unicode_lower(ak__chars *to, int32_t c);
typedef enum ak__normal_form { AK__NFC, AK__NFD, AK__NFKC, AK__NFKD } ak__normal_form;
/* Add the normal form of n bytes; points: to work in. */
bool ak__unicode_normal(ak__chars *to, const uint8_t *p, int64_t n, ak__normal_form form,
                        ak__ids *points);
/* Bytes of the first grapheme cluster of n > 0 bytes. */
int64_t ak__unicode_grapheme(const uint8_t *p, int64_t n);

/* ---- a trie of bytes (trie.c) ---------------------------------------------------------------- */

/* A double array: the child of node s by byte c is at base[s] + c, if check[] there is s. */
typedef struct ak__trie_cell { int32_t base, check, value; } ak__trie_cell;
typedef struct ak__trie {
    ak__trie_cell *cell;
    int32_t        cells;
} ak__trie;
#define AK__TRIE_ROOT 0
/* A key and the value at its end, >= 0. */
typedef struct ak__trie_key { const uint8_t *text; int32_t n, value; } ak__trie_key;
/* Of keys, none empty, none twice; sorts them. False: out of memory, nothing held. */
bool ak__trie_make(ak__trie *t, ak__trie_key *keys, int64_t n);
void ak__trie_free(ak__trie *t);
/* The child of node s by c; -1 if there is none. */
static inline int32_t ak__trie_next(const ak__trie *t, int32_t s, uint8_t c)
{
    const int32_t at = t->cell[s].base + c;
    return t->cell[at].check == s ? at : -1;
}

/* ---- the tokens ------------------------------------------------------------------------------ */

#define AK__MOST_TOKENS (1 << 24)       /* an id is below that */

typedef enum ak__trait {
    AK__TOKEN_THERE = 1, AK__TOKEN_SPECIAL = 2, AK__TOKEN_ADDED = 4, AK__TOKEN_BEGINS = 8
} ak__trait;

/* Tokens by id and by text. */
typedef struct ak__vocab {
    char    *blob;              /* texts, each ended by a zero */
    int64_t  used, blob_room;
    uint32_t *start, *length;   /* [size] places in blob */
    uint8_t *traits;            /* [size] */
    int64_t  size, room;        /* one more than the largest id */
    int32_t *slots;             /* ids by hash of the text; -1: none */
    int64_t  n_slots, count;    /* a power of two; tokens */
} ak__vocab;
/* Add a token; its text or id must be new, *old says by whom it is taken (-1: out of memory). */
bool ak__vocab_add(ak__vocab *v, const char *text, int64_t n, int32_t id, int32_t *old);
/* -1: none has this text. */
int32_t ak__vocab_find(const ak__vocab *v, const void *text, int64_t n);
void ak__vocab_free(ak__vocab *v);
static inline bool ak__vocab_has(const ak__vocab *v, int64_t id)
{
    return id >= 0 && id < v->size && (v->traits[id] & AK__TOKEN_THERE);
}
static inline const char *ak__vocab_text(const ak__vocab *v, int32_t id)
{
    return v->blob + v->start[id];
}
/* A hash of a few bytes; reads AK__TEXT_SLACK behind them. */
uint64_t ak__text_hash(const uint8_t *p, int64_t n);

/* ---- stages ---------------------------------------------------------------------------------- */

/* What a file may ask for at most. */
#define AK__MOST_STAGES 64
#define AK__MOST_STRING 4096            /* bytes of a token and of other strings */
/* .. and what a text may become: work on more of it ends as if memory had run out. */
#define AK__MOST_TEXT   ((int64_t)1 << 28)

/* A text in its file's spelling. */
typedef struct ak__string { const uint8_t *text; int64_t n; } ak__string;

typedef enum ak__normal_kind {
    AK__NORMAL_BERT, AK__NORMAL_FORM, AK__NORMAL_LOWER, AK__NORMAL_STRIP_ACCENTS, AK__NORMAL_STRIP,
    AK__NORMAL_REPLACE, AK__NORMAL_REPLACE_SPACES, AK__NORMAL_PREPEND, AK__NORMAL_NMT,
    AK__NORMAL_CHARSMAP
} ak__normal_kind;

/* sentencepiece's map: a Darts double array and the texts that its values point to. */
typedef struct ak__charsmap {
    uint32_t *units;
    int64_t   n_units;
    uint8_t  *texts;
    int64_t   n_texts;
} ak__charsmap;

typedef struct ak__normal {
    ak__normal_kind kind;
    bool  clean, chinese, accents, lower;       /* BERT: accents are removed */
    ak__normal_form form;
    bool  left, right;                          /* STRIP */
    ak__string from, to;                        /* REPLACE, PREPEND (to) */
    bool  all_spaces;                           /* REPLACE_SPACES: \s, else U+0020 */
    int64_t least;                              /* .. so many of them at least */
    ak__charsmap map;
} ak__normal;

typedef enum ak__pattern {
    AK__PATTERN_TEXT, AK__PATTERN_GPT2, AK__PATTERN_GPT4, AK__PATTERN_QWEN, AK__PATTERN_CLIP,
    AK__PATTERN_SPACES, AK__PATTERN_WORDS, AK__PATTERN_CLASS
} ak__pattern;

typedef enum ak__behavior {     /* of what matches */
    AK__REMOVED, AK__ISOLATED, AK__CONTIGUOUS, AK__MERGED_PREVIOUS, AK__MERGED_NEXT
} ak__behavior;

typedef enum ak__splitter_kind {
    AK__SPLIT_PATTERN, AK__SPLIT_BERT, AK__SPLIT_BYTES, AK__SPLIT_METASPACE
} ak__splitter_kind;

typedef enum ak__prepend { AK__PREPEND_ALWAYS, AK__PREPEND_FIRST, AK__PREPEND_NEVER } ak__prepend;

typedef struct ak__splitter {
    ak__splitter_kind kind;
    ak__pattern  pattern;
    ak__string   text;          /* PATTERN_TEXT; METASPACE: the replacement */
    unsigned     classes;       /* PATTERN_CLASS */
    ak__behavior behavior;
    bool         invert;
    bool         prefix_space;  /* BYTES */
    bool         split;         /* BYTES: by GPT-2's pattern; METASPACE: before each */
    ak__prepend  prepend;       /* METASPACE */
} ak__splitter;

typedef enum ak__decoder_kind {
    AK__DECODE_BYTES, AK__DECODE_WORDPIECE, AK__DECODE_METASPACE, AK__DECODE_BPE,
    AK__DECODE_FALLBACK, AK__DECODE_FUSE, AK__DECODE_STRIP, AK__DECODE_REPLACE
} ak__decoder_kind;

typedef struct ak__decoder {
    ak__decoder_kind kind;
    ak__string  from, to;       /* REPLACE; from: WORDPIECE's prefix, BPE's suffix, METASPACE's and
                                 * STRIP's character */
    bool        cleanup, keep_first;
    int64_t     start, stop;    /* STRIP: so many at most */
} ak__decoder;

typedef struct ak__added {
    ak__string text;            /* normalised where it is found in normalised text */
    int32_t    id;
    bool       single_word, left, right, normalized;
} ak__added;

/* Added tokens that are found in text as it is, or in normalised text. */
typedef struct ak__matcher {
    ak__trie trie;              /* value: place in ak_tokenizer.added */
    bool     first[256];        /* a token begins with this byte */
    int64_t  n;
} ak__matcher;

typedef struct ak__merge { uint64_t pair; int32_t rank, id; } ak__merge;

typedef struct ak__bpe {
    ak__merge *merges;          /* by hash of the pair: left << 32 | right; rank -1: free */
    uint64_t   mask;            /* slots - 1 */
    bool       bytes;           /* byte-level: a symbol is a byte */
    int32_t    symbol[4][256];  /* .. its id inside, at the front, at the end, alone; -1: none */
    ak__string prefix, suffix;
    int32_t    unknown;         /* -1: such symbols are left out, as the tokenizers package does */
    bool       fuse, fallback, whole;   /* whole: a word that is a token needs no merges */
    int32_t    byte[256];       /* tokens <0x00> to <0xFF>; -1: none */
} ak__bpe;

typedef struct ak__wordpiece {
    ak__trie trie;
    int32_t  inside;            /* the node of the prefix; -1: no piece has it */
    int32_t  unknown;
    int64_t  longest;           /* characters of a word; longer ones are unknown */
} ak__wordpiece;

typedef struct ak__unigram {
    ak__trie trie;
    double  *score;             /* [pieces] */
    double   unknown_score;
    int32_t  unknown;
    bool     fallback;
    int32_t  byte[256];
} ak__unigram;

/* What the post-processor makes: ids, and the places of the texts, each with its type. */
#define AK__TEXT_A (-1)
#define AK__TEXT_B (-2)
typedef struct ak__piece { int32_t id, type; } ak__piece;
typedef struct ak__template {
    ak__piece *data;
    int64_t    n, room;
    int64_t    added;           /* ids that it adds */
} ak__template;
typedef enum ak__cut { AK__CUT_LONGEST, AK__CUT_FIRST, AK__CUT_SECOND } ak__cut;

/* ---- encoding -------------------------------------------------------------------------------- */

/* Ids of words that were met: two cache lines, overwritten by the next word of the same hash. */
#define AK__CACHED_BYTES 62
#define AK__CACHED_IDS   16
typedef struct ak__cached {
    uint8_t n, bytes;           /* bytes 0: empty */
    uint8_t word[AK__CACHED_BYTES];
    int32_t ids[AK__CACHED_IDS];
} ak__cached;
#define AK__CACHE_SLOTS 8192

/* Symbols of a long word that are merged through a heap. */
typedef struct ak__symbol { int32_t id, before, behind; } ak__symbol;
typedef struct ak__candidate { int32_t rank, at, id; } ak__candidate;
typedef struct ak__lattice { double score; int32_t from, id; } ak__lattice;

/* The memory that one call works in, kept for the next one. */
typedef struct ak__encoder {
    struct ak__encoder *next;
    ak__chars   mended, text, other;    /* a text as UTF-8; a piece of it, normalised; the same */
    ak__chars   split[2];               /* its words, where they are spelt in another way */
    ak__spans   words, more;
    ak__ids     ids, points;
    int64_t     first;                  /* ids of the first of two texts */
    ak__symbol *symbols;
    int64_t     symbol_room;
    ak__candidate *heap;
    int64_t     heap_n, heap_room;
    ak__lattice *lattice;
    int64_t     lattice_room;
    ak__cached *cache;                  /* [AK__CACHE_SLOTS] */
} ak__encoder;

struct ak_tokenizer {
    ak_ctx     *ctx;
    const char *name;           /* for messages */
    ak_tokenizer_kind kind;
    ak__chars   json;           /* the file */
    ak__chars   strings;        /* what ak__string points into */
    ak__vocab   vocab;
    int32_t     role[AK_TOKEN_MASK + 1];

    ak__normal   *normal;
    ak__splitter *split;
    ak__decoder  *decode;
    int           n_normal, n_split, n_decode;
    ak__added    *added;
    int64_t       n_added;
    ak__matcher   plain, normalized;
    union { ak__bpe bpe; ak__wordpiece wordpiece; ak__unigram unigram; } model;

    ak__template single, pair;  /* what the post-processor makes of a text, and of two */
    int64_t     limit;          /* ids in all; 0 = none */
    ak__cut     cut;            /* of two texts */
    bool        limit_left;     /* cut at the front */
    int64_t     pad_to, pad_multiple;   /* of batches: ids at least, a multiple of; 0 = any */
    bool        limit_changed, pad_changed;     /* .. is not what the file says */

    _Atomic(int) lock;          /* of the list: */
    ak__encoder *free;          /* encoders that nobody uses */
};

/* One for the call, and back. NULL: out of memory. */
ak__encoder *ak__encoder_take(const ak_tokenizer *t);
void ak__encoder_give(const ak_tokenizer *t, ak__encoder *e);
void ak__encoders_free(ak_tokenizer *t);

/* Each returns false when memory ran out. */
/* Normalise e->text, which changes places with e->other. *start: does it begin with what it began
 * with? Not if characters were removed there. */
bool ak__normalize(const ak_tokenizer *t, ak__encoder *e, bool *start);
bool ak__charsmap_normalize(const ak__charsmap *m, ak__chars *to, const uint8_t *p, int64_t n,
                            bool *start);
/* Parse n bytes of a map. NULL: fine; else what is wrong. */
const char *ak__charsmap_read(ak__charsmap *m, const uint8_t *bytes, int64_t n, bool *memory);
/* e->text[begin, end) to e->words; start: the text begins there. *text: what they lie in. */
bool ak__split(const ak_tokenizer *t, ak__encoder *e, ak__span piece, bool start,
               const uint8_t **text);
/* Bytes of the match of a pattern at p, up to end: 0 where none begins. */
int64_t ak__pattern_match(ak__pattern pattern, const uint8_t *p, const uint8_t *end);
/* Split a span of text by a pattern: spans are added. */
bool ak__split_pattern(const ak__splitter *s, const uint8_t *text, ak__span span, ak__spans *to);
/* Ids of a word. */
bool ak__bpe_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n);
const ak__merge *ak__bpe_merge(const ak__bpe *m, int32_t left, int32_t right);
bool ak__wordpiece_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n);
bool ak__unigram_encode(const ak_tokenizer *t, ak__encoder *e, const uint8_t *word, int64_t n);
/* The first added token in text[from, n): its bytes with the spaces that it takes; false: none. */
bool ak__matcher_find(const ak_tokenizer *t, const ak__matcher *m, const uint8_t *text, int64_t n,
                      int64_t from, ak__span *at, int32_t *id);

/* The character that stands for a byte in byte-level files, and back (-1: none does). */
int32_t ak__byte_char(uint8_t byte);
int     ak__char_byte(int32_t c);

/* ---- making ---------------------------------------------------------------------------------- */

void ak__tokenizer_free(ak_tokenizer *t);
/* The words of a text with how often they stand in it, for training: what the stages before the
 * model make of it is handed to `word`. False: out of memory, or word said so. */
bool ak__tokenizer_words(const ak_tokenizer *t, ak__encoder *e, const uint8_t *text, int64_t n,
                         bool (*word)(void *user, const uint8_t *text, int64_t n), void *user);

#endif
