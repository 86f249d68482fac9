#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`reload --dry-run`, and the commands by which scripts change a running daemon, with and without --persistent.

vm1 and vm2 are namespaces behind veths, vm2's without a port until a script adds one. The cases in LIVE need ports,
networks, forwards and addresses that change while the daemon runs; until they do, each command is refused.
"""

import contextlib
import copy
import json
import pathlib

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.internet import HOST, Internet
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until

GATEWAY = "192.168.122.1"
VM9 = ["--network", "default", "--device"]


class ScriptsLab:
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, self.gateway_side))
        self.vms = {number: self.vm(scope, number) for number in (1, 2)}
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.gateway_side))
        self.overlay = self.directory / "state" / "overlay.yaml"

    def vm(self, scope, number):
        vm = scope.enter_context(Namespace(f"vm{number}"))
        veth(self.gateway_side, f"port{number}", vm, "eth0")
        vm.set_address("eth0", f"192.168.122.{9 + number}/24")
        vm.add_route("default", GATEWAY)
        return vm

    def configuration(self):
        network = config.network("default", f"{GATEWAY}/24", nat={"addresses": [config.UPLINK_ADDRESS]},
                                 ports=[config.veth_port("vm1", "port1")],
                                 dhcp=config.dhcp("192.168.122.100", "192.168.122.199"))
        return config.configuration(self.directory, "uplink0", [network])

    @contextlib.contextmanager
    def file(self, change):
        """The daemon's file has a change in it inside the block."""
        wanted = copy.deepcopy(self.vmnatd.config)
        change(wanted)
        self.vmnatd.config_path.write_text(json.dumps(wanted, indent=2))
        try:
            yield
        finally:
            self.vmnatd.write_config()

    def ask(self, *arguments):
        """vmnatctl's exit code, output and complaint."""
        answer = processes.run([program("vmnatctl"), "--socket", self.directory / "vmnat.sock", *arguments],
                               check=False)
        return answer.returncode, answer.stdout, answer.stderr

    def refused(self, says, *arguments):
        code, out, err = self.ask(*arguments)
        check(code == 1 and says in err, f"{' '.join(map(str, arguments))}: {code} {out}{err}\nexpected: {says}")

    def yaml(self):
        return self.vmnatd.ctl("config")["yaml"]

    def origins(self):
        return self.vmnatd.ctl("config")["origins"]

    def restart(self):
        self.vmnatd.stop()
        self.vmnatd.start()

    def pings(self, number):
        answer = processes.run(["ping", "-c", "3", "-i", "0.05", "-W", "2", HOST], namespace=self.vms[number],
                               check=False)
        return answer.returncode == 0

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(ScriptsLab)


@suite.test("reload --dry-run of an unchanged file says so, with exit code 0")
def dry_run_nothing(lab):
    check_equal(lab.ask("reload", "--dry-run"), (0, "nothing would change\n", ""), "dry run")
    check_equal(lab.vmnatd.ctl("reload", "--dry-run"),
                {"changed": [], "held": [], "restart": [], "refused": None, "can_be_applied": True}, "as JSON")


@suite.test("reload --dry-run tells what would change, element by element, and changes nothing")
def dry_run_live(lab):
    before = lab.yaml()

    def change(wanted):
        dhcp = wanted["networks"][0]["dhcp"]
        dhcp["lease_time"] = "10m"
        dhcp["reservations"] = [{"port": "vm1", "address": "192.168.122.10"}]
    with lab.file(change):
        told = ["network default: dhcp.lease_time is now 10m", "network default: reservation 192.168.122.10 added"]
        check_equal(lab.ask("reload", "--dry-run"), (0, "".join(f"{line}\n" for line in told), ""), "dry run")
        check_equal(lab.yaml(), before, "configuration in effect")
        check_equal(lab.vmnatd.ctl("reload"), {"changed": told}, "reload")
        check_equal(lab.ask("reload", "--dry-run")[1], "nothing would change\n", "after the reload")
    lab.vmnatd.ctl("reload")


