# SPDX-License-Identifier: Apache-2.0
"""A directory tree of Debian's, booted: systemd is its first process, in namespaces of its own.

    with Machine(root, namespace=gateway, log=directory / "boot.log") as machine:
        machine.run("systemctl", "start", "vmnat")

It has a network namespace of the test's, and control groups of its own in a group that goes with it. Of this machine it
sees /proc/sys and /sys, and may write to neither. Everything in it ends with the test.
"""

import contextlib
import os
import pathlib
import shlex
import tempfile

from . import processes
from .processes import Process
from .tap import Skipped, check
from .waiting import wait_until

ENVIRONMENT = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C", "TERM=dumb",
               "DEBIAN_FRONTEND=noninteractive"]
# In the machine's namespaces, before it is the machine: $1 is its root.
BOOT = """set -e
cd "$1"
mount --bind . .
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sys sys
mount -t cgroup2 cgroup sys/fs/cgroup
mount -t tmpfs -o mode=755 run run
mount -t tmpfs tmp tmp
pivot_root . mnt
exec chroot . sh -c 'umount -l /mnt; exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --log-target=console systemd.unit=multi-user.target'
"""


def own_groups() -> pathlib.Path:
    """Where control groups of version 2 are mounted."""
    for line in pathlib.Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return pathlib.Path(place)
    raise Skipped("this machine lets nobody make control groups (version 2)")


class Machine:
    def __init__(self, root, namespace, log):
        self.root = root
        self.group = pathlib.Path(tempfile.mkdtemp(prefix="vmnat-", dir=own_groups()))
        boot = ["nsenter", f"--net={namespace.path}", "unshare", "--mount", "--propagation=private", "--pid", "--uts", "--ipc",
                "--cgroup", "--fork", "--kill-child", "sh", "-c", BOOT, "boot", root]
        self.process = Process(["sh", "-c", f"echo $$ >{self.group}/cgroup.procs && exec {shlex.join(map(str, boot))}"], log)
        wait_until(lambda: not self.process.running() or self.state() in ("running", "degraded"),
                   f"systemd has booted\n{self.process.log_tail()}", 60)
        check(self.process.running(), f"systemd has ended\n{self.process.log_tail()}")

    def state(self) -> str:
        if not self.first():
            return ""
        return self.run("systemctl", "is-system-running", check=False).stdout.strip()

    def first(self) -> str:
        """The number of its first process; empty: it is not there yet."""
        with contextlib.suppress(FileNotFoundError):
            return pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().strip()
        return ""

    def run(self, *command, **options):
        return processes.run(["nsenter", f"--target={self.first()}", "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup",
                              "--root", "--wd", *ENVIRONMENT, *command], **options)

    def path(self, inside) -> pathlib.Path:
        """A file of its tree; not in /run and /tmp, which are its own."""
        return self.root / str(inside).lstrip("/")

    def journal(self, unit, lines=30) -> str:
        return self.run("journalctl", "--no-pager", "--quiet", "--unit", unit, "--lines", lines, "--output=cat", check=False).stdout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        wait_until(lambda: not (self.group / "cgroup.procs").read_text(), "the machine's processes have ended")
        for directory, *_ in os.walk(self.group, topdown=False):
            wait_until(lambda: remove(directory), f"{directory} is empty")


def remove(group) -> bool:
    with contextlib.suppress(OSError):
        os.rmdir(group)
        return True
    return False
