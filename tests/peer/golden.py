#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden files of layers with other shapes and options than those in tests/golden, from PyTorch.

Usage: golden.py FOLDER [SEED]     then AK_GOLDEN_DIR=FOLDER test_golden_layers, .._ops, .._sequence

The keys are those of tests/golden: cK_x, x2, x3 inputs; cK_p_NAME parameters; cK_opt_NAME options;
cK_y output; cK_gy upstream gradient; cK_gx, cK_gp_NAME gradients.
"""
import functools
import itertools
import sys

import numpy
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

torch.set_default_dtype(torch.float64)
FOLDER, SEED = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
generator = torch.Generator().manual_seed(SEED)


def normal(*shape):
    return torch.randn(shape, generator=generator)


def uniform(*shape):
    return torch.rand(shape, generator=generator)


def whole(below, *shape):
    return torch.randint(0, below, shape, generator=generator)


class File:
    def __init__(self, name):
        self.name, self.arrays, self.cases = name, {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.arrays["cases"] = numpy.array(self.cases)
        numpy.savez(f"{FOLDER}/{self.name}.npz", **self.arrays)

    def key(self, name):
        return f"c{self.cases}_{name}"

    def case(self, fn, inputs, params=None, constants=None, after=None, **options):
        """fn takes inputs and parameters by name; after is called when it has run."""
        leaves = {k: v.clone().requires_grad_() for k, v in inputs.items()}
        weights = {k: v.clone().requires_grad_() for k, v in (params or {}).items()}
        for name, value in (constants or {}).items():
            self.arrays[self.key(name)] = value.numpy().copy()
        y = fn(*leaves.values(), **weights)
        gy = torch.ones_like(y) if y.dim() == 0 else normal(*y.shape)
        y.backward(gy)
        for name, value in leaves.items():
            self.arrays[self.key(name)] = value.detach().numpy()
            self.arrays[self.key("g" + name)] = value.grad.numpy()
        for name, value in weights.items():
            self.arrays[self.key("p_" + name)] = value.detach().numpy()
            self.arrays[self.key("gp_" + name)] = value.grad.numpy()
        for name, value in options.items():
            self.arrays[self.key("opt_" + name)] = numpy.array(value)
        self.arrays[self.key("y")] = y.detach().numpy()
        self.arrays[self.key("gy")] = gy.numpy()
        for name, value in (after() if after else {}).items():
            self.arrays[self.key(name)] = value.numpy()
        self.cases += 1


def last(fn):
    """A function of channels first, for channels last."""
    return lambda x, *rest, **named: fn(x.movedim(-1, 1), *rest, **named).movedim(1, -1)


def affine(size, weight=True, bias=True):
    return ({"weight": normal(size)} if weight else {}) | ({"bias": normal(size)} if bias else {})


# ---- losses -----------------------------------------------------------------


def cross_entropy():
    with File("layer-crossentropy") as f:
        for reduction, s, weighed in itertools.product(("mean", "sum", "none"), (0.0, 0.3),
                                                       (0, 1)):
            for soft in (0, 1):
                rows, classes = (3, 9) if soft else (7, 5)
                target = torch.softmax(normal(rows, classes), 1) if soft else whole(classes, rows)
                if not soft:
                    target[2] = -100
                weight = uniform(classes) + 0.1
                options = {"reduction": reduction, "label_smoothing": s}
                loss = functools.partial(F.cross_entropy, target=target, **options,
                                         weight=weight if weighed else None)
                f.case(loss, {"x": normal(rows, classes) * 3},
                       constants={"soft_target" if soft else "target": target} |
                       ({"class_weights": weight} if weighed else {}), **options)
        target = torch.tensor([0, 1, 0, 2])
        f.case(lambda x: F.cross_entropy(x, target, ignore_index=0), {"x": normal(4, 3)},
               constants={"target": target}, ignore_index=0)


def simple_losses():
    plain = {"mse": (F.mse_loss, {}), "l1": (F.l1_loss, {}),
             "huber": (F.huber_loss, {"delta": 0.4}),
             "smooth_l1": (F.smooth_l1_loss, {"beta": 0.4}),
             "bce_logits": (F.binary_cross_entropy_with_logits, {})}
    with File("layer-simple-losses") as f:
        for shape in ((4, 3), (2, 1, 5)):
            for (name, (fn, options)), reduction in itertools.product(plain.items(),
                                                                      ("mean", "sum")):
                target = uniform(*shape)
                f.case(functools.partial(fn, target=target, reduction=reduction, **options),
                       {"x": normal(*shape)}, constants={"target": target}, name=name,
                       reduction=reduction, **options)
            f.case(functools.partial(F.cosine_similarity, dim=-1),
                   {"x": normal(*shape), "x2": normal(*shape)}, name="cosine_similarity")
            f.case(functools.partial(F.triplet_margin_loss, margin=0.3),
                   {"x": normal(*shape), "x2": normal(*shape), "x3": normal(*shape)},
                   name="triplet_margin", margin=0.3)
        target = torch.softmax(normal(4, 3), 1)
        f.case(lambda x: F.kl_div(F.log_softmax(x, 1), target, reduction="batchmean"),
               {"x": normal(4, 3)}, constants={"target": target},
               name="kl_div_batchmean_of_logits")


# ---- ops --------------------------------------------------------------------


def elementwise():
    plain = {"relu": F.relu, "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
             "silu": F.silu, "sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": F.softplus,
             "exp": torch.exp, "erf": torch.erf, "hardswish": F.hardswish,
             "log_sigmoid": F.logsigmoid, "sin": torch.sin, "cos": torch.cos}
    with File("layer-activation") as f:
        for (name, fn), shape in itertools.product(plain.items(), ((1,), (2, 3, 1, 5))):
            f.case(fn, {"x": normal(*shape) * 2}, name=name)
        f.case(lambda x: F.leaky_relu(x, 0.2), {"x": normal(3, 3)}, name="leaky_relu", slope=0.2)
        f.case(lambda x: F.elu(x, 1.7), {"x": normal(3, 3)}, name="elu", alpha=1.7)
    both = {"add": torch.add, "sub": torch.sub, "mul": torch.mul,
            "div": lambda a, b: a / (b.abs() + 0.5), "maximum": torch.maximum,
            "minimum": torch.minimum}
    with File("layer-broadcast") as f:
        for (name, fn), (a, b) in itertools.product(
                both.items(), (((3, 1, 2), (4, 1)), ((), (2, 3)), ((5,), (1,)))):
            f.case(fn, {"x": normal(*a), "x2": normal(*b)}, name=name)


def products():
    with File("layer-matmul") as f:
        f.case(lambda a, b: a @ b, {"x": normal(2, 3, 4, 5), "x2": normal(5, 7)}, form="nn")
        f.case(lambda a, b: a @ b.mT, {"x": normal(2, 1, 5), "x2": normal(2, 3, 5)}, form="nt")
        f.case(lambda a, b: a.mT @ b, {"x": normal(5, 1), "x2": normal(5, 3)}, form="tn")
    with File("layer-linear") as f:
        f.case(F.linear, {"x": normal(2, 3, 4, 5)}, {"weight": normal(1, 5), "bias": normal(1)},
               bias=1)
        f.case(F.linear, {"x": normal(5)}, {"weight": normal(3, 5)}, bias=0)


def reductions():
    plain = {"sum": torch.sum, "mean": torch.mean, "logsumexp": torch.logsumexp,
             "max": torch.amax, "min": torch.amin,
             "var": functools.partial(torch.var, correction=1)}
    with File("layer-reduce") as f:
        for (name, fn), axis, keep in itertools.product(plain.items(), (0, -1, 1), (0, 1)):
            f.case(functools.partial(fn, dim=axis, keepdim=bool(keep)), {"x": normal(3, 2, 4)},
                   name=name, axis=axis, keepdim=keep, correction=1)
        f.case(lambda x: x.cumsum(1), {"x": normal(3, 2, 4)}, name="cumsum", axis=1)
        for name in ("sum", "mean"):
            f.case(plain[name], {"x": normal(3, 2, 4)}, name=name)
    with File("layer-softmax") as f:
        for (name, fn), (shape, axis) in itertools.product(
                (("softmax", torch.softmax), ("log_softmax", torch.log_softmax)),
                (((3,), 0), ((2, 3, 5), -1), ((2, 3, 4), 1), ((4, 3), 0))):
            f.case(lambda x: fn(x / 0.7, axis), {"x": normal(*shape)}, name=name, temperature=0.7,
                   axis=axis)


def embedding():
    ids = torch.tensor([[3, 0, 1], [2, 2, 3]])
    with File("layer-embedding") as f:
        for bag, fn in (("", lambda y: y), ("sum", lambda y: y.sum(1)),
                        ("max", lambda y: y.amax(1)), ("mean", lambda y: y.mean(1))):
            f.case(lambda weight: fn(F.embedding(ids, weight)), {}, {"weight": normal(4, 3)},
                   {"ids": ids}, bag=bag)
        f.case(lambda weight: F.embedding(ids, weight, padding_idx=2), {}, {"weight": normal(4, 1)},
               {"ids": ids}, padding_idx=2)


# ---- layers -----------------------------------------------------------------


def norms():
    with File("layer-batchnorm") as f:
        for (train, whole_affine, momentum, eps), shape in itertools.product(
                ((1, 1, 0.3, 1e-3), (1, 0, 1.0, 1e-5), (0, 1, 0.1, 1e-2), (0, 0, 0.1, 1e-5),
                 (1, 1, 0.0, 1e-5)), ((5, 3), (2, 4, 3), (2, 3, 2, 1))):
            mean, var = normal(shape[-1]), uniform(shape[-1]) + 0.5
            norm = functools.partial(F.batch_norm, running_mean=mean, running_var=var,
                                     training=bool(train), momentum=momentum, eps=eps)
            f.case(last(norm), {"x": normal(*shape) + 1},
                   affine(shape[-1]) if whole_affine else None,
                   {"b0_running_mean": mean, "b0_running_var": var},
                   lambda: {"b_running_mean": mean, "b_running_var": var},
                   train=train, momentum=momentum, eps=eps)
        f.case(last(functools.partial(F.batch_norm, running_mean=None, running_var=None,
                                      training=True)), {"x": normal(4, 3)}, affine(3))
    with File("layer-layernorm") as f:
        for shape, parts in itertools.product(((5,), (2, 3, 7), (1, 2)), ((1, 1), (1, 0), (0, 0))):
            f.case(functools.partial(F.layer_norm, normalized_shape=shape[-1:], eps=1e-3),
                   {"x": normal(*shape)}, affine(shape[-1], *parts), eps=1e-3)
    with File("layer-groupnorm") as f:
        for (shape, groups), parts in itertools.product(
                (((2, 3, 6), 3), ((2, 4), 1), ((1, 2, 3, 4), 4)), ((1, 1), (0, 0))):
            f.case(last(functools.partial(F.group_norm, num_groups=groups, eps=1e-3)),
                   {"x": normal(*shape)}, affine(shape[-1], *parts), groups=groups, eps=1e-3)
    with File("layer-rmsnorm") as f:
        for shape, weighed in itertools.product(((5,), (2, 3, 7)), (0, 1)):
            f.case(functools.partial(F.rms_norm, normalized_shape=shape[-1:], eps=1e-3),
                   {"x": normal(*shape)}, affine(shape[-1], weighed, False), eps=1e-3)
    with File("layer-l2norm") as f:
        for shape in ((5,), (2, 3, 7), (4, 1)):
            f.case(functools.partial(F.normalize, dim=-1), {"x": normal(*shape)})


def convolutions():
    def add(f, fn, space, channels, weight, bias, **options):
        f.case(last(functools.partial(fn, **options)), {"x": normal(2, *space, channels)},
               {"weight": normal(*weight)} | ({"bias": normal(bias)} if bias else {}), **options)

    with File("layer-conv2d") as f:
        add(f, F.conv2d, (5, 6), 3, (4, 3, 3, 3), 4, stride=1, padding=1)
        add(f, F.conv2d, (7, 5), 4, (6, 2, 1, 3), 0, stride=2, groups=2)
        add(f, F.conv2d, (9, 9), 2, (2, 2, 3, 2), 2, stride=3, padding=2, dilation=2)
        add(f, F.conv2d, (4, 4), 6, (6, 1, 3, 3), 6, padding=1, groups=6)
        add(f, F.conv2d, (8, 8), 16, (17, 16, 3, 3), 17, padding=1)
        add(f, F.conv2d, (3, 3), 1, (1, 1, 2, 3), 0)
    with File("layer-conv1d") as f:
        add(f, F.conv1d, (9,), 4, (6, 2, 3), 0, groups=2)
        add(f, F.conv1d, (11,), 2, (3, 2, 4), 3, stride=2, padding=3, dilation=2)
    with File("layer-conv2d-transposed") as f:
        add(f, F.conv_transpose2d, (3, 4), 4, (4, 3, 3, 3), 6, stride=2, padding=1,
            output_padding=1, groups=2)
        add(f, F.conv_transpose2d, (4, 3), 2, (2, 3, 2, 3), 0, stride=3, output_padding=2)
        add(f, F.conv_transpose2d, (3, 3), 2, (2, 2, 3, 3), 2, padding=1, dilation=2)


def pictures():
    with File("layer-pool") as f:
        for (kind, fn), (kernel, stride, padding) in itertools.product(
                (("max", F.max_pool2d), ("avg", F.avg_pool2d)),
                ((2, 1, 1), (3, 2, 1), (2, 3, 0), (1, 1, 0))):
            f.case(last(functools.partial(fn, kernel_size=kernel, stride=stride, padding=padding)),
                   {"x": normal(2, 7, 5, 3)}, kind=kind, kernel=kernel, stride=stride,
                   padding=padding)
        f.case(lambda x: x.mean((1, 2)), {"x": normal(2, 7, 5, 3)}, kind="global")
        f.case(last(functools.partial(F.adaptive_avg_pool2d, output_size=(3, 4))),
               {"x": normal(2, 7, 5, 3)}, kind="adaptive", oh=3, ow=4)
    with File("layer-resize") as f:
        for size in ((1, 1), (7, 3), (4, 11)):
            f.case(last(functools.partial(F.interpolate, size=size, mode="bilinear")),
                   {"x": normal(1, 4, 5, 2)}, oh=size[0], ow=size[1])


def attention():
    with File("layer-attention") as f:
        for (N, H, q, k, d, dv), mask in itertools.product(
                ((1, 1, 1, 1, 1, 1), (2, 3, 4, 4, 5, 5), (2, 2, 3, 6, 4, 7)),
                ("full", "causal", "padding", "causal+padding")):
            lengths, seen = whole(k, N) + 1, torch.ones(N, 1, q, k, dtype=torch.bool)
            if "padding" in mask:
                seen = seen & (torch.arange(k) < lengths[:, None, None, None])
            if "causal" in mask:
                seen = seen.tril()
            f.case(functools.partial(F.scaled_dot_product_attention, attn_mask=seen),
                   {"x": normal(N, H, q, d), "x2": normal(N, H, k, d), "x3": normal(N, H, k, dv)},
                   constants={"key_lengths": lengths}, mask=mask)
        f.case(functools.partial(F.scaled_dot_product_attention, scale=0.7),
               {name: normal(2, 1, 3, 2) for name in ("x", "x2", "x3")}, mask="full", scale=0.7)
    with File("layer-multihead") as f:
        for bias, cross, heads, width in ((1, 0, 1, 3), (0, 0, 3, 6), (1, 1, 2, 4)):
            layer = torch.nn.MultiheadAttention(width, heads, bias=bool(bias), batch_first=True)

            def run(x, x2=None, **weights):
                keys = x if x2 is None else x2
                return torch.func.functional_call(layer, weights, (x, keys, keys))[0]

            f.case(run, {"x": normal(2, 5, width)} | ({"x2": normal(2, 3, width)} if cross else {}),
                   {name: normal(*p.shape) / 2 for name, p in layer.named_parameters()},
                   heads=heads)


def recurrent():
    def gru_case(f, layers, both, bias, start, lengths):
        shape, hidden = (3, 5, 2), 4
        net = torch.nn.GRU(shape[2], hidden, layers, bool(bias), batch_first=True,
                           bidirectional=bool(both))

        def run(x, x2=None, **weights):     # x2 [N, states, hidden]
            h = None if x2 is None else x2.transpose(0, 1).contiguous()
            if lengths is not None:
                x = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            y = torch.func.functional_call(net, weights, (x, h))[0]
            return y if lengths is None else pad_packed_sequence(y, batch_first=True,
                                                                 total_length=shape[1])[0]

        states = layers * (1 + both)
        f.case(run, {"x": normal(*shape)} | ({"x2": normal(3, states, hidden)} if start else {}),
               {name: normal(*p.shape) / 2 for name, p in net.named_parameters()},
               {} if lengths is None else {"lengths": lengths})

    with File("layer-gru") as f:
        for lengths in (None, torch.tensor([2, 5, 1])):
            gru_case(f, 1, 0, 1, 0, lengths)
            gru_case(f, 1, 1, 0, 1, lengths)
            gru_case(f, 3, 0, 1, 1, lengths)
            gru_case(f, 2, 1, 1, 0, lengths)


for make in (cross_entropy, simple_losses, elementwise, products, reductions, embedding, norms,
             convolutions, pictures, attention, recurrent):
    make()
