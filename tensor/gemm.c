/* SPDX-License-Identifier: Apache-2.0 */
/* Matrix products: packing and the five loops around the register tile.
 *
 * After Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34
 * (2008), with the loop names of the BLIS papers:
 *
 *     jc  columns in blocks that fit the packed B of the threads that share it
 *     pc    K in blocks of kc: a panel of B (kc x nr) fits L1
 *     ic      rows in blocks of mc: a block of A (mc x kc) fits L2
 *     jr        panels of B
 *     ir          panels of A, one register tile each
 *
 * The threads form a grid over the rows and columns of C. Those in one column of the grid share
 * their columns' packed B: each packs some panels, all use them.
 *
 * Why the bits do not depend on the number of threads: each element of C is the sum over the pc
 * blocks in order, each block summed over k in order in one accumulator, and where K is cut
 * depends on K, and for long products on M and N, alone. Packed or not makes no difference. */
#include "gemm.h"

#include "base/arena.h"
#include "base/parallel.h"
#include "base/whole.h"
#include "split_panels.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* Products of at most THIN_N columns use each element of A so seldom that reading it in long pieces
 * counts for more than a panel of B in L1. Where A is stored by rows, K goes in blocks of up to
 * THIN_K; where it is stored by columns, in blocks of up to THIN_COLUMNS_K with as many rows of C
 * as fit. */
#define THIN_N         96
#define THIN_K         640
#define THIN_COLUMNS_K 256

/* Blocks of split operands: a panel of A and one of B are in L1 together, so many panels of B in
 * half of L2. */
#define SPLIT_KC     128
#define SPLIT_PANELS 32

/* Up to so many columns A is read in place: packing it would cost more than its tiles gain, which
 * is less where its rows are stored. */
#define ROWS_IN_PLACE_N    512
#define COLUMNS_IN_PLACE_N 128
/* Rows of A that lie a multiple of this many bytes apart share one set of L1. A tile of more of
 * them than a set has ways throws each line out before its next k are wanted; packed, they lie
 * behind each other. */
#define SET_STRIDE         4096
#define SET_WAYS           8
#define SHARED_SET_N       48

/* ---- packing buffers ------------------------------------------------------------------------ */

/* What one thread packs into. Sized for the blocks of every instruction set. */
#define SPACE_A      (72 * 1024)            /* elements: at least mc * kc */
#define SPACE_B      (384 * 1024)           /* at least kc * nc */
#define MAX_SPACES   256
#define MAX_TEAM     128
/* Of the last resort: one panel of each, on the stack. */
#define SMALL_A      (THIN_K * 16)
#define SMALL_B      (THIN_K * 32)

typedef struct pack_space {
    ak_real *a, *b;
    int64_t  room_a, room_b;                /* elements */
} pack_space;

static pack_space spaces[MAX_SPACES];
static atomic_bool space_busy[MAX_SPACES];
static atomic_int space_count;
static atomic_flag reserving = ATOMIC_FLAG_INIT;

void ak__gemm_forked(void)
{
    for (int i = 0; i < MAX_SPACES; i++)
        atomic_store(&space_busy[i], false);
    atomic_flag_clear(&reserving);
}

bool ak__gemm_reserve(int threads)
{
    const int want = threads < MAX_SPACES ? threads : MAX_SPACES;
    bool ok = true;
    while (atomic_flag_test_and_set(&reserving)) { }
    for (int i = atomic_load(&space_count); ok && i < want; i++) {
        ak_real *memory = ak__malloc((SPACE_A + SPACE_B) * sizeof(ak_real));
        ok = memory != NULL;
        if (ok) {
            spaces[i] = (pack_space){memory, memory + SPACE_A, SPACE_A, SPACE_B};
            atomic_store(&space_count, i + 1);
        }
    }
    atomic_flag_clear(&reserving);
    return ok;
}

/* Take up to `want` free buffers; their number. Begins at the caller's own, so that the threads
 * of a parallel region do not all try the same. */
static int take_spaces(int want, pack_space *out[])
{
    const int count = atomic_load(&space_count);
    const int start = ak__in_parallel() ? ak__thread_id() : 0;
    int have = 0;
    for (int i = 0; i < count && have < want; i++) {
        const int at = (start + i) % count;
        if (!atomic_load_explicit(&space_busy[at], memory_order_relaxed) &&
            !atomic_exchange(&space_busy[at], true))
            out[have++] = &spaces[at];
    }
    return have;
}

