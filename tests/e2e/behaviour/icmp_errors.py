# SPDX-License-Identifier: Apache-2.0
"""ICMP errors of others, translated by what they quote, and the gateway's own (RFC 5508 sections 4 to 7)."""

from harness.wire import Ether

from .case import ICMP, IP, TCP, UDP, Differs, case, solid
from .frames import (FRAGMENTATION_NEEDED, PORT_UNREACHABLE, PROHIBITED, TTL_EXPIRED, Error, quoting,
                     rejected, routed)
from .gateway import EXTERNAL, NOBODY, REMOTE, ROUTER, ROUTER_MAC, STRANGER, UPLINK_MAC, UPLINK_MTU

HOP = "192.0.2.33"  # a router on the way
LEAKS = "leaves with the inside source"


def about(frame, octets=8, hops=0, **changes):
    """What a hop quotes of a frame: header with a good checksum, and so many bytes of what follows."""
    packet = solid(frame)[IP].copy()
    packet.ttl -= hops
    for name, value in changes.items():
        setattr(packet, name, value)
    del packet.chksum
    return quoting(packet, octets)


def message(kind, quote, **fields):
    return ICMP(type=kind[0], code=kind[1], **fields) / quote


def send_out(t, frame, guest=None):
    """The frame leaves; returns it as the router saw it."""
    out = t.out(frame)
    t.put(guest or t.vm1, frame, router=[out])
    return Ether(out)


def error_in(t, frame, kind, hop=HOP, octets=8, guest=None, **fields):
    """An error about a frame that went out reaches the VM, and quotes what the VM had sent, its TTL one less."""
    guest = guest or t.vm1
    outside = send_out(t, frame, guest)
    error = t.router.ip(EXTERNAL, src=hop) / message(kind, about(outside, octets), **fields)
    inner = about(frame, octets, hops=1)
    expected = guest.ether() / IP(src=hop, dst=guest.address, id=0x1234, ttl=63) / message(kind, inner, **fields)
    expected.src, expected.dst = guest.gateway_mac, guest.mac
    t.put(t.router, error, **{guest.name: [expected]})


def datagram(t, **fields):
    return t.vm1.ip(REMOTE, **fields) / UDP(sport=t.port(), dport=33434) / bytes(range(40))


def segment(t, **fields):
    return t.vm1.ip(REMOTE, **fields) / TCP(sport=t.port(), dport=80, flags="S", seq=1) / b""


def ping(t, **fields):
    return t.vm1.ip(REMOTE, **fields) / ICMP(id=t.port(), seq=1) / bytes(range(40))


KINDS = {"port unreachable": PORT_UNREACHABLE, "host unreachable": (3, 1), "prohibited": PROHIBITED,
         "TTL expired": TTL_EXPIRED, "reassembly time exceeded": (11, 1), "parameter problem": (12, 0)}
PACKETS = {"UDP": datagram, "TCP": segment, "ICMP": ping}

for kind_name, each_kind in KINDS.items():
    @case(f"{kind_name} about UDP, TCP and ICMP that went out reaches the VM in its own terms")
    def comes_in(t, kind=each_kind):
        for make in PACKETS.values():
            error_in(t, make(t), kind)


@case("fragmentation needed reaches the VM with the next hop's MTU")
def path_mtu(t):
    for make in PACKETS.values():
        error_in(t, make(t, flags="DF"), FRAGMENTATION_NEEDED, nexthopmtu=1280)


@case("an error that quotes the whole packet has its transport checksum mended, too")
def whole_quote(t):
    for make in PACKETS.values():
        error_in(t, make(t), PORT_UNREACHABLE, octets=1000)


@case("an error that quotes an odd number of bytes is right to the last bit")
def odd_quote(t):
    for octets in (9, 17, 21, 27):
        error_in(t, datagram(t), PORT_UNREACHABLE, octets=octets)


@case("an error that quotes UDP without a checksum leaves it without one")
def quoted_without_checksum(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=9, chksum=0) / b"unchecked"
    error_in(t, frame, PORT_UNREACHABLE, octets=1000)


@case("an error that quotes IPv4 options passes")
def quoted_options(t):
    for make in PACKETS.values():
        error_in(t, make(t, options=[b"\x01\x01\x01\x00"]), PORT_UNREACHABLE)


