#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest says of its frames, by virtio's header and by IP's lengths, is held against their bytes.

    default   192.168.122.1/24   vm1 .10, vm2 .11 (the test speaks vhost-user, harness/vhost_user.py)
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth, MTU 1500, by a driver that leaves all to do here
"""

import struct

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import GUEST_BASE, VhostUserGuest
from harness.waiting import wait_until
from harness.wire import ARP, IP, TCP, UDP, Ether, Raw, Router, check_checksums

GATEWAY, REMOTE = "192.168.122.1", "198.51.100.2"
MACS = {"vm1": "52:54:00:aa:00:01", "vm2": "52:54:00:aa:00:02"}
ADDRESSES = {"vm1": "192.168.122.10", "vm2": "192.168.122.11"}
NEEDS_CHECKSUM, TCP4, UDP_FRAGMENTS, TCP6 = 1, 1, 3, 4
PARTIAL_TCP = {"flags": NEEDS_CHECKSUM, "start": 34, "offset": 16}
LONGEST = 1514
LONG_FRAME = 0x60000  # in the guest's memory, behind all buffers of its rings


def claim(flags=0, gso_type=0, headers=0, gso_size=0, start=0, offset=0):
    """virtio's header before a frame."""
    return struct.pack("<BBHHHHH", flags, gso_type, headers, gso_size, start, offset, 0)


def super_frame(size, gso_type=TCP4, **keys):
    return claim(**{**PARTIAL_TCP, "gso_type": gso_type, "gso_size": size, **keys})


def with_length(packet, length):
    """The same with another total length, and IP's checksum over it."""
    packet = packet.copy()
    packet[IP].len = length
    return packet


