#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a port offers to its VM, asked as a VMM asks: by default, with several queues, and less by `features`.

    default   192.168.122.1/24   one .10 (queues: 1), four .11 (queues: 4), less .12 (queues: 4, features taken away)
"""

import struct

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import (EVENT_INDEX, GET_QUEUE_NUM, MERGEABLE, PROTOCOL_FEATURES, SET_FEATURES, VERSION_1,
                                VhostUserGuest)
from harness.waiting import wait_until
from harness.wire import ARP

GATEWAY = "192.168.122.1"
PORTS = {"one": ("192.168.122.10", "52:54:00:aa:00:01"), "four": ("192.168.122.11", "52:54:00:aa:00:02"),
         "less": ("192.168.122.12", "52:54:00:aa:00:03")}
QUEUES = {"one": 1, "four": 4, "less": 4}
WITHOUT = ["packed", "mq", "guest_csum"]

# virtio 1.1, 5.1.3 and 6
BITS = {"csum": 0, "guest_csum": 1, "mtu": 3, "guest_tso4": 7, "guest_tso6": 8, "guest_ecn": 9, "guest_ufo": 10,
        "host_tso4": 11, "host_tso6": 12, "host_ecn": 13, "host_ufo": 14, "mrg_rxbuf": 15, "ctrl_vq": 17, "ctrl_rx": 18,
        "ctrl_vlan": 19, "ctrl_rx_extra": 20, "guest_announce": 21, "mq": 22, "ctrl_mac_addr": 23, "indirect_desc": 28,
        "event_idx": 29, "version_1": 32, "packed": 34, "in_order": 35}
FOR_ALL = {"csum", "mtu", "host_tso4", "host_tso6", "host_ecn", "mrg_rxbuf", "indirect_desc", "event_idx", "version_1",
           "in_order"}
CHECKSUMMED = {"guest_csum", "guest_tso4", "guest_tso6", "guest_ecn"}
OF_SEVERAL_QUEUES = {"ctrl_vq", "ctrl_rx", "guest_announce"}


class Lab:
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "uplink0", wires, "isp0")
        ports = [config.vhost_user_port(name, self.directory / f"{name}.sock", "server") | {"queues": QUEUES[name]}
                 for name in PORTS]
        ports[2]["features"] = {"without": WITHOUT}
        self.vmnatd = scope.enter_context(Vmnatd(
            self.directory, config.configuration(self.directory, "uplink0",
                                                 [config.network("default", f"{GATEWAY}/24", ports)]), namespace=gateway))
        self.guests = {name: self.attach(name) for name in PORTS}

    def attach(self, name, **shape):
        guest = self.scope.enter_context(
            VhostUserGuest(self.directory / f"{name}.sock", PORTS[name][1], **shape))
        wait_until(lambda: any(port["name"] == name and port["link"] == "up" for port in self.vmnatd.ctl("ports")),
                   f"{name} is up")
        return guest

    def offered(self, name):
        return {feature for feature, bit in BITS.items() if self.guests[name].offered >> bit & 1}

    def ask(self, name):
        guest, (address, mac) = self.guests[name], PORTS[name]
        guest.send(guest.to() / ARP(op=1, hwsrc=mac, psrc=address, pdst=GATEWAY))
        guest.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].pdst == address, f"{name}'s ARP answer")

    def set_features(self, name, *features):
        """Whether vmnatd takes them, beside those that every guest here has."""
        wanted = VERSION_1 | MERGEABLE | PROTOCOL_FEATURES | sum(1 << BITS[feature] for feature in features)
        answer = self.guests[name].request(SET_FEATURES, struct.pack("<Q", wanted), need_reply=True)
        return struct.unpack("<Q", answer)[0] == 0

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("a port with one queue pair offers no control queue, nor what needs one: nobody would have to serve it")
def one(lab):
    check_equal(lab.offered("one"), FOR_ALL | CHECKSUMMED | {"packed"}, "features")


@suite.test("a port with several offers them, for its VMM has a control queue")
def four(lab):
    check_equal(lab.offered("four"), FOR_ALL | CHECKSUMMED | OF_SEVERAL_QUEUES | {"packed", "mq"}, "features")


@suite.test("what `features: {without: ...}` names is not offered, nor what needs it")
def less(lab):
    check_equal(lab.offered("less"), FOR_ALL | OF_SEVERAL_QUEUES, "features")


@suite.test("GET_QUEUE_NUM offers no more queue pairs than the port has")
def queues(lab):
    for name, wanted in QUEUES.items():
        check_equal(struct.unpack("<Q", lab.guests[name].request(GET_QUEUE_NUM))[0], wanted, f"queue pairs of {name}")


@suite.test("guests without checksums, and with the event index alone, are served")
def served(lab):
    for name in PORTS:
        lab.ask(name)
    lab.guests["less"].socket.close()
    lab.guests["less"] = lab.attach("less", features=VERSION_1 | MERGEABLE | EVENT_INDEX)
    lab.ask("less")


@suite.test("what a VMM serves itself it may set although it is not offered; what vmnatd would serve it may not")
def set_unasked(lab):
    check(lab.set_features("one", "guest_announce", "ctrl_vq", "ctrl_rx", "mq"), "a VMM's own features are refused")
    lab.ask("one")
    check(not lab.set_features("less", "packed"), "packed rings are taken on a port without them")


@suite.test("every frame is accounted for")
def accounting(lab):
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
