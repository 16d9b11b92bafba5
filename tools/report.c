/* SPDX-License-Identifier: Apache-2.0 */
/* akin report: a run or a study as one HTML page. */
#include "tool.h"

#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: akin report FOLDER [--out FILE] [--points N] [--perplexity X]\n"
    "FOLDER  of a run or a study: metrics.jsonl, study.jsonl, embedding.npz (docs/REPORT.md)\n"
    "FILE    FOLDER/report.html\n";

/* One option and its value; false: it is none. */
static bool read_option(ak_page_options *o, const char *name, const char *value)
{
    char *end = NULL;
    if (!value || !*value)
        return false;
    if (strcmp(name, "--out") == 0) {
        o->path = value;
        return true;
    }
    if (strcmp(name, "--points") == 0) {
        const long n = strtol(value, &end, 10);
        o->points = n > 0 && n <= 5000 ? (int)n : 0;
        return !*end && o->points > 0;
    }
    if (strcmp(name, "--perplexity") == 0) {
        o->perplexity = strtod(value, &end);
        return !*end && o->perplexity > 1;
    }
    return false;
}

int report_command(ak_ctx *ctx, int argc, char **argv)
{
    ak_page_options o = { 0 };
    const char     *folder = NULL;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0 && !folder) {
            folder = argv[i];
        } else if (read_option(&o, argv[i], i + 1 < argc ? argv[i + 1] : NULL)) {
            i++;
        } else {
            fprintf(stderr, "akin: \"%s\" is not understood\n%s", argv[i], usage);
            return 2;
        }
    }
    if (!folder) {
        fputs(usage, stderr);
        return 2;
    }
    const ak_page *page = ak_page_write(ctx, folder, o);
    for (int i = 0; page->notes[i]; i++)
        fprintf(stderr, "akin: %s\n", page->notes[i]);
    printf("%s  %.2f MB\n", page->path, (double)page->bytes / 1e6);
    return 0;
}
