/* SPDX-License-Identifier: Apache-2.0 */
/* Drawn pictures: ten classes of shapes and strokes, each picture a function of (seed, number).
 * A shape is a signed distance (negative inside) in coordinates where its radius is about 1. */
#include "data/dataset.h"

#include "base/base.h"
#include "base/parallel.h"

#include <math.h>
#include <string.h>

#define SIDE         28
#define CLASSES      10
#define STREAM_DRAWN UINT64_C(0x647261776e2e2e2e)
#define PI           3.14159265358979323846

static const char *const drawn_names[CLASSES + 1] = {
    "disc", "ring", "square", "frame", "triangle", "cross", "bars", "zigzag", "star",
    "crescent", NULL
};

typedef struct point { double x, y; } point;

/* ---- distances ------------------------------------------------------------------------------- */

static double segment_distance(point p, point a, point b)
{
    const double vx = b.x - a.x, vy = b.y - a.y, ux = p.x - a.x, uy = p.y - a.y;
    double       t = (ux * vx + uy * vy) / (vx * vx + vy * vy + 1e-12);
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return hypot(ux - t * vx, uy - t * vy);
}

static double stroke_distance(point p, const point *line, int n)
{
    double d = HUGE_VAL;
    for (int i = 0; i + 1 < n; i++)
        d = fmin(d, segment_distance(p, line[i], line[i + 1]));
    return d;
}

/* Signed distance to a closed polygon: inside if a ray to the right crosses it an odd number of
 * times. */
static double polygon_distance(point p, const point *corner, int n)
{
    double d = HUGE_VAL;
    bool   inside = false;
    for (int i = 0, j = n - 1; i < n; j = i++) {
        const point a = corner[i], b = corner[j];
        d = fmin(d, segment_distance(p, a, b));
        if ((a.y > p.y) != (b.y > p.y) && p.x < a.x + (b.x - a.x) * (p.y - a.y) / (b.y - a.y))
            inside = !inside;
    }
    return inside ? -d : d;
}

static double box_distance(point p, double half_x, double half_y)
{
    const double x = fabs(p.x) - half_x, y = fabs(p.y) - half_y;
    return hypot(fmax(x, 0), fmax(y, 0)) + fmin(fmax(x, y), 0);
}

/* p in the shape's coordinates; h is half the thickness of its strokes. */
static double shape_distance(int class, point p, double h)
{
    static const point triangle[] = { { 0, -0.95 }, { 0.82, 0.475 }, { -0.82, 0.475 } };
    static const point zigzag[] = { { -0.9, -0.4 }, { -0.45, 0.4 }, { 0, -0.4 }, { 0.45, 0.4 },
                                    { 0.9, -0.4 } };
    static const point star[] = { { 0, -1 }, { 0.235, -0.324 }, { 0.951, -0.309 },
                                  { 0.380, 0.124 }, { 0.588, 0.809 }, { 0, 0.4 },
                                  { -0.588, 0.809 }, { -0.380, 0.124 }, { -0.951, -0.309 },
                                  { -0.235, -0.324 } };
    const double radius = hypot(p.x, p.y);
    switch (class) {
    case 0: return radius - 0.85;
    case 1: return fabs(radius - 0.8) - h;
    case 2: return box_distance(p, 0.72, 0.72);
    case 3: return fabs(box_distance(p, 0.72, 0.72)) - h;
    case 4: return polygon_distance(p, triangle, 3);
    case 5: return fmin(box_distance(p, 0.9, h), box_distance(p, h, 0.9));
    case 6: return fmin(box_distance(p, 0.8 * h, 0.8),
                        box_distance((point){ fabs(p.x) - 0.65, p.y }, 0.8 * h, 0.8));
    case 7: return stroke_distance(p, zigzag, 5) - h;
    case 8: return polygon_distance(p, star, 10);
    default: return fmax(radius - 0.85, 0.65 - hypot(p.x - 0.4, p.y));
    }
}

/* ---- a picture ------------------------------------------------------------------------------- */

static double draw_range(ak_draws d, uint64_t number, double lo, double hi)
{
    return lo + (hi - lo) * ak_draw(d, number);
}

/* How much of a pixel lies inside, from the distance of its middle to the edge. */
static double coverage(double distance)
{
    return distance <= -0.5 ? 1 : distance >= 0.5 ? 0 : 0.5 - distance;
}

