# SPDX-License-Identifier: Apache-2.0
"""Real DHCP clients against the server, on a veth pair between two network namespaces.

    clients_test.py VETH_SERVER VMNATD [TestCase.test ...]

udhcpc, dhclient, dhcpcd, systemd-networkd and iPXE get an address and everything else they ask for; udhcpc also
renews and releases; perfdhcp makes many exchanges while the server is killed again and again, and no lease
that was ACKed on the wire may be missing from the journal. All of it with the server alone (veth_server.cc) and
through vmnatd, whose `device:` port is the veth. Nothing leaves the two namespaces.
A client that is not installed is a failure, not a skip: `./run test` installs them.
"""

import itertools
import json
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

VETH_SERVER, VMNATD = sys.argv.pop(1), sys.argv.pop(1)
VMNATCTL = pathlib.Path(VMNATD).parent / "ctl/vmnatctl"
TFTP_SERVER = "10.77.0.9"
GATEWAY = "10.77.0.1"
VM_MAC = "52:54:00:aa:00:01"
LEASE_SCRIPT = """#!/bin/sh
env > "{directory}/.$$" && mv "{directory}/.$$" "{directory}/event-$(date +%s%N)"
"""


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, timeout=60, **options).stdout


def eventually(what, probe, seconds=30):
    """The first true answer of probe(), asked again and again."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := probe():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Lab:
    """Two namespaces and a veth pair: the server's side has the gateway's address, the client's has none."""

    serial = itertools.count()

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="vmnat-dhcp-"))
        name = f"vd-{os.getpid()}-{next(Lab.serial)}"
        self.server_ns, self.client_ns = f"{name}-server", f"{name}-client"
        self.children = []
        self.server = None
        try:
            self.make_wire()
        except BaseException:
            self.close()
            raise

    def make_wire(self):
        for name in (self.server_ns, self.client_ns):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "gw0", "netns", self.server_ns, "address", "52:54:00:00:01:01", "type", "veth",
            "peer", "name", "vm0", "netns", self.client_ns, "address", VM_MAC)
        run("ip", "-n", self.server_ns, "addr", "add", f"{GATEWAY}/16", "dev", "gw0")
        for name, interface in ((self.server_ns, "gw0"), (self.client_ns, "vm0")):
            run("ip", "-n", name, "link", "set", interface, "up")
            run("ip", "-n", name, "link", "set", "lo", "up")

    def close(self):
        for child in reversed(self.children):
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        for name in (self.client_ns, self.server_ns):
            if not os.path.exists(f"/run/netns/{name}"):
                continue
            for left_over in run("ip", "netns", "pids", name).split():
                os.kill(int(left_over), signal.SIGKILL)
            run("ip", "netns", "del", name)
        if os.environ.get("VMNAT_KEEP"):  # for the one who looks for the reason of a failure
            print(f"kept: {self.directory}", file=sys.stderr)
        else:
            shutil.rmtree(self.directory)

    def start(self, namespace, *command, log, **options):
        with open(self.directory / log, "w") as output:
            child = subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdin=subprocess.DEVNULL,
                                     stdout=output, stderr=subprocess.STDOUT, **options)
        self.children.append(child)
        return child

    def start_server(self, limit=16):
        log = f"server-{time.monotonic_ns()}.log"
        self.server = self.start(self.server_ns, VETH_SERVER, "gw0", f"{GATEWAY}/16", "10.77.1.0-10.77.250.255",
                                 str(self.directory / "journal"), str(limit), log=log)
        eventually("the server is ready", lambda: "ready" in (self.directory / log).read_text())

    def start_client(self, *command, **options):
        return self.start(self.client_ns, *command, **options)

    def journal(self):
        """address -> (mac, state, end)"""
        copy = self.directory / "copy"
        shutil.copy(self.directory / "journal", copy)
        self.names = {}
        leases = {}
        for line in run(VETH_SERVER, "--list", str(copy)).splitlines():
            address, mac, state, end, self.names[address] = line.split()
            leases[address] = (mac, state, int(end))
        return leases

    def script(self):
        """A script for clients, and a function that finds the first event with such variables."""
        events = self.directory / f"events-{time.monotonic_ns()}"
        events.mkdir()
        script = self.directory / f"{events.name}.sh"
        script.write_text(LEASE_SCRIPT.format(directory=events))
        script.chmod(0o755)

        def find(**wanted):
            for file in sorted(events.glob("event-*")):
                variables = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
                if all(variables.get(name) == value for name, value in wanted.items()):
                    return variables
            return None

        return str(script), find


