#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may send to a mapping (RFC 4787 section 5), on veth ports; veth_lab.py draws the wires.

    default   filtering: endpoint-independent    everybody
    lab       filtering: address-dependent       whom the VM has sent to, from any port
"""

from harness.tap import Suite, check_equal
from harness.wire import IP, UDP, Raw, check_checksums
from veth_lab import FORWARDED, REMOTE, WAITED, VethLab, end_with_accounts

STRANGER = "198.51.100.66"


def make_lab(scope):
    lab = VethLab(scope, default={"filtering": "endpoint-independent"}, lab={"filtering": "address-dependent"})
    lab.settle()
    return lab


suite = Suite(make_lab)


def inbound(lab, remote, remote_port, external, payload):
    return lab.inbound(UDP(sport=remote_port, dport=external) / Raw(payload), remote)


def expect_let_in(lab, guest, port, frame, answers_arp=False):
    """The frame reaches the guest's port; the guest is asked for by ARP first, if vmnatd does not know it yet."""
    lab.router.send(frame)
    if answers_arp:
        guest.answer_arp()
    seen = guest.expect(lambda f: UDP in f, "the datagram")
    check_equal((seen[IP].src, seen[UDP].sport, seen[IP].dst, seen[UDP].dport, bytes(seen[UDP].payload)[:5]),
                (frame[IP].src, frame[UDP].sport, guest.address, port, b"hello"), "the datagram at the VM")
    check_checksums(seen)


@suite.test("endpoint-independent: a stranger's datagram waits for the VM's MAC, then reaches it; the next do not wait")
def endpoint_independent(lab):
    external = lab.open_udp(lab.vm1, 5000, b"here I am")[UDP].sport
    with lab.counting(**WAITED):
        expect_let_in(lab, lab.vm1, 5000, inbound(lab, STRANGER, 9, external, b"hello"), answers_arp=True)
    for remote, port in ((STRANGER, 10), ("198.51.100.67", 9)):
        with lab.counting(**FORWARDED):
            expect_let_in(lab, lab.vm1, 5000, inbound(lab, remote, port, external, b"hello"))
    with lab.counting(**FORWARDED):
        lab.vm1.wire.send(lab.vm1.routed(STRANGER) / UDP(sport=5000, dport=9) / Raw(b"and hello to you"))
        answer = lab.router.expect(lambda f: UDP in f, "the answer")
    check_equal((answer[IP].dst, answer[UDP].sport), (STRANGER, external), "the answer leaves from the mapping")


@suite.test("address-dependent: the remote may send from every port, and nobody else may send at all")
def address_dependent(lab):
    external = lab.open_udp(lab.vm3, 5001, b"here I am")[UDP].sport
    with lab.counting(**WAITED):
        expect_let_in(lab, lab.vm3, 5001, inbound(lab, REMOTE, 54, external, b"hello"), answers_arp=True)
    with lab.counting(received=1, dropped={"drop.filtered": 1}):
        lab.router.send(inbound(lab, STRANGER, 53, external, b"hello"))


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
