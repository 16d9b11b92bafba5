#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sound files of all kinds at other rates, with what soundfile reads and soxr makes of them.

Usage: rates.py PROGRAM     PROGRAM is tests/peer/rates of a build
"""
import subprocess
import sys
import tempfile

import numpy
import soundfile
import soxr

random = numpy.random.default_rng(3)
FILES = [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "PCM_U8"), ("wav", "FLOAT"),
         ("wav", "ULAW"), ("flac", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS")]
RATES = [(44100, 16000), (22050, 16000), (8000, 16000), (48000, 44100), (16000, 16000)]

count, worst = 0, 0.0
with tempfile.TemporaryDirectory() as folder:
    for ending, kind in FILES:
        for source, target in RATES:
            for channels in (1, 2):
                sound = random.uniform(-0.8, 0.8, (5000 + 37 * count, channels))
                name, out = f"{folder}/x.{ending}", f"{folder}/y.wav"
                soundfile.write(name, sound, source, subtype=kind)
                subprocess.run([sys.argv[1], name, str(target), out], check=True)
                got, rate = soundfile.read(out, dtype="float32", always_2d=True)
                x, _ = soundfile.read(name, dtype="float32", always_2d=True)
                want = x if source == target else soxr.resample(x, source, target, "HQ")
                assert rate == target and abs(len(got) - len(want)) <= 1, (kind, source, target)
                n = min(len(got), len(want))
                worst = max(worst, float(numpy.abs(got[:n] - want[:n]).max()))
                count += 1
print(f"{count} files, largest difference {worst:.2g}")
sys.exit(worst > 1e-5)
