/* SPDX-License-Identifier: Apache-2.0 */
/* The map between names in a file and in a module: pairs of patterns whose stars carry over. */
#include "nn/weights.h"

#include "base/text.h"
#include "tensor/tensor_internal.h"

#include <string.h>

#define STARS 8

/* What the stars of a pattern stand for. */
typedef struct stars {
    int n;
    struct { const char *text; size_t n; } is[STARS];
} stars;

const char *ak__weight_name(ak_ctx *ctx, const char *name)
{
    const size_t n = strlen(name);
    if (n >= AK__WEIGHT_NAME) {
        ak_fail(ctx, AK_ERR_VALUE, "weights: the name \"%.60s..\" has %zu bytes; fewer than %d can "
                "be used", name, n, AK__WEIGHT_NAME);
        return NULL;
    }
    char *copy = ak__step_alloc(ctx, n + 1);
    for (size_t i = 0; copy && i <= n; i++)
        copy[i] = name[i] == '.' ? '/' : name[i];
    return copy;
}

/* ---- patterns -------------------------------------------------------------------------------- */

static char sign(char c)
{
    return c == '.' ? '/' : c;
}

/* The pattern of n bytes against all of the name; stars are as short as possible, the first before
 * the second, and so on. Where one place for what follows a star was found, no later one is better:
 * so only the last star has to grow, and the time is the product of both lengths at most. */
static bool match(const char *pattern, size_t n, const char *name, stars *s)
{
    size_t at = 0, behind = 0;          /* in the pattern; behind its last star */
    s->n = 0;
    while (at < n || *name) {
        if (at < n && pattern[at] == '*') {
            s->is[s->n].text = name;
            s->is[s->n++].n = 0;
            behind = ++at;
        } else if (at < n && *name && sign(pattern[at]) == *name) {
            at++;
            name++;
        } else if (s->n && s->is[s->n - 1].text[s->is[s->n - 1].n]) {
            name = s->is[s->n - 1].text + ++s->is[s->n - 1].n;
            at = behind;
        } else {
            return false;
        }
    }
    return true;
}

/* Append n bytes of a pattern, with the stars' texts from *k on. */
static void fill(ak__text *t, const char *pattern, size_t n, const stars *s, int *k)
{
    for (size_t i = 0; i < n; i++)
        if (pattern[i] == '*') {
            ak__text_add(t, "%.*s", (int)s->is[*k].n, s->is[*k].text);
            ++*k;
        } else {
            ak__text_add(t, "%c", sign(pattern[i]));
        }
}

/* A file pattern around its list of parts: text before it, the list, text behind it. */
typedef struct braces {
    const char *open, *close;   /* NULL: there is no list */
    int         parts;          /* 1 without one */
} braces;

static braces find_braces(const char *file)
{
    braces b = { .open = strchr(file, '{'), .parts = 1 };
    b.close = b.open ? strchr(b.open, '}') : NULL;
    for (const char *c = b.open; b.close && c < b.close; c++)
        b.parts += *c == ',';
    return b;
}

/* Part i of the list. */
static const char *part_of(const braces *b, int i, size_t *n)
{
    const char *at = b->open + 1;
    for (; i > 0; i--)
        at += strcspn(at, ",") + 1;
    *n = strcspn(at, ",}");
    return at;
}

static const char *without_sign(const char *module)
{
    return module + (*module == '~');
}

