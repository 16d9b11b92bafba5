/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of names: matching, and the one place that refuses those that fit nothing. */
#include "tensor/tensor_internal.h"

#include <stdio.h>
#include <string.h>

/* One alternative: "~" it may fit nothing, "!" it excludes, then [text, end). */
typedef struct clause { const char *text, *end; bool optional, excludes; } clause;

/* The clause that begins at *at, which moves to the next one. False at the end of the pattern. */
static bool next_clause(const char **at, clause *p)
{
    if (!*at)
        return false;
    const char *comma = strchr(*at, ',');
    *p = (clause){ .text = *at, .end = comma ? comma : *at + strlen(*at) };
    p->optional = *p->text == '~';
    p->text += p->optional;
    p->excludes = *p->text == '!';
    p->text += p->excludes;
    *at = comma ? comma + 1 : NULL;
    return true;
}

static bool fits(const clause *p, const char *name)
{
    const char *pattern = p->text, *star = NULL, *retry = NULL;
    while (*name) {
        if (pattern < p->end && *pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (pattern < p->end && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (pattern < p->end && *pattern == '*')
        pattern++;
    return pattern == p->end;
}

bool ak_match(const char *pattern, const char *name)
{
    if (!AK__GIVEN(NULL, pattern) || !AK__GIVEN(NULL, name) || !*pattern)
        return false;
    bool found = false, only_excludes = true;
    clause p;
    for (const char *at = pattern; next_clause(&at, &p); ) {
        const bool fit = fits(&p, name);
        if (p.excludes && fit)
            return false;
        only_excludes = only_excludes && p.excludes;
        found = found || fit;
    }
    return found || only_excludes;
}

/* ---- what fits nothing ----------------------------------------------------------------------- */

enum { LONGEST = 120, NEAR = 3 };

/* Fewest letters to change, add or take away until the clause fits the name: Levenshtein's distance
 * where a star is free. */
static int distance(const clause *p, const char *name)
{
    int row[LONGEST + 1] = { 0 };
    const int n = p->end - p->text < LONGEST ? (int)(p->end - p->text) : LONGEST;
    for (int j = 1; j <= n; j++)
        row[j] = row[j - 1] + (p->text[j - 1] != '*');
    for (; *name; name++) {
        int left_above = row[0]++;
        for (int j = 1; j <= n; j++) {
            const char c = p->text[j - 1];
            const int above = row[j], star = c == '*';
            int best = left_above + (c != '?' && c != *name);
            best = above + !star < best ? above + !star : best;
            best = row[j - 1] + !star < best ? row[j - 1] + !star : best;
            row[j] = best;
            left_above = above;
        }
    }
    return row[n];
}

/* "a", "b", "c": the nearest names, the earlier one first where two are equally near. */
static void near_names(const clause *p, ak__names names, char *buf, size_t size)
{
    const char *near[NEAR], *name;
    int         far[NEAR], n = 0;
    for (int64_t i = 0; (name = names.at(names.of, i)) != NULL; i++) {
        if (!*name)
            continue;
        const int d = distance(p, name);
        int place = n < NEAR ? n++ : NEAR;
        for (; place > 0 && d < far[place - 1]; place--)
            if (place < NEAR) {
                near[place] = near[place - 1];
                far[place] = far[place - 1];
            }
        if (place < NEAR) {
            near[place] = name;
            far[place] = d;
        }
    }
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < n && at < size; i++)
        at += (size_t)snprintf(buf + at, size - at, "%s\"%.80s\"", i ? ", " : "", near[i]);
}

static void fail_none(ak_ctx *ctx, const char *who, const char *pattern, const clause *p,
                      ak__names names)
{
    char near[300];
    near_names(p, names, near, sizeof near);
    const int length = (int)(p->end - p->text < LONGEST ? p->end - p->text : LONGEST);
    const char *const sign = p->excludes ? "!" : "";
    if (!*near)
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no %s fits \"%.*s\": there is none yet\n    hint: make "
                "the modules first; \"~%s%.*s\" says that there may be none", who, names.what,
                LONGEST, pattern, sign, length, p->text);
    else
        ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no %s fits \"%s%.*s\" of the pattern \"%.*s\"; near "
                "are %s\n    hint: \"~%s%.*s\" says that there may be none", who, names.what, sign,
                length, p->text, LONGEST, pattern, near, sign, length, p->text);
}

static bool is_pattern(ak_ctx *ctx, const char *who, const char *pattern)
{
    clause p;
    for (const char *at = pattern; next_clause(&at, &p); ) {
        if (p.text < p.end && *p.text != '!' && *p.text != '~')
            continue;
        ak_fail(ctx, AK_ERR_VALUE, "%s: \"%.*s\" is no pattern: %s", who, LONGEST,
                pattern ? pattern : "", p.text == p.end ? "an alternative is empty"
                                                        : "the signs before a name are ~, !, ~!");
        return false;
    }
    if (pattern)
        return true;
    ak_fail(ctx, AK_ERR_VALUE, "%s: the pattern is NULL\n    hint: \"*\" is all", who);
    return false;
}

int64_t ak__pattern_count(ak_ctx *ctx, const char *who, const char *pattern, ak__names names)
{
    if (!is_pattern(ctx, who, pattern))
        return -1;
    const char *name;
    clause p;
    bool optional = true;
    for (const char *at = pattern; next_clause(&at, &p); ) {
        bool any = p.optional;
        for (int64_t i = 0; !any && (name = names.at(names.of, i)) != NULL; i++)
            any = *name && fits(&p, name);
        if (!any) {
            fail_none(ctx, who, pattern, &p, names);
            return -1;
        }
        optional = optional && (p.optional || p.excludes);
    }
    int64_t count = 0;
    for (int64_t i = 0; (name = names.at(names.of, i)) != NULL; i++)
        count += *name && ak_match(pattern, name);
    if (count || optional)
        return count;
    ak_fail(ctx, AK_ERR_NOT_FOUND, "%s: no %s fits \"%.*s\": all that do are excluded", who,
            names.what, LONGEST, pattern);
    return -1;
}

static const char *name_of_any(void *ctx, int64_t i)
{
    const ak_tensor *t = ak_param_at(ctx, i);
    return t ? t->name : NULL;
}

static const char *name_of_trained(void *ctx, int64_t i)
{
    const ak_tensor *t = ak_param_at(ctx, i);
    return !t ? NULL : t->flags & AK_PARAM_BUFFER ? "" : t->name;
}

int64_t ak__pattern_params(ak_ctx *ctx, const char *who, const char *pattern, bool buffers)
{
    return ak__pattern_count(ctx, who, pattern, (ak__names){
        .what = buffers ? "parameter or buffer" : "parameter",
        .at = buffers ? name_of_any : name_of_trained, .of = ctx });
}

void ak__near_params(ak_ctx *ctx, const char *path, char *buf, size_t size)
{
    const clause p = { .text = path, .end = path + strlen(path) };
    near_names(&p, (ak__names){ .at = name_of_any, .of = ctx }, buf, size);
}
