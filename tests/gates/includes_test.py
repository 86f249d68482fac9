# SPDX-License-Identifier: Apache-2.0
"""The includes gate on planted trees."""
import subprocess
import sys
from pathlib import Path

import includes
from planted import LICENSE, case, run_cases


def header(tree, file, *lines):
    """A header with its preamble: `lines` start in line 3. The tree gets a unit that tells the flags."""
    tree.write(file, LICENSE, '#pragma once', *lines)
    if not tree.entries:
        tree.write('net/flags.cc', LICENSE)
        tree.unit('net/flags.cc', '-isystem', str(tree.build / 'outside'))


def outside(tree, *names):
    for name in names:
        tree.write(f'build/outside/{name}')


@case('a tree that keeps the table passes')
def _(tree):
    outside(tree, 'rte_mbuf.h', 'yaml-cpp/yaml.h', 'gtest/gtest.h')
    header(tree, 'net/wire.h', '#include <cstdint>', 'using U8 = std::uint8_t;')
    header(tree, 'conntrack/table.h', '#include <span>', '', '#include "conntrack/key.h"')
    header(tree, 'conntrack/key.h', '#include "net/wire.h"', 'struct Key { U8 a; };')
    header(tree, 'dhcp/server.h', '#include "net/wire.h"')
    header(tree, 'dataplane/frame/parse.h', '#include <rte_mbuf.h>', '#include "conntrack/table.h"')
    header(tree, 'control/config/load.h', '#include <sys/socket.h>', '#include <net/if.h>', '#include <yaml-cpp/yaml.h>')
    header(tree, 'control/gateway/gateway.h', '#include "control/config/load.h"',
           '#include "dataplane/frame/parse.h"', '#include "dhcp/server.h"')
    header(tree, 'tests/conntrack/model.h', '#include <gtest/gtest.h>', '#include "control/config/load.h"')
    tree.expect(includes.check)


# Who includes what, line 3 of a header, and what the gate says of it.
FORBIDDEN = [
    ('base/a.h', '"net/b.h"', 'base may not include net "net/b.h"'),
    ('net/a.h', '<rte_ether.h>', 'net may not include DPDK <rte_ether.h>'),
    ('net/a.h', '"conntrack/b.h"', 'net may not include conntrack "conntrack/b.h"'),
    ('conntrack/a.h', '<rte_mbuf.h>', 'conntrack may not include DPDK <rte_mbuf.h>'),
    ('conntrack/a.h', '<sys/socket.h>', 'conntrack may not include the system <sys/socket.h>'),
    ('conntrack/a.h', '<stdint.h>', 'conntrack may not include the system <stdint.h>; write <cstdint>'),
    ('conntrack/a.h', '"dataplane/frame/b.h"', 'conntrack may not include dataplane/frame "dataplane/frame/b.h"'),
    ('conntrack/deep/a.h', '"control/b.h"', 'conntrack may not include control "control/b.h"'),
    ('dhcp/a.h', '<boost/asio.hpp>', 'dhcp may not include Boost <boost/asio.hpp>'),
    ('dhcp/a.h', '"conntrack/b.h"', 'dhcp may not include conntrack "conntrack/b.h"'),
    ('dataplane/frame/a.h', '<spdlog/spdlog.h>', 'dataplane/frame may not include spdlog <spdlog/spdlog.h>'),
    ('dataplane/worker/a.h', '<fmt/core.h>', 'dataplane/worker may not include fmt <fmt/core.h>'),
    ('dataplane/context/a.h', '"control/config/b.h"', 'dataplane/context may not include control/config "control/config/b.h"'),
    ('dataplane/pipeline/a.h', '"dhcp/b.h"', 'dataplane/pipeline may not include dhcp "dhcp/b.h"'),
    ('control/ctl/a.h', '"dataplane/frame/b.h"', 'control/ctl may not include dataplane/frame "dataplane/frame/b.h"'),
    ('control/config/a.h', '<rte_ether.h>', 'control/config may not include DPDK <rte_ether.h>'),
    ('control/admin/a.h', '<gtest/gtest.h>', 'control/admin may not include GoogleTest <gtest/gtest.h>'),
    ('control/admin/a.h', '"bench/b.h"', 'control/admin may not include bench "bench/b.h"'),
    ('control/admin/a.h', '"tests/net/b.h"', 'control/admin may not include tests "tests/net/b.h"'),
]


def forbid(file, written, says):
    @case(f'refused: {says}')
    def _(tree):
        name = written.strip('"<>')
        if written.startswith('"'):
            header(tree, name)
        elif not name.startswith(('sys/', 'stdint')):
            outside(tree, name)
        header(tree, file, f'#include {written}')
        tree.expect(includes.check, f'{file}:3: {says}')


for row in FORBIDDEN:
    forbid(*row)


@case('every inner wall: a room that includes all others is refused each that it may not know, and no other')
def _(tree):
    expected = []
    for folder, inner in includes.INNER.items():
        for name, allowed in inner.items():
            room = includes.within(folder, name)
            header(tree, f'{room}/own.h')
            others = [other for other in inner if other != name]
            header(tree, f'{room}/visitor.h', *(f'#include "{includes.within(folder, other)}/own.h"' for other in others))
            expected += [f'{room}/visitor.h:{line}: {room} may not include {includes.within(folder, other)} '
                         for line, other in enumerate(others, 3) if other not in allowed]
    assert len(expected) > 100, len(expected)
    tree.expect(includes.check, *expected)


