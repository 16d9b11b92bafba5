/* SPDX-License-Identifier: Apache-2.0 */
/* From a seed to a graph. Nothing but ak_random_* decides, so that a seed is the same graph in
 * every build and on every machine. */
#include "graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

planted graph_plant = PLANT_NONE;

/* ---- draws ----------------------------------------------------------------------------------- */

#define STREAM 20240611

int64_t draw_below(graph *g, int64_t n)
{
    return (int64_t)ak_random_below(g->seed, STREAM, g->draws++, (uint64_t)(n > 1 ? n : 1));
}

bool draw_yes(graph *g, double p)
{
    return ak_random_uniform(g->seed, STREAM, g->draws++) < p;
}

double draw_between(graph *g, double lo, double hi)
{
    return lo + (hi - lo) * ak_random_uniform(g->seed, STREAM, g->draws++);
}

/* Small ones, odd ones, and those around the widths of SIMD registers. */
int64_t draw_dim(graph *g)
{
    static const int64_t small[] = { 1, 1, 2, 2, 3, 3, 4, 5, 5, 6, 7, 8, 9, 11, 15, 16, 17, 31,
                                     33 };
    static const int64_t large[] = { 3, 8, 16, 17, 32, 33, 63, 64, 65, 100, 129 };
    return g->limit > 1000 && draw_yes(g, 0.6)
           ? large[draw_below(g, (int64_t)(sizeof large / sizeof *large))]
           : small[draw_below(g, (int64_t)(sizeof small / sizeof *small))];
}

