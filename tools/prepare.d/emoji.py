# SPDX-License-Identifier: Apache-2.0
# set: emoji: three drawings, names and keywords in 91 languages; speech on request (--speech)
# recipe: 1
"""An entry is an emoji in a language. Emoji with skin tones, or put together of others, are there
in English only."""
import functools
import glob
import os
import re
import xml.etree.ElementTree

from PIL import Image, ImageDraw, ImageFont

import caching
import picture
import sound

SIDE = 64
WHITE = (255, 255, 255)
TONES = range(0x1f3fb, 0x1f400)
# What espeak-ng calls them. Japanese is left out, of which it does not read the kanji.
VOICES = {'en': 'en-us', 'zh': 'cmn', 'no': 'nb', 'nb': 'nb'}
UNSPOKEN = ('ja', 'chr')
NOTO, SYMBOLA = 'NotoColorEmoji.ttf', 'Symbola'


def plain(text):
    """Without the mark that asks for a coloured drawing: names and fonts leave it out."""
    return text.replace('\ufe0f', '')


def annotations(folder, language):
    """Names and keywords by emoji."""
    names, keywords = {}, {}
    for part in ('annotations', 'annotationsDerived'):
        path = os.path.join(folder, part, language + '.xml')
        if not os.path.exists(path):
            continue
        for a in xml.etree.ElementTree.parse(path).iter('annotation'):
            text = ' '.join((a.text or '').split())
            if not text or '\u2191' in text:        # "as the language above it"
                continue
            if a.get('type') == 'tts':
                names[plain(a.get('cp'))] = text
            else:
                keywords[plain(a.get('cp'))] = ', '.join(
                    word.strip() for word in text.split('|'))
    return names, keywords


def groups(path):
    """Group and subgroup by emoji, of those that are meant to be shown."""
    found, group, subgroup = {}, None, None
    with open(path, encoding='utf-8') as f:
        for line in f:
            if line.startswith('# group:'):
                group = line[8:].strip()
            elif line.startswith('# subgroup:'):
                subgroup = line[11:].strip()
            elif ';' in line and not line.startswith('#'):
                text = plain(''.join(chr(int(c, 16)) for c in line.split(';')[0].split()))
                found.setdefault(text, (group, subgroup))
    return found


@functools.cache
def font(path, size):
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.RAQM)


