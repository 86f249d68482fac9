#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VLAN tags on kernel interfaces, where the kernel takes a frame's outer tag off and vmnatd puts it back: of frames
that are switched, and priority tags (VLAN 0) of those that are translated; kernel_lab.py draws the wires.
"""

import contextlib
import random

from harness.tap import Skipped, Suite, check, check_equal
from harness.unfinished import NetHeader, UnfinishedWire
from harness.wire import ARP, IP, TCP, UDP, Raw, Wire
from kernel_lab import (GATEWAY, GATEWAY_MAC, MB, OUTSIDE, KernelLab, end_with_accounts, exchange_large, send_in_segments,
                        stream_in_super_frames)
from scapy.layers.l2 import Dot1AD, Dot1Q

TAGS = {"VLAN 5": Dot1Q(vlan=5, prio=3), "VLAN 4094": Dot1Q(vlan=4094, prio=7, id=1),
        "VLAN 6 in service VLAN 5": Dot1AD(vlan=5, prio=1) / Dot1Q(vlan=6, prio=2),
        "VLANs 5 and 6": Dot1Q(vlan=5, prio=1) / Dot1Q(vlan=6, prio=2)}
CONTENT = random.Random(5).randbytes(40000)

suite = Suite(KernelLab)


@contextlib.contextmanager
def neighbours(lab, wire):
    """Two stations beside the hosts of port1 and port2; the switch knows the second."""
    with contextlib.ExitStack() as scope:
        sender, receiver = (scope.enter_context(contextlib.closing(wire(host.namespace, "eth0", f"52:54:00:aa:00:2{n}")))
                            for n, host in enumerate((lab.vm1, lab.vm2)))
        announcing = scope.enter_context(contextlib.closing(Wire(lab.vm2.namespace, "eth0", receiver.mac)))
        hearing = scope.enter_context(contextlib.closing(Wire(lab.vm1.namespace, "eth0", sender.mac)))
        announcing.send(announcing.to() / ARP(op=1, hwsrc=receiver.mac, psrc="10.5.0.9", pdst="10.5.0.9"))
        hearing.expect(lambda f: f.src == receiver.mac, "the announcement")
        yield sender, receiver


@suite.test("the tag of a frame that is switched is the one it came with, priority and all; of two, both")
def kept(lab):
    with neighbours(lab, Wire) as (sender, receiver):
        for name, tags in TAGS.items():
            frame = sender.to(receiver.mac) / tags / IP(src="10.5.0.8", dst="10.5.0.9") / UDP(sport=1, dport=2) / Raw(b"tagged")
            sender.send(frame)
            seen = receiver.expect(lambda f: f.src == sender.mac, f"the frame of {name}")
            check_equal(bytes(seen).hex(" "), bytes(frame).hex(" "), f"the frame of {name}")


UNFINISHED = {"TCP super-frame": (TCP(sport=1, dport=2, flags="A"), 40000, 1448), "UDP super-frame": (UDP(sport=1, dport=2), 40000, 1000),
              "UDP super-frame of one segment and a byte": (UDP(sport=1, dport=2), 1001, 1000),
              "partial checksum of UDP": (UDP(sport=1, dport=2), 900, 0), "partial checksum of TCP": (TCP(sport=1, dport=2, flags="A"), 900, 0)}

for each in UNFINISHED:
    @suite.test(f"{each}: it stays one, and its tags are those it came with")
    def kept_by_unfinished(lab, kind=each):
        l4, size, segment = UNFINISHED[kind]
        with neighbours(lab, UnfinishedWire) as (sender, receiver), lab.nothing_broken():
            for name, tags in TAGS.items():
                frame = sender.to(receiver.mac) / tags / IP(src="10.5.0.8", dst="10.5.0.9") / l4 / Raw(CONTENT[:size])
                sent = sender.send_unfinished(frame, segment)
                header, seen = receiver.receive_from(sender.mac)
                check_equal(seen[:80].hex(" "), sent[:80].hex(" "), f"the start of the frame of {name}")
                check(seen == sent, f"the frame of {name} is another one further on")
                expected = NetHeader.of(frame, segment, beside=len(Dot1Q()))
                check_equal(header._replace(headers_length=expected.headers_length), expected, f"what is left to do with that of {name}")


@suite.test("a super-frame with a priority tag is translated as any other, both ways, and arrives in datagrams")
def priority_of_super_frame(lab):
    inside, outside = lab.udp_flow(lab.vm1, lab.outside)
    external = outside.getpeername()
    for host, to, here, there, receiver in (
            (lab.vm1, GATEWAY_MAC, (lab.vm1.address, inside.getsockname()[1]), (OUTSIDE, outside.getsockname()[1]), outside),
            (lab.outside, lab.port("uplink")["mac"], (OUTSIDE, outside.getsockname()[1]), external, inside)):
        with UnfinishedWire(host.namespace, "eth0", lab.link("eth0", host.namespace)["address"]) as wire, lab.nothing_broken():
            wire.send_unfinished(wire.to(to) / Dot1Q(vlan=0, prio=5) / IP(src=here[0], dst=there[0]) /
                                 UDP(sport=here[1], dport=there[1]) / Raw(CONTENT), 1000)
            for at in range(0, len(CONTENT), 1000):
                check(receiver.recv(65536) == CONTENT[at:at + 1000], f"the datagram from byte {at} is another one")


# --- the kernel's own VLANs -------------------------------------------------------------------------------------------

@contextlib.contextmanager
def vlan(host, number, address, *keys):
    name = f"eth0.{number}"
    made = host.run("ip", "link", "add", "link", "eth0", "name", name, "type", "vlan", "id", number, *keys, check=False)
    if "Unknown device type" in made.stderr:
        raise Skipped("this kernel has no VLAN interfaces")
    check_equal(made.returncode, 0, made.stderr)
    try:
        host.run("ip", "address", "add", address, "dev", name)
        host.run("ip", "link", "set", name, "up")
        yield name
    finally:
        host.run("ip", "link", "delete", name)


@suite.test("a VLAN between two VMs passes: ping, TCP in super-frames, datagrams in super-frames and fragments")
def vlans(lab):
    with vlan(lab.vm1, 5, "10.5.0.1/24"), vlan(lab.vm2, 5, "10.5.0.2/24"):
        lab.vm1.run("ping", "-n", "-c", 3, "-i", "0.2", "-w", 30, "-s", 1400, "10.5.0.2")
        for order, port in ((1, "vm2"), (-1, "vm1")):
            ends = lab.connect(lab.vm1, lab.vm2, at="10.5.0.2")
            stream_in_super_frames(lab, ends[::order], port, 16 * MB)
        with lab.nothing_broken():
            ends = lab.udp_flow(lab.vm1, lab.vm2, at="10.5.0.2")
            send_in_segments(*ends, 1000, 60333)
            exchange_large(ends, 4)


@suite.test("a host that tags all its frames with a priority, TCP's super-frames too, is translated as any other")
def priority(lab):
    vm, name = lab.vm1, "eth0.0"
    with vlan(vm, 0, f"{vm.address}/32", "egress-qos-map", "0:5"):
        vm.run("ip", "neigh", "replace", GATEWAY, "lladdr", GATEWAY_MAC, "dev", name, "nud", "permanent")
        vm.run("ip", "route", "replace", OUTSIDE, "via", GATEWAY, "dev", name, "onlink")
        try:
            stream_in_super_frames(lab, lab.connect(vm, lab.outside), "uplink", 16 * MB)
            with lab.nothing_broken():
                ends = lab.udp_flow(vm, lab.outside)
                send_in_segments(*ends, 1000, 60333)
                exchange_large(ends, 4)
        finally:
            vm.run("ip", "route", "delete", OUTSIDE)


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
