#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`uplink.address: dhcp` with dnsmasq and Kea at the far end of the uplink's wire.

    VM 192.168.122.10 --port1-- vmnatd --uplink0-- isp0 203.0.113.1: DHCP server, UDP echo on port 7

The VM is a raw wire; the provider is a namespace with the kernel's own stack, so that renewals by unicast and
ARP probes meet a real host. The subtests are one story: no server, dnsmasq, another range, Kea, silence.
"""

import contextlib
import json
import os
import socket
import threading

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, packet_socket, veth
from harness.processes import Process
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, UDP, Raw, Wire

from scapy.layers.dhcp import BOOTP, DHCP

PROVIDER, GATEWAY, VM = "203.0.113.1", "192.168.122.1", "192.168.122.10"
GATEWAY_MAC = "52:54:00:00:01:01"
ECHO_PORT, FORWARDED_PORT = 7, 8080
NET_UNREACHABLE, FRAGMENTATION_NEEDED = (3, 0), (3, 4)


class Lab:
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        self.inside = scope.enter_context(Namespace("gateway"))
        self.outside = scope.enter_context(Namespace("provider"))
        veth(self.inside, "uplink0", self.outside, "isp0")
        veth(self.inside, "port1", self.outside, "vm1")
        self.outside.set_address("isp0", f"{PROVIDER}/24")
        self.vm = Wire(self.outside, "vm1", "52:54:00:aa:00:01")
        self.uplink_watch = packet_socket(self.outside, "isp0")
        self.server = None
        self.servers = 0
        self.start_echo()
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.inside))

    def configuration(self):
        network = config.network(
            "default", f"{GATEWAY}/24", mac=GATEWAY_MAC, ports=[config.veth_port("vm1", "port1")],
            dhcp={"ranges": ["192.168.122.100-192.168.122.200"]},
            nat={"forwards": [{"protocol": "udp", "port": FORWARDED_PORT, "to": f"{VM}:80"}]})
        settings = config.configuration(self.directory, "uplink0", [network])
        settings["uplink"] = {"device": "uplink0", "address": "dhcp", "mac": config.UPLINK_MAC}
        return settings

    def start_echo(self):
        with self.outside.entered():
            echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            echo.bind(("0.0.0.0", ECHO_PORT))
            self.caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    data, sender = echo.recvfrom(2048)
                    echo.sendto(sender[0].encode() + b" " + data, sender)
        threading.Thread(target=serve, daemon=True).start()

    # --- DHCP servers ---------------------------------------------------------------------------------------

    def start(self, *command, environment=None):
        self.stop_server()
        self.servers += 1
        self.server = self.scope.enter_context(Process(
            command, log=self.directory / f"server-{self.servers}.log", namespace=self.outside,
            environment=environment))

    def stop_server(self):
        if self.server:
            self.server.kill()
        self.server = None

    def start_dnsmasq(self, first, last, *options):
        """dnsmasq's shortest lease is two minutes; T1 makes it be renewed after five seconds."""
        self.start("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=isp0", "--user=root",
                   "--pid-file=", "--log-dhcp", "--dhcp-authoritative", "--no-ping",
                   f"--dhcp-leasefile={self.directory}/dnsmasq.leases", f"--dhcp-range={first},{last},255.255.255.0,2m",
                   "--dhcp-option=option:router,203.0.113.1", "--dhcp-option=option:dns-server,198.51.100.53",
                   "--dhcp-option=option:T1,5", "--dhcp-option=option:T2,100", *options)

    def start_kea(self, first, last, seconds):
        settings = {"Dhcp4": {
            "interfaces-config": {"interfaces": ["isp0"], "dhcp-socket-type": "raw"},
            "lease-database": {"type": "memfile", "persist": False},
            "authoritative": True, "valid-lifetime": seconds, "renew-timer": seconds // 3,
            "rebind-timer": seconds * 2 // 3,
            "subnet4": [{"subnet": "203.0.113.0/24", "pools": [{"pool": f"{first} - {last}"}],
                         "option-data": [{"name": "routers", "data": PROVIDER}]}],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]}]}}
        path = self.directory / "kea.json"
        path.write_text(json.dumps(settings))
        own = str(self.directory)
        self.start("kea-dhcp4", "-c", path, environment={"KEA_LOCKFILE_DIR": own, "KEA_PIDFILE_DIR": own})

    # --- what vmnatd says -----------------------------------------------------------------------------------

    def uplink(self):
        return self.vmnatd.ctl("status")["uplink"]

    def address(self):
        address = self.uplink()["address"]
        return address.split("/")[0] if address else None

    def wait_for_address(self, what, condition, seconds=60):
        return wait_until(lambda: condition(self.address()) and self.address(), what, seconds)

    # --- traffic --------------------------------------------------------------------------------------------

    def send(self, port, payload, size=0):
        self.vm.send(self.vm.to(GATEWAY_MAC) / IP(src=VM, dst=PROVIDER, flags="DF") /
                     UDP(sport=port, dport=ECHO_PORT) / Raw(payload.ljust(size, b".")))

    def ask(self, port, payload=b"who am I?"):
        """A datagram to the echo server and its answer: the address that it came from."""
        def answered():
            self.send(port, payload)
            with contextlib.suppress(Overdue):
                return self.vm.expect(lambda f: UDP in f and f[UDP].dport == port, "the echo", 2)
        frame = wait_until(answered, "an echo from outside", 20)
        return bytes(frame[UDP].payload).split()[0].decode()

    def refused(self, port, size=0):
        """The ICMP error that a datagram is answered with."""
        self.vm.drain()
        self.send(port, b"any way out?", size)
        error = self.vm.expect(lambda f: ICMP in f, "an ICMP error")
        return (error[ICMP].type, error[ICMP].code), error

    def call(self, address):
        """A datagram from outside to the forwarded port, as the VM gets it."""
        def arrives():
            self.caller.sendto(b"hello", (address, FORWARDED_PORT))
            self.answer_arp()
            with contextlib.suppress(Overdue):
                return self.vm.expect(lambda f: UDP in f and f[UDP].dport == 80, "the forwarded datagram", 1)
        return wait_until(arrives, f"a datagram to {address}:{FORWARDED_PORT} reaches the VM", 30)

    def answer_arp(self):
        """The VM tells vmnatd its MAC address when that asks for it."""
        frames = self.vm.drain()
        self.vm.unwanted = [frame for frame in frames if UDP in frame]
        for frame in frames:
            if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == VM:
                self.vm.send(self.vm.to(frame.src) / ARP(op=2, hwsrc=self.vm.mac, psrc=VM, hwdst=frame.src,
                                                         pdst=frame[ARP].psrc))

    def dhcp_options(self):
        """What a VM is told by DHCP."""
        mac = bytes.fromhex(self.vm.mac.replace(":", ""))
        self.vm.send(self.vm.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                     BOOTP(chaddr=mac, xid=7) / DHCP(options=[("message-type", "discover"), "end"]))
        offer = self.vm.expect(lambda f: DHCP in f, "an offer")
        return dict(option[:2] for option in offer[DHCP].options if isinstance(option, tuple))

    def evidence(self):
        server = self.server.log_tail() if self.server else "none"
        return self.vmnatd.evidence() + f"\n--- DHCP server\n{server}"


