#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM with an external address of its own (nat.static), to the byte, on vmnatd and on the kernel with SNAT and DNAT.

    vm2 192.168.122.11 = 203.0.113.20, all protocols and ports        the other VMs share 203.0.113.2

The wires are those of behaviour/. Then, on vmnatd: the address goes to another VM while frames come, and a restart.
"""

import socket

from harness.tap import check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, Ether

from behaviour.case import ICMP, IP, TCP, UDP, Differs, case, solid
from behaviour.frames import PORT_UNREACHABLE, TTL_EXPIRED, Error, Reset, routed, translated
from behaviour.gateway import EXTERNAL, PREFIXES, REMOTE, ROUTER, ROUTER_MAC, STRANGER, UPLINK_MAC
from behaviour.kernel import KernelGateway
from behaviour.lab import suite_of
from behaviour.vmnat import NAT, VmnatGateway

OWN, INTERNAL = "203.0.113.20", "192.168.122.11"
HOP = "198.51.100.99"  # a router on the way
NO_HAIRPIN = "destination NAT does not turn packets round by itself"
WITHOUT_PORTS = {"GRE": (47, bytes.fromhex("000008004500001400000000400100000a0000010a000002")),
                 "ESP": (50, bytes.fromhex("00001234000000015a5a5a5a5a5a5a5a")),
                 "IPIP": (4, bytes.fromhex("45000014000000004006000001010101020202020000")),
                 "an experimental protocol": (253, b"whatever")}


class Vmnat(VmnatGateway):
    nat = NAT | {"default": {**NAT["default"], "static": [{"internal": INTERNAL, "external": OWN}]}}
    leaves_with = (EXTERNAL, OWN)


class Kernel(KernelGateway):
    more_addresses = (OWN,)
    more_translations = {"prerouting": (f"ip daddr {OWN} dnat to {INTERNAL}",),
                         "postrouting": (f"ip saddr {INTERNAL} ip daddr != {PREFIXES['default']}.0/24 snat to {OWN}",)}


def out(frame) -> bytes:
    """What vm2 sends, as the router sees it."""
    return translated(frame, (UPLINK_MAC, ROUTER_MAC), source=OWN)


def inward(t, frame) -> bytes:
    """What the router sends to vm2's address, as vm2 sees it."""
    return translated(frame, (t.vm2.gateway_mac, t.vm2.mac), destination=t.vm2.address)


def to_own(t, remote=REMOTE, **fields):
    return t.router.ip(OWN, src=remote, **fields)


def turned(frame, receiver, source) -> bytes:
    """A hairpin as its receiver sees it; two routers have seen it."""
    return translated(frame, (receiver.gateway_mac, receiver.mac), source=source, destination=receiver.address, hops=2)


# --- the VM begins ----------------------------------------------------------------------------------------


@case("what the VM sends leaves with its address and the port that it has, also below 1024, and is answered")
def outward(t):
    for port in (7, 53, 1023, t.port(), 65535):
        question = t.vm2.ip(REMOTE) / UDP(sport=port, dport=t.port()) / b"question"
        t.put(t.vm2, question, router=[out(question)])
        answer = to_own(t) / UDP(sport=question[UDP].dport, dport=port) / b"answer"
        t.put(t.router, answer, vm2=[inward(t, answer)])


@case("a connection of the VM's: three segments and data both ways")
def connection(t):
    port, remote_port = t.port(), t.port()
    for frame in (t.vm2.ip(REMOTE) / TCP(sport=port, dport=remote_port, flags="S", seq=100),
                  to_own(t) / TCP(sport=remote_port, dport=port, flags="SA", seq=900, ack=101),
                  t.vm2.ip(REMOTE) / TCP(sport=port, dport=remote_port, flags="A", seq=101, ack=901),
                  to_own(t) / TCP(sport=remote_port, dport=port, flags="PA", seq=901, ack=101) / b"data"):
        if frame[IP].dst == OWN:
            t.put(t.router, frame, vm2=[inward(t, frame)])
        else:
            t.put(t.vm2, frame, router=[out(frame)])


