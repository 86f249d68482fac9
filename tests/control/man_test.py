#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages name what there is: every command and option of --help, every configuration key.

Usage: man_test.py VMNATCTL DOCS_DIR CONFIGS_DIR
"""
import pathlib
import re
import subprocess
import sys

VMNATCTL, DOCS, CONFIGS = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])


def help_of(*command):
    return subprocess.run([VMNATCTL, *command, "--help"], check=True, capture_output=True, text=True).stdout


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
check_keys()