static void give_spaces(int n, pack_space *const out[])
{
    for (int i = 0; i < n; i++)
        atomic_store(&space_busy[out[i] - spaces], false);
}

/* ---- operands ------------------------------------------------------------------------------- */

/* Left A[M,K], or A[K,M] if k_major; right B[N,K], or B[K,N] if k_major: position i is the row of C
 * for the left one, the column for the right one. */
typedef struct operand {
    const ak_real *data;
    int64_t        ld;
    bool           k_major;
} operand;

/* The numbers of position i from k on. */
static const ak_real *operand_at(const operand *x, int64_t i, int64_t k)
{
    return x->data + (x->k_major ? k * x->ld + i : i * x->ld + k);
}

/* Threads with at least so many rows each pack B for themselves: that costs less than to wait for
 * each other twice a block. */
#define OWN_B_ROWS 96

/* ---- one product ---------------------------------------------------------------------------- */

typedef struct gemm_job {
    int64_t            M, N, K;
    int64_t            k_from;              /* k in [k_from, K) */
    ak_real            alpha, beta;
    operand            X, Y;
    ak_real           *C;
    int64_t            ldc;
    const ak__epilogue *ep;
    bool               direct_a, direct_b;  /* read the operand where it is */
    bool               split;               /* both are split (split_panels.h) */
    int64_t            mr, nr;              /* positions of a panel */
    int64_t            kb;                  /* block of K */
    int64_t            mb;                  /* block of rows at most */
    pack_space       **team;                /* one per thread */
} gemm_job;

/* A thread's place: row ti of tm, column tj of tn, and its piece of C. */
typedef struct grid_place {
    int     tm, tn, ti, tj;
    int64_t i0, i1, j0, j1;
    int64_t width;                          /* of the widest piece in any column of the grid */
} grid_place;


/* To pack an element takes as long as so many multiply-adds. */
#define PACK_WORK       16
#define SPLIT_PACK_WORK 40

/* What a thread has to do for each k with `rows` of A and `cols` of B: multiply, read what it needs
 * of both from memory, pack what does not stay in place. */
static int64_t piece_work(const gemm_job *job, int64_t rows, int64_t cols)
{
    const int64_t packed = (job->direct_a ? 0 : rows) + (job->direct_b ? 0 : cols);
    return rows * cols + rows + cols + (job->split ? SPLIT_PACK_WORK : PACK_WORK) * packed;
}

/* The grid whose largest piece is the least work; with equals, more rows, because then no block of
 * A is packed twice. */
static grid_place place_of(const gemm_job *job, int thread, int threads)
{
    const int64_t mr = job->mr, nr = job->nr;
    const int64_t pm = ak__ceil_div(job->M, mr), pn = ak__ceil_div(job->N, nr);
    grid_place g = {.tm = 1, .tn = threads};
    int64_t least = INT64_MAX;
    for (int tm = threads; tm >= 1; tm--) {
        if (threads % tm != 0)
            continue;
        const int64_t rows = ak__min(ak__ceil_div(pm, tm) * mr, job->M);
        const int64_t cols = ak__min(ak__ceil_div(pn, threads / tm) * nr, job->N);
        const int64_t work = piece_work(job, rows, cols);
        if (work < least) {
            least = work;
            g.tm = tm;
            g.tn = threads / tm;
        }
    }
    g.ti = thread % g.tm;
    g.tj = thread / g.tm;
    g.i0 = ak__min(pm * g.ti / g.tm * mr, job->M);
    g.i1 = ak__min(pm * (g.ti + 1) / g.tm * mr, job->M);
    g.j0 = ak__min(pn * g.tj / g.tn * nr, job->N);
    g.j1 = ak__min(pn * (g.tj + 1) / g.tn * nr, job->N);
    g.width = ak__ceil_div(pn, g.tn) * nr;
    return g;
}

/* Columns [j0, j1) of the block [k0, k0+kb) of B, as the tiles find it. */
typedef struct b_block {
    int64_t j0, j1, k0, kb;
    int     tm;                             /* panel p lies with owner p % tm of those that share */
    pack_space *const *owners;
} b_block;

/* Pack panels of `width` of positions [i0, i1), every stride-th, one after the other into dst. A
 * matrix stored [K, I] is taken in slices of K across all panels: a row of it is read from one end
 * to the other while its cache lines and pages are at hand. */
