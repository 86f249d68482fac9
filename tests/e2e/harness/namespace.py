# SPDX-License-Identifier: Apache-2.0
"""Network namespaces and veth pairs that exist exactly as long as the test process.

A namespace here has no name in the file system and no mount: a file descriptor keeps it alive, so that the
kernel removes it, and every veth in it, when the test ends in whatever way. By hand, while a test runs:
`nsenter --net=/proc/PID/fd/N ip address`.

    gateway, internet = Namespace("gateway"), Namespace("internet")
    veth(gateway, "uplink0", internet, "isp0")
"""

import contextlib
import ctypes
import os
import socket
import struct

from . import processes
from .processes import CLONE_NEWNET, system_call

SO_ATTACH_FILTER, SOL_PACKET, PACKET_IGNORE_OUTGOING, ETH_P_ALL = 26, 263, 23, 0x0003


def own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


class Namespace:
    """A network namespace with loopback up and without IPv6, which nobody asked to speak."""

    def __init__(self, name):
        self.name = name
        home = own_namespace()
        system_call("unshare", CLONE_NEWNET)
        self.descriptor = own_namespace()
        try:
            for scope in ("all", "default"):
                self.write_sysctl(f"net/ipv6/conf/{scope}/disable_ipv6", 1)
            processes.run(["ip", "link", "set", "lo", "up"])
        finally:
            system_call("setns", home, CLONE_NEWNET)
            os.close(home)

    @property
    def path(self) -> str:
        return f"/proc/{os.getpid()}/fd/{self.descriptor}"

    @contextlib.contextmanager
    def entered(self):
        """The calling thread is in the namespace inside the block; sockets opened there stay there."""
        home = own_namespace()
        system_call("setns", self.descriptor, CLONE_NEWNET)
        try:
            yield self
        finally:
            system_call("setns", home, CLONE_NEWNET)
            os.close(home)

    def run(self, *arguments, **options):
        return processes.run(arguments, namespace=self, **options)

    def set_address(self, interface, address):
        self.run("ip", "address", "add", address, "dev", interface)

    def add_route(self, to, via):
        self.run("ip", "route", "add", to, "via", via)

    def forward_ipv4(self):
        with self.entered():
            self.write_sysctl("net/ipv4/ip_forward", 1)

    @staticmethod
    def write_sysctl(name, value):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/sys/{name}", "w") as setting:
            setting.write(str(value))

    def close(self):
        os.close(self.descriptor)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def veth(one, one_end, other, other_end, mtu=1500, *keys):
    """A cable between two namespaces, both ends up, as the kernel makes it: what an end sends may be a super-frame, and
    have checksums that are left to a NIC which does not exist. `keys` are those of `ip link add` for the first end."""
    one.run("ip", "link", "add", one_end, *keys, "mtu", mtu, "type", "veth",
            "peer", "name", other_end, "mtu", mtu, "netns", other.path)
    for namespace, end in ((one, one_end), (other, other_end)):
        namespace.run("ip", "link", "set", end, "up")


def packet_socket(namespace, interface) -> socket.socket:
    """A raw socket that sees what arrives at the interface, not what leaves by it."""
    with namespace.entered():
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        raw.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        raw.bind((interface, ETH_P_ALL))
    return raw


class LeakWatch:
    """Sees every frame arriving at an interface that is not IPv4 or ARP from one of the allowed addresses.

    A classic BPF program drops the legal frames in the kernel, so that a download of any size passes by and
    the socket holds leaks alone.
    """

    def __init__(self, namespace, interface, allowed):
        self.socket = packet_socket(namespace, interface)
        self.socket.setblocking(False)
        program = self.filter(sorted(allowed))
        self._buffer = ctypes.create_string_buffer(program)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,
                               struct.pack("HL", len(program) // 8, ctypes.addressof(self._buffer)))
        self.leaks()  # what came before the filter was there

    @staticmethod
    def filter(allowed) -> bytes:
        """ethertype; IPv4: source at 26, ARP: sender address at 28; equal to an allowed one: drop (0)."""
        load_half, load_word, jump_if_equal, jump, give = 0x28, 0x20, 0x15, 0x05, 0x06
        compare = [(jump_if_equal, len(allowed) - index, 0, int.from_bytes(socket.inet_aton(address), "big"))
                   for index, address in enumerate(allowed)]
        code = [(load_half, 0, 0, 12), (jump_if_equal, 2, 0, 0x0800), (jump_if_equal, 3, 0, 0x0806),
                (jump, 0, 0, 3 + len(allowed)), (load_word, 0, 0, 26), (jump, 0, 0, 1), (load_word, 0, 0, 28),
                *compare, (give, 0, 0, 0xFFFF), (give, 0, 0, 0)]
        return b"".join(struct.pack("HBBI", *step) for step in code)

    def leaks(self) -> list[bytes]:
        frames = []
        with contextlib.suppress(BlockingIOError):
            while True:
                frames.append(self.socket.recv(65536))
        return frames

    def close(self):
        self.socket.close()
