#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Picture files, pictures in other sizes and changed pictures, with what Pillow makes of them.

Usage: pictures.py FOLDER [SEED]     then AK_TEST_DATA=FOLDER test_picture_files, test_picture_views

pictures.npz has, with what differs in size written one behind the other as bytes,
  file/names, bytes      names ended by line feeds, and PNG or JPEG files
  file/table             [n, 5] bytes of the file, H, W, is a JPEG, has its own grey
  file/pixels, grey      [H, W, 4] of each, [H, W] of those that have it
  resize/table           [n, 6] H, W, C, height, width, filter;  resize/in, out: bytes
  resize/real            numbers without rounding; with a seed only
  shorter/table          [n, 5] H, W, side, height, width of the cut;  shorter/in, out: bytes
  tone/K/in, NAME        after an op of RandAugment
Without a seed: small ones, as in tests/data.
"""
import io
import struct
import sys
import zlib

import numpy
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import functional

FOLDER = sys.argv[1]
LARGE = len(sys.argv) > 2
random = numpy.random.default_rng(int(sys.argv[2]) if LARGE else 7)
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
         (1, 0, 2, 1)]
arrays, parts, table = {}, {}, {}


# ---- PNG files of every kind, which Pillow does not write ---------------------------------------

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def rows(samples, depth):
    """Filter byte 0 and the packed samples of each row: samples [H, W, C]."""
    out = b""
    for row in samples.reshape(samples.shape[0], -1):
        if depth == 16:
            packed = row.astype(">u2").tobytes()
        elif depth == 8:
            packed = row.astype("u1").tobytes()
        else:
            bits = (row[:, None] >> numpy.arange(depth - 1, -1, -1)) & 1
            packed = numpy.packbits(bits.astype("u1").ravel()).tobytes()
        out += b"\0" + packed
    return out


def png(samples, depth, kind, interlaced=False, before=b""):
    H, W, _ = samples.shape
    if interlaced:
        parts = [samples[y::dy, x::dx] for y, x, dy, dx in ADAM7]
        data = b"".join(rows(p, depth) for p in parts if p.size)
    else:
        data = rows(samples, depth)
    head = struct.pack(">IIBBBBB", W, H, depth, kind, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before +
            chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b""))


def add_file(name, data, rgba, grey=None):
    jpeg = data[0] == 0xff
    parts.setdefault("file/names", []).append(f"{name}\n".encode())
    parts.setdefault("file/bytes", []).append(data)
    parts.setdefault("file/pixels", []).append(rgba.astype("u1").tobytes())
    parts.setdefault("file/grey", []).append(b"" if grey is None else grey.tobytes())
    table.setdefault("file", []).append([len(data), *rgba.shape[:2], jpeg, grey is not None])


def with_alpha(samples, alpha):
    rgb = samples if samples.shape[-1] == 3 else samples.repeat(3, -1)
    return numpy.concatenate([rgb, numpy.broadcast_to(alpha, rgb[..., :1].shape)], -1)


def to_8(samples, depth):
    return (samples.astype(int) * 255 * 2 + (1 << depth) - 1) // (2 * ((1 << depth) - 1))


def pillow_agrees(data, rgba):
    numpy.testing.assert_array_equal(
        numpy.asarray(Image.open(io.BytesIO(data)).convert("RGBA")), rgba)


def png_files():
    H, W = (61, 83) if LARGE else (6, 11)
    for interlaced in (False, True):
        end = "-interlaced" if interlaced else ""
        for depth in (1, 2, 4, 8, 16):
            x = random.integers(0, 1 << depth, (H, W, 1))
            data, rgba = png(x, depth, 0, interlaced), with_alpha(to_8(x, depth), 255)
            add_file(f"grey{depth}{end}", data, rgba)
            if depth < 16:
                pillow_agrees(data, rgba)
            key = int(x[0, 0, 0])
            alpha = numpy.where(x == key, 0, 255)
            add_file(f"grey{depth}-key{end}",
                     png(x, depth, 0, interlaced, chunk(b"tRNS", struct.pack(">H", key))),
                     with_alpha(to_8(x, depth), alpha))
            if depth == 16:
                continue
            n = min(1 << depth, 100)
            colours, alphas = random.integers(0, 256, (n, 3)), random.integers(0, 256, n // 2)
            x = random.integers(0, n, (H, W, 1))
            table = chunk(b"PLTE", colours.astype("u1").tobytes())
            data = png(x, depth, 3, interlaced, table)
            rgba = with_alpha(colours[x[..., 0]], 255)
            add_file(f"palette{depth}{end}", data, rgba)
            pillow_agrees(data, rgba)
            data = png(x, depth, 3, interlaced,
                       table + chunk(b"tRNS", alphas.astype("u1").tobytes()))
            full = numpy.concatenate([alphas, numpy.full(n - n // 2, 255)])
            rgba = with_alpha(colours[x[..., 0]], full[x])
            add_file(f"palette{depth}-alpha{end}", data, rgba)
            pillow_agrees(data, rgba)
        for depth in (8, 16):
            x = random.integers(0, 1 << depth, (H, W, 4))
            grey, colour = x[..., :1], x[..., :3]
            alpha = to_8(x[..., 3:], depth)
            for name, kind, samples, rgba in (
                    ("colour", 2, colour, with_alpha(to_8(colour, depth), 255)),
                    ("grey-alpha", 4, x[..., [0, 3]], with_alpha(to_8(grey, depth), alpha)),
                    ("colour-alpha", 6, x, with_alpha(to_8(colour, depth), alpha))):
                data = png(samples, depth, kind, interlaced)
                add_file(f"{name}{depth}{end}", data, rgba)
                if depth == 8:
                    pillow_agrees(data, rgba)
            key = colour[1, 1]
            clear = (colour == key).all(-1, keepdims=True)
            add_file(f"colour{depth}-key{end}",
                     png(colour, depth, 2, interlaced,
                         chunk(b"tRNS", struct.pack(">3H", *map(int, key)))),
                     with_alpha(to_8(colour, depth), numpy.where(clear, 0, 255)))


# ---- JPEG files ---------------------------------------------------------------------------------

def smooth(H, W, C):
    """A picture that is no noise: waves of different lengths, and a little noise."""
    y, x, c = numpy.mgrid[0:H, 0:W, 0:C]
    p = random.uniform(0.1, 0.9, 4)
    wave = numpy.sin(p[0] * y + p[1] * x + c) + numpy.sin(p[2] * x - p[3] * y + 2 * c)
    return numpy.clip(128 + 55 * wave + random.normal(0, 5, wave.shape), 0, 255).astype("u1")


def add_jpeg(name, image, change=None, **options):
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    data = file.getvalue() if change is None else change(file.getvalue())
    read = Image.open(io.BytesIO(data))
    rgb = numpy.asarray(ImageOps.exif_transpose(read.convert("RGB")) if "exif" not in options
                        else ImageOps.exif_transpose(read).convert("RGB"))
    grey = Image.open(io.BytesIO(data))
    if read.mode == "RGB":
        grey.draft("L", None)
    grey = numpy.asarray(ImageOps.exif_transpose(grey).convert("RGB"))[..., 0] \
        if grey.mode == "L" else None
    add_file(name, data, with_alpha(rgb, 255), grey)


def ycck(data):
    """The same numbers, said to be YCCK: the last byte of Adobe's marker."""
    at = data.index(b"Adobe") + 11
    return data[:at] + b"\x02" + data[at + 1:]


