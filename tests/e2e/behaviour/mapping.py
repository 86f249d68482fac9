# SPDX-License-Identifier: Apache-2.0
"""What an internal endpoint becomes outside (RFC 4787 section 4, RFC 5382 section 4, RFC 5508 section 3)."""

from harness.tap import check, check_equal

from .case import ICMP, TCP, UDP, case
from .frames import PORT_UNREACHABLE, Error
from .gateway import EXTERNAL, REMOTE, STRANGER


@case("UDP goes out from the external address, its port kept, and the answer comes back")
def udp(t):
    port = t.port()
    question = t.vm1.ip(REMOTE, ttl=17, tos=0x28) / UDP(sport=port, dport=53) / b"question"
    t.put(t.vm1, question, router=[t.out(question)])
    answer = t.from_remote(ttl=44, tos=0x10) / UDP(sport=53, dport=port) / b"an answer"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("TCP opens, carries data both ways and closes, and every segment is exact")
def tcp(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    t.pass_out(t.vm1, outbound("PA") / b"GET /")
    t.pass_in(t.vm1, inbound("PA", ack=106) / b"200 OK", port)
    t.pass_out(t.vm1, outbound("FA", seq=106, ack=907))
    t.pass_in(t.vm1, inbound("FA", seq=907, ack=107), port)
    t.pass_out(t.vm1, outbound("A", seq=107, ack=908))


@case("ICMP echo goes out with its identifier kept, and the reply comes back")
def echo(t):
    identifier = t.port()
    request = t.vm1.ip(REMOTE) / ICMP(id=identifier, seq=9) / b"are you there"
    t.put(t.vm1, request, router=[t.out(request)])
    reply = t.from_remote() / ICMP(type=0, id=identifier, seq=9) / b"are you there"
    t.put(t.router, reply, vm1=[t.back(reply, t.vm1)])


@case("one internal endpoint is one external endpoint for all remote addresses")
def same_for_all_addresses(t):
    port = t.port()
    for remote in (REMOTE, STRANGER, "198.51.100.3", "192.0.2.1"):
        t.open_udp(t.vm1, port, remote)


@case("one internal endpoint is one external endpoint for all ports of a remote")
def same_for_all_ports(t):
    port = t.port()
    for remote_port in (53, 54, 1, 65535):
        t.open_udp(t.vm1, port, remote_port=remote_port)


@case("the same holds for TCP")
def same_for_tcp(t):
    port = t.port()
    for remote in (REMOTE, STRANGER):
        t.open_tcp(t.vm1, port, remote)


@case("the same holds for the identifier of an ICMP query")
def same_for_icmp(t):
    identifier = t.port()
    for remote in (REMOTE, STRANGER):
        request = t.vm1.ip(remote) / ICMP(id=identifier) / b"?"
        t.put(t.vm1, request, router=[t.out(request)])


@case("two VMs with the same port and remote get different external ports, and their own answers")
def two_vms(t):
    clash(t, t.vm1, t.vm2)


@case("so do VMs of two networks")
def two_networks(t):
    clash(t, t.vm1, t.vm5)


def clash(t, one, other):
    port = t.port()
    answers = []
    for guest in (one, other):
        seen = t.ask(guest, guest.ip(REMOTE) / UDP(sport=port, dport=53) / guest.name.encode(), t.router)
        answers.append((guest, t.from_remote() / UDP(sport=53, dport=seen[UDP].sport) / guest.name.encode()))
    check_equal(len({answer[UDP].dport for _, answer in answers}), 2, "different external ports")
    for guest, answer in answers:
        t.put(t.router, answer, **{guest.name: [t.back(answer, guest, dport=port)]})


@case("two VMs with the same ICMP identifier and remote get different ones, and their own replies")
def two_pings(t):
    identifier = t.port()
    replies = []
    for guest in (t.vm1, t.vm2):
        seen = t.ask(guest, guest.ip(REMOTE) / ICMP(id=identifier, seq=1) / b"?", t.router)
        replies.append((guest, t.from_remote() / ICMP(type=0, id=seen[ICMP].id, seq=1) / guest.name.encode()))
    check_equal(len({reply[ICMP].id for _, reply in replies}), 2, "different identifiers outside")
    for guest, reply in replies:
        t.put(t.router, reply, **{guest.name: [t.back(reply, guest, dport=identifier)]})


@case("a second address of one VM has mappings of its own")
def second_address(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    second = t.vm1.ip(REMOTE, src="192.168.122.12") / UDP(sport=port, dport=53) / b"from .12"
    seen = t.ask(t.vm1, second, t.router)
    check(seen[UDP].sport != port, "two internal endpoints have one external endpoint")


@case("UDP and TCP are numbered apart: both keep the same port")
def protocols_apart(t):
    port = t.port()
    t.open_udp(t.vm1, port)
    t.open_tcp(t.vm2, port)


@case("a UDP port below 1024 becomes one from 1024 to 65535")
def privileged_udp(t):
    for port in (1, 7, 111, 1023):
        seen = t.ask(t.vm1, t.vm1.ip(REMOTE) / UDP(sport=port, dport=53) / b"privileged", t.router)
        check(seen[UDP].sport >= 1024, f"external port {seen[UDP].sport}")
        answer = t.from_remote() / UDP(sport=53, dport=seen[UDP].sport) / b"answer"
        t.put(t.router, answer, vm1=[t.back(answer, t.vm1, dport=port)])


@case("a TCP port below 1024 becomes one from 1024 to 65535")
def privileged_tcp(t):
    seen = t.ask(t.vm1, t.vm1.ip(REMOTE) / TCP(sport=722, dport=2049, flags="S", seq=100), t.router)
    check(seen[TCP].sport >= 1024, f"external port {seen[TCP].sport}")
    answer = t.from_remote() / TCP(sport=2049, dport=seen[TCP].sport, flags="SA", seq=900, ack=101)
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1, dport=722)])


