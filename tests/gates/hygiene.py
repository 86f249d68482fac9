# SPDX-License-Identifier: Apache-2.0
"""Gate: what no compiler sees: words that the style keeps out, names of files, white space.

A rule is data: where it looks, what it refuses, why, and which files it excuses for which reason. `code`
rules see C++ without comments and literals, so prose may name what code may not use.
"""
import re
from pathlib import Path
from typing import NamedTuple

import gate
from gate import Violation

CPP = gate.CPP_SUFFIXES
TEXT = CPP + ('.py', '.sh', '.md', '.yaml', '.yml', '.json', '.build', '.txt', '.service', 'run', 'pre-commit', 'commit-msg')

# Casts that read no header out of raw bytes: addresses for the kernel, vectors of the CPU, an address as a
# number, checked bytes as text.
HARMLESS_CASTS = (r'(?!\s*<\s*(?:const\s+char\s*\*|std::uintptr_t|(?:const\s+)?(?:struct\s+)?(?:::)?'
                  r'(?:__m\d+i?|sockaddr\w*|ifreq|ethtool_\w+|\w*msg\w*|tpacket\w*)\s*\*)\s*>)')


class Rule(NamedTuple):
    sentence: str
    pattern: str
    message: str
    where: str          # a regular expression for the whole path
    in_code: bool       # look at code alone, without comments and literals
    excused: dict       # path -> reason; a folder ends with "/", "*" stands for any end of a name


RULES = (
    Rule('no inlining or branch hints without a number',
         r'\b(?:__rte_|__)?always_inline\b|\b(?:un)?likely\s*\(|\[\[\s*(?:un)?likely\s*\]\]|__builtin_expect\w*',
         '{0} needs a measured number: name the file and the number in tests/gates/hygiene.py',
         r'.*\.(h|cc)', True,
         {'dataplane/device/virtqueue.h': 'virtqueue_bench, take: 46.7 ticks a frame split and 53.6 packed; without 51.3 and 56.7',
          'dataplane/pipeline/translate.cc': 'pipeline_bench, outbound/10000: 100.3 ticks a frame; without 102.6'}),
    Rule('bytes are reinterpreted in the ground floor and the parse step alone',
         r'\breinterpret_cast\b' + HARMLESS_CASTS,
         'use net::view<T> or std::as_bytes; reinterpret_cast is for the parse step',
         r'(base|net|conntrack|dhcp|dataplane|control)/.*', True,
         {'net/': 'the checked views live there', 'dataplane/pipeline/parse*': 'the parse step'}),
    Rule('the packet path takes no lock of DPDK, which would leave no symbol',
         r'\brte_(?:spinlock|rwlock|ticketlock|mcslock|seqlock)\w*', '{0}: give the data one owner instead',
         r'(dataplane|conntrack)/.*', True, {}),
    Rule('conntrack and dhcp take the time as a parameter',
         r'\b(?:rte_(?:rdtsc|get_tsc|get_timer)\w*|__rdtscp?|__builtin_ia32_rdtscp?|_rdtsc)\b',
         '{0}: time is a parameter here', r'(conntrack|dhcp)/.*', True, {}),
    Rule('nothing is committed unfinished', r'\b(?:TODO|FIXME|XXX|HACK)\b', '{0}: finish it, or open an issue',
         r'.*', False, {'tests/gates/hygiene*': 'name the words', 'tests/gates/README.md': 'names the words'}),
    Rule('no tabs', r'\t', 'tab; indent with spaces', r'.*', False, {}),
    Rule('no white space at the end of a line', r'[ \t\r]+$', 'white space at the end of the line', r'.*', False, {}),
    Rule('files end with one newline', r'[^\n]\Z|\n\n\Z',
         'the file does not end with exactly one newline', r'.*', False, {}),
)

FILE_NAME = re.compile(r'[a-z0-9_]+\.(h|cc)')
OTHER_SUFFIXES = ('.hpp', '.hh', '.hxx', '.cpp', '.cxx', '.c', '.C', '.H', '.inl', '.ipp', '.tpp')


def is_excused(file, excused):
    return any(file == path or (path.endswith(('/', '*')) and file.startswith(path.rstrip('*'))) for path in excused)


def judge(rule, root, files):
    wrong = []
    for file in files:
        if not re.fullmatch(rule.where, file) or (rule.in_code and not file.endswith(CPP)):
            continue
        if is_excused(file, rule.excused):
            continue
        text = gate.read(root, file)
        for line, match in gate.lines_with(f'(?m){rule.pattern}', gate.code_of(text) if rule.in_code else text):
            wrong.append(Violation(file, line, rule.message.format(match.group().strip())))
    return wrong


def file_names(root):
    wrong = [Violation(file, 1, 'files are named snake_case.h and snake_case.cc')
             for file in gate.sources(root, CPP) if not FILE_NAME.fullmatch(Path(file).name)]
    return wrong + [Violation(file, 1, 'C++ files end with .h or .cc') for file in gate.sources(root, OTHER_SUFFIXES)]


def check(root, build):
    del build  # what this gate looks at needs no build
    files = gate.sources(root, TEXT)
    results = {'C++ files are snake_case.h and snake_case.cc': file_names(root)}
    if not files:
        results['there is something to look at'] = [Violation('.', 1, 'no source found: nothing was looked at')]
    return results | {rule.sentence: judge(rule, root, files) for rule in RULES}


if __name__ == '__main__':
    gate.main(check, __doc__)
