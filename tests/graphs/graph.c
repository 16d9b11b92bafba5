/* SPDX-License-Identifier: Apache-2.0 */
/* graph SEED                     print one graph, its results, and how far builds are apart
 * graph --check FROM TO [FILE]   compare graphs FROM .. TO-1 and those of a file of seeds
 * graph --json FROM TO [FILE]    the same graphs and their results in double, one line each
 * graph --planted                are planted faults found?
 *
 * AK_GRAPH_SEEDS=from-to takes the place of FROM and TO; AK_CPU restricts float to one instruction
 * set. */
#include "graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static int usage(void)
{
    fputs("usage: graph SEED | --check FROM TO [FILE] | --json FROM TO [FILE] | --planted\n",
          stderr);
    return 2;
}

static seeds seeds_of(char **argv)
{
    seeds s = { strtoull(argv[0], NULL, 10), strtoull(argv[1], NULL, 10), NULL };
    const char *asked = getenv("AK_GRAPH_SEEDS");
    if (asked && sscanf(asked, "%" SCNu64 "-%" SCNu64, &s.from, &s.to) == 2)
        s.to++;
    return s;
}

static int write_json(seeds s)
{
    seed_reader reader = seeds_open(s);
    for (uint64_t seed; seeds_next(&reader, &seed);) {
        graph *g = graph_make(seed);
        run r;
        run_graph(g, (run_options){ 0 }, &r);
        graph_json(g, &r, stdout);
        run_free(&r);
        graph_free(g);
    }
    return fflush(stdout) || ferror(stdout) ? 1 : 0;
}

static void print_results(const graph *g)
{
    run r;
    run_graph(g, (run_options){ 0 }, &r);
    for (int i = 0; i < r.n; i++) {
        printf("%s of %%%d:", r.results[i].what, r.results[i].node);
        for (int64_t j = 0; j < r.results[i].size && j < 6; j++)
            printf(" %.9g", r.results[i].values[j]);
        printf("%s\n", r.results[i].size > 6 ? " .." : "");
    }
    if (r.error[0])
        printf("error: %s\n", r.error);
    run_free(&r);
}

static int print_one(const char *self, const char *text)
{
    char *end;
    const uint64_t seed = strtoull(text, &end, 10);
    if (*end || end == text)
        return usage();
    graph *g = graph_make(seed);
    graph_print(g, stdout);
    print_results(g);
    graph_free(g);
    return compare_all(self, (seeds){ seed, seed + 1, NULL }) ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--planted") == 0)
        return compare_planted(argv[0]) ? 0 : 1;
    if (argc == 2)
        return print_one(argv[0], argv[1]);
    if (argc < 4)
        return usage();
    seeds s = seeds_of(argv + 2);
    s.file = argc > 4 ? argv[4] : NULL;
    if (strcmp(argv[1], "--json") == 0)
        return write_json(s);
    if (strcmp(argv[1], "--check") == 0)
        return compare_all(argv[0], s) ? 0 : 1;
    if (strcmp(argv[1], "--send") == 0 && argc > 4) {
        graph_plant = (planted)atoi(argv[4]);
        s.from = strtoull(argv[2], NULL, 10);
        s.to = strtoull(argv[3], NULL, 10);
        s.file = argc > 5 ? argv[5] : NULL;
        compare_send(s, stdout);
        return 0;
    }
    return usage();
}
