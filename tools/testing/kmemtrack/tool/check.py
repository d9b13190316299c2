#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""check.py KMEMTRACK FUZZ [--update]: tests of the program tools/mm/kmemtrack.

KMEMTRACK is the program with sanitizers and with fake.c, FUZZ is fuzz.c. Prints
KTAP. --update writes what is printed now to golden/: look at the difference.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(HERE, '../../../mm/kmemtrack')
KMEMTRACK, FUZZ = (os.path.abspath(p) for p in sys.argv[1:3])
UPDATE = '--update' in sys.argv
ROUNDS = os.environ.get('KMT_ROUNDS', '1500')
SEED = os.environ.get('KMT_SEED', '1')
ENV = {**os.environ, 'LC_ALL': 'C', 'COLUMNS': '80', 'LINES': '24',
       'ASAN_OPTIONS': 'exitcode=99:detect_leaks=0', 'UBSAN_OPTIONS': 'print_stacktrace=1'}
for name in ('KMEMTRACK_ROOT', 'CROSS_COMPILE', 'NO_COLOR'):
    ENV.pop(name, None)

tests = failed = 0
missing = set()     # programs and modules that tests would use


class Failure(Exception):
    pass


def expect(condition, *words):
    if not condition:
        raise Failure(' '.join(str(w) for w in words))


def have(*programs):
    """The path of the first one that this machine has"""
    for program in programs:
        path = shutil.which(program)
        if path:
            return path
    missing.add(programs[0])
    return None


def check(name, function, *args):
    global tests, failed
    tests += 1
    try:
        function(*args)
        print('ok %d - %s' % (tests, name))
    except Exception as error:      # whatever it is, the others are to be run
        failed += 1
        for line in ('%s: %s' % (type(error).__name__, error)).splitlines()[:40]:
            print('# ' + line)
        print('not ok %d - %s' % (tests, name))
    sys.stdout.flush()


def run(*args, status=None, text=None, env=None, stdin=None):
    """What it prints; status: what it must return, (stdout, stderr) if asked for"""
    result = subprocess.run([KMEMTRACK, *args], input=text, cwd=HERE, stdin=stdin,
                            env={**ENV, **(env or {})}, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, errors='replace', timeout=120)
    expect(result.returncode in (0, 1, 2) or result.returncode == status,
           args, 'status', result.returncode, result.stderr)
    if status is not None:
        expect(result.returncode == status, args, 'status', result.returncode, 'not', status,
               result.stdout[:500], result.stderr)
    run.err = result.stderr
    return result.stdout


# --- golden outputs ---

def sample(name):
    return os.path.join('samples', name)


GOLDEN = {
    'report': (1, 'report', sample('tty')),
    'report-leaks': (1, '-r', sample('leaks'), 'report'),
    'report-two': (1, '-r', sample('leaks'), 'report', '-n', '2'),
    'report-clean': (0, '-r', sample('clean'), 'report'),
    'report-no-scan': (0, 'report', sample('no-scan')),
    'report-off': (0, 'report', sample('off')),
    'report-odd': (1, 'report', sample('odd')),
    'report-colour': (1, 'report', '--color', 'always', sample('tty')),
    'report.json': (1, 'report', '--json', sample('tty')),
    'report-leaks.json': (1, '-r', sample('leaks'), 'report', '--json'),
    'report-clean.json': (0, '-r', sample('clean'), 'report', '--json'),
    'report-no-scan.json': (0, 'report', '--json', sample('no-scan')),
    'report-odd.json': (1, 'report', '--json', sample('odd')),
    'report.ktap': (1, '-r', sample('leaks'), 'report', '--ktap'),
    'report-clean.ktap': (0, '-r', sample('clean'), 'report', '--ktap'),
    'report-no-scan.ktap': (2, 'report', '--ktap', sample('no-scan')),
    'report-odd.ktap': (1, 'report', '--ktap', sample('odd')),
    'report.kmemleak': (1, '-r', sample('leaks'), 'report', '--kmemleak'),
    'report-odd.kmemleak': (1, 'report', '--kmemleak', sample('odd')),
    'report-from-kmemleak': (1, 'report', sample('leaks/kmemleak')),
    'report-from-old-kmemleak.json': (1, 'report', '--json', sample('old-kmemleak')),
    'flame-kmemleak.folded': (0, 'flame', '--folded', sample('leaks/kmemleak')),
    'top': (0, '-r', sample('growing'), 'top', '--once'),
    'top-objects': (0, '-r', sample('growing'), 'top', '-1', '-s', 'objects', '-n', '2'),
    'top-name': (0, '-r', sample('growing'), 'top', '-1', '--sort=name'),
    'top.json': (0, '-r', sample('growing'), 'top', '--json'),
    'memory': (0, '-r', sample('growing'), 'memory'),
    'memory.json': (0, '-r', sample('growing'), 'memory', '--json'),
    'report-pages': (1, '-r', sample('pages'), 'report'),
    'top-pages': (0, '-r', sample('pages'), 'top', '--once'),
    'memory-pages': (0, '-r', sample('pages'), 'memory'),
    'memory-pages.json': (0, '-r', sample('pages'), 'memory', '--json'),
    'growth': (0, '-r', sample('growing'), 'growth'),
    'growth.json': (0, '-r', sample('growing'), 'growth', '--json'),
    'refs': (0, '-r', sample('growing'), 'refs'),
    'refs-address': (0, '-r', sample('growing'), 'refs', '0xffff000001434fff'),
    'refs.json': (0, '-r', sample('growing'), 'refs', '--json'),
    'diff': (1, 'diff', sample('leaks/kmemtrack'), sample('less')),
    'diff-back': (1, 'diff', '-v', sample('less'), sample('leaks/kmemtrack')),
    'diff-functions': (0, 'diff', '--functions', sample('leaks/kmemtrack'), sample('other-build')),
    'diff-same': (0, 'diff', sample('tty'), sample('tty')),
    'diff.json': (1, 'diff', '--json', sample('leaks/kmemtrack'), sample('less')),
    'flame.folded': (0, 'flame', '--folded', sample('leaks/kmemtrack')),
    'flame-odd.folded': (0, 'flame', '--folded', sample('odd')),
    'flame-live.folded': (0, '-r', sample('growing'), 'flame', '--live', '--folded', '--objects'),
    'export.prom': (0, '-r', sample('leaks'), 'export', '--prometheus'),
    'export-growing.prom': (0, '-r', sample('growing'), 'export', '--prometheus'),
    'export-growing-two.prom': (0, '-r', sample('growing'), 'export', '--prometheus', '-n', '2'),
    'doctor': (0, '-r', sample('leaks'), 'doctor'),
    'doctor-growing': (1, '-r', sample('growing'), 'doctor'),
    'help': (0, '--help'),
}


