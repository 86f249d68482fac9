#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of networks and ports, on vmnatd and, as a control, on the kernel with the same rules in nftables; the wires
are those of behaviour/gateway.py, and the rules those of the network default, whose VMs are vm1 .10 and vm2 .11.

    rules.py                                      every case on both
    rules.py "kernel: a port that no rule..."     one case on one of them
"""

from behaviour.case import Differs, Trial
from behaviour.frames import PROHIBITED, Error, Reset, routed
from behaviour.gateway import EXTERNAL, PREFIXES, REMOTE, STRANGER
from behaviour.kernel import KernelGateway, bridge
from behaviour.vmnat import VmnatGateway
from harness.tap import Suite, check, check_equal, comment
from harness.wire import BROADCAST, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, ICMPv6EchoRequest

VM1, VM2 = f"{PREFIXES['default']}.10", f"{PREFIXES['default']}.11"
OF_NETWORK = [
    {"direction": "in", "action": "accept", "protocol": "tcp", "local_port": 80},
    {"direction": "in", "action": "accept", "protocol": "udp", "remote": "198.51.100.0/24", "local_port": 53},
    {"direction": "in", "action": "accept", "protocol": "icmp", "icmp_type": 8, "remote": "network:default"},
    {"direction": "in", "action": "reject", "protocol": "tcp", "local_port": "8333-8340"},
    {"direction": "in", "action": "reject", "protocol": "udp", "local_port": 4500},
    {"direction": "out", "action": "drop", "protocol": "tcp", "remote_port": 25},
    {"direction": "out", "action": "reject", "protocol": "udp", "remote": STRANGER},
    {"direction": "out", "action": "reject", "protocol": "tcp", "remote_port": 26},
]
OF_VM1 = [
    {"direction": "in", "action": "drop", "protocol": "tcp", "remote": STRANGER, "local_port": 80},
    {"direction": "in", "action": "accept", "protocol": "udp", "remote": "port:vm2", "local_port": "4000-4100"},
]
INSIDE = bridge("default")
IN_NFT = f"""
    ct state established,related accept;
    iifname "{INSIDE}" tcp dport 25 drop;
    iifname "{INSIDE}" ip daddr {STRANGER} ip protocol udp reject with icmp type admin-prohibited;
    iifname "{INSIDE}" tcp dport 26 reject with tcp reset;
    oifname "{INSIDE}" ip daddr {VM1} ip saddr {STRANGER} tcp dport 80 drop;
    oifname "{INSIDE}" ip daddr {VM1} ip saddr {VM2} udp dport 4000-4100 accept;
    oifname "{INSIDE}" tcp dport 80 accept;
    oifname "{INSIDE}" ip saddr 198.51.100.0/24 udp dport 53 accept;
    oifname "{INSIDE}" ip saddr {PREFIXES['default']}.0/24 icmp type echo-request accept;
    oifname "{INSIDE}" tcp dport 8333-8340 reject with tcp reset;
    oifname "{INSIDE}" udp dport 4500 reject with icmp type admin-prohibited;
    oifname "{INSIDE}" drop;
    iifname "{INSIDE}" accept;
