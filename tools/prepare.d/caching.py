# SPDX-License-Identifier: Apache-2.0
"""Writing a cache: plain .npy files, manifest.json, SHA256SUMS (docs/DATA.md says what is in them).

A job is made in parts that a process pool writes one by one, each whole or not at all, so that a
job that was killed goes on where it was. The cache appears in one step when all of it is there.
Only the standard library is needed here: what a set needs beyond that it imports itself."""
import argparse
import array
import collections
import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import sys
import time

FORMAT = 1          # of the manifest: what include/akin/cache.h reads


def share(salt, key):
    """A number in [0, 1) that depends on nothing but the two texts."""
    digest = hashlib.sha256(f'{salt}/{key}'.encode()).digest()
    return int.from_bytes(digest[:8], 'little') / 2**64


def three_parts(salt, key):
    """0 training, 1 validation, 2 test: 80, 10 and 10 %."""
    at = share(salt, key)
    return 0 if at < 0.8 else 1 if at < 0.9 else 2


def cells(salt, things, languages):
    """Of each thing one language is test, another validation, the others training: parts of the
    entries (thing, language). Things of fewer than three languages are training."""
    of = {}
    for thing, language in zip(things, languages):
        of.setdefault(thing, []).append(language)
    held = {}
    for thing, its in of.items():
        its.sort(key=lambda language: share(salt, f'{thing}/{language}'))
        held[thing] = its[:2] if len(its) > 2 else (None, None)
    return [2 if language == held[thing][0] else 1 if language == held[thing][1] else 0
            for thing, language in zip(things, languages)]


def numbered(keys):
    """Numbers of equal keys are equal: 0, 1, .. in the order in which they come first."""
    number = {}
    return [number.setdefault(key, len(number)) for key in keys]


def joined(*keys):
    """Numbers that are equal where one of the keys is, or where a chain of such leads."""
    of = list(range(len(keys[0])))

    def first(i):
        while of[i] != i:
            of[i] = of[of[i]]
            i = of[i]
        return i

    for key in keys:
        seen = {}
        for i, k in enumerate(key):
            a, b = sorted((first(i), first(seen.setdefault(k, i))))
            of[b] = a
    return [first(i) for i in range(len(of))]


class Progress:
    """One line that is written over on a terminal, and every tenth of the way elsewhere."""

    def __init__(self, what, total):
        self.what, self.total, self.done = what, total, 0
        self.start, self.said, self.terminal = time.time(), -1, sys.stderr.isatty()

    def add(self, n):
        self.done += n
        tenth = 10 * self.done // max(self.total, 1)
        now = time.time()
        if not self.terminal and tenth == self.said:
            return
        left = (now - self.start) / max(self.done, 1) * (self.total - self.done)
        text = f'{self.what}: {self.done} of {self.total}'
        text += f', {left:.0f} s left' if self.done < self.total else f', {now - self.start:.0f} s'
        end = '\n' if not self.terminal or self.done == self.total else ''
        sys.stderr.write(('\r\x1b[K' if self.terminal else '') + text + end)
        sys.stderr.flush()
        self.said = tenth


def write_whole(path, data):
    """A file that is there whole or not at all."""
    with open(path + '.tmp', 'wb') as f:
        f.write(data)
    os.replace(path + '.tmp', path)


def read_part(path):
    """What a part holds; None if it is not there, or not whole."""
    try:
        with open(path, 'rb') as f:
            data = f.read()
    except FileNotFoundError:
        return None
    if len(data) < 32 or hashlib.sha256(data[32:]).digest() != data[:32]:
        return None
    return pickle.loads(data[32:])


def make_part(task):
    """Runs in a process of the pool."""
    path, function, items = task
    results = []
    for item in items:
        try:
            results.append((function(item), None))
        except Exception as e:      # whatever is wrong with a file: it is counted and named
            results.append((None, f'{type(e).__name__}: {e}'))
    data = pickle.dumps(results, protocol=4)
    write_whole(path, hashlib.sha256(data).digest() + data)
    return len(items)


