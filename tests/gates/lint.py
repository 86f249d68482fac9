# SPDX-License-Identifier: Apache-2.0
"""Format and clang-tidy: lint.py [--deep] [FILE ...], without files for the whole tree.

Formatting is judged by clang-format on every C++ file. clang-tidy works on the sources of
compile_commands.json; for a header it works on one source that includes it. As many files at a time as there
are CPUs, 2 to 10 seconds of CPU for one (see README.md). --deep adds clang's static analyzer, several times as long.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gate
import includes

DEEP_CHECKS = 'clang-analyzer-*,-clang-analyzer-optin.*'
SECONDS_PER_FILE = 900
SKIPPED = 77  # by meson's convention
NOT_PRODUCT = ('bench', 'tests')


def unformatted(root, files):
    """clang-format's complaints; the empty string when there are none."""
    if not files:
        return ''
    result = subprocess.run(['clang-format', '--dry-run', '-Werror', '--ferror-limit=1', *files], cwd=root,
                            capture_output=True, text=True, timeout=SECONDS_PER_FILE)
    wrong = sorted(set(re.findall(r'(?m)^(\S+?):(\d+):\d+: error: code should be clang-formatted', result.stderr)))
    if result.returncode != 0 and not wrong:
        return result.stderr
    return ''.join(f'{file}:{line}: not formatted (clang-format -i {file})\n' for file, line in wrong)


def does_include(root, unit, header):
    return f'"{header}"' in (written for _, written in includes.includes_of(root, unit.file))


def units_in(rooms, root, build):
    """Each source once, as it is compiled first: for its own room. Fuzzers and tests compile much of the product again."""
    units = {}
    for unit in gate.units(root, build):
        if unit.file.split('/')[0] in rooms:
            units.setdefault(unit.file, unit)
    return units


def product(root, build):
    return list(units_in([room for room in gate.ROOMS if room not in NOT_PRODUCT], root, build).values())


def units_of(files, root, build):
    """The units to look at for `files`; a header stands for the first unit that includes it."""
    units = units_in(gate.ROOMS, root, build)
    if not files:
        return list(units.values())
    chosen = {}
    for file in files:
        unit = units.get(file) or next((unit for unit in units.values() if does_include(root, unit, file)), None)
        if unit:
            chosen[unit.file] = unit
        else:
            print(f'{file}: no source of compile_commands.json is or includes it; clang-tidy has not seen it')
    return list(chosen.values())


def tidy(unit, root, deep):
    """(file, seconds, complaints). The command is given: of a database clang-tidy would take each that the file has."""
    begin = time.monotonic()
    command = ['clang-tidy', '--quiet', *([f'--checks={DEEP_CHECKS}'] if deep else []), str(root / unit.file), '--',
               *unit.arguments[1:]]
    result = subprocess.run(command, cwd=unit.directory, capture_output=True, text=True, timeout=SECONDS_PER_FILE)
    output = re.sub(r'(?m)^\.\./', '', result.stdout.replace(f'{root}/', ''))
    return unit.file, time.monotonic() - begin, (output or result.stderr) if result.returncode != 0 else ''


def last_changed_first(units, root):
    """In the order of the commits that changed them, as far as this clone knows any."""
    said = subprocess.run(['git', '-c', f'safe.directory={root}', 'log', '--format=', '--name-only', '--max-count=1000'],
                          cwd=root, capture_output=True, text=True, timeout=60).stdout.splitlines()
    age = {file: index for index, file in reversed(list(enumerate(said)))}
    return sorted(units, key=lambda unit: age.get(unit.file, len(said)))


def tidy_all(units, root, options):
    clean = True
    seen = set()  # a mistake in a header shows in every source that includes it; once is enough
    end = time.monotonic() + options.seconds
    left_out = 0
    with ThreadPoolExecutor(options.parallel) as pool:
        for result in pool.map(lambda unit: tidy(unit, root, options.deep) if time.monotonic() < end else None, units):
            if result is None:
                left_out += 1
                continue
            file, seconds, complaints = result
            print(f'{"ok   " if not complaints else "WRONG"} {seconds:5.1f} s  {file}', flush=True)
            blocks = re.split(r'(?m)^(?=\S+:\d+:\d+: (?:error|warning):|error:)', complaints)
            print(''.join(block for block in blocks if block not in seen), end='', flush=True)
            seen.update(blocks)
            clean = clean and not complaints
    if left_out:
        print(f'{left_out} of {len(units)} sources, those that changed longest ago, were not looked at: the time was over')
    return clean


def main():
    root = Path(__file__).resolve().parent.parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='*', metavar='FILE')
    parser.add_argument('--build', type=Path, default=root / 'build')
    parser.add_argument('--deep', action='store_true', help='add the static analyzer')
    parser.add_argument('--format-only', action='store_true', help='leave clang-tidy out')
    parser.add_argument('--parallel', type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument('--seconds', type=float, default=float('inf'),
                        help='begin no file after so long; what changed last comes first')
    parser.add_argument('--product', action='store_true', help='clang-tidy on all but tests and benchmarks')
    options = parser.parse_args()
    missing = [tool for tool in ('clang-format', 'clang-tidy')[:1 if options.format_only else 2] if not shutil.which(tool)]
    if missing:
        print(f'missing: apt-get install {" ".join(missing)}')
        sys.exit(SKIPPED)
    files = [os.path.relpath(Path(file).resolve(), root) for file in options.files]
    wrong = unformatted(root, [f for f in files if f.endswith(gate.CPP_SUFFIXES)] or gate.sources(root))
    print(wrong, end='', flush=True)
    clean = not wrong
    if not options.format_only:
        build = options.build.resolve()
        units = product(root, build) if options.product else units_of(files, root, build)
        clean = tidy_all(last_changed_first(units, root), root, options) and clean
    sys.exit(0 if clean else 1)


if __name__ == '__main__':
    main()
