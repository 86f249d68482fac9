# SPDX-License-Identifier: Apache-2.0
"""Headers and lengths that contradict each other or the frame, from a VM and from outside, inside a live flow.

Each is tried in the name of a flow that exists: what a careless parser would find by its address and port bytes, and
send on. The kernel drops what IPv4 forbids; what TCP, UDP or ICMP forbid it calls invalid, does not translate, and
forwards: with the inside source, from a VM; to the host's own sockets, from outside.
"""

from .case import ICMP, TCP, UDP, Differs, case, solid
from .frames import internet_checksum, routed
from .gateway import REMOTE, ROUTER_MAC, UPLINK_MAC

LEAKS = "leaves with the inside source"
IP_AT, L4_AT = 14, 34


def mended(raw, header_bytes=20) -> bytes:
    """With the right IPv4 header checksum, as far as the header is there."""
    raw = bytearray(raw)
    raw[24:26] = b"\0\0"
    raw[24:26] = internet_checksum(bytes(raw[IP_AT:IP_AT + header_bytes])).to_bytes(2, "big")
    return bytes(raw)


def version_ihl(value, header_bytes=20):
    def spoil(raw):
        raw[IP_AT] = value
        return mended(raw, header_bytes)
    return spoil


def total_length(change):
    def spoil(raw):
        raw[16:18] = change(len(raw) - IP_AT).to_bytes(2, "big")
        return mended(raw)
    return spoil


def cut(length):
    """The frame ends there; IPv4's length says so, too."""
    def spoil(raw):
        raw = raw[:length]
        raw[16:18] = (length - IP_AT).to_bytes(2, "big")
        return mended(raw)
    return spoil


def byte(at, value):
    def spoil(raw):
        raw[at] = value
        return bytes(raw)
    return spoil


def word(at, change):
    def spoil(raw):
        raw[at:at + 2] = (change(int.from_bytes(raw[at:at + 2], "big")) & 0xFFFF).to_bytes(2, "big")
        return bytes(raw)
    return spoil


# What is wrong; how; the drop reason; whether the kernel lets it out. Payload of the good frames: 40 bytes.
IPV4 = (
    ("an IPv4 header length of 0", version_ihl(0x40), "ip_header"),
    ("an IPv4 header length of 16 bytes", version_ihl(0x44), "ip_header"),
    ("an IPv4 header longer than the packet", lambda raw: version_ihl(0x4F)(bytearray(cut(60)(raw))), "ip_header"),
    ("IP version 5", version_ihl(0x55), "ip_header"),
    ("IP version 6 in an IPv4 frame", version_ihl(0x65), "ip_header"),
    ("IP version 0", version_ihl(0x05), "ip_header"),
    ("a total length of 0", total_length(lambda _: 0), "ip_header"),
    ("a total length of 19", total_length(lambda _: 19), "ip_header"),
    ("a total length one more than the frame holds", total_length(lambda length: length + 1), "ip_header"),
    ("a total length of 65535", total_length(lambda _: 65535), "ip_header"),
    ("only the Ethernet header", lambda raw: bytes(raw[:14]), "ip_header"),
    ("half of an IPv4 header", lambda raw: bytes(raw[:24]), "ip_header"),
    ("an IPv4 header but for its last byte", lambda raw: bytes(raw[:33]), "ip_header"),
)
TRANSPORT = (
    (UDP, "no UDP header", cut(L4_AT)),
    (UDP, "half of a UDP header", cut(L4_AT + 4)),
    (UDP, "a UDP header but for its last byte", cut(L4_AT + 7)),
    (UDP, "a UDP length of 0", word(L4_AT + 4, lambda _: 0)),
    (UDP, "a UDP length of 7", word(L4_AT + 4, lambda _: 7)),
    (UDP, "a UDP length one more than IPv4 carries", word(L4_AT + 4, lambda length: length + 1)),
    (UDP, "a UDP length of 65535", word(L4_AT + 4, lambda _: 65535)),
    (TCP, "no TCP header", cut(L4_AT)),
    (TCP, "TCP ports and nothing more", cut(L4_AT + 4)),
    (TCP, "a TCP header but for its last byte", cut(L4_AT + 19)),
    (TCP, "a TCP data offset of 0", byte(L4_AT + 12, 0x00)),
    (TCP, "a TCP data offset of 16 bytes", byte(L4_AT + 12, 0x40)),
    (TCP, "a TCP data offset beyond the segment", lambda raw: byte(L4_AT + 12, 0xF0)(bytearray(cut(L4_AT + 40)(raw)))),
    (ICMP, "no ICMP header", cut(L4_AT)),
    (ICMP, "half of an ICMP header", cut(L4_AT + 4)),
    (ICMP, "an ICMP header but for its last byte", cut(L4_AT + 7)),
)


def flow(t, l4):
    """An open flow of vm1; a frame of its each way, as they could follow."""
    port = t.port()
    if l4 is TCP:
        outbound, inbound = t.open_tcp(t.vm1, port)
        return outbound("PA") / bytes(40), inbound("PA") / bytes(40)
    if l4 is UDP:
        return t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / bytes(40), t.open_udp(t.vm1, port) / bytes(40)
    request = t.vm1.ip(REMOTE) / ICMP(id=port, seq=1) / bytes(40)
    t.put(t.vm1, request, router=[t.out(request)])
    return request, t.from_remote() / ICMP(type=0, id=port, seq=1) / bytes(40)


for each_what, each_spoil, each_reason in IPV4:
    @case(f"{each_what}: dropped, from a VM and from outside")
    def bad_header(t, spoil=each_spoil, reason=each_reason):
        out, back = flow(t, UDP)
        t.put(t.vm1, spoil(bytearray(bytes(out))), drop=reason)
        t.put(t.router, spoil(bytearray(bytes(back))), drop=reason)

for each_l4, each_what, each_spoil in TRANSPORT:
    @case(f"{each_what}: dropped, from a VM and from outside")
    def bad_transport(t, l4=each_l4, spoil=each_spoil):
        out, back = flow(t, l4)
        bad = spoil(bytearray(bytes(out)))
        t.put(t.vm1, bad, drop="l4_header", kernel=Differs(LEAKS, router=[routed(bad, (UPLINK_MAC, ROUTER_MAC))]))
        t.put(t.router, spoil(bytearray(bytes(back))), drop="l4_header")


@case("bytes behind the end of a packet are not counted as its own")
def behind_the_end(t):
    out, _ = flow(t, UDP)
    t.put(t.vm1, bytes(solid(out)) + b"\xaa" * 7, router=[Longer(t.out(out))])


class Longer:
    """The packet, with or without the bytes that stood behind it in its frame."""

    def __init__(self, raw):
        self.raw = raw

    def fault(self, raw):
        return "" if raw.startswith(self.raw) and len(raw) <= len(self.raw) + 7 else f"is {raw.hex(' ')}"
