#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Whatever is done to vmnatd, a real VM is not stopped: while ports come and go, reloads change things, and vmnatd is
killed and upgraded, a download and a connection that rests go on. Each is opened once, before all of it.

The download is hashed at both ends. On the connection that rests a line is typed now and then, as by SSH, and comes back
from an echo server. The sessions of the two are all that there are, and stay as they are.

In the long form (VMNAT_LONG) all of it is done some ten times as often, and the upgrade is from a build of the commit before.
"""

import contextlib
import copy
import os
import pathlib

from harness import config
from harness.former_build import former_build
from harness.internet import ECHO_PORT, HOST, HTTP_PORT
from harness.tap import Suite, check, check_equal, comment, for_one_subtest
from harness.waiting import wait_until
from vm_lab import VmLab

IS_LONG = bool(os.environ.get("VMNAT_LONG"))
PORTS, RELOADS, KILLS = (100, 100, 20) if IS_LONG else (10, 10, 3)
MB = 1 << 20


class Download:
    """Of unknown length, until it is ended."""

    def __init__(self, lab):
        self.lab = lab
        lab.vm.run(f"(wget -q -O - http://{HOST}/endless | sha256sum >/tmp/digest) >/tmp/wget.log 2>&1 &").check()

    def received(self):
        return int(self.lab.vm.run("cat /sys/class/net/eth0/statistics/rx_bytes").check().output)

    def goes_on(self, bytes_more=MB):
        wanted = self.received() + bytes_more
        wait_until(lambda: self.received() > wanted, "the download goes on", 60)

    def finish(self):
        """What the VM has received is what was sent."""
        self.lab.vm.run(f"wget -q -O - http://{HOST}/enough").check()
        sent = wait_until(lambda: self.lab.internet.told("endless"), "all of the download is sent", 60)
        _, size, digest = sent[0].split()
        wait_until(lambda: self.lab.vm.run("test -s /tmp/digest").code == 0, "all of the download has arrived", 60)
        check_equal(self.lab.vm.run("cat /tmp/digest").check().output.split()[0], digest, f"SHA-256 of {size} bytes")
        comment(f"{int(size) // MB} MB were downloaded")


class RestingConnection:
    def __init__(self, lab):
        self.lab, self.lines = lab, []
        lab.vm.run(f"touch /tmp/typed; (tail -f /tmp/typed | nc {HOST} {ECHO_PORT} >/tmp/echoed) >/tmp/nc.log 2>&1 &").check()

    def type_a_line(self):
        """It, and all lines before it, have come back, each once."""
        self.lines.append(f"line {len(self.lines)}")
        self.lab.vm.run(f"echo {self.lines[-1]} >>/tmp/typed").check()
        wait_until(lambda: self.echoed()[-1:] == self.lines[-1:], f"{self.lines[-1]} comes back", 60)
        check_equal(self.echoed(), self.lines, "the lines that have come back")

    def echoed(self):
        return self.lab.vm.run("cat /tmp/echoed").check().output.splitlines()


class BusyVm(VmLab):
    """With a VM that has a lease, its download and its connection under way."""

    def __init__(self, scope, build=None, features=()):
        super().__init__(scope, build=build, features=features)
        self.start_vmnatd()
        self.first = copy.deepcopy(self.vmnatd.config)
        self.start_vm().obtain_lease()
        self.download, self.connection = Download(self), RestingConnection(self)
        self.check_both_go_on()
        self.sessions = self.vmnatd.facts()
        remotes = [f"{HOST}:{port}" for port in (ECHO_PORT, HTTP_PORT)]
        check_equal(sorted(session[5] for session in self.sessions), sorted(remotes), "the remotes of all sessions")

    def check_both_go_on(self):
        self.download.goes_on()
        self.connection.type_a_line()

    def check_nothing_ended(self):
        check_equal(self.vmnatd.facts(), self.sessions, "the sessions")
        self.vmnatd.check_invariants()

    def vm_is_connected(self):
        return self.vmnatd.ctl("ports")[1]["link"] == "up"

    def check_survived(self):
        """vmnatd has ended, and started again."""
        self.vmnatd.check_restored(self.sessions)
        wait_until(self.vm_is_connected, "the VM's port is up again")
        self.check_both_go_on()
        self.check_nothing_ended()

    def finish(self):
        self.connection.type_a_line()
        self.download.finish()
        check_equal(len(self.internet.told("echo")), 1, "connections to the echo server")
        self.vmnatd.check_accounting()
        check_equal(self.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


suite = Suite(BusyVm)


@suite.test(f"{PORTS} ports come by `port add` and go by `port del`")
def ports(lab):
    for turn in range(PORTS):
        name = f"extra{turn % 3}"
        lab.vmnatd.ctl("port", "add", name, "--network", "default", "--vhost-user", lab.directory / f"{name}.sock",
                       "--mode", "server", "--queues", str(1 + turn % 2))
        lab.vmnatd.ctl("port", "del", name)
        lab.check_nothing_ended()
    lab.check_both_go_on()


def network_of(wanted):
    return wanted["networks"][0]


def add_network(wanted):
    port = config.vhost_user_port("green1", pathlib.Path(wanted["control"]["socket"]).with_name("green1.sock"), "server")
    wanted["networks"].append(config.network("green", "10.9.0.1/24", [port], dhcp=config.dhcp("10.9.0.10", "10.9.0.20")))


CHANGES = {
    "a forward": lambda wanted: network_of(wanted).update(
        nat={"forwards": [{"protocol": "tcp", "port": 8080, "to": "192.168.122.9:80"}]}),
    "a network with DHCP and a port": add_network,
    "timeouts": lambda wanted: network_of(wanted).update(nat={"timeouts": {"udp": "2m", "tcp_established": "1h"}}),
    "filtering and reserved ports": lambda wanted: network_of(wanted).update(
        nat={"filtering": "endpoint-independent", "reserved_ports": ["5000-5999"]}),
    "leases and isolation": lambda wanted: (network_of(wanted)["dhcp"].update(lease_time="10m"),
                                            network_of(wanted).update(isolated_ports=True)),
}


def reload(lab, change=lambda wanted: None):
    """With the first configuration and this change to it."""
    lab.vmnatd.config = copy.deepcopy(lab.first)
    change(lab.vmnatd.config)
    lab.vmnatd.write_config()
    return lab.vmnatd.ctl("reload")["changed"]


@suite.test(f"{RELOADS} reloads that change something")
def reloads(lab):
    for turn in range(RELOADS):
        name = list(CHANGES)[turn // 2 % len(CHANGES)]
        changed = reload(lab, CHANGES[name]) if turn % 2 == 0 else reload(lab)
        check(changed, f"turn {turn}, {name}: nothing has changed")
        lab.check_nothing_ended()
    lab.check_both_go_on()


def kill_under(lab):
    for _ in range(KILLS):
        totals = lab.vmnatd.totals()
        lab.vmnatd.kill()
        lab.vmnatd.start()
        lab.check_survived()
        lab.vmnatd.check_totals_go_on(totals)


@suite.test(f"vmnatd is killed by SIGKILL and started again, {KILLS} times")
def kills(lab):
    kill_under(lab)


@suite.test("every byte of the download has arrived, every line has come back, every frame is accounted for")
def in_the_end(lab):
    lab.finish()


@suite.test(f"and {KILLS} times under a VM with packed virtqueues: every byte and line of it, too")
def packed_rings(_):
    with for_one_subtest(lambda scope: BusyVm(scope, features=("packed=on",))) as lab:
        kill_under(lab)
        lab.finish()


def layout_of(vmnatd):
    """The number that says what the words of the session image mean."""
    with open(vmnatd.ctl("status")["sessions"]["image"], "rb") as image:
        return int.from_bytes(image.read(12)[8:], "little")


@suite.test("an upgrade from the commit before: both go on; or, if the layout of sessions is another one, one line tells it")
def upgrade(_):
    former = former_build()
    with for_one_subtest(lambda scope: BusyVm(scope, build=former)) as lab:
        layout = layout_of(lab.vmnatd)
        lab.vmnatd.stop()
        lab.vmnatd.build = None
        lab.vmnatd.start()
        if layout_of(lab.vmnatd) == layout:
            lab.check_survived()
            return lab.finish()
        refusals = [line for line in lab.vmnatd.process.log().splitlines() if "no session of the process before goes on" in line]
        check_equal(["another layout" in line for line in refusals], [True], "what the log tells")
        with contextlib.suppress(KeyError):
            check_equal(lab.vmnatd.ctl("status")["sessions"]["former"], None, "sessions that were restored")


if __name__ == "__main__":
    suite.main()
