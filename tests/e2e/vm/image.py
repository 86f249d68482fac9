#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The test VM's kernel and initramfs, made from Debian packages and the two scripts beside this file.

The kernel is the one behind linux-image-cloud-amd64; the initramfs holds its virtio network modules, a
static busybox, `init` and `udhcpc.script`: 3 MB that boot in three seconds without KVM. Nothing of the
package is installed on this machine.

    $ tests/e2e/vm/image.py
    build/vm/vmlinuz
    build/vm/initramfs.gz

The result is the same bytes for the same inputs (sorted names, no times, no owners), and is rebuilt only
when an input changes. It lives in $VMNAT_CACHE, or in build/vm of the source tree.
"""

import contextlib
import fcntl
import gzip
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from typing import NamedTuple

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
KERNEL_PACKAGE = "linux-image-cloud-amd64"
BUSYBOX = pathlib.Path("/bin/busybox")
MODULES = ["virtio_pci", "virtio_net"]


class Image(NamedTuple):
    kernel: pathlib.Path
    initramfs: pathlib.Path


def cache_directory() -> pathlib.Path:
    return pathlib.Path(os.environ.get("VMNAT_CACHE") or ROOT / "build" / "vm")


def image() -> Image:
    """The image in the cache, made first when it is missing or when an input has changed."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache):
        kernel_tree = unpacked_kernel(cache)
        made = Image(cache / "vmlinuz", cache / "initramfs.gz")
        stamp, inputs = cache / "inputs", digest_of_inputs(kernel_tree)
        if not (stamp.exists() and stamp.read_text() == inputs and all(path.exists() for path in made)):
            stamp.unlink(missing_ok=True)
            shutil.copyfile(the_only(kernel_tree, "boot/vmlinuz-*"), made.kernel)
            made.initramfs.write_bytes(gzip.compress(initramfs(kernel_tree), 6, mtime=0))
            stamp.write_text(inputs)
    return made


@contextlib.contextmanager
def locked(cache):
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def digest_of_inputs(kernel_tree) -> str:
    """What the image depends on: this program, the scripts, busybox, and the kernel's version."""
    digest = hashlib.sha256(str(sorted(path.name for path in (kernel_tree / "boot").iterdir())).encode())
    for path in [HERE / "image.py", HERE / "init", HERE / "udhcpc.script", BUSYBOX]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def the_only(directory, pattern) -> pathlib.Path:
    matches = sorted(directory.glob(pattern))
    if len(matches) != 1:
        raise RuntimeError(f"{directory}: one {pattern} expected, found {len(matches)}")
    return matches[0]


# --- the kernel package -----------------------------------------------------------------------------------


def unpacked_kernel(cache) -> pathlib.Path:
    """Directory with the kernel package's files; downloaded once and kept, whatever the archive has later."""
    tree = cache / "kernel"
    if tree.is_dir():
        return tree
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        package = download_kernel(pathlib.Path(scratch))
        unpacked = pathlib.Path(scratch) / "tree"
        subprocess.run(["dpkg", "-x", package, unpacked], check=True)
        unpacked.rename(tree)
    return tree


def download_kernel(directory) -> pathlib.Path:
    for attempt in ("as it is", "after apt-get update"):
        if attempt == "after apt-get update":
            subprocess.run(["apt-get", "-q", "update"], check=True, stdout=sys.stderr)
        name = kernel_package_name()
        if name and subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name],
                                   cwd=directory, stdout=sys.stderr).returncode == 0:
            return the_only(directory, "*.deb")
    raise RuntimeError(f"no kernel package behind {KERNEL_PACKAGE} can be downloaded: see apt-get's messages")


def kernel_package_name() -> str | None:
    answer = subprocess.run(["apt-cache", "depends", KERNEL_PACKAGE], capture_output=True, text=True)
    found = re.search(r"Depends: (linux-image-\d\S*)", answer.stdout)
    return found and found.group(1)


# --- the initramfs ----------------------------------------------------------------------------------------


def initramfs(kernel_tree) -> bytes:
    """A cpio archive: busybox, init, the lease script and the modules with the order to load them in."""
    modules = modules_in_load_order(kernel_tree, MODULES)
    files = {
        "bin/busybox": (BUSYBOX.read_bytes(), 0o755),
        "init": ((HERE / "init").read_bytes(), 0o755),
        "etc/udhcpc.script": ((HERE / "udhcpc.script").read_bytes(), 0o755),
        "modules/order": ("".join(f"{name}.ko\n" for name in modules).encode(), 0o644),
    }
    for name, content in modules.items():
        files[f"modules/{name}.ko"] = (content, 0o644)
    return cpio(files)


def modules_in_load_order(kernel_tree, wanted) -> dict[str, bytes]:
    """Module name -> ELF bytes of the wanted modules, each after all that it depends on."""
    where = {path.name.split(".ko")[0].replace("-", "_"): path for path in kernel_tree.rglob("*.ko*")}
    ordered: dict[str, bytes] = {}

    def add(name):
        if name in ordered:
            return
        content = where[name].read_bytes()
        if where[name].suffix == ".xz":
            content = lzma.decompress(content)
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for needed in filter(None, depends.group(1).decode().split(",")):
            add(needed)
        ordered[name] = content

    for name in wanted:
        add(name)
    return ordered


def cpio(files) -> bytes:
    """newc archive of name -> (content, permissions), parent directories and /dev/console included."""
    directories = sorted({str(parent) for name in [*files, "dev/console"]
                          for parent in pathlib.PurePath(name).parents} - {"."})
    entries = [(name, b"", stat.S_IFDIR | 0o755, (0, 0)) for name in directories]
    entries.append(("dev/console", b"", stat.S_IFCHR | 0o600, (5, 1)))
    entries += [(name, content, stat.S_IFREG | mode, (0, 0)) for name, (content, mode) in sorted(files.items())]
    entries.append(("TRAILER!!!", b"", 0, (0, 0)))
    return b"".join(cpio_entry(number, *entry) for number, entry in enumerate(entries, start=1))


def cpio_entry(inode, name, content, mode, device) -> bytes:
    encoded = name.encode() + b"\0"
    fields = [inode, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(encoded), 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return padded(header + encoded) + padded(content)


def padded(block) -> bytes:
    return block + bytes(-len(block) % 4)


if __name__ == "__main__":
    print(*image(), sep="\n")
