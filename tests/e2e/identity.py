#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who is who by DHCP: what a port holds stays its own, whatever its neighbours, the clock and the disk do.

    default  192.168.122.1/24  vm1: speaks vhost-user, so that it can reboot; vm2, vm3: raw wires with the guard on;
                               lab: a device as it comes, guard off, which may relay

vmnatd's state directory is a file system of 64 KiB, in a mount namespace of the daemon's own; its wall clock is
the machine's and as much more as the test writes to a file (clock_ahead.c, made with the system's compiler).
"""

import contextlib
import ctypes
import mmap
import os
import time

from harness import config, processes
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import VhostUserGuest
from harness.waiting import Overdue, deadline_in, wait_until
from harness.wire import ARP, ICMP, IP, UDP, Wire
from scapy.layers.dhcp import BOOTP, DHCP

GATEWAY, GATEWAY_MAC = "192.168.122.1", "52:54:00:00:01:01"
VM1, VM2, VM3, LAB = ("52:54:00:aa:00:0" + digit for digit in "1234")
RELAY = "192.168.122.9"
OFFER, ACK = 2, 5
DAY = 24 * 3600

CLOCK_AHEAD = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static const volatile long *ahead;
__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("CLOCK_AHEAD"), O_RDONLY);
  ahead = mmap(0, sizeof *ahead, PROT_READ, MAP_SHARED, file, 0);
}
int clock_gettime(clockid_t clock, struct timespec *time) {
  int answer = syscall(SYS_clock_gettime, clock, time);
  if (clock == CLOCK_REALTIME && ahead && ahead != MAP_FAILED) time->tv_sec += *ahead;
  return answer;
}
"""


class DhcpClient:
    """What a guest that sends and expects frames needs to speak DHCP, under any MAC."""

    serial = 0

    def send_dhcp(self, kind, mac=None, source="0.0.0.0", to=None, giaddr="0.0.0.0", bridged=False, **options):
        """`mac`: chaddr, and without a relay or bridge the sender. Returns the transaction's number."""
        DhcpClient.serial += 1
        chaddr = mac or self.mac
        chosen = [("message-type", kind), *options.items(), "end"]
        ethernet = self.to(GATEWAY_MAC if to else "ff:ff:ff:ff:ff:ff")
        ethernet.src = self.mac if giaddr != "0.0.0.0" or bridged else chaddr
        self.send(ethernet / IP(src=source, dst=to or "255.255.255.255") /
                  UDP(sport=67 if giaddr != "0.0.0.0" else 68, dport=67) /
                  BOOTP(chaddr=bytes.fromhex(chaddr.replace(":", "")), xid=DhcpClient.serial, giaddr=giaddr,
                        ciaddr=source if giaddr == "0.0.0.0" else "0.0.0.0") / DHCP(options=chosen))
        return DhcpClient.serial

    def answer_to(self, serial, seconds=10):
        """(type, address) of the answer."""
        frame = self.expect(lambda f: DHCP in f and f[BOOTP].xid == serial, f"an answer to {serial}", seconds)
        return kind_of(frame), frame[BOOTP].yiaddr

    def ask_for(self, address, mac=None, **keys):
        return self.answer_to(self.send_dhcp("request", mac, requested_addr=address, server_id=GATEWAY, **keys))

    def acquire(self, mac=None, tries=1):
        """`tries`: more than one when workers may not know yet that the MAC is to be had."""
        for _ in range(tries - 1):
            with contextlib.suppress(Overdue):
                self.answer_to(self.send_dhcp("discover", mac), 1)
                break
        kind, address = self.answer_to(self.send_dhcp("discover", mac))
        check_equal(kind, OFFER, "the answer to DISCOVER")
        check_equal(self.ask_for(address, mac), (ACK, address), "the answer to REQUEST")
        return address

    def release(self, address, mac=None):
        self.send_dhcp("release", mac, source=address, to=GATEWAY, server_id=GATEWAY)


class WireGuest(DhcpClient, Wire):
    pass


