#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`flush` and `reload` on a daemon that is working: what they end, what they keep, what they refuse.

The kernel is the VM here: vm1's namespace has an address on the other end of the port's veth, and the far
host answers its pings.
"""

import contextlib
import copy
import itertools
import json
import re
import signal

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.internet import HOST, Internet
from harness.namespace import Namespace, veth
from harness.processes import Process
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until
from harness.wire import IP, UDP, Wire

from scapy.layers.dhcp import BOOTP, DHCP

GATEWAY = "192.168.122.1"
MACS = {1: "52:54:00:aa:00:01", 2: "52:54:00:aa:00:02"}
RESTART_KEYS = ["uplink.mac", "conntrack.sessions"]


class ReloadLab:
    """vm1 and vm2 (192.168.122.10 and .11) on network `default`."""

    def __init__(self, scope):
        self.transactions = itertools.count(1)
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, self.gateway_side))
        self.vms = {number: self.vm(scope, number) for number in MACS}
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.gateway_side))

    def vm(self, scope, number):
        vm = scope.enter_context(Namespace(f"vm{number}"))
        veth(self.gateway_side, f"port{number}", vm, "eth0")
        vm.run("ip", "link", "set", "eth0", "address", MACS[number])
        vm.set_address("eth0", f"192.168.122.{9 + number}/24")
        vm.add_route("default", GATEWAY)
        return vm

    def configuration(self):
        network = config.network("default", f"{GATEWAY}/24", nat={}, ports=[
            config.veth_port(f"vm{number}", f"port{number}") for number in MACS],
            dhcp=config.dhcp("192.168.122.100", "192.168.122.199"))
        return config.configuration(self.directory, "uplink0", [network])

    @contextlib.contextmanager
    def changed(self, change):
        """The daemon's file has a change in it inside the block, for who loads it; afterwards none, and is loaded."""
        wanted = copy.deepcopy(self.vmnatd.config)
        change(wanted)
        self.write(wanted)
        try:
            yield
        finally:
            self.write(self.vmnatd.config)
            self.reload()

    def write(self, text):
        self.vmnatd.config_path.write_text(text if isinstance(text, str) else json.dumps(text))

    def reload(self):
        return processes.run([program("vmnatctl"), "--socket", self.directory / "vmnat.sock", "--json", "reload"],
                             check=False)

    def ping(self, number, count=1):
        answer = processes.run(["ping", "-c", count, "-i", "0.01", "-W", "5", HOST], namespace=self.vms[number],
                               check=False)
        check_equal(answer.returncode, 0, f"ping from vm{number}\n{answer.stdout}{answer.stderr}\nexit code")

    def offered_lease_time(self):
        """The lease time that a station of its own behind vm1 is offered; it takes nothing."""
        with contextlib.closing(Wire(self.vms[1], "eth0", "52:54:00:aa:00:77")) as station:
            transaction = next(self.transactions)
            station.send(station.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                         BOOTP(chaddr=bytes.fromhex(station.mac.replace(":", "")), xid=transaction) /
                         DHCP(options=[("message-type", "discover"), "end"]))
            offer = station.expect(lambda frame: BOOTP in frame and frame[BOOTP].op == 2 and
                                   frame[BOOTP].xid == transaction, "an offer")
        return dict(option for option in offer[DHCP].options if isinstance(option, tuple))["lease_time"]

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(ReloadLab)


def sessions_of(lab, port):
    return lab.vmnatd.sessions("--port", port)


@suite.test("flush --port ends the sessions of that port and of no other, and their external ports are free")
def flush_port(lab):
    for _ in range(5):
        lab.ping(1)
    lab.ping(2)
    ended, kept = len(sessions_of(lab, "vm1")), len(sessions_of(lab, "vm2"))
    used = lab.vmnatd.counters()["ports.used"]
    check(ended >= 5 and kept >= 1, f"{ended} and {kept} sessions before")
    check_equal(lab.vmnatd.ctl("flush", "--port", "vm1"), {"flushed": ended}, "flush")
    check_equal(sessions_of(lab, "vm1"), [], "vm1's sessions")
    check_equal(len(sessions_of(lab, "vm2")), kept, "vm2's sessions")
    check_equal(lab.vmnatd.counters()["ports.used"], used - ended, "external ports in use")
    lab.ping(1)


@suite.test("flush says what it did in a sentence; without a filter it asks for --all")
def flush_text(lab):
    lab.ping(1)
    check(re.fullmatch(r"[1-9]\d* sessions ended\n", lab.vmnatd.ctl_text("flush", "--all")), "no number of sessions")
    check_equal(lab.vmnatd.ctl_text("flush", "--protocol", "tcp"), "0 sessions ended\n", "flush of nothing")
    check_equal(lab.vmnatd.sessions(), [], "sessions")


@suite.test("flushes at the same time are all answered, and end each session once")
def flush_at_once(lab):
    for _ in range(20):
        lab.ping(1)
    active = len(lab.vmnatd.sessions())
    check(active >= 20, f"{active} sessions")
    command = [program("vmnatctl"), "--socket", lab.directory / "vmnat.sock", "--json", "flush", "--all"]
    with contextlib.ExitStack() as scope:
        clients = [scope.enter_context(Process(command, log=lab.directory / f"flush{i}.log")) for i in range(4)]
        check_equal([client.wait() for client in clients], [0] * 4, "exit codes")
        check_equal(sum(json.loads(client.log())["flushed"] for client in clients), active, "sessions ended in all")
    check_equal(lab.vmnatd.sessions(), [], "sessions")


