# SPDX-License-Identifier: Apache-2.0
"""vmnatd on kernel interfaces between Linux hosts, whose TCP, UDP and offloads are as a kernel makes them: what the
files about `device: IFACE` share.

    vm1 192.168.122.10 eth0 ==== port1 [ vmnatd ]
    vm2 192.168.122.11 eth0 ==== port2 [        ] uplink0 203.0.113.2 ==== eth0 203.0.113.1 outside

203.0.113.2:8080 leads to vm1's port 80. Every `====` is a veth with its defaults: partial checksums and super-frames.
"""

import contextlib
import hashlib
import itertools
import json
import pathlib
import random
import signal
import socket
import threading

from harness import config
from harness.daemon import Vmnatd
from harness.namespace import LeakWatch, Namespace, veth
from harness.tap import check, check_equal, for_one_subtest, scratch_directory
from harness.waiting import PATIENCE, wait_until

GATEWAY, GATEWAY_MAC = "192.168.122.1", "52:54:00:00:01:01"
OUTSIDE, EXTERNAL = config.UPLINK_ROUTER, config.UPLINK_ADDRESS
PORTS = {"uplink0": "uplink", "port1": "vm1"}  # interfaces that tests change, and vmnatd's ports there
FORWARD = {"protocol": "tcp", "port": 8080, "to": "192.168.122.10:80"}
SECONDS = 60 * PATIENCE  # for anything of a socket; it ends a hang
MB = 1 << 20
LARGE = 65000  # bytes of a datagram that goes in fragments
SOL_UDP, UDP_SEGMENT = 17, 103
SO_NO_CHECK, SO_RCVBUFFORCE, IP_MTU_DISCOVER = 11, 33, 10
MAY_BE_CUT, MUST_NOT_BE_CUT = 0, 3  # IP_PMTUDISC_DONT and _PROBE: DF, whatever ICMP has said before


class Host:
    """A Linux host whose eth0 is one end of a wire."""

    def __init__(self, scope, name, address, gateway=None):
        self.namespace = scope.enter_context(Namespace(name))
        self.name, self.address, self.gateway = name, address, gateway
        self.opened = scope.enter_context(contextlib.ExitStack())

    def run(self, *arguments, **options):
        return self.namespace.run(*arguments, **options)

    def configure(self):
        """Of an eth0 that is new."""
        self.namespace.set_address("eth0", f"{self.address}/24")
        self.set_route()

    def set_route(self):
        """It is lost when eth0 goes down."""
        if self.gateway:
            self.run("ip", "route", "replace", "default", "via", self.gateway)

    def socket(self, kind, port=0):
        with self.namespace.entered():
            opened = self.opened.enter_context(socket.socket(socket.AF_INET, kind))
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.settimeout(SECONDS)
        opened.bind(("0.0.0.0", port))
        return opened

    def udp(self, port=0):
        """One that no test overruns."""
        opened = self.socket(socket.SOCK_DGRAM, port)
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 * MB)
        return opened

    def counters(self) -> dict[str, int]:
        """The kernel's: "Tcp.RetransSegs", "Udp.InCsumErrors", "TcpExt.TCPTimeouts"."""
        found = {}
        with self.namespace.entered():
            for file in ("snmp", "netstat"):
                with open(f"/proc/thread-self/net/{file}") as lines:
                    for names, values in zip(lines, lines):
                        group, *names = names.split()
                        found |= {f"{group[:-1]}.{name}": int(value)
                                  for name, value in zip(names, values.split()[1:])}
        return found