def jpeg_files():
    H, W = (67, 91) if LARGE else (11, 18)
    grey, colour = Image.fromarray(smooth(H, W, 1)[..., 0]), Image.fromarray(smooth(H, W, 3))
    inks = Image.fromarray(smooth(H, W, 4), "CMYK")
    add_jpeg("jpeg-grey", grey)
    add_jpeg("jpeg-420", colour)
    add_jpeg("jpeg-422", colour, subsampling=1)
    add_jpeg("jpeg-444", colour, subsampling=0, quality=92)
    add_jpeg("jpeg-progressive", colour, progressive=True)
    add_jpeg("jpeg-rgb", colour, keep_rgb=True)
    add_jpeg("jpeg-cmyk", inks)
    add_jpeg("jpeg-ycck", inks, change=ycck)
    for k in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = k
        add_jpeg(f"jpeg-turned{k}", colour, exif=exif)


# ---- sizes --------------------------------------------------------------------------------------

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
FILTERS = [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC]


def image_of(x):
    return Image.fromarray(x[..., 0] if x.shape[-1] == 1 else x, MODES[x.shape[-1]])


def pixels_of(image):
    x = numpy.asarray(image)
    return x[..., None] if x.ndim == 2 else x


def noise(H, W, C):
    """Extremes among all levels: what overshoots is cut."""
    x = random.integers(0, 256, (H, W, C))
    return numpy.where(random.random((H, W, C)) < 0.3, (x > 127) * 255, x).astype("u1")


def rows_then_columns(image, size, kind):
    """Pillow 13 scales columns first where that is faster, which rounds otherwise; here its two
    passes are made in the order of older versions. Colours are weighed by alpha, as it does it."""
    weighed = {"LA": "La", "RGBA": "RGBa"}.get(image.mode, image.mode)
    if image.size == size:
        return image
    half = image.convert(weighed).resize((size[0], image.size[1]), kind)
    return half.resize(size, kind).convert(image.mode)


