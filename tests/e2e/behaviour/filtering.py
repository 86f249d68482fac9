# SPDX-License-Identifier: Apache-2.0
"""Who may come in (RFC 4787 section 5, RFC 5382 section 5): replies, what the network's filter lets in, nobody else."""

from .case import ICMP, IP, TCP, UDP, Differs, case
from .frames import PORT_UNREACHABLE, Error, Reset, rejected, routed
from .gateway import EXTERNAL, REMOTE, ROUTER_MAC, STRANGER, UPLINK_MAC

NO_SUCH_FILTER = "masquerade knows no other filtering"


def unreachable(frame, source=EXTERNAL):
    return Error(PORT_UNREACHABLE, frame, source)


@case("address- and port-dependent: another address than the one asked is not let in")
def other_address(t):
    answer = t.open_udp(t.vm1)
    answer[IP].src = STRANGER
    t.put(t.router, answer, drop="filtered", kernel=Differs("tells that the port is closed", router=[unreachable(answer)]))


@case("address- and port-dependent: another port of the one asked is not let in")
def other_port(t):
    answer = t.open_udp(t.vm1)
    answer[UDP].sport = 54
    t.put(t.router, answer, drop="filtered", kernel=Differs("tells that the port is closed", router=[unreachable(answer)]))


@case("address- and port-dependent: whom the VM asks next is let in from then on")
def asked_later(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    answer = t.open_udp(t.vm1, port, remote=STRANGER) / b"answer"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("a reply to a TCP port does not come in by the same number of UDP")
def other_protocol(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    segment = t.from_remote() / TCP(sport=53, dport=port, flags="SA", seq=1, ack=1)
    t.put(t.router, segment, drop="no_session", kernel=Differs("the host's own TCP resets", router=[Reset(segment)]))


@case("address-dependent: every port of the one asked is let in", kernel=NO_SUCH_FILTER)
def known_address(t):
    port = t.port()
    answer = t.open_udp(t.vm6, port) / b"hello"
    for remote_port in (54, 1, 65535):
        answer[UDP].sport = remote_port
        t.put(t.router, answer, vm6=[t.back(answer, t.vm6)])


@case("address-dependent: nobody else is", kernel=NO_SUCH_FILTER)
def unknown_address(t):
    answer = t.open_udp(t.vm6)
    answer[IP].src = STRANGER
    t.put(t.router, answer, drop="filtered")


@case("endpoint-independent: everybody is let in, and answered from the mapping", kernel=NO_SUCH_FILTER)
def everybody(t):
    port = t.port()
    hello = t.open_udp(t.vm5, port) / b"hello"
    for remote, remote_port in ((STRANGER, 9), ("192.0.2.9", 53), (REMOTE, 9)):
        hello[IP].src, hello[UDP].sport = remote, remote_port
        t.put(t.router, hello, vm5=[t.back(hello, t.vm5)])
        answer = t.vm5.ip(remote) / UDP(sport=port, dport=remote_port) / b"hello yourself"
        t.put(t.vm5, answer, router=[t.out(answer)])


@case("endpoint-independent: a SYN of a stranger is let in", kernel=NO_SUCH_FILTER)
def stranger_connects(t):
    port = t.port()
    t.open_tcp(t.vm5, port)
    syn = t.from_remote(STRANGER) / TCP(sport=7777, dport=port, flags="S", seq=5)
    t.put(t.router, syn, vm5=[t.back(syn, t.vm5)])
    answer = t.vm5.ip(STRANGER) / TCP(sport=port, dport=7777, flags="SA", seq=9, ack=6)
    t.put(t.vm5, answer, router=[t.out(answer)])


@case("endpoint-independent: no other segment of a stranger is", kernel=NO_SUCH_FILTER)
def stranger_in_midstream(t):
    port = t.port()
    t.open_tcp(t.vm5, port)
    for flags in ("A", "SA", "FA", "R", "SF", "SR", ""):
        segment = t.from_remote(STRANGER) / TCP(sport=7778, dport=port, flags=flags, seq=5, ack=5)
        t.put(t.router, segment, drop="tcp_not_syn")


@case("endpoint-independent: nobody in the name of an inside, group or own address", kernel=NO_SUCH_FILTER)
def no_incredible_stranger(t):
    hello = t.open_udp(t.vm5) / b"hello"
    for source in ("192.168.7.11", "192.168.122.10", EXTERNAL, "224.0.0.5", "127.0.0.1", "0.0.0.0", "255.255.255.255",
                   "203.0.113.255", "203.0.113.0", "240.0.0.1"):
        hello[IP].src = source
        t.put(t.router, hello, drop="source_foreign")


@case("UDP for a port that nobody has is answered with port unreachable")
def unsolicited_udp(t):
    datagram = t.from_remote() / UDP(sport=53, dport=t.port()) / b"anybody there?"
    t.put(t.router, datagram, drop="no_session", router=[unreachable(datagram)])


@case("a SYN for a port that nobody has reaches nobody")
def unsolicited_syn(t):
    syn = t.from_remote() / TCP(sport=80, dport=t.port(), flags="S", seq=1)
    t.put(t.router, syn, drop="no_session", kernel=Differs("the host's own TCP resets", router=[Reset(syn)]))


@case("a segment in mid-stream for a port that nobody has reaches nobody")
def unsolicited_segment(t):
    for flags in ("A", "FA"):
        segment = t.from_remote() / TCP(sport=80, dport=t.port(), flags=flags, seq=1, ack=1)
        t.put(t.router, segment, drop="no_session", kernel=Differs("the host's own TCP resets", router=[Reset(segment)]))
    reset = t.from_remote() / TCP(sport=80, dport=t.port(), flags="R", seq=1)
    t.put(t.router, reset, drop="no_session")


@case("an echo reply that nobody asked for reaches nobody")
def unsolicited_reply(t):
    t.put(t.router, t.from_remote() / ICMP(type=0, id=t.port()), drop="no_session")


@case("an echo reply of another than the one pinged reaches nobody")
def reply_of_another(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier) / b"?"
    t.put(t.vm1, request, router=[t.out(request)])
    t.put(t.router, t.from_remote(STRANGER) / ICMP(type=0, id=identifier) / b"?", drop="filtered")


@case("a frame for an address behind the uplink that is not ours is not taken")
def not_ours(t):
    frame = t.router.ip("198.51.100.77", src=STRANGER) / UDP(sport=1, dport=2) / b"transit"
    t.put(t.router, frame, drop="not_external",
          kernel=Differs("routes it back", router=[routed(frame, (UPLINK_MAC, ROUTER_MAC))]))


@case("a frame from outside for an inside address reaches nobody")
def inside_address_from_outside(t):
    for to in (t.vm1.address, t.vm1.gateway, t.vm4.address):
        frame = t.router.ip(to, src=STRANGER) / UDP(sport=1, dport=9) / b"let me in"
        t.put(t.router, frame, drop="not_external",
              kernel=Differs("tells that the port is closed",
                             router=[unreachable(frame, to) if to == t.vm1.gateway else rejected(frame, EXTERNAL)]))


@case("a reply from outside straight to the inside endpoint reaches nobody")
def reply_to_inside(t):
    answer = t.open_udp(t.vm1) / b"answer"
    answer[IP].dst = t.vm1.address
    t.put(t.router, answer, drop="not_external",
          kernel=Differs("tells that the port is closed", router=[rejected(answer, EXTERNAL)]))


@case("a frame on the uplink for another MAC is not taken")
def other_mac(t):
    answer = t.open_udp(t.vm1) / b"answer"
    answer.dst = "52:54:00:00:00:99"
    t.put(t.router, answer, drop="not_for_us")


@case("a unicast packet on the uplink in a broadcast frame is not taken")
def broadcast_mac(t):
    answer = t.open_udp(t.vm1) / b"answer"
    answer.dst = "ff:ff:ff:ff:ff:ff"
    t.put(t.router, answer, drop="not_for_us")


@case("a filtered stranger does not keep the one asked from answering")
def filter_keeps_nothing(t):
    answer = t.open_udp(t.vm1) / b"answer"
    forged = answer.copy()
    forged[IP].src = STRANGER
    t.put(t.router, forged, drop="filtered", kernel=Differs("tells that the port is closed", router=[unreachable(forged)]))
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])
