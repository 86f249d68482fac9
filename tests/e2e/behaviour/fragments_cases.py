# SPDX-License-Identifier: Apache-2.0
"""Fragments through the NAT (RFC 4787 REQ-13 and REQ-14, RFC 1858, RFC 3128, RFC 5722), and what is too big for a link.

Expectations are of the datagram: what comes out in fragments must add up to what the datagram would have become whole,
but for its identification, which a NAT may choose. The kernel puts every datagram together before it looks at it;
vmnatd lets fragments follow their first.
"""

import itertools

from harness.tap import check, check_equal
from harness.waiting import wait_until
from harness.wire import Ether

from .case import ICMP, IP, TCP, UDP, Differs, case, solid
from .frames import PORT_UNREACHABLE, PROHIBITED, Error, internet_checksum, rejected, translated
from .gateway import EXTERNAL, REMOTE, STRANGER, UPLINK_MTU

IDENTIFICATIONS = itertools.count(0x4000)
GRE = bytes.fromhex("00000800")
DATA = bytes(itertools.islice(itertools.cycle(range(251)), 2400))


def pieces(frame, size=800):
    """The frame's packet in fragments with so many bytes of payload each."""
    packet = solid(frame)
    payload, header = bytes(packet[IP])[20:packet[IP].len], packet[IP].copy()
    header.remove_payload()
    identification, made = next(IDENTIFICATIONS) & 0xFFFF, []
    for begin in range(0, len(payload), size):
        piece = header.copy()
        piece.id, piece.frag = identification, begin // 8
        piece.flags = "MF" if begin + size < len(payload) else 0
        del piece.len, piece.chksum
        made.append(solid(Ether(src=packet.src, dst=packet.dst) / piece / payload[begin:begin + size]))
    return made


def put_together(frames) -> bytes:
    """The whole frame that fragments add up to; its identification is 0, and so is the header's checksum."""
    parsed = sorted(map(Ether, frames), key=lambda frame: frame[IP].frag)
    payload = b""
    for frame in parsed:
        header = bytes(frame)[14:34]
        check(not internet_checksum(header), f"a wrong IPv4 checksum: {frame.summary()}")
        check_equal(frame[IP].frag * 8, len(payload), f"where this fragment begins: {frame.summary()}")
        payload += bytes(frame[IP])[20:frame[IP].len]
    check_equal([bool(frame[IP].flags.MF) for frame in parsed], [True] * (len(parsed) - 1) + [False], "more fragments")
    return plain(bytes(parsed[0])[:34] + payload)


def plain(raw) -> bytes:
    """Without what a fragment's header has and a whole packet's has not."""
    raw = bytearray(raw)
    raw[16:18] = (len(raw) - 14).to_bytes(2, "big")
    raw[18:22], raw[24:26] = bytes(4), bytes(2)
    return bytes(raw)


def put_pieces(t, sender, frames, receiver, whole):
    """These go in, and at the receiver, and nowhere else, comes what adds up to that."""
    seen = collect(t, sender, frames, lambda got: is_whole(got.get(receiver.name, [])))
    check_equal(list(seen), [receiver.name], "where something came out")
    check_equal(put_together(seen[receiver.name]), plain(bytes(whole)), "what the fragments add up to")


def collect(t, sender, frames, enough):
    seen = t.gateway.exchange(sender, frames, {})

    def more():
        for name, got in t.gateway.collect().items():
            seen.setdefault(name, []).extend(got)
        return enough(seen)
    wait_until(more, f"a datagram that {sender.name} sends in fragments", 5)
    return seen


def is_whole(frames) -> bool:
    total = sum(len(bytes(Ether(raw)[IP])[20:Ether(raw)[IP].len]) for raw in frames)
    ends = [8 * Ether(raw)[IP].frag + Ether(raw)[IP].len - 20 for raw in frames if not Ether(raw)[IP].flags.MF]
    return bool(ends) and total >= ends[0]


ORDERS = {"in order": (0, 1, 2), "backwards": (2, 1, 0), "the first last": (1, 2, 0), "the first in the middle": (1, 0, 2)}
FLOWS = {"UDP": lambda port: UDP(sport=port, dport=53), "TCP": lambda port: TCP(sport=port, dport=80, flags="S", seq=1),
         "ICMP": lambda port: ICMP(id=port, seq=1),
         "UDP without a checksum": lambda port: UDP(sport=port, dport=53, chksum=0)}

for each_name, each_l4 in FLOWS.items():
    for each_how, each_order in ORDERS.items():
        @case(f"{each_name} in three fragments, {each_how}, leaves as its datagram would have")
        def out(t, make=each_l4, order=each_order):
            frame = t.vm1.ip(REMOTE) / make(t.port()) / DATA[:2000]
            made = pieces(frame)
            put_pieces(t, t.vm1, [made[index] for index in order], t.router, t.out(frame))


