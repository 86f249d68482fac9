#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""ARP on the uplink and inside: routers that fail over, liars, rivals, hosts that are not there, links that flap.

    default   192.168.122.1/24   vm1 .10, vm2 .11
    lab       192.168.5.1/24     vm3 .10            (endpoint-independent filtering)
    uplink    203.0.113.2/24     router 203.0.113.1 at A, on whose wire are others, too

The first subtests know the router at A; one that moves brings it back.
"""

import contextlib
import threading
import time

from harness import config
from harness.tap import Suite, check, check_equal
from harness.waiting import Overdue, deadline_in, wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, TCP, UDP, Raw, Router, Wire
from veth_lab import GATEWAY_MACS, REMOTE, ROUTER_MAC, VethLab

OWN, ROUTER = config.UPLINK_ADDRESS, config.UPLINK_ROUTER
ABSENT = "203.0.113.77"
HOST_UNREACHABLE = (3, 1)
FOLLOWED_SECONDS = 5  # a tenth of a second on a machine that rests; unasked the router would be looked for after 31


@contextlib.contextmanager
def answering(*wires):
    """The wires' stations answer ARP at once inside the block; what they saw is a list each, by their MACs."""
    seen, stop = {wire.mac: [] for wire in wires}, threading.Event()

    def serve():
        while not stop.is_set():
            for wire in wires:
                seen[wire.mac] += wire.drain()
            time.sleep(0.002)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()
        for wire in wires:
            seen[wire.mac] += wire.drain()


class Lab(VethLab):
    def __init__(self, scope):
        super().__init__(scope, guests=("default", "default", "lab", "alone"),
                         lab={"filtering": "endpoint-independent"})
        self.other = Router(self.wire_side, "isp0", "52:54:00:ff:00:0b", ROUTER)
        self.stranger = Wire(self.wire_side, "isp0", "52:54:00:bb:00:01")
        self.number = 20000

    def send(self, to=REMOTE, guest=None):
        """One datagram of a flow of its own."""
        self.number += 1
        guest = guest or self.vm1
        guest.wire.send(guest.routed(to) / UDP(sport=self.number, dport=7) / Raw(b"to whom?"))
        return self.number

    def counter(self, name):
        return self.vmnatd.counters()[name]

    def announce(self, wire, operation=1, address=ROUTER):
        wire.send(wire.to() / ARP(op=operation, hwsrc=wire.mac, psrc=address, pdst=address))

    def goes_to(self, mac, seen, seconds=FOLLOWED_SECONDS):
        """Datagrams of vm1's reach this station within so many seconds."""
        def arrives():
            self.send()
            time.sleep(0.01)
            return any(UDP in frame and frame.dst == mac for frame in list(seen))
        with contextlib.suppress(Overdue):
            return wait_until(arrives, "a datagram", seconds)
        return False

    def router_is_at(self, wire):
        self.router.answers, self.other.answers = wire is self.router, wire is self.other

    def move_router(self, to, say):
        """It goes to another MAC and says so; the former one is silent from then on."""
        with answering(self.router, self.other) as seen:
            self.router_is_at(to)
            say(to)
            check(self.goes_to(to.mac, seen[to.mac]), f"{FOLLOWED_SECONDS} s later datagrams still go to the former MAC")

    def expect_told(self, guest, sent, quoted, seconds=30):
        """The guest's frame, sent again and again, is answered by host unreachable that quotes it."""
        def is_told():
            guest.wire.send(sent)
            with contextlib.suppress(Overdue):
                return guest.wire.expect(lambda f: ICMP in f and f[ICMP].type == 3, "an ICMP error", 1)
        error = wait_until(is_told, "host unreachable", seconds)
        check_equal((error[ICMP].type, error[ICMP].code, error[IP].src), (*HOST_UNREACHABLE, guest.gateway), "the error")
        inner = error[ICMP].payload
        check_equal((inner.src, inner.sport, inner.dst, inner.dport, inner.ttl), quoted, "what it quotes")

    def silent_syn(self, guest, to):
        return guest.routed(to) / TCP(sport=40123, dport=80, flags="S"), (guest.address, 40123, to, 80, 64)


suite = Suite(Lab)


@suite.test("while the router has never answered, a VM's SYN is answered by host unreachable, which quotes it as it was")
def silent_router(lab):
    lab.router.answers = False
    lab.expect_told(lab.vm1, *lab.silent_syn(lab.vm1, REMOTE))