@case("the VM pings with its own identifier, and the reply comes back")
def ping(t):
    request = t.vm2.ip(REMOTE) / ICMP(id=t.port(), seq=1) / b"?"
    t.put(t.vm2, request, router=[out(request)])
    reply = to_own(t) / ICMP(type=0, id=request[ICMP].id, seq=1) / b"?"
    t.put(t.router, reply, vm2=[inward(t, reply)])


@case("other VMs use the same ports towards the same remotes by the shared address")
def beside_others(t):
    port, remote_port = t.port(), t.port()
    for guest, seen in ((t.vm2, out), (t.vm1, t.out), (t.vm5, None)):
        frame = guest.ip(REMOTE) / UDP(sport=port, dport=remote_port) / b"here"
        if seen:
            t.put(guest, frame, router=[seen(frame)])
        else:
            left = t.ask(guest, frame, t.router)
            check_equal(left[IP].src, EXTERNAL, "the source of a third VM")
            check(left[UDP].sport != port, "two flows have one external endpoint")


# --- a remote begins --------------------------------------------------------------------------------------


@case("a remote opens a connection to any port of the address, and the VM answers from there")
def opened(t):
    for own_port in (22, 8080, t.port()):
        port = t.port()
        syn = to_own(t, STRANGER) / TCP(sport=port, dport=own_port, flags="S", seq=7)
        t.put(t.router, syn, vm2=[inward(t, syn)])
        answer = t.vm2.ip(STRANGER) / TCP(sport=own_port, dport=port, flags="SA", seq=1, ack=8)
        t.put(t.vm2, answer, router=[out(answer)])
        data = to_own(t, STRANGER) / TCP(sport=port, dport=own_port, flags="PA", seq=8, ack=2) / b"GET /"
        t.put(t.router, data, vm2=[inward(t, data)])


@case("a remote sends datagrams to any port of the address, and the VM answers from there")
def asked(t):
    for own_port in (53, 5353, t.port()):
        question = to_own(t, STRANGER) / UDP(sport=t.port(), dport=own_port) / b"question"
        t.put(t.router, question, vm2=[inward(t, question)])
        answer = t.vm2.ip(STRANGER) / UDP(sport=own_port, dport=question[UDP].sport) / b"answer"
        t.put(t.vm2, answer, router=[out(answer)])


@case("a ping of the address reaches the VM, which answers it; the shared address answers for itself")
def pinged(t):
    request = to_own(t, STRANGER) / ICMP(id=t.port(), seq=1) / b"are you there"
    t.put(t.router, request, vm2=[inward(t, request)])
    reply = t.vm2.ip(STRANGER) / ICMP(type=0, id=request[ICMP].id, seq=1) / b"are you there"
    t.put(t.vm2, reply, router=[out(reply)])
    shared = t.from_remote(STRANGER) / ICMP(id=t.port(), seq=1) / b"and you"
    answer = t.ask(t.router, shared, t.router)
    check_equal((answer[IP].src, answer[ICMP].type, answer[ICMP].id), (EXTERNAL, 0, shared[ICMP].id), "the gateway's answer")


@case("a ping of the address in fragments reaches the VM", kernel="puts datagrams together, and cuts them as it likes")
def pinged_in_fragments(t):
    whole = bytes(solid(to_own(t, STRANGER, id=0x7a7a) / ICMP(id=t.port(), seq=1) / (bytes(range(200)) * 8)))
    header, payload = IP(whole[14:34]), whole[34:]
    fragments, expected = [], []
    for begin in range(0, len(payload), 800):
        piece = header.copy()
        piece.frag, piece.flags = begin // 8, "MF" if begin + 800 < len(payload) else 0
        del piece.len, piece.chksum
        raw = bytes(t.router.ether() / piece / payload[begin:begin + 800])
        fragments.append(raw)
        expected.append(routed(raw[:30] + socket.inet_aton(INTERNAL) + raw[34:], (t.vm2.gateway_mac, t.vm2.mac)))
    t.put(t.router, *fragments, vm2=expected)


@case("an echo reply for the address that nobody asked for does not come in")
def unasked(t):
    t.put(t.router, to_own(t) / ICMP(type=0, id=t.port(), seq=1) / b"unasked", drop="no_session")


