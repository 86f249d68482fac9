#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""DNS as VMs of a network with `host` meet it: the gateway answers for names of leases and of the file, by UDP and TCP,
and asks the host's resolvers for everything else, also where these are on its loopback.

host_lab.py has the lab. Two resolvers on the loopback of the host's namespace stand for the host's and a company's.
"""

import contextlib
import os
import pathlib
import signal
import socket
import struct
import threading

from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRROPT

from harness import processes
from harness.daemon import program
from harness.tap import Suite, check, check_equal
from harness.waiting import PATIENCE, wait_until
from harness.wire import IP, UDP, Wire
from host_lab import HostLab
from kernel_lab import GATEWAY, end_with_accounts

STUB, COMPANY = "127.0.0.53", "127.0.0.54"  # resolvers; each gives every name the address below
ANSWERS = {STUB: "198.51.100.77", COMPANY: "198.51.100.88"}
NXDOMAIN = 3
RESERVED = "192.168.122.90"
DNS_KEYS = {"hosts": {"printer.lab.example": "192.168.122.200"},
            "txt": {"lab.example": "a lab, and more"},
            "srv": [{"service": "ldap", "target": "printer.lab.example", "port": 389, "priority": 5, "weight": 7}],
            "domain_forwarders": {"corp.example": [COMPANY]}}
DHCP_KEYS = {"ranges": ["192.168.122.100-192.168.122.120"], "domain": "lab.example", "check_before_offer": False,
             "reservations": [{"mac": "52:54:00:aa:00:90", "address": RESERVED, "hostname": "kept"}]}


class Resolver:
    """Gives every name one address; by UDP, on the host's loopback."""

    def __init__(self, namespace, address):
        with namespace.entered():
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, 53))
        self.address, self.asked = ANSWERS[address], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                text, sender = self.socket.recvfrom(4096)
                question = DNS(text)
                self.asked.append(question)
                answer = DNSRR(rrname=question.qd.qname, type="A", ttl=1, rdata=self.address)
                self.socket.sendto(bytes(DNS(id=question.id, qr=1, rd=1, ra=1, qd=question.qd, an=answer, ar=question.ar)), sender)

    def names(self):
        return [question.qd.qname.decode() for question in self.asked]


