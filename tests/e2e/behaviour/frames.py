# SPDX-License-Identifier: Apache-2.0
"""Frames as they are sent, as they must look when translated, and what an ICMP error must hold.

    sent = vm1.ip(REMOTE) / UDP(sport=4000, dport=53) / b"question"
    translated(sent, source=EXTERNAL, sport=4000, macs=...)     # TTL one less, checksums computed anew

Expected checksums are computed from the whole packet, by Scapy: nothing here updates one incrementally, which
is what is under test.
"""

from typing import NamedTuple

from harness.wire import ICMP, IP, TCP, UDP, Ether

ETHERNET_BYTES, SHORTEST_FRAME = 14, 60
NET_UNREACHABLE, HOST_UNREACHABLE, PROTOCOL_UNREACHABLE, PORT_UNREACHABLE = (3, 0), (3, 1), (3, 2), (3, 3)
FRAGMENTATION_NEEDED, PROHIBITED, TTL_EXPIRED, PARAMETER_PROBLEM = (3, 4), (3, 13), (11, 0), (12, 0)


def solid(packet) -> Ether:
    """The same frame with every field computed, as the other end will see it."""
    return Ether(bytes(packet))


def without_checksums(packet):
    packet = packet.copy()
    for layer in (IP, TCP, UDP, ICMP):
        if layer in packet and not (layer is UDP and packet[UDP].chksum == 0):
            del packet[layer].chksum
    return packet


def renumber(packet, role, port):
    """The transport port of that role, "sport" or "dport", or the identifier of an ICMP query."""
    if port is None:
        return
    if ICMP in packet:
        packet[ICMP].id = port
    elif TCP in packet or UDP in packet:
        setattr(packet[TCP if TCP in packet else UDP], role, port)


def translated(frame, macs, source=None, destination=None, sport=None, dport=None, hops=1) -> bytes:
    """What becomes of a frame whose addresses and ports are exchanged on its way through a router."""
    packet = solid(frame).copy()
    packet.src, packet.dst = macs
    packet[IP].ttl -= hops
    packet[IP].src, packet[IP].dst = source or packet[IP].src, destination or packet[IP].dst
    renumber(packet, "sport", sport)
    renumber(packet, "dport", dport)
    return bytes(without_checksums(packet))


def routed(frame, macs) -> bytes:
    """Forwarded as it is, the TTL one less: what a router does that does not translate."""
    raw = bytearray(bytes(frame))
    raw[0:6], raw[6:12] = bytes_of_mac(macs[1]), bytes_of_mac(macs[0])
    raw[22] -= 1
    header = 14 + 4 * (raw[14] & 15)
    raw[24:26] = bytes(2)
    raw[24:26] = internet_checksum(bytes(raw[14:header])).to_bytes(2, "big")
    return bytes(raw)


def bytes_of_mac(mac) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def internet_checksum(data) -> int:
    total = sum(int.from_bytes(data[at:at + 2].ljust(2, b"\0"), "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def quoting(packet, octets=8) -> bytes:
    """What a router quotes of an IPv4 packet: the header and the first bytes of what follows."""
    raw = bytes(packet)
    return raw[:4 * (raw[0] & 15) + octets]


def ip_of(frame) -> IP:
    return solid(frame)[IP]


def without_trailer(raw) -> bytes:
    """Without what Ethernet pads behind a short IPv4 packet."""
    if len(raw) > SHORTEST_FRAME or len(raw) < 34 or raw[12:14] != b"\x08\x00":
        return raw
    return raw[:max(ETHERNET_BYTES + 20, ETHERNET_BYTES + int.from_bytes(raw[16:18], "big"))]


class Error(NamedTuple):
    """An ICMP error that the gateway itself sends about a frame, to whoever sent it."""
    kind: tuple          # type and code
    about: object        # the frame
    source: str          # the address it comes from
    mtu: int = 0
    quoted: bytes = b""  # the packet as its sender knows it, where that is not the frame itself

    def fault(self, raw) -> str:
        """What is wrong with the frame that came; empty when it is this error."""
        frame, about = Ether(raw), bytes(self.about)
        if ICMP not in frame:
            return "is no ICMP"
        packet = self.quoted or about[14:]
        header = frame[IP]
        seen = (frame.dst, frame.src, header.src, header.dst, frame[ICMP].type, frame[ICMP].code)
        wanted = (mac_text(about[6:12]), mac_text(about[0:6]), self.source, address_text(packet[12:16]), *self.kind)
        if seen != wanted:
            return f"is {seen} instead of {wanted}"
        if self.mtu and frame[ICMP].nexthopmtu != self.mtu:
            return f"tells the MTU {frame[ICMP].nexthopmtu}"
        message = raw[14 + 4 * header.ihl:14 + header.len]
        if internet_checksum(message) or internet_checksum(raw[14:14 + 4 * header.ihl]):
            return "has a wrong checksum"
        quote = message[8:]
        length = min(len(packet), len(quote))
        if length < min(len(packet), 28) or quote[:length] != packet[:length]:
            return f"quotes {quote[:40].hex(' ')} instead of {packet[:40].hex(' ')}"
        return ""

    def __str__(self):
        return f"ICMP error {self.kind} from {self.source}"


def rejected(frame, source) -> Error:
    """The kernel's `reject` where it forwards: it quotes what it was about to send on, the TTL one less."""
    return Error(PORT_UNREACHABLE, frame, source, quoted=routed(frame, ("02:00:00:00:00:00",) * 2)[14:])


class Reset(NamedTuple):
    """A TCP RST that answers a segment of no connection: RFC 9293 section 3.10.7.1, CLOSED."""
    about: object

    def fault(self, raw) -> str:
        frame, about = Ether(raw), solid(self.about)
        if TCP not in frame or not frame[TCP].flags.R:
            return "is no RST"
        seen = (frame[IP].src, frame[IP].dst, frame[TCP].sport, frame[TCP].dport)
        wanted = (about[IP].dst, about[IP].src, about[TCP].dport, about[TCP].sport)
        if seen != wanted:
            return f"is from and to {seen}"
        seen = (str(frame[TCP].flags), frame[TCP].seq, frame[TCP].ack)
        length = about[IP].len - 4 * (about[IP].ihl + about[TCP].dataofs) + about[TCP].flags.S + about[TCP].flags.F
        wanted = ("R", about[TCP].ack, 0) if about[TCP].flags.A else ("RA", 0, about[TCP].seq + length)
        if seen != wanted:
            return f"says {seen} instead of {wanted}"
        return "" if bytes(without_checksums(frame)) == without_trailer(raw) else "has a wrong checksum"

    def __str__(self):
        return "RST"


class Exact(NamedTuple):
    raw: bytes

    def fault(self, raw) -> str:
        raw = without_trailer(raw)
        if raw == self.raw:
            return ""
        return (f"is\n  {describe(raw)}\n  {raw.hex(' ')}\ninstead of\n"
                f"  {describe(self.raw)}\n  {self.raw.hex(' ')}")

    def __str__(self):
        return describe(self.raw)


def expectation(wanted):
    return wanted if hasattr(wanted, "fault") else Exact(bytes(wanted))


def describe(raw) -> str:
    return f"{Ether(raw).summary()}, {len(raw)} bytes"


def mac_text(raw) -> str:
    return ":".join(f"{byte:02x}" for byte in raw)


def address_text(raw) -> str:
    return ".".join(map(str, raw))
