#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Ports and networks that come and go while others forward: nobody else notices, and nothing is left behind.

    default   192.168.122.1/24   vm1 .10 (the test speaks vhost-user), and whoever comes
    uplink    203.0.113.2/24     router 203.0.113.1 on a veth

vm1 sends numbered datagrams all the time, and is sent an answer to each: what is missing at the end was lost. One worker
forwards, in one subtest two.
"""

import contextlib
import copy
import json
import os
import struct
import threading
import time

from harness import config, processes
from harness.daemon import Vmnatd, program
from harness.namespace import Namespace, veth
from harness.tap import Skipped, Suite, check, check_equal, comment, for_one_subtest, scratch_directory
from harness.vhost_user import VhostUserGuest
from harness.waiting import wait_until
from harness.wire import ARP, IP, UDP, Ether, Raw, Router, Wire

GATEWAY, ADDRESS, REMOTE = "192.168.122.1", "192.168.122.10", "198.51.100.2"
CHANGES = 100
MANY = 256
STREAM, KEPT = 4000, 4001  # source ports: of vm1's stream, and of a session that is silent meanwhile


def mac_of(number):
    return f"52:54:00:aa:{number >> 8:02x}:{number & 0xff:02x}"


class Stream(threading.Thread):
    """vm1's datagrams, each with its number, to a remote that sends each back; one thread does all of it."""

    def __init__(self, guest, router, gateway_mac):
        super().__init__()
        self.guest, self.router, self.gateway_mac = guest, router, gateway_mac
        self.sent, self.returned, self.answered = 0, set(), set()
        self.longest_gap, self.problem = 0.0, None
        self.is_over = threading.Event()

    def run(self):
        try:
            while not self.is_over.is_set():
                self.one_more()
            self.collect(0.5)
        except Exception as problem:  # told by the test's thread
            self.problem = problem

    def one_more(self):
        begin = time.monotonic()
        frame = self.guest.to(self.gateway_mac) / IP(src=ADDRESS, dst=REMOTE) / UDP(sport=STREAM, dport=5000)
        self.guest.send(frame / Raw(struct.pack("!I", self.sent)), head=self.sent % 64)
        self.longest_gap = max(self.longest_gap, time.monotonic() - begin)
        self.sent += 1
        self.answer_all(0.001)
        self.hear_all()

    def answer_all(self, seconds):
        while (frame := self.router.receive(seconds)) is not None:
            if self.router.is_answered_at_once(frame) or UDP not in frame or frame[UDP].dport != 5000:
                continue
            number = bytes(frame[UDP].payload)[:4]
            self.returned.add(struct.unpack("!I", number)[0])
            self.router.send(Ether(src=self.router.mac, dst=frame.src) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) /
                             UDP(sport=5000, dport=frame[UDP].sport) / Raw(number))

    def hear_all(self):
        while (frame := self.guest.receive()) is not None:
            if UDP in frame and frame[UDP].dport == STREAM:
                self.answered.add(struct.unpack("!I", bytes(frame[UDP].payload)[:4])[0])

    def collect(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.answer_all(0.01)
            self.hear_all()

    def check_nothing_lost(self):
        """Ends it."""
        self.is_over.set()
        self.join()
        if self.problem:
            raise self.problem
        everything = set(range(self.sent))
        check(self.sent > 50, f"{self.sent} datagrams are no stream")
        check_equal(everything - self.returned, set(), "datagrams that the remote did not get")
        check_equal(everything - self.answered, set(), "answers that vm1 did not get")


class Lab:
    def __init__(self, scope, **dataplane):
        """`dataplane`: keys of that section."""
        self.scope, self.directory = scope, scratch_directory(scope)
        self.gateway, self.wires = (scope.enter_context(Namespace(name)) for name in ("gateway", "wires"))
        veth(self.gateway, "uplink0", self.wires, "isp0")
        self.router = Router(self.wires, "isp0", "52:54:00:ff:00:01", config.UPLINK_ROUTER)
        self.router.answers = True
        network = config.network("default", f"{GATEWAY}/24", [self.port(1)])
        text = config.configuration(self.directory, "uplink0", [network])
        text["dataplane"] |= dataplane
        self.vmnatd = scope.enter_context(Vmnatd(self.directory, text, namespace=self.gateway))
        self.guest = self.attach(1)
        self.gateway_mac = self.ask(self.guest, ADDRESS, GATEWAY)
        self.open_session(KEPT)

    def path(self, number):
        return self.directory / f"vm{number}.sock"

    def port(self, number, **keys):
        return {**config.vhost_user_port(f"vm{number}", self.path(number), mode="server"), **keys}

    def attach(self, number):
        wait_until(lambda: self.path(number).exists(), f"the socket of vm{number} is there")
        guest = self.scope.enter_context(VhostUserGuest(self.path(number), mac_of(number)))
        self.wait_for_link(number, "up")
        return guest

    def plug_in(self, number):
        """A kernel interface portN of vmnatd's host, and the far end of its wire."""
        veth(self.gateway, f"port{number}", self.wires, f"eth{number}")
        return Wire(self.wires, f"eth{number}", mac_of(number))

    def link(self, interface):
        """What `ip -d link` says of it."""
        return json.loads(self.gateway.run("ip", "-d", "-j", "link", "show", "dev", interface).stdout)

    def ports(self):
        return {port["name"]: port for port in self.vmnatd.ctl("ports")}

    def wait_for_link(self, number, link):
        wait_until(lambda: self.ports()[f"vm{number}"]["link"] == link, f"the link of vm{number} is {link}")

    @staticmethod
    def ask(guest, address, gateway):
        guest.send(guest.to() / ARP(op=1, hwsrc=guest.mac, psrc=address, pdst=gateway))
        return guest.expect(lambda f: ARP in f and f[ARP].op == 2 and f[ARP].psrc == gateway, "the ARP answer").src

    @staticmethod
    def send_datagram(guest, address, source, gateway_mac):
        guest.send(guest.to(gateway_mac) / IP(src=address, dst=REMOTE) / UDP(sport=source, dport=7000) / Raw(b"x"))

    def come_and_speak(self, guest, number):
        """Who has come on port `number` opens a session, while a stream has the router."""
        address = f"192.168.122.{20 + number}"
        self.wait_for_link(number, "up")
        self.send_datagram(guest, address, 7000, self.ask(guest, address, GATEWAY))
        wait_until(lambda: self.vmnatd.sessions("--port", f"vm{number}"), f"vm{number} has a session")

    def open_session(self, source, guest=None, address=ADDRESS, gateway_mac=None):
        self.send_datagram(guest or self.guest, address, source, gateway_mac or self.gateway_mac)
        self.router.expect(lambda f: UDP in f and f[UDP].dport == 7000, f"the datagram of {address}:{source}")

    def change(self, change):
        """The file with a change in it, loaded; what the daemon says to it."""
        wanted = copy.deepcopy(self.vmnatd.config)
        change(wanted["networks"])
        answer = self.reload(wanted)
        check_equal(answer.returncode, 0, f"reload: {answer.stderr}\nexit code")
        self.vmnatd.config = wanted
        return json.loads(answer.stdout)["changed"]

    def reload(self, text):
        self.vmnatd.config_path.write_text(json.dumps(text))
        return processes.run([program("vmnatctl"), "--socket", self.directory / "vmnat.sock", "--json", "reload"],
                             check=False)

    def check_tables(self):
        self.vmnatd.check_invariants()
        self.vmnatd.check_accounting()

    def sessions_of(self, source):
        return [s for s in self.vmnatd.sessions("--internal", f"{ADDRESS}:{source}")]

    def evidence(self):
        return self.vmnatd.evidence()


suite = Suite(Lab)


@contextlib.contextmanager
def nothing_lost(lab):
    """In the block vm1's stream is under way, and its silent session stays."""
    kept = lab.sessions_of(KEPT)
    check_equal(len(kept), 1, "the silent session before")
    stream = Stream(lab.guest, lab.router, lab.gateway_mac)
    stream.start()
    yield
    stream.check_nothing_lost()
    comment(f"{stream.sent} datagrams; the longest took {stream.longest_gap * 1000:.1f} ms to be taken")
    check_equal(lab.sessions_of(KEPT)[0]["external"], kept[0]["external"], "the silent session")
    lab.check_tables()


@suite.test(f"{CHANGES} ports come and go beside a stream and a silent session: no datagram is lost")
def come_and_go(lab):
    with nothing_lost(lab):
        for turn in range(CHANGES // 2):
            number = 2 + turn % 3
            said = lab.change(lambda networks: networks[0]["ports"].append(lab.port(number)))
            check_equal(len(said), 1, f"what has changed: {said}")
            with VhostUserGuest(lab.path(number), mac_of(number)) as guest:
                lab.come_and_speak(guest, number)
                lab.change(lambda networks: networks[0]["ports"].pop())
            check(f"vm{number}" not in lab.ports(), "the port is still there")
            check(not lab.path(number).exists(), "its socket is still there")


@suite.test("the same with two workers")
def two_workers(_):
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Skipped("there is one CPU alone")
    with for_one_subtest(lambda scope: Lab(scope, workers=cpus[-2:])) as lab:
        come_and_go(lab)
        check(any(worker["worker"] == 1 and worker["packets"] > 0 for worker in lab.vmnatd.ctl("workers")),
              "the second worker had no frame")


@suite.test("kernel interfaces become ports, and are left as they were: no datagram of others is lost")
def kernel_ports(lab):
    wires = {number: lab.plug_in(number) for number in (2, 3)}
    before = {number: lab.link(f"port{number}") for number in wires}
    with nothing_lost(lab):
        for turn in range(CHANGES // 5):
            number = 2 + turn % 2
            lab.change(lambda networks: networks[0]["ports"].append(config.veth_port(f"vm{number}", f"port{number}")))
            lab.come_and_speak(wires[number], number)
            lab.change(lambda networks: networks[0]["ports"].pop())
            check(f"vm{number}" not in lab.ports(), "the port is still there")
            check_equal(lab.link(f"port{number}"), before[number], "what `ip link` says of the interface")


@suite.test("a guest that is connected when its port leaves has its sessions ended, and nobody gets its frames")
def sessions_end(lab):
    lab.change(lambda networks: networks[0]["ports"].append(lab.port(2)))
    guest = lab.attach(2)
    mac = lab.ask(guest, "192.168.122.11", GATEWAY)
    for source in range(6000, 6010):
        lab.open_session(source, guest, "192.168.122.11", mac)
    external = lab.vmnatd.sessions("--port", "vm2")[0]["external"].split(":")[1]
    lab.change(lambda networks: networks[0]["ports"].pop())
    wait_until(lambda: lab.vmnatd.sessions("--internal", "192.168.122.11") == [], "its sessions have ended")
    lab.router.send(Ether(src=lab.router.mac, dst=config.UPLINK_MAC) / IP(src=REMOTE, dst=config.UPLINK_ADDRESS) /
                    UDP(sport=7000, dport=int(external)) / Raw(b"late"))
    check_equal(len(lab.sessions_of(KEPT)), 1, "vm1's session")
    lab.ask(lab.guest, ADDRESS, GATEWAY)
    lab.check_tables()


@suite.test("a port whose queues or mode are others comes back on the same socket, and counts from nothing")
def same_socket(lab):
    lab.change(lambda networks: networks[0]["ports"].append(lab.port(2)))
    guest = lab.attach(2)
    lab.ask(guest, "192.168.122.11", GATEWAY)
    check(lab.ports()["vm2"]["rx_packets"] > 0, "nothing was counted")
    lab.change(lambda networks: networks[0]["ports"][1].update(queues=2))
    check_equal((lab.ports()["vm2"]["rx_packets"], lab.ports()["vm2"]["link"]), (0, "down"), "frames and link")
    lab.ask(lab.attach(2), "192.168.122.11", GATEWAY)
    lab.change(lambda networks: networks[0]["ports"].pop())
    lab.check_tables()


@suite.test("a socket that cannot be had changes nothing, not even the rest of the same change")
def bad_port(lab):
    lab.change(lambda networks: networks[0]["ports"].append(lab.port(2)))
    guest = lab.attach(2)
    before = lab.vmnatd.ctl("config")
    wanted = copy.deepcopy(lab.vmnatd.config)
    wanted["networks"][0]["ports"][1]["queues"] = 2  # it would have to leave first
    wanted["networks"][0]["ports"].append(lab.port(3))
    wanted["networks"][0]["ports"].append({"name": "none", "device": "no-such-if"})
    answer = lab.reload(wanted)
    check(answer.returncode != 0 and "none" in answer.stderr, f"reload: {answer.returncode}, {answer.stderr}")
    check_equal(lab.vmnatd.ctl("config"), before, "the configuration in effect")
    check_equal(sorted(lab.ports()), ["uplink", "vm1", "vm2"], "ports")
    check(not lab.path(3).exists(), "the socket of vm3 is there")
    lab.ask(guest, "192.168.122.11", GATEWAY)
    lab.reload(lab.vmnatd.config)
    lab.change(lambda networks: networks[0]["ports"].pop())


@suite.test("a port that cannot come back as another one comes back as it was")
def bad_exchange(lab):
    device = f"net_vhost4,iface={lab.path(4)},queues=1"
    lab.change(lambda networks: networks[0]["ports"].append({"name": "vm4", "device": device}))
    lab.ask(lab.attach(4), "192.168.122.14", GATEWAY)
    wanted = copy.deepcopy(lab.vmnatd.config)
    wanted["networks"][0]["ports"][1]["queues"] = 2
    answer = lab.reload(wanted)
    check(answer.returncode != 0 and "queue" in answer.stderr, f"reload: {answer.returncode}, {answer.stderr}")
    lab.ask(lab.attach(4), "192.168.122.14", GATEWAY)
    lab.reload(lab.vmnatd.config)
    lab.change(lambda networks: networks[0]["ports"].pop())
    lab.check_tables()


@suite.test("a file that is wrong, or would need a restart, changes nothing")
def bad_file(lab):
    for change, word in ((lambda text: text["networks"][0].update(address="nonsense"), "address"),
                         (lambda text: text["conntrack"].update(sessions=70000), "conntrack.sessions")):
        wanted = copy.deepcopy(lab.vmnatd.config)
        wanted["networks"][0]["ports"].append(lab.port(5))
        change(wanted)
        answer = lab.reload(wanted)
        check(answer.returncode != 0 and word in answer.stderr, f"reload: {answer.stderr}")
        check_equal(sorted(lab.ports()), ["uplink", "vm1"], "ports")
    lab.reload(lab.vmnatd.config)


@suite.test("a network comes with DHCP and leaves; its VM's address is kept for it until it comes back")
def networks(lab):
    other = config.network("other", "192.168.9.1/24", [lab.port(7)], dhcp=config.dhcp("192.168.9.10", "192.168.9.20"))
    lab.change(lambda networks: networks.insert(0, other))  # the file's order moves no number
    check_equal([n["name"] for n in lab.vmnatd.ctl("networks")], ["default", "other"], "networks")
    guest = lab.attach(7)
    mac = lab.ask(guest, "192.168.9.10", "192.168.9.1")
    address = lease(lab, guest)
    lab.open_session(6500, guest, address, mac)
    check_equal(lab.sessions_of(KEPT)[0]["network"], "default", "the network of vm1's session")
    lab.change(lambda networks: networks.pop(0))
    wait_until(lambda: lab.vmnatd.sessions("--internal", address) == [], "the network's sessions have ended")
    check_equal(lab.vmnatd.ctl("leases"), [], "leases")
    lab.change(lambda networks: networks.append(other))
    check_equal([l["address"] for l in lab.vmnatd.ctl("leases") if l["state"] == "bound"], [address], "leases")
    check_equal(lease(lab, lab.attach(7)), address, "the address that it is leased again")
    lab.change(lambda networks: networks.pop())
    check_equal(len(lab.sessions_of(KEPT)), 1, "vm1's session")
    lab.check_tables()


def lease(lab, guest):
    """What DHCP gives the guest, in two messages (RFC 4039)."""
    from scapy.layers.dhcp import BOOTP, DHCP
    guest.send(guest.to() / IP(src="0.0.0.0", dst="255.255.255.255") / UDP(sport=68, dport=67) /
               BOOTP(chaddr=bytes.fromhex(guest.mac.replace(":", "")), xid=7) /
               DHCP(options=[("message-type", "discover"), (80, b""), "end"]))
    return guest.expect(lambda f: BOOTP in f and f[BOOTP].op == 2, "the lease")[BOOTP].yiaddr


@suite.test("a network's address, MAC, MTU, isolation and way out change in place; sessions that fit go on")
def network_properties(lab):
    lab.change(lambda networks: networks[0].update(mac="52:54:00:00:01:07", mtu=1400, isolated_ports=True))
    lab.gateway_mac = lab.ask(lab.guest, ADDRESS, GATEWAY)
    check_equal(lab.gateway_mac, "52:54:00:00:01:07", "the gateway's MAC")
    check_equal(lab.ports()["vm1"]["mtu"], 1400, "MTU")
    lab.change(lambda networks: networks[0].update(address="192.168.122.2/24"))
    lab.ask(lab.guest, ADDRESS, "192.168.122.2")
    check_equal(len(lab.sessions_of(KEPT)), 1, "vm1's session, which still fits")
    lab.change(lambda networks: networks[0].update(address="192.168.122.129/25"))
    wait_until(lambda: lab.sessions_of(KEPT) == [], "vm1's session, whose address is not the network's any more, ends")
    lab.change(lambda networks: networks[0].update(address=f"{GATEWAY}/24", isolated_ports=False))
    lab.open_session(KEPT)
    lab.change(lambda networks: networks[0].update(forward="none"))
    wait_until(lambda: lab.sessions_of(KEPT) == [], "there is no way out, and no session")
    lab.change(lambda networks: networks[0].update(forward="nat"))
    lab.open_session(KEPT)
    lab.check_tables()


@suite.test(f"{MANY} ports and 64 networks are there at once, and go again")
def many(lab):
    def fill(networks):
        networks[0]["ports"] += [lab.port(number) for number in range(10, MANY)]
        networks += [config.network(f"n{i}", f"10.{i}.0.1/24", [lab.port(1000 + i)]) for i in range(63)]
    begin = time.monotonic()
    lab.change(fill)
    print(f"# {MANY - 10 + 63} ports came in {time.monotonic() - begin:.2f} s")
    check_equal(len(lab.ports()), 2 + MANY - 10 + 63, "ports")
    for number in (10, MANY - 1):
        lab.ask(lab.attach(number), f"192.168.122.{number - 2}", GATEWAY)
    lab.ask(lab.attach(1062), "10.62.0.9", "10.62.0.1")
    lab.ask(lab.guest, ADDRESS, GATEWAY)

    def empty(networks):
        del networks[1:]
        del networks[0]["ports"][1:]
    lab.change(empty)
    check_equal(sorted(lab.ports()), ["uplink", "vm1"], "ports")
    check_equal(len(lab.sessions_of(KEPT)), 1, "vm1's session")
    lab.check_tables()


if __name__ == "__main__":
    suite.main()
