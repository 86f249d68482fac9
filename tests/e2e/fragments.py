#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fragments on veth ports, to the byte and to the counter; veth_lab.py draws the wires.

The default network takes packets of 1500 bytes, the uplink 1400, the lab's network 1280. 203.0.113.2:5353 udp leads to
vm1's port 53. What is sent in fragments must add up behind vmnatd to what the datagram would have become whole.
"""

from harness import config
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, ICMP, IP, TCP, UDP, Ether, Raw, check_checksums
from veth_lab import REMOTE, VethLab

UPLINK_MTU, SMALL_MTU = 1400, 1280
HELD_BY_ONE_VM = 256
PAYLOAD = bytes(range(256)) * 16  # 4096 bytes


class FragmentLab(VethLab):
    def configuration(self):
        configuration = super().configuration()
        configuration["uplink"]["mtu"] = UPLINK_MTU
        configuration["networks"][1]["mtu"] = SMALL_MTU
        return configuration


def make_lab(scope):
    return FragmentLab(scope, default={"forwards": [{"protocol": "udp", "port": 5353, "to": "192.168.122.10:53"}]})


suite = Suite(make_lab)


# --- taking apart and putting together ------------------------------------------------------------------


def piece(frame, begin, end, **fields):
    """The fragment with bytes [begin, end) of the payload of an IPv4 frame that has no options."""
    built = Ether(bytes(frame))
    payload = bytes(built[IP])[20:built[IP].len]
    header = IP(bytes(built[IP])[:20])
    more = end < len(payload) or header.flags.MF
    header.flags, header.frag = "MF" if more else 0, header.frag + begin // 8
    del header.len, header.chksum
    for name, value in fields.items():
        setattr(header, name, value)
    return Ether(bytes(Ether(src=built.src, dst=built.dst, type=0x0800) / header / Raw(payload[begin:end])))


def parts(frame, size=1200, **fields):
    """A frame's fragments, with `size` bytes of payload each."""
    total = len(bytes(frame[IP])) - 20
    return [piece(frame, begin, min(begin + size, total), **fields) for begin in range(0, total, size)]


def fragments_of(frames):
    return [f for f in frames if IP in f and (f[IP].flags.MF or f[IP].frag)]


def whole(frames):
    """The datagram that the fragments add up to, checksums checked."""
    frames = sorted(frames, key=lambda f: f[IP].frag)
    check(frames and frames[0][IP].frag == 0 and not frames[-1][IP].flags.MF,
          f"not all of a datagram: {[f.summary() for f in frames]}")
    check_equal(len({(f[IP].src, f[IP].dst, f[IP].proto, f[IP].id) for f in frames}), 1, "datagrams")
    payload = b""
    for frame in frames:
        check_equal(frame[IP].frag * 8, len(payload), "where a fragment begins")
        header = IP(bytes(frame[IP])[:20])
        given = header.chksum
        del header.chksum
        check_equal(hex(given), hex(IP(bytes(header)).chksum), f"IPv4 checksum of {frame.summary()}")
        payload += bytes(frame[IP])[frame[IP].ihl * 4:frame[IP].len]
    header = IP(bytes(frames[0][IP])[:20])
    header.frag, header.flags = 0, 0
    del header.len, header.chksum
    packet = Ether(bytes(Ether(src=frames[0].src, dst=frames[0].dst) / header / Raw(payload)))
    check_checksums(packet)
    return packet


def receive(wire, number, what):
    return [wire.expect(lambda f: fragments_of([f]), f"{what}, fragment {index + 1} of {number}")
            for index in range(number)]


def send_all(wire, frames):
    for frame in frames:
        wire.send(frame)


def passed(number):
    return {"received": number, "transmitted": number}


def dropped(number, reason, **more):
    return {"received": number, "dropped": {f"drop.{reason}": number}} | more


def external_port(lab, guest, port):
    """Opens a session from the guest's port; its external port."""
    return lab.open_udp(guest, port, b"opens the session")[UDP].sport


ORDERS = {"in order": list, "reversed": lambda frames: list(reversed(frames)),
          "the last first": lambda frames: [frames[-1], *frames[:-1]]}


# --- both ways ------------------------------------------------------------------------------------------


@suite.test("a datagram in fragments leaves translated, in whatever order they come")
def outbound(lab):
    for order, arranged in ORDERS.items():
        for l4 in (UDP(sport=6001, dport=53), TCP(sport=6002, dport=80, flags="S"), ICMP(id=61)):
            frames = arranged(parts(lab.vm1.routed(REMOTE) / l4 / Raw(PAYLOAD)))
            with lab.counting(**passed(4)):
                send_all(lab.vm1.wire, frames)
                packet = whole(receive(lab.router, 4, f"{l4.name} {order}"))
            check_equal((packet[IP].src, packet[IP].dst, packet[IP].ttl), (config.UPLINK_ADDRESS, REMOTE, 63), order)
            check_equal(bytes(packet[IP].payload.payload), PAYLOAD, f"{l4.name} {order}")