class KernelLab:
    wrapper = ()  # a command that becomes vmnatd

    def __init__(self, scope, mtu=1500, prepare=lambda lab: None, start=True, **sections):
        """`mtu` is that of all wires, `prepare` is called before vmnatd starts; `sections` are the configuration's,
        added to what they are here, with `network` for the only one."""
        self.directory = scratch_directory(scope)
        self.scope, self.mtu, self.sections = scope, mtu, sections
        self.gateway = scope.enter_context(Namespace("gateway"))
        self.vm1, self.vm2 = (Host(scope, f"vm{n}", f"192.168.122.{9 + n}", GATEWAY) for n in (1, 2))
        self.outside = Host(scope, "outside", OUTSIDE)
        self.hosts = {"port1": self.vm1, "port2": self.vm2, "uplink0": self.outside}
        for interface in self.hosts:
            self.plug_in(interface)
        self.ports = itertools.count(7000)
        prepare(self)
        if start:
            scope.enter_context(self.running())

    @contextlib.contextmanager
    def running(self):
        """vmnatd, in the block."""
        with Vmnatd(self.directory, self.configuration(), namespace=self.gateway, wrapper=self.wrapper) as self.vmnatd:
            yield

    def plug_in(self, interface, *keys):
        """A new wire between the gateway and a host; `keys` are those of `ip link add` for the gateway's end."""
        host = self.hosts[interface]
        veth(self.gateway, interface, host.namespace, "eth0", self.mtu, *keys)
        host.configure()
        if interface == "uplink0":
            self.watch = LeakWatch(self.outside.namespace, "eth0", [EXTERNAL])

    def configuration(self):
        network = config.network("default", f"{GATEWAY}/24", mac=GATEWAY_MAC,
                                 ports=[config.veth_port(f"vm{n}", f"port{n}") for n in (1, 2)],
                                 nat={"forwards": [FORWARD]}) | self.sections.get("network", {})
        made = config.configuration(self.directory, "uplink0", [network])
        for name, keys in self.sections.items():
            if name != "network":
                made[name] = made.get(name, {}) | keys
        return made

    # --- what the kernel and vmnatd say ---------------------------------------------------------------------

    def link(self, interface, namespace=None) -> dict:
        """What `ip -d link` says of it."""
        return json.loads((namespace or self.gateway).run("ip", "-d", "-j", "link", "show", "dev", interface).stdout)[0]

    def port(self, name) -> dict:
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def await_link(self, name, state):
        wait_until(lambda: self.port(name)["link"] == state, f"port {name} is {state}")

    def await_log(self, sentence):
        wait_until(lambda: sentence in self.vmnatd.process.log(), f"the log says {sentence!r}")

    def kernel_counters(self) -> dict[str, int]:
        """Of all hosts, added."""
        total = {}
        for host in self.hosts.values():
            for name, value in host.counters().items():
                total[name] = total.get(name, 0) + value
        return total

    @contextlib.contextmanager
    def nothing_broken(self, but_retransmitted=1000):
        """In the block no kernel sees a false checksum, none retransmits much, and vmnatd cuts nothing up."""
        before, counters_before = self.kernel_counters(), self.vmnatd.counters()
        yield
        grown = {name: value - before[name] for name, value in self.kernel_counters().items()}
        check_equal({name: growth for name, growth in grown.items() if "InCsumErrors" in name and growth}, {}, "false checksums")
        check(grown["Tcp.RetransSegs"] <= but_retransmitted, f"{grown['Tcp.RetransSegs']} segments were retransmitted")
        check_equal(self.vmnatd.counters()["segments.made"] - counters_before["segments.made"], 0, "super-frames were cut: segments")

    def leaks(self) -> list[str]:
        with contextlib.suppress(OSError):
            return [frame[:64].hex(" ") for frame in self.watch.leaks()]
        return self.leaks()  # that eth0 has been down is told once

    def evidence(self) -> str:
        return self.vmnatd.evidence()

    # --- traffic ----------------------------------------------------------------------------------------------

    def connect(self, client, server, to=None, port=None, at=None):
        """TCP from one host to another: both ends' sockets. `to` is an address and port that leads to the server's, `at`
        another address of its own."""
        port = port or next(self.ports)
        with server.socket(socket.SOCK_STREAM, port) as listener:
            listener.listen()
            connected = client.socket(socket.SOCK_STREAM)
            connected.connect(to or (at or server.address, port))
            accepted = server.opened.enter_context(listener.accept()[0])
        accepted.settimeout(SECONDS)
        return connected, accepted

    def udp_flow(self, client, server, at=None):
        """Datagrams from one host to another and back: both ends' sockets, connected, of which the first has spoken."""
        port = next(self.ports)
        asks, answers = client.udp(), server.udp(port)
        asks.connect((at or server.address, port))
        asks.send(b"hello")
        greeting, sender = answers.recvfrom(100)
        check_equal(greeting, b"hello", "the first datagram")
        answers.connect(sender)
        return asks, answers

    def check_works(self):
        """A new connection out and one in, both ways, and to a neighbour."""
        for client, server, to, port in ((self.vm1, self.outside, None, None), (self.vm1, self.vm2, None, None),
                                         (self.outside, self.vm1, (EXTERNAL, 8080), 80)):
            there, here = self.connect(client, server, to, port)
            Stream(there, here, MB).finish()
            Stream(here, there, MB).finish()


# --- traffic ----------------------------------------------------------------------------------------------------------

