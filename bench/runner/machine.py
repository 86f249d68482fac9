# SPDX-License-Identifier: Apache-2.0
"""What the benchmark asks of the machine, and gives back: hugepages, CPUs, scheduling priority.

A polling process shares its CPU with whatever else runs. On a machine that also does other work the benchmark's
processes are therefore given weight over it (nice -20, for their autogroup as well); how often the generator was
preempted all the same is part of the result.
"""
import contextlib
import os
import time
from pathlib import Path

HUGEPAGE_MB = 2
HUGEPAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def choose_cpus():
    """(generator, worker, control): the last allowed CPU works, the first generates, control takes a third or the first."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise SystemExit("bench: two CPUs are needed, one for the generator and one for the device under test")
    return cpus[0], cpus[-1], cpus[1] if len(cpus) > 2 else cpus[0]


def memory_directory():
    """Where files are memory: vmnatd keeps its sessions beside its control socket there. None: the system's for such files."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _count(name):
    return int((HUGEPAGES / name).read_text())


@contextlib.contextmanager
def hugepages(megabytes):
    """Yields whether that much is free in 2 MiB pages; adds pages when allowed, and takes them away afterwards."""
    try:
        total, free = _count("nr_hugepages"), _count("free_hugepages")
    except OSError:
        yield False
        return
    missing = megabytes // HUGEPAGE_MB - free
    if missing <= 0:
        yield True
        return
    added = total
    try:
        with contextlib.suppress(OSError):
            (HUGEPAGES / "nr_hugepages").write_text(str(total + missing))
        added = _count("nr_hugepages")  # fewer than asked for when memory is fragmented
        yield _count("free_hugepages") >= megabytes // HUGEPAGE_MB
    finally:
        with contextlib.suppress(OSError):
            (HUGEPAGES / "nr_hugepages").write_text(str(_count("nr_hugepages") - (added - total)))


def give_priority(pid):
    """Prefers this process (a session leader, see autogroups in sched(7)) over other work, as far as allowed."""
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            os.setpriority(os.PRIO_PROCESS, int(task), -20)
        Path(f"/proc/{pid}/autogroup").write_text("-20")


def bound_to_parent(command):
    """The command, such that it dies with this process however that ends: a forgotten poller would eat a CPU."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def busy_share(seconds=0.5):
    """Share of all CPUs' time that other work takes now."""
    def times():
        values = [int(v) for v in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return sum(values), values[3] + values[4]
    total, idle = times()
    time.sleep(seconds)
    total_after, idle_after = times()
    return 1 - (idle_after - idle) / max(1, total_after - total)


def memory_gb():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
