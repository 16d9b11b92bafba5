/* SPDX-License-Identifier: Apache-2.0 */
/* The embedding of a run, for a page: some of its rows, where they lie, who is near, pictures. */
#include <math.h>
#include <string.h>

#include <akin/io.h>

#include "base/base.h"
#include "base/parallel.h"
#include "base/text.h"
#include "data/picture/picture.h"
#include "report/page.h"
#include "report/project.h"

#define POINTS 2000
#define NEAR 8                  /* neighbours of each */
#define SIDE 48                 /* most pixels of a side of a picture */
#define PICTURE_BYTES 2200000   /* of the PNG file with all of them; base64 makes 4 out of 3 */
#define PLACE 5000.0            /* the largest coordinate */
#define PATH_SIZE 4096

typedef struct map {
    ak__draft      *d;
    const ak_array *features, *label, *picture;
    int64_t         total, n, wide;
    int64_t        *row;        /* [n] of the file */
    double         *x;          /* [n, wide] at length one */
    json_t         *json;
} map;

/* ---- which rows ------------------------------------------------------------------------------ */

/* Arrays that fit together? False: an error is recorded. */
static bool check(map *m, const char *path)
{
    char text[AK_SHAPE_TEXT];
    const ak_array *f = m->features, *l = m->label, *p = m->picture;
    const char     *wrong = NULL;
    const ak_array *which = f;
    if (!f) {
        ak_fail(m->d->ctx, AK_ERR_FORMAT, "%s: has no array \"features\"", path);
        return false;
    }
    if (f->shape.n != 2 || f->size < 1)
        wrong = "[N, D]";
    else if (which = l, l && (l->shape.n != 1 || l->size != f->shape.dims[0]))
        wrong = "[N], a label for each row of the features";
    else if (which = p, p && (p->type != AK_TYPE_U8 || p->shape.n != 4 || p->size < 1 ||
                              p->shape.dims[0] != f->shape.dims[0] || p->shape.dims[3] > 4))
        wrong = "u1 [N, H, W, C] with 1 to 4 channels, a picture for each row of the features";
    if (wrong)
        ak_fail(m->d->ctx, AK_ERR_FORMAT, "%s: %s is %s %s; expected %s", path, which->name,
                ak_type_name(which->type), ak_shape_text(which->shape, text), wrong);
    return !wrong;
}

/* Evenly chosen rows that are finite, at length one, into m->x and m->row. */
static void choose(map *m, int64_t most)
{
    int64_t finite = 0, at = 0;
    for (int pass = 0; pass < 2; pass++) {
        const int64_t all = finite;
        finite = 0;
        m->n = all < most ? all : most;
        for (int64_t r = 0; r < m->total; r++) {
            double *x = m->x, square = 0;
            bool    good = true;
            if (pass && (at == m->n))
                break;
            x += at * m->wide;
            for (int64_t c = 0; c < m->wide; c++) {
                const double value = ak_array_at(m->features, r * m->wide + c);
                good = good && isfinite(value);
                if (pass)
                    x[c] = value;
                square += value * value;
            }
            if (!good)
                continue;
            if (pass && finite == at * all / m->n) {
                const double scale = square > 0 ? 1 / sqrt(square) : 0;
                for (int64_t c = 0; c < m->wide; c++)
                    x[c] *= scale;
                m->row[at++] = r;
            }
            finite++;
        }
        if (!pass && finite < m->total)
            ak__page_note(m->d, "embedding: %lld rows that are not finite are left out",
                          (long long)(m->total - finite));
    }
}