class VmnatdLab(Lab):
    """The same wires with vmnatd in the server's namespace; its uplink is a cable that ends there."""

    def make_wire(self):
        super().make_wire()
        run("ip", "-n", self.server_ns, "addr", "flush", "dev", "gw0")
        run("ip", "-n", self.server_ns, "link", "add", "up0", "type", "veth", "peer", "name", "up1")
        for name, interface in ((self.server_ns, "gw0"), (self.server_ns, "up0"), (self.server_ns, "up1"),
                                (self.client_ns, "vm0")):
            run("ip", "-n", name, "link", "set", interface, "up")

    def start_server(self, limit=16, **keys):
        dhcp = {"ranges": ["10.77.1.0-10.77.250.255"], "dns": ["10.77.0.2"], "domain": "lab.example",
                "search": ["lab.example", "example"], "routes": [{"to": "10.99.0.0/16", "via": GATEWAY}],
                "boot": {"server": TFTP_SERVER, "file": "for-others.0", "ipxe": "boot.ipxe"},
                "limits": {"leases_per_port": limit, "messages_per_second": 0}, **keys}
        settings = {"dataplane": {"memory": "256M", "hugepages": "off",
                                  "eal": [f"--file-prefix=vmnat-dhcp-{os.getpid()}-{next(Lab.serial)}"]},
                    "uplink": {"device": "up0", "address": "203.0.113.2/24", "gateway": "203.0.113.1"},
                    "networks": [{"name": "default", "address": f"{GATEWAY}/16", "mac": "52:54:00:00:01:01", "mtu": 1400,
                                  "ports": [{"name": "vm1", "device": "gw0"}], "dhcp": dhcp}],
                    # The file of the sessions would not be in the directory, unless that is a tmpfs.
                    "conntrack": {"sessions": 1024, "survive_restart": False},
                    "control": {"socket": str(self.directory / "vmnat.sock"), "state_dir": str(self.directory)}}
        (self.directory / "vmnat.yaml").write_text(json.dumps(settings))
        log = f"server-{time.monotonic_ns()}.log"
        self.server = self.start(self.server_ns, VMNATD, "--config", str(self.directory / "vmnat.yaml"), log=log,
                                 env={**os.environ, "RUNTIME_DIRECTORY": str(self.directory)})
        eventually("vmnatd is ready", lambda: "vmnatd ready" in (self.directory / log).read_text())

    def counters(self):
        return json.loads(run(VMNATCTL, "--socket", str(self.directory / "vmnat.sock"), "--json", "counters"))

    def journal(self):
        shutil.copy(self.directory / "leases-default.journal", self.directory / "journal")
        return super().journal()