@suite.test("reload --dry-run names what needs a restart, with exit code 1")
def dry_run_restart(lab):
    def change(wanted):
        wanted["uplink"]["queues"] = 2
        wanted["networks"][0]["dhcp"]["lease_time"] = "10m"
    with lab.file(change):
        code, out, _ = lab.ask("reload", "--dry-run")
        check_equal((code, out),
                    (1, "network default: dhcp.lease_time is now 10m\nuplink.queues is now 2 (needs a restart)\n"
                        "a reload would change nothing: these need a restart: uplink.queues\n"), "dry run")
        code, out, _ = lab.ask("--json", "reload", "--dry-run")
        check_equal((code, json.loads(out)["restart"]), (1, ["uplink.queues"]), "as JSON")


@suite.test("reload --dry-run of more external addresses than there is room for says so, with exit code 1")
def dry_run_no_room(lab):
    with lab.file(lambda wanted: wanted["networks"][0].update(nat={"addresses": ["198.18.0.1-198.18.15.0"]})):
        code, out, _ = lab.ask("reload", "--dry-run")
        last = out.splitlines()[-1]
        check((code, last.startswith("a reload would change nothing: ")) == (1, True), f"exit code {code}: {out}")
        _, _, refusal = lab.ask("reload")
        check(last.removeprefix("a reload would change nothing: ") in refusal, f"the reload itself says {refusal}, not {last}")
        code, out, _ = lab.ask("--json", "reload", "--dry-run")
        check_equal((code, json.loads(out)["can_be_applied"], json.loads(out)["restart"]), (1, False, []), "as JSON")


@suite.test("reload --dry-run of a bad file tells its problems, with exit code 1")
def dry_run_bad(lab):
    with lab.file(lambda wanted: wanted["networks"][0].update(mtu=5)):
        lab.refused("mtu: must be between 68 and 65535, not 5", "reload", "--dry-run")


@suite.test("config tells what is from the file and what is a default")
def config_origins(lab):
    origins = lab.origins()
    for name, origin in (("uplink.device", "file"), ("uplink.mtu", "default"), ("networks.default", "file"),
                         ("networks.default.ports.vm1", "file"), ("networks.default.nat.overload", "default"),
                         ("networks.default.nat.addresses.203.0.113.2", "file"), ("conntrack.sessions", "file")):
        check_equal(origins[name], origin, name)
    lines = lab.yaml().splitlines()
    check(any(line.split() == ["mtu:", "1500", "#", "default"] for line in lines), "mtu has no comment")
    check(any(line.split() == ["sessions:", "65536"] for line in lines), "sessions has a comment, or is not there")


@suite.test("what `config` prints is a configuration that --check accepts")
def config_is_a_configuration(lab):
    path = lab.directory / "printed.yaml"
    path.write_text(lab.yaml())
    answer = processes.run([program("vmnatd"), "--check", "--config", path], check=False)
    check_equal((answer.returncode, answer.stderr), (0, ""), "--check")


@suite.test("what is there already, or is not there, is refused, with whose it is")
def refusals(lab):
    lab.refused("port vm1 is there already, by the configuration file (line ", "port", "add", "vm1", *VM9, "x")
    lab.refused("there is no network green", "port", "add", "vm9", "--network", "green", "--device", "x")
    lab.refused("there is no port vm9", "port", "del", "vm9")
    lab.refused("there is no network green", "network", "del", "green")
    lab.refused("there is no forward tcp 80", "forward", "del", "tcp", "80")
    lab.refused("to: 10.0.0.1 is within no network", "forward", "add", "tcp", "80", "10.0.0.1:80")
    lab.refused("pool address 203.0.113.2 is there already, by the configuration file (line ", "pool", "add",
                "203.0.113.2")
    lab.refused("there is no pool address 203.0.113.9", "pool", "drain", "203.0.113.9")
    lab.refused("addresses: at least one is needed", "pool", "del", "203.0.113.2")
    lab.refused("networks: at least one network is needed", "network", "del", "default")


