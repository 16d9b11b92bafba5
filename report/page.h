/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of a page share. Its data are one JSON object, which the script of the page draws:
 *
 *   title, made, notes [text], settings {..}
 *   runs   [{name, lines [{event, detail, name: number, ..}]}]
 *   study  [lines of study.jsonl]
 *   map    {n, total, d, k, what, row [n], label [n], classes [text], caption [text], pca, tsne
 *          [x, y, ..] as whole numbers to 5000, share [2], divergence, perplexity, near [n k],
 *          cosine [n k] thousandths, pictures {url, height, width, columns}}
 */
#ifndef AK_REPORT_PAGE_H
#define AK_REPORT_PAGE_H

#include <jansson.h>

#include <akin/page.h>

#include "io/file.h"

typedef struct ak__draft {
    ak_ctx     *ctx;
    const char *folder;
    ak_page_options o;
    json_t     *root, *notes;
    int64_t     lines_most;     /* of all runs together */
} ak__draft;

/* A note that stands on the page. */
void ak__page_note(ak__draft *d, const char *format, ...) AK_PRINTF(2, 3);
/* Put a member into an object; takes the value. False: out of memory, recorded. */
bool ak__page_put(ak__draft *d, json_t *object, const char *name, json_t *value);
/* A copy without what is too long, too deep or too much for a page. */
json_t *ak__page_clip(const json_t *value, int depth);
/* Text of a page: cut, and what is no UTF-8 replaced. */
json_t *ak__page_string(const char *text, size_t n);

/* "runs", "study", "settings". False: an error is recorded. found: whether there was something. */
bool ak__page_runs(ak__draft *d, bool *found);
bool ak__page_study(ak__draft *d, bool *found);
/* "map". */
bool ak__page_map(ak__draft *d, bool *found);

/* page_files.c, made of page.html, page.css and page.js. */
extern const unsigned char ak__page_html[], ak__page_css[], ak__page_js[];
extern const size_t ak__page_html_size, ak__page_css_size, ak__page_js_size;

#endif