/* ---- pictures -------------------------------------------------------------------------------- */

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static bool base64(ak_ctx *ctx, const ak__bytes *in, ak__bytes *out)
{
    if (!ak__bytes_add(ctx, out, "data:image/png;base64,", 22))
        return false;
    for (size_t i = 0; i < in->n; i += 3) {
        uint32_t word = 0;
        char     four[4];
        for (size_t j = 0; j < 3; j++)
            word = word << 8 | (i + j < in->n ? in->data[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            four[j] = i + j > in->n ? '=' : digits64[word >> (18 - 6 * j) & 63];
        if (!ak__bytes_add(ctx, out, four, 4))
            return false;
    }
    return true;
}

/* All of the chosen pictures as one PNG file. */
static bool sheet(map *m, int64_t *height, int64_t *width, int64_t *columns, ak__bytes *png)
{
    const ak_shape s = m->picture->shape;
    const int64_t  longest = s.dims[1] > s.dims[2] ? s.dims[1] : s.dims[2], C = s.dims[3];
    *height = longest > SIDE ? (s.dims[1] * SIDE + longest / 2) / longest : s.dims[1];
    *width = longest > SIDE ? (s.dims[2] * SIDE + longest / 2) / longest : s.dims[2];
    *height += *height == 0;
    *width += *width == 0;
    *columns = (int64_t)ceil(sqrt((double)m->n));
    const int64_t lines = (m->n + *columns - 1) / *columns, across = *columns * *width * C;
    const size_t  bytes = (size_t)(lines * *height * across);
    uint8_t      *pixels = ak__malloc(bytes);
    if (!pixels) {
        ak__fail_memory(m->d->ctx, bytes);
        return false;
    }
    memset(pixels, 0, bytes);
    bool good = true;
    for (int64_t i = 0; i < m->n && good; i++) {
        const int64_t size = s.dims[1] * s.dims[2] * C;
        ak_array one = { .name = "picture", .type = AK_TYPE_U8, .size = size,
                         .shape = AK_SHAPE(s.dims[1], s.dims[2], C),
                         .data = (const uint8_t *)m->picture->data + m->row[i] * size };
        const ak_array *small = longest > SIDE ? ak_picture_resize(m->d->ctx, &one, *height, *width,
                                                                   AK_FILTER_BILINEAR) : &one;
        good = small != NULL;
        uint8_t *to = pixels + i / *columns * *height * across + i % *columns * *width * C;
        for (int64_t r = 0; good && r < *height; r++)
            memcpy(to + r * across, (const uint8_t *)small->data + r * *width * C,
                   (size_t)(*width * C));
    }
    png->n = 0;
    good = good && ak__png_encode(m->d->ctx, pixels, lines * *height, *columns * *width, (int)C,
                                  png) == AK_OK;
    ak__free(pixels);
    return good;
}

/* "pictures"; fewer rows are chosen where they would be too large. */
static bool add_pictures(map *m)
{
    int64_t   height, width, columns;
    ak__bytes png = { 0 }, url = { 0 };
    bool      good = sheet(m, &height, &width, &columns, &png);
    while (good && png.n > PICTURE_BYTES && m->n > 4) {
        choose(m, (int64_t)((double)m->n * 0.95 * PICTURE_BYTES / (double)png.n));
        good = sheet(m, &height, &width, &columns, &png);
    }
    good = good && base64(m->d->ctx, &png, &url);
    json_t *json = good ? json_pack("{s:s#,s:I,s:I,s:I}", "url", (const char *)url.data, (int)url.n,
                                    "height", (json_int_t)height, "width", (json_int_t)width,
                                    "columns", (json_int_t)columns) : NULL;
    ak__bytes_free(&png);
    ak__bytes_free(&url);
    return good && ak__page_put(m->d, m->json, "pictures", json);
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* Texts of embedding.json: its list `from`, of the chosen rows or (all) as it is. */
static bool add_texts(map *m, const json_t *from, const char *name, bool all)
{
    const int64_t n = all ? (int64_t)json_array_size(from) : m->n;
    json_t       *list = json_array();
    for (int64_t i = 0; i < n && i < 5000; i++) {
        const json_t *text = json_array_get(from, (size_t)(all ? i : m->row[i]));
        json_array_append_new(list, json_is_string(text) ? ak__page_clip(text, 1)
                                                         : json_string(""));
    }
    return ak__page_put(m->d, m->json, name, list);
}

static bool add_json(map *m)
{
    char path[PATH_SIZE];
    if (!ak__format(path, sizeof path, "%s/embedding.json", m->d->folder) ||
        !ak__file_exists(path))
        return true;
    ak__bytes file = { 0 };
    if (ak__file_read(m->d->ctx, path, (ak__expected){ 1u << 28, "a page takes", NULL }, &file))
        return false;
    json_t *json = json_loadb((const char *)file.data, file.n, 0, NULL);
    ak__bytes_free(&file);
    if (!json_is_object(json))
        ak__page_note(m->d, "%s: damaged, left out", path);
    const json_t *classes = json_object_get(json, "classes"), *what = json_object_get(json, "what");
    const json_t *captions = json_object_get(json, "captions");
    bool          good = true;
    if (json_is_array(classes))
        good = add_texts(m, classes, "classes", true);
    if (json_is_array(captions) && (int64_t)json_array_size(captions) == m->total)
        good = good && add_texts(m, captions, "caption", false);
    else if (captions)
        ak__page_note(m->d, "%s: captions are left out: there must be %lld, one a row", path,
                      (long long)m->total);
    if (json_is_string(what))
        good = good && ak__page_put(m->d, m->json, "what", ak__page_clip(what, 1));
    json_decref(json);
    return good;
}

/* ---- who is near, and where ------------------------------------------------------------------ */

static void nearest(const map *m, int64_t i, int k, int32_t *near, double *cosine)
{
    const double *a = m->x + i * m->wide;
    int           held = 0;
    for (int64_t j = 0; j < m->n; j++) {
        const double *b = m->x + j * m->wide;
        double        sum = 0;
        for (int64_t c = 0; c < m->wide; c++)
            sum += a[c] * b[c];
        if (j == i || (held == k && !(sum > cosine[k - 1])))
            continue;
        int place = held < k ? held++ : k - 1;
        for (; place > 0 && cosine[place - 1] < sum; place--) {
            cosine[place] = cosine[place - 1];
            near[place] = near[place - 1];
        }
        cosine[place] = sum;
        near[place] = (int32_t)j;
    }
}

static bool add_near(map *m)
{
    const int    k = m->n - 1 < NEAR ? (int)m->n - 1 : NEAR;
    const size_t count = (size_t)(m->n * k);
    double      *cosine = ak__malloc(count * (sizeof(double) + sizeof(int32_t)) + 1);
    if (!cosine) {
        ak__fail_memory(m->d->ctx, count * 12);
        return false;
    }
    int32_t *near = (int32_t *)(cosine + count);
    json_t  *who = json_array(), *how = json_array();
    AK__PARALLEL_FOR(i, m->n, m->n > 64)
        nearest(m, i, k, near + i * k, cosine + i * k);
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(who, json_integer(near[i]));
        json_array_append_new(how, json_integer(lround(1000 * cosine[i])));
    }
    ak__free(cosine);
    return ak__page_put(m->d, m->json, "k", json_integer(k)) &&
           ak__page_put(m->d, m->json, "near", who) && ak__page_put(m->d, m->json, "cosine", how);
}

/* Places y [n, 2], the farthest at PLACE. */
static bool add_places(map *m, const char *name, const double *y)
{
    double  most = 0;
    json_t *list = json_array();
    for (int64_t i = 0; i < 2 * m->n; i++)
        most = fmax(most, fabs(y[i]));
    for (int64_t i = 0; i < 2 * m->n; i++)
        json_array_append_new(list, json_integer(most > 0 ? lround(PLACE * y[i] / most) : 0));
    return ak__page_put(m->d, m->json, name, list);
}

/* The projections; m->x is centred by them. */
static bool add_projections(map *m)
{
    const int64_t least = m->n < m->wide ? m->n : m->wide;
    double        share[2] = { 0, 0 };
    const double  most = (double)(m->n - 1) / 3;
    const double  perplexity = fmin(m->d->o.perplexity > 0 ? m->d->o.perplexity : 30, most);
    const size_t  bytes = (size_t)m->n * 2 * sizeof(double);
    if (least < 2 || least > AK__PCA_MOST || m->n < 8) {
        ak__page_note(m->d, "embedding: no map of %lld rows of %lld numbers; it needs 8 rows of 2 "
                      "numbers, and min(N, D) up to %d", (long long)m->n, (long long)m->wide,
                      AK__PCA_MOST);
        return true;
    }
    double divergence[750], *y = ak__malloc(bytes);
    if (!y) {
        ak__fail_memory(m->d->ctx, bytes);
        return false;
    }
    const bool good =
        ak__pca(m->d->ctx, m->x, m->n, m->wide, 2, y, share) && add_places(m, "pca", y) &&
        ak__page_put(m->d, m->json, "share", json_pack("[f,f]", share[0], share[1])) &&
        ak__tsne(m->d->ctx, m->x, m->n, m->wide,
                 (ak_tsne_options){ .perplexity = perplexity, .iterations = 750,
                                    .divergence = divergence }, y) &&
        add_places(m, "tsne", y) &&
        ak__page_put(m->d, m->json, "perplexity", json_real(perplexity)) &&
        ak__page_put(m->d, m->json, "divergence", json_real(divergence[749]));
    ak__free(y);
    return good;
}

static bool add_numbers(map *m)
{
    json_t *row = json_array(), *label = m->label ? json_array() : NULL;
    for (int64_t i = 0; i < m->n; i++) {
        json_array_append_new(row, json_integer(m->row[i]));
        if (label)
            json_array_append_new(label, json_integer((json_int_t)ak_array_at(m->label,
                                                                             m->row[i])));
    }
    return ak__page_put(m->d, m->json, "row", row) &&
           (!label || ak__page_put(m->d, m->json, "label", label)) &&
           ak__page_put(m->d, m->json, "n", json_integer(m->n)) &&
           ak__page_put(m->d, m->json, "total", json_integer(m->total)) &&
           ak__page_put(m->d, m->json, "d", json_integer(m->wide));
}

static bool make(map *m, const char *path)
{
    const int64_t most = m->d->o.points ? m->d->o.points : POINTS;
    const int64_t room = m->total < most ? m->total : most;
    const size_t  bytes = (size_t)(room + 1) * (size_t)(m->wide + 1) * 8;
    m->x = ak__malloc(bytes);       /* one row more: that which is looked at */
    if (!m->x) {
        ak__fail_memory(m->d->ctx, bytes);
        return false;
    }
    m->row = (int64_t *)(m->x + (room + 1) * m->wide);
    choose(m, room);
    if (m->n < 2) {
        ak__page_note(m->d, "%s: %lld rows are too few to be shown", path, (long long)m->n);
        return true;
    }
    m->json = json_object();
    bool good = m->json != NULL;
    if (m->picture && AK_HAVE_PNG)
        good = good && add_pictures(m);
    else if (m->picture)
        ak__page_note(m->d, "%s: no pictures, built without libpng", path);
    good = good && add_json(m) && add_near(m) && add_numbers(m) && add_projections(m);
    if (m->n < m->total)
        ak__page_note(m->d, "embedding: %lld of %lld rows are shown, evenly chosen",
                      (long long)m->n, (long long)m->total);
    return ak__page_put(m->d, m->d->root, "map", m->json) && good;
}

bool ak__page_map(ak__draft *d, bool *found)
{
    char path[PATH_SIZE];
    map  m = { .d = d };
    if (!ak__format(path, sizeof path, "%s/embedding.npz", d->folder) || !ak__file_exists(path))
        return true;
    *found = true;
    ak_npz *f = ak_npz_open(d->ctx, path);
    m.features = ak_npz_find(f, "features");
    m.label = ak_npz_find(f, "label");
    m.picture = ak_npz_find(f, "picture");
    if (ak_error(d->ctx) || !check(&m, path))
        return false;
    m.total = m.features->shape.dims[0];
    m.wide = m.features->shape.dims[1];
    const bool good = make(&m, path);
    ak__free(m.x);
    ak_npz_close(f);
    return good;
}