static ak_real *pack_panels(const operand *x, ak_real *dst, int64_t i0, int64_t i1,
                            int64_t stride, const b_block *b, int width)
{
    const int64_t slice = x->k_major ? 16 : b->kb;
    ak_real *end = dst;
    for (int64_t k = 0; k < b->kb; k += slice) {
        const int64_t nk = ak__min(slice, b->kb - k);
        ak_real *panel = dst;
        for (int64_t i = i0; i < i1; i += stride * width, panel += width * b->kb)
            ak__k.gemm_pack(panel + k * width, operand_at(x, i, b->k0 + k), x->ld,
                            ak__min(width, i1 - i), nk, width, x->k_major);
        end = panel;
    }
    return end;
}

/* Pack this thread's panels: every tm-th, or if B stays in place only the last one where it is
 * narrower than the tile, since the tile reads whole rows of B. */
static void pack_b(const gemm_job *job, const grid_place *g, const b_block *b)
{
    const int nr = ak__k.nr;
    const pack_space *mine = job->team[g->tj * g->tm + g->ti];
    const int64_t rest = (b->j1 - b->j0) % nr;
    if (!job->direct_b)
        (void)pack_panels(&job->Y, mine->b, b->j0 + (b->tm > 1 ? (int64_t)g->ti * nr : 0), b->j1,
                          b->tm, b, nr);
    else if (rest > 0)
        (void)pack_panels(&job->Y, mine->b, b->j1 - rest, b->j1, 1, b, nr);
}

/* Where the panel that starts at column j is, and its leading dimension. */
static const ak_real *panel_b(const gemm_job *job, const grid_place *g, const b_block *b,
                              int64_t j, int64_t *ldb)
{
    const int64_t nr = ak__k.nr;
    *ldb = nr;
    if (job->direct_b) {
        if (j + nr > b->j1)
            return job->team[g->tj * g->tm + g->ti]->b;
        *ldb = job->Y.ld;
        return job->Y.data + b->k0 * job->Y.ld + j;
    }
    const int64_t p = (j - b->j0) / nr;
    return b->owners[p % b->tm]->b + p / b->tm * nr * b->kb;
}

static void pack_a(const gemm_job *job, ak_real *dst, int64_t i0, int64_t i1, const b_block *b)
{
    const ak_real *end = pack_panels(&job->X, dst, i0, i1, 1, b, ak__k.mr);
    if (job->alpha != 1)
        ak__k.scale(dst, job->alpha, dst, end - dst);
}

/* Loops jr and ir: rows [i0, i1) of C, the columns and the piece of K of b. */
static void tiles(const gemm_job *job, const grid_place *g, const b_block *b, const ak_real *packed,
                  int64_t i0, int64_t i1)
{
    const int64_t mr = ak__k.mr, nr = ak__k.nr;
    const bool accumulate = b->k0 > job->k_from || job->beta != 0;
    const bool finish = job->ep && b->k0 + b->kb == job->K;
    const operand *X = &job->X;
    const int64_t rs = packed || X->k_major ? 1 : X->ld;
    const int64_t cs = packed ? mr : X->k_major ? X->ld : 1;
    for (int64_t j = b->j0; j < b->j1; j += nr) {
        const int n = (int)ak__min(nr, b->j1 - j);
        int64_t ldb;
        const ak_real *pb = panel_b(job, g, b, j, &ldb);
        for (int64_t i = i0; i < i1; i += mr) {
            const int m = (int)ak__min(mr, i1 - i);
            const ak_real *pa = packed ? packed + (i - i0) * b->kb : X->data + i * rs + b->k0 * cs;
            ak_real *c = job->C + i * job->ldc + j;
            ak__k.gemm_direct(b->kb, pa, rs, cs, pb, ldb, c, job->ldc, m, n, accumulate);
            if (finish)
                ak__k.gemm_finish(c, job->ldc, m, n, job->ep->bias ? job->ep->bias + j : NULL,
                                  job->ep->relu);
        }
    }
}

