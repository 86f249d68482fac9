# SPDX-License-Identifier: Apache-2.0
"""Gate: folders include only what the include table of the design lets them know.

The table below is the rule. A file belongs to the deepest folder of the table that holds it: control/config has walls
of its own. What an included header includes in turn is judged where that header stands; together the single steps hold
for every chain of includes.
Headers must also compile alone; one that some .cc includes first has already shown that by being compiled.
"""
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import gate
from gate import Violation


class Room(NamedTuple):
    rooms: tuple    # rooms it may include
    outside: tuple  # groups of outside headers it may include; ANY: all of them


ANY = ('any',)
STD = ('the standard library', 'CPU intrinsics')
BELOW_DATAPLANE = ('base', 'net', 'conntrack')

# What the rooms of the two large folders may include of their own folder. `.` is what stands in it without a room.
INNER = {
    'dataplane': {
        'frame': (),
        'device': ('frame',),
        'observe': ('frame', 'device'),
        'context': ('frame', 'device', 'observe'),
        'detours': ('frame', 'device', 'context'),
        'pipeline': ('frame', 'device', 'observe', 'context', 'detours'),
        'worker': ('frame', 'device', 'observe', 'context', 'pipeline', 'detours'),
    },
    'control': {
        '.': (),
        'system': ('.',),
        'log': ('.',),
        'config': ('.',),
        'changes': ('.', 'system', 'config'),
        'doctor': ('.', 'system', 'config'),
        'plan': ('.', 'config'),
        'devices': ('.', 'system', 'config', 'plan'),
        'image': ('.', 'system', 'config', 'plan'),
        'hosts': ('.', 'plan'),
        'gateway': ('.', 'log', 'config', 'plan', 'devices', 'image'),
        'dhcp': ('.', 'system', 'config', 'plan'),
        'dns': ('.', 'system', 'config', 'dhcp'),
        'uplink': ('.', 'system', 'log', 'config', 'hosts', 'gateway'),
        'slow_path': ('.', 'log', 'config', 'plan', 'hosts', 'gateway', 'dhcp', 'uplink'),
        'watch': ('.', 'config', 'plan'),
        'observe': ('.', 'plan', 'gateway'),
        'translations': ('.', 'system', 'config', 'plan', 'gateway', 'observe'),
        'admin': ('.', 'system'),
        'commands': ('.', 'system', 'config', 'changes', 'doctor', 'admin', 'dhcp', 'dns', 'gateway', 'slow_path', 'watch', 'observe',
                     'translations'),
        'http': ('.', 'admin'),
        'metrics': ('.', 'config', 'admin', 'dhcp', 'gateway', 'slow_path', 'commands', 'http'),
        'daemon': ('.', 'log', 'config', 'changes', 'doctor', 'devices', 'dns', 'gateway', 'slow_path', 'watch', 'observe',
                   'translations', 'admin', 'commands', 'http', 'metrics'),
        'ctl': ('.', 'config', 'doctor', 'admin'),  # the other program
    },
}


# Rooms that vmnatctl, or tests without DPDK, are made of.
WITHOUT_DATAPLANE = {'control', 'control/system', 'control/config', 'control/changes', 'control/doctor', 'control/admin',
                     'control/http', 'control/ctl'}


def within(folder, name):
    return folder if name == '.' else f'{folder}/{name}'


def rooms_in(folder, below, outside):
    rooms = {}
    for name, others in INNER[folder].items():
        room = within(folder, name)
        own = (room,) + tuple(within(folder, other) for other in others)
        if room in WITHOUT_DATAPLANE:
            rooms[room] = Room(own + ('base', 'net'), tuple(group for group in outside if group != 'DPDK'))
        else:
            rooms[room] = Room(own + below, outside)
    return rooms


DATAPLANE = rooms_in('dataplane', BELOW_DATAPLANE, STD + ('DPDK',))
BELOW_CONTROL = BELOW_DATAPLANE + ('dhcp',) + tuple(DATAPLANE)
CONTROL = rooms_in('control', BELOW_CONTROL, STD + (
    'DPDK', 'Boost', 'yaml-cpp', 'fmt', 'spdlog', 'nlohmann-json', 'CLI11', 'libexpected', 'libsystemd', 'libmnl',
    'libnuma', 'libpcap', 'the system'))
EVERYTHING = BELOW_CONTROL + tuple(CONTROL) + ('bench', 'tests')

