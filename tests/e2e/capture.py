#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`vmnatctl capture`, read back by tshark; veth_lab.py draws the wires.

A capture is a child of the test that writes a file, or into a pipe that the test reads as wireshark would.
"""

import contextlib
import signal
import struct
import subprocess

from harness.daemon import program
from harness.processes import Process, run
from harness.tap import Skipped, Suite, check, check_equal
from harness.waiting import wait_until
from harness.wire import ARP, BROADCAST, ICMP, IP, UDP, Ether, Raw
from scapy.layers.l2 import Dot1Q
from veth_lab import REMOTE, VethLab

FIELDS = ("frame.interface_name", "frame.comment", "frame.packet_flags_direction", "frame.len", "frame.cap_len", "ip.src",
          "ip.dst", "udp.srcport", "udp.dstport", "vlan.id")
INBOUND, OUTBOUND = "0x00000001", "0x00000002"
STATISTICS = 5  # type of a pcapng block


def make_lab(scope):
    try:
        run(["tshark", "--version"])
    except FileNotFoundError:
        raise Skipped("tshark is not installed") from None
    lab = VethLab(scope)
    lab.settle()
    lab.captures = 0
    return lab


suite = Suite(make_lab)


def command(lab, *options):
    return [program("vmnatctl"), "--socket", lab.vmnatd.config["control"]["socket"], "capture", *options]


class Capture(Process):
    """`vmnatctl capture ... --write FILE` at work: frames that are sent from now on are seen."""

    def __init__(self, lab, *options, write=None):
        lab.captures += 1
        self.file = lab.directory / f"capture{lab.captures}.pcapng"
        before = lab.vmnatd.counters()["states.published"]
        super().__init__(command(lab, *options, "--write", write or self.file),
                         log=lab.directory / f"capture{lab.captures}.log")
        wait_until(lambda: not self.running() or lab.vmnatd.counters()["states.published"] > before and self.has_begun(),
                   "the capture has begun")

    def has_begun(self):
        return self.file.exists() and self.file.stat().st_size > 0

    def finish(self, number=signal.SIGINT):
        """Ends as by Ctrl-C; (frames, missed), as it says."""
        self.send(number)
        return self.finished()

    def finished(self):
        check_equal(self.wait(), 0, f"exit code; it said {self.log()}")
        words = self.log().split()
        check_equal((words[2:4], words[5]), (["frames", "captured,"], "missed"), "its last words")
        return int(words[1]), int(words[4])

    def packets(self, *options):
        return packets_in(self.file, *options)


def packets_in(file, *options):
    """What tshark reads of a file: a dictionary for each packet."""
    listed = run(["tshark", "-n", "-r", file, "-T", "fields", "-E", "separator=|",
                  *(word for field in FIELDS for word in ("-e", field)), *options], seconds=60)
    return [dict(zip(FIELDS, line.split("|"))) for line in listed.stdout.splitlines()]


def seen(packets):
    """(interface, what became of the frame there) of each packet."""
    return [(packet["frame.interface_name"], packet["frame.comment"].split(": ")[1 if packet["frame.comment"].startswith("dropped") else 0])
            for packet in packets]


def blocks_of(file):
    """(type, body) of each block of a pcapng file, which has to be whole."""
    data, at, blocks = file.read_bytes(), 0, []
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        check(at + length <= len(data), f"a block of {length} bytes is cut at {len(data) - at}")
        check_equal(struct.unpack_from("<I", data, at + length - 4)[0], length, "the length behind a block")
        blocks.append((kind, data[at + 8:at + length - 4]))
        at += length
    return blocks


def missed_in(file):
    """By the statistics of its interfaces."""
    return sum(struct.unpack_from("<Q", body, len(body) - 12)[0] for kind, body in blocks_of(file) if kind == STATISTICS)


@suite.test("of all ports: frames as received and as transmitted, with names, directions and comments")
def all_ports(lab):
    with Capture(lab, "--all", "--filter", "udp port 7000 or udp port 53") as capture:
        outbound = lab.open_udp(lab.vm1, 7000, b"seen twice")
        lab.reply_udp(outbound, b"and back")
        lab.vm1.expect(lambda frame: UDP in frame and frame[UDP].dport == 7000, "the reply")
        wait_until(lambda: len(capture.packets()) == 4, "four packets are in the file while the capture goes on")
        check_equal(capture.finish(), (4, 0), "frames and missed")
    external = outbound[UDP].sport
    expected = [("vm1", "received", INBOUND, lab.vm1.address, REMOTE, "7000", "53"),
                ("uplink", "transmitted", OUTBOUND, lab.own, REMOTE, str(external), "53"),
                ("uplink", "received", INBOUND, REMOTE, lab.own, "53", str(external)),
                ("vm1", "transmitted", OUTBOUND, REMOTE, lab.vm1.address, "53", "7000")]
    keys = ("frame.interface_name", "frame.comment", "frame.packet_flags_direction", "ip.src", "ip.dst", "udp.srcport",
            "udp.dstport")
    check_equal([tuple(packet[key] for key in keys) for packet in capture.packets()], expected, "the packets")
    check_equal(len(blocks_of(capture.file)), 1 + 5 + 4 + 5, "section, interfaces, packets, statistics")
    check_equal(missed_in(capture.file), 0, "missed by the file")
    check_equal(capture.file.stat().st_mode & 0o777, 0o600, "the mode of the file")


@suite.test("of one port: no other's frames")
def one_port(lab):
    with Capture(lab, "--port", "vm3") as capture:
        lab.open_udp(lab.vm1, 7001, b"not of vm3")
        lab.open_udp(lab.vm3, 7002, b"of vm3")
        wait_until(lambda: len(capture.packets()) == 1, "the packet is there")
        check_equal(capture.finish(), (1, 0), "frames and missed")
    check_equal(seen(capture.packets("-Y", "udp")), [("vm3", "received")], "the packets")
    check_equal([kind for kind, _ in blocks_of(capture.file)].count(1), 1, "interfaces")


@suite.test("drops: each with its reason")
def drops(lab):
    with Capture(lab, "--drops", "--filter", "udp and not port 53") as capture:
        lab.vm1.wire.send(lab.vm1.routed("127.0.0.1") / UDP(sport=7003, dport=9))
        lab.router.send(lab.inbound(UDP(sport=9, dport=7003)))
        lab.vm1.wire.send(lab.vm1.routed(REMOTE).copy() / UDP(sport=7003, dport=9, len=4))
        wait_until(lambda: len(capture.packets()) == 3, "three drops are there")
        check_equal(capture.finish(), (3, 0), "frames and missed")
    check_equal(sorted(seen(capture.packets())),
                [("uplink", "no_session"), ("vm1", "destination_invalid"), ("vm1", "l4_header")], "the packets")
    check("loopback" in capture.packets("-Y", "ip.dst == 127.0.0.1")[0]["frame.comment"], "the reason is explained")


@suite.test("a frame that is dropped has been received before, and copies of a flood leave by each port")
def drops_and_copies(lab):
    with Capture(lab, "--all", "--filter", "udp port 7004") as capture:
        lab.vm1.wire.send(lab.vm1.routed("240.0.0.1") / UDP(sport=7004, dport=9))
        wait_until(lambda: len(capture.packets()) == 2, "the first frame has ended, and shares no burst with the second")
        lab.vm1.wire.send(lab.vm1.wire.to(BROADCAST) / IP(src=lab.vm1.address, dst="255.255.255.255") / UDP(sport=7004, dport=9))
        lab.vm2.expect(lambda frame: UDP in frame and frame[UDP].sport == 7004, "the broadcast")
        wait_until(lambda: len(capture.packets()) == 4, "the packets are there")
        capture.finish()
    check_equal(seen(capture.packets()), [("vm1", "received"), ("vm1", "destination_invalid"), ("vm1", "received"),
                                          ("vm2", "transmitted")], "the packets")


@suite.test("answers of vmnatd and its ICMP errors are seen as they leave")
def answers(lab):
    with Capture(lab, "--port", "vm1", "--filter", "icmp or arp") as capture:
        lab.vm1.wire.send(lab.vm1.routed(lab.vm1.gateway) / ICMP(id=7))
        lab.vm1.expect(lambda frame: ICMP in frame and frame[ICMP].type == 0, "the echo reply")
        late = lab.vm1.routed(REMOTE) / UDP(sport=7005, dport=9)
        late[IP].ttl = 1
        lab.vm1.wire.send(late)
        lab.vm1.expect(lambda frame: ICMP in frame and frame[ICMP].type == 11, "time exceeded")
        lab.vm1.wire.send(lab.vm1.wire.to() / ARP(op=1, hwsrc=lab.vm1.wire.mac, psrc=lab.vm1.address, pdst=lab.vm1.gateway))
        lab.vm1.expect(lambda frame: ARP in frame and frame[ARP].op == 2, "the ARP reply")
        wait_until(lambda: len(capture.packets()) == 5, "five packets are there")
        capture.finish()
    check_equal([what for _, what in seen(capture.packets())], ["received", "transmitted", "transmitted", "received", "transmitted"],
                "the packets")


@suite.test("VLAN tags are there as on the wire, and filters see them")
def tags(lab):
    with Capture(lab, "--all", "--filter", "vlan 7") as capture:
        lab.vm1.wire.send(lab.vm1.wire.to(lab.vm2.wire.mac) / Dot1Q(vlan=7) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=7006))
        lab.vm2.expect(lambda frame: Dot1Q in frame, "the tagged frame")
        wait_until(lambda: len(capture.packets()) == 2, "two packets are there")
        capture.finish()
    check_equal([packet["vlan.id"] for packet in capture.packets()], ["7", "7"], "their VLAN")


@suite.test("--count ends the capture, --snap keeps the first bytes of each frame")
def count_and_snap(lab):
    with Capture(lab, "--port", "vm1", "--filter", "udp", "--count", "3", "--snap", "60") as capture:
        for number in range(5):
            lab.open_udp(lab.vm1, 7010 + number, b"x" * 500)
        check_equal(capture.finished(), (3, 0), "frames and missed")
    check_equal([(packet["frame.len"], packet["frame.cap_len"]) for packet in capture.packets()], 3 * [("542", "60")],
                "lengths, and what was kept")


@suite.test("`--write -` is read as it comes; the capture ends when its reader goes")
def standard_output(lab):
    def begin():
        return subprocess.Popen(command(lab, "--port", "vm1", "--write", "-"), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    with begin() as capture:
        reader = subprocess.Popen(["tshark", "-n", "-l", "-i", "-", "-T", "fields", "-e", "udp.srcport", "-Y", "udp"],
                                  stdin=capture.stdout, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with reader:
            wait_until(lambda: has_observer(lab), "the capture has begun")
            lab.open_udp(lab.vm1, 7020, b"at once")
            check_equal(reader.stdout.readline().strip(), "7020", "what a reader at the pipe sees while it goes on")
            capture.send_signal(signal.SIGINT)
            check_equal(capture.wait(20), 0, "exit code after Ctrl-C")
            check_equal(reader.wait(20), 0, "exit code of the reader")
    with begin() as capture:
        capture.stdout.close()  # with nothing on the way
        check_equal(capture.wait(20), 0, "exit code when the reader has gone")
    wait_until(lambda: not has_observer(lab), "the observer has gone, too")


def has_observer(lab):
    return lab.vmnatd.counters()["capture.observers"] > 0


@suite.test("a capture that is killed leaves a whole file, and no observer; so does one whose vmnatctl is stopped")
def killed(lab):
    with Capture(lab, "--all") as capture:
        lab.open_udp(lab.vm1, 7030, b"before the end")
        wait_until(lambda: len(packets_in(capture.file, "-Y", "udp.srcport == 7030")) == 2, "the packet is there, twice")
        check(has_observer(lab), "somebody observes")
        capture.send(signal.SIGKILL)
        capture.wait()
    wait_until(lambda: not has_observer(lab), "nobody observes any more")
    blocks_of(capture.file)


@suite.test("there are four at most; a hundred that are begun and killed leave nothing behind")
def many(lab):
    with contextlib.ExitStack() as scope:
        for _ in range(4):
            scope.enter_context(Capture(lab, "--all"))
        answer = run(command(lab, "--all", "--write", "/dev/null"), check=False)
        check_equal((answer.returncode, "4 captures and traces are under way" in answer.stderr), (1, True),
                    f"the fifth: {answer.stderr}")
    wait_until(lambda: not has_observer(lab), "all four have gone")
    files, memory = lab.vmnatd.process.open_files(), None
    for number in range(100):
        before = lab.vmnatd.counters()["states.published"]
        with Process(command(lab, "--all", "--write", "/dev/null"), log=lab.directory / "killed.log") as child:
            wait_until(lambda: lab.vmnatd.counters()["states.published"] > before, "it has begun")
            child.kill()
        if number == 20:
            wait_until(lambda: not has_observer(lab), "it has gone")
            memory = lab.vmnatd.process.resident_kib()
    wait_until(lambda: not has_observer(lab), "the last one has gone")
    wait_until(lambda: lab.vmnatd.process.open_files() == files, "its descriptors are closed")
    check(lab.vmnatd.process.resident_kib() < memory + 16 * 1024, f"memory grew from {memory} KiB to {lab.vmnatd.process.resident_kib()} KiB")


@suite.test("what finds no room is counted, in the file and on stderr, and the traffic goes on")
def too_much(lab):
    received, missed_before = lab.vmnatd.counters()["received"], lab.vmnatd.counters()["capture.missed"]
    with Capture(lab, "--port", "vm1", "--buffer", "256K", "--filter", "udp port 7040") as capture:
        capture.send(signal.SIGSTOP)  # a reader that does not read: the socket, and then the ring, fill
        frame = bytes(lab.vm1.routed(REMOTE) / UDP(sport=7040, dport=9) / Raw(bytes(1400)))
        for _ in range(2000):
            lab.vm1.wire.send(Ether(frame))
        wait_until(lambda: lab.vmnatd.counters()["received"] >= received + 2000, "all were received")
        wait_until(lambda: lab.vmnatd.counters()["capture.missed"] > missed_before, "some were missed")
        lab.open_udp(lab.vm1, 7041, b"traffic goes on")
        capture.send(signal.SIGCONT)
        frames, missed = capture.finish()
    check_equal(frames + missed, 2000, "frames captured and missed")
    check(missed > 0, "none was missed")
    check_equal(missed_in(capture.file), missed, "missed, by the statistics in the file")
    check_equal(len(capture.packets()), frames, "packets in the file")


@suite.test("what cannot be is refused in words")
def refused(lab):
    def attempt(*options):
        answer = run(command(lab, *options), check=False)
        return answer.returncode, answer.stderr

    there = ("--write", "/dev/null")
    for options, code, word in (
            (("--all", "--filter", "udp prot 5", *there), 2, "filter 'udp prot 5': "),
            (("--all", "--filter", "ip broadcast", *there), 2, "netmask not known"),
            (("--port", "vm77", *there), 1, 'there is no port "vm77"'),
            (("--all", "--drops", *there), 2, "give one of --port, --all and --drops"),
            (there, 2, "give one of --port, --all and --drops"), (("--all",), 2, "--write"),
            (("--all", "--write", "/nowhere/at/all"), 1, "/nowhere/at/all: No such file")):
        actual, said = attempt(*options)
        check(actual == code and word in said, f"{options}: exit code {actual}, {said!r}")


@suite.test("when vmnatd ends, the file is whole, and the exit code tells")
def daemon_ends(lab):
    with contextlib.ExitStack() as scope:
        capture = scope.enter_context(Capture(lab, "--all"))
        lab.open_udp(lab.vm1, 7050, b"the last one")
        wait_until(lambda: len(packets_in(capture.file, "-Y", "udp.srcport == 7050")) == 2, "the packet is there, twice")
        lab.vmnatd.check_accounting()
        lab.vmnatd.stop()
        check_equal(capture.wait(), 1, "exit code")
        check("closed the connection" in capture.log(), f"it says why: {capture.log()}")
        blocks_of(capture.file)
        check(capture.packets(), "tshark reads the file")
        lab.vmnatd.start()


if __name__ == "__main__":
    suite.main()
