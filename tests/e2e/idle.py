#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What vmnatd does when there is nothing to do: it sleeps, and the first frame wakes it (`dataplane.idle: adaptive`).

All ports are vhost-user ports, the uplink too: twice as many as DPDK has numbers for devices of its own. The first half of
them have guests. One subtest has kernel interfaces instead.
"""

import os
import pathlib
import statistics
import struct
import time

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, for_one_subtest, scratch_directory
from harness.vhost_user import EVENT_INDEX, MERGEABLE, PACKED, SET_VRING_KICK, VERSION_1, VhostUserGuest
from harness.wire import ARP, Wire

PORTS, GUESTS = 64, 32
GATEWAY, ADDRESS = "192.168.122.1", "192.168.122.10"
MOST_CPU = 0.01     # of one; some 0.003 on the slowest machine seen, and 0.02 when it looked round every 2 ms
SPAN = 3            # seconds
AT_ONCE = 0.010     # seconds: of several frames half are served within; a tenth of that, but on a busy machine


class IdleLab:
    """Around a `vmnatd`."""

    def cpu_seconds(self):
        """That the daemon's threads have used."""
        tasks = pathlib.Path(f"/proc/{self.vmnatd.process.child.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def cpu_share(self, seconds):
        begin, before = time.monotonic(), self.cpu_seconds()
        time.sleep(seconds)
        return (self.cpu_seconds() - before) / (time.monotonic() - begin)

    def check_is_idle(self):
        shares = []
        while not shares or (shares[-1] >= MOST_CPU and len(shares) < 10):
            shares.append(self.cpu_share(SPAN))
        check(shares[-1] < MOST_CPU, f"shares of a CPU in spans of {SPAN} s: {shares}")

    def evidence(self):
        return self.vmnatd.evidence()


class Lab(IdleLab):
    def __init__(self, scope):
        self.scope, self.directory = scope, scratch_directory(scope)
        ports = [config.vhost_user_port(f"vm{number}", self.path(number), mode="server") for number in range(1, PORTS + 1)]
        network = config.network("default", f"{GATEWAY}/24", ports)
        uplink = f"net_vhost0,iface={self.directory / 'uplink.sock'}"
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, config.configuration(self.directory, uplink, [network])))
        # Those that are asked by the flag, and by the index.
        features = [VERSION_1 | MERGEABLE, VERSION_1 | MERGEABLE | EVENT_INDEX]
        self.guests = [self.attach(number, features[number % 2] | (PACKED if number == 3 else 0)) for number in range(1, GUESTS + 1)]

    def path(self, number):
        return self.directory / f"vm{number}.sock"

    def attach(self, number, features):
        return self.scope.enter_context(VhostUserGuest(self.path(number), f"52:54:00:aa:00:{number:02x}", features))

    def time_to_serve(self, guest):
        """Of a frame after a pause, until its descriptor came back; and whether a kick was asked for."""
        time.sleep(0.05)
        begin = time.monotonic()
        guest.send(guest.to() / ARP(op=1, hwsrc=guest.mac, psrc=ADDRESS, pdst=GATEWAY))
        return time.monotonic() - begin, guest.was_asked_to_kick

    def check_wakes_it(self, guest, what):
        times, kicks = zip(*(self.time_to_serve(guest) for _ in range(21)))
        check(sum(kicks) > 10, f"{what}: {sum(kicks)} kicks of 21 were asked for")
        check(statistics.median(times) < AT_ONCE, f"{what}: times to serve {sorted(times)}")