/* Loop ic. */
static void row_blocks(const gemm_job *job, const grid_place *g, const b_block *b)
{
    const int64_t mr = ak__k.mr;
    const pack_space *mine = job->team[g->tj * g->tm + g->ti];
    const int64_t rows = g->i1 - g->i0;
    if (rows == 0)
        return;
    const int64_t most = ak__min(job->mb, mine->room_a / b->kb / mr * mr);
    const int64_t mc = ak__round_to(ak__ceil_div(rows, ak__ceil_div(rows, most)), mr);
    for (int64_t i = g->i0; i < g->i1; i += mc) {
        const int64_t end = ak__min(i + mc, g->i1);
        if (!job->direct_a)
            pack_a(job, mine->a, i, end, b);
        tiles(job, g, b, job->direct_a ? NULL : mine->a, i, end);
    }
}

/* Where beta is neither 0 nor 1, or nothing is added at all: C = beta C on this thread's piece. */
static void scale_c(const gemm_job *job, const grid_place *g)
{
    const size_t bytes = (size_t)(g->j1 - g->j0) * sizeof(ak_real);
    for (int64_t i = g->i0; i < g->i1; i++) {
        ak_real *row = job->C + i * job->ldc + g->j0;
        if (job->beta == 0)
            memset(row, 0, bytes);
        else
            ak__k.scale(row, job->beta, row, g->j1 - g->j0);
    }
}

/* ---- split operands -------------------------------------------------------------------------- */

/* The kernel takes one panel of A past many of B. So B is packed as deep as its share of L2 allows,
 * many blocks of K at once, and a panel of A block by block just before its turn: its rows of C
 * stay in the caches until all blocks are done. */
typedef struct split_block {
    int64_t j0, j1, k0, k1;
    int64_t step;                           /* elements from one block of B to the next */
} split_block;

static void pack_split(const gemm_job *job, const operand *x, ak_real *dst, int64_t i0,
                       int64_t i1, int64_t k, int64_t nk)
{
    const bool left = x == &job->X;
    for (int64_t i = i0; i < i1; i += AK_SPLIT_SIDE, dst += AK_SPLIT_SIZE(nk)) {
        ak__split_pack(dst, operand_at(x, i, k), x->ld, ak__min(AK_SPLIT_SIDE, i1 - i), nk,
                       left ? job->alpha : 1, x->k_major, left);
    }
}

/* Rows [i0, i1) of C, one panel, with what is packed of B. */
static void split_rows(const gemm_job *job, const pack_space *mine, const split_block *b,
                       int64_t i0, int64_t i1)
{
    const int m = (int)(i1 - i0);
    const int64_t n = b->j1 - b->j0;
    ak_real *c = job->C + i0 * job->ldc + b->j0;
    const ak_real *packed = mine->b;
    for (int64_t k = b->k0; k < b->k1; k += job->kb, packed += b->step) {
        const int64_t nk = ak__min(job->kb, b->k1 - k);
        pack_split(job, &job->X, mine->a, i0, i1, k, nk);
        ak__split_multiply(nk, mine->a, packed, AK_SPLIT_SIZE(nk), c, job->ldc, m, n,
                           k > job->k_from || job->beta != 0);
    }
    if (job->ep && b->k1 == job->K)
        ak__k.gemm_finish(c, job->ldc, m, n, job->ep->bias ? job->ep->bias + b->j0 : NULL,
                          job->ep->relu);
}

/* One thread's piece of C. */
static void run_split(const gemm_job *job, const grid_place *g, const pack_space *mine)
{
    const int64_t panel = AK_SPLIT_SIZE(job->kb);
    const int64_t room = ak__min(mine->room_b / panel, SPLIT_PANELS);
    const int64_t panels = ak__min(ak__ceil_div(g->j1 - g->j0, AK_SPLIT_SIDE), room);
    const int64_t nc = panels * AK_SPLIT_SIDE, depth = panels > 0 ? room / panels * job->kb : 1;
    for (int64_t j = g->j0; j < g->j1; j += nc) {
        for (int64_t k = job->k_from; k < job->K; k += depth) {
            const split_block b = {j, ak__min(j + nc, g->j1), k, ak__min(k + depth, job->K),
                                   panels * panel};
            ak_real *to = mine->b;
            for (int64_t at = k; at < b.k1; at += job->kb, to += b.step)
                pack_split(job, &job->Y, to, b.j0, b.j1, at, ak__min(job->kb, b.k1 - at));
            for (int64_t i = g->i0; i < g->i1; i += AK_SPLIT_SIDE)
                split_rows(job, mine, &b, i, ak__min(i + AK_SPLIT_SIDE, g->i1));
        }
    }
}

