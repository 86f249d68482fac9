#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`networks[].host`: the machine that vmnatd runs on reaches its VMs, and they its services, if these are open.

host_lab.py has the lab.
"""

import contextlib
import os
import socket

from harness.namespace import veth
from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import IP, UDP, Raw, Wire
from host_lab import CLOSED, OPEN, HostLab
from kernel_lab import (GATEWAY, GATEWAY_MAC, MB, Stream, end_with_accounts, exchange_large, lab_with, send_in_segments,
                        stream_in_super_frames)

suite = Suite(HostLab)


def connection_error(client, port):
    """What becomes of a connection to this port of the host, which listens there."""
    return client.socket(socket.SOCK_STREAM).connect_ex((GATEWAY, port))


@contextlib.contextmanager
def listener(lab, port):
    with lab.host.socket(socket.SOCK_STREAM, port) as opened:
        opened.listen()
        yield opened


# --- the interface ------------------------------------------------------------------------------------------------

@suite.test("the host has an interface with the gateway's address and MAC, and IPv4 alone")
def interface(lab):
    link = lab.interface()
    addresses = [(one["local"], one["prefixlen"], one.get("broadcast")) for one in link["addr_info"]]
    check_equal(addresses, [(GATEWAY, 24, "192.168.122.255")], "addresses")
    check_equal((link["address"], link["mtu"]), (GATEWAY_MAC, 1500), "MAC and MTU")
    port = lab.port("vmnat0")
    check_equal((port["kind"], port["network"], port["link"], port["mac"], port["address"]),
                ("host", "default", "up", GATEWAY_MAC, GATEWAY), "vmnatctl ports")


@suite.test("both are pinged once and answer once: VMs by the host, the gateway by vmnatd")
def pings(lab):
    for host, address in ((lab.host, lab.vm1.address), (lab.vm1, GATEWAY)):
        answer = host.run("ping", "-c", "3", "-i", "0.2", "-s", "3000", address).stdout
        check("3 received" in answer and "DUP" not in answer, answer)


# --- traffic ------------------------------------------------------------------------------------------------------

@suite.test("64 MB by TCP between the host and a VM arrive both ways in super-frames, whoever has begun")
def tcp(lab):
    for client, server, port in ((lab.host, lab.vm1, None), (lab.vm1, lab.host, OPEN)):
        there, here = lab.connect(client, server, port=port)
        ends = (there, here) if client is lab.host else (here, there)  # the host's end first
        stream_in_super_frames(lab, ends, "vm1")
        stream_in_super_frames(lab, ends[::-1], "vmnat0")


@suite.test("datagrams of 65000 bytes, and super-frames of small ones, pass both ways")
def udp(lab):
    with lab.nothing_broken():
        exchange_large(lab.udp_flow(lab.host, lab.vm1), 40)
        ends = lab.udp_flow(lab.host, lab.vm2)
        for order in (ends, ends[::-1]):
            send_in_segments(*order, 1400, 61333)


# --- the guard ----------------------------------------------------------------------------------------------------

@suite.test("a VM is refused at ports that are not open, at once and counted; at open ones it is served")
def services(lab):
    with listener(lab, CLOSED):
        before = lab.refused()
        check_equal(connection_error(lab.vm1, CLOSED), 111, "the errno (ECONNREFUSED) of a connection")
        check_equal(lab.refused(), before + 1, "drop.host_service")
    lab.check_reached()
    question, answers = lab.vm1.udp(), lab.host.udp(OPEN)
    question.sendto(b"question", (GATEWAY, OPEN))
    content, sender = answers.recvfrom(100)
    check_equal((content, sender[0]), (b"question", lab.vm1.address), "what a service hears")
    answers.sendto(b"answer", sender)
    check_equal(question.recv(100), b"answer", "what a VM hears")


@suite.test("what answers a datagram of the host passes; what it did not ask for does not")
def unasked(lab):
    host, vm = lab.host.udp(CLOSED), lab.vm1.udp(next(lab.ports))
    before = lab.refused()
    vm.sendto(b"unasked", (GATEWAY, CLOSED))
    wait_until(lambda: lab.refused() == before + 1, "it is refused")
    host.sendto(b"question", (lab.vm1.address, vm.getsockname()[1]))
    check_equal(vm.recv(100), b"question", "what the VM hears")
    vm.sendto(b"answer", (GATEWAY, CLOSED))
    check_equal(host.recv(100), b"answer", "the first that the host hears")
    lab.vm2.udp(vm.getsockname()[1]).sendto(b"another's", (GATEWAY, CLOSED))
    wait_until(lambda: lab.refused() == before + 2, "another VM is refused")


@suite.test("the host hears that a VM has nobody at a port")
def errors(lab):
    host = lab.host.udp()
    host.connect((lab.vm1.address, 4))
    host.send(b"anybody?")
    try:
        check(False, f"it hears {host.recv(100)!r}")
    except ConnectionRefusedError:
        pass


@suite.test("nobody but the host sends from the gateway's MAC or address, and nothing for other addresses of the host arrives")
def spoofed(lab):
    lab.gateway.set_address("lo", "10.77.0.1/32")
    heard = lab.host.udp(OPEN)
    wire = Wire(lab.vm1.namespace, "eth0", GATEWAY_MAC)
    honest = Wire(lab.vm1.namespace, "eth0", "52:54:00:aa:00:09")
    with contextlib.closing(wire), contextlib.closing(honest):
        before = lab.vmnatd.counters()
        datagram = UDP(sport=1, dport=OPEN) / Raw(b"forged")
        wire.send(wire.to(GATEWAY_MAC) / IP(src=lab.vm1.address, dst=GATEWAY) / datagram)
        honest.send(honest.to(GATEWAY_MAC) / IP(src=GATEWAY, dst=GATEWAY) / datagram)
        honest.send(honest.to(GATEWAY_MAC) / IP(src=lab.vm1.address, dst="10.77.0.1") / datagram)

        def grown(name):
            return lab.vmnatd.counters()[name] - before[name]
        wait_until(lambda: (grown("drop.spoofed_mac"), grown("drop.spoofed_address")) == (1, 1), "forgeries are dropped")
    heard.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        check(False, f"the host has heard {heard.recv(100)!r}")
    lab.gateway.run("ip", "address", "del", "10.77.0.1/32", "dev", "lo")


# --- changes ------------------------------------------------------------------------------------------------------

@suite.test("services open and close live, under connections that go on")
def reload_services(lab):
    stream = Stream(*lab.connect(lab.vm1, lab.host, port=OPEN + 2))
    with listener(lab, CLOSED), lab.changed():
        lab.network()["host"]["services"] = [f"tcp/{CLOSED}"]
        told = lab.reload()
        check("host has changed" in told, f"the reload tells {told!r}")
        check_equal(connection_error(lab.vm1, CLOSED), 0, "the error of a connection to a port that is open now")
        stream.goes_on()
        with listener(lab, OPEN):
            check_equal(connection_error(lab.vm1, OPEN), 111, "the errno of a connection to one that was open")
    stream.finish()


@suite.test("the host leaves the network live and comes back, and VMs do not notice")
def reload_host(lab):
    stream = Stream(*lab.connect(lab.vm1, lab.outside))
    with lab.changed():
        del lab.network()["host"]
        lab.reload()
        check_equal(lab.interface(), None, "the interface")
        check_equal(connection_error(lab.vm1, OPEN), 111, "the errno of a connection")
        stream.goes_on()
    lab.check_reached()
    with lab.changed():
        lab.network()["host"]["interface"] = "other0"
        lab.reload()
        check_equal(lab.interface(), None, "the former interface")
        check_equal(lab.interface("other0")["address"], GATEWAY_MAC, "the MAC of the new one")
        lab.check_reached()
    lab.check_reached()
    stream.goes_on()
    stream.finish()


@suite.test("the interface follows the network's address and MTU")
def reload_address(lab):
    with lab.changed():
        lab.network().update({"address": "192.168.122.250/25", "mtu": 1400, "nat": {}})
        lab.reload()
        link = lab.interface()
        check_equal(([(one["local"], one["prefixlen"]) for one in link["addr_info"]], link["mtu"]),
                    ([("192.168.122.250", 25)], 1400), "address and MTU")
    lab.check_reached()


@suite.test("a network that the host's routes lead elsewhere is refused, and one whose interface is there; nothing has changed")
def clashes(lab):
    veth(lab.gateway, "lan0", lab.gateway, "lan1")
    lab.gateway.set_address("lan0", "10.88.0.7/24")
    with lab.changed():
        other = {"name": "other", "address": "10.88.0.1/24", "ports": [], "host": {"interface": "vmnat1"}}
        lab.vmnatd.config["networks"].append(other)
        told = lab.reload_refused()
        check("10.88.0.0/24 is in use" in told and "lan0" in told, told)
        other |= {"address": "10.89.0.1/24", "host": {"interface": "lan0"}}
        told = lab.reload_refused()
        check("interface of this name" in told, told)
        other["host"] = {"interface": "vmnat1"}
        lab.gateway.run("ip", "route", "add", "10.0.0.0/8", "dev", "lan0")
        lab.reload()
        lab.await_log("10.0.0.0/8 by lan0, which 10.89.0.0/24 is a part of")
        check(lab.interface("vmnat1"), "the interface of a part of a wider route is there")
    lab.gateway.run("ip", "link", "del", "lan0")
    lab.check_reached()


@suite.test("an interface that somebody deletes is made again")
def deleted(lab):
    before = lab.interface()["ifindex"]
    lab.gateway.run("ip", "link", "del", "vmnat0")
    wait_until(lambda: (lab.interface() or {}).get("ifindex") not in (None, before), "there is another vmnat0")
    lab.await_log("vmnat0 had gone, and was made again")
    lab.check_reached()


@suite.test("after a kill -9 nothing is left in the way of the next start, and the host's connections go on")
def killed(lab):
    there, here = lab.connect(lab.host, lab.vm1)
    lab.vmnatd.kill()
    wait_until(lambda: lab.interface() is None, "the interface is gone")
    lab.vmnatd.start()
    check(lab.interface(), "the interface is there again")
    here.sendall(b"the VM speaks first")
    there.sendall(b"the host")
    check_equal(here.recv(100), b"the host", "what the VM hears")
    check_equal(there.recv(100), b"the VM speaks first", "what the host hears")
    lab.check_reached()


@suite.test("two workers: the frames of all VMs find the worker of the host's interface")
def workers(_lab):
    cpus = sorted(os.sched_getaffinity(0))[:2]
    if len(cpus) < 2:
        raise Skipped("needs two CPUs")
    with lab_with(HostLab, dataplane={"workers": cpus, "memory": "512M"}) as lab:
        for vm in (lab.vm1, lab.vm2):
            pairs = lab.connect(lab.host, vm), lab.connect(vm, lab.host, port=OPEN + 3)
            streams = [Stream(*order, 8 * MB) for pair in pairs for order in (pair, pair[::-1])]
            for stream in streams:
                stream.finish()
            exchange_large(lab.udp_flow(lab.host, vm), 12)
            check_equal(connection_error(vm, CLOSED), 111, "the errno of a connection to a closed port")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
