# SPDX-License-Identifier: Apache-2.0
"""vmnatd on veth ports, with the tests holding the other ends: what the files with raw frames share.

    default   192.168.122.1/24   vm1 .10, vm2 .11     (forward: nat)
    lab       192.168.5.1/24     vm3 .10
    alone     192.168.9.1/24     vm4 .10              (forward: none)
    uplink    203.0.113.2/24     router 203.0.113.1

No kernel has an address on any of these wires: every frame is one that the test or vmnatd has sent, and the
counters can be given exactly. `lab.counting(...)` is a block after which they must have grown by just that.
"""

import contextlib
from typing import NamedTuple

from harness import config
from harness.daemon import Vmnatd, drops
from harness.namespace import LeakWatch, Namespace, veth
from harness.tap import check, check_equal, scratch_directory
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, ICMP, IP, UDP, Raw, Router, Wire

REMOTE = "198.51.100.2"
ROUTER_MAC = "52:54:00:ff:00:01"
NETWORKS = {"default": "192.168.122", "lab": "192.168.5", "alone": "192.168.9"}
GATEWAY_MACS = {"default": "52:54:00:00:01:01", "lab": "52:54:00:00:01:02", "alone": "52:54:00:00:01:03"}
GUESTS = ("default", "default", "lab", "alone")
FORWARDING = {"default": "nat", "lab": "nat", "alone": "none"}
REQUESTS = ("neighbors.requests", "neighbors.inside.requests")
UPKEEP = {"injected": REQUESTS, "transmitted": REQUESTS, "received": ("punt.arp_reply",), "punted": ("punt.arp_reply",)}
# What the counters grow by when a frame takes one port in and another out, and when it does so after it has
# waited for the VM's MAC: punted, and given back.
FORWARDED = {"received": 1, "transmitted": 1}
WAITED = {"received": 1, "punted": 1, "injected": 1, "transmitted": 1}
FRAME_COUNTERS = ("received", "flood_copies", "injected", "generated", "transmitted", "punted")


class Guest(NamedTuple):
    """A VM that is a wire, an address, and nothing else."""
    wire: Wire
    network: str
    address: str

    @property
    def gateway(self) -> str:
        return f"{NETWORKS[self.network]}.1"

    def routed(self, to):
        """Ethernet and IPv4 headers of a frame that this VM gives to its gateway."""
        return self.wire.to(GATEWAY_MACS[self.network]) / IP(src=self.address, dst=to)

    def expect(self, wanted, what):
        return self.wire.expect(wanted, what)

    def answer_arp(self):
        """Waits for vmnatd's question who has this VM's address, and answers it."""
        request = self.expect(lambda f: ARP in f and f[ARP].op == 1 and f[ARP].pdst == self.address, "the ARP request")
        check_equal((request.src, request[ARP].psrc), (GATEWAY_MACS[self.network], self.gateway), "who asks")
        self.wire.send(self.wire.to(request.src) / ARP(op=2, hwsrc=self.wire.mac, psrc=self.address,
                                                       hwdst=request.src, pdst=self.gateway))

    def announce(self):
        """Gratuitous ARP: tells the switch where this VM is."""
        self.wire.send(self.wire.to() / ARP(op=1, hwsrc=self.wire.mac, psrc=self.address, pdst=self.address))


