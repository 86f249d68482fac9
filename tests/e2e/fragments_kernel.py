#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Fragments between Linux kernels on both sides of vmnatd: what real senders make and real receivers accept.

    vm1 192.168.122.10, vm2 .11 == veth == vmnatd == veth == router == host 198.51.100.2

203.0.113.2:5353 udp leads to vm1's port 53. Datagrams are compared by hash; a kernel gives none to a socket
whose fragments or checksum are not right.
"""

import hashlib
import random
import socket

from harness import config, processes
from harness.daemon import Vmnatd
from harness.internet import HOST, Internet
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import PATIENCE, wait_until

import socket

GATEWAY = "192.168.122.1"
DATAGRAM_BYTES = 8000
SECONDS = 20 * PATIENCE


class KernelLab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.gateway_side = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, self.gateway_side))
        self.vm1, self.vm2 = (self.vm(scope, number) for number in (1, 2))
        default = config.network("default", f"{GATEWAY}/24",
                                 [config.veth_port(f"vm{number}", f"port{number}") for number in (1, 2)],
                                 nat={"forwards": [{"protocol": "udp", "port": 5353, "to": "192.168.122.10:53"}]})
        self.vmnatd = scope.enter_context(
            Vmnatd(self.directory, config.configuration(self.directory, "uplink0", [default]),
                   namespace=self.gateway_side))

    def vm(self, scope, number) -> Namespace:
        vm = scope.enter_context(Namespace(f"vm{number}"))
        veth(self.gateway_side, f"port{number}", vm, "eth0")
        vm.set_address("eth0", f"192.168.122.{9 + number}/24")
        vm.add_route("default", GATEWAY)
        return vm

    def evidence(self) -> str:
        return self.vmnatd.evidence()


suite = Suite(KernelLab)


def pings(namespace, to, size=3000, count=3) -> bool:
    """True when every reply came back, with the bytes that were sent: ping says `wrong data byte` else."""
    answer = processes.run(["ping", "-n", "-i", "0.2", "-c", count, "-w", int(SECONDS), "-s", size, to], namespace=namespace)
    return f"{count} received" in answer.stdout and "wrong data" not in answer.stdout


def udp_socket(namespace, port=0) -> socket.socket:
    with namespace.entered():
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.settimeout(SECONDS)
    opened.bind(("0.0.0.0", port))
    return opened


def digest(content) -> str:
    return hashlib.sha256(content).hexdigest()


def converse(client, server, to, answers=20):
    """Datagrams there and back, each of a content of its own; both sides compare hashes."""
    generator = random.Random(8000)
    for _ in range(answers):
        question, answer = (generator.randbytes(DATAGRAM_BYTES) for _ in range(2))
        client.sendto(question, to)
        received, sender = server.recvfrom(65536)
        check_equal((len(received), digest(received)), (DATAGRAM_BYTES, digest(question)), "the question")
        server.sendto(answer, sender)
        received, sender = client.recvfrom(65536)
        check_equal((sender, digest(received)), (to, digest(answer)), "the answer")


@suite.test("a VM pings the Internet with 3000 bytes, and so does another at the same time")
def ping_out(lab):
    check(pings(lab.vm1, HOST), "no full reply")
    others = [processes.Process(["ping", "-n", "-i", "0.2", "-c", 10, "-w", int(SECONDS), "-s", 3000, HOST],
                                log=lab.directory / f"ping-{vm.name}.log", namespace=vm) for vm in (lab.vm1, lab.vm2)]
    for other in others:
        check_equal(other.wait(), 0, other.log_tail())
        check("10 received" in other.log(), other.log_tail())


@suite.test("a VM pings its gateway, and the Internet the uplink's address, with 3000 and with 20000 bytes")
def ping_vmnatd(lab):
    for size in (3000, 20000):
        check(pings(lab.vm1, GATEWAY, size), f"no full reply from the gateway to {size} bytes")
        check(pings(lab.internet.host, config.UPLINK_ADDRESS, size), f"no full reply from the uplink's address to {size} bytes")


@suite.test("UDP datagrams of 8000 bytes reach the Internet and their answers the VM")
def udp_out(lab):
    with udp_socket(lab.vm1) as client, udp_socket(lab.internet.host, 7000) as server:
        converse(client, server, (HOST, 7000))


@suite.test("UDP datagrams of 8000 bytes reach a forward from the Internet and from a VM of the same network")
def udp_forward(lab):
    wait_until(lambda: lab.vmnatd.ctl("forwards")[0]["mac"], "vm1 is known")
    with udp_socket(lab.vm1, 53) as server:
        for namespace in (lab.internet.host, lab.vm2):
            with udp_socket(namespace) as client:
                converse(client, server, (config.UPLINK_ADDRESS, 5353))


@suite.test("a datagram of the largest size passes both ways")
def largest(lab):
    content = random.Random(1).randbytes(65507)
    with udp_socket(lab.vm1) as client, udp_socket(lab.internet.host, 7001) as server:
        for opened in (client, server):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        client.sendto(content, (HOST, 7001))
        received, sender = server.recvfrom(70000)
        check_equal(digest(received), digest(content), "out")
        server.sendto(content, sender)
        check_equal(digest(client.recv(70000)), digest(content), "back")


@suite.test("every frame is accounted for, nothing waits, and no inside address has left")
def accounting(lab):
    lab.vmnatd.check_accounting()
    wait_until(lambda: lab.vmnatd.counters()["fragments.held"] == 0, "nothing waits")
    counters = lab.vmnatd.counters()
    check_equal({name: value for name, value in counters.items() if name.startswith("drop.fragment") and value}, {}, "drops")
    check_equal(lab.internet.leaks(), [], "leaks")


if __name__ == "__main__":
    suite.main()
