#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden files of torchvision's ResNets and of poolings of maps, from PyTorch.

Usage: resnet.py FOLDER [large]     then AK_GOLDEN_DIR=FOLDER test_golden_heads

model-resnet.npz   cases of ResNet-18, -34, -50 with the keys of model-resnet18.npz: cK_x, cK_gy,
                   cK_y, cK_gx, cK_p_NAME, cK_gp_NAME, cK_b_NAME (running statistics: after the pass
                   in train mode, before it in evaluation mode), cK_opt_depth, _width, _stem, _eval,
                   _margin (below 1e-6 a float may have other gradients: see margin_of). The
                   small ones are those of tests/golden; `large` makes other widths, and whole nets
                   of width 64 without gradients of parameters.
pool-map.npz       gN_: generalised means (x, p, gy, y, gx, gp, opt_eps); aN_: CLIP's attention
                   pooling (x, p_NAME, gy, y, gx, gp_NAME, opt_heads).
"""
import sys
import types

import numpy
import torch
import torch.nn.functional as F

# The half of torchvision that is Python is all that is needed: wheels of its operators fit one
# build of PyTorch only.
sys.modules["torchvision._meta_registrations"] = types.ModuleType("unused")
from torchvision.models import resnet  # noqa: E402

torch.set_default_dtype(torch.float64)
FOLDER, LARGE = sys.argv[1], "large" in sys.argv[2:]
generator = torch.Generator().manual_seed(5)
PLANS = {18: (resnet.BasicBlock, [2, 2, 2, 2]), 34: (resnet.BasicBlock, [3, 4, 6, 3]),
         50: (resnet.Bottleneck, [3, 4, 6, 3])}


def normal(*shape):
    return torch.randn(shape, generator=generator)


class ResNet(resnet.ResNet):
    """torchvision's blocks and stages with another width and stem."""

    def __init__(self, depth, width, stem, classes):
        self.width = width
        block, layers = PLANS[depth]
        super().__init__(block, layers, num_classes=classes)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.fc = torch.nn.Linear(8 * width * block.expansion, classes)
        if stem == 7:
            self.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
        else:
            self.conv1 = torch.nn.Conv2d(3, width, 3, 1, 1, bias=False)
            self.maxpool = torch.nn.Identity()

    def _make_layer(self, block, planes, *rest, **named):
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, *rest, **named)


def margin_of(net, x):
    """The smallest number in front of a ReLU as a share of the largest there: one that floats can
    not tell from 0 may go either way, and the gradient with it."""
    margins = []

    def look(_, inputs):
        size = inputs[0].detach().abs()
        margins.append(float(size.min() / size.max()))
    hooks = [m.register_forward_pre_hook(look) for m in net.modules()
             if isinstance(m, torch.nn.ReLU)]
    y = net(x)
    for hook in hooks:
        hook.remove()
    return min(margins), y


def add_resnet(arrays, c, *case):
    """Small nets are drawn until no ReLU is on the edge; whole ones have too many units."""
    while not draw_resnet(arrays, c, *case):
        pass


def draw_resnet(arrays, c, depth, width, stem, side, batch, evaluate, gradients):
    net = ResNet(depth, width, stem, 5)
    for p in net.parameters():
        scale = 0.2 if p.dim() == 1 else (2 / p[0].numel()) ** 0.5
        p.data = normal(*p.shape) * scale + (1 if p.dim() == 1 else 0)
    for name, b in net.named_buffers():
        if evaluate and b.dim():
            b.data = normal(*b.shape) ** 2 + 0.5
    net.train(not evaluate)
    if not gradients:       # numbers that a float holds: the file is half as large
        for t in list(net.parameters()) + list(net.buffers()):
            t.data = t.data.float().to(t.dtype)
    start = {name: b.detach().clone() for name, b in net.named_buffers()}
    x = normal(batch, 3, side, side).requires_grad_()
    margin, y = margin_of(net, x)
    if gradients and margin < 5e-6:
        return False
    put = arrays.__setitem__
    half = (lambda t: t.detach().numpy()) if gradients else (lambda t: t.detach().float().numpy())
    for name, p in net.named_parameters():
        put(f"c{c}_p_{name}", half(p))
    if evaluate:
        for name, b in start.items():
            put(f"c{c}_b_{name}", half(b))
    gy = normal(*y.shape)
    y.backward(gy)
    channels_last = (0, 2, 3, 1)
    put(f"c{c}_x", x.detach().permute(channels_last).contiguous().numpy())
    put(f"c{c}_gx", x.grad.permute(channels_last).contiguous().numpy())
    put(f"c{c}_y", y.detach().numpy())
    put(f"c{c}_gy", gy.numpy())
    for name, p in net.named_parameters():
        if gradients:
            put(f"c{c}_gp_{name}", p.grad.numpy())
    if not evaluate:
        for name, b in net.named_buffers():
            if b.dim():
                put(f"c{c}_b_{name}", b.numpy())
    for name, value in dict(depth=depth, width=width, stem=stem, eval=int(evaluate),
                            margin=margin).items():
        put(f"c{c}_opt_{name}", numpy.array(value))
    return True


