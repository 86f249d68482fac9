# SPDX-License-Identifier: Apache-2.0
"""Gate: docs/compliance.md names only tests that exist, and shows every requirement that it says is met.

The last column of its tables holds the names, in backquotes: `Suite.Name` for GoogleTest, with `*` for any end, and
`FILE.py: sentence` for a case of tests/e2e or tests/e2e/behaviour; a sentence that is put together from parts is named
by one that stands in the file as it is.
"""
import re
from fnmatch import fnmatchcase
from typing import NamedTuple

import gate
from gate import Violation

PAGE = 'docs/compliance.md'
GOOGLE_TEST = re.compile(r'\bTEST(?:_F|_P)?\(\s*(\w+),\s*(\w+)\s*\)')
CASE_FOLDERS = ('tests/e2e', 'tests/e2e/behaviour')


class Row(NamedTuple):
    line: int
    requirement: str
    verdict: str
    names: list


def rows(text):
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.strip().strip('|').split('|')]
        if not line.startswith('|') or len(cells) != 4 or cells[1] == '' and cells[0] in ('requirement', 'section'):
            continue
        if set(cells[0]) != {'-'}:
            found.append(Row(number, cells[0], cells[1], re.findall(r'`([^`]+)`', cells[3])))
    return found


def google_tests(root):
    return {'.'.join(name) for file in gate.sources(root, ('.cc',)) if file.startswith('tests/')
            for name in GOOGLE_TEST.findall(gate.read(root, file))}


def case_exists(root, file, sentence):
    return any((root / folder / file).is_file() and sentence in (root / folder / file).read_text()
               for folder in CASE_FOLDERS)


def missing(root, table):
    tests = google_tests(root)
    for row in table:
        for name in row.names:
            file, colon, sentence = name.partition(': ')
            if file.endswith('.py') and colon:
                exists = case_exists(root, file, sentence)
            else:
                exists = any(fnmatchcase(test, name) for test in tests)
            if not exists:
                yield Violation(PAGE, row.line, f'no such test: {name}')


def check(root, build):
    del build  # what this gate looks at needs no build
    table = rows(gate.read(root, PAGE)) if (root / PAGE).is_file() else []
    empty = [] if table else [Violation(PAGE, 1, 'there is no table: nothing was looked at')]
    return {
        'there is something to look at': empty,
        'every test that the page names exists': list(missing(root, table)),
        'every requirement that is said to be met names a test':
            [Violation(PAGE, row.line, f'no test shows {row.requirement}') for row in table
             if row.verdict in ('met', 'option') and not row.names],
        'a verdict is one of those that the page explains':
            [Violation(PAGE, row.line, f'what is "{row.verdict}"?') for row in table
             if row.verdict not in ('met', 'option', 'no', 'n/a', '')],
    }


if __name__ == '__main__':
    gate.main(check, __doc__)
