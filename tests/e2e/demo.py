#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The main job on the screen: a real VM gets its address from vmnat and reaches the outside through it.

Builds a small Internet out of network namespaces, starts vmnatd between it and a VM in QEMU, and says each
step as it succeeds; then the lease, the sessions, the counters and the throughput. Ends by itself with 0, or
with 1 and the reason at the first step that fails. Nothing stays behind in either case.
"""

import contextlib
import os
import sys
import time

from harness import config
from harness.daemon import unaccounted
from harness.internet import BLOB_BYTES, HOST
from harness.tap import Interrupted, check, check_equal, unwind_on_signals
from vm_lab import GATEWAY, VmLab

BOLD, RED, PLAIN = ("\033[1m", "\033[31m", "\033[0m") if sys.stdout.isatty() else ("", "", "")


class Step:
    """`with Step("does this")`: says that it begins, and how long it took or why it failed."""

    current = "setting up"

    def __init__(self, sentence):
        self.sentence, self.detail = sentence, ""

    def __enter__(self):
        Step.current = self.sentence
        if sys.stdout.isatty():
            print(f"  ..   {self.sentence}", end="\r", flush=True)
        self.began = time.monotonic()
        return self

    def __exit__(self, failure, *_):
        if failure is None:
            detail = f": {self.detail}" if self.detail else ""
            print(f"{BOLD}  ok{PLAIN}   {self.sentence}{detail} ({time.monotonic() - self.began:.1f} s)", flush=True)


def set_up(scope) -> VmLab:
    with Step("an Internet: router 203.0.113.1, host 198.51.100.2 with servers"):
        lab = VmLab(scope)
    # vmnatd connects to QEMU's socket whenever it appears, so that the order of the two does not matter.
    with Step(f"vmnatd: uplink {config.UPLINK_ADDRESS}, network 192.168.122.0/24"):
        lab.start_vmnatd()
    with Step("a Linux VM boots in QEMU on the vhost-user port"):
        lab.start_vm()
    return lab


def use(lab) -> float:
    """What the VM does; returns the seconds that the download took."""
    with Step("the VM asks for an address (udhcpc)") as step:
        lease = lab.vm.obtain_lease()
        step.detail = f"{lease['ip']} from {lease['serverid']}"
    with Step(f"the VM pings its gateway {GATEWAY}, resolved by ARP"):
        check(lab.vm.ping(GATEWAY, count=2), "no answer from the gateway")
        neighbours = lab.vm.run("ip neigh").check().output
        check(f"{GATEWAY} dev eth0 lladdr" in neighbours, f"the gateway's MAC address is not resolved: {neighbours}")
    with Step(f"the VM pings {HOST} on the Internet"):
        check(lab.vm.ping(HOST, count=2), f"no answer from {HOST}")
    with Step("a UDP exchange: the host sees the uplink's address"):
        answer = lab.vm.run(f"nslookup whoami.example {HOST}").check().output
        check(config.UPLINK_ADDRESS in answer, f"not from {config.UPLINK_ADDRESS}: {answer}")
    with Step("the VM downloads 10 MB over TCP and verifies the hash"):
        began = time.monotonic()
        lab.download()
        seconds = time.monotonic() - began
    with Step("every frame is accounted for, and none left with an inside address"):
        lab.vmnatd.check_accounting()
        check_equal(lab.internet.leaks()[:3], [], "frames with a foreign source on the uplink")
    return seconds


def show(lab, download_seconds):
    def title(text):
        print(f"\n{BOLD}{text}{PLAIN}")

    title("$ vmnatctl leases")
    print(lab.vmnatd.ctl_text("leases").rstrip())
    title("$ vmnatctl sessions")
    print(lab.vmnatd.ctl_text("sessions").rstrip())
    title("$ vmnatctl counters    (those that are not 0)")
    counters = lab.vmnatd.counters()
    for name, value in counters.items():
        if value:
            print(f"{name:<28} {value:>10}")
    check_equal(unaccounted(counters), 0, "frames unaccounted for")
    title("Throughput")
    print(f"10 MB in {download_seconds:.2f} s: {8 * BLOB_BYTES / download_seconds / 1e6:.0f} Mbit/s, with the VM in software "
          "emulation: the VM is the limit. `./run bench` measures vmnat.\n")


def main():
    unwind_on_signals()
    if os.geteuid() != 0:
        sys.exit("demo: needs root: network namespaces and raw sockets")
    print(f"{BOLD}vmnat: a VM reaches the outside{PLAIN}\n")
    lab = None
    try:
        with contextlib.ExitStack() as scope:
            lab = set_up(scope)
            show(lab, use(lab))
            Step.current = "stopping vmnatd"
    except Interrupted as signal_name:
        fail(f"stopped by {signal_name}")
    except Exception as problem:
        fail(f"{type(problem).__name__}: {problem}")
    print(f"{BOLD}The demo has passed and left nothing behind.{PLAIN}")


def fail(reason):
    sys.stdout.flush()
    sys.exit(f"\n{RED}demo: failed while: {Step.current}{PLAIN}\n{reason}")


if __name__ == "__main__":
    main()
