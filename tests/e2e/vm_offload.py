#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a guest leaves to its network card, in all the ways that a guest can: TCP and UDP through the NAT and
from VM to VM, with virtio's features switched on and off, and every byte compared.

A real VM boots for each row of a table. The rows are few, but each pair of features occurs in each
combination that can be: a fault that takes two of them to appear, appears. A row sends 10 MB of TCP and
datagrams of 100 to 4000 bytes both ways, on two queues with two workers in a row that has them.

    csum, guest_csum       checksums left unfinished by the VM, towards the VM
    host_tso, guest_tso    TCP super-frames of up to 64 KB from the VM, to the VM
    mrg_rxbuf, packed      frames over several receive buffers, the packed ring
    queues, mtu            1 or 2 with as many CPUs; of the VM's network, by DHCP; the uplink has 1500

TCP's rates are printed at the end, for information.
"""

import contextlib
import hashlib
import itertools
import os
import time
from typing import NamedTuple

from harness import config
from harness.internet import BLOB_BYTES, HOST, blob_digest
from harness.internet_host import blob
from harness.tap import Skipped, Suite, check, check_equal
from harness.vm import Vm
from vm_lab import GATEWAY, VmLab

ETHERNET_HEADER = 14
DATAGRAMS = {100: 3_000, 511: 20_000, 1468: 60_000, 1469: 20_001, 4000: 50_000}  # size -> bytes in all
# Bits of the features that were negotiated, as the VM shows them (virtio 1.1, 5.1.3 and 6).
FEATURE_BITS = {"csum": 0, "guest_csum": 1, "guest_tso": 7, "host_tso": 11, "mrg_rxbuf": 15, "packed": 34}


class Row(NamedTuple):
    csum: bool
    guest_csum: bool
    host_tso: bool
    guest_tso: bool
    mrg_rxbuf: bool
    packed: bool
    queues: int
    mtu: int

    def can_be(self) -> bool:
        """Super-frames need unfinished checksums (virtio 1.1, 5.1.3.1)."""
        return (self.csum or not self.host_tso) and (self.guest_csum or not self.guest_tso)

    def pairs(self) -> set:
        return set(itertools.combinations(self._asdict().items(), 2))

    def properties(self) -> list[str]:
        """Of QEMU's virtio-net-pci."""
        wanted = {"csum": self.csum, "guest_csum": self.guest_csum, "mrg_rxbuf": self.mrg_rxbuf, "packed": self.packed}
        wanted |= {f"{side}_{kind}": on for side, on in (("host", self.host_tso), ("guest", self.guest_tso))
                   for kind in ("tso4", "tso6", "ecn", "ufo")}
        return [f"{name}={'on' if on else 'off'}" for name, on in wanted.items()] + self.told_mtu()

    def told_mtu(self) -> list[str]:
        """Linux makes one buffer of 1514 bytes a frame where nothing says that there are larger ones."""
        return [] if self.mrg_rxbuf or self.guest_tso else [f"host_mtu={self.mtu}"]

    def __str__(self):
        features = " ".join(f"{'+' if getattr(self, name) else '-'}{name}" for name in FEATURE_BITS)
        return f"{features} {self.queues} queue{'s' if self.queues > 1 else ''} mtu {self.mtu}"


ON, OFF = True, False
DEFAULT = Row(ON, ON, ON, ON, ON, OFF, 1, 1500)  # QEMU's
ROWS = [DEFAULT,
        Row(ON, ON, ON, ON, ON, ON, 2, 9000),
        Row(OFF, OFF, OFF, OFF, OFF, ON, 2, 9000),
        Row(ON, OFF, OFF, OFF, ON, OFF, 1, 9000),
        Row(OFF, ON, OFF, ON, ON, ON, 2, 1500),
        Row(ON, ON, ON, ON, OFF, OFF, 2, 9000),
        Row(ON, OFF, ON, OFF, OFF, ON, 1, 1500),
        Row(OFF, ON, OFF, OFF, ON, OFF, 1, 9000)]


