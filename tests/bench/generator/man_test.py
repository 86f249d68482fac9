#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmnat-bench(1) names the options that --help has, and no others.

Usage: man_test.py VMNAT_BENCH DOCS_DIR
"""
import re
import subprocess
import sys
from pathlib import Path

text = subprocess.run([sys.argv[1], "--help"], check=True, capture_output=True, text=True).stdout
page = (Path(sys.argv[2]) / "vmnat-bench.1").read_text()
options = set(re.findall(r"^  (?:-h,)?--([\w-]+)", text, re.MULTILINE))
described = {option.lstrip("-") for option in re.findall(r"^\.It Fl (?:h , )?(-[\w-]+)", page, re.MULTILINE)}
if len(options) < 20 or any(ord(letter) < 32 and letter != "\n" for letter in text):
    sys.exit("--help is not a list of options, or has letters that nobody can read")
if options != described:
    sys.exit(f"only in --help: {sorted(options - described)}; only in vmnat-bench(1): {sorted(described - options)}")
print(f"ok: {len(options)} options")
