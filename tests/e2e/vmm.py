#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""VMMs that are broken, hostile, or two at a time: whatever one does on its socket, the other's VM goes on.

    default   192.168.122.1/24   vm1 .10 (well-behaved), vm2 .11 (what the tests break); both by harness/vhost_user.py
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth
"""

import contextlib
import json
import os
import socket
import struct

from harness import config, processes
from harness.daemon import Vmnatd, program, runtime_directory
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import (GET_FEATURES, GET_QUEUE_NUM, GUEST_BASE, HEADER, LARGEST, MEMORY, MERGEABLE, SEND_RARP,
                                SET_VRING_BASE, SET_VRING_CALL, SET_VRING_ENABLE, SET_VRING_KICK, SET_VRING_NUM, VERSION,
                                VERSION_1, VhostUserGuest)
from harness.waiting import Overdue, wait_until
from harness.wire import ARP, Raw, Router

GATEWAY = "192.168.122.1"
VMS = {"vm1": ("192.168.122.10", "52:54:00:aa:00:01"), "vm2": ("192.168.122.11", "52:54:00:aa:00:02")}
NEXT = 1
LOG_ALL = 1 << 26


class Lab:
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        self.gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(self.gateway, "uplink0", wires, "isp0")
        self.router = Router(wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        ports = [config.vhost_user_port(name, self.path(name), mode="server") for name in VMS]
        network = config.network("default", f"{GATEWAY}/24", ports)
        self.vmnatd = scope.enter_context(
            Vmnatd(self.directory, config.configuration(self.directory, "uplink0", [network]), namespace=self.gateway))
        self.guests = {}
        for name in VMS:
            self.attach(name)

    def path(self, name):
        return self.directory / f"{name}.sock"

    def attach(self, name, **shape):
        self.guests[name] = self.scope.enter_context(VhostUserGuest(self.path(name), VMS[name][1], **shape))
        self.wait_for_link(name, True)
        return self.guests[name]

    def replace(self, name, **shape):
        """The guest goes, and one of another shape comes."""
        self.guests[name].socket.close()
        self.wait_for_link(name, False)
        return self.attach(name, **shape)

    def wait_for_link(self, name, up):
        wait_until(lambda: self.port(name)["link"] == ("up" if up else "down"), f"{name} is {'up' if up else 'down'}")

    def port(self, name):
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def ask(self, name="vm1", seconds=10):
        """The gateway answers the VM's ARP: both of its rings work."""
        guest, (address, mac) = self.guests[name], VMS[name]
        guest.send(guest.to() / ARP(op=1, hwsrc=mac, psrc=address, pdst=GATEWAY))
        guest.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].pdst == address, f"{name}'s ARP answer", seconds)

    def ask_until_answered(self, name):
        def is_answered():
            with contextlib.suppress(Overdue):
                self.ask(name, seconds=0.2)
                return True
        wait_until(is_answered, f"{name} is served")

    def connect(self, name):
        stranger = self.scope.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        stranger.settimeout(20)
        stranger.connect(str(self.path(name)))
        return stranger

    def evidence(self):
        return self.vmnatd.evidence()


def expect_end(connection, what):
    try:
        check_equal(connection.recv(100), b"", what)
    except ConnectionResetError:
        pass  # with something of ours unread


def is_refused(guest, number, payload=b"", descriptors=()):
    """vmnatd says so, and goes on listening."""
    answer = guest.request(number, payload, list(descriptors), need_reply=True)
    guest.request(GET_FEATURES)
    return struct.unpack("<Q", answer)[0] == 1


suite = Suite(Lab)


@suite.test("whoever connects to a VM's socket beside it is sent away and counted, and the VM goes on")
def second_connection(lab):
    before = lab.port("vm1")["refused_connections"]
    for number in range(1, 21):
        lab.connect("vm1").close()
        lab.ask()
        expect_end(lab.connect("vm1"), "what a second connection hears")
        lab.ask()
        wait_until(lambda number=number: lab.port("vm1")["refused_connections"] >= before + number,
                   "the second connection is counted")


@suite.test("a second complete guest on a VM's socket is sent away, and the VM goes on")
def second_guest(lab):
    try:
        lab.scope.enter_context(VhostUserGuest(lab.path("vm1"), VMS["vm1"][1]))
    except Exception as refusal:  # closed, or reset, at whichever message it is
        check("closed" in str(refusal) or isinstance(refusal, OSError), f"the second guest: {refusal!r}")
    else:
        check(False, "the second guest was served")
    lab.ask()
    lab.ask("vm2")


