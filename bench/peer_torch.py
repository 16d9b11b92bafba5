#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PyTorch's side of the comparison: the rows of bench_serve, on the arrays that it shared.

    peer_torch.py [--threads N] [--compile]     requests on standard input, answers in JSON
    peer_torch.py --memory ROW CONFIG PATH      memory beyond what the imported library takes
    peer_torch.py --first-step                  one training step, then the end

Requests are those of bench_serve: lines of parts separated by tabs (machine, open ROW PATH, time
CONFIG SECONDS). A row offers every configuration that a user could choose (picture layout, views
joined or in two passes, fused or not); compare.py takes the fastest. What a row computes is
compared with our results, which lie in the file as out/NAME: the answer to `open` has the largest
difference over the largest value of each.

Pictures are [N, H, W, C] in the file and weights [O, kH, kW, I]; as permuted views they are
PyTorch's channels_last format without being moved.
"""
import argparse
import json
import random
import re
import statistics
import sys
import time
from importlib import metadata

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ROWS = []               # (pattern, function that makes the row)
SAMPLES = 4000
LEAST_SECONDS = 20e-6   # runs are timed together until they take so long
OPTIMIZER_STEPS = 3     # before parameters are compared
TRAINING_STEPS = 2      # whose losses are compared
LAYOUTS = {"nhwc": torch.channels_last, "nchw": torch.contiguous_format}


COMPILE = False         # --compile


class Row:
    """configs: what to time, by name. results: what to compare, by the names in the file.
    prepare: called before each run, not timed. divide: things (ops, views) in a run."""

    def __init__(self, configs, results=None, prepare=None, divide=1):
        self.configs, self.results = configs, results
        self.prepare, self.divide = prepare, divide


def row(pattern):
    def register(make):
        ROWS.append((re.compile(pattern), make))
        return make
    return register


class Shared:
    """The arrays of a file; inputs as tensors."""

    def __init__(self, path):
        self.file = np.load(path)

    def __getitem__(self, name):
        return torch.from_numpy(self.file["in/" + name])

    def leaf(self, name):
        return self[name].requires_grad_()

    def inputs(self):
        return [n[3:] for n in self.file.files if n.startswith("in/")]

    def expected(self):
        return {n[4:]: self.file[n] for n in self.file.files if n.startswith("out/")}


def pictures(x, memory_format=torch.channels_last):
    """[N, H, W, C] as [N, C, H, W] in a layout."""
    return x.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)


def as_shared(x):
    """The other way; other arrays as they are."""
    return x.permute(0, 2, 3, 1) if x.dim() == 4 else x


def clear(*leaves):
    for leaf in leaves:
        leaf.grad = None


# ---- matrix products -----------------------------------------------------------------------------

@row(r"gemm (nn|nt|tn) ")
def gemm(match, data):
    form = match[1]
    a = data["A"].t() if form[0] == "t" else data["A"]
    b = data["B"].t() if form[1] == "t" else data["B"]
    c = torch.empty(a.shape[0], b.shape[1])
    return Row({"mm": lambda: torch.mm(a, b, out=c)}, lambda: {"C": torch.mm(a, b)})


# ---- convolution ---------------------------------------------------------------------------------

# kernel, stride, padding of the cases
CONVOLUTIONS = {"3x3 s1": (1, 1), "3x3 s2": (2, 1), "1x1": (1, 0), "7x7 s2": (2, 3),
                "depthwise 3x3": (1, 1)}


@row(r"conv (3x3 s1|3x3 s2|1x1|7x7 s2|depthwise 3x3) .* (forward|data|weight|all)$")
def conv(match, data):
    (stride, padding), part = CONVOLUTIONS[match[1]], match[2]
    groups = data["x"].shape[3] // data["w"].shape[3]
    passes = ("forward", "data", "weight") if part == "all" else (part,)

    def config(memory_format):
        x, w, dy = (pictures(data[name], memory_format) for name in ("x", "w", "dy"))

        def forward():
            with torch.no_grad():
                return F.conv2d(x, w, None, stride, padding, 1, groups)

        def backward():
            return torch.ops.aten.convolution_backward(
                dy, x, w, None, [stride] * 2, [padding] * 2, [1, 1], False, [0, 0], groups,
                ["data" in passes, "weight" in passes, False])

        def run():
            y = forward() if "forward" in passes else None
            dx, dw, _ = backward() if len(passes) > 1 or "forward" not in passes else [None] * 3
            return {"y": y, "dx": dx, "dw": dw}
        return run

    configs = {name: config(memory_format) for name, memory_format in LAYOUTS.items()}
    return Row(configs, lambda: {k: as_shared(v) for k, v in configs["nhwc"]().items()
                                 if v is not None})


# ---- ops on rows ---------------------------------------------------------------------------------

def with_gradients(function, leaves, upstream=None):
    """Runs function() and its backward pass; and what comes out of that, for leaves by name."""
    def run():
        clear(*leaves.values())
        y = function()
        y.backward(upstream)
        return y

    def results():
        y = run().detach()
        return {"y": y} | {"d" + name: leaf.grad for name, leaf in leaves.items()}
    return run, results


@row(r"rowop batchnorm\+relu ")
def batch_norm(_, data):
    def config(memory_format):
        x = pictures(data["x"], memory_format).requires_grad_()
        norm = nn.BatchNorm2d(x.shape[1])
        norm.weight.data, norm.bias.data = data["w"], data["b"]
        return with_gradients(lambda: F.relu(norm(x)),
                              {"x": x, "w": norm.weight, "b": norm.bias},
                              pictures(data["dy"], memory_format))
    made = {name: config(memory_format) for name, memory_format in LAYOUTS.items()}
    return Row({name: run for name, (run, _) in made.items()},
               lambda: {k: as_shared(v) for k, v in made["nhwc"][1]().items()})


@row(r"rowop layernorm ")
def layer_norm(_, data):
    x, w, b = (data.leaf(name) for name in "xwb")
    run, results = with_gradients(lambda: F.layer_norm(x, x.shape[-1:], w, b),
                                  {"x": x, "w": w, "b": b}, data["dy"])
    return Row({"eager": run}, results)


ROW_OPS = {
    "softmax": lambda x: F.softmax(x, -1),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "l2norm": lambda x: F.normalize(x, dim=-1),
    "logsumexp": lambda x: torch.logsumexp(x, -1),
}


@row(r"rowop (softmax|gelu|gelu_tanh|l2norm|logsumexp) ")
def row_op(match, data):
    x, function = data.leaf("x"), ROW_OPS[match[1]]
    run, results = with_gradients(lambda: function(x), {"x": x}, data["dy"])
    return Row({"eager": run}, results)


@row(r"rowop crossentropy ")
def cross_entropy(_, data):
    x, labels = data.leaf("x"), data["labels"].long()
    run, results = with_gradients(lambda: F.cross_entropy(x, labels), {"x": x})
    return Row({"eager": run}, results)


@row(r"attention .* (full|causal)$")
def attention(match, data):
    q, k, v = (data.leaf(name) for name in "qkv")
    causal = match[1] == "causal"
    run, results = with_gradients(
        lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal),
        {"q": q, "k": k, "v": v}, data["dy"])
    return Row({"eager": run}, results)


# ---- contrastive losses --------------------------------------------------------------------------

def clip_loss(x, y, tau):
    scores = F.normalize(x, dim=-1) @ F.normalize(y, dim=-1).t() / tau
    partner = torch.arange(len(x))
    return (F.cross_entropy(scores, partner) + F.cross_entropy(scores.t(), partner)) / 2


def ntxent_loss(x, y, tau=0.5):
    z = F.normalize(torch.cat([x, y]), dim=-1)
    scores = z @ z.t() / tau
    scores = scores.masked_fill(torch.eye(len(z), dtype=torch.bool), float("-inf"))
    return F.cross_entropy(scores, (torch.arange(len(z)) + len(x)) % len(z))


@row(r"(infonce symmetric|ntxent) N(\d+) ")
def contrastive(match, data):
    x, y = data.leaf("x"), data.leaf("y")

    def run():
        clear(x, y)
        loss = ntxent_loss(x, y) if match[1] == "ntxent" else clip_loss(x, y, 0.07)
        loss.backward()
        return loss

    def results():
        loss = run()
        return {"loss": loss.detach(), "dx": x.grad, "dy": y.grad}
    return Row({"eager": run}, results)


# ---- optimiser, moving average, clipping ---------------------------------------------------------

def parameters(data, prefix):
    names = sorted(n for n in data.inputs() if n.startswith(prefix))
    return [nn.Parameter(data[name].clone()) for name in names]


def set_gradients(params, grads):
    for p, g in zip(params, grads):
        if p.grad is None:
            p.grad = g.clone()
        else:
            p.grad.copy_(g)


@row(r"optim (adamw|clip\+adamw) ")
def adamw(match, data):
    params, grads = parameters(data, "net/"), data["grads"]
    clip = match[1] != "adamw"

    def config(**kind):
        optimizer = torch.optim.AdamW(params, lr=1e-3, weight_decay=0.01, **kind)

        def run():
            if clip:
                nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
            optimizer.step()
        return run

    def prepare():
        set_gradients(params, grads)

    configs = {"fused": config(fused=True), "foreach": config(foreach=True)}

    def results():
        for _ in range(OPTIMIZER_STEPS):
            prepare()
            configs["fused"]()
        return {"p": params[-1].detach().clone()}
    return Row(configs, results, prepare)


@row(r"optim ema ")
def ema(_, data):
    params = [p.detach() for p in parameters(data, "net/")]
    averages = [p.detach() for p in parameters(data, "average/")]

    def run():
        torch._foreach_lerp_(averages, params, 0.01)

    def results():
        run()
        return {"average": averages[-1].clone()}
    return Row({"lerp": run}, results)


@row(r"optim clip ")
def clip_norm(_, data):
    params, grads = parameters(data, "net/"), data["grads"]

    def prepare():
        set_gradients(params, grads)

    def run():
        return nn.utils.clip_grad_norm_(params, 1.0, foreach=True)

    def results():
        prepare()
        return {"norm": run()}
    return Row({"foreach": run}, results, prepare)


# ---- overhead and steps --------------------------------------------------------------------------

@row(r"overhead tiny op")
def tiny(_, data):
    x = data.leaf("x")

    def run():
        y = x
        for _ in range(1000):
            y = y * 1.0001
        return y
    return Row({"eager": run}, lambda: {"y": run().detach()}, divide=1000)


def mlp(*sizes):
    """fc1, ReLU, fc2: akin's names."""
    net = nn.Sequential()
    for i, (n_in, n_out) in enumerate(zip(sizes, sizes[1:]), 1):
        net.add_module(f"fc{i}", nn.Linear(n_in, n_out))
        if i < len(sizes) - 1:
            net.add_module(f"relu{i}", nn.ReLU(inplace=True))
    return net


