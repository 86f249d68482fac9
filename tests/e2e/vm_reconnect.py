#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd is killed, or stopped, under a real VM and starts again: the VM is told nothing and its traffic goes on, in
both modes of the socket, with one queue and four, on split virtqueues and packed ones. (Of the latter QEMU 7.2 forgets how
far they have come when its peer goes: vmnatd finds it in the ring.)

The VM sends ten pings a second all the time. None is answered twice, and those that are not tell how long nothing moved.
"""

import contextlib
import re

from harness.internet import HOST
from harness.tap import Suite, check, check_equal, comment
from harness.vm import Vm
from harness.waiting import wait_until
from vm_lab import MAC, VmLab

PINGS_A_SECOND = 10
# What the VM may miss for: until vmnatd is ready on a machine that is busy, and its VMM has connected. QEMU tries once a
# second when it is the one that connects.
LONGEST_GAP = 20


class ReconnectLab(VmLab):
    def __init__(self, scope, mode, queues, ring):
        super().__init__(scope, mode)
        self.queues, self.features = queues, (f"packed={'on' if ring == 'packed' else 'off'}",)

    def configuration(self):
        made = super().configuration()
        made["networks"][0]["ports"][0]["queues"] = self.queues
        return made

    def start_vm(self):
        self.vm = self.scope.enter_context(
            Vm(self.directory, "vm1", self.socket, MAC, self.mode, queues=self.queues, features=self.features))
        self.vm.wait_until_booted()
        return self.vm

    def port(self):
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == "vm1")


def check_pings(text, queues):
    """What ping says: how many were answered, each once, and the longest time in seconds that none was. Of one queue in
    order; of several each is taken up again when its ring is ready, and what waited in one may pass what did in another."""
    numbers = [int(number) for number in re.findall(r"seq=(\d+) ttl=", text)]  # a serial line may lose bytes
    arrived = numbers if queues == 1 else sorted(numbers)
    check_equal(arrived, sorted(set(numbers)), "the numbers of answered pings, each once, and of one queue in order")
    check("DUP" not in text, "a ping was answered twice")
    gaps = [later - earlier - 1 for earlier, later in zip(arrived, arrived[1:])]
    return len(numbers), max(gaps, default=0) / PINGS_A_SECOND


class OneLab:
    """One lab at a time: the next starts when the last has ended."""

    def __init__(self, scope):
        self.scope = scope.enter_context(contextlib.ExitStack())
        self.lab = None

    def start(self, *shape):
        self.scope.close()
        self.lab = ReconnectLab(self.scope, *shape)
        self.lab.start_vmnatd()
        self.lab.start_vm().obtain_lease()
        return self.lab

    def evidence(self):
        return self.lab.evidence() if self.lab else ""


suite = Suite(OneLab)


def restart(lab, end):
    end()
    lab.vmnatd.start()
    wait_until(lambda: lab.port()["link"] == "up", "the VM's port is up again")
    wait_until(lambda: lab.vm.ping(HOST), "the VM reaches the Internet again", seconds=60)


def goes_on(*shape):
    def subtest(labs):
        lab = labs.start(*shape)
        lab.check_reaches_internet()
        lab.vm.run(f"ping -i 0.1 {HOST} >/tmp/pings 2>&1 & echo $! >/tmp/pinger").check()
        for end in (lab.vmnatd.kill, lab.vmnatd.stop, lab.vmnatd.kill):
            restart(lab, end)
            check_equal(lab.port()["queues"], lab.queues, "queues")
        lab.vm.run("kill -INT $(cat /tmp/pinger); sleep 1").check()
        answered, gap = check_pings(lab.vm.run("cat /tmp/pings").check().output, lab.queues)
        comment(f"{answered} pings answered, {gap:.1f} s without at most")
        check(gap < LONGEST_GAP, f"{gap} s without an answer")
        lab.download()
        lab.vmnatd.check_accounting()
        check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")
    return subtest


for each_mode, who_listens in (("client", "QEMU listens"), ("server", "vmnatd listens")):
    for each_queues in (1, 4):
        for each_ring in ("split", "packed"):
            suite.test(f"{who_listens}, {each_queues} {each_ring} queue{'s' if each_queues > 1 else ''}: vmnatd is killed, "
                       "stopped, killed under the VM, which goes on")(goes_on(each_mode, each_queues, each_ring))


if __name__ == "__main__":
    suite.main()
