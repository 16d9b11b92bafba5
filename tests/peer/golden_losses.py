#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden files of losses with other shapes and options than those in tests/golden, from PyTorch.

Usage: golden_losses.py FOLDER [SEED]      then AK_GOLDEN_DIR=FOLDER test_golden_losses
       golden_losses.py --check FOLDER     are these formulas those of the files there?

A set sK holds inputs, options, losses and gradients under the keys of tests/golden. Formulas are
written out over whole matrices of scores, from the papers.
"""
import sys

import numpy
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def unit(x):
    return F.normalize(x, dim=-1, eps=1e-12)


def without_self(scores):
    return scores.masked_fill(torch.eye(len(scores), dtype=torch.bool), -torch.inf)


def ntxent(za, zb, tau):
    z = unit(torch.cat([za, zb]))
    other = torch.arange(len(z)).roll(len(za))
    return F.cross_entropy(without_self(z @ z.T / tau), other)


def clip(image, text, logit_scale, a=0.5, b=0.5):
    scores, diagonal = logit_scale.exp() * unit(image) @ unit(text).T, torch.arange(len(image))
    return a * F.cross_entropy(scores, diagonal) + b * F.cross_entropy(scores.T, diagonal)


def siglip(image, text, logit_scale, logit_bias):
    scores = logit_scale.exp() * unit(image) @ unit(text).T + logit_bias
    return -F.logsigmoid((2 * torch.eye(len(image)) - 1) * scores).sum() / len(image)


def dcl_one(a, b, tau, sigma=None, through=False):
    """One direction; sigma: the weights of DCLW."""
    a, b = unit(a), unit(b)
    positive = (a * b).sum(1)
    negatives = torch.cat([without_self(a @ b.T), without_self(a @ a.T)], 1) / tau
    weight = 1
    if sigma is not None:
        weight = 2 - len(a) * torch.softmax(positive / sigma, 0)
        weight = weight if through else weight.detach()
    return (-weight * positive / tau + negatives.logsumexp(1)).mean()


def supcon(z, labels, tau, base, one):
    N, V, _ = z.shape
    rows = unit(z).transpose(0, 1).reshape(N * V, -1)           # view by view
    label = labels.repeat(V)
    log_p = torch.log_softmax(without_self(rows @ rows.T / tau), 1)
    same = (label[:, None] == label).fill_diagonal_(False)
    count = same.sum(1)
    loss = -torch.where(same, log_p, 0).sum(1) / count.clamp(min=1) * tau / base
    return loss[:N].mean() if one else loss.mean()


def uniformity(x, t):
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")[
        tuple(torch.triu_indices(len(x), len(x), 1))]
    return (-t * distance ** 2).exp().mean().log()


def gap(image, text, logit_scale, opt, clip_too, terms):
    x, y, loss = unit(image), unit(text), 0
    if clip_too:
        loss = clip(image, text, logit_scale, opt["weight_i2t"], opt["weight_t2i"])
    if terms > 0:
        both = (uniformity(x, opt["kernel_t"]) + uniformity(y, opt["kernel_t"])) / 2
        loss = loss + opt["weight_uniformity"] * both
    if terms > 1:
        loss = loss + opt["weight_alignment"] * ((x - y) ** 2).sum(1).mean()
    if terms > 2:
        distance = ((x[:, None] - y) ** 2).sum(2)
        off = ~torch.eye(len(x), dtype=torch.bool)
        loss = loss + opt["weight_cross_uniformity"] * (
            -opt["kernel_t"] * distance[off]).exp().mean().log()
    return loss


class Record:
    """What a file holds. Made: inputs come from `given`; checked: from the arrays there."""

    def __init__(self, arrays=None):
        self.there, self.arrays = arrays, {}

    def take(self, key, make):
        value = make() if self.there is None else torch.tensor(self.there[key])
        self.arrays[key] = numpy.asarray(value)
        return value

    def has(self, key):
        return self.there is None or key in self.there

    def result(self, name, loss, leaves):
        """Loss under <name>loss, gradients under <name>g_<leaf>."""
        grads = torch.autograd.grad(loss, list(leaves.values()))
        self.arrays[f"{name}loss"] = loss.detach().numpy()
        for leaf, grad in zip(leaves, grads):
            self.arrays[f"{name}g_{leaf}"] = grad.numpy()


def leaf(x):
    return x.clone().requires_grad_()


def build(name, r, shapes, g):
    """Fills one file from a record; shapes: of the sets, (N, D) or (N, V, D)."""
    normal = lambda *shape: (lambda: torch.randn(shape, generator=g))
    number = lambda lo, hi: (lambda: lo + (hi - lo) * torch.rand((), generator=g))
    opt = {}
    if name == "contrastivegap":
        for key, lo, hi in (("kernel_t", 1, 3), ("weight_i2t", 0.2, 0.8), ("weight_t2i", 0.2, 0.8),
                            ("weight_uniformity", 0.1, 1), ("weight_alignment", 0.1, 1),
                            ("weight_cross_uniformity", 0.1, 1)):
            opt[key] = float(r.take(f"opt_{key}", number(lo, hi)))
    for s, shape in enumerate(shapes):
        k = f"s{s}_"
        if name in ("simclr", "dcl"):
            z = {n: leaf(r.take(k + n, normal(*shape))) for n in ("za", "zb")}
            tau = r.take(k + "tau", number(0.05, 1))
        if name == "simclr":
            r.result(k, ntxent(z["za"], z["zb"], tau), z)
        if name == "dcl":
            sigma = r.take(k + "sigma", number(0.2, 1))
            pairs = ((z["za"], z["zb"]), (z["zb"], z["za"]))
            r.result(k + "dcl_", sum(dcl_one(a, b, tau) for a, b in pairs) / 2, z)
            r.result(k + "dclw_", sum(dcl_one(a, b, tau, sigma) for a, b in pairs) / 2, z)
            r.result(k + "dclw_through_", sum(dcl_one(a, b, tau, sigma, True) for a, b in pairs), z)
        if name in ("clip", "siglip"):
            z = {n: leaf(r.take(k + n, normal(*shape))) for n in ("image", "text")}
            z["logit_scale"] = leaf(r.take(k + "logit_scale", number(0, 3)))
            if name == "siglip":
                z["logit_bias"] = leaf(r.take(k + "logit_bias", number(-10, 1)))
            r.result(k, (clip if name == "clip" else siglip)(*z.values()), z)
        if name == "contrastivegap":
            for kind, with_clip, terms in (("clip", True, 0), ("cu", True, 1), ("cua", True, 2),
                                           ("cuaxu", True, 3), ("uaxu_only", False, 3)):
                z = {n: leaf(r.take(f"{k}{kind}_{n}", normal(*shape))) for n in ("image", "text")}
                scale = r.take(f"{k}{kind}_logit_scale", number(0, 3))
                r.result(f"{k}{kind}_", gap(*z.values(), scale, opt, with_clip, terms), z)
        if name == "supcon":
            whole = lambda: torch.randint(0, 3, shape[:1], generator=g)
            supcon_set(r, k, ("all_", "one_"), normal(*shape), whole, number)
    if name == "supcon" and r.has("edge_z"):
        labels = lambda: torch.tensor([4, 0, 4, 2, 9])
        supcon_set(r, "edge_", ("",), normal(5, 1, 4), labels, number)


def supcon_set(r, k, modes, z_of, labels_of, number):
    z = {"z": leaf(r.take(k + "z", z_of))}
    labels = r.take(k + "labels", labels_of)
    tau, base = r.take(k + "tau", number(0.05, 1)), r.take(k + "base", number(0.05, 1))
    for mode in modes:
        r.result(k + mode, supcon(z["z"], labels, tau, base, mode == "one_"), z)


SHAPES = {
    "simclr": ((2, 3), (3, 1), (33, 20), (70, 5)),
    "dcl": ((2, 1), (3, 7), (35, 18), (66, 3)),
    "clip": ((1, 2), (2, 1), (17, 33), (70, 4)),
    "siglip": ((1, 3), (2, 1), (19, 34), (67, 5)),
    "contrastivegap": ((2, 3), (18, 5), (41, 17)),
    "supcon": ((2, 2, 3), (3, 4, 1), (20, 1, 9), (23, 3, 17)),
}


def main():
    if sys.argv[1] != "--check":
        g = torch.Generator().manual_seed(int(sys.argv[2]) if len(sys.argv) > 2 else 1)
        for name, shapes in SHAPES.items():
            r = Record()
            build(name, r, shapes, g)
            numpy.savez(f"{sys.argv[1]}/{name}.npz", **r.arrays)
        return 0
    bad = 0
    for name in SHAPES:
        there = numpy.load(f"{sys.argv[2]}/{name}.npz")
        r = Record(there)
        sets = [None for s in range(99) if any(k.startswith(f"s{s}_") for k in there.files)]
        shapes = [there[f"s{s}_z"].shape if name == "supcon" else (0, 0) for s in range(len(sets))]
        build(name, r, shapes, torch.Generator())
        for key, value in r.arrays.items():
            error = numpy.abs(value - there[key]).max() / max(1, numpy.abs(there[key]).max())
            if not error < 1e-12:
                print(f"{name}: {key}: {error:.1e}")
                bad += 1
        print(f"{name}: {len(r.arrays)} arrays")
    return bad > 0


sys.exit(main())
