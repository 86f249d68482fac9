#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM is killed in mid-traffic and started again on the same socket: its port works again, nothing is lost.

QEMU is killed by SIGKILL while a download runs, so that vmnatd sees its peer vanish with descriptors in
flight, three times over (ten with VMNAT_LONG), in both modes of the socket. Afterwards vmnatd holds no more
files and no more memory than after the first time.
"""

import contextlib
import os

from harness.internet import HOST
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from vm_lab import VmLab

DEATHS = 10 if os.environ.get("VMNAT_LONG") else 3
GROWTH_KIB = 4096  # of resident memory: what the allocator may keep, well below one VM's worth of buffers


class TwoLabs:
    """One lab at a time: the second starts when the first has ended."""

    def __init__(self, scope):
        self.scope = scope.enter_context(contextlib.ExitStack())
        self.lab = None

    def start(self, mode):
        self.scope.close()
        self.lab = VmLab(self.scope, mode)
        self.lab.start_vmnatd()
        self.lab.start_vm().obtain_lease()

    def evidence(self):
        return self.lab.evidence() if self.lab else ""


suite = Suite(TwoLabs)


def kill_in_mid_traffic(lab):
    """The VM downloads without end; when the frames flow, QEMU is gone."""
    lab.vm.run(f"(while true; do wget -q -O /dev/null http://{HOST}/blob; done) >/dev/null 2>&1 &").check()
    before = lab.vmnatd.counters()["transmitted"]
    wait_until(lambda: lab.vmnatd.counters()["transmitted"] > before + 200, "the download is under way")
    lab.vm.kill()


def link(lab):
    return next(port["link"] for port in lab.vmnatd.ctl("ports") if port["name"] == "vm1")


def dies_and_comes_back(lab):
    kill_in_mid_traffic(lab)
    wait_until(lambda: link(lab) == "down", "vmnatd shows the port's link down")
    lab.start_vm().obtain_lease()
    wait_until(lambda: link(lab) == "up", "vmnatd shows the port's link up again")
    lab.check_reaches_internet()


def returns(mode):
    def subtest(labs):
        labs.start(mode)
        dies_and_comes_back(labs.lab)
        labs.lab.download()
    return subtest


def leaves_nothing(labs):
    process = labs.lab.vmnatd.process
    files, memory = process.open_files(), process.resident_kib()
    for _ in range(DEATHS - 1):
        dies_and_comes_back(labs.lab)
    check_equal(process.open_files(), files, "open files of vmnatd")
    check(process.resident_kib() <= memory + GROWTH_KIB, f"resident KiB: {memory} before, {process.resident_kib()} after")


def accounts(labs):
    labs.lab.vmnatd.check_accounting()
    check_equal(labs.lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


for each_mode, who_listens in (("client", "QEMU listens"), ("server", "vmnatd listens")):
    suite.test(f"{who_listens}: a VM killed in mid-download comes back and downloads again")(returns(each_mode))
    suite.test(f"{who_listens}: {DEATHS} deaths leave vmnatd with the same files and memory")(leaves_nothing)
    suite.test(f"{who_listens}: every frame is accounted for, and none leaked")(accounts)


if __name__ == "__main__":
    suite.main()