/* ---- one thread ------------------------------------------------------------------------------ */

/* All of one thread's work. Loops jc and pc have the same number of turns on all threads, also
 * where a thread has no columns left, because there are barriers inside. */
static void run_thread(const gemm_job *job, int thread, int threads)
{
    const grid_place g = place_of(job, thread, threads);
    if (job->beta != 0 && job->beta != 1)
        scale_c(job, &g);
    if (job->split) {
        run_split(job, &g, job->team[thread]);
        return;
    }
    const int64_t nr = ak__k.nr;
    pack_space *const *column = job->team + g.tj * g.tm;
    const bool shared = g.tm > 1 && !job->direct_b && job->M < OWN_B_ROWS * g.tm;
    pack_space *const *owners = shared ? column : column + g.ti;
    const int sharing = shared ? g.tm : 1;
    const int64_t slots = ak__min(ak__k.nc, column[g.ti]->room_b / job->kb) / nr;
    const int64_t nc = job->direct_b ? g.width : slots * nr * sharing;
    for (int64_t jc = 0; jc < g.width; jc += nc) {
        const int64_t j0 = ak__min(g.j0 + jc, g.j1);
        for (int64_t k = job->k_from; k < job->K; k += job->kb) {
            const b_block b = {j0, ak__min(j0 + nc, g.j1), k, ak__min(job->kb, job->K - k), sharing,
                               owners};
            pack_b(job, &g, &b);
            if (shared) {
                AK__PRAGMA(omp barrier)
            }
            row_blocks(job, &g, &b);
            if (shared) {
                AK__PRAGMA(omp barrier)
            }
        }
    }
}

/* ---- choices -------------------------------------------------------------------------------- */

/* Multiply-adds below which a second thread costs more than it brings. */
#define MIN_WORK_PER_THREAD 196608.0
/* A stored [K, M] is read in place only if a block of it is this small: each row of a tile of it is
 * a few floats, a whole row of A apart from the next, and all of them come again for each panel. */
#define SMALL_A_BYTES (256 * 1024)
/* Packing B pays off if each element is used for at least this many rows, unless all of B fits
 * in half of L1 anyway. Of a B with rows this short a block of K is one small piece of memory: it
 * takes more rows of A until packing is worth it. */
#define PACK_B_ROWS       32
#define PACK_SHORT_B_ROWS 192
#define SHORT_B           128
#define SMALL_B_BYTES     (16 * 1024)

/* Operands are split where each of their elements is used often enough to pay for the packing, and
 * k fill the steps of a panel at least by half. */
#define SPLIT_USES    80
#define SPLIT_LEAST_K 48

static bool worth_splitting(const gemm_job *job)
{
    return ak__k.split_multiply && job->K >= SPLIT_LEAST_K &&
           job->M * job->N >= SPLIT_USES * (job->M + job->N);
}

static void choose_split(gemm_job *job)
{
    job->split = true;
    job->mr = job->nr = AK_SPLIT_SIDE;
    const int64_t block = ak__ceil_div(job->K, ak__ceil_div(job->K, SPLIT_KC));
    job->kb = ak__round_to(block, AK_SPLIT_SIDE);
}

static void choose_paths(gemm_job *job)
{
    job->mr = ak__k.mr;
    job->nr = ak__k.nr;
    const bool thin = job->N <= THIN_N, columns = job->X.k_major;
    const int64_t kc = !thin ? ak__k.kc : columns ? THIN_COLUMNS_K : THIN_K;
    const int64_t blocks = ak__ceil_div(job->K, kc);
    job->kb = ak__min(ak__round_to(ak__ceil_div(job->K, blocks), 8), kc);
    job->mb = thin && columns ? job->M : ak__k.mc;
    const int64_t a_bytes = job->M * job->kb * (int64_t)sizeof(ak_real);
    const int64_t b_bytes = job->K * job->N * (int64_t)sizeof(ak_real);
    const bool share_set = job->mr > SET_WAYS &&
                           job->X.ld * (int64_t)sizeof(ak_real) % SET_STRIDE == 0;
    const int64_t rows_in_place_n = share_set ? SHARED_SET_N : ROWS_IN_PLACE_N;
    const bool in_place = columns ? job->N <= COLUMNS_IN_PLACE_N && a_bytes <= SMALL_A_BYTES
                                  : job->N <= rows_in_place_n;
    job->direct_a = job->alpha == 1 && in_place;
    const int64_t pack_rows = job->Y.ld <= SHORT_B ? PACK_SHORT_B_ROWS : PACK_B_ROWS;
    job->direct_b = job->Y.k_major &&
                    (job->M <= pack_rows || b_bytes <= SMALL_B_BYTES);
}

