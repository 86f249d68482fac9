#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd is killed and stopped under load, again and again, and no session or count is lost: TCP both ways between a VM and the
outside, through a forward too, datagrams, and a connection that rests. The wires are those that kernel_lab.py draws.
"""

import contextlib
import os
import pathlib
import threading
import time

from harness import processes
from harness.daemon import program, runtime_directory
from harness.hugepages import hugepages
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from kernel_lab import EXTERNAL, MB, SECONDS, KernelLab, Stream, end_with_accounts, lab_with

KILLS = 20 if os.environ.get("VMNAT_LONG") else 5
HUGE_PAGES = 256  # of 2 MiB: buffers, and an image beside the one before it
suite = Suite(KernelLab)


class Questions:
    """A datagram is sent until it is answered, then the next one: of a flow that nobody else keeps alive."""

    def __init__(self, asks, answers):
        self.asks, self.answers = asks, answers
        self.answered, self.ending = 0, threading.Event()
        asks.settimeout(0.2)
        answers.settimeout(0.2)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self.ask, self.answer)]
        for thread in self.threads:
            thread.start()

    def ask(self):
        while not self.ending.is_set():
            question = self.answered.to_bytes(8, "big")
            with contextlib.suppress(OSError):  # a timeout, or ICMP
                self.asks.send(question)
                while self.asks.recv(100) != question:
                    pass
                self.answered += 1

    def answer(self):
        while not self.ending.is_set():
            with contextlib.suppress(OSError):
                self.answers.send(self.answers.recv(100))

    def goes_on(self):
        wanted = self.answered + 20
        wait_until(lambda: self.answered > wanted, f"a UDP flow goes on after {self.answered} answers", 60)

    def finish(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(SECONDS)


@contextlib.contextmanager
def load(lab):
    """In the block all of it is on its way; after it, it has come through, byte for byte, by the sessions that it had."""
    there, here = lab.connect(lab.vm1, lab.outside)
    outside, inside = lab.connect(lab.outside, lab.vm1, (EXTERNAL, 8080), 80)
    resting = lab.connect(lab.vm2, lab.outside)
    flows = [Stream(there, here), Stream(here, there), Stream(outside, inside), Questions(*lab.udp_flow(lab.vm1, lab.outside))]
    for flow in flows:
        flow.goes_on()
    yield flows
    for flow in flows:
        flow.goes_on()
        flow.finish()
    for sender, receiver in (resting, resting[::-1]):
        sender.sendall(b"still there?")
        check_equal(receiver.recv(100), b"still there?", "what comes by the connection that has rested")


@suite.test(f"killed with SIGKILL under load, {KILLS} times: every byte arrives, by the same sessions")
def killed(lab):
    with load(lab) as flows:
        for _ in range(KILLS):
            before, totals = lab.vmnatd.facts(), lab.vmnatd.totals()
            lab.vmnatd.kill()
            lab.vmnatd.start()
            lab.vmnatd.check_restored(before)
            lab.vmnatd.check_totals_go_on(totals)
            check("after a kill of the process before" in lab.vmnatd.process.log(), "the log does not tell of the kill")
            for flow in flows:
                flow.goes_on()
    lab.vmnatd.check_accounting()


@suite.test("stopped by SIGTERM and started again under load: every byte arrives, by the same sessions")
def stopped(lab):
    with load(lab) as flows:
        before, totals = lab.vmnatd.facts(), lab.vmnatd.totals()
        lab.vmnatd.stop()
        lab.vmnatd.start()
        lab.vmnatd.check_restored(before)
        lab.vmnatd.check_totals_go_on(totals)
        check("after a stop of the process before" in lab.vmnatd.process.log(), "the log does not tell of the stop")
        for flow in flows:
            flow.goes_on()
    lab.vmnatd.check_accounting()


@suite.test("killed while it starts: the sessions of the process before are not lost")
def killed_at_start(lab):
    with load(lab):
        before, totals = lab.vmnatd.facts(), lab.vmnatd.totals()
        lab.vmnatd.kill()
        for _ in range(KILLS):
            with contextlib.suppress(Exception):
                lab.vmnatd.start(ready_seconds=0.1)
            lab.vmnatd.kill()
        lab.vmnatd.start()
        lab.vmnatd.check_restored(before)
        lab.vmnatd.check_totals_go_on(totals)


@suite.test("counters of a port that has left are told of no other, and all others go on")
def counters_of_ports(lab):
    Stream(*lab.connect(lab.vm1, lab.outside), MB).finish()
    Stream(*lab.connect(lab.vm2, lab.outside), MB).finish()
    ports = lab.vmnatd.config["networks"][0]["ports"]
    before = lab.vmnatd.totals()
    lab.vmnatd.stop()
    left = ports.pop(0)
    lab.vmnatd.write_config()
    lab.vmnatd.start()
    lab.vmnatd.check_totals_go_on({name: count for name, count in before.items() if not name.startswith(left["name"])})
    check(lab.port("vm2")["rx_bytes"] < before["vm2 rx_bytes"] + MB, "vm2 has counted what vm1 had sent")
    ports.insert(0, left)
    lab.vmnatd.write_config()
    lab.vmnatd.ctl("reload")
    check(lab.port("vm1")["rx_bytes"] < MB, "a port that has come has counted already")
    Stream(*lab.connect(lab.vm1, lab.outside), MB).finish()
    check(lab.port("vm1")["rx_bytes"] > MB, "a port that has come does not count")
    lab.vmnatd.check_accounting()


@suite.test("at rest a stop loses no frame from the accounts, and a kill none that had ended a second before")
def accounts_at_rest(lab):
    for end, seconds in ((lab.vmnatd.stop, 0), (lab.vmnatd.kill, 1.5)):
        lab.vmnatd.check_accounting()
        before = lab.vmnatd.counters()
        time.sleep(seconds)  # the totals are kept once a second
        end()
        lab.vmnatd.start()
        lab.vmnatd.check_accounting()
        after = lab.vmnatd.counters()
        check_equal(after["drop.restart"], before["drop.restart"], "frames that the process is said to have held")
        check(after["received"] >= before["received"] > 0, f"received: {before['received']}, then {after['received']}")


def damage_totals(image):
    """Both copies, which are the last 2 MiB."""
    with open(image, "r+b") as file:
        for copy in (1, 2):
            file.seek(-copy * MB + 30, os.SEEK_END)
            file.write(b"?")


@suite.test("damaged counters are left out in one line, and all sessions go on")
def damaged_counters(lab):
    lab.connect(lab.vm1, lab.outside)
    before, received = lab.vmnatd.facts(), lab.vmnatd.counters()["received"]
    image = image_of(lab)
    lab.vmnatd.stop()
    damage_totals(image)
    lab.vmnatd.start()
    lab.vmnatd.check_restored(before)
    lines = [line for line in lab.vmnatd.process.log().splitlines() if "counters start at 0" in line]
    check_equal(len(lines), 1, "lines that say so")
    check("what was kept of them is damaged" in lines[0], lines[0])
    check(lab.vmnatd.counters()["received"] < received, "frames are counted that are not known of")
    lab.vmnatd.check_totals_go_on({"sessions.created": len(before)})
    lab.vmnatd.check_accounting()


@suite.test("what a session has counted, and how long it has been idle, goes on")
def counts(lab):
    there, here = lab.connect(lab.vm1, lab.outside)
    there.sendall(b"a few bytes")
    check_equal(here.recv(100), b"a few bytes", "what was sent")
    port = here.getpeername()[1]

    def session():
        return next(s for s in lab.vmnatd.sessions("--protocol", "tcp") if s["external"] == f"{EXTERNAL}:{port}")
    wait_until(lambda: session()["idle_s"] >= 3, "the connection rests")
    before = session()
    lab.vmnatd.kill()
    lab.vmnatd.start()
    after = session()
    for key in ("packets_out", "packets_in", "bytes_out", "bytes_in"):
        check_equal(after[key], before[key], key)
    check(before["idle_s"] <= after["idle_s"] <= before["idle_s"] + 30, f"idle for {before['idle_s']} s, then {after['idle_s']} s")


@suite.test("a mapping keeps its external port: what a VM opens after the restart leaves by it")
def mapping(lab):
    asks, answers = lab.udp_flow(lab.vm1, lab.outside)
    internal, external = asks.getsockname()[1], answers.getpeername()
    lab.vmnatd.kill()
    lab.vmnatd.start()
    other = lab.outside.udp(next(lab.ports))
    asks.close()
    again = lab.vm1.udp(internal)
    again.sendto(b"to another remote", (lab.outside.address, other.getsockname()[1]))
    check_equal(other.recvfrom(100), (b"to another remote", external), "the datagram and where it came from")


@suite.test("with huge pages the records are on hugetlbfs, and survive a kill and a stop there")
def on_huge_pages(_):
    with hugepages(HUGE_PAGES) as directory, lab_with(dataplane={"hugepages": "required"}) as lab:
        check_equal(image_of(lab).parent, directory, "where the image is")
        with load(lab) as flows:
            for end in (lab.vmnatd.kill, lab.vmnatd.stop):
                before = lab.vmnatd.facts()
                end()
                lab.vmnatd.start()
                lab.vmnatd.check_restored(before)
                check_equal(image_of(lab).parent, directory, "where the image is")
                for flow in flows:
                    flow.goes_on()


@suite.test("a second daemon with the same control socket does not start, and takes nothing from the first")
def second(lab):
    before = lab.vmnatd.facts()
    log = lab.directory / "second.log"
    with processes.Process([program("vmnatd"), "--config", lab.vmnatd.config_path], log, lab.gateway,
                           runtime_directory(lab.directory / "second")) as other:
        check_equal(other.wait(), 2, "the exit code of the second daemon")
        check("another vmnatd with the same control.socket" in other.log(), other.log_tail())
    check_equal(lab.vmnatd.facts(), before, "the sessions of the first")
    lab.check_works()


def image_of(lab) -> pathlib.Path:
    return pathlib.Path(lab.vmnatd.ctl("status")["sessions"]["image"])


@suite.test("an image of another layout is refused in one line, and the start is a fresh one")
def other_layout(lab):
    lab.connect(lab.vm1, lab.outside)
    image, received = image_of(lab), lab.vmnatd.counters()["received"]
    lab.vmnatd.stop()
    with open(image, "r+b") as file:
        file.seek(8)  # after the magic
        file.write((999).to_bytes(4, "little"))
    lab.vmnatd.start()
    lines = [line for line in lab.vmnatd.process.log().splitlines() if "no session of the process before goes on" in line]
    check_equal(len(lines), 1, "lines that say so")
    check("another layout" in lines[0] and "counters start at 0" in lines[0], lines[0])
    check(lab.vmnatd.counters()["received"] < received, "frames of the process before are counted")
    check_equal(lab.vmnatd.ctl("status")["sessions"]["former"], None, "sessions that were restored")
    lab.check_works()


@suite.test("with conntrack.survive_restart: false sessions end with the process, and nothing of them is left")
def not_wanted(lab):
    image = image_of(lab)
    with lab_with(conntrack={"survive_restart": False}) as other:
        other.connect(other.vm1, other.outside)
        check_equal(other.vmnatd.ctl("status")["sessions"]["image"], None, "the image")
        other.vmnatd.kill()
        other.vmnatd.start()
        check_equal(other.vmnatd.sessions("--count"), {"count": 0}, "sessions after the restart")
    lab.vmnatd.stop()
    check(image.exists(), f"{image} is gone with the process")
    lab.vmnatd.config["conntrack"]["survive_restart"] = False
    lab.vmnatd.write_config()
    lab.vmnatd.start()
    check(not image.exists(), f"{image} is still there")
    del lab.vmnatd.config["conntrack"]["survive_restart"]
    lab.vmnatd.write_config()
    lab.vmnatd.stop()
    lab.vmnatd.start()


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
