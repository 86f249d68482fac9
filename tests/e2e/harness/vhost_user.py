# SPDX-License-Identifier: Apache-2.0
"""A VM without a VM: speaks vhost-user as QEMU does, and drives a pair of virtqueues, split or packed, as a guest does.

    guest = VhostUserGuest(socket, mac="52:54:00:aa:00:01")
    guest.send(guest.to() / ARP(...))
    reply = guest.expect(lambda f: ARP in f, "the answer")
    guest.request(SET_MEM_TABLE, ..., descriptors=[fd])     # any message, also a wrong one

Its memory is a file of 1 MiB that both sides map: rings at the start, buffers of 2 KiB behind them, for the first 64
descriptors of each. One descriptor holds virtio's header and the frame. What it does is bounded and slow; it is for
what real guests never do. Any number of them live side by side, one a port.
"""

import mmap
import os
import select
import socket
import struct
import time

from .tap import check, check_equal
from .waiting import Overdue, deadline_in
from .wire import BROADCAST, Ether

# Vhost-user messages and flags (QEMU, docs/interop/vhost-user.rst), feature bits (virtio 1.1).
(GET_FEATURES, SET_FEATURES, SET_OWNER, SET_MEM_TABLE, SET_VRING_NUM, SET_VRING_ADDR, SET_VRING_BASE, GET_VRING_BASE,
 SET_VRING_KICK, SET_VRING_CALL, GET_PROTOCOL_FEATURES, SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_VRING_ENABLE,
 SEND_RARP) = (
    1, 2, 3, 5, 8, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19)
VERSION, NEED_REPLY = 1, 8
MULTIQUEUE, RARP, REPLY_ACK = 1 << 0, 1 << 2, 1 << 3  # protocol features
MERGEABLE, EVENT_INDEX, PROTOCOL_FEATURES, VERSION_1, PACKED = 1 << 15, 1 << 29, 1 << 30, 1 << 32, 1 << 34
NO_KICK = 1  # flag of a used ring, and of a packed ring's event suppression
AVAILABLE, USED = 1 << 7, 1 << 15  # marks of a packed ring's descriptors
FIRST_LAP = 1 << 15  # of a place in a packed ring
REPLIED = (GET_FEATURES, GET_VRING_BASE, GET_PROTOCOL_FEATURES, GET_QUEUE_NUM)

HEADER = struct.Struct("<III")
DESCRIPTOR = struct.Struct("<QIHH")
NET_HEADER = 12
GUEST_BASE, USER_BASE, MEMORY = 0x100000, 0x7F0000000000, 1 << 20
SIZE = 64  # of each ring, unless a test wants another, up to
LARGEST = 1024
BUFFERS, BUFFER = 64, 2048  # of each ring
RECEIVE, TRANSMIT = 0, 1


class Memory:
    """A file that is mapped here, and by vmnatd when it is told."""

    def __init__(self, guest_base, user_base, size=MEMORY):
        self.guest_base, self.user_base, self.size = guest_base, user_base, size
        self.file = os.memfd_create("vmnat-test-guest")
        os.ftruncate(self.file, size)
        self.bytes = mmap.mmap(self.file, size)
        self.words = memoryview(self.bytes).cast("H")  # read and written as a whole, which struct does byte by byte

    def region(self):
        return struct.pack("<QQQQ", self.guest_base, self.size, self.user_base, 0)

    def close(self):
        self.words.release()
        self.bytes.close()
        os.close(self.file)


