/* SPDX-License-Identifier: Apache-2.0 */
/* Stages of tokenisers by themselves: what a tokenizer.json is read into is made by hand here. */
#include <criterion/criterion.h>

#include "base/base.h"
#include "data/text/text.h"

#include <string.h>

#if AK_HAVE_UTF8PROC

/* A tokeniser of the kind with tokens 0, 1, .. of a list. */
static void begin(ak_tokenizer *t, ak_tokenizer_kind kind, const char *const *tokens)
{
    *t = (ak_tokenizer){ .name = "by hand", .kind = kind };
    for (int32_t id = 0, old; tokens[id]; id++)
        cr_assert(ak__vocab_add(&t->vocab, tokens[id], (int64_t)strlen(tokens[id]), id, &old));
}

static void trie_of(const ak_tokenizer *t, ak__trie *trie)
{
    ak__trie_key keys[64];
    for (int32_t id = 0; id < t->vocab.size; id++)
        keys[id] = (ak__trie_key){ (const uint8_t *)ak__vocab_text(&t->vocab, id),
                                   (int32_t)t->vocab.length[id], id };
    cr_assert(ak__trie_make(trie, keys, t->vocab.size));
}

/* Ids of a text without a post-processor, as "3 1 4". */
static void expect_ids(const ak_tokenizer *t, const char *text, const char *want)
{
    int32_t ids[256];
    char    got[1024] = "";
    for (int round = 0; round < 2; round++) {       /* the second time from the cache */
        const int64_t n = ak_tokenizer_encode_plain(t, text, AK_TEXT_END, ids, 256);
        cr_assert(n >= 0 && n <= 256);
        got[0] = 0;
        for (int64_t i = 0; i < n; i++)
            snprintf(got + strlen(got), sizeof got - strlen(got), i ? " %d" : "%d", ids[i]);
        cr_expect_str_eq(got, want, "\"%s\" is %s, not %s", text, got, want);
    }
}

static void expect_words(ak__splitter s, const char *text, const char *want)
{
    ak__spans spans = { 0 };
    char      padded[256], got[512] = "";
    snprintf(padded, sizeof padded, "%s", text);
    cr_assert(ak__split_pattern(&s, (const uint8_t *)padded, (ak__span){ 0, (int64_t)strlen(text) },
                                &spans));
    for (int64_t i = 0; i < spans.n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "[%.*s]",
                 (int)(spans.data[i].end - spans.data[i].begin), padded + spans.data[i].begin);
    cr_expect_str_eq(got, want, "\"%s\" is %s, not %s", text, got, want);
    ak__free(spans.data);
}

static void end(ak_tokenizer *t)
{
    ak__vocab_free(&t->vocab);
    ak__encoders_free(t);
}

Test(tokenizer, patterns)
{
    ak__splitter s = { .kind = AK__SPLIT_PATTERN, .behavior = AK__ISOLATED };
    s.pattern = AK__PATTERN_GPT2;
    expect_words(s, "we'll  go, 12x!", "[we]['ll][ ][ go][,][ 12][x][!]");
    expect_words(s, "a \n b  ", "[a][ \n][ b][  ]");
    s.pattern = AK__PATTERN_GPT4;
    expect_words(s, "IT'S 12345 (a)\n\nb", "[IT]['S][ ][123][45][ (][a][)\n\n][b]");
    s.pattern = AK__PATTERN_QWEN;
    expect_words(s, "x12", "[x][1][2]");
}

Test(tokenizer, behaviors)
{
    ak__splitter s = { .kind = AK__SPLIT_PATTERN, .pattern = AK__PATTERN_TEXT,
                       .text = { (const uint8_t *)"-", 1 } };
    static const char *const want[] = { "[a][b]", "[a][-][-][b][-]", "[a][--][b][-]",
                                        "[a-][-][b-]", "[a][-][-b][-]" };
    for (int k = AK__REMOVED; k <= AK__MERGED_NEXT; k++) {
        s.behavior = (ak__behavior)k;
        expect_words(s, "a--b-", want[k]);
    }
}