static int count(const char *text, char c)
{
    int n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

/* ---- is it a map? ---------------------------------------------------------------------------- */

static bool wrong(ak_ctx *ctx, const char *who, const ak_weight_pair *p, const char *what)
{
    ak_fail(ctx, AK_ERR_VALUE, "%s: the pair { \"%.120s\", \"%.120s\" } %s", who,
            p->file ? p->file : "(NULL)", p->module ? p->module : "(NULL)", what);
    return false;
}

static bool check_parts(ak_ctx *ctx, const char *who, const ak_weight_pair *p)
{
    const braces b = find_braces(p->file);
    if (count(p->file, '{') > 1 || count(p->file, '}') != count(p->file, '{') ||
        (b.open && !b.close))
        return wrong(ctx, who, p, "has more than one list {a,b}, or one that is not closed");
    if (b.parts > AK_WEIGHT_PARTS)
        return wrong(ctx, who, p, "joins more than 8 parts");
    for (int i = 0; b.open && i < b.parts; i++) {
        size_t n;
        const char *part = part_of(&b, i, &n);
        if (n == 0 || memchr(part, '*', n))
            return wrong(ctx, who, p, "has a part in {} that is empty or has a star");
    }
    if (p->axis < 0 || p->axis >= AK_MAX_DIMS)
        return wrong(ctx, who, p, "has an .axis that is none");
    if (p->shares && !b.open)
        return wrong(ctx, who, p, "has .shares and no list {a,b} of parts");
    for (int i = 0; p->shares && i <= b.parts; i++)
        if (i < b.parts ? p->shares[i] < 1 || p->shares[i] > 1 << 20 : p->shares[i] != 0)
            return wrong(ctx, who, p, "needs as many .shares as parts, each from 1 to 2^20, "
                         "ended by 0");
    return true;
}

static bool check_pair(ak_ctx *ctx, const char *who, const ak_weight_pair *p)
{
    if (!p->file || !p->module || !*p->file || !*without_sign(p->module))
        return wrong(ctx, who, p, "is not complete");
    if (strlen(p->file) >= AK__WEIGHT_NAME || strlen(p->module) >= AK__WEIGHT_NAME)
        return wrong(ctx, who, p, "is too long");
    if (strpbrk(without_sign(p->module), "?,!~{}"))
        return wrong(ctx, who, p, "has a sign in the module's name that is no star (? , ! ~ { })");
    if (count(p->file, '*') != count(p->module, '*') || count(p->file, '*') > STARS)
        return wrong(ctx, who, p, "needs equally many stars on both sides, 8 at most");
    if (p->axes) {
        ak__layout l = { .shape = { .n = (int)(strlen(p->axes) % 100) } };
        if (l.shape.n < 1 || l.shape.n > AK_MAX_DIMS || !ak__layout_axes(&l, p->axes))
            return wrong(ctx, who, p, "has .axes that are no order of axes; \"10\" is one");
    }
    return check_parts(ctx, who, p);
}

int ak__map_pairs(const ak_weight_map *map)
{
    int n = 0;
    while (map->pairs && n < AK__LIST_MAX && (map->pairs[n].file || map->pairs[n].module))
        n++;
    return n;
}

bool ak__map_check(ak_ctx *ctx, const char *who, const ak_weight_map *map)
{
    const int n = ak__map_pairs(map);
    if (n == AK__LIST_MAX) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: the list of pairs has no end ({ 0 }) within %d", who,
                AK__LIST_MAX);
        return false;
    }
    if ((int)map->convolutions < 0 || map->convolutions > AK_CONV_LAST) {
        ak_fail(ctx, AK_ERR_VALUE, "%s: .convolutions = %d is no ak_conv_layout", who,
                (int)map->convolutions);
        return false;
    }
    for (int i = 0; i < n; i++)
        if (!check_pair(ctx, who, &map->pairs[i]))
            return false;
    return true;
}

/* ---- names by the map ------------------------------------------------------------------------ */

/* The text as a name that stays for the step. */
static const char *keep(ak_ctx *ctx, const ak__text *t)
{
    if (t->cut) {
        ak_fail(ctx, AK_ERR_VALUE, "weights: the name \"%.60s..\" is longer than %d bytes", t->buf,
                AK__WEIGHT_NAME - 1);
        return NULL;
    }
    return ak__weight_name(ctx, t->buf);
}

