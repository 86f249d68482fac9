# SPDX-License-Identifier: Apache-2.0
"""TCP: what opens a connection, what belongs to one, what ends it (RFC 5382, RFC 7857 section 2)."""

from .case import IP, TCP, Differs, case, solid
from .frames import Reset
from .gateway import REMOTE, STRANGER

LEAKS = "finds it invalid: it leaves with the inside source"


@case("a SYN with options and ECN flags is translated and otherwise left alone")
def syn_options(t):
    options = [("WScale", 7), ("SAckOK", b""), ("Timestamp", (123456, 0)), ("NOP", None), ("NOP", None)]
    t.pass_out(t.vm1, t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=80, flags="SEC", seq=1, options=options))


@case("a SYN with data is translated")
def syn_data(t):
    t.pass_out(t.vm1, t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=80, flags="S", seq=1) / b"fast open")


@case("SACK, urgent data and a reserved bit pass through a connection")
def unusual_segments(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    t.pass_out(t.vm1, outbound("PAU", urgptr=3) / b"abcdef")
    t.pass_in(t.vm1, inbound("A", ack=107, options=[("NOP", None), ("NOP", None), ("SAck", (107, 110))]), port)
    t.pass_out(t.vm1, outbound("A", seq=107, reserved=1))


@case("a connection opened from both sides at once is let through (RFC 5382 REQ-2)")
def simultaneous_open(t):
    port = t.port()
    syn = t.vm1.ip(REMOTE) / TCP(sport=port, dport=80, flags="S", seq=100)
    t.pass_out(t.vm1, syn)
    other = t.from_remote() / TCP(sport=80, dport=port, flags="S", seq=900)
    t.pass_in(t.vm1, other, port)
    t.pass_out(t.vm1, t.vm1.ip(REMOTE) / TCP(sport=port, dport=80, flags="SA", seq=100, ack=901))
    t.pass_in(t.vm1, t.from_remote() / TCP(sport=80, dport=port, flags="SA", seq=900, ack=101), port)
    t.pass_out(t.vm1, t.vm1.ip(REMOTE) / TCP(sport=port, dport=80, flags="A", seq=101, ack=901))


@case("a SYN is repeated, and its answer, too")
def retransmitted(t):
    port = t.port()
    syn = t.vm1.ip(REMOTE) / TCP(sport=port, dport=80, flags="S", seq=100)
    answer = t.from_remote() / TCP(sport=80, dport=port, flags="SA", seq=900, ack=101)
    for _ in range(3):
        t.pass_out(t.vm1, syn)
    for _ in range(3):
        t.pass_in(t.vm1, answer, port)


for each_flags, meaning, kernel_does in (
        ("A", "an ACK", "picks up"), ("PA", "data", "picks up"), ("FA", "a FIN", "leaks"), ("SA", "a SYN ACK", "leaks"),
        ("R", "a RST", "leaks"), ("RA", "a RST ACK", "leaks"), ("", "no flag", "leaks"), ("SF", "SYN and FIN", "leaks"),
        ("SR", "SYN and RST", "leaks"), ("FPU", "FIN, PSH and URG", "leaks"), ("FSRPAU", "every flag", "leaks")):
    @case(f"a segment with {meaning} and no connection does not leave")
    def no_connection(t, flags=each_flags, does=kernel_does):
        segment = t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=80, flags=flags, seq=100, ack=900)
        there = Differs(LEAKS, router=[t.leaked(segment)]) if does == "leaks" else \
            Differs("picks connections up in mid-stream", router=[t.out(segment)])
        told = [] if "R" in flags else [Reset(segment)]
        t.put(t.vm1, segment, drop="tcp_not_syn", vm1=told, kernel=there)


@case("where mid-stream is dropped nobody is told of it")
def mid_stream_dropped(t):
    segment = t.vm3.ip(REMOTE) / TCP(sport=t.port(), dport=80, flags="PA", seq=100, ack=900) / b"data"
    t.put(t.vm3, segment, drop="tcp_not_syn", kernel=Differs("picks connections up in mid-stream", router=[t.out(segment)]))