@suite.test("an answer in fragments reaches the VM, in whatever order they come")
def inbound(lab):
    port = external_port(lab, lab.vm1, 6003)
    for order, arranged in ORDERS.items():
        answer = lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS, id=77) / \
            UDP(sport=53, dport=port) / Raw(PAYLOAD)
        with lab.counting(**passed(4)):
            send_all(lab.router, arranged(parts(answer)))
            packet = whole(receive(lab.vm1.wire, 4, order))
        check_equal((packet[IP].src, packet[IP].dst, packet[UDP].dport, bytes(packet[UDP].payload)),
                    (REMOTE, lab.vm1.address, 6003, PAYLOAD), order)


@suite.test("datagrams of two VMs with one identification, interleaved, are told apart by the remote")
def equal_identifications(lab):
    streams = [parts(vm.routed(REMOTE) / UDP(sport=6004, dport=53) / Raw(PAYLOAD), id=4242)
               for vm in (lab.vm1, lab.vm2)]
    with lab.counting(**passed(8)):
        for one, two in zip(streams[0], reversed(streams[1])):
            lab.vm1.wire.send(one)
            lab.vm2.wire.send(two)
        frames = receive(lab.router, 8, "both datagrams")
    by_identification = {}
    for frame in frames:
        by_identification.setdefault(frame[IP].id, []).append(frame)
    check_equal(len(by_identification), 2, "identifications")
    check_equal(len({whole(frames)[UDP].sport for frames in by_identification.values()}), 2, "external ports")


@suite.test("UDP without a checksum stays without one in fragments")
def no_checksum(lab):
    frames = parts(lab.vm1.routed(REMOTE) / UDP(sport=6005, dport=53, chksum=0) / Raw(PAYLOAD))
    with lab.counting(**passed(4)):
        send_all(lab.vm1.wire, frames)
        first = min(receive(lab.router, 4, "the datagram"), key=lambda f: f[IP].frag)
    check_equal(first[UDP].chksum, 0, "checksum")


@suite.test("fragments of GRE are translated by address alone")
def without_ports(lab):
    frames = parts(lab.vm1.routed(REMOTE) / Raw(PAYLOAD), proto=47)
    with lab.counting(**passed(4)):
        send_all(lab.vm1.wire, list(reversed(frames)))
        got = receive(lab.router, 4, "GRE")
    check_equal({f[IP].src for f in got}, {config.UPLINK_ADDRESS}, "sources")


@suite.test("fragments between VMs of one network are switched untouched, even without a first")
def switched(lab):
    frames = parts(lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP() / Raw(PAYLOAD))[1:]
    with lab.counting(**passed(3)):
        send_all(lab.vm1.wire, frames)
        got = receive(lab.vm2.wire, 3, "switched fragments")
    check_equal([bytes(f) for f in got], [bytes(f) for f in frames], "frames")


@suite.test("the gateway and the uplink's address answer pings in fragments")
def echo(lab):
    for order, arranged in ORDERS.items():
        for wire, ping, who in (
                (lab.vm1.wire, lab.vm1.routed(lab.vm1.gateway), lab.vm1.gateway),
                (lab.router, lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS),
                 config.UPLINK_ADDRESS)):
            with lab.counting(**passed(4)):
                send_all(wire, arranged(parts(ping / ICMP(id=9, seq=2) / Raw(PAYLOAD))))
                answer = whole(receive(wire, 4, f"the answer of {who}, {order}"))
            check_equal((answer[IP].src, answer[ICMP].type, bytes(answer[ICMP].payload)), (who, 0, PAYLOAD), order)


# --- forwards and hairpins ------------------------------------------------------------------------------


def make_vm1_known(lab):
    def is_known():
        for frame in lab.vm1.wire.drain():
            if ARP in frame and frame[ARP].pdst == lab.vm1.address:
                lab.vm1.wire.send(lab.vm1.wire.to(frame.src) / ARP(op=2, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.address,
                                                                   hwdst=frame.src, pdst=lab.vm1.gateway))
        return any(forward["mac"] for forward in lab.vmnatd.ctl("forwards"))
    wait_until(is_known, "vm1 is known")