@suite.test("the same for a host of the uplink's link that is not there, again and again")
def absent_host(lab):
    lab.settle_once()
    lab.expect_told(lab.vm1, *lab.silent_syn(lab.vm1, ABSENT))
    lab.vm1.wire.drain()
    lab.expect_told(lab.vm1, *lab.silent_syn(lab.vm1, ABSENT))
    lab.vmnatd.check_accounting()


@suite.test("the errors are bounded: a VM that scans the link gets no more than its share")
def scan_is_bounded(lab):
    before = lab.vmnatd.counters()
    for host in range(100, 250):
        lab.send(f"203.0.113.{host}", lab.vm2)
    wait_until(lambda: lab.counter("drop.neighbor_unresolved") > before["drop.neighbor_unresolved"], "the first is given up")
    time.sleep(1)
    sent = lab.counter("icmp_errors.sent") - before["icmp_errors.sent"]
    check(0 < sent <= 100, f"{sent} errors")
    lab.vmnatd.check_accounting()


for OPERATION, WORDS in ((1, "a gratuitous ARP request"), (2, "a gratuitous ARP reply")):
    @suite.test(f"a router that fails over and says so by {WORDS} is followed at once")
    def failover(lab, operation=OPERATION):
        lab.settle_once()
        lab.move_router(lab.other, lambda wire: lab.announce(wire, operation))
        lab.move_router(lab.router, lambda wire: lab.announce(wire, operation))


@suite.test("so is one that is but heard: it asks for us, or answers unasked, from its new MAC")
def failover_in_passing(lab):
    def asks(wire):
        wire.send(wire.to() / ARP(op=1, hwsrc=wire.mac, psrc=ROUTER, pdst=OWN))

    def answers(wire):
        wire.send(wire.to(config.UPLINK_MAC) / ARP(op=2, hwsrc=wire.mac, psrc=ROUTER, hwdst=config.UPLINK_MAC, pdst=OWN))
    for say in (asks, answers):
        lab.move_router(lab.other, say)
        lab.move_router(lab.router, say)
    check("the router 203.0.113.1 has moved" in lab.vmnatd.process.log(), "the log has no word of it")


@suite.test("a router with a virtual MAC is known by what ARP says, not by the frame's source")
def virtual_mac(lab):
    virtual = "00:00:5e:00:01:07"
    with answering(lab.router, lab.other) as seen:
        lab.router_is_at(None)
        lab.other.send(lab.other.to() / ARP(op=1, hwsrc=virtual, psrc=ROUTER, pdst=ROUTER))
        check(lab.goes_to(virtual, seen[lab.other.mac]), "datagrams do not go to the virtual MAC")
    lab.move_router(lab.router, lab.announce)


@suite.test("a liar is not believed while the router answers, however it says it and however often")
def liar(lab):
    before = lab.vmnatd.counters()
    lab.stranger.drain()
    with answering(lab.router) as seen:
        lab.router_is_at(lab.router)
        for number in range(60):
            lab.announce(lab.stranger, 1 + number % 2)
            lab.stranger.send(lab.stranger.to(config.UPLINK_MAC) /
                              ARP(op=2, hwsrc=lab.stranger.mac, psrc=ROUTER, hwdst=config.UPLINK_MAC, pdst=OWN))
            lab.send()
            time.sleep(0.02)
        wait_until(lambda: sum(UDP in frame for frame in list(seen[ROUTER_MAC])) >= 60, "all datagrams")
    check_equal({f.dst for f in seen[ROUTER_MAC] if UDP in f}, {ROUTER_MAC}, "where datagrams go")
    check(lab.counter("neighbors.claims_refuted") > before["neighbors.claims_refuted"], "no claim was looked after")
    check_equal(lab.counter("neighbors.moved"), before["neighbors.moved"], "neighbours that have moved")


@suite.test("whoever has our address hears that it is ours, once in ten seconds, and the log says so")
def rival(lab):
    for operation in (1, 2, 1):
        lab.announce(lab.stranger, operation, OWN)
    wait_until(lambda: lab.counter("neighbors.conflicts") == 3, "three claims are heard")
    lab.stranger.expect(lambda f: is_announcement(f), "an announcement")
    with contextlib.suppress(Overdue):
        lab.stranger.expect(lambda f: is_announcement(f), "another one", 3)
        check(False, "it is announced again")
    check(f"{lab.stranger.mac}, says that it has our address {OWN}" in lab.vmnatd.process.log(), "the log has no word of it")
    probe = lab.stranger.to() / ARP(op=1, hwsrc=lab.stranger.mac, psrc="0.0.0.0", pdst=OWN)
    lab.stranger.send(probe)
    lab.stranger.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == OWN, "the answer to a probe")
    check_equal(lab.counter("neighbors.conflicts"), 3, "conflicts")


