# SPDX-License-Identifier: Apache-2.0
"""Port forwards, and hairpins to them and to mappings (RFC 4787 REQ-9, RFC 5382 REQ-8); gateway.FORWARDS."""

from harness.tap import check

from .case import ICMP, TCP, UDP, Differs, case
from .frames import HOST_UNREACHABLE, PORT_UNREACHABLE, TTL_EXPIRED, Error, Reset, expectation, translated
from .gateway import EXTERNAL, MACS, RANGE, REMOTE, RESTRICTED, SHARED, STRANGER

NO_HAIRPIN = "masquerade does not turn packets round"


@case("a connection from outside reaches the forward's VM and is answered from the forwarded port")
def tcp(t):
    port = t.port()
    syn = t.from_remote() / TCP(sport=port, dport=8080, flags="S", seq=7)
    t.put(t.router, syn, vm1=[t.back(syn, t.vm1, dport=80)])
    answer = t.vm1.ip(REMOTE) / TCP(sport=80, dport=port, flags="SA", seq=1, ack=8)
    t.put(t.vm1, answer, router=[t.out(answer, sport=8080)])
    data = t.from_remote() / TCP(sport=port, dport=8080, flags="PA", seq=8, ack=2) / b"GET /"
    t.put(t.router, data, vm1=[t.back(data, t.vm1, dport=80)])


@case("a datagram from outside reaches the forward's VM and is answered from the forwarded port")
def udp(t):
    port = t.port()
    question = t.from_remote() / UDP(sport=port, dport=5353) / b"question"
    t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])
    answer = t.vm1.ip(REMOTE) / UDP(sport=53, dport=port) / b"answer"
    t.put(t.vm1, answer, router=[t.out(answer, sport=5353)])


@case("a range of ports leads to the VM port by port, and what the VM sends from there leaves by it")
def port_range(t):
    first, last, _, to_first = RANGE
    for shift in (0, 4, last - first):
        question = t.from_remote() / UDP(sport=t.port(), dport=first + shift) / b"question"
        t.put(t.router, question, vm2=[t.back(question, t.vm2, dport=to_first + shift)])
        answer = t.vm2.ip(REMOTE) / UDP(sport=to_first + shift, dport=question[UDP].sport) / b"answer"
        t.put(t.vm2, answer, router=[t.out(answer, sport=first + shift)])
    for beside in (first - 1, last + 1):
        stray = t.from_remote() / UDP(sport=t.port(), dport=beside) / b"beside"
        t.put(t.router, stray, drop="no_session", router=[Error(PORT_UNREACHABLE, stray, EXTERNAL)])


@case("what the VM opens from a range's port leaves by the port that leads there",
      kernel="masquerade knows nothing of it")
def opened_from_range(t):
    sent = t.vm2.ip(STRANGER) / UDP(sport=RANGE[3] + 7, dport=t.port()) / b"hello"
    t.put(t.vm2, sent, router=[t.out(sent, sport=RANGE[0] + 7)])


@case("a forward for some remotes leads these to the VM, and nobody else")
def for_some_remotes(t):
    _, port, _, to_port = RESTRICTED
    syn = t.from_remote(STRANGER) / TCP(sport=t.port(), dport=port, flags="S", seq=7)
    t.put(t.router, syn, vm1=[t.back(syn, t.vm1, dport=to_port)])
    answer = t.vm1.ip(STRANGER) / TCP(sport=to_port, dport=syn[TCP].sport, flags="SA", seq=1, ack=8)
    t.put(t.vm1, answer, router=[t.out(answer, sport=port)])
    other = t.from_remote() / TCP(sport=t.port(), dport=port, flags="S", seq=7)
    t.put(t.router, other, drop="no_session", kernel=Differs("the host's own TCP resets", router=[Reset(other)]))