bool ak__map_origin(ak_ctx *ctx, const ak_weight_map *map, const char *name, bool *used,
                    ak__origin *origin)
{
    stars s;
    *origin = (ak__origin){ .n = 1, .names = { name } };
    for (int i = 0; i < ak__map_pairs(map); i++) {
        const ak_weight_pair *p = &map->pairs[i];
        const char *module = without_sign(p->module);
        if (!match(module, strlen(module), name, &s))
            continue;
        const braces b = find_braces(p->file);
        const size_t before = b.open ? (size_t)(b.open - p->file) : strlen(p->file);
        origin->pair = p;
        origin->n = b.parts;
        for (int part = 0; part < b.parts; part++) {
            char     buf[AK__WEIGHT_NAME];
            ak__text t = AK__TEXT(buf);
            int      k = 0;
            size_t   n = 0;
            fill(&t, p->file, before, &s, &k);
            if (b.open) {
                const char *text = part_of(&b, part, &n);
                fill(&t, text, n, &s, &k);
                fill(&t, b.close + 1, strlen(b.close + 1), &s, &k);
            }
            if (!(origin->names[part] = keep(ctx, &t)))
                return false;
        }
        if (used)
            used[i] = true;
        return true;
    }
    return true;
}

bool ak__map_target(ak_ctx *ctx, const ak_weight_map *map, const char *name, bool *used,
                    ak__target *target)
{
    stars s;
    *target = (ak__target){ .name = name, .parts = 1 };
    for (int i = 0; i < ak__map_pairs(map); i++) {
        const ak_weight_pair *p = &map->pairs[i];
        const char *module = without_sign(p->module);
        const braces b = find_braces(p->file);
        for (int part = 0; part < b.parts; part++) {
            char     pattern[AK__WEIGHT_NAME], buf[AK__WEIGHT_NAME];
            ak__text all = AK__TEXT(pattern), t = AK__TEXT(buf);
            size_t   n = 0;
            const char *text = b.open ? part_of(&b, part, &n) : "";
            ak__text_add(&all, "%.*s%.*s%s", (int)(b.open ? b.open - p->file : 0), p->file, (int)n,
                         text, b.open ? b.close + 1 : p->file);
            if (!match(pattern, all.n, name, &s))
                continue;
            int k = 0;
            fill(&t, module, strlen(module), &s, &k);
            *target = (ak__target){ .pair = p, .name = keep(ctx, &t), .part = part,
                                    .parts = b.parts };
            used[i] = true;
            return target->name != NULL;
        }
    }
    return true;
}

/* ---- what fits nothing ----------------------------------------------------------------------- */

typedef struct name_list { const char *const *names; int64_t n; } name_list;

static const char *listed_name(void *of, int64_t i)
{
    const name_list *l = of;
    return i < l->n ? l->names[i] : NULL;
}

bool ak__map_used(ak_ctx *ctx, const char *who, const ak_weight_map *map, const bool *used,
                  const char *const *names, int64_t n, bool file)
{
    for (int i = 0; i < ak__map_pairs(map); i++) {
        const ak_weight_pair *p = &map->pairs[i];
        name_list   l = { names, n };
        const char *pattern = used[i] || *p->module == '~' ? NULL
                            : ak__weight_name(ctx, file ? p->file : p->module);
        if (ak_error(ctx))
            return false;
        if (!pattern)
            continue;
        if (file && find_braces(p->file).open)
            return wrong(ctx, who, p, "fits nothing in the file; \"~\" before the second says that "
                         "there may be nothing");
        if (ak__pattern_count(ctx, who, pattern, (ak__names){
                .what = file ? "array of the file" : "tensor of the module", .at = listed_name,
                .of = &l }) < 0)
            return false;
        return wrong(ctx, who, p, "is never used: an earlier pair fits all that it does");
    }
    return true;
}

bool ak__weight_fits(const char *pattern, const char *name)
{
    return pattern && ak_match(pattern, name);
}

bool ak__weight_pattern(ak_ctx *ctx, const char *who, const char *what, const char *pattern,
                        const char *const *names, int64_t n, const char **out)
{
    name_list l = { names, n };
    *out = NULL;
    if (!pattern)
        return true;
    *out = ak__weight_name(ctx, pattern);
    return *out && ak__pattern_count(ctx, who, *out, (ak__names){ .what = what, .at = listed_name,
                                                                  .of = &l }) >= 0;
}
