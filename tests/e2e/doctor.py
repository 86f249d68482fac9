#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`vmnatctl doctor`: finds nothing where all is well, and each fault that is planted here, with its command.

    default   192.168.122.1/24   vm1 .10 and the ports silent, blank, private (QEMU listens on none of them), lab0 a veth
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth

VMs are VMM and driver of the test's own (harness/vhost_user.py); a QEMU that is only looked at is a sleeping process with
QEMU's command line. Faults that do not let vmnatd start are planted in files of their own, and nobody is asked.
"""

import contextlib
import json
import os
import pwd
import socket
import struct
import subprocess

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.namespace import Namespace, veth
from harness.tap import Suite, check, check_equal, scratch_directory
from harness.vhost_user import HEADER, PROTOCOL_FEATURES, SET_FEATURES, SET_OWNER, VERSION, VERSION_1, VhostUserGuest
from harness.waiting import wait_until
from harness.wire import ARP, Router

GATEWAY = "192.168.122.1"
MACS = {"vm1": "52:54:00:aa:00:01", "silent": "52:54:00:aa:00:02", "blank": "52:54:00:aa:00:03"}
FOUND, NOT_FOUND, CANNOT_ASK = 1, 0, 2
GET_INFLIGHT_FD = 31


class BlankGuest(VhostUserGuest):
    """Its driver is there, and gives no buffer."""

    def give_receive_buffer(self, head):
        pass


class Examined:
    """A vmnatd in its namespace, or a place where none runs."""

    def __init__(self, namespace, control_socket):
        self.gateway, self.control_socket = namespace, control_socket

    def doctor(self, *options, control_socket=None, wrapper=()):
        """The findings of `vmnatctl --json doctor`, whose exit code must fit them."""
        command = [*wrapper, program("vmnatctl"), "--socket", control_socket or self.control_socket, "--json", "doctor"]
        answer = processes.run([*command, *options], namespace=self.gateway, check=False)
        check(answer.returncode in (FOUND, NOT_FOUND), f"exit code {answer.returncode}: {answer.stderr}")
        findings = json.loads(answer.stdout)
        for finding in findings:
            check_equal(set(finding), {"id", "severity", "object", "seen", "means", "mend"}, "keys of a finding")
        is_found = any(finding["severity"] != "note" for finding in findings)
        check_equal(answer.returncode, FOUND if is_found else NOT_FOUND, f"exit code with {ids(findings)}")
        return findings

    def wait_for(self, finding, of=None, seconds=60):
        """Until the running vmnatd has it."""
        return wait_until(lambda: find(self.doctor(), finding, of), f"the finding {finding}", seconds)

    def wait_until_mended(self, finding, of=None):
        wait_until(lambda: not find(self.doctor(), finding, of), f"{finding} is mended")


class Lab(Examined):
    def __init__(self, scope):
        self.scope = scope
        self.directory = scratch_directory(scope)
        super().__init__(scope.enter_context(Namespace("gateway")), str(self.directory / "vmnat.sock"))
        self.wires = scope.enter_context(Namespace("wires"))
        veth(self.gateway, "uplink0", self.wires, "isp0")
        veth(self.gateway, "lab0", self.wires, "far0")
        self.router = Router(self.wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, self.configuration(), namespace=self.gateway))
        self.guests = {name: scope.enter_context(kind(self.path(name), MACS[name]))
                       for name, kind in (("vm1", VhostUserGuest), ("silent", VhostUserGuest), ("blank", BlankGuest))}
        self.speak()
        wait_until(self.is_router_known, "the router's MAC is known")

    def configuration(self, **keys):
        ports = [config.vhost_user_port(name, self.path(name), mode="server") for name in (*MACS, "private")]
        ports[0]["mac"] = MACS["vm1"]
        ports.append(config.veth_port("lab0", "lab0"))
        network = config.network("default", f"{GATEWAY}/24", ports, dhcp=config.dhcp("192.168.122.100", "192.168.122.199"))
        return config.configuration(self.directory, "uplink0", [network], vhost_user={"group": "root"}, **keys)

    def path(self, name):
        return self.directory / f"{name}.sock"

    def is_router_known(self):
        self.router.drain()
        return self.vmnatd.ctl("status")["uplink"]["gateway_mac"] is not None

    def speak(self, mac=MACS["vm1"], about=GATEWAY):
        """vm1 asks for its gateway, or for whom all are asked."""
        guest = self.guests["vm1"]
        guest.send(guest.to() / ARP(op=1, hwsrc=mac, psrc="192.168.122.10", pdst=about))

    def offline(self, wrapper=(), text=None, **sections):
        """What is found without vmnatd, by a file that differs from the lab's in these sections."""
        path = self.directory / "other.yaml"
        made = self.configuration()
        made["control"]["socket"] = str(self.directory / "nobody.sock")
        for name, value in sections.items():
            made[name] = {**made[name], **value} if isinstance(value, dict) and name in made else value
        path.write_text(text or json.dumps(made))
        return self.doctor("--config", path, control_socket=made["control"]["socket"], wrapper=wrapper)

    def mend(self, finding):
        """Runs the finding's own command."""
        processes.run(["sh", "-c", finding["mend"]], namespace=self.gateway)

    def in_gateway(self, *arguments):
        return self.gateway.run(*arguments)

    def evidence(self):
        return self.vmnatd.evidence()


