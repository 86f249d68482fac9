# SPDX-License-Identifier: Apache-2.0
"""Raw frames on one end of a veth: what goes in is given to the byte, what comes out is seen to the byte.

    vm = Wire(wires, "vm1", mac="52:54:00:aa:00:01")
    vm.send(vm.to(GATEWAY_MAC) / IP(src="192.168.122.10", dst=HOST) / UDP(sport=4000, dport=53) / b"question")
    frame = uplink.expect(lambda f: UDP in f and f[UDP].dport == 53, "the question, translated")
    check_checksums(frame)

Frames are Scapy's packets; a Wire has no kernel address, so that nobody but the test answers on it.
"""

import logging
import socket
import struct
import time

from .namespace import packet_socket
from .tap import check, check_equal
from .waiting import Overdue, deadline_in

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.inet import ICMP, IP, TCP, UDP  # noqa: E402
from scapy.layers.l2 import ARP, Ether  # noqa: E402
from scapy.packet import Raw  # noqa: E402

__all__ = ["ARP", "BROADCAST", "Ether", "ICMP", "IP", "Raw", "Router", "TCP", "UDP", "Wire", "check_checksums"]

# <linux/if_packet.h>
SOL_PACKET, PACKET_AUXDATA, TP_STATUS_VLAN_VALID = 263, 8, 0x10
AUXDATA = struct.Struct("IIIHHHH")  # tpacket_auxdata: ..., vlan_tci, vlan_tpid

BROADCAST = "ff:ff:ff:ff:ff:ff"


class Wire:
    def __init__(self, namespace, interface, mac):
        self.interface, self.mac = interface, mac
        self.socket = packet_socket(namespace, interface)
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.unwanted = []  # frames that arrived while another was expected

    def to(self, mac=BROADCAST) -> Ether:
        return Ether(src=self.mac, dst=mac)

    def send(self, frame):
        self.socket.send(bytes(frame))

    def receive(self, seconds):
        """The next frame, or None when none comes in time."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            return Ether(with_tag(*self.socket.recvmsg(65536, socket.CMSG_SPACE(AUXDATA.size))[:2]))
        except TimeoutError:
            return None

    def expect(self, wanted, what, seconds=30):
        """The first frame that is wanted, among those kept and those still to come; others are kept."""
        for frame in self.unwanted:
            if wanted(frame):
                self.unwanted.remove(frame)
                return frame
        deadline = deadline_in(seconds)
        while time.monotonic() < deadline:
            frame = self.receive(deadline - time.monotonic())
            if frame is None or self.is_answered_at_once(frame):
                continue
            if wanted(frame):
                return frame
            self.unwanted.append(frame)
        seen = "\n".join(f.summary() for f in self.unwanted[-10:])
        raise Overdue(f"{self.interface}: {what} did not come within {seconds} s; what came:\n{seen}")

    def drain(self) -> list[Ether]:
        """All that has arrived and nobody expected; afterwards there is nothing left."""
        while (frame := self.receive(0)) is not None:
            if not self.is_answered_at_once(frame):
                self.unwanted.append(frame)
        frames, self.unwanted = self.unwanted, []
        return frames

    def is_answered_at_once(self, _frame) -> bool:
        return False

    def close(self):
        self.socket.close()


def with_tag(frame, control) -> bytes:
    """The frame with its VLAN tag, which the kernel hands over beside it."""
    for level, kind, content in control:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, *_, tci, tpid = AUXDATA.unpack(content)
            if status & TP_STATUS_VLAN_VALID:
                return frame[:12] + struct.pack("!HH", tpid, tci) + frame[12:]
    return frame


class Router(Wire):
    """The next hop beyond the uplink; answers ARP for its address from when `answers` is set."""

    def __init__(self, namespace, interface, mac, address):
        super().__init__(namespace, interface, mac)
        self.address, self.answers = address, False

    @staticmethod
    def asks_for(frame, address) -> bool:
        return ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == address

    def answer(self, request):
        self.send(self.to(request.src) / ARP(op=2, hwsrc=self.mac, psrc=request[ARP].pdst,
                                             hwdst=request[ARP].hwsrc, pdst=request[ARP].psrc))

    def is_answered_at_once(self, frame) -> bool:
        if self.answers and self.asks_for(frame, self.address):
            self.answer(frame)
            return True
        return False


def check_checksums(frame):
    """IPv4's and TCP's, UDP's or ICMP's checksum equal what Scapy computes for the same bytes."""
    given = frame[IP].copy()
    again = frame[IP].copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in again:
            del again[layer].chksum
    again = IP(bytes(again))
    for layer in (IP, TCP, UDP, ICMP):
        if layer in given:
            check_equal(hex(given[layer].chksum), hex(again[layer].chksum), f"{layer.__name__} checksum of {given.summary()}")
    check(given.len <= len(frame) - 14, f"IPv4 total length {given.len} is more than the frame's {len(frame)} bytes")