TABLE = {
    'base': Room(('base',), STD),
    'net': Room(('net', 'base'), STD),
    'conntrack': Room(('conntrack', 'net', 'base'), STD),
    'dhcp': Room(('dhcp', 'net', 'base'), STD),
    **DATAPLANE,
    **CONTROL,
    'bench': Room(EVERYTHING, ANY),
    'tests': Room(EVERYTHING, ANY),
}

# Single headers beyond the table, file by file: what is cold and cannot be had otherwise.
EXCUSED = {
    ('conntrack/reserved_array.cc', 'sys/mman.h'),  # tables are reserved pages, touched as they fill
    ('conntrack/reserved_array.cc', 'numaif.h'),    # on the worker's node
    ('dataplane/device/virtqueue_driver.h', 'sys/eventfd.h'),  # a guest that sleeps is interrupted
    ('dataplane/device/doorbell.cc', 'sys/eventfd.h'),     # a thread that sleeps is woken
    ('dataplane/device/doorbell.cc', 'unistd.h'),          # and its eventfd closed
    ('dataplane/device/vhost_port.cc', 'fcntl.h'),         # a worker's own copy of a guest's eventfd
    ('dataplane/device/kernel_port.cc', 'fcntl.h'),        # and of a socket
    ('dataplane/device/kernel_frames.h', 'sys/uio.h'),     # frames cross to the kernel in pieces,
    ('dataplane/device/packet_socket.cc', 'linux/if_ether.h'),
    ('dataplane/device/packet_socket.cc', 'linux/if_packet.h'),
    ('dataplane/device/packet_socket.cc', 'sys/socket.h'),  # by packet sockets,
    ('dataplane/device/tap_queue.cc', 'unistd.h'),         # and by TAP queues
    ('dataplane/worker/idle.cc', 'sys/prctl.h'),           # a worker that rests asks for exact sleeps
    ('dataplane/worker/idle.cc', 'time.h'),                # nanosleep
    ('dataplane/worker/wake_set.cc', 'sys/epoll.h'),       # it sleeps
    ('dataplane/worker/wake_set.cc', 'unistd.h'),          # and closes its copies
}

# Outside headers by how their path starts; what matches nothing is a header of the system.
GROUPS = {
    'DPDK': r'rte_|generic/rte_|cmdline|bus_\w+_driver|ethdev_|dev_driver|dpdk/',
    'Boost': r'boost/',
    'yaml-cpp': r'yaml-cpp/',
    'fmt': r'fmt/',
    'spdlog': r'spdlog/',
    'nlohmann-json': r'nlohmann/',
    'CLI11': r'CLI/',
    'libexpected': r'tl/',
    'libsystemd': r'systemd/',
    'libmnl': r'libmnl/',
    'libpcap': r'pcap/',
    'prometheus-cpp': r'prometheus/',
    'libnuma': r'numa(if)?\.h$',
    'GoogleTest': r'gtest/|gmock/',
    'Google Benchmark': r'benchmark/',
    'CPU intrinsics': r'(x86|\w*mm|arm_\w+)intrin\.h$|immintrin\.h$|arm_neon\.h$|cpuid\.h$',
}

STANDARD_HEADERS = frozenset('''
    algorithm any array atomic barrier bit bitset cassert cctype cerrno cfenv cfloat charconv chrono cinttypes
    climits clocale cmath compare complex concepts condition_variable coroutine csetjmp csignal cstdarg cstddef
    cstdint cstdio cstdlib cstring ctime cuchar cwchar cwctype deque exception execution expected filesystem
    format forward_list fstream functional future initializer_list iomanip ios iosfwd iostream istream iterator
    latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream queue random
    ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span spanstream sstream stack
    stacktrace stdexcept stop_token streambuf string string_view strstream syncstream system_error thread tuple
    type_traits typeindex typeinfo unordered_map unordered_set utility valarray variant vector version
'''.split())

PAGE = 'ARCHITECTURE.md'
SECONDS_PER_HEADER = 120
PARALLEL = 2

INCLUDE = r'(?m)^[ \t]*#[ \t]*(?:include|include_next|import)\b[ \t]*(<[^>\n]*>|"[^"\n]*"|[^\n]*)'


def room_of(path):
    """The deepest room of the table that holds `path`, or None."""
    parts = Path(path).parts
    for depth in range(len(parts) - 1, 0, -1):
        room = '/'.join(parts[:depth])
        if room in TABLE:
            return room
    return None