def ids(findings, without_notes=False):
    return [finding["id"] for finding in findings if not without_notes or finding["severity"] != "note"]


def find(findings, wanted, of=None):
    return next((f for f in findings if f["id"] == wanted and of in (None, f["object"])), None)


def expect(findings, wanted, of=None):
    found = find(findings, wanted, of)
    check(found, f"{wanted} is not among {[(f['id'], f['object'], f['seen']) for f in findings]}")
    return found


def check_found(findings, *wanted):
    """These errors and warnings, and no others but that no vmnatd runs."""
    check_equal(sorted(set(ids(findings, without_notes=True))), sorted({"daemon-not-running", *wanted}),
                f"found: {[(f['object'], f['seen']) for f in findings]}")


def make_lab(scope):
    return Lab(scope)


suite = Suite(make_lab)


# --- nothing ------------------------------------------------------------------------------------------------------

@suite.test("nothing is found where all is well but VMs that have just come, and the exit code is 0")
def healthy(lab):
    findings = lab.doctor()
    check_equal(ids(findings, without_notes=True), [], f"found: {findings}")
    answer = lab.vmnatd.ctl_text("doctor")
    check(answer.endswith("nothing found\n"), answer)


@suite.test("HTTP answers as vmnatctl does")
def over_http(lab):
    answer = processes.run(["curl", "--silent", "--show-error", "--max-time", 20, "--unix-socket",
                            lab.control_socket, "http://localhost/api/doctor"])
    without_rates = [[f for f in found if f["id"] != "worker-preempted"] for found in (json.loads(answer.stdout), lab.doctor())]
    check_equal(ids(without_rates[0], True), ids(without_rates[1], True), "findings by HTTP and by vmnatctl")


@suite.test("control answers others while the doctor looks")
def does_not_block(lab):
    def is_answered_meanwhile():
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(lab.control_socket)
            asked.sendall(b'{"command":"doctor","arguments":{}}\n')
            header = asked.recv(65536)
            lab.vmnatd.ctl("status")
            asked.setblocking(False)
            try:
                return header.count(b"\n") == 1 and not asked.recv(65536)
            except BlockingIOError:
                return True  # no finding yet
    wait_until(is_answered_meanwhile, "an answer of `status` before the doctor's")


# --- VMs ----------------------------------------------------------------------------------------------------------

@suite.test("a VM without shared memory is told by its VMM's silence after the features")
def private_memory(lab):
    with socket.socket(socket.AF_UNIX) as vmm:
        vmm.connect(str(lab.path("private")))
        for number, payload in ((SET_OWNER, b""), (SET_FEATURES, struct.pack("<Q", VERSION_1 | PROTOCOL_FEATURES))):
            vmm.sendall(HEADER.pack(number, VERSION, len(payload)) + payload)
        found = lab.wait_for("vm-memory-not-shared")
        check_equal(found["object"], "port private", "whose memory")
        check("share=on" in found["mend"], found["mend"])
    lab.wait_until_mended("vm-memory-not-shared")