class OffloadLab(VmLab):
    """VMs of one network, the first of them with the row's features, the second with its own."""

    def __init__(self, scope, row, names=("vm1",)):
        self.row, self.vms = row, {}
        self.sockets = {}
        self.names = names
        super().__init__(scope)
        self.start_vmnatd()

    def configuration(self):
        self.sockets = {name: self.directory / f"{name}.sock" for name in self.names}
        ports = [config.vhost_user_port(name, socket) | {"queues": self.row.queues} for name, socket in self.sockets.items()]
        made = config.configuration(self.directory, "uplink0", [config.network(
            "default", f"{GATEWAY}/24", ports, mtu=self.row.mtu, dhcp=config.dhcp("192.168.122.2", "192.168.122.254"))])
        if self.row.queues > 1:
            made["dataplane"]["workers"] = [0, 1]
        return made

    def boot(self, name, row) -> Vm:
        number = self.names.index(name) + 1
        vm = self.scope.enter_context(Vm(self.directory, name, self.sockets[name], f"52:54:00:aa:00:0{number}",
                                         queues=row.queues, features=row.properties()))
        self.vms[name] = vm
        vm.wait_until_booted()
        vm.address = vm.obtain_lease()["ip"]
        check_equal(negotiated(vm), {name: getattr(row, name) for name in FEATURE_BITS}, f"features of {name}")
        check_equal(vm.run("cat /sys/class/net/eth0/mtu").check().output.strip(), str(row.mtu), f"{name}'s MTU")
        queues = vm.run("ls -d /sys/class/net/eth0/queues/rx-* | wc -l").check().output.strip()
        check_equal(queues, str(row.queues), f"{name}'s queues")
        return vm

    def port(self, name):
        return next(port for port in self.vmnatd.ctl("ports") if port["name"] == name)

    def evidence(self):
        return "\n".join([self.vmnatd.evidence(), *(vm.evidence() for vm in self.vms.values())])


def negotiated(vm) -> dict[str, bool]:
    bits = vm.run("cat /sys/class/net/eth0/device/features").check().output.strip()
    return {name: bits[bit] == "1" for name, bit in FEATURE_BITS.items()}


class Labs:
    """One lab at a time: the next starts when the one before has ended."""

    def __init__(self, scope):
        self.scope = scope.enter_context(contextlib.ExitStack())
        self.lab = None
        self.rates = []

    def start(self, row, names=("vm1",)) -> OffloadLab:
        if row.queues > 1 and not {0, 1} <= os.sched_getaffinity(0):
            raise Skipped("two workers need the CPUs 0 and 1")
        self.scope.close()
        self.lab = None
        self.lab = OffloadLab(self.scope, row, names)
        return self.lab

    def evidence(self):
        return self.lab.evidence() if self.lab else ""


suite = Suite(Labs)


# --- what is sent -----------------------------------------------------------------------------------------


def at_once(vm, script, flows) -> tuple[list[str], float]:
    """Runs the script `flows` times side by side; the first word of each output, and bytes per second of all."""
    began = time.monotonic()
    answer = vm.run(f"for flow in $(seq {flows}); do ({script}) >/tmp/out$flow & done; wait; "
                    f"for flow in $(seq {flows}); do tail -n 1 /tmp/out$flow; done", 300).check().output
    return [line.split()[0] for line in answer.splitlines()], flows * BLOB_BYTES / (time.monotonic() - began)


def check_tcp(lab, vm, flows) -> tuple[float, float]:
    """Down, then up again what came down; MB/s of both."""
    digests, down = at_once(vm, f"wget -q -O /tmp/blob$flow http://{HOST}/blob; sha256sum </tmp/blob$flow", flows)
    check_equal(digests, [blob_digest()] * flows, "SHA-256 of what was downloaded")
    check_super_frames(lab, vm)
    made = lab.vmnatd.counters()["segments.made"]
    header = f"POST / HTTP/1.0\\r\\nContent-Length: {BLOB_BYTES}\\r\\n\\r\\n"
    digests, up = at_once(vm, f"(printf '{header}'; cat /tmp/blob1) | nc {HOST} 80", flows)
    check_equal(digests, [blob_digest()] * flows, "SHA-256 of what was uploaded")
    check_equal(lab.vmnatd.counters()["segments.made"], made, "segments made before and after the upload")
    return down / 1e6, up / 1e6


def check_super_frames(lab, vm):
    """Those that come in by the uplink reach a VM that takes them as they are, and are cut for others."""
    made, port = lab.vmnatd.counters()["segments.made"], lab.port(vm.name)
    print(f"# {vm.name} was given {port['tx_packets']} frames of {port['tx_bytes'] // port['tx_packets']} bytes, "
          f"and {made} segments were made")
    check((made > 0) != lab.row.guest_tso, f"{made} segments were made")


def check_udp(lab, vm):
    """Datagrams down and up again. The VM cuts none by what it knows of the way: vmnatd does, where it must."""
    vm.run("echo 1 >/proc/sys/net/ipv4/ip_no_pmtu_disc").check()
    for size, total in DATAGRAMS.items():
        name = f"up{size}"
        vm.run(f"tftp -g -b {size} -r {total} -l /tmp/{name} {HOST} && "
               f"tftp -p -b {size} -r {name} -l /tmp/{name} {HOST}", 120).check()
        digest = digest_of(blob()[:total])
        check_equal(vm.run(f"sha256sum </tmp/{name}").check().output.split()[0], digest, f"datagrams down for those of {size}")
        stored = [line.split()[2] for line in lab.internet.servers[1].log().splitlines()
                  if line.startswith(f"tftp {name} ")]
        check_equal(stored, [digest], f"datagrams of {size} up")


def digest_of(content) -> str:
    return hashlib.sha256(content).hexdigest()