"""


class RulesOnVmnat(VmnatGateway):
    def configuration(self, directory):
        made = super().configuration(directory)
        network = made["networks"][0]
        network["rules"] = OF_NETWORK
        network["ports"][0]["rules"] = OF_VM1
        return made


class RulesOnKernel(KernelGateway):
    """br_netfilter hands what is bridged to the same chain as what is routed. The kernel leaves the checksums of its RSTs
    to interfaces that say they can finish them, as veths do that cannot."""

    def __init__(self, scope):
        super().__init__(scope)
        with self.inside.entered():
            self.inside.write_sysctl("net/bridge/bridge-nf-call-iptables", 1)
        for name in ("uplink0", *(port for network in PREFIXES for port in self.ports_of(network).values())):
            self.inside.run("ethtool", "-K", name, "tx", "off")

    def rules(self):
        chain = "chain forward { type filter hook forward priority filter; "
        text = super().rules()
        check(chain in text, f"the kernel's rules have another form: {text}")
        return text.replace(chain, chain + " ".join(IN_NFT.split()) + " ")


GATEWAYS = {"vmnat": RulesOnVmnat, "kernel": RulesOnKernel}
REJECTS_LATER = "quotes the packet as it was about to be sent on"


class Lab:
    def __init__(self, scope):
        self.scope, self.gateways, self.current = scope, {}, None

    def gateway(self, name):
        if name not in self.gateways:
            self.gateways[name] = GATEWAYS[name](self.scope)
        self.current = self.gateways[name]
        return self.current

    def evidence(self):
        return self.current.evidence() if hasattr(self.current, "evidence") else ""


suite = Suite(Lab)


def case(sentence):
    """A subtest on each gateway, after which vmnatd's drops have grown by what the case has named."""
    def register(function):
        for name in GATEWAYS:
            suite.test(f"{name}: {sentence}")(tried_on(name, function))
        return function
    return register


def tried_on(name, function):
    def subtest(lab):
        gateway = lab.gateway(name)
        trial = Trial(gateway)
        gateway.given.clear()
        function(trial)
        for difference in dict.fromkeys(trial.differences):
            comment(f"the kernel {difference}")
        grown = {reason: value - trial.before.get(reason, 0) for reason, value in gateway.drops().items()
                 if value != trial.before.get(reason, 0) and reason != "arp_unasked"}
        if not trial.is_kernel:
            check_equal(grown, dict(trial.drops), "drops by reason")
    return subtest


def told_prohibited(frame, source, sender):
    """Expectations of who is rejected by ICMP: vmnatd's, and the kernel's."""
    quote = routed(frame, ("02:00:00:00:00:00",) * 2)[14:]
    return {sender: [Error(PROHIBITED, frame, source)]}, Differs(
        REJECTS_LATER, **{sender: [Error(PROHIBITED, frame, source, quoted=quote)]})


def between(sender, other, **fields):
    return sender.ether(other.mac) / IP(src=sender.address, dst=other.address, id=0x77, **fields)


def pass_over(t, sender, other, frame):
    t.put(sender, frame, **{other.name: [frame]})


# --- out --------------------------------------------------------------------------------------------------

@case("out: what no rule drops passes, and so do its answers, whatever comes in else")
def out_passes(t):
    outbound, inbound = t.open_tcp(t.vm1, remote_port=8000)
    t.pass_out(t.vm1, outbound("PA") / b"question")
    t.put(t.router, inbound("PA") / b"answer", vm1=[t.back(inbound("PA") / b"answer", t.vm1)])
    answer = t.open_udp(t.vm1, remote_port=9000) / b"answer"
    t.put(t.router, answer, vm1=[t.back(answer, t.vm1)])


@case("out: a port that a rule drops is dropped in silence, of TCP and not of UDP")
def out_dropped(t):
    syn = t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=25, flags="S")
    t.put(t.vm1, syn, drop="rule")
    datagram = t.vm1.ip(REMOTE) / UDP(sport=t.port(), dport=25) / b"mail?"
    t.put(t.vm1, datagram, router=[t.out(datagram)])


@case("out: a remote that a rule rejects is told by ICMP to be prohibited")
def out_rejected(t):
    datagram = t.vm1.ip(STRANGER) / UDP(sport=t.port(), dport=53) / b"a question of a decent length"
    told, there = told_prohibited(datagram, t.vm1.gateway, "vm1")
    t.put(t.vm1, datagram, drop="rule_reject", kernel=there, **told)


@case("out: a connection that a rule rejects is reset")
def out_reset(t):
    syn = t.vm1.ip(REMOTE) / TCP(sport=t.port(), dport=26, flags="S", seq=77)
    t.put(t.vm1, syn, drop="rule_reject", vm1=[Reset(syn)])


