# SPDX-License-Identifier: Apache-2.0
"""A real Linux VM on a vhost-user port, driven command by command.

    with Vm(directory, "vm1", socket, mac="52:54:00:aa:00:01") as vm:
        vm.wait_until_booted()
        vm.run("udhcpc -i eth0 -n -q -s /etc/udhcpc.script").check()
        print(vm.run("ip address show eth0").output)

Software emulation (TCG), so no /dev/kvm; shared memory from a memfd, so no hugepages. The kernel's console
is a log file; a second serial line runs one shell script at a time (vm/init is its other end). Boots in
three seconds on an idle machine. The NIC has no MSI-X: QEMU 7.2 crashes under TCG with vhost-user and MSI-X.
"""

import base64
import contextlib
import importlib.util
import pathlib
import socket
from typing import NamedTuple

from .processes import Process
from .tap import check
from .waiting import Overdue, deadline_in, wait_until

_spec = importlib.util.spec_from_file_location("image", pathlib.Path(__file__).parents[1] / "vm" / "image.py")
image = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(image)

LONGEST_REQUEST = 3000  # bytes of base64: the serial line's line buffer holds 4096
MEMORY = "192M"


class Result(NamedTuple):
    command: str
    code: int
    output: str

    def check(self) -> "Result":
        check(self.code == 0, f"in the VM, `{self.command}` ended with {self.code}:\n{self.output}")
        return self


class Guest:
    """The image's other end: a shell on a serial line, whoever runs the VM. Who does says whether it still is there."""

    def __init__(self, directory, name):
        self.name = name
        self.console_path = directory / f"{name}.console"
        self.shell_path = directory / f"{name}.shell"
        self.shell = None
        self.received = b""

    def check_alive(self):
        raise NotImplementedError

    def kill(self):
        raise NotImplementedError

    def log_of_vmm(self) -> str:
        raise NotImplementedError

    def wait_until_booted(self, seconds=90):
        self.open_shell(seconds)
        self.read_until(b"@@ready\n", deadline_in(seconds), "the boot")

    def open_shell(self, seconds=90):
        """That of a VM that has booted elsewhere, too."""
        def connected():
            self.check_alive()
            attempt = socket.socket(socket.AF_UNIX)
            with contextlib.suppress(OSError):
                attempt.connect(str(self.shell_path))
                return attempt
            return attempt.close()

        self.shell = wait_until(connected, f"{self.name}: QEMU offers its serial line", seconds)

    def run(self, command, seconds=60) -> Result:
        """Runs a shell script in the VM and returns its exit code and output."""
        request = base64.b64encode(command.encode())
        check(len(request) < LONGEST_REQUEST, "this script is too long for the serial line")
        self.shell.sendall(request + b"\n")
        deadline = deadline_in(seconds)
        output = self.read_until(b"@@exit ", deadline, f"`{command}`")
        code = self.read_until(b"\n", deadline, f"`{command}`")
        return Result(command, int(code), output.decode(errors="replace").replace("\r\n", "\n"))

    def read_until(self, marker, deadline, what) -> bytes:
        def arrived():
            self.check_alive()
            with contextlib.suppress(TimeoutError):
                more = self.shell.recv(65536)
                check(more, f"{self.name} closed its serial line during {what}\n{self.evidence()}")
                self.received += more
            return marker in self.received

        self.shell.settimeout(0.2)
        while marker not in self.received:
            if not arrived() and deadline < deadline_in(0):
                raise Overdue(f"{self.name}: no end of {what} in time\n{self.evidence()}")
        before, _, self.received = self.received.partition(marker)
        return before

    # --- what tests ask a VM most -------------------------------------------------------------------------

    def obtain_lease(self, seconds=60, hostname=None) -> dict[str, str]:
        """udhcpc's lease as {"ip": ..., "router": ..., "dns": ..., ...}, applied to eth0."""
        name = f"-x hostname:{hostname}" if hostname else ""
        self.run(f"udhcpc -i eth0 -n -q -t 20 -T 1 {name} -O mtu -O search -s /etc/udhcpc.script", seconds).check()
        lines = self.run("cat /tmp/lease").check().output.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def ping(self, address, count=1) -> bool:
        return self.run(f"ping -c {count} -W 2 {address}").code == 0

    def evidence(self) -> str:
        console = self.console_path.read_text(errors="replace") if self.console_path.exists() else ""
        return "\n".join([f"--- {self.name}: QEMU", self.log_of_vmm(), f"--- {self.name}: console",
                          *console.splitlines()[-10:], f"--- {self.name}: unread output",
                          self.received.decode(errors="replace")[-500:]])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Vm(Guest):
    """mode is that of vmnatd's port: for "client" QEMU listens on the socket, for "server" it connects.
    With several queues the VM has as many CPUs. features are properties of QEMU's virtio-net-pci, options are of QEMU."""

    def __init__(self, directory, name, vhost_socket, mac, mode="client", queues=1, features=(), options=()):
        super().__init__(directory, name)
        self.directory = directory
        self.shell_path.unlink(missing_ok=True)
        if mode == "client":
            vhost_socket.unlink(missing_ok=True)
        self.process = Process([*self.qemu_arguments(vhost_socket, mac, mode, queues, features), *options],
                               log=directory / f"{name}.qemu.log")

    def qemu_arguments(self, vhost_socket, mac, mode, queues, features):
        kernel, initramfs = image.image()
        chardev = f"socket,id=port,path={vhost_socket}" + (",server=on,wait=off" if mode == "client" else ",reconnect=1")
        multiqueue = f",queues={queues}" if queues > 1 else ""
        return ["qemu-system-x86_64", "-accel", "tcg", "-nographic", "-no-reboot", "-nodefaults",
                "-m", MEMORY, "-smp", queues, "-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on",
                "-numa", "node,memdev=memory", "-kernel", kernel, "-initrd", initramfs,
                "-append", "console=ttyS0 panic=1 quiet", "-serial", f"file:{self.console_path}",
                "-serial", f"unix:{self.shell_path},server=on,wait=off", "-chardev", chardev,
                "-netdev", f"vhost-user,id=net,chardev=port{multiqueue}", "-device",
                ",".join([f"virtio-net-pci,netdev=net,mac={mac},disable-legacy=on,romfile=,vectors=0",
                          *(["mq=on"] if queues > 1 else []), *features])]

    def check_alive(self):
        check(self.process.running(), f"{self.name}: QEMU ended with {self.process.child.returncode}\n{self.evidence()}")

    def kill(self):
        """SIGKILL, as a host would lose a VM: the socket's peer is gone without a word."""
        if self.shell:
            self.shell.close()
        self.process.kill()

    def log_of_vmm(self):
        return self.process.log_tail()
