#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The life of the Debian packages on a machine of their own, which a real systemd runs, with libvirt on it: installed by
apt, the uplink set and nothing else, started; a domain of libvirt's on the network; upgraded, removed, purged.

package_chroot.sh makes the machine's files and calls this. The subtests are one story, in this order.

    VMNAT_CHROOT=ROOT VMNAT_PACKAGES=build-package tests/e2e/package_life.py
"""

import contextlib
import os
import pathlib
import re
import shutil
import socket
import struct

from scapy.layers.dns import DNS, DNSQR

from harness import config
from harness.internet import HOST, HTTP_PORT, Internet
from harness.libvirt import CONSOLES, IMAGES, Domain, vhost_user_nic
from harness.machine import Machine
from harness.namespace import Namespace
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vm import Guest, image
from harness.waiting import PATIENCE, wait_until

CONFIGURATION = "/etc/vmnat/vmnat.yaml"
GATEWAY, MAC, NAME = "192.168.122.1", "52:54:00:aa:00:01", "web1"
INSTALLED = (
    CONFIGURATION, "/usr/sbin/vmnatd", "/usr/bin/vmnatctl", "/usr/bin/vmnat-bench", "/lib/systemd/system/vmnat.service",
    "/usr/lib/sysusers.d/vmnat.conf", "/usr/lib/tmpfiles.d/vmnat.conf", "/usr/share/bash-completion/completions/vmnatctl",
    "/usr/share/man/man8/vmnatd.8.gz", "/usr/share/man/man1/vmnatctl.1.gz", "/usr/share/man/man5/vmnat.yaml.5.gz",
    "/usr/share/man/man1/vmnat-bench.1.gz", "/etc/libvirt/hooks/qemu.d/vmnat")
GONE_AFTER_PURGE = ("/etc/vmnat", "/var/lib/vmnat", "/run/vmnat")


class MachinesDomain(Domain):
    """A domain of the machine's libvirtd."""

    def __init__(self, lab, name, nics):
        Guest.__init__(self, lab.machine.path(CONSOLES), name)
        self.libvirt, root = lab, str(lab.machine.root)
        lab.machine.path(f"/root/{name}.xml").write_text(self.xml(nics).replace(root, ""))
        lab.virsh("create", f"/root/{name}.xml")

    def log_of_vmm(self):
        log = self.libvirt.machine.path(f"/var/log/libvirt/qemu/{self.name}.log")
        return log.read_text(errors="replace")[-2000:] if log.exists() else ""


class Lab:
    def __init__(self, scope):
        self.directory = scratch_directory(scope)
        packages, root = (pathlib.Path(os.environ[name]).resolve() for name in ("VMNAT_PACKAGES", "VMNAT_CHROOT"))
        self.gateway = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, self.gateway))
        for package in ("vmnat", "vmnat-bench"):
            found, = packages.glob(f"{package}_*_amd64.deb")
            shutil.copy(found, root / f"root/{package}.deb")
        consoles, images = (root / str(path).lstrip("/") for path in (CONSOLES, IMAGES))
        consoles.mkdir(parents=True, exist_ok=True)
        consoles.chmod(0o777)
        for path in image.image():
            shutil.copy(path, images)
        self.machine = scope.enter_context(Machine(root, self.gateway, self.directory / "boot.log"))
        scope.callback(self.remove_packages)

    def remove_packages(self):
        for package in self.machine.path("/root").glob("*.deb"):
            package.unlink()

    def apt(self, *arguments):
        return self.machine.run("apt-get", "--quiet=2", "--yes", "-o", "Dpkg::Use-Pty=0",
                                "-o", "Dpkg::Options::=--force-confold", *arguments, seconds=300)

    def virsh(self, *arguments, check=True, seconds=120):
        return self.machine.run("virsh", "--connect", "qemu:///system", *arguments, check=check, seconds=seconds)

    def vmnatctl(self, *arguments):
        return self.machine.run("vmnatctl", *arguments).stdout

    def unit(self, key) -> str:
        return self.machine.run("systemctl", "show", "--value", "--property", key, "vmnat").stdout.strip()

    def version(self) -> str:
        return self.machine.run("dpkg-query", "--show", "--showformat=${Version}", "vmnat").stdout

    def is_served(self) -> bool:
        return self.unit("ActiveState") == "active"

    # --- the host, as its users ---------------------------------------------------------------------------

    def resolve(self, name, tcp=False) -> list[str]:
        """The addresses that the gateway knows, asked from the host."""
        return addresses_in(exchange(self.gateway, bytes(DNS(rd=1, qd=DNSQR(qname=name))), tcp))

    def greeting_of(self, address, port) -> str:
        with self.gateway.entered(), socket.create_connection((address, port), timeout=10 * PATIENCE) as connection:
            return connection.recv(100).decode()

    def evidence(self):
        return f"--- vmnat\n{self.machine.journal('vmnat')}\n--- libvirtd\n{self.machine.journal('libvirtd')}"


