#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""On a CPU that lacks what they are compiled for, programs say so and end with 2: no illegal instruction.

Usage: old_cpu_test.py PROGRAM...

qemu-x86_64 (package qemu-user) is the CPU: an Opteron of 2003 has no feature that the compiler may use by itself, but
those of every x86-64. Without qemu-x86_64, or in a build for every x86-64, there is nothing to see.
"""
import pathlib
import re
import shutil
import subprocess
import sys

FIRST_X86_64 = "Opteron_G1"
QEMU = shutil.which("qemu-x86_64")


def on_cpu(model, program):
    """qemu's own remarks about the model are left out."""
    ended = subprocess.run([QEMU, "-cpu", model, program, "--version"], capture_output=True, text=True, timeout=120)
    said = [line for line in ended.stderr.splitlines() if not line.startswith("qemu-x86_64: warning:")]
    return ended.returncode, said


def verdict(program):
    name = pathlib.Path(program).name
    code, said = on_cpu(FIRST_X86_64, program)
    sentence = rf"{name}: cannot start: it is compiled for \S+, and this CPU, or the hypervisor above it, lacks .*\bsse4_2\b.*"
    if code == 2 and len(said) == 1 and re.fullmatch(sentence, said[0]):
        return "ok", said
    return "not ok", [f"exit code {code}", *said]


def main():
    programs = sys.argv[1:]
    if QEMU is None:
        print("1..0 # SKIP qemu-x86_64 is not installed (package qemu-user)")
        return
    print(f"1..{len(programs)}")
    for number, program in enumerate(programs, 1):
        result, details = verdict(program)
        print(f"{result} {number} - {pathlib.Path(program).name} says what an old CPU lacks")
        for line in details:
            print(f"# {line}")


main()
