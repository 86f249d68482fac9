# SPDX-License-Identifier: Apache-2.0
"""The hot-symbols gate on objects compiled on the fly."""
import hot_symbols
from planted import HOT, LICENSE, case, run_cases


def hot_source(tree, file, *lines, flags=HOT):
    """Compiles a source whose `lines` start in line 2, as a target of the hot folders would."""
    tree.write(file, LICENSE, *lines)
    tree.unit(file, '-g1', *flags, compiled=True)


# What a hot source says, and how the gate names it. Each stands alone in line 3 of conntrack/a.cc.
FORBIDDEN = [
    ('<cstdlib>', 'void* f() { return std::malloc(8); }', 'an allocator: malloc'),
    ('<cstdlib>', 'void f(void* p) { std::free(p); }', 'an allocator: free'),
    ('<cstdlib>', 'void* f(void* p) { return std::realloc(p, 9); }', 'an allocator: realloc'),
    ('<new>', 'int* f() { return new int; }', 'an allocator: operator new(unsigned long)'),
    ('<new>', 'void f(int* p) { delete[] p; }', 'an allocator: operator delete[](void*)'),
    ('<sys/mman.h>', 'void f(void* p) { munmap(p, 4096); }', 'an allocator: munmap'),
    ('<cstddef>',
     'extern "C" void* rte_malloc(const char*, std::size_t, unsigned); void* f() { return rte_malloc("", 1, 0); }',
     'an allocator: rte_malloc'),
    ('<pthread.h>', 'void f(pthread_mutex_t* m) { pthread_mutex_lock(m); }', 'a lock: pthread_mutex_lock'),
    ('<time.h>', 'void f(timespec* t) { clock_gettime(CLOCK_MONOTONIC, t); }', 'a clock: clock_gettime'),
    ('<chrono>', 'auto f() { return std::chrono::steady_clock::now(); }',
     'a clock: std::chrono::_V2::steady_clock::now()'),
    ('<cstdio>', 'void f(int i) { std::printf("%d", i); }', 'output or a log: printf'),
    ('<cstdio>', 'void f() { std::puts("a"); }', 'output or a log: puts'),
    ('<cstdint>',
     'extern "C" int rte_log(std::uint32_t, std::uint32_t, const char*, ...); void f() { rte_log(1, 1, ""); }',
     'output or a log: rte_log'),
    ('<utility>', 'namespace fmt::v9 { void vprint(int); } void f() { fmt::v9::vprint(1); }',
     'output or a log: fmt::v9::vprint(int)'),
    ('<unistd.h>', 'long f(int fd) { return write(fd, "", 1); }', 'a system call: write'),
    ('<cstdlib>', 'int f() { return std::rand(); }', 'a random generator: rand'),
    ('<sys/random.h>', 'long f(void* p) { return getrandom(p, 8, 0); }', 'a random generator: getrandom'),
    ('<stdexcept>', 'void f() { std::__throw_out_of_range(""); }', 'an exception: std::__throw_out_of_range(char const*)'),
]


def forbid(header, code, says):
    @case(f'refused: {says}')
    def _(tree):
        hot_source(tree, 'conntrack/a.cc', f'#include {header}', code)
        tree.expect(hot_symbols.check, f'conntrack/a.cc:3: references {says} (')


for row in FORBIDDEN:
    forbid(*row)


@case('a hot object that computes, copies and asserts passes')
def _(tree):
    hot_source(tree, 'conntrack/a.cc', '#include <array>', '#include <cassert>', '#include <cstring>', '#include <span>',
               'extern long outside(long);', 'void f(std::span<char> a, const char* b) {',
               '  assert(a.size() > 3); std::memcpy(a.data(), b, a.size()); a[0] = static_cast<char>(outside(a[1]));', '}')
    hot_source(tree, 'dataplane/b.cc', '#include <atomic>', 'void f(std::atomic<long>& a) { ++a; }')
    tree.expect(hot_symbols.check)


@case('a hot object that throws is refused by its flags and by its symbols')
def _(tree):
    hot_source(tree, 'dataplane/a.cc', 'void f() { throw 1; }', flags=['-O2', '-fno-rtti'])
    tree.expect(hot_symbols.check,
                'dataplane/a.cc:1: compiled without -fno-exceptions',
                'dataplane/a.cc:2: references an exception: __cxa_allocate_exception',
                'dataplane/a.cc:2: references an exception: __cxa_throw',
                'dataplane/a.cc:2: references virtual functions or type information: typeinfo for int')


@case('a lock behind an atomic that is too large is found, in the source when its line is none of the project')
def _(tree):
    hot_source(tree, 'conntrack/a.cc', '#include <atomic>', 'struct Big { long a, b, c; };',
               'Big f(std::atomic<Big>& a) { return a.load(); }')
    tree.expect(hot_symbols.check, 'conntrack/a.cc:1: references a lock: __atomic_load (')


@case('a reference that an inline function of the project brings in is reported in its header')
def _(tree):
    tree.write('conntrack/a.h', LICENSE, '#include <cstdlib>', '', 'inline void* grow() { return std::malloc(64); }')
    hot_source(tree, 'conntrack/a.cc', '#include "conntrack/a.h"', 'void* f() { return grow(); }')
    tree.expect(hot_symbols.check, 'conntrack/a.h:4: references an allocator: malloc')


