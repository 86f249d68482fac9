#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The resolvers that VMs are told by default: this host's, as they change, and what is said where there are none.

vmnatd has an /etc/resolv.conf of its own, in its mount namespace, which the test writes.
"""

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until
from harness.wire import IP, UDP, Wire

from scapy.layers.dhcp import BOOTP, DHCP

GATEWAY, GATEWAY_MAC = "192.168.122.1", "52:54:00:00:01:01"
OTHER_GATEWAY = "192.168.5.1"
STUBS = "nameserver 127.0.0.53\nnameserver ::1\n"


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "uplink0", wires, "isp0")
        self.wires = {}
        for name in ("vm1", "vm2"):
            veth(gateway, f"port{name}", wires, name)
            self.wires[name] = Wire(wires, name, f"52:54:00:aa:00:0{name[-1]}")
        self.resolv_conf = self.directory / "resolv.conf"
        self.resolv_conf.write_text("nameserver 192.0.2.1\n")
        networks = [config.network("default", f"{GATEWAY}/24", [config.veth_port("vm1", "portvm1")], mac=GATEWAY_MAC,
                                   dhcp={"dns": "host", "check_before_offer": False}),
                    config.network("own", f"{OTHER_GATEWAY}/24", [config.veth_port("vm2", "portvm2")],
                                   dhcp={"dns": ["9.9.9.9"], "check_before_offer": False})]
        self.serial = 0
        self.wrapper = in_etc(self.resolv_conf)
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, config.configuration(self.directory, "uplink0", networks),
                                                 namespace=gateway, wrapper=self.wrapper))

    def told(self, name):
        """The resolvers in the offer that this VM gets."""
        wire, self.serial = self.wires[name], self.serial + 1
        wire.send(wire.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                  BOOTP(chaddr=bytes.fromhex(wire.mac.replace(":", "")), xid=self.serial) /
                  DHCP(options=[("message-type", "discover"), "end"]))
        offer = wire.expect(lambda f: DHCP in f and f[BOOTP].xid == self.serial, "an offer")
        return [address for option in offer[DHCP].options if option[0] == "name_server" for address in option[1:]]

    def follows(self, text, resolvers):
        self.resolv_conf.write_text(text)
        wait_until(lambda: self.told("vm1") == resolvers, f"VMs are told {resolvers}")
        check_equal(self.vmnatd.ctl("status")["resolvers"], resolvers, "the status")
        check_equal(self.told("vm2"), ["9.9.9.9"], "the resolvers of a network that has its own")

    def evidence(self):
        return self.vmnatd.evidence()


def in_etc(path):
    """A command that has this file as its /etc/resolv.conf."""
    return ("unshare", "--mount", "sh", "-c", f'mount --bind {path} "$(realpath /etc/resolv.conf)" && exec "$@"', "sh")


suite = Suite(Lab)


@suite.test("VMs are told the host's resolvers, and other ones when those change")
def followed(lab):
    check_equal(lab.told("vm1"), ["192.0.2.1"], "the resolvers told")
    lab.follows("nameserver 192.0.2.9\nsearch lab.example\n", ["192.0.2.9"])
    lab.follows("nameserver ::1\nnameserver 127.0.0.53\nnameserver 198.51.100.53\nnameserver 192.0.2.1\n",
                ["198.51.100.53", "192.0.2.1"])
    check("the resolvers of this host have changed" in lab.vmnatd.process.log(), "the log has no word of it")


@suite.test("where the host has none that a VM could use, log and status say so, until it has one again")
def none(lab):
    lab.follows(STUBS, [])
    status = lab.vmnatd.ctl("status")
    check(any("VMs of network default are told no resolver" in note for note in status["notes"]), f"notes: {status['notes']}")
    check("resolvers none" in lab.vmnatd.ctl_text("status"), lab.vmnatd.ctl_text("status"))
    wait_until(lambda: "VMs of network default are told no resolver" in lab.vmnatd.process.log(), "a warning in the log")
    lab.follows("nameserver 192.0.2.9\n", ["192.0.2.9"])
    check_equal([note for note in lab.vmnatd.ctl("status")["notes"] if "resolver" in note], [], "notes on resolvers")


@suite.test("a reload does not bring former ones back")
def reload(lab):
    lab.follows("nameserver 192.0.2.77\n", ["192.0.2.77"])
    lab.vmnatd.ctl("reload")
    for _ in range(5):
        check_equal(lab.told("vm1"), ["192.0.2.77"], "the resolvers told")


@suite.test("a start without any warns, and so does --check, which is content all the same")
def at_start(lab):
    lab.vmnatd.stop()
    lab.resolv_conf.write_text(STUBS)
    answer = processes.run([*lab.wrapper, program("vmnatd"), "--config", lab.vmnatd.config_path, "--check"])
    check_equal(answer.returncode, 0, "the exit code")
    warnings = (answer.stdout + answer.stderr).strip().splitlines()
    check_equal(len(warnings), 1, f"warnings: {warnings}")
    place, _, words = warnings[0].partition(": warning: ")
    check(place.startswith(str(lab.vmnatd.config_path)) and "VMs are told no resolver" in words, warnings[0])
    lab.vmnatd.start()
    wait_until(lambda: "VMs of network default are told no resolver" in lab.vmnatd.process.log(), "a warning in the log")
    check_equal(lab.told("vm1"), [], "the resolvers told")


if __name__ == "__main__":
    suite.main()
