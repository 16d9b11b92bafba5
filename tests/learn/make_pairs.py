#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the files that examples/09_two_towers.c reads, and run a program beside them.

    make_pairs.py FOLDER LEAST PROGRAM

Each of 1000 images has a shape, a colour and a place, one of eight each; its vector is the sum of
theirs and noise. Its caption says the three in any order with up to three words that mean nothing.
The program must find at least LEAST per cent of the captions."""
import os
import random
import re
import struct
import subprocess
import sys


def npy(path, code, shape, values):
    head = f"{{'descr': '<{code}', 'fortran_order': False, 'shape': {shape}, }}"
    head += ' ' * (-(len(head) + 11) % 64) + '\n'
    with open(path, 'wb') as f:
        f.write(b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head.encode())
        f.write(struct.pack(f'<{len(values)}{dict(f4="f", i8="q")[code]}', *values))


def main():
    folder, least, program = sys.argv[1:]
    draw = random.Random(1)
    parts = [[[draw.gauss(0, 1) for _ in range(32)] for _ in range(8)] for _ in range(3)]
    image, caption, length, ids = [], [], [], []
    for _ in range(1000):
        what = [draw.randrange(8) for _ in range(3)]
        image += [sum(parts[k][what[k]][d] for k in range(3)) + draw.gauss(0, 0.3)
                  for d in range(32)]
        words = [1 + 8 * k + what[k] for k in range(3)]
        words += [draw.randrange(25, 40) for _ in range(draw.randrange(4))]
        draw.shuffle(words)
        caption += words + [0] * (6 - len(words))
        length.append(len(words))
        ids.append(what[0] * 64 + what[1] * 8 + what[2])
    os.makedirs(folder, exist_ok=True)
    npy(f'{folder}/image.npy', 'f4', (1000, 32), image)
    npy(f'{folder}/caption.npy', 'i8', (1000, 6), caption)
    npy(f'{folder}/length.npy', 'i8', (1000,), length)
    npy(f'{folder}/id.npy', 'i8', (1000,), ids)
    said = subprocess.run([os.path.abspath(program)], cwd=folder, check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    print(said, end='')
    sys.exit(0 if float(re.search(r'held out: (\S+) %', said)[1]) >= float(least) else 2)


main()
