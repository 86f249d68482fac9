# SPDX-License-Identifier: Apache-2.0
"""The wires around a gateway under test, be it vmnatd or the kernel: both get the same ones.

    default  192.168.122.1/24  vm1 .10, vm2 .11   nat, forwards (FORWARDS)
    lab      192.168.5.1/24    vm3 .10            nat, mapping endpoint-dependent, mid-stream dropped
    alone    192.168.9.1/24    vm4 .10            forward: none
    open     192.168.7.1/24    vm5 .10            nat, filtering endpoint-independent
    known    192.168.6.1/24    vm6 .10            nat, filtering address-dependent, mid-stream picked up
    brief    192.168.8.1/24    vm7 .10            nat, timeouts of seconds
    uplink   203.0.113.2/24    router .1, and what is beyond it; its MTU is 1400, that of the others 1500

The far ends of all wires are raw sockets of the test. What a gateway gives out outside is noted, port by port: where it
chooses for itself it may take a number that a later case would be the first to use, and could not keep. After a frame is given in, two pings through the same wire tell
that the gateway has done with it: by then, all that it sent has arrived. What a station is asked by ARP it answers.
"""

import contextlib
import itertools
import socket
import struct
import time

from harness import config
from harness.namespace import SOL_PACKET, Namespace, packet_socket, veth
from harness.tap import check
from harness.waiting import deadline_in
from harness.wire import ARP, BROADCAST, ICMP, IP, Ether

from .frames import address_text, bytes_of_mac

REMOTE, STRANGER, ON_LINK = "198.51.100.2", "198.51.100.66", "203.0.113.77"
EXTERNAL, ROUTER = config.UPLINK_ADDRESS, config.UPLINK_ROUTER
UPLINK_MAC, ROUTER_MAC = config.UPLINK_MAC, "52:54:00:ff:00:01"
UPLINK_MTU = 1400
PREFIXES = {"default": "192.168.122", "lab": "192.168.5", "alone": "192.168.9", "open": "192.168.7",
            "known": "192.168.6", "brief": "192.168.8"}
MACS = {name: f"52:54:00:00:01:0{number}" for number, name in enumerate(PREFIXES, 1)}
GUESTS = {"vm1": "default", "vm2": "default", "vm3": "lab", "vm4": "alone", "vm5": "open", "vm6": "known", "vm7": "brief"}
FORWARDS = [("tcp", 8080, "192.168.122.10", 80), ("udp", 5353, "192.168.122.10", 53), ("udp", 4500, "192.168.122.10", 4500),
            ("tcp", 8333, "192.168.122.10", 8333), ("udp", 123, "192.168.122.10", 123)]
RANGE = (7000, 7009, "192.168.122.11", 9000)  # of UDP, port by port
RESTRICTED = ("198.51.100.64/26", 2222, "192.168.122.10", 22)  # of TCP, for these remotes alone
SHARED = (8081, ("192.168.122.10", "192.168.122.11"), 80)  # of TCP, for several VMs
ABSENT = "192.168.122.99"  # a forward leads there, and nobody has it
NOBODY = "203.0.113.78"  # of the uplink's link
PACKET_AUXDATA, VLAN_VALID = 8, 0x10
AUXDATA = struct.Struct("=IIIHHHH")  # tpacket_auxdata: status, lengths, offsets, tag
ICMP_NUMBER, TCP_NUMBER, UDP_NUMBER = 1, 6, 17
QUERIES = (0, 8, 13, 14)  # echo and timestamp, which have an identifier
FENCE = 0xFE0C  # the identifier of the pings that tell that a gateway has done with a frame


class Station:
    """The far end of a wire: a VM or the router."""

    def __init__(self, namespace, name, interface, mac, addresses, gateway, gateway_mac):
        self.name, self.mac, self.addresses = name, mac, addresses
        self.address, self.gateway, self.gateway_mac = addresses[0], gateway, gateway_mac
        self.socket = packet_socket(namespace, interface)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setblocking(False)

    def ether(self, to=None) -> Ether:
        return Ether(src=self.mac, dst=to or self.gateway_mac)

    def ip(self, to, **fields):
        """Ethernet and IPv4 headers of a frame that this station gives to the gateway."""
        return self.ether() / IP(**{"src": self.address, "dst": to, "id": 0x1234, **fields})

    def send(self, frame):
        self.socket.send(bytes(frame))

    def arp(self, op, target, target_mac="00:00:00:00:00:00", to=BROADCAST):
        return self.ether(to) / ARP(op=op, hwsrc=self.mac, psrc=self.address, hwdst=target_mac, pdst=target)

    def arrived(self) -> list[bytes]:
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                raw, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))
                frames.append(with_tag(raw, ancillary))
        return frames


def with_tag(raw, ancillary) -> bytes:
    """The frame with its VLAN tag, which the kernel has taken out and tells beside it."""
    for level, kind, data in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, tpid = AUXDATA.unpack(data[:AUXDATA.size])
            if status & VLAN_VALID:
                return raw[:12] + tpid.to_bytes(2, "big") + tci.to_bytes(2, "big") + raw[12:]
    return raw


