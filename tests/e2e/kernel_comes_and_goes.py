#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Kernel interfaces that go down, lose their carrier, vanish, and come back, while TCP connections go on; the wires
are those that kernel_lab.py draws.
"""

import contextlib

from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from kernel_lab import PORTS, KernelLab, Stream, end_with_accounts, stopped

suite = Suite(KernelLab)


def news(interface) -> dict[str, str]:
    """What the log says of it."""
    title = {"uplink0": "uplink", "port1": "port vm1"}[interface]
    return {what: f"{title}: interface {interface} is {what}" for what in ("gone", "back")}


@contextlib.contextmanager
def told(lab, interface, *what):
    """In the block, or soon after it, the log says so."""
    log = lab.vmnatd.process.log
    wanted = [news(interface)[word] for word in what]
    before = [log().count(sentence) for sentence in wanted]
    yield
    wait_until(lambda: all(log().count(sentence) > number for sentence, number in zip(wanted, before)), f"the log says {wanted}")


@contextlib.contextmanager
def connections(lab):
    """TCP both ways between vm1 and the outside, which goes on after the block as before it."""
    there, here = lab.connect(lab.vm1, lab.outside)
    streams = Stream(there, here), Stream(here, there)
    for stream in streams:
        stream.goes_on()
    sessions = lab.vmnatd.counters()["sessions.created"]
    yield
    for stream in streams:
        stream.goes_on()
    check_equal(lab.vmnatd.counters()["sessions.created"], sessions, "sessions that were made")
    for stream in streams:
        stream.finish()
    mac = lab.link("eth0", lab.vm1.namespace)["address"]
    wait_until(lambda: lab.vmnatd.ctl("forwards")[0]["mac"] == mac, "vm1's MAC is known to the forward", 10)
    lab.check_works()


def each_interface(sentence):
    """Registers a subtest for the uplink's interface and one for a VM's port."""
    def register(function):
        for interface in PORTS:
            @suite.test(sentence.format(interface))
            def one(lab, name=interface):
                with connections(lab):
                    function(lab, name)
        return function
    return register


@each_interface("{} goes down and up again")
def down(lab, interface):
    for state in ("down", "up"):
        lab.gateway.run("ip", "link", "set", interface, state)
        lab.await_link(PORTS[interface], state)


@each_interface("the other end of {} goes down and up again")
def no_carrier(lab, interface):
    host = lab.hosts[interface]
    for state in ("down", "up"):
        host.run("ip", "link", "set", "eth0", state)
        lab.await_link(PORTS[interface], state)
    host.set_route()


@each_interface("{} is deleted, and another one of that name comes, both its ends with other MACs")
def another(lab, interface):
    before = lab.link(interface)
    with told(lab, interface, "gone"):
        lab.gateway.run("ip", "link", "delete", interface)
        lab.await_link(PORTS[interface], "down")
    with told(lab, interface, "back"):
        lab.plug_in(interface)
        lab.await_link(PORTS[interface], "up")
    check(lab.link(interface)["address"] != before["address"], "it has the same MAC")


@each_interface("{} is deleted and made again while vmnatd does not look")
def another_unseen(lab, interface):
    with told(lab, interface, "back"), stopped(lab.vmnatd.process):
        lab.gateway.run("ip", "link", "delete", interface)
        lab.plug_in(interface)
    lab.await_link(PORTS[interface], "up")


@each_interface("{} is deleted and made again with the same index while vmnatd does not look")
def same_index(lab, interface):
    index = lab.link(interface)["ifindex"]
    with told(lab, interface, "back"), stopped(lab.vmnatd.process):
        lab.gateway.run("ip", "link", "delete", interface)
        lab.plug_in(interface, "index", index)
    check_equal(lab.link(interface)["ifindex"], index, "its index")
    lab.await_link(PORTS[interface], "up")


@each_interface("{} is renamed, and named as before")
def renamed(lab, interface):
    with told(lab, interface, "gone", "back"):
        for old, new, state in ((interface, "elsewhere0", "down"), ("elsewhere0", interface, "up")):
            rename(lab.gateway, old, new)
            lab.await_link(PORTS[interface], state)


def rename(namespace, old, new):
    """Before Linux 6.2 that needs an interface that is down."""
    if namespace.run("ip", "link", "set", old, "name", new, check=False).returncode != 0:
        for change in (("down",), ("name", new)):
            namespace.run("ip", "link", "set", old, *change)
        namespace.run("ip", "link", "set", new, "up")


@each_interface("{} is moved into another namespace, and back")
def moved(lab, interface):
    with told(lab, interface, "gone", "back"):
        lab.gateway.run("ip", "link", "set", interface, "netns", lab.vm2.namespace.path)
        lab.await_link(PORTS[interface], "down")
        lab.vm2.run("ip", "link", "set", interface, "netns", lab.gateway.path)
        lab.gateway.run("ip", "link", "set", interface, "up")
        lab.await_link(PORTS[interface], "up")


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
