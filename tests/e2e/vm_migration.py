#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real VM is migrated from one QEMU to another on this host, and back, while it downloads and pings.

    QEMU 1 == vm1  ==+
                     +== vmnatd == Internet's host        vm1b: {migrates_from: vm1}
    QEMU 2 == vm1b ==+
    a neighbour (harness/vhost_user.py) == vm2

vm1b comes while vmnatd runs. What is the VM's (lease, addresses, sessions) is at the port where it runs, and nobody else gets it meanwhile.
"""

import json
import re
import socket

from harness import config
from harness.internet import HOST, blob_digest
from harness.tap import Suite, check, check_equal, comment, for_one_subtest
from harness.vhost_user import VhostUserGuest
from harness.vm import Vm
from harness.waiting import wait_until
from harness.wire import ARP
from vm_lab import GATEWAY, MAC, VmLab

NEIGHBOUR_MAC = "52:54:00:aa:00:02"
PORTS = ("vm1", "vm1b")
PINGS_A_SECOND = 10
RARP = 0x8035
# 10 MB, 100 KB at a time: some 15 seconds, so that most of it comes after the VM has moved.
SLOW_DOWNLOAD = (f"(wget -q -O - http://{HOST}/blob | while dd bs=100k count=1 iflag=fullblock 2>/dev/null >/tmp/part && "
                 "[ -s /tmp/part ]; do cat /tmp/part; sleep 0.1; done | sha256sum >/tmp/sum; echo >/tmp/done) "
                 ">/dev/null 2>&1 &")


class Monitor:
    """QEMU's, by QMP."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rw")
        self.lines.readline()  # the greeting
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.lines.write(json.dumps({"execute": command, "arguments": arguments}))
        self.lines.flush()
        for line in self.lines:  # events, then the answer
            answer = json.loads(line)
            if "event" not in answer:
                check("return" in answer, f"QEMU refuses {command}: {answer}")
                return answer["return"]

    def close(self):
        self.lines.close()
        self.socket.close()


class MigrationLab(VmLab):
    def __init__(self, scope, features=()):
        super().__init__(scope, features=features)
        self.at = "vm1"  # the port where the VM is
        self.start_vmnatd()
        self.vm = self.qemu("vm1")
        self.vm.wait_until_booted()
        self.address = self.vm.obtain_lease()["ip"]
        self.vmnatd.ctl("port", "add", "vm1b", "--network", "default", "--vhost-user", str(self.path("vm1b")),
                        "--migrates-from", "vm1")
        self.neighbour = scope.enter_context(VhostUserGuest(self.path("vm2"), NEIGHBOUR_MAC))

    def path(self, name, kind="sock"):
        return self.directory / f"{name}.{kind}"

    def configuration(self):
        ports = [config.vhost_user_port("vm1", self.path("vm1")), config.vhost_user_port("vm2", self.path("vm2"), "server")]
        default = config.network("default", f"{GATEWAY}/24", ports, dhcp=config.dhcp("192.168.122.2", "192.168.122.254"))
        return config.configuration(self.directory, "uplink0", [default])

    def qemu(self, name, *options):
        self.path(name, "qmp").unlink(missing_ok=True)
        return self.scope.enter_context(
            Vm(self.directory, name, self.path(name), MAC, features=self.features,
               options=["-qmp", f"unix:{self.path(name, 'qmp')},server=on,wait=off", *options]))

    def port(self, name):
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def migrate(self):
        """To the other port; the QEMU that the VM leaves ends."""
        source, self.at = self.at, next(name for name in PORTS if name != self.at)
        channel = self.path("migration")
        channel.unlink(missing_ok=True)
        there = self.qemu(self.at, "-incoming", f"unix:{channel}")
        there.open_shell()
        wait_until(channel.exists, "the other QEMU waits for the VM")
        monitor = Monitor(self.path(source, "qmp"))
        monitor.ask("migrate-set-parameters", **{"max-bandwidth": 1 << 30})
        monitor.ask("migrate", uri=f"unix:{channel}")

        def is_over():
            status = monitor.ask("query-migrate")
            check(status.get("status") not in ("failed", "cancelled"), f"QEMU does not migrate: {status}")
            return status if status.get("status") == "completed" else None

        status = wait_until(is_over, "the VM has been migrated", 120)
        comment(f"from {source} to {self.at} in {status['total-time']} ms, {status['downtime']} ms of them stopped")
        monitor.close()
        self.vm.kill()
        self.vm = there

    def check_is_at(self, name):
        wait_until(lambda: self.port(name)["link"] == "up", f"port {name} is up")
        here = self.port(name)
        check_equal([(own["mac"], own["address"]) for own in here["owns"]], [(MAC, self.address)], f"what {name} owns")
        check_equal(here.get("vm_of"), None if name == "vm1" else "vm1", f"whose VM is at {name}")
        other = self.port(next(port for port in PORTS if port != name))
        check_equal((other["link"], other["owns"]), ("down", []), f"link and property of {other['name']}")


