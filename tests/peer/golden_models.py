#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden files of whole models with other shapes and options, from transformers and timm.

Usage: golden_models.py FOLDER [SEED]     then AK_GOLDEN_DIR=FOLDER test_golden_transformer
       golden_models.py tests/golden 0    the two files of tests/golden that it has made

The keys are those of tests/golden/model-*.npz: cK_x, ids, lengths, target, .. inputs; cK_p_NAME
parameters; cK_opt_NAME options; cK_y output, cK_gy upstream gradient; cK_gx, cK_gp_NAME gradients.
T5's norms take their mean of squares in float, whatever the model is in, and with them all that
follows has the digits of a float. Here they are in double (opt_exact_norm).
"""
import os
import sys
import types

import numpy
import torch
import torch.nn.functional as F

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.modules["torchvision._meta_registrations"] = types.ModuleType("unused")     # see resnet.py
import timm  # noqa: E402
import transformers  # noqa: E402
from transformers.models.blip_2.modeling_blip_2 import Blip2TextEmbeddings  # noqa: E402
from transformers.models.t5 import modeling_t5  # noqa: E402

torch.set_default_dtype(torch.float64)
FOLDER, SEED = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
torch.manual_seed(SEED)


def exact_norm(self, x):
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


modeling_t5.T5LayerNorm.forward = exact_norm


class File:
    def __init__(self, name):
        self.name, self.arrays, self.cases = name, {}, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.arrays["cases"] = numpy.array(self.cases)
        numpy.savez_compressed(f"{FOLDER}/{self.name}.npz", **self.arrays)

    def put(self, name, value):
        if isinstance(value, torch.Tensor):
            value = value.detach().numpy().copy()
        self.arrays[f"c{self.cases}_{name}"] = numpy.asarray(value)

    def case(self, net, y, gy=None, inputs=None, constants=None, **options):
        """y: of a call of net that has been made; inputs: leaves of that call."""
        gy = torch.ones_like(y) if y.dim() == 0 else torch.randn(y.shape) if gy is None else gy
        y.backward(gy)
        for name, x in (inputs or {}).items():
            self.put(name, x)
            self.put("g" + name, x.grad)
        for name, value in (constants or {}).items():
            self.put(name, value)
        for name, p in net.named_parameters():
            self.put("p_" + name, p)
            self.put("gp_" + name, p.grad if p.grad is not None else torch.zeros_like(p))
        for name, value in options.items():
            self.put("opt_" + name, value)
        self.put("y", y)
        self.put("gy", gy)
        self.cases += 1


def random_weights(net):
    for p in net.parameters():
        p.data = torch.randn(p.shape) * 0.25 + (1 if p.dim() == 1 else 0)
    return net.eval()


def seen(lengths, T):
    return (torch.arange(T) < lengths[:, None]).long()


def words(vocab, *shape):
    return torch.randint(0, vocab, shape)


# ---- words --------------------------------------------------------------------------------------


def bert():
    with File("model-bert") as f:
        for name, activation, vocab, width, heads, layers, N, T, eps in (
                ("last_hidden_state", "relu", 17, 12, 3, 3, 3, 4, 1e-5),
                ("pooler_output", "gelu", 23, 8, 1, 1, 1, 1, 1e-12),
                ("masked_lm_loss", "gelu", 19, 20, 5, 2, 2, 9, 1e-6)):
            config = transformers.BertConfig(
                vocab_size=vocab, hidden_size=width, num_attention_heads=heads,
                num_hidden_layers=layers, intermediate_size=3 * width, hidden_act=activation,
                max_position_embeddings=T + 2, type_vocab_size=3, layer_norm_eps=eps,
                attn_implementation="eager")
            masked = name == "masked_lm_loss"
            net = random_weights(transformers.BertForMaskedLM(config) if masked else
                                 transformers.BertModel(config,
                                                        add_pooling_layer="pooler" in name))
            ids, segments = words(vocab, N, T), words(3, N, T)
            lengths = torch.randint(1, T + 1, (N,))
            out = net(input_ids=ids, token_type_ids=segments, attention_mask=seen(lengths, T))
            constants = {"ids": ids, "segments": segments, "lengths": lengths}
            gy = None
            if masked:
                target = words(vocab, N, T)
                target[torch.rand(N, T) < 0.6] = -100
                target[0, 0] = 1
                constants["target"] = target
                y = F.cross_entropy(out.logits.flatten(0, 1), target.flatten())
            elif "pooler" in name:
                y = out.pooler_output
            else:
                y = out.last_hidden_state
                gy = torch.randn(y.shape) * seen(lengths, T)[..., None]
            f.case(net, y, gy, constants=constants, name=name, vocab=vocab, width=width,
                   layers=layers, heads=heads, activation=activation, eps=eps)


def greedy(net, ids, count):
    """Word after word from whole passes."""
    while ids.shape[1] < count:
        ids = torch.cat([ids, net(input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return ids


def gpt2():
    with File("model-gpt2") as f:
        for vocab, width, heads, layers, N, T in ((13, 12, 3, 3, 3, 5), (31, 8, 1, 1, 1, 3)):
            net = random_weights(transformers.GPT2LMHeadModel(transformers.GPT2Config(
                vocab_size=vocab, n_embd=width, n_head=heads, n_layer=layers, n_positions=T + 1,
                n_inner=3 * width, attn_implementation="eager")))
            ids = words(vocab, N, T)
            with torch.no_grad():
                continued = greedy(net, ids[:, :2], T)
            f.case(net, net(input_ids=ids).logits, constants={"ids": ids, "greedy": continued},
                   name="logits", vocab=vocab, width=width, layers=layers, heads=heads, eps=1e-5)


def t5_case(f, vocab, width, head, heads, layers, decoder, hidden, feed, tied, scaled, N, S, T,
            name):
    config = transformers.T5Config(
        vocab_size=vocab, d_model=width, d_kv=head, d_ff=hidden, num_layers=layers,
        num_decoder_layers=decoder, num_heads=heads, relative_attention_num_buckets=6 + 2 * heads,
        relative_attention_max_distance=11, feed_forward_proj=feed, layer_norm_epsilon=1e-5,
        decoder_start_token_id=0, pad_token_id=0, attn_implementation="eager")
    config.scale_decoder_outputs = bool(scaled)
    net = transformers.T5ForConditionalGeneration(config)
    if not tied:
        net.lm_head.weight = torch.nn.Parameter(torch.zeros(vocab, width))
    random_weights(net)
    ids, target = words(vocab, N, S), words(vocab, N, T)
    target[torch.rand(N, T) < 0.2] = -100
    target[0, 0] = 1
    lengths = torch.randint(1, S + 1, (N,))
    lengths[0] = S
    start = torch.cat([torch.zeros(N, 1, dtype=torch.long), target[:, :-1].clamp(min=0)], 1)
    mask = seen(lengths, S)
    out = net(input_ids=ids, attention_mask=mask, decoder_input_ids=start)
    y = out.logits
    if name == "loss":
        y = F.cross_entropy(y.flatten(0, 1), target.flatten())
    encoder = out.encoder_last_hidden_state * mask[..., None]
    f.case(net, y, constants={"ids": ids, "lengths": lengths, "target": target,
                              "encoder_y": encoder}, vocab=vocab, width=width, head_width=head,
           layers=layers, heads=heads, buckets=config.relative_attention_num_buckets,
           max_distance=11, feed_forward=feed, tied=tied, scaled=scaled, eps=1e-5, start=0,
           name=name, exact_norm=1)


def t5(name="model-t5"):
    with File(name) as f:
        t5_case(f, 13, 6, 4, 2, 1, 2, 7, "relu", 1, 1, 3, 13, 6, "loss")
        t5_case(f, 11, 4, 3, 2, 1, 1, 6, "gated-gelu", 0, 0, 2, 1, 17, "logits")
        if SEED:
            t5_case(f, 29, 12, 4, 3, 2, 2, 20, "relu", 1, 1, 3, 13, 6, "loss")
            t5_case(f, 17, 8, 5, 2, 1, 3, 16, "gated-gelu", 0, 0, 2, 1, 17, "logits")
            t5_case(f, 23, 16, 16, 1, 3, 1, 7, "gated-silu", 1, 0, 1, 5, 1, "logits")
            t5_case(f, 11, 6, 3, 2, 1, 1, 9, "gelu", 0, 1, 2, 19, 20, "loss")


# ---- pictures -----------------------------------------------------------------------------------


def vit():
    with File("model-vit") as f:
        for image, patch, width, depth, heads, classes, N in ((12, 3, 12, 3, 3, 0, 2),
                                                              (10, 5, 8, 1, 2, 7, 1)):
            net = random_weights(timm.models.vision_transformer.VisionTransformer(
                img_size=image, patch_size=patch, embed_dim=width, depth=depth, num_heads=heads,
                num_classes=classes, global_pool="token", mlp_ratio=3))
            x = torch.randn(N, 3, image, image, requires_grad=True)
            y = net(x) if classes else net.forward_features(x)
            c = f.cases
            f.case(net, y, inputs={"x": x}, image=image, patch=patch, depth=depth, heads=heads,
                   eps=net.norm.eps)
            channels_last(f, c)


def channels_last(f, c):
    for name in ("x", "gx"):
        f.arrays[f"c{c}_{name}"] = numpy.ascontiguousarray(
            f.arrays[f"c{c}_{name}"].transpose(0, 2, 3, 1))


def clip_case(f, activation, vocab, text, picture, layers, heads, image, patch, projection, N, T):
    shared = {"hidden_act": activation, "num_attention_heads": heads, "layer_norm_eps": 1e-4}
    end = vocab - 2
    config = transformers.CLIPConfig(
        text_config=dict(vocab_size=vocab, hidden_size=text, intermediate_size=3 * text,
                         num_hidden_layers=layers, max_position_embeddings=T + 1, eos_token_id=end,
                         bos_token_id=0, pad_token_id=end, **shared),
        vision_config=dict(hidden_size=picture, intermediate_size=2 * picture, image_size=image,
                           num_hidden_layers=layers + 1, patch_size=patch, **shared),
        projection_dim=projection, attn_implementation="sdpa")      # eager: softmax in float
    net = random_weights(transformers.CLIPModel(config))
    x = torch.randn(N, 3, image, image, requires_grad=True)
    ids = words(end, N, T)
    lengths = torch.randint(1, T + 1, (N,))
    lengths[0] = T
    for n in range(N):
        ids[n, lengths[n] - 1:] = end       # the end token pads as well: the first one counts
    out = net(input_ids=ids, pixel_values=x, attention_mask=seen(lengths, T))
    c = f.cases
    f.case(net, out.logits_per_image, inputs={"x": x}, constants={
        "ids": ids, "lengths": lengths, "text_embeds": out.text_embeds,
        "image_embeds": out.image_embeds}, vocab=vocab, text_width=text, picture_width=picture,
           layers=layers, heads=heads, image=image, patch=patch, activation=activation,
           projection=projection, end_token=end, eps=1e-4)
    channels_last(f, c)


def clip():
    with File("model-clip") as f:
        clip_case(f, "gelu", 21, 12, 20, 1, 4, 9, 3, 6, 4, 5)
        clip_case(f, "quick_gelu", 15, 8, 8, 3, 1, 8, 8, 5, 1, 1)
        clip_case(f, "quick_gelu", 33, 24, 12, 2, 3, 12, 4, 10, 3, 7)


# ---- Q-Former -----------------------------------------------------------------------------------


def added(sees):
    """What is added to scores."""
    return torch.zeros(sees.shape).masked_fill(~sees, torch.finfo(torch.float64).min)


class WithWords(torch.nn.Module):
    """Queries and words around Blip2QFormerModel, as in Blip2ForImageTextRetrieval."""

    def __init__(self, config, queries):
        super().__init__()
        self.query_tokens = torch.nn.Parameter(torch.zeros(1, queries, config.hidden_size))
        self.embeddings = Blip2TextEmbeddings(config)
        self.qformer = transformers.Blip2QFormerModel(config)

    def named_parameters(self, *rest, **named):
        for name, p in super().named_parameters(*rest, **named):
            yield name.removeprefix("qformer."), p

    def forward(self, memory, ids, mode, memory_mask, text_mask):
        N, T = ids.shape
        Q = self.query_tokens.shape[1] if memory is not None else 0
        x = self.embeddings(ids, query_embeds=self.query_tokens.expand(N, -1, -1) if Q else None)
        sees = torch.ones(N, Q + T, Q + T, dtype=torch.bool)
        if mode != "match":
            sees[:, :Q, Q:] = False
        if mode == "contrast":
            sees[:, Q:, :Q] = False
        if mode == "generate":
            sees[:, Q:, Q:] = torch.ones(T, T, dtype=torch.bool).tril()
        sees = sees & torch.cat([torch.ones(N, Q), text_mask], 1)[:, None].bool()
        if memory is not None:          # of two axes it would get the rows of words as well
            memory_mask = added(memory_mask.bool()[:, None, None])
        return self.qformer(query_embeds=x, query_length=Q, attention_mask=added(sees[:, None]),
                            encoder_hidden_states=memory,
                            encoder_attention_mask=memory_mask).last_hidden_state


def qformer_config(vocab, width, heads, layers, hidden, memory, every, activation, words_too):
    return transformers.Blip2QFormerConfig(
        vocab_size=vocab, hidden_size=width, num_attention_heads=heads, num_hidden_layers=layers,
        intermediate_size=hidden, encoder_hidden_size=memory, cross_attention_frequency=every,
        hidden_act=activation, layer_norm_eps=1e-6, max_position_embeddings=9, pad_token_id=0,
        use_qformer_text_input=words_too, attn_implementation="eager")


def queries_case(f, width, heads, layers, hidden, memory, every, activation, N, Q, S):
    net = random_weights(transformers.Blip2QFormerModel(qformer_config(
        5, width, heads, layers, hidden, memory, every, activation, False)))
    x = torch.randn(N, Q, width, requires_grad=True)
    x2 = torch.randn(N, S, memory, requires_grad=True)
    lengths = torch.randint(1, S + 1, (N,))
    y = net(query_embeds=x, encoder_hidden_states=x2,
            encoder_attention_mask=seen(lengths, S)).last_hidden_state
    f.case(net, y, inputs={"x": x, "x2": x2}, constants={"memory_lengths": lengths}, width=width,
           memory_width=memory, layers=layers, heads=heads, queries=Q, every=every,
           activation=activation, eps=1e-6)


def words_case(f, mode, width, heads, layers, hidden, memory, every, activation, N, Q, S, T):
    net = random_weights(WithWords(qformer_config(13, width, heads, layers, hidden, memory, every,
                                                  activation, True), Q))
    x2 = torch.randn(N, S, memory, requires_grad=True) if S else None
    ids = words(13, N, T)
    memory_lengths, lengths = torch.randint(1, S + 2, (N,)), torch.randint(1, T + 1, (N,))
    memory_lengths = memory_lengths.clamp(max=max(S, 1))
    y = net(x2, ids, mode, seen(memory_lengths, S) if S else None, seen(lengths, T))
    queries = torch.ones(N, y.shape[1] - T)
    gy = torch.randn(y.shape) * torch.cat([queries, seen(lengths, T)], 1)[..., None]
    constants = {"ids": ids, "lengths": lengths}
    if S:
        constants["memory_lengths"] = memory_lengths
    f.case(net, y, gy, inputs={"x2": x2} if S else None, constants=constants, mode=mode,
           width=width, memory_width=memory, layers=layers, heads=heads, queries=Q, every=every,
           activation=activation, eps=1e-6)


def qformer(name="model-qformer"):
    with File(name) as f:
        if SEED:
            queries_case(f, 12, 3, 3, 20, 7, 1, "relu", 3, 2, 4)
            queries_case(f, 8, 1, 4, 8, 8, 3, "gelu", 1, 1, 1)
            words_case(f, "match", 12, 2, 3, 20, 5, 2, "gelu", 2, 3, 4, 5)
            words_case(f, "contrast", 12, 4, 2, 16, 6, 2, "relu", 1, 1, 1, 1)
        words_case(f, "match", 4, 2, 2, 6, 3, 2, "gelu", 2, 2, 3, 4)
        words_case(f, "contrast", 4, 2, 2, 6, 4, 1, "gelu", 3, 2, 3, 4)
        words_case(f, "generate", 6, 3, 2, 5, 6, 2, "relu", 2, 4, 2, 6)
        words_case(f, "contrast", 4, 2, 2, 6, 3, 2, "gelu", 2, 2, 0, 4)
        words_case(f, "generate", 4, 2, 2, 6, 3, 2, "gelu", 2, 2, 0, 4)


if SEED:
    for make in (bert, gpt2, t5, vit, clip, qformer):
        make()
else:       # the files of tests/golden that others do not have
    t5("model-t5-exact")
    qformer("model-qformer-words")
