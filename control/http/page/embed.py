#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A header with files as constants: embed.py OUTPUT NAME=FILE... makes `inline constexpr std::string_view NAME`. With
the styles of a page comes NAMEStyle, their hash as a Content-Security-Policy names it."""

import base64
import hashlib
import pathlib
import sys

output, *parts = sys.argv[1:]
with open(output, "w") as header:
    header.write("// Made by embed.py.\n#pragma once\n\n#include <string_view>\n\nnamespace vmnat::http {\n\n")
    for part in parts:
        name, file = part.split("=", 1)
        data = pathlib.Path(file).read_bytes()
        rows = [", ".join(f"'\\x{byte:02x}'" for byte in data[at:at + 16]) for at in range(0, len(data), 16)]
        header.write(f"inline constexpr char {name}Bytes[] = {{\n    " + ",\n    ".join(rows) + "};\n"
                     f"inline constexpr std::string_view {name}{{{name}Bytes, sizeof {name}Bytes}};\n\n")
        if b"<style>" in data:
            style = data.split(b"<style>")[1].split(b"</style>")[0]
            digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
            header.write(f'inline constexpr std::string_view {name}Style{{"sha256-{digest}"}};\n\n')
    header.write("}  // namespace vmnat::http\n")
