# SPDX-License-Identifier: Apache-2.0
"""TFTP, the test's way to send datagrams of a chosen size both ways and to know that each arrived whole.

    VM: tftp -g -b 4000 -r 200000 -l /tmp/got HOST     # the first 200000 bytes of `content`, 4000 a datagram
    VM: tftp -p -b 4000 -r name -l /tmp/got HOST       # log: tftp ADDRESS name SHA256

RFC 1350 with the block size of RFC 2348. One datagram is on its way at a time; the client repeats what is
lost. The server answers from the port that it was asked on, so that no filter of a NAT is in its way.
"""

import hashlib
import socketserver
import struct

TFTP_PORT = 69
READ, WRITE, DATA, ACKNOWLEDGE, ERROR, OPTIONS = range(1, 7)
HEADER = struct.Struct("!HH")


class Sent:
    """A file on its way to a client: answers the acknowledgement of a block with the next one."""

    def __init__(self, content, block_size):
        self.content, self.block_size = content, block_size

    def answer(self, kind, block, _payload):
        start = block * self.block_size
        if kind != ACKNOWLEDGE or start > len(self.content):
            return None
        return HEADER.pack(DATA, block + 1) + self.content[start:start + self.block_size]


class Received:
    """A file that a client sends: each block once, the last one is shorter than the others."""

    def __init__(self, name, block_size):
        self.name, self.block_size, self.blocks = name, block_size, []

    def answer(self, kind, block, payload):
        if kind != DATA:
            return None
        if block == len(self.blocks) + 1:
            self.blocks.append(payload)
            if len(payload) < self.block_size:
                print(f"tftp {self.name} {hashlib.sha256(b''.join(self.blocks)).hexdigest()}", flush=True)
        return HEADER.pack(ACKNOWLEDGE, block)


class Tftp(socketserver.BaseRequestHandler):
    content = b""  # what clients get the beginning of
    transfers: dict = {}  # client's endpoint -> Sent or Received

    def handle(self):
        datagram, reply = self.request
        kind, block = HEADER.unpack_from(datagram)
        if kind in (READ, WRITE):
            answer = self.begin(kind, datagram[2:].split(b"\0"))
        elif self.client_address in self.transfers:
            answer = self.transfers[self.client_address].answer(kind, block, datagram[HEADER.size:])
        else:
            answer = HEADER.pack(ERROR, 5) + b"no such transfer\0"
        if answer:
            reply.sendto(answer, self.client_address)

    def begin(self, kind, words):
        """words: name, mode, and options by name and value; accepted are the block size and, of firmware, that of the
        file (RFC 2349)."""
        name, options = words[0].decode(), dict(zip(words[2::2], words[3::2]))
        block_size = int(options.get(b"blksize", b"512"))
        self.transfers[self.client_address] = (
            Sent(self.content[:int(name)], block_size) if kind == READ else Received(name, block_size))
        accepted = b"blksize\0%d\0" % block_size
        if kind == READ and b"tsize" in options:
            accepted += b"tsize\0%d\0" % int(name)
        return OPTIONS.to_bytes(2, "big") + accepted
