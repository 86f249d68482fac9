#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Uplinks of other shapes, each subtest on a vmnatd of its own: networks of two addresses or one (RFC 3021), and
kernel interfaces with MTUs from 68 to 9600; veth_lab.py draws the wires.

    own 203.0.113.2/31, router .3      own 203.0.113.3/31, router .2      own 203.0.113.2/32 by DHCP, router .1
    own 203.0.113.2/32, router 198.51.100.254       own 203.0.113.2/31, router 169.254.1.1
"""

import contextlib

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, for_one_subtest, scratch_directory
from harness.waiting import wait_until
from harness.wire import ARP, ICMP, IP, TCP, UDP, Ether, Raw, Router, Wire, check_checksums
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.l2 import Dot1Q
from veth_lab import FORWARDED, GATEWAY_MACS, REMOTE, ROUTER_MAC, VethLab, times

FORWARD = {"protocol": "tcp", "port": 8080, "to": "192.168.122.10:80"}
HEADERS = 28  # of IPv4 and UDP
MTUS = (1504, 1793, 3000, 9000, 9600)

suite = Suite(lambda scope: None)


@contextlib.contextmanager
def lab_with(**keys):
    with for_one_subtest(lambda scope: VethLab(scope, **keys)) as lab:
        yield lab
        check_equal(lab.leaks(), [], "frames with a foreign source on the uplink")


# --- networks of two addresses --------------------------------------------------------------------------------

def on_a_link_of_two(own, router):
    with lab_with(uplink={"address": f"{own}/31", "gateway": router}, default={"forwards": [FORWARD]}) as lab:
        lab.vm1.answer_arp()
        lab.settle()
        router_answers(lab, router)
        own_address_answers(lab, own)
        reaches_forward(lab, own)
        with lab.counting(**FORWARDED):  # the router itself is somebody to be forwarded for
            lab.router.send(lab.inbound(TCP(sport=4000, dport=8080, flags="S"), remote=router))
            lab.vm1.expect(lambda f: TCP in f and f[IP].src == router, "the router's SYN")


def router_answers(lab, router):
    """As a resolver on the router would."""
    lab.router.send(lab.router.to() / ARP(op=1, hwsrc=ROUTER_MAC, psrc=router, pdst=lab.own))
    lab.router.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == lab.own, "vmnatd's ARP reply")
    with lab.counting(**times(2, FORWARDED)):
        question = lab.open_udp(lab.vm1, 4001, b"which address has it?", to=router)
        check_equal(question.dst, ROUTER_MAC, "the MAC that the question goes to")
        lab.reply_udp(question, b"this one")
        answer = lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 4001, "the router's answer")
    check_equal(answer[IP].src, router, "who answers")


def own_address_answers(lab, own):
    with lab.counting(**times(1, FORWARDED)):
        lab.vm1.wire.send(lab.vm1.routed(own) / ICMP(id=5))
        check_checksums(lab.vm1.expect(lambda f: ICMP in f and f[ICMP].type == 0 and f[IP].src == own, "the echo reply"))


def reaches_forward(lab, own):
    """A VM reaches its neighbour's forward by the external address."""
    with lab.counting(**FORWARDED):
        lab.vm2.wire.send(lab.vm2.routed(own) / TCP(sport=4002, dport=8080, flags="S"))
        seen = lab.vm1.expect(lambda f: TCP in f and f[TCP].sport == 4002, "the SYN")
    check_equal((seen[IP].src, seen[IP].dst, seen[TCP].dport), (own, lab.vm1.address, 80), "the SYN")


@suite.test("a /31 by its lower address: the router is reached and answers, hairpins turn round, the own address answers ping")
def lower(_lab):
    on_a_link_of_two("203.0.113.2", "203.0.113.3")


@suite.test("a /31 by its upper address: the same")
def upper(_lab):
    on_a_link_of_two("203.0.113.3", "203.0.113.2")


