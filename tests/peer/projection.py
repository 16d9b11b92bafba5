#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PCA and t-SNE beside scikit-learn's. Usage: projection.py PROJECT (build/tests/peer/project)

PCA must agree up to signs; t-SNE must keep neighbours (trustworthiness) at least as well as
scikit-learn's exact one with the same start, on the same 50 directions, less 0.005; less 0.03 for
noise, where neighbours in the plane are chance and the optimum does not keep them best.
"""
import os
import subprocess
import sys
import tempfile

import numpy
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE, trustworthiness

bad = 0
random = numpy.random.default_rng(5)
digits = load_digits().data[:800] / 16
for name, x in {"digits": digits, "noise": random.normal(size=(300, 40)),
                "wide": random.normal(size=(60, 700))}.items():
    x = x.astype("f4")
    with tempfile.TemporaryDirectory() as folder:
        into, out = os.path.join(folder, "x.npy"), os.path.join(folder, "y.npz")
        numpy.save(into, x)
        subprocess.run([sys.argv[1], into, out], check=True)
        ours = dict(numpy.load(out))
    pca = PCA(5, svd_solver="full").fit(x.astype("f8"))
    theirs = pca.transform(x)
    signs = numpy.sign((ours["pca"] * theirs).sum(0))
    far = abs(ours["pca"] * signs - theirs).max() / abs(theirs).max()
    share = abs(ours["share"] - pca.explained_variance_ratio_).max()
    perplexity = min(30, (len(x) - 1) / 3)
    few = PCA(50, svd_solver="full").fit_transform(x) if x.shape[1] > 50 else x
    plane = TSNE(init="pca", method="exact", perplexity=perplexity,
                 random_state=0).fit_transform(few)
    kept = trustworthiness(x, ours["tsne"], n_neighbors=10)
    kept_there = trustworthiness(x, plane, n_neighbors=10)
    room = 0.005 if name == "digits" else 0.03
    good = far < 1e-5 and share < 1e-5 and kept >= kept_there - room
    bad += not good
    print(f"{name:8} pca {far:.1e}  share {share:.1e}  trustworthiness {kept:.4f}, "
          f"scikit-learn {kept_there:.4f}{'' if good else '  WRONG'}")
sys.exit(bad > 0)
