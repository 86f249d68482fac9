#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`device: {interface: IFACE, driver: xdp}`: vmnatd opens DPDK's net_af_xdp on the interface itself; kernel_lab.py draws
the wires.

XDP passes on no partial checksums, so the hosts make theirs (`ethtool -K eth0 tx off`), which documentation asks for.
"""

import contextlib
import json
import socket

from harness import processes
from harness.daemon import program, runtime_directory
from harness.tap import Skipped, Suite, check, check_equal
from kernel_lab import MB, KernelLab, Stream, random_bytes

AF_XDP = 44
XDP_PORTS = ("uplink", "vm1")  # vm2 is on packet sockets


def xdp(interface):
    return {"interface": interface, "driver": "xdp"}


def has_af_xdp():
    with contextlib.suppress(OSError):
        socket.socket(AF_XDP, socket.SOCK_RAW).close()
        return True
    return False


def finish_checksums(lab):
    for host in lab.hosts.values():
        host.run("ethtool", "-K", "eth0", "tx", "off")


class XdpLab:
    """A KernelLab with two of its three interfaces driven by XDP; or why there is none."""

    def __init__(self, scope):
        self.lab = None
        if has_af_xdp():
            self.lab = KernelLab(scope, prepare=finish_checksums, **SECTIONS)

    def evidence(self):
        return self.lab.evidence() if self.lab else ""


PORTS = [{"name": "vm1", "device": xdp("port1")}, {"name": "vm2", "device": "port2"}]
SECTIONS = {"network": {"ports": PORTS}, "uplink": {"device": xdp("uplink0")}}
suite = Suite(XdpLab)


def test(sentence):
    """A subtest on the lab, where the kernel has AF_XDP."""
    def register(function):
        @suite.test(sentence)
        def with_lab(xdp_lab):
            if xdp_lab.lab is None:
                raise Skipped("this kernel has no AF_XDP")
            function(xdp_lab.lab)
        return function
    return register


def exchange(ends, count=200, size=1200):
    """Datagrams there and back, which arrive whole and in order."""
    for sender, receiver in (ends, ends[::-1]):
        for first in range(0, count, 50):
            contents = [random_bytes(size, number) for number in range(first, first + 50)]
            for content in contents:
                sender.send(content)
            for content in contents:
                check(receiver.recv(2000) == content, "a datagram is not what was sent")


@test("ports say which driver they have, and the configuration says it as it was meant")
def kinds(lab):
    check_equal({port["name"]: port["kind"] for port in lab.vmnatd.ctl("ports")},
                {"uplink": "xdp", "vm1": "xdp", "vm2": "kernel"}, "kinds")
    check_equal(lab.vmnatd.ctl("status")["uplink"]["kind"], "xdp", "the uplink's kind")
    shown = lab.vmnatd.ctl("config")["yaml"]
    for line in ('device: {interface: "uplink0", driver: xdp, vlan: none}', 'device: {interface: "port1", driver: xdp, vlan: none}', 'device: "port2"'):
        check(line in shown, f"{line} is not in\n{shown}")


@test("TCP and UDP go out and come back by XDP on both sides, by XDP on one, and from VM to VM")
def forwards(lab):
    for client, server in ((lab.vm1, lab.outside), (lab.vm2, lab.outside), (lab.vm1, lab.vm2)):
        there, here = lab.connect(client, server)
        Stream(there, here, 2 * MB).finish()
        Stream(*lab.connect(client, server)[::-1], 2 * MB).finish()
        exchange(lab.udp_flow(client, server))
    lab.check_works()


@test("the interface keeps its MTU, and receives for other MACs without an administrator's flag")
def left_alone(lab):
    check_equal([lab.link(name)["mtu"] for name in ("uplink0", "port1")], [1500, 1500], "MTUs")
    check("PROMISC" not in lab.link("port1")["flags"], "port1 has the flag of an administrator")
    check(lab.link("port1")["promiscuity"] > 0, "port1 does not receive for other MACs")


@test("a carrier that goes and comes back is followed")
def carrier(lab):
    lab.vm1.run("ip", "link", "set", "eth0", "down")
    lab.await_link("vm1", "down")
    lab.vm1.run("ip", "link", "set", "eth0", "up")
    lab.await_link("vm1", "up")
    lab.vm1.set_route()
    lab.check_works()


@test("vmnatd is killed and starts again on the same interfaces; when it is stopped, they are as they were")
def killed(lab):
    lab.vmnatd.kill()
    lab.vmnatd.start()
    lab.check_works()
    lab.vmnatd.stop()
    for name in ("uplink0", "port1"):
        check("xdp" not in lab.link(name), f"{name} still has an XDP program: {lab.link(name)}")
        check_equal(lab.link(name)["promiscuity"], 0, f"promiscuity of {name}")
    lab.vmnatd.start()
    lab.check_works()


def check_refused(lab, says, **uplink):
    """vmnatd does not start with such an uplink, and says why."""
    configuration = lab.configuration()
    configuration["uplink"] |= uplink
    file = lab.directory / "refused.yaml"
    file.write_text(json.dumps(configuration))
    with processes.Process([program("vmnatd"), "--config", file], log=lab.directory / "refused.log", namespace=lab.gateway,
                           environment=runtime_directory(lab.directory)) as refused:
        check_equal(refused.wait(30), 2, f"exit code, with {refused.log_tail()}")
        check(says in refused.log(), f"{says!r} is not in\n{refused.log_tail()}")


@test("an interface that vanishes takes nothing else along, and is used again after a restart")
def vanishes(lab):
    lab.gateway.run("ip", "link", "del", "port1")
    lab.await_link("vm1", "down")
    lab.await_log("port vm1: interface port1 is gone; with driver: xdp it is opened again by a restart")
    lab.plug_in("port1")
    lab.vm1.run("ethtool", "-K", "eth0", "tx", "off")
    Stream(*lab.connect(lab.vm2, lab.outside), 2 * MB).finish()
    check_equal(lab.port("vm1")["link"], "down", "the link of what came back")
    lab.vmnatd.stop()
    lab.vmnatd.start()
    lab.check_works()


@test("what cannot be is refused with a sentence")
def refusals(lab):
    lab.vmnatd.stop()
    lab.gateway.run("ip", "tuntap", "add", "xdptap", "mode", "tap")
    check_refused(lab, "uplink: there is no kernel interface no-such", device=xdp("no-such"))
    check_refused(lab, "uplink: driver: xdp: xdptap is a TAP or TUN", device=xdp("xdptap"))
    check_refused(lab, "uplink: driver: xdp: uplink0 has 1 channel, 2 queues are asked for", queues=2)
    check_refused(lab, "no mtu may be above 2816", mtu=9000)
    lab.vmnatd.start()


@test("after all of this every frame is accounted for, and no inside address left by the uplink")
def in_the_end(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.leaks(), [], "frames with a foreign source on the uplink")

if __name__ == "__main__":
    suite.main()
