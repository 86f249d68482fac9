#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The behaviour suite of behaviour/, on vmnatd and on the kernel as a control; in the end a table of both.

    nat_behaviour.py                                     every case on both
    nat_behaviour.py "vmnat: a VM pings its gateway"     one case on one of them
    VMNAT_RECORD=tests/fuzz/corpus.hex nat_behaviour.py  and keeps vmnatd's frames as a corpus for the fuzzers
"""

import importlib
import pathlib

from behaviour.kernel import KernelGateway
from behaviour.lab import suite_of
from behaviour.vmnat import VmnatGateway

NO_CASES = ("__init__", "case", "frames", "gateway", "kernel", "lab", "recording", "vmnat")

for path in sorted((pathlib.Path(__file__).parent / "behaviour").glob("*.py")):
    if path.stem not in NO_CASES:
        importlib.import_module(f"behaviour.{path.stem}")

suite = suite_of(VmnatGateway, KernelGateway)

if __name__ == "__main__":
    suite.main()
