/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of moments put together, and the pass that takes them where nothing else did. */
#include "tensor/moments.h"

#include <float.h>
#include <math.h>

#include "base/parallel.h"

int64_t ak__moment_rows(int64_t C)
{
    const int64_t rows = 16384 / C;
    return rows < 16 ? 16 : rows > 512 ? 512 : rows;
}

/* ---- parts together -------------------------------------------------------------------------- */

#define SOME 16         /* channels at once */

/* Channels [c0, c0 + count). Chan's formula: with m the mean of a part, n its rows and K the mean
 * of the first part
 *     mean = K + sum n (m - K) / R
 *     R var = sum (squares - sum^2 / n) + sum n (m - K)^2 - R (mean - K)^2 */
static bool merge_some(const ak_real *part, int64_t parts, int64_t R, int64_t C, int64_t c0,
                       int count, double *mean, double *var)
{
    double K[SOME], first[SOME] = { 0 }, second[SOME] = { 0 }, lost[SOME] = { 0 };
    for (int c = 0; c < count; c++)
        K[c] = (double)part[c0 + c] + (double)part[C + c0 + c] / (double)part[3 * C];
    for (int64_t b = 0; b < parts; b++, part += ak__moment_numbers(C)) {
        const ak_real *shift = part + c0, *sum = shift + C, *squares = sum + C;
        const double n = (double)part[3 * C], one = 1 / n;
        for (int c = 0; c < count; c++) {
            const double off = (double)sum[c] * one, d = (double)shift[c] + off - K[c];
            first[c] += n * d;
            second[c] += (double)squares[c] + n * (d * d - off * off);
            lost[c] += n * off * off;
        }
    }
    bool good = true;
    for (int c = 0; c < count; c++) {
        const double d = first[c] / (double)R, v = second[c] / (double)R - d * d;
        good = good && lost[c] <= 4 * v * (double)R && v <= DBL_MAX;
        mean[c0 + c] = K[c] + d;
        var[c0 + c] = v < 0 ? 0 : v;            /* NaN stays: the squares overflowed */
    }
    return good;
}

bool ak__moments_merge(const ak_real *part, int64_t parts, int64_t R, int64_t C, double *mean,
                       double *var)
{
    bool good = true;
    for (int64_t c = 0; c < C; c += SOME)
        good &= merge_some(part, parts, R, C, c, (int)(C - c < SOME ? C - c : SOME), mean, var);
    return good;
}

/* ---- a pass over x --------------------------------------------------------------------------- */

/* centre NULL: the first row of each chunk. */
static void chunk_moments(const ak_real *x, int64_t R, int64_t C, const ak_real *centre,
                          ak_real *part)
{
    const int64_t rows = ak__moment_rows(C), numbers = ak__moment_numbers(C);
    AK__PARALLEL_CHUNKS(b, R, rows, begin, end) {
        ak__moments_begin(part + b * numbers, centre ? centre : x + begin * C, C);
        ak__moments_add(part + b * numbers, x + begin * C, end - begin, C);
    }
}

/* One column in double, for numbers whose squares overflow. */
static void far_column(const ak_real *x, int64_t R, int64_t C, double *mean, double *var)
{
    double sum = 0, squares = 0;
    for (int64_t r = 0; r < R; r++)
        sum += (double)x[r * C];
    *mean = sum / (double)R;
    for (int64_t r = 0; r < R; r++) {
        const double d = (double)x[r * C] - *mean;
        squares += d * d;
    }
    *var = squares / (double)R;
}

/* Shifts are the first rows of chunks; if they are too far from the mean, once more from that. */
void ak__column_statistics(const ak_real *x, int64_t R, int64_t C, ak_real *room, double *mean,
                           double *var)
{
    const int64_t parts = ak__chunk_count(R, ak__moment_rows(C));
    ak_real *part = room, *centre = room + parts * ak__moment_numbers(C);
    chunk_moments(x, R, C, NULL, part);
    if (ak__moments_merge(part, parts, R, C, mean, var))
        return;
    for (int64_t c = 0; c < C; c++)
        centre[c] = (ak_real)mean[c];
    chunk_moments(x, R, C, centre, part);
    ak__moments_merge(part, parts, R, C, mean, var);
    for (int64_t c = 0; c < C; c++)
        if (!(fabs(mean[c]) <= DBL_MAX && var[c] <= DBL_MAX && var[c] >= 0))
            far_column(x + c, R, C, &mean[c], &var[c]);
}
