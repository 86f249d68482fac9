# SPDX-License-Identifier: Apache-2.0
"""Gate: hot objects reference no allocator, lock, exception, clock, system call, log or generator.

Hot is every source in the folders below that cold.txt does not name. Each must be compiled by a target of
these folders without exceptions and type information, and its object's undefined symbols are held against
the table: what an object does not reference, it cannot call. A reference into a cold source counts as what
that source may do. Creation that stands in a hot source (a constructor) is named in cold.txt by function; a
reference is then excused when all functions that make it are such, or templates of std that only such call.
What leaves no symbol (spinlocks of DPDK, rdtsc) is for the hygiene gate.
"""
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import gate
from gate import CannotTell, Violation

HOT_FOLDERS = ('dataplane', 'conntrack', 'net')  # of net the functions that are not inline: text forms, all cold
HOT_FLAGS = {'-fno-exceptions': 'cpp_eh=none', '-fno-rtti': 'cpp_rtti=false'}
COLD_LIST = 'tests/gates/cold.txt'


class Kind(NamedTuple):
    what: str
    instead: str
    symbols: str  # a regular expression for whole demangled names, the parameters of functions left aside


FORBIDDEN = (
    Kind('an allocator', 'take the memory from who creates the object, once, before the first packet',
         r'operator (new|delete)(\[\])?|malloc|calloc|realloc|reallocarray|free|cfree|aligned_alloc|memalign'
         r'|posix_memalign|valloc|strn?dup|mmap(64)?|munmap|mremap|madvise|s?brk|numa_(alloc|free)\w*'
         r'|rte_(malloc|zmalloc|calloc|realloc|free|memzone|mempool_(create|free|populate)|pktmbuf_pool_create'
         r'|ring_(create|free)|hash_create|rcu_qsbr_dq)\w*'
         r'|(non-virtual thunk to )?std::(__cxx11::)?basic_string<.*|std::pmr::.*|std::to_string'),
    Kind('a lock', 'give the data one owner, or publish an immutable snapshot; wait nowhere',
         r'(pthread|sem|mtx|cnd|thrd|call_once|futex)(_\w+)?|std::(__\w+::)?(mutex|timed_mutex|shared_mutex'
         r'|condition_variable(_any)?|thread|__atomic_futex\w*|this_thread)(::.*)?|std::__throw_system_error'
         r'|__cxa_guard_\w+|rte_(rwlock|spinlock|ticketlock|mcslock)\w*'
         r'|__atomic_(load|store|exchange|compare_exchange|fetch_\w+)(_16)?|__sync_\w+_16'),
    Kind('an exception', 'answer with a verdict; index only what is known to be there (std::span, no at(), no value())',
         r'__cxa_(throw|rethrow|begin_catch|end_catch|allocate_exception|free_exception|bad_\w+|get_exception\w*'
         r'|throw_bad\w*)|_Unwind_\w+|__gxx_personality_\w+|std::__throw_\w+|std::rethrow_exception'
         r'|std::(bad_\w+|exception|logic_error|runtime_error|out_of_range|length_error)::.*'),
    Kind('virtual functions or type information', 'use a table, a template parameter or a switch over an enum class',
         r'(vtable|typeinfo|typeinfo name) for .*|__dynamic_cast|__cxa_pure_virtual|__cxa_deleted_virtual'),
    Kind('a global with a destructor', 'let who creates it own it: no mutable globals',
         r'__cxa_(thread_)?atexit|atexit'),
    Kind('a clock', 'take the time of the burst as a parameter',
         r'clock(_gettime|_getres|_nanosleep)?|gettimeofday|time|times|ftime|localtime(_r)?|gmtime(_r)?|strftime'
         r'|mktime|nanosleep|u?sleep|std::chrono::(_V2::)?\w+clock::.*|rte_delay_us_(block|sleep)'),
    Kind('output or a log', 'count it by a drop reason; control logs counters',
         r'_*v?(f|s|sn|d|as)?n?printf(_chk)?|_*f?puts|f?putc(har)?|_?IO_put[cs]|fwrite|fflush|fopen|fclose|perror'
         r'|v?syslog|std(out|err)|std::(cout|cerr|clog|ostream|basic_ostream|ios_base|__ostream_insert|endl|flush'
         r'|(__cxx11::)?basic_\w*stream)\b.*|std::operator<< ?<.*|rte_v?log|rte_(pktmbuf|mempool|ring)_dump|rte_hexdump'
         r'|(fmt|spdlog)::.*'),
    Kind('a system call', 'leave it to control, over a ring',
         r'syscall|read|write|readv|writev|pread(64)?|pwrite(64)?|open(64|at)?|close|ioctl|fcntl(64)?|socket|bind'
         r'|connect|accept4?|listen|send(to|msg|mmsg)?|recv(from|msg|mmsg)?|e?poll(_\w+)?|ppoll|select|eventfd(_\w+)?'
         r'|sched_\w+|kill|fork|exec\w*|getenv|sysconf|getpid|gettid|usleep'),
    Kind('a random generator', 'take random bits, or a seeded generator, as a parameter',
         r'getrandom|getentropy|s?rand(om)?(_r)?|[delmnj]rand48|rte_(s?rand|rand_max|drand)|std::random_device::.*'
         r'|arc4random\w*'),
)