SAME_FILE, SAME_SOCKETS = "the same file says that the first one runs", "another file says that the VMs' sockets are taken"
for each in (SAME_FILE, SAME_SOCKETS):
    @suite.test(f"a second vmnatd with {each}, and the first one's VMs go on")
    def second_daemon(lab, kind=each):
        path, said = lab.vmnatd.config_path, "another vmnatd with the same control.socket"
        if kind == SAME_SOCKETS:
            other = json.loads(path.read_text())
            other["control"] |= {"socket": str(lab.directory / "other.sock"), "state_dir": str(lab.directory / "other")}
            path, said = lab.directory / "other.yaml", "another program answers on it"
            path.write_text(json.dumps(other))
        refuse_second(lab, path, said)


def refuse_second(lab, path, said):
    second = processes.Process([program("vmnatd"), "--config", path], log=lab.directory / "second.log",
                               namespace=lab.gateway, environment=runtime_directory(lab.directory))
    check_equal(second.wait(), 2, f"its exit code\n{second.log_tail()}\nexit code")
    check(said in second.log(), f"what it says:\n{second.log_tail()}")
    for name in VMS:
        lab.ask(name)
        check(lab.path(name).is_socket(), f"{name}'s socket is gone")


@suite.test("a VMM that is killed is followed by the next one at once, though its end has not been read")
def follows_at_once(lab):
    for _ in range(20):
        lab.guests["vm2"].socket.close()
        lab.guests["vm2"] = lab.scope.enter_context(VhostUserGuest(lab.path("vm2"), VMS["vm2"][1]))
        lab.ask_until_answered("vm2")  # until control has seen the new guest, its port is down
    lab.ask()
    lab.vmnatd.check_accounting()


@suite.test("GET_QUEUE_NUM answers what the port has, and rings beyond are refused")
def queue_number(lab):
    guest = lab.guests["vm2"]
    check_equal(struct.unpack("<Q", guest.request(GET_QUEUE_NUM))[0], 1, "queue pairs")
    check(is_refused(guest, SET_VRING_NUM, struct.pack("<II", 2, 64)), "a third ring is accepted")
    check(is_refused(guest, SET_VRING_ENABLE, struct.pack("<II", 3, 1)), "a fourth ring is accepted")
    lab.ask("vm2")


@suite.test("SEND_RARP: the network hears where the VM is, and of no MAC that is another port's")
def announced(lab):
    for name in VMS:
        lab.ask(name)  # their MACs are known
    guest, other = lab.guests["vm2"], lab.guests["vm1"]
    guest.request(SEND_RARP, bytes.fromhex(VMS["vm2"][1].replace(":", "")) + bytes(2))
    heard = other.expect(lambda f: f.type == 0x8035, "the RARP")
    check_equal((heard.src, heard.dst), (VMS["vm2"][1], "ff:ff:ff:ff:ff:ff"), "who says so to whom")
    before = lab.vmnatd.counters()["received"]
    guest.request(SEND_RARP, bytes.fromhex("525400000101") + bytes(2))  # not a VM's
    guest.request(SEND_RARP, b"\1" * 8)
    lab.ask("vm2")
    check(lab.vmnatd.counters()["received"] > before, "nothing came in")
    lab.ask("vm1")


@suite.test("a frame too long for a guest's buffers is dropped alone, as drop.guest_buffers")
def too_long(lab):
    guest = lab.replace("vm2", features=VERSION_1, room=200)
    sender, counters = lab.guests["vm1"], lab.vmnatd.counters()
    lab.ask("vm2")
    sent = [60] * 5 + [1000] + [60] * 20
    ring = sender.transmit_queue
    for head, size in enumerate(sent):
        content = bytes(12) + bytes(sender.to(VMS["vm2"][1]) / Raw(bytes([head]) * (size - 14)))
        content = content[:24] + b"\x88\xb5" + content[26:]  # an EtherType for experiments
        at = ring.buffer(head)
        sender.memory.bytes[at:at + len(content)] = content
        ring.describe(head, GUEST_BASE + at, len(content))
    for head in range(len(sent)):
        ring.offer(head)
    ring.kick_if_asked(False)
    came = [guest.expect(lambda f: f.type == 0x88B5, f"frame {number} of 25") for number in range(25)]
    check_equal([bytes(frame)[20] for frame in came], [number for number in range(26) if number != 5], "what came")
    wait_until(lambda: lab.vmnatd.counters()["drop.guest_buffers"] == counters["drop.guest_buffers"] + 1,
               "the long frame is counted")
    for _ in sent:
        wait_until(ring.next_used, "the sender's descriptors come back")
    lab.vmnatd.check_accounting()
    lab.replace("vm2")