suite = Suite(Lab)


@suite.test("without a lease vmnatd is ready, serves its networks, and refuses the way out with net unreachable")
def no_server(lab):
    uplink = lab.uplink()
    check_equal((uplink["address"], uplink["gateway"], uplink["dhcp"]["state"], uplink["dhcp"]["server"]),
                (None, None, "selecting", None), "the uplink's status")
    check("no address" in lab.vmnatd.ctl_text("status"), "status says nothing of the missing address")
    kind, _ = lab.refused(4000)
    check_equal(kind, NET_UNREACHABLE, "the ICMP error")
    check_equal(lab.vmnatd.counters()["drop.no_uplink_address"], 1, "drop.no_uplink_address")
    lab.vm.send(lab.vm.to(GATEWAY_MAC) / IP(src=VM, dst=GATEWAY) / ICMP(id=7))
    lab.vm.expect(lambda f: ICMP in f and f[ICMP].type == 0, "the gateway's echo reply")
    check("router" in lab.dhcp_options(), "a VM gets no offer")
    check_equal(lab.vmnatd.ctl("forwards")[0]["external"], None, "the forward's external endpoint")


@suite.test("dnsmasq gives an address: it is announced, and VMs' traffic flows by it")
def bound_by_dnsmasq(lab):
    lab.start_dnsmasq("203.0.113.50", "203.0.113.59", "--dhcp-option=26,1400")
    address = lab.wait_for_address("an address of dnsmasq's range", lambda a: a)
    check(address.startswith("203.0.113.5"), address)
    uplink = lab.uplink()
    check_equal((uplink["address"], uplink["gateway"], uplink["dhcp"]["server"], uplink["mtu"]),
                (f"{address}/24", PROVIDER, PROVIDER, 1400), "the uplink's status")
    check_equal(lab.ask(4001), address, "the source of the VM's datagram")
    check_equal([network["external"] for network in lab.vmnatd.ctl("networks")], [[address]], "external addresses")