@suite.test("flush of a port, network or state that does not exist is refused by its name")
def flush_unknown(lab):
    for option, name in (("--port", "vm9"), ("--network", "nowhere"), ("--state", "sleeping")):
        answer = processes.run([program("vmnatctl"), "--socket", lab.directory / "vmnat.sock", "flush", option, name],
                               check=False)
        check(answer.returncode != 0 and name in answer.stderr, f"{option} {name}: {answer.stdout}{answer.stderr}")


@suite.test("reload of an unchanged file changes nothing")
def reload_nothing(lab):
    check_equal(lab.vmnatd.ctl("reload"), {"changed": []}, "reload")
    check_equal(lab.vmnatd.ctl_text("reload"), "nothing has changed\n", "as text")


@suite.test("a new lease time holds for the next DHCP offer, and `config` shows it")
def reload_lease_time(lab):
    check_equal(lab.offered_lease_time(), 3600, "lease time before")

    def ten_minutes(wanted):
        wanted["networks"][0]["dhcp"]["lease_time"] = "10m"
    with lab.changed(ten_minutes):
        check_equal(lab.vmnatd.ctl("reload"), {"changed": ["network default: dhcp.lease_time is now 10m"]}, "reload")
        check_equal(lab.offered_lease_time(), 600, "lease time after")
        check("lease_time: 10m" in lab.vmnatd.ctl("config")["yaml"], "`config` shows another lease time")
    check_equal(lab.offered_lease_time(), 3600, "lease time back again")


@suite.test("a session limit holds from the reload on, and existing sessions go on")
def reload_limit(lab):
    lab.vmnatd.ctl("flush", "--all")
    with Process(["ping", "-i", "0.05", HOST], log=lab.directory / "ping.log", namespace=lab.vms[1]) as ping:
        wait_until(lambda: ping.log().count("bytes from") > 3, "pings are answered")

        def one_session(wanted):
            wanted["networks"][0]["nat"] = {"limits": {"sessions_per_port": 1}}
        with lab.changed(one_session):
            check_equal(lab.vmnatd.ctl("reload"),
                        {"changed": ["network default: nat.limits.sessions_per_port is now 1"]}, "reload")
            before = ping.log().count("bytes from")
            refused = lab.vmnatd.counters()["drop.session_limit"]
            answer = processes.run(["ping", "-c", 1, "-W", "1", HOST], namespace=lab.vms[1], check=False)
            check(answer.returncode != 0, "a second session was opened")
            check(lab.vmnatd.counters()["drop.session_limit"] > refused, "no drop.session_limit")
            wait_until(lambda: ping.log().count("bytes from") > before + 3, "the first session goes on")


@suite.test("SIGHUP and reload under traffic lose no frame and no session")
def reload_under_traffic(lab):
    with Process(["ping", "-c", "400", "-i", "0.005", HOST], log=lab.directory / "load.log",
                 namespace=lab.vms[2]) as ping:
        wait_until(lambda: ping.log().count("bytes from") > 10, "pings are answered")
        before = sessions_of(lab, "vm2")
        for minutes in (6, 7, 8, 9):
            def timeout(wanted, minutes=minutes):
                wanted["networks"][0]["nat"] = {"timeouts": {"udp": f"{minutes}m"}}
            with lab.changed(timeout):
                lab.vmnatd.process.send(signal.SIGHUP)
                said = f"nat.timeouts.udp is now {minutes}m"
                wait_until(lambda: said in lab.vmnatd.process.log(), f"vmnatd says: {said}")
        wait_until(lambda: "packets transmitted" in ping.log(), "ping ends")
        check("400 packets transmitted, 400 received" in ping.log(), ping.log()[-200:])
        internal = {session["internal"] for session in sessions_of(lab, "vm2")}
        check({session["internal"] for session in before} <= internal, f"{before} were not kept: {internal}")


@suite.test("a bad file is refused with FILE:LINE:COL of every problem, and nothing changes")
def reload_bad(lab):
    before = lab.vmnatd.ctl("config")
    lab.write("uplink: {device: uplink0}\nnetworks: 5\n")
    try:
        answer = lab.reload()
        check(answer.returncode != 0, "exit code 0")
        told = re.findall(r"vmnat\.yaml:(\d+):\d+: ", answer.stderr)
        check({"1", "2"} <= set(told), answer.stderr)
        lab.vmnatd.process.send(signal.SIGHUP)
        wait_until(lambda: lab.vmnatd.process.log().count("reload refused") >= 2, "vmnatd logs the refusal")
        check(lab.vmnatd.process.running(), "vmnatd has ended")
    finally:
        lab.write(lab.vmnatd.config)
    check_equal(lab.vmnatd.ctl("config"), before, "configuration in effect")
    lab.ping(1)


@suite.test("changes that need a restart are refused by their keys, with live ones in the same file left undone")
def reload_restart(lab):
    def much(wanted):
        wanted["uplink"]["mac"] = "52:54:00:00:00:77"
        wanted["conntrack"]["sessions"] = 131072
        wanted["networks"][0]["ports"].pop()
        wanted["networks"][0]["dhcp"]["lease_time"] = "20m"
    with lab.changed(much):
        answer = lab.reload()
        check(answer.returncode != 0, "exit code 0")
        check(f"needs a restart: {', '.join(RESTART_KEYS)}; nothing was changed" in answer.stderr, answer.stderr)
        check_equal(lab.offered_lease_time(), 3600, "lease time")
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
