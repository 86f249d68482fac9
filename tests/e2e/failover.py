#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Several uplinks: networks go by the one that they prefer, and by another while that is dead.

    default  192.168.122.1/24  vm .10   prefers wan1    wan1  203.0.113.2/24  router .1, pinged: 198.51.100.1
    lab      192.168.5.1/24    vm .10   prefers wan2    wan2  192.0.2.2/24    router .1
    pool     192.168.9.1/24    vm .10   prefers wan1, and has 100.64.0.5 of its own

The routers answer beside the test, by threads: ARP for themselves, and echo requests for 198.51.100.1.
"""

import contextlib
import threading
import time

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until
from harness.wire import ARP, ICMP, IP, UDP, Raw, Wire, check_checksums

REMOTE, PROBE, POOL = "198.51.100.2", "198.51.100.1", "100.64.0.5"
NETWORKS = {"default": "192.168.122", "lab": "192.168.5", "pool": "192.168.9"}
GATEWAY_MACS = {"default": "52:54:00:00:01:01", "lab": "52:54:00:00:01:02", "pool": "52:54:00:00:01:03"}
OWN = {"wan1": "203.0.113.2", "wan2": "192.0.2.2"}
UPLINK_MACS = {"wan1": "52:54:00:00:00:01", "wan2": "52:54:00:00:00:02"}
HOLD = 10  # seconds that an uplink has to be usable before a network goes back


class LiveRouter(Wire):
    """A router that answers by itself, as long as it is told to."""

    def __init__(self, scope, namespace, interface, mac, address):
        super().__init__(namespace, interface, mac)
        self.address, self.answers_arp, self.answers_echo, self.is_needed = address, True, True, True
        self.answering = Wire(namespace, interface, mac)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()
        scope.callback(self.end)

    def end(self):
        self.is_needed = False
        self.thread.join()

    def serve(self):
        while self.is_needed:
            with contextlib.suppress(OSError):  # the interface is down
                frame = self.answering.receive(0.05)
                if frame is not None:
                    self.answer(frame)

    def answer(self, frame):
        if self.answers_arp and ARP in frame and frame[ARP].op == 1 and frame[ARP].pdst == self.address:
            self.answering.send(self.to(frame.src) / ARP(op=2, hwsrc=self.mac, psrc=self.address,
                                                         hwdst=frame[ARP].hwsrc, pdst=frame[ARP].psrc))
        if self.answers_echo and ICMP in frame and frame[ICMP].type == 8 and frame[IP].dst == PROBE:
            reply = self.to(frame.src) / IP(src=PROBE, dst=frame[IP].src) / ICMP(type=0, id=frame[ICMP].id, seq=frame[ICMP].seq)
            self.answering.send(reply / Raw(bytes(frame[ICMP].payload)))


class FailoverLab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        self.gateway, self.wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        self.routers = {}
        for number, (name, own) in enumerate(OWN.items(), 1):
            veth(self.gateway, f"up{number}", self.wires, f"isp{number}")
            self.routers[name] = LiveRouter(scope, self.wires, f"isp{number}", f"52:54:00:ff:00:0{number}",
                                            own.rsplit(".", 1)[0] + ".1")
        self.vms = {}
        for number, network in enumerate(NETWORKS, 1):
            veth(self.gateway, f"port{number}", self.wires, f"vm{number}")
            self.vms[network] = Wire(self.wires, f"vm{number}", f"52:54:00:aa:00:0{number}")
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.gateway))

    def configuration(self):
        networks = [config.network(name, f"{prefix}.1/24", mac=GATEWAY_MACS[name],
                                   ports=[config.veth_port(f"vm{number}", f"port{number}")])
                    for number, (name, prefix) in enumerate(NETWORKS.items(), 1)]
        networks[2]["nat"] = {"addresses": [POOL]}
        made = config.configuration(self.directory, "up1", networks)
        del made["uplink"]
        made["uplinks"] = [
            {"name": name, "device": f"up{number}", "address": f"{own}/24", "gateway": own.rsplit(".", 1)[0] + ".1",
             "mac": UPLINK_MACS[name]} for number, (name, own) in enumerate(OWN.items(), 1)]
        made["uplinks"][0]["probe"] = PROBE
        made["uplinks"][1]["networks"] = ["lab"]
        return made

    def evidence(self):
        return f"{self.vmnatd.ctl_text('uplinks')}\n{self.vmnatd.evidence()}"

    # --- what vmnatd says -----------------------------------------------------------------------------------

    def uplink(self, name):
        return next(uplink for uplink in self.vmnatd.ctl("uplinks") if uplink["name"] == name)

    def networks_on(self, name):
        return self.uplink(name)["networks"]

    def wait_for(self, seconds=60, **networks):
        """Until these networks are on the uplinks: wan1=["default"]."""
        wait_until(lambda: all(self.networks_on(name) == wanted for name, wanted in networks.items()),
                   f"networks are on their uplinks: {networks}", seconds)

    def log_has(self, text):
        return text in self.vmnatd.process.log()

    # --- traffic ------------------------------------------------------------------------------------------

    def send(self, network, port, payload, to=REMOTE):
        vm = self.vms[network]
        vm.send(vm.to(GATEWAY_MACS[network]) / IP(src=f"{NETWORKS[network]}.10", dst=to) / UDP(sport=port, dport=53) / Raw(payload))

    def leaves_by(self, network, uplink, port, source=None):
        """A datagram of the VM leaves there, from its address; its answer comes back."""
        payload = f"{network} by {uplink}, {port}, {time.monotonic()}".encode()
        self.send(network, port, payload)
        asked = self.routers[uplink].expect(lambda f: UDP in f and bytes(f[UDP].payload) == payload, f"{network}'s datagram")
        check_equal(asked[IP].src, source or OWN[uplink], "its source")
        check_equal(asked.src, UPLINK_MACS[uplink], "the MAC that it comes from")
        check_checksums(asked)
        self.routers[uplink].send(self.reply(uplink, asked, payload))
        answer = self.vms[network].expect(lambda f: UDP in f and bytes(f[UDP].payload) == payload, f"the answer to {network}")
        check_equal((answer[IP].dst, answer[UDP].dport), (f"{NETWORKS[network]}.10", port), "whom it is for")
        return asked

    def reply(self, uplink, asked, payload):
        return (self.routers[uplink].to(UPLINK_MACS[uplink]) / IP(src=REMOTE, dst=asked[IP].src) /
                UDP(sport=53, dport=asked[UDP].sport) / Raw(payload))

    def sessions_of(self, network):
        return self.vmnatd.sessions("--network", network)

    def all_is_well(self):
        for router in self.routers.values():
            router.answers_arp = router.answers_echo = True
        self.wires.run("ip", "link", "set", "isp1", "up")
        with contextlib.suppress(OSError):  # the socket tells once that its link was down
            self.routers["wan1"].drain()
        self.wait_for(wan1=["default", "pool"], wan2=["lab"])


def make_lab(scope):
    lab = FailoverLab(scope)
    wait_until(lambda: all(uplink["state"] == "active" for uplink in lab.vmnatd.ctl("uplinks")), "both uplinks are active")
    wait_until(lambda: lab.vmnatd.counters().get("punt.probe_reply", 0) > 0, "the probe is answered")
    return lab


suite = Suite(make_lab)


@contextlib.contextmanager
def dead(lab, break_it):
    """wan1 is dead inside the block, and all is as it was after it."""
    break_it()
    try:
        lab.wait_for(wan1=[], wan2=["default", "lab", "pool"])
        yield
    finally:
        lab.all_is_well()


def probe_falls_silent(lab):
    lab.routers["wan1"].answers_echo = False


@suite.test("each network goes by the uplink that it prefers, from that uplink's address or its own pool's")
def preferred(lab):
    lab.leaves_by("default", "wan1", 4001)
    lab.leaves_by("lab", "wan2", 4001)
    lab.leaves_by("pool", "wan1", 4001, POOL)
    check_equal([uplink["state"] for uplink in lab.vmnatd.ctl("uplinks")], ["active", "active"], "states")
    status = lab.vmnatd.ctl("status")
    check_equal((status["uplink"]["address"], len(status["uplinks"])), ("203.0.113.2/24", 2), "what status says")


@suite.test("a frame for an address of one uplink that comes by the other is dropped, and ARP is not answered there")
def by_the_other(lab):
    asked = lab.leaves_by("default", "wan1", 4002)
    lab.vms["default"].drain()
    before = lab.vmnatd.counters().get("drop.not_external", 0)
    lab.routers["wan2"].send(lab.reply("wan2", asked, b"by the other one"))
    wait_until(lambda: lab.vmnatd.counters().get("drop.not_external", 0) == before + 1, "it is dropped")
    check_equal([f.summary() for f in lab.vms["default"].drain() if UDP in f], [], "what the VM has got")
    router = lab.routers["wan2"]
    router.drain()
    router.send(router.to() / ARP(op=1, hwsrc=router.mac, psrc=router.address, pdst=OWN["wan1"]))
    lab.leaves_by("lab", "wan2", 4002)  # whatever came before has been seen by now
    check_equal([f.summary() for f in router.drain() if ARP in f and f[ARP].op == 2], [], "answers")


@suite.test("when the probe is silent networks go by the other uplink; sessions of the address end and are told, those of a pool go on")
def silent_probe(lab):
    lab.leaves_by("default", "wan1", 4003)
    pools = lab.leaves_by("pool", "wan1", 4003, POOL)
    departed = lab.vmnatd.counters()["sessions.departed"]
    lab.routers["wan2"].drain()
    with dead(lab, lambda: probe_falls_silent(lab)):
        check(lab.log_has("uplink wan1 is dead (its probe 198.51.100.1 is not answered): networks default, pool go by wan2"),
              "the log does not say it")
        wait_until(lambda: lab.vmnatd.counters()["sessions.departed"] > departed, "sessions that have departed are counted")
        check_equal([s["external"] for s in lab.sessions_of("default") if s["external"].startswith(OWN["wan1"])], [],
                    "sessions of default on wan1's address")
        again = lab.leaves_by("pool", "wan2", 4003, POOL)
        check_equal(again[UDP].sport, pools[UDP].sport, "the port of the pool's session")
        lab.leaves_by("default", "wan2", 4003)
        announced = [f for f in lab.routers["wan2"].drain() if ARP in f and f[ARP].psrc == f[ARP].pdst == POOL]
        check(announced, "the pool's address was not announced on the other link")
        dead_one = lab.uplink("wan1")
        check_equal((dead_one["state"], dead_one["why"]), ("dead", "its probe 198.51.100.1 is not answered"), "what `uplinks` says")
        check_equal(dead_one["probe"], PROBE, "the probe")
    lab.leaves_by("default", "wan1", 4004)


@suite.test("a network goes back when its uplink has been usable for the hold time, and not before")
def hold_time(lab):
    probe_falls_silent(lab)
    lab.wait_for(wan1=[])
    switches = lab.uplink("wan1")["switches"]
    lab.routers["wan1"].answers_echo = True
    wait_until(lambda: lab.uplink("wan1")["state"] == "standby", "wan1 can be used again")
    began = time.monotonic()
    lab.leaves_by("default", "wan2", 4005)
    lab.wait_for(wan1=["default", "pool"])
    check(time.monotonic() - began > HOLD - 1, f"default has gone back after {time.monotonic() - began:.1f} s")
    check_equal(lab.uplink("wan1")["switches"], switches + 1, "switches of wan1")
    lab.leaves_by("default", "wan1", 4005)
    lab.all_is_well()


@suite.test("a router that does not answer ARP any more: the other one takes over")
def silent_router(lab):
    def falls_silent():
        lab.routers["wan1"].answers_arp = False
    with dead(lab, falls_silent):
        check_equal(lab.uplink("wan1")["why"], "its gateway does not answer ARP", "why wan1 is dead")
        lab.leaves_by("default", "wan2", 4006)


@suite.test("a link that goes down: the other one takes over at once")
def link_down(lab):
    began = time.monotonic()
    with dead(lab, lambda: lab.wires.run("ip", "link", "set", "isp1", "down")):
        check_equal(lab.uplink("wan1")["why"], "it has no link", "why wan1 is dead")
        check(time.monotonic() - began < 10, f"it has taken {time.monotonic() - began:.1f} s")
        lab.leaves_by("default", "wan2", 4007)


@suite.test("after a restart networks are where they were, with their sessions")
def restart(lab):
    with dead(lab, lambda: probe_falls_silent(lab)):
        asked = lab.leaves_by("default", "wan2", 4008)
        before = lab.vmnatd.facts()
        lab.vmnatd.kill()
        lab.vmnatd.start()
        check_equal(before - lab.vmnatd.facts(), set(), "sessions that are lost")
        check("default" in lab.networks_on("wan2"), "default is not on wan2")
        again = lab.leaves_by("default", "wan2", 4008)
        check_equal(again[UDP].sport, asked[UDP].sport, "the external port")


@suite.test("after all of this every frame is accounted for")
def in_the_end(lab):
    lab.vmnatd.check_accounting()
    lab.vmnatd.check_invariants()


if __name__ == "__main__":
    suite.main()