@suite.test("the lease's MTU bounds what leaves")
def mtu(lab):
    kind, error = lab.refused(4002, size=1400)
    check_equal((kind, error[ICMP].nexthopmtu), (FRAGMENTATION_NEEDED, 1400), "the ICMP error")


@suite.test("VMs are told the resolvers of the uplink's lease")
def resolvers(lab):
    wait_until(lambda: lab.dhcp_options().get("name_server") == "198.51.100.53", "the lease's resolver in an offer")


@suite.test("what strangers send to port 68 never reaches the client, however much it is")
def strangers(lab):
    stranger = Wire(lab.outside, "isp0", "52:54:00:bb:00:02")
    before = lab.vmnatd.counters()
    count = 500
    for number in range(count):
        stranger.send(stranger.to(config.UPLINK_MAC if number % 2 else BROADCAST) / IP(src="198.51.100.9", dst=lab.address()) /
                      UDP(sport=67, dport=68) / BOOTP(op=2, xid=number, chaddr=bytes.fromhex(config.UPLINK_MAC.replace(":", ""))) /
                      DHCP(options=[("message-type", "nak"), "end"]))
    stranger.close()
    wait_until(lambda: lab.vmnatd.counters()["drop.no_session"] + lab.vmnatd.counters()["drop.not_for_us"] >=
               before["drop.no_session"] + before["drop.not_for_us"] + count, "all of them are dropped")
    check_equal(lab.vmnatd.counters()["uplink.dhcp.ignored"], before["uplink.dhcp.ignored"], "what the client looked at in vain")
    check(lab.ask(4021), "a VM's datagram is not answered any more")


@suite.test("the lease is renewed, and sessions stay")
def renewed(lab):
    before = lab.uplink()["dhcp"]["expires"]
    lab.ask(4003)
    wait_until(lambda: lab.uplink()["dhcp"]["expires"] > before, "the lease ends later than before", 30)
    check("renewed" in lab.vmnatd.process.log(), "the log does not tell of the renewal")
    ports = {session["internal"] for session in lab.vmnatd.sessions()}
    check(f"{VM}:4003" in ports, f"the session is gone: {ports}")


@suite.test("a forward is reached at the leased address")
def forward(lab):
    frame = lab.call(lab.address())
    check_equal((frame[IP].src, frame[IP].dst), (PROVIDER, VM), "the forwarded datagram")


@suite.test("after a restart vmnatd asks for its former address, and is confirmed")
def restarted(lab):
    address = lab.address()
    discovers = lab.server.log().count("DHCPDISCOVER")
    lab.vmnatd.stop()
    lab.vmnatd.start()
    check_equal(lab.wait_for_address("an address again", lambda a: a), address, "the address")
    check_equal(lab.server.log().count("DHCPDISCOVER"), discovers, "DISCOVERs after the restart")


@suite.test("kill -9 of vmnatd costs no address either, and no session at it")
def killed(lab):
    address = lab.address()
    lab.ask(4005)
    before = {session["external"] for session in lab.vmnatd.sessions("--external", address)}
    lab.vmnatd.kill()
    lab.vmnatd.start()
    check_equal(lab.wait_for_address("an address again", lambda a: a), address, "the address")
    check_equal({session["external"] for session in lab.vmnatd.sessions("--external", address)}, before, "external endpoints")
    check(before, "there was no session")


