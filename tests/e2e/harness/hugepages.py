# SPDX-License-Identifier: Apache-2.0
"""Huge pages of 2 MiB and a hugetlbfs, for a block; the machine has back afterwards what it had.

    with hugepages(256) as directory: ...       # skips the subtest where so many cannot be had

The file system is mounted in a mount namespace of the calling thread, which its children inherit: it goes with them.
"""

import contextlib
import pathlib

from .processes import CLONE_NEWNS, MS_PRIVATE, MS_REC, system_call
from .tap import Skipped, scratch_directory

POOL = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


def count(name) -> int:
    return int((POOL / name).read_text())


@contextlib.contextmanager
def free_pages(number):
    """So many are free in the block."""
    if not POOL.exists():
        raise Skipped("the kernel has no huge pages of 2 MiB")
    before = count("nr_hugepages")
    (POOL / "nr_hugepages").write_text(str(before + max(0, number - count("free_hugepages"))))
    added = count("nr_hugepages") - before  # fewer than asked for where memory is fragmented
    try:
        if count("free_hugepages") < number:
            raise Skipped(f"{count('free_hugepages')} huge pages are free, not {number}")
        yield
    finally:
        (POOL / "nr_hugepages").write_text(str(count("nr_hugepages") - added))


@contextlib.contextmanager
def hugepages(number):
    with free_pages(number), contextlib.ExitStack() as scope:
        directory = scratch_directory(scope)
        system_call("unshare", CLONE_NEWNS)
        system_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
        system_call("mount", b"none", bytes(directory), b"hugetlbfs", 0, b"pagesize=2M")
        scope.callback(system_call, "umount", bytes(directory))
        yield directory
