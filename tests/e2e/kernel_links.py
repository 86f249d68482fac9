#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The settings of kernel interfaces: they stay as they are, MTUs are followed, and what is no Ethernet interface is
refused; each subtest with a vmnatd of its own. kernel_lab.py draws the wires.
"""

import contextlib
import errno
import select
import socket
import struct

from harness import processes
from harness.daemon import program, runtime_directory
from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from kernel_lab import (IP_MTU_DISCOVER, MAY_BE_CUT, MB, MUST_NOT_BE_CUT, PORTS, KernelLab, Stream, exchange_large, lab_with,
                        random_bytes)

IP_RECVERR = 11
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err: errno, origin, type, code, padding, info, data
FRAGMENTATION_NEEDED = (errno.EMSGSIZE, 3, 4)
HEADERS = 28  # of IPv4 and UDP

suite = Suite(lambda scope: None)


@contextlib.contextmanager
def lab_at_rest(**keys):
    """One whose vmnatd a subtest starts and stops itself."""
    with contextlib.ExitStack() as scope:
        yield KernelLab(scope, start=False, **keys)


# --- settings ---------------------------------------------------------------------------------------------------------

@suite.test("the interfaces' settings stay as they are, but for a promiscuity that ends with vmnatd")
def settings_stay(_lab):
    with lab_at_rest() as lab:
        before = {interface: lab.link(interface) for interface in lab.hosts}
        with lab.running():
            lab.check_works()
            for interface in lab.hosts:
                check_equal(lab.link(interface), before[interface] | {"promiscuity": 1}, f"{interface} meanwhile")
        for interface in lab.hosts:
            check_equal(lab.link(interface), before[interface], f"{interface} afterwards")


@suite.test("an interface that is down is brought up, and put down again in the end")
def brought_up(_lab):
    with lab_at_rest() as lab:
        for interface in PORTS:
            lab.gateway.run("ip", "link", "set", interface, "down")
        with lab.running():
            for interface in PORTS:
                check("UP" in lab.link(interface)["flags"], f"{interface} is down")
            lab.check_works()
        for interface in lab.hosts:
            check_equal("UP" in lab.link(interface)["flags"], interface not in PORTS, f"{interface} is up afterwards")


@suite.test("after kill -9 no interface is promiscuous; vmnatd starts again, and the connections go on")
def killed(_lab):
    with lab_with() as lab:
        stream = Stream(*lab.connect(lab.vm1, lab.vm2))
        stream.goes_on()
        lab.vmnatd.kill()
        for interface in lab.hosts:
            wait_until(lambda name=interface: lab.link(name)["promiscuity"] == 0, f"{interface} is not promiscuous")
        lab.vmnatd.start()
        stream.goes_on()
        stream.finish()
        lab.check_works()


# --- interfaces that are refused ----------------------------------------------------------------------------------------

REFUSED = (
    ("nothere", (), 2, "uplink: there is no kernel interface nothere"),
    ("lo", (), 2, "uplink: lo: is no Ethernet interface"),
    ("tun0", ("ip", "tuntap", "add", "tun0", "mode", "tun"), 2, "uplink: tun0: is no Ethernet interface"),
    ("a-name-too-long0", (), 1, "a kernel interface of at most 15 characters"),
)

for each in REFUSED:
    @suite.test(f"`device: {each[0]}` is refused with a sentence")
    def refused(_lab, case=each):
        device, preparation, code, sentence = case
        with lab_at_rest(uplink={"device": device}) as lab:
            if preparation:
                lab.gateway.run(*preparation)
            path = lab.directory / "vmnat.yaml"
            path.write_text(str(lab.configuration()))  # of Python's words none is another one in YAML
            answer = processes.run([program("vmnatd"), "--config", path], namespace=lab.gateway, check=False,
                                   environment=runtime_directory(lab.directory))
            check(sentence in answer.stderr, answer.stderr)
            check_equal(answer.returncode, code, "exit code")


# --- MTUs -----------------------------------------------------------------------------------------------------------------

def send_of_size(sender, size, cut):
    """A datagram that makes an IP packet of that size."""
    content = random_bytes(size - HEADERS)
    sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, cut)
    sender.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    sender.send(content)
    return content


def passes(ends, size, cut=MUST_NOT_BE_CUT):
    content = send_of_size(ends[0], size, cut)
    check(ends[1].recv(65536) == content, f"the datagram of {size} bytes is another one")


def is_told(sender, size) -> int:
    """The MTU that an ICMP error names to the sender of a packet that must not be cut."""
    send_of_size(sender, size, MUST_NOT_BE_CUT)
    wait_until(lambda: has_error(sender), "an ICMP error")
    for level, kind, content in sender.recvmsg(0, 1000, socket.MSG_ERRQUEUE)[1]:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR):
            number, _, icmp_type, code, _, mtu, _ = EXTENDED_ERROR.unpack_from(content)
            check_equal((number, icmp_type, code), FRAGMENTATION_NEEDED, "the error")
            return mtu
    return check(False, "the error is not ICMP's")


def has_error(sender) -> bool:
    poll = select.poll()
    poll.register(sender, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


for each in (9000, 65535):
    @suite.test(f"an MTU of {each}: datagrams of that size pass both ways uncut, and so does TCP")
    def of_that_mtu(_lab, mtu=each):
        with lab_with(mtu=mtu, uplink={"mtu": mtu}, network={"mtu": mtu}) as lab:
            for client, server in ((lab.vm1, lab.outside), (lab.vm1, lab.vm2)):
                with lab.nothing_broken():
                    ends = lab.udp_flow(client, server)
                    passes(ends, mtu)
                    passes(ends[::-1], mtu)
                    exchange_large(lab.udp_flow(client, server), 20)
                    there, here = lab.connect(client, server)
                    for stream in (Stream(there, here, 16 * MB), Stream(here, there, 16 * MB)):
                        stream.finish()
            check_equal(lab.vmnatd.counters()["fragments.made"], 0, "fragments made")


for each in PORTS:
    @suite.test(f"an MTU of {each} that is smaller than the configured one counts, and is followed while vmnatd runs")
    def smaller(_lab, interface=each):
        def set_mtu(lab, mtu, ends=2):
            lab.gateway.run("ip", "link", "set", interface, "mtu", mtu)
            if ends == 2:
                lab.hosts[interface].run("ip", "link", "set", "eth0", "mtu", mtu)

        with lab_with(prepare=lambda lab: set_mtu(lab, 1400)) as lab:
            lab.await_log(f"port {PORTS[interface]}: its interface has an MTU of 1400, less than the 1500 that are configured")
            vm1, outside = lab.udp_flow(lab.vm1, lab.outside)
            ends = (vm1, outside) if interface == "uplink0" else (outside, vm1)
            passes(ends, 1400)
            passes(ends, 1500, MAY_BE_CUT)
            check_equal(lab.vmnatd.counters()["fragments.made"], 1, "fragments made")
            check_equal(is_told(ends[0], 1500), 1400, "the MTU that the sender is told")
            set_mtu(lab, 1300, ends=1)
            lab.await_log(f"port {PORTS[interface]}: its interface has an MTU of 1300")
            passes(ends, 1300)
            passes(ends, 1500, MAY_BE_CUT)
            check_equal(is_told(ends[0], 1301), 1300, "the MTU that the sender is told now")
            set_mtu(lab, 1500)
            wait_until(lambda: passes_again(ends, 1500), "1500 bytes pass again")
            Stream(*lab.connect(lab.vm1, lab.outside), MB).finish()


def passes_again(ends, size) -> bool:
    """True when the MTU has been followed already."""
    sender, receiver = ends
    content = b""
    with contextlib.suppress(OSError):
        content = send_of_size(sender, size, MUST_NOT_BE_CUT)
    return bool(select.select([receiver], [], [], 0.2)[0]) and receiver.recv(65536) == content


if __name__ == "__main__":
    suite.main()
