#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Leases by hand and in files: release, reserve, exports, infinite leases, and addresses that are in use; and what
clients of all kinds are told: names, network boot, INFORM, BOOTP.

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
from scapy.layers.l2 import Dot1Q

GATEWAY = "192.168.122.1"
BOOT_URL = "http://192.168.122.9/boot.efi"
OFFER, ACK = 2, 5


class Guest(Wire):
    """A wire that asks for an address, under any MAC; with a priority what it sends is tagged."""
    priority = None

    def to(self, *mac):
        ethernet = super().to(*mac)
        return ethernet if self.priority is None else ethernet / Dot1Q(vlan=0, prio=self.priority)

    def send_bootp(self, mac, source="0.0.0.0", ciaddr="0.0.0.0", behind=b""):
        """A message of BOOTP's shape; `behind` its header: the options."""
        self.mac = mac
        self.send(self.to() / IP(src=source, dst="255.255.255.255") / UDP(sport=68, dport=67) /
                  BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=int(mac[-2:], 16) + 77, ciaddr=ciaddr) / behind)

    def answer(self, mac, what, seconds=5):
        """The next one for this MAC, and its options."""
        frame = self.expect(lambda f: BOOTP in f and f[BOOTP].op == 2 and
                            f[BOOTP].chaddr[:6] == bytes.fromhex(mac.replace(":", "")), f"an answer to {what}", seconds)
        options = frame[DHCP].options if DHCP in frame else []
        return frame, dict(option[:2] for option in options if isinstance(option, tuple))

    def ask(self, mac, kind, seconds=5, source="0.0.0.0", ciaddr="0.0.0.0", **options):
        """A message and its answer: (type, address, options, header)."""
        chosen = [("message-type", kind), *options.items(), ("param_req_list", [1, 3, 6, 51, 66, 67]), "end"]
        self.send_bootp(mac, source, ciaddr, DHCP(options=chosen))
        frame, given = self.answer(mac, kind, seconds)
        return given["message-type"], frame[BOOTP].yiaddr, given, frame[BOOTP]

    def acquire(self, mac, **options):
        _, address, given, _ = self.ask(mac, "discover", **options)
        kind, *_ = self.ask(mac, "request", **{**options, "server_id": given["server_id"], "requested_addr": address})
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
                "boot": {"server": "192.168.122.9", "file": "pxelinux.0", "ipxe": "boot.ipxe",
                         "by_arch": [{"arch": 7, "file": "ipxe.efi"}, {"arch": 16, "file": BOOT_URL}]},
                "reservations": [{"mac": "52:54:00:cc:00:01", "address": "192.168.122.20", "hostname": "web1"},
                                 {"mac": "52:54:00:cc:00:02", "address": "192.168.122.21", "hostname": "rom"}],
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


def told(lab, mac, **options):
    """The file and the options that a client of this kind is offered."""
    kind, _, given, header = lab.vm1.ask(mac, "discover", **options)
    check_equal(kind, OFFER, "the answer to DISCOVER")
    return header.file.rstrip(b"\0").decode(), given


@suite.test("iPXE is told another file than the one that is iPXE, by either form of its user class")
def ipxe(lab):
    for user_class, file in ((b"iPXE", "boot.ipxe"), (b"\x04iPXE", "boot.ipxe"), (b"lab", "ipxe.efi")):
        check_equal(told(lab, "52:54:00:01:00:12", pxe_client_architecture=b"\x00\x07", user_class=user_class)[0], file,
                    f"the file for user class {user_class}")


@suite.test("UEFI's HTTP boot is answered as such, PXE and others are not")
def http_boot(lab):
    file, given = told(lab, "52:54:00:01:00:13", pxe_client_architecture=b"\x00\x10",
                       vendor_class_id=b"HTTPClient:Arch:00016:UNDI:003001")
    check_equal((file, given.get("vendor_class_id"), given.get("boot-file-name")),
                (BOOT_URL, b"HTTPClient", BOOT_URL.encode()), "what HTTP boot is told")
    for options in ({"vendor_class_id": b"PXEClient:Arch:00007:UNDI:003016", "pxe_client_architecture": b"\x00\x07"}, {}):
        check("vendor_class_id" not in told(lab, "52:54:00:01:00:13", **options)[1], f"{options} is told no class")
    check_equal(told(lab, "52:54:00:01:00:13", vendor_class_id=b"HTTPClient:Arch:00019", pxe_client_architecture=b"\x00\x13")[0],
                "", "what is told HTTP boot where there is no URL for it")


