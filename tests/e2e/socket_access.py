#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who may use the VMs' sockets: a member of the directory's group, as libvirt's QEMU is, and nobody else; and what a
member who has been taken over cannot do to the admin socket.

    default   192.168.122.1/24   served (vmnatd listens), called (a VMM listens), special (a group of its own)

Users and groups are numbers that nobody has on any machine.
"""

import contextlib
import stat

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import VhostUserGuest
from harness.waiting import wait_until

MEMBER, STRANGER = 54322, 54323  # users
GROUP, SPECIAL = 54321, 54324

LISTEN = """
import socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    print("connected", flush=True)
"""
CONNECT = """
import socket, struct, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
connection.sendall(struct.pack("<III", 1, 1, 0))  # GET_FEATURES
sys.exit(len(connection.recv(100)) != 20)
"""


def as_user(user, group, *command):
    return ["setpriv", "--reuid", str(user), "--regid", str(group), "--clear-groups", *command]


class Lab:
    def __init__(self, scope):
        self.scope = scope
        self.base = scratch_directory(scope)
        self.base.chmod(0o755)
        self.run = self.base / "run"
        self.gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(self.gateway, "uplink0", wires, "isp0")
        ports = [config.vhost_user_port("served", "served.sock", "server"),
                 config.vhost_user_port("called", "called.sock"),
                 config.vhost_user_port("special", "lab/special.sock", "server")
                 | {"access": {"group": str(SPECIAL), "mode": "0600"}}]
        settings = config.configuration(
            self.base, "uplink0", [config.network("default", "192.168.122.1/24", ports)],
            vhost_user={"directory": str(self.run), "group": str(GROUP)})
        settings["control"]["socket"] = str(self.run / "vmnat.sock")
        self.vmnatd = scope.enter_context(Vmnatd(self.base, settings, namespace=self.gateway))

    def access(self, name):
        status = (self.run / name).lstat()
        return stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid

    def link(self, name):
        return next(port["link"] for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def succeeds(self, user, group, *command):
        return processes.run(as_user(user, group, *command), check=False).returncode == 0

    def connects(self, user, group, name):
        return self.succeeds(user, group, "/usr/bin/python3", "-c", CONNECT, self.run / name)

    @contextlib.contextmanager
    def listener(self, user, group, name):
        log = self.base / f"listener-{name}.log"
        log.unlink(missing_ok=True)
        with processes.Process(as_user(user, group, "/usr/bin/python3", "-c", LISTEN, self.run / name), log) as child:
            wait_until(lambda: not child.running() or "listening" in child.log(), f"a listener on {name}")
            yield child

    def log_says(self, text):
        wait_until(lambda: text in self.vmnatd.process.log(), f"the log says: {text}")

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("the directory and its sockets have the owner, group and mode that are configured; the admin socket is root's")
def rights(lab):
    check_equal(lab.access("."), (0o3770, 0, GROUP), "the directory")
    check_equal(lab.access("lab"), (0o3770, 0, GROUP), "a directory within it")
    check_equal(lab.access("served.sock"), (0o660, 0, GROUP), "a socket of vmnatd's")
    check_equal(lab.access("lab/special.sock"), (0o600, 0, SPECIAL), "a socket with rights of its own")
    check_equal(lab.access("vmnat.sock")[0] & 0o007, 0, "what others may do with the admin socket")
    check(lab.access("vmnat.sock")[2] != GROUP, "the admin socket is the VMMs' group's")


@suite.test("mode server: a VMM in the group is served; others are not, not even in another group")
def served(lab):
    check(lab.connects(MEMBER, GROUP, "served.sock"), "a member of the group is not served")
    for user, group in ((STRANGER, STRANGER), (STRANGER, SPECIAL)):
        check(not lab.connects(user, group, "served.sock"), f"user {user} of group {group} is served")
    check(not lab.connects(MEMBER, GROUP, "lab/special.sock"), "0600 lets a group in")
    check(not lab.connects(MEMBER, GROUP, "vmnat.sock"), "a VMM may use the admin socket")


@suite.test("mode client: a VMM in the group makes its socket, and makes it anew; others cannot")
def called(lab):
    check(not lab.succeeds(STRANGER, STRANGER, "touch", lab.run / "stranger"), "a stranger makes a file")
    for _ in range(2):
        with lab.listener(MEMBER, GROUP, "called.sock") as vmm:
            wait_until(lambda vmm=vmm: "connected" in vmm.log(), "vmnatd connects to the VMM")
        check(lab.succeeds(MEMBER, GROUP, "rm", lab.run / "called.sock"), "a VMM cannot remove its own socket")


@suite.test("a VMM removes, renames and replaces neither the admin socket nor those of vmnatd")
def sticky(lab):
    before = {name: (lab.run / name).lstat().st_ino for name in ("vmnat.sock", "served.sock", "lab")}
    for name in before:
        path = lab.run / name
        check(not lab.succeeds(MEMBER, GROUP, "rm", "-rf", path), f"{name} was removed")
        check(not lab.succeeds(MEMBER, GROUP, "mv", path, lab.run / "moved"), f"{name} was renamed")
        check(not lab.succeeds(MEMBER, GROUP, "sh", "-c", f"touch {lab.run}/new && mv -fT {lab.run}/new {path}"),
              f"{name} was replaced")
    check_equal({name: (lab.run / name).lstat().st_ino for name in before}, before, "the files")
    (lab.run / "new").unlink()
    check_equal(lab.vmnatd.ctl("networks")[0]["name"], "default", "what the admin socket answers")


@suite.test("while vmnatd is away a VMM listens in its place: vmnatctl does not believe it, vmnatd replaces it")
def impostor(lab):
    lab.vmnatd.stop()
    with lab.listener(MEMBER, GROUP, "vmnat.sock"):
        answer = processes.run([program("vmnatctl"), "--socket", lab.run / "vmnat.sock", "status"], check=False)
        check_equal(answer.returncode, 3, "vmnatctl's exit code")
        check(f"user {MEMBER} listens on it, who is not vmnatd's" in answer.stderr, answer.stderr)
        lab.vmnatd.start()
    check_equal(lab.vmnatd.ctl("networks")[0]["name"], "default", "what the admin socket answers")
    check_equal(lab.access("vmnat.sock")[1], 0, "the admin socket's owner")


@suite.test("what stands where a VMM's socket should be, and is none, is named in the log")
def no_socket(lab):
    path = lab.run / "called.sock"
    path.write_text("a file")
    try:
        lab.log_says(f"port called: cannot connect to {path}: it is no socket")
    finally:
        path.unlink()


@suite.test("a port whose directory only root may use is named in the log, with the reason")
def closed_directory(lab):
    closed = lab.base / "closed"
    closed.mkdir(mode=0o700)
    try:
        lab.vmnatd.ctl_text("port", "add", "closed", "--network", "default", "--vhost-user", closed / "vm.sock")
        lab.log_says(f"port closed: only a VMM of root's can use {closed}/vm.sock: "
                     f"group {GROUP} may not search {closed}")
    finally:
        lab.vmnatd.ctl_text("port", "del", "closed")


@suite.test("a port's own rights are given live, by opening it anew; those of all need a restart")
def reload(lab):
    with VhostUserGuest(lab.run / "served.sock", "52:54:00:aa:00:01"):
        wait_until(lambda: lab.link("served") == "up", "served is up")
        ports = lab.vmnatd.config["networks"][0]["ports"]
        ports[2]["access"] = {"mode": "0666"}
        lab.vmnatd.write_config()
        lab.vmnatd.ctl_text("reload")
        check_equal(lab.access("lab/special.sock"), (0o666, 0, GROUP), "the socket")
        check_equal(lab.link("served"), "up", "another port")
        lab.vmnatd.config["vhost_user"]["group"] = str(SPECIAL)
        lab.vmnatd.write_config()
        refused = processes.run([program("vmnatctl"), "--socket", lab.run / "vmnat.sock", "reload"], check=False)
        check_equal(refused.returncode, 1, "exit code of a reload with another group")
        check("needs a restart: vhost_user.group" in refused.stderr, refused.stderr)


if __name__ == "__main__":
    suite.main()