class VhostGuest(DhcpClient, VhostUserGuest):
    def send(self, frame, **where):
        """What it has received and nobody expected makes room."""
        while self.receive() is not None:
            pass
        super().send(frame, **where)


def kind_of(frame):
    return dict(option[:2] for option in frame[DHCP].options if isinstance(option, tuple))["message-type"]


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.state = self.directory / "state"
        self.state.mkdir()
        self.inside = scope.enter_context(Namespace("gateway"))
        self.outside = scope.enter_context(Namespace("wires"))
        veth(self.inside, "uplink0", self.outside, "isp0")
        for number in "234":
            veth(self.inside, f"port{number}", self.outside, f"wire{number}")
        self.vm2, self.vm3, self.lab = (WireGuest(self.outside, f"wire{number}", mac)
                                        for number, mac in zip("234", (VM2, VM3, LAB)))
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.inside,
                                                 wrapper=self.wrapper(scope)))
        self.vm1 = scope.enter_context(VhostGuest(self.directory / "vm1.sock", VM1))
        self.wait_for_link("up")

    def configuration(self):
        ports = [config.vhost_user_port("vm1", self.directory / "vm1.sock", mode="server"),
                 *(config.veth_port(f"vm{n}", f"port{n}") | {"guard": "on"} for n in "23")]
        dhcp = {"ranges": ["192.168.122.100-192.168.122.199"], "dns": ["9.9.9.9"], "limits": {"leases_per_port": 64}}
        return config.configuration(self.directory, "uplink0", [
            config.network("default", f"{GATEWAY}/24", [*ports, config.veth_port("lab", "port4")],
                           mac=GATEWAY_MAC, dhcp=dhcp)])

    def wrapper(self, scope):
        source, library, ahead = (self.directory / name for name in ("clock_ahead.c", "clock_ahead.so", "ahead"))
        source.write_text(CLOCK_AHEAD)
        processes.run(["cc", "-shared", "-fPIC", "-o", library, source])
        ahead.write_bytes(bytes(8))
        file = scope.enter_context(open(ahead, "r+b"))
        self.ahead = ctypes.c_long.from_buffer(mmap.mmap(file.fileno(), 8))
        mounts = f"mount --make-rprivate / && mount -t tmpfs -o size=64k none {self.state} && "
        return ["sh", "-c", f'{mounts} CLOCK_AHEAD={ahead} LD_PRELOAD={library} exec "$@"', "sh"]

    def daemons_state(self):
        """The state directory as the daemon sees it."""
        return f"/proc/{self.vmnatd.process.pid}/root{self.state}"

    def lease(self, address):
        return next((lease for lease in self.vmnatd.ctl("leases") if lease["address"] == address), None)

    def port(self, name):
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def wait_for_link(self, link):
        wait_until(lambda: self.port("vm1")["link"] == link, f"vm1 is {link}")

    def notes(self):
        return [note for note in self.vmnatd.ctl("status")["notes"] if "leases" in note]

    @contextlib.contextmanager
    def growing(self, **by):
        """After the block these counters ("__" for ".") have grown by just that."""
        names = {name.replace("__", "."): number for name, number in by.items()}
        before = self.vmnatd.counters()

        def grown():
            now = self.vmnatd.counters()
            return {name: now.get(name, 0) - before.get(name, 0) for name in names} == names
        yield
        wait_until(grown, f"{names} more, of {({name: before.get(name, 0) for name in names})}", 10)

    @contextlib.contextmanager
    def leased(self, guest, mac=None):
        address = guest.acquire(mac)
        yield address
        guest.release(address, mac)
        wait_until(lambda: self.lease(address)["state"] != "bound", "the lease is over", 10)

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


def check_is_itself(lab, guest, address):
    """The guest speaks in its own name, and the lease is its port's."""
    check_equal((lab.lease(address)["mac"], lab.lease(address)["state"]), (guest.mac, "bound"), "the lease")
    guest.send(guest.to(GATEWAY_MAC) / IP(src=address, dst=GATEWAY) / ICMP(id=DhcpClient.serial))
    guest.expect(lambda f: ICMP in f and f[ICMP].type == 0, "the gateway's answer")
    check_equal(guest.ask_for(address), (ACK, address), "a renewal")