@case("what begins no connection does not come in")
def only_syn(t):
    for flags in ("SA", "R", "FA"):
        segment = to_own(t) / TCP(sport=t.port(), dport=t.port(), flags=flags, seq=7, ack=7)
        there = None if flags == "R" else Differs("the host's own TCP resets", router=[Reset(segment)])
        t.put(t.router, segment, drop="tcp_not_syn", kernel=there)


@case("nobody comes in in the name of an inside or own address")
def spoofed(t):
    for source in (t.vm1.address, t.vm3.address, EXTERNAL, OWN, "127.0.0.1", "224.0.0.1"):
        t.put(t.router, to_own(t, source) / UDP(sport=t.port(), dport=53) / b"let me in", drop="source_foreign")


@case("a packet for the address whose TTL is spent is told of")
def spent(t):
    syn = to_own(t, ttl=1) / TCP(sport=t.port(), dport=t.port(), flags="S", seq=7)
    t.put(t.router, syn, drop="ttl_expired", router=[Error(TTL_EXPIRED, syn, OWN)])


# --- protocols without ports ------------------------------------------------------------------------------

for each_name, each_number in zip(WITHOUT_PORTS, range(1, 250, 10)):
    @case(f"{each_name} passes both ways whoever begins, and another VM has the same remote by the shared address")
    def without_ports(t, name=each_name, number=each_number):
        protocol, payload = WITHOUT_PORTS[name]
        first, second = f"198.19.8.{number}", f"198.19.8.{number + 1}"
        sent = t.vm2.ip(first, proto=protocol) / payload
        t.put(t.vm2, sent, router=[out(sent)])
        answer = to_own(t, first, proto=protocol) / payload[::-1]
        t.put(t.router, answer, vm2=[inward(t, answer)])
        asked_first = to_own(t, second, proto=protocol) / payload
        t.put(t.router, asked_first, vm2=[inward(t, asked_first)])
        back = t.vm2.ip(second, proto=protocol) / payload[::-1]
        t.put(t.vm2, back, router=[out(back)])
        others = t.vm1.ip(first, proto=protocol) / payload
        t.put(t.vm1, others, router=[t.out(others)])


# --- ICMP errors ------------------------------------------------------------------------------------------


@case("an error about what the VM has sent comes in as the VM knows it")
def error_in(t):
    for layer in (UDP(sport=t.port(), dport=t.port()) / b"far away", TCP(sport=t.port(), dport=t.port(), flags="S", seq=9),
                  ICMP(id=t.port(), seq=1) / b"far away"):
        sent = t.vm2.ip(REMOTE) / layer
        t.put(t.vm2, sent, router=[out(sent)])
        error = t.router.ip(OWN, src=HOP) / ICMP(type=TTL_EXPIRED[0], code=0) / out(sent)[14:42]
        known = translated(sent, (t.vm2.mac, t.vm2.gateway_mac))[14:42]
        seen = t.router.ip(t.vm2.address, src=HOP, ttl=63) / ICMP(type=TTL_EXPIRED[0], code=0) / known
        seen.src, seen.dst = t.vm2.gateway_mac, t.vm2.mac
        t.put(t.router, error, vm2=[seen])


@case("an error of the VM about what a remote has sent leaves as the remote knows it")
def error_out(t):
    for layer in (UDP(sport=t.port(), dport=t.port()) / b"anybody", TCP(sport=t.port(), dport=t.port(), flags="S", seq=9),
                  ICMP(id=t.port(), seq=1) / b"anybody"):
        came = to_own(t, STRANGER) / layer
        t.put(t.router, came, vm2=[inward(t, came)])
        error = t.vm2.ip(STRANGER) / ICMP(type=PORT_UNREACHABLE[0], code=PORT_UNREACHABLE[1]) / inward(t, came)[14:42]
        known = translated(came, (ROUTER_MAC, UPLINK_MAC))[14:42]
        seen = t.vm2.ip(STRANGER, src=OWN, ttl=63) / ICMP(type=PORT_UNREACHABLE[0], code=PORT_UNREACHABLE[1]) / known
        seen.src, seen.dst = UPLINK_MAC, ROUTER_MAC
        t.put(t.vm2, error, router=[seen])


