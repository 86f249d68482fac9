#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Nobody crowds out the slow path: floods of what is for control, by a guest at the worker's full rate, and what others notice.

    default   192.168.122.1/24   flood .10 (vhost-user, driven by the test), vm2 .11 and vm3 on veths
    uplink    203.0.113.2/24     router 203.0.113.1 and other hosts, all on one raw wire

A flood goes on for as long as a block lasts. Meanwhile another VM is answered, and the router's ARP is heeded.
"""

import contextlib
import struct
import threading
import time

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import GUEST_BASE, MEMORY, NET_HEADER, SIZE, VhostUserGuest
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, ICMP, IP, UDP, Ether, Raw, Router, Wire

from scapy.layers.dhcp import BOOTP, DHCP

GATEWAY, FLOODER, VM2, REMOTE = "192.168.122.1", "192.168.122.10", "192.168.122.11", "198.51.100.2"
GATEWAY_MAC, FLOODER_MAC, ROUTER_MAC = "52:54:00:00:01:01", "52:54:00:aa:00:01", "52:54:00:ff:00:01"
SILENT, UPLINK = "203.0.113.66", config.UPLINK_ADDRESS
LONGEST_ON_LINK = 1514
BIG_BUFFER = 0x60000  # behind the guest's ordinary buffers


def discover(mac, transaction):
    return (Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
            BOOTP(chaddr=bytes.fromhex(mac.replace(":", "")), xid=transaction) / DHCP(options=[("message-type", "discover"), "end"]))


class Flooder(VhostUserGuest):
    """A guest that offers all of its ring at once, again and again: vmnatd's worker sets the pace."""

    @contextlib.contextmanager
    def flooding(self, frames, change=None):
        """Sends the frames, in turn, for as long as the block lasts; `change(round, write)` may rewrite them first."""
        ring, stop = self.transmit_queue, threading.Event()
        for head in range(SIZE):
            self.write(head, bytes(frames[head % len(frames)]))

        def flood():
            number = 0
            while not stop.is_set():
                if ring.used_index() != ring.offered & 0xFFFF:
                    time.sleep(0)
                    continue
                if change is not None:
                    change(number)
                for head in range(SIZE) if number == 0 else ():
                    self.memory.words[ring.available // 2 + 2 + (ring.offered + head) % SIZE] = head
                number += 1
                ring.offered += SIZE
                self.memory.words[ring.available // 2 + 1] = ring.offered & 0xFFFF
        thread = threading.Thread(target=flood)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            wait_until(lambda: ring.used_index() == ring.offered & 0xFFFF, "vmnatd has taken the last of the flood")
            ring.seen = ring.offered

    def write(self, head, frame):
        at = self.transmit_queue.buffer(head)
        self.memory.bytes[at:at + NET_HEADER + len(frame)] = bytes(NET_HEADER) + frame
        self.transmit_queue.describe(head, GUEST_BASE + at, NET_HEADER + len(frame))

    def routed(self, to, sport=4000):
        return self.to(GATEWAY_MAC) / IP(src=FLOODER, dst=to) / UDP(sport=sport, dport=9) / Raw(b"flood")


class Lab:
    def __init__(self, scope):
        directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "uplink0", wires, "isp0")
        for name in ("2", "3"):
            veth(gateway, f"port{name}", wires, f"vm{name}")
        self.router = Router(wires, "isp0", ROUTER_MAC, config.UPLINK_ROUTER)
        self.router.answers = True
        self.vm2, self.vm3 = (Wire(wires, f"vm{n}", f"52:54:00:aa:00:0{n}") for n in (2, 3))
        path = directory / "flood.sock"
        ports = [config.vhost_user_port("flood", path, mode="server"),
                 config.veth_port("vm2", "port2"), config.veth_port("vm3", "port3")]
        network = config.network("default", f"{GATEWAY}/24", ports, mac=GATEWAY_MAC,
                                 dhcp=config.dhcp("192.168.122.100", "192.168.122.150", check_before_offer=False))
        self.vmnatd = scope.enter_context(
            Vmnatd(directory, config.configuration(directory, "uplink0", [network]), namespace=gateway))
        self.flooder = scope.enter_context(Flooder(path, FLOODER_MAC))
        self.serial = 0
        wait_until(lambda: self.leaves(REMOTE), "a datagram leaves by the router")

    # --- vm2 ----------------------------------------------------------------------------------------------

    def send_from_vm2(self, to, payload, sport=5000):
        self.vm2.send(self.vm2.to(GATEWAY_MAC) / IP(src=VM2, dst=to) / UDP(sport=sport, dport=7) / Raw(payload))

    def leaves(self, to, seconds=2, mac=None):
        """A datagram of vm2's reaches the uplink's wire; its destination MAC."""
        self.serial += 1
        payload = b"datagram %d" % self.serial
        self.send_from_vm2(to, payload)
        with contextlib.suppress(Overdue):
            return self.router.expect(lambda f: UDP in f and bytes(f[UDP].payload).startswith(payload)
                                      and mac in (None, f.dst), f"{payload} on the uplink", seconds).dst
        return None

    def check_offers(self, count=10):
        """Each of so many DISCOVERs of vm3's is answered, at the first attempt."""
        for number in range(count):
            mac = f"52:54:00:cc:00:{number:02x}"
            self.serial += 1
            transaction = 0x7000 + self.serial
            self.vm3.send(discover(mac, transaction))
            self.vm3.expect(lambda f, xid=transaction: DHCP in f and f[BOOTP].op == 2 and f[BOOTP].xid == xid, f"the offer to {mac}")

    # --- the uplink ---------------------------------------------------------------------------------------

    def replies(self):
        return self.vmnatd.counters()["punt.arp_reply"]

    def check_router_is_heard(self, count=20):
        """Every ARP reply in the router's name comes through, and it is asked again and known again."""
        before = self.replies()
        for _ in range(count):
            self.router.send(self.router.to(config.UPLINK_MAC) / ARP(op=2, hwsrc=ROUTER_MAC, psrc=config.UPLINK_ROUTER, pdst=UPLINK))
            time.sleep(0.02)
        wait_until(lambda: self.replies() >= before + count, f"{count} ARP replies of the router reach control")
        self.make_asked("52:54:00:ff:00:99")
        self.answers_for(config.UPLINK_ROUTER, ROUTER_MAC)
        self.make_reachable()

    def make_reachable(self):
        """The router answers, whenever it is asked."""
        self.router.answers = True

        def is_reachable():
            self.router.drain()
            router = self.neighbor(config.UPLINK_ROUTER)
            return (router["state"], router["mac"]) == ("reachable", ROUTER_MAC)
        wait_until(is_reachable, "the router is reachable")

    def make_asked(self, stranger):
        """Somebody else claims to be the router, which still answers; a second later vmnatd asks it again, and it does not."""
        self.make_reachable()
        before = self.vmnatd.counters()["neighbors.claims_refuted"]

        def is_refuted():
            self.router.send(self.router.to(config.UPLINK_MAC) /
                             ARP(op=2, hwsrc=stranger, psrc=config.UPLINK_ROUTER, pdst=UPLINK))
            self.router.drain()
            return self.vmnatd.counters()["neighbors.claims_refuted"] > before
        wait_until(is_refuted, "the claim is refuted")
        self.router.answers = False

    def neighbor(self, address):
        return next((n for n in self.vmnatd.ctl("neighbors") if n["address"] == address and n["network"] == "uplink"), None)

    def answers_for(self, address, mac):
        request = self.router.expect(lambda f: self.router.asks_for(f, address), f"the ARP request for {address}")
        self.router.send(Ether(src=mac, dst=request.src) / ARP(op=2, hwsrc=mac, psrc=address, hwdst=request[ARP].hwsrc, pdst=UPLINK))

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("while a VM floods DHCP, each DISCOVER of another VM is answered and the router's ARP is heard")
def floods_dhcp(lab):
    before = lab.vmnatd.counters()
    with lab.flooder.flooding([discover(FLOODER_MAC, 1)]):
        lab.check_offers()
        lab.check_router_is_heard()
        check(lab.leaves(REMOTE), "a datagram of vm2's did not leave")
    grown = {name: value - before[name] for name, value in lab.vmnatd.counters().items()}
    check(grown["drop.punt_budget"] > 10_000, f"that was no flood: {grown['received']} frames")
    check_equal((grown["drop.punt_full"], grown["inject.dropped"]), (0, 0), "frames that found a ring full")
    lab.vmnatd.check_accounting()


@suite.test("while a VM floods a silent host of the uplink's link, others are served; the host costs control nothing")
def floods_silent_host(lab):
    before = lab.vmnatd.counters()
    with lab.flooder.flooding([lab.flooder.routed(SILENT)]):
        lab.check_offers()
        lab.check_router_is_heard()
        check(lab.leaves(REMOTE), "a datagram of vm2's did not leave")
        wait_until(lambda: lab.vmnatd.counters()["drop.neighbor_unresolved"] > before["drop.neighbor_unresolved"],
                   "the workers know that the host is silent")
    grown = {name: value - before[name] for name, value in lab.vmnatd.counters().items()}
    check(grown["received"] > 10_000, f"that was no flood: {grown['received']} frames")
    check(grown["punt.neighbor_unresolved"] < grown["received"] / 10,
          f"{grown['punt.neighbor_unresolved']} of {grown['received']} frames were punted")
    check_equal(grown["drop.punt_full"], 0, "frames that found the ring full")
    lab.vmnatd.check_accounting()


@suite.test("a new flow to a silent host of the uplink's link is answered with host unreachable")
def host_unreachable(lab):
    lab.vm2.drain()
    ports = iter(range(6000, 65000))

    def is_told():
        lab.send_from_vm2("203.0.113.67", b"anybody?", sport=next(ports))
        return any(ICMP in f and (f[ICMP].type, f[ICMP].code, f[IP].src) == (3, 1, GATEWAY) for f in lab.vm2.drain())
    wait_until(is_told, "host unreachable", 30)


@suite.test("while a VM scans the uplink's link, another VM's first datagram to a host there is delivered")
def scans_the_link(lab):
    scan = [lab.flooder.routed(f"203.0.113.{host}", sport=4001) for host in range(10, 10 + SIZE)]

    def next_hosts(number):
        for head in range(SIZE):
            host = 3 + (number * SIZE + head) % 197
            lab.flooder.write(head, bytes(lab.flooder.routed_template(host)))
    template = bytes(scan[0])

    def routed_template(host):
        frame = bytearray(template)
        frame[33] = host
        frame[24:26] = b"\0\0"
        frame[40:42] = b"\0\0"
        total = sum(struct.unpack("!10H", frame[14:34]))
        total = (total & 0xFFFF) + (total >> 16)
        frame[24:26] = struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
        return frame
    lab.flooder.routed_template = routed_template
    with lab.flooder.flooding(scan, next_hosts):
        for number in range(3):
            host, mac = f"203.0.113.{240 + number}", f"52:54:00:bb:00:0{number}"
            lab.router.drain()
            lab.send_from_vm2(host, b"first to %d" % number)
            lab.answers_for(host, mac)
            seen = lab.router.expect(lambda f, n=number: UDP in f and bytes(f[UDP].payload).startswith(b"first to %d" % n),
                                     f"vm2's first datagram to {host}")
            check_equal(seen.dst, mac, "where it goes")
        lab.check_offers(5)
    lab.vmnatd.check_accounting()


@suite.test("while a VM makes up MACs, states are published at a bounded rate, owners are left alone, others are served")
def makes_up_macs(lab):
    def new_macs(number):
        for head in range(SIZE):
            at = lab.flooder.transmit_queue.buffer(head) + NET_HEADER + 6
            lab.flooder.memory.bytes[at:at + 6] = struct.pack("!HI", 0x0200, number * SIZE + head)
    frame = lab.flooder.to(GATEWAY_MAC) / IP(src="192.168.122.77", dst=GATEWAY) / ICMP(id=1)
    lab.check_offers(1)  # settles whatever that changes
    before, began = lab.vmnatd.counters(), time.monotonic()
    with lab.flooder.flooding([frame], new_macs):
        lab.check_offers()
        time.sleep(1)
    grown = {name: value - before[name] for name, value in lab.vmnatd.counters().items()}
    elapsed = time.monotonic() - began
    check(grown["learn.missed"] > 0, f"that was no flood of MACs: {grown['received']} frames")
    check(0 < grown["states.published"] <= 110 * elapsed + 10, f"{grown['states.published']} states in {elapsed:.1f} s")
    check_equal(grown["states.owner_tables"], 0, "tables of owners made anew")
    lab.vmnatd.check_accounting()


@suite.test("a router that stops answering ARP is used by its last MAC, and followed when it answers from another one")
def silent_router(lab):
    new_mac = "52:54:00:ff:00:02"
    lab.make_asked(new_mac)
    for _ in range(4):
        lab.router.expect(lambda f: lab.router.asks_for(f, config.UPLINK_ROUTER), "the router is asked again and again", 20)
        check_equal(lab.leaves(REMOTE, 10), ROUTER_MAC, "where vm2's datagrams go meanwhile")
    check_equal((lab.neighbor(config.UPLINK_ROUTER)["state"], lab.neighbor(config.UPLINK_ROUTER)["mac"]), ("probing", ROUTER_MAC), "the router")
    lab.answers_for(config.UPLINK_ROUTER, new_mac)
    wait_until(lambda: lab.leaves(REMOTE, 2) == new_mac, "vm2's datagrams go to the router's new MAC")
    lab.router.send(lab.router.to(config.UPLINK_MAC) / ARP(op=2, hwsrc=ROUTER_MAC, psrc=config.UPLINK_ROUTER, pdst=UPLINK))
    lab.make_reachable()  # the new one is silent: back to the old one
    check_equal(lab.leaves(REMOTE, 10), ROUTER_MAC, "where vm2's datagrams go")


@suite.test("frames padded to 64 KB for hosts that are not resolved yet harm nobody")
def padded_frames(lab):
    guest = lab.flooder
    lab.router.drain()
    for number, length in enumerate((1515, 2049, 4000, 65535, 65536, 65540, 65556, 65557)):
        host, mac = f"203.0.113.{220 + number}", f"52:54:00:bb:01:0{number}"
        packet = bytes(guest.to(GATEWAY_MAC) / IP(src=FLOODER, dst=host) / UDP(sport=4100, dport=9) / Raw(b"x" * 72))
        check(BIG_BUFFER + NET_HEADER + length <= MEMORY, "the guest has no room for the frame")
        guest.send(packet + bytes(length - len(packet)), at=BIG_BUFFER)
        with contextlib.suppress(Overdue):  # where it is not taken nobody is asked for
            request = lab.router.expect(lambda f, to=host: lab.router.asks_for(f, to), "a request", 0.5)
            lab.router.send(Ether(src=mac, dst=request.src) / ARP(op=2, hwsrc=mac, psrc=host, hwdst=request[ARP].hwsrc, pdst=UPLINK))
    check(lab.leaves(REMOTE, 10), "a datagram of vm2's did not leave")
    lengths = [len(f) for f in lab.router.drain() + lab.router.unwanted]
    check_equal([n for n in lengths if n > LONGEST_ON_LINK or n < 42], [], "lengths of frames on the uplink")
    lab.vmnatd.check_accounting()
    check(lab.vmnatd.process.running(), "vmnatd has ended")


@suite.test("a VM that resets its driver again and again does not fill the log")
def flaps(lab):
    def lines():
        return [line for line in lab.vmnatd.process.log().splitlines() if "port flood is" in line]

    def link():
        return next(port["link"] for port in lab.vmnatd.ctl("ports") if port["name"] == "flood")
    for _ in range(15):
        lab.flooder.stop()
        wait_until(lambda: link() == "down", "vmnatd sees the link go down")
        lab.flooder.start()
        wait_until(lambda: link() == "up", "vmnatd sees the link come up")
    check(len(lines()) <= 13, f"{len(lines())} lines")
    wait_until(lambda: "flood: " in lab.vmnatd.process.log() and "more lines suppressed (link)" in lab.vmnatd.process.log(),
               "the log says how many lines it was spared")


@suite.test("after all of this every frame is accounted for")
def in_the_end(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.vmnatd.counters()["drop.punt_full"], 0, "frames that found the ring to control full")


if __name__ == "__main__":
    suite.main()