# --- which objects -------------------------------------------------------------------------------

def cold_entries(root):
    """file -> its cold functions (none: the whole file is cold), and what is wrong with the cold list."""
    entries, wrong = {}, []
    path = Path(root, COLD_LIST)
    for line, text in enumerate(path.read_text().splitlines() if path.is_file() else [], 1):
        if not text.strip() or text.startswith('#'):
            continue
        subject, _, reason = text.partition(' - ')
        file, *functions = subject.split() or ['']
        if not reason.strip():
            wrong.append(Violation(COLD_LIST, line, f'{file} without a reason: FILE [FUNCTION ...] - reason'))
        if not Path(root, file).is_file():
            wrong.append(Violation(COLD_LIST, line, f'{file} does not exist'))
        entries[file] = entries.get(file, ()) + tuple(functions)
    return entries, wrong


def in_hot_folder(path):
    return path.split('/')[0] in HOT_FOLDERS


def product_units(root, build):
    """What the targets of the hot folders compile; a test that compiles a hot source for itself is no product."""
    return [unit for unit in gate.units(root, build) if in_hot_folder(unit.file) and in_hot_folder(unit.output)]


def uncompiled(root, units):
    compiled = {unit.file for unit in units}
    return [Violation(file, 1, 'is compiled by no target of dataplane or conntrack: nothing can be said of it')
            for file in gate.sources(root, ('.cc',)) if in_hot_folder(file) and file not in compiled]


def folders_without_hot(root, hot):
    """A folder whose sources are all cold, or all skipped, would pass with nothing looked at."""
    wrong = []
    for folder in HOT_FOLDERS:
        files = [file for file in gate.sources(root, ('.cc',))
                 if file.startswith(folder + '/') and folder != 'net']
        if files and not any(unit.file in files for unit in hot):
            wrong.append(Violation(folder, 1, 'holds sources, none of them hot: nothing was looked at'))
    return wrong


def wrongly_compiled(hot):
    return [Violation(unit.file, 1, f'compiled without {flag}: give its target {option} (hot_options), or name'
                                    f' it with a reason in {COLD_LIST}')
            for unit in hot for flag, option in HOT_FLAGS.items() if not has_flag(unit, flag)]


def has_flag(unit, flag):
    """True when `-fno-x` is given and not taken back by a later `-fx`."""
    opposite = flag.replace('-fno-', '-f')
    return next((a == flag for a in reversed(unit.arguments) if a in (flag, opposite)), False)


# --- what they reference -------------------------------------------------------------------------

def nm(unit, *options):
    result = subprocess.run(['nm', '--demangle', *options, unit.output], cwd=unit.directory, capture_output=True,
                            text=True, timeout=60)
    if result.returncode != 0:
        raise FileNotFoundError(result.stderr.strip() or f'nm cannot read {unit.output}')
    line = r'(?m)^[0-9a-f ]{16} ([A-Za-z]) ([^\t\n]+)(?:\t(.*))?$'
    return [match.groups() for match in re.finditer(line, result.stdout)]


# Demangled names of function templates begin with the type of their result.
SIMPLE_RESULT = re.compile(r'^(void|bool|auto|decltype\(auto\)|(unsigned )?(char|short|int|long)) ')


def without_parameters(name):
    """"f(int)" and "f(int) const" are "f"; "operator()" and "(anonymous namespace)::f" keep their brackets."""
    return re.sub(r'(?<!operator)\((?!anonymous namespace\)).*$', '', name).rstrip()


def kind_of(name):
    plain = SIMPLE_RESULT.sub('', without_parameters(name))
    return next((kind for kind in FORBIDDEN if re.fullmatch(kind.symbols, plain)), None)


