#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures of random arrays against scikit-learn, scipy and numpy.

    measures.py CLIENT [SEED..]     CLIENT is build-test/tests/peer/measures"""
import os
import subprocess
import sys
import tempfile

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from sklearn import metrics


def job(seed):
    """Arrays of one run; sizes, classes and how coarse the scores are differ from seed to seed."""
    g = np.random.default_rng(seed)
    n, d, classes = int(g.integers(40, 300)), int(g.integers(2, 60)), int(g.integers(4, 12))
    truth = np.concatenate([np.arange(classes), g.integers(classes, size=n - classes)])
    called = np.where(g.random(n) < g.random(), truth, g.integers(classes, size=n))
    centre = g.normal(size=(classes, d))
    return {
        'a': (centre[truth] + g.normal(size=(n, d))).astype(np.float32),
        'b': (centre[truth] + g.normal(size=(n, d)) + 0.3).astype(np.float32),
        'truth': truth.astype(np.int32), 'called': called.astype(np.int32),
        'score': np.round((truth == truth[0]) + g.normal(size=n), int(g.integers(1, 4))),
        'scores': g.normal(size=(n, classes)).astype(np.float32),
    }


def entropy_rank(z, epsilon):
    s = np.linalg.svd(z, compute_uv=False)
    s = s[s > 1e-7 * s[0]] if epsilon == 0 else s
    p = s / s.sum() + epsilon
    return float(np.exp(-(p * np.log(p)).sum()))


def expected(j):
    truth, called = j['truth'], j['called']
    a, b = (j[k].astype(np.float64) for k in 'ab')
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    right = np.take_along_axis(truth[:, None] == truth[None, :], np.argsort(-(u @ v.T), 1), 1)
    first, R, places = right.argmax(1), right.sum(1), np.arange(1, len(a) + 1)
    precision = right * np.cumsum(right, 1) / places * (places <= R[:, None])
    table = metrics.cluster.contingency_matrix(truth, called)
    rows, columns = linear_sum_assignment(-table)
    return {
        'r1': (first < 1).mean(), 'r5': (first < 5).mean(), 'mrr': (1 / (first + 1)).mean(),
        'map_r': (precision.sum(1) / R).mean(),
        'accuracy': metrics.accuracy_score(truth, called),
        'macro_f1': metrics.f1_score(truth, called, average='macro'),
        'top3': metrics.top_k_accuracy_score(truth, j['scores'], k=3),
        'auc': metrics.roc_auc_score(truth == truth[0], j['score']),
        'spearman': spearmanr(j['score'], truth).statistic,
        'nmi': metrics.normalized_mutual_info_score(truth, called),
        'ari': metrics.adjusted_rand_score(truth, called),
        'matched': table[rows, columns].sum() / len(truth),
        'alignment': ((u - v) ** 2).sum(1).mean(),
        'uniformity': np.log(np.exp(-2 * pdist(u, 'sqeuclidean')).mean()),
        'gap': np.linalg.norm(u.mean(0) - v.mean(0)),
        'rankme': entropy_rank(a, 1e-7), 'rank': entropy_rank(a - a.mean(0), 0),
    }


def main():
    client, seeds = sys.argv[1], [int(s) for s in sys.argv[2:]] or range(1, 41)
    bad, worst = 0, {}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'job.npz')
        for seed in seeds:
            arrays = job(seed)
            np.savez(path, **arrays)
            out = subprocess.run([client, path], check=True, capture_output=True, text=True).stdout
            found = {name: float(value) for name, value in map(str.split, out.splitlines())}
            for name, value in expected(arrays).items():
                error = abs(found[name] - value) / max(1, abs(value))
                worst[name] = max(worst.get(name, 0), error)
                if not error < 5e-6:
                    print(f'seed {seed}: {name} is {found[name]:.12g}, not {value:.12g}')
                    bad += 1
    print(f'{len(seeds)} jobs, {len(worst)} measures, largest error '
          f'{max(worst.values()):.1e} ({max(worst, key=worst.get)})')
    sys.exit(1 if bad else 0)


main()
