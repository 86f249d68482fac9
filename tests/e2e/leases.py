#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Leases by hand and in files: release, reserve, exports, infinite leases, and addresses that are in use.

    default  192.168.122.1/24  vm1 and vm2, raw wires that speak DHCP
    other    192.168.5.1/24    vm3, leases for ever

Each subtest's VM has a MAC address of its own, so that it gets an address of its own.
"""

import contextlib
import json

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, IP, UDP, Wire

from scapy.layers.dhcp import BOOTP, DHCP

GATEWAY = "192.168.122.1"


class Guest(Wire):
    """A wire that asks for an address, under any MAC."""

    def ask(self, mac, kind, seconds=5, **options):
        """A message and its answer: (type, address, options)."""
        self.mac = mac
        chosen = [("message-type", kind), *options.items(), ("param_req_list", [1, 3, 6, 51, 66, 67]), "end"]
        self.send(self.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                  BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=int(mac[-2:], 16) + 77) / DHCP(options=chosen))
        frame = self.expect(lambda f: DHCP in f and f[BOOTP].chaddr[:6] == bytes.fromhex(mac.replace(":", "")),
                            f"an answer to {kind}", seconds)
        given = dict(option[:2] for option in frame[DHCP].options if isinstance(option, tuple))
        return given["message-type"], frame[BOOTP].yiaddr, given, frame[BOOTP]

    def acquire(self, mac, **options):
        _, address, given, _ = self.ask(mac, "discover", **options)
        kind, *_ = self.ask(mac, "request", server_id=given["server_id"], requested_addr=address)
        check_equal(kind, 5, "the answer to the REQUEST (5: ACK)")
        return address


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.inside = scope.enter_context(Namespace("gateway"))
        self.outside = scope.enter_context(Namespace("wires"))
        veth(self.inside, "uplink0", self.outside, "isp0")
        for name in ("1", "2", "3"):
            veth(self.inside, f"port{name}", self.outside, f"vm{name}")
        self.vm1, self.vm2, self.vm3 = (Guest(self.outside, f"vm{n}", f"52:54:00:aa:00:0{n}") for n in (1, 2, 3))
        self.dnsmasq, self.libvirt = self.directory / "dnsmasq.leases", self.directory / "virbr0.status"
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.inside))

    def configuration(self):
        dhcp = {"ranges": ["192.168.122.100-192.168.122.150"], "dns": ["9.9.9.9"],
                "boot": {"server": "192.168.122.9", "file": "pxelinux.0", "by_arch": [{"arch": 7, "file": "ipxe.efi"}]},
                "reservations": [{"mac": "52:54:00:cc:00:01", "address": "192.168.122.20", "hostname": "web1"}],
                "exports": {"dnsmasq": str(self.dnsmasq), "libvirt": str(self.libvirt)}}
        return config.configuration(self.directory, "uplink0", [
            config.network("default", f"{GATEWAY}/24", [config.veth_port("vm1", "port1"),
                                                        config.veth_port("vm2", "port2")], dhcp=dhcp),
            config.network("other", "192.168.5.1/24", [config.veth_port("vm3", "port3")],
                           dhcp={"lease_time": "infinite", "dns": [], "identity": "port"})])

    def lease(self, address):
        return next((lease for lease in self.vmnatd.ctl("leases") if lease["address"] == address), None)

    def exported(self):
        """What both files say: address -> MAC."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            lines = [line.split() for line in self.dnsmasq.read_text().splitlines()]
            status = json.loads(self.libvirt.read_text())
            one = {line[2]: line[1] for line in lines}
            other = {lease["ip-address"]: lease["mac-address"] for lease in status}
            check_equal(sorted(one) if one == other else other, sorted(one), "the other export")
            return one
        return None

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("a lease is given and exported in both forms within seconds")
def exported(lab):
    address = lab.vm1.acquire("52:54:00:01:00:01")
    wait_until(lambda: (lab.exported() or {}).get(address) == "52:54:00:01:00:01", "both exports have the lease", 10)
    check_equal([path.name for path in lab.directory.glob("*.new")], [], "files left behind")


@suite.test("a lease ended by hand is gone from listing and exports, and its address can be had again")
def released(lab):
    address = lab.vm1.acquire("52:54:00:01:00:02")
    check_equal(lab.lease(address)["state"], "bound", "the lease")
    check("has ended" in lab.vmnatd.ctl_text("lease", "release", address), "vmnatctl's sentence")
    check_equal(lab.lease(address)["state"], "released", "the lease")
    wait_until(lambda: address not in (lab.exported() or {address: 1}), "the exports no longer have it", 10)
    check_equal(lab.vm2.acquire("52:54:00:01:00:03", requested_addr=address), address, "another VM's wish")
    with_error(lab, "is not leased", "lease", "release", "192.168.122.149")
    with_error(lab, "of no network", "lease", "release", "10.0.0.1")


