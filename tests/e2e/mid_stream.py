#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""TCP connections of Linux kernels that are older than vmnatd, which is killed and started under them.

    reset     192.168.122.1/24  vm .10
    drop      192.168.5.1/24    vm .10      == veth == vmnatd == veth == router == host 198.51.100.2
    pick-up   192.168.9.1/24    vm .10
    203.0.113.2:8080 tcp leads to port 80 of the VM of pick-up

Each network is named by its `tcp_mid_stream`. Three connections are opened, vmnatd is killed and started, once,
and each subtest looks at what becomes of its own.
"""

import select
import socket

from harness import config
from harness.daemon import Vmnatd
from harness.internet import HOST, Internet
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import PATIENCE, wait_until

SECONDS = 30 * PATIENCE
SERVICE = 7000
PREFIXES = {"reset": "192.168.122", "drop": "192.168.5", "pick-up": "192.168.9"}
PORTS = {"reset": 41001, "drop": 41002, "pick-up": 41003}  # of the VMs' connections: kept outside, for they differ
FORWARD = {"protocol": "tcp", "port": 8080, "to": "192.168.9.10:80"}


class KilledLab:
    def __init__(self, scope):
        self.scope, directory = scope, scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(directory, self.gateway_side))
        self.vms = {name: self.vm(name, number) for number, name in enumerate(PREFIXES)}
        networks = [config.network(name, f"{prefix}.1/24", [config.veth_port(f"vm-{name}", f"port{number}")],
                                   nat={"tcp_mid_stream": name, "forwards": [FORWARD] if name == "pick-up" else []})
                    for number, (name, prefix) in enumerate(PREFIXES.items())]
        self.vmnatd = scope.enter_context(
            Vmnatd(directory, config.configuration(directory, "uplink0", networks,
                                                   conntrack={"survive_restart": False}), namespace=self.gateway_side))
        self.connections = self.open_all()
        self.vmnatd.kill()
        self.vmnatd.start()

    def vm(self, name, number) -> Namespace:
        vm = self.scope.enter_context(Namespace(f"vm-{name}"))
        veth(self.gateway_side, f"port{number}", vm, "eth0")
        vm.set_address("eth0", f"{PREFIXES[name]}.10/24")
        vm.add_route("default", f"{PREFIXES[name]}.1")
        return vm

    def tcp_socket(self, namespace, address="0.0.0.0", port=0) -> socket.socket:
        with namespace.entered():
            made = self.scope.enter_context(socket.socket())
        made.settimeout(SECONDS)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        return made

    def open_all(self):
        """By name, the VM's and the host's end; `forward` is one that the host has opened."""
        service = self.tcp_socket(self.internet.host, port=SERVICE)
        service.listen()
        opened = {name: self.connected(self.tcp_socket(vm, port=PORTS[name]), (HOST, SERVICE), service)
                  for name, vm in self.vms.items()}
        web = self.tcp_socket(self.vms["pick-up"], port=80)
        web.listen()
        outside, inside = self.connected(self.tcp_socket(self.internet.host), (config.UPLINK_ADDRESS, FORWARD["port"]), web)
        return opened | {"forward": (inside, outside)}

    def connected(self, client, to, service):
        client.connect(to)
        server = self.scope.enter_context(service.accept()[0])
        server.settimeout(SECONDS)
        exchange(client, server)
        return client, server

    def evidence(self) -> str:
        return self.vmnatd.evidence()


suite = Suite(KilledLab)


def exchange(one, other):
    for sender, receiver in ((one, other), (other, one)):
        sender.sendall(b"are you there")
        check_equal(receiver.recv(100), b"are you there", "what arrived")


@suite.test("reset: after a kill and a start the VM's connection ends at once")
def reset(lab):
    inside, _ = lab.connections["reset"]
    inside.sendall(b"are you there")
    try:
        check(False, f"the VM reads {inside.recv(100)!r}")
    except ConnectionResetError:
        pass
    counters = lab.vmnatd.counters()
    check(counters["tcp_resets.sent"] >= 1, f"{counters['tcp_resets.sent']} resets")


@suite.test("drop: the VM hears nothing, however often it repeats")
def drop(lab):
    inside, _ = lab.connections["drop"]
    before = lab.vmnatd.counters()
    inside.sendall(b"are you there")
    wait_until(lambda: lab.vmnatd.counters()["drop.tcp_not_syn"] >= before["drop.tcp_not_syn"] + 3, "it has repeated")
    check_equal(select.select([inside], [], [], 0)[0], [], "what the VM's socket has to tell")
    check_equal(lab.vmnatd.counters()["tcp_resets.sent"], before["tcp_resets.sent"], "resets")


@suite.test("pick-up: the connection goes on, and is established again")
def picked_up(lab):
    inside, outside = lab.connections["pick-up"]
    exchange(inside, outside)
    session, = lab.vmnatd.sessions("--internal", f"{PREFIXES['pick-up']}.10:{PORTS['pick-up']}")
    check_equal((session["state"], session["external"]), ("established", f"{config.UPLINK_ADDRESS}:{PORTS['pick-up']}"),
                "the session")


@suite.test("pick-up: one to a forward goes on, too, when the remote speaks first")
def forward(lab):
    inside, outside = lab.connections["forward"]
    exchange(outside, inside)
    session, = lab.vmnatd.sessions("--external", f"{config.UPLINK_ADDRESS}:{FORWARD['port']}")
    check_equal(session["state"], "established", "the session")


@suite.test("what is closed ends on both sides")
def closed(lab):
    for name in ("pick-up", "forward"):
        inside, outside = lab.connections[name]
        inside.shutdown(socket.SHUT_WR)
        check_equal(outside.recv(100), b"", f"{name}: what the host reads")
        outside.shutdown(socket.SHUT_WR)
        check_equal(inside.recv(100), b"", f"{name}: what the VM reads")


@suite.test("every frame is accounted for, and none leaked")
def accounts(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    suite.main()
