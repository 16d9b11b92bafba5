#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tiny models of transformers with random weights, run by akin: results, gradients, and greedy
generation word for word.

Usage: transformers_models.py build-test/tests/peer/client
"""
import sys

import torch

from clients import (GRADIENTS, OUTPUTS, compare, compare_words, finish, options, random_weights,
                     run, seen)
import transformers

transformers.logging.set_verbosity_error()
torch.manual_seed(3)
PROGRAM = sys.argv[1]


def words(vocab, *shape, low=0):
    return torch.randint(low, vocab, shape)


def bert():
    N, T, vocab = 3, 11, 50
    config = transformers.BertConfig(
        vocab_size=vocab, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=48, max_position_embeddings=T + 1, attn_implementation="eager",
        pad_token_id=0)
    net = random_weights(transformers.BertModel(config))
    ids, types, lengths = words(vocab, N, T, low=1), words(2, N, T), torch.tensor([11, 1, 6])
    mask = seen(lengths, T)
    y = net(input_ids=ids, token_type_ids=types, attention_mask=mask).last_hidden_state
    gy = torch.randn(y.shape).double() * mask[..., None]
    y.backward(gy)
    got = run(PROGRAM, "bert", net, dict(ids=ids, types=types, lengths=lengths, gy=gy) |
              options(vocab=vocab, width=32, layers=3, heads=4, hidden=48, positions=T + 1,
                      eps=1e-12))
    got["y"] *= mask[..., None].numpy()
    compare("BertModel", got["y"], y * mask[..., None], OUTPUTS)
    compare("BertModel, gradient", got["gwords"], net.embeddings.word_embeddings.weight.grad,
            GRADIENTS)


def continue_alone(net, prompt, lengths, steps, **rest):
    """Each row by itself, without padding: [rows, longest prompt + steps], 0 behind the end."""
    out = torch.zeros(len(prompt), prompt.shape[1] + steps, dtype=torch.long)
    for n, count in enumerate(lengths):
        row = net.generate(prompt[n:n + 1, :count], max_new_tokens=steps, do_sample=False,
                           attention_mask=torch.ones(1, int(count), dtype=torch.long),
                           **{k: v[n] for k, v in rest.items()})
        out[n, :row.shape[1]] = row[0]
    return out


def gpt2():
    N, T, vocab, steps = 3, 9, 40, 12
    net = random_weights(transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=vocab, n_embd=32, n_head=4, n_layer=3, n_positions=32, eos_token_id=None,
        bos_token_id=None, pad_token_id=0, attn_implementation="eager")), 0.3)
    ids = words(vocab, N, T)
    y = net(input_ids=ids).logits
    gy = torch.randn(y.shape).double()
    y.backward(gy)
    lengths = torch.tensor([4, 1, 3])
    prompt = ids[:, :4] * seen(lengths, 4)
    linear = [(f"*.{name}.weight",) * 2 + ("10",) for name in ("c_attn", "c_proj", "c_fc")]
    got = run(PROGRAM, "gpt", net,
              dict(ids=ids, gy=gy, prompt=prompt, prompt_lengths=lengths) |
              options(vocab=vocab, width=32, layers=3, heads=4, positions=32, eps=1e-5,
                      steps=steps), linear)
    compare("GPT2LMHeadModel", got["y"], y, OUTPUTS)
    compare("GPT2LMHeadModel, gradient", got["gwords"], net.transformer.wte.weight.grad, GRADIENTS)
    compare_words("GPT2LMHeadModel, greedy", got["greedy"],
                  continue_alone(net, prompt, lengths, steps))


def t5(gated):
    N, S, T, vocab, steps, end = 3, 10, 7, 40, 14, 1
    config = transformers.T5Config(
        vocab_size=vocab, d_model=32, d_kv=10, d_ff=48, num_layers=2, num_heads=3,
        feed_forward_proj="gated-gelu" if gated else "relu", decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=end, attn_implementation="eager")
    net = transformers.T5ForConditionalGeneration(config)
    if gated:       # as T5 1.1: an output layer of its own, which is not scaled
        net.lm_head.weight = torch.nn.Parameter(torch.zeros(vocab, 32))
        config.scale_decoder_outputs = False
    random_weights(net)
    sources, lengths = words(vocab, N, S, low=2), torch.tensor([10, 1, 7])
    ids, mask = words(vocab, N, T), seen(torch.tensor([10, 1, 7]), S)
    y = net(input_ids=sources, attention_mask=mask, decoder_input_ids=ids).logits
    gy = torch.randn(y.shape).double()
    y.backward(gy)
    written = net.generate(sources, attention_mask=mask, max_new_tokens=steps, do_sample=False)
    greedy = torch.zeros(N, 1 + steps, dtype=torch.long)
    greedy[:, :written.shape[1]] = written
    got = run(PROGRAM, "t5", net,
              dict(ids=ids, memory_ids=sources, memory_lengths=lengths, gy=gy,
                   prompt=torch.zeros(N, 1, dtype=torch.long)) |
              options(vocab=vocab, width=32, layers=2, heads=3, head_width=10, hidden=48,
                      gated=int(gated), untied=int(gated), eps=1e-6, steps=steps, has_end=1,
                      end=end))
    name = f"T5ForConditionalGeneration, {config.feed_forward_proj}"
    compare(name, got["y"], y, OUTPUTS)
    compare(name + ", gradient", got["gwords"], net.shared.weight.grad, GRADIENTS)
    compare_words(name + ", greedy", got["greedy"], greedy)


def qformer():
    N, Q, S = 3, 5, 9
    net = random_weights(transformers.Blip2QFormerModel(transformers.Blip2QFormerConfig(
        vocab_size=7, hidden_size=32, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=48, encoder_hidden_size=20, cross_attention_frequency=2,
        attn_implementation="eager")))
    x = torch.randn(N, Q, 32).float().double().requires_grad_()
    memory = torch.randn(N, S, 20).float().double().requires_grad_()
    lengths = torch.tensor([9, 1, 4])
    y = net(query_embeds=x, encoder_hidden_states=memory,
            encoder_attention_mask=seen(lengths, S)).last_hidden_state
    gy = torch.randn(y.shape).double()
    y.backward(gy)
    got = run(PROGRAM, "qformer", net,
              dict(x=x, memory=memory, memory_lengths=lengths, gy=gy) |
              options(width=32, layers=4, heads=4, hidden=48, memory_width=20, every=2, eps=1e-12))
    compare("Blip2QFormerModel", got["y"], y, OUTPUTS)
    compare("Blip2QFormerModel, gradient of queries", got["gx"], x.grad, GRADIENTS)
    compare("Blip2QFormerModel, gradient of the memory", got["gmemory"], memory.grad, GRADIENTS)


bert()
gpt2()
t5(False)
t5(True)
qformer()
finish()
