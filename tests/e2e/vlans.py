#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""One trunk for all (IEEE 802.1Q): the uplink and each port are a VLAN of one kernel interface.

    trunk0 [ vmnatd ]        VLAN 100  uplink   203.0.113.2    router 203.0.113.1
                             VLAN 10   red1     192.168.10.10  \\ network red, 192.168.10.1/24
                             VLAN 11   red2     192.168.10.11  /
                             VLAN 20   blue1    192.168.20.10    network blue, 192.168.20.1/24
"""

import contextlib

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.unfinished import NetHeader, UnfinishedWire
from harness.waiting import wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, UDP, Raw, Router, Wire, check_checksums
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.l2 import Dot1Q

REMOTE = "198.51.100.2"
ROUTER_MAC = "52:54:00:ff:00:01"
UPLINK_VLAN = 100
GATEWAY_MACS = {"red": "52:54:00:00:01:01", "blue": "52:54:00:00:01:02"}
PORTS = {"red1": ("red", 10), "red2": ("red", 11), "blue1": ("blue", 20)}
ADDRESSES = {"red1": "192.168.10.10", "red2": "192.168.10.11", "blue1": "192.168.20.10"}


class Tagged(Wire):
    """A station of one VLAN of the trunk."""

    def __init__(self, namespace, mac, vlan, *more):
        super().__init__(namespace, "trunk", mac, *more)
        self.vlan = vlan

    def to(self, mac=BROADCAST):
        return super().to(mac) / Dot1Q(vlan=self.vlan)

    def is_ours(self, frame):
        return Dot1Q in frame and frame[Dot1Q].vlan == self.vlan

    def expect(self, wanted, what, seconds=30):
        return super().expect(lambda frame: self.is_ours(frame) and wanted(frame), what, seconds)


class TaggedRouter(Tagged, Router):
    def is_answered_at_once(self, frame):
        return self.is_ours(frame) and super().is_answered_at_once(frame)


class VlanLab:
    uplink = "trunk0"

    @staticmethod
    def place(vlan):
        return {"device": {"interface": "trunk0", "vlan": vlan}}

    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        gateway, self.wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "trunk0", self.wires, "trunk", 1500)
        self.vms = {name: Tagged(self.wires, f"52:54:00:aa:00:0{number}", vlan)
                    for number, (name, (_, vlan)) in enumerate(PORTS.items(), 1)}
        self.router = TaggedRouter(self.wires, ROUTER_MAC, UPLINK_VLAN, config.UPLINK_ROUTER)
        self.router.answers = True
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=gateway))

    def reload(self, ports):
        self.vmnatd.config = self.configuration(ports) | {"dataplane": self.vmnatd.config["dataplane"]}
        self.vmnatd.write_config()
        self.vmnatd.ctl_text("reload")

    def configuration(self, ports=PORTS):
        networks = [config.network(network, f"192.168.{number}.1/24", mac=GATEWAY_MACS[network],
                                   ports=[{"name": name} | self.place(vlan)
                                          for name, (of, vlan) in ports.items() if of == network],
                                   dhcp=config.dhcp(f"192.168.{number}.100", f"192.168.{number}.150"))
                    for network, number in (("red", 10), ("blue", 20))]
        made = config.configuration(self.directory, self.uplink, networks)
        made["uplink"]["vlan"] = UPLINK_VLAN
        return made

    def evidence(self):
        return self.vmnatd.evidence()

    def routed(self, name, to):
        return self.vms[name].to(GATEWAY_MACS[PORTS[name][0]]) / IP(src=ADDRESSES[name], dst=to)


def check_tag(frame, vlan, what):
    """One tag, of priority 0, and no further one behind it."""
    check_equal((frame[Dot1Q].vlan, frame[Dot1Q].prio, Dot1Q in frame[Dot1Q].payload), (vlan, 0, False), f"the tag of {what}")


suite = Suite(VlanLab)


@suite.test("each VLAN's gateway answers ARP and ping in that VLAN alone")
def gateways(lab):
    for name, vm in lab.vms.items():
        network = PORTS[name][0]
        gateway = f"{ADDRESSES[name].rsplit('.', 1)[0]}.1"
        vm.send(vm.to() / ARP(op=1, hwsrc=vm.mac, psrc=ADDRESSES[name], pdst=gateway))
        reply = vm.expect(lambda f: ARP in f and f[ARP].op == 2 and f.dst == vm.mac, f"ARP's answer to {name}")  # noqa: B023
        check_equal(reply[ARP].hwsrc, GATEWAY_MACS[network], "who answers")
        check_tag(reply, vm.vlan, "ARP's answer")
        vm.send(lab.routed(name, gateway) / ICMP(id=7, seq=1) / Raw(b"ping"))
        check_tag(vm.expect(lambda f: ICMP in f and f[ICMP].type == 0, f"the answer to {name}'s ping"), vm.vlan, "the answer to a ping")


@suite.test("each VLAN's VM is leased an address of its own network")
def leases(lab):
    for serial, (name, vm) in enumerate(lab.vms.items(), 1):
        network, wanted = ADDRESSES[name].rsplit(".", 1)[0], []
        for kind, answer in (("discover", 2), ("request", 5)):
            asked = [("message-type", kind), *wanted]
            vm.send(vm.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                    BOOTP(chaddr=bytes.fromhex(vm.mac.replace(":", "")), xid=serial, flags=0x8000) / DHCP(options=[*asked, "end"]))
            reply = vm.expect(lambda f: DHCP in f and f[BOOTP].op == 2 and f[BOOTP].xid == serial and  # noqa: B023
                              ("message-type", answer) in f[DHCP].options, f"the answer to {name}'s {kind}")  # noqa: B023
            check_tag(reply, vm.vlan, f"the answer to {name}'s {kind}")
            leased = reply[BOOTP].yiaddr
            wanted = [("requested_addr", leased), ("server_id", f"{network}.1")]
        check(leased.startswith(f"{network}.1"), f"{name} was leased {leased}")


@suite.test("a VM of each VLAN reaches the outside by the uplink's VLAN, and is answered in its own")
def out_and_back(lab):
    for name, vm in lab.vms.items():
        vm.send(lab.routed(name, REMOTE) / UDP(sport=4000, dport=53) / Raw(b"question of " + name.encode()))
        asked = lab.router.expect(lambda f: UDP in f and name.encode() in bytes(f[UDP].payload), f"{name}'s question")  # noqa: B023
        check_tag(asked, UPLINK_VLAN, "the question")
        check_equal(asked[IP].src, config.UPLINK_ADDRESS, "the question's source")
        check_checksums(asked)
        lab.router.send(lab.router.to(asked.src) / IP(src=REMOTE, dst=asked[IP].src) /
                        UDP(sport=53, dport=asked[UDP].sport) / Raw(b"answer to " + name.encode()))
        answer = vm.expect(lambda f: UDP in f and f[UDP].dport == 4000, f"the answer to {name}")
        check_tag(answer, vm.vlan, "the answer")
        check_equal((answer[IP].dst, bytes(answer[UDP].payload)), (ADDRESSES[name], b"answer to " + name.encode()), "the answer")
        check_checksums(answer)


@suite.test("frames between ports of a network change their tag; another network's VLAN sees none of them")
def switched(lab):
    red1, red2, blue = (lab.vms[name] for name in PORTS)
    for wire in (red2, blue):
        wire.drain()
    red1.send(red1.to() / ARP(op=1, hwsrc=red1.mac, psrc=ADDRESSES["red1"], pdst=ADDRESSES["red2"]))
    asked = red2.expect(lambda f: ARP in f and f[ARP].pdst == ADDRESSES["red2"], "the question who has red2's address")
    check_tag(asked, 11, "a flooded frame")
    red2.send(red2.to(red1.mac) / ARP(op=2, hwsrc=red2.mac, psrc=ADDRESSES["red2"], hwdst=red1.mac, pdst=ADDRESSES["red1"]))
    check_tag(red1.expect(lambda f: ARP in f and f[ARP].op == 2 and f.src == red2.mac, "red2's answer"), 10, "a switched frame")
    seen = [frame.summary() for frame in blue.drain() if blue.is_ours(frame) and ARP in frame and frame.src == red1.mac]
    check_equal(seen, [], "what blue's VLAN has seen of it")


@suite.test("frames of no VLAN, and of one that nobody has, arrive nowhere")
def of_others(lab):
    before = lab.vmnatd.counters()["received"]
    for vlan, mac in ((12, "52:54:00:bb:00:01"), (4094, "52:54:00:bb:00:02")):
        other = Tagged(lab.wires, mac, vlan)
        with contextlib.closing(other):
            other.send(other.to() / ARP(op=1, hwsrc=mac, psrc="192.168.10.77", pdst="192.168.10.1"))
    with contextlib.closing(Wire(lab.wires, "trunk", "52:54:00:bb:00:03")) as untagged:
        untagged.send(untagged.to() / ARP(op=1, hwsrc=untagged.mac, psrc="192.168.10.77", pdst="192.168.10.1"))
    gateways(lab)  # whatever was sent before has been seen by now
    check_equal(lab.vmnatd.counters().get("drop.other_vlan", 0), 0, "frames that the kernel should have kept back")
    check(lab.vmnatd.counters()["received"] - before <= 3 * 2 + 3, "more was received than the VMs have sent")


@suite.test("super-frames keep to their VLANs and are not cut: out of red1 by the uplink, and back")
def super_frames(lab):
    content = bytes(range(256)) * 150
    with UnfinishedWire(lab.wires, "trunk", lab.vms["red1"].mac) as vm, UnfinishedWire(lab.wires, "trunk", ROUTER_MAC) as router:
        made = lab.vmnatd.counters()["segments.made"]
        vm.send_unfinished(lab.routed("red1", REMOTE) / UDP(sport=5000, dport=5001) / Raw(content), 1000)
        header, seen = router.receive_from(config.UPLINK_MAC)
        frame = lab.router.to().__class__(seen)
        check_tag(frame, UPLINK_VLAN, "the super-frame")
        check_equal((bytes(frame[UDP].payload) == content, header.segment), (True, 1000), "the super-frame's content and segments")
        router.send_unfinished(lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) /
                               UDP(sport=5001, dport=frame[UDP].sport) / Raw(content), 1000)
        header, seen = vm.receive_from(GATEWAY_MACS["red"])
        frame = lab.router.to().__class__(seen)
        check_tag(frame, 10, "the super-frame back")
        check_equal((bytes(frame[UDP].payload) == content, frame[UDP].dport), (True, 5000), "the super-frame back")
        expected = NetHeader.of(frame, 1000, beside=len(Dot1Q()))
        check_equal(header._replace(headers_length=expected.headers_length), expected, "what is left to do with it")
        check_equal(lab.vmnatd.counters()["segments.made"], made, "super-frames were cut: segments")


@suite.test("a VLAN comes and goes by a reload, and the others go on")
def live(lab):
    more = PORTS | {"blue2": ("blue", 21)}
    lab.reload(more)
    with contextlib.closing(Tagged(lab.wires, "52:54:00:aa:00:09", 21)) as blue2:
        wait_until(lambda: any(port["name"] == "blue2" and port["link"] == "up" for port in lab.vmnatd.ctl("ports")), "blue2 is up")
        blue2.send(blue2.to() / ARP(op=1, hwsrc=blue2.mac, psrc="192.168.20.11", pdst="192.168.20.1"))
        check_tag(blue2.expect(lambda f: ARP in f and f[ARP].op == 2 and f.dst == blue2.mac, "ARP's answer to blue2"), 21, "the answer")
        lab.reload(PORTS)
        blue2.drain()
        blue2.send(blue2.to() / ARP(op=1, hwsrc=blue2.mac, psrc="192.168.20.11", pdst="192.168.20.1"))
        out_and_back(lab)
        check_equal([f.summary() for f in blue2.drain() if blue2.is_ours(f) and f.dst == blue2.mac], [], "answers to a VLAN that is gone")


if __name__ == "__main__":
    suite.main()