ak_shape draw_shape(graph *g, int rank)
{
    ak_shape s = { .n = rank };
    int64_t size = 1;
    for (int i = rank - 1; i >= 0; i--) {
        const int64_t d = draw_dim(g);
        s.dims[i] = size * d <= g->limit ? d : 1;
        size *= s.dims[i];
    }
    return s;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void *take(graph *g, size_t bytes)
{
    bytes = (bytes + 15) & ~(size_t)15;
    if (g->used + bytes > BLUEPRINT_BYTES) {
        g->full = true;
        g->used = 0;            /* what follows is overwritten, but is not used */
    }
    g->used += bytes;
    return bytes > BLUEPRINT_BYTES ? NULL : g->memory + g->used - bytes;
}

void set_operand(graph_node *n, int place, int x)
{
    while (n->n_in <= place)
        n->in[n->n_in++] = -1;
    n->in[place] = x;
}

void set_option(graph_node *n, const char *name, double value)
{
    if (n->n_options < MAX_OPTIONS)
        n->options[n->n_options++] = (option){ name, value };
}

double get_option(const graph_node *n, const char *name)
{
    for (int i = 0; i < n->n_options; i++)
        if (strcmp(n->options[i].name, name) == 0)
            return n->options[i].value;
    return 0;
}

int32_t *set_list(graph *g, graph_node *n, const char *name, ak_shape shape)
{
    int32_t *v = take(g, (size_t)(ak_shape_size(shape) + 1) * sizeof *v);
    if (!v || n->n_lists == MAX_LISTS) {
        g->full = true;
        return (int32_t *)(void *)g->memory;
    }
    n->lists[n->n_lists++] = (graph_list){ name, shape, v };
    return v;
}

ak_index *get_list(const node_call *c, const char *name)
{
    for (int i = 0; i < c->n->n_lists; i++)
        if (strcmp(c->n->lists[i].name, name) == 0)
            return c->list[i];
    return NULL;
}

void set_range(graph_node *n, double lo, double hi)
{
    n->lo = lo;
    n->hi = hi;
}

/* The place of a finished node; the last one is dropped again if it is too large. */
static int add_node(graph *g, graph_node *n)
{
    if (g->n_nodes >= MAX_NODES - 2) {
        g->full = true;
        return g->n_nodes - 1;
    }
    for (int i = 0; i < n->n_in && !(n->kind->flags & KIND_STOP); i++)
        n->needs_grad = n->needs_grad || (n->in[i] >= 0 && g->nodes[n->in[i]].needs_grad);
    g->nodes[g->n_nodes] = *n;
    return g->n_nodes++;
}

static void fill_leaf(graph *g, graph_node *n)
{
    const int64_t size = ak_shape_size(n->shape);
    n->values = take(g, (size_t)(size + 1) * sizeof(double));
    for (int64_t i = 0; n->values && i < size; i++)
        n->values[i] = (double)(float)draw_between(g, n->lo, n->hi);
}

int node_leaf(graph *g, ak_shape shape, double lo, double hi)
{
    graph_node n = { .kind = &kind_leaf, .shape = shape, .lo = lo, .hi = hi, .needs_grad = true,
               .rows = true, .param = draw_yes(g, 0.3) };
    fill_leaf(g, &n);
    return add_node(g, &n);
}

int node_constant(graph *g, ak_shape shape, double lo, double hi)
{
    graph_node n = { .kind = &kind_leaf, .shape = shape, .lo = lo, .hi = hi, .apart = true };
    fill_leaf(g, &n);
    return add_node(g, &n);
}

/* Mostly of size 1, now and then very small or very large. */
static int new_leaf(graph *g, ak_shape shape)
{
    const double size = draw_yes(g, 0.75) ? 1 : DRAW_ONE(g, 1e-4, 1e-2, 30, 1e4);
    return node_leaf(g, shape, -size, size);
}

int node_call_kind(graph *g, const char *name, int a, int b)
{
    const graph_kind *k = kind_find(name);
    graph_node n = { .kind = k };
    set_operand(&n, 0, a);
    if (b >= 0)
        set_operand(&n, 1, b);
    n.shape = g->nodes[a].shape;
    return add_node(g, &n);
}

/* ---- operands -------------------------------------------------------------------------------- */

static bool is_used(const graph *g, int x)
{
    for (int i = x + 1; i < g->n_nodes; i++)
        for (int j = 0; j < g->nodes[i].n_in; j++)
            if (g->nodes[i].in[j] == x)
                return true;
    return false;
}

/* What nobody uses yet is preferred, so that graphs become deep; the rest makes them share. */
int node_any(graph *g)
{
    if (draw_yes(g, 0.15))
        return new_leaf(g, draw_shape(g, (int)draw_below(g, 5)));
    const bool fresh = draw_yes(g, 0.6);
    for (int tries = 0; tries < 40; tries++) {
        const int x = (int)draw_below(g, g->n_nodes);
        const graph_node *n = &g->nodes[x];
        if (n->apart || ak_shape_size(n->shape) == 0 || (fresh && tries < 30 && is_used(g, x)))
            continue;
        return x;
    }
    return new_leaf(g, draw_shape(g, 2));
}

static int reshaped(graph *g, int x, ak_shape shape)
{
    if (ak_shape_equal(g->nodes[x].shape, shape))
        return x;
    graph_node n = { .kind = kind_find("reshape"), .shape = shape };
    set_operand(&n, 0, x);
    set_range(&n, g->nodes[x].lo, g->nodes[x].hi);
    return add_node(g, &n);
}

/* [a, b, ..] with fewer axes joins the first ones; with more, an axis is cut or 1s are put on. */
int node_rank(graph *g, int lo, int hi)
{
    const int x = node_any(g);
    ak_shape s = g->nodes[x].shape;
    if (s.n >= lo && s.n <= hi)
        return x;
    while (s.n > hi) {
        s.dims[0] *= s.dims[1];
        for (int i = 1; i + 1 < s.n; i++)
            s.dims[i] = s.dims[i + 1];
        s.dims[--s.n] = 0;
    }
    while (s.n < lo) {
        const int64_t first = s.n ? s.dims[0] : 1;
        int64_t part = 1;
        for (int64_t p = 2; p <= first && part == 1; p++)
            part = first % p == 0 && draw_yes(g, 0.7) ? p : 1;
        for (int i = s.n; i > 0; i--)
            s.dims[i] = s.dims[i - 1];
        s.dims[0] = part;
        if (s.n++ > 0)
            s.dims[1] = first / part;
    }
    return reshaped(g, x, s);
}

/* Any tensor gives any shape: as it is, reshaped, its first elements, or elements taken by number
 * (some several times, others never). */
int node_shaped(graph *g, ak_shape shape)
{
    const int64_t want = ak_shape_size(shape);
    for (int tries = 0; tries < 8; tries++) {
        const int x = (int)draw_below(g, g->n_nodes);
        if (!g->nodes[x].apart && ak_shape_equal(g->nodes[x].shape, shape))
            return x;
    }
    if (draw_yes(g, 0.35))
        return new_leaf(g, shape);
    int x = node_any(g);
    const graph_node *from = &g->nodes[x];
    const int64_t have = ak_shape_size(from->shape);
    if (have == want)
        return reshaped(g, x, shape);
    const double lo = from->lo, hi = from->hi;
    x = reshaped(g, x, AK_SHAPE(have));
    graph_node n = { 0 };
    set_operand(&n, 0, x);
    set_range(&n, lo, hi);
    if (have > want) {
        const int64_t start = draw_below(g, have - want + 1);
        n.kind = kind_find("rows");
        n.shape = AK_SHAPE(want);
        set_option(&n, "start", (double)start);
        set_option(&n, "count", (double)want);
    } else {
        n.kind = kind_find("gather_rows");
        n.shape = AK_SHAPE(want);
        int32_t *rows = set_list(g, &n, "rows", n.shape);
        for (int64_t i = 0; i < want && !g->full; i++)
            rows[i] = (int32_t)draw_below(g, have);
    }
    return reshaped(g, add_node(g, &n), shape);
}

int node_within(graph *g, int x, double limit)
{
    const double size = size_of_values(g, x);
    if (size <= limit)
        return x;
    graph_node n = { .shape = g->nodes[x].shape };
    set_operand(&n, 0, x);
    if (size > 100 * limit || draw_yes(g, 0.5)) {
        n.kind = kind_find("tanh");
        set_range(&n, -1, 1);
        x = add_node(g, &n);
        return limit < 1 ? node_within(g, x, limit) : x;
    }
    n.kind = kind_find("scale");
    set_option(&n, "a", (double)(float)(limit / size));
    set_range(&n, -limit, limit);
    n.rows = g->nodes[x].rows;
    return add_node(g, &n);
}

int node_positive(graph *g, int x)
{
    if (g->nodes[x].lo >= 0.25 && g->nodes[x].hi <= 4)
        return x;
    static const char *const how[] = { "exp", "softplus", "sigmoid", "square" };
    const int i = (int)draw_below(g, 4);
    x = node_within(g, x, 1);
    x = node_call_kind(g, how[i], x, -1);
    set_range(&g->nodes[x], 0, 2.8);
    graph_node n = { .kind = kind_find("add_scalar"), .shape = g->nodes[x].shape, .lo = 0.25,
                     .hi = 3.05, .rows = true };
    set_operand(&n, 0, x);
    set_option(&n, "a", 0.25);
    return add_node(g, &n);
}

int node_rows(graph *g, int x)
{
    const graph_node *n = &g->nodes[x];
    if (n->rows && n->hi - n->lo >= 0.1)
        return x;
    if (draw_yes(g, 0.3))
        return node_positive(g, x);
    x = node_within(g, x, 2);
    const int leaf = node_leaf(g, g->nodes[x].shape, -1, 1);
    x = node_call_kind(g, "add", x, leaf);
    set_range(&g->nodes[x], -3, 3);
    g->nodes[x].rows = true;
    return x;
}

/* ---- growing --------------------------------------------------------------------------------- */

const graph_kind *kind_at(int i)
{
    static const graph_kind *const tables[] = {
        kinds_elementwise, kinds_reduce, kinds_layout, kinds_linear, kinds_norm, kinds_picture,
        kinds_order, kinds_loss, kinds_sample, kinds_planted,
    };
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (int j = 0; tables[t][j].name; j++)
            if (i-- == 0)
                return &tables[t][j];
    return NULL;
}

const graph_kind *kind_find(const char *name)
{
    for (int i = 0; kind_at(i); i++)
        if (strcmp(kind_at(i)->name, name) == 0)
            return kind_at(i);
    return NULL;
}

/* Each name draws a number and the highest wins: a name that joins later leaves the choices among
 * the others as they were, so that old seeds mostly stay the graphs they are. */
double draw_score(const graph *g, const char *name)
{
    uint64_t h = 14695981039346656037u;
    for (; *name; name++)
        h = (h ^ (unsigned char)*name) * 1099511628211u;
    return ak_random_uniform(g->seed ^ h, STREAM + 1, g->draws);
}

static const graph_kind *draw_kind(graph *g)
{
    const graph_kind *best = NULL;
    double highest = -1;
    for (int i = 0; kind_at(i); i++) {
        const graph_kind *k = kind_at(i);
        if (graph_plant != PLANT_NONE && (k->flags & KIND_STOP))
            continue;                   /* a planted fault has to reach the loss */
        double score = draw_score(g, k->name);
        score *= k->flags & KIND_RARE ? 0.99 : 1;
        if (score > highest && k->draw) {
            best = k;
            highest = score;
        }
    }
    g->draws++;
    return best;
}

/* One more node of a kind; whatever was added for a draw that did not work out goes again. */
static bool grow(graph *g, const graph_kind *k)
{
    const int    nodes = g->n_nodes;
    const size_t used = g->used;
    graph_node n = { .kind = k };
    bool fits = k->draw(g, &n) && !g->full && ak_shape_size(n.shape) <= g->limit &&
                ak_shape_size(n.shape) > 0;
    fits = fits && isfinite(n.lo) && isfinite(n.hi) && fmax(-n.lo, n.hi) < 1e9;
    if (fits && add_node(g, &n) == g->n_nodes - 1 && !g->full)
        return true;
    g->n_nodes = nodes;
    g->used = used;
    g->full = false;
    return false;
}

static void add_pass(graph *g, int x, int after)
{
    const int64_t size = ak_shape_size(g->nodes[x].shape);
    if (g->n_passes == MAX_PASSES)
        return;
    double *dy = take(g, (size_t)(size + 1) * sizeof *dy);
    /* As large as makes terms of one size: gradients of all are then seen by differences. */
    const double size_y = size_of_values(g, x), unit = size_y > 10 ? 10 / size_y : 1;
    for (int64_t i = 0; dy && i < size; i++)
        dy[i] = (double)(float)(unit * draw_between(g, 0.5, 1.5) * (draw_yes(g, 0.3) ? -1 : 1));
    g->passes[g->n_passes++] = (pass){ x, after, dy };
}

bool node_may_share(const graph_node *n)
{
    return (n->kind->flags & (KIND_ALIAS | KIND_RANDOM)) != 0;
}

/* Nothing is recorded for a leaf and its aliases, so no backward can start there. */
static bool is_leaf(const graph *g, int x)
{
    while (node_may_share(&g->nodes[x]))
        x = g->nodes[x].in[0];
    return g->nodes[x].kind == &kind_leaf;
}

/* All ends in one number, summed by ops. */
static void join_ends(graph *g)
{
    int sum = -1;
    for (int x = 0, n = g->n_nodes; x < n; x++) {
        if (!g->nodes[x].needs_grad || is_used(g, x) || is_leaf(g, x))
            continue;
        if (g->n_nodes > MAX_NODES - 12)
            break;
        const double size = size_of_values(g, x);
        const int w = node_constant(g, g->nodes[x].shape, -1, 1);
        const double most = (double)ak_shape_size(g->nodes[x].shape) * size;
        int y = node_call_kind(g, "mul", x, w);
        set_range(&g->nodes[y], -size, size);
        y = node_call_kind(g, "sum", y, -1);
        g->nodes[y].shape = AK_SCALAR;
        set_range(&g->nodes[y], -most, most);
        y = node_within(g, y, 100);
        sum = sum < 0 ? y : node_call_kind(g, "add", sum, y);
        set_range(&g->nodes[sum], -1e3, 1e3);
    }
    if (sum < 0)
        return;
    add_pass(g, sum, g->n_nodes - 1);
    g->passes[0].dy[0] = 1;             /* as ak_backward has it */
}

/* A pass from each end, now and then from the middle as well, at the end or as soon as it is
 * there; rows of one result by themselves. */
static void pass_ends(graph *g)
{
    for (int x = 0, n = g->n_nodes; x < n; x++) {
        const graph_node *y = &g->nodes[x];
        if (!y->needs_grad || is_leaf(g, x))
            continue;
        if (is_used(g, x) && !draw_yes(g, 0.08))
            continue;
        add_pass(g, x, draw_yes(g, 0.3) ? x + (int)draw_below(g, n - x) : n - 1);
    }
}

int node_last_use(const graph *g, int x)
{
    int last = x;
    for (int i = x + 1; i < g->n_nodes; i++)
        for (int j = 0; j < g->nodes[i].n_in; j++) {
            if (g->nodes[i].in[j] != x)
                continue;
            const int deep = node_may_share(&g->nodes[i]) ? node_last_use(g, i) : i;
            last = deep > last ? deep : last;
        }
    return last;
}

static void mark_done(graph *g)
{
    for (int x = 0; x < g->n_nodes; x++) {
        graph_node *n = &g->nodes[x];
        bool ends = node_last_use(g, x) == x;
        for (int p = 0; p < g->n_passes; p++)
            ends = ends || g->passes[p].node == x;
        if (!(n->kind->flags & KIND_LEAF) && !node_may_share(n) && !ends && draw_yes(g, 0.6))
            n->done = 1 + (int)draw_below(g, 2);
    }
}

graph *graph_make(uint64_t seed)
{
    graph *g = calloc(1, sizeof *g);
    g->seed = seed;
    g->memory = malloc(BLUEPRINT_BYTES);
    g->scratch = run_open(g);
    const bool large = draw_yes(g, 0.12);
    g->limit = large ? 12000 : 400;
    const int64_t leaves = 1 + draw_below(g, 3);
    for (int64_t i = 0; i < leaves; i++)
        new_leaf(g, draw_shape(g, 1 + (int)draw_below(g, 4)));
    const int64_t ops = 2 + draw_below(g, large ? 8 : 16);
    for (int64_t i = 0; i < ops && g->n_nodes < MAX_NODES / 2; i++) {
        bool grown = graph_plant != PLANT_NONE && i == 0 && grow(g, &kinds_planted[0]);
        for (int tries = 0; tries < 20 && !grown; tries++)
            grown = grow(g, draw_kind(g));
    }
    if (draw_yes(g, 0.4))
        join_ends(g);
    else
        pass_ends(g);
    /* A second backward may need again what the first has given back: that is refused. */
    if (g->n_passes == 1 && draw_yes(g, large ? 0.8 : 0.3))
        mark_done(g);
    ak_close(g->scratch);
    g->scratch = NULL;
    return g;
}

void graph_free(graph *g)
{
    if (!g)
        return;
    free(g->memory);
    free(g);
}
