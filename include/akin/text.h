/* SPDX-License-Identifier: Apache-2.0 */
/* akin/text.h - tokenisers: text to ids and back; views of lists of ids; masked words.
 *
 *     ak_tokenizer *t = ak_tokenizer_read(ctx, "tokenizer.json");
 *     ak_tokenizer_limit(t, 77);                          // the end token stays the last one
 *     int32_t ids[77];
 *     int64_t n = ak_tokenizer_encode(t, text, AK_TEXT_END, ids, 77);
 *
 * Three kinds: byte-level BPE (as GPT-2, RoBERTa, CLIP's heirs), WordPiece (as BERT, cased and
 * uncased) and Unigram (as T5, XLM-R). The first two are trained here; all are read from and
 * written to `tokenizer.json` of Hugging Face's tokenizers package, and give that package's ids.
 * What such a file asks for and is not understood is an error that names it: no part of a file is
 * passed over.
 *
 * Text is UTF-8. Bytes that are not are read as U+FFFD, one for each longest piece that could have
 * begun a character (what decoders of most languages do); a zero byte is a character as any other.
 *
 * A tokeniser does not change once it is made and set up: several threads may encode and decode
 * with one at a time. Unicode's tables are utf8proc's: in a library that was built without it the
 * calls that make a tokeniser end with AK_ERR_STATE.
 */
#ifndef AKIN_TEXT_H
#define AKIN_TEXT_H

#include <akin/data.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For a number of bytes: the text ends with a zero. */
#define AK_TEXT_END (-1)

typedef struct ak_tokenizer ak_tokenizer;

typedef enum ak_tokenizer_kind {
    AK_TOKENIZER_BPE = 1,       /* byte-level: every text has ids, none is unknown */
    AK_TOKENIZER_WORDPIECE,     /* longest pieces first; a word that has none is one unknown */
    AK_TOKENIZER_UNIGRAM        /* the most probable pieces; read only, not trained */
} ak_tokenizer_kind;

/* ---- making one ------------------------------------------------------------------------------ */

/* Read a tokenizer.json.
 *
 *   returns  the tokeniser, context lifetime; NULL on failure
 *   errors   AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT (no such file, damaged, or with a part that
 *            is not understood: the message names it), AK_ERR_STATE (no utf8proc), AK_ERR_MEMORY
 *
 * Understood are: normalizers BertNormalizer, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip,
 * Replace (of a text, or of a run of spaces), Prepend, Nmt, Precompiled, Sequence; pre-tokenizers
 * BertPreTokenizer, ByteLevel, Whitespace, WhitespaceSplit, Punctuation, Digits, Metaspace,
 * CharDelimiterSplit, Split (of a text, or by the patterns of GPT-2, GPT-4, Qwen and CLIP),
 * Sequence; models BPE (no dropout), WordPiece, Unigram; post-processors TemplateProcessing,
 * BertProcessing, RobertaProcessing, ByteLevel, Sequence; decoders ByteLevel, WordPiece, Metaspace,
 * BPEDecoder, ByteFallback, Fuse, Strip, Replace, Sequence; added tokens; truncation; padding
 * (of batches) on the right.
 */
AK_API ak_tokenizer *ak_tokenizer_read(ak_ctx *ctx, const char *path);
/* The same from memory; name is for messages. */
AK_API ak_tokenizer *ak_tokenizer_parse(ak_ctx *ctx, const char *name, const char *json,
                                        int64_t bytes);

typedef struct ak_tokenizer_options {
    ak_tokenizer_kind kind;     /* AK_TOKENIZER_BPE or AK_TOKENIZER_WORDPIECE; no default */
    int64_t vocab;              /* tokens at most, those of .special among them; 0 = 30000 */
    int64_t least;              /* a pair that stands together fewer times is not joined; 0 = 2 */
    int64_t alphabet;           /* WordPiece: different characters at most, the most frequent; each
                                 * is two tokens, "x" and "##x" as needed; 0 = 1000 */
    bool    cased;              /* WordPiece: case and accents stay */
    bool    prefix_space;       /* BPE: a text begins as if a space stood before it */
    const char *const *special; /* tokens that text never becomes, first ids, ended by NULL.
                                 * NULL = BPE: "<|endoftext|>"; WordPiece: "[PAD]", "[UNK]",
                                 * "[CLS]", "[SEP]", "[MASK]", of which a list of one's own must
                                 * have "[UNK]", "[CLS]" and "[SEP]" */
} ak_tokenizer_options;

