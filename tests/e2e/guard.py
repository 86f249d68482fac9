#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The spoof guard on veth ports: who may send from which MAC and address; veth_lab.py draws the wires.

    vm1   guard: on, its MAC and 192.168.122.10 from the configuration
    vm2   guard: on, a DHCP lease sometimes
    vm3   a device as it comes: guard off
    vm5   on vm3's network, where nobody owns anything: guard on
"""

import contextlib

from harness import config
from harness.tap import Suite, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, TCP, UDP, Ether, Raw
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Advertise, DHCP6_Solicit
from scapy.layers.eap import EAPOL
from scapy.layers.inet6 import (
    ICMPv6EchoRequest, ICMPv6MLReport2, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, ICMPv6ND_Redirect, ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting, PadN, RouterAlert)
from scapy.layers.l2 import LLC, SNAP, STP, Dot1Q, Dot3
from veth_lab import FORWARDED, GATEWAY_MACS, REMOTE, VethLab, end_with_accounts, times

STRANGER_MAC = "52:54:00:aa:00:99"
LEASED = "192.168.122.100"
PUNTED = {"received": 1, "punted": 1}
ANSWERED = {"received": 1, "punted": 1, "injected": 1, "transmitted": 1}  # by control


def make_lab(scope):
    lab = VethLab(scope, guests=("default", "default", "lab", "alone", "lab"),
                  networks={"default": {"dhcp": config.dhcp(LEASED, "192.168.122.109")}},
                  ports={"vm1": {"guard": "on", "mac": "52:54:00:aa:00:01", "address": "192.168.122.10"},
                         "vm2": {"guard": "on"}, "vm5": {"guard": "on"}})
    lab.vm5 = lab.guests[4]
    lab.settle()
    return lab


suite = Suite(make_lab)


def spoofed(reason, number=1):
    return {"received": number, "dropped": {f"drop.spoofed_{reason}": number}}


def refused(reason, number=1):
    return {"received": number, "dropped": {f"drop.{reason}": number}}


def snap(wire, inner, type_):
    return Dot3(src=wire.mac, dst=BROADCAST) / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=type_) / inner


def tagged(wire, inner, type_):
    return wire.to() / Dot1Q(vlan=0, type=type_) / inner


def snap_in_tag(wire, inner, type_):
    within = bytes(snap(wire, inner, type_))[12:]
    return wire.to() / Dot1Q(vlan=0, type=int.from_bytes(within[:2], "big")) / Raw(within[2:])


def tag_in_snap(wire, inner, type_):
    return snap(wire, Raw(bytes(tagged(wire, inner, type_))[14:]), 0x8100)


def two_tags(wire, inner, type_):
    return wire.to() / Dot1Q(vlan=0, type=0x88A8) / Dot1Q(vlan=0, type=type_) / inner


WRAPPED = {"SNAP": snap, "VLAN 0": tagged, "SNAP in VLAN 0": snap_in_tag, "VLAN 0 in SNAP": tag_in_snap, "two tags": two_tags}


def ipv6_to_all(guest):
    return guest.wire.to("33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1", hlim=255)


def without_priority(raw):
    """The frame without the tags of VLAN 0 that stand first."""
    while raw[12:14] in (b"\x81\0", b"\x88\xa8") and int.from_bytes(raw[14:16], "big") & 0xFFF == 0:
        raw = raw[:12] + raw[16:]
    return raw


def expect_delivered(lab, sender, receiver, frame):
    """The frame reaches the other VM as it is, but for a priority tag."""
    raw = without_priority(bytes(frame))
    with lab.counting(**FORWARDED):
        sender.wire.send(frame)
        receiver.expect(lambda f: bytes(f)[:len(raw)] == raw, f"the frame {frame.summary()}")


def to_gateway(guest, source, mac=None):
    return (Ether(src=mac or guest.wire.mac, dst=GATEWAY_MACS[guest.network]) / IP(src=source, dst=REMOTE) /
            UDP(sport=4000, dport=53) / Raw(b"who am I"))


def claim(guest, address, mac=None, op=2):
    """An ARP announcement or reply to all; `mac` stands in the ARP alone."""
    return guest.wire.to() / ARP(op=op, hwsrc=mac or guest.wire.mac, psrc=address, pdst=address)


def dhcp_message(guest, kind, *options, source="0.0.0.0", mac=None, to=None):
    mac = mac or guest.wire.mac
    return (Ether(src=mac, dst=GATEWAY_MACS[guest.network] if to else BROADCAST) /
            IP(src=source, dst=to or "255.255.255.255") / UDP(sport=68, dport=67) /
            BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=7, ciaddr=source) /
            DHCP(options=[("message-type", kind), *options, "end"]))


def bind(lab, guest, address, mac=None):
    """Takes a lease; the server's choice is asked for, so that it is known."""
    with lab.counting(**ANSWERED):
        guest.wire.send(dhcp_message(guest, "request", ("requested_addr", address), ("server_id", guest.gateway), mac=mac))
        ack = guest.expect(lambda f: DHCP in f, "the ACK")
    check_equal((dict(o for o in ack[DHCP].options if isinstance(o, tuple))["message-type"], ack[BOOTP].yiaddr),
                (5, address), "the ACK")


