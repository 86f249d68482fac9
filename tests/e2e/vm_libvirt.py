#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real libvirtd beside vmnatd, both where Debian has them: domains get their ports by the hook and are on the network.

    default   192.168.122.1/24   no ports in the file        /run/vmnat/*.sock
    lab       192.168.5.1/24     isolated                    /run/vmnat/lab/*.sock

vmnatd has its defaults for sockets; QEMU is the user libvirt-qemu.
"""

import os
import pathlib
import pwd

from harness import config, libvirt, processes
from harness.daemon import ROOT, Vmnatd, program
from harness.internet import HOST, Internet
from harness.libvirt import Domain, Libvirt, vhost_user_nic
from harness.namespace import Namespace
from harness.tap import Skipped, Suite, check, check_equal, scratch_directory
from harness.waiting import wait_until

GATEWAY, LAB_GATEWAY = "192.168.122.1", "192.168.5.1"
MAC, SECOND_MAC = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
SOCKETS = pathlib.Path("/run/vmnat")
STATUS = pathlib.Path("/var/lib/libvirt/dnsmasq/vmnat.status")
NSS_MODULE = "libnss_libvirt_guest.so.2"


class Lab:
    def __init__(self, scope):
        if lacking := libvirt.missing():
            raise Skipped(f"not installed: {', '.join(lacking)}")
        self.directory = scratch_directory(scope)
        STATUS.parent.mkdir()
        gateway = scope.enter_context(Namespace("gateway"))
        self.internet = scope.enter_context(Internet(self.directory, gateway))
        networks = [config.network("default", f"{GATEWAY}/24", [],
                                   dhcp=config.dhcp("192.168.122.2", "192.168.122.254", exports={"libvirt": str(STATUS)})),
                    config.network("lab", f"{LAB_GATEWAY}/24", [], forward="none",
                                   dhcp=config.dhcp("192.168.5.2", "192.168.5.254"))]
        settings = config.configuration(self.directory, "uplink0", networks)
        settings["control"]["socket"] = str(SOCKETS / "vmnat.sock")
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, settings, namespace=gateway))
        libvirt.install_hook(ROOT / "tools" / "libvirt" / "qemu", program("vmnatctl"))
        self.libvirt = scope.enter_context(Libvirt(self.directory, gateway))

    def ports(self):
        return {port["name"]: port for port in self.vmnatd.ctl("ports") if port["network"] != "uplink"}

    def wait_for_link(self, name):
        wait_until(lambda: self.ports().get(name, {}).get("link") == "up", f"port {name} is up")

    def check_has_no_ports(self):
        wait_until(lambda: not self.ports(), "the domains' ports are gone")

    def resolve(self, name):
        answer = processes.run(["getent", "-s", "libvirt_guest", "hosts", name], check=False)
        return answer.stdout.split()[:1]

    def evidence(self):
        return f"{self.vmnatd.evidence()}\n{self.libvirt.evidence()}"


suite = Suite(Lab)


for libvirts, ours in (("server", "client"), ("client", "server")):
    @suite.test(f"a domain whose socket is of libvirt's mode {libvirts} has its port while it runs, a lease, and pings")
    def runs(lab, libvirts=libvirts, ours=ours):
        with Domain(lab.libvirt, "web1", [vhost_user_nic(SOCKETS / "web1.sock", libvirts, MAC)]) as vm:
            port = lab.ports()["web1"]
            check_equal((port["network"], port["mode"], port["socket"]), ("default", ours, str(SOCKETS / "web1.sock")),
                        "the port")
            owners = {pwd.getpwuid(pathlib.Path(f"/proc/{pid}").stat().st_uid).pw_name for pid in qemu_processes()}
            check_equal(owners, {"libvirt-qemu"}, "who QEMU runs as")
            vm.wait_until_booted()
            lab.wait_for_link("web1")
            address = vm.obtain_lease()["ip"]
            for target in (GATEWAY, HOST):
                check(vm.ping(target, 3), f"no answer of {target}")
            owned = [(entry["mac"], entry["by"]) for entry in lab.ports()["web1"]["owns"]]
            check((MAC, "configuration") in owned, f"the domain's MAC address is not the port's: {owned}")
            check_resolves(lab, "web1", [address])
        lab.check_has_no_ports()
        check_resolves(lab, "web1", [])


def qemu_processes():
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and b"guest=web1" in command_of(entry):
            yield entry.name


def command_of(process):
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


def check_resolves(lab, name, addresses):
    if not any(path.joinpath(NSS_MODULE).exists() for path in pathlib.Path("/lib").glob("*-linux-gnu")):
        return print("# libnss-libvirt is not installed: names are not resolved")
    wait_until(lambda: lab.resolve(name) == addresses, f"libvirt_guest says that {name} is {addresses}, not {lab.resolve(name)}")


@suite.test("a socket in the directory of a network is on that network; two NICs have two ports")
def networks(lab):
    nics = [vhost_user_nic(SOCKETS / "db1.sock", "server", MAC), vhost_user_nic(SOCKETS / "lab/db1.sock", "server", SECOND_MAC)]
    with Domain(lab.libvirt, "db1", nics) as vm:
        check_equal({name: port["network"] for name, port in lab.ports().items()}, {"db1": "default", "lab.db1": "lab"},
                    "ports")
        vm.wait_until_booted()
        vm.run("ip link set eth1 up; udhcpc -i eth1 -n -q -t 20 -T 1 -s /etc/udhcpc.script").check()
        check(vm.ping(LAB_GATEWAY), "the isolated network's gateway does not answer")
    lab.check_has_no_ports()


@suite.test("libvirtd and vmnatd are started anew under a domain: it keeps its port and its connections")
def restarts(lab):
    with Domain(lab.libvirt, "web1", [vhost_user_nic(SOCKETS / "web1.sock", "server", MAC)]) as vm:
        vm.wait_until_booted()
        vm.obtain_lease()
        lab.libvirt.stop()
        lab.vmnatd.stop()
        lab.vmnatd.start()
        lab.libvirt.start()
        lab.wait_for_link("web1")
        check(vm.ping(HOST, 3), "no answer after the restarts")
        check_equal(list(lab.ports()), ["web1"], "ports")
    lab.check_has_no_ports()


@suite.test("a NIC is plugged into a running domain and out of it again, with its port added and taken away by hand")
def hotplug(lab):
    with Domain(lab.libvirt, "web1", [vhost_user_nic(SOCKETS / "web1.sock", "server", MAC)]) as vm:
        vm.wait_until_booted()
        nic = lab.directory / "nic.xml"
        nic.write_text(vhost_user_nic(SOCKETS / "more.sock", "server", SECOND_MAC))
        lab.vmnatd.ctl_text("port", "add", "more", "--network", "default", "--vhost-user", SOCKETS / "more.sock",
                            "--mac", SECOND_MAC)
        lab.libvirt.virsh("attach-device", "web1", nic, "--live")
        wait_until(lambda: "eth1" in vm.run("ls /sys/class/net").output, "the guest sees the NIC")
        vm.run("ip link set eth1 up; udhcpc -i eth1 -n -q -t 20 -T 1 -s /etc/udhcpc.script").check()
        check(vm.ping(GATEWAY), "no answer by the NIC that was plugged in")
        lab.libvirt.virsh("detach-device", "web1", nic, "--live")
        wait_until(lambda: "eth1" not in vm.run("ls /sys/class/net").output, "the guest has lost the NIC")
        lab.vmnatd.ctl_text("port", "del", "more")
        check_equal(list(lab.ports()), ["web1"], "ports")
    lab.check_has_no_ports()


@suite.test("without vmnatd a domain on its sockets does not start, and virsh says why; others do")
def refused(lab):
    lab.vmnatd.stop()
    try:
        with Domain(lab.libvirt, "other", []):
            pass
        try:
            Domain(lab.libvirt, "web1", [vhost_user_nic(SOCKETS / "web1.sock", "server", MAC)])
        except RuntimeError as problem:
            check("is vmnatd running?" in str(problem), str(problem))
        else:
            check(False, "the domain has started")
    finally:
        lab.vmnatd.start()


@suite.test("every frame is accounted for, and none left by the uplink with an inside source address")
def accounting(lab):
    lab.vmnatd.check_accounting()
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")


if __name__ == "__main__":
    if os.geteuid() == 0 and not libvirt.missing():
        libvirt.run_apart()
    suite.main()
