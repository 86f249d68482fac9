# SPDX-License-Identifier: Apache-2.0
"""Debian's libvirtd and virtlogd, run by the test in the foreground, and domains of theirs.

    run_apart()                                            # once, before anything is started
    with Libvirt(directory, namespace=gateway) as libvirt:
        with Domain(libvirt, directory, "vm1", nics=[vhost_user_nic(...)]) as vm: ...

They keep their sockets, domains and logs where Debian has them, /run/libvirt, /etc/libvirt and so on. The test has those
directories, and all of /run, for itself: empty file systems in its own mount namespace, which go with its last process.
QEMU is no child of the test's, but a daemon of libvirtd's: it goes with the test's own process namespace.
"""

import os
import pathlib
import shutil
import signal

from . import processes
from .processes import CLONE_NEWNS, MS_PRIVATE, MS_REC, Process, die_with_parent, system_call
from .tap import check
from .vm import MEMORY, Guest, image
from .waiting import wait_until

CLONE_NEWPID = 0x20000000
PROGRAMS = {"virtlogd": "/usr/sbin/virtlogd", "libvirtd": "/usr/sbin/libvirtd", "virsh": "/usr/bin/virsh"}
IMAGES = pathlib.Path("/var/lib/libvirt/images")
CONSOLES = pathlib.Path("/var/lib/libvirt/consoles")
HOOKS = pathlib.Path("/etc/libvirt/hooks")
GONE_WITH_US = ("/run", "/dev/shm", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/etc/libvirt")


def missing() -> list[str]:
    return [program for program in PROGRAMS.values() if not os.access(program, os.X_OK)]


def run_apart():
    """Returns in a process whose files and processes are seen by nobody else; this one waits for it, and ends as it does.
    In between stands the first process of the namespace, which all that lose their parent become children of."""
    system_call("unshare", CLONE_NEWNS | CLONE_NEWPID)
    if first := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) & 0xFF)
    die_with_parent()
    if test := os.fork():
        while True:
            ended, status = os.wait()
            if ended == test:
                os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
    private_directories()


def private_directories():
    settings = {path.name: path.read_text() for path in pathlib.Path("/etc/libvirt").glob("*.conf")}
    settings["qemu.conf"] += "cgroup_controllers = []\n"  # which are the machine's
    system_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    system_call("mount", b"proc", b"/proc", b"proc", 0, None)
    for directory in GONE_WITH_US:
        os.makedirs(directory, exist_ok=True)
        system_call("mount", b"tmpfs", directory.encode(), b"tmpfs", 0, b"mode=755")
    for name, content in settings.items():
        (pathlib.Path("/etc/libvirt") / name).write_text(content)
    for directory in (IMAGES, CONSOLES, HOOKS / "qemu.d"):
        directory.mkdir(parents=True)
    CONSOLES.chmod(0o777)


def install_hook(hook, vmnatctl):
    """As the package does; with the vmnatctl of the build. libvirtd looks for hooks when it starts."""
    path = HOOKS / "qemu.d" / "vmnat"
    path.write_text(f"#!/bin/sh\nVMNATCTL={vmnatctl} exec {hook} \"$@\"\n")
    path.chmod(0o755)


class Libvirt:
    def __init__(self, directory, namespace):
        self.directory, self.namespace = directory, namespace
        for path in image.image():
            shutil.copy(path, IMAGES)
        self.virtlogd = Process([PROGRAMS["virtlogd"]], directory / "virtlogd.log")
        self.start()

    def start(self):
        self.libvirtd = Process([PROGRAMS["libvirtd"]], self.directory / "libvirtd.log", self.namespace)
        wait_until(lambda: not self.libvirtd.running() or self.virsh("version", check=False).returncode == 0,
                   f"libvirtd answers\n{self.libvirtd.log_tail()}", 60)
        check(self.libvirtd.running(), f"libvirtd has ended\n{self.libvirtd.log_tail()}")

    def virsh(self, *arguments, check=True, seconds=120):
        return processes.run([PROGRAMS["virsh"], "--connect", "qemu:///system", *arguments], check=check, seconds=seconds)

    def stop(self):
        """By SIGTERM, as an administrator would; its domains go on."""
        self.libvirtd.send(signal.SIGTERM)
        self.libvirtd.wait()

    def evidence(self):
        return f"--- libvirtd\n{self.libvirtd.log_tail()}\n--- virtlogd\n{self.virtlogd.log_tail()}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.libvirtd.kill()
        self.virtlogd.kill()


def vhost_user_nic(socket, mode, mac, more=""):
    """`mode` is libvirt's: a server is QEMU that listens."""
    reconnect = "<reconnect enabled='yes' timeout='1'/>" if mode == "client" else ""
    return (f"<interface type='vhostuser'><mac address='{mac}'/><source type='unix' path='{socket}' mode='{mode}'>"
            f"{reconnect}</source><model type='virtio'/>{more}</interface>")


class Domain(Guest):
    """A transient domain of type qemu: software emulation, in which QEMU 7.2 bears a vhost-user NIC only without MSI-X."""

    def __init__(self, libvirt, name, nics):
        super().__init__(CONSOLES, name)
        self.libvirt = libvirt
        path = libvirt.directory / f"{name}.xml"
        path.write_text(self.xml(nics))
        libvirt.virsh("create", path)

    def xml(self, nics):
        kernel, initramfs = (IMAGES / path.name for path in image.image())
        return (
            "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
            f"<name>{self.name}</name><memory unit='MiB'>{MEMORY.removesuffix('M')}</memory><vcpu>1</vcpu>"
            "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>"
            f"<os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initramfs}</initrd>"
            "<cmdline>console=ttyS0 panic=1 quiet</cmdline></os><features><acpi/></features>"
            "<on_reboot>destroy</on_reboot><on_crash>destroy</on_crash>"
            "<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>"
            f"<serial type='file'><source path='{self.console_path}'/><target port='0'/></serial>"
            f"<serial type='unix'><source mode='bind' path='{self.shell_path}'/><target port='1'/></serial>"
            f"{''.join(nics)}<memballoon model='none'/></devices>"
            "<qemu:commandline><qemu:arg value='-global'/><qemu:arg value='virtio-net-pci.vectors=0'/></qemu:commandline>"
            "</domain>")

    def is_running(self):
        return self.libvirt.virsh("domstate", self.name, check=False).stdout.strip() == "running"

    def check_alive(self):
        check(self.is_running(), f"{self.name}: the domain is not running any more\n{self.evidence()}")

    def log_of_vmm(self):
        log = pathlib.Path(f"/var/log/libvirt/qemu/{self.name}.log")
        return "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""

    def kill(self):
        """As `virsh destroy` does it."""
        if self.shell:
            self.shell.close()
        self.libvirt.virsh("destroy", self.name, check=False)
