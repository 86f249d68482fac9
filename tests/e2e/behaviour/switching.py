# SPDX-License-Identifier: Apache-2.0
"""The segment: frames between VMs are nobody's business, and ARP is answered for the gateway alone."""

from harness.wire import ARP

from .case import IP, TCP, UDP, Differs, case
from .frames import bytes_of_mac
from .gateway import EXTERNAL, MACS, UPLINK_MAC
from .leaks import BROADCAST, PRIORITY_TAGS, ipv6, tagged

MULTICAST = "01:00:5e:00:00:fb"


def between(t, l4, **fields):
    return t.vm1.ether(t.vm2.mac) / IP(src=t.vm1.address, dst=t.vm2.address, **fields) / l4


@case("VMs of one network reach each other untouched: addresses, ports, TTL, checksums")
def neighbours(t):
    for l4 in (UDP(sport=1, dport=2) / b"hello", TCP(sport=3, dport=4, flags="PA") / b"mid-stream is nobody's business"):
        frame = between(t, l4, ttl=1)
        t.put(t.vm1, frame, vm2=[frame])


@case("what the NAT would drop passes between VMs: bad checksums, options, another version")
def anything(t):
    for frame in (between(t, UDP(sport=1, dport=2, chksum=0x1234) / b"bad UDP checksum"),
                  between(t, UDP(sport=1, dport=2) / b"bad IPv4 checksum", chksum=0x1234),
                  between(t, UDP(sport=1, dport=2), options=[b"\x83\x07\x04\xc0\x00\x02\x09\x00"]),
                  between(t, b"version 5", version=5)):
        t.put(t.vm1, frame, vm2=[frame])


@case("IPv6, VLAN-tagged and unknown Ethernet types pass between VMs")
def any_type(t):
    unknown = bytes_of_mac(t.vm2.mac) + bytes_of_mac(t.vm1.mac) + b"\x88\xb5" + bytes(50)
    for frame in (ipv6(t.vm1.mac, t.vm2.mac), tagged(between(t, UDP(sport=1, dport=2))), unknown):
        t.put(t.vm1, frame, vm2=[frame])


@case("broadcast, multicast and unknown destinations are flooded on the network, and on no other")
def flooded(t):
    for mac in (BROADCAST, MULTICAST, "33:33:00:00:00:01", "52:54:00:bb:bb:bb"):
        frame = between(t, UDP(sport=5353, dport=5353) / b"to all")
        frame.dst = mac
        t.put(t.vm1, frame, vm2=[frame])


@case("multicast, limited and directed broadcast of a VM stay on its network")
def link_scope(t):
    for destination, mac in (("224.0.0.251", MULTICAST), ("255.255.255.255", BROADCAST), ("192.168.122.255", BROADCAST)):
        frame = t.vm1.ether(mac) / IP(src=t.vm1.address, dst=destination) / UDP(sport=5353, dport=5353) / b"to all"
        t.put(t.vm1, frame, vm2=[frame])


def answer(asker, asked, mac, to_mac=None):
    frame = asker.ether() / ARP(op=2, hwsrc=mac, psrc=asked, hwdst=asker.mac, pdst=asker.address)
    frame.src, frame.dst = mac, to_mac or asker.mac
    return Padded(bytes(frame))


class Padded:
    """The frame, perhaps with padding behind it."""

    def __init__(self, raw):
        self.raw = raw

    def fault(self, raw):
        return "" if raw.startswith(self.raw) and not any(raw[len(self.raw):]) else f"is {raw.hex(' ')}"


for each_guest in ("vm1", "vm3", "vm4", "vm5"):
    @case(f"{each_guest}'s ARP request for its gateway is answered with that network's MAC, by broadcast and by unicast")
    def gateway_arp(t, name=each_guest):
        guest = getattr(t, name)
        for to in (BROADCAST, guest.gateway_mac):
            request = guest.arp(1, guest.gateway, to=to)
            reply = {guest.name: [answer(guest, guest.gateway, guest.gateway_mac)]}
            has_neighbours = name == "vm1" and to == BROADCAST
            t.put(guest, request, **reply,
                  kernel=Differs("floods it as well", **reply, vm2=[request]) if has_neighbours else None)


@case("an ARP request for a neighbour is for the neighbour to answer")
def neighbour_arp(t):
    request = t.vm1.arp(1, t.vm2.address)
    t.put(t.vm1, request, vm2=[request])


@case("the gateway answers ARP for no address but its own")
def no_proxy_arp(t):
    for address in (t.vm3.gateway, EXTERNAL, "198.51.100.2"):
        request = t.vm1.arp(1, address)
        there = Differs("answers for any address that the host has, on every network",
                        vm1=[answer(t.vm1, address, MACS["default"])], vm2=[request])
        t.put(t.vm1, request, vm2=[request], kernel=None if address.startswith("198.51") else there)


@case("an ARP probe and a gratuitous ARP are flooded, and not answered")
def announcements(t):
    probe = t.vm1.arp(1, t.vm1.address)
    probe[ARP].psrc = "0.0.0.0"
    for frame in (probe, t.vm1.arp(1, t.vm1.address), t.vm1.arp(2, t.vm1.address)):
        t.put(t.vm1, frame, vm2=[frame])


@case("on the uplink ARP is answered for the external address, and for no inside one")
def uplink_arp(t):
    t.put(t.router, t.router.arp(1, EXTERNAL), router=[answer(t.router, EXTERNAL, UPLINK_MAC)])
    for address in (t.vm1.address, "203.0.113.99", "198.51.100.2"):
        t.put(t.router, t.router.arp(1, address), drop="arp_unasked")
    inside = t.router.arp(1, t.vm1.gateway)
    t.put(t.router, inside, drop="arp_unasked", kernel=Differs("answers for any address that the host has",
                                                               router=[answer(t.router, t.vm1.gateway, UPLINK_MAC)]))


@case("a priority-tagged ARP request is answered, inside and on the uplink")
def tagged_arp(t):
    for kind, control in PRIORITY_TAGS:
        request = t.vm1.arp(1, t.vm1.gateway, to=MACS["default"])
        t.put(t.vm1, tagged(request, kind, control), vm1=[answer(t.vm1, t.vm1.gateway, MACS["default"])])
        t.put(t.router, tagged(t.router.arp(1, EXTERNAL), kind, control), router=[answer(t.router, EXTERNAL, UPLINK_MAC)])


@case("a priority-tagged packet between VMs arrives, untagged", kernel="its bridge passes the tag on")
def tagged_neighbours(t):
    for kind, control in PRIORITY_TAGS:
        frame = between(t, UDP(sport=1, dport=2) / b"tagged")
        t.put(t.vm1, tagged(frame, kind, control), vm2=[frame])


@case("ARP that is cut short or not for Ethernet and IPv4 goes nowhere")
def bad_arp(t):
    good = bytes(t.vm1.arp(1, t.vm1.gateway, to=MACS["default"]))
    for bad in (good[:40], good[:20], good[:14] + b"\x00\x07" + good[16:], good[:16] + b"\x86\xdd" + good[18:],
                good[:18] + b"\x08" + good[19:], good[:19] + b"\x10" + good[20:]):
        t.put(t.vm1, bad, drop="arp_malformed")
    good = bytes(t.router.arp(1, EXTERNAL))
    t.put(t.router, good[:40], drop="arp_malformed")