def is_ours(root, path):
    """A header of the project; <net/if.h> is the system's."""
    return bool(room_of(path)) and Path(root, path).exists()


def group_of(header):
    if header in STANDARD_HEADERS:
        return 'the standard library'
    return next((group for group, start in GROUPS.items() if re.match(start, header)), 'the system')


def includes_of(root, file):
    """(line, what is written behind #include) of each include of the file, comments left aside."""
    text = gate.code_of(gate.read(root, file), keep_strings=True)
    return [(line, match.group(1).strip()) for line, match in gate.lines_with(INCLUDE, text)]


# --- the sentences -------------------------------------------------------------------------------

def sources_in_rooms(root, files):
    """Every source lies in a room, and there is something to look at."""
    wrong = [Violation(file, 1, 'lies in no room of the include table (tests/gates/includes.py)')
             for file in files if room_of(file) is None]
    if not files:
        wrong.append(Violation('.', 1, 'no C++ source found: the gate has looked at nothing'))
    return wrong


def judge_room(file, line, path):
    room, other = room_of(file), room_of(path)
    if other in TABLE[room].rooms:
        return []
    allowed = ', '.join(TABLE[room].rooms)
    return [Violation(file, line, f'{room} may not include {other or "a folder of no room"} "{path}"'
                                  f' (it may include: {allowed})')]


def judge_outside(file, line, header):
    room, group = room_of(file), group_of(header)
    if TABLE[room].outside == ANY or group in TABLE[room].outside or (str(file), header) in EXCUSED:
        return []
    hint = ''
    if header.endswith('.h') and f'c{header[:-2]}' in STANDARD_HEADERS:
        hint = f'; write <c{header[:-2]}>'
    return [Violation(file, line, f'{room} may not include {group} <{header}>{hint}')]


def project_includes(root, files):
    wrong = []
    for file in files:
        for line, written in includes_of(root, file):
            path = written.strip('"<>')
            if room_of(file) and (written.startswith('"') or is_ours(root, path)):
                # A name without folder is judged as the neighbour that the compiler would find.
                neighbour = Path(file).parent / path
                if '/' not in path or not (room_of(path) or Path(root, path).exists()):
                    path = neighbour.as_posix()
                wrong += judge_room(file, line, path)
    return wrong


def page_rows(text):
    """{folder: (line, what its last cell names)} of ARCHITECTURE.md's tables of folders."""
    found = {}
    for line, match in gate.lines_with(r'(?m)^\| `([\w/]+)/` \|.*\|([^|\n]*)\|$', text):
        found[match.group(1)] = (line, set(re.findall(r'`([\w/]+)`', match.group(2))))
    return found


def rooms_on_page(root):
    """ARCHITECTURE.md says of each inner room what it may include of its own folder, as INNER does."""
    if not Path(root, PAGE).is_file():
        return []
    rows, wrong = page_rows(gate.read(root, PAGE)), []
    for folder, inner in INNER.items():
        for name, others in inner.items():
            if name == '.':
                continue
            siblings = {other for other in others if other != '.'}
            line, named = rows.get(f'{folder}/{name}', (1, None))
            if named != siblings:
                says = 'nothing' if named is None else ', '.join(sorted(named)) or 'none'
                wrong.append(Violation(PAGE, line, f'{folder}/{name}/ may include: {", ".join(sorted(siblings)) or "none"};'
                                                   f' the page says: {says}'))
    return wrong


def outside_includes(root, files):
    wrong = []
    for file in files:
        for line, written in includes_of(root, file):
            if room_of(file) and written.startswith('<') and not is_ours(root, written.strip('<>')):
                wrong += judge_outside(file, line, written.strip('<>'))
    return wrong


def quoted_paths(root, build, files):
    """"folder/file.h" from the root (or generated, from the build directory), <...> for all the rest."""
    wrong = []
    for file in files:
        for line, written in includes_of(root, file):
            path = written[1:-1]
            if written.startswith('<'):
                if is_ours(root, path):
                    wrong.append(Violation(file, line, f'headers of the project stand in quotes: "{path}"'))
            elif not written.startswith('"'):
                wrong.append(Violation(file, line, f'include a file by its name, not by a macro: {written}'))
            elif '..' in Path(path).parts or '/' not in path or not (
                    Path(root, path).is_file() or Path(build, path).is_file()):
                wrong.append(Violation(file, line, f'"{path}" is no path from the root of the project'))
    return wrong