def no_interrupt():
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Job:
    """A cache in the making. fields: each entry has a value of every field, or none (row -1)."""

    def __init__(self, name, about, licence, options=()):
        arguments = argparse.ArgumentParser()
        arguments.add_argument('--to', required=True)
        arguments.add_argument('--work', required=True)
        arguments.add_argument('--recipe', required=True)
        arguments.add_argument('--package', action='append', default=[],
                               metavar='NAME=ROOT=VERSION')
        for option in options:
            arguments.add_argument('--' + option, default='')
        self.options = arguments.parse_args()
        self.name, self.entries, self.skipped = name, None, collections.Counter()
        self.roots, self.fields, self.splits, self.files = {}, [], [], {}
        versions = {}
        for package in self.options.package:
            package, root, versions[package] = package.split('=', 2)
            self.roots[package] = root
        chosen = {o: getattr(self.options, o) for o in options if getattr(self.options, o)}
        self.manifest = {
            'format': 'akin cache', 'version': FORMAT, 'name': name, 'about': about,
            'licence': licence, 'recipe': self.options.recipe,
            'options': ' '.join(f'{k}={v}' for k, v in sorted(chosen.items())),
            'packages': versions,
        }
        key = json.dumps([self.manifest, self.options.recipe], sort_keys=True)
        self.parts = os.path.join(self.options.work,
                                  'parts-' + hashlib.sha256(key.encode()).hexdigest()[:16])
        self.new = os.path.join(os.path.dirname(self.options.to), f'.{name}.new')
        os.makedirs(self.parts, exist_ok=True)
        shutil.rmtree(self.new, ignore_errors=True)
        os.makedirs(self.new)

    # ---- parts -------------------------------------------------------------------------------

    def each(self, what, items, function, size=64):
        """function(item) for all items, several at once: a list of results, None where it failed.
        What failed is counted and the first few are named."""
        groups = [items[i:i + size] for i in range(0, len(items), size)]
        # A part is known by what it is made of: other items make other parts.
        paths = [os.path.join(self.parts, f'{what}-' + hashlib.sha256(
            repr(group).encode()).hexdigest()[:24]) for group in groups]
        missing = [i for i, path in enumerate(paths) if read_part(path) is None]
        progress = Progress(f'{self.name}: {what}', len(items))
        progress.add(len(items) - sum(len(groups[i]) for i in missing))
        if missing:
            tasks = [(paths[i], function, groups[i]) for i in missing]
            with multiprocessing.Pool(initializer=no_interrupt) as pool:
                for n in pool.imap_unordered(make_part, tasks):
                    progress.add(n)
        results, failed = [], 0
        for group, path in zip(groups, paths):
            for item, (result, error) in zip(group, read_part(path)):
                results.append(result)
                if error is None:
                    continue
                failed += 1
                if failed <= 5:
                    named = item[0] if isinstance(item, (tuple, list)) else item
                    self.say(f'{what}: left out {named}: {error[:200]}')
        if failed > 5:
            self.say(f'{what}: {failed} left out in all')
        if failed:
            self.skipped[what] += failed
        return results

    def say(self, text):
        sys.stderr.write(f'{self.name}: {text}\n')

    # ---- files -------------------------------------------------------------------------------

    def npy(self, name, descr, shape, pieces):
        """An array from pieces of bytes; returns the file's name."""
        file, total = name + '.npy', 1
        for dim in shape:
            total *= dim
        head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': ("
        head += ', '.join(map(str, shape)) + (',' if len(shape) == 1 else '') + '), }'
        room = -(-(10 + len(head) + 1) // 64) * 64
        head = head.ljust(room - 11) + '\n'
        size, digest = 0, hashlib.sha256()
        with open(os.path.join(self.new, file), 'wb') as f:
            for piece in [b'\x93NUMPY\x01\x00' + len(head).to_bytes(2, 'little') + head.encode(),
                          *pieces]:
                f.write(piece)
                digest.update(piece)
                size += len(piece)
            f.flush()
            os.fsync(f.fileno())
        if size != room + total * int(descr[2:]):
            sys.exit(f'{self.name}: {file} has {size} bytes, which are not {shape} of {descr}')
        self.files[file] = {'bytes': size, 'sha256': digest.hexdigest()}
        return file

    def whole(self, name, values, code='i'):
        """Whole numbers of 8, 32 or 64 bits: codes b, i, q of the module array."""
        numbers = array.array(code, values)
        if sys.byteorder == 'big':
            numbers.byteswap()
        descr = {'b': '|i1', 'i': '<i4', 'q': '<i8'}[code]
        return self.npy(name, descr, [len(numbers)], [numbers.tobytes()])

    # ---- fields ------------------------------------------------------------------------------

    def add(self, name, kind, count, rows, record):
        """rows: of each entry the row that holds its value, -1 = none; None: row i is entry i's."""
        entries = count if rows is None else len(rows)
        if self.entries not in (None, entries):
            sys.exit(f'{self.name}: field {name} has {entries} entries, others {self.entries}')
        self.entries = entries
        field = {'name': name, 'kind': kind, **record}
        if rows is not None:
            if max(rows, default=-1) >= count or min(rows, default=0) < -1:
                sys.exit(f'{self.name}: field {name}: a row outside [-1, {count})')
            field['rows'] = self.whole(name + '-rows', rows)
        self.fields.append(field)

    def several(self, pieces):
        """Where each of several pieces of bytes begins, and the last one ends, in elements."""
        starts = [0]
        for piece in pieces:
            starts.append(starts[-1] + len(piece))
        return starts

    def pictures(self, name, pictures, shape, rows):
        """pictures: bytes of [H, W, C] each."""
        values = self.npy(name, '|u1', [len(pictures), *shape], pictures)
        self.add(name, 'picture', len(pictures), rows, {'values': values})

    def texts(self, name, texts, rows):
        coded = [text.encode() for text in texts]
        values = self.npy(name, '|u1', [sum(map(len, coded))], coded)
        starts = self.whole(name + '-starts', self.several(coded), 'q')
        self.add(name, 'text', len(texts), rows, {'values': values, 'starts': starts})

    def sounds(self, name, sounds, rate, rows):
        """sounds: bytes of 16-bit samples each."""
        values = self.npy(name, '<i2', [sum(map(len, sounds)) // 2], sounds)
        starts = self.whole(name + '-starts', [s // 2 for s in self.several(sounds)], 'q')
        self.add(name, 'sound', len(sounds), rows,
                 {'values': values, 'starts': starts, 'rate': rate})

    def labels(self, name, keys):
        """Names, one an entry, None = unknown. Classes are numbered in the order of their names."""
        names = sorted({key for key in keys if key is not None})
        number = {key: i for i, key in enumerate(names)}
        values = self.whole(name, [-1 if key is None else number[key] for key in keys])
        self.add(name, 'labels', len(keys), None, {'values': values, 'names': names})

    def ids(self, name, values):
        self.add(name, 'id', len(values), None, {'values': self.whole(name, values)})

    def split(self, name, parts, values):
        """parts: their names; values: of each entry the number of its part, -1 = in none."""
        counts = collections.Counter(values)
        self.splits.append({'name': name, 'values': self.whole('split-' + name, values, 'b'),
                            'parts': [{'name': part, 'entries': counts[i]}
                                      for i, part in enumerate(parts)]})

    # ---- the end -----------------------------------------------------------------------------

    def finish(self):
        """The manifest, the sums, and the cache in its place."""
        self.manifest |= {'entries': self.entries, 'skipped': dict(self.skipped),
                          'fields': self.fields, 'splits': self.splits, 'files': self.files}
        text = json.dumps(self.manifest, indent=1, ensure_ascii=False) + '\n'
        sums = {file: about['sha256'] for file, about in self.files.items()}
        sums['manifest.json'] = hashlib.sha256(text.encode()).hexdigest()
        write_whole(os.path.join(self.new, 'manifest.json'), text.encode())
        lines = ''.join(f'{sums[file]}  {file}\n' for file in sorted(sums))
        write_whole(os.path.join(self.new, 'SHA256SUMS'), lines.encode())
        old = os.path.join(os.path.dirname(self.options.to), f'.{self.name}.old')
        shutil.rmtree(old, ignore_errors=True)
        if os.path.lexists(self.options.to):
            os.rename(self.options.to, old)
        os.rename(self.new, self.options.to)
        shutil.rmtree(old, ignore_errors=True)
        size = sum(about['bytes'] for about in self.files.values())
        self.say(f'{self.entries} entries, {size / 1e6:.0f} MB in {self.options.to}')


def run(main):
    """main(), with a word instead of a trace where somebody stopped it."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\nstopped; the same command goes on from here')