for each_own, each_router in (("203.0.113.2/32", "198.51.100.254"), ("203.0.113.2/32", "169.254.1.1"),
                              ("203.0.113.2/31", "198.51.100.254")):
    @suite.test(f"{each_own} with its router {each_router}, off the link: both ways, forwards, hairpins, the own address")
    def router_elsewhere(_lab, own=each_own, router=each_router):
        with lab_with(uplink={"address": own, "gateway": router}, default={"forwards": [FORWARD]}) as lab:
            lab.vm1.answer_arp()
            lab.settle()
            with lab.counting(**times(2, FORWARDED)):
                question = lab.open_udp(lab.vm1, 4001, b"anybody there?")
                check_equal(question.dst, ROUTER_MAC, "the MAC that the question goes to")
                lab.reply_udp(question, b"yes")
                lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 4001, "the answer")
            own_address_answers(lab, lab.own)
            reaches_forward(lab, lab.own)


# --- a network of one address, as clouds give it ----------------------------------------------------------------

class ProviderOfOne:
    """A DHCP server and router that gives 203.0.113.2/32, and vmnatd with a VM."""
    OWN, ROUTER = "203.0.113.2", "203.0.113.1"

    def __init__(self, scope):
        directory = scratch_directory(scope)
        inside, outside = scope.enter_context(Namespace("gateway")), scope.enter_context(Namespace("wires"))
        veth(inside, "uplink0", outside, "isp0")
        self.router = Router(outside, "isp0", ROUTER_MAC, self.ROUTER)
        self.router.answers = True
        self.guests = []
        for number in (1, 2):
            veth(inside, f"port{number}", outside, f"vm{number}")
            self.guests.append(Wire(outside, f"vm{number}", f"52:54:00:aa:00:0{number}"))
        network = config.network("default", "192.168.122.1/24", mac=GATEWAY_MACS["default"],
                                 ports=[config.veth_port(f"vm{number}", f"port{number}") for number in (1, 2)],
                                 nat={"forwards": [FORWARD]})
        settings = config.configuration(directory, "uplink0", [network])
        settings["uplink"] = {"device": "uplink0", "address": "dhcp", "mac": config.UPLINK_MAC}
        self.vmnatd = scope.enter_context(Vmnatd(directory, settings, namespace=inside))
        self.evidence = self.vmnatd.evidence

    def give_lease(self, tag=lambda frame: frame):
        """Answers what vmnatd asks until it has its address."""
        for asked, answer in (("discover", "offer"), ("request", "ack")):
            question = self.router.expect(lambda f, kind=asked: self.kind_of(f) == kind, f"the {asked}", 60)
            self.router.send(tag(
                self.router.to(config.UPLINK_MAC) / IP(src=self.ROUTER, dst="255.255.255.255") / UDP(sport=67, dport=68) /
                BOOTP(op=2, xid=question[BOOTP].xid, yiaddr=self.OWN, chaddr=question[BOOTP].chaddr) /
                DHCP(options=[("message-type", answer), ("server_id", self.ROUTER), ("lease_time", 3600),
                              ("subnet_mask", "255.255.255.255"), ("router", self.ROUTER), "end"])))
        wait_until(lambda: self.vmnatd.ctl("status")["uplink"]["address"] == f"{self.OWN}/32", "vmnatd has its address", 60)

    @staticmethod
    def kind_of(frame):
        kinds = {1: "discover", 3: "request"}
        if DHCP not in frame:
            return None
        return kinds.get(dict(o for o in frame[DHCP].options if isinstance(o, tuple))["message-type"])

    def from_vm(self, number, to):
        wire = self.guests[number - 1]
        return wire.to(GATEWAY_MACS["default"]) / IP(src=f"192.168.122.{9 + number}", dst=to)

    def answer_arp(self, number):
        """The VM answers once, when it is asked for."""
        wire, address = self.guests[number - 1], f"192.168.122.{9 + number}"
        request = wire.expect(lambda f: ARP in f and f[ARP].op == 1 and f[ARP].pdst == address, "the ARP request", 60)
        wire.send(wire.to(request.src) / ARP(op=2, hwsrc=wire.mac, psrc=address, hwdst=request.src, pdst="192.168.122.1"))
        wait_until(lambda: self.vmnatd.ctl("forwards")[0]["mac"] == wire.mac, "the VM is known")


