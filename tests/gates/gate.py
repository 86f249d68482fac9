# SPDX-License-Identifier: Apache-2.0
"""What the gates share: the sources of the tree, the compile commands of a build, and reporting.

A gate is a script `GATE.py [--root DIR] [--build DIR]`. It answers a dict from a sentence that ought to
be true to the violations of it, and prints that as TAP, one subtest a sentence:

    not ok 1 - folders include only what the table allows
    # conntrack/port_pool.cc:12: conntrack may not include DPDK <rte_mbuf.h>

Gates look at what stands on disk and in compile_commands.json, never at a list of targets: a new folder
or file is covered without a change here. Only the standard library is needed.
"""
import argparse
import json
import os
import re
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

ROOMS = ('base', 'net', 'conntrack', 'dhcp', 'dataplane', 'control', 'bench', 'tests')
CPP_SUFFIXES = ('.h', '.cc')


class Violation(NamedTuple):
    file: str
    line: int
    message: str

    def __str__(self):
        return f'{self.file}:{self.line}: {self.message}'


class CannotTell(Exception):
    """A sentence that this build cannot answer (reported as skipped, with the reason)."""


# --- sources -------------------------------------------------------------------------------------

def is_foreign(folder):
    """Build trees, version control and caches are not sources."""
    name = folder.name
    return (name.startswith('build') or name in ('__pycache__', 'subprojects', '.git', '.cache')
            or (folder / 'meson-info').is_dir())


def sources(root, suffixes=CPP_SUFFIXES):
    """Paths relative to `root` of all files with one of these suffixes (or exact names), sorted."""
    found = []
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not is_foreign(Path(folder, name))]
        for name in files:
            if name in suffixes or Path(name).suffix in suffixes:
                found.append(Path(folder, name).relative_to(root).as_posix())
    return sorted(found)


def read(root, file):
    return Path(root, file).read_bytes().decode(errors='replace')  # carriage returns kept


TOKEN = re.compile(r'''
    (?P<comment> //[^\n]* | /\*.*?(?:\*/|\Z) )
  | (?P<raw> \bu?8?[LUu]?R"(?P<mark>[^()\\\s]{0,16})\(.*?\)(?P=mark)" )
  | (?P<string> "(?:\\.|[^"\\\n])*" )
  | (?P<char> (?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])+' )
''', re.DOTALL | re.VERBOSE)


def code_of(text, keep_strings=False):
    """The text without comments and literals; every line keeps its number."""
    def blank(match):
        if keep_strings and match.lastgroup in ('string', 'char'):
            return match.group()
        return re.sub(r'[^\n]', ' ', match.group())
    return TOKEN.sub(blank, text)


def lines_with(pattern, text):
    """(line number, match) for each match of `pattern`."""
    return [(text.count('\n', 0, match.start()) + 1, match) for match in re.finditer(pattern, text)]


# --- compile commands ----------------------------------------------------------------------------

class Unit(NamedTuple):
    """One translation unit as the build compiles it."""
    file: str       # relative to the root
    output: str     # relative to the build directory: "conntrack/libconntrack.a.p/port_pool.cc.o"
    arguments: list
    directory: Path

    def last(self, prefix):
        """The last argument that starts with `prefix`: the one that wins."""
        return next((a for a in reversed(self.arguments) if a.startswith(prefix)), None)


def units(root, build):
    commands = Path(build, 'compile_commands.json')
    if not commands.is_file():
        raise SystemExit(f'{commands}: missing; set up the build first: meson setup {build}')
    root = Path(root).resolve()
    result = []
    for entry in json.loads(commands.read_text()):
        directory = Path(entry['directory'])
        arguments = entry.get('arguments') or shlex.split(entry['command'])
        if Path(arguments[0]).name in ('ccache', 'sccache'):
            arguments = arguments[1:]
        file = os.path.relpath(Path(directory, entry['file']).resolve(), root)
        result.append(Unit(file, entry.get('output', ''), arguments, directory))
    return result


# --- reporting -----------------------------------------------------------------------------------

def print_tap(results):
    """`results`: sentence -> violations (anything that prints), or CannotTell. Answers the exit status."""
    assert not any('#' in sentence for sentence in results), 'a # would begin a TAP directive'
    print(f'1..{len(results)}')
    for number, (sentence, violations) in enumerate(results.items(), 1):
        if isinstance(violations, CannotTell):
            print(f'ok {number} - {sentence} # SKIP {violations}')
            continue
        print(f'{"not ok" if violations else "ok"} {number} - {sentence}')
        for violation in violations:
            print('\n'.join(f'# {line}' for line in str(violation).splitlines()))
    return 1 if any(v and not isinstance(v, CannotTell) for v in results.values()) else 0


def main(check, description):
    """Runs `check(root, build)` as a script."""
    default_root = Path(__file__).resolve().parent.parent.parent
    parser = argparse.ArgumentParser(description=description.strip().splitlines()[0])
    parser.add_argument('--root', type=Path, default=default_root)
    parser.add_argument('--build', type=Path, default=None, help='default: ROOT/build')
    options = parser.parse_args()
    root = options.root.resolve()
    build = (options.build or root / 'build').resolve()
    sys.exit(print_tap(check(root, build)))
