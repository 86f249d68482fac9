#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Sessions under attack, on veth ports: floods that want the whole table, and segments of strangers who know the
addresses and ports of a connection; veth_lab.py draws the wires.

    table     4096 sessions for four VMs
    default   vm1, vm2; a forward to vm1; TCP 2 h 4 min, in transit 2 s
"""

import contextlib
import random
import time

from harness.tap import Suite, check, check_equal
from harness.waiting import Overdue, wait_until
from harness.wire import IP, TCP, UDP, Raw
from veth_lab import REMOTE, VethLab, end_with_accounts

CAPACITY = 4096
FLOOD = 6000
ESTABLISHED_S, TRANSITORY_S = 7440, 2
NOTHING_CHANGES_FOR = 7  # s, more than a turn of expiry after the transitory time


class AttackedLab(VethLab):
    def configuration(self):
        return super().configuration() | {"conntrack": {"sessions": CAPACITY}}


def make_lab(scope):
    lab = AttackedLab(scope, default={"timeouts": {"tcp_transitory": f"{TRANSITORY_S}s", "tcp_established": "2h4m"},
                                      "forwards": [{"protocol": "tcp", "port": 8080, "to": "192.168.122.10:80"}]})
    lab.settle()
    return lab


suite = Suite(make_lab)


class Connection:
    """A TCP connection of vm1 to the remote, whose ends are the test."""

    def __init__(self, lab, port):
        self.lab, self.port = lab, port
        self.vm, self.remote = 1000, 500_000
        self.outbound("S")
        self.inbound("SA")
        self.outbound("A")

    def outbound(self, flags, payload=b""):
        segment = TCP(sport=self.port, dport=80, flags=flags, seq=self.vm, ack=self.remote if "A" in flags else 0)
        self.lab.vm1.wire.send(self.lab.vm1.routed(REMOTE) / segment / Raw(payload))
        seen = self.lab.router.expect(lambda f: TCP in f and f[IP].dst == REMOTE and f[TCP].seq == segment.seq
                                      and f[TCP].flags == flags, f"{flags} of the VM")
        self.external = seen[TCP].sport
        self.vm += len(payload) + ("S" in flags) + ("F" in flags)

    def inbound(self, flags, payload=b""):
        self.forge(flags, self.remote, self.vm, payload)
        self.remote += len(payload) + ("S" in flags) + ("F" in flags)

    def forge(self, flags, sequence, acknowledged=0, payload=b""):
        """A segment in the remote's name; whatever it is, it reaches the VM, which judges it."""
        segment = TCP(sport=80, dport=self.external, flags=flags, seq=sequence % 2**32, ack=acknowledged % 2**32)
        self.lab.router.send(self.lab.inbound(segment / Raw(payload)))
        self.lab.vm1.expect(lambda f: TCP in f and f[TCP].dport == self.port and f[TCP].seq == segment.seq
                            and f[TCP].flags == flags, f"{flags} for the VM")

    def session(self):
        found = self.lab.vmnatd.ctl("sessions", "--protocol", "tcp", "--internal", f"{self.lab.vm1.address}:{self.port}")
        return found[0] if found else None

    def check_is(self, state, expires):
        session = self.session()
        check(session is not None, "the session is gone")
        check_equal(session["state"], state, "its state")
        check(expires - 60 < session["expires_s"] <= expires, f"it expires in {session['expires_s']} s")

    def ends(self):
        wait_until(lambda: self.session() is None, "the session has ended")


def far_from(sequence):
    """A number that no window reaches."""
    return sequence + random.randrange(2**27, 2**32 - 2**27)


@suite.test("a FIN and a RST of a stranger, and then data both ways: the connection is established, for its whole time")
def forged_fin_and_rst(lab):
    tcp = Connection(lab, 20001)
    tcp.forge("FA", far_from(tcp.remote), random.randrange(2**32))
    tcp.forge("R", far_from(tcp.remote))
    tcp.inbound("PA", b"answer")
    tcp.outbound("PA", b"question")
    tcp.check_is("established", ESTABLISHED_S)


@suite.test("RSTs of a stranger, with any number, do not end a connection that is silent")
def forged_rst_and_silence(lab):
    tcp = Connection(lab, 20002)
    before = lab.vmnatd.counters().get("sessions.disbelieved", 0)
    for sequence in (0, tcp.remote + 1, tcp.remote - 1, tcp.remote + 65_535, far_from(tcp.remote), far_from(tcp.remote)):
        tcp.forge("R", sequence)
        tcp.forge("RA", sequence, tcp.vm)
    time.sleep(NOTHING_CHANGES_FOR)  # that nothing happens cannot be waited for
    tcp.check_is("established", ESTABLISHED_S)
    check_equal(lab.vmnatd.counters().get("sessions.disbelieved", 0) - before, 12, "segments that were not believed")