static uint8_t noisy_byte(double v, uint32_t random, double sigma)
{
    /* The sum of four bytes is close to normal: mean 510, variance 4 (256^2 - 1) / 12. */
    const int sum = (int)((random & 255) + (random >> 8 & 255) + (random >> 16 & 255) +
                          (random >> 24));
    v += sigma * (sum - 510) / 147.8;
    return (uint8_t)lrint(255 * (v < 0 ? 0 : v > 1 ? 1 : v));
}

static void draw_picture(uint64_t seed, int64_t number, uint8_t *out)
{
    const ak_draws d = { seed, ak__stream(STREAM_DRAWN, (uint64_t)number, 0, 0) };
    const int      class = (int)(number % CLASSES);
    const double   middle = (SIDE - 1) / 2.0;
    const point    at = { middle + draw_range(d, 0, -4, 4), middle + draw_range(d, 1, -4, 4) };
    const double   scale = draw_range(d, 2, 6, 10.5), angle = draw_range(d, 3, 0, 2 * PI);
    const double   stretch = exp(draw_range(d, 4, -0.22, 0.22));
    const double   half = draw_range(d, 5, 0.7, 1.5) / scale;
    const double   ground = draw_range(d, 6, 0, 0.3), ink = draw_range(d, 7, 0.5, 1);
    const double   sigma = draw_range(d, 8, 0.02, 0.12);
    const point    from = { draw_range(d, 9, 0, SIDE), draw_range(d, 10, 0, SIDE) };
    const point    to = { draw_range(d, 11, 0, SIDE), draw_range(d, 12, 0, SIDE) };
    const double   stray = draw_range(d, 13, 0.2, 0.8), width = draw_range(d, 14, 0.3, 0.8);
    const double   c = cos(angle) / scale, s = sin(angle) / scale;
    const uint64_t noise = ak__stream(STREAM_DRAWN, (uint64_t)number, 1, 0);
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x += 4) {
            uint32_t random[4];
            ak__philox(seed, noise, (uint64_t)(y * SIDE + x) / 4, random);
            for (int k = 0; k < 4; k++) {
                const point  p = { x + k - at.x, y - at.y };
                const point  q = { (c * p.x + s * p.y) * stretch, (c * p.y - s * p.x) / stretch };
                const double line = segment_distance((point){ x + k, y }, from, to) - width;
                double       v = ground + (ink - ground) *
                                              coverage(scale * shape_distance(class, q, half));
                v = fmax(v, stray * coverage(line));
                out[y * SIDE + x + k] = noisy_byte(v, random[k], sigma);
            }
        }
}

ak_dataset *ak_dataset_drawn(ak_ctx *ctx, uint64_t seed, int64_t first, int64_t count)
{
    if (!AK__GIVEN(NULL, ctx))
        return NULL;
    if (ak_error(ctx))
        return NULL;
    if (first < 0 || count < 1 || count > INT32_MAX || first > INT64_MAX - count) {
        ak_fail(ctx, AK_ERR_VALUE, "dataset_drawn: first %lld and count %lld: first >= 0 and count "
                "in [1, %d] are needed, and numbers below 2^63", (long long)first,
                (long long)count, INT32_MAX);
        return NULL;
    }
    const int64_t size = SIDE * SIDE;
    uint8_t      *bytes = ak__ctx_alloc(ctx, (size_t)(count * size + AK__LANES));
    int32_t      *labels = bytes ? ak__ctx_alloc(ctx, (size_t)count * sizeof *labels) : NULL;
    if (!labels)
        return NULL;
    for (int64_t i = 0; i < count; i++)
        labels[i] = (int32_t)((first + i) % CLASSES);
    AK__PARALLEL_FOR(i, count, count > 64)
        draw_picture(seed, first + i, bytes + i * size);
    char name[128];
    snprintf(name, sizeof name, "drawn pictures (seed %llu, numbers %lld .. %lld)",
             (unsigned long long)seed, (long long)first, (long long)(first + count - 1));
    ak_dataset *ds = ak__dataset_new(ctx, name, count, AK_SHAPE(SIDE, SIDE, 1), bytes, NULL,
                                     labels);
    if (ds)
        ak__dataset_classes_named(ds, CLASSES, drawn_names);
    return ds;
}