def write_resnets():
    # depth, width, stem, side, batch, evaluation mode, gradients of parameters
    cases = [(34, 1, 3, 8, 6, False, True), (50, 1, 7, 64, 3, False, True),
             (50, 1, 3, 9, 2, True, True)]
    if LARGE:
        cases = [(18, 8, 3, 16, 4, False, True), (34, 4, 7, 65, 3, False, True),
                 (34, 6, 3, 16, 4, True, True), (50, 4, 3, 17, 5, False, True),
                 (50, 8, 7, 64, 2, True, True), (18, 64, 7, 64, 2, True, False),
                 (34, 64, 3, 16, 2, True, False), (50, 64, 3, 32, 2, True, False)]
    arrays = {"cases": numpy.array(len(cases))}
    for c, case in enumerate(cases):
        add_resnet(arrays, c, *case)
    (numpy.savez if LARGE else numpy.savez_compressed)(f"{FOLDER}/model-resnet.npz", **arrays)


def gem(x, p, eps):             # x [N, .., C]; Radenovic et al.'s code: clamp, pow, mean, pow
    return x.clamp(min=eps).pow(p).flatten(1, -2).mean(1).pow(1 / p)


def add_gem(arrays, c, shape, p, eps):
    x = (normal(*shape) + 1).requires_grad_()
    p = torch.tensor(p).requires_grad_()
    y = gem(x, p, eps)
    gy = normal(*y.shape)
    y.backward(gy)
    for name, t in dict(x=x, p=p, gy=gy, y=y, gx=x.grad, gp=p.grad).items():
        arrays[f"g{c}_{name}"] = t.detach().numpy()
    arrays[f"g{c}_opt_eps"] = numpy.array(eps)


def add_clip(arrays, c, side, channels, heads, out, batch):
    """AttentionPool2d of OpenAI's CLIP (model.py), line by line."""
    x = normal(batch, channels, side, side).requires_grad_()
    p = {"positional_embedding": normal(side * side + 1, channels)}
    for name, rows in (("q_proj", channels), ("k_proj", channels), ("v_proj", channels),
                       ("c_proj", out)):
        p[name + ".weight"] = normal(rows, channels) / channels ** 0.5
        p[name + ".bias"] = normal(rows)
    p = {k: v.requires_grad_() for k, v in p.items()}
    t = x.flatten(2).permute(2, 0, 1)
    t = torch.cat([t.mean(dim=0, keepdim=True), t], dim=0)
    t = t + p["positional_embedding"][:, None, :]
    y, _ = F.multi_head_attention_forward(
        query=t[:1], key=t, value=t, embed_dim_to_check=channels, num_heads=heads,
        q_proj_weight=p["q_proj.weight"], k_proj_weight=p["k_proj.weight"],
        v_proj_weight=p["v_proj.weight"], in_proj_weight=None,
        in_proj_bias=torch.cat([p["q_proj.bias"], p["k_proj.bias"], p["v_proj.bias"]]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0,
        out_proj_weight=p["c_proj.weight"], out_proj_bias=p["c_proj.bias"],
        use_separate_proj_weight=True, training=True, need_weights=False)
    y = y.squeeze(0)
    gy = normal(*y.shape)
    y.backward(gy)
    arrays[f"a{c}_x"] = x.detach().permute(0, 2, 3, 1).contiguous().numpy()
    arrays[f"a{c}_gx"] = x.grad.permute(0, 2, 3, 1).contiguous().numpy()
    arrays[f"a{c}_y"], arrays[f"a{c}_gy"] = y.detach().numpy(), gy.numpy()
    arrays[f"a{c}_opt_heads"] = numpy.array(heads)
    for name, w in p.items():
        arrays[f"a{c}_p_{name}"], arrays[f"a{c}_gp_{name}"] = w.detach().numpy(), w.grad.numpy()


def write_pools():
    arrays = {}
    add_gem(arrays, 0, (2, 3, 4, 5), [3.0], 1e-6)
    add_gem(arrays, 1, (3, 7, 4), [0.5, 1.0, 2.5, -2.0], 0.1)
    add_clip(arrays, 0, 3, 6, 2, 4, 2)
    if LARGE:
        add_gem(arrays, 2, (4, 7, 7, 33), [6.5], 1e-3)
        add_gem(arrays, 3, (1, 2, 3, 4, 2), [-1.0], 0.2)
        add_clip(arrays, 1, 7, 32, 4, 20, 3)
        add_clip(arrays, 2, 1, 5, 1, 5, 4)
    numpy.savez_compressed(f"{FOLDER}/pool-map.npz", **arrays)


write_resnets()
write_pools()