def is_announcement(frame):
    return ARP in frame and frame[ARP].psrc == frame[ARP].pdst == OWN and frame.dst == BROADCAST


@suite.test("when the uplink's link comes back our address is announced twice, two seconds apart, and the router asked anew")
def link_flaps(lab):
    def link():
        return lab.vmnatd.ctl("status")["uplink"]["link"]
    with answering(lab.router):
        wait_until(lambda: lab.vmnatd.ctl("neighbors")[0]["state"] == "reachable", "the router is reachable")
    lab.gateway_side.run("ip", "link", "set", "uplink0", "down")  # the wires' sockets outlive that
    wait_until(lambda: link() == "down", "vmnatd sees the link go down")
    lab.stranger.drain()
    lab.router_is_at(None)
    lab.gateway_side.run("ip", "link", "set", "uplink0", "up")
    frames, ends = [], deadline_in(6)
    while time.monotonic() < ends:
        lab.send()
        if (frame := lab.stranger.receive(0.05)) is not None:
            frames.append((time.monotonic(), frame))
    announced = [when for when, frame in frames if is_announcement(frame)]
    check_equal(len(announced), 2, f"announcements, at {announced}")
    check(1 < announced[1] - announced[0] < 4, f"they came at {announced}")
    asked = [when for when, frame in frames if Router.asks_for(frame, ROUTER) and frame.dst == BROADCAST]
    check(asked and asked[0] - announced[0] < 1, f"the router was asked for at {asked}")
    check_equal({frame.dst for _, frame in frames if UDP in frame}, {ROUTER_MAC}, "where datagrams go meanwhile")
    lab.move_router(lab.router, lab.announce)


@suite.test("a VM that claims its gateway's address is kept from it, counted, and told of in the log")
def false_gateway(lab):
    before = lab.counter("neighbors.inside.conflicts")
    lab.vm1.wire.send(lab.vm1.wire.to() / ARP(op=1, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.gateway, pdst=lab.vm1.gateway))
    wait_until(lambda: lab.counter("neighbors.inside.conflicts") == before + 1, "the claim is counted")
    check(f"port vm1: {lab.vm1.wire.mac} says that it has the gateway's address" in lab.vmnatd.process.log(), "the log has no word of it")


@suite.test("a remote that a filter lets in is told when the VM does not answer ARP")
def absent_vm(lab):
    lab.router_is_at(lab.router)
    outbound = lab.open_udp(lab.vm3, 2345, b"here I am")
    stranger = "198.51.100.66"

    def is_told():
        lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=stranger, dst=OWN) /
                        UDP(sport=9, dport=outbound.sport) / Raw(b"anybody?"))
        with contextlib.suppress(Overdue):
            return lab.router.expect(lambda f: ICMP in f and f[IP].dst == stranger, "an ICMP error", 1)
    error = wait_until(is_told, "host unreachable", 30)
    check_equal((error[ICMP].type, error[ICMP].code, error[IP].src), (*HOST_UNREACHABLE, OWN), "the error")
    check_equal(error[ICMP].payload.dst, OWN, "what it quotes: nothing of the inside")
    lab.vm3.wire.send(lab.vm3.wire.to(GATEWAY_MACS["lab"]) /
                      ARP(op=1, hwsrc=lab.vm3.wire.mac, psrc=lab.vm3.address, pdst=lab.vm3.gateway))

    def is_let_in():
        lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=stranger, dst=OWN) /
                        UDP(sport=9, dport=outbound.sport) / Raw(b"now?"))
        with contextlib.suppress(Overdue):
            return lab.vm3.wire.expect(lambda f: UDP in f and bytes(f[UDP].payload) == b"now?", "the datagram", 1)
    wait_until(is_let_in, "the VM's own question for its gateway teaches where it is")


@suite.test("after all of this every frame is accounted for")
def in_the_end(lab):
    lab.vmnatd.check_accounting()
    for line in lab.vmnatd.ctl("invariants"):
        check(line["holds"], line["why"])


if __name__ == "__main__":
    suite.main()
