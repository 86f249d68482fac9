#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Pool addresses, forwards and the uplink's address, gateway and MTU change while frames flow, by reload.

    default   192.168.122.1/24   vm1 .10, vm2 .11     a pool: 203.0.113.8 at first
    lab       192.168.5.1/24     vm3 .10              masquerade: the uplink's 203.0.113.2 at first
    uplink    203.0.113.2/24     router 203.0.113.1, and another one, .254

Each subtest begins and ends with the first configuration. What may stay keeps its ports and loses no frame;
what goes is ended and counted to the session; after each change the workers' tables agree.
"""

import contextlib
import copy
import itertools
import json

from harness import processes
from harness.daemon import program
from harness.processes import Process
from harness.tap import Suite, check, check_equal
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, ICMP, IP, TCP, UDP, Raw, Router
from veth_lab import REMOTE, VethLab, end_with_accounts

FIRST, SECOND, THIRD = "203.0.113.8", "203.0.113.9", "203.0.113.10"
MOVED = "203.0.113.77"
ROUNDS = 10
FRAMES = 300


class PoolLab(VethLab):
    def __init__(self, scope):
        super().__init__(scope, default={"addresses": [FIRST]}, external=(FIRST, SECOND, THIRD, MOVED))
        self.other_router = Router(self.wire_side, "isp0", "52:54:00:ff:00:02", "203.0.113.254")
        self.first = copy.deepcopy(self.vmnatd.config)
        self.seen, self.serial = [], itertools.count()

    # --- changes ------------------------------------------------------------------------------------------

    def write(self, wanted):
        self.vmnatd.config_path.write_text(wanted if isinstance(wanted, str) else json.dumps(wanted))

    def command(self):
        return [program("vmnatctl"), "--socket", self.vmnatd.config["control"]["socket"], "--json", "reload"]

    def change(self, edit, during=lambda: None):
        """Reloads the file with the edit; `during` is called again and again meanwhile. What has changed."""
        wanted = copy.deepcopy(self.vmnatd.config)
        edit(wanted)
        self.write(wanted)
        self.seen = []  # by the router
        with Process(self.command(), log=self.directory / f"reload-{next(self.serial)}.log") as reload:
            while reload.running():
                during()
                self.seen += self.router.drain()
                self.other_router.drain()
            check_equal(reload.wait(), 0, f"reload\n{reload.log()}\nexit code")
            changed = json.loads(reload.log())["changed"]
        self.vmnatd.config = wanted
        self.vmnatd.check_invariants()
        return changed

    def restore(self):
        if self.vmnatd.config != self.first:
            self.change(lambda wanted: wanted.update(copy.deepcopy(self.first)))

    def begin(self):
        """The first configuration and no session, whatever became of the subtest before."""
        self.restore()
        self.vmnatd.ctl("flush", "--all")

    def refused(self, edit):
        """What a reload of the file with the edit says when it refuses."""
        wanted = copy.deepcopy(self.vmnatd.config)
        edit(wanted)
        self.write(wanted)
        answer = processes.run(self.command(), check=False)
        self.write(self.vmnatd.config)
        check(answer.returncode != 0, f"not refused: {answer.stdout}")
        return answer.stderr

    @contextlib.contextmanager
    def ending(self, sessions):
        """In the block so many sessions end with what is gone, and no other."""
        before = self.vmnatd.counters()
        yield
        after = self.vmnatd.counters()
        for counter in ("sessions.departed", "sessions.flushed"):
            check_equal(after[counter] - before[counter], sessions, counter)

    # --- flows --------------------------------------------------------------------------------------------

    def flow(self, guest, port, payload=b"hello", remote_port=5000):
        outbound = self.open_udp(guest, port, payload, remote_port=remote_port)
        return Flow(self, guest, port, (outbound[IP].src, outbound[UDP].sport), remote_port)

    def has_announced(self, address):
        self.seen += self.router.drain()
        return any(f[ARP].psrc == address == f[ARP].pdst for f in self.seen if ARP in f)

    def sees_arp_answer(self, address):
        self.router.send(self.router.to() / ARP(op=1, hwsrc=self.router.mac, psrc=self.router.address, pdst=address))
        with contextlib.suppress(Overdue):
            self.router.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == address, "an ARP reply", 2)
            return True
        return False


class Flow:
    """A UDP flow of a VM, with the external endpoint that it has."""

    def __init__(self, lab, guest, port, external, remote_port):
        self.lab, self.guest, self.port, self.external, self.remote_port = lab, guest, port, external, remote_port
        self.sent = 0

    def send(self):
        self.sent += 1
        self.guest.wire.send(self.guest.routed(REMOTE) / UDP(sport=self.port, dport=self.remote_port) /
                             Raw(b"%d of %d" % (self.sent, self.port)))

    def check_goes_on(self):
        """A datagram leaves by the same endpoint, and its answer comes back."""
        payload = b"on %d" % self.port
        outbound = self.lab.open_udp(self.guest, self.port, payload, remote_port=self.remote_port)
        check_equal((outbound[IP].src, outbound[UDP].sport), self.external, "the external endpoint")
        self.lab.reply_udp(outbound, payload)
        self.guest.expect(lambda f: UDP in f and bytes(f[UDP].payload)[:len(payload)] == payload and
                          f[UDP].dport == self.port, "the answer")


def make_lab(scope):
    lab = PoolLab(scope)
    lab.settle_once()
    return lab


suite = Suite(make_lab)


def pool(*addresses, **keys):
    def edit(wanted):
        wanted["networks"][0]["nat"] = {"addresses": list(addresses), **keys}
    return edit


def forwards(*rows):
    return pool(FIRST, forwards=[dict(zip(("protocol", "port", "to"), row)) for row in rows])


@suite.test("an address that comes is announced, answered for and used; sessions lose no frame")
def add(lab):
    lab.begin()
    flow = lab.flow(lab.vm1, 3000)
    with lab.ending(0):
        received = lab.vmnatd.counters()
        check_equal(lab.change(pool(FIRST, SECOND), during=flow.send), ["network default: pool address 203.0.113.9 added"], "reload")
        while flow.sent < FRAMES:
            flow.send()
        wait_until(lambda: lab.vmnatd.counters()["transmitted"] - received["transmitted"] >= FRAMES, "frames leave")
        after = lab.vmnatd.counters()
        lost = {name: after[name] - received[name] for name in after if name.startswith("drop.") and after[name] != received[name]}
        check_equal({name: n for name, n in lost.items() if name != "drop.arp_unasked"}, {}, "lost frames")
    wait_until(lambda: lab.has_announced(SECOND), f"{SECOND} is announced")
    check(lab.sees_arp_answer(SECOND), f"nobody has {SECOND}")
    flow.check_goes_on()
    lab.restore()


@suite.test("a draining address keeps its sessions and mappings and gives nothing; `status` counts what is left")
def drain(lab):
    lab.begin()
    flow = lab.flow(lab.vm1, 3100)
    check_equal(flow.external[0], FIRST, "the address")
    with lab.ending(0):
        lab.change(pool(FIRST, SECOND, drain=[FIRST]))
    flow.check_goes_on()
    shared = lab.flow(lab.vm1, 3100, remote_port=5001)
    check_equal(shared.external, flow.external, "the mapping's endpoint")
    for guest in (lab.vm1, lab.vm2):
        check_equal(lab.flow(guest, 3101).external[0], SECOND, "a new flow's address")
    check_equal(lab.vmnatd.ctl("status")["draining"], [{"address": FIRST, "sessions": 2}], "what drains")
    check_equal(lab.vmnatd.ctl("networks")[0]["draining"], [{"address": FIRST, "sessions": 2}], "of the network")
    with lab.ending(2):
        lab.restore()


@suite.test("an address that goes takes its sessions along: they open anew by another one, and TCP hears a RST")
def remove(lab):
    lab.begin()
    gone = lab.flow(lab.vm1, 3200)
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=3201, dport=80, flags="S", seq=1))
    syn = lab.router.expect(lambda f: TCP in f and f[TCP].dport == 80, "the SYN")
    lab.router.send(lab.router.to(syn.src) / IP(src=REMOTE, dst=syn[IP].src) /
                    TCP(sport=80, dport=syn[TCP].sport, flags="SA", seq=100, ack=2))
    lab.vm1.expect(lambda f: TCP in f and f[TCP].flags == "SA", "the SYN ACK")
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=3201, dport=80, flags="A", seq=2, ack=101))
    lab.router.expect(lambda f: TCP in f and f[TCP].flags == "A", "the ACK")
    masqueraded = lab.flow(lab.vm3, 3202)
    with lab.ending(2):
        lab.change(pool(SECOND))
    check(not lab.sees_arp_answer(FIRST), f"{FIRST} is still answered for")
    check(lab.sees_arp_answer(SECOND), f"nobody has {SECOND}")
    masqueraded.check_goes_on()
    check_equal(lab.flow(lab.vm1, 3200).external[0], SECOND, "the address of the flow that opens anew")
    check_equal(gone.external[0], FIRST, "and it was")
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / TCP(sport=3201, dport=80, flags="PA", seq=2, ack=101) / Raw(b"still there?"))
    reset = lab.vm1.expect(lambda f: TCP in f and "R" in f[TCP].flags, "a RST")
    check_equal((reset[IP].src, reset[TCP].sport, reset[TCP].dport), (REMOTE, 80, 3201), "the RST")
    with lab.ending(1):
        lab.restore()


@suite.test("ports that are reserved stay with their sessions and are given to nobody")
def reserve(lab):
    lab.begin()
    flow = lab.flow(lab.vm1, 3300)
    check_equal(flow.external, (FIRST, 3300), "the endpoint")
    with lab.ending(0):
        lab.change(pool(FIRST, reserved_ports=["3300-3399"], filtering="endpoint-independent"))
    flow.check_goes_on()
    check(not 3300 <= lab.flow(lab.vm2, 3301).external[1] < 3400, "a reserved port was given")
    check(not 3300 <= lab.flow(lab.vm1, 3300, remote_port=5001).external[1] < 3400, "a reserved port was shared")
    lab.restore()
    check_equal(lab.flow(lab.vm2, 3302).external, (FIRST, 3302), "free again")


def reaches(lab, guest, port, inside, source=4000):
    """A datagram from outside to the pool's port reaches the guest's port, and the answer goes back."""
    lab.router.send(lab.router.to("52:54:00:00:00:01") / IP(src=REMOTE, dst=FIRST) / UDP(sport=source, dport=port) /
                    Raw(b"to %d" % port))
    seen = guest.expect(lambda f: UDP in f and f[UDP].dport == inside and f[UDP].sport == source, f"a datagram by port {port}")
    guest.wire.send(guest.routed(REMOTE) / UDP(sport=inside, dport=source) / Raw(bytes(seen[UDP].payload)))
    answer = lab.router.expect(lambda f: UDP in f and f[UDP].dport == source, "the answer")
    check_equal((answer[IP].src, answer[UDP].sport), (FIRST, port), "the answer's source")


def known(lab, guest):
    """vm1's and vm2's MACs are asked for by ARP; the test answers."""
    if guest.wire.mac not in [row["mac"] for row in lab.vmnatd.ctl("forwards")]:
        guest.answer_arp()
        wait_until(lambda: guest.wire.mac in [row["mac"] for row in lab.vmnatd.ctl("forwards")], "the VM is known")


@suite.test("forwards come and go: the VM of a new one is resolved, sessions of a removed one end, others stay")
def forwarding(lab):
    lab.begin()
    with lab.ending(0):
        lab.change(forwards(("udp", 8053, "192.168.122.10:53"), ("udp", 9053, "192.168.122.11:53")))
    known(lab, lab.vm1)
    known(lab, lab.vm2)
    reaches(lab, lab.vm1, 8053, 53)
    reaches(lab, lab.vm2, 9053, 53)
    with lab.ending(1):
        lab.change(forwards(("udp", 9053, "192.168.122.11:53")))
    reaches(lab, lab.vm2, 9053, 53)
    check_equal(lab.flow(lab.vm1, 8053).external, (FIRST, 8053), "the port is anybody's")
    with lab.ending(1):
        lab.change(forwards(("udp", 9053, "192.168.122.11:53"), ("udp", 8053, "192.168.122.11:54")))
    reaches(lab, lab.vm2, 8053, 54)
    with lab.ending(2):
        lab.restore()


@suite.test("a thousand forwards come and go in one reload each")
def many_forwards(lab):
    lab.begin()
    rows = [("tcp", 20000 + i, f"192.168.122.{10 + i % 2}:{1000 + i}") for i in range(1000)]
    lab.change(forwards(*rows))
    check_equal(len(lab.vmnatd.ctl("forwards")), 1000, "forwards")
    lab.change(forwards(*rows[:-1]))
    check_equal(len(lab.vmnatd.ctl("forwards")), 999, "forwards")
    lab.restore()
    check_equal(lab.vmnatd.ctl("forwards"), [], "forwards")


@suite.test("the uplink's address, gateway and MTU change: masquerade follows, the pool's sessions stay")
def uplink(lab):
    lab.begin()
    kept, gone = lab.flow(lab.vm1, 3400), lab.flow(lab.vm3, 3401)
    lab.other_router.answers = True

    def move(wanted):
        wanted["uplink"] |= {"address": f"{MOVED}/24", "gateway": "203.0.113.254", "mtu": 1400}
    with lab.ending(1):
        changed = lab.change(move)
    check("uplink.mtu is now 1400" in changed and f"uplink.address is now {MOVED}/24" in changed, str(changed))
    status = lab.vmnatd.ctl("status")["uplink"]
    check_equal((status["address"], status["gateway"], status["gateway_mac"], status["mtu"]),
                (f"{MOVED}/24", "203.0.113.254", lab.other_router.mac, 1400), "status")
    kept.check_goes_on()
    check_equal(lab.flow(lab.vm3, 3401).external[0], MOVED, "the masquerade's address")
    check(gone.external[0] != MOVED, "it was another one")
    check(not lab.sees_arp_answer("203.0.113.2"), "the former address is still answered for")
    lab.vm1.wire.send(lab.vm1.routed(REMOTE) / UDP(sport=3400, dport=5000) / Raw(bytes(1400)))
    lab.router.expect(lambda f: IP in f and f[IP].flags == "MF", "a fragment: the MTU is smaller")
    with lab.ending(1):
        lab.restore()
    kept.check_goes_on()


@suite.test("what needs a restart is named, and a bad file changes nothing")
def refusals(lab):
    lab.begin()
    before = lab.vmnatd.ctl("config")
    flow = lab.flow(lab.vm1, 3500)

    def by_dhcp(wanted):
        wanted["uplink"]["address"] = "dhcp"
        del wanted["uplink"]["gateway"]
    check("needs a restart: uplink.address" in lab.refused(by_dhcp), "static to dhcp")
    check("uplink.mtu: " in lab.refused(lambda wanted: wanted["uplink"].update(mtu=9000)), "a larger MTU")
    check("at most 4096" in lab.refused(pool("203.0.96.0-203.0.113.254")), "too many addresses")
    check("there is room for 512" in lab.refused(pool("198.18.0.0-198.18.2.255")), "more than there is room for")
    check("vmnat.yaml:" in lab.refused(pool(FIRST, drain=[SECOND])), "drain of a foreign address")
    check_equal(lab.vmnatd.ctl("config"), before, "configuration in effect")
    flow.check_goes_on()
    lab.vmnatd.check_invariants()


@suite.test(f"{ROUNDS} times around: add, drain, remove, forward, move, and the sessions that may stay do")
def again_and_again(lab):
    lab.begin()
    stays = lab.flow(lab.vm3, 3600)
    for number in range(ROUNDS):
        lab.change(pool(FIRST, THIRD), during=stays.send)
        flows = [lab.flow(guest, 3700 + number) for guest in (lab.vm1, lab.vm2)]
        on_third = sum(flow.external[0] == THIRD for flow in flows)
        lab.change(pool(FIRST, THIRD, drain=[THIRD]), during=stays.send)
        for flow in flows:
            flow.check_goes_on()
        with lab.ending(on_third):
            lab.change(pool(FIRST, forwards=[{"protocol": "tcp", "port": 8080, "to": "192.168.122.10:80"}]),
                       during=stays.send)
        stays.check_goes_on()
        lab.restore()


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
