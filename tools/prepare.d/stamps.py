# SPDX-License-Identifier: Apache-2.0
# set: Tux Paint's stamps: pictures, captions in 78 languages, recorded speech in 13
# recipe: 1
"""An entry is a stamp in a language, with a caption, a recording, or both."""
import os
import re

import caching
import picture
import sound

SIDE = 64
WHITE = (255, 255, 255)
SPOKEN = ('bg', 'ca', 'es', 'fr', 'ro', 'ru')   # in which nearly every stamp is spoken
SOUNDS = ('.ogg', '.wav')


def draw(path):
    return picture.drawn(path, SIDE, WHITE)


def captions(path):
    """By language: the first line is English, others are LANG.utf8=TEXT."""
    found = {}
    with open(path, encoding='utf-8', errors='replace') as f:
        for i, line in enumerate(f):
            language, text = 'en', line
            if i > 0:
                m = re.match(r'([A-Za-z_@]+)\.utf8=(.*)', line)
                if not m:
                    continue
                language, text = m.groups()
            text = ' '.join(text.replace('\ufeff', '').split())
            if text:
                found.setdefault(language, text)
    return found


def find(root):
    """By stamp: its picture, captions, recordings by language, sound effect."""
    stamps = {}
    for folder, _, files in os.walk(root):
        files = set(files)
        for file in files:
            key, form = os.path.splitext(file)
            if form != '.png' and (form != '.svg' or key + '.png' in files):
                continue
            stamp = {'picture': os.path.join(folder, file), 'captions': {}, 'speech': {},
                     'effect': None}
            if key + '.txt' in files:
                stamp['captions'] = captions(os.path.join(folder, key + '.txt'))
            for other in files:
                m = re.fullmatch(re.escape(key) + r'(_desc(?:_([A-Za-z_@]+))?)?(\.ogg|\.wav)',
                                 other)
                if m and m[1]:
                    stamp['speech'].setdefault(m[2] or 'en', os.path.join(folder, other))
                elif m:
                    stamp['effect'] = os.path.join(folder, other)
            name = os.path.relpath(os.path.join(folder, key), root)
            if stamp['captions']:
                stamps[name] = stamp
    return dict(sorted(stamps.items()))


def without_failures(results, items):
    """Rows of what could be read, by item, and what was read."""
    fine = [(item, result) for item, result in zip(items, results) if result is not None]
    return {item: row for row, (item, _) in enumerate(fine)}, [result for _, result in fine]


def main():
    job = caching.Job('stamps', 'stamps of Tux Paint: pictures, captions, speech, sound effects',
                      'GPL-2 (tuxpaint-stamps-default)')
    root = os.path.join(job.roots['tuxpaint-stamps-default'], 'usr/share/tuxpaint/stamps')
    stamps = find(root)
    # Chunks are known by their items: paths below the root, which may stand elsewhere next time.
    paths = [s['picture'] for s in stamps.values()]
    place, pictures = without_failures(job.each('pictures', paths, draw), paths)
    speech = sorted(p for s in stamps.values() for p in s['speech'].values())
    spoken, clips = without_failures(job.each('speech', speech, sound.read), speech)
    noises = sorted(s['effect'] for s in stamps.values() if s['effect'])
    noisy, effects = without_failures(job.each('effects', noises, sound.read), noises)
    stamps = {name: s for name, s in stamps.items() if s['picture'] in place}

    entries = [(name, language) for name, s in stamps.items()
               for language in sorted(set(s['captions']) | set(s['speech']))]
    things = list(stamps)
    number = {name: i for i, name in enumerate(things)}
    job.pictures('picture', pictures, [SIDE, SIDE, 3],
                 [place[stamps[name]['picture']] for name, _ in entries])
    said = [stamps[name]['captions'].get(language) for name, language in entries]
    texts = sorted({text for text in said if text is not None})
    row = {text: i for i, text in enumerate(texts)}
    job.texts('caption', texts, [-1 if text is None else row[text] for text in said])
    job.texts('name', things, [number[name] for name, _ in entries])
    job.sounds('speech', clips, sound.RATE,
               [spoken.get(stamps[name]['speech'].get(language), -1) for name, language in entries])
    job.sounds('effect', effects, sound.RATE,
               [noisy.get(stamps[name]['effect'], -1) for name, _ in entries])
    job.labels('language', [language for _, language in entries])
    job.labels('label', [name.split('/')[0] for name, _ in entries])
    job.labels('folder', [os.path.dirname(name) for name, _ in entries])

    # Stamps with one English caption are one thing; a language has captions of its own that
    # several things share.
    english = [stamps[name]['captions'].get('en', name) for name in things]
    group = caching.numbered(english)
    job.ids('id', [group[number[name]] for name, _ in entries])
    job.ids('caption_id', caching.numbered(
        [(name if text is None else '', language, text)
         for (name, language), text in zip(entries, said)]))
    job.ids('thing', [number[name] for name, _ in entries])

    job.split('things', ['train', 'validation', 'test'],
              [caching.three_parts('stamps', english[number[name]]) for name, _ in entries])
    held = {name: SPOKEN[int(len(SPOKEN) * caching.share('voices', name))] for name in things
            if all(stamps[name]['speech'].get(l) in spoken and l in stamps[name]['captions']
                   for l in SPOKEN)}
    job.split('voices', ['train', 'validation', 'test'],
              [-1 if name not in held or language not in SPOKEN else
               2 if held[name] == language else
               1 if caching.share('voices', f'{name}/{language}') < 0.1 else 0
               for name, language in entries])
    job.split('languages', ['train', 'validation', 'test'], caching.cells(
        'languages', [name for name, _ in entries], [language for _, language in entries]))
    job.split('kind', ['object', 'letter'],
              [int(name.startswith('symbols/alphabets')) for name, _ in entries])
    job.finish()


caching.run(main)
