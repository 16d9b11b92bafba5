#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small ViT of timm with random weights, run by akin: tokens, classes, gradients of pictures.

Usage: timm_vit.py build-test/tests/peer/client
"""
import sys

import torch

from clients import GRADIENTS, OUTPUTS, compare, finish, options, random_weights, run
from timm.models.vision_transformer import VisionTransformer

torch.manual_seed(4)
PROGRAM = sys.argv[1]


def vit(image, patch, classes):
    net = random_weights(VisionTransformer(img_size=image, patch_size=patch, embed_dim=48, depth=3,
                                           num_heads=3, num_classes=classes, global_pool="token"))
    x = torch.randn(2, 3, image, image).float().double().requires_grad_()
    y = net(x) if classes else net.forward_features(x)
    gy = torch.randn(y.shape).double()
    y.backward(gy)
    got = run(PROGRAM, "vit", net,
              dict(x=x.detach().permute(0, 2, 3, 1).contiguous(), gy=gy) |
              options(image=image, patch=patch, width=48, layers=3, heads=3, classes=classes,
                      eps=net.norm.eps))
    name = f"ViT {image}/{patch}, {classes} classes"
    compare(name, got["y"], y, OUTPUTS)
    compare(name + ", gradient", got["gx"], x.grad.permute(0, 2, 3, 1), GRADIENTS)


vit(32, 8, 0)
vit(20, 4, 10)
finish()