@contextlib.contextmanager
def lease(lab, guest, address=LEASED):
    """The guest has the address inside the block."""
    bind(lab, guest, address)
    yield
    with lab.counting(**PUNTED):
        guest.wire.send(dhcp_message(guest, "release", ("server_id", guest.gateway), source=address, to=guest.gateway))
    wait_until(lambda: "bound" not in [row["state"] for row in lab.vmnatd.ctl("leases")], "the lease is over")


def guards(lab):
    return {port["name"]: port["guard"] for port in lab.vmnatd.ctl("ports") if "guard" in port}


def expect_passes(lab, guest, source):
    with lab.counting(**FORWARDED):
        guest.wire.send(to_gateway(guest, source))
        lab.router.expect(lambda f: UDP in f, f"the datagram of {source}")


@suite.test("a port with a MAC and an address of its own sends from these alone")
def configured(lab):
    expect_passes(lab, lab.vm1, lab.vm1.address)
    for source in ("192.168.122.77", lab.vm2.address, lab.vm1.gateway, "192.168.5.10", REMOTE, "127.0.0.1", "0.0.0.0"):
        with lab.counting(**spoofed("address")):
            lab.vm1.wire.send(to_gateway(lab.vm1, source))
    for mac in (STRANGER_MAC, lab.vm2.wire.mac, GATEWAY_MACS["default"]):
        with lab.counting(**spoofed("mac")):
            lab.vm1.wire.send(to_gateway(lab.vm1, lab.vm1.address, mac))
    check_equal([f.summary() for f in lab.router.drain()], [], "frames on the uplink")


@suite.test("to another VM the same holds: nobody is sent to in a neighbour's name")
def between_vms(lab):
    frame = lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP(sport=1, dport=2)
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(frame)
        lab.vm2.expect(lambda f: UDP in f, "the datagram")
    frame[IP].src = "192.168.122.77"
    with lab.counting(**spoofed("address", 2)):
        lab.vm1.wire.send(frame)
        frame[IP].chksum = 1  # a header that no router would take: it is only switched
        lab.vm1.wire.send(frame)
    check_equal([f.summary() for f in lab.vm2.wire.drain()], [], "frames at the other VM")


@suite.test("by ARP a VM announces, asks and answers for itself alone; a probe asks for whom it likes")
def arp(lab):
    with lab.counting(**times(2, FORWARDED)):
        for op in (1, 2):
            lab.vm1.wire.send(claim(lab.vm1, lab.vm1.address, op=op))
            lab.vm2.expect(lambda f: ARP in f, "the announcement")
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(lab.vm1.wire.to() / ARP(op=1, hwsrc=lab.vm1.wire.mac, psrc="0.0.0.0", pdst="192.168.122.77"))
        lab.vm2.expect(lambda f: ARP in f, "the probe")
    for address in (lab.vm1.gateway, lab.vm2.address, "192.168.122.77"):
        with lab.counting(**spoofed("address", 2)):
            lab.vm1.wire.send(claim(lab.vm1, address, op=1))
            lab.vm1.wire.send(claim(lab.vm1, address))
    for mac in (STRANGER_MAC, lab.vm2.wire.mac, GATEWAY_MACS["default"]):
        with lab.counting(**spoofed("mac")):
            lab.vm1.wire.send(claim(lab.vm1, lab.vm1.address, mac))
    check_equal([f.summary() for f in lab.vm2.wire.drain()], [], "frames at the other VM")