/* Threads that have enough to do; at most one tile each is the limit. */
static int choose_threads(const gemm_job *job)
{
    if (ak__in_parallel())
        return 1;
    const double work = (double)job->M * (double)job->N * (double)job->K;
    const double useful = work / MIN_WORK_PER_THREAD;
    const int64_t tile_count = ak__ceil_div(job->M, job->mr) * ak__ceil_div(job->N, job->nr);
    int64_t n = ak__min(ak__max_threads(), ak__min(tile_count, MAX_TEAM));
    if (useful < (double)n)
        n = (int64_t)useful;
    return n > 1 ? (int)n : 1;
}

/* Nothing to multiply: C = beta C, then the epilogue. */
static void only_scale(const gemm_job *job)
{
    const grid_place all = {.i1 = job->M, .j1 = job->N};
    if (job->beta != 1)
        scale_c(job, &all);
    for (int64_t i = 0; job->ep && i < job->M; i++)
        ak__k.gemm_finish(job->C + i * job->ldc, job->ldc, 1, job->N, job->ep->bias,
                          job->ep->relu);
}

/* No buffer is free (more threads of control multiply than buffers were reserved for): one panel
 * of each operand at a time, on the stack. Slower, the same bits. */
static void run_small(gemm_job *job)
{
    _Alignas(64) ak_real a[SMALL_A];
    _Alignas(64) ak_real b[SMALL_B];
    pack_space space = {a, b, SMALL_A, SMALL_B};
    pack_space *team[1] = {&space};
    job->team = team;
    run_thread(job, 0, 1);
}

static void run_whole(gemm_job *job)
{
    pack_space *team[MAX_TEAM];
    const int threads = take_spaces(choose_threads(job), team);
    job->team = team;
    if (threads == 0) {
        run_small(job);
        return;
    }
    if (threads == 1) {
        run_thread(job, 0, 1);
    } else {
#ifdef _OPENMP
        /* fewer threads than asked may come: the grid is made of those that did */
#pragma omp parallel num_threads(threads)
        run_thread(job, omp_get_thread_num(), omp_get_num_threads());
#endif
    }
    give_spaces(threads, team);
}

/* ---- a long K and a small result ------------------------------------------------------------ */

/* Few tiles, so the threads take pieces of K instead. Each piece is summed by itself, in the rear
 * of a packing buffer, and then all are added in order. */
#define PIECE_AREA   12288                  /* M * N at most; 16 of them leave room to pack B */
#define PIECE_K      1024                   /* k of a piece at least */
#define PIECE_MOST   16

typedef struct pieces_job {
    const gemm_job *whole;
    int             pieces;
    int64_t         length;                 /* k of a piece */
    ak_real        *part[PIECE_MOST];
} pieces_job;

/* A power of two, so that 2, 4, 8, 16 threads have equal shares. */
static int count_pieces(const gemm_job *job)
{
    int n = 1;
    while (job->M * job->N <= PIECE_AREA && n < PIECE_MOST && job->K >= 2 * n * PIECE_K)
        n *= 2;
    return n;
}

static void run_pieces(pieces_job *all, pack_space *space, int thread, int threads)
{
    const int64_t area = all->whole->M * all->whole->N;
    pack_space rest = *space;
    pack_space *team[1] = {&rest};
    for (int p = thread; p < all->pieces; p += threads) {
        rest.room_b -= area;
        all->part[p] = rest.b + rest.room_b;
    }
    for (int p = thread; p < all->pieces; p += threads) {
        gemm_job piece = *all->whole;
        piece.k_from = p * all->length;
        piece.K = ak__min(piece.k_from + all->length, piece.K);
        piece.beta = 0;
        piece.ep = NULL;
        piece.C = all->part[p];
        piece.ldc = piece.N;
        piece.team = team;
        run_thread(&piece, 0, 1);
    }
}

