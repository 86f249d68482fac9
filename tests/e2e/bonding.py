#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""An uplink of two links that are one: DPDK's bonding driver, by devargs alone, each mode on a vmnatd of its own.

    net_bonding0 [ net_af_packet0  link0 ]---[ wire0 ]  one router on both, 203.0.113.1,
                 [ net_af_packet1  link1 ]---[ wire1 ]  as behind a switch

Links that fail are not tried: these drivers do not tell the bond of it, and what it does then is DPDK's.
"""

import contextlib

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check_equal, for_one_subtest, scratch_directory
from harness.waiting import wait_until
from harness.wire import IP, UDP, Raw, Router, Wire, check_checksums

REMOTE, VM = "198.51.100.2", "192.168.122.10"
GATEWAY_MAC, ROUTER_MAC = "52:54:00:00:01:01", "52:54:00:ff:00:01"
MEMBERS = ("net_af_packet0", "net_af_packet1")
FLOWS = range(4000, 4032)


class BondLab:
    def __init__(self, scope, options):
        self.directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        for i in range(2):
            veth(gateway, f"link{i}", wires, f"wire{i}")
        veth(gateway, "port1", wires, "vm1")
        self.routers = [Router(wires, f"wire{i}", ROUTER_MAC, config.UPLINK_ROUTER) for i in range(2)]
        for router in self.routers:
            router.answers = True
        self.vm = Wire(wires, "vm1", "52:54:00:aa:00:01")
        network = config.network("default", "192.168.122.1/24", [config.veth_port("vm1", "port1")], mac=GATEWAY_MAC)
        bond = ",".join(["net_bonding0", options, *(f"slave={member}" for member in MEMBERS)])
        made = config.configuration(self.directory, bond, [network])
        made["dataplane"]["eal"] += [f"--vdev={member},iface=link{i}" for i, member in enumerate(MEMBERS)]
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, made, namespace=gateway))

    def evidence(self):
        return self.vmnatd.evidence()

    def exchange(self, port):
        """A datagram and its answer, which comes back by the link that the datagram took; the link's number."""
        text = b"flow %d" % port
        self.vm.send(self.vm.to(GATEWAY_MAC) / IP(src=VM, dst=REMOTE) / UDP(sport=port, dport=53) / Raw(text))
        number, asked = self.wait_for(lambda f: UDP in f and bytes(f[UDP].payload) == text)
        check_checksums(asked)
        check_equal((asked.src, asked.dst, asked[IP].src), (config.UPLINK_MAC, ROUTER_MAC, config.UPLINK_ADDRESS), "who sends it")
        router = self.routers[number]
        router.send(router.to(asked.src) / IP(src=REMOTE, dst=asked[IP].src) /
                    UDP(sport=53, dport=asked[UDP].sport) / Raw(b"answer to " + text))
        answer = self.vm.expect(lambda f: UDP in f and f[UDP].dport == port, "the answer")
        check_equal(bytes(answer[UDP].payload), b"answer to " + text, "the answer")
        return number

    def wait_for(self, wanted):
        found = []

        def has_come():
            for number, router in enumerate(self.routers):
                found.extend((number, frame) for frame in router.drain() if wanted(frame))
            return found

        wait_until(has_come, "it leaves by one of the links")
        check_equal(len(found), 1, "how often it leaves")
        return found[0]


@contextlib.contextmanager
def lab_with(options):
    with for_one_subtest(lambda scope: BondLab(scope, options)) as lab:
        yield lab
        lab.vmnatd.check_accounting()


suite = Suite(lambda scope: None)


@suite.test("active and backup: all flows leave by the first link, and are answered")
def active_backup(_):
    with lab_with(f"mode=1,primary={MEMBERS[0]}") as lab:
        check_equal({lab.exchange(port) for port in FLOWS}, {0}, "the links that were taken")


@suite.test("balanced by addresses and ports: flows leave by both links, each always by the same one, and are answered")
def balanced(_):
    with lab_with("mode=2,xmit_policy=l34") as lab:
        taken = [lab.exchange(port) for port in FLOWS]
        check_equal(set(taken), {0, 1}, "the links that were taken")
        check_equal([lab.exchange(port) for port in FLOWS], taken, "the links of the same flows, once more")


if __name__ == "__main__":
    suite.main()