@suite.test("a tag of VLAN 0, which guests look through, hides nothing")
def in_vlan_0(lab):
    for inner, type_ in ((ARP(op=2, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.gateway), 0x0806),
                         (IP(src=lab.vm1.gateway, dst=lab.vm2.address) / UDP(), 0x0800)):
        with lab.counting(**spoofed("address")):
            lab.vm1.wire.send(lab.vm1.wire.to() / Dot1Q(vlan=0, type=type_) / inner)


@suite.test("nor does LLC/SNAP, which some stacks take for Ethernet's own, nor tags and SNAP within each other")
def in_snap(lab):
    wire = lab.vm1.wire
    spoofed_content = [(ARP(op=2, hwsrc=wire.mac, psrc=lab.vm1.gateway), 0x0806),
                       (ARP(op=2, hwsrc=wire.mac, psrc=lab.vm2.address), 0x0806),
                       (IP(src=lab.vm1.gateway, dst=lab.vm2.address) / UDP(sport=1, dport=2), 0x0800)]
    for inner, type_ in spoofed_content:
        with lab.counting(**spoofed("address", len(WRAPPED))):
            for wrapped in WRAPPED.values():
                wire.send(wrapped(wire, inner, type_))
    own = IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP(sport=1, dport=2)
    for wrapped in WRAPPED.values():
        expect_delivered(lab, lab.vm1, lab.vm2, wrapped(wire, own, 0x0800))
    check_equal([f.summary() for f in lab.vm2.wire.drain()], [], "frames at the other VM")


@suite.test("a VM is no router to its neighbours: advertisements and redirects, behind whatever headers, in whatever fragments")
def rogue_router(lab):
    adverts = (ICMPv6ND_RA(routerlifetime=1800), ICMPv6ND_RA() / ICMPv6NDOptSrcLLAddr(lladdr=lab.vm1.wire.mac),
               ICMPv6ND_Redirect(tgt="fe80::1", dst="2001:db8::1"))
    chains = [lambda x: x, lambda x: IPv6ExtHdrHopByHop() / x, lambda x: IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt() / x,
              lambda x: IPv6ExtHdrRouting(addresses=["fe80::9"], segleft=0) / x,
              lambda x: IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(200))]) / x,
              lambda x: IPv6ExtHdrFragment(id=7) / x, lambda x: IPv6ExtHdrFragment(id=7, m=1) / IPv6ExtHdrDestOpt() / x]
    with lab.counting(**refused("rogue_router", len(adverts) * len(chains))):
        for advert in adverts:
            for chain in chains:
                lab.vm1.wire.send(ipv6_to_all(lab.vm1) / chain(advert))
    for wrapped in WRAPPED.values():
        with lab.counting(**refused("rogue_router")):
            lab.vm1.wire.send(wrapped(lab.vm1.wire, (ipv6_to_all(lab.vm1) / adverts[0])[IPv6], 0x86DD))
    first_without_it = bytes(IPv6ExtHdrDestOpt(nh=58, len=20)) + bytes(38)
    with lab.counting(**refused("ipv6_hidden", 2)):
        lab.vm1.wire.send(ipv6_to_all(lab.vm1) / IPv6ExtHdrFragment(nh=60, id=8, m=1) / Raw(first_without_it[:40]))
        lab.vm1.wire.send(ipv6_to_all(lab.vm1) / IPv6ExtHdrFragment(nh=58, id=9, m=1) / Raw(bytes(ICMPv6ND_NA())))
    check_equal([f.summary() for f in lab.vm2.wire.drain()], [], "frames at the other VM")