def exchange(namespace, question, tcp):
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with namespace.entered(), socket.socket(socket.AF_INET, kind) as opened:
        opened.settimeout(5 * PATIENCE)
        opened.connect((GATEWAY, 53))
        if not tcp:
            opened.send(question)
            return DNS(opened.recv(4096))
        opened.sendall(struct.pack("!H", len(question)) + question)
        stream = opened.makefile("rb")
        return DNS(stream.read(struct.unpack("!H", stream.read(2))[0]))


def addresses_in(answer) -> list[str]:
    return [answer.an[i].rdata for i in range(answer.ancount) if answer.an[i].type == 1]


suite = Suite(Lab)


@suite.test("apt installs the packages and what they need; the daemon waits for its uplink, and says so")
def installs(lab):
    said = lab.apt("install", "/root/vmnat.deb", "/root/vmnat-bench.deb").stdout
    check("set uplink.device in /etc/vmnat/vmnat.yaml" in said, said)
    missing = [path for path in INSTALLED if not os.path.lexists(lab.machine.path(path))]
    check(not missing, f"missing: {missing}")
    check_equal(lab.machine.run("stat", "-c", "%U %G %a", "/run/vmnat").stdout.strip(), "vmnat kvm 3771", "/run/vmnat")
    lab.machine.run("vmnat-bench", "--help")
    check_equal((lab.unit("ActiveState"), lab.unit("UnitFileState")), ("inactive", "enabled"), "the unit")
    check("set uplink.device there" in lab.machine.journal("vmnat"), lab.machine.journal("vmnat"))
    told = lab.machine.run("vmnatd", "--check", "--config", CONFIGURATION, check=False)
    check(told.returncode == 1 and "'device' is missing" in told.stderr, told.stderr)


@suite.test("with the uplink set it starts: as user vmnat, behind its filter, watched by systemd")
def starts(lab):
    path = lab.machine.path(CONFIGURATION)
    uplink = f"  device: uplink0\n  address: {config.UPLINK_ADDRESS}/24\n  gateway: {config.UPLINK_ROUTER}\n"
    edited = re.sub(r"  # device: .*\n", uplink, path.read_text())
    path.write_text(re.sub(r"\n  address: dhcp\n", "\n", edited))
    lab.machine.run("systemctl", "start", "vmnat")
    check_equal((lab.unit("ActiveState"), lab.unit("SubState")), ("active", "running"), "the unit")
    status = lab.machine.run("cat", f"/proc/{lab.unit('MainPID')}/status").stdout
    check("\nSeccomp:\t2\n" in status and "\nNoNewPrivs:\t1\n" in status, status)
    check_equal(lab.machine.run("stat", "-c", "%U", "/run/vmnat/vmnat.sock").stdout.strip(), "vmnat", "whose socket it is")
    check_equal(lab.unit("WatchdogUSec"), "20s", "the watchdog")
    check(lab.unit("WatchdogTimestampMonotonic") not in ("", "0"), "the watchdog is not fed")
    lab.machine.run("systemctl", "reload", "vmnat")
    check(f"uplink0" in lab.vmnatctl("status"), "the uplink is not shown")