def in_any_order(x, size, kind):
    """Pictures that do not overshoot differ by a level at most from what one call makes."""
    if x.shape[-1] in (1, 3):
        image = image_of(smooth(*x.shape) // 2 + 60)
        one, two = (pixels_of(y).astype(int) for y in (
            image.resize(size, kind), rows_then_columns(image, size, kind)))
        assert abs(one - two).max() <= 1, abs(one - two).max()


def sizes():
    cases = [((13, 17, 3), (5, 7)), ((13, 17, 3), (13, 6)), ((9, 11, 1), (20, 31)),
             ((12, 10, 4), (5, 23)), ((7, 7, 4), (7, 3)), ((10, 8, 2), (4, 4)),
             ((14, 15, 3), (14, 15)), ((1, 1, 3), (3, 2)), ((16, 3, 1), (1, 1))]
    if LARGE:
        cases += [((640, 480, 3), (224, 224)), ((300, 400, 3), (96, 128)),
                  ((50, 60, 3), (333, 222)), ((1000, 7, 3), (9, 70)), ((211, 307, 4), (64, 65))]
    for (H, W, C), (height, width) in cases:
        x = noise(H, W, C)
        for f, kind in enumerate(FILTERS):
            out = pixels_of(rows_then_columns(image_of(x), (width, height), kind))
            in_any_order(x, (width, height), kind)
            real = [numpy.asarray(Image.fromarray(x[..., c].astype("f4"), "F").resize(
                (width, height), kind)) for c in range(C)]
            parts.setdefault("resize/in", []).append(x.tobytes())
            parts.setdefault("resize/out", []).append(out.tobytes())
            parts.setdefault("resize/real", []).append(numpy.stack(real, -1).tobytes())
            table.setdefault("resize", []).append([H, W, C, height, width, f])
    cases = [((13, 17), 8, (5, 6)), ((18, 11), 7, (7, 7)), ((9, 9), 9, (4, 9))]
    if LARGE:
        cases += [((333, 500), 256, (224, 224)), ((500, 211), 72, (64, 64))]
    for (H, W), side, cut in cases:
        x = noise(H, W, 3)
        size = functional.resize(image_of(x), side).size
        image = rows_then_columns(image_of(x), size, FILTERS[1])
        parts.setdefault("shorter/in", []).append(x.tobytes())
        parts.setdefault("shorter/out", []).append(
            pixels_of(functional.center_crop(image, cut)).tobytes())
        table.setdefault("shorter", []).append([H, W, side, *cut])


# ---- ops of RandAugment -------------------------------------------------------------------------

def tones():
    H, W = (120, 97) if LARGE else (17, 16)     # equalize does nothing below 256 pixels
    for k in range(3 if LARGE else 1):
        x = (smooth(H, W, 3) // (2 + k) + 20).astype("u1")
        image = image_of(x)
        found = {"in": x, "equalize": ImageOps.equalize(image),
                 "autocontrast": ImageOps.autocontrast(image),
                 "posterize3": ImageOps.posterize(image, 3),
                 "solarize100": ImageOps.solarize(image, 100)}
        for factor in (0, 0.4, 1.9):
            found[f"sharpness{factor}"] = ImageEnhance.Sharpness(image).enhance(factor)
        for factor in (0.4, 1.9):
            found[f"brightness{factor}"] = ImageEnhance.Brightness(image).enhance(factor)
            found[f"contrast{factor}"] = ImageEnhance.Contrast(image).enhance(factor)
            found[f"colour{factor}"] = ImageEnhance.Color(image).enhance(factor)
        found["rotate20"] = image.rotate(20, Image.Resampling.BILINEAR)
        found["shear_x"] = image.transform(image.size, Image.Transform.AFFINE,
                                           (1, 0.2, 0, 0, 1, 0), Image.Resampling.BILINEAR)
        found["translate_y"] = image.transform(image.size, Image.Transform.AFFINE,
                                               (1, 0, 0, 0, 1, -6))
        for name, value in found.items():
            arrays[f"tone/{k}/{name}"] = numpy.asarray(value)


def main():
    png_files()
    jpeg_files()
    sizes()
    tones()
    for name, some in parts.items():
        kind = "f4" if name.endswith("real") else "u1"
        if kind == "u1" or LARGE:
            arrays[name] = numpy.frombuffer(b"".join(some), kind)
    for name, lines in table.items():
        arrays[f"{name}/table"] = numpy.array(lines, "i4")
    numpy.savez_compressed(f"{FOLDER}/pictures.npz", **arrays)
    print(len(arrays), "arrays")


main()
