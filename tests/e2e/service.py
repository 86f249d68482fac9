#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd as debian/vmnat.service runs it: no root, with the unit's capabilities and no others, behind its filter of
system calls; what it tells the service manager; and who may do what at its admin socket.

    default   192.168.122.1/24   vm1: the socket is its VMM's, vm2: the socket is vmnatd's; both by harness/vhost_user.py
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth

setpriv(1) and harness/unit_sandbox.py stand in for systemd, and this test for its notification socket. The unit's view of
the file system is not here.
"""

import contextlib
import grp
import json
import os
import pathlib
import pwd
import queue
import re
import shutil
import socket
import tempfile
import threading
import time

from scapy.layers.dns import DNS, DNSQR

from harness import config, processes, unit_sandbox
from harness.daemon import ROOT, Vmnatd, program
from harness.namespace import Namespace, veth
from harness.processes import system_call
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import VhostUserGuest
from harness.waiting import PATIENCE, Overdue, wait_until
from harness.wire import ARP, IP, UDP, Raw, Router

SANDBOX = pathlib.Path(unit_sandbox.__file__)
UNIT = ROOT / "debian/vmnat.service"
GATEWAY, REMOTE = "192.168.122.1", "198.51.100.2"
MACS = {"vm1": "52:54:00:aa:00:01", "vm2": "52:54:00:aa:00:02"}
ADDRESSES = {"vm1": "192.168.122.10", "vm2": "192.168.122.11"}
PRINTER = "192.168.122.200"  # a name of the file's
# Nobody's numbers; and users and a group that every Debian has, for the configuration knows them by name.
DAEMON = 64123
LOOKER, ADMIN, STRANGER, GROUP = "news", "games", "man", "operator"
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


def unit_capabilities():
    ambient, bounding = (re.search(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE).group(1).split()
                         for key in ("AmbientCapabilities", "CapabilityBoundingSet"))
    check_equal(ambient, bounding, "the unit's ambient capabilities, and those that it may have")
    return [name.removeprefix("CAP_").lower() for name in ambient]


def group_id(name):
    return grp.getgrnam(name).gr_gid


def as_user(user, group, groups=(), capabilities=()):
    """setpriv's command line for a user without any right but these."""
    sets = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--no-new-privs", "--pdeathsig=KILL",
            f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups",
            f"--inh-caps={sets}", f"--ambient-caps={sets}", f"--bounding-set={sets}"]


