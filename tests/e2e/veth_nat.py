#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""NAT, switch and neighbours on veth ports, to the byte and to the counter; veth_lab.py draws the wires.

What the counters grow by for each thing that can happen to a frame, and the names of the drop reasons, stand
in the two tables below and nowhere else.
"""

from harness import config
from harness.tap import Suite, check, check_equal
from harness.wire import ARP, BROADCAST, ICMP, IP, TCP, UDP, Ether, Raw, check_checksums
from veth_lab import (FORWARDED, GATEWAY_MACS, REMOTE, ROUTER_MAC, VethLab, end_with_accounts, times)

ARP_ANSWERED = {"received": 1, "transmitted": 1}
PING_ANSWERED = {"received": 1, "transmitted": 1}

ON_LINK = "203.0.113.77"  # a host on the uplink's own subnet

TTL_EXPIRED, FRAGMENTATION_NEEDED, PORT_UNREACHABLE, PROHIBITED = (11, 0), (3, 4), (3, 3), (3, 13)

REASONS = {
    "no session": "no_session",
    "filtered": "filtered",
    "between networks": "between_networks",
    "isolated network": "no_forwarding",
    "multicast": "destination_multicast",
    "TTL is spent": "ttl_expired",
}


def dropped(number, reason):
    return {"received": number, "dropped": {f"drop.{REASONS[reason]}": number}}


def refused(number, reason):
    """Dropped, and the sender is told by ICMP."""
    return dropped(number, reason) | {"generated": number, "transmitted": number}


def make_lab(scope):
    return VethLab(scope)


suite = Suite(make_lab)


# --- neighbours -------------------------------------------------------------------------------------------


@suite.test("at start the uplink's address is announced by gratuitous ARP")
def gratuitous_arp(lab):
    frame = lab.router.expect(lambda f: ARP in f and f[ARP].psrc == f[ARP].pdst == config.UPLINK_ADDRESS, "gratuitous ARP")
    check_equal((frame.dst, frame.src, frame[ARP].hwsrc), (BROADCAST, config.UPLINK_MAC, config.UPLINK_MAC), "addresses")


@suite.test("frames wait while their next hop is resolved, ARP is repeated, and then they all leave in order")
def waits_for_next_hop(lab):
    payloads = [b"first", b"second", b"third"]
    for payload in payloads:
        lab.vm1.wire.send(lab.vm1.routed(ON_LINK) / UDP(sport=1500, dport=53) / Raw(payload))
    for attempt in ("first", "repeated"):
        request = lab.router.expect(lambda f: lab.router.asks_for(f, ON_LINK), f"the {attempt} ARP request")
        check_equal(request[ARP].psrc, config.UPLINK_ADDRESS, "the sender's address in the ARP request")
    check(not any(UDP in frame for frame in lab.router.drain()), "a frame left before its next hop was known")
    lab.router.answer(request)
    left = [lab.router.expect(lambda f: UDP in f, "a frame that waited") for _ in payloads]
    check_equal([bytes(frame[UDP].payload) for frame in left], payloads, "the frames that waited")
    check_equal({(frame.dst, frame[IP].src) for frame in left}, {(ROUTER_MAC, config.UPLINK_ADDRESS)}, "their addresses")


@suite.test("an unanswered ARP request for the router is repeated until it is answered")
def router_arp(lab):
    for attempt in ("first", "second", "third", "fourth"):
        lab.router.expect(lambda f: lab.router.asks_for(f, config.UPLINK_ROUTER), f"the {attempt} ARP request")
    lab.settle()


@suite.test("ARP for the gateway is answered on each network with that network's MAC")
def gateway_arp(lab):
    for guest in (lab.vm1, lab.vm3, lab.vm4):
        with lab.counting(**ARP_ANSWERED):
            guest.wire.send(guest.wire.to() / ARP(op=1, hwsrc=guest.wire.mac, psrc=guest.address, pdst=guest.gateway))
            answer = guest.expect(lambda f: ARP in f and f[ARP].op == 2, "the ARP answer")
        check_equal((answer.src, answer.dst, answer[ARP].hwsrc, answer[ARP].psrc, answer[ARP].pdst),
                    (GATEWAY_MACS[guest.network], guest.wire.mac, GATEWAY_MACS[guest.network], guest.gateway,
                     guest.address), "the ARP answer")


@suite.test("the gateway answers ping on its network")
def gateway_ping(lab):
    for guest in (lab.vm1, lab.vm3, lab.vm4):
        with lab.counting(**PING_ANSWERED):
            guest.wire.send(guest.routed(guest.gateway) / ICMP(id=7, seq=3) / Raw(b"are you there"))
            answer = guest.expect(lambda f: ICMP in f, "the echo reply")
        check_equal((answer[IP].src, answer[IP].dst, answer[ICMP].type, answer[ICMP].id, answer[ICMP].seq,
                     bytes(answer[ICMP].payload)[:13]),
                    (guest.gateway, guest.address, 0, 7, 3, b"are you there"), "the echo reply")
        check_checksums(answer)


# --- translation ------------------------------------------------------------------------------------------


def check_outbound(frame, ttl=63):
    check_equal((frame.src, frame.dst), (config.UPLINK_MAC, ROUTER_MAC), "MAC addresses on the uplink")
    check_equal((frame[IP].src, frame[IP].dst, frame[IP].ttl), (config.UPLINK_ADDRESS, REMOTE, ttl), "IPv4 header")
    check_checksums(frame)


def check_inbound(frame, guest, ttl=63):
    check_equal((frame.src, frame.dst), (GATEWAY_MACS[guest.network], guest.wire.mac), "MAC addresses to the VM")
    check_equal((frame[IP].src, frame[IP].dst, frame[IP].ttl), (REMOTE, guest.address, ttl), "IPv4 header")
    check_checksums(frame)


@suite.test("UDP goes out with the uplink's address and a port from 1024-65535, and its answer comes back")
def udp_out_and_back(lab):
    with lab.counting(**times(2, FORWARDED)):
        outbound = lab.open_udp(lab.vm1, 4001, b"question")
        lab.reply_udp(outbound, b"answer")
        inbound = lab.vm1.expect(lambda f: UDP in f, "the answer")
    check_outbound(outbound)
    check(1024 <= outbound[UDP].sport <= 65535, f"external port {outbound[UDP].sport}")
    check_equal(outbound[UDP].dport, 53, "remote port")
    check_inbound(inbound, lab.vm1)
    check_equal((inbound[UDP].sport, inbound[UDP].dport, bytes(inbound[UDP].payload)[:6]), (53, 4001, b"answer"), "UDP")


@suite.test("UDP without a checksum stays without one")
def udp_zero_checksum(lab):
    with lab.counting(**times(2, FORWARDED)):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=4002, dport=53, chksum=0) / Raw(b"unchecked"))
        outbound = lab.router.expect(lambda f: UDP in f, "the datagram")
        lab.router.send(lab.router.to(outbound.src) / IP(src=REMOTE, dst=outbound[IP].src) /
                        UDP(sport=53, dport=outbound[UDP].sport, chksum=0) / Raw(b"unchecked too"))
        inbound = lab.vm1.expect(lambda f: UDP in f, "the answer")
    check_equal((outbound[UDP].chksum, inbound[UDP].chksum), (0, 0), "UDP checksums")


@suite.test("an internal port below 1024 never becomes an external port below 1024")
def privileged_port(lab):
    with lab.counting(**times(20, FORWARDED)):
        ports = [lab.open_udp(lab.vm1, port, b"from port %d" % port)[UDP].sport for port in range(1004, 1024)]
    check(min(ports) >= 1024, f"external ports {ports}")
    check_equal(len(set(ports)), 20, "different external ports")


@suite.test("a TCP connection opens, carries data both ways, and closes")
def tcp_conversation(lab):
    conversation = [  # from the VM or to it; flags; sequence, acknowledgement; payload
        ("out", "S", 100, 0, b""), ("in", "SA", 900, 101, b""), ("out", "A", 101, 901, b""),
        ("out", "PA", 101, 901, b"GET /"), ("in", "PA", 901, 106, b"200 OK"), ("out", "FA", 106, 907, b""),
        ("in", "FA", 907, 107, b""), ("out", "A", 107, 908, b"")]
    external = None
    with lab.counting(**times(len(conversation), FORWARDED)):
        for direction, flags, sequence, acknowledgement, payload in conversation:
            fields = {"flags": flags, "seq": sequence, "ack": acknowledgement}
            if direction == "out":
                lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=4003, dport=80, **fields) / Raw(payload))
                seen = lab.router.expect(lambda f: TCP in f, f"{flags} on the uplink")
                check_outbound(seen)
                external = external or seen[TCP].sport
                check_equal((seen[TCP].sport, seen[TCP].dport), (external, 80), "ports")
            else:
                lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) /
                                TCP(sport=80, dport=external, **fields) / Raw(payload))
                seen = lab.vm1.expect(lambda f: TCP in f, f"{flags} at the VM")
                check_inbound(seen, lab.vm1)
                check_equal((seen[TCP].sport, seen[TCP].dport), (80, 4003), "ports")
            check_equal((seen[TCP].flags, seen[TCP].seq, seen[TCP].ack, bytes(seen[TCP].payload)[:len(payload)]),
                        (flags, sequence, acknowledgement, payload), "TCP")


@suite.test("ICMP echo goes out with an identifier of the gateway's and its reply comes back")
def echo_out_and_back(lab):
    with lab.counting(**times(2, FORWARDED)):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / ICMP(id=55, seq=9) / Raw(b"ping"))
        outbound = lab.router.expect(lambda f: ICMP in f, "the echo request")
        lab.router.send(lab.router.to(outbound.src) / IP(src=REMOTE, dst=outbound[IP].src) /
                        ICMP(type=0, id=outbound[ICMP].id, seq=9) / Raw(b"ping"))
        inbound = lab.vm1.expect(lambda f: ICMP in f, "the echo reply")
    check_outbound(outbound)
    check_inbound(inbound, lab.vm1)
    check_equal((inbound[ICMP].type, inbound[ICMP].id, inbound[ICMP].seq), (0, 55, 9), "the echo reply")


@suite.test("two VMs and two networks with the same internal port get different external ports, and their own answers")
def no_mixing(lab):
    guests = [lab.vm1, lab.vm2, lab.vm3]
    with lab.counting(**times(6, FORWARDED)):
        outbound = [lab.open_udp(guest, 4004, b"from " + guest.address.encode()) for guest in guests]
        for guest, frame in zip(guests, outbound):
            lab.reply_udp(frame, b"to " + guest.address.encode())
        for guest in guests:
            inbound = guest.expect(lambda f: UDP in f, "the answer")
            check_inbound(inbound, guest)
            check(bytes(inbound[UDP].payload).startswith(b"to " + guest.address.encode()), "another VM's answer")
    check_equal(len({frame[UDP].sport for frame in outbound}), 3, "different external ports")


@suite.test("endpoint-independent mapping: one internal endpoint has one external endpoint for all remotes")
def endpoint_independent(lab):
    with lab.counting(**times(3, FORWARDED)):
        ports = {lab.open_udp(lab.vm1, 4005, b"to " + remote.encode(), to=remote)[UDP].sport
                 for remote in (REMOTE, "198.51.100.3", "198.51.100.4")}
    check_equal(len(ports), 1, "external ports of one internal endpoint")


@suite.test("vmnatctl shows a session with both endpoints and what it carried")
def session_shown(lab):
    outbound = lab.open_udp(lab.vm1, 4006, b"look at me", remote_port=5353)
    lab.reply_udp(outbound, b"looking")
    lab.vm1.expect(lambda f: UDP in f, "the answer")
    sessions = lab.vmnatd.sessions("--internal", f"{lab.vm1.address}:4006")
    check_equal(len(sessions), 1, f"sessions of this endpoint in {sessions}")
    shown = {name: sessions[0][name] for name in
             ("network", "port", "protocol", "internal", "external", "remote", "packets_out", "packets_in")}
    check_equal(shown, {"network": "default", "port": "vm1", "protocol": "udp", "internal": f"{lab.vm1.address}:4006",
                        "external": f"{config.UPLINK_ADDRESS}:{outbound[UDP].sport}", "remote": f"{REMOTE}:5353",
                        "packets_out": 1, "packets_in": 1}, "the session")


# --- the switch -------------------------------------------------------------------------------------------


@suite.test("VMs of one network reach each other untranslated, and the uplink sees nothing of it")
def switched(lab):
    with lab.counting(**FORWARDED):
        sent = (lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address, ttl=64) /
                UDP(sport=1, dport=2) / Raw(b"hello neighbour, this frame is not touched"))
        lab.vm1.wire.send(sent)
        seen = lab.vm2.expect(lambda f: UDP in f, "the neighbour's frame")
    check_equal(bytes(seen), bytes(sent), "the frame, byte by byte")
    check_equal(seen_by_router(lab), [], "frames on the uplink")


@suite.test("a broadcast reaches every other VM of its network and no other network")
def flooded(lab):
    with lab.counting(received=1, transmitted=1):
        lab.vm1.wire.send(lab.vm1.wire.to() / ARP(op=1, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.address,
                                                  pdst=lab.vm2.address))
        lab.vm2.expect(lambda f: ARP in f and f[ARP].pdst == lab.vm2.address, "the ARP request")
    strangers = lab.router.drain() + lab.vm3.wire.drain() + lab.vm4.wire.drain()
    check_equal([frame.summary() for frame in strangers], [], "frames elsewhere")


# --- what is refused --------------------------------------------------------------------------------------


@suite.test("an unsolicited inbound frame is dropped and counted, and no VM sees it")
def unsolicited(lab):
    def inbound(frame):
        return lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) / frame
    frames = [TCP(sport=80, dport=33334, flags="S"), ICMP(type=0, id=33335)]
    with lab.counting(**dropped(len(frames), "no session")):
        for frame in frames:
            lab.router.send(inbound(frame))
    datagram = inbound(UDP(sport=53, dport=33333) / Raw(b"x"))
    with lab.counting(**refused(1, "no session")):
        lab.router.send(datagram)
        check_error(lab.router.expect(lambda f: ICMP in f, "port unreachable"), datagram, PORT_UNREACHABLE,
                    config.UPLINK_ADDRESS)
    check_equal(seen_by_guests(lab), [], "frames at the VMs")


@suite.test("a reply from another remote than the one asked is dropped")
def filtered(lab):
    outbound = lab.open_udp(lab.vm1, 4007, b"to one remote only")
    with lab.counting(**dropped(2, "filtered")):
        for remote, port in (("198.51.100.66", 53), (REMOTE, 54)):
            lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=remote, dst=config.UPLINK_ADDRESS) /
                            UDP(sport=port, dport=outbound[UDP].sport) / Raw(b"let me in"))
    check_equal(seen_by_guests(lab), [], "frames at the VMs")


@suite.test("between networks nothing passes: refused, and counted")
def between_networks(lab):
    with lab.counting(**refused(2, "between networks")):
        for sender, other in ((lab.vm1, lab.vm3), (lab.vm3, lab.vm1)):
            expect_refusal(sender, sender.routed(other.address) / UDP(sport=4008, dport=53) /
                           Raw(b"to the other network"), PROHIBITED)
    check_equal(seen_by_guests(lab), [], "frames at the VMs")
    check_equal(seen_by_router(lab), [], "frames on the uplink")


@suite.test("a network with `forward: none` reaches nothing outside: refused, and counted")
def isolated_network(lab):
    with lab.counting(**refused(1, "isolated network")):
        expect_refusal(lab.vm4, lab.vm4.routed(REMOTE) / UDP(sport=4009, dport=53) / Raw(b"out"), PROHIBITED)
    check_equal(seen_by_router(lab), [], "frames on the uplink")


@suite.test("multicast and limited broadcast are flooded on their network and never leave by the uplink")
def link_scope(lab):
    for destination, mac in (("224.0.0.251", "01:00:5e:00:00:fb"), ("255.255.255.255", BROADCAST)):
        datagram = IP(src=lab.vm1.address, dst=destination) / UDP(sport=5353, dport=5353) / Raw(b"to the segment")
        with lab.counting(**FORWARDED):
            lab.vm1.wire.send(lab.vm1.wire.to(mac) / datagram)
            lab.vm2.expect(lambda f, d=destination: IP in f and f[IP].dst == d, f"{destination}, flooded")
        with lab.counting(**dropped(1, "multicast")):
            lab.vm1.wire.send(lab.vm1.wire.to(GATEWAY_MACS["default"]) / datagram)
    check_equal(seen_by_router(lab), [], "frames on the uplink")


@suite.test("a frame whose TTL is spent is not forwarded, and counted")
def ttl_spent(lab):
    frame = lab.vm1.routed(REMOTE) / UDP(sport=4010, dport=53) / Raw(b"last hop")
    frame[IP].ttl = 1
    with lab.counting(**refused(1, "TTL is spent")):
        expect_refusal(lab.vm1, frame, TTL_EXPIRED)
    check_equal(seen_by_router(lab), [], "frames on the uplink")


# --- ICMP errors ------------------------------------------------------------------------------------------


@suite.test("traceroute sees the gateway and every hop behind it, in UDP and in ICMP mode")
def traceroute(lab):
    probes = {"UDP": UDP(sport=4011, dport=33434) / Raw(b"probe"), "ICMP": ICMP(id=4012, seq=1) / Raw(b"probe")}
    hops = ["203.0.113.1", "192.0.2.33"]
    for probe in probes.values():
        frame = lab.vm1.routed(REMOTE) / probe
        frame[IP].ttl = 1
        with lab.counting(**refused(1, "TTL is spent")):
            expect_refusal(lab.vm1, frame, TTL_EXPIRED)
        for ttl, hop in enumerate(hops, 2):
            frame[IP].ttl = ttl
            with lab.counting(**times(2, FORWARDED)):
                seen_by_vm = error_from(lab, hop, frame, TTL_EXPIRED)
            check_equal(seen_by_vm[IP].src, hop, "the hop")
        frame[IP].ttl = 64
        with lab.counting(**times(2, FORWARDED)):
            error_from(lab, REMOTE, frame, PORT_UNREACHABLE)


@suite.test("fragmentation needed from a router on the way reaches the VM with the next hop's MTU")
def path_mtu(lab):
    frame = lab.vm1.routed(REMOTE) / UDP(sport=4013, dport=53) / Raw(bytes(1300))
    frame[IP].flags = "DF"
    with lab.counting(**times(2, FORWARDED)):
        error = error_from(lab, "192.0.2.33", frame, FRAGMENTATION_NEEDED, nexthopmtu=1280)
    check_equal(error[ICMP].nexthopmtu, 1280, "the next hop's MTU")


@suite.test("a VM's port unreachable reaches the remote in the uplink's name, and quotes what the remote sent")
def error_out(lab):
    outbound = lab.open_udp(lab.vm1, 4014, b"question")
    lab.reply_udp(outbound, b"a late answer")
    answer = lab.vm1.expect(lambda f: UDP in f, "the answer")
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / ICMP(type=3, code=3) / bytes(answer[IP])[:28])
        error = lab.router.expect(lambda f: ICMP in f, "the error")
    check_equal((error[IP].src, error[IP].dst), (config.UPLINK_ADDRESS, REMOTE), "outer addresses")
    quote = IP(bytes(error[ICMP].payload))
    check_equal((quote.src, quote.dst, quote.sport, quote.dport),
                (REMOTE, config.UPLINK_ADDRESS, 53, outbound[UDP].sport), "the quote")
    check_checksums(error)
    check_header_checksum(quote)


def check_header_checksum(packet):
    header = IP(bytes(packet)[:packet.ihl * 4])
    del header.chksum
    check_equal(packet.chksum, IP(bytes(header)).chksum, "checksum of the quoted IPv4 header")


def check_error(error, about, kind, source):
    """An error that vmnatd sent about a frame: where from, where to, what kind, and the frame's own bytes."""
    check_equal((error.src, error.dst, error[IP].src, error[IP].dst), (about.dst, about.src, source, about[IP].src),
                "addresses of the error")
    check_equal((error[ICMP].type, error[ICMP].code), kind, "type and code")
    quote = bytes(about[IP])[:548]
    check_equal(bytes(error[ICMP].payload)[:len(quote)], quote, "the quoted packet")
    check_checksums(error)


