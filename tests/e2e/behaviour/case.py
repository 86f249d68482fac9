# SPDX-License-Identifier: Apache-2.0
"""A case: a sentence, and a function that gives frames to a gateway and says what must come out.

What the function says holds for vmnatd and for the kernel alike, unless it says otherwise:

    t.put(t.vm1, frame, router=[t.out(frame)])                      exactly this at the router, nothing elsewhere
    t.put(t.vm1, frame, drop="l4_header", kernel=Differs("...", router=[...]))
    @case("...", kernel="why it cannot be asked of the kernel")     vmnatd alone

Drops of vmnatd are compared once a case: the counters must have grown by what the case named, and no other may have.
"""

import collections
import itertools
from typing import NamedTuple

from harness.tap import check, check_equal
from harness.waiting import wait_until
from harness.wire import ICMP, IP, TCP, UDP, Ether

from .frames import describe, expectation, ip_of, routed, solid, translated
from .gateway import EXTERNAL, REMOTE, ROUTER_MAC, UPLINK_MAC

FIRST_PORT = 20000  # those of the cases' flows, each its own: what one case opens no other meets; see Trial.port


class Case(NamedTuple):
    sentence: str
    function: object
    not_for_kernel: str = ""


cases: list[Case] = []


def case(sentence, kernel="", first=False):
    """Registers a case; `kernel` tells why it is not for the control. `first`: it uses ports that are not Trial.port()'s,
    and must come before the gateway has chosen any."""
    def register(function):
        cases.insert(0 if first else len(cases), Case(sentence, function, kernel))
        return function
    return register


class Differs:
    """What the kernel does instead, and why."""

    def __init__(self, why, **expected):
        self.why, self.expected = why, expected


class Trial:
    """One case being tried on one gateway; what a case's function is given."""

    ports = itertools.count(FIRST_PORT)

    def __init__(self, gateway):
        self.gateway, self.is_kernel = gateway, gateway.name == "kernel"
        self.before = gateway.drops()
        self.drops, self.differences = collections.Counter(), []
        for name, station in gateway.stations.items():
            setattr(self, name, station)

    def port(self) -> int:
        """A number that no other case uses, and that the gateway has not given to one by a choice of its own."""
        return next(port for port in self.ports if port not in self.gateway.external_ports)

    # --- giving frames in ---------------------------------------------------------------------------------

    def put(self, sender, *frames, drop=None, drops=1, kernel=None, **expected):
        """Gives frames to the gateway; `expected` are the frames that come out, by station. Returns those."""
        if drop:
            self.drops[drop] += drops
        if self.is_kernel and kernel:
            expected = kernel.expected
            self.differences.append(kernel.why)
        wanted = {name: [expectation(frame) for frame in frames] for name, frames in expected.items() if frames}
        seen = self.gateway.exchange(sender, frames, wanted)
        for name in self.gateway.stations:
            self.compare(name, wanted.get(name, []), seen.get(name, []))
        return seen

    def ask(self, sender, frame, receiver):
        """Gives a frame in that comes out at one station, changed in a way that the gateway may choose."""
        seen = self.gateway.exchange(sender, [frame], {receiver.name: [None]})
        check_equal({name: len(frames) for name, frames in seen.items()}, {receiver.name: 1},
                    f"frames that came out for {describe(bytes(frame))}")
        return Ether(seen[receiver.name][0])

    def wait_until(self, condition, what):
        """Meanwhile nothing comes out, and ARP is answered as ever."""
        def look():
            check_equal(self.gateway.collect(), {}, f"what came out while waiting: {what}")
            return condition()
        wait_until(look, what)

    @staticmethod
    def compare(name, wanted, seen):
        for number, raw in enumerate(seen):
            if number >= len(wanted):
                check(False, f"at {name} came {describe(raw)}, which nothing should\n{raw.hex(' ')}")
            fault = wanted[number].fault(raw)
            check(not fault, f"what came at {name}, number {number + 1}, {fault}")
        if len(seen) < len(wanted):
            check(False, f"at {name} did not come: {wanted[len(seen)]}")

    def await_drops(self, reason, number):
        """Drops that come later than the frames."""
        self.drops[reason] += number
        before = self.before.get(reason, 0)
        wait_until(lambda: self.gateway.drops().get(reason, 0) >= before + self.drops[reason], f"drops by {reason}")

    # --- what frames become -------------------------------------------------------------------------------

    def out(self, frame, sport=None) -> bytes:
        """As the router sees it: the port is kept, unless another is given."""
        return translated(frame, (UPLINK_MAC, ROUTER_MAC), source=EXTERNAL, sport=sport)

    def back(self, frame, guest, dport=None) -> bytes:
        """A frame of the router's as the VM sees it."""
        return translated(frame, (guest.gateway_mac, guest.mac), destination=guest.address, dport=dport)

    def leaked(self, frame) -> bytes:
        """On the uplink with its inside source."""
        return routed(frame, (UPLINK_MAC, ROUTER_MAC))

    # --- flows --------------------------------------------------------------------------------------------

    def open_udp(self, guest, port=None, remote=REMOTE, remote_port=53, external=None):
        """A VM's first datagram; returns the answer's IPv4 and UDP headers, as the router sends them."""
        port = port or self.port()
        sent = guest.ip(remote) / UDP(sport=port, dport=remote_port) / b"here I am"
        self.put(guest, sent, router=[self.out(sent, sport=external)])
        return self.from_remote(remote) / UDP(sport=remote_port, dport=external or port)

    def open_tcp(self, guest, port=None, remote=REMOTE, remote_port=80):
        """Three segments; returns functions that make a VM's and a remote's segment with flags and payload."""
        port = port or self.port()

        def outbound(flags, **fields):
            return guest.ip(remote) / TCP(sport=port, dport=remote_port, flags=flags, **{"seq": 101, "ack": 901, **fields})

        def inbound(flags, **fields):
            return self.from_remote(remote) / TCP(sport=remote_port, dport=port, flags=flags,
                                                  **{"seq": 901, "ack": 101, **fields})
        self.pass_out(guest, outbound("S", seq=100, ack=0))
        self.pass_in(guest, inbound("SA", seq=900), port)
        self.pass_out(guest, outbound("A"))
        return outbound, inbound

    def pass_out(self, guest, frame):
        self.put(guest, frame, router=[self.out(frame)])

    def pass_in(self, guest, frame, port):
        self.put(self.router, frame, **{guest.name: [self.back(frame, guest, dport=port)]})

    def from_remote(self, remote=REMOTE, **fields):
        """Ethernet and IPv4 headers of what comes in from outside."""
        return self.router.ip(EXTERNAL, src=remote, **fields)



__all__ = ["ICMP", "IP", "TCP", "UDP", "Case", "Differs", "Trial", "case", "cases", "ip_of", "solid"]