def golden(name, status, *args):
    path = os.path.join(HERE, 'golden', name)
    # What ends early leaves its memory to the system; what succeeds does not.
    text = run(*args, status=status, env={'ASAN_OPTIONS': 'exitcode=99:detect_leaks=1'})
    if UPDATE:
        with open(path, 'w') as f:
            f.write(text)
        return
    with open(path) as f:
        wanted = f.read()
    if text != wanted:
        with tempfile.NamedTemporaryFile('w') as f:
            f.write(text)
            f.flush()
            diff = subprocess.run(['diff', '-u', path, f.name], stdout=subprocess.PIPE,
                                  universal_newlines=True).stdout
        raise Failure(diff)
    expect(not run.err, 'it complains:', run.err)


def printable():
    for name in GOLDEN:
        if name == 'report-colour':
            continue
        with open(os.path.join(HERE, 'golden', name), 'rb') as f:
            expect(re.fullmatch(rb'[\x20-\x7e\n]*', f.read()), name, 'has control characters')


def narrow():
    # Frames and places are left whole, to be copied; so is what the kernel says.
    long = re.compile(r'^( {6,}|# |scan \d|kmemtrack)|0x[0-9a-f]+/0x[0-9a-f]+')
    for name in GOLDEN:
        if '.' in name or name == 'report-colour':
            continue
        with open(os.path.join(HERE, 'golden', name)) as f:
            for line in f.read().splitlines():
                expect(len(line) <= 80 or long.search(line), name, len(line), line)


# --- JSON: the part of JSON Schema that ours uses ---

def conforms(value, schema, root, where='$'):
    if '$ref' in schema:
        conforms(value, root['$defs'][schema['$ref'].rsplit('/', 1)[1]], root, where)
    for part in schema.get('allOf', []):
        conforms(value, part, root, where)
    if 'oneOf' in schema:
        fits = 0
        why = []
        for part in schema['oneOf']:
            try:
                conforms(value, part, root, where)
                fits += 1
            except Failure as error:
                why.append(str(error))
        expect(fits == 1, where, 'fits', fits, why)
    if 'const' in schema:
        expect(value == schema['const'], where, value, 'is not', schema['const'])
    if 'enum' in schema:
        expect(value in schema['enum'], where, value)
    kinds = {'object': dict, 'array': list, 'string': str, 'boolean': bool, 'integer': int,
             'number': (int, float)}
    if 'type' in schema:
        expect(isinstance(value, kinds[schema['type']]) and
               (schema['type'] == 'boolean' or not isinstance(value, bool)),
               where, value, 'is no', schema['type'])
    if 'minimum' in schema:
        expect(value >= schema['minimum'], where, value)
    if 'pattern' in schema:
        expect(re.search(schema['pattern'], value), where, value)
    for name in schema.get('required', []):
        expect(name in value, where, 'has no', name)
    for name, part in schema.get('properties', {}).items():
        if name in value:
            conforms(value[name], part, root, where + '.' + name)
    if 'items' in schema:
        for i, item in enumerate(value):
            conforms(item, schema['items'], root, '%s[%d]' % (where, i))


def all_members(value, schema, root):
    """Of all members of the output the schema must know something."""
    names = set(re.findall(r'"(\w+)": \{', json.dumps(root)))
    if isinstance(value, dict):
        for name, part in value.items():
            expect(name in names, name, 'is not in the schema')
            all_members(part, schema, root)
    elif isinstance(value, list):
        for part in value:
            all_members(part, schema, root)


def schema():
    with open(os.path.join(TOOL, 'report.schema.json')) as f:
        root = json.load(f)
    try:
        import jsonschema
        validator = getattr(jsonschema, 'Draft202012Validator', None)
    except ImportError:
        validator = None
    if not validator:
        missing.add('jsonschema')
    for name in GOLDEN:
        if not name.endswith('.json'):
            continue
        with open(os.path.join(HERE, 'golden', name)) as f:
            value = json.load(f)
        conforms(value, root, root)
        all_members(value, root, root)
        if validator:
            validator(root).validate(value)
    for wrong in ({}, {'format': 'kmemtrack-report'}, {**value, 'version': 2}):
        try:
            conforms(wrong, root, root)
        except Failure:
            continue
        raise Failure('the schema takes %s' % str(wrong)[:60])


# --- SVG ---

SVG = '{http://www.w3.org/2000/svg}'


def svg(*args, status=0):
    """Well-formed, and nothing comes from elsewhere"""
    text = run(*args, status=status)
    expect(not re.search(r'(href|src|url\()', text), args, 'refers to something')
    return xml.fromstring(text)


def flame():
    root = svg('flame', sample('leaks/kmemtrack'))
    boxes = [g for g in root.iter(SVG + 'g') if g.get('class') == 'f']
    titles = [g.find(SVG + 'title').text for g in boxes]
    expect(titles[0] == 'all: 5.0 MiB in 36 objects, 100.0%', titles[0])
    expect(any(t.startswith('leak_vmalloc_chain [test_kmemtrack]: 12.5 KiB in 6 objects') for t in titles),
           titles)
    # Frames of one level are beside each other, and within what they stand on.
    levels = {}
    for g in boxes:
        levels.setdefault(int(g.get('data-d')), []).append(
            (float(g.get('data-x')), float(g.get('data-w'))))
    for depth, row in levels.items():
        row.sort()
        for (x, w), (next_x, _) in zip(row, row[1:]):
            expect(x + w <= next_x + 1e-6, 'overlap at', depth)
        for x, w in row:
            expect(not depth or any(a - 1e-6 <= x and x + w <= a + b + 1e-6
                                    for a, b in levels[depth - 1]), 'in the air at', depth)
    height = float(root.get('height'))
    for rect in root.iter(SVG + 'rect'):
        if rect.get('y'):
            expect(0 <= float(rect.get('y')) <= height - 16, 'outside', rect.attrib)
    odd = svg('flame', sample('odd'))
    expect(len(list(odd.iter(SVG + 'script'))) == 1, 'a name became a script')
    expect(any('<script>' in (t.text or '') for t in odd.iter(SVG + 'title')), 'the odd name is lost')
    svg('-r', sample('growing'), 'flame', '--live', '--objects')
    empty = svg('flame', sample('clean/kmemtrack'))
    expect(len([g for g in empty.iter(SVG + 'g')]) == 1, 'of nothing, one box')
    run('flame', sample('growing/kmemtrack_info/memory'), status=2)