def convnet(*channels):
    net = nn.Sequential()
    for i, (n_in, n_out) in enumerate(zip(channels, channels[1:]), 1):
        net.add_module(f"conv{i}", nn.Conv2d(n_in, n_out, 3, 1 if i == 1 else 2, 1, bias=False))
        net.add_module(f"bn{i}", nn.BatchNorm2d(n_out))
        net.add_module(f"relu{i}", nn.ReLU(inplace=True))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    return net


class BasicBlock(nn.Module):
    def __init__(self, n_in, n_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False),
                                            nn.BatchNorm2d(n_out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x), inplace=True)


def resnet18():
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 64, 3, 1, 1, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(64))
    net.add_module("relu", nn.ReLU(inplace=True))
    width = 64
    for stage in range(4):
        out = 64 << stage
        net.add_module(f"layer{stage + 1}", nn.Sequential(
            BasicBlock(width, out, 1 if stage == 0 else 2), BasicBlock(out, out, 1)))
        width = out
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    return net


class Bottleneck(nn.Module):
    def __init__(self, n_in, width, stride):
        super().__init__()
        out = 4 * width
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        if stride != 1 or n_in != out:
            self.downsample = nn.Sequential(nn.Conv2d(n_in, out, 1, stride, bias=False),
                                            nn.BatchNorm2d(out))
        else:
            self.downsample = nn.Identity()

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x), inplace=True)