@suite.test("fragments reach a forward from outside, and by hairpin from the same and from another network")
def forwarded(lab):
    make_vm1_known(lab)
    senders = ((lab.router, lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS), REMOTE, 1200),
               (lab.vm2.wire, lab.vm2.routed(config.UPLINK_ADDRESS), config.UPLINK_ADDRESS, 1200),
               (lab.vm3.wire, lab.vm3.routed(config.UPLINK_ADDRESS), config.UPLINK_ADDRESS, 1200))
    for wire, headers, seen_as, size in senders:
        for order, arranged in ORDERS.items():
            with lab.counting(**passed(4)):
                send_all(wire, arranged(parts(headers / UDP(sport=6010, dport=5353) / Raw(PAYLOAD), size)))
                packet = whole(receive(lab.vm1.wire, 4, f"the question from {seen_as}, {order}"))
            check_equal((packet[IP].src, packet[IP].dst, packet[UDP].dport, bytes(packet[UDP].payload)),
                        (seen_as, lab.vm1.address, 53, PAYLOAD), order)
        with lab.counting(**passed(4)):
            answer = lab.vm1.routed(seen_as) / UDP(sport=53, dport=packet[UDP].sport) / Raw(PAYLOAD)
            send_all(lab.vm1.wire, list(reversed(parts(answer, size))))
            packet = whole(receive(wire, 4, f"the answer to {seen_as}"))
        check_equal((packet[IP].src, packet[UDP].sport, packet[UDP].dport), (config.UPLINK_ADDRESS, 5353, 6010), "answer")


# --- what does not pass ---------------------------------------------------------------------------------


@suite.test("fragments without a first wait two seconds, and are dropped")
def missing_first(lab):
    frames = parts(lab.vm1.routed(REMOTE) / UDP(sport=6020, dport=53) / Raw(PAYLOAD))[1:]
    with lab.counting(**dropped(3, "fragment_timeout")):
        send_all(lab.vm1.wire, frames)
        wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 3, "they wait")
    check_equal(lab.vmnatd.counters()["fragments.held"], 0, "fragments that wait")
    with lab.counting(**dropped(3, "fragment_timeout")):
        send_all(lab.router, parts(lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) /
                                   UDP(sport=53, dport=40000) / Raw(PAYLOAD))[1:])


@suite.test("a datagram whose fragments overlap is dropped from the overlap on; copies are dropped alone")
def overlap(lab):
    datagram = lab.vm1.routed(REMOTE) / UDP(sport=6021, dport=53) / Raw(PAYLOAD)
    frames, evil = parts(datagram), piece(datagram, 1192, 2392)
    with lab.counting(**dropped(3, "fragment_overlap") | {"received": 4, "transmitted": 1}):
        send_all(lab.vm1.wire, [frames[0], evil, *frames[2:]])
        receive(lab.router, 1, "the first fragment")
    frames = parts(lab.vm1.routed(REMOTE) / UDP(sport=6022, dport=53) / Raw(PAYLOAD), id=2)
    with lab.counting(**dropped(2, "fragment_duplicate") | {"received": 6, "transmitted": 4}):
        send_all(lab.vm1.wire, [frames[0], frames[0], frames[1], frames[1], *frames[2:]])
        whole(receive(lab.router, 4, "the datagram"))


@suite.test("tiny first fragments, and TCP fragments that would rewrite the header, are dropped (RFC 1858, RFC 3128)")
def tiny(lab):
    syn = lab.vm1.routed(REMOTE) / TCP(sport=6023, dport=80, flags="S") / Raw(PAYLOAD[:100])
    with lab.counting(**dropped(2, "fragment_tiny")):
        send_all(lab.vm1.wire, [piece(syn, 0, 16, id=11), piece(syn, 16, 120, id=11)])
    with lab.counting(**dropped(1, "fragment_tiny") | {"received": 2, "transmitted": 1}):
        send_all(lab.vm1.wire, [piece(syn, 0, 40, id=12), piece(syn, 8, 48, id=12)])
        lab.router.expect(lambda f: TCP in f, "the first fragment")


@suite.test("what the first fragment is refused for, the others are refused for; the sender is told once")
def refused(lab):
    def others(gone):
        return [f for f in gone if ICMP in f and f[ICMP].type == 3]
    with lab.counting(**dropped(4, "between_networks") | {"generated": 1, "transmitted": 1}):
        send_all(lab.vm1.wire, list(reversed(parts(lab.vm1.routed(lab.vm3.address) / UDP(dport=53) / Raw(PAYLOAD)))))
        error = lab.vm1.wire.expect(lambda f: ICMP in f, "the ICMP error")
    check_equal((error[ICMP].type, error[ICMP].code), (3, 13), "the error")
    check_equal(others(lab.vm1.wire.drain()), [], "further errors")
    with lab.counting(received=4, dropped={"drop.tcp_not_syn": 1, "drop.fragment_refused": 3}):
        send_all(lab.vm1.wire, parts(lab.vm1.routed(REMOTE) / TCP(sport=6024, dport=80, flags="A") / Raw(PAYLOAD)))