suite = Suite(MigrationLab)


def announcements(guest):
    """What was said about where the VM is: its MAC by RARP or gratuitous ARP."""
    said = []
    while (frame := guest.receive()) is not None:
        if frame.src == MAC and (frame.type == RARP or ARP in frame and frame[ARP].psrc == frame[ARP].pdst):
            said.append(frame)
    return said


def moves(lab):
    """The VM moves while it downloads and pings."""
    source = lab.at
    lab.vm.run(f"rm -f /tmp/done /tmp/sum; ping -i 0.1 {HOST} >/tmp/pings 2>&1 & echo $! >/tmp/pinger").check()
    lab.vm.run(SLOW_DOWNLOAD).check()
    wait_until(lambda: lab.vmnatd.sessions("--protocol", "tcp", "--state", "established"), "the download is under way")
    announcements(lab.neighbour)
    lab.migrate()
    lab.check_is_at(lab.at)
    check(lab.vm.run("test -e /tmp/done").code != 0, "the download was over before the VM had moved")
    wait_until(lambda: all(s["port"] == lab.at for s in lab.vmnatd.sessions()), "the VM's sessions have followed it")
    wait_until(lambda: lab.vm.run("test -e /tmp/done").code == 0, "the download is over", 120)
    check_equal(lab.vm.run("cat /tmp/sum").check().output.split()[0], blob_digest(), "SHA-256 of what was downloaded")
    lab.vm.run("kill -INT $(cat /tmp/pinger); sleep 1").check()
    pings = lab.vm.run("cat /tmp/pings").check().output
    numbers = [int(number) for number in re.findall(r"seq=(\d+) ttl=", pings)]
    gap = max(later - earlier - 1 for earlier, later in zip(numbers, numbers[1:]))
    comment(f"{len(numbers)} of {numbers[-1] + 1} pings answered, {gap / PINGS_A_SECOND:.1f} s without at most")
    check("DUP" not in pings, "a ping was answered twice")
    check(announcements(lab.neighbour), f"no neighbour was told that the VM is at {lab.at}")
    check(source != lab.at, "it has not moved")


@suite.test("a VM that downloads moves to another port: byte for byte, with its lease and sessions")
def there(lab):
    moves(lab)


@suite.test("its lease is known at the new port, and it is given the same address again")
def renews(lab):
    check_equal(lab.vm.obtain_lease()["ip"], lab.address, "the address after asking again")
    lab.check_reaches_internet()
    lab.check_is_at(lab.at)


@suite.test("and moves back")
def back(lab):
    moves(lab)
    lab.check_reaches_internet()


def spoofed(lab, guest):
    """Frames in the VM's name are dropped."""
    before = lab.vmnatd.counters()["drop.spoofed_mac"]
    for _ in range(5):
        guest.send(guest.to() / ARP(op=1, hwsrc=MAC, psrc=lab.address, pdst=GATEWAY))
    wait_until(lambda: lab.vmnatd.counters()["drop.spoofed_mac"] == before + 5, "frames in the VM's name are dropped")


@suite.test("while the VM is there, whoever comes to its other port has nothing of it")
def other_port(lab):
    lab.path("vm1b").unlink()  # left behind by the QEMU that was there
    with VhostUserGuest(lab.path("vm1b"), MAC, listens=True) as impostor:
        wait_until(lambda: lab.port("vm1b")["link"] == "up", "somebody is at vm1b")
        spoofed(lab, impostor)
        check_equal(lab.port("vm1b")["owns"], [], "what vm1b owns")
        lab.check_reaches_internet()
    wait_until(lambda: lab.port("vm1b")["link"] == "down", "nobody is at vm1b")
    lab.path("vm1b").unlink()


@suite.test("while the VM is nowhere, a port that the configuration does not name gets nothing of it")
def stranger(lab):
    lab.vm.kill()
    wait_until(lambda: lab.port("vm1")["link"] == "down", "the VM is gone")
    lab.neighbour.mac = MAC
    spoofed(lab, lab.neighbour)
    check_equal([(own["mac"], own["address"]) for own in lab.port("vm1")["owns"]], [(MAC, lab.address)], "what vm1 owns")


@suite.test("after all of this every frame is accounted for, and none leaked")
def accounts(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


@suite.test("a VM with packed virtqueues moves, and back, as well")
def packed_rings(_):
    with for_one_subtest(lambda scope: MigrationLab(scope, features=("packed=on",))) as lab:
        moves(lab)
        moves(lab)
        lab.check_reaches_internet()


if __name__ == "__main__":
    suite.main()
