#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The life of the packages in a fresh minimal Debian bookworm. `./run package --test` builds the packages and calls this
# with the folder that they are in.
#
#   tests/e2e/package_chroot.sh build-package
#
# The chroot gets systemd and libvirt, and the packages that vmnat's will need are fetched; package_life.py boots it then,
# without a way to the outside.
set -euo pipefail
packages=$(realpath "$1")
here=$(dirname "$0")
. "$here/chroot.sh"
make_chroot package

says() { echo "package: $*"; }
apt() { in_chroot apt-get --quiet=2 -o Dpkg::Use-Pty=0 --yes "$@" >>"$scratch/apt.log" 2>&1 || { tail -n 30 "$scratch/apt.log" >&2; exit 2; }; }

says "systemd and libvirt are installed in it"
apt update
apt install --no-install-recommends systemd-sysv dbus libvirt-daemon-system libvirt-clients qemu-system-x86
for package in vmnat vmnat-bench; do cp "$packages/$package"_*_amd64.deb "$chroot/root/$package.deb"; done
apt install --download-only /root/vmnat.deb /root/vmnat-bench.deb
rm "$chroot"/root/*.deb
# Control groups for VMs are the machine's.
echo 'cgroup_controllers = []' >>"$chroot/etc/libvirt/qemu.conf"

VMNAT_CHROOT=$chroot VMNAT_PACKAGES=$packages "$here/package_life.py"
check_nothing_left
