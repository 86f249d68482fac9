# SPDX-License-Identifier: Apache-2.0
"""Frames as a kernel passes them between its own interfaces: with checksums, and TCP or UDP segments, still to be made.

    with UnfinishedWire(host, "eth0", MAC) as wire:
        wire.send(wire.to(OTHER) / IP(...) / UDP(...) / Raw(40000 * b"."), segment=1000)
        header, frame = wire.receive_from(OTHER)

What is left to do stands in a header beside the frame (packet(7), PACKET_VNET_HDR): struct virtio_net_hdr.
"""

import socket
import struct
from typing import NamedTuple

from scapy.utils import checksum

from .waiting import Overdue, deadline_in
from .wire import AUXDATA, IP, SOL_PACKET, TCP, UDP, Wire, with_tag

PACKET_VNET_HDR = 15
LAYOUT = struct.Struct("=BBHHHH")  # struct virtio_net_hdr
NEEDS_CHECKSUM, TCP4_SEGMENTS, UDP_SEGMENTS = 1, 1, 5


class NetHeader(NamedTuple):
    """Of a UDP or TCP frame over IPv4: offsets and lengths in bytes."""
    flags: int
    segmentation: int
    headers_length: int  # at least; how much a kernel has found convenient
    segment: int
    checksum_start: int
    checksum_offset: int

    @classmethod
    def of(cls, frame, segment, beside=0):
        """`segment`: bytes of payload of each, 0 for a frame that is none but lacks its checksum; `beside`: of its headers,
        bytes that are not in the frame, but beside it."""
        l4 = TCP if TCP in frame else UDP
        start = len(frame) - len(frame[l4]) - beside
        headers = start + len(frame[l4]) - len(frame[l4].payload)
        kind = TCP4_SEGMENTS if l4 is TCP else UDP_SEGMENTS
        return cls(NEEDS_CHECKSUM, kind if segment else 0, headers if segment else 0, segment, start, 16 if l4 is TCP else 6)


def with_partial_checksum(frame) -> bytes:
    """The field has the sum of the pseudo-header alone."""
    built = frame.__class__(bytes(frame))
    l4 = TCP if TCP in built else UDP
    pseudo = (socket.inet_aton(built[IP].src) + socket.inet_aton(built[IP].dst) +
              struct.pack("!HH", built[IP].proto, len(built[l4])))
    built[l4].chksum = ~checksum(pseudo) & 0xffff
    return bytes(built)


class UnfinishedWire(Wire):
    def __init__(self, namespace, interface, mac):
        super().__init__(namespace, interface, mac)
        self.socket.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)

    def send_unfinished(self, frame, segment) -> bytes:
        """Returns what was sent."""
        content = with_partial_checksum(frame)
        self.socket.send(LAYOUT.pack(*NetHeader.of(frame, segment)) + content)
        return content

    def receive_from(self, mac, seconds=30):
        """The next frame of that station, and what is left to do; with its tag, that was beside it."""
        source, deadline = bytes.fromhex(mac.replace(":", "")), deadline_in(seconds)
        while (left := deadline - deadline_in(0)) > 0:
            self.socket.settimeout(left)
            try:
                received, control = self.socket.recvmsg(1 << 17, socket.CMSG_SPACE(AUXDATA.size))[:2]
            except TimeoutError:
                break
            header, frame = NetHeader(*LAYOUT.unpack_from(received)), received[LAYOUT.size:]
            if frame[6:12] == source:
                return header, with_tag(frame, control)
        raise Overdue(f"{self.interface}: no frame of {mac} within {seconds} s")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
