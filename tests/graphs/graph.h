/* SPDX-License-Identifier: Apache-2.0 */
/* graph.h - a random graph of ops as a small list of nodes, made from a seed.
 *
 * make.c grows the list from ak_random_* alone: which op, which operands, options, shapes, numbers
 * of leaves. run.c runs it with the library (in float or double, whatever it is compiled for),
 * write.c prints it for people and as JSON for tests/peer/graphs.py, differences.c holds gradients
 * against finite differences, compare.c holds several builds and instruction sets against each
 * other.
 *
 * What a graph may be made of is a table of kinds (kinds_*.c): a kind draws options and operands,
 * and says how to call the public function. An op or a loss of the registries without a kind of its
 * own is tried all the same, on the shapes of its samples (kinds_samples.c).
 */
#ifndef GRAPH_H
#define GRAPH_H

#include <akin/autograd.h>
#include <akin/losses.h>
#include <akin/ops.h>

enum {
    MAX_NODES = 160, MAX_OPERANDS = 8, MAX_OPTIONS = 12, MAX_LISTS = 3,
    MAX_PASSES = 64, MAX_OPS = 256, MAX_LOSSES = 64, BLUEPRINT_BYTES = 4 << 20
};

typedef struct graph graph;
typedef struct graph_node graph_node;

/* What the call of a node sees beside its operands. */
typedef struct node_call {
    const graph_node *n;
    ak_ctx     *ctx;
    ak_tensor  *in[MAX_OPERANDS];   /* NULL where absent */
    ak_index   *list[MAX_LISTS];    /* the node's lists of whole numbers */
} node_call;

typedef struct graph_kind {
    const char *name;               /* of the op in the registry, the loss or the alias */
    /* Choose operands (which may add nodes), options, shape and range. False: not this time. */
    bool       (*draw)(graph *g, graph_node *n);
    ak_tensor *(*call)(const node_call *c);
    const void *of;                 /* what draw and call of a family need to know */
    unsigned    flags;              /* kind_flags */
} graph_kind;

typedef enum kind_flags {
    KIND_LEAF = 1,          /* holds numbers of its own */
    KIND_ALIAS = 2,         /* shares the memory of its operand */
    KIND_EVALUATE = 4,      /* called in evaluation mode if option `evaluate` is set */
    KIND_RANDOM = 8,        /* its drawn numbers are part of the description */
    KIND_RARE = 16,         /* chosen less often */
    KIND_STOP = 32          /* no gradient goes through it */
} kind_flags;

typedef struct option { const char *name; double value; } option;
typedef struct graph_list { const char *name; ak_shape shape; int32_t *values; } graph_list;

struct graph_node {
    const graph_kind *kind;
    int         n_in, in[MAX_OPERANDS];     /* -1: absent */
    int         n_options, n_lists;
    option      options[MAX_OPTIONS];
    graph_list  lists[MAX_LISTS];
    ak_shape    shape;
    double      lo, hi;         /* every element is between these (or nearly) */
    double      inner;          /* how large numbers are whose difference the op gives; 0 = no more
                                 * than its result */
    double     *values;         /* of a leaf: numbers that a float holds */
    bool        needs_grad;
    bool        apart;          /* no other node may take it (a leaf: but the one that drew it) */
    bool        state;          /* of a leaf: may change (running statistics); a result */
    bool        param;          /* of a leaf: an ak_param rather than a tensor of the step */
    bool        rows;           /* its rows are not near zero */
    const void *what;           /* of a sample: its op or loss, */
    const char *title;          /* and the name of that */
    int         done;           /* ak_done_with after its last use: 0 no, 1 false, 2 true */
};

/* One backward pass: from a node, with given upstream numbers, after node `after` was made. */
typedef struct pass { int node, after; double *dy; } pass;

struct graph {
    uint64_t seed, draws;
    int64_t  limit;             /* elements of a graph_node */
    int      n_nodes, n_passes;
    graph_node nodes[MAX_NODES];
    pass     passes[MAX_PASSES];
    char    *memory;
    size_t   used;
    bool     full;              /* something did not fit: the graph ends here */
    ak_ctx  *scratch;           /* for shapes of samples */
};

/* ---- make.c: growing ------------------------------------------------------------------------- */

/* Which wrong backward to plant (tests of the test). */
typedef enum planted { PLANT_NONE, PLANT_BOTH, PLANT_FLOAT, PLANT_FORWARD } planted;
extern planted graph_plant;

graph *graph_make(uint64_t seed);
void graph_free(graph *g);

/* Draws: whole numbers below n, yes with probability p, uniform numbers, one of a list. */
int64_t draw_below(graph *g, int64_t n);
bool    draw_yes(graph *g, double p);
double  draw_between(graph *g, double lo, double hi);
int64_t draw_dim(graph *g);
double  draw_score(const graph *g, const char *name);
ak_shape draw_shape(graph *g, int rank);
#define DRAW_ONE(g, ...)                                                                           \
    ((double[]){ __VA_ARGS__ }[draw_below(                                                         \
        (g), (int64_t)(sizeof((double[]){ __VA_ARGS__ }) / sizeof(double)))])