# --- by the address from inside ---------------------------------------------------------------------------

for each_guest in ("vm1", "vm5"):
    @case(f"{each_guest} reaches the VM by its external address, and each sees the other's", kernel=NO_HAIRPIN)
    def hairpin(t, name=each_guest):
        guest, port, own_port = getattr(t, name), t.port(), t.port()
        syn = guest.ip(OWN) / TCP(sport=port, dport=own_port, flags="S", seq=7)
        t.put(guest, syn, vm2=[turned(syn, t.vm2, EXTERNAL)])
        answer = t.vm2.ip(EXTERNAL) / TCP(sport=own_port, dport=port, flags="SA", seq=1, ack=8)
        t.put(t.vm2, answer, **{name: [turned(answer, guest, OWN)]})
        request = guest.ip(OWN) / ICMP(id=t.port(), seq=1) / b"?"
        t.put(guest, request, vm2=[turned(request, t.vm2, EXTERNAL)])


@case("another VM speaks a protocol without ports with the VM by its external address", kernel=NO_HAIRPIN)
def hairpin_without_ports(t):
    sent = t.vm1.ip(OWN, proto=47) / WITHOUT_PORTS["GRE"][1]
    t.put(t.vm1, sent, vm2=[turned(sent, t.vm2, EXTERNAL)])
    back = t.vm2.ip(EXTERNAL, proto=47) / WITHOUT_PORTS["GRE"][1]
    t.put(t.vm2, back, vm1=[turned(back, t.vm1, OWN)])


@case("the VM reaches itself by its external address", kernel=NO_HAIRPIN)
def itself(t):
    port, own_port = t.port(), t.port()
    syn = t.vm2.ip(OWN) / TCP(sport=port, dport=own_port, flags="S", seq=7)
    t.put(t.vm2, syn, vm2=[turned(syn, t.vm2, OWN)])


@case("ARP for the address is answered on the uplink's link")
def arp(t):
    answer = Ether(src=UPLINK_MAC, dst=ROUTER_MAC) / ARP(op=2, hwsrc=UPLINK_MAC, psrc=OWN, hwdst=ROUTER_MAC, pdst=ROUTER)
    t.put(t.router, t.router.arp(1, OWN), router=[answer])


suite = suite_of(Vmnat, Kernel)


# --- a running daemon -------------------------------------------------------------------------------------


def own_addresses(gateway) -> dict:
    return {row["internal"]: (row["external"], row["port"]) for row in gateway.ask("forwards") if row["protocol"] == "all"}


def give_address_to(gateway, internal, external=OWN):
    gateway.vmnatd.config["networks"][0]["nat"]["static"] = [{"internal": internal, "external": external}] if internal else []
    gateway.vmnatd.write_config()
    gateway.vmnatd.ctl("reload")


def reaches(gateway, name, address=OWN):
    """A datagram to the address comes out at that VM, once it is known, and nowhere else."""
    frame = gateway.router.ip(address, src=STRANGER) / UDP(sport=9, dport=4321) / b"whose"

    def arrives():
        seen = gateway.exchange(gateway.router, [frame], {})
        return any(b"whose" in raw for raw in seen.get(name, []))
    wait_until(arrives, f"a datagram to {address} reaches {name}")


@suite.test("vmnat: vmnatctl forwards lists the address with its VM")
def listed(lab):
    gateway = lab.gateway("vmnat")
    check_equal(own_addresses(gateway), {INTERNAL: (OWN, "vm2")}, "addresses that are a VM's alone")