@suite.test("rings full of long chains without a byte are walked a little at a time, and counted as rings.deferred")
def long_chains(lab):
    guest = lab.replace("vm2", size=LARGEST)
    before = lab.vmnatd.counters()["rings.deferred"]
    for ring in (guest.receive_queue, guest.transmit_queue):
        for head in range(LARGEST):
            ring.describe(head, GUEST_BASE + ring.buffer(0), 0, NEXT if head + 1 < LARGEST else 0, head + 1)
        for _ in range(LARGEST - (ring.offered - ring.used_index()) % 65536):
            ring.offer(0)
    for _ in range(20):
        lab.ask()  # its question is flooded to vm2
    check(lab.vmnatd.counters()["rings.deferred"] > before, "no budget bit")
    check_equal(lab.port("vm1")["rings_deferred"], 0, "of the other port")
    lab.vmnatd.check_accounting()
    lab.replace("vm2")
    lab.ask("vm2")


@suite.test("a ring that does not lie in the guest's memory as a whole is refused")
def rings_outside(lab):
    guest = lab.guests["vm2"]
    ring = guest.receive_queue
    for wrong in ({"used": MEMORY - 16}, {"used": MEMORY - 1}, {"descriptors": MEMORY - 64}, {"available": MEMORY - 2},
                  {"used": MEMORY + 64}, {"descriptors": -(1 << 40)}):
        answer = guest.tell_addresses(ring, **wrong, need_reply=True)
        check_equal(struct.unpack("<Q", answer)[0], 1, f"the answer to {wrong}")
    lab.ask("vm2")
    for size in (0, 48, 1024, 32768, 65536):
        check(is_refused(guest, SET_VRING_NUM, struct.pack("<II", 0, size)), f"a running ring becomes one of {size}")
    lab.ask("vm2")


