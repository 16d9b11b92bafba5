/* SPDX-License-Identifier: Apache-2.0 */
/* The same graphs in several processes: the double build, which also takes differences, and the
 * float build on each instruction set. Each writes its results into a pipe; the parent reads one
 * graph from all and compares.
 *
 * How far float may be from double is measured, not guessed: both run the graph a few times more
 * with every operand and every gradient disturbed by NOISE of its size (see run.c). Where that
 * moves a tensor's elements by at most m, rounding may move them by m too. In float the same also
 * shows what cancels inside an op and leaves rounding alone, where double has 0; but no more than
 * CANCELLED of the graph's largest value or gradient (of 1, if those are smaller) passes for that,
 * or wild numbers would. */
#include "graph.h"

#include "tensor/kernels/kernels.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FLOAT_EPS 1.2e-7
#define NOISE (32 * FLOAT_EPS)
#define REST (16 * FLOAT_EPS)       /* of a tensor's largest element, for the last rounding */
#define REST_OF_ALL (4 * FLOAT_EPS) /* of the graph's largest gradient, for small gradients */
#define NOISE_RUNS 4
#define CANCELLED 1e-4
#define FEW_KINKS 0.05              /* of all directions */
#define ENOUGH 200                  /* graphs hold every op and every loss */

/* ---- what goes through the pipe -------------------------------------------------------------- */

typedef struct head {
    uint64_t    seed;
    int         n, nodes, last;     /* results; of the graph; 1 = no more graphs */
    char        error[600];
    differences d;
    char        level[16];
    int64_t     ops[MAX_OPS], losses[MAX_LOSSES];   /* with the last one */
} head;

typedef struct part {
    char    what[24];
    int     node;
    int64_t size;
    double  noise, rest;            /* how far noise moves it; REST of its largest element */
} part;

/* ---- the child ------------------------------------------------------------------------------- */

seed_reader seeds_open(seeds s)
{
    return (seed_reader){ s, s.file ? fopen(s.file, "r") : NULL, s.from };
}

bool seeds_next(seed_reader *r, uint64_t *seed)
{
    char line[400];
    while (r->f && fgets(line, sizeof line, r->f))
        if (sscanf(line, "%" SCNu64, seed) == 1)
            return true;
    if (r->f)
        fclose(r->f);
    r->f = NULL;
    if (r->next >= r->s.to)
        return false;
    *seed = r->next++;
    return true;
}

static double largest_change(const result *a, const result *b)
{
    double most = 0;
    for (int64_t i = 0; i < a->size && a->size == b->size; i++) {
        const double d = fabs(a->values[i] - b->values[i]);
        if (!(d <= most) && a->values[i] != b->values[i])
            most = d;
    }
    return a->size == b->size ? most : (double)INFINITY;
}

/* Largest finite element of a result, times `share`. */
static double share_of(const result *r, double share)
{
    double most = 0;
    for (int64_t j = 0; j < r->size; j++)
        if (isfinite(r->values[j]))
            most = fmax(most, fabs(r->values[j]));
    return share * most;
}

/* bound[i]: how far a little noise moves result i. */
static void measure_noise(const graph *g, const run *r, double *bound)
{
    for (uint64_t seed = 1; seed <= NOISE_RUNS; seed++) {
        run n;
        run_graph(g, (run_options){ .noise = NOISE, .noise_seed = seed, .keep_all = true }, &n);
        for (int i = 0; i < r->n && n.n == r->n; i++)
            bound[i] = fmax(bound[i], largest_change(&r->results[i], &n.results[i]));
        run_free(&n);
    }
}

static bool has_done(const graph *g)
{
    bool any = false;
    for (int x = 0; x < g->n_nodes; x++)
        any = any || g->nodes[x].done;
    return any;
}

