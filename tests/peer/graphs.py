#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random graphs (tests/graphs) once more in PyTorch, in double: values and gradients must agree.

Usage: graph --json FROM TO | graphs.py

Each line of the input is a graph with its leaves and the results of akin's double build. OPS says
what each op is in PyTorch: an op that joins the library gets a line there. Ops without one, and
samples of ops (whose options are the library's own), leave out their graph; both are counted.
"""
import collections
import json
import math
import sys

import torch
import torch.nn.functional as F

TOLERANCE = 1e-9  # of the largest element of a tensor, or of all gradients of the graph
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def numbers(values):
    return torch.tensor(values, dtype=torch.float64)


class Node:
    """What a function of OPS sees: operands (None where absent), options, lists of numbers."""

    def __init__(self, record, operands):
        self.x = operands
        self.options = record["options"]
        self.lists = {
            name: torch.tensor(value["values"], dtype=torch.long).reshape(value["shape"])
            for name, value in record["lists"].items()
        }
        self.shape = record["shape"]
        self.record = record
        self.state = {}  # operand number -> what a running statistic became

    def __getitem__(self, name):
        return self.options.get(name, 0)

    def whole(self, name):
        return int(self.options.get(name, 0))

    def list(self, name):
        return self.lists.get(name)


# ---- layout: pictures are [N, H, W, C] here, [N, C, H, W] in PyTorch ---------------------------


def channels_first(x):
    return x.movedim(-1, 1)


def channels_last(x):
    return x.movedim(1, -1)


def conv2d(n):
    x, w, b = n.x
    y = F.conv2d(channels_first(x), channels_first(w), b, n.whole("stride"), n.whole("padding"),
                 n.whole("dilation"), n.whole("groups"))
    return channels_last(y)


def conv1d(n):
    x, w, b = n.x
    y = F.conv1d(channels_first(x), channels_first(w), b, n.whole("stride"), n.whole("padding"),
                 n.whole("dilation"), n.whole("groups"))
    return channels_last(y)


def conv2d_transposed(n):
    x, w, b = n.x
    y = transposed(channels_first(x), channels_first(w), b, n)
    return channels_last(y)


def transposed(x, w, b, n):
    # PyTorch limits output_padding by stride or dilation, as akin does.
    return F.conv_transpose2d(x, w, b, n.whole("stride"), n.whole("padding"),
                              n.whole("output_padding"), n.whole("groups"), n.whole("dilation"))


def pool(n, function, **more):
    y = function(channels_first(n.x[0]), n.whole("kernel"), n.whole("stride") or None,
                 n.whole("padding"), **more)
    return channels_last(y)


def adaptive(n):
    return channels_last(F.adaptive_avg_pool2d(channels_first(n.x[0]),
                                               (n.whole("oh"), n.whole("ow"))))


def resize(n):
    return channels_last(F.interpolate(channels_first(n.x[0]), (n.whole("oh"), n.whole("ow")),
                                       mode="bilinear", align_corners=False))


def gather(x, rows):
    return x[rows.reshape(-1)].reshape(list(rows.shape) + list(x.shape[1:]))


def scatter(n):
    x, rows = n.x[0], n.list("rows")
    y = x.new_zeros([n.whole("N")] + list(x.shape[1:]))
    return y.index_add(0, rows.reshape(-1), x)


def mask(n):
    s = n.x[0]
    size = s.shape[0]
    i = torch.arange(size)
    out = torch.zeros_like(s, dtype=torch.bool)
    if n.whole("rules") & 1:
        out[i, i] = True
    if n.whole("rules") & 2:
        out[i, (i + size // 2) % size] = True
    return softmax(s.masked_fill(out, -math.inf))


def softmax(s):
    """A row of only -inf gives zeros."""
    empty = (s == -math.inf).all(-1, keepdim=True)
    return torch.where(empty, 0.0, F.softmax(torch.where(empty, 0.0, s), -1))


def triangle(n):
    x = n.x[0]
    rows, columns = x.shape[-2:]
    i, j = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
    d = n.whole("diagonal")
    inside = j >= i + d if n["upper"] else j <= i + d
    return torch.where(inside, x, n["fill"])


def pair_diagonal(s):
    i = torch.arange(s.shape[0])
    return s[i, (i + s.shape[0] // 2) % s.shape[0]]


# ---- norms -------------------------------------------------------------------------------------


def group_norm(n):
    """F.group_norm refuses groups of one number."""
    x, w, b = n.x
    parts = channels_first(x).reshape(x.shape[0], n.whole("groups"), -1)
    var, mean = torch.var_mean(parts, -1, correction=0, keepdim=True)
    y = (parts - mean) / (var + (n["eps"] or 1e-5)).sqrt()
    y = channels_last(y.reshape(channels_first(x).shape))
    y = y if w is None else y * w
    return y if b is None else y + b


def batch_norm(n):
    """Weights are copied: PyTorch 2.13's backward reads them as if they were contiguous."""
    x, w, b, mean, var = n.x[:5]
    w, b = (None if t is None else t.contiguous() for t in (w, b))
    training = not n["evaluate"]
    momentum = {0: 0.1, -1: 0.0}.get(n["momentum"], n["momentum"])
    if mean is not None:
        mean, var = mean.clone(), var.clone()
    y = F.batch_norm(channels_first(x), mean, var, w, b, training or mean is None, momentum,
                     n["eps"] or 1e-5)
    y = channels_last(y)
    if mean is not None:
        n.state = {3: mean, 4: var}
    skip = n.x[5] if len(n.x) > 5 else None
    if skip is not None:
        y = y + skip
    return F.relu(y) if n["relu"] else y


# ---- losses on rows ----------------------------------------------------------------------------


def cross_entropy(n):
    target = n.list("target")
    ignored = n.whole("ignore_index") or -100
    return F.cross_entropy(n.x[0], target, ignore_index=ignored,
                           label_smoothing=n["label_smoothing"])


def kl_div(n):
    x, t = n.x
    return F.kl_div(F.log_softmax(x, -1), t, reduction="sum") / x.shape[0]


def cosine(a, b):
    return (a * b).sum(-1) / (a.norm(dim=-1).clamp(min=1e-8) * b.norm(dim=-1).clamp(min=1e-8))


def attention(n):
    q, k, v = n.x[:3]
    heads = n.whole("heads")
    if heads:
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scale = n["scale"] or 1 / math.sqrt(q.shape[-1])
    s = scale * q @ k.transpose(-1, -2)
    if len(n.x) > 3:
        s = s + n.x[3]
    Tq, Tk = s.shape[-2:]
    seen = torch.ones(s.shape, dtype=torch.bool)
    if n["causal"]:
        seen = seen & (torch.arange(Tk)[None, :] <= torch.arange(Tq)[:, None])
    if n.list("key_lengths") is not None:
        seen = seen & (torch.arange(Tk) < n.list("key_lengths")[:, None, None, None])
    if n.list("key_mask") is not None:
        seen = seen & (n.list("key_mask") != 0)[:, None, None, :]
    y = softmax(s.masked_fill(~seen, -math.inf)) @ v
    return y.transpose(1, 2).flatten(-2) if heads else y


# ---- contrastive losses, from their formulas ---------------------------------------------------


def unit(z, normalized):
    return z if normalized else z / z.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def rows_loss(s, allowed, weight, targets, anchors, smoothing):
    """sum_i w_i [T_i log sum_j v_ij exp(s_ij) - sum_j t_ij s_ij] / sum w."""
    if smoothing:
        has = (targets.sum(1, keepdim=True) != 0).double()
        count = allowed.double().sum(1, keepdim=True).clamp(min=1)
        targets = (1 - smoothing) * targets + smoothing * has * allowed / count
    shifted = torch.where(allowed, s + weight.clamp(min=1e-300).log(), -math.inf)
    none = ~allowed.any(1)
    total = torch.logsumexp(torch.where(none[:, None], 0.0, shifted), 1)
    mass = targets.sum(1)
    each = torch.where(mass != 0, mass * total, 0.0) - (targets * s).sum(1)
    whole = anchors.sum()
    return (anchors * each).sum() / whole if whole > 0 else (anchors * each).sum()


def shares(targets, allowed):
    kept = targets * allowed
    total = kept.sum(1, keepdim=True)
    return kept / torch.where(total > 0, total, 1.0)


def allowed_pairs(rows, columns, batch, N, ids, self_pairs=False, others=False):
    """Which column is a candidate of which row; the first `batch` columns are samples mod N."""
    a, b = torch.arange(rows) % N, torch.arange(columns) % N
    in_batch = (torch.arange(columns) < batch)[None, :]
    same = a[:, None] == b[None, :]
    out = torch.zeros(rows, columns, dtype=torch.bool)
    if self_pairs:
        out |= torch.arange(rows)[:, None] == torch.arange(columns)[None, :]
    if others:
        out |= in_batch & ~same
    if ids is not None:
        out |= in_batch & ~same & (ids[a][:, None] == ids[b][None, :])
        out |= (ids[a] == -1)[:, None] | (in_batch & (ids[b] == -1)[None, :])
    return ~out


def sample_weights(weights, ids, rows, N):
    w = weights if weights is not None else torch.ones(N)
    if ids is not None:
        w = torch.where(ids == -1, 0.0, w)
    return w[torch.arange(rows) % N]


def ntxent_rows(views, n, log_scale, weights):
    N, V = views[0].shape[0], len(views)
    u = unit(torch.cat(views), n["normalized"])
    scale = log_scale.exp() if log_scale is not None else 1 / (n["tau"] or 0.5)
    s = u @ u.T * scale
    ids = n.list("ids")
    allowed = allowed_pairs(V * N, V * N, V * N, N, ids, self_pairs=True)
    i = torch.arange(V * N)
    partners = ((i[:, None] % N == i[None, :] % N) & (i[:, None] != i[None, :])).double()
    return rows_loss(s, allowed, torch.ones_like(s), shares(partners, allowed),
                     sample_weights(weights, ids, V * N, N), n["label_smoothing"])


def ntxent(n, views):
    log_scale, weights = n.x[-2:]
    if not n["pair_sum"]:
        return ntxent_rows(views, n, log_scale, weights)
    return sum(ntxent_rows([a, b], n, log_scale, weights)
               for i, a in enumerate(views) for j, b in enumerate(views) if i != j)


def infonce_targets(n, N, M, C, allowed, batch):
    targets, listed = n.x[5], n.x[6]
    if n.list("labels") is not None:
        labels = n.list("labels")
        t = torch.zeros(N, C)
        t[:, :batch] = (labels[:, None] == labels[None, :]).double()
        return shares(t, allowed)
    if targets is not None:
        return targets * allowed
    t = torch.zeros(N, C)
    columns = n.list("target_columns")
    if columns is not None:
        w = listed if listed is not None else torch.full(columns.shape, 1 / columns.shape[1])
        return t.scatter_add(1, columns, w) * allowed
    i = torch.arange(N)
    t[i, i] = 1
    return t * allowed


def infonce(n):
    q, k, log_scale, weights, queue = n.x[:5]
    pair_weights = n.x[7]
    N, M = q.shape[0], k.shape[0]
    y = unit(k, n["normalized"])
    if queue is not None:
        y = torch.cat([y, unit(queue, n["normalized"])])
    C = y.shape[0]
    scale = log_scale.exp() if log_scale is not None else 1 / (n["tau"] or 0.07)
    s = unit(q, n["normalized"]) @ y.T * scale
    ids = n.list("ids")
    allowed = allowed_pairs(N, C, M, N, ids, others=bool(n["no_batch_negatives"]))
    v = pair_weights if pair_weights is not None else torch.ones_like(s)
    allowed = allowed & (v > 0)
    return rows_loss(s, allowed, v, infonce_targets(n, N, M, C, allowed, M),
                     sample_weights(weights, ids, N, N), n["label_smoothing"])


def clip(n):
    x, y, log_scale, weights = n.x[:4]
    pair_weights = n.x[7]
    N, M = x.shape[0], y.shape[0]
    scale = log_scale.exp() if log_scale is not None else 1 / (n["tau"] or 0.07)
    s = unit(x, n["normalized"]) @ unit(y, n["normalized"]).T * scale
    ids = n.list("ids")
    v = pair_weights if pair_weights is not None else torch.ones_like(s)
    allowed = allowed_pairs(N, M, M, N, ids) & (v > 0)
    t = infonce_targets(n, N, M, M, allowed, M)
    u = infonce_targets(n, M, N, N, allowed.T, N) if n.list("labels") is not None else t.T
    smoothing = n["label_smoothing"]
    return (rows_loss(s, allowed, v, t, sample_weights(weights, ids, N, N), smoothing)
            + rows_loss(s.T, allowed.T, v.T, u, sample_weights(weights, ids, M, N),
                        smoothing)) / 2


def supcon(n):
    z, weights, positives = n.x
    z = z[None] if z.dim() == 2 else z
    V, N = z.shape[:2]
    f = unit(z.reshape(V * N, -1), n["normalized"])
    rows = N if n["one"] else N * V
    tau = n["tau"] or 0.1
    s = f[:rows] @ f.T / tau
    ids, labels = n.list("ids"), n.list("labels")
    allowed = allowed_pairs(rows, N * V, N * V, N, ids, self_pairs=True)
    a, b = torch.arange(rows) % N, torch.arange(N * V) % N
    if labels is not None:
        t = (labels[a][:, None] == labels[b][None, :]).double()
    elif positives is not None:
        t = positives[a][:, b]
    else:
        t = (a[:, None] == b[None, :]).double()
    loss = rows_loss(s, allowed, torch.ones_like(s), shares(t, allowed),
                     sample_weights(weights, ids, rows, N), 0)
    return loss * (tau / n["base_tau"] if n["base_tau"] else 1)


def dcl(n, weighted):
    z1, z2, weights = n.x
    N = z1.shape[0]
    u = unit(torch.cat([z1, z2]), n["normalized"])
    s = u @ u.T / (n["tau"] or 0.1)
    ids, i = n.list("ids"), torch.arange(2 * N)
    others = (allowed_pairs(2 * N, 2 * N, 2 * N, N, ids, self_pairs=True)
              & (i[:, None] % N != i[None, :] % N))
    partner = pair_diagonal(s)
    if weighted:
        there = torch.ones(N, dtype=torch.bool) if ids is None else ids != -1
        c = (pair_diagonal(u @ u.T) / (n["sigma"] or 0.5)).reshape(2, N)
        share = torch.softmax(c.masked_fill(~there, -math.inf), 1)
        partner = partner * (2 - there.sum() * share).reshape(-1)
    some = others.any(1)
    negatives = torch.where(others, s, -math.inf)[some].logsumexp(1)
    w = sample_weights(weights, ids, 2 * N, N)
    each = negatives - partner[some]
    whole = w.sum()
    return (w[some] * each).sum() / (whole if whole > 0 else 1)


def siglip(n):
    x, y, log_scale, bias = n.x
    N, M = x.shape[0], y.shape[0]
    scale = log_scale.exp() if log_scale is not None else 1 / (n["tau"] or 0.1)
    s = unit(x, n["normalized"]) @ unit(y, n["normalized"]).T * scale
    s = s + (bias if bias is not None else -10.0)
    labels = n.list("labels")
    pairs = torch.eye(N, M, dtype=torch.bool)
    if labels is not None:
        pairs = labels[:, None] == labels[None, :]
    allowed = allowed_pairs(N, M, M, max(N, M), n.list("ids"))
    return -(F.logsigmoid(torch.where(pairs, s, -s)) * allowed).sum() / N


def uniformity(n):
    x, y = n.x[0], n.x[-1]
    dots = unit(x, n["normalized"]) @ unit(y, n["normalized"]).T
    off = ~torch.eye(len(x), dtype=torch.bool)
    return (-(n["t"] or 2) * (2 - 2 * dots[off])).logsumexp(0) - math.log(off.sum())


def alignment(n):
    x, y = (unit(t, n["normalized"]) for t in n.x)
    return (x - y).square().sum(1).mean()


# ---- order and segments ------------------------------------------------------------------------


def ordered(n, descending, count=None):
    axis = n.whole("axis")
    y = torch.sort(n.x[0], dim=axis, descending=bool(descending), stable=True).values
    return y if count is None else y.narrow(axis, 0, count)


def segments(reduce):
    def run(n):
        x, ids = n.x[0], n.list("ids")
        return torch.stack([reduce(x[ids == s]) for s in range(n.whole("count"))])
    return run


def segment_softmax(n):
    x, ids = n.x[0], n.list("ids")
    y = torch.zeros_like(x)
    for s in range(n.whole("count")):
        y = y.index_put((ids == s,), torch.softmax(x[ids == s], 0))
    return y


def compared(function):
    return lambda n: function(n.x[0], n.x[1]).double()


# ---- the table ---------------------------------------------------------------------------------


def unary(function):
    return lambda n: function(n.x[0])


def binary(function):
    return lambda n: function(n.x[0], n.x[1])


def over_axis(function):
    return lambda n: function(n.x[0], n.whole("axis"))


def drawn_factor(n):
    """Dropout's mask is akin's: elements that it zeroed, all others times 1 / (1 - p)."""
    x = n.x[0]
    if n["evaluate"] or n["p"] == 0:
        return x
    y = numbers(n.record["drawn"]).reshape(x.shape)
    return x * torch.where(y == 0, 0.0, 1 / (1 - n["p"]))


def drawn_sum(n):
    x = n.x[0]
    y = numbers(n.record["drawn"]).reshape(x.shape)
    return x + (y - x.detach())


OPS = {
    "neg": unary(torch.neg), "exp": unary(torch.exp), "log": unary(torch.log),
    "log1p": unary(torch.log1p), "expm1": unary(torch.expm1), "sqrt": unary(torch.sqrt),
    "rsqrt": unary(torch.rsqrt), "square": unary(torch.square), "abs": unary(torch.abs),
    "relu": unary(F.relu), "gelu": unary(F.gelu),
    "gelu_tanh": unary(lambda x: F.gelu(x, approximate="tanh")), "silu": unary(F.silu),
    "sigmoid": unary(torch.sigmoid), "tanh": unary(torch.tanh),
    # PyTorch's own threshold of 20 is for speed and costs 2e-9.
    "softplus": unary(lambda x: F.softplus(x, threshold=60)), "erf": unary(torch.erf),
    "hardswish": unary(F.hardswish), "quick_gelu": unary(lambda x: x * torch.sigmoid(1.702 * x)),
    "scale": lambda n: n.x[0] * n["a"], "add_scalar": lambda n: n.x[0] + n["a"],
    "pow": lambda n: n.x[0] ** n["p"],
    "leaky_relu": lambda n: F.leaky_relu(n.x[0], n["slope"]),
    "elu": lambda n: F.elu(n.x[0], n["alpha"]),
    "clamp": lambda n: n.x[0].clamp(n["lo"], n["hi"]),
    "add": binary(torch.add), "sub": binary(torch.sub), "mul": binary(torch.mul),
    "div": binary(torch.div), "maximum": binary(torch.maximum), "minimum": binary(torch.minimum),
    "where": lambda n: torch.where(n.x[0] != 0, n.x[1], n.x[2]),
    "dropout": drawn_factor, "gaussian_noise": drawn_sum,
    "sum": unary(torch.sum), "mean": unary(torch.mean),
    "sum_axis": over_axis(torch.sum), "mean_axis": over_axis(torch.mean),
    "max_axis": over_axis(lambda x, a: x.max(a).values),
    "min_axis": over_axis(lambda x, a: x.min(a).values),
    "logsumexp": over_axis(torch.logsumexp), "cumsum": over_axis(torch.cumsum),
    "var_axis": lambda n: torch.var(n.x[0], n.whole("axis"), correction=n.whole("correction")),
    "argmin": lambda n: F.one_hot(n.x[0].argmin(n.whole("axis")), n.whole("classes")).double(),
    "argmax": lambda n: F.one_hot(n.x[0].argmax(n.whole("axis")), n.whole("classes")).double(),
    "softmax": unary(lambda x: F.softmax(x, -1)),
    "log_softmax": unary(lambda x: F.log_softmax(x, -1)),
    "cross_entropy": cross_entropy,
    "cross_entropy_soft": lambda n: -(n.x[1] * F.log_softmax(n.x[0], -1)).sum() / len(n.x[0]),
    "kl_div_logits": kl_div, "bce_logits": binary(F.binary_cross_entropy_with_logits),
    "mse": binary(F.mse_loss), "l1": binary(F.l1_loss),
    "huber": lambda n: F.huber_loss(n.x[0], n.x[1], delta=n["delta"]),
    "smooth_l1": lambda n: F.smooth_l1_loss(n.x[0], n.x[1], beta=n["beta"]),
    "reshape": lambda n: n.x[0].reshape(n.shape), "flatten": lambda n: n.x[0].reshape(n.shape),
    "flatten_rows": lambda n: n.x[0].reshape(n.shape),
    "rows": lambda n: n.x[0].narrow(0, n.whole("start"), n.whole("count")),
    "detach": unary(torch.detach), "concat": lambda n: torch.cat(n.x, n.whole("axis")),
    "stack": lambda n: torch.stack(n.x),
    "slice": lambda n: n.x[0].narrow(n.whole("axis"), n.whole("start"), n.whole("count")),
    "split": lambda n: n.x[0].chunk(n.whole("parts"), n.whole("axis"))[n.whole("part")],
    "transpose": unary(lambda x: x.transpose(-1, -2)),
    "permute": lambda n: n.x[0].permute(n.list("axes").tolist()),
    "gather_rows": lambda n: gather(n.x[0], n.list("rows")), "scatter_add_rows": scatter,
    "embedding": lambda n: F.embedding(n.list("ids"), n.x[0],
                                       None if n["padding"] < 0 else n.whole("padding")),
    "pick": lambda n: n.x[0].gather(1, n.list("columns")[:, None])[:, 0],
    "one_hot": lambda n: F.one_hot(n.list("ids"), n.whole("classes")).double(),
    "diagonal": unary(torch.diagonal), "pair_diagonal": unary(pair_diagonal),
    "triangle": triangle, "mask": mask,
    "matmul": binary(torch.matmul),
    "matmul_nt": binary(lambda a, b: a @ b.transpose(-1, -2)),
    "matmul_tn": binary(lambda a, b: a.transpose(-1, -2) @ b),
    "linear": lambda n: F.linear(*n.x), "linear_relu": lambda n: F.relu(F.linear(*n.x)),
    "cosine_similarity": binary(cosine),
    "pairwise_sqdist": binary(lambda a, b: (a[:, None] - b[None, :]).square().sum(-1)),
    "attention": attention,
    "l2_normalize": unary(lambda x: F.normalize(x, dim=-1, eps=1e-12)),
    "layer_norm": lambda n: F.layer_norm(n.x[0], n.x[0].shape[-1:], n.x[1], n.x[2],
                                         n["eps"] or 1e-5),
    "rms_norm": lambda n: F.rms_norm(n.x[0], n.x[0].shape[-1:], n.x[1], n["eps"] or 1e-6),
    "group_norm": group_norm, "batch_norm": batch_norm, "batch_norm_add": batch_norm,
    "conv2d": conv2d, "conv1d": conv1d, "conv2d_transposed": conv2d_transposed,
    "max_pool2d": lambda n: pool(n, F.max_pool2d), "avg_pool2d": lambda n: pool(n, F.avg_pool2d),
    "adaptive_avg_pool2d": adaptive, "resize_bilinear": resize,
    "global_avg_pool": unary(lambda x: x.flatten(1, -2).mean(1)),
    "ntxent": lambda n: ntxent(n, n.x[:2]),
    "ntxent_views": lambda n: ntxent(n, list(n.x[0])),
    "ntxent_list": lambda n: ntxent(n, n.x[:-2]),
    "infonce": infonce, "clip": clip, "supcon": supcon,
    "dcl": lambda n: dcl(n, False), "dclw": lambda n: dcl(n, True), "siglip": siglip,
    "alignment": alignment, "uniformity": uniformity, "cross_uniformity": uniformity,
    "log_sigmoid": unary(F.logsigmoid), "sin": unary(torch.sin), "cos": unary(torch.cos),
    "equal": compared(torch.eq), "not_equal": compared(torch.ne), "less": compared(torch.lt),
    "less_equal": compared(torch.le), "greater": compared(torch.gt),
    "greater_equal": compared(torch.ge),
    "sort": lambda n: ordered(n, n["descending"]),
    "topk": lambda n: ordered(n, n["largest"], n.whole("count")),
    "segment_sum": segments(lambda rows: rows.sum(0)),
    "segment_mean": segments(lambda rows: rows.sum(0) / max(1, len(rows))),
    "segment_max": segments(lambda rows: rows.max(0).values),
    "segment_softmax": segment_softmax,
}


# ---- running -----------------------------------------------------------------------------------


def make_leaf(record):
    x = numbers(record["values"]).reshape(record["shape"])
    return x.requires_grad_() if record["needs_grad"] else x


def run(graph):
    """(kind of result, node) -> tensor."""
    nodes, results, states = [], {}, {}
    for i, record in enumerate(graph["nodes"]):
        if "values" in record:
            nodes.append(make_leaf(record))
            continue
        n = Node(record, [None if j is None else nodes[j] for j in record["in"]])
        nodes.append(OPS[record["op"]](n))
        results["value", i] = nodes[i].detach()
        for place, value in n.state.items():
            states[record["in"][place]] = value
    total = sum((nodes[p["node"]] * numbers(p["dy"]).reshape(nodes[p["node"]].shape)).sum()
                for p in graph["passes"])
    if isinstance(total, torch.Tensor) and total.requires_grad:
        total.backward()
    for i, record in enumerate(graph["nodes"]):
        if record.get("needs_grad"):
            x = nodes[i]
            results["gradient", i] = torch.zeros_like(x) if x.grad is None else x.grad
    for i, value in states.items():
        results["state", i] = value
    return results


def compare(graph, results):
    """Largest deviation over what is allowed, and where."""
    worst = (0.0, "")
    ours = {(r["what"], r["node"]): numbers(r["values"]) for r in graph["results"]}
    gradients = [g.abs().max().item() for (what, _), g in ours.items()
                 if what == "gradient" and g.numel()]
    for (what, node), a in ours.items():
        b = results.get((what, node))
        if b is None:
            return math.inf, f"{what} of node {node} is missing"
        b = b.reshape(-1)
        if a.shape != b.shape:
            return math.inf, f"{what} of node {node}: {len(a)} elements, {len(b)} in PyTorch"
        if not len(a):
            continue
        scale = max(gradients + [1e-3]) if what == "gradient" else max(a.abs().max().item(), 1.0)
        apart = (a - b).abs().max().item() if not torch.equal(a, b) else 0.0
        share = apart / (TOLERANCE * scale + 1e-300)
        if not share <= worst[0]:
            op = graph["nodes"][node]["op"]
            worst = (share, f"{what} of node {node} ({op}) is off by {apart:.3g} of {scale:.3g}")
        if share > 1:
            break
    return worst


# Ops that graphs have as samples only, and what holds them to a definition that is not ours.
ELSEWHERE = {
    "attention_kv": "model-clip, model-t5-exact", "attention_qkv": "model-vit, model-bert",
    "linear_joined": "model-bert", "gated": "model-t5-exact", "rotary": "layer-rotary",
    "relative_bias": "model-t5-exact", "gem_pool": "pool-map", "gru": "layer-gru",
    "mel_spectrogram": "layer-logmel",
    "embedding_bag": "tests/unit/test_sequence.c, by its formula",
}


def main():
    left_out, counted = collections.Counter(), collections.Counter()
    compared, failed, worst = 0, 0, 0.0
    for line in sys.stdin:
        graph = json.loads(line)
        unknown = {r["op"] for r in graph["nodes"]
                   if "values" not in r and (r["sample"] or r["op"] not in OPS)}
        if unknown:
            left_out.update(unknown)
            left_out["graphs"] += 1
            continue
        if graph["error"]:
            print(f"seed {graph['seed']}: akin reports an error")
            failed += 1
            continue
        try:
            share, where = compare(graph, run(graph))
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            share, where = math.inf, f"PyTorch: {error}"
        compared += 1
        counted.update(r["op"] for r in graph["nodes"] if "values" not in r)
        worst = max(worst, share)
        if not share <= 1:
            print(f"seed {graph['seed']}: {where}")
            failed += 1
    graphs = left_out.pop("graphs", 0)
    missing = sorted(op for op in left_out if op not in OPS and op not in ELSEWHERE)
    unused = sorted(op for op in OPS if op not in counted)
    print(f"{compared} graphs of {sum(counted.values())} ops agree with PyTorch {torch.__version__}"
          f" but for {failed}; worst deviation {worst * TOLERANCE:.2g}")
    print(f"{graphs} graphs left out: they hold samples of ops"
          + (f"; without a line here: {', '.join(missing)}" if missing else ""))
    if unused:
        print(f"never used: {', '.join(unused)}")
    return 1 if failed or not compared or missing else 0


if __name__ == "__main__":
    sys.exit(main())