def plot():
    root = svg('-r', sample('growing'), 'plot')
    lines = list(root.iter(SVG + 'polyline'))
    expect(len(lines) == 4, len(lines), 'lines: of the sites that have a history')
    points = [[tuple(map(float, p.split(','))) for p in line.get('points').split()]
              for line in lines]
    expect([len(p) for p in points] == [5, 5, 3, 1], [len(p) for p in points])
    # One that is shorter ends where the others do.
    expect(len({p[-1][0] for p in points}) == 1, 'ends differ')
    rising = points[0]
    expect(all(a[1] > b[1] and a[0] < b[0] for a, b in zip(rising, rising[1:])), rising)
    first = list(svg('-r', sample('growing'), 'plot', '-n', '1', '-s', 'change').iter(SVG + 'title'))
    expect(len(first) == 1 and first[0].text.startswith('alloc_tty_struct'), first[0].text)
    run('plot', sample('tty'), status=2)
    run('-r', sample('growing'), 'plot', '-s', 'name', status=2)


# --- Prometheus ---

METRIC = re.compile(r'^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')


def metrics(text):
    """{(name, labels): value}; the rules of the text format"""
    values, types, helped, last, done = {}, {}, set(), None, set()
    expect(text.endswith('\n'), 'the last line has no end')
    for line in text.splitlines():
        if line.startswith('#'):
            _, what, name, rest = line.split(' ', 3)
            if what == 'TYPE':
                expect(name not in types and rest in ('gauge', 'counter'), line)
                types[name] = rest
            else:
                expect(what == 'HELP' and name not in helped, line)
                helped.add(name)
            continue
        match = METRIC.match(line)
        expect(match, 'no metric:', line)
        name, labels, value = match.groups()
        expect(name in types and name in helped, 'no type or help:', line)
        expect((types[name] == 'counter') == name.endswith('_total'), 'name of a counter', line)
        rest = labels or ''
        found = {}
        while rest:
            label = LABEL.match(rest)
            expect(label and label[1] not in found, 'labels:', line)
            found[label[1]] = label[2]
            rest = rest[label.end():]
        key = (name, tuple(sorted(found.items())))
        expect(key not in values, 'twice:', line)
        values[key] = float(value)
        if name != last:
            expect(name not in done, 'not together:', name)
            done.add(last)
            last = name
    return values


def prometheus():
    for name in GOLDEN:
        if name.endswith('.prom'):
            with open(os.path.join(HERE, 'golden', name)) as f:
                text = f.read()
            values = metrics(text)
            promtool = have('promtool')
            if promtool:
                result = subprocess.run([promtool, 'check', 'metrics'], input=text,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        universal_newlines=True)
                expect(not result.returncode, result.stdout)
    expect(sum(n == 'kmemtrack_site_bytes' for n, _ in values) == 2, 'the two largest')
    with open(os.path.join(HERE, 'golden/export-growing.prom')) as f:
        values = metrics(f.read())
    expect(values[('kmemtrack_memory_bytes', (('class', 'vmalloc'),))] == 11392 * 1024, 'vmalloc')
    expect(values[('kmemtrack_leaks_suppressed', ())] == 3, 'suppressed')
    for text in ('a 1', 'kmemtrack_x{a="b} 1\n', '# TYPE a gauge\n# HELP a b\na 1\na 1\n'):
        try:
            metrics(text)
        except Failure:
            continue
        raise Failure('this check takes %r' % text)


def kmemleak():
    """What is grouped here is what the kernel groups, and comes back."""
    def sites(text):
        return sorted((s['objects'], s['bytes'], s['least'], s['object'], s['comm'],
                       [f['function'] for f in s['backtrace']]) for s in json.loads(text)['sites'])

    by_kernel = run('report', '--json', sample('leaks/kmemtrack'), status=1)
    expect(sites(run('report', '--json', sample('leaks/kmemleak'), status=1)) == sites(by_kernel),
           'other sites')
    text = run('report', '--kmemleak', sample('leaks/kmemtrack'))
    expect(sites(run('report', '--json', '-', text=text, status=1)) == sites(by_kernel), 'not the same')
    bad('unreferenced object 0x10 (size 99999999999999999999):\n', 'not understood')
    bad('unreferenced object 0x10 (size 9):\n  backtrace:\n    ... and 18446744073709551615 more\n',
        'not understood')


def same_hash():
    """Two sites with one identifier must not give one series twice."""
    with open(os.path.join(HERE, sample('growing/kmemtrack_info/sites'))) as f:
        text = f.read().replace('00000042', '0badcafe').replace('deadbeef', '0badcafe')
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(d + '/kmemtrack_info')
        shutil.copy(os.path.join(HERE, sample('tty')), d + '/kmemtrack')
        with open(d + '/kmemtrack_info/sites', 'w') as f:
            f.write(text)
        metrics(run('-r', d, 'export', '--prometheus', status=0))


def atomic():
    with tempfile.TemporaryDirectory() as d:
        path = d + '/kmemtrack.prom'
        run('-r', sample('leaks'), 'export', '--prometheus', '-o', path, status=0)
        with open(path) as f:
            metrics(f.read())
        expect(os.stat(path).st_mode & 0o777 == 0o666 & ~umask(), oct(os.stat(path).st_mode))
        before = os.stat(path).st_ino
        # What fails leaves the former file, and nothing beside it.
        run('-r', sample('growing/no'), 'export', '--prometheus', '-o', path, status=2)
        os.mkdir(d + '/x')
        os.mkdir(d + '/x/kmemtrack_info')
        shutil.copy(os.path.join(HERE, sample('tty')), d + '/x/kmemtrack')
        with open(d + '/x/kmemtrack_info/sites', 'w') as f:
            f.write('kmemtrack-sites 2: of a later kernel\n')
        run('-r', d + '/x', 'export', '--prometheus', '-o', path, status=2)
        expect(os.stat(path).st_ino == before, 'it was replaced')
        run('-r', sample('leaks'), 'export', '--prometheus', '-o', path, status=0)
        expect(os.stat(path).st_ino != before, 'it was written in place')
        expect(sorted(os.listdir(d)) == ['kmemtrack.prom', 'x'], os.listdir(d))
        run('-r', sample('leaks'), 'export', '--prometheus', '-o', d + '/no/x', status=2)


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def monitoring():
    """Dashboard and rules ask for metrics that there are."""
    known = set()
    for name in ('export.prom', 'export-growing.prom'):
        with open(os.path.join(HERE, 'golden', name)) as f:
            known |= {name for name, _ in metrics(f.read())}
    for name in ('grafana.json', 'alerts.yml'):
        with open(os.path.join(TOOL, name)) as f:
            text = f.read()
        used = set(re.findall(r'\bkmemtrack_[a-z_]+', text))
        expect(used and used <= known, name, used - known)
    with open(os.path.join(TOOL, 'grafana.json')) as f:
        board = json.load(f)
    ids = [p['id'] for p in board['panels']]
    expect(len(set(ids)) == len(ids) and all(p['targets'] for p in board['panels']), ids)
    promtool = have('promtool')
    if promtool:
        subprocess.run([promtool, 'check', 'rules', os.path.join(TOOL, 'alerts.yml')], check=True,
                       stdout=subprocess.DEVNULL)