/* Train one. The same corpus gives the same tokeniser, whatever the order of its texts.
 *
 *   texts    [n]; bytes [n] their lengths, NULL = each ends with a zero
 *   returns  the tokeniser, context lifetime; it may have fewer tokens than .vocab, where pairs run
 *            out. BPE joins pairs by count (Sennrich et al., ACL 2016) over GPT-2's words and has
 *            all 256 bytes; WordPiece's pieces are found by the same count, as the tokenizers
 *            package does, over BERT's words, and encoding adds [CLS] and [SEP]. Ties go to the
 *            pair with smaller ids. NULL on failure
 *   errors   AK_ERR_VALUE (an option out of its range, no text at all), AK_ERR_STATE (no utf8proc),
 *            AK_ERR_MEMORY
 */
AK_API ak_tokenizer *ak_tokenizer_train(ak_ctx *ctx, const char *const *texts, const int64_t *bytes,
                                        int64_t n, ak_tokenizer_options options);
/* The same from text files, plain or .gz, each line a text; paths ended by NULL.
 * errors: also AK_ERR_NOT_FOUND, AK_ERR_IO, AK_ERR_FORMAT */
AK_API ak_tokenizer *ak_tokenizer_train_files(ak_ctx *ctx, const char *const *paths,
                                              ak_tokenizer_options options);

/* Write it as a tokenizer.json, whole or not at all; the tokenizers package reads it to the same
 * ids. errors: AK_ERR_IO, AK_ERR_MEMORY */
AK_API ak_status ak_tokenizer_write(const ak_tokenizer *t, const char *path);

/* Cut ids of longer texts: `most` ids in all with what the post-processor adds, which stays: so the
 * end token is the last one. 0 = no limit. Not while other threads encode.
 * errors: AK_ERR_VALUE if most < 0, or leaves no room for a token of the text */
AK_API ak_status ak_tokenizer_limit(ak_tokenizer *t, int64_t most);

/* Length of batches: `length` ids at least, and a multiple of `multiple`; 0 = any. Not while other
 * threads encode. errors: AK_ERR_VALUE if one is < 0 or beyond 2^24 */
AK_API ak_status ak_tokenizer_pad(ak_tokenizer *t, int64_t length, int64_t multiple);

/* ---- text to ids and back -------------------------------------------------------------------- */

/* Ids of a text, with what the post-processor adds (special tokens).
 *
 *   bytes    of text, or AK_TEXT_END
 *   ids      [most]; the first `most` ids are written. NULL with most 0: they are only counted
 *   returns  how many ids the text has (under the limit, if there is one), which may be more than
 *            most; -1 on an error
 *   errors   none is recorded, for threads that have no context: -1 if memory to work in ran out.
 *            It is kept for the next call, so that this is seldom asked for. AK_ERR_VALUE is
 *            recorded for NULL, and for bytes or most below that
 */
AK_API int64_t ak_tokenizer_encode(const ak_tokenizer *t, const char *text, int64_t bytes,
                                   int32_t *ids, int64_t most);
/* Ids of two texts, as the post-processor puts them together: [CLS] a [SEP] b [SEP].
 *
 *   types    out: [most]: 0 or 1 by the text that an id belongs to, as the file says; NULL = not
 *            wanted
 *   returns, errors  as ak_tokenizer_encode; also -1 with AK_ERR_VALUE recorded where the file
 *            wants one text alone cut and that is too short
 */
AK_API int64_t ak_tokenizer_encode_pair(const ak_tokenizer *t, const char *a, int64_t a_bytes,
                                        const char *b, int64_t b_bytes, int32_t *ids,
                                        int32_t *types, int64_t most);
/* The same without what the post-processor adds and without a limit. */
AK_API int64_t ak_tokenizer_encode_plain(const ak_tokenizer *t, const char *text, int64_t bytes,
                                         int32_t *ids, int64_t most);
/* Ids of several texts, for a module: [n, T], T the longest (1 at least, and as ak_tokenizer_pad
 * has it), filled up with the padding id (ak_tokenizer_role; 0 if there is none).
 *
 *   texts    [n], each ended by a zero
 *   lengths  out: [n]; NULL = not wanted
 *   returns  step lifetime; the poison index on failure
 *   errors   AK_ERR_VALUE (n < 1, a text that is NULL), AK_ERR_MEMORY
 */
AK_API ak_index *ak_tokenizer_batch(const ak_tokenizer *t, const char *const *texts, int64_t n,
                                    ak_index **lengths);

/* The text of ids, by the file's decoder.
 *
 *   ids      [n]; special tokens are left out if skip_special
 *   text     [most] bytes; NULL with most 0: they are only counted. If there is room, a zero ends
 *            it. Bytes that are no UTF-8 (tokens may end inside a character) become U+FFFD
 *   returns  bytes of the whole text, without the zero; -1 on an error
 *   errors   AK_ERR_VALUE recorded for an id without a token, NULL, n or most < 0; memory: -1 only
 */