@suite.test("a relay's messages are heeded only by a port that may relay, and take nothing from another port even there")
def relays(lab):
    with lab.leased(lab.vm1) as address:
        for guest, counter in ((lab.vm2, "dhcp__ignored__no_relay"), (lab.lab, "dhcp__ignored__held_elsewhere")):
            with lab.growing(**{counter: 3, "dhcp__sent__ack": 0, "dhcp__sent__nak": 0}):
                for kind, options in (("request", {"requested_addr": address, "server_id": GATEWAY}),
                                      ("request", {"requested_addr": address}), ("discover", {})):
                    guest.send_dhcp(kind, VM1, source=RELAY, to=GATEWAY, giaddr=RELAY, **options)
            check_equal(lab.lease(address)["port"], "vm1", "the lease's port")
        check_is_itself(lab, lab.vm1, address)


@suite.test("while a VM reboots its MAC, address and lease stay its port's, and are nobody else's")
def reboots(lab):
    address = lab.vm1.acquire()
    lab.vm1.stop()
    lab.wait_for_link("down")
    with lab.growing(drop__spoofed_mac=3):
        lab.vm2.send_dhcp("discover", VM1)
        lab.vm2.send_dhcp("request", VM1, requested_addr=address)
        lab.vm2.send(lab.vm2.to() / ARP(op=1, hwsrc=VM1, psrc="192.168.122.77", pdst=GATEWAY))
    with lab.growing(dhcp__ignored__held_elsewhere=2):  # by a port without a guard
        lab.lab.send_dhcp("discover", VM1)
        lab.lab.send_dhcp("request", VM1, requested_addr=address)
    check_equal([(row["address"], row["port"]) for row in lab.vmnatd.ctl("leases") if row["mac"] == VM1],
                [(address, "vm1")], "leases of the MAC")
    lab.vm1.start()
    lab.wait_for_link("up")
    check_is_itself(lab, lab.vm1, address)


@suite.test("a lease ended by hand may be had by another port, with its MAC")
def moved(lab):
    address = next(row["address"] for row in lab.vmnatd.ctl("leases") if row["mac"] == VM1)
    lab.vmnatd.ctl_text("lease", "release", address)
    check_equal(lab.vm2.acquire(VM1, tries=5), address, "the address by the other port")
    check_equal(lab.lease(address)["port"], "vm2", "the lease's port")
    lab.vm2.release(address, VM1)
    wait_until(lambda: lab.lease(address)["state"] == "released", "the lease is over")


@suite.test("what a BOOTP client was given is its port's, which may use it, until it is ended by hand")
def by_bootp(lab):
    mac, address, cookie = "52:54:00:06:00:01", "192.168.122.210", b"c\x82Sc\xff"
    lab.vmnatd.ctl_text("reserve", "add", address, "--mac", mac)
    request = lab.vm2.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) / BOOTP(
        chaddr=bytes.fromhex(mac.replace(":", "")), xid=0x6b6f) / (cookie + bytes(59))
    request.src = mac
    lab.vm2.send(request)
    lab.vm2.expect(lambda f: BOOTP in f and f[BOOTP].xid == 0x6b6f and f[BOOTP].yiaddr == address, "the BOOTREPLY", 10)
    check_equal((lab.lease(address)["port"], lab.lease(address)["expires"]), ("vm2", None), "the lease")
    check(any(owned["address"] == address for owned in lab.port("vm2")["owns"]), "vm2 owns the address")

    def is_answered():
        ping = lab.vm2.to(GATEWAY_MAC) / IP(src=address, dst=GATEWAY) / ICMP(id=0x6b6f)
        ping.src = mac
        lab.vm2.send(ping)
        with contextlib.suppress(Overdue):
            return lab.vm2.expect(lambda f: ICMP in f and f[ICMP].type == 0 and f[ICMP].id == 0x6b6f, "an echo", 1)
        return None
    wait_until(is_answered, "the gateway answers the address, which the guard lets pass", 10)
    lab.vmnatd.ctl_text("lease", "release", address)
    lab.vmnatd.ctl_text("reserve", "del", address)
    wait_until(lambda: not lab.port("vm2")["owns"], "vm2 owns nothing any more", 10)


