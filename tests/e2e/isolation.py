#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What stays apart, on veth ports: VMs of isolated ports, networks, IPv6 and VLANs; veth_lab.py draws the wires.

    default   isolated_ports: true, DHCP    vm1, vm2
    lab       as it comes                   vm3, vm6, and vm7, vm8 in the group web
    alone     forward: none, DHCP           vm4, vm5
"""

from harness import config
from harness.tap import Suite, check_equal
from harness.wire import ARP, ICMP, IP, TCP, UDP, Ether, Raw, check_checksums
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet6 import IPv6, ICMPv6EchoRequest
from scapy.layers.l2 import Dot1Q
from veth_lab import FORWARDED, GATEWAY_MACS, REMOTE, VethLab, end_with_accounts, times

OFFERED = {"received": 1, "punted": 1, "injected": 1, "transmitted": 1}
PROHIBITED = (3, 13)
FORWARD = {"protocol": "tcp", "port": 8080, "to": "192.168.122.11:80"}


def make_lab(scope):
    lab = VethLab(scope, guests=("default", "default", "lab", "alone", "alone", "lab", "lab", "lab"),
                  ports={"vm7": {"group": "web"}, "vm8": {"group": "web"}},
                  networks={"default": {"isolated_ports": True, "dhcp": config.dhcp("192.168.122.100", "192.168.122.109", check_before_offer=False)},
                            "alone": {"dhcp": config.dhcp("192.168.9.100", "192.168.9.109", check_before_offer=False)}},
                  default={"forwards": [FORWARD]})
    lab.vm5, lab.vm6, lab.vm7, lab.vm8 = lab.guests[4:]
    lab.vm2.answer_arp()  # as the target of a forward it is asked for
    lab.settle()
    return lab


suite = Suite(make_lab)


def dropped(reason, number=1):
    return {"received": number, "dropped": {f"drop.{reason}": number}}


def refused(reason, number=1):
    return dropped(reason, number) | {"generated": number, "transmitted": number}


def to(guest, other, payload=b"hello neighbour, this frame is not touched by anybody"):
    return (guest.wire.to(other.wire.mac) / IP(src=guest.address, dst=other.address) / UDP(sport=1, dport=2) /
            Raw(payload))


def expect_delivered(lab, frame, sender, receivers, **counted):
    """The frame reaches these VMs as it was sent, and nobody else."""
    with lab.counting(**counted):
        sender.wire.send(frame)
        for receiver in receivers:
            seen = receiver.expect(lambda f: bytes(f)[:len(frame)] == bytes(frame), "the frame")
            check_equal(bytes(seen), bytes(frame), "the frame, byte by byte")
    check_equal(seen_anywhere(lab), [], "frames elsewhere")


def seen_anywhere(lab):
    return [f.summary() for wire in (lab.router, *(guest.wire for guest in lab.guests)) for f in wire.drain()]


def expect_gateway(lab, guest):
    """The gateway answers ARP, ping and DHCP."""
    with lab.counting(**times(2, FORWARDED)):
        guest.wire.send(guest.wire.to() / ARP(op=1, hwsrc=guest.wire.mac, psrc=guest.address, pdst=guest.gateway))
        answer = guest.expect(lambda f: ARP in f, "the ARP answer")
        check_equal(answer[ARP].hwsrc, GATEWAY_MACS[guest.network], "the gateway's MAC")
        guest.wire.send(guest.routed(guest.gateway) / ICMP(id=3))
        check_checksums(guest.expect(lambda f: ICMP in f and f[ICMP].type == 0, "the echo reply"))
    with lab.counting(**OFFERED):
        guest.wire.send(guest.wire.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                        BOOTP(chaddr=bytes.fromhex(guest.wire.mac.replace(":", "")), xid=5) /
                        DHCP(options=[("message-type", "discover"), "end"]))
        guest.expect(lambda f: DHCP in f, "the offer")


def expect_refusal(guest, frame):
    guest.wire.send(frame)
    error = guest.expect(lambda f: ICMP in f, "the refusal")
    check_equal((error[ICMP].type, error[ICMP].code, error[IP].src, error[IP].dst),
                (*PROHIBITED, guest.gateway, guest.address), "the refusal")
    quote = bytes(Ether(bytes(frame))[IP])
    check_equal(bytes(error[ICMP].payload)[:len(quote)], quote, "the quoted packet")
    check_checksums(error)


@suite.test("isolated ports: nothing goes from one VM to another, known or unknown, to one or to all, and it is counted")
def isolated_ports(lab):
    group = lab.vm1.wire.to("01:00:5e:00:00:fb") / IP(src=lab.vm1.address, dst="224.0.0.251") / UDP(sport=5353, dport=5353)
    ask = lab.vm1.wire.to() / ARP(op=1, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.address, pdst=lab.vm2.address)
    tell = lab.vm1.wire.to(lab.vm2.wire.mac) / ARP(op=2, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.address, pdst=lab.vm2.address)
    ipv6 = lab.vm1.wire.to("33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1") / ICMPv6EchoRequest()
    unknown = lab.vm1.wire.to("52:54:00:aa:00:99") / IP(src=lab.vm1.address, dst="192.168.122.99") / UDP(sport=1, dport=2)
    frames = [to(lab.vm1, lab.vm2), to(lab.vm2, lab.vm1), unknown, group, ask, tell, ipv6]
    with lab.counting(**dropped("isolated_ports", len(frames))):
        for frame in frames:
            (lab.vm2 if frame.src == lab.vm2.wire.mac else lab.vm1).wire.send(frame)
    with lab.counting(**dropped("destination_inside")):  # nor by way of the gateway
        lab.vm1.wire.send(lab.vm1.routed(lab.vm2.address) / UDP(sport=1, dport=2))
    check_equal(seen_anywhere(lab), [], "frames anywhere")


@suite.test("isolated ports: the gateway answers, and the outside is reached and answers")
def isolated_ports_go_out(lab):
    for guest in (lab.vm1, lab.vm2):
        expect_gateway(lab, guest)
        with lab.counting(**times(2, FORWARDED)):
            lab.reply_udp(lab.open_udp(guest, 4001, b"question"), b"answer")
            guest.expect(lambda f: UDP in f, "the answer")


@suite.test("isolated ports: what is forwarded to a VM, its neighbours reach as everybody does")
def isolated_ports_forward(lab):
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(lab.vm1.routed(config.UPLINK_ADDRESS) / TCP(sport=4002, dport=8080, flags="S"))
        seen = lab.vm2.expect(lambda f: TCP in f, "the SYN")
    check_equal((seen[IP].src, seen[IP].dst, seen[TCP].dport), (config.UPLINK_ADDRESS, lab.vm2.address, 80), "the SYN")


@suite.test("an isolated network: its VMs reach each other, and the gateway answers ARP, ping and DHCP")
def isolated_network(lab):
    expect_delivered(lab, to(lab.vm4, lab.vm5), lab.vm4, [lab.vm5], **FORWARDED)
    ask = lab.vm5.wire.to() / ARP(op=1, hwsrc=lab.vm5.wire.mac, psrc=lab.vm5.address, pdst=lab.vm4.address)
    expect_delivered(lab, ask, lab.vm5, [lab.vm4], **FORWARDED)
    for guest in (lab.vm4, lab.vm5):
        expect_gateway(lab, guest)


@suite.test("an isolated network: everything outside is refused with ICMP, and nothing leaves")
def isolated_network_refused(lab):
    frames = [UDP(sport=1, dport=53) / Raw(b"out"), TCP(sport=2, dport=80, flags="S"), ICMP(id=3)]
    with lab.counting(**refused("no_forwarding", len(frames))):
        for frame in frames:
            expect_refusal(lab.vm4, lab.vm4.routed(REMOTE) / frame)
    with lab.counting(**refused("no_forwarding", 2)):
        for address in (config.UPLINK_ADDRESS, config.UPLINK_ROUTER):
            expect_refusal(lab.vm4, lab.vm4.routed(address) / UDP(sport=1, dport=53))
    check_equal(seen_anywhere(lab), [], "frames anywhere")


@suite.test("between networks, with NAT and without, everything is refused with ICMP")
def between_networks(lab):
    pairs = [(lab.vm1, lab.vm3), (lab.vm3, lab.vm1), (lab.vm3, lab.vm4), (lab.vm4, lab.vm3)]
    for sender, other in pairs:
        with lab.counting(**refused("between_networks", 4)):
            for address in (other.address, other.gateway):
                expect_refusal(sender, sender.routed(address) / UDP(sport=1, dport=53) / Raw(b"hello over there"))
                expect_refusal(sender, sender.routed(address) / ICMP(id=9))
    check_equal(seen_anywhere(lab), [], "frames anywhere")


def everything_to(sender, other):
    """Frames of every kind that could reach another VM."""
    group = sender.wire.to("01:00:5e:00:00:fb") / IP(src=sender.address, dst="224.0.0.251") / UDP(sport=5353, dport=5353)
    ask = sender.wire.to() / ARP(op=1, hwsrc=sender.wire.mac, psrc=sender.address, pdst=other.address)
    ipv6 = sender.wire.to("33:33:00:00:00:01") / IPv6(src="fe80::1", dst="ff02::1") / ICMPv6EchoRequest()
    unknown = sender.wire.to("52:54:00:aa:00:99") / IP(src=sender.address, dst="192.168.5.99") / UDP(sport=1, dport=2)
    return [group, ask, ipv6, unknown]


@suite.test("groups: VMs of one reach each other by every kind of frame, and nobody of another or of none")
def groups(lab):
    for sender, same, others in ((lab.vm7, lab.vm8, (lab.vm3, lab.vm6)), (lab.vm3, lab.vm6, (lab.vm7, lab.vm8))):
        for frame in [to(sender, same), *everything_to(sender, same)]:
            expect_delivered(lab, frame, sender, [same], **FORWARDED)
        with lab.counting(**dropped("isolated_ports", 2)):
            for other in others:
                sender.wire.send(to(sender, other))
        check_equal(seen_anywhere(lab), [], "frames anywhere")
        expect_gateway_answers_ping(lab, sender)


def expect_gateway_answers_ping(lab, guest):
    with lab.counting(**FORWARDED):
        guest.wire.send(guest.routed(guest.gateway) / ICMP(id=3))
        check_checksums(guest.expect(lambda f: ICMP in f and f[ICMP].type == 0, "the echo reply"))


@suite.test("groups: a reload moves a VM to another group, and another one out of all, at once")
def groups_change(lab):
    def change(vm7, vm8):
        ports = {port["name"]: port for network in lab.vmnatd.config["networks"] for port in network["ports"]}
        for name, group in (("vm7", vm7), ("vm8", vm8)):
            ports[name].pop("group", None)
            ports[name].update({"group": group} if group else {})
        lab.vmnatd.write_config()
        lab.vmnatd.ctl("reload")
    change("db", None)
    with lab.counting(**dropped("isolated_ports", 3)):
        for other in (lab.vm8, lab.vm3, lab.vm6):
            lab.vm7.wire.send(to(lab.vm7, other))
    expect_delivered(lab, to(lab.vm8, lab.vm3), lab.vm8, [lab.vm3], **FORWARDED)
    change("web", "web")
    expect_delivered(lab, to(lab.vm7, lab.vm8), lab.vm7, [lab.vm8], **FORWARDED)
    with lab.counting(**dropped("isolated_ports")):
        lab.vm8.wire.send(to(lab.vm8, lab.vm3))


@suite.test("IPv6 is switched between the VMs of a network, to one and to a group, untouched")
def ipv6_switched(lab):
    for mac, address in ((lab.vm6.wire.mac, "fe80::6"), ("33:33:00:00:00:01", "ff02::1")):
        frame = lab.vm3.wire.to(mac) / IPv6(src="fe80::3", dst=address) / ICMPv6EchoRequest(data=b"a neighbour")
        expect_delivered(lab, frame, lab.vm3, [lab.vm6], **FORWARDED)


@suite.test("IPv6 for the gateway goes nowhere, and from the uplink none comes in")
def ipv6_dropped(lab):
    packet = IPv6(src="2001:db8::3", dst="2001:db8:1::1") / UDP(sport=1, dport=2) / Raw(b"out and in")
    with lab.counting(**dropped("ether_type", 4)):
        lab.vm3.wire.send(lab.vm3.wire.to(GATEWAY_MACS["lab"]) / packet)
        for mac in (config.UPLINK_MAC, "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff"):
            lab.router.send(lab.router.to(mac) / packet)
    check_equal(seen_anywhere(lab), [], "frames anywhere")


@suite.test("a tagged frame is switched with its tag, is not routed, and does not come in")
def vlan(lab):
    inner = IP(src=lab.vm3.address, dst=REMOTE) / UDP(sport=1, dport=2) / Raw(b"tagged, and long enough for a minimal frame")
    expect_delivered(lab, lab.vm3.wire.to(lab.vm6.wire.mac) / Dot1Q(vlan=7) / inner, lab.vm3, [lab.vm6], **FORWARDED)
    with lab.counting(**dropped("vlan_tagged", 2)):
        lab.vm3.wire.send(lab.vm3.wire.to(GATEWAY_MACS["lab"]) / Dot1Q(vlan=7) / inner)
        lab.router.send(lab.router.to(config.UPLINK_MAC) / Dot1Q(vlan=7) / inner)
    check_equal(seen_anywhere(lab), [], "frames anywhere")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