@case("several VMs share the remotes of a forward, and each remote stays with one of them")
def shared(t):
    port, _, to_port = SHARED
    served = {}
    for number in range(1, 33):
        remote = f"198.18.1.{number}"
        for _ in range(2):
            syn = t.from_remote(remote) / TCP(sport=t.port(), dport=port, flags="S", seq=7)
            seen = t.gateway.exchange(t.router, [syn], {"vm1": [], "vm2": []})
            check(len(seen) == 1 and list(seen)[0] in ("vm1", "vm2"), f"a SYN of {remote} came to {list(seen)}")
            served.setdefault(remote, set()).update(seen)
            guest = getattr(t, list(seen)[0])
            t.compare(guest.name, [expectation(t.back(syn, guest, dport=to_port))], seen[guest.name])
            answer = guest.ip(remote) / TCP(sport=to_port, dport=syn[TCP].sport, flags="SA", seq=1, ack=8)
            t.put(guest, answer, router=[t.out(answer, sport=port)])
    check(all(len(names) == 1 for names in served.values()), f"remotes do not stay: {served}")
    shares = [sum(names == {name} for names in served.values()) for name in ("vm1", "vm2")]
    check(min(shares) >= 6, f"of 32 remotes the VMs serve {shares}")


@case("many remotes use one forward at once, each answered for itself")
def many(t):
    for number in range(1, 21):
        question = t.from_remote(f"198.18.0.{number}") / UDP(sport=9, dport=5353) / b"question"
        t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])
        answer = t.vm1.ip(f"198.18.0.{number}") / UDP(sport=53, dport=9) / b"answer"
        t.put(t.vm1, answer, router=[t.out(answer, sport=5353)])


@case("a forward of TCP forwards no UDP, and the other way round")
def protocol_of_forward(t):
    datagram = t.from_remote() / UDP(sport=t.port(), dport=8080) / b"UDP?"
    t.put(t.router, datagram, drop="no_session", router=[Error(PORT_UNREACHABLE, datagram, EXTERNAL)])
    syn = t.from_remote() / TCP(sport=t.port(), dport=5353, flags="S")
    t.put(t.router, syn, drop="no_session", kernel=Differs("the host's own TCP resets", router=[Reset(syn)]))


@case("only a SYN opens a connection to a forward")
def only_syn(t):
    for flags in ("A", "SA", "R", "FA"):
        segment = t.from_remote() / TCP(sport=t.port(), dport=8080, flags=flags, seq=7, ack=7)
        there = {"A": Differs("picks connections up in mid-stream", vm1=[t.back(segment, t.vm1, dport=80)]),
                 "R": None}.get(flags, Differs("the host's own TCP resets", router=[Reset(segment)]))
        t.put(t.router, segment, drop="tcp_not_syn", kernel=there)


@case("nobody uses a forward in the name of an inside, group or own address")
def spoofed(t):
    for source in (t.vm1.address, t.vm3.address, EXTERNAL, "127.0.0.1", "224.0.0.1", "0.0.0.0", "255.255.255.255"):
        syn = t.from_remote(source) / TCP(sport=t.port(), dport=8080, flags="S", seq=7)
        t.put(t.router, syn, drop="source_foreign")


@case("nobody uses a forward from a link-local or protocols' address (RFC 3927, RFC 6890)")
def never_forwarded(t):
    for source in ("169.254.9.9", "192.0.0.170"):
        syn = t.from_remote(source) / TCP(sport=t.port(), dport=8080, flags="S", seq=7)
        t.put(t.router, syn, drop="source_foreign",
              kernel=Differs("takes it for a host", vm1=[t.back(syn, t.vm1, dport=80)]))


@case("a packet for a forward whose TTL is spent is told of, in the uplink's name")
def spent(t):
    syn = t.from_remote(ttl=1) / TCP(sport=t.port(), dport=8080, flags="S", seq=7)
    t.put(t.router, syn, drop="ttl_expired", router=[Error(TTL_EXPIRED, syn, EXTERNAL)])


@case("a forward to a VM that is not there is answered with host unreachable", kernel="asks by ARP for three seconds first")
def absent(t):
    syn = t.from_remote() / TCP(sport=t.port(), dport=9090, flags="S", seq=7)
    t.put(t.router, syn, drop="host_unresolved", router=[Error(HOST_UNREACHABLE, syn, EXTERNAL)])