# --- in ---------------------------------------------------------------------------------------------------

@case("in: a forward to a port that a rule accepts passes, and is answered")
def in_passes(t):
    port = t.port()
    syn = t.from_remote() / TCP(sport=port, dport=8080, flags="S", seq=7)
    t.put(t.router, syn, vm1=[t.back(syn, t.vm1, dport=80)])
    answer = t.vm1.ip(REMOTE) / TCP(sport=80, dport=port, flags="SA", seq=1, ack=8)
    t.put(t.vm1, answer, router=[t.out(answer, sport=8080)])


@case("in: the port's own rule goes before the network's, which would accept")
def in_own_first(t):
    t.put(t.router, t.from_remote(STRANGER) / TCP(sport=t.port(), dport=8080, flags="S", seq=7), drop="rule")


@case("in: of one remote a forward is let in, of another one it is not")
def in_by_remote(t):
    question = t.from_remote() / UDP(sport=t.port(), dport=5353) / b"question"
    t.put(t.router, question, vm1=[t.back(question, t.vm1, dport=53)])
    t.put(t.router, t.from_remote("192.0.2.9") / UDP(sport=t.port(), dport=5353) / b"question", drop="rule")


@case("in: what no rule accepts is dropped, because there are some that accept")
def in_by_default(t):
    t.put(t.router, t.from_remote() / UDP(sport=t.port(), dport=123) / b"time?", drop="rule")


@case("in: a forward that a rule rejects is reset, of UDP told to be prohibited")
def in_rejected(t):
    syn = t.from_remote() / TCP(sport=t.port(), dport=8333, flags="S", seq=9)
    t.put(t.router, syn, drop="rule_reject", router=[Reset(syn)])
    datagram = t.from_remote() / UDP(sport=t.port(), dport=4500) / b"a question of a decent length"
    quote = routed(datagram, ("02:00:00:00:00:00",) * 2)[14:]
    t.put(t.router, datagram, drop="rule_reject", router=[Error(PROHIBITED, datagram, EXTERNAL)],
          kernel=Differs(REJECTS_LATER, router=[Error(PROHIBITED, datagram, EXTERNAL, quoted=quote)]))


# --- between VMs ------------------------------------------------------------------------------------------

@case("between VMs: a connection to a port that is open passes both ways, and no other segment of the server's")
def vm_to_vm(t):
    port = t.port()
    syn = between(t.vm2, t.vm1) / TCP(sport=port, dport=80, flags="S", seq=1)
    pass_over(t, t.vm2, t.vm1, syn)
    pass_over(t, t.vm1, t.vm2, between(t.vm1, t.vm2) / TCP(sport=80, dport=port, flags="SA", seq=5, ack=2))
    pass_over(t, t.vm2, t.vm1, between(t.vm2, t.vm1) / TCP(sport=port, dport=80, flags="A", seq=2, ack=6))
    pass_over(t, t.vm1, t.vm2, between(t.vm1, t.vm2) / TCP(sport=80, dport=port, flags="PA", seq=6, ack=2) / b"page")
    t.put(t.vm1, between(t.vm1, t.vm2) / TCP(sport=81, dport=port, flags="SA", seq=5, ack=2), drop="rule")


@case("between VMs: a port that is not open is not reached")
def vm_to_closed(t):
    t.put(t.vm2, between(t.vm2, t.vm1) / TCP(sport=t.port(), dport=81, flags="S", seq=1), drop="rule")
    t.put(t.vm2, between(t.vm2, t.vm1) / UDP(sport=t.port(), dport=53) / b"of another remote", drop="rule")