/* Values given back early change no bit. */
static void check_done(const graph *g, run *r)
{
    run kept;
    if (!has_done(g) || r->error[0])
        return;
    run_graph(g, (run_options){ .keep_all = true }, &kept);
    if (kept.error[0])
        snprintf(r->error, sizeof r->error, "without ak_done_with: %.500s", kept.error);
    for (int i = 0; i < r->n && !r->error[0]; i++)
        if (memcmp(r->results[i].values, kept.results[i].values,
                   (size_t)r->results[i].size * sizeof(double)) != 0)
            snprintf(r->error, sizeof r->error, "ak_done_with changes the %s of node %d",
                     r->results[i].what, r->results[i].node);
    run_free(&kept);
}

static void send_graph(uint64_t seed, FILE *f)
{
    static head h;
    double bound[2 * MAX_NODES] = { 0 };
    graph *g = graph_make(seed);
    run r;
    run_graph(g, (run_options){ 0 }, &r);
    check_done(g, &r);
    h = (head){ .seed = seed, .n = r.n, .nodes = g->n_nodes };
    if (!r.error[0])
        measure_noise(g, &r, bound);
    if (!r.error[0] && AK_REAL_BITS == 64)
        differences_check(g, &r, &h.d);
    memcpy(h.error, r.error, sizeof h.error);
    fwrite(&h, sizeof h, 1, f);
    for (int i = 0; i < r.n; i++) {
        part p = { .node = r.results[i].node, .size = r.results[i].size, .noise = bound[i],
                   .rest = share_of(&r.results[i], REST) };
        memcpy(p.what, r.results[i].what, sizeof p.what);
        fwrite(&p, sizeof p, 1, f);
        fwrite(r.results[i].values, sizeof(double), (size_t)p.size, f);
    }
    fflush(f);
    run_free(&r);
    graph_free(g);
}

void compare_send(seeds s, FILE *f)
{
    static head end = { .last = 1 };
    seed_reader reader = seeds_open(s);
    for (uint64_t seed; seeds_next(&reader, &seed);)
        send_graph(seed, f);
    snprintf(end.level, sizeof end.level, "%s", ak_cpu_name());
    memcpy(end.ops, run_ops, sizeof end.ops);
    memcpy(end.losses, run_losses, sizeof end.losses);
    fwrite(&end, sizeof end, 1, f);
}

/* ---- the parent ------------------------------------------------------------------------------ */

enum { MAX_CHILDREN = 5 };

typedef struct child {
    const char *level;          /* "double", or of the instruction set */
    pid_t  pid;
    FILE  *f;
    head   h;
    part  *parts;
    double **values;
    bool   gone;
} child;

static void program_of(const char *self, bool is_float, char *path, size_t size)
{
    const char *slash = strrchr(self, '/');
    const int folder = slash ? (int)(slash - self) + 1 : 0;
    snprintf(path, size, "%.*s%s", folder, self, is_float ? "graph_float" : self + folder);
}

