#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The two commands of the README in a fresh minimal Debian bookworm: debootstrap, a clone, ./run demo, ./run test.
#
# The chroot has this machine's apt sources and resolver, and /proc, /sys and /dev of its own: no /dev/kvm, no
# huge pages, no systemd, no Python, locale C, no terminal. It is removed at the end, whatever the end is.
#
#   ./run fresh                 both commands
#   ./run fresh demo            one of them
#   ./run fresh build "test --suite unit"
set -euo pipefail
repository=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
[ "$(id -u)" = 0 ] || { echo "fresh: needs root, for debootstrap and chroot" >&2; exit 2; }
[ $# -gt 0 ] || set -- demo test

scratch=$(mktemp -d "${TMPDIR:-/tmp}/vmnat-fresh-XXXXXX")
chroot=$scratch/bookworm

clean_up() {
  local mounted
  awk -v below="$scratch/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts | tac | while read -r mounted; do
    umount "$mounted" || umount -l "$mounted"
  done
  if grep -q " $scratch/" /proc/self/mounts; then
    echo "fresh: something is still mounted below $scratch; it is left there" >&2
  else
    rm -rf --one-file-system "$scratch"
  fi
}
trap clean_up EXIT
trap 'echo "fresh: failed at line $LINENO: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT TERM HUP

mirror() {  # the mirror that this machine itself has bookworm from
  local files=(/etc/apt/sources.list /etc/apt/sources.list.d/*)
  { cat "${files[@]}" 2>/dev/null || true; } | sed -nE 's/^(URIs:|deb( \[[^]]*\])?) *(https?:\/\/[^ ]*debian\/?)( .*)?$/\3/p' | head -n 1
}

own_devices() {
  mount -t tmpfs -o mode=755 vmnat-dev "$chroot/dev"
  mkdir "$chroot/dev/pts" "$chroot/dev/shm" "$chroot/dev/net"
  mount -t devpts -o newinstance,ptmxmode=666 vmnat-pts "$chroot/dev/pts"
  mount -t tmpfs vmnat-shm "$chroot/dev/shm"
  ln -s /proc/self/fd "$chroot/dev/fd"
  ln -s pts/ptmx "$chroot/dev/ptmx"
  local name major minor
  while read -r name major minor; do mknod -m 666 "$chroot/dev/$name" c "$major" "$minor"; done <<'END'
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
END
}

echo "fresh: debootstrap bookworm (minbase) into $chroot"
from=$(mirror)
debootstrap --variant=minbase bookworm "$chroot" "${from:-http://deb.debian.org/debian}" >"$scratch/debootstrap.log" ||
  { tail -n 20 "$scratch/debootstrap.log" >&2; exit 2; }
cp /etc/resolv.conf /etc/hosts "$chroot/etc/"
{
  echo "deb ${from:-http://deb.debian.org/debian} bookworm main"
  echo "deb ${from:-http://deb.debian.org/debian} bookworm-updates main"
  echo "deb http://deb.debian.org/debian-security bookworm-security main"
} >"$chroot/etc/apt/sources.list"
# A root that is a mount point, as a container's is: `ip netns exec` asks for it.
mount --bind "$chroot" "$chroot"
mount --make-private "$chroot"
mount -t proc vmnat-proc "$chroot/proc"
mount -t sysfs vmnat-sys "$chroot/sys"
own_devices

git -c safe.directory='*' clone -q "$repository" "$chroot/root/vmnat"
echo "fresh: clone of $(git -C "$repository" describe --always --dirty) in $chroot/root/vmnat"
for arguments; do
  echo "fresh: ./run $arguments"
  began=$SECONDS
  # shellcheck disable=SC2086  # one command with its arguments
  env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TERM=dumb \
    chroot "$chroot" /bin/bash -c 'cd /root/vmnat && exec ./run "$@"' run $arguments </dev/null
  echo "fresh: ./run $arguments: passed in $((SECONDS - began)) s"
done

left_behind=$(chroot "$chroot" /bin/ls -A /tmp)
[ -z "$left_behind" ] || { echo "fresh: left behind in /tmp: $left_behind" >&2; exit 1; }
for root in /proc/[0-9]*/root; do
  if [ "$(readlink "$root" 2>/dev/null)" = "$chroot" ]; then
    echo "fresh: left running: $(tr '\0' ' ' <"${root%/root}/cmdline")" >&2
    exit 1
  fi
done
echo "fresh: nothing is left behind"
