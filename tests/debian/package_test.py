#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What can be said of debian/ without building packages: the unit, the lists of files, the example configuration.

Usage: package_test.py SOURCE_DIR BUILD_DIR
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

SOURCE, BUILD = map(pathlib.Path, sys.argv[1:3])
DEBIAN = SOURCE / "debian"
PROGRAMS = {"/usr/sbin/vmnatd": BUILD / "control/vmnatd", "/usr/bin/vmnatctl": BUILD / "control/ctl/vmnatctl",
            "/usr/libexec/vmnat/may-start": DEBIAN / "may-start"}


def check(condition, says):
    if not condition:
        print(f"FAILED: {says}")
        sys.exit(1)
    print(f"ok: {says}")


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)


def unit():
    return (DEBIAN / "vmnat.service").read_text()


def setting(key):
    return re.search(rf"^{key}=(.*)$", unit(), re.MULTILINE).group(1)


def check_unit(directory):
    """systemd's own opinion of the unit, and of the unit with each drop-in, with the programs of this build."""
    text = unit()
    for installed, built in PROGRAMS.items():
        text = text.replace(installed, str(built.resolve()))
    path = directory / "vmnat.service"
    path.write_text(text)
    drop_ins = directory / "vmnat.service.d"
    drop_ins.mkdir()
    for drop_in in [None, *sorted((DEBIAN / "drop-ins").iterdir())]:
        for old in drop_ins.iterdir():
            old.unlink()
        if drop_in:
            (drop_ins / drop_in.name).write_text(drop_in.read_text())
        verified = run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path)
        about = [line for line in verified.stderr.splitlines() if "vmnat" in line]
        check(verified.returncode == 0 and not about,
              f"systemd accepts the unit with {drop_in.name if drop_in else 'no drop-in'} {about}")


def check_exposure():
    """docs/security.md states what systemd says of the unit's exposure."""
    answer = run("systemd-analyze", "security", "--offline=yes", DEBIAN / "vmnat.service")
    told = re.search(r"exposure level for vmnat.service: (\S+)", answer.stdout).group(1)
    stated = re.search(r"`systemd-analyze security`\s+says\s+(\d+\.\d+)", (SOURCE / "docs/security.md").read_text())
    check(stated and stated.group(1) == told, f"docs/security.md states the exposure of the unit, {told}")


def sources_of(name):
    """The first word of each line of a list of debhelper's."""
    lines = re.sub(r"#.*", "", (DEBIAN / name).read_text()).splitlines()
    return [line.split()[0] for line in lines if line.strip()]


def check_lists():
    """What debhelper is to install is there, and what meson installs is in a package."""
    targets = json.loads(run("meson", "introspect", "--installed", BUILD).stdout).values()
    made = {str(pathlib.Path("usr", *pathlib.Path(path).parts[-2:])) for path in targets}
    pages = {f"usr/share/man/man{path[-1]}/{pathlib.Path(path).name}" for path in made if "man" in path.split("/")[1]}
    programs = {path for path in made if path.split("/")[1] in ("bin", "sbin")}
    listed = [path for name in ("vmnat.install", "vmnat-bench.install") for path in sources_of(name)]
    for path in listed:
        if path.startswith("usr/"):
            check(path in programs | pages, f"meson installs {path}")
        else:
            check((SOURCE / path).exists(), f"there is {path}")
    check(programs | pages <= set(listed), f"each of {sorted(programs | pages)} is in a package")
    for name in ("vmnat.docs", "vmnat.examples", "vmnat.bash-completion"):
        for pattern in sources_of(name):
            check(list(SOURCE.glob(pattern)), f"there is {pattern}")


def check_versions():
    project = json.loads(run("meson", "introspect", "--projectinfo", BUILD).stdout)["version"]
    package = re.match(r"vmnat \((.*?)\)", (DEBIAN / "changelog").read_text()).group(1)
    check(package == project, f"the package has the project's version, {project}, not {package}")


def check_build_dependencies():
    """Debian's builders need what ./run installs to build with."""
    listed = re.search(r"^packages_build=\((.*?)\)", (SOURCE / "run").read_text(), re.MULTILINE | re.DOTALL).group(1)
    control = re.search(r"^Build-Depends:\n(.*?)\n\S", (DEBIAN / "control").read_text(), re.MULTILINE | re.DOTALL).group(1)
    wanted = set(listed.split()) - {"g++"}  # of build-essential
    missing = wanted - {line.split()[0].rstrip(",") for line in control.splitlines()}
    check(not missing, f"debian/control builds with what ./run build does {missing or ''}")


def check_directories():
    """What systemd-tmpfiles makes at boot is what the unit wants; else systemd changes the owner of all that is in it."""
    made = re.search(r"^d /run/(\S+) (\S+) (\S+) (\S+) -", (DEBIAN / "vmnat.tmpfiles").read_text(), re.MULTILINE).groups()
    keys = ("RuntimeDirectory", "RuntimeDirectoryMode", "User", "Group")
    check(made == tuple(map(setting, keys)), f"vmnat.tmpfiles makes what the unit wants, {made}")


def check_example(directory):
    """The configuration that is installed lacks the uplink's device alone."""
    text = (DEBIAN / "vmnat.yaml").read_text()
    path = directory / "vmnat.yaml"
    path.write_text(text)
    answer = run(PROGRAMS["/usr/sbin/vmnatd"], "--check", "--config", path)
    said = (answer.stdout + answer.stderr).splitlines()
    check(answer.returncode == 1 and len(said) == 1 and said[0].endswith("key 'device' is missing in 'uplink'"),
          f"the example asks for the uplink {said}")
    path.write_text(text.replace("  # device:", "  device:"))
    answer = run(PROGRAMS["/usr/sbin/vmnatd"], "--check", "--config", path)
    check(answer.returncode == 0, f"with the device it is good {answer.stdout}{answer.stderr}")


def completions(*words):
    """What bash offers for the last of these words."""
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vmnatctl; '
              'printf "%s\\n" "${COMPREPLY[@]}"')
    path = f'{PROGRAMS["/usr/bin/vmnatctl"].parent.resolve()}:{os.environ["PATH"]}'
    answer = run("bash", "-c", script, "bash", SOURCE / "tools/completion/vmnatctl", *words, env={**os.environ, "PATH": path})
    check(not answer.stderr, f"the completion of {words} has no error {answer.stderr}")
    return set(answer.stdout.split())


def check_completion():
    check({"status", "ports", "sessions", "port", "--json", "--socket"} <= completions("vmnatctl", ""), "commands are completed")
    check(completions("vmnatctl", "--json", "sta") == {"status"}, "a command is completed behind an option")
    check({"add", "del"} <= completions("vmnatctl", "port", ""), "verbs are completed")
    check("--vhost-user" in completions("vmnatctl", "port", "add", "vm9", "--vh"), "a verb's options are completed")
    check(completions("vmnatctl", "sessions", "--rem") == {"--remote"}, "options are completed")


with tempfile.TemporaryDirectory(prefix="vmnat-test-") as scratch:
    check_unit(pathlib.Path(scratch))
    check_example(pathlib.Path(scratch))
check_exposure()
check_lists()
check_versions()
check_build_dependencies()
check_directories()
check_completion()