def opening(protocol, **ports):
    return UDP(**ports) / b"hello" if protocol is UDP else TCP(flags="S", seq=7, **ports)


def meet_peer(t, peer, protocol, internal, external, remote_port):
    """The forward's VM speaks first, its peer to the forward then, and another one of the peer's ports as ever."""
    sent = t.vm1.ip(peer) / opening(protocol, sport=internal, dport=remote_port)
    t.put(t.vm1, sent, router=[t.out(sent, sport=external)])
    for port in (remote_port, t.port()):
        back = t.from_remote(peer) / opening(protocol, sport=port, dport=external)
        t.put(t.router, back, vm1=[t.back(back, t.vm1, dport=internal)])
        answer = t.vm1.ip(peer) / opening(protocol, sport=internal, dport=port)
        t.put(t.vm1, answer, router=[t.out(answer, sport=external)])


@case("what a VM opens from a forward's endpoint leaves by the forward, and the peer comes in by it (RFC 4787 REQ-1)")
def speaks_first(t):
    for peer in ("198.18.1.1", "198.18.1.2"):
        meet_peer(t, peer, UDP, 4500, 4500, 4500)
        meet_peer(t, peer, TCP, 8333, 8333, 8333)


@case("the same where the forward has another number than the VM, or one that no VM is given",
      kernel="masquerade to 1024-65535 gives it another port")
def speaks_first_by_another_number(t):
    for peer in ("198.18.2.1", "198.18.2.2"):
        meet_peer(t, peer, UDP, 53, 5353, 5353)
        meet_peer(t, peer, UDP, 123, 123, 123)
        meet_peer(t, peer, TCP, 80, 8080, 8080)


@case("a VM cannot shadow another's forward: its own flow from that port gets another one (nft_nat.sh)")
def shadowed(t):
    port = t.port()
    sent = t.vm2.ip(STRANGER) / UDP(sport=5353, dport=port) / b"mine?"
    if t.is_kernel:
        t.differences.append("the VM's flow takes the forwarded port, and the forward's packets")
        t.put(t.vm2, sent, router=[t.out(sent)])
        question = t.from_remote(STRANGER) / UDP(sport=port, dport=5353) / b"question"
        return t.put(t.router, question, vm2=[t.back(question, t.vm2)])
    seen = t.ask(t.vm2, sent, t.router)
    check(seen[UDP].sport != 5353, "a VM was given a forwarded port")
    question = t.from_remote(STRANGER) / UDP(sport=port, dport=5353) / b"question"
    return t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])


@case("an ICMP error about a forward's answer reaches the VM")
def error_in(t):
    port = t.port()
    question = t.from_remote() / UDP(sport=port, dport=5353) / b"question"
    t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])
    answer = t.vm1.ip(REMOTE) / UDP(sport=53, dport=port) / b"answer"
    outside = t.out(answer, sport=5353)
    t.put(t.vm1, answer, router=[outside])
    error = t.router.ip(EXTERNAL, src=STRANGER) / ICMP(type=3, code=3) / outside[14:42]
    inside = translated(answer, (t.vm1.mac, t.vm1.gateway_mac))[14:42]
    expected = t.vm1.ether() / t.router.ip(t.vm1.address, src=STRANGER, ttl=63).payload / ICMP(type=3, code=3) / inside
    expected.src, expected.dst = t.vm1.gateway_mac, t.vm1.mac
    t.put(t.router, error, vm1=[expected])


# --- hairpins ---------------------------------------------------------------------------------------------


def turned(t, frame, receiver, sport, dport):
    """As the receiver of a hairpin sees a frame: from the sender's external endpoint; two routers have seen it."""
    return translated(frame, (receiver.gateway_mac, receiver.mac), source=EXTERNAL, destination=receiver.address,
                      sport=sport, dport=dport, hops=2)