@case("between VMs: who is named by its port is let in, in that direction alone; answers pass")
def vm_by_port(t):
    port = t.port()
    question = between(t.vm2, t.vm1) / UDP(sport=port, dport=4050) / b"question"
    t.put(t.vm1, between(t.vm1, t.vm2) / UDP(sport=4050, dport=port) / b"answer before it", drop="rule")
    pass_over(t, t.vm2, t.vm1, question)
    pass_over(t, t.vm1, t.vm2, between(t.vm1, t.vm2) / UDP(sport=4050, dport=port) / b"answer")
    t.put(t.vm1, between(t.vm1, t.vm2) / UDP(sport=port, dport=4050) / b"the other way", drop="rule")


@case("between VMs: a ping is answered, and an answer that nobody asked for does not come")
def vm_pings(t):
    port = t.port()
    t.put(t.vm2, between(t.vm2, t.vm1) / ICMP(type=0, id=port, seq=1), drop="rule")
    pass_over(t, t.vm1, t.vm2, between(t.vm1, t.vm2) / ICMP(type=8, id=port, seq=1))
    pass_over(t, t.vm2, t.vm1, between(t.vm2, t.vm1) / ICMP(type=0, id=port, seq=1))


@case("between VMs: an ICMP error passes if it is about what was sent")
def vm_errors(t):
    port = t.port()
    question = between(t.vm2, t.vm1) / UDP(sport=port, dport=4051) / b"question"

    def error(about):
        return between(t.vm1, t.vm2) / ICMP(type=3, code=3) / bytes(about)[14:42]
    pass_over(t, t.vm2, t.vm1, question)
    pass_over(t, t.vm1, t.vm2, error(question))
    other = between(t.vm2, t.vm1) / UDP(sport=port, dport=4052) / b"question"
    t.put(t.vm1, error(other), drop="rule")


@case("between VMs: what is rejected is told, as from the other VM or from the gateway")
def vm_rejected(t):
    syn = between(t.vm2, t.vm1) / TCP(sport=t.port(), dport=26, flags="S", seq=77)
    t.put(t.vm2, syn, drop="rule_reject", vm2=[Reset(syn)])
    syn = between(t.vm1, t.vm2) / TCP(sport=t.port(), dport=8333, flags="S", seq=77)
    t.put(t.vm1, syn, drop="rule_reject", vm1=[Reset(syn)])


@case("between VMs: of a broadcast each gets its copy by its rules")
def vm_broadcast(t):
    frame = t.vm1.ether(BROADCAST) / IP(src=t.vm1.address, dst=f"{PREFIXES['default']}.255") / UDP(sport=9, dport=9) / b"all?"
    t.put(t.vm1, frame, drop="rule")
    t.put(t.vm2, t.vm2.ether(BROADCAST) / IP(src=t.vm2.address, dst="255.255.255.255") / UDP(sport=9, dport=4050) / b"all?",
          **{"vm1": [t.vm2.ether(BROADCAST) / IP(src=t.vm2.address, dst="255.255.255.255") / UDP(sport=9, dport=4050) / b"all?"]},
          kernel=Differs("knows vm1 by its address, and this is for another one"))


@case("between VMs: ARP passes, and IPv6 does not, for which there is no rule")
def vm_other(t):
    request = t.vm1.arp(1, t.vm2.address)
    t.put(t.vm1, request, vm2=[request])
    frame = t.vm1.ether(t.vm2.mac) / IPv6(src="fe80::1", dst="fe80::2") / ICMPv6EchoRequest(data=b"a neighbour")
    t.put(t.vm1, frame, drop="rule", kernel=Differs("has rules for IPv6 apart", vm2=[frame]))


@case("networks without rules are as they were")
def others(t):
    answer = t.open_udp(t.vm3) / b"answer"
    t.put(t.router, answer, vm3=[t.back(answer, t.vm3)])


@suite.test("vmnat: after all of this every frame is accounted for, and no inside address left by the uplink")
def in_the_end(lab):
    lab.gateway("vmnat").check_in_the_end()


if __name__ == "__main__":
    suite.main()