@suite.test("a VM that floods holds its own share of the store, and another's fragments still pass")
def flood(lab):
    datagram = lab.vm1.routed(REMOTE) / UDP(sport=6025, dport=53) / Raw(PAYLOAD)
    flooded = HELD_BY_ONE_VM + 100
    before = lab.vmnatd.counters()
    # On a busy machine the flood takes longer than fragments are held: then some end by time instead of by quota.
    with lab.counting(received=flooded + 4, transmitted=4, dropped=flooded):
        seen = lab.frame_counts()["received"]
        for identification in range(1000, 1000 + flooded):
            lab.vm1.wire.send(piece(datagram, 1200, 2400, id=identification))
            seen += 1
            if identification % 8 == 0:  # the wire holds no more than a few, however busy vmnatd is
                wait_until(lambda: lab.frame_counts()["received"] >= seen, "the flood so far is received")
                check(lab.vmnatd.counters()["fragments.held"] <= HELD_BY_ONE_VM, "no more than a VM's share is held")
        send_all(lab.vm2.wire, list(reversed(parts(lab.vm2.routed(REMOTE) / UDP(sport=6026, dport=53) / Raw(PAYLOAD)))))
        whole(receive(lab.router, 4, "the other VM's datagram"))
    after = lab.vmnatd.counters()
    check_equal(sum(after[name] - before[name] for name in ("drop.fragment_quota", "drop.fragment_timeout")), flooded,
                "all that was flooded went by quota or time")


# --- larger than the way out ----------------------------------------------------------------------------


@suite.test("a datagram larger than the uplink's MTU leaves in fragments, or its sender is told if it may not")
def too_big_for_uplink(lab):
    payload = PAYLOAD[:1472]
    with lab.counting(received=1, transmitted=2, generated=1):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=6030, dport=53) / Raw(payload))
        frames = receive(lab.router, 2, "the pieces")
    check_equal([f[IP].len for f in frames], [20 + 1376, 20 + 8 + 1472 - 1376], "lengths")
    check_equal(bytes(whole(frames)[UDP].payload), payload, "payload")
    with lab.counting(**dropped(1, "too_big") | {"generated": 1, "transmitted": 1}):
        frame = lab.vm1.routed(REMOTE) / UDP(sport=6030, dport=53) / Raw(payload)
        frame[IP].flags = "DF"
        lab.vm1.wire.send(frame)
        error = lab.vm1.wire.expect(lambda f: ICMP in f, "the ICMP error")
    check_equal((error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu), (3, 4, UPLINK_MTU), "the error")


@suite.test("fragments larger than the uplink's MTU leave in smaller ones")
def fragments_too_big_for_uplink(lab):
    with lab.counting(received=3, transmitted=5, generated=2):
        send_all(lab.vm1.wire, list(reversed(parts(lab.vm1.routed(REMOTE) / UDP(sport=6031, dport=53) / Raw(PAYLOAD), 1480))))
        frames = receive(lab.router, 5, "the pieces")
    check_equal(bytes(whole(frames)[UDP].payload), PAYLOAD, "payload")


@suite.test("an answer larger than the VM's network takes comes in fragments, or the remote is told its MTU")
def too_big_for_network(lab):
    port = external_port(lab, lab.vm3, 6032)
    answer = lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS, id=99) / \
        UDP(sport=53, dport=port) / Raw(PAYLOAD[:1372])
    with lab.counting(received=1, transmitted=2, generated=1):
        lab.router.send(answer)
        frames = receive(lab.vm3.wire, 2, "the pieces")
    packet = whole(frames)
    check_equal((max(f[IP].len for f in frames) <= SMALL_MTU, packet[IP].id, bytes(packet[UDP].payload)),
                (True, 99, PAYLOAD[:1372]), "the datagram")
    answer[IP].flags = "DF"
    with lab.counting(**dropped(1, "too_big") | {"generated": 1, "transmitted": 1}):
        lab.router.send(answer)
        error = lab.router.expect(lambda f: ICMP in f, "the ICMP error")
    check_equal((error[IP].src, error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu),
                (config.UPLINK_ADDRESS, 3, 4, SMALL_MTU), "the error")


@suite.test("every frame is accounted for, nothing waits, and no inside address has left")
def accounting(lab):
    lab.vmnatd.check_accounting()
    wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 0, "nothing waits")
    check_equal(lab.leaks(), [], "leaks")
    lab.check_still_works()


if __name__ == "__main__":
    suite.main()