@case("an error of a host on the uplink's subnet and of the remote itself passes")
def from_anywhere(t):
    for hop in (REMOTE, ROUTER):
        error_in(t, datagram(t), PORT_UNREACHABLE, hop=hop)


@case("an error about a second network's flow reaches that network's VM")
def other_network(t):
    frame = t.vm5.ip(REMOTE) / UDP(sport=t.port(), dport=9) / b"from vm5"
    error_in(t, frame, PORT_UNREACHABLE, guest=t.vm5)


@case("an error about no session of ours is dropped in silence")
def about_nothing(t):
    for inner in (UDP(sport=t.port(), dport=9), TCP(sport=t.port(), dport=9), ICMP(id=t.port())):
        quote = about(t.router.ether() / IP(src=EXTERNAL, dst=REMOTE) / inner / b"never sent")
        t.put(t.router, t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, quote), drop="icmp_error")


@case("an error that quotes another remote than the flow's is dropped")
def about_another_remote(t):
    outside = send_out(t, datagram(t))
    outside[IP].dst = STRANGER
    error = t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, about(outside))
    t.put(t.router, error, drop="icmp_error")


@case("an error with a wrong checksum is dropped (RFC 5508 REQ-3a)")
def wrong_checksum(t):
    outside = send_out(t, datagram(t))
    error = t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, about(outside), chksum=0x1234)
    t.put(t.router, error, drop="icmp_error_checksum")


@case("an error that quotes a header with a wrong checksum is dropped (RFC 5508 REQ-3b)")
def wrong_quoted_checksum(t):
    port = t.port()
    frame = t.vm1.ip(REMOTE) / UDP(sport=port, dport=9) / b"x"
    quote = bytearray(about(send_out(t, frame)))
    quote[10] ^= 0x55
    error = t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, bytes(quote))
    inside = bytearray(about(frame, hops=1))
    inside[10] ^= 0x55
    t.put(t.router, error, drop="icmp_error_checksum", kernel=Differs("does not look at the quoted checksum", vm1=[Any()]))


class Any:
    """Whatever it is, it came."""

    def fault(self, raw):
        return "" if raw else "is empty"


@case("an error whose quote is cut within the ports is dropped")
def cut_quote(t):
    outside = send_out(t, datagram(t))
    for octets in (0, 4, 7):
        error = t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, about(outside, octets))
        t.put(t.router, error, drop="icmp_error_quote")


@case("an error that quotes no IPv4 is dropped")
def no_quote(t):
    for quote in (b"", bytes(28), b"\x60" + bytes(40)):
        t.put(t.router, t.router.ip(EXTERNAL, src=HOP) / message(PORT_UNREACHABLE, quote), drop="icmp_error_quote")


@case("an error about an error is dropped")
def about_error(t):
    inner = solid(t.router.ether() / IP(src=EXTERNAL, dst=REMOTE) / message(PORT_UNREACHABLE, bytes(28)))
    error = t.router.ip(EXTERNAL, src=HOP) / message(TTL_EXPIRED, about(inner))
    t.put(t.router, error, drop="icmp_error_quote")


@case("source quench and redirect from outside are not passed on")
def obsolete_in(t):
    frame = datagram(t)
    quote = about(send_out(t, frame))
    redirect = t.router.ip(EXTERNAL, src=HOP) / message((5, 1), quote, gw="192.0.2.1")
    t.put(t.router, redirect, drop="icmp_type")
    quench = t.router.ip(EXTERNAL, src=HOP) / message((4, 0), quote)
    t.put(t.router, quench, drop="icmp_type", kernel=Differs("passes source quench on", vm1=[Any()]))


@case("an error does not end the flow it is about (RFC 5508 REQ-6)")
def flow_goes_on(t):
    frame = datagram(t)
    error_in(t, frame, PORT_UNREACHABLE)
    t.put(t.vm1, frame, router=[t.out(frame)])
    answer = t.from_remote() / UDP(sport=33434, dport=frame[UDP].sport) / b"late"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("an error for a TCP connection does not end it (RFC 5382 REQ-10)")
