/* SPDX-License-Identifier: Apache-2.0 */
/* The source of a correlation laid out anew, for split.c and split_weight.c: a plane for
 * each residue of a position by the step, so that the pixels that a tap takes for neighbouring
 * results are neighbours. Rows and images of a plane follow each other with the zeros of the
 * padding in between, which neighbours share. */
#ifndef AK_PLANES_H
#define AK_PLANES_H

#include "tensor/conv/correlation.h"
#include "tensor/conv/ways.h"

/* Phases of a correlation, and so residues of a position, that are provided for. */
#define AK__SPLIT_PHASES 16

/* The source of a correlation, or a block of it, as planes: pixel (r, c) of image n in plane
 * (rh, rw) is the padded source's (r step_h + rh, c step_w + rw), `(n rows + r) columns + c` pixels
 * from the start of the plane; what is outside of the source is zero. All planes are there for each
 * layer of channels. So tap (th, tw) takes for result (n, j, i) of a phase the pixel `(n rows + j)
 * columns + i` from ak__planes_at on. */
typedef struct ak__planes {
    int64_t columns, rows;
    int64_t pixel;              /* bytes, of one layer */
    int64_t layers, layer;      /* of channels: how many, and bytes from one to the next */
    int64_t image;              /* numbers of the source from one image to the next */
    int64_t images, band;       /* a block: so many images, or so many rows of results of one */
    int64_t bands, blocks;      /* bands of an image, blocks of all */
    int64_t results;            /* of a block, those in vain included; a multiple of 32 */
    int64_t plane;              /* pixels from one plane to the next */
    int64_t bytes;              /* of all */
} ak__planes;

typedef struct ak__plane_block {
    int64_t n0, images;
    int64_t j0;                 /* first row of results */
} ak__plane_block;

/* Blocks of about `bytes` or less, and at most `most` results if several images fit. */
ak__planes ak__planes_plan(const ak__correlation *q, int64_t pixel, int64_t layers, int64_t bytes,
                           int64_t most);
ak__plane_block ak__planes_block(const ak__planes *p, const ak__correlation *q, int64_t i);

/* Write `count` pixels of image n, of which the first begins at `from`, `ld` apart. */
typedef void ak__plane_run(char *to, const ak__planes *p, const ak__correlation *q, int64_t n,
                           const ak_real *from, int64_t ld, int64_t count);
void ak__planes_fill(const ak__planes *p, const ak__correlation *q, const ak__plane_block *b,
                     char *to, ak__plane_run *put);

int64_t ak__planes_at(const ak__planes *p, const ak__correlation *q, const ak__phase *f,
                      int64_t th, int64_t tw);
/* Rows of results of a phase that a block has. */
static inline int64_t ak__planes_rows(const ak__planes *p, const ak__plane_block *b,
                                      const ak__phase *f)
{
    return ak__max(ak__min(p->band, f->JH - b->j0), 0);
}
/* Results of a phase in `rows` rows of each image, those in vain between them included. */
int64_t ak__planes_results(const ak__planes *p, const ak__phase *f, int64_t images, int64_t rows);

/* Memory that a later block needs: fetched in equal pieces by `calls` calls of split_tiles. */
typedef struct ak__ahead {
    const char *area[2];
    int64_t     bytes[2];
    int64_t     calls, done;
} ak__ahead;

/* What block i reads and writes; nothing if there is no such block. */
ak__ahead ak__ahead_of(const ak__planes *p, const ak__correlation *q, int64_t i, int64_t calls);
/* The piece of the next call. */
const void *ak__ahead_next(ak__ahead *a, int64_t *bytes);

#endif
