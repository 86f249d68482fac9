#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`vmnatctl trace`: the ways of frames, step by step; veth_lab.py draws the wires. Two workers, of which each has some of the ports.

    203.0.113.2:5353 udp -> vm3 192.168.5.10:53
"""

import json
import os

from harness import config
from harness.daemon import program
from harness.processes import Process, run
from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, UDP, Raw
from scapy.layers.dhcp import BOOTP, DHCP
from veth_lab import GATEWAY_MACS, REMOTE, VethLab, end_with_accounts


class TwoWorkers(VethLab):
    def configuration(self):
        made = super().configuration()
        made["dataplane"].update(workers=sorted(os.sched_getaffinity(0))[:2], memory="512M")
        return made


def make_lab(scope):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skipped("two workers need two CPUs")
    lab = TwoWorkers(scope, lab={"forwards": [{"protocol": "udp", "port": 5353, "to": "192.168.5.10:53"}]},
                     networks={"default": {"dhcp": config.dhcp("192.168.122.100", "192.168.122.109")}},
                     ports={"vm2": {"guard": "on", "mac": "52:54:00:aa:00:02", "address": "192.168.122.11"}})
    lab.settle()
    lab.vm3.announce()
    lab.traces = 0
    return lab


suite = Suite(make_lab)


class Trace(Process):
    """`vmnatctl trace` at work: frames that are sent from now on are traced."""

    def __init__(self, lab, *options, json_form=True):
        lab.traces += 1
        before = lab.vmnatd.counters()["states.published"]
        form = ["--json"] if json_form else []
        super().__init__([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], *form, "trace", *options],
                         log=lab.directory / f"trace{lab.traces}.log")
        wait_until(lambda: not self.running() or (lab.vmnatd.counters()["states.published"] > before and
                                                  lab.vmnatd.counters()["capture.observers"] > 0), "the trace has begun")

    def frames(self):
        """Once it has ended by itself."""
        check_equal(self.wait(), 0, f"exit code; it said {self.log()}")
        return json.loads(self.log())


def steps(frame):
    return [step["step"] for step in frame["steps"]]


def step(frame, name):
    found = [step for step in frame["steps"] if step["step"] == name]
    check(found, f"there is no step {name} in {steps(frame)}")
    return found[-1]


def without_crossing(frame):
    """The steps of a frame that may have gone to another worker on its way."""
    return [name for name in steps(frame) if name not in ("handed_over", "parse", "steer")]


@suite.test("outbound: parsed, admitted, its session opened, rewritten, transmitted")
def outbound(lab):
    with Trace(lab, "--port", "vm1", "udp and dst port 53") as trace:
        sent = lab.open_udp(lab.vm1, 6000, b"traced")
        (frame,) = trace.frames()
    inside, outside = f"{lab.vm1.address}:6000", f"{lab.own}:{sent[UDP].sport}"
    check_equal((frame["number"], frame["port"], frame["outcome"], frame["reason"]), (1, "vm1", "transmitted", None), "the frame")
    check_equal(without_crossing(frame), ["received", "switch", "look_up", "translate", "transmitted"], "its steps")
    check_equal(frame["frame"], f"{inside} > {REMOTE}:53 udp, ttl 64", "the frame as it came")
    found = step(frame, "look_up")
    check_equal(found["session"], {"is_new": True, "protocol": "udp", "internal": inside, "external": outside,
                                   "remote": f"{REMOTE}:53"}, "the session")
    check_equal(step(frame, "translate")["frame"], f"{outside} > {REMOTE}:53 udp, ttl 63", "the frame behind the NAT")
    check_equal(step(frame, "transmitted")["says"], "by uplink", "where it left")
    check(all(a["us"] <= b["us"] for a, b in zip(frame["steps"], frame["steps"][1:])), f"times: {frame['steps']}")


@suite.test("the reply: its session found, rewritten back")
def reply(lab):
    sent = lab.open_udp(lab.vm1, 6001, b"question")
    with Trace(lab, "src host", REMOTE, "and", "udp") as trace:
        lab.reply_udp(sent, b"answer")
        (frame,) = trace.frames()
    check_equal((frame["port"], frame["outcome"]), ("uplink", "transmitted"), "the frame")
    check_equal(step(frame, "look_up")["session"]["is_new"], False, "whether the session is new")
    check_equal(step(frame, "translate")["frame"], f"{REMOTE}:53 > {lab.vm1.address}:6001 udp, ttl 63", "the frame behind the NAT")
    check_equal(step(frame, "transmitted")["says"], "by vm1", "where it left")


@suite.test("a spoofed sender is dropped by the guard, with its reason")
def guarded(lab):
    with Trace(lab, "--port", "vm2", "udp") as trace:
        lab.vm2.wire.send(lab.vm2.wire.to(GATEWAY_MACS["default"]) / IP(src="192.168.122.55", dst=REMOTE) / UDP(sport=1, dport=9))
        (frame,) = trace.frames()
    check_equal((frame["outcome"], frame["reason"]), ("dropped", "spoofed_address"), "how it ended")
    check_equal(steps(frame), ["received", "parse", "dropped"], "its steps")
    check("guard" in step(frame, "dropped")["says"], "the reason is explained")


@suite.test("--count: so many frames; a refusal by policy and a missing session have their place")
def refusals(lab):
    with Trace(lab, "--count", "2", "udp port 6002") as trace:
        lab.vm1.wire.send(lab.vm1.routed("240.0.0.1") / UDP(sport=6002, dport=9))
        lab.router.send(lab.inbound(UDP(sport=9, dport=6002)))
        frames = trace.frames()
    found = {frame["port"]: frame for frame in frames}
    check_equal(sorted((port, frame["reason"]) for port, frame in found.items()),
                [("uplink", "no_session"), ("vm1", "destination_invalid")], "why they were dropped")
    check_equal(sorted(frame["number"] for frame in frames), [1, 2], "their numbers")
    check("switch" in steps(found["vm1"]) and "translate" not in steps(found["vm1"]), f"the steps {steps(found['vm1'])}")


@suite.test("a fragment waits for the first one of its datagram, and goes on when that comes")
def fragments(lab):
    whole = bytes(UDP(sport=6003, dport=53, len=8 + 1600) / Raw(bytes(1600)))

    def piece(begin, end, more):
        packet = lab.vm1.routed(REMOTE)
        packet[IP].id, packet[IP].proto, packet[IP].frag, packet[IP].flags = 77, 17, begin // 8, "MF" if more else 0
        return packet / Raw(whole[begin:end])

    with Trace(lab, "ip[6:2] & 0x1fff != 0") as trace:
        lab.vm1.wire.send(piece(800, len(whole), False))
        wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 1, "the fragment waits")
        lab.vm1.wire.send(piece(0, 800, True))
        (frame,) = trace.frames()
    check_equal((frame["outcome"], frame["reason"]), ("transmitted", None), "how it ended")
    check("waits" in step(frame, "fragments")["says"] or any("waits" in s["says"] for s in frame["steps"]), f"it waited: {frame['steps']}")
    check(any("first fragment has come" in s["says"] for s in frame["steps"]), f"it went on: {frame['steps']}")
    check("fragment at 800" in step(frame, "translate")["frame"], "the fragment behind the NAT")


@suite.test("a hairpin: out, turned round, and in by a forward to another VM")
def hairpin(lab):
    wait_until(lambda: answered_forward(lab), "vm3 is known to the forward")
    with Trace(lab, "--port", "vm1", "udp port 5353") as trace:
        lab.vm1.wire.send(lab.vm1.routed(lab.own) / UDP(sport=6004, dport=5353) / Raw(b"round"))
        lab.vm3.expect(lambda frame: UDP in frame and bytes(frame[UDP].payload) == b"round", "the datagram")
        (frame,) = trace.frames()
    check_equal((frame["outcome"], step(frame, "transmitted")["says"]), ("transmitted", "by vm3"), "how it ended")
    check(any("turned round" in s["says"] for s in frame["steps"]), f"it turned round: {frame['steps']}")
    check_equal(steps(frame).count("translate"), 2, "translations")
    check_equal(step(frame, "translate")["frame"].split(" udp")[0].split(" > ")[1], f"{lab.vm3.address}:53", "where it goes")


def answered_forward(lab):
    for frame in lab.vm3.wire.drain():
        if ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == lab.vm3.address:
            lab.vm3.wire.send(lab.vm3.wire.to(frame.src) / ARP(op=2, hwsrc=lab.vm3.wire.mac, psrc=lab.vm3.address,
                                                               hwdst=frame.src, pdst=lab.vm3.gateway))
    return all(forward["mac"] for forward in lab.vmnatd.ctl("forwards"))


@suite.test("between VMs of two workers a frame is handed over, and told by both")
def two_workers(lab):
    with Trace(lab, "udp port 6005") as trace:
        lab.vm1.wire.send(lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP(sport=6005, dport=9))
        lab.vm2.expect(lambda frame: UDP in frame and frame[UDP].sport == 6005, "the datagram")
        (frame,) = trace.frames()
    check_equal((frame["outcome"], step(frame, "transmitted")["says"]), ("transmitted", "by vm2"), "how it ended")
    check_equal(step(frame, "handed_over")["says"].split(": ")[1], "to be transmitted", "what for")
    check_equal(len({s["worker"] for s in frame["steps"]}), 2, "workers that have told of it")


@suite.test("a DHCP message is punted to control, whose answer is traced as it is injected")
def dhcp(lab):
    with Trace(lab, "--count", "2", "udp port 67") as trace:
        lab.vm1.wire.send(lab.vm1.wire.to(BROADCAST) / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                          BOOTP(chaddr=bytes.fromhex(lab.vm1.wire.mac.replace(":", "")), xid=77) /
                          DHCP(options=[("message-type", "discover"), "end"]))
        question, answer = trace.frames()
    check_equal((question["outcome"], question["reason"]), ("punted", "dhcp"), "what became of the question")
    check_equal((steps(answer)[0], answer["outcome"]), ("injected", "transmitted"), "the answer")
    check_equal(step(answer, "transmitted")["says"], "by vm1", "where it left")


@suite.test("a flood: each copy is told where it leaves; an answer in place leaves by the port it came by")
def flood(lab):
    with Trace(lab, "--port", "vm1", "udp port 6006") as trace:
        lab.vm1.wire.send(lab.vm1.wire.to(BROADCAST) / IP(src=lab.vm1.address, dst="255.255.255.255") / UDP(sport=6006, dport=9))
        (frame,) = trace.frames()
    check_equal([s["says"] for s in frame["steps"] if s["step"] == "transmitted"], ["by vm2"], "where copies left")
    with Trace(lab, "--port", "vm1", "icmp") as trace:
        lab.vm1.wire.send(lab.vm1.routed(lab.vm1.gateway) / ICMP(id=9))
        (frame,) = trace.frames()
    check_equal(step(frame, "transmitted")["says"], "by vm1", "where the echo reply left")


@suite.test("as text; one trace at a time; one that is killed leaves nothing")
def text(lab):
    with Trace(lab, "udp port 6007", json_form=False) as trace:
        second = run([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "trace"], check=False)
        check_equal((second.returncode, "a trace is under way" in second.stderr), (1, True), f"the second: {second.stderr}")
        sent = lab.open_udp(lab.vm1, 6007, b"text")
        check_equal(trace.wait(), 0, "exit code")
    lines = trace.log().splitlines()
    check(lines[0].startswith("frame 1 at vm1, ") and f"{lab.vm1.address}:6007 > {REMOTE}:53 udp, ttl 64" in lines[0], f"the first line: {lines[0]}")
    check(any("session opened: " in line and f"{lab.own}:{sent[UDP].sport}" in line for line in lines), f"the session: {lines}")
    with Trace(lab, "udp port 6008") as trace:
        trace.kill()
    wait_until(lambda: lab.vmnatd.counters()["capture.observers"] == 0, "nobody observes any more")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