@case('a flag taken back by a later one counts as missing')
def _(tree):
    hot_source(tree, 'dataplane/a.cc', 'int f() { return 1; }', flags=[*HOT, '-frtti'])
    tree.expect(hot_symbols.check, 'dataplane/a.cc:1: compiled without -fno-rtti')


@case('a class with virtual functions is refused even when its object needs nothing from outside')
def _(tree):
    hot_source(tree, 'conntrack/a.cc', '#include <new>', 'struct A { A() {} virtual int g() const { return 1; } };',
               'A* f(void* p) { return ::new (p) A; }')
    tree.expect(hot_symbols.check, 'conntrack/a.cc:1: references virtual functions or type information: vtable for A')


@case('a cold source may allocate, and no hot object may call it')
def _(tree):
    tree.write(hot_symbols.COLD_LIST, '# reasons', '', 'conntrack/conntrack_create.cc - control creates the tables')
    hot_source(tree, 'conntrack/conntrack_create.cc', 'int* create(int n) { return new int[n]; }', flags=['-O2'])
    hot_source(tree, 'conntrack/a.cc', 'int find(int a) { return a + 1; }')
    tree.expect(hot_symbols.check)
    hot_source(tree, 'dataplane/b.cc', 'int* create(int n);', 'int* f() { return create(3) + 1; }')
    tree.expect(hot_symbols.check, 'dataplane/b.cc:3: references create(int) of the cold conntrack/conntrack_create.cc')


TABLE = ['#include <vector>', 'struct Table {', '  explicit Table(unsigned n); ~Table();',
         '  void add(int a); int find(int a) const;', '  std::vector<int> cells; };',
         'Table::Table(unsigned n) : cells(n) { cells.push_back(4); }', 'Table::~Table() = default;',
         'int Table::find(int a) const { return cells[static_cast<unsigned>(a)]; }']


@case('cold functions of a hot source may allocate, themselves and through templates of std')
def _(tree):
    tree.write(hot_symbols.COLD_LIST, 'conntrack/a.cc Table::Table Table::~Table - control creates the table')
    hot_source(tree, 'conntrack/a.cc', *TABLE)
    tree.expect(hot_symbols.check)


@case('a hot function beside cold ones is found by name, also when it allocates through the same template')
def _(tree):
    tree.write(hot_symbols.COLD_LIST, 'conntrack/a.cc Table::Table Table::~Table - control creates the table')
    hot_source(tree, 'conntrack/a.cc', *TABLE, 'void Table::add(int a) { cells.push_back(a); }')
    found = tree.violations(hot_symbols.check)
    assert any('an allocator: operator new' in violation for violation in found), found
    assert all('Table::add' in v or 'std::vector<int' in v for v in found) and 'Table::Table' not in str(found), found


@case('a line of the cold list needs a reason and an existing source')
def _(tree):
    tree.write(hot_symbols.COLD_LIST, '', 'conntrack/a.cc', 'conntrack/gone.cc - control creates it')
    hot_source(tree, 'conntrack/a.cc', 'int f() { return 1; }')
    hot_source(tree, 'conntrack/b.cc', 'int g() { return 1; }')
    tree.expect(hot_symbols.check, f'{hot_symbols.COLD_LIST}:2: conntrack/a.cc without a reason',
                f'{hot_symbols.COLD_LIST}:3: conntrack/gone.cc does not exist')


@case('a folder whose sources are all cold fails: nothing would have been looked at')
def _(tree):
    tree.write(hot_symbols.COLD_LIST, 'conntrack/conntrack_create.cc - control creates the tables')
    hot_source(tree, 'conntrack/conntrack_create.cc', 'int* create(int n) { return new int[n]; }')
    tree.expect(hot_symbols.check, 'conntrack:1: holds sources, none of them hot')


@case('a source that no target of the hot folders compiles fails, also when a test compiles it')
def _(tree):
    hot_source(tree, 'dataplane/a.cc', 'int f() { return 1; }')
    tree.write('dataplane/b.cc', LICENSE)
    tree.unit('dataplane/b.cc', target='tests/fuzz', *HOT)
    tree.expect(hot_symbols.check, 'dataplane/b.cc:1: is compiled by no target')


@case('an object that has not been built fails')
def _(tree):
    tree.write('dataplane/a.cc', LICENSE)
    tree.unit('dataplane/a.cc', *HOT)
    tree.expect(hot_symbols.check, 'compile_commands.json:1: nm: ')


@case('a build without optimisation is skipped with the reason, not passed')
def _(tree):
    hot_source(tree, 'dataplane/a.cc', 'int f() { return 1; }', flags=['-O0', '-fno-exceptions', '-fno-rtti'])
    answer = hot_symbols.check(tree.root, tree.build)[
        'hot objects reference nothing that blocks, allocates, throws or prints']
    assert isinstance(answer, hot_symbols.CannotTell) and 'not an optimised build' in str(answer), answer


if __name__ == '__main__':
    run_cases()