@suite.test("a NAK to the renewal ends the old address and its sessions; new flows and forwards use the new one")
def changed(lab):
    former = lab.address()
    lab.ask(4004)
    check(lab.vmnatd.sessions("--external", former), "no session at the former address")
    os.unlink(lab.directory / "dnsmasq.leases")
    lab.start_dnsmasq("203.0.113.60", "203.0.113.69")
    address = lab.wait_for_address("an address of the new range", lambda a: a and a != former)
    check(address.startswith("203.0.113.6"), address)
    check_equal(lab.vmnatd.sessions("--external", former), [], "sessions at the former address")
    check_equal(lab.ask(4004), address, "the source of the same VM port's datagrams")
    check_equal(lab.uplink()["mtu"], 1500, "the MTU, of which the new lease says nothing")
    lab.call(address)
    check("the DHCP server refuses" in lab.vmnatd.process.log(), "the log does not tell of the NAK")
    for line in lab.vmnatd.ctl("invariants"):
        check(line["holds"], line["why"])


@suite.test("an address that another station has is declined, and the next one taken")
def conflict(lab):
    former = lab.address()
    lab.ask(4006)
    lab.vmnatd.stop()
    (lab.directory / "state/uplink-address").unlink()
    lab.stop_server()
    os.unlink(lab.directory / "dnsmasq.leases")
    neighbor = Wire(lab.outside, "isp0", "52:54:00:bb:00:01")
    lab.start_dnsmasq("203.0.113.70", "203.0.113.71", "--dhcp-sequential-ip")
    lab.vmnatd.start()
    probe = neighbor.expect(lambda f: ARP in f and f[ARP].psrc == "0.0.0.0", "an ARP probe", 60)
    check_equal(probe[ARP].pdst, "203.0.113.70", "the address probed for")
    neighbor.send(neighbor.to(probe.src) / ARP(op=2, hwsrc=neighbor.mac, psrc="203.0.113.70", hwdst=probe.src))
    address = lab.wait_for_address("an address", lambda a: a, 120)
    check_equal(address, "203.0.113.71", "the address that is free")
    check("DHCPDECLINE" in lab.server.log(), "the server was not told")
    check_equal(lab.vmnatd.sessions("--external", former), [], "sessions of the process before, at its address")
    check(lab.vmnatd.ctl("status")["sessions"]["former"]["restored"] > 0, "they had not waited for it")
    neighbor.close()


@suite.test("Kea refuses the former address and gives another one")
def bound_by_kea(lab):
    lab.start_kea("203.0.113.80", "203.0.113.89", 12)
    address = lab.wait_for_address("an address of Kea's pool", lambda a: a and a.startswith("203.0.113.8"), 120)
    check_equal(lab.ask(4005), address, "the source of the VM's datagram")


@suite.test("Kea's lease is renewed for longer than it lasts")
def renewed_by_kea(lab):
    address, renewals = lab.address(), lab.vmnatd.process.log().count("renewed")
    wait_until(lambda: lab.vmnatd.process.log().count("renewed") >= renewals + 4, "four renewals", 60)
    check_equal(lab.ask(4005), address, "the source of the VM's datagram")


@suite.test("when the server is gone the lease ends: no session, nothing forwarded, networks go on")
def expired(lab):
    address = lab.address()
    lab.stop_server()
    wait_until(lambda: lab.address() is None, "the uplink has no address", 60)
    wait_until(lambda: not lab.vmnatd.sessions("--external", address), "no session is left")
    kind, _ = lab.refused(4005)
    check_equal(kind, NET_UNREACHABLE, "the ICMP error")
    check("has expired" in lab.vmnatd.process.log(), "the log does not tell of the end")
    check("router" in lab.dhcp_options(), "a VM gets no offer")


@suite.test("when a server is back, so is the address")
def back(lab):
    lab.start_kea("203.0.113.80", "203.0.113.89", 3600)
    address = lab.wait_for_address("an address", lambda a: a, 120)
    check_equal(lab.ask(4006), address, "the source of the VM's datagram")


@suite.test("nothing but its own addresses ever left by the uplink, and every frame is accounted for")
def no_leaks(lab):
    sources = set()
    with contextlib.suppress(BlockingIOError):
        lab.uplink_watch.setblocking(False)
        while True:
            frame = lab.uplink_watch.recv(65536)
            if frame[12:14] == b"\x08\x00":
                sources.add(socket.inet_ntoa(frame[26:30]))
    strange = {source for source in sources if source != "0.0.0.0" and not source.startswith("203.0.113.")}
    check_equal(strange, set(), "sources on the uplink that are not its own")
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