# --- input that is not as it should be ---

def bad(text, *words, command=('report',), status=2):
    run(*command, '-', text=text, status=status)
    for word in words:
        expect(word in run.err, repr(word), 'is not in', run.err)


HEAD = 'kmemtrack 1: %d leaks, 100 bytes, %d sites; scan 1: 1 ms, 1 objects, confirm wait\n'
LEAK = '\nleak: 1 objects, 100 bytes (1 direct, 0 indirect), pages, size 100\n  backtrace:\n    f+0x1/0x2\n'


def damaged():
    with open(os.path.join(HERE, sample('leaks/kmemtrack'))) as f:
        whole = f.read()
    bad('', 'empty')
    bad('\n', 'no file of kmemtrack')
    bad('hello\n', 'no file of kmemtrack', 'hello')
    bad('kmemtrack 2: 0 leaks\n', 'version 1')
    bad('kmemtrack-sites 3: x\n', 'version 1')
    bad('kmemtrack 1\n', 'no version')
    bad('kmemtrack 1: garbage\n', 'not understood')
    bad(HEAD % (1, 1), '0 of 1 sites')
    bad(HEAD % (1, 1) + LEAK.rstrip('\n'), 'last line')
    bad(HEAD % (1, 1) + LEAK.replace('100 bytes', '99999999999999999999 bytes'), 'not understood')
    bad(HEAD % (1, 1) + LEAK.replace('1 direct', '-1 direct'), 'not understood')
    expect('\033' not in run.err, 'an escape')
    bad(HEAD % (1, 1) + '\nleak: \033]0;x\007 objects\n', r'\033]0;x\007')
    expect('\033' not in run.err and '\007' not in run.err, 'a control character')
    bad('unreferenced object 0x1 (size %d):\n  backtrace:\n    ... and 1 more object(s)\n' %
        (2**64 - 1), 'not understood')
    # What is whole is shown all the same.
    text = run('report', '-', text=whole[:len(whole) // 2], status=2)
    expect('leak_vmalloc_chain' in text, text)
    # Cut off in its last record, a file may look whole.
    for i in range(0, len(whole), 37):
        text = run('report', '--json', '-', text=whole[:i],
                   status=2 if i < whole.rindex('\nleak:') + 20 or whole[i - 1] != '\n' else None)
        expect(not text or 'sites' in json.loads(text), text)
    # Line ends of elsewhere, and a NUL byte
    run('report', '-', text=whole.replace('\n', '\r\n'), status=1)
    expect(not run.err, run.err)
    text = run('report', '-', text=HEAD % (1, 1) + LEAK.replace('f+0x1', 'f\0g+0x1'), status=1)
    expect(r'f\001g+0x1/0x2' in text, text)
    # What the files have while tracking is off, or when nothing was asked for
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(d + '/kmemtrack_info')
        for name, text in (('sites', 'off'), ('growth', 'off'), ('refs', 'none was asked for')):
            with open(d + '/kmemtrack_info/' + name, 'w') as f:
                f.write('kmemtrack-%s 1: %s\n' % (name, text))
        for command in (('top', '-1'), ('growth',)):
            expect(run('-r', d, *command, status=0) ==
                   'no sites are counted: tracking is off, or sites=0\n', command)
        expect('none was asked for' in run('-r', d, 'refs', status=0), 'refs')
        run('-r', d, 'plot', status=2)
        expect('tracking is off' in run.err, run.err)
        for command in (('top', '--json'), ('growth', '--json'), ('flame', '--live')):
            run('-r', d, *command, status=0)
            expect(not run.err, run.err)
    # A line nobody knows is passed over.
    run('report', '-', text=HEAD % (1, 1) + LEAK + '  new 1\n\nnews: 3\n', status=1)
    expect(not run.err, run.err)
    frames = ''.join('    f%d+0x1/0x2\n' % i for i in range(5000))
    text = run('report', '--json', '-', text=HEAD % (1, 1) + LEAK + frames, status=1)
    expect(len(json.loads(text)['sites'][0]['backtrace']) == 64, 'frames are bounded')


def arguments():
    for args in ((), ('nothing',), ('report', '--nothing'), ('report', '--color'), ('scan', '--json'),
                 ('report', '--color=blue'), ('report', '-n', 'x'), ('report', '-n', '-1'),
                 ('top', '-d', '0'), ('report', 'a', 'b'), ('report', 'nothing'), ('diff', 'a'),
                 ('export',), ('watch',), ('save',), ('report', '--vmlinux', 'nothing', sample('tty')),
                 ('report', '--vmlinux', sample('tty'), sample('tty')), ('scan', 'x'),
                 ('-r', sample('leaks'), 'refs', 'zz'), ('-r', sample('growing'), 'refs', '0x10'),
                 ('-r', sample('leaks'), 'scan'), ('-r', sample('leaks'), 'memory'),
                 ('memory', sample('tty')), ('diff', sample('tty'), sample('growing/kmemtrack_info/sites')),
                 ('report', '--json', '--ktap', sample('tty')),
                 ('report', '--kmemleak', '--ktap', sample('tty')),
                 ('watch', '--json', '--ktap', 'true'),
                 ('report', '--modules', '.', sample('tty')),
                 ('growth', '--source', '.', sample('growing/kmemtrack_info/growth')),
                 ('flame', '--leaks', '--live'), ('-r', '/nothing', 'report')):
        out = run(*args, status=2)
        expect(run.err.startswith('kmemtrack: ') or (not args and out), args, out, run.err)
        expect(run.err.count('\n') <= 1, args, run.err)
    run('report', '--nothing')
    expect('kmemtrack report --help' in run.err, run.err)
    run('report', '--ktap', '--json', sample('tty'))
    expect('--json' in run.err and '--ktap' in run.err, run.err)
    run('report', '--modules', '.', sample('tty'))
    expect('--modules' in run.err and '--vmlinux' in run.err, run.err)
    run('-r', sample('leaks'), 'memory')
    expect('kmemtrack_info/memory' in run.err, run.err)


def doctor_off():
    with tempfile.TemporaryDirectory() as d:
        shutil.copy(os.path.join(HERE, sample('off')), os.path.join(d, 'kmemtrack'))
        out = run('-r', d, 'doctor', status=1)
        expect(re.search(r'^CHECK  tracking is off', out, re.M), out)
        expect(not re.search(r'^ok', out, re.M), out)


def full_disk():
    with open('/dev/full', 'w') as full:
        result = subprocess.run([KMEMTRACK, 'report', sample('tty')], cwd=HERE, env=ENV,
                                stdout=full, stderr=subprocess.PIPE)
    expect(result.returncode == 2 and b'No space' in result.stderr, result)


def colours():
    plain = run('report', sample('tty'))
    expect(run('report', '--color', 'never', sample('tty')) == plain, 'never')
    expect('\033[' in run('report', '--color=always', sample('tty')), 'always')
    script = have('script')
    if not script:
        return
    with tempfile.TemporaryDirectory() as d:
        subprocess.run([script, '-qec', KMEMTRACK + ' report -o %s/x ' % d + sample('tty'), '/dev/null'],
                       cwd=HERE, env={**ENV, 'TERM': 'xterm'}, stdin=subprocess.DEVNULL)
        with open(d + '/x') as f:
            expect(f.read() == plain, 'a file has colours')
    for env, coloured in (({}, True), ({'NO_COLOR': '1'}, False), ({'TERM': 'dumb'}, False)):
        result = subprocess.run([script, '-qec', KMEMTRACK + ' report ' + sample('tty'), '/dev/null'],
                                cwd=HERE, env={**ENV, 'TERM': 'xterm', **env}, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE)
        expect((b'\033[' in result.stdout) == coloured, env, result.stdout[:80])


def fuzz():
    files = [os.path.join(HERE, 'samples', f) for f in
             ('tty', 'odd', 'leaks/kmemtrack', 'old-kmemleak', 'growing/kmemtrack_info/sites',
              'growing/kmemtrack_info/growth', 'growing/kmemtrack_info/memory',
              'growing/kmemtrack_info/refs')]
    with tempfile.TemporaryFile() as err:
        result = subprocess.run([FUZZ, ROUNDS, SEED, *files], env=ENV, stderr=err,
                                stdout=subprocess.PIPE, errors='replace')
        err.seek(0)
        said = err.read().decode(errors='replace')
    expect(not result.returncode, result.stdout[:2000], said[-3000:])
    print('# ' + result.stdout.strip())


# --- commands to a kernel that is none ---

SCRIPT = '''#!/bin/sh
# What each command does is in the directory: next is the report of the next scan.
d=${0%/*}
echo "$1" >>"$d/log.commands"
case $1 in
scan)	[ ! -e "$d/fail" ] || exit $(cat "$d/fail")
	n=$(cat "$d/scans" 2>/dev/null || echo 0)
	[ ! -e "$d/report.$n" ] || cp "$d/report.$n" "$d/kmemtrack"
	echo $((n + 1)) >"$d/scans" ;;
esac
'''


class Kernel:
    def __init__(self, *reports):
        self.dir = tempfile.mkdtemp()
        for i, text in enumerate(reports):
            self.write('report.%d' % i, text)
        self.write('kmemtrack', 'kmemtrack 1: no scan yet; 100 objects\n')
        self.write('commands', SCRIPT)
        os.chmod(self.dir + '/commands', 0o755)

    def write(self, name, text):
        with open(os.path.join(self.dir, name), 'w') as f:
            f.write(text)

    def commands(self):
        with open(self.dir + '/log.commands') as f:
            return f.read().split()

    def __enter__(self):
        return self

    def __exit__(self, *args):
        shutil.rmtree(self.dir)


def report(*sites):
    """A report of (function, blocks, age of the youngest)"""
    text = 'kmemtrack 1: %d leaks, %d bytes, %d sites; scan 1: 1 ms, 9 objects, confirm wait\n' % (
        sum(n for _, n, _ in sites), sum(n * 64 for _, n, _ in sites), len(sites))
    for name, n, age in sites:
        text += '\nleak: %d objects, %d bytes (%d direct, 0 indirect), kmalloc-64, size 64\n' % (n, n * 64, n)
        text += '  first 9999.000 s ago, last %.3f s ago, comm "a" pid 1\n' % age
        text += '  backtrace:\n    __kmalloc_noprof+0x1/0x2\n    %s+0x3/0x4\n' % name
    return text


def mixed(*records):
    """A report of records of one site, each (direct, indirect)"""
    text = report(*(('a', sum(r), 0) for r in records))
    for direct, indirect in records:
        text = text.replace('(%d direct, 0 indirect)' % (direct + indirect),
                            '(%d direct, %d indirect)' % (direct, indirect), 1)
    return text


def one_site():
    """Records of one site are one series, and one change."""
    with tempfile.TemporaryDirectory() as d:
        names = [os.path.join(d, name) for name in ('old', 'new')]
        for name, text in zip(names, (mixed((10, 0), (0, 3)), mixed((0, 4), (12, 0)))):
            with open(name, 'w') as f:
                f.write(text)
        text = run('diff', *names, status=1)
        expect(len(text.splitlines()) == 1 and ' +3 ' in text and 'grown' in text, text)
        run('diff', names[0], names[0], status=0)
        os.rename(names[0], os.path.join(d, 'kmemtrack'))
        text = run('-r', d, 'export', '--prometheus', status=0)
        values = re.findall(r'^kmemtrack_site_leaks{.*} (\d+)$', text, re.M)
        expect(values == ['13'], text)


def oldest():
    """kmemleak's file is in any order: the record of a site is that of its oldest block."""
    text = ''
    for comm, jiffies in (('young', 3000), ('old', 1000), ('middle', 2000)):
        text += 'unreferenced object 0x%x (size 64):\n  comm "%s", pid 1, jiffies %d\n' % (
            jiffies, comm, jiffies) + '  backtrace (crc 0):\n    f+0x1/0x2\n'
    shown = run('report', '-', text=text, status=1)
    expect('3 objects' in shown and 'by "old"' in shown and '0x3e8' in shown, shown)
    text = re.sub(r'jiffies (\d+)', lambda m: 'jiffies 1 (age %d.500s)' % (4000 - int(m.group(1))), text)
    shown = run('report', '-', text=text, status=1)
    expect('by "old"' in shown, shown)


def allocators():
    """The kernel's names of allocators are those of the program."""
    lists = []
    for path in ('mm/kmemtrack/print.c', 'tools/mm/kmemtrack/parse.c'):
        with open(os.path.join(HERE, '../../../..', path)) as f:
            body = re.search(r'is_allocator\(.*?\n\t};', f.read(), re.S).group(0)
        lists.append(re.findall(r'"(\w+)"', body))
    expect(len(lists[0]) > 20 and lists[0] == lists[1], lists)


def scan():
    with Kernel(report()) as k:
        text = run('-r', k.dir, 'scan', status=0)
        expect('0 leaks' in text and k.commands() == ['scan'], text)
    with Kernel(report(('a', 3, 0.1))) as k:
        text = run('-r', k.dir, 'scan', status=1)
        expect('3 leaks' in text and 'kmalloc-64    a\n' in text, text)
        expect(run('-r', k.dir, 'scan', '-q', status=1) == '', 'quiet')
    for error, word in ((1, 'tracking is off'), (5, 'Input/output'), (13, 'root')):
        with Kernel(report()) as k:
            k.write('fail', str(error))
            run('-r', k.dir, 'scan', status=2)
            expect(word in run.err, run.err)
    with Kernel() as k:
        os.remove(k.dir + '/kmemtrack')
        run('-r', k.dir, 'scan', status=2)


def watch():
    true, false = ('sh', '-c', 'exit 0'), ('sh', '-c', 'exit 7')
    with Kernel(report(), report()) as k:
        text = run('-r', k.dir, 'watch', *true, status=0)
        expect('leaked nothing' in text and k.commands() == ['scan', 'scan'], text)
    with Kernel(report(), report()) as k:
        run('-r', k.dir, 'watch', *false, status=7)
        expect('exit status 7' in run.err, run.err)
    with Kernel(report(), report()) as k:
        run('-r', k.dir, 'watch', 'sh', '-c', 'kill -9 $$', status=137)
    with Kernel(report(('old', 5, 100)), report(('old', 5, 100))) as k:
        run('-r', k.dir, 'watch', *true, status=0)
    with Kernel(report(('old', 5, 100)), report(('old', 5, 100), ('new', 2, 0))) as k:
        text = run('-r', k.dir, 'watch', *false, status=1)
        expect('sh leaked 2 objects, 128 B' in text and 'new+0x3' in text and 'old' not in text, text)
    with Kernel(report(('old', 5, 100)), report(('old', 8, 0))) as k:
        text = run('-r', k.dir, 'watch', '--status', '42', *true, status=42)
        expect('sh leaked 3 objects' in text, text)
    # Records of one site, in any order, and the slab cache of its oldest block may change.
    with Kernel(mixed((10, 0), (0, 3)), mixed((0, 3), (11, 0))) as k:
        text = run('-r', k.dir, 'watch', *true, status=1)
        expect('sh leaked 1 object,' in text, text)
    with Kernel(report(('a', 9, 100)), report(('a', 10, 0)).replace('kmalloc-64', 'kmalloc-128')) as k:
        text = run('-r', k.dir, 'watch', *true, status=1)
        expect('sh leaked 1 object,' in text, text)
    # Lost before, and found late: nothing of this command
    with Kernel(report(), report(('late', 4, 5000))) as k:
        text = run('-r', k.dir, 'watch', *true, status=0)
        expect('4 blocks were found only now' in run.err, run.err)
    with Kernel(report(('old', 5, 100)), report(('new', 1, 0))) as k:
        run('-r', k.dir, 'watch', '--clear', '-q', *true, status=1)
        expect(k.commands() == ['scan', 'clear', 'scan'], k.commands())
    with Kernel(report(('a', 1, 0)), report(('a', 2, 0), ('b', 1, 0))) as k:
        value = json.loads(run('-r', k.dir, 'watch', '--json', *true, status=1))
        expect(sorted(s['function'] for s in value['sites']) == ['a', 'b'] and value['leaks'] == 2, value)
    with Kernel(report(), report(('a', 1, 0))) as k:
        text = run('-r', k.dir, 'watch', '--ktap', *true, status=1)
        expect('1..1\nnot ok 1 - kmalloc-64: a\n' in text, text)
    with Kernel(report(), report()) as k:
        expect('ok 1 - no leaks' in run('-r', k.dir, 'watch', '--ktap', *true, status=0), 'ktap')
    with Kernel(report(), report()) as k:
        run('-r', k.dir, 'watch', '/nothing/there', status=2)
        expect('/nothing/there' in run.err and k.commands() == ['scan'], run.err)
    with Kernel(report(), 'kmemtrack 1: 5 leaks') as k:
        run('-r', k.dir, 'watch', *true, status=2)
    # Options of the command are its own.
    with Kernel(report(), report()) as k:
        text = run('-r', k.dir, 'watch', '-q', 'echo', '--json', '-n', status=0)
        expect(text == '--json -n\n', text)


def refs():
    with open(os.path.join(HERE, sample('growing/kmemtrack_info/refs'))) as f:
        text = f.read()
    with Kernel() as k:
        run('-r', k.dir, 'refs', '0x1', status=2)
        expect('does not have the file kmemtrack_info/refs' in run.err, run.err)
        os.mkdir(k.dir + '/kmemtrack_info')
        k.write('kmemtrack_info/refs', text)
        run('-r', k.dir, 'refs', 'ffff000001434c10', status=0)
        expect(k.commands() == ['refs=0xffff000001434c10'], k.commands())


# What a kernel says of a scan under way goes before an estimate.
LIVE = ('scans 3\nscan_ms 60000\nrunning_phase %d\nrunning_percent %d\nrunning_ms %d\n'
        'running_left_ms %d\n')


def progress():
    """The line on a terminal: an estimate, if there is an earlier scan"""
    script = have('script')
    if not script:
        return
    for stats, word in (('scans 3\nscan_ms 6000000\n', b'about  0 %'),
                        ('scans 3\nscan_ms 10\n', b'the last scan took 0.0 s'),
                        ('scans 0\nscan_ms 0\n', b'no earlier scan'),
                        (LIVE % (0, 0, 0, 0), b'\rscanning\x1b'),
                        (LIVE % (1, 7, 200, 0), b'\rscanning, 0.2 s; mark 7 %\x1b'),
                        (LIVE % (2, 50, 3000, 1000), b'scanning [##################------] about 1.0 s left; search 50 %\x1b'),
                        (LIVE % (6, 99, 0, 4294967295), b'[------------------------] about 4294967.3 s left; wait 99 %\x1b'),
                        (LIVE % (9, 1, 1000, 1000), b'[############------------] about 1.0 s left\x1b'),
                        (LIVE % (2**64 - 1, 100, 1, 1), b'[############------------] about 0.0 s left\x1b')):
        with Kernel(report()) as k:
            os.mkdir(k.dir + '/kmemtrack_info')
            k.write('kmemtrack_info/stats', stats)
            k.write('commands', SCRIPT.replace('scan)\t', 'scan)\tsleep 1\n'))
            result = subprocess.run([script, '-qec', '%s -r %s scan' % (KMEMTRACK, k.dir), '/dev/null'],
                                    env={**ENV, 'TERM': 'xterm'}, stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE)
            expect(word in result.stdout, stats, result.stdout)
            expect(result.returncode == 0, result)


def save():
    with tempfile.TemporaryDirectory() as d:
        out = d + '/state'
        run('-r', sample('growing'), 'save', out, status=0)
        for command in (('report',), ('memory',), ('growth',), ('doctor',), ('top', '-1')):
            expect(run('-r', out, *command) == run('-r', sample('growing'), *command), command)


# --- the live view, on a terminal of this program ---

def top():
    import fcntl
    import pty
    import select
    import struct
    import termios
    import time

    with tempfile.TemporaryDirectory() as d:
        shutil.copytree(os.path.join(HERE, sample('growing')), d + '/g')
        pid, fd = pty.fork()
        if not pid:
            os.execve(KMEMTRACK, ['kmemtrack', '-r', d + '/g', 'top', '-d', '1'],
                      {**ENV, 'TERM': 'xterm'})
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 20, 80, 0, 0))
        seen = ''

        def wait_for(what):
            nonlocal seen
            end = time.monotonic() + 60
            while what not in seen:
                expect(time.monotonic() < end and select.select([fd], [], [], 60)[0],
                       repr(what), 'does not come:', repr(seen[-1500:]))
                seen += os.read(fd, 65536).decode(errors='replace')
            seen = seen.split(what, 1)[1]

        wait_for('\033[?1049h')
        wait_for('sort: bytes')
        wait_for('alloc_tty_struct')
        os.write(fd, b'o')
        wait_for('sort: objects')
        wait_for('__d_alloc')
        os.write(fd, b'\033[B\r')
        wait_for('\033[1ma\\054cache')
        wait_for('execute+0xba/0x1d0 [test_kmemtrack]')
        os.write(fd, b'b')
        wait_for('sort: bytes')
        with open(d + '/g/kmemtrack_info/sites') as f:
            text = f.read()
        with open(d + '/new', 'w') as f:
            f.write(text.replace('2097152 bytes, dentry', '8388608 bytes, dentry'))
        os.rename(d + '/new', d + '/g/kmemtrack_info/sites')
        wait_for('+6.0 MiB')
        os.write(fd, b' ')
        wait_for('paused')
        os.write(fd, b'q')
        wait_for('\033[?1049l')
        _, status = os.waitpid(pid, 0)
        expect(status == 0, 'status', status)
        os.close(fd)