@suite.test("what a script adds is checked as the file is")
def checked(lab):
    lab.refused("port vm9 (by a script): address: 192.168.122.1 is the gateway's address", "port", "add", "vm9", *VM9,
                "port9", "--address", GATEWAY)
    lab.refused("port vm9 (by a script): device: port1 is already used at line", "port", "add", "vm9", *VM9, "port1")
    path = lab.directory / "lab.yaml"
    path.write_text("name: lab\naddress: 192.168.122.1/16\nmtu: 5\n")
    lab.refused(f"{path}:2:10: address: 192.168.122.1/16 overlaps network 'default'", "network", "add", path)
    lab.refused(f"{path}:3:6: mtu: must be between 68 and 65535, not 5", "network", "add", path)
    check(not lab.overlay.exists(), "something was kept")


@suite.test("wrong usage is exit code 2")
def usage(lab):
    for arguments in (["port", "add", "vm9", "--network", "default"], ["forward", "add", "icmp", "5", "1.2.3.4:5"],
                      ["pool", "drain"], ["network", "add", lab.directory / "nothing.yaml"]):
        check_equal(lab.ask(*arguments)[0], 2, " ".join(map(str, arguments)))


@suite.test("a damaged overlay does not keep vmnatd from starting: it is told, and kept aside")
def damaged_overlay(lab):
    lab.overlay.write_text("- {adds: port}\n")
    lab.restart()
    note = f"{lab.overlay}: is damaged, or was not written by vmnatd; it is kept as {lab.overlay}.aside"
    check(note in lab.vmnatd.process.log(), lab.vmnatd.process.log_tail())
    check(any(note in text for text in lab.vmnatd.ctl("status")["notes"]), "status does not tell it")
    check_equal(pathlib.Path(f"{lab.overlay}.aside").read_text(), "- {adds: port}\n", "kept aside")
    check(lab.pings(1), "vm1 does not reach the far host")


def overlay_text(*edits):
    """The file as overlay_file.h describes it."""
    lines = "".join(f"- {json.dumps(edit)}\n" for edit in edits)
    checksum = 0xcbf29ce484222325
    for byte in lines.encode():
        checksum = (checksum ^ byte) * 0x100000001b3 % 2**64
    return f"# vmnat overlay 1, checksum {checksum:016x}. Written by vmnatd; change it by vmnatctl.\n{lines}"


def added_port(name, device):
    return {"adds": "port", "network": "default", "name": name, "value": {"name": name, "device": device}}


@suite.test("vmnatd starts with the persistent edits on top of the file, and shows which they are")
def overlay_at_start(lab):
    lab.overlay.write_text(overlay_text(added_port("vm2", "port2"),
                                        {"adds": "forward", "network": "default", "name": "tcp 8080", "value": {
                                            "protocol": "tcp", "port": "8080", "to": "192.168.122.11:80"}}))
    lab.restart()
    check(lab.pings(1) and lab.pings(2), "a VM does not reach the far host")
    origins = lab.origins()
    check_equal([origins[f"networks.default.{name}"] for name in ("ports.vm1", "ports.vm2", "nat.forwards.tcp 8080")],
                ["file", "script, persistent", "script, persistent"], "origins")
    check("# script, persistent" in lab.yaml(), "the text does not show it")
    lab.refused("port vm2 is there already, by a script (persistent)", "port", "add", "vm2", *VM9, "port2")
    check_equal(lab.vmnatd.ctl("reload"), {"changed": []}, "reload")
    with lab.file(lambda wanted: wanted["networks"][0]["ports"].append(config.veth_port("vm2", "port2"))):
        lab.refused("port vm2 (by a script): the configuration file has it, too", "reload")
        lab.refused("port vm2 (by a script): the configuration file has it, too", "reload", "--dry-run")


@suite.test("what no longer fits the file is left out at a start, told, and kept aside; the rest is there")
def overlay_that_does_not_fit(lab):
    text = overlay_text(added_port("vm1", "port2"), added_port("vm3", "port1"), added_port("vm2", "port2"))
    lab.overlay.write_text(text)
    lab.restart()
    notes = " | ".join(lab.vmnatd.ctl("status")["notes"])
    for said in ("port vm1 (by a script): the configuration file has it, too",
                 "port vm3 (by a script): device: port1 is already used", f"{lab.overlay}.aside"):
        check(said in notes, notes)
    check_equal([path.read_text() for path in lab.overlay.parent.glob("overlay.yaml.aside*")].count(text), 1,
                "overlays kept aside as they were")
    check(lab.pings(1) and lab.pings(2), "a VM does not reach the far host")
    lab.restart()
    check("vm3" not in " ".join(lab.vmnatd.ctl("status")["notes"]), "it is told again")
    check(lab.pings(2), "vm2 does not reach the far host after another restart")
    lab.overlay.unlink()
    lab.restart()