def resnet50():
    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 64, 3, 1, 1, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(64))
    net.add_module("relu", nn.ReLU(inplace=True))
    n_in = 64
    for stage, count in enumerate((3, 4, 6, 3)):
        width, blocks = 64 << stage, []
        for i in range(count):
            blocks.append(Bottleneck(n_in, width, 2 if stage and i == 0 else 1))
            n_in = 4 * width
        net.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    return net


class Attention(nn.Module):
    """One product for queries, keys and values, and the fused kernel: timm's way."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, width, heads, eps):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps), Mlp(width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """ViT-tiny of patches of 4 on 32 x 32 pictures: the class token."""

    def __init__(self, width=192, layers=12, heads=3):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 65, width))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, 4, 4)})
        self.blocks = nn.Sequential(*(Block(width, heads, 1e-6) for _ in range(layers)))
        self.norm = nn.LayerNorm(width, 1e-6)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        return self.norm(self.blocks(x))[:, 0]


class TextTower(nn.Module):
    def __init__(self, vocab=8192, length=64, width=256, layers=4, heads=4, out=128):
        super().__init__()
        self.encoder = nn.ModuleDict({
            "words": nn.Embedding(vocab, width),
            "positions": nn.Embedding(length, width),
            "stack": nn.ModuleDict({
                "blocks": nn.Sequential(*(Block(width, heads, 1e-5) for _ in range(layers))),
                "norm": nn.LayerNorm(width)})})
        self.projector = nn.Linear(width, out)

    def forward(self, ids):
        stack = self.encoder["stack"]
        x = self.encoder["words"](ids) + self.encoder["positions"].weight
        return self.projector(stack["norm"](stack["blocks"](x)).mean(1))


class BertLayer(nn.Module):
    """transformers' names and its fast way of attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads

        def linear(n_in, n_out):
            return nn.Linear(n_in, n_out)

        self.attention = nn.ModuleDict({
            "self": nn.ModuleDict({name: linear(width, width)
                                   for name in ("query", "key", "value")}),
            "output": nn.ModuleDict({"dense": linear(width, width),
                                     "LayerNorm": nn.LayerNorm(width, 1e-12)})})
        self.intermediate = nn.ModuleDict({"dense": linear(width, 4 * width)})
        self.output = nn.ModuleDict({"dense": linear(4 * width, width),
                                     "LayerNorm": nn.LayerNorm(width, 1e-12)})

    def forward(self, x, mask):
        part = self.attention["self"]
        q, k, v = (part[name](x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
                   for name in ("query", "key", "value"))
        y = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        part = self.attention["output"]
        x = part["LayerNorm"](x + part["dense"](y))
        y = self.output["dense"](F.gelu(self.intermediate["dense"](x)))
        return self.output["LayerNorm"](x + y)


class CrossEncoder(nn.Module):
    def __init__(self, vocab=8192, width=384, layers=6, heads=12, positions=128):
        super().__init__()
        self.bert = nn.ModuleDict({
            "embeddings": nn.ModuleDict({
                "word_embeddings": nn.Embedding(vocab, width, padding_idx=0),
                "position_embeddings": nn.Embedding(positions, width),
                "token_type_embeddings": nn.Embedding(2, width),
                "LayerNorm": nn.LayerNorm(width, 1e-12)}),
            "encoder": nn.ModuleDict({"layer": nn.ModuleList(
                BertLayer(width, heads) for _ in range(layers))}),
            "pooler": nn.ModuleDict({"dense": nn.Linear(width, width)})})
        self.classifier = nn.Linear(width, 1)

    def forward(self, ids, types, mask):
        part = self.bert["embeddings"]
        x = (part["word_embeddings"](ids) + part["token_type_embeddings"](types)
             + part["position_embeddings"].weight[:ids.shape[1]])
        x = part["LayerNorm"](x)
        for layer in self.bert["encoder"]["layer"]:
            x = layer(x, mask)
        return self.classifier(torch.tanh(self.bert["pooler"]["dense"](x[:, 0])))


def load(net, data):
    """Our weights, by name; every parameter must be there."""
    with torch.no_grad():
        for name, p in net.named_parameters():
            w = data[name.replace(".", "/")]
            p.copy_(w.permute(0, 3, 1, 2) if w.dim() == 4 else w)
    return net


def total_norm(net):
    return torch.stack([p.grad.norm() for p in net.parameters()]).norm()


def training(make, loss_of):
    """configs and results of a training step; loss_of(net) by configuration name."""
    def step_of(net, loss):
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

        def run(look=None):
            optimizer.zero_grad()
            value = loss()
            value.backward()
            if look:
                look(net)
            optimizer.step()
            return value
        return run

    def config(name):
        net = make(name)
        return step_of(net, loss_of(name, net))

    def results(name):
        run, norms, found = config(name), [], {}
        for i in range(1, TRAINING_STEPS + 1):
            found[f"loss {i}"] = run(lambda net: norms.append(total_norm(net))).detach()
        return found | {"gradient norm": norms[0]}
    return config, results


@row(r"overhead mlp step ")
def mlp_step(_, data):
    x, target = data["input"], data["target"]
    config, results = training(
        lambda name: load(nn.ModuleDict({"mlp": mlp(64, 128, 64)}), data),
        lambda name, net: lambda: F.mse_loss(net["mlp"](x), target))
    return Row({"eager": config("eager")}, lambda: results("eager"))


class Contrast(nn.Module):
    def __init__(self, encoder, projector):
        super().__init__()
        self.encoder, self.projector = encoder, projector

    def forward(self, x):
        return self.projector(self.encoder(x))


NETWORKS = {
    "convnet": lambda: Contrast(convnet(1, 32, 64, 128), mlp(128, 128, 64)),
    "resnet18": lambda: Contrast(resnet18(), mlp(512, 512, 128)),
    "resnet50": lambda: Contrast(resnet50(), mlp(2048, 2048, 128)),
    "vit-tiny/4": lambda: Contrast(ViT(), mlp(192, 192, 128)),
}


class Lazy(dict):
    """Configurations that are made when they are first run: a network each takes memory."""

    def __getitem__(self, name):
        value = super().__getitem__(name)
        if isinstance(value, tuple):
            value = self[name] = value[0](name)
        return value


@row(r"step simclr (convnet|resnet18|resnet50|vit-tiny/4) ")
def simclr(match, data):
    both = data["input"]

    def make(name):
        net = load(NETWORKS[match[1]](), data).to(memory_format=LAYOUTS[name.split()[0]])
        return torch.compile(net) if "compiled" in name else net

    def loss_of(name, net):
        x = pictures(both, LAYOUTS[name.split()[0]])
        if "joint" in name:
            def loss():
                z = net(x)
                return ntxent_loss(z[:len(z) // 2], z[len(z) // 2:])
        else:
            first, second = x[:len(x) // 2], x[len(x) // 2:]

            def loss():
                return ntxent_loss(net(first), net(second))
        return loss

    config, results = training(make, loss_of)
    names = [f"{layout} {passes}{kind}" for kind in (["", " compiled"] if COMPILE else [""])
             for layout in LAYOUTS for passes in ("two passes", "joint")
             if not kind or layout == "nhwc"]   # compiling takes a minute each
    # Ours were shared by a step on both views at once.
    return Row(Lazy({name: (config,) for name in names}), lambda: results("nhwc joint"))


def texts(make, loss_of, data):
    """A step on texts, compiled or not."""
    def network(name):
        net = load(make(), data)
        return torch.compile(net) if "compiled" in name else net

    config, results = training(network, loss_of)
    names = ["eager", "eager compiled"] if COMPILE else ["eager"]
    return Row(Lazy({name: (config,) for name in names}), lambda: results("eager"))


@row(r"step text transformer ")
def text_tower(_, data):
    ids, target = data["ids"].long(), data["target"]
    sames = torch.arange(len(ids))

    def loss_of(_, net):
        return lambda: F.cross_entropy(
            F.normalize(net(ids), dim=1) @ F.normalize(target, dim=1).T / 0.5, sames)
    return texts(TextTower, loss_of, data)


@row(r"step bert cross-encoder ")
def cross_encoder(_, data):
    ids, types, target = data["ids"].long(), data["types"].long(), data["target"]
    places = torch.arange(ids.shape[1])
    hidden = torch.zeros(len(ids), 1, 1, ids.shape[1]).masked_fill(
        (places >= data["lengths"][:, None])[:, None, None], torch.finfo(torch.float32).min)

    def loss_of(_, net):
        return lambda: F.binary_cross_entropy_with_logits(net(ids, types, hidden), target)
    return texts(CrossEncoder, loss_of, data)


@row(r"step vit-tiny/4 .* one block")
def vit_block(_, data):
    x = data.leaf("x")
    names = [n for n in data.inputs() if "/" in n]
    p = {name: data.leaf(name) for name in names}
    width, heads = x.shape[-1], 3

    def function():
        y = F.layer_norm(x, (width,), p["norm1/weight"], p["norm1/bias"])
        qkv = F.linear(y, p["qkv/weight"], p["qkv/bias"])
        q, k, v = qkv.unflatten(-1, (3, heads, width // heads)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        z = x + F.linear(y, p["proj/weight"], p["proj/bias"])
        y = F.layer_norm(z, (width,), p["norm2/weight"], p["norm2/bias"])
        y = F.gelu(F.linear(y, p["fc1/weight"], p["fc1/bias"]))
        return z + F.linear(y, p["fc2/weight"], p["fc2/bias"])

    run, results = with_gradients(function, {"x": x} | p, data["dy"])
    return Row({"eager": run}, lambda: {
        {"dqkv/weight": "dqkv"}.get(name, name): value for name, value in results().items()})


# ---- sequences and sounds ------------------------------------------------------------------------

@row(r"step gru T(\d+) (\d+) ")
def gru_step(match, data):
    """torch.compile leaves recurrent layers as they are: there is one configuration."""
    width, x, dy = int(match[2]), data.leaf("x"), data["dy"]

    def config():
        net = load(nn.ModuleDict({"gru": nn.GRU(width, width, batch_first=True)}), data)["gru"]
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01, fused=True)

        def run(look=None):
            optimizer.zero_grad()
            clear(x)
            y = net(x)[0]
            y.backward(dy)
            if look:
                look(net, y)
            optimizer.step()
        return run

    def results():
        found = {}

        def look(net, y):
            found.update({"y": y.detach(), "dx": x.grad.clone()})
            found.update({f"d{n}": p.grad.clone() for n, p in net.named_parameters()})
        config()(look)
        return found
    return Row({"eager": config()}, results)


@row(r"log-mel 10 s at 16 kHz, 400/160, 80 mels")
def log_mel(_, data):
    import librosa
    x = data["x"].numpy()

    def run():
        y = librosa.feature.melspectrogram(y=x, sr=16000, n_fft=400, hop_length=160, n_mels=80)
        return np.log(np.maximum(y, 1e-10))
    return Row({"librosa": run}, lambda: {"y": torch.from_numpy(run().T.copy())})


# ---- augmented views -----------------------------------------------------------------------------

@row(r"views (28x28 grey|32x32x3|96x96x3) .*(jitter|RandAugment)")
def views(match, _):
    """Pillow, as torchvision does it for pictures: the same list of augmentations, to numbers;
    RandAugment is torchvision's own."""
    from PIL import Image, ImageEnhance, ImageFilter
    color = "x3" in match[1]
    side = int(match[1][:2])
    change = None
    if match[2] == "RandAugment":
        from torchvision import transforms
        change = transforms.RandAugment(2, 9, interpolation=transforms.InterpolationMode.BILINEAR)
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (256, side, side, 3) if color else (256, side, side),
                               dtype=np.uint8)
    uniform = random.Random(0).uniform

    def crop(picture):
        area, aspect = uniform(0.2, 1) * side * side, np.exp(uniform(np.log(3 / 4), np.log(4 / 3)))
        width = min(side, round((area * aspect) ** 0.5))
        height = min(side, round((area / aspect) ** 0.5))
        left, top = int(uniform(0, side - width + 1)), int(uniform(0, side - height + 1))
        return picture.resize((side, side), Image.BILINEAR,
                              box=(left, top, left + width, top + height))

    def turn_hue(picture):
        hue, saturation, value = picture.convert("HSV").split()
        shift = int(uniform(-25.5, 25.5)) % 256
        hue = hue.point([(i + shift) % 256 for i in range(256)])
        return Image.merge("HSV", (hue, saturation, value)).convert("RGB")

    def jitter(picture):
        kinds = [ImageEnhance.Brightness, ImageEnhance.Contrast]
        for kind in kinds + ([ImageEnhance.Color] if color else []):
            picture = kind(picture).enhance(uniform(0.6, 1.4))
        return turn_hue(picture) if color else picture

    def simclr(picture):
        if uniform(0, 1) < 0.8:
            picture = jitter(picture)
        if color and uniform(0, 1) < 0.2:
            picture = picture.convert("L").convert("RGB")
        if uniform(0, 1) < 0.5:
            picture = picture.filter(ImageFilter.GaussianBlur(uniform(0.1, 2)))
        return picture

    def view(picture):
        picture = crop(picture)
        if uniform(0, 1) < 0.5:
            picture = picture.transpose(Image.FLIP_LEFT_RIGHT)
        picture = change(picture) if change else simclr(picture)
        return (np.asarray(picture, dtype=np.float32) / 255 - 0.5) / 0.25

    def run():
        for picture in noise:
            for _ in range(2):
                view(Image.fromarray(picture))
    return Row({"torchvision" if change else "Pillow": run}, divide=2 * len(noise))


# ---- requests ------------------------------------------------------------------------------------

def make_row(name, path):
    for pattern, make in ROWS:
        match = pattern.match(name)
        if match:
            return make(match, Shared(path) if path else None)
    raise ValueError("there is no such row")


def differences(results, expected):
    """Largest difference over the largest value; every expected array must be there."""
    found = {}
    for name, ours in expected.items():
        theirs = results[name].numpy().astype(np.float64)
        if theirs.shape != ours.shape:
            raise ValueError(f"{name}: {list(theirs.shape)} here, {list(ours.shape)} there")
        largest = max(np.abs(theirs).max(), 1e-30)
        found[name] = float(np.abs(theirs - ours).max() / largest)
    return found


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


class Server:
    def __init__(self):
        self.row = None

    def machine(self):
        return {"torch": torch.__version__, "threads": torch.get_num_threads(),
                "pillow": version("pillow"), "torchvision": version("torchvision"),
                "librosa": version("librosa"),
                "mkl": torch.backends.mkl.is_available()}

    def open(self, name, path=""):
        self.row = None
        self.row = make_row(name, path)
        answer = {"configs": list(self.row.configs)}
        if path and self.row.results:
            answer["differences"] = differences(self.row.results(), Shared(path).expected())
        return answer

    def sample(self, run, repeats):
        if self.row.prepare:
            self.row.prepare()
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats

    def time(self, config, seconds):
        seconds, run = float(seconds), self.row.configs[config]
        start, samples, repeats = time.perf_counter(), [], 1
        first = self.sample(run, 1)
        if first > seconds:     # long ones: the first run counts, it was warmed by the last turn
            samples.append(first)
        elif not self.row.prepare and first < LEAST_SECONDS:
            repeats = int(LEAST_SECONDS / first) + 1
        while len(samples) < SAMPLES and (
                not samples or time.perf_counter() - start < seconds):
            samples.append(self.sample(run, repeats))
        scale = 1e3 / self.row.divide
        return {"ms": scale * statistics.median(samples), "best": scale * min(samples),
                "runs": len(samples) * repeats}


def serve():
    server = Server()
    requests = {"machine": server.machine, "open": server.open, "time": server.time}
    for line in sys.stdin:
        what, *arguments = line.rstrip("\n").split("\t")
        try:
            answer = requests[what](*arguments)
        except Exception as error:      # whatever went wrong, the other rows can be measured
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


def resident_mb(field):
    with open("/proc/self/status", encoding="ascii") as status:
        for line in status:
            if line.startswith(field):
                return int(line.split()[1]) * 1024e-6
    return 0.0


def memory(name, config, path):
    start = resident_mb("VmRSS:")
    row = make_row(name, path)
    run = row.configs[config or next(iter(row.configs))]
    run()
    run()
    print(json.dumps({"mb": resident_mb("VmHWM:") - start}))


def first_step():
    net = mlp(64, 128, 64)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
    F.mse_loss(net(torch.randn(32, 64)), torch.randn(32, 64)).backward()
    optimizer.step()


def main():
    global COMPILE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="compiled networks too (minutes)")
    parser.add_argument("--memory", nargs=3, metavar=("ROW", "CONFIG", "PATH"))
    parser.add_argument("--first-step", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    COMPILE = options.compile
    if options.first_step:
        first_step()
    elif options.memory:
        memory(*options.memory)
    else:
        serve()


if __name__ == "__main__":
    main()
