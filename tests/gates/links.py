# SPDX-License-Identifier: Apache-2.0
"""Gate: what pages and comments point at is there: links between pages, their headings, files by name.

    [rings](../dataplane/context/rings.h)   a relative link of a page leads to a file or folder
    [Limits](#limits)                       ... and to a heading of the page
    `conntrack/look_ahead.h`, `docs/`       a path in backquotes that begins in a folder of the house exists
    // see claims.h                         a C++ file that a comment names exists, whatever its folder

Links to other hosts are not followed, and DPDK's headers (rte_*) are not ours. In a C++ comment a path may be
written from the root, from the file's own folder, or as a bare name.
"""
import re
from pathlib import Path

import gate
from gate import Violation

FOLDERS = gate.ROOMS + ('configs', 'docs', 'tools')

FENCE = re.compile(r'(?ms)^```.*?^```')
INLINE = re.compile(r'`[^`\n]*`')
LINK = r'\[[^\]]*\]\(([^)\s]+)\)'
HEADING = re.compile(r'(?m)^#+ +(.*?) *$')
PATH = rf'`((?:{"|".join(FOLDERS)})/(?:[\w./-]*(?:\.\w+|/))?)`'
CPP_FILE = r'(?<![\w./<"*-])(?!rte_)((?:[\w-]+/)*\w+\.(?:h|cc))\b(?!\.\w|-)'


def without_code(text):
    """The page without fenced blocks and code spans, which show links and do not link; lines keep their numbers."""
    blank = lambda match: re.sub(r'[^\n]', ' ', match.group())  # noqa: E731
    return INLINE.sub(blank, FENCE.sub(blank, text))


def anchors_of(text):
    """As GitHub makes them: lower case, punctuation gone, a hyphen for each space."""
    titles = (re.sub(r'[`*]|\[|\]\([^)]*\)', '', title) for title in HEADING.findall(FENCE.sub('', text)))
    return {re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-') for title in titles}


def dead_links(root, pages):
    for page in pages:
        text = gate.read(root, page)
        for line, match in gate.lines_with(LINK, without_code(text)):
            target, _, anchor = match.group(1).partition('#')
            if re.match(r'[a-z]+:', target):
                continue
            file = (root / page).parent / target if target else root / page
            if not file.exists():
                yield Violation(page, line, f'leads nowhere: {match.group(1)}')
            elif anchor and file.suffix == '.md' and anchor not in anchors_of(file.read_text()):
                yield Violation(page, line, f'no such heading: {match.group(1)}')


def dead_paths(root, pages):
    for page in pages:
        for line, match in gate.lines_with(PATH, gate.read(root, page)):
            if not (root / match.group(1)).exists():
                yield Violation(page, line, f'no such file: {match.group(1)}')


def comments_of(text):
    """The text with nothing but its comments."""
    return ''.join(a if a == '\n' or a != b else ' ' for a, b in zip(text, gate.code_of(text, keep_strings=True)))


def dead_names(root, files):
    names = {Path(file).name for file in files}
    for file in files:
        for line, match in gate.lines_with(CPP_FILE, comments_of(gate.read(root, file))):
            path = match.group(1)
            if '/' in path and path.split('/')[0] in FOLDERS:
                exists = (root / path).exists() or (root / file).parent.joinpath(path).exists()
            else:
                exists = Path(path).name in names
            if not exists:
                yield Violation(file, line, f'no such file: {path}')


def check(root, build):
    del build  # what this gate looks at needs no build
    pages = gate.sources(root, ('.md',))
    return {
        'there is something to look at': [] if pages else [Violation('.', 1, 'no page found: nothing was looked at')],
        'every relative link of a page leads to a file, and to a heading of it': list(dead_links(root, pages)),
        'every path of the house that a page names exists': list(dead_paths(root, pages)),
        'every C++ file that a comment names exists': list(dead_names(root, gate.sources(root))),
    }


if __name__ == '__main__':
    gate.main(check, __doc__)