def places_of(root, unit):
    """symbol -> (file, line) of its first reference, as far as debug information leads into the project."""
    places = {}
    for _, name, place in nm(unit, '--undefined-only', '--line-numbers'):
        match = re.fullmatch(r'(.*):(\d+)', place or '')
        if match:
            file = Path(unit.directory, match.group(1)).resolve()
            if file.is_relative_to(root):
                places[name] = (file.relative_to(root).as_posix(), int(match.group(2)))
    return places


def functions_of(unit):
    """symbol -> the functions whose code refers to it, by the relocations of the object."""
    result = subprocess.run(['objdump', '--demangle', '-dr', '--no-show-raw-insn', unit.output], cwd=unit.directory,
                            capture_output=True, text=True, timeout=60, check=True)
    users, function = {}, ''
    for line in result.stdout.splitlines():
        begin = re.fullmatch(r'[0-9a-f]+ <(.*)>:', line)
        reference = re.fullmatch(r'\s+[0-9a-f]+: R_\w+\t(.*?)([+-]0x[0-9a-f]+)?', line)
        if begin:
            function = base_name(begin.group(1))
        elif reference:
            users.setdefault(reference.group(1), set()).add(function)
    return users


def base_name(function):
    return without_parameters(re.sub(r' ?\[clone [^]]*\]', '', function))


def is_excused(function, cold_functions, users, asking=()):
    """True for a cold function of the project, and for code of std that only such functions call."""
    name = SIMPLE_RESULT.sub('', function)
    if any(name == cold or name.endswith('::' + cold) for cold in cold_functions):
        return True
    callers = {caller for symbol, found in users.items() if base_name(symbol) == function for caller in found}
    callers -= {function, *asking}
    return name.startswith(('std::', '__gnu_cxx::')) and bool(callers) and all(
        is_excused(caller, cold_functions, users, (*asking, function)) for caller in callers)


def forbidden_references(root, unit, cold_symbols, cold_functions):
    wrong = []
    for letter, name, _ in nm(unit):
        if letter not in 'UwvV':  # undefined; V: also a table of virtual functions that this object emits
            continue
        kind = kind_of(name)
        if kind:
            wrong.append((name, f'references {kind.what}: {name} ({kind.instead})'))
        elif name in cold_symbols:
            wrong.append((name, f'references {name} of the cold {cold_symbols[name]} ({COLD_LIST})'))
    if wrong:
        users = functions_of(unit)
        wrong = [(name, f'{message}, in {", ".join(sorted(hot_users)) or "data"}') for name, message in wrong
                 for hot_users in [{f for f in users.get(name, ()) if not is_excused(f, cold_functions, users)}]
                 if hot_users or name not in users]
    places = places_of(root, unit) if wrong else {}
    return [Violation(*places.get(name, (unit.file, 1)), message) for name, message in wrong]


def references(root, hot, cold, entries):
    """The forbidden references of all hot objects."""
    for unit in hot:
        if any(a.startswith('-flto') for a in unit.arguments) and '-fno-lto' not in unit.arguments:
            return CannotTell('built with link-time optimisation: objects hold no machine code to look into')
        if unit.last('-O') not in ('-O2', '-O3', '-Os'):
            return CannotTell('not an optimised build: objects reference what optimisation removes')
    wrong = []
    try:
        cold_symbols = {name: unit.file for unit in cold for kind, name, _ in nm(unit, '--defined-only') if kind == 'T'}
        for unit in hot:
            wrong += forbidden_references(root, unit, cold_symbols, entries.get(unit.file, ()))
    except FileNotFoundError as missing:
        wrong.append(Violation('compile_commands.json', 1, f'{missing} (build first)'))
    return wrong


def check(root, build):
    entries, wrong_lines = cold_entries(root)
    units = product_units(root, build)
    cold = [unit for unit in units if entries.get(unit.file) == ()]
    hot = [unit for unit in units if unit not in cold]
    return {
        'every line of the cold list names a source and a reason': wrong_lines,
        'every source of the hot folders is compiled, and each folder has hot ones':
            uncompiled(root, units) + folders_without_hot(root, hot),
        'hot sources are compiled without exceptions and type information': wrongly_compiled(hot),
        'hot objects reference nothing that blocks, allocates, throws or prints': references(root, hot, cold, entries),
    }


if __name__ == '__main__':
    gate.main(check, __doc__)
