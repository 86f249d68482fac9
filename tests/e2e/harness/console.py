# SPDX-License-Identifier: Apache-2.0
"""Firmware in QEMU on a vhost-user port, talked to by its serial console.

    with Firmware(directory, "uboot", rom, socket, mac) as firmware:
        firmware.expect("=> ")
        firmware.say("dhcp")
"""

import contextlib
import re
import socket

from .processes import Process
from .tap import check
from .waiting import Overdue, deadline_in, wait_until

MEMORY = "256M"
ESCAPES = re.compile(rb"\x1b\[[0-9;?=]*[A-Za-z]|[\x00\x07\r]")


class Firmware:
    """vmnatd's port is of mode client: QEMU listens. The NIC is the only device to boot from."""

    def __init__(self, directory, name, rom, vhost_socket, mac):
        self.name, self.seen, self.at = name, b"", 0
        console = directory / f"{name}.console"
        self.process = Process(
            ["qemu-system-x86_64", "-accel", "tcg", "-nographic", "-no-reboot", "-nodefaults", "-m", MEMORY,
             "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on", "-numa", "node,memdev=memory",
             "-bios", rom, "-serial", f"unix:{console},server=on,wait=off",
             "-chardev", f"socket,id=port,path={vhost_socket},server=on,wait=off",
             "-netdev", "vhost-user,id=net,chardev=port",
             "-device", f"virtio-net-pci,netdev=net,mac={mac},romfile=,vectors=0,bootindex=1"],
            log=directory / f"{name}.qemu.log")

        def connected():
            self.check_alive()
            attempt = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                attempt.connect(str(console))
                return attempt
            return attempt.close()

        self.line = wait_until(connected, f"{name}: QEMU offers its serial line")
        self.line.settimeout(0.2)

    def check_alive(self):
        check(self.process.running(), f"{self.name}: QEMU has ended\n{self.process.log_tail()}")

    def say(self, text):
        self.line.sendall(text.encode() + b"\r")

    def expect(self, pattern, seconds=60) -> str:
        """What it has printed after the last expected text, up to this one; a regular expression."""
        deadline = deadline_in(seconds)
        while not (found := re.compile(pattern.encode()).search(self.seen, self.at)):
            self.check_alive()
            if deadline < deadline_in(0):
                raise Overdue(f"{self.name} does not print {pattern!r} in time; it prints\n{self.tail()}")
            with contextlib.suppress(TimeoutError):
                self.seen = ESCAPES.sub(b"", self.seen + self.line.recv(65536))
        text = self.seen[self.at:found.end()]
        self.at = found.end()
        return text.decode(errors="replace")

    def tail(self) -> str:
        return "\n".join(self.seen.decode(errors="replace").splitlines()[-25:])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.line.close()
        self.process.kill()
