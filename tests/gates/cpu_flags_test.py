# SPDX-License-Identifier: Apache-2.0
"""The cpu gate on planted compile commands."""
import json

import cpu_flags
from planted import LICENSE, case, run_cases


def configure(tree, cpu='native'):
    (tree.build / 'meson-info').mkdir(exist_ok=True)
    options = [{'name': 'buildtype', 'value': 'release'}, {'name': 'cpu', 'value': cpu}]
    (tree.build / 'meson-info' / 'intro-buildoptions.json').write_text(json.dumps(options))


def source(tree, file, *flags):
    tree.write(file, LICENSE)
    tree.unit(file, *flags)


@case('sources whose last -march is the configured one pass')
def _(tree):
    configure(tree)
    source(tree, 'conntrack/a.cc', '-march=native')
    source(tree, 'dataplane/a.cc', '-march=native', '-march=corei7', '-march=native')
    tree.expect(cpu_flags.check)


@case('corei7 last is refused in every room')
def _(tree):
    configure(tree)
    rooms = ('bench', 'conntrack', 'control', 'dataplane', 'tests/net')
    for room in rooms:
        source(tree, f'{room}/a.cc', '-march=native', '-march=corei7')
    tree.expect(cpu_flags.check, *(f'{room}/a.cc:1: compiled with -march=corei7, not -march=native' for room in rooms))


@case('no -march at all, and another CPU than the configured one, are refused')
def _(tree):
    configure(tree, cpu='x86-64-v3')
    source(tree, 'dataplane/a.cc')
    source(tree, 'dataplane/b.cc', '-march=x86-64-v3', '-march=native')
    source(tree, 'dataplane/c.cc', '-march=x86-64-v3')
    tree.expect(cpu_flags.check, 'dataplane/a.cc:1: compiled with no -march, not -march=x86-64-v3',
                'dataplane/b.cc:1: compiled with -march=native, not -march=x86-64-v3')


@case('what looks at the CPU is for every x86-64')
def _(tree):
    configure(tree)
    source(tree, 'control/system/cpu_check.cc', '-march=x86-64')
    source(tree, 'control/system/cpu_features.cc', '-march=x86-64', '-march=native')
    tree.expect(cpu_flags.check, 'control/system/cpu_features.cc:1: compiled with -march=native, not -march=x86-64')


@case('a source compiled twice is judged twice')
def _(tree):
    configure(tree)
    source(tree, 'conntrack/a.cc', '-march=native')
    tree.unit('conntrack/a.cc', '-march=corei7', target='tests/fuzz')
    tree.expect(cpu_flags.check, 'conntrack/a.cc:1: compiled with -march=corei7')


@case('a room whose sources are not compiled fails: nothing would have been looked at')
def _(tree):
    configure(tree)
    source(tree, 'conntrack/a.cc', '-march=native')
    tree.write('dataplane/a.cc', LICENSE)
    tree.expect(cpu_flags.check, 'dataplane:1: holds sources, none of them in compile_commands.json')


@case('an empty compile_commands.json fails')
def _(tree):
    configure(tree)
    tree.expect(cpu_flags.check, 'compile_commands.json:1: names no source of the project')


if __name__ == '__main__':
    run_cases()
