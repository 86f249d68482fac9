# SPDX-License-Identifier: Apache-2.0
"""vmnatd as it was at a commit before: what an upgrade starts from.

    lab = VmLab(scope, build=former_build())    # skips the subtest where there is none

It takes minutes, so it is built in the long form alone, from `git archive` of HEAD's first parent or of the commit that
$VMNAT_FORMER names, and kept in the build directory, in former/COMMIT. $VMNAT_FORMER_BUILD is one that is there already.
"""

import os
import pathlib
import subprocess
import sys

from .daemon import ROOT, build_directory
from .tap import Skipped

TARGETS = ["control/vmnatd", "control/ctl/vmnatctl"]


def former_build() -> pathlib.Path:
    if given := os.environ.get("VMNAT_FORMER_BUILD"):
        return pathlib.Path(given)
    if not os.environ.get("VMNAT_LONG"):
        raise Skipped("building the commit before takes minutes: ./run soak does, or VMNAT_FORMER_BUILD names a build")
    commit = former_commit()
    place = build_directory() / "former" / commit
    if not (place / "done").exists():
        make(commit, place)
        (place / "done").touch()
    return place / "build"


def git(*arguments, **options):
    return subprocess.run(["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, *arguments], **options)


def former_commit() -> str:
    wanted = os.environ.get("VMNAT_FORMER") or "HEAD^"
    answer = git("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}", capture_output=True, text=True)
    if answer.returncode != 0:
        raise Skipped(f"there is no commit {wanted} here to upgrade from")
    return answer.stdout.strip()


def make(commit, place):
    source = place / "source"
    source.mkdir(parents=True, exist_ok=True)
    archive = git("archive", commit, stdout=subprocess.PIPE, check=True).stdout
    subprocess.run(["tar", "-x", "-C", source], input=archive, check=True)
    for command in (["meson", "setup", place / "build", source, "-Dtests=false", "-Dbenchmarks=false", "-Dfuzzers=false"],
                    ["ninja", "-C", place / "build", *TARGETS]):
        subprocess.run(command, check=True, stdout=sys.stderr)