static void add_pieces(const pieces_job *all, int thread, int threads)
{
    const gemm_job *job = all->whole;
    const grid_place mine = {.i0 = job->M * thread / threads,
                             .i1 = job->M * (thread + 1) / threads, .j1 = job->N};
    if (job->beta != 1)
        scale_c(job, &mine);
    for (int64_t i = mine.i0; i < mine.i1; i++) {
        ak_real *row = job->C + i * job->ldc;
        for (int p = 0; p < all->pieces; p++)
            ak__k.add(row, row, all->part[p] + i * job->N, job->N);
        if (job->ep)
            ak__k.gemm_finish(row, job->ldc, 1, job->N, job->ep->bias, job->ep->relu);
    }
}

static void run_in_pieces(gemm_job *job, int pieces)
{
    pack_space *team[PIECE_MOST];
    const int want = (int)ak__min(choose_threads(job), pieces);
    int have = take_spaces(want, team);
    while (have == 0) {
        /* another thread of control will give one back; there are none before the first context */
        if (atomic_load(&space_count) == 0 && !ak__gemm_reserve(1)) {
            run_small(job);
            return;
        }
        have = take_spaces(want, team);
    }
    pieces_job all = {.whole = job, .pieces = pieces};
    all.length = ak__round_to(ak__ceil_div(job->K, pieces), 8);
    if (have == 1) {
        run_pieces(&all, team[0], 0, 1);
        add_pieces(&all, 0, 1);
    } else {
#ifdef _OPENMP
#pragma omp parallel num_threads(have)
        {
            const int t = omp_get_thread_num(), n = omp_get_num_threads();
            run_pieces(&all, team[t], t, n);
#pragma omp barrier
            add_pieces(&all, t, n);
        }
#endif
    }
    give_spaces(have, team);
}

static void run_job(gemm_job *job)
{
    assert(ak__k.mr * job->kb <= SMALL_A && ak__k.nr * job->kb <= SMALL_B);
    assert(!job->split || AK_SPLIT_SIZE(job->kb) <= SMALL_A);
    assert(ak__k.mc * ak__k.kc <= SPACE_A && ak__k.kc * ak__k.nc <= SPACE_B);
    const int pieces = count_pieces(job);
    if (pieces > 1)
        run_in_pieces(job, pieces);
    else
        run_whole(job);
}

void ak__gemm(ak__gemm_form form, int64_t M, int64_t N, int64_t K, ak_real alpha,
              const ak_real *A, int64_t lda, const ak_real *B, int64_t ldb, ak_real beta,
              ak_real *C, int64_t ldc, const ak__epilogue *ep)
{
    if (M <= 0 || N <= 0)
        return;
    gemm_job job = {.M = M, .N = N, .K = alpha == 0 ? 0 : K, .alpha = alpha, .beta = beta,
                    .X = {A, lda, form == AK__TN}, .Y = {B, ldb, form != AK__NT}, .C = C,
                    .ldc = ldc};
    if (ep && (ep->bias || ep->relu))
        job.ep = ep;
    if (job.K <= 0) {
        only_scale(&job);
        return;
    }
    if (worth_splitting(&job))
        choose_split(&job);
    else
        choose_paths(&job);
    run_job(&job);
}

/* ---- many products of one shape ------------------------------------------------------------- */

/* One product this large keeps all threads busy by itself. */
#define LARGE_ITEM (4.0 * 1024 * 1024)

void ak__gemm_batched(ak__gemm_form form, int64_t batch, int64_t M, int64_t N, int64_t K,
                      ak_real alpha, const ak_real *A, int64_t lda, int64_t stride_a,
                      const ak_real *B, int64_t ldb, int64_t stride_b, ak_real beta,
                      ak_real *C, int64_t ldc, int64_t stride_c)
{
    const bool rows_of_a = form != AK__TN;
    if (stride_b == 0 && rows_of_a && stride_a == M * lda && stride_c == M * ldc) {
        ak__gemm(form, batch * M, N, K, alpha, A, lda, B, ldb, beta, C, ldc, NULL);
        return;
    }
    const double work = (double)M * (double)N * (double)K;
    const bool spread = batch > 1 && work < LARGE_ITEM &&
                        work * (double)batch >= 2 * MIN_WORK_PER_THREAD;
    (void)spread;                           /* without OpenMP */
    AK__PARALLEL_FOR(i, batch, spread)
        ak__gemm(form, M, N, K, alpha, A + i * stride_a, lda, B + i * stride_b, ldb, beta,
                 C + i * stride_c, ldc, NULL);
}