def with_error(lab, sentence, *command):
    try:
        lab.vmnatd.ctl_text(*command)
    except RuntimeError as refusal:
        return check(sentence in str(refusal), f"{command}: {refusal}")
    check(False, f"{command} was not refused")


@suite.test("an address is reserved live, by MAC and by port, and stays so over a restart")
def reserved(lab):
    lab.vmnatd.ctl_text("reserve", "add", "192.168.122.30", "--mac", "52:54:00:01:00:04", "--hostname", "db")
    lab.vmnatd.ctl_text("reserve", "add", "192.168.122.31", "--port", "vm2")
    check_equal((lab.lease("192.168.122.30")["state"], lab.lease("192.168.122.30")["reservation"]),
                ("reserved", "live"), "the reservation")
    lab.vmnatd.stop()
    lab.vmnatd.start()
    check_equal(lab.vm1.acquire("52:54:00:01:00:04"), "192.168.122.30", "the address reserved for the MAC")
    check_equal(lab.lease("192.168.122.30")["hostname"], "db", "the host name")
    check_equal(lab.vm2.acquire("52:54:00:01:00:05"), "192.168.122.31", "the address reserved for the port")
    check_equal(lab.lease("192.168.122.20")["reservation"], "configured", "the configuration's reservation")


@suite.test("a reservation that contradicts another is refused with the reason")
def refused(lab):
    mac = "52:54:00:01:00:06"
    with_error(lab, "by the configuration", "reserve", "add", "192.168.122.20", "--mac", mac)
    with_error(lab, "by the configuration", "reserve", "add", "192.168.122.33", "--mac", "52:54:00:cc:00:01")
    with_error(lab, "already", "reserve", "add", "192.168.122.30", "--mac", mac)
    with_error(lab, "already", "reserve", "add", "192.168.122.34", "--port", "vm2")
    with_error(lab, "has no port", "reserve", "add", "192.168.122.34", "--port", "vm3")
    with_error(lab, "no address for a VM", "reserve", "add", GATEWAY, "--mac", mac)
    with_error(lab, "change it there", "reserve", "del", "192.168.122.20")


@suite.test("a live reservation is taken back, once")
def unreserved(lab):
    lab.vmnatd.ctl_text("reserve", "del", "192.168.122.30")
    check_equal(lab.lease("192.168.122.30")["reservation"], None, "the reservation")
    with_error(lab, "is not reserved", "reserve", "del", "192.168.122.30")


@suite.test("a lease for ever never ends, in listings and in text")
def infinite(lab):
    address = lab.vm3.acquire("52:54:00:01:00:07")
    check_equal((lab.lease(address)["state"], lab.lease(address)["expires"]), ("bound", None), "the lease")
    check("never" in lab.vmnatd.ctl_text("leases"), "the table")


@suite.test("with identity: port whoever is on the port has its address")
def by_port(lab):
    first = lab.vm3.acquire("52:54:00:01:00:08")
    check_equal(lab.vm3.acquire("52:54:00:01:00:09"), first, "the address of another MAC on the port")


@suite.test("boot files go by the client's architecture")
def boot_files(lab):
    for arch, file in ((b"\x00\x07", b"ipxe.efi"), (b"\x00\x00", b"pxelinux.0")):
        lab.vm1.drain()
        *_, header = lab.vm1.ask("52:54:00:01:00:10", "discover", pxe_client_architecture=arch)
        check_equal(header.file.rstrip(b"\0"), file, f"the file for architecture {arch}")


@suite.test("an address that somebody took by hand is not offered")
def in_use(lab):
    mac = "52:54:00:01:00:11"
    wanted = "192.168.122.140"

    def answer_arp():
        request = lab.vm2.expect(lambda f: ARP in f and f[ARP].op == 1 and f[ARP].pdst == wanted, "who has it?")
        lab.vm2.mac = "52:54:00:dd:00:01"
        lab.vm2.send(lab.vm2.to(request.src) / ARP(op=2, hwsrc=lab.vm2.mac, psrc=wanted, hwdst=request.src,
                                                   pdst=request[ARP].psrc))
    with contextlib.suppress(Overdue):
        lab.vm1.ask(mac, "discover", seconds=0.05, requested_addr=wanted)
        check(False, "offered before anybody was asked")
    answer_arp()
    frame = lab.vm1.expect(lambda f: DHCP in f, "an offer", 5)
    check(frame[BOOTP].yiaddr not in ("0.0.0.0", wanted), f"offered {frame[BOOTP].yiaddr}")
    check_equal(lab.lease(wanted)["state"], "declined", "the address in use")
    check_equal(lab.vmnatd.counters()["dhcp.checks.in_use"], 1, "dhcp.checks.in_use")


@suite.test("every frame is accounted for")
def accounted(lab):
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