@case('rooms stand in floors: none may include one that may include it')
def _(tree):
    for folder, inner in includes.INNER.items():
        floors, left = [], dict(inner)
        while left:
            floor = [name for name, others in left.items() if not set(others) & set(left)]
            assert floor, f'{folder}: a circle among {", ".join(left)}'
            floors.append(floor)
            for name in floor:
                del left[name]


@case("ARCHITECTURE.md must name each inner room, with what it may include")
def _(tree):
    header(tree, 'base/ok.h')
    rows = [f"| `{folder}/{name}/` | what it is | {', '.join(f'`{other}`' for other in others if other != '.')} |"
            for folder, inner in includes.INNER.items() for name, others in inner.items() if name != '.']
    tree.write('ARCHITECTURE.md', *rows)
    tree.expect(includes.check)
    rows[1] = '| `dataplane/device/` | what it is | `frame`, `worker` |'
    tree.write('ARCHITECTURE.md', *rows[:-1])
    tree.expect(includes.check, 'ARCHITECTURE.md:2: dataplane/device/ may include: frame; the page says: frame, worker',
                'ARCHITECTURE.md:1: control/ctl/ may include: admin, config, doctor; the page says: nothing')


@case('an include in a comment or a literal is none, one after them is found in its line')
def _(tree):
    outside(tree, 'rte_mbuf.h')
    header(tree, 'conntrack/a.h', '// #include <rte_mbuf.h>', '/*', '#include <rte_mbuf.h>', '*/',
           'inline const char* text() { return R"(', '#include <rte_mbuf.h>', ')"; }', '#  include <rte_mbuf.h>')
    tree.expect(includes.check, 'conntrack/a.h:10: conntrack may not include DPDK')


@case('a quoted include must be a path from the root')
def _(tree):
    header(tree, 'conntrack/key.h')
    header(tree, 'conntrack/a.h', '#include "key.h"', '#include "../conntrack/key.h"', '#include <conntrack/key.h>')
    tree.expect(includes.check, 'conntrack/a.h:3: "key.h" is no path from the root',
                'conntrack/a.h:4: "../conntrack/key.h" is no path from the root',
                'conntrack/a.h:5: headers of the project stand in quotes')


@case('a header without pragma once is reported, a comment that names it does not help')
def _(tree):
    header(tree, 'conntrack/ok.h')
    tree.write('conntrack/a.h', LICENSE, '// #pragma once')
    tree.expect(includes.check, 'conntrack/a.h:1: header without #pragma once')


@case('a source without the SPDX line is reported, C++ and scripts alike')
def _(tree):
    header(tree, 'conntrack/ok.h')
    tree.write('conntrack/a.cc', '// A table.')
    tree.write('tests/e2e/a.py', '#!/usr/bin/env python3', '"""No license."""')
    tree.write('tests/e2e/b.sh', '#!/bin/sh', '# SPDX-License-Identifier: Apache-2.0')
    tree.write('run', '#!/bin/sh', '')
    tree.expect(includes.check, 'conntrack/a.cc:1: does not start with "// SPDX',
                'tests/e2e/a.py:1: does not start with "# SPDX', 'run:1: does not start with "# SPDX')


@case('a header that needs another one before it does not compile alone')
def _(tree):
    header(tree, 'conntrack/a.h', '', 'inline std::uint8_t one() { return 1; }')
    tree.expect(includes.check, "conntrack/a.h:4: does not compile alone: 'uint8_t'")


@case('a header that a compiled source includes first is not compiled again')
def _(tree):
    header(tree, 'conntrack/a.h', 'not C++')
    tree.write('conntrack/a.cc', LICENSE, '#include "conntrack/a.h"')
    tree.unit('conntrack/a.cc')
    tree.expect(includes.check)


@case('a header is compiled with the flags of its own folder')
def _(tree):
    header(tree, 'conntrack/a.h', '#ifndef OF_CONNTRACK', '#error wrong flags', '#endif')
    tree.write('conntrack/b.cc', LICENSE)
    tree.unit('conntrack/b.cc', '-DOF_CONNTRACK')
    tree.expect(includes.check)


@case('a source outside of every room is reported')
def _(tree):
    header(tree, 'utils/a.h')
    tree.expect(includes.check, 'utils/a.h:1: lies in no room of the include table')


@case('a tree without sources fails: the gate would have looked at nothing')
def _(tree):
    tree.expect(includes.check, '.:1: no C++ source found')


@case('as a script the gate prints FILE:LINE: message under "not ok" and exits with 1')
def _(tree):
    outside(tree, 'rte_mbuf.h')
    header(tree, 'conntrack/a.h', '#include <rte_mbuf.h>')
    script = Path(__file__).with_name('includes.py')
    result = subprocess.run([sys.executable, script, '--root', tree.root], capture_output=True, text=True, timeout=120)
    assert result.returncode == 1, result
    assert '\n# conntrack/a.h:3: conntrack may not include DPDK <rte_mbuf.h>' in result.stdout, result.stdout
    assert result.stdout.startswith('1..8\n') and result.stdout.count('not ok') == 1, result.stdout


if __name__ == '__main__':
    run_cases()