@suite.test("a /32 by DHCP: hairpins turn round and the own address answers ping")
def one_address(_lab):
    with for_one_subtest(ProviderOfOne) as provider:
        provider.give_lease()
        provider.answer_arp(1)
        vm1, vm2 = provider.guests
        vm2.send(provider.from_vm(2, provider.OWN) / TCP(sport=4002, dport=8080, flags="S"))
        seen = vm1.expect(lambda f: TCP in f, "the SYN")
        check_equal((seen[IP].src, seen[IP].dst, seen[TCP].dport), (provider.OWN, "192.168.122.10", 80), "the SYN")
        vm2.send(provider.from_vm(2, provider.OWN) / ICMP(id=5))
        check_checksums(vm2.expect(lambda f: ICMP in f and f[ICMP].type == 0, "the echo reply"))


@suite.test("a DHCP server whose messages are priority-tagged, as some providers send them, is heard")
def tagged_server(_lab):
    with for_one_subtest(ProviderOfOne) as provider:
        provider.give_lease(lambda frame: Ether(src=frame.src, dst=frame.dst) / Dot1Q(vlan=0, prio=5, type=0x800) / frame[IP])


# --- MTUs -----------------------------------------------------------------------------------------------------------

def full_size(lab, mtu):
    """A datagram that fills the MTU goes out, and its like comes back."""
    lab.vm1.wire.send(filled(lab.vm1.routed(REMOTE), UDP(sport=4003, dport=53), mtu))
    out = lab.router.expect(lambda f: UDP in f and f[UDP].sport == 4003, "the datagram on the uplink", 30)
    check_equal((out[IP].len, bytes(out[UDP].payload)[-4:]), (mtu, b"last"), "the datagram on the uplink")
    check_checksums(out)
    lab.router.send(filled(lab.router.to(out.src) / IP(src=REMOTE, dst=lab.own), UDP(sport=53, dport=4003), mtu))
    back = lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 4003, "the answer at the VM")
    check_equal((back[IP].len, bytes(back[UDP].payload)[-4:]), (mtu, b"last"), "the answer at the VM")
    check_checksums(back)


def filled(header, udp, mtu):
    header[IP].flags = "DF"
    return header / udp / Raw(b"last".rjust(mtu - HEADERS, b"."))


for each in MTUS:
    @suite.test(f"an MTU of {each} on kernel interfaces: a datagram of that size passes both ways")
    def of_that_mtu(_lab, mtu=each):
        of_all = {name: {"mtu": mtu} for name in ("default", "lab", "alone")}
        with lab_with(mtu=mtu, uplink={"mtu": mtu}, networks=of_all) as lab:
            lab.settle()
            with lab.counting(**times(2, FORWARDED)):
                full_size(lab, mtu)


@suite.test("a large MTU on the uplink and an ordinary one inside, and the other way round: what fits passes")
def mixed(_lab):
    for uplink, inside in ((9000, 1500), (1500, 9000)):
        of_all = {name: {"mtu": inside} for name in ("default", "lab", "alone")}
        with lab_with(mtu=inside, uplink_mtu=uplink, uplink={"mtu": uplink}, networks=of_all) as lab:
            check("its interface has an MTU" not in lab.vmnatd.process.log(), "an MTU is taken for too small")
            lab.settle()
            with lab.counting(**times(2, FORWARDED)):
                full_size(lab, 1500)


if __name__ == "__main__":
    suite.main()
