#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vmnatd and vmnatctl from the outside: exit codes, messages, and JSON that programs can rely on."""

import json
import os
import re
import signal

from harness import config, processes
from harness.daemon import Vmnatd, program, runtime_directory
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory

# Each line that is wrong is marked with what must be said about it; the mark is YAML's comment.
BAD_CONFIGURATION = """\
dataplane: {workers: [0], hugepages: off}
uplink:
  device: uplink0
  address: 203.0.113.300/24     # wrong
  gateway: 203.0.113.1
networks:
  - name: default
    address: 192.168.122.1/24
    colour: blue                # wrong
    ports: [{name: vm1, device: port1}]
    dhcp:
      ranges: [192.168.7.2-192.168.7.9]   # wrong
    nat:
      ports: 80-65535           # wrong
"""


class CliLab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        outside = scope.enter_context(Namespace("outside"))
        veth(self.gateway_side, "uplink0", outside, "isp0")
        veth(self.gateway_side, "port1", outside, "vm1")
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.gateway_side))

    def configuration(self, uplink="uplink0"):
        ports = [config.veth_port("lab0", "port1"), config.vhost_user_port("vm1", self.directory / "vm1.sock")]
        return config.configuration(self.directory, uplink, [config.network(
            "default", "192.168.122.1/24", ports, dhcp=config.dhcp("192.168.122.2", "192.168.122.9"))])

    def run_vmnatd(self, text, *options):
        """vmnatd on a configuration that it is expected not to run on; its exit code and output."""
        path = self.directory / "other.yaml"
        path.write_text(text)
        return processes.run([program("vmnatd"), "--config", path, *options], namespace=self.gateway_side, check=False,
                             environment=runtime_directory(self.directory))

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(CliLab)


@suite.test("--check accepts a good configuration in silence, with exit code 0")
def check_good(lab):
    answer = lab.run_vmnatd(json.dumps(lab.configuration()), "--check")
    check_equal(answer.returncode, 0, f"exit code, with {answer.stdout}{answer.stderr}")


@suite.test("--check tells every problem at once as FILE:LINE:COL: message, with exit code 1")
def check_bad(lab):
    answer = lab.run_vmnatd(BAD_CONFIGURATION, "--check")
    check_equal(answer.returncode, 1, f"exit code, with {answer.stdout}{answer.stderr}")
    told = re.findall(r"^(\S+?):(\d+):(\d+): (.+)$", answer.stdout + answer.stderr, re.MULTILINE)
    wrong = [number for number, line in enumerate(BAD_CONFIGURATION.splitlines(), 1) if line.endswith("# wrong")]
    check_equal([int(line) for _, line, _, _ in told], wrong, f"lines complained of in\n{answer.stdout}{answer.stderr}lines")
    check(all(path.endswith("other.yaml") for path, *_ in told), f"files named: {told}")


# As `virsh net-dumpxml default` prints it.
LIBVIRTS_DEFAULT = """\
<network>
  <name>default</name>
  <uuid>9a05da11-e96b-47f3-8253-a3a482e445f5</uuid>
  <forward mode='nat'/>
  <bridge name='virbr0' stp='on' delay='0'/>
  <mac address='52:54:00:0a:cd:21'/>
  <ip address='192.168.122.1' netmask='255.255.255.0'>
    <dhcp>
      <range start='192.168.122.2' end='192.168.122.254'/>
    </dhcp>
  </ip>
</network>
"""


@suite.test("what import-libvirt makes of libvirt's default network passes --check, without a daemon")
def import_libvirt(lab):
    xml = lab.directory / "default.xml"
    xml.write_text(LIBVIRTS_DEFAULT)
    imported = processes.run([program("vmnatctl"), "--socket", "/nowhere", "import-libvirt", xml])
    check("address: \"192.168.122.1/24\"" in imported.stdout, imported.stdout)
    answer = lab.run_vmnatd(imported.stdout, "--check")
    check_equal(answer.returncode, 0, f"exit code, with {answer.stdout}{answer.stderr}")
    xml.write_text(LIBVIRTS_DEFAULT.replace("</dhcp>", "</dchp>"))
    wrong = processes.run([program("vmnatctl"), "import-libvirt", xml], check=False)
    check_equal(wrong.returncode, 1, "exit code for XML that is none")
    check(re.match(rf"vmnatctl: {xml}:\d+:\d+: ", wrong.stderr), wrong.stderr)


@suite.test("a bad configuration is told in the same words without --check, with exit code 1")
def start_bad(lab):
    answer = lab.run_vmnatd(BAD_CONFIGURATION)
    check_equal(answer.returncode, 1, f"exit code, with {answer.stdout}{answer.stderr}")
    check("other.yaml:4:" in answer.stdout + answer.stderr, answer.stdout + answer.stderr)


@suite.test("a configuration file that does not exist is told with its name, with exit code 1")
def no_configuration(lab):
    answer = processes.run([program("vmnatd"), "--config", lab.directory / "nowhere.yaml"], check=False)
    check_equal(answer.returncode, 1, f"exit code, with {answer.stderr}")
    check("nowhere.yaml" in answer.stderr, answer.stderr)


