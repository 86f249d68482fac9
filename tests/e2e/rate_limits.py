#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Limits of rates between Linux hosts: TCP both ways beside Linux' own TBF, changes under a connection that goes on,
limits that VMs share, and what a flood leaves the others, of a limit and of an uplink that is full. Rates are of frames, as
the limits are, and printed.
"""

import contextlib
import functools
import socket
import threading
import time

from harness.namespace import Namespace, veth
from harness.tap import Failed, Suite, check, check_equal, comment
from harness.waiting import PATIENCE, wait_until
from kernel_lab import GATEWAY, SOL_UDP, UDP_SEGMENT, Host, KernelLab, Stream, end_with_accounts

LIMIT = 100e6
SECONDS = 5 * PATIENCE
LONG = 3 * SECONDS
WARM = 2 * PATIENCE  # until TCP has found its rate
HEADERS, SEGMENT = 66, 1448  # of TCP with time stamps on an MTU of 1500: bytes of a frame besides its payload, and those
DATAGRAM = 1400
HEADERS_OF_UDP = 42  # from Ethernet on


class RateLab(KernelLab):
    """Four VMs."""

    def __init__(self, scope):
        super().__init__(scope, prepare=RateLab.add_vms,
                         network={"ports": [{"name": f"vm{n}", "device": f"port{n}"} for n in range(1, 5)]})

    @staticmethod
    def add_vms(lab):
        for n in (3, 4):
            lab.hosts[f"port{n}"] = Host(lab.scope, f"vm{n}", f"192.168.122.{9 + n}", GATEWAY)
            lab.plug_in(f"port{n}")
        lab.vms = [lab.hosts[f"port{n}"] for n in range(1, 5)]

    def limited(self, ports=None, uplink=None, **network):
        """From now on, by a reload: keys of ports by their names, of the network, and `uplink.limit`."""
        config = self.vmnatd.config
        mine = config["networks"][0]
        for key in ("limit", "shared_limit"):
            mine.pop(key, None)
        mine |= network
        for port in mine["ports"]:
            port.pop("limit", None)
            if ports and port["name"] in ports:
                port["limit"] = ports[port["name"]]
        config["uplink"].pop("limit", None)
        if uplink:
            config["uplink"]["limit"] = uplink
        self.vmnatd.write_config()
        self.vmnatd.ctl("reload")


def rate_of(payload, seconds) -> float:
    """Bits a second of frames."""
    return 8 * payload * (SEGMENT + HEADERS) / SEGMENT / seconds


def measured(*streams, seconds=SECONDS, warm=WARM) -> list[float]:
    """Each one's rate, over the same time."""
    time.sleep(warm)
    begin, before = time.monotonic(), [stream.received for stream in streams]
    time.sleep(seconds)
    end, after = time.monotonic(), [stream.received for stream in streams]
    for stream in streams:
        check_equal(stream.failures, [], "a TCP stream")
    return [rate_of(now - then, end - begin) for then, now in zip(before, after)]


class TooSlow(Failed):
    """Less than a limit lets through."""


def check_within(rate, wanted, part, what):
    comment(f"{what}: {rate / 1e6:.2f} Mbit/s, {rate / wanted:.1%} of {wanted / 1e6:g}")
    seen = f"{what}: {rate / 1e6:.2f} Mbit/s instead of {wanted / 1e6:g}"
    check(rate <= (1 + part) * wanted, seen)
    if rate < (1 - part) * wanted:
        raise TooSlow(seen)


def measured_again(subtest, tries=3):
    """TCP needs CPU time to use a limit up, which a busy machine may not have at once. More than the limit it never gets."""
    @functools.wraps(subtest)
    def tried(lab):
        for left in reversed(range(tries)):
            try:
                return subtest(lab)
            except TooSlow as slow:
                if left == 0:
                    raise
                comment(f"{slow}; once more")
    return tried