AK_API int64_t ak_tokenizer_decode(const ak_tokenizer *t, const int32_t *ids, int64_t n,
                                   bool skip_special, char *text, int64_t most);

/* ---- the tokens ------------------------------------------------------------------------------ */

AK_API ak_tokenizer_kind ak_tokenizer_kind_of(const ak_tokenizer *t);
/* One more than the largest id: rows of an embedding. 0 for NULL. */
AK_API int64_t ak_tokenizer_size(const ak_tokenizer *t);
/* The text of a token as the file spells it, context lifetime; NULL if no token has this id. */
AK_API const char *ak_tokenizer_token(const ak_tokenizer *t, int32_t id);
/* Id of a token by that text; -1 if there is none. */
AK_API int32_t ak_tokenizer_id(const ak_tokenizer *t, const char *token);
/* Is it a special token ([CLS], <pad>, ..)? false for what is none. */
AK_API bool ak_tokenizer_special(const ak_tokenizer *t, int32_t id);
/* Does a word begin with it? Special tokens do. */
AK_API bool ak_tokenizer_begins_word(const ak_tokenizer *t, int32_t id);

typedef enum ak_token_role {
    AK_TOKEN_PAD,       /* of the file's padding, else "[PAD]", "<pad>" or "<|pad|>" */
    AK_TOKEN_UNKNOWN,   /* of the model */
    AK_TOKEN_BEGIN,     /* what the post-processor puts in front of a text */
    AK_TOKEN_END,       /* .. and behind it; else "<|endoftext|>" or "</s>" */
    AK_TOKEN_MASK       /* "[MASK]", "<mask>" or "<|mask|>" */
} ak_token_role;
/* The id that has a role; -1 if none has. */
AK_API int32_t ak_tokenizer_role(const ak_tokenizer *t, ak_token_role role);

/* ---- views of words -------------------------------------------------------------------------- */

/* Augmentations of a field of tokens (akin/data.h) whose .tokenizer is set (akin/dataset.h); a
 * loader refuses them for others. Special tokens stay where they are: they are not dropped, moved
 * or masked. A word is a token with those behind it that continue it (ak_tokenizer_begins_word).
 * Two views that differ by the dropout of the encoder alone (SimCSE; Gao et al., EMNLP 2021) need
 * none of these: two views without a list are equal. */

/* A run of words that follow one another, a share ~ U[lo, hi] of them, one at least, anywhere.
 * (1, 1) changes nothing.  0 < lo <= hi <= 1 */
AK_API ak_augment ak_word_crop(double lo, double hi);
/* Each word is left out with probability p; if all would be, one of them stays.  0 <= p <= 1 */
AK_API ak_augment ak_word_drop(double p);
/* Each two words side by side change places with probability p, from the front on; a word moves
 * once at most.  0 <= p <= 1 */
AK_API ak_augment ak_word_swap(double p);
/* Runs of words become mask tokens, one for each token: each word does with probability share, and
 * lengths of runs are geometric with parameter 1 / words, at most 10 (SpanBERT; Joshi et al., TACL
 * 2020). The tokeniser must have a mask token.  0 <= share <= 1, words >= 1 */
AK_API ak_augment ak_word_mask(double share, double words);

/* ---- masked words ---------------------------------------------------------------------------- */

/* For masked language models (Devlin et al., NAACL 2019). */
typedef struct ak_mask_options {
    double share;       /* of the tokens that are chosen, each by itself; 0 = 0.15, AK_NONE =
                         * none */
    double mask;        /* of those become the mask token; 0 = 0.8, AK_NONE = none */
    double random;      /* of those become any ordinary token; 0 = 0.1, AK_NONE = none. The others
                         * stay as they are */
    bool   whole_words; /* words are chosen instead of tokens */
    uint64_t seed;      /* of the choice; 0 = the context's next stream */
} ak_mask_options;

#define AK_IGNORED (-100)       /* as ak_cross_entropy has it */

/* Masked ids and what the model has to find.
 *
 *   ids      [N, T]; lengths [N], NULL = T: what is behind stays, and special tokens do
 *   targets  out: [N, T]: the token where one was chosen, AK_IGNORED elsewhere. If none was chosen
 *            all are AK_IGNORED, and a loss that ignores them is 0
 *   returns  [N, T], step lifetime; the poison index on failure
 *   errors   AK_ERR_SHAPE; AK_ERR_VALUE (an option out of its range, lengths outside [0, T], an id
 *            without a token), AK_ERR_STATE if the tokeniser has no mask token, AK_ERR_MEMORY
 */
AK_API ak_index *ak_mask_words(const ak_tokenizer *t, const ak_index *ids, const ak_index *lengths,
                               ak_mask_options options, ak_index **targets);

#ifdef __cplusplus
}
#endif
#endif
