# SPDX-License-Identifier: Apache-2.0
"""Checksums where one's complement arithmetic has its corners (RFC 1624): each expectation is computed from scratch."""

import random

from .case import ICMP, IP, TCP, UDP, case, solid
from .gateway import REMOTE


def with_header_checksum(frame, wanted):
    """The frame with an identification chosen so that its IPv4 checksum is the wanted one."""
    frame[IP].id = 0
    frame[IP].id = (solid(frame)[IP].chksum - wanted) % 0xFFFF
    return frame


@case("an IPv4 checksum that comes out as 0 is 0")
def header_zero(t):
    port = t.port()
    after = with_header_checksum(t.vm1.ip(REMOTE, src="203.0.113.2", ttl=63) / UDP(sport=port, dport=53) / b"x", 0)
    question = t.vm1.ip(REMOTE, id=after[IP].id) / UDP(sport=port, dport=53) / b"x"
    assert solid(t.out(question))[IP].chksum == 0
    t.put(t.vm1, question, router=[t.out(question)])


@case("an IPv4 checksum that was 0 is right after the translation")
def header_was_zero(t):
    question = with_header_checksum(t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / b"x", 0)
    assert solid(question)[IP].chksum == 0
    t.put(t.vm1, question, router=[t.out(question)])


@case("a TCP checksum that comes out as 0 is 0")
def tcp_zero(t):
    port = t.port()

    def segment(source, word):
        return t.vm1.ip(REMOTE, src=source) / TCP(sport=port, dport=80, flags="S", seq=1) / word.to_bytes(2, "big")
    word = solid(segment("203.0.113.2", 0))[TCP].chksum
    assert solid(segment("203.0.113.2", word))[TCP].chksum == 0
    t.pass_out(t.vm1, segment(t.vm1.address, word))


@case("an ICMP checksum that is 0 or comes out as 0 is right")
def icmp_zero(t):
    identifier = t.port()
    word = solid(t.vm1.ip(REMOTE) / ICMP(id=identifier) / b"\0\0")[ICMP].chksum
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier) / word.to_bytes(2, "big")
    assert solid(request)[ICMP].chksum == 0
    t.put(t.vm1, request, router=[t.out(request)])


@case("an IPv4 header whose checksum is wrong goes nowhere, and nobody is told")
def wrong_header(t):
    port = t.port()
    answer = t.open_udp(t.vm1, port)
    frame = solid(t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / b"x")
    frame[IP].chksum ^= 1
    t.put(t.vm1, frame, drop="ip_checksum")
    answer = solid(answer / b"x")
    answer[IP].chksum ^= 0x8000
    t.put(t.router, answer, drop="ip_checksum")


@case("two hundred datagrams of random bytes, lengths, TTL, TOS and identification, both ways")
def random_bytes(t):
    chance, port = random.Random(1624), t.port()

    def datagrams(header, l4):
        for _ in range(200):
            fields = {"ttl": chance.randrange(2, 256), "tos": chance.randrange(256), "id": chance.randrange(65536)}
            yield header(**fields) / l4.copy() / chance.randbytes(chance.randrange(0, 400))
    out = list(datagrams(lambda **fields: t.vm1.ip(REMOTE, **fields), UDP(sport=port, dport=53)))
    t.put(t.vm1, *out, router=[t.out(frame) for frame in out])
    back = list(datagrams(lambda **fields: t.from_remote(**fields), UDP(sport=53, dport=port)))
    t.put(t.router, *back, vm1=[t.back(frame, t.vm1) for frame in back])


@case("two hundred segments of random bytes, both ways")
def random_segments(t):
    chance, port = random.Random(5382), t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    out = [outbound("PA") / chance.randbytes(chance.randrange(0, 400)) for _ in range(200)]
    t.put(t.vm1, *out, router=[t.out(frame) for frame in out])
    back = [inbound("PA") / chance.randbytes(chance.randrange(0, 400)) for _ in range(200)]
    t.put(t.router, *back, vm1=[t.back(frame, t.vm1) for frame in back])


@case("a hundred flows to random remotes from random ports")
def random_flows(t):
    chance = random.Random(4787)
    frames = [t.vm1.ip(f"198.18.{chance.randrange(256)}.{chance.randrange(1, 255)}") /
              UDP(sport=t.port(), dport=chance.randrange(1, 65536)) / chance.randbytes(40) for _ in range(100)]
    t.put(t.vm1, *frames, router=[t.out(frame) for frame in frames])
