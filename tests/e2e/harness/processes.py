# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive the test, whatever ends it.

Every child is a process group of its own and asks the kernel to be killed with its parent
(PR_SET_PDEATHSIG), so that even SIGKILL of the test leaves nothing running. Output goes to a file, never to
a pipe that could fill. A child may start inside a network namespace, with that namespace's /sys.

    with Process(["busybox", "httpd", "-f"], log=directory / "httpd.log", namespace=internet) as server: ...
"""

import ctypes
import os
import signal
import subprocess

from .waiting import PATIENCE

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PR_SET_PDEATHSIG = 1
MS_REC, MS_PRIVATE = 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def system_call(name, *arguments):
    """A libc call that Python has no name for yet; OSError when it answers -1."""
    if getattr(_libc, name)(*arguments) == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")


def die_with_parent():
    system_call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def enter_namespace(descriptor):
    """Moves this process to a network namespace and shows its devices in /sys, for this process alone."""
    system_call("setns", descriptor, CLONE_NEWNET)
    system_call("unshare", CLONE_NEWNS)
    try:
        system_call("mount", b"none", b"/sys", None, MS_REC | MS_PRIVATE, None)
    except OSError:
        return  # /sys is no mount point (a bare chroot): a mount there would be seen outside
    system_call("mount", b"sysfs", b"/sys", b"sysfs", 0, None)


class Process:
    """A running child; leaving its `with` block kills it and its process group."""

    def __init__(self, arguments, log, namespace=None, environment=None):
        self.arguments = [str(argument) for argument in arguments]
        self.name = os.path.basename(self.arguments[0])
        self.log_path = log
        descriptor = namespace.descriptor if namespace else None

        def before_exec():
            die_with_parent()
            if descriptor is not None:
                enter_namespace(descriptor)

        with open(log, "ab") as output:
            self.child = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                          start_new_session=True, preexec_fn=before_exec,
                                          env={**os.environ, **(environment or {})})

    @property
    def pid(self):
        return self.child.pid

    def running(self) -> bool:
        return self.child.poll() is None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def log_tail(self, lines=25) -> str:
        return "\n".join(self.log().splitlines()[-lines:])

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_kib(self) -> int:
        with open(f"/proc/{self.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))

    def send(self, signal_number):
        self.child.send_signal(signal_number)

    def wait(self, seconds=20) -> int:
        """Exit code (negative: the signal); a child that does not end in time is killed and reported."""
        try:
            return self.child.wait(seconds * PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise TimeoutError(f"{self.name} did not end within {seconds * PATIENCE:g} s and was killed\n"
                               + self.log_tail()) from None

    def kill(self):
        if self.running():
            os.killpg(self.pid, signal.SIGKILL)
        self.child.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def run(arguments, namespace=None, seconds=30, check=True, environment=None) -> subprocess.CompletedProcess:
    """Runs a short command to its end and returns its output; raises with that output when it fails."""
    def before_exec():
        die_with_parent()
        if namespace:
            system_call("setns", namespace.descriptor, CLONE_NEWNET)

    answer = subprocess.run([str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                            capture_output=True, text=True, errors="replace", timeout=seconds * PATIENCE,
                            preexec_fn=before_exec, env={**os.environ, **(environment or {})})
    if check and answer.returncode != 0:
        raise RuntimeError(f"{' '.join(answer.args)}: exit code {answer.returncode}\n{answer.stdout}{answer.stderr}")
    return answer
