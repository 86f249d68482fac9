# SPDX-License-Identifier: Apache-2.0
"""UDP's own corners: the checksum that may be absent, and lengths (RFC 768, RFC 1122 4.1.3, RFC 3022 4.2)."""

from .case import IP, UDP, Differs, case, solid
from .gateway import REMOTE

LEAKS = "finds it invalid: it leaves with the inside source"


@case("a datagram without a checksum stays without one, both ways")
def no_checksum(t):
    port = t.port()
    question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53, chksum=0) / b"unchecked"
    t.put(t.vm1, question, router=[t.out(question)])
    answer = t.from_remote() / UDP(sport=53, dport=port, chksum=0) / b"unchecked, too"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


def with_checksum(frame, wanted):
    """The frame with two bytes of payload chosen so that its UDP checksum is the wanted one."""
    frame = frame / b"\0\0"
    missing = (solid(frame)[UDP].chksum - wanted) % 0xFFFF
    frame[UDP].remove_payload()
    return frame / missing.to_bytes(2, "big")


@case("a checksum that comes out as 0 is sent as 0xffff, on the way out")
def computed_zero_out(t):
    port = t.port()
    after = with_checksum(t.vm1.ip(REMOTE, src="203.0.113.2") / UDP(sport=port, dport=53), 0)
    question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / bytes(after[UDP].payload)
    expected = solid(t.out(question))
    assert expected[UDP].chksum == 0xFFFF
    t.put(t.vm1, question, router=[expected])


@case("a checksum that comes out as 0 is sent as 0xffff, on the way in")
def computed_zero_in(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    after = with_checksum(t.router.ip(t.vm1.address, src=REMOTE) / UDP(sport=53, dport=port), 0)
    answer = t.from_remote() / UDP(sport=53, dport=port) / bytes(after[UDP].payload)
    expected = solid(t.back(answer, t.vm1))
    assert expected[UDP].chksum == 0xFFFF
    t.put(t.router, answer, vm1=[expected])


@case("a checksum of 0xffff before the translation is right after it")
def all_ones(t):
    port = t.port()
    question = with_checksum(t.vm1.ip(REMOTE) / UDP(sport=port, dport=53), 0)
    assert solid(question)[UDP].chksum == 0xFFFF
    t.put(t.vm1, question, router=[t.out(question)])


@case("an empty datagram passes both ways")
def empty(t):
    port = t.port()
    question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53)
    t.put(t.vm1, question, router=[t.out(question)])
    answer = t.from_remote() / UDP(sport=53, dport=port)
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("odd and even lengths from 0 to 64 are right to the last bit")
def lengths(t):
    port = t.port()
    frames = [t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / bytes(range(200, 200 + min(length, 56))) / bytes(length % 7)
              for length in range(65)]
    t.put(t.vm1, *frames, router=[t.out(frame) for frame in frames])


@case("a datagram of just the uplink's MTU passes both ways")
def largest(t):
    port = t.port()
    question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / bytes(1372)
    t.put(t.vm1, question, router=[t.out(question)])
    answer = t.from_remote() / UDP(sport=53, dport=port) / bytes(1372)
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("a datagram with a wrong checksum stays wrong by as much")
def damaged(t):
    port = t.port()
    question = t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / b"damaged"
    expected = solid(t.out(question))
    expected[UDP].chksum = (expected[UDP].chksum + 0x0101) & 0xFFFF
    wrong = solid(question)
    wrong[UDP].chksum = (wrong[UDP].chksum + 0x0101) & 0xFFFF
    t.put(t.vm1, wrong, router=[expected], kernel=Differs(LEAKS, router=[t.leaked(wrong)]))


@case("a UDP length shorter than what IPv4 carries is honoured")
def short_length(t):
    port = t.port()
    question = solid(t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / b"counted")
    inside = question[IP].copy()
    inside.len += 4
    del inside.chksum
    longer = t.vm1.ether() / inside / b"more"
    outside = solid(t.out(question))[IP].copy()
    outside.len += 4
    del outside.chksum
    expected = t.router.ether() / outside / b"more"
    expected.src, expected.dst = "52:54:00:00:00:01", t.router.mac
    t.put(t.vm1, longer, router=[expected], kernel=Differs(LEAKS, router=[t.leaked(longer)]))


@case("the ports of DHCP, SSDP, mDNS and NetBIOS are ports like others")
def odd_numbers(t):
    for remote_port in (1900, 5353, 67, 68, 137):
        t.open_udp(t.vm1, remote_port=remote_port)