class RealClients(unittest.TestCase):
    make_lab, dns = Lab, GATEWAY

    def setUp(self):
        self.lab = self.make_lab()
        self.addCleanup(self.lab.close)
        self.lab.start_server()

    def held_address(self):
        return next((address for address, (mac, state, _) in self.lab.journal().items()
                     if mac == VM_MAC and state == "bound"), None)

    def held_name(self):
        return self.lab.names[self.held_address()]

    def test_udhcpc_gets_renews_and_releases_its_lease(self):
        script, find = self.lab.script()
        client = self.lab.start_client("udhcpc", "-i", "vm0", "-f", "-R", "-s", script, "-O", "mtu", "-O", "search",
                                       "-O", "staticroutes", "-F", "my_vm.lab", log="udhcpc.log")
        bound = eventually("udhcpc is bound", lambda: find(router=GATEWAY))
        self.assertEqual(bound["ip"], self.held_address())
        self.assertEqual(self.held_name(), "my_vm.lab")  # option 81 as text
        self.assertEqual((bound["subnet"], bound["dns"], bound["domain"], bound["mtu"], bound["search"]),
                         ("255.255.0.0", self.dns, "lab.example", "1400", "lab.example example"))
        self.assertEqual(bound["staticroutes"], f"10.99.0.0/16 {GATEWAY} 0.0.0.0/0 {GATEWAY}")
        # Its renewal goes by unicast from the address it has: the kernel needs it on the interface.
        run("ip", "-n", self.lab.client_ns, "addr", "add", f"{bound['ip']}/16", "dev", "vm0")
        before = self.lab.journal()[bound["ip"]][2]
        time.sleep(1.1)  # the journal's listing has whole seconds: a renewal must move its end visibly
        client.send_signal(signal.SIGUSR1)
        eventually("the lease is renewed", lambda: self.lab.journal()[bound["ip"]][2] > before)
        client.send_signal(signal.SIGUSR2)
        eventually("the lease is released", lambda: self.lab.journal()[bound["ip"]][1] == "released")

    def test_dhclient_gets_everything_it_asks_for(self):
        script, find = self.lab.script()
        config = self.lab.directory / "dhclient.conf"
        config.write_text('send fqdn.fqdn "vm1.lab."; send fqdn.encoded on; send fqdn.server-update off;\n'
                          "request subnet-mask, routers, domain-name-servers, domain-search, interface-mtu;\n")
        self.lab.start_client("dhclient", "-d", "-cf", str(config), "-sf", script, "-lf", str(self.lab.directory / "dhclient.leases"),
                              "-pf", str(self.lab.directory / "dhclient.pid"), "vm0", log="dhclient.log")
        bound = eventually("dhclient is bound", lambda: find(reason="BOUND"))
        self.assertEqual(bound["new_ip_address"], self.held_address())
        self.assertEqual(self.held_name(), "vm1.lab")  # option 81 as labels
        self.assertEqual((bound["new_routers"], bound["new_domain_name_servers"], bound["new_interface_mtu"],
                          bound["new_domain_search"]), (GATEWAY, self.dns, "1400", "lab.example. example."))

    def test_dhcpcd_takes_the_rapid_commit_and_classless_routes(self):
        script, find = self.lab.script()
        state = self.lab.directory / "dhcpcd"
        state.mkdir()
        # Its lease file has a fixed place: a mount namespace keeps it off the machine's own.
        self.lab.start_client("unshare", "-m", "sh", "-c",
                              f"mount --bind {state} /var/lib/dhcpcd && exec dhcpcd -4 -B -d --noarp -h vm2.lab -F both -c {script} vm0",
                              log="dhcpcd.log")
        bound = eventually("dhcpcd is bound", lambda: find(reason="BOUND"))
        self.assertEqual(bound["new_ip_address"], self.held_address())
        self.assertEqual(self.held_name(), "vm2.lab")
        self.assertEqual(bound["new_dhcp_server_identifier"], GATEWAY)
        self.assertIn("0.0.0.0/0", bound["new_classless_static_routes"])
        log = (self.lab.directory / "dhcpcd.log").read_text()
        self.assertIn("acknowledged", log)
        self.assertNotIn("offered", log)  # two messages, not four

    def test_networkd_accepts_checksums_and_options(self):
        networks = self.lab.directory / "networkd"
        networks.mkdir()
        (networks / "vm.network").write_text("[Match]\nName=vm0\n[Network]\nDHCP=ipv4\nIPv6AcceptRA=no\n"
                                             "LinkLocalAddressing=no\n[DHCPv4]\nUseMTU=yes\nRapidCommit=yes\n"
                                             "Hostname=vm3.lab\n")  # as it is qualified: by option 81
        state = "/run/systemd/netif"
        # With a read-only /sys it takes the interface as it is, instead of waiting for udev.
        self.lab.start_client("unshare", "-m", "sh", "-c",
                              "mount -o remount,ro /sys && mount -t tmpfs none /run/systemd && mkdir -p /run/systemd/network "
                              f"{state}/links {state}/leases {state}/lldp && chmod -R a+rwx /run/systemd && "
                              f"cp {networks}/vm.network /run/systemd/network/ && "
                              "exec /lib/systemd/systemd-networkd", log="networkd.log",
                              env={**os.environ, "SYSTEMD_LOG_LEVEL": "debug", "SYSTEMD_LOG_TARGET": "console"})

        def address_on_interface():
            found = json.loads(run("ip", "-n", self.lab.client_ns, "-j", "-4", "addr", "show", "vm0"))
            return next((a["local"] for link in found for a in link.get("addr_info", [])), None)

        address = eventually("networkd configured the address", address_on_interface)
        self.assertEqual(address, self.held_address())
        self.assertEqual(self.held_name(), "vm3.lab")

        def routes():
            found = json.loads(run("ip", "-n", self.lab.client_ns, "-j", "route"))
            names = {route["dst"] for route in found if route.get("gateway") == GATEWAY}
            return {"default", "10.99.0.0/16"} <= names

        eventually("networkd set the classless routes", routes)


    def test_ipxe_gets_an_address_and_runs_the_file_it_is_pointed_to(self):
        tftp = self.lab.directory / "tftp"
        tftp.mkdir()
        (tftp / "boot.ipxe").write_text("#!ipxe\necho booted-with ${net0/ip} mtu ${net0/mtu}\n")
        tftp.chmod(0o755)
        self.lab.directory.chmod(0o755)
        for command in ("link add br0 type bridge", "link set vm0 master br0", "tuntap add tap0 mode tap",
                        "link set tap0 master br0", "link set tap0 up", "link set br0 up"):
            run("ip", "-n", self.lab.client_ns, *command.split())
        self.start_tftp(tftp)
        self.lab.start_client("qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-nographic", "-no-reboot",
                              "-net", "none", "-boot", "n", "-netdev", "tap,id=n,ifname=tap0,script=no,downscript=no",
                              "-device", "virtio-net-pci,netdev=n,mac=52:54:00:aa:00:09", log="qemu.log")
        console = self.lab.directory / "qemu.log"
        eventually("iPXE runs its script", lambda: "booted-with 10.77." in console.read_text(errors="replace"), 90)


    def start_tftp(self, directory, namespace=None, interface="gw0"):
        self.lab.start(namespace or self.lab.server_ns, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0",
                       "--user=root", "--pid-file=", "--enable-tftp", f"--tftp-root={directory}",
                       f"--interface={interface}", log="tftp.log")


