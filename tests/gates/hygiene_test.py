# SPDX-License-Identifier: Apache-2.0
"""The hygiene gate on planted trees."""
import hygiene
from planted import LICENSE, case, run_cases

# Where, the line that stands there (line 2), and how the message starts; '' when it is allowed.
LINES = [
    ('dataplane/a.h', '[[gnu::always_inline]] inline int f();', 'always_inline needs a measured number'),
    ('dataplane/a.h', 'static __rte_always_inline int f();', '__rte_always_inline needs a measured number'),
    ('dataplane/a.cc', 'int f(int a) { return likely(a) ? 1 : 2; }', 'likely( needs a measured number'),
    ('dataplane/a.cc', 'int f(int a) { if (a) [[unlikely]] return 1; return 2; }', '[[unlikely]] needs'),
    ('dataplane/a.cc', 'bool b = __builtin_expect(a, 1);', '__builtin_expect needs'),
    ('dataplane/a.cc', '// it is likely (and unlikely() too) always_inline', ''),
    ('dataplane/a.cc', 'const char* text = "likely(";', ''),
    ('dataplane/a.cc', 'bool is_likely(int a);', ''),
    ('dataplane/pipeline/switch.cc', 'auto* p = reinterpret_cast<char*>(q);', 'use net::view<T>'),
    ('conntrack/a.cc', 'auto* p = reinterpret_cast<char*>(q);', 'use net::view<T>'),
    ('control/admin/a.cc', 'auto* p = reinterpret_cast<Frame*>(q);', 'use net::view<T>'),
    ('control/admin/a.cc', 'auto* p = reinterpret_cast<const sockaddr_un*>(q);', ''),
    ('conntrack/a.h', 'auto v = _mm256_load_si256(reinterpret_cast<const __m256i*>(&bucket));', ''),
    ('conntrack/a.cc', 'auto n = reinterpret_cast<std::uintptr_t>(p);', ''),
    ('dhcp/a.cc', 'std::string_view s(reinterpret_cast<const char*>(p), n);', ''),
    ('dhcp/a.cc', 'auto* m = reinterpret_cast<const Message*>(p);', 'use net::view<T>'),
    ('net/wire.h', 'auto* p = reinterpret_cast<char*>(q);', ''),
    ('dataplane/pipeline/parse.cc', 'auto* p = reinterpret_cast<char*>(q);', ''),
    ('dataplane/pipeline/parse/frame.cc', 'auto* p = reinterpret_cast<char*>(q);', ''),
    ('tests/dhcp/a.cc', 'auto* p = reinterpret_cast<char*>(q);', ''),
    ('dataplane/a.cc', 'void f() { rte_spinlock_lock(&lock); }', 'rte_spinlock_lock: give the data one owner'),
    ('conntrack/a.cc', 'auto now = rte_rdtsc();', 'rte_rdtsc: time is a parameter here'),
    ('dataplane/worker/worker.cc', 'auto now = rte_rdtsc();', ''),
    ('dhcp/a.cc', '// TODO: renew', 'TODO: finish it'),
    ('README.md', 'FIXME', 'FIXME: finish it'),
    ('control/a.cc', 'const char* path = "/tmp/vmnat-XXXXXX";', ''),
    ('bench/a.cc', '\tint a;', 'tab; indent with spaces'),
    ('configs/a.yaml', 'dataplane: ', 'white space at the end of the line'),
    ('bench/a.cc', 'int a;\r', 'white space at the end of the line'),
]


def line(file, text, says):
    @case(f'{"refused" if says else "allowed"} in {file}: {text!r}')
    def _(tree):
        tree.write(file, LICENSE, text)
        tree.expect(hygiene.check, *([f'{file}:2: {says}'] if says else []))


for row in LINES:
    line(*row)


@case('a file without a newline at its end, or with an empty line there, is refused')
def _(tree):
    tree.write('conntrack/a.cc', LICENSE, '')
    (tree.root / 'conntrack/b.cc').write_text(LICENSE)
    tree.expect(hygiene.check, 'conntrack/a.cc:1: the file does not end', 'conntrack/b.cc:1: the file does not end')


@case('C++ files with other names are refused')
def _(tree):
    tree.write('conntrack/SessionTable.h', LICENSE)
    tree.write('conntrack/a.hpp', LICENSE)
    tree.write('control/b.cpp', LICENSE)
    tree.expect(hygiene.check, 'conntrack/SessionTable.h:1: files are named', 'conntrack/a.hpp:1: C++ files end with',
                'control/b.cpp:1: C++ files end with')


@case('an empty tree fails: the gate would have looked at nothing')
def _(tree):
    tree.expect(hygiene.check, '.:1: no source found')


if __name__ == '__main__':
    run_cases()
