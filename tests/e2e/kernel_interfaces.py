#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What Linux hosts send each other through vmnatd on kernel interfaces: super-frames and partial checksums as they
are, fragments, VLAN tags, ECN, several workers, and more than there is room for; kernel_lab.py draws the wires.
"""

import contextlib
import os
import socket
import threading

from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import UDP, Wire
from kernel_lab import (EXTERNAL, MB, OUTSIDE, SO_NO_CHECK, SOL_UDP, UDP_SEGMENT, KernelLab, Stream, end_with_accounts,
                        exchange_large, lab_with, random_bytes, send_in_segments, stopped, stream_in_super_frames)

TCP_INFO_OPTIONS, TCPI_OPT_ECN = 5, 8  # a byte of struct tcp_info, and what it says
RING_SLOTS = 1024

suite = Suite(KernelLab)


# --- TCP ----------------------------------------------------------------------------------------------------------

@suite.test("64 MB by TCP from a VM to the outside and back arrive as they were sent, in super-frames that nobody cuts")
def tcp_out(lab):
    there, here = lab.connect(lab.vm1, lab.outside)
    stream_in_super_frames(lab, (there, here), "uplink")
    stream_in_super_frames(lab, lab.connect(lab.vm1, lab.outside)[::-1], "vm1")


@suite.test("the same by a forward, and from VM to VM")
def tcp_in(lab):
    stream_in_super_frames(lab, lab.connect(lab.outside, lab.vm1, (EXTERNAL, 8080), 80), "vm1")
    stream_in_super_frames(lab, lab.connect(lab.vm1, lab.vm2), "vm2")


@suite.test("64 MB both ways at once on one connection arrive as they were sent")
def tcp_both(lab):
    there, here = lab.connect(lab.vm1, lab.outside)
    with lab.nothing_broken():
        streams = Stream(there, here, 64 * MB), Stream(here, there, 64 * MB)
        for stream in streams:
            stream.finish()


# --- UDP ----------------------------------------------------------------------------------------------------------

@suite.test("datagrams that an application sends as one super-frame arrive one by one, in order, on both ways")
def udp_segments(lab):
    with lab.nothing_broken():
        for client, server in ((lab.vm1, lab.outside), (lab.vm1, lab.vm2)):
            ends = lab.udp_flow(client, server)
            for sender, receiver in (ends, ends[::-1]):
                for segment, size in ((1000, 64 * 1000), (1472, 44 * 1472), (1472, 9 * 1472 + 333), (10, 640), (10, 17),
                                      (1, 64), (1400, 1401), (1200, 1200), (1200, 1)):
                    send_in_segments(sender, receiver, segment, size)


@suite.test("the first datagrams of a flow may be a super-frame")
def udp_segments_first(lab):
    with lab.nothing_broken():
        sender, receiver = lab.vm2.udp(), lab.outside.udp(next(lab.ports))
        sender.connect((OUTSIDE, receiver.getsockname()[1]))
        send_in_segments(sender, receiver, 500, 5100)


@suite.test("datagrams without a checksum stay so, and others leave with one that is left to the device")
def udp_checksums(lab):
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    outside, inside = (Wire(host.namespace, "eth0", "52:54:00:aa:00:09") for host in (lab.outside, lab.vm1))
    with contextlib.closing(outside), contextlib.closing(inside), lab.nothing_broken():
        for without in (1, 0):
            for sender, receiver, wire in ((asks, answers, outside), (answers, asks, inside)):
                sender.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, without)
                content = random_bytes(1000 + without)
                sender.send(content)
                check_equal(receiver.recv(2000), content, "the datagram")
                seen = wire.expect(lambda frame, wanted=content: UDP in frame and bytes(frame[UDP].payload) == wanted, "the datagram")
                check_equal(seen[UDP].chksum == 0, bool(without), "there is no checksum")


# --- fragments ------------------------------------------------------------------------------------------------------

class Pings:
    """Small datagrams there and back, one at a time, beside what a test does."""

    def __init__(self, lab, client, server):
        self.ends = lab.udp_flow(client, server)
        self.answered, self.ending, self.failure = 0, threading.Event(), None
        self.thread = threading.Thread(target=self.work, daemon=True)
        self.thread.start()

    def work(self):
        try:
            while not self.ending.is_set():
                for sender, receiver in (self.ends, self.ends[::-1]):
                    sender.send(b"%d" % self.answered)
                    check_equal(receiver.recv(100), b"%d" % self.answered, "a small datagram")
                self.answered += 1
        except Exception as problem:
            self.failure = problem

    def finish(self):
        self.ending.set()
        self.thread.join()
        check_equal(self.failure, None, f"after {self.answered} small datagrams")
        check(self.answered > 0, "no small datagram was answered")


@suite.test("200 datagrams of 65000 bytes go out in fragments, and as many come back, beside small ones; none is lost")
def fragments(lab):
    with lab.nothing_broken():
        for client, server in ((lab.vm1, lab.outside), (lab.vm1, lab.vm2)):
            pings = Pings(lab, lab.vm2, lab.outside)
            exchange_large(lab.udp_flow(client, server))
            pings.finish()
    wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 0, "nothing waits")


# --- ECN ------------------------------------------------------------------------------------------------------------

CONGESTION = """table ip congestion {
  counter reduced {}
  counter reduced_in_super_frames {}
  chain input {
    type filter hook prerouting priority raw
    tcp flags & cwr == cwr counter name reduced
    tcp flags & cwr == cwr meta length > 1500 counter name reduced_in_super_frames
    ip ecn {1, 2} meta length > 1500 numgen inc mod 20 0 ip ecn set 3
  }
}"""


@suite.test("ECN is negotiated through the gateway, and congestion that a receiver sees is answered in super-frames")
def ecn(lab):
    hosts = lab.vm1, lab.outside
    for host in hosts:
        with host.namespace.entered():
            host.namespace.write_sysctl("net/ipv4/tcp_ecn", 1)
    lab.outside.run("nft", CONGESTION)
    try:
        there, here = lab.connect(*hosts)
        for end in (there, here):
            check(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[TCP_INFO_OPTIONS] & TCPI_OPT_ECN, "ECN was not negotiated")
        with lab.nothing_broken():
            Stream(there, here, 32 * MB).finish()
        check(lab.vm1.counters()["TcpExt.TCPDeliveredCE"] > 0, "the sender was not told of congestion")
        seen = lab.outside.run("nft", "list", "counters", "table", "ip", "congestion").stdout
        check("packets 0 " not in seen, f"no super-frame has CWR: {seen}")
    finally:
        lab.outside.run("nft", "delete", "table", "ip", "congestion")
        for host in hosts:
            with host.namespace.entered():
                host.namespace.write_sysctl("net/ipv4/tcp_ecn", 2)


# --- floods -----------------------------------------------------------------------------------------------------------

def missed(lab) -> int:
    return lab.vmnatd.counters()["kernel.missed"]


@suite.test("more small frames than a ring holds: what is too many is counted, and everything goes on")
def flood(lab):
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    stream = Stream(*lab.connect(lab.vm2, lab.outside))
    before = missed(lab)
    with stopped(lab.vmnatd.process):
        for number in range(3000):
            asks.send(number.to_bytes(4, "big"))
    wait_until(lambda: missed(lab) > before, "frames that were missed are counted")
    came = [int.from_bytes(answers.recv(100), "big")]
    asks.send((3000).to_bytes(4, "big"))
    while came[-1] != 3000:
        came.append(int.from_bytes(answers.recv(100), "big"))
    check_equal(came, sorted(came), "the order of datagrams")
    check(missed(lab) - before >= 3000 - RING_SLOTS - 10, f"{missed(lab) - before} were missed")
    check_equal(len(came) - 1 + missed(lab) - before, 3000, "datagrams that came, and those that were missed")
    stream.goes_on()
    stream.finish()
    lab.check_works()


@suite.test("more super-frames than a socket holds: the same")
def flood_of_super_frames(lab):
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    stream = Stream(*lab.connect(lab.vm1, lab.outside))
    asks.setsockopt(SOL_UDP, UDP_SEGMENT, 1000)
    before = missed(lab)
    with stopped(lab.vmnatd.process):
        for _ in range(1000):
            asks.send(bytes(64000))
    wait_until(lambda: missed(lab) > before, "frames that were missed are counted")
    stream.goes_on()
    stream.finish()
    lab.check_works()


# --- several workers --------------------------------------------------------------------------------------------------

@suite.test("two workers and two queues of the uplink: many flows, datagrams in super-frames and in fragments, both ways")
def workers(_lab):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise Skipped("needs two CPUs")
    with lab_with(dataplane={"workers": cpus, "memory": "512M"}, uplink={"queues": 2}) as lab:
        with lab.nothing_broken(but_retransmitted=100_000):  # so many are on their way that handoffs may be full
            ends = [lab.connect(*hosts) for hosts in [(lab.vm1, lab.outside), (lab.vm2, lab.outside), (lab.vm1, lab.vm2)] * 4]
            streams = [Stream(*order, 4 * MB) for pair in ends for order in (pair, pair[::-1])]
            for stream in streams:
                stream.finish()
        with lab.nothing_broken():
            for _ in range(8):
                ends = lab.udp_flow(lab.vm1, lab.outside)
                for order in (ends, ends[::-1]):
                    send_in_segments(*order, 1400, 61333)
                exchange_large(ends, 12)
            exchange_large(lab.udp_flow(lab.vm1, lab.vm2), 20)
        check(all(worker["packets"] > 0 for worker in lab.vmnatd.ctl("workers")), f"a worker was idle: {lab.vmnatd.ctl('workers')}")
        wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 0, "nothing waits")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