def check_workers(lab):
    """Both have worked. A frame may cross twice, to its session and to its way out, and counts for both."""
    workers = lab.vmnatd.ctl("workers")
    check_equal([worker["cpu"] for worker in workers], [0, 1], "CPUs of the workers")
    for worker in workers:
        check(worker["packets"] > 100, f"worker without packets: {workers}")
        check(worker["handoff_ratio"] >= 0, f"handoff ratio: {workers}")
    print("# workers: " + "; ".join(f"{worker['packets']} packets, {worker['handoff_ratio']:.0%} handed over"
                                    for worker in workers))


def check_in_the_end(lab):
    lab.vmnatd.check_accounting()
    check_equal([entry for entry in lab.vmnatd.ctl("invariants") if not entry["holds"]], [], "invariants")
    check_equal(lab.internet.leaks()[:5], [], "frames with a foreign source on the uplink")
    check_equal(lab.vmnatd.counters()["drop.offload"], 0, "frames whose offload was not understood")


# --- the rows ---------------------------------------------------------------------------------------------


@suite.test("each pair of features occurs in the rows in every combination that can be")
def rows_cover_pairs(_labs):
    on_off = (ON, OFF)
    possible = [row for row in map(Row._make, itertools.product(*[on_off] * 6, (1, 2), (1500, 9000))) if row.can_be()]
    check(all(row.can_be() for row in ROWS), "a row that cannot be")
    missing = set().union(*(row.pairs() for row in possible)) - set().union(*(row.pairs() for row in ROWS))
    check_equal(missing, set(), "pairs that are in no row")


def through_nat(row):
    def subtest(labs):
        lab = labs.start(row)
        vm = lab.boot("vm1", row)
        down, up = check_tcp(lab, vm, row.queues)
        check_udp(lab, vm)
        if row.queues > 1:
            check_workers(lab)
        check_in_the_end(lab)
        labs.rates.append((str(row), down, up))
    return subtest


for each in ROWS:
    suite.test(f"through the NAT: {each}")(through_nat(each))


# --- VM to VM ---------------------------------------------------------------------------------------------


class Passed(NamedTuple):
    """From the sender into vmnatd, and out of it to the receiver."""
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    segments_made: int


def passed(lab) -> Passed:
    sender, receiver = lab.port("vm1"), lab.port("vm2")
    return Passed(sender["rx_packets"], sender["rx_bytes"], receiver["tx_packets"], receiver["tx_bytes"],
                  lab.vmnatd.counters()["segments.made"])


def from_vm_to_vm(labs, sends, receives) -> Passed:
    """10 MB from vm1 to vm2, compared by hash."""
    lab = labs.start(sends, ("vm1", "vm2"))
    sender, receiver = lab.boot("vm1", sends), lab.boot("vm2", receives)
    sender.run(f"wget -q -O /tmp/blob http://{HOST}/blob && httpd -h /tmp").check()
    before = passed(lab)
    digests, rate = at_once(receiver, f"wget -q -O - http://{sender.address}/blob | sha256sum", 1)
    check_equal(digests, [blob_digest()], "SHA-256 of what came from the other VM")
    check_in_the_end(lab)
    seen = Passed(*(now - then for now, then in zip(passed(lab), before)))
    labs.rates.append((f"VM to VM, to {receives}", rate / 1e6, None))
    print(f"# vm1 gave {seen.packets_in} frames, {seen.bytes_in} bytes; "
          f"vm2 was given {seen.packets_out} frames, {seen.bytes_out} bytes")
    return seen


@suite.test("from VM to VM, with offloads on: super-frames pass as they are")
def super_frames_pass(labs):
    seen = from_vm_to_vm(labs, DEFAULT, DEFAULT)
    check(seen.bytes_out > 2 * 1514 * seen.packets_out, f"frames of {seen.bytes_out / seen.packets_out:.0f} bytes")
    check_equal(seen.segments_made, 0, "segments made")


for receiving in (DEFAULT._replace(guest_tso=OFF), DEFAULT._replace(guest_csum=OFF, guest_tso=OFF, mtu=9000)):
    @suite.test(f"from VM to VM, the receiver takes no super-frames: segments are made; {receiving}")
    def segments_are_made(labs, row=receiving):
        seen = from_vm_to_vm(labs, DEFAULT._replace(mtu=row.mtu), row)
        check(seen.segments_made > 0, "no segments were made")
        check(seen.packets_out > seen.packets_in, f"{seen}")
        check(seen.bytes_out <= (row.mtu + ETHERNET_HEADER) * seen.packets_out, "larger frames than the VM takes")


@suite.test("the rates of TCP")
def rates(labs):
    for name, down, up in labs.rates:
        print(f"# {name:<82} {down:6.1f} MB/s down" + (f" {up:6.1f} up" if up else ""))
    check(labs.rates, "nothing was measured")


if __name__ == "__main__":
    suite.main()
