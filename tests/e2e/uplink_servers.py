#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`uplink.address: dhcp` with servers that are not as the RFC has them, played by the test, frame by frame.

    VM 192.168.122.10 --port1-- vmnatd --uplink0-- isp0: DHCP server and router 203.0.113.1, other stations

Each subtest starts vmnatd anew, without an address that it remembers.
"""

import contextlib
import shutil
import threading
import time

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import Overdue, deadline_in, wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, UDP, Ether, Raw, Wire

from scapy.layers.dhcp import BOOTP, DHCP

SERVER, SERVER_MAC, ADDRESS, NEXT_ADDRESS = "203.0.113.1", "52:54:00:ff:00:01", "203.0.113.50", "203.0.113.51"
GATEWAY, GATEWAY_MAC, VM = "192.168.122.1", "52:54:00:00:01:01", "192.168.122.10"
NEIGHBOUR, NEIGHBOUR_MAC, REMOTE = "203.0.113.9", "52:54:00:bb:00:09", "198.51.100.7"
USUAL = (("subnet_mask", "255.255.255.0"), ("router", SERVER), ("name_server", "192.0.2.53"), ("lease_time", 600))
NAMED = ("server_id", SERVER)


class Provider(Wire):
    """The uplink's wire: a DHCP server that answers as it is told, and stations that answer ARP."""

    def __init__(self, namespace, interface):
        super().__init__(namespace, interface, SERVER_MAC)
        self.stations = {SERVER: SERVER_MAC, NEIGHBOUR: NEIGHBOUR_MAC}
        self.offer_options = self.ack_options = (*USUAL, NAMED)
        self.port, self.source, self.address = 67, SERVER, ADDRESS
        self.heard, self.frames = [], []  # types of DHCP messages; all frames
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.stop.is_set():
            frame = self.receive(0.05)
            if frame is None:
                continue
            self.frames.append((time.monotonic(), frame))
            if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst in self.stations:
                mac = self.stations[frame[ARP].pdst]
                self.send(Ether(src=mac, dst=frame.src) / ARP(op=2, hwsrc=mac, psrc=frame[ARP].pdst,
                                                             hwdst=frame[ARP].hwsrc, pdst=frame[ARP].psrc))
            elif DHCP in frame and frame[BOOTP].op == 1:
                self.answer(frame)

    def answer(self, frame):
        said = dict(option[:2] for option in frame[DHCP].options if isinstance(option, tuple))
        self.heard.append(said["message-type"])
        replies = {1: ("offer", self.offer_options), 3: ("ack", self.ack_options)}
        if said["message-type"] not in replies:
            return
        kind, options = replies[said["message-type"]]
        self.send(Ether(src=SERVER_MAC, dst=frame.src) / IP(src=self.source, dst=self.address) / UDP(sport=self.port, dport=68) /
                  BOOTP(op=2, xid=frame[BOOTP].xid, yiaddr=self.address, chaddr=frame[BOOTP].chaddr) /
                  DHCP(options=[("message-type", kind), *options, "end"]))

    def seen(self, wanted):
        return [(when, frame) for when, frame in list(self.frames) if wanted(frame)]

    def close(self):
        self.stop.set()
        self.thread.join()
        super().close()


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.inside, self.outside = (scope.enter_context(Namespace(name)) for name in ("gateway", "provider"))
        veth(self.inside, "uplink0", self.outside, "isp0")
        veth(self.inside, "port1", self.outside, "vm1")
        self.vm = Wire(self.outside, "vm1", "52:54:00:aa:00:01")
        self.provider = self.vmnatd = None
        self.number = 30000
        scope.callback(self.end)

    def end(self):
        if self.provider:
            self.provider.close()

    @contextlib.contextmanager
    def running(self, wait=True, **settings):
        """vmnatd, with a server that has these settings; with its address by then."""
        shutil.rmtree(self.directory / "state", ignore_errors=True)
        network = config.network("default", f"{GATEWAY}/24", [config.veth_port("vm1", "port1")], mac=GATEWAY_MAC,
                                 nat={"forwards": [{"protocol": "udp", "port": 8080, "to": f"{VM}:80"}]})
        made = config.configuration(self.directory, "uplink0", [network])
        made["uplink"] = {"device": "uplink0", "address": "dhcp", "mac": config.UPLINK_MAC}
        self.provider = Provider(self.outside, "isp0")
        for name, value in settings.items():
            setattr(self.provider, name, value)
        try:
            with Vmnatd(self.directory, made, namespace=self.inside) as self.vmnatd:
                if wait:
                    wait_until(lambda: self.address() == ADDRESS, f"the address; heard {self.provider.heard}")
                yield self.vmnatd
                self.vmnatd.check_accounting()
        finally:
            self.end()
            self.provider = None

    def uplink(self):
        return self.vmnatd.ctl("status")["uplink"]

    def address(self):
        address = self.uplink()["address"]
        return address and address.split("/")[0]

    def send(self, to):
        self.number += 1
        self.vm.send(self.vm.to(GATEWAY_MAC) / IP(src=VM, dst=to) / UDP(sport=self.number, dport=7) / Raw(b"out"))

    def error_about(self, to):
        """The ICMP error that a datagram is answered with."""
        def is_told():
            self.send(to)
            with contextlib.suppress(Overdue):
                return self.vm.expect(lambda f: ICMP in f and f[ICMP].payload.dst == to, "an error", 1)
        error = wait_until(is_told, f"an ICMP error about {to}")
        return error[ICMP].type, error[ICMP].code

    def leaves(self, to, mac):
        def has_left():
            self.send(to)
            time.sleep(0.05)
            return self.provider.seen(lambda f: UDP in f and f[IP].dst == to and (f.dst, f[IP].src) == (mac, ADDRESS))
        wait_until(has_left, f"a datagram to {to} leaves for {mac}")

    def evidence(self):
        return self.vmnatd.evidence() if self.vmnatd else ""


