/* SPDX-License-Identifier: Apache-2.0 */
/* The measures of this folder, to be listed and found by name. */
#include <string.h>

#include "base/base.h"
#include "eval/eval.h"

static const ak_metric_info metrics[] = {
    { "knn", "share of test items that the votes of their k nearest training items get right",
      "ak_eval_knn", "Wu et al., CVPR 2018" },
    { "linear", "share of test items that softmax regression on frozen features gets right",
      "ak_eval_linear", "Zhang, Isola, Efros, ECCV 2016" },
    { "contrastive", "share of rows whose best match in the batch is their partner",
      "ak_eval_contrastive", "Chen et al., ICML 2020" },
    { "alignment", "mean squared distance of partners on the unit sphere; lower is closer",
      "ak_eval_alignment", "Wang, Isola, ICML 2020" },
    { "uniformity", "log mean exp(-2 squared distance) of all pairs; lower is more even",
      "ak_eval_uniformity", "Wang, Isola, ICML 2020" },
    { "modality gap", "distance of the mean unit rows of two kinds", "ak_measure_modality_gap",
      "Liang et al., NeurIPS 2022" },
    { "RankMe", "exp of the entropy of the singular values: directions that are used",
      "ak_measure_rankme", "Garrido et al., ICML 2023" },
    { "effective rank", "the same of rows less their mean: directions that rows vary in",
      "ak_measure_effective_rank", "Roy, Vetterli, EUSIPCO 2007" },
    { "accuracy", "share of items whose predicted label is the true one", "ak_eval_accuracy", "" },
    { "top-k", "share of items whose true class is among the k best scores", "ak_eval_top_k", "" },
    { "zero-shot", "cosines of rows and the mean direction of each class's prompts",
      "ak_zero_shot_scores", "Radford et al., ICML 2021" },
    { "macro F1", "mean over classes of the harmonic mean of precision and recall",
      "ak_eval_macro_f1", "van Rijsbergen, 1979" },
    { "AUC", "chance that a positive item scores higher than a negative one", "ak_eval_auc",
      "Hanley, McNeil, Radiology 1982" },
    { "Spearman", "correlation of ranks", "ak_eval_spearman", "Spearman, 1904" },
    { "clusters", "NMI, ARI and accuracy under the best matching of clusters to classes",
      "ak_eval_clusters", "Strehl, Ghosh, JMLR 2002; Hubert, Arabie, J. Classification 1985" },
    { "retrieval", "recall at 1, 5, 10, reciprocal rank and MAP@R of queries in a gallery, by id",
      "ak_eval_retrieval", "McSherry, Najork, ECIR 2008; Musgrave et al., ECCV 2020" },
};

const ak_metric_info *ak_metric_at(int i)
{
    return i >= 0 && i < (int)(sizeof metrics / sizeof *metrics) ? &metrics[i] : NULL;
}

const ak_metric_info *ak_metric_find(const char *name)
{
    if (!AK__GIVEN(NULL, name))
        return NULL;
    for (int i = 0; ak_metric_at(i); i++)
        if (strcmp(metrics[i].name, name) == 0)
            return &metrics[i];
    return NULL;
}
