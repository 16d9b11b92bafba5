/* SPDX-License-Identifier: Apache-2.0 */
/* Measures of the arrays in an npz file, for measures.py: one line "name value" each.
 *
 *     measures JOB        JOB (npz) holds a, b [N, D], truth, called [N], score [N], scores [N, C]
 */
#include <akin/akin.h>

#include <stdio.h>
#include <stdlib.h>

static ak_ctx *ctx;
static ak_npz *job;

static const ak_array *array(const char *name)
{
    const ak_array *a = ak_npz_find(job, name);
    if (!a) {
        fprintf(stderr, "measures: the job holds no %s\n", name);
        exit(2);
    }
    return a;
}

static void print(const char *name, ak_measure m)
{
    printf("%s %.17g\n", name, m.value);
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: measures JOB\n");
        return 2;
    }
    ctx = ak_open((ak_options){ .seed = 1 });
    job = ak_npz_open(ctx, argv[1]);
    const ak_tensor *a = ak_array_tensor(ctx, array("a")), *b = ak_array_tensor(ctx, array("b"));
    const ak_tensor *scores = ak_array_tensor(ctx, array("scores"));
    const int32_t *truth = ak_array_index(ctx, array("truth"))->data;
    const int32_t *called = ak_array_index(ctx, array("called"))->data;
    const ak_array *given = array("score");
    const int64_t n = a->shape.dims[0];
    double *score = malloc((size_t)n * sizeof *score), *other = malloc((size_t)n * sizeof *other);
    int32_t *positive = malloc((size_t)n * sizeof *positive);
    for (int64_t i = 0; score && other && positive && i < n; i++) {
        score[i] = ak_array_at(given, i);
        other[i] = truth[i];
        positive[i] = truth[i] == truth[0];
    }
    const ak_bootstrap_options quick = { .resamples = 100 };
    const ak_label_options labels = { .bootstrap = quick };
    const ak_rank_options plain = { .groups = AK_NONE };
    const ak_retrieval r = ak_eval_retrieval(a, b, (ak_retrieval_options){
        .query_id = truth, .gallery_id = truth, .bootstrap = quick });
    const ak_clustering c = ak_eval_clusters(ctx, truth, called, n, 0);
    print("r1", r.r1);
    print("r5", r.r5);
    print("mrr", r.mrr);
    print("map_r", r.map_r);
    print("accuracy", ak_eval_accuracy(ctx, truth, called, n, labels));
    print("macro_f1", ak_eval_macro_f1(ctx, truth, called, n, quick));
    print("top3", ak_eval_top_k(scores, truth, 3, labels));
    print("auc", ak_eval_auc(ctx, score, positive, n, quick));
    print("spearman", ak_eval_spearman(ctx, score, other, n, quick));
    print("nmi", c.nmi);
    print("ari", c.ari);
    print("matched", c.accuracy);
    print("alignment", ak_measure_alignment(a, b, quick));
    print("uniformity", ak_measure_uniformity(a, 0));
    print("gap", ak_measure_modality_gap(a, b, 0));
    print("rankme", ak_measure_rankme(a, plain));
    print("rank", ak_measure_effective_rank(a, plain));
    free(positive);
    free(other);
    free(score);
    ak_close(ctx);
    return 0;
}