@suite.test("a SYN of a stranger changes nothing")
def forged_syn(lab):
    tcp = Connection(lab, 20003)
    tcp.forge("S", far_from(tcp.remote))
    tcp.forge("SA", far_from(tcp.remote), far_from(tcp.vm))
    tcp.check_is("established", ESTABLISHED_S)


@suite.test("the remote's own RST and a true close end the session after the transitory time")
def genuine(lab):
    reset, closed, unacknowledged = Connection(lab, 20004), Connection(lab, 20005), Connection(lab, 20006)
    reset.inbound("R")
    unacknowledged.inbound("PA", b"and then")
    unacknowledged.inbound("R")
    closed.outbound("FA")
    closed.inbound("FA")
    closed.outbound("A")
    for tcp in (reset, unacknowledged, closed):
        tcp.ends()


@suite.test("a remote alone does not keep a session that both have closed, or that the VM has reset")
def kept_by_the_remote(lab):
    closed, reset = Connection(lab, 20007), Connection(lab, 20008)
    closed.outbound("FA")
    closed.inbound("FA")
    reset.outbound("R")

    def have_ended():
        for tcp in (closed, reset):
            if tcp.session() is not None:
                lab.router.send(lab.inbound(TCP(sport=80, dport=tcp.external, flags="A", seq=tcp.remote, ack=tcp.vm)))
        time.sleep(0.5)
        return closed.session() is None and reset.session() is None
    wait_until(have_ended, "both sessions have ended", 20)
    lab.vm1.wire.drain()


def arrives(lab, segment):
    lab.router.send(lab.inbound(segment, "198.18.255.1"))
    with contextlib.suppress(Overdue):
        lab.vm1.wire.expect(lambda f: TCP in f and f[TCP].dport == 80 and f[TCP].sport == segment.sport, "the SYN", 1)
        return True
    return False


def flood_of_vm1(lab):
    frames = [bytes(lab.vm1.routed("198.51.100.9") / UDP(sport=30_000 + number % 20_000, dport=9) / Raw(b"flood"))
              for number in range(FLOOD)]
    send_all(lab, lab.vm1.wire, frames)


def flood_of_syns(lab):
    lab.vm1.answer_arp()  # vmnatd asks for a forward's VM until it answers
    wait_until(lambda: arrives(lab, TCP(sport=1023, dport=8080, flags="S")), "the forward leads to the VM")
    frames = [bytes(lab.inbound(TCP(sport=1024 + number, dport=8080, flags="S", seq=number), f"198.18.{number >> 8}.{number & 255}"))
              for number in range(1, FLOOD + 1)]
    send_all(lab, lab.router, frames)


def send_all(lab, wire, frames):
    """In portions that no queue loses."""
    for start in range(0, len(frames), 100):
        before = lab.vmnatd.counters()["received"]
        for frame in frames[start:start + 100]:
            wire.send(frame)
        wait_until(lambda at=before: lab.vmnatd.counters()["received"] >= at + len(frames[start:start + 100]), "a portion is in")
    for each in (lab.vm1.wire, lab.router):
        each.drain()


for each_name, each_flood in (("thousands of SYNs with spoofed senders, for a forward of a VM", flood_of_syns),
                              ("thousands of datagrams of a VM that nobody answers", flood_of_vm1)):
    @suite.test(f"{each_name}: the others, and the VM itself, still get sessions, and keep those that they have")
    def flooded(lab, flood=each_flood):
        tcp = Connection(lab, 20009 if flood is flood_of_syns else 20010)
        lab.reply_udp(lab.open_udp(lab.vm1, 20011, b"answered"), b"answer")
        lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 20011, "the answer")
        dropped = lab.vmnatd.counters().get("sessions.early_dropped", 0)
        flood(lab)
        counters = lab.vmnatd.counters()
        check(counters.get("sessions.early_dropped", 0) > dropped, "no half-open session has gone")
        check(counters["sessions.active"] < CAPACITY, f"{counters['sessions.active']} sessions: the table is full")
        lab.open_udp(lab.vm2, 20012, b"of another VM")
        lab.open_udp(lab.vm1, 20013, b"of the VM itself")
        tcp.check_is("established", ESTABLISHED_S)
        check_equal(len(lab.vmnatd.ctl("sessions", "--internal", f"{lab.vm1.address}:20011")), 1, "the answered session")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
