#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Golden files of mel spectra from librosa, with other options than the one in tests/golden.

Usage: logmel.py FOLDER     then AK_GOLDEN_DIR=FOLDER test_golden_sequence

layer-logmel.npz has the keys of the one there: cK_x [samples] or [N, samples], cK_y power and
cK_y_log = log(max(y, floor)), frames x mels; cK_opt_rate, _n_fft, _window, _hop, _mels, _fmin,
_fmax, _htk, _norm, _center, _floor; and cK_y_db = power_to_db with cK_opt_top_db. Gradients,
cK_gx of cK_gy, are those of the same steps in PyTorch, whose values must be librosa's.
"""
import sys

import librosa
import numpy
import torch

FOLDER = sys.argv[1]
random = numpy.random.default_rng(7)


def sounds(shape, rate):
    """A tone that rises, and noise that grows: quiet and loud frames."""
    t = numpy.arange(shape[-1]) / rate
    tone = numpy.sin(2 * numpy.pi * (200 + 0.2 * rate * t) * t)
    return 0.5 * tone + 0.2 * random.standard_normal(shape) * numpy.linspace(0, 1, shape[-1])


def power_in_torch(x, bank, o):
    window = torch.hann_window(o["window"], dtype=x.dtype)
    spectrum = torch.stft(x, o["n_fft"], o["hop"], o["window"], window, bool(o["center"]),
                          "constant", return_complex=True)
    return (torch.from_numpy(bank) @ (spectrum.real ** 2 + spectrum.imag ** 2)).mT


def add(arrays, c, shape, **options):
    o = {"rate": 16000, "n_fft": 400, "hop": 160, "mels": 40, "fmin": 0.0, "htk": 0,
         "norm": "slaney", "center": 1, "floor": 1e-10, "top_db": 80.0} | options
    o = {"window": o["n_fft"], "fmax": o["rate"] / 2} | o
    x = sounds(shape, o["rate"])
    bank = {"n_mels": o["mels"], "fmin": o["fmin"], "fmax": o["fmax"], "htk": bool(o["htk"]),
            "norm": "slaney" if o["norm"] == "slaney" else None, "dtype": numpy.float64}
    y = librosa.feature.melspectrogram(
        y=x, sr=o["rate"], n_fft=o["n_fft"], hop_length=o["hop"], win_length=o["window"],
        window="hann", center=bool(o["center"]), pad_mode="constant", power=2.0, **bank)
    each = [y] if x.ndim == 1 else list(y)      # top_db is of each sound
    db = numpy.stack([librosa.power_to_db(s, amin=o["floor"], top_db=o["top_db"]).T for s in each])
    y = numpy.swapaxes(y, -1, -2)
    leaf = torch.from_numpy(x).requires_grad_()
    same = power_in_torch(leaf, librosa.filters.mel(sr=o["rate"], n_fft=o["n_fft"], **bank), o)
    numpy.testing.assert_allclose(same.detach().numpy(), y, rtol=1e-9, atol=1e-12 * y.max())
    gy = random.standard_normal(y.shape)
    same.backward(torch.from_numpy(gy))
    found = {"x": x, "y": y, "y_log": numpy.log(numpy.maximum(y, o["floor"])),
             "y_db": db if x.ndim > 1 else db[0], "gy": gy, "gx": leaf.grad.numpy()}
    for name, value in found.items():
        arrays[f"c{c}_{name}"] = value
    for name, value in o.items():
        arrays[f"c{c}_opt_{name}"] = numpy.array(value)


CASES = [
    ((4000,), {}),
    ((2, 3001), {"htk": 1, "norm": "none", "mels": 23}),
    ((5000,), {"rate": 22050, "n_fft": 512, "hop": 128, "mels": 64, "fmin": 50.0, "fmax": 8000.0}),
    ((3, 2000), {"rate": 8000, "n_fft": 256, "window": 200, "hop": 80, "mels": 20, "center": 0}),
    ((1500,), {"rate": 8000, "n_fft": 225, "window": 225, "hop": 50, "mels": 12}),
    ((1700,), {"rate": 8000, "n_fft": 202, "window": 151, "hop": 101, "mels": 15, "htk": 1}),
    ((4100,), {"rate": 44100, "n_fft": 1024, "hop": 300, "mels": 80, "floor": 1e-3,
               "top_db": 30.0}),
    ((130,), {"n_fft": 400, "mels": 40}),
]


def main():
    arrays = {"cases": numpy.array(len(CASES))}
    for c, (shape, options) in enumerate(CASES):
        add(arrays, c, shape, **options)
    numpy.savez(f"{FOLDER}/layer-logmel.npz", **arrays)


main()
