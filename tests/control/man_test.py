#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages name what there is: every command and option of --help, every configuration key, every live one.

Usage: man_test.py VMNATCTL VMNATD DOCS_DIR CONFIGS_DIR
"""
import json
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
    page = (DOCS / "vmnatctl.1").read_text()
    words = words_of(page)
    top = help_of()
    commands = re.findall(r"^  ([a-z][\w-]*) ", top.split("Subcommands:")[1], re.MULTILINE)
    check(len(commands) > 10, "--help lists the commands")
    texts = [top] + [help_of(command) for command in commands]
    for command, text in zip(commands, texts[1:]):
        if "Subcommands:" in text:
            verbs = re.findall(r"^  ([a-z][\w-]*) ", text.split("Subcommands:")[1], re.MULTILINE)
            check(verbs, f"vmnatctl {command} --help lists its verbs")
            for verb in verbs:
                check(f"{command} {verb}" in page, f"vmnatctl(1) has {command} {verb}")
            texts += [help_of(command, verb) for verb in verbs]
    for text in texts:
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


def key_paths(schema, path=""):
    """Every key of schema.json, as "networks[].ports[].name"."""
    for alternative in schema.get("anyOf", []):
        yield from key_paths(alternative, path)
    for name, inner in schema.get("properties", {}).items():
        yield f"{path}.{name}".lstrip(".")
        yield from key_paths(inner, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from key_paths(schema["items"], path + "[]")


def check_keys():
    """Each key stands in the part of the page that is about its section, and each part is about keys that exist."""
    page = (DOCS / "vmnat.yaml.5").read_text()
    parts = dict(re.findall(r"^\.Ss (\S+)\n(.*?)(?=^\.S[sh] )", page, re.MULTILINE | re.DOTALL))
    paths = list(key_paths(json.loads((CONFIGS / "schema.json").read_text())))
    check(len(paths) > 70, "schema.json has keys")
    for path in paths:
        name = path.split(".")[-1]
        section = max((part for part in parts if path.startswith(part + ".") or path.startswith(part + "[].")),
                      key=len, default=None)
        if section is None or any(part.rstrip("[]") == path for part in parts):
            check(path in parts, f"vmnat.yaml(5) has a part about {path}")
        else:
            check(name in words_of(parts[section]), f"vmnat.yaml(5) has {path} in {section}")
    for section, text in parts.items():
        for items in re.findall(r"^\.It Cm (.*)$", text, re.MULTILINE):
            for name in re.findall(r"\w+", items):
                path = f"{section}[].{name}" if f"{section}[].{name}" in paths else f"{section}.{name}"
                check(path in paths, f"vmnatd knows {path} of vmnat.yaml(5)")


def check_live_keys():
    """vmnatd(8) names the keys that reference.yaml marks as live, or the sections that hold them, and no others."""
    words = words_of((DOCS / "vmnatd.8").read_text().split(".Sh RELOADING")[1].split("\n.Sh ")[0])
    path, comment, found = [], "", 0
    for line in (CONFIGS / "reference.yaml").read_text().splitlines():
        if line.strip().startswith("#"):
            comment += line.strip()
            continue
        if key := re.match(r"( *(?:- )?)(\w+):(.*)", line):
            depth, name, value = len(key.group(1)), key.group(2), key.group(3)
            path = [step for step in path if step[0] < depth] + [(depth, name)]
            names = {step[1] for step in path} - {"nat"}
            if re.search(r"\bLive\.(#|$)", comment):
                found += 1
                check(names & words, f"vmnatd(8) says that {name} is live")
            elif value:
                check(name not in words, f"vmnatd(8) does not say that {name} is live")
        comment = ""
    check(found > 20, "reference.yaml has live keys")


check_vmnatctl()
check_vmnatd()
check_live_keys()
check_keys()
