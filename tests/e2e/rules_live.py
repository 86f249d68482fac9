#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of a daemon at work: what `vmnatctl rules`, `trace` and the log say of them, and what becomes of sessions and
flows when they change; ten thousand of them under traffic. veth_lab.py draws the wires; two workers, of which each has
some of the ports."""

import contextlib
import json
import os
import time

from harness.daemon import program
from harness.processes import Process, run
from harness.tap import Skipped, Suite, check, check_equal, comment
from harness.waiting import deadline_in, wait_until
from harness.wire import IP, TCP, UDP, Raw
from veth_lab import REMOTE, VethLab, end_with_accounts

FORWARD = {"protocol": "udp", "port": 5353, "to": "192.168.122.10:53"}
MANY = 10_000


class RulesLab(VethLab):
    def configuration(self):
        made = super().configuration()
        made["dataplane"].update(workers=sorted(os.sched_getaffinity(0))[:2], memory="512M")
        made["control"]["metrics"] = f"127.0.0.1:{20_000 + os.getpid() % 20_000}"
        return made

    def set_rules(self, network=(), **of_ports):
        """The file has these rules of the network default and its ports, and the daemon goes by them."""
        default = self.vmnatd.config["networks"][0]
        default["rules"] = list(network)
        for port in default["ports"]:
            port["rules"] = list(of_ports.get(port["name"], ()))
        self.vmnatd.write_config()
        return self.vmnatd.ctl("reload")["changed"]

    def counts(self, *arguments):
        """Of each rule: (port, place, packets)."""
        return [(rule["port"], rule["rule"], rule["packets"]) for rule in self.vmnatd.ctl("rules", *arguments)]

    def dropped(self, reason="rule"):
        return self.vmnatd.counters().get(f"drop.{reason}", 0)


def make_lab(scope):
    if len(os.sched_getaffinity(0)) < 2:
        raise Skipped("two workers need two CPUs")
    lab = RulesLab(scope, default={"forwards": [FORWARD]})
    lab.vm1.answer_arp()
    lab.settle()
    return lab


suite = Suite(make_lab)


def rule(direction, action, **keys):
    return {"direction": direction, "action": action, **keys}


def to_vm2(lab, **ports):
    return lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP(**ports) / Raw(b"between")


def pass_to_vm2(lab, marker, **ports):
    frame = lab.vm1.wire.to(lab.vm2.wire.mac) / IP(src=lab.vm1.address, dst=lab.vm2.address) / UDP(**ports) / Raw(marker)
    lab.vm1.wire.send(frame)
    lab.vm2.expect(lambda f: UDP in f and bytes(f[UDP].payload).startswith(marker), f"{marker!r} at vm2")


@suite.test("vmnatctl rules lists them in their order with what they have decided; text, JSON and HTTP")
def listed(lab):
    check_equal(lab.vmnatd.ctl("rules"), [], "rules before there are any")
    lab.set_rules([rule("out", "drop", protocol="tcp", remote_port=25), rule("in", "accept", protocol="udp", local_port=53)],
                  vm1=[rule("out", "reject", remote="192.0.2.0/24")])
    with lab.counting(received=3, dropped={"drop.rule": 3}):
        for port in (1, 2, 3):
            lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=port, dport=25, flags="S"))
    check_equal(lab.counts(), [(None, 1, 3), (None, 2, 0), (None, None, 0), ("vm1", 1, 0)], "rules and their packets")
    check_equal(lab.counts("--port", "vm2"), [(None, 1, 3), (None, 2, 0), (None, None, 0)], "rules that vm2's frames meet")
    check_equal(lab.counts("--network", "lab"), [], "rules of another network")
    first, *_, last = lab.vmnatd.ctl("rules")
    check_equal({key: first[key] for key in ("network", "direction", "action", "protocol", "remote", "remote_port", "log")},
                {"network": "default", "direction": "out", "action": "drop", "protocol": "tcp", "remote": None,
                 "remote_port": "25", "log": False}, "the first rule")
    check_equal((last["remote"], last["action"]), ("192.0.2.0/24", "reject"), "vm1's rule")
    text = lab.vmnatd.ctl_text("rules").splitlines()
    check_equal((text[0].split()[:4], len(text)), (["NETWORK", "PORT", "RULE", "DIR"], 5), "the table")
    by_http = run(["curl", "-s", f"http://{lab.vmnatd.config['control']['metrics']}/api/rules?port=vm1"],
                  namespace=lab.gateway_side).stdout
    check_equal(json.loads(by_http), lab.vmnatd.ctl("rules", "--port", "vm1"), "what HTTP answers")
    for wrong in (["--port", "nobody"], ["--network", "nowhere"]):
        answer = run([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "rules", *wrong], check=False)
        check_equal((answer.returncode, wrong[1] in answer.stderr), (1, True), f"a name that is none: {answer.stderr}")


@suite.test("a rule that stays keeps its count when others come, and a session that goes on is not counted again")
def counts_go_on(lab):
    lab.set_rules([rule("out", "accept")])
    sent = lab.open_udp(lab.vm1, 7000, b"counted once")
    lab.open_udp(lab.vm1, 7000, b"counted no more")
    before = lab.counts()
    check_equal(before[0][2] >= 1, True, f"counts: {before}")
    lab.set_rules([rule("out", "drop", protocol="tcp", remote_port=25), rule("out", "accept")])
    lab.reply_udp(sent, b"an answer")
    lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 7000, "the answer")
    check_equal(lab.counts()[1], (None, 2, before[0][2]), "the count of the rule that has moved on")


@suite.test("rules that change end the sessions that they do not accept, either way round, and leave the others")
def sessions_end(lab):
    lab.set_rules()
    for port, remote_port in ((7100, 53), (7101, 80), (7102, 80)):
        lab.open_udp(lab.vm1, port, f"session {port}".encode(), remote_port=remote_port)
    lab.router.send(lab.inbound(UDP(sport=9, dport=5353) / Raw(b"by the forward")))
    lab.vm1.expect(lambda f: UDP in f and f[UDP].dport == 53, "what is forwarded")
    with_80 = ("--port", "vm1", "--remote", f"{REMOTE}:80")
    check_equal(lab.vmnatd.ctl("sessions", *with_80, "--count")["count"], 2, "sessions with port 80")
    lab.set_rules([rule("out", "drop", protocol="udp", remote_port=80), rule("in", "drop", protocol="udp", local_port=53)])
    wait_until(lambda: lab.vmnatd.ctl("sessions", *with_80, "--count")["count"] == 0, "those that began with port 80 have ended")
    wait_until(lambda: not lab.vmnatd.sessions("--internal", f"{lab.vm1.address}:53"), "and so has the forward's")
    check_equal(len(lab.vmnatd.sessions("--internal", f"{lab.vm1.address}:7100")), 1, "the session that is accepted still")
    lab.open_udp(lab.vm1, 7100, b"goes on")
    with lab.counting(received=2, dropped={"drop.rule": 2}):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=7101, dport=80))
        lab.router.send(lab.inbound(UDP(sport=9, dport=5353) / Raw(b"no more")))
    lab.vmnatd.check_invariants()


@suite.test("flows between VMs go on over a change that accepts them, and end by one that does not")
def flows_end(lab):
    lab.set_rules(vm1=[rule("in", "drop")])
    pass_to_vm2(lab, b"to 4000", sport=4000, dport=4000)
    pass_to_vm2(lab, b"to 4001", sport=4000, dport=4001)
    lab.set_rules(vm1=[rule("in", "drop")], vm2=[rule("in", "accept", protocol="udp", local_port=4000)])
    answer = lab.vm2.wire.to(lab.vm1.wire.mac) / IP(src=lab.vm2.address, dst=lab.vm1.address)
    with lab.counting(received=2, transmitted=1, dropped={"drop.rule": 1}):
        lab.vm2.wire.send(answer / UDP(sport=4001, dport=4000) / Raw(b"too late"))
        lab.vm2.wire.send(answer / UDP(sport=4000, dport=4000) / Raw(b"in time"))
        lab.vm1.expect(lambda f: UDP in f and bytes(f[UDP].payload).startswith(b"in time"), "the answer")


@suite.test("trace names the rule that has decided, of a session and between VMs")
def traced(lab):
    lab.set_rules([rule("out", "drop", protocol="udp", remote_port=666), rule("in", "accept", protocol="udp", local_port=4000)],
                  vm1=[rule("out", "accept", protocol="udp", remote_port=667), rule("out", "accept")])

    def trace(frame, expression):
        before = lab.vmnatd.counters()["states.published"]
        with Process([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "--json", "trace", *expression],
                     log=lab.directory / f"trace-{frame[UDP].dport}.log") as tracer:
            wait_until(lambda: lab.vmnatd.counters()["states.published"] > before
                       and lab.vmnatd.counters()["capture.observers"] > 0, "the trace has begun")
            lab.vm1.wire.send(frame)
            check_equal(tracer.wait(), 0, f"exit code: {tracer.log()}")
            (told,) = json.loads(tracer.log())
        return told
    of_session = trace(lab.vm1.routed(REMOTE) / UDP(sport=7, dport=667), ["udp port 667"])
    check_equal([step["rule"] for step in of_session["steps"] if step["step"] == "rule"],
                ["port vm1, rule 1 (out accept udp, remote port 667)"], f"the rule in {of_session}")
    check_equal(of_session["outcome"], "transmitted", "its outcome")
    of_peer = trace(to_vm2(lab, sport=7, dport=4001), ["udp port 4001"])
    check_equal([step["rule"] for step in of_peer["steps"] if step["step"] == "rule"],
                ["port vm1, rule 2 (out accept)", "network default, no rule that accepts (in)"], f"the rules in {of_peer}")
    check_equal((of_peer["outcome"], of_peer["reason"]), ("dropped", "rule"), "its outcome")


@suite.test("a rule with log writes lines, with a budget for each rule")
def logged(lab):
    lab.set_rules([rule("out", "drop", protocol="udp", remote_port=777, log=True)])
    before = lab.dropped()
    for port in range(1, 201):
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=port, dport=777))
    wait_until(lambda: lab.dropped() == before + 200, "all of them are dropped")

    def lines():
        return [line for line in lab.vmnatd.process.log().splitlines() if "out udp to 198.51.100.2:777" in line]
    wait_until(lines, "a line of the log")
    text = "port vm1: out udp to 198.51.100.2:777, local port 1: dropped by network default, rule 1 (out drop udp, remote port 777)"
    check(text in lines()[0], f"the first line: {lines()[0]}")
    check(len(lines()) <= 12, f"{len(lines())} lines of 200 frames")


@suite.test("a file with a rule that makes no sense is refused as a whole, at its line")
def refused(lab):
    lab.set_rules([rule("out", "drop", protocol="udp", remote_port=777)])
    before = lab.vmnatd.ctl("rules")
    lab.vmnatd.config["networks"][0]["rules"] = [rule("out", "drop", remote="port:nobody")]
    lab.vmnatd.write_config()
    answer = run([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "reload"], check=False)
    check_equal(answer.returncode, 1, "exit code")
    check("remote: 'nobody' is no port of network 'default'" in answer.stderr and "vmnat.yaml:" in answer.stderr,
          f"what it says: {answer.stderr}")
    check_equal(lab.vmnatd.ctl("rules"), before, "the rules in effect")


class Stream:
    """Datagrams of one session and of new ones in turn, out of vm1; each is told by its number."""

    def __init__(self, lab):
        self.lab, self.sent, self.seen = lab, 0, set()
        self.form = bytes(lab.vm1.routed(REMOTE) / UDP(sport=1, dport=53, chksum=0) / Raw(b"........"))
        lab.router.socket.settimeout(0)

    def send(self):
        """Every other one opens a session: of another port each time."""
        port = 30_000 if self.sent % 2 == 0 else 30_001 + self.sent // 2 % 20_000
        frame = bytearray(self.form)
        frame[34:36] = port.to_bytes(2, "big")
        frame[42:50] = self.sent.to_bytes(8, "big")
        self.lab.vm1.wire.socket.send(frame)
        self.sent += 1

    def collect(self):
        with contextlib.suppress(BlockingIOError, TimeoutError):
            while True:
                raw = self.lab.router.socket.recv(2048)
                if raw[12:14] == b"\x08\x00" and raw[23] == 17 and raw[36:38] == (53).to_bytes(2, "big"):
                    self.seen.add(int.from_bytes(raw[42:50], "big"))

    def run_until(self, condition, pause=0.0005):
        deadline = deadline_in(120)
        while not condition():
            check(time.monotonic() < deadline, "it takes two minutes")
            self.send()
            self.collect()
            time.sleep(pause)

    def missing(self):
        def all_there():
            self.collect()
            return len(self.seen) == self.sent
        with contextlib.suppress(Exception):
            wait_until(all_there, "every datagram", 10)
        return sorted(set(range(self.sent)) - self.seen)


@suite.test("ten thousand rules come, change and go under a stream and new sessions, and no datagram is lost")
def many(lab):
    lab.set_rules()
    stream = Stream(lab)
    stream.run_until(lambda: stream.sent >= 200)
    check_equal(stream.missing(), [], "datagrams missing before")
    rules = [rule("out", "drop", protocol="udp", remote=f"10.{i >> 8 & 255}.{i & 255}.0/28", remote_port=f"{1 + i % 1000}-2000")
             for i in range(MANY)]
    for change in (rules + [rule("out", "accept")], rules[1:] + [rule("out", "accept")], []):
        lab.vmnatd.config["networks"][0]["rules"] = change
        lab.vmnatd.write_config()
        with Process([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "reload"],
                     log=lab.directory / "reload.log") as reload:
            began, sent = time.monotonic(), stream.sent
            stream.run_until(lambda: not reload.running())
            check_equal(reload.wait(), 0, f"exit code: {reload.log()}")
            comment(f"{len(change)} rules in effect after {time.monotonic() - began:.2f} s and {stream.sent - sent} datagrams")
        sent = stream.sent
        stream.run_until(lambda: stream.sent >= sent + 200)
        check_equal(stream.missing(), [], "datagrams missing")
        if change:
            check_equal(len(lab.vmnatd.ctl("rules")), len(change) + 1, "rules that are listed")
            check(lab.counts()[-2][2] >= 100, f"the rule that accepts: {lab.counts()[-2:]}")
    lab.router.socket.settimeout(1)
    lab.router.drain()


@suite.test("after a restart the rules hold, sessions that they accept go on, and one that they do not accept has ended")
def restarted(lab):
    lab.set_rules()
    lab.open_udp(lab.vm1, 7300, b"is kept", remote_port=53)
    lab.open_udp(lab.vm1, 7301, b"is not", remote_port=81)
    lab.vmnatd.config["networks"][0]["rules"] = [rule("out", "drop", protocol="udp", remote_port=81)]
    lab.vmnatd.write_config()
    lab.vmnatd.stop()
    lab.vmnatd.start()
    wait_until(lambda: not lab.vmnatd.sessions("--internal", f"{lab.vm1.address}:7301"), "the other one has ended")
    check_equal(len(lab.vmnatd.sessions("--internal", f"{lab.vm1.address}:7300")), 1, "the session that is accepted")
    for guest in lab.guests:
        guest.announce()
    wait_until(lab.router_is_resolved, "vmnatd has resolved the router and a datagram leaves")
    lab.open_udp(lab.vm1, 7300, b"goes on")
    before = lab.dropped()
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=7301, dport=81))
    wait_until(lambda: lab.dropped() == before + 1, "what is not accepted is dropped")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
