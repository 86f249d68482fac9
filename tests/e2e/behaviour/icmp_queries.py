# SPDX-License-Identifier: Apache-2.0
"""ICMP queries: of the gateway, of the uplink's address, and through the NAT (RFC 5508 sections 3 and 7)."""

from .case import ICMP, Differs, case
from .frames import PROHIBITED, Error, translated
from .gateway import EXTERNAL, REMOTE

INVALID = "not a query that it tracks: leaves with the inside source"


def echo_reply(t, request, station):
    """What the pinged gateway answers: addresses turned round, TTL 64, the same data."""
    reply = request.copy()
    reply[ICMP].type = 0
    reply["IP"].src, reply["IP"].dst, reply["IP"].ttl = request["IP"].dst, request["IP"].src, 64
    return translated(reply, (station.gateway_mac, station.mac), hops=0)


class Pong:
    """The kernel answers with an identification of its own; everything else is as we know it."""

    def __init__(self, raw):
        self.raw = raw

    def fault(self, raw):
        return "" if raw[:18] + raw[20:24] + raw[26:] == self.raw[:18] + self.raw[20:24] + self.raw[26:] else \
            f"is {raw.hex(' ')} instead of {self.raw.hex(' ')}"


def pinged(t, station, request, **options):
    reply = echo_reply(t, request, station)
    t.put(station, request, **{station.name: [Pong(reply)]}, **options)


for guest_name in ("vm1", "vm3", "vm4", "vm5"):
    @case(f"the gateway answers {guest_name}'s ping on its network")
    def of_gateway(t, name=guest_name):
        guest = getattr(t, name)
        pinged(t, guest, guest.ip(guest.gateway) / ICMP(id=t.port(), seq=3) / bytes(range(56)))


@case("the gateway answers a ping of 1472 bytes")
def long_ping(t):
    pinged(t, t.vm1, t.vm1.ip(t.vm1.gateway) / ICMP(id=t.port(), seq=3) / bytes(1472))


@case("the uplink's address answers a ping from outside")
def of_uplink(t):
    pinged(t, t.router, t.from_remote() / ICMP(id=t.port(), seq=1) / b"anybody there?")


@case("the uplink's address answers a ping from inside")
def of_uplink_from_inside(t):
    for guest in (t.vm1, t.vm5):
        pinged(t, guest, guest.ip(EXTERNAL) / ICMP(id=t.port(), seq=1) / b"anybody there?")


@case("the gateway of another network is not reached")
def of_other_gateway(t):
    ping = t.vm1.ip(t.vm3.gateway) / ICMP(id=t.port(), seq=1) / b"anybody there?"
    t.put(t.vm1, ping, drop="between_networks", vm1=[Error(PROHIBITED, ping, t.vm1.gateway)],
          kernel=Differs("any address of the host answers", vm1=[Pong(echo_reply(t, ping, t.vm1))]))


@case("a ping with a wrong checksum is not answered by one that is right")
def damaged_ping(t):
    ping = t.vm1.ip(t.vm1.gateway) / ICMP(id=t.port(), seq=1, chksum=0x1111) / b"damaged"
    reply = echo_reply(t, ping, t.vm1)
    damaged = bytearray(reply)
    damaged[36:38] = (0x1111 + 0x0800).to_bytes(2, "big")
    t.put(t.vm1, ping, vm1=[bytes(damaged)], kernel=Differs("is silent"))


@case("a timestamp request goes out and its reply comes back")
def timestamp(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(type=13, id=identifier, seq=1, ts_ori=1, ts_rx=0, ts_tx=0)
    t.put(t.vm1, request, router=[t.out(request)])
    reply = t.from_remote() / ICMP(type=14, id=identifier, seq=1, ts_ori=1, ts_rx=2, ts_tx=3)
    t.put(t.router, reply, vm1=[t.back(reply, t.vm1)])


@case("information and address mask requests, long obsolete, are dropped")
def obsolete(t):
    for number in (15, 17):
        request = t.vm1.ip(REMOTE) / ICMP(type=number, id=t.port(), seq=1) / bytes(4)
        t.put(t.vm1, request, drop="icmp_type", kernel=Differs("still tracks them", router=[t.out(request)]))


@case("an echo reply of a VM that nobody asked for does not leave")
def reply_out(t):
    reply = t.vm1.ip(REMOTE) / ICMP(type=0, id=t.port(), seq=1) / b"unasked"
    t.put(t.vm1, reply, drop="icmp_type", kernel=Differs(INVALID, router=[t.leaked(reply)]))


@case("an ICMP type that nobody knows does not leave")
def unknown_out(t):
    for number in (2, 10, 42, 255):
        message = t.vm1.ip(REMOTE) / ICMP(type=number, id=t.port()) / b"what?"
        t.put(t.vm1, message, drop="icmp_type", kernel=Differs(INVALID, router=[t.leaked(message)]))


@case("an ICMP type that nobody knows does not come in")
def unknown_in(t):
    for number in (2, 9, 42, 255):
        t.put(t.router, t.from_remote() / ICMP(type=number, id=t.port()) / b"what?", drop="icmp_type")


@case("an echo request from outside to a mapped identifier is the gateway's to answer")
def request_to_mapping(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier) / b"?"
    t.put(t.vm1, request, router=[t.out(request)])
    pinged(t, t.router, t.from_remote() / ICMP(id=identifier, seq=1) / b"and you?")


@case("several replies to one request all come in")
def duplicates(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier, seq=1) / b"?"
    t.put(t.vm1, request, router=[t.out(request)])
    reply = t.from_remote() / ICMP(type=0, id=identifier, seq=1) / b"?"
    t.put(t.router, reply, reply, reply, vm1=[t.back(reply, t.vm1)] * 3)


@case("a trailer behind a short packet changes no checksum")
def trailer(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier, seq=1) / b"odd"
    padded = bytes(request).ljust(60, b"\xff")
    t.put(t.vm1, padded, router=[t.out(request)])
