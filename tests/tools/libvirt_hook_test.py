#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The hook of libvirt with domains' XML on standard input, and a vmnatctl that notes what it is asked.

Usage: libvirt_hook_test.py HOOK
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HOOK = sys.argv.pop(1)

# Answers the questions from a file, and notes every change; `fails` makes changes fail.
FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(sys.argv[0]).parent
state = json.loads((here / "state").read_text())
if sys.argv[1] == "--json":
    print(json.dumps(state[sys.argv[2]]))
    sys.exit(0)
with open(here / "asked", "a") as asked:
    print(*sys.argv[1:], file=asked)
if state.get("fails"):
    print("vmnatctl: " + state["fails"], file=sys.stderr)
    sys.exit(1)
"""


def nic(path="/run/vmnat/web1.sock", mode="server", more="<mac address='52:54:00:aa:00:01'/>"):
    return f"<interface type='vhostuser'>{more}<source type='unix' path='{path}' mode='{mode}'/></interface>"


def domain(*interfaces):
    return f"<domain type='qemu'><name>d</name><devices>{''.join(interfaces)}</devices></domain>"


class Hook(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.here = pathlib.Path(scratch.name)
        self.vmnatctl = self.here / "vmnatctl"
        self.vmnatctl.write_text(FAKE)
        self.vmnatctl.chmod(0o755)
        self.state = {"config": {"yaml": 'vhost_user:\n  directory: "/run/vmnat"  # default\n', "origins": {}},
                      "ports": [{"name": "uplink", "network": "uplink"}], "networks": [{"name": "lab"}]}

    def has_port(self, name, socket, origin, network="lab"):
        self.state["ports"].append({"name": name, "network": network, "socket": socket})
        self.state["config"]["origins"][f"networks.{network}.ports.{name}"] = origin

    def run_hook(self, operation, step, xml, code=0):
        """What vmnatctl was told to change."""
        (self.here / "state").write_text(json.dumps(self.state))
        asked = self.here / "asked"
        asked.unlink(missing_ok=True)
        answer = subprocess.run([HOOK, "d", operation, step, "-"], input=xml, capture_output=True, text=True,
                                env={**os.environ, "VMNATCTL": str(self.vmnatctl), "VMNAT_MACS": str(self.here / "vmnat.macs")})
        self.assertEqual(answer.returncode, code, answer.stderr)
        self.assertEqual(answer.stdout, "", "libvirt takes it for XML at some hooks")
        self.stderr = answer.stderr
        return asked.read_text().splitlines() if asked.exists() else []

    def test_a_nic_gets_its_port_before_the_domain_starts(self):
        self.assertEqual(self.run_hook("prepare", "begin", domain(nic())),
                         ["port add web1 --network lab --vhost-user /run/vmnat/web1.sock --mode client --persistent "
                          "--mac 52:54:00:aa:00:01"])

    def test_modes_are_the_other_ends(self):
        for libvirts, ours in (("server", "client"), ("client", "server")):
            self.assertIn(f"--mode {ours} ", self.run_hook("prepare", "begin", domain(nic(mode=libvirts)))[0])

    def test_queues_are_the_drivers(self):
        asked = self.run_hook("prepare", "begin", domain(nic(more="<driver queues='4'/>")))
        self.assertTrue(asked[0].endswith("--persistent --queues 4"), asked)

    def test_the_limit_is_the_nics_bandwidth(self):
        def limit_of(bandwidth):
            words = self.run_hook("prepare", "begin", domain(nic(more=f"<bandwidth>{bandwidth}</bandwidth>")))[0].split("--limit ")
            return words[1] if len(words) > 1 else None
        self.assertEqual(limit_of("<inbound average='1000' peak='5000' burst='1024'/><outbound average='128'/>"),
                         "{in: {rate: 8000K, burst: 1024K, peak: 40000K}, out: {rate: 1024K}}")
        self.assertEqual(limit_of("<outbound average='12500' burst='64'/>"), "{out: {rate: 100000K, burst: 64K}}")
        self.assertIsNone(limit_of("<inbound floor='200'/>"))

    def test_the_network_is_the_directorys_or_the_only_one_or_default(self):
        def network_of(path):
            return self.run_hook("prepare", "begin", domain(nic(path)))[0].split()[2:5]
        self.assertEqual(network_of("/run/vmnat/red/a.b.sock"), ["red.a.b", "--network", "red"])
        self.assertEqual(network_of("/run/vmnat//x"), ["x", "--network", "lab"])
        self.state["networks"].append({"name": "red"})
        self.assertEqual(network_of("/run/vmnat/my vm.sock"), ["my-vm", "--network", "default"])

    def test_the_directory_is_that_of_the_configuration(self):
        self.state["config"]["yaml"] = 'uplink: {}\nvhost_user:\n  directory: "/srv/a \\"b\\"/"\n  owner: "root"\n'
        self.assertEqual(self.run_hook("prepare", "begin", domain(nic())), [])
        self.assertEqual(len(self.run_hook("prepare", "begin", domain(nic('/srv/a "b"/web1.sock')))), 1)

    def test_each_nic_has_its_port_and_others_have_none(self):
        xml = domain(nic(), nic("/run/openvswitch/vhu1"), "<interface type='network'><source network='default'/></interface>",
                     "<interface type='vhostuser'/>", nic("/run/vmnat/../other.sock"), nic("/run/vmnat/web2.sock"))
        self.assertEqual([line.split()[2] for line in self.run_hook("prepare", "begin", xml)], ["web1", "web2"])

    def test_the_port_goes_when_the_domain_has_ended(self):
        self.has_port("web1", "/run/vmnat/web1.sock", "script, persistent")
        self.assertEqual(self.run_hook("release", "end", domain(nic())), ["port del web1 --persistent"])
        self.has_port("typed", "/run/vmnat/web2.sock", "script")
        self.assertEqual(self.run_hook("release", "end", domain(nic("/run/vmnat/web2.sock"))),
                         ["port del typed --persistent"], "added for a NIC that was plugged in")
        self.assertEqual(self.run_hook("release", "end", domain(nic("/run/vmnat/none.sock"))), [])

    def test_a_port_that_is_left_of_another_time_is_added_anew(self):
        self.has_port("web1", "/run/vmnat/web1.sock", "script, persistent")
        self.assertEqual([line.split()[1] for line in self.run_hook("prepare", "begin", domain(nic()))], ["del", "add"])

    def test_a_port_of_the_file_stays_as_it_is(self):
        self.has_port("web1", "/run/vmnat/web1.sock", "file")
        for operation, step in (("prepare", "begin"), ("reconnect", "begin"), ("release", "end")):
            self.assertEqual(self.run_hook(operation, step, domain(nic())), [])

    def test_when_libvirtd_starts_anew_only_what_is_missing_is_added(self):
        self.has_port("web1", "/run/vmnat/web1.sock", "script, persistent")
        asked = self.run_hook("reconnect", "begin", domain(nic(), nic("/run/vmnat/web2.sock")))
        self.assertEqual([line.split()[:3] for line in asked], [["port", "add", "web2"]])

    def test_names_are_noted_for_libnss_while_the_domain_runs(self):
        noted = self.here / "vmnat.macs"
        noted.write_text('[{"domain": "other", "macs": ["52:54:00:aa:00:09"]}]')
        self.run_hook("prepare", "begin", domain(nic(), nic("/run/openvswitch/vhu1")))
        other, new = json.loads(noted.read_text())
        self.assertEqual((other["domain"], new), ("other", {"domain": "d", "macs": ["52:54:00:aa:00:01"]}))
        self.assertEqual(noted.stat().st_mode & 0o777, 0o644, "every program that resolves a name reads it")
        self.run_hook("release", "end", domain(nic()))
        self.assertEqual(json.loads(noted.read_text()), [other])
        noted.write_text("damaged")
        self.run_hook("reconnect", "begin", domain(nic()))
        self.assertEqual([entry["domain"] for entry in json.loads(noted.read_text())], ["d"])

    def test_nothing_is_done_at_other_times(self):
        for operation, step in (("start", "begin"), ("started", "begin"), ("stopped", "end"), ("migrate", "begin"),
                                ("restore", "begin"), ("attach", "begin"), ("prepare", "end")):
            self.assertEqual(self.run_hook(operation, step, domain(nic())), [])

    def test_the_domain_does_not_start_without_its_port_and_hears_why(self):
        self.state["fails"] = "port web1: no room"
        self.run_hook("prepare", "begin", domain(nic()), code=1)
        self.assertEqual(self.stderr, "vmnatctl: port web1: no room\n")

    def test_without_vmnatd_only_domains_on_its_sockets_fail(self):
        self.vmnatctl.write_text("#!/bin/sh\necho 'vmnatctl: nobody answers' >&2\nexit 3\n")
        self.run_hook("prepare", "begin", domain(nic()), code=1)
        self.assertEqual(self.stderr, "vmnatctl: nobody answers\n")
        self.run_hook("prepare", "begin", domain(nic("/run/openvswitch/vhu1")))
        self.vmnatctl.unlink()
        self.run_hook("prepare", "begin", domain(nic()), code=1)
        self.assertIn("No such file or directory", self.stderr)
        self.run_hook("prepare", "begin", domain())


if __name__ == "__main__":
    unittest.main()
