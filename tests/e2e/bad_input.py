#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Truncated, oversize, corrupted and random frames from a VM and from the uplink, for 20 s (60 s with VMNAT_LONG).

Between rounds of rubbish a good flow must pass on every network, so that a stuck worker shows at once. In the
end every frame is accounted for and none with an inside source address has left by the uplink. The frames come
from a fixed seed: what fails once fails again with VMNAT_SEED.
"""

import os
import random
import time

from harness import config
from harness.tap import Suite, check, check_equal
from harness.wire import ARP, ICMP, IP, TCP, UDP, Ether, Raw
from veth_lab import GATEWAY_MACS, REMOTE, VethLab

SECONDS = 60 if os.environ.get("VMNAT_LONG") else 20
SEED = int(os.environ.get("VMNAT_SEED", "1"))
ROUND_FRAMES = 200
LONGEST_FRAME = 9000


def make_lab(scope):
    lab = VethLab(scope, mtu=LONGEST_FRAME)
    for interface in ("uplink0", "port1"):  # vmnatd may have set it: the kernel must let what is too long through
        lab.gateway_side.run("ip", "link", "set", interface, "mtu", LONGEST_FRAME)
    lab.settle()
    return lab


suite = Suite(make_lab)


# --- rubbish ----------------------------------------------------------------------------------------------


def good_frames(lab, from_vm):
    """Frames of every kind that vmnatd understands, to be spoilt; to a VM's gateway or to the uplink."""
    if from_vm:
        guest = lab.vm1
        link, ip = guest.wire.to(GATEWAY_MACS["default"]), {"src": guest.address, "dst": REMOTE}
        arp = ARP(hwsrc=guest.wire.mac, psrc=guest.address, pdst=guest.gateway)
    else:
        link, ip = lab.router.to(config.UPLINK_MAC), {"src": REMOTE, "dst": config.UPLINK_ADDRESS}
        arp = ARP(hwsrc=lab.router.mac, psrc=lab.router.address, pdst=config.UPLINK_ADDRESS)
    dhcp = bytes([1, 1, 6, 0]) + bytes(232) + bytes.fromhex("63825363350101ff")
    inner = IP(src=config.UPLINK_ADDRESS, dst=REMOTE) / UDP(sport=2001, dport=53)
    payloads = [UDP(sport=3000, dport=53) / Raw(bytes(64)), TCP(sport=3001, dport=80, flags="S", options=[("MSS", 1460)]),
                ICMP(id=1) / Raw(bytes(56)), ICMP(type=3, code=4, nexthopmtu=576) / inner, ICMP(type=11) / inner,
                UDP(sport=68, dport=67) / Raw(dhcp)]
    packets = [link / IP(**ip) / payload for payload in payloads]
    packets += [link / IP(**ip, flags="MF") / payloads[0], link / IP(**ip, frag=100) / Raw(bytes(80)),
                link / IP(**ip, options=[b"\x07\x0b\x04" + bytes(8)]) / payloads[0], link / arp,
                Ether(src=link.src, dst="ff:ff:ff:ff:ff:ff") / arp]
    return [bytes(packet) for packet in packets]


def truncated(frame, chance):
    return frame[:chance.randrange(1, len(frame))]


def oversize(frame, chance):
    return frame + chance.randbytes(chance.randrange(1515, LONGEST_FRAME) - len(frame))


def corrupted(frame, chance):
    """Some bytes behind the MAC addresses are others; often those where lengths and offsets stand."""
    spoilt = bytearray(frame)
    for _ in range(chance.randrange(1, 5)):
        spoilt[min(chance.choice([12, 14, 16, 17, 20, 21, 23, 34, 38, 46, chance.randrange(12, len(frame))]),
                   len(frame) - 1)] = chance.randrange(256)
    return bytes(spoilt)


def random_payload(frame, chance):
    return frame[:14] + chance.randbytes(chance.randrange(0, 1500))


def random_frame(_frame, chance):
    return chance.randbytes(chance.randrange(1, 1515))


KINDS = {truncated: "truncated frames", oversize: "frames longer than the MTU", corrupted: "corrupted headers",
         random_payload: "random bytes behind good MAC addresses", random_frame: "random bytes"}


def send_rubbish(lab, wire, frames, kinds, chance):
    for _ in range(ROUND_FRAMES):
        frame = chance.choice(kinds)(chance.choice(frames), chance)
        try:
            wire.socket.send(frame)
        except OSError:
            pass  # shorter than an Ethernet header or longer than the wire's MTU: the kernel does not take it


def rubbish_for(lab, seconds, sides, kinds):
    """Rounds of rubbish, a good flow after each; returns how many rounds there were."""
    chance = random.Random(SEED)
    rounds, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        for wire, frames in sides:
            send_rubbish(lab, wire, frames, kinds, chance)
        lab.check_still_works()
        for wire in (lab.router, *(guest.wire for guest in lab.guests)):
            wire.drain()
        rounds += 1
    return rounds


def sides(lab):
    return [(lab.vm1.wire, good_frames(lab, from_vm=True)), (lab.router, good_frames(lab, from_vm=False))]


def survives(kind):
    def subtest(lab):
        received = lab.vmnatd.counters()["received"]
        rounds = rubbish_for(lab, SECONDS / (len(KINDS) + 1), sides(lab), [kind])
        check(rounds > 0, "not one round of frames was sent")
        arrived = lab.vmnatd.counters()["received"] - received
        check(arrived > rounds * ROUND_FRAMES / 4, f"only {arrived} frames arrived in {rounds} rounds: nothing was tested")
    return subtest


for each_kind, name in KINDS.items():
    suite.test(f"{name} on both sides: good traffic goes on")(survives(each_kind))


@suite.test("all of it mixed, on both sides: good traffic goes on")
def mixed(lab):
    check(rubbish_for(lab, SECONDS / (len(KINDS) + 1), sides(lab), [*KINDS]) > 0, "not one round of frames was sent")


@suite.test("every bad frame is accounted for")
def accounted(lab):
    lab.vmnatd.check_accounting()


@suite.test("no frame with an inside source address has left by the uplink")
def no_leak(lab):
    check_equal(lab.leaks()[:5], [], "frames with a foreign source on the uplink")


@suite.test("vmnatd is alive and answers")
def alive(lab):
    check(lab.vmnatd.process.running(), "vmnatd has ended")
    check(lab.vmnatd.ctl("status"), "vmnatctl status is empty")
    for worker in lab.vmnatd.ctl("invariants"):
        check(worker["holds"], f"the session tables do not agree: {worker['why']}")


if __name__ == "__main__":
    suite.main()
