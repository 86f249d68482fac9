# SPDX-License-Identifier: Apache-2.0
"""Gate: every source is compiled for the CPU that the meson option `cpu` names.

libdpdk.pc brings -march=corei7 and puts it behind the project's own arguments. The last -march wins, so a
target that forgets `cpp_args: cpu_args` is silently built for a CPU of 2008. This holds for control and tests
too: an inline function shared with the dataplane exists once in a program, in whichever object comes first.
Those that look whether the CPU can run the others are for every x86-64, and share no inline function.
"""
import json
from pathlib import Path

import gate
from gate import Violation


FOR_EVERY_CPU = ('control/system/cpu_check.cc', 'control/system/cpu_features.cc')


def configured_cpu(build):
    options = Path(build, 'meson-info', 'intro-buildoptions.json')
    if not options.is_file():
        raise SystemExit(f'{options}: missing; set up the build first: meson setup {build}')
    return next(option['value'] for option in json.loads(options.read_text()) if option['name'] == 'cpu')


def project_units(root, build):
    return [unit for unit in gate.units(root, build) if unit.file.split('/')[0] in gate.ROOMS]


def wrong_cpu(units, cpu):
    return [Violation(unit.file, 1, f'compiled with {unit.last("-march=") or "no -march"}, not -march={cpu}:'
                                    f' give its target "cpp_args: cpu_args" ({unit.output})')
            for unit in units if unit.file not in FOR_EVERY_CPU and unit.last('-march=') != f'-march={cpu}']


def not_for_every_cpu(units):
    return [Violation(unit.file, 1, f'compiled with {unit.last("-march=")}, not -march=x86-64: it runs on CPUs that'
                                    f' the program is not for ({unit.output})')
            for unit in units if unit.file in FOR_EVERY_CPU and unit.last('-march=') != '-march=x86-64']


def uncompiled_rooms(root, units):
    """A room with sources of which none is compiled: nothing would have been looked at."""
    sources = gate.sources(root, ('.cc',))
    compiled = {unit.file.split('/')[0] for unit in units}
    rooms = [room for room in gate.ROOMS if any(file.startswith(room + '/') for file in sources)]
    wrong = [Violation(room, 1, 'holds sources, none of them in compile_commands.json')
             for room in rooms if room not in compiled]
    return wrong or ([] if units else [Violation('compile_commands.json', 1, 'names no source of the project')])


def check(root, build):
    units = project_units(root, build)
    return {
        'every room that holds sources is compiled': uncompiled_rooms(root, units),
        'the last -march of every source is the configured CPU': wrong_cpu(units, configured_cpu(build)),
        'what looks at the CPU is compiled for every x86-64': not_for_every_cpu(units),
    }


if __name__ == '__main__':
    gate.main(check, __doc__)