# --- help, manual, completion ---

def documents():
    commands = re.findall(r'^  (\w+) +', run('--help', status=0), re.M)
    expect(len(commands) == 13, commands)
    with open(os.path.join(TOOL, 'kmemtrack.1')) as f:
        manual = f.read()
    script = '''
    . "$1"
    shift
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _kmemtrack
    printf '%s\\n' "${COMPREPLY[@]}"
    '''

    def complete(*words):
        return subprocess.run(['bash', '-c', script, 'bash', os.path.join(TOOL, 'kmemtrack.bash'),
                               'kmemtrack', *words], stdout=subprocess.PIPE,
                              universal_newlines=True).stdout.split()

    expect(set(commands) <= set(complete('')), complete(''))
    expect(complete('gr') == ['growth'], complete('gr'))
    expect(complete('-r', 'x', 'me') == ['memory'], complete('-r', 'x', 'me'))
    expect('name' in complete('top', '--sort', ''), 'keys')
    for c in commands:
        expect('.It Cm %s' % c in manual, c, 'is not in the manual')
        text = run(c, '--help', status=0)
        options = set(re.findall(r'^ +(?:-\w, )?(--\w+)', text, re.M))
        for line in text.splitlines():
            expect(len(line) <= 80, len(line), line)
        for option in options:
            expect(re.search(r'(Fl|,|\|) -%s\b' % option[2:], manual), option, 'is not in the manual')
        expect(set(complete(c, '--')) == options, c, set(complete(c, '--')) ^ options)
    mandoc = have('mandoc')
    if mandoc:
        result = subprocess.run([mandoc, '-T', 'lint', '-W', 'warning', os.path.join(TOOL, 'kmemtrack.1')],
                                stdout=subprocess.PIPE, universal_newlines=True)
        expect(not result.returncode, result.stdout)