class KernelLab(IdleLab):
    """A veth for the uplink and two for ports; the far ends are in the test's hands."""

    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        inside, outside = (scope.enter_context(Namespace(name)) for name in ("idle-in", "idle-out"))
        for interface in ("uplink0", "port1", "port2"):
            veth(inside, interface, outside, f"{interface}-far")
        network = config.network("default", f"{GATEWAY}/24", [config.veth_port(f"vm{n}", f"port{n}") for n in (1, 2)])
        self.vmnatd = scope.enter_context(
            Vmnatd(self.directory, config.configuration(self.directory, "uplink0", [network]), namespace=inside))
        self.wire = Wire(outside, "port1-far", "52:54:00:aa:00:01")

    def time_to_serve(self):
        """Of a question after a pause, until the worker has answered it."""
        time.sleep(0.05)
        begin = time.monotonic()
        self.wire.send(self.wire.to() / ARP(op=1, hwsrc=self.wire.mac, psrc=ADDRESS, pdst=GATEWAY))
        self.wire.expect(lambda frame: ARP in frame and frame[ARP].op == 2, "the gateway's MAC")
        return time.monotonic() - begin


suite = Suite(Lab)


@suite.test("idle, it takes less than 1 % of a CPU, with and without guests on its ports")
def idle(lab):
    lab.check_is_idle()


@suite.test("a guest that kicks is served at once, asked by the flag or by the index of events")
def kicks(lab):
    lab.check_wakes_it(lab.guests[0], "by the index")
    lab.check_wakes_it(lab.guests[1], "by the flag")
    lab.check_wakes_it(lab.guests[2], "on a packed ring")


@suite.test("a guest that is not asked for kicks does not have to: the worker is awake")
def silence(lab):
    ring, cpus = lab.guests[1].transmit_queue, os.sched_getaffinity(0)
    if len(cpus) == 1:
        return  # nobody sees it awake
    os.sched_setaffinity(0, cpus - {max(cpus)})  # which is the worker's
    kicks = 0
    for _ in range(300):
        ring.offer(0)
        kicks += ring.kick_if_asked(False)
        while ring.next_used() is None:
            pass
    os.sched_setaffinity(0, cpus)
    check(kicks < 150, f"{kicks} kicks for 300 frames, one after another")


@suite.test("a guest that comes, goes and comes again while it sleeps wakes it as well")
def comes_and_goes(lab):
    for ring in (0, PACKED, 0, PACKED):
        guest = lab.attach(GUESTS + 1, VERSION_1 | MERGEABLE | ring)
        lab.check_wakes_it(guest, "after it has come")
        guest.stop()
        guest.start()
        lab.check_wakes_it(guest, "after its rings were stopped and started")
        guest.socket.close()


@suite.test("a guest that is given another kick while it sleeps uses that one")
def another_kick(lab):
    guest, ring = lab.guests[3], lab.guests[3].transmit_queue
    before, ring.kick = ring.kick, os.eventfd(0, os.EFD_NONBLOCK)
    guest.request(SET_VRING_KICK, struct.pack("<Q", ring.number), [ring.kick])
    lab.check_wakes_it(guest, "by the other kick")
    os.close(before)
    lab.check_is_idle()


@suite.test("a kick that nobody can wait for safely is not waited for, and the guest is served all the same")
def no_eventfd(lab):
    guest, ring = lab.guests[5], lab.guests[5].transmit_queue
    readable, writable = os.pipe()
    guest.request(SET_VRING_KICK, struct.pack("<Q", ring.number), [readable])
    times = [lab.time_to_serve(guest)[0] for _ in range(21)]
    check(statistics.median(times) < AT_ONCE, f"times to serve {sorted(times)}")
    guest.request(SET_VRING_KICK, struct.pack("<Q", ring.number), [ring.kick])
    lab.check_wakes_it(guest, "by an eventfd again")
    for end in (readable, writable):
        os.close(end)
    lab.check_is_idle()


@suite.test("with kernel interfaces alone it takes less than 1 % of a CPU, and the first frame wakes it")
def kernel_interfaces(_):
    with for_one_subtest(KernelLab) as lab:
        lab.check_is_idle()
        times = sorted(lab.time_to_serve() for _ in range(21))
        check(statistics.median(times) < AT_ONCE, f"times to serve {times}")


if __name__ == "__main__":
    suite.main()