@suite.test("a VM is no DHCP server to its neighbours, of either IP")
def rogue_dhcp(lab):
    vm1, to_vm2 = lab.vm1, lab.vm1.wire.to(lab.vm2.wire.mac)
    offer = UDP(sport=67, dport=68) / BOOTP(op=2, yiaddr="192.168.122.200") / DHCP(options=[("message-type", "offer"), "end"])
    dhcpv6 = UDP(sport=547, dport=546) / DHCP6_Advertise(trid=7)
    frames = [vm1.wire.to() / IP(src=vm1.address, dst="255.255.255.255") / offer,
              to_vm2 / IP(src=vm1.address, dst=lab.vm2.address) / offer,
              ipv6_to_all(vm1) / dhcpv6, ipv6_to_all(vm1) / IPv6ExtHdrDestOpt() / dhcpv6,
              ipv6_to_all(vm1) / IPv6ExtHdrFragment(id=7, m=1) / dhcpv6,
              vm1.wire.to() / Dot1Q(vlan=0) / IP(src=vm1.address, dst="255.255.255.255") / offer]
    with lab.counting(**refused("rogue_dhcp", len(frames))):
        for frame in frames:
            vm1.wire.send(frame)
    check_equal([f.summary() for f in lab.vm2.wire.drain()], [], "frames at the other VM")


@suite.test("where vmnatd gives no leases a VM may give DHCP's, and without a guard it may be a router, too")
def allowed_service(lab):
    offer = UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=[("message-type", "offer"), "end"])
    expect_delivered(lab, lab.vm5, lab.vm3, lab.vm5.wire.to() / IP(src=lab.vm5.address, dst="255.255.255.255") / offer)
    with lab.counting(**refused("rogue_router")):
        lab.vm5.wire.send(ipv6_to_all(lab.vm5) / ICMPv6ND_RA())
    expect_delivered(lab, lab.vm3, lab.vm5, ipv6_to_all(lab.vm3) / ICMPv6ND_RA())


@suite.test("IPv6's neighbours name their own MAC alone; honest IPv6 passes untouched")
def honest_ipv6(lab):
    vm1, own = lab.vm1, lab.vm1.wire.mac
    for frame in (ICMPv6ND_NS(tgt="fe80::2") / ICMPv6NDOptSrcLLAddr(lladdr=lab.vm2.wire.mac),
                  ICMPv6ND_NA(tgt="fe80::2") / ICMPv6NDOptDstLLAddr(lladdr=lab.vm2.wire.mac),
                  ICMPv6ND_NA(tgt="fe80::1") / ICMPv6NDOptDstLLAddr(lladdr=GATEWAY_MACS["default"]),
                  ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=STRANGER_MAC)):
        with lab.counting(**spoofed("mac")):
            vm1.wire.send(ipv6_to_all(vm1) / frame)
    for content in (ICMPv6ND_NS(tgt="fe80::2") / ICMPv6NDOptSrcLLAddr(lladdr=own), ICMPv6ND_NS(tgt="fe80::2"),
                    ICMPv6ND_NA(tgt="fe80::1") / ICMPv6NDOptDstLLAddr(lladdr=own), ICMPv6ND_RS(),
                    ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=own), ICMPv6EchoRequest(data=b"hello"),
                    IPv6ExtHdrHopByHop(options=[RouterAlert()]) / ICMPv6MLReport2(), UDP(sport=546, dport=547) / DHCP6_Solicit(),
                    IPv6ExtHdrFragment(id=3, m=1) / ICMPv6EchoRequest(data=bytes(100)),
                    IPv6ExtHdrFragment(id=3, nh=58, offset=13) / Raw(bytes(40)), TCP(sport=1, dport=2, flags="S")):
        expect_delivered(lab, vm1, lab.vm2, ipv6_to_all(vm1) / content)