for each_guest, each_where in (("vm2", "its own"), ("vm5", "another")):
    @case(f"from {each_where} network a forward is reached by the external address, and both see external endpoints",
          kernel=NO_HAIRPIN)
    def hairpin(t, name=each_guest):
        guest, port = getattr(t, name), t.port()
        syn = guest.ip(EXTERNAL) / TCP(sport=port, dport=8080, flags="S", seq=7)
        t.put(guest, syn, vm1=[turned(t, syn, t.vm1, port, 80)])
        answer = t.vm1.ip(EXTERNAL) / TCP(sport=80, dport=port, flags="SA", seq=1, ack=8)
        t.put(t.vm1, answer, **{guest.name: [turned(t, answer, guest, 8080, port)]})
        data = guest.ip(EXTERNAL) / TCP(sport=port, dport=8080, flags="PA", seq=8, ack=2) / b"GET /"
        t.put(guest, data, vm1=[turned(t, data, t.vm1, port, 80)])


@case("the VM behind a forward reaches itself by the external address", kernel=NO_HAIRPIN)
def itself(t):
    port = t.port()
    syn = t.vm1.ip(EXTERNAL) / TCP(sport=port, dport=8080, flags="S", seq=7)
    t.put(t.vm1, syn, vm1=[turned(t, syn, t.vm1, port, 80)])
    answer = t.vm1.ip(EXTERNAL) / TCP(sport=80, dport=port, flags="SA", seq=1, ack=8)
    t.put(t.vm1, answer, vm1=[turned(t, answer, t.vm1, 8080, port)])


@case("a mapping with endpoint-independent filtering is reached from another network, with the sender's external endpoint",
      kernel=NO_HAIRPIN)
def to_mapping(t):
    here, there = t.port(), t.port()
    t.open_udp(t.vm5, there)
    hello = t.vm1.ip(EXTERNAL) / UDP(sport=here, dport=there) / b"hello neighbour"
    t.put(t.vm1, hello, vm5=[turned(t, hello, t.vm5, here, there)])
    answer = t.vm5.ip(EXTERNAL) / UDP(sport=there, dport=here) / b"hello yourself"
    t.put(t.vm5, answer, vm1=[turned(t, answer, t.vm1, there, here)])


@case("two VMs behind filters reach each other once both have sent (hole punching)", kernel=NO_HAIRPIN)
def hole_punching(t):
    here, there = t.port(), t.port()
    t.open_udp(t.vm1, here)
    t.open_udp(t.vm2, there)
    first = t.vm1.ip(EXTERNAL) / UDP(sport=here, dport=there) / b"knock"
    t.put(t.vm1, first, drop="filtered")
    answer = t.vm2.ip(EXTERNAL) / UDP(sport=there, dport=here) / b"come in"
    t.put(t.vm2, answer, vm1=[turned(t, answer, t.vm1, there, here)])
    t.put(t.vm1, first, vm2=[turned(t, first, t.vm2, here, there)])


@case("a hairpin to a port that nobody has goes nowhere", kernel=NO_HAIRPIN)
def to_nobody(t):
    frame = t.vm1.ip(EXTERNAL) / UDP(sport=t.port(), dport=t.port()) / b"anybody?"
    t.put(t.vm1, frame, drop="no_session")


@case("an ICMP error about a hairpin's packet goes back to its sender (RFC 5508 REQ-7)", kernel=NO_HAIRPIN)
def hairpin_error(t):
    here, there = t.port(), t.port()
    t.open_udp(t.vm5, there)
    hello = t.vm1.ip(EXTERNAL) / UDP(sport=here, dport=there) / b"hello neighbour"
    received = turned(t, hello, t.vm5, here, there)
    t.put(t.vm1, hello, vm5=[received])
    error = t.vm5.ip(EXTERNAL) / ICMP(type=3, code=3) / received[14:42]
    quote = translated(hello, (t.vm1.mac, t.vm1.gateway_mac), hops=2)[14:42]
    expected = t.vm1.ether() / t.vm1.ip(t.vm1.address, src=EXTERNAL, ttl=62).payload / ICMP(type=3, code=3) / quote
    expected.src, expected.dst = MACS["default"], t.vm1.mac
    t.put(t.vm5, error, vm1=[expected])
