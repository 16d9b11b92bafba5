# SPDX-License-Identifier: Apache-2.0
# set: Open Clip Art: drawings with titles, tags and folders, as people labelled them
# recipe: 1
"""An entry is a drawing."""
import collections
import hashlib
import os
import re
import xml.etree.ElementTree

from PIL import Image

import caching
import picture

SIDE = 64
WHITE = (255, 255, 255)
FILLERS = ('shapes/stars', 'special/gradients', 'special/patterns')
UNTAGGED = {'', 'hash', 'unsorted', 'icon', 'icons', 'theme', 'computer', 'special', 'magick',
            'clip art', 'clipart', 'externalsource', 'open clip art logo'}


def draw(task):
    """The PNG; of those with too many pixels the SVG."""
    png, svg = task
    with Image.open(png) as image:
        pixels = image.size[0] * image.size[1]
    return picture.drawn(svg if pixels > picture.MOST_PIXELS / 4 else png, SIDE, WHITE)


def about(svg):
    """Title, author and tags of the first Work in its metadata."""
    def name(element):
        return element.tag.rsplit('}', 1)[-1] if isinstance(element.tag, str) else ''

    def texts(element):
        return [' '.join(t.split()) for t in element.itertext() if t.strip()]

    title, author, tags = '', '', []
    for work in xml.etree.ElementTree.parse(svg).iter():
        if name(work) != 'Work':
            continue
        for element in work:
            if name(element) == 'title':
                title = ' '.join(texts(element))
            elif name(element) == 'creator':
                author = ' '.join(texts(element))
            elif name(element) == 'subject':
                tags = texts(element)
        break
    return title, author, tags


def main():
    job = caching.Job('clipart', 'Open Clip Art: drawings, titles, tags, folders', 'public domain')
    root = {form: os.path.join(job.roots['openclipart-' + form], 'usr/share/openclipart', form)
            for form in ('png', 'svg')}
    keys, seen = [], set()
    for folder, _, files in os.walk(root['png']):
        for file in files:
            png = os.path.join(folder, file)
            key = os.path.relpath(png, root['png'])[:-4]
            if os.path.islink(png) or not file.endswith('.png') or key.startswith(FILLERS) or \
                    not os.path.exists(os.path.join(root['svg'], key + '.svg')):
                continue
            keys.append(key)
    once = []
    for key in sorted(keys):
        with open(os.path.join(root['png'], key + '.png'), 'rb') as f:
            digest = hashlib.sha256(f.read()).digest()
        if digest not in seen:
            seen.add(digest)
            once.append(key)
    svg = [os.path.join(root['svg'], key + '.svg') for key in once]
    said = job.each('titles', svg, about, size=512)
    drawn = job.each('pictures', [(os.path.join(root['png'], key + '.png'), s)
                                  for key, s in zip(once, svg)], draw)
    items = [(key, s or ('', '', []), d) for key, s, d in zip(once, said, drawn) if d is not None]

    titles = collections.Counter(title.lower() for _, (title, _, _), _ in items)

    def caption(key, title):
        if title and titles[title.lower()] <= 4 and not title.lower().startswith('part of'):
            return title
        words = re.sub(r'[\W\d_]+', ' ', os.path.basename(key)).split()
        return ' '.join(words) or None

    captions = [caption(key, title) for key, (title, _, _), _ in items]
    tags = [[t for t in (' '.join(tag.lower().split()) for tag in its) if t not in UNTAGGED]
            for _, (_, _, its), _ in items]
    used = collections.Counter(tag for its in tags for tag in set(its))
    top = [max((t for t in its if used[t] >= 5), key=lambda t: (used[t], t), default=None)
           for its in tags]
    folders = [os.path.dirname(key) for key, _, _ in items]

    everywhere = list(range(len(items)))
    job.pictures('picture', [d for _, _, d in items], [SIDE, SIDE, 3], everywhere)
    for field, texts in (('caption', captions), ('tags', [', '.join(its) for its in tags])):
        different = sorted({text for text in texts if text})
        row = {text: i for i, text in enumerate(different)}
        job.texts(field, different, [row[text] if text else -1 for text in texts])
    job.texts('name', [key for key, _, _ in items], everywhere)
    job.labels('label', [folder.split('/')[0] for folder in folders])
    job.labels('folder', ['/'.join(folder.split('/')[:2]) for folder in folders])
    job.labels('tag', top)
    job.ids('id', caching.numbered([(text or key).lower()
                                    for text, (key, _, _) in zip(captions, items)]))
    series = [f'{author}/{title}' if title else f'{author}/{folder}'
              for folder, (_, (title, author, _), _) in zip(folders, items)]
    # Drawings of one series, and those with one caption, stay together.
    job.split('series', ['train', 'validation', 'test'],
              [caching.three_parts('clipart', key)
               for key in caching.joined(series, [(t or '').lower() or s
                                                  for t, s in zip(captions, series)])])
    job.split('kind', ['natural', 'computer'],
              [int(folder.split('/')[0] in ('computer', 'shapes', 'unsorted'))
               for folder in folders])
    job.finish()


caching.run(main)