@suite.test("an uplink that does not exist: a sentence with its name, and exit code 2")
def no_device(lab):
    other = lab.configuration(uplink="nosuchnic0")
    other["control"]["socket"] = str(lab.directory / "other.sock")
    answer = lab.run_vmnatd(json.dumps(other))
    check_equal(answer.returncode, 2, f"exit code, with {answer.stdout}{answer.stderr}")
    check("nosuchnic0" in answer.stderr, answer.stderr)


@suite.test("networks that are all isolated run, and ports without a VM say where they wait for it, without a warning")
def only_isolated(lab):
    directory = lab.directory / "isolated"
    socket = directory / "vm2.sock"
    alone = config.network("alone", "192.168.9.1/24", [config.vhost_user_port("vm2", socket)], forward="none")
    with Vmnatd(directory, config.configuration(directory, "net_null0", [alone])) as vmnatd:
        check_equal(vmnatd.ctl("networks")[0]["forward"], "none", "forward")
        log = vmnatd.process.log()
        check(f"info: port vm2 waits for a VM on {socket}\n" in log, log)
        check(not re.search("warning|error", log), log)


@suite.test("with two workers the NIC is made to steer replies when it has RSS and queues, and the log and status say so")
def steering(lab):
    alone = config.network("alone", "192.168.9.1/24", [config.veth_port("vm2", "net_null1,no-rx=1")])
    cpus = sorted(os.sched_getaffinity(0))[:2]
    for queues, way, sentence in [
            ("auto", "rss", "2 workers: the uplink brings TCP and UDP replies to their session's worker by its RSS on the"
                            " destination port, 128 table entries\n"),
            (1, "rings", "2 workers: replies come to their session's worker by rings in software; the uplink has one"
                         " queue\n")]:
        directory = lab.directory / way
        text = config.configuration(directory, "net_null0,no-rx=1", [alone])
        text["dataplane"]["workers"] = cpus
        text["uplink"]["queues"] = queues
        with Vmnatd(directory, text) as vmnatd:
            check_equal(vmnatd.ctl("status")["steering"], way, "way")
            log = vmnatd.process.log()
            check(f"info: {sentence}" in log, log)


@suite.test("status, ports, networks, leases, sessions, counters and workers answer one JSON document each")
def json_documents(lab):
    kinds = {"status": dict, "counters": dict, "ports": list, "networks": list, "leases": list, "sessions": list,
             "workers": list}
    for command, kind in kinds.items():
        answer = lab.vmnatd.ctl(command)
        check(isinstance(answer, kind), f"vmnatctl --json {command} is no {kind.__name__}: {answer}")
    check_equal({port["name"] for port in lab.vmnatd.ctl("ports")} >= {"lab0", "vm1"}, True, "the ports' names are there")
    check_equal([network["name"] for network in lab.vmnatd.ctl("networks")], ["default"], "networks")
    check_equal(len(lab.vmnatd.ctl("workers")), 1, "workers")


@suite.test("the same commands answer text for people")
def text(lab):
    for command in ("status", "ports", "networks", "leases", "sessions", "counters", "workers"):
        check(lab.vmnatd.ctl_text(command).strip(), f"vmnatctl {command} says nothing")
    check("received" in lab.vmnatd.ctl_text("counters"), "counters without `received`")


@suite.test("top tells rates of ports, in rounds, as text and as an object a line")
def top(lab):
    rounds = [json.loads(line) for line in lab.vmnatd.ctl_text("--json", "top", "--interval", "0.2", "--count", "2").splitlines()]
    check_equal([sorted(port["name"] for port in each["ports"]) for each in rounds], [["lab0", "uplink", "vm1"]] * 2, "ports")
    check(all(isinstance(port[key], (int, float)) for each in rounds for port in each["ports"]
              for key in ("out_bits", "in_bits", "out_packets", "in_packets", "drops")), f"rates: {rounds}")
    text = lab.vmnatd.ctl_text("top", "--interval", "0.1", "--count", "1", "--rows", "1")
    check(text.startswith("PORT ") and "... and 2 more" in text and "\x1b" not in text, text)


@suite.test("a command that vmnatctl does not know is refused with its name, and a non-zero exit code")
def unknown_command(lab):
    answer = processes.run([program("vmnatctl"), "--socket", lab.directory / "vmnat.sock", "frobnicate"], check=False)
    check(answer.returncode != 0, "exit code 0")
    check("frobnicate" in answer.stderr, answer.stderr)


@suite.test("vmnatctl without a daemon says so, with the socket's path, and a non-zero exit code")
def no_daemon(lab):
    answer = processes.run([program("vmnatctl"), "--socket", lab.directory / "nobody.sock", "status"], check=False)
    check(answer.returncode != 0, "exit code 0")
    check("nobody.sock" in answer.stderr, answer.stderr)


@suite.test("SIGTERM and SIGINT stop vmnatd with exit code 0, and the admin socket goes with it")
def stops(lab):
    for number in (signal.SIGINT, signal.SIGTERM):
        lab.vmnatd.process.send(number)
        check_equal(lab.vmnatd.process.wait(), 0, f"exit code after {number.name}")
        check(not (lab.directory / "vmnat.sock").exists(), "the admin socket is still there")
        lab.vmnatd.start()


if __name__ == "__main__":
    suite.main()
