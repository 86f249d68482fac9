# SPDX-License-Identifier: Apache-2.0
"""Small trees with violations planted in them, to show that each gate fails, and only where it should.

    @case('conntrack may not include DPDK')
    def _(tree):
        tree.write('conntrack/a.h', LICENSE, '#pragma once', '#include <rte_mbuf.h>')
        tree.expect(includes.check, 'conntrack/a.h:3: conntrack may not include DPDK <rte_mbuf.h>')
"""
import json
import shutil
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import gate

LICENSE = '// SPDX-License-Identifier: Apache-2.0'
HOT = ('-O2', '-fno-exceptions', '-fno-rtti')
COMPILER = shutil.which('g++') or shutil.which('c++')

CASES = {}


def case(sentence):
    def remember(function):
        assert sentence not in CASES, sentence
        CASES[sentence] = function
        return function
    return remember


class Tree:
    """A project of its own in a temporary folder, with a build directory beside its sources."""

    def __init__(self, root):
        self.root = Path(root).resolve()
        self.build = self.root / 'build'
        self.build.mkdir()
        self.entries = []
        self.write_commands()

    def write(self, file, *lines):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(''.join(line + '\n' for line in lines))

    def write_commands(self):
        (self.build / 'compile_commands.json').write_text(json.dumps(self.entries))

    def unit(self, file, *flags, target='', compiled=False):
        """Enters `file` into compile_commands.json as the build would, and compiles it when asked to."""
        output = f'{target or Path(file).parent}/lib.a.p/{Path(file).name}.o'
        arguments = [COMPILER, '-std=c++20', '-I..', *flags, '-MD', '-MQ', output, '-MF', output + '.d',
                     '-o', output, '-c', f'../{file}']
        self.entries.append({'directory': str(self.build), 'file': f'../{file}', 'output': output,
                             'command': ' '.join(arguments)})
        self.write_commands()
        if compiled:
            (self.build / output).parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(arguments, cwd=self.build, check=True, timeout=120)

    def violations(self, check):
        found = check(self.root, self.build).values()
        return [str(v) for violations in found if not isinstance(violations, gate.CannotTell)
                for v in violations]

    def expect(self, check, *expected):
        """The gate reports these violations, each by the start of its text, in any order, and no other."""
        found = sorted(self.violations(check))
        texts = sorted(expected)
        right = len(found) == len(texts) and all(f.startswith(e) for f, e in zip(found, texts))
        assert right, 'expected:\n' + '\n'.join(texts or ['nothing']) + '\nfound:\n' + '\n'.join(found or ['nothing'])


def run_cases():
    results = {}
    for sentence, function in CASES.items():
        with tempfile.TemporaryDirectory(prefix='planted-') as folder:
            try:
                function(Tree(folder))
                results[sentence] = []
            except AssertionError as failure:
                results[sentence] = [failure]
            except Exception:  # whatever else stops a case is its failure, told whole
                results[sentence] = [traceback.format_exc()]
    sys.exit(gate.print_tap(results))