class DnsLab(HostLab):
    def __init__(self, scope):
        super().__init__(scope, network={"dns": DNS_KEYS, "dhcp": DHCP_KEYS})
        self.serial = 0

    def add_host(self, _lab):
        super().add_host(_lab)
        self.resolvers = {address: Resolver(self.gateway, address) for address in ANSWERS}
        etc = self.directory / "etc"
        processes.run(["cp", "-a", "/etc", etc])
        self.resolv_conf = etc / "resolv.conf"
        self.resolv_conf.unlink(missing_ok=True)  # a link, perhaps
        self.resolv_conf.write_text(f"nameserver {STUB}\n")
        self.wrapper = "unshare", "--mount", "sh", "-c", f'mount --bind {etc} /etc && exec "$@"', "sh"
        self.scope.callback(self.remove_files)

    def remove_files(self):
        """What a kill leaves."""
        processes.run(["rm", "-rf", f"{self.directory}-dns"])

    # --- as a VM ------------------------------------------------------------------------------------------------

    def ask(self, name, kind="A", tcp=False, options=None):
        """The answer to a question of vm1's, as a resolver library asks."""
        self.serial += 1
        question = bytes(DNS(id=self.serial, rd=1, qd=DNSQR(qname=name, qtype=kind), ar=options))
        opened = self.vm1.socket(socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        with opened:
            opened.settimeout(5 * PATIENCE)
            opened.connect((GATEWAY, 53))
            if tcp:
                opened.sendall(struct.pack("!H", len(question)) + question)
                stream = opened.makefile("rb")
                text = stream.read(struct.unpack("!H", stream.read(2))[0])
            else:
                opened.send(question)
                text = opened.recv(4096)
        answer = DNS(text)
        check_equal(answer.id, self.serial, "the answer's number")
        return answer

    def told(self, name, kind="A", **how):
        """The data of all records in the answer, as text."""
        answer = self.ask(name, kind, **how)
        return [plain(answer.an[i]) for i in range(answer.ancount)]

    def knows(self, name, expected, kind="A"):
        def answers():
            try:
                return self.told(name, kind) == expected
            except (OSError, TimeoutError):
                return False
        wait_until(answers, f"{name} is {expected}")
        check_equal(self.told(name, kind, tcp=True), expected, f"{name} by TCP")

    def lease(self, mac, hostname):
        """Address and resolvers that this VM is given."""
        with contextlib.closing(Wire(self.vm2.namespace, "eth0", mac)) as wire:
            self.serial += 1
            chaddr = bytes.fromhex(mac.replace(":", ""))

            def exchange(kind, *options):
                wire.send(wire.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
                          BOOTP(chaddr=chaddr, xid=self.serial, flags=0x8000) /
                          DHCP(options=[("message-type", kind), ("hostname", hostname), *options, "end"]))
                wanted = {"discover": 2, "request": 5}[kind]
                return wire.expect(lambda f: DHCP in f and f[BOOTP].xid == self.serial and
                                   ("message-type", wanted) in f[DHCP].options, f"an answer to {kind}")
            offered = exchange("discover")[BOOTP].yiaddr
            answer = exchange("request", ("requested_addr", offered), ("server_id", GATEWAY))
            resolvers = [address for option in answer[DHCP].options if option[0] == "name_server" for address in option[1:]]
            return offered, resolvers

    # --- the server -----------------------------------------------------------------------------------------------

    def servers(self):
        """Processes that vmnatd has started."""
        found = []
        for children in pathlib.Path(f"/proc/{self.vmnatd.process.pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found += [int(pid) for pid in children.read_text().split()]
        return found


def plain(record):
    if record.type == 33:  # SRV
        return (record.priority, record.weight, record.port, record.target.decode())
    data = record.rdata
    data = b"".join(data) if isinstance(data, list) else data
    return data.decode() if isinstance(data, bytes) else data


def reverse(address):
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


suite = Suite(DnsLab)


# --- names ----------------------------------------------------------------------------------------------------------

@suite.test("a VM is told the gateway as its resolver, which knows its name with and without the domain, and back")
def leases(lab):
    address, resolvers = lab.lease("52:54:00:aa:00:31", "Web1")
    check_equal(resolvers, [GATEWAY], "the resolvers told")
    for name in ("web1.lab.example", "web1", "WEB1.lab.example"):
        lab.knows(name, [address])
    lab.knows(reverse(address), ["web1.lab.example."], "PTR")


@suite.test("a lease that is released takes its name along, and another one brings it back, with the same process")
def released(lab):
    before = lab.servers()
    address, _ = lab.lease("52:54:00:aa:00:32", "passing")
    lab.knows("passing.lab.example", [address])
    lab.vmnatd.ctl("lease", "release", address)
    lab.knows("passing.lab.example", [])
    check_equal(lab.ask("passing.lab.example").rcode, NXDOMAIN, "the answer's code")
    address, _ = lab.lease("52:54:00:aa:00:33", "passing")
    lab.knows("passing.lab.example", [address])
    check_equal(lab.servers(), before, "the processes")


@suite.test("reservations are known before their VM comes; hosts, text and service records of the file, too")
def records(lab):
    lab.knows("kept.lab.example", [RESERVED])
    lab.knows(reverse(RESERVED), ["kept.lab.example."], "PTR")
    lab.knows("printer.lab.example", ["192.168.122.200"])
    lab.knows("lab.example", ["a lab, and more"], "TXT")
    lab.knows("_ldap._tcp.lab.example", [(5, 7, 389, "printer.lab.example.")], "SRV")


@suite.test("no guest takes a name of the file, of a reservation, of another domain, or one that programs rely on")
def stolen(lab):
    names = ("printer", "kept", "www.corp.example", "wpad", "localhost")
    for number, name in enumerate(names):
        lab.lease(f"52:54:00:aa:01:{number:02x}", name)
    address, _ = lab.lease("52:54:00:aa:01:ff", "honest")
    lab.knows("honest.lab.example", [address])  # written after the others
    lab.knows("printer.lab.example", ["192.168.122.200"])
    lab.knows("kept.lab.example", [RESERVED])
    lab.knows("www.corp.example", [ANSWERS[COMPANY]])
    lab.knows("wpad.lab.example", [])


# --- everything else ------------------------------------------------------------------------------------------------

@suite.test("other names are asked of the host's resolver on its loopback, and a domain's of its own")
def forwarded(lab):
    lab.knows("www.other.example", [ANSWERS[STUB]])
    lab.knows("www.corp.example", [ANSWERS[COMPANY]])
    asked = lab.resolvers[STUB].names()
    check(not any("lab.example" in name or "corp.example" in name for name in asked), f"the host's was asked {asked}")


@suite.test("a question with EDNS and DNSSEC's bit passes, and its answer has them")
def edns(lab):
    answer = lab.ask("edns.other.example", options=DNSRROPT(rclass=4096, z=0x8000))
    check_equal(plain(answer.an[0]), ANSWERS[STUB], "the answer")
    check(answer.arcount == 1 and answer.ar.type == 41, f"the answer has no OPT: {answer.show(dump=True)}")
    passed = next(question for question in lab.resolvers[STUB].asked if question.qd.qname == b"edns.other.example.")
    check(passed.arcount == 1 and passed.ar.z & 0x8000, "the host's resolver was not asked with DNSSEC's bit")


@suite.test("another resolver in the host's resolv.conf is asked from then on")
def followed(lab):
    lab.resolv_conf.write_text(f"nameserver {COMPANY}\n")
    names = iter(range(10_000))
    wait_until(lambda: lab.told(f"n{next(names)}.other.example") == [ANSWERS[COMPANY]], "the other resolver is asked")
    lab.resolv_conf.write_text(f"nameserver {STUB}\n")
    wait_until(lambda: lab.told(f"n{next(names)}.other.example") == [ANSWERS[STUB]], "the first one is asked again")


# --- the server -------------------------------------------------------------------------------------------------------

@suite.test("it listens on the gateway's address alone, as nobody's but its own user")
def listening(lab):
    (pid,) = lab.servers()
    sockets = lab.gateway.run("ss", "-Hlntup").stdout
    places = {line.split()[4] for line in sockets.splitlines() if f"pid={pid}," in line}
    check_equal(places, {f"{GATEWAY}:53"}, "where it listens")
    status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    check("0" not in status["Uid"].split(), f"its users: {status['Uid']}")
    check_equal(int(status["CapBnd"], 16), 1 << 10, "the capabilities that it may have (CAP_NET_BIND_SERVICE)")


@suite.test("one that ends is started again, and log and status say so")
def ended(lab):
    (pid,) = lab.servers()
    os.kill(pid, signal.SIGKILL)
    lab.await_log("DNS of network default: dnsmasq has ended: signal 9")
    wait_until(lambda: lab.servers() not in ([], [pid]), "there is another process")
    lab.knows("printer.lab.example", ["192.168.122.200"])
    wait_until(lambda: not any("DNS" in note for note in lab.vmnatd.ctl("status")["notes"]), "the status has no word of it")


@suite.test("a reload takes DNS from the network, with its services, and gives it back with other forwarders")
def reload(lab):
    with lab.changed():
        del lab.network()["dns"]
        lab.network()["dhcp"] = DHCP_KEYS | {"dns": ["9.9.9.9"]}
        lab.reload()
        wait_until(lambda: lab.servers() == [], "no process is left")
        before = lab.refused()
        with contextlib.suppress(OSError, TimeoutError):
            check(False, f"an answer: {lab.ask('printer.lab.example').show(dump=True)}")
        check(lab.refused() > before, "the question was not refused")
        check_equal(lab.lease("52:54:00:aa:00:41", "other")[1], ["9.9.9.9"], "the resolvers told")
    lab.knows("printer.lab.example", ["192.168.122.200"])
    with lab.changed():
        lab.network()["dns"] = DNS_KEYS | {"forwarders": [f"{COMPANY}:53"]}
        lab.reload()
        lab.knows("forwarded.other.example", [ANSWERS[COMPANY]])


@suite.test("after a kill -9 its process is gone, and the next start serves all names again")
def killed(lab):
    address, _ = lab.lease("52:54:00:aa:00:42", "lasting")
    lab.knows("lasting.lab.example", [address])
    (pid,) = lab.servers()
    lab.vmnatd.kill()
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), "dnsmasq is gone")
    lab.vmnatd.start()
    lab.knows("lasting.lab.example", [address])
    lab.knows("printer.lab.example", ["192.168.122.200"])