@suite.test("a domain of libvirt's gets its port, a lease, a name, and DNS by UDP and TCP; the host reaches it by name")
def serves_a_domain(lab):
    lab.domain = MachinesDomain(lab, NAME, [vhost_user_nic(f"/run/vmnat/{NAME}.sock", "server", MAC)])
    vm = lab.domain
    vm.wait_until_booted()
    lease = vm.obtain_lease(hostname=NAME)
    check_equal((lease["router"], lease["dns"]), (GATEWAY, GATEWAY), "router and resolver")
    check(vm.ping(GATEWAY) and vm.ping(HOST), "no way out")
    vm.run(f"wget -q -O /dev/null http://{HOST}:{HTTP_PORT}/whoami").check()
    wait_until(lambda: lab.resolve(NAME) == [lease["ip"]], "the gateway knows the domain's name")
    check_equal(lab.resolve(NAME, tcp=True), [lease["ip"]], "the same by TCP")
    vm.run(f"nslookup {NAME} {GATEWAY} | grep -q 'Address.*{lease['ip']}'").check()
    question = bytes(DNS(rd=1, qd=DNSQR(qname=NAME)))
    octets = "".join(f"\\{byte:03o}" for byte in struct.pack("!H", len(question)) + question)
    answer = vm.run(f"printf '{octets}' | nc -w 3 {GATEWAY} 53 | hexdump -v -e '1/1 \"%02x\"'").check().output.strip()
    check_equal(addresses_in(DNS(bytes.fromhex(answer)[2:])), [lease["ip"]], "the VM's own question by TCP")
    vm.run("(while :; do echo SSH-2.0-of-the-vm | nc -l -p 22; done) >/dev/null 2>&1 &").check()
    address, = lab.resolve(NAME)
    greeting = wait_until(lambda: greeting_or_none(lab, address), "the VM answers the host")
    check_equal(greeting.strip(), "SSH-2.0-of-the-vm", "what the host is told")


def greeting_or_none(lab, address):
    with contextlib.suppress(OSError):
        return lab.greeting_of(address, 22)
    return None


@suite.test("killed, it is started again by systemd; the domain goes on without noticing")
def is_restarted(lab):
    lab.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "vmnat")
    wait_until(lambda: lab.unit("NRestarts") == "1" and lab.is_served(), "systemd has started it again", 60)
    wait_until(lambda: lab.domain.ping(HOST), "the domain reaches the outside", 30)


@suite.test("an upgrade keeps the edited configuration and restarts the daemon; the domain goes on")
def is_upgraded(lab):
    former, edited = lab.unit("MainPID"), lab.machine.path(CONFIGURATION).read_text()
    lab.vmnatctl("reserve", "add", "192.168.122.77", "--mac", "52:54:00:aa:00:77")
    lab.machine.run("sh", "-ec", UPGRADE)
    version = lab.version()
    lab.apt("install", "/root/upgrade.deb")
    check_equal(lab.version(), f"{version}+upgrade", "the version")
    check_equal(lab.machine.path(CONFIGURATION).read_text(), edited, "the configuration")
    wait_until(lambda: lab.is_served() and lab.unit("MainPID") != former, "the new daemon runs", 60)
    wait_until(lambda: lab.domain.ping(HOST), "the domain reaches the outside", 30)
    lab.vmnatctl("reserve", "del", "192.168.122.77")


# The same package with a higher version, and another example, which may not touch an edited one.
UPGRADE = """cd /root
dpkg-deb --raw-extract vmnat.deb upgrade
sed -i 's/^Version: .*/&+upgrade/' upgrade/DEBIAN/control
echo '# another example' | tee -a upgrade/etc/vmnat/vmnat.yaml >>upgrade/usr/share/vmnat/vmnat.yaml
dpkg-deb --root-owner-group --build upgrade upgrade.deb
rm -r upgrade
"""


@suite.test("the domain ends and takes its port along; every frame is accounted for, none left with an inside address")
def ends(lab):
    lab.domain.kill()
    wait_until(lambda: NAME not in lab.vmnatctl("ports"), "the domain's port is gone")
    lab.vmnatctl("invariants")
    check_equal(lab.internet.leaks(), [], "leaks")


@suite.test("removed, it has stopped, and what was set up is there; purged, nothing is")
def goes(lab):
    lab.apt("remove", "vmnat", "vmnat-bench")
    check(not lab.machine.path("/usr/sbin/vmnatd").exists(), "vmnatd is still there")
    check_equal(lab.unit("ActiveState"), "inactive", "the unit")
    check_equal(lab.gateway.run("ip", "-brief", "link", "show", "type", "tun").stdout, "", "interfaces")
    kept = [path for path in (CONFIGURATION, "/var/lib/vmnat") if lab.machine.path(path).exists()]
    check_equal(len(kept), 2, f"what is kept: {kept}")
    lab.apt("purge", "vmnat")
    for path in GONE_AFTER_PURGE:
        check(lab.machine.run("test", "-e", path, check=False).returncode == 1, f"{path} outlives a purge")


if __name__ == "__main__":
    suite.main()