/* tokenizers #83, #576; keras-hub #307; bert.cpp #1; llama.cpp #5496: accents by NFD, Chinese
 * characters alone, one unknown for a whole word, control characters removed. */
Test(tokenizer, bert)
{
    static const char *const tokens[] = { "[UNK]", "un", "##aff", "##able", "\xe4\xbd\xa0",
                                          "\xe5\xa5\xbd", "resume", ",", NULL };
    ak_tokenizer t;
    ak__normal   normal = { .kind = AK__NORMAL_BERT, .clean = true, .chinese = true,
                            .accents = true, .lower = true };
    ak__splitter split = { .kind = AK__SPLIT_BERT };
    begin(&t, AK_TOKENIZER_WORDPIECE, tokens);
    trie_of(&t, &t.model.wordpiece.trie);
    t.model.wordpiece.inside = ak__trie_next(&t.model.wordpiece.trie, AK__TRIE_ROOT, '#');
    t.model.wordpiece.inside = ak__trie_next(&t.model.wordpiece.trie, t.model.wordpiece.inside,
                                             '#');
    t.model.wordpiece.longest = 20;
    t.normal = &normal;
    t.split = &split;
    t.n_normal = t.n_split = 1;
    expect_ids(&t, "UNaffable, unaffableX", "1 2 3 7 0");
    expect_ids(&t, "r\xc3\xa9sum\xc3\xa9,re\xcc\x81sume\xcc\x81", "6 7 6");
    expect_ids(&t, "\xe4\xbd\xa0\xe5\xa5\xbd", "4 5");
    expect_ids(&t, "un\x01" "aff\xe2\x80\x8b" "able", "1 2 3");
    expect_ids(&t, "unununununununununununun", "0");
    expect_ids(&t, " \t ", "");
    ak__trie_free(&t.model.wordpiece.trie);
    end(&t);
}

/* Of all ways the most probable; characters that are no token are one unknown. */
Test(tokenizer, unigram)
{
    static const char *const tokens[] = { "<unk>", "a", "b", "ab", "abc", "c", NULL };
    double       score[] = { 0, -2, -2, -3, -9, -3 };
    ak_tokenizer t;
    begin(&t, AK_TOKENIZER_UNIGRAM, tokens);
    trie_of(&t, &t.model.unigram.trie);
    t.model.unigram.score = score;
    t.model.unigram.unknown_score = -19;
    expect_ids(&t, "abc", "3 5");
    expect_ids(&t, "bxyab", "2 0 3");
    ak__trie_free(&t.model.unigram.trie);
    end(&t);
}

Test(tokenizer, bytes_as_characters)
{
    for (int b = 0; b < 256; b++)
        cr_expect_eq(ak__char_byte(ak__byte_char((uint8_t)b)), b);
    cr_expect_eq(ak__byte_char(' '), 0x120);
    cr_expect_eq(ak__byte_char('\n'), 0x10a);
    cr_expect_eq(ak__byte_char(0xad), 0x143);
    cr_expect_eq(ak__char_byte(0x144), -1);
    cr_expect_eq(ak__char_byte(' '), -1);
}

/* Marks in canonical order, also in runs that are too long to be ordered by moving each. */
Test(tokenizer, long_runs_of_marks)
{
    ak__chars text = { 0 }, normal = { 0 };
    ak__ids   points = { 0 };
    cr_assert(ak__chars_put(&text, 'a'));
    for (int i = 0; i < 100000; i++)
        cr_assert(ak__chars_put(&text, i % 2 ? 0x323 : 0x301));     /* below, class 220; above */
    cr_assert(ak__unicode_normal(&normal, text.data, text.n, AK__NFD, &points));
    cr_expect_eq(normal.n, text.n);
    cr_expect_eq(points.data[1], 0x323);
    cr_expect_eq(points.data[50000], 0x323);
    cr_expect_eq(points.data[50001], 0x301);
    ak__chars_free(&text);
    ak__chars_free(&normal);
    ak__free(points.data);
}

#endif
