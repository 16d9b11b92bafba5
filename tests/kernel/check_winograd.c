/* SPDX-License-Identifier: Apache-2.0 */
/* The Winograd transforms of one tile against the matrices of the reference: every kind and both
 * sides, with parts of the squares missing. Of a square only what exists is allocated, so that
 * reading or writing what does not exist is found. */
#include "check.h"

#include <math.h>
#include <string.h>

static const char *const kind_names[] = {"input", "output",     "weight",     "dy",
                                         "dw",    "data input", "data output"};

/* All of it, or a random part that is not empty. */
static void draw_range(int side, bool whole, int *lo, int *hi)
{
    *lo = whole ? 0 : (int)(random_bits() % (uint64_t)side);
    *hi = whole ? side : *lo + 1 + (int)(random_bits() % (uint64_t)(side - *lo));
}

static ak__winograd_square draw_square(int side, int64_t n, bool whole, int placement, guarded *g)
{
    ak__winograd_square q = {.column = n + 3};
    draw_range(side, whole, &q.i0, &q.i1);
    draw_range(side, whole, &q.j0, &q.j1);
    q.row = (q.j1 - q.j0) * q.column + 5;
    *g = guarded_new((q.i1 - 1 - q.i0) * q.row + (q.j1 - 1 - q.j0) * q.column + n, placement);
    q.data = g->x - q.i0 * q.row - q.j0 * q.column;
    return q;
}

static float largest(const float *x, int64_t n)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++)
        most = fmaxf(most, fabsf(x[i]));
    return most;
}

static void check_tile(const ak_kernels *ref, const isa_table *isa, ak__winograd_kind kind,
                       int stride, int m, int64_t n, int variant)
{
    guarded in, out, bias = guarded_new(n, variant % 4);
    ak__winograd_call c = {.stride = stride, .m = m, .n = n, .accumulate = variant & 1};
    c.in = draw_square(ak__winograd_side_in(kind, stride, m), n, variant & 2, variant % 4, &in);
    c.out = draw_square(ak__winograd_side_out(kind, stride, m), n, variant & 4,
                        (variant + 1) % 4, &out);
    c.bias = variant & 8 ? bias.x : NULL;
    fill(in.x, in.n, FILL_PLAIN);
    fill(out.x, out.n, FILL_PLAIN);
    fill(bias.x, bias.n, FILL_PLAIN);
    float *want = malloc((size_t)out.n * sizeof *want);
    memcpy(want, out.x, (size_t)out.n * sizeof *want);
    ak__winograd_call expected = c;
    expected.out.data = want + (c.out.data - out.x);
    ref->winograd(kind, &expected);
    isa->table.winograd(kind, &c);
    /* no row of a matrix has magnitudes above 8.3 in sum: 69 for both sides */
    const double tolerance = 4 * 69 * (double)FLT_EPSILON * (double)largest(in.x, in.n) + 1e-5;
    bool near = true;
    for (int64_t i = 0; i < out.n; i++)
        near = near && near_enough(out.x[i], want[i], tolerance);
    check_result(near, isa->name, "winograd %s stride %d m %d n %lld variant %d", kind_names[kind],
                 stride, m, (long long)n, variant);
    const bool kept = guarded_free(in) + guarded_free(out) + guarded_free(bias) == 3;
    check_result(kept, isa->name, "winograd %s stride %d m %d n %lld wrote outside",
                 kind_names[kind], stride, m, (long long)n);
    free(want);
}

void check_winograd(const ak_kernels *ref, const isa_table *isa)
{
    if (!wanted("winograd"))
        return;
    static const int sides[][2] = {{1, 2}, {1, 4}, {2, 4}};     /* stride, m */
    for (int kind = AK__WINOGRAD_INPUT; kind <= AK__WINOGRAD_DATA_OUTPUT; kind++)
        for (int i = 0; i < (kind == AK__WINOGRAD_DY || kind == AK__WINOGRAD_DW ? 2 : 3); i++)
            for (int64_t n = 0; n <= 40; n++)
                for (int variant = 0; variant < 16; variant++)
                    check_tile(ref, isa, (ak__winograd_kind)kind, sides[i][0], sides[i][1],
                               n, variant);
}
