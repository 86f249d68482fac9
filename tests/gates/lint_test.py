# SPDX-License-Identifier: Apache-2.0
"""lint.py on planted files: what clang-format says, and which sources clang-tidy is given."""
import shutil
import sys
from pathlib import Path

import lint
from planted import LICENSE, case, run_cases

ONE = ('inline int one() {', '  return 1;', '}')
STYLE = Path(__file__).resolve().parents[2] / '.clang-format'


def complaints(tree, *lines):
    shutil.copy(STYLE, tree.root)
    tree.write('net/a.h', LICENSE, '#pragma once', *lines)
    return lint.unformatted(tree.root, ['net/a.h'])


@case('a file as clang-format writes it passes')
def _(tree):
    assert complaints(tree, '', *ONE) == ''


@case('a file that clang-format would change is named with its line')
def _(tree):
    assert complaints(tree, '', 'inline int  one() {', *ONE[1:]).startswith('net/a.h:4: not formatted')


@case('a diagram in a comment stays as it is drawn')
def _(tree):
    assert complaints(tree, '', '//   a  ->  b' + 120 * '-', '//        |', *ONE) == ''


def plant_units(tree):
    tree.write('net/a.h', LICENSE)
    tree.write('net/a.cc', LICENSE, '#include "net/a.h"')
    tree.write('tests/net/a_test.cc', LICENSE, '#include "net/a.h"')
    tree.unit('net/a.cc')
    tree.unit('net/a.cc', target='tests/fuzz')
    tree.unit('tests/net/a_test.cc')


def looked_at(units):
    return [unit.output for unit in units]


@case('clang-tidy sees a source once, as its own room compiles it')
def _(tree):
    plant_units(tree)
    assert looked_at(lint.units_of([], tree.root, tree.build)) == ['net/lib.a.p/a.cc.o', 'tests/net/lib.a.p/a_test.cc.o']


if shutil.which('clang-tidy'):
    @case('what clang-tidy finds is told with its file and line, and fails')
    def _(tree):
        shutil.copy(STYLE.with_name('.clang-tidy'), tree.root)
        tree.write('net/a.cc', LICENSE, 'typedef int Number;')
        tree.unit('net/a.cc')
        (unit,) = lint.product(tree.root, tree.build)
        file, _, complaints = lint.tidy(unit, tree.root, deep=False)
        assert file == 'net/a.cc' and complaints.startswith('net/a.cc:2:1: error: use \'using\''), complaints


@case('a header is seen through one source that includes it')
def _(tree):
    plant_units(tree)
    assert looked_at(lint.units_of(['net/a.h'], tree.root, tree.build)) == ['net/lib.a.p/a.cc.o']


@case('the product is what is neither test nor benchmark')
def _(tree):
    plant_units(tree)
    assert looked_at(lint.product(tree.root, tree.build)) == ['net/lib.a.p/a.cc.o']


if __name__ == '__main__':
    if not shutil.which('clang-format'):
        sys.exit(lint.SKIPPED)
    run_cases()