@suite.test("a VM that is up, and neither sends nor has a buffer for what is sent to it, is told")
def takes_nothing(lab):
    lab.speak(about="192.168.122.99")
    check_equal(lab.wait_for("vm-takes-nothing")["object"], "port blank", "who takes nothing")


@suite.test("a VM that is up and sends nothing is told, with the features that it has agreed to, and no more once it sends")
def sends_nothing(lab):
    found = lab.wait_for("vm-sends-nothing")
    check_equal(found["object"], "port silent", "who is silent")
    check("features: mrg_rxbuf, version_1" in found["seen"], found["seen"])
    guest = lab.guests["silent"]
    guest.send(guest.to() / ARP(op=1, hwsrc=guest.mac, psrc="192.168.122.11", pdst=GATEWAY))
    lab.wait_until_mended("vm-sends-nothing")


@suite.test("a second VMM at a socket is told")
def second_connection(lab):
    with socket.socket(socket.AF_UNIX) as vmm:
        vmm.connect(str(lab.path("vm1")))
        check_equal(lab.wait_for("vm-second-connection")["object"], "port vm1", "whose socket")


@suite.test("a VMM whose messages are refused is told")
def refused_messages(lab):
    with contextlib.suppress(OSError):
        lab.guests["silent"].request(GET_INFLIGHT_FD, struct.pack("<QQHH", 0, 0, 2, 32768), need_reply=True)
    check_equal(lab.wait_for("vmm-messages-refused")["object"], "port silent", "whose VMM")


@suite.test("a VM that sends from another's MAC is told")
def spoofs(lab):
    lab.speak(mac="52:54:00:aa:00:77")
    check_equal(lab.wait_for("vm-spoofs")["object"], "port vm1", "who spoofs")


@suite.test("a second listener on a socket of vmnatd's is told")
def two_listeners(lab):
    path = lab.path("private")
    kept = path.with_suffix(".kept")
    path.rename(kept)
    try:
        with lab.gateway.entered(), socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            check_equal(lab.wait_for("both-listen")["object"], "port private", "whose socket")
    finally:
        path.unlink()
        kept.rename(path)
    lab.wait_until_mended("both-listen")


# --- the uplink and interfaces ------------------------------------------------------------------------------------

@suite.test("a port of a bridge, an interface that is down, without carrier or of a small MTU: told, and mended by its own command")
def interfaces(lab):
    lab.in_gateway("ip", "link", "add", "br0", "type", "bridge")
    lab.in_gateway("ip", "link", "set", "lab0", "master", "br0")
    for finding, plant in (("interface-in-bridge", []), ("interface-mtu-small", ["mtu", "1400"]), ("interface-down", ["down"])):
        if plant:
            lab.in_gateway("ip", "link", "set", "lab0", *plant)
        found = lab.wait_for(finding, "port lab0")
        lab.mend(found)
        lab.wait_until_mended(finding, "port lab0")
    lab.wires.run("ip", "link", "set", "far0", "down")
    lab.wait_for("interface-no-carrier", "port lab0")
    lab.wires.run("ip", "link", "set", "far0", "up")
    lab.wait_until_mended("interface-no-carrier", "port lab0")
    lab.in_gateway("ip", "link", "del", "br0")


@suite.test("a route of the host's to a network's subnet is told, and libvirt's network by its bridge")
def subnets(lab):
    lab.in_gateway("ip", "link", "add", "virbr0", "type", "veth", "peer", "name", "other0")
    lab.in_gateway("ip", "link", "set", "other0", "up")
    lab.in_gateway("ip", "route", "add", "192.168.0.0/16", "dev", "other0")
    check("192.168.0.0/16" in lab.wait_for("subnet-on-route", "network default")["mend"], "the route is not named")
    lab.in_gateway("ip", "route", "del", "192.168.0.0/16")
    lab.in_gateway("ip", "link", "set", "virbr0", "up")
    lab.in_gateway("ip", "address", "add", f"{GATEWAY}/24", "dev", "virbr0")
    check("virsh net-destroy default" in lab.wait_for("libvirt-network-up", "network default")["mend"], "no command")
    lab.in_gateway("ip", "link", "del", "virbr0")
    lab.wait_until_mended("libvirt-network-up")