@suite.test("without dnsmasq --check says so, and vmnatd goes on: VMs are told the host's resolvers")
def missing(lab):
    lab.vmnatd.stop()
    lab.resolv_conf.write_text("nameserver 192.0.2.1\n")
    hidden = lab.vmnatd.wrapper
    lab.vmnatd.wrapper = (*hidden, "env", "PATH=/nowhere")
    try:
        answer = processes.run(["env", "PATH=/nowhere", program("vmnatd"), "--config", lab.vmnatd.config_path, "--check"])
        check("dnsmasq is not installed" in answer.stderr, f"--check says {answer.stderr!r}")
        lab.vmnatd.start()
        check(any("dnsmasq is not installed" in note for note in lab.vmnatd.ctl("status")["notes"]), "the status has no word of it")
        check_equal(lab.lease("52:54:00:aa:00:43", "late")[1], ["192.0.2.1"], "the resolvers told")
        lab.vmnatd.stop()
    finally:
        lab.vmnatd.wrapper = hidden
        lab.resolv_conf.write_text(f"nameserver {STUB}\n")
        if not lab.vmnatd.process.running():
            lab.vmnatd.start()
    lab.knows("printer.lab.example", ["192.168.122.200"])


end_with_accounts(suite)

if __name__ == "__main__":
    suite.main()
