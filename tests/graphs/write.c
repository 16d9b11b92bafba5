/* SPDX-License-Identifier: Apache-2.0 */
/* A graph as lines for people, and as one line of JSON for tests/peer/graphs.py. */
#include "graph.h"

#include <math.h>
#include <string.h>

static const char *title_of(const graph_node *n) { return n->title ? n->title : n->kind->name; }

/* ---- for people ------------------------------------------------------------------------------ */

static void print_list(const graph_list *l, FILE *f)
{
    const int64_t size = ak_shape_size(l->shape);
    fprintf(f, " %s=[", l->name);
    for (int64_t i = 0; i < size && i < 12; i++)
        fprintf(f, "%s%d", i ? " " : "", (int)l->values[i]);
    fprintf(f, "%s]", size > 12 ? " .." : "");
}

static void print_node(const graph *g, int x, FILE *f)
{
    char text[160];
    const graph_node *n = &g->nodes[x];
    fprintf(f, "%%%d = ", x);
    if (n->kind == &kind_leaf)
        fprintf(f, "%s in [%g, %g]", !n->needs_grad ? n->state ? "state" : "constant"
                                     : n->param     ? "parameter"
                                                    : "leaf", n->lo, n->hi);
    else
        fprintf(f, "%s%s", title_of(n), n->title ? " (sample)" : "");
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            fprintf(f, " %%%d", n->in[i]);
        else
            fprintf(f, " -");
    for (int i = 0; i < n->n_options; i++)
        fprintf(f, " %s=%g", n->options[i].name, n->options[i].value);
    for (int i = 0; i < n->n_lists; i++)
        print_list(&n->lists[i], f);
    fprintf(f, "  -> %s%s\n", ak_shape_text(n->shape, text),
            n->done == 1 ? ", done with" : n->done == 2 ? ", done with, made again" : "");
}

void graph_print(const graph *g, FILE *f)
{
    fprintf(f, "graph %llu\n", (unsigned long long)g->seed);
    for (int x = 0; x < g->n_nodes; x++) {
        print_node(g, x, f);
        for (int p = 0; p < g->n_passes; p++)
            if (g->passes[p].after == x)
                fprintf(f, "backward from %%%d\n", g->passes[p].node);
    }
}

/* ---- for Python ------------------------------------------------------------------------------ */

static void json_numbers(const double *v, int64_t size, FILE *f)
{
    putc('[', f);
    for (int64_t i = 0; i < size; i++) {
        if (i)
            putc(',', f);
        if (isfinite(v[i]))
            fprintf(f, "%.17g", v[i]);
        else
            fputs(isnan(v[i]) ? "NaN" : v[i] > 0 ? "Infinity" : "-Infinity", f);
    }
    putc(']', f);
}

static void json_shape(ak_shape s, FILE *f)
{
    putc('[', f);
    for (int i = 0; i < s.n; i++)
        fprintf(f, "%s%lld", i ? "," : "", (long long)s.dims[i]);
    putc(']', f);
}

static void json_lists(const graph_node *n, FILE *f)
{
    for (int i = 0; i < n->n_lists; i++) {
        const graph_list *l = &n->lists[i];
        fprintf(f, "%s\"%s\":{\"shape\":", i ? "," : "", l->name);
        json_shape(l->shape, f);
        fputs(",\"values\":[", f);
        for (int64_t j = 0; j < ak_shape_size(l->shape); j++)
            fprintf(f, "%s%d", j ? "," : "", (int)l->values[j]);
        fputs("]}", f);
    }
}

/* A random op's numbers are part of what it computes: its result stands beside it. */
static void json_node(const graph *g, const run *r, int x, FILE *f)
{
    const graph_node *n = &g->nodes[x];
    fprintf(f, "%s{\"op\":\"%s\",\"sample\":%s,\"in\":[", x ? "," : "", title_of(n),
            n->title ? "true" : "false");
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0)
            fprintf(f, "%s%d", i ? "," : "", n->in[i]);
        else
            fprintf(f, "%snull", i ? "," : "");
    fputs("],\"options\":{", f);
    for (int i = 0; i < n->n_options; i++)
        fprintf(f, "%s\"%s\":%.17g", i ? "," : "", n->options[i].name, n->options[i].value);
    fputs("},\"lists\":{", f);
    json_lists(n, f);
    fputs("},\"shape\":", f);
    json_shape(n->shape, f);
    if (n->values) {
        fprintf(f, ",\"needs_grad\":%s,\"values\":", n->needs_grad ? "true" : "false");
        json_numbers(n->values, ak_shape_size(n->shape), f);
    }
    if ((n->kind->flags & KIND_RANDOM) && run_find(r, "value", x)) {
        fputs(",\"drawn\":", f);
        json_numbers(run_find(r, "value", x)->values, ak_shape_size(n->shape), f);
    }
    putc('}', f);
}

void graph_json(const graph *g, const run *r, FILE *f)
{
    fprintf(f, "{\"seed\":%llu,\"error\":\"%s\",\"nodes\":[", (unsigned long long)g->seed,
            r->error[0] ? "failed" : "");
    for (int x = 0; x < g->n_nodes; x++)
        json_node(g, r, x, f);
    fputs("],\"passes\":[", f);
    for (int p = 0; p < g->n_passes; p++) {
        fprintf(f, "%s{\"node\":%d,\"dy\":", p ? "," : "", g->passes[p].node);
        json_numbers(g->passes[p].dy, ak_shape_size(g->nodes[g->passes[p].node].shape), f);
        putc('}', f);
    }
    fputs("],\"results\":[", f);
    for (int i = 0; i < r->n; i++) {
        fprintf(f, "%s{\"what\":\"%s\",\"node\":%d,\"values\":", i ? "," : "", r->results[i].what,
                r->results[i].node);
        json_numbers(r->results[i].values, r->results[i].size, f);
        putc('}', f);
    }
    fputs("]}\n", f);
}