class Virtqueue:
    """One ring, seen by the driver. `number` 0 is the guest's receive queue, 1 its transmit queue."""

    def __init__(self, memory, number, size=SIZE):
        self.memory, self.number, self.size = memory, number, size
        self.descriptors = number * 0x8000
        self.available, self.used = self.descriptors + LARGEST * 16, self.descriptors + 0x5000
        self.buffers = 0x10000 + number * BUFFERS * BUFFER
        self.offered = self.seen = self.answered_base = 0
        self.kick, self.call = os.eventfd(0, os.EFD_NONBLOCK), os.eventfd(0, os.EFD_NONBLOCK)

    def buffer(self, head):
        return self.buffers + head * BUFFER

    def describe(self, head, address, length, flags=0, following=0):
        DESCRIPTOR.pack_into(self.memory.bytes, self.descriptors + head * 16, address, length, flags, following)

    def offer(self, head):
        self.memory.words[self.available // 2 + 2 + self.offered % self.size] = head
        self.offered += 1
        self.memory.words[self.available // 2 + 1] = self.offered & 0xFFFF

    def kick_if_asked(self, by_event_index):
        """Wakes vmnatd for the chain that was offered last, if it wants to be woken (virtio 1.1, 2.6.7, 2.6.10)."""
        used = self.used // 2
        if by_event_index:
            is_asked = self.memory.words[used + 2 + 4 * self.size] == (self.offered - 1) & 0xFFFF
        else:
            is_asked = not self.memory.words[used] & NO_KICK
        if is_asked:
            os.eventfd_write(self.kick, 1)
        return is_asked

    def used_index(self):
        return self.memory.words[self.used // 2 + 1]

    def told_base(self):
        """Where it is, as a VMM says that whose back end has died: QEMU looks into the ring."""
        return self.used_index()

    def next_used(self):
        """(head, length) of the next element that came back, or None."""
        if self.used_index() == self.seen & 0xFFFF:
            return None
        element = struct.unpack_from("<II", self.memory.bytes, self.used + 4 + self.seen % self.size * 8)
        self.seen += 1
        return element

    def close(self):
        os.close(self.kick)
        os.close(self.call)


class PackedVirtqueue(Virtqueue):
    """The same with a packed ring, whose chains are of one descriptor."""

    def __init__(self, memory, number, size=SIZE):
        super().__init__(memory, number, size)
        self.described, self.answered_base = {}, FIRST_LAP

    def describe(self, head, address, length, flags=0, following=0):
        self.described[head] = address, length, flags

    def marks(self, count):
        """Of the descriptor at the place that comes after so many: its flags' place in memory, what is on offer, what is used."""
        is_first = count // self.size % 2 == 0
        return ((self.descriptors + count % self.size * 16) // 2 + 7,
                *((AVAILABLE, AVAILABLE | USED) if is_first else (USED, 0)))

    def offer(self, head):
        address, length, flags = self.described[head]
        place, offered, _ = self.marks(self.offered)
        struct.pack_into("<QIH", self.memory.bytes, place * 2 - 14, address, length, head)
        self.memory.words[place] = flags | offered
        self.offered += 1

    def kick_if_asked(self, by_event_index):
        is_asked = self.memory.words[self.used // 2 + 1] != NO_KICK
        if is_asked:
            os.eventfd_write(self.kick, 1)
        return is_asked

    def is_used(self, count):
        place, _, used = self.marks(count)
        return count < self.offered and self.memory.words[place] & (AVAILABLE | USED) == used

    def used_index(self):
        count = self.seen
        while self.is_used(count):
            count += 1
        return count & 0xFFFF

    def next_used(self):
        if not self.is_used(self.seen):
            return None
        place = self.marks(self.seen)[0]
        self.seen += 1
        return struct.unpack_from("<IH", self.memory.bytes, place * 2 - 6)[::-1]

    def told_base(self):
        """QEMU 7.2 knows no more than what it has said before, or was answered since."""
        return self.answered_base


def listen_on(path):
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(20)
    listener.bind(str(path))
    listener.listen()
    return listener


class VhostUserGuest:
    def __init__(self, path, mac, features=VERSION_1 | MERGEABLE, size=SIZE, room=BUFFER, listens=False):
        """`room`: how much of each receive buffer vmnatd is told of. `listens`: vmnatd connects, in client mode."""
        self.path, self.mac, self.features, self.room = path, mac, features, room
        self.memory = Memory(GUEST_BASE, USER_BASE)
        self.more_memory = []
        ring = PackedVirtqueue if features & PACKED else Virtqueue
        self.receive_queue, self.transmit_queue = (ring(self.memory, number, size) for number in (RECEIVE, TRANSMIT))
        self.unwanted = []
        self.was_asked_to_kick = False  # for the last frame that was sent
        self.offered = 0  # features, by vmnatd
        self.listener = listen_on(path) if listens else None
        self.connect()
        self.negotiate()
        for head in range(min(size, BUFFERS)):
            self.give_receive_buffer(head)
        self.start()

    def connect(self):
        if self.listener:
            self.socket = self.listener.accept()[0]
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(str(self.path))
        self.socket.settimeout(20)

    def connect_again(self):
        """To another vmnatd: its rings go on where they were, and the guest learns nothing of it."""
        self.socket.close()
        self.connect()
        self.negotiate()
        self.start()

    def close(self):
        self.socket.close()
        if self.listener:
            self.listener.close()
        for part in (self.receive_queue, self.transmit_queue, self.memory, *self.more_memory):
            part.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # --- vhost-user ---------------------------------------------------------------------------------------

    def request(self, number, payload=b"", descriptors=(), need_reply=False):
        """Sends a message; the reply's payload where there is one."""
        flags = VERSION | (NEED_REPLY if need_reply else 0)
        socket.send_fds(self.socket, [HEADER.pack(number, flags, len(payload)) + payload], list(descriptors))
        if number not in REPLIED and not need_reply:
            return b""
        answered, _, size = HEADER.unpack(self.read(HEADER.size))
        check_equal(answered, number, "the message that is answered")
        return self.read(size)

    def read(self, size):
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            check(part, "vmnatd closed the vhost-user connection")
            data += part
        return data

    def negotiate(self):
        self.offered = struct.unpack("<Q", self.request(GET_FEATURES))[0]
        wanted = self.features | PROTOCOL_FEATURES
        check_equal(self.offered & wanted, wanted, "features")
        self.request(SET_OWNER)
        self.request(GET_PROTOCOL_FEATURES)
        self.request(SET_PROTOCOL_FEATURES, struct.pack("<Q", REPLY_ACK | RARP))
        self.request(SET_FEATURES, struct.pack("<Q", wanted))
        self.tell_memory()

    def tell_memory(self):
        memories = [self.memory, *self.more_memory]
        self.request(SET_MEM_TABLE, struct.pack("<II", len(memories), 0) + b"".join(m.region() for m in memories),
                     [memory.file for memory in memories])

    def start(self):
        """Both rings, from where they are."""
        for ring in (self.receive_queue, self.transmit_queue):
            number = ring.number
            self.request(SET_VRING_NUM, struct.pack("<II", number, ring.size))
            self.request(SET_VRING_BASE, struct.pack("<II", number, ring.told_base()))
            self.tell_addresses(ring)
            self.request(SET_VRING_CALL, struct.pack("<Q", number), [ring.call])
            self.request(SET_VRING_KICK, struct.pack("<Q", number), [ring.kick])
            self.request(SET_VRING_ENABLE, struct.pack("<II", number, 1))

    def tell_addresses(self, ring, descriptors=None, used=None, available=None, need_reply=False):
        """Of the ring's parts, in its memory; others than they are, if a test wants that."""
        at = [USER_BASE + (own if other is None else other) for own, other in (
            (ring.descriptors, descriptors), (ring.used, used), (ring.available, available))]
        return self.request(SET_VRING_ADDR, struct.pack("<IIQQQQ", ring.number, 0, *at, 0), need_reply=need_reply)

    def stop(self):
        """Both rings; how many chains of each vmnatd had taken, by what it says."""
        rings = self.receive_queue, self.transmit_queue
        for ring in rings:
            self.request(SET_VRING_ENABLE, struct.pack("<II", ring.number, 0))
        for ring in rings:
            ring.answered_base = struct.unpack("<II", self.request(GET_VRING_BASE, struct.pack("<II", ring.number, 0)))[1]
        return [ring.answered_base for ring in rings]

    # --- frames -------------------------------------------------------------------------------------------

    def to(self, mac=BROADCAST):
        return Ether(src=self.mac, dst=mac)

    def give_receive_buffer(self, head):
        ring = self.receive_queue
        ring.describe(head, GUEST_BASE + ring.buffer(head), self.room, flags=2)
        ring.offer(head)

    def send(self, frame, head=0, memory=None, at=None):
        """One frame, by descriptor `head`; its bytes may lie in other memory of the guest's. Returns when the
        descriptor came back."""
        ring = self.transmit_queue
        memory, at = memory or self.memory, ring.buffer(head) if at is None else at
        content = bytes(NET_HEADER) + bytes(frame)
        memory.bytes[at:at + len(content)] = content
        ring.describe(head, memory.guest_base + at, len(content))
        self.send_chain(head)

    def send_chain(self, head):
        """A chain that `describe` has made."""
        self.transmit_queue.offer(head)
        self.was_asked_to_kick = self.transmit_queue.kick_if_asked(bool(self.features & EVENT_INDEX))
        deadline = deadline_in(10)
        while (back := self.transmit_queue.next_used()) is None:
            if time.monotonic() > deadline:
                raise Overdue("vmnatd does not take what the guest sends")
            time.sleep(0.001)
        check_equal(back, (head, 0), "the descriptor that came back, and how much was written to it")

    def receive(self):
        back = self.receive_queue.next_used()
        if back is None:
            return None
        head, length = back
        at = self.receive_queue.buffer(head)
        content = self.memory.bytes[at:at + length]
        check_equal(content[:NET_HEADER], bytes(10) + b"\1\0", "virtio's header before a frame")
        self.give_receive_buffer(head)
        return Ether(content[NET_HEADER:])

    def expect(self, wanted, what, seconds=10):
        deadline = deadline_in(seconds)
        while time.monotonic() < deadline:
            frame = self.receive()
            if frame is None:
                time.sleep(0.001)
            elif wanted(frame):
                return frame
            else:
                self.unwanted.append(frame)
        raise Overdue(f"{what} did not come within {seconds} s; what came: {[f.summary() for f in self.unwanted]}")

    def was_called(self, seconds=10):
        """Whether vmnatd has interrupted the guest for received frames, or does so in time."""
        readable, _, _ = select.select([self.receive_queue.call], [], [], seconds)
        return bool(readable) and os.eventfd_read(self.receive_queue.call) > 0