class RealClientsThroughVmnatd(RealClients):
    make_lab, dns = VmnatdLab, "10.77.0.2"

    def start_tftp(self, directory):
        run("ip", "-n", self.lab.client_ns, "addr", "add", f"{TFTP_SERVER}/16", "dev", "br0")
        super().start_tftp(directory, self.lab.client_ns, "br0")


class Crashes(unittest.TestCase):
    make_lab, pause, at_least = Lab, 0.25, 10

    def setUp(self):
        self.lab = self.make_lab()
        self.addCleanup(self.lab.close)
        run("ip", "-n", self.lab.client_ns, "addr", "add", "10.77.0.2/16", "dev", "vm0")

    def start_server(self):
        self.lab.start_server(limit=0)

    def kill_server(self):
        self.lab.server.kill()
        self.lab.server.wait()

    @staticmethod
    def acked_leases(capture):
        """(address, mac) of every DHCPACK in a pcap file, as the client's side saw it."""
        leases, at = set(), 24
        while at + 16 <= len(capture):
            size = struct.unpack_from("<I", capture, at + 8)[0]
            message = capture[at + 16 + 42:at + 16 + size]
            at += 16 + size
            if message[240:243] == b"\x35\x01\x05":  # the server writes its message type first
                leases.add((".".join(map(str, message[16:20])), ":".join(f"{b:02x}" for b in message[28:34])))
        return leases

    def test_no_lease_that_was_acked_is_lost_by_kill_9(self):
        capture = self.lab.directory / "capture.pcap"
        tcpdump = self.lab.start_client("tcpdump", "-i", "vm0", "-U", "-B", "65536", "-w", str(capture),
                                        "udp src port 67", log="tcpdump.log")
        eventually("tcpdump listens", lambda: "listening" in (self.lab.directory / "tcpdump.log").read_text())
        self.start_server()
        load = self.lab.start_client("perfdhcp", "-4", "-l", "vm0", "-R", "50000", "-r", "1500", "-p", "8",
                                     log="perfdhcp.log")
        kills = 0
        while load.poll() is None:
            time.sleep(self.pause)
            self.kill_server()
            self.start_server()
            kills += 1
        tcpdump.send_signal(signal.SIGINT)
        tcpdump.wait(10)
        acked = self.acked_leases(capture.read_bytes())
        journal = self.lab.journal()
        missing = [lease for lease in acked if journal.get(lease[0], ("",))[0] != lease[1]]
        print(f"{kills} kills, {len(acked)} leases ACKed, {len(missing)} missing", file=sys.stderr)
        self.assertGreaterEqual(kills, self.at_least)
        self.assertGreater(len(acked), 1000)
        self.assertEqual(missing, [])


class CrashesOfVmnatd(Crashes):
    """`ip netns exec` becomes vmnatd itself, so that it is what the kill hits; a start takes most of a second."""
    make_lab, pause, at_least = VmnatdLab, 0.5, 4

    def start_server(self):
        self.lab.start_server(limit=0, check_before_offer=False)