@suite.test("host names come from option 81 in both encodings, then from option 12, and stay over a renewal without one")
def names(lab):
    kinds = ((b"\0\0\0vm1.lab", None, "vm1.lab"), (b"\x05\0\0\x03vm2\x03lab\0", "other", "vm2.lab"),
             (b"\x04\0\0\xc0\x0c", "vm3", "vm3"), (None, "my_vm\0", "my_vm"))
    for number, (fqdn, hostname, name) in enumerate(kinds):
        options = {key: value for key, value in (("client_FQDN", fqdn), ("hostname", hostname)) if value}
        mac = f"52:54:00:04:00:{number:02x}"
        address = lab.vm1.acquire(mac, **options)
        check_equal(lab.lease(address)["hostname"], name, f"the name by {options}")
        check_equal(lab.vm1.ask(mac, "request", source=address, ciaddr=address)[0], ACK, "the answer to a renewal")
        check_equal(lab.lease(address)["hostname"], name, "the name after a renewal without one")
        wait_until(lambda: f" {address} {name} " in lab.dnsmasq.read_text() and f'"hostname": "{name}"' in
                   lab.libvirt.read_text(), "both exports have the name", 10)
    answered = lab.vm1.ask("52:54:00:04:00:01", "discover", client_FQDN=b"\x05\0\0\x03vm2\x03lab\0")[2]
    check_equal(answered.get("client_FQDN"), b"\x0e\xff\xff\x03vm2\x03lab\0", "option 81 of the answer")


@suite.test("a client whose messages are priority-tagged gets its address, and keeps it")
def tagged(lab):
    mac = "52:54:00:04:00:40"
    lab.vm1.priority = 5
    try:
        address = lab.vm1.acquire(mac)
        check_equal(lab.vm1.ask(mac, "request", source=address, ciaddr=address)[:2], (ACK, address), "the renewal")
    finally:
        lab.vm1.priority = None


@suite.test("a name is the lease's of who said it last, and a reservation's name its client's alone")
def names_that_are_taken(lab):
    first, second = (lab.vm1.acquire(mac, hostname="twin") for mac in ("52:54:00:04:00:10", "52:54:00:04:00:11"))
    check_equal((lab.lease(first)["hostname"], lab.lease(second)["hostname"]), (None, "twin"), "the names")
    check_equal(lab.lease(lab.vm1.acquire("52:54:00:04:00:12", hostname="WEB1"))["hostname"], None, "a reserved name")


@suite.test("an INFORM is answered, with ciaddr and without, and takes no lease")
def inform(lab):
    mac, static = "52:54:00:04:00:20", "192.168.122.60"
    for source, ciaddr in ((static, static), (static, "0.0.0.0")):
        kind, address, given, _ = lab.vm1.ask(mac, "inform", source=source, ciaddr=ciaddr)
        check_equal((kind, address, given.get("router"), "lease_time" in given), (ACK, "0.0.0.0", GATEWAY, False),
                    f"the answer to an INFORM from {source} with ciaddr {ciaddr}")
    check_equal(lab.lease(static), None, "the lease")
    ignored = lab.vmnatd.counters()["dhcp.ignored.bad_request"]
    for source, ciaddr in (("10.0.0.9", "10.0.0.9"), ("0.0.0.0", "0.0.0.0")):
        lab.vm1.send_bootp(mac, source, ciaddr, DHCP(options=[("message-type", "inform"), "end"]))
    wait_until(lambda: lab.vmnatd.counters()["dhcp.ignored.bad_request"] == ignored + 2, "both others are ignored")


@suite.test("a BOOTP client gets what is reserved for it for ever, and nothing else")
def bootp(lab):
    mac, cookie = "52:54:00:cc:00:02", b"c\x82Sc"
    lab.vm1.send_bootp(mac, behind=cookie + b"\xff" + bytes(59))
    frame, given = lab.vm1.answer(mac, "BOOTREQUEST")
    check_equal((frame[BOOTP].yiaddr, frame[BOOTP].siaddr, frame[BOOTP].file.rstrip(b"\0"), len(bytes(frame[UDP].payload))),
                ("192.168.122.21", "192.168.122.9", b"pxelinux.0", 300), "the BOOTREPLY")
    check_equal((given.get("subnet_mask"), given.get("router"), given.get("hostname")),
                ("255.255.255.0", GATEWAY, b"rom"), "its options")
    check({"message-type", "server_id", "lease_time"}.isdisjoint(given), "nothing that is DHCP's own")
    lease = lab.lease("192.168.122.21")
    check_equal((lease["state"], lease["expires"], lease["hostname"]), ("bound", None, "rom"), "the lease")
    ignored = lab.vmnatd.counters()["dhcp.ignored.bootp"]
    lab.vm1.send_bootp("52:54:00:04:00:30", behind=bytes(64))
    wait_until(lambda: lab.vmnatd.counters()["dhcp.ignored.bootp"] == ignored + 1, "one without a reservation is ignored")
    lab.vmnatd.stop()
    lab.vmnatd.start()
    check_equal(lab.lease("192.168.122.21")["expires"], None, "the lease's end after a restart")
    check_equal(lab.vm1.acquire(mac), "192.168.122.21", "the address once it speaks DHCP")
    check(lab.lease("192.168.122.21")["expires"] is not None, "the lease ends now")


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
