# SPDX-License-Identifier: Apache-2.0
"""Protocols without ports that we know: translated by address, one inside holder of (external, remote, protocol)."""

from .case import Differs, case
from .frames import PROHIBITED, PROTOCOL_UNREACHABLE, Error
from .gateway import EXTERNAL

PROTOCOLS = {"GRE": (47, bytes.fromhex("000008004500001400000000400100000a0000010a000002")),
             "ESP": (50, bytes.fromhex("00001234000000015a5a5a5a5a5a5a5a")),
             "AH": (51, bytes.fromhex("32040000000012340000000100000000")),
             "IPIP": (4, bytes.fromhex("45000014000000004006000001010101020202020000")),
             "IGMP": (2, bytes.fromhex("1100eeff00000000")), "OSPF": (89, bytes(24)),
             "an experimental protocol": (253, b"whatever"), "protocol 255": (255, b"\xff" * 20)}
NAMES = ("GRE", "ESP", "AH", "IPIP", "IGMP", "OSPF", "an experimental protocol", "protocol 255")
LAST = iter(range(1, 250))


def remote() -> str:
    """A remote of its own for each case: a protocol without ports has no other way to tell flows apart."""
    return f"198.19.7.{next(LAST)}"


for each_name in NAMES:
    @case(f"{each_name} goes out and comes back by address alone")
    def both_ways(t, name=each_name):
        number, payload = PROTOCOLS[name]
        there = remote()
        sent = t.vm1.ip(there, proto=number) / payload
        t.put(t.vm1, sent, router=[t.out(sent)])
        answer = t.from_remote(there, proto=number) / payload[::-1]
        t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("SCTP goes out and comes back with its ports and checksum untouched")
def sctp(t):
    there = remote()
    chunk = bytes.fromhex("0100001412345678000100000a000a0000000001")
    sent = t.vm1.ip(there, proto=132) / (bytes.fromhex("1388138900000000deadbeef") + chunk)
    t.put(t.vm1, sent, router=[t.out(sent)],
          kernel=Differs("knows SCTP: a wrong CRC32c is invalid", router=[t.leaked(sent)]))


@case("a packet without any payload passes")
def empty(t):
    there = remote()
    sent = t.vm1.ip(there, proto=253)
    t.put(t.vm1, sent, router=[t.out(sent)])


@case("a second VM towards the same remote and protocol is refused, a third remote is not")
def one_holder(t):
    there, elsewhere = remote(), remote()
    first = t.vm1.ip(there, proto=253) / b"first"
    t.put(t.vm1, first, router=[t.out(first)])
    second = t.vm2.ip(there, proto=253) / b"second"
    t.put(t.vm2, second, drop="no_port", vm2=[Error(PROHIBITED, second, t.vm2.gateway)],
          kernel=Differs("drops it in silence"))
    other = t.vm2.ip(elsewhere, proto=253) / b"elsewhere"
    t.put(t.vm2, other, router=[t.out(other)])
    other_protocol = t.vm2.ip(there, proto=254) / b"another protocol"
    t.put(t.vm2, other_protocol, router=[t.out(other_protocol)])


@case("what comes from outside without a holder reaches nobody")
def unsolicited(t):
    frame = t.from_remote(remote(), proto=47) / PROTOCOLS["GRE"][1]
    t.put(t.router, frame, drop="no_session",
          kernel=Differs("says that it has no such protocol", router=[Error(PROTOCOL_UNREACHABLE, frame, EXTERNAL)]))


@case("what comes from another remote than the holder's reaches nobody")
def other_remote(t):
    sent = t.vm1.ip(remote(), proto=253) / b"hello"
    t.put(t.vm1, sent, router=[t.out(sent)])
    frame = t.from_remote(remote(), proto=253) / b"me, too"
    t.put(t.router, frame, drop="no_session",
          kernel=Differs("says that it has no such protocol", router=[Error(PROTOCOL_UNREACHABLE, frame, EXTERNAL)]))


@case("a protocol that the gateway does not speak is refused by it")
def to_gateway(t):
    frame = t.vm1.ip(t.vm1.gateway, proto=253) / b"do you speak this?"
    t.put(t.vm1, frame, drop="gateway_service", vm1=[Error(PROTOCOL_UNREACHABLE, frame, t.vm1.gateway)])
