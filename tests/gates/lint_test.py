# SPDX-License-Identifier: Apache-2.0
"""lint.py's clang-format half on planted files."""
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


if __name__ == '__main__':
    if not shutil.which('clang-format'):
        sys.exit(lint.SKIPPED)
    run_cases()