class ServiceManager:
    """The other end of sd_notify, which reads whatever comes, as systemd does."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        os.chmod(path, 0o666)
        self.environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "20000000"}
        self.words = queue.SimpleQueue()
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        while True:
            for word in self.socket.recv(4096).decode().splitlines():
                self.words.put(word)

    def told_within(self, seconds, word):
        """Whether vmnatd says it from now on."""
        self.forget()
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                if self.words.get(timeout=left) == word:
                    return True
        return False

    def forget(self):
        with contextlib.suppress(queue.Empty):
            while True:
                self.words.get_nowait()


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        os.chown(self.directory, DAEMON, DAEMON)
        # As /run/vmnat: others go through. What VMMs make in it is the group's, who may write to it, as libvirt's are.
        self.directory.chmod(0o2771)
        os.umask(0o002)
        self.programs = pathlib.Path(tempfile.mkdtemp(prefix="vmnat-", dir="/tmp"))  # where everybody may run them
        scope.callback(shutil.rmtree, self.programs)
        self.programs.chmod(0o755)
        for path in (program("vmnatd"), program("vmnatctl"), UNIT, SANDBOX):
            shutil.copy(path, self.programs)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        self.gateway = gateway
        veth(gateway, "uplink0", wires, "isp0")
        gateway.run("ip", "link", "set", "uplink0", "down")  # to bring it up is one of the daemon's rights
        self.router = Router(wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        self.manager = ServiceManager(self.directory / "notify")
        os.environ.update(self.manager.environment)
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=gateway,
                                                 wrapper=self.wrapper()))
        self.guests = {name: scope.enter_context(VhostUserGuest(self.path(name), mac, listens=name == "vm1"))
                       for name, mac in MACS.items()}
        self.wait_for_links()

    def configuration(self):
        ports = [config.vhost_user_port("vm1", self.path("vm1"), "client"),
                 config.vhost_user_port("vm2", self.path("vm2"), "server")]
        network = config.network("default", f"{GATEWAY}/24", ports, host={"interface": "vmnat0"},
                                 dns={"hosts": {"printer": PRINTER}}, dhcp={})
        sections = config.configuration(self.directory, "uplink0", [network])
        sections["control"].update({"group": GROUP, "admins": [ADMIN], "metrics": "127.0.0.1:9469"})
        return sections

    def wrapper(self):
        """What becomes the copy of the daemon, in place of the one that is named in the command line that follows."""
        return [*as_user(DAEMON, DAEMON, [group_id(GROUP)], unit_capabilities()),
                "/usr/bin/python3", self.programs / SANDBOX.name, self.programs / UNIT.name,
                "/bin/sh", "-c", f'exec {self.programs}/vmnatd "$@"']

    def path(self, name):
        return self.directory / f"{name}.sock"

    def wait_for_links(self):
        def are_up():
            return all(port["link"] == "up" for port in self.vmnatd.ctl("ports"))
        wait_until(are_up, "the links of both VMs and the uplink are up")

    def vmnatctl(self, user, *command, groups=()):
        entry = pwd.getpwnam(user)
        return processes.run([*as_user(entry.pw_uid, entry.pw_gid, groups), self.programs / "vmnatctl",
                              "--socket", self.directory / "vmnat.sock", *command], check=False)

    def curl(self, user, target, *options, groups=()):
        """The code of the answer over the admin socket."""
        entry = pwd.getpwnam(user)
        return processes.run([*as_user(entry.pw_uid, entry.pw_gid, groups), "curl", "--silent", "--output", "/dev/null",
                              "--write-out", "%{http_code}", "--unix-socket", self.directory / "vmnat.sock", *options,
                              f"http://localhost{target}"], check=False).stdout

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


NUMBERS = {"net_bind_service": 10, "net_admin": 12, "net_raw": 13}  # <linux/capability.h>


def check_rights(number, capabilities, bounding):
    status = pathlib.Path(f"/proc/{number}/status").read_text()

    def told(key):
        return re.search(rf"^{key}:\s+(.*)$", status, re.MULTILINE).group(1)

    def mask(names):
        return sum(1 << NUMBERS[name] for name in names)
    check_equal(told("Uid").split(), [str(DAEMON)] * 4, "user ids")
    check_equal(told("Seccomp"), "2", "the mode of seccomp (2: a filter)")
    check_equal(told("NoNewPrivs"), "1", "no new privileges")
    for key in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        check_equal(int(told(key), 16), mask(capabilities), key)
    check_equal(int(told("CapBnd"), 16), mask(bounding), "CapBnd")


@suite.test("the daemon is no root, and has the unit's capabilities and no others")
def has_no_others(lab):
    check_rights(lab.vmnatd.process.pid, unit_capabilities(), unit_capabilities())


def children(number):
    return [int(child) for task in pathlib.Path(f"/proc/{number}/task").iterdir()
            for child in (task / "children").read_text().split()]


@suite.test("dnsmasq has the right to port 53 alone, and answers a VM")
def serves_names(lab):
    server, = children(lab.vmnatd.process.pid)
    check_equal(pathlib.Path(f"/proc/{server}/comm").read_text().strip(), "dnsmasq", "the daemon's child")
    check_rights(server, ["net_bind_service"], unit_capabilities())
    guest = lab.guests["vm1"]
    gateway = find_gateway(guest, ADDRESSES["vm1"])
    question = guest.to(gateway) / IP(src=ADDRESSES["vm1"], dst=GATEWAY) / UDP(sport=4053, dport=53) / \
        DNS(rd=1, qd=DNSQR(qname="printer"))

    def answer():
        guest.send(question)
        with contextlib.suppress(Overdue):
            frame = guest.expect(lambda f: DNS in f or ARP in f and f[ARP].pdst == ADDRESSES["vm1"], "the answer", seconds=1)
            if DNS in frame:
                return frame
            guest.send(guest.to(frame.src) / ARP(op=2, hwsrc=guest.mac, psrc=ADDRESSES["vm1"], hwdst=frame.src, pdst=GATEWAY))
        return None
    wait_until(lambda: (told := answer()) and told[DNS].ancount == 1 and told[DNS].an.rdata == PRINTER,
               "the gateway knows the printer")


def find_gateway(guest, address):
    guest.send(guest.to() / ARP(op=1, hwsrc=guest.mac, psrc=address, pdst=GATEWAY))
    return guest.expect(lambda f: ARP in f and f[ARP].op == 2, "the ARP answer").src


def talk_to_remote(lab, name, port):
    """A datagram out, translated, and one back."""
    guest = lab.guests[name]
    gateway = find_gateway(guest, ADDRESSES[name])
    guest.send(guest.to(gateway) / IP(src=ADDRESSES[name], dst=REMOTE) / UDP(sport=4000, dport=port) / Raw(b"question"))
    seen = lab.router.expect(lambda f: UDP in f and f[UDP].dport == port, "the datagram")
    check_equal(seen[IP].src, config.UPLINK_ADDRESS, "its source")
    lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=seen[IP].src) /
                    UDP(sport=port, dport=seen[UDP].sport) / Raw(b"answer"))
    reply = guest.expect(lambda f: UDP in f and f[UDP].sport == port, "the reply")
    check_equal((reply[IP].dst, reply[UDP].dport), (ADDRESSES[name], 4000), "the reply's destination")


for each_name, whose in (("vm1", "its VMM's"), ("vm2", "the daemon's")):
    suite.test(f"a VM whose socket is {whose} talks through an uplink that the daemon has brought up")(
        lambda lab, name=each_name: talk_to_remote(lab, name, 5000 + int(name[-1])))


@suite.test("a session goes on after a restart; the image is the daemon's own")
def restarts(lab):
    talk_to_remote(lab, "vm1", 6000)
    lab.vmnatd.stop()
    lab.vmnatd.start()
    for guest in lab.guests.values():
        guest.connect_again()
    lab.wait_for_links()
    check([s for s in lab.vmnatd.sessions("--remote", f"{REMOTE}:6000")], "the session is gone")
    check_equal((lab.directory / "vmnat.sock.sessions").stat().st_uid, DAEMON, "the image's owner")


@suite.test("the admin socket is in its group; root may change")
def socket_group(lab):
    status = (lab.directory / "vmnat.sock").stat()
    check_equal(status.st_gid, group_id(GROUP), "its group")
    check_equal(lab.vmnatd.ctl("reload")["changed"], [], "a reload by root")


@suite.test("a member of control.group may look, and is told that it may change nothing")
def member(lab):
    groups = [group_id(GROUP)]
    for command in (["status"], ["ports"], ["sessions"], ["counters"], ["config"]):
        answer = lab.vmnatctl(LOOKER, *command, groups=groups)
        check_equal(answer.returncode, 0, f"{command}: {answer.stderr}exit code")
    for command in (["reload"], ["flush", "--all"], ["port", "del", "vm1"], ["invariants"]):
        answer = lab.vmnatctl(LOOKER, *command, groups=groups)
        check_equal(answer.returncode, 1, f"{command}: {answer.stdout}exit code")
        check(f"is for root and control.admins; user {pwd.getpwnam(LOOKER).pw_uid} may look" in answer.stderr,
              f"{command}: {answer.stderr}")
    check_equal([port["name"] for port in lab.vmnatd.ctl("ports")], ["uplink", "vm1", "vm2", "vmnat0"], "ports")


@suite.test("one of control.admins may change, in no group")
def admin(lab):
    answer = lab.vmnatctl(ADMIN, "reload")
    check_equal(answer.returncode, 0, f"{answer.stderr}exit code")


@suite.test("others are told who the socket is for")
def stranger(lab):
    answer = lab.vmnatctl(STRANGER, "status")
    check_equal(answer.returncode, 1, f"{answer.stdout}exit code")
    check("for root, control.admins and the members of control.group" in answer.stderr, answer.stderr)


@suite.test("HTTP answers inside the sandbox; over the admin socket everybody may do there what they may do otherwise")
def http(lab):
    text = processes.run(["curl", "--silent", "http://127.0.0.1:9469/metrics"], namespace=lab.gateway).stdout
    check("vmnat_build_info{" in text, text[:300])
    looks, flush = ("/api/status",), ("/api/flush", "--data", '{"port": "vm1"}')
    check_equal([lab.curl(LOOKER, *asked, groups=[group_id(GROUP)]) for asked in (looks, flush)], ["200", "403"], "whoever may look")
    check_equal([lab.curl(ADMIN, *asked) for asked in (looks, flush)], ["200", "200"], "an admin")
    check("200" not in lab.curl(STRANGER, *looks), "a stranger is answered")


@suite.test("a user or group that the machine does not have is told, with exit code 2")
def unknown_names(lab):
    for keys, says in (({"group": "no-such-group"}, "control.group: this machine has no group 'no-such-group'"),
                       ({"admins": ["no-such-user"]}, "control.admins: this machine has no user 'no-such-user'")):
        directory = lab.directory / "other"
        directory.mkdir(exist_ok=True)
        sections = config.configuration(directory, "uplink0", lab.configuration()["networks"])
        sections["control"].update(keys)
        path = directory / "vmnat.yaml"
        path.write_text(json.dumps(sections))
        answer = processes.run([program("vmnatd"), "--config", path], namespace=lab.gateway, check=False)
        check_equal(answer.returncode, 2, f"{answer.stderr}exit code")
        check(says in answer.stderr, answer.stderr)


@contextlib.contextmanager
def stopped(thread):
    """One thread of the daemon stands still in the block, the others go on."""
    system_call("ptrace", PTRACE_SEIZE, thread, None, None)
    system_call("ptrace", PTRACE_INTERRUPT, thread, None, None)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        system_call("ptrace", PTRACE_DETACH, thread, None, None)


def threads(lab):
    tasks = pathlib.Path(f"/proc/{lab.vmnatd.process.pid}/task")
    return {int(task.name): (task / "comm").read_text().strip() for task in tasks.iterdir()}


def check_watchdog(lab, thread):
    check(lab.manager.told_within(5 * PATIENCE, "WATCHDOG=1"), "the watchdog is not fed while all go on")
    with stopped(thread):
        time.sleep(3)  # as long as a worker may be silent, and a second
        check(not lab.manager.told_within(3, "WATCHDOG=1"), "the watchdog is fed while a thread stands still")
    check(lab.manager.told_within(10 * PATIENCE, "WATCHDOG=1"), "the watchdog is not fed again")


@suite.test("the watchdog is fed, but not while a worker stands still, which is logged")
def watchdog_worker(lab):
    check_watchdog(lab, next(thread for thread, name in threads(lab).items() if "worker" in name))
    log = lab.vmnatd.process.log()
    check("worker 0 stands still: it has finished no poll for" in log and "worker 0 goes on" in log, "no word in the log")


@suite.test("nor while control stands still")
def watchdog_control(lab):
    check_watchdog(lab, lab.vmnatd.process.pid)


if __name__ == "__main__":
    suite.main()