class Stream:
    """Bytes by TCP until it is told to finish, and `least` of them; both ends hash them."""
    BLOCK = random.Random(64).randbytes(MB)

    def __init__(self, sender, receiver, least=0):
        self.sender, self.receiver, self.least = sender, receiver, least
        self.sent = self.received = 0
        self.ending, self.failures = threading.Event(), []
        self.digests = hashlib.sha256(), hashlib.sha256()
        self.threads = [threading.Thread(target=self.guarded, args=[work], daemon=True) for work in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def guarded(self, work):
        try:
            work()
        except OSError as problem:
            self.failures.append(f"{work.__name__}: {problem}")

    def send(self):
        while self.sent < self.least or not self.ending.is_set():
            block = self.sent.to_bytes(8, "big") + self.BLOCK[:min(MB, max(self.least - self.sent, MB // 8))]
            self.digests[0].update(block)
            self.sender.sendall(block)
            self.sent += len(block)
        self.sender.shutdown(socket.SHUT_WR)

    def receive(self):
        while part := self.receiver.recv(MB):
            self.digests[1].update(part)
            self.received += len(part)

    def goes_on(self, bytes_more=2 * MB):
        """From now on, so much more arrives."""
        wanted = self.received + bytes_more
        wait_until(lambda: self.failures or self.received > wanted, f"a TCP stream goes on after {self.received} bytes", 60)
        check_equal(self.failures, [], "a TCP stream")

    def finish(self):
        self.ending.set()
        for thread in self.threads:
            thread.join(SECONDS)
        check(not any(thread.is_alive() for thread in self.threads), f"a TCP stream hangs: {self.sent} bytes sent, {self.received} received")
        check_equal(self.failures, [], "a TCP stream")
        check_equal((self.received, self.digests[1].hexdigest()), (self.sent, self.digests[0].hexdigest()), "what TCP has brought")


def random_bytes(size, seed=64) -> bytes:
    return random.Random(seed).randbytes(size)


def stream_in_super_frames(lab, ends, port, least=64 * MB):
    """One way from one end to the other; `port` is vmnatd's, by which the frames leave."""
    before = lab.port(port)
    with lab.nothing_broken():
        Stream(*ends, least).finish()
    after = lab.port(port)
    frames, size = (after[name] - before[name] for name in ("tx_packets", "tx_bytes"))
    check(size > 8192 * frames, f"{frames} frames with {size} bytes left by {port}: {size / frames:.0f} each")


def send_in_segments(sender, receiver, segment, size):
    """A super-frame, or several: all datagrams arrive whole and in order."""
    content = random_bytes(size, segment)
    sender.setsockopt(SOL_UDP, UDP_SEGMENT, segment)
    for _ in range(5):
        check_equal(sender.send(content), size, "sent")
        for at in range(0, size, segment):
            datagram = receiver.recv(65536)
            check(datagram == content[at:at + segment],
                  f"{len(datagram)} bytes instead of those {segment} from byte {at} of {size}")
    sender.setsockopt(SOL_UDP, UDP_SEGMENT, 0)


def exchange_large(ends, number=200, on_their_way=4):
    """So many there and back, each answered by another one."""
    asks, answers = ends
    for first in range(0, number, on_their_way):
        contents = [random_bytes(LARGE, first + i) for i in range(on_their_way)]
        for sender, receiver in (ends, ends[::-1]):
            for content in contents:
                sender.send(content)
            for number_of_it, content in enumerate(contents, first):
                check(receiver.recv(65536) == content, f"datagram {number_of_it} is not what was sent")


@contextlib.contextmanager
def stopped(process):
    """None of its threads runs in the block."""
    process.send(signal.SIGSTOP)
    try:
        wait_until(lambda: set(states_of_threads(process)) == {"T"}, f"all threads of {process.name} are stopped")
        yield
    finally:
        process.send(signal.SIGCONT)


def states_of_threads(process) -> list[str]:
    stats = pathlib.Path(f"/proc/{process.pid}/task").glob("*/stat")
    return [stat.read_text().rsplit(")", 1)[1].split()[0] for stat in stats]


# --- suites -----------------------------------------------------------------------------------------------------------

@contextlib.contextmanager
def lab_with(make=KernelLab, **keys):
    with for_one_subtest(lambda scope: make(scope, **keys)) as lab:
        yield lab
        check_equal(lab.leaks(), [], "frames with a foreign source on the uplink")


def end_with_accounts(suite):
    """The last subtest of a file."""
    @suite.test("after all of this every frame is accounted for, and no inside address left by the uplink")
    def in_the_end(lab):
        lab.vmnatd.check_accounting()
        check_equal(lab.leaks(), [], "frames with a foreign source on the uplink")