@suite.test("vmnatctl ports shows what a port owns, and what was refused it")
def shown(lab):
    refused = lab.port("vm2")["refused"]
    check(refused["spoofed_mac"] >= 3 and refused["dhcp.no_relay"] == 3, f"refused: {refused}")
    with lab.leased(lab.vm1) as address:
        check_equal(lab.port("vm1")["owns"], [{"mac": VM1, "address": address, "by": "lease"}], "what vm1 owns")
        check(address in lab.vmnatd.ctl_text("ports"), "in the table, too")
    check_equal((lab.port("vm1")["owns"], lab.port("vm1")["owns_total"]), ([], 0), "what it owns afterwards")


def offers_behind_a_relay(lab, clients, between):
    """How many get one; a client asks once."""
    wanted = set()
    for number in range(clients):
        wanted.add(lab.lab.send_dhcp("discover", f"52:54:00:0{int(between * 4)}:00:{number:02x}", source=RELAY, to=GATEWAY,
                                     giaddr=RELAY))
        time.sleep(between)
    served, addresses = set(), set()
    deadline = deadline_in(10)
    while served != wanted and time.monotonic() < deadline:
        frame = lab.lab.expect(lambda f: DHCP in f and f[BOOTP].xid in wanted - served, "an offer", 10)
        check_equal((frame[IP].dst, frame[UDP].dport, frame.dst), (RELAY, 67, LAB), "where the offer goes: to the relay")
        served.add(frame[BOOTP].xid)
        addresses.add(frame[BOOTP].yiaddr)
    check_equal(len(addresses), len(served), "addresses of their own")
    return len(served)


@suite.test("fifteen clients behind one relay are all offered an address, in one burst and at four a second")
def behind_a_relay(lab):
    for between in (0, 0.25):
        check_equal(offers_behind_a_relay(lab, 15, between), 15, f"offers, with {between} s in between")


@suite.test("stations behind a bridge's one MAC are each offered an address, where the port may relay and nowhere else")
def behind_a_bridge(lab):
    serials = {f"52:54:00:05:00:{number:02x}": None for number in range(15)}
    for mac in serials:
        serials[mac] = lab.lab.send_dhcp("discover", mac, bridged=True)
    offers = {mac: lab.lab.answer_to(serial) for mac, serial in serials.items()}
    check_equal(({kind for kind, _ in offers.values()}, len({address for _, address in offers.values()})), ({OFFER}, 15),
                "fifteen offers")
    mac, (_, address) = next(iter(offers.items()))
    check_equal(lab.lab.ask_for(address, mac, bridged=True), (ACK, address), "the answer to REQUEST")
    check_equal((lab.lease(address)["mac"], lab.lease(address)["port"]), (mac, "lab"), "the lease")
    with lab.growing(dhcp__ignored__foreign_mac=1):
        lab.vm2.send_dhcp("discover", "52:54:00:05:01:01", bridged=True)
    lab.lab.send_dhcp("release", mac, source=address, to=GATEWAY, server_id=GATEWAY, bridged=True)
    wait_until(lambda: lab.lease(address)["state"] == "released", "the lease is over", 10)


@suite.test("a DISCOVER that is repeated asks nobody again")
def repeated(lab):
    mac = "52:54:00:01:00:20"
    lab.vm3.drain()
    with lab.growing(dhcp__checks__asked=1):
        serials = [lab.vm2.send_dhcp("discover", mac) for _ in range(30)]
        check_equal(lab.vm2.answer_to(serials[-1])[0], OFFER, "the answer to the last")
    questions = [f for f in lab.vm3.drain() if ARP in f and f[ARP].op == 1]
    check(0 < len({f[ARP].pdst for f in questions}) and len(questions) <= 64, f"{len(questions)} questions")


