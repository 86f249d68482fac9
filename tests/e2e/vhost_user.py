#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""vhost-user ports with a guest of the test's own, which does what no VMM and no driver does; harness/vhost_user.py.

    default   192.168.122.1/24   vm1 .10 (the test speaks vhost-user)
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth
"""

import os
import struct

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import (GET_FEATURES, GUEST_BASE, MEMORY, SET_MEM_TABLE, USER_BASE, Memory, VhostUserGuest)
from harness.waiting import wait_until
from harness.wire import ARP, IP, UDP, Raw, Router

GATEWAY, ADDRESS, MAC, REMOTE = "192.168.122.1", "192.168.122.10", "52:54:00:aa:00:01", "198.51.100.2"
NEXT, INDIRECT = 1, 4


class Lab:
    def __init__(self, scope):
        self.scope = scope
        directory = scratch_directory(scope)
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(gateway, "uplink0", wires, "isp0")
        self.router = Router(wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        self.path = directory / "vm1.sock"
        port = config.vhost_user_port("vm1", self.path, mode="server")
        network = config.network("default", f"{GATEWAY}/24", [port])
        self.vmnatd = scope.enter_context(
            Vmnatd(directory, config.configuration(directory, "uplink0", [network]), namespace=gateway))
        self.guest = None
        self.attach()

    def attach(self):
        self.guest = self.scope.enter_context(VhostUserGuest(self.path, MAC))
        self.wait_for_link(True)

    def wait_for_link(self, up):
        def is_so():
            return [port["link"] for port in self.vmnatd.ctl("ports") if port["name"] == "vm1"] == ["up" if up else "down"]
        wait_until(is_so, f"the link of vm1 is {'up' if up else 'down'}")

    def ask(self, **where):
        """The gateway answers ARP: both rings work."""
        guest = self.guest
        guest.send(guest.to() / ARP(op=1, hwsrc=MAC, psrc=ADDRESS, pdst=GATEWAY), **where)
        answer = guest.expect(lambda f: ARP in f and f[ARP].op == 2, "the ARP answer")
        check_equal((answer[ARP].psrc, answer[ARP].pdst, answer.dst), (GATEWAY, ADDRESS, MAC), "the answer")
        return answer.src

    def runts(self):
        return self.vmnatd.counters()["drop.runt"]

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@suite.test("a guest's frames come in, answers go out, and the guest is interrupted for them")
def asks(lab):
    lab.ask()
    check(lab.guest.was_called(), "the guest was not interrupted")


@suite.test("hundreds of frames go round the rings in order, each translated")
def round_the_rings(lab):
    guest, gateway = lab.guest, lab.ask()
    sources = set()
    for number in range(300):
        payload = struct.pack("!I", number) + bytes(number % 900)
        guest.send(guest.to(gateway) / IP(src=ADDRESS, dst=REMOTE) / UDP(sport=4000, dport=5000) / Raw(payload), head=number % 64)
        seen = lab.router.expect(lambda f: UDP in f and f[UDP].dport == 5000, f"frame {number}")
        check_equal(bytes(seen[UDP].payload)[:len(payload)], payload, f"the payload of frame {number}")
        sources.add((seen[IP].src, seen[UDP].sport))
        lab.router.send(lab.router.to(config.UPLINK_MAC) / IP(src=REMOTE, dst=seen[IP].src) /
                        UDP(sport=5000, dport=seen[UDP].sport) / Raw(payload))
        reply = guest.expect(lambda f: UDP in f, f"the reply to frame {number}")
        check_equal((reply[IP].dst, reply[UDP].dport, bytes(reply[UDP].payload)[:len(payload)]), (ADDRESS, 4000, payload),
                    f"the reply to frame {number}")
    check_equal([address for address, _ in sources], [config.UPLINK_ADDRESS], "external endpoints")


@suite.test("descriptors that make no frame come back, are counted as drop.runt, and the ring goes on")
def bad_chains(lab):
    guest, ring = lab.guest, lab.guest.transmit_queue
    table = MEMORY - 4096
    inside = GUEST_BASE + ring.buffer(0)
    before = lab.runts()
    chains = [
        [(1, 0xDEAD0000, 100, 0, 0)],                                      # not the guest's memory
        [(1, GUEST_BASE + MEMORY - 50, 100, 0, 0)],                        # beyond its end
        [(1, inside, 0xFFFFFFFF, 0, 0)],                                   # far beyond its end
        [(1, (1 << 64) - 50, 100, 0, 0)],                                  # round the end of all memory
        [(1, inside, 12, 0, 0)],                                           # a header, no frame
        [(1, inside, 3, 0, 0)],                                            # no header
        [(1, inside, 50, NEXT, 2), (2, inside, 50, NEXT, 1)],              # a loop
        [(1, inside, 50, NEXT, 999)],                                      # on to no descriptor
        [(1, GUEST_BASE + table, 16, INDIRECT, 0)],                        # a table in a table
        [(1, GUEST_BASE + table, 7, INDIRECT, 0)],                         # a table without an entry
        [(1, 0xDEAD0000, 64, INDIRECT, 0)],                                # a table that is not there
        [(1, GUEST_BASE, MEMORY, 0, 0)],                                   # longer than any packet
    ]
    struct.pack_into("<QIHH", guest.memory.bytes, table, GUEST_BASE + table, 16, INDIRECT, 0)
    for chain in chains:
        for head, *descriptor in chain:
            ring.describe(head, *descriptor)
        guest.send_chain(1)
        lab.ask(head=5)
    wait_until(lambda: lab.runts() == before + len(chains), f"drop.runt is {before + len(chains)}, not {lab.runts()}")
    lab.vmnatd.check_accounting()


@suite.test("memory is added while the rings run, and frames come out of it")
def memory_added(lab):
    guest = lab.guest
    guest.more_memory.append(Memory(GUEST_BASE + 16 * MEMORY, USER_BASE + 16 * MEMORY))
    guest.tell_memory()
    lab.ask()
    lab.ask(memory=guest.more_memory[0], at=4096)


@suite.test("a guest that stops is told how far its rings have come, and goes on from there")
def stop_and_start(lab):
    guest = lab.guest
    lab.ask()
    said = guest.stop()
    came_back = [ring.used_index() for ring in (guest.receive_queue, guest.transmit_queue)]
    lab.wait_for_link(False)
    guest.start()
    check_equal(said, came_back, "chains taken, by vmnatd")
    lab.wait_for_link(True)
    lab.ask()


@suite.test("a VMM whose memory cannot be mapped loses its link, not the daemon, and may come again")
def failing_message(lab):
    guest = lab.guest
    readable, writable = os.pipe()
    region = struct.pack("<QQQQ", GUEST_BASE, MEMORY, USER_BASE, 0)
    reply = guest.request(SET_MEM_TABLE, struct.pack("<II", 1, 0) + region, [readable], need_reply=True)
    check_equal(struct.unpack("<Q", reply)[0], 1, "the answer to a pipe as memory")
    os.close(readable)
    os.close(writable)
    guest.request(GET_FEATURES)  # vmnatd still talks
    lab.wait_for_link(False)
    guest.socket.close()
    lab.attach()
    lab.ask()


@suite.test("a VMM that goes in the middle of it all leaves nothing behind, and the next one is served")
def goes_away(lab):
    for _ in range(20):
        lab.guest.transmit_queue.describe(1, GUEST_BASE + lab.guest.transmit_queue.buffer(1), 100)
        for _ in range(30):
            lab.guest.transmit_queue.offer(1)
        lab.guest.socket.close()
        lab.wait_for_link(False)
        lab.attach()
        lab.ask()
    lab.vmnatd.check_accounting()


if __name__ == "__main__":
    suite.main()