def expect_refusal(guest, frame, kind):
    guest.wire.send(frame)
    check_error(guest.expect(lambda f: ICMP in f, "the refusal"), Ether(bytes(frame)), kind, guest.gateway)


def error_from(lab, hop, frame, kind, **fields):
    """The frame of vm1 goes out, a hop answers it with an error; returns that as vm1 got it, which is checked."""
    sent = Ether(bytes(frame))
    lab.vm1.wire.send(frame)
    seen = lab.router.expect(lambda f: IP in f and f[IP].src == config.UPLINK_ADDRESS, "the frame on the uplink")
    quote = bytes(seen[IP])[:28]
    lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=hop, dst=config.UPLINK_ADDRESS) /
                    ICMP(type=kind[0], code=kind[1], **fields) / quote)
    error = lab.vm1.expect(lambda f: ICMP in f, "the error at the VM")
    check_equal((error[IP].src, error[IP].dst, error[ICMP].type, error[ICMP].code), (hop, lab.vm1.address, *kind), "error")
    check_checksums(error)
    quoted = IP(bytes(error[ICMP].payload)[:28])
    check_equal((quoted.src, quoted.dst, quoted.ttl), (lab.vm1.address, REMOTE, sent[IP].ttl - 1), "quoted header")
    check_equal(bytes(quoted.payload), bytes(sent[IP].payload)[:8], "eight quoted bytes, as the VM sent them")
    check_header_checksum(quoted)
    return error


def seen_by_guests(lab):
    """Frames at the VMs, after a new exchange of each has shown that all earlier frames have been looked at."""
    lab.check_still_works()
    return [frame.summary() for guest in lab.guests for frame in guest.wire.drain()]


def seen_by_router(lab):
    """Without vmnatd asking for its neighbours, which it does when it does: again, where nobody has answered yet."""
    lab.check_still_works()
    return [frame.summary() for frame in lab.router.drain()
            if not (ARP in frame and frame[ARP].op == 1 and frame.src == config.UPLINK_MAC)]


end_with_accounts(suite)


if __name__ == "__main__":
    suite.main()
