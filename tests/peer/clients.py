# SPDX-License-Identifier: Apache-2.0
"""What scripts with models of other libraries share: weights as safetensors by a map of names, the
program client.c run over them, results compared."""
import os
import subprocess
import sys
import tempfile
import types

import numpy
import torch
from safetensors.torch import load_file, save_file

# Before the libraries: nothing is fetched, and of torchvision Python is enough (see resnet.py).
os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.modules["torchvision._meta_registrations"] = types.ModuleType("unused")

OUTPUTS, GRADIENTS = 1e-5, 1e-4     # of the largest number
faults = 0


def compare_weights(kind, given, written):
    """Weights that came back: all of them, each with its bits."""
    global faults
    wrong = sorted(given.keys() ^ written.keys())
    wrong += [name for name in given.keys() & written.keys()
              if given[name].shape != written[name].shape or written[name].dtype != torch.float32
              or not torch.equal(given[name].view(torch.int32), written[name].view(torch.int32))]
    faults += len(wrong)
    print(f"{kind}: {len(given)} arrays written by akin " +
          (f"differ or are missing: {', '.join(wrong[:8])}" if wrong else "have the same bits"))


def run(program, kind, net, job, pairs=()):
    """pairs: (name in the file, name in akin, order of the axes) of weights that need one."""
    with tempfile.TemporaryDirectory() as folder:
        given = {name: p.detach().float().contiguous() for name, p in net.named_parameters()}
        save_file(given, f"{folder}/weights.safetensors")
        numpy.savez(f"{folder}/job.npz", **{k: v.detach().numpy() if torch.is_tensor(v) else v
                                            for k, v in job.items()})
        subprocess.run([program, kind, f"{folder}/weights.safetensors", f"{folder}/job.npz",
                        f"{folder}/out.npz", *(word for pair in pairs for word in pair)],
                       check=True)
        compare_weights(kind, given, load_file(f"{folder}/out.npz.safetensors"))
        with numpy.load(f"{folder}/out.npz") as out:
            return dict(out)


def options(**named):
    return {"opt_" + name: numpy.array(value) for name, value in named.items()}


def compare(what, got, want, tolerance):
    global faults
    want = want.detach().numpy() if torch.is_tensor(want) else numpy.asarray(want)
    if got.shape != want.shape:
        print(f"{what}: shape {got.shape}, not {want.shape}")
        faults += 1
        return
    error = numpy.abs(got - want).max() / max(1, numpy.abs(want).max())
    good = error <= tolerance       # a NaN is not
    faults += not good
    print(f"{what}: {error:.1e}{'' if good else f' is above {tolerance:g}'}")


def compare_words(what, got, want):
    global faults
    want = want.numpy()
    good = got.shape == want.shape and (got == want).all() and len(numpy.unique(want)) > 3
    faults += not good
    print(f"{what}: {want.size} words " + ("agree" if good else f"differ:\n{got}\n{want}"))


def random_weights(net, deviation=0.2):
    """Numbers that a float holds, in a model in double."""
    for p in net.parameters():
        p.data = (torch.randn(p.shape) * deviation + (1 if p.dim() == 1 else 0)).float().double()
    return net.double().eval()


def seen(lengths, T):
    """1 where a place counts."""
    return (torch.arange(T) < torch.as_tensor(lengths)[:, None]).long()


def finish():
    print(f"{faults} fault{'' if faults == 1 else 's'}")
    sys.exit(faults > 0)
