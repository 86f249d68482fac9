# SPDX-License-Identifier: Apache-2.0
"""A test file's subtests as sentences, in the Test Anything Protocol that meson reads.

    suite = Suite(make_lab)                       # make_lab(scope) -> what every subtest is given

    @suite.test("a VM pings its gateway")
    def ping_gateway(lab):
        check(lab.vm.run("ping -c 1 192.168.122.1").code == 0, "no answer")

    suite.main()

`scope` is an ExitStack: what enters it is stopped in reverse order on every way out: success, failure,
SIGTERM of meson's timeout, Ctrl-C. A subtest that fails does not stop the next; names given as arguments
run those subtests alone: `veth_nat.py "a VM pings its gateway"`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import traceback


class Failed(Exception):
    """A statement of a test is not true; the message says what was seen."""


class Skipped(Exception):
    """The machine lacks what this subtest is about; the message says what."""


class Interrupted(BaseException):
    """SIGTERM or SIGINT: unwinds through every cleanup."""


def check(condition, seen):
    if not condition:
        raise Failed(seen)


def check_equal(actual, expected, what):
    check(actual == expected, f"{what}: expected {expected!r}, got {actual!r}")


def unwind_on_signals():
    def interrupt(number, _frame):
        signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signal.Signals(number).name)

    signal.signal(signal.SIGTERM, interrupt)
    signal.signal(signal.SIGINT, interrupt)


def scratch_directory(scope) -> pathlib.Path:
    """A directory that goes with the scope; short, for the 108 bytes of a UNIX socket's path."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else "/tmp"  # session images stand beside the control socket
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vmnat-", dir=memory))
    scope.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory


class Suite:
    def __init__(self, make_lab):
        self.make_lab = make_lab
        self.tests = []

    def test(self, sentence):
        def register(function):
            self.tests.append((sentence, function))
            return function
        return register

    def main(self):
        """Runs the subtests and ends the process: 0 when all passed, 1 otherwise."""
        sys.stdout.reconfigure(line_buffering=True)
        if os.geteuid() != 0:
            print("1..0 # SKIP needs root: network namespaces and raw sockets")
            sys.exit(0)
        unwind_on_signals()
        wanted = [test for test in self.tests if not sys.argv[1:] or test[0] in sys.argv[1:]]
        try:
            with contextlib.ExitStack() as scope:
                lab = self.make_lab(scope)
                print(f"1..{len(wanted)}")
                failures = sum(not report(number, *test, lab) for number, test in enumerate(wanted, start=1))
        except Interrupted as signal_name:
            print(f"Bail out! stopped by {signal_name}")
            sys.exit(1)
        except Skipped as reason:
            print(f"1..0 # SKIP {reason}")
            sys.exit(0)
        except Exception as problem:
            explain(problem)
            print(f"Bail out! the lab cannot be set up or taken down: {first_line(problem)}")
            sys.exit(1)
        sys.exit(1 if failures else 0)


def report(number, sentence, function, lab) -> bool:
    """Runs one subtest and prints its line; the lab adds what it knows when the subtest fails."""
    try:
        function(lab)
    except Skipped as reason:
        print(f"ok {number} - {sentence} # SKIP {reason}")
    except Exception as problem:
        explain(problem)
        comment(lab.evidence() if hasattr(lab, "evidence") else "")
        print(f"not ok {number} - {sentence}")
        return False
    else:
        print(f"ok {number} - {sentence}")
    return True


def explain(problem):
    comment(str(problem) if isinstance(problem, Failed) else
            "".join(traceback.format_exception(problem, limit=-4)))


@contextlib.contextmanager
def for_one_subtest(make):
    """The lab that `make` sets up in a scope; when the subtest fails it tells what it knows, before it is taken down."""
    with contextlib.ExitStack() as inner:
        lab = make(inner)
        try:
            yield lab
        except Exception:
            comment(lab.evidence())
            raise
        lab.vmnatd.check_accounting()


def comment(text):
    for line in text.splitlines():
        print(f"# {line}")


def first_line(problem) -> str:
    return (str(problem).splitlines() or [type(problem).__name__])[0]