# --- lines of code, of a program that stands for the kernel, and of a module ---

SOURCE = '''
int sink;
__attribute__((noinline)) int inner(int a)
{
	__asm__ volatile("" : : : "memory");
	return a + sink;
}

static inline __attribute__((always_inline)) int between(int a)
{
	return inner(a) * 3;	/* the inlined call */
}

__attribute__((noinline)) int outer(int a)
{
	a += sink;
	a = between(a);		/* the call */
	sink = a;
	return a;
}

int _start(void)
{
	return outer(1) + sink;
}
'''


def line_of(comment):
    return next(i for i, l in enumerate(SOURCE.splitlines(), 1) if comment in l)


def frame_of(prefix, binary):
    """The frame of outer() in which inner() was called"""
    text = subprocess.run([prefix + 'objdump', '-d', binary], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout
    body = re.search(r'^([0-9a-f]+) <outer>:\n((?:.+\n)+)', text, re.M)
    lines = [l for l in body[2].splitlines() if re.match(r'\s*[0-9a-f]+:\t', l)]
    start = int(body[1], 16)
    for i, line in enumerate(lines):
        if re.search(r'\b(call|callq|bl|blx)\b', line):
            back = int(lines[i + 1].split(':')[0], 16)
            return 'outer+%#x/' % (back - start), start
    raise Failure('no call in ' + body[2])


def size_of(prefix, binary, start):
    text = subprocess.run([prefix + 'nm', '-n', binary], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout
    after = [int(l.split()[0], 16) for l in text.splitlines()
             if len(l.split()) == 3 and l.split()[1] in 'tTwW' and not l.split()[2].startswith('$')]
    return min((a for a in after if a > start), default=start) - start


def lines(prefix, llvm=False):
    with tempfile.TemporaryDirectory() as d:
        with open(d + '/code.c', 'w') as f:
            f.write(SOURCE)
        gcc = [prefix + 'gcc', '-O2', '-g', '-fno-pic', '-fno-optimize-sibling-calls']
        subprocess.run([*gcc, '-nostdlib', '-static', '-no-pie', '-ffreestanding', '-fno-stack-protector',
                        '-o', 'vmlinux', 'code.c'], cwd=d, check=True)
        os.makedirs(d + '/modules/deep')
        subprocess.run([*gcc, '-c', '-o', 'modules/deep/a-module.ko', 'code.c'], cwd=d, check=True)
        text = HEAD % (1, 1) + LEAK
        for binary, module in (('vmlinux', ''), ('modules/deep/a-module.ko', ' [a_module]')):
            frame, start = frame_of(prefix, d + '/' + binary)
            text += '    %s%#x%s\n' % (frame, size_of(prefix, d + '/' + binary, start), module)
        text += '    nothing+0x10/0x20\n    outer+0x4/0x8 [no_such_module]\n'
        with open(d + '/report', 'w') as f:
            f.write(text)
        env = {}
        if llvm:
            os.mkdir(d + '/bin')
            os.symlink(llvm, d + '/bin/llvm-addr2line')
            env = {'PATH': d + '/bin'}
        out = json.loads(run('report', '--json', '--vmlinux', d + '/vmlinux', '--modules', d + '/modules',
                             d + '/report', status=1, env=env))
        expect(not run.err, run.err)
        found = [f.get('lines') for f in out['sites'][0]['backtrace']]
        wanted = ['code.c:%d' % line_of('the inlined call'), 'code.c:%d' % line_of('the call')]
        for i in (1, 2):
            expect(found[i] and [os.path.basename(l) for l in found[i]] == wanted, found, wanted)
        expect(found[0] is None and found[3] is None and found[4] is None, found)
        # Names relative to the directory of vmlinux, which ccache with base_dir makes
        os.mkdir(d + '/build')
        subprocess.run([*gcc, '-nostdlib', '-static', '-no-pie', '-ffreestanding', '-fno-stack-protector',
                        '-fdebug-prefix-map=%s=.' % os.path.realpath(d + '/build'), '-o', 'vmlinux',
                        '../code.c'], cwd=d + '/build', check=True)
        out = json.loads(run('report', '--json', '--vmlinux', d + '/build/vmlinux', '--source', d,
                             d + '/report', status=1, env=env))
        expect(out['sites'][0]['backtrace'][1]['lines'] == wanted, out['sites'][0]['backtrace'])
        # A file that was cut off must not be believed.
        with open(d + '/vmlinux', 'rb') as f:
            whole = f.read()
        for n in range(1, len(whole), len(whole) // 10):
            with open(d + '/cut', 'wb') as f:
                f.write(whole[:n])
            run('report', '--vmlinux', d + '/cut', d + '/report')
        run('report', '--vmlinux', d + '/vmlinux', d + '/report', status=2,
            env={'CROSS_COMPILE': 'no-such-'})
        expect('no-such-addr2line' in run.err, run.err)


def static(prefix, machine):
    with tempfile.TemporaryDirectory() as d:
        # Not the compiler of the make that runs this
        env = {k: v for k, v in os.environ.items() if k != 'CC' and not k.startswith('MAKE')}
        subprocess.run(['make', '-s', '-C', TOOL, 'O=' + d, 'CROSS_COMPILE=' + prefix,
                        'CFLAGS=-O2 -Werror'], check=True, env=env)
        head = subprocess.run(['readelf', '-hl', d + '/kmemtrack'], stdout=subprocess.PIPE, check=True,
                              universal_newlines=True).stdout
        expect(re.search(r'Machine: +' + machine, head), head)
        expect('INTERP' not in head, 'it is not static')
        print('# kmemtrack of %s: %d bytes' % (machine, os.path.getsize(d + '/kmemtrack')))


def main():
    global tests
    print('KTAP version 1')
    os.makedirs(os.path.join(HERE, 'golden'), exist_ok=True)
    for name, (status, *args) in GOLDEN.items():
        check('golden output: ' + name, golden, name, status, *args)
    check('nothing that is printed has control characters', printable)
    check('tables have 80 columns', narrow)
    check('JSON is as the schema says', schema)
    check('flame graph', flame)
    check('plot', plot)
    check('Prometheus: format', prometheus)
    check('Prometheus: equal identifiers', same_hash)
    check('a file that is written is there as a whole or not at all', atomic)
    check('dashboard and rules use metrics that exist', monitoring)
    check('records of kmemleak', kmemleak)
    check('damaged input', damaged)
    check('wrong arguments', arguments)
    check('doctor while tracking is off', doctor_off)
    check('a full disk', full_disk)
    check('colours', colours)
    check('%s rounds of changed input' % ROUNDS, fuzz)
    check('scan: exit status', scan)
    check('scan: progress', progress)
    check('watch: exit status', watch)
    check('records of one site are one site', one_site)
    check('records of kmemleak: the oldest block', oldest)
    check('the kernel and the program know the same allocators', allocators)
    check('refs gives a command', refs)
    check('what is saved is read again', save)
    check('top, on a terminal', top)
    check('help, manual and completion agree', documents)
    for prefix, machine, name in (('', 'Advanced Micro Devices X86-64|AArch64', 'this machine'),
                                  ('aarch64-linux-gnu-', 'AArch64', 'arm64'),
                                  ('arm-linux-gnueabihf-', 'ARM', 'ARM')):
        if not have(prefix + 'gcc'):
            continue
        check('lines of code, ' + name, lines, prefix)
        check('static program, ' + name, static, prefix, machine)
    llvm = have('llvm-addr2line', 'llvm-addr2line-14')
    if llvm:
        check('lines of code, with LLVM alone', lines, '', llvm)
    for name in sorted(missing):
        tests += 1
        print('ok %d - what needs %s # SKIP it is not installed' % (tests, name))
    print('1..%d' % tests)
    sys.exit(failed > 0)


main()
