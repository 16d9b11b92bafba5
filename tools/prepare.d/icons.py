# SPDX-License-Identifier: Apache-2.0
# set: icons: one name, many drawings, of 14 themes
# recipe: 1
"""An entry is a name in a theme."""
import collections
import hashlib
import os
import re

import caching
import picture

SIDE = 48
GREY = (128, 128, 128)          # white icons would vanish on white
LEAST_THEMES = 3
HELD_THEMES = 4


def draw(path):
    return picture.drawn(path, SIDE, GREY)


def size_of(path):
    """Pixels of the folder that a file is in; drawings that scale count as the largest."""
    if path.endswith('.svg'):
        return 1 << 20
    sizes = [int(n) for n in re.findall(r'(?:^|/)(\d+)(?:x\d+)?(?=/)', path)]
    return max(sizes, default=0)


def find(root):
    """Of each theme, by name, its largest file, without links and symbolic icons."""
    themes = collections.defaultdict(dict)
    for folder, _, files in os.walk(root):
        for file in files:
            path = os.path.join(folder, file)
            below = os.path.relpath(path, root)
            name, form = os.path.splitext(file)
            if form not in ('.png', '.svg') or os.path.islink(path) or 'symbolic' in below or \
                    below.count('/') < 2 or size_of(below) < SIDE:
                continue
            theme = below.split('/')[0]
            best = themes[theme].get(name)
            if best is None or (size_of(below), below) > (size_of(best), best):
                themes[theme][name] = below
    return themes


CONTEXTS = ('actions', 'animations', 'apps', 'categories', 'devices', 'emblems', 'emotes',
            'mimetypes',
            'places', 'status')


def main():
    job = caching.Job('icons', 'icons of 14 themes, by name', 'per theme: LGPL, GPL-2+, GPL-3, '
                      'CC-BY-SA')
    found = {}                  # (theme, name): path
    for root in job.roots.values():
        root = os.path.join(root, 'usr/share/icons')
        for theme, icons in find(root).items():
            for name, path in icons.items():
                found.setdefault((theme, name), os.path.join(root, path))
    in_themes = collections.Counter(name for _, name in found)
    found = {key: path for key, path in sorted(found.items()) if in_themes[key[1]] >= LEAST_THEMES}

    # Two names are one class where they have the same file in two themes.
    files = collections.defaultdict(set)
    for (theme, name), path in found.items():
        with open(path, 'rb') as f:
            files[theme, hashlib.sha256(f.read()).digest()].add(name)
    together = collections.Counter()
    for names in files.values():
        names = sorted(names)
        for i, a in enumerate(names):
            for b in names[i + 1:]:
                together[a, b] += 1
    names = sorted({name for _, name in found})
    of = {name: name for name in names}

    def first(name):
        while of[name] != name:
            name = of[name]
        return name

    for (a, b), n in sorted(together.items()):
        if n >= 2:
            a, b = sorted((first(a), first(b)))
            of[b] = a

    paths = list(found.values())
    drawn = job.each('pictures', paths, draw)
    items = [(theme, name, path, d) for ((theme, name), path), d in zip(found.items(), drawn)
             if d is not None]

    def context(path):
        return next((c for c in CONTEXTS if re.search(rf'/{c}(/|@|$)', path)), None)

    everywhere = list(range(len(items)))
    job.pictures('picture', [d for _, _, _, d in items], [SIDE, SIDE, 3], everywhere)
    texts = sorted({re.sub(r'[-_]+', ' ', name) for _, name, _, _ in items})
    row = {text: i for i, text in enumerate(texts)}
    job.texts('caption', texts, [row[re.sub(r'[-_]+', ' ', name)] for _, name, _, _ in items])
    job.labels('label', [first(name) for _, name, _, _ in items])
    job.labels('theme', [theme for theme, _, _, _ in items])
    job.labels('context', [context(path) for _, _, path, _ in items])
    job.ids('id', caching.numbered([first(name) for _, name, _, _ in items]))
    themes = sorted({theme for theme, _, _, _ in items},
                    key=lambda theme: caching.share('themes', theme))
    job.split('themes', ['train', 'test'],
              [int(theme in themes[:HELD_THEMES]) for theme, _, _, _ in items])
    job.split('names', ['train', 'validation', 'test'],
              [caching.three_parts('icons', first(name)) for _, name, _, _ in items])
    job.finish()


caching.run(main)
