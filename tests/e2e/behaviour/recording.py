# SPDX-License-Identifier: Apache-2.0
"""The cases' frames as a corpus for the fuzzers of the packet path: tests/fuzz/corpus.hex.

A line is a case, a word a frame: PORT:HEX, in the terms of tests/support/testbed.h, whose networks and VMs these
addresses are nearly all of. Long frames and many of a kind are left out: a fuzzer makes its own.
"""

from .frames import bytes_of_mac
from .gateway import MACS, ROUTER_MAC, UPLINK_MAC

PORTS = {"router": 0, "vm1": 1, "vm2": 2, "vm3": 4, "vm4": 5, "vm5": 4, "vm6": 4, "vm7": 4}
TESTBED_MACS = {UPLINK_MAC: "02:00:00:00:00:aa", ROUTER_MAC: "02:00:00:00:00:bb", MACS["default"]: "52:54:00:00:01:01",
                **{MACS[name]: "52:54:00:00:02:01" for name in ("lab", "open", "known", "brief")},
                MACS["alone"]: "52:54:00:00:03:01"}
LONGEST, MOST = 120, 6
HEAD = """# SPDX-License-Identifier: Apache-2.0
# Frames of the behaviour suite, a case a line: made by VMNAT_RECORD=FILE tests/e2e/nat_behaviour.py; see there.
"""


def line_of(given) -> str:
    """A case's frames, or nothing when none of them is short enough."""
    kept = [(station, frame) for station, frame in given if len(frame) <= LONGEST][:MOST]
    return " ".join(f"{PORTS[station.name]}:{in_testbed(frame, station).hex()}" for station, frame in kept)


def in_testbed(frame, station) -> bytes:
    ours = {bytes_of_mac(mac): bytes_of_mac(other) for mac, other in TESTBED_MACS.items()}
    mine = bytes_of_mac(station.mac)
    if station.name not in ("vm1", "vm2", "router"):
        ours[mine] = mine[:5] + bytes([PORTS[station.name]])
    return ours.get(frame[:6], frame[:6]) + ours.get(frame[6:12], frame[6:12]) + frame[12:]


def write(path, lines):
    path.write_text(HEAD + "".join(f"{line}\n" for line in dict.fromkeys(lines) if line))