@case("where mid-stream is picked up a connection older than the gateway goes on from the VM's port")
def picked_up(t):
    port = t.port()
    data = t.vm6.ip(REMOTE) / TCP(sport=port, dport=80, flags="PA", seq=100, ack=900) / b"data"
    t.pass_out(t.vm6, data)
    t.pass_in(t.vm6, t.from_remote() / TCP(sport=80, dport=port, flags="PA", seq=900, ack=104) / b"answer", port)
    t.pass_out(t.vm6, t.vm6.ip(REMOTE) / TCP(sport=port, dport=80, flags="A", seq=104, ack=906))


@case("a RST of the remote passes, and what follows of a connection that lives, too (RFC 7857 2.2)")
def reset_in(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    t.pass_in(t.vm1, inbound("R"), port)
    data = outbound("PA") / b"still here"
    t.put(t.vm1, data, router=[t.out(data)])


@case("a RST of the VM passes")
def reset_out(t):
    outbound, _ = t.open_tcp(t.vm1)
    t.pass_out(t.vm1, outbound("R", ack=0))


@case("half closed, the other half goes on (RFC 5382 REQ-2)")
def half_closed(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    t.pass_out(t.vm1, outbound("FA"))
    t.pass_in(t.vm1, inbound("PA", ack=102) / b"more", port)
    t.pass_out(t.vm1, outbound("A", seq=102, ack=905))
    t.pass_in(t.vm1, inbound("FA", seq=905, ack=102), port)
    t.pass_out(t.vm1, outbound("A", seq=102, ack=906))


@case("after the close a new SYN opens the same connection anew")
def reopened(t):
    port = t.port()
    outbound, inbound = t.open_tcp(t.vm1, port)
    t.pass_out(t.vm1, outbound("FA"))
    t.pass_in(t.vm1, inbound("FA", ack=102), port)
    t.pass_out(t.vm1, outbound("A", seq=102, ack=902))
    t.pass_out(t.vm1, outbound("S", seq=5000, ack=0))
    t.pass_in(t.vm1, inbound("SA", seq=7000, ack=5001), port)


@case("a segment far outside of the window is the ends' to judge")
def out_of_window(t):
    port = t.port()
    _, inbound = t.open_tcp(t.vm1, port)
    segment = inbound("PA", seq=2_000_000_000) / b"far away"
    t.put(t.router, segment, vm1=[t.back(segment, t.vm1)],
          kernel=Differs("finds it invalid: the host's own TCP resets the connection", router=[Reset(segment)]))


@case("a segment with a wrong checksum stays wrong by as much")
def damaged(t):
    port = t.port()
    outbound, _ = t.open_tcp(t.vm1, port)
    segment = outbound("PA") / b"damaged"
    segment[TCP].chksum = (solid(outbound("PA") / b"damaged")[TCP].chksum + 0x0101) & 0xFFFF
    right = solid(t.out(outbound("PA") / b"damaged"))
    right[TCP].chksum = (right[TCP].chksum + 0x0101) & 0xFFFF
    t.put(t.vm1, segment, router=[right], kernel=Differs(LEAKS, router=[t.leaked(segment)]))


@case("two connections from one port to two remotes are kept apart")
def two_remotes(t):
    port = t.port()
    for remote in (REMOTE, STRANGER):
        _, inbound = t.open_tcp(t.vm1, port, remote)
        t.pass_in(t.vm1, inbound("PA") / remote.encode(), port)


@case("a spoofed segment of another VM with the connection's external source does not leave")
def spoofed_external_source(t):
    port = t.port()
    outbound, _ = t.open_tcp(t.vm1, port)
    for guest in (t.vm1, t.vm2, t.vm5):
        forged = outbound("PA") / b"forged"
        forged.src, forged.dst, forged[IP].src = guest.mac, guest.gateway_mac, "203.0.113.2"
        t.put(guest, forged, drop="source_foreign")
    t.pass_out(t.vm1, outbound("PA") / b"true")