@suite.test("a port that a script adds works, survives a reload, and is gone after a restart")
def port_until_restart(lab):
    check_equal(lab.vmnatd.ctl("port", "add", "vm2", *VM9, "port2"),
                {"changed": ["network default: port vm2 added"], "persistent": False}, "port add")
    wait_until(lambda: lab.pings(2), "vm2 reaches the far host")
    check_equal(lab.origins()["networks.default.ports.vm2"], "script", "origin")
    lab.refused("port vm2 is there already, by a script", "port", "add", "vm2", *VM9, "port2")
    check_equal(lab.vmnatd.ctl("reload"), {"changed": []}, "reload")
    wait_until(lambda: lab.pings(2), "vm2 reaches the far host after a reload")
    lab.restart()
    check("networks.default.ports.vm2" not in lab.origins(), "vm2 is still there")


@suite.test("a persistent port survives a restart; a file that has it too is refused, and a start goes by the file")
def port_persistent(lab):
    lab.vmnatd.ctl("port", "add", "vm2", *VM9, "port2", "--persistent")
    lab.restart()
    wait_until(lambda: lab.pings(2), "vm2 reaches the far host")
    check_equal(lab.origins()["networks.default.ports.vm2"], "script, persistent", "origin")
    with lab.file(lambda wanted: wanted["networks"][0]["ports"].append(config.veth_port("vm2", "port2"))):
        lab.refused("port vm2 (by a script): the configuration file has it, too", "reload")
        lab.restart()
        check_equal(lab.origins()["networks.default.ports.vm2"], "file", "origin")
        wait_until(lambda: lab.pings(2), "vm2 reaches the far host by the file's port")
    lab.vmnatd.ctl("reload")


@suite.test("a port of the file is taken away until the file no longer has it")
def port_of_the_file(lab):
    check_equal(lab.vmnatd.ctl("port", "del", "vm1", "--persistent"),
                {"changed": ["network default: port vm1 removed"], "persistent": True}, "port del")
    check(not lab.pings(1), "vm1 still reaches the far host")
    lab.restart()
    check(not lab.pings(1), "vm1 reaches the far host after a restart")
    lab.vmnatd.ctl("port", "add", "vm1", *VM9, "port1", "--persistent")
    check_equal(lab.origins()["networks.default.ports.vm1"], "file", "the same port is the file's again")
    wait_until(lambda: lab.pings(1), "vm1 reaches the far host again")


@suite.test("a network, a forward and an address come and go")
def other_things(lab):
    path = lab.directory / "green.yaml"
    path.write_text("name: green\naddress: 10.9.0.1/24\nports: [{name: vm2, device: port2}]\n")
    steps = [(("network", "add", path), "network green added (1 port)"),
             (("forward", "add", "tcp", "8080", "192.168.122.10:80"), "network default: forward tcp 8080 added"),
             (("forward", "del", "tcp", "8080"), "network default: forward tcp 8080 removed"),
             (("pool", "add", "203.0.113.7", "--network", "default"),
              "network default: pool address 203.0.113.7 added"),
             (("pool", "drain", "203.0.113.7"), "network default: drain of pool address 203.0.113.7 added"),
             (("pool", "add", "203.0.113.7", "--network", "default"),
              "network default: drain of pool address 203.0.113.7 removed"),
             (("pool", "del", "203.0.113.7"), "network default: pool address 203.0.113.7 removed"),
             (("network", "del", "green"), "network green removed (1 port)")]
    for arguments, sentence in steps:
        check_equal(lab.vmnatd.ctl(*arguments)["changed"], [sentence], " ".join(map(str, arguments)))
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