def connection_goes_on(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    error_in(t, outbound("PA") / b"data", (3, 1))
    t.pass_in(t.vm1, inbound("A", ack=105), port)


# --- errors of VMs ----------------------------------------------------------------------------------------


def error_out(t, kind, make_answer, octets=8, kernel=None, **fields):
    """A VM answers what came from outside with an error; it leaves in the uplink's name and quotes what came."""
    answer, inside = make_answer()
    error = t.vm1.ip(REMOTE) / message(kind, about(inside, octets), **fields)
    expected = t.router.ether() / IP(src=EXTERNAL, dst=REMOTE, id=0x1234, ttl=63) / \
        message(kind, about(answer, octets, hops=1), **fields)
    expected.src, expected.dst = UPLINK_MAC, ROUTER_MAC
    t.put(t.vm1, error, router=[expected], kernel=kernel)


def answered(t, l4=UDP):
    """A flow with an answer; returns the answer outside and inside."""
    port = t.port()
    if l4 is UDP:
        answer = t.open_udp(t.vm1, port) / bytes(range(30))
    else:
        answer = t.open_tcp(t.vm1, port)[1]("PA") / bytes(range(30))
    inside = Ether(t.back(answer, t.vm1))
    t.put(t.router, answer, vm1=[inside])
    return answer, inside


@case("a VM's port unreachable leaves in the uplink's name and quotes what the remote sent (RFC 5508 REQ-5)")
def port_unreachable_out(t):
    error_out(t, PORT_UNREACHABLE, lambda: answered(t))


@case("a VM's error about TCP, quoted whole, leaves with every checksum right")
def whole_out(t):
    error_out(t, (3, 1), lambda: answered(t, TCP), octets=1000)


@case("a VM's TTL expired leaves, too")
def ttl_out(t):
    error_out(t, TTL_EXPIRED, lambda: answered(t))


@case("a VM's error about no session of its own does not leave")
def about_nothing_out(t):
    quote = about(t.vm1.ether() / IP(src=REMOTE, dst=t.vm1.address) / UDP(sport=9, dport=t.port()) / b"never came")
    error = t.vm1.ip(REMOTE) / message(PORT_UNREACHABLE, quote)
    t.put(t.vm1, error, drop="icmp_error", kernel=Differs(LEAKS, router=[t.leaked(error)]))


@case("a VM's error about another network's session does not leave")
def about_other_network(t):
    port = t.port()
    answer = t.open_udp(t.vm5, port) / b"for vm5"
    inside = Ether(t.back(answer, t.vm5))
    error = t.vm1.ip(REMOTE) / message(PORT_UNREACHABLE, about(inside))
    t.put(t.vm1, error, drop="icmp_error",
          kernel=Differs("does not look who tells it", router=[translated_error(t, error, answer)]))


def translated_error(t, error, answer):
    expected = t.router.ether() / IP(src=EXTERNAL, dst=REMOTE, id=0x1234, ttl=63) / \
        message(PORT_UNREACHABLE, about(answer, hops=1))
    expected.src, expected.dst = UPLINK_MAC, ROUTER_MAC
    return expected


@case("a VM's error with a wrong checksum does not leave")
def wrong_checksum_out(t):
    _, inside = answered(t)
    error = t.vm1.ip(REMOTE) / message(PORT_UNREACHABLE, about(inside), chksum=0x1234)
    t.put(t.vm1, error, drop="icmp_error_checksum", kernel=Differs(LEAKS, router=[t.leaked(error)]))


@case("a VM's redirect does not leave")
def redirect_out(t):
    _, inside = answered(t)
    t.put(t.vm1, t.vm1.ip(REMOTE) / message((5, 1), about(inside), gw="192.0.2.1"), drop="icmp_type")


# --- the gateway's own errors -----------------------------------------------------------------------------


@case("a VM whose packet's TTL is spent is told by the gateway, quoting the packet as the VM sent it")
def ttl_spent(t):
    for make in PACKETS.values():
        for ttl in (1, 0):
            frame = make(t, ttl=ttl)
            t.put(t.vm1, frame, drop="ttl_expired", vm1=[Error(TTL_EXPIRED, frame, t.vm1.gateway)])


@case("a VM whose packet is for a host of the uplink's link where nobody answers ARP is told so (RFC 1812 5.2.7.1)")
def nobody_there(t):
    frame = t.vm1.ip(NOBODY) / UDP(sport=t.port(), dport=53) / b"anybody?"
    on_its_way = routed(frame, ("02:00:00:00:00:00",) * 2)[14:]
    t.put(t.vm1, frame, drop="neighbor_unresolved", vm1=[Error((3, 1), frame, t.vm1.gateway)],
          kernel=Differs("answers from the uplink's address, and quotes the packet with its TTL one less",
                         vm1=[Error((3, 1), frame, EXTERNAL, quoted=on_its_way)]))


@case("so it is in a session that is open")
def ttl_spent_in_session(t):
    frame = datagram(t)
    send_out(t, frame)
    frame[IP].ttl = 1
    t.put(t.vm1, frame, drop="ttl_expired", vm1=[Error(TTL_EXPIRED, frame, t.vm1.gateway)])


@case("a remote whose answer's TTL is spent is told by the uplink's address, and no inside address shows")
def ttl_spent_in(t):
    answer = t.open_udp(t.vm1) / b"answer"
    answer[IP].ttl = 1
    t.put(t.router, answer, drop="ttl_expired", router=[Error(TTL_EXPIRED, answer, EXTERNAL)])


@case("a VM whose packet is too big for the uplink and must not be fragmented is told the uplink's MTU")
def too_big(t):
    for l4 in (UDP(sport=t.port(), dport=9), TCP(sport=t.port(), dport=9, flags="S"), ICMP(id=t.port())):
        frame = t.vm1.ip(REMOTE, flags="DF") / l4 / bytes(1450)
        t.put(t.vm1, frame, drop="too_big", vm1=[Error(FRAGMENTATION_NEEDED, frame, t.vm1.gateway, mtu=UPLINK_MTU)])


@case("so it is in a session that is open, and a packet of just the MTU passes")
def too_big_in_session(t):
    port = t.port()
    fits = t.vm1.ip(REMOTE, flags="DF") / UDP(sport=port, dport=9) / bytes(UPLINK_MTU - 28)
    t.put(t.vm1, fits, router=[t.out(fits)])
    frame = t.vm1.ip(REMOTE, flags="DF") / UDP(sport=port, dport=9) / bytes(UPLINK_MTU - 27)
    t.put(t.vm1, frame, drop="too_big", vm1=[Error(FRAGMENTATION_NEEDED, frame, t.vm1.gateway, mtu=UPLINK_MTU)])


@case("an error whose TTL is spent is dropped in silence")
def no_error_about_error(t):
    outside = send_out(t, datagram(t))
    error = t.router.ip(EXTERNAL, src=HOP, ttl=1) / message(PORT_UNREACHABLE, about(outside))
    t.put(t.router, error, drop="ttl_expired")


@case("a packet for the next network's VM is refused with prohibited, whatever it carries")
def between_networks(t):
    for l4 in (UDP(sport=t.port(), dport=9), TCP(sport=t.port(), dport=9, flags="S"), ICMP(id=t.port())):
        refused(t, t.vm1, t.vm1.ip(t.vm3.address) / l4 / b"neighbour?", "between_networks")


@case("the same holds towards an isolated network, and from one")
def isolated_between(t):
    refused(t, t.vm1, t.vm1.ip(t.vm4.address) / UDP(sport=t.port(), dport=9) / b"?", "between_networks")
    refused(t, t.vm4, t.vm4.ip(t.vm1.address) / UDP(sport=t.port(), dport=9) / b"?", "between_networks")


@case("from an isolated network nothing leaves, and its VM is told")
def isolated(t):
    for l4 in (UDP(sport=t.port(), dport=9), TCP(sport=t.port(), dport=9, flags="S"), ICMP(id=t.port())):
        refused(t, t.vm4, t.vm4.ip(REMOTE) / l4 / b"out?", "no_forwarding")


def refused(t, guest, frame, reason):
    t.put(guest, frame, drop=reason, **{guest.name: [Error(PROHIBITED, frame, guest.gateway)]},
          kernel=Differs("libvirt's rules refuse with port unreachable",
                         **{guest.name: [rejected(frame, guest.gateway)]}))