@suite.test("a VM that answers every probe keeps nobody from a lease, and fills no log")
def claims_everything(lab):
    before = lab.vmnatd.counters()
    served = 0
    for number in range(3):
        serial = lab.vm2.send_dhcp("discover", f"52:54:00:02:00:{number:02x}")
        deadline = deadline_in(12)
        while time.monotonic() < deadline:
            if (frame := lab.vm3.receive(0.005)) is not None and ARP in frame and frame[ARP].op == 1:
                lab.vm3.send(lab.vm3.to(frame.src) / ARP(op=2, hwsrc=VM3, psrc=frame[ARP].pdst, hwdst=frame.src,
                                                         pdst=frame[ARP].psrc))
            answer = lab.vm2.receive(0)
            if answer is not None and DHCP in answer and answer[BOOTP].xid == serial:
                served += 1
                break
    check_equal(served, 3, "VMs that were offered an address")
    now = lab.vmnatd.counters()
    check(now["dhcp.checks.in_use"] - before["dhcp.checks.in_use"] <= 12, "an eighth of 100 addresses was believed")
    check(now["dhcp.checks.claims_ignored"] > before["dhcp.checks.claims_ignored"], "and more was not")
    lines = lab.vmnatd.process.log().count("in use without a lease")
    check(1 <= lines <= 12, f"{lines} lines in the log")


@suite.test("a step of the wall clock by a day, ahead and back, ends no lease and frees no name")
def clock_steps(lab):
    address = lab.vm1.acquire()
    guard = lab.port("vm1")["guard"]
    for ahead in (DAY, -DAY, 0):
        steps = lab.vmnatd.process.log().count("the wall clock was set")
        daemons_time = time.time() + ahead
        lab.ahead.value = ahead
        wait_until(lambda: lab.lease(address)["state"] != "bound" or
                   lab.vmnatd.process.log().count("the wall clock was set") > steps, "vmnatd sees the step")
        check_equal((lab.lease(address)["state"], lab.port("vm1")["guard"]), ("bound", guard), "lease and guard")
        ends = time.mktime(time.strptime(lab.lease(address)["expires"] + " UTC", "%Y-%m-%dT%H:%M:%SZ %Z")) - time.timezone
        check(daemons_time < ends <= daemons_time + 3700, f"it ends {ends - daemons_time} s after the step, by the set clock")
    check_is_itself(lab, lab.vm1, address)
    lab.vm1.release(address)


def fill(directory):
    with open(f"{directory}/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(512))


@suite.test("on a full disk VMs are served from memory, status says so, and what waits is written when there is room")
def full_disk(lab):
    old = lab.vm1.acquire()
    fill(lab.daemons_state())
    for number in range(120):  # until the journal's last page is full
        if lab.notes():
            break
        check_equal(lab.vm1.ask_for(old), (ACK, old), f"renewal {number}")
    check_equal(len(lab.notes()), 1, "notes about leases")
    check("will not survive a restart" in lab.notes()[0] and "No space left" in lab.notes()[0], lab.notes()[0])
    for _ in range(3):
        check_equal(lab.vm1.ask_for(old), (ACK, old), "a renewal")
    new = lab.vm2.acquire("52:54:00:03:00:01")
    lab.vm1.release(old)
    wait_until(lambda: lab.lease(old)["state"] == "released", "a release takes effect")
    check_equal(lab.vm1.ask_for("10.0.0.1")[0], 6, "the answer to a REQUEST of a wrong address (6: NAK)")
    check(lab.vmnatd.counters()["dhcp.journal.failures"] > 0, "the failures are counted")
    check(lab.vmnatd.process.log().count("will not survive a restart") <= 3, "lines in the log")
    os.unlink(f"{lab.daemons_state()}/filler")
    wait_until(lambda: not lab.notes(), "the leases are kept again", 20)
    check_equal(lab.vmnatd.counters()["dhcp.journal.waiting"], 0, "changes that wait")
    with open(f"{lab.daemons_state()}/leases-default.journal", "rb") as journal:
        check(bytes.fromhex("525400030001") in journal.read(), "the lease given meanwhile is in the journal")
    check_equal(lab.lease(new)["state"], "bound", "the lease")


@suite.test("every frame is accounted for")
def accounted(lab):
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