@suite.test("what bridges keep to themselves crosses from no port, guarded or not")
def reserved_groups(lab):
    for sender, receiver in ((lab.vm1, lab.vm2), (lab.vm5, lab.vm3), (lab.vm3, lab.vm5)):
        frames = [Dot3(src=sender.wire.mac, dst="01:80:c2:00:00:00") / LLC() / STP(),
                  sender.wire.to("01:80:c2:00:00:01") / Raw(bytes.fromhex("00010001")),  # PAUSE
                  sender.wire.to("01:80:c2:00:00:02") / Raw(bytes(46)),                  # LACP
                  sender.wire.to("01:80:c2:00:00:03") / EAPOL(),                         # 802.1X
                  sender.wire.to("01:80:c2:00:00:0e") / Raw(bytes(46)),                  # LLDP
                  sender.wire.to(receiver.wire.mac) / Raw(bytes.fromhex("0001ffff"))]    # PAUSE to one station
        for frame, type_ in zip(frames, (None, 0x8808, 0x8809, 0x888E, 0x88CC, 0x8808)):
            if type_:
                frame[Ether].type = type_
        frames += [sender.wire.to(f"01:80:c2:00:00:{last:02x}") / IP(src=sender.address, dst="224.0.0.251") / UDP(sport=1, dport=2)
                   for last in range(16)]
        with lab.counting(**refused("reserved_group", len(frames))):
            for frame in frames:
                sender.wire.send(frame)
        check_equal([f.summary() for f in receiver.wire.drain()], [], "frames at the other VM")
    with lab.counting(received=2, dropped={"drop.not_for_us": 1, "drop.ether_type": 1}):  # nor from the uplink
        lab.router.send(lab.router.to("01:80:c2:00:00:00") / IP(src=REMOTE, dst="224.0.0.1") / UDP(sport=1, dport=2))
        lldp = lab.router.to("01:80:c2:00:00:0e") / Raw(bytes(46))
        lldp.type = 0x88CC
        lab.router.send(lldp)


@suite.test("of IPv6 the source MAC is looked at")
def ipv6(lab):
    frame = lab.vm1.wire.to("33:33:00:00:00:01") / IPv6(src="fe80::77", dst="ff02::1") / UDP(sport=1, dport=2)
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(frame)
        lab.vm2.expect(lambda f: IPv6 in f, "the datagram")
    frame.src = STRANGER_MAC
    with lab.counting(**spoofed("mac")):
        lab.vm1.wire.send(frame)


@suite.test("without a lease a VM sends as it likes, but in nobody else's name and not in the gateway's")
def before_the_lease(lab):
    for source in (lab.vm2.address, "192.168.122.77"):
        expect_passes(lab, lab.vm2, source)
    for source in (lab.vm1.address, lab.vm2.gateway):
        with lab.counting(**spoofed("address", 2)):
            lab.vm2.wire.send(to_gateway(lab.vm2, source))
            lab.vm2.wire.send(claim(lab.vm2, source))
    with lab.counting(**spoofed("mac", 2)):
        lab.vm2.wire.send(to_gateway(lab.vm2, lab.vm2.address, lab.vm1.wire.mac))
        lab.vm2.wire.send(to_gateway(lab.vm2, lab.vm2.address, GATEWAY_MACS["default"]))
    frame = lab.vm2.wire.to(lab.vm1.wire.mac) / IP(src=lab.vm2.address, dst=lab.vm1.address) / UDP(sport=3, dport=4)
    with lab.counting(**FORWARDED):
        lab.vm2.wire.send(frame)
        lab.vm1.expect(lambda f: UDP in f, "what is for vm1's MAC, which the switch still knows at vm1")


