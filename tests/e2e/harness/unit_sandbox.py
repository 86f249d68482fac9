#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a systemd unit's seccomp options forbid, forbidden without systemd:

    unit_sandbox.py UNIT COMMAND...

becomes COMMAND, to which the kernel refuses what systemd would refuse: system calls that SystemCallFilter= leaves out,
sockets of other families than RestrictAddressFamilies= has, and memory that is writable and executable, or made
executable, where MemoryDenyWriteExecute= is on; with SystemCallErrorNumber=, or by ending it (SIGSYS) where there is none.
What groups of calls hold is asked of systemd-analyze. Architecture: x86-64 alone.
"""
import errno
import mmap
import os
import re
import socket
import subprocess
import sys

import seccomp

LISTED = re.compile(r"^ {4}(@?\w[\w-]*)$", re.MULTILINE)


def settings(unit, key):
    """The values of each line of this key."""
    return [line.split("=", 1)[1].split() for line in unit.splitlines() if line.startswith(f"{key}=")]


def calls_of(name):
    """A call is itself, a group what systemd says is in it."""
    if not name.startswith("@"):
        return {name}
    text = subprocess.run(["systemd-analyze", "syscall-filter", name], check=True, capture_output=True, text=True).stdout
    return set().union(*(calls_of(each) for each in LISTED.findall(text)))


def allowed_calls(unit):
    allowed = set()
    for first, *rest in settings(unit, "SystemCallFilter"):
        listed = set().union(*(calls_of(name) for name in [first.removeprefix("~"), *rest]))
        allowed = allowed - listed if first.startswith("~") else allowed | listed
    # Of every filter of systemd: what it takes to become the program and to end it; groups of it are taken out as said.
    return allowed | {"execve", "exit", "exit_group", "getrlimit", "rt_sigreturn", "sigreturn"}


def has_call(name):
    try:
        return seccomp.resolve_syscall(seccomp.Arch(), name) >= 0
    except ValueError:
        return False


def allow(rules, unit):
    families = [getattr(socket, name) for name in (settings(unit, "RestrictAddressFamilies") or [[]])[0]]
    denies_write_execute = settings(unit, "MemoryDenyWriteExecute") == [["yes"]]
    special = {"socket": [[seccomp.Arg(0, seccomp.EQ, family)] for family in families]} if families else {}
    if denies_write_execute:
        write_execute = mmap.PROT_WRITE | mmap.PROT_EXEC
        special["mmap"] = [[seccomp.Arg(2, seccomp.MASKED_EQ, write_execute, bits)]
                           for bits in (0, mmap.PROT_WRITE, mmap.PROT_EXEC)]
        for call in ("mprotect", "pkey_mprotect"):
            special[call] = [[seccomp.Arg(2, seccomp.MASKED_EQ, mmap.PROT_EXEC, 0)]]
    for call in filter(has_call, allowed_calls(unit)):
        for arguments in special.get(call, [[]]):
            rules.add_rule(seccomp.ALLOW, call, *arguments)


def refusal(unit):
    number = settings(unit, "SystemCallErrorNumber")
    return seccomp.ERRNO(getattr(errno, number[0][0])) if number else seccomp.KILL_PROCESS


def main():
    with open(sys.argv[1]) as file:
        unit = file.read()
    rules = seccomp.SyscallFilter(refusal(unit))
    rules.set_attr(seccomp.Attr.CTL_NNP, 1)
    allow(rules, unit)
    rules.load()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
