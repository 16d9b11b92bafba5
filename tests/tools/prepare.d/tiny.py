# SPDX-License-Identifier: Apache-2.0
# set: a few pictures, words and tones that are made up: for tests
# recipe: 1
"""Everything that a cache can hold, in a few kilobytes: tests/data/cache is what this makes."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), '../../../tools/prepare.d'))
import caching      # noqa: E402

WORDS = {'en': ['a disc', 'a ring', 'a bar', 'a ring'],
         'fr': ['un disque', 'un anneau', None, 'anneau'],
         'ja': ['円盤', None, '棒 🎏', '輪']}


def picture(i):
    time.sleep(float(os.environ.get('TINY_SLEEP', 0)))
    if os.environ.get('TINY_LOG'):
        with open(os.environ['TINY_LOG'], 'a') as f:
            f.write(f'{i}\n')
    if i == 4:
        raise ValueError('there is no fifth picture')
    return bytes((37 * i + 5 * y + 11 * x + 83 * c) % 256
                 for y in range(6) for x in range(5) for c in range(3))


def tone(i):
    n = 120 + 40 * i
    return b''.join(((t * (i + 3) * 900) % 60000 - 30000).to_bytes(2, 'little', signed=True)
                    for t in range(n))


def main():
    job = caching.Job('tiny', 'made up for tests', 'Apache-2.0')
    pictures = [p for p in job.each('pictures', list(range(5)), picture, size=1) if p is not None]
    tones = job.each('tones', list(range(2)), tone)
    entries = [(i, language) for i in range(4) for language in sorted(WORDS)]
    said = [WORDS[language][i] for i, language in entries]
    texts = sorted({text for text in said if text})
    job.pictures('picture', pictures, [6, 5, 3], [i for i, _ in entries])
    job.texts('caption', texts, [texts.index(text) if text else -1 for text in said])
    job.texts('name', ['disc', 'ring', 'bar', 'hoop'], [i for i, _ in entries])
    job.sounds('speech', tones, 8000, [i if i < 2 and language == 'en' else -1
                                       for i, language in entries])
    job.labels('language', [language for _, language in entries])
    job.labels('label', [('flat', 'round', None, 'round')[i] for i, _ in entries])
    job.ids('id', caching.numbered([WORDS['en'][i] for i, _ in entries]))
    job.split('things', ['train', 'validation', 'test'], [(0, 0, 1, 2)[i] for i, _ in entries])
    job.split('voices', ['train', 'test'], [-1 if language == 'ja' else int(language == 'fr')
                                            for _, language in entries])
    job.finish()


caching.run(main)
