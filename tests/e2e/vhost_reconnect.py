#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd goes and comes back while VMs stay: how soon their sockets are connected, and what becomes of their rings.

    default   192.168.122.1/24   vm1, vm3: the socket is their VMM's, vm2, vm4: the socket is vmnatd's; by harness/vhost_user.py
    uplink    203.0.113.2/24     on a veth without anybody

vm1 talks with vm2, on split virtqueues, and vm3 with vm4, on packed ones. Real VMs are in vm_reconnect.py.
"""

import contextlib
import statistics
import time

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, comment, scratch_directory
from harness.vhost_user import MERGEABLE, PACKED, VERSION_1, VhostUserGuest, listen_on
from harness.waiting import PATIENCE, wait_until
from harness.wire import Ether, Raw

GATEWAY = "192.168.122.1"
MACS = {f"vm{number}": f"52:54:00:aa:00:0{number}" for number in range(1, 5)}
LISTENING, PACKED_VMS = ("vm1", "vm3"), ("vm3", "vm4")
WAYS = (("vm1", "vm2"), ("vm2", "vm1"), ("vm3", "vm4"), ("vm4", "vm3"))  # who talks to whom
EXPERIMENT = 0x88B5  # an EtherType that nobody else uses
SOON = 0.1  # seconds from when somebody listens until they are connected to
TIMES = 20


class Lab:
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        self.gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(self.gateway, "uplink0", wires, "isp0")
        ports = [config.vhost_user_port(name, self.path(name), "client" if name in LISTENING else "server") for name in MACS]
        ports.append(config.vhost_user_port("late", self.path("late"), "client"))
        network = config.network("default", f"{GATEWAY}/24", ports)
        self.vmnatd = scope.enter_context(
            Vmnatd(self.directory, config.configuration(self.directory, "uplink0", [network]), namespace=self.gateway))
        self.guests = {name: scope.enter_context(VhostUserGuest(
            self.path(name), mac, VERSION_1 | MERGEABLE | (PACKED if name in PACKED_VMS else 0), listens=name in LISTENING))
            for name, mac in MACS.items()}
        self.wait_for_links()

    def path(self, name):
        return self.directory / f"{name}.sock"

    def wait_for_links(self):
        def are_up():
            links = {port["name"]: port["link"] for port in self.vmnatd.ctl("ports")}
            return all(links[name] == "up" for name in self.guests)
        wait_until(are_up, "the VMs' links are up")

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


def frame(sender, receiver, number):
    return Ether(src=MACS[sender], dst=MACS[receiver], type=EXPERIMENT) / Raw(number.to_bytes(4, "big") + bytes(200))


def numbers_received(guest, number, seconds=10):
    """Of so many frames, and of what comes in the moment after them; but for those that are flooded to all."""
    def is_for_it(f):
        return f.type == EXPERIMENT and f.dst == guest.mac
    came = [guest.expect(is_for_it, f"frame {i} of {number}", seconds) for i in range(number)]
    time.sleep(0.1)
    while (more := guest.receive()) is not None:
        if is_for_it(more):
            came.append(more)
    return [int.from_bytes(bytes(each.payload)[:4], "big") for each in came]


def talk(lab, first, number=10):
    """Both ways, one frame after another."""
    for sender, receiver in WAYS:
        for i in range(first, first + number):
            lab.guests[sender].send(frame(sender, receiver, i), head=i % 64)
        check_equal(numbers_received(lab.guests[receiver], number), list(range(first, first + number)),
                    f"frames from {sender} to {receiver}")


def leave_in_ring(lab, sender, receiver, numbers):
    """Frames that nobody takes yet."""
    guest = lab.guests[sender]
    ring = guest.transmit_queue
    for head, number in enumerate(numbers):
        content = bytes(12) + bytes(frame(sender, receiver, number))
        at = ring.buffer(head)
        guest.memory.bytes[at:at + len(content)] = content
        ring.describe(head, guest.memory.guest_base + at, len(content))
        ring.offer(head)


@suite.test(f"{TIMES} VMMs that come to listen, one after another, are each connected to within {SOON:.1f} s")
def soon(lab):
    times = []
    for turn in range(TIMES):
        lab.path("late").unlink(missing_ok=True)
        time.sleep(0.2 + 0.013 * turn)  # nobody is there when vmnatd tries again after the last one
        with contextlib.closing(listen_on(lab.path("late"))) as listener:
            since = time.monotonic()
            listener.accept()[0].close()
            times.append(time.monotonic() - since)
    comment(f"connected after {statistics.median(times) * 1000:.0f} ms, {max(times) * 1000:.0f} ms at most")
    check(statistics.median(times) <= SOON * PATIENCE, f"seconds: {times}")
    lab.path("late").unlink()


def comes_back(how):
    """vmnatd ends, and starts again; meanwhile the VMs have put frames into their rings."""
    def subtest(lab):
        offered = {name: guest.offered for name, guest in lab.guests.items()}
        talk(lab, 0)
        getattr(lab.vmnatd, how)()
        before = {name: guest.transmit_queue.used_index() for name, guest in lab.guests.items()}
        for sender, receiver in WAYS:
            leave_in_ring(lab, sender, receiver, range(100, 110))
        lab.vmnatd.start()
        for guest in lab.guests.values():
            guest.connect_again()
        lab.wait_for_links()
        check_equal({name: guest.offered for name, guest in lab.guests.items()}, offered, "features that are offered")
        for name, guest in lab.guests.items():
            wait_until(lambda g=guest, n=name: (g.transmit_queue.used_index() - before[n]) & 0xFFFF >= 10, "all was taken")
            check_equal((guest.transmit_queue.used_index() - before[name]) & 0xFFFF, 10, "frames that were taken")
            check_equal([guest.transmit_queue.next_used() for _ in range(10)], [(head, 0) for head in range(10)], "what came back")
        # What a VM sends before its neighbour is connected is lost, not sent twice.
        for name, guest in lab.guests.items():
            numbers = numbers_received(guest, 0)
            check(numbers == list(range(110 - len(numbers), 110)), f"{name} received {numbers} of 100 to 109")
        talk(lab, 200)
        lab.vmnatd.check_accounting()
    return subtest


for each_how, what in (("stop", "stopped"), ("kill", "killed")):
    for turn in range(1, 4):
        suite.test(f"vmnatd is {what}, turn {turn}: the VMs' rings go on where they were, no frame comes twice")(
            comes_back(each_how))


if __name__ == "__main__":
    suite.main()
