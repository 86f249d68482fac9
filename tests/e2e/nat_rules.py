#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Rules of a network (nat.rules), to the byte, on vmnatd and on the kernel with rules of nftables that say the same.

    192.168.122.0/24 -> 198.19.16.0/20    not translated
    vm2 .11          -> 198.19.32.0/20    by 203.0.113.30
    192.168.122.0/24 -> 198.19.48.0/20    by 203.0.113.31 or .32       else: by 203.0.113.2

    lab 192.168.5.0/24, vm3 .10           forward: route

The wires are those of behaviour/. Then, on vmnatd: rules change while it runs, and a restart.
"""

import itertools

from harness.tap import check, check_equal
from harness.waiting import wait_until
from harness.wire import Ether

from behaviour.case import ICMP, IP, TCP, UDP, Differs, case
from behaviour.frames import PROHIBITED, TTL_EXPIRED, Error, rejected, routed, translated
from behaviour.gateway import EXTERNAL, REMOTE, ROUTER_MAC, STRANGER, UPLINK_MAC
from behaviour.kernel import KernelGateway
from behaviour.lab import suite_of
from behaviour.vmnat import NAT, VmnatGateway

NETWORK, SECOND = "192.168.122.0/24", "192.168.122.11"
EXEMPT, BY_VM, BY_DESTINATION = "198.19.16.0/20", "198.19.32.0/20", "198.19.48.0/20"
VMS_OWN, OTHERS = "203.0.113.30", ("203.0.113.31", "203.0.113.32")
RULES = [{"to": EXEMPT, "addresses": "none"},
         {"from": SECOND, "to": BY_VM, "addresses": [VMS_OWN]},
         {"from": NETWORK, "to": BY_DESTINATION, "addresses": [f"{OTHERS[0]}-{OTHERS[1]}"]}]
HOP = "198.51.100.99"  # a router on the way
GRE = (47, bytes.fromhex("000008004500001400000000400100000a0000010a000002"))
LAST = itertools.count(1)


class Vmnat(VmnatGateway):
    nat = {name: keys for name, keys in NAT.items() if name != "lab"} | {"default": {**NAT["default"], "rules": RULES}}
    leaves_with = (EXTERNAL, VMS_OWN, *OTHERS, "192.168.122.10", SECOND, "192.168.5.10")

    def configuration(self, directory):
        made = super().configuration(directory)
        made["networks"][1]["forward"] = "route"
        return made


class Kernel(KernelGateway):
    more_addresses = (VMS_OWN, *OTHERS)
    more_ways = ('iifname "uplink0" oifname "br-lab" accept',)
    more_translations = {"prerouting": (),
                         "postrouting": ("ip saddr 192.168.5.0/24 accept", f"ip saddr {NETWORK} ip daddr {EXEMPT} accept",
                                         f"ip saddr {SECOND} ip daddr {BY_VM} snat to {VMS_OWN}",
                                         f"ip saddr {NETWORK} ip daddr {BY_DESTINATION} snat to {OTHERS[0]}-{OTHERS[1]}")}


def remote(block) -> str:
    """One of its own for each case."""
    return f"{block.rsplit('.', 1)[0]}.{next(LAST) % 250 + 1}"


def inward(frame, guest) -> bytes:
    """What the router sends to an inside address, as the VM sees it."""
    return routed(frame, (guest.gateway_mac, guest.mac))


def out_by(external, frame) -> bytes:
    return translated(frame, (UPLINK_MAC, ROUTER_MAC), source=external)


def questions(t):
    """What a VM may ask, and how each is answered: layers above IP."""
    return ((UDP(sport=t.port(), dport=53) / b"question", lambda sent: UDP(sport=53, dport=sent.sport) / b"answer"),
            (ICMP(id=t.port(), seq=1) / b"?", lambda sent: ICMP(type=0, id=sent.id, seq=1) / b"?"),
            (TCP(sport=t.port(), dport=80, flags="S", seq=100),
             lambda sent: TCP(sport=80, dport=sent.sport, flags="SA", seq=900, ack=101)))


@case("flows to an exempt destination are routed both ways as they are")
def exempt(t):
    there = remote(EXEMPT)
    for layer, answer in questions(t):
        sent = t.vm1.ip(there) / layer
        t.put(t.vm1, sent, router=[t.leaked(sent)])
        back = t.router.ip(t.vm1.address, src=there) / answer(layer)
        t.put(t.router, back, vm1=[inward(back, t.vm1)])
        t.put(t.vm1, sent, router=[t.leaked(sent)])


@case("a protocol without ports is routed to an exempt destination, of two VMs at once")
def exempt_without_ports(t):
    there = remote(EXEMPT)
    for guest in (t.vm1, t.vm2):
        sent = guest.ip(there, proto=GRE[0]) / GRE[1]
        t.put(guest, sent, router=[t.leaked(sent)])
        back = t.router.ip(guest.address, src=there, proto=GRE[0]) / GRE[1]
        t.put(t.router, back, **{guest.name: [inward(back, guest)]})


@case("nothing comes in to an inside address but replies", kernel="its filter rejects what vmnatd drops")
def replies_alone(t):
    there = remote(EXEMPT)
    sent = t.vm1.ip(there) / UDP(sport=t.port(), dport=53) / b"question"
    t.put(t.vm1, sent, router=[t.leaked(sent)])
    for frame in (t.router.ip(t.vm1.address, src=there) / UDP(sport=54, dport=sent[UDP].sport) / b"another port",
                  t.router.ip(t.vm2.address, src=there) / UDP(sport=53, dport=sent[UDP].sport) / b"another VM",
                  t.router.ip(t.vm1.address, src=REMOTE) / UDP(sport=53, dport=sent[UDP].sport) / b"another remote",
                  t.router.ip(t.vm1.address, src=there) / TCP(sport=t.port(), dport=22, flags="S"),
                  t.router.ip(t.vm1.address, src=there) / ICMP(id=t.port(), seq=1) / b"ping"):
        t.put(t.router, frame, drop="not_external")


@case("an error about what was routed as it is comes in as it is")
def exempt_error(t):
    sent = t.vm1.ip(remote(EXEMPT)) / UDP(sport=t.port(), dport=53) / b"far away"
    t.put(t.vm1, sent, router=[t.leaked(sent)])
    error = t.router.ip(t.vm1.address, src=HOP) / ICMP(type=TTL_EXPIRED[0], code=0) / t.leaked(sent)[14:42]
    t.put(t.router, error, vm1=[inward(error, t.vm1)])


@case("a VM's flows to a destination of its rule leave by the rule's address, other VMs' by the network's")
def by_vm(t):
    there, port = remote(BY_VM), t.port()
    for guest, external in ((t.vm2, VMS_OWN), (t.vm1, EXTERNAL)):
        sent = guest.ip(there) / UDP(sport=port, dport=53) / b"question"
        t.put(guest, sent, router=[out_by(external, sent)])
        answer = t.router.ip(external, src=there) / UDP(sport=53, dport=port) / b"answer"
        t.put(t.router, answer, **{guest.name: [t.back(answer, guest)]})
    elsewhere = t.vm2.ip(REMOTE) / UDP(sport=t.port(), dport=53) / b"elsewhere"
    t.put(t.vm2, elsewhere, router=[t.out(elsewhere)])


@case("flows to a destination leave by one of its addresses, a VM always by the same, pings and GRE, too")
def by_destination(t):
    for guest in (t.vm1, t.vm2):
        there = remote(BY_DESTINATION)
        sources = set()
        for layer in (UDP(sport=t.port(), dport=53) / b"?", TCP(sport=t.port(), dport=80, flags="S"), ICMP(id=t.port()) / b"?"):
            sources.add(t.ask(guest, guest.ip(there) / layer, t.router)[IP].src)
        sources.add(t.ask(guest, guest.ip(there, proto=GRE[0]) / GRE[1], t.router)[IP].src)
        check(sources <= set(OTHERS), f"{guest.name} leaves by {sources}")
        check(t.is_kernel or len(sources) == 1, f"{guest.name} leaves by {sources}")


@case("an endpoint keeps its mapping of each pool, whatever it sends by the others", kernel="it has no mappings")
def mapping_by_pool(t):
    port = t.port()
    for _ in range(2):
        for block, external in ((BY_VM, VMS_OWN), ("198.19.0.0/20", EXTERNAL)):
            sent = t.vm2.ip(remote(block)) / UDP(sport=port, dport=53) / b"here"
            t.put(t.vm2, sent, router=[out_by(external, sent)])


@case("the rules of one network are no other's")
def other_network(t):
    for block in (EXEMPT, BY_DESTINATION):
        sent = t.vm5.ip(remote(block)) / UDP(sport=t.port(), dport=53) / b"question"
        t.put(t.vm5, sent, router=[t.out(sent)])


# --- a network that is routed -----------------------------------------------------------------------------


@case("a VM of a routed network reaches the outside by its own address, and is answered there")
def routed_out(t):
    for layer, answer in questions(t):
        sent = t.vm3.ip(REMOTE) / layer
        t.put(t.vm3, sent, router=[t.leaked(sent)])
        back = t.router.ip(t.vm3.address, src=REMOTE) / answer(layer)
        t.put(t.router, back, vm3=[inward(back, t.vm3)])


@case("remotes reach a VM of a routed network: TCP, UDP, pings, protocols without ports")
def routed_in(t):
    for layer, answer in ((TCP(sport=t.port(), dport=22, flags="S", seq=7),
                           lambda came: TCP(sport=22, dport=came.sport, flags="SA", seq=1, ack=8)),
                          (UDP(sport=t.port(), dport=53) / b"question", lambda came: UDP(sport=53, dport=came.sport) / b"answer"),
                          (ICMP(id=t.port(), seq=1) / b"?", lambda came: ICMP(type=0, id=came.id, seq=1) / b"?")):
        came = t.router.ip(t.vm3.address, src=STRANGER) / layer
        t.put(t.router, came, vm3=[inward(came, t.vm3)])
        back = t.vm3.ip(STRANGER) / answer(layer)
        t.put(t.vm3, back, router=[t.leaked(back)])
    gre = t.router.ip(t.vm3.address, src=STRANGER, proto=GRE[0]) / GRE[1]
    t.put(t.router, gre, vm3=[inward(gre, t.vm3)])


@case("what nobody in a routed network may be reached by is dropped", kernel="it has other names and rules for that")
def routed_strays(t):
    for source in (t.vm1.address, EXTERNAL, "127.0.0.1"):
        t.put(t.router, t.router.ip(t.vm3.address, src=source) / UDP(sport=9, dport=53) / b"in whose name",
              drop="source_foreign")
    t.put(t.router, t.router.ip(t.vm3.address, src=STRANGER) / ICMP(type=0, id=t.port(), seq=1) / b"unasked", drop="no_session")
    t.put(t.router, t.router.ip(t.vm3.address, src=STRANGER) / TCP(sport=9, dport=t.port(), flags="A"), drop="tcp_not_syn")
    t.put(t.router, t.router.ip(t.vm3.gateway, src=STRANGER) / UDP(sport=9, dport=53) / b"the gateway", drop="not_external")


@case("a VM of a routed network pings the uplink's address, and reaches no other network")
def routed_inside(t):
    ping = t.vm3.ip(EXTERNAL) / ICMP(id=t.port(), seq=1) / b"?"
    check_equal(t.ask(t.vm3, ping, t.vm3)[ICMP].type, 0, "the answer")
    frame = t.vm3.ip(t.vm1.address) / UDP(sport=t.port(), dport=53) / b"neighbour"
    t.put(t.vm3, frame, drop="between_networks", vm3=[Error(PROHIBITED, frame, t.vm3.gateway)],
          kernel=Differs("calls it a closed port", vm3=[rejected(frame, t.vm3.gateway)]))


suite = suite_of(Vmnat, Kernel)


# --- a running daemon -------------------------------------------------------------------------------------


def set_rules(gateway, rules):
    gateway.vmnatd.config["networks"][0]["nat"]["rules"] = rules
    gateway.vmnatd.write_config()
    gateway.vmnatd.ctl("reload")


def source_outside(gateway, guest, there, port):
    sent = guest.ip(there) / UDP(sport=port, dport=53) / b"question"
    seen = gateway.exchange(guest, [sent], {"router": [None]})
    return [Ether(raw)[IP].src for raw in seen.get("router", [])]


@suite.test("vmnat: rules that are taken away end the flows that they have made, and new ones go by what is left")
def taken_away(lab):
    gateway = lab.gateway("vmnat")
    vm1, vm2 = gateway.guests["vm1"], gateway.guests["vm2"]
    flows = ((vm1, "198.19.16.200", vm1.address), (vm2, "198.19.32.200", VMS_OWN), (vm1, "198.19.0.200", EXTERNAL))
    for guest, there, external in flows:
        check_equal(source_outside(gateway, guest, there, 33000), [external], f"towards {there}")
    staying = [s for s in gateway.sessions() if s["remote"].startswith("198.19.0.200")]
    set_rules(gateway, [])
    check_equal([s for s in gateway.sessions() if s["external"].split(":")[0] in (VMS_OWN, *OTHERS, vm1.address, vm2.address)],
                [], "sessions by what is gone")
    check_equal([s["external"] for s in gateway.sessions() if s["remote"].startswith("198.19.0.200")],
                [s["external"] for s in staying], "a session that no rule has made")
    for guest, there, _ in flows:
        check_equal(source_outside(gateway, guest, there, 33000), [EXTERNAL], f"towards {there} without rules")
    set_rules(gateway, RULES)
    for guest, there, external in flows:
        check_equal(source_outside(gateway, guest, there, 33001), [external], f"towards {there} with rules again")


@suite.test("vmnat: after a kill and a start sessions of all rules go on")
def restarted(lab):
    gateway = lab.gateway("vmnat")
    vm1, vm2, router = gateway.guests["vm1"], gateway.guests["vm2"], gateway.router
    flows = ((vm1, "198.19.16.201", vm1.address), (vm2, "198.19.32.201", VMS_OWN), (vm1, "198.19.0.201", EXTERNAL))
    for guest, there, external in flows:
        check_equal(source_outside(gateway, guest, there, 34000), [external], f"towards {there}")
    before = gateway.vmnatd.facts()
    gateway.vmnatd.kill()
    gateway.vmnatd.start()
    gateway.vmnatd.check_restored(before)
    for guest, there, external in flows:
        answer = router.ip(external, src=there) / UDP(sport=53, dport=34000) / b"after"
        seen = gateway.exchange(router, [answer], {guest.name: [None]})
        check_equal([raw[-5:] for raw in seen.get(guest.name, [])], [b"after"], f"what comes from {there}")
    gateway.check_in_the_end()


@suite.test("vmnat: bad rules are refused with what is wrong, and nothing changes")
def refused(lab):
    gateway = lab.gateway("vmnat")
    for rule, why in (({"from": "192.168.5.0/24", "addresses": "none"}, "has no address of network 'default'"),
                      ({"addresses": [OTHERS[0]]}, "is in another pool of this network, too"),
                      ({"addresses": ["203.0.113.1"]}, "includes the uplink's gateway")):
        try:
            set_rules(gateway, [*RULES, rule])
            check(False, f"{rule} is taken")
        except Exception as problem:
            check(why in str(problem), f"{rule}: {problem}")
    set_rules(gateway, RULES)
    wait_until(lambda: source_outside(gateway, gateway.guests["vm2"], "198.19.32.202", 35000) == [VMS_OWN], "rules hold")


if __name__ == "__main__":
    suite.main()
