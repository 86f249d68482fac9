#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who had which external port, when: `sessions --watch`, the log of translations and what reads it (`vmnatctl who`, nfdump,
a syslog server); veth_lab.py draws the wires."""

import contextlib
import datetime
import json
import signal
import socket
import time

from harness.daemon import program
from harness.processes import Process, run
from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ICMP, IP, TCP, UDP
from veth_lab import REMOTE, VethLab, end_with_accounts

BLOCK = 64
IPFIX_PORT, SYSLOG_PORT = 4739, 5514


class LoggingLab(VethLab):
    def configuration(self):
        made = super().configuration()
        self.log = self.directory / "translations.json"
        made["log"] = {"translations": {"to": [f"json:{self.log}"]}}
        return made

    def lines(self, **wanted):
        if not self.log.exists():
            return []
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if all(line.get(key) == value for key, value in wanted.items())]

    def log_to(self, *targets, of="sessions"):
        self.vmnatd.config["log"] = {"translations": {"to": list(targets), "of": of}}
        self.reload()

    def reload(self):
        self.vmnatd.write_config()
        self.vmnatd.ctl_text("reload")

    def who(self, endpoint, *options):
        return self.vmnatd.ctl("who", endpoint, *options)


def make_lab(scope):
    lab = LoggingLab(scope)
    lab.settle()
    lab.watches = 0
    return lab


suite = Suite(make_lab)


class Watch(Process):
    """`vmnatctl sessions --watch` at work: what becomes of sessions from now on is seen."""

    def __init__(self, lab, *options):
        lab.watches += 1
        before = lab.vmnatd.counters()["states.published"]
        super().__init__([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "sessions", "--watch", *options],
                         log=lab.directory / f"watch{lab.watches}.log")
        wait_until(lambda: not self.running() or lab.vmnatd.counters()["states.published"] > before, "it listens")

    def lines(self):
        return self.log().splitlines()

    def finish(self):
        self.send(signal.SIGINT)
        check_equal(self.wait(), 0, f"exit code; it said {self.log()}")
        return self.lines()


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def flush(lab, port):
    check_equal(lab.vmnatd.ctl("flush", "--internal", f"{lab.vm1.address}:{port}")["flushed"], 1, "sessions that ended")


@suite.test("sessions --watch: a session opens and ends, as conntrack -E writes it")
def watch_text(lab):
    with Watch(lab, "--internal", lab.vm1.address) as watch:
        sent = lab.open_udp(lab.vm1, 6000, b"watched")
        lab.open_udp(lab.vm2, 6000, b"another VM's")
        wait_until(lambda: watch.lines(), "the first event")
        flush(lab, 6000)
        wait_until(lambda: len(watch.lines()) == 2, "the second event")
        lines = watch.finish()
    outside = f"src={REMOTE} dst={lab.own} sport=53 dport={sent[UDP].sport}"
    check(lines[0].startswith("    [NEW] udp      17 ") and f"src={lab.vm1.address} dst={REMOTE} sport=6000 dport=53 [UNREPLIED] {outside}" in lines[0],
          f"the first line: {lines[0]}")
    check_equal(lines[1], f"[DESTROY] udp      17 src={lab.vm1.address} dst={REMOTE} sport=6000 dport=53 packets=1 bytes=35 "
                          f"[UNREPLIED] {outside} packets=0 bytes=0", "the second line")


@suite.test("... as JSON, with TCP's states and times; --limit ends it; one that is killed leaves nothing")
def watch_json(lab):
    before = time.time()
    with Watch(lab, "--format", "json", "--protocol", "tcp", "--limit", "2") as watch:
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=6001, dport=80, flags="S", seq=100))
        out = lab.router.expect(lambda frame: TCP in frame and frame[TCP].dport == 80, "the SYN")
        lab.router.send(lab.router.to(out.src) / IP(src=REMOTE, dst=out[IP].src) / TCP(sport=80, dport=out[TCP].sport, flags="SA", seq=900, ack=101))
        lab.vm1.expect(lambda frame: TCP in frame and frame[TCP].sport == 80, "the SYN's answer")
        lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=6001, dport=80, flags="A", seq=101, ack=901))
        check_equal(watch.wait(), 0, "exit code")
        events = [json.loads(line) for line in watch.lines()]
    check_equal([event["event"] for event in events], ["new", "update"], "events")
    check_equal(events[0]["state"], "syn_sent", "the state when it opens")
    check(rfc3339(before - 1) <= events[0]["time"] <= rfc3339(time.time() + 1), f"its time: {events[0]['time']}")
    with Watch(lab) as watch:
        watch.kill()
    wait_until(lambda: not lab.vmnatd.process.log().count("exception"), "nothing breaks")
    lab.check_still_works()


@suite.test("the log begins with `started`; a session has a line when it opens and one when it ends, with all of its ends")
def session_lines(lab):
    check_equal(lab.lines()[0]["event"], "started", "the first line")
    sent = lab.open_udp(lab.vm1, 6010, b"logged")
    external = f"{lab.own}:{sent[UDP].sport}"
    wait_until(lambda: lab.lines(event="created", internal=f"{lab.vm1.address}:6010"), "the line of the session")
    (line,) = lab.lines(event="created", internal=f"{lab.vm1.address}:6010")
    check_equal((line["network"], line["port"], line["protocol"], line["external"], line["remote"], line["mac"]),
                ("default", "vm1", "udp", external, f"{REMOTE}:53", lab.vm1.wire.mac), "the line")
    flush(lab, 6010)
    wait_until(lambda: lab.lines(event="ended", internal=f"{lab.vm1.address}:6010"), "the line of its end")
    (end,) = lab.lines(event="ended", internal=f"{lab.vm1.address}:6010")
    check_equal((end["external"], end["packets_out"], end["packets_in"]), (external, 1, 0), "the end")
    check(line["time"] <= end["time"], "in order")
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / ICMP(id=77))
    wait_until(lambda: lab.lines(event="created", internal=f"{lab.vm1.address}:77", protocol="icmp"), "an ICMP query's line")


@suite.test("who: the VM that has a port now, or had it then; nobody is an answer, too")
def who(lab):
    sent = lab.open_udp(lab.vm1, 6020, b"first")
    endpoint = f"{lab.own}:{sent[UDP].sport}"
    wait_until(lambda: lab.who(endpoint), "the session is in the log")
    (now,) = lab.who(endpoint)
    check_equal((now["port"], now["internal"], now["until"]), ("vm1", f"{lab.vm1.address}:6020", None), "who has it now")
    during = time.time()
    time.sleep(0.2)  # the log's clock ticks 16 times a second
    flush(lab, 6020)
    wait_until(lambda: not lab.who(endpoint), "nobody has it any more")
    (then,) = lab.who(endpoint, "--at", rfc3339(during))
    check_equal((then["internal"], then["from"] <= rfc3339(during) < then["until"]), (f"{lab.vm1.address}:6020", True), "who had it then")
    check_equal(lab.who(endpoint, "--at", rfc3339(during - 3600)), [], "who had it an hour before")
    check_equal(lab.who(endpoint, "--at", rfc3339(during), "--protocol", "tcp"), [], "of another protocol")
    text = lab.vmnatd.ctl_text("who", endpoint, "--at", f"@{int(during) + 1}")
    check("INTERNAL" in text, f"a table: {text}")
    wrong = run([program("vmnatctl"), "who", endpoint, "--at", "yesterday"], check=False)
    check_equal((wrong.returncode, "is not a time" in wrong.stderr), (2, True), f"a wrong time: {wrong.stderr}")


@suite.test("the file is renamed, as logrotate does: lines go on in a new one, and `who` reads both")
def rotation(lab):
    sent = lab.open_udp(lab.vm1, 6030, b"before")
    endpoint = f"{lab.own}:{sent[UDP].sport}"
    wait_until(lambda: lab.who(endpoint), "the session is in the log")
    lab.log.rename(lab.log.with_name("translations.json.1"))
    run(["gzip", lab.log.with_name("translations.json.1")])
    wait_until(lab.log.exists, "there is a new file")
    flush(lab, 6030)
    wait_until(lambda: lab.lines(event="ended", internal=f"{lab.vm1.address}:6030"), "the end is in the new file")
    check_equal(lab.lines(event="created", internal=f"{lab.vm1.address}:6030"), [], "the beginning is not")
    wait_until(lambda: not lab.who(endpoint), "nobody has it any more")
    offline = run([program("vmnatctl"), "--json", "who", endpoint, "--at", rfc3339(time.time() - 0.5), "--file", lab.log])
    check(isinstance(json.loads(offline.stdout), list), "without a daemon")


@suite.test("after kill -9 and a restart what goes on is `present`, and has been there since it began")
def restart(lab):
    kept = lab.open_udp(lab.vm1, 6040, b"kept")
    endpoint = f"{lab.own}:{kept[UDP].sport}"
    wait_until(lambda: lab.who(endpoint), "the session is in the log")
    (before,) = lab.who(endpoint)
    lab.vmnatd.kill()
    lab.vmnatd.start()
    wait_until(lambda: lab.lines(event="present", internal=f"{lab.vm1.address}:6040"), "it is present")
    (after,) = lab.who(endpoint)
    check_equal((after["from"], after["until"]), (before["from"], None), "since when")
    check_equal(lab.lines()[-1]["event"] in ("present", "created", "ended"), True, "the last line")
    lab.settle()


@suite.test("a file that cannot be written is a note and a count, and nothing else stops")
def unwritable(lab):
    lab.log_to("json:/nowhere/at/all.json")
    lab.open_udp(lab.vm1, 6050, b"not logged")
    wait_until(lambda: lab.vmnatd.counters()["translations.unwritten"] > 0, "it is counted")
    notes = lab.vmnatd.ctl("status")["notes"]
    check(any("/nowhere/at/all.json cannot be opened: No such file or directory" in note for note in notes), f"notes: {notes}")
    lab.check_still_works()
    lab.log_to(f"json:{lab.log}")
    wait_until(lambda: not any("nowhere" in note for note in lab.vmnatd.ctl("status")["notes"]), "the note has gone")
    nowhere = run([program("vmnatctl"), "who", "192.0.2.1:1", "--file", "/nowhere/at/all.json"], check=False)
    check_equal((nowhere.returncode, "cannot be read" in nowhere.stderr), (1, True), f"who without a file: {nowhere.stderr}")


@suite.test("IPFIX: nfdump reads what a collector has been sent")
def ipfix(lab):
    directory = lab.directory / "nfdump"
    directory.mkdir()
    try:
        run(["nfdump", "-V"])
    except FileNotFoundError:
        raise Skipped("nfdump is not installed") from None
    with Process(["nfcapd", "-p", str(IPFIX_PORT), "-b", "127.0.0.1", "-w", directory, "-t", "3600"], log=lab.directory / "nfcapd.log",
                 namespace=lab.gateway_side) as collector:
        wait_until(lambda: "Startup" in collector.log() or listens(lab, IPFIX_PORT), "the collector listens")
        lab.log_to(f"ipfix:127.0.0.1:{IPFIX_PORT}", f"json:{lab.log}")
        sent = lab.open_udp(lab.vm1, 6060, b"exported")
        wait_until(lambda: lab.lines(event="created", internal=f"{lab.vm1.address}:6060"), "the session is logged")
        flush(lab, 6060)
        wait_until(lambda: lab.lines(event="ended", internal=f"{lab.vm1.address}:6060"), "its end is logged")
        time.sleep(1)  # until the collector has read what has been sent
        collector.send(signal.SIGTERM)
        collector.wait()
    (file,) = directory.glob("nfcapd.2*")
    read = run(["nfdump", "-q", "-r", file, "-o", "json", f"src ip {lab.vm1.address} and src port 6060"]).stdout
    flows = json.loads(f"[{read.strip().strip('[],')}]")  # with -q the brackets are left out
    check_equal([flow["nat_event"] for flow in flows], ["NAT44 session create", "NAT44 session delete"], "events")
    for flow in flows:
        check_equal((flow["src4_xlt_ip"], int(flow["src_xlt_port"]), flow["dst4_addr"], flow["dst_port"], flow["proto"]),
                    (lab.own, sent[UDP].sport, REMOTE, 53, 17), "the flow")


def listens(lab, port):
    return f":{port} " in run(["ss", "-lun"], namespace=lab.gateway_side).stdout


@suite.test("syslog: a message of RFC 5424 by UDP for each line")
def syslog(lab):
    with lab.gateway_side.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with contextlib.closing(server):
        server.settimeout(20)
        server.bind(("127.0.0.1", SYSLOG_PORT))
        lab.log_to(f"syslog:127.0.0.1:{SYSLOG_PORT}")
        lab.open_udp(lab.vm1, 6070, b"to syslog")
        while True:
            message = server.recv(65536).decode()
            header, _, line = message.partition(" - ")
            if '"event":"created"' in line and ":6070" in line:
                break
    check(header.startswith("<30>1 20") and header.endswith(" created"), f"the header: {header}")
    check_equal(json.loads(line)["port"], "vm1", "the line")
    lab.log_to(f"json:{lab.log}")


@suite.test(f"block_allocation: {BLOCK}: one line for all sessions of a VM, and `who` tells it of each of its ports")
def blocks(lab):
    lab.vmnatd.config["networks"][0].setdefault("nat", {})["block_allocation"] = BLOCK
    lab.log_to(f"json:{lab.log}", of="blocks")
    for session in lab.vmnatd.sessions("--network", "default"):
        lab.vmnatd.ctl("flush", "--internal", session["internal"])
    before = len(lab.lines())
    ports = {lab.open_udp(lab.vm1, 7000 + i, b"block %d" % i)[UDP].sport for i in range(20)}
    wait_until(lambda: lab.lines(event="block_given", internal=lab.vm1.address), "the line of the block")
    (block,) = lab.lines(event="block_given", internal=lab.vm1.address)
    check_equal((block["network"], block["port"], block["external"], block["last_port"] - block["first_port"] + 1),
                ("default", "vm1", lab.own, BLOCK), "the line")
    check(all(block["first_port"] <= port <= block["last_port"] for port in ports), f"{sorted(ports)} are not of {block}")
    check_equal([line for line in lab.lines()[before:] if line["event"] == "created"], [], "lines of sessions")
    for port in (min(ports), block["first_port"], block["last_port"]):
        (tenure,) = lab.who(f"{lab.own}:{port}")
        check_equal((tenure["internal"], tenure["port"]), (lab.vm1.address, "vm1"), f"who has {port}")
    other = lab.open_udp(lab.vm2, 7000, b"another VM")[UDP].sport
    check(not block["first_port"] <= other <= block["last_port"], "another VM's port is of another block")
    single = lab.open_udp(lab.vm3, 7000, b"singly")[UDP].sport
    wait_until(lambda: lab.lines(event="created", internal=f"{lab.vm3.address}:7000"), "a network without blocks is logged by session")
    check_equal(lab.who(f"{lab.own}:{single}")[0]["port"], "vm3", "who has that")
    lab.vmnatd.check_invariants()


@suite.test("... and after kill -9 a VM has its block again")
def blocks_restart(lab):
    (block,) = lab.lines(event="block_given", internal=lab.vm1.address)
    lab.vmnatd.kill()
    lab.vmnatd.start()
    wait_until(lambda: lab.lines(event="present", internal=lab.vm1.address), "it is present")
    (present,) = lab.lines(event="present", internal=lab.vm1.address)
    check_equal((present["first_port"], present["last_port"]), (block["first_port"], block["last_port"]), "the block")
    lab.settle()
    port = lab.open_udp(lab.vm1, 7100, b"again")[UDP].sport
    check(block["first_port"] <= port <= block["last_port"], f"{port} is not of {block}")
    lab.vmnatd.check_invariants()


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