@suite.test("a lease makes its MAC and address the port's own, from the ACK on; a release gives them back")
def with_a_lease(lab):
    expect_passes(lab, lab.vm2, lab.vm2.address)
    check_equal(guards(lab), {"vm1": "mac and address", "vm2": "others", "vm3": "gateway", "vm4": "gateway", "vm5": "gateway"}, "guards")
    with lease(lab, lab.vm2):
        check_equal(guards(lab)["vm2"], "mac and address", "vm2's guard")
        expect_passes(lab, lab.vm2, LEASED)
        with lab.counting(**spoofed("address", 2)):
            lab.vm2.wire.send(to_gateway(lab.vm2, lab.vm2.address))  # its session is of before the lease
            lab.vm2.wire.send(claim(lab.vm2, lab.vm2.gateway))
        with lab.counting(**spoofed("mac")):
            lab.vm2.wire.send(to_gateway(lab.vm2, LEASED, STRANGER_MAC))
        with lab.counting(**spoofed("address")):
            lab.vm1.wire.send(to_gateway(lab.vm1, LEASED))
    expect_passes(lab, lab.vm2, lab.vm2.address)


@suite.test("a second MAC behind the port may ask for a lease of its own, and then sends from that as well")
def second_lease(lab):
    with lease(lab, lab.vm2):
        second = "192.168.122.101"
        bind(lab, lab.vm2, second, STRANGER_MAC)
        with lab.counting(**times(2, FORWARDED)):
            for mac, source in ((STRANGER_MAC, second), (lab.vm2.wire.mac, LEASED)):
                lab.vm2.wire.send(to_gateway(lab.vm2, source, mac))
                lab.router.expect(lambda f: UDP in f, f"the datagram of {source}")
        with lab.counting(**spoofed("address")):
            lab.vm2.wire.send(to_gateway(lab.vm2, "192.168.122.102", STRANGER_MAC))
        with lab.counting(**PUNTED):
            lab.vm2.wire.send(dhcp_message(lab.vm2, "release", ("server_id", lab.vm2.gateway), source=second,
                                           mac=STRANGER_MAC, to=lab.vm2.gateway))


@suite.test("an address in the configuration is reserved: DHCP gives it to that port's VM and to no other")
def reserved(lab):
    bind(lab, lab.vm1, lab.vm1.address)
    expect_passes(lab, lab.vm1, lab.vm1.address)
    with lab.counting(**PUNTED):
        lab.vm1.wire.send(dhcp_message(lab.vm1, "release", ("server_id", lab.vm1.gateway), source=lab.vm1.address,
                                       to=lab.vm1.gateway))
    with lab.counting(**ANSWERED):
        lab.vm2.wire.send(dhcp_message(lab.vm2, "discover", ("requested_addr", lab.vm1.address)))
        offer = lab.vm2.expect(lambda f: DHCP in f, "the offer")
    check_equal(offer[BOOTP].yiaddr != lab.vm1.address, True, "another address is offered")


@suite.test("a device, which may lead to a whole segment, is held to nothing but that it is not the gateway")
def device(lab):
    for source, mac in ((lab.vm3.address, None), ("192.168.5.77", STRANGER_MAC)):
        with lab.counting(**FORWARDED):
            lab.vm3.wire.send(to_gateway(lab.vm3, source, mac))
            lab.router.expect(lambda f: UDP in f, "the datagram")
    with lab.counting(**spoofed("address", 2)):
        lab.vm3.wire.send(to_gateway(lab.vm3, lab.vm3.gateway))
        lab.vm3.wire.send(claim(lab.vm3, lab.vm3.gateway))
    with lab.counting(**spoofed("mac")):
        lab.vm3.wire.send(to_gateway(lab.vm3, lab.vm3.address, GATEWAY_MACS["lab"]))


@suite.test("a lease of before kill -9 is guarded from the first frame on")
def after_a_restart(lab):
    bind(lab, lab.vm2, LEASED)
    lab.vmnatd.check_accounting()
    lab.vmnatd.kill()
    lab.vmnatd.start()
    with lab.counting(**spoofed("address", 2)):
        lab.vm2.wire.send(to_gateway(lab.vm2, lab.vm2.address))
        lab.vm1.wire.send(to_gateway(lab.vm1, LEASED))
    with lab.counting(**FORWARDED):
        lab.vm2.wire.send(lab.vm2.wire.to(GATEWAY_MACS["default"]) / IP(src=LEASED, dst=lab.vm2.gateway) / ICMP())
        lab.vm2.expect(lambda f: ICMP in f, "the gateway's answer")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