for each_how, each_order in ORDERS.items():
    @case(f"an answer in three fragments, {each_how}, reaches the VM as its datagram would have")
    def back(t, order=each_order):
        port = t.port()
        frame = t.open_udp(t.vm1, port) / DATA[:2000]
        made = pieces(frame)
        put_pieces(t, t.router, [made[index] for index in order], t.vm1, t.back(frame, t.vm1))


@case("two VMs' datagrams to one remote, with one identification and interleaved, are told apart (RFC 7857 10)",
               kernel="leaves both with that identification: the remote cannot tell them apart")
def interleaved(t):
    frames = [guest.ip(REMOTE) / UDP(sport=t.port(), dport=53) / bytes([number]) / DATA[:1500]
              for number, guest in enumerate((t.vm1, t.vm2))]
    made = [pieces(frame) for frame in frames]
    for piece in made[1]:
        piece[IP].id = made[0][0][IP].id
        del piece[IP].chksum
    put_both(t, [(t.vm1, made[0]), (t.vm2, made[1])], [t.out(frame) for frame in frames])


def put_both(t, sent, wholes):
    """Two stations' fragments, in turn; at the router come both datagrams, by whatever identification."""
    seen = []
    for index in range(len(sent[0][1])):
        for station, made in sent:
            got = t.gateway.exchange(station, [made[index]], {})
            seen += got.get("router", [])
    wait_until(lambda: seen.extend(t.gateway.collect().get("router", [])) or len(seen) >= 4, "both datagrams", 5)
    by_number = {}
    for raw in seen:
        by_number.setdefault((Ether(raw)[IP].id, Ether(raw)[IP].src), []).append(raw)
    check_equal(sorted(map(put_together, by_number.values())), sorted(plain(whole) for whole in wholes), "the datagrams")


@case("GRE in fragments leaves by address alone")
def other_protocol(t):
    frame = t.vm1.ip("198.19.8.1", proto=47) / GRE / DATA[:1996]
    put_pieces(t, t.vm1, pieces(frame), t.router, t.out(frame))


@case("fragments reach a forward, and its answer in fragments leaves from the forwarded port")
def forwarded(t):
    frame = t.from_remote() / UDP(sport=t.port(), dport=5353) / DATA[:2000]
    put_pieces(t, t.router, pieces(frame), t.vm1, t.back(frame, t.vm1, dport=53))
    answer = t.vm1.ip(REMOTE) / UDP(sport=53, dport=frame[UDP].sport) / DATA[:1800]
    put_pieces(t, t.vm1, pieces(answer), t.router, t.out(answer, sport=5353))


@case("fragments to a forward by hairpin reach its VM", kernel="masquerade does not turn packets round")
def hairpin(t):
    port = t.port()
    frame = t.vm2.ip(EXTERNAL) / UDP(sport=port, dport=5353) / DATA[:2000]
    whole = translated(frame, (t.vm1.gateway_mac, t.vm1.mac), source=EXTERNAL, destination=t.vm1.address, dport=53, hops=2)
    put_pieces(t, t.vm2, pieces(frame), t.vm1, whole)


@case("the gateway answers a ping in fragments")
def ping(t):
    frame = t.vm1.ip(t.vm1.gateway) / ICMP(id=t.port(), seq=1) / DATA[:2000]
    reply = solid(frame).copy()
    reply[ICMP].type = 0
    reply[IP].src, reply[IP].dst, reply[IP].ttl = t.vm1.gateway, t.vm1.address, 64
    put_pieces(t, t.vm1, pieces(frame), t.vm1, translated(reply, (t.vm1.gateway_mac, t.vm1.mac), hops=0))


@case("fragments between VMs of one network are switched as they are, a later one without its first, too")
def switched(t):
    frame = t.vm1.ip(t.vm2.address) / UDP(sport=1, dport=2) / DATA[:2000]
    frame.dst = t.vm2.mac
    made = pieces(frame)
    t.put(t.vm1, made[2], made[0], vm2=[made[2], made[0]])