def noto(task):
    """The bitmap of a sequence; an error where the font has no one glyph for it."""
    text, path = task
    drawing = font(path, 109)       # the one size that the bitmaps have
    if drawing.getlength(text) > 1.1 * drawing.getlength('\U0001f600'):
        raise ValueError('the font has no glyph for it')
    canvas = Image.new('RGBA', (136, 128), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((0, 0), text, font=drawing, embedded_color=True, anchor='lt')
    if canvas.getbbox() is None:
        raise ValueError('an empty glyph')
    return picture.placed(canvas, SIDE, WHITE)


def symbola(task):
    text, path = task
    drawing = font(path, 112)
    canvas = Image.new('RGBA', (320, 320), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((64, 64), text, font=drawing, fill=(0, 0, 0, 255))
    box = canvas.getbbox()
    if box is None:
        raise ValueError('an empty glyph')
    return picture.placed(canvas.crop(box), SIDE, WHITE, margin=3)


def emojione(task):
    return picture.drawn(task[1], SIDE, WHITE)


def speak(task):
    return sound.spoken(task[0], VOICES.get(task[1], task[1]))


def find(root, pattern):
    paths = sorted(glob.glob(os.path.join(root, '**', pattern), recursive=True))
    if not paths:
        raise SystemExit(f'emoji: there is no {pattern} in {root}')
    return paths


def rows_of(results):
    """Row of each result among those that are there, -1 for others; and what is there."""
    rows, there = [], []
    for result in results:
        rows.append(-1 if result is None else len(there))
        if result is not None:
            there.append(result)
    return rows, there


def swapped_name(name):
    """The name with the two skin tones exchanged; None if it has not two different ones."""
    tones = list(re.finditer(r'(?:medium-light|medium-dark|light|medium|dark) skin tone', name))
    if len(tones) != 2 or tones[0][0] == tones[1][0]:
        return None
    a, b = tones
    return name[:a.start()] + b[0] + name[a.end():b.start()] + a[0] + name[b.end():]


def partner_name(name):
    """The name with man and woman exchanged; None if it has neither, or both."""
    man, woman = re.search(r'\bman\b', name), re.search(r'\bwoman\b', name)
    if bool(man) == bool(woman):
        return None
    return re.sub(r'\bman\b', 'woman', name) if man else re.sub(r'\bwoman\b', 'man', name)


def main():
    job = caching.Job('emoji', 'emoji: pictures in three styles, names and keywords of CLDR',
                      'Unicode-DFS (unicode-cldr-core); OFL (fonts-noto-color-emoji); CC-BY-SA-4.0 '
                      '(ruby-gemojione); free for any use (fonts-symbola)', options=['speech'])
    cldr = os.path.join(job.roots['unicode-cldr-core'], 'usr/share/unicode/cldr/common')
    english, words = annotations(cldr, 'en')
    grouped = groups(find(os.path.join(job.roots['unicode-data'], 'usr/share/unicode'),
                          'emoji-test.txt')[0])
    noto_path = find(os.path.join(job.roots['fonts-noto-color-emoji'], 'usr/share/fonts'), NOTO)[0]
    known = picture.characters(noto_path)
    things = sorted(text for text in english if text in grouped and
                    all(ord(c) in known or c == '\u200d' for c in text))
    drawn = job.each('pictures', [(text, noto_path) for text in things], noto)
    things = [text for text, d in zip(things, drawn) if d is not None]
    drawn = [d for d in drawn if d is not None]
    core = [not any(ord(c) in TONES or c == '\u200d' for c in text) for text in things]

    files = {plain(''.join(chr(int(c, 16)) for c in os.path.basename(p)[:-4].split('-'))): p
             for p in find(job.roots['ruby-gemojione'], 'assets/png/*.png')
             if re.fullmatch(r'[0-9A-Fa-f-]+\.png', os.path.basename(p))}
    other = {}
    have = [text for text in things if text in files]
    other['emojione'] = dict(zip(have, job.each('emojione', [(t, files[t]) for t in have],
                                                emojione)))
    symbola_path = find(os.path.join(job.roots['fonts-symbola'], 'usr/share/fonts'),
                        SYMBOLA + '*')[0]
    known = picture.characters(symbola_path)
    have = [text for text in things if len(text) == 1 and ord(text) in known]
    other['symbola'] = dict(zip(have, job.each('symbola', [(t, symbola_path) for t in have],
                                               symbola)))

    # Languages without variants of regions and scripts that name 95 % of the core.
    names, keywords = {'en': english}, {'en': words}
    for path in find(os.path.join(cldr, 'annotations'), '*.xml'):
        language = os.path.basename(path)[:-4]
        if '_' in language or language in ('en', 'root'):
            continue
        its, its_words = annotations(cldr, language)
        if sum(c and text in its for c, text in zip(core, things)) >= 0.95 * sum(core):
            names[language], keywords[language] = its, its_words
    entries = [(i, language) for i, text in enumerate(things)
               for language in (sorted(names) if core[i] else ['en']) if text in names[language]]

    job.pictures('picture', drawn, [SIDE, SIDE, 3], [i for i, _ in entries])
    for style in ('emojione', 'symbola'):
        rows, there = rows_of([other[style].get(text) for text in things])
        job.pictures(style, there, [SIDE, SIDE, 3], [rows[i] for i, _ in entries])
    for field, texts in (('caption', names), ('keywords', keywords)):
        said = [texts[language].get(things[i]) for i, language in entries]
        different = sorted({text for text in said if text})
        row = {text: k for k, text in enumerate(different)}
        job.texts(field, different, [row[text] if text else -1 for text in said])
    job.texts('emoji', things, [i for i, _ in entries])
    speech = [language for language in re.split(r'[,\s]+', job.options.speech) if language]
    for language in speech:
        if language not in names or language in UNSPOKEN:
            raise SystemExit(f'emoji: no names in the language "{language}" can be spoken; there '
                             f'are {" ".join(sorted(set(names) - set(UNSPOKEN)))}')
    if speech:
        tasks = [(names[language][things[i]], language) for i, language in entries
                 if language in speech and core[i]]
        rows, clips = rows_of(job.each('speech', tasks, speak))
        row = dict(zip(tasks, rows))
        job.sounds('speech', clips, sound.RATE,
                   [row.get((names[language][things[i]], language), -1) if core[i] else -1
                    for i, language in entries])
    job.labels('language', [language for _, language in entries])
    job.labels('label', [grouped[things[i]][0] for i, _ in entries])
    job.labels('folder', [grouped[things[i]][1] for i, _ in entries])

    by_name = {english[text]: i for i, text in enumerate(things)}
    job.ids('id', [i for i, _ in entries])
    job.ids('caption_id', caching.numbered([(language, names[language][things[i]])
                                            for i, language in entries]))
    job.ids('swapped', [by_name.get(swapped_name(english[things[i]]), -1) for i, _ in entries])
    job.ids('partner', [by_name.get(partner_name(english[things[i]]), -1) for i, _ in entries])

    job.split('kind', ['core', 'sequence'], [0 if core[i] else 1 for i, _ in entries])
    parts = ['train', 'validation', 'test']
    job.split('things', parts, [caching.three_parts('emoji', things[i]) for i, _ in entries])
    job.split('languages', parts, caching.cells('emoji', [i for i, _ in entries],
                                                [language for _, language in entries]))
    # Variants of one emoji stay together: what is left of a name without tones, man and woman.
    base = [re.sub(r'\b(man|woman|men|women|person|people)\b', '', english[text].split(':')[0])
            for text in things]
    job.split('bases', parts, [caching.three_parts('bases', base[i]) for i, _ in entries])
    job.finish()


caching.run(main)