static bool start(child *c, const char *self, const char *level, seeds s)
{
    char path[PATH_MAX], from[32], to[32], plant[32];
    int ends[2];
    *c = (child){ .level = level };
    const bool is_float = strcmp(level, "double") != 0;
    program_of(self, is_float, path, sizeof path);
    snprintf(from, sizeof from, "%" PRIu64, s.from);
    snprintf(to, sizeof to, "%" PRIu64, s.to);
    snprintf(plant, sizeof plant, "%d", (int)graph_plant);
    fflush(NULL);
    if (pipe(ends) != 0 || (c->pid = fork()) < 0)
        return false;
    if (c->pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        if (is_float)
            setenv("AK_CPU", level, 1);
        execl(path, path, "--send", from, to, plant, s.file, (char *)NULL);
        fprintf(stderr, "graph: %s: %s\n", path, strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    c->f = fdopen(ends[0], "r");
    return c->f != NULL;
}

static bool read_all(child *c, void *to, size_t bytes)
{
    c->gone = c->gone || fread(to, 1, bytes, c->f) != bytes;
    return !c->gone;
}

static void drop(child *c)
{
    for (int i = 0; c->values && i < c->h.n; i++)
        free(c->values[i]);
    free(c->values);
    free(c->parts);
    c->values = NULL;
    c->parts = NULL;
}

/* The next graph's results; false if the child has ended, well or not. */
static bool receive(child *c)
{
    drop(c);
    if (!read_all(c, &c->h, sizeof c->h) || c->h.last)
        return false;
    c->parts = calloc((size_t)c->h.n + 1, sizeof *c->parts);
    c->values = calloc((size_t)c->h.n + 1, sizeof *c->values);
    for (int i = 0; i < c->h.n && !c->gone; i++) {
        if (!read_all(c, &c->parts[i], sizeof c->parts[i]))
            break;
        const size_t bytes = (size_t)c->parts[i].size * sizeof(double);
        c->values[i] = malloc(bytes + 1);
        read_all(c, c->values[i], bytes);
    }
    return !c->gone;
}

static bool stop(child *c)
{
    int status = 0;
    drop(c);
    if (c->f)
        fclose(c->f);
    waitpid(c->pid, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

typedef struct tally {
    int64_t graphs, nodes, directions, kinks, blind;
    int     failed, found_backward, found_value, found_gradient;
    double  worst_difference, worst_float;
    bool    quiet;
} tally;

static void complain(tally *t, uint64_t seed, const char *level, const char *format, ...)
    AK_PRINTF(4, 5);

static void complain(tally *t, uint64_t seed, const char *level, const char *format, ...)
{
    va_list args;
    t->failed++;
    if (t->quiet || t->failed > 40)
        return;
    printf("seed %" PRIu64 ", %s: ", seed, level);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static double deviation(const double *a, const double *b, int64_t n, int64_t *where)
{
    double most = 0;
    for (int64_t i = 0; i < n; i++) {
        const double d = a[i] == b[i] ? 0 : fabs(a[i] - b[i]);
        if (!(d <= most)) {
            most = isnan(d) ? (double)INFINITY : d;
            *where = i;
        }
    }
    return most;
}

static double largest_of(const child *c, char what)
{
    double most = 0;
    for (int i = 0; i < c->h.n; i++)
        if (c->parts[i].what[0] == what)
            most = fmax(most, c->parts[i].rest / REST);
    return most;
}

/* One float run against double: the first tensor that is too far away is named. */
static void compare_float(const child *exact, const child *c, tally *t)
{
    bool value = false, gradient = false;
    for (int i = 0; i < exact->h.n && i < c->h.n; i++) {
        int64_t at = 0;
        const part *p = &exact->parts[i];
        const double d = deviation(exact->values[i], c->values[i], p->size, &at);
        const double largest = largest_of(exact, p->what[0]);
        const double cancelled = fmin(4 * c->parts[i].noise, CANCELLED * fmax(1, largest));
        const double of_all = p->what[0] == 'g' ? REST_OF_ALL * largest : 0;
        const double bound = p->noise + p->rest + cancelled + of_all + 1e-30;
        t->worst_float = fmax(t->worst_float, d / bound);
        if (d <= bound)
            continue;
        if (!value && !gradient)
            complain(t, exact->h.seed, c->level, "%s of node %d, element %" PRId64 ": %.9g, in "
                     "double %.9g; off by %.3g, rounding explains %.3g", p->what, p->node, at,
                     c->values[i][at], exact->values[i][at], d, bound);
        *(p->what[0] == 'g' ? &gradient : &value) = true;
    }
    t->found_value += value;
    t->found_gradient += gradient && !value;
}

static void compare_graph(child *c, int n, tally *t)
{
    const head *h = &c[0].h;
    t->graphs++;
    t->nodes += h->nodes;
    t->directions += h->d.checked;
    t->kinks += h->d.kinks;
    t->blind += h->d.checked > 0 && h->d.kinks == h->d.checked;
    t->worst_difference = fmax(t->worst_difference, h->d.worst);
    if (h->d.worst > 1) {
        t->found_backward++;
        complain(t, h->seed, "double", "gradient of node %d, %s: backward %.12g, differences %.12g"
                 " (%.3g of what is allowed)", h->d.node, h->d.what, h->d.backward, h->d.numeric,
                 h->d.worst);
    }
    for (int i = 0; i < n; i++)
        if (c[i].h.error[0])
            complain(t, h->seed, c[i].level, "%s", c[i].h.error);
    for (int i = 1; i < n && !h->error[0]; i++)
        if (!c[i].h.error[0])
            compare_float(&c[0], &c[i], t);
}

/* Instruction sets of this machine; that of AK_CPU alone if it is set. */
static int levels(const char **names)
{
    const char *asked = getenv("AK_CPU");
    int n = 0;
    if (asked && *asked)
        names[n++] = asked;
    else
        for (int l = AK__REF; l <= (int)ak__cpu_level(); l++)
            names[n++] = ak__level_name((ak__level)l);
    return n;
}

static void run_children(const char *self, seeds s, const char *const *level, int n, tally *t,
                         head *last)
{
    child c[MAX_CHILDREN];
    bool well = start(&c[0], self, "double", s);
    for (int i = 0; i < n && well; i++)
        well = start(&c[i + 1], self, level[i], s);
    uint64_t before = 0;
    for (bool more = well; more;) {
        for (int i = 0; i <= n; i++) {
            more = receive(&c[i]) && more;
            if (c[i].gone)
                complain(t, before, c[i].level, "the process ended in the graph after this seed");
        }
        if (more)
            compare_graph(c, n + 1, t);
        before = c[0].h.seed;
    }
    *last = c[0].h;
    for (int i = 0; i <= n; i++)
        if (!stop(&c[i]))
            complain(t, before, c[i].level, "the process failed");
    if (!well)
        complain(t, 0, "all", "the processes could not be started");
}

static int print_unused(const head *last)
{
    int unused = 0;
    for (int i = 0; ak_op_at(i) && i < MAX_OPS; i++)
        if (last->ops[i] == 0)
            printf("%s %s", unused++ ? "," : "never used: op", ak_op_at(i)->name);
    for (int i = 0; ak_loss_at(i) && i < MAX_LOSSES; i++)
        if (last->losses[i] == 0)
            printf("%s loss %s", unused++ ? "," : "never used:", ak_loss_at(i)->name);
    printf(unused ? "\n" : "every op and every loss of the registries was used\n");
    return unused;
}

bool compare_all(const char *self, seeds s)
{
    const char *level[MAX_CHILDREN];
    static head last;
    tally t = { 0 };
    const int n = levels(level);
    run_children(self, s, level, n, &t, &last);
    printf("%" PRId64 " graphs of %" PRId64 " nodes, in double and in float on", t.graphs, t.nodes);
    for (int i = 0; i < n; i++)
        printf("%s %s", i ? "," : "", level[i]);
    printf("\ndifferences: %" PRId64 " directions, %" PRId64 " of them at kinks (left out), %"
           PRId64 " graphs with nothing else; worst error %.2g of what is allowed\n",
           t.directions, t.kinks, t.blind, t.worst_difference);
    printf("float: worst error %.2g of what rounding explains\n", t.worst_float);
    if ((double)t.kinks > FEW_KINKS * (double)t.directions)
        complain(&t, 0, "double", "too many kinks");
    const int unused = t.graphs >= ENOUGH ? print_unused(&last) : 0;
    if (unused > 0)
        complain(&t, 0, "all", "%d ops or losses were never used", unused);
    if (t.failed)
        printf("%d failures; `graph SEED` prints one graph\n", t.failed);
    return t.failed == 0 && t.graphs > 0;
}

bool compare_planted(const char *self)
{
    static head last;
    const char *level[1] = { "ref" };
    const seeds s = { 1, 21, NULL };
    tally t[4] = { 0 };
    for (int p = PLANT_NONE; p <= PLANT_FORWARD; p++) {
        graph_plant = (planted)p;
        t[p].quiet = p != PLANT_NONE;
        run_children(self, s, level, 1, &t[p], &last);
    }
    printf("of 20 graphs with a fault of 1 %% each: backward found in %d by differences, backward "
           "of float found in %d, forward of float in %d\n", t[PLANT_BOTH].found_backward,
           t[PLANT_FLOAT].found_gradient, t[PLANT_FORWARD].found_value);
    return t[PLANT_NONE].failed == 0 && t[PLANT_BOTH].found_backward >= 19 &&
           t[PLANT_FLOAT].found_gradient >= 19 && t[PLANT_FORWARD].found_value == 20;
}