@suite.test("an address of vmnat's on the kernel's interface is told, and mended by its own command")
def address_on_host(lab):
    lab.in_gateway("ip", "address", "add", f"{config.UPLINK_ADDRESS}/32", "dev", "lo")
    lab.mend(lab.wait_for("uplink-address-on-host"))
    lab.wait_until_mended("uplink-address-on-host")


@suite.test("another station that claims the uplink's address is told")
def claimed(lab):
    lab.router.send(lab.router.to() / ARP(op=1, hwsrc=lab.router.mac, psrc=config.UPLINK_ADDRESS, pdst=config.UPLINK_ADDRESS))
    lab.wait_for("uplink-address-claimed")


@suite.test("a router that does not answer ARP is told, and an uplink without link")
def silent_router(lab):
    with contextlib.ExitStack() as scope:
        gateway, wires = (scope.enter_context(Namespace(name)) for name in ("gateway2", "wires2"))
        veth(gateway, "uplink0", wires, "isp0")
        made = config.configuration(lab.directory / "silent", "uplink0", [config.network("default", f"{GATEWAY}/24", [])])
        made["control"]["metrics"] = "0.0.0.0:9469"
        scope.enter_context(Vmnatd(lab.directory / "silent", made, namespace=gateway, wrapper=["taskset", "-c", "0"]))
        other = Examined(gateway, made["control"]["socket"])
        found = other.wait_for("gateway-silent")
        check(config.UPLINK_ROUTER in found["seen"], found["seen"])
        expect(other.doctor(), "worker-cpu-shared", "CPU 0")
        expect(other.doctor(), "metrics-open", "control.metrics")
        wires.run("ip", "link", "set", "isp0", "down")
        other.wait_for("uplink-down")


# --- without vmnatd -----------------------------------------------------------------------------------------------

@suite.test("where no vmnatd runs and all is well, that alone is found")
def not_running(lab):
    check_found(lab.offline())


@suite.test("nobody who can be asked, and no file: exit code 2")
def cannot_ask(lab):
    for options in (["--config", "/nonexistent"], ["--unknown"]):
        answer = processes.run([program("vmnatctl"), "--socket", lab.directory / "nobody.sock", "doctor", *options], check=False)
        check_equal(answer.returncode, CANNOT_ASK, f"exit code with {options}: {answer.stderr}")


@suite.test("mistakes in the file are told with their places")
def invalid(lab):
    findings = lab.offline(text="uplink: {device: eth0, adress: dhcp}\n")
    check_found(findings, "config-invalid")
    check("other.yaml:1:" in expect(findings, "config-invalid")["seen"], findings)


@suite.test("a CPU that is not there, and one that this process may not run on")
def cpus(lab):
    check_found(lab.offline(dataplane={"workers": [1000]}), "worker-cpu-absent")
    last = max(os.sched_getaffinity(0))
    check_found(lab.offline(wrapper=["taskset", "-c", str(min(os.sched_getaffinity(0)))], dataplane={"workers": [last]}),
                "worker-cpu-forbidden")


@suite.test("hugepages that are required and not there, and memory that is not")
def memory(lab):
    check_found(lab.offline(dataplane={"hugepages": "required", "memory": "900G"}), "hugepages-missing", "memory-short")
    check_found(lab.offline(dataplane={"memory": "900G"}), "memory-short")


@suite.test("too few file descriptors, and too little memory that may be locked for AF_XDP")
def limits(lab):
    check_found(lab.offline(wrapper=["prlimit", "--nofile=64:64"]), "limit-nofile")
    uplink = {"device": {"interface": "uplink0", "driver": "xdp"}}
    check_found(lab.offline(wrapper=["setpriv", "--bounding-set=-ipc_lock", "prlimit", "--memlock=65536:65536"], uplink=uplink),
                "limit-memlock")


@suite.test("a NIC and an interface that are not there")
def devices(lab):
    check_found(lab.offline(uplink={"device": "ffff:1f:1f.7"}), "nic-absent")
    check_found(lab.offline(uplink={"device": "nosuch0"}), "interface-absent")