class VethLab:
    def __init__(self, scope, mtu=1500, guests=GUESTS, networks=None, ports=None, external=(), uplink=None, uplink_mtu=None, **nat):
        """`guests`: the network of each VM; `external`: addresses of the pools besides the uplink's. By a network's name: `nat` is what its `nat` says, `networks` has
        further keys of it; `ports` has further keys of a port, by its name; `uplink` those of the uplink. `mtu` is that
        of the wires, `uplink_mtu` of the uplink's if it is another one."""
        self.settling, self.mtu, self.nat = None, mtu, nat
        self.uplink = {"address": f"{config.UPLINK_ADDRESS}/24", "gateway": config.UPLINK_ROUTER, **(uplink or {})}
        self.own = self.uplink["address"].split("/")[0]
        self.network_keys, self.port_keys = networks or {}, ports or {}
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.wire_side = scope.enter_context(Namespace("wires"))
        veth(self.gateway_side, "uplink0", self.wire_side, "isp0", uplink_mtu or mtu)
        self.router = Router(self.wire_side, "isp0", ROUTER_MAC, self.uplink["gateway"])
        self.watch = LeakWatch(self.wire_side, "isp0", [self.own, *external])
        self.guests = [self.guest(index, name, guests[:index - 1].count(name)) for index, name in enumerate(guests, 1)]
        self.vm1, self.vm2, self.vm3, self.vm4 = self.guests[:4]
        self.vmnatd = scope.enter_context(
            Vmnatd(self.directory, self.configuration(), namespace=self.gateway_side))

    def guest(self, index, network, before) -> Guest:
        """`before`: how many VMs of the network have a lower number."""
        veth(self.gateway_side, f"port{index}", self.wire_side, f"vm{index}", self.mtu)
        return Guest(Wire(self.wire_side, f"vm{index}", f"52:54:00:aa:00:0{index}"), network,
                     f"{NETWORKS[network]}.{10 + before}")

    def configuration(self):
        networks = [config.network(name, f"{prefix}.1/24", mac=GATEWAY_MACS[name], forward=FORWARDING[name],
                                   ports=[config.veth_port(f"vm{index}", f"port{index}") |
                                          self.port_keys.get(f"vm{index}", {})
                                          for index, guest in enumerate(self.guests, 1) if guest.network == name],
                                   **({"nat": self.nat[name]} if name in self.nat else {}),
                                   **self.network_keys.get(name, {}))
                    for name, prefix in NETWORKS.items()]
        made = config.configuration(self.directory, "uplink0", networks)
        made["uplink"].update(self.uplink)
        return made

    # --- counting -----------------------------------------------------------------------------------------

    def frame_counts(self) -> dict[str, int]:
        """The frame counters, without vmnatd's own upkeep of its neighbours, which comes when it comes."""
        counters = self.vmnatd.counters()
        counts = {name: counters.get(name, 0) for name in FRAME_COUNTERS}
        for name, upkeep in UPKEEP.items():
            counts[name] -= sum(counters.get(counter, 0) for counter in upkeep)
        counts["dropped"] = drops(counters)
        return counts | {name: value for name, value in counters.items() if name.startswith("drop.")}

    def resting_frame_counts(self) -> dict[str, int]:
        """The same, once two looks at them agree."""
        looks = [self.frame_counts()]

        def look_again():
            looks.append(self.frame_counts())
            return looks[-1] == looks[-2]
        wait_until(look_again, "the frame counters rest")
        return looks[-1]

    @contextlib.contextmanager
    def counting(self, **expected):
        """After the block the frame counters have grown by exactly what is given, and nothing else grew.

        `dropped=2` is two drops for whatever reason; `dropped={"drop.no_session": 2}` names it.
        """
        self.settle_once()
        before = self.resting_frame_counts()
        yield
        grown = {}

        def as_expected():
            nonlocal grown
            grown = {name: value - before.get(name, 0) for name, value in self.frame_counts().items()
                     if value != before.get(name, 0)}
            return matches(grown, expected)
        try:
            wait_until(as_expected, "counters", 30)
        except Overdue:
            check(False, f"counters: expected to grow by {expected}, grew by {grown}")

    # --- traffic ------------------------------------------------------------------------------------------

    def settle_once(self):
        check(self.settling != "failed", "the lab has not settled before")
        if self.settling is None:
            self.settle()

    def settle(self):
        """Every VM is known to the switch and the router to vmnatd; nothing is on its way any more."""
        self.settling = "failed"
        self.router.answers = True
        for guest in self.guests:
            guest.announce()
        wait_until(self.router_is_resolved, "vmnatd has resolved the router and a datagram leaves")
        for guest in self.guests:
            guest.wire.send(guest.routed(guest.gateway) / ICMP(id=1))
            guest.expect(lambda frame: ICMP in frame, "the gateway's echo reply")
        wait_until(lambda: self.vmnatd.ctl("status")["uptime_s"] >= 3, "vmnatd has announced its address twice, two seconds apart")
        for wire in [self.router, *(guest.wire for guest in self.guests)]:
            wire.drain()
        self.settling = "done"

    def router_is_resolved(self) -> bool:
        """A datagram leaves; one that waits for a router that has not answered yet may be given up."""
        with contextlib.suppress(Overdue):
            self.open_udp(self.vm1, 1999, b"is the router there?", seconds=2)
            return True
        return False

    def open_udp(self, guest, port, payload, to=REMOTE, remote_port=53, seconds=30):
        """A datagram goes out; returns it as the router saw it."""
        guest.wire.send(guest.routed(to) / UDP(sport=port, dport=remote_port) / Raw(payload))
        return self.router.expect(lambda frame: UDP in frame and bytes(frame[UDP].payload) == payload,
                                  f"{payload!r} on the uplink", seconds)

    def inbound(self, l4, remote=REMOTE):
        """A packet of a remote for the uplink's address, as the router would give it to the uplink."""
        return self.router.to(config.UPLINK_MAC) / IP(src=remote, dst=self.own) / l4

    def reply_udp(self, outbound, payload):
        """The remote answers an outbound datagram; what the router would send back, given to the uplink."""
        self.router.send(self.router.to(outbound.src) / IP(src=outbound[IP].dst, dst=outbound[IP].src) /
                         UDP(sport=outbound[UDP].dport, dport=outbound[UDP].sport) / Raw(payload))

    def check_still_works(self):
        """A new flow out and back, on the first two networks."""
        for guest in (self.vm1, self.vm3):
            outbound = self.open_udp(guest, 2001, b"still there? " + guest.address.encode())
            self.reply_udp(outbound, b"yes, " + guest.address.encode())
            guest.expect(lambda frame, who=guest: UDP in frame and frame[IP].dst == who.address
                         and frame[UDP].dport == 2001, "the answer")

    def leaks(self) -> list[str]:
        return [frame[:64].hex(" ") for frame in self.watch.leaks()]

    def evidence(self) -> str:
        return self.vmnatd.evidence()


def times(number, *happenings) -> dict[str, int]:
    """The sum of what happens, each `number` times."""
    total = {}
    for happening in happenings:
        for name, growth in happening.items():
            total[name] = total.get(name, 0) + number * growth
    return total


def end_with_accounts(suite):
    """The last subtest of a file."""
    @suite.test("after all of this every frame is accounted for, and no inside address left by the uplink")
    def in_the_end(lab):
        lab.vmnatd.check_accounting()
        check_equal(lab.leaks(), [], "frames with a foreign source on the uplink")


def matches(grown, expected) -> bool:
    """expected: counter -> growth, where "dropped" is a number or {reason: number}."""
    frames = {name: value for name, value in grown.items() if not name.startswith("drop.")}
    reasons = {name: value for name, value in grown.items() if name.startswith("drop.")}
    wanted = dict(expected)
    if isinstance(wanted.get("dropped"), dict):
        if reasons != wanted["dropped"]:
            return False
        wanted["dropped"] = sum(wanted["dropped"].values())
    return frames == wanted
