#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages name what there is: every command and option of --help, every configuration key.

Usage: man_test.py VMNATCTL VMNATD DOCS_DIR CONFIGS_DIR
"""
import pathlib
import re
import subprocess
import sys

VMNATCTL, VMNATD = sys.argv[1:3]
DOCS, CONFIGS = map(pathlib.Path, sys.argv[3:5])


def help_of(*command, program=VMNATCTL):
    return subprocess.run([program, *command, "--help"], check=True, capture_output=True, text=True).stdout


def check(condition, says):
    if not condition:
        print(f"FAILED: {says}")
        sys.exit(1)
    print(f"ok: {says}")


def words_of(page):
    """The words that the page sets as literals or flags, flags with their dashes."""
    macros = [line for line in page.splitlines() if line.startswith((".It", ".Cm", ".Fl", ".Nm", ".Op"))]
    text = re.sub(r"\bFl (-?)", r"-\1", "\n".join(macros))
    return set(re.findall(r"--?[\w-]+|[\w-]+", text))


def check_vmnatctl():
    words = words_of((DOCS / "vmnatctl.1").read_text())
    top = help_of()
    commands = re.findall(r"^  ([a-z][\w-]*) ", top.split("Subcommands:")[1], re.MULTILINE)
    check(len(commands) > 10, "--help lists the commands")
    for text in [top] + [help_of(command) for command in commands]:
        for option in re.findall(r"^  (?:-h,)?(--[\w-]+)", text, re.MULTILINE):
            check(option in words, f"vmnatctl(1) has {option}")
    for command in commands:
        check(command in words, f"vmnatctl(1) has {command}")


def check_vmnatd():
    page = (DOCS / "vmnatd.8").read_text()
    words, text = words_of(page), help_of(program=VMNATD)
    options = set(re.findall(r"^  (?:-h,)?(--[\w-]+)", text, re.MULTILINE))
    check(len(options) > 4, "vmnatd --help lists the options")
    for option in sorted(options):
        check(option in words, f"vmnatd(8) has {option}")
    for option in sorted(word for word in words if word.startswith("--")):
        check(option in options, f"vmnatd has {option}, as vmnatd(8) says")
    arguments = page.split(".Sh DESCRIPTION")[1].split(".Sh SIGNALS")[0]
    for option in ("log-level", "log-format"):
        for value in re.findall(r"\w+", re.search(rf"--{option} \w+\s+(.*)", text).group(1)):
            check(re.search(rf"\b{value}\b", arguments), f"vmnatd(8): {option} may be {value}")
    for signal in re.findall(r"SIG\w+", text):
        check(signal in page, f"vmnatd(8) has {signal}")


def check_keys():
    words = words_of((DOCS / "vmnat.yaml.5").read_text())
    sections = set(re.findall(r"^\.Ss (\S+)", (DOCS / "vmnat.yaml.5").read_text(), re.MULTILINE))
    reference = (CONFIGS / "reference.yaml").read_text()
    keys = set(re.findall(r"^ *(?:- )?(\w+):", reference, re.MULTILINE)) | set(re.findall(r"[{ ](\w+): ", "".join(
        re.findall(r"#: (.*)", reference))))
    check(len(keys) > 50, "reference.yaml has keys")
    for key in keys - {section.split(".")[-1] for section in sections}:
        check(key in words, f"vmnat.yaml(5) has {key}")


check_vmnatctl()
check_vmnatd()
check_keys()