class BesideOthers(unittest.TestCase):
    """4-way exchanges a second, and drops, of each server on the same kind of veth, one after the other.

    perfdhcp ends when its time is up and counts as dropped what is on its way then, unless it is told to wait
    (-W, in microseconds): two seconds here, so that what is counted was not answered. The wait is part of its
    own rate; here the exchanges that were completed count, by the seconds in which they were begun.

    On a busy machine perfdhcp itself misses answers, of any server. So a run with drops is one of several, as long as
    vmnatd says that it has answered whatever came.
    """
    SECONDS, WAIT, RUNS = 4, 2_000_000, 5

    def measure(self, lab, rate):
        log = lab.directory / "perfdhcp.log"
        load = lab.start_client("perfdhcp", "-4", "-l", "vm0", "-R", "40000", "-r", str(rate), "-p",
                                str(self.SECONDS), "-W", str(self.WAIT), log=log.name)
        load.wait(60)
        lines = log.read_text().splitlines()
        completed = [int(line.split()[2]) for line in lines if line.startswith("received packets:")][1]  # ACKs
        drops = [int(line.split()[1]) for line in lines if line.startswith("drops:")]
        return completed / self.SECONDS, sum(drops)

    def measure_without_drops(self, name, rate):
        """Those that perfdhcp counts are its own, and not in each run."""
        for _ in range(self.RUNS):
            lab = self.lab_of(name)
            completed, drops = self.measure(lab, rate)
            if name == "vmnatd":
                counted = lab.counters()
                for asked, answered in (("discover", "offer"), ("request", "ack")):
                    self.assertEqual(counted[f"dhcp.sent.{answered}"], counted[f"dhcp.received.{asked}"], counted)
                for lost in ("drop.punt_budget", "drop.punt_full", "drop.punt_size", "drop.tx_full", "kernel.missed"):
                    self.assertEqual(counted[lost], 0, counted)
            if drops == 0:
                break
        return completed, drops

    def lab_of(self, name):
        lab = (VmnatdLab if name == "vmnatd" else Lab)()
        self.addCleanup(lab.close)
        run("ip", "-n", lab.client_ns, "addr", "add", "10.77.0.2/16", "dev", "vm0")
        getattr(self, f"start_{name}")(lab)
        return lab

    @staticmethod
    def start_vmnatd(lab):
        lab.start_server(limit=0, check_before_offer=False)  # as the others, which do not ping either

    @staticmethod
    def start_server_alone(lab):
        lab.start_server(limit=0)

    @staticmethod
    def start_dnsmasq(lab):
        lab.start(lab.server_ns, "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=gw0",
                  "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--user=root", "--pid-file=",
                  "--dhcp-range=10.77.1.0,10.77.250.255,255.255.0.0,1h", "--dhcp-lease-max=60000",
                  f"--dhcp-leasefile={lab.directory}/leases", log="dnsmasq.log")
        eventually("dnsmasq is ready", lambda: "IP range" in (lab.directory / "dnsmasq.log").read_text())

    @staticmethod
    def start_kea(lab):
        settings = {"Dhcp4": {
            "interfaces-config": {"interfaces": ["gw0"], "dhcp-socket-type": "raw"},
            "lease-database": {"type": "memfile", "persist": True, "name": str(lab.directory / "kea.csv")},
            "valid-lifetime": 3600,
            "subnet4": [{"subnet": "10.77.0.0/16", "pools": [{"pool": "10.77.1.0 - 10.77.250.255"}]}],
            "loggers": [{"name": "kea-dhcp4", "severity": "INFO", "output_options": [{"output": "stdout"}]},
                        {"name": "kea-dhcp4.leases", "severity": "WARN", "output_options": [{"output": "stdout"}]}]}}
        (lab.directory / "kea.json").write_text(json.dumps(settings))
        own = str(lab.directory)
        lab.start(lab.server_ns, "kea-dhcp4", "-c", str(lab.directory / "kea.json"), log="kea.log",
                  env={**os.environ, "KEA_LOCKFILE_DIR": own, "KEA_PIDFILE_DIR": own})
        eventually("Kea is ready", lambda: "DHCP4_STARTED" in (lab.directory / "kea.log").read_text())

    def test_at_least_as_many_exchanges_as_dnsmasq_and_no_drops(self):
        ours = ("vmnatd", "server_alone")
        for offered in (500, 1000, 3000):
            figures = {}
            for name in (*ours, "dnsmasq", "kea"):
                figures[name] = (self.measure_without_drops(name, offered) if name in ours and offered <= 1000
                                 else self.measure(self.lab_of(name), offered))
                print(f"{offered} offered: {name:13} {figures[name][0]:7.1f} exchanges/s, {figures[name][1]} drops",
                      file=sys.stderr)
            for name in ours:
                rate, drops = figures[name]
                self.assertGreaterEqual(rate, 0.97 * figures["dnsmasq"][0])  # when both give what is offered
                if offered <= 1000:
                    self.assertEqual(drops, 0, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
