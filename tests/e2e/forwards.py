#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Port forwards and hairpins on veth ports, to the byte and to the counter; veth_lab.py draws the wires.

    203.0.113.2:8080 tcp -> vm1 192.168.122.10:80     203.0.113.2:5353 udp -> vm3 192.168.5.10:53
    203.0.113.2:9090 tcp -> 192.168.122.99:80, which nobody has
"""

import socket

from harness import config
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, ICMP, IP, TCP, UDP, Raw, check_checksums
from veth_lab import FORWARDED, GATEWAY_MACS, REMOTE, VethLab, end_with_accounts, times

NOBODY = "192.168.122.99"


def make_lab(scope):
    return VethLab(scope,
                   default={"forwards": [{"protocol": "tcp", "port": 8080, "to": "192.168.122.10:80"},
                                         {"protocol": "tcp", "port": 9090, "to": f"{NOBODY}:80"}]},
                   lab={"forwards": [{"protocol": "udp", "port": 5353, "to": "192.168.5.10:53"}]})


suite = Suite(make_lab)


def listed(lab):
    return {f"{forward['protocol']} {forward['external']}": forward for forward in lab.vmnatd.ctl("forwards")}


def make_known(lab):
    """vm1 and vm3 answer what vmnatd asks for by ARP, unless they have before."""
    for guest, strangers in ((lab.vm1, (lab.vm3, lab.vm4)), (lab.vm3, (lab.vm1, lab.vm2, lab.vm4))):
        if any(forward["mac"] == guest.wire.mac for forward in listed(lab).values()):
            continue
        guest.answer_arp()
        asked = [f.summary() for other in strangers for f in other.wire.drain() if ARP in f and f[ARP].pdst == guest.address]
        check_equal(asked, [], "requests on other networks")
        wait_until(lambda who=guest: who.wire.mac in [forward["mac"] for forward in listed(lab).values()],
                   "the VM is known")


@suite.test("vmnatd asks for the VM of each forward by ARP, on its network alone, until it is known")
def resolves(lab):
    make_known(lab)


@suite.test("vmnatctl lists every forward with its VM's port and MAC, or null while nobody answers")
def lists(lab):
    make_known(lab)
    check_equal(listed(lab), {
        "tcp 203.0.113.2:8080": {"network": "default", "protocol": "tcp", "external": "203.0.113.2:8080",
                                 "internal": "192.168.122.10:80", "from": "any", "port": "vm1", "mac": lab.vm1.wire.mac},
        "tcp 203.0.113.2:9090": {"network": "default", "protocol": "tcp", "external": "203.0.113.2:9090",
                                 "internal": f"{NOBODY}:80", "from": "any", "port": None, "mac": None},
        "udp 203.0.113.2:5353": {"network": "lab", "protocol": "udp", "external": "203.0.113.2:5353",
                                 "internal": "192.168.5.10:53", "from": "any", "port": "vm3",
                                 "mac": lab.vm3.wire.mac}}, "the list")


@suite.test("a connection from outside reaches the VM, and its answers leave from the forwarded port")
def tcp(lab):
    make_known(lab)
    with lab.counting(**times(3, FORWARDED)):
        lab.router.send(lab.inbound(TCP(sport=4000, dport=8080, flags="S", seq=7)))
        seen = lab.vm1.expect(lambda f: TCP in f, "the SYN")
        check_equal((seen.src, seen.dst), (GATEWAY_MACS["default"], lab.vm1.wire.mac), "MAC addresses")
        check_equal((seen[IP].src, seen[IP].dst, seen[TCP].sport, seen[TCP].dport, seen[TCP].seq),
                    (REMOTE, lab.vm1.address, 4000, 80, 7), "the SYN at the VM")
        check_checksums(seen)
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=80, dport=4000, flags="SA", seq=1, ack=8))
        answer = lab.router.expect(lambda f: TCP in f, "the SYN ACK")
        check_equal((answer[IP].src, answer[IP].dst, answer[TCP].sport, answer[TCP].dport, answer[TCP].flags),
                    (config.UPLINK_ADDRESS, REMOTE, 8080, 4000, "SA"), "the SYN ACK on the uplink")
        check_checksums(answer)
        lab.router.send(lab.inbound(TCP(sport=4000, dport=8080, flags="A", seq=8, ack=2)))
        lab.vm1.expect(lambda f: TCP in f and f[TCP].flags == "A", "the ACK")
    sessions = lab.vmnatd.sessions("--external", "203.0.113.2:8080")
    check_equal([(s["internal"], s["remote"], s["network"], s["port"]) for s in sessions],
                [("192.168.122.10:80", f"{REMOTE}:4000", "default", "vm1")], "the session")


@suite.test("a datagram from outside reaches the VM of another network, and the answer goes back")
def udp(lab):
    make_known(lab)
    with lab.counting(**times(2, FORWARDED)):
        lab.router.send(lab.inbound(UDP(sport=4001, dport=5353) / Raw(b"question")))
        seen = lab.vm3.expect(lambda f: UDP in f, "the question")
        check_equal((seen[IP].dst, seen[UDP].dport, bytes(seen[UDP].payload)[:8]), (lab.vm3.address, 53, b"question"), "it")
        lab.vm3.wire.send(lab.vm3.routed(REMOTE) / UDP(sport=53, dport=4001) / Raw(b"answer"))
        answer = lab.router.expect(lambda f: UDP in f, "the answer")
        check_equal((answer[IP].src, answer[UDP].sport, answer[UDP].dport), (config.UPLINK_ADDRESS, 5353, 4001), "the answer")
        check_checksums(answer)


@suite.test("from its own and from another network a forward is reached too, and each side sees external addresses")
def hairpin(lab):
    make_known(lab)
    for guest, port in ((lab.vm2, 4010), (lab.vm3, 4011)):
        with lab.counting(**times(2, FORWARDED)):
            guest.wire.send(guest.routed(config.UPLINK_ADDRESS) / TCP(sport=port, dport=8080, flags="S", seq=7))
            seen = lab.vm1.expect(lambda f: TCP in f, "the SYN")
            check_equal((seen.src, seen.dst), (GATEWAY_MACS["default"], lab.vm1.wire.mac), "MAC addresses")
            check_equal((seen[IP].src, seen[IP].dst, seen[TCP].dport), (config.UPLINK_ADDRESS, lab.vm1.address, 80), "it")
            check_checksums(seen)
            lab.vm1.wire.send(lab.vm1.routed(config.UPLINK_ADDRESS) /
                              TCP(sport=80, dport=seen[TCP].sport, flags="SA", seq=1, ack=8))
            answer = guest.expect(lambda f: TCP in f, "the SYN ACK")
        check_equal((answer.src, answer[IP].src, answer[IP].dst, answer[TCP].sport, answer[TCP].dport),
                    (GATEWAY_MACS[guest.network], config.UPLINK_ADDRESS, guest.address, 8080, port), "the SYN ACK")
        check_checksums(answer)
    check_equal([f.summary() for f in lab.router.drain() if TCP in f], [], "TCP on the uplink")


@suite.test("a VM's ping of the uplink's address is answered")
def ping_uplink(lab):
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(lab.vm1.routed(config.UPLINK_ADDRESS) / ICMP(id=9, seq=1) / Raw(b"are you there"))
        answer = lab.vm1.expect(lambda f: ICMP in f, "the echo reply")
    check_equal((answer[IP].src, answer[IP].dst, answer[ICMP].type, answer[ICMP].id),
                (config.UPLINK_ADDRESS, lab.vm1.address, 0, 9), "the echo reply")
    check_checksums(answer)


@suite.test("a forward to a VM that is not there is answered with host unreachable")
def unreachable(lab):
    with lab.counting(received=1, generated=1, transmitted=1, dropped={"drop.host_unresolved": 1}):
        lab.router.send(lab.inbound(TCP(sport=4002, dport=9090, flags="S")))
        error = lab.router.expect(lambda f: ICMP in f, "host unreachable")
    check_equal((error[ICMP].type, error[ICMP].code, error[IP].src), (3, 1, config.UPLINK_ADDRESS), "the error")
    check(socket.inet_aton(NOBODY) not in bytes(error), "an inside address shows")


@suite.test("a forwarded port is never given to the flow of another VM")
def never_shadowed(lab):
    outbound = lab.open_udp(lab.vm1, 5353, b"my own port 5353")
    check(outbound[UDP].sport not in (5353, 8080, 9090), f"external port {outbound[UDP].sport}")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