@contextlib.contextmanager
def flowing(*ends):
    """TCP streams in the block, from the first of each pair to the second. What has come behind a lost segment is received
    with it, all at once: so the senders have small buffers, and low rates are measured for long."""
    for sender, _ in ends:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 512 << 10)
    streams = [Stream(*pair) for pair in ends]
    try:
        yield streams
    finally:
        for pair in ends:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for stream in streams:
            for thread in stream.threads:
                thread.join(30 * PATIENCE)


class Flood:
    """Datagrams at a rate of their own, whatever becomes of them; the receiver counts what comes."""

    def __init__(self, sender, receiver, rate):
        self.sender, self.receiver, self.rate = sender, receiver, rate
        self.received, self.failures, self.is_over = 0, [], threading.Event()
        sender.setsockopt(SOL_UDP, UDP_SEGMENT, DATAGRAM)
        sender.setblocking(False)
        receiver.settimeout(0.1)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        block = bytes(20 * DATAGRAM)
        begin, sent = time.monotonic(), 0
        while not self.is_over.is_set():
            if sent * 8 > (time.monotonic() - begin) * self.rate:
                time.sleep(0.001)
                continue
            with contextlib.suppress(OSError):
                self.sender.send(block)
            sent += len(block)

    def receive(self):
        while not self.is_over.is_set():
            with contextlib.suppress(TimeoutError):
                self.received += len(self.receiver.recv(65536))

    def frames_rate(self, payload, seconds):
        return 8 * payload * (DATAGRAM + HEADERS_OF_UDP) / DATAGRAM / seconds

    def finish(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()
        self.sender.setsockopt(SOL_UDP, UDP_SEGMENT, 0)


def tbf_rate(seconds) -> float:
    """TCP between two hosts with nothing but Linux' TBF of 100 Mbit/s between them."""
    with Namespace("sender") as one, Namespace("receiver") as other, contextlib.ExitStack() as opened:
        veth(one, "eth0", other, "eth0")
        one.set_address("eth0", "10.9.9.1/24")
        other.set_address("eth0", "10.9.9.2/24")
        one.run("tc", "qdisc", "add", "dev", "eth0", "root", "tbf", "rate", "100mbit", "burst", "125000", "latency", "50ms")
        with other.entered():
            listener = opened.enter_context(socket.create_server(("10.9.9.2", 5001)))
        with one.entered():
            there = opened.enter_context(socket.create_connection(("10.9.9.2", 5001)))
        here = opened.enter_context(listener.accept()[0])
        with flowing((there, here)) as (stream,):
            return measured(stream, seconds=seconds)[0]


suite = Suite(RateLab)


@suite.test("TCP from a VM through a limit of 100 Mbit/s gets 97 to 103 % of it, as through Linux' TBF")
@measured_again
def tcp_out(lab):
    check_within(tbf_rate(SECONDS), LIMIT, 0.05, "Linux' TBF")
    lab.limited(ports={"vm1": {"out": {"rate": "100M"}}})
    before = lab.port("vm1")["limited_out"]
    with flowing(lab.connect(lab.vm1, lab.outside)) as (stream,):
        check_within(measured(stream)[0], LIMIT, 0.03, "out")
    check(lab.port("vm1")["limited_out"] > before, "that it had to wait is not counted")


@suite.test("the same towards a VM, where frames wait in a queue, and beside it another VM is not slowed")
@measured_again
def tcp_in(lab):
    lab.limited(ports={"vm1": {"in": {"rate": "100M"}}})
    with flowing(lab.connect(lab.vm1, lab.outside)[::-1], lab.connect(lab.vm2, lab.outside)[::-1]) as streams:
        limited, free = measured(*streams)
    check_within(limited, LIMIT, 0.03, "in")
    comment(f"the other VM: {free / 1e6:.0f} Mbit/s")
    check(free > 3 * LIMIT, f"the other VM gets {free / 1e6:.0f} Mbit/s")
    check(lab.port("vm1")["limited_in"] > 0, "that frames had to wait is not counted")
    wait_until(lambda: lab.vmnatd.counters()["limits.held"] == 0, "nothing waits any more")


@suite.test("both directions at once, by the network's default, and by a port's own key")
@measured_again
def both_ways(lab):
    lab.limited(limit={"in": {"rate": "100M"}, "out": {"rate": "100M"}}, ports={"vm2": {"out": {"rate": "40M"}}})
    pairs = (lab.connect(lab.vm1, lab.outside), lab.connect(lab.vm1, lab.outside)[::-1], lab.connect(lab.vm2, lab.outside))
    with flowing(*pairs) as streams:
        out, back, other = measured(*streams)
    # Acknowledgments wait behind the other direction's data, in the queue of a veth's sender for as long as its socket's buffer
    # lasts: TCP finds its rate slowly, and this is about the limits, which hold for each direction by itself.
    for rate, direction in ((out, "out, beside in"), (back, "in, beside out")):
        check(0.5 * LIMIT < rate < 1.03 * LIMIT, f"{direction}: {rate / 1e6:.2f} Mbit/s of {LIMIT / 1e6:.0f}")
    check_within(other, 40e6, 0.03, "vm2's own")


@suite.test("a reload changes the limit of a connection that goes on, takes it away and sets it again")
@measured_again
def live(lab):
    lab.limited(ports={"vm1": {"out": {"rate": "100M"}}})
    before = lab.vmnatd.counters()["sessions.created"]
    with flowing(lab.connect(lab.vm1, lab.outside)) as (stream,):
        check_within(measured(stream)[0], LIMIT, 0.03, "100 Mbit/s")
        lab.limited(ports={"vm1": {"out": {"rate": "20M"}}})
        check_within(measured(stream, seconds=LONG)[0], 20e6, 0.03, "then 20")
        lab.limited()
        check(measured(stream, seconds=2)[0] > 3 * LIMIT, "without a limit it is not fast")
        lab.limited(limit={"out": {"rate": "50M"}})
        check_within(measured(stream, seconds=LONG, warm=3)[0], 50e6, 0.03, "then 50, by the network")
        check_equal(lab.vmnatd.counters()["sessions.created"], before + 1, "sessions that were opened")


@suite.test("packets a second are limited by themselves")
@measured_again
def packets(lab):
    lab.limited(ports={"vm1": {"out": {"packets": 2000}}})
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    flood = Flood(asks, answers, 60e6)
    try:
        time.sleep(WARM)
        begin, before = time.monotonic(), flood.received
        time.sleep(SECONDS)
        rate = flood.frames_rate(flood.received - before, time.monotonic() - begin)
    finally:
        flood.finish()
    check_within(rate, 2000 * 8 * (DATAGRAM + HEADERS_OF_UDP), 0.03, "2000 datagrams a second")


@suite.test("two VMs share a limit of the network, both ways, in even parts")
@measured_again
def shared(lab):
    for direction in ("out", "in"):
        lab.limited(shared_limit={direction: {"rate": "100M"}})
        step = 1 if direction == "out" else -1
        with flowing(*(lab.connect(vm, lab.outside)[::step] for vm in lab.vms[:2])) as streams:
            rates = measured(*streams)
        check_within(sum(rates), LIMIT, 0.03, f"together, {direction}")
        for vm, rate in zip(lab.vms, rates):
            check_within(rate, LIMIT / 2, 0.1, f"{vm.name}, {direction}")


@suite.test("one VM floods the uplink's limit with datagrams, three others have TCP: each gets a quarter of it")
@measured_again
def fair(lab):
    lab.limited(uplink={"out": {"rate": "100M"}})
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    ends = [lab.connect(vm, lab.outside) for vm in lab.vms[1:]]
    flood = Flood(asks, answers, 4 * LIMIT)
    try:
        with flowing(*ends) as streams:
            time.sleep(WARM)
            begin, before = time.monotonic(), flood.received
            rates = measured(*streams, seconds=2 * SECONDS, warm=0)
            flooding = flood.frames_rate(flood.received - before, time.monotonic() - begin)
    finally:
        flood.finish()
    check_within(flooding + sum(rates), LIMIT, 0.03, "all together")
    check_within(flooding, LIMIT / 4, 0.05, "the flood")
    for vm, rate in zip(lab.vms[1:], rates):
        check_within(rate, LIMIT / 4, 0.05, f"{vm.name} by TCP")


@suite.test("one VM floods an uplink whose device takes no more, without a limit: three others have the quarter that they want")
@measured_again
def fair_at_a_full_device(lab):
    whole = 300e6
    lab.limited()
    before = lab.vmnatd.counters()["backlogged"]
    # A queue that is longer than the socket's: what that has no room for is told, what a queue drops is not.
    lab.gateway.run("tc", "qdisc", "add", "dev", "uplink0", "root", "tbf", "rate", "300mbit", "burst", "375000", "limit", "64000000")
    floods = [Flood(*lab.udp_flow(vm, lab.outside), 4 * whole if vm is lab.vm1 else whole / 4) for vm in lab.vms]
    try:
        time.sleep(2 * WARM)
        begin, received = time.monotonic(), [flood.received for flood in floods]
        time.sleep(SECONDS)
        seconds = time.monotonic() - begin
        rates = [flood.frames_rate(flood.received - then, seconds) for flood, then in zip(floods, received)]
    finally:
        for flood in floods:
            flood.finish()
        lab.gateway.run("tc", "qdisc", "del", "dev", "uplink0", "root")
    check_within(sum(rates), whole, 0.03, "all together")
    left = 3 * whole / 4 - sum(rates[1:])
    if left > 0.05 * whole / 4:  # the flood has it
        raise TooSlow(f"three VMs left {left / 1e6:.2f} Mbit/s of their quarters")
    for vm, rate in zip(lab.vms, rates):
        check_within(rate, whole / 4, 0.05, f"{vm.name} by datagrams")
    check(lab.vmnatd.counters()["backlogged"] > before, "no frame had to wait for the device")
    wait_until(lambda: lab.vmnatd.counters()["limits.held"] == 0, "nothing waits any more")


@suite.test("beside such a flood, who wants little has it: pings of another VM are answered within milliseconds")
def little(lab):
    lab.limited(uplink={"out": {"rate": "100M"}})
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    quiet, echo = lab.udp_flow(lab.vm2, lab.outside)
    flood = Flood(asks, answers, 4 * LIMIT)
    times = []
    try:
        time.sleep(WARM)
        for _ in range(200):
            begin = time.monotonic()
            quiet.send(b"x" * 100)
            echo.recv(200)
            times.append(time.monotonic() - begin)
            time.sleep(0.005)
    finally:
        flood.finish()
    times.sort()
    comment(f"median {1000 * times[100]:.2f} ms, 95 % {1000 * times[190]:.2f} ms")
    check(times[190] < 0.02, f"95 % within {1000 * times[190]:.1f} ms")


@suite.test("a VM that has sent far more than its limit is heard again at once: no seconds of it wait in its interface's socket")
def heard(lab):
    lab.limited(ports={"vm1": {"out": {"rate": "20M"}}})
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    quiet, echo = lab.udp_flow(lab.vm1, lab.outside)
    flood = Flood(asks, answers, 4 * LIMIT)
    time.sleep(2 * WARM)
    flood.finish()
    begin = time.monotonic()
    echo.settimeout(0.01)
    while time.monotonic() < begin + SECONDS:
        quiet.send(b"x" * 100)
        with contextlib.suppress(TimeoutError):
            echo.recv(200)
            break
    taken = time.monotonic() - begin
    comment(f"heard after {1000 * taken:.0f} ms")
    check(taken < 0.5, f"heard after {taken:.2f} s")


@suite.test("a reload whose limits make no sense changes nothing, and says where")
@measured_again
def refused(lab):
    lab.limited(ports={"vm1": {"out": {"rate": "20M"}}})
    with flowing(lab.connect(lab.vm1, lab.outside)) as (stream,):
        try:
            lab.limited(ports={"vm1": {"out": {"rate": "50M", "peak": "10M"}}})
            check(False, "it was taken")
        except RuntimeError as problem:
            check("peak: 10M is less than the rate, 50M" in str(problem), str(problem))
        check_within(measured(stream, seconds=LONG)[0], 20e6, 0.03, "as before")
    lab.limited()


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