/* Operands: places of nodes, made if there are none that fit. */
int node_any(graph *g);                             /* of any shape, size >= 1 */
int node_rank(graph *g, int lo, int hi);            /* with that many axes */
int node_shaped(graph *g, ak_shape shape);          /* of exactly this shape */
int node_leaf(graph *g, ak_shape shape, double lo, double hi);
int node_constant(graph *g, ak_shape shape, double lo, double hi);  /* for one node only */
int node_within(graph *g, int x, double limit);     /* x, made to be between -limit and limit */
int node_positive(graph *g, int x);                 /* x, made to be between 0.25 and 4 */
int node_rows(graph *g, int x);                     /* x, with rows that are not near zero */
int node_call_kind(graph *g, const char *name, int a, int b);   /* a node of a simple graph_kind */

/* May the result be the operand's memory? Aliases, and random ops in evaluation mode. */
bool node_may_share(const graph_node *n);
/* The last node that reads x, aliases of it included; x if there is none. */
int node_last_use(const graph *g, int x);

void set_operand(graph_node *n, int place, int x);
void set_option(graph_node *n, const char *name, double value);
double get_option(const graph_node *n, const char *name);     /* 0 if it was not set */
/* A list of whole numbers, uninitialised. */
int32_t *set_list(graph *g, graph_node *n, const char *name, ak_shape shape);
/* The list of that name among those of a call; NULL if the node has none. */
ak_index *get_list(const node_call *c, const char *name);
void set_range(graph_node *n, double lo, double hi);
static inline int64_t dim(const graph *g, int x, int axis)
{
    return g->nodes[x].shape.dims[axis];
}
static inline double size_of_values(const graph *g, int x)
{
    const graph_node *n = &g->nodes[x];
    return -n->lo > n->hi ? -n->lo : n->hi;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

extern const graph_kind kind_leaf, kinds_elementwise[], kinds_reduce[], kinds_layout[],
    kinds_order[], kinds_linear[], kinds_norm[], kinds_picture[], kinds_loss[], kinds_sample[],
    kinds_planted[];
/* By position over all tables (NULL past the end) and by name. */
const graph_kind *kind_at(int i);
const graph_kind *kind_find(const char *name);

/* ---- run.c ----------------------------------------------------------------------------------- */

typedef struct result {
    char    what[24];           /* "value", "gradient", "state" */
    int     node;
    int64_t size;
    double *values;
} result;

typedef struct run {
    result  results[2 * MAX_NODES];
    int     n;
    char    error[600];         /* of the library; "" = none */
} run;

typedef struct run_options {
    double   noise;             /* relative, on every operand and its gradient; 0 = none */
    uint64_t noise_seed;
    bool     keep_all;          /* ak_done_with is left out */
} run_options;

/* Forward, all passes of backward, and what there is to compare afterwards. */
void run_graph(const graph *g, run_options o, run *r);
void run_free(run *r);
/* sum over passes of <dy, y>, without recording; *size: the same over absolute terms. Where no
 * gradient goes through, values are those of `base`. NaN after an error. */
double run_forward(const graph *g, ak_ctx *ctx, const run *base, run_options o, double *size);
ak_ctx *run_open(const graph *g);
/* The result of that kind and node; NULL if there is none. */
const result *run_find(const run *r, const char *what, int node);
/* How often each op of the registry made a node, by its place there; losses likewise. */
extern int64_t run_ops[MAX_OPS], run_losses[MAX_LOSSES];

/* ---- differences.c --------------------------------------------------------------------------- */

typedef struct differences {
    int64_t checked, kinks;     /* directions compared, and those where differences disagree */
    double  worst;              /* error over what is allowed: <= 1 is right */
    int     node;               /* where */
    char    what[40];
    double  backward, numeric;
} differences;
void differences_check(graph *g, const run *r, differences *d);

/* ---- write.c --------------------------------------------------------------------------------- */

void graph_print(const graph *g, FILE *f);
/* One line of JSON: the graph, and the results of a run. */
void graph_json(const graph *g, const run *r, FILE *f);

/* ---- compare.c ------------------------------------------------------------------------------- */

/* Seeds from .. to-1, and those of a file (NULL = none): one a line, then words. */
typedef struct seeds { uint64_t from, to; const char *file; } seeds;

/* One after the other; false after the last. */
typedef struct seed_reader { seeds s; FILE *f; uint64_t next; } seed_reader;
seed_reader seeds_open(seeds s);
bool seeds_next(seed_reader *r, uint64_t *seed);

/* The part of a child: results of all seeds into f. */
void compare_send(seeds s, FILE *f);
/* The part of the parent: children of this program and its float sibling. Whether all was well. */
bool compare_all(const char *self, seeds s);
bool compare_planted(const char *self);

#endif