@suite.test("vmnat: a reload gives the address to another VM: sessions of the first end, others go on")
def moved(lab):
    gateway = lab.gateway("vmnat")
    vm1, vm2, router = gateway.guests["vm1"], gateway.guests["vm2"], gateway.router
    shared = vm1.ip(REMOTE) / UDP(sport=31000, dport=7) / b"stays"
    gateway.exchange(vm1, [shared], {"router": [None]})
    reaches(gateway, "vm2")
    check(gateway.sessions(external=OWN), "the VM has no session")
    others = {session["internal"] for session in gateway.sessions() if not session["external"].startswith(OWN)}
    give_address_to(gateway, vm1.address)
    check_equal([session["internal"] for session in gateway.sessions(external=OWN)
                 if not session["internal"].startswith(vm1.address)], [], "the first VM's sessions by the address")
    check(others <= {session["internal"] for session in gateway.sessions()}, "sessions by the shared address have ended")
    reaches(gateway, "vm1")
    again = vm2.ip(REMOTE) / UDP(sport=31001, dport=7) / b"by the pool"
    seen = gateway.exchange(vm2, [again], {"router": [None]})
    check_equal([Ether(raw)[IP].src for raw in seen["router"]], [EXTERNAL], "where the first VM's flows leave now")
    give_address_to(gateway, vm2.address)
    reaches(gateway, "vm2")


@suite.test("vmnat: an address that is taken away is the gateway's no more: no answer to ARP, nothing comes in")
def taken(lab):
    gateway = lab.gateway("vmnat")
    give_address_to(gateway, None)
    before = gateway.drops()
    frame = gateway.router.ip(OWN, src=STRANGER) / UDP(sport=9, dport=4322) / b"nobody"
    seen = gateway.exchange(gateway.router, [frame, gateway.router.arp(1, OWN)], {})
    check_equal(seen, {}, "what comes out")
    grown = {reason: value - before.get(reason, 0) for reason, value in gateway.drops().items() if value != before.get(reason, 0)}
    check(grown.pop("arp_unasked", 0) >= 1, "the ARP request is no drop")  # and late answers of the test's
    check_equal(grown, {"not_external": 1}, "drops")
    give_address_to(gateway, INTERNAL)
    reaches(gateway, "vm2")


@suite.test("vmnat: bad addresses are refused with their line, and nothing changes")
def refused(lab):
    gateway = lab.gateway("vmnat")
    before = gateway.vmnatd.config_path.read_text()
    for external, why in ((EXTERNAL, "is the uplink's own address"), (ROUTER, "is the uplink's gateway"),
                          (f"{PREFIXES['lab']}.9", "is within network 'lab'")):
        gateway.vmnatd.config["networks"][0]["nat"]["static"] = [{"internal": INTERNAL, "external": external}]
        gateway.vmnatd.write_config()
        try:
            gateway.vmnatd.ctl("reload")
            check(False, f"{external} is taken")
        except Exception as problem:
            check(why in str(problem), f"{external}: {problem}")
    gateway.vmnatd.config_path.write_text(before)
    gateway.vmnatd.config["networks"][0]["nat"]["static"] = [{"internal": INTERNAL, "external": OWN}]
    reaches(gateway, "vm2")


@suite.test("vmnat: after a kill and a start sessions by the address go on, and both ways open new ones")
def restarted(lab):
    gateway = lab.gateway("vmnat")
    vm2, router = gateway.guests["vm2"], gateway.router
    sent = vm2.ip(REMOTE) / UDP(sport=32000, dport=7) / b"before"
    gateway.exchange(vm2, [sent], {"router": [None]})
    gre = vm2.ip("198.19.8.250", proto=47) / WITHOUT_PORTS["GRE"][1]
    gateway.exchange(vm2, [gre], {"router": [None]})
    before = gateway.vmnatd.facts()
    external = {fact[4] for fact in before}
    check({f"{OWN}:32000", OWN} <= external, f"external endpoints of sessions: {external}")
    gateway.vmnatd.kill()
    gateway.vmnatd.start()
    gateway.vmnatd.check_restored(before)
    answer = router.ip(OWN, src=REMOTE) / UDP(sport=7, dport=32000) / b"after"
    seen = gateway.exchange(router, [answer], {"vm2": [None]})
    check_equal([raw[-5:] for raw in seen.get("vm2", [])], [b"after"], "what the session still brings")
    reaches(gateway, "vm2")
    gateway.check_in_the_end()


if __name__ == "__main__":
    suite.main()