def without(*names):
    return tuple(option for option in (*USUAL, NAMED) if option[0] not in names)


def is_announcement(frame):
    return ARP in frame and frame[ARP].psrc == frame[ARP].pdst == ADDRESS and frame.dst == BROADCAST


suite = Suite(Lab)


@suite.test("a server may answer from any port")
def any_port(lab):
    for port in (1067, 32768):
        with lab.running(port=port):
            lab.leaves(REMOTE, SERVER_MAC)


@suite.test("a lease whose time is left out lasts for the offer's, or an hour, and the log says so")
def without_time(lab):
    for offered, most in ((without(), 600), (without("lease_time"), 3600)):
        with lab.running(offer_options=offered, ack_options=without("lease_time")) as vmnatd:
            check("does not say how long the lease lasts" in vmnatd.process.log(), "the log has no word of it")
            expires = time.mktime(time.strptime(lab.uplink()["dhcp"]["expires"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
            check(most - 60 < expires - time.time() <= most + 2, f"it ends {expires - time.time()} s from now, not {most}")
            lab.leaves(REMOTE, SERVER_MAC)


@suite.test("a server that does not name itself is known by its packets, and asked again")
def without_name(lab):
    options = (*without("server_id", "lease_time"), ("lease_time", 600), ("renewal_time", 2), ("rebinding_time", 500))
    with lab.running(offer_options=options, ack_options=options):
        wait_until(lambda: lab.provider.seen(lambda f: DHCP in f and f[IP].src == ADDRESS and f[IP].dst == SERVER), "a renewal, to the server alone")
        wait_until(lambda: "renewed" in lab.vmnatd.process.log(), "the lease is renewed")


@suite.test("without a mask, or with one that has holes, the address's class decides")
def without_mask(lab):
    for options in (without("subnet_mask"), (*without("subnet_mask"), ("subnet_mask", "255.0.255.0"))):
        with lab.running(offer_options=options, ack_options=options):
            check_equal(lab.uplink()["address"], f"{ADDRESS}/24", "the address")


@suite.test("without a router the link is reached, what is beyond it is refused with net unreachable, and nobody is asked for 0.0.0.0")
def without_router(lab):
    options = without("router")
    with lab.running(offer_options=options, ack_options=options) as vmnatd:
        check_equal(lab.uplink()["gateway"], None, "the gateway")
        check("without a router" in vmnatd.ctl_text("status"), "the status")
        check_equal(lab.error_about(REMOTE), (3, 0), "the error")
        lab.leaves(NEIGHBOUR, NEIGHBOUR_MAC)
        lab.provider.send(lab.provider.to(config.UPLINK_MAC) / ARP(op=2, hwsrc=SERVER_MAC, psrc="0.0.0.0", pdst=ADDRESS))
        lab.provider.send(lab.provider.to() / ARP(op=1, hwsrc=SERVER_MAC, psrc="0.0.0.0", pdst="0.0.0.0"))
        check_equal(lab.error_about(REMOTE), (3, 0), "the error")
        check(vmnatd.counters()["drop.no_route"] >= 2, "drop.no_route")
        check_equal([n for n in vmnatd.ctl("neighbors") if n["address"] == "0.0.0.0"], [], "neighbours")
        lab.provider.send(Ether(src=NEIGHBOUR_MAC, dst=config.UPLINK_MAC) / IP(src=NEIGHBOUR, dst=ADDRESS) /
                          UDP(sport=9, dport=8080) / Raw(b"hello"))
        request = lab.vm.expect(lambda f: ARP in f and f[ARP].pdst == VM, "the VM is asked for")
        lab.vm.send(lab.vm.to(request.src) / ARP(op=2, hwsrc=lab.vm.mac, psrc=VM, hwdst=request.src, pdst=GATEWAY))

        def arrives():
            lab.provider.send(Ether(src=NEIGHBOUR_MAC, dst=config.UPLINK_MAC) / IP(src=NEIGHBOUR, dst=ADDRESS) /
                              UDP(sport=9, dport=8080) / Raw(b"hello"))
            with contextlib.suppress(Overdue):
                return lab.vm.expect(lambda f: UDP in f and f[UDP].dport == 80, "the forwarded datagram", 1)
        wait_until(arrives, "a host of the link reaches the forward")
        lab.vm.send(lab.vm.to(GATEWAY_MAC) / IP(src=VM, dst=NEIGHBOUR) / UDP(sport=80, dport=9) / Raw(b"answer"))
        wait_until(lambda: lab.provider.seen(lambda f: UDP in f and f[UDP].sport == 8080 and f.dst == NEIGHBOUR_MAC), "its answer")
        asked = lab.provider.seen(lambda f: ARP in f and f[ARP].pdst == "0.0.0.0" and f.src == config.UPLINK_MAC)
        check_equal(asked, [], "ARP for nobody")


@suite.test("a leased address is announced twice, two seconds apart")
def announced(lab):
    with lab.running():
        wait_until(lambda: len(lab.provider.seen(is_announcement)) >= 2, "two announcements", 20)
        (first, _), (second, _) = lab.provider.seen(is_announcement)[:2]
        check(1 < second - first < 4, f"they came {second - first} s apart")
        ends = deadline_in(3)
        wait_until(lambda: time.monotonic() > ends, "three more seconds", 10)
        check_equal(len(lab.provider.seen(is_announcement)), 2, "announcements")


@suite.test("another station's probe for the address that is being checked is a conflict, as its ARP of any kind is")
def conflict_while_checked(lab):
    rival = "52:54:00:bb:00:01"
    for conflict in (ARP(op=1, hwsrc=rival, psrc="0.0.0.0", pdst=ADDRESS), ARP(op=1, hwsrc=rival, psrc=ADDRESS, pdst=ADDRESS),
                     ARP(op=2, hwsrc=rival, psrc=ADDRESS, pdst=ADDRESS)):
        with lab.running(wait=False):
            wait_until(lambda: lab.provider.seen(lambda f: ARP in f and f[ARP].psrc == "0.0.0.0" and f[ARP].pdst == ADDRESS), "an ARP probe")
            lab.provider.send(Ether(src=rival, dst=BROADCAST) / conflict)
            wait_until(lambda: 4 in lab.provider.heard, f"a DECLINE; heard {lab.provider.heard}")
            check_equal(lab.address(), None, "the address")


@suite.test("a lease that another station claims is defended once, and declined when that claims it again within ten seconds")
def conflict_while_used(lab):
    rival = "52:54:00:bb:00:01"
    with lab.running() as vmnatd:
        wait_until(lambda: len(lab.provider.seen(is_announcement)) == 2, "two announcements", 20)

        def claim():
            lab.provider.send(Ether(src=rival, dst=BROADCAST) / ARP(op=1, hwsrc=rival, psrc=ADDRESS, pdst=SERVER))
        claim()
        wait_until(lambda: len(lab.provider.seen(is_announcement)) == 3, "it is defended")
        check_equal(lab.address(), ADDRESS, "the address")
        lab.provider.address = NEXT_ADDRESS
        claim()
        wait_until(lambda: 4 in lab.provider.heard, f"a DECLINE; heard {lab.provider.heard}")
        wait_until(lambda: lab.address() == NEXT_ADDRESS, "the next address")
        check_equal(vmnatd.counters()["neighbors.conflicts"], 2, "conflicts")


if __name__ == "__main__":
    suite.main()
