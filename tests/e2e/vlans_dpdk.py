#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The trunk of vlans.py on a device that DPDK drives: vmnatd sorts the frames of its VLANs.

    net_af_packet0 on trunk0 [ vmnatd ]   VLAN 100  uplink   203.0.113.2    router 203.0.113.1
                                          VLAN 10   red1     192.168.10.10  \\ network red, 192.168.10.1/24
                                          VLAN 11   red2     192.168.10.11  /
                                          VLAN 20   blue1    192.168.20.10    network blue, 192.168.20.1/24
"""

import contextlib

import vlans
from harness import processes
from harness.daemon import program
from harness.namespace import Namespace
from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, Wire
from vlans import PORTS, UPLINK_VLAN, Tagged, VlanLab

TRUNK = "net_af_packet0,iface=trunk0"
OUTSIDE = "203.0.113.7"


class DpdkLab(VlanLab):
    uplink = TRUNK

    @staticmethod
    def place(vlan):
        return {"device": TRUNK, "vlan": vlan}

    def host(self, vlan, mac, address, scope):
        """A Linux host with an interface of the VLAN, in a namespace of its own."""
        host = scope.enter_context(Namespace(f"host{vlan}"))
        made = self.wires.run("ip", "link", "add", "link", "trunk", "name", "eth0", "address", mac, "netns", host.path,
                              "type", "vlan", "id", vlan, check=False)
        if "Unknown device type" in made.stderr:
            raise Skipped("this kernel has no VLANs")
        check_equal(made.returncode, 0, f"`ip link add`: {made.stderr}")
        host.run("ip", "link", "set", "eth0", "up")
        host.set_address("eth0", f"{address}/24")
        return host


suite = Suite(DpdkLab)
for sentence, shared in (("each VLAN's gateway answers ARP and ping in that VLAN alone", vlans.gateways),
                         ("hosts of each VLAN get leases of their network", vlans.leases),
                         ("hosts of each VLAN reach the outside by the uplink's, and are answered in their own", vlans.out_and_back),
                         ("frames between ports of a network change their tag; another network's VLAN sees none", vlans.switched)):
    suite.test(sentence)(shared)


@suite.test("Linux hosts with VLAN interfaces of two networks ping out, and not each other")
def linux_hosts(lab):
    with contextlib.ExitStack() as scope:
        lab.host(UPLINK_VLAN, "52:54:00:cc:00:01", OUTSIDE, scope)
        red = lab.host(10, "52:54:00:cc:00:02", "192.168.10.20", scope)
        blue = lab.host(20, "52:54:00:cc:00:03", "192.168.20.20", scope)
        for host, gateway in ((red, "192.168.10.1"), (blue, "192.168.20.1")):
            host.add_route("default", gateway)
            host.run("ping", "-n", "-c", 3, "-i", "0.2", "-w", 30, "-s", 1400, OUTSIDE)
        drops = lab.vmnatd.counters().get("drop.between_networks", 0)
        answer = red.run("ping", "-n", "-c", 2, "-i", "0.2", "-W", 1, "192.168.20.20", check=False)
        check(answer.returncode != 0, f"blue's host answers red's: {answer.stdout}")
        check_equal(lab.vmnatd.counters()["drop.between_networks"] - drops, 2, "pings between networks that were dropped")


@suite.test("frames of no VLAN, and of one that nobody has, are dropped and counted, each of them")
def of_others(lab):
    before = lab.vmnatd.counters().get("drop.other_vlan", 0)
    with contextlib.ExitStack() as scope:
        others = [scope.enter_context(contextlib.closing(Tagged(lab.wires, f"52:54:00:bb:00:0{number}", vlan)))
                  for number, vlan in enumerate((12, 4094), 1)]
        others.append(scope.enter_context(contextlib.closing(Wire(lab.wires, "trunk", "52:54:00:bb:00:03"))))
        for other in others:
            other.send(other.to() / ARP(op=1, hwsrc=other.mac, psrc="192.168.10.77", pdst="192.168.10.1"))
        vlans.gateways(lab)  # whatever was sent before has been seen by now
        for other in others:
            check_equal([f.summary() for f in other.drain() if f.dst == other.mac], [], f"answers to {other.mac}")
    check_equal(lab.vmnatd.counters()["drop.other_vlan"] - before, 3, "frames of other VLANs and of none")
    check_equal(lab.vmnatd.counters()["trunk.missed"], 0, "frames that found no room")


@suite.test("a VLAN comes and goes by a reload, and the others go on")
def by_reload(lab):
    vlans.live(lab)


@suite.test("a VLAN comes and goes by vmnatctl, and the others go on; one that is taken is refused")
def by_command(lab):
    lab.vmnatd.ctl_text("port", "add", "blue3", "--network", "blue", "--device", TRUNK, "--vlan", "22")
    with contextlib.closing(Tagged(lab.wires, "52:54:00:aa:00:0a", 22)) as blue3:
        wait_until(lambda: any(port["name"] == "blue3" and port["link"] == "up" for port in lab.vmnatd.ctl("ports")), "blue3 is up")
        blue3.send(blue3.to() / ARP(op=1, hwsrc=blue3.mac, psrc="192.168.20.13", pdst="192.168.20.1"))
        answer = blue3.expect(lambda f: ARP in f and f[ARP].op == 2 and f.dst == blue3.mac, "ARP's answer to blue3")
        vlans.check_tag(answer, 22, "the answer")
        for vlan in (*(vlan for _, vlan in PORTS.values()), UPLINK_VLAN):
            refused = processes.run([program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "port", "add", "twice",
                                     "--network", "blue", "--device", TRUNK, "--vlan", vlan], check=False)
            check(refused.returncode != 0 and f"net_af_packet0 VLAN {vlan} is already used" in refused.stdout + refused.stderr,
                  f"VLAN {vlan} is two ports': {refused.stdout}{refused.stderr}")
        lab.vmnatd.ctl_text("port", "del", "blue3")
        blue3.drain()
        blue3.send(blue3.to() / ARP(op=1, hwsrc=blue3.mac, psrc="192.168.20.13", pdst="192.168.20.1"))
        vlans.out_and_back(lab)
        check_equal([f.summary() for f in blue3.drain() if blue3.is_ours(f) and f.dst == blue3.mac], [], "answers to a VLAN that is gone")
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
