# SPDX-License-Identifier: Apache-2.0
# set: packages of Debian: names, short and long descriptions, from the lists that apt holds
# recipe: 1
"""An entry is a package."""
import os
import re

import caching


def stanzas(path):
    """Fields of each package; what goes on over lines keeps them."""
    with open(path, encoding='utf-8', errors='replace') as f:
        fields, key = {}, None
        for line in f:
            line = line.rstrip('\n')
            if not line:
                yield fields
                fields, key = {}, None
            elif line[0] in ' \t' and key:
                fields[key] += '\n' + line[1:]
            elif ':' in line:
                key, text = line.split(':', 1)
                fields[key] = text.strip()
        if fields:
            yield fields


def prose(text):
    """Paragraphs of a long description: a line with a point parts them."""
    return '\n'.join(' '.join(p.split()) for p in re.split(r'\n\.\n?', text)).strip()


def main():
    job = caching.Job('packages', 'packages of Debian: name, short and long description',
                      'descriptions: as the packages they are of')
    found, available = {}, list(stanzas(os.path.join(job.options.work, 'available')))
    long_form = {}      # of the files that hold descriptions only
    for s in available:
        if s.get('Description-en'):
            long_form.setdefault(s.get('Package'), s['Description-en'])
    for s in available:
        if 'Version' not in s:
            continue
        about = long_form.get(s.get('Package')) or s.get('Description') or ''
        short, _, long = about.partition('\n')
        if s.get('Package') and short:
            found.setdefault(s['Package'], (' '.join(short.split()), prose(long),
                                            s.get('Section', 'unknown').split('/')[-1],
                                            s.get('Source', s['Package']).split()[0]))
    names = sorted(found)
    job.texts('name', names, list(range(len(names))))
    for field, k in (('caption', 0), ('description', 1)):
        texts = sorted({found[name][k] for name in names if found[name][k]})
        row = {text: i for i, text in enumerate(texts)}
        job.texts(field, texts, [row.get(found[name][k], -1) for name in names])
    job.labels('label', [found[name][2] for name in names])
    job.ids('id', caching.numbered([found[name][0] for name in names]))
    job.ids('source', caching.numbered([found[name][3] for name in names]))
    job.split('sources', ['train', 'validation', 'test'],
              [caching.three_parts('packages', found[name][3]) for name in names])
    job.finish()


caching.run(main)