@suite.test("a ring that grows after its addresses were told is not used beyond the guest's memory")
def ring_grows(lab):
    guest = lab.guests["vm2"]
    guest.stop()
    lab.wait_for_link("vm2", False)
    for ring, size in ((guest.receive_queue, 64), (guest.transmit_queue, 32768)):
        number = struct.pack("<Q", ring.number)
        guest.request(SET_VRING_NUM, struct.pack("<II", ring.number, 64))
        guest.tell_addresses(ring, used=MEMORY - 4 - 64 * 8)  # there, the last 64 elements of the memory
        guest.request(SET_VRING_NUM, struct.pack("<II", ring.number, size), need_reply=True)
        guest.request(SET_VRING_BASE, struct.pack("<II", ring.number, 0), need_reply=True)
        guest.request(SET_VRING_CALL, number, [ring.call])
        guest.request(SET_VRING_KICK, number, [ring.kick])
        guest.request(SET_VRING_ENABLE, struct.pack("<II", ring.number, 1), need_reply=True)
    guest.transmit_queue.describe(0, GUEST_BASE + 0x10000, 100)
    for head in range(2000):
        guest.memory.words[guest.transmit_queue.available // 2 + 2 + head] = 0
        guest.memory.words[guest.transmit_queue.available // 2 + 1] = head + 1
    for _ in range(20):
        lab.ask()
    guest.socket.close()
    lab.wait_for_link("vm2", False)
    lab.attach("vm2")
    lab.ask("vm2")


@suite.test("messages of features that were not offered are refused: in-flight buffers, userfaultfd, IOTLB")
def not_offered(lab):
    guest = lab.guests["vm2"]
    memory = os.memfd_create("vmnat-test-inflight")
    os.ftruncate(memory, 4096)
    for number, payload, descriptors in ((32, struct.pack("<QQHH", 4096, 0, 2, 32768), [memory]),  # SET_INFLIGHT_FD
                                         (31, struct.pack("<QQHH", 0, 0, 2, 32768), []),
                                         (28, b"", []), (29, b"", []), (30, b"", []), (22, bytes(40), [])):
        check(is_refused(guest, number, payload, descriptors), f"message {number} is accepted")
    # A log of dirty pages that does not start at the start of its file.
    check(is_refused(guest, 6, struct.pack("<QQ", 4096, 1 << 30), [memory]), "a log with an offset is accepted")
    os.close(memory)
    lab.ask("vm2")
    check(lab.vmnatd.counters()["vhost.refused_messages"] >= 10, "refused messages are not counted")


@suite.test("messages that are cut short, or longer than any, end their own connection at most")
def cut_short(lab):
    for number in range(45):
        for payload in (b"", b"\xff" * 12, bytes(632)):
            with contextlib.suppress(Exception):  # the connection may end
                guest = lab.guests["vm2"]
                guest.request(number, payload, need_reply=True)
            guest.socket.close()
            lab.guests["vm2"] = lab.scope.enter_context(VhostUserGuest(lab.path("vm2"), VMS["vm2"][1]))
    lab.ask_until_answered("vm2")
    lab.ask()


@suite.test("half a message, and answers that nobody reads, keep no other VMM waiting")
def half_a_message(lab):
    lab.guests["vm2"].socket.close()
    lab.wait_for_link("vm2", False)
    half = lab.connect("vm2")
    half.sendall(HEADER.pack(SET_VRING_NUM, VERSION, 8))
    lab.guests["vm1"].request(GET_FEATURES)
    expect_end(half, "what half a message is answered")
    deaf = lab.connect("vm2")
    deaf.settimeout(5)
    with contextlib.suppress(OSError):
        for _ in range(20000):
            deaf.sendall(HEADER.pack(GET_FEATURES, VERSION, 0))
    lab.guests["vm1"].request(GET_FEATURES)
    lab.ask()
    deaf.close()
    lab.attach("vm2")
    lab.ask("vm2")


@suite.test("interrupting a guest makes no worker wait, whatever its VMM gave for it")
def call_descriptors(lab):
    guest = lab.guests["vm2"]
    ring = guest.receive_queue
    regular = os.open(lab.directory / "a-file", os.O_RDWR | os.O_CREAT)
    check(is_refused(guest, SET_VRING_CALL, struct.pack("<Q", 0), [regular]), "a file is accepted")
    check_equal(os.fstat(regular).st_size, 0, "what was written to it")
    os.close(regular)
    full = os.eventfd(0)  # blocking
    os.eventfd_write(full, 2 ** 64 - 2)
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writable, bytes(65536))
    os.set_blocking(writable, True)
    for descriptor in (full, writable):
        guest.request(SET_VRING_CALL, struct.pack("<Q", 0), [descriptor])
        for _ in range(3):
            lab.ask("vm2")
        lab.ask()
    os.close(readable)  # who writes to it gets SIGPIPE
    for _ in range(3):
        lab.ask("vm2")
    lab.ask()
    guest.request(SET_VRING_CALL, struct.pack("<Q", 0), [ring.call])
    for descriptor in (full, writable):
        os.close(descriptor)
    lab.ask("vm2")


@suite.test("memory that vanishes ends its own port, which says so, and nothing else")
def memory_vanishes(lab):
    os.ftruncate(lab.guests["vm2"].memory.file, 0)  # not to be touched here from now on
    expect_end(lab.guests["vm2"].socket, "what the VMM hears")
    lab.wait_for_link("vm2", False)
    check("memory of its VM has vanished" in lab.vmnatd.process.log(), lab.vmnatd.process.log_tail())
    for _ in range(3):
        lab.ask()
    lab.attach("vm2")
    lab.ask("vm2")
    lab.vmnatd.check_accounting()


@suite.test("the same holds of a guest that librte_vhost serves, as during migration")
def under_migration(lab):
    for vanishes in (False, True):
        guest = lab.replace("vm2", features=VERSION_1 | MERGEABLE | LOG_ALL)
        lab.ask("vm2")
        check(is_refused(guest, SET_VRING_NUM, struct.pack("<II", 0, 1024)), "a running ring grows")
        check(is_refused(guest, SET_VRING_CALL, struct.pack("<Q", 0), [guest.memory.file]), "a file is called")
        lab.ask("vm2")
        guest.request(SEND_RARP, bytes.fromhex(VMS["vm2"][1].replace(":", "")) + bytes(2))
        lab.guests["vm1"].expect(lambda f: f.type == 0x8035, "the RARP")
        if vanishes:
            os.ftruncate(guest.memory.file, 0)  # not to be touched here from now on
            expect_end(guest.socket, "what the VMM hears")
    lab.wait_for_link("vm2", False)
    lab.ask()
    lab.attach("vm2")
    lab.ask("vm2")


@suite.test("memory that vanishes between two messages is met by the next one, and ends its own port")
def memory_vanishes_in_a_message(lab):
    guest = lab.guests["vm2"]
    guest.stop()  # no worker looks at it
    lab.wait_for_link("vm2", False)
    os.ftruncate(guest.memory.file, 0)  # not to be touched here from now on
    with contextlib.suppress(Exception):  # the connection ends somewhere in here
        for ring in (guest.receive_queue, guest.transmit_queue):
            guest.request(SET_VRING_NUM, struct.pack("<II", ring.number, ring.size))
            guest.tell_addresses(ring)
            guest.request(SET_VRING_CALL, struct.pack("<Q", ring.number), [ring.call])
            guest.request(SET_VRING_KICK, struct.pack("<Q", ring.number), [ring.kick])
        guest.request(GET_FEATURES)
    expect_end(guest.socket, "what the VMM hears")
    lab.ask()
    lab.attach("vm2")
    lab.ask("vm2")


if __name__ == "__main__":
    suite.main()