def pragma_once(root, files):
    return [Violation(file, 1, 'header without #pragma once') for file in files if file.endswith('.h')
            and not re.search(r'(?m)^#pragma once$', gate.code_of(gate.read(root, file)))]


def license_lines(root):
    wrong = []
    for file in gate.sources(root, gate.CPP_SUFFIXES + ('.py', '.sh', 'run')):
        lines = gate.read(root, file).splitlines() or ['']
        first = lines[1:2] if lines[0].startswith('#!') else lines[:1]
        if not first or not re.fullmatch(r'(//|#) SPDX-License-Identifier: Apache-2\.0', first[0]):
            mark = '//' if file.endswith(gate.CPP_SUFFIXES) else '#'
            wrong.append(Violation(file, 1, f'does not start with "{mark} SPDX-License-Identifier: Apache-2.0"'))
    return wrong


# --- headers that compile alone ------------------------------------------------------------------

def nearest_unit(header, all_units):
    """The unit whose flags suit the header best: of its folder, else of its tests, else of its neighbours. Of equals the one
    with the most libraries: a folder's sources may be of several targets."""
    folder = Path(header).parent.parts

    def nearness(unit):
        parts = Path(unit.file).parent.parts
        is_test = parts[:1] == ('tests',) and folder[:1] != ('tests',)
        mirrored = parts[1:] if is_test else parts
        common = 0
        while common < min(len(folder), len(mirrored)) and folder[common] == mirrored[common]:
            common += 1
        libraries = sum(argument.startswith(('-I', '-isystem')) for argument in unit.arguments)
        return (common, mirrored == folder, not is_test, libraries, unit.file)
    return max(all_units, key=nearness)


def alone_command(unit):
    """The unit's compiler and flags, for a source on standard input that is checked and not compiled."""
    command, skip = [], False
    for argument in unit.arguments:
        if skip or argument in ('-o', '-MF', '-MQ', '-MT'):
            skip = not skip
        elif argument not in ('-c', '-MD', '-MMD', '-MP') and not argument.endswith('.cc'):
            command.append(argument)
    return command + ['-fdiagnostics-color=never', '-fsyntax-only', '-x', 'c++', '-']


def compile_alone(header, unit, root):
    """The violations that the compiler finds in a source that includes this header and nothing else."""
    try:
        result = subprocess.run(alone_command(unit) + [f'-I{root}'], cwd=unit.directory, text=True,
                                input=f'#include "{header}"\n', capture_output=True, timeout=SECONDS_PER_HEADER,
                                env=os.environ | {'LC_ALL': 'C'})
    except subprocess.TimeoutExpired:
        return [Violation(header, 1, f'not compiled within {SECONDS_PER_HEADER} s')]
    if result.returncode == 0:
        return []
    error = re.search(r'(?m)^(.*?):(\d+):(?:\d+:)? (?:fatal )?error: (.*)$', result.stderr)
    what = error.group(3) if error else result.stderr.strip()
    own = error and error.group(1).endswith(header)
    return [Violation(header, int(error.group(2)) if own else 1, f'does not compile alone: {what}'
                      + (f' ({error.group(1)}:{error.group(2)})' if error and not own else ''))]


def self_contained(root, build, files):
    all_units = [unit for unit in gate.units(root, build) if unit.file in files]
    proven = set()
    for unit in all_units:
        proven.update(written.strip('"') for _, written in includes_of(root, unit.file)[:1])
    headers = [file for file in files if file.endswith('.h') and file not in proven]
    if headers and not all_units:
        return [Violation('.', 1, 'compile_commands.json names no source of the project')]
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda header: compile_alone(header, nearest_unit(header, all_units), root), headers)
        return [violation for violations in found for violation in violations]


def check(root, build):
    files = gate.sources(root)
    return {
        'every source lies in a room of the include table': sources_in_rooms(root, files),
        'rooms include only the rooms that the table allows': project_includes(root, files),
        'ARCHITECTURE.md says of the rooms what the table says': rooms_on_page(root),
        'rooms include only the outside headers that the table allows': outside_includes(root, files),
        'quoted includes are paths from the root of the project': quoted_paths(root, build, files),
        'every header is guarded by pragma once': pragma_once(root, files),
        'every source starts with its SPDX line': license_lines(root),
        'every header compiles alone': self_contained(root, build, files),
    }


if __name__ == '__main__':
    gate.main(check, __doc__)
