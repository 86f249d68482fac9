#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""When no session is to be had, on veth ports: who is told what, what is counted and logged; veth_lab.py draws
the wires.

    default   at most 4 sessions of a VM; host-unreachable
    lab       4 external ports and no overload, questions to a port below 1024 for 5 s; as it comes: admin-prohibited
"""

import datetime
import itertools
import re

from harness.tap import Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ICMP, IP, UDP, Raw, check_checksums
from veth_lab import REMOTE, VethLab, end_with_accounts

OTHER = "198.51.100.3"
HOST_UNREACHABLE, PROHIBITED = (3, 1), (3, 13)
AT_ONCE = 20  # ICMP errors about one port's frames


def make_lab(scope):
    lab = VethLab(scope, guests=("default", "default", "lab", "lab"),
                  external=["203.0.113.3"],
                  default={"limits": {"sessions_per_port": 4}, "exhaustion_icmp": "host-unreachable"},
                  lab={"addresses": ["203.0.113.3"], "ports": "2000-2003", "overload": False,
                       "timeouts": {"udp_answered": "5s"}})
    lab.settle()
    return lab


suite = Suite(make_lab)


def refused(reason, number=1):
    return {"received": number, "generated": number, "transmitted": number, "dropped": {f"drop.{reason}": number}}


def datagram(guest, port, to=REMOTE, remote_port=5300):
    return guest.routed(to) / UDP(sport=port, dport=remote_port) / Raw(b"one more")


def use_up(lab, guest, number=4):
    """Sessions of the VM until it is refused one; answers the internal ports that have one."""
    lab.vmnatd.ctl("flush", "--network", guest.network)
    for port in range(5000, 5000 + number):
        lab.open_udp(guest, port, b"session of port %d" % port, remote_port=5300)
    return range(5000, 5000 + number)


def expect_refusal(guest, frame, kind):
    guest.wire.send(frame)
    error = guest.expect(lambda f: ICMP in f, "the refusal")
    check_equal((error[ICMP].type, error[ICMP].code, error[IP].src, error[IP].dst), (*kind, guest.gateway, guest.address),
                "the refusal")
    check_checksums(error)


@suite.test("the code that the configuration names says that no session is to be had, and others still get theirs")
def told(lab):
    held = use_up(lab, lab.vm1)
    with lab.counting(**refused("session_limit", 2)):
        for port in (5100, 5101):
            expect_refusal(lab.vm1, datagram(lab.vm1, port), HOST_UNREACHABLE)
    with lab.counting(received=len(held) + 1, transmitted=len(held) + 1):  # sessions that are there go on
        for port in held:
            lab.open_udp(lab.vm1, port, b"still %d" % port, remote_port=5300)
        lab.open_udp(lab.vm2, 5100, b"another VM")


@suite.test("when the last external port is given the next flow is refused, and when one is free again it is not")
def no_port(lab):
    use_up(lab, lab.vm3)
    with lab.counting(**refused("no_port", 2)):
        expect_refusal(lab.vm4, datagram(lab.vm4, 5100), PROHIBITED)
        expect_refusal(lab.vm3, datagram(lab.vm3, 5100, OTHER), PROHIBITED)
    check_equal(lab.vmnatd.ctl("flush", "--internal", f"{lab.vm3.address}:5000")["flushed"], 1, "flushed sessions")
    outbound = lab.open_udp(lab.vm4, 5100, b"now there is one")
    check(2000 <= outbound[UDP].sport <= 2003, f"external port {outbound[UDP].sport}")


@suite.test("questions that were answered give their ports back to others long before a conversation would (RFC 4787 REQ-5a)")
def answered(lab):
    lab.vmnatd.ctl("flush", "--network", lab.vm3.network)
    for port in range(5200, 5204):
        lab.vm3.wire.send(datagram(lab.vm3, port, remote_port=53))
        question = lab.router.expect(lambda f: UDP in f, "the question")
        lab.reply_udp(question, b"answer")
        lab.vm3.expect(lambda f: UDP in f and f[UDP].dport == port, "the answer")
    expect_refusal(lab.vm4, datagram(lab.vm4, 5204, remote_port=53), PROHIBITED)
    wait_until(lambda: not lab.vmnatd.sessions("--network", lab.vm3.network), "the four sessions have ended")
    lab.vm4.wire.send(datagram(lab.vm4, 5204, remote_port=53))
    check(2000 <= lab.router.expect(lambda f: UDP in f, "the fifth question")[UDP].sport <= 2003, "its port")


@suite.test("it is counted by VM port and by remote, and vmnatctl shows whom most of it was towards")
def counted(lab):
    use_up(lab, lab.vm1)
    before = {row["remote"]: row["refused"] for row in lab.vmnatd.ctl("exhaustion")}
    drops = {port["name"]: port["drops"].get("session_limit", 0) for port in lab.vmnatd.ctl("ports")}
    remotes = ["203.0.113.99"] * 7 + ["198.51.100.44"] * 3
    for number, remote in enumerate(remotes):
        lab.vm1.wire.send(datagram(lab.vm1, 5200 + number, remote))
    wait_until(lambda: {port["name"]: port["drops"].get("session_limit", 0) for port in lab.vmnatd.ctl("ports")} ==
               drops | {"vm1": drops["vm1"] + len(remotes)}, "the drops are counted at vm1")
    rows = lab.vmnatd.ctl("exhaustion")
    grown = {row["remote"]: row["refused"] - before.get(row["remote"], 0) for row in rows}
    check_equal({remote: number for remote, number in grown.items() if number}, {"203.0.113.99": 7, "198.51.100.44": 3},
                "refusals by remote")
    check_equal(sorted((row["refused"] for row in rows), reverse=True), [row["refused"] for row in rows], "the order")
    row = next(row for row in rows if row["remote"] == "203.0.113.99")
    check_equal((row["network"], row["port"], row["cause"], row["excess"]), ("default", "vm1", "session_limit", 0), "the row")
    check(re.search(r"203\.0\.113\.99 +7 +0 +default +vm1 +session_limit", lab.vmnatd.ctl_text("exhaustion")), "the table")


@suite.test("the log has a line about it, a second apart at least, and each refusal is in one of them")
def logged(lab):
    use_up(lab, lab.vm1)
    pattern = (r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) warn(?:ing)?: sessions refused: (\d+) since the last word, at last network (\S+), "
               r"port (\S+), remote (\S+): (\S+)")

    def lines():
        return re.findall(pattern, lab.vmnatd.process.log())

    def total():
        return sum(row["refused"] for row in lab.vmnatd.ctl("exhaustion"))

    def told():
        return sum(int(line[1]) for line in lines())
    wait_until(lambda: told() == total(), "the log has told of all refusals before")
    before = len(lines())
    for round_ in range(200):
        lab.vm1.wire.send(datagram(lab.vm1, 6000 + round_, OTHER))
    wait_until(lambda: told() == total(), "the log tells of all refusals")
    new = lines()[before:]
    times = [datetime.datetime.fromisoformat(line[0]) for line in lines()]
    check(all((later - earlier).total_seconds() > 0.9 for earlier, later in itertools.pairwise(times)), f"lines: {new}")
    check_equal(new[-1][2:], ("default", "vm1", OTHER, "session_limit"), "what the line names")
    lab.vm1.wire.drain()


@suite.test("ICMP errors about one VM's frames are limited, and leave the others theirs")
def limited(lab):
    use_up(lab, lab.vm1)
    before = lab.vmnatd.counters()
    frames = [bytes(datagram(lab.vm1, 6000 + number % 100)) for number in range(400)]  # first: they go at once
    for frame in frames:
        lab.vm1.wire.send(frame)
    wait_until(lambda: lab.vmnatd.counters()["drop.session_limit"] - before["drop.session_limit"] == 400, "all are refused")
    after = lab.vmnatd.counters()
    grown = {name: after[name] - before[name] for name in ("icmp_errors.sent", "icmp_errors.suppressed")}
    check_equal(sum(grown.values()), 400, "errors sent and not")
    check(grown["icmp_errors.sent"] >= AT_ONCE, f"errors: {grown}")
    check(grown["icmp_errors.suppressed"] > 0, f"errors: {grown}")
    frame = lab.vm2.routed(REMOTE) / UDP(sport=1, dport=33434)
    frame[IP].ttl = 1
    lab.vm2.wire.send(frame)
    lab.vm2.expect(lambda f: ICMP in f and f[ICMP].type == 11, "time exceeded, for another VM's traceroute")
    lab.vm1.wire.drain()


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