class Lab:
    def __init__(self, scope):
        directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "uplink0", wires, "isp0")
        self.router = Router(wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        paths = {name: directory / f"{name}.sock" for name in MACS}
        ports = [config.vhost_user_port(name, path, mode="server") for name, path in paths.items()]
        network = config.network("default", f"{GATEWAY}/24", ports)
        self.vmnatd = scope.enter_context(
            Vmnatd(directory, config.configuration(directory, "net_af_packet0,iface=uplink0", [network]), namespace=gateway))
        self.guests = {name: scope.enter_context(VhostUserGuest(path, MACS[name])) for name, path in paths.items()}
        wait_until(lambda: all(port["link"] == "up" for port in self.vmnatd.ctl("ports")), "all links are up")
        self.gateway_mac = self.ask("vm1")
        self.ask("vm2")
        self.send("vm1", claim(), self.to_remote() / UDP(sport=7, dport=9) / Raw(b"resolve the router"))
        self.router.expect(lambda f: UDP in f, "the first datagram")

    def ask(self, name):
        guest = self.guests[name]
        guest.send(guest.to() / ARP(op=1, hwsrc=MACS[name], psrc=ADDRESSES[name], pdst=GATEWAY))
        return guest.expect(lambda f: ARP in f and f[ARP].op == 2, f"the gateway's answer to {name}").src

    def to_remote(self):
        return Ether(src=MACS["vm1"], dst=self.gateway_mac) / IP(src=ADDRESSES["vm1"], dst=REMOTE)

    def to_vm2(self):
        return Ether(src=MACS["vm1"], dst=MACS["vm2"]) / IP(src=ADDRESSES["vm1"], dst=ADDRESSES["vm2"])

    def send(self, name, header, frame, length=None):
        """One descriptor with the header and the frame, followed by zeroes up to the length."""
        guest, content = self.guests[name], bytes(frame)
        content = header + content + bytes((length or len(content)) - len(content))
        guest.memory.bytes[LONG_FRAME:LONG_FRAME + len(content)] = content
        guest.transmit_queue.describe(1, GUEST_BASE + LONG_FRAME, len(content))
        guest.send_chain(1)
        self.empty_rings()

    def empty_rings(self):
        for guest in self.guests.values():
            while (came := guest.receive()) is not None:
                guest.unwanted.append(came)

    def expect_at(self, name, wanted, what):
        guest = self.guests[name]

        def has_come():
            self.empty_rings()
            return any(wanted(frame) for frame in guest.unwanted)
        wait_until(has_come, what)
        frame = next(frame for frame in guest.unwanted if wanted(frame))
        guest.unwanted.remove(frame)
        return frame

    def settle(self):
        """The daemon lives, has taken all that was sent, and both guests' rings go on."""
        for name in MACS:
            self.ask(name)
        self.vmnatd.check_accounting()

    def arrived(self):
        """What has come out of the gateway by now, by place: each place had a frame of its own sent last."""
        self.settle()
        self.send("vm1", claim(), self.to_remote() / UDP(sport=7, dport=9) / Raw(b"the last one"))
        self.router.expect(lambda f: UDP in f and bytes(f[UDP].payload).startswith(b"the last one"), "the last frame")
        guest = self.guests["vm2"]
        guest.send(guest.to() / ARP(op=1, hwsrc=MACS["vm2"], psrc=ADDRESSES["vm2"], pdst=GATEWAY))
        guest.expect(lambda f: ARP in f and f[ARP].op == 2, "the last frame")
        there, guest.unwanted = guest.unwanted, []
        return {"uplink": self.router.drain(), "vm2": there}

    def drops(self):
        return {name: value for name, value in self.vmnatd.counters().items() if name.startswith("drop.") and value}

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


def check_lengths(arrived):
    for place, frames in arrived.items():
        for frame in frames:
            check(len(frame) <= LONGEST, f"{len(frame)} bytes at {place}: {frame.summary()}")


def new_drops(lab, before):
    return {name: value - before.get(name, 0) for name, value in lab.drops().items() if value != before.get(name, 0)}


@suite.test("the longest frames that a ring can hold, in segments of any size and with any length in IP, do no harm")
def longest(lab):
    segment = TCP(sport=4000, dport=80, flags="S")
    for to in (lab.to_remote(), lab.to_vm2()):
        for total in (40, 41, 1500, 65535):
            for size in (1, 64, 1448, 65503, 65535):
                for length in (65535, 65536, 65557):
                    lab.send("vm1", super_frame(size), with_length(to / segment, total), length)
    lab.settle()
    check_lengths(lab.arrived())


@suite.test("the same of IPv6 between VMs")
def longest_ipv6(lab):
    from scapy.layers.inet6 import IPv6
    segment = Ether(src=MACS["vm1"], dst=MACS["vm2"]) / IPv6(src="fe80::1", dst="fe80::2") / TCP(sport=1, dport=2)
    for plen in (0, 20, 21, 1460, 65535):
        for size in (1, 64, 1448, 65535):
            frame = segment.copy()
            frame[IPv6].plen = plen
            lab.send("vm1", super_frame(size, TCP6, start=54), frame, 65557)
    lab.settle()
    check_lengths(lab.arrived())


@suite.test("padded frames to a host that is not resolved yet do no harm, and arrive without their padding")
def unresolved(lab):
    hosts = [f"203.0.113.{100 + number}" for number in range(20)]
    for host in hosts:
        datagram = Ether(src=MACS["vm1"], dst=lab.gateway_mac) / IP(src=ADDRESSES["vm1"], dst=host, len=100) / UDP(sport=1, dport=2)
        lab.send("vm1", claim(), datagram, 65557)
    for host in hosts:
        request = lab.router.expect(lambda f: ARP in f and f[ARP].op == 1 and f[ARP].pdst == host, f"the request for {host}")
        lab.router.answer(request)
        frame = lab.router.expect(lambda f: IP in f and f[IP].dst == host, f"the datagram for {host}")
        check_equal(len(frame), 114, "its length")
    lab.settle()


@suite.test("what is routed ends where IP says, out and in")
def trimmed(lab):
    datagram = lab.to_remote() / UDP(sport=4001, dport=53) / Raw(b"x" * 32)
    for length in (100, 1514, 1600, 9000, 65557):
        lab.send("vm1", claim(), datagram, length)
        frame = lab.router.expect(lambda f: UDP in f and f[UDP].dport == 53, f"the datagram in {length} bytes")
        check_equal(len(frame), len(datagram), f"what left of {length} bytes")
        check_checksums(frame)
    reply = Ether(src=lab.router.mac, dst=config.UPLINK_MAC) / IP(src=REMOTE, dst=frame[IP].src) / UDP(sport=53, dport=frame[UDP].sport) / Raw(b"y" * 4)
    lab.router.send(Raw(bytes(reply) + bytes(60 - len(reply))))
    back = lab.expect_at("vm1", lambda f: UDP in f, "the reply")
    check_equal(len(back), len(reply), "its length")


@suite.test("a checksum that was left to do is made over the packet, not over what is behind it")
def padded_partial(lab):
    lab.send("vm1", claim(**{**PARTIAL_TCP, "offset": 6}), lab.to_remote() / UDP(sport=4002, dport=54) / Raw(b"z" * 9), 1000)
    frame = lab.router.expect(lambda f: UDP in f and f[UDP].dport == 54, "the datagram")
    check_equal(len(frame), 51, "its length")
    check_checksums(frame)


@suite.test("a SYN and a bare ACK that are said to be cut into segments are ordinary frames")
def nothing_to_cut(lab):
    for number, size in enumerate((1, 64, 1448, 65535)):
        for flags in ("S", "A"):
            lab.send("vm1", super_frame(size), lab.to_remote() / TCP(sport=4100 + number, dport=83, flags=flags))
            frame = lab.router.expect(lambda f: TCP in f and f[TCP].dport == 83, f"{flags} with gso_size {size}")
            check_equal((len(frame), str(frame[TCP].flags)), (54, flags), "what left")
            check_checksums(frame)
    lab.vmnatd.check_accounting()
    check(lab.vmnatd.counters()["generated"] < 1 << 31, f"generated {lab.vmnatd.counters()['generated']}")


@suite.test("no segment is longer than the MTU, and a frame is not cut into hundreds")
def segments(lab):
    lab.send("vm1", super_frame(1448), lab.to_remote() / TCP(sport=4200, dport=81, flags="S"))
    lab.router.expect(lambda f: TCP in f and f[TCP].dport == 81, "the SYN")
    payload = Raw(bytes(range(250)) * 8)
    for to in (lab.to_remote(), lab.to_vm2()):
        to[IP].flags = "DF"
        for size in (1, 63, 1461, 1900, 1999):
            before = lab.drops()
            lab.send("vm1", super_frame(size), to / TCP(sport=4200, dport=81, flags="A") / payload)
            wait_until(lambda: sum(new_drops(lab, before).values()) == 1, f"gso_size {size} is dropped and counted")
        lab.send("vm1", super_frame(1448), to / TCP(sport=4200, dport=81, flags="A") / payload)
    arrived = lab.arrived()
    check_lengths(arrived)
    for place, frames in arrived.items():
        cut = [frame for frame in frames if TCP in frame]
        check_equal([len(frame) for frame in cut], [54 + 1448, 54 + 552], f"segments at {place}")
        for frame in cut:
            check_checksums(frame)


@suite.test("claims that contradict the frame are dropped as offload: other protocols, other places, no size, kinds not offered")
def contradictions(lab):
    data = lab.to_remote() / TCP(sport=4300, dport=82, flags="A") / Raw(bytes(4000))
    datagram = lab.to_remote() / UDP(sport=4301, dport=82) / Raw(bytes(4000))
    claims = [(super_frame(0), data), (super_frame(1448, TCP6), data), (super_frame(1448), datagram),
              (super_frame(1448, UDP_FRAGMENTS, offset=6), datagram), (super_frame(1448, 5), data),
              (super_frame(1448, start=14), data), (super_frame(1448, offset=6), data),
              (claim(NEEDS_CHECKSUM, start=60000, offset=16), data), (claim(NEEDS_CHECKSUM, start=34, offset=60000), data),
              (claim(NEEDS_CHECKSUM, start=34, offset=16), with_length(data, 5000))]
    for number, (header, frame) in enumerate(claims):
        before = lab.drops()
        lab.send("vm1", header, frame)
        wait_until(lambda: new_drops(lab, before), f"claim {number} is counted")
        check_equal(new_drops(lab, before), {"drop.offload": 1}, f"claim {number}")
    lab.settle()


@suite.test("between VMs nothing is longer than the network's MTU, whatever it holds")
def between_vms(lab):
    datagram = lab.to_vm2() / UDP(sport=5000, dport=55) / Raw(b"w" * 20)
    lab.send("vm1", claim(), datagram, 1514)
    full = lab.expect_at("vm2", lambda f: UDP in f and f[UDP].dport == 55, "a full frame")
    check_equal(len(full), 1514, "its length")
    before = lab.drops()
    for length in (1515, 2000, 9000, 65557):
        lab.send("vm1", claim(), datagram, length)
    wait_until(lambda: new_drops(lab, before) == {"drop.too_big": 4}, "four are dropped as too_big")
    check_lengths(lab.arrived())


if __name__ == "__main__":
    suite.main()