@case("the first and the last port of the range are kept", first=True)
def edges(t):
    for port in (1024, 65535):
        t.open_udp(t.vm1, port)


@case("a source port of 0 is translated like any other")
def port_zero(t):
    seen = t.ask(t.vm1, t.vm1.ip(REMOTE) / UDP(sport=0, dport=53) / b"from port 0", t.router)
    check(seen[UDP].sport >= 1024, f"external port {seen[UDP].sport}")


@case("a remote port of 0 is left alone")
def remote_port_zero(t):
    t.open_udp(t.vm1, remote_port=0)


@case("a hundred flows of one VM each keep their port")
def hundred(t):
    frames = [t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / b"one of many" for _ in range(100)]
    t.put(t.vm1, *frames, router=[t.out(frame) for frame in frames])


@case("endpoint-dependent mapping: each remote sees another external port", kernel="masquerade keeps ports where it can")
def endpoint_dependent(t):
    port = t.port()
    seen = [t.ask(t.vm3, t.vm3.ip(remote) / UDP(sport=port, dport=53) / b"?", t.router)[UDP].sport
            for remote in (REMOTE, STRANGER, "198.51.100.3")]
    check_equal(len(set(seen)), 3, f"different external ports {seen}")
    for external, remote in zip(seen, (REMOTE, STRANGER)):
        answer = t.from_remote(remote) / UDP(sport=53, dport=external) / b"answer"
        t.put(t.router, answer, vm3=[t.back(answer, t.vm3, dport=port)])
    wrong = t.from_remote(STRANGER) / UDP(sport=53, dport=seen[0]) / b"not yours"
    t.put(t.router, wrong, drop="no_session", router=[Error(PORT_UNREACHABLE, wrong, EXTERNAL)])


@case("a host on the uplink's own subnet is reached directly, not by the router")
def on_link(t):
    sent = t.vm1.ip("203.0.113.77") / UDP(sport=t.port(), dport=53) / b"neighbour"
    t.put(t.vm1, sent, router=[t.out(sent)])


@case("the answer of a forwarded service leaves from the forward's port")
def of_a_forward(t):
    question = t.from_remote(STRANGER) / UDP(sport=t.port(), dport=5353) / b"question"
    t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])
    answer = t.vm1.ip(STRANGER) / UDP(sport=53, dport=question[UDP].sport) / b"answer"
    t.put(t.vm1, answer, router=[t.out(answer, sport=5353)])