@case("a later fragment without its first never leaves, and is dropped after a while")
def without_first(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / DATA[:2000]
    t.put(t.vm1, *pieces(frame)[1:])
    if not t.is_kernel:
        t.await_drops("fragment_timeout", 2)
        check_equal(t.gateway.collect(), {}, "what came out meanwhile")


@case("a fragment whose bytes have come before is dropped, and the datagram is whole all the same")
def duplicate(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / DATA[:1200]
    first, last = pieces(frame)
    put_pieces(t, t.vm1, [first, first, last], t.router, t.out(frame))
    t.drops["fragment_duplicate"] += 1


@case("a fragment that overlaps another does not pass (RFC 5722)")
def overlap(t):
    frame = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=53) / DATA[:2000]
    first, second, _ = pieces(frame)
    second[IP].frag -= 10
    del second[IP].chksum
    seen = t.gateway.exchange(t.vm1, [first, second], {})
    t.drops["fragment_overlap"] += 1
    came = [Ether(raw)[IP].frag for raw in seen.pop("router", [])]
    check(not seen and came == ([] if t.is_kernel else [0]), f"fragments at the router: {came}, elsewhere: {list(seen)}")


@case("a first fragment without the whole TCP header does not pass (RFC 1858, RFC 3128)")
def tiny(t):
    frame = t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=80, flags="S", seq=1) / DATA[:100]
    made = pieces(frame, size=16)
    there = Differs("looks at the datagram put together", router=[t.out(frame)])
    if t.is_kernel:
        t.differences.append(there.why)
        put_pieces(t, t.vm1, made, t.router, t.out(frame))
    else:
        t.put(t.vm1, made[0], drop="fragment_tiny")


@case("fragments between networks are refused once, and none of them passes")
def between_networks(t):
    frame = t.vm1.ip(t.vm5.address) / UDP(sport=t.port(), dport=53) / DATA[:1200]
    first, last = pieces(frame)
    whole = solid(frame)
    whole[IP].id = first[IP].id
    del whole[IP].chksum
    t.put(t.vm1, first, last, drop="between_networks", drops=2, vm1=[Error(PROHIBITED, first, t.vm1.gateway)],
          kernel=Differs("refuses the datagram put together", vm1=[rejected(whole, t.vm1.gateway)]))


@case("a fragment from another's address does not leave")
def spoofed(t):
    frame = t.vm1.ip(REMOTE, src="10.1.2.3") / UDP(sport=t.port(), dport=53) / DATA[:1200]
    first, last = pieces(frame)
    t.put(t.vm1, first, last, drop="source_foreign", drops=2)


@case("unsolicited fragments from outside reach nobody; their sender is told once")
def unsolicited(t):
    frame = t.from_remote(STRANGER) / UDP(sport=53, dport=t.port()) / DATA[:1200]
    first, last = pieces(frame)
    whole = solid(frame)
    whole[IP].id = first[IP].id
    del whole[IP].chksum
    t.put(t.router, first, last, drop="no_session", drops=2, router=[Error(PORT_UNREACHABLE, first, EXTERNAL)],
          kernel=Differs("quotes the datagram put together", router=[Error(PORT_UNREACHABLE, whole, EXTERNAL)]))


@case("a packet larger than the uplink's MTU leaves in fragments that are not (RFC 4787 REQ-13a)")
def too_big(t):
    port = t.port()
    for l4 in (UDP(sport=port, dport=53), TCP(sport=port, dport=80, flags="S", seq=1), ICMP(id=port)):
        frame = t.vm1.ip(REMOTE) / l4 / DATA[:1450]
        seen = collect(t, t.vm1, [frame], lambda got: is_whole(got.get("router", [])))
        check(all(len(raw) - 14 <= UPLINK_MTU for raw in seen["router"]), "a fragment larger than the MTU")
        check_equal(put_together(seen["router"]), plain(t.out(frame)), "what the fragments add up to")


# --- the spoof guard: vm6's port is configured with its MAC and address -----------------------------------

NO_GUARD = "libvirt builds one from ebtables, where it is asked for"


@case("a guarded VM sends from its own address and MAC alone", kernel=NO_GUARD)
def guarded(t):
    for source in ("192.168.6.77", "192.168.6.1", t.vm1.address, EXTERNAL, "0.0.0.0"):
        t.put(t.vm6, t.vm6.ip(REMOTE, src=source) / UDP(sport=t.port(), dport=53) / b"spoofed", drop="spoofed_address")
    frame = t.vm6.ip(REMOTE) / UDP(sport=t.port(), dport=53) / b"spoofed"
    for mac in ("52:54:00:aa:00:99", t.vm6.gateway_mac):
        frame.src = mac
        t.put(t.vm6, frame, drop="spoofed_mac")


@case("a guarded VM takes neither the gateway's nor a neighbour's address by ARP", kernel=NO_GUARD)
def guarded_arp(t):
    for address in (t.vm6.gateway, "192.168.6.77"):
        for op in (1, 2):
            claim = t.vm6.arp(op, address)
            claim["ARP"].psrc = address
            t.put(t.vm6, claim, drop="spoofed_address")