class Gateway:
    """What vmnat.py and kernel.py have in common. `routes` is the wire's other end; see the file's head."""

    def __init__(self, scope, name):
        self.name, self.fences = name, 0
        self.given = []  # what was given in, and by whom, since somebody emptied this
        self.external_ports = set()  # all that were ever seen outside; identifiers of ICMP queries are among them
        self.inside = scope.enter_context(Namespace(f"{name}-gateway"))
        self.wires = wires = scope.enter_context(Namespace(f"{name}-wires"))
        veth(self.inside, "uplink0", wires, "isp0")
        self.router = Station(wires, "router", "isp0", ROUTER_MAC, [ROUTER, ON_LINK, REMOTE], EXTERNAL, UPLINK_MAC)
        self.guests = {}
        for number, (guest, network) in enumerate(GUESTS.items(), 1):
            veth(self.inside, f"port{number}", wires, guest)
            address = f"{PREFIXES[network]}.{11 if guest == 'vm2' else 10}"
            self.guests[guest] = Station(wires, guest, guest, f"52:54:00:aa:00:0{number}", [address],
                                         f"{PREFIXES[network]}.1", MACS[network])
        self.stations = {**self.guests, "router": self.router}

    def ports_of(self, network) -> dict[str, str]:
        """The network's VMs with the gateway's ends of their wires."""
        return {guest: f"port{number}" for number, (guest, at) in enumerate(GUESTS.items(), 1) if at == network}

    # --- frames -------------------------------------------------------------------------------------------

    def collect(self) -> dict[str, list[bytes]]:
        """What has come out since the last look, by station, without ARP that was answered at once."""
        seen = {name: kept for name, station in self.stations.items()
                if (kept := [raw for raw in station.arrived() if not self.is_upkeep(station, raw)])}
        for raw in itertools.chain(*seen.values()):
            self.external_ports.update(external_port(raw))
        return seen

    def is_upkeep(self, station, raw) -> bool:
        """The gateway asks for a station, and is answered; or it tells that it is there."""
        if raw[12:14] != b"\x08\x06" or raw[20:22] != b"\x00\x01":
            return False
        sender, target = raw[28:32], raw[38:42]
        by_gateway = raw[6:12] == bytes_of_mac(station.gateway_mac)
        if by_gateway and sender == target:
            return True
        asked = address_text(target)
        if by_gateway and asked in (ABSENT, NOBODY):
            return True
        if not by_gateway or asked not in station.addresses:
            return False
        answer = station.arp(2, station.gateway, station.gateway_mac, to=station.gateway_mac)
        answer[ARP].psrc = asked
        station.send(answer)
        return True

    def exchange(self, sender, frames, wanted) -> dict[str, list[bytes]]:
        """Gives frames in and returns all that came out; waits a while longer for what is missing of `wanted`."""
        self.collect()
        for frame in frames:
            sender.send(frame)
            self.given.append((sender, bytes(frame)))
        seen = self.fence(sender)
        deadline = deadline_in(30)
        while lacks(seen, wanted) and time.monotonic() < deadline:
            time.sleep(0.002)
            add(seen, self.collect())
        return seen

    def fence(self, station) -> dict[str, list[bytes]]:
        """Two pings of the gateway, one after the other; returns what else came meanwhile.

        The second is sent when the first is answered: the round in which the gateway looked at what was before the
        first one is over by then, with all its output.
        """
        seen = {}
        for _ in range(2):
            self.fences = (self.fences + 1) & 0xFFFF
            ping = bytes(station.ip(station.gateway) / ICMP(id=FENCE, seq=self.fences))
            station.send(ping)
            deadline = deadline_in(30)
            while not add(seen, self.collect(), ping[38:42]):
                check(time.monotonic() < deadline, f"{self.name}: {station.name}'s ping of the gateway is not answered")
                time.sleep(0)
        return seen

    def drops(self) -> dict[str, int]:
        """Drops by reason, where the gateway counts them."""
        return {}

    def close(self):
        for station in self.stations.values():
            station.socket.close()


def external_port(raw) -> list[int]:
    """The port, or identifier, that a translated frame comes from; none of a frame that has none."""
    if raw[12:14] != b"\x08\x00" or raw[26:30] != bytes(map(int, EXTERNAL.split("."))) or raw[20] & 0x1F or raw[21]:
        return []
    at, protocol = 14 + 4 * (raw[14] & 15), raw[23]
    if protocol == ICMP_NUMBER:
        return [int.from_bytes(raw[at + 4:at + 6], "big")] if raw[at] in QUERIES else []
    return [int.from_bytes(raw[at:at + 2], "big")] if protocol in (TCP_NUMBER, UDP_NUMBER) else []


def add(seen, more, ping=b"") -> bool:
    """Adds what was seen; true when the answer to this ping is there, which is not added itself."""
    answered = False
    for name, frames in more.items():
        for raw in frames:
            if ping and raw[23:24] == b"\1" and raw[34:35] == b"\0" and raw[38:42] == ping:
                answered = True
            else:
                seen.setdefault(name, []).append(raw)
    return answered


def lacks(seen, wanted) -> bool:
    return any(len(seen.get(name, [])) < len(frames) for name, frames in wanted.items())
