# SPDX-License-Identifier: Apache-2.0
"""Pictures of a fixed size from PNG, SVG and fonts, on a ground of one colour."""
import io
import struct
import subprocess
import warnings

from PIL import Image

MOST_PIXELS = 16_000_000        # larger pictures are drawn from their SVG, or left out

Image.MAX_IMAGE_PIXELS = MOST_PIXELS
warnings.simplefilter('error', Image.DecompressionBombWarning)


def placed(picture, side, ground, margin=0):
    """In the middle of a square [side, side, 3], as large as it fits; bytes."""
    picture = picture.convert('RGBA')
    room = side - 2 * margin
    scale = room / max(picture.size)
    size = [max(1, round(scale * n)) for n in picture.size]
    if tuple(size) != picture.size:
        picture = picture.resize(size, Image.LANCZOS)   # colours weighted by opacity
    square = Image.new('RGBA', (side, side), ground + (255,))
    at = [(side - n) // 2 for n in size]
    square.alpha_composite(picture, tuple(at))
    return square.convert('RGB').tobytes()


def svg(path, side):
    """Drawn twice as large as needed: what is resized afterwards is smooth."""
    drawn = subprocess.run(['rsvg-convert', '--keep-aspect-ratio', '-w', str(2 * side), '-h',
                            str(2 * side), path], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           stdin=subprocess.DEVNULL, timeout=60)
    if drawn.returncode or not drawn.stdout:
        raise ValueError('rsvg-convert: ' + drawn.stderr.decode(errors='replace').strip())
    return Image.open(io.BytesIO(drawn.stdout))


def drawn(path, side, ground):
    """A PNG or SVG file."""
    return placed(svg(path, side) if path.endswith('.svg') else Image.open(path), side, ground)


def characters(path):
    """The code points that a font has a glyph for: its cmap, formats 4 and 12."""
    with open(path, 'rb') as f:
        data = f.read()
    found = set()
    for i in range(struct.unpack_from('>H', data, 4)[0]):
        tag, _, start, _ = struct.unpack_from('>4sIII', data, 12 + 16 * i)
        if tag != b'cmap':
            continue
        for k in range(struct.unpack_from('>H', data, start + 2)[0]):
            table = start + struct.unpack_from('>I', data, start + 4 + 8 * k + 4)[0]
            form = struct.unpack_from('>H', data, table)[0]
            if form == 12:
                for g in range(struct.unpack_from('>I', data, table + 12)[0]):
                    first, last, _ = struct.unpack_from('>III', data, table + 16 + 12 * g)
                    found.update(range(first, last + 1))
            elif form == 4:
                n = struct.unpack_from('>H', data, table + 6)[0] // 2
                for g in range(n):
                    last = struct.unpack_from('>H', data, table + 14 + 2 * g)[0]
                    first = struct.unpack_from('>H', data, table + 16 + 2 * n + 2 * g)[0]
                    found.update(range(first, last + 1))
    return found - {0xffff}
