# SPDX-License-Identifier: Apache-2.0
"""Gateways between kernel interfaces: Linux itself, and vmnatd on veth pairs of the same kind.

    inside                        gateway                            outside
    eth0 10.77.0.2 ====== lan 10.77.0.1, wan 198.18.0.2 ====== eth0 198.18.0.1

Each is a namespace between two others, made anew for every round and gone with its descriptors. The endpoints run on
one CPU and vmnatd's worker on another. A veth does its receiver's work on the sender's CPU: Linux therefore forwards on
the endpoints' CPU, unless these may use all CPUs (`kernel-unpinned`).
"""
import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from linux_nat import Namespace, forward_and_translate, veth
from machine import give_priority

from harness import config, processes
from harness.daemon import Vmnatd

INSIDE, INSIDE_GATEWAY = "10.77.0.2", "10.77.0.1"
OUTSIDE, EXTERNAL = "198.18.0.1", "198.18.0.2"


@dataclass
class KernelSetting:
    """What all gateways of a run have in common."""
    directory: Path
    build: Path
    worker_cpu: int
    endpoint_cpu: int  # and vmnatd's control thread
    has_hugepages: bool


class Gateway:
    """Two endpoints' namespaces and the one between them; `with` makes them and takes them away."""
    endpoints_are_pinned = True
    partial_checksums = True  # as veth has it: a frame's checksum is left to a NIC, which DPDK's drivers do not pass on
    vm_socket = None          # vhost-user, of a VM on the inside

    def __init__(self, name, setting):
        self.name, self.setting = name, setting
        self.scope = contextlib.ExitStack()
        self.logs = 0

    def __enter__(self):
        with contextlib.ExitStack() as scope:
            self.inside, self.gateway, self.outside = (scope.enter_context(Namespace(side))
                                                       for side in ("inside", "gateway", "outside"))
            veth(self.inside, "eth0", self.gateway, "lan")
            veth(self.outside, "eth0", self.gateway, "wan")
            if not self.partial_checksums:
                for side in (self.inside, self.outside):
                    side.run("ethtool", "-K", "eth0", "tx", "off")
            self.inside.set_address("eth0", f"{INSIDE}/24")
            self.inside.add_route("default", INSIDE_GATEWAY)
            self.outside.set_address("eth0", f"{OUTSIDE}/24")
            self.forward(scope)
            self.scope = scope.pop_all()
        return self

    def __exit__(self, *failure):
        return self.scope.__exit__(*failure)

    def forward(self, scope):
        """Has the namespace in the middle forward and translate, until `scope` ends."""
        raise NotImplementedError

    def start(self, command, side=None):
        """Starts an endpoint's program on the endpoints' CPU; its output is a file."""
        if self.endpoints_are_pinned:
            command = ["taskset", "--cpu-list", self.setting.endpoint_cpu, *command]
        self.logs += 1
        log = self.setting.directory / f"{self.name}-{self.logs}.log"
        log.unlink(missing_ok=True)  # of the round before
        process = processes.Process(command, log=log, namespace=side)
        give_priority(process.pid)
        return process

    def run(self, command, side=None, seconds=30):
        """The output of an endpoint's program that ends by itself, with 0."""
        with self.start(command, side) as process:
            code = process.wait(seconds)
            if code != 0:
                raise RuntimeError(f"{Path(command[0]).name} ended with {code}: {process.log_tail(3)}")
            return process.log()


class LinuxGateway(Gateway):
    """What vmnat replaces."""

    def __init__(self, name, setting, endpoints_are_pinned=True):
        super().__init__(name, setting)
        self.endpoints_are_pinned = endpoints_are_pinned

    def forward(self, scope):
        self.gateway.set_address("lan", f"{INSIDE_GATEWAY}/24")
        self.gateway.set_address("wan", f"{EXTERNAL}/24")
        forward_and_translate(self.gateway, "wan")


class VmnatGateway(Gateway):
    """vmnatd with one worker; `device` is what its configuration says of an interface: {0} its name, {1} a number."""

    def __init__(self, name, setting, device="{0}", partial_checksums=True):
        super().__init__(name, setting)
        self.device, self.partial_checksums = device, partial_checksums
        self.vm_socket = setting.directory / f"{name}.sock"

    def configuration(self, directory):
        setting = self.setting
        network = config.network("inside", f"{INSIDE_GATEWAY}/24", [
            config.veth_port("host", self.device.format("lan", 0)), config.vhost_user_port("vm", self.vm_socket, "server")])
        made = config.configuration(directory, self.device.format("wan", 1), [network])
        made["dataplane"] |= {"workers": [setting.worker_cpu], "control_cpu": setting.endpoint_cpu, "memory": "512M",
                              "hugepages": "auto" if setting.has_hugepages else "off", "idle": "adaptive"}
        made["uplink"] = {"device": made["uplink"]["device"], "address": f"{EXTERNAL}/24", "gateway": OUTSIDE}
        return made

    def forward(self, scope):
        directory = self.setting.directory / self.name
        os.environ["VMNAT_BUILD"] = str(self.setting.build)
        self.daemon = scope.enter_context(Vmnatd(directory, self.configuration(directory), namespace=self.gateway))
        give_priority(self.daemon.process.pid)


GATEWAYS = {
    "kernel": LinuxGateway,
    "kernel-unpinned": lambda name, setting: LinuxGateway(name, setting, endpoints_are_pinned=False),
    "vmnat": VmnatGateway,
    "af_packet": lambda name, setting: VmnatGateway(name, setting, "net_af_packet{1},iface={0},qpairs=1", partial_checksums=False),
    "af_xdp": lambda name, setting: VmnatGateway(name, setting, "net_af_xdp{1},iface={0}", partial_checksums=False),
}