@suite.test("a veth whose other end leaves checksums to a NIC, under AF_XDP; mended by its own command")
def veth_checksum(lab):
    lab.in_gateway("ip", "link", "add", "one0", "type", "veth", "peer", "name", "two0")
    for end in ("one0", "two0"):
        lab.in_gateway("ip", "link", "set", end, "up")
    uplink = {"device": {"interface": "one0", "driver": "xdp"}}
    findings = lab.offline(uplink=uplink)
    check_found(findings, "veth-checksum")
    lab.in_gateway("ethtool", "-K", "two0", "tx", "off")
    check("ethtool -K two0 tx off" in expect(findings, "veth-checksum")["mend"], findings)
    check_found(lab.offline(uplink=uplink))
    check_found(lab.offline(uplink={"device": "one0"}))
    lab.in_gateway("ip", "link", "del", "one0")


@suite.test("a group that is not there, a state directory that cannot be made, metrics for everybody")
def control(lab):
    (lab.directory / "file").write_text("")
    check_found(lab.offline(control={"group": "vmnat-no-such"}), "admin-group-unknown")
    check_found(lab.offline(control={"state_dir": str(lab.directory / "file/state")}), "state-dir-unwritable")
    check_found(lab.offline(control={"metrics": "0.0.0.0:9469"}), "metrics-open")


@suite.test("a directory that QEMU's group cannot use, and a file where a socket should be")
def sockets(lab):
    outside = ["qemu-outside-group"] if has_user("libvirt-qemu") else []
    check_found(lab.offline(vhost_user={"group": "daemon"}), "socket-directory-closed", *outside)
    path = lab.path("plain")
    path.write_text("")
    ports = [config.vhost_user_port("plain", path, mode="client")]
    check_found(lab.offline(networks=[config.network("default", f"{GATEWAY}/24", ports)]), "socket-unusable")
    path.unlink()


@suite.test("a QEMU of the wrong mode, or without shared memory, by its command line")
def command_lines(lab):
    shared = ["-object", "memory-backend-memfd,id=m,size=64M,share=on"]
    for mode, server, memory, wanted in (("client", "", shared, ["both-connect"]), ("server", ",server=on", shared, ["both-listen"]),
                                         ("client", ",server=on", [], ["vm-memory-not-shared"]),
                                         ("client", ",server=on", shared, [])):
        path = lab.path("qemu")
        arguments = ["qemu-system-x86_64", "-c", "import time; time.sleep(600)", *memory,
                     "-chardev", f"socket,id=c,path={path}{server}"]
        qemu = subprocess.Popen(arguments, executable="/usr/bin/python3", preexec_fn=processes.die_with_parent)
        try:
            ports = [config.vhost_user_port("vm1", path, mode=mode)]
            check_found(lab.offline(networks=[config.network("default", f"{GATEWAY}/24", ports)]), *wanted)
        finally:
            qemu.kill()
            qemu.wait()


@suite.test("another program that serves DNS where the gateway is to")
def dns(lab):
    network = config.network("default", f"{GATEWAY}/24", [], host={"interface": "doctor0"}, dns={"hosts": {"gw": GATEWAY}})
    with lab.gateway.entered(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("0.0.0.0", 53))
        findings = lab.offline(networks=[network])
    expect(findings, "dns-port-taken", "network default")


@suite.test("the kernel's forwarding for vmnat's address is told; and mended by its own command")
def forwarding(lab):
    lab.in_gateway("ip", "link", "add", "way0", "type", "veth", "peer", "name", "way1")
    for end in ("way0", "way1"):
        lab.in_gateway("ip", "link", "set", end, "up")
    lab.in_gateway("ip", "route", "add", "default", "dev", "way0")
    lab.in_gateway("sysctl", "-q", "net.ipv4.conf.uplink0.forwarding=1")
    made = lab.configuration()["uplink"]
    made["mac"] = mac_of(lab, "uplink0")
    found = expect(lab.offline(uplink=made), "uplink-forwarded-by-host")
    lab.mend(found)
    check_found(lab.offline(uplink=made))
    lab.in_gateway("ip", "link", "del", "way0")


def has_user(name):
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(name) is not None
    return False


def mac_of(lab, interface):
    return json.loads(lab.in_gateway("ip", "-json", "link", "show", interface).stdout)[0]["address"]


suite.main()
